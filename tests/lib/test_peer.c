/* SPDX-License-Identifier: BSD-2-Clause */
/* Endpoints, addresses and peers (lib/core), over the lane of tests. */
#include "rig.h"

#include "core/private.h"

#include <stdlib.h>

static void refuses_rubbish_addresses(void **state)
{
	struct up_ep *ep = rig_open(NULL);
	uint8_t addr[UP_ADDR_MAX + 1] = {0}, bad[UP_ADDR_MAX];
	size_t len = up_ep_address(ep, addr);
	up_peer peer;

	assert_in_range(len, 9, UP_ADDR_MAX);
	assert_int_equal(up_peer_add(ep, NULL, len, &peer), -EINVAL);
	assert_int_equal(up_peer_add(ep, addr, sizeof(addr), &peer), -EINVAL);
	for (size_t n = 0; n < len; n++)
		assert_int_equal(up_peer_add(ep, addr, n, &peer), -EINVAL);
	assert_int_equal(up_peer_add(ep, addr, len + 1, &peer), -EINVAL);
	for (size_t bit = 0; bit < len * 8; bit++) {
		memcpy(bad, addr, len);
		bad[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(up_peer_add(ep, bad, len, &peer),
				 bit < 4 ? -EPROTONOSUPPORT : -EINVAL);
	}
	fake.blind = true;
	assert_int_equal(up_peer_add(ep, addr, len, &peer), -EHOSTUNREACH);
	fake.blind = false;
	assert_int_equal(up_peer_add(ep, addr, len, &peer), 0);
	up_ep_close(ep);
}

/* What the checksum does not save from: the lane and the length of a part are looked at too. */
static void refuses_forged_parts(void **state)
{
	struct up_ep *ep = rig_open(NULL);
	uint8_t addr[UP_ADDR_MAX], bad[UP_ADDR_MAX];
	size_t len = up_ep_address(ep, addr);
	up_peer peer;

	for (unsigned v = 0; v < 256; v++) {
		uint32_t h = 2166136261u;
		int r;

		memcpy(bad, addr, len);
		bad[6] = (uint8_t)v;
		for (size_t i = 0; i < len; i++)
			h = i < 2 || i >= 6 ? (h ^ bad[i]) * 16777619u : h;
		h = htole32(h);
		memcpy(bad + 2, &h, sizeof(h));
		r = up_peer_add(ep, bad, len, &peer);
		if (bad[6] == addr[6])
			assert_int_equal(r, 0);
		else if ((bad[6] & 63) == (addr[6] & 63))
			assert_int_equal(r, -EHOSTUNREACH);
		else
			assert_true(r == -EINVAL || r == -EHOSTUNREACH);
	}
	up_ep_close(ep);
}

static void names_peers_once(void **state)
{
	uint8_t addr[UP_ADDR_MAX], got[UP_ADDR_MAX];
	size_t len, got_len = 0;
	struct rig rig;
	up_peer first;

	rig_setup(&rig, NULL);
	first = rig.to_b;
	assert_int_equal(rig_peer(rig.a, rig.b), first);
	len = up_ep_address(rig.b, addr);
	assert_int_equal(up_peer_address(rig.a, first, got, &got_len), 0);
	assert_int_equal(got_len, len);
	assert_memory_equal(got, addr, len);

	for (unsigned i = 0; i < 200; i++) {
		up_peer_remove(rig.a, rig.to_b);
		up_peer_remove(rig.a, rig.to_b);
		assert_int_equal(up_peer_address(rig.a, rig.to_b, got, &got_len), -EINVAL);
		assert_int_equal(
			up_am_request(rig.a, rig.to_b, 1, NULL, 0, NULL, 0, 0, 0, NULL, NULL),
			-EINVAL);
		rig_run(&rig);
		rig.to_b = rig_peer(rig.a, rig.b);
		assert_int_equal(rig.to_b, first + i + 1);
	}
	assert_int_equal(fake_links(rig.a), 1);
	rig_teardown(&rig);
}

static void refuses_unknown_handles(void **state)
{
	const up_peer bad[] = {0, 2, 1000, UINT32_MAX, UP_PEER_ANY};
	struct up_ep *ep = rig_open(NULL);
	uint8_t addr[UP_ADDR_MAX];
	size_t len;

	assert_int_equal(rig_peer(ep, ep), 1);
	for (size_t i = 0; i < UP_ARRAY_SIZE(bad); i++) {
		assert_int_equal(up_am_request(ep, bad[i], 1, NULL, 0, NULL, 0, 0, 0, NULL, NULL),
				 -EINVAL);
		assert_int_equal(up_peer_address(ep, bad[i], addr, &len), -EINVAL);
		up_peer_remove(ep, bad[i]);
	}
	up_ep_close(ep);
}

/* Who makes contact has a handle before anybody added it, and the same one after. */
static void knows_who_came_first(void **state)
{
	struct up_ep *b = rig_open(NULL), *others[100];
	struct rig_seen seen = {0};

	up_am_set_handler(b, 1, rig_note, &seen);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(others); i++) {
		uint8_t addr[UP_ADDR_MAX], want[UP_ADDR_MAX];
		size_t len;
		up_peer to_b;

		others[i] = rig_open(NULL);
		to_b = rig_peer(others[i], b);
		assert_int_equal(
			up_am_request(others[i], to_b, 1, NULL, 0, NULL, 0, 0, 0, NULL, NULL), 0);
		up_progress(b);
		assert_int_equal(seen.calls, i + 1);
		assert_int_equal(up_peer_address(b, seen.from, addr, &len), 0);
		assert_int_equal(len, up_ep_address(others[i], want));
		assert_memory_equal(addr, want, len);
		assert_int_equal(rig_peer(b, others[i]), seen.from);
	}
	for (unsigned i = 0; i < UP_ARRAY_SIZE(others); i++)
		up_ep_close(others[i]);
	up_progress(b);
	up_ep_close(b);
}

