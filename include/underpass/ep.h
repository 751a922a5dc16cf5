/* SPDX-License-Identifier: BSD-2-Clause */
/* Endpoints: their life, addresses and peers, progress, and waiting. */
#ifndef UNDERPASS_EP_H
#define UNDERPASS_EP_H

#include <underpass/types.h>

#ifdef __cplusplus
extern "C" {
#endif

enum up_thread {
	UP_THREAD_MULTIPLE,
	UP_THREAD_SINGLE,
};

enum up_progress_mode {
	UP_PROGRESS_MANUAL, /* only up_progress() moves anything */
	UP_PROGRESS_AUTO,   /* a thread of the library does too; it sleeps when nothing happens */
};

/* Zero is the default of every field. */
struct up_ep_attr {
	enum up_thread thread;
	enum up_progress_mode progress;
	const char *lanes;	 /* names, comma separated, best first; NULL: all there are */
	uint32_t max_peers;	 /* that may talk to this endpoint at a time; 0: 1024 */
	uint32_t max_unexpected; /* bytes of tagged messages kept without a receive; 0: 64 MiB */
	uint32_t max_addr;	 /* bytes of the endpoint's address at most; 0: UP_ADDR_MAX */
};

/*
 * 0, -EINVAL, -ENOMEM, or what the last lane failed with when none could be opened.
 *
 * An endpoint is of the process that opened it. A child of fork(2) may do nothing with its parent's
 * but close it, which neither the parent nor its peers notice; and not with automatic progress,
 * whose thread the child lacks.
 */
int up_ep_open(const struct up_ep_attr *attr, struct up_ep **ep);
/*
 * Ends every open operation with -ECANCELED, and tells the peers that it goes. No other thread may
 * be using the endpoint, and none of its callbacks may be running. Injected messages that are kept
 * for want of room have a while to leave (tag.h); nothing is received meanwhile.
 */
void up_ep_close(struct up_ep *ep);

/* An address is opaque: send it to others as it is. Its length is at most UP_ADDR_MAX bytes. */
#define UP_ADDR_MAX 248
/* Stores this endpoint's own; returns its length. `addr` has room for UP_ADDR_MAX bytes. */
size_t up_ep_address(struct up_ep *ep, void *addr);

/*
 * Makes an address known. Does not wait for the other end, which need not exist yet; an operation
 * with a peer that cannot be reached ends with -EHOSTDOWN. The same address gives the same peer.
 * 0, -EINVAL for what is no address, -EPROTONOSUPPORT, -EHOSTUNREACH when no lane of this
 * endpoint leads there, -ENOMEM; -EAGAIN while the end of the same peer, removed before, is under
 * way: progress, and try again; -ECANCELED in a callback of up_ep_close().
 */
int up_peer_add(struct up_ep *ep, const void *addr, size_t len, up_peer *peer);
/* Ends open operations with the peer with -ECANCELED. What still comes from it is dropped. */
void up_peer_remove(struct up_ep *ep, up_peer peer);
/* Why operations with the peer cannot start: 0: they can, -EHOSTDOWN, -EPROTO, -EPROTONOSUPPORT,
 * -EINVAL for a handle of none. */
int up_peer_error(struct up_ep *ep, up_peer peer);
/* How much is open with the peer: operations that have not ended, messages from it that were not
 * received, receives that wait for it alone. With 0, removing it ends nothing here. */
unsigned up_peer_busy(struct up_ep *ep, up_peer peer);
/* The address of a peer, also of one that was never added but sent something. 0 or -EINVAL. */
int up_peer_address(struct up_ep *ep, up_peer peer, void *addr, size_t *len);

/* Moves everything that can move. Returns how much happened, 0 for nothing. Never blocks. */
unsigned up_progress(struct up_ep *ep);

/*
 * Between the two no other thread is in the endpoint, and no callback runs but inside of calls of
 * this thread: several calls, and what belongs to the endpoint at the application, are one step. By
 * the same thread again and again; callbacks run in such a state. Short, and never around
 * up_progress(), which would do nothing.
 */
void up_ep_enter(struct up_ep *ep);
void up_ep_leave(struct up_ep *ep);

/*
 * Waiting without polling: the descriptor is readable when up_progress() may find something. It is
 * so only after up_ep_arm() returned 0; -EAGAIN: something is there already, call up_progress().
 * No wake-up is lost between the two. The descriptor belongs to the endpoint; use it with poll(2)
 * or epoll(7), and do not read it. One thread at a time may be between up_ep_arm() and the end of
 * its poll(2); up_ep_wait() may be called by any number of threads.
 */
int up_ep_fd(struct up_ep *ep);
int up_ep_arm(struct up_ep *ep);
/* up_progress() until something happened or `timeout_ms` passed (-1: no limit). 0: timed out. */
unsigned up_ep_wait(struct up_ep *ep, int timeout_ms);

#ifdef __cplusplus
}
#endif
#endif
