/* SPDX-License-Identifier: BSD-2-Clause */
/* Tables of ids (base/table.h). */
#include "unit.h"

#include "base/table.h"

#include <errno.h>

static int objects[64];

static void refuses_bad_sizes(void **state)
{
	struct up_table t;

	assert_int_equal(up_table_init(&t, 0, 0), -EINVAL);
	assert_int_equal(up_table_init(&t, 4, 4), -EINVAL);
	up_table_fini(&t);
}

static void adds_until_full(void **state)
{
	struct up_table t;

	assert_int_equal(up_table_init(&t, 8, 2), 0);
	for (int i = 2; i < 8; i++)
		assert_int_equal(up_table_add(&t, &objects[i]), i);
	assert_int_equal(up_table_add(&t, &objects[0]), -ENOSPC);
	assert_int_equal(up_table_add(&t, NULL), -EINVAL);
	for (uint32_t i = 2; i < 8; i++)
		assert_ptr_equal(up_table_get(&t, i), &objects[i]);
	assert_null(up_table_get(&t, 0));
	assert_null(up_table_get(&t, 8));
	assert_null(up_table_get(&t, UINT32_MAX));
	assert_int_equal(t.used, 6);
	up_table_fini(&t);
}

/* An id comes back only after all others were handed out. */
static void freed_id_is_last_to_return(void **state)
{
	struct up_table t;

	assert_int_equal(up_table_init(&t, 5, 1), 0);
	assert_int_equal(up_table_add(&t, &objects[0]), 1);
	assert_ptr_equal(up_table_del(&t, 1), &objects[0]);
	assert_int_equal(up_table_add(&t, &objects[1]), 2);
	assert_int_equal(up_table_add(&t, &objects[1]), 3);
	assert_int_equal(up_table_add(&t, &objects[1]), 4);
	assert_int_equal(up_table_add(&t, &objects[1]), 1);
	assert_int_equal(up_table_add(&t, &objects[1]), -ENOSPC);
	up_table_fini(&t);
}

static void sets_particular_ids(void **state)
{
	struct up_table t;

	assert_int_equal(up_table_init(&t, 8, 2), 0);
	assert_int_equal(up_table_set(&t, 0, &objects[0]), 0);
	assert_int_equal(up_table_set(&t, 3, &objects[3]), 0);
	assert_int_equal(up_table_set(&t, 3, &objects[4]), -EEXIST);
	assert_int_equal(up_table_set(&t, 8, &objects[4]), -EINVAL);
	assert_int_equal(up_table_set(&t, 4, NULL), -EINVAL);
	assert_int_equal(up_table_add(&t, &objects[2]), 2);
	assert_int_equal(up_table_add(&t, &objects[4]), 4);
	assert_int_equal(t.used, 4);
	up_table_fini(&t);
}

/* The free slot is the last that a search comes to, each time: slot by slot it took minutes. */
static void finds_the_last_free_slot_quickly(void **state)
{
	enum { CAPACITY = 1 << 20, ROUNDS = 40000 };
	struct up_table t;

	assert_int_equal(up_table_init(&t, CAPACITY, 1), 0);
	for (int i = 1; i < CAPACITY; i++)
		assert_int_equal(up_table_add(&t, &objects[0]), i);
	for (uint32_t i = 0; i < ROUNDS; i++) {
		uint32_t id = t.next > 1 ? t.next - 1 : CAPACITY - 1;

		assert_int_equal(up_table_add(&t, &objects[0]), -ENOSPC);
		assert_ptr_equal(up_table_del(&t, id), &objects[0]);
		assert_int_equal(up_table_add(&t, &objects[0]), id);
	}
	up_table_fini(&t);
}

static void deletes(void **state)
{
	struct up_table t;

	assert_int_equal(up_table_init(&t, 8, 0), 0);
	assert_int_equal(up_table_set(&t, 7, &objects[7]), 0);
	assert_ptr_equal(up_table_del(&t, 7), &objects[7]);
	assert_null(up_table_del(&t, 7));
	assert_null(up_table_del(&t, 8));
	assert_int_equal(t.used, 0);
	up_table_fini(&t);
}

