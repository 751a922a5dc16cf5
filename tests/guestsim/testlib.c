/* SPDX-License-Identifier: BSD-2-Clause */
/* Fixtures and short forms for the simulated guest's tests. */
#include "testlib.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct gs_daemon tl_daemon;
struct gs_daemon_opts tl_opts = {.ports = 2};

static pthread_t main_thread;

/* cmocka's way out is a long jump, which only its own thread may take. */
static void fail_test(const char *message)
{
	if (pthread_equal(pthread_self(), main_thread))
		fail_msg("%s", message);
	print_error("%s (on another thread)\n", message);
	abort();
}

void tl_init(void)
{
	main_thread = pthread_self();
	gs_fail_handler = fail_test;
	signal(SIGPIPE, SIG_IGN);
	/* A test by name, with * and ? as wild cards. */
	cmocka_set_test_filter(getenv("GS_TEST"));
}

int tl_start(void **state)
{
	const char *workers = getenv("GS_WORKERS");

	if (workers)
		tl_opts.workers = (unsigned)atoi(workers);
	gs_daemon_start(&tl_daemon, &tl_opts);
	return 0;
}

int tl_stop(void **state)
{
	gs_daemon_stop(&tl_daemon);
	return 0;
}

void tl_side_open(struct side *s, unsigned port)
{
	s->vm = gs_vm_open_port(&tl_daemon, port);
	tl_side_fill(s);
}

void tl_side_fill(struct side *s)
{
	s->pd = gs_pd_create(s->vm);
	s->scq = gs_cq_create(s->vm, 1024);
	s->rcq = gs_cq_create(s->vm, 1024);
	s->buf = gs_ram_alloc(s->vm, TL_BUF, 2 << 20);
	s->mr = gs_mr_register(s->pd, s->buf, TL_BUF, GS_ALL);
	s->qp = NULL;
}

void tl_side_close(struct side *s)
{
	if (s->vm)
		gs_vm_close(s->vm);
	s->vm = NULL;
}

void tl_side_qp(struct side *s, enum gs_qp_type type)
{
	s->qp = gs_qp_create(s->pd, &(struct gs_qp_attr){.type = type,
							 .send_cq = s->scq,
							 .recv_cq = s->rcq,
							 .send_blocks = 256,
							 .recv_sges = 32});
}

int tl_sides_open(void **state)
{
	struct pair *p = calloc(1, sizeof(*p));

	*state = p;
	tl_side_open(&p->a, 0);
	tl_side_open(&p->b, 1);
	return 0;
}

int tl_pair_open(void **state)
{
	struct gs_link l = gs_link_default();

	tl_sides_open(state);
	tl_connect(*state, GS_RC, &l);
	return 0;
}

int tl_pair_close(void **state)
{
	struct pair *p = *state;

	gs_daemon_check(&tl_daemon);
	tl_side_close(&p->a);
	tl_side_close(&p->b);
	free(p);
	return 0;
}

static void drop_qp(struct side *s)
{
	if (s->qp && gs_qp_destroy(s->qp))
		gs_fail("QP %#x cannot be destroyed: status %#x", s->qp->qpn, s->vm->status);
	s->qp = NULL;
}

void tl_connect(struct pair *p, enum gs_qp_type type, const struct gs_link *l)
{
	drop_qp(&p->a);
	drop_qp(&p->b);
	tl_side_qp(&p->a, type);
	tl_side_qp(&p->b, type);
	if (type == GS_UD) {
		gs_qp_bring_up(p->a.qp, l);
		gs_qp_bring_up(p->b.qp, l);
	} else {
		gs_qp_connect(p->a.qp, p->b.qp, l);
	}
}

void tl_connect_attr(struct pair *p, const struct gs_qp_attr *attr, const struct gs_link *l)
{
	struct gs_qp_attr at = *attr;

	drop_qp(&p->a);
	drop_qp(&p->b);
	at.send_cq = p->a.scq;
	at.recv_cq = p->a.rcq;
	p->a.qp = gs_qp_create(p->a.pd, &at);
	at.send_cq = p->b.scq;
	at.recv_cq = p->b.rcq;
	p->b.qp = gs_qp_create(p->b.pd, &at);
	gs_qp_connect(p->a.qp, p->b.qp, l);
}

struct gs_link tl_quick_link(void)
{
	struct gs_link l = gs_link_default();

	l.timeout = 10; /* 4.2 ms */
	l.retry_count = 2;
	l.rnr_retry = 0;
	return l;
}

int tl_quick_open(void **state)
{
	struct gs_link l = tl_quick_link();

	tl_sides_open(state);
	tl_connect(*state, GS_RC, &l);
	return 0;
}

