/* SPDX-License-Identifier: BSD-2-Clause */
/* The lane's own provider (direct.h): what it says of itself, its fabric and its queues. */
#include "lane/ofi/direct.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

struct fi_info *up_direct_info(void)
{
	struct fi_info *info = fi_allocinfo();

	if (!info)
		return NULL;
	info->caps = FI_MSG;
	info->mode = FI_CONTEXT | FI_CONTEXT2;
	info->addr_format = FI_SOCKADDR;
	info->ep_attr->type = FI_EP_MSG;
	info->ep_attr->protocol = DIRECT_PROTOCOL;
	info->ep_attr->max_msg_size = OFI_MAX_PACKET;
	info->tx_attr->inject_size = OFI_INJECT_MAX;
	info->fabric_attr->prov_name = strdup(DIRECT_NAME);
	if (info->fabric_attr->prov_name)
		return info;
	fi_freeinfo(info);
	return NULL;
}

/* ---- completions ---- */

static struct direct *of_cq(struct fid_cq *cq)
{
	return UP_CONTAINER_OF(cq, struct direct, cq);
}

static const struct direct_completion *take(struct direct *net)
{
	const struct direct_completion *c = &net->completions[net->first];

	net->first = (net->first + 1) % DIRECT_EVENTS;
	net->n--;
	return c;
}

/* Of the format FI_CQ_FORMAT_MSG, for which it was opened. */
static ssize_t cq_read(struct fid_cq *cq, void *buf, size_t count)
{
	struct direct *net = of_cq(cq);
	struct fi_cq_msg_entry *to = buf;
	size_t n = 0;

	if (!net->n && !net->inherited)
		up_direct_progress(net);
	while (n < count && net->n && !net->completions[net->first].error) {
		const struct direct_completion *c = take(net);

		to[n++] = (struct fi_cq_msg_entry){c->context, c->flags, c->bytes};
	}
	if (n)
		return (ssize_t)n;
	return net->n ? -FI_EAVAIL : -FI_EAGAIN;
}

static ssize_t cq_readerr(struct fid_cq *cq, struct fi_cq_err_entry *e, uint64_t flags)
{
	struct direct *net = of_cq(cq);
	const struct direct_completion *c;

	if (!net->n || !net->completions[net->first].error)
		return -FI_EAGAIN;
	c = take(net);
	e->op_context = c->context;
	e->flags = c->flags;
	e->err = c->error;
	return 1;
}

static int cq_control(struct fid *fid, int command, void *arg)
{
	const struct direct *net = UP_CONTAINER_OF(fid, struct direct, cq.fid);

	if (command != FI_GETWAIT)
		return -FI_ENOSYS;
	*(int *)arg = net->cold;
	return 0;
}

/* ---- events ---- */

int up_direct_tell(struct direct *net, uint32_t event, int error, struct fid *fid,
		   struct fi_info *info)
{
	struct direct_event *e = malloc(sizeof(*e));

	if (!e)
		return -ENOMEM;
	*e = (struct direct_event){.event = event, .error = error, .fid = fid, .info = info};
	up_list_add_tail(&net->events, &e->node);
	return 0;
}

static struct direct *of_eq(struct fid_eq *eq)
{
	return UP_CONTAINER_OF(eq, struct direct, eq);
}

/* NULL: none. */
static struct direct_event *first_event(const struct direct *net)
{
	if (up_list_empty(&net->events))
		return NULL;
	return UP_CONTAINER_OF(net->events.next, struct direct_event, node);
}

static void event_done(struct direct_event *e)
{
	up_list_del(&e->node);
	free(e);
}

static ssize_t eq_read(struct fid_eq *eq, uint32_t *event, void *buf, size_t len, uint64_t flags)
{
	struct direct *net = of_eq(eq);
	struct fi_eq_cm_entry *to = buf;
	struct direct_event *e;

	if (!first_event(net) && !net->inherited)
		up_direct_make(net);
	e = first_event(net);
	if (!e)
		return -FI_EAGAIN;
	if (e->error)
		return -FI_EAVAIL;
	*event = e->event;
	to->fid = e->fid;
	to->info = e->info;
	event_done(e);
	return sizeof(*to);
}

static ssize_t eq_readerr(struct fid_eq *eq, struct fi_eq_err_entry *to, uint64_t flags)
{
	struct direct_event *e = first_event(of_eq(eq));

	if (!e || !e->error)
		return -FI_EAGAIN;
	to->fid = e->fid;
	to->err = e->error;
	event_done(e);
	return sizeof(*to);
}

static int eq_control(struct fid *fid, int command, void *arg)
{
	const struct direct *net = UP_CONTAINER_OF(fid, struct direct, eq.fid);

	if (command != FI_GETWAIT)
		return -FI_ENOSYS;
	*(int *)arg = net->making;
	return 0;
}

