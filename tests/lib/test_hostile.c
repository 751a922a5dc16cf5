/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Packets that no honest peer sends, of tagged messages and of one-sided operations: what is wrong
 * in itself ends the peer with -EPROTO, what names nothing is refused, and no memory is touched.
 */
#include "rig.h"

#include "base/bytes.h"
#include "base/log.h"
#include "bulk/bulk.h"

#include <stdlib.h>

static void received(void *ctx, int status, const struct up_tag_info *info)
{
	struct rig_done *got = ctx;

	got->calls++;
	got->status = status;
}

/* From b to a. */
static void inject(struct rig *rig, struct up_packet p, const void *payload, size_t bytes)
{
	uint8_t *packet = malloc(sizeof(p) + bytes);

	p.version = UP_PACKET_VERSION;
	p.bytes = (uint32_t)bytes;
	up_packet_put(packet, &p);
	if (bytes)
		memcpy(packet + sizeof(p), payload, bytes);
	fake_inject(rig->a, rig->b, packet, sizeof(p) + bytes);
	free(packet);
	rig_run(rig);
}

static bool alive(struct rig *rig)
{
	int error;

	return up_peer_get(rig->a, rig->to_b, &error) != NULL;
}

static void contact(struct rig *rig)
{
	uint64_t word = 0;
	struct iovec iov = {&word, 8};
	struct rig_done got[2] = {0};

	up_tag_recv(rig->a, rig->to_b, 0, 0, &iov, 1, received, &got[0], NULL);
	up_tag_recv(rig->b, rig->to_a, 0, 0, &iov, 1, received, &got[1], NULL);
	up_tag_send(rig->a, rig->to_b, 0, &iov, 1, 0, UP_INJECT, NULL, NULL);
	up_tag_send(rig->b, rig->to_a, 0, &iov, 1, 0, UP_INJECT, NULL, NULL);
	rig_until(rig, &got[0].calls, 1);
	rig_until(rig, &got[1].calls, 1);
}

static void wrong_in_itself(void **state)
{
	static const uint8_t zeros[64];
	static const struct {
		struct up_packet p;
		size_t bytes;
	} cases[] = {
		{{.type = UP_PKT_TAG_RENDEZVOUS}, 24}, /* no operation */
		{{.type = UP_PKT_TAG_RENDEZVOUS, .op = 5}, 23},
		{{.type = UP_PKT_TAG_RENDEZVOUS, .op = 5}, 32},
		{{.type = UP_PKT_TAG_PULL, .aux = 8}, 0},
		{{.type = UP_PKT_TAG_PULL, .op = 5, .aux = 8}, 8},
		{{.type = UP_PKT_WRITE, .op = 5, .flags = UP_PKT_F_IMM}, 7},
		{{.type = UP_PKT_WRITE_LARGE, .op = 5}, 0},
		{{.type = UP_PKT_WRITE_LARGE, .op = 5}, 24}, /* of nothing */
		{{.type = UP_PKT_WRITE_LARGE, .op = 5, .flags = UP_PKT_F_IMM}, 24},
		{{.type = UP_PKT_WRITE_LARGE}, 24},
		{{.type = UP_PKT_READ, .aux = 8}, 0},
		{{.type = UP_PKT_READ, .op = 5, .aux = 1 << 20}, 0},
		{{.type = UP_PKT_READ, .op = 5, .aux = UINT32_MAX}, 0},
		{{.type = UP_PKT_READ, .op = 5, .aux = 8}, 8},
		{{.type = UP_PKT_READ_LARGE, .op = 5}, 25},
		{{.type = UP_PKT_STAGE, .op = 5}, 24},
		{{.type = UP_PKT_WRITE_STAGED, .op = 5}, 24}, /* of nothing */
		{{.type = UP_PKT_READ_STAGED, .op = 5}, 24},
		{{.type = UP_PKT_WRITE_HALF, .op = 5}, 32},
		{{.type = UP_PKT_READ_HALF, .op = 5}, 32},
		{{.type = UP_PKT_ATOMIC, .op = 5, .aux = UP_ATOMIC_OPS | 1 << 16}, 1},
		{{.type = UP_PKT_ATOMIC, .op = 5, .aux = UP_ATOMIC_TYPES << 8 | 1 << 16}, 1},
		{{.type = UP_PKT_ATOMIC, .op = 5, .aux = UP_ATOMIC_SUM}, 0},
		{{.type = UP_PKT_ATOMIC, .op = 5, .aux = UP_ATOMIC_SUM | 2 << 16}, 1},
		{{.type = UP_PKT_ATOMIC, .op = 5, .aux = UP_ATOMIC_CSWAP | 1 << 16}, 2},
		{{.type = UP_PKT_ATOMIC, .op = 5, .aux = UP_ATOMIC_READ | 1 << 16}, 0},
		{{.type = UP_PKT_ATOMIC, .aux = UP_ATOMIC_READ | 1 << 16, .flags = UP_PKT_F_FETCH},
		 0},
		{{.type = UP_PKT_ATOMIC, .op = 5, .aux = UP_ATOMIC_SUM | 300u << 16}, 0},
	};

	for (unsigned i = 0; i < UP_ARRAY_SIZE(cases); i++) {
		struct rig rig;

		rig_setup(&rig, NULL);
		contact(&rig);
		inject(&rig, cases[i].p, zeros, cases[i].bytes);
		assert_false(alive(&rig));
		rig_teardown(&rig);
	}
}

