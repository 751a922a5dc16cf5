/* SPDX-License-Identifier: BSD-2-Clause */
/* Registration by work request (device/connectx/umr.c). */
#include "fake_cx.h"

#include "device/connectx/abi.h"

#include <errno.h>
#include <string.h>

#define OTHER_PD 9
#define NEW_PD 11
#define REG_UMR 12
#define VARIANT 0x42

#define ACCESS_MASK                                                                                \
	(CX_MKEY_MASK_LR | CX_MKEY_MASK_LW | CX_MKEY_MASK_RR | CX_MKEY_MASK_RW | CX_MKEY_MASK_A)
/* frwr_mkey_mask() of mlx5_ib */
#define FAST_REG_MASK                                                                              \
	(CX_MKEY_MASK_LEN | CX_MKEY_MASK_PAGE_SIZE | CX_MKEY_MASK_START_ADDR |                     \
	 CX_MKEY_MASK_EN_RINVAL | CX_MKEY_MASK_KEY | ACCESS_MASK | CX_MKEY_MASK_SMALL_FENCE |      \
	 CX_MKEY_MASK_FREE)
/* set_umr_control_seg() of rdma-core */
#define BIND_MASK                                                                                  \
	(CX_MKEY_MASK_LEN | CX_MKEY_MASK_START_ADDR | CX_MKEY_MASK_LW | CX_MKEY_MASK_RR |          \
	 CX_MKEY_MASK_RW | CX_MKEY_MASK_A | CX_MKEY_MASK_FREE | CX_MKEY_MASK_KEY)

static struct cx_qp *kernel, *user, *registrar;
static struct up_send_wr wr;

/* The request under construction. */
static struct cx_wqe_umr_ctrl ctrl;
static struct cx_mkey_seg seg;
static uint8_t list[UP_MAX_WQE_BYTES];
static uint32_t list_bytes;

static int setup(void **state)
{
	if (fake_setup(state))
		return -1;
	kernel = fake_qp(UP_QP_RC, 4, false);
	kernel->fre = true;
	user = fake_qp(UP_QP_RC, 4, false);
	registrar = fake_qp(UP_QP_LOCAL, 4, false);
	registrar->fre = true;
	registrar->service_type = REG_UMR;
	registrar->base.pdn = OTHER_PD;
	memset(&ctrl, 0, sizeof(ctrl));
	memset(&seg, 0, sizeof(seg));
	memset(list, 0, sizeof(list));
	list_bytes = 0;
	return 0;
}

static struct up_mr *key_of(enum up_mr_kind kind, uint32_t capacity)
{
	struct up_mr *mr = up_mr_create(&fake.dev.hca, kind, capacity);

	assert_non_null(mr);
	mr->key |= VARIANT;
	mr->pdn = FAKE_PD;
	mr->page_shift = 12;
	mr->registrable = true;
	return mr;
}

/* All of memory, for the lists that are not inline, and as what windows are bound to. */
static struct up_mr *all_memory(uint32_t pdn, uint32_t access)
{
	struct up_mr *mr = key_of(UP_MR_PHYS, 0);

	mr->pdn = pdn;
	mr->absolute = true;
	mr->access = access;
	mr->valid = true;
	return mr;
}

static void add_page(uint64_t address)
{
	up_put_be64(list + list_bytes, address | CX_MTT_PRESENT);
	list_bytes += CX_MTT_BYTES;
}

static void add_piece(uint32_t len, uint32_t key, uint64_t addr)
{
	struct cx_klm klm = {htobe32(len), htobe32(key), htobe64(addr)};

	memcpy(list + list_bytes, &klm, sizeof(klm));
	list_bytes += sizeof(klm);
}

static enum up_wc_status run(struct cx_qp *qp, const struct up_mr *mr)
{
	wr.op = UP_OP_LOCAL;
	wr.imm = mr->key;
	memcpy(wr.data, &ctrl, sizeof(ctrl));
	memcpy(wr.data + sizeof(ctrl), &seg, sizeof(seg));
	memcpy(wr.data + sizeof(ctrl) + sizeof(seg), list, list_bytes);
	wr.raw_len = (uint32_t)(sizeof(ctrl) + sizeof(seg)) + list_bytes;
	return cx_exec_local(&qp->base, &wr);
}

/* The list goes inline, padded to 64 bytes. */
static void send_inline(void)
{
	list_bytes = (list_bytes + CX_XLT_ALIGN - 1) & ~(CX_XLT_ALIGN - 1);
	ctrl.flags |= CX_UMR_INLINE;
	ctrl.xlt_octowords = htobe16((uint16_t)(list_bytes / CX_XLT_OCTOWORD));
}

/* The list goes by reference, with `key`. */
static void send_reference(const void *entries, uint32_t bytes, uint32_t key)
{
	struct cx_wqe_data data = {htobe32(bytes), htobe32(key), htobe64(fake_gpa(entries))};

	ctrl.xlt_octowords = htobe16((uint16_t)(bytes / CX_XLT_OCTOWORD));
	memcpy(list, &data, sizeof(data));
	list_bytes = sizeof(data);
}

static void describe(uint64_t start, uint64_t len, uint8_t rights)
{
	seg.flags = CX_MKEY_UMR_EN | rights;
	seg.qpn_mkey7_0 = htobe32(0xffffff00u | (VARIANT + 1));
	seg.flags_pd = htobe32(CX_MKEY_REMOTE_INVAL);
	seg.start_addr = htobe64(start);
	seg.len = htobe64(len);
	seg.log2_page_size = 12;
}

