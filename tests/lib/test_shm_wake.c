/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * No wake-up is lost: all waits are without a time limit, so a lost one ends the run by the test
 * runner's. With expedited barriers and with fences; between processes and between threads; for
 * packets, for room in a ring, and with several sleepers on one endpoint.
 */
#include "shm_core.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROUNDS 4000u
#define FLOOD 8000u
#define NARROW 40000u
#define NARROW_MS 2000u

/* The lane without expedited barriers, as on a kernel that has none. */
static void use_fences(struct end *e)
{
	struct shm_lane *lane = (struct shm_lane *)e->lane;

	lane->membarrier = false;
	lane->header->membarrier = 0;
}

static void pause_randomly(uint64_t *seed)
{
	uint64_t r = unit_random(seed);

	switch (r % 8) {
	case 0:
		sched_yield();
		break;
	case 1:
		usleep((unsigned)(r >> 8) % 50);
		break;
	default:
		for (volatile unsigned i = 0; i < (r >> 8) % 2000; i++)
			;
	}
}

/* One end of a ping-pong where each sleeps, at once or after some polls. */
static void play(struct end *e, struct up_link *link, bool first, uint64_t seed)
{
	for (unsigned round = 0; round < ROUNDS; round++) {
		unsigned want = round + 1;

		if (first) {
			assert_true(end_send(link, UP_LANE_REQUEST, round, 24));
			pause_randomly(&seed);
		}
		for (uint64_t polls = unit_random(&seed) % 200; e->npackets < want; polls--) {
			if (polls == 0) {
				end_sleep(e);
				polls = unit_random(&seed) % 200 + 1;
			}
			end_poll(e);
		}
		if (!first) {
			pause_randomly(&seed);
			assert_true(end_send(link, UP_LANE_REQUEST, round, 24));
		}
	}
}

/* Waits until the other end has made contact. */
static struct up_link *wait_linked(struct end *e)
{
	while (!e->linked) {
		end_sleep(e);
		end_poll(e);
	}
	return e->linked;
}

/* Shared with the child. */
struct meeting {
	struct shm_addr addr;
	unsigned ready;
	unsigned arrived; /* packets */
	unsigned stop;
	bool fences;
	pid_t child;
};

/* An endpoint in the child, with a link to the parent's. */
static struct up_link *join(struct end *e, const struct meeting *m)
{
	struct up_link *link = NULL;

	end_open(e, 64);
	if (m->fences)
		use_fences(e);
	while (!__atomic_load_n(&m->ready, __ATOMIC_ACQUIRE))
		usleep(1000);
	if (e->lane->ops->connect(e->lane, &m->addr, sizeof(m->addr), &link))
		abort();
	return link;
}

static cpu_set_t allowed;

/* The two sides on two processors where there are two: on one they would never meet. */
static pid_t fork_apart(void)
{
	cpu_set_t one;
	int skip;
	pid_t pid;

	sched_getaffinity(0, sizeof(allowed), &allowed);
	pid = fork();
	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	skip = pid == 0;
	CPU_ZERO(&one);
	for (int i = 0; i < CPU_SETSIZE; i++) {
		if (CPU_ISSET(i, &allowed) && skip-- == 0)
			CPU_SET(i, &one);
	}
	sched_setaffinity(0, sizeof(one), &one);
	return pid;
}

/* A child that runs `other`, on another processor, and the endpoint here that it joins. */
static struct meeting *meet(struct end *e, bool fences, void (*other)(struct meeting *m))
{
	struct meeting *m =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid;

	assert_true(m != MAP_FAILED);
	m->fences = fences;
	pid = fork_apart();
	if (pid == 0) {
		other(m);
		_exit(0);
	}
	m->child = pid;
	end_open(e, 64);
	if (fences)
		use_fences(e);
	m->addr = end_addr(e);
	__atomic_store_n(&m->ready, 1, __ATOMIC_RELEASE);
	return m;
}

static void part(struct meeting *m, struct end *e)
{
	int status;

	sched_setaffinity(0, sizeof(allowed), &allowed);
	assert_int_equal(waitpid(m->child, &status, 0), m->child);
	assert_int_equal(status, 0);
	end_close(e);
	munmap(m, 4096);
}

static void play_first(struct meeting *m)
{
	struct end e;
	struct up_link *link = join(&e, m);

	play(&e, link, true, 11);
	end_close(&e);
}

static void ping_pong(bool fences)
{
	struct end e;
	struct meeting *m = meet(&e, fences, play_first);

	play(&e, wait_linked(&e), false, 17);
	part(m, &e);
}

static void test_ping_pong(void **state)
{
	ping_pong(false);
}

static void test_ping_pong_with_fences(void **state)
{
	ping_pong(true);
}

