/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Completion queues as libmlx5 uses them: entries are ours by the parity of their owner bit, the
 * consumer index goes into the doorbell record, arming writes the record and the UAR page.
 */
#include "gs_internal.h"

#include <stdlib.h>
#include <string.h>

static uint8_t *alloc_ring(struct gs_vm *vm, unsigned entries, unsigned cqe_size, bool scattered)
{
	size_t bytes = (size_t)entries * cqe_size;
	uint8_t *ring =
		scattered ? gs_ram_alloc_scattered(vm, bytes) : gs_ram_alloc(vm, bytes, 4096);

	/* cq_init: no entry is valid yet. */
	for (unsigned i = 0; i < entries; i++)
		ring[(i + 1) * cqe_size - 1] = CX_CQE_INVALID << CX_CQE_OPCODE_SHIFT;
	return ring;
}

struct gs_cq *gs_cq_create_attr(struct gs_vm *vm, const struct gs_cq_attr *attr)
{
	struct gs_cq *cq = gs_object_alloc(vm, sizeof(*cq));
	unsigned size = attr->cqe128 ? 128 : 64;
	size_t bytes = (size_t)attr->entries * size;
	uint8_t out[CX_OUT_BYTES], *in, *cqc;
	struct gs_buf buf;
	uint32_t len;

	cq->vm = vm;
	cq->entries = attr->entries;
	cq->cqe_size = size;
	cq->ring = alloc_ring(vm, attr->entries, size, attr->scattered);
	cq->dbr = gs_ram_alloc(vm, 8, 64);
	cq->eq = &vm->comp_eq[attr->comp_vector];
	buf = gs_buf_describe(vm, cq->ring, bytes, 63);
	len = CX_CREATE_CQ_IN_BYTES + 8 * buf.npages;
	in = gs_alloc(len);
	cqc = in + CX_CREATE_CQ_IN_CQC_AT;
	cx_set(in, CX_IN_OPCODE, CX_CMD_CREATE_CQ);
	cx_set(cqc, CX_CQC_CQE_SZ, attr->cqe128);
	cx_set(cqc, CX_CQC_OI, attr->ignore_overrun);
	cx_set(cqc, CX_CQC_PAGE_OFFSET, buf.page_offset);
	cx_set(cqc, CX_CQC_LOG_CQ_SIZE, (uint32_t)__builtin_ctz(attr->entries));
	cx_set(cqc, CX_CQC_UAR_PAGE, vm->uar);
	cx_set(cqc, CX_CQC_CQ_PERIOD, attr->period_us);
	cx_set(cqc, CX_CQC_CQ_MAX_COUNT, attr->max_count);
	cx_set(cqc, CX_CQC_EQN, cq->eq->eqn);
	cx_set(cqc, CX_CQC_LOG_PAGE_SIZE, buf.page_shift - CX_PAGE_SHIFT);
	cx_set64(cqc, CX_CQC_DBR_ADDR, gs_ram_gpa(vm, cq->dbr));
	gs_buf_finish(&buf, in + CX_CREATE_CQ_IN_PAS_AT);
	gs_cmd(vm, in, len, out, sizeof(out));
	free(in);
	cq->cqn = cx_get(out, CX_OUT_OBJECT);
	cq->next = vm->cqs;
	vm->cqs = cq;
	return cq;
}

struct gs_cq *gs_cq_create(struct gs_vm *vm, unsigned entries)
{
	return gs_cq_create_attr(vm, &(struct gs_cq_attr){.entries = entries});
}

int gs_cq_destroy(struct gs_cq *cq)
{
	int err = gs_cmd_object(cq->vm, CX_CMD_DESTROY_CQ, 0, cq->cqn);
	struct gs_cq **link = &cq->vm->cqs;

	if (err)
		return err;
	while (*link != cq)
		link = &(*link)->next;
	*link = cq->next;
	return 0;
}

struct gs_cq *gs_cq_find(struct gs_vm *vm, uint32_t cqn)
{
	struct gs_cq *cq = vm->cqs;

	while (cq && cq->cqn != cqn)
		cq = cq->next;
	return cq;
}

/* ---- polling ---- */

static struct cx_cqe64 *entry(uint8_t *ring, unsigned entries, unsigned size, uint32_t index)
{
	return (struct cx_cqe64 *)(ring + (size_t)(index & (entries - 1)) * size + size - 64);
}

/* get_sw_cqe() */
static struct cx_cqe64 *peek(struct gs_cq *cq)
{
	struct cx_cqe64 *e = entry(cq->ring, cq->entries, cq->cqe_size, cq->consumer);
	uint8_t op_own = __atomic_load_n(&e->op_own, __ATOMIC_ACQUIRE);

