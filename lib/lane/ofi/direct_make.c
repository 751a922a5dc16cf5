/* SPDX-License-Identifier: BSD-2-Clause */
/* The lane's own provider (direct.h): how connections are made and closed. */
#include "lane/ofi/direct.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* In one look. */
#define BATCH 16

static int set_nodelay(int fd)
{
	int on = 1;

	return setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0 ? -errno : 0;
}

/* In the epoll of connections to be; who it is for is a struct fid. */
static int watch(const struct direct *net, int fd, uint32_t events, struct fid *fid)
{
	struct epoll_event e = {.events = events, .data.ptr = fid};

	return epoll_ctl(net->making, EPOLL_CTL_ADD, fd, &e) < 0 ? -errno : 0;
}

static int name_of(int fd, bool own, void *addr, size_t *len)
{
	socklen_t n = (socklen_t)*len;

	if ((own ? getsockname(fd, addr, &n) : getpeername(fd, addr, &n)) < 0)
		return -errno;
	*len = n;
	return 0;
}

/* ---- the listener ---- */

static struct direct *of_pep(struct fid_pep *pep)
{
	return UP_CONTAINER_OF(pep, struct direct, pep);
}

void up_direct_request_free(struct direct_request *request)
{
	close(request->fd);
	free(request);
}

static int request(struct direct *net, int fd)
{
	struct direct_request *r = malloc(sizeof(*r));
	struct fi_info *info = r ? fi_dupinfo(net->info) : NULL;

	if (info) {
		*r = (struct direct_request){.fid.fclass = FI_CLASS_CONNREQ, .fd = fd};
		info->handle = &r->fid;
		if (!up_direct_tell(net, FI_CONNREQ, 0, &net->pep.fid, info))
			return 0;
		fi_freeinfo(info);
	}
	free(r);
	return -ENOMEM;
}

/*
 * While this process has no descriptors (or the system no memory), those who connect wait. The
 * epoll would tell of them all the time, so it does not look for them; each look here does.
 */
static void listen_on(struct direct *net, bool on)
{
	struct epoll_event e = {.events = on ? EPOLLIN : 0, .data.ptr = &net->pep.fid};

	if (net->deaf == !on || epoll_ctl(net->making, EPOLL_CTL_MOD, net->listener, &e) < 0)
		return;
	net->deaf = !on;
}

static bool is_short(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS;
}

