/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Leaving a peer whose address was removed, so that neither end notices. The library's
 * up_peer_remove() alone would look like this endpoint's end there. So the two agree first, by
 * active messages: this end asks when it has nothing open with the peer; the other, if it has
 * nothing open either, says yes and forgets its handle of this end, and then this end does.
 * Whatever either had sent before has arrived by then, as messages are in order. Whoever has
 * something to send later makes contact anew, as with any address that was not used yet
 * (upf_av_peer()).
 *
 * Until the answer is there this end starts nothing with the peer (-FI_EAGAIN), were the address
 * inserted again. If it is no, this end asks again after a while.
 */
#include "provider.h"

#include <stdlib.h>

enum {
	ASK,	/* a request, without data */
	ANSWER, /* the reply: a byte, 1 for yes */
};

/* Progresses between two questions at most. */
#define PATIENCE (1u << 20)

struct leave {
	struct up_list link; /* struct upf_ep.leaving */
	struct upf_ep *ep;
	up_peer peer;
	bool asked; /* and the answer is to come */
	bool yes;
	unsigned wait; /* progresses before it asks again, and how many there were */
	unsigned waited;
};

static struct leave *find(const struct upf_ep *ep, up_peer peer)
{
	struct up_list *at, *tmp;

	up_list_each (at, tmp, &ep->leaving) {
		struct leave *l = UP_CONTAINER_OF(at, struct leave, link);

		if (l->peer == peer)
			return l;
	}
	return NULL;
}

static void drop(struct leave *l)
{
	up_list_del(&l->link);
	__atomic_sub_fetch(&l->ep->nleaving, 1, __ATOMIC_RELAXED);
	free(l);
}

static void remove_peer(struct leave *l)
{
	up_peer_remove(l->ep->up, l->peer);
	drop(l);
}

/* ---- this end leaves ---- */

static void asked(void *ctx, int status, size_t bytes)
{
	struct leave *l = ctx;

	l->asked = false;
	if (l->yes || status == -EHOSTDOWN)
		remove_peer(l);
	else if (status)
		drop(l); /* this end closes, or the other does not know of this */
	else if (l->wait < PATIENCE)
		l->wait *= 2;
}

static void ask(struct leave *l)
{
	int error = up_peer_error(l->ep->up, l->peer);

	if (l->asked || ++l->waited < l->wait)
		return;
	l->waited = 0;
	if (error) {
		remove_peer(l);
		return;
	}
	if (up_peer_busy(l->ep->up, l->peer))
		return;
	l->asked = true;
	error = up_am_request(l->ep->up, l->peer, ASK, NULL, 0, NULL, 0, 1, 0, asked, l);
	if (error)
		l->asked = false;
}

void upf_leave(struct upf_ep *ep, up_peer peer)
{
	struct leave *l;

	up_ep_enter(ep->up);
	l = find(ep, peer) ? NULL : calloc(1, sizeof(*l));
	if (l) {
		l->ep = ep;
		l->peer = peer;
		l->wait = 1;
		up_list_add_tail(&ep->leaving, &l->link);
		__atomic_add_fetch(&ep->nleaving, 1, __ATOMIC_RELAXED);
		ask(l);
	}
	up_ep_leave(ep->up);
}

bool upf_stay(struct upf_ep *ep, up_peer peer)
{
	struct leave *l;
	bool stays;

	if (likely(!__atomic_load_n(&ep->nleaving, __ATOMIC_RELAXED)))
		return true;
	up_ep_enter(ep->up);
	l = find(ep, peer);
	stays = !l || !l->asked;
	if (l && stays)
		drop(l);
	up_ep_leave(ep->up);
	return stays;
}

void upf_leaves_progress(struct upf_ep *ep)
{
	struct up_list *at, *tmp;

	up_ep_enter(ep->up);
	up_list_each (at, tmp, &ep->leaving)
		ask(UP_CONTAINER_OF(at, struct leave, link));
	up_ep_leave(ep->up);
}

/* ---- the other one does ---- */

static void answer(struct up_am *am, bool yes)
{
	const uint8_t byte = yes;

	if (am->reply_room)
		up_am_reply(am, ANSWER, NULL, 0, &byte, sizeof(byte));
}

static void on_ask(struct up_am *am, void *arg)
{
	struct upf_ep *ep = arg;
	struct leave *own = find(ep, am->from);
	bool yes = up_peer_busy(ep->up, am->from) == (own && own->asked ? 1u : 0u);

	answer(am, yes);
	if (!yes)
		return;
	upf_av_forget(ep, am->from);
	up_peer_remove(ep->up, am->from);
}

static void on_answer(struct up_am *am, void *arg)
{
	struct leave *l = find(arg, am->from);

	if (l && l->asked)
		l->yes = am->bytes && *(const uint8_t *)am->data;
}

int upf_leaves_init(struct upf_ep *ep)
{
	int ret;

	up_list_init(&ep->leaving);
	ret = up_am_set_handler(ep->up, ASK, on_ask, ep);
	return ret ? ret : up_am_set_handler(ep->up, ANSWER, on_answer, ep);
}

void upf_leaves_fini(struct upf_ep *ep)
{
	struct up_list *at, *tmp;

	up_list_each (at, tmp, &ep->leaving)
		drop(UP_CONTAINER_OF(at, struct leave, link));
}
