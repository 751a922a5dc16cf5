/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Logging. One line an event, with the port's name. Lines go to the journal when stderr is
 * connected to it, else to stderr. Safe from any thread; never changes errno. A port that logs more
 * than 200 lines in ten seconds loses the rest, and a later line says how many.
 */
#ifndef UP_BASE_LOG_H
#define UP_BASE_LOG_H

#include <syslog.h>

/* Messages above this priority are dropped; LOG_INFO until set. */
void up_log_set_level(int priority);

/* `port` may be NULL for what concerns the whole daemon. */
void up_log(int priority, const char *port, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
