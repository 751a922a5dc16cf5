/* SPDX-License-Identifier: BSD-2-Clause */
/* The rings of QP0 and QP1 (subnet/adapter.h), and the engine's view of them. */
#include "subnet/adapter.h"

#include "base/bytes.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#define PD 1
#define QKEY_GSI 0x80010000u /* 10.2.5, of QP1 */

/*
 * No more of one sender's datagrams wait than its share of the ring: those beyond are lost as on a
 * wire, so it takes more ports that flood than the ring has shares to lose another's request.
 */
#define RECV_SLOTS 1024
#define WAITING_OF_A_SENDER 64
#define SEND_SLOTS 128
/* What a round takes out, each with its answers at most, until the time is over. */
#define TAKEN_A_ROUND 64
#define ANSWERS 2
#define TURN_NS 50000

struct arrival {
	uint8_t grh[UP_GRH_BYTES];
	uint8_t mad[MAD_BYTES];
};

struct departure {
	struct sn_peer to;
	uint8_t mad[MAD_BYTES];
};

struct sn_qp {
	struct up_qp base;
	struct sn_adapter *adapter;
	struct up_cq cq;

	struct arrival *arrivals; /* RECV_SLOTS, in the adapter's memory */
	struct sn_peer from[RECV_SLOTS];
	uint32_t given; /* receives that the engine took; under base.resp_lock */
	/* Written by the sender's worker, after the datagram; pairs with the agent's read. */
	_Atomic uint32_t arrived;
	_Atomic uint32_t taken; /* by the agent; pairs with the engine's look for a free slot */
	_Atomic uint8_t waiting[UP_LID_MULTICAST]; /* of these, by source LID */

	struct departure departures[SEND_SLOTS];
	uint32_t posted, sent; /* the adapter's worker's */
};

struct sn_adapter {
	struct up_hca hca;
	struct sn_qp qp[2];
	struct up_port *port; /* while open */
	struct up_mr *mr;
	struct arrival *memory; /* of both QPs; the adapter's memory from address 0 on */
	const struct sn_agent_ops *agent_ops;
	void *agent;
};

static struct sn_qp *of(struct up_qp *base)
{
	return UP_CONTAINER_OF(base, struct sn_qp, base);
}

static int sq_fetch(struct up_qp *base, struct up_send_wr *wr)
{
	struct sn_qp *qp = of(base);
	const struct departure *d = &qp->departures[qp->sent % SEND_SLOTS];

	if (qp->sent == qp->posted)
		return 0;
	memset(wr, 0, offsetof(struct up_send_wr, sge));
	wr->op = UP_OP_SEND;
	wr->flags = UP_WR_INLINE;
	wr->dest_qpn = d->to.qpn;
	wr->dest_qkey = QKEY_GSI;
	wr->av.dlid = d->to.lid;
	wr->av.sl = d->to.sl;
	wr->length = MAD_BYTES;
	memcpy(wr->data, d->mad, MAD_BYTES);
	return 1;
}

static void sq_advance(struct up_qp *base, const struct up_send_wr *wr)
{
	of(base)->sent++;
}

static bool sq_pending(struct up_qp *base)
{
	return of(base)->sent != of(base)->posted;
}

static int rq_take(struct up_qp *base, struct up_recv_wr *wr)
{
	struct sn_qp *qp = of(base);
	uint32_t slot = qp->given % RECV_SLOTS;

	/* Pairs with the release in take_arrivals(): the agent is done with the slot. */
	if (qp->given - atomic_load_explicit(&qp->taken, memory_order_acquire) >= RECV_SLOTS)
		return 0;
	qp->given++;
	wr->index = (uint16_t)slot;
	wr->nsge = 1;
	wr->length = sizeof(struct arrival);
	wr->sge[0] = (struct up_sge){
		.addr = (uint64_t)((uint8_t *)&qp->arrivals[slot] - (uint8_t *)qp->adapter->memory),
		.len = sizeof(struct arrival),
		.key = qp->adapter->mr->key,
	};
	return 1;
}

static int srq_take(struct up_srq *srq, struct up_recv_wr *wr)
{
	return 0;
}

/*
 * Sends are unsignalled, and nothing is flushed: what completes here has arrived. The engine holds
 * resp_lock from rq_take() to here, so that the slot can be given back.
 */
