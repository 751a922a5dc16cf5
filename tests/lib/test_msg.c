/* SPDX-License-Identifier: BSD-2-Clause */
/* Messages without a tag (underpass/tag.h), and receives for several of them. */
#include "rig.h"

#include <stdlib.h>

#define MOST 16u
#define LARGE ((size_t)100000)

/* What a receive was told. */
struct got {
	unsigned calls;
	int status[MOST];
	struct up_tag_info info[MOST];
};

static void received(void *ctx, int status, const struct up_tag_info *info)
{
	struct got *got = ctx;

	assert_in_range(got->calls, 0, MOST - 1);
	got->status[got->calls] = status;
	got->info[got->calls++] = *info;
}

static uint8_t *pattern(size_t n)
{
	uint8_t *data = malloc(n);

	for (size_t i = 0; i < n; i++)
		data[i] = (uint8_t)(i * 3 + 1);
	return data;
}

static void send(struct rig *rig, const uint8_t *from, size_t len, struct rig_done *done)
{
	struct iovec iov = {(void *)(uintptr_t)from, len};

	while (up_msg_send(rig->a, rig->to_b, &iov, 1, 0, 0, rig_done, done) == -EAGAIN)
		rig_run(rig);
}

/* Each kind of message passes by the receives of the other. */
static void kinds_apart(void **state)
{
	uint8_t *from = pattern(LARGE), *to = malloc(2 * LARGE);
	struct iovec out = {from, 0}, in = {to, LARGE}, in2 = {to + LARGE, LARGE};
	struct rig_done sent[2] = {0};
	struct got tagged = {0}, plain = {0};
	struct rig rig;

	rig_setup(&rig, NULL);
	for (int i = 0; i < 2; i++) {
		out.iov_len = i ? LARGE : 8;
		assert_int_equal(up_tag_recv(rig.b, UP_PEER_ANY, 0, UINT64_MAX, &in, 1, received,
					     &tagged, NULL),
				 0);
		send(&rig, from, out.iov_len, &sent[0]);
		rig_run(&rig);
		assert_int_equal(tagged.calls, i);
		assert_int_equal(up_msg_recv(rig.b, rig.to_a, &in2, 1, received, &plain, NULL), 0);
		assert_int_equal(up_tag_send(rig.a, rig.to_b, 0, &out, 1, 0, 0, rig_done, &sent[1]),
				 0);
		rig_until(&rig, &tagged.calls, i + 1);
		rig_until(&rig, &plain.calls, i + 1);
		assert_int_equal(plain.info[i].bytes, out.iov_len);
		assert_int_equal(plain.info[i].tag, 0);
		assert_memory_equal(to + LARGE, from, out.iov_len);
	}
	rig_teardown(&rig);
	free(from);
	free(to);
}

/* Posted before, between and after messages, small ones and large ones. */
static void several(void **state)
{
	static const size_t lens[] = {10, LARGE, 0, 7, LARGE, 20};
	uint8_t *from = pattern(LARGE), *to = malloc(3 * LARGE);

	for (unsigned post = 0; post <= 6; post++) {
		struct rig_done sent[6] = {0};
		struct got got = {0};
		struct rig rig;
		size_t sum = 0;

		rig_setup(&rig, NULL);
		for (unsigned i = 0; i <= 6; i++) {
			if (i == post) {
				rig_run(&rig);
				assert_int_equal(up_msg_recv_multi(rig.b, UP_PEER_ANY, to,
								   2 * LARGE + 100, 64, received,
								   &got, NULL),
						 0);
			}
			if (i < 6)
				send(&rig, from, lens[i], &sent[i]);
		}
		rig_until(&rig, &got.calls, 6);
		for (unsigned i = 0; i < 6; i++) {
			const struct up_tag_info *info = &got.info[i];

			assert_int_equal(got.status[i], 0);
			assert_memory_equal(info->data, from, info->bytes);
			assert_int_equal(info->last, i == 5);
			sum += info->bytes;
			rig_until(&rig, &sent[i].calls, 1);
			assert_int_equal(sent[i].status, 0);
		}
		assert_int_equal(sum, 2 * LARGE + 37);
		rig_teardown(&rig);
	}
	free(from);
	free(to);
}

