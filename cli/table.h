/* SPDX-License-Identifier: BSD-2-Clause */
/* Tables of text: cells are gathered, then written line by line with their columns aligned. */
#ifndef UP_CLI_TABLE_H
#define UP_CLI_TABLE_H

#include <stddef.h>
#include <stdint.h>

enum { TABLE_MAX_COLUMNS = 16 };

/* The first `left` columns are aligned to the left, the others (numbers) to the right. */
struct table {
	unsigned columns, left;
	char **cells; /* row by row, the titles first */
	size_t count, room;
};

/* `titles` are separated by spaces. */
void table_init(struct table *t, unsigned left, const char *titles);
void table_fini(struct table *t);

/* The next cell, row by row. */
void table_text(struct table *t, const char *text);
void table_number(struct table *t, uint64_t n);
/* With a unit of 1024 bytes and its powers. */
void table_bytes(struct table *t, uint64_t n);

/* Calls `line` for the titles and every row. */
void table_write(const struct table *t, void (*line)(void *arg, const char *text), void *arg);

#endif
