/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The shm lane between processes: traffic both ways, and every way in which a peer can go. The
 * child of a test opens an endpoint of its own after the fork; addresses go through pipes.
 */
#include "shm_core.h"
#include "../unit/count_fds.h"

#include <errno.h>
#include <fcntl.h>
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

#define FLOOD 50000u

struct child {
	pid_t pid;
	int to, from; /* pipes */
};

typedef void child_main(int in, int out);

static struct child spawn(child_main *run)
{
	int down[2], up[2];
	struct child c;

	assert_int_equal(pipe2(down, O_CLOEXEC), 0);
	assert_int_equal(pipe2(up, O_CLOEXEC), 0);
	c.pid = fork();
	assert_true(c.pid >= 0);
	if (c.pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(down[1]);
		close(up[0]);
		run(down[0], up[1]);
		_exit(0);
	}
	close(down[0]);
	close(up[1]);
	c.to = down[1];
	c.from = up[0];
	return c;
}

static void put(int fd, const void *buf, size_t n)
{
	if (write(fd, buf, n) != (ssize_t)n)
		abort();
}

static void take(int fd, void *buf, size_t n)
{
	if (read(fd, buf, n) != (ssize_t)n)
		abort();
}

/* The child's exit status. */
static int reap(struct child *c)
{
	int status;

	assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
	close(c->to);
	close(c->from);
	return status;
}

static struct up_link *connect_addr(struct end *e, const struct shm_addr *a)
{
	struct up_link *link = NULL;

	if (e->lane->ops->connect(e->lane, a, sizeof(*a), &link))
		abort();
	return link;
}

/* Opens the child's endpoint; it connects to the parent's address that comes first. */
static struct up_link *child_open(struct end *e, int in, int out)
{
	struct shm_addr to;

	take(in, &to, sizeof(to));
	end_open(e, 64);
	(void)out;
	return connect_addr(e, &to);
}

static bool in_order(struct end *e, struct up_link *link, const void *packet, size_t bytes)
{
	uint32_t *next = e->arg;

	assert_int_equal(end_check(packet, bytes), *next);
	++*next;
	return true;
}

static size_t size_of(uint32_t n)
{
	uint32_t x = n * 2654435761u;

	return x % 8 == 0 ? 4 + x / 8 % (SHM_MAX_PACKET - 4) : 4 + x / 8 % 100;
}

/* Sends and receives FLOOD packets. */
static void flood(struct end *e, struct up_link *link)
{
	const uint32_t *next = e->arg;
	uint32_t sent = 0;

	while (sent < FLOOD || *next < FLOOD) {
		for (int i = 0; i < 20 && sent < FLOOD; i++) {
			if (!end_send(link, UP_LANE_REQUEST, sent, size_of(sent)))
				break;
			sent++;
		}
		if (!end_poll(e))
			sched_yield();
	}
}

static void child_flood(int in, int out)
{
	uint32_t next = 0;
	struct end e;
	struct up_link *link = child_open(&e, in, out);

	e.packet = in_order;
	e.arg = &next;
	flood(&e, link);
	end_close(&e);
}

/* An endpoint here, and a child that is told of it. */
static struct child open_and_spawn(struct end *e, end_packet *packet, void *arg, child_main *run)
{
	struct shm_addr a;
	struct child c;

	end_open(e, 64);
	e->packet = packet;
	e->arg = arg;
	a = end_addr(e);
	c = spawn(run);
	put(c.to, &a, sizeof(a));
	return c;
}

static void test_flood(void **state)
{
	uint32_t next = 0;
	struct end e;
	struct child c = open_and_spawn(&e, in_order, &next, child_flood);

	while (!e.linked)
		end_poll(&e);
	flood(&e, e.linked);
	assert_int_equal(reap(&c), 0);
	while (!e.ndown) {
		end_sleep(&e);
		end_poll(&e);
	}
	assert_int_equal(e.down, -EHOSTDOWN);
	end_close(&e);
}

/* Says that it is there, then does as its test wants until it is killed. */
static void child_idle(int in, int out)
{
	struct end e;
	struct up_link *link = child_open(&e, in, out);

	end_send(link, UP_LANE_REQUEST, 0, 24);
	for (;;)
		pause();
}

static void child_busy(int in, int out)
{
	struct end e;
	struct up_link *link = child_open(&e, in, out);

	for (uint32_t n = 0;;) {
		if (end_send(link, UP_LANE_REQUEST, n, size_of(n)))
			n++;
		end_poll(&e);
	}
}

