/* SPDX-License-Identifier: BSD-2-Clause */
/* The memory map of a VM (engine/mem.h). */
#include "unit.h"

#include "engine/mem.h"

#include <errno.h>
#include <string.h>

#define TOP UINT64_MAX

static uint8_t low[0x4000], high[0x8000], rom[0x1000];

/* Low memory, read-only memory right above it, and more memory beyond a hole. */
static int setup(void **state)
{
	static struct up_mem mem;

	up_mem_init(&mem);
	memset(low, 1, sizeof(low));
	memset(rom, 2, sizeof(rom));
	memset(high, 3, sizeof(high));
	if (up_mem_add(&mem, 0, sizeof(low), low, true) ||
	    up_mem_add(&mem, 0x4000, sizeof(rom), rom, false) ||
	    up_mem_add(&mem, 0x100000000, sizeof(high), high, true))
		return -1;
	*state = &mem;
	return 0;
}

static int teardown(void **state)
{
	up_mem_fini(*state);
	return 0;
}

static void largest_range_is_at_hand(void **state)
{
	struct up_mem *m = *state;

	assert_int_equal(m->now.count, 3);
	assert_ptr_equal(m->now.largest.hva, high);
	up_mem_remove(m, 0x100000000, sizeof(high));
	assert_ptr_equal(m->now.largest.hva, low);
	up_mem_remove(m, 0, TOP);
	assert_int_equal(m->now.largest.size, 0);
	assert_null(up_mem_at(m, 0, 1, false));
}

/* What is planned is not so before it is committed, and only the last plan counts. */
static void plans_wait_for_their_commit(void **state)
{
	struct up_mem *m = *state;
	uint64_t epoch = m->epoch;

	assert_int_equal(up_mem_plan_add(m, 0x8000, 0x1000, rom, false), 0);
	assert_null(up_mem_at(m, 0x8000, 1, false));
	up_mem_plan_remove(m, 0x100000000, sizeof(high));
	assert_ptr_equal(up_mem_at(m, 0x100000000, 1, false), high);
	assert_int_equal(m->epoch, epoch);
	up_mem_commit(m);
	assert_null(up_mem_at(m, 0x8000, 1, false));
	assert_null(up_mem_at(m, 0x100000000, 1, false));
	assert_int_equal(m->epoch, epoch + 1);
	/* A plan that changes nothing, or cannot be, leaves none. */
	up_mem_plan_remove(m, 0x8000, 0x1000);
	up_mem_commit(m);
	assert_int_equal(up_mem_plan_add(m, 0, 0x1000, rom, false), -EEXIST);
	up_mem_commit(m);
	assert_int_equal(m->epoch, epoch + 1);
	assert_int_equal(m->now.count, 2);
}

/* Many of different sizes, that came in any order, against a look at each of them. */
static void finds_each_of_many(void **state)
{
	enum { RANGES = 300, SPACE = 4096 };
	static uint8_t host[SPACE];
	uint8_t owner[SPACE] = {0};
	struct up_mem m;
	uint64_t seed = 7;

	up_mem_init(&m);
	for (unsigned added = 0, tries = 0; added < RANGES && tries < 100000; tries++) {
		uint64_t at = unit_random(&seed) % SPACE, size = unit_random(&seed) % 20;
		bool writable = unit_random(&seed) % 2;

		if (at + size > SPACE || up_mem_add(&m, at, size, host + at, writable))
			continue;
		memset(owner + at, writable ? 2 : 1, size);
		added++;
	}
	assert_true(m.now.count > RANGES / 2);
	for (unsigned round = 0; round < 2; round++) {
		for (uint64_t at = 0; at < SPACE + 50; at++) {
			uint8_t is = at < SPACE ? owner[at] : 0;

			assert_ptr_equal(up_mem_at(&m, at, 1, false), is ? host + at : NULL);
			assert_ptr_equal(up_mem_at(&m, at, 1, true), is == 2 ? host + at : NULL);
		}
		/* The same with some gone; one that is cut stays. */
		for (uint64_t at = 1000; at < 3000; at++) {
			const struct up_mem_range *r = up_mem_find(&m, at);

			if (r && r->gpa >= 1000 && r->gpa + r->size <= 3000)
				owner[at] = 0;
		}
		up_mem_remove(&m, 1000, 2000);
	}
	up_mem_fini(&m);
}

static void refuses_overlaps(void **state)
{
	struct up_mem *m = *state;

	assert_int_equal(up_mem_add(m, 0, 1, low, true), -EEXIST);
	assert_int_equal(up_mem_add(m, 0x4fff, 2, low, true), -EEXIST);
	assert_int_equal(up_mem_add(m, 0xffffffff, 2, low, true), -EEXIST);
	assert_int_equal(up_mem_add(m, 0x5000, TOP - 0x5000, low, true), -EEXIST);
	assert_int_equal(up_mem_add(m, 0, TOP, low, true), -EEXIST);
	assert_int_equal(up_mem_add(m, 0x5000, 0x1000, low, true), 0);
	assert_int_equal(m->now.count, 4);
}

