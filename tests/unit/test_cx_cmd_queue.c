/* SPDX-License-Identifier: BSD-2-Clause */
/* The command queue: delivery of commands and answers, and what a driver gets wrong in it. */
#include "cx_rig.h"

#include "base/log.h"
#include "device/connectx/cmd.h"

#include <stdlib.h>

static struct cx_cmd_slot *slot(unsigned i)
{
	return (struct cx_cmd_slot *)rig_at(rig.cmdq) + i;
}

/* A command of 16 bytes each way, in a slot of choice. */
static void put_slot(unsigned i, uint16_t opcode)
{
	struct cx_cmd_slot *s = slot(i);

	memset(s, 0, sizeof(*s));
	s->type = CX_CMD_TYPE;
	up_put_be32(s->inlen, CX_IN_BYTES);
	up_put_be32(s->outlen, CX_OUT_BYTES);
	cx_set(s->in, CX_IN_OPCODE, opcode);
	s->status_own = CX_CMD_OWNER_HW;
}

static void fields_keep_their_neighbours(void **state)
{
	uint8_t ctx[CX_QPC_BYTES];

	memset(ctx, 0xff, sizeof(ctx));
	cx_set(ctx, CX_QPC_LOG_RQ_STRIDE, 0);
	assert_int_equal(up_get_be32(ctx + 8), 0xfff8ffff);
	cx_set(ctx, CX_QPC_LOG_RQ_STRIDE, 0xfd);
	assert_int_equal(cx_get(ctx, CX_QPC_LOG_RQ_STRIDE), 5);
	assert_int_equal(cx_get(ctx, CX_QPC_NO_SQ), 1);
	cx_set(ctx, CX_QPC_Q_KEY, 0x12345678);
	assert_int_equal(cx_get(ctx, CX_QPC_Q_KEY), 0x12345678);
	cx_set64(ctx, CX_QPC_DBR_ADDR, 0x0123456789abcdefull);
	assert_int_equal(ctx[0xa0], 0x01);
	assert_true(cx_get64(ctx, CX_QPC_DBR_ADDR) == 0x0123456789abcdefull);
}

static void order_of_phases(void **state)
{
	assert_int_equal(rig_simple(CX_CMD_ALLOC_PD, 0), CX_BAD_SYS_STATE);
	assert_int_equal(cx_get(rig.out, CX_OUT_SYNDROME), CX_WHY_NOT_ENABLED);
	assert_int_equal(rig_simple(CX_CMD_ENABLE_HCA, 0), CX_OK);
	assert_int_equal(rig_simple(CX_CMD_ALLOC_PD, 0), CX_BAD_SYS_STATE);
	assert_int_equal(cx_get(rig.out, CX_OUT_SYNDROME), CX_WHY_NOT_RUNNING);
	assert_int_equal(rig_simple(CX_CMD_INIT_HCA, 0), CX_OK);
	assert_true(rig.port->active);
	assert_int_equal(rig_simple(CX_CMD_INIT_HCA, 0), CX_BAD_SYS_STATE);
	assert_int_equal(rig_simple(CX_CMD_ALLOC_PD, 0), CX_OK);
	assert_int_equal(rig_simple(CX_CMD_TEARDOWN_HCA, 0), CX_OK);
	assert_false(rig.port->active);
	assert_int_equal(rig_simple(CX_CMD_ALLOC_PD, 0), CX_BAD_SYS_STATE);
	assert_int_equal(rig_simple(CX_CMD_DISABLE_HCA, 0), CX_OK);
}

static int setup_queue(void **state)
{
	if (rig_setup(state))
		return -1;
	rig_start_queue();
	return 0;
}

static void unknown_opcode(void **state)
{
	assert_int_equal(rig_simple(0xfff0, 0), CX_BAD_OP);
	assert_int_equal(cx_get(rig.out, CX_OUT_SYNDROME), CX_WHY_UNKNOWN_OPCODE);
}

static void short_input_and_output(void **state)
{
	rig_begin(CX_CMD_CREATE_CQ, 0, CX_CREATE_CQ_IN_BYTES - 1);
	rig_fails(CX_BAD_INP_LEN, CX_WHY_SHORT_INPUT);
	rig_begin(CX_CMD_QUERY_ADAPTER, 0, CX_IN_BYTES);
	rig.out_len = CX_QUERY_ADAPTER_OUT_BYTES - 1;
	rig_fails(CX_BAD_OUTP_LEN, CX_WHY_SHORT_OUTPUT);
}

/* The driver declares the output of ENABLE_HCA as 12 bytes. */
static void short_inline_output_is_accepted(void **state)
{
	rig_begin(CX_CMD_ENABLE_HCA, 0, CX_IN_BYTES);
	rig.out_len = 12;
	rig_ok();
}

