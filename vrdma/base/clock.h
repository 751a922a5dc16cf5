/* SPDX-License-Identifier: BSD-2-Clause */
/* The one clock: CLOCK_MONOTONIC in nanoseconds. */
#ifndef UP_BASE_CLOCK_H
#define UP_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define UP_USEC 1000ull
#define UP_MSEC 1000000ull
#define UP_SEC 1000000000ull

static inline uint64_t up_clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * UP_SEC + (uint64_t)ts.tv_nsec;
}

/* To some milliseconds, for less. */
static inline uint64_t up_clock_coarse_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return (uint64_t)ts.tv_sec * UP_SEC + (uint64_t)ts.tv_nsec;
}

static inline struct timespec up_clock_timespec(uint64_t ns)
{
	return (struct timespec){.tv_sec = (time_t)(ns / UP_SEC), .tv_nsec = (long)(ns % UP_SEC)};
}

#endif
