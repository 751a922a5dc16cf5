/* SPDX-License-Identifier: BSD-2-Clause */
/* User contexts: whose an object is, and what a process cannot name. */
#include "cx_rig.h"

#include "device/connectx/cmd.h"

/* The kernel's, and a process's that is about to be attacked. */
static struct objects {
	uint16_t uid;
	uint32_t pd, uar, xrcd, cqn, rmpn, qpn, key, umem;
} kernel, victim;

static uint32_t eqn, shared_eqn;

/* Where a process places what the command creates: the umem's halves, the record at its end. */
static void in_umem(uint32_t valid_at, uint32_t id_at, uint32_t umem)
{
	cx_set(rig.in, valid_at, 1);
	cx_set(rig.in, id_at, umem);
}

static void begin_cq(const struct objects *o, uint32_t eq)
{
	uint8_t *cqc = rig.in + CX_CREATE_CQ_IN_CQC_AT;

	rig_begin_cq(eq);
	if (!o->umem)
		return;
	in_umem(CX_CREATE_CQ_IN_CQ_UMEM_VALID, CX_CREATE_CQ_IN_CQ_UMEM_ID, o->umem);
	cx_set(cqc, CX_CQC_DBR_UMEM_VALID, 1);
	cx_set(cqc, CX_CQC_DBR_UMEM_ID, o->umem);
	cx_set64(cqc, CX_CQC_DBR_ADDR, 4096);
}

static void begin_qp(const struct objects *o)
{
	rig_begin_qp(CX_QPST_RC, o->cqn, o->pd, o->uar);
	if (!o->umem)
		return;
	in_umem(CX_CREATE_QP_IN_WQ_UMEM_VALID, CX_CREATE_QP_IN_WQ_UMEM_ID, o->umem);
	cx_set(rig_qpc(), CX_QPC_DBR_UMEM_VALID, 1);
	cx_set(rig_qpc(), CX_QPC_DBR_UMEM_ID, o->umem);
	cx_set64(rig_qpc(), CX_QPC_DBR_ADDR, 4104);
}

static void begin_rmp(const struct objects *o)
{
	uint8_t *wq = rig.in + CX_CREATE_RMP_IN_RMPC_AT + CX_RMPC_WQ_AT;

	rig_begin_rmp(o->pd);
	if (!o->umem)
		return;
	cx_set(wq, CX_WQ_WQ_UMEM_VALID, 1);
	cx_set(wq, CX_WQ_WQ_UMEM_ID, o->umem);
	cx_set(wq, CX_WQ_DBR_UMEM_VALID, 1);
	cx_set(wq, CX_WQ_DBR_UMEM_ID, o->umem);
	cx_set64(wq, CX_WQ_DBR_ADDR, 4112);
}

static uint32_t made(void)
{
	rig_ok();
	return rig_object();
}

/* One of each kind; the kernel composes them unless there is a umem. */
static void create_objects(struct objects *o)
{
	o->pd = rig_alloc_number(CX_CMD_ALLOC_PD);
	o->uar = rig_alloc_number(CX_CMD_ALLOC_UAR);
	o->xrcd = rig_alloc_number(CX_CMD_ALLOC_XRCD);
	begin_cq(o, shared_eqn);
	o->cqn = made();
	begin_rmp(o);
	o->rmpn = made();
	begin_qp(o);
	o->qpn = made();
	rig_begin_mkey(CX_MKC_MODE_KLMS, 4, 0);
	cx_set(rig_mkc(), CX_MKC_PD, o->pd);
	o->key = made();
}

static int setup(void **state)
{
	if (rig_setup_running(state))
		return -1;
	kernel = victim = (struct objects){0};
	eqn = rig_create_eq(0);
	rig.uid = CX_SHARED_UID;
	shared_eqn = rig_create_eq(0);
	rig.uid = 0;
	create_objects(&kernel);
	victim.uid = rig_become_user();
	victim.umem = rig_create_umem(2);
	create_objects(&victim);
	return 0;
}

static uint32_t destroy_uctx(uint16_t uid)
{
	rig_begin(CX_CMD_DESTROY_UCTX, 0, CX_IN_BYTES);
	cx_set(rig.in, CX_IN_UID, 0);
	cx_set(rig.in, CX_DESTROY_UCTX_IN_UID, uid);
	return rig_send();
}

