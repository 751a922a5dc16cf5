/* SPDX-License-Identifier: BSD-2-Clause */
/* The shm lane between endpoints of one process: order, room, ends, addresses, bad rings, memory.
 */
#include "shm_core.h"
#include "../unit/count_fds.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PACKETS 20000u

/* Two endpoints, and the first one's link to the second. */
static struct up_link *open_pair(struct end *a, struct end *b, unsigned max_peers)
{
	end_open(a, max_peers);
	end_open(b, max_peers);
	return end_connect(a, b);
}

static void close_pair(struct end *a, struct end *b)
{
	end_close(a);
	end_close(b);
}

/* Counts up from 0; refuses one in `refuse`. */
struct order {
	uint32_t next;
	unsigned refuse;
};

static bool in_order(struct end *e, struct up_link *link, const void *packet, size_t bytes)
{
	struct order *o = e->arg;

	if (o->refuse && rand() % o->refuse == 0)
		return false;
	assert_int_equal(end_check(packet, bytes), o->next);
	o->next++;
	return true;
}

static size_t some_bytes(void)
{
	switch (rand() % 4) {
	case 0:
		return SHM_MAX_PACKET - (size_t)(rand() % 64);
	case 1:
		return 4 + (size_t)rand() % (SHM_MAX_PACKET - 4);
	default:
		return 4 + (size_t)rand() % 120;
	}
}

static void order(unsigned refuse)
{
	struct order got = {.refuse = refuse};
	struct end a, b;
	struct up_link *link;

	link = open_pair(&a, &b, 0);
	b.packet = in_order;
	b.arg = &got;
	for (uint32_t n = 0; n < PACKETS;) {
		if (end_send(link, UP_LANE_REQUEST, n, some_bytes()))
			n++;
		if (rand() % 3 == 0)
			end_poll(&b);
	}
	while (got.next < PACKETS)
		end_poll(&b);
	assert_int_equal(b.npackets, PACKETS);
	close_pair(&a, &b);
}

static void test_order(void **state)
{
	order(0);
}

static void test_not_now(void **state)
{
	order(5);
}

static void test_contact(void **state)
{
	struct end a, b;
	struct up_link *ab, *ba;

	end_open(&a, 0);
	end_open(&b, 0);
	ab = end_connect(&a, &b);
	assert_ptr_equal(end_connect(&a, &b), ab);
	assert_true(end_send(ab, UP_LANE_REQUEST, 1, 24));
	end_run(&a, &b);
	assert_int_equal(b.nlinked, 1);
	assert_int_equal(b.npackets, 1);
	assert_int_equal(b.linked_bytes, 20 + SHM_ADDR_BYTES);
	/* The way back is the link that was announced. */
	ba = end_connect(&b, &a);
	assert_ptr_equal(ba, b.linked);
	assert_true(end_send(ba, UP_LANE_REQUEST, 2, SHM_MAX_PACKET));
	end_run(&a, &b);
	assert_int_equal(a.nlinked, 0);
	assert_int_equal(a.npackets, 1);
	close_pair(&a, &b);
}

static void test_contact_from_both(void **state)
{
	struct end a, b;
	struct up_link *ab, *ba;

	end_open(&a, 0);
	end_open(&b, 0);
	ab = end_connect(&a, &b);
	ba = end_connect(&b, &a);
	assert_true(end_send(ab, UP_LANE_REQUEST, 1, 24));
	assert_true(end_send(ba, UP_LANE_REQUEST, 2, 24));
	end_run(&a, &b);
	assert_int_equal(a.nlinked + b.nlinked, 0);
	assert_int_equal(a.npackets, 1);
	assert_int_equal(b.npackets, 1);
	end_close(&a);
	end_run(&b, &b);
	assert_int_equal(b.ndown, 1);
	assert_ptr_equal(b.down_link, ba);
	end_close(&b);
}

static void test_self(void **state)
{
	struct order got = {0};
	struct end a;
	struct up_link *link;

	end_open(&a, 0);
	a.packet = in_order;
	a.arg = &got;
	link = end_connect(&a, &a);
	for (uint32_t n = 0; n < 2000;) {
		if (end_send(link, UP_LANE_REQUEST, n, some_bytes()))
			n++;
		else
			end_poll(&a);
	}
	end_run(&a, &a);
	assert_int_equal(got.next, 2000);
	assert_int_equal(a.nlinked, 0);
	link->lane->ops->disconnect(link);
	end_run(&a, &a);
	assert_int_equal(a.ndown, 0);
	assert_true(up_list_empty(&((struct shm_lane *)a.lane)->links));
	end_close(&a);
}

