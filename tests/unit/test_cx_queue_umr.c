/* SPDX-License-Identifier: BSD-2-Clause */
/* Registration by work request (device/connectx/umr.c). */
#include "umr_rig.h"

static void fast_registration(void **state)
{
	struct up_mr *mr = umr_key(UP_MR_PAGES, 8);

	umr_describe(0x123456, 10000, CX_MKEY_LR | CX_MKEY_LW | CX_MKEY_RW);
	umr.ctrl.mkey_mask = htobe64(FAST_REG_MASK);
	umr.ctrl.flags = CX_UMR_CHECK_NOT_FREE;
	for (unsigned i = 0; i < 4; i++)
		umr_add_page(FAKE_GPA + i * 0x1000);
	umr_send_inline();
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_SUCCESS);
	assert_true(mr->valid);
	assert_int_equal(mr->key & 0xff, VARIANT + 1);
	assert_int_equal(mr->start, 0x123456);
	assert_int_equal(mr->length, 10000);
	assert_int_equal(mr->access,
			 UP_ACCESS_LOCAL_READ | UP_ACCESS_LOCAL_WRITE | UP_ACCESS_REMOTE_WRITE);
	assert_true(mr->remote_inv);
	assert_int_equal(mr->pages[3], FAKE_GPA + 0x3000);
	assert_int_equal(mr->pdn, FAKE_PD);
	/* Again, without an invalidation between. */
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_MW_BIND_ERR);
}

static void local_invalidation(void **state)
{
	struct up_mr *mr = umr_key(UP_MR_PAGES, 8);

	mr->valid = true;
	mr->access = UP_ACCESS_LOCAL_READ;
	umr.ctrl.flags = CX_UMR_INLINE;
	umr.ctrl.mkey_mask = htobe64(CX_MKEY_MASK_FREE);
	umr.seg.status = CX_MKEY_FREE;
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_SUCCESS);
	assert_false(mr->valid);
	assert_int_equal(mr->key & 0xff, VARIANT);
	assert_int_equal(mr->access, UP_ACCESS_LOCAL_READ);
}

/* A key that was registered anew has another variant: who means the one before gets nothing. */
static void invalidation_of_an_earlier_variant(void **state)
{
	struct up_mr *mr = umr_key(UP_MR_PAGES, 8);
	struct up_mr stale;

	mr->valid = true;
	stale = *mr;
	mr->key++;
	umr.ctrl.flags = CX_UMR_INLINE;
	umr.ctrl.mkey_mask = htobe64(CX_MKEY_MASK_FREE);
	umr.seg.status = CX_MKEY_FREE;
	assert_int_equal(umr_run(umr.kernel, &stale), UP_WC_MW_BIND_ERR);
	assert_true(mr->valid);
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_SUCCESS);
	assert_false(mr->valid);
	/* There is nothing to revoke, and nothing wrong with that. */
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_SUCCESS);
}

static void only_masked_fields_change(void **state)
{
	static const struct {
		uint64_t mask;
		uint32_t access;
	} rights[] = {
		{CX_MKEY_MASK_LR, UP_ACCESS_LOCAL_READ},
		{CX_MKEY_MASK_LW, UP_ACCESS_LOCAL_WRITE},
		{CX_MKEY_MASK_RR, UP_ACCESS_REMOTE_READ},
		{CX_MKEY_MASK_RW, UP_ACCESS_REMOTE_WRITE},
		{CX_MKEY_MASK_A, UP_ACCESS_REMOTE_ATOMIC},
	};
	struct up_mr *mr = umr_key(UP_MR_PAGES, 8);

	umr_describe(0x1000, 0x2000, 0x7c);
	umr.seg.log2_page_size = 21;
	umr.ctrl.flags = CX_UMR_INLINE;
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_SUCCESS);
	assert_int_equal(mr->access | mr->start | mr->length | mr->valid, 0);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(rights); i++) {
		mr->access = 0;
		umr.ctrl.mkey_mask = htobe64(rights[i].mask);
		assert_int_equal(umr_run(umr.kernel, mr), UP_WC_SUCCESS);
		assert_int_equal(mr->access, rights[i].access);
	}
	umr.seg.flags = 0;
	mr->access = 0x1f;
	umr.ctrl.mkey_mask = htobe64(CX_MKEY_MASK_RW);
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_SUCCESS);
	assert_int_equal(mr->access, 0x1f & ~(uint32_t)UP_ACCESS_REMOTE_WRITE);
	umr.ctrl.mkey_mask = htobe64(CX_MKEY_MASK_PAGE_SIZE);
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_SUCCESS);
	assert_int_equal(mr->page_shift, 21);
	umr.ctrl.mkey_mask = htobe64(CX_MKEY_MASK_LEN);
	umr.seg.flags_pd = htobe32(CX_MKEY_LENGTH64);
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_SUCCESS);
	assert_int_equal(mr->length, 0x2000);
	assert_true(mr->absolute);
	assert_int_equal(mr->start, 0);
	assert_false(mr->valid);
}