static void refuses_empty_and_wrapping_ranges(void **state)
{
	struct up_mem *m = *state;

	assert_int_equal(up_mem_add(m, 0x10000, 0, low, true), -EINVAL);
	assert_int_equal(up_mem_add(m, TOP, 2, low, true), -EINVAL);
	assert_int_equal(up_mem_add(m, 2, TOP, low, true), -EINVAL);
	assert_int_equal(up_mem_add(m, TOP - 0xfff, 0x1000, low, true), 0);
	assert_ptr_equal(up_mem_at(m, TOP, 1, true), low + 0xfff);
	assert_null(up_mem_at(m, TOP, 2, true));
}

static void finds_what_lies_in_one_range(void **state)
{
	struct up_mem *m = *state;

	assert_ptr_equal(up_mem_at(m, 0x10, 0x3ff0, true), low + 0x10);
	assert_null(up_mem_at(m, 0x10, 0x3ff1, true));
	assert_ptr_equal(up_mem_at(m, 0x100000001, 4, true), high + 1);
	assert_null(up_mem_at(m, 0x100000001, TOP, false));
	assert_null(up_mem_at(m, 0x5000, 1, false));
	assert_null(up_mem_at(m, 0xffffffff, 2, false));
	assert_ptr_equal(up_mem_at(m, 0x4000, 0x1000, false), rom);
	assert_null(up_mem_at(m, 0x4000, 1, true));
}

static void tells_the_room_in_a_range(void **state)
{
	uint64_t room = 0;

	assert_ptr_equal(up_mem_run(*state, 0x3ff0, true, &room), low + 0x3ff0);
	assert_int_equal(room, 0x10);
	assert_null(up_mem_run(*state, 0x5000, false, &room));
}

static void removes_whole_ranges_only(void **state)
{
	struct up_mem *m = *state;

	up_mem_remove(m, 0, 0x3fff);
	assert_int_equal(m->now.count, 3);
	up_mem_remove(m, 1, 0x4000);
	assert_int_equal(m->now.count, 3);
	up_mem_remove(m, 0, 0x5000);
	assert_int_equal(m->now.count, 1);
	assert_null(up_mem_at(m, 0, 1, false));
	assert_non_null(up_mem_at(m, 0x100000000, 1, false));
	up_mem_remove(m, 0, TOP);
	assert_int_equal(m->now.count, 0);
	assert_int_equal(up_mem_add(m, 0, sizeof(low), low, true), 0);
}

static void reads_across_ranges(void **state)
{
	uint8_t buf[0x2000];

	assert_int_equal(up_mem_read(*state, 0x3800, buf, 0x1000), 0);
	assert_int_equal(buf[0x7ff], 1);
	assert_int_equal(buf[0x800], 2);
	assert_int_equal(up_mem_read(*state, 0x9999999, buf, 0), 0);
}

static void failed_copies_copy_nothing(void **state)
{
	uint8_t buf[0x2000];

	memset(buf, 9, sizeof(buf));
	assert_int_equal(up_mem_read(*state, 0x4800, buf, 0x1000), -EFAULT);
	assert_int_equal(buf[0], 9);
	assert_int_equal(up_mem_read(*state, TOP, buf, 2), -EFAULT);
	/* The read-only part comes second. */
	assert_int_equal(up_mem_write(*state, 0x3800, buf, 0x1000), -EFAULT);
	assert_int_equal(low[0x3800], 1);
	assert_int_equal(up_mem_write(*state, 0x4000, buf, 1), -EFAULT);
	assert_int_equal(rom[0], 2);
}

static void writes(void **state)
{
	uint8_t buf[16];

	memset(buf, 9, sizeof(buf));
	assert_int_equal(up_mem_write(*state, 0x100000008, buf, sizeof(buf)), 0);
	assert_int_equal(high[7], 3);
	assert_memory_equal(high + 8, buf, sizeof(buf));
	assert_int_equal(high[24], 3);
}

static void tells_that_memory_was_lost(void **state)
{
	struct up_mem *m = *state;
	atomic_bool lost = false;

	assert_false(up_mem_lost(m));
	m->lost = &lost;
	assert_false(up_mem_lost(m));
	lost = true;
	assert_true(up_mem_lost(m));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(largest_range_is_at_hand, setup, teardown),
		cmocka_unit_test_setup_teardown(plans_wait_for_their_commit, setup, teardown),
		cmocka_unit_test(finds_each_of_many),
		cmocka_unit_test_setup_teardown(refuses_overlaps, setup, teardown),
		cmocka_unit_test_setup_teardown(refuses_empty_and_wrapping_ranges, setup, teardown),
		cmocka_unit_test_setup_teardown(finds_what_lies_in_one_range, setup, teardown),
		cmocka_unit_test_setup_teardown(tells_the_room_in_a_range, setup, teardown),
		cmocka_unit_test_setup_teardown(removes_whole_ranges_only, setup, teardown),
		cmocka_unit_test_setup_teardown(reads_across_ranges, setup, teardown),
		cmocka_unit_test_setup_teardown(failed_copies_copy_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(writes, setup, teardown),
		cmocka_unit_test_setup_teardown(tells_that_memory_was_lost, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
