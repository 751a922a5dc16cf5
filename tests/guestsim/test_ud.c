/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Unreliable datagrams: addressing, the 40 bytes before the data, Q_Keys, what is dropped,
 * multicast, QP1, and the send queue error state.
 */
#include "testlib.h"

#include <string.h>

enum { GRH = 40, MTU = 4096, QKEY = 0x11111111 };

/* Time in which a datagram that must not come would have come. */
enum { QUIET_MS = 20 };
/* Of one port in all groups, docs/device.md. */
enum { MEMBERSHIPS = 8192 };

#define QKEY_GSI 0x80010000u

static int ud_open(void **state)
{
	struct gs_link l = gs_link_default();

	tl_sides_open(state);
	tl_connect(*state, GS_UD, &l);
	return 0;
}

static struct gs_send_wr datagram(const struct side *to, const struct gs_path *path,
				  const struct gs_sge *sge)
{
	return (struct gs_send_wr){.wr_id = 1,
				   .op = CX_OP_SEND,
				   .flags = GS_SIGNALED,
				   .path = path,
				   .dest_qpn = to->qp->qpn,
				   .dest_qkey = QKEY,
				   .nsge = 1,
				   .sge = sge};
}

/* A datagram from s to t along the path, and what the receiver learns of it. */
static struct gs_wc pass(struct side *s, struct side *t, const struct gs_path *path, size_t len)
{
	struct gs_sge sge = gs_sge(s->mr, s->buf, len);
	struct gs_send_wr wr = datagram(t, path, &sge);
	struct gs_wc wc;

	tl_fill(s->buf, len, len + 3);
	memset(t->buf, 0xcd, len + GRH + 8);
	tl_recv(t, 0, MTU + GRH);
	gs_post_send(s->qp, &wr);
	gs_cq_expect(s->scq, 0);
	wc = gs_cq_expect(t->rcq, 0);
	assert_int_equal(wc.cqe_op, CX_CQE_RESP_SEND);
	assert_int_equal(wc.byte_len, len + GRH);
	assert_int_equal(wc.src_qpn, s->qp->qpn);
	assert_int_equal(wc.slid, s->vm->lid);
	assert_ptr_equal(wc.qp, t->qp);
	tl_check(t->buf + GRH, len, len + 3);
	tl_check_same(t->buf + GRH + len, 8, 0xcd);
	return wc;
}

static void test_by_lid(void **state)
{
	static const size_t sizes[] = {0, 1, 8, 63, 64, 100, 1024, 2047, 4095, 4096};
	struct pair *p = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct gs_path there = gs_path_to(p->b.vm), back = gs_path_to(p->a.vm);
		struct gs_wc wc;

		/* The path bits are the sender's; a port of one LID (LMC 0) has none. */
		there.sl = there.path_bits = (uint8_t)i;
		wc = pass(&p->a, &p->b, &there, sizes[i]);
		assert_false(wc.grh);
		assert_int_equal(wc.sl, i);
		assert_int_equal(wc.path_bits, 0);
		pass(&p->b, &p->a, &back, sizes[i]);
	}
}

/* The header as it arrived on the wire: Table 4 of volume 1. */
static void test_by_gid(void **state)
{
	struct pair *p = *state;
	struct gs_path path = gs_path_gid(p->b.vm);

	path.hop_limit = 33;
	path.traffic_class = 0xa5;
	path.flow_label = 0x54321;
	for (size_t len = 0; len <= MTU; len += 512) {
		struct gs_wc wc = pass(&p->a, &p->b, &path, len);
		const uint8_t *grh = p->b.buf;

		assert_true(wc.grh);
		assert_int_equal(up_get_be32(grh), 6u << 28 | 0xa5u << 20 | 0x54321);
		assert_int_equal(grh[6], 0x1b);
		assert_int_equal(grh[7], 33);
		assert_memory_equal(grh + 8, p->a.vm->gid, 16);
		assert_memory_equal(grh + 24, p->b.vm->gid, 16);
	}
	/* The GID alone leads there. */
	path.dlid = 0;
	pass(&p->a, &p->b, &path, 100);
}

