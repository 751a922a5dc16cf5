/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory regions, windows and lists (engine/mr.h). */
#include "unit.h"

#include "engine/hca.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PD 5
#define QPN 0x77
#define RAM (1u << 20)
#define HIGH UINT64_C(0x100000000)
#define HIGH_RAM (64u << 10)
#define TOP UINT64_MAX
#define EVERYTHING                                                                                 \
	(UP_ACCESS_LOCAL_READ | UP_ACCESS_LOCAL_WRITE | UP_ACCESS_REMOTE_READ |                    \
	 UP_ACCESS_REMOTE_WRITE | UP_ACCESS_REMOTE_ATOMIC)

static struct up_hca hca;
static uint8_t *ram, *high;
static const struct up_mr_use reading = {PD, QPN, UP_ACCESS_LOCAL_READ};
static const struct up_mr_use writing = {PD, QPN, UP_ACCESS_LOCAL_WRITE};
static const struct up_mr_use remote_writing = {PD, QPN, UP_ACCESS_REMOTE_WRITE};

static int setup(void **state)
{
	memset(&hca, 0, sizeof(hca));
	hca.arena = up_arena_create();
	up_mem_init(&hca.mem);
	ram = malloc(RAM);
	high = malloc(HIGH_RAM);
	return up_table_init(&hca.mrs, 32, 1) || up_mem_add(&hca.mem, 0, RAM, ram, true) ||
	       up_mem_add(&hca.mem, HIGH, HIGH_RAM, high, true);
}

static int teardown(void **state)
{
	uint32_t id = 0;

	for (struct up_mr *mr; (mr = up_table_next(&hca.mrs, &id));)
		up_mr_destroy(&hca, mr);
	assert_int_equal(hca.mr_bytes, 0);
	up_table_fini(&hca.mrs);
	up_arena_destroy(hca.arena);
	up_mem_fini(&hca.mem);
	free(ram);
	free(high);
	return 0;
}

static struct up_mr *region(enum up_mr_kind kind, uint32_t n, uint64_t start, uint64_t length)
{
	struct up_mr *mr = up_mr_create(&hca, kind, n);

	assert_non_null(mr);
	mr->key |= 0x42;
	mr->pdn = PD;
	mr->access = EVERYTHING;
	mr->valid = true;
	mr->start = start;
	mr->length = length;
	mr->page_shift = 12;
	mr->count = n;
	return mr;
}

/* A region over RAM from address 0x10000 on, two pages at a time in reverse: 1, 0, 3, 2, ... */
static struct up_mr *swapped_pages(uint32_t n)
{
	struct up_mr *mr = region(UP_MR_PAGES, n, 0x10000, n * 4096);

	for (uint32_t i = 0; i < n; i++)
		mr->pages[i] = (i ^ 1) * 4096;
	return mr;
}

static struct up_mr *list(const struct up_mr_piece *pieces, uint32_t n)
{
	struct up_mr *mr = region(UP_MR_LIST, n, 0, 0);

	memcpy(mr->pieces, pieces, n * sizeof(*pieces));
	assert_int_equal(up_mr_seal_list(mr), 0);
	for (uint32_t i = 0; i < n; i++)
		mr->length += pieces[i].len;
	return mr;
}

static int span_at(const struct up_mr *mr, uint64_t addr, uint64_t len, struct up_span *span)
{
	return up_mr_span(&hca, mr->key, &writing, addr, len, span);
}

static void expect_span(const struct up_mr *mr, uint64_t addr, uint64_t len, uint8_t *ptr,
			size_t got)
{
	struct up_span span;

	assert_int_equal(span_at(mr, addr, len, &span), 0);
	assert_ptr_equal(span.ptr, ptr);
	assert_int_equal(span.len, got);
}

static void key_names_index_and_variant(void **state)
{
	struct up_mr *mr = swapped_pages(2);

	assert_ptr_equal(up_mr_get(&hca, mr->key), mr);
	assert_null(up_mr_get(&hca, mr->key ^ 1));
	assert_null(up_mr_get(&hca, mr->key + 0x100));
	assert_null(up_mr_get(&hca, UINT32_MAX));
	assert_null(up_mr_get(&hca, 0));
}

