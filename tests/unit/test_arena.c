/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory for one guest's objects. */
#include "base/arena.h"

#include "base/bytes.h"
#include "exact_memory.h"
#include "unit.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)

static bool all_are(const uint8_t *object, size_t size, uint8_t value)
{
	for (size_t i = 0; i < size; i++) {
		if (object[i] != value)
			return false;
	}
	return true;
}

static size_t random_size(uint64_t *seed)
{
	static const size_t most[] = {20, 200, 3000, 40000, 300000};
	uint64_t r = unit_random(seed);

	return (r >> 8) % most[r % 5];
}

/* Objects of all sizes come and go: each is zero at first, and nobody else writes to it. */
static void gives_memory_of_its_own(void **state)
{
	struct {
		uint8_t *at;
		size_t size;
	} objects[200] = {0};
	struct up_arena *a = up_arena_create();
	uint64_t seed = 88172645463325252u;

	for (unsigned n = 0; n < 20000; n++) {
		unsigned i = (unsigned)(unit_random(&seed) % 200);

		if (objects[i].at) {
			assert_true(all_are(objects[i].at, objects[i].size, (uint8_t)i));
			up_arena_free(a, objects[i].at, objects[i].size);
			objects[i].at = NULL;
			continue;
		}
		objects[i].size = random_size(&seed);
		objects[i].at = up_arena_alloc(a, objects[i].size);
		assert_non_null(objects[i].at);
		assert_int_equal((uintptr_t)objects[i].at % (objects[i].size < 64 ? 16 : 64), 0);
		assert_true(all_are(objects[i].at, objects[i].size, 0));
		memset(objects[i].at, (int)i, objects[i].size);
	}
	for (unsigned i = 0; i < 200; i++)
		up_arena_free(a, objects[i].at, objects[i].size);
	up_arena_destroy(a);
}

/* What is behind the end belongs to others by then. */
static void shrink(struct up_arena *a, size_t size)
{
	uint8_t *object = up_arena_alloc(a, size), *others[64] = {0};
	unsigned n = 0;

	assert_non_null(object);
	memset(object, 1, size);
	for (size_t left = size, now; left; left = now) {
		now = up_arena_shrink(a, object, left);
		assert_true(now < left);
		others[n] = up_arena_alloc(a, MIB);
		assert_true(all_are(others[n], MIB, 0));
		memset(others[n++], 2, MIB);
		assert_true(all_are(object, now, 1));
	}
	while (n) {
		assert_true(all_are(others[--n], MIB, 2));
		up_arena_free(a, others[n], MIB);
	}
}

static void shrinks_from_the_end(void **state)
{
	struct up_arena *a = up_arena_create();
	void *object;

	shrink(a, 5 * MIB + 100);
	shrink(a, 33 * MIB + 100);
	object = up_arena_alloc(a, 1000);
	assert_int_equal(up_arena_shrink(a, object, 1000), 0);
	up_arena_destroy(a);
}

/* Of the process, in bytes: what is mapped, and how much of it is there. */
static size_t memory(size_t *resident)
{
	unsigned long total = 0, there = 0;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	FILE *f = fopen("/proc/self/statm", "r");

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%lu %lu", &total, &there), 2);
	fclose(f);
	*resident = there * page;
	return total * page;
}

static size_t resident(void)
{
	size_t there;

	memory(&there);
	return there;
}

static size_t mapped(void)
{
	size_t there;

	return memory(&there);
}

/* What others of the process map meanwhile. */
static void expect_mapped(size_t bytes)
{
	assert_true(!memory_is_exact() || mapped() < bytes + MIB / 2);
}

