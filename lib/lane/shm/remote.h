/* SPDX-License-Identifier: BSD-2-Clause */
/* Descriptors of other processes. */
#ifndef UP_LANE_SHM_REMOTE_H
#define UP_LANE_SHM_REMOTE_H

/* How the link of a memfd reads that this lane made. */
#define SHM_MEMFD_NAME "underpass"
#define SHM_MEMFD_LINK "/memfd:" SHM_MEMFD_NAME

/*
 * Opens a descriptor of another process, when it is what its link's text begins with: opening
 * whatever else has its number by now could have effects. The descriptor is the caller's. -ESRCH:
 * there is none; -EHOSTUNREACH: not allowed; -ENOMEM.
 */
int up_shm_open_remote(int pid, int fd, int flags, const char *what);

#endif
