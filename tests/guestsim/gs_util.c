/* SPDX-License-Identifier: BSD-2-Clause */
/* Failing, waiting and numbers. */
#include "guestsim.h"

#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void print_and_exit(const char *message)
{
	fprintf(stderr, "guestsim: %s\n", message);
	exit(1);
}

void (*gs_fail_handler)(const char *message) = print_and_exit;

void gs_fail(const char *fmt, ...)
{
	static _Thread_local char message[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(message, sizeof(message), fmt, args);
	va_end(args);
	gs_fail_handler(message);
	abort();
}

uint64_t gs_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

struct gs_wait gs_wait_start(unsigned ms)
{
	return (struct gs_wait){.end = gs_now_ns() + ms * 1000000ull};
}

bool gs_wait_turn(struct gs_wait *w)
{
	w->turns++;
	if (w->turns < 200)
		return true;
	if (gs_now_ns() >= w->end)
		return false;
	if (w->turns < 400) {
		sched_yield();
	} else {
		struct timespec nap = {.tv_nsec = w->turns < 1000 ? 20000 : 500000};

		nanosleep(&nap, NULL);
	}
	return true;
}

/* xorshift64*, with any state but zero; zero is replaced. */
uint64_t gs_random(uint64_t *state)
{
	uint64_t x = *state ? *state : 88172645463325252ull;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * 2685821657736338717ull;
}
