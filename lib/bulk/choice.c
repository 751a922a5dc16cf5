/* SPDX-License-Identifier: BSD-2-Clause */
/* The choice between two ways to move memory (bulk/choice.h). */
#include "bulk/choice.h"

/* Of a trial, by the way that is tried: what starts it is not measured, as it waits for what was
 * before. A direct one is over when its call returns, the staged ones follow one another. */
static const struct {
	unsigned operations, measured;
} trials[UP_WAYS] = {
	[UP_WAY_DIRECT] = {2, 1},
	[UP_WAY_STAGED] = {16, 8},
};

#define UNIT 65536u /* bytes that a cost is for */
/* A trial takes at most this part of the time. */
#define SHARE 64u
/* Nanoseconds between two trials. */
#define MOST_PAUSE UINT64_C(200000000)
#define LEAST_PAUSE UINT64_C(2000000)

enum up_way up_choice_way(struct up_choice *c, uint64_t now, bool staged)
{
	enum up_way other = c->way == UP_WAY_DIRECT ? UP_WAY_STAGED : UP_WAY_DIRECT;

	if (c->start) {
		c->start--;
		return other;
	}
	/* What it waits for has failed. */
	if (c->expect && now >= c->next)
		c->expect = 0;
	if (!up_choice_trial_due(c, now) || (other == UP_WAY_STAGED && !staged))
		return c->way;
	c->expect = trials[other].operations;
	c->next = now + MOST_PAUSE;
	c->start = c->expect - 1;
	c->ns = c->bytes = 0;
	return other;
}

static uint64_t clamp(uint64_t value, uint64_t least, uint64_t most)
{
	return value < least ? least : value > most ? most : value;
}

static unsigned cost_of(uint64_t bytes, uint64_t ns)
{
	return (unsigned)clamp(ns * UNIT / bytes, 1, UINT32_MAX / 16);
}

static void compare(struct up_choice *c, enum up_way other, uint64_t now)
{
	c->cost[other] = cost_of(c->bytes, c->ns);
	if (c->cost[other] < c->cost[c->way] / 8 * 7)
		c->way = other;
	c->chosen_at = c->cost[c->way];
	c->soonest = now + clamp(c->ns * SHARE, LEAST_PAUSE, MOST_PAUSE);
	c->next = now + MOST_PAUSE;
}

void up_choice_took(struct up_choice *c, enum up_way way, size_t bytes, uint64_t ns, uint64_t now)
{
	unsigned cost = cost_of(bytes, ns), *average = &c->cost[way];

	if (c->expect && way != c->way) {
		if (c->expect-- <= trials[way].measured) {
			c->ns += ns;
			c->bytes += bytes;
		}
		if (!c->expect)
			compare(c, way, now);
		return;
	}
	/* One that was interrupted counts for little. */
	if (*average && cost > *average * 4)
		cost = *average * 4;
	*average = *average ? *average - *average / 8 + cost / 8 : cost;
	if (way == c->way && c->chosen_at && *average > c->chosen_at + c->chosen_at / 2 &&
	    c->next > c->soonest)
		c->next = c->soonest;
}

void up_choice_direct(struct up_choice *c, uint64_t again)
{
	c->way = UP_WAY_DIRECT;
	c->start = c->expect = 0;
	c->chosen_at = 0;
	c->next = c->soonest = again;
}
