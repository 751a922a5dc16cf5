/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The libfabric lane from inside: packets over any provider that has messages. One connection a
 * peer, made when the first packet is sent.
 *
 * Kinds. Where the provider has connected endpoints (FI_EP_MSG), each connection is one of those
 * (msg.c). Where it only has reliable datagrams (FI_EP_RDM), all connections share one endpoint,
 * and each message says whose it is (rdm.c); how such a peer ends is told by a socket (watch.c).
 * Everything else is the same for both.
 *
 * Objects. A link is the core's name for a peer; a connection is what carries its packets. A link
 * has at most one that it sends on. A connection that a peer made has no link until its hello has
 * come; one that failed is replaced by the next to another of the peer's addresses, as long as no
 * hello has come over any.
 *
 * Room. The provider queues what the network does not take, without a bound, so the lane counts
 * what it has not heard to be gone: requests wait at OFI_WINDOW. Answers may take what the peer
 * reserved beyond that; a peer that makes more is in breach. What a peer does not take stays in the
 * network's buffers, as no receive is posted again before its packet was taken. Where an endpoint
 * is shared nobody's packets may keep those of others from coming: each connection has OFI_CREDITS
 * receives of its own, and no more packets than these are sent before the peer says that it has
 * taken them. Messages of the lane's own are never refused, need no credit, and are few. Where the
 * endpoint takes fewer receives than all connections should have, messages that wait are copied.
 */
#ifndef UP_LANE_OFI_OFI_H
#define UP_LANE_OFI_OFI_H

#include "base/bytes.h"
#include "base/list.h"
#include "lane/lane.h"
#include "lane/ofi/wire.h"

#include <netinet/in.h>
#include <stdalign.h>
#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>
#include <unistd.h>

/* The payload of a packet may be 64 KiB, with room for what protocols put in front. */
#define OFI_MAX_PACKET ((size_t)(65536 + 64))
/* What ofi_rxm sends as one message of the provider under it. Longer ones it takes apart, which is
 * no faster, and that of libfabric 2.5.1 crashes when a connection ends between two parts. */
#define OFI_RXM_PACKET ((size_t)16384 - OFI_HEAD_ROOM)
#define OFI_ANSWER_ROOM ((size_t)1 << 20)
/* Receives that are posted on a connection, each for the longest packet. */
#define OFI_RECEIVES 8
/* The same where the endpoint is shared, for packets; and for the lane's own. */
#define OFI_CREDITS 32u
#define OFI_OWN_CREDITS 8u
/* Bytes of requests that are not known to be gone. */
#define OFI_WINDOW ((size_t)512 << 10)
/* Of injected packets nothing is heard; so, after this many bytes, one is sent that is. */
#define OFI_LOOSE_MAX ((size_t)16 << 10)
#define OFI_INJECT_MAX 256
/* The provider's own name of an endpoint, where that is no address of the internet. */
#define OFI_NAME_MAX 56
/* Between two looks at the deadlines. */
#define OFI_CHECK_NS 50000000u
/* More than between two looks of one that sleeps (wake.c). */
#define OFI_UNSEEN_NS (4ull * OFI_CHECK_NS)
/* Of the provider's queues. */
#define OFI_EVENTS 1024

union ofi_sockaddr {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	uint8_t name[OFI_NAME_MAX]; /* the provider's own, with zeros to its end */
};

/* What a completion names; the provider may use the front. */
struct ofi_work {
	struct fi_context2 provider;
	struct ofi_conn *conn; /* NULL: not known yet, or gone */
	bool receive;
};

/* A receive: posted, or with a message. */
struct ofi_rx {
	struct ofi_work work;
	struct ofi_pool *pool;
	struct up_list held; /* struct ofi_conn.held, or struct ofi_lane.spent */
	bool spent;
	bool copy;     /* of a message that waits, with memory of its own; never posted */
	uint8_t *data; /* OFI_HEAD_ROOM + OFI_MAX_PACKET bytes */
	size_t bytes;  /* that have come, without the head */
	uint32_t number;
};

