/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Registration by work request (MLX5_OPCODE_UMR): fast registration and invalidation of the
 * kernel, its cache of regions, and memory windows. The request names a key, the fields of it that
 * change, and a list of translations to write.
 *
 * Who may do what. The key must have been created for it (umr_en). A list of pages gives access to
 * any memory of the VM, so that only the kernel's queue pairs (qpc.fre) may change such a key; a
 * process changes lists of pieces (memory windows), each of which names a key of its own that is
 * checked at every access. A key of another protection domain, or the domain itself, is changed by
 * the kernel's registration queue alone (service type REG_UMR).
 *
 * The caller holds mr_lock for writing.
 */
#include "device/connectx/connectx.h"

#include "base/bytes.h"
#include "device/connectx/abi.h"
#include "device/connectx/abi_queue.h"

#define CHUNK_BYTES 2048u

/* What writing an entry costs, in bytes that could be copied meanwhile. */
#define ENTRY_COST 32
/*
 * Stretches that a list may lie in, and with them the steps of searches through the lists that
 * lead there (less than a millisecond). Drivers have theirs in whole pages.
 */
#define MAX_SPANS 1024
#define MAX_LOOKS 8192
/*
 * Pieces that a process may bind in one request: each names a key that is looked up, which took
 * 13 ms for a list of 65,000 keys. Libraries bind one, or as many as lie in the request itself.
 */
#define MAX_BOUND 4096

/*
 * An entry has bits for its rights, so that of 0 is none. This is where no VM has memory, also
 * after the largest offset into a page is added.
 */
#define NO_PAGE (1ull << 63)

struct umr {
	struct up_hca *hca;
	const struct cx_qp *qp;
	struct up_mr *mr;
	struct cx_wqe_umr_ctrl ctrl;
	struct cx_mkey_seg seg;
	uint64_t mask;
	uint32_t key;	     /* that it names */
	const uint8_t *list; /* what follows in the element: entries, or where they are */
	uint32_t list_bytes;
	uint32_t first, count; /* the entries to write */
	uint32_t spans, looks; /* so far: stretches of memory, and what it took to find them */
	bool resized;	       /* all pieces got another size */
};

static bool is_registrar(const struct cx_qp *qp)
{
	return qp->service_type == CX_QPST_REG_UMR;
}

static bool is_kernels(const struct cx_qp *qp)
{
	return qp->fre || is_registrar(qp);
}

static bool parse(struct umr *u, struct cx_qp *qp, const struct up_send_wr *wr)
{
	uint32_t fixed = sizeof(u->ctrl) + sizeof(u->seg);

	if (wr->raw_len < fixed)
		return false;
	memcpy(&u->ctrl, wr->data, sizeof(u->ctrl));
	memcpy(&u->seg, wr->data + sizeof(u->ctrl), sizeof(u->seg));
	u->hca = qp->base.hca;
	u->qp = qp;
	u->mask = be64toh(u->ctrl.mkey_mask);
	u->list = wr->data + fixed;
	u->list_bytes = wr->raw_len - fixed;
	u->key = wr->imm;
	u->mr = up_table_get(&u->hca->mrs, u->key >> 8);
	return true;
}

static uint32_t seg_pd(const struct umr *u)
{
	return be32toh(u->seg.flags_pd) & CX_MKEY_PD_MASK;
}

static uint32_t seg_qpn(const struct umr *u)
{
	return be32toh(u->seg.qpn_mkey7_0) >> 8;
}

static bool is_permitted(const struct umr *u)
{
	const struct up_mr *mr = u->mr;

	if (!mr || !mr->registrable)
		return false;
	if (is_registrar(u->qp))
		return true;
	if (mr->pdn != u->qp->base.pdn)
		return false;
	if ((u->mask & CX_MKEY_MASK_PD) && seg_pd(u) != mr->pdn)
		return false;
	if (u->qp->fre)
		return true;
	if ((u->mask & CX_MKEY_MASK_QPN) && seg_qpn(u) != u->qp->base.qpn &&
	    seg_qpn(u) != UP_MR_ANY_QP)
		return false;
	return mr->kind == UP_MR_LIST;
}

