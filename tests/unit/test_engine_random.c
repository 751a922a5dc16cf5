/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Queue pairs of every kind through random requests, faults and changes of state, in turns so short
 * that most messages are cut. Whatever happens in whichever order:
 *
 *  - a request completes once, in the order of its queue, unless its queue pair was reset;
 *  - a message that its sender was told of as sent, over a reliable connection, has arrived, with
 *    its bytes; one that failed, or was flushed, has not;
 *  - after an error of a reliable connection nothing succeeds;
 *  - a receive of a shared queue is waiting, held by a queue pair in mid-message, or completed;
 *  - in the end all is done: nobody waits for a kick that was forgotten;
 *  - and queue pairs that are connected anew pass messages, whatever became of the ones before.
 */
#include "fake_hca.h"
#include "unit.h"

#include <string.h>

enum { PAIRS = 7, ENDS = 2 * PAIRS, DEPTH = 4, SLOT = 4096, LONGEST = 4000, MESSAGES = 1 << 12 };
enum { ROUNDS = 100, STEPS = 8000, SETTLE_EVERY = 1000 };
#define NONE UINT64_MAX

/* Of an adapter's memory, which has a slot for each request that can be outstanding. */
#define SENT_FROM 0u
#define RECEIVED_AT (ENDS * DEPTH * SLOT)
#define WRITTEN_AT (2 * RECEIVED_AT)
#define SHARED_AT (3 * RECEIVED_AT)

struct message {
	enum up_opcode op;
	uint32_t len;
	bool reliable, sent, failed, arrived;
};

struct end {
	struct fake_hca *hca;
	struct end *peer;
	enum up_qp_type type;
	struct fake_srq *srq; /* its own, or of an XRC target the one that messages name; or NULL */
	struct fake_qp *qp;
	unsigned sent, received; /* requests of each queue that have ended */
	unsigned numbers[DEPTH]; /* of the messages in the send queue */
	unsigned kicks, last_wqes;
	bool ready, waits;
	bool failed[2]; /* a send; a receive */
};

static struct end ends[ENDS];
static struct message messages[MESSAGES];
static unsigned next_number;
static bool shared_posted[4][FAKE_DEPTH]; /* and not completed, by queue and index */
static struct fake_srq *shared[4];
static uint64_t seed, first_seed, now;
static bool without_faults;

