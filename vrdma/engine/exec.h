/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Execution of work requests, inside the engine: what requester.c, responder.c, datagram.c,
 * transfer.c and complete.c offer one another.
 *
 * One turn on a connected QP holds the keys of both ends (mr_lock, read side, or write where the
 * message revokes a key) and the peer's resp_lock from its first check to its last byte, so that
 * no key that was checked is revoked before it was used, and no receive is completed twice.
 *
 * Locks, outermost first; what is on one line is never held together but for mr_lock:
 *
 *   hca->mr_lock      the HCA's memory keys. Both ends' in ascending order of their addresses; the
 *                     writer changes or revokes keys: of its own HCA (UP_OP_LOCAL), or of the
 *                     responder's (SEND_INV), with the other end's for reading.
 *   qp->resp_lock     a QP's receives, its responder's state, and its change to error.
 *   srq->lock         a shared receive queue's entries and limit.
 *   cq->lock          a completion queue's ring and what a device keeps about events due.
 *   device's locks    of lists of completion queues, of event queues' rings, and of where a QP's
 *                     lie, taken in sq_fetch, rq_take, cq_post, srq_take and the events, one at a
 *                     time. With one worker too, for what the control thread touches without
 *                     stopping the world.
 *   inbox             a worker's, in struct up_net_ops.kick.
 *
 * What they protect is also changed with the world stopped and without them.
 */
#ifndef UP_ENGINE_EXEC_H
#define UP_ENGINE_EXEC_H

#include "engine/copy.h"
#include "engine/hca.h"

/* A worker's own memory for execution; no other thread touches it. */
struct up_exec {
	struct up_send_wr *send; /* room for the next request; given to a QP that must pause */
	struct up_recv_wr recv;
	uint64_t now;	/* CLOCK_MONOTONIC ns at the start of the turn */
	uint64_t slack; /* of the turn's budget */
	uint64_t cost;	/* of the last transfer, in bytes of the turn's budget */
	/*
	 * Where the lists of the message that has just begun start, at the requester and at the
	 * responder, as their check found it; of no bytes where it did not look.
	 */
	struct up_span here, there;
	struct up_copy_history history;
};

struct up_exec *up_exec_create(void);
void up_exec_destroy(struct up_exec *x);

/* A position in a scatter list, or in plain memory of ours (then hca is NULL). */
struct up_cursor {
	const struct up_hca *hca;
	struct up_mr_use use;
	const struct up_sge *sge;
	uint32_t nsge;
	uint64_t off;	       /* into *sge */
	struct up_send_wr *wr; /* whose inline_sges matter, or NULL */
	uint8_t *flat;
};

void up_cursor_sges(struct up_cursor *c, const struct up_hca *hca, const struct up_mr_use *use,
		    const struct up_sge *sge, uint32_t nsge, uint64_t skip);
void up_cursor_flat(struct up_cursor *c, void *flat);
/* The requester's own list, inline data included. */
void up_cursor_request(struct up_cursor *c, const struct up_qp *qp, struct up_send_wr *wr,
		       bool write, uint64_t skip);

/* Whose key failed. */
enum up_transfer {
	UP_TRANSFER_OK,
	UP_TRANSFER_SRC,
	UP_TRANSFER_DST,
};

/*
 * Copies up to *n bytes of a message of `total`, and sets *n to how many: fewer where memory is
 * scattered so widely that a turn would take too long. Both lists hold at least *n from here.
 */
enum up_transfer up_transfer(struct up_exec *x, struct up_cursor *dst, struct up_cursor *src,
			     uint64_t *n, uint64_t total);
/*
 * All of n bytes, which are few, in one turn: where they are scattered so widely that up_transfer()
 * would take several, it is the target's list that is refused.
 */
enum up_transfer up_transfer_all(struct up_exec *x, struct up_cursor *dst, struct up_cursor *src,
				 uint64_t n);

/*
 * 0, or the error that copying the next n bytes of the list would end with; -E2BIG where they are
 * so scattered that they leave less than half a turn's stretches for the other list.
 */
int up_cursor_probe(struct up_cursor c, uint64_t n);

/*
 * 0, or -EACCES when one of the pieces that hold the first `len` bytes may not be used so. Bit i of
 * `inlined`: sge[i] has no key. *first, unless NULL: where the first piece begins, or of no bytes.
 */
int up_sges_check(const struct up_hca *hca, const struct up_mr_use *use, const struct up_sge *sge,
		  uint32_t nsge, uint64_t inlined, uint64_t len, struct up_span *first);
/* The same for the request's own list. */
int up_request_check(const struct up_qp *qp, const struct up_send_wr *wr, bool write,
		     struct up_span *first);