static void contexts_come_and_go(void **state)
{
	uint16_t uid = rig_become_user();

	assert_int_not_equal(uid, victim.uid);
	assert_int_equal(destroy_uctx(uid), CX_OK);
	assert_int_equal(destroy_uctx(uid), CX_BAD_RES);
	assert_int_equal(cx_get(rig.out, CX_OUT_SYNDROME), CX_WHY_NO_UCTX);
	/* It is nobody any more. */
	assert_int_equal(rig_simple(CX_CMD_ALLOC_PD, 0), CX_BAD_RES);
	assert_int_equal(cx_get(rig.out, CX_OUT_SYNDROME), CX_WHY_NO_UCTX);
	rig.uid = 0;
	rig_begin(CX_CMD_CREATE_UCTX, 0, CX_CREATE_UCTX_IN_BYTES);
	cx_set(rig.in, CX_CREATE_UCTX_IN_CAP, 1);
	rig_fails(CX_BAD_PARAM, CX_WHY_TYPE);
}

static void contexts_run_out(void **state)
{
	unsigned n = 0;

	rig.uid = 0;
	rig_begin(CX_CMD_CREATE_UCTX, 0, CX_CREATE_UCTX_IN_BYTES);
	while (rig_send() == CX_OK) {
		n++;
		rig.next = rig.cmdq + CX_CMDQ_BYTES; /* mailboxes */
	}
	assert_int_equal(cx_get(rig.out, CX_OUT_SYNDROME), CX_WHY_TABLE_FULL);
	assert_int_equal(n, (1 << CX_LOG_MAX_UCTX) - 2);
}

/* Each kind of object holds its context, and lets go of it. */
static void context_in_use(void **state)
{
	const struct {
		uint16_t opcode;
		uint32_t number;
	} ends[] = {
		{CX_CMD_DESTROY_MKEY, victim.key},  {CX_CMD_DESTROY_QP, victim.qpn},
		{CX_CMD_DESTROY_RMP, victim.rmpn},  {CX_CMD_DESTROY_CQ, victim.cqn},
		{CX_CMD_DEALLOC_XRCD, victim.xrcd}, {CX_CMD_DEALLOC_UAR, victim.uar},
		{CX_CMD_DEALLOC_PD, victim.pd},	    {CX_CMD_DESTROY_UMEM, victim.umem},
	};

	for (unsigned i = 0; i < UP_ARRAY_SIZE(ends); i++) {
		assert_int_equal(destroy_uctx(victim.uid), CX_RES_BUSY);
		assert_int_equal(rig_simple(ends[i].opcode, ends[i].number), CX_OK);
	}
	assert_int_equal(destroy_uctx(victim.uid), CX_OK);
	rig.uid = 0;
	assert_int_equal(rig_simple(CX_CMD_TEARDOWN_HCA, 0), CX_OK);
}

static void commands_of_the_kernel(void **state)
{
	static const uint16_t opcodes[] = {
		CX_CMD_ENABLE_HCA,
		CX_CMD_TEARDOWN_HCA,
		CX_CMD_DISABLE_HCA,
		CX_CMD_SET_ISSI,
		CX_CMD_QUERY_SPECIAL_CONTEXTS,
		CX_CMD_DESTROY_UCTX,
		CX_CMD_DESTROY_EQ,
		CX_CMD_ACCESS_REG,
	};

	for (unsigned i = 0; i < UP_ARRAY_SIZE(opcodes); i++) {
		assert_int_equal(rig_simple(opcodes[i], 0), CX_BAD_OP);
		assert_int_equal(cx_get(rig.out, CX_OUT_SYNDROME), CX_WHY_KERNELS);
	}
	rig_begin(CX_CMD_QUERY_HCA_CAP, 0, CX_IN_BYTES);
	rig_ok();
}

/* What there is to do to an object that has a number. */
static void act_upon(const struct objects *o, uint32_t status, uint32_t why)
{
	const struct {
		uint16_t opcode;
		uint32_t number;
	} acts[] = {
		{CX_CMD_QUERY_MKEY, o->key},	{CX_CMD_DESTROY_MKEY, o->key},
		{CX_CMD_QUERY_QP, o->qpn},	{CX_CMD_2ERR_QP, o->qpn},
		{CX_CMD_2RST_QP, o->qpn},	{CX_CMD_DESTROY_QP, o->qpn},
		{CX_CMD_QUERY_RMP, o->rmpn},	{CX_CMD_DESTROY_RMP, o->rmpn},
		{CX_CMD_QUERY_CQ, o->cqn},	{CX_CMD_DESTROY_CQ, o->cqn},
		{CX_CMD_DEALLOC_XRCD, o->xrcd}, {CX_CMD_DEALLOC_UAR, o->uar},
		{CX_CMD_DEALLOC_PD, o->pd},
	};

	for (unsigned i = 0; i < UP_ARRAY_SIZE(acts); i++) {
		rig_begin(acts[i].opcode, 0, CX_IN_BYTES);
		cx_set(rig.in, CX_IN_OBJECT, acts[i].number);
		rig_fails(status, why);
	}
	rig_begin(CX_CMD_RST2INIT_QP, 0, CX_QP_IN_BYTES);
	cx_set(rig.in, CX_IN_OBJECT, o->qpn);
	rig_fails(status, why);
	rig_begin(CX_CMD_MODIFY_CQ, CX_MODIFY_CQ_OP_MODIFY, CX_MODIFY_CQ_IN_BYTES);
	cx_set(rig.in, CX_IN_OBJECT, o->cqn);
	rig_fails(status, why);
	rig_begin(CX_CMD_MODIFY_RMP, 0, CX_MODIFY_RMP_IN_BYTES);
	cx_set(rig.in, CX_IN_OBJECT, o->rmpn);
	rig_fails(status, why);
	rig_begin(CX_CMD_ATTACH_TO_MCG, 0, CX_MCG_IN_BYTES);
	cx_set(rig.in, CX_IN_OBJECT, o->qpn);
	rig_fails(status, why);
}

