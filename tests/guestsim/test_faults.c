/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VMs that vanish in the middle of a transfer, are reset, take their memory away or speak rubbish
 * on the socket; and a VM that copies without end beside another that wants a short answer. The
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

/* Hanging up at every stage of coming up. */
static void test_early_death(void **state)
{
	unsigned fds, maps;

	by_resources(&fds, &maps);
	for (unsigned round = 0; round < 60; round++) {
		pid_t pid = fork();

		if (!pid) {
			struct side s = {0};

			gs_fail_handler = NULL;
			tl_side_open(&s, 1);
			for (;;)
				pause();
		}
		usleep(200 * round);
		kill(pid, SIGKILL);
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

/* ---- rubbish on the socket ---- */

static struct gs_vfio connect_raw(bool negotiate)
{
	struct gs_wait w = gs_wait_start(GS_WAIT_MS);
	struct gs_vfio v;

	/* The one before may not have been noticed to be gone. */
	for (;;) {
		int err = gs_vfio_connect(&v, gs_daemon_socket(&tl_daemon, 0));

		if (!err)
			err = gs_vfio_negotiate(&v);
		if (!err)
			break;
		gs_vfio_close(&v);
		if (!gs_wait_turn(&w))
			gs_fail("the port takes no new client: %s", strerror(-err));
	}
	if (!negotiate) {
		gs_vfio_close(&v);
		usleep(2000);
		if (gs_vfio_connect(&v, gs_daemon_socket(&tl_daemon, 0)))
			gs_fail("the port takes no new client");
	}
	return v;
}

/* Sends bytes as they are; the server may answer, hang up or do nothing. */
static void send_bytes(bool negotiate, const void *bytes, size_t len, const int *fds,
		       unsigned nr_fds)
{
	struct gs_vfio v = connect_raw(negotiate);

	gs_vfio_send_raw(&v, bytes, len, fds, nr_fds);
	gs_vfio_close(&v);
	by_check();
}

static void test_bad_headers(void **state)
{
	static const struct vu_header headers[] = {
		{.id = 1, .command = VU_VERSION, .size = 0},
		{.id = 1, .command = VU_VERSION, .size = 15},
		{.id = 1, .command = VU_VERSION, .size = 16},
		{.id = 1, .command = VU_VERSION, .size = UINT32_MAX},
		{.id = 1, .command = VU_DMA_MAP, .size = 16},
		{.id = 1, .command = VU_DMA_MAP, .size = 48},
		{.id = 1, .command = 0, .size = 16},
		{.id = 1, .command = 999, .size = 16},
		{.id = 1, .command = VU_REGION_READ, .size = 32},
		{.id = 1, .command = VU_REGION_WRITE, .size = 0x7fffffff},
		{.id = 1, .command = VU_DEVICE_RESET, .size = 16, .flags = 0xffffffff},
		{.id = 1, .command = VU_DEVICE_RESET, .size = 16, .flags = VU_TYPE_REPLY},
	};
	uint8_t zeroes[256] = {0};

	for (unsigned i = 0; i < ARRAY_SIZE(headers); i++) {
		for (unsigned negotiate = 0; negotiate < 2; negotiate++) {
			memcpy(zeroes, &headers[i], sizeof(headers[i]));
			send_bytes(negotiate, zeroes, sizeof(headers[i]), NULL, 0);
			send_bytes(negotiate, zeroes, sizeof(headers[i]) / 2, NULL, 0);
			send_bytes(negotiate, zeroes, sizeof(zeroes), NULL, 0);
		}
	}
}

/* Every command with a body of every length and rubbish in it. */
static void test_bad_bodies(void **state)
{
	uint8_t bytes[16 + 128];

	for (uint16_t command = 1; command <= 18; command++) {
		struct gs_vfio v = connect_raw(true);

		for (uint32_t len = 0; len <= 128; len += 4) {
			struct vu_header h = {.id = 5, .command = command, .size = 16 + len};

			for (unsigned i = 16; i < sizeof(bytes); i++)
				bytes[i] = (uint8_t)(len % 8 ? by_random() : 0);
			memcpy(bytes, &h, sizeof(h));
			if (gs_vfio_send_raw(&v, bytes, 16 + len, NULL, 0) == 0)
				continue;
			gs_vfio_close(&v);
			v = connect_raw(true);
		}
		gs_vfio_close(&v);
		by_check();
	}
}

/* Descriptors where none belong, of the wrong kind, too many. */
static void test_bad_descriptors(void **state)
{
	struct vu_header h = {.id = 1, .command = VU_DEVICE_RESET, .size = 16};
	unsigned before, maps;
	int fds[64];

	by_resources(&before, &maps);
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = eventfd(0, EFD_CLOEXEC);
	for (unsigned n = 1; n <= ARRAY_SIZE(fds); n *= 2)
		send_bytes(true, &h, sizeof(h), fds, n);
	for (unsigned kind = 0; kind < 4; kind++) {
		const char *paths[] = {"/dev/null", "/", "/proc/self/stat", "/dev/zero"};
		int fd = open(paths[kind], O_RDONLY | O_CLOEXEC);
		struct gs_vfio v = connect_raw(true);

		gs_vfio_dma_map(&v, fd, 0, 0, 4096);
		gs_vfio_dma_map(&v, fds[0], 0, 1 << 20, 4096);
		gs_vfio_set_eventfd(&v, 2, 0, fd);
		gs_vfio_set_eventfd(&v, 2, 5000, fds[1]);
		gs_vfio_set_eventfd(&v, 77, 0, fds[1]);
		gs_vfio_close(&v);
		close(fd);
		by_check();
	}
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	gs_daemon_await_resources(&tl_daemon, before, maps);
}

/* A client that asks and never reads the answers, while a register of another must be read. */
static void test_client_that_does_not_read(void **state)
{
	struct gs_vfio v = connect_raw(true);
	struct vu_region_access acc = {.offset = 0, .region = 7, .count = 4096};
	struct vu_header h = {.id = 1, .command = VU_REGION_READ, .size = 16 + sizeof(acc)};
	uint8_t bytes[16 + sizeof(acc)];
	unsigned sent = 0;

	memcpy(bytes, &h, sizeof(h));
	memcpy(bytes + 16, &acc, sizeof(acc));
	fcntl(v.sock, F_SETFL, O_NONBLOCK);
	while (sent < 20000 && gs_vfio_send_raw(&v, bytes, sizeof(bytes), NULL, 0) == 0)
		sent++;
	by_check();
	gs_vm_await_active(bystanders.a.vm);
	gs_vfio_close(&v);
}

/* A message in single bytes is a message. */
static void test_dribble(void **state)
{
	struct vu_header h = {.id = 77, .command = VU_DEVICE_GET_INFO, .size = 16 + 16}, reply;
	struct vu_device_info info = {.argsz = sizeof(info)};
	struct gs_vfio v = connect_raw(true);
	uint8_t bytes[32];

	memcpy(bytes, &h, sizeof(h));
	memcpy(bytes + 16, &info, sizeof(info));
	for (unsigned i = 0; i < sizeof(bytes); i++) {
		assert_int_equal(gs_vfio_send_raw(&v, bytes + i, 1, NULL, 0), 0);
		usleep(500);
	}
	assert_int_equal(gs_vfio_recv(&v, &reply, &info, sizeof(info), NULL), 0);
	assert_int_equal(reply.id, 77);
	assert_int_equal(reply.flags & VU_ERROR, 0);
	assert_int_equal(info.flags & 3, 3);
	gs_vfio_close(&v);
}

/* ---- fairness ---- */

struct hog {
	struct pair p;
	bool stop;
	unsigned done;
};

/* Sixteen QPs, each with 64 MiB writes without end. */
static void *hog(void *arg)
{
	enum { QPS = 16, LEN = 64 * MIB };
	struct gs_vm_opts opts = {.ram = LEN + 64 * MIB};
	struct gs_link l = gs_link_default();
	struct side a[QPS], b[QPS];
	struct hog *h = arg;
	struct gs_wc wc;

	for (unsigned i = 0; i < 2; i++) {
		struct side *s = i ? &h->p.b : &h->p.a;

		s->vm = gs_vm_open(gs_daemon_socket(&tl_daemon, i), &opts);
		s->pd = gs_pd_create(s->vm);
		s->scq = s->rcq = gs_cq_create(s->vm, 256);
		s->buf = gs_ram_alloc(s->vm, LEN, 2 * MIB);
		s->mr = gs_mr_register(s->pd, s->buf, LEN, GS_ALL);
	}
	for (unsigned i = 0; i < QPS; i++) {
		a[i] = h->p.a;
		b[i] = h->p.b;
		tl_side_qp(&a[i], GS_RC);
		tl_side_qp(&b[i], GS_RC);
		gs_qp_connect(a[i].qp, b[i].qp, &l);
		tl_rdma(&a[i], CX_OP_RDMA_WRITE, 0, LEN, &b[i], 0);
		tl_rdma(&a[i], CX_OP_RDMA_WRITE, 0, LEN, &b[i], 0);
	}
	while (!__atomic_load_n(&h->stop, __ATOMIC_RELAXED)) {
		unsigned i = 0;

		if (!gs_cq_try(h->p.a.scq, &wc, 1000))
			continue;
		while (a[i].qp != wc.qp)
			i++;
		tl_rdma(&a[i], CX_OP_RDMA_WRITE, 0, LEN, &b[i], 0);
		__atomic_fetch_add(&h->done, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/*
 * Counted in copies, not in time, which a loaded machine stretches: if a short message had to wait
 * for a copy to end, each one would see at least one end. There are always 32 to wait for.
 */
static void test_fairness(void **state)
{
	enum { PINGS = 400 };
	unsigned undisturbed = 0, before;
	struct hog h = {0};
	pthread_t t;

	assert_int_equal(pthread_create(&t, NULL, hog, &h), 0);
	while (!__atomic_load_n(&h.done, __ATOMIC_RELAXED))
		by_check();
	for (unsigned i = 0; i < PINGS; i++) {
		before = __atomic_load_n(&h.done, __ATOMIC_RELAXED);
		tl_send_recv(&bystanders.a, &bystanders.b, 8);
		undisturbed += __atomic_load_n(&h.done, __ATOMIC_RELAXED) == before;
	}
	__atomic_store_n(&h.stop, true, __ATOMIC_RELAXED);
	pthread_join(t, NULL);
	tl_side_close(&h.p.a);
	tl_side_close(&h.p.b);
	if (undisturbed < PINGS / 2)
		gs_fail("%u of %u short messages waited for a copy of 64 MiB", PINGS - undisturbed,
			PINGS);
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
		cmocka_unit_test(test_bad_headers),
		cmocka_unit_test(test_bad_bodies),
		cmocka_unit_test(test_bad_descriptors),
		cmocka_unit_test(test_client_that_does_not_read),
		cmocka_unit_test(test_dribble),
		cmocka_unit_test(test_fairness),
	};

	tl_init();
	return cmocka_run_group_tests(tests, by_start, by_stop);
}
