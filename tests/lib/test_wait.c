/* SPDX-License-Identifier: BSD-2-Clause */
/* Waiting, automatic progress, and many threads (lib/core/wait.c, auto.c). */
#include "rig.h"

#include "core/private.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define TURNS 3000

static unsigned load(unsigned *v)
{
	return __atomic_load_n(v, __ATOMIC_ACQUIRE);
}

static void add(unsigned *v)
{
	__atomic_add_fetch(v, 1, __ATOMIC_RELEASE);
}

static void count(struct up_am *am, void *arg)
{
	add(arg);
}

static void counted(void *ctx, int status, size_t bytes)
{
	assert_int_equal(status, 0);
	add(ctx);
}

static int poke(struct up_ep *ep, up_peer peer)
{
	return up_am_request(ep, peer, 1, NULL, 0, NULL, 0, 0, 0, NULL, NULL);
}

static bool readable(struct up_ep *ep, int ms)
{
	struct pollfd p = {.fd = up_ep_fd(ep), .events = POLLIN};

	return poll(&p, 1, ms) == 1;
}

/* Never too soon; how late is also up to the machine, so that the best of several tries counts. */
static void times_out(void **state)
{
	uint64_t least = UINT64_MAX;
	struct rig rig;

	rig_setup(&rig, NULL);
	rig_run(&rig);
	for (unsigned i = 0; i < 10; i++) {
		uint64_t took = rig_now_us();

		assert_int_equal(up_ep_wait(rig.a, 20), 0);
		took = rig_now_us() - took;
		least = took < least ? took : least;
	}
	assert_in_range(least, 19000, 2000000);
	assert_int_equal(up_ep_wait(rig.a, 0), 0);
	rig_teardown(&rig);
}

/* Until neither end has anything to do: a lane goes on with sockets of its own after a message. */
static void arm_both(struct rig *rig)
{
	uint64_t start;

	for (start = rig_now_us(); up_ep_arm(rig->a) || up_ep_arm(rig->b); rig_patience(start)) {
		up_progress(rig->a);
		up_progress(rig->b);
	}
}

static void arms_and_tells(void **state)
{
	unsigned came = 0;
	struct rig rig;

	rig_setup(&rig, NULL);
	up_am_set_handler(rig.b, 1, count, &came);
	/* A lane may have to connect first. */
	assert_int_equal(poke(rig.a, rig.to_b), 0);
	rig_until(&rig, &came, 1);
	rig_run(&rig);
	arm_both(&rig);
	assert_false(readable(rig.b, 0));
	assert_int_equal(poke(rig.a, rig.to_b), 0);
	assert_true(readable(rig.b, RIG_PATIENCE_MS));
	assert_int_equal(up_ep_arm(rig.b), -EAGAIN);
	rig_until(&rig, &came, 2);
	while (up_ep_arm(rig.b))
		up_progress(rig.b);
	assert_false(readable(rig.b, 0));
	rig_teardown(&rig);
}

/* One thread that waits for many endpoints at once finds out that it may sleep. */
static void many_endpoints(void **state)
{
	enum { MANY = 12 };
	const struct up_ep_attr attr = {.thread = UP_THREAD_MULTIPLE};
	struct up_ep *ep[MANY], *other = rig_open(&attr);
	unsigned came = 0, armed = 0;
	uint64_t start;

	for (unsigned i = 0; i < MANY; i++) {
		ep[i] = rig_open(&attr);
		up_am_set_handler(ep[i], 1, count, &came);
		assert_int_equal(poke(other, rig_peer(other, ep[i])), 0);
	}
	for (start = rig_now_us(); came < MANY; rig_patience(start)) {
		up_progress(other);
		for (unsigned i = 0; i < MANY; i++)
			up_progress(ep[i]);
	}
	for (start = rig_now_us(); armed < MANY; rig_patience(start)) {
		up_progress(other);
		for (unsigned i = 0; i < MANY; i++)
			up_progress(ep[i]);
		for (armed = 0; armed < MANY && !up_ep_arm(ep[armed]); armed++)
			;
	}
	for (unsigned i = 0; i < MANY; i++)
		up_ep_close(ep[i]);
	up_ep_close(other);
}

