/* SPDX-License-Identifier: BSD-2-Clause */
/* Receives, and the packets that bring messages for them. */
#include "tag/tag.h"

#include <string.h>

struct up_tag_recv *up_tag_recv_create(struct up_tag_state *t, const struct iovec *iov, size_t n,
				       up_tag_received *received, void *ctx)
{
	struct up_tag_recv *r = up_pool_get(&t->recv_pool);

	if (!r)
		return NULL;
	up_list_init(&r->all);
	r->received = received;
	r->ctx = ctx;
	r->n = (uint32_t)n;
	r->multi = false;
	r->whole = NULL;
	r->bytes = 0;
	for (size_t i = 0; i < n; i++) {
		r->iov[i] = iov[i];
		r->bytes += iov[i].iov_len;
	}
	return r;
}

void up_tag_recv_free(struct up_tag_state *t, struct up_tag_recv *r)
{
	r->state = UP_TAG_FREE;
	up_pool_put(&t->recv_pool, r);
}

void up_tag_recv_end(struct up_ep *ep, struct up_tag_recv *r, int status,
		     const struct up_tag_info *info)
{
	up_tag_received *received = r->received;
	void *ctx = r->ctx;

	if (__builtin_expect(r->whole != NULL, 0)) {
		up_tag_part_end(ep, r, status, info);
		return;
	}
	up_tag_recv_free(ep->tag, r);
	received(ctx, status, info);
	up_core_told(ep);
}

void up_tag_recv_stop(struct up_ep *ep, struct up_tag_recv *r, int status)
{
	struct up_tag_info info = {.from = r->from, .tag = r->tag, .last = r->multi};

	up_tag_unpost(r->space, r);
	if (r->multi && r->parts) {
		r->state = UP_TAG_MOVING;
		r->status = status;
	} else {
		up_tag_recv_end(ep, r, status, &info);
	}
}

static void moved(struct up_bulk *b, int status)
{
	struct up_tag_recv *r = UP_CONTAINER_OF(b, struct up_tag_recv, bulk);
	struct up_tag_info info = r->info;
	struct up_ep *ep = b->peer->ep;

	up_list_del(&r->all);
	up_send_answer(b->peer, r->op, status, NULL, 0);
	if (!status && info.bytes > r->bytes)
		status = -EMSGSIZE;
	up_tag_recv_end(ep, r, status, &info);
}

/* r->info is set. */
static void move(struct up_ep *ep, struct up_tag_recv *r, struct up_peer_state *from, uint32_t op,
		 const struct up_pkt_source *source)
{
	r->op = op;
	r->state = UP_TAG_MOVING;
	up_list_add_tail(&ep->tag->moving, &r->all);
	r->bulk.peer = from;
	r->bulk.iov = r->iov;
	r->bulk.n = r->n;
	r->bulk.len = source->bytes < r->bytes ? source->bytes : r->bytes;
	r->bulk.remote = *source;
	r->bulk.put = false;
	r->bulk.done = moved;
	up_bulk_start(&r->bulk);
}

static void place(struct up_ep *ep, struct up_tag_recv *r, struct up_peer_state *from, uint32_t op,
		  const struct up_tag_info *info, const void *data)
{
	size_t fits = info->bytes < r->bytes ? info->bytes : r->bytes;

	if (__builtin_expect(r->n != 1, 0))
		up_iov_write(r->iov, r->n, 0, data, fits);
	else if (fits)
		up_copy_short(r->iov[0].iov_base, data, fits);
	if (op && from)
		up_send_answer(from, op, 0, NULL, 0);
	up_tag_recv_end(ep, r, fits < info->bytes ? -EMSGSIZE : 0, info);
}

