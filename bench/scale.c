/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What idle queue pairs cost: the same traffic of small messages with 1 to 10,000 connected QPs
 * beside it, which never carry any, and the memory that they take. A daemon with one such QP stands
 * beside the one with many, and both take turns: the machine changes from second to second.
 */
#include "bench.h"

static const unsigned counts[] = {1, 100, 1000, 10000};

enum { STEPS = 4, LATENCY_EACH = 1000, RATE_EACH = 100000, MEMORY_FROM = 1000 };

/* One kind of traffic with many idle QPs, and in the same rounds with one. */
struct pair {
	struct samples many, one, ratio;
};

static struct gs_qp *create_idle(struct end *e)
{
	struct gs_qp_attr attr = {.type = GS_RC,
				  .send_cq = e->scq,
				  .recv_cq = e->rcq,
				  .send_blocks = 4,
				  .recv_wrs = 4,
				  .recv_sges = 1};

	return gs_qp_create(e->pd, &attr);
}

/* Brings the number of idle QPs, half of them in each guest, up to `want`. */
static void add_idle(struct rig *r, unsigned *have, unsigned want)
{
	struct gs_link l = gs_link_default();

	for (; *have < want; ++*have) {
		struct gs_qp *q = create_idle(*have % 2 ? &r->b : &r->a);

		l.remote_qpn = q->qpn;
		l.path = gs_path_to(q->vm);
		gs_qp_bring_up(q, &l);
	}
}

static void add_round(struct pair *p, double many, double one)
{
	samples_add(&p->many, many);
	samples_add(&p->one, one);
	samples_add(&p->ratio, many / one);
}

/* The other one's turn left the worker asleep. */
static double latency(struct rig *r)
{
	rig_write_latency(r, LATENCY_EACH);
	return rig_write_latency(r, LATENCY_EACH);
}

static void report(struct bench *b, const char *what, const struct pair *p, unsigned count)
{
	report_add(b->report, &(struct row){.what = what,
					    .size = count,
					    .unit = "ns",
					    .ours = &p->many,
					    .limit = &p->one,
					    .limit_is = "with 1 idle QP",
					    .ratio = &p->ratio,
					    .bound = count == 1000 ? 1.2 : 0});
}

static void measure(struct bench *b, struct rig *many, struct rig *one, unsigned count)
{
	struct pair of_latency = {0}, of_cost = {0};

	for (unsigned i = 0; i < b->rounds; i++) {
		add_round(&of_latency, latency(many), latency(one));
		add_round(&of_cost, rig_write_rate(many, RATE_EACH),
			  rig_write_rate(one, RATE_EACH));
	}
	report(b, "idle_qps_write_latency", &of_latency, count);
	report(b, "idle_qps_write_cost", &of_cost, count);
}

void bench_scale(struct bench *b)
{
	struct samples memory = {0};
	unsigned have = 0, have_one = 0;
	uint64_t before = 0;
	struct rig many, one;

	rig_open(&many, 4u << 20);
	rig_open(&one, 4u << 20);
	add_idle(&one, &have_one, 1);
	for (unsigned i = 0; i < STEPS; i++) {
		add_idle(&many, &have, counts[i]);
		if (counts[i] == MEMORY_FROM)
			before = gs_daemon_rss(&many.daemon);
		measure(b, &many, &one, counts[i]);
	}
	samples_add(&memory, (double)(gs_daemon_rss(&many.daemon) - before) / (have - MEMORY_FROM));
	report_add(b->report, &(struct row){.what = "memory_per_idle_qp",
					    .size = counts[STEPS - 1],
					    .unit = "bytes",
					    .ours = &memory});
	rig_close(&many);
	rig_close(&one);
}
