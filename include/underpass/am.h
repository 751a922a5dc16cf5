/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Active messages: a request runs a handler at the target, which may answer with one reply, which
 * runs a handler at the initiator. Requests from one endpoint to another are handled in order.
 */
#ifndef UNDERPASS_AM_H
#define UNDERPASS_AM_H

#include <underpass/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define UP_AM_HANDLERS 128   /* numbers 0 to 127 are the application's */
#define UP_AM_HEAD_MAX 64u   /* bytes of a message's head */
#define UP_AM_DATA_MAX 4096u /* bytes of its data */

/* A message that is being handled; head and data are good until the handler returns. */
struct up_am {
	struct up_ep *ep;
	up_peer from;
	size_t reply_room; /* bytes of head and data that a reply may have; 0: no reply (any more)
			    */
	const void *head;
	size_t head_bytes;
	const void *data;
	size_t bytes;
};

typedef void up_am_handler(struct up_am *am, void *arg);

/*
 * Sets the handler of a number; NULL takes it away. A message whose number has none is dropped, and
 * where it was a request its sender's completion has -EPROTO. 0 or -EINVAL.
 */
int up_am_set_handler(struct up_ep *ep, unsigned number, up_am_handler *handler, void *arg);

/*
 * Sends a request. Both parts are copied before it returns. `reply_room`: how many bytes of head
 * and data a reply may have; that much is reserved here, so that the reply never waits; 0: there
 * shall be none. `done`, unless NULL, is called after the target's handler has returned, and after
 * the handler of its reply. Flags: none.
 * 0, -EAGAIN, -EINVAL (sizes, number, peer), -EHOSTDOWN.
 */
int up_am_request(struct up_ep *ep, up_peer peer, unsigned number, const void *head,
		  size_t head_bytes, const void *data, size_t bytes, size_t reply_room,
		  unsigned flags, up_done *done, void *ctx);

/* From a request's handler only, at most once; never without room. 0 or -EINVAL. */
int up_am_reply(struct up_am *am, unsigned number, const void *head, size_t head_bytes,
		const void *data, size_t bytes);

#ifdef __cplusplus
}
#endif
#endif
