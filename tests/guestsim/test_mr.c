/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory keys: registration by command and by work request, fast registration, lists of keys,
 * windows, re-registration and invalidation.
 */
#include "testlib.h"

#include <string.h>

enum { KIB = 1024, MIB = 1024 * 1024 };

/* QPs of the kernel, which may register pages by work request. */
static int kernel_pair_open(void **state)
{
	struct gs_qp_attr attr = {.type = GS_RC, .kernel = true};
	struct gs_link l = gs_link_default();

	tl_sides_open(state);
	tl_connect_attr(*state, &attr, &l);
	return 0;
}

static void again(struct pair *p)
{
	struct gs_qp_attr attr = {.type = GS_RC, .kernel = true};
	struct gs_link l = gs_link_default();

	tl_connect_attr(p, &attr, &l);
	gs_event_forget(p->a.vm);
	gs_event_forget(p->b.vm);
}

/* Writes through the key to `where`, which is `addr` under it, and reads it back. */
static void use_ok(struct pair *p, uint32_t key, uint64_t addr, void *where, size_t len)
{
	static uint64_t seed;

	tl_fill(p->a.buf, len, ++seed);
	assert_int_equal(tl_rdma_key(p, CX_OP_RDMA_WRITE, key, addr, len), 0);
	tl_check(where, len, seed);
	memset(p->a.buf, 0, len);
	assert_int_equal(tl_rdma_key(p, CX_OP_RDMA_READ, key, addr, len), 0);
	tl_check(p->a.buf, len, seed);
}

static void use_fails(struct pair *p, uint8_t op, uint32_t key, uint64_t addr, size_t len)
{
	assert_int_equal(tl_rdma_key(p, op, key, addr, len), CX_SYND_REMOTE_ACCESS);
	again(p);
}

static void test_addresses(void **state)
{
	static const uint64_t bases[] = {0, 4096, 1ull << 40, UINT64_MAX - 3 * MIB + 1};
	struct pair *p = *state;
	enum { LEN = 3 * MIB };

	for (unsigned i = 0; i < ARRAY_SIZE(bases); i++) {
		for (unsigned shift = 12; shift <= 21; shift += 3) {
			struct gs_mr *mr =
				gs_mr_register_at(p->b.pd, p->b.buf, LEN, bases[i], shift, GS_ALL);

			if (bases[i] & ((1ull << shift) - 1))
				continue;
			use_ok(p, mr->key, bases[i], p->b.buf, LEN);
			use_ok(p, mr->key, bases[i] + LEN - 8, p->b.buf + LEN - 8, 8);
			use_fails(p, CX_OP_RDMA_WRITE, mr->key, bases[i] + LEN - 7, 8);
			assert_int_equal(gs_mr_deregister(mr), 0);
		}
	}
}

static void test_deregister(void **state)
{
	struct pair *p = *state;

	for (unsigned i = 0; i < 200; i++) {
		struct gs_mr *mr = gs_mr_register(p->b.pd, p->b.buf, 64 * KIB, GS_ALL);
		uint32_t key = mr->key;

		use_ok(p, key, mr->addr, p->b.buf, 4096);
		assert_int_equal(gs_mr_deregister(mr), 0);
		if (i % 20 == 0)
			use_fails(p, CX_OP_RDMA_WRITE, key, (uintptr_t)p->b.buf, 8);
	}
}

/* ---- the driver's registration QP ---- */

static void test_umr(void **state)
{
	static const size_t sizes[] = {1, 4096, 4097, 64 * KIB, MIB + 5, 12 * MIB};
	struct pair *p = *state;
	uint8_t *scattered = gs_ram_alloc_scattered(p->b.vm, 4 * MIB);

	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		uint8_t *at = p->b.buf + 123 * i;
		struct gs_mr *mr = gs_mr_register_umr(p->b.pd, at, sizes[i], GS_ALL);

		use_ok(p, mr->key, mr->addr, at, sizes[i]);
		use_fails(p, CX_OP_RDMA_WRITE, mr->key, mr->addr + sizes[i] - 1, 2);
		gs_mr_revoke(mr);
		use_fails(p, CX_OP_RDMA_READ, mr->key, mr->addr, 1);
		assert_int_equal(gs_mr_deregister(mr), 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		struct gs_mr *mr =
			gs_mr_register_umr(p->b.pd, scattered + 777 * i, 3 * MIB, GS_ALL);

		use_ok(p, mr->key, mr->addr, scattered + 777 * i, 3 * MIB);
	}
}

