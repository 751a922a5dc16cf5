/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ports and tenants: sixteen VMs that all talk to one another, tenants that cannot, VMs that come
 * and go, drivers that start again, trapped doorbells, several workers, several processes in a VM.
 */
#include "bystanders.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { VMS = 16, QUIET_MS = 20 };

static void start(const struct gs_daemon_opts *opts)
{
	gs_daemon_start(&tl_daemon, opts);
}

static int stop_daemon(void **state)
{
	gs_daemon_stop(&tl_daemon);
	return 0;
}

/* One VM of many: small, with a QP to each other VM. */
struct node {
	struct side s;
	struct gs_qp *to[VMS];
};

static void open_node(struct node *n, unsigned port)
{
	struct gs_vm_opts opts = {.ram = 32 << 20};

	memset(n, 0, sizeof(*n));
	n->s.vm = gs_vm_open(gs_daemon_socket(&tl_daemon, port), &opts);
	n->s.pd = gs_pd_create(n->s.vm);
	n->s.scq = gs_cq_create(n->s.vm, 1024);
	n->s.rcq = gs_cq_create(n->s.vm, 1024);
	n->s.buf = gs_ram_alloc(n->s.vm, 4 << 20, 4096);
	n->s.mr = gs_mr_register(n->s.pd, n->s.buf, 4 << 20, GS_ALL);
}

static void connect_all(struct node *nodes, unsigned count)
{
	struct gs_link l = gs_link_default();

	for (unsigned i = 0; i < count; i++) {
		for (unsigned j = 0; j < count; j++) {
			tl_side_qp(&nodes[i].s, GS_RC);
			nodes[i].to[j] = nodes[i].s.qp;
		}
	}
	for (unsigned i = 0; i < count; i++) {
		for (unsigned j = i + 1; j < count; j++)
			gs_qp_connect(nodes[i].to[j], nodes[j].to[i], &l);
		/* To itself: the QP is its own peer. */
		l.remote_qpn = nodes[i].to[i]->qpn;
		l.path = gs_path_to(nodes[i].s.vm);
		gs_qp_bring_up(nodes[i].to[i], &l);
		l = gs_link_default();
	}
}

/* Every pair at once: i sends to j what only that message holds. */
static void all_to_all(struct node *nodes, unsigned count, size_t len, unsigned round)
{
	struct gs_wc wc;

	for (unsigned i = 0; i < count; i++) {
		for (unsigned j = 0; j < count; j++) {
			nodes[i].s.qp = nodes[i].to[j];
			tl_recv(&nodes[i].s, (2 << 20) + j * len, len);
			tl_fill(nodes[i].s.buf + j * len, len, round * 1000 + i * 50 + j);
		}
	}
	for (unsigned i = 0; i < count; i++) {
		for (unsigned j = 0; j < count; j++) {
			nodes[i].s.qp = nodes[i].to[j];
			tl_send(&nodes[i].s, j * len, len);
		}
	}
	for (unsigned i = 0; i < count; i++) {
		for (unsigned j = 0; j < count; j++) {
			gs_cq_expect(nodes[i].s.scq, 0);
			wc = gs_cq_expect(nodes[i].s.rcq, 0);
			assert_int_equal(wc.byte_len, len);
		}
	}
	for (unsigned i = 0; i < count; i++)
		for (unsigned j = 0; j < count; j++)
			tl_check(nodes[i].s.buf + (2 << 20) + j * len, len,
				 round * 1000 + j * 50 + i);
}

static void many(const struct gs_daemon_opts *opts)
{
	struct node *nodes = calloc(VMS, sizeof(*nodes));

	start(opts);
	for (unsigned i = 0; i < VMS; i++) {
		open_node(&nodes[i], i);
		for (unsigned j = 0; j < i; j++)
			assert_int_not_equal(nodes[i].s.vm->lid, nodes[j].s.vm->lid);
	}
	connect_all(nodes, VMS);
	for (unsigned round = 0; round < 20; round++)
		all_to_all(nodes, VMS, round % 2 ? 64 : 60000, round);
	for (unsigned i = 0; i < VMS; i++)
		tl_side_close(&nodes[i].s);
	free(nodes);
}

