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
 *   port-plug    name                    PORT
 *   port-unplug  name                    PORT
 *   qemu-args    port memory? device_only?        {"arguments": [TEXT...], "socket": PATH,
 *                                          "state", "connected"}
 *   status                               STATUS
 *   stats        port? qps?              {"ports": [COUNTS...], "workers": [WORKER...]}
 *
 *   PORT: {"name", "tenant", "lid", "guid", "gid", "state", "connected", "doorbells", "socket"}
 *   STATUS: {"daemon": version, "pid", "dir", "uptime_s", "ports", "max_ports", "connected",
 *     "active", "workers", "polling": {"spin_us", "idle_sleep_us", "deep_sleep_us",
 *     "idle_permille"},
 *     "quantum_bytes"}
 *   COUNTS: {"name", "tenant", "lid", "gid", "state", "connected", the counters of underpass(1),
 *     "qps": [{"qpn", "type", "state", "messages", "bytes", "received", "errors", "rnr"}...]}
 *   WORKER: {"turns", "idle_sleeps", "busy_ns"}
 *
 * A port's state is "active", "down", "unplugged", "error" (the device waits for a reset by its
 * driver), or "failed" (the port serves no VM until it is removed and added again). Counters are of
 * 64 bits and only grow while the port exists, those of a queue pair while it exists. "qps": false
 * leaves the queue pairs out, which may be many.
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
