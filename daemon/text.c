/* SPDX-License-Identifier: BSD-2-Clause */
/* A growing buffer of text. */
#include "daemon/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEEP = 64 * 1024 };

static bool reserve(struct up_text *t, size_t len)
{
	size_t room = t->room ? t->room : 1024;
	char *data;

	if (len <= t->room - t->len)
		return true;
	while (room - t->len < len)
		room *= 2;
	data = realloc(t->data, room);
	if (!data) {
		t->failed = true;
		return false;
	}
	t->data = data;
	t->room = room;
	return true;
}

void up_text_add(struct up_text *t, const char *data, size_t len)
{
	if (len == 0 || !reserve(t, len))
		return;
	memcpy(t->data + t->len, data, len);
	t->len += len;
}

void up_text_printf(struct up_text *t, const char *fmt, ...)
{
	va_list ap;
	char *line;
	int len;

	va_start(ap, fmt);
	len = vasprintf(&line, fmt, ap);
	va_end(ap);
	if (len < 0) {
		t->failed = true;
		return;
	}
	up_text_add(t, line, (size_t)len);
	free(line);
}

void up_text_clear(struct up_text *t)
{
	t->len = 0;
	if (t->room > KEEP) {
		free(t->data);
		t->data = NULL;
		t->room = 0;
	}
}

void up_text_fini(struct up_text *t)
{
	free(t->data);
	*t = (struct up_text){0};
}