/* A page list that takes several requests, of which only the last switches the key on. */
static void test_umr_large(void **state)
{
	struct pair *p = *state;
	struct gs_vm_opts opts = {.ram = 1800u * MIB};
	struct gs_link l = gs_link_default();
	size_t len = 1536u * (size_t)MIB;
	struct gs_mr *mr;
	uint8_t *big;

	tl_side_close(&p->b);
	p->b = (struct side){.vm = gs_vm_open(gs_daemon_socket(&tl_daemon, 1), &opts)};
	p->b.pd = gs_pd_create(p->b.vm);
	p->b.scq = p->b.rcq = gs_cq_create(p->b.vm, 64);
	tl_side_qp(&p->b, GS_RC);
	assert_int_equal(gs_qp_to_reset(p->a.qp), 0);
	gs_qp_connect(p->a.qp, p->b.qp, &l);
	big = gs_ram_alloc(p->b.vm, len, 2 * MIB);
	mr = gs_mr_register_umr_at(p->b.pd, big, len, (uintptr_t)big, 12, GS_ALL);
	for (size_t off = 0; off + MIB <= len; off += 89 * (size_t)MIB)
		use_ok(p, mr->key, mr->addr + off, big + off, 64 * KIB);
	use_ok(p, mr->key, mr->addr + len - 4096, big + len - 4096, 4096);
}

static void test_rereg(void **state)
{
	struct pair *p = *state;
	struct gs_mr *mr = gs_mr_register_umr(p->b.pd, p->b.buf, 64 * KIB, GS_ALL);
	struct gs_pd *other = gs_pd_create(p->b.vm);

	use_ok(p, mr->key, mr->addr, p->b.buf, 4096);
	gs_mr_rereg(mr, p->b.pd, GS_REMOTE_READ);
	use_fails(p, CX_OP_RDMA_WRITE, mr->key, mr->addr, 8);
	assert_int_equal(tl_rdma_key(p, CX_OP_RDMA_READ, mr->key, mr->addr, 8), 0);
	gs_mr_rereg(mr, other, GS_ALL);
	use_fails(p, CX_OP_RDMA_READ, mr->key, mr->addr, 8);
	gs_mr_rereg(mr, p->b.pd, GS_ALL);
	use_ok(p, mr->key, mr->addr, p->b.buf, 4096);
}

/* ---- fast registration ---- */

static void expect_refused(struct gs_cq *cq, struct gs_qp *qp)
{
	struct gs_wc wc;

	gs_cq_wait(cq, &wc, 1);
	assert_int_equal(wc.status, CX_SYND_MW_BIND);
	assert_int_equal(gs_qp_state(qp), CX_QPS_ERR);
}

static void test_fast_reg(void **state)
{
	struct pair *p = *state;
	struct gs_mr *mr = gs_mr_alloc(p->b.pd, 64, false);
	uint64_t iova = 0x10000;

	/* Free: no access. */
	use_fails(p, CX_OP_RDMA_WRITE, mr->key, 0, 8);
	for (unsigned i = 0; i < 50; i++) {
		size_t len = (1 + i % 64) * 4096 - i * 7;
		uint8_t *at = p->b.buf + 4096 * i + i;

		iova += 0x1000000;
		/* ib_update_fast_reg_key() */
		mr->key = (mr->key & ~0xffu) | ((mr->key + 1) & 0xff);
		gs_post_reg(p->b.qp, i, mr, at, len > 63 * 4096 ? 63 * 4096 : len,
			    iova + ((uintptr_t)at & 4095), GS_ALL);
		assert_int_equal(gs_cq_expect(p->b.scq, 0).send_op, CX_OP_UMR);
		use_ok(p, mr->key, mr->addr, at, mr->len);
		gs_post_local_inv(p->b.qp, i, mr->key);
		gs_cq_expect(p->b.scq, 0);
		if (i % 10 == 0)
			use_fails(p, CX_OP_RDMA_READ, mr->key, mr->addr, 8);
	}
	/* Of a key that is not free. */
	gs_post_reg(p->b.qp, 1, mr, p->b.buf, 4096, 0, GS_ALL);
	gs_cq_expect(p->b.scq, 0);
	gs_post_reg(p->b.qp, 2, mr, p->b.buf, 4096, 0, GS_ALL);
	expect_refused(p->b.scq, p->b.qp);
}

