/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VMs that vanish in the middle of a transfer, are reset, take their memory away or cannot be
 * interrupted; and a VM that copies without end beside another that wants a short answer. The
 * offender suffers, its peer gets errors in bounded time, everybody else goes on, and the daemon
 * keeps nothing of what is gone.
 */
#include "bystanders.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MIB = 1024 * 1024, DEPTH = 16 };

/* All that was posted ends, the last of it with an error. */
static void expect_end(struct side *s, unsigned posted)
{
	struct gs_wc wc = {0};

	for (unsigned n = 0; n < posted; n++)
		gs_cq_wait(s->scq, &wc, 1);
	assert_int_not_equal(wc.status, 0);
	assert_int_equal(gs_qp_state(s->qp), CX_QPS_ERR);
}

static void post_transfers(struct side *s, const struct side *peer, unsigned n)
{
	static const uint8_t ops[] = {CX_OP_RDMA_WRITE, CX_OP_RDMA_READ};

	for (unsigned i = 0; i < n; i++)
		tl_rdma(s, ops[i % 2], 0, 8 * MIB, peer, 8 * MIB);
}

/* ---- a VM's process is killed ---- */

/* What the other end needs to know of a VM in another process. */
struct remote {
	uint32_t qpn, rkey;
	uint16_t lid;
	uint64_t addr;
};

/* A VM on port 1 in a process of its own; its QP is connected to `qpn` at `lid`. */
static pid_t fork_victim(uint32_t qpn, uint16_t lid, bool sends, struct remote *r)
{
	int fds[2];
	pid_t pid;

	if (pipe(fds))
		gs_fail("pipe: %s", strerror(errno));
	pid = fork();
	if (!pid) {
		struct gs_link l = tl_quick_link();
		struct side s = {0};
		struct remote me;

		gs_fail_handler = NULL; /* no test here to fail: crash */
		tl_side_open(&s, 1);
		tl_side_qp(&s, GS_RC);
		l.remote_qpn = qpn;
		l.path = gs_path_lid(lid);
		l.rnr_retry = 7;
		gs_qp_bring_up(s.qp, &l);
		me = (struct remote){s.qp->qpn, s.mr->key, s.vm->lid, (uintptr_t)s.buf};
		if (sends)
			for (unsigned i = 0; i < DEPTH; i++)
				tl_send(&s, 0, 8 * MIB);
		if (write(fds[1], &me, sizeof(me)) != sizeof(me))
			_exit(1);
		for (;;)
			pause();
	}
	close(fds[1]);
	if (pid < 0 || read(fds[0], r, sizeof(*r)) != sizeof(*r))
		gs_fail("the other VM's process does not start");
	close(fds[0]);
	return pid;
}

/* Until the daemon notices that the peer is gone, it has the peer's memory. */
static void expect_error(struct side *s, const struct side *peer, unsigned posted)
{
	struct gs_wait w = gs_wait_start(GS_WAIT_MS);
	struct gs_wc wc;

	for (;;) {
		gs_cq_wait(s->scq, &wc, 1);
		posted--;
		if (wc.status)
			break;
		post_transfers(s, peer, 1);
		posted++;
		if (!gs_wait_turn(&w))
			gs_fail("transfers to a VM that is gone go on and on");
	}
	assert_int_not_equal(wc.status, CX_SYND_WR_FLUSH);
	while (posted--)
		gs_cq_expect(s->scq, CX_SYND_WR_FLUSH);
	assert_int_equal(gs_qp_state(s->qp), CX_QPS_ERR);
}

static void test_killed_target(void **state)
{
	unsigned fds, maps;

	by_resources(&fds, &maps);
	for (unsigned round = 0; round < 15; round++) {
		struct gs_link l = tl_quick_link();
		struct side s, peer = {0};
		struct gs_mr mr = {0};
		struct remote r;
		pid_t pid;

		tl_side_open(&s, 0);
		tl_side_qp(&s, GS_RC);
		pid = fork_victim(s.qp->qpn, s.vm->lid, false, &r);
		l.remote_qpn = r.qpn;
		l.path = gs_path_lid(r.lid);
		gs_qp_bring_up(s.qp, &l);
		mr.key = r.rkey;
		peer.mr = &mr;
		peer.buf = (uint8_t *)(uintptr_t)r.addr;
		post_transfers(&s, &peer, DEPTH);
		by_idle(4000000);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		expect_error(&s, &peer, DEPTH);
		by_check();
		tl_side_close(&s);
	}
	gs_daemon_await_resources(&tl_daemon, fds, maps);
}

