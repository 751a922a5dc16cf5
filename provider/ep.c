/* SPDX-License-Identifier: BSD-2-Clause */
/* Endpoints: their life, what they are bound to, their options and names. */
#include "op.h"

#include <stdlib.h>

/* ---- binding ---- */

/* What a counter may be bound for. */
static const struct {
	uint64_t flag;
	enum upf_cntr_kind kind;
} cntr_flags[] = {
	{FI_SEND, UPF_CNTR_SEND},
	{FI_RECV, UPF_CNTR_RECV},
	{FI_READ, UPF_CNTR_READ},
	{FI_WRITE, UPF_CNTR_WRITE},
	{FI_REMOTE_READ, UPF_CNTR_REMOTE_READ},
	{FI_REMOTE_WRITE, UPF_CNTR_REMOTE_WRITE},
};

/* Of the same domain, that is with as many locks. */
static int bind_queue(struct upf_ep *ep, struct upf_queue *q)
{
	int ret = upf_queue_add_ep(q, ep);

	if (!ret)
		upf_ref(&q->refs);
	return ret;
}

static int bind_cntr(struct upf_ep *ep, struct upf_cntr *cntr, uint64_t flags)
{
	uint64_t known = 0;
	int ret = 0;

	for (size_t i = 0; i < UP_ARRAY_SIZE(cntr_flags); i++) {
		known |= cntr_flags[i].flag;
		if (flags & cntr_flags[i].flag && ep->cntrs[cntr_flags[i].kind])
			return -FI_EINVAL;
	}
	if (flags & ~known || !flags || cntr->q.domain != ep->domain)
		return -FI_EINVAL;
	for (size_t i = 0; !ret && i < UP_ARRAY_SIZE(cntr_flags); i++) {
		if (!(flags & cntr_flags[i].flag))
			continue;
		ret = bind_queue(ep, &cntr->q);
		if (!ret)
			ep->cntrs[cntr_flags[i].kind] = cntr;
	}
	return ret;
}

static int bind_cq(struct upf_ep *ep, struct upf_cq *cq, uint64_t flags)
{
	int ret = 0;

	if (flags & ~(uint64_t)(FI_TRANSMIT | FI_RECV | FI_SELECTIVE_COMPLETION) ||
	    !(flags & (FI_TRANSMIT | FI_RECV)) || (flags & FI_TRANSMIT && ep->txcq) ||
	    (flags & FI_RECV && ep->rxcq) || cq->q.domain != ep->domain)
		return -FI_EINVAL;
	if (flags & FI_TRANSMIT) {
		ret = bind_queue(ep, &cq->q);
		ep->txcq = ret ? NULL : cq;
		ep->tx_selective = flags & FI_SELECTIVE_COMPLETION;
	}
	if (!ret && flags & FI_RECV) {
		ret = bind_queue(ep, &cq->q);
		ep->rxcq = ret ? NULL : cq;
		ep->rx_selective = flags & FI_SELECTIVE_COMPLETION;
	}
	return ret;
}

static int bind_av(struct upf_ep *ep, struct upf_av *av, uint64_t flags)
{
	if (flags || ep->av || av->domain != ep->domain)
		return -FI_EINVAL;
	ep->av = av;
	pthread_mutex_lock(&av->mutex);
	up_list_add_tail(&av->eps, &ep->of_av);
	pthread_mutex_unlock(&av->mutex);
	return 0;
}

static int bind_eq(struct upf_ep *ep, struct upf_eq *eq, uint64_t flags)
{
	if (flags || ep->eq)
		return -FI_EINVAL;
	ep->eq = eq;
	upf_ref(&eq->q.refs);
	return 0;
}

/* A counter of what this end starts may also come later, which fi_endpoint(3) does not promise, but
 * OpenSHMEM does. */
static bool may_bind(const struct upf_ep *ep, const struct fid *bfid, uint64_t flags)
{
	return !ep->enabled ||
	       (bfid->fclass == FI_CLASS_CNTR && !(flags & (FI_REMOTE_READ | FI_REMOTE_WRITE)));
}

