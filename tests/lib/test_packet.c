/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The wire format, version 1 (am/packet.h): recorded packets, one of each type at least. They are
 * what other versions of the library send; a change that fails here is a new version.
 */
#include "../unit/unit.h"

#include "am/packet.h"
#include "base/bytes.h"

#include <underpass/am.h>

#include <errno.h>
#include <stdlib.h>

struct recorded {
	const char *name;
	const char *hex; /* header, payload */
	struct up_packet p;
};

/* Header fields as they lie there: version type flags bytes op aux a b. */
static const struct recorded recorded[] = {
	{"answer",
	 "01 01 0000 08000000 05001000 00000000 0000000000000000 0000000000000000"
	 "1122334455667788",
	 {1, UP_PKT_ANSWER, 0, 8, 0x100005, 0, 0, 0}},
	{"answer about memory that can be mapped",
	 "01 01 1000 00000000 05001000 00000000 0000000000000000 0000000000000000",
	 {1, UP_PKT_ANSWER, UP_PKT_F_MAP, 0, 0x100005, 0, 0, 0}},
	{"answer with an error",
	 "01 01 0000 00000000 05001000 0d000000 0000000000000000 0000000000000000",
	 {1, UP_PKT_ANSWER, 0, 0, 0x100005, EACCES, 0, 0}},
	{"am request",
	 "01 02 0000 07000000 01001000 07040000 1000000000000000 0000000000000000"
	 "68656164 646174",
	 {1, UP_PKT_AM_REQUEST, 0, 7, 0x100001, 7 | 4 << 8, 16, 0}},
	{"am request without an answer",
	 "01 02 0000 00000000 00000000 7f000000 0000000000000000 0000000000000000",
	 {1, UP_PKT_AM_REQUEST, 0, 0, 0, 127, 0, 0}},
	{"am reply",
	 "01 03 0000 03000000 01001000 02030000 0000000000000000 0000000000000000"
	 "616263",
	 {1, UP_PKT_AM_REPLY, 0, 3, 0x100001, 2 | 3 << 8, 0, 0}},
	{"tag eager",
	 "01 04 0000 02000000 00000000 00000000 efcdab8967452301 0000000000000000"
	 "6869",
	 {1, UP_PKT_TAG_EAGER, 0, 2, 0, 0, 0x0123456789abcdef, 0}},
	{"tag eager with immediate data",
	 "01 04 0100 00000000 02002000 00000000 0100000000000000 ffeeddccbbaa9988",
	 {1, UP_PKT_TAG_EAGER, UP_PKT_F_IMM, 0, 0x200002, 0, 1, 0x8899aabbccddeeff}},
	{"tag rendezvous",
	 "01 05 0100 18000000 03001000 00000000 0900000000000000 0a00000000000000"
	 "0000100000000000 0700000001000000 00f0ffff3f7f0000",
	 {1, UP_PKT_TAG_RENDEZVOUS, UP_PKT_F_IMM, 24, 0x100003, 0, 9, 10}},
	{"tag pull",
	 "01 06 0000 00000000 04001000 00100000 0700000001000000 0020000000000000",
	 {1, UP_PKT_TAG_PULL, 0, 0, 0x100004, 4096, 0x100000007, 8192}},
	{"write",
	 "01 07 0000 04000000 06001000 00000000 0000adde00000000 2a00000000000000"
	 "01020304",
	 {1, UP_PKT_WRITE, 0, 4, 0x100006, 0, 0xdead0000, 42}},
	{"write with immediate data",
	 "01 07 0100 09000000 00000000 00000000 0000adde00000000 2a00000000000000"
	 "1111111111111111 ff",
	 {1, UP_PKT_WRITE, UP_PKT_F_IMM, 9, 0, 0, 0xdead0000, 42}},
	{"message without a tag",
	 "01 04 0900 02000000 00000000 00000000 0000000000000000 0a00000000000000"
	 "0102",
	 {1, UP_PKT_TAG_EAGER, UP_PKT_F_IMM | UP_PKT_F_UNTAGGED, 2, 0, 0, 0, 10}},
	{"write, the last packet of it",
	 "01 07 2000 01000000 06001000 00000000 0000adde00000000 2a00000000000000"
	 "01",
	 {1, UP_PKT_WRITE, UP_PKT_F_LAST, 1, 0x100006, 0, 0xdead0000, 42}},
	{"write, the last packet of it to this key",
	 "01 07 4000 01000000 06001000 00000000 0000adde00000000 2a00000000000000"
	 "01",
	 {1, UP_PKT_WRITE, UP_PKT_F_LAST_HERE, 1, 0x100006, 0, 0xdead0000, 42}},
	{"large write",
	 "01 08 0100 20000000 07001000 00000000 0000adde00000000 2a00000000000000"
	 "1111111111111111 0000100000000000 0700000001000000 0000000000000000",
	 {1, UP_PKT_WRITE_LARGE, UP_PKT_F_IMM, 32, 0x100007, 0, 0xdead0000, 42}},
	{"read",
	 "01 09 0000 00000000 08001000 40000000 0000adde00000000 2a00000000000000",
	 {1, UP_PKT_READ, 0, 0, 0x100008, 64, 0xdead0000, 42}},
	{"large read",
	 "01 0a 0000 18000000 09001000 00000000 0000adde00000000 2a00000000000000"
	 "0000100000000000 0700000001000000 00f0ffff3f7f0000",
	 {1, UP_PKT_READ_LARGE, 0, 24, 0x100009, 0, 0xdead0000, 42}},
	{"atomic",
	 "01 0b 0600 10000000 0a001000 0c070100 0800adde00000000 2a00000000000000"
	 "0100000000000000 0200000000000000",
	 {1, UP_PKT_ATOMIC, UP_PKT_F_FETCH | UP_PKT_F_COMPARE, 16, 0x10000a, 12 | 7 << 8 | 1 << 16,
	  0xdead0008, 42}},
	{"map",
	 "01 0c 0000 00000000 0b001000 00000000 0000000000000000 2a00000000000000",
	 {1, UP_PKT_MAP, 0, 0, 0x10000b, 0, 0, 42}},
	{"stage",
	 "01 0d 0000 58000000 0c001000 02000000 0000000000000000 0000000000000000"
	 "0000000000000000 0001020000000000 0000000000000000"
	 "0102030405060708 0200000000000000 0000020000000000 0000000000000000"
	 "0300000000000000 0500000000000000 0000000000000000 0000000000000000",
	 {1, UP_PKT_STAGE, 0, 88, 0x10000c, 2, 0, 0}},
	{"staged write, the last packet of it",
	 "01 0e 2000 18000000 0d001000 00000000 0080adde00000000 2a00000000000000"
	 "0000adde00000000 0000010000000000 00800000 00800000",
	 {1, UP_PKT_WRITE_STAGED, UP_PKT_F_LAST, 24, 0x10000d, 0, 0xdead8000, 42}},
	{"staged read",
	 "01 0f 0000 18000000 0e001000 00000000 0000adde00000000 2a00000000000000"
	 "0000adde00000000 0000010000000000 00000100 00800000",
	 {1, UP_PKT_READ_STAGED, 0, 24, 0x10000e, 0, 0xdead0000, 42}},
	{"half of a write",
	 "01 10 0000 20000000 0f001000 00000000 0080adde00000000 2a00000000000000"
	 "0000adde00000000 0000010000000000 00f0ffff3f7f0000 00800000 00400000",
	 {1, UP_PKT_WRITE_HALF, 0, 32, 0x10000f, 0, 0xdead8000, 42}},
	{"half of a read",
	 "01 11 0000 20000000 10001000 00000000 0000adde00000000 2a00000000000000"
	 "0000adde00000000 0000010000000000 00f0ffff3f7f0000 00000000 00800000",
	 {1, UP_PKT_READ_HALF, 0, 32, 0x100010, 0, 0xdead0000, 42}},
};

