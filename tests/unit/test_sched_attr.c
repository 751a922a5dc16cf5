/* SPDX-License-Identifier: BSD-2-Clause */
/* What a thread asks of the scheduler is what the kernel then says of it. */
#include "base/sched_attr.h"
#include "unit.h"

#include <sched.h>
#include <sys/resource.h>

static void a_thread_is_nice(void **state)
{
	struct up_sched_attr a = {.nice = 7, .runtime = UP_SCHED_SLICE_NS}, is;

	assert_int_equal(up_sched_attr_set(&a), 0);
	assert_int_equal(getpriority(PRIO_PROCESS, 0), 7);
	assert_int_equal(up_sched_attr_get(&is), 0);
	assert_int_equal(is.size, sizeof(is));
	assert_int_equal(is.policy, SCHED_OTHER);
	assert_int_equal(is.nice, 7);
	assert_int_equal(is.priority, 0);
	/* Linux before 6.12 knows no slices. */
	assert_true(is.runtime == 0 || is.runtime == UP_SCHED_SLICE_NS);
}

static void what_is_no_policy_is_refused(void **state)
{
	struct up_sched_attr a = {.policy = 99};

	assert_int_equal(up_sched_attr_set(&a), -EINVAL);
	assert_int_equal(sched_getscheduler(0), SCHED_OTHER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_thread_is_nice),
		cmocka_unit_test(what_is_no_policy_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