static void test_sixteen(void **state)
{
	many(&(struct gs_daemon_opts){.ports = VMS});
}

static void test_sixteen_on_workers(void **state)
{
	many(&(struct gs_daemon_opts){.ports = VMS, .workers = 3});
}

/* CQs and SRQs that QPs of several workers complete to and take from. */
static void test_shared_on_workers(void **state)
{
	struct gs_link l = gs_link_default();
	struct node nodes[4];
	struct gs_qp *at_hub[4];
	struct gs_srq *srq;
	struct node *hub = &nodes[0];
	struct gs_wc wc;

	start(&(struct gs_daemon_opts){.ports = 4, .workers = 4});
	for (unsigned i = 0; i < 4; i++)
		open_node(&nodes[i], i);
	srq = gs_srq_create(hub->s.pd, &(struct gs_srq_attr){.wrs = 256, .sges = 1});
	for (unsigned i = 1; i < 4; i++) {
		struct gs_qp_attr attr = {
			.type = GS_RC, .send_cq = hub->s.scq, .recv_cq = hub->s.rcq, .srq = srq};

		at_hub[i] = gs_qp_create(hub->s.pd, &attr);
		tl_side_qp(&nodes[i].s, GS_RC);
		gs_qp_connect(at_hub[i], nodes[i].s.qp, &l);
		tl_fill(nodes[i].s.buf, 64, i);
	}
	for (unsigned n = 0; n < 200; n++) {
		struct gs_sge sge = gs_sge(hub->s.mr, hub->s.buf + n * 64, 64);

		gs_post_srq_recv(srq, n * 64, &sge, 1);
	}
	for (unsigned round = 0; round < 300; round++) {
		for (unsigned i = 1; i < 4; i++)
			for (unsigned n = 0; n < 20; n++)
				tl_send(&nodes[i].s, 0, 64);
		for (unsigned n = 0; n < 60; n++) {
			struct gs_sge sge;
			unsigned from = 1;

			wc = gs_cq_expect(hub->s.rcq, 0);
			while (wc.qp != at_hub[from])
				from++;
			tl_check(hub->s.buf + wc.wr_id, 64, from);
			sge = gs_sge(hub->s.mr, hub->s.buf + wc.wr_id, 64);
			gs_post_srq_recv(srq, wc.wr_id, &sge, 1);
		}
		for (unsigned i = 1; i < 4; i++)
			for (unsigned n = 0; n < 20; n++)
				gs_cq_expect(nodes[i].s.scq, 0);
	}
	for (unsigned i = 0; i < 4; i++)
		tl_side_close(&nodes[i].s);
}

/* ---- tenants ---- */

static const char two_tenants[] = "ports = ({ name = \"vm0\"; tenant = \"red\"; },\n"
				  "         { name = \"vm1\"; tenant = \"blue\"; },\n"
				  "         { name = \"vm2\"; tenant = \"red\"; });\n";

static void expect_unreachable(struct side *s, struct gs_link l, struct gs_path path, uint32_t qpn)
{
	l.timeout = 8;
	l.retry_count = 1;
	l.remote_qpn = qpn;
	l.path = path;
	tl_side_qp(s, GS_RC);
	gs_qp_bring_up(s->qp, &l);
	tl_send(s, 0, 64);
	gs_cq_expect(s->scq, CX_SYND_TRANSPORT_RETRY);
}