static void fast_registration(void **state)
{
	struct up_mr *mr = key_of(UP_MR_PAGES, 8);

	describe(0x123456, 10000, CX_MKEY_LR | CX_MKEY_LW | CX_MKEY_RW);
	ctrl.mkey_mask = htobe64(FAST_REG_MASK);
	ctrl.flags = CX_UMR_CHECK_NOT_FREE;
	for (unsigned i = 0; i < 4; i++)
		add_page(FAKE_GPA + i * 0x1000);
	send_inline();
	assert_int_equal(run(kernel, mr), UP_WC_SUCCESS);
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
	assert_int_equal(run(kernel, mr), UP_WC_MW_BIND_ERR);
}

static void local_invalidation(void **state)
{
	struct up_mr *mr = key_of(UP_MR_PAGES, 8);

	mr->valid = true;
	mr->access = UP_ACCESS_LOCAL_READ;
	ctrl.flags = CX_UMR_INLINE;
	ctrl.mkey_mask = htobe64(CX_MKEY_MASK_FREE);
	seg.status = CX_MKEY_FREE;
	assert_int_equal(run(kernel, mr), UP_WC_SUCCESS);
	assert_false(mr->valid);
	assert_int_equal(mr->key & 0xff, VARIANT);
	assert_int_equal(mr->access, UP_ACCESS_LOCAL_READ);
}

/* A key that was registered anew has another variant: who means the one before gets nothing. */
static void invalidation_of_an_earlier_variant(void **state)
{
	struct up_mr *mr = key_of(UP_MR_PAGES, 8);
	struct up_mr stale;

	mr->valid = true;
	stale = *mr;
	mr->key++;
	ctrl.flags = CX_UMR_INLINE;
	ctrl.mkey_mask = htobe64(CX_MKEY_MASK_FREE);
	seg.status = CX_MKEY_FREE;
	assert_int_equal(run(kernel, &stale), UP_WC_MW_BIND_ERR);
	assert_true(mr->valid);
	assert_int_equal(run(kernel, mr), UP_WC_SUCCESS);
	assert_false(mr->valid);
	/* There is nothing to revoke, and nothing wrong with that. */
	assert_int_equal(run(kernel, mr), UP_WC_SUCCESS);
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
	struct up_mr *mr = key_of(UP_MR_PAGES, 8);

	describe(0x1000, 0x2000, 0x7c);
	seg.log2_page_size = 21;
	ctrl.flags = CX_UMR_INLINE;
	assert_int_equal(run(kernel, mr), UP_WC_SUCCESS);
	assert_int_equal(mr->access | mr->start | mr->length | mr->valid, 0);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(rights); i++) {
		mr->access = 0;
		ctrl.mkey_mask = htobe64(rights[i].mask);
		assert_int_equal(run(kernel, mr), UP_WC_SUCCESS);
		assert_int_equal(mr->access, rights[i].access);
	}
	seg.flags = 0;
	mr->access = 0x1f;
	ctrl.mkey_mask = htobe64(CX_MKEY_MASK_RW);
	assert_int_equal(run(kernel, mr), UP_WC_SUCCESS);
	assert_int_equal(mr->access, 0x1f & ~(uint32_t)UP_ACCESS_REMOTE_WRITE);
	ctrl.mkey_mask = htobe64(CX_MKEY_MASK_PAGE_SIZE);
	assert_int_equal(run(kernel, mr), UP_WC_SUCCESS);
	assert_int_equal(mr->page_shift, 21);
	ctrl.mkey_mask = htobe64(CX_MKEY_MASK_LEN);
	seg.flags_pd = htobe32(CX_MKEY_LENGTH64);
	assert_int_equal(run(kernel, mr), UP_WC_SUCCESS);
	assert_int_equal(mr->length, 0x2000);
	assert_true(mr->absolute);
	assert_int_equal(mr->start, 0);
	assert_false(mr->valid);
}

static void small_pages_are_refused(void **state)
{
	struct up_mr *mr = key_of(UP_MR_PAGES, 8);

	seg.log2_page_size = 11;
	ctrl.flags = CX_UMR_INLINE;
	ctrl.mkey_mask = htobe64(CX_MKEY_MASK_PAGE_SIZE);
	assert_int_equal(run(kernel, mr), UP_WC_MW_BIND_ERR);
	assert_int_equal(mr->page_shift, 12);
}

static void list_by_reference(void **state)
{
	const uint32_t n = 131064; /* as much as one request can bring: 1 MiB less 64 */
	struct up_mr *mr = key_of(UP_MR_PAGES, n);
	struct up_mr *dma = all_memory(OTHER_PD, UP_ACCESS_LOCAL_READ);
	uint8_t *entries = fake_alloc(n * CX_MTT_BYTES, 64);

	for (uint32_t i = 0; i < n; i++)
		up_put_be64(entries + i * CX_MTT_BYTES, (uint64_t)i << 12 | CX_MTT_PRESENT);
	ctrl.flags = CX_UMR_CHECK_NOT_FREE;
	ctrl.mkey_mask = htobe64(CX_MKEY_MASK_FREE);
	send_reference(entries, n * CX_MTT_BYTES, dma->key);
	assert_int_equal(run(registrar, mr), UP_WC_SUCCESS);
	assert_int_equal(mr->count, n);
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(mr->pages[i], (uint64_t)i << 12);
	assert_true(mr->valid);
}

