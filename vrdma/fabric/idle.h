/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How long an idle worker sleeps between two looks for work. What a sleep and a look cost differs
 * a lot between machines (a wake-up inside a VM costs ten times that of one outside), so it is
 * measured, and the sleeps are as short as keeps within the part of a CPU that an idle worker may
 * take. Times are in ns. Not thread-safe: each worker has its own.
 */
#ifndef UP_FABRIC_IDLE_H
#define UP_FABRIC_IDLE_H

#include "fabric/fabric.h"

struct up_idle {
	uint64_t cost; /* CPU time of a sleep and its look; 0: not measured yet */
	uint64_t cpu;  /* the thread's CPU time when the looks that are counted now began */
	uint64_t looks;
	uint64_t toll; /* CPU time of a sleep, whatever was done between two; 0: not measured yet */
	uint64_t slept; /* the thread's CPU time when the sleep that is measured now began */
	uint64_t sleeps;
};

/* Before and after each sleep; `cpu_time` is asked at times. */
void up_idle_sleeps(struct up_idle *idle, uint64_t (*cpu_time)(void));
void up_idle_look(struct up_idle *idle, uint64_t (*cpu_time)(void));
/* There was work: what is being counted is no longer the cost of looks alone. */
void up_idle_worked(struct up_idle *idle);
/* The next sleep, when the last work was `since` ago. */
uint64_t up_idle_sleep(const struct up_idle *idle, const struct up_fabric_config *cfg,
		       uint64_t since);

#endif