/* Registration, use and invalidation in one go: local operations take effect in order. */
static void test_fast_reg_order(void **state)
{
	struct pair *p = *state;
	struct gs_mr *mr = gs_mr_alloc(p->a.pd, 16, false);
	struct gs_wc wc[3];

	for (unsigned i = 0; i < 200; i++) {
		struct gs_sge sge = {.addr = 64, .len = 256};
		uint32_t key = (mr->key & ~0xffu) | ((mr->key + 1) & 0xff);

		mr->key = key;
		tl_fill(p->a.buf + 64, 256, i);
		gs_post_reg(p->a.qp, 1, mr, p->a.buf, 16 * KIB, 0, GS_LOCAL_WRITE);
		sge.key = key;
		gs_post_send(p->a.qp, &(struct gs_send_wr){.wr_id = 2,
							   .op = CX_OP_RDMA_WRITE,
							   .flags = GS_SIGNALED,
							   .raddr = (uintptr_t)p->b.buf,
							   .rkey = p->b.mr->key,
							   .nsge = 1,
							   .sge = &sge});
		gs_post_local_inv(p->a.qp, 3, key);
		gs_cq_wait(p->a.scq, wc, 3);
		for (unsigned n = 0; n < 3; n++) {
			assert_int_equal(wc[n].status, 0);
			assert_int_equal(wc[n].wr_id, n + 1);
		}
		tl_check(p->b.buf, 256, i);
	}
}

/* A key that is destroyed while it is registered: either comes first, and nothing else happens. */
static void test_destroyed_meanwhile(void **state)
{
	struct pair *p = *state;
	struct gs_link l = gs_link_default();

	l.remote_qpn = p->b.qp->qpn;
	l.path = gs_path_to(p->b.vm);
	for (unsigned i = 0; i < 500; i++) {
		struct gs_mr *mr = gs_mr_alloc(p->a.pd, 16, false);
		struct gs_wc wc;

		mr->key = (mr->key & ~0xffu) | ((mr->key + 1) & 0xff);
		gs_post_reg(p->a.qp, i, mr, p->a.buf, 4096, 0, GS_ALL);
		assert_int_equal(gs_mr_deregister(mr), 0);
		gs_cq_wait(p->a.scq, &wc, 1);
		if (wc.status) {
			assert_int_equal(wc.status, CX_SYND_MW_BIND);
			gs_qp_to_reset(p->a.qp);
			gs_qp_bring_up(p->a.qp, &l);
		}
	}
}

/* A process must not map pages of its choice: its QPs have no fast registration (qpc.fre). */
static void test_fast_reg_by_process(void **state)
{
	struct pair *p = *state;
	struct gs_link l = gs_link_default();
	struct gs_mr *mr = gs_mr_alloc(p->b.pd, 16, false);

	tl_connect(p, GS_RC, &l);
	gs_post_reg(p->b.qp, 1, mr, p->b.buf, 4096, 0, GS_ALL);
	expect_refused(p->b.scq, p->b.qp);
	/* Nor take a region of somebody else's. */
	mr = gs_mr_register_umr(gs_pd_create(p->b.vm), p->b.buf, 4096, GS_ALL);
	again(p);
	gs_post_local_inv(p->b.qp, 1, mr->key);
	expect_refused(p->b.scq, p->b.qp);
}

