/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What one VM can make the daemon spend: as many objects of each kind as it is given, and all of
 * them at once. Memory stays under a bound, others are undisturbed, and all of it is given back
 * when the VM goes.
 */
#include "../unit/exact_memory.h"
#include "bystanders.h"

#include <stdlib.h>
#include <string.h>

enum { MIB = 1024 * 1024 };

/* Of the daemon, for one VM; regions grow with the VM's memory (docs/operations.md). */
#define MEMORY_BOUND (768ull * MIB)
/* What the allocator may keep of what was freed. */
#define MEMORY_KEPT (32ull * MIB)

/* ---- many commands at once ---- */

/* A command as the driver's half sent it, to be sent again and again. */
struct sample {
	uint16_t opcode;
	uint8_t in[CX_CMD_INLINE + CX_MBOX_DATA];
	uint32_t len;
};
static struct sample taken; /* the one that is being taken */

static void record(struct gs_vm *vm, const void *in, uint32_t inlen, uint32_t outlen)
{
	if (cx_get(in, CX_IN_OPCODE) != taken.opcode || inlen > sizeof(taken.in))
		return;
	memcpy(taken.in, in, inlen);
	taken.len = inlen;
}

/* The next command of this kind becomes the taken. */
static void sample_next(struct gs_vm *vm, uint16_t opcode)
{
	taken.opcode = opcode;
	taken.len = 0;
	vm->on_command = record;
}

static void fill_slot(struct gs_vm *vm, struct cx_cmd_slot *s, const struct sample *sample,
		      const struct cx_mailbox *box)
{
	memset(s, 0, sizeof(*s));
	s->type = CX_CMD_TYPE;
	up_put_be32(s->inlen, sample->len);
	up_put_be32(s->outlen, CX_OUT_BYTES);
	memcpy(s->in, sample->in, CX_CMD_INLINE);
	if (sample->len > CX_CMD_INLINE)
		up_put_be64(s->in_ptr, gs_ram_gpa(vm, box));
	__atomic_store_n(&s->status_own, CX_CMD_OWNER_HW, __ATOMIC_RELEASE);
}

/* Sends a command until it is refused, a queue full at a time. Returns how often it was not. */
static unsigned exhaust(struct gs_vm *vm, const struct sample *sample)
{
	struct cx_mailbox *box = gs_ram_alloc(vm, sizeof(*box), 1024);
	uint32_t all = (uint32_t)((1ull << vm->nr_slots) - 1);
	unsigned n = 0, refused = 0;

	memcpy(box->data, sample->in + CX_CMD_INLINE, sample->len - CX_CMD_INLINE);
	while (!refused) {
		for (unsigned i = 0; i < vm->nr_slots; i++)
			fill_slot(vm, &vm->slots[i], sample, box);
		if (!gs_cmd_ring(vm, all, GS_WAIT_MS))
			gs_fail("command %#x is never done", sample->opcode);
		for (unsigned i = 0; i < vm->nr_slots; i++) {
			if (vm->slots[i].status_own || vm->slots[i].out[0])
				refused++;
			else
				n++;
		}
	}
	gs_ram_free(vm, box, sizeof(*box));
	return n;
}

/* ---- kinds of objects ---- */

static void sample_number(struct gs_vm *vm, uint16_t opcode)
{
	sample_next(vm, opcode);
	gs_cmd_alloc(vm, opcode);
}

static void sample_qp(struct gs_vm *vm)
{
	struct gs_cq *cq = gs_cq_create(vm, 64);

	sample_next(vm, CX_CMD_CREATE_QP);
	gs_qp_create(gs_pd_create(vm), &(struct gs_qp_attr){.type = GS_RC, .send_cq = cq});
}

static void sample_cq(struct gs_vm *vm)
{
	sample_next(vm, CX_CMD_CREATE_CQ);
	gs_cq_create(vm, 64);
}

/* A long ring, to reach the bound of the page lists. */
static void sample_scattered_cq(struct gs_vm *vm)
{
	sample_next(vm, CX_CMD_CREATE_CQ);
	gs_cq_create_attr(vm, &(struct gs_cq_attr){.entries = 1024, .scattered = true});
}

static void sample_srq(struct gs_vm *vm)
{
	sample_next(vm, CX_CMD_CREATE_RMP);
	gs_srq_create(gs_pd_create(vm), &(struct gs_srq_attr){.wrs = 16, .sges = 1});
}

static void sample_key(struct gs_vm *vm)
{
	sample_next(vm, CX_CMD_CREATE_MKEY);
	gs_pd_create(vm);
}

/* Room for a million pages each, of which none is touched. */
static void sample_large_key(struct gs_vm *vm)
{
	sample_next(vm, CX_CMD_CREATE_MKEY);
	gs_mr_alloc(gs_pd_create(vm), 1 << 20, false);
}

static void sample_pd(struct gs_vm *vm)
{
	sample_number(vm, CX_CMD_ALLOC_PD);
}

static void sample_uar(struct gs_vm *vm)
{
	sample_number(vm, CX_CMD_ALLOC_UAR);
}

static void sample_xrcd(struct gs_vm *vm)
{
	sample_number(vm, CX_CMD_ALLOC_XRCD);
}

static void sample_counter(struct gs_vm *vm)
{
	sample_number(vm, CX_CMD_ALLOC_Q_COUNTER);
}