static void list_by_bad_reference(void **state)
{
	struct up_mr *mr = key_of(UP_MR_PAGES, 64);
	struct up_mr *dma = all_memory(OTHER_PD, UP_ACCESS_LOCAL_READ);
	uint8_t *entries = fake_alloc(512, 64);

	ctrl.mkey_mask = htobe64(CX_MKEY_MASK_FREE);
	/* A key of another domain, none, and without the right. */
	send_reference(entries, 512, dma->key);
	assert_int_equal(run(kernel, mr), UP_WC_LOC_PROT_ERR);
	send_reference(entries, 512, 0xbad00);
	assert_int_equal(run(registrar, mr), UP_WC_LOC_PROT_ERR);
	dma->access = UP_ACCESS_LOCAL_WRITE;
	send_reference(entries, 512, dma->key);
	assert_int_equal(run(registrar, mr), UP_WC_LOC_PROT_ERR);
	assert_false(mr->valid);
	/* Beyond memory. */
	dma->access = UP_ACCESS_LOCAL_READ;
	send_reference(fake.ram + FAKE_RAM - 256, 512, dma->key);
	assert_int_equal(run(registrar, mr), UP_WC_LOC_PROT_ERR);
	/* Shorter than the list should be, and no segment at all. */
	send_reference(entries, 512, dma->key);
	ctrl.xlt_octowords = htobe16(40);
	mr = key_of(UP_MR_PAGES, 128);
	assert_int_equal(run(registrar, mr), UP_WC_LOC_QP_OP_ERR);
	list_bytes = 0;
	assert_int_equal(run(registrar, mr), UP_WC_LOC_QP_OP_ERR);
	assert_false(mr->valid);
}

/* What cannot be read lies behind the first part, which is written by then. */
static void list_by_half_bad_reference(void **state)
{
	struct up_mr *mr = key_of(UP_MR_PAGES, 512);
	struct up_mr *dma = all_memory(FAKE_PD, UP_ACCESS_LOCAL_READ);

	mr->valid = true;
	send_reference(fake.ram + FAKE_RAM - 2048, 4096, dma->key);
	assert_int_equal(run(kernel, mr), UP_WC_LOC_PROT_ERR);
	assert_false(mr->valid);
	assert_int_equal(mr->count, 2048 / CX_MTT_BYTES);
	/* Where nothing was written, nothing has changed. */
	mr->valid = true;
	send_reference(fake.ram + FAKE_RAM - 1024, 4096, dma->key);
	assert_int_equal(run(kernel, mr), UP_WC_LOC_PROT_ERR);
	assert_true(mr->valid);
	assert_int_equal(mr->count, 2048 / CX_MTT_BYTES);
}

static void inline_list_cut_short(void **state)
{
	struct up_mr *mr = key_of(UP_MR_PAGES, 64);

	ctrl.mkey_mask = htobe64(CX_MKEY_MASK_FREE);
	add_page(FAKE_GPA);
	send_inline();
	list_bytes -= 16;
	assert_int_equal(run(kernel, mr), UP_WC_LOC_QP_OP_ERR);
	assert_false(mr->valid);
}

static void request_cut_short(void **state)
{
	struct up_mr *mr = key_of(UP_MR_PAGES, 64);

	wr.imm = mr->key;
	for (wr.raw_len = 0; wr.raw_len < 112; wr.raw_len += 16)
		assert_int_equal(cx_exec_local(&kernel->base, &wr), UP_WC_LOC_QP_OP_ERR);
}

static void parts_of_a_list(void **state)
{
	struct up_mr *mr = key_of(UP_MR_PAGES, 24);

	for (uint32_t part = 0; part < 3; part++) {
		list_bytes = 0;
		for (uint32_t i = 0; i < 8; i++)
			add_page((uint64_t)(part * 8 + i + 1) << 12);
		send_inline();
		if (part)
			ctrl.flags |= CX_UMR_TRANSLATION_OFFSET;
		ctrl.xlt_offset = htobe16((uint16_t)(part * 4));
		assert_int_equal(run(kernel, mr), UP_WC_SUCCESS);
		assert_int_equal(mr->count, part * 8 + 8);
	}
	for (uint32_t i = 0; i < 24; i++)
		assert_int_equal(mr->pages[i], (uint64_t)(i + 1) << 12);
	/* One that is replaced. */
	ctrl.xlt_offset = htobe16(4);
	assert_int_equal(run(kernel, mr), UP_WC_SUCCESS);
	assert_int_equal(mr->count, 24);
	assert_int_equal(mr->pages[8], 17u << 12);
}

static void list_beyond_the_table(void **state)
{
	struct up_mr *mr = key_of(UP_MR_PAGES, 12);

	for (uint32_t i = 0; i < 16; i++)
		add_page((uint64_t)(i + 1) << 12);
	send_inline();
	/* Written 64 bytes at a time: what is behind the end is left out. */
	assert_int_equal(run(kernel, mr), UP_WC_SUCCESS);
	assert_int_equal(mr->count, 12);
	ctrl.flags |= CX_UMR_TRANSLATION_OFFSET;
	ctrl.xlt_offset = htobe16(1);
	assert_int_equal(run(kernel, mr), UP_WC_MW_BIND_ERR);
	ctrl.xlt_offset = htobe16(0xffff);
	ctrl.xlt_offset_47_16 = UINT32_MAX;
	assert_int_equal(run(kernel, mr), UP_WC_MW_BIND_ERR);
	/* An offset that is not announced. */
	ctrl.flags = CX_UMR_INLINE;
	assert_int_equal(run(kernel, mr), UP_WC_MW_BIND_ERR);
}