static void small_pages_are_refused(void **state)
{
	struct up_mr *mr = umr_key(UP_MR_PAGES, 8);

	umr.seg.log2_page_size = 11;
	umr.ctrl.flags = CX_UMR_INLINE;
	umr.ctrl.mkey_mask = htobe64(CX_MKEY_MASK_PAGE_SIZE);
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_MW_BIND_ERR);
	assert_int_equal(mr->page_shift, 12);
}

static void list_by_reference(void **state)
{
	const uint32_t n = 131064; /* as much as one request can bring: 1 MiB less 64 */
	struct up_mr *mr = umr_key(UP_MR_PAGES, n);
	struct up_mr *dma = umr_all_memory(OTHER_PD, UP_ACCESS_LOCAL_READ);
	uint8_t *entries = fake_alloc(n * CX_MTT_BYTES, 64);

	for (uint32_t i = 0; i < n; i++)
		up_put_be64(entries + i * CX_MTT_BYTES, (uint64_t)i << 12 | CX_MTT_PRESENT);
	umr.ctrl.flags = CX_UMR_CHECK_NOT_FREE;
	umr.ctrl.mkey_mask = htobe64(CX_MKEY_MASK_FREE);
	umr_send_reference(entries, n * CX_MTT_BYTES, dma->key);
	assert_int_equal(umr_run(umr.registrar, mr), UP_WC_SUCCESS);
	assert_int_equal(mr->count, n);
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(mr->pages[i], (uint64_t)i << 12);
	assert_true(mr->valid);
}

static void list_by_bad_reference(void **state)
{
	struct up_mr *mr = umr_key(UP_MR_PAGES, 64);
	struct up_mr *dma = umr_all_memory(OTHER_PD, UP_ACCESS_LOCAL_READ);
	uint8_t *entries = fake_alloc(512, 64);

	umr.ctrl.mkey_mask = htobe64(CX_MKEY_MASK_FREE);
	/* A key of another domain, none, and without the right. */
	umr_send_reference(entries, 512, dma->key);
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_LOC_PROT_ERR);
	umr_send_reference(entries, 512, 0xbad00);
	assert_int_equal(umr_run(umr.registrar, mr), UP_WC_LOC_PROT_ERR);
	dma->access = UP_ACCESS_LOCAL_WRITE;
	umr_send_reference(entries, 512, dma->key);
	assert_int_equal(umr_run(umr.registrar, mr), UP_WC_LOC_PROT_ERR);
	assert_false(mr->valid);
	/* Beyond memory. */
	dma->access = UP_ACCESS_LOCAL_READ;
	umr_send_reference(fake.ram + FAKE_RAM - 256, 512, dma->key);
	assert_int_equal(umr_run(umr.registrar, mr), UP_WC_LOC_PROT_ERR);
	/* Shorter than the list should be, and no segment at all. */
	umr_send_reference(entries, 512, dma->key);
	umr.ctrl.xlt_octowords = htobe16(40);
	mr = umr_key(UP_MR_PAGES, 128);
	assert_int_equal(umr_run(umr.registrar, mr), UP_WC_LOC_QP_OP_ERR);
	umr.list_bytes = 0;
	assert_int_equal(umr_run(umr.registrar, mr), UP_WC_LOC_QP_OP_ERR);
	assert_false(mr->valid);
}