static void sample_eq(struct gs_vm *vm)
{
	sample_next(vm, CX_CMD_CREATE_EQ);
	gs_vm_tear_down(vm);
	gs_vm_bring_up(vm);
}

static const struct kind {
	const char *name;
	void (*sample)(struct gs_vm *vm);
	unsigned least, most;
} kinds[] = {
	{"EQ", sample_eq, 8, 1 << 6}, /* first: it starts the driver again */
	{"PD", sample_pd, 1000, 1 << 16},     {"UAR", sample_uar, 1000, 1 << 13},
	{"XRCD", sample_xrcd, 100, 1 << 10},  {"counter", sample_counter, 100, 1 << 8},
	{"CQ", sample_cq, 10000, 1 << 17},    {"scattered CQ", sample_scattered_cq, 1000, 1 << 17},
	{"SRQ", sample_srq, 10000, 1 << 16},  {"QP", sample_qp, 10000, 1 << 17},
	{"key", sample_key, 100000, 1 << 20}, {"large key", sample_large_key, 4, 1 << 10},
};

static uint64_t memory_since(uint64_t before)
{
	uint64_t now = gs_daemon_rss(&tl_daemon);

	return memory_is_exact() && now > before ? now - before : 0;
}

static void check_memory(uint64_t before, const char *what)
{
	uint64_t more = memory_since(before);

	if (more > MEMORY_BOUND)
		gs_fail("%s: %llu MiB", what, (unsigned long long)(more / MIB));
}

static void await_memory(uint64_t before, const char *what)
{
	struct gs_wait w = gs_wait_start(GS_WAIT_MS);

	while (memory_since(before) > MEMORY_KEPT)
		if (!gs_wait_turn(&w))
			gs_fail("%s: %llu MiB were not given back", what,
				(unsigned long long)(memory_since(before) / MIB));
}

static struct sample take_sample(struct gs_vm *vm, const struct kind *k)
{
	k->sample(vm);
	vm->on_command = NULL;
	if (!taken.len)
		gs_fail("no sample of kind %s", k->name);
	return taken;
}

static void exhaust_kind(struct gs_vm *vm, const struct kind *k)
{
	struct sample one = take_sample(vm, k);
	unsigned n = exhaust(vm, &one);

	if (n < k->least || n > k->most)
		gs_fail("%u objects of kind %s", n, k->name);
}

static struct gs_vm *open_small(void)
{
	struct gs_vm_opts opts = {.ram = 64 * MIB};

	return gs_vm_open(gs_daemon_socket(&tl_daemon, 0), &opts);
}

/* One kind after the other, each in a VM of its own. */
static void test_each_kind(void **state)
{
	unsigned fds, maps;

	by_resources(&fds, &maps);
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		uint64_t before = gs_daemon_rss(&tl_daemon);
		struct gs_vm *vm = open_small();

		exhaust_kind(vm, &kinds[i]);
		check_memory(before, kinds[i].name);
		by_check();
		gs_vm_close(vm);
		by_check();
		gs_daemon_await_resources(&tl_daemon, fds, maps);
		await_memory(before, kinds[i].name);
	}
}

/* All of them together, then the memory map changes, and then the VM goes. */
static void test_all_kinds(void **state)
{
	uint64_t before = gs_daemon_rss(&tl_daemon);
	struct sample samples[ARRAY_SIZE(kinds)];
	struct gs_vm *vm;
	unsigned fds, maps;

	by_resources(&fds, &maps);
	vm = open_small();
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
		samples[i] = take_sample(vm, &kinds[i]);
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++)
		exhaust(vm, &samples[i]);
	check_memory(before, "all kinds");
	by_check();
	for (unsigned i = 0; i < 50; i++) {
		gs_ram_unmap(vm, 0);
		by_check();
		gs_ram_map(vm, 0);
	}
	gs_vm_close(vm);
	by_check();
	gs_daemon_await_resources(&tl_daemon, fds, maps);
	await_memory(before, "all kinds");
}

/* ---- the same again, at once ---- */

static const struct kind most_qps = {"QP", sample_qp, 10000, 1 << 17};

static struct gs_vm *after_reset(struct gs_vm *vm)
{
	assert_int_equal(gs_vfio_reset(&vm->vfio), 0);
	gs_vm_bring_up(vm);
	return vm;
}

static struct gs_vm *after_death(struct gs_vm *vm)
{
	gs_vm_close(vm);
	return open_small();
}

/*
 * What a VM had is freed in turns after the reset, or the end of the VM, was answered. Whoever
 * starts the function then has room for as much again, and the daemon never for two of it.
 */
static void check_again(struct gs_vm *(*end)(struct gs_vm *vm), const char *what)
{
	uint64_t before = gs_daemon_rss(&tl_daemon);
	struct gs_vm *vm = open_small();

	exhaust_kind(vm, &most_qps);
	vm = end(vm);
	by_check();
	exhaust_kind(vm, &most_qps);
	check_memory(before, what);
	by_check();
	gs_vm_close(vm);
	await_memory(before, what);
}

static void test_again_after_reset(void **state)
{
	check_again(after_reset, "a reset");
}

static void test_again_after_death(void **state)
{
	check_again(after_death, "a VM's end");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_kind),
		cmocka_unit_test(test_all_kinds),
		cmocka_unit_test(test_again_after_reset),
		cmocka_unit_test(test_again_after_death),
	};

	tl_init();
	return cmocka_run_group_tests(tests, by_start, by_stop);
}
