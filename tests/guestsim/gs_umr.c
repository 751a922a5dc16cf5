/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Registration by work request (opcode UMR): by the driver on its registration QP (mlx5_ib's
 * umr.c), by kernel protocols on their own QPs (fast registration, wr.c), by libmlx5 for windows
 * (set_bind_wr() of its qp.c).
 */
#include "gs_internal.h"

#include <stdlib.h>
#include <string.h>

enum {
	INLINE_LIST_BYTES = 64,		      /* MLX5_IB_SQ_UMR_INLINE_THRESHOLD */
	MAX_CHUNK = (1 << 20) - CX_XLT_ALIGN, /* MLX5_MAX_UMR_CHUNK */
	ANY_QP = 0xffffff,
};

#define ACCESS_MASK                                                                                \
	(CX_MKEY_MASK_LR | CX_MKEY_MASK_LW | CX_MKEY_MASK_RR | CX_MKEY_MASK_RW | CX_MKEY_MASK_A)
#define TRANSLATION_MASK (CX_MKEY_MASK_LEN | CX_MKEY_MASK_PAGE_SIZE | CX_MKEY_MASK_START_ADDR)
/* frwr_mkey_mask() */
#define FAST_REG_MASK                                                                              \
	(TRANSLATION_MASK | ACCESS_MASK | CX_MKEY_MASK_EN_RINVAL | CX_MKEY_MASK_KEY |              \
	 CX_MKEY_MASK_SMALL_FENCE | CX_MKEY_MASK_FREE)

/* One UMR request. The list, if any, is inline or in memory. */
struct umr {
	struct cx_wqe_umr_ctrl ctrl;
	struct cx_mkey_seg mkey;
	const uint8_t *inline_list;
	unsigned inline_bytes;
	struct cx_wqe_data data;
	bool has_data;
};

static uint8_t access_flags(unsigned access)
{
	return (uint8_t)((access & GS_REMOTE_ATOMIC ? CX_MKEY_A : 0) |
			 (access & GS_REMOTE_WRITE ? CX_MKEY_RW : 0) |
			 (access & GS_REMOTE_READ ? CX_MKEY_RR : 0) |
			 (access & GS_LOCAL_WRITE ? CX_MKEY_LW : 0) | CX_MKEY_LR);
}

static void post(struct gs_qp *qp, uint64_t wr_id, uint32_t key, const struct umr *u, uint8_t fence)
{
	unsigned bytes = sizeof(struct cx_wqe_ctrl) + sizeof(u->ctrl) + sizeof(u->mkey) +
			 u->inline_bytes + sizeof(u->data);
	struct gs_wqe w;

	if (!gs_wqe_begin(&w, qp, bytes))
		gs_fail("QP %#x: the send queue is full", qp->qpn);
	gs_wqe_add(&w, &u->ctrl, sizeof(u->ctrl));
	gs_wqe_add(&w, &u->mkey, sizeof(u->mkey));
	if (u->inline_list)
		gs_wqe_add(&w, u->inline_list, u->inline_bytes);
	if (u->has_data)
		gs_wqe_add(&w, &u->data, sizeof(u->data));
	gs_wqe_end(&w, wr_id, CX_OP_UMR, CX_CTRL_CE_CQE | fence, htobe32(key));
	gs_ring_send(qp);
}

/* ---- the driver's registration QP ---- */

/* mlx5r_umr_post_send_wait() */
static void run_on_umr_qp(struct gs_vm *vm, uint32_t key, const struct umr *u)
{
	struct gs_wc wc;

	post(vm->umr_qp, key, key, u, CX_CTRL_FENCE_SMALL);
	gs_cq_wait(vm->cq0, &wc, 1);
	if (wc.status)
		gs_fail("registration of key %#x: syndrome %#x", key, wc.status);
	if (wc.send_op != CX_OP_UMR || wc.wr_id != key)
		gs_fail("registration of key %#x: completion of another request", key);
}

