/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Measures the virtual RDMA component with simulated guests: a table on standard output, and a
 * JSON file. Needs two cores: the guests' thread runs on one, the daemon's worker on the other.
 */
#include "bench.h"

#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROUNDS = 11, QUICK_ROUNDS = 3 };

struct args {
	const char *output, *only;
	bool quick;
};

static const struct argp_option options[] = {
	{"output", 'o', "FILE", 0, "Write the results to FILE as JSON"},
	{"only", 'n', "PART", 0,
	 "Only this part: latency, bandwidth, scale, idle, events, "
	 "registration"},
	{"quick", 'q', NULL, 0, "Few rounds: whether it runs, not how fast it is"},
	{0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct args *a = state->input;

	switch (key) {
	case 'o':
		a->output = arg;
		return 0;
	case 'n':
		a->only = arg;
		return 0;
	case 'q':
		a->quick = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct {
	const char *name;
	void (*run)(struct bench *b);
} parts[] = {
	{"latency", bench_latency}, {"bandwidth", bench_bandwidth},
	{"scale", bench_scale},	    {"idle", bench_idle},
	{"events", bench_events},   {"registration", bench_registration},
};

static void run_parts(struct bench *b, const char *only)
{
	for (unsigned i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		if (only && strcmp(only, parts[i].name))
			continue;
		fprintf(stderr, "measuring %s\n", parts[i].name);
		parts[i].run(b);
	}
}

int main(int argc, char **argv)
{
	static const struct argp argp = {
		.options = options, .parser = parse, .doc = "Benchmark of virtual RDMA"};
	struct args args = {0};
	struct bench b = {0};
	int err = 0;

	argp_parse(&argp, argc, argv, 0, NULL, &args);
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2) {
		fprintf(stderr, "this benchmark needs two cores\n");
		return 1;
	}
	if (!cores_pin(GUEST_CPU)) {
		fprintf(stderr, "cannot run on core %d: %s\n", GUEST_CPU, strerror(errno));
		return 1;
	}
	b.rounds = args.quick ? QUICK_ROUNDS : ROUNDS;
	b.report = report_create();
	b.partner = partner_create(WORKER_CPU);
	run_parts(&b, args.only);
	report_print(b.report);
	if (args.output) {
		err = report_write(b.report, args.output);
		if (err)
			fprintf(stderr, "cannot write %s: %s\n", args.output, strerror(-err));
	}
	partner_destroy(b.partner);
	report_destroy(b.report);
	return err ? 1 : 0;
}