/* Scattered pieces as one region (the kernel's "sg gaps"). */
static void test_fast_reg_list(void **state)
{
	struct pair *p = *state;
	struct gs_mr *mr = gs_mr_alloc(p->b.pd, 32, true);
	struct gs_part parts[20];
	size_t len = 0;

	for (unsigned i = 0; i < 20; i++) {
		parts[i] = (struct gs_part){.key = p->b.pd->dma_key,
					    .addr = gs_ram_gpa(p->b.vm, p->b.buf + i * 10000),
					    .len = 100 + i};
		len += parts[i].len;
	}
	gs_post_reg_list(p->b.qp, 1, mr, parts, 20, 0x7000, GS_ALL);
	gs_cq_expect(p->b.scq, 0);
	tl_fill(p->a.buf, len, 4);
	memset(p->b.buf, 0, 200000);
	assert_int_equal(tl_rdma_key(p, CX_OP_RDMA_WRITE, mr->key, 0x7000, len), 0);
	len = 0;
	for (unsigned i = 0; i < 20; i++) {
		assert_memory_equal(p->b.buf + i * 10000, p->a.buf + len, 100 + i);
		tl_check_same(p->b.buf + i * 10000 + 100 + i, 100, 0);
		len += 100 + i;
	}
	use_fails(p, CX_OP_RDMA_WRITE, mr->key, 0x7000, len + 1);
}

/* ---- lists ---- */

static void test_list(void **state)
{
	struct pair *p = *state;
	struct gs_part parts[3] = {
		{p->b.mr->key, (uintptr_t)p->b.buf + 100, 5000},
		{p->b.mr->key, (uintptr_t)p->b.buf + 50000, 1},
		{p->b.mr->key, (uintptr_t)p->b.buf + 90000, 7000},
	};
	struct gs_mr *list = gs_mr_register_list(p->b.pd, parts, 3, GS_ALL), *nested, *mixed;
	struct gs_part whole[2] = {{list->key, 2000, 10000}, {list->key, 0, 2000}};

	tl_fill(p->a.buf, 12001, 1);
	assert_int_equal(tl_rdma_key(p, CX_OP_RDMA_WRITE, list->key, 0, 12001), 0);
	assert_memory_equal(p->b.buf + 100, p->a.buf, 5000);
	assert_memory_equal(p->b.buf + 50000, p->a.buf + 5000, 1);
	assert_memory_equal(p->b.buf + 90000, p->a.buf + 5001, 7000);
	/* A list of lists. */
	nested = gs_mr_register_list(p->b.pd, whole, 2, GS_ALL);
	memset(p->a.buf, 0, 12000);
	assert_int_equal(tl_rdma_key(p, CX_OP_RDMA_READ, nested->key, 0, 12000), 0);
	assert_memory_equal(p->a.buf, p->b.buf + 2100, 3000);
	assert_memory_equal(p->a.buf + 3000, p->b.buf + 50000, 1);
	assert_memory_equal(p->a.buf + 10000, p->b.buf + 100, 2000);
	/* A piece of another protection domain spoils it where it is touched. */
	parts[1].key = gs_mr_register(gs_pd_create(p->b.vm), p->b.buf, MIB, GS_ALL)->key;
	mixed = gs_mr_register_list(p->b.pd, parts, 3, GS_ALL);
	assert_int_equal(tl_rdma_key(p, CX_OP_RDMA_READ, mixed->key, 0, 5000), 0);
	assert_int_not_equal(tl_rdma_key(p, CX_OP_RDMA_READ, mixed->key, 0, 5001), 0);
	again(p);
	/* So does a piece without the right, and one whose region is gone. */
	parts[1].key = gs_mr_register(p->b.pd, p->b.buf, MIB, GS_REMOTE_READ)->key;
	mixed = gs_mr_register_list(p->b.pd, parts, 3, GS_ALL);
	assert_int_equal(tl_rdma_key(p, CX_OP_RDMA_READ, mixed->key, 0, 5001), 0);
	assert_int_not_equal(tl_rdma_key(p, CX_OP_RDMA_WRITE, mixed->key, 0, 5001), 0);
	again(p);
	assert_int_equal(gs_mr_deregister(list), 0);
	assert_int_not_equal(tl_rdma_key(p, CX_OP_RDMA_READ, nested->key, 0, 8), 0);
}

