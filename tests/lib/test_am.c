/* SPDX-License-Identifier: BSD-2-Clause */
/* Active messages (underpass/am.h). */
#include "rig.h"

struct message {
	unsigned calls;
	up_peer from;
	size_t reply_room;
	uint8_t head[UP_AM_HEAD_MAX];
	size_t head_bytes;
	uint8_t data[UP_AM_DATA_MAX];
	size_t bytes;
};

static void keep(struct up_am *am, void *arg)
{
	struct message *m = arg;

	m->calls++;
	m->from = am->from;
	m->reply_room = am->reply_room;
	m->head_bytes = am->head_bytes;
	m->bytes = am->bytes;
	memcpy(m->head, am->head, am->head_bytes);
	memcpy(m->data, am->data, am->bytes);
}

/* Sends back what came, to handler 2. */
static void echo(struct up_am *am, void *arg)
{
	keep(am, arg);
	assert_int_equal(up_am_reply(am, 2, am->head, am->head_bytes, am->data, am->bytes), 0);
	assert_int_equal(am->reply_room, 0);
	assert_int_equal(up_am_reply(am, 2, NULL, 0, NULL, 0), -EINVAL);
}

static void request_and_reply(void **state)
{
	struct message at_b = {0}, at_a = {0};
	struct rig_done done = {0};
	struct rig rig;

	rig_setup(&rig, NULL);
	up_am_set_handler(rig.b, 1, echo, &at_b);
	up_am_set_handler(rig.a, 2, keep, &at_a);
	for (unsigned i = 1; i <= 1000; i++) {
		assert_int_equal(up_am_request(rig.a, rig.to_b, 1, "head", 4, &i, sizeof(i), 8, 0,
					       rig_done, &done),
				 0);
		rig_until(&rig, &done.calls, i);
		assert_int_equal(done.status, 0);
		assert_int_equal(at_b.calls, i);
		assert_int_equal(at_a.calls, i);
		assert_int_equal(at_b.from, rig.to_a);
		assert_int_equal(at_b.reply_room, 8);
		assert_int_equal(at_a.from, rig.to_b);
		assert_int_equal(at_a.reply_room, 0);
		assert_int_equal(at_a.head_bytes, 4);
		assert_memory_equal(at_a.head, "head", 4);
		assert_int_equal(at_a.bytes, sizeof(i));
		assert_memory_equal(at_a.data, &i, sizeof(i));
	}
	rig_teardown(&rig);
}

static void refuses_bad_arguments(void **state)
{
	uint8_t big[UP_AM_DATA_MAX + 1] = {0};
	struct message at_b = {0};
	struct rig rig;

	rig_setup(&rig, NULL);
	up_am_set_handler(rig.b, 1, keep, &at_b);
	assert_int_equal(up_am_set_handler(rig.a, UP_AM_HANDLERS, keep, NULL), -EINVAL);
	assert_int_equal(
		up_am_request(rig.a, rig.to_b, UP_AM_HANDLERS, NULL, 0, NULL, 0, 0, 0, NULL, NULL),
		-EINVAL);
	assert_int_equal(up_am_request(rig.a, rig.to_b, 1, big, UP_AM_HEAD_MAX + 1, NULL, 0, 0, 0,
				       NULL, NULL),
			 -EINVAL);
	assert_int_equal(
		up_am_request(rig.a, rig.to_b, 1, NULL, 0, big, sizeof(big), 0, 0, NULL, NULL),
		-EINVAL);
	assert_int_equal(up_am_request(rig.a, rig.to_b, 1, NULL, 1, NULL, 0, 0, 0, NULL, NULL),
			 -EINVAL);
	assert_int_equal(up_am_request(rig.a, rig.to_b, 1, NULL, 0, NULL, 0, 0, 1, NULL, NULL),
			 -EINVAL);
	assert_int_equal(up_am_request(rig.a, rig.to_b, 1, NULL, 0, NULL, 0,
				       UP_AM_HEAD_MAX + UP_AM_DATA_MAX + 1, 0, NULL, NULL),
			 -EINVAL);
	rig_run(&rig);
	assert_int_equal(at_b.calls, 0);
	rig_teardown(&rig);
}

static void carries_every_size(void **state)
{
	static uint8_t bytes[UP_AM_DATA_MAX];
	static struct message at_b, at_a;
	struct rig_done done = {0};
	unsigned sent = 0;
	struct rig rig;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7 + (i >> 8));
	rig_setup(&rig, NULL);
	up_am_set_handler(rig.b, 1, echo, &at_b);
	up_am_set_handler(rig.a, 2, keep, &at_a);
	for (size_t n = 0; n <= sizeof(bytes); n = n < 130 ? n + 1 : n * 2 - n % 4) {
		size_t head = n % (UP_AM_HEAD_MAX + 1);

		assert_int_equal(up_am_request(rig.a, rig.to_b, 1, bytes + 1, head, bytes, n,
					       n + head ? n + head : 1, 0, rig_done, &done),
				 0);
		rig_until(&rig, &done.calls, ++sent);
		assert_int_equal(done.bytes, head + n);
		assert_int_equal(at_a.calls, sent);
		assert_int_equal(at_a.head_bytes, head);
		assert_memory_equal(at_a.head, bytes + 1, head);
		assert_int_equal(at_a.bytes, n);
		assert_memory_equal(at_a.data, bytes, n);
	}
	rig_teardown(&rig);
}