static void cq_post(struct up_cq *cq, const struct up_wc *wc)
{
	struct sn_qp *qp = UP_CONTAINER_OF(cq, struct sn_qp, cq);
	uint32_t arrived = atomic_load_explicit(&qp->arrived, memory_order_relaxed);

	/* The fabric gave it to the sender's port: no guest chooses its own. */
	assert(wc->slid < UP_ARRAY_SIZE(qp->waiting));
	if (atomic_fetch_add(&qp->waiting[wc->slid], 1) >= WAITING_OF_A_SENDER) {
		atomic_fetch_sub(&qp->waiting[wc->slid], 1);
		qp->given--;
		return;
	}
	qp->from[wc->index] = (struct sn_peer){
		.lid = wc->slid,
		.sl = wc->sl,
		.qpn = wc->src_qpn,
	};
	atomic_store_explicit(&qp->arrived, arrived + 1, memory_order_release);
	/* Not only woken: a worker that is about to sleep looks at its kicks once more. */
	qp->adapter->hca.net->kick(&qp->base);
}

static void cq_prefetch(struct up_cq *cq)
{
}

static enum up_wc_status exec_local(struct up_qp *qp, struct up_send_wr *wr)
{
	return UP_WC_LOC_QP_OP_ERR;
}

static void qp_event(struct up_qp *qp, enum up_event event)
{
}

static void srq_event(struct up_srq *srq, enum up_event event)
{
}

static void qp_reset(struct up_qp *qp)
{
}

static void take(struct sn_adapter *a, struct sn_qp *qp, uint32_t slot)
{
	const struct sn_peer *from = &qp->from[slot];

	if (!from->lid)
		return;
	a->agent_ops->received(a->agent, qp->base.special, from, qp->arrivals[slot].mad);
	atomic_fetch_sub(&qp->waiting[from->lid], 1);
}

/* What there is no room to answer stays in the ring. Returns how many it took. */
static unsigned take_arrivals(struct sn_adapter *a, struct sn_qp *qp)
{
	uint32_t taken = atomic_load_explicit(&qp->taken, memory_order_relaxed);
	uint64_t end;
	unsigned n;

	/* Nearly always; then a look at the clock would cost every message in the fabric. */
	if (taken == atomic_load_explicit(&qp->arrived, memory_order_relaxed))
		return 0;
	end = sn_adapter_clock(a) + TURN_NS;
	for (n = 0; n < TAKEN_A_ROUND; n++) {
		/* Pairs with the release in cq_post(): the datagram is whole. */
		if (taken == atomic_load_explicit(&qp->arrived, memory_order_acquire))
			break;
		if (sn_adapter_room(a, qp->base.special) < ANSWERS)
			break;
		if (n && sn_adapter_clock(a) >= end)
			break;
		take(a, qp, taken % RECV_SLOTS);
		atomic_store_explicit(&qp->taken, ++taken, memory_order_release);
	}
	return n;
}

static unsigned poll_adapter(struct up_hca *hca, uint64_t now, uint64_t *due)
{
	struct sn_adapter *a = UP_CONTAINER_OF(hca, struct sn_adapter, hca);
	unsigned n = take_arrivals(a, &a->qp[0]) + take_arrivals(a, &a->qp[1]);

	return n + a->agent_ops->tick(a->agent, now, due);
}

static const struct up_hca_ops adapter_ops = {
	.sq_fetch = sq_fetch,
	.sq_advance = sq_advance,
	.sq_pending = sq_pending,
	.rq_take = rq_take,
	.srq_take = srq_take,
	.cq_post = cq_post,
	.cq_prefetch = cq_prefetch,
	.exec_local = exec_local,
	.qp_event = qp_event,
	.srq_event = srq_event,
	.poll = poll_adapter,
	.qp_reset = qp_reset,
};

static int init_memory(struct sn_adapter *a)
{
	size_t bytes = 2 * RECV_SLOTS * sizeof(struct arrival);

	a->memory = calloc(1, bytes);
	if (!a->memory || up_mem_add(&a->hca.mem, 0, bytes, a->memory, true))
		return -ENOMEM;
	a->mr = up_mr_create(&a->hca, UP_MR_PHYS, 0);
	if (!a->mr)
		return -errno;
	a->mr->pdn = PD;
	a->mr->access = UP_ACCESS_LOCAL_READ | UP_ACCESS_LOCAL_WRITE;
	a->mr->length = bytes;
	a->mr->valid = true;
	return 0;
}