static void source(uint8_t *to, uint64_t bytes, uint64_t cookie, uint64_t address)
{
	struct up_pkt_source s = {htole64(bytes), htole64(cookie), htole64(address)};

	memcpy(to, &s, sizeof(s));
}

/* Sources with lengths and addresses that wrap around. */
static void wrong_sources(void **state)
{
	static const uint64_t cases[][2] = {
		{UINT64_MAX, 0},
		{(uint64_t)INT64_MAX + 1, 8},
		{4096, UINT64_MAX - 100},
	};
	uint8_t payload[24];

	for (unsigned i = 0; i < 3 * UP_ARRAY_SIZE(cases); i++) {
		static const uint8_t types[] = {UP_PKT_TAG_RENDEZVOUS, UP_PKT_WRITE_LARGE,
						UP_PKT_READ_LARGE};
		struct rig rig;

		rig_setup(&rig, NULL);
		contact(&rig);
		source(payload, cases[i / 3][0], 1, cases[i / 3][1]);
		inject(&rig, (struct up_packet){.type = types[i % 3], .op = 7}, payload, 24);
		assert_false(alive(&rig));
		rig_teardown(&rig);
	}
}

/* Halves beyond their piece, or by addresses that wrap around. One that is well formed finds no
 * stage, or no memory. */
static void wrong_halves(void **state)
{
	static const struct up_pkt_half cases[] = {
		{{0x1000, 65536, 0, 65536}, 0x1000},
		{{0x1000, 65535, 0, 65536}, 0x1000},
		{{0x2000, 65536, 0, 65536}, 0x1000},
		{{0x1000, 65536, 0, 65536}, UINT64_MAX - 100},
		{{0x1000, 65536, 0x8001, 65536}, 0x1000},
		{{0x1000, 65536, 4 * 0x8000, 65536}, 0x1000},
		{{0x1000, 1 << 20, 0, (512 << 10) + 1}, 0x1000},
	};

	for (unsigned i = 0; i < 2 * UP_ARRAY_SIZE(cases); i++) {
		const struct up_pkt_half *c = &cases[i / 2];
		struct up_pkt_half wire = {{htole64(c->part.piece), htole64(c->part.bytes),
					    htole32(c->part.at), htole32(c->part.len)},
					   htole64(c->address)};
		struct rig rig;

		rig_setup(&rig, NULL);
		contact(&rig);
		inject(&rig,
		       (struct up_packet){.type = i % 2 ? UP_PKT_READ_HALF : UP_PKT_WRITE_HALF,
					  .op = 7,
					  .a = 0x1000},
		       &wire, sizeof(wire));
		assert_int_equal(alive(&rig), i < 2);
		rig_teardown(&rig);
	}
}

