/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Connections. Whoever connects sends its hello; the other end checks it and sends its own back,
 * and then both may send packets. When both ends connect at once, the connection of the one with
 * the lower cookie stays. Each decides that when it gets the other's hello, and both know the same
 * then: an end whose own hello has left takes part with its connection, another one gives it up.
 */
#include "lane/ofi/ofi.h"
#include "base/clock.h"
#include "base/log.h"
#include "core/core.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#define MEMORY (OFI_RECEIVES * OFI_MAX_PACKET)
/* Connections of strangers, whose hello has not come. */
#define STRANGERS_MAX 1024

static bool settling(enum ofi_conn_state state)
{
	return state != OFI_CONN_UP && state != OFI_CONN_BROKEN;
}

static void set_state(struct ofi_conn *c, enum ofi_conn_state state)
{
	c->lane->nsettling += settling(state) - settling(c->state);
	c->state = state;
	c->deadline = up_clock_ns() + c->lane->timeout;
}

/* ---- the object ---- */

static struct ofi_conn *conn_new(struct ofi_lane *lane, struct ofi_link *l)
{
	struct ofi_conn *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	/* Not from the heap: pages that no long packet touches shall not be there. */
	c->memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (c->memory == MAP_FAILED) {
		free(c);
		return NULL;
	}
	madvise(c->memory, MEMORY, MADV_NOHUGEPAGE);
	c->lane = lane;
	c->link = l;
	up_list_init(&c->held);
	up_list_init(&c->sent);
	for (unsigned i = 0; i < OFI_RECEIVES; i++) {
		c->rx[i].work = (struct ofi_work){.conn = c, .receive = true};
		c->rx[i].data = c->memory + i * OFI_MAX_PACKET;
		up_list_init(&c->rx[i].held);
	}
	up_list_add_tail(&lane->conns, &c->node);
	c->state = OFI_CONN_UP;
	set_state(c, OFI_CONN_OPENING);
	return c;
}

static void close_ep(struct ofi_conn *c)
{
	if (c->ep && fi_close(&c->ep->fid))
		up_log(LOG_WARNING, NULL, "ofi: a connection does not close");
	c->ep = NULL;
}

/* Nothing of the provider's names it any more. */
static void conn_free(struct ofi_conn *c)
{
	struct up_list *pos, *tmp;

	c->lane->nsettling -= settling(c->state);
	close_ep(c);
	up_list_each (pos, tmp, &c->held)
		c->lane->nheld--;
	for (unsigned i = 0; i < OFI_RECEIVES; i++) {
		c->lane->nspent -= c->rx[i].spent;
		up_list_del(&c->rx[i].held);
	}
	up_list_each (pos, tmp, &c->sent)
		up_ofi_tx_put(c->lane, UP_CONTAINER_OF(pos, struct ofi_tx, node));
	up_list_del(&c->node);
	munmap(c->memory, MEMORY);
	free(c);
}

static int make_ep(struct ofi_conn *c, struct fi_info *info)
{
	struct ofi_lane *lane = c->lane;
	int ret = fi_endpoint(lane->domain, info, &c->ep, c);

	if (!ret)
		ret = fi_ep_bind(c->ep, &lane->eq->fid, 0);
	if (!ret)
		ret = fi_ep_bind(c->ep, &lane->cq->fid, FI_TRANSMIT | FI_SELECTIVE_COMPLETION);
	if (!ret)
		ret = fi_ep_bind(c->ep, &lane->cq->fid, FI_RECV);
	if (!ret)
		ret = fi_enable(c->ep);
	return ret ? ret : up_ofi_post_all(c);
}

struct ofi_conn *up_ofi_conn_open(struct ofi_link *l, const union ofi_sockaddr *to)
{
	struct ofi_lane *lane = ofi_lane_of(l);
	struct ofi_conn *c = conn_new(lane, l);
	struct fi_info *info;
	int ret;