static void stale_key_finds_nothing(void **state)
{
	struct up_mr *mr = swapped_pages(2);
	uint32_t key = mr->key;

	up_mr_destroy(&hca, mr);
	assert_null(up_mr_get(&hca, key));
	assert_int_not_equal(swapped_pages(2)->key, key);
	assert_int_equal(up_mr_check(&hca, key, &reading, 0x10000, 1), -EACCES);
}

static void resolving_is_check_and_span(void **state)
{
	struct up_mr *mr = swapped_pages(4);
	struct up_span span = {.len = 77};

	assert_int_equal(up_mr_resolve(&hca, mr->key, &writing, 0x10800, 4096, &span), 0);
	assert_ptr_equal(span.ptr, ram + 0x1800);
	assert_int_equal(span.len, 0x800);
	assert_int_equal(up_mr_resolve(&hca, mr->key, &writing, 0x10800, 0x4000, &span), -EACCES);
	/* The right is there, the memory is not: an access may begin, and finds that out. */
	mr->pages[0] = UINT64_MAX & ~UINT64_C(4095);
	assert_int_equal(up_mr_resolve(&hca, mr->key, &writing, 0x10800, 4096, &span), 0);
	assert_int_equal(span.len, 0);
}

static void resolving_does_not_look_far(void **state)
{
	uint32_t n = UP_MR_RESOLVE_MAX / 4096 + 1;
	struct up_mr *mr = region(UP_MR_PAGES, n, 0, n * 4096);
	struct up_span span = {.len = 77};

	for (uint32_t i = 0; i < n; i++)
		mr->pages[i] = 0;
	assert_int_equal(up_mr_resolve(&hca, mr->key, &writing, 0, UP_MR_RESOLVE_MAX, &span), 0);
	assert_int_equal(span.len, 4096);
	assert_int_equal(up_mr_resolve(&hca, mr->key, &writing, 0, UP_MR_RESOLVE_MAX + 1, &span),
			 0);
	assert_int_equal(span.len, 0);
}

static void creation_fails_without_memory(void **state)
{
	errno = 0;
	assert_null(up_mr_create(&hca, UP_MR_LIST, UINT32_MAX));
	assert_int_equal(errno, ENOMEM);
	assert_int_equal(hca.mr_bytes, 0);
}

static void creation_fails_without_slot(void **state)
{
	uint64_t bytes;

	for (int i = 1; i < 32; i++)
		assert_non_null(up_mr_create(&hca, UP_MR_PAGES, 0));
	bytes = hca.mr_bytes;
	errno = 0;
	assert_null(up_mr_create(&hca, UP_MR_PAGES, 10));
	assert_int_equal(errno, ENOSPC);
	assert_int_equal(hca.mr_bytes, bytes);
}

/* A guest that makes large regions without end is stopped, and may go on after it freed one. */
static void regions_take_a_share_of_memory(void **state)
{
	const uint32_t capacity = 1 << 20;
	struct up_mr *mr = NULL, *last = NULL;

	while ((mr = up_mr_create(&hca, UP_MR_LIST, capacity)))
		last = mr;
	assert_int_equal(errno, ENOMEM);
	assert_in_range(hca.mr_bytes, UINT64_C(128) << 20, UINT64_C(512) << 20);
	assert_non_null(last);
	up_mr_destroy(&hca, last);
	assert_non_null(up_mr_create(&hca, UP_MR_LIST, capacity));
}

static uint64_t most_of_all_regions(void)
{
	struct up_mr *mrs[31];
	unsigned n = 0;
	uint64_t most;

	/* Tables are counted before they are made. */
	for (uint32_t capacity = 1u << 30; capacity; capacity /= 2)
		while (n < 31 && (mrs[n] = up_mr_alloc(&hca, UP_MR_PAGES, capacity)))
			assert_int_equal(up_mr_link(&hca, mrs[n++]), 0);
	most = hca.mr_bytes;
	while (n)
		up_mr_destroy(&hca, mrs[--n]);
	return most;
}

/* A guest with an IOMMU sees its memory in as many places as it likes, and a file may be empty. */
static void the_share_is_of_memory_that_is_there(void **state)
{
	uint64_t least = most_of_all_regions(), backing = UINT64_C(1) << 30;
	uint64_t host = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);

	for (uint64_t i = 1; i < 1000; i++)
		assert_int_equal(up_mem_add(&hca.mem, i << 40, UINT64_C(1) << 30, NULL, true), 0);
	hca.mem.backing = &backing;
	assert_in_range(most_of_all_regions(), least, least + (backing >> 5));
	backing = UINT64_C(1) << 60;
	assert_in_range(most_of_all_regions(), least, least + (host >> 5));
	hca.mem.backing = NULL;
	up_mem_remove(&hca.mem, UINT64_C(1) << 40, UINT64_C(1) << 60);
}

