/* SPDX-License-Identifier: BSD-2-Clause */
/* The shm lane and peers that lie: in their addresses, contacts, rings and positions. */
#include "shm_core.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A guard against hanging. */
#define PATIENCE_MS 60000

static int try_connect(struct end *e, const struct shm_addr *a, size_t len)
{
	struct up_link *link;

	return e->lane->ops->connect(e->lane, a, len, &link);
}

static void test_addresses(void **state)
{
	struct end a, b;
	struct shm_addr good, bad;

	end_open(&a, 0);
	end_open(&b, 0);
	good = bad = end_addr(&b);
	assert_int_equal(try_connect(&a, &good, SHM_ADDR_BYTES - 1), -EINVAL);
	bad.host++;
	assert_int_equal(try_connect(&a, &bad, sizeof(bad)), -EHOSTUNREACH);
	bad = good;
	bad.slots = 77;
	assert_int_equal(try_connect(&a, &bad, sizeof(bad)), -EINVAL);
	/* What was right once: the endpoint is gone, or its numbers mean something else. */
	for (int i = 0; i < 4; i++) {
		bad = good;
		bad.cookie += i == 0;
		bad.segment = i == 1 ? good.pipe : good.segment;
		bad.pipe = i == 2 ? 0 : good.pipe;
		bad.pid = i == 3 ? 4194303 : good.pid;
		assert_int_equal(try_connect(&a, &bad, sizeof(bad)), 0);
		end_run(&a, &b);
		assert_int_equal(a.ndown, i + 1);
		assert_int_equal(a.down, -EHOSTDOWN);
		a.lane->ops->disconnect(a.down_link);
	}
	end_run(&a, &b);
	assert_true(up_list_empty(&((struct shm_lane *)a.lane)->links));
	end_close(&a);
	end_close(&b);
}

/* What a peer with bad intentions may write into its ring. */
enum bad { BAD_LENGTH, BAD_MARK, BAD_WRAP, BAD_LAP, BAD_ACROSS, BAD_POSITION, BADS };

static void spoil(struct shm_link *l, enum bad what)
{
	uint64_t *word = (uint64_t *)l->peer.slot->lines[l->tx.at];
	uint64_t seq = l->tx.seq << 16;

	switch (what) {
	case BAD_LENGTH:
		*word = seq | (SHM_MAX_PACKET + 1);
		break;
	case BAD_MARK:
		*word = seq | 0xfff0;
		break;
	case BAD_WRAP:
		/* On the first line: going on there would never end. */
		*word = seq | SHM_MARK_WRAP;
		break;
	case BAD_LAP:
		*word = seq + ((uint64_t)SHM_RING_LINES << 16);
		break;
	default:
		break;
	}
}

static void test_bad_rings(void **state)
{
	for (enum bad what = 0; what < BADS; what++) {
		struct end a, b, c;
		struct up_link *cb;
		struct shm_link *l;

		end_open(&a, 0);
		end_open(&b, 0);
		end_open(&c, 0);
		cb = end_connect(&c, &b);
		l = (struct shm_link *)end_connect(&a, &b);
		end_run(&a, &b);
		if (what == BAD_ACROSS) {
			while (l->tx.at < SHM_RING_LINES - 2) {
				assert_true(end_send(&l->base, UP_LANE_REQUEST, 1, 24));
				end_run(&a, &b);
			}
			*(uint64_t *)l->peer.slot->lines[l->tx.at] = l->tx.seq << 16 | 1000;
		} else if (what == BAD_POSITION) {
			l->rx.slot->consumed = 7;
			/* b's position was written by a: b finds out when it needs room. */
			while (end_send(end_connect(&b, &a), UP_LANE_REQUEST, 1, 4000))
				;
		} else {
			spoil(l, what);
		}
		end_run(&b, &c);
		assert_int_equal(b.ndown, 1);
		assert_int_equal(b.down, -EPROTO);
		assert_true(end_send(cb, UP_LANE_REQUEST, 1, 24));
		b.npackets = 0;
		end_run(&b, &c);
		assert_int_equal(b.npackets, 1);
		/* The other end hears of it. */
		end_run(&a, &b);
		assert_int_equal(a.ndown, 1);
		b.lane->ops->disconnect(b.down_link);
		end_close(&a);
		end_run(&b, &c);
		/* Its slot is free again now. */
		assert_int_equal(b.ndown, 1);
		for (uint64_t until = end_now() + PATIENCE_MS; end_now() < until;) {
			end_poll(&b);
			if (((struct shm_lane *)b.lane)->links.next->next ==
			    &((struct shm_lane *)b.lane)->links)
				break;
		}
		assert_ptr_equal(((struct shm_lane *)b.lane)->links.next->next,
				 &((struct shm_lane *)b.lane)->links);
		end_close(&b);
		end_close(&c);
	}
}

static void serves_another(struct end *e, struct end *other)
{
	assert_true(end_send(end_connect(other, e), UP_LANE_REQUEST, 1, 24));
	end_run(e, other);
	assert_int_equal(e->npackets, 1);
}

