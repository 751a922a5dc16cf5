/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The end of what a client gave: mappings of its memory, and descriptors. Either may take long, so
 * threads of their own wait for it and the control thread does not. A thread is there while there
 * is something to release.
 *
 * Mappings. When a VM's process was killed ours are the last, and the system frees the memory as
 * they go: 200 ms for each GiB that was touched. One thread does that for all servers.
 *
 * Descriptors, and the connection, in which others may wait. What they are is the client's choice,
 * and so is how long it takes to close them: a socket that lingers, a file of a FUSE server, the
 * last reference to gigabytes of memory, an eventfd in an epoll set that somebody has locked. Each
 * server has a thread, so that neither another server's clients nor the end of mappings waits for
 * them.
 */
#include "vfio/vfio_internal.h"

#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * The address space is locked while page tables are cleared, and others that map memory wait for
 * it: so they are cleared piece by piece. The memory itself is freed after the last one, unlocked.
 */
#define PIECE ((size_t)64 << 20)
/*
 * All that a few dozen clients have at a time, so that none waits for another's end. One that maps
 * and unmaps without end waits for itself.
 */
#define MAX_MAPPINGS (32 * VU_MAX_FILES)
/*
 * Of the descriptors that a client has reason to send only eventfds are closed here, one for each
 * interrupt that is taken back. Where more than these wait, the server does until half of them are
 * gone.
 */
#define MAX_DESCRIPTORS 1024

/* A mapping, or, with `base` NULL, a descriptor. */
struct gone {
	uint8_t *base;
	size_t length;
	int fd;
	struct gone *next;
};

/* A server's outlives it while there is something to release. */
struct vu_backlog {
	pthread_mutex_t lock;
	struct gone *first; /* under lock, as is all that follows */
	struct gone **end;  /* where the next one goes */
	unsigned waiting;   /* of these, and the one that is being released */
	bool running;	    /* the thread */
	bool full;
	bool orphan; /* the server is gone */
	int wake_fd; /* its eventfd, written when the backlog is not full any more */
};

static struct vu_backlog mappings = {.lock = PTHREAD_MUTEX_INITIALIZER, .end = &mappings.first};

struct vu_backlog *up_vu_backlog_create(int wake_fd)
{
	struct vu_backlog *b = calloc(1, sizeof(*b));

	if (b) {
		pthread_mutex_init(&b->lock, NULL);
		b->end = &b->first;
		b->wake_fd = wake_fd;
	}
	return b;
}

static void free_backlog(struct vu_backlog *b)
{
	pthread_mutex_destroy(&b->lock);
	free(b);
}

void up_vu_backlog_destroy(struct vu_backlog *b)
{
	bool running;

	if (!b)
		return;
	pthread_mutex_lock(&b->lock);
	b->orphan = true;
	running = b->running;
	pthread_mutex_unlock(&b->lock);
	if (!running)
		free_backlog(b);
}

static void release(const struct gone *g)
{
	size_t left = g->length;

	if (!g->base)
		close(g->fd);
	while (left) {
		size_t n = left < PIECE ? left : PIECE;

		left -= n;
		munmap(g->base + left, n);
	}
}

/* The oldest one; NULL ends the thread. */
static struct gone *take(struct vu_backlog *b, bool *orphan)
{
	struct gone *next;

	pthread_mutex_lock(&b->lock);
	next = b->first;
	if (next)
		b->first = next->next;
	else
		b->running = false;
	if (!b->first)
		b->end = &b->first;
	*orphan = b->orphan;
	pthread_mutex_unlock(&b->lock);
	return next;
}

static void count_off(struct vu_backlog *b)
{
	const uint64_t one = 1;

	pthread_mutex_lock(&b->lock);
	b->waiting--;
	if (b->full && b->waiting <= MAX_DESCRIPTORS / 2) {
		b->full = false;
		/* It fails only when the counter is full, which wakes just as well. */
		if (!b->orphan)
			(void)!write(b->wake_fd, &one, sizeof(one));
	}
	pthread_mutex_unlock(&b->lock);
}

static void *release_main(void *arg)
{
	struct vu_backlog *b = arg;
	struct gone *g;
	bool orphan;

	while ((g = take(b, &orphan))) {
		release(g);
		free(g);
		count_off(b);
	}
	if (orphan)
		free_backlog(b);
	return NULL;
}

/* Under lock. */
static bool start(struct vu_backlog *b)
{
	pthread_t thread;

	if (!b->running && pthread_create(&thread, NULL, release_main, b) == 0) {
		pthread_detach(thread);
		b->running = true;
	}
	return b->running;
}

/* Whether the thread will do it, of which no more than `most` may wait. */
static bool give(struct vu_backlog *b, const struct gone *what, unsigned most)
{
	struct gone *g = malloc(sizeof(*g));
	bool taken;

	if (!g)
		return false;
	*g = *what;
	pthread_mutex_lock(&b->lock);
	taken = b->waiting < most && start(b);
	if (taken) {
		g->next = NULL;
		*b->end = g;
		b->end = &g->next;
		b->waiting++;
	}
	pthread_mutex_unlock(&b->lock);
	if (!taken)
		free(g);
	return taken;
}

void up_vu_release(void *base, size_t length)
{
	const struct gone mapping = {.base = base, .length = length};

	if (!give(&mappings, &mapping, MAX_MAPPINGS))
		munmap(base, length);
}

void up_vu_close(struct vu_backlog *b, int fd)
{
	const struct gone descriptor = {.fd = fd};

	if (!give(b, &descriptor, UINT_MAX))
		close(fd);
}

bool up_vu_backlog_full(struct vu_backlog *b)
{
	bool full;

	pthread_mutex_lock(&b->lock);
	b->full |= b->waiting > MAX_DESCRIPTORS;
	full = b->full;
	pthread_mutex_unlock(&b->lock);
	return full;
}