static void check_demands_every_right(void **state)
{
	struct up_mr *mr = swapped_pages(2);
	struct up_mr_use use = {PD, QPN, UP_ACCESS_REMOTE_READ};

	assert_int_equal(up_mr_check(&hca, mr->key, &use, 0x10000, 8192), 0);
	mr->access = UP_ACCESS_LOCAL_WRITE | UP_ACCESS_REMOTE_READ;
	assert_int_equal(up_mr_check(&hca, mr->key, &use, 0x10000, 1), 0);
	use.access |= UP_ACCESS_REMOTE_WRITE;
	assert_int_equal(up_mr_check(&hca, mr->key, &use, 0x10000, 1), -EACCES);
	use.access = UP_ACCESS_REMOTE_ATOMIC;
	assert_int_equal(up_mr_check(&hca, mr->key, &use, 0x10000, 1), -EACCES);
	use.access = UP_ACCESS_REMOTE_READ;
	use.pdn = PD + 1;
	assert_int_equal(up_mr_check(&hca, mr->key, &use, 0x10000, 1), -EACCES);
	use.pdn = PD;
	mr->valid = false;
	assert_int_equal(up_mr_check(&hca, mr->key, &use, 0x10000, 1), -EACCES);
}

static void window_of_one_qp(void **state)
{
	struct up_mr *mr = swapped_pages(2);
	struct up_mr_use use = reading;

	mr->qpn = QPN;
	assert_int_equal(up_mr_check(&hca, mr->key, &use, 0x10000, 1), 0);
	use.qpn = QPN + 1;
	assert_int_equal(up_mr_check(&hca, mr->key, &use, 0x10000, 1), -EACCES);
	assert_int_equal(up_mr_invalidate(&hca, mr->key, &use, false), -EACCES);
}

static void check_keeps_to_the_bounds(void **state)
{
	struct up_mr *mr = swapped_pages(2);
	static const struct {
		uint64_t addr, len;
		int rc;
	} cases[] = {
		{0x10000, 0x2000, 0},	 {0x10000, 0x2001, -EACCES},
		{0xffff, 1, -EACCES},	 {0xffff, 0, -EACCES},
		{0x10000, 0, 0},	 {0x12000, 0, 0},
		{0x12000, 1, -EACCES},	 {0x12001, 0, -EACCES},
		{0x11fff, 1, 0},	 {0x11fff, TOP, -EACCES},
		{0x10001, TOP, -EACCES}, {0x10000, TOP, -EACCES},
		{TOP, 1, -EACCES},	 {TOP, TOP, -EACCES},
		{0, TOP, -EACCES},	 {0x10001, 0x2000, -EACCES},
		{0, 0, -EACCES},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct up_span span;

		assert_int_equal(up_mr_check(&hca, mr->key, &reading, cases[i].addr, cases[i].len),
				 cases[i].rc);
		if (cases[i].len)
			assert_int_equal(span_at(mr, cases[i].addr, cases[i].len, &span),
					 cases[i].rc);
	}
}

/* A length that runs past 2^64: what lies in it does not wrap to the region's start. */
static void region_at_the_top_of_the_address_space(void **state)
{
	struct up_mr *mr = swapped_pages(2);
	struct up_span span;

	mr->start = TOP - 0xfff;
	mr->length = 0x2000;
	expect_span(mr, TOP, 1, ram + 0x1fff, 1);
	assert_int_equal(up_mr_check(&hca, mr->key, &reading, TOP - 7, 8), 0);
	assert_int_equal(up_mr_check(&hca, mr->key, &reading, TOP - 7, 9), -EACCES);
	assert_int_equal(span_at(mr, TOP - 7, 9, &span), -EACCES);
	assert_int_equal(up_mr_check(&hca, mr->key, &reading, 0, 1), -EACCES);
	assert_int_equal(span_at(mr, 0, 1, &span), -EACCES);
}