static void unknown_handlers(void **state)
{
	struct rig_done done = {0};
	struct message at_b = {0};
	struct rig rig;

	rig_setup(&rig, NULL);
	assert_int_equal(up_am_request(rig.a, rig.to_b, 1, NULL, 0, "x", 1, 0, 0, rig_done, &done),
			 0);
	rig_until(&rig, &done.calls, 1);
	assert_int_equal(done.status, -EPROTO);
	/* Nobody is told. */
	assert_int_equal(up_am_request(rig.a, rig.to_b, 1, NULL, 0, "x", 1, 0, 0, NULL, NULL), 0);
	rig_run(&rig);
	/* The peer is none the worse for it; a reply without a handler is dropped. */
	up_am_set_handler(rig.b, 1, echo, &at_b);
	assert_int_equal(up_am_request(rig.a, rig.to_b, 1, NULL, 0, "x", 1, 1, 0, rig_done, &done),
			 0);
	rig_until(&rig, &done.calls, 2);
	assert_int_equal(done.status, 0);
	/* A handler that was taken away. */
	up_am_set_handler(rig.b, 1, NULL, NULL);
	assert_int_equal(up_am_request(rig.a, rig.to_b, 1, NULL, 0, "x", 1, 1, 0, rig_done, &done),
			 0);
	rig_until(&rig, &done.calls, 3);
	assert_int_equal(done.status, -EPROTO);
	assert_int_equal(at_b.calls, 1);
	rig_teardown(&rig);
}

static void too_big_a_reply(struct up_am *am, void *arg)
{
	uint8_t bytes[64] = {0};

	*(size_t *)arg = am->reply_room;
	assert_int_equal(up_am_reply(am, 2, bytes, 1, bytes, am->reply_room), -EINVAL);
	assert_int_equal(up_am_reply(am, UP_AM_HANDLERS, NULL, 0, NULL, 0), -EINVAL);
	if (!am->reply_room)
		assert_int_equal(up_am_reply(am, 2, NULL, 0, NULL, 0), -EINVAL);
}

/* The handler returns without a reply: the request completes all the same. */
static void handler_without_a_reply(void **state)
{
	struct rig_done done = {0};
	size_t room = 99;
	struct rig rig;

	rig_setup(&rig, NULL);
	up_am_set_handler(rig.b, 1, too_big_a_reply, &room);
	assert_int_equal(
		up_am_request(rig.a, rig.to_b, 1, NULL, 0, "xy", 2, 16, 0, rig_done, &done), 0);
	rig_until(&rig, &done.calls, 1);
	assert_int_equal(room, 16);
	assert_int_equal(done.status, 0);
	assert_int_equal(done.bytes, 2);
	assert_int_equal(up_am_request(rig.a, rig.to_b, 1, NULL, 0, NULL, 0, 0, 0, rig_done, &done),
			 0);
	rig_until(&rig, &done.calls, 2);
	assert_int_equal(room, 0);
	rig_teardown(&rig);
}

/* ---- order and full rings ---- */

struct counter {
	unsigned next;
};

static void count(struct up_am *am, void *arg)
{
	struct counter *c = arg;
	unsigned n;

	memcpy(&n, am->data, sizeof(n));
	assert_int_equal(n, c->next);
	c->next++;
}

static void keeps_order_when_full(void **state)
{
	struct counter at_b = {0};
	unsigned again = 0;
	struct rig rig;

	rig_setup(&rig, NULL);
	up_am_set_handler(rig.b, 1, count, &at_b);
	for (unsigned i = 0; i < 20000;) {
		int r = up_am_request(rig.a, rig.to_b, 1, NULL, 0, &i, sizeof(i), 0, 0, NULL, NULL);

		if (!r) {
			i++;
			continue;
		}
		assert_int_equal(r, -EAGAIN);
		again++;
		up_progress(rig.a);
		up_progress(rig.b);
	}
	rig_until(&rig, &at_b.next, 20000);
	assert_true(again > 0);
	rig_teardown(&rig);
}

static void reply_same(struct up_am *am, void *arg)
{
	assert_int_equal(up_am_reply(am, 2, NULL, 0, am->data, am->bytes), 0);
}

