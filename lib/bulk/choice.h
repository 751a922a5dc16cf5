/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which of several ways to move memory is the best one, by what each took lately. One way is used;
 * from time to time a few operations go another way, the others in turn, and when these took
 * clearly less that is the one from then on. A trial is paid for: the next one comes when some 64
 * times as long has passed, and one whose first operations take several times as long as it is used
 * to is broken off. When the way that is used has become slower than it was when it was chosen,
 * that is reason for a trial at once. It knows no clock: times come with the calls.
 */
#ifndef UP_BULK_CHOICE_H
#define UP_BULK_CHOICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum up_way {
	UP_WAY_DIRECT, /* this end copies by itself; it needs nothing of the other */
	/* Both ends copy at the same time; the other must be looking. */
	UP_WAY_STAGED, /* through memory that both reach */
	UP_WAY_HALVES, /* each a half, from one's memory to the other's */
	UP_WAYS
};

struct up_choice {
	enum up_way way;
	unsigned cost[UP_WAYS]; /* nanoseconds for 64 KiB, averaged; 0: not known */
	unsigned chosen_at;	/* the cost of the way when it was last compared; 0: it was not */
	uint64_t next;		/* when another is to be tried */
	uint64_t soonest;	/* before which it may not be, whatever happens */

	/* A trial of another way. */
	enum up_way tried; /* now, or the last time */
	unsigned start;	   /* operations that are to go that way yet */
	unsigned expect;   /* whose times are to come; 0: there is no trial */
	unsigned slow;	   /* that were by far slower */
	uint64_t ns, bytes;
};

/* All zero is a new one: direct. */

/* The way of the next operation, of `bytes`. `looks`: the other end does, as far as is known. */
enum up_way up_choice_way(struct up_choice *c, uint64_t now, size_t bytes, bool looks);
/* Is it time to try another way, whichever that is? */
static inline bool up_choice_trial_due(const struct up_choice *c, uint64_t now)
{
	return c->cost[c->way] && !c->expect && now >= c->next;
}
/* Would it like to try one that needs the other end? Then find out whether that is looking. */
static inline bool up_choice_due(const struct up_choice *c, uint64_t now)
{
	return c->way == UP_WAY_DIRECT && up_choice_trial_due(c, now);
}
/* An operation of `bytes` was done by now, and took so many nanoseconds. */
void up_choice_took(struct up_choice *c, enum up_way way, size_t bytes, uint64_t ns, uint64_t now);
/* The other end does not look: directly from here on, until `again`. */
void up_choice_direct(struct up_choice *c, uint64_t again);

#endif
