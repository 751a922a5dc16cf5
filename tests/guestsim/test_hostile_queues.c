/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that writes rubbish into work requests, doorbell records and doorbell pages, and destroys
 * what is in use. The daemon lives, other VMs are undisturbed, and nothing is left when it is gone.
 */
#include "bystanders.h"

#include <string.h>

/* ---- queues ---- */

struct victim {
	struct side s;
	struct gs_srq *srq;
	struct gs_qp *qps[8];
	unsigned count;
};

/* QPs of all kinds on a VM, connected to themselves and one another. */
static void open_victim(struct victim *v, unsigned port)
{
	static const enum gs_qp_type types[] = {GS_RC,	    GS_RC, GS_UC, GS_UD,
						GS_XRC_INI, GS_RC, GS_RC};
	struct gs_link l = gs_link_default();

	memset(v, 0, sizeof(*v));
	tl_side_open(&v->s, port);
	l.timeout = 8;
	l.retry_count = 1;
	l.rnr_retry = 1;
	v->srq = gs_srq_create(v->s.pd, &(struct gs_srq_attr){.wrs = 64, .sges = 3});
	for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
		struct gs_qp_attr attr = {.type = types[i],
					  .send_cq = v->s.scq,
					  .recv_cq = v->s.rcq,
					  .kernel = i == 5,
					  .srq = i == 6 ? v->srq : NULL};
		struct gs_qp *qp = gs_qp_create(v->s.pd, &attr);

		l.remote_qpn = i == 6 ? v->qps[0]->qpn : qp->qpn;
		l.path = gs_path_to(v->s.vm);
		gs_qp_bring_up(qp, &l);
		v->qps[v->count++] = qp;
	}
}

/* Requests that are nearly right: a good opcode and size, rubbish behind. */
static void scribble_requests(struct victim *v, struct gs_qp *qp)
{
	static const uint8_t ops[] = {CX_OP_NOP,
				      CX_OP_SEND,
				      CX_OP_SEND_IMM,
				      CX_OP_SEND_INVAL,
				      CX_OP_RDMA_WRITE,
				      CX_OP_RDMA_WRITE_IMM,
				      CX_OP_RDMA_READ,
				      CX_OP_ATOMIC_CS,
				      CX_OP_ATOMIC_FA,
				      CX_OP_UMR,
				      0x14,
				      0x15};

	by_fill(qp->sq, qp->sq_blocks * CX_WQE_BB);
	if (by_pick(4) == 0)
		return;
	for (unsigned b = 0; b < qp->sq_blocks; b++) {
		uint8_t *w = gs_sq_block(qp, (uint16_t)b);

		up_put_be32(w, b << 8 | ops[by_pick(ARRAY_SIZE(ops))]);
		up_put_be32(w + 4, qp->qpn << 8 | (uint32_t)by_pick(12));
		w[11] = (uint8_t)(by_pick(2) * 8 | by_pick(2) * 0x80);
		/* Addresses and keys that exist, here and there. */
		for (unsigned at = 16; at + 16 <= CX_WQE_BB; at += 16) {
			if (by_pick(3) == 0)
				up_put_be64(w + at, (uintptr_t)v->s.buf + by_pick(TL_BUF));
			if (by_pick(3) == 0)
				up_put_be32(w + at + 8, v->s.mr->key);
			if (by_pick(3) == 0) {
				up_put_be32(w + at, (uint32_t)by_pick(1 << 20));
				up_put_be32(w + at + 4, v->s.mr->key);
				up_put_be64(w + at + 8, (uintptr_t)v->s.buf + by_pick(TL_BUF));
			}
		}
	}
}

static void ring_wildly(struct victim *v, struct gs_qp *qp)
{
	uint32_t sends = (uint32_t)(by_pick(2) ? by_pick(qp->sq_blocks + 2) : by_random());
	uint32_t recvs = (uint32_t)(by_pick(2) ? by_pick(qp->rq_wrs + 2) : by_random());

	__atomic_store_n(&qp->dbr[CX_DBR_SEND], htobe32(sends), __ATOMIC_RELEASE);
	__atomic_store_n(&qp->dbr[CX_DBR_RECV], htobe32(recvs), __ATOMIC_RELEASE);
	__atomic_store_n(v->srq->dbr, htobe32((uint32_t)by_random()), __ATOMIC_RELEASE);
	gs_uar_store64(v->s.vm, qp->uar, CX_UAR_BF_OFFSET + CX_UAR_BF_STRIDE * (uint32_t)by_pick(2),
		       by_pick(2) ? (uint64_t)qp->qpn << 8 : by_random());
}