/* Enough rounds, or enough time on a machine that is busy: then the other side ends, too. */
static bool go_on(struct meeting *m, unsigned round)
{
	static uint64_t until;

	if (round == 0)
		until = end_now() + NARROW_MS;
	if (round < NARROW && (round % 64 || end_now() < until))
		return true;
	__atomic_store_n(&m->stop, 1, __ATOMIC_RELEASE);
	return false;
}

static void spin(uint64_t n)
{
	for (volatile uint64_t i = 0; i < n; i++)
		;
}

/* The sender never sleeps, and sends just when the other end may be about to. */
static void send_narrowly(struct meeting *m)
{
	struct end e;
	struct up_link *link = join(&e, m);
	uint64_t seed = 41;

	for (unsigned round = 0; go_on(m, round); round++) {
		assert_true(end_send(link, UP_LANE_REQUEST, round, 24));
		while (__atomic_load_n(&m->arrived, __ATOMIC_ACQUIRE) <= round)
			end_poll(&e);
		spin(unit_random(&seed) % 1500);
	}
	/* The other end may be asleep. */
	end_send(link, UP_LANE_REQUEST, 0, 24);
	end_close(&e);
}

static void narrow(bool fences)
{
	struct end e;
	struct meeting *m = meet(&e, fences, send_narrowly);
	uint64_t seed = 43;

	while (!__atomic_load_n(&m->stop, __ATOMIC_ACQUIRE)) {
		spin(unit_random(&seed) % 100);
		end_sleep(&e);
		end_poll(&e);
		__atomic_store_n(&m->arrived, e.npackets, __ATOMIC_RELEASE);
	}
	part(m, &e);
}

static void test_narrow(void **state)
{
	narrow(false);
}

static void test_narrow_with_fences(void **state)
{
	narrow(true);
}

/*
 * Rings become cold while packets come: the consumer sweeps at every poll, so each ring is cold two
 * polls after its last packet. The sender has two endpoints, as a single ring is never swept.
 */
static void send_in_turn(struct meeting *m)
{
	struct end x, y;
	struct up_link *to[2] = {join(&x, m), join(&y, m)};
	uint64_t seed = 47;

	for (unsigned round = 0; go_on(m, round); round++) {
		assert_true(end_send(to[round & 1], UP_LANE_REQUEST, round, 24));
		while (__atomic_load_n(&m->arrived, __ATOMIC_ACQUIRE) <= round)
			spin(unit_random(&seed) % 100);
	}
	end_close(&x);
	end_close(&y);
}

static void sweeps(bool fences)
{
	struct end e;
	struct meeting *m = meet(&e, fences, send_in_turn);

	while (!__atomic_load_n(&m->stop, __ATOMIC_ACQUIRE)) {
		((struct shm_lane *)e.lane)->polls = SHM_SWEEP_POLLS - 1;
		end_poll(&e);
		__atomic_store_n(&m->arrived, e.npackets, __ATOMIC_RELEASE);
	}
	part(m, &e);
}

static void test_sweeps(void **state)
{
	sweeps(false);
	sweeps(true);
}

/* A second thread that arms takes away the byte that the first was woken by. When it does not sleep
 * itself, because it finds room, the first must still wake up. */
static void test_second_arm(void **state)
{
	struct pollfd pfd = {.events = POLLIN};
	struct up_link *link;
	struct end a, b;

	end_open(&a, 64);
	end_open(&b, 64);
	link = end_connect(&a, &b);
	end_run(&a, &b);
	while (end_send(link, UP_LANE_REQUEST, 1, 2000))
		;
	assert_true(a.lane->ops->arm(a.lane));
	pfd.fd = a.lane->ops->fd(a.lane);
	assert_int_equal(poll(&pfd, 1, 0), 0);
	end_poll(&b);
	assert_int_equal(poll(&pfd, 1, 0), 1);
	assert_false(a.lane->ops->arm(a.lane));
	assert_int_equal(poll(&pfd, 1, 0), 1);
	/* When nobody finds anything more, it is quiet again. */
	assert_true(a.lane->ops->arm(a.lane));
	assert_int_equal(poll(&pfd, 1, 0), 0);
	end_close(&a);
	end_close(&b);
}

/* Sleeps whenever its ring is full. */
static void push(struct meeting *m)
{
	struct end e;
	struct up_link *link = join(&e, m);

	for (uint32_t n = 0; n < FLOOD;) {
		if (end_send(link, UP_LANE_REQUEST, n, 4 + n % 3000)) {
			n++;
			continue;
		}
		end_sleep(&e);
		end_poll(&e);
	}
	end_close(&e);
}

