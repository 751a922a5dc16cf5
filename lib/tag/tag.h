/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tagged messages from inside, and those without a tag: each kind has a space of its own, in which
 * its messages and receives meet. Without a tag all tags and ignore masks are 0.
 *
 * Matching. A receive is of a class when there is one for its `ignore` and for whether it names a
 * peer; the first few kinds of receives that an endpoint sees make the classes. Within a class a
 * hash of tag and peer finds receives and messages, so thousands of them cost no more than one.
 * Receives of other kinds stand in a list that is walked. Numbers in the order of posting tell
 * which of several that match a message is the first; messages keep their order in every chain.
 */
#ifndef UP_TAG_TAG_H
#define UP_TAG_TAG_H

#include "base/bytes.h"
#include "bulk/bulk.h"

#define UP_TAG_CLASSES 4
/* More than the rings of a lane hold, in bytes. */
#define UP_TAG_LANES_HOLD ((size_t)1 << 20)
#define UP_TAG_WILD UP_TAG_CLASSES /* of a receive without a class */

/* Chains by hash; the chains keep the order of insertion. */
struct up_tag_index {
	struct up_list *heads;
	unsigned bits; /* of a hash that number a chain */
	size_t used;
	size_t full; /* from here on it needs more chains */
};

struct up_tag_class {
	uint64_t ignore;
	bool directed;
	unsigned posted;	      /* receives */
	struct up_tag_index messages; /* all unexpected ones */
};

enum up_tag_recv_state {
	UP_TAG_FREE,
	UP_TAG_POSTED, /* in the matching */
	UP_TAG_MOVING, /* has a message, whose data comes; of several: takes no more */
};

struct up_tag_recv {
	struct up_list all;   /* posted, of the space; or moving, of struct up_tag_state */
	struct up_list chain; /* of the class's index, or of the wild ones */
	struct up_tag_space *space;
	uint64_t tag;
	uint64_t ignore;
	up_peer from;
	uint64_t seq;

	up_tag_received *received;
	void *ctx;
	size_t bytes; /* of all pieces */
	uint32_t n;
	uint8_t class;
	uint8_t state;
	bool multi; /* takes several messages (multi.c) */
	struct iovec iov[UP_IOV_MAX];

	/* While it moves. */
	struct up_tag_info info;
	uint32_t op; /* the sender's */
	struct up_bulk bulk;

	/* Of several messages: bytes and iov[0] are what is left. */
	size_t least;		   /* bytes that must be left */
	unsigned parts;		   /* messages that are being placed */
	int status;		   /* why it takes no more */
	struct up_tag_recv *whole; /* of such a part; NULL of all others */
};

/* A message without a receive: in the matching, or claimed. */
struct up_tag_message {
	struct up_list all; /* in the order of arrival; or the claimed ones */
	struct up_list chain[UP_TAG_CLASSES];
	struct up_tag_space *space;
	struct up_tag_info info;
	struct up_peer_state *peer; /* NULL: gone */
	uint32_t op;		    /* the sender's, 0: wants no answer */
	bool rendezvous;
	struct up_pool *pool; /* that it came from; NULL: malloc() */
	size_t held;	      /* bytes that it counts for */
	struct up_pkt_source source;
	uint8_t data[];
};

/* Where messages and receives of one kind meet. */
struct up_tag_space {
	struct up_list posted; /* struct up_tag_recv, in order */
	struct up_list wild;   /* the posted ones without a class */
	uint64_t seq;
	struct up_tag_index receives; /* the posted ones with a class */

	struct up_list unexpected; /* struct up_tag_message, in order */
	size_t kept;		   /* unexpected ones */

	struct up_tag_class class[UP_TAG_CLASSES];
	unsigned classes;
};

enum up_tag_kind { UP_TAG_TAGGED, UP_TAG_UNTAGGED, UP_TAG_KINDS };

struct up_tag_state {
	struct up_tag_space space[UP_TAG_KINDS];
	struct up_list moving;	/* struct up_tag_recv */
	struct up_list claimed; /* struct up_tag_message */
	size_t held;		/* bytes of unexpected ones, claimed ones too */
	size_t most;		/* of them */
	size_t kept;		/* bytes of injected messages that wait for room, of all peers */
	size_t look_through;	/* bytes of packets that are taken beyond that */
	bool closing;

	struct up_pool recv_pool;
	struct up_pool send_pool;
	struct up_pool small_pool; /* messages with little data */
	struct up_pool medium_pool;
};

/* match.c */
int up_tag_space_init(struct up_tag_space *t);
void up_tag_space_fini(struct up_tag_space *t);
void up_tag_post(struct up_tag_space *t, struct up_tag_recv *r);
void up_tag_unpost(struct up_tag_space *t, struct up_tag_recv *r);
/* The posted receive that gets a message. */
struct up_tag_recv *up_tag_find_recv(struct up_tag_space *t, uint64_t tag, up_peer from);
void up_tag_keep(struct up_tag_space *t, struct up_tag_message *m);
void up_tag_unkeep(struct up_tag_space *t, struct up_tag_message *m);
/* The message that a receive would get. With `make` its kind may become a class. */
struct up_tag_message *up_tag_find_message(struct up_tag_space *t, uint64_t tag, uint64_t ignore,
					   up_peer from, bool make);

/* message.c */
void up_tag_messages_init(struct up_tag_state *t);
void up_tag_messages_fini(struct up_tag_state *t);
/* How many from the peer nobody has received yet. */
unsigned up_tag_messages_of(const struct up_tag_state *t, const struct up_peer_state *peer);
void up_tag_messages_peer_gone(struct up_tag_state *t, struct up_peer_state *peer);
/* NULL: no memory. Only pool and held are set. */
struct up_tag_message *up_tag_message_create(struct up_tag_state *t, size_t bytes);
void up_tag_message_free(struct up_tag_state *t, struct up_tag_message *m);

/* recv.c */
struct up_tag_recv *up_tag_recv_create(struct up_tag_state *t, const struct iovec *iov, size_t n,
				       up_tag_received *received, void *ctx);
/* Gives a message that is in no list to a receive that is in none. Ends the message. */
void up_tag_take(struct up_ep *ep, struct up_tag_recv *r, struct up_tag_message *m);
void up_tag_recv_free(struct up_tag_state *t, struct up_tag_recv *r);
/* Ends a posted receive; one of several messages when the last of them is placed. */
void up_tag_recv_stop(struct up_ep *ep, struct up_tag_recv *r, int status);
/* Ends a receive that is in no list. */
void up_tag_recv_end(struct up_ep *ep, struct up_tag_recv *r, int status,
		     const struct up_tag_info *info);
up_packet_handler up_tag_eager_packet, up_tag_rendezvous_packet;

/* multi.c */
/* Posts a receive for several messages, after those that it takes at once. */
void up_tag_multi_post(struct up_ep *ep, struct up_tag_recv *r);
/* Gives it a message whose data is there; it may be over then. `from` may be NULL. */
void up_tag_multi_place(struct up_ep *ep, struct up_tag_recv *r, struct up_peer_state *from,
			uint32_t op, const struct up_tag_info *info, const void *data);
/* A receive for the next message, of so many bytes, to be ended as any other. NULL: no memory. */
struct up_tag_recv *up_tag_part(struct up_ep *ep, struct up_tag_recv *r, size_t bytes);
void up_tag_part_end(struct up_ep *ep, struct up_tag_recv *part, int status,
		     const struct up_tag_info *info);

/* send.c */
size_t up_tag_send_size(void);

#endif
