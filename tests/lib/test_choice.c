/* SPDX-License-Identifier: BSD-2-Clause */
/* The choice between ways to move memory (bulk/choice.h), with made-up times. */
#include "../unit/unit.h"

#include "base/bytes.h"
#include "bulk/choice.h"

#include <string.h>

#define KIB 1024u
#define SIZE (64 * KIB)
#define MSEC UINT64_C(1000000)

/* A machine on which each way takes what is said here for 64 KiB, and a program that does one
 * operation after the other. */
struct machine {
	struct up_choice c;
	uint64_t now;
	uint64_t ns[UP_WAYS];
	bool looks; /* the other end */
	unsigned operations[UP_WAYS];
	uint64_t spent[UP_WAYS];
};

static enum up_way step(struct machine *m)
{
	enum up_way way = up_choice_way(&m->c, m->now, SIZE, m->looks);

	m->now += m->ns[way];
	m->operations[way]++;
	m->spent[way] += m->ns[way];
	up_choice_took(&m->c, way, SIZE, m->ns[way], m->now);
	return way;
}

static void run(struct machine *m, uint64_t ns)
{
	uint64_t end = m->now + ns;

	memset(m->operations, 0, sizeof(m->operations));
	memset(m->spent, 0, sizeof(m->spent));
	while (m->now < end)
		step(m);
}

static struct machine machine3(uint64_t direct, uint64_t staged, uint64_t halves)
{
	return (struct machine){.now = 1000 * MSEC, .ns = {direct, staged, halves}, .looks = true};
}

/* The third way is no use. */
static struct machine machine(uint64_t direct, uint64_t staged)
{
	return machine3(direct, staged, 2 * (direct > staged ? direct : staged));
}

static void finds_the_faster(void **state)
{
	struct machine m = machine(6000, 2000);

	assert_int_equal(m.c.way, UP_WAY_DIRECT);
	run(&m, 5 * MSEC);
	assert_int_equal(m.c.way, UP_WAY_STAGED);
	m = machine(6000, 9000);
	run(&m, 5 * MSEC);
	assert_int_equal(m.c.way, UP_WAY_DIRECT);
	/* It was tried. */
	assert_true(m.operations[UP_WAY_STAGED] > 0);
}

static void finds_the_best_of_three(void **state)
{
	static const uint64_t ns[][UP_WAYS] = {
		{6000, 9000, 4000}, {6000, 4000, 2000}, {6000, 2000, 4000}, {2000, 4000, 6000}};
	static const enum up_way best[] = {UP_WAY_HALVES, UP_WAY_HALVES, UP_WAY_STAGED,
					   UP_WAY_DIRECT};

	for (unsigned i = 0; i < UP_ARRAY_SIZE(best); i++) {
		struct machine m = machine3(ns[i][0], ns[i][1], ns[i][2]);

		run(&m, 30 * MSEC);
		assert_int_equal(m.c.way, best[i]);
		/* Any other may become the best. */
		for (unsigned way = 0; way < UP_WAYS; way++) {
			m.ns[way] = 1000;
			run(&m, 1000 * MSEC);
			assert_int_equal(m.c.way, way);
			m.ns[way] = 7000;
			run(&m, 1000 * MSEC);
		}
	}
}

/* One that is by far slower is not tried to the end, when nothing of it is on its way. */
static void breaks_off(void **state)
{
	struct machine m = machine3(6000, 60000, 5900);

	run(&m, 100 * MSEC);
	assert_true(m.operations[UP_WAY_STAGED] > 0);
	assert_true(m.operations[UP_WAY_STAGED] <= 3);
	assert_int_equal(m.c.way, UP_WAY_DIRECT);
}

/* After the other end did not look for a while, what was best is tried before the rest. */
static void comes_back(void **state)
{
	struct machine m = machine3(6000, 60000, 4000);

	run(&m, 100 * MSEC);
	assert_int_equal(m.c.way, UP_WAY_HALVES);
	up_choice_direct(&m.c, m.now + MSEC);
	run(&m, 2 * MSEC);
	assert_int_equal(m.c.way, UP_WAY_HALVES);
	assert_int_equal(m.operations[UP_WAY_STAGED], 0);
}

/* Trials of the slower way take at most some hundredths of the time, however slow it is. */
static void trials_cost_little(void **state)
{
	static const uint64_t slow[] = {7000, 20000, 100000};

	for (unsigned i = 0; i < UP_ARRAY_SIZE(slow); i++) {
		struct machine m = machine(6000, slow[i]);

		run(&m, 4000 * MSEC);
		assert_true(m.operations[UP_WAY_STAGED] > 0);
		assert_true(m.spent[UP_WAY_STAGED] < 4000 * MSEC / 50);
		m = machine(slow[i], 6000);
		run(&m, 10 * MSEC);
		run(&m, 4000 * MSEC);
		assert_true(m.operations[UP_WAY_DIRECT] > 0);
		assert_true(m.spent[UP_WAY_DIRECT] < 4000 * MSEC / 50);
	}
}

