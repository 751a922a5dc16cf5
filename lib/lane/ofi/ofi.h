/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The libfabric lane from inside: packets over connected endpoints (FI_EP_MSG) of any provider that
 * has addresses of the internet. One connection a peer, made when the first packet is sent.
 *
 * Objects. A link is the core's name for a peer; a connection is the provider's endpoint. A link
 * has at most one that it sends on. A connection that a peer made has no link until its hello has
 * come; one that failed is replaced by the next to another of the peer's addresses, as long as no
 * hello has come over any.
 *
 * Room. The provider queues what the network does not take, without a bound, so the lane counts
 * what it has not heard to be gone: requests wait at OFI_WINDOW. Answers may take what the peer
 * reserved beyond that; a peer that makes more is in breach. What a peer does not take stays in the
 * network's buffers, as no receive is posted again before its packet was taken.
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

/* The payload of a packet may be 64 KiB, with room for what protocols put in front. */
#define OFI_MAX_PACKET ((size_t)(65536 + 64))
#define OFI_ANSWER_ROOM ((size_t)1 << 20)
/* Receives that are posted on a connection, each for the longest packet. */
#define OFI_RECEIVES 8
/* Bytes of requests that are not known to be gone. */
#define OFI_WINDOW ((size_t)512 << 10)
/* Of injected packets nothing is heard; so, after this many bytes, one is sent that is. */
#define OFI_LOOSE_MAX ((size_t)16 << 10)
#define OFI_INJECT_MAX 256
/* Between two looks at the deadlines. */
#define OFI_CHECK_NS 50000000u

union ofi_sockaddr {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

/* What a completion names; the provider may use the front. */
struct ofi_work {
	struct fi_context2 provider;
	struct ofi_conn *conn;
	bool receive;
};

/* A posted receive. */
struct ofi_rx {
	struct ofi_work work;
	struct up_list held; /* struct ofi_conn.held, or struct ofi_lane.spent */
	bool spent;
	uint8_t *data;
	size_t bytes; /* that have come */
};

/* A packet on its way; in a queue, or in the provider's hands. */
struct ofi_tx {
	struct ofi_work work;
	struct up_list node;
	size_t room; /* of data */
	size_t bytes;
	size_t covers; /* bytes of struct ofi_link.out that are gone when this one is */
	alignas(16) uint8_t data[];
};

enum ofi_conn_state {
	OFI_CONN_OPENING,  /* the provider has not said that it is connected */
	OFI_CONN_GREETING, /* the peer's hello is to come; ours was sent if we connected */
	OFI_CONN_UP,
	OFI_CONN_LEAVING, /* only waits for the peer's end; what comes is dropped */
	OFI_CONN_BROKEN,  /* to be closed; packets that were held are still delivered */
};

struct ofi_conn {
	struct ofi_lane *lane;
	struct up_list node;   /* struct ofi_lane.conns */
	struct ofi_link *link; /* NULL: not known yet, or it does not matter any more */
	struct fid_ep *ep;     /* NULL: closed */
	enum ofi_conn_state state;
	bool ours;	     /* we connected */
	uint64_t deadline;   /* of OPENING, GREETING, LEAVING */
	struct up_list held; /* struct ofi_rx, not taken by the core yet */
	struct up_list sent; /* struct ofi_tx, in the provider's hands */
	uint8_t *memory;     /* of the receives */
	struct ofi_rx rx[OFI_RECEIVES];
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
	alignas(16) uint8_t small[OFI_INJECT_MAX];
};

struct ofi_lane {
	struct up_lane base;
	struct fi_info *info;
	struct fid_fabric *fabric;
	struct fid_domain *domain;
	struct fid_cq *cq;
	struct fid_eq *eq;
	struct fid_pep *pep;
	struct fid_eq *bell; /* wake.c; or NULL */
	bool own_bell;	     /* the provider's queues cannot be waited for, a bell can */
	int epoll, timer, kick;
	int waits[2]; /* descriptors of the provider's */
	unsigned nwaits;
	bool armed;	  /* somebody may be asleep on the descriptor */
	unsigned awake;	  /* polls since then */
	size_t inject;	  /* the longest packet that is injected */
	uint64_t timeout; /* of a peer that does not answer, nanoseconds */

	uint64_t cookie;
	uint16_t port;
	int family; /* AF_INET or AF_INET6 */
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
	bool broken;	    /* there are connections to close */
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
};

static inline struct ofi_lane *ofi_lane_of(const struct ofi_link *l)
{
	return (struct ofi_lane *)l->base.lane;
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

/* ---- address.c ---- */
/* The addresses of this host that others may reach, best first: lane->family, ips and nips. */
int up_ofi_find_ips(struct ofi_lane *lane);
size_t up_ofi_address(const struct up_lane *base, void *buf, size_t room);
/* A peer's part of an address. 0, -EINVAL, -EHOSTUNREACH. */
int up_ofi_addr_parse(const struct ofi_lane *lane, struct ofi_target *to, const void *addr,
		      size_t len);

/* ---- conn.c ---- */
/* A connection to the address, for the link. NULL: it failed at once. */
struct ofi_conn *up_ofi_conn_open(struct ofi_link *l, const union ofi_sockaddr *to);
/* It is closed, and its link loses it, at the end of the next poll: nobody who holds either of them
 * sees them go. */
void up_ofi_conn_break(struct ofi_conn *c);
/* Says goodbye behind all that was sent, and leaves its link; nothing that comes is delivered any
 * more. */
void up_ofi_conn_leave(struct ofi_conn *c);
/* A message of the peer's. False: it cannot be taken now. */
bool up_ofi_conn_message(struct ofi_conn *c, const void *data, size_t bytes);
/* Reads all events of the provider's: how many. */
unsigned up_ofi_events(struct ofi_lane *lane);
/* Ends what has taken too long. */
void up_ofi_deadlines(struct ofi_lane *lane);
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
/* It left, or failed. */
void up_ofi_tx_done(struct ofi_tx *tx);
/* Sends what is queued, as far as it goes. */
void up_ofi_flush(struct ofi_link *l);

/* ---- poll.c ---- */
unsigned up_ofi_poll(struct up_lane *base);
/* Posts all receives of a connection. 0 or a negative errno. */
int up_ofi_post_all(struct ofi_conn *c);
/* Posts again what was spent. */
void up_ofi_repost(struct ofi_lane *lane);
/* Reads completions until there are none. */
unsigned up_ofi_drain(struct ofi_lane *lane);

/* ---- wake.c ---- */
int up_ofi_wake_open(struct ofi_lane *lane);
void up_ofi_wake_close(struct ofi_lane *lane);
bool up_ofi_arm(struct up_lane *base);
/* Wakes who sleeps. */
void up_ofi_kick(struct ofi_lane *lane);
/* A poll while `armed`. */
void up_ofi_awake(struct ofi_lane *lane);

/* ---- alive.c ---- */
/* Makes the kernel notice that the other end of a connection does not answer any more. */
void up_ofi_watch(struct ofi_conn *c);

#endif
