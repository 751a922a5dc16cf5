/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One VM's adapter as the engine sees it: memory, keys and queue pairs, the device ABI that reads
 * and writes the guest's rings (ops), and the fabric that finds the other end (net).
 */
#ifndef UP_ENGINE_HCA_H
#define UP_ENGINE_HCA_H

#include "base/arena.h"
#include "base/stat.h"
#include "base/table.h"
#include "engine/mem.h"
#include "engine/mr.h"
#include "engine/qp.h"

/* Provided by the device ABI. All run on a worker unless they say otherwise. */
struct up_hca_ops {
	/*
	 * Copies the request at the consumer index of the send queue into *wr. 1: there is one;
	 * 0: none is posted; -EINVAL: malformed (wr->index and wr->slots are set); -EFAULT: the
	 * queue cannot be read. The index moves only with sq_advance().
	 */
	int (*sq_fetch)(struct up_qp *qp, struct up_send_wr *wr);
	void (*sq_advance)(struct up_qp *qp, const struct up_send_wr *wr);
	/* Cheap look at the doorbell record: is something posted? */
	bool (*sq_pending)(struct up_qp *qp);
	/*
	 * Takes the next receive, of a QP with has_rq; results as sq_fetch. Called under
	 * qp->resp_lock / srq->lock.
	 */
	int (*rq_take)(struct up_qp *qp, struct up_recv_wr *wr);
	int (*srq_take)(struct up_srq *srq, struct up_recv_wr *wr);
	/* Writes a completion into the guest's ring. Called under cq->lock. */
	void (*cq_post)(struct up_cq *cq, const struct up_wc *wc);
	/* A completion follows after a copy that is long enough to fetch its place meanwhile. */
	void (*cq_prefetch)(struct up_cq *cq);
	/*
	 * Executes an UP_OP_LOCAL request (on the HCA's worker, under mr_lock for writing), and
	 * says in wr->cost what that took of the turn.
	 */
	enum up_wc_status (*exec_local)(struct up_qp *qp, struct up_send_wr *wr);
	void (*qp_event)(struct up_qp *qp, enum up_event event);
	void (*srq_event)(struct up_srq *srq, enum up_event event);
	/* UP_EV_PORT_ACTIVE or UP_EV_PORT_DOWN. World stopped. May be NULL. */
	void (*port_event)(struct up_hca *hca, enum up_event event);
	/*
	 * Looks for new doorbells (up_net_ops.kick for each QP concerned) and serves armed CQs.
	 * Returns how much it found, 0 for nothing; *due is lowered to the next time (ns) at which
	 * it must be called even if nothing else happens.
	 */
	unsigned (*poll)(struct up_hca *hca, uint64_t now, uint64_t *due);
	/* The queue counters of a QP in reset start over. */
	void (*qp_reset)(struct up_qp *qp);
};

/* Where a message came from and goes to, for a receiver's completion and header. */
struct up_net_ops {
	/* The adapter that `av` leads to from `from`, or NULL: no such address in its tenant. */
	struct up_hca *(*route)(struct up_hca *from, const struct up_av *av);
	/*
	 * Calls `each` for the QPs of the tenant that are attached to the group, in the order of
	 * their attachment, from behind the place *after on (0: from the first), until one call
	 * returns false: then it returns true, and *after is the place to go on from.
	 */
	bool (*multicast)(struct up_hca *from, const struct up_av *av, uint64_t *after,
			  bool (*each)(struct up_qp *member, void *arg), void *arg);
	/* Puts a QP on its worker's run list; any thread may call it. */
	void (*kick)(struct up_qp *qp);
	/* CLOCK_MONOTONIC in ns, for timers that begin in the middle of a turn. */
	uint64_t (*clock)(void);
	/* The QP goes away: nothing of the scheduler may refer to it. World stopped. */
	void (*forget)(struct up_qp *qp);
};

struct up_hca_stats {
	uint64_t messages, bytes, errors, rnr, events, interrupts, commands, hints;
	uint64_t rx_messages, rx_bytes; /* taken from others, and sent to them on a READ */
};

struct up_hca {
	const char *name; /* the port's, for log lines */
	const struct up_hca_ops *ops;
	const struct up_net_ops *net;
	void *port; /* the fabric's struct up_port */
	bool alive; /* a driver runs it; messages to others end as unreachable */
	/* It kicks its queue pairs itself: no doorbells to look for, and poll in every round. */
	bool kicks;
	struct up_mem mem;
	struct up_arena *arena; /* of everything that the guest creates */
	struct up_table mrs;
	uint64_t mr_bytes; /* what they take, which up_mr_create() bounds */
	struct up_table qps;
	struct up_table srqs;
	struct up_qp *special[2]; /* QP0, QP1 */
	struct up_rwlock mr_lock;
	uint16_t lid;
	struct up_gid gid;
	uint16_t pkeys[1];
	_Atomic uint32_t port_caps; /* of PortInfo's CapabilityMask, what the driver announces */
	struct up_hca_stats stats;
};

struct up_hca_limits {
	uint32_t max_mr, max_qp, max_srq;
};

int up_hca_init(struct up_hca *hca, const struct up_hca_limits *limits);
void up_hca_fini(struct up_hca *hca);

/*
 * Counts changes after which a cached peer may be wrong: a QP or HCA came, went or was moved.
 * Advanced with the world stopped.
 */
extern uint64_t up_route_epoch; /* of 64 bits: a guest could make fewer wrap */

#endif
