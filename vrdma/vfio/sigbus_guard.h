/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Survive SIGBUS on guest memory.
 *
 * Guest memory is a file that its owner can shrink at any moment; touching a page behind the new
 * end raises SIGBUS. A process-wide handler replaces the whole range that was hit by private
 * anonymous memory, so that the access completes, marks the owner as tripped and wakes the control
 * thread, which then drops the owner. A SIGBUS anywhere else goes the way it went before.
 */
#ifndef UP_SIGBUS_GUARD_H
#define UP_SIGBUS_GUARD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* Ranges guarded at a time in the whole process. */
enum { UP_SIGBUS_GUARD_MAX = 32768 };

/* Whose memory a range is. Must stay where it is while one of its ranges is registered. */
struct up_sigbus_owner {
	atomic_bool tripped; /* set by the handler, in the thread that faulted */
	int wake_fd;	     /* eventfd, non-blocking, written at the same time; -1: none */
};

/*
 * Install the handler, or take the signal back from somebody who has taken it since. Call before
 * threads touch guest memory; up_vfio_server_create() does. Returns 0 or a negative errno.
 */
int up_sigbus_guard_init(void);

/*
 * Guard [start, start + len), one mapping with protection `prot` (PROT_*), page aligned. Thread
 * safe. Returns a handle >= 0 for up_sigbus_guard_remove(), or -ENOSPC when the table is full.
 */
int up_sigbus_guard_add(void *start, size_t len, int prot, struct up_sigbus_owner *owner);

/*
 * Stop guarding. No thread may touch the range any more when this is called (whoever unmaps memory
 * has to know that anyway): the handler of another thread must not be about to replace it.
 */
void up_sigbus_guard_remove(int handle);

/* How many ranges are guarded now. Thread safe. */
unsigned up_sigbus_guard_count(void);

#endif
