/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory keys by command. */
#include "cx_rig.h"

#include "device/connectx/cmd.h"

#include <errno.h>

#define PD 7

static struct up_mr *created(void)
{
	struct up_mr *mr;

	rig_ok();
	mr = up_table_get(&rig.dev->hca.mrs, rig_object());
	assert_non_null(mr);
	return mr;
}

static int check(const struct up_mr *mr, uint64_t addr, uint64_t len, uint32_t access)
{
	struct up_mr_use use = {.pdn = PD, .qpn = 1, .access = access};

	return up_mr_check(&rig.dev->hca, mr->key, &use, addr, len);
}

static void physical(void **state)
{
	struct up_mr *mr;

	rig_begin_mkey(CX_MKC_MODE_PA, 0, 0);
	cx_set(rig_mkc(), CX_MKC_LENGTH64, 1);
	cx_set(rig_mkc(), CX_MKC_PD, PD);
	mr = created();
	assert_int_equal(mr->key & 0xff, 0x5a);
	assert_int_equal(check(mr, RIG_GPA, 100, UP_ACCESS_LOCAL_WRITE), 0);
	assert_int_equal(check(mr, RIG_GPA, 100, UP_ACCESS_REMOTE_READ), -EACCES);
}

static void pages_in_the_command(void **state)
{
	struct up_mr_use use = {.pdn = PD, .qpn = 1, .access = UP_ACCESS_LOCAL_READ};
	struct up_span span;
	struct up_mr *mr;
	uint64_t gpa;

	rig_begin_mkey(CX_MKC_MODE_MTT, 2, 2);
	cx_set(rig_mkc(), CX_MKC_PD, PD);
	cx_set64(rig_mkc(), CX_MKC_START_ADDR, 0x7f0000000800);
	cx_set64(rig_mkc(), CX_MKC_LEN, 3 * 4096);
	gpa = rig_pages(CX_CREATE_MKEY_IN_ENTRIES_AT, 4);
	mr = created();
	assert_int_equal(mr->capacity, 4);
	assert_int_equal(mr->count, 4);
	assert_true(mr->valid);
	assert_int_equal(up_mr_span(&rig.dev->hca, mr->key, &use, 0x7f0000001000, 64, &span), 0);
	assert_ptr_equal(span.ptr, rig_at(gpa + 4096));
	assert_int_equal(check(mr, 0x7f0000000800, 3 * 4096 + 1, UP_ACCESS_LOCAL_READ), -EACCES);
}

/* Unlike in a work request: an entry here need not have bits beside the address. */
static void entry_of_zero_is_the_first_page(void **state)
{
	struct up_mr_use use = {.pdn = PD, .qpn = 1, .access = UP_ACCESS_LOCAL_READ};
	struct up_span span;
	struct up_mr *mr;

	assert_int_equal(up_mem_add(&rig.dev->hca.mem, 0, 4096, rig.ram, true), 0);
	rig_begin_mkey(CX_MKC_MODE_MTT, 1, 1);
	cx_set(rig_mkc(), CX_MKC_PD, PD);
	cx_set64(rig_mkc(), CX_MKC_START_ADDR, 0);
	cx_set64(rig_mkc(), CX_MKC_LEN, 2 * 4096);
	rig_pages(CX_CREATE_MKEY_IN_ENTRIES_AT, 2);
	up_put_be64(rig.in + CX_CREATE_MKEY_IN_ENTRIES_AT + CX_MTT_BYTES, 0);
	mr = created();
	assert_int_equal(up_mr_span(&rig.dev->hca, mr->key, &use, 0x1000, 1, &span), 0);
	assert_ptr_equal(span.ptr, rig.ram);
}

static void list_of_keys(void **state)
{
	struct up_mr_use use = {.pdn = PD, .qpn = 1, .access = UP_ACCESS_LOCAL_READ};
	struct cx_klm *klm = (void *)(rig.in + CX_CREATE_MKEY_IN_ENTRIES_AT);
	struct up_span span;
	struct up_mr *all, *mr;

	rig_begin_mkey(CX_MKC_MODE_PA, 0, 0);
	cx_set(rig_mkc(), CX_MKC_LENGTH64, 1);
	cx_set(rig_mkc(), CX_MKC_PD, PD);
	all = created();
	rig_begin_mkey(CX_MKC_MODE_KLMS, 4, 2);
	cx_set(rig_mkc(), CX_MKC_PD, PD);
	cx_set(rig_mkc(), CX_MKC_LOG_PAGE_SIZE, 0);
	cx_set64(rig_mkc(), CX_MKC_LEN, 300);
	for (unsigned i = 0; i < 2; i++) {
		klm[i].bcount = htobe32(100 + i * 100);
		klm[i].key = htobe32(all->key);
		klm[i].va = htobe64(RIG_GPA + i * 8192);
	}
	mr = created();
	assert_int_equal(up_mr_span(&rig.dev->hca, mr->key, &use, 150, 150, &span), 0);
	assert_ptr_equal(span.ptr, rig_at(RIG_GPA + 8192 + 50));
	assert_int_equal(span.len, 150);
}

