/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An adapter of the daemon's own with QP0 and QP1, for an agent that runs on its worker.
 *
 * Threads. Datagrams arrive on the sender's worker, which writes them into a ring; the agent takes
 * them out and answers on the worker of the adapter's port, inside up_hca_ops.poll.
 */
#ifndef UP_SUBNET_ADAPTER_H
#define UP_SUBNET_ADAPTER_H

#include "fabric/fabric.h"
#include "fabric/mad_layout.h"

/* The other end of a datagram. */
struct sn_peer {
	uint16_t lid; /* 0: it is gone */
	uint8_t sl;
	uint32_t qpn;
};

struct sn_agent_ops {
	/* A MAD came to QP `qpn` (0 or 1). It may be changed. */
	void (*received)(void *agent, unsigned qpn, const struct sn_peer *from,
			 uint8_t mad[MAD_BYTES]);
	/* In every round: did it send something? *due is lowered to when it must run again. */
	bool (*tick)(void *agent, uint64_t now, uint64_t *due);
};

struct sn_adapter;

/* NULL with errno. The agent's functions are called from sn_adapter_open() on. */
struct sn_adapter *sn_adapter_create(const struct sn_agent_ops *ops, void *agent);
/* Attaches it to the port and makes that active. */
void sn_adapter_open(struct sn_adapter *a, struct up_port *port);
/* Detaches it, if it is attached, and frees it. */
void sn_adapter_destroy(struct sn_adapter *a);

/* CLOCK_MONOTONIC in ns. */
uint64_t sn_adapter_clock(const struct sn_adapter *a);
/*
 * What came from this LID and what goes to it is lost: the next port that has it is another. World
 * stopped.
 */
void sn_adapter_forget(struct sn_adapter *a, uint16_t lid);
/* Datagrams that can be sent now. */
unsigned sn_adapter_room(const struct sn_adapter *a, unsigned qpn);
/* Sends one from QP `qpn`; without room it is lost, as on a wire. */
void sn_adapter_send(struct sn_adapter *a, unsigned qpn, const struct sn_peer *to,
		     const uint8_t mad[MAD_BYTES]);

#endif