#define CHECK(c)                                                                                   \
	do {                                                                                       \
		if (!(c))                                                                          \
			fail_msg("seed %#lx: not so: %s", first_seed, #c);                         \
	} while (0)

static unsigned pick(unsigned n)
{
	return (unsigned)(unit_random(&seed) % n);
}

static bool one_in(unsigned n)
{
	return !without_faults && !pick(n);
}

static bool is_reliable(const struct end *e)
{
	return e->type != UP_QP_UC && e->type != UP_QP_UD;
}

static enum up_qp_state state_of(const struct end *e)
{
	return up_qp_state_get(&e->qp->base);
}

static uint64_t slot_of(const struct end *e, unsigned index)
{
	return ((uint64_t)(e - ends) * DEPTH + index % DEPTH) * SLOT;
}

static uint64_t shared_slot(unsigned srq, unsigned index)
{
	return SHARED_AT + (srq * FAKE_DEPTH + index % FAKE_DEPTH) * (uint64_t)SLOT;
}

static uint8_t byte_of(unsigned number, uint32_t i)
{
	return (uint8_t)(number * 29 + i * 7 + (i >> 8));
}

static void check_bytes(const uint8_t *at, unsigned number)
{
	for (uint32_t i = 0; i < messages[number].len; i++)
		CHECK(at[i] == byte_of(number, i));
}

static unsigned shared_index(const struct up_srq *srq)
{
	unsigned i = 0;

	while (&shared[i]->base != srq)
		i++;
	return i;
}

/* ---- completions ---- */

static void take_send(struct end *e, const struct up_wc *wc)
{
	unsigned number = e->numbers[e->sent % DEPTH];
	struct message *m = &messages[number];

	CHECK(e->sent != e->qp->sq_posted);
	CHECK(wc->index == (uint16_t)e->sent);
	if (wc->status == UP_WC_SUCCESS) {
		CHECK(!is_reliable(e) || !e->failed[0]);
		m->sent = true;
		if (is_reliable(e) && up_op_is_write(m->op))
			check_bytes(e->peer->hca->ram + WRITTEN_AT + slot_of(e, e->sent), number);
	} else {
		CHECK(!m->arrived);
		CHECK(wc->status == UP_WC_WR_FLUSH_ERR || !is_reliable(e) || !e->failed[0]);
		m->failed = e->failed[0] = true;
	}
	e->sent++;
}

static void take_arrived(const struct end *e, const struct up_wc *wc, const uint8_t *at)
{
	struct message *m = &messages[wc->imm];

	CHECK(wc->imm < next_number && m->op == wc->op && m->op != UP_OP_WRITE);
	CHECK(!e->failed[1] && !m->arrived && !m->failed);
	m->arrived = true;
	CHECK(wc->byte_len == m->len + (e->type == UP_QP_UD ? UP_GRH_BYTES : 0));
	if (up_op_is_send(m->op))
		check_bytes(at + (e->type == UP_QP_UD ? UP_GRH_BYTES : 0), wc->imm);
}

static void take_receive(struct end *e, const struct up_wc *wc)
{
	const uint8_t *at = e->hca->ram + RECEIVED_AT + slot_of(e, e->received);

	if (wc->flags & UP_WC_SRQ) {
		unsigned i = shared_index(wc->srq);

		CHECK(shared_posted[i][wc->index % FAKE_DEPTH]);
		shared_posted[i][wc->index % FAKE_DEPTH] = false;
		at = e->hca->ram + shared_slot(i, wc->index);
	} else {
		CHECK(e->received != e->qp->rq_posted);
		CHECK(wc->index == (uint16_t)e->received);
		e->received++;
	}
	if (wc->status == UP_WC_SUCCESS)
		take_arrived(e, wc, at);
	else
		e->failed[1] = true;
}

static void take_completions(struct fake_cq *cq)
{
	for (unsigned n = 0; n < cq->count; n++) {
		struct up_wc *wc = &cq->wc[n];
		struct end *e = ends;

		while (&e->qp->base != wc->qp)
			e++;
		if (wc->flags & UP_WC_RECV)
			take_receive(e, wc);
		else
			take_send(e, wc);
	}
	cq->count = 0;
}

static void take_all(void)
{
	take_completions(ends[0].hca->cq);
	take_completions(ends[PAIRS].hca->cq);
	for (struct end *e = ends; e < ends + ENDS; e++) {
		if (e->kicks != e->qp->kicks)
			e->ready = true;
		e->kicks = e->qp->kicks;
	}
}

/* ---- what may happen ---- */

static void run(struct end *e)
{
	struct up_budget budget = {.messages = 1 + pick(3), .bytes = 1 + pick(3000)};
	enum up_run result;

	result = up_qp_run(fake_exec, &e->qp->base, now, &budget);
	e->ready = result == UP_RUN_MORE;
	e->waits = result == UP_RUN_WAIT;
	take_all();
}

static void post(struct end *e)
{
	static const enum up_opcode ops[] = {UP_OP_SEND_IMM, UP_OP_SEND_IMM, UP_OP_WRITE_IMM,
					     UP_OP_WRITE};
	unsigned index = e->qp->sq_posted, number = next_number;
	struct message *m = &messages[number];
	struct up_send_wr *wr;

	if (!e->qp->base.has_sq || index - e->sent == DEPTH || number == MESSAGES)
		return;
	next_number++;
	*m = (struct message){.op = ops[e->type == UP_QP_UD ? 0 : pick(4)],
			      .len = pick(LONGEST),
			      .reliable = is_reliable(e)};
	for (uint32_t i = 0; i < m->len; i++)
		e->hca->ram[SENT_FROM + slot_of(e, index) + i] = byte_of(number, i);
	e->numbers[index % DEPTH] = number;
	wr = fake_post(e->qp, m->op, SENT_FROM + slot_of(e, index), m->len);
	wr->imm = number;
	wr->raddr = FAKE_GPA + WRITTEN_AT + slot_of(e, index);
	wr->rkey = e->peer->hca->all->key ^ one_in(200);
	wr->sge[0].key ^= one_in(200);
	wr->xrc_srqn = e->peer->srq ? e->peer->srq->base.srqn : 0;
	wr->av.dlid = e->peer->hca->base.lid;
	wr->dest_qpn = e->peer->qp->base.qpn;
	wr->dest_qkey = e->peer->qp->base.attr.qkey;
	e->ready = true;
}

static void post_shared(unsigned i)
{
	struct fake_srq *srq = shared[i];

	if (srq->posted - srq->taken >= DEPTH || shared_posted[i][srq->posted % FAKE_DEPTH])
		return;
	shared_posted[i][srq->posted % FAKE_DEPTH] = true;
	fake_srq_recv(srq, shared_slot(i, srq->posted), SLOT);
}

static void post_receive(struct end *e)
{
	if (e->srq)
		post_shared(shared_index(&e->srq->base));
	else if (e->qp->base.has_rq && e->qp->rq_posted - e->received < DEPTH)
		fake_recv(e->qp, RECEIVED_AT + slot_of(e, e->qp->rq_posted),
			  one_in(100) ? 99 : SLOT);
}

/* A shared receive that it holds goes with it. */
static void forget(struct end *e)
{
	const struct up_responder *r = &e->qp->base.resp;

	if (r->rwr && r->srq)
		shared_posted[shared_index(r->srq)][r->rwr->index % FAKE_DEPTH] = false;
}

static void modify(struct end *e, enum up_qp_state to)
{
	if (to == UP_QPS_RESET)
		forget(e);
	if (up_qp_modify(&e->qp->base, to))
		return;
	if (to == UP_QPS_RESET) {
		e->sent = e->qp->sq_posted;
		e->received = e->qp->rq_posted;
		e->last_wqes = e->qp->events[UP_EV_LAST_WQE];
		e->failed[0] = e->failed[1] = false;
	}
	if (to == UP_QPS_RTS)
		e->failed[0] = false;
	take_all();
}

static void bring_up(struct end *e)
{
	modify(e, UP_QPS_RESET);
	fake_raise(e->qp, e->peer->qp, UP_QPS_RTS);
	e->qp->base.attr.rnr_retry = pick(2) ? 7 : (uint8_t)pick(3);
	take_all();
}

static void create(struct end *e)
{
	e->qp = fake_qp_create(e->hca, e->type, e->type == UP_QP_XRC_TGT ? NULL : e->srq);
	e->sent = e->received = e->kicks = e->last_wqes = 0;
	e->ready = e->waits = e->failed[0] = e->failed[1] = false;
}

static void replace(struct end *e)
{
	forget(e);
	fake_qp_destroy(e->qp);
	create(e);
	bring_up(e);
	if (pick(4))
		bring_up(e->peer);
}

/* Of the kind that messages name: one goes while they are under way. */
static void replace_shared(struct end *of)
{
	struct fake_srq *old = of->srq;
	unsigned i;

	if (of->type != UP_QP_XRC_TGT)
		return;
	i = shared_index(&old->base);
	of->srq = shared[i] = fake_srq_create(of->hca, true);
	fake_srq_destroy(old);
	memset(shared_posted[i], 0, sizeof(shared_posted[i]));
}

/* Two pairs of a kind become two others. Who is not connected anew talks to nobody at first. */
static void change_partners(struct end *e)
{
	unsigned pair = (unsigned)(e - ends) % PAIRS;
	struct end *a = &ends[pair & ~1u], *b = a + 1, *peer = a->peer;

	if (a->type == UP_QP_XRC_INI)
		return;
	a->peer = b->peer;
	b->peer = peer;
	a->peer->peer = a;
	b->peer->peer = b;
	bring_up(a);
	bring_up(b);
	if (pick(2))
		bring_up(a->peer);
}

static void run_next(struct end *e)
{
	for (unsigned n = 0; n < ENDS; n++, e = e == ends + ENDS - 1 ? ends : e + 1) {
		if (e->ready) {
			run(e);
			return;
		}
	}
}

/* An adapter's keys are gone for some turns. */
static void revoke_keys(struct end *e)
{
	e->hca->all->valid = false;
	for (unsigned n = 0; n < ENDS; n++)
		run_next(&ends[pick(ENDS)]);
	e->hca->all->valid = true;
}

static void pass_time(struct end *e)
{
	now += pick(200000);
}

static void break_off(struct end *e)
{
	modify(e, UP_QPS_ERR);
}

static void reset(struct end *e)
{
	modify(e, UP_QPS_RESET);
}

static void drain(struct end *e)
{
	modify(e, UP_QPS_SQD);
}

static void resume(struct end *e)
{
	if (state_of(e) != UP_QPS_RTR)
		modify(e, UP_QPS_RTS);
}

static void repair(struct end *e)
{
	enum up_qp_state s = state_of(e);

	if (s == UP_QPS_RESET || s == UP_QPS_ERR)
		bring_up(e);
}

static void wake(void)
{
	for (struct end *e = ends; e < ends + ENDS; e++)
		e->ready |= e->waits && e->qp->base.wait_next <= now;
}

static void step(void)
{
	static const struct {
		unsigned per_mille;
		void (*act)(struct end *e);
	} acts[] = {{288, post},	 {200, post_receive}, {390, run_next},	{50, pass_time},
		    {40, repair},	 {10, resume},	      {5, drain},	{5, break_off},
		    {4, reset},		 {3, replace},	      {2, revoke_keys}, {1, replace_shared},
		    {2, change_partners}};
	unsigned what = pick(1000), i = 0;

	while (what >= acts[i].per_mille)
		what -= acts[i++].per_mille;
	acts[i].act(&ends[pick(ENDS)]);
	wake();
}

/* ---- in the end ---- */

static bool is_flushing(const struct end *e)
{
	return state_of(e) == UP_QPS_ERR &&
	       (e->sent != e->qp->sq_posted || e->received != e->qp->rq_posted);
}

/* Runs whoever is ready; else lets time pass up to who waits. False when there is neither. */
static bool go_on(void)
{
	uint64_t next = NONE;
	bool ran = false;

	for (struct end *e = ends; e < ends + ENDS; e++) {
		if (state_of(e) != UP_QPS_ERR)
			post_receive(e);
		ran |= e->ready;
		if (e->ready)
			run(e);
		/* In error they look for more for ever. */
		if (e->waits && (state_of(e) != UP_QPS_ERR || is_flushing(e)) &&
		    e->qp->base.wait_next < next)
			next = e->qp->base.wait_next;
	}
	if (!ran && next != NONE && next > now)
		now = next;
	wake();
	return ran || next != NONE;
}

static void check_end(const struct end *e)
{
	enum up_qp_state s = state_of(e);

	if (s == UP_QPS_RTS || s == UP_QPS_SQE || s == UP_QPS_ERR)
		CHECK(e->sent == e->qp->sq_posted);
	if (s != UP_QPS_ERR)
		return;
	CHECK(e->received == e->qp->rq_posted);
	CHECK(!e->qp->base.resp.rwr);
	CHECK(e->qp->events[UP_EV_LAST_WQE] - e->last_wqes == (e->qp->base.srq ? 1 : 0));
}

static unsigned held_of(const struct fake_srq *srq)
{
	unsigned n = 0;

	for (struct end *e = ends; e < ends + ENDS; e++)
		n += e->qp->base.resp.rwr && e->qp->base.resp.srq == &srq->base;
	return n;
}

static void settle(void)
{
	for (unsigned n = 0; go_on(); n++)
		CHECK(n < 100000);
	for (const struct end *e = ends; e < ends + ENDS; e++)
		check_end(e);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(shared); i++) {
		unsigned posted = 0;

		for (unsigned k = 0; k < FAKE_DEPTH; k++)
			posted += shared_posted[i][k];
		CHECK(posted == shared[i]->posted - shared[i]->taken + held_of(shared[i]));
	}
}

