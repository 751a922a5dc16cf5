/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What processes bind by work request (device/connectx/umr.c): memory windows, and keys of
 * interleaved memory.
 */
#include "umr_rig.h"

#include <errno.h>

/* Memory windows, as set_bind_wr() of rdma-core makes them. */

static struct up_mr *window(void)
{
	struct up_mr *mw = umr_key(UP_MR_LIST, 4);

	mw->access = UP_ACCESS_LOCAL_READ;
	mw->page_shift = 0;
	return mw;
}

static void bind(const struct up_mr *to, uint32_t len, bool type2)
{
	umr.ctrl = (struct cx_wqe_umr_ctrl){
		.flags = CX_UMR_INLINE | CX_UMR_TRANSLATION_OFFSET |
			 (type2 ? CX_UMR_CHECK_NOT_FREE : 0),
		.mkey_mask = htobe64(BIND_MASK | (type2 ? CX_MKEY_MASK_QPN : 0)),
	};
	umr_describe(FAKE_GPA + 0x1000, len, CX_MKEY_RW);
	umr.seg.log2_page_size = 0;
	if (type2)
		umr.seg.qpn_mkey7_0 = htobe32(umr.user->base.qpn << 8 | (VARIANT + 1));
	umr.list_bytes = 0;
	umr_add_piece(len, to->key, FAKE_GPA + 0x1000);
	umr_send_inline();
	memset(umr.list + 16, 0, 48);
}

static void unbind(bool type2)
{
	umr.ctrl = (struct cx_wqe_umr_ctrl){
		.flags = CX_UMR_INLINE | CX_UMR_TRANSLATION_OFFSET | (type2 ? CX_UMR_CHECK_QPN : 0),
		.mkey_mask = htobe64(CX_MKEY_MASK_FREE | CX_MKEY_MASK_KEY |
				     (type2 ? CX_MKEY_MASK_QPN : 0)),
	};
	memset(&umr.seg, 0, sizeof(umr.seg));
	umr.seg.status = CX_MKEY_FREE;
	umr.seg.qpn_mkey7_0 = htobe32(0xffffff00u);
	umr.list_bytes = 0;
}

static void window_of_type_1(void **state)
{
	struct up_mr *mr = umr_all_memory(FAKE_PD, UP_ACCESS_LOCAL_READ | UP_ACCESS_LOCAL_WRITE);
	struct up_mr *mw = window();
	struct up_mr_use use = {FAKE_PD, 0x99, UP_ACCESS_REMOTE_WRITE, false};
	struct up_span span;

	bind(mr, 4096, false);
	assert_int_equal(umr_run(umr.user, mw), UP_WC_SUCCESS);
	assert_int_equal(mw->key & 0xff, VARIANT + 1);
	assert_int_equal(up_mr_span(&fake.dev.hca, mw->key, &use, FAKE_GPA + 0x1800, 64, &span), 0);
	assert_ptr_equal(span.ptr, fake.ram + 0x1800);
	assert_int_not_equal(up_mr_check(&fake.dev.hca, mw->key, &use, FAKE_GPA + 0xfff, 1), 0);
	assert_int_not_equal(up_mr_check(&fake.dev.hca, mw->key, &use, FAKE_GPA + 0x1fff, 2), 0);
	/* Bound anew without being invalidated. */
	bind(mr, 64, false);
	assert_int_equal(umr_run(umr.user, mw), UP_WC_SUCCESS);
	assert_int_not_equal(up_mr_check(&fake.dev.hca, mw->key, &use, FAKE_GPA + 0x1040, 1), 0);
	unbind(false);
	assert_int_equal(umr_run(umr.user, mw), UP_WC_SUCCESS);
	assert_int_not_equal(up_mr_check(&fake.dev.hca, mw->key, &use, FAKE_GPA + 0x1000, 1), 0);
}

