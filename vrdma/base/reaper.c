/* SPDX-License-Identifier: BSD-2-Clause */
/* Freeing bit by bit (base/reaper.h). */
#include "base/reaper.h"

#include "base/bytes.h"
#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define BUDGET_NS 500000 /* what a register access may have to wait for */

struct up_reaper {
	struct up_list remains;
	int fd;
	bool set; /* the descriptor is readable */
};

struct up_reaper *up_reaper_create(void)
{
	struct up_reaper *r = calloc(1, sizeof(*r));
	int err;

	if (!r)
		return NULL;
	up_list_init(&r->remains);
	r->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r->fd < 0) {
		err = errno;
		free(r);
		errno = err;
		return NULL;
	}
	return r;
}

void up_reaper_destroy(struct up_reaper *r)
{
	if (!r)
		return;
	while (!up_list_empty(&r->remains))
		up_reaper_process(r);
	close(r->fd);
	free(r);
}

int up_reaper_fd(const struct up_reaper *r)
{
	return r->fd;
}

static void set_fd(struct up_reaper *r, bool readable)
{
	uint64_t value = 1;
	ssize_t n;

	if (readable == r->set)
		return;
	n = readable ? write(r->fd, &value, sizeof(value)) : read(r->fd, &value, sizeof(value));
	if (n == sizeof(value))
		r->set = readable;
}

bool up_remains_hurry(struct up_remains *remains)
{
	struct up_list *next = remains->node.next;

	/* Off the list first: the last step frees the node. */
	up_list_unlink(&remains->node);
	if (remains->step(remains))
		return true;
	up_list_add_tail(next, &remains->node);
	return false;
}

void up_reaper_process(struct up_reaper *r)
{
	uint64_t end = up_clock_ns() + BUDGET_NS;

	while (!up_list_empty(&r->remains) && up_clock_ns() < end)
		up_remains_hurry(UP_CONTAINER_OF(r->remains.next, struct up_remains, node));
	set_fd(r, !up_list_empty(&r->remains));
}

void up_reaper_give(struct up_reaper *r, struct up_remains *remains)
{
	up_list_add_tail(&r->remains, &remains->node);
	set_fd(r, true);
}