struct sn_adapter *sn_adapter_create(const struct sn_agent_ops *ops, void *agent)
{
	/* As many as the numbers that the tables keep free, and what is needed above them. */
	static const struct up_hca_limits limits = {
		.max_mr = 0x101, .max_qp = 0x42, .max_srq = 0x41};
	struct sn_adapter *a = calloc(1, sizeof(*a));
	int err;

	if (!a)
		return NULL;
	a->agent_ops = ops;
	a->agent = agent;
	a->hca.name = "(subnet manager)";
	a->hca.ops = &adapter_ops;
	a->hca.kicks = true;
	err = up_hca_init(&a->hca, &limits);
	if (err) {
		free(a);
		errno = -err;
		return NULL;
	}
	err = init_memory(a);
	if (err) {
		sn_adapter_destroy(a);
		errno = -err;
		return NULL;
	}
	return a;
}

static void open_qp(struct sn_adapter *a, unsigned i)
{
	struct sn_qp *qp = &a->qp[i];

	qp->adapter = a;
	qp->arrivals = a->memory + i * RECV_SLOTS;
	qp->cq.hca = &a->hca;
	up_lock_init(&qp->cq.lock);
	qp->base = (struct up_qp){
		.hca = &a->hca,
		.type = UP_QP_UD,
		.special = (uint8_t)i,
		.is_special = true,
		.pdn = PD,
		.has_sq = true,
		.has_rq = true,
		.send_cq = &qp->cq,
		.recv_cq = &qp->cq,
		.attr = {.qkey = QKEY_GSI, .mtu = UP_MTU_BYTES},
	};
	/* The table has room for both, and every transition is legal. */
	up_qp_create(&qp->base);
	up_qp_modify(&qp->base, UP_QPS_INIT);
	up_qp_modify(&qp->base, UP_QPS_RTR);
	up_qp_modify(&qp->base, UP_QPS_RTS);
}

void sn_adapter_open(struct sn_adapter *a, struct up_port *port)
{
	up_world_stop(port->fabric);
	a->port = port;
	up_port_attach(port, &a->hca);
	open_qp(a, 0);
	open_qp(a, 1);
	a->hca.alive = true;
	up_port_set_driver(port, true);
	up_world_start(port->fabric);
}

void sn_adapter_destroy(struct sn_adapter *a)
{
	if (a->port) {
		struct up_fabric *f = a->port->fabric;

		up_world_stop(f);
		up_port_set_driver(a->port, false);
		up_qp_destroy(&a->qp[0].base);
		up_qp_destroy(&a->qp[1].base);
		up_port_detach(a->port);
		up_world_start(f);
	}
	if (a->mr)
		up_mr_destroy(&a->hca, a->mr);
	up_hca_fini(&a->hca);
	free(a->memory);
	free(a);
}

uint64_t sn_adapter_clock(const struct sn_adapter *a)
{
	return a->hca.net->clock();
}

static void forget_of_qp(struct sn_qp *qp, uint16_t lid)
{
	uint32_t arrived = atomic_load_explicit(&qp->arrived, memory_order_relaxed);

	for (uint32_t i = atomic_load(&qp->taken); i != arrived; i++) {
		struct sn_peer *from = &qp->from[i % RECV_SLOTS];

		if (from->lid == lid)
			from->lid = 0;
	}
	atomic_store(&qp->waiting[lid], 0);
	for (uint32_t i = qp->sent; i != qp->posted; i++) {
		struct sn_peer *to = &qp->departures[i % SEND_SLOTS].to;

		if (to->lid == lid)
			to->lid = 0;
	}
}

void sn_adapter_forget(struct sn_adapter *a, uint16_t lid)
{
	forget_of_qp(&a->qp[0], lid);
	forget_of_qp(&a->qp[1], lid);
}

unsigned sn_adapter_room(const struct sn_adapter *a, unsigned qpn)
{
	return SEND_SLOTS - (a->qp[qpn].posted - a->qp[qpn].sent);
}

void sn_adapter_send(struct sn_adapter *a, unsigned qpn, const struct sn_peer *to,
		     const uint8_t mad[MAD_BYTES])
{
	struct sn_qp *qp = &a->qp[qpn];
	struct departure *d = &qp->departures[qp->posted % SEND_SLOTS];

	if (!sn_adapter_room(a, qpn))
		return;
	d->to = *to;
	memcpy(d->mad, mad, MAD_BYTES);
	qp->posted++;
	a->hca.net->kick(&qp->base);
}
