/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Completion queues. The ring grows: what peers send has a place always. That the queue has a size
 * shows in operations: none starts while as many completions are unread.
 */
#include "provider.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define FIRST_RING 256u

static bool cq_ready(const struct upf_queue *q, uint64_t known)
{
	const struct upf_cq *cq = UP_CONTAINER_OF(q, const struct upf_cq, q);

	return cq->head != cq->tail;
}

/* ---- writing ---- */

/* False: no memory. With the lock. */
static bool grow(struct upf_cq *cq)
{
	size_t n = (cq->mask + 1) * 2;
	struct upf_event *ring = aligned_alloc(64, n * sizeof(*ring));

	if (!ring)
		return false;
	for (uint64_t i = cq->tail; i != cq->head; i++)
		ring[i & (n - 1)] = cq->ring[i & cq->mask];
	free(cq->ring);
	cq->ring = ring;
	cq->mask = n - 1;
	return true;
}

void upf_cq_write(struct upf_cq *cq, const struct upf_event *event)
{
	upf_queue_lock(&cq->q);
	if (likely(cq->head - cq->tail <= cq->mask) || grow(cq)) {
		cq->ring[cq->head & cq->mask] = *event;
		__atomic_store_n(&cq->head, cq->head + 1, __ATOMIC_RELAXED);
	} else {
		FI_WARN(&upf_provider, FI_LOG_CQ, "no memory: a completion is lost\n");
		free(event->err);
	}
	upf_queue_written(&cq->q);
	upf_queue_unlock(&cq->q);
}

void upf_cq_write_error(struct upf_cq *cq, const struct upf_event *event, int error, size_t olen)
{
	struct upf_event e = *event;

	e.err = calloc(1, sizeof(*e.err));
	if (!e.err) {
		FI_WARN(&upf_provider, FI_LOG_CQ, "no memory: an error is lost\n");
		return;
	}
	e.err->op_context = e.ctx;
	e.err->flags = e.flags;
	e.err->len = e.len;
	e.err->buf = e.buf;
	e.err->data = e.data;
	e.err->tag = e.tag;
	e.err->olen = olen;
	e.err->err = -upf_error(error);
	e.err->prov_errno = -error;
#ifdef UPF_HAVE_ERR_SRC_ADDR
	e.err->src_addr = FI_ADDR_NOTAVAIL;
#endif
	upf_cq_write(cq, &e);
}

/* ---- reading ---- */

/* Each format is the beginning of the next, and the widest the beginning of an event. */
static const size_t entry_sizes[] = {
	[FI_CQ_FORMAT_CONTEXT] = sizeof(struct fi_cq_entry),
	[FI_CQ_FORMAT_MSG] = sizeof(struct fi_cq_msg_entry),
	[FI_CQ_FORMAT_DATA] = sizeof(struct fi_cq_data_entry),
	[FI_CQ_FORMAT_TAGGED] = sizeof(struct fi_cq_tagged_entry),
};
static_assert(offsetof(struct upf_event, flags) == offsetof(struct fi_cq_tagged_entry, flags) &&
		      offsetof(struct upf_event, len) == offsetof(struct fi_cq_tagged_entry, len) &&
		      offsetof(struct upf_event, buf) == offsetof(struct fi_cq_tagged_entry, buf) &&
		      offsetof(struct upf_event, data) ==
			      offsetof(struct fi_cq_tagged_entry, data) &&
		      offsetof(struct upf_event, tag) == offsetof(struct fi_cq_tagged_entry, tag),
	      "an event begins as an entry");

/* With the lock. */
static ssize_t take(struct upf_cq *cq, uint8_t *to, size_t count, fi_addr_t *src)
{
	size_t size = entry_sizes[cq->format], n = 0;
	uint64_t tail = cq->tail;

	for (; n < count && tail != cq->head; n++, tail++) {
		const struct upf_event *e = &cq->ring[tail & cq->mask];

		if (unlikely(e->err != NULL))
			break;
		if (cq->format == FI_CQ_FORMAT_TAGGED)
			memcpy(to, e, sizeof(struct fi_cq_tagged_entry));
		else
			memcpy(to, e, size);
		to += size;
		if (src)
			src[n] = e->src;
	}
	if (!n && tail != cq->head)
		return -FI_EAVAIL;
	__atomic_store_n(&cq->tail, tail, __ATOMIC_RELAXED);
	return n ? (ssize_t)n : -FI_EAGAIN;
}

static ssize_t try_take(struct upf_cq *cq, void *buf, size_t count, fi_addr_t *src)
{
	ssize_t n;

	upf_queue_lock(&cq->q);
	n = take(cq, buf, count, src);
	upf_queue_unlock(&cq->q);
	return n;
}

static ssize_t cq_readfrom(struct fid_cq *fid, void *buf, size_t count, fi_addr_t *src)
{
	struct upf_cq *cq = UPF_CONTAINER(fid, struct upf_cq, fid);

	/* The look without the lock is only to save it. */
	if (__atomic_load_n(&cq->head, __ATOMIC_RELAXED) ==
	    __atomic_load_n(&cq->tail, __ATOMIC_RELAXED)) {
		upf_queue_progress(&cq->q);
		if (!count)
			return -FI_EAGAIN;
	}
	return try_take(cq, buf, count, src);
}

static ssize_t cq_read(struct fid_cq *fid, void *buf, size_t count)
{
	return cq_readfrom(fid, buf, count, NULL);
}