/* To itself, and to another QP of the same VM. */
static void test_loopback(void **state)
{
	struct pair *p = *state;
	struct gs_path path = gs_path_to(p->a.vm);
	struct gs_link l = gs_link_default();
	struct side other = p->a;
	struct gs_sge sge = gs_sge(p->a.mr, p->a.buf, 64);
	struct gs_send_wr wr = datagram(&p->a, &path, &sge);

	tl_recv(&p->a, 8192, 256);
	gs_post_send(p->a.qp, &wr);
	gs_cq_expect(p->a.scq, 0);
	gs_cq_expect(p->a.rcq, 0);
	other.buf += 1 << 20;
	tl_side_qp(&other, GS_UD);
	gs_qp_bring_up(other.qp, &l);
	pass(&p->a, &other, &path, 1000);
}

static void test_pieces_and_immediate(void **state)
{
	struct pair *p = *state;
	struct gs_path path = gs_path_to(p->b.vm);
	struct gs_sge from[4], to[5];
	struct gs_send_wr wr = datagram(&p->b, &path, from);
	uint8_t data[200];
	struct gs_wc wc;

	tl_fill(p->a.buf, 1000, 1);
	for (unsigned i = 0; i < 4; i++)
		from[i] = gs_sge(p->a.mr, p->a.buf + 250 * i, 250);
	/* The header's room in pieces of its own, as IPoIB has it. */
	to[0] = gs_sge(p->b.mr, p->b.buf + 8192, 24);
	to[1] = gs_sge(p->b.mr, p->b.buf + 8216, 16);
	to[2] = gs_sge(p->b.mr, p->b.buf, 7);
	to[3] = gs_sge(p->b.mr, p->b.buf + 7, 900);
	to[4] = gs_sge(p->b.mr, p->b.buf + 907, 1000);
	gs_post_recv(p->b.qp, 5, to, 5);
	wr.nsge = 4;
	wr.op = CX_OP_SEND_IMM;
	wr.imm = 0xabcdef01;
	gs_post_send(p->a.qp, &wr);
	gs_cq_expect(p->a.scq, 0);
	wc = gs_cq_expect(p->b.rcq, 0);
	assert_int_equal(wc.cqe_op, CX_CQE_RESP_SEND_IMM);
	assert_int_equal(wc.imm, 0xabcdef01);
	tl_check(p->b.buf, 1000, 1);

	tl_fill(data, sizeof(data), 8);
	from[0] = (struct gs_sge){.addr = (uintptr_t)data, .len = sizeof(data)};
	wr.op = CX_OP_SEND;
	wr.nsge = 1;
	wr.flags |= GS_INLINE;
	tl_recv(&p->b, 0, 512);
	gs_post_send(p->a.qp, &wr);
	gs_cq_expect(p->a.scq, 0);
	gs_cq_expect(p->b.rcq, 0);
	tl_check(p->b.buf + GRH, sizeof(data), 8);
}

/*
 * What was posted before the command that ends a queue pair is sent all the same, as by an adapter
 * that begins when it is rung for: some programs send their last words so, without a completion.
 */
static void test_last_words(void **state)
{
	enum { ROUNDS = 100, WORDS = 16 };
	struct pair *p = *state;
	struct gs_path path = gs_path_to(p->b.vm);
	struct gs_sge sge = gs_sge(p->a.mr, p->a.buf, MTU);
	struct gs_link l = gs_link_default();

	for (unsigned i = 0; i < ROUNDS; i++) {
		struct gs_send_wr wr = datagram(&p->b, &path, &sge);

		wr.flags = 0;
		for (unsigned n = 0; n < WORDS; n++)
			tl_recv(&p->b, 2 * MTU * n, MTU + GRH);
		for (unsigned n = 0; n < WORDS; n++)
			gs_post_send(p->a.qp, &wr);
		if (i % 2) {
			assert_int_equal(gs_qp_to_reset(p->a.qp), 0);
		} else {
			assert_int_equal(gs_qp_destroy(p->a.qp), 0);
			tl_side_qp(&p->a, GS_UD);
		}
		gs_qp_bring_up(p->a.qp, &l);
		for (unsigned n = 0; n < WORDS; n++)
			gs_cq_expect(p->b.rcq, 0);
	}
}

/* ---- dropped without a word ---- */

static void expect_dropped(struct pair *p, const struct gs_send_wr *wr)
{
	struct gs_path path = gs_path_to(p->b.vm);

	gs_post_send(p->a.qp, wr);
	gs_cq_expect(p->a.scq, 0);
	gs_cq_expect_none(p->b.rcq, QUIET_MS);
	/* The receives that wait are still there for the next one. */
	pass(&p->a, &p->b, &path, 16);
	assert_int_equal(gs_qp_to_reset(p->b.qp), 0);
	gs_qp_bring_up(p->b.qp, &(struct gs_link){.qkey = QKEY});
}