static void answer(struct direct *net)
{
	for (unsigned i = 0; i < BATCH; i++) {
		int fd = accept4(net->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		listen_on(net, fd >= 0 || !is_short(errno));
		if (fd < 0)
			return;
		if (set_nodelay(fd) || request(net, fd))
			close(fd);
	}
}

static int pep_reject(struct fid_pep *pep, fid_t handle, const void *param, size_t len)
{
	up_direct_request_free(UP_CONTAINER_OF(handle, struct direct_request, fid));
	return 0;
}

static int pep_bind(struct fid *fid, struct fid *eq, uint64_t flags)
{
	return 0;
}

static int pep_listen(struct fid_pep *pep)
{
	struct direct *net = of_pep(pep);

	if (listen(net->listener, SOMAXCONN) < 0)
		return -errno;
	return watch(net, net->listener, EPOLLIN, &pep->fid);
}

static int pep_name(struct fid *fid, void *addr, size_t *len)
{
	return name_of(UP_CONTAINER_OF(fid, struct direct, pep.fid)->listener, true, addr, len);
}

static int pep_close(struct fid *fid)
{
	struct direct *net = UP_CONTAINER_OF(fid, struct direct, pep.fid);

	if (!net->inherited)
		epoll_ctl(net->making, EPOLL_CTL_DEL, net->listener, NULL);
	close(net->listener);
	net->listener = -1;
	return 0;
}

static struct fi_ops pep_fid = {.size = sizeof(pep_fid), .close = pep_close, .bind = pep_bind};
static struct fi_ops_cm pep_cm = {
	.size = sizeof(pep_cm), .getname = pep_name, .listen = pep_listen, .reject = pep_reject};

int up_direct_passive_ep(struct fid_fabric *fabric, struct fi_info *info, struct fid_pep **pep,
			 void *context)
{
	struct direct *net = UP_CONTAINER_OF(fabric, struct direct, fabric);
	const struct sockaddr *at = info->src_addr;

	net->listener = socket(at->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (net->listener < 0)
		return -errno;
	if (bind(net->listener, at, (socklen_t)info->src_addrlen) < 0) {
		int error = errno;

		pep_close(&net->pep.fid);
		return -error;
	}
	net->pep = (struct fid_pep){
		.fid = {FI_CLASS_PEP, context, &pep_fid},
		.cm = &pep_cm,
	};
	*pep = &net->pep;
	return 0;
}

/* ---- connections ---- */

static int ep_bind(struct fid *fid, struct fid *queue, uint64_t flags)
{
	return 0;
}

static int ep_control(struct fid *fid, int command, void *arg)
{
	return command == FI_ENABLE ? 0 : -FI_ENOSYS;
}

static int ep_name(struct fid *fid, void *addr, size_t *len)
{
	return name_of(UP_CONTAINER_OF(fid, struct direct_ep, ep.fid)->fd, true, addr, len);
}

static int ep_peer(struct fid_ep *ep, void *addr, size_t *len)
{
	return name_of(direct_ep_of(ep)->fd, false, addr, len);
}

static int ep_connect(struct fid_ep *ep, const void *addr, const void *param, size_t len)
{
	struct direct_ep *c = direct_ep_of(ep);
	const union ofi_sockaddr *to = addr;
	int ret;

	c->fd = socket(to->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return -errno;
	ret = set_nodelay(c->fd);
	if (ret)
		return ret;
	if (connect(c->fd, &to->sa, (socklen_t)up_ofi_sockaddr_bytes(to)) < 0 &&
	    errno != EINPROGRESS)
		return -errno;
	c->state = DIRECT_CONNECTING;
	return watch(c->net, c->fd, EPOLLOUT, &c->ep.fid);
}

static int ep_accept(struct fid_ep *ep, const void *param, size_t len)
{
	struct direct_ep *c = direct_ep_of(ep);
	int ret = up_direct_tell(c->net, FI_CONNECTED, 0, &ep->fid, NULL);

	if (!ret)
		up_direct_start(c);
	return ret;
}

static void connected(struct direct_ep *c)
{
	socklen_t len = sizeof(int);
	int error = 0;

	epoll_ctl(c->net->making, EPOLL_CTL_DEL, c->fd, NULL);
	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	if (!error)
		up_direct_start(c);
	else
		c->state = DIRECT_DEAD;
	/* Without memory for it the lane gives up waiting in the end. */
	up_direct_tell(c->net, FI_CONNECTED, error, &c->ep.fid, NULL);
}

void up_direct_make(struct direct *net)
{
	struct epoll_event e[BATCH];
	int n = epoll_wait(net->making, e, BATCH, 0);

	if (net->deaf)
		answer(net);
	for (int i = 0; i < n; i++) {
		struct fid *fid = e[i].data.ptr;

		if (fid->fclass == FI_CLASS_PEP)
			answer(net);
		else
			connected(UP_CONTAINER_OF(fid, struct direct_ep, ep.fid));
	}
}

static void forget_events(struct direct *net, const struct fid *fid)
{
	struct up_list *pos, *tmp;

	up_list_each (pos, tmp, &net->events) {
		struct direct_event *e = UP_CONTAINER_OF(pos, struct direct_event, node);

		if (e->fid != fid)
			continue;
		up_list_del(&e->node);
		free(e);
	}
}

static int ep_close(struct fid *fid)
{
	struct direct_ep *c = UP_CONTAINER_OF(fid, struct direct_ep, ep.fid);

	/* To close it is not enough where another process has it, too. */
	if (c->state == DIRECT_CONNECTING && !c->net->inherited)
		epoll_ctl(c->net->making, EPOLL_CTL_DEL, c->fd, NULL);
	up_direct_stop(c);
	forget_events(c->net, fid);
	if (c->fd >= 0)
		close(c->fd);
	free(c);
	return 0;
}

static struct fi_ops ep_fid = {
	.size = sizeof(ep_fid), .close = ep_close, .bind = ep_bind, .control = ep_control};
static struct fi_ops_cm ep_cm = {
	.size = sizeof(ep_cm),
	.getname = ep_name,
	.getpeer = ep_peer,
	.connect = ep_connect,
	.accept = ep_accept,
};

int up_direct_endpoint(struct fid_domain *domain, struct fi_info *info, struct fid_ep **ep,
		       void *context)
{
	struct direct_ep *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->net = UP_CONTAINER_OF(domain, struct direct, domain);
	c->fd = -1;
	up_list_init(&c->left);
	c->receives.last = &c->receives.first;
	c->sends.last = &c->sends.first;
	c->ep = (struct fid_ep){
		.fid = {FI_CLASS_EP, context, &ep_fid}, .cm = &ep_cm, .msg = &up_direct_msg};
	if (info->handle) {
		struct direct_request *r =
			UP_CONTAINER_OF(info->handle, struct direct_request, fid);

		c->fd = r->fd;
		free(r);
	}
	*ep = &c->ep;
	return 0;
}
