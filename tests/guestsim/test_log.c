/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the log says of VMs that end or misbehave: one line a fault, with the port and the reason,
 * and none where there is no fault.
 */
#include "testlib.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { MIB = 1024 * 1024 };

#define GONE "vm1: vfio-user: client disconnected"

static unsigned lines(const char *text)
{
	return gs_daemon_log_lines(&tl_daemon, text);
}

/* In the middle of everything: requests, completions and events under way. */
static void disappear(struct pair *p)
{
	struct gs_link l = tl_quick_link();

	tl_connect(p, GS_RC, &l);
	for (unsigned i = 0; i < 16; i++) {
		tl_recv(&p->b, 0, MIB / 16);
		tl_send(&p->a, 0, MIB / 16);
		tl_rdma(&p->b, CX_OP_RDMA_WRITE, 0, MIB, &p->a, 8 * MIB);
	}
	gs_cq_arm(p->b.rcq, false);
	gs_cq_arm(p->b.scq, false);
	tl_side_close(&p->b);
}

/* A VM that is switched off, also in the middle of its work, is no fault. */
static void test_gone(void **state)
{
	enum { ROUNDS = 25 };
	unsigned before = lines(GONE);

	for (unsigned i = 1; i <= ROUNDS; i++) {
		tl_pair_open(state);
		disappear(*state);
		gs_daemon_await_log(&tl_daemon, GONE, before + i);
		tl_pair_close(state);
	}
	assert_int_equal(lines("error:"), 0);
	assert_int_equal(lines("warning:"), 0);
}

/* Its event queue is in memory that it unmaps while it goes on: one line, however many events. */
static void test_queue_unmapped(void **state)
{
	struct pair *p = *state;

	gs_ram_unmap(p->b.vm, 0);
	for (unsigned i = 0; i < 8; i++) {
		struct gs_link l = tl_quick_link();

		tl_rdma(&p->a, CX_OP_RDMA_WRITE, 0, 64, &p->b, 0);
		gs_cq_wait(p->a.scq, &(struct gs_wc){0}, 1);
		gs_qp_to_reset(p->a.qp);
		l.remote_qpn = p->b.qp->qpn;
		l.path = gs_path_to(p->b.vm);
		gs_qp_bring_up(p->a.qp, &l);
	}
	gs_daemon_await_log(&tl_daemon, "vm1: event queue", 1);
	tl_side_close(&p->b);
	gs_daemon_await_log(&tl_daemon, "vm1: driver stopped", 1);
	assert_int_equal(lines("error: vm1: event queue"), 1);
}

static void test_memory_taken_away(void **state)
{
	const char *why = GONE ": it took guest memory away";
	struct pair *p = *state;

	if (ftruncate(p->b.vm->memfd, 0))
		gs_fail("ftruncate: %s", strerror(errno));
	tl_rdma(&p->a, CX_OP_RDMA_WRITE, 0, MIB, &p->b, 0);
	gs_daemon_await_log(&tl_daemon, why, 1);
	gs_cq_wait(p->a.scq, &(struct gs_wc){0}, 1);
	assert_int_equal(lines(why), 1);
	assert_int_equal(lines("error:"), 1);
}

static void test_broken_message(void **state)
{
	const struct vu_header bad = {.id = 1, .command = VU_DEVICE_RESET, .size = 7};
	const char *why = GONE ": command 13 has an impossible size of 7 bytes";
	struct pair *p = *state;

	gs_vfio_send_raw(&p->b.vm->vfio, &bad, sizeof(bad), NULL, 0);
	gs_daemon_await_log(&tl_daemon, why, 1);
	assert_true(gs_vfio_hung_up(&p->b.vm->vfio, GS_WAIT_MS));
	assert_int_equal(lines(why), 1);
}

/* QEMU without share=on: it names its memory in DMA_MAP, but sends no descriptor with it. */
static void test_memory_not_shared(void **state)
{
	const char *why = "error: vm0: device error: no guest memory is shared with the daemon";
	struct gs_vm *vm = gs_vm_open_port(&tl_daemon, 0);

	for (unsigned i = 0; i < vm->nr_ranges; i++) {
		const struct gs_ram_range *r = &vm->ranges[i];

		gs_ram_unmap(vm, i);
		assert_int_equal(gs_vfio_dma_map(&vm->vfio, -1, r->offset, r->gpa, r->size), 0);
	}
	gs_reg_write(vm, CX_ISEG_CMD_DBELL, 1);
	gs_daemon_await_log(&tl_daemon, why, 1);
	gs_reg_write(vm, CX_ISEG_CMD_DBELL, 1);
	gs_reg_read(vm, CX_ISEG_HEALTH_COUNTER);
	assert_int_equal(lines(why), 1);
	gs_vm_close(vm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gone),
		cmocka_unit_test_setup_teardown(test_queue_unmapped, tl_quick_open, tl_pair_close),
		cmocka_unit_test_setup_teardown(test_memory_taken_away, tl_quick_open,
						tl_pair_close),
		cmocka_unit_test_setup_teardown(test_broken_message, tl_quick_open, tl_pair_close),
		cmocka_unit_test(test_memory_not_shared),
	};

	tl_init();
	tl_opts.keep_log = true;
	return cmocka_run_group_tests(tests, tl_start, tl_stop);
}