/* A list that refers to itself, directly and around a corner, ends in an error. */
static void test_list_loop(void **state)
{
	struct pair *p = *state;
	struct gs_mr *a = gs_mr_alloc(p->b.pd, 4, true), *b = gs_mr_alloc(p->b.pd, 4, true);
	struct gs_part to_a = {.key = a->key, .len = 4096}, to_b = {.key = b->key, .len = 4096};

	gs_post_reg_list(p->b.qp, 1, a, &to_a, 1, 0, GS_ALL);
	gs_cq_expect(p->b.scq, 0);
	assert_int_not_equal(tl_rdma_key(p, CX_OP_RDMA_WRITE, a->key, 0, 8), 0);
	again(p);
	gs_post_local_inv(p->b.qp, 2, a->key);
	gs_cq_expect(p->b.scq, 0);
	gs_post_reg_list(p->b.qp, 3, a, &to_b, 1, 0, GS_ALL);
	gs_post_reg_list(p->b.qp, 4, b, &to_a, 1, 0, GS_ALL);
	gs_cq_expect(p->b.scq, 0);
	gs_cq_expect(p->b.scq, 0);
	assert_int_not_equal(tl_rdma_key(p, CX_OP_RDMA_WRITE, a->key, 0, 8), 0);
	again(p);
	tl_ping(p);
}

static void test_ksm(void **state)
{
	struct pair *p = *state;
	struct gs_part parts[4];
	struct gs_mr *mr;

	for (unsigned i = 0; i < 4; i++)
		parts[i] = (struct gs_part){.key = p->b.mr->key,
					    .addr = (uintptr_t)p->b.buf + (3 - i) * 65536};
	mr = gs_mr_register_ksm(p->b.pd, parts, 4, 16, GS_ALL);
	tl_fill(p->a.buf, 4 * 65536, 2);
	assert_int_equal(tl_rdma_key(p, CX_OP_RDMA_WRITE, mr->key, 0, 4 * 65536), 0);
	for (unsigned i = 0; i < 4; i++)
		assert_memory_equal(p->b.buf + (3 - i) * 65536, p->a.buf + i * 65536, 65536);
	use_fails(p, CX_OP_RDMA_WRITE, mr->key, 4 * 65536 - 4, 8);
}

/* All of memory by guest-physical address, and what is no memory. */
static void test_physical(void **state)
{
	struct pair *p = *state;
	uint32_t key = p->b.pd->dma_key;

	use_ok(p, key, gs_ram_gpa(p->b.vm, p->b.buf), p->b.buf, 2 * MIB);
	assert_int_not_equal(tl_rdma_key(p, CX_OP_RDMA_WRITE, key, p->b.vm->ram_size, 8), 0);
	again(p);
	assert_int_not_equal(tl_rdma_key(p, CX_OP_RDMA_READ, key, p->b.vm->ram_size - 4, 8), 0);
	again(p);
	assert_int_not_equal(tl_rdma_key(p, CX_OP_RDMA_READ, key, UINT64_MAX - 3, 8), 0);
	again(p);
	tl_ping(p);
}

/* ---- windows: processes bind them on their own QPs ---- */

static void again_window(struct pair *p)
{
	struct gs_link l = gs_link_default();

	tl_connect(p, GS_RC, &l);
	gs_event_forget(p->b.vm);
}

static void bind_ok(struct pair *p, struct gs_mr *mw, unsigned type, size_t off, size_t len,
		    unsigned access)
{
	gs_post_bind(p->b.qp, 1, mw, type, p->b.mr, (uintptr_t)p->b.buf + off, len, access);
	gs_cq_expect(p->b.scq, 0);
}