static void test_killed_sender(void **state)
{
	unsigned fds, maps;

	by_resources(&fds, &maps);
	for (unsigned round = 0; round < 15; round++) {
		struct gs_link l = tl_quick_link();
		struct remote r;
		struct side s;
		struct gs_wc wc;
		pid_t pid;

		tl_side_open(&s, 0);
		tl_side_qp(&s, GS_RC);
		for (unsigned i = 0; i < DEPTH; i++)
			tl_recv(&s, 8 * MIB, 8 * MIB);
		pid = fork_victim(s.qp->qpn, s.vm->lid, true, &r);
		l.remote_qpn = r.qpn;
		l.path = gs_path_lid(r.lid);
		gs_qp_bring_up(s.qp, &l);
		by_idle(4000000);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		/* The receiver's half message does not complete; its QP can be taken down. */
		assert_int_equal(gs_qp_to_err(s.qp), 0);
		for (unsigned i = 0; i < DEPTH; i++) {
			gs_cq_wait(s.rcq, &wc, 1);
			assert_true(!wc.status || wc.status == CX_SYND_WR_FLUSH);
		}
		by_check();
		tl_side_close(&s);
	}
	gs_daemon_await_resources(&tl_daemon, fds, maps);
}

static unsigned commands_left;

/* The process dies at about the time at which its last command is executed: SIGALRM. */
static void die_at_last_command(struct gs_vm *vm, const void *in, uint32_t inlen, uint32_t outlen)
{
	const struct itimerval moment = {.it_value.tv_usec = 20};

	if (!commands_left--)
		setitimer(ITIMER_REAL, &moment, NULL);
}

static void die_coming_up(unsigned commands)
{
	const struct gs_vm_opts opts = {.no_bring_up = true};
	struct gs_vm *vm;
	struct gs_pd *pd;

	commands_left = commands;
	gs_fail_handler = NULL;
	vm = gs_vm_open(gs_daemon_socket(&tl_daemon, 1), &opts);
	vm->on_command = die_at_last_command;
	gs_vm_bring_up(vm);
	pd = gs_pd_create(vm);
	gs_cq_create(vm, 1024);
	gs_mr_register(pd, gs_ram_alloc(vm, TL_BUF, 2 << 20), TL_BUF, GS_ALL);
	raise(SIGKILL);
}

/* Hanging up at every stage of coming up. */
static void test_early_death(void **state)
{
	unsigned fds, maps;

	by_resources(&fds, &maps);
	for (unsigned round = 0; round < 60; round++) {
		pid_t pid = fork();

		if (!pid)
			die_coming_up(round);
		waitpid(pid, NULL, 0);
	}
	by_check();
	gs_daemon_await_resources(&tl_daemon, fds, maps);
}

/* ---- a device is reset ---- */

static void test_reset_under_transfer(void **state)
{
	for (unsigned round = 0; round < 30; round++) {
		struct gs_link l = tl_quick_link();
		struct pair p = {0};
		struct side *dying = round % 2 ? &p.a : &p.b;

		tl_side_open(&p.a, 0);
		tl_side_open(&p.b, 1);
		tl_connect(&p, GS_RC, &l);
		post_transfers(&p.a, &p.b, DEPTH);
		by_idle(3000000);
		assert_int_equal(gs_vfio_reset(&dying->vm->vfio), 0);
		if (dying == &p.b) {
			post_transfers(&p.a, &p.b, DEPTH);
			expect_end(&p.a, 2 * DEPTH);
		}
		/* Registers answer while everything else is being taken down. */
		gs_reg_read(dying->vm, CX_ISEG_HEALTH_COUNTER);
		gs_vm_bring_up(dying->vm);
		by_check();
		tl_side_close(&p.a);
		tl_side_close(&p.b);
	}
}

/* Bus mastering switched off: no memory is touched any more until it is on again. */
static void test_bus_master_off(void **state)
{
	struct gs_link l = tl_quick_link();
	struct pair p = {0};
	uint16_t command = 2;

	tl_side_open(&p.a, 0);
	tl_side_open(&p.b, 1);
	tl_connect(&p, GS_RC, &l);
	post_transfers(&p.a, &p.b, DEPTH);
	assert_int_equal(gs_vfio_write(&p.b.vm->vfio, 7, 4, &command, 2), 0);
	gs_reg_read(p.b.vm, CX_ISEG_HEALTH_COUNTER);
	by_check();
	tl_side_close(&p.a);
	tl_side_close(&p.b);
}

