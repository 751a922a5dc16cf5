/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Peers that fall silent. The death of a process is told by its kernel, but a host or a network
 * that is gone tells nothing, and whoever only waits for an answer would wait for ever. The lane
 * cannot ask the peer itself: one that computes without calling the library is not dead. Its kernel
 * answers though, so the connection's socket is told to ask it when nothing is on its way.
 * libfabric has no way to say that, so the socket is looked for, by its two addresses, among the
 * descriptors of this process; of a provider without sockets there is none, and such a network
 * finds out by itself.
 *
 * While data is on its way the kernel asks with that, again and again, and for a quarter of an
 * hour. It can be told to give up sooner (TCP_USER_TIMEOUT), but then it also gives up a peer that
 * answers each time that its buffers are full, as one does that computes for long. So the lane
 * looks from time to time whether any answer came.
 */
#include "lane/ofi/ofi.h"
#include "base/clock.h"
#include "base/log.h"

#include <dirent.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* How often something was sent again without any answer. */
#define ASKED_ENOUGH 2u

static bool same(const union ofi_sockaddr *a, const union ofi_sockaddr *b)
{
	if (a->sa.sa_family != b->sa.sa_family)
		return false;
	if (a->sa.sa_family == AF_INET)
		return a->in.sin_port == b->in.sin_port &&
		       a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
	return a->in6.sin6_port == b->in6.sin6_port &&
	       !memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof(a->in6.sin6_addr));
}

struct ends {
	union ofi_sockaddr name, peer;
};

static bool is_socket_of(int fd, const struct ends *wanted)
{
	struct ends its = {0};
	socklen_t len = sizeof(its.name);

	if (getsockname(fd, &its.name.sa, &len) < 0 || !same(&its.name, &wanted->name))
		return false;
	len = sizeof(its.peer);
	return !getpeername(fd, &its.peer.sa, &len) && same(&its.peer, &wanted->peer);
}

/* -1: there is none. */
static int find_socket(const struct ends *wanted)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *e;
	int fd = -1;

	while (dir && fd < 0 && (e = readdir(dir))) {
		int n = atoi(e->d_name);

		if (e->d_name[0] != '.' && is_socket_of(n, wanted))
			fd = n;
	}
	if (dir)
		closedir(dir);
	return fd;
}

/* After half the time in which nothing came the kernel asks, and again after each tenth. */
static int ask_idle(int fd, uint64_t timeout)
{
	int seconds = (int)(timeout / 1000000000);
	int idle = seconds > 1 ? seconds / 2 : 1, often = seconds > 10 ? seconds / 10 : 1;
	int times = (seconds - idle) / often, on = 1;

	if (times < 1)
		times = 1;
	if (setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &often, sizeof(often)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &times, sizeof(times)) < 0)
		return -1;
	return 0;
}

int up_ofi_keep_alive(int fd, uint64_t timeout)
{
	int ms = (int)(timeout / 1000000);

	if (ask_idle(fd, timeout) < 0)
		return -1;
	return setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms));
}

/* Tells a socket from another one that has its descriptor later. 0: it is none. */
static uint64_t identity(int fd)
{
	struct stat st;

	return !fstat(fd, &st) && S_ISSOCK(st.st_mode) ? st.st_ino : 0;
}

void up_ofi_watch(struct ofi_conn *c)
{
	struct ends ends = {0};
	size_t name = sizeof(ends.name), peer = sizeof(ends.peer);
	int fd = -1;

	if (!fi_getname(&c->ep->fid, &ends.name, &name) && !fi_getpeer(c->ep, &ends.peer, &peer))
		fd = find_socket(&ends);
	if (fd < 0 || ask_idle(fd, c->lane->timeout) < 0) {
		up_log(LOG_DEBUG, NULL, "ofi: the provider alone watches a connection");
		return;
	}
	c->socket = fd;
	c->identity = identity(fd);
}

static unsigned more(unsigned now, unsigned then)
{
	return now > then ? now - then : 0;
}

/* How often the other kernel was asked since it last answered. What does not even leave this host
 * is told by the times between two attempts only, which double. */
static unsigned asked(const struct ofi_conn *c, const struct tcp_info *i)
{
	unsigned n = more(i->tcpi_total_retrans, c->resent);

	if (n < more(i->tcpi_backoff, c->backoff))
		n = more(i->tcpi_backoff, c->backoff);
	return n < i->tcpi_probes ? i->tcpi_probes : n;
}

/* Has it not answered for so long, though it was asked? `since` the last look here: milliseconds.
 */
static bool is_silent(struct ofi_conn *c, uint64_t since)
{
	struct tcp_info i = {0};
	socklen_t len = sizeof(i);

	if (!c->identity || identity(c->socket) != c->identity ||
	    getsockopt(c->socket, IPPROTO_TCP, TCP_INFO, &i, &len) < 0)
		return false;
	if (i.tcpi_last_ack_recv <= since) {
		c->resent = i.tcpi_total_retrans;
		c->backoff = i.tcpi_backoff;
	}
	return i.tcpi_last_ack_recv >= c->lane->timeout / 1000000 && asked(c, &i) >= ASKED_ENOUGH;
}

void up_ofi_alive(struct ofi_lane *lane, uint64_t now)
{
	uint64_t since = (now - lane->asked) / 1000000;
	struct up_list *pos, *tmp;

	lane->asked = now;
	up_list_each (pos, tmp, &lane->conns) {
		struct ofi_conn *c = ofi_conn_of(pos);

		if (c->state == OFI_CONN_BROKEN || !is_silent(c, since))
			continue;
		up_log(LOG_DEBUG, NULL, "ofi: a peer's host does not answer");
		up_ofi_conn_break(c);
	}
}
