/* SPDX-License-Identifier: BSD-2-Clause */
/* The lane's own provider (direct.h): messages, and which sockets are looked at when. */
#include "lane/ofi/direct.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* Connections of which the epoll tells in one look. */
#define BATCH 16
/* As often has the epoll told of a connection and no other before it is hot: to be so costs two
 * system calls. */
#define HEAT 16
/* Looks that found nothing, after which it is cold again: about half a millisecond. */
#define COOL 4096
/* Between two looks at the epoll while something is hot. After each look that found something there
 * is one, too: it costs least while an answer is on its way. */
#define COLD_EVERY 8

/* ---- operations ---- */

static void add_op(struct direct_ops *ops, struct direct_op *op)
{
	op->next = NULL;
	*ops->last = op;
	ops->last = &op->next;
}

static void del_first(struct direct_ops *ops)
{
	ops->first = ops->first->next;
	if (!ops->first)
		ops->last = &ops->first;
}

/* Where there is room. */
static void complete(struct direct *net, struct direct_op *op, uint64_t flags, int error)
{
	net->completions[(net->first + net->n++) % DIRECT_EVENTS] =
		(struct direct_completion){op, FI_MSG | flags, op->bytes, error};
}

/* ---- where it is looked for ---- */

static void fail(struct direct_ep *c, int error);

static void look_for(struct direct_ep *c, uint32_t events)
{
	struct epoll_event e = {.events = events, .data.ptr = c};
	int how = !c->events ? EPOLL_CTL_ADD : events ? EPOLL_CTL_MOD : EPOLL_CTL_DEL;

	if (events == c->events || c->net->inherited)
		return;
	if (!epoll_ctl(c->net->cold, how, c->fd, &e))
		c->events = events;
	else if (events)
		fail(c, errno);
}

/* The epoll looks for what can be done. */
static void watch(struct direct_ep *c)
{
	if (c->state == DIRECT_UP && c->net->hot != c)
		look_for(c, (c->receives.first ? EPOLLIN : 0) | (c->sends.first ? EPOLLOUT : 0));
}

static void cool(struct direct *net)
{
	struct direct_ep *c = net->hot;

	net->hot = NULL;
	net->heat = 0;
	if (c)
		watch(c);
}

/* The epoll has told of it. While somebody sleeps he is woken by that alone. */
static void warm(struct direct_ep *c)
{
	struct direct *net = c->net;

	if (net->last != c) {
		net->last = c;
		cool(net);
	}
	if (++net->heat < HEAT || *net->armed || c->state != DIRECT_UP)
		return;
	look_for(c, 0);
	net->hot = c;
	c->empty = 0;
}

void up_direct_start(struct direct_ep *c)
{
	c->state = DIRECT_UP;
	watch(c);
}

void up_direct_stop(struct direct_ep *c)
{
	struct direct *net = c->net;

	if (net->hot == c)
		net->hot = NULL;
	if (net->last == c)
		net->last = NULL;
	look_for(c, 0);
	up_list_del(&c->left);
	c->state = DIRECT_DEAD;
}

/* The first operation tells, behind all that came before. */
static void fail(struct direct_ep *c, int error)
{
	struct direct *net = c->net;
	struct direct_op *op = c->receives.first ? c->receives.first : c->sends.first;

	up_direct_stop(c);
	if (op && op != &c->injected && !direct_full(net))
		complete(net, op, c->receives.first ? FI_RECV : FI_SEND, error);
	else
		up_direct_tell(net, FI_SHUTDOWN, 0, &c->ep.fid, NULL);
}

/* ---- receiving ---- */

/* The message that is coming has `n` bytes more. */
static void came(struct direct_ep *c, size_t n)
{
	struct direct_op *op = c->receives.first;

	op->done += n;
	c->coming -= n;
	if (c->coming)
		return;
	del_first(&c->receives);
	op->bytes = op->done;
	complete(c->net, op, FI_RECV, 0);
}

/* False: it is not all there, or wrong. */
static bool take_head(struct direct_ep *c)
{
	struct direct_head h;

	if (c->end - c->begin < DIRECT_HEAD)
		return false;
	memcpy(&h, c->stage + c->begin, DIRECT_HEAD);
	c->begin += DIRECT_HEAD;
	c->coming = le32toh(h.bytes);
	if (h.magic == htole32(DIRECT_HEAD_MAGIC) && c->coming &&
	    c->coming <= c->receives.first->bytes)
		return true;
	fail(c, EPROTO);
	return false;
}

