/* SPDX-License-Identifier: BSD-2-Clause */
/* Tagged messages (underpass/tag.h): moving them, whole and in pieces, and how they end. */
#include "rig.h"

#include "base/bytes.h"

#include <stdlib.h>

#define MOST ((size_t)4 << 20)

struct got {
	unsigned calls;
	int status;
	struct up_tag_info info;
};

static void received(void *ctx, int status, const struct up_tag_info *info)
{
	struct got *got = ctx;

	got->calls++;
	got->status = status;
	got->info = *info;
}

static void fill(uint8_t *data, size_t n, uint64_t seed)
{
	seed = seed * 2 + 1;
	for (size_t i = 0; i < n; i++)
		data[i] = (uint8_t)(unit_random(&seed) >> 32);
}

/* Cuts a buffer into pieces, some of them empty. */
static size_t cut(struct iovec *iov, uint8_t *data, size_t bytes, size_t n, uint64_t *seed)
{
	size_t at = 0;

	for (size_t i = 0; i < n; i++) {
		size_t left = bytes - at;
		size_t len = i + 1 == n ? left : left ? unit_random(seed) % (left + 1) : 0;

		iov[i] = (struct iovec){.iov_base = data + at, .iov_len = len};
		at += len;
	}
	return n;
}

static int send_retry(struct rig *rig, uint64_t tag, const struct iovec *iov, size_t n,
		      uint64_t imm, unsigned flags, struct rig_done *done)
{
	int ret;

	do {
		ret = up_tag_send(rig->a, rig->to_b, tag, iov, n, imm, flags, rig_done, done);
		if (ret == -EAGAIN) {
			up_progress(rig->a);
			up_progress(rig->b);
		}
	} while (ret == -EAGAIN);
	return ret;
}

/* One message; the receive is posted before or after it has come. */
static void one(struct rig *rig, size_t bytes, bool before, unsigned flags, uint64_t *seed)
{
	uint8_t *from = malloc(bytes + 1), *to = calloc(1, bytes + 1);
	uint64_t tag = unit_random(seed), imm = unit_random(seed);
	struct iovec source[UP_IOV_MAX], target[UP_IOV_MAX];
	bool pieces = unit_random(seed) % 2;
	size_t ns, nt;
	struct rig_done sent = {0};
	struct got got = {0};

	fill(from, bytes, bytes);
	ns = cut(source, from, bytes, pieces ? 1 + unit_random(seed) % UP_IOV_MAX : 1, seed);
	nt = cut(target, to, bytes, pieces ? 1 + unit_random(seed) % UP_IOV_MAX : 1, seed);
	if (before)
		assert_int_equal(
			up_tag_recv(rig->b, rig->to_a, tag, 0, target, nt, received, &got, NULL),
			0);
	assert_int_equal(send_retry(rig, tag, source, ns, imm, flags, &sent), 0);
	if (!before) {
		rig_run(rig);
		assert_int_equal(
			up_tag_recv(rig->b, UP_PEER_ANY, tag, 0, target, nt, received, &got, NULL),
			0);
	}
	rig_until(rig, &got.calls, 1);
	if (!(flags & UP_INJECT))
		rig_until(rig, &sent.calls, 1);
	rig_run(rig);
	assert_int_equal(got.calls, 1);
	assert_int_equal(sent.calls, !(flags & UP_INJECT));
	assert_int_equal(got.status, 0);
	assert_int_equal(sent.status, 0);
	assert_int_equal(got.info.bytes, bytes);
	assert_int_equal(sent.bytes, flags & UP_INJECT ? 0 : bytes);
	assert_int_equal(got.info.from, rig->to_a);
	assert_true(got.info.tag == tag);
	assert_int_equal(got.info.has_imm, !!(flags & UP_IMM));
	assert_true(got.info.imm == (flags & UP_IMM ? imm : 0));
	assert_memory_equal(from, to, bytes);
	free(from);
	free(to);
}

