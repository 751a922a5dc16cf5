/* SPDX-License-Identifier: BSD-2-Clause */
/* Open operations and what happens to them (lib/core), over the lane of tests. */
#include "rig.h"

#include "core/private.h"

#include <stdlib.h>

/* ---- open operations ---- */

static void ask(struct rig *rig, struct rig_done *done)
{
	assert_int_equal(
		up_am_request(rig->a, rig->to_b, 1, NULL, 0, NULL, 0, 64, 0, rig_done, done), 0);
}

static void inject_answer(struct rig *rig, uint32_t op, uint32_t bytes)
{
	const struct up_packet p = {UP_PACKET_VERSION, UP_PKT_ANSWER, 0, bytes, op, 0, 0, 0};
	uint8_t packet[sizeof(p) + 4096] = {0};

	up_packet_put(packet, &p);
	fake_inject(rig->a, rig->b, packet, sizeof(p) + bytes);
	up_progress(rig->a);
}

/* Answers to what is not open any more, or never was, or is another peer's. */
static void ignores_late_and_forged_answers(void **state)
{
	struct rig_done done = {0};
	struct up_ep *c = rig_open(NULL);
	struct rig rig;
	uint32_t number;

	rig_setup(&rig, NULL);
	ask(&rig, &done);
	number = UP_CONTAINER_OF(rig.a->peers[rig.to_b]->open.next, struct up_op, open)->number;
	assert_int_not_equal(number, 0);
	for (uint32_t bit = 1; bit; bit <<= 1)
		inject_answer(&rig, number ^ bit ? number ^ bit : 1, 0);
	/* From another peer. */
	rig_peer(rig.a, c);
	{
		struct rig other = {.a = rig.a, .b = c};

		inject_answer(&other, number, 0);
	}
	assert_int_equal(done.calls, 0);
	rig_run(&rig);
	assert_int_equal(done.calls, 1);
	assert_int_equal(done.status, -EPROTO); /* no handler there */
	inject_answer(&rig, number, 0);
	assert_int_equal(done.calls, 1);
	/* The slot's next use is another number. */
	done.calls = 0;
	ask(&rig, &done);
	inject_answer(&rig, number, 0);
	assert_int_equal(done.calls, 0);
	rig_run(&rig);
	assert_int_equal(done.calls, 1);
	up_ep_close(c);
	rig_teardown(&rig);
}

static void answer_beyond_its_room_is_an_error(void **state)
{
	struct rig_done done = {0};
	struct rig rig;
	uint32_t number;

	rig_setup(&rig, NULL);
	ask(&rig, &done);
	number = UP_CONTAINER_OF(rig.a->peers[rig.to_b]->open.next, struct up_op, open)->number;
	inject_answer(&rig, number, 500);
	assert_int_equal(done.calls, 1);
	assert_int_equal(done.status, -EPROTO);
	rig_teardown(&rig);
}

static void gives_answer_room_back(void **state)
{
	static struct rig_done done[2000];
	struct rig rig;
	unsigned n;

	rig_setup(&rig, NULL);
	fake.ring = UINT32_MAX;
	memset(done, 0, sizeof(done));
	for (unsigned round = 0; round < 3; round++) {
		struct up_peer_state *peer = rig.a->peers[rig.to_b];

		for (n = 0; n < UP_ARRAY_SIZE(done); n++) {
			int r = up_am_request(rig.a, rig.to_b, 1, NULL, 0, NULL, 0, 100, 0,
					      rig_done, &done[n]);

			if (r == -EAGAIN)
				break;
			assert_int_equal(r, 0);
		}
		assert_int_equal(n, FAKE_ANSWER_ROOM / up_lane_answer_cost(100));
		assert_int_equal(peer->nopen, n);
		rig_run(&rig);
		assert_int_equal(peer->answer_room, FAKE_ANSWER_ROOM);
		assert_int_equal(peer->nopen, 0);
		for (unsigned i = 0; i < n; i++)
			assert_int_equal(done[i].calls, round + 1);
	}
	fake.ring = 0;
	rig_teardown(&rig);
}

/* A thousand open at a time: the table of numbers grows. */
static void many_are_open(void **state)
{
	static struct rig_done done[5000];
	struct rig rig;

	memset(done, 0, sizeof(done));
	fake.ring = UINT32_MAX;
	fake.answer_room = 64 * UP_ARRAY_SIZE(done);
	rig_setup(&rig, NULL);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(done); i++)
		assert_int_equal(up_am_request(rig.a, rig.to_b, 1, NULL, 0, NULL, 0, 0, 0, rig_done,
					       &done[i]),
				 0);
	rig_run(&rig);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(done); i++)
		assert_int_equal(done[i].calls, 1);
	fake.ring = 0;
	fake.answer_room = 0;
	rig_teardown(&rig);
}

/* ---- parked operations ---- */

struct parked {
	struct up_op op;
	unsigned number; /* goes along, for the order */
	unsigned tries;
	int fail; /* what resume() says */
	int status;
	unsigned ends;
	bool sent;
};

