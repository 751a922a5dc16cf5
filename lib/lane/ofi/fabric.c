/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The provider's objects. Nothing here may run before an endpoint is opened, in a constructor say:
 * this library may itself be used by a provider, which libfabric loads under a lock of its own.
 */
#include "lane/ofi/ofi.h"
#include "base/log.h"
#include "core/param.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define API FI_VERSION(1, 14)
#define EVENTS 1024

/* Of which providers the one that is built on this library is none: it would come back here. */
#define NEVER "underpass"
/* Whose queues stay readable for ever once they were waited for (wake.c). */
#define OWN_BELL "net"

static struct fi_info *make_hints(const char *provider)
{
	struct fi_info *hints = fi_allocinfo();

	if (!hints)
		return NULL;
	hints->caps = FI_MSG;
	hints->mode = FI_CONTEXT | FI_CONTEXT2;
	hints->ep_attr->type = FI_EP_MSG;
	hints->domain_attr->mr_mode = 0;
	hints->domain_attr->threading = FI_THREAD_DOMAIN;
	hints->fabric_attr->prov_name = strdup(provider);
	return hints;
}

static bool usable(const struct fi_info *info)
{
	return !strstr(info->fabric_attr->prov_name, NEVER) &&
	       (info->addr_format == FI_SOCKADDR || info->addr_format == FI_SOCKADDR_IN ||
		info->addr_format == FI_SOCKADDR_IN6) &&
	       info->ep_attr->max_msg_size >= OFI_MAX_PACKET;
}

/* The first entry that will do, as its own copy. */
static int find_provider(struct ofi_lane *lane, const char *name)
{
	struct fi_info *hints = make_hints(name), *list = NULL, *at;
	int ret;

	if (!hints)
		return -ENOMEM;
	ret = fi_getinfo(API, NULL, NULL, 0, hints, &list);
	fi_freeinfo(hints);
	for (at = ret ? NULL : list; at && !usable(at); at = at->next)
		;
	lane->info = at ? fi_dupinfo(at) : NULL;
	if (list)
		fi_freeinfo(list);
	if (lane->info)
		return 0;
	up_log(LOG_DEBUG, NULL, "ofi: libfabric has no provider %s for connections: %s", name,
	       ret ? fi_strerror(-ret) : "not usable");
	return at ? -ENOMEM : -EOPNOTSUPP;
}

/* The first of the list that there is. */
static int choose_provider(struct ofi_lane *lane)
{
	char *list = strdup(up_param_text(UP_PARAM_OFI_PROVIDER)), *at = list, *name;
	int ret = list ? -EOPNOTSUPP : -ENOMEM;

	while (ret == -EOPNOTSUPP && (name = strsep(&at, ",")))
		ret = find_provider(lane, name);
	free(list);
	if (!ret)
		lane->own_bell = !strcmp(lane->info->fabric_attr->prov_name, OWN_BELL);
	return ret;
}

/* Replaces an address of the provider's choice. */
static int set_addr(void **addr, size_t *len, const union ofi_sockaddr *to)
{
	free(*addr);
	*addr = NULL;
	*len = 0;
	if (!to)
		return 0;
	*len = to->sa.sa_family == AF_INET ? sizeof(to->in) : sizeof(to->in6);
	*addr = malloc(*len);
	if (!*addr)
		return -ENOMEM;
	memcpy(*addr, to, *len);
	return 0;
}

/* Where this endpoint listens: at one address if there is only one, else at all. */
static union ofi_sockaddr listen_at(const struct ofi_lane *lane)
{
	union ofi_sockaddr a = {.sa.sa_family = (sa_family_t)lane->family};

	if (lane->nips == 1 && lane->family == AF_INET)
		memcpy(&a.in.sin_addr, lane->ips[0], sizeof(a.in.sin_addr));
	else if (lane->nips == 1)
		memcpy(&a.in6.sin6_addr, lane->ips[0], sizeof(a.in6.sin6_addr));
	return a;
}

static int open_queues(struct ofi_lane *lane)
{
	enum fi_wait_obj wait = lane->own_bell ? FI_WAIT_NONE : FI_WAIT_FD;
	struct fi_cq_attr cq = {.size = EVENTS, .format = FI_CQ_FORMAT_MSG, .wait_obj = wait};
	struct fi_eq_attr eq = {.size = EVENTS, .wait_obj = wait};
	int ret = fi_eq_open(lane->fabric, &eq, &lane->eq, lane);

	return ret ? ret : fi_cq_open(lane->domain, &cq, &lane->cq, lane);
}

static int open_listener(struct ofi_lane *lane)
{
	union ofi_sockaddr a = listen_at(lane);
	struct fi_info *info = fi_dupinfo(lane->info);
	size_t len = sizeof(a);
	int ret;

	if (!info)
		return -ENOMEM;
	info->addr_format = lane->family == AF_INET ? FI_SOCKADDR_IN : FI_SOCKADDR_IN6;
	ret = set_addr(&info->src_addr, &info->src_addrlen, &a);
	if (!ret)
		ret = fi_passive_ep(lane->fabric, info, &lane->pep, lane);
	fi_freeinfo(info);
	if (!ret)
		ret = fi_pep_bind(lane->pep, &lane->eq->fid, 0);
	if (!ret)
		ret = fi_listen(lane->pep);
	if (!ret)
		ret = fi_getname(&lane->pep->fid, &a, &len);
	lane->port = a.sa.sa_family == AF_INET ? ntohs(a.in.sin_port) : ntohs(a.in6.sin6_port);
	return ret;
}

int up_ofi_fabric_open(struct ofi_lane *lane)
{
	int ret = choose_provider(lane);

	if (ret)
		return ret;
	/* The addresses of its choice are for another use: connections choose their own way. */
	set_addr(&lane->info->src_addr, &lane->info->src_addrlen, NULL);
	set_addr(&lane->info->dest_addr, &lane->info->dest_addrlen, NULL);
	ret = fi_fabric(lane->info->fabric_attr, &lane->fabric, lane);
	if (!ret)
		ret = fi_domain(lane->fabric, lane->info, &lane->domain, lane);
	if (!ret)
		ret = open_queues(lane);
	if (!ret)
		ret = open_listener(lane);
	if (!ret)
		ret = up_ofi_wake_open(lane);
	lane->inject = lane->info->tx_attr->inject_size;
	if (lane->inject > OFI_INJECT_MAX)
		lane->inject = OFI_INJECT_MAX;
	if (ret)
		up_log(LOG_ERR, NULL, "ofi: provider %s: %s", lane->info->fabric_attr->prov_name,
		       fi_strerror(-ret));
	return ret;
}

static void close_fid(struct fid *fid)
{
	int ret = fi_close(fid);

	if (ret)
		up_log(LOG_WARNING, NULL, "ofi: closing an object of libfabric's: %s",
		       fi_strerror(-ret));
}

void up_ofi_fabric_close(struct ofi_lane *lane)
{
	if (lane->pep)
		close_fid(&lane->pep->fid);
	if (lane->cq)
		close_fid(&lane->cq->fid);
	if (lane->eq)
		close_fid(&lane->eq->fid);
	if (lane->domain)
		close_fid(&lane->domain->fid);
	if (lane->fabric)
		close_fid(&lane->fabric->fid);
	if (lane->info)
		fi_freeinfo(lane->info);
}