/* Another program in the same process: the endpoint is gone, the process is not. */
static void child_exec(int in, int out)
{
	struct end e;
	struct up_link *link = child_open(&e, in, out);

	end_send(link, UP_LANE_REQUEST, 0, 24);
	execlp("sleep", "sleep", "1000", NULL);
	abort();
}

/* Its own child still has all descriptors when it is killed. */
static void child_forked(int in, int out)
{
	struct end e;
	struct up_link *link = child_open(&e, in, out);
	pid_t pid = fork();

	if (pid == 0) {
		for (;;)
			pause();
	}
	end_send(link, UP_LANE_REQUEST, 0, 24);
	put(out, &pid, sizeof(pid));
	for (;;)
		pause();
}

/* The peer goes, by `signal` or by itself; sleeping or not, the end comes, and once. */
static void one_death(child_main *run, int signal, bool asleep)
{
	uint32_t next = 0;
	struct end e;
	struct child c;
	struct shm_addr a;
	pid_t other = 0;
	unsigned fds;

	end_open(&e, 64);
	fds = count_fds();
	e.packet = in_order;
	e.arg = &next;
	a = end_addr(&e);
	c = spawn(run);
	put(c.to, &a, sizeof(a));
	while (!next)
		end_poll(&e);
	if (run == child_forked)
		take(c.from, &other, sizeof(other));
	if (run == child_busy)
		while (next < 5000)
			end_poll(&e);
	if (signal)
		kill(c.pid, signal);
	while (!e.ndown) {
		if (asleep)
			end_sleep(&e);
		end_poll(&e);
	}
	assert_int_equal(e.down, -EHOSTDOWN);
	assert_int_equal(e.nlinked, 1);
	for (int i = 0; i < 1000; i++)
		end_poll(&e);
	assert_int_equal(e.ndown, 1);
	assert_true(end_send(e.linked, UP_LANE_ANSWER, 1, 100));
	e.lane->ops->disconnect(e.linked);
	end_poll(&e);
	assert_true(end_slots_free(&e));
	kill(c.pid, SIGKILL);
	reap(&c);
	if (other)
		kill(other, SIGKILL);
	assert_int_equal(count_fds(), fds);
	end_close(&e);
}

/* A peer that has been gone for two of the periods in which polls look is seen by a few hundred of
 * them, and one that goes makes the descriptor readable. */
static void end_is_seen(bool asleep)
{
	struct pollfd pfd = {.events = POLLIN};
	uint32_t next = 0;
	siginfo_t gone;
	struct end e;
	struct child c = open_and_spawn(&e, in_order, &next, child_idle);

	while (!next)
		end_poll(&e);
	pfd.fd = e.lane->ops->fd(e.lane);
	while (asleep && !e.lane->ops->arm(e.lane))
		end_poll(&e);
	kill(c.pid, SIGKILL);
	assert_int_equal(waitid(P_PID, (id_t)c.pid, &gone, WEXITED | WNOWAIT), 0);
	if (asleep)
		assert_int_equal(poll(&pfd, 1, 60000), 1);
	else
		usleep(20000);
	for (unsigned i = 0; i < 1000 && !e.ndown; i++)
		end_poll(&e);
	assert_int_equal(e.ndown, 1);
	reap(&c);
	end_close(&e);
}

static void test_end_is_seen(void **state)
{
	end_is_seen(false);
	end_is_seen(true);
}

static void test_killed_while_idle(void **state)
{
	one_death(child_idle, SIGKILL, false);
}

static void test_killed_while_we_sleep(void **state)
{
	one_death(child_idle, SIGKILL, true);
}

static void test_killed_in_a_flood(void **state)
{
	for (int i = 0; i < 20; i++)
		one_death(child_busy, SIGKILL, i & 1);
}

static void test_killed_with_children(void **state)
{
	one_death(child_forked, SIGKILL, true);
}

static void test_another_program(void **state)
{
	one_death(child_exec, 0, true);
	one_death(child_exec, 0, false);
}

/* Sends and goes, before the other end looks for the first time. */
static void child_hit_and_run(int in, int out)
{
	struct end e;
	struct up_link *link = child_open(&e, in, out);

	for (uint32_t n = 0; n < 50; n++)
		end_send(link, UP_LANE_REQUEST, n, 100);
	end_close(&e);
}

