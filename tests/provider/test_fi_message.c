/* SPDX-License-Identifier: BSD-2-Clause */
/* Messages over the provider: tagged and not, of all sizes, cancelled, truncated, several a buffer.
 */
#include "fi_rig.h"

#include <stdlib.h>

static const size_t sizes[] = {0, 1, 8, 64, 4096, 4097, 70000, 3 << 20};
#define NSIZES (sizeof(sizes) / sizeof(*sizes))

static void fill(uint8_t *mem, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		mem[i] = (uint8_t)(i * 7 + seed);
}

static void check(const uint8_t *mem, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		assert_int_equal(mem[i], (uint8_t)(i * 7 + seed));
}

/* A message of each size, the receive posted before it or after it has come. */
static void exchange(struct fi_rig *rig, size_t len, bool tagged, bool early)
{
	uint8_t *from = malloc(len + 1), *to = calloc(1, len + 1);
	struct fi_cq_tagged_entry e;
	int send, recv;

	fill(from, len, (unsigned)len);
	for (int turn = 0; turn < 2; turn++) {
		if (turn == !early) {
			FI_RIG_DO(rig, tagged ? fi_trecv(rig->b.ep, to, len, NULL, FI_ADDR_UNSPEC,
							 0xff00, 0xff, &recv)
					      : fi_recv(rig->b.ep, to, len, NULL, FI_ADDR_UNSPEC,
							&recv));
		} else {
			FI_RIG_DO(rig,
				  tagged ? fi_tsenddata(rig->a.ep, from, len, NULL, 77, rig->a.peer,
							0xff12, &send)
					 : fi_send(rig->a.ep, from, len, NULL, rig->a.peer, &send));
			for (int i = 0; i < 10; i++)
				fi_rig_poke(rig);
		}
	}
	e = fi_rig_wait(rig, rig->b.rxcq);
	assert_ptr_equal(e.op_context, &recv);
	assert_int_equal(e.len, len);
	assert_ptr_equal(e.buf, to);
	assert_int_equal(e.flags, FI_RECV | (tagged ? FI_TAGGED | FI_REMOTE_CQ_DATA : FI_MSG));
	assert_int_equal(e.tag, tagged ? 0xff12 : 0);
	assert_int_equal(e.data, tagged ? 77 : 0);
	check(to, len, (unsigned)len);
	e = fi_rig_wait(rig, rig->a.txcq);
	assert_ptr_equal(e.op_context, &send);
	assert_int_equal(e.flags, FI_SEND | (tagged ? FI_TAGGED : FI_MSG));
	free(from);
	free(to);
}

static void test_sizes(void **state)
{
	struct fi_rig rig;

	fi_rig_setup(&rig, NULL);
	for (size_t i = 0; i < NSIZES; i++) {
		for (int how = 0; how < 4; how++)
			exchange(&rig, sizes[i], how & 1, how & 2);
	}
	fi_rig_nothing(&rig, rig.a.txcq);
	fi_rig_nothing(&rig, rig.b.rxcq);
	fi_rig_teardown(&rig);
}

/* Messages with a tag and without do not take each other's receives. */
static void test_kinds_apart(void **state)
{
	char tagged[8] = "", plain[8] = "";
	struct fi_rig rig;

	fi_rig_setup(&rig, NULL);
	FI_RIG_DO(&rig, fi_trecv(rig.b.ep, tagged, 8, NULL, FI_ADDR_UNSPEC, 0, UINT64_MAX, tagged));
	FI_RIG_DO(&rig, fi_inject(rig.a.ep, "plain", 6, rig.a.peer));
	fi_rig_nothing(&rig, rig.b.rxcq);
	FI_RIG_DO(&rig, fi_tinject(rig.a.ep, "tagged", 7, rig.a.peer, 5));
	assert_ptr_equal(fi_rig_wait(&rig, rig.b.rxcq).op_context, tagged);
	FI_RIG_DO(&rig, fi_recv(rig.b.ep, plain, 8, NULL, FI_ADDR_UNSPEC, plain));
	assert_ptr_equal(fi_rig_wait(&rig, rig.b.rxcq).op_context, plain);
	assert_string_equal(tagged, "tagged");
	assert_string_equal(plain, "plain");
	fi_rig_nothing(&rig, rig.a.txcq);
	fi_rig_teardown(&rig);
}

