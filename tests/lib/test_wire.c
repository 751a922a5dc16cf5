/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What two endpoints say to each other over TCP (lib/lane/ofi/wire.h, direct.h), recorded: a bare
 * socket says what other versions of the library say, and compares what comes back byte for byte.
 * The packets themselves are those of test_packet.c. A change that fails here is a new version.
 */
#include "ofi_door.h"
#include "rig.h"

#include "base/bytes.h"

#include <sys/socket.h>
#include <unistd.h>

/* A peer's address: a checksum, and one part, of this lane: a random number, port 9, the provider's
 * protocol, and 127.0.0.1. */
#define PEER "53 15 fb2e898d 4e 112233445566 0900 e0 40 7f000001"

/* The random number of the endpoint, and its address, stand for C and A. */
static const char hello[] = "55505431 3d000000 " /* 61 bytes follow */
			    "55504f48656c6c6f 02000000 15000000"
			    "112233445566 0000 CCCCCCCCCCCC 0000 0000000000000000" PEER;
static const char welcome[] = "55505431 LL000000 "
			      "55504f48656c6c6f 02000000 AL000000"
			      "CCCCCCCCCCCC 0000 112233445566 0000 0000000000000000";
static const char request[] =
	"55505431 27000000 "
	"01 02 0000 07000000 01001000 07040000 1000000000000000 0000000000000000"
	"68656164 646174";
static const char reply[] =
	"55505431 23000000 "
	"01 03 0000 03000000 01001000 02030000 0000000000000000 0000000000000000"
	"616263";
static const char message[] =
	"55505431 22000000 "
	"01 04 0000 02000000 00000000 00000000 efcdab8967452301 0000000000000000"
	"6869";
static const char bye[] = "55505431 08000000 55504f4e 01000000";

struct talk {
	struct up_ep *ep;
	int fd;
	uint8_t addr[UP_ADDR_MAX];
	size_t len;
	uint8_t cookie[OFI_COOKIE_BYTES];
};

static void put_hex(uint8_t *to, size_t *n, uint8_t digit)
{
	to[*n / 2] = (uint8_t)(to[*n / 2] << 4 | digit);
	++*n;
}

/* Into bytes; blanks do not count. `C` is of the endpoint's random number, `LL` and `AL` are the
 * lengths of a hello and of an address. */
static size_t from_hex(const struct talk *t, uint8_t *to, const char *hex)
{
	size_t n = 0, c = 0;

	for (; *hex; hex++) {
		unsigned length = hex[0] == 'L' ? 40u + (unsigned)t->len : (unsigned)t->len;

		if (*hex == ' ')
			continue;
		if (*hex == 'C') {
			put_hex(to, &n, t->cookie[c / 2] >> (c % 2 ? 0 : 4) & 15);
			c = (c + 1) % (2 * OFI_COOKIE_BYTES);
		} else if (*hex == 'L' || *hex == 'A') {
			put_hex(to, &n, length >> 4 & 15);
			put_hex(to, &n, length & 15);
			hex++;
		} else {
			put_hex(to, &n, (uint8_t)(*hex <= '9' ? *hex - '0' : *hex - 'a' + 10));
		}
	}
	return n / 2;
}

static void say(struct talk *t, const char *hex)
{
	uint8_t data[512];
	size_t n = from_hex(t, data, hex);

	assert_int_equal(send(t->fd, data, n, MSG_NOSIGNAL), n);
}

/* Exactly this comes, followed by `more`. The endpoint may be closed already. */
static void hear(struct talk *t, const char *hex, const void *more, size_t bytes)
{
	uint8_t expected[512], got[512];
	size_t n = from_hex(t, expected, hex), have = 0;
	uint64_t start = rig_now_us();

	if (bytes)
		memcpy(expected + n, more, bytes);
	n += bytes;
	while (have < n) {
		ssize_t k = recv(t->fd, got + have, n - have, MSG_DONTWAIT);

		assert_true(k != 0);
		have += k > 0 ? (size_t)k : 0;
		if (t->ep)
			up_progress(t->ep);
		rig_patience(start);
	}
	assert_memory_equal(got, expected, n);
}

static void answer(struct up_am *am, void *arg)
{
	assert_int_equal(am->head_bytes, 4);
	assert_memory_equal(am->head, "head", 4);
	assert_int_equal(am->bytes, 3);
	assert_memory_equal(am->data, "dat", 3);
	assert_int_equal(am->reply_room, 16);
	assert_int_equal(up_am_reply(am, 2, "abc", 3, NULL, 0), 0);
	*(up_peer *)arg = am->from;
}

static void talk_begin(struct talk *t)
{
	const struct up_ep_attr attr = {.thread = UP_THREAD_SINGLE, .lanes = "ofi"};
	size_t bytes;

	t->ep = rig_open(&attr);
	t->len = up_ep_address(t->ep, t->addr);
	memcpy(t->cookie, ofi_door(t->addr, t->len, &bytes)->cookie, OFI_COOKIE_BYTES);
	t->fd = ofi_knock(t->ep);
	say(t, hello);
	hear(t, welcome, t->addr, t->len);
}

/* A request and its reply, a tagged message, and the endpoint's end. */
static void conversation(void **state)
{
	uint8_t peer[32], known[UP_ADDR_MAX];
	char hi[] = "hi";
	up_peer from = UP_PEER_ANY;
	struct talk t = {0};
	size_t len, n;

	talk_begin(&t);
	up_am_set_handler(t.ep, 7, answer, &from);
	say(&t, request);
	hear(&t, reply, NULL, 0);
	n = from_hex(&t, peer, PEER);
	assert_int_equal(up_peer_address(t.ep, from, known, &len), 0);
	assert_int_equal(len, n);
	assert_memory_equal(known, peer, n);
	assert_int_equal(up_tag_send(t.ep, from, 0x0123456789abcdef, &(struct iovec){hi, 2}, 1, 0,
				     UP_INJECT, NULL, NULL),
			 0);
	hear(&t, message, NULL, 0);
	up_ep_close(t.ep);
	t.ep = NULL;
	hear(&t, bye, NULL, 0);
	close(t.fd);
}

/* The end that says that it goes is gone. */
static void goodbye(void **state)
{
	up_peer from = UP_PEER_ANY;
	struct talk t = {0};
	uint64_t start;

	talk_begin(&t);
	up_am_set_handler(t.ep, 7, answer, &from);
	say(&t, request);
	hear(&t, reply, NULL, 0);
	assert_int_equal(up_peer_error(t.ep, from), 0);
	say(&t, bye);
	for (start = rig_now_us(); !up_peer_error(t.ep, from); rig_patience(start))
		up_progress(t.ep);
	assert_int_equal(up_peer_error(t.ep, from), -EHOSTDOWN);
	up_ep_close(t.ep);
	close(t.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(conversation),
		cmocka_unit_test(goodbye),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
