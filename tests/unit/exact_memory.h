/* SPDX-License-Identifier: BSD-2-Clause */
/* For tests that measure what memory a process has. */
#ifndef UP_TESTS_EXACT_MEMORY_H
#define UP_TESTS_EXACT_MEMORY_H

#include <stdbool.h>

#ifndef __has_feature
#define __has_feature(x) 0
#endif

/* The sanitizers keep freed memory, and more of it than was asked for. */
static inline bool memory_is_exact(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	return false;
#else
	return !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer);
#endif
}

#endif