/* What the stage has goes to the receives, as far as these go. */
static void take_staged(struct direct_ep *c)
{
	while (c->begin < c->end && c->receives.first && !direct_full(c->net)) {
		size_t n = c->end - c->begin;

		if (!c->coming) {
			if (!take_head(c))
				return;
			continue;
		}
		n = n < c->coming ? n : c->coming;
		memcpy(c->receives.first->data + c->receives.first->done, c->stage + c->begin, n);
		c->begin += n;
		came(c, n);
	}
	if (c->begin < c->end && c->receives.first && up_list_empty(&c->left))
		up_list_add_tail(&c->net->left, &c->left);
}

/* Into the stage, behind a part of a head. */
static ssize_t read_next(struct direct_ep *c)
{
	ssize_t got;

	memmove(c->stage, c->stage + c->begin, c->end - c->begin);
	c->end -= c->begin;
	c->begin = 0;
	got = recv(c->fd, c->stage + c->end, DIRECT_STAGE - c->end, MSG_DONTWAIT);
	if (got > 0)
		c->end += (size_t)got;
	return got;
}

/* Into its place, and what is behind it into the stage, which is empty. */
static ssize_t read_rest(struct direct_ep *c)
{
	struct iovec iov[2] = {
		{c->receives.first->data + c->receives.first->done, c->coming},
		{c->stage, DIRECT_STAGE_BEHIND},
	};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
	ssize_t got = recvmsg(c->fd, &msg, MSG_DONTWAIT);
	size_t n = got > 0 ? (size_t)got : 0;

	c->begin = 0;
	c->end = n > c->coming ? n - c->coming : 0;
	if (n)
		came(c, n - c->end);
	return got;
}

/* Once, as others have their turn too. False: nothing has come. */
static bool read_some(struct direct_ep *c)
{
	ssize_t got;

	if (!c->receives.first || direct_full(c->net) || !up_list_empty(&c->left))
		return false;
	got = c->coming ? read_rest(c) : read_next(c);
	if (got > 0)
		take_staged(c);
	else if (got == 0)
		fail(c, ENOTCONN);
	else if (errno == EAGAIN || errno == EINTR)
		return false;
	else
		fail(c, errno);
	return true;
}

static ssize_t msg_recv(struct fid_ep *ep, void *buf, size_t len, void *desc, fi_addr_t from,
			void *context)
{
	struct direct_ep *c = direct_ep_of(ep);
	struct direct_op *op = context;

	*op = (struct direct_op){.data = buf, .bytes = len};
	add_op(&c->receives, op);
	if (c->state != DIRECT_UP)
		return 0;
	if (c->begin < c->end && up_list_empty(&c->left))
		up_list_add_tail(&c->net->left, &c->left);
	if (!(c->events & EPOLLIN))
		watch(c);
	return 0;
}

/* ---- sending ---- */

/* The first of the sends. */
static void begin_send(struct direct_ep *c, const struct direct_op *op)
{
	c->head = (struct direct_head){htole32(DIRECT_HEAD_MAGIC), htole32((uint32_t)op->bytes)};
	c->head_done = 0;
}