/* The same without a word. */
static void child_crash(int in, int out)
{
	struct end e;
	struct up_link *link = child_open(&e, in, out);

	for (uint32_t n = 0; n < 50; n++)
		end_send(link, UP_LANE_REQUEST, n, 100);
	kill(getpid(), SIGKILL);
}

static bool seldom(struct end *e, struct up_link *link, const void *packet, size_t bytes)
{
	static unsigned calls;

	return ++calls % 3 == 0 && in_order(e, link, packet, bytes);
}

static void gone_before(child_main *run, end_packet *packet)
{
	uint32_t next = 0;
	struct end e;
	struct child c = open_and_spawn(&e, packet, &next, run);

	reap(&c);
	while (!e.ndown)
		end_poll(&e);
	assert_int_equal(next, 50);
	assert_int_equal(e.down, -EHOSTDOWN);
	e.lane->ops->disconnect(e.linked);
	end_poll(&e);
	assert_true(end_slots_free(&e));
	end_close(&e);
}

static void test_gone_before_contact(void **state)
{
	gone_before(child_hit_and_run, in_order);
	gone_before(child_hit_and_run, seldom);
	gone_before(child_crash, in_order);
}

/* A claim that was never finished does not take a slot for ever. */
static void test_dead_claims(void **state)
{
	struct end a, b;
	pid_t dead = fork();

	if (dead == 0)
		_exit(0);
	waitpid(dead, NULL, 0);
	end_open(&a, 64);
	end_open(&b, 64);
	for (int i = 0; i < 64; i++)
		((struct shm_lane *)b.lane)->claims[i] = (uint64_t)dead;
	assert_true(end_send(end_connect(&a, &b), UP_LANE_REQUEST, 1, 24));
	end_run(&a, &b);
	assert_int_equal(b.npackets, 1);
	end_close(&a);
	end_close(&b);
}

/* What the child lets others use. */
struct offer {
	uint64_t at;
	struct up_lane_mem mem;
};

static void child_memory(int in, int out)
{
	struct end e;
	char *plain = malloc(100000), *shared;
	struct offer o = {.at = (uintptr_t)plain};
	char byte;

	memset(plain, 'p', 100000);
	child_open(&e, in, out);
	shared = up_shm_mem_alloc(e.lane, 8192);
	shared[5000] = 's';
	if (!up_shm_mem_share(e.lane, shared + 5000, 100, &o.mem))
		abort();
	put(out, &o, sizeof(o));
	take(in, &byte, 1);
	if (shared[5001] != 't' || plain[0] != 'q' || plain[99999] != 'q')
		abort();
	end_close(&e);
}

static void test_memory(void **state)
{
	struct end e;
	struct child c;
	struct shm_addr a;
	struct offer o;
	char *buf = malloc(100000);
	struct up_lane_window w;
	struct iovec iov = {buf, 100000};

	end_open(&e, 64);
	a = end_addr(&e);
	c = spawn(child_memory);
	put(c.to, &a, sizeof(a));
	take(c.from, &o, sizeof(o));
	while (!e.linked)
		end_poll(&e);
	assert_int_equal(up_shm_get(e.linked, &iov, 1, o.at, 100000), 0);
	assert_int_equal(buf[99999], 'p');
	memset(buf, 'q', 100000);
	assert_int_equal(up_shm_put(e.linked, &iov, 1, o.at, 100000), 0);
	assert_true(up_shm_mem_map(e.linked, &o.mem, 100, &w));
	assert_true(up_lane_enter(e.linked, &w));
	assert_int_equal(w.memory[0], 's');
	w.memory[1] = 't';
	up_lane_leave(e.linked);
	put(c.to, "x", 1);
	assert_int_equal(reap(&c), 0);
	usleep(20000);
	assert_int_equal(up_shm_get(e.linked, &iov, 1, o.at, 100000), -EHOSTDOWN);
	/* The mapping outlives its owner, but what was there does not. */
	assert_int_equal(w.memory[1], 0);
	up_shm_mem_unmap(e.linked, &w);
	end_close(&e);
	free(buf);
}

/* Dies in the middle of an access. */
static void child_in_window(int in, int out)
{
	struct up_lane_window w;
	struct up_lane_mem mem;
	struct end e;
	struct up_link *link = child_open(&e, in, out);

	take(in, &mem, sizeof(mem));
	if (!up_shm_mem_map(link, &mem, 4096, &w) || !up_lane_enter(link, &w))
		abort();
	put(out, "x", 1);
	pause();
}

