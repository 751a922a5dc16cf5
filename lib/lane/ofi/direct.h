/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A provider of the lane's own: messages over TCP sockets, behind the same tables of functions as
 * any of libfabric's, for the part of them that the lane calls. It is here for the time that a
 * short message takes, of which libfabric's providers for TCP spend a tenth on finding out which
 * socket to read (docs/figures.md).
 *
 * Hot and cold. A socket in an epoll costs twice: whoever sends to it calls back into the epoll,
 * and who receives asks that before the socket. So a connection where messages come all the time is
 * hot: it is in no epoll, and each look at the completions reads it. There is one at most, and only
 * while no other has anything; all others are cold and found by an epoll, which is asked between.
 * When nothing comes any more it cools down, and it does before somebody sleeps.
 *
 * On the wire each message has a struct direct_head in front, and nothing else is sent.
 *
 * Locks: none. All that is here belongs to one lane, whose functions are called with a lock held.
 */
#ifndef UP_LANE_OFI_DIRECT_H
#define UP_LANE_OFI_DIRECT_H

#include "lane/ofi/ofi.h"

/* In the list of providers. */
#define DIRECT_NAME "direct"

#define DIRECT_HEAD_MAGIC 0x31545055u
/* What it is called in struct fi_ep_attr: the uppermost bit is for providers' own protocols, and
 * has a name in libfabric 1 only. */
#define DIRECT_PROTOCOL (1u << 31 | DIRECT_HEAD_MAGIC)

/* Little endian. */
struct direct_head {
	uint32_t magic;
	uint32_t bytes; /* that follow */
};
static_assert(sizeof(struct direct_head) == 8, "wire format");

#define DIRECT_HEAD sizeof(struct direct_head)
/* Completions that nobody has read yet. */
#define DIRECT_EVENTS 1024u
/* Of what a socket has, beyond the message that is coming: short ones come several at a time. */
#define DIRECT_STAGE 4096u
/* The same behind a long one, whose successor is better read into its own place. */
#define DIRECT_STAGE_BEHIND 320u

/* A receive or a send that is not complete, in the context that the caller lends for it. */
struct direct_op {
	struct direct_op *next;
	uint8_t *data;
	size_t bytes;
	size_t done;
};
static_assert(sizeof(struct direct_op) <= sizeof(struct fi_context2), "room in a context");

struct direct_ops {
	struct direct_op *first, **last;
};

enum direct_state {
	DIRECT_NEW,
	DIRECT_CONNECTING,
	DIRECT_UP,
	DIRECT_DEAD, /* its error was told */
};

/* A connection. */
struct direct_ep {
	struct fid_ep ep;
	struct direct *net;
	int fd;
	enum direct_state state;
	uint32_t events;     /* that the epoll looks for; 0: it does not know the socket */
	unsigned empty;	     /* looks in a row while hot that had nothing */
	struct up_list left; /* struct direct.left */
	struct direct_ops receives, sends;
	/* Of the first of `sends`; of an injected message, whose data is in `small`. */
	struct direct_head head;
	size_t head_done;
	struct direct_op injected;
	uint8_t small[OFI_INJECT_MAX];
	/* Of the message that is coming, the first of `receives` if it has bytes. */
	size_t coming;
	size_t begin, end; /* of what is in the stage */
	uint8_t stage[DIRECT_STAGE];
};

/* A connection that a peer has made, until it is taken or rejected. */
struct direct_request {
	struct fid fid;
	int fd;
};

/* What the event queue has to tell. */
struct direct_event {
	struct up_list node;
	uint32_t event;
	int error; /* 0: none */
	struct fid *fid;
	struct fi_info *info;
};

struct direct_completion {
	void *context;
	uint64_t flags;
	size_t bytes;
	int error; /* 0: none */
};

/* All of a lane's objects. */
struct direct {
	struct fid_fabric fabric;
	struct fid_domain domain;
	struct fid_cq cq;
	struct fid_eq eq;
	struct fid_pep pep;
	struct fi_info *info;
	bool inherited; /* by a forked child, which only closes its copies of the descriptors */
	int listener;
	bool deaf;  /* there are no descriptors for those who connect */
	int making; /* an epoll of the listener and of connections that are not there yet */
	int cold;   /* an epoll of connections */
	struct up_list events;
	struct up_list left;   /* struct direct_ep, with something in the stage that can be taken */
	struct direct_ep *hot; /* NULL: none */
	struct direct_ep *last; /* of which the epoll told last that it has something */
	unsigned heat;		/* how often in a row */
	const bool *armed;	/* somebody may be asleep */
	unsigned since_cold;	/* looks since the epoll was asked */
	unsigned first, n;	/* of the completions */
	struct direct_completion completions[DIRECT_EVENTS];
};

static inline struct direct_ep *direct_ep_of(struct fid_ep *ep)
{
	return UP_CONTAINER_OF(ep, struct direct_ep, ep);
}

/* ---- direct.c ---- */
/* As fi_getinfo() says it; NULL: no memory. */
struct fi_info *up_direct_info(void);
int up_direct_fabric(struct ofi_lane *lane);
/* Do some wait to connect of whom no descriptor tells? */
bool up_direct_is_deaf(const struct ofi_lane *lane);
/* In a forked child: from here on nothing is done with the sockets and epolls but to close them. */
void up_direct_inherit(struct ofi_lane *lane);
/* The event queue tells this; a connection whose memory is short has its error later. */
int up_direct_tell(struct direct *net, uint32_t event, int error, struct fid *fid,
		   struct fi_info *info);

/* ---- direct_make.c ---- */
int up_direct_passive_ep(struct fid_fabric *fabric, struct fi_info *info, struct fid_pep **pep,
			 void *context);
int up_direct_endpoint(struct fid_domain *domain, struct fi_info *info, struct fid_ep **ep,
		       void *context);
/* Looks for connections that come or are made. */
void up_direct_make(struct direct *net);
void up_direct_request_free(struct direct_request *request);

/* ---- direct_data.c ---- */
extern struct fi_ops_msg up_direct_msg;
static inline bool direct_full(const struct direct *net)
{
	return net->n == DIRECT_EVENTS;
}
/* It can carry messages. */
void up_direct_start(struct direct_ep *c);
/* It carries no more. */
void up_direct_stop(struct direct_ep *c);
/* Finds out what has come, and sends what waits. */
void up_direct_progress(struct direct *net);
/* May somebody sleep until a socket has something? Then all are watched. */
bool up_direct_may_sleep(struct direct *net);

#endif