static void fill_mkey(struct umr *u, const struct gs_mr *mr, unsigned page_shift)
{
	u->mkey.flags = access_flags(mr->access);
	u->mkey.qpn_mkey7_0 = htobe32((uint32_t)ANY_QP << 8 | (mr->key & 0xff));
	u->mkey.flags_pd = htobe32(mr->pd->pdn);
	u->mkey.start_addr = htobe64(mr->addr);
	u->mkey.len = htobe64(mr->len);
	u->mkey.log2_page_size = (uint8_t)page_shift;
}

/* The list goes over in chunks; the last request switches the key on. */
static void update_translations(struct gs_mr *mr, const uint64_t *pages, unsigned n,
				unsigned page_shift)
{
	struct gs_vm *vm = mr->vm;
	size_t all = ((size_t)n * CX_MTT_BYTES + CX_XLT_ALIGN - 1) & ~(size_t)(CX_XLT_ALIGN - 1);
	size_t room = all < MAX_CHUNK ? all : MAX_CHUNK;
	uint8_t *list = gs_ram_alloc(vm, room, 4096);
	struct umr u = {.has_data = true};

	fill_mkey(&u, mr, page_shift);
	u.ctrl.flags = CX_UMR_CHECK_NOT_FREE;
	for (size_t done = 0; done < all; done += room) {
		size_t bytes = all - done < room ? all - done : room;
		uint64_t octo = done / CX_XLT_OCTOWORD;

		memset(list, 0, bytes);
		for (size_t i = 0; i < bytes / CX_MTT_BYTES && done / CX_MTT_BYTES + i < n; i++)
			up_put_be64(list + i * CX_MTT_BYTES,
				    pages[done / CX_MTT_BYTES + i] | CX_MTT_PRESENT);
		if (done)
			u.ctrl.flags |= CX_UMR_TRANSLATION_OFFSET;
		u.ctrl.xlt_offset = htobe16(octo & 0xffff);
		u.ctrl.xlt_offset_47_16 = htobe32((uint32_t)(octo >> 16));
		u.ctrl.xlt_octowords = htobe16((uint16_t)(bytes / CX_XLT_OCTOWORD));
		u.data = (struct cx_wqe_data){.byte_count = htobe32((uint32_t)bytes),
					      .lkey = htobe32(vm->pd0->dma_key),
					      .addr = htobe64(gs_ram_gpa(vm, list))};
		if (done + bytes == all)
			u.ctrl.mkey_mask =
				htobe64(TRANSLATION_MASK | ACCESS_MASK | CX_MKEY_MASK_PD |
					CX_MKEY_MASK_KEY | CX_MKEY_MASK_FREE);
		run_on_umr_qp(vm, mr->key, &u);
	}
	gs_ram_free(vm, list, room);
}

struct gs_mr *gs_mr_register_umr(struct gs_pd *pd, void *ptr, size_t len, unsigned access)
{
	return gs_mr_register_umr_at(pd, ptr, len, (uintptr_t)ptr,
				     gs_ram_page_shift(pd->vm, ptr, len), access);
}

struct gs_mr *gs_mr_register_umr_at(struct gs_pd *pd, void *ptr, size_t len, uint64_t iova,
				    unsigned page_shift, unsigned access)
{
	unsigned n = gs_ram_pages(pd->vm, ptr, len, page_shift, NULL);
	uint64_t *pages = gs_alloc(n * sizeof(pages[0]));
	/* The driver's cache of keys belongs to its own protection domain. */
	struct gs_mr *mr = gs_mr_alloc(pd->vm->pd0, n, false);

	gs_ram_pages(pd->vm, ptr, len, page_shift, pages);
	mr->pd = pd;
	mr->addr = iova;
	mr->len = len;
	mr->access = access;
	update_translations(mr, pages, n, page_shift);
	free(pages);
	return mr;
}

void gs_mr_rereg(struct gs_mr *mr, struct gs_pd *pd, unsigned access)
{
	struct umr u = {0};

	mr->pd = pd;
	mr->access = access;
	u.ctrl.flags = CX_UMR_CHECK_FREE | CX_UMR_INLINE;
	u.ctrl.mkey_mask = htobe64(ACCESS_MASK | CX_MKEY_MASK_PD);
	u.mkey.flags = access_flags(access);
	u.mkey.qpn_mkey7_0 = htobe32((uint32_t)ANY_QP << 8 | (mr->key & 0xff));
	u.mkey.flags_pd = htobe32(pd->pdn);
	run_on_umr_qp(mr->vm, mr->key, &u);
}

