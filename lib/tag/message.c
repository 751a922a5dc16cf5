/* SPDX-License-Identifier: BSD-2-Clause */
/* Messages that no receive waits for: their memory, and peek, claim and discard. */
#include "tag/tag.h"

#include <string.h>

/* Bytes of data of the messages that have pools. */
#define SMALL 64
#define MEDIUM 1024

static void init_pools(struct up_tag_state *t)
{
	up_pool_init(&t->small_pool, sizeof(struct up_tag_message) + SMALL);
	up_pool_init(&t->medium_pool, sizeof(struct up_tag_message) + MEDIUM);
}

void up_tag_messages_init(struct up_tag_state *t)
{
	up_list_init(&t->claimed);
	init_pools(t);
}

struct up_tag_message *up_tag_message_create(struct up_tag_state *t, size_t bytes)
{
	struct up_pool *pool = bytes <= SMALL	 ? &t->small_pool
			       : bytes <= MEDIUM ? &t->medium_pool
						 : NULL;
	size_t size = sizeof(struct up_tag_message) + bytes;
	struct up_tag_message *m = pool ? up_pool_get(pool) : malloc(size);

	if (!m)
		return NULL;
	m->pool = pool;
	m->held = pool ? pool->size : size;
	t->held += m->held; /* NOLINT(clang-analyzer-core.NullDereference): every endpoint has it */
	return m;
}

void up_tag_message_free(struct up_tag_state *t, struct up_tag_message *m)
{
	t->held -= m->held;
	if (m->pool)
		up_pool_put(m->pool, m);
	else
		free(m);
}

static void free_list(struct up_tag_state *t, struct up_list *list)
{
	struct up_list *at, *tmp;

	up_list_each (at, tmp, list)
		up_tag_message_free(t, UP_CONTAINER_OF(at, struct up_tag_message, all));
	up_list_init(list);
}

void up_tag_messages_fini(struct up_tag_state *t)
{
	for (unsigned k = 0; k < UP_TAG_KINDS; k++)
		free_list(t, &t->space[k].unexpected);
	free_list(t, &t->claimed);
	up_pool_fini(&t->small_pool);
	up_pool_fini(&t->medium_pool);
}

/* What came whole is still good; of the others nothing will come. */
static void unexpected_peer_gone(struct up_tag_state *t, struct up_tag_space *space,
				 const struct up_peer_state *peer)
{
	struct up_list *at, *tmp;

	up_list_each (at, tmp, &space->unexpected) {
		struct up_tag_message *m = UP_CONTAINER_OF(at, struct up_tag_message, all);

		if (m->peer != peer)
			continue;
		m->peer = NULL;
		if (m->rendezvous) {
			up_tag_unkeep(space, m);
			up_tag_message_free(t, m);
		}
	}
}

void up_tag_messages_peer_gone(struct up_tag_state *t, struct up_peer_state *peer)
{
	struct up_list *at, *tmp;

	for (unsigned k = 0; k < UP_TAG_KINDS; k++)
		unexpected_peer_gone(t, &t->space[k], peer);
	/* Claimed ones say so when they are received. */
	up_list_each (at, tmp, &t->claimed) {
		struct up_tag_message *m = UP_CONTAINER_OF(at, struct up_tag_message, all);

		if (m->peer == peer)
			m->peer = NULL;
	}
}

static unsigned messages_of(const struct up_list *messages, const struct up_peer_state *peer)
{
	const struct up_list *at;
	unsigned n = 0;

	for (at = messages->next; at != messages; at = at->next)
		n += UP_CONTAINER_OF(at, const struct up_tag_message, all)->peer == peer;
	return n;
}

unsigned up_tag_messages_of(const struct up_tag_state *t, const struct up_peer_state *peer)
{
	unsigned n = messages_of(&t->claimed, peer);

	for (unsigned k = 0; k < UP_TAG_KINDS; k++)
		n += messages_of(&t->space[k].unexpected, peer);
	return n;
}

int up_tag_peek(struct up_ep *ep, up_peer from, uint64_t tag, uint64_t ignore,
		struct up_tag_info *info, struct up_tag_message **claim)
{
	struct up_tag_state *t = ep->tag;
	struct up_tag_message *m;

	up_ep_lock(ep);
	m = up_tag_find_message(&t->space[UP_TAG_TAGGED], tag, ignore, from, false);
	if (m && info)
		*info = m->info;
	if (m && claim) {
		up_tag_unkeep(m->space, m);
		up_list_add_tail(&t->claimed, &m->all);
		*claim = m;
	}
	up_ep_unlock(ep);
	return m ? 0 : -ENOENT;
}

const struct up_tag_info *up_tag_claimed(const struct up_tag_message *claim)
{
	return &claim->info;
}

int up_tag_recv_claimed(struct up_ep *ep, struct up_tag_message *claim, const struct iovec *iov,
			size_t n, up_tag_received *received, void *ctx)
{
	struct up_tag_recv *r;

	if (!up_iov_valid(iov, n) || !received)
		return -EINVAL;
	up_ep_lock(ep);
	r = up_tag_recv_create(ep->tag, iov, n, received, ctx);
	if (!r) {
		up_ep_unlock(ep);
		return -EAGAIN;
	}
	up_list_del(&claim->all);
	up_tag_take(ep, r, claim);
	up_ep_unlock(ep);
	return 0;
}

void up_tag_discard(struct up_ep *ep, struct up_tag_message *claim)
{
	up_ep_lock(ep);
	up_list_del(&claim->all);
	if (claim->peer)
		up_send_answer(claim->peer, claim->op, 0, NULL, 0);
	up_tag_message_free(ep->tag, claim);
	up_core_room(ep);
	up_ep_unlock(ep);
}
