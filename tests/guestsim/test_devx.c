/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Processes that compose their commands themselves (DEVX): traffic over queues and keys in their
 * own memory, what they cannot name, and how they end.
 */
#include "testlib.h"

#include <stdlib.h>
#include <string.h>

enum { KIB = 1024, MIB = 1024 * 1024 };

static struct gs_devx *process_a, *process_b;

/* A process on each side, and RC QPs of theirs. */
static void open_sides(struct pair *p)
{
	struct gs_link l = gs_link_default();

	p->a.vm = gs_vm_open_port(&tl_daemon, 0);
	p->b.vm = gs_vm_open_port(&tl_daemon, 1);
	process_a = gs_devx_begin(p->a.vm);
	process_b = gs_devx_begin(p->b.vm);
	tl_side_fill(&p->a);
	tl_side_fill(&p->b);
	tl_connect(p, GS_RC, &l);
}

static int processes_open(void **state)
{
	*state = calloc(1, sizeof(struct pair));
	open_sides(*state);
	return 0;
}

static void test_traffic(void **state)
{
	static const size_t sizes[] = {1, 4096, 64 * KIB, 3 * MIB + 7};
	struct pair *p = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		tl_send_recv(&p->a, &p->b, sizes[i]);
		tl_send_recv(&p->b, &p->a, sizes[i]);
		tl_fill(p->a.buf, sizes[i], i);
		assert_int_equal(
			tl_rdma_key(p, CX_OP_RDMA_WRITE, p->b.mr->key, p->b.mr->addr, sizes[i]), 0);
		tl_check(p->b.buf, sizes[i], i);
	}
}

static void test_events(void **state)
{
	struct pair *p = *state;
	struct gs_wc wc;

	/* A record that was never written may be answered by one event too many. */
	tl_ping(p);
	gs_cq_wait_event(p->b.rcq, 1);
	for (unsigned i = 0; i < 50; i++) {
		gs_cq_arm(p->b.rcq, false);
		tl_recv(&p->b, 0, 64);
		tl_send(&p->a, 0, 64);
		assert_true(gs_cq_wait_event(p->b.rcq, GS_WAIT_MS));
		gs_cq_wait(p->b.rcq, &wc, 1);
		gs_cq_wait(p->a.scq, &wc, 1);
	}
}

static void test_resize(void **state)
{
	struct pair *p = *state;

	for (unsigned i = 0; i < 8; i++) {
		tl_recv(&p->b, 0, 64);
		tl_send(&p->a, 0, 64);
		gs_cq_expect(p->a.scq, 0);
		assert_int_equal(gs_cq_resize(p->b.rcq, i % 2 ? 64 : 2048), 0);
		gs_cq_expect(p->b.rcq, 0);
	}
}

static void test_pool(void **state)
{
	struct pair *p = *state;
	struct gs_srq *srq = gs_srq_create(p->b.pd, &(struct gs_srq_attr){.wrs = 16, .sges = 1});
	struct gs_qp_attr attr = {.type = GS_RC, .srq = srq};
	struct gs_link l = gs_link_default();
	struct gs_sge sge = gs_sge(p->b.mr, p->b.buf, 4096);
	struct gs_qp *sender;

	gs_qp_destroy(p->a.qp);
	gs_qp_destroy(p->b.qp);
	attr.send_cq = p->b.scq;
	attr.recv_cq = p->b.rcq;
	p->b.qp = gs_qp_create(p->b.pd, &attr);
	tl_side_qp(&p->a, GS_RC);
	sender = p->a.qp;
	gs_qp_connect(sender, p->b.qp, &l);
	gs_srq_arm_limit(srq, 2);
	for (unsigned i = 0; i < 3; i++)
		gs_post_srq_recv(srq, i, &sge, 1);
	for (unsigned i = 0; i < 3; i++) {
		tl_send(&p->a, 0, 100);
		gs_cq_expect(p->a.scq, 0);
		gs_cq_expect(p->b.rcq, 0);
	}
	gs_event_expect(p->b.vm, CX_EVENT_SRQ_RQ_LIMIT, srq->srqn);
}

/* As UCX makes its keys for atomics: the parts are of 2 GiB and begin below the region. */
static void test_key_for_atomics(void **state)
{
	enum { SHIFT = 31, SALT = 8 * 77 };
	struct pair *p = *state;
	uint64_t low = p->b.mr->addr & -(1ull << SHIFT);
	struct gs_part parts[2] = {
		{.key = p->b.mr->key, .addr = low},
		{.key = p->b.mr->key, .addr = low + (1ull << SHIFT)},
	};
	struct gs_mr *key = gs_mr_register_ksm(p->b.pd, parts, 2, SHIFT, GS_ALL);
	uint64_t at = p->b.mr->addr - low, value = 40;

	memcpy(p->b.buf + 64, &value, sizeof(value));
	assert_int_equal(tl_rdma_key(p, CX_OP_ATOMIC_FA, key->key, at + 64, 8), 0);
	memcpy(&value, p->b.buf + 64, sizeof(value));
	assert_int_not_equal(value, 40);
	tl_fill(p->a.buf, KIB, SALT);
	assert_int_equal(tl_rdma_key(p, CX_OP_RDMA_WRITE, key->key, at, KIB), 0);
	tl_check(p->b.buf, KIB, SALT);
	assert_int_equal(gs_mr_deregister(key), 0);
	assert_int_not_equal(tl_rdma_key(p, CX_OP_RDMA_READ, key->key, at, 8), 0);
}