/*
 * Moves the whole of a message that has just begun, where each end is one stretch: the usual case,
 * at a fifth of the instructions. False: nothing was done, it is for up_responder_move().
 */
bool up_transfer_whole(struct up_exec *x, const struct up_send_wr *wr);

/* Applies the atomic of `wr` to 8 aligned bytes and returns what was there before. */
uint64_t up_atomic_apply(uint64_t *target, const struct up_send_wr *wr);

/* The responder's answer, as the transport would carry it. */
enum up_ack {
	UP_ACK_OK,
	UP_ACK_RNR,	/* no receive is posted: try again later */
	UP_ACK_NONE,	/* nobody answers: not connected, in error, in reset */
	UP_NAK_REQUEST, /* invalid request */
	UP_NAK_ACCESS,	/* remote access error */
	UP_NAK_OP,	/* remote operational error */
};

/*
 * The responder's part of a message of a connected QP, under resp->resp_lock: begin checks and
 * takes a receive where one is needed, move copies up to *n more bytes (in the direction of the
 * operation) and says how many, end completes. A NAK has already had its effect on the responder.
 * `*local` is set when the initiator's own memory was at fault. Unreliable connections answer
 * UP_ACK_OK to what they drop, and `resp->resp.busy` tells whether there is a message to move.
 */
enum up_ack up_responder_begin(struct up_exec *x, struct up_qp *resp, const struct up_send_wr *wr);
enum up_ack up_responder_move(struct up_exec *x, struct up_qp *resp, const struct up_qp *req,
			      struct up_send_wr *wr, uint64_t done, uint64_t *n, bool *local);
enum up_ack up_responder_end(struct up_exec *x, struct up_qp *resp, const struct up_qp *req,
			     const struct up_send_wr *wr);
/* The turn ends in mid-message: what begin left in the worker's memory moves to the QP's own. */
void up_responder_park(struct up_exec *x, struct up_qp *resp);
/* Forgets the message under way. */
void up_responder_reset(struct up_qp *resp);

/* Moves a QP to error for a reason found while running: flushes follow. Takes resp_lock. */
void up_qp_fail(struct up_qp *qp);
/* The same, for a caller that holds resp_lock. */
void up_qp_fail_locked(struct up_qp *qp);

/* Receives of a QP in error: true when more remain than `*messages` allowed. */
bool up_responder_flush(struct up_exec *x, struct up_qp *qp, uint32_t *messages);

/* Forgets what the requester has under way, and where its peer was. */
void up_requester_reset(struct up_qp *qp);

/*
 * Sends one datagram: the status for the sender's completion. *more: to a group, of which the rest
 * is to have it in a later turn, as `budget` bytes are used up.
 */
enum up_wc_status up_datagram_send(struct up_exec *x, struct up_qp *qp, struct up_send_wr *wr,
				   uint64_t budget, bool *more);

/*
 * Posts under the CQ's lock. False when the CQ has failed, so that nobody hears of the completion:
 * then the QP does not go on, but is in error, and an event says so. The second is for a caller
 * that holds resp_lock.
 */
bool up_complete(struct up_qp *qp, struct up_cq *cq, const struct up_wc *wc);
bool up_complete_locked(struct up_qp *qp, struct up_cq *cq, const struct up_wc *wc);

/*
 * Takes the next receive of a shared queue; results as srq_take. A queue that is malformed is in
 * error from then on, of which its owner is told once.
 */
int up_srq_next(struct up_srq *srq, struct up_recv_wr *wr);

void up_raise_qp(struct up_qp *qp, enum up_event event);

/* How the work requests of a QP may use local memory. */
static inline struct up_mr_use up_local_use(const struct up_qp *qp, bool write)
{
	return (struct up_mr_use){
		.pdn = qp->pdn,
		.qpn = qp->qpn,
		.access = write ? UP_ACCESS_LOCAL_WRITE : UP_ACCESS_LOCAL_READ,
		.privileged = qp->privileged,
	};
}

static inline bool up_op_is_atomic(enum up_opcode op)
{
	return op >= UP_OP_CMP_SWAP && op <= UP_OP_MASKED_FETCH_ADD;
}

static inline bool up_op_is_send(enum up_opcode op)
{
	return op == UP_OP_SEND || op == UP_OP_SEND_IMM || op == UP_OP_SEND_INV;
}

static inline bool up_op_is_write(enum up_opcode op)
{
	return op == UP_OP_WRITE || op == UP_OP_WRITE_IMM;
}

/* Bytes that cross: an atomic carries one 64-bit word. */
static inline uint64_t up_op_length(const struct up_send_wr *wr)
{
	return up_op_is_atomic(wr->op) ? 8 : wr->length;
}

#endif
