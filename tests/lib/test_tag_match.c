/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Matching of tagged messages: against a model that keeps two plain lists; with thousands of
 * receives and messages; and where no more messages can be kept.
 */
#include "rig.h"

#include "base/bytes.h"

#include <stdlib.h>

/* ---- the model ---- */

#define SENDERS 3
#define SLOTS 4096

struct slot {
	bool used;
	uint64_t tag, ignore;
	up_peer from; /* UP_PEER_ANY for receives */
	uint32_t id;  /* of a message */

	/* Of receives. */
	unsigned calls;
	int status;
	uint32_t data, expected;
	bool matched;
	struct up_tag_recv *handle;
};

struct model {
	struct up_ep *target, *sender[SENDERS];
	up_peer peer[SENDERS]; /* the target's */
	up_peer to_target[SENDERS];
	struct slot recvs[SLOTS], messages[SLOTS];
	unsigned nrecvs, nmessages;
	uint32_t id;
	uint64_t seed;
};

static void received(void *ctx, int status, const struct up_tag_info *info)
{
	struct slot *r = ctx;

	r->calls++;
	r->status = status;
}

static void settle(struct model *m)
{
	unsigned idle = 0;

	while (idle < 3) {
		unsigned n = up_progress(m->target);

		for (unsigned i = 0; i < SENDERS; i++)
			n += up_progress(m->sender[i]);
		idle = n ? 0 : idle + 1;
	}
}

static bool fits(const struct slot *r, const struct slot *msg)
{
	return !((r->tag ^ msg->tag) & ~r->ignore) &&
	       (r->from == UP_PEER_ANY || r->from == msg->from);
}

static struct slot *first_message(struct model *m, const struct slot *r)
{
	for (unsigned i = 0; i < m->nmessages; i++) {
		if (m->messages[i].used && fits(r, &m->messages[i]))
			return &m->messages[i];
	}
	return NULL;
}

static struct slot *first_recv(struct model *m, const struct slot *msg)
{
	for (unsigned i = 0; i < m->nrecvs; i++) {
		if (m->recvs[i].used && fits(&m->recvs[i], msg))
			return &m->recvs[i];
	}
	return NULL;
}

static void pair(struct slot *r, struct slot *msg)
{
	r->expected = msg->id;
	r->matched = true;
	r->used = msg->used = false;
}

static void random_kind(struct model *m, struct slot *r)
{
	static const uint64_t masks[] = {0, 0,	       0, 1, 3, UINT64_C(0xff00000000000000),
					 6, UINT64_MAX};
	unsigned s = (unsigned)(unit_random(&m->seed) % (SENDERS + 2));

	r->tag = unit_random(&m->seed) % 8;
	r->ignore = masks[unit_random(&m->seed) % UP_ARRAY_SIZE(masks)];
	if (r->ignore >> 56 && r->ignore != UINT64_MAX)
		r->tag |= unit_random(&m->seed) << 56;
	r->from = s < SENDERS ? m->peer[s] : UP_PEER_ANY;
}

static void post(struct model *m)
{
	struct slot *r = &m->recvs[m->nrecvs++], *msg;
	struct iovec iov = {&r->data, sizeof(r->data)};

	memset(r, 0, sizeof(*r));
	random_kind(m, r);
	r->used = true;
	msg = first_message(m, r);
	if (msg)
		pair(r, msg);
	assert_int_equal(up_tag_recv(m->target, r->from, r->tag, r->ignore, &iov, 1, received, r,
				     &r->handle),
			 0);
	settle(m);
	assert_int_equal(r->calls, msg ? 1 : 0);
}

static void send(struct model *m)
{
	struct slot *msg = &m->messages[m->nmessages++], *r;
	unsigned s = (unsigned)(unit_random(&m->seed) % SENDERS);
	struct iovec iov = {&msg->id, sizeof(msg->id)};

	*msg = (struct slot){.used = true, .id = ++m->id, .from = m->peer[s]};
	msg->tag = unit_random(&m->seed) % 8;
	r = first_recv(m, msg);
	if (r)
		pair(r, msg);
	assert_int_equal(up_tag_send(m->sender[s], m->to_target[s], msg->tag, &iov, 1, 0, UP_INJECT,
				     NULL, NULL),
			 0);
	settle(m);
	assert_int_equal(r ? r->calls : 1, 1);
}

