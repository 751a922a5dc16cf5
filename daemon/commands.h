/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests of the control protocol: from a line to the answer. */
#ifndef UP_DAEMON_COMMANDS_H
#define UP_DAEMON_COMMANDS_H

#include "daemon/daemon.h"
#include "daemon/text.h"

struct up_stats_reply;

/*
 * Answers one request (without its newline). The answer is appended to *out; when it is too long
 * to make at once, *more is set instead and is to be finished with up_stats_reply_next().
 */
void up_command_run(struct up_daemon *d, const char *line, size_t len, struct up_text *out,
		    struct up_stats_reply **more);

/* Appends an error reply. */
void up_command_refuse(struct up_text *out, const struct up_error *e);

/* "active", "down" (no VM, or its driver does not run), "unplugged", "error", or "failed". */
const char *up_port_state(const struct up_port *port);

/* Room for a GID or GUID as sysfs writes them. */
enum { UP_GID_TEXT = 40 };
void up_format_gid(char text[UP_GID_TEXT], const struct up_gid *gid);

/*
 * stats.c: the reply to `stats`, made piece by piece, because a daemon may have a hundred thousand
 * QPs and must not leave a guest's register access waiting. `port` NULL: all ports. NULL: no
 * memory.
 */
struct up_stats_reply *up_stats_reply_create(struct up_daemon *d, const struct up_port *port,
					     bool qps);
/* Appends the next piece; false when that was the last. Ports may come and go between pieces. */
bool up_stats_reply_next(struct up_stats_reply *r, struct up_text *out);
void up_stats_reply_destroy(struct up_stats_reply *r);

#endif