/* ---- memory is taken away ---- */

static void test_shrunk_memory(void **state)
{
	unsigned fds, maps;

	by_resources(&fds, &maps);
	for (unsigned round = 0; round < 20; round++) {
		struct gs_link l = tl_quick_link();
		struct pair p = {0};
		off_t sizes[3] = {0};

		tl_side_open(&p.a, 0);
		tl_side_open(&p.b, 1);
		tl_connect(&p, GS_RC, &l);
		post_transfers(&p.a, &p.b, DEPTH);
		by_idle(2000000);
		/* Of everything, of what is written to, or in the middle of that. */
		sizes[1] = p.b.buf - p.b.vm->ram + 8 * MIB;
		sizes[2] = sizes[1] + 4 * MIB + 4096;
		if (ftruncate(p.b.vm->memfd, sizes[round % 3]))
			gs_fail("ftruncate: %s", strerror(errno));
		post_transfers(&p.a, &p.b, DEPTH);
		/* The daemon drops the VM as soon as it touches what is gone. */
		if (!gs_vfio_hung_up(&p.b.vm->vfio, GS_WAIT_MS))
			gs_fail("a VM without memory is not dropped");
		expect_end(&p.a, 2 * DEPTH);
		by_check();
		tl_side_close(&p.a);
		tl_side_close(&p.b);
	}
	gs_daemon_await_resources(&tl_daemon, fds, maps);
}

/* The memory of the sender goes: the receiver does not get zeroes as a good message. */
static void test_shrunk_source(void **state)
{
	enum { LEN = 256 * 1024, MESSAGES = 64 };

	for (unsigned round = 0; round < 40; round++) {
		struct gs_link l = tl_quick_link();
		struct pair p = {0};
		struct gs_wait w;
		unsigned got = 0;
		struct gs_wc wc;

		tl_side_open(&p.a, 0);
		tl_side_open(&p.b, 1);
		tl_connect(&p, GS_RC, &l);
		memset(p.a.buf, 0xa5, TL_BUF);
		for (unsigned i = 0; i < MESSAGES; i++)
			tl_recv(&p.b, i * LEN, LEN);
		for (unsigned i = 0; i < MESSAGES; i++)
			tl_send(&p.a, 8 * MIB, LEN);
		by_idle(2000000);
		if (ftruncate(p.a.vm->memfd, p.a.buf - p.a.vm->ram + 8 * MIB + LEN / 2))
			gs_fail("ftruncate: %s", strerror(errno));
		w = gs_wait_start(GS_WAIT_MS);
		/* Either all were sent before, or the daemon drops the sender for it. */
		while (got < MESSAGES) {
			bool dropped = gs_vfio_hung_up(&p.a.vm->vfio, 1);

			while (gs_cq_poll(p.b.rcq, &wc, 1)) {
				if (!wc.status)
					tl_check_same(p.b.buf + wc.wr_id, LEN, 0xa5);
				got++;
			}
			if (dropped)
				break;
			if (!gs_wait_turn(&w))
				gs_fail("neither sent nor dropped");
		}
		by_check();
		tl_side_close(&p.a);
		tl_side_close(&p.b);
	}
}

/* A side whose region is 1 GiB, the same 16 MiB of memory 64 times over. */
enum { PART = 16 * MIB, PARTS = 64, GIBIBYTE = PART * PARTS };

static void gibibyte_open(struct side *s, unsigned port)
{
	struct gs_vm_opts opts = {.ram = PART + 64 * MIB};
	struct gs_part parts[PARTS];
	struct gs_mr *part;

	s->vm = gs_vm_open(gs_daemon_socket(&tl_daemon, port), &opts);
	s->pd = gs_pd_create(s->vm);
	s->scq = s->rcq = gs_cq_create(s->vm, 256);
	s->buf = gs_ram_alloc(s->vm, PART, 2 * MIB);
	part = gs_mr_register(s->pd, s->buf, PART, GS_ALL);
	for (unsigned i = 0; i < PARTS; i++)
		parts[i] = (struct gs_part){part->key, (uintptr_t)s->buf, PART};
	s->mr = gs_mr_register_list(s->pd, parts, PARTS, GS_ALL);
}