static void window_of_type_2(void **state)
{
	struct up_mr *mr = umr_all_memory(FAKE_PD, UP_ACCESS_LOCAL_READ | UP_ACCESS_LOCAL_WRITE);
	struct up_mr *mw = window(), earlier;
	struct up_mr_use use = {FAKE_PD, umr.user->base.qpn, UP_ACCESS_REMOTE_WRITE, false};

	bind(mr, 4096, true);
	assert_int_equal(umr_run(umr.user, mw), UP_WC_SUCCESS);
	assert_int_equal(up_mr_check(&fake.dev.hca, mw->key, &use, FAKE_GPA + 0x1000, 4096), 0);
	use.qpn++;
	assert_int_not_equal(up_mr_check(&fake.dev.hca, mw->key, &use, FAKE_GPA + 0x1000, 1), 0);
	/* It must be invalidated before it is bound again, by its own queue pair. */
	assert_int_equal(umr_run(umr.user, mw), UP_WC_MW_BIND_ERR);
	unbind(true);
	assert_int_equal(umr_run(umr.kernel, mw), UP_WC_MW_BIND_ERR);
	/* By the key that it has now, not by that of an earlier binding. */
	earlier = *mw;
	earlier.key--;
	assert_int_equal(umr_run(umr.user, &earlier), UP_WC_MW_BIND_ERR);
	assert_true(mw->valid);
	assert_int_equal(umr_run(umr.user, mw), UP_WC_SUCCESS);
	assert_false(mw->valid);
	assert_int_equal(mw->qpn, UP_MR_ANY_QP);
	assert_int_equal(umr_run(umr.user, mw), UP_WC_MW_BIND_ERR);
}

/* Interleaved lists, as mlx5_send_wr_mr_interleaved() of rdma-core makes them. */

static void add_strided(uint16_t stride, uint16_t len, uint32_t key, uint64_t addr)
{
	struct cx_klm_strided entry = {htobe16(stride), htobe16(len), htobe32(key), htobe64(addr)};

	memcpy(umr.list + umr.list_bytes, &entry, sizeof(entry));
	umr.list_bytes += sizeof(entry);
}

/* `rounds` of 8 bytes at 0x1000 and each 10 further, and of 4 at 0x2000 and each 100 further. */
static void interleave(const struct up_mr *to, uint32_t rounds, uint16_t count)
{
	struct cx_klm_repeat head = {htobe32(12), htobe32(CX_KLM_REPEAT), htobe32(rounds), 0,
				     htobe16(count)};

	umr.ctrl = (struct cx_wqe_umr_ctrl){.mkey_mask = htobe64(BIND_MASK)};
	umr_describe(0, 12ull * rounds, CX_MKEY_LW | CX_MKEY_RW);
	memset(umr.list, 0, sizeof(umr.list));
	memcpy(umr.list, &head, sizeof(head));
	umr.list_bytes = sizeof(head);
	add_strided(10, 8, to->key, FAKE_GPA + 0x1000);
	add_strided(100, 4, to->key, FAKE_GPA + 0x2000);
	umr_send_inline();
}

static void expect_span(const struct up_mr *mr, uint64_t addr, uint64_t at, size_t len)
{
	struct up_mr_use use = {FAKE_PD, 0x99, UP_ACCESS_REMOTE_WRITE, false};
	uint64_t left = mr->start + mr->length - addr;
	struct up_span span;

	assert_int_equal(up_mr_span(&fake.dev.hca, mr->key, &use, addr, left, &span), 0);
	assert_ptr_equal(span.ptr, fake.ram + at);
	assert_int_equal(span.len, len);
}

static void interleaved_list(void **state)
{
	struct up_mr *to = umr_all_memory(FAKE_PD, UP_ACCESS_LOCAL_READ | UP_ACCESS_LOCAL_WRITE);
	struct up_mr *mr = window();
	struct up_mr_use use = {FAKE_PD, 0x99, UP_ACCESS_REMOTE_WRITE, false};

	interleave(to, 3, 2);
	assert_int_equal(umr_run(umr.user, mr), UP_WC_SUCCESS);
	expect_span(mr, 0, 0x1000, 8);
	expect_span(mr, 9, 0x2001, 3);
	expect_span(mr, 12, 0x100a, 8);
	expect_span(mr, 20, 0x2064, 4);
	expect_span(mr, 31, 0x101b, 1);
	expect_span(mr, 35, 0x20cb, 1);
	assert_int_not_equal(up_mr_check(&fake.dev.hca, mr->key, &use, 35, 2), 0);
	/* A plain list in its place is gone through once. */
	bind(to, 64, false);
	assert_int_equal(umr_run(umr.user, mr), UP_WC_SUCCESS);
	expect_span(mr, FAKE_GPA + 0x1020, 0x1020, 32);
}