static int eq_close(struct fid *fid)
{
	struct direct *net = UP_CONTAINER_OF(fid, struct direct, eq.fid);
	struct up_list *pos, *tmp;

	up_list_each (pos, tmp, &net->events) {
		struct direct_event *e = UP_CONTAINER_OF(pos, struct direct_event, node);

		if (e->info) {
			up_direct_request_free(
				UP_CONTAINER_OF(e->info->handle, struct direct_request, fid));
			fi_freeinfo(e->info);
		}
		event_done(e);
	}
	return 0;
}

/* ---- fabric and domain: of each there is one, and so of the queues ---- */

static struct direct *of_fabric(struct fid_fabric *fabric)
{
	return UP_CONTAINER_OF(fabric, struct direct, fabric);
}

static int nothing_to_close(struct fid *fid)
{
	return 0;
}

static int domain_open(struct fid_fabric *fabric, struct fi_info *info, struct fid_domain **domain,
		       void *context)
{
	*domain = &of_fabric(fabric)->domain;
	return 0;
}

static int cq_open(struct fid_domain *domain, struct fi_cq_attr *attr, struct fid_cq **cq,
		   void *context)
{
	struct direct *net = UP_CONTAINER_OF(domain, struct direct, domain);

	if (attr->format != FI_CQ_FORMAT_MSG)
		return -FI_ENOSYS;
	*cq = &net->cq;
	return 0;
}

static int eq_open(struct fid_fabric *fabric, struct fi_eq_attr *attr, struct fid_eq **eq,
		   void *context)
{
	*eq = &of_fabric(fabric)->eq;
	return 0;
}

static int trywait(struct fid_fabric *fabric, struct fid **fids, int count)
{
	struct direct *net = of_fabric(fabric);

	return up_direct_may_sleep(net) && !first_event(net) ? 0 : -FI_EAGAIN;
}

static int fabric_close(struct fid *fid)
{
	struct direct *net = UP_CONTAINER_OF(fid, struct direct, fabric.fid);

	if (net->making >= 0)
		close(net->making);
	if (net->cold >= 0)
		close(net->cold);
	free(net);
	return 0;
}

static struct fi_ops_fabric fabric_ops = {
	.size = sizeof(fabric_ops),
	.domain = domain_open,
	.passive_ep = up_direct_passive_ep,
	.eq_open = eq_open,
	.trywait = trywait,
};
static struct fi_ops_domain domain_ops = {
	.size = sizeof(domain_ops),
	.cq_open = cq_open,
	.endpoint = up_direct_endpoint,
};
static struct fi_ops_cq cq_ops = {
	.size = sizeof(cq_ops),
	.read = cq_read,
	.readerr = cq_readerr,
};
static struct fi_ops_eq eq_ops = {
	.size = sizeof(eq_ops),
	.read = eq_read,
	.readerr = eq_readerr,
};
static struct fi_ops fabric_fid = {.size = sizeof(fabric_fid), .close = fabric_close};
static struct fi_ops domain_fid = {.size = sizeof(domain_fid), .close = nothing_to_close};
static struct fi_ops cq_fid = {
	.size = sizeof(cq_fid), .close = nothing_to_close, .control = cq_control};
static struct fi_ops eq_fid = {.size = sizeof(eq_fid), .close = eq_close, .control = eq_control};

bool up_direct_is_deaf(const struct ofi_lane *lane)
{
	return of_fabric(lane->fabric)->deaf;
}

void up_direct_inherit(struct ofi_lane *lane)
{
	of_fabric(lane->fabric)->inherited = true;
}

int up_direct_fabric(struct ofi_lane *lane)
{
	struct direct *net = calloc(1, sizeof(*net));

	if (!net)
		return -ENOMEM;
	net->info = lane->info;
	net->armed = &lane->armed;
	net->listener = -1;
	up_list_init(&net->events);
	up_list_init(&net->left);
	net->fabric = (struct fid_fabric){{FI_CLASS_FABRIC, net, &fabric_fid}, &fabric_ops, 0};
	net->domain.fid = (struct fid){FI_CLASS_DOMAIN, net, &domain_fid};
	net->domain.ops = &domain_ops;
	net->cq = (struct fid_cq){{FI_CLASS_CQ, net, &cq_fid}, &cq_ops};
	net->eq = (struct fid_eq){{FI_CLASS_EQ, net, &eq_fid}, &eq_ops};
	net->making = epoll_create1(EPOLL_CLOEXEC);
	net->cold = epoll_create1(EPOLL_CLOEXEC);
	if (net->making < 0 || net->cold < 0) {
		int error = errno;

		fabric_close(&net->fabric.fid);
		return -error;
	}
	lane->fabric = &net->fabric;
	return 0;
}