static void bounds_who_comes(void **state)
{
	const struct up_ep_attr attr = {.thread = UP_THREAD_SINGLE, .max_peers = 2};
	struct up_ep *b = rig_open(&attr), *others[3];
	struct rig_seen seen = {0};

	up_am_set_handler(b, 1, rig_note, &seen);
	for (unsigned i = 0; i < 3; i++) {
		others[i] = rig_open(NULL);
		assert_int_equal(up_am_request(others[i], rig_peer(others[i], b), 1, NULL, 0, NULL,
					       0, 0, 0, NULL, NULL),
				 0);
		up_progress(b);
	}
	assert_int_equal(seen.calls, 2);
	/* One that goes makes room for another. */
	up_ep_close(others[0]);
	up_progress(b);
	others[0] = rig_open(NULL);
	assert_int_equal(up_am_request(others[0], rig_peer(others[0], b), 1, NULL, 0, NULL, 0, 0, 0,
				       NULL, NULL),
			 0);
	up_progress(b);
	assert_int_equal(seen.calls, 3);
	for (unsigned i = 0; i < 3; i++)
		up_ep_close(others[i]);
	up_ep_close(b);
}

/* A peer that left and comes again is another one to who saw it go. */
static void comes_again(void **state)
{
	struct rig_seen seen = {0};
	struct rig rig;
	up_peer before;

	rig_setup(&rig, NULL);
	before = rig.to_a;
	up_am_set_handler(rig.b, 1, rig_note, &seen);
	for (unsigned i = 1; i < 50; i++) {
		up_peer_remove(rig.a, rig.to_b);
		rig_run(&rig);
		rig.to_b = rig_peer(rig.a, rig.b);
		assert_int_equal(
			up_am_request(rig.a, rig.to_b, 1, NULL, 0, NULL, 0, 0, 0, NULL, NULL), 0);
		rig_run(&rig);
		assert_int_equal(seen.calls, i);
		assert_int_equal(seen.from, before + i);
		assert_int_equal(
			up_am_request(rig.b, rig.to_a, 1, NULL, 0, NULL, 0, 0, 0, NULL, NULL),
			-EHOSTDOWN);
		assert_int_equal(rig_peer(rig.b, rig.a), seen.from);
	}
	rig_teardown(&rig);
}