/* What cannot be read lies behind the first part, which is written by then. */
static void list_by_half_bad_reference(void **state)
{
	struct up_mr *mr = umr_key(UP_MR_PAGES, 512);
	struct up_mr *dma = umr_all_memory(FAKE_PD, UP_ACCESS_LOCAL_READ);

	mr->valid = true;
	umr_send_reference(fake.ram + FAKE_RAM - 2048, 4096, dma->key);
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_LOC_PROT_ERR);
	assert_false(mr->valid);
	assert_int_equal(mr->count, 2048 / CX_MTT_BYTES);
	/* Where nothing was written, nothing has changed. */
	mr->valid = true;
	umr_send_reference(fake.ram + FAKE_RAM - 1024, 4096, dma->key);
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_LOC_PROT_ERR);
	assert_true(mr->valid);
	assert_int_equal(mr->count, 2048 / CX_MTT_BYTES);
}

static void inline_list_cut_short(void **state)
{
	struct up_mr *mr = umr_key(UP_MR_PAGES, 64);

	umr.ctrl.mkey_mask = htobe64(CX_MKEY_MASK_FREE);
	umr_add_page(FAKE_GPA);
	umr_send_inline();
	umr.list_bytes -= 16;
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_LOC_QP_OP_ERR);
	assert_false(mr->valid);
}

static void request_cut_short(void **state)
{
	struct up_mr *mr = umr_key(UP_MR_PAGES, 64);

	umr.wr.imm = mr->key;
	for (umr.wr.raw_len = 0; umr.wr.raw_len < 112; umr.wr.raw_len += 16)
		assert_int_equal(cx_exec_local(&umr.kernel->base, &umr.wr), UP_WC_LOC_QP_OP_ERR);
}

static void parts_of_a_list(void **state)
{
	struct up_mr *mr = umr_key(UP_MR_PAGES, 24);

	for (uint32_t part = 0; part < 3; part++) {
		umr.list_bytes = 0;
		for (uint32_t i = 0; i < 8; i++)
			umr_add_page((uint64_t)(part * 8 + i + 1) << 12);
		umr_send_inline();
		if (part)
			umr.ctrl.flags |= CX_UMR_TRANSLATION_OFFSET;
		umr.ctrl.xlt_offset = htobe16((uint16_t)(part * 4));
		assert_int_equal(umr_run(umr.kernel, mr), UP_WC_SUCCESS);
		assert_int_equal(mr->count, part * 8 + 8);
	}
	for (uint32_t i = 0; i < 24; i++)
		assert_int_equal(mr->pages[i], (uint64_t)(i + 1) << 12);
	/* One that is replaced. */
	umr.ctrl.xlt_offset = htobe16(4);
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_SUCCESS);
	assert_int_equal(mr->count, 24);
	assert_int_equal(mr->pages[8], 17u << 12);
}

static void list_beyond_the_table(void **state)
{
	struct up_mr *mr = umr_key(UP_MR_PAGES, 12);

	for (uint32_t i = 0; i < 16; i++)
		umr_add_page((uint64_t)(i + 1) << 12);
	umr_send_inline();
	/* Written 64 bytes at a time: what is behind the end is left out. */
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_SUCCESS);
	assert_int_equal(mr->count, 12);
	umr.ctrl.flags |= CX_UMR_TRANSLATION_OFFSET;
	umr.ctrl.xlt_offset = htobe16(1);
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_MW_BIND_ERR);
	umr.ctrl.xlt_offset = htobe16(0xffff);
	umr.ctrl.xlt_offset_47_16 = UINT32_MAX;
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_MW_BIND_ERR);
	/* An offset that is not announced. */
	umr.ctrl.flags = CX_UMR_INLINE;
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_MW_BIND_ERR);
}

static void key_without_a_table(void **state)
{
	struct up_mr *mr = umr_all_memory(FAKE_PD, 0);

	umr_add_page(FAKE_GPA);
	umr_send_inline();
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_MW_BIND_ERR);
	umr.ctrl.xlt_octowords = 0;
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_SUCCESS);
}

static void entry_of_zero_is_no_page(void **state)
{
	struct up_mr *mr = umr_key(UP_MR_PAGES, 8);
	struct up_mr_use use = {FAKE_PD, 0, UP_ACCESS_LOCAL_READ, false};
	struct up_span span;

	umr_describe(0, 0x8000, CX_MKEY_LR);
	umr.ctrl.mkey_mask = htobe64(FAST_REG_MASK);
	umr_add_page(FAKE_GPA);
	umr_send_inline();
	assert_int_equal(up_mem_add(&fake.dev.hca.mem, 0, 4096, fake.ram, true), 0);
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_SUCCESS);
	assert_int_equal(up_mr_span(&fake.dev.hca, mr->key, &use, 0xfff, 1, &span), 0);
	assert_int_not_equal(up_mr_span(&fake.dev.hca, mr->key, &use, 0x1000, 1, &span), 0);
}