static void pages_are_translated_one_by_one(void **state)
{
	struct up_mr *mr = swapped_pages(4);

	expect_span(mr, 0x10000, 0x4000, ram + 0x1000, 0x1000);
	expect_span(mr, 0x10010, 0x20, ram + 0x1010, 0x20);
	expect_span(mr, 0x11ff0, 0x20, ram + 0xff0, 0x10);
	expect_span(mr, 0x13fff, 1, ram + 0x2fff, 1);
}

static void adjacent_pages_are_one_span(void **state)
{
	struct up_mr *mr = swapped_pages(4);

	mr->pages[0] = 0x5000;
	mr->pages[1] = 0x6000;
	mr->pages[2] = 0x7000;
	mr->pages[3] = 0x9000;
	expect_span(mr, 0x10100, 0x3f00, ram + 0x5100, 0x2f00);
	expect_span(mr, 0x10100, 0x1100, ram + 0x5100, 0x1100);
	expect_span(mr, 0x12fff, 2, ram + 0x7fff, 1);
	/* The last page counts, what stands in the table behind it does not. */
	mr->pages[3] = 0x8000;
	expect_span(mr, 0x10000, 0x4000, ram + 0x5000, 0x4000);
	mr->count = 3;
	expect_span(mr, 0x10000, 0x4000, ram + 0x5000, 0x3000);
}

static void adjacent_pages_end_with_the_range(void **state)
{
	struct up_mr *mr = swapped_pages(2);
	static uint8_t more[4096];
	struct up_span span;

	mr->pages[0] = RAM - 4096;
	mr->pages[1] = RAM;
	expect_span(mr, 0x10000, 0x2000, ram + RAM - 4096, 4096);
	assert_int_equal(span_at(mr, 0x11000, 1, &span), -EFAULT);
	assert_int_equal(up_mem_add(&hca.mem, RAM, sizeof(more), more, true), 0);
	expect_span(mr, 0x10000, 0x2000, ram + RAM - 4096, 4096);
	expect_span(mr, 0x11000, 0x1000, more, 4096);
}

/* The start lies inside of the first page, as its address says. */
static void first_page_begins_before_the_start(void **state)
{
	struct up_mr *mr = swapped_pages(3);

	mr->start = 0x10ff8;
	mr->length = 0x1010;
	expect_span(mr, 0x10ff8, 0x1010, ram + 0x1ff8, 8);
	expect_span(mr, 0x11000, 0x1008, ram, 0x1000);
	expect_span(mr, 0x12000, 8, ram + 0x3000, 8);
	assert_int_equal(up_mr_check(&hca, mr->key, &reading, 0x12001, 8), -EACCES);
}

static void large_pages(void **state)
{
	struct up_mr *mr = region(UP_MR_PAGES, 1, 0x7f0000000000, RAM);
	struct up_span span;

	mr->page_shift = 30;
	mr->pages[0] = 0;
	expect_span(mr, 0x7f0000000000 + 5, RAM - 5, ram + 5, RAM - 5);
	/* A page that is larger than the memory behind it. */
	mr->length = 1 << 30;
	expect_span(mr, 0x7f0000000000, 1 << 30, ram, RAM);
	assert_int_equal(span_at(mr, 0x7f0000000000 + RAM, 1, &span), -EFAULT);
}

static void hostile_tables_stay_inside_of_the_memory(void **state)
{
	struct up_mr *mr = swapped_pages(2);
	struct up_span span;

	/* Longer than its pages. */
	mr->length = TOP;
	assert_int_equal(span_at(mr, 0x12000, 1, &span), -EFAULT);
	assert_int_equal(span_at(mr, TOP - 1, 1, &span), -EFAULT);
	/* Whole address space, and an address before the start, in the same page. */
	mr->absolute = true;
	mr->start = 0x10fff;
	assert_int_equal(span_at(mr, 0x10800, 1, &span), -EFAULT);
	mr->absolute = false;
	mr->start = 0x10000;
	mr->pages[0] = TOP;
	expect_span(mr, 0x10001, 1, ram, 1);
	assert_int_equal(span_at(mr, 0x10000, 1, &span), -EFAULT);
	mr->count = 0;
	assert_int_equal(span_at(mr, 0x10000, 1, &span), -EFAULT);
}