static void test_pieces(void **state)
{
	char from[] = "one two three", to[14] = "";
	struct iovec out[3] = {{from, 4}, {from + 4, 4}, {from + 8, 6}};
	struct iovec in[2] = {{to, 5}, {to + 5, 9}};
	struct fi_msg_tagged msg = {.msg_iov = out, .iov_count = 3, .tag = 3, .data = 9};
	struct fi_rig rig;

	fi_rig_setup(&rig, NULL);
	msg.addr = rig.a.peer;
	FI_RIG_DO(&rig, fi_trecvv(rig.b.ep, in, NULL, 2, FI_ADDR_UNSPEC, 3, 0, to));
	FI_RIG_DO(&rig, fi_tsendmsg(rig.a.ep, &msg,
				    FI_DELIVERY_COMPLETE | FI_INJECT | FI_REMOTE_CQ_DATA));
	/* It was injected, so this is too late. */
	memset(from, 'x', sizeof(from));
	assert_int_equal(fi_rig_wait(&rig, rig.b.rxcq).data, 9);
	assert_string_equal(to, "one two three");
	fi_rig_wait(&rig, rig.a.txcq);
	fi_rig_teardown(&rig);
}

static void test_truncation(void **state)
{
	static char big[100000], small[64];
	struct fi_cq_err_entry err;
	struct fi_rig rig;

	fi_rig_setup(&rig, NULL);
	for (int large = 0; large < 2; large++) {
		size_t len = large ? sizeof(big) : 100;

		FI_RIG_DO(&rig, fi_recv(rig.b.ep, small, sizeof(small), NULL, FI_ADDR_UNSPEC, big));
		FI_RIG_DO(&rig, fi_send(rig.a.ep, big, len, NULL, rig.a.peer, NULL));
		err = fi_rig_wait_error(&rig, rig.b.rxcq);
		assert_int_equal(err.err, FI_ETRUNC);
		assert_int_equal(err.len, sizeof(small));
		assert_int_equal(err.olen, len - sizeof(small));
		assert_ptr_equal(err.op_context, big);
		fi_rig_wait(&rig, rig.a.txcq);
	}
	fi_rig_teardown(&rig);
}

static void test_cancel(void **state)
{
	char one[8], two[8];
	struct fi_cq_err_entry err;
	struct fi_rig rig;

	fi_rig_setup(&rig, NULL);
	FI_RIG_DO(&rig, fi_recv(rig.b.ep, one, 8, NULL, FI_ADDR_UNSPEC, one));
	FI_RIG_DO(&rig, fi_recv(rig.b.ep, two, 8, NULL, FI_ADDR_UNSPEC, two));
	assert_int_equal(fi_cancel(&rig.b.ep->fid, one), 0);
	err = fi_rig_wait_error(&rig, rig.b.rxcq);
	assert_int_equal(err.err, FI_ECANCELED);
	assert_ptr_equal(err.op_context, one);
	assert_int_equal(fi_cancel(&rig.b.ep->fid, one), -FI_ENOENT);
	FI_RIG_DO(&rig, fi_inject(rig.a.ep, "x", 2, rig.a.peer));
	assert_ptr_equal(fi_rig_wait(&rig, rig.b.rxcq).op_context, two);
	fi_rig_teardown(&rig);
}

static void set_least(struct fi_side *s)
{
	size_t least = 16, got = 0, len = sizeof(got);

	assert_int_equal(fi_setopt(&s->ep->fid, FI_OPT_ENDPOINT, FI_OPT_MIN_MULTI_RECV, &least,
				   sizeof(least)),
			 0);
	assert_int_equal(fi_getopt(&s->ep->fid, FI_OPT_ENDPOINT, FI_OPT_MIN_MULTI_RECV, &got, &len),
			 0);
	assert_int_equal(got, least);
}

