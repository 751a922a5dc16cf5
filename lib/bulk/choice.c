/* SPDX-License-Identifier: BSD-2-Clause */
/* The choice between ways to move memory (bulk/choice.h). */
#include "bulk/choice.h"

/* Of a trial, by the way that is tried: what starts it is not measured, as it waits for what was
 * before. A direct one is over when its call returns, staged ones follow one another, and halves do
 * but for the call. Of long operations fewer say as much. */
static const struct {
	unsigned operations, measured;
} trials[UP_WAYS][2] = {
	[UP_WAY_DIRECT] = {{2, 1}, {2, 1}},
	[UP_WAY_STAGED] = {{16, 8}, {4, 2}},
	[UP_WAY_HALVES] = {{4, 2}, {3, 2}},
};

#define LONG ((size_t)256 << 10)
/* A trial is broken off after so many operations that took so many times what is usual. */
#define MOST_SLOW 2u
#define SLOW 3u
#define UNIT 65536u /* bytes that a cost is for */
/* A trial takes at most this part of the time. */
#define SHARE 64u
/* Nanoseconds between two trials. */
#define MOST_PAUSE UINT64_C(200000000)
#define LEAST_PAUSE UINT64_C(2000000)

/* Of those that are not used, the next one that can be tried. */
static enum up_way next_way(const struct up_choice *c, bool looks)
{
	unsigned way = c->tried;

	for (unsigned i = 0; i < UP_WAYS; i++) {
		way = (way + 1) % UP_WAYS;
		if (way != c->way && (looks || way == UP_WAY_DIRECT))
			return (enum up_way)way;
	}
	return c->way;
}

enum up_way up_choice_way(struct up_choice *c, uint64_t now, size_t bytes, bool looks)
{
	enum up_way other;

	if (c->start) {
		c->start--;
		return c->tried;
	}
	/* What it waits for has failed. */
	if (c->expect && now >= c->next)
		c->expect = 0;
	if (!up_choice_trial_due(c, now))
		return c->way;
	other = next_way(c, looks);
	if (other == c->way)
		return other;
	c->tried = other;
	c->expect = trials[other][bytes >= LONG].operations;
	c->next = now + MOST_PAUSE;
	c->start = c->expect - 1;
	c->ns = c->bytes = 0;
	c->slow = 0;
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

static bool knows_all(const struct up_choice *c)
{
	for (unsigned i = 0; i < UP_WAYS; i++) {
		if (!c->cost[i])
			return false;
	}
	return true;
}

static bool is_better(const struct up_choice *c, enum up_way way)
{
	return c->cost[way] && c->cost[way] < c->cost[c->way] / 16 * 15;
}

/* Has the way that is used become slower than it was, or than another? */
static bool is_doubtful(const struct up_choice *c)
{
	for (unsigned i = 0; i < UP_WAYS; i++) {
		if (is_better(c, i))
			return true;
	}
	return c->cost[c->way] > c->chosen_at + c->chosen_at / 2;
}

/* Then all others are to be tried, soon. */
static void doubt(struct up_choice *c)
{
	for (unsigned i = 0; i < UP_WAYS; i++) {
		if (i != c->way)
			c->cost[i] = 0;
	}
	c->next = c->soonest;
}

static void compare(struct up_choice *c, uint64_t now)
{
	c->cost[c->tried] = cost_of(c->bytes, c->ns);
	if (is_better(c, c->tried))
		c->way = c->tried;
	c->chosen_at = c->cost[c->way];
	c->soonest = now + clamp(c->ns * SHARE, LEAST_PAUSE, MOST_PAUSE);
	c->next = knows_all(c) ? now + MOST_PAUSE : c->soonest;
}

/* One of a trial's. */
static void tried(struct up_choice *c, size_t bytes, uint64_t ns, uint64_t now)
{
	bool slow = cost_of(bytes, ns) > (uint64_t)c->cost[c->way] * SLOW;

	c->slow += slow;
	if (slow && c->slow == MOST_SLOW) {
		c->expect -= c->start;
		c->start = 0;
	}
	if (c->expect-- <= trials[c->tried][bytes >= LONG].measured) {
		c->ns += ns;
		c->bytes += bytes;
	}
	if (!c->expect)
		compare(c, now);
}

void up_choice_took(struct up_choice *c, enum up_way way, size_t bytes, uint64_t ns, uint64_t now)
{
	unsigned cost = cost_of(bytes, ns), *average = &c->cost[way];

	if (c->expect && way == c->tried) {
		tried(c, bytes, ns, now);
		return;
	}
	/* One that was interrupted counts for little. */
	if (*average && cost > *average * 4)
		cost = *average * 4;
	*average = *average ? *average - *average / 8 + cost / 8 : cost;
	if (way == c->way && c->chosen_at && c->next > c->soonest && is_doubtful(c))
		doubt(c);
}

void up_choice_direct(struct up_choice *c, uint64_t again)
{
	/* Then what was best is tried first. */
	if (c->way != UP_WAY_DIRECT)
		c->tried = c->way - 1;
	c->way = UP_WAY_DIRECT;
	c->start = c->expect = 0;
	c->chosen_at = 0;
	c->next = c->soonest = again;
}