void tl_reconnect(struct pair *p)
{
	struct gs_link l = tl_quick_link();

	tl_connect(p, GS_RC, &l);
	gs_event_forget(p->a.vm);
	gs_event_forget(p->b.vm);
	tl_ping(p);
}

struct gs_send_wr tl_request(struct pair *p, uint8_t op, struct gs_sge *sge)
{
	return (struct gs_send_wr){.wr_id = 1,
				   .op = op,
				   .flags = GS_SIGNALED,
				   .raddr = (uintptr_t)p->b.buf,
				   .rkey = p->b.mr->key,
				   .nsge = 1,
				   .sge = sge};
}

void tl_recv(struct side *s, size_t off, size_t len)
{
	struct gs_sge sge = gs_sge(s->mr, s->buf + off, len);

	gs_post_recv(s->qp, off, &sge, 1);
}

void tl_send(struct side *s, size_t off, size_t len)
{
	struct gs_sge sge = gs_sge(s->mr, s->buf + off, len);

	gs_post_send(s->qp, &(struct gs_send_wr){.wr_id = off,
						 .op = CX_OP_SEND,
						 .flags = GS_SIGNALED,
						 .nsge = 1,
						 .sge = &sge});
}

void tl_rdma(struct side *s, uint8_t op, size_t off, size_t len, const struct side *peer,
	     size_t peer_off)
{
	struct gs_sge sge = gs_sge(s->mr, s->buf + off, len);

	gs_post_send(s->qp, &(struct gs_send_wr){.wr_id = off,
						 .op = op,
						 .flags = GS_SIGNALED,
						 .raddr = (uintptr_t)peer->buf + peer_off,
						 .rkey = peer->mr->key,
						 .nsge = 1,
						 .sge = &sge});
}

uint8_t tl_rdma_key(struct pair *p, uint8_t op, uint32_t key, uint64_t addr, size_t len)
{
	struct gs_sge sge = gs_sge(p->a.mr, p->a.buf, len);
	struct gs_wc wc;

	gs_post_send(p->a.qp, &(struct gs_send_wr){.op = op,
						   .flags = GS_SIGNALED,
						   .raddr = addr,
						   .rkey = key,
						   .nsge = 1,
						   .sge = &sge,
						   .swap_add = 5});
	gs_cq_wait(p->a.scq, &wc, 1);
	return wc.status;
}

void tl_send_recv(struct side *s, struct side *peer, size_t len)
{
	struct gs_wc wc;

	tl_fill(s->buf, len, len + 1);
	memset(peer->buf, 0xee, len);
	tl_recv(peer, 0, len);
	tl_send(s, 0, len);
	wc = gs_cq_expect(s->scq, 0);
	assert_int_equal(wc.send_op, CX_OP_SEND);
	wc = gs_cq_expect(peer->rcq, 0);
	assert_int_equal(wc.cqe_op, CX_CQE_RESP_SEND);
	assert_int_equal(wc.byte_len, len);
	assert_ptr_equal(wc.qp, peer->qp);
	tl_check(peer->buf, len, len + 1);
}

void tl_ping(struct pair *p)
{
	tl_send_recv(&p->a, &p->b, 64);
	tl_send_recv(&p->b, &p->a, 64);
}

/* Word i of a pattern; a byte at place n belongs to word n / 8. */
static uint64_t word(uint64_t seed, uint64_t i)
{
	return (seed + i) * 0x9e3779b97f4a7c15ull ^ seed >> 7;
}

/* Whole words apart from the rest: there are gigabytes of them. */
void tl_fill(void *p, size_t len, uint64_t seed)
{
	uint64_t n = len / 8, w;
	uint8_t *b = p;

	for (uint64_t i = 0; i < n; i++) {
		w = word(seed, i);
		memcpy(b + 8 * i, &w, 8);
	}
	w = word(seed, n);
	memcpy(b + 8 * n, &w, len % 8);
}

void tl_check(const void *p, size_t len, uint64_t seed)
{
	uint64_t n = len / 8, i = 0, got, w;
	const uint8_t *b = p;

	for (; i < n; i++) {
		memcpy(&got, b + 8 * i, 8);
		if (got != word(seed, i))
			break;
	}
	w = word(seed, i);
	if (i < n || memcmp(b + 8 * n, &w, len % 8))
		gs_fail("data differ at byte %zu of %zu", (size_t)(8 * i), len);
}

void tl_check_same(const void *p, size_t len, uint8_t value)
{
	const uint8_t *b = p;

	for (size_t i = 0; i < len; i++)
		if (b[i] != value)
			gs_fail("byte %zu of %zu is %#x, not %#x", i, len, b[i], value);
}
