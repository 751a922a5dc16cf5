/* SPDX-License-Identifier: BSD-2-Clause */
/* The libfabric lane: opening and closing it, and its table of operations. */
#include "lane/ofi/direct.h"
#include "core/core.h"
#include "core/param.h"
#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/random.h>

/* At the end: for what has not left this host, and then for the peers to say that they saw it. */
#define LEAVE_NS 1000000000u
#define GOODBYE_NS 50000000u
/* Steps of connections that are being made. */
#define TURN_AWAY 256

/* Is there a packet that the network has not taken? */
static bool unsent(const struct ofi_lane *lane)
{
	const struct up_list *pos;

	if (!up_list_empty(&lane->links))
		return true;
	for (pos = lane->conns.next; pos != &lane->conns; pos = pos->next) {
		const struct ofi_conn *c = UP_CONTAINER_OF(pos, const struct ofi_conn, node);

		if (c->state == OFI_CONN_LEAVING &&
		    (!up_list_empty(&c->sent) || !up_list_empty(&c->pending)))
			return true;
	}
	return false;
}

/* The core has dropped all links. */
static void say_goodbye(struct ofi_lane *lane)
{
	uint64_t start = up_clock_ns(), left = 0, now;

	lane->closing = true;
	while (!up_list_empty(&lane->conns) || !up_list_empty(&lane->links)) {
		struct pollfd p = {.fd = lane->epoll, .events = POLLIN};

		lane->look = true;
		up_ofi_poll(&lane->base);
		now = up_clock_ns();
		if (!left && !unsent(lane))
			left = now;
		if (now > start + LEAVE_NS || (left && now > left + GOODBYE_NS))
			break;
		if (up_ofi_arm(&lane->base))
			poll(&p, 1, 5);
	}
}

/* Those who connect now, and are in the middle of it, hear that nobody is here: the provider does
 * not tell them when it is closed. */
static void turn_away(struct ofi_lane *lane)
{
	struct pollfd p = {.fd = lane->epoll, .events = POLLIN};

	up_ofi_arm(&lane->base);
	for (unsigned i = 0; i < TURN_AWAY && poll(&p, 1, 0) > 0; i++)
		lane->kind->events(lane);
}

static void free_all(struct ofi_lane *lane)
{
	struct up_list *pos, *tmp;

	up_list_each (pos, tmp, &lane->links)
		up_ofi_link_free(ofi_link_of(pos));
	up_list_each (pos, tmp, &lane->conns)
		up_ofi_conn_break(ofi_conn_of(pos));
	up_ofi_reap(lane);
}

/*
 * In a forked child. The sockets are its parent's, too: nothing may be sent, read, or taken out of
 * an epoll. A provider of libfabric's would do that when it is closed, so it stays as it is.
 */
static bool inherit(struct ofi_lane *lane)
{
	lane->closing = true;
	if (lane->direct)
		up_direct_inherit(lane);
	return lane->direct;
}

static void ofi_close(struct up_lane *base)
{
	struct ofi_lane *lane = (struct ofi_lane *)base;

	if (lane->ready && ofi_is_ours(lane)) {
		say_goodbye(lane);
		turn_away(lane);
	} else if (lane->ready && !inherit(lane)) {
		return;
	}
	if (lane->ready)
		free_all(lane);
	up_ofi_wake_close(lane);
	if (lane->kind)
		lane->kind->close(lane);
	up_ofi_tx_fini(lane);
	up_ofi_fabric_close(lane);
	free(lane);
}

static int fill(struct ofi_lane *lane)
{
	uint64_t cookie = 0;
	int ret;

	lane->timeout = up_param(UP_PARAM_PEER_TIMEOUT) * 1000000000;
	if (getrandom(&cookie, OFI_COOKIE_BYTES, 0) != OFI_COOKIE_BYTES)
		return -EOPNOTSUPP;
	lane->cookie = le64toh(cookie);
	ret = up_ofi_find_ips(lane);
	if (!ret)
		ret = up_ofi_fabric_open(lane);
	lane->ready = !ret;
	return ret;
}

static int ofi_open(struct up_ep *ep, struct up_lane **out)
{
	struct ofi_lane *lane = calloc(1, sizeof(*lane));
	int ret;

	if (!lane)
		return -ENOMEM;
	lane->base = (struct up_lane){
		.ops = &up_lane_ofi,
		.ep = ep,
		.max_packet = OFI_MAX_PACKET,
		.answer_room = OFI_ANSWER_ROOM,
		.direct_from = SIZE_MAX,
	};
	lane->pid = getpid();
	lane->epoll = lane->timer = lane->kick = -1;
	lane->door = lane->watchers = -1;
	up_list_init(&lane->conns);
	up_list_init(&lane->links);
	up_list_init(&lane->spent);
	up_list_init(&lane->spare);
	up_list_init(&lane->spare_small);
	up_list_init(&lane->orphans);
	up_list_init(&lane->watches);
	ret = fill(lane);
	if (ret) {
		ofi_close(&lane->base);
		return ret;
	}
	*out = &lane->base;
	return 0;
}

static int ofi_fd(struct up_lane *base)
{
	return ((struct ofi_lane *)base)->epoll;
}

const struct up_lane_ops up_lane_ofi = {
	.name = "ofi",
	.open = ofi_open,
	.close = ofi_close,
	.address = up_ofi_address,
	.connect = up_ofi_connect,
	.disconnect = up_ofi_disconnect,
	.reserve = up_ofi_reserve,
	.commit = up_ofi_commit,
	.poll = up_ofi_poll,
	.fd = ofi_fd,
	.arm = up_ofi_arm,
};