/* Requests for memory that was never offered, and answers that nobody waits for. */
static void names_nothing(void **state)
{
	uint8_t *data = calloc(1, 100000), more[64] = {0};
	struct iovec iov = {data, 100000};
	struct rig_done sent = {0}, got = {0};
	struct up_bulk_state *bulk;
	struct up_packet pull = {.type = UP_PKT_TAG_PULL, .op = 9, .aux = 64};
	struct rig rig;

	fake.direct = false;
	rig_setup(&rig, NULL);
	contact(&rig);
	/* A real offer, and its neighbours. */
	assert_int_equal(up_tag_send(rig.a, rig.to_b, 1, &iov, 1, 0, 0, rig_done, &sent), 0);
	bulk = rig.a->bulk;
	for (unsigned i = 0; i < 8; i++) {
		static const uint64_t offsets[] = {100000 - 63, 100000, UINT64_MAX,
						   UINT64_MAX - 63};

		pull.a = (uint64_t)bulk->sources.slot[0].generation << 32;
		pull.b = i < 4 ? offsets[i] : 0;
		if (i >= 4)
			pull.a += i == 4   ? 1
				  : i == 5 ? UINT64_C(1) << 32
				  : i == 6 ? UINT32_MAX
					   : UINT64_MAX;
		inject(&rig, pull, NULL, 0);
		assert_true(alive(&rig));
	}
	for (uint32_t op = 1; op < 1000; op++)
		inject(&rig, (struct up_packet){.type = UP_PKT_ANSWER, .op = op * 77777}, more,
		       op % 64);
	assert_true(alive(&rig));
	assert_int_equal(sent.calls, 0);
	up_tag_recv(rig.b, rig.to_a, 1, 0, &iov, 1, received, &got, NULL);
	rig_until(&rig, &sent.calls, 1);
	assert_int_equal(sent.status, 0);
	rig_teardown(&rig);
	free(data);
}

/* An offer that is never kept: the receive waits, and ends with its peer. */
static void offer_not_kept(void **state)
{
	uint8_t *data = calloc(1, 100000), payload[24];
	struct iovec iov = {data, 100000};
	struct rig_done got = {0};
	struct rig rig;

	for (unsigned direct = 0; direct < 2; direct++) {
		memset(&got, 0, sizeof(got));
		fake.direct = direct;
		fake.fail_direct = direct;
		rig_setup(&rig, NULL);
		contact(&rig);
		up_tag_recv(rig.a, rig.to_b, 6, 0, &iov, 1, received, &got, NULL);
		source(payload, 100000, 12345, direct ? (uintptr_t)data : 0);
		inject(&rig, (struct up_packet){.type = UP_PKT_TAG_RENDEZVOUS, .op = 3, .a = 6},
		       payload, 24);
		rig_until(&rig, &got.calls, 1);
		/* Without get() the other end says that it has no such memory. */
		assert_int_equal(got.status, direct ? -EFAULT : -ECANCELED);
		rig_teardown(&rig);
	}
	free(data);
}

/* More large writes than any honest peer has room for answers. */
static void too_many_writes(void **state)
{
	uint8_t *memory = calloc(1, 100000), payload[24];
	struct up_region *region;
	struct rig rig;
	unsigned i;

	fake.direct = false;
	rig_setup(&rig, NULL);
	contact(&rig);
	up_region_open(rig.a, memory, 100000, 0, UP_RMA_WRITE, 5, &region);
	source(payload, 100000, 12345, 0);
	/* Nobody progresses at b, so that the queue is not worked off. */
	for (i = 0; i < 100000 && alive(&rig); i++) {
		uint8_t packet[sizeof(struct up_packet) + 24];
		struct up_packet p = {.version = UP_PACKET_VERSION,
				      .type = UP_PKT_WRITE_LARGE,
				      .op = i + 1,
				      .bytes = 24,
				      .b = 5};

		up_packet_put(packet, &p);
		memcpy(packet + sizeof(p), payload, 24);
		fake_inject(rig.a, rig.b, packet, sizeof(packet));
		up_progress(rig.a);
	}
	assert_in_range(i, 10, 1000);
	up_region_close(region);
	rig_teardown(&rig);
	free(memory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wrong_in_itself), cmocka_unit_test(wrong_sources),
		cmocka_unit_test(wrong_halves),	   cmocka_unit_test(names_nothing),
		cmocka_unit_test(offer_not_kept),  cmocka_unit_test(too_many_writes),
	};

	up_log_set_level(LOG_CRIT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
