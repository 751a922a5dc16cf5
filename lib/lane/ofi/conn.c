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

/* Connections of strangers, whose hello has not come. */
#define STRANGERS_MAX 1024
/* What a peer sent before its end has come after this time. */
#define ENDING_NS 100000000u

static bool settling(enum ofi_conn_state state)
{
	return state != OFI_CONN_UP && state != OFI_CONN_BROKEN;
}

void up_ofi_settling(struct ofi_lane *lane, int more)
{
	if (!lane->nsettling)
		lane->checked = up_clock_ns();
	lane->nsettling += (unsigned)more;
}

static void set_state(struct ofi_conn *c, enum ofi_conn_state state)
{
	up_ofi_settling(c->lane, settling(state) - settling(c->state));
	c->state = state;
	c->deadline = up_clock_ns() + c->lane->timeout;
}

/* ---- the object ---- */

static struct ofi_conn *conn_new(struct ofi_lane *lane, struct ofi_link *l)
{
	struct ofi_conn *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->lane = lane;
	c->link = l;
	c->to = FI_ADDR_UNSPEC;
	up_list_init(&c->held);
	up_list_init(&c->early);
	up_list_init(&c->pending);
	up_list_init(&c->sent);
	up_list_add_tail(&lane->conns, &c->node);
	c->state = OFI_CONN_UP;
	set_state(c, OFI_CONN_OPENING);
	return c;
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

struct ofi_conn *up_ofi_conn_new(struct ofi_lane *lane)
{
	if (lane->closing || (lane->nsettling && strangers(lane) >= STRANGERS_MAX))
		return NULL;
	return conn_new(lane, NULL);
}

static void close_conn(struct ofi_conn *c)
{
	if (c->ep)
		c->lane->kind->conn_close(c);
	c->ep = NULL;
}

/* Packets that the provider still has: where the endpoint goes on it will say when they are gone.
 */
static void drop_sent(struct ofi_conn *c)
{
	struct ofi_lane *lane = c->lane;
	struct up_list *pos, *tmp;

	up_list_each (pos, tmp, &c->sent) {
		struct ofi_tx *tx = UP_CONTAINER_OF(pos, struct ofi_tx, node);

		if (!lane->head) {
			up_ofi_tx_put(lane, tx);
			continue;
		}
		tx->work.conn = NULL;
		up_list_del(&tx->node);
		up_list_add_tail(&lane->orphans, &tx->node);
	}
}

static void drop_held(struct ofi_conn *c)
{
	struct up_list *pos, *tmp;

	up_list_each (pos, tmp, &c->held) {
		struct ofi_rx *rx = UP_CONTAINER_OF(pos, struct ofi_rx, held);

		c->lane->nheld--;
		up_list_del(&rx->held);
		if (c->lane->head)
			up_ofi_spend(rx);
	}
	up_list_each (pos, tmp, &c->early) {
		struct ofi_rx *rx = UP_CONTAINER_OF(pos, struct ofi_rx, held);

		up_list_del(&rx->held);
		up_ofi_spend(rx);
	}
}

/* Nothing of the provider's names it any more. */
static void conn_free(struct ofi_conn *c)
{
	struct up_list *pos, *tmp;

	up_ofi_settling(c->lane, -settling(c->state));
	up_ofi_conn_await(c, false);
	close_conn(c);
	drop_held(c);
	drop_sent(c);
	c->lane->npending -= !up_list_empty(&c->pending);
	up_list_each (pos, tmp, &c->pending)
		up_ofi_tx_put(c->lane, UP_CONTAINER_OF(pos, struct ofi_tx, node));
	if (c->pool)
		up_ofi_pool_destroy(c->pool);
	up_list_del(&c->node);
	free(c);
}

struct ofi_conn *up_ofi_conn_open(struct ofi_link *l, const union ofi_sockaddr *to)
{
	struct ofi_lane *lane = ofi_lane_of(l);
	struct ofi_conn *c = conn_new(lane, l);
	int ret;