/*
 * Registrations and binds name the key as it will be, with the variant that they give it: only the
 * index counts. What revokes a key names it as it is: local invalidation of a region changes no
 * variant, that of a window looks at its QP (set_umr_control_seg() of rdma-core), which a bind of
 * no bytes, that revokes a window of type 1, does not.
 */
static bool is_named(const struct umr *u)
{
	bool revokes = (u->mask & CX_MKEY_MASK_FREE) && (u->seg.status & CX_MKEY_FREE);
	bool renames = (u->mask & CX_MKEY_MASK_KEY) && !(u->ctrl.flags & CX_UMR_CHECK_QPN);

	return !revokes || renames || u->key == u->mr->key;
}

/* What the request expects the key to be like now. */
static bool is_expected(const struct umr *u)
{
	const struct up_mr *mr = u->mr;

	if (!is_named(u))
		return false;
	if ((u->ctrl.flags & CX_UMR_CHECK_NOT_FREE) && mr->valid)
		return false;
	if ((u->ctrl.flags & CX_UMR_CHECK_FREE) && !mr->valid)
		return false;
	/* Libraries invalidate with it keys that are for any queue pair, too, not only windows. */
	return !(u->ctrl.flags & CX_UMR_CHECK_QPN) || mr->qpn == u->qp->base.qpn ||
	       (mr->valid && mr->qpn == UP_MR_ANY_QP);
}

static uint32_t page_shift(const struct umr *u)
{
	return u->seg.log2_page_size & 31;
}

static bool is_valid_change(const struct umr *u)
{
	if ((u->mask & CX_MKEY_MASK_PAGE_SIZE) && u->mr->kind == UP_MR_PAGES &&
	    page_shift(u) < CX_PAGE_SHIFT)
		return false;
	/* Signatures are not claimed. */
	if ((u->mask & CX_MKEY_MASK_BSF_EN) && (u->seg.flags_pd & htobe32(CX_MKEY_BSF_EN)))
		return false;
	return (u->ctrl.flags & CX_UMR_TRANSLATION_OFFSET) || !u->ctrl.xlt_offset;
}

/*
 * Which entries are written. Drivers write them 64 bytes at a time, so the last ones may lie
 * behind the end of a table that is smaller: those are left out.
 */
static bool place_entries(struct umr *u)
{
	uint32_t size = cx_mkey_entry_bytes(u->mr), unit = CX_XLT_ALIGN / size;
	uint64_t room = u->mr->capacity, count, first = 0;

	count = be16toh(u->ctrl.xlt_octowords) * CX_XLT_OCTOWORD / size;
	if (u->ctrl.flags & CX_UMR_TRANSLATION_OFFSET)
		first = (uint64_t)be32toh(u->ctrl.xlt_offset_47_16) << 16 |
			be16toh(u->ctrl.xlt_offset);
	first = first * CX_XLT_OCTOWORD / size;
	if (!count)
		return true;
	if (u->mr->kind == UP_MR_PHYS)
		return false;
	if (first + count > (room + unit - 1) / unit * unit)
		return false;
	if (count > MAX_BOUND && !is_kernels(u->qp))
		return false;
	u->first = (uint32_t)first;
	u->count = (uint32_t)(first >= room ? 0 : count > room - first ? room - first : count);
	return true;
}

/* Copies what a data segment points to, in the QP's own domain. */
static bool read_local(struct umr *u, uint32_t key, uint64_t addr, uint8_t *to, uint32_t len)
{
	struct up_mr_use use = {
		.pdn = u->qp->base.pdn,
		.qpn = u->qp->base.qpn,
		.access = UP_ACCESS_LOCAL_READ,
		.privileged = u->qp->base.privileged,
	};
	struct up_span span;

	while (len) {
		if (u->spans++ == MAX_SPANS || u->looks >= MAX_LOOKS ||
		    up_mr_span(u->hca, key, &use, addr, len, &span))
			return false;
		u->looks += 1 + span.steps;
		memcpy(to, span.ptr, span.len);
		to += span.len;
		addr += span.len;
		len -= (uint32_t)span.len;
	}
	return true;
}

/*
 * A process binds a window: what it refers to must be its own, and allow what the window allows
 * (10.6.7.2 of the specification), here for `len` bytes from where a new piece begins.
 */
