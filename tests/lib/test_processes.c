/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tagged messages and one-sided operations between processes, over the shm lane: checked data both
 * ways at once, and a peer that is killed in the middle.
 */
#include "rig.h"

#include "base/bytes.h"
#include "base/log.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST ((size_t)1 << 20)
#define SLOTS 8u

/* One end; the other is in another process. */
struct end {
	struct up_ep *ep;
	up_peer peer;
	pid_t child; /* parent only */
	int socket;
	uint8_t *memory; /* the peer uses it */
	struct up_region *region;
};

struct hello {
	uint8_t addr[UP_ADDR_MAX];
	size_t len;
};

/* No lane moves large data by itself: all of it goes by packets. */
static bool packets_only;
/* The memory is of up_mem_alloc(), so that the peer uses it by loads and stores. */
static bool mapped;

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void open_end(struct end *e)
{
	struct up_ep_attr attr = {.thread = UP_THREAD_SINGLE, .lanes = rig_process_lane()};
	struct hello hello = {0};

	must(!up_ep_open(&attr, &e->ep));
	e->memory = mapped ? up_mem_alloc(e->ep, SLOTS * MOST) : calloc(SLOTS, MOST);
	must(!up_region_open(e->ep, e->memory, SLOTS * MOST, 0,
			     UP_RMA_READ | UP_RMA_WRITE | UP_RMA_ATOMIC, 7, &e->region));
	hello.len = up_ep_address(e->ep, hello.addr);
	must(write(e->socket, &hello, sizeof(hello)) == sizeof(hello));
	must(read(e->socket, &hello, sizeof(hello)) == sizeof(hello));
	must(!up_peer_add(e->ep, hello.addr, hello.len, &e->peer));
	if (packets_only)
		e->ep->peers[e->peer]->link->lane->direct_from = SIZE_MAX;
}

static void close_end(struct end *e)
{
	up_region_close(e->region);
	if (mapped)
		up_mem_free(e->ep, e->memory);
	else
		free(e->memory);
	up_ep_close(e->ep);
	close(e->socket);
}

/* The child runs `body` and ends; it has no cmocka. */
static void start(struct end *e, void (*body)(struct end *e))
{
	int pair[2];

	memset(e, 0, sizeof(*e));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	fflush(NULL);
	e->child = fork();
	assert_true(e->child >= 0);
	if (!e->child) {
		close(pair[0]);
		e->socket = pair[1];
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		open_end(e);
		body(e);
		close_end(e);
		_exit(0);
	}
	close(pair[1]);
	e->socket = pair[0];
	open_end(e);
}

static void finish(struct end *e, bool killed)
{
	int status;

	assert_int_equal(waitpid(e->child, &status, 0), e->child);
	assert_int_equal(killed, WIFSIGNALED(status));
	if (!killed)
		assert_int_equal(WEXITSTATUS(status), 0);
	close_end(e);
}

/* ---- both ways at once ---- */

#define MESSAGES 200u

struct slot {
	bool busy, filled;
	uint32_t number;
	size_t bytes;
	uint8_t *data;
};

struct traffic {
	struct end *e;
	struct slot out[SLOTS], in[SLOTS], rma[SLOTS];
	unsigned sent, received, written, posted, started, wrote;
};

/* The same in both processes. */
static size_t length(uint32_t number)
{
	uint64_t seed = number * UINT64_C(0x9e3779b97f4a7c15) + 1;

	unit_random(&seed);
	return unit_random(&seed) % ((size_t)1 << (unit_random(&seed) % 20 + 1));
}

static uint8_t byte(uint32_t number, size_t i)
{
	return (uint8_t)(number * 31 + i * 7 + (i >> 8));
}

static void fill(struct slot *s, uint32_t number)
{
	s->busy = true;
	if (s->filled && s->number == number)
		return;
	s->filled = true;
	s->number = number;
	s->bytes = length(number);
	for (size_t i = 0; i < s->bytes; i++)
		s->data[i] = byte(number, i);
}

static void check(const struct slot *s)
{
	for (size_t i = 0; i < s->bytes; i++)
		must(s->data[i] == byte(s->number, i));
}

static struct traffic *traffic;

static void sent(void *ctx, int status, size_t bytes)
{
	struct slot *s = ctx;

	must(!status && bytes == s->bytes);
	s->busy = false;
	traffic->sent++;
}

