/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The responder of connected queue pairs: what the target checks, takes and completes
 * (InfiniBand specification, volume 1, 9.7.5 acknowledgements and 9.9.3 responder errors).
 */

#include "engine/exec.h"

#include "base/hint.h"
#include "base/log.h"

#include <stdlib.h>

static struct up_wc recv_wc(const struct up_qp *resp, const struct up_srq *srq,
			    const struct up_recv_wr *rwr, enum up_wc_status status)
{
	return (struct up_wc){
		.qp = resp,
		.srq = srq,
		.status = status,
		.flags = UP_WC_RECV | (srq ? UP_WC_SRQ : 0u),
		.index = rwr->index,
	};
}

static struct up_cq *recv_cq(const struct up_qp *resp, const struct up_srq *srq)
{
	return srq && srq->xrc ? srq->cq : resp->recv_cq;
}

/* Its shared queue may go away in mid-message, and finds it by this. */
static UP_COLD void set_parked(struct up_responder *r, bool parked)
{
	if (!r->srq)
		return;
	up_lock_take(&r->srq->lock);
	if (parked)
		up_list_add_tail(&r->srq->parked, &r->parked);
	else
		up_list_del(&r->parked);
	up_lock_drop(&r->srq->lock);
}

static void drop_receive(struct up_exec *x, struct up_responder *r)
{
	if (r->rwr && (!x || r->rwr != &x->recv)) {
		set_parked(r, false);
		free(r->rwr);
	}
	r->rwr = NULL;
	r->srq = NULL;
}

/* Forgets the message under way, of which its sender may not know. */
static void cut_short(struct up_responder *r)
{
	/* 64 bits: a guest could make fewer wrap. */
	static uint64_t sessions;

	r->busy = false;
	r->session = __atomic_add_fetch(&sessions, 1, __ATOMIC_RELAXED);
}

void up_responder_reset(struct up_qp *resp)
{
	drop_receive(NULL, &resp->resp);
	cut_short(&resp->resp);
}

UP_COLD void up_responder_park(struct up_exec *x, struct up_qp *resp)
{
	struct up_responder *r = &resp->resp;
	struct up_recv_wr *own;

	if (r->rwr != &x->recv)
		return;
	own = malloc(sizeof(*own));
	if (!own) {
		struct up_wc wc = recv_wc(resp, r->srq, r->rwr, UP_WC_LOC_QP_OP_ERR);

		up_log(LOG_ERR, resp->hca->name,
		       "queue pair %u fails: no memory for the message under way", resp->qpn);
		up_complete_locked(resp, recv_cq(resp, r->srq), &wc);
		drop_receive(x, r);
		r->busy = false;
		up_qp_fail_locked(resp);
		return;
	}
	own->index = r->rwr->index;
	own->nsge = r->rwr->nsge;
	own->length = r->rwr->length;
	for (uint32_t i = 0; i < own->nsge; i++)
		own->sge[i] = r->rwr->sge[i];
	r->rwr = own;
	set_parked(r, true);
}

/* A receive that is at fault: completes it, and the QP goes to error. */
static UP_COLD void fail_receive(struct up_exec *x, struct up_qp *resp, enum up_wc_status status)
{
	struct up_responder *r = &resp->resp;

	if (r->rwr) {
		struct up_wc wc = recv_wc(resp, r->srq, r->rwr, status);

		up_complete_locked(resp, recv_cq(resp, r->srq), &wc);
	}
	drop_receive(x, r);
	r->busy = false;
	up_qp_fail_locked(resp);
}

/* Unreliable connections drop what a reliable one would refuse. */
static enum up_ack refuse(const struct up_qp *resp, enum up_ack nak)
{
	return resp->type == UP_QP_UC ? UP_ACK_OK : nak;
}

static UP_COLD enum up_ack nak_request(struct up_exec *x, struct up_qp *resp, enum up_event event,
				       enum up_ack nak)
{
	if (resp->type == UP_QP_UC) {
		/* Dropped; a receive that it took is for the next message. */
		up_responder_park(x, resp);
		resp->resp.busy = false;
		return UP_ACK_OK;
	}
	fail_receive(x, resp, UP_WC_WR_FLUSH_ERR);
	up_raise_qp(resp, event);
	return nak;
}