static bool may_bind(const struct umr *u, const struct up_mr_piece *piece, uint64_t len)
{
	uint32_t writes = CX_MKEY_LW | CX_MKEY_RW | CX_MKEY_A;
	struct up_mr_use use = {
		.pdn = u->qp->base.pdn,
		.qpn = u->qp->base.qpn,
		.access = UP_ACCESS_LOCAL_READ,
	};

	if (!len)
		return true;
	if (u->seg.flags & writes)
		use.access |= UP_ACCESS_LOCAL_WRITE;
	return !up_mr_check(u->hca, piece->key, &use, piece->addr, len);
}

/* Only the new pieces are looked at. */
static bool is_bindable(const struct umr *u, const uint8_t *from, uint32_t n)
{
	if (is_kernels(u->qp))
		return true;
	for (uint32_t i = 0; i < n; i++) {
		struct up_mr_piece piece = cx_mkey_piece(u->mr, from + i * sizeof(struct cx_klm));

		if (!may_bind(u, &piece, piece.len))
			return false;
	}
	return true;
}

/* On failure u->count is how many were written all the same. */
static enum up_wc_status update_by_reference(struct umr *u)
{
	uint32_t size = cx_mkey_entry_bytes(u->mr), asked = u->count;
	const struct cx_wqe_data *data = (const void *)u->list;
	uint8_t chunk[CHUNK_BYTES];
	uint64_t addr;

	u->count = 0;
	if (u->list_bytes < sizeof(*data) || be32toh(data->byte_count) / size < asked)
		return UP_WC_LOC_QP_OP_ERR;
	addr = be64toh(data->addr);
	while (u->count < asked) {
		uint32_t left = asked - u->count;
		uint32_t n = left < CHUNK_BYTES / size ? left : CHUNK_BYTES / size;

		if (!read_local(u, be32toh(data->lkey), addr, chunk, n * size))
			return UP_WC_LOC_PROT_ERR;
		if (!is_bindable(u, chunk, n))
			return UP_WC_MW_BIND_ERR;
		cx_mkey_write_entries(u->mr, u->first + u->count, chunk, n, NO_PAGE);
		u->count += n;
		addr += n * size;
	}
	return UP_WC_SUCCESS;
}

static bool is_interleaved(const struct umr *u)
{
	struct cx_klm_repeat head;

	if (u->mr->kind != UP_MR_LIST || u->mr->equal || !(u->ctrl.flags & CX_UMR_INLINE) ||
	    u->first || u->list_bytes < sizeof(head))
		return false;
	memcpy(&head, u->list, sizeof(head));
	return head.op == htobe32(CX_KLM_REPEAT);
}

static struct up_mr_piece strided_piece(const uint8_t *from)
{
	struct cx_klm_strided entry;

	memcpy(&entry, from, sizeof(entry));
	return (struct up_mr_piece){
		.addr = be64toh(entry.va),
		.len = be16toh(entry.bcount),
		.key = be32toh(entry.key),
		.stride = be16toh(entry.stride),
	};
}

/* All rounds of a piece. */
static uint64_t reach(const struct up_mr_piece *piece, uint32_t rounds)
{
	return piece->len ? (uint64_t)(rounds - 1) * piece->stride + piece->len : 0;
}

/* An interleaved list, in place of what the key had. */
static enum up_wc_status interleave(struct umr *u)
{
	struct cx_klm_repeat head;
	uint32_t n, rounds;

	memcpy(&head, u->list, sizeof(head));
	n = be16toh(head.count);
	rounds = be32toh(head.rounds);
	if (!n || !rounds || n >= u->count || u->list_bytes / sizeof(head) <= n)
		return UP_WC_LOC_QP_OP_ERR;
	for (uint32_t i = 0; i < n; i++) {
		struct up_mr_piece piece = strided_piece(u->list + (i + 1) * sizeof(head));

		if (!is_kernels(u->qp) && !may_bind(u, &piece, reach(&piece, rounds)))
			return UP_WC_MW_BIND_ERR;
	}
	for (uint32_t i = 0; i < n; i++)
		u->mr->pieces[i] = strided_piece(u->list + (i + 1) * sizeof(head));
	u->mr->count = n;
	u->mr->rounds = rounds;
	up_mr_seal_list(u->mr);
	return UP_WC_SUCCESS;
}

