/* SPDX-License-Identifier: BSD-2-Clause */
/* `underpass stats --watch`. */
#ifndef UP_CLI_WATCH_H
#define UP_CLI_WATCH_H

#include "cli/client.h"

struct watch {
	struct client *client;
	const char *port; /* NULL: all */
	bool qps;
	bool json;	/* one line of JSON an interval, instead of a table */
	double seconds; /* between two looks */
};

/*
 * Shows rates until `q` is pressed, the output is closed, or the daemon goes: on the whole screen
 * of a terminal, else as one table after another.
 */
enum exit_code watch_run(const struct watch *w);

#endif
