/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Event queues: the driver's side of mlx5's eq.c. An entry is ours when its owner bit equals the
 * parity of the round; the interrupt is the eventfd of the queue's vector.
 */
#include "gs_internal.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

void gs_eq_create(struct gs_vm *vm, struct gs_eq *eq, unsigned vector, unsigned log_size,
		  uint64_t event_mask)
{
	size_t bytes = sizeof(struct cx_eqe) << log_size;
	uint8_t in[CX_CREATE_EQ_IN_BYTES + 16 * 8] = {0}, out[CX_OUT_BYTES];
	uint8_t *eqc = in + CX_CREATE_EQ_IN_EQC_AT;
	struct cx_eqe *ring = gs_ram_alloc(vm, bytes, 4096);
	uint64_t pages[16];
	unsigned n;

	eq->nent = 1u << log_size;
	eq->consumer = 0;
	eq->vector = vector;
	eq->fd = vm->irq_fd[vector];
	/* Init value of struct mlx5_eqe.owner: not ours in the first round. */
	for (unsigned i = 0; i < eq->nent; i++)
		ring[i].owner = 1;
	if (gs_ram_pages(vm, ring, bytes, 12, NULL) > 16)
		gs_fail("event queue of %u entries is too large", eq->nent);
	n = gs_ram_pages(vm, ring, bytes, 12, pages);
	cx_set(in, CX_IN_OPCODE, CX_CMD_CREATE_EQ);
	/* Those of completions are for all processes. */
	if (!event_mask)
		cx_set(in, CX_IN_UID, CX_SHARED_UID);
	up_put_be64(in + CX_CREATE_EQ_IN_EVENT_BITMASK_AT, event_mask);
	cx_set(eqc, CX_EQC_LOG_EQ_SIZE, log_size);
	cx_set(eqc, CX_EQC_UAR_PAGE, vm->uar);
	cx_set(eqc, CX_EQC_INTR, vector);
	for (unsigned i = 0; i < n; i++)
		up_put_be64(in + CX_CREATE_EQ_IN_PAS_AT + 8 * i, pages[i]);
	gs_cmd(vm, in, CX_CREATE_EQ_IN_BYTES + 8 * n, out, sizeof(out));
	eq->eqn = cx_get(out, CX_EQN);
	eq->ring = ring;
}

const struct cx_eqe *gs_eq_peek(struct gs_eq *eq)
{
	const struct cx_eqe *e = &eq->ring[eq->consumer & (eq->nent - 1)];
	uint8_t owner = __atomic_load_n(&e->owner, __ATOMIC_ACQUIRE) & 1;

	return owner == !!(eq->consumer & eq->nent) ? e : NULL;
}

/* eq_update_ci(), with arming. */
static void tell(struct gs_vm *vm, const struct gs_eq *eq)
{
	gs_uar_store32(vm, vm->uar, CX_UAR_EQ_ARM, eq->eqn << 24 | (eq->consumer & 0xffffff));
}

void gs_eq_take(struct gs_vm *vm, struct gs_eq *eq)
{
	eq->consumer++;
	tell(vm, eq);
}

/* As the driver does, an interrupt is answered with the index whether it brought entries or not. */
bool gs_eq_sleep(struct gs_vm *vm, struct gs_eq *eq, unsigned ms)
{
	struct pollfd p = {.fd = eq->fd, .events = POLLIN};
	uint64_t count;
	int n;

	do
		n = poll(&p, 1, (int)ms);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return false;
	tell(vm, eq);
	return read(eq->fd, &count, sizeof(count)) == sizeof(count) || errno == EAGAIN;
}

static struct gs_event decode(const struct cx_eqe *e)
{
	struct gs_event ev = {.type = e->type, .sub_type = e->sub_type};

	switch (e->type) {
	case CX_EVENT_CQ_ERROR:
		ev.number = up_get_be32(e->data) & 0xffffff;
		ev.syndrome = e->data[11];
		break;
	case CX_EVENT_PORT_CHANGE:
		ev.number = e->data[8] >> 4;
		break;
	default:
		ev.number = up_get_be32(e->data + 24) & 0xffffff;
		break;
	}
	return ev;
}

/* Moves what the queue holds into the backlog. Under event_lock. */
static void collect(struct gs_vm *vm)
{
	const struct cx_eqe *e;

	while ((e = gs_eq_peek(&vm->async_eq))) {
		if (vm->nr_backlog == GS_EVENT_BACKLOG)
			gs_fail("more than %u asynchronous events wait", GS_EVENT_BACKLOG);
		vm->backlog[vm->nr_backlog++] = decode(e);
		gs_eq_take(vm, &vm->async_eq);
	}
}

static bool take_backlog(struct gs_vm *vm, int type, struct gs_event *ev)
{
	for (unsigned i = 0; i < vm->nr_backlog; i++) {
		if (type >= 0 && vm->backlog[i].type != type)
			continue;
		*ev = vm->backlog[i];
		vm->nr_backlog--;
		memmove(&vm->backlog[i], &vm->backlog[i + 1],
			(vm->nr_backlog - i) * sizeof(vm->backlog[0]));
		return true;
	}
	return false;
}

bool gs_event_wait(struct gs_vm *vm, int type, struct gs_event *ev, unsigned ms)
{
	uint64_t end = gs_now_ns() + ms * 1000000ull;

	for (;;) {
		uint64_t now;
		bool found;

		pthread_mutex_lock(&vm->event_lock);
		collect(vm);
		found = take_backlog(vm, type, ev);
		pthread_mutex_unlock(&vm->event_lock);
		if (found)
			return true;
		now = gs_now_ns();
		if (now >= end ||
		    !gs_eq_sleep(vm, &vm->async_eq, (unsigned)((end - now) / 1000000u) + 1))
			return false;
	}
}

void gs_event_expect(struct gs_vm *vm, uint8_t type, uint32_t number)
{
	struct gs_event ev;

	if (!gs_event_wait(vm, type, &ev, GS_WAIT_MS))
		gs_fail("no event of type %#x came for object %#x", type, number);
	if (ev.number != number)
		gs_fail("event of type %#x for object %#x, not %#x", type, ev.number, number);
}

void gs_event_expect_none(struct gs_vm *vm, uint8_t type, unsigned ms)
{
	struct gs_event ev;

	if (gs_event_wait(vm, type, &ev, ms))
		gs_fail("unexpected event of type %#x for object %#x", type, ev.number);
}

void gs_event_forget(struct gs_vm *vm)
{
	pthread_mutex_lock(&vm->event_lock);
	collect(vm);
	vm->nr_backlog = 0;
	pthread_mutex_unlock(&vm->event_lock);
}