/* A claim with nonsense in it, and ready bits that mean nothing. */
static void test_bad_contacts(void **state)
{
	struct end a, b, c;
	struct shm_lane *lane;
	struct up_link *link;

	end_open(&a, 0);
	end_open(&b, 0);
	end_open(&c, 0);
	lane = (struct shm_lane *)b.lane;
	for (int i = 0; i < 3; i++) {
		struct shm_contact *contact;

		link = end_connect(&a, &b);
		contact = &((struct shm_link *)link)->peer.slot->contact;
		if (i == 0)
			contact->addr_bytes = 1u << 30;
		else if (i == 1)
			contact->reply_to = 12345;
		else
			contact->from.slots = 1u << 31;
		memset(lane->header->ready, 0xff, 8);
		lane->header->summary = UINT64_MAX;
		lane->header->slots = UINT32_MAX;
		end_run(&a, &b);
		lane->header->slots = lane->addr.slots;
		assert_int_equal(b.nlinked, 0);
		/* Found by looking from time to time. */
		for (uint64_t until = end_now() + PATIENCE_MS; a.ndown == 0 && end_now() < until;)
			end_poll(&a);
		assert_int_equal(a.ndown, 1);
		a.ndown = 0;
		a.lane->ops->disconnect(link);
	}
	serves_another(&b, &c);
	end_close(&a);
	end_close(&b);
	end_close(&c);
}

/* Contacts that are refused take nothing for good, at neither end. */
static void test_many_bad_contacts(void **state)
{
	struct end a, b, c;
	struct shm_lane *lane;

	end_open(&a, 64);
	end_open(&b, 64);
	end_open(&c, 64);
	lane = (struct shm_lane *)a.lane;
	for (unsigned i = 0; i < 70; i++) {
		struct up_link *link = end_connect(&a, &b);
		uint64_t start = end_now();

		((struct shm_link *)link)->peer.slot->contact.reply_to = 12345;
		end_run(&a, &b);
		while (a.ndown == i) {
			end_poll(&a);
			assert_true(end_now() - start < PATIENCE_MS);
		}
		a.lane->ops->disconnect(link);
		end_run(&a, &b);
	}
	assert_true(up_list_empty(&lane->links));
	assert_int_equal(b.nlinked, 0);
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(((struct shm_lane *)b.lane)->claims[i], 0);
	serves_another(&b, &c);
	end_close(&a);
	end_close(&b);
	end_close(&c);
}

/* Sends another one for each that comes. */
static bool send_more(struct end *e, struct up_link *link, const void *packet, size_t bytes)
{
	e->npackets++;
	assert_true(e->npackets < 1000000);
	end_send(e->arg, UP_LANE_REQUEST, 1, 24);
	return true;
}

/* A peer that looks dead, as nobody reads its pipe, and goes on to send. */
static void test_undead(void **state)
{
	struct end a, b;
	struct shm_lane *lane;
	uint64_t start;

	end_open(&a, 64);
	end_open(&b, 64);
	lane = (struct shm_lane *)a.lane;
	b.packet = send_more;
	b.arg = end_connect(&a, &b);
	end_run(&a, &b);
	close(lane->pipe[0]);
	lane->pipe[0] = -1;
	assert_true(end_send(b.arg, UP_LANE_REQUEST, 1, 24));
	for (start = end_now(); !b.ndown;) {
		end_poll(&b);
		assert_true(end_now() - start < PATIENCE_MS);
	}
	assert_int_equal(b.down, -EHOSTDOWN);
	end_close(&b);
	end_close(&a);
}

/* Words and positions that are nearly right, or not at all: whatever happens, the link ends or the
 * packets stay inside of the ring, and the next link works. */
static bool inside_ring(struct end *e, struct up_link *link, const void *packet, size_t bytes)
{
	const struct shm_rx *rx = &((struct shm_link *)link)->rx;
	const uint8_t *p = packet, *ring = (const uint8_t *)rx->slot->lines;

	assert_true(bytes <= SHM_MAX_PACKET);
	assert_true(p >= ring && p + bytes <= ring + sizeof(rx->slot->lines));
	return true;
}

static void test_random_rings(void **state)
{
	static const uint64_t lows[] = {0,	24,	      SHM_MAX_PACKET, SHM_MAX_PACKET + 1,
					0xffff, SHM_MARK_END, 1000,	      0x8000};
	struct end a, b;
	unsigned links = 0;

	end_open(&a, 64);
	end_open(&b, 64);
	a.drop = b.drop = true;
	b.packet = inside_ring;
	for (int i = 0; i < 3000; i++) {
		struct shm_link *l;
		struct shm_slot *slot;

		end_run(&a, &b);
		l = (struct shm_link *)end_connect(&a, &b);
		slot = l->peer.slot;
		links += l->tx.seq == SHM_RING_LINES;
		for (int n = rand() % 30; n && l->tx.lines; n--) {
			uint32_t at = l->tx.at + (uint32_t)(rand() % 3);
			uint64_t seq = l->tx.seq + (uint64_t)(rand() % 3);
			uint64_t word = seq << 16 | lows[rand() % 8];

			*(uint64_t *)slot->lines[at % SHM_RING_LINES] =
				rand() % 8 ? word : word << (rand() % 48);
			end_poll(&b);
			end_send(&l->base, UP_LANE_REQUEST, 1,
				 4 + (size_t)rand() % (SHM_MAX_PACKET - 4));
			end_poll(&b);
		}
		if (rand() % 4 == 0) {
			l->base.lane->ops->disconnect(&l->base);
			end_run(&a, &b);
		}
		/* Slots with nonsense in them stay until their owner goes. */
		if (i % 30 == 29) {
			end_close(&a);
			while (!end_slots_free(&b))
				end_poll(&b);
			end_open(&a, 64);
			a.drop = true;
		}
	}
	assert_true(links > 100);
	end_close(&a);
	end_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses),    cmocka_unit_test(test_bad_rings),
		cmocka_unit_test(test_bad_contacts), cmocka_unit_test(test_many_bad_contacts),
		cmocka_unit_test(test_undead),	     cmocka_unit_test(test_random_rings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