	if (!c)
		return NULL;
	info = fi_dupinfo(lane->info);
	if (info)
		info->addr_format = to->sa.sa_family == AF_INET ? FI_SOCKADDR_IN : FI_SOCKADDR_IN6;
	c->ours = true;
	ret = info ? make_ep(c, info) : -ENOMEM;
	if (info)
		fi_freeinfo(info);
	if (!ret)
		ret = fi_connect(c->ep, to, NULL, 0);
	if (!ret)
		return c;
	up_log(LOG_DEBUG, NULL, "ofi: cannot connect: %s", fi_strerror(-ret));
	c->link = NULL;
	up_ofi_conn_break(c);
	return NULL;
}

void up_ofi_conn_break(struct ofi_conn *c)
{
	if (c->state == OFI_CONN_BROKEN)
		return;
	set_state(c, OFI_CONN_BROKEN);
	c->lane->broken = true;
	up_core_kick(c->lane->base.ep);
}

/* ---- messages of our own ---- */

static void send_own(struct ofi_conn *c, const void *data, size_t bytes)
{
	struct ofi_tx *tx = up_ofi_tx_get(c->lane, bytes);

	if (!tx) {
		up_ofi_conn_break(c);
		return;
	}
	memcpy(tx->data, data, bytes);
	tx->bytes = bytes;
	tx->covers = 0;
	if (!up_ofi_tx_post(c, tx))
		return;
	up_ofi_tx_put(c->lane, tx);
	up_ofi_conn_break(c);
}

static void send_hello(struct ofi_conn *c, uint64_t to)
{
	const struct ofi_lane *lane = c->lane;
	struct ofi_hello h = {
		.magic = htole64(OFI_HELLO_MAGIC),
		.version = htole32(OFI_VERSION),
		.from = htole64(lane->cookie),
		.to = htole64(to),
	};
	size_t n = up_ep_address(lane->base.ep, h.addr);

	h.addr_bytes = htole32((uint32_t)n);
	send_own(c, &h, offsetof(struct ofi_hello, addr) + n);
}

static void send_note(struct ofi_conn *c, enum ofi_note_kind kind)
{
	struct ofi_note n = {.magic = htole32(OFI_NOTE_MAGIC), .kind = htole32(kind)};

	send_own(c, &n, sizeof(n));
}

static void leave(struct ofi_conn *c, enum ofi_note_kind kind)
{
	c->link = NULL;
	if (c->state == OFI_CONN_BROKEN)
		return;
	set_state(c, OFI_CONN_LEAVING);
	send_note(c, kind);
}

void up_ofi_conn_leave(struct ofi_conn *c)
{
	leave(c, OFI_NOTE_BYE);
}

/* The kind of a note; 0: it is none. */
static uint32_t note_kind(const void *data, size_t bytes)
{
	struct ofi_note n;

	if (bytes != sizeof(n))
		return 0;
	memcpy(&n, data, sizeof(n));
	return le32toh(n.magic) == OFI_NOTE_MAGIC ? le32toh(n.kind) : 0;
}

/* ---- hellos ---- */

/* Into the host's byte order; false: it is none, or not meant for this endpoint. */
static bool parse_hello(const struct ofi_lane *lane, struct ofi_hello *h, const void *data,
			size_t bytes)
{
	if (bytes < offsetof(struct ofi_hello, addr) || bytes > sizeof(*h))
		return false;
	memcpy(h, data, bytes);
	h->addr_bytes = le32toh(h->addr_bytes);
	h->from = le64toh(h->from);
	h->to = le64toh(h->to);
	return le64toh(h->magic) == OFI_HELLO_MAGIC && le32toh(h->version) == OFI_VERSION &&
	       h->addr_bytes == bytes - offsetof(struct ofi_hello, addr) && h->to == lane->cookie;
}

/* Does our own connection stay when the peer makes one too? */
static bool ours_stays(const struct ofi_link *l)
{
	const struct ofi_lane *lane = (const struct ofi_lane *)l->base.lane;

	return l->conn && l->conn->state == OFI_CONN_GREETING && lane->cookie < l->target.cookie;
}

