/* SPDX-License-Identifier: BSD-2-Clause */
/* The protocol of tagged messages: its state in an endpoint, and its ends. */
#include "tag/tag.h"

#define MOST_UNEXPECTED ((size_t)64 << 20)

static int init(struct up_ep *ep)
{
	struct up_tag_state *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	if (up_tag_index_init(&t->receives)) {
		free(t);
		return -ENOMEM;
	}
	up_list_init(&t->posted);
	up_list_init(&t->moving);
	up_list_init(&t->wild);
	up_tag_messages_init(t);
	up_pool_init(&t->recv_pool, sizeof(struct up_tag_recv));
	up_pool_init(&t->send_pool, up_tag_send_size());
	t->most = ep->attr.max_unexpected ? ep->attr.max_unexpected : MOST_UNEXPECTED;
	ep->tag = t;
	return 0;
}

static void end_posted(struct up_ep *ep, struct up_tag_recv *r, int status)
{
	struct up_tag_info info = {.from = r->from, .tag = r->tag};

	up_tag_unpost(ep->tag, r);
	up_tag_recv_end(ep, r, status, &info);
}

static struct up_tag_recv *find_from(struct up_tag_state *t, up_peer from)
{
	struct up_list *at, *tmp;

	up_list_each (at, tmp, &t->posted) {
		struct up_tag_recv *r = UP_CONTAINER_OF(at, struct up_tag_recv, all);

		if (r->from == from)
			return r;
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
		end_posted(ep, r, status);
}

static void end_moving(struct up_ep *ep, struct up_tag_recv *r)
{
	struct up_tag_info info = r->info;

	up_list_del(&r->all);
	up_bulk_abort(&r->bulk);
	up_tag_recv_end(ep, r, -ECANCELED, &info);
}

static void fini(struct up_ep *ep)
{
	struct up_tag_state *t = ep->tag;

	t->closing = true;
	while (!up_list_empty(&t->moving))
		end_moving(ep, UP_CONTAINER_OF(t->moving.next, struct up_tag_recv, all));
	while (!up_list_empty(&t->posted))
		end_posted(ep, UP_CONTAINER_OF(t->posted.next, struct up_tag_recv, all),
			   -ECANCELED);
	up_tag_messages_fini(t);
	for (unsigned c = 0; c < t->classes; c++)
		up_tag_index_fini(&t->class[c].messages);
	up_tag_index_fini(&t->receives);
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
	.handlers = {[UP_PKT_TAG_EAGER] = up_tag_eager_packet,
		     [UP_PKT_TAG_RENDEZVOUS] = up_tag_rendezvous_packet},
};
