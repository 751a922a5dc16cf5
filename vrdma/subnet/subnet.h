/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The subnet manager and subnet administration of a tenant (chapters 14 and 15 of the InfiniBand
 * specification, volume 1): what IPoIB, rdma_cm and diagnostic tools ask at LID UP_SM_LID.
 *
 * It is an adapter like a VM's, in the daemon's own memory, so the engine carries its datagrams as
 * any others. There is nothing to configure in a fabric that is one daemon, so it sends no SMPs of
 * its own: it answers.
 */
#ifndef UP_SUBNET_SUBNET_H
#define UP_SUBNET_SUBNET_H

#include "fabric/fabric.h"

/* For up_fabric_config.manager. */
extern const struct up_manager_ops up_subnet_manager;

#endif
