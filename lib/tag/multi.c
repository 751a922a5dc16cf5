/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Receives for several messages. The receive stays posted while enough of its buffer is left; each
 * message gets the next piece of it. A message whose data comes later has a receive of its own for
 * its piece, a part. The receive is over when it takes no more and all its parts have ended.
 */
#include "tag/tag.h"

#include <string.h>

/* The memory for the next message, *bytes of it or what is left. */
static void *cut(struct up_tag_recv *w, size_t *bytes)
{
	uint8_t *at = w->iov[0].iov_base;

	if (*bytes > w->bytes)
		*bytes = w->bytes;
	w->iov[0].iov_base = at + *bytes;
	w->bytes -= *bytes;
	w->iov[0].iov_len = w->bytes;
	w->parts++;
	if (w->bytes < w->least) {
		up_tag_unpost(w->space, w);
		w->state = UP_TAG_MOVING;
	}
	return at;
}

/* A message is in its place. */
static void end(struct up_ep *ep, struct up_tag_recv *w, int status, struct up_tag_info *info)
{
	struct up_tag_info last = {.from = w->from, .last = true};
	bool over = !--w->parts && w->state == UP_TAG_MOVING;
	up_tag_received *received = w->received;
	void *ctx = w->ctx;
	int stopped = w->status;

	info->last = over && !stopped;
	if (over)
		up_tag_recv_free(ep->tag, w);
	received(ctx, status, info);
	if (over && stopped)
		received(ctx, stopped, &last);
	up_core_told(ep);
}

void up_tag_multi_place(struct up_ep *ep, struct up_tag_recv *r, struct up_peer_state *from,
			uint32_t op, const struct up_tag_info *info, const void *data)
{
	struct up_tag_info told = *info;
	size_t fits = told.bytes;

	told.data = cut(r, &fits);
	if (fits)
		memcpy(told.data, data, fits);
	if (op && from)
		up_send_answer(from, op, 0, NULL, 0);
	end(ep, r, fits < told.bytes ? -EMSGSIZE : 0, &told);
}

struct up_tag_recv *up_tag_part(struct up_ep *ep, struct up_tag_recv *r, size_t bytes)
{
	struct up_tag_recv *part = up_tag_recv_create(ep->tag, NULL, 0, NULL, NULL);

	if (!part)
		return NULL;
	part->whole = r;
	part->n = 1;
	part->iov[0].iov_base = cut(r, &bytes);
	part->iov[0].iov_len = bytes;
	part->bytes = bytes;
	part->from = r->from;
	part->tag = r->tag;
	return part;
}

void up_tag_part_end(struct up_ep *ep, struct up_tag_recv *part, int status,
		     const struct up_tag_info *info)
{
	struct up_tag_recv *w = part->whole;
	struct up_tag_info told = *info;

	told.data = part->iov[0].iov_base;
	up_tag_recv_free(ep->tag, part);
	end(ep, w, status, &told);
}

/* True: the message was taken. */
static bool take(struct up_ep *ep, struct up_tag_recv *r, struct up_tag_message *m)
{
	if (m->rendezvous) {
		r = up_tag_part(ep, r, m->info.bytes);
		if (!r)
			return false;
	}
	up_tag_unkeep(m->space, m);
	up_tag_take(ep, r, m);
	return true;
}

/* Is it still the receive that was posted with this number? The memory is a receive's in any case.
 */
static bool is_posted(const struct up_tag_recv *r, const struct up_tag_space *space, uint64_t seq)
{
	return r->state == UP_TAG_POSTED && r->space == space && r->seq == seq;
}

void up_tag_multi_post(struct up_ep *ep, struct up_tag_recv *r)
{
	struct up_tag_space *space = &ep->tag->space[UP_TAG_UNTAGGED];
	up_peer from = r->from;
	uint64_t seq;

	r->multi = true;
	r->status = 0;
	r->parts = 0;
	up_tag_post(space, r);
	ep->tag->look_through = UP_TAG_LANES_HOLD;
	up_core_room(ep);
	seq = r->seq;
	while (is_posted(r, space, seq)) {
		struct up_tag_message *m = up_tag_find_message(space, 0, 0, from, true);

		if (!m || !take(ep, r, m))
			break;
	}
}
