/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What completion queues, counters and event queues have in common: a lock, endpoints to make
 * progress for, and waiting.
 *
 * Waiting. Whoever sleeps has found the queue empty under its lock, and has said so there
 * (`sleepers`, or `armed` for a user's own poll(2)): from then on each write to the queue makes
 * `event` readable. It is cleared only under the lock and when the queue is empty, so one that
 * several threads sleep on stays readable while there is something for any of them. What has come
 * for an endpoint, and nobody has moved to a queue yet, is told by the endpoint's own descriptor,
 * which was armed in between.
 */
#ifndef UPF_QUEUE_H
#define UPF_QUEUE_H

#include <pthread.h>
#include <rdma/fabric.h>
#include <rdma/fi_eq.h>
#include <stdbool.h>
#include <stdint.h>

struct upf_domain;
struct upf_ep;
struct upf_queue;

struct upf_queue {
	struct upf_domain *domain; /* NULL: an event queue */
	pthread_mutex_t mutex;
	bool shared; /* else the lock is not taken */
	/* Is there something to read? Of a counter: another number than `known`. With the lock. */
	bool (*ready)(const struct upf_queue *q, uint64_t known);

	unsigned refs; /* __atomic: what it is bound to */

	enum fi_wait_obj wait; /* FI_WAIT_NONE, FI_WAIT_FD, FI_WAIT_YIELD */
	bool armed;
	bool signaled;	  /* by the application, and nobody was woken by it yet */
	unsigned signals; /* so far */
	unsigned sleepers;
	int event; /* eventfd */
	int epoll; /* the event, and the endpoints */

	pthread_mutex_t eps_mutex;
	struct upf_queue_ep *eps;
	unsigned neps;
};

/* Of a counter: what it was when anybody read it last. */
#define UPF_READ_LAST UINT64_MAX

struct upf_queue_ep {
	struct upf_ep *ep;
	unsigned uses; /* what it is bound for */
};

/* 0, -FI_ENOSYS for a wait object that there is not, -FI_ENOMEM, or what a system call said. */
int upf_queue_init(struct upf_queue *q, struct upf_domain *domain, enum fi_wait_obj wait,
		   bool shared, bool (*ready)(const struct upf_queue *q, uint64_t known));
void upf_queue_fini(struct upf_queue *q);

static inline void upf_queue_lock(struct upf_queue *q)
{
	if (q->shared)
		pthread_mutex_lock(&q->mutex);
}

static inline void upf_queue_unlock(struct upf_queue *q)
{
	if (q->shared)
		pthread_mutex_unlock(&q->mutex);
}

void upf_queue_wake(struct upf_queue *q);

/* Something was put in; with the lock. */
static inline void upf_queue_written(struct upf_queue *q)
{
	if (__builtin_expect(q->sleepers || q->armed, 0))
		upf_queue_wake(q);
}

/* Once for each binding; fails at the first only. */
int upf_queue_add_ep(struct upf_queue *q, struct upf_ep *ep);
void upf_queue_del_ep(struct upf_queue *q, const struct upf_ep *ep);

/* Progress of all endpoints. */
void upf_queue_progress(struct upf_queue *q);
/* Wakes who sleeps, or the next one who would. */
int upf_queue_signal(struct upf_queue *q);
/*
 * Sleeps until there is something to read, or may be: 0, and the caller looks; -FI_EAGAIN: woken by
 * upf_queue_signal(), -FI_ETIMEDOUT at `until` (CLOCK_MONOTONIC, ns). `known`: of a counter, as the
 * caller has seen it.
 */
int upf_queue_sleep(struct upf_queue *q, uint64_t known, uint64_t until);
/* For a poll(2) of the user's: 0, or -FI_EAGAIN when there is something already. */
int upf_queue_trywait(struct upf_queue *q);
/* FI_GETWAIT, FI_GETWAITOBJ. */
int upf_queue_control(struct upf_queue *q, int command, void *arg);

/* Of a completion queue, a counter or an event queue; NULL of anything else. */
struct upf_queue *upf_queue_of(struct fid *fid);

/* The end of a wait of so many milliseconds from now; negative: never. */
uint64_t upf_until(int timeout_ms);

/* fi_trywait() */
int upf_trywait(struct fid_fabric *fabric, struct fid **fids, int count);

#endif
