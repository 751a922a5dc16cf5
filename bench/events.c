/* SPDX-License-Identifier: BSD-2-Clause */
/* Wake-up of a receiver that sleeps on its completion channel, and registration of memory. */
#include "bench.h"

#include <semaphore.h>

enum { EACH = 100 };

#define GIB ((size_t)1 << 30)

/* Sends while the receiver's thread is asleep, on the same core, and goes to sleep itself. */
struct sender {
	struct rig *r;
	pthread_t thread;
	sem_t go;
	unsigned pause_us;
	uint64_t posted; /* when */
	bool end;
};

static void *send_on_demand(void *arg)
{
	struct sender *s = arg;
	uint64_t value = 1;
	struct gs_sge from = {.addr = (uintptr_t)&value, .len = sizeof(value)};
	struct gs_send_wr wr = {
		.op = CX_OP_SEND, .flags = GS_SIGNALED | GS_INLINE, .nsge = 1, .sge = &from};

	for (;;) {
		uint64_t until;

		while (sem_wait(&s->go))
			;
		if (s->end)
			return NULL;
		until = gs_now_ns() + s->pause_us * 1000ull;
		while (gs_now_ns() < until)
			;
		__atomic_store_n(&s->posted, gs_now_ns(), __ATOMIC_RELEASE);
		gs_post_send(s->r->a.qp, &wr);
	}
}

/* From the posting until the thread that was blocked on b's interrupt runs. The median, ns. */
static double wake_up(struct sender *s, unsigned pause_us, unsigned n)
{
	struct rig *r = s->r;
	struct gs_sge to = gs_sge(r->b.mr, r->b.buf, 64);
	static double took[MAX_EACH];

	s->pause_us = pause_us;
	for (unsigned i = 0; i < n; i++) {
		gs_post_recv(r->b.qp, i, &to, 1);
		gs_cq_arm(r->b.rcq, false);
		sem_post(&s->go);
		if (!gs_cq_wait_event(r->b.rcq, 1000))
			gs_fail("a wake-up was lost");
		took[i] = (double)(gs_now_ns() - __atomic_load_n(&s->posted, __ATOMIC_ACQUIRE));
		gs_cq_expect(r->b.rcq, 0);
		gs_cq_expect(r->a.scq, 0);
	}
	return median_of(took, n);
}

/* With the daemon's worker awake, and asleep, when the message is sent. */
void bench_events(struct bench *b)
{
	static const unsigned pauses[] = {10, 1000};
	struct samples ours[2] = {0}, limit = {0};
	struct sender s = {0};
	struct rig r;

	rig_open(&r, 4u << 20);
	s.r = &r;
	sem_init(&s.go, 0, 0);
	/* It inherits this thread's core. */
	if (pthread_create(&s.thread, NULL, send_on_demand, &s))
		gs_fail("cannot start a thread");
	wake_up(&s, pauses[0], EACH);
	for (unsigned i = 0; i < b->rounds; i++) {
		samples_add(&limit, partner_wake_up(b->partner, EACH) / 1e3);
		for (unsigned k = 0; k < 2; k++)
			samples_add(&ours[k], wake_up(&s, pauses[k], EACH) / 1e3);
	}
	for (unsigned k = 0; k < 2; k++)
		report_add(b->report, &(struct row){.what = "event_wake_up",
						    .size = pauses[k],
						    .unit = "us",
						    .ours = &ours[k],
						    .limit = &limit,
						    .limit_is = "eventfd wake-up",
						    .note = "size: us since the last message"});
	s.end = true;
	sem_post(&s.go);
	pthread_join(s.thread, NULL);
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
