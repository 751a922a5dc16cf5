/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that writes rubbish into command slots, mailboxes, contexts, page lists and registers.
 * Whatever it does, every command ends, the daemon lives, and other VMs are undisturbed.
 */
#include "bystanders.h"

#include <errno.h>
#include <string.h>

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

	/* Number 1, which some of the commands are for. */
	gs_devx_begin(vm);
	vm->devx = NULL;
	for (uint32_t op = 0; op < 0x1000; op++) {
		if (ends_device((uint16_t)op))
			continue;
		by_fill(in, sizeof(in));
		cx_set(in, CX_IN_OPCODE, op);
		/* Else most are refused for that alone. */
		cx_set(in, CX_IN_UID, op / 2 % 2);
		if (op % 2)
			cx_set(in, CX_IN_OP_MOD, (uint32_t)by_pick(4));
		try_command(vm, in, 16 + 4 * (uint32_t)by_pick(252),
			    16 + 4 * (uint32_t)by_pick(500));
		if (op % 256 == 0)
			by_check();
	}
	gs_vm_close(vm);
	by_check_port(0);
}

/* Commands as the driver sent them while it set objects up, to be spoilt. */
static struct template
{
	uint8_t in[4096];
	uint32_t inlen, outlen;
}
templates[256];
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
	for (uint64_t n = 1 + by_pick(4); n; n--) {
		uint32_t at = 2 + (uint32_t)by_pick(inlen - 2);

		switch (by_pick(4)) {
		case 0:
			in[at] ^= (uint8_t)(1u << by_pick(8));
			break;
		case 1:
			in[at] = (uint8_t)by_random();
			break;
		case 2:
			at &= ~3u;
			if (at >= 4 && at + 4 <= inlen)
				up_put_be32(in + at, (uint32_t)by_odd_number(vm));
			break;
		default:
			at &= ~7u;
			if (at >= 8 && at + 8 <= inlen)
				up_put_be64(in + at, by_odd_number(vm));
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
			const struct template *t = &templates[by_pick(nr_templates)];
			uint32_t inlen = t->inlen, outlen = t->outlen;

			memcpy(in, t->in, inlen);
			spoil(vm, in, inlen);
			if (by_pick(8) == 0)
				inlen = 16 + (uint32_t)by_pick(inlen - 15);
			if (by_pick(8) == 0)
				outlen = (uint32_t)by_pick(outlen + 1);
			if (!ends_device((uint16_t)cx_get(in, CX_IN_OPCODE)))
				try_command(vm, in, inlen, outlen);
		}
		by_check();
		gs_vm_close(vm);
	}
	by_check_port(0);
}

/* Slots and mailbox chains that make no sense, many at a time. */
static void test_spoilt_slots(void **state)
{
	for (unsigned round = 0; round < 100; round++) {
		struct gs_vm *vm = gs_vm_open_port(&tl_daemon, 0);
		struct cx_mailbox *box = gs_ram_alloc(vm, 4096, 4096);
		uint32_t slots = (uint32_t)by_random();

		for (unsigned i = 0; i < vm->nr_slots; i++) {
			struct cx_cmd_slot *s = &vm->slots[i];

			memset(s, 0, sizeof(*s));
			s->type = by_pick(4) ? CX_CMD_TYPE : (uint8_t)by_pick(256);
			up_put_be32(s->inlen, (uint32_t)(by_pick(2) ? 16 + by_pick(1000)
								    : by_odd_number(vm)));
			up_put_be32(s->outlen, (uint32_t)(by_pick(2) ? 16 + by_pick(1000)
								     : by_odd_number(vm)));
			up_put_be64(s->in_ptr,
				    by_pick(2) ? gs_ram_gpa(vm, box) : by_odd_number(vm));
			up_put_be64(s->out_ptr,
				    by_pick(2) ? gs_ram_gpa(vm, box) : by_odd_number(vm));
			by_fill(s->in, sizeof(s->in));
			cx_set(s->in, CX_IN_OPCODE,
			       by_pick(2) ? CX_CMD_CREATE_QP : CX_CMD_CREATE_MKEY);
			s->token = (uint8_t)by_pick(3);
			s->status_own = CX_CMD_OWNER_HW;
		}
		by_fill(box, sizeof(*box));
		/* A chain that never ends. */
		up_put_be64(box->next, by_pick(3) ? gs_ram_gpa(vm, box) : by_odd_number(vm));
		box->token = 1;
		if (!gs_cmd_ring(vm, slots, GS_WAIT_MS))
			gs_fail("spoilt slots %#x are never done", slots);
		if (round % 10 == 0)
			by_check();
		gs_vm_close(vm);
	}
	by_check_port(0);
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
		by_check();
		gs_vm_close(vm);
	}
	by_check_port(0);
}

/* Registers all over the BAR and the configuration space, of every size and alignment. */
static void test_registers(void **state)
{
	struct gs_vm *vm = gs_vm_open_port(&tl_daemon, 0);
	uint8_t data[64];

	for (unsigned i = 0; i < 5000; i++) {
		unsigned region = by_pick(4) ? 0 : 7;
		uint64_t off = region	    ? by_pick(4200)
			       : by_pick(3) ? by_pick(0x20000)
					    : by_pick(40 << 20);
		uint32_t len = 1 + (uint32_t)by_pick(sizeof(data));

		/* Not the command queue, which the other tests are for. */
		if (!region && off < CX_ISEG_CMD_DBELL + 4 && off + len > CX_ISEG_CMDQ_ADDR_H)
			continue;
		by_fill(data, sizeof(data));
		if (by_pick(2))
			gs_vfio_write(&vm->vfio, region, off, data, len);
		else
			gs_vfio_read(&vm->vfio, region, off, data, len);
	}
	gs_vm_close(vm);
	by_check_port(0);
}