/* Answers that the initiator has reserved always fit, whatever requests and positions there are. */
static void test_answers_have_room(void **state)
{
	struct end a, b;
	struct up_link *ab;
	size_t outstanding[1024], sum = 0;
	unsigned head = 0, tail = 0;
	uint32_t requests = 0;

	end_open(&a, 0);
	end_open(&b, 0);
	ab = end_connect(&a, &b);
	for (unsigned i = 0; i < 200000; i++) {
		size_t payload = (size_t)rand() % (SHM_MAX_PACKET - 31);
		size_t cost;

		if (rand() % 2)
			payload %= 64;
		cost = up_lane_answer_cost(payload);
		while (rand() % 4 && end_send(ab, UP_LANE_REQUEST, requests, some_bytes()))
			requests++;
		if (sum + cost <= ab->lane->answer_room && head - tail < 1024) {
			if (!end_send(ab, UP_LANE_ANSWER, 0, payload + 32))
				fail_msg("no room for an answer of %zu", payload);
			outstanding[head++ % 1024] = cost;
			sum += cost;
		} else {
			/* All that was sent arrives, and so do the answers: their room is free,
			 * though the position may not be published. */
			end_poll(&b);
			while (((struct shm_lane *)b.lane)->nhot &&
			       up_shm_rx_pending(&((struct shm_lane *)b.lane)->hot[0]->rx))
				end_poll(&b);
			while (tail != head)
				sum -= outstanding[tail++ % 1024];
			assert_int_equal(sum, 0);
		}
	}
	assert_true(requests > 10000);
	close_pair(&a, &b);
}

/* Gives back room from inside of the call for each answer, when nothing is published yet. */
static bool answer_from_inside(struct end *e, struct up_link *link, const void *packet,
			       size_t bytes)
{
	struct up_link *other = e->arg;

	if (end_check(packet, bytes) == 1)
		assert_true(end_send(other, UP_LANE_ANSWER, 1, bytes));
	return true;
}

static void test_room_is_given_back_late(void **state)
{
	struct end a, b;
	struct up_link *ab;
	size_t room = SHM_ANSWER_LINES / SHM_PACKET_LINES;

	end_open(&a, 0);
	end_open(&b, 0);
	ab = end_connect(&a, &b);
	b.packet = answer_from_inside;
	b.arg = ab;
	for (size_t i = 0; i < room; i++)
		assert_true(end_send(ab, UP_LANE_ANSWER, 1, SHM_MAX_PACKET));
	for (unsigned i = 0; i < 2000; i++) {
		while (end_send(ab, UP_LANE_REQUEST, 0, some_bytes()))
			;
		end_poll(&b);
	}
	close_pair(&a, &b);
}

/* Payload that looks like the words of packets to come is not taken for them. */
static bool no_ghost(struct end *e, struct up_link *link, const void *packet, size_t bytes)
{
	unsigned *count = e->arg;
	uint64_t first;

	memcpy(&first, packet, sizeof(first));
	assert_int_equal(first, ++*count);
	return true;
}

static void test_payload_is_no_word(void **state)
{
	struct end a, b;
	unsigned count = 0, sent = 0;
	struct shm_link *l;

	end_open(&a, 0);
	end_open(&b, 0);
	b.packet = no_ghost;
	b.arg = &count;
	l = (struct shm_link *)end_connect(&a, &b);
	while (sent < 20000) {
		size_t lines = 1 + (size_t)rand() % SHM_PACKET_LINES, bytes = lines * SHM_LINE - 8;
		uint64_t *p = up_shm_reserve(&l->base, bytes, UP_LANE_REQUEST);

		if (!p) {
			end_run(&a, &b);
			continue;
		}
		/* Each line begins with its own word of the next lap, or the one after a skip. */
		for (size_t i = 0; i < bytes / 8; i++)
			p[i] = (l->tx.seq + (i + 1) / 8 + SHM_RING_LINES) << 16 | 16;
		p[0] = ++sent;
		/* Sometimes shorter than reserved: those lines have payload too. */
		up_shm_commit(&l->base, p, rand() % 2 ? bytes : 8);
		if (rand() % 4 == 0)
			end_run(&a, &b);
	}
	end_run(&a, &b);
	assert_int_equal(count, sent);
	close_pair(&a, &b);
}