static void gibibyte_send(struct pair *p, uint8_t op)
{
	struct gs_sge from = {.len = GIBIBYTE, .key = p->a.mr->key};
	struct gs_sge to = {.len = GIBIBYTE, .key = p->b.mr->key};

	if (op == CX_OP_SEND)
		gs_post_recv(p->b.qp, 0, &to, 1);
	gs_post_send(p->a.qp, &(struct gs_send_wr){.op = op,
						   .flags = GS_SIGNALED,
						   .rkey = p->b.mr->key,
						   .nsge = 1,
						   .sge = &from});
}

/* The message is on its way, and far from its end. */
static void await_start(const struct side *to)
{
	struct gs_wait w = gs_wait_start(GS_WAIT_MS);

	while (!*(volatile uint8_t *)to->buf)
		if (!gs_wait_turn(&w))
			gs_fail("a message of 1 GiB does not begin");
}

/* The requester's memory went: false when its message was complete before. */
static bool await_drop(struct side *s)
{
	struct gs_wait w = gs_wait_start(GS_WAIT_MS);
	struct gs_wc wc;

	for (;;) {
		if (gs_cq_poll(s->scq, &wc, 1) && !wc.status)
			return false;
		if (gs_vfio_hung_up(&s->vm->vfio, 1))
			return true;
		if (!gs_wait_turn(&w))
			gs_fail("a VM without memory is not dropped");
	}
}

/*
 * Who waits for an answer of an end that lost its memory is told that the transfer failed. The
 * other way round, a receive does not complete, and of a write or read nothing is told. False when
 * the message was complete before.
 */
static bool expect_broken(struct pair *p, uint8_t op, bool requester_left)
{
	struct gs_wc wc = {0};

	if (requester_left) {
		gs_cq_wait(p->a.scq, &wc, 1);
		return wc.status;
	}
	if (!await_drop(&p->a))
		return false;
	assert_int_equal(gs_qp_to_err(p->b.qp), 0);
	if (op != CX_OP_SEND)
		return true;
	gs_cq_expect(p->b.rcq, CX_SYND_WR_FLUSH);
	return true;
}

/* One try: true when the memory went in the middle of the message. */
static bool shrink_in_the_middle(uint8_t op, bool requester_left)
{
	struct gs_link l = tl_quick_link();
	struct pair p = {0};
	struct side *from = op == CX_OP_RDMA_READ ? &p.b : &p.a;
	struct side *to = op == CX_OP_RDMA_READ ? &p.a : &p.b;
	struct side *loser = requester_left ? &p.b : &p.a;
	bool broken;

	gibibyte_open(&p.a, 0);
	gibibyte_open(&p.b, 1);
	tl_connect(&p, GS_RC, &l);
	memset(from->buf, 0xa5, PART);
	gibibyte_send(&p, op);
	await_start(to);
	/* The other half of each of the parts stays: nobody is dropped before it is touched. */
	if (ftruncate(loser->vm->memfd, loser->buf - loser->vm->ram + PART / 2))
		gs_fail("ftruncate: %s", strerror(errno));
	by_check();
	broken = expect_broken(&p, op, requester_left);
	if (broken && !gs_vfio_hung_up(&loser->vm->vfio, GS_WAIT_MS))
		gs_fail("a VM without memory is not dropped");
	by_check();
	tl_side_close(&p.a);
	tl_side_close(&p.b);
	return broken;
}

/* Of either end of a long write, read and send, in the middle of the message. */
static void test_shrunk_in_long_message(void **state)
{
	static const uint8_t ops[] = {CX_OP_RDMA_WRITE, CX_OP_RDMA_READ, CX_OP_SEND};
	unsigned fds, maps;

	by_resources(&fds, &maps);
	for (unsigned i = 0; i < 2 * ARRAY_SIZE(ops); i++) {
		unsigned tries = 0;

		/* The machine may be so slow to come back to us that the message ends before. */
		while (!shrink_in_the_middle(ops[i / 2], i % 2) && ++tries < 20)
			;
		assert_true(tries < 20);
	}
	gs_daemon_await_resources(&tl_daemon, fds, maps);
}

/* ---- interrupts ---- */

static void fill_eventfd(int fd)
{
	const uint64_t full = UINT64_MAX - 1;
	uint64_t taken;

	/* Something may have been raised already. */
	while (write(fd, &full, sizeof(full)) < 0)
		if (read(fd, &taken, sizeof(taken)) < 0)
			gs_fail("eventfd: %s", strerror(errno));
	if (fcntl(fd, F_SETFL, 0))
		gs_fail("fcntl: %s", strerror(errno));
}

