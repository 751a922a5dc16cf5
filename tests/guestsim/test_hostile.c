/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that writes rubbish: into command slots, mailboxes, contexts, page lists, work requests,
 * doorbell records and doorbell pages. Whatever it does, every command ends, the daemon lives, two
 * other VMs exchange messages undisturbed, and nothing is left when it is gone.
 *
 * The rubbish is reproducible: GS_SEED in the environment starts another sequence.
 */
#include "testlib.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Ports 0 and 1 misbehave, 2 and 3 look on. */
static struct pair bystanders;
static uint64_t seed = 1;

static int start(void **state)
{
	struct gs_link l = gs_link_default();
	const char *s = getenv("GS_SEED");

	if (s)
		seed = strtoull(s, NULL, 0);
	tl_opts.ports = 4;
	tl_start(state);
	tl_side_open(&bystanders.a, 2);
	tl_side_open(&bystanders.b, 3);
	tl_connect(&bystanders, GS_RC, &l);
	tl_ping(&bystanders);
	return 0;
}

static int stop(void **state)
{
	tl_side_close(&bystanders.a);
	tl_side_close(&bystanders.b);
	return tl_stop(state);
}

/* After each piece of rubbish: the daemon and the others are well. */
static void check_others(void)
{
	gs_daemon_check(&tl_daemon);
	tl_ping(&bystanders);
}

/* A fresh VM on the port still works: that the port is not harmed for good. */
static void check_port(unsigned port)
{
	struct gs_vm *vm = gs_vm_open_port(&tl_daemon, port);

	gs_vm_close(vm);
	check_others();
}

static uint64_t pick(uint64_t n)
{
	return gs_random(&seed) % n;
}

static void fill_random(void *p, size_t len)
{
	uint8_t *b = p;

	for (size_t i = 0; i < len; i++)
		b[i] = (uint8_t)gs_random(&seed);
}

/* Numbers that have been wrong before. */
static uint64_t odd_number(const struct gs_vm *vm)
{
	const uint64_t numbers[] = {0,
				    1,
				    0x7f,
				    0xfff,
				    0x1000,
				    0xffffff,
				    0x7fffffff,
				    0x80000000,
				    0xffffffff,
				    0x100000000,
				    vm->ram_size - 1,
				    vm->ram_size,
				    1ull << 52,
				    INT64_MAX,
				    1ull << 63,
				    UINT64_MAX - 4095,
				    UINT64_MAX - 1,
				    UINT64_MAX};

	return numbers[pick(ARRAY_SIZE(numbers))];
}

/* ---- commands ---- */

/* The device may answer with what it likes, but it answers. */
static void try_command(struct gs_vm *vm, const void *in, uint32_t inlen, uint32_t outlen)
{
	static uint8_t out[65536];

	if (gs_cmd_raw(vm, in, inlen, out, outlen) == -ETIMEDOUT)
		gs_fail("command %#x is never done", cx_get(in, CX_IN_OPCODE));
}

/* TEARDOWN and the like would only make the rest of the test boring. */
static bool ends_device(uint16_t opcode)
{
	return opcode == CX_CMD_TEARDOWN_HCA || opcode == CX_CMD_DISABLE_HCA ||
	       opcode == CX_CMD_DESTROY_EQ || opcode == CX_CMD_INIT_HCA ||
	       opcode == CX_CMD_ENABLE_HCA;
}

static void test_all_opcodes(void **state)
{
	struct gs_vm *vm = gs_vm_open_port(&tl_daemon, 0);
	uint8_t in[1024];

	for (uint32_t op = 0; op < 0x1000; op++) {
		if (ends_device((uint16_t)op))
			continue;
		fill_random(in, sizeof(in));
		cx_set(in, CX_IN_OPCODE, op);
		if (op % 2)
			cx_set(in, CX_IN_OP_MOD, (uint32_t)pick(4));
		try_command(vm, in, 16 + 4 * (uint32_t)pick(252), 16 + 4 * (uint32_t)pick(500));
		if (op % 256 == 0)
			check_others();
	}
	gs_vm_close(vm);
	check_port(0);
}

/* Commands as the driver sent them while it set objects up, to be spoilt. */
static struct template {
	uint8_t in[4096];
	uint32_t inlen, outlen;
} templates[256];
static unsigned nr_templates;