static void test_disconnect(void **state)
{
	struct order got = {0};
	struct end a, b;
	struct up_link *link;

	link = open_pair(&a, &b, 64);
	b.packet = in_order;
	b.arg = &got;
	for (uint32_t n = 0; n < 3; n++)
		assert_true(end_send(link, UP_LANE_REQUEST, n, 100));
	link->lane->ops->disconnect(link);
	end_run(&a, &b);
	assert_int_equal(got.next, 3);
	assert_int_equal(b.ndown, 1);
	assert_int_equal(b.down, -EHOSTDOWN);
	assert_ptr_equal(b.down_link, b.linked);
	assert_int_equal(a.ndown, 0);
	/* Answers to somebody who has gone go nowhere; requests have no room. */
	assert_true(end_send(b.linked, UP_LANE_ANSWER, 1, 100));
	assert_false(end_send(b.linked, UP_LANE_REQUEST, 1, 100));
	b.lane->ops->disconnect(b.linked);
	end_run(&a, &b);
	assert_true(up_list_empty(&((struct shm_lane *)a.lane)->links));
	assert_true(up_list_empty(&((struct shm_lane *)b.lane)->links));
	close_pair(&a, &b);
}

/* Slots, descriptors and memory come back, in whatever order the ends let go. */
static void test_reconnect(void **state)
{
	struct end a, b;
	unsigned fds, expected = 0;

	end_open(&a, 64);
	end_open(&b, 64);
	b.drop = true;
	fds = count_fds();
	for (uint32_t i = 0; i < 2000; i++) {
		struct up_link *link = end_connect(&a, &b);

		assert_true(end_send(link, UP_LANE_REQUEST, i, some_bytes()));
		expected++;
		if (i & 1)
			end_run(&a, &b);
		link->lane->ops->disconnect(link);
		if (i & 2)
			end_run(&a, &b);
	}
	end_run(&a, &b);
	assert_int_equal(b.npackets, expected);
	assert_int_equal(b.ndown, b.nlinked);
	assert_true(up_list_empty(&((struct shm_lane *)a.lane)->links));
	assert_true(up_list_empty(&((struct shm_lane *)b.lane)->links));
	assert_int_equal(count_fds(), fds);
	for (unsigned i = 0; i < 64; i++) {
		assert_int_equal(((struct shm_lane *)a.lane)->claims[i], 0);
		assert_int_equal(((struct shm_lane *)b.lane)->claims[i], 0);
	}
	close_pair(&a, &b);
}

static void test_close_tells(void **state)
{
	struct end a, b, c;
	struct up_link *bc;

	end_open(&a, 0);
	end_open(&b, 0);
	end_open(&c, 0);
	bc = end_connect(&b, &c);
	/* Before the other end has noticed anything. */
	assert_true(end_send(end_connect(&a, &b), UP_LANE_REQUEST, 1, 3000));
	end_close(&a);
	end_run(&b, &c);
	assert_int_equal(b.npackets, 1);
	assert_int_equal(b.ndown, 1);
	assert_int_equal(b.down, -EHOSTDOWN);
	assert_true(end_send(bc, UP_LANE_REQUEST, 1, 30));
	end_run(&b, &c);
	assert_int_equal(c.npackets, 1);
	end_close(&b);
	end_close(&c);
}

static void test_refused(void **state)
{
	struct end a, b;

	end_open(&a, 0);
	end_open(&b, 0);
	b.refuse = -EINVAL;
	assert_true(end_send(end_connect(&a, &b), UP_LANE_REQUEST, 1, 30));
	end_run(&a, &b);
	assert_int_equal(b.npackets, 0);
	assert_int_equal(a.ndown, 1);
	assert_int_equal(a.down, -EHOSTDOWN);
	close_pair(&a, &b);
}

static int try_connect(struct end *e, const struct shm_addr *a, size_t len)
{
	struct up_link *link;

	return e->lane->ops->connect(e->lane, a, len, &link);
}

