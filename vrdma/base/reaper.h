/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is left of objects that are gone: memory that nobody refers to any more, too much of it to
 * be freed in one go by a thread that others wait for. It is freed bit by bit from the event loop.
 *
 * All of it is the control thread's.
 */
#ifndef UP_BASE_REAPER_H
#define UP_BASE_REAPER_H

#include "base/list.h"

struct up_remains {
	struct up_list node; /* on the reaper's list */
	/* Frees a small part, microseconds of it. True when it was the last: it is gone. */
	bool (*step)(struct up_remains *r);
};

struct up_reaper;

/* NULL with errno. */
struct up_reaper *up_reaper_create(void);
/* Frees what is left first. */
void up_reaper_destroy(struct up_reaper *r);
/* Readable while there is something to free: then call up_reaper_process(). */
int up_reaper_fd(const struct up_reaper *r);
/* Frees for a bounded time. */
void up_reaper_process(struct up_reaper *r);
void up_reaper_give(struct up_reaper *r, struct up_remains *remains);
/* Frees some of these out of turn. True when they are gone. */
bool up_remains_hurry(struct up_remains *remains);

#endif
