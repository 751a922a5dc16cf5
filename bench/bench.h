/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The virtual RDMA component at native speed: what the benchmark's files share.
 *
 * Two simulated guests are driven by one thread, pinned to one core; the daemon's one worker is
 * pinned to another. Every comparison is made of both sides in turns, many times in one run.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include "cores.h"
#include "guestsim.h"
#include "report.h"

/* One guest with a connected QP. */
struct end {
	struct gs_vm *vm;
	struct gs_pd *pd;
	struct gs_cq *scq, *rcq;
	struct gs_qp *qp;
	uint8_t *buf;
	size_t buf_size;
	struct gs_mr *mr;
};

struct rig {
	struct gs_daemon daemon;
	struct end a, b;
};

struct bench {
	struct report *report;
	struct partner *partner;
	unsigned rounds; /* how often each side of a comparison takes its turn */
};

/* A daemon with ports vm0, vm1, ... Settings of its polling: 0 for the default. */
void rig_daemon(struct gs_daemon *d, unsigned ports, unsigned deep_sleep_us);
/* Two guests with `buf` bytes each, all of it touched, connected by RC. */
void rig_open(struct rig *r, size_t buf);
void rig_close(struct rig *r);

enum { MAX_EACH = 4096 };

/* Posted at a, seen at b, `n` times (at most MAX_EACH) one by one. The median, nanoseconds. */
double rig_write_latency(struct rig *r, unsigned n);
double rig_send_latency(struct rig *r, unsigned n);
/* 8-byte writes posted in batches. Nanoseconds each. */
double rig_write_rate(struct rig *r, unsigned n);

void bench_latency(struct bench *b);
void bench_bandwidth(struct bench *b);
void bench_scale(struct bench *b);
void bench_idle(struct bench *b);
void bench_events(struct bench *b);
void bench_registration(struct bench *b);

#endif
