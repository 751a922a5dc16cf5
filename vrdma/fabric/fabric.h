/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The fabric: ports with their addresses, tenants that cannot see one another, multicast groups,
 * and the workers that run the data path.
 *
 * Threads. One control thread calls everything here unless a function says otherwise. Workers run
 * QPs. The one rule between them: **what a worker reads without a lock changes only while the
 * world is stopped** (up_world_stop/up_world_start). Each worker holds a mutex of its own while
 * it works, and lets go of it between two ports' turns when the control thread asks; stopping the
 * world is taking all of them. A port's turn is bounded by the copy quantum (tens of microseconds),
 * so the control thread waits that long at most, and a register access of a guest is always
 * answered.
 */
#ifndef UP_FABRIC_FABRIC_H
#define UP_FABRIC_FABRIC_H

#include "engine/hca.h"

struct up_fabric;
struct up_port;
struct up_worker;

#define UP_FABRIC_MAX_WORKERS 64
#define UP_NAME_MAX 63		 /* bytes of a port's or tenant's name */
#define UP_MCAST_MAX_QPS 240	 /* of one port in one group */
#define UP_MCAST_MAX_ATTACH 8192 /* of one port in all groups */

/*
 * What manages a tenant's subnet: an adapter behind a port of its own, with LID UP_SM_LID, that no
 * list of ports shows.
 */
struct up_manager_ops {
	/* Attaches its adapter to `port` and makes it active. NULL with errno. */
	void *(*create)(struct up_port *port);
	/* Detaches and frees it. */
	void (*destroy)(void *manager);
	/* A port of the tenant went down, or away. World stopped. */
	void (*port_down)(void *manager, const struct up_port *port);
};

struct up_fabric_config {
	const struct up_manager_ops *manager; /* NULL: LID UP_SM_LID does not answer */
	unsigned workers;
	uint32_t spin_us;	/* how long a worker spins after its last work before it sleeps */
	uint32_t idle_sleep_us; /* how long it sleeps between looks, at first and at least */
	uint32_t deep_sleep_us; /* and at most, after a second without work */
	uint32_t idle_permille; /* of a CPU that it may take then: it sleeps no longer */
	uint32_t quantum_bytes; /* what a port may copy in one turn; a quarter more to end a message
				 */
	uint32_t priority; /* of the workers: nice levels above ordinary, where the daemon may */
	int first_cpu;	   /* worker i is pinned to CPU first_cpu + i; -1: not pinned */
};

#define UP_FABRIC_CONFIG_DEFAULT                                                                   \
	((struct up_fabric_config){.workers = 1,                                                   \
				   .spin_us = 50,                                                  \
				   .idle_sleep_us = 10,                                            \
				   .deep_sleep_us = 15000,                                         \
				   .idle_permille = 5,                                             \
				   .quantum_bytes = 256 * 1024,                                    \
				   .priority = 10,                                                 \
				   .first_cpu = -1})

/* The LID of the subnet manager, in every tenant; ports have the ones above. */
#define UP_SM_LID 1
#define UP_LID_MULTICAST 0xc000
#define UP_LID_PERMISSIVE 0xffff

struct up_port {
	char *name;
	char *tenant;
	uint16_t lid; /* unique in the daemon, resolved only within the tenant */
	uint64_t guid;
	struct up_gid gid; /* fe80::/64 and the GUID */
	struct up_fabric *fabric;
	struct up_worker *worker;
	struct up_hca *hca; /* while a device is attached, else NULL */
	bool active;	    /* the driver has initialized the device, and the link is up */
	bool unplugged;	    /* as up_port_set_link() was told */
	void *owner;	    /* the daemon's struct, which the fabric does not look at */
};

struct up_fabric *up_fabric_create(const struct up_fabric_config *cfg);
void up_fabric_destroy(struct up_fabric *f);

/* Letters, digits, '.', '_' and '-', not beginning with '.' or '-'; 1 to UP_NAME_MAX bytes. */
bool up_name_valid(const char *name);

