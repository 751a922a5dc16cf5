/* SPDX-License-Identifier: BSD-2-Clause */
/* Results of a benchmark: medians in a table and in a JSON file. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <stdbool.h>
#include <stddef.h>

#define MAX_RUNS 64

struct samples {
	double v[MAX_RUNS];
	unsigned n;
};

void samples_add(struct samples *s, double v);
double samples_median(const struct samples *s);
/* The value below which a fraction `q` lies. */
double samples_quantile(const struct samples *s, double q);

/* Of values that may be reordered. */
double median_of(double *v, unsigned n);

struct row {
	const char *what;
	size_t size; /* bytes, or what `what` says */
	const char *unit;
	bool higher_is_better;
	const struct samples *ours;
	/* The physical limit measured beside, with its name; or NULL. */
	const struct samples *limit;
	const char *limit_is;
	/* ours against the limit in each run; NULL: the quotient of the medians. */
	const struct samples *ratio;
	/*
	 * What is to be reached: `bound` times the limit, or `bound` itself where there is no
	 * limit. 0: nothing; the row is for information.
	 */
	double bound;
	const char *note;
};

struct report;
struct report *report_create(void);
void report_add(struct report *r, const struct row *row);
void report_print(const struct report *r);
/* 0 or a negative errno. */
int report_write(const struct report *r, const char *path);
void report_destroy(struct report *r);

#endif