/* New entries are written, and checked, with the size that the pieces will have. */
static void resize_pieces(struct umr *u)
{
	struct up_mr *mr = u->mr;

	if (!mr->equal || !(u->mask & CX_MKEY_MASK_PAGE_SIZE))
		return;
	mr->page_shift = (uint8_t)page_shift(u);
	for (uint32_t i = 0; i < mr->count; i++)
		mr->pieces[i].len = 1ull << mr->page_shift;
	up_mr_seal_list(mr);
	u->resized = true;
}

static enum up_wc_status update_entries(struct umr *u)
{
	struct up_mr *mr = u->mr;
	enum up_wc_status status = UP_WC_SUCCESS;
	uint32_t end;

	if (!u->count)
		return UP_WC_SUCCESS;
	if (up_mr_make_table(mr))
		return UP_WC_MW_BIND_ERR;
	if (is_interleaved(u))
		return interleave(u);
	if (u->ctrl.flags & CX_UMR_INLINE) {
		if (u->list_bytes / cx_mkey_entry_bytes(mr) < u->count)
			return UP_WC_LOC_QP_OP_ERR;
		if (!is_bindable(u, u->list, u->count))
			return UP_WC_MW_BIND_ERR;
		cx_mkey_write_entries(mr, u->first, u->list, u->count, NO_PAGE);
	} else {
		status = update_by_reference(u);
		if (!u->count)
			return status;
		/* Half of the list is new: it is used no more until all of it is right. */
		if (status != UP_WC_SUCCESS)
			mr->valid = false;
	}
	end = u->first + u->count;
	if (!(u->ctrl.flags & CX_UMR_TRANSLATION_OFFSET) || end > mr->count)
		mr->count = end;
	mr->rounds = 0;
	/* This cannot overflow: the lengths have 32 bits. */
	if (mr->kind == UP_MR_LIST)
		up_mr_seal_list(mr);
	return status;
}

static void update_fields(struct umr *u)
{
	struct up_mr *mr = u->mr;
	uint32_t flags_pd = be32toh(u->seg.flags_pd);

	if (u->mask & CX_MKEY_MASK_LEN) {
		mr->length = be64toh(u->seg.len);
		mr->absolute = flags_pd & CX_MKEY_LENGTH64;
	}
	if (u->mask & CX_MKEY_MASK_PAGE_SIZE)
		mr->page_shift = (uint8_t)page_shift(u);
	if (u->mask & CX_MKEY_MASK_START_ADDR)
		mr->start = be64toh(u->seg.start_addr);
	if (u->mask & CX_MKEY_MASK_PD)
		mr->pdn = seg_pd(u);
	if (u->mask & CX_MKEY_MASK_EN_RINVAL)
		mr->remote_inv = flags_pd & CX_MKEY_REMOTE_INVAL;
	if (u->mask & CX_MKEY_MASK_QPN)
		mr->qpn = seg_qpn(u);
	if (u->mask & CX_MKEY_MASK_KEY)
		mr->key = (mr->key & ~0xffu) | (be32toh(u->seg.qpn_mkey7_0) & 0xff);
	cx_mkey_set_access(mr, u->seg.flags, u->mask);
	if (u->mask & CX_MKEY_MASK_FREE)
		mr->valid = !(u->seg.status & CX_MKEY_FREE);
}

/* The offsets of a list's pieces are computed anew whenever one changes. */
static uint64_t cost(const struct umr *u)
{
	uint64_t entries = u->count;

	if ((entries || u->resized) && u->mr->kind == UP_MR_LIST)
		entries += u->mr->count;
	return entries * ENTRY_COST + u->looks * UP_LOOK_COST;
}

enum up_wc_status cx_exec_local(struct up_qp *base, struct up_send_wr *wr)
{
	struct umr u = {0};
	enum up_wc_status status;

	if (!parse(&u, cx_qp(base), wr))
		return UP_WC_LOC_QP_OP_ERR;
	if (!is_permitted(&u) || !is_expected(&u) || !is_valid_change(&u) || !place_entries(&u))
		return UP_WC_MW_BIND_ERR;
	resize_pieces(&u);
	status = update_entries(&u);
	if (status == UP_WC_SUCCESS)
		update_fields(&u);
	else if (u.resized)
		u.mr->valid = false;
	wr->cost = cost(&u);
	return status;
}