/* Numbers of objects that are another VM's, or nobody's. */
static void test_foreign_numbers(void **state)
{
	static const uint16_t ops[] = {
		CX_CMD_DESTROY_QP,   CX_CMD_2ERR_QP,	    CX_CMD_2RST_QP,	CX_CMD_DESTROY_CQ,
		CX_CMD_DESTROY_MKEY, CX_CMD_DEALLOC_PD,	    CX_CMD_DEALLOC_UAR, CX_CMD_DEALLOC_XRCD,
		CX_CMD_DESTROY_RMP,  CX_CMD_DESTROY_XRC_SRQ};
	struct gs_vm *vm = gs_vm_open_port(&tl_daemon, 0);

	for (unsigned i = 0; i < ARRAY_SIZE(ops); i++) {
		for (uint32_t n = 0; n < 600; n++)
			gs_cmd_object(vm, ops[i], 0, n);
		for (unsigned n = 0; n < 20; n++)
			assert_int_not_equal(gs_cmd_object(vm, ops[i], 0,
							   0x800000 | (uint32_t)by_pick(0x7fffff)),
					     0);
		by_check();
	}
	gs_vm_close(vm);
	by_check_port(0);
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
	by_check();
	gs_vm_close(vm);
	by_check_port(0);
}

/* As long as a command may be: page lists of 5 million entries, out of one mailbox. */
#define LONGEST (40u << 20)

static void put_long_command(struct gs_vm *vm, struct cx_mailbox *box)
{
	uint32_t octwords = (LONGEST - CX_CREATE_MKEY_IN_ENTRIES_AT) / CX_OCTWORD_BYTES;
	struct cx_cmd_slot *s = &vm->slots[0];

	memset(s, 0, sizeof(*s));
	s->type = CX_CMD_TYPE;
	up_put_be32(s->inlen, LONGEST);
	up_put_be32(s->outlen, CX_OUT_BYTES);
	up_put_be64(s->in_ptr, gs_ram_gpa(vm, box));
	cx_set(s->in, CX_IN_OPCODE, CX_CMD_CREATE_MKEY);
	/* What else the command says is in the mailbox, over and over. */
	for (uint32_t at = 0; at + CX_MTT_BYTES <= CX_MBOX_DATA; at += CX_MTT_BYTES)
		up_put_be64(box->data + at, gs_ram_gpa(vm, box));
	memset(box->data, 0, CX_CREATE_MKEY_IN_ENTRIES_AT - CX_CMD_INLINE);
	cx_set(box->data - CX_CMD_INLINE + CX_CREATE_MKEY_IN_MKC_AT, CX_MKC_ACCESS_MODE_1_0,
	       CX_MKC_MODE_MTT);
	cx_set(box->data - CX_CMD_INLINE + CX_CREATE_MKEY_IN_MKC_AT, CX_MKC_LOG_PAGE_SIZE, 12);
	cx_set(box->data - CX_CMD_INLINE + CX_CREATE_MKEY_IN_MKC_AT,
	       CX_MKC_TRANSLATIONS_OCTWORD_SIZE, octwords);
	cx_set(box->data - CX_CMD_INLINE, CX_CREATE_MKEY_IN_TRANSLATIONS_OCTWORD_ACTUAL_SIZE,
	       octwords);
	up_put_be64(box->next, gs_ram_gpa(vm, box));
	s->status_own = CX_CMD_OWNER_HW;
}

/*
 * The registers of other devices are answered in the middle of a command that takes long. Of reads
 * that were made one after the other, BY_READS_AT_ONCE at most can come between the doorbell and a
 * command that is executed in one go; how many come beyond that is up to the machine, so that one
 * of many commands has to show it.
 */
static void test_long_commands(void **state)
{
	struct gs_vm *vm = gs_vm_open_port(&tl_daemon, 0);
	struct cx_mailbox *box = gs_ram_alloc(vm, 4096, 4096);
	unsigned reads = 0, tries;

	for (tries = 0; reads <= BY_READS_AT_ONCE && tries < 200; tries++) {
		put_long_command(vm, box);
		reads = by_reads_meanwhile(vm);
		/* It is done; this takes its event. */
		assert_true(gs_cmd_ring(vm, 1, GS_WAIT_MS));
		assert_int_equal(vm->slots[0].status_own, 0);
		assert_int_equal(cx_get(vm->slots[0].out, CX_OUT_STATUS), CX_OK);
		assert_int_equal(gs_cmd_object(vm, CX_CMD_DESTROY_MKEY, 0,
					       (uint32_t)cx_get(vm->slots[0].out, CX_OUT_OBJECT)),
				 0);
	}
	print_message("%u register reads within command %u\n", reads, tries);
	assert_true(reads > BY_READS_AT_ONCE);
	gs_vm_close(vm);
	by_check_port(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_opcodes),  cmocka_unit_test(test_spoilt_commands),
		cmocka_unit_test(test_spoilt_slots), cmocka_unit_test(test_queue_nowhere),
		cmocka_unit_test(test_registers),    cmocka_unit_test(test_foreign_numbers),
		cmocka_unit_test(test_exhaust),	     cmocka_unit_test(test_long_commands),
	};

	tl_init();
	return cmocka_run_group_tests(tests, by_start, by_stop);
}
