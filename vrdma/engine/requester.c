/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The requester: takes send work requests in order, carries each out against its responder, a
 * bounded part in a turn, and completes it. Requests of one queue never overlap, so the fence and
 * the limits on outstanding READs and atomics hold by themselves.
 */

#include "engine/exec.h"

#include "base/clock.h"
#include "base/hint.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

/* Copies shorter than this do not hide the fetching of a line. */
#define PREFETCH_MIN 4096

/* What one turn at a request came to. */
enum turn {
	TURN_DONE, /* completed, with whatever status */
	TURN_MORE, /* the copy budget is used up */
	TURN_WAIT,
};

struct up_exec *up_exec_create(void)
{
	struct up_exec *x = calloc(1, sizeof(*x));

	if (x && !(x->send = malloc(sizeof(*x->send)))) {
		free(x);
		return NULL;
	}
	return x;
}

void up_exec_destroy(struct up_exec *x)
{
	free(x->send);
	free(x);
}

/* 9.7.5.2.8: the responder's code for how long a requester waits after a receiver-not-ready. */
static uint64_t rnr_timer_ns(uint8_t code)
{
	static const uint32_t us_times_ten[32] = {
		6553600, 100,	 200,	 300,	  400,	   600,	    800,     1200,
		1600,	 2400,	 3200,	 4800,	  6400,	   9600,    12800,   19200,
		25600,	 38400,	 51200,	 76800,	  102400,  153600,  204800,  307200,
		409600,	 614400, 819200, 1228800, 1638400, 2457600, 3276800, 4915200};

	return us_times_ten[code & 31] * 100ull;
}

/*
 * The local ACK time-out (9.7.6.1.3) is a lower bound. A virtual machine may lose its CPU for a
 * while, so the shortest codes are raised to a millisecond.
 */
static uint64_t ack_timeout_ns(uint8_t code)
{
	uint64_t ns = 4096ull << (code & 31);

	return ns < UP_MSEC ? UP_MSEC : ns;
}

static void forget_request(struct up_qp *qp)
{
	free(qp->wr);
	qp->wr = NULL;
	qp->done = 0;
	qp->started = qp->broken = false;
	qp->wait = UP_WAIT_NONE;
}

void up_requester_reset(struct up_qp *qp)
{
	forget_request(qp);
	qp->peer = NULL;
	qp->drained = qp->last_wqe = false;
}

static void complete(struct up_qp *qp, const struct up_send_wr *wr, enum up_wc_status status)
{
	struct up_wc wc = {
		.qp = qp,
		.status = status,
		.op = wr->op,
		.raw_op = wr->raw_op,
		.index = wr->index,
	};

	if (status == UP_WC_SUCCESS && !(wr->flags & UP_WR_SIGNALED) && !qp->signal_all)
		return;
	if (wr->op == UP_OP_READ || up_op_is_atomic(wr->op))
		wc.byte_len = (uint32_t)up_op_length(wr);
	up_complete(qp, qp->send_cq, &wc);
}

/* 10.3.1: a send error stops an unreliable queue's send side only. */
static UP_COLD void stop_queue(struct up_qp *qp)
{
	if (qp->type != UP_QP_UD && qp->type != UP_QP_UC) {
		up_qp_fail(qp);
		return;
	}
	up_lock_take(&qp->resp_lock);
	if (up_qp_state_get(qp) != UP_QPS_ERR)
		__atomic_store_n(&qp->state, UP_QPS_SQE, __ATOMIC_RELEASE);
	up_stat_add(&qp->stats.errors, 1);
	up_stat_add(&qp->hca->stats.errors, 1);
	up_lock_drop(&qp->resp_lock);
}

static enum turn finish(struct up_qp *qp, struct up_send_wr *wr, enum up_wc_status status)
{
	uint64_t len = up_op_length(wr);