/* Receives and their memory, posted to one endpoint. */
struct ofi_pool {
	struct ofi_lane *lane;
	struct ofi_pool *next; /* of a shared endpoint's */
	struct fid_ep *ep;     /* NULL: closed */
	uint8_t *memory;
	struct fid_mr *mr; /* NULL: the provider wants none */
	unsigned n;
	struct ofi_rx rx[];
};

/* A packet on its way; in a queue, or in the provider's hands. */
struct ofi_tx {
	struct ofi_work work;
	struct up_list node;
	struct fid_mr *mr; /* NULL: the provider wants none */
	size_t room;	   /* of data */
	size_t bytes;
	size_t covers; /* bytes of struct ofi_link.out that are gone when this one is */
	alignas(16) uint8_t head[OFI_HEAD_ROOM];
	uint8_t data[];
};

enum ofi_conn_state {
	OFI_CONN_OPENING,  /* the provider has not said that it is connected */
	OFI_CONN_GREETING, /* the peer's hello is to come; ours was sent if we connected */
	OFI_CONN_UP,
	OFI_CONN_ENDING,  /* the peer is gone; what it sent before may still come */
	OFI_CONN_LEAVING, /* only waits for the peer's end; what comes is dropped */
	OFI_CONN_BROKEN,  /* to be closed; packets that were held are still delivered */
};

struct ofi_conn {
	struct ofi_lane *lane;
	struct up_list node;   /* struct ofi_lane.conns */
	struct ofi_link *link; /* NULL: not known yet, or it does not matter any more */
	enum ofi_conn_state state;
	bool ours;	   /* we connected */
	bool awaited;	   /* its watch will be there soon */
	uint8_t nudges;	   /* that the provider did not take, since it took one */
	uint64_t deadline; /* of OPENING, GREETING, ENDING, LEAVING */
	struct fid_ep *ep; /* that carries it; NULL: closed */
	fi_addr_t to;	   /* the peer, where the endpoint is shared */
	/* Where the endpoint is shared: the names that both ends have given it, 0: not known yet;
	 * the numbers of the next messages; how many the peer said to have taken, and how many this
	 * end has, and has said so. */
	uint64_t here, there;
	uint32_t sends, receives;
	uint32_t acked, taken, told;
	struct ofi_pool *pool;		 /* NULL where it is shared */
	struct ofi_watch *watch, *guest; /* the one at the peer's door, and the peer's at ours */
	/* Its socket, where there is one to watch, and which one that is, or 0; and how often that
	 * had sent something again when an answer was last seen (alive.c). */
	int socket;
	uint64_t identity;
	unsigned resent, backoff;
	struct up_list held;	/* struct ofi_rx, not taken by the core yet */
	struct up_list early;	/* struct ofi_rx, the one before is still to come; in order */
	struct up_list pending; /* struct ofi_tx: messages of our own, before all others */
	struct up_list sent;	/* struct ofi_tx, in the provider's hands */
};

enum ofi_link_state {
	OFI_LINK_IDLE,	     /* nothing was sent: there is no connection */
	OFI_LINK_CONNECTING, /* by `conn`, or NULL: the peer's connection is to come */
	OFI_LINK_UP,
	OFI_LINK_DOWN, /* the core knows */
};

/* Where a peer may be found. */
struct ofi_target {
	uint64_t cookie;
	unsigned n;
	union ofi_sockaddr at[OFI_IPS_MAX]; /* best first */
};