static void adopt(struct ofi_link *l, struct ofi_conn *c, uint64_t to)
{
	if (l->conn) {
		l->conn->link = NULL;
		up_ofi_conn_break(l->conn);
	}
	set_state(c, OFI_CONN_UP);
	send_hello(c, to);
	up_ofi_watch(c);
	up_ofi_link_up(l, c);
}

/* An endpoint's connection to itself has both ends here: this is the one that receives. */
static void adopt_self(struct ofi_link *l, struct ofi_conn *c)
{
	c->link = l;
	set_state(c, OFI_CONN_UP);
	send_hello(c, c->lane->cookie);
}

static void accept_stranger(struct ofi_conn *c, const struct ofi_hello *h)
{
	struct ofi_lane *lane = c->lane;
	struct ofi_target to = {.cookie = h->from};
	struct ofi_link *l = up_ofi_link_new(lane, &to);
	int ret;

	if (!l) {
		up_ofi_conn_break(c);
		return;
	}
	adopt(l, c, h->from);
	ret = up_core_linked(lane->base.ep, &l->base, h->addr, h->addr_bytes);
	if (ret) {
		up_log(LOG_WARNING, NULL, "ofi: a contact is refused: %s", strerror(-ret));
		up_ofi_disconnect(&l->base);
	}
}

/* Of a connection that the peer made. False: an earlier link of that peer is not at its end yet. */
static bool greeted(struct ofi_conn *c, const void *data, size_t bytes)
{
	struct ofi_lane *lane = c->lane;
	struct ofi_hello h;
	struct ofi_link *l;

	if (lane->closing || !parse_hello(lane, &h, data, bytes)) {
		up_log(LOG_DEBUG, NULL, "ofi: a connection that is not meant for this endpoint");
		up_ofi_conn_break(c);
		return true;
	}
	l = up_ofi_link_find(lane, h.from);
	if (h.from == lane->cookie) {
		if (l)
			adopt_self(l, c);
		else
			up_ofi_conn_break(c);
	} else if (!l) {
		accept_stranger(c, &h);
	} else if (l->state == OFI_LINK_UP) {
		return false;
	} else if (ours_stays(l)) {
		leave(c, OFI_NOTE_CROSSED);
	} else {
		adopt(l, c, h.from);
	}
	return true;
}

/* Of a connection that this end made. */
static void greeted_back(struct ofi_conn *c, const void *data, size_t bytes)
{
	struct ofi_link *l = c->link;
	struct ofi_hello h;

	if (l && note_kind(data, bytes) == OFI_NOTE_CROSSED) {
		l->conn = NULL;
		c->link = NULL;
		up_ofi_conn_break(c);
		return;
	}
	if (!l || !parse_hello(c->lane, &h, data, bytes) || h.from != l->target.cookie) {
		up_ofi_conn_break(c);
		return;
	}
	set_state(c, OFI_CONN_UP);
	up_ofi_watch(c);
	up_ofi_link_up(l, c);
}

/* Of a connection that works, or did when this was sent. */
static bool received(struct ofi_conn *c, const void *data, size_t bytes)
{
	struct ofi_link *l = c->link;

	if (!l || l->state != OFI_LINK_UP || l->dropped)
		return true;
	if (note_kind(data, bytes) == OFI_NOTE_BYE) {
		up_ofi_conn_break(c);
		return true;
	}
	return up_core_packet(&l->base, data, bytes);
}

bool up_ofi_conn_message(struct ofi_conn *c, const void *data, size_t bytes)
{
	switch (c->state) {
	case OFI_CONN_OPENING:
		return false;
	case OFI_CONN_GREETING:
		if (!c->ours)
			return greeted(c, data, bytes);
		greeted_back(c, data, bytes);
		return true;
	case OFI_CONN_UP:
	case OFI_CONN_BROKEN:
		return received(c, data, bytes);
	default:
		return true;
	}
}

/* ---- events ---- */

static void reject(struct ofi_lane *lane, struct fi_info *info)
{
	fi_reject(lane->pep, info->handle, NULL, 0);
}