static void window_denies(struct pair *p, uint8_t op, uint32_t key, size_t off, size_t len)
{
	assert_int_equal(tl_rdma_key(p, op, key, (uintptr_t)p->b.buf + off, len),
			 CX_SYND_REMOTE_ACCESS);
	again_window(p);
}

static void test_window_type1(void **state)
{
	struct pair *p = *state;
	struct gs_mr *mw = gs_mw_alloc(p->b.pd, 1);
	uint32_t old;

	window_denies(p, CX_OP_RDMA_WRITE, mw->key, 0, 8);
	bind_ok(p, mw, 1, 1000, 5000, GS_REMOTE_ALL);
	use_ok(p, mw->key, (uintptr_t)p->b.buf + 1000, p->b.buf + 1000, 5000);
	window_denies(p, CX_OP_RDMA_WRITE, mw->key, 999, 8);
	window_denies(p, CX_OP_RDMA_WRITE, mw->key, 5993, 8);
	/* Bound again: a new key, the old one is dead (10.6.7.2.1). */
	old = mw->key;
	bind_ok(p, mw, 1, 8192, 4096, GS_REMOTE_READ);
	assert_int_not_equal(mw->key, old);
	window_denies(p, CX_OP_RDMA_READ, old, 1000, 8);
	assert_int_equal(tl_rdma_key(p, CX_OP_RDMA_READ, mw->key, (uintptr_t)p->b.buf + 8192, 4096),
			 0);
	window_denies(p, CX_OP_RDMA_WRITE, mw->key, 8192, 8);
	/* Unbound. */
	old = mw->key;
	bind_ok(p, mw, 1, 0, 0, 0);
	window_denies(p, CX_OP_RDMA_READ, old, 8192, 8);
	window_denies(p, CX_OP_RDMA_READ, mw->key, 8192, 8);
}

static void bind_fails(struct pair *p, struct gs_mr *mw, unsigned type, const struct gs_mr *mr,
		       uint64_t addr, uint64_t len, unsigned access)
{
	uint32_t old = mw->key;

	gs_post_bind(p->b.qp, 1, mw, type, mr, addr, len, access);
	expect_refused(p->b.scq, p->b.qp);
	mw->key = old;
	again_window(p);
}

static void test_window_refused(void **state)
{
	struct pair *p = *state;
	struct gs_mr *mw = gs_mw_alloc(p->b.pd, 1);
	struct gs_mr *ro = gs_mr_register(p->b.pd, p->b.buf, MIB, GS_REMOTE_READ);
	struct gs_mr *foreign = gs_mr_register(gs_pd_create(p->b.vm), p->b.buf, MIB, GS_ALL);
	struct gs_mr bad = *p->b.mr;
	uint64_t buf = (uintptr_t)p->b.buf;

	/* Writing, of a region that its owner cannot write. */
	bind_fails(p, mw, 1, ro, buf, 4096, GS_REMOTE_WRITE);
	bind_fails(p, mw, 1, ro, buf, 4096, GS_REMOTE_ATOMIC);
	/* Beyond the region, of another domain, of no region. */
	bind_fails(p, mw, 1, p->b.mr, buf + TL_BUF - 100, 101, GS_REMOTE_READ);
	bind_fails(p, mw, 1, p->b.mr, buf - 1, 100, GS_REMOTE_READ);
	bind_fails(p, mw, 1, foreign, buf, 4096, GS_REMOTE_READ);
	bad.key ^= 0x40;
	bind_fails(p, mw, 1, &bad, buf, 4096, GS_REMOTE_READ);
	/* A window of another domain. */
	bind_fails(p, gs_mw_alloc(gs_pd_create(p->b.vm), 1), 1, p->b.mr, buf, 4096, GS_REMOTE_READ);
	tl_ping(p);
}

