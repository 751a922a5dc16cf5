/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The command interface: slots in one page, mailbox chains, completion by event once the command
 * event queue exists and by polling before. One command at a time, under cmd_lock.
 */
#include "gs_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAILBOX_ALIGN = 1024 };

/* A chain of mailboxes that grows to the longest command so far. */
struct chain {
	struct cx_mailbox **box;
	unsigned count;
};

struct gs_mailboxes {
	struct chain in, out;
};

void gs_cmd_init(struct gs_vm *vm)
{
	uint32_t size;
	uint64_t gpa;

	if (!vm->mailboxes) {
		pthread_mutex_init(&vm->cmd_lock, NULL);
		vm->mailboxes = gs_alloc(sizeof(*vm->mailboxes));
	}
	vm->next_slot = 0;
	size = gs_reg_read(vm, CX_ISEG_CMDQ_ADDR_L_SZ) & 0xff;
	if ((size & 0xf) != CX_CMDQ_LOG_STRIDE)
		gs_fail("command slots of %u bytes", 1u << (size & 0xf));
	vm->nr_slots = 1u << (size >> CX_ISEG_LOG_CMDQ_SIZE_SHIFT);
	if (vm->nr_slots > 32)
		gs_fail("%u command slots", vm->nr_slots);
	vm->slots = gs_ram_alloc(vm, CX_CMDQ_BYTES, CX_CMDQ_BYTES);
	gpa = gs_ram_gpa(vm, vm->slots);
	gs_reg_write(vm, CX_ISEG_CMDQ_ADDR_H, (uint32_t)(gpa >> 32));
	gs_reg_write(vm, CX_ISEG_CMDQ_ADDR_L_SZ, (uint32_t)gpa);
}

void gs_cmd_fini(struct gs_vm *vm)
{
	if (!vm->mailboxes)
		return;
	free(vm->mailboxes->in.box);
	free(vm->mailboxes->out.box);
	free(vm->mailboxes);
}

static void grow(struct gs_vm *vm, struct chain *c, unsigned count)
{
	if (count <= c->count)
		return;
	c->box = realloc(c->box, count * sizeof(c->box[0]));
	if (!c->box)
		gs_fail("out of memory");
	while (c->count < count)
		c->box[c->count++] = gs_ram_alloc(vm, sizeof(struct cx_mailbox), MAILBOX_ALIGN);
}

/* Lays out a chain for `len` bytes beyond the inline ones; returns the first one's address. */
static uint64_t lay_chain(struct gs_vm *vm, struct chain *c, const uint8_t *data, uint32_t len)
{
	unsigned count = (len + CX_MBOX_DATA - 1) / CX_MBOX_DATA;

	if (!count)
		return 0;
	grow(vm, c, count);
	for (unsigned i = 0; i < count; i++) {
		struct cx_mailbox *b = c->box[i];
		uint32_t n = len < CX_MBOX_DATA ? len : CX_MBOX_DATA;

		memset(b, 0, sizeof(*b));
		if (data)
			memcpy(b->data, data + i * CX_MBOX_DATA, n);
		if (i + 1 < count)
			up_put_be64(b->next, gs_ram_gpa(vm, c->box[i + 1]));
		up_put_be32(b->block_num, i);
		b->token = vm->token;
		len -= n;
	}
	return gs_ram_gpa(vm, c->box[0]);
}

static void read_chain(const struct chain *c, uint8_t *data, uint32_t len)
{
	for (unsigned i = 0; len; i++) {
		uint32_t n = len < CX_MBOX_DATA ? len : CX_MBOX_DATA;

		memcpy(data + i * CX_MBOX_DATA, c->box[i]->data, n);
		len -= n;
	}
}

static bool slot_done(const struct cx_cmd_slot *s)
{
	return !(__atomic_load_n(&s->status_own, __ATOMIC_ACQUIRE) & CX_CMD_OWNER_HW);
}

/* Waits for the event that names the slot. */
static int await_event(struct gs_vm *vm, uint32_t bit)
{
	uint64_t end = gs_now_ns() + GS_WAIT_MS * 1000000ull;

	for (;;) {
		const struct cx_eqe *e = gs_eq_peek(&vm->cmd_eq);
		uint64_t now = gs_now_ns();

		if (e) {
			uint32_t slots = up_get_be32(e->data);

			if (e->type != CX_EVENT_CMD)
				gs_fail("event of type %#x on the command event queue", e->type);
			gs_eq_take(vm, &vm->cmd_eq);
			if (slots & bit)
				return 0;
			gs_fail("command event for slots %#x, not %#x", slots, bit);
		}
		if (now >= end ||
		    !gs_eq_sleep(vm, &vm->cmd_eq, (unsigned)((end - now) / 1000000u) + 1))
			return -ETIMEDOUT;
	}
}

static int await_done(struct gs_vm *vm, struct cx_cmd_slot *slot, uint32_t bit, bool events)
{
	struct gs_wait w = gs_wait_start(GS_WAIT_MS);

	if (events) {
		int err = await_event(vm, bit);

		if (!err && !slot_done(slot))
			gs_fail("command event before the command was done");
		return err;
	}
	while (!slot_done(slot))
		if (!gs_wait_turn(&w))
			return -ETIMEDOUT;
	return 0;
}