/*
 * A port with the lowest free LID and, when guid is 0, a GUID derived from tenant and name, so
 * that it is the same after a restart. NULL with errno: EEXIST (name, or GUID within the
 * tenant), ENOSPC (LIDs), EINVAL (a name), ENOMEM, or what the tenant's manager failed with.
 */
struct up_port *up_port_create(struct up_fabric *f, const char *name, const char *tenant,
			       uint64_t guid);
/* No HCA may be attached. */
void up_port_destroy(struct up_port *port);
struct up_port *up_port_find(struct up_fabric *f, const char *name);
/* Iteration over all ports: NULL starts; NULL ends. */
struct up_port *up_port_next(struct up_fabric *f, struct up_port *port);

/* Attaches an adapter: fills hca->net, port, lid, gid; its worker polls it from now on. */
void up_port_attach(struct up_port *port, struct up_hca *hca);
void up_port_detach(struct up_port *port);
/*
 * Of all QPs of the adapter, in any number, nothing in the fabric refers to one any more: for a
 * driver that leaves them all behind. Groups first, with the world stopped now and then; the rest
 * with the world stopped by the caller.
 */
void up_port_leave_groups(struct up_port *port);
void up_port_forget_qps(struct up_port *port);
/* The driver came up or went: others can or cannot reach the adapter. World stopped by callee. */
void up_port_set_driver(struct up_port *port, bool running);
/*
 * Puts the port's cable back or pulls it, which stays so whatever VM is there: then it reaches
 * nobody and nobody it. A driver that runs is told by an event. World stopped by callee.
 */
void up_port_set_link(struct up_port *port, bool up);

/* What NodeDescription says of the port: 64 bytes, no NUL when all are used. Got on workers too. */
void up_port_set_node_desc(struct up_port *port, const char desc[64]);
void up_port_get_node_desc(const struct up_port *port, char desc[64]);

/*
 * Ports of the tenant of `of`, the manager's among them, or NULL; whether they are active or not.
 * Iteration: NULL starts; NULL ends. World stopped or on a worker.
 */
struct up_port *up_port_by_lid(const struct up_port *of, uint16_t lid);
struct up_port *up_port_by_gid(const struct up_port *of, const struct up_gid *gid);
struct up_port *up_port_next_of_tenant(const struct up_port *of, const struct up_port *last);

/*
 * Stops and restarts every worker between two turns. On the control thread, where calls may nest;
 * never on a worker, which would wait for itself.
 */
void up_world_stop(struct up_fabric *f);
void up_world_start(struct up_fabric *f);

/* Puts a QP on its worker's run list. From any thread. */
void up_fabric_kick(struct up_qp *qp);

/*
 * Executes of a QP's send queue what its port may have in one turn. True when there may be more;
 * false also when it waits for its peer. On the control thread, world stopped.
 */
bool up_fabric_flush(struct up_qp *qp);

/* Wakes the worker of a port that may be asleep (a trapped doorbell arrived). Any thread. */
void up_worker_wake(struct up_worker *w);

/*
 * Multicast membership of a QP; world stopped by the callee. 0, -EEXIST, -ENOENT, -ENOSPC, -ENOMEM,
 * -EINVAL for a GID that is not a multicast GID.
 */
int up_mcast_attach(struct up_port *port, const struct up_gid *mgid, struct up_qp *qp);
int up_mcast_detach(struct up_port *port, const struct up_gid *mgid, struct up_qp *qp);
/*
 * Drops memberships of a QP that goes away, a batch of them. True: none is left. World stopped by
 * the caller.
 */
bool up_mcast_forget(struct up_qp *qp);

/*
 * Answers a management datagram addressed to the port itself (256 bytes each way): node and port
 * information, P_Keys, GUIDs, counters. True when there is a response in `out`.
 */
bool up_mad_process(struct up_port *port, const uint8_t in[256], uint8_t out[256]);

struct up_worker_stats {
	uint64_t turns, idle_sleeps, busy_ns;
};
unsigned up_fabric_workers(const struct up_fabric *f);
void up_worker_stats_get(const struct up_fabric *f, unsigned i, struct up_worker_stats *s);

#endif