static void what_a_key_must_be(void **state)
{
	struct up_mr *mr = umr_key(UP_MR_PAGES, 8);

	umr.ctrl.flags = CX_UMR_INLINE | CX_UMR_CHECK_FREE;
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_MW_BIND_ERR);
	mr->valid = true;
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_SUCCESS);
	umr.ctrl.flags = CX_UMR_INLINE | CX_UMR_CHECK_NOT_FREE;
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_MW_BIND_ERR);
	umr.ctrl.flags = CX_UMR_INLINE | CX_UMR_CHECK_QPN;
	mr->qpn = umr.user->base.qpn;
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_MW_BIND_ERR);
	mr->qpn = umr.kernel->base.qpn;
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_SUCCESS);
	mr->qpn = UP_MR_ANY_QP;
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_SUCCESS);
}

static void keys_that_may_not_be_changed(void **state)
{
	struct up_mr *mr = umr_key(UP_MR_PAGES, 8), none = {.key = 0x3f00};

	umr.ctrl.flags = CX_UMR_INLINE;
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_SUCCESS);
	mr->registrable = false;
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_MW_BIND_ERR);
	assert_int_equal(umr_run(umr.registrar, mr), UP_WC_MW_BIND_ERR);
	mr->registrable = true;
	mr->pdn = OTHER_PD;
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_MW_BIND_ERR);
	assert_int_equal(umr_run(umr.kernel, &none), UP_WC_MW_BIND_ERR);
	none.key = UINT32_MAX;
	assert_int_equal(umr_run(umr.kernel, &none), UP_WC_MW_BIND_ERR);
}

static void domain_is_changed_by_the_registrar(void **state)
{
	struct up_mr *mr = umr_key(UP_MR_PAGES, 8);

	umr.ctrl.flags = CX_UMR_INLINE;
	umr.ctrl.mkey_mask = htobe64(CX_MKEY_MASK_PD);
	umr.seg.flags_pd = htobe32(NEW_PD);
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_MW_BIND_ERR);
	assert_int_equal(umr_run(umr.registrar, mr), UP_WC_SUCCESS);
	assert_int_equal(mr->pdn, NEW_PD);
}

static void processes_do_not_choose_pages(void **state)
{
	struct up_mr *mr = umr_key(UP_MR_PAGES, 8);

	umr.ctrl.flags = CX_UMR_INLINE;
	assert_int_equal(umr_run(umr.user, mr), UP_WC_MW_BIND_ERR);
	umr_add_page(FAKE_GPA);
	umr_send_inline();
	assert_int_equal(umr_run(umr.user, mr), UP_WC_MW_BIND_ERR);
	umr.seg.flags = CX_MKEY_LW;
	umr.ctrl.xlt_octowords = 0;
	umr.ctrl.mkey_mask = htobe64(CX_MKEY_MASK_LW);
	assert_int_equal(umr_run(umr.user, mr), UP_WC_MW_BIND_ERR);
	assert_int_equal(mr->access, 0);
}

static void signatures_are_not_claimed(void **state)
{
	struct up_mr *mr = umr_key(UP_MR_LIST, 8);

	umr.ctrl.flags = CX_UMR_INLINE;
	umr.ctrl.mkey_mask = htobe64(CX_MKEY_MASK_BSF_EN);
	umr.seg.flags_pd = htobe32(CX_MKEY_BSF_EN);
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_MW_BIND_ERR);
	umr.seg.flags_pd = 0;
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_SUCCESS);
}