	if (op_own >> CX_CQE_OPCODE_SHIFT == CX_CQE_INVALID)
		return NULL;
	return (op_own & CX_CQE_OWNER) == !!(cq->consumer & cq->entries) ? e : NULL;
}

static void from_send_queue(struct gs_wc *wc, struct gs_qp *qp, uint16_t counter)
{
	unsigned block = counter & (qp->sq_blocks - 1);

	wc->wr_id = qp->sq_wr_id[block];
	/* One completion is for all requests before it, too. */
	qp->sq_done = qp->sq_next[block];
}

static void from_recv_queue(struct gs_wc *wc, struct gs_qp *qp, uint16_t counter)
{
	if (wc->srq) {
		wc->wr_id = wc->srq->wr_id[counter];
		gs_srq_release(wc->srq, counter);
		return;
	}
	if ((counter & (qp->rq_wrs - 1)) != (qp->rq_done & (qp->rq_wrs - 1)))
		gs_fail("QP %#x: receive %u completes, %u was next", qp->qpn, counter, qp->rq_done);
	wc->wr_id = qp->rq_wr_id[counter & (qp->rq_wrs - 1)];
	qp->rq_done++;
}

/* get_cur_rsc(), get_srq_ctx(): the user index is a QP's, or an XRC SRQ's. */
static void find_object(struct gs_cq *cq, struct gs_wc *wc, uint32_t uidx)
{
	void *object = uidx < GS_MAX_UIDX ? cq->vm->by_uidx[uidx] : NULL;
	struct gs_srq *srq = object;
	struct gs_qp *qp = object;

	if (!object)
		gs_fail("CQ %#x: completion for unknown user index %#x", cq->cqn, uidx);
	if (srq->is_srq) {
		wc->srq = srq;
		return;
	}
	wc->qp = qp;
	if (qp->qpn != wc->qpn)
		gs_fail("CQ %#x: user index of QP %#x, QP number %#x", cq->cqn, qp->qpn, wc->qpn);
}

static void decode_recv(struct gs_wc *wc, const struct cx_cqe64 *e)
{
	uint32_t flags = be32toh(e->flags_rqpn);

	wc->byte_len = be32toh(e->byte_cnt);
	wc->slid = be16toh(e->slid);
	wc->sl = flags >> CX_CQE_SL_SHIFT & 0xf;
	wc->src_qpn = flags & 0xffffff;
	wc->path_bits = e->ml_path & 0x7f;
	wc->grh = flags >> CX_CQE_GRH_SHIFT & 3;
	wc->pkey_index = be32toh(e->imm_inval_pkey) & 0xffff;
	wc->solicited = e->op_own & CX_CQE_SOLICITED;
}

static void decode_error(struct gs_wc *wc, const struct cx_cqe64 *e)
{
	const struct cx_err_cqe *err = (const void *)e;

	wc->status = err->syndrome;
	wc->vendor = err->vendor_err_synd;
	if (!wc->status)
		gs_fail("error completion of QP %#x without a syndrome", wc->qpn);
}

static void decode(struct gs_cq *cq, const struct cx_cqe64 *e, struct gs_wc *wc)
{
	uint32_t sop_qpn = be32toh(e->sop_drop_qpn);
	uint16_t counter = be16toh(e->wqe_counter);
	bool recv;

	memset(wc, 0, sizeof(*wc));
	wc->cqe_op = e->op_own >> CX_CQE_OPCODE_SHIFT;
	wc->qpn = sop_qpn & 0xffffff;
	wc->send_op = (uint8_t)(sop_qpn >> 24);
	wc->imm = be32toh(e->imm_inval_pkey);
	find_object(cq, wc, be32toh(e->srqn_uidx) & 0xffffff);
	switch (wc->cqe_op) {
	case CX_CQE_REQ:
	case CX_CQE_REQ_ERR:
		recv = false;
		wc->byte_len = be32toh(e->byte_cnt);
		break;
	case CX_CQE_RESP_WR_IMM:
	case CX_CQE_RESP_SEND:
	case CX_CQE_RESP_SEND_IMM:
	case CX_CQE_RESP_SEND_INV:
	case CX_CQE_RESP_ERR:
		recv = true;
		decode_recv(wc, e);
		break;
	default:
		gs_fail("CQ %#x: completion with opcode %u", cq->cqn, wc->cqe_op);
	}
	if (wc->cqe_op == CX_CQE_REQ_ERR || wc->cqe_op == CX_CQE_RESP_ERR)
		decode_error(wc, e);
	if (!recv && !wc->qp)
		gs_fail("CQ %#x: a requester's completion for an SRQ", cq->cqn);
	if (recv && wc->qp)
		wc->srq = wc->qp->srq;
	if (recv)
		from_recv_queue(wc, wc->qp, counter);
	else
		from_send_queue(wc, wc->qp, counter);
}

