/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Address vectors: what is inserted, looked up and removed, and that the connection to what was
 * removed goes when neither end uses it any more, and no sooner. A connection has descriptors.
 */
#include "fi_rig.h"
#include "../unit/count_fds.h"

#include <stdlib.h>
#include <time.h>

static void send_one(struct fi_rig *rig, char *buf)
{
	FI_RIG_DO(rig, fi_trecv(rig->b.ep, buf, 8, NULL, FI_ADDR_UNSPEC, 9, 0, buf));
	FI_RIG_DO(rig, fi_tsenddata(rig->a.ep, "hello", 6, NULL, 5, rig->a.peer, 9, rig));
}

static void test_addresses(void **state)
{
	uint8_t addr[FI_NAME_MAX], got[FI_NAME_MAX];
	size_t len = sizeof(addr);
	fi_addr_t second;
	char text[200], buf[8];
	struct fi_rig rig;

	fi_rig_setup(&rig, NULL);
	assert_int_equal(fi_getname(&rig.b.ep->fid, addr, &len), 0);
	assert_int_equal(fi_av_insert(rig.a.av, addr, 1, &second, 0, NULL), 1);
	assert_int_not_equal(second, rig.a.peer);
	len = sizeof(got);
	assert_int_equal(fi_av_lookup(rig.a.av, second, got, &len), 0);
	assert_int_equal(len, sizeof(got));
	assert_memory_equal(got, addr, sizeof(addr));
	len = sizeof(text);
	assert_non_null(fi_av_straddr(rig.a.av, addr, text, &len));
	assert_memory_equal(text, "underpass://", 12);
	/* The other one goes on to work, and after it was inserted again that one does. */
	send_one(&rig, buf);
	fi_rig_wait(&rig, rig.b.rxcq);
	assert_int_equal(fi_av_remove(rig.a.av, &rig.a.peer, 1, 0), 0);
	assert_int_equal(fi_tsend(rig.a.ep, "x", 2, NULL, rig.a.peer, 9, NULL), -FI_EINVAL);
	FI_RIG_DO(&rig, fi_tinject(rig.a.ep, "x", 2, second, 9));
	assert_int_equal(fi_av_remove(rig.a.av, &second, 1, 0), 0);
	assert_int_equal(fi_av_insert(rig.a.av, addr, 1, &rig.a.peer, 0, NULL), 1);
	FI_RIG_DO(&rig, fi_trecv(rig.b.ep, buf, 8, NULL, FI_ADDR_UNSPEC, 9, 0, buf));
	fi_rig_wait(&rig, rig.b.rxcq);
	send_one(&rig, buf);
	fi_rig_wait(&rig, rig.b.rxcq);
	fi_rig_teardown(&rig);
}

static void wait_descriptors(struct fi_rig *rig, unsigned wanted)
{
	time_t end = time(NULL) + 60;

	while (count_fds() != wanted) {
		assert_true(time(NULL) < end);
		fi_rig_poke(rig);
	}
}

static void remove_peer(struct fi_side *s)
{
	assert_int_equal(fi_av_remove(s->av, &s->peer, 1, 0), 0);
}

static void insert_peer(struct fi_side *s, struct fi_side *other)
{
	uint8_t addr[FI_NAME_MAX];
	size_t len = sizeof(addr);

	assert_int_equal(fi_getname(&other->ep->fid, addr, &len), 0);
	assert_int_equal(fi_av_insert(s->av, addr, 1, &s->peer, 0, NULL), 1);
}

/* From a to b, and both ends told of it. */
static void exchange(struct fi_rig *rig)
{
	char buf[8];

	send_one(rig, buf);
	fi_rig_wait(rig, rig->b.rxcq);
	fi_rig_wait(rig, rig->a.txcq);
}

static void test_removed(void **state)
{
	unsigned idle, used;
	struct fi_rig rig;

	fi_rig_setup(&rig, NULL);
	idle = count_fds();
	exchange(&rig);
	used = count_fds();
	assert_true(used > idle);
	for (int i = 0; i < 20; i++) {
		remove_peer(&rig.a);
		/* At once, or when the connection is gone. */
		if (i & 1)
			wait_descriptors(&rig, idle);
		insert_peer(&rig.a, &rig.b);
		exchange(&rig);
		wait_descriptors(&rig, used);
	}
	remove_peer(&rig.a);
	wait_descriptors(&rig, idle);
	fi_rig_nothing(&rig, rig.a.txcq);
	fi_rig_nothing(&rig, rig.b.rxcq);
	fi_rig_teardown(&rig);
}

