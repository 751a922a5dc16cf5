/* SPDX-License-Identifier: BSD-2-Clause */
/* What queues and counters have in common (queue.h). */
#include "provider.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

uint64_t upf_until(int timeout_ms)
{
	return timeout_ms < 0 ? UINT64_MAX : now() + (uint64_t)timeout_ms * 1000000;
}

static int epoll_add(int epoll, int fd)
{
	struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};

	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) ? -errno : 0;
}

static int open_fds(struct upf_queue *q)
{
	q->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	q->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (q->event < 0 || q->epoll < 0)
		return -errno;
	return epoll_add(q->epoll, q->event);
}

int upf_queue_init(struct upf_queue *q, struct upf_domain *domain, enum fi_wait_obj wait,
		   bool shared, bool (*ready)(const struct upf_queue *q, uint64_t known))
{
	int ret = 0;

	q->domain = domain;
	q->shared = shared;
	q->ready = ready;
	q->event = q->epoll = -1;
	switch (wait) {
	case FI_WAIT_NONE:
	case FI_WAIT_YIELD:
		q->wait = wait;
		break;
	case FI_WAIT_UNSPEC:
	case FI_WAIT_FD:
		q->wait = FI_WAIT_FD;
		break;
	default:
		return -FI_ENOSYS;
	}
	pthread_mutex_init(&q->mutex, NULL);
	pthread_mutex_init(&q->eps_mutex, NULL);
	if (q->wait == FI_WAIT_FD)
		ret = open_fds(q);
	if (ret)
		upf_queue_fini(q);
	return ret;
}

void upf_queue_fini(struct upf_queue *q)
{
	if (q->event >= 0)
		close(q->event);
	if (q->epoll >= 0)
		close(q->epoll);
	pthread_mutex_destroy(&q->mutex);
	pthread_mutex_destroy(&q->eps_mutex);
	free(q->eps);
}

void upf_queue_wake(struct upf_queue *q)
{
	const uint64_t one = 1;

	q->armed = false;
	/* Fails only when it is readable for ever anyway. */
	if (q->event >= 0 && write(q->event, &one, sizeof(one)) < 0)
		FI_WARN(&upf_provider, FI_LOG_CQ, "eventfd: %s\n", strerror(errno));
}

/* ---- endpoints ---- */

static void lock_eps(struct upf_queue *q)
{
	if (q->shared)
		pthread_mutex_lock(&q->eps_mutex);
}

static void unlock_eps(struct upf_queue *q)
{
	if (q->shared)
		pthread_mutex_unlock(&q->eps_mutex);
}

static struct upf_queue_ep *find_ep(const struct upf_queue *q, const struct upf_ep *ep)
{
	for (unsigned i = 0; i < q->neps; i++) {
		if (q->eps[i].ep == ep)
			return &q->eps[i];
	}
	return NULL;
}

/* Does somebody else make the endpoints' progress? */
static bool is_auto(const struct upf_queue *q)
{
	return q->domain && q->domain->progress == FI_PROGRESS_AUTO;
}

static int add_ep(struct upf_queue *q, struct upf_ep *ep)
{
	struct upf_queue_ep *more = realloc(q->eps, (q->neps + 1) * sizeof(*more));
	int ret;

	if (!more)
		return -FI_ENOMEM;
	q->eps = more;
	ret = q->epoll >= 0 && !is_auto(q) ? epoll_add(q->epoll, up_ep_fd(ep->up)) : 0;
	if (!ret)
		q->eps[q->neps++] = (struct upf_queue_ep){.ep = ep, .uses = 1};
	return ret;
}

int upf_queue_add_ep(struct upf_queue *q, struct upf_ep *ep)
{
	struct upf_queue_ep *known;
	int ret = 0;

	lock_eps(q);
	known = find_ep(q, ep);
	if (known)
		known->uses++;
	else
		ret = add_ep(q, ep);
	unlock_eps(q);
	return ret;
}

void upf_queue_del_ep(struct upf_queue *q, const struct upf_ep *ep)
{
	struct upf_queue_ep *known;

	lock_eps(q);
	known = find_ep(q, ep);
	if (known && !--known->uses) {
		*known = q->eps[--q->neps];
		if (q->epoll >= 0 && !is_auto(q))
			epoll_ctl(q->epoll, EPOLL_CTL_DEL, up_ep_fd(ep->up), NULL);
	}
	unlock_eps(q);
}

void upf_queue_progress(struct upf_queue *q)
{
	lock_eps(q);
	for (unsigned i = 0; i < q->neps; i++)
		upf_ep_progress(q->eps[i].ep);
	unlock_eps(q);
}