static int digit(char c)
{
	return c <= '9' ? c - '0' : c - 'a' + 10;
}

/* Blanks do not count. */
static size_t from_hex(uint8_t *to, const char *hex)
{
	size_t n = 0;

	for (; *hex; hex++) {
		if (*hex == ' ')
			continue;
		to[n++] = (uint8_t)(digit(hex[0]) << 4 | digit(hex[1]));
		hex++;
	}
	return n;
}

static void parses_recorded(void **state)
{
	uint8_t packet[128];
	struct up_packet p;

	for (size_t i = 0; i < UP_ARRAY_SIZE(recorded); i++) {
		const struct recorded *r = &recorded[i];
		size_t n = from_hex(packet, r->hex);

		assert_int_equal(n, sizeof(p) + r->p.bytes);
		assert_int_equal(up_packet_parse(&p, packet, n), 0);
		assert_memory_equal(&p, &r->p, sizeof(p));
	}
}

static void puts_as_recorded(void **state)
{
	uint8_t packet[128], out[sizeof(struct up_packet)];

	for (size_t i = 0; i < UP_ARRAY_SIZE(recorded); i++) {
		from_hex(packet, recorded[i].hex);
		up_packet_put(out, &recorded[i].p);
		assert_memory_equal(out, packet, sizeof(out));
	}
}