/* What one guest took goes back to the system while another's objects, made in turn, stay. */
static void gives_back_what_is_free(void **state)
{
	enum { OBJECTS = 500000, SIZE = 128 };
	static void *objects[OBJECTS];
	struct up_arena *a = up_arena_create(), *b = up_arena_create();
	void *others[OBJECTS / 1000];
	size_t full, left;

	memset(objects, 1, sizeof(objects));
	for (unsigned i = 0; i < OBJECTS; i++) {
		objects[i] = up_arena_alloc(a, SIZE);
		memset(objects[i], 1, SIZE);
		if (i % 1000 == 0)
			others[i / 1000] = up_arena_alloc(b, SIZE);
	}
	full = resident();
	for (unsigned i = 0; i < OBJECTS; i++)
		up_arena_free(a, objects[i], SIZE);
	left = resident();
	assert_true(!memory_is_exact() || left + OBJECTS * SIZE / 10 * 9 < full);
	for (unsigned i = 0; i < OBJECTS / 1000; i++)
		up_arena_free(b, others[i], SIZE);
	up_arena_destroy(b);
	up_arena_destroy(a);
}

/* Objects of all kinds, of which one is freed bit by bit and some leave an empty chunk behind. */
static void use_and_end(void)
{
	static const size_t sizes[] = {16, 500, 100000, 5 * MIB, 5 * MIB};
	enum { EACH = 50 };
	struct up_arena *a = up_arena_create();
	void *objects[UP_ARRAY_SIZE(sizes)][EACH];
	size_t left;

	for (unsigned i = 0; i < UP_ARRAY_SIZE(sizes); i++)
		for (unsigned n = 0; n < EACH; n++)
			objects[i][n] = up_arena_alloc(a, sizes[i]);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(sizes) - 1; i++)
		for (unsigned n = 0; n < EACH; n++)
			up_arena_free(a, objects[i][n], sizes[i]);
	for (unsigned n = 0; n < EACH; n++)
		for (left = 5 * MIB; left;)
			left = up_arena_shrink(a, objects[UP_ARRAY_SIZE(sizes) - 1][n], left);
	up_arena_destroy(a);
}

static void leaves_nothing_behind(void **state)
{
	size_t before;

	use_and_end();
	before = mapped();
	use_and_end();
	expect_mapped(before);
}

/* Every chunk is in use, and half of each is free. */
static void uses_what_is_free(void **state)
{
	enum { OBJECTS = 20000, SIZE = 1000 };
	static void *objects[OBJECTS];
	struct up_arena *a = up_arena_create();
	size_t before;

	for (unsigned i = 0; i < OBJECTS; i++)
		objects[i] = up_arena_alloc(a, SIZE);
	before = mapped();
	for (unsigned i = 0; i < OBJECTS; i += 2)
		up_arena_free(a, objects[i], SIZE);
	for (unsigned i = 0; i < OBJECTS; i += 2)
		objects[i] = up_arena_alloc(a, SIZE);
	expect_mapped(before);
	for (unsigned i = 0; i < OBJECTS; i++)
		up_arena_free(a, objects[i], SIZE);
	up_arena_destroy(a);
}

static unsigned mappings(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned n = 0;
	int c;

	assert_non_null(f);
	while ((c = getc(f)) != EOF)
		n += c == '\n';
	fclose(f);
	return n;
}

/* A process may have 65,530 of them: holes between objects that stay cost none. */
static void takes_few_mappings(void **state)
{
	enum { OBJECTS = 3000, LARGER = 700, SIZE = 140 << 10 };
	static void *objects[OBJECTS], *larger[LARGER];
	struct up_arena *a = up_arena_create();
	unsigned before = mappings();

	for (unsigned i = 0; i < OBJECTS; i++)
		objects[i] = up_arena_alloc(a, SIZE);
	for (unsigned i = 0; i < OBJECTS; i += 2)
		up_arena_free(a, objects[i], SIZE);
	/* What is too large for the holes. */
	for (unsigned i = 0; i < LARGER; i++)
		larger[i] = up_arena_alloc(a, 2 * SIZE);
	assert_true(!memory_is_exact() || mappings() < before + 100);
	for (unsigned i = 1; i < OBJECTS; i += 2)
		up_arena_free(a, objects[i], SIZE);
	for (unsigned i = 0; i < LARGER; i++)
		up_arena_free(a, larger[i], 2 * SIZE);
	up_arena_destroy(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gives_memory_of_its_own), cmocka_unit_test(shrinks_from_the_end),
		cmocka_unit_test(gives_back_what_is_free), cmocka_unit_test(leaves_nothing_behind),
		cmocka_unit_test(uses_what_is_free),	   cmocka_unit_test(takes_few_mappings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