	if (status == UP_WC_SUCCESS) {
		up_stat_add(&qp->stats.messages, 1);
		up_stat_add(&qp->stats.bytes, len);
		up_stat_add(&qp->hca->stats.messages, 1);
		up_stat_add(&qp->hca->stats.bytes, len);
		complete(qp, wr, status);
	} else {
		/* The state first: a guest that saw the error may look at it. */
		stop_queue(qp);
		complete(qp, wr, status);
	}
	qp->hca->ops->sq_advance(qp, wr);
	return TURN_DONE;
}

/* The two kinds of timers differ in length, count and status only. */
static UP_COLD enum turn wait_for(struct up_exec *x, struct up_qp *qp, struct up_send_wr *wr,
				  enum up_wait why, uint64_t timer, uint8_t tries)
{
	bool rnr = why == UP_WAIT_RNR;
	uint8_t *left = rnr ? &qp->rnr_left : &qp->retry_left;
	uint64_t step;

	if (qp->wait != why) {
		qp->wait = why;
		/* The peer has answered that it is not ready: the next try is a retry. */
		*left = rnr && tries != 7 ? (uint8_t)(tries - 1) : tries;
		/* The turn may have begun long ago: no timer may end too soon for that. */
		x->now = qp->hca->net->clock();
		qp->wait_since = x->now;
		qp->wait_until = x->now + timer;
		if (rnr) {
			up_stat_add(&qp->stats.rnr, 1);
			up_stat_add(&qp->hca->stats.rnr, 1);
		}
		if (rnr && !tries)
			return finish(qp, wr, UP_WC_RNR_RETRY_EXC_ERR);
	} else if (timer && x->now >= qp->wait_until) {
		if (!*left)
			return finish(qp, wr, rnr ? UP_WC_RNR_RETRY_EXC_ERR : UP_WC_RETRY_EXC_ERR);
		if (!rnr || *left != 7)
			--*left;
		qp->wait_until = x->now + timer;
	}
	/*
	 * The timer bounds the tries. In between the other end is looked at more often than a wire
	 * would allow, ever less so: it costs a few loads, and spares the guest the timer.
	 */
	step = (x->now - qp->wait_since) / 4;
	step = step < 2 * UP_USEC ? 2 * UP_USEC : step > UP_MSEC ? UP_MSEC : step;
	qp->wait_next = x->now + step;
	if (timer && qp->wait_until < qp->wait_next)
		qp->wait_next = qp->wait_until;
	return TURN_WAIT;
}

static UP_COLD enum turn wait_rnr(struct up_exec *x, struct up_qp *qp, struct up_send_wr *wr,
				  const struct up_qp *peer)
{
	return wait_for(x, qp, wr, UP_WAIT_RNR, rnr_timer_ns(peer->attr.min_rnr_timer),
			qp->attr.rnr_retry);
}

static UP_COLD enum turn wait_peer(struct up_exec *x, struct up_qp *qp, struct up_send_wr *wr)
{
	uint64_t timer = qp->attr.ack_timeout ? ack_timeout_ns(qp->attr.ack_timeout) : 0;

	/* Nobody acknowledges on an unreliable connection: the message is lost, and that is all. */
	if (qp->type == UP_QP_UC)
		return finish(qp, wr, UP_WC_SUCCESS);
	return wait_for(x, qp, wr, UP_WAIT_PEER, timer, qp->attr.retry_count);
}

static bool types_match(enum up_qp_type req, enum up_qp_type resp)
{
	return req == UP_QP_XRC_INI ? resp == UP_QP_XRC_TGT : req == resp;
}

static bool answers(const struct up_qp *peer)
{
	enum up_qp_state s = up_qp_state_get(peer);

	return s == UP_QPS_RTR || s == UP_QPS_RTS || s == UP_QPS_SQD || s == UP_QPS_SQE;
}

/*
 * The QP at the other end, if it is there and connected to this one. The search is repeated only
 * after the epoch says that something came, went, or changed its attributes.
 */
static struct up_qp *find_peer(struct up_qp *qp)
{
	struct up_hca *hca;
	struct up_qp *peer;

