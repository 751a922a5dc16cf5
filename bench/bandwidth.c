/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bandwidth against glibc's memcpy on the same buffers: hot, where every message uses the same
 * two, and cold, where they rotate through more memory than any cache holds. memcpy runs where the
 * worker runs, which sleeps meanwhile: two cores of a virtual machine are not equally fast at all
 * times, as another's work comes and goes on their siblings.
 */
#include "bench.h"

#include <stdio.h>
#include <string.h>

#define MIB ((size_t)1 << 20)

enum { DEPTH = 16 };

#define COLD_BYTES (384 * MIB)

enum kind { MEMCPY, WRITE, READ, SEND, KINDS };

static const char *const names[KINDS] = {
	[WRITE] = "write_bw", [READ] = "read_bw", [SEND] = "send_bw"};
static const uint8_t ops[KINDS] = {
	[WRITE] = CX_OP_RDMA_WRITE, [READ] = CX_OP_RDMA_READ, [SEND] = CX_OP_SEND};

/* What is measured, and where the rotation stands. */
struct transfer {
	struct rig *r;
	size_t size;
	size_t slots; /* buffers of `size` bytes in rotation */
	size_t next;
};

static size_t next_offset(struct transfer *t)
{
	size_t off = t->next * t->size;

	t->next = (t->next + 1) % t->slots;
	return off;
}

static void copy(struct transfer *t, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		size_t off = next_offset(t);

		memcpy(t->r->b.buf + off, t->r->a.buf + off, t->size);
		/* Each copy counts, though the next may overwrite it. */
		__asm__ volatile("" ::: "memory");
	}
}

static void post(struct transfer *t, enum kind kind)
{
	struct end *a = &t->r->a, *b = &t->r->b;
	size_t off = next_offset(t);
	struct gs_sge from = gs_sge(a->mr, a->buf + off, t->size);
	struct gs_sge to = gs_sge(b->mr, b->buf + off, t->size);

	if (kind == SEND)
		gs_post_recv(b->qp, off, &to, 1);
	gs_post_send(a->qp, &(struct gs_send_wr){.op = ops[kind],
						 .flags = GS_SIGNALED,
						 .raddr = (uintptr_t)b->buf + off,
						 .rkey = b->mr->key,
						 .nsge = 1,
						 .sge = &from});
}

static unsigned reap(struct end *e, struct gs_cq *cq)
{
	struct gs_wc wc[DEPTH];
	unsigned n = gs_cq_poll(cq, wc, DEPTH);

	for (unsigned i = 0; i < n; i++)
		if (wc[i].status)
			gs_fail("a transfer failed with %#x", wc[i].status);
	return n;
}

static void transfer(struct transfer *t, enum kind kind, unsigned n)
{
	unsigned posted = 0, done = 0, received = kind == SEND ? 0 : n;

	while (done < n || received < n) {
		while (posted < n && posted - done < DEPTH &&
		       (kind != SEND || posted - received < DEPTH)) {
			post(t, kind);
			posted++;
		}
		done += reap(&t->r->a, t->r->a.scq);
		if (kind == SEND)
			received += reap(&t->r->b, t->r->b.rcq);
	}
}

static void run(struct transfer *t, enum kind kind, unsigned n)
{
	if (kind == MEMCPY)
		copy(t, n);
	else
		transfer(t, kind, n);
}

/* A worker without work has ended to spin by then, and hardly looks any more. */
static const struct timespec worker_sleeps = {.tv_nsec = 20000000};

/*
 * What does not count at the beginning of a turn: the other's turn left the buffers in another
 * core's cache, and the worker asleep; and a core that was idle takes milliseconds to its full
 * speed (the first turn behind memcpy()'s was the slowest, whichever it was, by up to 10 %).
 */
#define WARM_UP_NS UINT64_C(5000000)

/* MiB/s of one turn. */
static double turn(struct transfer *t, enum kind kind, unsigned n)
{
	uint64_t start, end;

	if (kind == MEMCPY) {
		cores_pin(WORKER_CPU);
		nanosleep(&worker_sleeps, NULL);
	}
	start = gs_now_ns();
	do
		run(t, kind, n / 8);
	while (gs_now_ns() - start < WARM_UP_NS);
	start = gs_now_ns();
	run(t, kind, n);
	end = gs_now_ns();
	if (kind == MEMCPY)
		cores_pin(GUEST_CPU);
	return (double)n * (double)t->size / (double)MIB / ((double)(end - start) / 1e9);
}

static void compare(struct bench *b, struct rig *r, size_t size, bool cold)
{
	size_t bytes = cold ? 192 * MIB : (size < 65536 ? 32 : 128) * MIB;
	unsigned n = (unsigned)(bytes / size);
	struct transfer t = {.r = r, .size = size, .slots = cold ? COLD_BYTES / size : 1};
	struct samples s[KINDS] = {0}, ratio[KINDS] = {0};
	char what[32];
	double bound = 0;

	if (!cold && size >= 65536)
		bound = 0.9;
	if (cold && size >= MIB)
		bound = 1.2;
	for (unsigned i = 0; i <= b->rounds; i++) {
		double limit = 0, v;

		for (enum kind k = MEMCPY; k < KINDS; k++) {
			v = turn(&t, k, n);
			if (k == MEMCPY)
				limit = v;
			/* The first round is to warm up. */
			if (i) {
				samples_add(&s[k], v);
				samples_add(&ratio[k], v / limit);
			}
		}
	}
	for (enum kind k = WRITE; k < KINDS; k++) {
		snprintf(what, sizeof(what), "%s_%s", names[k], cold ? "cold" : "hot");
		report_add(b->report, &(struct row){.what = what,
						    .size = size,
						    .unit = "MiB/s",
						    .higher_is_better = true,
						    .ours = &s[k],
						    .limit = &s[MEMCPY],
						    .limit_is = "memcpy",
						    .ratio = &ratio[k],
						    .bound = bound});
	}
}

void bench_bandwidth(struct bench *b)
{
	static const size_t sizes[] = {4096, 65536, MIB, 16 * MIB};
	struct rig r;

	rig_open(&r, COLD_BYTES);
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		compare(b, &r, sizes[i], false);
		compare(b, &r, sizes[i], true);
	}
	rig_close(&r);
}
