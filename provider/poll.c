/* SPDX-License-Identifier: BSD-2-Clause */
/* Poll sets: several completion queues and counters in one look. */
#include "provider.h"

#include <stdlib.h>

struct member {
	struct fid *fid;
	struct upf_queue *q;
};

struct poll_set {
	struct fid_poll fid;
	struct upf_domain *domain;
	pthread_mutex_t mutex;
	struct member *members;
	unsigned n;
};

static bool has_news(struct upf_queue *q)
{
	bool news;

	upf_queue_progress(q);
	upf_queue_lock(q);
	news = q->ready(q, UPF_READ_LAST);
	upf_queue_unlock(q);
	return news;
}

static int set_poll(struct fid_poll *fid, void **context, int count)
{
	struct poll_set *set = UPF_CONTAINER(fid, struct poll_set, fid);
	int n = 0;

	pthread_mutex_lock(&set->mutex);
	for (unsigned i = 0; i < set->n && n < count; i++) {
		if (has_news(set->members[i].q))
			context[n++] = set->members[i].fid->context;
	}
	pthread_mutex_unlock(&set->mutex);
	return n;
}

static unsigned find(const struct poll_set *set, const struct fid *event_fid)
{
	unsigned i = 0;

	while (i < set->n && set->members[i].fid != event_fid)
		i++;
	return i;
}

static int set_add(struct fid_poll *fid, struct fid *event_fid, uint64_t flags)
{
	struct poll_set *set = UPF_CONTAINER(fid, struct poll_set, fid);
	struct upf_queue *q = upf_queue_of(event_fid);
	struct member *more;
	int ret = 0;

	if (!q || !q->domain || flags)
		return -FI_EINVAL;
	pthread_mutex_lock(&set->mutex);
	if (find(set, event_fid) == set->n) {
		more = realloc(set->members, (set->n + 1) * sizeof(*more));
		if (more) {
			set->members = more;
			set->members[set->n++] = (struct member){event_fid, q};
			upf_ref(&q->refs);
		} else {
			ret = -FI_ENOMEM;
		}
	}
	pthread_mutex_unlock(&set->mutex);
	return ret;
}

static int set_del(struct fid_poll *fid, struct fid *event_fid, uint64_t flags)
{
	struct poll_set *set = UPF_CONTAINER(fid, struct poll_set, fid);
	int ret = -FI_EINVAL;
	unsigned i;

	pthread_mutex_lock(&set->mutex);
	i = find(set, event_fid);
	if (i < set->n) {
		upf_unref(&set->members[i].q->refs);
		set->members[i] = set->members[--set->n];
		ret = 0;
	}
	pthread_mutex_unlock(&set->mutex);
	return ret;
}

static int set_close(struct fid *fid)
{
	struct poll_set *set = UPF_CONTAINER(fid, struct poll_set, fid.fid);

	for (unsigned i = 0; i < set->n; i++)
		upf_unref(&set->members[i].q->refs);
	upf_unref(&set->domain->refs);
	pthread_mutex_destroy(&set->mutex);
	free(set->members);
	free(set);
	return 0;
}

static struct fi_ops fid_ops = {
	.size = sizeof(struct fi_ops),
	.close = set_close,
	.bind = upf_no_bind,
	.control = upf_no_control,
	.ops_open = upf_no_ops_open,
};

static struct fi_ops_poll ops = {
	.size = sizeof(struct fi_ops_poll),
	.poll = set_poll,
	.poll_add = set_add,
	.poll_del = set_del,
};

int upf_poll_open(struct fid_domain *fid, struct fi_poll_attr *attr, struct fid_poll **out)
{
	struct upf_domain *domain = UPF_CONTAINER(fid, struct upf_domain, fid);
	struct poll_set *set;

	if (attr && attr->flags)
		return -FI_EINVAL;
	set = calloc(1, sizeof(*set));
	if (!set)
		return -FI_ENOMEM;
	pthread_mutex_init(&set->mutex, NULL);
	set->domain = domain;
	set->fid.fid.fclass = FI_CLASS_POLL;
	set->fid.fid.ops = &fid_ops;
	set->fid.ops = &ops;
	upf_ref(&domain->refs);
	*out = &set->fid;
	return 0;
}
