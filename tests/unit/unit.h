/* SPDX-License-Identifier: BSD-2-Clause */
/* What every unit test includes: cmocka with what it needs before it. */
#ifndef UP_TESTS_UNIT_H
#define UP_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Random numbers that are the same in every run (xorshift64). */
static inline uint64_t unit_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

#endif
