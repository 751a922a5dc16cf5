/* SPDX-License-Identifier: BSD-2-Clause */
/* What the library's tests share (rig.h). */
#include "rig.h"

#include "core/private.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

void rig_done(void *ctx, int status, size_t bytes)
{
	struct rig_done *d = ctx;

	d->calls++;
	d->status = status;
	d->bytes = bytes;
}

void rig_note(struct up_am *am, void *arg)
{
	struct rig_seen *s = arg;

	s->calls++;
	s->from = am->from;
}

const char *rig_lane(void)
{
	const char *name = getenv("RIG_LANE");

	return name ? name : "fake";
}

const char *rig_process_lane(void)
{
	const char *name = getenv("RIG_LANE");

	return name ? name : "shm";
}

struct up_ep *rig_open(const struct up_ep_attr *attr)
{
	static bool added;
	struct up_ep_attr a = {.thread = UP_THREAD_SINGLE};
	struct up_ep *ep;

	if (!added)
		up_lanes_add(&fake_lane);
	added = true;
	if (attr)
		a = *attr;
	if (!a.lanes)
		a.lanes = rig_lane();
	assert_int_equal(up_ep_open(&a, &ep), 0);
	return ep;
}

up_peer rig_peer(struct up_ep *from, struct up_ep *to)
{
	uint8_t addr[UP_ADDR_MAX];
	size_t len = up_ep_address(to, addr);
	up_peer peer;

	assert_int_equal(up_peer_add(from, addr, len, &peer), 0);
	return peer;
}

void rig_setup(struct rig *rig, const struct up_ep_attr *attr)
{
	rig->a = rig_open(attr);
	rig->b = rig_open(attr);
	rig->to_b = rig_peer(rig->a, rig->b);
	rig->to_a = rig_peer(rig->b, rig->a);
}

void rig_teardown(struct rig *rig)
{
	up_ep_close(rig->a);
	up_ep_close(rig->b);
}

void rig_close_in_child(struct up_ep *ep)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		up_ep_close(ep);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* How often nothing must happen before nothing will: a network's packets are on their way while
 * both ends have nothing to do. */
static unsigned patience(void)
{
	return strcmp(rig_lane(), "ofi") ? 3 : 2000;
}

unsigned rig_run(struct rig *rig)
{
	unsigned sum = 0, n, idle = 0, enough = patience();

	while (idle < enough) {
		n = up_progress(rig->a) + up_progress(rig->b);
		idle = n ? 0 : idle + 1;
		sum += n;
	}
	return sum;
}

void rig_until(struct rig *rig, const volatile unsigned *value, unsigned wanted)
{
	uint64_t start = rig_now_us();

	while (*value != wanted) {
		up_progress(rig->a);
		up_progress(rig->b);
		rig_patience(start);
	}
}

/* Of the time between two calls: a process that was stopped meanwhile waited for nothing. */
#define LONGEST_STEP_US 1000000ull

void rig_patience(uint64_t start)
{
	static _Thread_local uint64_t begun, last, waited;
	uint64_t now = rig_now_us(), step;

	if (begun != start) {
		begun = last = start;
		waited = 0;
	}
	step = now - last;
	last = now;
	waited += step < LONGEST_STEP_US ? step : LONGEST_STEP_US;
	assert_true(waited < RIG_PATIENCE_MS * 1000ull);
}

uint64_t rig_now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}