struct killer {
	struct child *child;
	bool unshared; /* __atomic */
	bool waited;
};

static void *kill_later(void *arg)
{
	struct killer *k = arg;

	usleep(50000);
	k->waited = !__atomic_load_n(&k->unshared, __ATOMIC_ACQUIRE);
	kill(k->child->pid, SIGKILL);
	return NULL;
}

/* Memory is taken back when nobody is in it: a peer that lives is waited for, a dead one is not. */
static void test_killed_in_window(void **state)
{
	struct up_lane_mem mem;
	struct killer k = {0};
	struct end e;
	struct child c = open_and_spawn(&e, in_order, NULL, child_in_window);
	pthread_t thread;
	char byte;

	k.child = &c;
	while (!e.linked)
		end_poll(&e);
	assert_true(up_shm_mem_share(e.lane, up_shm_mem_alloc(e.lane, 4096), 4096, &mem));
	put(c.to, &mem, sizeof(mem));
	take(c.from, &byte, 1);
	pthread_create(&thread, NULL, kill_later, &k);
	up_shm_mem_unshare(e.lane, &mem);
	__atomic_store_n(&k.unshared, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	assert_true(k.waited);
	reap(&c);
	end_close(&e);
}

/* A forked child that closes its parent's endpoint takes nothing from the parent. */
static void test_closed_by_child(void **state)
{
	struct up_lane_window w;
	struct up_lane_mem mem;
	struct up_link *link;
	struct end a, b;
	char *own;
	pid_t pid;

	end_open(&a, 64);
	end_open(&b, 64);
	link = end_connect(&a, &b);
	end_run(&a, &b);
	own = up_shm_mem_alloc(b.lane, 4096);
	own[0] = 'x';
	assert_true(up_shm_mem_share(b.lane, own, 4096, &mem));
	assert_true(up_shm_mem_map(link, &mem, 4096, &w));
	pid = fork();
	if (pid == 0) {
		up_shm_mem_unshare(b.lane, &mem);
		end_close(&a);
		end_close(&b);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_true(up_lane_enter(link, &w));
	assert_int_equal(w.memory[0], 'x');
	up_lane_leave(link);
	for (uint32_t n = 0; n < 1000; n++) {
		assert_true(end_send(link, UP_LANE_REQUEST, n, 100));
		end_run(&a, &b);
	}
	assert_int_equal(b.npackets, 1000);
	assert_int_equal(a.ndown + b.ndown, 0);
	/* It is still watched for its end. */
	end_close(&b);
	while (!a.ndown)
		end_poll(&a);
	end_close(&a);
}

/* A process of another user has no way to the segment. */
static void child_stranger(int in, int out)
{
	struct shm_addr to;
	struct up_link *link;
	struct end e;
	int err;

	take(in, &to, sizeof(to));
	if (setgid(65534) || setuid(65534))
		abort();
	/* The change of user took it away. */
	prctl(PR_SET_DUMPABLE, 1);
	end_open(&e, 64);
	err = e.lane->ops->connect(e.lane, &to, sizeof(to), &link);
	put(out, &err, sizeof(err));
	/* Nor when the address says that it were its own. */
	to.host = end_addr(&e).host;
	err = e.lane->ops->connect(e.lane, &to, sizeof(to), &link);
	put(out, &err, sizeof(err));
	end_close(&e);
}

static void test_another_user(void **state)
{
	struct shm_addr a;
	struct child c;
	struct end e;
	int err;

	if (geteuid() != 0)
		skip();
	end_open(&e, 64);
	a = end_addr(&e);
	c = spawn(child_stranger);
	put(c.to, &a, sizeof(a));
	for (int i = 0; i < 2; i++) {
		take(c.from, &err, sizeof(err));
		assert_int_equal(err, -EHOSTUNREACH);
	}
	assert_int_equal(reap(&c), 0);
	end_close(&e);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_end_is_seen),
		cmocka_unit_test(test_killed_while_idle),
		cmocka_unit_test(test_killed_while_we_sleep),
		cmocka_unit_test(test_killed_in_a_flood),
		cmocka_unit_test(test_killed_with_children),
		cmocka_unit_test(test_another_program),
		cmocka_unit_test(test_gone_before_contact),
		cmocka_unit_test(test_dead_claims),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_killed_in_window),
		cmocka_unit_test(test_closed_by_child),
		cmocka_unit_test(test_another_user),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