static void test_dropped(void **state)
{
	struct pair *p = *state;
	struct gs_path path = gs_path_to(p->b.vm);
	struct gs_sge sge = gs_sge(p->a.mr, p->a.buf, 64);
	struct gs_send_wr wr = datagram(&p->b, &path, &sge);

	/* Nothing posted. */
	expect_dropped(p, &wr);
	/* Another Q_Key. */
	tl_recv(&p->b, 0, 256);
	wr.dest_qkey = QKEY + 1;
	expect_dropped(p, &wr);
	/* With the high bit set the sender's own key goes out (10.2.5), which is the right one. */
	wr.dest_qkey = 0x80000000u | 5;
	tl_recv(&p->b, 0, 256);
	gs_post_send(p->a.qp, &wr);
	gs_cq_expect(p->a.scq, 0);
	gs_cq_expect(p->b.rcq, 0);
	/* No such QP, port, GID. */
	wr.dest_qkey = QKEY;
	wr.dest_qpn = 0xfffff0;
	expect_dropped(p, &wr);
	wr.dest_qpn = p->b.qp->qpn;
	path.dlid = 0x6666;
	expect_dropped(p, &wr);
	path = gs_path_gid(p->b.vm);
	path.dlid = 0;
	path.dgid[8] ^= 0x10;
	expect_dropped(p, &wr);
}

/* A QP of a connected service takes no datagrams. */
static void test_to_connected(void **state)
{
	struct pair *p = *state;
	struct gs_path path = gs_path_to(p->b.vm);
	struct gs_link l = gs_link_default();
	struct gs_sge sge = gs_sge(p->a.mr, p->a.buf, 64);
	struct gs_send_wr wr;

	tl_side_qp(&p->b, GS_RC);
	l.remote_qpn = p->a.qp->qpn;
	l.path = gs_path_to(p->a.vm);
	gs_qp_bring_up(p->b.qp, &l);
	tl_recv(&p->b, 0, 256);
	wr = datagram(&p->b, &path, &sge);
	wr.dest_qkey = 0;
	gs_post_send(p->a.qp, &wr);
	gs_cq_expect(p->a.scq, 0);
	gs_cq_expect_none(p->b.rcq, QUIET_MS);
	assert_int_equal(gs_qp_state(p->b.qp), CX_QPS_RTS);
}

/* ---- errors ---- */

/* The send queue stops, receives go on, and the queue can be taken up again (10.3.1.7). */
static void send_fails(struct pair *p, const struct gs_send_wr *bad, uint8_t status)
{
	struct gs_path there = gs_path_to(p->b.vm), back = gs_path_to(p->a.vm);
	struct gs_sge sge = gs_sge(p->a.mr, p->a.buf, 16);
	struct gs_send_wr wr = datagram(&p->b, &there, &sge);
	uint8_t qpc[CX_QPC_BYTES] = {0};

	gs_post_send(p->a.qp, bad);
	gs_cq_expect(p->a.scq, status);
	assert_int_equal(gs_qp_state(p->a.qp), CX_QPS_SQER);
	gs_post_send(p->a.qp, &wr);
	gs_cq_expect(p->a.scq, CX_SYND_WR_FLUSH);
	pass(&p->b, &p->a, &back, 100);
	cx_set(qpc, CX_QPC_ST, CX_QPST_UD);
	assert_int_equal(gs_qp_modify_raw(p->a.qp, CX_CMD_SQERR2RTS_QP, 0, qpc), 0);
	pass(&p->a, &p->b, &there, 100);
}

static void test_send_errors(void **state)
{
	struct pair *p = *state;
	struct gs_path path = gs_path_to(p->b.vm);
	struct gs_sge sge = gs_sge(p->a.mr, p->a.buf, MTU + 1);
	struct gs_send_wr wr = datagram(&p->b, &path, &sge);

	tl_recv(&p->b, 0, 2 * MTU);
	send_fails(p, &wr, CX_SYND_LOCAL_LENGTH);
	sge.len = 64;
	sge.key ^= 9;
	send_fails(p, &wr, CX_SYND_LOCAL_PROT);
	sge = gs_sge(p->a.mr, p->a.buf + TL_BUF - 4, 8);
	send_fails(p, &wr, CX_SYND_LOCAL_PROT);
}

