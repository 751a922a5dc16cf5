/* SPDX-License-Identifier: BSD-2-Clause */
/* Rows of results, as JSON objects from the start. */
#include "report.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

struct report {
	json_t *root, *rows;
};

void samples_add(struct samples *s, double v)
{
	if (s->n < MAX_RUNS)
		s->v[s->n++] = v;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double samples_quantile(const struct samples *s, double q)
{
	double v[MAX_RUNS], at = q * (s->n - 1);
	unsigned low = (unsigned)at, high;

	if (!s->n)
		return NAN;
	memcpy(v, s->v, s->n * sizeof(v[0]));
	qsort(v, s->n, sizeof(v[0]), compare);
	high = low + 1 < s->n ? low + 1 : low;
	return v[low] + (v[high] - v[low]) * (at - low);
}

double median_of(double *v, unsigned n)
{
	qsort(v, n, sizeof(v[0]), compare);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

double samples_median(const struct samples *s)
{
	return samples_quantile(s, 0.5);
}

static void cpu_model(char *text, size_t size)
{
	FILE *f = fopen("/proc/cpuinfo", "r");
	char line[256];

	snprintf(text, size, "unknown");
	while (f && fgets(line, sizeof(line), f)) {
		char *colon = strchr(line, ':');

		if (strncmp(line, "model name", 10) || !colon)
			continue;
		colon[strcspn(colon, "\n")] = 0;
		snprintf(text, size, "%s", colon + 2);
		break;
	}
	if (f)
		fclose(f);
}

static json_t *machine(void)
{
	struct utsname u = {0};
	struct sysinfo si = {0};
	char cpu[256];

	uname(&u);
	sysinfo(&si);
	cpu_model(cpu, sizeof(cpu));
	return json_pack("{s:s, s:i, s:s, s:s, s:I}", "cpu", cpu, "cores",
			 (int)sysconf(_SC_NPROCESSORS_ONLN), "kernel", u.release, "arch", u.machine,
			 "memory_mib", (json_int_t)(si.totalram * si.mem_unit >> 20));
}

struct report *report_create(void)
{
	struct report *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->rows = json_array();
	r->root = json_pack("{s:o, s:o}", "machine", machine(), "rows", r->rows);
	return r;
}

void report_destroy(struct report *r)
{
	json_decref(r->root);
	free(r);
}

static json_t *number(double v)
{
	return isfinite(v) ? json_real(v) : json_null();
}

static double ratio_of(const struct row *row)
{
	if (row->ratio)
		return samples_median(row->ratio);
	return samples_median(row->ours) / samples_median(row->limit);
}

static json_t *reach_text(const struct row *row)
{
	const char *op = row->higher_is_better ? ">=" : "<=";

	if (row->bound == 0)
		return json_null();
	if (row->limit)
		return json_sprintf("ours %s %g * %s", op, row->bound, row->limit_is);
	return json_sprintf("ours %s %g", op, row->bound);
}

static json_t *is_met(const struct row *row)
{
	double v;

	if (row->bound == 0)
		return json_null();
	v = row->limit ? ratio_of(row) : samples_median(row->ours);
	return json_boolean(row->higher_is_better ? v >= row->bound : v <= row->bound);
}

void report_add(struct report *r, const struct row *row)
{
	json_t *o = json_object();

	json_object_set_new(o, "what", json_string(row->what));
	json_object_set_new(o, "size", json_integer((json_int_t)row->size));
	json_object_set_new(o, "unit", json_string(row->unit));
	json_object_set_new(o, "better", json_string(row->higher_is_better ? "higher" : "lower"));
	json_object_set_new(o, "ours", number(samples_median(row->ours)));
	json_object_set_new(o, "runs", json_integer(row->ours->n));
	json_object_set_new(o, "spread",
			    json_pack("[o, o]", number(samples_quantile(row->ours, 0.25)),
				      number(samples_quantile(row->ours, 0.75))));
	json_object_set_new(o, "peers", json_object());
	json_object_set_new(o, "limit",
			    row->limit ? number(samples_median(row->limit)) : json_null());
	json_object_set_new(o, "limit_is", row->limit ? json_string(row->limit_is) : json_null());
	json_object_set_new(o, "ratio", row->limit ? number(ratio_of(row)) : json_null());
	json_object_set_new(o, "reach", reach_text(row));
	json_object_set_new(o, "met", is_met(row));
	if (row->note)
		json_object_set_new(o, "note", json_string(row->note));
	json_array_append_new(r->rows, o);
}

static void format_size(char *text, size_t n, json_int_t size)
{
	if (size >= 1 << 20 && size % (1 << 20) == 0)
		snprintf(text, n, "%lldM", (long long)size >> 20);
	else if (size >= 1 << 10 && size % (1 << 10) == 0)
		snprintf(text, n, "%lldK", (long long)size >> 10);
	else if (size)
		snprintf(text, n, "%lld", (long long)size);
	else
		snprintf(text, n, "-");
}

static void print_number(const json_t *v)
{
	double d = json_number_value(v);

	if (!json_is_number(v))
		printf(" %10s", "-");
	else
		printf(d < 100 ? " %10.2f" : " %10.0f", d);
}

void report_print(const struct report *r)
{
	const json_t *row, *met, *reach;
	size_t i;

	printf("%-26s %6s %10s %-9s %10s %6s  %s\n", "what", "size", "ours", "unit", "limit",
	       "ratio", "reach");
	json_array_foreach(r->rows, i, row)
	{
		const json_t *ratio = json_object_get(row, "ratio");
		char size[24];

		format_size(size, sizeof(size), json_integer_value(json_object_get(row, "size")));
		printf("%-26s %6s", json_string_value(json_object_get(row, "what")), size);
		print_number(json_object_get(row, "ours"));
		printf(" %-9s", json_string_value(json_object_get(row, "unit")));
		print_number(json_object_get(row, "limit"));
		if (json_is_number(ratio))
			printf(" %6.2f", json_number_value(ratio));
		else
			printf(" %6s", "-");
		met = json_object_get(row, "met");
		reach = json_object_get(row, "reach");
		if (json_is_string(reach))
			printf("  %s: %s", json_string_value(reach),
			       json_is_true(met) ? "met" : "NOT MET");
		printf("\n");
	}
}

int report_write(const struct report *r, const char *path)
{
	return json_dump_file(r->root, path, JSON_INDENT(1) | JSON_REAL_PRECISION(6)) ? -EIO : 0;
}