static void free_until_registered(void **state)
{
	struct up_mr *mr;

	rig_begin_mkey(CX_MKC_MODE_MTT, 64, 0);
	cx_set(rig_mkc(), CX_MKC_FREE, 1);
	cx_set(rig_mkc(), CX_MKC_UMR_EN, 1);
	cx_set(rig_mkc(), CX_MKC_EN_RINVAL, 1);
	mr = created();
	assert_false(mr->valid);
	assert_true(mr->registrable);
	assert_true(mr->remote_inv);
	assert_int_equal(mr->capacity, 128);
	/* Its table is not there before it is needed. */
	assert_null(mr->pages);
}

static void bad_shapes(void **state)
{
	rig_begin_mkey(CX_MKC_MODE_MTT, 2, 2);
	cx_set(rig_mkc(), CX_MKC_ACCESS_MODE_4_2, 1);
	rig_fails(CX_BAD_PARAM, CX_WHY_TYPE);
	/* More entries than room, and more than there are. */
	rig_begin_mkey(CX_MKC_MODE_MTT, 1, 2);
	rig_fails(CX_BAD_PARAM, CX_WHY_SIZE);
	rig_begin_mkey(CX_MKC_MODE_MTT, 2, 2);
	rig.in_len -= 1;
	rig_fails(CX_BAD_PARAM, CX_WHY_PAGE_LIST);
	rig_begin_mkey(CX_MKC_MODE_MTT, UINT32_MAX, 0);
	rig_fails(CX_BAD_PARAM, CX_WHY_SIZE);
	rig_begin_mkey(CX_MKC_MODE_MTT, 2, 2);
	cx_set(rig_mkc(), CX_MKC_LOG_PAGE_SIZE, 11);
	rig_fails(CX_BAD_PARAM, CX_WHY_ATTRIBUTE);
	/* Longer than the capabilities say. */
	rig_begin_mkey(CX_MKC_MODE_KLMS, (1u << CX_LOG_MAX_KLM_LIST_SIZE) + 1, 0);
	rig_fails(CX_BAD_PARAM, CX_WHY_SIZE);
	assert_int_equal(rig.dev->hca.mrs.used, 2); /* the reserved and the null key */
	rig_begin_mkey(CX_MKC_MODE_KLMS, 1u << CX_LOG_MAX_KLM_LIST_SIZE, 0);
	rig_ok();
	/* A free key whose pages have no size yet: not less than a page's. */
	rig_begin_mkey(CX_MKC_MODE_MTT, 8, 0);
	cx_set(rig_mkc(), CX_MKC_LOG_PAGE_SIZE, 0);
	assert_int_equal(created()->page_shift, CX_PAGE_SHIFT);
}

/* The tables of one guest are bounded by a share of its memory. */
static void tables_are_bounded(void **state)
{
	unsigned n = 0;

	do {
		rig_begin_mkey(CX_MKC_MODE_MTT, 1u << 20, 0);
		n++;
	} while (rig_send() == CX_OK && n < 1000);
	assert_int_equal(cx_get(rig.out, CX_OUT_STATUS), CX_LIM_ERR);
	assert_in_range(n, 2, 100);
}

static void query(void **state)
{
	const uint8_t *mkc = rig.out + CX_QUERY_MKEY_OUT_MKC_AT;
	struct up_mr *mr;

	rig_begin_mkey(CX_MKC_MODE_MTT, 8, 0);
	cx_set(rig_mkc(), CX_MKC_PD, PD);
	cx_set64(rig_mkc(), CX_MKC_START_ADDR, 0x123456789000);
	cx_set64(rig_mkc(), CX_MKC_LEN, 0x4000);
	mr = created();
	rig_begin(CX_CMD_QUERY_MKEY, 0, CX_IN_BYTES);
	cx_set(rig.in, CX_IN_OBJECT, mr->key >> 8);
	rig_ok();
	assert_int_equal(cx_get(mkc, CX_MKC_ACCESS_MODE_1_0), CX_MKC_MODE_MTT);
	assert_int_equal(cx_get(mkc, CX_MKC_LR), 1);
	assert_int_equal(cx_get(mkc, CX_MKC_RW), 0);
	assert_int_equal(cx_get(mkc, CX_MKC_PD), PD);
	assert_true(cx_get64(mkc, CX_MKC_START_ADDR) == 0x123456789000);
	assert_true(cx_get64(mkc, CX_MKC_LEN) == 0x4000);
	assert_int_equal(cx_get(mkc, CX_MKC_TRANSLATIONS_OCTWORD_SIZE), 8);
	assert_int_equal(rig_simple(CX_CMD_DESTROY_MKEY, mr->key >> 8), CX_OK);
	rig_begin(CX_CMD_QUERY_MKEY, 0, CX_IN_BYTES);
	rig_fails(CX_BAD_RES, CX_WHY_NO_MKEY);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, rig_setup_running, rig_teardown)
	const struct CMUnitTest tests[] = {
		TEST(physical),
		TEST(pages_in_the_command),
		TEST(list_of_keys),
		TEST(free_until_registered),
		TEST(entry_of_zero_is_the_first_page),
		TEST(bad_shapes),
		TEST(tables_are_bounded),
		TEST(query),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