static void test_receive_too_small(void **state)
{
	struct pair *p = *state;
	struct gs_path path = gs_path_to(p->b.vm);
	struct gs_sge sge = gs_sge(p->a.mr, p->a.buf, 100);
	struct gs_send_wr wr = datagram(&p->b, &path, &sge);

	memset(p->b.buf, 0x19, 512);
	tl_recv(&p->b, 0, 100 + GRH - 1);
	gs_post_send(p->a.qp, &wr);
	gs_cq_expect(p->a.scq, 0);
	gs_cq_expect(p->b.rcq, CX_SYND_LOCAL_LENGTH);
	tl_check_same(p->b.buf, 512, 0x19);
}

/* ---- multicast ---- */

static const uint8_t mgid[16] = {0xff, 0x12, 0x40, 0x1b, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7};

static void send_group(struct side *s, const uint8_t group[16], size_t len)
{
	struct gs_path path = {.dlid = 0xc007, .grh = true, .hop_limit = 1};
	struct gs_sge sge = gs_sge(s->mr, s->buf, len);
	struct gs_send_wr wr = datagram(s, &path, &sge);

	memcpy(path.dgid, group, 16);
	wr.dest_qpn = 0xffffff;
	gs_post_send(s->qp, &wr);
	gs_cq_expect(s->scq, 0);
}

static void expect_member(struct side *s, size_t len)
{
	struct gs_wc wc = gs_cq_expect(s->rcq, 0);

	assert_int_equal(wc.byte_len, len + GRH);
	assert_true(wc.grh);
	assert_memory_equal(s->buf + wc.wr_id + 24, mgid, 16);
	tl_check(s->buf + wc.wr_id + GRH, len, 77);
}

static void test_multicast(void **state)
{
	struct pair *p = *state;
	struct gs_link l = gs_link_default();
	struct side second = p->b;
	uint8_t other[16];

	second.rcq = gs_cq_create(p->b.vm, 64);
	tl_side_qp(&second, GS_UD);
	gs_qp_bring_up(second.qp, &l);
	assert_int_equal(gs_mcast_attach(p->b.qp, mgid), 0);
	assert_int_equal(gs_mcast_attach(second.qp, mgid), 0);
	assert_int_equal(gs_mcast_attach(p->a.qp, mgid), 0);
	tl_fill(p->a.buf, 500, 77);
	tl_recv(&p->a, 1 << 20, 1024);
	tl_recv(&p->b, 1 << 20, 1024);
	tl_recv(&second, 2 << 20, 1024);
	send_group(&p->a, mgid, 500);
	expect_member(&p->b, 500);
	expect_member(&second, 500);
	/* The sender is a member, too. */
	expect_member(&p->a, 500);

	/* One leaves; another group is another group. */
	assert_int_equal(gs_mcast_detach(second.qp, mgid), 0);
	tl_recv(&p->a, 1 << 20, 1024);
	tl_recv(&p->b, 1 << 20, 1024);
	tl_recv(&second, 2 << 20, 1024);
	memcpy(other, mgid, 16);
	other[15] ^= 1;
	send_group(&p->a, other, 500);
	gs_cq_expect_none(p->b.rcq, QUIET_MS);
	send_group(&p->a, mgid, 500);
	expect_member(&p->b, 500);
	expect_member(&p->a, 500);
	gs_cq_expect_none(second.rcq, QUIET_MS);
	/* A QP that goes away is no member any more. */
	assert_int_equal(gs_qp_destroy(p->b.qp), 0);
	p->b.qp = NULL;
	tl_recv(&p->a, 1 << 20, 1024);
	send_group(&p->a, mgid, 500);
	expect_member(&p->a, 500);
	assert_int_not_equal(gs_mcast_detach(second.qp, mgid), 0);
}

