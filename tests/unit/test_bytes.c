/* SPDX-License-Identifier: BSD-2-Clause */
/* Ranges that a guest or a peer names (base/bytes.h), up to the end of all addresses. */
#include "base/bytes.h"
#include "unit.h"

static void range_is_inside(void **state)
{
	assert_true(up_range_inside(100, 50, 100, 50));
	assert_true(up_range_inside(149, 1, 100, 50));
	assert_true(up_range_inside(150, 0, 100, 50));
	assert_true(up_range_inside(0, UINT64_MAX, 0, UINT64_MAX));
	assert_true(up_range_inside(UINT64_MAX, 1, UINT64_MAX - 9, 10));
}

static void range_is_not_inside(void **state)
{
	assert_false(up_range_inside(99, 1, 100, 50));
	assert_false(up_range_inside(100, 51, 100, 50));
	assert_false(up_range_inside(150, 1, 100, 50));
	assert_false(up_range_inside(151, 0, 100, 50));
}

/* Neither an end that wraps nor a start below the other one is taken for inside. */
static void range_does_not_wrap(void **state)
{
	assert_false(up_range_inside(120, UINT64_MAX - 10, 100, 50));
	assert_false(up_range_inside(UINT64_MAX, 2, UINT64_MAX - 9, 10));
	assert_false(up_range_inside(0, 1, UINT64_MAX - 9, 20));
	assert_false(up_range_inside(0, 0, 1, UINT64_MAX));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(range_is_inside),
		cmocka_unit_test(range_is_not_inside),
		cmocka_unit_test(range_does_not_wrap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