static ssize_t cq_sreadfrom(struct fid_cq *fid, void *buf, size_t count, fi_addr_t *src,
			    const void *cond, int timeout)
{
	struct upf_cq *cq = UPF_CONTAINER(fid, struct upf_cq, fid);
	uint64_t until = upf_until(timeout);
	int ret = 0;

	if (cq->q.wait == FI_WAIT_NONE)
		return -FI_ENOSYS;
	for (;;) {
		ssize_t n = cq_readfrom(fid, buf, count, src);

		if (n != -FI_EAGAIN || ret)
			return n;
		ret = upf_queue_sleep(&cq->q, 0, until);
	}
}

static ssize_t cq_sread(struct fid_cq *fid, void *buf, size_t count, const void *cond, int timeout)
{
	return cq_sreadfrom(fid, buf, count, NULL, cond, timeout);
}

/* The next entry if it is an error, which is the caller's then. */
static struct fi_cq_err_entry *take_error(struct upf_cq *cq)
{
	struct fi_cq_err_entry *err = NULL;

	upf_queue_lock(&cq->q);
	if (cq->head != cq->tail)
		err = cq->ring[cq->tail & cq->mask].err;
	if (err)
		__atomic_store_n(&cq->tail, cq->tail + 1, __ATOMIC_RELAXED);
	upf_queue_unlock(&cq->q);
	return err;
}

/* How much of an error's entry a user of such a version of the interface has room for. */
static size_t error_size(uint32_t api)
{
	if (FI_VERSION_LT(api, FI_VERSION(1, 5)))
		return offsetof(struct fi_cq_err_entry, err_data_size);
#ifdef UPF_HAVE_ERR_SRC_ADDR
	if (FI_VERSION_LT(api, FI_VERSION(1, 20)))
		return offsetof(struct fi_cq_err_entry, src_addr);
#endif
	return sizeof(struct fi_cq_err_entry);
}

static ssize_t cq_readerr(struct fid_cq *fid, struct fi_cq_err_entry *buf, uint64_t flags)
{
	struct upf_cq *cq = UPF_CONTAINER(fid, struct upf_cq, fid);
	uint32_t api = cq->q.domain->fabric->fid.api_version;
	struct fi_cq_err_entry *err = take_error(cq);

	if (!err)
		return -FI_EAGAIN;
	/* There is no further data: its size is 0, and the user's buffer for it stays. */
	err->err_data = buf->err_data;
	memcpy(buf, err, error_size(api));
	free(err);
	return 1;
}

static int cq_signal(struct fid_cq *fid)
{
	struct upf_cq *cq = UPF_CONTAINER(fid, struct upf_cq, fid);

	return cq->q.wait == FI_WAIT_NONE ? -FI_ENOSYS : upf_queue_signal(&cq->q);
}

static const char *cq_strerror(struct fid_cq *fid, int prov_errno, const void *err_data, char *buf,
			       size_t len)
{
	const char *text = strerror(prov_errno);

	if (buf && len)
		snprintf(buf, len, "%s", text);
	return text;
}

/* ---- life ---- */

static int cq_close(struct fid *fid)
{
	struct upf_cq *cq = UPF_CONTAINER(fid, struct upf_cq, fid.fid);
	struct upf_domain *domain = cq->q.domain;

	if (upf_busy(&cq->q.refs))
		return -FI_EBUSY;
	for (; cq->tail != cq->head; cq->tail++)
		free(cq->ring[cq->tail & cq->mask].err);
	upf_queue_fini(&cq->q);
	upf_unref(&domain->refs);
	free(cq->ring);
	free(cq);
	return 0;
}

static int cq_control(struct fid *fid, int command, void *arg)
{
	return upf_queue_control(&UPF_CONTAINER(fid, struct upf_cq, fid.fid)->q, command, arg);
}

static struct fi_ops fid_ops = {
	.size = sizeof(struct fi_ops),
	.close = cq_close,
	.bind = upf_no_bind,
	.control = cq_control,
	.ops_open = upf_no_ops_open,
};

static struct fi_ops_cq ops = {
	.size = sizeof(struct fi_ops_cq),
	.read = cq_read,
	.readfrom = cq_readfrom,
	.readerr = cq_readerr,
	.sread = cq_sread,
	.sreadfrom = cq_sreadfrom,
	.signal = cq_signal,
	.strerror = cq_strerror,
};

static int open_cq(struct upf_cq *cq, struct upf_domain *domain, const struct fi_cq_attr *attr)
{
	if (attr->format > FI_CQ_FORMAT_TAGGED || attr->wait_cond != FI_CQ_COND_NONE ||
	    attr->flags & ~(uint64_t)FI_AFFINITY)
		return -FI_ENOSYS;
	cq->format = attr->format == FI_CQ_FORMAT_UNSPEC ? FI_CQ_FORMAT_CONTEXT : attr->format;
	cq->size = attr->size ? attr->size : upf_params.cq_size;
	cq->mask = FIRST_RING - 1;
	cq->ring = aligned_alloc(64, FIRST_RING * sizeof(*cq->ring));
	if (!cq->ring)
		return -FI_ENOMEM;
	return upf_queue_init(&cq->q, domain, attr->wait_obj, domain->shared, cq_ready);
}

int upf_cq_open(struct fid_domain *fid, struct fi_cq_attr *attr, struct fid_cq **out, void *context)
{
	struct upf_domain *domain = UPF_CONTAINER(fid, struct upf_domain, fid);
	struct upf_cq *cq = calloc(1, sizeof(*cq));
	int ret;

	if (!cq)
		return -FI_ENOMEM;
	ret = open_cq(cq, domain, attr);
	if (ret) {
		free(cq->ring);
		free(cq);
		return ret;
	}
	cq->fid.fid.fclass = FI_CLASS_CQ;
	cq->fid.fid.context = context;
	cq->fid.fid.ops = &fid_ops;
	cq->fid.ops = &ops;
	upf_ref(&domain->refs);
	*out = &cq->fid;
	return 0;
}
