/* SPDX-License-Identifier: BSD-2-Clause */
/* Sending: eager, in one packet, or by rendezvous, where the receiver moves the data. */
#include "tag/tag.h"

#include <string.h>

#define FLAGS (UP_INJECT | UP_DELIVERED | UP_FENCE | UP_IMM | UP_AT_ONCE)
/* In `flags`, of messages without a tag. */
#define UNTAGGED (1u << 16)

/* A message that could not be sent and forgotten at once. */
struct send {
	struct up_op op;
	struct up_ep *ep;
	struct up_peer_state *peer;
	uint64_t tag;
	uint64_t imm;
	unsigned flags;
	up_done *done;
	void *ctx;
	void *copy;  /* of what was injected; or NULL */
	size_t kept; /* bytes that it counts for, of the peer's and the endpoint's */
	struct up_bulk_source source;
	struct iovec iov[UP_IOV_MAX];
};

size_t up_tag_send_size(void)
{
	return sizeof(struct send);
}

static bool is_eager(const struct up_peer_state *peer, size_t bytes)
{
	return bytes <= up_max_payload(peer) && !up_bulk_direct(peer, bytes, false);
}

static void set_flags(struct up_packet *p, unsigned flags, uint64_t imm)
{
	if (flags & UP_IMM) {
		p->flags = UP_PKT_F_IMM;
		p->b = imm;
	}
	if (flags & UNTAGGED)
		p->flags |= UP_PKT_F_UNTAGGED;
}

/* One packet; with an operation where an answer is wanted. */
static int send_eager(struct up_peer_state *peer, struct up_op *op, uint64_t tag,
		      const struct iovec *iov, size_t n, size_t bytes, uint64_t imm, unsigned flags)
{
	struct up_packet p = {.type = UP_PKT_TAG_EAGER, .a = tag};
	void *to = up_send_reserve(peer, op, bytes, op ? 0 : -1);

	if (!to)
		return -EAGAIN;
	set_flags(&p, flags, imm);
	if (__builtin_expect(n != 1, 0))
		up_iov_read(to, iov, n, 0, bytes);
	else if (bytes)
		up_copy_short(to, iov[0].iov_base, bytes);
	up_send_commit(peer, op, &p, bytes);
	return 0;
}

static void discard(struct send *s)
{
	s->peer->kept -= s->kept;
	s->ep->tag->kept -= s->kept;
	up_bulk_withdraw(s->ep, &s->source);
	free(s->copy);
	up_pool_put(&s->ep->tag->send_pool, s);
}

static void end(struct send *s, int status)
{
	up_done *done = s->done;
	void *ctx = s->ctx;
	size_t bytes = s->source.bytes;
	bool tell = done && (status || !(s->flags & UP_INJECT));
	struct up_ep *ep = s->ep;

	discard(s);
	if (tell) {
		done(ctx, status, status ? 0 : bytes);
		up_core_told(ep);
	}
}

static void answered(struct up_op *op, int status, const struct up_packet *p, const void *payload)
{
	end(UP_CONTAINER_OF(op, struct send, op), status);
}

static int send_rendezvous(struct send *s)
{
	struct up_packet p = {.type = UP_PKT_TAG_RENDEZVOUS, .a = s->tag};
	void *to;

	if (!s->source.cookie && up_bulk_offer(s->ep, &s->source))
		return -EAGAIN;
	to = up_send_reserve(s->peer, &s->op, sizeof(struct up_pkt_source), 0);
	if (!to)
		return -EAGAIN;
	up_bulk_describe(to, &s->source);
	set_flags(&p, s->flags, s->imm);
	up_send_commit(s->peer, &s->op, &p, sizeof(struct up_pkt_source));
	return 0;
}

/* 0: sent, and perhaps ended; or -EAGAIN. */
static int start(struct send *s)
{
	bool answer = s->flags & UP_DELIVERED, eager;
	int ret;

	if (s->flags & UP_FENCE && !up_peer_quiet(s->peer))
		return -EAGAIN;
	eager = is_eager(s->peer, s->source.bytes);
	if ((answer || !eager) && !up_answer_lasting(s->peer))
		return -EAGAIN;
	if (!eager)
		return send_rendezvous(s);
	ret = send_eager(s->peer, answer ? &s->op : NULL, s->tag, s->source.iov, s->source.n,
			 s->source.bytes, s->imm, s->flags);
	if (!ret && !answer)
		end(s, 0);
	return ret;
}

static int resume(struct up_op *op)
{
	return start(UP_CONTAINER_OF(op, struct send, op));
}

/* What a caller wants to be sent. */
struct message {
	uint64_t tag;
	const struct iovec *iov;
	size_t n;
	size_t bytes;
	uint64_t imm;
	unsigned flags;
	up_done *done;
	void *ctx;
};

/* The memory of the pieces is the operation's own from here on. */
static int copy_injected(struct send *s)
{
	s->copy = malloc(s->source.bytes ? s->source.bytes : 1);
	if (!s->copy)
		return -EAGAIN;
	up_iov_read(s->copy, s->iov, s->source.n, 0, s->source.bytes);
	s->iov[0] = (struct iovec){.iov_base = s->copy, .iov_len = s->source.bytes};
	s->source.n = 1;
	return 0;
}