static void parked_end(struct up_op *op, int status, const struct up_packet *p, const void *payload)
{
	struct parked *k = UP_CONTAINER_OF(op, struct parked, op);

	k->ends++;
	k->status = status;
}

static int parked_resume(struct up_op *op)
{
	struct parked *k = UP_CONTAINER_OF(op, struct parked, op);
	struct up_packet p = {.type = UP_PKT_AM_REQUEST, .aux = 1};
	void *to;

	k->tries++;
	assert_true(up_peer_stuck(op->peer));
	if (k->fail)
		return k->fail;
	to = up_send_reserve(op->peer, op, sizeof(k->number), 0);
	if (!to)
		return -EAGAIN;
	memcpy(to, &k->number, sizeof(k->number));
	up_send_commit(op->peer, op, &p, sizeof(k->number));
	k->sent = true;
	return 0;
}

static void park(struct up_peer_state *peer, struct parked *k, unsigned number)
{
	*k = (struct parked){.op = {.answered = parked_end, .resume = parked_resume},
			     .number = number};
	up_op_park(peer, &k->op);
}

struct order {
	unsigned next;
};

static void in_order(struct up_am *am, void *arg)
{
	struct order *o = arg;
	unsigned number;

	assert_int_equal(am->bytes, sizeof(number));
	memcpy(&number, am->data, sizeof(number));
	assert_int_equal(number, o->next++);
}

static void resumes_in_order(void **state)
{
	static struct parked ops[300];
	struct order order = {0};
	struct rig rig;

	fake.ring = 7;
	rig_setup(&rig, NULL);
	up_am_set_handler(rig.b, 1, in_order, &order);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(ops); i++)
		park(rig.a->peers[rig.to_b], &ops[i], i);
	/* Nothing overtakes them. */
	assert_int_equal(up_am_request(rig.a, rig.to_b, 1, NULL, 0, NULL, 0, 0, 0, NULL, NULL),
			 -EAGAIN);
	up_progress(rig.a);
	assert_true(ops[6].sent && !ops[7].sent);
	up_progress(rig.a);
	assert_false(ops[7].sent);
	assert_int_equal(ops[8].tries, 0);
	rig_run(&rig);
	assert_int_equal(order.next, UP_ARRAY_SIZE(ops));
	for (unsigned i = 0; i < UP_ARRAY_SIZE(ops); i++) {
		assert_int_equal(ops[i].ends, 1);
		assert_int_equal(ops[i].status, 0);
	}
	assert_false(up_peer_stuck(rig.a->peers[rig.to_b]));
	fake.ring = 0;
	rig_teardown(&rig);
}

static void one_stuck_peer_does_not_hold_others(void **state)
{
	struct up_ep *c = rig_open(NULL);
	struct order at_b = {0}, at_c = {1};
	struct parked ops[4];
	struct rig rig;
	up_peer to_c;

	rig_setup(&rig, NULL);
	up_am_set_handler(rig.b, 1, in_order, &at_b);
	up_am_set_handler(c, 1, in_order, &at_c);
	to_c = rig_peer(rig.a, c);
	park(rig.a->peers[rig.to_b], &ops[0], 0);
	ops[0].fail = -EAGAIN;
	park(rig.a->peers[to_c], &ops[1], 1);
	up_progress(rig.a);
	up_progress(c);
	assert_int_equal(at_c.next, 2);
	assert_int_equal(ops[0].ends, 0);
	/* An error ends it, and the next one goes on. */
	ops[0].fail = -ERANGE;
	park(rig.a->peers[rig.to_b], &ops[2], 0);
	rig_run(&rig);
	assert_int_equal(ops[0].ends, 1);
	assert_int_equal(ops[0].status, -ERANGE);
	assert_int_equal(ops[2].ends, 1);
	assert_int_equal(at_b.next, 1);
	rig_teardown(&rig);
	up_ep_close(c);
}

/* ---- ends ---- */

/* Opens and parks some, does `end` to them, and sees each end once with the status. */
static void ends_each_once(void (*end)(struct rig *rig), int status, int then)
{
	struct rig_done open[20] = {0}, at_c = {0};
	struct up_ep *c = rig_open(NULL);
	struct parked parked[5];
	struct rig_seen seen = {0};
	struct rig rig;
	up_peer to_c;

	rig_setup(&rig, NULL);
	to_c = rig_peer(rig.a, c);
	up_am_set_handler(c, 1, rig_note, &seen);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(open); i++)
		ask(&rig, &open[i]);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(parked); i++) {
		park(rig.a->peers[rig.to_b], &parked[i], i);
		parked[i].fail = -EAGAIN;
	}
	assert_int_equal(up_am_request(rig.a, to_c, 1, NULL, 0, NULL, 0, 0, 0, rig_done, &at_c), 0);
	end(&rig);
	up_progress(rig.a);
	up_progress(rig.a);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(open); i++) {
		assert_int_equal(open[i].calls, 1);
		assert_int_equal(open[i].status, status);
	}
	for (unsigned i = 0; i < UP_ARRAY_SIZE(parked); i++) {
		assert_int_equal(parked[i].ends, 1);
		assert_int_equal(parked[i].status, status);
	}
	assert_int_equal(up_am_request(rig.a, rig.to_b, 1, NULL, 0, NULL, 0, 0, 0, NULL, NULL),
			 then);
	/* Others go on. */
	assert_int_equal(at_c.calls, 0);
	up_progress(c);
	up_progress(rig.a);
	assert_int_equal(at_c.calls, 1);
	assert_int_equal(at_c.status, 0);
	up_ep_close(rig.a);
	if (rig.b)
		up_ep_close(rig.b);
	up_ep_close(c);
}

