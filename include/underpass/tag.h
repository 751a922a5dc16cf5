/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tagged messages of any length. A receive takes the first message, in the order of sending, whose
 * tag equals its own in every bit that `ignore` leaves, and that comes from the peer it names.
 * Messages without a tag are below; all else is said of both kinds.
 */
#ifndef UNDERPASS_TAG_H
#define UNDERPASS_TAG_H

#include <underpass/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What came, or would. */
struct up_tag_info {
	up_peer from;
	uint64_t tag;
	size_t bytes; /* of the message */
	uint64_t imm;
	bool has_imm;
	/* Of receives for several messages only. */
	bool last;  /* it takes no more, and its buffer is the application's again */
	void *data; /* where the message is */
};

/* `info` is good during the call; with an error `info->bytes` may be 0. */
typedef void up_tag_received(void *ctx, int status, const struct up_tag_info *info);

/* A receive that was posted, for up_tag_cancel(). */
struct up_tag_recv;

/*
 * Sends the pieces of `iov` (at most UP_IOV_MAX) as one message. They must stay as they are until
 * `done`. Flags: UP_INJECT, UP_DELIVERED (matched and placed), UP_FENCE, UP_IMM, UP_AT_ONCE.
 * 0, -EAGAIN, -EINVAL, -EHOSTDOWN.
 *
 * Without room at the peer the answer is -EAGAIN; but when it has been that UP_TAG_KEEP_AFTER times
 * in a row, because the peer makes no progress, messages are kept at this end and 0 is the answer:
 * up to UP_TAG_KEPT_BYTES of injected ones and UP_TAG_KEPT messages for each peer. Progress sends
 * them when there is room, in order; until then operations of other kinds with that peer get
 * -EAGAIN. The end of a message that was not injected comes then, too. up_ep_close() waits up to
 * UP_TAG_LINGER_MS for injected ones to leave.
 */
#define UP_TAG_KEEP_AFTER 64u
#define UP_TAG_KEPT_BYTES (256u << 10)
#define UP_TAG_KEPT 1024u
#define UP_TAG_LINGER_MS 1000u
int up_tag_send(struct up_ep *ep, up_peer peer, uint64_t tag, const struct iovec *iov, size_t n,
		uint64_t imm, unsigned flags, up_done *done, void *ctx);

/*
 * Posts a receive into the pieces of `iov`; `from` may be UP_PEER_ANY. `*recv`, unless NULL, names
 * it until `received` is called, and is set before that. A receive from a peer that goes ends with
 * -EHOSTDOWN. 0, -EAGAIN, -EINVAL, -EHOSTDOWN.
 */
int up_tag_recv(struct up_ep *ep, up_peer from, uint64_t tag, uint64_t ignore,
		const struct iovec *iov, size_t n, up_tag_received *received, void *ctx,
		struct up_tag_recv **recv);

/* Ends it with -ECANCELED, inside of this call. -ENOENT: it has a message already. */
int up_tag_cancel(struct up_ep *ep, struct up_tag_recv *recv);

/* A message that was taken out of the matching by up_tag_peek(). */
struct up_tag_message;

/*
 * Looks for a message that has come and that such a receive would take. -ENOENT: none. With
 * `claim` not NULL nobody else gets it any more: end it with one of the two functions below.
 */
int up_tag_peek(struct up_ep *ep, up_peer from, uint64_t tag, uint64_t ignore,
		struct up_tag_info *info, struct up_tag_message **claim);
/* What a claimed message is; good until it is ended. */
const struct up_tag_info *up_tag_claimed(const struct up_tag_message *claim);
/* Receives a claimed message. 0, -EAGAIN, -EINVAL. */
int up_tag_recv_claimed(struct up_ep *ep, struct up_tag_message *claim, const struct iovec *iov,
			size_t n, up_tag_received *received, void *ctx);
/* Drops it; its sender's completion has success. */
void up_tag_discard(struct up_ep *ep, struct up_tag_message *claim);

/*
 * The same without a tag: a receive takes the first message that comes from the peer it names. Such
 * messages and tagged ones do not see each other. up_tag_info.tag is 0; cancelled as above.
 */
int up_msg_send(struct up_ep *ep, up_peer peer, const struct iovec *iov, size_t n, uint64_t imm,
		unsigned flags, up_done *done, void *ctx);
int up_msg_recv(struct up_ep *ep, up_peer from, const struct iovec *iov, size_t n,
		up_tag_received *received, void *ctx, struct up_tag_recv **recv);
/*
 * A receive for several messages: they are placed one behind the other, until fewer than `least`
 * bytes (at least 1) are left. `received` is called for each, in the order of their completion; up
 * to the call with info->last the buffer is in use. A cancelled one, or one whose peer goes, has a
 * last call with that status, after those of the messages that it has. A message that is longer
 * than what is left takes the rest, with -EMSGSIZE.
 */
int up_msg_recv_multi(struct up_ep *ep, up_peer from, void *buf, size_t len, size_t least,
		      up_tag_received *received, void *ctx, struct up_tag_recv **recv);

#define UP_IOV_MAX 16

/*
 * Messages of both kinds that no receive waits for are kept up to up_ep_attr.max_unexpected bytes
 * in all. From there on such a message stays in its lane, with all that is behind it, and the
 * senders get -EAGAIN until receives have made room. What this end waits for may be behind such a
 * message, so two things go beyond: while an operation with the sender is open, as much again is
 * taken and 1 MiB; and for a receive that is posted, what the lanes hold by then (1 MiB at most).
 */

#ifdef __cplusplus
}
#endif
#endif