void up_tag_take(struct up_ep *ep, struct up_tag_recv *r, struct up_tag_message *m)
{
	struct up_tag_info info = m->info;

	if (!m->rendezvous && r->multi) {
		up_tag_multi_place(ep, r, m->peer, m->op, &info, m->data);
	} else if (!m->rendezvous) {
		place(ep, r, m->peer, m->op, &info, m->data);
	} else if (m->peer) {
		r->info = info;
		move(ep, r, m->peer, m->op, &m->source);
	} else {
		up_tag_recv_end(ep, r, -EHOSTDOWN, &info);
	}
	up_tag_message_free(ep->tag, m);
	up_core_room(ep);
}

/* Can there be a message from the peer any more? */
static int may_come(struct up_ep *ep, up_peer from)
{
	int error = ep->tag->closing ? -ECANCELED : 0;

	if (from != UP_PEER_ANY)
		up_peer_get(ep, from, &error);
	return error;
}

static int post(struct up_ep *ep, struct up_tag_space *space, struct up_tag_recv *r,
		struct up_tag_message *m)
{
	int ret = m ? 0 : may_come(ep, r->from);

	if (ret) {
		up_tag_recv_free(ep->tag, r);
	} else if (m) {
		up_tag_unkeep(space, m);
		up_tag_take(ep, r, m);
	} else {
		up_tag_post(space, r);
		ep->tag->look_through = UP_TAG_LANES_HOLD;
		up_core_room(ep);
	}
	return ret;
}

static int receive(struct up_ep *ep, enum up_tag_kind kind, up_peer from, uint64_t tag,
		   uint64_t ignore, const struct iovec *iov, size_t n, up_tag_received *received,
		   void *ctx, struct up_tag_recv **recv)
{
	struct up_tag_space *space = &ep->tag->space[kind];
	struct up_tag_recv *r;
	int ret = -EAGAIN;

	if (!up_iov_valid(iov, n) || !received)
		return -EINVAL;
	up_ep_lock(ep);
	r = up_tag_recv_create(ep->tag, iov, n, received, ctx);
	if (r) {
		r->tag = tag;
		r->ignore = ignore;
		r->from = from;
		if (recv)
			*recv = r;
		ret = post(ep, space, r, up_tag_find_message(space, tag, ignore, from, true));
	}
	up_ep_unlock(ep);
	return ret;
}

int up_tag_recv(struct up_ep *ep, up_peer from, uint64_t tag, uint64_t ignore,
		const struct iovec *iov, size_t n, up_tag_received *received, void *ctx,
		struct up_tag_recv **recv)
{
	return receive(ep, UP_TAG_TAGGED, from, tag, ignore, iov, n, received, ctx, recv);
}

int up_msg_recv(struct up_ep *ep, up_peer from, const struct iovec *iov, size_t n,
		up_tag_received *received, void *ctx, struct up_tag_recv **recv)
{
	return receive(ep, UP_TAG_UNTAGGED, from, 0, 0, iov, n, received, ctx, recv);
}

int up_msg_recv_multi(struct up_ep *ep, up_peer from, void *buf, size_t len, size_t least,
		      up_tag_received *received, void *ctx, struct up_tag_recv **recv)
{
	struct iovec iov = {.iov_base = buf, .iov_len = len};
	struct up_tag_recv *r;
	int ret;

	if (!up_iov_valid(&iov, 1) || !received || !len)
		return -EINVAL;
	up_ep_lock(ep);
	r = up_tag_recv_create(ep->tag, &iov, 1, received, ctx);
	ret = r ? may_come(ep, from) : -EAGAIN;
	if (!ret) {
		r->tag = r->ignore = 0;
		r->from = from;
		r->least = least ? least : 1;
		if (recv)
			*recv = r;
		up_tag_multi_post(ep, r);
	} else if (r) {
		up_tag_recv_free(ep->tag, r);
	}
	up_ep_unlock(ep);
	return ret;
}

int up_tag_cancel(struct up_ep *ep, struct up_tag_recv *recv)
{
	int ret = -ENOENT;

	up_ep_lock(ep);
	if (recv->state == UP_TAG_POSTED) {
		up_tag_recv_stop(ep, recv, -ECANCELED);
		ret = 0;
	}
	up_ep_unlock(ep);
	return ret;
}