/* mlx5_cq_resize_copy_cqes(): what was not polled moves to the new ring, one place further on. */
static void switch_ring(struct gs_cq *cq)
{
	unsigned size = cq->cqe_size;
	uint32_t i = cq->consumer;

	for (;; i++) {
		struct cx_cqe64 *from = entry(cq->ring, cq->entries, size, i);
		struct cx_cqe64 *to = entry(cq->resize_ring, cq->resize_entries, size, i + 1);

		if (i - cq->consumer > cq->entries)
			gs_fail("CQ %#x: no resize entry in the old ring", cq->cqn);
		if (from->op_own >> CX_CQE_OPCODE_SHIFT == CX_CQE_RESIZE_CQ)
			break;
		memcpy((uint8_t *)to + 64 - size, (uint8_t *)from + 64 - size, size);
		to->op_own =
			(uint8_t)((to->op_own & ~CX_CQE_OWNER) | !!((i + 1) & cq->resize_entries));
	}
	cq->ring = cq->resize_ring;
	cq->entries = cq->resize_entries;
	cq->resize_ring = NULL;
	cq->consumer++;
}

unsigned gs_cq_poll(struct gs_cq *cq, struct gs_wc *wc, unsigned n)
{
	uint32_t before = cq->consumer;
	unsigned got = 0;

	while (got < n) {
		const struct cx_cqe64 *e = peek(cq);

		if (!e)
			break;
		decode(cq, e, &wc[got]);
		got += !(wc[got].qp && wc[got].qp->destroyed);
		cq->consumer++;
	}
	if (cq->consumer != before)
		__atomic_store_n(&cq->dbr[CX_DBR_CQ_CI], htobe32(cq->consumer & CX_CQ_CI_MASK),
				 __ATOMIC_RELEASE);
	return got;
}

void gs_cq_wait(struct gs_cq *cq, struct gs_wc *wc, unsigned n)
{
	struct gs_wait w = gs_wait_start(GS_WAIT_MS);
	unsigned got = 0;

	while (got < n) {
		unsigned more = gs_cq_poll(cq, wc + got, n - got);

		got += more;
		if (more)
			w.turns = 0;
		else if (!gs_wait_turn(&w))
			gs_fail("CQ %#x: %u of %u completions came", cq->cqn, got, n);
	}
}

bool gs_cq_try(struct gs_cq *cq, struct gs_wc *wc, unsigned ms)
{
	struct gs_wait w = gs_wait_start(ms);

	while (!gs_cq_poll(cq, wc, 1))
		if (!gs_wait_turn(&w))
			return false;
	return true;
}

struct gs_wc gs_cq_expect(struct gs_cq *cq, uint8_t status)
{
	struct gs_wc wc;

	gs_cq_wait(cq, &wc, 1);
	if (wc.status != status)
		gs_fail("CQ %#x: request %lu of QP %#x completes with %#x (vendor %#x), not %#x",
			cq->cqn, wc.wr_id, wc.qpn, wc.status, wc.vendor, status);
	return wc;
}

void gs_cq_expect_none(struct gs_cq *cq, unsigned ms)
{
	struct gs_wc wc;

	if (gs_cq_try(cq, &wc, ms))
		gs_fail("CQ %#x: unexpected completion of QP %#x: opcode %u, status %#x", cq->cqn,
			wc.qpn, wc.cqe_op, wc.status);
}

/* ---- events ---- */

/* mlx5_arm_cq() */
void gs_cq_arm(struct gs_cq *cq, bool solicited_only)
{
	uint32_t word = (uint32_t)(cq->arm_sn & CX_ARM_SN_MASK) << CX_ARM_SN_SHIFT |
			(solicited_only ? CX_ARM_SOLICITED : 0) | (cq->consumer & CX_ARM_CI_MASK);

	/* Ahead of the look at the queue that follows: a full barrier, which ThreadSanitizer knows.
	 */
	__atomic_exchange_n(&cq->dbr[CX_DBR_CQ_ARM], htobe32(word), __ATOMIC_SEQ_CST);
	gs_uar_store64(cq->vm, cq->vm->uar, CX_UAR_CQ_ARM, (uint64_t)word << 32 | cq->cqn);
}