	if (!c)
		return NULL;
	c->ours = true;
	ret = lane->kind->conn_open(c, to);
	if (!ret)
		return c;
	up_log(LOG_DEBUG, NULL, "ofi: cannot connect: %s", fi_strerror(-ret));
	c->link = NULL;
	up_ofi_conn_break(c);
	return NULL;
}

void up_ofi_conn_await(struct ofi_conn *c, bool on)
{
	up_ofi_settling(c->lane, on - c->awaited);
	c->awaited = on;
}

void up_ofi_conn_end(struct ofi_conn *c)
{
	if (c->state != OFI_CONN_UP) {
		up_ofi_conn_break(c);
		return;
	}
	set_state(c, OFI_CONN_ENDING);
	c->deadline = up_clock_ns() + ENDING_NS;
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

/* A message that covers no packet; NULL: there is no memory. */
static struct ofi_tx *own_tx(struct ofi_conn *c, const void *data, size_t bytes)
{
	struct ofi_tx *tx = up_ofi_tx_get(c->lane, bytes);

	if (!tx)
		return NULL;
	memcpy(tx->data, data, bytes);
	tx->bytes = bytes;
	tx->covers = 0;
	return tx;
}

static void send_own(struct ofi_conn *c, const void *data, size_t bytes)
{
	struct ofi_tx *tx = own_tx(c, data, bytes);

	if (!tx) {
		up_ofi_conn_break(c);
		return;
	}
	c->lane->npending += up_list_empty(&c->pending);
	up_list_add_tail(&c->pending, &tx->node);
	up_ofi_conn_flush(c);
}

void up_ofi_conn_flush(struct ofi_conn *c)
{
	int ret = 0;

	while (!ret && c->state != OFI_CONN_BROKEN && !up_list_empty(&c->pending)) {
		struct ofi_tx *tx = UP_CONTAINER_OF(c->pending.next, struct ofi_tx, node);

		up_list_del(&tx->node);
		ret = up_ofi_tx_post(c, tx);
		/* Back to its place, the first. */
		if (ret)
			up_list_add_tail(c->pending.next, &tx->node);
		else
			c->lane->npending -= up_list_empty(&c->pending);
	}
}

static void send_hello(struct ofi_conn *c, uint64_t to)
{
	const struct ofi_lane *lane = c->lane;
	struct ofi_hello h = {
		.magic = htole64(OFI_HELLO_MAGIC),
		.version = htole32(OFI_VERSION),
		.from = htole64(lane->cookie),
		.to = htole64(to),
		.name = c->here,
	};
	size_t n = up_ep_address(lane->base.ep, h.addr);

	h.addr_bytes = htole32((uint32_t)n);
	n += lane->kind->rest(lane, h.addr + n);
	send_own(c, &h, offsetof(struct ofi_hello, addr) + n);
}

static struct ofi_note note(enum ofi_note_kind kind)
{
	return (struct ofi_note){.magic = htole32(OFI_NOTE_MAGIC), .kind = htole32(kind)};
}

static void send_note(struct ofi_conn *c, enum ofi_note_kind kind)
{
	struct ofi_note n = note(kind);

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

int up_ofi_conn_nudge(struct ofi_conn *c)
{
	struct ofi_note n = note(OFI_NOTE_NUDGE);
	struct ofi_tx *tx = own_tx(c, &n, sizeof(n));
	int ret;

	if (!tx)
		return -EAGAIN;
	ret = up_ofi_tx_post_unnamed(c, tx);
	if (ret)
		up_ofi_tx_put(c->lane, tx);
	return ret;
}

void up_ofi_conn_tell(struct ofi_conn *c)
{
	/* One that still waits will say it. */
	if (c->there && c->state != OFI_CONN_BROKEN && up_list_empty(&c->pending))
		send_note(c, OFI_NOTE_TAKEN);
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
static bool parse_hello(struct ofi_conn *c, struct ofi_hello *h, const void *data, size_t bytes)
{
	const struct ofi_lane *lane = c->lane;

	if (bytes < offsetof(struct ofi_hello, addr) || bytes > sizeof(*h))
		return false;
	memcpy(h, data, bytes);
	h->addr_bytes = le32toh(h->addr_bytes);
	h->from = le64toh(h->from);
	h->to = le64toh(h->to);
	return le64toh(h->magic) == OFI_HELLO_MAGIC && le32toh(h->version) == OFI_VERSION &&
	       h->addr_bytes <= bytes - offsetof(struct ofi_hello, addr) &&
	       h->addr_bytes <= UP_ADDR_MAX && h->to == lane->cookie;
}

/* What the kind makes of it. */
static bool meet(struct ofi_conn *c, const struct ofi_hello *h, size_t bytes)
{
	size_t rest = bytes - offsetof(struct ofi_hello, addr) - h->addr_bytes;

	return c->lane->kind->meet(c, h, h->addr + h->addr_bytes, rest);
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

	if (lane->closing || !parse_hello(c, &h, data, bytes)) {
		up_log(LOG_DEBUG, NULL, "ofi: a connection that is not meant for this endpoint");
		up_ofi_conn_break(c);
		return true;
	}
	l = up_ofi_link_find(lane, h.from);
	if (l && l->state == OFI_LINK_UP && h.from != lane->cookie)
		return false;
	if (!meet(c, &h, bytes)) {
		up_ofi_conn_break(c);
	} else if (h.from == lane->cookie) {
		if (l)
			adopt_self(l, c);
		else
			up_ofi_conn_break(c);
	} else if (!l) {
		accept_stranger(c, &h);
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
	if (!l || !parse_hello(c, &h, data, bytes) || h.from != l->target.cookie ||
	    !meet(c, &h, bytes)) {
		up_ofi_conn_break(c);
		return;
	}
	set_state(c, OFI_CONN_UP);
	up_ofi_link_up(l, c);
}

/* Of a connection that works, or did when this was sent. */
static bool received(struct ofi_conn *c, const void *data, size_t bytes)
{
	struct ofi_link *l = c->link;

	if (!l || l->state != OFI_LINK_UP || l->dropped)
		return true;
	switch (note_kind(data, bytes)) {
	case OFI_NOTE_BYE:
		up_ofi_conn_break(c);
		return true;
	case OFI_NOTE_NUDGE:
	case OFI_NOTE_TAKEN:
		return true;
	default:
		return up_core_packet(&l->base, data, bytes);
	}
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
	case OFI_CONN_ENDING:
	case OFI_CONN_BROKEN:
		return received(c, data, bytes);
	default:
		return true;
	}
}

void up_ofi_conn_opened(struct ofi_conn *c)
{
	if (c->state != OFI_CONN_OPENING)
		return;
	set_state(c, OFI_CONN_GREETING);
	if (c->ours && c->link)
		send_hello(c, c->link->target.cookie);
}

/* ---- ends ---- */

/*
 * While this end does not look, as its application computes or does not run, no answer of a peer's
 * is seen: of such a time a tenth of the timeout counts.
 */
static void postpone(struct ofi_lane *lane, uint64_t unseen)
{
	uint64_t counts = lane->timeout / 10 > OFI_UNSEEN_NS ? lane->timeout / 10 : OFI_UNSEEN_NS;
	uint64_t ns = unseen > counts ? unseen - counts : 0;
	struct up_list *pos;

	for (pos = lane->conns.next; pos != &lane->conns; pos = pos->next)
		ofi_conn_of(pos)->deadline += ns;
	for (pos = lane->links.next; pos != &lane->links; pos = pos->next) {
		struct ofi_link *l = ofi_link_of(pos);

		l->deadline += l->deadline ? ns : 0;
	}
}

void up_ofi_deadlines(struct ofi_lane *lane, uint64_t unseen)
{
	uint64_t now = up_clock_ns();
	struct up_list *pos, *tmp;

	postpone(lane, unseen);
	up_list_each (pos, tmp, &lane->conns) {
		struct ofi_conn *c = ofi_conn_of(pos);

		if (now < c->deadline)
			continue;
		up_ofi_conn_await(c, false);
		if (settling(c->state))
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

static unsigned count(const struct up_list *list)
{
	const struct up_list *pos;
	unsigned n = 0;

	for (pos = list->next; pos != list; pos = pos->next)
		n++;
	return n;
}

/* How much the provider may have to say of what it was given so far. */
static unsigned outstanding(const struct ofi_lane *lane)
{
	const struct up_list *pos;
	unsigned n = lane->nreceives + count(&lane->orphans);

	for (pos = lane->conns.next; pos != &lane->conns; pos = pos->next) {
		const struct ofi_conn *c = UP_CONTAINER_OF(pos, const struct ofi_conn, node);

		n += (c->pool ? c->pool->n : 0) + count(&c->sent);
	}
	return n;
}

void up_ofi_reap(struct ofi_lane *lane)
{
	struct up_list *pos, *tmp;

	up_list_each (pos, tmp, &lane->conns) {
		if (ofi_conn_of(pos)->state == OFI_CONN_BROKEN)
			close_conn(ofi_conn_of(pos));
	}
	/* What the provider still says about them; more may break by that, for the next time. What
	 * it says later is of others, who may have something without end. */
	up_ofi_drain(lane, outstanding(lane));
	lane->kind->events(lane);
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
