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

/* Of the provider, in a byte; where endpoints are shared their addresses are of some format, too.
 */
static uint8_t protocol(const struct ofi_lane *lane)
{
	uint32_t p = lane->info->ep_attr->protocol;

	if (lane->head)
		p ^= lane->info->addr_format << 4 | 0x80;
	return (uint8_t)(p ^ p >> 8 ^ p >> 16 ^ p >> 24);
}

size_t up_ofi_ips_put(const struct ofi_lane *lane, uint8_t *to, size_t room, uint8_t *shape)
{
	size_t each = ip_bytes(lane->family), n = 0;
	unsigned ips = 0;

	for (; ips < lane->nips && n + each <= room; n += each)
		memcpy(to + n, lane->ips[ips++], each);
	*shape = (uint8_t)((lane->family == AF_INET ? OFI_SHAPE_IPV4 : OFI_SHAPE_IPV6) |
			   (ips - 1) << 2);
	return n;
}

/* The provider's name, without the zeros at its end. */
static size_t put_name(const struct ofi_lane *lane, uint8_t *to, size_t room, uint8_t *shape)
{
	size_t n = lane->name_bytes;

	while (n > 1 && !lane->name[n - 1])
		n--;
	*shape = OFI_SHAPE_NAME;
	if (n > room)
		return 0;
	memcpy(to, lane->name, n);
	return n;
}

size_t up_ofi_address(const struct up_lane *base, void *buf, size_t room)
{
	const struct ofi_lane *lane = (const struct ofi_lane *)base;
	uint8_t *to = (uint8_t *)buf + OFI_ADDR_HEAD, shape;
	uint64_t cookie = htole64(lane->cookie);
	uint16_t port = htole16(lane->port);
	struct ofi_addr a;
	size_t n;

	if (room < OFI_ADDR_HEAD)
		return 0;
	room -= OFI_ADDR_HEAD;
	n = lane->name_bytes ? put_name(lane, to, room, &shape)
			     : up_ofi_ips_put(lane, to, room, &shape);
	if (!n)
		return 0;
	memcpy(a.cookie, &cookie, sizeof(a.cookie));
	memcpy(a.port, &port, sizeof(a.port));
	a.protocol = protocol(lane);
	a.shape = (uint8_t)(shape | OFI_VERSION << 5);
	memcpy(buf, &a, OFI_ADDR_HEAD);
	return OFI_ADDR_HEAD + n;
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

union ofi_sockaddr up_ofi_sockaddr(int family, const uint8_t *ip, uint16_t port)
{
	union ofi_sockaddr to = {.sa.sa_family = (sa_family_t)family};

	if (family == AF_INET) {
		memcpy(&to.in.sin_addr, ip, 4);
		to.in.sin_port = htons(port);
	} else {
		memcpy(&to.in6.sin6_addr, ip, 16);
		to.in6.sin6_port = htons(port);
	}
	return to;
}

size_t up_ofi_sockaddr_bytes(const union ofi_sockaddr *a)
{
	return a->sa.sa_family == AF_INET ? sizeof(a->in) : sizeof(a->in6);
}

uint16_t up_ofi_sockaddr_port(const union ofi_sockaddr *a)
{
	return ntohs(a->sa.sa_family == AF_INET ? a->in.sin_port : a->in6.sin6_port);
}

/* Best first. */
static void sort(struct ofi_target *t, int family, uint16_t port, const uint8_t *ips, unsigned n)
{
	struct ifaddrs *list = NULL;

	/* Without it the order is the peer's. */
	if (getifaddrs(&list) < 0)
		list = NULL;
	for (enum fit f = FIT_HERE + 1; f-- > FIT_OTHER;) {
		for (unsigned i = 0; i < n; i++) {
			const uint8_t *ip = ips + i * ip_bytes(family);

			if (fit(list, family, ip) == f)
				t->at[t->n++] = up_ofi_sockaddr(family, ip, port);
		}
	}
	if (list)
		freeifaddrs(list);
}

bool up_ofi_ips_parse(struct ofi_target *to, uint8_t shape, uint16_t port, const uint8_t *ips,
		      size_t bytes)
{
	bool four = (shape & 3) == OFI_SHAPE_IPV4;
	int family = four ? AF_INET : AF_INET6;
	unsigned n = (shape >> 2 & 7) + 1u;

	if ((!four && (shape & 3) != OFI_SHAPE_IPV6) || bytes != n * ip_bytes(family))
		return false;
	sort(to, family, port, ips, n);
	return true;
}

static int parse_name(const struct ofi_lane *lane, struct ofi_target *to, const uint8_t *name,
		      size_t bytes)
{
	if (!bytes || bytes > lane->name_bytes)
		return -EINVAL;
	memcpy(to->at[0].name, name, bytes);
	to->n = 1;
	return 0;
}

int up_ofi_addr_parse(const struct ofi_lane *lane, struct ofi_target *to, const void *addr,
		      size_t len)
{
	const uint8_t *rest = (const uint8_t *)addr + OFI_ADDR_HEAD;
	struct ofi_addr a;
	uint64_t cookie = 0;
	uint16_t port;

	if (len < OFI_ADDR_HEAD)
		return -EINVAL;
	memcpy(&a, addr, OFI_ADDR_HEAD);
	if (a.shape >> 5 != OFI_VERSION || a.protocol != protocol(lane))
		return -EHOSTUNREACH;
	memcpy(&cookie, a.cookie, sizeof(a.cookie));
	*to = (struct ofi_target){.cookie = le64toh(cookie)};
	len -= OFI_ADDR_HEAD;
	if (lane->name_bytes)
		return (a.shape & 3) == OFI_SHAPE_NAME ? parse_name(lane, to, rest, len) : -EINVAL;
	memcpy(&port, a.port, sizeof(port));
	return port && up_ofi_ips_parse(to, a.shape, le16toh(port), rest, len) ? 0 : -EINVAL;
}
