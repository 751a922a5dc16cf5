/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control socket: accepts clients of the daemon's user and of root, and answers their requests
 * one line of JSON each (daemon/protocol.h). Control thread only; never blocks on a client.
 */
#ifndef UP_DAEMON_CONTROL_H
#define UP_DAEMON_CONTROL_H

struct up_control;
struct up_daemon;
struct up_error;

/* Listens on DIR/control.sock. NULL with *e set. */
struct up_control *up_control_create(struct up_daemon *d, struct up_error *e);
/* Drops the clients and removes the socket. NULL is allowed. */
void up_control_destroy(struct up_control *c);

#endif
