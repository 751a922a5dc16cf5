/* SPDX-License-Identifier: BSD-2-Clause */
/* One-way latency against a cache line's round trip, and the rate of small messages. */
#include "bench.h"

enum { EACH = 2000, RATE_EACH = 200000 };

void bench_latency(struct bench *b)
{
	struct samples trip = {0}, write = {0}, write_ratio = {0}, send = {0}, send_ratio = {0};
	struct samples rate = {0};
	struct rig r;

	rig_open(&r, 4u << 20);
	rig_write_latency(&r, EACH);
	rig_send_latency(&r, EACH);
	for (unsigned i = 0; i < b->rounds; i++) {
		double t = partner_round_trip(b->partner, EACH), w, s;

		w = rig_write_latency(&r, EACH);
		s = rig_send_latency(&r, EACH);
		t = (t + partner_round_trip(b->partner, EACH)) / 2;
		samples_add(&trip, t);
		samples_add(&write, w);
		samples_add(&write_ratio, w / t);
		samples_add(&send, s);
		samples_add(&send_ratio, s / t);
		samples_add(&rate, 1e3 / rig_write_rate(&r, RATE_EACH));
	}
	report_add(b->report, &(struct row){.what = "write_latency",
					    .size = 8,
					    .unit = "ns",
					    .ours = &write,
					    .limit = &trip,
					    .limit_is = "cache line round trip",
					    .ratio = &write_ratio,
					    .bound = 5});
	report_add(b->report, &(struct row){.what = "send_latency",
					    .size = 8,
					    .unit = "ns",
					    .ours = &send,
					    .limit = &trip,
					    .limit_is = "cache line round trip",
					    .ratio = &send_ratio,
					    .bound = 5});
	report_add(b->report, &(struct row){.what = "write_rate_batched",
					    .size = 8,
					    .unit = "M/s",
					    .higher_is_better = true,
					    .ours = &rate,
					    .bound = 5});
	rig_close(&r);
}
