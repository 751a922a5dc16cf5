/* SPDX-License-Identifier: BSD-2-Clause */
/* Event queues: a list, as events are rare. */
#include "provider.h"

#include <stdio.h>
#include <stdlib.h>

static bool eq_ready(const struct upf_queue *q, uint64_t known)
{
	return UP_CONTAINER_OF(q, const struct upf_eq, q)->first != NULL;
}

int upf_eq_post(struct upf_eq *eq, uint32_t event, bool error, const void *data, size_t len)
{
	struct upf_eq_event *e = malloc(sizeof(*e) + len);

	if (!e)
		return -FI_ENOMEM;
	e->next = NULL;
	e->event = event;
	e->error = error;
	e->len = len;
	if (len)
		memcpy(e->data, data, len);
	upf_queue_lock(&eq->q);
	*eq->last = e;
	eq->last = &e->next;
	upf_queue_written(&eq->q);
	upf_queue_unlock(&eq->q);
	return 0;
}

/* The first event, if it is an error as asked; it stays where it is with `peek`. */
static ssize_t take(struct upf_eq *eq, bool error, bool peek, uint32_t *event, void *buf,
		    size_t len)
{
	struct upf_eq_event *e;
	ssize_t ret;

	upf_queue_lock(&eq->q);
	e = eq->first;
	if (!e || (error && !e->error))
		ret = -FI_EAGAIN;
	else if (e->error != error)
		ret = -FI_EAVAIL;
	else if (len < e->len)
		ret = -FI_ETOOSMALL;
	else
		ret = (ssize_t)e->len;
	if (ret >= 0) {
		memcpy(buf, e->data, e->len);
		if (event)
			*event = e->event;
	}
	if (ret >= 0 && !peek) {
		eq->first = e->next;
		if (!eq->first)
			eq->last = &eq->first;
		free(e);
	}
	upf_queue_unlock(&eq->q);
	return ret;
}

static ssize_t eq_read(struct fid_eq *fid, uint32_t *event, void *buf, size_t len, uint64_t flags)
{
	return take(UPF_CONTAINER(fid, struct upf_eq, fid), false, flags & FI_PEEK, event, buf,
		    len);
}

static ssize_t eq_readerr(struct fid_eq *fid, struct fi_eq_err_entry *buf, uint64_t flags)
{
	struct fi_eq_err_entry e;
	ssize_t n = take(UPF_CONTAINER(fid, struct upf_eq, fid), true, flags & FI_PEEK, NULL, &e,
			 sizeof(e));

	if (n < 0)
		return n;
	e.err_data = buf->err_data;
	e.err_data_size = 0;
	*buf = e;
	return (ssize_t)sizeof(e);
}

static ssize_t eq_write(struct fid_eq *fid, uint32_t event, const void *buf, size_t len,
			uint64_t flags)
{
	int ret = upf_eq_post(UPF_CONTAINER(fid, struct upf_eq, fid), event, false, buf, len);

	return ret ? ret : (ssize_t)len;
}

static ssize_t eq_sread(struct fid_eq *fid, uint32_t *event, void *buf, size_t len, int timeout,
			uint64_t flags)
{
	struct upf_eq *eq = UPF_CONTAINER(fid, struct upf_eq, fid);
	uint64_t until = upf_until(timeout);
	int ret = 0;

	if (eq->q.wait == FI_WAIT_NONE)
		return -FI_ENOSYS;
	for (;;) {
		ssize_t n = eq_read(fid, event, buf, len, flags);

		if (n != -FI_EAGAIN || ret)
			return n;
		ret = upf_queue_sleep(&eq->q, 0, until);
	}
}

static const char *eq_strerror(struct fid_eq *fid, int prov_errno, const void *err_data, char *buf,
			       size_t len)
{
	const char *text = strerror(prov_errno);

	if (buf && len)
		snprintf(buf, len, "%s", text);
	return text;
}

static int eq_close(struct fid *fid)
{
	struct upf_eq *eq = UPF_CONTAINER(fid, struct upf_eq, fid.fid);
	struct upf_eq_event *e;

	if (upf_busy(&eq->q.refs))
		return -FI_EBUSY;
	while ((e = eq->first)) {
		eq->first = e->next;
		free(e);
	}
	upf_queue_fini(&eq->q);
	upf_unref(&eq->fabric->refs);
	free(eq);
	return 0;
}

static int eq_control(struct fid *fid, int command, void *arg)
{
	return upf_queue_control(&UPF_CONTAINER(fid, struct upf_eq, fid.fid)->q, command, arg);
}

static struct fi_ops fid_ops = {
	.size = sizeof(struct fi_ops),
	.close = eq_close,
	.bind = upf_no_bind,
	.control = eq_control,
	.ops_open = upf_no_ops_open,
};

static struct fi_ops_eq ops = {
	.size = sizeof(struct fi_ops_eq),
	.read = eq_read,
	.readerr = eq_readerr,
	.write = eq_write,
	.sread = eq_sread,
	.strerror = eq_strerror,
};

static ssize_t no_write(struct fid_eq *fid, uint32_t event, const void *buf, size_t len,
			uint64_t flags)
{
	return -FI_EINVAL;
}

/* Of queues that were opened without FI_WRITE. */
static struct fi_ops_eq read_ops = {
	.size = sizeof(struct fi_ops_eq),
	.read = eq_read,
	.readerr = eq_readerr,
	.write = no_write,
	.sread = eq_sread,
	.strerror = eq_strerror,
};

int upf_eq_open(struct fid_fabric *fabric, struct fi_eq_attr *attr, struct fid_eq **out,
		void *context)
{
	struct upf_eq *eq;
	int ret;

	if (attr->flags & ~(uint64_t)(FI_WRITE | FI_AFFINITY))
		return -FI_EINVAL;
	eq = calloc(1, sizeof(*eq));
	if (!eq)
		return -FI_ENOMEM;
	ret = upf_queue_init(&eq->q, NULL, attr->wait_obj, true, eq_ready);
	if (ret) {
		free(eq);
		return ret;
	}
	eq->last = &eq->first;
	eq->fabric = UPF_CONTAINER(fabric, struct upf_fabric, fid);
	eq->fid.fid.fclass = FI_CLASS_EQ;
	eq->fid.fid.context = context;
	eq->fid.fid.ops = &fid_ops;
	eq->fid.ops = attr->flags & FI_WRITE ? &ops : &read_ops;
	upf_ref(&eq->fabric->refs);
	*out = &eq->fid;
	return 0;
}