struct ofi_link {
	struct up_link base;
	struct up_list node; /* struct ofi_lane.links */
	enum ofi_link_state state;
	bool dropped;	   /* the core has let go; it is freed when all was sent */
	uint64_t deadline; /* of CONNECTING; of the rest once it is dropped */
	struct ofi_target target;
	unsigned tried; /* of its addresses */
	struct ofi_conn *conn;
	struct up_list queue; /* struct ofi_tx, not in the provider's hands yet */
	bool stalled;	      /* the provider took no more; it is tried again in poll() */
	size_t out;	      /* bytes that were committed and are not known to be gone */
	size_t loose;	      /* of them, behind the last packet that will be heard of */
	alignas(16) uint8_t small_head[OFI_HEAD_ROOM];
	uint8_t small[OFI_INJECT_MAX];
};

/* What differs between endpoints with connections and such that are shared. */
struct ofi_kind {
	enum fi_ep_type type;
	size_t head; /* bytes in front of each message: 0 or OFI_HEAD_ROOM */
	/* What others find, and receive from. 0 or a negative errno. */
	int (*open)(struct ofi_lane *lane);
	void (*close)(struct ofi_lane *lane);
	/* Handles what has happened to connections: how much. */
	unsigned (*events)(struct ofi_lane *lane);
	/* Begins a connection of ours; up_ofi_conn_opened() follows. 0 or a negative errno. */
	int (*conn_open)(struct ofi_conn *c, const union ofi_sockaddr *to);
	/* Afterwards the provider does not deliver anything for it. */
	void (*conn_close)(struct ofi_conn *c);
	/* Whose message is it? NULL: nobody's. */
	struct ofi_conn *(*conn_find)(struct ofi_lane *lane, const struct ofi_rx *rx);
	/* The peer's hello has come, with `rest` behind its address: finds a way to the peer, and
	 * makes somebody notice when it is gone. False: the hello is wrong. */
	bool (*meet)(struct ofi_conn *c, const struct ofi_hello *h, const void *rest, size_t bytes);
	/* The rest of our own hello: how many bytes. */
	size_t (*rest)(const struct ofi_lane *lane, void *to);
};

extern const struct ofi_kind up_ofi_msg;
extern const struct ofi_kind up_ofi_rdm;

struct ofi_lane {
	struct up_lane base;
	const struct ofi_kind *kind;
	bool direct; /* the provider is the lane's own (direct.h) */
	struct fi_info *info;
	struct fid_fabric *fabric;
	struct fid_domain *domain;
	struct fid_cq *cq;
	struct fid_eq *eq;   /* of connections */
	struct fid_pep *pep; /* of connections */
	struct fid_ep *ep;   /* the shared one, and all of these are its */
	struct fid_av *av;
	struct ofi_pool *pools;
	unsigned nreceives;	 /* in them */
	bool scarce;		 /* the endpoint takes fewer than all connections should have */
	struct ofi_conn **names; /* connections by the low half of what messages say; NULL: free */
	unsigned nnames;
	struct up_list orphans; /* struct ofi_tx, in the provider's hands, of no connection */
	struct up_list watches; /* struct ofi_watch */
	int door, watchers;	/* watch.c */
	bool nudging;		/* there are connections without a watch */
	uint64_t nudge_at;
	size_t head;	     /* of the kind */
	struct fid_eq *bell; /* wake.c; or NULL */
	bool own_bell;	     /* the provider's queues cannot be waited for, a bell can */
	bool ticks;	     /* they cannot, and nothing can: who sleeps wakes up by a timer */
	int epoll, timer, kick;
	int waits[2]; /* descriptors of the provider's */
	unsigned nwaits;
	bool armed;	  /* somebody may be asleep on the descriptor */
	unsigned awake;	  /* polls since then */
	size_t inject;	  /* the longest packet that is injected */
	uint64_t timeout; /* of a peer that does not answer, nanoseconds */

	pid_t pid; /* that opened it */
	uint64_t cookie;
	uint16_t port;
	int family;	   /* AF_INET or AF_INET6 */
	size_t name_bytes; /* 0: the provider's addresses are of the internet */
	uint8_t name[OFI_NAME_MAX];
	unsigned nips;
	uint8_t ips[OFI_IPS_MAX][OFI_IP_BYTES];

