/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What idle queue pairs cost: the same traffic of small messages with 1 to 10,000 connected QPs
 * beside it, which never carry any, and the memory that they take.
 */
#include "bench.h"

static const unsigned counts[] = {1, 100, 1000, 10000};

enum { STEPS = 4, LATENCY_EACH = 1000, RATE_EACH = 100000, MEMORY_FROM = 1000 };

struct step {
	struct samples latency, rate, latency_ratio, rate_ratio;
};

static struct gs_qp *add_idle(struct end *e)
{
	struct gs_qp_attr attr = {.type = GS_RC,
				  .send_cq = e->scq,
				  .recv_cq = e->rcq,
				  .send_blocks = 4,
				  .recv_wrs = 4,
				  .recv_sges = 1};

	return gs_qp_create(e->pd, &attr);
}

/* Brings the number of idle QPs, half of them in each guest, to `want`. */
static void set_idle(struct rig *r, struct gs_qp **qps, unsigned *have, unsigned want)
{
	struct gs_link l = gs_link_default();

	while (*have < want) {
		struct gs_qp *q = add_idle(*have % 2 ? &r->b : &r->a);

		qps[(*have)++] = q;
		l.remote_qpn = q->qpn;
		l.path = gs_path_to(q->vm);
		gs_qp_bring_up(q, &l);
	}
	while (*have > want)
		if (gs_qp_destroy(qps[--*have]))
			gs_fail("an idle QP cannot be destroyed");
}

static void measure(struct bench *b, struct rig *r, struct step *s)
{
	rig_write_latency(r, LATENCY_EACH);
	for (unsigned i = 0; i < (b->rounds + 1) / 2; i++) {
		samples_add(&s->latency, rig_write_latency(r, LATENCY_EACH));
		samples_add(&s->rate, rig_write_rate(r, RATE_EACH));
	}
}

static void report(struct bench *b, struct step *s)
{
	for (unsigned i = 0; i < STEPS; i++) {
		double bound = counts[i] == 1000 ? 1.2 : 0;

		report_add(b->report, &(struct row){.what = "idle_qps_write_latency",
						    .size = counts[i],
						    .unit = "ns",
						    .ours = &s[i].latency,
						    .limit = &s[0].latency,
						    .limit_is = "with 1 idle QP",
						    .bound = bound});
		report_add(b->report, &(struct row){.what = "idle_qps_write_cost",
						    .size = counts[i],
						    .unit = "ns",
						    .ours = &s[i].rate,
						    .limit = &s[0].rate,
						    .limit_is = "with 1 idle QP",
						    .bound = bound});
	}
}

void bench_scale(struct bench *b)
{
	static struct gs_qp *qps[10000];
	struct step steps[STEPS] = {0};
	struct samples memory = {0};
	uint64_t before = 0, after;
	unsigned have = 0;
	struct rig r;

	rig_open(&r, 4u << 20);
	/* Up and down again, so that a drift of the machine shows on neither end alone. */
	for (unsigned i = 0; i < STEPS; i++) {
		set_idle(&r, qps, &have, counts[i]);
		if (counts[i] == MEMORY_FROM)
			before = gs_daemon_rss(&r.daemon);
		measure(b, &r, &steps[i]);
	}
	after = gs_daemon_rss(&r.daemon);
	samples_add(&memory, (double)(after - before) / (have - MEMORY_FROM));
	for (unsigned i = STEPS; i-- > 0;) {
		set_idle(&r, qps, &have, counts[i]);
		measure(b, &r, &steps[i]);
	}
	report(b, steps);
	report_add(b->report, &(struct row){.what = "memory_per_idle_qp",
					    .size = counts[STEPS - 1],
					    .unit = "bytes",
					    .ours = &memory});
	rig_close(&r);
}