/* False: there is something to make progress with. */
static bool arm_eps(struct upf_queue *q)
{
	bool armed = true;

	if (is_auto(q))
		return true;
	lock_eps(q);
	for (unsigned i = 0; i < q->neps && armed; i++)
		armed = !up_ep_arm(q->eps[i].ep->up);
	unlock_eps(q);
	return armed;
}

/* ---- waiting ---- */

/*
 * Nothing is in the queue: what the event told is past, unless there are others who have yet to
 * wake by it. With the lock.
 */
static void lower(struct upf_queue *q)
{
	uint64_t n;

	if (!q->sleepers && q->event >= 0 && read(q->event, &n, sizeof(n)) < 0 && errno != EAGAIN)
		FI_WARN(&upf_provider, FI_LOG_CQ, "eventfd: %s\n", strerror(errno));
}

int upf_queue_signal(struct upf_queue *q)
{
	upf_queue_lock(q);
	q->signaled = true;
	q->signals++;
	upf_queue_wake(q);
	upf_queue_unlock(q);
	return 0;
}

static int left_ms(uint64_t until)
{
	uint64_t t = now();

	if (until == UINT64_MAX)
		return -1;
	if (until <= t)
		return 0;
	t = (until - t + 999999) / 1000000;
	return t < INT32_MAX ? (int)t : INT32_MAX;
}

/* Counts this thread among the sleepers, unless it need not sleep: then false. */
static bool begin(struct upf_queue *q, uint64_t known, unsigned *signals)
{
	bool sleep;

	upf_queue_lock(q);
	sleep = !q->ready(q, known) && !q->signaled;
	if (sleep) {
		lower(q);
		q->sleepers++;
	}
	*signals = q->signals;
	upf_queue_unlock(q);
	return sleep;
}

/* 0, or -FI_EAGAIN when it was woken by a signal. */
static int end(struct upf_queue *q, uint64_t known, bool slept, unsigned signals)
{
	int ret = 0;

	upf_queue_lock(q);
	if (slept)
		q->sleepers--;
	if (!q->ready(q, known) && (q->signaled || q->signals != signals)) {
		q->signaled = false;
		ret = -FI_EAGAIN;
	}
	upf_queue_unlock(q);
	return ret;
}

int upf_queue_sleep(struct upf_queue *q, uint64_t known, uint64_t until)
{
	struct epoll_event e;
	int left = left_ms(until), ret;
	unsigned signals;
	bool sleep = begin(q, known, &signals);

	if (sleep && q->wait != FI_WAIT_FD)
		sched_yield();
	else if (sleep && arm_eps(q))
		epoll_wait(q->epoll, &e, 1, left);
	ret = end(q, known, sleep, signals);
	return ret || left ? ret : -FI_ETIMEDOUT;
}

int upf_queue_trywait(struct upf_queue *q)
{
	bool empty;

	if (q->wait != FI_WAIT_FD)
		return -FI_EINVAL;
	upf_queue_progress(q);
	upf_queue_lock(q);
	empty = !q->ready(q, UPF_READ_LAST) && !q->signaled;
	if (empty) {
		lower(q);
		q->armed = true;
	}
	upf_queue_unlock(q);
	return empty && arm_eps(q) ? 0 : -FI_EAGAIN;
}

int upf_queue_control(struct upf_queue *q, int command, void *arg)
{
	switch (command) {
	case FI_GETWAIT:
		if (q->wait != FI_WAIT_FD)
			return -FI_ENODATA;
		*(int *)arg = q->epoll;
		return 0;
	case FI_GETWAITOBJ:
		*(enum fi_wait_obj *)arg = q->wait;
		return 0;
	default:
		return -FI_ENOSYS;
	}
}

struct upf_queue *upf_queue_of(struct fid *fid)
{
	switch (fid->fclass) {
	case FI_CLASS_CQ:
		return &UPF_CONTAINER(fid, struct upf_cq, fid.fid)->q;
	case FI_CLASS_CNTR:
		return &UPF_CONTAINER(fid, struct upf_cntr, fid.fid)->q;
	case FI_CLASS_EQ:
		return &UPF_CONTAINER(fid, struct upf_eq, fid.fid)->q;
	default:
		return NULL;
	}
}

int upf_trywait(struct fid_fabric *fabric, struct fid **fids, int count)
{
	for (int i = 0; i < count; i++) {
		struct upf_queue *q = upf_queue_of(fids[i]);
		int ret = q ? upf_queue_trywait(q) : -FI_EINVAL;

		if (ret)
			return ret;
	}
	return 0;
}
