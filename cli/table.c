/* SPDX-License-Identifier: BSD-2-Clause */
/* Tables of text. */
#include "cli/table.h"

#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void table_text(struct table *t, const char *text)
{
	if (t->count == t->room) {
		t->room = t->room ? 2 * t->room : 64;
		t->cells = reallocarray(t->cells, t->room, sizeof(*t->cells));
		if (!t->cells)
			err(EXIT_FAILURE, "table");
	}
	t->cells[t->count] = strdup(text);
	if (!t->cells[t->count++])
		err(EXIT_FAILURE, "table");
}

void table_number(struct table *t, uint64_t n)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, n);
	table_text(t, text);
}

void table_bytes(struct table *t, uint64_t n)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double v = (double)n;
	unsigned u = 0;
	char text[32];

	while (v >= 1024 && u < 6) {
		v /= 1024;
		u++;
	}
	snprintf(text, sizeof(text), u ? "%.1f %s" : "%.0f %s", v, units[u]);
	table_text(t, text);
}

void table_init(struct table *t, unsigned left, const char *titles)
{
	char *copy = strdup(titles), *save = NULL, *word;

	*t = (struct table){.left = left};
	if (!copy)
		err(EXIT_FAILURE, "table");
	for (word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		table_text(t, word);
		t->columns++;
	}
	free(copy);
}

void table_fini(struct table *t)
{
	for (size_t i = 0; i < t->count; i++)
		free(t->cells[i]);
	free(t->cells);
}

static void put_row(const struct table *t, char *const *row, const int *width, char *out,
		    size_t size)
{
	size_t at = 0;

	for (unsigned c = 0; c < t->columns && at < size; c++) {
		const char *gap = c ? "  " : "";
		int w = width[c];

		if (c < t->left && c + 1 == t->columns)
			w = 0;
		at += (size_t)snprintf(out + at, size - at, c < t->left ? "%s%-*s" : "%s%*s", gap,
				       w, row[c]);
	}
}

void table_write(const struct table *t, void (*line)(void *arg, const char *text), void *arg)
{
	int width[TABLE_MAX_COLUMNS] = {0};
	char text[1024];

	for (size_t i = 0; i < t->count; i++) {
		int len = (int)strlen(t->cells[i]);

		if (len > width[i % t->columns])
			width[i % t->columns] = len;
	}
	for (size_t i = 0; i + t->columns <= t->count; i += t->columns) {
		put_row(t, t->cells + i, width, text, sizeof(text));
		line(arg, text);
	}
}