/* As IPoIB asks for it: what its QP sends does not come back to it, and reaches all others. */
static void test_multicast_blocked(void **state)
{
	struct pair *p = *state;
	struct side own = p->a;
	struct side *members[] = {&own, &p->a, &p->b};
	struct gs_qp_attr attr = {.type = GS_UD, .send_cq = own.scq, .block_loopback = true};
	struct gs_link l = gs_link_default();

	assert_int_equal(cx_get(own.vm->caps, CX_HCA_BLOCK_LB_MC), 1);
	attr.recv_cq = own.rcq = gs_cq_create(own.vm, 64);
	own.qp = gs_qp_create(own.pd, &attr);
	gs_qp_bring_up(own.qp, &l);
	for (unsigned i = 0; i < ARRAY_SIZE(members); i++) {
		assert_int_equal(gs_mcast_attach(members[i]->qp, mgid), 0);
		tl_fill(members[i]->buf, 500, 77);
		for (unsigned n = 0; n < ARRAY_SIZE(members); n++)
			tl_recv(members[i], (i + 1) << 20, 1024);
	}
	send_group(&own, mgid, 500);
	expect_member(&p->a, 500);
	expect_member(&p->b, 500);
	gs_cq_expect_none(own.rcq, QUIET_MS);
	/* It hears the others, of its own VM too, who hear themselves. */
	send_group(&p->a, mgid, 500);
	send_group(&p->b, mgid, 500);
	for (unsigned i = 0; i < ARRAY_SIZE(members); i++) {
		expect_member(members[i], 500);
		expect_member(members[i], 500);
	}
}

/* All that a port may have, which the end of their queue pair gives back to the next one. */
static void test_multicast_limit(void **state)
{
	struct pair *p = *state;
	struct side *s = &p->a;
	struct gs_link l = gs_link_default();
	uint8_t each[16];

	memcpy(each, mgid, 16);
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < MEMBERSHIPS; i++) {
			up_put_be32(each + 12, i);
			assert_int_equal(gs_mcast_attach(s->qp, each), 0);
		}
		up_put_be32(each + 12, MEMBERSHIPS);
		assert_int_not_equal(gs_mcast_attach(s->qp, each), 0);
		assert_int_equal(gs_qp_destroy(s->qp), 0);
		tl_side_qp(s, GS_UD);
		gs_qp_bring_up(s->qp, &l);
	}
}

/* ---- QP1 ---- */

static void test_gsi(void **state)
{
	struct pair *p = *state;
	struct gs_link l = gs_link_default();
	struct gs_path path = gs_path_to(p->b.vm);
	struct gs_sge sge = gs_sge(p->a.mr, p->a.buf, 256);
	struct gs_send_wr wr;
	struct gs_wc wc;

	l.qkey = QKEY_GSI;
	tl_side_qp(&p->a, GS_QP1);
	tl_side_qp(&p->b, GS_QP1);
	gs_qp_bring_up(p->a.qp, &l);
	gs_qp_bring_up(p->b.qp, &l);
	/* A class that no agent of the device answers: 0x0b, a vendor's. */
	memset(p->a.buf, 0, 256);
	p->a.buf[0] = 1;
	p->a.buf[1] = 0x0b;
	p->a.buf[2] = 1;
	p->a.buf[3] = 1;
	tl_recv(&p->b, 0, 512);
	wr = datagram(&p->b, &path, &sge);
	wr.dest_qpn = 1;
	wr.dest_qkey = QKEY_GSI;
	gs_post_send(p->a.qp, &wr);
	gs_cq_expect(p->a.scq, 0);
	wc = gs_cq_expect(p->b.rcq, 0);
	assert_int_equal(wc.src_qpn, 1);
	assert_int_equal(wc.slid, p->a.vm->lid);
	assert_int_equal(wc.byte_len, 256 + GRH);
	/* mlx5 finds the P_Key of a datagram at QP1 by its value. */
	assert_int_equal(wc.imm & 0xffff, 0xffff);
	assert_memory_equal(p->b.buf + GRH, p->a.buf, 256);
	/* The wrong Q_Key. */
	tl_recv(&p->b, 0, 512);
	wr.dest_qkey = QKEY;
	gs_post_send(p->a.qp, &wr);
	gs_cq_expect(p->a.scq, 0);
	gs_cq_expect_none(p->b.rcq, QUIET_MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define UD_TEST(f) cmocka_unit_test_setup_teardown(f, ud_open, tl_pair_close)
		UD_TEST(test_by_lid),	       UD_TEST(test_by_gid),
		UD_TEST(test_loopback),	       UD_TEST(test_pieces_and_immediate),
		UD_TEST(test_dropped),	       UD_TEST(test_to_connected),
		UD_TEST(test_send_errors),     UD_TEST(test_receive_too_small),
		UD_TEST(test_multicast),       UD_TEST(test_multicast_blocked),
		UD_TEST(test_multicast_limit), UD_TEST(test_gsi),
		UD_TEST(test_last_words),
	};

	tl_init();
	return cmocka_run_group_tests(tests, tl_start, tl_stop);
}
