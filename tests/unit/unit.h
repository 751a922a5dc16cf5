/* SPDX-License-Identifier: BSD-2-Clause */
/* What every unit test includes: cmocka with what it needs before it. */
#ifndef UP_TESTS_UNIT_H
#define UP_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>

/*
 * A failed assertion ends the program, with its message on standard error. cmocka's other way, to
 * go on with the next test, is for the test's own thread alone: in another one it ends the program
 * without a word, and a forked child would go on with tests that are its parent's.
 */
__attribute__((constructor)) static void unit_end_at_failure(void)
{
	setenv("CMOCKA_TEST_ABORT", "1", 0);
	/* A library that libfabric brings along would print a trace behind the message. */
	signal(SIGABRT, SIG_DFL);
}

/* Random numbers that are the same in every run (xorshift64). */
static inline uint64_t unit_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

#endif