/* Pieces of one size, the page's (KSM): what their entries say of a length means nothing. */
static void equal_pieces(void **state)
{
	struct up_mr *mem = umr_all_memory(FAKE_PD, UP_ACCESS_LOCAL_READ);
	struct up_mr *mr = umr_key(UP_MR_LIST, 4);
	struct up_mr_use use = {FAKE_PD, 0, UP_ACCESS_LOCAL_READ, false};
	struct up_span span;

	mr->equal = true;
	umr_describe(0, 0x10000, CX_MKEY_LR);
	umr.ctrl.mkey_mask = htobe64(CX_MKEY_MASK_LEN | CX_MKEY_MASK_LR | CX_MKEY_MASK_FREE);
	for (unsigned i = 0; i < 4; i++)
		umr_add_piece(i, mem->key, FAKE_GPA + i * 0x10000);
	umr_send_inline();
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_SUCCESS);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(
			up_mr_span(&fake.dev.hca, mr->key, &use, i * 4096 + 8, 9999, &span), 0);
		assert_ptr_equal(span.ptr, fake.ram + i * 0x10000 + 8);
		assert_int_equal(span.len, 4096 - 8);
	}
	/* The size changes, of those that stay as well. */
	umr.seg.log2_page_size = 13;
	umr.ctrl.mkey_mask = htobe64(CX_MKEY_MASK_PAGE_SIZE);
	umr.ctrl.xlt_octowords = 0;
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_SUCCESS);
	assert_int_equal(up_mr_span(&fake.dev.hca, mr->key, &use, 8192 + 16, 100, &span), 0);
	assert_ptr_equal(span.ptr, fake.ram + 0x10000 + 16);
}

/* Keeps one turn short: what it looks up is charged, and bounded. */
static void list_in_crumbs(void **state)
{
	enum { PIECES = 2048 };
	struct up_mr *all = umr_all_memory(FAKE_PD, UP_ACCESS_LOCAL_READ);
	struct up_mr *crumbs = umr_key(UP_MR_LIST, PIECES), *mr = umr_key(UP_MR_PAGES, PIECES);
	uint64_t *entries = fake_alloc(PIECES * 2 * sizeof(*entries), 4096);

	for (unsigned i = 0; i < PIECES; i++) {
		up_put_be64(&entries[2 * i], (uint64_t)i << 12 | CX_MTT_PRESENT);
		crumbs->pieces[i] = (struct up_mr_piece){
			.addr = fake_gpa(&entries[2 * i]), .len = 8, .key = all->key};
	}
	crumbs->count = PIECES;
	assert_int_equal(up_mr_seal_list(crumbs), 0);
	crumbs->length = PIECES * 8;
	crumbs->access = UP_ACCESS_LOCAL_READ;
	crumbs->valid = true;

	umr_send_reference(entries, 512 * CX_MTT_BYTES, crumbs->key);
	((struct cx_wqe_data *)(void *)umr.list)->addr = 0;
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_SUCCESS);
	assert_int_equal(mr->pages[511], 511 << 12);
	assert_true(umr.wr.cost >= 512 * 256);

	umr.list_bytes = 0;
	umr_send_reference(entries, PIECES * CX_MTT_BYTES, crumbs->key);
	((struct cx_wqe_data *)(void *)umr.list)->addr = 0;
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_LOC_PROT_ERR);
}

/* Few stretches may take long to find, through lists within lists. */
static void list_in_deep_crumbs(void **state)
{
	enum { CRUMBS = 512, PIECES = 65536 };
	struct up_mr *below = umr_all_memory(FAKE_PD, UP_ACCESS_LOCAL_READ);
	struct up_mr *mr = umr_key(UP_MR_PAGES, CRUMBS);
	uint64_t *entries = fake_alloc(CRUMBS * sizeof(*entries), 4096);

	for (unsigned d = 0; d < UP_MR_MAX_DEPTH; d++) {
		struct up_mr *list = umr_key(UP_MR_LIST, PIECES);

		for (uint32_t i = 0; i < PIECES; i++)
			list->pieces[i] = (struct up_mr_piece){.addr = (d ? 0 : fake_gpa(entries)) +
								       8 * (i % CRUMBS),
							       .len = 8,
							       .key = below->key};
		list->count = PIECES;
		assert_int_equal(up_mr_seal_list(list), 0);
		list->length = PIECES * 8;
		list->access = UP_ACCESS_LOCAL_READ;
		list->valid = true;
		below = list;
	}
	umr_send_reference(entries, CRUMBS * CX_MTT_BYTES, below->key);
	((struct cx_wqe_data *)(void *)umr.list)->addr = 0;
	assert_int_equal(umr_run(umr.kernel, mr), UP_WC_LOC_PROT_ERR);
	assert_true(umr.wr.cost >= 4096 * 256);
}

