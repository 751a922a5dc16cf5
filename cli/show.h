/* SPDX-License-Identifier: BSD-2-Clause */
/* Results of the daemon as tables for people. */
#ifndef UP_CLI_SHOW_H
#define UP_CLI_SHOW_H

#include <jansson.h>
#include <stdbool.h>

/* Where a line of text goes. */
struct sink {
	void (*line)(void *arg, const char *text);
	void *arg;
};

extern const struct sink stdout_sink;

void show_ports(const json_t *result, const struct sink *to);
void show_status(const json_t *result, const struct sink *to);

/* Totals since the start; `qps`: those of each port's QPs too. */
void show_stats(const json_t *result, bool qps, const struct sink *to);

/* What changed between two results taken `seconds` apart, per second. */
void show_rates(const json_t *before, const json_t *now, double seconds, bool qps,
		const struct sink *to);

#endif