	if (qp->peer_epoch == up_route_epoch)
		return qp->peer;
	qp->peer = NULL;
	qp->peer_epoch = up_route_epoch;
	hca = qp->hca->net->route(qp->hca, &qp->attr.av);
	if (!hca || !hca->alive)
		return NULL;
	peer = up_table_get(&hca->qps, qp->attr.remote_qpn);
	if (!peer || !types_match(qp->type, peer->type) || peer->attr.remote_qpn != qp->qpn ||
	    hca->net->route(hca, &peer->attr.av) != qp->hca)
		return NULL;
	qp->peer = peer;
	return peer;
}

/*
 * Takes the keys of both ends, in the order of their addresses, the responder's for writing when
 * the message revokes one.
 */
static void lock_keys(struct up_hca *req, struct up_hca *resp, bool revoke)
{
	struct up_hca *first = req < resp ? req : resp;
	struct up_hca *second = req < resp ? resp : req;

	if (!up_multi_worker)
		return;
	for (int i = 0; i < 2; i++) {
		struct up_hca *h = i ? second : first;

		if (i && first == second)
			break;
		if (revoke && h == resp)
			up_rwlock_write(&h->mr_lock);
		else
			up_rwlock_read(&h->mr_lock);
	}
}

static void unlock_keys(struct up_hca *req, struct up_hca *resp)
{
	if (!up_multi_worker)
		return;
	up_rwlock_drop(&req->mr_lock);
	if (resp != req)
		up_rwlock_drop(&resp->mr_lock);
}

static UP_COLD enum up_wc_status nak_status(enum up_ack ack)
{
	if (ack == UP_NAK_REQUEST)
		return UP_WC_REM_INV_REQ_ERR;
	return ack == UP_NAK_ACCESS ? UP_WC_REM_ACCESS_ERR : UP_WC_REM_OP_ERR;
}

#define BIT(op) (1u << UP_OP_##op)

/* A bit for each operation. */
static bool op_allowed(enum up_qp_type type, enum up_opcode op)
{
	static const uint16_t allowed[] = {
		[UP_QP_RC] = UINT16_MAX,
		[UP_QP_UC] = BIT(NOP) | BIT(SEND) | BIT(SEND_IMM) | BIT(WRITE) | BIT(WRITE_IMM) |
			     BIT(LOCAL),
		[UP_QP_UD] = BIT(NOP) | BIT(SEND) | BIT(SEND_IMM),
		[UP_QP_XRC_INI] = UINT16_MAX,
		[UP_QP_XRC_TGT] = 0,
		[UP_QP_LOCAL] = BIT(NOP) | BIT(LOCAL),
	};

	return allowed[type] >> op & 1;
}

/*
 * What the requester can tell by itself, before anything leaves. *first, unless NULL: where its
 * data begins, or of no bytes.
 */
static enum up_wc_status check_request(const struct up_qp *qp, struct up_send_wr *wr,
				       struct up_span *first)
{
	bool lands_here = wr->op == UP_OP_READ || up_op_is_atomic(wr->op);

	if (!op_allowed(qp->type, wr->op))
		return UP_WC_LOC_QP_OP_ERR;
	if (wr->op == UP_OP_NOP || wr->op == UP_OP_LOCAL)
		return UP_WC_SUCCESS;
	if (wr->length > UP_MAX_MSG_BYTES || wr->length < (up_op_is_atomic(wr->op) ? 8 : 0))
		return UP_WC_LOC_LEN_ERR;
	if (wr->flags & UP_WR_INLINE) {
		if (first)
			*first = (struct up_span){.ptr = wr->data, .len = wr->length};
		return lands_here ? UP_WC_LOC_QP_OP_ERR : UP_WC_SUCCESS;
	}
	if (up_request_check(qp, wr, lands_here, first))
		return UP_WC_LOC_PROT_ERR;
	return UP_WC_SUCCESS;
}

/* The same where nobody holds the keys yet. */
static enum up_wc_status check_alone(const struct up_qp *qp, struct up_send_wr *wr)
{
	enum up_wc_status status;

