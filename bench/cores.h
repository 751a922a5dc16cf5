/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The two cores that a benchmark runs on, and what passing something between them costs at the
 * least: a cache line to the other core and back, a wake-up of a blocked thread.
 */
#ifndef BENCH_CORES_H
#define BENCH_CORES_H

#include <stdbool.h>
#include <stdint.h>

/* Where the guests' thread runs, and where the daemon's worker is told to run. */
enum { GUEST_CPU = 0, WORKER_CPU = 1 };

/* Pins the calling thread and, through inheritance, a daemon started later. False: one core. */
bool cores_pin(int cpu);

uint64_t cores_now_ns(void);

struct partner;
/* A thread on `cpu` that sleeps but for the measurements below. */
struct partner *partner_create(int cpu);
void partner_destroy(struct partner *p);

/* Nanoseconds of a cache line's round trip: `n` of them, the median of groups of some tens. */
double partner_round_trip(struct partner *p, unsigned n);
/* Nanoseconds from the partner's write to an eventfd until we, blocked in poll(), run again. */
double partner_wake_up(struct partner *p, unsigned n);

#endif