static void key_without_a_table(void **state)
{
	struct up_mr *mr = all_memory(FAKE_PD, 0);

	add_page(FAKE_GPA);
	send_inline();
	assert_int_equal(run(kernel, mr), UP_WC_MW_BIND_ERR);
	ctrl.xlt_octowords = 0;
	assert_int_equal(run(kernel, mr), UP_WC_SUCCESS);
}

static void entry_of_zero_is_no_page(void **state)
{
	struct up_mr *mr = key_of(UP_MR_PAGES, 8);
	struct up_mr_use use = {FAKE_PD, 0, UP_ACCESS_LOCAL_READ, false};
	struct up_span span;

	describe(0, 0x8000, CX_MKEY_LR);
	ctrl.mkey_mask = htobe64(FAST_REG_MASK);
	add_page(FAKE_GPA);
	send_inline();
	assert_int_equal(up_mem_add(&fake.dev.hca.mem, 0, 4096, fake.ram, true), 0);
	assert_int_equal(run(kernel, mr), UP_WC_SUCCESS);
	assert_int_equal(up_mr_span(&fake.dev.hca, mr->key, &use, 0xfff, 1, &span), 0);
	assert_int_not_equal(up_mr_span(&fake.dev.hca, mr->key, &use, 0x1000, 1, &span), 0);
}

static void what_a_key_must_be(void **state)
{
	struct up_mr *mr = key_of(UP_MR_PAGES, 8);

	ctrl.flags = CX_UMR_INLINE | CX_UMR_CHECK_FREE;
	assert_int_equal(run(kernel, mr), UP_WC_MW_BIND_ERR);
	mr->valid = true;
	assert_int_equal(run(kernel, mr), UP_WC_SUCCESS);
	ctrl.flags = CX_UMR_INLINE | CX_UMR_CHECK_NOT_FREE;
	assert_int_equal(run(kernel, mr), UP_WC_MW_BIND_ERR);
	ctrl.flags = CX_UMR_INLINE | CX_UMR_CHECK_QPN;
	mr->qpn = user->base.qpn;
	assert_int_equal(run(kernel, mr), UP_WC_MW_BIND_ERR);
	mr->qpn = kernel->base.qpn;
	assert_int_equal(run(kernel, mr), UP_WC_SUCCESS);
	mr->qpn = UP_MR_ANY_QP;
	assert_int_equal(run(kernel, mr), UP_WC_SUCCESS);
}

static void keys_that_may_not_be_changed(void **state)
{
	struct up_mr *mr = key_of(UP_MR_PAGES, 8), none = {.key = 0x3f00};

	ctrl.flags = CX_UMR_INLINE;
	assert_int_equal(run(kernel, mr), UP_WC_SUCCESS);
	mr->registrable = false;
	assert_int_equal(run(kernel, mr), UP_WC_MW_BIND_ERR);
	assert_int_equal(run(registrar, mr), UP_WC_MW_BIND_ERR);
	mr->registrable = true;
	mr->pdn = OTHER_PD;
	assert_int_equal(run(kernel, mr), UP_WC_MW_BIND_ERR);
	assert_int_equal(run(kernel, &none), UP_WC_MW_BIND_ERR);
	none.key = UINT32_MAX;
	assert_int_equal(run(kernel, &none), UP_WC_MW_BIND_ERR);
}

static void domain_is_changed_by_the_registrar(void **state)
{
	struct up_mr *mr = key_of(UP_MR_PAGES, 8);

	ctrl.flags = CX_UMR_INLINE;
	ctrl.mkey_mask = htobe64(CX_MKEY_MASK_PD);
	seg.flags_pd = htobe32(NEW_PD);
	assert_int_equal(run(kernel, mr), UP_WC_MW_BIND_ERR);
	assert_int_equal(run(registrar, mr), UP_WC_SUCCESS);
	assert_int_equal(mr->pdn, NEW_PD);
}

static void processes_do_not_choose_pages(void **state)
{
	struct up_mr *mr = key_of(UP_MR_PAGES, 8);

	ctrl.flags = CX_UMR_INLINE;
	assert_int_equal(run(user, mr), UP_WC_MW_BIND_ERR);
	add_page(FAKE_GPA);
	send_inline();
	assert_int_equal(run(user, mr), UP_WC_MW_BIND_ERR);
	seg.flags = CX_MKEY_LW;
	ctrl.xlt_octowords = 0;
	ctrl.mkey_mask = htobe64(CX_MKEY_MASK_LW);
	assert_int_equal(run(user, mr), UP_WC_MW_BIND_ERR);
	assert_int_equal(mr->access, 0);
}

