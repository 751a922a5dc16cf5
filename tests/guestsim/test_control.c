/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control path beyond what every VM needs to come up: registers that the driver watches,
 * queries, port registers, management datagrams, counters, and commands that do not exist.
 */
#include "testlib.h"

#include <string.h>
#include <unistd.h>

static int open_vm(void **state)
{
	*state = gs_vm_open_port(&tl_daemon, 0);
	return 0;
}

static int close_vm(void **state)
{
	gs_daemon_check(&tl_daemon);
	gs_vm_close(*state);
	return 0;
}

/* The driver calls the device dead when this stands still (mlx5_health's poll_health()). */
static void test_health(void **state)
{
	struct gs_vm *vm = *state;
	uint32_t first = gs_reg_read(vm, CX_ISEG_HEALTH_COUNTER);
	struct gs_wait w = gs_wait_start(2000);

	while (gs_reg_read(vm, CX_ISEG_HEALTH_COUNTER) == first)
		if (!gs_wait_turn(&w))
			gs_fail("the health counter stands still");
	for (unsigned off = 0; off < CX_HEALTH_BYTES; off += 4)
		if (off != CX_HEALTH_FW_VER && off != CX_HEALTH_HW_ID)
			assert_int_equal(gs_reg_read(vm, CX_ISEG_HEALTH + off), 0);
}

static uint64_t timer(struct gs_vm *vm)
{
	uint32_t high, low, again;

	/* mlx5_read_clock(): the high half is read again until it does not change. */
	high = gs_reg_read(vm, CX_ISEG_INTERNAL_TIMER_H);
	for (;;) {
		low = gs_reg_read(vm, CX_ISEG_INTERNAL_TIMER_L);
		again = gs_reg_read(vm, CX_ISEG_INTERNAL_TIMER_H);
		if (again == high)
			return (uint64_t)high << 32 | low;
		high = again;
	}
}

/* It runs at the frequency that the capabilities claim: between our own looks at the time. */
static void test_timer(void **state)
{
	struct gs_vm *vm = *state;
	uint64_t khz = cx_get(vm->caps, CX_HCA_DEVICE_FREQUENCY_KHZ);
	uint64_t before, after, first, ns, least, most;

	before = gs_now_ns();
	first = timer(vm);
	after = gs_now_ns();
	usleep(50000);
	least = gs_now_ns() - after;
	ns = (timer(vm) - first) * 1000000 / khz;
	most = gs_now_ns() - before;
	assert_true(ns >= least - least / 100);
	assert_true(ns <= most + most / 100);
}

static void test_unknown_commands(void **state)
{
	static const uint16_t unknown[] = {0x000, 0x0ff, 0x10f, 0x205, 0x3ff, 0x710,
					   0x900, 0x930, 0xa00, 0xb0e, 0xffff};
	struct gs_vm *vm = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(unknown); i++) {
		assert_int_not_equal(gs_cmd_object(vm, unknown[i], 0, 0), 0);
		assert_int_equal(vm->status, CX_BAD_OP);
	}
}

/* Numbers of objects that do not exist get an error that says so. */
static void test_missing_objects(void **state)
{
	static const uint16_t ops[] = {
		CX_CMD_DESTROY_QP,  CX_CMD_QUERY_QP,	    CX_CMD_2RST_QP,
		CX_CMD_2ERR_QP,	    CX_CMD_DESTROY_CQ,	    CX_CMD_QUERY_CQ,
		CX_CMD_DESTROY_RMP, CX_CMD_DESTROY_XRC_SRQ, CX_CMD_DESTROY_MKEY,
		CX_CMD_DEALLOC_PD,  CX_CMD_DEALLOC_UAR,	    CX_CMD_DEALLOC_XRCD,
		CX_CMD_QUERY_RMP,   CX_CMD_QUERY_XRC_SRQ};
	struct gs_vm *vm = *state;
	uint8_t in[CX_IN_BYTES] = {0}, out[512];

	for (unsigned i = 0; i < ARRAY_SIZE(ops); i++) {
		cx_set(in, CX_IN_OPCODE, ops[i]);
		cx_set(in, CX_IN_OBJECT, 0xabcdef);
		assert_int_not_equal(gs_cmd_raw(vm, in, sizeof(in), out, sizeof(out)), 0);
		assert_int_not_equal(vm->status, CX_OK);
	}
}

/* Outputs that are asked for in part, and inputs that come in part. */
static void test_short_commands(void **state)
{
	struct gs_vm *vm = *state;
	uint8_t in[CX_IN_BYTES] = {0}, out[512];

	cx_set(in, CX_IN_OPCODE, CX_CMD_QUERY_HCA_CAP);
	cx_set(in, CX_IN_OP_MOD, CX_CAP_MODE_CUR);
	for (uint32_t len = 16; len <= CX_CAP_AT + CX_CAP_BYTES; len += 16) {
		memset(out, 0xee, sizeof(out));
		gs_cmd_raw(vm, in, sizeof(in), out, len);
		tl_check_same(out + len, sizeof(out) - len, 0xee);
	}
	cx_set(in, CX_IN_OPCODE, CX_CMD_CREATE_QP);
	assert_int_not_equal(gs_cmd_raw(vm, in, sizeof(in), out, 16), 0);
}

