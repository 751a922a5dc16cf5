/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Connections that share one endpoint of reliable datagrams (FI_EP_RDM). The provider knows none of
 * them, so each end gives each a name, which all messages to it carry: a place in a table, and a
 * random half, so that what is late finds nothing. A message without a name is the hello that
 * begins a connection. Nobody tells here that a peer has gone: watch.c.
 */
#include "lane/ofi/ofi.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "core/private.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

/* For those who have no connection yet, beside each connection's own. */
#define RECEIVES 64u
#define NAMES_MAX ((unsigned)1 << 20)
/* Between two nudges of a peer that nobody watches. */
#define NUDGE_NS 1000000000u
/* As many of these intervals in which the provider did not take one are the peer's end. */
#define NUDGES_MAX 10

/* ---- names ---- */

static int more_names(struct ofi_lane *lane)
{
	unsigned n = lane->nnames ? 2 * lane->nnames : 16;
	struct ofi_conn **names;

	if (n > NAMES_MAX)
		return -ENOMEM;
	names = realloc(lane->names, n * sizeof(*names));
	if (!names)
		return -ENOMEM;
	memset(names + lane->nnames, 0, (n - lane->nnames) * sizeof(*names));
	lane->names = names;
	lane->nnames = n;
	return 0;
}

static int more_receives(struct ofi_lane *lane, unsigned n)
{
	struct ofi_pool *pool = up_ofi_pool_create(lane, n);

	if (!pool)
		return -ENOMEM;
	pool->next = lane->pools;
	lane->pools = pool;
	lane->nreceives += n;
	return up_ofi_pool_post(pool, lane->ep);
}

/* For all connections that there are, as far as the endpoint takes so many; those of one that has
 * ended are the next one's. */
static int ensure_receives(struct ofi_lane *lane)
{
	const size_t most = lane->info->rx_attr->size;
	const struct up_list *pos;
	unsigned n = RECEIVES;

	for (pos = lane->conns.next; pos != &lane->conns; pos = pos->next)
		n += OFI_CREDITS + OFI_OWN_CREDITS;
	lane->scarce = most && n > most;
	if (lane->scarce)
		n = most > RECEIVES ? (unsigned)most : RECEIVES;
	return n > lane->nreceives ? more_receives(lane, n - lane->nreceives) : 0;
}

static int give_name(struct ofi_conn *c)
{
	struct ofi_lane *lane = c->lane;
	uint32_t nonce;
	unsigned i = 0;
	int ret = ensure_receives(lane);

	if (ret)
		return ret;
	while (i < lane->nnames && lane->names[i])
		i++;
	if (i == lane->nnames && more_names(lane))
		return -ENOMEM;
	if (getrandom(&nonce, sizeof(nonce), 0) != sizeof(nonce))
		return -EAGAIN;
	lane->names[i] = c;
	/* Not 0. */
	c->here = htole64((uint64_t)nonce << 32 | (i + 1));
	c->ep = lane->ep;
	if (!lane->nudging)
		lane->nudge_at = up_clock_ns() + NUDGE_NS;
	lane->nudging = true;
	return 0;
}

/* Its place in the table; NULL: there is none. */
static struct ofi_conn **place_of(const struct ofi_lane *lane, uint64_t name)
{
	uint32_t i = (uint32_t)le64toh(name);

	return i && i <= lane->nnames ? &lane->names[i - 1] : NULL;
}

struct ofi_conn *up_ofi_conn_named(const struct ofi_lane *lane, uint64_t name)
{
	struct ofi_conn **place = place_of(lane, name);

	return place && *place && (*place)->here == name ? *place : NULL;
}

/* ---- peers ---- */

static int insert(struct ofi_conn *c, const union ofi_sockaddr *to)
{
	if (fi_av_insert(c->lane->av, to, 1, &c->to, 0, NULL) == 1)
		return 0;
	c->to = FI_ADDR_UNSPEC;
	return -EHOSTUNREACH;
}

/* Two endpoints may have two connections for a while. */
static bool used(const struct ofi_lane *lane, const struct ofi_conn * not, fi_addr_t to)
{
	for (unsigned i = 0; i < lane->nnames; i++) {
		if (lane->names[i] && lane->names[i] != not &&lane->names[i]->to == to)
			return true;
	}
	return false;
}

static int rdm_conn_open(struct ofi_conn *c, const union ofi_sockaddr *to)
{
	int ret = give_name(c);

	if (!ret)
		ret = insert(c, to);
	if (!ret)
		up_ofi_conn_opened(c);
	return ret;
}

static void rdm_conn_close(struct ofi_conn *c)
{
	struct ofi_lane *lane = c->lane;

	up_ofi_watch_end(c);
	*place_of(lane, c->here) = NULL;
	/* What the provider still has to send needs the address: then it stays. */
	if (c->to != FI_ADDR_UNSPEC && up_list_empty(&c->sent) && !used(lane, c, c->to))
		fi_av_remove(lane->av, &c->to, 1, 0);
}

static struct ofi_conn *stranger(struct ofi_lane *lane)
{
	struct ofi_conn *c = up_ofi_conn_new(lane);

	if (!c)
		return NULL;
	if (give_name(c)) {
		up_ofi_conn_break(c);
		return NULL;
	}
	up_ofi_conn_opened(c);
	return c;
}

static bool is_hello(const struct ofi_rx *rx)
{
	uint64_t magic;

	if (rx->bytes < offsetof(struct ofi_hello, addr))
		return false;
	memcpy(&magic, rx->data + OFI_HEAD_ROOM, sizeof(magic));
	return le64toh(magic) == OFI_HELLO_MAGIC;
}