static UP_COLD enum up_ack bad_srq(struct up_qp *resp)
{
	up_qp_fail_locked(resp);
	return refuse(resp, UP_NAK_OP);
}

static UP_COLD enum up_ack bad_rq(struct up_qp *resp)
{
	up_qp_fail_locked(resp);
	up_raise_qp(resp, UP_EV_QP_FATAL);
	return refuse(resp, UP_NAK_OP);
}

/* The shared queue that a message goes to: the QP's own, or for XRC the one that it names. */
static struct up_srq *pick_srq(const struct up_qp *resp, const struct up_send_wr *wr, bool *bad)
{
	struct up_srq *srq;

	*bad = false;
	if (resp->type != UP_QP_XRC_TGT)
		return resp->srq;
	srq = up_table_get(&resp->hca->srqs, wr->xrc_srqn);
	if (!srq || !srq->xrc || srq->closing || srq->xrcd != resp->xrcd) {
		*bad = true;
		return NULL;
	}
	return srq;
}

/* Takes a receive for a message of `len` bytes, and checks that it can hold it. */
static enum up_ack take_receive(struct up_exec *x, struct up_qp *resp, const struct up_send_wr *wr,
				bool data)
{
	struct up_responder *r = &resp->resp;
	struct up_mr_use use;
	bool bad;
	struct up_srq *srq = pick_srq(resp, wr, &bad);
	int got;

	if (bad)
		return nak_request(x, resp, UP_EV_QP_REQUEST, UP_NAK_REQUEST);
	if (r->rwr) {
		/* Left by an unreliable message that was cut short: the next one reuses it. */
	} else if (srq) {
		got = up_srq_next(srq, &x->recv);
		if (got < 0)
			return bad_srq(resp);
		if (!got)
			return refuse(resp, UP_ACK_RNR);
		r->srq = srq;
		r->rwr = &x->recv;
	} else {
		got = resp->has_rq ? resp->hca->ops->rq_take(resp, &x->recv) : 0;
		if (got < 0)
			return bad_rq(resp);
		if (!got)
			return refuse(resp, UP_ACK_RNR);
		r->rwr = &x->recv;
	}
	r->busy = true;
	if (!data)
		return UP_ACK_OK;
	if (r->rwr->length < wr->length) {
		fail_receive(x, resp, UP_WC_LOC_LEN_ERR);
		return refuse(resp, UP_NAK_REQUEST);
	}
	use = up_local_use(resp, true);
	if (srq)
		use.pdn = srq->pdn;
	if (up_sges_check(resp->hca, &use, r->rwr->sge, r->rwr->nsge, 0, wr->length, &x->there)) {
		fail_receive(x, resp, UP_WC_LOC_PROT_ERR);
		return refuse(resp, UP_NAK_OP);
	}
	return UP_ACK_OK;
}

static uint32_t remote_access(enum up_opcode op)
{
	if (up_op_is_write(op))
		return UP_ACCESS_REMOTE_WRITE;
	return op == UP_OP_READ ? UP_ACCESS_REMOTE_READ : UP_ACCESS_REMOTE_ATOMIC;
}

/*
 * How a one-sided request may use memory here. An XRC target belongs to no process of its own: the
 * memory is that of the process whose SRQ the request names, in the SRQ's protection domain
 * (annex A14). False: it names none.
 */
static bool remote_use(const struct up_qp *resp, const struct up_send_wr *wr, struct up_mr_use *use)
{
	bool bad;
	struct up_srq *srq = pick_srq(resp, wr, &bad);

	*use = (struct up_mr_use){
		.pdn = resp->type == UP_QP_XRC_TGT && srq ? srq->pdn : resp->pdn,
		.qpn = resp->qpn,
		.access = remote_access(wr->op),
	};
	return !bad;
}

/*
 * May this peer do that here? A request of no bytes names no memory: its key is ignored. *first is
 * where the memory begins, or of no bytes. What is refused has an answer and, apart from that, an
 * event: an atomic that is not aligned is an invalid request to its sender, and at home a violation
 * of access (11.6.3).
 */