static void bad_descriptors(void **state)
{
	rig_begin(CX_CMD_NOP, 0, CX_IN_BYTES);
	rig.in_len = 15;
	assert_int_equal(rig_deliver(), CX_DELIVERY_BAD_IN_LEN);
	put_slot(0, CX_CMD_NOP);
	up_put_be32(slot(0)->inlen, UINT32_MAX);
	rig_ring(1);
	assert_int_equal(slot(0)->status_own, CX_DELIVERY_BAD_IN_LEN << 1);
	put_slot(0, CX_CMD_NOP);
	up_put_be32(slot(0)->outlen, UINT32_MAX);
	rig_ring(1);
	assert_int_equal(slot(0)->status_own, CX_DELIVERY_BAD_OUT_LEN << 1);
	put_slot(0, CX_CMD_NOP);
	slot(0)->type = 1;
	rig_ring(1);
	assert_int_equal(slot(0)->status_own, CX_DELIVERY_BAD_DESCR << 1);
}

static void bad_mailboxes(void **state)
{
	put_slot(0, CX_CMD_NOP);
	up_put_be32(slot(0)->inlen, 4096);
	up_put_be64(slot(0)->in_ptr, UINT64_MAX - 100);
	rig_ring(1);
	assert_int_equal(slot(0)->status_own, CX_DELIVERY_BAD_IN_PTR << 1);
	put_slot(0, CX_CMD_NOP);
	up_put_be32(slot(0)->outlen, 4096);
	up_put_be64(slot(0)->out_ptr, RIG_GPA + RIG_RAM - 1);
	rig_ring(1);
	assert_int_equal(slot(0)->status_own, CX_DELIVERY_BAD_OUT_PTR << 1);
}

/* A chain that bites its tail is read as far as the length says, and no further. */
static void looping_chain(void **state)
{
	uint64_t gpa = rig_alloc(sizeof(struct cx_mailbox));
	struct cx_mailbox *box = rig_at(gpa);

	up_put_be64(box->next, gpa);
	put_slot(0, CX_CMD_NOP);
	up_put_be32(slot(0)->inlen, 1u << 20);
	up_put_be64(slot(0)->in_ptr, gpa);
	up_put_be32(slot(0)->outlen, 1u << 16);
	up_put_be64(slot(0)->out_ptr, gpa);
	rig_ring(1);
	assert_int_equal(slot(0)->status_own, 0);
	assert_int_equal(cx_get(slot(0)->out, CX_OUT_STATUS), CX_OK);
}

static void only_owned_slots_are_executed(void **state)
{
	uint64_t before = rig.dev->hca.stats.commands;

	put_slot(3, CX_CMD_NOP);
	put_slot(4, CX_CMD_NOP);
	slot(4)->status_own = 0;
	rig_ring(1u << 3 | 1u << 4 | 1u << 31);
	assert_int_equal(slot(3)->status_own, 0);
	assert_int_equal(rig.dev->hca.stats.commands - before, 1);
	/* Rung again: it has been executed. */
	rig_ring(1u << 3);
	assert_int_equal(rig.dev->hca.stats.commands - before, 1);
}

static void all_slots_at_once(void **state)
{
	for (unsigned i = 0; i < CX_CMDQ_SLOTS; i++)
		put_slot(i, CX_CMD_ALLOC_PD);
	rig_ring(UINT32_MAX);
	for (unsigned i = 0; i < CX_CMDQ_SLOTS; i++) {
		assert_int_equal(slot(i)->status_own, 0);
		for (unsigned k = 0; k < i; k++)
			assert_int_not_equal(cx_get(slot(i)->out, CX_OUT_OBJECT),
					     cx_get(slot(k)->out, CX_OUT_OBJECT));
	}
}

static void completions_are_told(void **state)
{
	uint32_t eqn = rig_create_eq(1ull << CX_EVENT_CMD);
	const struct cx_eqe *eqe;
	struct cx_eq *eq = rig.dev->eqs[eqn];

	/* Not the one that made the queue. */
	assert_int_equal(eq->producer, 0);
	put_slot(5, CX_CMD_NOP);
	rig_ring(1u << 5);
	assert_int_equal(eq->producer, 1);
	eqe = rig_at(eq->buf.pages[0]);
	assert_int_equal(eqe->type, CX_EVENT_CMD);
	assert_int_equal(up_get_be32(eqe->data), 1u << 5);
	/* Nor the one that ends it. */
	rig_begin(CX_CMD_DESTROY_EQ, 0, CX_IN_BYTES);
	cx_set(rig.in, CX_EQN, eqn);
	rig_ok();
	assert_null(rig.dev->cmd_eq);
}