static struct ofi_conn *rdm_conn_find(struct ofi_lane *lane, const struct ofi_rx *rx)
{
	struct ofi_head h;

	memcpy(&h, rx->data, sizeof(h));
	if (h.to)
		return up_ofi_conn_named(lane, h.to);
	return is_hello(rx) ? stranger(lane) : NULL;
}

/* ---- events ---- */

/*
 * Of what the provider still has it will say how it ended; also, a peer that stands still may have
 * kept it for long. A hello has a deadline.
 */
static bool may_nudge(const struct ofi_conn *c)
{
	if (c->state == OFI_CONN_GREETING && (!c->ours || !up_list_empty(&c->pending)))
		return false;
	return (c->state == OFI_CONN_UP || c->state == OFI_CONN_GREETING) &&
	       up_list_empty(&c->sent);
}

static void nudge_one(struct ofi_conn *c)
{
	if (up_ofi_watched(c))
		return;
	c->lane->nudging = true;
	if (!may_nudge(c))
		return;
	if (up_ofi_conn_nudge(c) != -EAGAIN)
		c->nudges = 0;
	else if (++c->nudges > NUDGES_MAX)
		up_ofi_conn_break(c);
}

/* Of a process that has ended the provider hears when it sends there; or it tries to connect again
 * and again, and takes nothing. */
static void nudge(struct ofi_lane *lane, uint64_t now)
{
	struct up_list *pos, *tmp;

	lane->nudging = false;
	lane->nudge_at = now + NUDGE_NS;
	up_list_each (pos, tmp, &lane->conns)
		nudge_one(UP_CONTAINER_OF(pos, struct ofi_conn, node));
}

static unsigned rdm_events(struct ofi_lane *lane)
{
	unsigned n = up_ofi_watch_events(lane);
	uint64_t now;

	if (lane->nudging && (now = up_clock_ns()) >= lane->nudge_at)
		nudge(lane, now);
	return n;
}

/* ---- hellos ---- */

static int find_peer(struct ofi_conn *c, const struct ofi_hello *h)
{
	struct up_addr_part part;
	struct ofi_target to;
	int ret = up_addr_check(h->addr, h->addr_bytes);

	if (!ret && !up_addr_part(h->addr, up_lane_ofi.name, &part))
		ret = -EINVAL;
	if (!ret)
		ret = up_ofi_addr_parse(c->lane, &to, part.part, part.bytes);
	return ret ? ret : insert(c, &to.at[0]);
}

static bool rdm_meet(struct ofi_conn *c, const struct ofi_hello *h, const void *rest, size_t bytes)
{
	c->there = h->name;
	if (!c->there)
		return false;
	if (!c->ours && find_peer(c, h))
		return false;
	return up_ofi_door_knock(c, rest, bytes);
}

/* ---- the endpoint ---- */

static int enable(struct ofi_lane *lane)
{
	struct fi_av_attr attr = {.type = FI_AV_TABLE};
	int ret;

	if (lane->info->domain_attr->av_type != FI_AV_UNSPEC)
		attr.type = lane->info->domain_attr->av_type;
	ret = fi_av_open(lane->domain, &attr, &lane->av, lane);
	if (!ret)
		ret = fi_ep_bind(lane->ep, &lane->av->fid, 0);
	return ret ? ret : up_ofi_enable(lane, lane->ep);
}

static int find_name(struct ofi_lane *lane)
{
	union ofi_sockaddr a = {0};
	size_t len = sizeof(a);
	int ret = fi_getname(&lane->ep->fid, &a, &len);

	if (ret)
		return ret;
	if (up_ofi_internet(lane->info->addr_format)) {
		lane->port = up_ofi_sockaddr_port(&a);
	} else {
		lane->name_bytes = len;
		memcpy(lane->name, &a, len);
	}
	return 0;
}

/* Providers of datagrams need to know where they are: one of this host's addresses. */
static int set_place(struct ofi_lane *lane)
{
	struct fi_info *info = lane->info;
	union ofi_sockaddr a;

	lane->nips = 1;
	if (!up_ofi_internet(info->addr_format))
		return 0;
	info->addr_format = up_ofi_format(lane->family);
	a = up_ofi_sockaddr(lane->family, lane->ips[0], 0);
	return up_ofi_set_addr(&info->src_addr, &info->src_addrlen, &a);
}

static int rdm_open(struct ofi_lane *lane)
{
	int ret = set_place(lane);

	if (!ret)
		ret = fi_endpoint(lane->domain, lane->info, &lane->ep, lane);
	if (!ret)
		ret = enable(lane);
	if (ret)
		return ret;
	ret = more_receives(lane, RECEIVES);
	if (!ret)
		ret = find_name(lane);
	return ret ? ret : up_ofi_door_open(lane);
}

static void rdm_close(struct ofi_lane *lane)
{
	up_ofi_door_close(lane);
	if (lane->ep)
		up_ofi_close_fid(&lane->ep->fid);
	lane->ep = NULL;
	if (lane->av)
		up_ofi_close_fid(&lane->av->fid);
	lane->av = NULL;
	while (lane->pools) {
		struct ofi_pool *pool = lane->pools;

		lane->pools = pool->next;
		up_ofi_pool_destroy(pool);
	}
	free(lane->names);
	lane->names = NULL;
	lane->nnames = 0;
}

const struct ofi_kind up_ofi_rdm = {
	.type = FI_EP_RDM,
	.head = OFI_HEAD_ROOM,
	.open = rdm_open,
	.close = rdm_close,
	.events = rdm_events,
	.conn_open = rdm_conn_open,
	.conn_close = rdm_conn_close,
	.conn_find = rdm_conn_find,
	.meet = rdm_meet,
	.rest = up_ofi_door_say,
};
