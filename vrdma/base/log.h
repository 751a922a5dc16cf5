/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Logging. One line an event, with the port's name. Lines go to stderr, or to a sink. Safe from any
 * thread; never changes errno, and never waits for who reads stderr. A port that logs more than 200
 * lines in ten seconds loses the rest, and so does everybody while nobody reads; a later line says
 * how many.
 */
#ifndef UP_BASE_LOG_H
#define UP_BASE_LOG_H

#include <stdbool.h>
#include <syslog.h>

/* Messages above this priority are dropped; LOG_INFO until set. */
void up_log_set_level(int priority);

/* Takes a line; false: it could not, so that stderr gets it. */
typedef bool up_log_sink(int priority, const char *port, const char *message);
/* To be set before anything is logged; stderr until then. */
void up_log_set_sink(up_log_sink *sink);
/* Is stderr connected to the journal? */
bool up_log_to_journal(void);

/* `port` may be NULL for what concerns the whole daemon. */
void up_log(int priority, const char *port, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