/* What a reliable connection has sent with immediate data has arrived. */
static void check_messages(void)
{
	for (const struct message *m = messages; m < messages + next_number; m++)
		CHECK(!m->reliable || !m->sent || m->op == UP_OP_WRITE || m->arrived);
}

/* Without faults, so that each arrives. */
static void check_connections(void)
{
	unsigned first = next_number;

	without_faults = true;
	for (struct end *e = ends; e < ends + ENDS; e++)
		bring_up(e);
	settle();
	for (unsigned n = 0; n < 2 * ENDS; n++) {
		post(&ends[n % ENDS]);
		settle();
	}
	CHECK(next_number - first == 2 * (ENDS - 1));
	for (const struct message *m = messages + first; m < messages + next_number; m++)
		CHECK(m->sent && (m->op == UP_OP_WRITE || m->arrived));
	without_faults = false;
}

static void open_all(struct fake_hca *ha, struct fake_hca *hb)
{
	static const enum up_qp_type types[PAIRS] = {UP_QP_RC, UP_QP_RC, UP_QP_UC,     UP_QP_UC,
						     UP_QP_UD, UP_QP_UD, UP_QP_XRC_INI};

	for (unsigned i = 0; i < UP_ARRAY_SIZE(shared); i++)
		shared[i] = fake_srq_create(i % 2 ? hb : ha, i >= 2);
	for (unsigned i = 0; i < ENDS; i++) {
		struct end *e = &ends[i];
		unsigned far = i / PAIRS;

		*e = (struct end){.hca = far ? hb : ha, .peer = &ends[(i + PAIRS) % ENDS]};
		e->type = types[i % PAIRS];
		if (e->type == UP_QP_XRC_INI && far)
			e->type = UP_QP_XRC_TGT;
		if (e->type == UP_QP_XRC_TGT)
			e->srq = shared[2 + far];
		else if (i % PAIRS % 2)
			e->srq = shared[far];
		create(e);
	}
	for (unsigned i = 0; i < ENDS; i++)
		bring_up(&ends[i]);
}

static void close_all(void)
{
	for (unsigned i = 0; i < ENDS; i++)
		fake_qp_destroy(ends[i].qp);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(shared); i++)
		fake_srq_destroy(shared[i]);
}

static void round_of(uint64_t from)
{
	struct fake_hca *ha, *hb;

	first_seed = seed = from;
	now = 1;
	next_number = 0;
	memset(shared_posted, 0, sizeof(shared_posted));
	fake_world_create(&ha, &hb);
	open_all(ha, hb);
	for (unsigned n = 1; n <= STEPS; n++) {
		step();
		if (n % SETTLE_EVERY == 0)
			settle();
	}
	check_messages();
	check_connections();
	close_all();
	fake_world_destroy(ha, hb);
}

static void each_request_ends_once(void **state)
{
	for (uint64_t i = 1; i <= ROUNDS; i++)
		round_of(i * 0x9e3779b97f4a7c15u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(each_request_ends_once)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