static void test_tenants(void **state)
{
	static const uint8_t mgid[16] = {0xff, 0x12, 1, 2, 3};
	struct gs_link l = gs_link_default();
	struct node red, blue, red2;
	struct gs_path group = {.dlid = 0xc001, .grh = true};
	struct gs_sge sge;
	struct pair p;

	start(&(struct gs_daemon_opts){.config = two_tenants});
	open_node(&red, 0);
	open_node(&blue, 1);
	open_node(&red2, 2);
	/* By address, of a QP that waits for exactly this peer. */
	tl_side_qp(&blue.s, GS_RC);
	l.remote_qpn = 0;
	l.path = gs_path_to(red.s.vm);
	gs_qp_bring_up(blue.s.qp, &l);
	tl_recv(&blue.s, 0, 64);
	expect_unreachable(&red.s, l, gs_path_to(blue.s.vm), blue.s.qp->qpn);
	expect_unreachable(&red.s, l, gs_path_gid(blue.s.vm), blue.s.qp->qpn);
	gs_cq_expect_none(blue.s.rcq, QUIET_MS);
	/* Datagrams and groups. */
	tl_side_qp(&red.s, GS_UD);
	tl_side_qp(&blue.s, GS_UD);
	tl_side_qp(&red2.s, GS_UD);
	gs_qp_bring_up(red.s.qp, &l);
	gs_qp_bring_up(blue.s.qp, &l);
	gs_qp_bring_up(red2.s.qp, &l);
	assert_int_equal(gs_mcast_attach(blue.s.qp, mgid), 0);
	assert_int_equal(gs_mcast_attach(red2.s.qp, mgid), 0);
	tl_recv(&blue.s, 0, 256);
	tl_recv(&red2.s, 0, 256);
	memcpy(group.dgid, mgid, 16);
	sge = gs_sge(red.s.mr, red.s.buf, 64);
	gs_post_send(red.s.qp, &(struct gs_send_wr){.op = CX_OP_SEND,
						    .flags = GS_SIGNALED,
						    .path = &group,
						    .dest_qpn = 0xffffff,
						    .dest_qkey = l.qkey,
						    .nsge = 1,
						    .sge = &sge});
	gs_cq_expect(red.s.scq, 0);
	gs_cq_expect(red2.s.rcq, 0);
	gs_cq_expect_none(blue.s.rcq, QUIET_MS);
	/* Within a tenant all is well. */
	p.a = red.s;
	p.b = red2.s;
	p.a.qp = p.b.qp = NULL;
	l = gs_link_default();
	tl_connect(&p, GS_RC, &l);
	tl_ping(&p);
	tl_side_close(&red.s);
	tl_side_close(&blue.s);
	tl_side_close(&red2.s);
}

/* ---- coming and going ---- */

static void ping_fresh(unsigned a, unsigned b)
{
	struct gs_link l = gs_link_default();
	struct pair p = {0};

	tl_side_open(&p.a, a);
	tl_side_open(&p.b, b);
	tl_connect(&p, GS_RC, &l);
	tl_ping(&p);
	tl_side_close(&p.a);
	tl_side_close(&p.b);
}

/* VMs die and are replaced, many times; nothing is left behind. */
static void test_come_and_go(void **state)
{
	unsigned fds, maps;
	struct gs_wait w;
	uint64_t rss;

	start(&(struct gs_daemon_opts){.ports = 2});
	ping_fresh(0, 1);
	by_resources(&fds, &maps);
	rss = gs_daemon_rss(&tl_daemon);
	for (unsigned i = 0; i < 40; i++)
		ping_fresh(i % 2, (i + 1) % 2);
	gs_daemon_await_resources(&tl_daemon, fds, maps);
	w = gs_wait_start(GS_WAIT_MS);
	while (gs_daemon_rss(&tl_daemon) > rss + (4 << 20))
		if (!gs_wait_turn(&w))
			gs_fail("memory grew from %lu to %lu bytes", rss,
				gs_daemon_rss(&tl_daemon));
}