/* What a forked child closes wakes nobody in its parent, and takes nothing from who sleeps. */
static void closed_by_child(void **state)
{
	unsigned came = 0;
	struct rig rig;

	rig_setup(&rig, NULL);
	up_am_set_handler(rig.b, 1, count, &came);
	assert_int_equal(poke(rig.a, rig.to_b), 0);
	rig_until(&rig, &came, 1);
	rig_run(&rig);
	while (up_ep_arm(rig.b))
		up_progress(rig.b);
	rig_close_in_child(rig.b);
	assert_false(readable(rig.b, 0));
	assert_int_equal(poke(rig.a, rig.to_b), 0);
	assert_true(readable(rig.b, RIG_PATIENCE_MS));
	rig_until(&rig, &came, 2);
	rig_teardown(&rig);
}

/* Room is no event of a lane: who was refused is woken all the same. */
static void refused_is_woken(void **state)
{
	unsigned came = 0;
	struct rig rig;
	uint64_t start;

	rig_setup(&rig, NULL);
	up_am_set_handler(rig.b, 1, count, &came);
	rig_run(&rig);
	while (!poke(rig.a, rig.to_b))
		;
	assert_int_equal(up_ep_wait(rig.a, RIG_PATIENCE_MS), 1);
	assert_int_equal(poke(rig.a, rig.to_b), -EAGAIN);
	while (up_ep_arm(rig.a))
		up_progress(rig.a);
	assert_true(readable(rig.a, RIG_PATIENCE_MS));
	start = rig_now_us();
	while (poke(rig.a, rig.to_b)) {
		rig_run(&rig);
		rig_patience(start);
	}
	rig_teardown(&rig);
}

static void took(void *ctx, int status, const struct up_tag_info *info)
{
	assert_int_equal(status, 0);
	add(ctx);
}

static void receive(struct up_ep *ep, unsigned n, unsigned *came)
{
	static uint64_t word[1];
	const struct iovec iov = {word, sizeof(word)};

	for (unsigned i = 0; i < n; i++)
		assert_int_equal(
			up_tag_recv(ep, UP_PEER_ANY, 0, UINT64_MAX, &iov, 1, took, came, NULL), 0);
}

/* Sends until the other end keeps no more, and the lane is full. */
static unsigned flood(struct rig *rig)
{
	uint64_t word = 1;
	const struct iovec iov = {&word, sizeof(word)};
	unsigned sent = 0;

	do {
		while (!up_tag_send(rig->a, rig->to_b, 1, &iov, 1, 0, UP_INJECT, NULL, NULL))
			sent++;
	} while (rig_run(rig));
	return sent;
}

struct waiter {
	struct up_ep *ep;
	unsigned *came, wanted;
};

static void *wait_for_room(void *arg)
{
	struct waiter *w = arg;

	while (load(w->came) < w->wanted)
		assert_int_not_equal(up_ep_wait(w->ep, RIG_PATIENCE_MS), 0);
	return NULL;
}

/*
 * What the bound on unexpected messages keeps in the lane is no reason not to sleep; and who sleeps
 * is woken by the receives that make room, in another thread.
 */
static void sleeps_on_what_is_refused(void **state)
{
	const struct up_ep_attr attr = {.max_unexpected = 4096};
	unsigned came = 0, sent, tries;
	uint64_t start;
	struct rig rig;
	struct waiter w;
	pthread_t t;

	rig_setup(&rig, &attr);
	sent = flood(&rig);
	for (tries = 0; up_ep_arm(rig.b); tries++) {
		assert_in_range(tries, 0, 100);
		up_progress(rig.b);
	}
	w = (struct waiter){rig.b, &came, sent};
	assert_int_equal(pthread_create(&t, NULL, wait_for_room, &w), 0);
	receive(rig.b, sent, &came);
	/* What a still has to send, it alone can. */
	for (start = rig_now_us(); load(&came) < sent; rig_patience(start))
		up_progress(rig.a);
	pthread_join(t, NULL);
	rig_teardown(&rig);
}