static void sizes(bool direct)
{
	static const size_t edges[] = {
		0,    1,    7,	  8,	24,    25,    63,     64,      1000,	      4096,
		4312, 4313, 8160, 8161, 16384, 65536, 100000, 1 << 20, (1 << 20) + 1, MOST};
	uint64_t seed = 77;
	struct rig rig;

	fake.direct = direct;
	rig_setup(&rig, NULL);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(edges); i++) {
		for (unsigned how = 0; how < 8; how++)
			one(&rig, edges[i], how & 1,
			    (how & 2 ? UP_IMM : 0u) | (how & 4 ? UP_DELIVERED : 0u), &seed);
		if (edges[i] <= UP_INJECT_MAX) {
			one(&rig, edges[i], false, UP_INJECT, &seed);
			one(&rig, edges[i], true, UP_INJECT | UP_DELIVERED, &seed);
		}
	}
	for (unsigned i = 0; i < 300; i++)
		one(&rig, unit_random(&seed) % ((size_t)1 << unit_random(&seed) % 20), i & 1,
		    i & 2 ? UP_DELIVERED : 0, &seed);
	rig_teardown(&rig);
}

static void all_sizes(void **state)
{
	sizes(false);
}

static void all_sizes_direct(void **state)
{
	sizes(true);
}

static void truncation(void **state)
{
	static const size_t lengths[] = {100, 4000, 300000};
	uint8_t *from = malloc(MOST), *to = malloc(MOST);
	struct rig rig;

	rig_setup(&rig, NULL);
	fill(from, MOST, 3);
	for (unsigned i = 0; i < 12; i++) {
		size_t bytes = lengths[i % 3];
		struct iovec source = {from, bytes}, target = {to, bytes - 1 - i};
		struct rig_done sent = {0};
		struct got got = {0};

		memset(to, 0xee, bytes);
		if (i & 1)
			up_tag_recv(rig.b, rig.to_a, i, 0, &target, i % 4 == 3 ? 0 : 1, received,
				    &got, NULL);
		assert_int_equal(send_retry(&rig, i, &source, 1, 0, UP_DELIVERED, &sent), 0);
		rig_run(&rig);
		if (!(i & 1))
			up_tag_recv(rig.b, rig.to_a, i, 0, &target, 1, received, &got, NULL);
		rig_until(&rig, &sent.calls, 1);
		rig_until(&rig, &got.calls, 1);
		assert_int_equal(sent.status, 0);
		assert_int_equal(got.status, -EMSGSIZE);
		assert_int_equal(got.info.bytes, bytes);
		if (i % 4 != 3)
			assert_memory_equal(to, from, target.iov_len);
		assert_int_equal(to[bytes - 1], 0xee);
	}
	rig_teardown(&rig);
	free(from);
	free(to);
}

static void bad_arguments(void **state)
{
	struct iovec huge[2] = {{NULL, SIZE_MAX / 2}, {NULL, SIZE_MAX / 2}};
	struct iovec small = {state, 8}, many[UP_IOV_MAX + 1] = {0};
	uint8_t big[UP_INJECT_MAX + 1];
	struct iovec inject = {big, sizeof(big)};
	struct got got = {0};
	struct rig rig;

	rig_setup(&rig, NULL);
	assert_int_equal(up_tag_send(rig.a, rig.to_b, 1, huge, 2, 0, 0, NULL, NULL), -EINVAL);
	assert_int_equal(up_tag_send(rig.a, rig.to_b, 1, many, UP_IOV_MAX + 1, 0, 0, NULL, NULL),
			 -EINVAL);
	assert_int_equal(up_tag_send(rig.a, rig.to_b, 1, &inject, 1, 0, UP_INJECT, NULL, NULL),
			 -EINVAL);
	assert_int_equal(up_tag_send(rig.a, rig.to_b, 1, &small, 1, 0, 1u << 9, NULL, NULL),
			 -EINVAL);
	assert_int_equal(up_tag_send(rig.a, 999, 1, &small, 1, 0, 0, NULL, NULL), -EINVAL);
	assert_int_equal(up_tag_recv(rig.a, 999, 1, 0, &small, 1, received, &got, NULL), -EINVAL);
	assert_int_equal(up_tag_recv(rig.a, rig.to_b, 1, 0, huge, 2, received, &got, NULL),
			 -EINVAL);
	assert_int_equal(got.calls, 0);
	rig_teardown(&rig);
}

