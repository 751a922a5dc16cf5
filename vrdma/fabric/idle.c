/* SPDX-License-Identifier: BSD-2-Clause */
/* How long an idle worker sleeps. See idle.h. */
#include "fabric/idle.h"

#include "base/clock.h"

/* Looks whose cost is measured at once. */
#define BATCH 16
/* A guest that works now and then finds a worker that sleeps less, for that much more CPU. */
#define LIGHTER 8
/* The longest sleep grows with the time without work: an eighth of it. */
#define PART 8

void up_idle_look(struct up_idle *idle, uint64_t (*cpu_time)(void))
{
	uint64_t now;

	if (idle->looks++ % BATCH)
		return;
	now = cpu_time();
	if (idle->looks > BATCH) {
		uint64_t cost = (now - idle->cpu) / BATCH;

		/* One batch with an interrupt in it does not change much. */
		idle->cost = idle->cost ? (3 * idle->cost + cost) / 4 : cost;
	}
	idle->cpu = now;
}

void up_idle_worked(struct up_idle *idle)
{
	idle->looks = 0;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t longest(const struct up_idle *idle, const struct up_fabric_config *cfg, bool light)
{
	uint64_t most = cfg->deep_sleep_us * UP_USEC;
	uint64_t paid = idle->cost ? idle->cost * 1000 / cfg->idle_permille : UINT64_MAX;

	return light ? least(most / 4, paid / LIGHTER) : least(most, paid);
}

uint64_t up_idle_sleep(const struct up_idle *idle, const struct up_fabric_config *cfg,
		       uint64_t since)
{
	uint64_t sleep = least(since / PART, longest(idle, cfg, since < UP_SEC));
	uint64_t shortest = cfg->idle_sleep_us * UP_USEC;

	return sleep < shortest ? shortest : sleep;
}