static void cancel(struct model *m)
{
	struct slot *r;

	if (!m->nrecvs)
		return;
	r = &m->recvs[unit_random(&m->seed) % m->nrecvs];
	if (!r->used)
		return;
	assert_int_equal(up_tag_cancel(m->target, r->handle), 0);
	assert_int_equal(r->status, -ECANCELED);
	r->used = false;
}

static void peek(struct model *m)
{
	struct slot kind = {0}, *msg;
	struct up_tag_message *claim;
	struct up_tag_info info;

	random_kind(m, &kind);
	msg = first_message(m, &kind);
	if (!msg) {
		assert_int_equal(
			up_tag_peek(m->target, kind.from, kind.tag, kind.ignore, &info, &claim),
			-ENOENT);
		return;
	}
	assert_int_equal(up_tag_peek(m->target, kind.from, kind.tag, kind.ignore, &info, NULL), 0);
	assert_true(info.tag == msg->tag && info.from == msg->from);
	if (unit_random(&m->seed) % 2)
		return;
	assert_int_equal(up_tag_peek(m->target, kind.from, kind.tag, kind.ignore, &info, &claim),
			 0);
	up_tag_discard(m->target, claim);
	msg->used = false;
}

static void compare_all(struct model *m)
{
	for (unsigned i = 0; i < m->nrecvs; i++) {
		struct slot *r = &m->recvs[i];

		assert_int_equal(r->calls, r->used ? 0 : 1);
		assert_int_equal(r->data, r->expected);
	}
}

static void against_model(void **state)
{
	struct model *m = calloc(1, sizeof(*m));

	m->seed = 12345;
	m->target = rig_open(NULL);
	for (unsigned i = 0; i < SENDERS; i++) {
		m->sender[i] = rig_open(NULL);
		m->to_target[i] = rig_peer(m->sender[i], m->target);
		m->peer[i] = rig_peer(m->target, m->sender[i]);
	}
	for (unsigned i = 0; i < 9000; i++) {
		/* Phases with more receives than messages, and the other way round. */
		unsigned what = (unsigned)(unit_random(&m->seed) % 20), much = i / 500 % 2 ? 11 : 7;

		if (m->nrecvs == SLOTS || m->nmessages == SLOTS)
			break;
		if (what < much)
			send(m);
		else if (what < 17)
			post(m);
		else if (what == 17)
			cancel(m);
		else
			peek(m);
	}
	compare_all(m);
	for (unsigned i = 0; i < SENDERS; i++)
		up_ep_close(m->sender[i]);
	up_ep_close(m->target);
	free(m);
}

/* ---- many ---- */

#define MANY 20000u

static struct slot *slots;

static void send_one(struct rig *rig, uint64_t tag, uint32_t *data)
{
	struct iovec iov = {data, sizeof(*data)};
	int ret;

	do {
		ret = up_tag_send(rig->a, rig->to_b, tag, &iov, 1, 0, UP_INJECT, NULL, NULL);
		up_progress(rig->a);
		up_progress(rig->b);
	} while (ret == -EAGAIN);
	assert_int_equal(ret, 0);
}

static void recv_one(struct rig *rig, uint32_t i, uint64_t ignore, bool directed)
{
	struct iovec iov = {&slots[i].data, sizeof(slots[i].data)};

	assert_int_equal(up_tag_recv(rig->b, directed ? rig->to_a : UP_PEER_ANY, i, ignore, &iov, 1,
				     received, &slots[i], NULL),
			 0);
}