/* The driver is unloaded and loaded again; the device is reset; all on one connection. */
static void test_driver_restarts(void **state)
{
	struct side other;

	start(&(struct gs_daemon_opts){.ports = 2});
	tl_side_open(&other, 1);
	for (unsigned i = 0; i < 20; i++) {
		struct gs_link l = gs_link_default();
		struct pair p = {.b = other};

		tl_side_open(&p.a, 0);
		tl_connect(&p, GS_RC, &l);
		tl_ping(&p);
		if (i % 2) {
			gs_vm_tear_down(p.a.vm);
		} else {
			assert_int_equal(gs_vfio_reset(&p.a.vm->vfio), 0);
		}
		/* Its peer finds nobody any more. */
		assert_int_equal(gs_qp_to_reset(p.b.qp), 0);
		expect_unreachable(&p.b, l, gs_path_to(p.a.vm), p.a.qp->qpn);
		gs_vm_bring_up(p.a.vm);
		p.a.pd = gs_pd_create(p.a.vm);
		p.a.scq = gs_cq_create(p.a.vm, 64);
		p.a.rcq = gs_cq_create(p.a.vm, 64);
		p.a.mr = gs_mr_register(p.a.pd, p.a.buf, TL_BUF, GS_ALL);
		p.a.qp = p.b.qp = NULL;
		tl_connect(&p, GS_RC, &l);
		tl_ping(&p);
		assert_int_equal(gs_qp_destroy(p.b.qp), 0);
		tl_side_close(&p.a);
	}
	tl_side_close(&other);
}

/* A second client is turned away; the first does not notice. */
static void test_second_client(void **state)
{
	struct gs_vfio intruder;
	struct gs_vm *vm;

	start(&(struct gs_daemon_opts){.ports = 1});
	vm = gs_vm_open_port(&tl_daemon, 0);
	for (unsigned i = 0; i < 10; i++) {
		if (gs_vfio_connect(&intruder, gs_daemon_socket(&tl_daemon, 0)) == 0)
			assert_true(gs_vfio_hung_up(&intruder, GS_WAIT_MS));
		gs_vfio_close(&intruder);
		gs_vm_await_active(vm);
	}
	gs_vm_close(vm);
}

/* ---- doorbells ---- */

/* Every doorbell a message on the socket, for a VM that must not share pages. */
static void test_trapped_doorbells(void **state)
{
	struct gs_link l = gs_link_default();
	struct pair p = {0};

	start(&(struct gs_daemon_opts){.ports = 2, .trap_doorbells = true});
	tl_side_open(&p.a, 0);
	tl_side_open(&p.b, 1);
	assert_null(p.a.vm->uar_mem);
	tl_connect(&p, GS_RC, &l);
	for (unsigned i = 0; i < 300; i++) {
		gs_cq_arm(p.b.rcq, false);
		tl_send_recv(&p.a, &p.b, 100 * i);
		assert_true(gs_cq_wait_event(p.b.rcq, GS_WAIT_MS));
	}
	tl_side_close(&p.a);
	tl_side_close(&p.b);
}

/* A client that does not map the pages although it could. */
static void test_unmapped_doorbells(void **state)
{
	struct gs_vm_opts opts = {.no_mmap = true};
	struct gs_link l = gs_link_default();
	struct pair p = {0};

	start(&(struct gs_daemon_opts){.ports = 2});
	tl_side_open(&p.b, 1);
	p.a.vm = gs_vm_open(gs_daemon_socket(&tl_daemon, 0), &opts);
	p.a.pd = gs_pd_create(p.a.vm);
	p.a.scq = p.a.rcq = gs_cq_create(p.a.vm, 64);
	p.a.buf = gs_ram_alloc(p.a.vm, 1 << 20, 4096);
	p.a.mr = gs_mr_register(p.a.pd, p.a.buf, 1 << 20, GS_ALL);
	tl_connect(&p, GS_RC, &l);
	for (unsigned i = 0; i < 200; i++)
		tl_ping(&p);
	tl_side_close(&p.a);
	tl_side_close(&p.b);
}