/* A message that is longer than what is left. */
static void cut_off(void **state)
{
	uint8_t *from = pattern(LARGE), to[100];
	struct rig_done sent[2] = {0};

	for (int large = 0; large < 2; large++) {
		struct got got = {0};
		struct rig rig;

		rig_setup(&rig, NULL);
		assert_int_equal(
			up_msg_recv_multi(rig.b, rig.to_a, to, sizeof(to), 0, received, &got, NULL),
			0);
		send(&rig, from, 60, &sent[0]);
		send(&rig, from, large ? LARGE : 60, &sent[1]);
		rig_until(&rig, &got.calls, 2);
		assert_int_equal(got.status[0], 0);
		assert_false(got.info[0].last);
		assert_int_equal(got.status[1], -EMSGSIZE);
		assert_true(got.info[1].last);
		assert_memory_equal(to + 60, from, 40);
		rig_teardown(&rig);
	}
	free(from);
}

/* Cancelled: at once, or, with a message on its way, after that. */
static void cancelled(void **state)
{
	uint8_t *from = pattern(LARGE), *to = malloc(2 * LARGE);

	for (int busy = 0; busy < 2; busy++) {
		struct rig_done sent = {0};
		struct up_tag_recv *recv;
		struct got got = {0};
		struct rig rig;

		rig_setup(&rig, NULL);
		fake.direct = false;
		assert_int_equal(up_msg_recv_multi(rig.b, UP_PEER_ANY, to, 2 * LARGE, 1, received,
						   &got, &recv),
				 0);
		if (busy) {
			send(&rig, from, LARGE, &sent);
			up_progress(rig.b);
		}
		assert_int_equal(up_tag_cancel(rig.b, recv), 0);
		if (!got.calls)
			assert_int_equal(up_tag_cancel(rig.b, recv), -ENOENT);
		rig_until(&rig, &got.calls, 1 + (unsigned)busy);
		assert_int_equal(got.status[busy], -ECANCELED);
		assert_true(got.info[busy].last);
		if (busy)
			assert_int_equal(got.status[0], 0);
		rig_teardown(&rig);
	}
	free(from);
	free(to);
}

/* The peer goes: a receive from it alone ends, and so does one that is open when the endpoint does.
 */
static void peer_goes(void **state)
{
	struct got from_a = {0}, any = {0};
	uint8_t to[64];
	struct rig rig;

	rig_setup(&rig, NULL);
	assert_int_equal(up_msg_recv_multi(rig.b, rig.to_a, to, 32, 1, received, &from_a, NULL), 0);
	assert_int_equal(
		up_msg_recv_multi(rig.b, UP_PEER_ANY, to + 32, 32, 1, received, &any, NULL), 0);
	up_peer_remove(rig.b, rig.to_a);
	rig_until(&rig, &from_a.calls, 1);
	assert_int_equal(from_a.status[0], -ECANCELED);
	assert_true(from_a.info[0].last);
	assert_int_equal(any.calls, 0);
	rig_teardown(&rig);
	assert_int_equal(any.calls, 1);
	assert_int_equal(any.status[0], -ECANCELED);
}

static void bad_arguments(void **state)
{
	struct got got = {0};
	uint8_t to[8];
	struct rig rig;

	rig_setup(&rig, NULL);
	assert_int_equal(up_msg_recv_multi(rig.b, UP_PEER_ANY, to, 0, 1, received, &got, NULL),
			 -EINVAL);
	assert_int_equal(up_msg_recv_multi(rig.b, UP_PEER_ANY, to, 8, 1, NULL, &got, NULL),
			 -EINVAL);
	assert_int_equal(up_msg_recv_multi(rig.b, 999, to, 8, 1, received, &got, NULL), -EINVAL);
	assert_int_equal(up_msg_send(rig.a, rig.to_b, NULL, 0, 0, 1u << 16, NULL, NULL), -EINVAL);
	assert_int_equal(got.calls, 0);
	rig_teardown(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kinds_apart), cmocka_unit_test(several),
		cmocka_unit_test(cut_off),     cmocka_unit_test(cancelled),
		cmocka_unit_test(peer_goes),   cmocka_unit_test(bad_arguments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
