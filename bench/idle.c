/* SPDX-License-Identifier: BSD-2-Clause */
/* What the daemon costs while nothing happens, and what the first message after that waits. */
#include "bench.h"

#include <time.h>

enum { PORTS = 16 };

static void sleep_ms(unsigned ms)
{
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	nanosleep(&ts, NULL);
}

/* Percent of one core, from a second after the last work on. */
static void idle_cpu(struct gs_daemon *d, struct samples *s, unsigned rounds)
{
	sleep_ms(1200);
	for (unsigned i = 0; i < rounds; i++) {
		uint64_t cpu = gs_daemon_cpu_ns(d), t = gs_now_ns();

		sleep_ms(1000);
		cpu = gs_daemon_cpu_ns(d) - cpu;
		samples_add(s, 100.0 * (double)cpu / (double)(gs_now_ns() - t));
	}
}

static void open_end(struct end *e, const struct gs_daemon *d, unsigned port)
{
	struct gs_qp_attr attr = {.type = GS_RC};

	e->vm = gs_vm_open_port(d, port);
	e->pd = gs_pd_create(e->vm);
	e->scq = e->rcq = attr.send_cq = gs_cq_create(e->vm, 64);
	e->buf = gs_ram_alloc(e->vm, 4096, 4096);
	e->mr = gs_mr_register(e->pd, e->buf, 4096, GS_ALL);
	e->qp = gs_qp_create(e->pd, &attr);
}

/* Guests whose applications have a connection each, and wait. */
static void idle_ports(struct bench *b)
{
	struct gs_link l = gs_link_default();
	struct samples cpu = {0}, rss = {0};
	struct end ends[PORTS];
	struct gs_daemon d;

	rig_daemon(&d, PORTS, 0);
	for (unsigned i = 0; i < PORTS; i++) {
		open_end(&ends[i], &d, i);
		if (i % 2)
			gs_qp_connect(ends[i].qp, ends[i - 1].qp, &l);
	}
	idle_cpu(&d, &cpu, 3);
	samples_add(&rss, (double)gs_daemon_rss(&d) / (1 << 20));
	report_add(b->report, &(struct row){.what = "idle_cpu",
					    .size = PORTS,
					    .unit = "% core",
					    .ours = &cpu,
					    .bound = 1,
					    .note = "size: ports with a running guest and a QP"});
	report_add(b->report, &(struct row){.what = "idle_memory",
					    .size = PORTS,
					    .unit = "MiB",
					    .ours = &rss,
					    .bound = 64,
					    .note = "size: ports with a running guest and a QP"});
	for (unsigned i = 0; i < PORTS; i++)
		gs_vm_close(ends[i].vm);
	gs_daemon_stop(&d);
}

static void open_pair(struct rig *r, unsigned deep_sleep_us)
{
	struct gs_link l = gs_link_default();

	rig_daemon(&r->daemon, 2, deep_sleep_us);
	open_end(&r->a, &r->daemon, 0);
	open_end(&r->b, &r->daemon, 1);
	gs_qp_connect(r->a.qp, r->b.qp, &l);
}

/* The cost of a shorter wait is the idle daemon's time on the CPU: both, for some settings. */
static void first_message(struct bench *b, unsigned deep_sleep_us)
{
	struct samples first = {0}, cpu = {0};
	struct rig r;

	open_pair(&r, deep_sleep_us);
	for (unsigned i = 0; i < b->rounds; i++) {
		rig_write_latency(&r, 100);
		sleep_ms(1100);
		samples_add(&first, rig_write_latency(&r, 1) / 1e3);
	}
	idle_cpu(&r.daemon, &cpu, 2);
	report_add(b->report, &(struct row){.what = "first_after_idle",
					    .size = deep_sleep_us,
					    .unit = "us",
					    .ours = &first,
					    .note = "size: deep_sleep_us, 0 for the default"});
	report_add(b->report, &(struct row){.what = "first_after_idle_cpu",
					    .size = deep_sleep_us,
					    .unit = "% core",
					    .ours = &cpu,
					    .note = "size: deep_sleep_us, 0 for the default"});
	rig_close(&r);
}

void bench_idle(struct bench *b)
{
	static const unsigned settings[] = {0, 1000, 100};

	idle_ports(b);
	for (unsigned i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		first_message(b, settings[i]);
}