static struct send *create(struct up_ep *ep, struct up_peer_state *peer, const struct message *m)
{
	struct send *s = up_pool_get(&ep->tag->send_pool);

	if (!s)
		return NULL;
	s->op = (struct up_op){.answered = answered, .resume = resume};
	s->ep = ep;
	s->peer = peer;
	s->tag = m->tag;
	s->imm = m->imm;
	s->flags = m->flags;
	s->done = m->done;
	s->ctx = m->ctx;
	s->copy = NULL;
	s->kept = 0;
	s->source =
		(struct up_bulk_source){.peer = peer, .iov = s->iov, .n = m->n, .bytes = m->bytes};
	if (m->n)
		memcpy(s->iov, m->iov, m->n * sizeof(*m->iov));
	if (m->flags & UP_INJECT && copy_injected(s)) {
		up_pool_put(&ep->tag->send_pool, s);
		return NULL;
	}
	return s;
}

static int send_with_op(struct up_ep *ep, struct up_peer_state *peer, const struct message *m)
{
	bool fenced = m->flags & UP_FENCE && !up_peer_quiet(peer);
	struct send *s = create(ep, peer, m);
	int ret;

	if (!s)
		return -EAGAIN;
	if (fenced) {
		up_op_park(peer, &s->op);
		return 0;
	}
	ret = start(s);
	if (ret)
		discard(s);
	return ret;
}

/* There was no room: it is sent later, or refused. */
static int keep(struct up_ep *ep, struct up_peer_state *peer, const struct message *m)
{
	size_t copied = m->flags & UP_INJECT ? m->bytes + !m->bytes : 0;
	struct send *s;

	if (m->flags & UP_AT_ONCE)
		return -EAGAIN;
	/* A receiver that looks makes room sooner, and then nothing is copied here. */
	if (peer->refusals < UP_TAG_KEEP_AFTER) {
		peer->refusals++;
		return -EAGAIN;
	}
	if (peer->nparked >= UP_TAG_KEPT || peer->kept + copied > UP_TAG_KEPT_BYTES)
		return -EAGAIN;
	s = create(ep, peer, m);
	if (!s)
		return -EAGAIN;
	s->kept = copied;
	peer->kept += copied;
	ep->tag->kept += copied;
	up_op_park(peer, &s->op);
	return 0;
}

static __attribute__((noinline)) int send_slow(struct up_ep *ep, struct up_peer_state *peer,
					       const struct message *m)
{
	bool plain = !(m->flags & (UP_DELIVERED | UP_FENCE)) && is_eager(peer, m->bytes);
	int ret = -EAGAIN;

	if (!plain && !up_peer_stuck(peer))
		ret = send_with_op(ep, peer, m);
	return ret == -EAGAIN ? keep(ep, peer, m) : ret;
}

static int send_locked(struct up_ep *ep, up_peer to, const struct message *m)
{
	struct up_peer_state *peer;
	int ret = 0;

	peer = up_peer_get(ep, to, &ret);
	if (!peer)
		return ret;
	if (__builtin_expect(up_peer_stuck(peer) || m->flags & (UP_DELIVERED | UP_FENCE) ||
				     !is_eager(peer, m->bytes),
			     0) ||
	    __builtin_expect(
		    send_eager(peer, NULL, m->tag, m->iov, m->n, m->bytes, m->imm, m->flags) != 0,
		    0))
		return send_slow(ep, peer, m);
	if (m->done && !(m->flags & UP_INJECT)) {
		m->done(m->ctx, 0, m->bytes);
		up_core_told(ep);
	}
	return 0;
}

static inline int send(struct up_ep *ep, up_peer peer, struct message *m)
{
	int ret;

	if (!up_iov_valid(m->iov, m->n))
		return -EINVAL;
	m->bytes = m->n == 1 ? m->iov[0].iov_len : up_iov_bytes(m->iov, m->n);
	if (m->flags & UP_INJECT && m->bytes > UP_INJECT_MAX)
		return -EINVAL;
	up_ep_lock(ep);
	ret = send_locked(ep, peer, m);
	up_ep_unlock(ep);
	return ret;
}

int up_tag_send(struct up_ep *ep, up_peer peer, uint64_t tag, const struct iovec *iov, size_t n,
		uint64_t imm, unsigned flags, up_done *done, void *ctx)
{
	struct message m = {.tag = tag,
			    .iov = iov,
			    .n = n,
			    .imm = imm,
			    .flags = flags,
			    .done = done,
			    .ctx = ctx};

	return flags & ~FLAGS ? -EINVAL : send(ep, peer, &m);
}

int up_msg_send(struct up_ep *ep, up_peer peer, const struct iovec *iov, size_t n, uint64_t imm,
		unsigned flags, up_done *done, void *ctx)
{
	struct message m = {.iov = iov,
			    .n = n,
			    .imm = imm,
			    .flags = flags | UNTAGGED,
			    .done = done,
			    .ctx = ctx};

	return flags & ~FLAGS ? -EINVAL : send(ep, peer, &m);
}
