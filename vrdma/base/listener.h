/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A listening UNIX socket and its file: made with the wanted mode, put in the place of a stale one,
 * and removed at the end if it is still ours. Not thread-safe, and one for a path at a time.
 */
#ifndef UP_BASE_LISTENER_H
#define UP_BASE_LISTENER_H

#include <sys/stat.h>

struct up_listener {
	int fd;	    /* -1: none */
	char *path; /* owned; NULL: no file is ours */
	dev_t dev;  /* which file at `path` is ours */
	ino_t ino;
};

#define UP_LISTENER_NONE ((struct up_listener){.fd = -1})

/*
 * 0 or a negative errno; after an error the listener is UP_LISTENER_NONE. -EEXIST: what is at
 * `path` is no socket; -EADDRINUSE: somebody listens there. The descriptor does not block, and is
 * closed by exec(). The file has exactly `mode`, whatever the umask, and never more.
 */
int up_listener_open(struct up_listener *l, const char *path, mode_t mode, int backlog);

/* Closing a listener that is not open does nothing. */
void up_listener_close(struct up_listener *l);

#endif