/* The library invalidates a key of a process's own as it does a window of type 2. */
static void key_for_any_queue_pair_is_invalidated(void **state)
{
	struct up_mr *to = umr_all_memory(FAKE_PD, UP_ACCESS_LOCAL_READ | UP_ACCESS_LOCAL_WRITE);
	struct up_mr *mr = window();

	interleave(to, 3, 2);
	assert_int_equal(umr_run(umr.user, mr), UP_WC_SUCCESS);
	unbind(true);
	assert_int_equal(umr_run(umr.user, mr), UP_WC_SUCCESS);
	assert_false(mr->valid);
	assert_int_equal(umr_run(umr.user, mr), UP_WC_MW_BIND_ERR);
}

/* The length of a key is the guest's: rounds that are not there are no memory. */
static void interleaved_list_of_fewer_rounds(void **state)
{
	struct up_mr *to = umr_all_memory(FAKE_PD, UP_ACCESS_LOCAL_READ | UP_ACCESS_LOCAL_WRITE);
	struct up_mr_use use = {FAKE_PD, 0x99, UP_ACCESS_REMOTE_WRITE, false};
	struct up_mr *mr = window();
	struct up_span span;

	interleave(to, 3, 2);
	umr.seg.len = htobe64(1000);
	assert_int_equal(umr_run(umr.user, mr), UP_WC_SUCCESS);
	assert_int_equal(up_mr_span(&fake.dev.hca, mr->key, &use, 36, 1, &span), -EFAULT);
}

static void interleaved_list_refused(void **state)
{
	struct up_mr *to = umr_all_memory(FAKE_PD, UP_ACCESS_LOCAL_READ | UP_ACCESS_LOCAL_WRITE);
	struct up_mr *page = window(), *mr = window();

	interleave(to, 0, 2);
	assert_int_equal(umr_run(umr.user, mr), UP_WC_LOC_QP_OP_ERR);
	interleave(to, 3, 0);
	assert_int_equal(umr_run(umr.user, mr), UP_WC_LOC_QP_OP_ERR);
	/* More entries than came. */
	interleave(to, 3, 4);
	assert_int_equal(umr_run(umr.user, mr), UP_WC_LOC_QP_OP_ERR);
	/* The third round of the second piece ends behind what it lies in. */
	bind(to, 0x10cb, false);
	assert_int_equal(umr_run(umr.user, page), UP_WC_SUCCESS);
	page->access |= UP_ACCESS_LOCAL_READ | UP_ACCESS_LOCAL_WRITE;
	interleave(page, 3, 2);
	assert_int_equal(umr_run(umr.user, mr), UP_WC_MW_BIND_ERR);
	interleave(page, 2, 2);
	assert_int_equal(umr_run(umr.user, mr), UP_WC_SUCCESS);
}

static void window_for_another_queue_pair(void **state)
{
	struct up_mr *mr = umr_all_memory(FAKE_PD, UP_ACCESS_LOCAL_READ | UP_ACCESS_LOCAL_WRITE);
	struct up_mr *mw = window();

	bind(mr, 4096, true);
	umr.seg.qpn_mkey7_0 = htobe32(umr.kernel->base.qpn << 8 | 1);
	assert_int_equal(umr_run(umr.user, mw), UP_WC_MW_BIND_ERR);
}