static void set_info(struct up_tag_info *info, const struct up_peer_state *from,
		     const struct up_packet *p, size_t bytes)
{
	info->from = from->id;
	info->tag = p->a;
	info->bytes = bytes;
	info->has_imm = p->flags & UP_PKT_F_IMM;
	info->imm = info->has_imm ? p->b : 0;
}

/*
 * May a message be kept? Beyond the bound nothing is, unless this end waits for something that may
 * be behind it: an answer of the same peer's, or a message for a receive. Each receive that is
 * posted then has what the lanes hold looked through once.
 */
static bool may_keep(struct up_tag_state *t, const struct up_peer_state *from, size_t data)
{
	size_t cost = up_lane_answer_cost(data);

	if (__builtin_expect(t->held < t->most, 1)) {
		t->look_through = UP_TAG_LANES_HOLD;
		return true;
	}
	if (from->nopen && t->held < 2 * t->most + UP_TAG_LANES_HOLD)
		return true;
	if ((up_list_empty(&t->space[UP_TAG_TAGGED].posted) &&
	     up_list_empty(&t->space[UP_TAG_UNTAGGED].posted)) ||
	    t->look_through < cost)
		return false;
	t->look_through -= cost;
	return true;
}

static struct up_tag_space *space_of(struct up_tag_state *t, const struct up_packet *p)
{
	return &t->space[p->flags & UP_PKT_F_UNTAGGED ? UP_TAG_UNTAGGED : UP_TAG_TAGGED];
}

static struct up_tag_message *keep(struct up_ep *ep, struct up_peer_state *from,
				   const struct up_packet *p, size_t data)
{
	struct up_tag_state *t = ep->tag;
	struct up_tag_message *m;

	if (!may_keep(t, from, data))
		return NULL;
	m = up_tag_message_create(t, data);
	if (!m)
		return NULL;
	m->peer = from;
	m->op = p->op;
	return m;
}

bool up_tag_eager_packet(struct up_ep *ep, struct up_peer_state *from, const struct up_packet *p,
			 const void *payload)
{
	struct up_tag_space *space = space_of(ep->tag, p);
	struct up_tag_recv *r = up_tag_find_recv(space, p->a, from->id);
	struct up_tag_message *m;

	if (__builtin_expect(r != NULL, 1)) {
		struct up_tag_info info;

		set_info(&info, from, p, p->bytes);
		if (__builtin_expect(r->multi, 0)) {
			up_tag_multi_place(ep, r, from, p->op, &info, payload);
			return true;
		}
		up_tag_unpost(space, r);
		place(ep, r, from, p->op, &info, payload);
		return true;
	}
	m = keep(ep, from, p, p->bytes);
	if (!m)
		return false;
	set_info(&m->info, from, p, p->bytes);
	m->rendezvous = false;
	memcpy(m->data, payload, p->bytes);
	up_tag_keep(space, m);
	return true;
}

bool up_tag_rendezvous_packet(struct up_ep *ep, struct up_peer_state *from,
			      const struct up_packet *p, const void *payload)
{
	struct up_tag_space *space = space_of(ep->tag, p);
	struct up_pkt_source source;
	struct up_tag_message *m;
	struct up_tag_recv *r;

	if (!p->op || p->bytes != sizeof(source) || up_bulk_parse(&source, payload)) {
		up_core_link_down(from->link, -EPROTO);
		return true;
	}
	r = up_tag_find_recv(space, p->a, from->id);
	if (r) {
		if (!r->multi)
			up_tag_unpost(space, r);
		else if (!(r = up_tag_part(ep, r, source.bytes)))
			return false;
		set_info(&r->info, from, p, source.bytes);
		move(ep, r, from, p->op, &source);
		return true;
	}
	m = keep(ep, from, p, 0);
	if (!m)
		return false;
	set_info(&m->info, from, p, source.bytes);
	m->rendezvous = true;
	m->source = source;
	up_tag_keep(space, m);
	return true;
}
