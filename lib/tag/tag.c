/* SPDX-License-Identifier: BSD-2-Clause */
/* The protocol of messages: its state in an endpoint, and its ends. */
#include "tag/tag.h"

#define MOST_UNEXPECTED ((size_t)64 << 20)

static void free_spaces(struct up_tag_state *t)
{
	for (unsigned k = 0; k < UP_TAG_KINDS; k++)
		up_tag_space_fini(&t->space[k]);
}

static int init(struct up_ep *ep)
{
	struct up_tag_state *t = calloc(1, sizeof(*t));
	int failed = 0;

	if (!t)
		return -ENOMEM;
	for (unsigned k = 0; k < UP_TAG_KINDS; k++)
		failed |= up_tag_space_init(&t->space[k]);
	if (failed) {
		free_spaces(t);
		free(t);
		return -ENOMEM;
	}
	up_list_init(&t->moving);
	up_tag_messages_init(t);
	up_pool_init(&t->recv_pool, sizeof(struct up_tag_recv));
	up_pool_init(&t->send_pool, up_tag_send_size());
	t->most = ep->attr.max_unexpected ? ep->attr.max_unexpected : MOST_UNEXPECTED;
	ep->tag = t;
	return 0;
}

/* A posted receive from the peer. */
static struct up_tag_recv *find_from(struct up_tag_state *t, up_peer from)
{
	struct up_list *at, *tmp;

	for (unsigned k = 0; k < UP_TAG_KINDS; k++) {
		up_list_each (at, tmp, &t->space[k].posted) {
			struct up_tag_recv *r = UP_CONTAINER_OF(at, struct up_tag_recv, all);

			if (r->from == from)
				return r;
		}
	}
	return NULL;
}

/* The transfers from the peer have ended by themselves (bulk/). */
static void peer_gone(struct up_ep *ep, struct up_peer_state *peer)
{
	int status = peer->error ? peer->error : -ECANCELED;
	struct up_tag_recv *r;

	up_tag_messages_peer_gone(ep->tag, peer);
	while ((r = find_from(ep->tag, peer->id)))
		up_tag_recv_stop(ep, r, status);
}

static unsigned busy(struct up_ep *ep, struct up_peer_state *peer)
{
	struct up_list *at, *tmp;
	unsigned n = find_from(ep->tag, peer->id) != NULL;

	up_list_each (at, tmp, &ep->tag->moving)
		n += UP_CONTAINER_OF(at, struct up_tag_recv, all)->info.from == peer->id;
	return n + up_tag_messages_of(ep->tag, peer);
}

static bool lingers(const struct up_ep *ep)
{
	return ep->tag->kept != 0;
}

static void end_moving(struct up_ep *ep, struct up_tag_recv *r)
{
	struct up_tag_info info = r->info;

	up_list_del(&r->all);
	up_bulk_abort(&r->bulk);
	up_tag_recv_end(ep, r, -ECANCELED, &info);
}

static void end_all_posted(struct up_ep *ep, const struct up_list *posted)
{
	while (!up_list_empty(posted))
		up_tag_recv_stop(ep, UP_CONTAINER_OF(posted->next, struct up_tag_recv, all),
				 -ECANCELED);
}

static void fini(struct up_ep *ep)
{
	struct up_tag_state *t = ep->tag;

	t->closing = true;
	while (!up_list_empty(&t->moving))
		end_moving(ep, UP_CONTAINER_OF(t->moving.next, struct up_tag_recv, all));
	for (unsigned k = 0; k < UP_TAG_KINDS; k++)
		end_all_posted(ep, &t->space[k].posted);
	up_tag_messages_fini(t);
	free_spaces(t);
	up_pool_fini(&t->recv_pool);
	up_pool_fini(&t->send_pool);
	free(t);
	ep->tag = NULL;
}

const struct up_protocol up_tag_protocol = {
	.name = "tag",
	.init = init,
	.fini = fini,
	.peer_gone = peer_gone,
	.busy = busy,
	.lingers = lingers,
	.handlers = {[UP_PKT_TAG_EAGER] = up_tag_eager_packet,
		     [UP_PKT_TAG_RENDEZVOUS] = up_tag_rendezvous_packet},
};