	lock_keys(qp->hca, qp->hca, false);
	status = check_request(qp, wr, NULL);
	unlock_keys(qp->hca, qp->hca);
	return status;
}

/* What became of a turn while the peer was locked; acted upon once it is not. */
struct result {
	enum up_ack ack;
	enum up_wc_status local; /* the requester's own fault, or success */
	bool more;
};

/*
 * The guests poll the lines where completions go, so each comes from another core: a third of the
 * cost of a 64 KiB message beside the copy itself, unless it is fetched during the copy.
 */
static void prefetch_completions(const struct up_qp *qp, const struct up_send_wr *wr,
				 const struct up_qp *peer)
{
	if ((wr->flags & UP_WR_SIGNALED) || qp->signal_all)
		qp->hca->ops->cq_prefetch(qp->send_cq);
	if (peer->resp.rwr && peer->recv_cq)
		peer->hca->ops->cq_prefetch(peer->recv_cq);
}

/* One turn at a message, with the keys and the peer locked. */
static struct result advance(struct up_exec *x, struct up_qp *qp, struct up_send_wr *wr,
			     struct up_qp *peer, uint64_t *bytes)
{
	struct result res = {.ack = UP_ACK_OK, .local = UP_WC_SUCCESS};
	uint64_t len = up_op_length(wr), n;
	bool local_fault = false, fresh = !qp->started;

	if (fresh) {
		res.local = check_request(qp, wr, &x->here);
		if (res.local != UP_WC_SUCCESS)
			return res;
		/* It may have failed since it was found. */
		res.ack = answers(peer) ? up_responder_begin(x, peer, wr) : UP_ACK_NONE;
		if (res.ack != UP_ACK_OK || !peer->resp.busy)
			return res;
		qp->started = true;
		qp->peer_session = peer->resp.session;
	} else if (qp->peer_session != peer->resp.session || !peer->resp.busy || !answers(peer)) {
		qp->broken = true;
		res.ack = UP_ACK_NONE;
		return res;
	}
	n = len - qp->done;
	/* An atomic is one step, whatever is left of the turn. */
	if (n > *bytes && n - *bytes > x->slack && !up_op_is_atomic(wr->op))
		n = *bytes;
	x->cost = 0;
	if (n >= PREFETCH_MIN && qp->done + n == len)
		prefetch_completions(qp, wr, peer);
	if (!fresh || n < len || !up_transfer_whole(x, wr))
		res.ack = up_responder_move(x, peer, qp, wr, qp->done, &n, &local_fault);
	if (local_fault) {
		res.local = UP_WC_LOC_PROT_ERR;
		up_responder_park(x, peer);
		return res;
	}
	if (res.ack != UP_ACK_OK || !peer->resp.busy)
		return res;
	qp->done += n;
	*bytes -= x->cost < *bytes ? x->cost : *bytes;
	if (up_mem_lost(&qp->hca->mem) || up_mem_lost(&peer->hca->mem)) {
		qp->broken = true;
		res.ack = UP_ACK_NONE;
		up_responder_park(x, peer);
	} else if (qp->done < len) {
		up_responder_park(x, peer);
		res.more = true;
	} else {
		res.ack = up_responder_end(x, peer, qp, wr);
	}
	return res;
}

static enum turn run_connected(struct up_exec *x, struct up_qp *qp, struct up_send_wr *wr,
			       uint64_t *bytes)
{
	struct up_qp *peer = qp->broken ? NULL : find_peer(qp);
	bool revoke = wr->op == UP_OP_SEND_INV;
	struct result res;

	if (!peer || !answers(peer)) {
		enum up_wc_status status = qp->started ? UP_WC_SUCCESS : check_alone(qp, wr);

		return status == UP_WC_SUCCESS ? wait_peer(x, qp, wr) : finish(qp, wr, status);
	}
	lock_keys(qp->hca, peer->hca, revoke);
	up_lock_take(&peer->resp_lock);
	res = advance(x, qp, wr, peer, bytes);
	up_lock_drop(&peer->resp_lock);
	unlock_keys(qp->hca, peer->hca);

	if (res.local != UP_WC_SUCCESS)
		return finish(qp, wr, res.local);
	if (res.ack == UP_ACK_RNR)
		return wait_rnr(x, qp, wr, peer);
	if (res.ack == UP_ACK_NONE)
		return wait_peer(x, qp, wr);
	qp->wait = UP_WAIT_NONE;
	if (res.ack != UP_ACK_OK)
		return finish(qp, wr, nak_status(res.ack));
	return res.more ? TURN_MORE : finish(qp, wr, UP_WC_SUCCESS);
}