static void test_window_type2(void **state)
{
	struct pair *p = *state;
	struct gs_mr *mw = gs_mw_alloc(p->b.pd, 2);
	struct gs_qp *holder, *holder_peer;
	struct gs_sge sge = gs_sge(p->a.mr, p->a.buf, 8);
	uint32_t key;

	bind_ok(p, mw, 2, 4096, 4096, GS_REMOTE_ALL);
	key = mw->key;
	use_ok(p, key, (uintptr_t)p->b.buf + 4096, p->b.buf + 4096, 4096);
	/* Bound already. */
	holder = p->b.qp;
	holder_peer = p->a.qp;
	p->a.qp = p->b.qp = NULL;
	again_window(p);
	bind_fails(p, mw, 2, p->b.mr, (uintptr_t)p->b.buf, 4096, GS_REMOTE_READ);
	mw->key = key;
	/* Through another QP than the one it is bound to. */
	window_denies(p, CX_OP_RDMA_READ, key, 4096, 8);
	/* Nor may another one invalidate it. */
	gs_post_mw_inv(p->b.qp, 1, key);
	expect_refused(p->b.scq, p->b.qp);
	again_window(p);
	assert_int_equal(gs_qp_destroy(p->a.qp), 0);
	assert_int_equal(gs_qp_destroy(p->b.qp), 0);
	p->a.qp = holder_peer;
	p->b.qp = holder;
	use_ok(p, key, (uintptr_t)p->b.buf + 4096, p->b.buf + 4096, 4096);
	/* A send invalidates it. */
	tl_recv(&p->b, 0, 64);
	gs_post_send(p->a.qp, &(struct gs_send_wr){.op = CX_OP_SEND_INVAL,
						   .flags = GS_SIGNALED,
						   .imm = key,
						   .nsge = 1,
						   .sge = &sge});
	gs_cq_expect(p->a.scq, 0);
	assert_int_equal(gs_cq_expect(p->b.rcq, 0).imm, key);
	/* It can be bound again, and invalidated at home. */
	bind_ok(p, mw, 2, 0, 4096, GS_REMOTE_ALL);
	use_ok(p, mw->key, (uintptr_t)p->b.buf, p->b.buf, 4096);
	gs_post_mw_inv(p->b.qp, 2, mw->key);
	gs_cq_expect(p->b.scq, 0);
	window_denies(p, CX_OP_RDMA_READ, mw->key, 0, 8);
}

/* A send may invalidate only what allows it: no ordinary region, nothing of another domain. */
static void test_remote_invalidate_refused(void **state)
{
	struct pair *p = *state;
	struct gs_mr *mw = gs_mw_alloc(gs_pd_create(p->b.vm), 2);
	uint32_t keys[4] = {p->b.mr->key, 0x7fff0000, mw->key, p->b.pd->dma_key};
	struct gs_sge sge = gs_sge(p->a.mr, p->a.buf, 8);

	for (unsigned i = 0; i < 4; i++) {
		struct gs_wc wc;

		tl_recv(&p->b, 0, 64);
		gs_post_send(p->a.qp, &(struct gs_send_wr){.op = CX_OP_SEND_INVAL,
							   .flags = GS_SIGNALED,
							   .imm = keys[i],
							   .nsge = 1,
							   .sge = &sge});
		gs_cq_wait(p->a.scq, &wc, 1);
		assert_int_not_equal(wc.status, 0);
		gs_cq_wait(p->b.rcq, &wc, 1);
		assert_int_not_equal(wc.status, 0);
		again_window(p);
	}
	use_ok(p, p->b.mr->key, (uintptr_t)p->b.buf, p->b.buf, 4096);
}

/* A region with a window on it goes: the window leads nowhere. */
static void test_window_without_region(void **state)
{
	struct pair *p = *state;
	struct gs_mr *mr = gs_mr_register(p->b.pd, p->b.buf, 64 * KIB, GS_ALL);
	struct gs_mr *mw = gs_mw_alloc(p->b.pd, 1);

	gs_post_bind(p->b.qp, 1, mw, 1, mr, (uintptr_t)p->b.buf, 4096, GS_REMOTE_ALL);
	gs_cq_expect(p->b.scq, 0);
	use_ok(p, mw->key, (uintptr_t)p->b.buf, p->b.buf, 4096);
	if (gs_mr_deregister(mr) == 0) {
		assert_int_not_equal(
			tl_rdma_key(p, CX_OP_RDMA_WRITE, mw->key, (uintptr_t)p->b.buf, 8), 0);
		again_window(p);
	}
	tl_ping(p);
}