static void test_full_table(void **state)
{
	static struct end many[65];
	struct shm_addr to;
	struct end b;

	end_open(&b, 1);
	to = end_addr(&b);
	for (int i = 0; i < 65; i++) {
		end_open(&many[i], 1);
		assert_int_equal(try_connect(&many[i], &to, sizeof(to)), i < 64 ? 0 : -ENOMEM);
	}
	end_run(&b, &b);
	assert_int_equal(b.nlinked, 64);
	end_close(&many[7]);
	end_run(&b, &b);
	b.lane->ops->disconnect(b.down_link);
	end_run(&b, &b);
	assert_int_equal(try_connect(&many[64], &to, sizeof(to)), 0);
	for (int i = 0; i < 65; i++)
		if (i != 7)
			end_close(&many[i]);
	end_run(&b, &b);
	assert_int_equal(b.ndown, 65);
	end_close(&b);
}

/* Polling costs what is active: the rings of silent peers are cold, and still nothing is missed. */
static void test_silent_peers(void **state)
{
	static struct end many[30];
	struct up_link *link[30];
	struct end b;

	end_open(&b, 0);
	for (int i = 0; i < 30; i++) {
		end_open(&many[i], 1);
		link[i] = end_connect(&many[i], &b);
		end_send(link[i], UP_LANE_REQUEST, 0, 24);
	}
	for (int round = 1; round < 5; round++) {
		end_run(&b, &b);
		assert_int_equal(b.npackets, 30 * round);
		for (int i = 0; i < 40000; i++)
			end_poll(&b);
		assert_true(((struct shm_lane *)b.lane)->nhot <= 1);
		for (int i = 0; i < 30; i++)
			end_send(link[i], UP_LANE_REQUEST, 0, 24);
	}
	for (int i = 0; i < 30; i++)
		end_close(&many[i]);
	end_close(&b);
}

/* What a peer takes of an endpoint's segment, with all of its ring in use. */
static void test_size_of_a_peer(void **state)
{
	struct end a, b;
	struct up_link *link;
	struct stat before, after;

	end_open(&a, 0);
	end_open(&b, 0);
	fstat(((struct shm_lane *)b.lane)->segment, &before);
	link = end_connect(&a, &b);
	for (uint32_t n = 0; n < 1000; n++) {
		assert_true(end_send(link, UP_LANE_REQUEST, n, 1000));
		end_run(&a, &b);
	}
	fstat(((struct shm_lane *)b.lane)->segment, &after);
	assert_true((after.st_blocks - before.st_blocks) * 512 <= 48 * 1024 + 2 * 4096);
	assert_true(sizeof(struct shm_link) <= 1024);
	close_pair(&a, &b);
}

static void test_get_put(void **state)
{
	struct end a, b;
	struct up_link *link;
	char target[300], x[100], y[200];
	struct iovec iov[2] = {{x, sizeof(x)}, {y, sizeof(y)}};
	uint64_t at = (uintptr_t)target;

	link = open_pair(&a, &b, 0);
	memset(x, 1, sizeof(x));
	memset(y, 2, sizeof(y));
	assert_int_equal(up_shm_put(link, iov, 2, at, sizeof(target)), 0);
	assert_int_equal(target[99], 1);
	assert_int_equal(target[100], 2);
	memset(target, 3, sizeof(target));
	assert_int_equal(up_shm_get(link, iov, 2, at, sizeof(target)), 0);
	assert_int_equal(y[199], 3);
	assert_int_equal(up_shm_get(link, iov, 2, 8, sizeof(target)), -EFAULT);
	end_close(&b);
	/* So long a process keeps its number in any case. */
	usleep(20000);
	assert_int_equal(up_shm_get(link, iov, 2, at, sizeof(target)), -EHOSTDOWN);
	end_close(&a);
}