static void scribble_cq(struct gs_cq *cq)
{
	cq->dbr[CX_DBR_CQ_CI] = (uint32_t)by_random();
	cq->dbr[CX_DBR_CQ_ARM] = (uint32_t)by_random();
}

static void test_spoilt_queues(void **state)
{
	for (unsigned round = 0; round < 60; round++) {
		struct victim v;

		open_victim(&v, round % 2);
		for (unsigned n = 0; n < 20; n++) {
			struct gs_qp *qp = v.qps[by_pick(v.count)];

			scribble_requests(&v, qp);
			if (qp->rq_wrs)
				by_fill(qp->rq, (size_t)qp->rq_wrs * qp->rq_stride);
			by_fill(v.srq->ring, (size_t)v.srq->wrs * v.srq->stride);
			ring_wildly(&v, qp);
			if (by_pick(3) == 0)
				scribble_cq(v.s.scq);
			if (by_pick(4) == 0)
				gs_qp_to_err(qp);
			if (by_pick(4) == 0) {
				struct gs_link l = gs_link_default();

				gs_qp_to_reset(qp);
				l.remote_qpn = qp->qpn;
				l.path = gs_path_to(v.s.vm);
				gs_qp_bring_up(qp, &l);
			}
		}
		by_check();
		tl_side_close(&v.s);
	}
	by_check_port(0);
	by_check_port(1);
}

/* Registration requests of a kernel QP with every field at random: it can ruin only its own VM. */
static void test_spoilt_registrations(void **state)
{
	struct victim v;

	open_victim(&v, 0);
	for (unsigned i = 0; i < 3000; i++) {
		struct gs_link l = gs_link_default();
		struct gs_qp *qp = v.qps[5];
		uint8_t wqe[256];
		struct gs_wc wc;

		by_fill(wqe, sizeof(wqe));
		up_put_be32(wqe, CX_OP_UMR);
		wqe[11] = CX_CTRL_CE_CQE;
		up_put_be32(wqe + 12,
			    by_pick(2) ? v.s.mr->key : gs_mr_alloc(v.s.pd, 16, i % 2)->key);
		if (by_pick(2))
			up_put_be16(wqe + 20, (uint16_t)by_pick(16));
		gs_post_raw(qp, i, wqe, 128 + 16 * (unsigned)by_pick(9), true);
		gs_cq_wait(v.s.scq, &wc, 1);
		if (wc.status) {
			assert_int_equal(gs_qp_to_reset(qp), 0);
			l.remote_qpn = qp->qpn;
			l.path = gs_path_to(v.s.vm);
			gs_qp_bring_up(qp, &l);
		}
		/* Use whatever came of it. */
		if (i % 16 == 0) {
			struct gs_sge sge = {(uintptr_t)v.s.buf, 4096, v.s.mr->key};

			gs_post_send(v.qps[0], &(struct gs_send_wr){.op = CX_OP_RDMA_WRITE,
								    .raddr = by_odd_number(v.s.vm),
								    .rkey = v.s.mr->key,
								    .nsge = 1,
								    .sge = &sge,
								    .flags = GS_SIGNALED});
			gs_cq_wait(v.s.scq, &wc, 1);
			assert_int_equal(gs_qp_to_reset(v.qps[0]), 0);
			l.remote_qpn = v.qps[0]->qpn;
			l.path = gs_path_to(v.s.vm);
			gs_qp_bring_up(v.qps[0], &l);
		}
	}
	by_check();
	tl_side_close(&v.s);
	by_check_port(0);
}

/* ---- doorbells ---- */

struct flood {
	struct gs_vm *vm;
	const struct victim *v;
	bool stop;
};