static void acts_on_its_own_alone(void **state)
{
	rig_become_user();
	act_upon(&victim, CX_BAD_RES, CX_WHY_OWNER);
	act_upon(&kernel, CX_BAD_RES, CX_WHY_OWNER);
	rig_begin(CX_CMD_DESTROY_UMEM, 0, CX_IN_BYTES);
	cx_set(rig.in, CX_IN_OBJECT, victim.umem);
	rig_fails(CX_BAD_RES, CX_WHY_OWNER);
}

/* The attacker's QP, but for one of its references. */
static void refused_qp(const struct objects *o, uint32_t field, uint32_t value)
{
	begin_qp(o);
	cx_set(rig_qpc(), CX_QPC_RQ_TYPE, CX_RQ_SRQ);
	cx_set(rig_qpc(), CX_QPC_SRQN_RMPN_XRQN, o->rmpn);
	cx_set(rig_qpc(), field, value);
	rig_fails(CX_BAD_RES, CX_WHY_OWNER);
}

static void refused_references(const struct objects *o, const struct objects *other)
{
	refused_qp(o, CX_QPC_PD, other->pd);
	refused_qp(o, CX_QPC_CQN_SND, other->cqn);
	refused_qp(o, CX_QPC_CQN_RCV, other->cqn);
	refused_qp(o, CX_QPC_SRQN_RMPN_XRQN, other->rmpn);
	begin_rmp(o);
	cx_set(rig.in + CX_CREATE_RMP_IN_RMPC_AT + CX_RMPC_WQ_AT, CX_WQ_PD, other->pd);
	rig_fails(CX_BAD_RES, CX_WHY_OWNER);
	rig_begin_mkey(CX_MKC_MODE_KSM, 4, 0);
	cx_set(rig_mkc(), CX_MKC_PD, other->pd);
	rig_fails(CX_BAD_RES, CX_WHY_OWNER);
}

static void refers_to_its_own_alone(void **state)
{
	struct objects own = {.uid = rig_become_user()};

	own.umem = rig_create_umem(2);
	create_objects(&own);
	refused_references(&own, &victim);
	refused_references(&own, &kernel);
	refused_qp(&own, CX_QPC_UAR_PAGE, victim.uar);
	begin_cq(&own, eqn);
	rig_fails(CX_BAD_RES, CX_WHY_OWNER);
	own.umem = victim.umem;
	begin_cq(&own, shared_eqn);
	rig_fails(CX_BAD_RES, CX_WHY_OWNER);
	begin_qp(&own);
	rig_fails(CX_BAD_RES, CX_WHY_OWNER);
}

static void refused_domain(uint32_t xrcd, uint32_t why)
{
	uint8_t *ctx = rig.in + CX_CREATE_SRQ_IN_SRQC_AT;

	rig_begin_xrc_srq(victim.pd, xrcd, victim.cqn);
	in_umem(CX_CREATE_XRC_SRQ_IN_XRC_SRQ_UMEM_VALID, CX_CREATE_XRC_SRQ_IN_XRC_SRQ_UMEM_ID,
		victim.umem);
	cx_set(ctx, CX_XRC_SRQC_DBR_UMEM_VALID, 1);
	cx_set(ctx, CX_XRC_SRQC_DBR_UMEM_ID, victim.umem);
	cx_set64(ctx, CX_XRC_SRQC_DBR_ADDR, 4096);
	assert_int_equal(rig_send(), why ? CX_BAD_RES : CX_OK);
	assert_int_equal(cx_get(rig.out, CX_OUT_SYNDROME), why);
}

static void domains_of_shared_queues(void **state)
{
	refused_domain(kernel.xrcd, CX_WHY_OWNER);
	refused_domain(victim.xrcd, 0);
}