static void queue_outside_of_memory(void **state)
{
	rig_write(CX_ISEG_CMDQ_ADDR_L_SZ, 0x1000);
	up_log_set_level(LOG_CRIT);
	rig_ring(1);
	assert_true(rig.dev->fatal);
	assert_int_not_equal(rig_read(CX_ISEG_HEALTH + 0x3c) >> 16 & 0xff, 0);
	assert_int_equal(rig_read(CX_ISEG_HEALTH + CX_HEALTH_RFR_SEVERITY) >> 31, 1);
	assert_false(rig.port->active);
	/* The driver's answer. */
	rig_write(CX_ISEG_CMDQ_ADDR_L_SZ, CX_NIC_IFC_SW_RESET << CX_ISEG_NIC_INTERFACE_SHIFT);
	assert_int_equal(rig_read(CX_ISEG_CMDQ_ADDR_L_SZ) >> CX_ISEG_NIC_INTERFACE_SHIFT & 7,
			 CX_NIC_IFC_DISABLED);
	assert_int_equal(rig_read(CX_ISEG_HEALTH + CX_HEALTH_RFR_SEVERITY), 0);
	rig_start_queue();
	assert_int_equal(rig_read(CX_ISEG_CMDQ_ADDR_L_SZ) & 0xfff, 5 << 4 | 6);
	assert_int_equal(rig_simple(CX_CMD_ENABLE_HCA, 0), CX_OK);
}

static void no_bus_master_no_commands(void **state)
{
	put_slot(0, CX_CMD_NOP);
	rig.dev->bus_master = false;
	rig_write(CX_ISEG_CMD_DBELL, 1);
	assert_int_equal(slot(0)->status_own, CX_CMD_OWNER_HW);
}

/* Every opcode with random inputs of all kinds of lengths: answers, whatever they are. */
static void random_commands(void **state)
{
	uint64_t seed = 0x9e3779b97f4a7c15ull;

	for (unsigned n = 0; n < 20000; n++) {
		uint64_t r = unit_random(&seed);
		static const uint16_t bases[] = {0x100, 0x200, 0x300, 0x400, 0x500, 0x700,
						 0x750, 0x760, 0x770, 0x800, 0x900};
		uint16_t opcode = (uint16_t)(bases[r % UP_ARRAY_SIZE(bases)] + (r >> 8) % 16);
		uint32_t len = 16 + (uint32_t)(r >> 16) % 1000;

		/* These end the run of the others. */
		if (opcode == CX_CMD_TEARDOWN_HCA || opcode == CX_CMD_DISABLE_HCA)
			continue;
		rig_begin(opcode, (uint16_t)((r >> 32) % 4), len);
		for (uint32_t i = 8; i < len; i++) {
			uint64_t v = unit_random(&seed);

			/* Mostly zeroes and small numbers: those get further. */
			rig.in[i] = v % 8 ? 0 : (uint8_t)(v >> 8 & (v & 8 ? 0xff : 7));
		}
		if (opcode == CX_CMD_CREATE_CQ || opcode == CX_CMD_CREATE_QP ||
		    opcode == CX_CMD_CREATE_RMP)
			rig.in_len = len < 300 ? 300 : len;
		assert_int_equal(rig_deliver(), CX_DELIVERY_OK);
	}
}

/* CREATE_MKEY with 5 million pages, all out of one mailbox: more than a turn's work. */
static struct cx_mailbox *put_long_slot(unsigned i)
{
	uint64_t gpa = rig_alloc(sizeof(struct cx_mailbox));
	struct cx_mailbox *box = rig_at(gpa);
	uint8_t *in = box->data - CX_CMD_INLINE, *mkc = in + CX_CREATE_MKEY_IN_MKC_AT;
	uint32_t octwords = ((40u << 20) - CX_CREATE_MKEY_IN_ENTRIES_AT) / CX_OCTWORD_BYTES;

	put_slot(i, CX_CMD_CREATE_MKEY);
	up_put_be32(slot(i)->inlen, 40u << 20);
	up_put_be64(slot(i)->in_ptr, gpa);
	up_put_be64(box->next, gpa);
	cx_set(in, CX_CREATE_MKEY_IN_TRANSLATIONS_OCTWORD_ACTUAL_SIZE, octwords);
	cx_set(mkc, CX_MKC_TRANSLATIONS_OCTWORD_SIZE, octwords);
	cx_set(mkc, CX_MKC_ACCESS_MODE_1_0, CX_MKC_MODE_MTT);
	cx_set(mkc, CX_MKC_LOG_PAGE_SIZE, 12);
	return box;
}