static void *flood(void *arg)
{
	struct flood *f = arg;
	uint64_t state = 99;

	while (!__atomic_load_n(&f->stop, __ATOMIC_RELAXED)) {
		uint64_t r = gs_random(&state);
		const struct gs_qp *qp = f->v->qps[r % f->v->count];
		uint32_t page = r >> 32 & 1 ? f->vm->uar : 16 + (uint32_t)(r >> 40) % 8000;

		gs_uar_store64(f->vm, page, (uint32_t)(r >> 8 & 0xff8),
			       r >> 33 & 1 ? (uint64_t)qp->qpn << 8 : r);
		if (r >> 34 & 1)
			gs_uar_store64(f->vm, f->vm->uar, CX_UAR_BF_OFFSET,
				       (uint64_t)qp->qpn << 8 | (r & 0xffff) << 40);
	}
	return NULL;
}

static void test_doorbell_flood(void **state)
{
	struct victim v;
	struct flood f = {.v = &v};
	pthread_t t;

	open_victim(&v, 0);
	f.vm = v.s.vm;
	assert_int_equal(pthread_create(&t, NULL, flood, &f), 0);
	for (unsigned i = 0; i < 300; i++)
		by_check();
	__atomic_store_n(&f.stop, true, __ATOMIC_RELAXED);
	pthread_join(t, NULL);
	tl_side_close(&v.s);
	by_check_port(0);
}

/* ---- objects in use ---- */

static void test_destroy_in_use(void **state)
{
	struct gs_link l = gs_link_default();

	l.timeout = 8;
	l.retry_count = 1;
	for (unsigned round = 0; round < 60; round++) {
		struct pair p = {0};
		struct gs_vm *vm;

		tl_side_open(&p.a, 0);
		tl_side_open(&p.b, 1);
		tl_connect(&p, GS_RC, &l);
		vm = p.b.vm;
		for (unsigned n = 0; n < 8; n++) {
			tl_recv(&p.b, 8 << 20, 4 << 20);
			tl_rdma(&p.a, n % 2 ? CX_OP_RDMA_READ : CX_OP_RDMA_WRITE, 0, 4 << 20, &p.b,
				0);
			tl_send(&p.a, 0, 4 << 20);
		}
		for (uint64_t n = by_pick(1000000); n; n--)
			__asm__ volatile("" ::: "memory");
		/* In any order; those that are in use refuse, nothing breaks. */
		for (unsigned n = 0; n < 12; n++) {
			switch (by_pick(6)) {
			case 0:
				gs_cmd_object(vm, CX_CMD_DESTROY_MKEY, 0, p.b.mr->key >> 8);
				break;
			case 1:
				gs_cmd_object(vm, CX_CMD_DEALLOC_PD, 0, p.b.pd->pdn);
				break;
			case 2:
				gs_cmd_object(vm, CX_CMD_DESTROY_CQ, 0, p.b.rcq->cqn);
				break;
			case 3:
				gs_cmd_object(vm, CX_CMD_DESTROY_QP, 0, p.b.qp->qpn);
				break;
			case 4:
				gs_cmd_object(vm, CX_CMD_DEALLOC_UAR, 0, vm->uar);
				break;
			default:
				gs_cmd_object(p.a.vm, CX_CMD_DESTROY_MKEY, 0, p.a.mr->key >> 8);
				break;
			}
		}
		/* Each request of the other end completes. */
		for (unsigned n = 0; n < 16; n++) {
			struct gs_wc wc;

			gs_cq_wait(p.a.scq, &wc, 1);
		}
		tl_side_close(&p.a);
		tl_side_close(&p.b);
	}
	by_check_port(0);
	by_check_port(1);
}

/* After all of it: what the misbehaving ports took is given back. */
static void test_nothing_left(void **state)
{
	unsigned fds, maps;

	by_check_port(0);
	by_check_port(1);
	by_resources(&fds, &maps);
	for (unsigned i = 0; i < 20; i++) {
		struct victim v;

		open_victim(&v, i % 2);
		scribble_requests(&v, v.qps[0]);
		ring_wildly(&v, v.qps[0]);
		tl_side_close(&v.s);
	}
	gs_daemon_await_resources(&tl_daemon, fds, maps);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_spoilt_queues),  cmocka_unit_test(test_spoilt_registrations),
		cmocka_unit_test(test_doorbell_flood), cmocka_unit_test(test_destroy_in_use),
		cmocka_unit_test(test_nothing_left),
	};

	tl_init();
	return cmocka_run_group_tests(tests, by_start, by_stop);
}