static bool may_access(const struct up_qp *resp, const struct up_send_wr *wr, struct up_span *first,
		       enum up_ack *nak, enum up_event *event)
{
	uint64_t len = up_op_length(wr);
	struct up_mr_use use;

	*nak = UP_NAK_REQUEST;
	*event = UP_EV_QP_REQUEST;
	first->len = 0;
	if (!remote_use(resp, wr, &use) || !(resp->attr.access & use.access))
		return false;
	*event = UP_EV_QP_ACCESS;
	if (!up_op_is_write(wr->op) && !resp->attr.max_dest_rd_atomic)
		return false;
	if (up_op_is_atomic(wr->op) && wr->raddr % 8)
		return false;
	*nak = UP_NAK_ACCESS;
	return !len || !up_mr_resolve(resp->hca, wr->rkey, &use, wr->raddr, len, first);
}

static void establish(struct up_qp *resp)
{
	if (resp->resp.established)
		return;
	resp->resp.established = true;
	if (up_qp_state_get(resp) == UP_QPS_RTR)
		up_raise_qp(resp, UP_EV_COMM_EST);
}

enum up_ack up_responder_begin(struct up_exec *x, struct up_qp *resp, const struct up_send_wr *wr)
{
	struct up_responder *r = &resp->resp;
	enum up_event event;
	enum up_ack nak;

	if (r->busy) {
		/* A message of an earlier connection never ended. */
		if (resp->type != UP_QP_UC)
			return UP_ACK_NONE;
		cut_short(r);
	}
	establish(resp);
	if (up_op_is_send(wr->op))
		return take_receive(x, resp, wr, true);
	if (!may_access(resp, wr, &x->there, &nak, &event))
		return nak_request(x, resp, event, nak);
	if (wr->op == UP_OP_WRITE_IMM)
		return take_receive(x, resp, wr, false);
	r->busy = true;
	return UP_ACK_OK;
}

static enum up_ack move_atomic(struct up_exec *x, struct up_qp *resp, const struct up_qp *req,
			       struct up_send_wr *wr, bool *local)
{
	struct up_cursor dst, src;
	struct up_mr_use use;
	struct up_span span;
	uint64_t old;

	if (!remote_use(resp, wr, &use) ||
	    up_mr_span(resp->hca, wr->rkey, &use, wr->raddr, 8, &span) || span.len < 8 ||
	    (uintptr_t)span.ptr % 8)
		return nak_request(x, resp, UP_EV_QP_ACCESS, UP_NAK_ACCESS);
	old = up_atomic_apply((uint64_t *)(void *)span.ptr, wr);
	up_cursor_flat(&src, &old);
	up_cursor_request(&dst, req, wr, true, 0);
	*local = up_transfer_all(x, &dst, &src, sizeof(old)) != UP_TRANSFER_OK;
	x->cost += span.steps * UP_LOOK_COST;
	return UP_ACK_OK;
}

/* Memory that was checked in the first turn may have been revoked before a later one. */
static UP_COLD enum up_ack late_fault(struct up_exec *x, struct up_qp *resp, enum up_opcode op)
{
	if (!up_op_is_send(op))
		return nak_request(x, resp, UP_EV_QP_ACCESS, UP_NAK_ACCESS);
	fail_receive(x, resp, UP_WC_LOC_PROT_ERR);
	return refuse(resp, UP_NAK_OP);
}

enum up_ack up_responder_move(struct up_exec *x, struct up_qp *resp, const struct up_qp *req,
			      struct up_send_wr *wr, uint64_t done, uint64_t *n, bool *local)
{
	bool read = wr->op == UP_OP_READ;
	struct up_sge remote = {.addr = wr->raddr, .key = wr->rkey};
	struct up_responder *r = &resp->resp;
	struct up_cursor here, there;
	enum up_transfer result;
	struct up_mr_use use;