static void whole_address_space(void **state)
{
	struct up_mr *mr = region(UP_MR_PHYS, 0, 0, 0);
	struct up_span span;

	mr->absolute = true;
	expect_span(mr, 0x123, 0x1000, ram + 0x123, 0x1000);
	expect_span(mr, HIGH + 1, HIGH, high + 1, HIGH_RAM - 1);
	assert_int_equal(span_at(mr, RAM, 1, &span), -EFAULT);
	assert_int_equal(up_mr_check(&hca, mr->key, &reading, TOP, 1), 0);
	assert_int_equal(up_mr_check(&hca, mr->key, &reading, TOP, 2), -EACCES);
	assert_int_equal(up_mr_check(&hca, mr->key, &reading, 5, TOP), -EACCES);
	assert_int_equal(up_mr_check(&hca, mr->key, &reading, TOP, 0), 0);
}

static void bounded_physical_region(void **state)
{
	struct up_mr *mr = region(UP_MR_PHYS, 0, 0x1000, 0x1000);
	struct up_span span;

	expect_span(mr, 0x1800, 0x800, ram + 0x1800, 0x800);
	assert_int_equal(span_at(mr, 0x1800, 0x801, &span), -EACCES);
	assert_int_equal(span_at(mr, 0xfff, 1, &span), -EACCES);
}

/* In any domain, but not remotely; what is dropped is not found again. */
static void memory_that_is_none(void **state)
{
	struct up_mr *mr = region(UP_MR_NULL, 0, 0, 0), *all = region(UP_MR_PHYS, 0, 0, 0);
	struct up_mr_use use = {.pdn = PD + 1, .access = UP_ACCESS_LOCAL_WRITE};
	struct up_span span;

	mr->absolute = all->absolute = true;
	mr->access = UP_ACCESS_LOCAL_READ | UP_ACCESS_LOCAL_WRITE;
	assert_int_equal(up_mr_span(&hca, mr->key, &use, TOP - 9, 10, &span), 0);
	assert_int_equal(span.len, 10);
	assert_int_equal(up_mr_resolve(&hca, mr->key, &use, 0, 200000, &span), 0);
	assert_in_range(span.len, 1, 200000);
	memset(span.ptr, 0xff, span.len);
	use.access = UP_ACCESS_LOCAL_READ;
	assert_int_equal(up_mr_span(&hca, mr->key, &use, 0, 200000, &span), 0);
	assert_in_range(span.len, 1, 200000);
	for (size_t i = 0; i < span.len; i++)
		assert_int_equal(((uint8_t *)span.ptr)[i], 0);
	assert_int_equal(up_mr_span(&hca, all->key, &use, 0, 1, &span), -EACCES);
	use.access = UP_ACCESS_REMOTE_READ;
	assert_int_equal(up_mr_span(&hca, mr->key, &use, 0, 1, &span), -EACCES);
}

static void read_only_memory_is_not_written(void **state)
{
	struct up_mr *mr = region(UP_MR_PHYS, 0, 0, 0);
	struct up_span span;

	mr->absolute = true;
	assert_int_equal(up_mem_add(&hca.mem, 2 * HIGH, 1, ram, false), 0);
	assert_int_equal(up_mr_span(&hca, mr->key, &reading, 2 * HIGH, 1, &span), 0);
	assert_int_equal(up_mr_span(&hca, mr->key, &writing, 2 * HIGH, 1, &span), -EFAULT);
	assert_int_equal(up_mr_span(&hca, mr->key, &remote_writing, 2 * HIGH, 1, &span), -EFAULT);
}

static void list_resolves_each_piece(void **state)
{
	struct up_mr *a = swapped_pages(4);
	struct up_mr *b = region(UP_MR_PHYS, 0, HIGH, HIGH_RAM);
	struct up_mr_piece pieces[] = {
		{.key = a->key, .addr = 0x10ff0, .len = 0x20},
		{.key = a->key, .addr = 0},
		{.key = b->key, .addr = HIGH + 3, .len = 7},
		{.key = a->key, .addr = 0x12000, .len = 1},
		{.key = b->key, .addr = 0},
	};
	struct up_mr *mr = list(pieces, 5);
	struct up_span span;

	mr->start = 0x5000;
	expect_span(mr, 0x5000, 0x28, ram + 0x1ff0, 0x10);
	expect_span(mr, 0x5010, 0x18, ram, 0x10);
	expect_span(mr, 0x5020, 8, high + 3, 7);
	expect_span(mr, 0x5026, 2, high + 9, 1);
	expect_span(mr, 0x5027, 1, ram + 0x3000, 1);
	assert_int_equal(span_at(mr, 0x5027, 2, &span), -EACCES);
	mr->length++;
	assert_int_equal(span_at(mr, 0x5028, 1, &span), -EFAULT);
}

