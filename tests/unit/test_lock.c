/* SPDX-License-Identifier: BSD-2-Clause */
/* Locks of the data path (base/lock.h). */
#include "base/lock.h"

#include "base/clock.h"
#include "unit.h"

#include <sched.h>

static struct up_rwlock lock;

static void *write_once(void *arg)
{
	up_rwlock_write(&lock);
	up_rwlock_drop(&lock);
	return NULL;
}

/* Readers that overlap for ever do not keep a writer out: who comes after it waits for it. */
static void writer_is_not_overtaken(void **state)
{
	uint64_t end = up_clock_ns() + 60 * UP_SEC;
	pthread_t writer;

	up_multi_worker = true;
	up_rwlock_init(&lock);
	up_rwlock_read(&lock);
	assert_int_equal(pthread_create(&writer, NULL, write_once, NULL), 0);
	while (!pthread_rwlock_tryrdlock(&lock.rw)) {
		up_rwlock_drop(&lock);
		assert_true(up_clock_ns() < end);
		sched_yield();
	}
	up_rwlock_drop(&lock);
	pthread_join(writer, NULL);
	up_rwlock_fini(&lock);
	up_multi_worker = false;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writer_is_not_overtaken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