static void signatures_are_not_claimed(void **state)
{
	struct up_mr *mr = key_of(UP_MR_LIST, 8);

	ctrl.flags = CX_UMR_INLINE;
	ctrl.mkey_mask = htobe64(CX_MKEY_MASK_BSF_EN);
	seg.flags_pd = htobe32(CX_MKEY_BSF_EN);
	assert_int_equal(run(kernel, mr), UP_WC_MW_BIND_ERR);
	seg.flags_pd = 0;
	assert_int_equal(run(kernel, mr), UP_WC_SUCCESS);
}

/* Pieces of one size, the page's (KSM): what their entries say of a length means nothing. */
static void equal_pieces(void **state)
{
	struct up_mr *mem = all_memory(FAKE_PD, UP_ACCESS_LOCAL_READ);
	struct up_mr *mr = key_of(UP_MR_LIST, 4);
	struct up_mr_use use = {FAKE_PD, 0, UP_ACCESS_LOCAL_READ, false};
	struct up_span span;

	mr->equal = true;
	describe(0, 0x10000, CX_MKEY_LR);
	ctrl.mkey_mask = htobe64(CX_MKEY_MASK_LEN | CX_MKEY_MASK_LR | CX_MKEY_MASK_FREE);
	for (unsigned i = 0; i < 4; i++)
		add_piece(i, mem->key, FAKE_GPA + i * 0x10000);
	send_inline();
	assert_int_equal(run(kernel, mr), UP_WC_SUCCESS);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(
			up_mr_span(&fake.dev.hca, mr->key, &use, i * 4096 + 8, 9999, &span), 0);
		assert_ptr_equal(span.ptr, fake.ram + i * 0x10000 + 8);
		assert_int_equal(span.len, 4096 - 8);
	}
	/* The size changes, of those that stay as well. */
	seg.log2_page_size = 13;
	ctrl.mkey_mask = htobe64(CX_MKEY_MASK_PAGE_SIZE);
	ctrl.xlt_octowords = 0;
	assert_int_equal(run(kernel, mr), UP_WC_SUCCESS);
	assert_int_equal(up_mr_span(&fake.dev.hca, mr->key, &use, 8192 + 16, 100, &span), 0);
	assert_ptr_equal(span.ptr, fake.ram + 0x10000 + 16);
}

/* Memory windows, as set_bind_wr() of rdma-core makes them. */

static struct up_mr *window(void)
{
	struct up_mr *mw = key_of(UP_MR_LIST, 4);

	mw->access = UP_ACCESS_LOCAL_READ;
	mw->page_shift = 0;
	return mw;
}

static void bind(const struct up_mr *to, uint32_t len, bool type2)
{
	ctrl = (struct cx_wqe_umr_ctrl){
		.flags = CX_UMR_INLINE | CX_UMR_TRANSLATION_OFFSET |
			 (type2 ? CX_UMR_CHECK_NOT_FREE : 0),
		.mkey_mask = htobe64(BIND_MASK | (type2 ? CX_MKEY_MASK_QPN : 0)),
	};
	describe(FAKE_GPA + 0x1000, len, CX_MKEY_RW);
	seg.log2_page_size = 0;
	if (type2)
		seg.qpn_mkey7_0 = htobe32(user->base.qpn << 8 | (VARIANT + 1));
	list_bytes = 0;
	add_piece(len, to->key, FAKE_GPA + 0x1000);
	send_inline();
	memset(list + 16, 0, 48);
}

static void unbind(bool type2)
{
	ctrl = (struct cx_wqe_umr_ctrl){
		.flags = CX_UMR_INLINE | CX_UMR_TRANSLATION_OFFSET | (type2 ? CX_UMR_CHECK_QPN : 0),
		.mkey_mask = htobe64(CX_MKEY_MASK_FREE | CX_MKEY_MASK_KEY |
				     (type2 ? CX_MKEY_MASK_QPN : 0)),
	};
	memset(&seg, 0, sizeof(seg));
	seg.status = CX_MKEY_FREE;
	seg.qpn_mkey7_0 = htobe32(0xffffff00u);
	list_bytes = 0;
}

static void window_of_type_1(void **state)
{
	struct up_mr *mr = all_memory(FAKE_PD, UP_ACCESS_LOCAL_READ | UP_ACCESS_LOCAL_WRITE);
	struct up_mr *mw = window();
	struct up_mr_use use = {FAKE_PD, 0x99, UP_ACCESS_REMOTE_WRITE, false};
	struct up_span span;

	bind(mr, 4096, false);
	assert_int_equal(run(user, mw), UP_WC_SUCCESS);
	assert_int_equal(mw->key & 0xff, VARIANT + 1);
	assert_int_equal(up_mr_span(&fake.dev.hca, mw->key, &use, FAKE_GPA + 0x1800, 64, &span), 0);
	assert_ptr_equal(span.ptr, fake.ram + 0x1800);
	assert_int_not_equal(up_mr_check(&fake.dev.hca, mw->key, &use, FAKE_GPA + 0xfff, 1), 0);
	assert_int_not_equal(up_mr_check(&fake.dev.hca, mw->key, &use, FAKE_GPA + 0x1fff, 2), 0);
	/* Bound anew without being invalidated. */
	bind(mr, 64, false);
	assert_int_equal(run(user, mw), UP_WC_SUCCESS);
	assert_int_not_equal(up_mr_check(&fake.dev.hca, mw->key, &use, FAKE_GPA + 0x1040, 1), 0);
	unbind(false);
	assert_int_equal(run(user, mw), UP_WC_SUCCESS);
	assert_int_not_equal(up_mr_check(&fake.dev.hca, mw->key, &use, FAKE_GPA + 0x1000, 1), 0);
}

