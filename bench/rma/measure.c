/* SPDX-License-Identifier: BSD-2-Clause */
/* The tests, each as its two roles do it: role 0 takes the time. */
#include "side.h"

#include "cores.h"
#include "report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WARM_UP = 16 }; /* the first of so many are not counted */

struct task {
	enum kind kind;
	size_t size;
	unsigned count;
	double began;
};

static void begin(struct task *t)
{
	t->began = (double)cores_now_ns();
}

/* Nanoseconds for each of `n` since begin(). */
static double each(const struct task *t, unsigned n)
{
	return ((double)cores_now_ns() - t->began) / n;
}

/* Role 1 of the one-sided tests: progress until role 0 says that it is done. */
static void serve(void)
{
	uint8_t byte[8];

	if (side.role == 1)
		api.recv(side.end, byte, sizeof(byte), 1);
}

static void served(void)
{
	static const uint8_t byte[8];

	api.send(side.end, 0, byte, sizeof(byte), 1);
}

static void ping_pong(size_t size, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (side.role)
			api.recv(side.end, side.buf, size, 1);
		api.send(side.end, 0, side.buf, size, 1);
		if (!side.role)
			api.recv(side.end, side.buf, size, 1);
	}
}

static double tag_lat(struct task *t)
{
	ping_pong(t->size, t->count / WARM_UP);
	begin(t);
	ping_pong(t->size, t->count);
	return each(t, 2 * t->count);
}

/* Windows of messages one way, each answered by one. */
static void windows(size_t size, unsigned n)
{
	for (unsigned i = 0; i < n; i += WINDOW) {
		if (side.role) {
			api.recv(side.end, side.buf, size, WINDOW);
			api.send(side.end, 0, side.buf, 8, 1);
		} else {
			api.send(side.end, 0, side.buf, size, WINDOW);
			api.recv(side.end, side.buf, 8, 1);
		}
	}
}

static double tag_rate(struct task *t)
{
	t->count -= t->count % WINDOW;
	windows(t->size, t->count / WARM_UP);
	begin(t);
	windows(t->size, t->count);
	return 1e3 / each(t, t->count);
}

typedef void operation(struct end *e, enum kind kind, size_t len, unsigned n);

/* Each begins when the one before is done. */
static double one_by_one(struct task *t, operation *op)
{
	unsigned warm = t->count / WARM_UP;
	double ns;

	serve();
	if (side.role)
		return 0;
	for (unsigned i = 0; i < warm; i++)
		op(side.end, t->kind, t->size, 1);
	begin(t);
	for (unsigned i = 0; i < t->count; i++)
		op(side.end, t->kind, t->size, 1);
	ns = each(t, t->count);
	served();
	return ns;
}

static double write_lat(struct task *t)
{
	return one_by_one(t, api.write);
}

static double read_lat(struct task *t)
{
	return one_by_one(t, api.read);
}

static double fetch_add_lat(struct task *t)
{
	return one_by_one(t, api.fetch_add);
}

/* As many at a time as the API's window has. Nanoseconds each. */
static double stream(struct task *t, operation *op)
{
	double ns;

	serve();
	if (side.role)
		return 1;
	op(side.end, t->kind, t->size, t->count / WARM_UP + 1);
	begin(t);
	op(side.end, t->kind, t->size, t->count);
	ns = each(t, t->count);
	served();
	return ns;
}

static double write_rate(struct task *t)
{
	return 1e3 / stream(t, api.write);
}

static double mib_per_s(const struct task *t, double ns)
{
	return (double)t->size / (1 << 20) / (ns / 1e9);
}

static double write_bw(struct task *t)
{
	return mib_per_s(t, stream(t, api.write));
}

static double read_bw(struct task *t)
{
	return mib_per_s(t, stream(t, api.read));
}

static void stamp(uint8_t *at, size_t size, uint64_t value)
{
	memcpy(at + size - 8, &value, 8);
	memcpy(at, &value, 8);
}

static void until_stamped(enum kind kind, size_t size, uint64_t value)
{
	const volatile uint64_t *first = (const volatile uint64_t *)side.memory[kind];
	const volatile uint64_t *last = (const volatile uint64_t *)(side.memory[kind] + size - 8);

	while (*first != value || *last != value)
		api.progress(side.end);
}

/* Each writes to the other's memory, and sees the other's write by looking at its own. */
static void put_pong(const struct task *t, uint64_t from, unsigned n)
{
	for (uint64_t v = from; v < from + n; v++) {
		if (side.role)
			until_stamped(t->kind, t->size, v);
		stamp(side.buf, t->size, v);
		api.put(side.end, t->kind, t->size);
		if (!side.role)
			until_stamped(t->kind, t->size, v);
	}
}

static double put_lat(struct task *t)
{
	static uint64_t last[KINDS];
	unsigned warm = t->count / WARM_UP;
	double ns;

	put_pong(t, last[t->kind] + 1, warm);
	begin(t);
	put_pong(t, last[t->kind] + 1 + warm, t->count);
	ns = each(t, 2 * t->count);
	last[t->kind] += warm + t->count;
	/* What a put leaves to be done must not wait for the next test. */
	ping_pong(8, 1);
	return ns;
}

