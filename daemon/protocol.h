/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control protocol, version 1, spoken on DIR/control.sock (a UNIX stream socket).
 *
 * A client sends requests, each one JSON object on one line of at most UP_REQUEST_MAX bytes with
 * its newline, and gets one line for each, in order:
 *
 *   {"version": 1, "command": COMMAND, ...}
 *   {"version": 1, "ok": true, "result": {...}}
 *   {"version": 1, "ok": false, "error": {"code": CODE, "message": TEXT}}
 *
 * An unknown or ill-typed member of a request is an error; a client must ignore members of a
 * result that it does not know. Commands, with their members ("?": may be left out):
 *
 *   port-list                            {"ports": [PORT...]}
 *   port-add     name tenant? guid? doorbells?    PORT
 *   port-remove  name force?             {}
 *   qemu-args    port memory? device_only?        {"arguments": [TEXT...], "socket": PATH}
 *   status                               {"daemon", "pid", "dir", "uptime_s", "ports", ...}
 *   stats        port? qps?              {"ports": [...], "workers": [...]}
 *
 *   PORT: {"name", "tenant", "lid", "guid", "gid", "state", "connected", "doorbells", "socket"}
 *
 * Codes: bad-request, bad-version, unknown-command, no-port, exists, bad-name, busy, limit,
 * in-use, failed. After bad-request because of its length a client is disconnected.
 */
#ifndef UP_DAEMON_PROTOCOL_H
#define UP_DAEMON_PROTOCOL_H

#define UP_PROTOCOL_VERSION 1
#define UP_REQUEST_MAX 65536

/* Name of the control socket in the run-time directory. */
#define UP_CONTROL_SOCKET "control.sock"

/* The run-time directory when none is named: root's, and a user's below $XDG_RUNTIME_DIR. */
#define UP_RUNDIR_SYSTEM "/run/underpass"
#define UP_RUNDIR_USER "underpass"

#endif
