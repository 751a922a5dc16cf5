/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the fabric's files share and nobody else sees.
 *
 * Ownership: everything here belongs to the control thread. Workers read by_lid, tenants,
 * groups and the fields of ports without a lock, so those change only with the world stopped.
 */
#ifndef UP_FABRIC_PRIVATE_H
#define UP_FABRIC_PRIVATE_H

#include "base/bytes.h"
#include "base/hash.h"
#include "base/list.h"
#include "fabric/fabric.h"

#include <stdatomic.h>

struct up_fabric_port;

/* QPs that wait, the one to look at first on top: a binary heap by qp->wait_next (heap.c). */
struct up_heap {
	struct up_qp **qp;
	unsigned count, room;
};

void up_heap_fini(struct up_heap *h);
int up_heap_push(struct up_heap *h, struct up_qp *qp);
void up_heap_remove(struct up_heap *h, struct up_qp *qp);

/*
 * One attached QP: on its group's list, on the QP's and on its port's, so that the end of either
 * finds its own.
 */
struct up_mcast_member {
	struct up_list in_group, in_qp, in_port;
	uint64_t number; /* of all that were ever made in the tenant, from 1 on */
	struct up_mcast_group *group;
	struct up_fabric_port *port;
	struct up_qp *qp;
};

struct up_mcast_group {
	struct up_gid mgid;
	struct up_tenant *tenant;
	struct up_list members; /* in the order of their attachment; never empty */
	UT_hash_handle hh;	/* tenant->groups, by mgid */
};

/* Exists while it has ports. */
struct up_tenant {
	char *name;
	unsigned nports;
	struct up_fabric_port *by_gid;
	struct up_mcast_group *groups;
	uint64_t members;		     /* made so far: the last one's number */
	struct up_fabric_port *manager_port; /* NULL without a manager */
	void *manager;
	UT_hash_handle hh; /* fabric->tenants, by name */
};

/* What the adapter's counters stood at when a performance manager set them to zero (16.1.3.5). */
struct up_pma_base {
	uint64_t tx_bytes, rx_bytes, tx_messages, rx_messages;
};

struct up_fabric_port {
	struct up_port pub;
	struct up_tenant *tenant;
	unsigned worker_index;
	struct up_list on_worker; /* struct up_worker.ports, while attached */
	/*
	 * Its schedule, the worker's, or world stopped. Each port has its own, so that no number of
	 * QPs of one can keep those of another from their turn.
	 */
	struct up_list run;	/* QPs with work, or lately so */
	struct up_heap waiting; /* QPs that wait for their peer or a timer */
	struct up_list inbox;	/* kicks from other threads; under the worker's inbox_lock */
	atomic_bool kicked;	/* the inbox is not empty */
	unsigned unpolled;	/* rounds since its adapter was asked for doorbells: the worker's */
	struct up_list memberships; /* struct up_mcast_member.in_port */
	unsigned nmemberships;
	bool driver; /* one runs */
	struct up_pma_base pma;
	char node_desc[64];    /* as the driver set it, else the port's name; no NUL when full */
	UT_hash_handle hh;     /* fabric->ports, by name, in order of creation */
	UT_hash_handle hh_gid; /* tenant->by_gid */
};

struct up_fabric {
	struct up_fabric_config cfg;
	struct up_fabric_port *ports;
	struct up_tenant *tenants;
	struct up_fabric_port *by_lid[UP_LID_MULTICAST]; /* unicast LIDs; all tenants */
	uint16_t lid_hint;				 /* all unicast LIDs below are in use */
	struct up_worker **workers;			 /* cfg.workers of them */
	unsigned worker_ports[UP_FABRIC_MAX_WORKERS];	 /* ports given to each */
	unsigned world_depth;				 /* up_world_stop() calls not yet undone */
};

static inline struct up_fabric_port *up_fabric_port(struct up_port *port)
{
	return UP_CONTAINER_OF(port, struct up_fabric_port, pub);
}

/* port.c: an EUI-64 for one device that no manufacturer gave out, the same for the same names. */
uint64_t up_port_guid(const char *tenant, const char *name);
/* The rest of a port whose name, GUID and LID are set. Others cannot look it up yet. */
void up_port_init(struct up_fabric *f, struct up_fabric_port *p, struct up_tenant *t);
void up_port_free(struct up_fabric_port *p);

/* tenant.c: the tenant of this name, made if there is none. NULL with errno. */
struct up_tenant *up_tenant_get(struct up_fabric *f, const char *name);
/* Frees it when no port is left. World not stopped. */
void up_tenant_put(struct up_fabric *f, struct up_tenant *t);

/* multicast.c: struct up_net_ops.multicast. */
bool up_mcast_deliver(struct up_hca *from, const struct up_av *av, uint64_t *after,
		      bool (*each)(struct up_qp *member, void *arg), void *arg);

/* Drops memberships of a port's QPs, a batch of them. True: none is left. World stopped. */
bool up_mcast_leave(struct up_fabric_port *p);

/* worker.c: fills f->workers from f->cfg and starts them. 0 or a negative errno. */
int up_workers_create(struct up_fabric *f);
/* Stops and frees them; no port is left. Allowed when up_workers_create() failed or never ran. */
void up_workers_destroy(struct up_fabric *f);
/* True on the thread of any worker. */
bool up_on_worker(void);
/* struct up_net_ops.clock: the fuzzers, which have no workers, step a time of their own. */
uint64_t up_worker_clock(void);
/* struct up_net_ops.forget. World stopped by the caller. */
void up_worker_forget(struct up_qp *qp);
/* Every QP of the port at once, without a look at any. World stopped by the caller. */
void up_worker_forget_all(struct up_port *port);
/* The worker polls port->hca from now on, or no longer. World stopped by the caller. */
void up_worker_add(struct up_worker *w, struct up_port *port);
void up_worker_remove(struct up_worker *w, struct up_port *port);

#endif
