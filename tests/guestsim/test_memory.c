/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest memory: in several ranges around the gap below 4 GiB, mapped and unmapped as a PC's
 * firmware does and while the device works, and what refuses to be mapped.
 */
#include "testlib.h"

#include <errno.h>
#include <string.h>

enum { MIB = 1024 * 1024 };

/* A side whose RAM is split: `low` bytes at 0, the rest at 4 GiB. */
static void open_split(struct side *s, unsigned port, size_t low)
{
	struct gs_vm_opts opts = {.ram = 96 * MIB, .low = low};

	*s = (struct side){.vm = gs_vm_open(gs_daemon_socket(&tl_daemon, port), &opts)};
	s->pd = gs_pd_create(s->vm);
	s->scq = gs_cq_create(s->vm, 256);
	s->rcq = gs_cq_create(s->vm, 256);
	s->buf = gs_ram_alloc(s->vm, TL_BUF, 2 * MIB);
	s->mr = gs_mr_register(s->pd, s->buf, TL_BUF, GS_ALL);
}

static void close_sides(struct pair *p)
{
	gs_daemon_check(&tl_daemon);
	tl_side_close(&p->a);
	tl_side_close(&p->b);
}

/* The gap lies inside the driver's queues, inside the buffer, behind all of them. */
static void test_split(void **state)
{
	static const size_t lows[] = {2 * MIB, 3 * MIB + 4096, 10 * MIB, 80 * MIB};
	struct gs_link l = gs_link_default();
	struct pair p;

	for (unsigned i = 0; i < ARRAY_SIZE(lows); i++) {
		open_split(&p.a, 0, lows[i]);
		open_split(&p.b, 1, lows[ARRAY_SIZE(lows) - 1 - i]);
		tl_connect(&p, GS_RC, &l);
		for (size_t len = 1; len < TL_BUF; len = len * 3 + 1)
			tl_send_recv(&p.a, &p.b, len);
		tl_fill(p.a.buf, TL_BUF, i);
		tl_rdma(&p.a, CX_OP_RDMA_WRITE, 0, TL_BUF, &p.b, 0);
		gs_cq_expect(p.a.scq, 0);
		tl_check(p.b.buf, TL_BUF, i);
		memset(p.a.buf, 0, TL_BUF);
		tl_rdma(&p.a, CX_OP_RDMA_READ, 0, TL_BUF, &p.b, 0);
		gs_cq_expect(p.a.scq, 0);
		tl_check(p.a.buf, TL_BUF, i);
		/* Across the gap by guest-physical address there is nothing. */
		gs_post_send(p.a.qp,
			     &(struct gs_send_wr){
				     .op = CX_OP_RDMA_WRITE,
				     .flags = GS_SIGNALED,
				     .raddr = p.b.vm->ranges[0].size - 8,
				     .rkey = p.b.pd->dma_key,
				     .nsge = 1,
				     .sge = &(struct gs_sge){(uintptr_t)p.a.buf, 16, p.a.mr->key}});
		gs_cq_wait(p.a.scq, &(struct gs_wc){0}, 1);
		assert_int_equal(gs_qp_state(p.a.qp), CX_QPS_ERR);
		close_sides(&p);
	}
}

/* The same RAM in many pieces, unmapped and mapped again between messages. */
static void test_remap(void **state)
{
	struct gs_link l = gs_link_default();
	struct pair p;

	open_split(&p.a, 0, 32 * MIB);
	open_split(&p.b, 1, 32 * MIB);
	tl_connect(&p, GS_RC, &l);
	for (unsigned i = 0; i < 30; i++) {
		struct gs_vm *vm = p.b.vm;
		unsigned r = i % 2;

		tl_send_recv(&p.a, &p.b, 300000);
		gs_ram_unmap(vm, r);
		/* Both messages and commands of others go on meanwhile. */
		gs_ram_map(vm, r);
		tl_send_recv(&p.b, &p.a, 300000);
	}
	close_sides(&p);
}