/* What is executed in one go counts as well, once it is done. */
static void charge(const struct up_send_wr *wr, uint64_t *bytes)
{
	*bytes -= wr->cost < *bytes ? wr->cost : *bytes;
}

static enum turn run_local(struct up_qp *qp, struct up_send_wr *wr, uint64_t *bytes)
{
	enum up_wc_status status = check_request(qp, wr, NULL);

	if (status != UP_WC_SUCCESS || wr->op == UP_OP_NOP)
		return finish(qp, wr, status);
	up_rwlock_write(&qp->hca->mr_lock);
	status = qp->hca->ops->exec_local(qp, wr);
	up_rwlock_drop(&qp->hca->mr_lock);
	charge(wr, bytes);
	return finish(qp, wr, status);
}

static enum turn run_request(struct up_exec *x, struct up_qp *qp, struct up_send_wr *wr,
			     uint64_t *bytes)
{
	enum up_wc_status status;
	bool more = false;

	wr->cost = 0;
	if (wr->op == UP_OP_NOP || wr->op == UP_OP_LOCAL)
		return run_local(qp, wr, bytes);
	if (qp->type != UP_QP_UD)
		return run_connected(x, qp, wr, bytes);
	status = check_alone(qp, wr);
	if (status == UP_WC_SUCCESS)
		status = up_datagram_send(x, qp, wr, *bytes, &more);
	charge(wr, bytes);
	return more ? TURN_MORE : finish(qp, wr, status);
}

/* Completes posted requests as flushed: true when more remain than `*messages` allowed. */
static UP_COLD bool flush_sends(struct up_exec *x, struct up_qp *qp, uint32_t *messages)
{
	int got;

	if (qp->wr) {
		complete(qp, qp->wr, UP_WC_WR_FLUSH_ERR);
		qp->hca->ops->sq_advance(qp, qp->wr);
	}
	forget_request(qp);
	while (qp->has_sq && *messages) {
		got = qp->hca->ops->sq_fetch(qp, x->send);
		if (got == 0 || got == -EFAULT)
			return false;
		complete(qp, x->send, UP_WC_WR_FLUSH_ERR);
		qp->hca->ops->sq_advance(qp, x->send);
		--*messages;
	}
	return qp->has_sq && qp->hca->ops->sq_pending(qp);
}

/*
 * A queue in error is flushed, and looked at again ever more rarely: a guest that drains it posts
 * receives there and waits for them, and receives ring no doorbell.
 */
static UP_COLD enum up_run run_error(struct up_exec *x, struct up_qp *qp, uint32_t *messages)
{
	uint32_t before = *messages;
	bool more = flush_sends(x, qp, messages);
	uint64_t step;

	more |= up_responder_flush(x, qp, messages);
	if (more)
		return UP_RUN_MORE;
	if (before != *messages)
		qp->wait_since = x->now;
	step = (x->now - qp->wait_since) / 2;
	step = step < 50 * UP_USEC ? 50 * UP_USEC : step > 10 * UP_MSEC ? 10 * UP_MSEC : step;
	qp->wait_next = x->now + step;
	return UP_RUN_WAIT;
}

/* Takes the next posted request: NULL when there is none, or the queue is unusable. */
static struct up_send_wr *next_request(struct up_exec *x, struct up_qp *qp)
{
	int got;