	*local = false;
	if (up_op_is_atomic(wr->op))
		return move_atomic(x, resp, req, wr, local);
	if (!*n)
		return UP_ACK_OK;
	up_cursor_request(&here, req, wr, read, done);
	if (up_op_is_send(wr->op)) {
		use = up_local_use(resp, true);
		if (r->srq)
			use.pdn = r->srq->pdn;
		up_cursor_sges(&there, resp->hca, &use, r->rwr->sge, r->rwr->nsge, done);
	} else {
		/* Its SRQ may have gone since an earlier turn. */
		if (!remote_use(resp, wr, &use))
			return late_fault(x, resp, wr->op);
		remote.len = (uint32_t)wr->length;
		up_cursor_sges(&there, resp->hca, &use, &remote, 1, done);
	}
	if (read)
		result = up_transfer(x, &here, &there, n, wr->length);
	else
		result = up_transfer(x, &there, &here, n, wr->length);
	if (result == UP_TRANSFER_OK)
		return UP_ACK_OK;
	*local = (result == UP_TRANSFER_DST) == read;
	return *local ? UP_ACK_OK : late_fault(x, resp, wr->op);
}

/* Data that arrived: at the responder, or for reads and atomics at the requester. */
static void count_received(struct up_hca *hca, const struct up_send_wr *wr)
{
	up_stat_add(&hca->stats.rx_messages, 1);
	up_stat_add(&hca->stats.rx_bytes, up_op_length(wr));
}

/* The message's receive; false when its completion queue cannot take it. */
static bool complete_receive(struct up_qp *resp, const struct up_qp *req,
			     const struct up_send_wr *wr)
{
	const struct up_responder *r = &resp->resp;
	struct up_wc wc = recv_wc(resp, r->srq, r->rwr, UP_WC_SUCCESS);

	wc.op = wr->op;
	wc.byte_len = (uint32_t)wr->length;
	wc.imm = wr->imm;
	wc.src_qpn = req->qpn;
	wc.slid = req->hca->lid;
	wc.sl = req->attr.av.sl;
	if (wr->flags & UP_WR_SOLICITED)
		wc.flags |= UP_WC_SOLICITED_EVENT;
	return up_complete_locked(resp, recv_cq(resp, r->srq), &wc);
}

enum up_ack up_responder_end(struct up_exec *x, struct up_qp *resp, const struct up_qp *req,
			     const struct up_send_wr *wr)
{
	struct up_responder *r = &resp->resp;
	bool told = true;

	if (wr->op == UP_OP_SEND_INV) {
		struct up_mr_use use = {.pdn = resp->pdn, .qpn = resp->qpn};

		if (resp->type == UP_QP_XRC_TGT && r->srq)
			use.pdn = r->srq->pdn;
		if (up_mr_invalidate(resp->hca, wr->imm, &use, true)) {
			fail_receive(x, resp, UP_WC_LOC_ACCESS_ERR);
			return UP_NAK_ACCESS;
		}
	}
	/* A plain write takes no receive: this one was left by a message that was cut short. */
	if (r->rwr && wr->op != UP_OP_WRITE) {
		told = complete_receive(resp, req, wr);
		drop_receive(x, r);
	}
	r->busy = false;
	if (!told)
		return refuse(resp, UP_NAK_OP);
	up_stat_add(&resp->stats.received, 1);
	count_received(up_op_is_send(wr->op) || up_op_is_write(wr->op) ? resp->hca : req->hca, wr);
	return UP_ACK_OK;
}

UP_COLD bool up_responder_flush(struct up_exec *x, struct up_qp *qp, uint32_t *messages)
{
	struct up_responder *r = &qp->resp;
	bool more = false;
	struct up_wc wc;

	up_lock_take(&qp->resp_lock);
	if (r->rwr) {
		wc = recv_wc(qp, r->srq, r->rwr, UP_WC_WR_FLUSH_ERR);
		up_complete_locked(qp, recv_cq(qp, r->srq), &wc);
	}
	drop_receive(x, r);
	if (r->busy)
		cut_short(r);
	while (qp->has_rq && !qp->srq) {
		if (!*messages) {
			more = true;
			break;
		}
		if (qp->hca->ops->rq_take(qp, &x->recv) <= 0)
			break;
		wc = recv_wc(qp, NULL, &x->recv, UP_WC_WR_FLUSH_ERR);
		up_complete_locked(qp, qp->recv_cq, &wc);
		--*messages;
	}
	if (qp->srq && !qp->last_wqe) {
		qp->last_wqe = true;
		up_raise_qp(qp, UP_EV_LAST_WQE);
	}
	up_lock_drop(&qp->resp_lock);
	return more;
}