static void record(struct gs_vm *vm, const void *in, uint32_t inlen, uint32_t outlen)
{
	struct template *t = &templates[nr_templates];

	if (nr_templates == ARRAY_SIZE(templates) || inlen > sizeof(t->in) ||
	    ends_device((uint16_t)cx_get(in, CX_IN_OPCODE)))
		return;
	memcpy(t->in, in, inlen);
	t->inlen = inlen;
	t->outlen = outlen;
	nr_templates++;
}

/* One of each kind of object, and what is done to them. */
static void set_up_everything(struct gs_vm *vm)
{
	struct gs_link l = gs_link_default();
	struct gs_pd *pd = gs_pd_create(vm);
	struct gs_cq *cq = gs_cq_create(vm, 64);
	uint32_t xrcd = gs_xrcd_alloc(vm);
	struct gs_srq_attr basic = {.wrs = 16, .sges = 2};
	struct gs_srq_attr xrc = {.wrs = 16, .sges = 2, .xrc = true, .xrcd = xrcd, .cq = cq};
	void *buf = gs_ram_alloc(vm, 1 << 20, 4096);
	struct gs_part part = {.addr = (uintptr_t)buf, .len = 4096};
	uint8_t mgid[16] = {0xff, 0x12, 9};

	part.key = gs_mr_register(pd, buf, 1 << 20, GS_ALL)->key;
	gs_mr_register_list(pd, &part, 1, GS_ALL);
	gs_mr_alloc(pd, 16, false);
	gs_mw_alloc(pd, 2);
	gs_srq_arm_limit(gs_srq_create(pd, &basic), 3);
	gs_srq_arm_limit(gs_srq_create(pd, &xrc), 3);
	for (enum gs_qp_type t = GS_RC; t <= GS_XRC_TGT; t++) {
		struct gs_qp_attr attr = {.type = t, .send_cq = cq, .xrcd = xrcd};
		struct gs_qp *qp = gs_qp_create(pd, &attr);
		uint8_t qpc[CX_QPC_BYTES];

		l.remote_qpn = qp->qpn;
		l.path = gs_path_to(vm);
		gs_qp_bring_up(qp, &l);
		gs_qp_query(qp, qpc);
		if (t == GS_UD) {
			gs_mcast_attach(qp, mgid);
			gs_mcast_detach(qp, mgid);
		}
		gs_qp_to_err(qp);
		gs_qp_to_reset(qp);
		if (t == GS_UC)
			gs_qp_destroy(qp);
	}
	gs_cq_moderate(cq, 10, 10);
	gs_cq_resize(cq, 128);
	gs_vm_await_active(vm);
}

/* Bits, bytes, words and addresses of a good command change. */
static void spoil(const struct gs_vm *vm, uint8_t *in, uint32_t inlen)
{
	for (uint64_t n = 1 + pick(4); n; n--) {
		uint32_t at = 2 + (uint32_t)pick(inlen - 2);

		switch (pick(4)) {
		case 0:
			in[at] ^= (uint8_t)(1u << pick(8));
			break;
		case 1:
			in[at] = (uint8_t)gs_random(&seed);
			break;
		case 2:
			at &= ~3u;
			if (at >= 4 && at + 4 <= inlen)
				up_put_be32(in + at, (uint32_t)odd_number(vm));
			break;
		default:
			at &= ~7u;
			if (at >= 8 && at + 8 <= inlen)
				up_put_be64(in + at, odd_number(vm));
			break;
		}
	}
}

static void test_spoilt_commands(void **state)
{
	for (unsigned round = 0; round < 10; round++) {
		struct gs_vm *vm = gs_vm_open_port(&tl_daemon, 0);
		uint8_t in[4096];

		nr_templates = 0;
		vm->on_command = record;
		set_up_everything(vm);
		vm->on_command = NULL;
		for (unsigned i = 0; i < 3000; i++) {
			const struct template *t = &templates[pick(nr_templates)];
			uint32_t inlen = t->inlen, outlen = t->outlen;

			memcpy(in, t->in, inlen);
			spoil(vm, in, inlen);
			if (pick(8) == 0)
				inlen = 16 + (uint32_t)pick(inlen - 15);
			if (pick(8) == 0)
				outlen = (uint32_t)pick(outlen + 1);
			if (!ends_device((uint16_t)cx_get(in, CX_IN_OPCODE)))
				try_command(vm, in, inlen, outlen);
		}
		check_others();
		gs_vm_close(vm);
	}
	check_port(0);
}