/* One thread and its endpoint. */
struct player {
	struct up_ep *ep;
	up_peer peer;
	unsigned came;
	bool by_fd;
};

/* ---- what ends inside of one thread's call, another may wait for ---- */

/* One that sleeps until `*came` is not 0; says whether it was woken for that. */
static void *sleep_once(void *arg)
{
	struct player *p = arg;
	bool woken = true;

	while (woken && !load(&p->came))
		woken = up_ep_wait(p->ep, RIG_PATIENCE_MS);
	return woken ? arg : NULL;
}

static void until_asleep(struct up_ep *ep)
{
	uint64_t start = rig_now_us();
	bool asleep;

	do {
		rig_patience(start);
		up_ep_enter(ep);
		asleep = up_priv(ep)->armed;
		up_ep_leave(ep);
	} while (!asleep);
}

static void stopped(void *ctx, int status, const struct up_tag_info *info)
{
	assert_int_equal(status, -ECANCELED);
	add(ctx);
}

static void sent(void *ctx, int status, size_t bytes)
{
	assert_int_equal(status, 0);
	add(ctx);
}

static uint64_t word = 1;
static const struct iovec one_word = {&word, sizeof(word)};

static void receives_unexpected(struct rig *rig, unsigned *came, void *what)
{
	receive(rig->b, 1, came);
}

static void receives_claimed(struct rig *rig, unsigned *came, void *what)
{
	assert_int_equal(up_tag_recv_claimed(rig->b, what, &one_word, 1, took, came), 0);
}

static void cancels(struct rig *rig, unsigned *came, void *what)
{
	assert_int_equal(up_tag_cancel(rig->b, what), 0);
}

static void sends(struct rig *rig, unsigned *came, void *what)
{
	assert_int_equal(up_tag_send(rig->b, rig->to_a, 1, &one_word, 1, 0, 0, sent, came), 0);
}

static void wakes_who_sleeps(struct rig *rig, struct player *p,
			     void (*act)(struct rig *rig, unsigned *came, void *what), void *what)
{
	pthread_t t;
	void *woken;

	assert_int_equal(pthread_create(&t, NULL, sleep_once, p), 0);
	until_asleep(rig->b);
	act(rig, &p->came, what);
	assert_int_equal(load(&p->came), 1);
	pthread_join(t, &woken);
	assert_non_null(woken);
	p->came = 0;
}

static void send_unexpected(struct rig *rig)
{
	int r;

	assert_int_equal(up_tag_send(rig->a, rig->to_b, 1, &one_word, 1, 0, UP_INJECT, NULL, NULL),
			 0);
	while ((r = up_tag_peek(rig->b, UP_PEER_ANY, 1, 0, NULL, NULL)) == -ENOENT)
		rig_run(rig);
	assert_int_equal(r, 0);
}

static void end_inside_a_call_wakes(void **state)
{
	struct up_ep_attr attr = {.thread = UP_THREAD_MULTIPLE};

	for (unsigned i = 0; i < 2; i++) {
		struct up_tag_message *claim;
		struct up_tag_recv *posted;
		struct player p = {0};
		struct rig rig;

		attr.progress = i ? UP_PROGRESS_AUTO : UP_PROGRESS_MANUAL;
		rig_setup(&rig, &attr);
		p.ep = rig.b;
		send_unexpected(&rig);
		wakes_who_sleeps(&rig, &p, receives_unexpected, NULL);
		send_unexpected(&rig);
		assert_int_equal(up_tag_peek(rig.b, UP_PEER_ANY, 1, 0, NULL, &claim), 0);
		wakes_who_sleeps(&rig, &p, receives_claimed, claim);
		assert_int_equal(up_tag_recv(rig.b, UP_PEER_ANY, 2, 0, &one_word, 1, stopped,
					     &p.came, &posted),
				 0);
		wakes_who_sleeps(&rig, &p, cancels, posted);
		wakes_who_sleeps(&rig, &p, sends, NULL);
		rig_teardown(&rig);
	}
}