static void visits_all_in_order(void **state)
{
	struct up_table t;
	uint32_t id = 0;

	assert_int_equal(up_table_init(&t, 1 << 20, 0), 0);
	assert_null(up_table_next(&t, &id));
	assert_int_equal(up_table_set(&t, 0, &objects[0]), 0);
	assert_int_equal(up_table_set(&t, 9, &objects[1]), 0);
	assert_int_equal(up_table_set(&t, (1 << 20) - 1, &objects[2]), 0);
	id = 0;
	assert_ptr_equal(up_table_next(&t, &id), &objects[0]);
	assert_int_equal(id, 1);
	assert_ptr_equal(up_table_next(&t, &id), &objects[1]);
	assert_int_equal(id, 10);
	/* The visitor may delete what it was given. */
	assert_ptr_equal(up_table_del(&t, 9), &objects[1]);
	assert_ptr_equal(up_table_next(&t, &id), &objects[2]);
	assert_null(up_table_next(&t, &id));
	up_table_fini(&t);
}

/* All that is in it goes at once; numbers go on, so that a stale one finds nothing. */
static void swaps_and_clears(void **state)
{
	struct up_table t, fresh;
	uint32_t id = 0;

	assert_int_equal(up_table_init(&t, 10000, 2), 0);
	assert_int_equal(up_table_init(&fresh, 10000, 2), 0);
	assert_int_equal(up_table_add(&t, &objects[0]), 2);
	assert_int_equal(up_table_set(&t, 9999, &objects[1]), 0);
	up_table_swap(&t, &fresh);
	assert_null(up_table_next(&t, &id));
	assert_int_equal(up_table_add(&t, &objects[2]), 3);
	assert_null(up_table_get(&t, 2));
	id = 0;
	assert_ptr_equal(up_table_next(&fresh, &id), &objects[0]);
	up_table_clear(&fresh);
	assert_int_equal(fresh.used, 0);
	assert_null(up_table_get(&fresh, 2));
	assert_null(up_table_get(&fresh, 9999));
	assert_int_equal(up_table_set(&fresh, 9999, &objects[3]), 0);
	assert_int_equal(up_table_add(&fresh, &objects[4]), 3);
	up_table_fini(&fresh);
	up_table_fini(&t);
}

/* A table against a plain array, with random operations. */
static void behaves_like_a_model(void **state)
{
	void *model[64] = {0};
	uint64_t seed = 88172645463325252u;
	struct up_table t;
	uint32_t used = 0;

	assert_int_equal(up_table_init(&t, 64, 5), 0);
	for (int i = 0; i < 20000; i++) {
		uint64_t r = unit_random(&seed);
		uint32_t id = (uint32_t)(r >> 8) % 66;
		void *object = &objects[(r >> 32) % 64];

		if (r % 3 == 0) {
			int64_t got = up_table_add(&t, object);

			if (got == -ENOSPC) {
				for (int k = 5; k < 64; k++)
					assert_non_null(model[k]);
				continue;
			}
			assert_in_range(got, 5, 63);
			assert_null(model[got]);
			model[got] = object;
			used++;
		} else if (id >= 64) {
			assert_null(up_table_del(&t, id));
		} else {
			assert_ptr_equal(up_table_del(&t, id), model[id]);
			used -= model[id] != NULL;
			model[id] = NULL;
		}
		assert_int_equal(t.used, used);
	}
	up_table_fini(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuses_bad_sizes),
		cmocka_unit_test(adds_until_full),
		cmocka_unit_test(freed_id_is_last_to_return),
		cmocka_unit_test(sets_particular_ids),
		cmocka_unit_test(finds_the_last_free_slot_quickly),
		cmocka_unit_test(deletes),
		cmocka_unit_test(visits_all_in_order),
		cmocka_unit_test(swaps_and_clears),
		cmocka_unit_test(behaves_like_a_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