/* What came, went, and was never added does not stay for ever. */
static void forgets_who_nobody_knew(void **state)
{
	const struct up_ep_attr attr = {.thread = UP_THREAD_SINGLE, .max_peers = 10};
	struct up_ep *b = rig_open(&attr);
	struct rig_seen seen = {0};
	uint8_t addr[UP_ADDR_MAX];
	up_peer first = 0;
	size_t len;

	up_am_set_handler(b, 1, rig_note, &seen);
	for (unsigned i = 0; i < 40; i++) {
		struct up_ep *a = rig_open(NULL);

		assert_int_equal(
			up_am_request(a, rig_peer(a, b), 1, NULL, 0, NULL, 0, 0, 0, NULL, NULL), 0);
		up_progress(b);
		assert_int_equal(seen.calls, i + 1);
		/* One of them is added, and so stays. */
		if (i == 3)
			assert_int_equal(rig_peer(b, a), seen.from);
		first = i ? first : seen.from;
		up_ep_close(a);
		up_progress(b);
		assert_int_equal(up_peer_address(b, seen.from, addr, &len), 0);
	}
	assert_int_equal(up_peer_address(b, first, addr, &len), -EINVAL);
	assert_int_equal(up_peer_address(b, first + 3, addr, &len), 0);
	assert_int_equal(up_peer_address(b, first + 29, addr, &len), -EINVAL);
	assert_int_equal(up_peer_address(b, first + 30, addr, &len), 0);
	up_ep_close(b);
}

static void talks_to_itself(void **state)
{
	struct up_ep *ep = rig_open(NULL);
	struct rig_done done = {0};
	struct rig_seen seen = {0};
	up_peer self = rig_peer(ep, ep);

	up_am_set_handler(ep, 1, rig_note, &seen);
	assert_int_equal(up_am_request(ep, self, 1, NULL, 0, NULL, 0, 0, 0, rig_done, &done), 0);
	while (up_progress(ep))
		;
	assert_int_equal(seen.from, self);
	assert_int_equal(done.calls, 1);
	assert_int_equal(done.status, 0);
	up_ep_close(ep);
}

static void nobody_there(void **state)
{
	struct up_ep *ep = rig_open(NULL), *gone = rig_open(NULL);
	uint8_t addr[UP_ADDR_MAX];
	size_t len = up_ep_address(gone, addr);
	up_peer peer;

	up_ep_close(gone);
	assert_int_equal(up_peer_add(ep, addr, len, &peer), 0);
	up_progress(ep);
	assert_int_equal(up_am_request(ep, peer, 1, NULL, 0, NULL, 0, 0, 0, NULL, NULL),
			 -EHOSTDOWN);
	up_ep_close(ep);
}

static void refuses_bad_attributes(void **state)
{
	struct up_ep_attr attr = {.thread = 7};
	struct up_ep *ep;

	assert_int_equal(up_ep_open(NULL, NULL), -EINVAL);
	assert_int_equal(up_ep_open(&attr, &ep), -EINVAL);
	attr = (struct up_ep_attr){.progress = 7};
	assert_int_equal(up_ep_open(&attr, &ep), -EINVAL);
	attr = (struct up_ep_attr){.lanes = "nosuch"};
	assert_int_equal(up_ep_open(&attr, &ep), -EINVAL);
	attr = (struct up_ep_attr){.lanes = ""};
	assert_int_equal(up_ep_open(&attr, &ep), -EINVAL);
	attr = (struct up_ep_attr){.lanes = "nosuch,fake"};
	assert_int_equal(up_ep_open(&attr, &ep), 0);
	up_ep_close(ep);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuses_rubbish_addresses),
		cmocka_unit_test(refuses_forged_parts),
		cmocka_unit_test(names_peers_once),
		cmocka_unit_test(refuses_unknown_handles),
		cmocka_unit_test(knows_who_came_first),
		cmocka_unit_test(bounds_who_comes),
		cmocka_unit_test(comes_again),
		cmocka_unit_test(forgets_who_nobody_knew),
		cmocka_unit_test(talks_to_itself),
		cmocka_unit_test(nobody_there),
		cmocka_unit_test(refuses_bad_attributes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