/* ---- two threads, each with an endpoint ---- */

static void wait_for(struct player *p, unsigned n)
{
	while (load(&p->came) < n) {
		if (!p->by_fd) {
			assert_int_not_equal(up_ep_wait(p->ep, RIG_PATIENCE_MS), 0);
		} else if (!up_progress(p->ep) && load(&p->came) < n && !up_ep_arm(p->ep)) {
			assert_true(readable(p->ep, RIG_PATIENCE_MS));
		}
	}
}

static void *play(void *arg)
{
	struct player *p = arg;

	for (unsigned i = 1; i <= TURNS; i++) {
		wait_for(p, i);
		assert_int_equal(poke(p->ep, p->peer), 0);
	}
	return NULL;
}

static void no_wake_up_is_lost(const struct up_ep_attr *attr, bool by_fd)
{
	struct player a = {.by_fd = by_fd}, b = {.by_fd = by_fd};
	struct rig rig;
	pthread_t t;

	rig_setup(&rig, attr);
	a.ep = rig.a;
	a.peer = rig.to_b;
	b.ep = rig.b;
	b.peer = rig.to_a;
	up_am_set_handler(rig.a, 1, count, &a.came);
	up_am_set_handler(rig.b, 1, count, &b.came);
	assert_int_equal(pthread_create(&t, NULL, play, &b), 0);
	for (unsigned i = 1; i <= TURNS; i++) {
		assert_int_equal(poke(a.ep, a.peer), 0);
		wait_for(&a, i);
	}
	pthread_join(t, NULL);
	rig_teardown(&rig);
}

static void sleeps_and_wakes(void **state)
{
	const struct up_ep_attr attrs[] = {
		{.thread = UP_THREAD_SINGLE},
		{.thread = UP_THREAD_MULTIPLE},
		{.thread = UP_THREAD_MULTIPLE, .progress = UP_PROGRESS_AUTO},
	};

	/* Without polling first, so that every turn sleeps. */
	setenv("UNDERPASS_SPIN", "0", 1);
	for (size_t i = 0; i < UP_ARRAY_SIZE(attrs); i++) {
		no_wake_up_is_lost(&attrs[i], false);
		no_wake_up_is_lost(&attrs[i], true);
	}
	unsetenv("UNDERPASS_SPIN");
	no_wake_up_is_lost(&attrs[2], false);
}

/* ---- many threads, one endpoint ---- */

#define THREADS 4
#define EACH 500

struct worker {
	struct rig *rig;
	unsigned done;
	pthread_t thread;
};

static void *work(void *arg)
{
	struct worker *w = arg;

	for (unsigned i = 1; i <= EACH; i++) {
		int r;

		while ((r = up_am_request(w->rig->a, w->rig->to_b, 1, NULL, 0, &i, sizeof(i), 8, 0,
					  counted, &w->done)) == -EAGAIN)
			up_ep_wait(w->rig->a, 1000);
		assert_int_equal(r, 0);
		/* Some at a time; each waits for its own, whoever moves them. */
		while (i % 8 == 0 && load(&w->done) < i)
			assert_int_not_equal(up_ep_wait(w->rig->a, RIG_PATIENCE_MS), 0);
	}
	while (load(&w->done) < EACH)
		assert_int_not_equal(up_ep_wait(w->rig->a, RIG_PATIENCE_MS), 0);
	return NULL;
}

static void reply(struct up_am *am, void *arg)
{
	assert_int_equal(up_am_reply(am, 2, NULL, 0, am->data, am->bytes), 0);
}