static unsigned fill(struct up_ep *ep, up_peer peer, struct rig_done *done, unsigned *number)
{
	static const uint8_t pad[1000];
	unsigned n = 0;
	int r;

	while (!(r = up_am_request(ep, peer, 1, NULL, 0, pad, sizeof(pad), sizeof(pad), 0, rig_done,
				   done)))
		n++;
	assert_int_equal(r, -EAGAIN);
	*number += n;
	return n;
}

/* Both ends have sent all they can before either looks: the replies have room all the same. */
static void stuck_both_ways(void **state)
{
	struct rig_done at_a = {0}, at_b = {0};
	unsigned sent_a = 0, sent_b = 0;
	struct rig rig;

	rig_setup(&rig, NULL);
	up_am_set_handler(rig.a, 1, reply_same, NULL);
	up_am_set_handler(rig.b, 1, reply_same, NULL);
	for (unsigned round = 0; round < 50; round++) {
		assert_true(fill(rig.a, rig.to_b, &at_a, &sent_a) > 0);
		assert_true(fill(rig.b, rig.to_a, &at_b, &sent_b) > 0);
		rig_until(&rig, &at_a.calls, sent_a);
		rig_until(&rig, &at_b.calls, sent_b);
		assert_int_equal(at_a.status, 0);
		assert_int_equal(at_b.status, 0);
	}
	rig_teardown(&rig);
}

/* ---- calls from handlers ---- */

struct ball {
	unsigned left;
	unsigned hits;
	unsigned refused;
};

/* A request back instead of a reply. */
static void hit_back(struct up_am *am, void *arg)
{
	struct ball *b = arg;

	b->hits++;
	if (b->left && b->left--) {
		int r = up_am_request(am->ep, am->from, 1, NULL, 0, am->data, am->bytes, 0, 0, NULL,
				      NULL);

		b->refused += r == -EAGAIN;
		assert_true(!r || r == -EAGAIN);
	}
}

static void handlers_send_requests(void **state)
{
	struct ball ball = {.left = 5000};
	struct rig rig;

	rig_setup(&rig, NULL);
	up_am_set_handler(rig.a, 1, hit_back, &ball);
	up_am_set_handler(rig.b, 1, hit_back, &ball);
	assert_int_equal(up_am_request(rig.a, rig.to_b, 1, NULL, 0, "b", 1, 0, 0, NULL, NULL), 0);
	rig_until(&rig, &ball.hits, 5001);
	rig_run(&rig);
	assert_int_equal(ball.hits, 5001);
	assert_int_equal(ball.refused, 0);
	rig_teardown(&rig);
}

/* ---- bad peers ---- */

/* Only the lane of tests can bring what no lane would send. */
static const struct up_ep_attr over_fake = {.thread = UP_THREAD_SINGLE, .lanes = "fake"};

static void forged_reply_reaches_nobody(void **state)
{
	struct up_packet p = {UP_PACKET_VERSION, UP_PKT_AM_REPLY, 0, 0, 1, 2, 0, 0};
	uint8_t packet[sizeof(p)];
	struct message at_a = {0};
	struct rig rig;

	rig_setup(&rig, &over_fake);
	up_am_set_handler(rig.a, 2, keep, &at_a);
	for (p.op = 1; p.op; p.op <<= 1) {
		up_packet_put(packet, &p);
		fake_inject(rig.a, rig.b, packet, sizeof(packet));
	}
	rig_run(&rig);
	assert_int_equal(at_a.calls, 0);
	rig_teardown(&rig);
}

/* A peer that does not reserve, and asks for more than it may: no memory of ours is overrun, and
 * it is the one who is cut off, or hears nothing. */
static void reply_room_that_was_not_reserved(void **state)
{
	struct up_packet p = {UP_PACKET_VERSION,
			      UP_PKT_AM_REQUEST,
			      0,
			      0,
			      1,
			      1,
			      UP_AM_HEAD_MAX + UP_AM_DATA_MAX,
			      0};
	uint8_t packet[sizeof(p)];
	struct rig rig;

	rig_setup(&rig, &over_fake);
	up_am_set_handler(rig.a, 1, reply_same, NULL);
	up_packet_put(packet, &p);
	for (unsigned i = 0; i < 1000; i++)
		fake_inject(rig.a, rig.b, packet, sizeof(packet));
	rig_run(&rig);
	rig_teardown(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(request_and_reply),
		cmocka_unit_test(refuses_bad_arguments),
		cmocka_unit_test(carries_every_size),
		cmocka_unit_test(unknown_handlers),
		cmocka_unit_test(handler_without_a_reply),
		cmocka_unit_test(keeps_order_when_full),
		cmocka_unit_test(stuck_both_ways),
		cmocka_unit_test(handlers_send_requests),
		cmocka_unit_test(forged_reply_reaches_nobody),
		cmocka_unit_test(reply_room_that_was_not_reserved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
