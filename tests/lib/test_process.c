/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Active messages between processes: a peer that answers, one that
 * computes and leaves it to its library's thread, and one that is killed in the middle.
 */
#include "rig.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

struct child {
	pid_t pid;
	int to, from; /* pipes: the parent's address to it, its own from it */
};

static void all(ssize_t n, size_t wanted)
{
	if (n != (ssize_t)wanted) {
		perror("pipe");
		_exit(1);
	}
}

static void put_address(int fd, struct up_ep *ep)
{
	uint8_t addr[UP_ADDR_MAX];
	size_t len = up_ep_address(ep, addr);

	all(write(fd, &len, sizeof(len)), sizeof(len));
	all(write(fd, addr, len), len);
}

static up_peer get_address(int fd, struct up_ep *ep)
{
	uint8_t addr[UP_ADDR_MAX];
	up_peer peer;
	size_t len;

	all(read(fd, &len, sizeof(len)), sizeof(len));
	all(read(fd, addr, len), len);
	if (up_peer_add(ep, addr, len, &peer))
		_exit(2);
	return peer;
}

static void reply_same(struct up_am *am, void *arg)
{
	if (up_am_reply(am, 2, am->head, am->head_bytes, am->data, am->bytes))
		_exit(3);
}

struct stop {
	bool now;
};

static void told_to_stop(struct up_am *am, void *arg)
{
	__atomic_store_n(&((struct stop *)arg)->now, true, __ATOMIC_RELAXED);
}

/* A child that serves requests until it is told to stop; with `automatic`, without ever calling. */
static struct child spawn(bool automatic)
{
	int to[2], from[2];
	struct child c;

	assert_int_equal(pipe(to), 0);
	assert_int_equal(pipe(from), 0);
	c = (struct child){.pid = fork(), .to = to[1], .from = from[0]};
	assert_true(c.pid >= 0);
	if (c.pid)
		return c;
	{
		const struct up_ep_attr attr = {
			.thread = UP_THREAD_SINGLE,
			.progress = automatic ? UP_PROGRESS_AUTO : UP_PROGRESS_MANUAL,
			.lanes = rig_process_lane(),
		};
		struct stop s = {false};
		struct up_ep *ep;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (up_ep_open(&attr, &ep))
			_exit(4);
		up_am_set_handler(ep, 1, reply_same, NULL);
		up_am_set_handler(ep, 3, told_to_stop, &s);
		put_address(from[1], ep);
		get_address(to[0], ep);
		while (!__atomic_load_n(&s.now, __ATOMIC_RELAXED)) {
			if (automatic)
				usleep(1000);
			else
				up_ep_wait(ep, 1000);
		}
		up_ep_close(ep);
		_exit(0);
	}
}

static up_peer meet(struct child *c, struct up_ep *ep)
{
	put_address(c->to, ep);
	return get_address(c->from, ep);
}

static void end(struct child *c, int signal)
{
	int status;

	close(c->to);
	close(c->from);
	assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
	if (signal)
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == signal);
	else
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static struct up_ep *open_here(void)
{
	const struct up_ep_attr attr = {.thread = UP_THREAD_SINGLE, .lanes = rig_process_lane()};
	struct up_ep *ep;

	assert_int_equal(up_ep_open(&attr, &ep), 0);
	return ep;
}

static void until(struct up_ep *ep, const unsigned *value, unsigned wanted)
{
	uint64_t start = rig_now_us();

	while (*value < wanted) {
		up_ep_wait(ep, 100);
		rig_patience(start);
	}
	assert_int_equal(*value, wanted);
}

static void talk(bool automatic)
{
	struct child c = spawn(automatic);
	struct up_ep *ep = open_here();
	up_peer peer = meet(&c, ep);
	struct rig_done done = {0};
	uint8_t bytes[2000] = {1, 2, 3};

	for (unsigned i = 1; i <= 1000; i++) {
		assert_int_equal(up_am_request(ep, peer, 1, &i, sizeof(i), bytes, i, 64 + i, 0,
					       rig_done, &done),
				 0);
		until(ep, &done.calls, i);
		assert_int_equal(done.status, 0);
	}
	assert_int_equal(up_am_request(ep, peer, 3, NULL, 0, NULL, 0, 0, 0, NULL, NULL), 0);
	end(&c, 0);
	/* The child said that it goes. */
	for (uint64_t start = rig_now_us();;) {
		int r = up_am_request(ep, peer, 1, NULL, 0, NULL, 0, 0, 0, NULL, NULL);

		if (r == -EHOSTDOWN)
			break;
		up_progress(ep);
		rig_patience(start);
	}
	up_ep_close(ep);
}

