/* SPDX-License-Identifier: BSD-2-Clause */
/* Freeing bit by bit. */
#include "base/reaper.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "unit.h"

#include <poll.h>

#define STEPS 1000
#define STEP_NS 20000 /* at least */

struct slow {
	struct up_remains remains;
	unsigned left;
};

static bool slow_step(struct up_remains *r)
{
	struct slow *s = UP_CONTAINER_OF(r, struct slow, remains);
	uint64_t end = up_clock_ns() + STEP_NS;

	while (up_clock_ns() < end)
		;
	return !--s->left;
}

static bool readable(const struct up_reaper *r)
{
	struct pollfd p = {.fd = up_reaper_fd(r), .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

/* All of it takes 20 ms and more, of which one go has a part only. */
static void frees_in_turns(void **state)
{
	struct up_reaper *r = up_reaper_create();
	struct slow s = {.remains.step = slow_step, .left = STEPS};
	unsigned turns = 0;

	assert_non_null(r);
	assert_false(readable(r));
	up_reaper_give(r, &s.remains);
	while (readable(r)) {
		unsigned before = s.left;

		up_reaper_process(r);
		assert_true(s.left < before);
		turns++;
	}
	assert_int_equal(s.left, 0);
	assert_true(turns > 10);
	up_reaper_destroy(r);
}

static void hurried_out_of_turn(void **state)
{
	struct up_reaper *r = up_reaper_create();
	struct slow first = {.remains.step = slow_step, .left = 2};
	struct slow second = {.remains.step = slow_step, .left = 2};

	up_reaper_give(r, &first.remains);
	up_reaper_give(r, &second.remains);
	assert_false(up_remains_hurry(&second.remains));
	assert_true(up_remains_hurry(&second.remains));
	assert_int_equal(first.left, 2);
	while (readable(r))
		up_reaper_process(r);
	assert_int_equal(first.left, 0);
	up_reaper_destroy(r);
}

static void ends_with_what_is_left(void **state)
{
	struct up_reaper *r = up_reaper_create();
	struct slow s = {.remains.step = slow_step, .left = 100};

	up_reaper_give(r, &s.remains);
	up_reaper_destroy(r);
	assert_int_equal(s.left, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frees_in_turns),
		cmocka_unit_test(hurried_out_of_turn),
		cmocka_unit_test(ends_with_what_is_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