static void has_one_of_each(void **state)
{
	bool have[UP_PKT_TYPES] = {false};

	for (size_t i = 0; i < UP_ARRAY_SIZE(recorded); i++)
		have[recorded[i].p.type] = true;
	for (unsigned t = 1; t < UP_PKT_TYPES; t++)
		assert_true(have[t]);
}

/* Every cut of every packet, and a trailing byte more, which a lane may have. */
static void refuses_wrong_lengths(void **state)
{
	uint8_t packet[129];
	struct up_packet p;

	for (size_t i = 0; i < UP_ARRAY_SIZE(recorded); i++) {
		size_t n = from_hex(packet, recorded[i].hex);

		for (size_t len = 0; len < n; len++) {
			/* Of its own size, so that a sanitizer sees what is read behind it. */
			uint8_t *cut = malloc(len ? len : 1);

			memcpy(cut, packet, len);
			assert_int_equal(up_packet_parse(&p, cut, len), -EPROTO);
			free(cut);
		}
		assert_int_equal(up_packet_parse(&p, packet, n + 1), 0);
	}
}

static void refuses_other_versions(void **state)
{
	uint8_t packet[128];
	struct up_packet p;

	for (size_t i = 0; i < UP_ARRAY_SIZE(recorded); i++) {
		size_t n = from_hex(packet, recorded[i].hex);

		packet[0] = 0;
		assert_int_equal(up_packet_parse(&p, packet, n), -EPROTONOSUPPORT);
		packet[0] = 2;
		assert_int_equal(up_packet_parse(&p, packet, n), -EPROTONOSUPPORT);
	}
}

static void refused(const struct up_packet *p)
{
	uint8_t packet[sizeof(*p) + UP_AM_HEAD_MAX + UP_AM_DATA_MAX + 64] = {0};
	struct up_packet out;

	up_packet_put(packet, p);
	assert_int_equal(up_packet_parse(&out, packet, sizeof(packet)), -EPROTO);
}