/* More pages than the device reads at a time. */
static void test_large_memory(void **state)
{
	enum { LEN = 160 * MIB };
	struct pair *p = *state;
	uint8_t *mem = gs_ram_alloc(p->b.vm, LEN, 4096);
	struct gs_mr *mr = gs_mr_register_at(p->b.pd, mem, LEN, 0x10000000000, 12, GS_ALL);

	tl_fill(p->a.buf, MIB, 9);
	assert_int_equal(tl_rdma_key(p, CX_OP_RDMA_WRITE, mr->key, mr->addr + LEN - MIB, MIB), 0);
	tl_check(mem + LEN - MIB, MIB, 9);
	assert_int_equal(gs_mr_deregister(mr), 0);
	tl_ping(p);
}

static void expect_owner(struct gs_vm *vm, uint16_t opcode, uint32_t number)
{
	uint8_t in[CX_QP_IN_BYTES] = {0}, out[CX_QUERY_QP_OUT_BYTES];

	cx_set(in, CX_IN_OPCODE, opcode);
	cx_set(in, CX_IN_OBJECT, number);
	assert_int_not_equal(gs_cmd_raw(vm, in, sizeof(in), out, sizeof(out)), 0);
	assert_int_equal(vm->status, CX_BAD_RES);
	assert_int_equal(vm->syndrome, 30);
}

/* Two processes of one VM. */
static void test_others(void **state)
{
	struct pair *p = *state;
	struct gs_vm *vm = p->b.vm;
	const struct {
		uint16_t opcode;
		uint32_t number;
	} acts[] = {
		{CX_CMD_DESTROY_QP, p->b.qp->qpn},	  {CX_CMD_2ERR_QP, p->b.qp->qpn},
		{CX_CMD_2RST_QP, p->b.qp->qpn},		  {CX_CMD_QUERY_QP, p->b.qp->qpn},
		{CX_CMD_RTS2RTS_QP, p->b.qp->qpn},	  {CX_CMD_DESTROY_CQ, p->b.rcq->cqn},
		{CX_CMD_DESTROY_MKEY, p->b.mr->key >> 8}, {CX_CMD_QUERY_MKEY, p->b.mr->key >> 8},
		{CX_CMD_DEALLOC_PD, p->b.pd->pdn},	  {CX_CMD_DEALLOC_UAR, vm->uar},
	};
	struct gs_devx *thief;
	struct gs_pd *pd;

	thief = gs_devx_begin(vm);
	for (unsigned i = 0; i < ARRAY_SIZE(acts); i++)
		expect_owner(vm, acts[i].opcode, acts[i].number);
	pd = gs_pd_create(vm);
	assert_int_equal(gs_pd_destroy(pd), 0);
	assert_int_equal(gs_devx_end(vm, thief), 0);
	vm->devx = process_b;
	tl_ping(p);
}

/* A list of another's keys is made, and leads nowhere. */
static void test_others_keys(void **state)
{
	struct pair *p = *state;
	struct gs_vm *vm = p->b.vm;
	struct gs_part part = {.key = p->b.mr->key, .addr = p->b.mr->addr};
	struct gs_devx *thief = gs_devx_begin(vm);
	struct side s = {.vm = vm};
	struct gs_link l = gs_link_default();
	struct gs_mr *list;

	tl_side_fill(&s);
	tl_side_qp(&s, GS_RC);
	list = gs_mr_register_ksm(s.pd, &part, 1, 20, GS_ALL);
	gs_qp_to_reset(p->a.qp);
	gs_qp_connect(p->a.qp, s.qp, &l);
	assert_int_not_equal(tl_rdma_key(p, CX_OP_RDMA_READ, list->key, 0, 8), 0);
	assert_int_not_equal(gs_devx_end(vm, thief), 0);
	vm->devx = process_b;
}

/* Everything in use stays; in the right order all of it goes. */
static void test_orderly_end(void **state)
{
	struct pair *p = *state;
	struct side *s = &p->b;
	struct gs_vm *vm = s->vm;

	assert_int_not_equal(gs_devx_end(vm, process_b), 0);
	assert_int_equal(vm->status, CX_RES_BUSY);
	vm->devx = process_b;
	assert_int_not_equal(gs_pd_destroy(s->pd), 0);
	assert_int_equal(gs_qp_destroy(s->qp), 0);
	assert_int_equal(gs_cq_destroy(s->scq), 0);
	assert_int_equal(gs_cq_destroy(s->rcq), 0);
	assert_int_not_equal(gs_pd_destroy(s->pd), 0);
	assert_int_equal(gs_mr_deregister(s->mr), 0);
	assert_int_not_equal(gs_devx_end(vm, process_b), 0);
	vm->devx = process_b;
	assert_int_equal(gs_pd_destroy(s->pd), 0);
	assert_int_equal(gs_devx_end(vm, process_b), 0);
}

/* The kernel cleans up after a process; the VM goes without a word. Both again and again. */
static void test_sudden_end(void **state)
{
	struct pair *p = *state;

	for (unsigned i = 0; i < 5; i++) {
		for (unsigned n = 0; n < 16; n++)
			tl_rdma(&p->a, CX_OP_RDMA_WRITE, 0, MIB, &p->b, 0);
		tl_side_close(i % 2 ? &p->a : &p->b);
		gs_daemon_check(&tl_daemon);
		tl_side_close(i % 2 ? &p->b : &p->a);
		open_sides(p);
	}
	tl_ping(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, processes_open, tl_pair_close)
		TEST(test_traffic),    TEST(test_events),	   TEST(test_resize),
		TEST(test_pool),       TEST(test_key_for_atomics), TEST(test_large_memory),
		TEST(test_others),     TEST(test_others_keys),	   TEST(test_orderly_end),
		TEST(test_sudden_end),
	};

	tl_init();
	return cmocka_run_group_tests(tests, tl_start, tl_stop);
}