/* Small and large messages behind each other; what came before the buffer goes into it first. */
static void test_multi_recv(void **state)
{
	const struct fi_rig_attr attr = {.before_enable = set_least};
	static uint8_t from[20000], to[40100];
	const size_t lens[] = {100, 20000, 0, 19990};
	struct iovec iov = {to, sizeof(to)};
	struct fi_msg msg = {.msg_iov = &iov, .iov_count = 1, .context = to};
	struct fi_cq_tagged_entry e;
	unsigned seen = 0;
	struct fi_rig rig;

	fi_rig_setup(&rig, &attr);
	msg.addr = FI_ADDR_UNSPEC;
	fill(from, sizeof(from), 1);
	for (int i = 0; i < 4; i++) {
		FI_RIG_DO(&rig, fi_send(rig.a.ep, from, lens[i], NULL, rig.a.peer, NULL));
		if (i == 1)
			FI_RIG_DO(&rig, fi_recvmsg(rig.b.ep, &msg, FI_MULTI_RECV));
	}
	for (int i = 0; i < 4; i++) {
		e = fi_rig_wait(&rig, rig.b.rxcq);
		assert_ptr_equal(e.op_context, to);
		check(e.buf, e.len, 1);
		seen += (unsigned)e.len;
		assert_int_equal(!!(e.flags & FI_MULTI_RECV), i == 3);
		fi_rig_wait(&rig, rig.a.txcq);
	}
	assert_int_equal(seen, 40090);
	/* It is not used any more. */
	FI_RIG_DO(&rig, fi_send(rig.a.ep, from, 1, NULL, rig.a.peer, NULL));
	fi_rig_nothing(&rig, rig.b.rxcq);
	fi_rig_teardown(&rig);
}

static void test_multi_recv_cancel(void **state)
{
	static uint8_t to[1000];
	struct iovec iov = {to, sizeof(to)};
	struct fi_msg msg = {.msg_iov = &iov, .iov_count = 1, .context = to};
	struct fi_cq_err_entry err;
	struct fi_rig rig;

	fi_rig_setup(&rig, NULL);
	msg.addr = FI_ADDR_UNSPEC;
	FI_RIG_DO(&rig, fi_recvmsg(rig.b.ep, &msg, FI_MULTI_RECV));
	FI_RIG_DO(&rig, fi_inject(rig.a.ep, "hello", 6, rig.a.peer));
	assert_string_equal(fi_rig_wait(&rig, rig.b.rxcq).buf, "hello");
	assert_int_equal(fi_cancel(&rig.b.ep->fid, to), 0);
	err = fi_rig_wait_error(&rig, rig.b.rxcq);
	assert_int_equal(err.err, FI_ECANCELED);
	assert_true(err.flags & FI_MULTI_RECV);
	fi_rig_teardown(&rig);
}

/* To receive several messages into a buffer is of messages without a tag alone. */
static void test_multi_recv_tagged(void **state)
{
	uint64_t flags = FI_MULTI_RECV | FI_RECV;
	char to[8] = "";
	struct iovec iov = {to, sizeof(to)};
	struct fi_msg_tagged msg = {.msg_iov = &iov, .iov_count = 1, .context = to};
	struct fi_cq_tagged_entry e;
	struct fi_rig rig;

	fi_rig_setup(&rig, NULL);
	msg.addr = FI_ADDR_UNSPEC;
	assert_int_equal(fi_trecvmsg(rig.b.ep, &msg, FI_MULTI_RECV), -FI_EBADFLAGS);
	/* Nor is it when all receives are so that do not say something else. */
	assert_int_equal(fi_control(&rig.b.ep->fid, FI_SETOPSFLAG, &flags), 0);
	FI_RIG_DO(&rig, fi_trecv(rig.b.ep, to, sizeof(to), NULL, FI_ADDR_UNSPEC, 4, 0, to));
	FI_RIG_DO(&rig, fi_tinject(rig.a.ep, "tagged", 7, rig.a.peer, 4));
	e = fi_rig_wait(&rig, rig.b.rxcq);
	assert_ptr_equal(e.op_context, to);
	assert_ptr_equal(e.buf, to);
	assert_int_equal(e.flags, FI_RECV | FI_TAGGED);
	assert_string_equal(to, "tagged");
	fi_rig_teardown(&rig);
}