/* Slots and mailbox chains that make no sense, many at a time. */
static void test_spoilt_slots(void **state)
{
	for (unsigned round = 0; round < 100; round++) {
		struct gs_vm *vm = gs_vm_open_port(&tl_daemon, 0);
		struct cx_mailbox *box = gs_ram_alloc(vm, 4096, 4096);
		uint32_t slots = (uint32_t)gs_random(&seed);

		for (unsigned i = 0; i < vm->nr_slots; i++) {
			struct cx_cmd_slot *s = &vm->slots[i];

			memset(s, 0, sizeof(*s));
			s->type = pick(4) ? CX_CMD_TYPE : (uint8_t)pick(256);
			up_put_be32(s->inlen, (uint32_t)(pick(2) ? 16 + pick(1000) : odd_number(vm)));
			up_put_be32(s->outlen,
				    (uint32_t)(pick(2) ? 16 + pick(1000) : odd_number(vm)));
			up_put_be64(s->in_ptr, pick(2) ? gs_ram_gpa(vm, box) : odd_number(vm));
			up_put_be64(s->out_ptr, pick(2) ? gs_ram_gpa(vm, box) : odd_number(vm));
			fill_random(s->in, sizeof(s->in));
			cx_set(s->in, CX_IN_OPCODE, pick(2) ? CX_CMD_CREATE_QP : CX_CMD_CREATE_MKEY);
			s->token = (uint8_t)pick(3);
			s->status_own = CX_CMD_OWNER_HW;
		}
		fill_random(box, sizeof(*box));
		/* A chain that never ends. */
		up_put_be64(box->next, pick(3) ? gs_ram_gpa(vm, box) : odd_number(vm));
		box->token = 1;
		if (!gs_cmd_ring(vm, slots, GS_WAIT_MS))
			gs_fail("spoilt slots %#x are never done", slots);
		if (round % 10 == 0)
			check_others();
		gs_vm_close(vm);
	}
	check_port(0);
}

/* The command queue itself at an address that is none. */
static void test_queue_nowhere(void **state)
{
	static const uint64_t addresses[] = {0, 1ull << 40, UINT64_MAX & ~4095ull, 0xfffff000};

	for (unsigned i = 0; i < ARRAY_SIZE(addresses); i++) {
		struct gs_vm *vm = gs_vm_open_port(&tl_daemon, 0);

		gs_reg_write(vm, CX_ISEG_CMDQ_ADDR_H, (uint32_t)(addresses[i] >> 32));
		gs_reg_write(vm, CX_ISEG_CMDQ_ADDR_L_SZ, (uint32_t)addresses[i]);
		gs_reg_write(vm, CX_ISEG_CMD_DBELL, 0xffffffff);
		gs_reg_read(vm, CX_ISEG_HEALTH_COUNTER);
		check_others();
		gs_vm_close(vm);
	}
	check_port(0);
}

/* Registers all over the BAR and the configuration space, of every size and alignment. */
static void test_registers(void **state)
{
	struct gs_vm *vm = gs_vm_open_port(&tl_daemon, 0);
	uint8_t data[64];

	for (unsigned i = 0; i < 5000; i++) {
		unsigned region = pick(4) ? 0 : 7;
		uint64_t off = region ? pick(4200) : pick(3) ? pick(0x20000) : pick(40 << 20);
		uint32_t len = 1 + (uint32_t)pick(sizeof(data));

		/* Not the command queue, which the other tests are for. */
		if (!region && off < CX_ISEG_CMD_DBELL + 4 && off + len > CX_ISEG_CMDQ_ADDR_H)
			continue;
		fill_random(data, sizeof(data));
		if (pick(2))
			gs_vfio_write(&vm->vfio, region, off, data, len);
		else
			gs_vfio_read(&vm->vfio, region, off, data, len);
	}
	gs_vm_close(vm);
	check_port(0);
}

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
	static const enum gs_qp_type types[] = {GS_RC, GS_RC, GS_UC, GS_UD, GS_XRC_INI, GS_RC, GS_RC};
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
	static const uint8_t ops[] = {CX_OP_NOP,	CX_OP_SEND,	 CX_OP_SEND_IMM,
				      CX_OP_SEND_INVAL, CX_OP_RDMA_WRITE, CX_OP_RDMA_WRITE_IMM,
				      CX_OP_RDMA_READ,	CX_OP_ATOMIC_CS, CX_OP_ATOMIC_FA,
				      CX_OP_UMR,	0x14,		 0x15};

	fill_random(qp->sq, qp->sq_blocks * CX_WQE_BB);
	if (pick(4) == 0)
		return;
	for (unsigned b = 0; b < qp->sq_blocks; b++) {
		uint8_t *w = gs_sq_block(qp, (uint16_t)b);

		up_put_be32(w, b << 8 | ops[pick(ARRAY_SIZE(ops))]);
		up_put_be32(w + 4, qp->qpn << 8 | (uint32_t)pick(12));
		w[11] = (uint8_t)(pick(2) * 8 | pick(2) * 0x80);
		/* Addresses and keys that exist, here and there. */
		for (unsigned at = 16; at + 16 <= CX_WQE_BB; at += 16) {
			if (pick(3) == 0)
				up_put_be64(w + at, (uintptr_t)v->s.buf + pick(TL_BUF));
			if (pick(3) == 0)
				up_put_be32(w + at + 8, v->s.mr->key);
			if (pick(3) == 0) {
				up_put_be32(w + at, (uint32_t)pick(1 << 20));
				up_put_be32(w + at + 4, v->s.mr->key);
				up_put_be64(w + at + 8, (uintptr_t)v->s.buf + pick(TL_BUF));
			}
		}
	}
}