void gs_mr_revoke(struct gs_mr *mr)
{
	struct umr u = {0};

	u.ctrl.flags = CX_UMR_INLINE;
	u.ctrl.mkey_mask = htobe64(CX_MKEY_MASK_PD | CX_MKEY_MASK_FREE);
	u.mkey.status = CX_MKEY_FREE;
	u.mkey.qpn_mkey7_0 = htobe32((uint32_t)ANY_QP << 8 | (mr->key & 0xff));
	u.mkey.flags_pd = htobe32(mr->vm->pd0->pdn);
	run_on_umr_qp(mr->vm, mr->key, &u);
}

/* ---- fast registration ---- */

/* set_reg_wr(): `list` has `bytes` bytes. */
static void post_reg(struct gs_qp *qp, uint64_t wr_id, struct gs_mr *mr, const uint8_t *list,
		     unsigned bytes, struct umr *u)
{
	unsigned padded = (bytes + CX_XLT_ALIGN - 1) & ~(CX_XLT_ALIGN - 1);

	u->ctrl.flags |= CX_UMR_CHECK_NOT_FREE;
	u->ctrl.xlt_octowords = htobe16((uint16_t)(padded / CX_XLT_OCTOWORD));
	u->ctrl.mkey_mask = htobe64(FAST_REG_MASK);
	u->mkey.flags = access_flags(mr->access) | CX_MKEY_UMR_EN | u->mkey.flags;
	u->mkey.qpn_mkey7_0 = htobe32((uint32_t)ANY_QP << 8 | (mr->key & 0xff));
	u->mkey.flags_pd = htobe32(CX_MKEY_REMOTE_INVAL);
	u->mkey.start_addr = htobe64(mr->addr);
	u->mkey.len = htobe64(mr->len);
	u->mkey.xlt_oct_size = htobe32(padded / CX_XLT_OCTOWORD);
	if (bytes <= INLINE_LIST_BYTES) {
		u->ctrl.flags |= CX_UMR_INLINE;
		u->inline_list = list;
		u->inline_bytes = padded;
	} else {
		if (mr->list_size < padded) {
			mr->list = gs_ram_alloc(qp->vm, padded, 4096);
			mr->list_size = padded;
		}
		memcpy(mr->list, list, bytes);
		u->has_data = true;
		u->data = (struct cx_wqe_data){.byte_count = htobe32(padded),
					       .lkey = htobe32(mr->pd->dma_key),
					       .addr = htobe64(gs_ram_gpa(qp->vm, mr->list))};
	}
	post(qp, wr_id, mr->key, u, 0);
}

void gs_post_reg(struct gs_qp *qp, uint64_t wr_id, struct gs_mr *mr, void *ptr, size_t len,
		 uint64_t iova, unsigned access)
{
	unsigned n = gs_ram_pages(qp->vm, ptr, len, 12, NULL);
	uint64_t *pages = gs_alloc(n * sizeof(pages[0]) + CX_XLT_ALIGN);
	struct umr u = {0};

	gs_ram_pages(qp->vm, ptr, len, 12, pages);
	for (unsigned i = 0; i < n; i++)
		pages[i] = htobe64(pages[i] | CX_MTT_PRESENT);
	mr->addr = iova;
	mr->len = len;
	mr->access = access;
	u.mkey.flags = CX_MKC_MODE_MTT;
	u.mkey.log2_page_size = 12;
	post_reg(qp, wr_id, mr, (const uint8_t *)pages, n * CX_MTT_BYTES, &u);
	free(pages);
}