static void list_checks_what_it_refers_to(void **state)
{
	struct up_mr *a = swapped_pages(2);
	struct up_mr_piece piece = {.key = a->key, .addr = 0x10000, .len = 0x2000};
	struct up_mr *mr = list(&piece, 1);
	struct up_span span;

	/* The window grants the remote right; the region must allow the local access. */
	a->access = UP_ACCESS_LOCAL_READ | UP_ACCESS_LOCAL_WRITE;
	mr->access = UP_ACCESS_REMOTE_WRITE;
	assert_int_equal(up_mr_span(&hca, mr->key, &remote_writing, 0, 1, &span), 0);
	assert_int_equal(up_mr_span(&hca, mr->key, &writing, 0, 1, &span), -EACCES);
	a->access = UP_ACCESS_LOCAL_READ;
	assert_int_equal(up_mr_span(&hca, mr->key, &remote_writing, 0, 1, &span), -EACCES);
	mr->access = UP_ACCESS_LOCAL_READ;
	assert_int_equal(up_mr_span(&hca, mr->key, &reading, 0, 1, &span), 0);
	a->pdn++;
	assert_int_equal(up_mr_span(&hca, mr->key, &reading, 0, 1, &span), -EACCES);
	a->pdn--;
	a->valid = false;
	assert_int_equal(up_mr_span(&hca, mr->key, &reading, 0, 1, &span), -EACCES);
	a->valid = true;
	a->length = 0x1000;
	assert_int_equal(up_mr_span(&hca, mr->key, &reading, 0x1000, 1, &span), -EACCES);
	up_mr_destroy(&hca, a);
	assert_int_equal(up_mr_span(&hca, mr->key, &reading, 0, 1, &span), -EACCES);
}

static void nested_lists_have_a_limit(void **state)
{
	struct up_mr *mr = region(UP_MR_PHYS, 0, 0, RAM);
	struct up_span span;

	for (int depth = 1; depth <= UP_MR_MAX_DEPTH + 1; depth++) {
		struct up_mr_piece piece = {
			.key = mr->key, .addr = depth == 1 ? 0x100 : 0, .len = 64};

		mr = list(&piece, 1);
		if (depth <= UP_MR_MAX_DEPTH)
			expect_span(mr, 8, 56, ram + 0x108, 56);
		else
			assert_int_equal(span_at(mr, 8, 56, &span), -EACCES);
	}
}

static void list_of_itself_ends(void **state)
{
	struct up_mr_piece piece = {.len = 64};
	struct up_mr *mr = list(&piece, 1);
	struct up_span span;

	mr->pieces[0].key = mr->key;
	assert_int_equal(span_at(mr, 0, 1, &span), -EACCES);
}

static void list_lengths_may_not_overflow(void **state)
{
	struct up_mr *mr = region(UP_MR_LIST, 2, 0, TOP);
	struct up_span span;

	assert_int_equal(up_mr_seal_list(mr), 0);
	assert_int_equal(span_at(mr, 0, 1, &span), -EFAULT);
	mr->pieces[0].len = TOP;
	assert_int_equal(up_mr_seal_list(mr), 0);
	mr->pieces[1].len = 1;
	assert_int_equal(up_mr_seal_list(mr), -EINVAL);
	mr->count = 1;
	assert_int_equal(up_mr_seal_list(mr), 0);
	/* A piece that runs past the end of the address space. */
	mr->pieces[0].addr = 0x10;
	assert_int_equal(span_at(mr, TOP - 1, 1, &span), -EFAULT);
	mr->count = 0;
	assert_int_equal(span_at(mr, 0, 1, &span), -EFAULT);
}

