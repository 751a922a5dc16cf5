/* SPDX-License-Identifier: BSD-2-Clause */
/* The daemon and two guests, and the basic measurements with them. */
#include "bench.h"

#include <stdio.h>
#include <string.h>

enum {
	QUEUE = 1024,
	SIGNAL_EACH = 32,
	BATCH = 64,
};

void rig_daemon(struct gs_daemon *d, unsigned ports, unsigned deep_sleep_us)
{
	char config[4096];
	size_t n;

	n = (size_t)snprintf(config, sizeof(config),
			     "log_level = \"warning\";\nworkers = 1;\nfirst_cpu = %d;\n",
			     WORKER_CPU);
	if (deep_sleep_us)
		n += (size_t)snprintf(config + n, sizeof(config) - n,
				      "polling = { deep_sleep_us = %u; };\n", deep_sleep_us);
	n += (size_t)snprintf(config + n, sizeof(config) - n, "ports = (");
	for (unsigned i = 0; i < ports; i++)
		n += (size_t)snprintf(config + n, sizeof(config) - n, "%s{ name = \"vm%u\"; }",
				      i ? ", " : "", i);
	snprintf(config + n, sizeof(config) - n, ");\n");
	gs_daemon_start(d, &(struct gs_daemon_opts){.config = config});
}

static void open_end(struct end *e, const struct gs_daemon *d, unsigned port, size_t buf)
{
	struct gs_vm_opts opts = {.ram = buf + (128u << 20)};

	e->vm = gs_vm_open(gs_daemon_socket(d, port), &opts);
	e->pd = gs_pd_create(e->vm);
	e->scq = gs_cq_create(e->vm, QUEUE);
	e->rcq = gs_cq_create(e->vm, QUEUE);
	e->buf_size = buf;
	e->buf = gs_ram_alloc(e->vm, buf, 2u << 20);
	memset(e->buf, 1, buf);
	e->mr = gs_mr_register(e->pd, e->buf, buf, GS_ALL);
	e->qp = gs_qp_create(e->pd, &(struct gs_qp_attr){.type = GS_RC,
							 .send_cq = e->scq,
							 .recv_cq = e->rcq,
							 .send_blocks = QUEUE,
							 .recv_wrs = QUEUE / 2,
							 .recv_sges = 1});
}

void rig_open(struct rig *r, size_t buf)
{
	struct gs_link l = gs_link_default();

	rig_daemon(&r->daemon, 2, 0);
	open_end(&r->a, &r->daemon, 0, buf);
	open_end(&r->b, &r->daemon, 1, buf);
	gs_qp_connect(r->a.qp, r->b.qp, &l);
}

void rig_close(struct rig *r)
{
	gs_vm_close(r->a.vm);
	gs_vm_close(r->b.vm);
	gs_daemon_stop(&r->daemon);
}

static void reap(struct end *e, unsigned n)
{
	struct gs_wc wc;

	while (n) {
		if (!gs_cq_poll(e->scq, &wc, 1))
			continue;
		if (wc.status)
			gs_fail("a request failed with %#x", wc.status);
		n--;
	}
}

double rig_write_latency(struct rig *r, unsigned n)
{
	volatile uint64_t *seen = (volatile uint64_t *)r->b.buf;
	uint64_t value = *seen;
	struct gs_sge sge = {.addr = (uintptr_t)&value, .len = sizeof(value)};
	struct gs_send_wr wr = {.op = CX_OP_RDMA_WRITE,
				.raddr = (uintptr_t)r->b.buf,
				.rkey = r->b.mr->key,
				.nsge = 1,
				.sge = &sge};
	static double took[MAX_EACH];
	uint64_t t;

	for (unsigned i = 1; i <= n; i++) {
		value++;
		wr.flags = GS_INLINE | (i % SIGNAL_EACH ? 0 : GS_SIGNALED);
		t = gs_now_ns();
		gs_post_send(r->a.qp, &wr);
		while (*seen != value)
			;
		took[i - 1] = (double)(gs_now_ns() - t);
		if (wr.flags & GS_SIGNALED)
			reap(&r->a, 1);
	}
	return median_of(took, n);
}

double rig_send_latency(struct rig *r, unsigned n)
{
	static double took[MAX_EACH];
	uint64_t value = 7, t;
	struct gs_sge from = {.addr = (uintptr_t)&value, .len = sizeof(value)};
	struct gs_sge to = {.addr = (uintptr_t)r->b.buf, .len = 64, .key = r->b.mr->key};
	struct gs_send_wr wr = {.op = CX_OP_SEND, .nsge = 1, .sge = &from};
	struct gs_wc wc;

	for (unsigned i = 1; i <= n; i++) {
		gs_post_recv(r->b.qp, i, &to, 1);
		wr.flags = GS_INLINE | (i % SIGNAL_EACH ? 0 : GS_SIGNALED);
		t = gs_now_ns();
		gs_post_send(r->a.qp, &wr);
		while (!gs_cq_poll(r->b.rcq, &wc, 1))
			;
		took[i - 1] = (double)(gs_now_ns() - t);
		if (wc.status)
			gs_fail("a receive failed with %#x", wc.status);
		if (wr.flags & GS_SIGNALED)
			reap(&r->a, 1);
	}
	return median_of(took, n);
}

double rig_write_rate(struct rig *r, unsigned n)
{
	uint64_t value = 1, t = gs_now_ns();
	struct gs_sge sge = {.addr = (uintptr_t)&value, .len = sizeof(value)};
	struct gs_send_wr wr = {.op = CX_OP_RDMA_WRITE,
				.raddr = (uintptr_t)r->b.buf,
				.rkey = r->b.mr->key,
				.nsge = 1,
				.sge = &sge};
	unsigned open = 0;

	for (unsigned done = 0; done < n; done += BATCH) {
		/* Room for one more batch: half of the queue may be under way. */
		if (open == QUEUE / BATCH / 2) {
			reap(&r->a, 1);
			open--;
		}
		for (unsigned i = 1; i <= BATCH; i++) {
			wr.flags = GS_INLINE | (i == BATCH ? GS_SIGNALED : 0);
			if (!gs_post_send_quiet(r->a.qp, &wr))
				gs_fail("the send queue is full");
		}
		gs_ring_send(r->a.qp);
		open++;
	}
	reap(&r->a, open);
	return (double)(gs_now_ns() - t) / n;
}
