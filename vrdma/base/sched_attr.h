/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sched_setattr(2) of the calling thread; the C library has it only lately. In an ordinary thread
 * `runtime` is the slice that it asks for, from Linux 6.12 on: one that asks for a short slice is
 * let in soon, and gets no more of the processor than before.
 */
#ifndef UP_BASE_SCHED_ATTR_H
#define UP_BASE_SCHED_ATTR_H

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The shortest slice that the scheduler gives. */
#define UP_SCHED_SLICE_NS 100000ull

/* struct sched_attr, as it was at first. */
struct up_sched_attr {
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};
static_assert(sizeof(struct up_sched_attr) == 48, "SCHED_ATTR_SIZE_VER0");

static inline int up_sched_attr_get(struct up_sched_attr *a)
{
	return syscall(SYS_sched_getattr, 0, a, sizeof(*a), 0) ? -errno : 0;
}

/* Sets `a`->size. */
static inline int up_sched_attr_set(struct up_sched_attr *a)
{
	a->size = sizeof(*a);
	return syscall(SYS_sched_setattr, 0, a, 0) ? -errno : 0;
}

#endif