static void share(const struct up_ep_attr *attr)
{
	struct worker w[THREADS] = {0};
	unsigned replies = 0, done = 0;
	struct rig rig;

	rig_setup(&rig, attr);
	up_am_set_handler(rig.b, 1, reply, NULL);
	up_am_set_handler(rig.a, 2, count, &replies);
	for (unsigned i = 0; i < THREADS; i++) {
		w[i].rig = &rig;
		assert_int_equal(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
	}
	while (load(&replies) < THREADS * EACH)
		up_ep_wait(rig.b, 1);
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(w[i].thread, NULL);
		done += w[i].done;
	}
	assert_int_equal(done, THREADS * EACH);
	rig_teardown(&rig);
}

static void threads_share_an_endpoint(void **state)
{
	struct up_ep_attr attr = {.thread = UP_THREAD_MULTIPLE};

	share(&attr);
	attr.progress = UP_PROGRESS_AUTO;
	share(&attr);
	setenv("UNDERPASS_SPIN", "0", 1);
	share(&attr);
	attr.progress = UP_PROGRESS_MANUAL;
	share(&attr);
	unsetenv("UNDERPASS_SPIN");
}

/* ---- automatic progress ---- */

/* A thread of the test's own that sleeps until it is rung for, and says that it has heard. */
struct bell {
	int fd;
	unsigned heard;
	pthread_t thread;
};

enum { RING = 1, END = 2 };

static void *listen(void *arg)
{
	struct bell *b = arg;
	uint64_t n;

	while (read(b->fd, &n, sizeof(n)) == sizeof(n) && n == RING)
		add(&b->heard);
	return NULL;
}

static void ring(const struct bell *b, uint64_t n)
{
	assert_int_equal(write(b->fd, &n, sizeof(n)), sizeof(n));
}