static ssize_t send_rest(struct direct_ep *c, struct direct_op *op)
{
	struct iovec iov[2] = {
		{(uint8_t *)&c->head + c->head_done, DIRECT_HEAD - c->head_done},
		{op->data + op->done, op->bytes - op->done},
	};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
	ssize_t n = sendmsg(c->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	size_t head;

	if (n < 0)
		return n;
	head = (size_t)n < iov[0].iov_len ? (size_t)n : iov[0].iov_len;
	c->head_done += head;
	op->done += (size_t)n - head;
	return n;
}

/* As much as the socket takes, and completions have room for. */
static void send_some(struct direct_ep *c)
{
	struct direct_op *op;

	while (c->state == DIRECT_UP && (op = c->sends.first) && !direct_full(c->net)) {
		if (send_rest(c, op) < 0) {
			if (errno != EAGAIN && errno != EINTR)
				fail(c, errno);
			break;
		}
		if (op->done < op->bytes)
			break;
		del_first(&c->sends);
		if (op != &c->injected)
			complete(c->net, op, FI_SEND, 0);
		if (c->sends.first)
			begin_send(c, c->sends.first);
	}
}

static int may_send(const struct direct_ep *c)
{
	if (c->state == DIRECT_DEAD)
		return -EPIPE;
	return c->state == DIRECT_UP && !direct_full(c->net) ? 0 : -FI_EAGAIN;
}

static ssize_t msg_sendmsg(struct fid_ep *ep, const struct fi_msg *msg, uint64_t flags)
{
	struct direct_ep *c = direct_ep_of(ep);
	struct direct_op *op = msg->context;
	bool first = !c->sends.first;
	int ret = may_send(c);

	if (ret)
		return ret;
	*op = (struct direct_op){.data = msg->msg_iov->iov_base, .bytes = msg->msg_iov->iov_len};
	add_op(&c->sends, op);
	if (!first)
		return 0;
	begin_send(c, op);
	send_some(c);
	if (c->sends.first)
		watch(c);
	return 0;
}

/* The rest of an injected message, of which `sent` bytes have left with its head. */
static void keep_rest(struct direct_ep *c, const void *data, size_t bytes, size_t sent)
{
	memcpy(c->small, data, bytes);
	c->injected = (struct direct_op){.data = c->small, .bytes = bytes};
	add_op(&c->sends, &c->injected);
	begin_send(c, &c->injected);
	c->head_done = sent < DIRECT_HEAD ? sent : DIRECT_HEAD;
	c->injected.done = sent - c->head_done;
	watch(c);
}

static ssize_t msg_inject(struct fid_ep *ep, const void *data, size_t bytes, fi_addr_t to)
{
	struct direct_ep *c = direct_ep_of(ep);
	const struct direct_head h = {htole32(DIRECT_HEAD_MAGIC), htole32((uint32_t)bytes)};
	uint8_t out[DIRECT_HEAD + OFI_INJECT_MAX];
	ssize_t n;
	int ret = c->sends.first ? -FI_EAGAIN : may_send(c);

	if (ret)
		return ret;
	memcpy(out, &h, DIRECT_HEAD);
	memcpy(out + DIRECT_HEAD, data, bytes);
	n = send(c->fd, out, DIRECT_HEAD + bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n == (ssize_t)(DIRECT_HEAD + bytes))
		return 0;
	if (n >= 0) {
		keep_rest(c, data, bytes, (size_t)n);
		return 0;
	}
	if (errno == EAGAIN || errno == EINTR)
		return -FI_EAGAIN;
	fail(c, errno);
	return -EPIPE;
}

struct fi_ops_msg up_direct_msg = {
	.size = sizeof(up_direct_msg),
	.recv = msg_recv,
	.sendmsg = msg_sendmsg,
	.inject = msg_inject,
};

/* ---- progress ---- */

static void look_at_cold(struct direct *net)
{
	struct epoll_event e[BATCH];
	int n = epoll_wait(net->cold, e, BATCH, 0);

	net->since_cold = 0;
	for (int i = 0; i < n; i++) {
		struct direct_ep *c = e[i].data.ptr;

		if (e[i].events & ~(uint32_t)EPOLLOUT && read_some(c))
			warm(c);
		send_some(c);
		/* For what has become impossible, too: it would be told for ever. */
		watch(c);
	}
}

static bool look_at_hot(struct direct_ep *c)
{
	bool found = read_some(c);

	send_some(c);
	if (c->state != DIRECT_UP)
		return true;
	c->empty = found ? 0 : c->empty + 1;
	if (c->empty >= COOL)
		cool(c->net);
	return found;
}

void up_direct_progress(struct direct *net)
{
	struct up_list *pos, *tmp;
	bool found = false;

	up_list_each (pos, tmp, &net->left) {
		struct direct_ep *c = UP_CONTAINER_OF(pos, struct direct_ep, left);

		if (direct_full(net))
			break;
		up_list_del(&c->left);
		take_staged(c);
	}
	if (net->hot)
		found = look_at_hot(net->hot);
	if (!net->hot || ++net->since_cold >= COLD_EVERY)
		look_at_cold(net);
	else if (found)
		net->since_cold = COLD_EVERY;
}

bool up_direct_may_sleep(struct direct *net)
{
	cool(net);
	return !net->n && up_list_empty(&net->left);
}