static void window_on_what_is_not_ones_own(void **state)
{
	struct up_mr *mr = umr_all_memory(FAKE_PD, UP_ACCESS_LOCAL_READ);
	struct up_mr *foreign =
		umr_all_memory(OTHER_PD, UP_ACCESS_LOCAL_READ | UP_ACCESS_LOCAL_WRITE);
	struct up_mr *mw = window(), none = {.key = 0x3f00};

	/* No right to write there. */
	bind(mr, 4096, false);
	assert_int_equal(umr_run(umr.user, mw), UP_WC_MW_BIND_ERR);
	bind(foreign, 4096, false);
	assert_int_equal(umr_run(umr.user, mw), UP_WC_MW_BIND_ERR);
	bind(&none, 4096, false);
	assert_int_equal(umr_run(umr.user, mw), UP_WC_MW_BIND_ERR);
	/* Not all of it lies in the region. */
	mr->access |= UP_ACCESS_LOCAL_WRITE;
	mr->absolute = false;
	mr->start = FAKE_GPA;
	mr->length = 0x1fff;
	bind(mr, 4096, false);
	assert_int_equal(umr_run(umr.user, mw), UP_WC_MW_BIND_ERR);
	assert_false(mw->valid);
	bind(mr, 4095, false);
	assert_int_equal(umr_run(umr.user, mw), UP_WC_SUCCESS);
}

static void bind_by_reference(const struct up_mr *to, uint8_t *entries, uint32_t entries_key)
{
	bind(to, 4096, false);
	memcpy(entries, umr.list, 64);
	umr.ctrl.flags = CX_UMR_TRANSLATION_OFFSET;
	umr_send_reference(entries, 64, entries_key);
}

/* The same when the pieces are not in the request itself. */
static void window_by_reference_on_what_is_not_ones_own(void **state)
{
	struct up_mr *own = umr_all_memory(FAKE_PD, UP_ACCESS_LOCAL_READ | UP_ACCESS_LOCAL_WRITE);
	struct up_mr *foreign =
		umr_all_memory(OTHER_PD, UP_ACCESS_LOCAL_READ | UP_ACCESS_LOCAL_WRITE);
	uint8_t *entries = fake_alloc(64, 64);
	struct up_mr *mw = window();

	bind_by_reference(foreign, entries, own->key);
	assert_int_equal(umr_run(umr.user, mw), UP_WC_MW_BIND_ERR);
	assert_false(mw->valid);
	bind_by_reference(own, entries, own->key);
	assert_int_equal(umr_run(umr.user, mw), UP_WC_SUCCESS);
	assert_true(mw->valid);
}

/* Each key of a process' list is looked up: a request that names very many is refused. */
static void window_of_too_many_pieces(void **state)
{
	enum { MOST = 4096 };
	struct up_mr *mr = umr_key(UP_MR_LIST, MOST + 4);
	struct up_mr *mem = umr_all_memory(FAKE_PD, UP_ACCESS_LOCAL_READ);
	struct cx_klm *klm = fake_alloc((MOST + 4) * sizeof(*klm), 64);

	for (unsigned i = 0; i < MOST + 4; i++)
		klm[i] = (struct cx_klm){htobe32(8), htobe32(mem->key), htobe64(FAKE_GPA)};
	umr_send_reference(klm, (MOST + 4) * sizeof(*klm), mem->key);
	assert_int_equal(umr_run(umr.user, mr), UP_WC_MW_BIND_ERR);
	assert_int_equal(mr->count, 0);
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_SUCCESS);
	assert_int_equal(mr->count, MOST + 4);
	umr_send_reference(klm, MOST * sizeof(*klm), mem->key);
	assert_int_equal(umr_run(umr.user, mr), UP_WC_SUCCESS);
	assert_int_equal(mr->count, MOST);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		UMR_TEST(window_by_reference_on_what_is_not_ones_own),
		UMR_TEST(window_of_too_many_pieces),
		UMR_TEST(window_of_type_1),
		UMR_TEST(window_of_type_2),
		UMR_TEST(interleaved_list),
		UMR_TEST(interleaved_list_of_fewer_rounds),
		UMR_TEST(interleaved_list_refused),
		UMR_TEST(key_for_any_queue_pair_is_invalidated),
		UMR_TEST(window_for_another_queue_pair),
		UMR_TEST(window_on_what_is_not_ones_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