static unsigned strangers(const struct ofi_lane *lane)
{
	const struct up_list *pos;
	unsigned n = 0;

	for (pos = lane->conns.next; pos != &lane->conns; pos = pos->next) {
		const struct ofi_conn *c = UP_CONTAINER_OF(pos, const struct ofi_conn, node);

		n += !c->ours && !c->link;
	}
	return n;
}

static void requested(struct ofi_lane *lane, struct fi_info *info)
{
	struct ofi_conn *c = NULL;
	int ret;

	if (!lane->closing && (!lane->nsettling || strangers(lane) < STRANGERS_MAX))
		c = conn_new(lane, NULL);
	if (!c) {
		reject(lane, info);
		return;
	}
	ret = make_ep(c, info);
	if (!ret)
		ret = fi_accept(c->ep, NULL, 0);
	if (!ret)
		return;
	up_log(LOG_WARNING, NULL, "ofi: cannot accept a connection: %s", fi_strerror(-ret));
	if (!c->ep)
		reject(lane, info);
	up_ofi_conn_break(c);
}

static void connected(struct ofi_conn *c)
{
	if (c->state != OFI_CONN_OPENING)
		return;
	set_state(c, OFI_CONN_GREETING);
	if (c->ours && c->link)
		send_hello(c, c->link->target.cookie);
}

static void failed(struct ofi_lane *lane)
{
	struct fi_eq_err_entry e = {0};

	if (fi_eq_readerr(lane->eq, &e, 0) < 0)
		return;
	up_log(LOG_DEBUG, NULL, "ofi: a connection failed: %s", fi_strerror(e.err));
	if (e.fid && e.fid != &lane->pep->fid && e.fid->context)
		up_ofi_conn_break(e.fid->context);
}

unsigned up_ofi_events(struct ofi_lane *lane)
{
	struct fi_eq_cm_entry e;
	unsigned n = 0;
	uint32_t event;
	ssize_t got;

	while ((got = fi_eq_read(lane->eq, &event, &e, sizeof(e), 0)) > 0 || got == -FI_EAVAIL) {
		n++;
		if (got < 0) {
			failed(lane);
		} else if (event == FI_CONNREQ) {
			requested(lane, e.info);
			fi_freeinfo(e.info);
		} else if (event == FI_CONNECTED) {
			connected(e.fid->context);
		} else if (event == FI_SHUTDOWN) {
			up_ofi_conn_break(e.fid->context);
		}
	}
	return n;
}

/* ---- ends ---- */

void up_ofi_deadlines(struct ofi_lane *lane)
{
	uint64_t now = up_clock_ns();
	struct up_list *pos, *tmp;

	up_list_each (pos, tmp, &lane->conns) {
		struct ofi_conn *c = ofi_conn_of(pos);

		if (settling(c->state) && now >= c->deadline)
			up_ofi_conn_break(c);
	}
	up_list_each (pos, tmp, &lane->links) {
		struct ofi_link *l = ofi_link_of(pos);

		if (!l->deadline || now < l->deadline)
			continue;
		if (l->dropped)
			up_ofi_link_free(l);
		else
			up_ofi_link_fail(l, -EHOSTDOWN);
	}
}

/* The link loses it, unless packets that came over it are still to be delivered. */
static void bury(struct ofi_conn *c)
{
	struct ofi_link *l = c->link;

	if (!up_list_empty(&c->held) && l && !l->dropped) {
		c->lane->broken = true;
		return;
	}
	conn_free(c);
	if (l)
		up_ofi_link_lost(l);
}

void up_ofi_reap(struct ofi_lane *lane)
{
	struct up_list *pos, *tmp;

	up_list_each (pos, tmp, &lane->conns) {
		if (ofi_conn_of(pos)->state == OFI_CONN_BROKEN)
			close_ep(ofi_conn_of(pos));
	}
	/* What the provider still says about them; more may break by that, for the next time. */
	up_ofi_drain(lane);
	up_ofi_events(lane);
	lane->broken = false;
	up_list_each (pos, tmp, &lane->conns) {
		struct ofi_conn *c = ofi_conn_of(pos);

		if (c->state != OFI_CONN_BROKEN)
			continue;
		if (c->ep)
			lane->broken = true;
		else
			bury(c);
	}
}