/* The peer numbers of role 0 begin with role 1's own endpoint. */
static void open_crowd(unsigned n, unsigned messages)
{
	uint64_t mine[BLOB_MAX / 8], other[BLOB_MAX / 8];
	size_t len;

	side.crowd = realloc(side.crowd, (side.ncrowd + n) * sizeof(*side.crowd));
	if (!side.crowd)
		die("out of memory");
	for (unsigned i = 0; i < n; i++) {
		struct end *e = side.role ? api.open(false) : side.end;

		len = meet_swap(mine, api.address(e, mine), other);
		api.connect(e, other, len);
		for (unsigned m = 0; m < messages; m++) {
			if (side.role)
				api.recv(e, side.buf, 64, 1);
			api.send(e, side.role ? 0 : side.ncrowd + 1, side.buf, 64, 1);
			if (!side.role)
				api.recv(e, side.buf, 64, 1);
		}
		side.crowd[side.ncrowd++] = e;
	}
}

/* Idle peers from here on. */
static double crowd(struct task *t)
{
	open_crowd((unsigned)t->size, 4);
	return (double)t->size;
}

/* What is shared with another process counts half. */
static double resident_kib(void)
{
	FILE *f = fopen("/proc/self/smaps_rollup", "r");
	char line[128];
	double kib = 0;

	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "Pss: %lf", &kib);
	if (f)
		fclose(f);
	return kib;
}

/* What role 0 grows by for each peer that it has exchanged `count` messages with. */
static double memory(struct task *t)
{
	double before;

	open_crowd(1, t->count);
	before = resident_kib();
	open_crowd((unsigned)t->size, t->count);
	return (resident_kib() - before) / (double)t->size;
}

/* Role 1 computes until its memory has been written to for the last time. */
static void compute(uint64_t last)
{
	const volatile uint64_t *word = (const volatile uint64_t *)side.memory[ORDINARY];
	volatile double x = 1;

	while (*word != last)
		for (unsigned i = 0; i < 1000; i++)
			x = x * 1.0000001 + 1e-9;
}

/*
 * Microseconds of a write to a target that computes and does not call its library. A pause before
 * each lets what sleeps go to sleep. The 95th of a hundred.
 */
static double automatic(struct task *t)
{
	struct end *manual = side.end;
	uint64_t mine[BLOB_MAX / 8], other[BLOB_MAX / 8];
	struct samples took = {0};
	size_t len;

	side.end = api.open(side.role == 1);
	len = meet_swap(mine, api.address(side.end, mine), other);
	api.connect(side.end, other, len);
	len = meet_swap(mine, api.expose(side.end, ORDINARY, side.memory[ORDINARY], mine), other);
	api.import(side.end, ORDINARY, other, len);
	api.local(side.end, side.buf);
	memset(side.memory[ORDINARY], 0, 8);
	meet_swap(NULL, 0, other);
	if (side.role)
		compute(t->count);
	for (uint64_t i = 1; i <= t->count && !side.role; i++) {
		double start;

		usleep(1000);
		stamp(side.buf, 8, i);
		start = (double)cores_now_ns();
		api.write(side.end, ORDINARY, 8, 1);
		samples_add(&took, ((double)cores_now_ns() - start) / 1e3);
	}
	meet_swap(NULL, 0, other);
	api.close(side.end);
	side.end = manual;
	return side.role ? 0 : samples_quantile(&took, 0.95);
}

/* What a test needs is there or not. */
static const struct test {
	const char *name;
	double (*run)(struct task *t);
	bool messages, one_sided, atomics, put;
} tests[] = {
	{"tag_lat", tag_lat, .messages = true},
	{"tag_rate", tag_rate, .messages = true},
	{"write_lat", write_lat, .one_sided = true},
	{"write_rate", write_rate, .one_sided = true},
	{"write_bw", write_bw, .one_sided = true},
	{"read_lat", read_lat, .one_sided = true},
	{"read_bw", read_bw, .one_sided = true},
	{"put_lat", put_lat, .put = true},
	{"fetch_add_lat", fetch_add_lat, .atomics = true},
	{"crowd", crowd, .messages = true},
	{"memory", memory, .messages = true},
	{"auto_write", automatic, .put = true},
};

static bool possible(const struct test *t)
{
	return (!t->messages || api.progress) && (!t->one_sided || (api.write && api.read)) &&
	       (!t->atomics || api.fetch_add) && (!t->put || api.put);
}

const char *measure(const char *test, size_t size, unsigned count, double *value)
{
	struct task task = {.size = size, .count = count};

	if (api.extra && api.extra(test, size, count, value))
		return NULL;
	if (strncmp(test, "mem_", 4) == 0) {
		task.kind = ALLOCATED;
		test += 4;
		if (!side.memory[ALLOCATED])
			return "this API allocates no memory for peers";
	}
	if (size > MEMORY || count == 0)
		return "a size or a count that no test has";
	for (const struct test *t = tests; t < tests + sizeof(tests) / sizeof(tests[0]); t++) {
		if (strcmp(t->name, test) != 0)
			continue;
		if (!possible(t))
			return "this API has no such operation";
		*value = t->run(&task);
		return NULL;
	}
	return "no such test";
}