/* All of BAR 0's file, as a client keeps it that does not let go when it hangs up. */
static uint8_t *map_bar(struct gs_vm *vm)
{
	struct gs_vfio_region bar;
	uint8_t *at;

	assert_int_equal(gs_vfio_region_info(&vm->vfio, 0, &bar), 0);
	at = mmap(NULL, bar.size, PROT_READ | PROT_WRITE, MAP_SHARED, bar.fd, 0);
	assert_ptr_not_equal(at, MAP_FAILED);
	close(bar.fd);
	return at;
}

/* Neither what the last VM stored there nor its mapping of them reaches the next one. */
static void test_doorbell_pages_are_no_others(void **state)
{
	enum { UNUSED = 5000, OFF = 0x900 };
	struct gs_vm *vm;
	uint8_t *spy;

	start(&(struct gs_daemon_opts){.ports = 1});
	vm = gs_vm_open_port(&tl_daemon, 0);
	spy = map_bar(vm);
	gs_uar_store64(vm, vm->uar, OFF, 0x5ec4e7);
	gs_uar_store64(vm, UNUSED, OFF, 0x5ec4e7);
	gs_vm_close(vm);

	vm = gs_vm_open_port(&tl_daemon, 0);
	for (unsigned page = 16; page < vm->bar_size / 4096; page++)
		tl_check_same(vm->uar_mem + page * 4096ul + OFF, 8, 0);
	gs_uar_store64(vm, UNUSED, OFF + 8, 0x5ec4e7);
	assert_int_not_equal(*(uint64_t *)(void *)(spy + UNUSED * 4096 + OFF), 0);
	tl_check_same(spy + UNUSED * 4096 + OFF + 8, 8, 0);
	munmap(spy, vm->bar_size);
	gs_vm_close(vm);
}

/* The same among processes of one VM: a page is empty when it is handed out again. */
static void test_doorbell_page_is_clean(void **state)
{
	enum { OFF = 0xb00 };
	struct gs_vm *vm;
	uint32_t page, next;

	start(&(struct gs_daemon_opts){.ports = 1});
	vm = gs_vm_open_port(&tl_daemon, 0);
	page = gs_cmd_alloc(vm, CX_CMD_ALLOC_UAR);
	gs_uar_store64(vm, page, OFF, 0x5ec4e7);
	assert_int_equal(gs_cmd_object(vm, CX_CMD_DEALLOC_UAR, 0, page), 0);
	while ((next = gs_cmd_alloc(vm, CX_CMD_ALLOC_UAR)) != page)
		assert_int_equal(gs_cmd_object(vm, CX_CMD_DEALLOC_UAR, 0, next), 0);
	tl_check_same(vm->uar_mem + page * 4096, 4096, 0);
	gs_vm_close(vm);
}

/* One request to the daemon's control socket, and its answer. */
static void control(const char *request)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char answer[1024];
	ssize_t n;

	snprintf(to.sun_path, sizeof(to.sun_path), "%.80s/control.sock", tl_daemon.dir);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	assert_int_equal(send(fd, request, strlen(request), 0), strlen(request));
	n = recv(fd, answer, sizeof(answer) - 1, 0);
	assert_true(n > 0);
	answer[n] = '\0';
	assert_non_null(strstr(answer, "\"ok\":true"));
	close(fd);
}

static void expect_port_event(struct gs_vm *vm, uint8_t sub_type)
{
	struct gs_event ev;

	assert_true(gs_event_wait(vm, CX_EVENT_PORT_CHANGE, &ev, GS_WAIT_MS));
	assert_int_equal(ev.number, 1);
	assert_int_equal(ev.sub_type, sub_type);
}