/* Everything that is open ends once, at both ends. */
static void check_open(struct rig *rig, int status, bool close)
{
	size_t big = 1 << 20;
	uint8_t *from = malloc(big), *to = malloc(big);
	struct iovec source = {from, big}, target = {to, big};
	struct rig_done sent[4] = {0};
	struct got got[4] = {0};

	fill(from, big, 4);
	/* Matched and moving, waiting for its receive, claimed, behind a fence. */
	assert_int_equal(send_retry(rig, 1, &source, 1, 0, 0, &sent[0]), 0);
	assert_int_equal(send_retry(rig, 2, &source, 1, 0, 0, &sent[1]), 0);
	assert_int_equal(send_retry(rig, 3, &source, 1, 0, UP_FENCE, &sent[2]), 0);
	up_progress(rig->b);
	assert_int_equal(
		up_tag_recv(rig->b, UP_PEER_ANY, 1, 0, &target, 1, received, &got[0], NULL), 0);
	assert_int_equal(up_tag_recv(rig->b, rig->to_a, 99, 0, &target, 1, received, &got[1], NULL),
			 0);
	assert_int_equal(got[0].calls, 0);
	if (close) {
		up_ep_close(rig->b);
		rig->b = NULL;
	} else {
		fake_break(rig->a, rig->b);
		rig_until(rig, &got[0].calls, 1);
		rig_until(rig, &got[1].calls, 1);
		rig_until(rig, &sent[0].calls, 1);
		assert_int_equal(
			up_tag_recv(rig->b, rig->to_a, 99, 0, &target, 1, received, &got[1], NULL),
			-EHOSTDOWN);
		assert_int_equal(
			up_tag_recv(rig->b, UP_PEER_ANY, 2, 0, &target, 1, received, &got[2], NULL),
			0);
	}
	for (unsigned i = 0; i < 10; i++)
		up_progress(rig->a);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(got[i].calls, 1);
		assert_int_equal(got[i].status, status);
	}
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(sent[i].calls, 1);
		assert_int_equal(sent[i].status, -EHOSTDOWN);
	}
	assert_int_equal(up_tag_send(rig->a, rig->to_b, 1, &source, 1, 0, 0, NULL, NULL),
			 -EHOSTDOWN);
	if (rig->b)
		up_ep_close(rig->b);
	up_ep_close(rig->a);
	assert_int_equal(got[2].calls, !close);
	if (!close)
		assert_int_equal(got[2].status, -ECANCELED);
	free(from);
	free(to);
}

/* Only the lane of tests breaks at a wish, and moves nothing by itself. */
static const struct up_ep_attr on_fake = {.thread = UP_THREAD_SINGLE, .lanes = "fake"};

static void broken_lane(void **state)
{
	struct rig rig;

	fake.direct = false;
	rig_setup(&rig, &on_fake);
	check_open(&rig, -EHOSTDOWN, false);
}

static void close_with_open(void **state)
{
	struct rig rig;

	fake.direct = false;
	rig_setup(&rig, &on_fake);
	check_open(&rig, -ECANCELED, true);
}

struct again {
	struct rig *rig;
	unsigned calls, refused;
};

/* An application that posts and sends again at every end, whatever it was. */
static void post_again(void *ctx, int status, const struct up_tag_info *info)
{
	static uint8_t data[100000];
	struct iovec iov = {data, sizeof(data)};
	struct again *again = ctx;
	int ret;

	again->calls++;
	up_tag_send(again->rig->b, again->rig->to_a, 3, &iov, 1, 0, 0, NULL, NULL);
	ret = up_tag_recv(again->rig->b, again->rig->to_a, 1, 0, &iov, 1, post_again, again, NULL);
	again->refused += ret != 0;
	ret = up_tag_recv(again->rig->b, UP_PEER_ANY, 1, 0, &iov, 1, post_again, again, NULL);
	again->refused += ret != 0;
}

static void post_again_at_the_end(void **state)
{
	struct up_tag_info info = {0};
	struct rig rig;

	for (unsigned how = 0; how < 2; how++) {
		struct again again = {.rig = &rig};

		rig_setup(&rig, NULL);
		post_again(&again, 0, &info);
		assert_int_equal(again.refused, 0);
		if (how)
			up_peer_remove(rig.b, rig.to_a);
		rig_run(&rig);
		up_ep_close(rig.b);
		assert_in_range(again.refused, 1, 100);
		up_ep_close(rig.a);
	}
}

