/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Peers that fall silent. The death of a process is told by its kernel, but a host or a network
 * that is gone tells nothing, and whoever only waits for an answer would wait for ever. The lane
 * cannot ask the peer itself: one that computes without calling the library is not dead. Its kernel
 * answers though, so the connection's socket is told to ask it, and to give up data that is not
 * acknowledged. libfabric has no way to say that, so the socket is looked for, by its two
 * addresses, among the descriptors of this process; of a provider without sockets there is none,
 * and such a network finds out by itself.
 */
#include "lane/ofi/ofi.h"
#include "base/log.h"

#include <dirent.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

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
int up_ofi_keep_alive(int fd, uint64_t timeout)
{
	int seconds = (int)(timeout / 1000000000), ms = (int)(timeout / 1000000);
	int idle = seconds > 1 ? seconds / 2 : 1, often = seconds > 10 ? seconds / 10 : 1;
	int times = (seconds - idle) / often, on = 1;

	if (times < 1)
		times = 1;
	return setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) < 0 ||
			       setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle)) < 0 ||
			       setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &often, sizeof(often)) <
				       0 ||
			       setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &times, sizeof(times)) <
				       0 ||
			       setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof(ms)) < 0
		       ? -1
		       : 0;
}

void up_ofi_watch(struct ofi_conn *c)
{
	struct ends ends = {0};
	size_t name = sizeof(ends.name), peer = sizeof(ends.peer);
	int fd = -1;

	if (!fi_getname(&c->ep->fid, &ends.name, &name) && !fi_getpeer(c->ep, &ends.peer, &peer))
		fd = find_socket(&ends);
	if (fd < 0 || up_ofi_keep_alive(fd, c->lane->timeout) < 0)
		up_log(LOG_DEBUG, NULL, "ofi: the provider alone watches a connection");
}
