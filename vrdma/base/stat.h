/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Counters that workers write and the control thread reads. Relaxed: a reader sees some recent
 * value, never a torn one. Only with several workers can a counter have two writers at once.
 */
#ifndef UP_BASE_STAT_H
#define UP_BASE_STAT_H

#include "base/lock.h"

#include <stdint.h>

static inline void up_stat_add(uint64_t *counter, uint64_t n)
{
	if (__builtin_expect(up_multi_worker, 0))
		__atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
	else
		__atomic_store_n(counter, __atomic_load_n(counter, __ATOMIC_RELAXED) + n,
				 __ATOMIC_RELAXED);
}

static inline uint64_t up_stat_get(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

#endif
