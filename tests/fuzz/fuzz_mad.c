/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libFuzzer target: management datagrams to a port (up_mad_process()).
 *
 * Input: a byte of flags (bit 0: the port is active, bit 1: an adapter is attached), then datagrams
 * of 256 bytes; a shorter last one is filled up with zeroes.
 */
#include "fuzz.h"

#include "fabric/fabric_private.h"
#include "fabric/mad_layout.h"

static struct up_hca hca = {
	.pkeys = {UP_PKEY_DEFAULT},
	.stats = {.messages = 3, .bytes = 1ull << 35, .rx_messages = 1ull << 33, .rx_bytes = 7},
};

static void make_port(struct up_fabric_port *p, uint8_t flags)
{
	static char name[] = "fuzz";

	*p = (struct up_fabric_port){
		.pub = {.name = name, .tenant = name, .lid = 2, .guid = 0x0200000000000002},
		.node_desc = "fuzz",
	};
	p->pub.gid.raw[0] = 0xfe;
	p->pub.gid.raw[1] = 0x80;
	p->pub.active = flags & 1;
	p->pub.hca = flags & 2 ? &hca : NULL;
}

/* 13.4.5: a response repeats what identifies the request, and has no answer itself. */
static void check_answer(struct up_port *port, const uint8_t *in, const uint8_t *out)
{
	const struct mad_header *q = (const struct mad_header *)in;
	const struct mad_header *a = (const struct mad_header *)out;
	bool directed = q->mgmt_class == MAD_CLASS_SM_DIRECTED;
	uint8_t again[MAD_BYTES];

	CHECK(!(q->method & MAD_RESPONSE_BIT) && a->method == MAD_GET_RESP);
	CHECK(a->base_version == q->base_version && a->mgmt_class == q->mgmt_class);
	CHECK(a->class_version == q->class_version);
	CHECK(!memcmp(a->tid, q->tid, sizeof(a->tid)));
	CHECK(!memcmp(a->attribute, q->attribute, sizeof(a->attribute)));
	CHECK(!memcmp(a->modifier, q->modifier, sizeof(a->modifier)));
	CHECK(!!(a->status[0] & (MAD_DIRECTION >> 8)) == directed);
	CHECK(!up_mad_process(port, out, again));
}

/* The same datagram again, in and out in one buffer: the answer is the same. */
static void check_repetition(struct up_port *port, const uint8_t *in, const uint8_t *out)
{
	uint8_t both[MAD_BYTES];

	memcpy(both, in, sizeof(both));
	CHECK(up_mad_process(port, both, both));
	CHECK(!memcmp(both, out, sizeof(both)));
}

static void play(struct up_fabric_port *p, const uint8_t *bytes, size_t size)
{
	/* Of its own on the heap, so that the sanitizer knows where it ends. */
	uint8_t *in = calloc(1, MAD_BYTES), *out = malloc(MAD_BYTES);
	struct up_fabric_port before = *p;

	CHECK(in && out);
	memcpy(in, bytes, size);
	if (up_mad_process(&p->pub, in, out)) {
		check_answer(&p->pub, in, out);
		check_repetition(&p->pub, in, out);
	}
	CHECK(!memcmp(in, bytes, size));
	/* Nothing but the counters' zero can be changed by a datagram. */
	before.pma = p->pma;
	CHECK(!memcmp(&before, p, sizeof(before)));
	free(in);
	free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	struct up_fabric_port port;

	make_port(&port, fuzz_u8(&in));
	while (in.left) {
		size_t n = in.left < MAD_BYTES ? in.left : MAD_BYTES;

		play(&port, fuzz_take(&in, n), n);
	}
	return 0;
}
