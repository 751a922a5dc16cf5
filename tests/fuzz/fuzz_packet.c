/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libFuzzer target: packets of a false peer to an endpoint (lib/am/packet.c, and from there all
 * protocols), while the endpoint has operations of its own open with it.
 *
 * Input: a byte of flags (bit 0: the lane reaches memory directly, bit 1: short rings), then steps,
 * a byte each (enum step, the rest of the byte is an argument) and what it says there.
 *
 * What must hold: an operation that was started ends once, and by the end of its endpoint at the
 * latest; memory outside of the region and of the receives' buffers never changes, nor does
 * memory that is only readable.
 */
#include "fuzz.h"

#include "../lib/fake_lane.h"
#include "core/private.h"

#include <underpass/underpass.h>

enum step {
	STEP_RAW,    /* length (2), bytes: a packet as it is */
	STEP_PACKET, /* type, flags, numbers (see packet()) */
	STEP_AM,
	STEP_SEND,
	STEP_RECV,
	STEP_RMA,
	STEP_PROGRESS, /* the victim's */
	STEP_HONEST,   /* the peer's: it handles what came as it should */
	STEP_DRAIN,    /* what is on its way to the peer gets lost */
	STEP_PEEK,
	STEP_CANCEL,
	STEP_RENEW, /* removed at both ends, and added again */
	STEPS
};

#define OPS 256
#define MEMORY 4096
#define GUARD 256
#define BUFFER 20000

struct op {
	unsigned started, ended;
};

static struct {
	struct up_ep *ep, *peer;
	up_peer to_peer, to_victim;
	struct up_region *writable, *readable;
	struct up_tag_recv *recv;
	struct op *recv_op;
	struct op ops[OPS];
	unsigned nops;
} v;

/* guard, writable region, guard, readable region, guard */
static uint8_t memory[2 * MEMORY + 3 * GUARD];
static uint8_t buffers[4][BUFFER];

static uint8_t *writable(void)
{
	return memory + GUARD;
}

static uint8_t *readable(void)
{
	return memory + 2 * GUARD + MEMORY;
}

/* ---- ends ---- */

static void ended(void *ctx, int status, size_t bytes)
{
	struct op *op = ctx;

	CHECK(status <= 0);
	op->ended++;
	CHECK(op->ended <= op->started);
}

static void received(void *ctx, int status, const struct up_tag_info *info)
{
	if (v.recv_op == ctx)
		v.recv = NULL;
	CHECK(status || info);
	ended(ctx, status, 0);
}

static struct op *new_op(void)
{
	struct op *op = v.nops < OPS ? &v.ops[v.nops++] : NULL;

	if (op)
		op->started = 1;
	return op;
}

static void result(struct op *op, int r)
{
	if (r) {
		CHECK(r == -EAGAIN || r == -EHOSTDOWN || r == -EINVAL);
		CHECK(!op->ended);
		op->started = 0;
	}
}

/* ---- the peer's packets ---- */

/* A number that fits to something: open operations of the victim's. */
static uint32_t some_op(struct fuzz_input *in)
{
	struct up_peer_state *peer = v.ep->peers[v.to_peer];
	uint8_t which = fuzz_u8(in);

	if (which & 0x80 || up_list_empty(&peer->open))
		return which & 1 ? fuzz_u32(in) : which;
	if (which & 1)
		return UP_CONTAINER_OF(peer->open.prev, struct up_op, open)->number;
	return UP_CONTAINER_OF(peer->open.next, struct up_op, open)->number;
}

/* An address, a key, a cookie, a tag, or anything. */
static uint64_t some_number(struct fuzz_input *in)
{
	uint8_t packet[sizeof(struct up_packet) + sizeof(struct up_pkt_source)] = {0};
	struct up_pkt_source source;
	uint8_t which = fuzz_u8(in);

	switch (which & 7) {
	case 0:
		return (uintptr_t)writable() + (int8_t)fuzz_u8(in);
	case 1:
		return (uintptr_t)readable() + MEMORY - (uint64_t)(int8_t)fuzz_u8(in);
	case 2:
		return up_region_key(v.writable);
	case 3:
		return up_region_key(v.readable);
	case 4: /* the cookie of the source that was offered last */
		fake_peek(v.peer, packet, sizeof(packet));
		memcpy(&source, packet + sizeof(struct up_packet), sizeof(source));
		return source.cookie;
	case 5:
		return fuzz_u8(in);
	case 6:
		return (uintptr_t)buffers[3] + fuzz_u8(in);
	default:
		return fuzz_number(in, 8);
	}
}

