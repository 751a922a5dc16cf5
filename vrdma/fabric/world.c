/* SPDX-License-Identifier: BSD-2-Clause */
/* Stopping the world: the control thread takes every worker's turn. */

#include "fabric/worker_private.h"

#include <assert.h>
#include <sched.h>

/*
 * A mutex alone would not do: a busy worker would release and retake it before the control thread
 * ran. So the request is announced first, and the worker stays away until it is taken back, which
 * happens as soon as the mutex is held. Nor would it the other way round: a control thread with
 * much to do would retake the mutex before the worker woke up. So it lets a worker that waits go
 * first.
 */
void up_world_stop(struct up_fabric *f)
{
	/* A worker would wait for its own turn. */
	assert(!up_on_worker());
	if (f->world_depth++)
		return;
	for (unsigned i = 0; i < f->cfg.workers; i++) {
		struct up_worker *w = f->workers[i];

		while (atomic_load(&w->wants_turn))
			sched_yield();
		atomic_fetch_add(&w->stop_requests, 1);
		pthread_mutex_lock(&w->turn);
		atomic_fetch_sub(&w->stop_requests, 1);
	}
}

void up_world_start(struct up_fabric *f)
{
	if (--f->world_depth)
		return;
	for (unsigned i = f->cfg.workers; i-- > 0;)
		pthread_mutex_unlock(&f->workers[i]->turn);
}
