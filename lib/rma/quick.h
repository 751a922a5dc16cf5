/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The quick way of a small read or write: one piece, in the window that was used last, which is
 * mapped, and nothing open with the peer that it could overtake. It ends where it begins, so it
 * needs no operation and no packet, and without other threads no lock. Each condition is looked at
 * every time, but refusals are not told apart: who is refused here goes the long way (window.c and
 * on), which finds out why.
 */
#ifndef UP_RMA_QUICK_H
#define UP_RMA_QUICK_H

#include "rma/rma.h"

/* The window, if all of the above is so. */
static inline struct up_rma_window *up_rma_quick_window(const struct up_ep *ep,
							const struct up_peer_state *peer,
							const struct up_rma_iov *r, unsigned access)
{
	struct up_rma_window *w;

	if (!peer->rma || !up_peer_clear(peer) || ep->unpolled >= UP_RMA_UNPOLLED)
		return NULL;
	w = peer->rma->last;
	if (!w || w->key != r->key || (w->access & access) != access || !w->view.memory)
		return NULL;
	return up_range_inside(r->addr, r->len, w->base, w->bytes) ? w : NULL;
}

/* False: nothing was done. */
static inline bool up_rma_quick(struct up_ep *ep, up_peer to, const struct iovec *local,
				size_t nlocal, const struct up_rma_iov *remote, size_t nremote,
				unsigned access)
{
	struct up_peer_state *peer;
	struct up_rma_window *w;
	uint8_t *there;

	if (ep->shared || nlocal != 1 || nremote != 1 || !(peer = up_peer_find(ep, to)) ||
	    local->iov_len != remote->len || remote->len - 1 >= UP_INJECT_MAX)
		return false;
	w = up_rma_quick_window(ep, peer, remote, access);
	if (!w || !up_lane_enter(peer->link, &w->view))
		return false;
	there = w->view.memory + (remote->addr - w->base);
	if (access == UP_RMA_WRITE)
		up_copy_short(there, local->iov_base, remote->len);
	else
		up_copy_short(local->iov_base, there, remote->len);
	up_lane_leave(peer->link);
	ep->unpolled++;
	return true;
}

/* The end of it, inside of the call that started it. */
static inline int up_rma_quick_end(struct up_ep *ep, up_done *done, void *ctx, size_t bytes)
{
	if (done) {
		ep->depth++;
		done(ctx, 0, bytes);
		ep->depth--;
	}
	return 0;
}

#endif