static uint32_t null_key(struct gs_vm *vm)
{
	uint8_t in[CX_IN_BYTES] = {0}, out[CX_OUT_BYTES] = {0};

	cx_set(in, CX_IN_OPCODE, CX_CMD_QUERY_SPECIAL_CONTEXTS);
	gs_cmd(vm, in, sizeof(in), out, sizeof(out));
	return cx_get(out, CX_QUERY_SPECIAL_CONTEXTS_OUT_DUMP_FILL_MKEY);
}

/* ibv_alloc_null_mr(): what is taken from there is zero, what goes there is gone. */
static void test_null(void **state)
{
	enum { GAP = 200 * KIB + 3, LEN = 5000 };
	struct pair *p = *state;
	uint32_t key = null_key(p->b.vm);
	struct gs_sge from = gs_sge(p->a.mr, p->a.buf, GAP + LEN);
	struct gs_sge to[] = {{.len = GAP, .key = key}, gs_sge(p->b.mr, p->b.buf, LEN)};
	struct gs_send_wr wr = {.op = CX_OP_SEND, .flags = GS_SIGNALED, .nsge = 1, .sge = &from};

	tl_fill(p->a.buf + GAP, LEN, 1);
	gs_post_recv(p->b.qp, 1, to, 2);
	gs_post_send(p->a.qp, &wr);
	gs_cq_expect(p->a.scq, 0);
	assert_int_equal(gs_cq_expect(p->b.rcq, 0).byte_len, GAP + LEN);
	tl_check(p->b.buf, LEN, 1);

	/* And back, from where that was dropped. */
	memset(p->a.buf, 0xff, GAP);
	memset(p->a.buf + GAP, 0, LEN);
	wr = (struct gs_send_wr){.op = CX_OP_RDMA_WRITE,
				 .flags = GS_SIGNALED,
				 .raddr = (uintptr_t)p->a.buf,
				 .rkey = p->a.mr->key,
				 .nsge = 2,
				 .sge = to};
	gs_post_send(p->b.qp, &wr);
	gs_cq_expect(p->b.scq, 0);
	tl_check_same(p->a.buf, GAP, 0);
	tl_check(p->a.buf + GAP, LEN, 1);
	use_fails(p, CX_OP_RDMA_WRITE, key, 0, 8);
	use_fails(p, CX_OP_RDMA_READ, key, 0, 8);
	assert_int_not_equal(gs_cmd_object(p->b.vm, CX_CMD_DESTROY_MKEY, 0, key >> 8), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define KERNEL_TEST(f) cmocka_unit_test_setup_teardown(f, kernel_pair_open, tl_pair_close)
#define WINDOW_TEST(f) cmocka_unit_test_setup_teardown(f, tl_pair_open, tl_pair_close)
		KERNEL_TEST(test_addresses),
		KERNEL_TEST(test_deregister),
		KERNEL_TEST(test_umr),
		KERNEL_TEST(test_umr_large),
		KERNEL_TEST(test_rereg),
		KERNEL_TEST(test_fast_reg),
		KERNEL_TEST(test_fast_reg_order),
		KERNEL_TEST(test_destroyed_meanwhile),
		KERNEL_TEST(test_fast_reg_by_process),
		KERNEL_TEST(test_fast_reg_list),
		KERNEL_TEST(test_list),
		KERNEL_TEST(test_list_loop),
		KERNEL_TEST(test_ksm),
		KERNEL_TEST(test_physical),
		KERNEL_TEST(test_null),
		WINDOW_TEST(test_window_type1),
		WINDOW_TEST(test_window_refused),
		WINDOW_TEST(test_window_type2),
		WINDOW_TEST(test_remote_invalidate_refused),
		WINDOW_TEST(test_window_without_region),
	};

	tl_init();
	return cmocka_run_group_tests(tests, tl_start, tl_stop);
}