static void read_register(struct gs_vm *vm, uint16_t id, uint8_t *data, uint32_t len)
{
	uint8_t in[CX_ACCESS_REG_IN_BYTES + 256] = {0}, out[CX_ACCESS_REG_OUT_BYTES + 256];

	cx_set(in, CX_IN_OPCODE, CX_CMD_ACCESS_REG);
	cx_set(in, CX_IN_OP_MOD, CX_REG_OP_READ);
	cx_set(in, CX_ACCESS_REG_IN_REGISTER_ID, id);
	cx_set(in + CX_ACCESS_REG_IN_REGISTER_DATA_AT, CX_PMTU_LOCAL_PORT, 1);
	gs_cmd(vm, in, CX_ACCESS_REG_IN_BYTES + len, out, CX_ACCESS_REG_OUT_BYTES + len);
	memcpy(data, out + CX_ACCESS_REG_OUT_REGISTER_DATA_AT, len);
}

/* What mlx5_ib makes of the port in query_port. */
static void test_port_registers(void **state)
{
	struct gs_vm *vm = *state;
	uint8_t reg[256];

	read_register(vm, CX_REG_PMTU, reg, CX_PMTU_BYTES);
	assert_int_equal(cx_get(reg, CX_PMTU_MAX_MTU), 4096);
	assert_int_equal(cx_get(reg, CX_PMTU_OPER_MTU), 4096);
	read_register(vm, CX_REG_PTYS, reg, CX_PTYS_BYTES);
	assert_int_not_equal(cx_get(reg, CX_PTYS_IB_LINK_WIDTH_OPER), 0);
	assert_int_not_equal(cx_get(reg, CX_PTYS_IB_PROTO_OPER), 0);
	read_register(vm, CX_REG_PVLC, reg, CX_PVLC_BYTES);
	/* translate_max_vl_num() */
	assert_true(cx_get(reg, CX_PVLC_VL_HW_CAP) == 1 || cx_get(reg, CX_PVLC_VL_HW_CAP) == 2 ||
		    cx_get(reg, CX_PVLC_VL_HW_CAP) == 4 || cx_get(reg, CX_PVLC_VL_HW_CAP) == 8);
}

static void test_addresses(void **state)
{
	struct gs_vm *vm = *state;
	struct gs_vm *other = gs_vm_open_port(&tl_daemon, 1);

	/* fe80::/64 and a GUID that no other port has (4.1.1). */
	assert_int_equal(up_get_be64(vm->gid), 0xfe80000000000000);
	assert_int_not_equal(up_get_be64(vm->gid + 8), 0);
	assert_memory_not_equal(vm->gid, other->gid, 16);
	assert_int_not_equal(vm->lid, 0);
	assert_int_not_equal(vm->lid, other->lid);
	assert_int_not_equal(vm->lid, vm->sm_lid);
	assert_int_equal(vm->sm_lid, other->sm_lid);
	assert_int_equal(vm->pkey, 0xffff);
	gs_vm_close(other);
}

/* NodeInfo and PortInfo by MAD_IFC, as ib_mad's SMI asks for them (14.2.5). */
static void test_mad(void **state)
{
	struct gs_vm *vm = *state;
	uint8_t in[CX_MAD_IFC_IN_BYTES] = {0}, out[CX_MAD_IFC_OUT_BYTES];
	uint8_t *mad = in + CX_MAD_IFC_IN_MAD_AT;
	const uint8_t *answer = out + CX_MAD_IFC_OUT_RESPONSE_MAD_PACKET_AT;

	cx_set(in, CX_IN_OPCODE, CX_CMD_MAD_IFC);
	cx_set(in, CX_MAD_IFC_IN_PORT, 1);
	mad[0] = 1;    /* base version */
	mad[1] = 0x01; /* subnet management, LID routed */
	mad[2] = 1;    /* class version */
	mad[3] = 0x01; /* Get */
	up_put_be64(mad + 8, 0x1122334455667788);
	up_put_be16(mad + 16, 0x0011); /* NodeInfo */
	gs_cmd(vm, in, sizeof(in), out, sizeof(out));
	assert_int_equal(answer[3], 0x81);
	assert_int_equal(up_get_be16(answer + 4), 0);
	assert_int_equal(up_get_be64(answer + 8), 0x1122334455667788);
	assert_int_equal(answer[64 + 2], 1); /* a channel adapter */
	assert_int_equal(answer[64 + 3], 1); /* with one port */
	up_put_be16(mad + 16, 0x0015);	     /* PortInfo */
	up_put_be32(mad + 20, 1);
	gs_cmd(vm, in, sizeof(in), out, sizeof(out));
	assert_int_equal(answer[3], 0x81);
	assert_int_equal(up_get_be16(answer + 64 + 16), vm->lid);
	assert_int_equal(up_get_be16(answer + 64 + 18), vm->sm_lid);
	assert_int_equal(answer[64 + 32] & 0xf, 4); /* active */
	/* An attribute that is none. */
	up_put_be16(mad + 16, 0x7777);
	gs_cmd(vm, in, sizeof(in), out, sizeof(out));
	assert_int_not_equal(up_get_be16(answer + 4), 0);
}