	struct up_list conns;
	struct up_list links;
	struct up_list spare; /* struct ofi_tx, of the longest */
	unsigned nspare;
	struct up_list spare_small;
	unsigned nsettling; /* connections that are neither up nor closed, links that wait */
	unsigned nheld;	    /* receives */
	unsigned nstalled;  /* links */
	unsigned npending;  /* connections */
	bool broken;	    /* there are connections to close */
	bool ready;	    /* all is open */
	bool polling;
	bool closing;
	bool look;	      /* at the events in the next poll, as it may have woken us up */
	struct up_list spent; /* struct ofi_rx, to be posted again when there is time */
	unsigned nspent;
	uint32_t polls;
	uint64_t looked; /* when, of a coarse clock */
	/* While another lane is busy, and this one is not, it is not polled every time. */
	uint64_t rest;	   /* until then; 0: it is polled */
	uint32_t empty;	   /* polls in a row that found nothing */
	uint64_t activity; /* of the endpoint, at the last poll */
	uint64_t checked;  /* deadlines */
	uint64_t asked;	   /* for peers that do not answer, when, of a coarse clock */
};

static inline struct ofi_lane *ofi_lane_of(const struct ofi_link *l)
{
	return (struct ofi_lane *)l->base.lane;
}

/* False in a forked child, whose parent and its peers must not notice what is closed there. */
static inline bool ofi_is_ours(const struct ofi_lane *lane)
{
	return getpid() == lane->pid;
}

/* Something is about to come, or somebody to sleep: the lane rests no more. */
static inline void ofi_awaken(struct ofi_lane *lane)
{
	lane->rest = 0;
	lane->empty = lane->base.rests = 0;
}

static inline struct ofi_link *ofi_link_of(struct up_list *node)
{
	return UP_CONTAINER_OF(node, struct ofi_link, node);
}

static inline struct ofi_conn *ofi_conn_of(struct up_list *node)
{
	return UP_CONTAINER_OF(node, struct ofi_conn, node);
}

/* ---- fabric.c: the provider's objects ---- */
int up_ofi_fabric_open(struct ofi_lane *lane);
void up_ofi_fabric_close(struct ofi_lane *lane);
/* Binds an endpoint to the lane's completion queue, the last that it needs, and enables it. */
int up_ofi_enable(struct ofi_lane *lane, struct fid_ep *ep);
void up_ofi_close_fid(struct fid *fid);
/* Replaces an address of the provider's choice. */
int up_ofi_set_addr(void **addr, size_t *len, const union ofi_sockaddr *to);
/* Are addresses of this format those of the internet? */
bool up_ofi_internet(uint32_t format);
/* The one of a family. */
uint32_t up_ofi_format(int family);
/* Registers memory where the provider wants that; else *mr is NULL. 0 or a negative errno. */
int up_ofi_register(struct ofi_lane *lane, void *mem, size_t bytes, uint64_t access,
		    struct fid_mr **mr);

/* ---- address.c ---- */
/* The addresses of this host that others may reach, best first: lane->family, ips and nips. */
int up_ofi_find_ips(struct ofi_lane *lane);
size_t up_ofi_address(const struct up_lane *base, void *buf, size_t room);
/* A peer's part of an address. 0, -EINVAL, -EHOSTUNREACH. */
int up_ofi_addr_parse(const struct ofi_lane *lane, struct ofi_target *to, const void *addr,
		      size_t len);
/* An address of the internet; `ip` has 4 or 16 bytes. */
union ofi_sockaddr up_ofi_sockaddr(int family, const uint8_t *ip, uint16_t port);
size_t up_ofi_sockaddr_bytes(const union ofi_sockaddr *a);
uint16_t up_ofi_sockaddr_port(const union ofi_sockaddr *a);
/* This host's addresses, as many as there is room for: their bytes, and `shape` as in wire.h. */
size_t up_ofi_ips_put(const struct ofi_lane *lane, uint8_t *to, size_t room, uint8_t *shape);
/* A peer's, all with the same port, added to `to`, best first. False: they are none. */
bool up_ofi_ips_parse(struct ofi_target *to, uint8_t shape, uint16_t port, const uint8_t *ips,
		      size_t bytes);