static void put_source(struct fuzz_input *in, uint8_t *to)
{
	struct up_pkt_source s = {
		.bytes = fuzz_u8(in) & 1 ? some_number(in) : fuzz_u16(in),
		.cookie = some_number(in),
		.address = some_number(in),
	};

	memcpy(to, &s, sizeof(s));
}

/* Header by its fields; the payload is a source or some bytes, or cut off. */
static void packet(struct fuzz_input *in)
{
	uint8_t out[sizeof(struct up_packet) + 300] = {0},
					       *payload = out + sizeof(struct up_packet);
	struct up_packet p = {.version = UP_PACKET_VERSION};
	uint8_t form;

	p.type = fuzz_u8(in) % (UP_PKT_TYPES + 1);
	p.flags = fuzz_u8(in) & (UP_PKT_FLAGS | 0x80);
	p.op = some_op(in);
	p.aux = fuzz_u32(in);
	p.a = some_number(in);
	p.b = some_number(in);
	form = fuzz_u8(in);
	p.bytes = form & 0x7f;
	if (form & 0x80) {
		p.bytes = sizeof(struct up_pkt_source) + (form & 8);
		put_source(in, payload + (form & 8));
	} else {
		const uint8_t *from = fuzz_take(in, p.bytes);

		if (from)
			memcpy(payload, from, p.bytes);
	}
	up_packet_put(out, &p);
	fake_inject(v.ep, v.peer, out, sizeof(p) + p.bytes);
}

static void raw(struct fuzz_input *in)
{
	size_t n = fuzz_u16(in) % FAKE_MAX_PACKET;
	const uint8_t *from = fuzz_take(in, n);

	if (from)
		fake_inject(v.ep, v.peer, from, n);
}

/* ---- the victim's own operations ---- */

static void am(struct fuzz_input *in)
{
	uint8_t head = fuzz_u8(in), room = fuzz_u8(in);
	struct op *op = new_op();

	if (op)
		result(op, up_am_request(v.ep, v.to_peer, head % 4, buffers[0], head % 65,
					 buffers[0], room * 16u, room * 8u, 0, ended, op));
}

static struct iovec piece(uint8_t *from, size_t bytes)
{
	return (struct iovec){.iov_base = from, .iov_len = bytes < BUFFER ? bytes : BUFFER};
}

static void send_message(struct fuzz_input *in)
{
	unsigned flags = fuzz_u8(in) & (UP_DELIVERED | UP_FENCE | UP_IMM);
	struct iovec iov = piece(buffers[1], fuzz_u16(in));
	struct op *op = new_op();

	if (op)
		result(op,
		       up_tag_send(v.ep, v.to_peer, fuzz_u8(in) & 3, &iov, 1, 7, flags, ended, op));
}

static void recv_message(struct fuzz_input *in)
{
	uint8_t which = fuzz_u8(in);
	struct iovec iov = piece(buffers[2], fuzz_u16(in));
	struct op *op = new_op();
	struct up_tag_recv *recv = NULL;
	int r;

	if (!op)
		return;
	v.recv_op = NULL;
	r = up_tag_recv(v.ep, which & 8 ? v.to_peer : UP_PEER_ANY, which & 3,
			which & 4 ? UINT64_MAX : 0, &iov, 1, received, op, &recv);
	result(op, r);
	v.recv = r || op->ended ? NULL : recv;
	v.recv_op = op;
}

static void one_sided(struct fuzz_input *in)
{
	uint8_t what = fuzz_u8(in);
	size_t bytes = fuzz_u16(in) % BUFFER;
	struct iovec iov = piece(buffers[3], bytes);
	struct up_rma_iov there = {.addr = (uintptr_t)writable(), .len = bytes, .key = 1};
	unsigned flags = what & UP_FENCE;
	struct op *op = new_op();

	if (!op)
		return;
	switch (what & 3) {
	case 0:
		result(op, up_rma_write(v.ep, v.to_peer, &iov, 1, &there, 1, 0, flags, ended, op));
		break;
	case 1:
		result(op, up_rma_read(v.ep, v.to_peer, &iov, 1, &there, 1, flags, ended, op));
		break;
	default:
		result(op, up_rma_atomic(v.ep, v.to_peer, UP_ATOMIC_SUM, UP_UINT64, 1 + bytes % 8,
					 buffers[0], NULL, what & 8 ? buffers[3] : NULL, there.addr,
					 1, flags, ended, op));
	}
}

