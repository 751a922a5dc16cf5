/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who tells that a peer has ended, where connections share an endpoint: providers of datagrams do
 * not, and the lane cannot ask the peer, as one that computes without calling the library is not
 * dead. So each connection has a TCP socket between the two processes, on which nothing but its
 * name is ever sent. A process that dies closes it; of a host or a network that is gone the kernel
 * finds out (alive.c). Where no socket can be made, the provider alone knows.
 *
 * Each end knocks at the other's door, which the other's hello has named: the kernel lets it in,
 * while the other process may stand still, and not come to knock, until it dies. One of the two
 * sockets is enough then: that of who made the connection stays, and the other end closes its own
 * when it has learned of that one. So an end of the latter means nothing once this can have been.
 */
#include "lane/ofi/ofi.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define BATCH 16
/* Sockets that have not said whose they are. */
#define UNKNOWN_MAX 256

struct ofi_watch {
	struct up_list node;   /* struct ofi_lane.watches */
	struct ofi_conn *conn; /* NULL: a stranger's */
	int fd;
	bool connecting;
	struct ofi_target door; /* of the peer */
	unsigned tried;		/* of its addresses */
};

static void forget(struct ofi_watch *w)
{
	struct ofi_conn *c = w->conn;

	if (c) {
		*(c->guest == w ? &c->guest : &c->watch) = NULL;
		up_ofi_conn_await(c, false);
	}
	if (w->fd >= 0)
		close(w->fd);
	up_list_del(&w->node);
	free(w);
}

void up_ofi_watch_end(struct ofi_conn *c)
{
	if (c->watch)
		forget(c->watch);
	if (c->guest)
		forget(c->guest);
}

static struct ofi_watch *watch_new(struct ofi_lane *lane, struct ofi_conn *c)
{
	struct ofi_watch *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->fd = -1;
	w->conn = c;
	if (c)
		c->watch = w;
	up_list_add_tail(&lane->watches, &w->node);
	return w;
}

static int add(const struct ofi_lane *lane, struct ofi_watch *w, int fd, uint32_t events)
{
	struct epoll_event e = {.events = events, .data.ptr = w};

	return epoll_ctl(lane->watchers, EPOLL_CTL_ADD, fd, &e);
}

/* ---- who knocks ---- */

static bool try_one(struct ofi_lane *lane, struct ofi_watch *w, const union ofi_sockaddr *to)
{
	w->fd = socket(to->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (w->fd < 0)
		return false;
	if ((!connect(w->fd, &to->sa, (socklen_t)up_ofi_sockaddr_bytes(to)) ||
	     errno == EINPROGRESS) &&
	    !add(lane, w, w->fd, EPOLLOUT))
		return true;
	close(w->fd);
	w->fd = -1;
	return false;
}

/* At the next of the peer's addresses. */
static void knock(struct ofi_lane *lane, struct ofi_watch *w)
{
	w->connecting = true;
	if (w->fd >= 0)
		close(w->fd);
	w->fd = -1;
	while (w->tried < w->door.n) {
		if (try_one(lane, w, &w->door.at[w->tried++]))
			return;
	}
	up_log(LOG_DEBUG, NULL, "ofi: the provider alone watches a connection");
	forget(w);
}

/* Has it told the peer whose it is? */
static bool introduces(const struct ofi_watch *w)
{
	return w && !w->connecting;
}

bool up_ofi_watched(const struct ofi_conn *c)
{
	return c->guest || introduces(c->watch);
}

bool up_ofi_door_knock(struct ofi_conn *c, const void *door, size_t bytes)
{
	struct ofi_lane *lane = c->lane;
	struct ofi_target at = {0};
	struct ofi_watch *w;
	struct ofi_door d;

	if (bytes < OFI_DOOR_HEAD)
		return false;
	memcpy(&d, door, OFI_DOOR_HEAD);
	if (!up_ofi_ips_parse(&at, d.shape, le16toh(d.port), (const uint8_t *)door + OFI_DOOR_HEAD,
			      bytes - OFI_DOOR_HEAD))
		return false;
	up_ofi_conn_await(c, !c->guest);
	w = d.port && (c->ours || d.both) ? watch_new(lane, c) : NULL;
	if (!w)
		return true;
	w->door = at;
	knock(lane, w);
	return true;
}

static void knocked(struct ofi_lane *lane, struct ofi_watch *w)
{
	struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = w};
	const uint64_t name = w->conn->there;
	socklen_t len = sizeof(int);
	int error = 0;

	/* A new socket has room for this. */
	if (getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 || error ||
	    send(w->fd, &name, sizeof(name), MSG_NOSIGNAL) != sizeof(name) ||
	    up_ofi_keep_alive(w->fd, lane->timeout) < 0 ||
	    epoll_ctl(lane->watchers, EPOLL_CTL_MOD, w->fd, &e) < 0) {
		knock(lane, w);
		return;
	}
	w->connecting = false;
	up_ofi_conn_await(w->conn, false);
}