static bool is_done(unsigned i)
{
	return !(slot(i)->status_own & CX_CMD_OWNER_HW);
}

static void long_command_lets_others_go_first(void **state)
{
	unsigned turns = 1;

	put_slot(1, CX_CMD_NOP);
	put_long_slot(0);
	rig_write(CX_ISEG_CMD_DBELL, 3);
	assert_false(is_done(0));
	for (; !is_done(0); turns++) {
		assert_false(is_done(1));
		assert_true(rig.dev->work_set);
		cx_cmd_resume(rig.dev);
	}
	assert_in_range(turns, 2, 100000);
	assert_int_equal(slot(0)->status_own, 0);
	assert_int_equal(cx_get(slot(0)->out, CX_OUT_STATUS), CX_OK);
	while (!is_done(1))
		cx_cmd_resume(rig.dev);
	assert_false(rig.dev->work_set);
}

/* At every stage: while it is fetched, and while the region is filled in. */
static void long_command_ends_with_a_reset(void **state)
{
	for (unsigned turns = 0;; turns += 2) {
		put_long_slot(0);
		rig_write(CX_ISEG_CMD_DBELL, 1);
		for (unsigned i = 0; i < turns && !is_done(0); i++)
			cx_cmd_resume(rig.dev);
		if (is_done(0))
			return;
		cx_device_reset(rig.dev);
		assert_int_equal(rig.dev->hca.mr_bytes, 0);
		cx_cmd_resume(rig.dev);
		assert_false(rig.dev->work_set);
		assert_false(is_done(0));
		rig.next = RIG_GPA;
		rig_start_queue();
		assert_int_equal(rig_simple(CX_CMD_ENABLE_HCA, 0), CX_OK);
		assert_int_equal(rig_simple(CX_CMD_INIT_HCA, 0), CX_OK);
	}
}

/* Its mailboxes are unmapped while it is fetched. */
static void long_command_loses_its_memory(void **state)
{
	uint64_t far = RIG_GPA + RIG_RAM;
	uint8_t *ram = aligned_alloc(4096, 4096);
	struct cx_mailbox *box = put_long_slot(0);

	assert_non_null(ram);
	assert_int_equal(up_mem_add(&rig.dev->hca.mem, far, 4096, ram, true), 0);
	up_put_be64(box->next, far);
	memcpy(ram, box, sizeof(*box));
	rig_write(CX_ISEG_CMD_DBELL, 1);
	assert_false(is_done(0));
	up_mem_remove(&rig.dev->hca.mem, far, 4096);
	free(ram);
	while (!is_done(0))
		cx_cmd_resume(rig.dev);
	assert_int_equal(slot(0)->status_own >> 1, CX_DELIVERY_BAD_IN_PTR);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_keep_their_neighbours),
		cmocka_unit_test_setup_teardown(order_of_phases, setup_queue, rig_teardown),
		cmocka_unit_test_setup_teardown(short_inline_output_is_accepted, setup_queue,
						rig_teardown),
		cmocka_unit_test_setup_teardown(unknown_opcode, rig_setup_running, rig_teardown),
		cmocka_unit_test_setup_teardown(short_input_and_output, rig_setup_running,
						rig_teardown),
		cmocka_unit_test_setup_teardown(bad_descriptors, rig_setup_running, rig_teardown),
		cmocka_unit_test_setup_teardown(bad_mailboxes, rig_setup_running, rig_teardown),
		cmocka_unit_test_setup_teardown(looping_chain, rig_setup_running, rig_teardown),
		cmocka_unit_test_setup_teardown(only_owned_slots_are_executed, rig_setup_running,
						rig_teardown),
		cmocka_unit_test_setup_teardown(all_slots_at_once, rig_setup_running, rig_teardown),
		cmocka_unit_test_setup_teardown(completions_are_told, rig_setup_running,
						rig_teardown),
		cmocka_unit_test_setup_teardown(queue_outside_of_memory, rig_setup_running,
						rig_teardown),
		cmocka_unit_test_setup_teardown(no_bus_master_no_commands, rig_setup_running,
						rig_teardown),
		cmocka_unit_test_setup_teardown(random_commands, rig_setup_running, rig_teardown),
		cmocka_unit_test_setup_teardown(long_command_lets_others_go_first,
						rig_setup_running, rig_teardown),
		cmocka_unit_test_setup_teardown(long_command_ends_with_a_reset, rig_setup_running,
						rig_teardown),
		cmocka_unit_test_setup_teardown(long_command_loses_its_memory, rig_setup_running,
						rig_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