static void test_small_commands(void **state)
{
	struct gs_vm *vm = *state;
	uint8_t in[CX_QUERY_Q_COUNTER_IN_BYTES] = {0}, out[512];
	uint32_t set;

	assert_int_equal(gs_cmd_object(vm, CX_CMD_NOP, 0, 0), 0);
	cx_set(in, CX_IN_OPCODE, CX_CMD_ALLOC_Q_COUNTER);
	gs_cmd(vm, in, CX_IN_BYTES, out, CX_OUT_BYTES);
	set = cx_get(out, CX_ALLOC_Q_COUNTER_OUT_COUNTER_SET_ID);
	cx_set(in, CX_IN_OPCODE, CX_CMD_QUERY_Q_COUNTER);
	cx_set(in, CX_QUERY_Q_COUNTER_IN_COUNTER_SET_ID, set);
	gs_cmd(vm, in, sizeof(in), out, CX_QUERY_Q_COUNTER_OUT_BYTES);
	memset(in, 0, sizeof(in));
	cx_set(in, CX_IN_OPCODE, CX_CMD_DEALLOC_Q_COUNTER);
	cx_set(in, CX_DEALLOC_Q_COUNTER_IN_COUNTER_SET_ID, set);
	gs_cmd(vm, in, CX_IN_BYTES, out, CX_OUT_BYTES);
	memset(in, 0, sizeof(in));
	cx_set(in, CX_IN_OPCODE, CX_CMD_QUERY_ADAPTER);
	gs_cmd(vm, in, CX_IN_BYTES, out, CX_QUERY_ADAPTER_OUT_BYTES);
}

/* Objects are found again as they were made. */
static void test_queries(void **state)
{
	struct gs_vm *vm = *state;
	struct gs_cq *cq = gs_cq_create(vm, 256);
	struct gs_srq *srq = gs_srq_create(vm->pd0, &(struct gs_srq_attr){.wrs = 32, .sges = 3});
	uint8_t in[CX_IN_BYTES] = {0}, out[512];
	const uint8_t *cqc = out + CX_QUERY_CQ_OUT_CQC_AT;
	const uint8_t *wq = out + CX_QUERY_RMP_OUT_RMPC_AT + CX_RMPC_WQ_AT;

	cx_set(in, CX_IN_OPCODE, CX_CMD_QUERY_CQ);
	cx_set(in, CX_IN_OBJECT, cq->cqn);
	gs_cmd(vm, in, sizeof(in), out, CX_QUERY_CQ_OUT_BYTES);
	assert_int_equal(cx_get(cqc, CX_CQC_LOG_CQ_SIZE), 8);
	assert_int_equal(cx_get(cqc, CX_CQC_EQN), cq->eq->eqn);
	assert_int_equal(cx_get(cqc, CX_CQC_STATUS), 0);
	/* With fewer posted than the limit it would fire, and be gone. */
	for (unsigned i = 0; i < 10; i++)
		gs_post_srq_recv(srq, i, NULL, 0);
	assert_int_equal(gs_srq_arm_limit(srq, 7), 0);
	cx_set(in, CX_IN_OPCODE, CX_CMD_QUERY_RMP);
	cx_set(in, CX_IN_OBJECT, srq->srqn);
	gs_cmd(vm, in, sizeof(in), out, CX_QUERY_RMP_OUT_BYTES);
	assert_int_equal(cx_get(wq, CX_WQ_LOG_WQ_SZ), 5);
	assert_int_equal(cx_get(wq, CX_WQ_LWM), 7);
}

/* A thousand commands in every slot in turn, each with its event. */
static void test_many_commands(void **state)
{
	struct gs_vm *vm = *state;
	uint64_t t = gs_now_ns();

	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(gs_cmd_object(vm, CX_CMD_NOP, 0, 0), 0);
	print_message("a command takes %lu us\n", (gs_now_ns() - t) / 1000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define VM_TEST(f) cmocka_unit_test_setup_teardown(f, open_vm, close_vm)
		VM_TEST(test_health),		VM_TEST(test_timer),
		VM_TEST(test_unknown_commands), VM_TEST(test_missing_objects),
		VM_TEST(test_short_commands),	VM_TEST(test_port_registers),
		VM_TEST(test_addresses),	VM_TEST(test_mad),
		VM_TEST(test_small_commands),	VM_TEST(test_queries),
		VM_TEST(test_many_commands),
	};

	tl_init();
	return cmocka_run_group_tests(tests, tl_start, tl_stop);
}
