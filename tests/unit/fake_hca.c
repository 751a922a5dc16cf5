/* SPDX-License-Identifier: BSD-2-Clause */
/* The fixture of fake_hca.h. */
#include "fake_hca.h"

#include "unit.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

struct up_exec *fake_exec;
static struct fake_hca *world[2];

static struct fake_qp *fake(struct up_qp *qp)
{
	return UP_CONTAINER_OF(qp, struct fake_qp, base);
}

/* The counters of a queue have one writer each, which may be on different threads. */
static unsigned counter(const unsigned *c)
{
	return __atomic_load_n(c, __ATOMIC_ACQUIRE);
}

static void advance(unsigned *c)
{
	__atomic_store_n(c, *c + 1, __ATOMIC_RELEASE);
}

static int sq_fetch(struct up_qp *base, struct up_send_wr *wr)
{
	struct fake_qp *qp = fake(base);

	if (qp->sq_taken == counter(&qp->sq_posted))
		return 0;
	*wr = *qp->sends[qp->sq_taken % FAKE_DEPTH];
	return qp->sq_error ? qp->sq_error : 1;
}

static void sq_advance(struct up_qp *base, const struct up_send_wr *wr)
{
	struct fake_qp *qp = fake(base);

	free(qp->sends[qp->sq_taken % FAKE_DEPTH]);
	advance(&qp->sq_taken);
}

static bool sq_pending(struct up_qp *base)
{
	return fake(base)->sq_taken != counter(&fake(base)->sq_posted);
}

static int rq_take(struct up_qp *base, struct up_recv_wr *wr)
{
	struct fake_qp *qp = fake(base);

	if (qp->rq_taken == counter(&qp->rq_posted))
		return 0;
	*wr = qp->recvs[qp->rq_taken % FAKE_DEPTH];
	advance(&qp->rq_taken);
	return 1;
}

static int srq_take(struct up_srq *base, struct up_recv_wr *wr)
{
	struct fake_srq *srq = UP_CONTAINER_OF(base, struct fake_srq, base);

	if (srq->taken == srq->posted || srq->error)
		return srq->error;
	*wr = srq->wr[srq->taken++ % FAKE_DEPTH];
	return 1;
}

static void cq_post(struct up_cq *base, const struct up_wc *wc)
{
	struct fake_cq *cq = UP_CONTAINER_OF(base, struct fake_cq, base);

	if (cq->full)
		base->failed = true;
	if (base->failed)
		return;
	assert_true(cq->count < UP_ARRAY_SIZE(cq->wc));
	cq->wc[cq->count++] = *wc;
}

static void cq_prefetch(struct up_cq *cq)
{
}

static enum up_wc_status exec_local(struct up_qp *qp, struct up_send_wr *wr)
{
	wr->cost = wr->raw_len;
	return up_mr_invalidate(qp->hca, wr->imm, &(struct up_mr_use){.pdn = qp->pdn}, false)
		       ? UP_WC_LOC_PROT_ERR
		       : UP_WC_SUCCESS;
}

static void qp_event(struct up_qp *qp, enum up_event event)
{
	fake(qp)->events[event]++;
}

static void srq_event(struct up_srq *srq, enum up_event event)
{
	UP_CONTAINER_OF(srq, struct fake_srq, base)->events[event]++;
}

static unsigned poll_none(struct up_hca *hca, uint64_t now, uint64_t *due)
{
	return 0;
}

static void qp_reset(struct up_qp *base)
{
	struct fake_qp *qp = fake(base);

	while (qp->sq_taken != qp->sq_posted)
		sq_advance(base, NULL);
	qp->rq_taken = qp->rq_posted;
}

static const struct up_hca_ops ops = {
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
	.poll = poll_none,
	.qp_reset = qp_reset,
};

static struct up_hca *route(struct up_hca *from, const struct up_av *av)
{
	for (unsigned i = 0; i < UP_ARRAY_SIZE(world); i++) {
		if (world[i] && world[i]->base.lid == av->dlid)
			return &world[i]->base;
	}
	return NULL;
}

/* One group of everything: all datagram QPs of both adapters. */
static bool multicast(struct up_hca *from, const struct up_av *av, uint64_t *after,
		      bool (*each)(struct up_qp *member, void *arg), void *arg)
{
	uint64_t place = 0;

	for (unsigned i = 0; i < UP_ARRAY_SIZE(world); i++) {
		uint32_t id = 0;
		struct up_qp *qp;

		while (world[i] && (qp = up_table_next(&world[i]->base.qps, &id))) {
			if (++place <= *after)
				continue;
			*after = place;
			if (!each(qp, arg))
				return true;
		}
	}
	return false;
}

