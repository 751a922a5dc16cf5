/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The end of mappings of guest memory. When a VM's process was killed ours are the last, and the
 * system frees the memory as they go: 200 ms for each GiB that was touched. A thread of its own
 * waits for that, so that the control thread need not.
 */
#include "vfio/vfio_internal.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

/*
 * The address space is locked while page tables are cleared, and others that map memory wait for
 * it: so they are cleared piece by piece. The memory itself is freed after the last one, unlocked.
 */
#define PIECE ((size_t)64 << 20)
/*
 * All that a few dozen clients have at a time, so that none waits for another's end. One that maps
 * and unmaps without end waits for itself.
 */
#define MAX_WAITING (32 * VU_MAX_FILES)

struct gone {
	uint8_t *base;
	size_t length;
	struct gone *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t more = PTHREAD_COND_INITIALIZER;
static struct gone *waiting; /* under lock, as are: */
static unsigned nwaiting;
static bool started;

static void release(const struct gone *g)
{
	size_t left = g->length;

	while (left) {
		size_t n = left < PIECE ? left : PIECE;

		left -= n;
		munmap(g->base + left, n);
	}
}

static void *release_main(void *arg)
{
	for (;;) {
		struct gone *g;

		pthread_mutex_lock(&lock);
		while (!waiting)
			pthread_cond_wait(&more, &lock);
		g = waiting;
		waiting = g->next;
		pthread_mutex_unlock(&lock);
		release(g);
		free(g);
		pthread_mutex_lock(&lock);
		nwaiting--;
		pthread_mutex_unlock(&lock);
	}
	return NULL;
}

/* Under lock. */
static bool start(void)
{
	pthread_t thread;

	if (started)
		return true;
	if (pthread_create(&thread, NULL, release_main, NULL))
		return false;
	pthread_detach(thread);
	started = true;
	return true;
}

void up_vu_release(void *base, size_t length)
{
	struct gone *g = malloc(sizeof(*g));
	bool taken = false;

	if (g) {
		*g = (struct gone){.base = base, .length = length};
		pthread_mutex_lock(&lock);
		taken = nwaiting < MAX_WAITING && start();
		if (taken) {
			g->next = waiting;
			waiting = g;
			nwaiting++;
			pthread_cond_signal(&more);
		}
		pthread_mutex_unlock(&lock);
	}
	if (taken)
		return;
	munmap(base, length);
	free(g);
}