static void refuses_bad_fields(void **state)
{
	const struct up_packet bad[] = {
		{1, 0, 0, 0, 1, 0, 0, 0},				/* no type */
		{1, UP_PKT_TYPES, 0, 0, 1, 0, 0, 0},			/* unknown types */
		{1, 255, 0, 0, 1, 0, 0, 0},				/* unknown types */
		{1, UP_PKT_ANSWER, 0, 0, 0, 0, 0, 0},			/* to nothing */
		{1, UP_PKT_ANSWER, 0, 0, 1, 4096, 0, 0},		/* no errno */
		{1, UP_PKT_ANSWER, 0, 0, 1, UINT32_MAX, 0, 0},		/* no errno */
		{1, UP_PKT_ANSWER, UP_PKT_F_IMM, 0, 1, 0, 0, 0},	/* flag of others */
		{1, UP_PKT_ANSWER, 8, 0, 1, 0, 0, 0},			/* no flag */
		{1, UP_PKT_ANSWER, 0, 1u << 31, 1, 0, 0, 0},		/* too long */
		{1, UP_PKT_ANSWER, 0, UINT32_MAX, 1, 0, 0, 0},		/* too long */
		{1, UP_PKT_AM_REQUEST, 0, 8, 0, 9 << 8, 0, 0},		/* head beyond */
		{1, UP_PKT_AM_REQUEST, 0, 80, 0, 65 << 8, 0, 0},	/* long head */
		{1, UP_PKT_AM_REQUEST, 0, 80, 0, 0xffffff00, 0, 0},	/* long head */
		{1, UP_PKT_AM_REQUEST, 0, 4160, 0, 63 << 8, 0, 0},	/* long data */
		{1, UP_PKT_AM_REQUEST, 0, 4161, 0, 64 << 8, 0, 0},	/* long all */
		{1, UP_PKT_AM_REQUEST, 0, 0, 0, 128, 0, 0},		/* handler */
		{1, UP_PKT_AM_REQUEST, 0, 0, 0, 0, 1, 0},		/* reply to what? */
		{1, UP_PKT_AM_REQUEST, 0, 0, 1, 0, 4161, 0},		/* room */
		{1, UP_PKT_AM_REQUEST, 0, 0, 1, 0, UINT64_MAX, 0},	/* room */
		{1, UP_PKT_AM_REPLY, 0, 0, 0, 0, 0, 0},			/* to nothing */
		{1, UP_PKT_AM_REPLY, 0, 0, 1, 128, 0, 0},		/* handler */
		{1, UP_PKT_TAG_EAGER, UP_PKT_F_FETCH, 0, 0, 0, 0, 0},	/* flag of others */
		{1, UP_PKT_TAG_RENDEZVOUS, 0, 24, 0, 0, 0, 0},		/* no op */
		{1, UP_PKT_TAG_RENDEZVOUS, 0, 23, 1, 0, 0, 0},		/* short */
		{1, UP_PKT_TAG_RENDEZVOUS, 0, 25, 1, 0, 0, 0},		/* long */
		{1, UP_PKT_TAG_PULL, 0, 0, 0, 1, 0, 0},			/* no op */
		{1, UP_PKT_TAG_PULL, 0, 1, 1, 1, 0, 0},			/* payload */
		{1, UP_PKT_WRITE, UP_PKT_F_IMM, 7, 0, 0, 0, 0},		/* half the immediate */
		{1, UP_PKT_WRITE_LARGE, UP_PKT_F_IMM, 24, 1, 0, 0, 0},	/* no immediate */
		{1, UP_PKT_WRITE_LARGE, 0, 32, 1, 0, 0, 0},		/* whose immediate? */
		{1, UP_PKT_WRITE_LARGE, 0, 24, 0, 0, 0, 0},		/* no op */
		{1, UP_PKT_READ, 0, 0, 0, 8, 0, 0},			/* no op */
		{1, UP_PKT_READ, 0, 8, 1, 8, 0, 0},			/* payload */
		{1, UP_PKT_READ_LARGE, 0, 24, 0, 0, 0, 0},		/* no op */
		{1, UP_PKT_READ_LARGE, 0, 16, 1, 0, 0, 0},		/* short */
		{1, UP_PKT_ATOMIC, UP_PKT_F_FETCH, 8, 0, 0, 0, 0},	/* fetch to nowhere */
		{1, UP_PKT_STAGE, 0, 88, 0, 0, 0, 0},			/* no op */
		{1, UP_PKT_STAGE, 0, 80, 1, 0, 0, 0},			/* short */
		{1, UP_PKT_WRITE_STAGED, 0, 24, 0, 0, 0, 0},		/* no op */
		{1, UP_PKT_WRITE_STAGED, 0, 23, 1, 0, 0, 0},		/* short */
		{1, UP_PKT_WRITE_STAGED, UP_PKT_F_IMM, 32, 1, 0, 0, 0}, /* flag of others */
		{1, UP_PKT_READ_STAGED, 0, 24, 0, 0, 0, 0},		/* no op */
		{1, UP_PKT_READ_STAGED, 0, 25, 1, 0, 0, 0},		/* long */
		{1, UP_PKT_WRITE_HALF, 0, 32, 0, 0, 0, 0},		/* no op */
		{1, UP_PKT_WRITE_HALF, 0, 24, 1, 0, 0, 0},		/* short */
		{1, UP_PKT_WRITE_HALF, UP_PKT_F_LAST, 32, 1, 0, 0, 0},	/* it never is */
		{1, UP_PKT_READ_HALF, 0, 32, 0, 0, 0, 0},		/* no op */
		{1, UP_PKT_READ_HALF, 0, 33, 1, 0, 0, 0},		/* long */
		{1, UP_PKT_ATOMIC, UP_PKT_F_IMM, 8, 1, 0, 0, 0},	/* flag of others */
	};

	for (size_t i = 0; i < UP_ARRAY_SIZE(bad); i++)
		refused(&bad[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses_recorded),	  cmocka_unit_test(puts_as_recorded),
		cmocka_unit_test(has_one_of_each),	  cmocka_unit_test(refuses_wrong_lengths),
		cmocka_unit_test(refuses_other_versions), cmocka_unit_test(refuses_bad_fields),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