static void processes_talk(void **state)
{
	talk(false);
}

static void a_thread_answers(void **state)
{
	talk(true);
}

/* ---- a target that computes ---- */

#define WRITES 200u

/* Where the child's word is, which ends its computing at WRITES. */
struct place {
	uint64_t addr, key;
};

/* It has one processor for its thread and the library's, and never calls. */
static void compute(int to, int from)
{
	const struct up_ep_attr attr = {.progress = UP_PROGRESS_AUTO, .lanes = rig_process_lane()};
	uint64_t *word = calloc(1, sizeof(*word));
	struct up_region *region;
	volatile double x = 1;
	struct place place;
	struct up_ep *ep;
	cpu_set_t one;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	if (sched_setaffinity(0, sizeof(one), &one) || !word || up_ep_open(&attr, &ep) ||
	    up_region_open(ep, word, sizeof(*word), 0, UP_RMA_WRITE, 0, &region))
		_exit(4);
	place = (struct place){0, up_region_key(region)};
	put_address(from, ep);
	all(write(from, &place, sizeof(place)), sizeof(place));
	get_address(to, ep);
	while (__atomic_load_n(word, __ATOMIC_RELAXED) != WRITES)
		x = x * 1.0000001 + 1e-9;
	/* The last write's answer goes before the endpoint does. */
	up_region_close(region);
	up_ep_close(ep);
	free(word);
	_exit(0);
}

/* Each write ends, although the target's only running thread does something else all the time. */
static void computing_target(void **state)
{
	struct rig_done done = {0};
	struct place place;
	struct up_ep *ep;
	struct child c;
	up_peer peer;
	int to[2], from[2];

	assert_int_equal(pipe(to), 0);
	assert_int_equal(pipe(from), 0);
	c = (struct child){.pid = fork(), .to = to[1], .from = from[0]};
	assert_true(c.pid >= 0);
	if (!c.pid)
		compute(to[0], from[1]);
	ep = open_here();
	peer = meet(&c, ep);
	all(read(c.from, &place, sizeof(place)), sizeof(place));
	for (uint64_t i = 1; i <= WRITES; i++) {
		const struct up_rma_iov there = {place.addr, sizeof(i), place.key};
		const struct iovec here = {&i, sizeof(i)};

		/* At first it sleeps, then it may still be polling. */
		if (i % 2)
			usleep(300);
		assert_int_equal(up_rma_write(ep, peer, &here, 1, &there, 1, 0,
					      i < WRITES ? UP_DELIVERED : 0, rig_done, &done),
				 0);
		if (i < WRITES)
			until(ep, &done.calls, (unsigned)i);
		assert_int_equal(done.status, 0);
	}
	end(&c, 0);
	up_ep_close(ep);
}

/* Everything that is open with it ends, once; another peer never notices. */
static void peer_is_killed(void **state)
{
	struct rig_done done = {0}, others = {0};
	struct child victim = spawn(false), other = spawn(false);
	struct up_ep *ep = open_here();
	up_peer to_victim = meet(&victim, ep), to_other = meet(&other, ep);
	unsigned sent = 0, sent_other = 0;
	uint64_t start = rig_now_us();
	int r;

	/* While requests are on their way both to it and from it. */
	for (unsigned i = 0; i < 100; i++) {
		sent += !up_am_request(ep, to_victim, 1, NULL, 0, "x", 1, 8, 0, rig_done, &done);
		up_progress(ep);
	}
	kill(victim.pid, SIGKILL);
	do {
		r = up_am_request(ep, to_victim, 1, NULL, 0, "x", 1, 8, 0, rig_done, &done);
		sent += !r;
		if (!up_am_request(ep, to_other, 1, NULL, 0, "y", 1, 8, 0, rig_done, &others))
			sent_other++;
		up_progress(ep);
		rig_patience(start);
	} while (r != -EHOSTDOWN);
	until(ep, &done.calls, sent);
	assert_int_equal(done.status, -EHOSTDOWN);
	until(ep, &others.calls, sent_other);
	assert_int_equal(others.status, 0);
	assert_int_equal(up_am_request(ep, to_other, 3, NULL, 0, NULL, 0, 0, 0, NULL, NULL), 0);
	end(&victim, SIGKILL);
	end(&other, 0);
	up_ep_close(ep);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(processes_talk),
		cmocka_unit_test(a_thread_answers),
		cmocka_unit_test(computing_target),
		cmocka_unit_test(peer_is_killed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