static void received(void *ctx, int status, const struct up_tag_info *info)
{
	struct slot *s = ctx;

	must(!status && info->bytes == length(s->number) && info->tag == s->number);
	s->bytes = info->bytes;
	check(s);
	s->busy = false;
	traffic->received++;
}

static void read_back(void *ctx, int status, size_t bytes)
{
	struct slot *s = ctx;

	must(!status && bytes == s->bytes);
	check(s);
	s->busy = false;
	traffic->written++;
}

/* Writes are placed before the read behind them looks: it is fenced. */
static void written(void *ctx, int status, size_t bytes)
{
	struct slot *s = ctx;

	must(!status && bytes == s->bytes);
}

static void step(struct traffic *t, unsigned i)
{
	struct slot *out = &t->out[i], *in = &t->in[i], *rma = &t->rma[i];
	struct up_rma_iov there = {i * MOST, 0, 7};
	struct iovec iov;

	if (!in->busy && t->posted < MESSAGES) {
		iov = (struct iovec){in->data, MOST};
		in->number = t->posted++;
		in->busy = true;
		must(!up_tag_recv(t->e->ep, in->number & 1 ? UP_PEER_ANY : t->e->peer, in->number,
				  0, &iov, 1, received, in, NULL));
	}
	if (!out->busy && t->started < MESSAGES) {
		fill(out, t->started);
		iov = (struct iovec){out->data, out->bytes};
		if (up_tag_send(t->e->ep, t->e->peer, out->number, &iov, 1, 0,
				out->number % 3 ? 0 : UP_DELIVERED, sent, out))
			out->busy = false;
		else
			t->started++;
	}
	if (!rma->busy && t->wrote < MESSAGES) {
		fill(rma, t->wrote);
		iov = (struct iovec){rma->data, rma->bytes};
		there.len = rma->bytes;
		if (up_rma_write(t->e->ep, t->e->peer, &iov, 1, &there, 1, 0, 0, written, rma)) {
			rma->busy = false;
			return;
		}
		while (up_rma_read(t->e->ep, t->e->peer, &iov, 1, &there, 1, UP_FENCE, read_back,
				   rma) == -EAGAIN)
			up_progress(t->e->ep);
		t->wrote++;
	}
}

static void exchange(struct end *e)
{
	struct traffic *t = calloc(1, sizeof(*t));
	uint8_t *data = malloc(3 * SLOTS * MOST), last = 1;

	traffic = t;
	t->e = e;
	for (unsigned i = 0; i < SLOTS; i++) {
		t->out[i].data = data + i * MOST;
		t->in[i].data = data + (SLOTS + i) * MOST;
		t->rma[i].data = data + (2 * SLOTS + i) * MOST;
	}
	while (t->sent < MESSAGES || t->received < MESSAGES || t->written < MESSAGES) {
		for (unsigned i = 0; i < SLOTS; i++)
			step(t, i);
		if (!up_progress(e->ep))
			sched_yield();
	}
	/* The other one may still need this one's progress. */
	must(write(e->socket, &last, 1) == 1);
	while (recv(e->socket, &last, 1, MSG_DONTWAIT) != 1)
		up_progress(e->ep);
	free(data);
	free(t);
}

static void both_ways(void **state)
{
	struct end e;

	start(&e, exchange);
	exchange(&e);
	finish(&e, false);
}

static void both_ways_packets(void **state)
{
	packets_only = true;
	both_ways(state);
	packets_only = false;
}

static void both_ways_mapped(void **state)
{
	mapped = true;
	both_ways(state);
	mapped = false;
}

/* ---- killed ---- */

static void serve(struct end *e)
{
	for (;;)
		up_progress(e->ep);
}

/* Takes part in the beginning of everything, then stands still until it is killed. */
static void stand_still(struct end *e)
{
	struct iovec iov = {malloc(SLOTS * MOST), SLOTS * MOST};
	uint8_t ready = 1;

	while (up_tag_send(e->ep, e->peer, 1, &iov, 1, 0, 0, NULL, NULL))
		up_progress(e->ep);
	for (unsigned i = 0; i < 1000; i++)
		up_progress(e->ep);
	must(write(e->socket, &ready, 1) == 1);
	for (;;)
		pause();
}