/* ---- conn.c ---- */
/* A connection to the address, for the link. NULL: it failed at once. */
struct ofi_conn *up_ofi_conn_open(struct ofi_link *l, const union ofi_sockaddr *to);
/* One that the peer made, or is making. NULL: no memory, or too many of these. */
struct ofi_conn *up_ofi_conn_new(struct ofi_lane *lane);
/* Messages can be sent to the peer and come from it. */
void up_ofi_conn_opened(struct ofi_conn *c);
/* Its watch will be there soon, or is, or will not. */
void up_ofi_conn_await(struct ofi_conn *c, bool on);
/* Sends a message that means nothing, and needs no credit. As up_ofi_tx_post(). */
int up_ofi_conn_nudge(struct ofi_conn *c);
/* Tells the peer what was taken. */
void up_ofi_conn_tell(struct ofi_conn *c);
/* May a packet be sent? */
static inline bool ofi_may_send(const struct ofi_conn *c)
{
	return !c->lane->head || c->sends - c->acked < OFI_CREDITS;
}
/* The peer is gone; it ends when what it has sent may have come. */
void up_ofi_conn_end(struct ofi_conn *c);
/* It is closed, and its link loses it, at the end of the next poll: nobody who holds either of them
 * sees them go. */
void up_ofi_conn_break(struct ofi_conn *c);
/* Says goodbye behind all that was sent, and leaves its link; nothing that comes is delivered any
 * more. */
void up_ofi_conn_leave(struct ofi_conn *c);
/* A message of the peer's. False: it cannot be taken now. */
bool up_ofi_conn_message(struct ofi_conn *c, const void *data, size_t bytes);
/* Sends what waits of its own messages. */
void up_ofi_conn_flush(struct ofi_conn *c);
/* What the next message begins with. */
static inline void up_ofi_put_head(const struct ofi_conn *c, void *to)
{
	const struct ofi_head h = {c->there, htole32(c->sends), htole32(c->taken)};

	memcpy(to, &h, sizeof(h));
}
/* Ends what has taken too long. `unseen`: how long nobody has looked at the lane, nanoseconds. */
void up_ofi_deadlines(struct ofi_lane *lane, uint64_t unseen);
/* So many more, or fewer, have a deadline. */
void up_ofi_settling(struct ofi_lane *lane, int more);
/* Closes and frees what is broken. */
void up_ofi_reap(struct ofi_lane *lane);

/* ---- link.c ---- */
int up_ofi_connect(struct up_lane *base, const void *addr, size_t len, struct up_link **link);
void up_ofi_disconnect(struct up_link *base);
/* NULL: no memory. */
struct ofi_link *up_ofi_link_new(struct ofi_lane *lane, const struct ofi_target *to);
void up_ofi_link_free(struct ofi_link *l);
/* The one that is in use with a peer; NULL: none. */
struct ofi_link *up_ofi_link_find(struct ofi_lane *lane, uint64_t cookie);
/* The first packet is to be sent. */
void up_ofi_link_start(struct ofi_link *l);
/* The connection is good in both directions. */
void up_ofi_link_up(struct ofi_link *l, struct ofi_conn *c);
/* Its connection broke, or an attempt failed. Like the next two it may free the link. */
void up_ofi_link_lost(struct ofi_link *l);
/* It can carry nothing any more; the core hears of it. */
void up_ofi_link_fail(struct ofi_link *l, int error);
/* Frees it if the core has let go and nothing is left to send. */
void up_ofi_link_settle(struct ofi_link *l);