/* Flags that an operation cannot have are refused, not left out. */
static void test_flags(void **state)
{
	static const uint64_t not_there[] = {FI_TRIGGER, FI_COMMIT_COMPLETE, FI_MULTICAST};
	char x[] = "x";
	struct iovec iov = {x, 2};
	struct fi_msg msg = {.msg_iov = &iov, .iov_count = 1};
	struct fi_msg_tagged tagged = {.msg_iov = &iov, .iov_count = 1};
	struct fi_rig rig;

	fi_rig_setup(&rig, NULL);
	msg.addr = tagged.addr = rig.a.peer;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(fi_sendmsg(rig.a.ep, &msg, not_there[i]), -FI_EBADFLAGS);
		assert_int_equal(fi_tsendmsg(rig.a.ep, &tagged, not_there[i]), -FI_EBADFLAGS);
		assert_int_equal(fi_recvmsg(rig.a.ep, &msg, not_there[i]), -FI_EBADFLAGS);
		assert_int_equal(fi_trecvmsg(rig.a.ep, &tagged, not_there[i]), -FI_EBADFLAGS);
	}
	assert_int_equal(fi_recvmsg(rig.a.ep, &msg, FI_PEEK), -FI_EBADFLAGS);
	fi_rig_nothing(&rig, rig.b.rxcq);
	fi_rig_teardown(&rig);
}

/* Where a message is from, and receives from one peer only. */
static void test_source(void **state)
{
	struct fi_cq_tagged_entry e;
	char any[8], own[8];
	fi_addr_t self, src;
	uint8_t addr[FI_NAME_MAX];
	size_t len = sizeof(addr);
	struct fi_rig rig;

	fi_rig_setup(&rig, NULL);
	assert_int_equal(fi_getname(&rig.b.ep->fid, addr, &len), 0);
	assert_int_equal(fi_av_insert(rig.b.av, addr, 1, &self, 0, NULL), 1);
	FI_RIG_DO(&rig, fi_recv(rig.b.ep, own, 8, NULL, self, own));
	FI_RIG_DO(&rig, fi_recv(rig.b.ep, any, 8, NULL, FI_ADDR_UNSPEC, any));
	FI_RIG_DO(&rig, fi_inject(rig.a.ep, "from a", 7, rig.a.peer));
	while (fi_cq_readfrom(rig.b.rxcq, &e, 1, &src) == -FI_EAGAIN)
		fi_rig_poke(&rig);
	assert_ptr_equal(e.op_context, any);
	assert_int_equal(src, rig.b.peer);
	FI_RIG_DO(&rig, fi_inject(rig.b.ep, "from b", 7, self));
	while (fi_cq_readfrom(rig.b.rxcq, &e, 1, &src) == -FI_EAGAIN)
		fi_rig_poke(&rig);
	assert_ptr_equal(e.op_context, own);
	assert_int_equal(src, self);
	fi_rig_teardown(&rig);
}

/* Looks until the message is there. */
static struct fi_cq_tagged_entry peek(struct fi_rig *rig, struct fi_msg_tagged *msg, uint64_t flags)
{
	struct fi_cq_tagged_entry e;
	struct fi_cq_err_entry err;
	ssize_t n;

	for (;;) {
		assert_int_equal(fi_trecvmsg(rig->b.ep, msg, FI_PEEK | flags), 0);
		while ((n = fi_cq_read(rig->b.rxcq, &e, 1)) == -FI_EAGAIN)
			fi_rig_poke(rig);
		if (n == 1)
			return e;
		err = fi_rig_wait_error(rig, rig->b.rxcq);
		assert_int_equal(err.err, FI_ENOMSG);
		fi_rig_poke(rig);
	}
}

