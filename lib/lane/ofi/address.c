/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Addresses. An endpoint says all addresses of its host that others may reach, as only the other
 * end can know which of them do; it tries them in the order that makes most sense where it is. An
 * address that is used on many hosts (of a bridge for containers, say) may lead to a wrong one: the
 * cookie tells.
 */
#include "lane/ofi/ofi.h"
#include "base/log.h"
#include "core/param.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

/* Where the address is in a sockaddr; how many bytes it has. */
static const uint8_t *ip_of(const struct sockaddr *sa)
{
	return sa->sa_family == AF_INET
		       ? (const uint8_t *)&((const struct sockaddr_in *)sa)->sin_addr
		       : (const uint8_t *)&((const struct sockaddr_in6 *)sa)->sin6_addr;
}

static size_t ip_bytes(int family)
{
	return family == AF_INET ? 4 : 16;
}

/* ---- of this host ---- */

/* In which round of the search an interface's address counts: first what others can reach. */
enum rank {
	RANK_IPV4,
	RANK_IPV6,
	RANK_LOOPBACK,
	RANK_NONE,
};

static enum rank rank(const struct ifaddrs *a)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)a->ifa_addr;

	if (!a->ifa_addr || !(a->ifa_flags & IFF_UP))
		return RANK_NONE;
	if (a->ifa_addr->sa_family == AF_INET)
		return a->ifa_flags & IFF_LOOPBACK ? RANK_LOOPBACK : RANK_IPV4;
	/* Addresses of a link only mean nothing without the number of an interface. */
	if (a->ifa_addr->sa_family != AF_INET6 || a->ifa_flags & IFF_LOOPBACK ||
	    IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr))
		return RANK_NONE;
	return RANK_IPV6;
}

/* Does the user's choice, the name of an interface or an address, mean this one? */
static bool chosen(const struct ifaddrs *a, const char *choice)
{
	char text[INET6_ADDRSTRLEN];

	if (!choice || !strcmp(a->ifa_name, choice))
		return true;
	return inet_ntop(a->ifa_addr->sa_family, ip_of(a->ifa_addr), text, sizeof(text)) &&
	       !strcmp(text, choice);
}

static void collect(struct ofi_lane *lane, const struct ifaddrs *list, enum rank wanted,
		    const char *choice)
{
	for (const struct ifaddrs *a = list; a && lane->nips < OFI_IPS_MAX; a = a->ifa_next) {
		if (rank(a) != wanted || !chosen(a, choice))
			continue;
		lane->family = a->ifa_addr->sa_family;
		memcpy(lane->ips[lane->nips++], ip_of(a->ifa_addr), ip_bytes(lane->family));
	}
}

int up_ofi_find_ips(struct ofi_lane *lane)
{
	const char *choice = up_param_text(UP_PARAM_OFI_INTERFACE);
	struct ifaddrs *list;

	if (getifaddrs(&list) < 0)
		return -errno;
	for (enum rank r = 0; r < RANK_NONE && !lane->nips; r++)
		collect(lane, list, r, choice);
	freeifaddrs(list);
	if (lane->nips)
		return 0;
	up_log(choice ? LOG_ERR : LOG_DEBUG, NULL, "ofi: no interface has an address%s%s",
	       choice ? " that fits " : "", choice ? choice : "");
	return -EOPNOTSUPP;
}

static uint16_t protocol(const struct ofi_lane *lane)
{
	uint32_t p = lane->info->ep_attr->protocol;

	return (uint16_t)(p ^ p >> 16);
}

