/* SPDX-License-Identifier: BSD-2-Clause */
/* Wake-up of a receiver that sleeps on its completion channel, and registration of memory. */
#include "bench.h"

#include <stdlib.h>

enum { EACH = 100 };

#define GIB ((size_t)1 << 30)

/* From the posting at a until the thread, blocked on b's interrupt, runs again. */
static double wake_up(struct rig *r, unsigned n)
{
	struct gs_sge to = gs_sge(r->b.mr, r->b.buf, 64);
	uint64_t value = 1, spent = 0, t;
	struct gs_sge from = {.addr = (uintptr_t)&value, .len = sizeof(value)};
	struct gs_send_wr wr = {
		.op = CX_OP_SEND, .flags = GS_SIGNALED | GS_INLINE, .nsge = 1, .sge = &from};

	for (unsigned i = 0; i < n; i++) {
		gs_post_recv(r->b.qp, i, &to, 1);
		gs_cq_arm(r->b.rcq, false);
		t = gs_now_ns();
		gs_post_send(r->a.qp, &wr);
		if (!gs_cq_wait_event(r->b.rcq, 1000))
			gs_fail("a wake-up was lost");
		spent += gs_now_ns() - t;
		gs_cq_expect(r->b.rcq, 0);
		gs_cq_expect(r->a.scq, 0);
	}
	return (double)spent / n;
}

void bench_events(struct bench *b)
{
	struct samples ours = {0}, limit = {0};
	struct rig r;

	rig_open(&r, 4u << 20);
	wake_up(&r, EACH);
	for (unsigned i = 0; i < b->rounds; i++) {
		samples_add(&limit, partner_wake_up(b->partner, EACH) / 1e3);
		samples_add(&ours, wake_up(&r, EACH) / 1e3);
	}
	report_add(b->report, &(struct row){.what = "event_wake_up",
					    .size = 8,
					    .unit = "us",
					    .ours = &ours,
					    .limit = &limit,
					    .limit_is = "eventfd wake-up"});
	rig_close(&r);
}

/* Pages of 4 KiB, the worst case; once through the registration QP, once by command. */
void bench_registration(struct bench *b)
{
	struct gs_vm_opts opts = {.ram = GIB + (256u << 20)};
	struct samples umr = {0}, command = {0};
	struct gs_daemon d;
	struct gs_vm *vm;
	struct gs_pd *pd;
	void *buf;

	rig_daemon(&d, 1, 0);
	vm = gs_vm_open(gs_daemon_socket(&d, 0), &opts);
	pd = gs_pd_create(vm);
	buf = gs_ram_alloc(vm, GIB, 2u << 20);
	for (unsigned i = 0; i <= b->rounds; i++) {
		uint64_t t0 = gs_now_ns(), t1, t2;
		struct gs_mr *m1, *m2;

		m1 = gs_mr_register_umr_at(pd, buf, GIB, (uintptr_t)buf, 12, GS_ALL);
		t1 = gs_now_ns();
		m2 = gs_mr_register_at(pd, buf, GIB, (uintptr_t)buf, 12, GS_ALL);
		t2 = gs_now_ns();
		if (i) {
			samples_add(&umr, (double)(t1 - t0) / 1e6);
			samples_add(&command, (double)(t2 - t1) / 1e6);
		}
		gs_mr_deregister(m1);
		gs_mr_deregister(m2);
	}
	report_add(b->report, &(struct row){.what = "registration_umr",
					    .size = GIB,
					    .unit = "ms",
					    .ours = &umr,
					    .bound = 50});
	report_add(b->report, &(struct row){.what = "registration_command",
					    .size = GIB,
					    .unit = "ms",
					    .ours = &command,
					    .bound = 50});
	gs_vm_close(vm);
	gs_daemon_stop(&d);
}