/* In the worst order for a list: the last one first. */
static void many(bool posted_first, uint64_t ignore, bool directed)
{
	struct rig rig;
	unsigned sum = 0;

	slots = calloc(MANY, sizeof(*slots));
	rig_setup(&rig, NULL);
	for (uint32_t i = 0; posted_first && i < MANY; i++)
		recv_one(&rig, i, ignore, directed);
	for (uint32_t i = MANY; i-- > 0;)
		send_one(&rig, i, &i);
	rig_run(&rig);
	for (uint32_t i = 0; !posted_first && i < MANY; i++)
		recv_one(&rig, i, ignore, directed);
	rig_run(&rig);
	for (uint32_t i = 0; i < MANY; i++) {
		sum += slots[i].calls;
		assert_int_equal(slots[i].data, i);
	}
	assert_int_equal(sum, MANY);
	rig_teardown(&rig);
	free(slots);
}

static void many_posted(void **state)
{
	many(true, 0, true);
	many(true, 0, false);
	many(true, UINT64_C(0xff) << 56, true);
}

static void many_unexpected(void **state)
{
	many(false, 0, true);
	many(false, 0, false);
	many(false, UINT64_C(0xff) << 56, true);
}

/* ---- bounds ---- */

static unsigned flood(struct rig *rig, uint64_t tag, unsigned most)
{
	uint8_t data[512] = {0};
	struct iovec iov = {data, sizeof(data)};
	unsigned n = 0, idle = 0;

	while (n < most && idle < 50) {
		data[0] = (uint8_t)n;
		if (up_tag_send(rig->a, rig->to_b, tag, &iov, 1, 0, UP_INJECT, NULL, NULL)) {
			idle++;
		} else {
			n++;
			idle = 0;
		}
		up_progress(rig->a);
		up_progress(rig->b);
	}
	return n;
}

/*
 * The sender is held up; a receive for what stands behind the rest is served all the same, and so
 * is an answer; then everything comes, in order.
 */
static void bounded(void **state)
{
	struct up_ep_attr attr = {.thread = UP_THREAD_SINGLE, .max_unexpected = 20000};
	uint32_t word = 77, got_word = 0;
	struct iovec in = {&got_word, sizeof(got_word)}, out = {&word, sizeof(word)};
	struct slot late = {0}, back = {0};
	struct rig_done sent = {0};
	struct rig rig;
	unsigned n, held;

	rig_setup(&rig, &attr);
	held = flood(&rig, 1, 100000);
	assert_in_range(held, 20, 5000);
	/* Make room behind the flood for one message of another tag. */
	for (n = 0; up_tag_send(rig.a, rig.to_b, 2, &out, 1, 0, UP_INJECT, NULL, NULL); n++) {
		uint8_t data[512];
		struct iovec iov = {data, sizeof(data)};
		struct slot one = {0};

		assert_int_equal(up_tag_recv(rig.b, rig.to_a, 1, 0, &iov, 1, received, &one, NULL),
				 0);
		assert_int_equal(one.calls, 1);
		assert_int_equal(data[0], (uint8_t)n);
		up_progress(rig.b);
		up_progress(rig.a);
	}
	/* b waits for an answer that is behind what a sent. */
	assert_int_equal(up_tag_send(rig.b, rig.to_a, 3, &out, 1, 0, UP_DELIVERED, rig_done, &sent),
			 0);
	up_tag_recv(rig.a, rig.to_b, 3, 0, &in, 1, received, &back, NULL);
	rig_until(&rig, &sent.calls, 1);
	if (!late.calls)
		up_tag_recv(rig.b, rig.to_a, 2, 0, &in, 1, received, &late, NULL);
	rig_until(&rig, &late.calls, 1);
	assert_int_equal(got_word, 77);
	for (; n < held; n++) {
		uint8_t data[512];
		struct iovec iov = {data, sizeof(data)};
		struct slot one = {0};

		up_tag_recv(rig.b, rig.to_a, 1, 0, &iov, 1, received, &one, NULL);
		rig_until(&rig, &one.calls, 1);
		assert_int_equal(data[0], (uint8_t)n);
	}
	rig_teardown(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(against_model),
		cmocka_unit_test(many_posted),
		cmocka_unit_test(many_unexpected),
		cmocka_unit_test(bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