/* ---- send.c ---- */
void *up_ofi_reserve(struct up_link *base, size_t bytes, enum up_lane_class class);
void up_ofi_commit(struct up_link *base, void *packet, size_t bytes);
/* A buffer for `bytes`; NULL: no memory. */
struct ofi_tx *up_ofi_tx_get(struct ofi_lane *lane, size_t bytes);
void up_ofi_tx_put(struct ofi_lane *lane, struct ofi_tx *tx);
/* Frees all spare ones. */
void up_ofi_tx_fini(struct ofi_lane *lane);
/* Gives it to the provider. -EAGAIN: it takes no more now; another error: the connection broke. */
int up_ofi_tx_post(struct ofi_conn *c, struct ofi_tx *tx);
/* The same of what names no connection, where the endpoint is shared: it is not counted. */
int up_ofi_tx_post_unnamed(struct ofi_conn *c, struct ofi_tx *tx);
/* It left, or failed. */
void up_ofi_tx_done(struct ofi_lane *lane, struct ofi_tx *tx);
/* Sends what is queued, as far as it goes. */
void up_ofi_flush(struct ofi_link *l);

/* ---- poll.c ---- */
unsigned up_ofi_poll(struct up_lane *base);
/* Posts again what was spent. */
void up_ofi_repost(struct ofi_lane *lane);
/* It is posted again, by and by. */
void up_ofi_post_later(struct ofi_rx *rx);
/* What it had is done with: the same, unless it is a copy. */
void up_ofi_spend(struct ofi_rx *rx);
/* Reads completions until there are none, or `most`. */
void up_ofi_drain(struct ofi_lane *lane, unsigned most);

/* ---- pool.c ---- */
/* NULL: no memory. */
struct ofi_pool *up_ofi_pool_create(struct ofi_lane *lane, unsigned n);
/* The endpoint is closed. */
void up_ofi_pool_destroy(struct ofi_pool *pool);
/* Posts all. 0 or a negative errno. */
int up_ofi_pool_post(struct ofi_pool *pool, struct fid_ep *ep);
int up_ofi_rx_post(struct ofi_rx *rx);

/* ---- wake.c ---- */
int up_ofi_wake_open(struct ofi_lane *lane);
void up_ofi_wake_close(struct ofi_lane *lane);
bool up_ofi_arm(struct up_lane *base);
/* Wakes who sleeps. */
void up_ofi_kick(struct ofi_lane *lane);
/* A poll while `armed`. */
void up_ofi_awake(struct ofi_lane *lane);

/* ---- alive.c ---- */
/* From here on it is noticed when the other end's host does not answer any more. */
void up_ofi_watch(struct ofi_conn *c);
/* Breaks connections to hosts that do not; to be called from time to time. */
void up_ofi_alive(struct ofi_lane *lane, uint64_t now);
static inline uint64_t ofi_alive_every(const struct ofi_lane *lane)
{
	return lane->timeout / 8;
}
/* Makes the kernel notice that, of a socket that carries next to nothing. 0 or -1. */
int up_ofi_keep_alive(int fd, uint64_t timeout);

/* ---- rdm.c ---- */
/* By the name that this end gave it; NULL: there is none. */
struct ofi_conn *up_ofi_conn_named(const struct ofi_lane *lane, uint64_t name);

/* ---- watch.c: of connections that share an endpoint ---- */
int up_ofi_door_open(struct ofi_lane *lane);
void up_ofi_door_close(struct ofi_lane *lane);
/* What a peer must know of it, for our hello: how many bytes, OFI_DOOR_MAX at most. */
size_t up_ofi_door_say(const struct ofi_lane *lane, void *to);
/* Connects to a peer's door, if it may. False: what that says is wrong. */
bool up_ofi_door_knock(struct ofi_conn *c, const void *door, size_t bytes);
void up_ofi_watch_end(struct ofi_conn *c);
/* Will somebody tell of its end? */
bool up_ofi_watched(const struct ofi_conn *c);
unsigned up_ofi_watch_events(struct ofi_lane *lane);

#endif