static void window_of_type_2(void **state)
{
	struct up_mr *mr = all_memory(FAKE_PD, UP_ACCESS_LOCAL_READ | UP_ACCESS_LOCAL_WRITE);
	struct up_mr *mw = window(), earlier;
	struct up_mr_use use = {FAKE_PD, user->base.qpn, UP_ACCESS_REMOTE_WRITE, false};

	bind(mr, 4096, true);
	assert_int_equal(run(user, mw), UP_WC_SUCCESS);
	assert_int_equal(up_mr_check(&fake.dev.hca, mw->key, &use, FAKE_GPA + 0x1000, 4096), 0);
	use.qpn++;
	assert_int_not_equal(up_mr_check(&fake.dev.hca, mw->key, &use, FAKE_GPA + 0x1000, 1), 0);
	/* It must be invalidated before it is bound again, by its own queue pair. */
	assert_int_equal(run(user, mw), UP_WC_MW_BIND_ERR);
	unbind(true);
	assert_int_equal(run(kernel, mw), UP_WC_MW_BIND_ERR);
	/* By the key that it has now, not by that of an earlier binding. */
	earlier = *mw;
	earlier.key--;
	assert_int_equal(run(user, &earlier), UP_WC_MW_BIND_ERR);
	assert_true(mw->valid);
	assert_int_equal(run(user, mw), UP_WC_SUCCESS);
	assert_false(mw->valid);
	assert_int_equal(mw->qpn, UP_MR_ANY_QP);
	assert_int_equal(run(user, mw), UP_WC_MW_BIND_ERR);
}

/* Interleaved lists, as mlx5_send_wr_mr_interleaved() of rdma-core makes them. */

static void add_strided(uint16_t stride, uint16_t len, uint32_t key, uint64_t addr)
{
	struct cx_klm_strided entry = {htobe16(stride), htobe16(len), htobe32(key), htobe64(addr)};

	memcpy(list + list_bytes, &entry, sizeof(entry));
	list_bytes += sizeof(entry);
}

/* `rounds` of 8 bytes at 0x1000 and each 10 further, and of 4 at 0x2000 and each 100 further. */
static void interleave(const struct up_mr *to, uint32_t rounds, uint16_t count)
{
	struct cx_klm_repeat head = {htobe32(12), htobe32(CX_KLM_REPEAT), htobe32(rounds), 0,
				     htobe16(count)};

	ctrl = (struct cx_wqe_umr_ctrl){.mkey_mask = htobe64(BIND_MASK)};
	describe(0, 12ull * rounds, CX_MKEY_LW | CX_MKEY_RW);
	memset(list, 0, sizeof(list));
	memcpy(list, &head, sizeof(head));
	list_bytes = sizeof(head);
	add_strided(10, 8, to->key, FAKE_GPA + 0x1000);
	add_strided(100, 4, to->key, FAKE_GPA + 0x2000);
	send_inline();
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
	struct up_mr *to = all_memory(FAKE_PD, UP_ACCESS_LOCAL_READ | UP_ACCESS_LOCAL_WRITE);
	struct up_mr *mr = window();
	struct up_mr_use use = {FAKE_PD, 0x99, UP_ACCESS_REMOTE_WRITE, false};

	interleave(to, 3, 2);
	assert_int_equal(run(user, mr), UP_WC_SUCCESS);
	expect_span(mr, 0, 0x1000, 8);
	expect_span(mr, 9, 0x2001, 3);
	expect_span(mr, 12, 0x100a, 8);
	expect_span(mr, 20, 0x2064, 4);
	expect_span(mr, 31, 0x101b, 1);
	expect_span(mr, 35, 0x20cb, 1);
	assert_int_not_equal(up_mr_check(&fake.dev.hca, mr->key, &use, 35, 2), 0);
	/* A plain list in its place is gone through once. */
	bind(to, 64, false);
	assert_int_equal(run(user, mr), UP_WC_SUCCESS);
	expect_span(mr, FAKE_GPA + 0x1020, 0x1020, 32);
}

/* The library invalidates a key of a process's own as it does a window of type 2. */
static void key_for_any_queue_pair_is_invalidated(void **state)
{
	struct up_mr *to = all_memory(FAKE_PD, UP_ACCESS_LOCAL_READ | UP_ACCESS_LOCAL_WRITE);
	struct up_mr *mr = window();

	interleave(to, 3, 2);
	assert_int_equal(run(user, mr), UP_WC_SUCCESS);
	unbind(true);
	assert_int_equal(run(user, mr), UP_WC_SUCCESS);
	assert_false(mr->valid);
	assert_int_equal(run(user, mr), UP_WC_MW_BIND_ERR);
}

/* The length of a key is the guest's: rounds that are not there are no memory. */
static void interleaved_list_of_fewer_rounds(void **state)
{
	struct up_mr *to = all_memory(FAKE_PD, UP_ACCESS_LOCAL_READ | UP_ACCESS_LOCAL_WRITE);
	struct up_mr_use use = {FAKE_PD, 0x99, UP_ACCESS_REMOTE_WRITE, false};
	struct up_mr *mr = window();
	struct up_span span;

	interleave(to, 3, 2);
	seg.len = htobe64(1000);
	assert_int_equal(run(user, mr), UP_WC_SUCCESS);
	assert_int_equal(up_mr_span(&fake.dev.hca, mr->key, &use, 36, 1, &span), -EFAULT);
}

