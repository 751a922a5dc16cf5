/* SPDX-License-Identifier: BSD-2-Clause */
/* A growing buffer of text. */
#ifndef UP_DAEMON_TEXT_H
#define UP_DAEMON_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* All zero: empty. */
struct up_text {
	char *data; /* not terminated */
	size_t len, room;
	bool failed; /* out of memory: something is missing */
};

void up_text_add(struct up_text *t, const char *data, size_t len);
void up_text_printf(struct up_text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Empties it; keeps a small buffer for the next use. */
void up_text_clear(struct up_text *t);
void up_text_fini(struct up_text *t);

#endif