/* What the kernel composes for a process may use what is the kernel's, not another process's. */
static void composed_by_the_kernel(void **state)
{
	struct objects own = {.uid = rig_become_user()};

	create_objects(&own);
	begin_qp(&own);
	cx_set(rig_qpc(), CX_QPC_PD, kernel.pd);
	cx_set(rig_qpc(), CX_QPC_CQN_RCV, kernel.cqn);
	cx_set(rig_qpc(), CX_QPC_RQ_TYPE, CX_RQ_SRQ);
	cx_set(rig_qpc(), CX_QPC_SRQN_RMPN_XRQN, kernel.rmpn);
	rig_ok();
	begin_cq(&own, eqn);
	rig_ok();
	refused_qp(&own, CX_QPC_PD, victim.pd);
	refused_qp(&own, CX_QPC_CQN_SND, victim.cqn);
	refused_qp(&own, CX_QPC_SRQN_RMPN_XRQN, victim.rmpn);
}

/* The pages of processes are the kernel's before Linux 5.14. */
static void kernels_uar(void **state)
{
	begin_qp(&victim);
	cx_set(rig_qpc(), CX_QPC_UAR_PAGE, kernel.uar);
	rig_ok();
}

static void kernel_acts_on_all(void **state)
{
	rig.uid = 0;
	assert_int_equal(rig_simple(CX_CMD_QUERY_QP, victim.qpn), CX_BAD_OUTP_LEN);
	rig_begin_mkey(CX_MKC_MODE_MTT, 4, 0);
	cx_set(rig_mkc(), CX_MKC_PD, victim.pd);
	rig_ok();
	assert_int_equal(rig_simple(CX_CMD_DESTROY_QP, victim.qpn), CX_OK);
	assert_int_equal(rig_simple(CX_CMD_DESTROY_CQ, victim.cqn), CX_OK);
}

static void queue_pairs_of_the_kernel(void **state)
{
	static const uint8_t types[] = {CX_QPST_QP0, CX_QPST_QP1, CX_QPST_REG_UMR};
	static const uint32_t rights[] = {CX_QPC_RLKY, CX_QPC_FRE};

	for (unsigned i = 0; i < UP_ARRAY_SIZE(types); i++) {
		begin_qp(&victim);
		cx_set(rig_qpc(), CX_QPC_ST, types[i]);
		rig_fails(CX_BAD_PARAM, CX_WHY_KERNELS);
	}
	for (unsigned i = 0; i < UP_ARRAY_SIZE(rights); i++) {
		begin_qp(&victim);
		cx_set(rig_qpc(), rights[i], 1);
		rig_fails(CX_BAD_PARAM, CX_WHY_KERNELS);
	}
}

static uint32_t alloc_counter(uint16_t uid)
{
	uint16_t me = rig.uid;

	rig.uid = uid;
	rig_begin(CX_CMD_ALLOC_Q_COUNTER, 0, CX_IN_BYTES);
	rig_ok();
	rig.uid = me;
	return cx_get(rig.out, CX_ALLOC_Q_COUNTER_OUT_COUNTER_SET_ID);
}

static uint32_t init_with_counter(uint32_t set)
{
	assert_int_equal(rig_simple(CX_CMD_2RST_QP, victim.qpn), CX_OK);
	rig_begin(CX_CMD_RST2INIT_QP, 0, CX_QP_IN_BYTES);
	cx_set(rig.in, CX_IN_OBJECT, victim.qpn);
	cx_set(rig_qpc(), CX_QPC_COUNTER_SET_ID, set);
	return rig_send();
}

static void counters_are_owned(void **state)
{
	uint32_t shared = alloc_counter(CX_SHARED_UID), own = alloc_counter(victim.uid);
	uint32_t kernels = alloc_counter(0);

	assert_int_equal(init_with_counter(shared), CX_OK);
	assert_int_equal(init_with_counter(own), CX_OK);
	assert_int_equal(init_with_counter(0), CX_OK);
	assert_int_equal(init_with_counter(kernels), CX_OK);
	rig_become_user();
	own = alloc_counter(rig.uid);
	rig.uid = victim.uid;
	assert_int_equal(init_with_counter(own), CX_BAD_RES);
	assert_int_equal(cx_get(rig.out, CX_OUT_SYNDROME), CX_WHY_OWNER);
	rig_begin(CX_CMD_DEALLOC_Q_COUNTER, 0, CX_IN_BYTES);
	cx_set(rig.in, CX_DEALLOC_Q_COUNTER_IN_COUNTER_SET_ID, shared);
	rig_fails(CX_BAD_RES, CX_WHY_OWNER);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		TEST(contexts_come_and_go),
		TEST(contexts_run_out),
		TEST(context_in_use),
		TEST(commands_of_the_kernel),
		TEST(acts_on_its_own_alone),
		TEST(refers_to_its_own_alone),
		TEST(domains_of_shared_queues),
		TEST(composed_by_the_kernel),
		TEST(kernels_uar),
		TEST(kernel_acts_on_all),
		TEST(queue_pairs_of_the_kernel),
		TEST(counters_are_owned),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