struct open {
	struct rig_done done[12];
	unsigned n;
};

static void got(void *ctx, int status, const struct up_tag_info *info)
{
	rig_done(ctx, status, info->bytes);
}

static void begin_all(struct end *e, struct open *o, uint8_t *data, size_t bytes)
{
	struct up_rma_iov there = {0, bytes, 7};
	struct iovec iov = {data, bytes};
	static uint64_t word = 1, old;

	assert_int_equal(up_tag_recv(e->ep, e->peer, 99, 0, &iov, 1, got, &o->done[o->n++], NULL),
			 0);
	if (!up_tag_send(e->ep, e->peer, 5, &iov, 1, 0, UP_DELIVERED, rig_done, &o->done[o->n]))
		o->n++;
	if (!up_rma_write(e->ep, e->peer, &iov, 1, &there, 1, 0, 0, rig_done, &o->done[o->n]))
		o->n++;
	if (!up_rma_read(e->ep, e->peer, &iov, 1, &there, 1, 0, rig_done, &o->done[o->n]))
		o->n++;
	if (!up_rma_atomic(e->ep, e->peer, UP_ATOMIC_SUM, UP_UINT64, 1, &word, NULL, &old, 0, 7, 0,
			   rig_done, &o->done[o->n]))
		o->n++;
	if (!up_tag_send(e->ep, e->peer, 6, &iov, 1, 0, UP_FENCE, rig_done, &o->done[o->n]))
		o->n++;
}

static void all_ended(struct end *e, struct end *other, struct open *o)
{
	uint64_t begin = rig_now_us();

	for (unsigned i = 0; i < o->n; i++) {
		while (!o->done[i].calls) {
			up_progress(e->ep);
			up_progress(other->ep);
			rig_patience(begin);
		}
	}
	for (unsigned i = 0; i < 100; i++)
		up_progress(e->ep);
	for (unsigned i = 0; i < o->n; i++) {
		assert_int_equal(o->done[i].calls, 1);
		assert_int_equal(o->done[i].status, -EHOSTDOWN);
	}
}

static void killed(size_t bytes)
{
	uint8_t *data = calloc(1, SLOTS * MOST), ready;
	struct iovec iov = {data, SLOTS * MOST};
	struct end e, other;
	struct rig_done moving = {0}, read = {0};
	struct up_rma_iov there = {0, 4096, 7};
	struct iovec local = {data, 4096};
	struct open o = {0};

	start(&other, serve);
	start(&e, stand_still);
	while (recv(e.socket, &ready, 1, MSG_DONTWAIT) != 1)
		up_progress(e.ep);
	begin_all(&e, &o, data, bytes);
	/* A message whose data is in the memory of the one that dies. */
	kill(e.child, SIGKILL);
	up_tag_recv(e.ep, e.peer, 1, 0, &iov, 1, got, &moving, NULL);
	all_ended(&e, &other, &o);
	while (!moving.calls)
		up_progress(e.ep);
	assert_true(moving.status == -EHOSTDOWN || moving.status == 0);
	/* The other peer goes on. */
	while (up_rma_read(other.ep, other.peer, &local, 1, &there, 1, 0, rig_done, &read))
		up_progress(other.ep);
	while (!read.calls)
		up_progress(other.ep);
	assert_int_equal(read.status, 0);
	finish(&e, true);
	kill(other.child, SIGKILL);
	finish(&other, true);
	free(data);
}

static void killed_small(void **state)
{
	killed(64);
}

static void killed_large(void **state)
{
	killed(SLOTS * MOST);
}

static void killed_packets(void **state)
{
	packets_only = true;
	killed(SLOTS * MOST);
	packets_only = false;
}

/* ---- killed, with memory that is mapped ---- */

/* Is the write over when it has started? Else makes progress until it is; its status. */
static bool write_all(struct end *e, const uint8_t *data, size_t bytes, int *status)
{
	struct up_rma_iov there = {0, bytes, 7};
	struct iovec iov = {(void *)data, bytes};
	struct rig_done done = {0};
	bool direct;

	*status = up_rma_write(e->ep, e->peer, &iov, 1, &there, 1, 0, 0, rig_done, &done);
	direct = done.calls;
	while (!*status && !done.calls)
		up_progress(e->ep);
	if (!*status)
		*status = done.status;
	return direct;
}

