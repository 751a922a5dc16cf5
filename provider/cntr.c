/* SPDX-License-Identifier: BSD-2-Clause */
/* Counters of completions. */
#include "provider.h"

#include <stdlib.h>

struct counter {
	struct upf_cntr pub;
	uint64_t seen; /* value and errors when they were read last, added */
};

static struct counter *counter_of(struct fid_cntr *fid)
{
	return UP_CONTAINER_OF(UPF_CONTAINER(fid, struct upf_cntr, fid), struct counter, pub);
}

static bool cntr_ready(const struct upf_queue *q, uint64_t known)
{
	const struct upf_cntr *cntr = UP_CONTAINER_OF(q, const struct upf_cntr, q);

	if (known == UPF_READ_LAST)
		known = UP_CONTAINER_OF(cntr, const struct counter, pub)->seen;
	return cntr->value + cntr->errors != known;
}

void upf_cntr_count(struct upf_cntr *cntr, bool error)
{
	upf_queue_lock(&cntr->q);
	if (error)
		cntr->errors++;
	else
		cntr->value++;
	upf_queue_written(&cntr->q);
	upf_queue_unlock(&cntr->q);
}

static uint64_t look(struct counter *c, uint64_t *errors)
{
	uint64_t value;

	upf_queue_lock(&c->pub.q);
	value = c->pub.value;
	if (errors)
		*errors = c->pub.errors;
	c->seen = value + c->pub.errors;
	upf_queue_unlock(&c->pub.q);
	return value;
}

static uint64_t cntr_read(struct fid_cntr *fid)
{
	struct counter *c = counter_of(fid);

	upf_queue_progress(&c->pub.q);
	return look(c, NULL);
}

static uint64_t cntr_readerr(struct fid_cntr *fid)
{
	struct counter *c = counter_of(fid);
	uint64_t errors;

	upf_queue_progress(&c->pub.q);
	look(c, &errors);
	return errors;
}

/* Sets one of the two, or adds to it. */
static int change(struct counter *c, uint64_t *what, uint64_t value, bool add)
{
	upf_queue_lock(&c->pub.q);
	*what = add ? *what + value : value;
	upf_queue_written(&c->pub.q);
	upf_queue_unlock(&c->pub.q);
	return 0;
}

static int cntr_add(struct fid_cntr *fid, uint64_t value)
{
	struct counter *c = counter_of(fid);

	return change(c, &c->pub.value, value, true);
}

static int cntr_set(struct fid_cntr *fid, uint64_t value)
{
	struct counter *c = counter_of(fid);

	return change(c, &c->pub.value, value, false);
}

static int cntr_adderr(struct fid_cntr *fid, uint64_t value)
{
	struct counter *c = counter_of(fid);

	return change(c, &c->pub.errors, value, true);
}

static int cntr_seterr(struct fid_cntr *fid, uint64_t value)
{
	struct counter *c = counter_of(fid);

	return change(c, &c->pub.errors, value, false);
}

static int cntr_wait(struct fid_cntr *fid, uint64_t threshold, int timeout)
{
	struct counter *c = counter_of(fid);
	uint64_t until = upf_until(timeout), value, errors, before;
	int ret = 0;

	/* Without a wait object this polls: fi_cntr_wait(3) asks for none. */
	look(c, &before);
	for (;;) {
		upf_queue_progress(&c->pub.q);
		value = look(c, &errors);
		if (value >= threshold)
			return 0;
		if (errors != before)
			return -FI_EAVAIL;
		if (ret)
			return ret;
		ret = upf_queue_sleep(&c->pub.q, value + errors, until);
	}
}

static int cntr_close(struct fid *fid)
{
	struct upf_cntr *cntr = UPF_CONTAINER(fid, struct upf_cntr, fid.fid);

	if (upf_busy(&cntr->q.refs))
		return -FI_EBUSY;
	upf_unref(&cntr->q.domain->refs);
	upf_queue_fini(&cntr->q);
	free(UP_CONTAINER_OF(cntr, struct counter, pub));
	return 0;
}

static int cntr_control(struct fid *fid, int command, void *arg)
{
	return upf_queue_control(&UPF_CONTAINER(fid, struct upf_cntr, fid.fid)->q, command, arg);
}

static struct fi_ops fid_ops = {
	.size = sizeof(struct fi_ops),
	.close = cntr_close,
	.bind = upf_no_bind,
	.control = cntr_control,
	.ops_open = upf_no_ops_open,
};

static struct fi_ops_cntr ops = {
	.size = sizeof(struct fi_ops_cntr),
	.read = cntr_read,
	.readerr = cntr_readerr,
	.add = cntr_add,
	.set = cntr_set,
	.wait = cntr_wait,
	.adderr = cntr_adderr,
	.seterr = cntr_seterr,
};

int upf_cntr_open(struct fid_domain *fid, struct fi_cntr_attr *attr, struct fid_cntr **out,
		  void *context)
{
	struct upf_domain *domain = UPF_CONTAINER(fid, struct upf_domain, fid);
	struct counter *c;
	int ret;

	if (attr->events != FI_CNTR_EVENTS_COMP || attr->flags)
		return -FI_ENOSYS;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -FI_ENOMEM;
	ret = upf_queue_init(&c->pub.q, domain, attr->wait_obj, domain->shared, cntr_ready);
	if (ret) {
		free(c);
		return ret;
	}
	c->pub.fid.fid.fclass = FI_CLASS_CNTR;
	c->pub.fid.fid.context = context;
	c->pub.fid.fid.ops = &fid_ops;
	c->pub.fid.ops = &ops;
	upf_ref(&domain->refs);
	*out = &c->pub.fid;
	return 0;
}