static void test_peek_claim(void **state)
{
	struct fi_context ctx = {0};
	char to[16] = "";
	struct iovec iov = {to, sizeof(to)};
	struct fi_msg_tagged msg = {.tag = 4, .ignore = 3, .context = &ctx};
	struct fi_cq_tagged_entry e;
	struct fi_rig rig;

	fi_rig_setup(&rig, NULL);
	msg.addr = FI_ADDR_UNSPEC;
	for (uint64_t tag = 4; tag < 8; tag++)
		FI_RIG_DO(&rig, fi_tinject(rig.a.ep, "0123456789", (size_t)tag, rig.a.peer, tag));
	e = peek(&rig, &msg, 0);
	assert_int_equal(e.tag, 4);
	assert_int_equal(e.len, 4);
	assert_int_equal(peek(&rig, &msg, FI_DISCARD).tag, 4);
	assert_int_equal(peek(&rig, &msg, FI_CLAIM).tag, 5);
	/* The claimed one is nobody else's. */
	FI_RIG_DO(&rig,
		  fi_trecv(rig.b.ep, to, sizeof(to), NULL, FI_ADDR_UNSPEC, 0, UINT64_MAX, to));
	assert_int_equal(fi_rig_wait(&rig, rig.b.rxcq).tag, 6);
	msg.msg_iov = &iov;
	msg.iov_count = 1;
	assert_int_equal(fi_trecvmsg(rig.b.ep, &msg, FI_CLAIM), 0);
	e = fi_rig_wait(&rig, rig.b.rxcq);
	assert_int_equal(e.tag, 5);
	assert_memory_equal(to, "01234", 5);
	assert_int_equal(peek(&rig, &msg, FI_CLAIM).tag, 7);
	assert_int_equal(fi_trecvmsg(rig.b.ep, &msg, FI_CLAIM | FI_DISCARD), 0);
	e = fi_rig_wait(&rig, rig.b.rxcq);
	assert_int_equal(e.tag, 7);
	assert_int_equal(e.len, 7);
	assert_ptr_equal(e.op_context, &ctx);
	/* It is nobody's any more. */
	assert_int_equal(fi_trecvmsg(rig.b.ep, &msg, FI_CLAIM | FI_DISCARD), -FI_EINVAL);
	fi_rig_teardown(&rig);
}

/* What was not claimed cannot be received or dropped as if it were. */
static void test_no_claim(void **state)
{
	struct fi_context ctx = {.internal = {&ctx}};
	struct fi_msg_tagged msg = {.tag = 4, .context = &ctx};
	struct fi_rig rig;

	fi_rig_setup(&rig, NULL);
	msg.addr = FI_ADDR_UNSPEC;
	assert_int_equal(fi_trecvmsg(rig.b.ep, &msg, FI_DISCARD), -FI_EINVAL);
	assert_int_equal(fi_trecvmsg(rig.b.ep, &msg, FI_PEEK | FI_CLAIM), 0);
	assert_int_equal(fi_rig_wait_error(&rig, rig.b.rxcq).err, FI_ENOMSG);
	assert_int_equal(fi_trecvmsg(rig.b.ep, &msg, FI_CLAIM), -FI_EINVAL);
	assert_int_equal(fi_trecvmsg(rig.b.ep, &msg, FI_CLAIM | FI_DISCARD), -FI_EINVAL);
	fi_rig_teardown(&rig);
}

/* A fence: the message behind a large one that nobody receives yet does not pass it. */
static void test_fence(void **state)
{
	static uint8_t big[1 << 20], to[1 << 20];
	char small[8];
	struct iovec iov = {small, sizeof(small)};
	struct fi_msg_tagged msg = {.msg_iov = &iov, .iov_count = 1, .tag = 2};
	struct fi_rig rig;

	fi_rig_setup(&rig, NULL);
	msg.addr = rig.a.peer;
	FI_RIG_DO(&rig, fi_trecv(rig.b.ep, small, 8, NULL, FI_ADDR_UNSPEC, 2, 0, small));
	FI_RIG_DO(&rig, fi_tsend(rig.a.ep, big, sizeof(big), NULL, rig.a.peer, 1, big));
	FI_RIG_DO(&rig, fi_tsendmsg(rig.a.ep, &msg, FI_FENCE));
	fi_rig_nothing(&rig, rig.b.rxcq);
	FI_RIG_DO(&rig, fi_trecv(rig.b.ep, to, sizeof(to), NULL, FI_ADDR_UNSPEC, 1, 0, to));
	assert_ptr_equal(fi_rig_wait(&rig, rig.b.rxcq).op_context, to);
	assert_ptr_equal(fi_rig_wait(&rig, rig.b.rxcq).op_context, small);
	fi_rig_teardown(&rig);
}