static int by_time(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

struct caller {
	struct up_ep *ep;
	up_peer to;
	unsigned sent, done;
	struct bell bell;
};

#define CALLS 200

/*
 * How soon a message is answered, and how soon the bell is: one after the other, so that both meet
 * the same machine. The bound is 100 us on an idle one; what is tested is twenty times that.
 */
static bool answered_soon(struct caller *c)
{
	uint64_t ours[CALLS], bells[CALLS], bound;

	for (unsigned i = 0; i < CALLS; i++) {
		uint64_t start;
		unsigned heard = load(&c->bell.heard);

		/* Long enough that the other's thread sleeps. */
		usleep(i % 2 ? 300 : 1000);
		start = rig_now_us();
		assert_int_equal(
			up_am_request(c->ep, c->to, 1, NULL, 0, NULL, 0, 0, 0, counted, &c->done),
			0);
		c->sent++;
		for (; load(&c->done) < c->sent; rig_patience(start))
			up_progress(c->ep);
		ours[i] = rig_now_us() - start;
		usleep(300);
		start = rig_now_us();
		ring(&c->bell, RING);
		while (load(&c->bell.heard) == heard)
			rig_patience(start);
		bells[i] = rig_now_us() - start;
	}
	qsort(ours, CALLS, sizeof(ours[0]), by_time);
	qsort(bells, CALLS, sizeof(bells[0]), by_time);
	print_message("# median %u us, 95 %% %u us, of a bell %u us\n", (unsigned)ours[CALLS / 2],
		      (unsigned)ours[CALLS * 95 / 100], (unsigned)bells[CALLS / 2]);
	bound = 20 * (bells[CALLS / 2] > 100 ? bells[CALLS / 2] : 100);
	return ours[CALLS / 2] <= bound;
}

/* The target computes, or sleeps, and never calls the library. */
static void serves_who_never_calls(void **state)
{
	const struct up_ep_attr attr = {.progress = UP_PROGRESS_AUTO};
	struct caller c = {.ep = rig_open(NULL), .bell.fd = eventfd(0, EFD_CLOEXEC)};
	struct up_ep *b = rig_open(&attr);
	unsigned came = 0, tries = 1;

	c.to = rig_peer(c.ep, b);
	up_am_set_handler(b, 1, count, &came);
	assert_int_equal(pthread_create(&c.bell.thread, NULL, listen, &c.bell), 0);
	while (!answered_soon(&c) && tries < 10)
		tries++;
	assert_in_range(tries, 1, 9);
	assert_int_equal(load(&came), c.sent);
	ring(&c.bell, END);
	pthread_join(c.bell.thread, NULL);
	close(c.bell.fd);
	up_ep_close(c.ep);
	up_ep_close(b);
}

/* The application's own polling keeps the thread back, and its end brings it back. */
static void stands_back_and_returns(void **state)
{
	const struct up_ep_attr attr = {.progress = UP_PROGRESS_AUTO};
	struct up_ep *a = rig_open(NULL), *b = rig_open(&attr);
	up_peer to_b = rig_peer(a, b);
	unsigned done = 0, came = 0;

	up_am_set_handler(b, 1, count, &came);
	for (unsigned i = 0; i < 20; i++) {
		uint64_t start = rig_now_us();

		while (rig_now_us() - start < 1000)
			up_progress(b);
		assert_int_equal(up_am_request(a, to_b, 1, NULL, 0, NULL, 0, 0, 0, counted, &done),
				 0);
		start = rig_now_us();
		for (; load(&done) <= i; rig_patience(start))
			up_progress(a);
	}
	up_ep_close(a);
	up_ep_close(b);
}

/* Work that begins in a call of the application, while the thread sleeps. */
static int resume(struct up_op *op)
{
	op->answered(op, 0, NULL, NULL);
	return 0;
}

static unsigned ended;

static void end(struct up_op *op, int status, const struct up_packet *p, const void *payload)
{
	add(&ended);
}

static void kicks_the_thread(void **state)
{
	const struct up_ep_attr attr = {.progress = UP_PROGRESS_AUTO};
	struct rig rig;

	rig_setup(&rig, &attr);
	for (unsigned i = 1; i <= 20; i++) {
		struct up_op op = {.answered = end, .resume = resume};
		uint64_t start;

		usleep(1000);
		up_ep_lock(rig.a);
		up_op_park(rig.a->peers[rig.to_b], &op);
		up_ep_unlock(rig.a);
		start = rig_now_us();
		while (load(&ended) < i)
			rig_patience(start);
	}
	rig_teardown(&rig);
}

/* Threads that sleep see the peer go. */
static void *wait_for_end(void *arg)
{
	struct player *p = arg;

	while (!load(&p->came))
		assert_int_not_equal(up_ep_wait(p->ep, RIG_PATIENCE_MS), 0);
	return NULL;
}

static void went(void *ctx, int status, size_t bytes)
{
	assert_int_equal(status, -EHOSTDOWN);
	add(ctx);
}

static void end_of_a_peer_wakes(void **state)
{
	const struct up_ep_attr attr = {.thread = UP_THREAD_MULTIPLE};
	struct player p = {0};
	struct rig rig;
	pthread_t t[2];

	rig_setup(&rig, &attr);
	p.ep = rig.a;
	assert_int_equal(up_am_request(rig.a, rig.to_b, 1, NULL, 0, NULL, 0, 0, 0, went, &p.came),
			 0);
	assert_int_equal(pthread_create(&t[0], NULL, wait_for_end, &p), 0);
	assert_int_equal(pthread_create(&t[1], NULL, wait_for_end, &p), 0);
	usleep(2000);
	up_ep_close(rig.b);
	pthread_join(t[0], NULL);
	pthread_join(t[1], NULL);
	assert_int_equal(p.came, 1);
	up_ep_close(rig.a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(times_out),
		cmocka_unit_test(arms_and_tells),
		cmocka_unit_test(many_endpoints),
		cmocka_unit_test(closed_by_child),
		cmocka_unit_test(refused_is_woken),
		cmocka_unit_test(sleeps_on_what_is_refused),
		cmocka_unit_test(end_inside_a_call_wakes),
		cmocka_unit_test(sleeps_and_wakes),
		cmocka_unit_test(threads_share_an_endpoint),
		cmocka_unit_test(serves_who_never_calls),
		cmocka_unit_test(stands_back_and_returns),
		cmocka_unit_test(kicks_the_thread),
		cmocka_unit_test(end_of_a_peer_wakes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
