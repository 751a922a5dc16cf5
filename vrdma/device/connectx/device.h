/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A device as the daemon sees it: behind a port, with a socket of its own. All of it is for the
 * control thread.
 */
#ifndef UP_CONNECTX_DEVICE_H
#define UP_CONNECTX_DEVICE_H

#include "base/reaper.h"
#include "engine/hca.h"
#include "fabric/fabric.h"
#include "vfio/vfio_user.h"

struct cx_device;

struct cx_device_config {
	const char *socket_path;
	unsigned socket_mode;
	bool trap_doorbells;
	struct up_reaper *reaper; /* of what a driver left; NULL: that is freed at once */
};

/* NULL with errno. */
struct cx_device *cx_device_create(struct up_port *port, const struct cx_device_config *cfg);
void cx_device_destroy(struct cx_device *dev);
/* One descriptor to poll for input; then call cx_device_process(): 0, or a negative errno. */
int cx_device_fd(const struct cx_device *dev);
int cx_device_process(struct cx_device *dev);

/* Is a VM attached? */
bool cx_device_connected(const struct cx_device *dev);
/* In error until its driver resets it. */
bool cx_device_is_fatal(const struct cx_device *dev);
/* Its counters and queue pairs, there also while no VM is. */
const struct up_hca *cx_device_hca(const struct cx_device *dev);
const struct up_vfio_stats *cx_device_socket_stats(const struct cx_device *dev);

#endif