static int ep_bind(struct fid *fid, struct fid *bfid, uint64_t flags)
{
	struct upf_ep *ep = UPF_CONTAINER(fid, struct upf_ep, fid.fid);

	if (!may_bind(ep, bfid, flags))
		return -FI_EOPBADSTATE;
	switch (bfid->fclass) {
	case FI_CLASS_CQ:
		return bind_cq(ep, UPF_CONTAINER(bfid, struct upf_cq, fid.fid), flags);
	case FI_CLASS_CNTR:
		return bind_cntr(ep, UPF_CONTAINER(bfid, struct upf_cntr, fid.fid), flags);
	case FI_CLASS_AV:
		return bind_av(ep, UPF_CONTAINER(bfid, struct upf_av, fid.fid), flags);
	case FI_CLASS_EQ:
		return bind_eq(ep, UPF_CONTAINER(bfid, struct upf_eq, fid.fid), flags);
	default:
		return -FI_EINVAL;
	}
}

/* ---- life ---- */

static void unbind_queue(struct upf_ep *ep, struct upf_queue *q)
{
	upf_queue_del_ep(q, ep);
	upf_unref(&q->refs);
}

static void unbind(struct upf_ep *ep)
{
	if (ep->txcq)
		unbind_queue(ep, &ep->txcq->q);
	if (ep->rxcq)
		unbind_queue(ep, &ep->rxcq->q);
	for (unsigned i = 0; i < UPF_CNTRS; i++) {
		if (ep->cntrs[i])
			unbind_queue(ep, &ep->cntrs[i]->q);
	}
	if (ep->eq)
		upf_unref(&ep->eq->q.refs);
	if (ep->av) {
		pthread_mutex_lock(&ep->av->removing);
		pthread_mutex_lock(&ep->av->mutex);
		up_list_del(&ep->of_av);
		pthread_mutex_unlock(&ep->av->mutex);
		pthread_mutex_unlock(&ep->av->removing);
	}
}

static int ep_close(struct fid *fid)
{
	struct upf_ep *ep = UPF_CONTAINER(fid, struct upf_ep, fid.fid);
	struct upf_domain *domain = ep->domain;

	/* What is open ends here, and nobody is told (fi_endpoint(3)). */
	up_ep_enter(ep->up);
	ep->closing = true;
	up_ep_leave(ep->up);
	pthread_mutex_lock(&domain->mutex);
	up_list_del(&ep->of_domain);
	upf_mrs_close(ep);
	pthread_mutex_unlock(&domain->mutex);
	unbind(ep);
	up_ep_close(ep->up);
	upf_leaves_fini(ep);
	upf_ops_fini(ep);
	upf_table_fini(&ep->peers);
	upf_table_fini(&ep->sources);
	upf_unref(&domain->refs);
	free(ep);
	return 0;
}

/* Immediate data of a write came. */
static void written(void *ctx, up_peer from, uint64_t imm, size_t bytes)
{
	struct upf_ep *ep = ctx;
	struct upf_event e = {
		.flags = FI_RMA | FI_REMOTE_WRITE | FI_REMOTE_CQ_DATA,
		.len = bytes,
		.data = imm,
		.src = FI_ADDR_NOTAVAIL,
	};

	if (!ep->rxcq || ep->closing)
		return;
	if (ep->want_source)
		e.src = upf_source(ep, from);
	upf_cq_write(ep->rxcq, &e);
}

/* A peer did something to memory of this end. */
static void touched(void *ctx, up_peer from, unsigned access)
{
	struct upf_ep *ep = ctx;
	struct upf_cntr *cntr =
		ep->cntrs[access & UP_RMA_READ ? UPF_CNTR_REMOTE_READ : UPF_CNTR_REMOTE_WRITE];

	if (cntr && !ep->closing)
		upf_cntr_count(cntr, false);
}

static int enable(struct upf_ep *ep)
{
	if (ep->enabled)
		return 0;
	if (!ep->av)
		return -FI_ENOAV;
	if ((ep->caps & (FI_SEND | FI_READ | FI_WRITE) && !ep->txcq) ||
	    (ep->caps & FI_RECV && !ep->rxcq))
		return -FI_ENOCQ;
	up_rma_set_notify(ep->up, written, ep);
	if (ep->cntrs[UPF_CNTR_REMOTE_READ] || ep->cntrs[UPF_CNTR_REMOTE_WRITE])
		up_rma_set_touched(ep->up, touched, ep);
	ep->enabled = true;
	return 0;
}

/* ---- control and options ---- */

static int get_flags(const struct upf_ep *ep, uint64_t *flags)
{
	bool tx = *flags & FI_TRANSMIT, rx = *flags & FI_RECV;

	if (tx == rx)
		return -FI_EINVAL;
	*flags = tx ? ep->tx_flags : ep->rx_flags;
	return 0;
}