void gs_post_reg_list(struct gs_qp *qp, uint64_t wr_id, struct gs_mr *mr,
		      const struct gs_part *parts, unsigned n, uint64_t iova, unsigned access)
{
	struct cx_klm *list = gs_alloc(n * sizeof(list[0]) + CX_XLT_ALIGN);
	struct umr u = {0};

	mr->addr = iova;
	mr->len = 0;
	mr->access = access;
	for (unsigned i = 0; i < n; i++) {
		list[i] = (struct cx_klm){.bcount = htobe32(parts[i].len),
					  .key = htobe32(parts[i].key),
					  .va = htobe64(parts[i].addr)};
		mr->len += parts[i].len;
	}
	u.mkey.flags = CX_MKC_MODE_KLMS;
	post_reg(qp, wr_id, mr, (const uint8_t *)list, n * (unsigned)sizeof(list[0]), &u);
	free(list);
}

void gs_post_local_inv(struct gs_qp *qp, uint64_t wr_id, uint32_t key)
{
	struct umr u = {0};

	u.ctrl.flags = CX_UMR_INLINE;
	u.ctrl.mkey_mask = htobe64(CX_MKEY_MASK_FREE);
	u.mkey.status = CX_MKEY_FREE;
	post(qp, wr_id, key, &u, 0);
}

/* ---- windows ---- */

/* set_umr_control_seg(), set_umr_mkey_seg(), set_umr_data_seg() of libmlx5 */
static void bind(struct gs_qp *qp, uint64_t wr_id, uint32_t old_key, uint32_t new_key, bool type2,
		 const struct gs_part *part, uint64_t len, unsigned access)
{
	uint64_t mask = CX_MKEY_MASK_FREE | CX_MKEY_MASK_KEY;
	uint8_t list[CX_XLT_ALIGN] = {0};
	struct umr u = {0};
	struct cx_klm klm;

	u.ctrl.flags = CX_UMR_TRANSLATION_OFFSET | CX_UMR_INLINE;
	if (type2)
		mask |= CX_MKEY_MASK_QPN;
	u.mkey.qpn_mkey7_0 =
		htobe32((type2 && len ? qp->qpn << 8 : 0xffffff00u) | (new_key & 0xff));
	if (len) {
		klm = (struct cx_klm){.bcount = htobe32(part->len),
				      .key = htobe32(part->key),
				      .va = htobe64(part->addr)};
		memcpy(list, &klm, sizeof(klm));
		u.inline_list = list;
		u.inline_bytes = sizeof(list);
		u.ctrl.xlt_octowords = htobe16(4);
		if (type2)
			u.ctrl.flags |= CX_UMR_CHECK_NOT_FREE;
		mask |= CX_MKEY_MASK_LEN | CX_MKEY_MASK_START_ADDR | CX_MKEY_MASK_LW |
			CX_MKEY_MASK_RR | CX_MKEY_MASK_RW | CX_MKEY_MASK_A;
		u.mkey.flags = (uint8_t)(access_flags(access) & ~CX_MKEY_LR);
		u.mkey.start_addr = htobe64(part->addr);
		u.mkey.len = htobe64(len);
	} else {
		if (type2)
			u.ctrl.flags |= CX_UMR_CHECK_QPN;
		u.mkey.status = CX_MKEY_FREE;
	}
	u.ctrl.mkey_mask = htobe64(mask);
	post(qp, wr_id, old_key, &u, 0);
}

void gs_post_bind(struct gs_qp *qp, uint64_t wr_id, struct gs_mr *mw, unsigned type,
		  const struct gs_mr *mr, uint64_t addr, uint64_t len, unsigned access)
{
	struct gs_part part = {.key = mr ? mr->key : 0, .addr = addr, .len = (uint32_t)len};
	uint32_t key = (mw->key & ~0xffu) | ((mw->key + 1) & 0xff);

	bind(qp, wr_id, mw->key, key, type == 2, &part, len, access);
	mw->key = key;
	mw->addr = addr;
	mw->len = len;
	mw->access = access;
}

void gs_post_mw_inv(struct gs_qp *qp, uint64_t wr_id, uint32_t key)
{
	struct gs_part none = {0};

	bind(qp, wr_id, key, 0, true, &none, 0, 0);
}
