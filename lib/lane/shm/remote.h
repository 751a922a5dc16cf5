/* SPDX-License-Identifier: BSD-2-Clause */
/* The memory that this lane makes for others, and descriptors of other processes. */
#ifndef UP_LANE_SHM_REMOTE_H
#define UP_LANE_SHM_REMOTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How the link of a memfd reads that this lane made. */
#define SHM_MEMFD_NAME "underpass"
#define SHM_MEMFD_LINK "/memfd:" SHM_MEMFD_NAME

/* A sealed memfd, so that nobody who has it can shorten it under the others. The descriptor is the
 * caller's; or a negative errno. */
int up_shm_memfd(size_t bytes);
/* Is it such memory, and so long? *inode tells it from others. */
bool up_shm_memfd_is(int fd, uint64_t bytes, uint64_t *inode);

/*
 * Opens a descriptor of another process, when it is what its link's text begins with: opening
 * whatever else has its number by now could have effects. The descriptor is the caller's. -ESRCH:
 * there is none; -EHOSTUNREACH: not allowed; -ENOMEM.
 */
int up_shm_open_remote(int pid, int fd, int flags, const char *what);

#endif