	if (qp->wr)
		return qp->wr;
	got = qp->hca->ops->sq_fetch(qp, x->send);
	if (got == 1)
		return x->send;
	if (got == -EINVAL)
		finish(qp, x->send, UP_WC_LOC_QP_OP_ERR);
	if (got == -EFAULT) {
		up_qp_fail(qp);
		up_raise_qp(qp, UP_EV_QP_FATAL);
	}
	/* The one that waited is not there any more, or not what it was. */
	if (qp->wait != UP_WAIT_NONE)
		forget_request(qp);
	return NULL;
}

/*
 * The request goes on in a later turn: it keeps the copy that was checked. One of which nothing has
 * happened yet, as its peer is not ready, is fetched and checked again instead: a guest can have a
 * hundred thousand queue pairs that wait.
 */
static UP_COLD bool suspend(struct up_exec *x, struct up_qp *qp, struct up_send_wr *wr,
			    enum turn turn)
{
	struct up_send_wr *fresh;

	if (qp->wr || (turn == TURN_WAIT && !qp->started))
		return true;
	fresh = malloc(sizeof(*fresh));
	if (!fresh) {
		up_log(LOG_ERR, qp->hca->name,
		       "queue pair %u fails: no memory for the message under way", qp->qpn);
		finish(qp, wr, UP_WC_LOC_QP_OP_ERR);
		forget_request(qp);
		return false;
	}
	qp->wr = wr;
	x->send = fresh;
	return true;
}

static enum up_run run_ready(struct up_exec *x, struct up_qp *qp, struct up_budget *budget)
{
	while (budget->messages) {
		struct up_send_wr *wr = next_request(x, qp);
		enum turn turn;

		if (!wr)
			return up_qp_state_get(qp) == UP_QPS_RTS ? UP_RUN_IDLE : UP_RUN_MORE;
		budget->messages--;
		turn = run_request(x, qp, wr, &budget->bytes);
		if (turn != TURN_DONE) {
			if (!suspend(x, qp, wr, turn))
				return UP_RUN_MORE;
			return turn == TURN_WAIT ? UP_RUN_WAIT : UP_RUN_MORE;
		}
		forget_request(qp);
		if (up_qp_state_get(qp) != UP_QPS_RTS || !budget->bytes)
			return UP_RUN_MORE;
	}
	return UP_RUN_MORE;
}

/* 10.3.1.5: what had begun is finished, nothing else begins. */
static UP_COLD enum up_run run_draining(struct up_exec *x, struct up_qp *qp,
					struct up_budget *budget)
{
	struct up_send_wr *wr = qp->wr;

	if (!wr && qp->wait != UP_WAIT_NONE) {
		wr = next_request(x, qp);
		if (up_qp_state_get(qp) != UP_QPS_SQD)
			return UP_RUN_MORE;
	}
	if (wr) {
		enum turn turn = run_request(x, qp, wr, &budget->bytes);

		if (turn != TURN_DONE && !suspend(x, qp, wr, turn))
			return UP_RUN_MORE;
		if (turn == TURN_WAIT)
			return UP_RUN_WAIT;
		if (turn == TURN_DONE)
			forget_request(qp);
		return UP_RUN_MORE;
	}
	if (!qp->drained) {
		qp->drained = true;
		if (qp->attr.drain_event)
			up_raise_qp(qp, UP_EV_SQ_DRAINED);
	}
	return UP_RUN_IDLE;
}

enum up_run up_qp_run(struct up_exec *x, struct up_qp *qp, uint64_t now, struct up_budget *budget)
{
	x->now = now;
	x->slack = budget->slack;
	switch (up_qp_state_get(qp)) {
	case UP_QPS_RTS:
		return qp->has_sq ? run_ready(x, qp, budget) : UP_RUN_IDLE;
	case UP_QPS_SQD:
		return run_draining(x, qp, budget);
	case UP_QPS_SQE:
		return flush_sends(x, qp, &budget->messages) ? UP_RUN_MORE : UP_RUN_IDLE;
	case UP_QPS_ERR:
		return run_error(x, qp, &budget->messages);
	default:
		return UP_RUN_IDLE;
	}
}