static void ring_wildly(struct victim *v, struct gs_qp *qp)
{
	uint32_t sends = (uint32_t)(pick(2) ? pick(qp->sq_blocks + 2) : gs_random(&seed));
	uint32_t recvs = (uint32_t)(pick(2) ? pick(qp->rq_wrs + 2) : gs_random(&seed));

	__atomic_store_n(&qp->dbr[CX_DBR_SEND], htobe32(sends), __ATOMIC_RELEASE);
	__atomic_store_n(&qp->dbr[CX_DBR_RECV], htobe32(recvs), __ATOMIC_RELEASE);
	__atomic_store_n(v->srq->dbr, htobe32((uint32_t)gs_random(&seed)), __ATOMIC_RELEASE);
	gs_uar_store64(v->s.vm, qp->uar, CX_UAR_BF_OFFSET + CX_UAR_BF_STRIDE * (uint32_t)pick(2),
		       pick(2) ? (uint64_t)qp->qpn << 8 : gs_random(&seed));
}

static void scribble_cq(struct gs_cq *cq)
{
	cq->dbr[CX_DBR_CQ_CI] = (uint32_t)gs_random(&seed);
	cq->dbr[CX_DBR_CQ_ARM] = (uint32_t)gs_random(&seed);
}

static void test_spoilt_queues(void **state)
{
	for (unsigned round = 0; round < 60; round++) {
		struct victim v;

		open_victim(&v, round % 2);
		for (unsigned n = 0; n < 20; n++) {
			struct gs_qp *qp = v.qps[pick(v.count)];

			scribble_requests(&v, qp);
			if (qp->rq_wrs)
				fill_random(qp->rq, (size_t)qp->rq_wrs * qp->rq_stride);
			fill_random(v.srq->ring, (size_t)v.srq->wrs * v.srq->stride);
			ring_wildly(&v, qp);
			if (pick(3) == 0)
				scribble_cq(v.s.scq);
			if (pick(4) == 0)
				gs_qp_to_err(qp);
			if (pick(4) == 0) {
				struct gs_link l = gs_link_default();

				gs_qp_to_reset(qp);
				l.remote_qpn = qp->qpn;
				l.path = gs_path_to(v.s.vm);
				gs_qp_bring_up(qp, &l);
			}
		}
		check_others();
		tl_side_close(&v.s);
	}
	check_port(0);
	check_port(1);
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

		fill_random(wqe, sizeof(wqe));
		up_put_be32(wqe, CX_OP_UMR);
		wqe[11] = CX_CTRL_CE_CQE;
		up_put_be32(wqe + 12, pick(2) ? v.s.mr->key : gs_mr_alloc(v.s.pd, 16, i % 2)->key);
		if (pick(2))
			up_put_be16(wqe + 20, (uint16_t)pick(16));
		gs_post_raw(qp, i, wqe, 128 + 16 * (unsigned)pick(9), true);
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
								    .raddr = odd_number(v.s.vm),
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
	check_others();
	tl_side_close(&v.s);
	check_port(0);
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
	uint64_t end;
	pthread_t t;
	unsigned pings = 0;

	open_victim(&v, 0);
	f.vm = v.s.vm;
	assert_int_equal(pthread_create(&t, NULL, flood, &f), 0);
	end = gs_now_ns() + 1000000000ull;
	while (gs_now_ns() < end) {
		check_others();
		pings++;
	}
	__atomic_store_n(&f.stop, true, __ATOMIC_RELAXED);
	pthread_join(t, NULL);
	/* The flood may cost its share, not the others theirs. */
	assert_true(pings > 20);
	tl_side_close(&v.s);
	check_port(0);
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
		for (uint64_t n = pick(1000000); n; n--)
			__asm__ volatile("" ::: "memory");
		/* In any order; those that are in use refuse, nothing breaks. */
		for (unsigned n = 0; n < 12; n++) {
			switch (pick(6)) {
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
	check_port(0);
	check_port(1);
}

/* Numbers of objects that are another VM's, or nobody's. */
static void test_foreign_numbers(void **state)
{
	static const uint16_t ops[] = {CX_CMD_DESTROY_QP,   CX_CMD_2ERR_QP,	 CX_CMD_2RST_QP,
				       CX_CMD_DESTROY_CQ,   CX_CMD_DESTROY_MKEY, CX_CMD_DEALLOC_PD,
				       CX_CMD_DEALLOC_UAR,  CX_CMD_DEALLOC_XRCD, CX_CMD_DESTROY_RMP,
				       CX_CMD_DESTROY_XRC_SRQ};
	struct gs_vm *vm = gs_vm_open_port(&tl_daemon, 0);

	for (unsigned i = 0; i < ARRAY_SIZE(ops); i++) {
		for (uint32_t n = 0; n < 600; n++)
			gs_cmd_object(vm, ops[i], 0, n);
		for (unsigned n = 0; n < 20; n++)
			assert_int_not_equal(gs_cmd_object(vm, ops[i], 0,
							   0x800000 | (uint32_t)pick(0x7fffff)),
					     0);
		check_others();
	}
	gs_vm_close(vm);
	check_port(0);
}

/* As many objects as there are numbers for, until the device says no; then all go at once. */
static void test_exhaust(void **state)
{
	struct gs_vm *vm = gs_vm_open_port(&tl_daemon, 0);
	static const uint16_t ops[] = {CX_CMD_ALLOC_PD, CX_CMD_ALLOC_UAR, CX_CMD_ALLOC_XRCD};
	uint8_t in[CX_IN_BYTES], out[CX_OUT_BYTES];

	for (unsigned i = 0; i < ARRAY_SIZE(ops); i++) {
		unsigned n = 0;

		memset(in, 0, sizeof(in));
		cx_set(in, CX_IN_OPCODE, ops[i]);
		while (n < 20000 && !gs_cmd_raw(vm, in, sizeof(in), out, sizeof(out)))
			n++;
		assert_true(n >= 100);
	}
	check_others();
	gs_vm_close(vm);
	check_port(0);
}

/* After all of it: what the misbehaving ports took is given back. */
static void test_nothing_left(void **state)
{
	unsigned fds, maps;

	check_port(0);
	check_port(1);
	usleep(100000);
	fds = gs_daemon_fds(&tl_daemon);
	maps = gs_daemon_maps(&tl_daemon);
	for (unsigned i = 0; i < 20; i++) {
		struct victim v;

		open_victim(&v, i % 2);
		scribble_requests(&v, v.qps[0]);
		ring_wildly(&v, v.qps[0]);
		tl_side_close(&v.s);
	}
	gs_daemon_await_resources(&tl_daemon, fds, maps);
	/* Two bystanders with one range each, mapped here and nowhere else. */
	assert_true(maps <= 2 * 2 + 4 * 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_opcodes),
		cmocka_unit_test(test_spoilt_commands),
		cmocka_unit_test(test_spoilt_slots),
		cmocka_unit_test(test_queue_nowhere),
		cmocka_unit_test(test_registers),
		cmocka_unit_test(test_spoilt_queues),
		cmocka_unit_test(test_spoilt_registrations),
		cmocka_unit_test(test_doorbell_flood),
		cmocka_unit_test(test_destroy_in_use),
		cmocka_unit_test(test_foreign_numbers),
		cmocka_unit_test(test_exhaust),
		cmocka_unit_test(test_nothing_left),
	};

	tl_init();
	return cmocka_run_group_tests(tests, start, stop);
}