static void interleaved_list_refused(void **state)
{
	struct up_mr *to = all_memory(FAKE_PD, UP_ACCESS_LOCAL_READ | UP_ACCESS_LOCAL_WRITE);
	struct up_mr *page = window(), *mr = window();

	interleave(to, 0, 2);
	assert_int_equal(run(user, mr), UP_WC_LOC_QP_OP_ERR);
	interleave(to, 3, 0);
	assert_int_equal(run(user, mr), UP_WC_LOC_QP_OP_ERR);
	/* More entries than came. */
	interleave(to, 3, 4);
	assert_int_equal(run(user, mr), UP_WC_LOC_QP_OP_ERR);
	/* The third round of the second piece ends behind what it lies in. */
	bind(to, 0x10cb, false);
	assert_int_equal(run(user, page), UP_WC_SUCCESS);
	page->access |= UP_ACCESS_LOCAL_READ | UP_ACCESS_LOCAL_WRITE;
	interleave(page, 3, 2);
	assert_int_equal(run(user, mr), UP_WC_MW_BIND_ERR);
	interleave(page, 2, 2);
	assert_int_equal(run(user, mr), UP_WC_SUCCESS);
}

static void window_for_another_queue_pair(void **state)
{
	struct up_mr *mr = all_memory(FAKE_PD, UP_ACCESS_LOCAL_READ | UP_ACCESS_LOCAL_WRITE);
	struct up_mr *mw = window();

	bind(mr, 4096, true);
	seg.qpn_mkey7_0 = htobe32(kernel->base.qpn << 8 | 1);
	assert_int_equal(run(user, mw), UP_WC_MW_BIND_ERR);
}

static void window_on_what_is_not_ones_own(void **state)
{
	struct up_mr *mr = all_memory(FAKE_PD, UP_ACCESS_LOCAL_READ);
	struct up_mr *foreign = all_memory(OTHER_PD, UP_ACCESS_LOCAL_READ | UP_ACCESS_LOCAL_WRITE);
	struct up_mr *mw = window(), none = {.key = 0x3f00};

	/* No right to write there. */
	bind(mr, 4096, false);
	assert_int_equal(run(user, mw), UP_WC_MW_BIND_ERR);
	bind(foreign, 4096, false);
	assert_int_equal(run(user, mw), UP_WC_MW_BIND_ERR);
	bind(&none, 4096, false);
	assert_int_equal(run(user, mw), UP_WC_MW_BIND_ERR);
	/* Not all of it lies in the region. */
	mr->access |= UP_ACCESS_LOCAL_WRITE;
	mr->absolute = false;
	mr->start = FAKE_GPA;
	mr->length = 0x1fff;
	bind(mr, 4096, false);
	assert_int_equal(run(user, mw), UP_WC_MW_BIND_ERR);
	assert_false(mw->valid);
	bind(mr, 4095, false);
	assert_int_equal(run(user, mw), UP_WC_SUCCESS);
}

/* The same when the pieces are not in the request itself. */
static void window_by_reference_on_what_is_not_ones_own(void **state)
{
	struct up_mr *own = all_memory(FAKE_PD, UP_ACCESS_LOCAL_READ | UP_ACCESS_LOCAL_WRITE);
	struct up_mr *foreign = all_memory(OTHER_PD, UP_ACCESS_LOCAL_READ | UP_ACCESS_LOCAL_WRITE);
	uint8_t *entries = fake_alloc(64, 64);
	struct up_mr *mw = window();

	bind(foreign, 4096, false);
	memcpy(entries, list, 64);
	ctrl.flags = CX_UMR_TRANSLATION_OFFSET;
	send_reference(entries, 64, own->key);
	assert_int_equal(run(user, mw), UP_WC_MW_BIND_ERR);
	assert_false(mw->valid);
	bind(own, 4096, false);
	memcpy(entries, list, 64);
	ctrl.flags = CX_UMR_TRANSLATION_OFFSET;
	send_reference(entries, 64, own->key);
	assert_int_equal(run(user, mw), UP_WC_SUCCESS);
	assert_true(mw->valid);
}

/* Each key of a process' list is looked up: a request that names very many is refused. */
static void window_of_too_many_pieces(void **state)
{
	enum { MOST = 4096 };
	struct up_mr *mr = key_of(UP_MR_LIST, MOST + 4);
	struct up_mr *mem = all_memory(FAKE_PD, UP_ACCESS_LOCAL_READ);
	struct cx_klm *klm = fake_alloc((MOST + 4) * sizeof(*klm), 64);

	for (unsigned i = 0; i < MOST + 4; i++)
		klm[i] = (struct cx_klm){htobe32(8), htobe32(mem->key), htobe64(FAKE_GPA)};
	send_reference(klm, (MOST + 4) * sizeof(*klm), mem->key);
	assert_int_equal(run(user, mr), UP_WC_MW_BIND_ERR);
	assert_int_equal(mr->count, 0);
	assert_int_equal(run(kernel, mr), UP_WC_SUCCESS);
	assert_int_equal(mr->count, MOST + 4);
	send_reference(klm, MOST * sizeof(*klm), mem->key);
	assert_int_equal(run(user, mr), UP_WC_SUCCESS);
	assert_int_equal(mr->count, MOST);
}