static void break_lane(struct rig *rig)
{
	fake_break(rig->a, rig->b);
}

static void close_peer(struct rig *rig)
{
	up_ep_close(rig->b);
	rig->b = NULL;
}

static void remove_peer(struct rig *rig)
{
	up_peer_remove(rig->a, rig->to_b);
}

static void send_rubbish(struct rig *rig)
{
	fake_inject(rig->a, rig->b, "rubbish", 7);
}

static void send_unknown_version(struct rig *rig)
{
	const struct up_packet p = {9, UP_PKT_ANSWER, 0, 0, 1, 0, 0, 0};
	uint8_t packet[sizeof(p)];

	up_packet_put(packet, &p);
	fake_inject(rig->a, rig->b, packet, sizeof(packet));
}

static void peer_fails(void **state)
{
	ends_each_once(break_lane, -EHOSTDOWN, -EHOSTDOWN);
	ends_each_once(close_peer, -EHOSTDOWN, -EHOSTDOWN);
	ends_each_once(remove_peer, -ECANCELED, -EINVAL);
	ends_each_once(send_rubbish, -EPROTO, -EHOSTDOWN);
	ends_each_once(send_unknown_version, -EPROTONOSUPPORT, -EHOSTDOWN);
}

/* Removes the peer from inside its operations' ends, and from a handler of its message. */
struct remover {
	struct up_ep *ep;
	up_peer peer;
	unsigned calls;
};

static void remove_at_end(void *ctx, int status, size_t bytes)
{
	struct remover *r = ctx;

	r->calls++;
	up_peer_remove(r->ep, r->peer);
	assert_int_equal(up_am_request(r->ep, r->peer, 1, NULL, 0, NULL, 0, 0, 0, NULL, NULL),
			 -EINVAL);
	assert_int_equal(up_progress(r->ep), 0);
}

static void remove_in_handler(struct up_am *am, void *arg)
{
	struct remover *r = arg;

	r->calls++;
	up_peer_remove(am->ep, am->from);
	/* The room is still the message's own, though nobody gets the reply. */
	assert_int_equal(up_am_reply(am, 1, NULL, 0, "x", 1), 0);
}

static void callbacks_remove_peers(void **state)
{
	struct remover at_a = {0}, at_b = {0};
	struct rig rig;

	rig_setup(&rig, NULL);
	at_a = (struct remover){.ep = rig.a, .peer = rig.to_b};
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(up_am_request(rig.a, rig.to_b, 1, NULL, 0, NULL, 0, 0, 0,
					       remove_at_end, &at_a),
				 0);
	/* All but the first find it removed. */
	rig_run(&rig);
	assert_int_equal(at_a.calls, 5);

	rig.to_b = rig_peer(rig.a, rig.b);
	up_am_set_handler(rig.b, 2, remove_in_handler, &at_b);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(
			up_am_request(rig.a, rig.to_b, 2, NULL, 0, NULL, 0, 8, 0, NULL, NULL), 0);
	rig_run(&rig);
	/* What came behind it was dropped. */
	assert_int_equal(at_b.calls, 1);
	rig_teardown(&rig);
}

static void closes_with_operations_open(void **state)
{
	struct rig_done open[10] = {0};
	struct parked parked[3];
	struct rig rig;

	rig_setup(&rig, NULL);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(open); i++)
		ask(&rig, &open[i]);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(parked); i++) {
		park(rig.a->peers[rig.to_b], &parked[i], i);
		parked[i].fail = -EAGAIN;
	}
	up_ep_close(rig.a);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(open); i++) {
		assert_int_equal(open[i].calls, 1);
		assert_int_equal(open[i].status, -ECANCELED);
	}
	for (unsigned i = 0; i < UP_ARRAY_SIZE(parked); i++)
		assert_int_equal(parked[i].status, -ECANCELED);
	up_progress(rig.b);
	assert_int_equal(up_am_request(rig.b, rig.to_a, 1, NULL, 0, NULL, 0, 0, 0, NULL, NULL),
			 -EHOSTDOWN);
	up_ep_close(rig.b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ignores_late_and_forged_answers),
		cmocka_unit_test(answer_beyond_its_room_is_an_error),
		cmocka_unit_test(gives_answer_room_back),
		cmocka_unit_test(many_are_open),
		cmocka_unit_test(resumes_in_order),
		cmocka_unit_test(one_stuck_peer_does_not_hold_others),
		cmocka_unit_test(peer_fails),
		cmocka_unit_test(callbacks_remove_peers),
		cmocka_unit_test(closes_with_operations_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
