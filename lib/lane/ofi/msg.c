/* SPDX-License-Identifier: BSD-2-Clause */
/* Connections that are endpoints of their own (FI_EP_MSG): the provider makes and ends them. */
#include "lane/ofi/ofi.h"
#include "base/log.h"

#include <errno.h>

/* ---- the listener ---- */

/* Where this endpoint listens: at one address if there is only one, else at all. */
static union ofi_sockaddr listen_at(const struct ofi_lane *lane)
{
	static const uint8_t any[OFI_IP_BYTES];

	return up_ofi_sockaddr(lane->family, lane->nips == 1 ? lane->ips[0] : any, 0);
}

static int open_listener(struct ofi_lane *lane)
{
	union ofi_sockaddr a = listen_at(lane);
	struct fi_info *info = fi_dupinfo(lane->info);
	size_t len = sizeof(a);
	int ret;

	if (!info)
		return -ENOMEM;
	info->addr_format = up_ofi_format(lane->family);
	ret = up_ofi_set_addr(&info->src_addr, &info->src_addrlen, &a);
	if (!ret)
		ret = fi_passive_ep(lane->fabric, info, &lane->pep, lane);
	fi_freeinfo(info);
	if (!ret)
		ret = fi_pep_bind(lane->pep, &lane->eq->fid, 0);
	if (!ret)
		ret = fi_listen(lane->pep);
	if (!ret)
		ret = fi_getname(&lane->pep->fid, &a, &len);
	lane->port = up_ofi_sockaddr_port(&a);
	return ret;
}

static int msg_open(struct ofi_lane *lane)
{
	struct fi_eq_attr attr = {
		.size = OFI_EVENTS,
		.wait_obj = lane->own_bell || lane->ticks ? FI_WAIT_NONE : FI_WAIT_FD,
	};
	int ret = fi_eq_open(lane->fabric, &attr, &lane->eq, lane);

	return ret ? ret : open_listener(lane);
}

static void msg_close(struct ofi_lane *lane)
{
	if (lane->pep)
		up_ofi_close_fid(&lane->pep->fid);
	lane->pep = NULL;
}

/* ---- connections ---- */

static int make_ep(struct ofi_conn *c, struct fi_info *info)
{
	struct ofi_lane *lane = c->lane;
	int ret;

	c->pool = up_ofi_pool_create(lane, OFI_RECEIVES);
	if (!c->pool)
		return -ENOMEM;
	for (unsigned i = 0; i < OFI_RECEIVES; i++)
		c->pool->rx[i].work.conn = c;
	ret = fi_endpoint(lane->domain, info, &c->ep, c);
	if (!ret)
		ret = fi_ep_bind(c->ep, &lane->eq->fid, 0);
	if (!ret)
		ret = up_ofi_enable(lane, c->ep);
	return ret ? ret : up_ofi_pool_post(c->pool, c->ep);
}

static int msg_conn_open(struct ofi_conn *c, const union ofi_sockaddr *to)
{
	struct fi_info *info = fi_dupinfo(c->lane->info);
	int ret;

	if (!info)
		return -ENOMEM;
	info->addr_format = up_ofi_format(to->sa.sa_family);
	ret = make_ep(c, info);
	fi_freeinfo(info);
	return ret ? ret : fi_connect(c->ep, to, NULL, 0);
}

static void msg_conn_close(struct ofi_conn *c)
{
	up_ofi_close_fid(&c->ep->fid);
	if (c->pool)
		c->pool->ep = NULL;
}

/* ---- events ---- */

static void reject(struct ofi_lane *lane, struct fi_info *info)
{
	fi_reject(lane->pep, info->handle, NULL, 0);
}

static void requested(struct ofi_lane *lane, struct fi_info *info)
{
	struct ofi_conn *c = up_ofi_conn_new(lane);
	int ret;

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

static void failed(struct ofi_lane *lane)
{
	struct fi_eq_err_entry e = {0};

	if (fi_eq_readerr(lane->eq, &e, 0) < 0)
		return;
	up_log(LOG_DEBUG, NULL, "ofi: a connection failed: %s", fi_strerror(e.err));
	if (e.fid && (!lane->pep || e.fid != &lane->pep->fid) && e.fid->context)
		up_ofi_conn_break(e.fid->context);
}

static unsigned msg_events(struct ofi_lane *lane)
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
			up_ofi_conn_opened(e.fid->context);
		} else if (event == FI_SHUTDOWN) {
			up_ofi_conn_break(e.fid->context);
		}
	}
	return n;
}

/* ---- hellos ---- */

static bool msg_meet(struct ofi_conn *c, const struct ofi_hello *h, const void *rest, size_t bytes)
{
	up_ofi_watch(c);
	return bytes == 0;
}

static size_t msg_rest(const struct ofi_lane *lane, void *to)
{
	return 0;
}

const struct ofi_kind up_ofi_msg = {
	.type = FI_EP_MSG,
	.open = msg_open,
	.close = msg_close,
	.events = msg_events,
	.conn_open = msg_conn_open,
	.conn_close = msg_conn_close,
	.meet = msg_meet,
	.rest = msg_rest,
};