/* The receive comes late. Who asks for no more than the buffer has it back by then, where the
 * message is short; who asks for delivery, or for the match, waits for it. */
static void test_levels(void **state)
{
	static const uint64_t flags[] = {FI_INJECT_COMPLETE, FI_TRANSMIT_COMPLETE,
					 FI_DELIVERY_COMPLETE, FI_MATCH_COMPLETE};
	static const size_t lens[] = {8, 4000, 300000};
	uint8_t *from = malloc(300000), *to = malloc(300000);
	struct fi_rig rig;

	fi_rig_setup(&rig, NULL);
	for (int i = 0; i < 12; i++) {
		size_t len = lens[i / 4];
		struct iovec iov = {from, len};
		struct fi_msg_tagged msg = {.msg_iov = &iov, .iov_count = 1, .tag = 1};
		bool waits = flags[i % 4] & (FI_DELIVERY_COMPLETE | FI_MATCH_COMPLETE);

		msg.addr = rig.a.peer;
		fill(from, len, 3);
		memset(to, 0, len);
		FI_RIG_DO(&rig, fi_tsendmsg(rig.a.ep, &msg, flags[i % 4] | FI_COMPLETION));
		if (waits) {
			fi_rig_nothing(&rig, rig.a.txcq);
		} else if (len <= 4000) {
			fi_rig_wait(&rig, rig.a.txcq);
			memset(from, 0xff, len);
		}
		FI_RIG_DO(&rig, fi_trecv(rig.b.ep, to, len, NULL, FI_ADDR_UNSPEC, 1, 0, to));
		if (waits || len > 4000)
			fi_rig_wait(&rig, rig.a.txcq);
		if (flags[i % 4] == FI_DELIVERY_COMPLETE)
			check(to, len, 3);
		fi_rig_wait(&rig, rig.b.rxcq);
		check(to, len, 3);
	}
	fi_rig_teardown(&rig);
	free(from);
	free(to);
}

/* The peer ends: what is open with it does, too. */
static void test_peer_ends(void **state)
{
	static uint8_t big[1 << 20];
	struct fi_cq_err_entry err;
	struct fi_rig rig;

	fi_rig_setup(&rig, NULL);
	FI_RIG_DO(&rig, fi_send(rig.a.ep, big, sizeof(big), NULL, rig.a.peer, big));
	fi_rig_poke(&rig);
	assert_int_equal(fi_close(&rig.b.ep->fid), 0);
	err = fi_rig_wait_error(&rig, rig.a.txcq);
	assert_ptr_equal(err.op_context, big);
	assert_int_equal(err.err, FI_EHOSTDOWN);
	assert_int_equal(fi_endpoint(rig.b.domain, rig.info, &rig.b.ep, NULL), 0);
	fi_rig_teardown(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),	   cmocka_unit_test(test_kinds_apart),
		cmocka_unit_test(test_pieces),	   cmocka_unit_test(test_truncation),
		cmocka_unit_test(test_cancel),	   cmocka_unit_test(test_multi_recv),
		cmocka_unit_test(test_source),	   cmocka_unit_test(test_multi_recv_cancel),
		cmocka_unit_test(test_peek_claim), cmocka_unit_test(test_fence),
		cmocka_unit_test(test_peer_ends),  cmocka_unit_test(test_multi_recv_tagged),
		cmocka_unit_test(test_flags),	   cmocka_unit_test(test_no_claim),
		cmocka_unit_test(test_levels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