static void collect(struct gs_vm *vm, struct gs_eq *eq)
{
	const struct cx_eqe *e;

	while ((e = gs_eq_peek(eq))) {
		struct gs_cq *cq = gs_cq_find(vm, up_get_be32(e->data + 24) & 0xffffff);

		if (e->type != CX_EVENT_COMP)
			gs_fail("event of type %#x on a completion event queue", e->type);
		if (cq) {
			cq->events++;
			cq->arm_sn++; /* mlx5_cq_event() */
		}
		gs_eq_take(vm, eq);
	}
}

static bool take_event(struct gs_cq *cq)
{
	bool found;

	pthread_mutex_lock(&cq->vm->event_lock);
	collect(cq->vm, cq->eq);
	found = cq->events > 0;
	if (found)
		cq->events--;
	pthread_mutex_unlock(&cq->vm->event_lock);
	return found;
}

bool gs_cq_wait_event(struct gs_cq *cq, unsigned ms)
{
	uint64_t end = gs_now_ns() + ms * 1000000ull;

	while (!take_event(cq)) {
		uint64_t now = gs_now_ns();
		unsigned left = now < end ? (unsigned)((end - now) / 1000000u) + 1 : 0;

		if (left && gs_eq_sleep(cq->vm, cq->eq, left))
			continue;
		if (take_event(cq))
			gs_fail("CQ %#x: an event without an interrupt", cq->cqn);
		return false;
	}
	return true;
}

/* ---- changes ---- */

int gs_cq_moderate(struct gs_cq *cq, uint16_t period_us, uint16_t max_count)
{
	uint8_t in[CX_MODIFY_CQ_IN_BYTES] = {0}, out[CX_OUT_BYTES];
	uint8_t *cqc = in + CX_MODIFY_CQ_IN_CQC_AT;

	cx_set(in, CX_IN_OPCODE, CX_CMD_MODIFY_CQ);
	cx_set(in, CX_IN_OBJECT, cq->cqn);
	cx_set(in, CX_MODIFY_CQ_IN_FIELD_SELECT, CX_MODIFY_CQ_PERIOD | CX_MODIFY_CQ_COUNT);
	cx_set(cqc, CX_CQC_CQ_PERIOD, period_us);
	cx_set(cqc, CX_CQC_CQ_MAX_COUNT, max_count);
	return gs_cmd_raw(cq->vm, in, sizeof(in), out, sizeof(out));
}

int gs_cq_resize(struct gs_cq *cq, unsigned entries)
{
	struct gs_vm *vm = cq->vm;
	uint8_t out[CX_OUT_BYTES], *in, *cqc;
	struct gs_buf buf;
	uint32_t len;
	int err;

	cq->resize_ring = alloc_ring(vm, entries, cq->cqe_size, false);
	cq->resize_entries = entries;
	buf = gs_buf_describe(vm, cq->resize_ring, (size_t)entries * cq->cqe_size, 63);
	len = CX_MODIFY_CQ_IN_BYTES + 8 * buf.npages;
	in = gs_alloc(len);
	cqc = in + CX_MODIFY_CQ_IN_CQC_AT;
	cx_set(in, CX_IN_OPCODE, CX_CMD_MODIFY_CQ);
	cx_set(in, CX_IN_OP_MOD, CX_MODIFY_CQ_OP_RESIZE);
	cx_set(in, CX_IN_OBJECT, cq->cqn);
	cx_set(in, CX_MODIFY_CQ_IN_FIELD_SELECT,
	       CX_MODIFY_CQ_RESIZE_LOG_SIZE | CX_MODIFY_CQ_RESIZE_PAGE_OFFSET |
		       CX_MODIFY_CQ_RESIZE_LOG_PAGE_SIZE);
	cx_set(cqc, CX_CQC_CQE_SZ, cq->cqe_size == 128);
	cx_set(cqc, CX_CQC_PAGE_OFFSET, buf.page_offset);
	cx_set(cqc, CX_CQC_LOG_CQ_SIZE, (uint32_t)__builtin_ctz(entries));
	cx_set(cqc, CX_CQC_LOG_PAGE_SIZE, buf.page_shift - CX_PAGE_SHIFT);
	gs_buf_finish(&buf, in + CX_MODIFY_CQ_IN_PAS_AT);
	err = gs_cmd_raw(vm, in, len, out, sizeof(out));
	free(in);
	if (!err)
		switch_ring(cq);
	cq->resize_ring = NULL;
	return err;
}