size_t up_ofi_address(const struct up_lane *base, void *buf, size_t room)
{
	const struct ofi_lane *lane = (const struct ofi_lane *)base;
	struct ofi_addr a = {
		.cookie = htole64(lane->cookie),
		.protocol = htole16(protocol(lane)),
		.port = htole16(lane->port),
		.version = OFI_VERSION,
	};
	size_t each = ip_bytes(lane->family), n = OFI_ADDR_HEAD;
	unsigned ips = 0;

	while (ips < lane->nips && n + each <= room) {
		memcpy((uint8_t *)buf + n, lane->ips[ips++], each);
		n += each;
	}
	if (!ips)
		return 0;
	a.shape = (uint8_t)((lane->family == AF_INET ? 4 : 6) | ips << 4);
	memcpy(buf, &a, OFI_ADDR_HEAD);
	return n;
}

/* ---- of a peer ---- */

/* How well an address fits: the higher, the earlier it is tried. */
enum fit {
	FIT_OTHER,
	FIT_NETWORK, /* an interface is in the same network */
	FIT_HERE,    /* it is one of this host's own */
};

static enum fit fit_one(const struct ifaddrs *a, int family, const uint8_t *ip)
{
	const uint8_t *mine, *mask;

	if (!a->ifa_addr || !a->ifa_netmask || a->ifa_addr->sa_family != family)
		return FIT_OTHER;
	mine = ip_of(a->ifa_addr);
	mask = ip_of(a->ifa_netmask);
	if (!memcmp(mine, ip, ip_bytes(family)))
		return FIT_HERE;
	for (size_t i = 0; i < ip_bytes(family); i++) {
		if ((mine[i] ^ ip[i]) & mask[i])
			return FIT_OTHER;
	}
	return FIT_NETWORK;
}

static enum fit fit(const struct ifaddrs *list, int family, const uint8_t *ip)
{
	enum fit best = FIT_OTHER;

	for (const struct ifaddrs *a = list; a; a = a->ifa_next) {
		enum fit f = fit_one(a, family, ip);

		best = f > best ? f : best;
	}
	return best;
}

static void add(struct ofi_target *t, int family, const uint8_t *ip, uint16_t port)
{
	union ofi_sockaddr *to = &t->at[t->n++];

	to->sa.sa_family = (sa_family_t)family;
	if (family == AF_INET) {
		memcpy(&to->in.sin_addr, ip, 4);
		to->in.sin_port = htons(port);
	} else {
		memcpy(&to->in6.sin6_addr, ip, 16);
		to->in6.sin6_port = htons(port);
	}
}

static void add_all(struct ofi_target *t, int family, uint16_t port, const uint8_t *ips, unsigned n)
{
	struct ifaddrs *list = NULL;

	/* Without it the order is the peer's. */
	if (getifaddrs(&list) < 0)
		list = NULL;
	for (enum fit f = FIT_HERE + 1; f-- > FIT_OTHER;) {
		for (unsigned i = 0; i < n; i++) {
			const uint8_t *ip = ips + i * ip_bytes(family);

			if (fit(list, family, ip) == f)
				add(t, family, ip, port);
		}
	}
	if (list)
		freeifaddrs(list);
}

int up_ofi_addr_parse(const struct ofi_lane *lane, struct ofi_target *to, const void *addr,
		      size_t len)
{
	struct ofi_addr a;
	unsigned ips;
	int family;

	if (len < OFI_ADDR_HEAD)
		return -EINVAL;
	memcpy(&a, addr, OFI_ADDR_HEAD);
	if (a.version != OFI_VERSION || le16toh(a.protocol) != protocol(lane))
		return -EHOSTUNREACH;
	family = (a.shape & 15) == 4 ? AF_INET : (a.shape & 15) == 6 ? AF_INET6 : AF_UNSPEC;
	ips = a.shape >> 4;
	if (family == AF_UNSPEC || !ips || ips > OFI_IPS_MAX || !a.port ||
	    len != OFI_ADDR_HEAD + ips * ip_bytes(family))
		return -EINVAL;
	*to = (struct ofi_target){.cookie = le64toh(a.cookie)};
	add_all(to, family, le16toh(a.port), (const uint8_t *)addr + OFI_ADDR_HEAD, ips);
	return 0;
}