/* The kernel's lists are followed by what was in the ring before. */
static void rubbish_behind_a_list(void **state)
{
	struct up_mr *mr = umr_all_memory(FAKE_PD, UP_ACCESS_LOCAL_READ);
	struct up_mr *klm = umr_key(UP_MR_LIST, 4);
	struct up_mr_use use = {FAKE_PD, 0, UP_ACCESS_LOCAL_READ, false};
	struct up_span span;

	umr_describe(0, 300, CX_MKEY_LR);
	umr.ctrl.mkey_mask = htobe64(FAST_REG_MASK);
	umr_add_piece(100, mr->key, FAKE_GPA + 0x100);
	umr_add_piece(200, mr->key, FAKE_GPA + 0x800);
	umr_add_piece(UINT32_MAX, UINT32_MAX, UINT64_MAX);
	umr_add_piece(UINT32_MAX, UINT32_MAX, UINT64_MAX);
	umr_send_inline();
	assert_int_equal(umr_run(umr.kernel, klm), UP_WC_SUCCESS);
	assert_int_equal(up_mr_span(&fake.dev.hca, klm->key, &use, 100, 200, &span), 0);
	assert_ptr_equal(span.ptr, fake.ram + 0x800);
	assert_int_equal(span.len, 200);
	assert_int_not_equal(up_mr_span(&fake.dev.hca, klm->key, &use, 300, 1, &span), 0);
}

/* Any request: nothing is written outside of the table. */
static void random_requests(void **state)
{
	struct up_mr *keys[] = {umr_key(UP_MR_PAGES, 5), umr_key(UP_MR_LIST, 5),
				umr_key(UP_MR_PHYS, 0),
				umr_all_memory(FAKE_PD, UP_ACCESS_LOCAL_READ)};
	struct cx_qp *qps[] = {umr.kernel, umr.user, umr.registrar};
	uint64_t seed = 0x1234567;

	for (unsigned i = 0; i < 300000; i++) {
		uint64_t r = unit_random(&seed);
		struct up_mr *mr = keys[r & 3];

		for (unsigned k = 0; k < 256; k += 8) {
			uint64_t v = unit_random(&seed);

			memcpy(umr.wr.data + k, &v, 8);
		}
		/* Mostly lists and offsets that fit. */
		if (r >> 8 & 3)
			up_put_be16(umr.wr.data + 4, r >> 10 & 7);
		if (r >> 16 & 3) {
			up_put_be16(umr.wr.data + 6, r >> 18 & 3);
			up_put_be32(umr.wr.data + 16, 0);
		}
		if (r >> 24 & 1)
			up_put_be32(umr.wr.data + 116, keys[3]->key);
		umr.wr.raw_len = (uint32_t)(r >> 32 & 0xf) * 16 + 112;
		umr.wr.imm = mr->key;
		cx_exec_local(&qps[r >> 40 & 3 ? r >> 40 & 1 : 2]->base, &umr.wr);
		assert_true(mr->count <= mr->capacity);
		mr->registrable = true;
		mr->pdn = FAKE_PD;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		UMR_TEST(fast_registration),
		UMR_TEST(local_invalidation),
		UMR_TEST(invalidation_of_an_earlier_variant),
		UMR_TEST(only_masked_fields_change),
		UMR_TEST(small_pages_are_refused),
		UMR_TEST(list_by_reference),
		UMR_TEST(list_by_bad_reference),
		UMR_TEST(list_by_half_bad_reference),
		UMR_TEST(inline_list_cut_short),
		UMR_TEST(request_cut_short),
		UMR_TEST(parts_of_a_list),
		UMR_TEST(list_beyond_the_table),
		UMR_TEST(key_without_a_table),
		UMR_TEST(entry_of_zero_is_no_page),
		UMR_TEST(what_a_key_must_be),
		UMR_TEST(keys_that_may_not_be_changed),
		UMR_TEST(domain_is_changed_by_the_registrar),
		UMR_TEST(processes_do_not_choose_pages),
		UMR_TEST(signatures_are_not_claimed),
		UMR_TEST(equal_pieces),
		UMR_TEST(list_in_crumbs),
		UMR_TEST(list_in_deep_crumbs),
		UMR_TEST(rubbish_behind_a_list),
		UMR_TEST(random_requests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