static void kick(struct up_qp *qp)
{
	fake(qp)->kicks++;
}

static void forget(struct up_qp *qp)
{
}

static uint64_t fake_now;

static uint64_t fake_clock(void)
{
	return fake_now;
}

static const struct up_net_ops net = {
	.route = route,
	.multicast = multicast,
	.kick = kick,
	.forget = forget,
	.clock = fake_clock,
};

struct fake_hca *fake_hca_create(uint16_t lid)
{
	static const struct up_hca_limits limits = {1024, 1024, 1024};
	struct fake_hca *h = calloc(1, sizeof(*h));

	assert_non_null(h);
	h->base.name = lid == 1 ? "one" : "two";
	h->base.ops = &ops;
	h->base.net = &net;
	assert_int_equal(up_hca_init(&h->base, &limits), 0);
	h->base.lid = lid;
	h->base.gid.raw[15] = (uint8_t)lid;
	h->base.alive = true;
	h->ram = mmap(NULL, FAKE_RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(h->ram, MAP_FAILED);
	assert_int_equal(up_mem_add(&h->base.mem, FAKE_GPA, FAKE_RAM, h->ram, true), 0);
	h->all = up_mr_create(&h->base, UP_MR_PHYS, 0);
	assert_non_null(h->all);
	h->all->pdn = FAKE_PD;
	h->all->qpn = UP_MR_ANY_QP;
	h->all->access = 0x1f;
	h->all->valid = h->all->absolute = true;
	h->cq = calloc(1, sizeof(*h->cq));
	assert_non_null(h->cq);
	h->cq->base.hca = &h->base;
	up_lock_init(&h->cq->base.lock);
	return h;
}

void fake_hca_destroy(struct fake_hca *h)
{
	up_mr_destroy(&h->base, h->all);
	munmap(h->ram, FAKE_RAM);
	up_hca_fini(&h->base);
	free(h->cq);
	free(h);
}

void fake_world_create(struct fake_hca **a, struct fake_hca **b)
{
	fake_exec = up_exec_create();
	assert_non_null(fake_exec);
	*a = world[0] = fake_hca_create(1);
	*b = world[1] = fake_hca_create(2);
}

void fake_world_destroy(struct fake_hca *a, struct fake_hca *b)
{
	fake_hca_destroy(a);
	fake_hca_destroy(b);
	world[0] = world[1] = NULL;
	up_exec_destroy(fake_exec);
}

struct fake_qp *fake_qp_create(struct fake_hca *hca, enum up_qp_type type, struct fake_srq *srq)
{
	struct fake_qp *qp = calloc(1, sizeof(*qp));

	assert_non_null(qp);
	qp->base.hca = &hca->base;
	qp->base.type = type;
	qp->base.pdn = FAKE_PD;
	qp->base.has_sq = type != UP_QP_XRC_TGT;
	qp->base.has_rq = type != UP_QP_XRC_INI && type != UP_QP_XRC_TGT && !srq;
	qp->base.send_cq = qp->base.recv_cq = &hca->cq->base;
	qp->base.srq = srq ? &srq->base : NULL;
	assert_int_equal(up_qp_create(&qp->base), 0);
	return qp;
}

void fake_qp_destroy(struct fake_qp *qp)
{
	qp_reset(&qp->base);
	up_qp_destroy(&qp->base);
	free(qp);
}

void fake_raise(struct fake_qp *qp, struct fake_qp *peer, enum up_qp_state state)
{
	static const enum up_qp_state path[] = {UP_QPS_INIT, UP_QPS_RTR, UP_QPS_RTS};

	qp->base.attr = (struct up_qp_attr){
		.remote_qpn = peer->base.qpn,
		.qkey = 0x1234,
		.access = UP_ACCESS_REMOTE_READ | UP_ACCESS_REMOTE_WRITE | UP_ACCESS_REMOTE_ATOMIC,
		.mtu = 4096,
		.min_rnr_timer = 1,
		.rnr_retry = 2,
		.retry_count = 2,
		.ack_timeout = 8,
		.max_rd_atomic = 16,
		.max_dest_rd_atomic = 16,
		.av = {.dlid = peer->base.hca->lid},
	};
	for (unsigned i = 0; i < UP_ARRAY_SIZE(path) && path[i] <= state; i++)
		assert_int_equal(up_qp_modify(&qp->base, path[i]), 0);
}

void fake_connect(struct fake_qp *a, struct fake_qp *b)
{
	fake_raise(a, b, UP_QPS_RTS);
	fake_raise(b, a, UP_QPS_RTS);
}

struct fake_pair *fake_pair_create(enum up_qp_type type)
{
	struct fake_pair *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	fake_world_create(&p->ha, &p->hb);
	p->a = fake_qp_create(p->ha, type, NULL);
	p->b = fake_qp_create(p->hb, type, NULL);
	fake_connect(p->a, p->b);
	return p;
}

int fake_pair_teardown(void **state)
{
	struct fake_pair *p = *state;

	fake_qp_destroy(p->a);
	fake_qp_destroy(p->b);
	fake_world_destroy(p->ha, p->hb);
	free(p);
	return 0;
}

struct fake_srq *fake_srq_create(struct fake_hca *hca, bool xrc)
{
	struct fake_srq *srq = calloc(1, sizeof(*srq));
	int64_t id;