/* Does nothing but write, and says so when it does so by loads and stores. */
static void hammer(struct end *e)
{
	uint8_t *data = malloc(MOST), direct = 1;
	int status;

	memset(data, 0xff, MOST);
	while (!write_all(e, data, MOST, &status))
		;
	must(write(e->socket, &direct, 1) == 1);
	for (;;) {
		write_all(e, data, MOST, &status);
		up_progress(e->ep);
	}
}

/* The memory is free for something else when its region is closed, however the peer ended. */
static void killed_in_access(void **state)
{
	mapped = true;
	for (unsigned i = 0; i < 20; i++) {
		struct end e;
		uint8_t direct;

		start(&e, hammer);
		while (recv(e.socket, &direct, 1, MSG_DONTWAIT) != 1)
			up_progress(e.ep);
		kill(e.child, SIGKILL);
		up_region_close(e.region);
		memset(e.memory, 0, MOST);
		for (unsigned k = 0; k < 100; k++)
			up_progress(e.ep);
		for (size_t k = 0; k < MOST; k++)
			assert_int_equal(e.memory[k], 0);
		e.region = NULL;
		finish(&e, true);
	}
	mapped = false;
}

/* A peer whose memory is mapped here by now: a write of `data` ends in the call. */
static void start_mapped(struct end *e, const uint8_t *data, size_t bytes)
{
	int status;

	mapped = true;
	start(e, serve);
	while (!write_all(e, data, bytes, &status))
		assert_int_equal(status, 0);
}

/* Its memory stays mapped, but operations with it fail soon. */
static void owner_killed(void **state)
{
	uint8_t data[64] = {1};
	uint64_t begin;
	struct end e;
	int status;

	start_mapped(&e, data, sizeof(data));
	kill(e.child, SIGKILL);
	begin = rig_now_us();
	do {
		write_all(&e, data, sizeof(data), &status);
		assert_true(rig_now_us() - begin < 60000000);
	} while (!status);
	assert_int_equal(status, -EHOSTDOWN);
	finish(&e, true);
	mapped = false;
}

/* ---- what stays behind ---- */

/* Is it the name of something that outlives those who use it? Files that were removed have none. */
static bool lasts(const char *path)
{
	bool device = !strncmp(path, "/dev/", 5) && strncmp(path, "/dev/shm/", 9) != 0;

	return !strncmp(path, "/SYSV", 5) || (path[0] == '/' && !device && !access(path, F_OK));
}

/* Neither what a process has open, but for what it was given, nor what it has mapped to share. */
static void has_no_names(pid_t pid)
{
	char path[64], line[4200], name[4096], how[8];
	unsigned shared = 0;
	FILE *maps;

	for (int fd = 3; fd < 1024; fd++) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
		n = readlink(path, name, sizeof(name) - 1);
		name[n < 0 ? 0 : n] = '\0';
		assert_false(lasts(name));
	}
	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	maps = fopen(path, "r");
	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps)) {
		name[0] = '\0';
		if (sscanf(line, "%*s %7s %*s %*s %*s %4095s", how, name) < 1 || how[3] != 's')
			continue;
		shared++;
		assert_false(lasts(name));
	}
	fclose(maps);
	assert_true(shared > 0);
}

/* Nothing that the next start would have to clean, whenever a process dies. */
static void leaves_no_names(void **state)
{
	uint8_t data[64] = {1};
	struct end e;

	start_mapped(&e, data, sizeof(data));
	has_no_names(e.child);
	has_no_names(getpid());
	kill(e.child, SIGKILL);
	finish(&e, true);
	mapped = false;
}

int main(void)
{
	/* The last four are of memory that the other process maps. */
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_ways),	    cmocka_unit_test(killed_small),
		cmocka_unit_test(killed_large),	    cmocka_unit_test(both_ways_packets),
		cmocka_unit_test(killed_packets),   cmocka_unit_test(both_ways_mapped),
		cmocka_unit_test(killed_in_access), cmocka_unit_test(owner_killed),
		cmocka_unit_test(leaves_no_names),
	};
	size_t n = UP_ARRAY_SIZE(tests);

	up_log_set_level(LOG_ERR);
	if (strcmp(rig_process_lane(), "shm") != 0)
		n -= 4;
	return _cmocka_run_group_tests("tests", tests, n, NULL, NULL);
}