/* The kernel's lists are followed by what was in the ring before. */
/* Keeps one turn short: what it looks up is charged, and bounded. */
static void list_in_crumbs(void **state)
{
	enum { PIECES = 2048 };
	struct up_mr *all = all_memory(FAKE_PD, UP_ACCESS_LOCAL_READ);
	struct up_mr *crumbs = key_of(UP_MR_LIST, PIECES), *mr = key_of(UP_MR_PAGES, PIECES);
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

	send_reference(entries, 512 * CX_MTT_BYTES, crumbs->key);
	((struct cx_wqe_data *)(void *)list)->addr = 0;
	assert_int_equal(run(kernel, mr), UP_WC_SUCCESS);
	assert_int_equal(mr->pages[511], 511 << 12);
	assert_true(wr.cost >= 512 * 256);

	list_bytes = 0;
	send_reference(entries, PIECES * CX_MTT_BYTES, crumbs->key);
	((struct cx_wqe_data *)(void *)list)->addr = 0;
	assert_int_equal(run(kernel, mr), UP_WC_LOC_PROT_ERR);
}

static void rubbish_behind_a_list(void **state)
{
	struct up_mr *mr = all_memory(FAKE_PD, UP_ACCESS_LOCAL_READ);
	struct up_mr *klm = key_of(UP_MR_LIST, 4);
	struct up_mr_use use = {FAKE_PD, 0, UP_ACCESS_LOCAL_READ, false};
	struct up_span span;

	describe(0, 300, CX_MKEY_LR);
	ctrl.mkey_mask = htobe64(FAST_REG_MASK);
	add_piece(100, mr->key, FAKE_GPA + 0x100);
	add_piece(200, mr->key, FAKE_GPA + 0x800);
	add_piece(UINT32_MAX, UINT32_MAX, UINT64_MAX);
	add_piece(UINT32_MAX, UINT32_MAX, UINT64_MAX);
	send_inline();
	assert_int_equal(run(kernel, klm), UP_WC_SUCCESS);
	assert_int_equal(up_mr_span(&fake.dev.hca, klm->key, &use, 100, 200, &span), 0);
	assert_ptr_equal(span.ptr, fake.ram + 0x800);
	assert_int_equal(span.len, 200);
	assert_int_not_equal(up_mr_span(&fake.dev.hca, klm->key, &use, 300, 1, &span), 0);
}

/* Any request: nothing is written outside of the table. */
static void random_requests(void **state)
{
	struct up_mr *keys[] = {key_of(UP_MR_PAGES, 5), key_of(UP_MR_LIST, 5),
				key_of(UP_MR_PHYS, 0), all_memory(FAKE_PD, UP_ACCESS_LOCAL_READ)};
	struct cx_qp *qps[] = {kernel, user, registrar};
	uint64_t seed = 0x1234567;

	for (unsigned i = 0; i < 300000; i++) {
		uint64_t r = unit_random(&seed);
		struct up_mr *mr = keys[r & 3];

		for (unsigned k = 0; k < 256; k += 8) {
			uint64_t v = unit_random(&seed);

			memcpy(wr.data + k, &v, 8);
		}
		/* Mostly lists and offsets that fit. */
		if (r >> 8 & 3)
			up_put_be16(wr.data + 4, r >> 10 & 7);
		if (r >> 16 & 3) {
			up_put_be16(wr.data + 6, r >> 18 & 3);
			up_put_be32(wr.data + 16, 0);
		}
		if (r >> 24 & 1)
			up_put_be32(wr.data + 116, keys[3]->key);
		wr.raw_len = (uint32_t)(r >> 32 & 0xf) * 16 + 112;
		wr.imm = mr->key;
		cx_exec_local(&qps[r >> 40 & 3 ? r >> 40 & 1 : 2]->base, &wr);
		assert_true(mr->count <= mr->capacity);
		mr->registrable = true;
		mr->pdn = FAKE_PD;
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, fake_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(fast_registration),
		TEST(local_invalidation),
		TEST(invalidation_of_an_earlier_variant),
		TEST(only_masked_fields_change),
		TEST(small_pages_are_refused),
		TEST(list_by_reference),
		TEST(list_by_bad_reference),
		TEST(list_by_half_bad_reference),
		TEST(window_by_reference_on_what_is_not_ones_own),
		TEST(window_of_too_many_pieces),
		TEST(inline_list_cut_short),
		TEST(request_cut_short),
		TEST(parts_of_a_list),
		TEST(list_beyond_the_table),
		TEST(key_without_a_table),
		TEST(entry_of_zero_is_no_page),
		TEST(what_a_key_must_be),
		TEST(keys_that_may_not_be_changed),
		TEST(domain_is_changed_by_the_registrar),
		TEST(processes_do_not_choose_pages),
		TEST(signatures_are_not_claimed),
		TEST(equal_pieces),
		TEST(window_of_type_1),
		TEST(window_of_type_2),
		TEST(interleaved_list),
		TEST(interleaved_list_of_fewer_rounds),
		TEST(interleaved_list_refused),
		TEST(key_for_any_queue_pair_is_invalidated),
		TEST(window_for_another_queue_pair),
		TEST(window_on_what_is_not_ones_own),
		TEST(list_in_crumbs),
		TEST(rubbish_behind_a_list),
		TEST(random_requests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