static void peek(struct fuzz_input *in)
{
	uint8_t which = fuzz_u8(in);
	struct iovec iov = piece(buffers[2], fuzz_u16(in));
	struct up_tag_message *claim = NULL;
	struct up_tag_info info;
	struct op *op;

	if (up_tag_peek(v.ep, UP_PEER_ANY, which & 3, UINT64_MAX, &info,
			which & 4 ? &claim : NULL) ||
	    !claim)
		return;
	op = which & 8 ? new_op() : NULL;
	if (!op)
		up_tag_discard(v.ep, claim);
	else
		result(op, up_tag_recv_claimed(v.ep, claim, &iov, 1, received, op));
}

static void cancel(void)
{
	if (v.recv && !v.recv_op->ended)
		CHECK(up_tag_cancel(v.ep, v.recv) <= 0);
	v.recv = NULL;
}

/* ---- both ---- */

static up_peer add(struct up_ep *from, struct up_ep *to)
{
	uint8_t addr[UP_ADDR_MAX];
	size_t len = up_ep_address(to, addr);
	up_peer peer;

	CHECK(!up_peer_add(from, addr, len, &peer));
	return peer;
}

static void renew(void)
{
	up_peer_remove(v.ep, v.to_peer);
	up_peer_remove(v.peer, v.to_victim);
	up_progress(v.ep);
	up_progress(v.peer);
	v.to_peer = add(v.ep, v.peer);
	v.to_victim = add(v.peer, v.ep);
}

static void reply(struct up_am *call, void *arg)
{
	if (call->reply_room)
		CHECK(!up_am_reply(call, 1, NULL, 0, call->data,
				   call->bytes < call->reply_room ? call->bytes
								  : call->reply_room));
}

static struct up_ep *open_ep(void)
{
	const struct up_ep_attr attr = {
		.thread = UP_THREAD_SINGLE, .lanes = "fake", .max_unexpected = 16384};
	struct up_ep *ep;

	CHECK(!up_ep_open(&attr, &ep));
	CHECK(!up_am_set_handler(ep, 1, reply, NULL));
	return ep;
}

static void start(uint8_t flags)
{
	static bool added;

	if (!added)
		up_lanes_add(&fake_lane);
	added = true;
	memset(&v, 0, sizeof(v));
	fake = (struct fake_settings){
		.ring = flags & 2 ? 4 : 64,
		.direct = flags & 1,
		.memory = buffers[3],
		.memory_bytes = BUFFER,
	};
	memset(memory, 0x5a, sizeof(memory));
	v.ep = open_ep();
	v.peer = open_ep();
	v.to_peer = add(v.ep, v.peer);
	v.to_victim = add(v.peer, v.ep);
	CHECK(!up_region_open(v.ep, writable(), MEMORY, (uintptr_t)writable(),
			      UP_RMA_READ | UP_RMA_WRITE | UP_RMA_ATOMIC, 0, &v.writable));
	CHECK(!up_region_open(v.ep, readable(), MEMORY, (uintptr_t)readable(), UP_RMA_READ, 0,
			      &v.readable));
}

static void check_memory(void)
{
	for (size_t i = 0; i < sizeof(memory); i++)
		CHECK(memory[i] == 0x5a ||
		      (memory + i >= writable() && memory + i < writable() + MEMORY));
}

static void finish(void)
{
	up_region_close(v.writable);
	up_region_close(v.readable);
	up_ep_close(v.ep);
	up_ep_close(v.peer);
	for (unsigned i = 0; i < v.nops; i++)
		CHECK(v.ops[i].ended == v.ops[i].started);
	check_memory();
}

static void step(struct fuzz_input *in)
{
	switch (fuzz_u8(in) % STEPS) {
	case STEP_RAW:
		raw(in);
		break;
	case STEP_PACKET:
		packet(in);
		break;
	case STEP_AM:
		am(in);
		break;
	case STEP_SEND:
		send_message(in);
		break;
	case STEP_RECV:
		recv_message(in);
		break;
	case STEP_RMA:
		one_sided(in);
		break;
	case STEP_PROGRESS:
		up_progress(v.ep);
		break;
	case STEP_HONEST:
		up_progress(v.peer);
		break;
	case STEP_DRAIN:
		fake_drain(v.peer);
		break;
	case STEP_PEEK:
		peek(in);
		break;
	case STEP_CANCEL:
		cancel();
		break;
	default:
		renew();
	}
	/* Rubbish ends the connection: the rest of the input shall not go to waste. */
	if (v.ep->peers[v.to_peer]->error || v.peer->peers[v.to_victim]->error)
		renew();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	unsigned steps = 0;

	start(fuzz_u8(&in));
	while (in.left && steps++ < 500)
		step(&in);
	for (unsigned i = 0; i < 3; i++) {
		up_progress(v.ep);
		up_progress(v.peer);
	}
	finish();
	return 0;
}
