/* SPDX-License-Identifier: BSD-2-Clause */
/* A worker as worker.c, heap.c and world.c see it. */
#ifndef UP_FABRIC_WORKER_PRIVATE_H
#define UP_FABRIC_WORKER_PRIVATE_H

#include "engine/exec.h"
#include "fabric/fabric_private.h"
#include "fabric/idle.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

struct up_worker {
	struct up_fabric *fabric;
	unsigned index;
	pthread_t thread;
	bool started;

	/*
	 * Held by the thread while it works, released while it sleeps and when stop_requests asks
	 * for it. Whoever holds it may touch all below, and what its ports say is the worker's.
	 */
	pthread_mutex_t turn;
	atomic_uint stop_requests;
	atomic_bool wants_turn; /* for its turn: it gets one before the world stops again */
	atomic_bool quit;
	atomic_bool asleep; /* whoever clears it posts `wake` */
	sem_t wake;

	struct up_exec *exec;
	int load_fd; /* /proc/loadavg */
	unsigned cpus;
	bool crowded, was_crowded;
	bool listening; /* some adapter has a queue pair */
	struct up_idle idle;
	uint64_t load_next;
	struct up_list ports; /* struct up_fabric_port.on_worker, the next one first */
	unsigned nports;

	pthread_mutex_t inbox_lock; /* of its ports' inboxes */
	atomic_bool kicked;	    /* some inbox may not be empty: no time to sleep */

	struct up_worker_stats stats;
};

/*
 * Of one port in one round: requests executed, and QPs looked at. No more of its QPs are taken out
 * of the inbox and from among those that wait, either.
 */
#define PORT_MESSAGES 64
#define PORT_QPS 64

/* What a port may do in its turn. */
static inline struct up_budget up_turn_budget(const struct up_worker *w)
{
	uint32_t quantum = w->fabric->cfg.quantum_bytes;

	/* To set a message aside and take it up again costs as much as copying 64 KiB. */
	return (struct up_budget){
		.messages = PORT_MESSAGES,
		.bytes = quantum,
		.slack = quantum / 4,
	};
}

#endif