/* Memory that goes while messages flow to it: errors, never a crash, never a success too much. */
static void test_unmap_under_traffic(void **state)
{
	struct gs_link l = gs_link_default();
	uint64_t seed = 9;
	struct pair p;

	l.timeout = 8;
	l.retry_count = 1;
	for (unsigned i = 0; i < 30; i++) {
		struct gs_wc wc;

		/* Queues and the driver's things lie in the first range, the buffer in the second.
		 */
		open_split(&p.a, 0, 0);
		open_split(&p.b, 1, 8 * MIB);
		p.b.buf = gs_ram_alloc(p.b.vm, TL_BUF, 2 * MIB);
		p.b.mr = gs_mr_register(p.b.pd, p.b.buf, TL_BUF, GS_ALL);
		tl_connect(&p, GS_RC, &l);
		for (unsigned n = 0; n < 16; n++)
			tl_rdma(&p.a, n % 2 ? CX_OP_RDMA_WRITE : CX_OP_RDMA_READ, 0, 4 * MIB, &p.b,
				4 * MIB);
		for (uint64_t n = gs_random(&seed) % 3000000; n; n--)
			__asm__ volatile("" ::: "memory");
		gs_ram_unmap(p.b.vm, 1);
		/* Each request ends, one way or the other. */
		for (unsigned n = 0; n < 16; n++)
			gs_cq_wait(p.a.scq, &wc, 1);
		/* The VM whose memory went can map it again and go on. */
		gs_ram_map(p.b.vm, 1);
		tl_connect(&p, GS_RC, &l);
		tl_ping(&p);
		close_sides(&p);
	}
}

/* Its queues' memory goes: that VM's trouble, told to its peer by silence or an error. */
static void test_unmap_queues(void **state)
{
	struct gs_link l = gs_link_default();
	struct pair p;

	l.timeout = 8;
	l.retry_count = 1;
	open_split(&p.a, 0, 0);
	open_split(&p.b, 1, 0);
	tl_connect(&p, GS_RC, &l);
	tl_recv(&p.b, 0, 64);
	gs_ram_unmap(p.b.vm, 0);
	tl_send(&p.a, 0, 64);
	gs_cq_wait(p.a.scq, &(struct gs_wc){0}, 1);
	assert_int_not_equal(gs_qp_state(p.a.qp), CX_QPS_RTS);
	gs_daemon_check(&tl_daemon);
	close_sides(&p);
	/* The port is as good as new for the next VM. */
	open_split(&p.a, 0, 0);
	open_split(&p.b, 1, 0);
	tl_connect(&p, GS_RC, &l);
	tl_ping(&p);
	close_sides(&p);
}

static void test_refused(void **state)
{
	struct gs_vm *vm = gs_vm_open_port(&tl_daemon, 0);
	struct gs_vfio *v = &vm->vfio;
	uint64_t high = 1ull << 40;

	/* Overlaps, sizes and addresses that are no pages, wrapping, beyond the file. */
	assert_int_not_equal(gs_vfio_dma_map(v, vm->memfd, 0, 0, 4096), 0);
	assert_int_not_equal(gs_vfio_dma_map(v, vm->memfd, 0, vm->ram_size - 4096, 8192), 0);
	assert_int_not_equal(gs_vfio_dma_map(v, vm->memfd, 0, high, 0), 0);
	assert_int_not_equal(gs_vfio_dma_map(v, vm->memfd, 0, high, 100), 0);
	assert_int_not_equal(gs_vfio_dma_map(v, vm->memfd, 0, high + 5, 4096), 0);
	assert_int_not_equal(gs_vfio_dma_map(v, vm->memfd, 0, UINT64_MAX - 4095, 8192), 0);
	assert_int_not_equal(gs_vfio_dma_map(v, vm->memfd, vm->ram_size, high, 4096), 0);
	assert_int_not_equal(gs_vfio_dma_unmap(v, high, 4096), 0);
	/* Without a file, as a ROM comes: the device cannot reach it, and that is all. */
	assert_int_equal(gs_vfio_dma_map(v, -1, 0, high, 65536), 0);
	assert_int_equal(gs_vfio_dma_unmap(v, high, 65536), 0);
	/* The VM lives on. */
	gs_vm_await_active(vm);
	gs_vm_close(vm);
}

/* Hundreds of pieces come and go, as while a PC's firmware moves its memory about. */
static void test_many_pieces(void **state)
{
	struct gs_vm *vm = gs_vm_open_port(&tl_daemon, 0);
	unsigned maps = gs_daemon_maps(&tl_daemon), fds = gs_daemon_fds(&tl_daemon);

	for (unsigned round = 0; round < 5; round++) {
		uint64_t base = 1ull << 36;

		for (unsigned i = 0; i < 300; i++)
			assert_int_equal(gs_vfio_dma_map(&vm->vfio, vm->memfd, i * 4096ull,
							 base + i * 8192ull, 4096),
					 0);
		for (unsigned i = 0; i < 300; i++)
			assert_int_equal(gs_vfio_dma_unmap(&vm->vfio, base + i * 8192ull, 4096), 0);
	}
	gs_daemon_await_resources(&tl_daemon, fds, maps);
	gs_vm_await_active(vm);
	gs_vm_close(vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_split),
		cmocka_unit_test(test_remap),
		cmocka_unit_test(test_unmap_under_traffic),
		cmocka_unit_test(test_unmap_queues),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_many_pieces),
	};

	tl_init();
	return cmocka_run_group_tests(tests, tl_start, tl_stop);
}