/* A cable that is pulled: its driver hears of it, its peers' retries end; and one put back. */
static void test_unplugged(void **state)
{
	struct gs_link l = tl_quick_link();
	struct pair p = {0};

	start(&(struct gs_daemon_opts){.ports = 2});
	tl_side_open(&p.a, 0);
	tl_side_open(&p.b, 1);
	tl_connect(&p, GS_RC, &l);
	tl_ping(&p);

	control("{\"version\":1,\"command\":\"port-unplug\",\"name\":\"vm1\"}\n");
	expect_port_event(p.b.vm, CX_PORT_DOWN);
	gs_event_expect_none(p.a.vm, CX_EVENT_PORT_CHANGE, QUIET_MS);
	tl_rdma(&p.a, CX_OP_RDMA_WRITE, 0, 64, &p.b, 0);
	gs_cq_expect(p.a.scq, CX_SYND_TRANSPORT_RETRY);
	tl_rdma(&p.b, CX_OP_RDMA_WRITE, 0, 64, &p.a, 0);
	gs_cq_expect(p.b.scq, CX_SYND_TRANSPORT_RETRY);

	control("{\"version\":1,\"command\":\"port-plug\",\"name\":\"vm1\"}\n");
	expect_port_event(p.b.vm, CX_PORT_ACTIVE);
	tl_reconnect(&p);
	tl_ping(&p);
	tl_side_close(&p.a);
	tl_side_close(&p.b);
}

/* Several processes: UAR pages, protection domains and queues of their own. */
static void test_processes(void **state)
{
	enum { PROCESSES = 8 };
	struct gs_link l = gs_link_default();
	struct pair p = {0}, proc[PROCESSES];

	start(&(struct gs_daemon_opts){.ports = 2});
	tl_side_open(&p.a, 0);
	tl_side_open(&p.b, 1);
	for (unsigned i = 0; i < PROCESSES; i++) {
		struct side *ends[2] = {&proc[i].a, &proc[i].b};

		proc[i] = p;
		for (unsigned e = 0; e < 2; e++) {
			struct side *s = ends[e];
			struct gs_qp_attr attr = {.type = GS_RC};

			s->pd = gs_pd_create(s->vm);
			s->scq = gs_cq_create(s->vm, 64);
			s->rcq = gs_cq_create(s->vm, 64);
			s->buf += i << 20;
			s->mr = gs_mr_register(s->pd, s->buf, 1 << 20, GS_ALL);
			attr.send_cq = s->scq;
			attr.recv_cq = s->rcq;
			attr.uar = gs_cmd_alloc(s->vm, CX_CMD_ALLOC_UAR);
			s->qp = gs_qp_create(s->pd, &attr);
		}
		gs_qp_connect(proc[i].a.qp, proc[i].b.qp, &l);
	}
	for (unsigned n = 0; n < 200; n++)
		for (unsigned i = 0; i < PROCESSES; i++)
			tl_ping(&proc[i]);
	/* One process' key is nothing to another's QP. */
	tl_rdma(&proc[0].a, CX_OP_RDMA_WRITE, 0, 8, &proc[1].b, 0);
	gs_cq_expect(proc[0].a.scq, CX_SYND_REMOTE_ACCESS);
	for (unsigned i = 1; i < PROCESSES; i++)
		tl_ping(&proc[i]);
	tl_side_close(&p.a);
	tl_side_close(&p.b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define PORT_TEST(f) cmocka_unit_test_teardown(f, stop_daemon)
		PORT_TEST(test_sixteen),
		PORT_TEST(test_sixteen_on_workers),
		PORT_TEST(test_shared_on_workers),
		PORT_TEST(test_tenants),
		PORT_TEST(test_come_and_go),
		PORT_TEST(test_driver_restarts),
		PORT_TEST(test_second_client),
		PORT_TEST(test_unplugged),
		PORT_TEST(test_trapped_doorbells),
		PORT_TEST(test_unmapped_doorbells),
		PORT_TEST(test_doorbell_pages_are_no_others),
		PORT_TEST(test_doorbell_page_is_clean),
		PORT_TEST(test_processes),
	};

	tl_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