/* What was used first is removed first: the other one has the connection then. */
static void test_removed_twice(void **state)
{
	struct fi_rig rig;
	fi_addr_t first;
	unsigned idle, used;

	fi_rig_setup(&rig, NULL);
	idle = count_fds();
	exchange(&rig);
	used = count_fds();
	first = rig.a.peer;
	insert_peer(&rig.a, &rig.b);
	assert_int_equal(fi_av_remove(rig.a.av, &first, 1, 0), 0);
	for (int i = 0; i < 1000; i++)
		fi_rig_poke(&rig);
	assert_int_equal(count_fds(), used);
	remove_peer(&rig.a);
	wait_descriptors(&rig, idle);
	fi_rig_teardown(&rig);
}

/* What is under way when the address goes comes to its end: here a message of each side that nobody
 * receives yet. */
static void test_in_flight(void **state)
{
	static uint8_t from[1 << 20], to[1 << 20];
	struct fi_cq_tagged_entry e;
	struct fi_rig rig;
	unsigned idle;

	fi_rig_setup(&rig, NULL);
	idle = count_fds();
	for (int side = 0; side < 2; side++) {
		struct fi_side *s = side ? &rig.b : &rig.a, *r = side ? &rig.a : &rig.b;

		exchange(&rig);
		memset(from, 1 + side, sizeof(from));
		FI_RIG_DO(&rig, fi_tsend(s->ep, from, sizeof(from), NULL, s->peer, 4, from));
		for (int i = 0; i < 100; i++)
			fi_rig_poke(&rig);
		remove_peer(&rig.a);
		for (int i = 0; i < 1000; i++)
			fi_rig_poke(&rig);
		FI_RIG_DO(&rig, fi_trecv(r->ep, to, sizeof(to), NULL, FI_ADDR_UNSPEC, 4, 0, to));
		e = fi_rig_wait(&rig, r->rxcq);
		assert_int_equal(e.len, sizeof(to));
		assert_memory_equal(to, from, sizeof(to));
		assert_ptr_equal(fi_rig_wait(&rig, s->txcq).op_context, from);
		wait_descriptors(&rig, idle);
		insert_peer(&rig.a, &rig.b);
	}
	fi_rig_teardown(&rig);
}

/* The other side knows nothing of it: it goes on to send, and to wait for what comes. */
static void test_other_side(void **state)
{
	struct fi_cq_tagged_entry e;
	char got[8], mine[8];
	struct fi_rig rig;
	fi_addr_t src;
	unsigned idle;

	fi_rig_setup(&rig, NULL);
	idle = count_fds();
	exchange(&rig);
	remove_peer(&rig.a);
	wait_descriptors(&rig, idle);
	for (int i = 0; i < 2; i++) {
		FI_RIG_DO(&rig, fi_recv(rig.a.ep, got, 8, NULL, FI_ADDR_UNSPEC, got));
		FI_RIG_DO(&rig, fi_inject(rig.b.ep, "from b", 7, rig.b.peer));
		while (fi_cq_readfrom(rig.a.rxcq, &e, 1, &src) == -FI_EAGAIN)
			fi_rig_poke(&rig);
		assert_string_equal(got, "from b");
		/* Inserted again, it has a name again; and then no more. */
		assert_int_equal(src, i ? rig.a.peer : FI_ADDR_NOTAVAIL);
		insert_peer(&rig.a, &rig.b);
	}
	/* It waits for a message from here: so the connection stays, until that has come. */
	FI_RIG_DO(&rig, fi_recv(rig.b.ep, mine, 8, NULL, rig.b.peer, mine));
	remove_peer(&rig.a);
	for (int i = 0; i < 1000; i++)
		fi_rig_poke(&rig);
	insert_peer(&rig.a, &rig.b);
	FI_RIG_DO(&rig, fi_inject(rig.a.ep, "from a", 7, rig.a.peer));
	fi_rig_wait(&rig, rig.b.rxcq);
	assert_string_equal(mine, "from a");
	fi_rig_teardown(&rig);
}

/* Where a message is from, after its sender's address went: nowhere, also if nothing was ever sent
 * there, and if another address has the index now. */