	assert_non_null(srq);
	srq->base.hca = &hca->base;
	srq->base.pdn = FAKE_PD;
	srq->base.xrc = xrc;
	srq->base.cq = &hca->cq->base;
	up_srq_init(&srq->base);
	id = up_table_add(&hca->base.srqs, &srq->base);
	assert_true(id > 0);
	srq->base.srqn = (uint32_t)id;
	return srq;
}

void fake_srq_destroy(struct fake_srq *srq)
{
	while (!up_srq_forget(&srq->base, 1))
		;
	up_table_del(&srq->base.hca->srqs, srq->base.srqn);
	free(srq);
}

struct up_send_wr *fake_prepare(struct fake_qp *qp, enum up_opcode op, uint64_t off, uint32_t len)
{
	struct up_send_wr *wr = calloc(1, sizeof(*wr));
	struct fake_hca *hca = UP_CONTAINER_OF(qp->base.hca, struct fake_hca, base);

	assert_non_null(wr);
	assert_true(qp->sq_posted - counter(&qp->sq_taken) < FAKE_DEPTH);
	wr->op = op;
	wr->flags = UP_WR_SIGNALED;
	wr->index = (uint16_t)qp->sq_posted;
	wr->slots = 1;
	wr->length = len;
	wr->nsge = 1;
	wr->sge[0] = (struct up_sge){.addr = FAKE_GPA + off, .len = len, .key = hca->all->key};
	qp->sends[qp->sq_posted % FAKE_DEPTH] = wr;
	return wr;
}

void fake_submit(struct fake_qp *qp)
{
	advance(&qp->sq_posted);
}

struct up_send_wr *fake_post(struct fake_qp *qp, enum up_opcode op, uint64_t off, uint32_t len)
{
	struct up_send_wr *wr = fake_prepare(qp, op, off, len);

	fake_submit(qp);
	return wr;
}

struct up_send_wr *fake_post_remote(struct fake_pair *p, enum up_opcode op, uint64_t off,
				    uint32_t len, uint64_t remote)
{
	struct up_send_wr *wr = fake_post(p->a, op, off, len);

	wr->raddr = FAKE_GPA + remote;
	wr->rkey = p->hb->all->key;
	return wr;
}

static void fill_recv(struct up_recv_wr *wr, const struct fake_hca *hca, unsigned index,
		      uint64_t off, uint32_t len)
{
	*wr = (struct up_recv_wr){.index = (uint16_t)index, .nsge = 1, .length = len};
	wr->sge[0] = (struct up_sge){.addr = FAKE_GPA + off, .len = len, .key = hca->all->key};
}

void fake_recv(struct fake_qp *qp, uint64_t off, uint32_t len)
{
	assert_true(qp->rq_posted - counter(&qp->rq_taken) < FAKE_DEPTH);
	fill_recv(&qp->recvs[qp->rq_posted % FAKE_DEPTH],
		  UP_CONTAINER_OF(qp->base.hca, struct fake_hca, base), qp->rq_posted, off, len);
	advance(&qp->rq_posted);
}

void fake_srq_recv(struct fake_srq *srq, uint64_t off, uint32_t len)
{
	fill_recv(&srq->wr[srq->posted % FAKE_DEPTH],
		  UP_CONTAINER_OF(srq->base.hca, struct fake_hca, base), srq->posted, off, len);
	srq->posted++;
}

enum up_run fake_run_at(struct fake_qp *qp, uint64_t now)
{
	enum up_run run;

	do {
		struct up_budget budget = {.messages = 16, .bytes = 64 * 1024};

		fake_now = now;
		run = up_qp_run(fake_exec, &qp->base, now, &budget);
	} while (run == UP_RUN_MORE);
	return run;
}

enum up_run fake_run(struct fake_qp *qp)
{
	return fake_run_at(qp, 1);
}

struct up_wc fake_wc(struct fake_hca *hca)
{
	assert_int_equal(hca->cq->count, 1);
	hca->cq->count = 0;
	return hca->cq->wc[0];
}