static void invalidation(void **state)
{
	struct up_mr *mr = swapped_pages(2);
	struct up_mr_use stranger = {PD + 1, QPN, 0};

	assert_int_equal(up_mr_invalidate(&hca, mr->key ^ 1, &reading, false), -EACCES);
	assert_int_equal(up_mr_invalidate(&hca, mr->key, &stranger, false), -EACCES);
	assert_int_equal(up_mr_invalidate(&hca, mr->key, &reading, true), -EACCES);
	assert_true(mr->valid);
	mr->remote_inv = true;
	assert_int_equal(up_mr_invalidate(&hca, mr->key, &reading, true), 0);
	assert_false(mr->valid);
	assert_int_equal(up_mr_check(&hca, mr->key, &reading, 0x10000, 1), -EACCES);
	mr->valid = true;
	assert_int_equal(up_mr_invalidate(&hca, mr->key, &reading, false), 0);
	assert_ptr_equal(up_mr_get(&hca, mr->key), mr);
}

/* Any value that a guest can choose, with a liking for the edges. */
static uint64_t nasty(uint64_t *seed)
{
	uint64_t r = unit_random(seed);
	static const uint64_t edges[] = {0, 1, 4095, 4096, RAM - 1, RAM, HIGH, TOP, TOP - 4096};

	return r & 1 ? edges[(r >> 8) % 9] + (r >> 32) % 3 : r >> (r >> 8) % 64;
}

/* A random list, without the care that honest users take. */
static void scramble(struct up_mr *mr, uint64_t *seed)
{
	mr->start = nasty(seed);
	mr->length = nasty(seed);
	mr->absolute = unit_random(seed) % 4 == 0;
	mr->page_shift = (uint8_t)(12 + unit_random(seed) % 52);
	mr->count = (uint32_t)(unit_random(seed) % (mr->capacity + 1));
	for (uint32_t i = 0; i < mr->count; i++) {
		if (mr->kind == UP_MR_PAGES)
			mr->pages[i] = nasty(seed);
		else if (mr->kind == UP_MR_LIST)
			mr->pieces[i] = (struct up_mr_piece){
				.key = (uint32_t)(1 + unit_random(seed) % 9) << 8 | 0x42,
				.addr = nasty(seed),
				.len = nasty(seed),
			};
	}
	if (mr->kind == UP_MR_LIST && up_mr_seal_list(mr))
		mr->count = 0;
}

static void random_regions_never_leave_the_memory(void **state)
{
	uint64_t seed = 88172645463325252u;
	struct up_mr *mrs[9];
	unsigned found = 0;

	for (int i = 0; i < 9; i++)
		mrs[i] = region(i % 3, 8, 0, 0);
	for (int i = 0; i < 200000; i++) {
		struct up_mr *mr = mrs[unit_random(&seed) % 9];
		uint64_t addr = nasty(&seed), len = nasty(&seed) | 1;
		struct up_span span;

		scramble(mr, &seed);
		if (up_mr_span(&hca, mr->key, &reading, addr, len, &span))
			continue;
		found++;
		assert_true(span.len && span.len <= len);
		assert_true((span.ptr >= ram && span.len <= (size_t)(ram + RAM - span.ptr)) ||
			    (span.ptr >= high && span.len <= (size_t)(high + HIGH_RAM - span.ptr)));
	}
	assert_true(found > 1000);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(key_names_index_and_variant),
		TEST(stale_key_finds_nothing),
		TEST(resolving_is_check_and_span),
		TEST(resolving_does_not_look_far),
		TEST(creation_fails_without_memory),
		TEST(creation_fails_without_slot),
		TEST(regions_take_a_share_of_memory),
		TEST(the_share_is_of_memory_that_is_there),
		TEST(check_demands_every_right),
		TEST(window_of_one_qp),
		TEST(check_keeps_to_the_bounds),
		TEST(region_at_the_top_of_the_address_space),
		TEST(pages_are_translated_one_by_one),
		TEST(adjacent_pages_are_one_span),
		TEST(adjacent_pages_end_with_the_range),
		TEST(first_page_begins_before_the_start),
		TEST(large_pages),
		TEST(hostile_tables_stay_inside_of_the_memory),
		TEST(whole_address_space),
		TEST(memory_that_is_none),
		TEST(bounded_physical_region),
		TEST(read_only_memory_is_not_written),
		TEST(list_resolves_each_piece),
		TEST(list_checks_what_it_refers_to),
		TEST(nested_lists_have_a_limit),
		TEST(list_of_itself_ends),
		TEST(list_lengths_may_not_overflow),
		TEST(invalidation),
		TEST(random_regions_never_leave_the_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