static void test_source_removed(void **state)
{
	struct fi_cq_tagged_entry e;
	fi_addr_t src, self;
	struct fi_rig rig;
	char buf[8];

	fi_rig_setup(&rig, NULL);
	for (int i = 0; i < 2; i++) {
		FI_RIG_DO(&rig, fi_recv(rig.b.ep, buf, 8, NULL, FI_ADDR_UNSPEC, buf));
		FI_RIG_DO(&rig, fi_inject(rig.a.ep, "x", 2, rig.a.peer));
		while (fi_cq_readfrom(rig.b.rxcq, &e, 1, &src) == -FI_EAGAIN)
			fi_rig_poke(&rig);
		assert_int_equal(src, i ? FI_ADDR_NOTAVAIL : rig.b.peer);
		if (i)
			break;
		self = rig.b.peer;
		remove_peer(&rig.b);
		insert_peer(&rig.b, &rig.b);
		assert_int_equal(rig.b.peer, self);
	}
	fi_rig_teardown(&rig);
}

/* Both at once. */
static void test_both_remove(void **state)
{
	struct fi_rig rig;
	unsigned idle, used;

	fi_rig_setup(&rig, NULL);
	idle = count_fds();
	exchange(&rig);
	used = count_fds();
	for (int i = 0; i < 20; i++) {
		remove_peer(&rig.a);
		remove_peer(&rig.b);
		if (i & 1)
			wait_descriptors(&rig, idle);
		insert_peer(&rig.b, &rig.a);
		insert_peer(&rig.a, &rig.b);
		exchange(&rig);
		wait_descriptors(&rig, used);
	}
	fi_rig_teardown(&rig);
}

/* A stream of numbers each way, in order and complete, while the addresses come and go. */
struct stream {
	struct fi_side *from, *to;
	uint32_t sent, received;
	uint32_t slot; /* where the next one is received */
	bool posted;
};

#define NUMBERS 4000u

static void move(struct stream *s)
{
	struct fi_cq_tagged_entry e;
	ssize_t n;

	if (!s->posted && s->received < NUMBERS) {
		n = fi_recv(s->to->ep, &s->slot, 4, NULL, FI_ADDR_UNSPEC, NULL);
		assert_true(!n || n == -FI_EAGAIN);
		s->posted = !n;
	}
	if (s->sent < NUMBERS && s->sent < s->received + 8) {
		n = s->sent % 3 ? fi_inject(s->from->ep, &s->sent, 4, s->from->peer)
				: fi_send(s->from->ep, &s->sent, 4, NULL, s->from->peer, NULL);
		assert_true(!n || n == -FI_EAGAIN);
		s->sent += !n;
	}
	n = fi_cq_read(s->to->rxcq, &e, 1);
	assert_true(n == 1 || n == -FI_EAGAIN);
	if (n == 1) {
		assert_int_equal(s->slot, s->received++);
		s->posted = false;
	}
	n = fi_cq_read(s->from->txcq, &e, 1);
	assert_true(n == 1 || n == -FI_EAGAIN);
}

static void test_streams(void **state)
{
	static const enum fi_progress progress[] = {FI_PROGRESS_MANUAL, FI_PROGRESS_AUTO};
	time_t end = time(NULL) + 60;
	uint64_t seed = 1;

	for (int k = 0; k < 2; k++) {
		const struct fi_rig_attr attr = {.threading = FI_THREAD_SAFE,
						 .progress = progress[k]};
		struct stream streams[2] = {0};
		struct fi_rig rig;

		fi_rig_setup(&rig, &attr);
		streams[0].from = streams[1].to = &rig.a;
		streams[0].to = streams[1].from = &rig.b;
		while (streams[0].received < NUMBERS || streams[1].received < NUMBERS) {
			uint64_t what = unit_random(&seed) % 64;
			struct fi_side *s = what & 1 ? &rig.a : &rig.b;

			assert_true(time(NULL) < end);
			if (what / 2 == 0) {
				remove_peer(s);
				insert_peer(s, what & 1 ? &rig.b : &rig.a);
			}
			move(&streams[what >> 2 & 1]);
		}
		fi_rig_teardown(&rig);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses),     cmocka_unit_test(test_removed),
		cmocka_unit_test(test_removed_twice), cmocka_unit_test(test_in_flight),
		cmocka_unit_test(test_other_side),    cmocka_unit_test(test_source_removed),
		cmocka_unit_test(test_both_remove),   cmocka_unit_test(test_streams),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