static void fill_slot(struct gs_vm *vm, struct cx_cmd_slot *s, const uint8_t *in, uint32_t inlen,
		      uint32_t outlen)
{
	uint32_t inl = inlen < CX_CMD_INLINE ? inlen : CX_CMD_INLINE;
	uint64_t in_ptr, out_ptr;

	vm->token = vm->token == 0xff ? 1 : (uint8_t)(vm->token + 1);
	in_ptr = lay_chain(vm, &vm->mailboxes->in, in + inl, inlen - inl);
	out_ptr = lay_chain(vm, &vm->mailboxes->out, NULL,
			    outlen > CX_CMD_INLINE ? outlen - CX_CMD_INLINE : 0);
	memset(s, 0, sizeof(*s));
	s->type = CX_CMD_TYPE;
	up_put_be32(s->inlen, inlen);
	up_put_be64(s->in_ptr, in_ptr);
	memcpy(s->in, in, inl);
	up_put_be64(s->out_ptr, out_ptr);
	up_put_be32(s->outlen, outlen);
	s->token = vm->token;
	__atomic_store_n(&s->status_own, CX_CMD_OWNER_HW, __ATOMIC_RELEASE);
}

static int run(struct gs_vm *vm, const uint8_t *in, uint32_t inlen, uint8_t *out, uint32_t outlen)
{
	/* The creation of the command event queue itself is not told by it. */
	bool events = vm->cmd_eq.ring != NULL;
	unsigned n = vm->next_slot++ % vm->nr_slots;
	struct cx_cmd_slot *s = &vm->slots[n];
	int err;

	fill_slot(vm, s, in, inlen, outlen);
	gs_reg_write(vm, CX_ISEG_CMD_DBELL, 1u << n);
	err = await_done(vm, s, 1u << n, events);
	if (err)
		return err;
	vm->status = s->status_own >> 1;
	vm->syndrome = 0;
	if (vm->status)
		return -EPROTO;
	memcpy(out, s->out, outlen < CX_CMD_INLINE ? outlen : CX_CMD_INLINE);
	if (outlen > CX_CMD_INLINE)
		read_chain(&vm->mailboxes->out, out + CX_CMD_INLINE, outlen - CX_CMD_INLINE);
	vm->status = (uint8_t)cx_get(out, CX_OUT_STATUS);
	vm->syndrome = cx_get(out, CX_OUT_SYNDROME);
	return vm->status ? -EIO : 0;
}

int gs_cmd_raw(struct gs_vm *vm, const void *in, uint32_t inlen, void *out, uint32_t outlen)
{
	uint8_t *composed = NULL;
	int err;

	if (vm->devx) {
		composed = gs_alloc(inlen);
		memcpy(composed, in, inlen);
		inlen = gs_devx_compose(vm, composed, inlen);
		in = composed;
	}
	if (vm->on_command)
		vm->on_command(vm, in, inlen, outlen);
	pthread_mutex_lock(&vm->cmd_lock);
	err = run(vm, in, inlen, out, outlen);
	pthread_mutex_unlock(&vm->cmd_lock);
	free(composed);
	return err;
}

void gs_cmd(struct gs_vm *vm, const void *in, uint32_t inlen, void *out, uint32_t outlen)
{
	int err = gs_cmd_raw(vm, in, inlen, out, outlen);

	if (err)
		gs_fail("command %#x (op_mod %#x): %s, status %#x, syndrome %#x",
			cx_get(in, CX_IN_OPCODE), cx_get(in, CX_IN_OP_MOD), strerror(-err),
			vm->status, vm->syndrome);
}

int gs_cmd_object(struct gs_vm *vm, uint16_t opcode, uint16_t op_mod, uint32_t object)
{
	uint8_t in[CX_IN_BYTES] = {0}, out[CX_OUT_BYTES];

	cx_set(in, CX_IN_OPCODE, opcode);
	cx_set(in, CX_IN_OP_MOD, op_mod);
	cx_set(in, CX_IN_OBJECT, object);
	return gs_cmd_raw(vm, in, sizeof(in), out, sizeof(out));
}

uint32_t gs_cmd_alloc(struct gs_vm *vm, uint16_t opcode)
{
	uint8_t in[CX_IN_BYTES] = {0}, out[CX_OUT_BYTES];

	cx_set(in, CX_IN_OPCODE, opcode);
	gs_cmd(vm, in, sizeof(in), out, sizeof(out));
	return cx_get(out, CX_OUT_OBJECT);
}

bool gs_cmd_ring(struct gs_vm *vm, uint32_t slots, unsigned ms)
{
	struct gs_wait w = gs_wait_start(ms);
	bool done = false;

	pthread_mutex_lock(&vm->cmd_lock);
	gs_reg_write(vm, CX_ISEG_CMD_DBELL, slots);
	do {
		done = true;
		for (unsigned i = 0; i < vm->nr_slots; i++)
			if (slots & 1u << i && !slot_done(&vm->slots[i]))
				done = false;
	} while (!done && gs_wait_turn(&w));
	/*
	 * Their events say nothing that the owner bits do not. The last one follows its owner bit,
	 * and is there once the device answers for a register.
	 */
	gs_reg_read(vm, CX_ISEG_HEALTH_COUNTER);
	while (vm->cmd_eq.ring && gs_eq_peek(&vm->cmd_eq))
		gs_eq_take(vm, &vm->cmd_eq);
	pthread_mutex_unlock(&vm->cmd_lock);
	return done;
}
