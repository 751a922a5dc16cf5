/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The run-time directory, which holds the ports' sockets and the control socket of one daemon.
 */
#ifndef UP_DAEMON_RUNDIR_H
#define UP_DAEMON_RUNDIR_H

struct up_error;

/*
 * The directory to use when none is named: /run/underpass for root, else underpass in
 * $XDG_RUNTIME_DIR. Allocated; NULL with errno ENOENT when there is none, or ENOMEM.
 */
char *up_rundir_default(void);

/*
 * Makes the directory where it is missing (mode 0755, the last component only) and locks it for
 * this process. Sets *path to its absolute name (allocated). Returns the descriptor that holds
 * the lock, or -1 with *e set.
 */
int up_rundir_open(const char *dir, char **path, struct up_error *e);

#endif
