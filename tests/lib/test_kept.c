/* SPDX-License-Identifier: BSD-2-Clause */
/* Messages that are kept at their sender while the receiver makes no progress (underpass/tag.h). */
#include "rig.h"

#include "base/bytes.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#define TAG 7u
#define MOST 8192u
#define LONG 100000u
/* In vain so often in a row: there is no room, and nothing more is kept. */
#define ENOUGH 10000u

/* How the messages of a row are sent; all of a kind in `kinds` are. */
struct kind {
	size_t bytes;
	unsigned flags;
};

struct row {
	const struct kind *kinds;
	unsigned nkinds;
	uint8_t *data; /* of one that is not injected */
	unsigned sent;
	unsigned plain;	   /* of them not injected */
	unsigned injected; /* bytes */
	atomic_uint got;
	struct rig_done done[MOST];
};

static const struct kind small[] = {{400, UP_INJECT}};
static const struct kind plain[] = {{400, 0}};
static const struct kind mixed[] = {{400, UP_INJECT}, {1, UP_INJECT},	 {0, UP_INJECT},
				    {4000, 0},	      {LONG, 0},	 {8, UP_DELIVERED},
				    {64, UP_INJECT},  {4096, UP_INJECT}, {16, UP_FENCE}};

static uint8_t byte_of(unsigned i)
{
	return (uint8_t)(i * 37 + 11);
}

static void row_init(struct row *row, const struct kind *kinds, unsigned nkinds)
{
	memset(row, 0, sizeof(*row));
	row->kinds = kinds;
	row->nkinds = nkinds;
	row->data = malloc((size_t)LONG + MOST);
	assert_non_null(row->data);
	for (unsigned i = 0; i < LONG + MOST; i++)
		row->data[i] = byte_of(i);
}

/* Sends the next message; only its own end makes progress. False: it is refused for good. */
static bool send_next(struct rig *rig, struct row *row)
{
	const struct kind *k = &row->kinds[row->sent % row->nkinds];
	uint8_t copy[UP_INJECT_MAX];
	uint8_t *from = row->data + row->sent;
	struct iovec iov = {from, k->bytes};
	int ret = -EAGAIN;

	if (k->flags & UP_INJECT) {
		memcpy(copy, from, k->bytes);
		iov.iov_base = copy;
	}
	for (unsigned i = 0; i < ENOUGH && ret == -EAGAIN; i++) {
		ret = up_tag_send(rig->a, rig->to_b, TAG, &iov, 1, 0, k->flags, rig_done,
				  &row->done[row->sent]);
		up_progress(rig->a);
	}
	memset(copy, 0xee, sizeof(copy));
	assert_true(!ret || ret == -EAGAIN);
	if (ret)
		return false;
	row->sent++;
	row->plain += !(k->flags & UP_INJECT);
	row->injected += k->flags & UP_INJECT ? (unsigned)k->bytes : 0;
	return true;
}

static void send_all(struct rig *rig, struct row *row)
{
	while (row->sent < MOST && send_next(rig, row))
		;
	assert_in_range(row->sent, 1, MOST - 1);
	assert_true(up_peer_busy(rig->a, rig->to_b));
}

/* How each test begins. */
static void send_to_sleeper(struct rig *rig, struct row *row, const struct kind *kinds,
			    unsigned nkinds)
{
	rig_setup(rig, NULL);
	row_init(row, kinds, nkinds);
	send_all(rig, row);
}

static void received(void *ctx, int status, const struct up_tag_info *info)
{
	struct row *row = ctx;

	if (status)
		return;
	assert_int_equal(info->bytes, row->kinds[row->got % row->nkinds].bytes);
	row->got++;
}

/* Takes all, in order, and looks at each. */
static void receive_all(struct rig *rig, struct row *row)
{
	uint8_t *to = malloc(LONG);
	uint64_t start = rig_now_us();

	assert_non_null(to);
	for (unsigned i = row->got; i < row->sent; i++) {
		const struct iovec iov = {to, LONG};

		memset(to, 0xdd, LONG);
		assert_int_equal(
			up_tag_recv(rig->b, rig->to_a, TAG, 0, &iov, 1, received, row, NULL), 0);
		while (row->got == i) {
			up_progress(rig->a);
			up_progress(rig->b);
			rig_patience(start);
		}
		assert_memory_equal(to, row->data + i, row->kinds[i % row->nkinds].bytes);
	}
	free(to);
}

static unsigned ended(const struct row *row, int status)
{
	unsigned n = 0;

	for (unsigned i = 0; i < row->sent; i++) {
		assert_true(row->done[i].calls <= 1);
		n += row->done[i].calls && row->done[i].status == status;
	}
	return n;
}

/* All have ended well, and nothing is open any more. */
static void settle(struct rig *rig, const struct row *row)
{
	uint64_t start = rig_now_us();

	while (ended(row, 0) != row->plain || up_peer_busy(rig->a, rig->to_b)) {
		rig_run(rig);
		rig_patience(start);
	}
}