/* What was best is slow now: the other way is tried soon; and back. */
static void follows(void **state)
{
	struct machine m = machine(6000, 2000);

	run(&m, 50 * MSEC);
	assert_int_equal(m.c.way, UP_WAY_STAGED);
	m.ns[UP_WAY_STAGED] = 12000;
	run(&m, 10 * MSEC);
	assert_int_equal(m.c.way, UP_WAY_DIRECT);
	m.ns[UP_WAY_STAGED] = 2000;
	run(&m, 500 * MSEC);
	assert_int_equal(m.c.way, UP_WAY_STAGED);
	/* The other one became better. */
	m.ns[UP_WAY_DIRECT] = 1000;
	run(&m, 500 * MSEC);
	assert_int_equal(m.c.way, UP_WAY_DIRECT);
}

/* About the same: it stays as it is. */
static void does_not_flutter(void **state)
{
	struct machine m = machine(6000, 5700);

	run(&m, 2000 * MSEC);
	assert_int_equal(m.c.way, UP_WAY_DIRECT);
	m = machine(6000, 5000);
	run(&m, 300 * MSEC);
	assert_int_equal(m.c.way, UP_WAY_STAGED);
	m.ns[UP_WAY_DIRECT] = 4800;
	run(&m, 2000 * MSEC);
	assert_int_equal(m.c.way, UP_WAY_STAGED);
}

static void needs_one_who_looks(void **state)
{
	struct machine m = machine(6000, 2000);

	m.looks = false;
	run(&m, 500 * MSEC);
	assert_int_equal(m.operations[UP_WAY_STAGED], 0);
	assert_true(up_choice_due(&m.c, m.now));
	m.looks = true;
	run(&m, 5 * MSEC);
	assert_int_equal(m.c.way, UP_WAY_STAGED);
	up_choice_direct(&m.c, m.now + 20 * MSEC);
	assert_false(up_choice_due(&m.c, m.now));
	run(&m, 19 * MSEC);
	assert_int_equal(m.operations[UP_WAY_STAGED], 0);
	run(&m, 5 * MSEC);
	assert_int_equal(m.c.way, UP_WAY_STAGED);
}

/* One operation that was interrupted for long does not turn it. */
static void forgives_one(void **state)
{
	struct machine m = machine(6000, 4000);

	run(&m, 50 * MSEC);
	up_choice_took(&m.c, UP_WAY_STAGED, SIZE, 50 * MSEC, m.now);
	assert_int_equal(step(&m), UP_WAY_STAGED);
	run(&m, 100 * MSEC);
	assert_int_equal(m.c.way, UP_WAY_STAGED);
}

/* A trial whose operations never end does not stand in the way of later ones. */
static void forgets_lost_trials(void **state)
{
	struct machine m = machine(6000, 2000);
	unsigned lost = 0;

	assert_int_equal(step(&m), UP_WAY_DIRECT);
	while (up_choice_way(&m.c, m.now, SIZE, true) == UP_WAY_STAGED)
		lost++;
	assert_true(lost > 0);
	run(&m, 1000 * MSEC);
	assert_int_equal(m.c.way, UP_WAY_STAGED);
}

/* Sizes: a cost is for as many bytes. And numbers at the edges divide by nothing. */
static void sizes(void **state)
{
	struct up_choice c = {0};

	up_choice_took(&c, UP_WAY_DIRECT, 16 * KIB, 1500, 1);
	assert_int_equal(c.cost[UP_WAY_DIRECT], 6000);
	up_choice_took(&c, UP_WAY_DIRECT, KIB * KIB, 96000, 2);
	assert_int_equal(c.cost[UP_WAY_DIRECT], 6000);
	c = (struct up_choice){0};
	up_choice_took(&c, UP_WAY_DIRECT, 1, 0, 3);
	assert_true(c.cost[UP_WAY_DIRECT] > 0);
	c = (struct up_choice){0};
	up_choice_took(&c, UP_WAY_DIRECT, 1, UINT64_C(1) << 40, 4);
	assert_true(c.cost[UP_WAY_DIRECT] > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_the_faster),
		cmocka_unit_test(finds_the_best_of_three),
		cmocka_unit_test(breaks_off),
		cmocka_unit_test(comes_back),
		cmocka_unit_test(trials_cost_little),
		cmocka_unit_test(follows),
		cmocka_unit_test(does_not_flutter),
		cmocka_unit_test(needs_one_who_looks),
		cmocka_unit_test(forgives_one),
		cmocka_unit_test(forgets_lost_trials),
		cmocka_unit_test(sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
