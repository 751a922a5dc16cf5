/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The end of descriptors that a client sent, and of its connection, in which others may wait. What
 * they are is the client's choice, and so is how long it takes to close them: a socket that
 * lingers, a file of a FUSE server, the last reference to gigabytes of memory. A thread of the
 * server's own waits for that, so that neither the control thread nor another server's clients do.
 * It is there while there is something to close.
 */
#include "vfio/vfio_internal.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

/* The descriptors that a client has reason to send are not closed here, but for its connection. */
#define MAX_WAITING 1024

struct closing {
	int fd;
	struct closing *next;
};

/* Outlives its server while there is something to close. */
struct vu_closings {
	pthread_mutex_t lock;
	struct closing *first; /* under lock, as is all that follows */
	unsigned waiting;      /* of these, and the one that is being closed */
	bool running;	       /* the thread */
	bool orphan;	       /* the server is gone */
};

struct vu_closings *up_vu_closings_create(void)
{
	struct vu_closings *c = calloc(1, sizeof(*c));

	if (c)
		pthread_mutex_init(&c->lock, NULL);
	return c;
}

static void free_closings(struct vu_closings *c)
{
	pthread_mutex_destroy(&c->lock);
	free(c);
}

void up_vu_closings_destroy(struct vu_closings *c)
{
	bool running;

	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	c->orphan = true;
	running = c->running;
	pthread_mutex_unlock(&c->lock);
	if (!running)
		free_closings(c);
}

/* The next one, when the last was closed; NULL ends the thread. */
static struct closing *next_closing(struct vu_closings *c, bool *orphan)
{
	struct closing *next;

	pthread_mutex_lock(&c->lock);
	next = c->first;
	if (next)
		c->first = next->next;
	else
		c->running = false;
	*orphan = c->orphan;
	pthread_mutex_unlock(&c->lock);
	return next;
}

static void *close_main(void *arg)
{
	struct vu_closings *c = arg;
	struct closing *item;
	bool orphan;

	while ((item = next_closing(c, &orphan))) {
		close(item->fd);
		free(item);
		pthread_mutex_lock(&c->lock);
		c->waiting--;
		pthread_mutex_unlock(&c->lock);
	}
	if (orphan)
		free_closings(c);
	return NULL;
}

/* Under lock. */
static bool start(struct vu_closings *c)
{
	pthread_t thread;

	if (!c->running && pthread_create(&thread, NULL, close_main, c) == 0) {
		pthread_detach(thread);
		c->running = true;
	}
	return c->running;
}

void up_vu_close(struct vu_closings *c, int fd)
{
	struct closing *item = malloc(sizeof(*item));
	bool taken = false;

	if (item) {
		pthread_mutex_lock(&c->lock);
		taken = start(c);
		if (taken) {
			*item = (struct closing){.fd = fd, .next = c->first};
			c->first = item;
			c->waiting++;
		}
		pthread_mutex_unlock(&c->lock);
	}
	if (taken)
		return;
	close(fd);
	free(item);
}

bool up_vu_closings_too_many(struct vu_closings *c)
{
	bool many;

	pthread_mutex_lock(&c->lock);
	many = c->waiting > MAX_WAITING;
	pthread_mutex_unlock(&c->lock);
	return many;
}