static void test_mem(void **state)
{
	struct up_lane_window seen, again;
	struct up_lane_mem mem, bad, plain;
	struct up_link *link;
	struct end a, b;
	char *own;

	link = open_pair(&a, &b, 0);
	own = up_shm_mem_alloc(b.lane, 10000);
	assert_non_null(own);
	assert_false(up_shm_mem_holds(b.lane, own + 9000, 4000));
	assert_false(up_shm_mem_holds(b.lane, &mem, 8));
	assert_true(up_shm_mem_holds(b.lane, own + 5000, 1000));
	assert_true(up_shm_mem_share(b.lane, own + 5000, 1000, &mem));
	assert_true(up_shm_mem_map(link, &mem, 1000, &seen));
	own[5000] = 'x';
	assert_true(up_lane_enter(link, &seen));
	assert_int_equal(seen.memory[0], 'x');
	up_lane_leave(link);
	assert_true(up_shm_mem_map(link, &mem, 1000, &again));
	assert_ptr_equal(again.memory, seen.memory);
	up_shm_mem_unmap(link, &again);
	assert_int_equal(seen.memory[0], 'x');
	up_shm_mem_unmap(link, &seen);
	assert_true(up_list_empty(&((struct shm_link *)link)->maps));
	for (int i = 0; i < 5; i++) {
		bad = mem;
		bad.words[i] = i == 1 ? UINT64_MAX : bad.words[i] + (1u << 20);
		assert_false(up_shm_mem_map(link, &bad, 1000, &seen));
	}
	assert_false(up_shm_mem_map(link, &mem, 12288 - 5000 + 1, &seen));
	assert_false(up_shm_mem_map(link, &mem, SIZE_MAX, &seen));
	/* Other memory is not mapped: up_shm_get() and up_shm_put() reach it. */
	assert_true(up_shm_mem_share(b.lane, &bad, sizeof(bad), &plain));
	assert_true(up_shm_mem_map(link, &plain, sizeof(bad), &seen));
	assert_null(seen.memory);
	assert_int_equal(seen.address, (uintptr_t)&bad);
	up_shm_mem_unmap(link, &seen);
	assert_false(up_shm_mem_map(link, &plain, SIZE_MAX, &seen));
	up_shm_mem_free(b.lane, own);
	assert_false(up_shm_mem_map(link, &mem, 1000, &seen));
	assert_null(up_shm_mem_alloc(b.lane, SIZE_MAX));
	assert_non_null(up_shm_mem_alloc(b.lane, 1));
	close_pair(&a, &b);
}

/* What was taken back cannot be entered, also when its word says something for somebody else. */
static void test_unshare(void **state)
{
	struct up_lane_window w, other;
	struct up_lane_mem mem, next;
	struct up_link *link;
	struct end a, b;
	char *own;

	link = open_pair(&a, &b, 0);
	end_run(&a, &b);
	own = up_shm_mem_alloc(b.lane, 4096);
	for (unsigned i = 0; i < 3 * SHM_SHARES; i++) {
		assert_true(up_shm_mem_share(b.lane, own, 4096, &mem));
		assert_true(up_shm_mem_map(link, &mem, 4096, &w));
		assert_true(up_lane_enter(link, &w));
		up_lane_leave(link);
		up_shm_mem_unshare(b.lane, &mem);
		assert_false(up_lane_enter(link, &w));
		assert_int_equal(*link->turn & 1, 0);
		assert_true(up_shm_mem_share(b.lane, own, 4096, &next));
		assert_true(up_shm_mem_map(link, &next, 4096, &other));
		assert_true(up_lane_enter(link, &other));
		up_lane_leave(link);
		assert_false(up_lane_enter(link, &w));
		up_shm_mem_unmap(link, &w);
		up_shm_mem_unmap(link, &other);
		up_shm_mem_unshare(b.lane, &next);
	}
	for (unsigned i = 0; i < SHM_SHARES; i++)
		assert_true(up_shm_mem_share(b.lane, own, 4096, &mem));
	assert_false(up_shm_mem_share(b.lane, own, 4096, &next));
	up_shm_mem_unshare(b.lane, &mem);
	assert_true(up_shm_mem_share(b.lane, own, 4096, &next));
	/* A link that has ended leads nowhere. */
	assert_true(up_shm_mem_map(link, &next, 4096, &w));
	up_shm_disconnect(link);
	assert_false(up_lane_enter(link, &w));
	close_pair(&a, &b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_contact),
		cmocka_unit_test(test_contact_from_both),
		cmocka_unit_test(test_self),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_not_now),
		cmocka_unit_test(test_answers_have_room),
		cmocka_unit_test(test_room_is_given_back_late),
		cmocka_unit_test(test_payload_is_no_word),
		cmocka_unit_test(test_disconnect),
		cmocka_unit_test(test_reconnect),
		cmocka_unit_test(test_close_tells),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_full_table),
		cmocka_unit_test(test_silent_peers),
		cmocka_unit_test(test_size_of_a_peer),
		cmocka_unit_test(test_get_put),
		cmocka_unit_test(test_mem),
		cmocka_unit_test(test_unshare),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