/*
 * A VM whose interrupt cannot be raised without waiting: its counter is full and its eventfd
 * blocks. It waits for itself alone.
 */
static void test_full_interrupts(void **state)
{
	struct gs_link l = tl_quick_link();
	struct pair p = {0};

	tl_side_open(&p.a, 0);
	tl_side_open(&p.b, 1);
	tl_connect(&p, GS_RC, &l);
	for (unsigned i = 0; i < GS_VECTORS; i++)
		fill_eventfd(p.b.vm->irq_fd[i]);
	for (unsigned i = 0; i < 20; i++) {
		gs_cq_arm(p.b.rcq, false);
		tl_send_recv(&p.a, &p.b, 64);
		by_check();
	}
	tl_side_close(&p.a);
	tl_side_close(&p.b);
}

/* ---- fairness ---- */

/*
 * Sixteen QPs, each with writes of 1 GiB without end. The race detector copies at less than an
 * eighth of the speed: an eighth of the length takes as long there as all of it does elsewhere.
 */
#ifdef __SANITIZE_THREAD__
enum { HOG_BYTES = GIBIBYTE / 8 };
#else
enum { HOG_BYTES = GIBIBYTE };
#endif
enum { HOG_QPS = 16 };

struct hog {
	struct pair p;
	struct side a[HOG_QPS], b[HOG_QPS];
};

static void hog_write(const struct side *a, const struct side *b)
{
	struct gs_sge sge = {.len = HOG_BYTES, .key = a->mr->key};

	gs_post_send(a->qp, &(struct gs_send_wr){.op = CX_OP_RDMA_WRITE,
						 .flags = GS_SIGNALED,
						 .rkey = b->mr->key,
						 .nsge = 1,
						 .sge = &sge});
}

static void hog_start(struct hog *h)
{
	struct gs_link l = gs_link_default();

	gibibyte_open(&h->p.a, 0);
	gibibyte_open(&h->p.b, 1);
	for (unsigned i = 0; i < HOG_QPS; i++) {
		h->a[i] = h->p.a;
		h->b[i] = h->p.b;
		tl_side_qp(&h->a[i], GS_RC);
		tl_side_qp(&h->b[i], GS_RC);
		gs_qp_connect(h->a[i].qp, h->b[i].qp, &l);
		hog_write(&h->a[i], &h->b[i]);
		hog_write(&h->a[i], &h->b[i]);
	}
}

/* How many of its writes have ended since the last call; each is followed by another. */
static unsigned hog_ended(struct hog *h)
{
	unsigned n = 0;
	struct gs_wc wc;

	for (; gs_cq_poll(h->p.a.scq, &wc, 1); n++) {
		unsigned i = 0;

		if (wc.status)
			gs_fail("a long write failed with %#x", wc.status);
		while (h->a[i].qp != wc.qp)
			i++;
		hog_write(&h->a[i], &h->b[i]);
	}
	return n;
}

/*
 * A short message has its turn while long ones are copied: none of them ends meanwhile. How many do
 * end while the machine has other things to do than to carry the short message is nobody's fault,
 * so that it is tried until it was seen often enough.
 */
static void test_fairness(void **state)
{
	enum { WANTED = 200 };
	uint64_t end = gs_now_ns() + GS_WAIT_MS * 1000000ull;
	unsigned undisturbed = 0, pings;
	struct hog h = {0};

	hog_start(&h);
	while (!hog_ended(&h))
		by_check();
	for (pings = 0; undisturbed < WANTED; pings++) {
		hog_ended(&h);
		tl_send_recv(&bystanders.a, &bystanders.b, 8);
		undisturbed += !hog_ended(&h);
		if (gs_now_ns() > end)
			gs_fail("%u of %u short messages waited for a long copy",
				pings - undisturbed, pings);
	}
	tl_side_close(&h.p.a);
	tl_side_close(&h.p.b);
	print_message("%u of %u short messages met no end of a long copy\n", undisturbed, pings);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_killed_target),
		cmocka_unit_test(test_killed_sender),
		cmocka_unit_test(test_early_death),
		cmocka_unit_test(test_reset_under_transfer),
		cmocka_unit_test(test_bus_master_off),
		cmocka_unit_test(test_shrunk_memory),
		cmocka_unit_test(test_shrunk_source),
		cmocka_unit_test(test_shrunk_in_long_message),
		cmocka_unit_test(test_full_interrupts),
		cmocka_unit_test(test_fairness),
	};

	tl_init();
	return cmocka_run_group_tests(tests, by_start, by_stop);
}
