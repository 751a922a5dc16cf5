/* SPDX-License-Identifier: BSD-2-Clause */
/* Endpoints: their opening and closing, the lock, progress, and the packets' way to a protocol. */
#include "core/param.h"
#include "core/private.h"
#include "base/clock.h"
#include "base/log.h"

#include <stdlib.h>
#include <time.h>
#include <underpass/tag.h>
#include <unistd.h>

/* In the order of starting; ended the other way round. */
static const struct up_protocol *const protocols[] = {
	&up_bulk_protocol,
	&up_am_protocol,
	&up_tag_protocol,
	&up_rma_protocol,
};
static_assert(UP_ARRAY_SIZE(protocols) <= UP_PROTOCOLS_MAX, "table of protocols");

/* ---- the lock ---- */

static uintptr_t self(void)
{
	return (uintptr_t)pthread_self();
}

/* Only the holder can find itself there, so the look without the lock is safe. */
void up_ep_lock_shared(struct up_ep *ep)
{
	struct up_ep_private *core = up_priv(ep);

	if (__atomic_load_n(&core->owner, __ATOMIC_RELAXED) == self())
		return;
	if (pthread_mutex_trylock(&core->mutex)) {
		__atomic_add_fetch(&core->wanted, 1, __ATOMIC_RELAXED);
		pthread_mutex_lock(&core->mutex);
		__atomic_sub_fetch(&core->wanted, 1, __ATOMIC_RELAXED);
	}
	__atomic_store_n(&core->owner, self(), __ATOMIC_RELAXED);
}

void up_ep_unlock_shared(struct up_ep *ep)
{
	struct up_ep_private *core = up_priv(ep);

	__atomic_store_n(&core->owner, 0, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&core->mutex);
}

static void lock_init(struct up_ep_private *core)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ADAPTIVE_NP);
	pthread_mutex_init(&core->mutex, &attr);
	pthread_mutexattr_destroy(&attr);
	/* The thread of automatic progress is a second one. */
	core->pub.shared = core->pub.attr.thread == UP_THREAD_MULTIPLE ||
			   core->pub.attr.progress == UP_PROGRESS_AUTO;
}

/* ---- opening ---- */

static int open_lane(struct up_ep_private *core, const struct up_lane_ops *ops)
{
	struct up_lane *lane;
	int r = ops->open(&core->pub, &lane);

	if (r) {
		up_log(r == -EOPNOTSUPP ? LOG_DEBUG : LOG_ERR, NULL, "lane %s: %s", ops->name,
		       strerror(-r));
		return r;
	}
	core->lanes[core->nlanes++] = lane;
	if (lane->max_packet > core->max_packet)
		core->max_packet = lane->max_packet;
	return 0;
}

/* Is the name in the list, and where; SIZE_MAX: no. */
static size_t find_name(const char *list, const char *name)
{
	size_t n = strlen(name);

	for (const char *at = list; *at;) {
		size_t len = strcspn(at, ",");

		if (len == n && !memcmp(at, name, n))
			return (size_t)(at - list);
		at += len + (at[len] == ',');
	}
	return SIZE_MAX;
}

/* The one whose name comes first in the list, from `from` on; NULL: no more. */
static const struct up_lane_ops *next_lane(const char *list, size_t *from)
{
	const struct up_lane_ops *const *lanes = up_lanes(), *best = NULL;
	size_t first = SIZE_MAX;

	for (size_t i = 0; lanes[i]; i++) {
		size_t at = list ? find_name(list, lanes[i]->name) : i;

		if (at >= *from && at < first) {
			first = at;
			best = lanes[i];
		}
	}
	*from = first + 1;
	return best;
}

static int open_lanes(struct up_ep_private *core, const char *list)
{
	const struct up_lane_ops *ops;
	int r = -EINVAL;
	size_t from = 0;

	while ((ops = next_lane(list, &from)) && core->nlanes < UP_LANES_MAX) {
		int error = open_lane(core, ops);

		r = error ? error : r;
	}
	for (unsigned i = 0; i < core->nlanes; i++)
		core->lanes[i]->alone = core->nlanes == 1;
	return core->nlanes ? 0 : r;
}

