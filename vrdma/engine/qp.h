/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Queue pairs: attributes, states, and execution.
 *
 * Ownership. The requester half (everything from `wr` on) belongs to the worker of the QP's HCA.
 * The responder half is used by the worker of whichever QP sends to this one, under `resp_lock`.
 * `state` is written under `resp_lock`. Attributes change only with the world stopped.
 */
#ifndef UP_ENGINE_QP_H
#define UP_ENGINE_QP_H

#include "engine/queue.h"

struct up_qp_attr {
	uint32_t remote_qpn;
	uint32_t qkey;
	uint32_t access; /* UP_ACCESS_REMOTE_*: what the peer may do */
	uint16_t pkey_index;
	uint16_t mtu;	       /* bytes */
	uint8_t min_rnr_timer; /* 5-bit code of 9.7.5.2.8 */
	uint8_t rnr_retry;     /* 7: for ever */
	uint8_t retry_count;
	uint8_t ack_timeout;	     /* 4.096 us << n; 0: for ever */
	uint16_t max_rd_atomic;	     /* as initiator */
	uint16_t max_dest_rd_atomic; /* as responder; 0 refuses READ and atomics */
	bool drain_event;	     /* raise SQ_DRAINED */
	struct up_av av;
};

struct up_qp_stats {
	uint64_t messages; /* sent with success */
	uint64_t bytes;
	uint64_t received;
	uint64_t errors;
	uint64_t rnr;
};

/* The message that is being received. */
struct up_responder {
	bool busy;		/* between the first and the last quantum of a message */
	bool established;	/* COMM_EST was raised, or the QP reached RTS */
	struct up_srq *srq;	/* where rwr came from, when from a shared queue */
	struct up_recv_wr *rwr; /* the receive that it consumed; owned, NULL when none */
	struct up_list parked;	/* on srq->parked while rwr outlives the turn; under srq->lock */
	/*
	 * No other QP has had this number: it is a new one after each message that was cut short,
	 * so that its sender notices, also one whose path has led it to another QP.
	 */
	uint64_t session;
};

enum up_wait {
	UP_WAIT_NONE,
	UP_WAIT_RNR,  /* the peer has no receive posted */
	UP_WAIT_PEER, /* the peer does not answer */
};

/*
 * A QP's place in the schedule, and in groups. Whoever provides struct up_net_ops owns it, and
 * changes it on the QP's worker or with the world stopped; nothing else looks inside.
 */
struct up_sched {
	struct up_list run;    /* on its port's run list */
	struct up_list inbox;  /* kicked by another thread; under the worker's inbox lock */
	struct up_list groups; /* its memberships in multicast groups: the fabric's */
	uint64_t hot_until;    /* its doorbell record is looked at in every turn until then */
	int heap_index;	       /* in the heap of waiting QPs, -1 */
};

static inline void up_sched_init(struct up_sched *s)
{
	up_list_init(&s->run);
	up_list_init(&s->inbox);
	up_list_init(&s->groups);
	s->hot_until = 0;
	s->heap_index = -1;
}

/* Nothing is known to be done for the QP: it runs after the next kick. On its worker. */
static inline bool up_sched_is_idle(const struct up_sched *s)
{
	return up_list_empty(&s->run) && s->heap_index < 0;
}

struct up_exec;

struct up_qp {
	struct up_hca *hca;
	uint32_t qpn;
	enum up_qp_type type;
	uint8_t special; /* 0: QP0, 1: QP1 when is_special */
	bool is_special;
	uint32_t pdn;
	uint32_t xrcd;
	bool has_sq, has_rq;
	bool signal_all;
	bool block_loopback; /* it does not receive what it sends to a group of its own */
	bool privileged;     /* its poster is the VM's kernel: may use struct up_mr.privileged */
	struct up_cq *send_cq, *recv_cq;
	struct up_srq *srq;

	uint8_t state; /* enum up_qp_state; atomic: up_qp_state_get() */
	struct up_qp_attr attr;

	struct up_lock resp_lock;
	struct up_responder resp;

	/* Requester. */
	/* The request under way, owned; NULL between requests, and while one waits to begin. */
	struct up_send_wr *wr;
	uint64_t done; /* bytes of it that were copied; of a multicast, how far it came */
	bool started;  /* the responder's part has begun */
	bool broken;   /* the responder was reset meanwhile: nobody will answer */
	uint64_t peer_session;
	struct up_qp *peer; /* cached route, good while peer_epoch == fabric epoch */
	uint64_t peer_epoch;
	enum up_wait wait;
	uint64_t wait_since; /* ns, CLOCK_MONOTONIC */
	uint64_t wait_until; /* when the timer of this try expires */
	uint64_t wait_next;  /* when to look again */
	uint8_t rnr_left;
	uint8_t retry_left;
	bool drained;  /* SQ_DRAINED was reported */
	bool last_wqe; /* LAST_WQE was reported */

	struct up_sched sched;

	struct up_qp_stats stats;
};

/*
 * Sets up the engine's part and gives the QP a number, with the world stopped. The caller zeroed
 * it and filled hca, type, is_special and special, has_sq, has_rq, CQs, SRQ, pdn and xrcd. Takes
 * references on the CQs and the SRQ. 0, -ENOSPC, or -EEXIST for a special QP that exists.
 */
int up_qp_create(struct up_qp *qp);
void up_qp_destroy(struct up_qp *qp);
/* Frees what the engine has of a QP that nothing refers to any more: its HCA lost all at once. */
void up_qp_discard(struct up_qp *qp);

static inline enum up_qp_state up_qp_state_get(const struct up_qp *qp)
{
	return (enum up_qp_state)__atomic_load_n(&qp->state, __ATOMIC_ACQUIRE);
}

/*
 * Moves the QP, world stopped. -EINVAL for a transition that 10.3.1 does not have. The caller set
 * qp->attr before. RESET forgets what is under way, ERR flushes.
 */
int up_qp_modify(struct up_qp *qp, enum up_qp_state to);

/* Before a shared receive queue gets its number. */
void up_srq_init(struct up_srq *srq);
/*
 * A shared receive queue goes away, world stopped. No QP refers to an XRC one, but messages may be
 * on their way into it: they end here, `most` of them at a time, as there may be one for each of
 * its receives, and their senders find nobody. From the first call on no other begins. True when
 * none is left.
 */
bool up_srq_forget(struct up_srq *srq, unsigned most);

enum up_run {
	UP_RUN_IDLE, /* nothing to do until something is posted */
	UP_RUN_MORE, /* the budget is used up */
	UP_RUN_WAIT, /* look again at qp->wait_next */
};

/* What a QP may do in one turn. */
struct up_budget {
	uint32_t messages;
	uint64_t bytes;
	uint64_t slack; /* bytes by which a message may exceed them that ends by that */
};

/* Executes the QP's queues, on its worker. `now`: CLOCK_MONOTONIC ns. Lowers *budget. */
enum up_run up_qp_run(struct up_exec *x, struct up_qp *qp, uint64_t now, struct up_budget *budget);

#endif