static int set_flags(struct upf_ep *ep, uint64_t flags)
{
	bool tx = flags & FI_TRANSMIT, rx = flags & FI_RECV;

	flags &= ~(uint64_t)(FI_TRANSMIT | FI_RECV);
	if (tx == rx || !upf_op_flags_valid(flags, tx))
		return -FI_EINVAL;
	if (tx)
		ep->tx_flags = flags;
	else
		ep->rx_flags = flags;
	return 0;
}

static int ep_control(struct fid *fid, int command, void *arg)
{
	struct upf_ep *ep = UPF_CONTAINER(fid, struct upf_ep, fid.fid);

	switch (command) {
	case FI_ENABLE:
		return enable(ep);
	case FI_GETOPSFLAG:
		return get_flags(ep, arg);
	case FI_SETOPSFLAG:
		return set_flags(ep, *(uint64_t *)arg);
	default:
		return -FI_ENOSYS;
	}
}

/* The first receive of that context that has no message yet. */
static ssize_t ep_cancel(fid_t fid, void *context)
{
	struct upf_ep *ep = UPF_CONTAINER(fid, struct upf_ep, fid.fid);
	ssize_t ret = -FI_ENOENT;
	struct up_list *at, *tmp;

	up_ep_enter(ep->up);
	up_list_each (at, tmp, &ep->recvs) {
		struct upf_op *op = UP_CONTAINER_OF(at, struct upf_op, link);

		if (op->ctx == context && op->recv && !up_tag_cancel(ep->up, op->recv)) {
			ret = 0;
			break;
		}
	}
	up_ep_leave(ep->up);
	return ret;
}

static int ep_getopt(fid_t fid, int level, int name, void *value, size_t *len)
{
	struct upf_ep *ep = UPF_CONTAINER(fid, struct upf_ep, fid.fid);
	size_t n;

	if (level != FI_OPT_ENDPOINT)
		return -FI_ENOPROTOOPT;
	switch (name) {
	case FI_OPT_MIN_MULTI_RECV:
		n = ep->min_multi_recv;
		break;
	case FI_OPT_CM_DATA_SIZE:
		n = 0;
		break;
	default:
		return -FI_ENOPROTOOPT;
	}
	if (*len < sizeof(n))
		return -FI_ETOOSMALL;
	memcpy(value, &n, sizeof(n));
	*len = sizeof(n);
	return 0;
}

static int ep_setopt(fid_t fid, int level, int name, const void *value, size_t len)
{
	struct upf_ep *ep = UPF_CONTAINER(fid, struct upf_ep, fid.fid);

	if (level != FI_OPT_ENDPOINT || name != FI_OPT_MIN_MULTI_RECV)
		return -FI_ENOPROTOOPT;
	if (len != sizeof(size_t))
		return -FI_EINVAL;
	memcpy(&ep->min_multi_recv, value, len);
	return 0;
}

static int no_ctx(struct fid_ep *sep, int index, struct fi_tx_attr *attr, struct fid_ep **ep,
		  void *context)
{
	return -FI_ENOSYS;
}

static int no_rx_ctx(struct fid_ep *sep, int index, struct fi_rx_attr *attr, struct fid_ep **ep,
		     void *context)
{
	return -FI_ENOSYS;
}

static ssize_t no_size_left(struct fid_ep *ep)
{
	return -FI_ENOSYS;
}

static int ep_getname(fid_t fid, void *addr, size_t *len)
{
	struct upf_ep *ep = UPF_CONTAINER(fid, struct upf_ep, fid.fid);
	uint8_t full[UP_ADDR_MAX];
	size_t room = *len;
	struct upf_addr a;

	upf_addr_set(&a, full, up_ep_address(ep->up, full));
	*len = sizeof(a);
	if (addr)
		memcpy(addr, &a, room < sizeof(a) ? room : sizeof(a));
	return room < sizeof(a) ? -FI_ETOOSMALL : 0;
}

static int no_setname(fid_t fid, void *addr, size_t len)
{
	return -FI_ENOSYS;
}

static int no_getpeer(struct fid_ep *ep, void *addr, size_t *len)
{
	return -FI_ENOSYS;
}

static int no_connect(struct fid_ep *ep, const void *addr, const void *param, size_t len)
{
	return -FI_ENOSYS;
}

static int no_listen(struct fid_pep *pep)
{
	return -FI_ENOSYS;
}

static int no_accept(struct fid_ep *ep, const void *param, size_t len)
{
	return -FI_ENOSYS;
}