static void cancel(void **state)
{
	uint8_t data[8] = {0};
	struct iovec iov = {data, 8};
	struct rig_done sent = {0};
	struct up_tag_recv *recv[3];
	struct got got[3] = {0};
	struct rig rig;

	rig_setup(&rig, NULL);
	for (unsigned i = 0; i < 3; i++)
		up_tag_recv(rig.b, rig.to_a, 5, 0, &iov, 1, received, &got[i], &recv[i]);
	assert_int_equal(up_tag_cancel(rig.b, recv[0]), 0);
	assert_int_equal(got[0].calls, 1);
	assert_int_equal(got[0].status, -ECANCELED);
	send_retry(&rig, 5, &iov, 1, 0, 0, &sent);
	rig_until(&rig, &got[1].calls, 1);
	assert_int_equal(got[1].status, 0);
	assert_int_equal(up_tag_cancel(rig.b, recv[1]), -ENOENT);
	assert_int_equal(up_tag_cancel(rig.b, recv[2]), 0);
	assert_int_equal(got[2].status, -ECANCELED);
	rig_teardown(&rig);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(got[i].calls, 1);
}

static void peek_and_claim(void **state)
{
	size_t lengths[] = {10, 200000};
	uint8_t *from = malloc(200000), *to = malloc(200000);
	struct rig rig;

	rig_setup(&rig, NULL);
	fill(from, 200000, 1);
	for (unsigned i = 0; i < 8; i++) {
		struct iovec source = {from, lengths[i & 1]}, target = {to, lengths[i & 1]};
		struct up_tag_message *claim, *none;
		struct rig_done sent = {0};
		struct up_tag_info info;
		struct got got = {0};
		uint64_t start;

		assert_int_equal(up_tag_peek(rig.b, UP_PEER_ANY, 7, 1, &info, NULL), -ENOENT);
		send_retry(&rig, 6, &source, 1, 0xabc, UP_IMM | UP_DELIVERED, &sent);
		start = rig_now_us();
		while (up_tag_peek(rig.b, rig.to_a, 7, 1, &info, NULL)) {
			rig_run(&rig);
			rig_patience(start);
		}
		assert_int_equal(info.bytes, lengths[i & 1]);
		assert_int_equal(info.tag, 6);
		assert_int_equal(info.imm, 0xabc);
		assert_int_equal(info.from, rig.to_a);
		assert_int_equal(up_tag_peek(rig.b, rig.to_a, 6, 0, &info, &claim), 0);
		assert_int_equal(up_tag_peek(rig.b, rig.to_a, 6, 0, &info, &none), -ENOENT);
		if (i & 2) {
			up_tag_discard(rig.b, claim);
		} else {
			up_tag_recv_claimed(rig.b, claim, &target, 1, received, &got);
			rig_until(&rig, &got.calls, 1);
			assert_int_equal(got.status, 0);
			assert_memory_equal(from, to, target.iov_len);
		}
		rig_until(&rig, &sent.calls, 1);
		assert_int_equal(sent.status, 0);
	}
	rig_teardown(&rig);
	free(from);
	free(to);
}

/* ---- completion levels ---- */

struct level {
	uint8_t *from, *to;
	size_t bytes;
	unsigned calls;
	bool placed; /* when it ended */
};

static bool all_are(const uint8_t *mem, size_t bytes, uint8_t value)
{
	for (size_t i = 0; i < bytes; i++) {
		if (mem[i] != value)
			return false;
	}
	return true;
}

/* From here on the buffer is the application's. */
static void level_ended(void *ctx, int status, size_t bytes)
{
	struct level *l = ctx;

	assert_int_equal(status, 0);
	l->calls++;
	l->placed = all_are(l->to, l->bytes, 7);
	memset(l->from, 0xff, l->bytes);
}

/* The receive comes late: who asked for no more has its buffer back by then, where the message is
 * short; who wants to know of the delivery waits for it. */