static int start_protocols(struct up_ep_private *core)
{
	for (size_t i = 0; i < UP_ARRAY_SIZE(protocols); i++) {
		const struct up_protocol *p = protocols[i];
		int r = p->init(&core->pub);

		if (r)
			return r;
		core->protocols[core->nprotocols++] = p;
		if (p->progress) {
			core->progress[core->nprogress].work = p->work(&core->pub);
			core->progress[core->nprogress++].run = p->progress;
		}
		for (unsigned t = 0; t < UP_PKT_TYPES; t++) {
			if (p->handlers[t])
				core->handlers[t] = p->handlers[t];
		}
	}
	core->handlers[UP_PKT_ANSWER] = up_op_answer;
	return 0;
}

static int take_attr(struct up_ep_private *core, const struct up_ep_attr *attr)
{
	static uint64_t serial;
	struct up_ep_attr *a = &core->pub.attr;

	if (attr)
		*a = *attr;
	if ((a->thread != UP_THREAD_MULTIPLE && a->thread != UP_THREAD_SINGLE) ||
	    (a->progress != UP_PROGRESS_MANUAL && a->progress != UP_PROGRESS_AUTO))
		return -EINVAL;
	if (!a->max_addr)
		a->max_addr = UP_ADDR_MAX;
	if (a->max_addr > UP_ADDR_MAX)
		return -EINVAL;
	if (!a->max_peers)
		a->max_peers = (uint32_t)up_param(UP_PARAM_MAX_PEERS);
	if (!a->max_unexpected)
		a->max_unexpected = (uint32_t)up_param(UP_PARAM_MAX_UNEXPECTED);
	core->serial = __atomic_add_fetch(&serial, 1, __ATOMIC_RELAXED);
	return 0;
}

static int open_all(struct up_ep_private *core)
{
	const char *lanes = core->pub.attr.lanes;
	int r = open_lanes(core, lanes ? lanes : up_param_text(UP_PARAM_LANES));

	/* The string is the caller's. */
	core->pub.attr.lanes = NULL;
	if (!r)
		r = up_addr_make(core);
	if (!r && !(core->pub.scratch = aligned_alloc(64, (core->max_packet + 63) & ~63ul)))
		r = -ENOMEM;
	if (!r)
		r = up_wait_init(core);
	if (!r)
		r = start_protocols(core);
	if (!r && core->pub.attr.progress == UP_PROGRESS_AUTO)
		r = up_auto_start(core);
	return r;
}

int up_ep_open(const struct up_ep_attr *attr, struct up_ep **ep)
{
	struct up_ep_private *core;
	int r;

	if (!ep)
		return -EINVAL;
	core = aligned_alloc(64, (sizeof(*core) + 63) & ~63ul);
	if (!core)
		return -ENOMEM;
	memset(core, 0, sizeof(*core));
	core->pub.core = core;
	core->owner_pid = getpid();
	core->epoll = core->event = core->timer = -1;
	core->automatic.epoll = core->automatic.kick = -1;
	core->spin_ns = up_param(UP_PARAM_SPIN) * 1000;
	r = take_attr(core, attr);
	if (r) {
		free(core);
		return r;
	}
	lock_init(core);
	r = up_peers_init(core);
	if (!r)
		r = up_ops_init(core);
	if (!r)
		r = open_all(core);
	if (r)
		up_ep_close(&core->pub);
	else
		*ep = &core->pub;
	return r;
}

#define LINGER_LOOKS 10u /* a millisecond */

static bool drop(struct up_ep *ep, struct up_peer_state *from, const struct up_packet *p,
		 const void *payload)
{
	return true;
}

static bool lingers(const struct up_ep_private *core)
{
	bool any = false;

	for (unsigned i = 0; i < core->nprotocols; i++) {
		if (core->protocols[i]->lingers)
			any |= core->protocols[i]->lingers(&core->pub);
	}
	return any;
}

/* What was told to be sent already may still find room, but nothing is received any more. Not in a
 * forked child: it would send what its parent sends. */
static void linger(struct up_ep_private *core)
{
	const struct timespec pause = {.tv_nsec = UP_MSEC / LINGER_LOOKS};

	if (!lingers(core) || core->owner_pid != getpid())
		return;
	for (unsigned t = 0; t < UP_PKT_TYPES; t++)
		core->handlers[t] = drop;
	/* Looks, not the clock: who is stopped meanwhile has not waited. */
	for (unsigned n = 0; n < UP_TAG_LINGER_MS * LINGER_LOOKS && lingers(core); n++) {
		up_core_progress(core);
		nanosleep(&pause, NULL);
	}
}

