/* SPDX-License-Identifier: BSD-2-Clause */
/* How long an idle worker sleeps. See idle.h. */
#include "fabric/idle.h"

#include "base/clock.h"

/* Looks whose cost is measured at once. */
#define BATCH 16
/* One sleep of so many is measured by itself. */
#define SAMPLE 4
/* A guest that works now and then finds a worker that sleeps less, for that much more CPU. */
#define LIGHTER 8
/* The longest sleep grows with the time without work: an eighth of it. */
#define PART 8

void up_idle_sleeps(struct up_idle *idle, uint64_t (*cpu_time)(void))
{
	if (idle->sleeps++ % SAMPLE == 0)
		idle->slept = cpu_time();
}

static void measure_toll(struct up_idle *idle, uint64_t now)
{
	uint64_t toll = now - idle->slept;

	idle->slept = 0;
	idle->toll = idle->toll ? (15 * idle->toll + toll) / 16 : toll;
}

void up_idle_look(struct up_idle *idle, uint64_t (*cpu_time)(void))
{
	uint64_t now;

	if (idle->slept)
		measure_toll(idle, cpu_time());
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

static uint64_t most(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t longest(const struct up_idle *idle, const struct up_fabric_config *cfg, bool light)
{
	uint64_t deep = cfg->deep_sleep_us * UP_USEC;
	uint64_t paid = idle->cost ? idle->cost * 1000 / cfg->idle_permille : UINT64_MAX;

	return light ? least(deep / 4, paid / LIGHTER) : least(deep, paid);
}

/*
 * Setting a timer takes 8 us in one minute and 20 us in the next, in a VM. A guest that polls on
 * the same CPU has what a sleep lasts less that, which may be next to nothing, and the message that
 * the worker waits for so eagerly may be that guest's.
 */
static uint64_t shortest(const struct up_idle *idle, const struct up_fabric_config *cfg)
{
	return most(cfg->idle_sleep_us * UP_USEC, idle->toll * 3 / 4);
}

uint64_t up_idle_sleep(const struct up_idle *idle, const struct up_fabric_config *cfg,
		       uint64_t since)
{
	uint64_t sleep = least(since / PART, longest(idle, cfg, since < UP_SEC));

	return most(sleep, shortest(idle, cfg));
}