/* ---- the door ---- */

/* Who says nothing makes room for others. */
static void make_room(struct ofi_lane *lane)
{
	struct up_list *pos, *tmp;
	struct ofi_watch *first = NULL;
	unsigned n = 0;

	up_list_each (pos, tmp, &lane->watches) {
		struct ofi_watch *w = UP_CONTAINER_OF(pos, struct ofi_watch, node);

		if (w->conn)
			continue;
		n++;
		first = first ? first : w;
	}
	if (n > UNKNOWN_MAX)
		forget(first);
}

static void answer_door(struct ofi_lane *lane)
{
	struct ofi_watch *w;
	int fd;

	for (unsigned i = 0; i < BATCH; i++) {
		fd = accept4(lane->door, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0)
			return;
		w = watch_new(lane, NULL);
		if (!w) {
			close(fd);
			continue;
		}
		w->fd = fd;
		if (up_ofi_keep_alive(fd, lane->timeout) < 0 ||
		    add(lane, w, fd, EPOLLIN | EPOLLRDHUP) < 0)
			forget(w);
	}
	make_room(lane);
}

/* A stranger's socket says whose it is. */
static void introduced(struct ofi_lane *lane, struct ofi_watch *w)
{
	struct ofi_conn *c;
	uint64_t name;

	if (recv(w->fd, &name, sizeof(name), MSG_DONTWAIT) != sizeof(name)) {
		forget(w);
		return;
	}
	c = up_ofi_conn_named(lane, name);
	if (!c || c->guest) {
		forget(w);
		return;
	}
	w->conn = c;
	c->guest = w;
	up_ofi_conn_await(c, false);
	if (!c->ours && c->watch)
		forget(c->watch);
}

/* Its end, or something that no honest peer says. */
static void ended(struct ofi_watch *w)
{
	struct ofi_conn *c = w->conn;
	bool spare = w == c->guest && c->ours && introduces(c->watch);

	forget(w);
	if (!spare)
		up_ofi_conn_end(c);
}

static void happened(struct ofi_lane *lane, struct ofi_watch *w)
{
	if (!w)
		answer_door(lane);
	else if (w->connecting)
		knocked(lane, w);
	else if (!w->conn)
		introduced(lane, w);
	else
		ended(w);
}

unsigned up_ofi_watch_events(struct ofi_lane *lane)
{
	struct epoll_event e;
	unsigned n = 0;

	/* One by one: what one of them does may end another. */
	while (n < BATCH && lane->watchers >= 0 && epoll_wait(lane->watchers, &e, 1, 0) == 1) {
		happened(lane, e.data.ptr);
		n++;
	}
	return n;
}

static int open_door(struct ofi_lane *lane)
{
	static const uint8_t any[OFI_IP_BYTES];
	union ofi_sockaddr a = up_ofi_sockaddr(lane->family, any, 0);

	lane->door = socket(lane->family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (lane->door < 0 || bind(lane->door, &a.sa, (socklen_t)up_ofi_sockaddr_bytes(&a)) < 0 ||
	    listen(lane->door, SOMAXCONN) < 0 || add(lane, NULL, lane->door, EPOLLIN) < 0)
		return -errno;
	return 0;
}

int up_ofi_door_open(struct ofi_lane *lane)
{
	lane->watchers = epoll_create1(EPOLL_CLOEXEC);
	return lane->watchers < 0 ? -errno : open_door(lane);
}

void up_ofi_door_close(struct ofi_lane *lane)
{
	struct up_list *pos, *tmp;

	up_list_each (pos, tmp, &lane->watches)
		forget(UP_CONTAINER_OF(pos, struct ofi_watch, node));
	if (lane->door >= 0)
		close(lane->door);
	if (lane->watchers >= 0)
		close(lane->watchers);
	lane->door = lane->watchers = -1;
}

size_t up_ofi_door_say(const struct ofi_lane *lane, void *to)
{
	union ofi_sockaddr a = {0};
	socklen_t len = sizeof(a);
	struct ofi_door d = {0};
	size_t n = up_ofi_ips_put(lane, (uint8_t *)to + OFI_DOOR_HEAD, OFI_DOOR_MAX - OFI_DOOR_HEAD,
				  &d.shape);

	if (!getsockname(lane->door, &a.sa, &len))
		d.port = htole16(up_ofi_sockaddr_port(&a));
	d.both = 1;
	memcpy(to, &d, OFI_DOOR_HEAD);
	return OFI_DOOR_HEAD + n;
}