static void levels(void **state)
{
	static const size_t lengths[] = {8, 4000, 300000};
	static const unsigned flags[] = {UP_INJECT, 0, UP_DELIVERED};
	struct level l = {malloc(300000), malloc(300000), 0, 0, false};
	struct rig rig;

	for (unsigned i = 0; i < 18; i++) {
		unsigned how = flags[i / 2 % 3];
		struct iovec source, target;
		struct got got = {0};

		l.bytes = lengths[i / 6];
		l.calls = 0;
		if (how & UP_INJECT && l.bytes > UP_INJECT_MAX)
			continue;
		fake.direct = i % 2;
		rig_setup(&rig, NULL);
		source = (struct iovec){l.from, l.bytes};
		target = (struct iovec){l.to, l.bytes};
		memset(l.from, 7, l.bytes);
		memset(l.to, 0, l.bytes);
		assert_int_equal(
			up_tag_send(rig.a, rig.to_b, 1, &source, 1, 0, how, level_ended, &l), 0);
		if (how & UP_INJECT)
			memset(l.from, 0xff, l.bytes);
		rig_run(&rig);
		if (how & UP_DELIVERED)
			assert_int_equal(l.calls, 0);
		else if (!how && l.bytes <= 4000)
			assert_int_equal(l.calls, 1);
		up_tag_recv(rig.b, rig.to_a, 1, 0, &target, 1, received, &got, NULL);
		rig_until(&rig, &got.calls, 1);
		if (!(how & UP_INJECT))
			rig_until(&rig, &l.calls, 1);
		if (how & UP_DELIVERED)
			assert_true(l.placed);
		rig_run(&rig);
		assert_int_equal(l.calls, how & UP_INJECT ? 0 : 1);
		assert_true(all_are(l.to, l.bytes, 7));
		rig_teardown(&rig);
	}
	free(l.from);
	free(l.to);
}

/* Nothing behind a fence starts before what came before it has ended. */
static void fence(void **state)
{
	size_t big = 100000;
	uint8_t *from = malloc(big), *to = malloc(big), small[8] = {1};
	struct iovec source = {from, big}, target = {to, big}, little = {small, 8};
	struct rig_done sent[3] = {0};
	struct got got[3] = {0};
	struct rig rig;

	fake.direct = false;
	rig_setup(&rig, NULL);
	fill(from, big, 9);
	send_retry(&rig, 1, &source, 1, 0, 0, &sent[0]);
	send_retry(&rig, 2, &little, 1, 0, UP_FENCE | UP_INJECT, &sent[1]);
	small[0] = 2;
	assert_int_equal(up_tag_send(rig.a, rig.to_b, 3, &little, 1, 0, 0, NULL, NULL), -EAGAIN);
	up_tag_recv(rig.b, rig.to_a, 2, 0, &little, 1, received, &got[1], NULL);
	rig_run(&rig);
	assert_int_equal(got[1].calls, 0);
	/* The other way it goes on. */
	assert_int_equal(up_tag_send(rig.b, rig.to_a, 4, &source, 1, 0, 0, rig_done, &sent[2]), 0);
	up_tag_recv(rig.a, rig.to_b, 4, 0, &target, 1, received, &got[2], NULL);
	rig_until(&rig, &got[2].calls, 1);
	assert_int_equal(got[1].calls, 0);
	up_tag_recv(rig.b, rig.to_a, 1, 0, &target, 1, received, &got[0], NULL);
	rig_until(&rig, &got[0].calls, 1);
	rig_until(&rig, &got[1].calls, 1);
	assert_int_equal(small[0], 1);
	rig_teardown(&rig);
	assert_int_equal(sent[1].calls, 0);
	free(from);
	free(to);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_sizes),
		cmocka_unit_test(all_sizes_direct),
		cmocka_unit_test(truncation),
		cmocka_unit_test(bad_arguments),
		cmocka_unit_test(post_again_at_the_end),
		cmocka_unit_test(cancel),
		cmocka_unit_test(peek_and_claim),
		cmocka_unit_test(levels),
		cmocka_unit_test(fence),
		cmocka_unit_test(broken_lane),
		cmocka_unit_test(close_with_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