static int no_reject(struct fid_pep *pep, fid_t handle, const void *param, size_t len)
{
	return -FI_ENOSYS;
}

static int no_shutdown(struct fid_ep *ep, uint64_t flags)
{
	return -FI_ENOSYS;
}

static int no_join(struct fid_ep *ep, const void *addr, uint64_t flags, struct fid_mc **mc,
		   void *context)
{
	return -FI_ENOSYS;
}

/* ---- opening ---- */

static struct fi_ops fid_ops = {
	.size = sizeof(struct fi_ops),
	.close = ep_close,
	.bind = ep_bind,
	.control = ep_control,
	.ops_open = upf_no_ops_open,
};

static struct fi_ops_ep ops = {
	.size = sizeof(struct fi_ops_ep),
	.cancel = ep_cancel,
	.getopt = ep_getopt,
	.setopt = ep_setopt,
	.tx_ctx = no_ctx,
	.rx_ctx = no_rx_ctx,
	.rx_size_left = no_size_left,
	.tx_size_left = no_size_left,
};

static struct fi_ops_cm cm_ops = {
	.size = sizeof(struct fi_ops_cm),
	.setname = no_setname,
	.getname = ep_getname,
	.getpeer = no_getpeer,
	.connect = no_connect,
	.listen = no_listen,
	.accept = no_accept,
	.reject = no_reject,
	.shutdown = no_shutdown,
	.join = no_join,
};

static void set_attrs(struct upf_ep *ep, const struct fi_info *info)
{
	ep->caps = info->caps;
	ep->want_source = info->caps & FI_SOURCE;
	ep->directed = info->caps & FI_DIRECTED_RECV;
	ep->tx_size = upf_params.tx_size;
	ep->rx_size = upf_params.rx_size;
	if (info->tx_attr) {
		ep->tx_flags = info->tx_attr->op_flags;
		if (info->tx_attr->size)
			ep->tx_size = info->tx_attr->size;
	}
	if (info->rx_attr) {
		ep->rx_flags = info->rx_attr->op_flags;
		if (info->rx_attr->size)
			ep->rx_size = info->rx_attr->size;
	}
	ep->min_multi_recv = 64;
	up_list_init(&ep->recvs);
	up_list_init(&ep->of_av);
	ep->fid.fid.fclass = FI_CLASS_EP;
	ep->fid.fid.ops = &fid_ops;
	ep->fid.ops = &ops;
	ep->fid.cm = &cm_ops;
	ep->fid.msg = &upf_msg_ops;
	ep->fid.rma = &upf_rma_ops;
	ep->fid.tagged = &upf_tagged_ops;
	ep->fid.atomic = &upf_atomic_ops;
}

static int join_domain(struct upf_ep *ep, struct upf_domain *domain)
{
	int ret;

	ep->domain = domain;
	pthread_mutex_lock(&domain->mutex);
	up_list_add_tail(&domain->eps, &ep->of_domain);
	ret = upf_mrs_open(ep);
	if (ret)
		up_list_del(&ep->of_domain);
	else
		upf_ref(&domain->refs);
	pthread_mutex_unlock(&domain->mutex);
	return ret;
}

int upf_endpoint(struct fid_domain *fid, struct fi_info *info, struct fid_ep **out, void *context)
{
	struct upf_domain *domain = UPF_CONTAINER(fid, struct upf_domain, fid);
	const struct up_ep_attr attr = {
		.thread = domain->shared ? UP_THREAD_MULTIPLE : UP_THREAD_SINGLE,
		.progress = domain->progress == FI_PROGRESS_AUTO ? UP_PROGRESS_AUTO
								 : UP_PROGRESS_MANUAL,
		.max_addr = sizeof(((struct upf_addr *)NULL)->addr),
	};
	struct upf_ep *ep;
	int ret;

	if (!info || !info->ep_attr || info->ep_attr->type != FI_EP_RDM || upf_check_endpoint(info))
		return -FI_EINVAL;
	ep = calloc(1, sizeof(*ep));
	if (!ep)
		return -FI_ENOMEM;
	set_attrs(ep, info);
	ep->fid.fid.context = context;
	ret = up_ep_open(&attr, &ep->up);
	if (ret) {
		free(ep);
		return upf_error(ret);
	}
	ret = upf_leaves_init(ep);
	if (!ret)
		ret = join_domain(ep, domain);
	if (ret) {
		up_ep_close(ep->up);
		free(ep);
		return ret;
	}
	*out = &ep->fid;
	return 0;
}