/* `awake`: the consumer never sleeps, so that only the producer's wake-ups matter. */
static void room(bool fences, bool awake)
{
	struct end e;
	struct meeting *m = meet(&e, fences, push);
	uint64_t seed = 23;

	while (e.npackets < FLOOD) {
		if (!end_poll(&e) && !awake && unit_random(&seed) % 4)
			end_sleep(&e);
		if (awake)
			spin(unit_random(&seed) % 2000);
		else if (unit_random(&seed) % 64 == 0)
			pause_randomly(&seed);
	}
	part(m, &e);
}

static void test_room(void **state)
{
	room(false, false);
	room(false, true);
}

static void test_room_with_fences(void **state)
{
	room(true, false);
	room(true, true);
}

/* A side of the same ping-pong, as a thread. */
struct side {
	struct end e;
	struct up_link *link;
	bool first;
};

static void *play_thread(void *arg)
{
	struct side *s = arg;

	play(&s->e, s->link ? s->link : wait_linked(&s->e), s->first, s->first ? 5 : 7);
	return NULL;
}

static void test_threads(void **state)
{
	struct side a = {.first = true}, b = {0};
	pthread_t t[2];

	end_open(&a.e, 64);
	end_open(&b.e, 64);
	a.link = end_connect(&a.e, &b.e);
	pthread_create(&t[0], NULL, play_thread, &a);
	pthread_create(&t[1], NULL, play_thread, &b);
	pthread_join(t[0], NULL);
	pthread_join(t[1], NULL);
	end_close(&a.e);
	end_close(&b.e);
}

/* One endpoint, under a lock: a thread that always sleeps when there is nothing, and one that polls
 * now and then, and takes away what the other was woken for. */
struct shared {
	struct end e;
	pthread_mutex_t lock;
	struct up_link *back;
	unsigned stop;
};

static bool echo(struct end *e, struct up_link *link, const void *packet, size_t bytes)
{
	struct shared *s = UP_CONTAINER_OF(e, struct shared, e);

	s->back = link;
	return end_send(link, UP_LANE_REQUEST, 0, 24);
}

static bool stopped(struct shared *s)
{
	return __atomic_load_n(&s->stop, __ATOMIC_ACQUIRE) != 0;
}

static void *sleeper(void *arg)
{
	struct shared *s = arg;
	struct pollfd pfd = {.fd = s->e.lane->ops->fd(s->e.lane), .events = POLLIN};

	while (!stopped(s)) {
		bool armed;

		pthread_mutex_lock(&s->lock);
		while (end_poll(&s->e))
			;
		armed = s->e.lane->ops->arm(s->e.lane);
		pthread_mutex_unlock(&s->lock);
		if (armed && !stopped(s))
			poll(&pfd, 1, -1);
	}
	return NULL;
}

static void *visitor(void *arg)
{
	struct shared *s = arg;
	uint64_t seed = 31;

	while (!stopped(s)) {
		pthread_mutex_lock(&s->lock);
		for (uint64_t n = unit_random(&seed) % 8; n; n--)
			end_poll(&s->e);
		if (unit_random(&seed) % 4 == 0)
			s->e.lane->ops->arm(s->e.lane);
		pthread_mutex_unlock(&s->lock);
		usleep((unsigned)(unit_random(&seed) % 100));
	}
	return NULL;
}

static void test_several_sleepers(void **state)
{
	struct shared s = {.lock = PTHREAD_MUTEX_INITIALIZER};
	struct up_link *link;
	struct end e;
	uint64_t seed = 3;
	pthread_t t[3];

	end_open(&s.e, 64);
	s.e.packet = echo;
	end_open(&e, 64);
	link = end_connect(&e, &s.e);
	pthread_create(&t[0], NULL, sleeper, &s);
	pthread_create(&t[1], NULL, visitor, &s);
	for (unsigned round = 0; round < ROUNDS / 2; round++) {
		assert_true(end_send(link, UP_LANE_REQUEST, round, 24));
		while (e.npackets <= round) {
			end_sleep(&e);
			end_poll(&e);
		}
		pause_randomly(&seed);
	}
	__atomic_store_n(&s.stop, 1, __ATOMIC_RELEASE);
	assert_true(end_send(link, UP_LANE_REQUEST, 0, 24));
	/* Wakes the sleeper, if nothing else does. */
	pthread_join(t[1], NULL);
	pthread_mutex_lock(&s.lock);
	up_shm_wake_self((struct shm_lane *)s.e.lane);
	pthread_mutex_unlock(&s.lock);
	pthread_join(t[0], NULL);
	end_close(&e);
	end_close(&s.e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads),	  cmocka_unit_test(test_several_sleepers),
		cmocka_unit_test(test_ping_pong), cmocka_unit_test(test_ping_pong_with_fences),
		cmocka_unit_test(test_narrow),	  cmocka_unit_test(test_narrow_with_fences),
		cmocka_unit_test(test_sweeps),	  cmocka_unit_test(test_second_arm),
		cmocka_unit_test(test_room),	  cmocka_unit_test(test_room_with_fences),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