static void in_order(void **state)
{
	static struct row row;
	struct rig rig;

	send_to_sleeper(&rig, &row, mixed, UP_ARRAY_SIZE(mixed));
	assert_true(row.injected >= 40u << 10);
	assert_true(ended(&row, 0) < row.plain);
	receive_all(&rig, &row);
	settle(&rig, &row);
	rig_teardown(&rig);
	free(row.data);
}

/* Beside what the lane takes, so many bytes are kept, and no more. */
static void bounded(void **state)
{
	static struct row row;
	struct rig rig;

	send_to_sleeper(&rig, &row, small, UP_ARRAY_SIZE(small));
	assert_true(row.injected + small[0].bytes > UP_TAG_KEPT_BYTES);
	receive_all(&rig, &row);
	/* And again, as what was kept has left. */
	assert_true(send_next(&rig, &row));
	receive_all(&rig, &row);
	rig_run(&rig);
	rig_teardown(&rig);
	free(row.data);
}

/* Who wants none of it is refused, as long as there is no room. */
static void at_once(void **state)
{
	static struct row row;
	const struct iovec iov = {(uint8_t[]){1}, 1};
	struct rig rig;

	send_to_sleeper(&rig, &row, plain, UP_ARRAY_SIZE(plain));
	for (unsigned i = 0; i < ENOUGH; i++)
		assert_int_equal(up_tag_send(rig.a, rig.to_b, TAG, &iov, 1, 0,
					     UP_INJECT | UP_AT_ONCE, NULL, NULL),
				 -EAGAIN);
	receive_all(&rig, &row);
	settle(&rig, &row);
	assert_int_equal(
		up_tag_send(rig.a, rig.to_b, TAG, &iov, 1, 0, UP_INJECT | UP_AT_ONCE, NULL, NULL),
		0);
	rig_teardown(&rig);
	free(row.data);
}

/* They fail with their peer, once each. */
static void peer_gone(void **state)
{
	static struct row row;
	struct rig rig;
	uint64_t start = rig_now_us();
	unsigned before;

	send_to_sleeper(&rig, &row, mixed, UP_ARRAY_SIZE(mixed));
	before = ended(&row, 0);
	up_ep_close(rig.b);
	while (ended(&row, -EHOSTDOWN) + ended(&row, 0) < row.plain) {
		up_progress(rig.a);
		rig_patience(start);
	}
	assert_true(ended(&row, 0) >= before);
	assert_true(ended(&row, -EHOSTDOWN) > 0);
	assert_int_equal(up_peer_busy(rig.a, rig.to_b), 0);
	up_ep_close(rig.a);
	free(row.data);
}

static void removed(void **state)
{
	static struct row row;
	struct rig rig;

	send_to_sleeper(&rig, &row, plain, UP_ARRAY_SIZE(plain));
	up_peer_remove(rig.a, rig.to_b);
	assert_true(ended(&row, -ECANCELED) > 0);
	assert_int_equal(ended(&row, -ECANCELED) + ended(&row, 0), row.sent);
	rig_teardown(&rig);
	free(row.data);
}

struct receiver {
	struct rig *rig;
	struct row *row;
	atomic_bool stop;
};

static void *receive_in_thread(void *arg)
{
	struct receiver *r = arg;
	static uint8_t to[LONG];
	const struct iovec iov = {to, sizeof(to)};

	for (unsigned i = 0; i < r->row->sent && !r->stop; i++) {
		/* The sender may be gone by then, so it is not named. */
		if (up_tag_recv(r->rig->b, UP_PEER_ANY, TAG, 0, &iov, 1, received, r->row, NULL))
			break;
		while (r->row->got == i && !r->stop)
			up_progress(r->rig->b);
	}
	return NULL;
}

/* A close waits for what was injected. */
static void close_lingers(void **state)
{
	static struct row row;
	struct receiver r = {.row = &row};
	uint64_t start = rig_now_us();
	struct rig rig;
	pthread_t thread;

	r.rig = &rig;
	send_to_sleeper(&rig, &row, small, UP_ARRAY_SIZE(small));
	assert_int_equal(pthread_create(&thread, NULL, receive_in_thread, &r), 0);
	up_ep_close(rig.a);
	while (row.got < row.sent && rig_now_us() - start < RIG_PATIENCE_MS * 1000ull)
		usleep(1000);
	r.stop = true;
	pthread_join(thread, NULL);
	assert_int_equal(row.got, row.sent);
	up_ep_close(rig.b);
	free(row.data);
}

int main(void)
{
	struct CMUnitTest tests[] = {
		cmocka_unit_test(in_order), cmocka_unit_test(bounded),
		cmocka_unit_test(at_once),  cmocka_unit_test(peer_gone),
		cmocka_unit_test(removed),  cmocka_unit_test(close_lingers),
	};

	/* Both ends of the fake lane are one thread's. */
	if (!strcmp(rig_lane(), "fake"))
		tests[UP_ARRAY_SIZE(tests) - 1] = (struct CMUnitTest){0};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