void up_ep_close(struct up_ep *ep)
{
	struct up_ep_private *core = up_priv(ep);

	up_auto_stop(core);
	up_ep_lock(ep);
	/* The descriptors on which somebody may sleep are the parent's, too. */
	if (core->owner_pid != getpid())
		core->armed = false;
	linger(core);
	up_peers_fini(core);
	while (core->nprotocols)
		core->protocols[--core->nprotocols]->fini(ep);
	while (core->nlanes) {
		struct up_lane *lane = core->lanes[--core->nlanes];

		lane->ops->close(lane);
	}
	up_ops_fini(core);
	up_wait_fini(core);
	up_ep_unlock(ep);
	pthread_mutex_destroy(&core->mutex);
	free(core->pub.scratch);
	free(core);
}

/* ---- what else there is ---- */

size_t up_ep_address(struct up_ep *ep, void *addr)
{
	struct up_ep_private *core = up_priv(ep);

	memcpy(addr, core->addr, core->addr_bytes);
	return core->addr_bytes;
}

struct up_lane *up_ep_mem_lane(struct up_ep *ep)
{
	struct up_ep_private *core = up_priv(ep);

	for (unsigned i = 0; i < core->nlanes; i++) {
		if (core->lanes[i]->ops->mem_alloc)
			return core->lanes[i];
	}
	return NULL;
}

static __attribute__((noinline)) bool refused(struct up_ep_private *core)
{
	core->pub.withheld = true;
	return false;
}

bool up_core_packet(struct up_link *link, const void *packet, size_t bytes)
{
	struct up_peer_state *peer = link->peer;
	struct up_ep_private *core;
	struct up_packet p;
	int r;

	if (__builtin_expect(!peer || peer->error, 0))
		return true;
	r = up_packet_parse(&p, packet, bytes);
	core = up_priv(peer->ep);
	if (__builtin_expect(r || !core->handlers[p.type], 0)) {
		up_core_link_down(link, r ? r : -EPROTO);
		return true;
	}
	if (!core->handlers[p.type](&core->pub, peer, &p, (const char *)packet + sizeof(p)))
		return refused(core);
	up_activity(core, 1);
	return true;
}

void up_core_happened(struct up_ep *ep)
{
	up_activity(up_priv(ep), 1);
}

void up_ep_enter(struct up_ep *ep)
{
	up_ep_lock(ep);
}

void up_ep_leave(struct up_ep *ep)
{
	up_ep_unlock(ep);
}

uint64_t up_core_activity(const struct up_ep *ep)
{
	return ((const struct up_ep_private *)ep)->activity;
}

/* Is there anything to do that no lane brought? */
static inline bool has_work(const struct up_ep_private *core)
{
	bool any = !up_list_empty(&core->stuck) || !up_list_empty(&core->ended);

	for (unsigned i = 0; i < core->nprogress; i++)
		any |= !up_list_empty(core->progress[i].work);
	return any;
}

static __attribute__((noinline)) unsigned work(struct up_ep_private *core)
{
	unsigned n = 0;

	for (unsigned i = 0; i < core->nprogress; i++) {
		if (!up_list_empty(core->progress[i].work))
			n += core->progress[i].run(&core->pub);
	}
	if (!up_list_empty(&core->stuck))
		n += up_ops_resume(core);
	if (!up_list_empty(&core->ended))
		n += up_peers_settle(core);
	up_activity(core, n);
	return n;
}

unsigned up_core_progress(struct up_ep_private *core)
{
	unsigned n = 0;

	core->kicked = false;
	core->looked = true;
	core->pub.unpolled = 0;
	for (unsigned i = 0; i < core->nlanes; i++) {
		struct up_lane *lane = core->lanes[i];

		if (lane->rests)
			lane->rests--;
		else
			n += lane->ops->poll(lane);
	}
	return __builtin_expect(has_work(core), 0) ? n + work(core) : n;
}

static unsigned progress_shared(struct up_ep_private *core)
{
	unsigned n = 0;

	up_ep_lock(&core->pub);
	if (core->pub.depth == 1) {
		if (core->automatic.running)
			__atomic_store_n(&core->calls, core->calls + 1, __ATOMIC_RELAXED);
		n = up_core_progress(core);
	}
	up_ep_unlock(&core->pub);
	return n;
}

/* Whoever polls comes by here all the time, mostly for nothing. */
unsigned up_progress(struct up_ep *ep)
{
	unsigned n;

	if (ep->shared)
		return progress_shared(up_priv(ep));
	/* A callback's. */
	if (__builtin_expect(ep->depth != 0, 0))
		return 0;
	ep->depth = 1;
	n = up_core_progress(up_priv(ep));
	ep->depth = 0;
	return n;
}
