/* SPDX-License-Identifier: BSD-2-Clause */
/* The heap of waiting QPs; each knows its index, so that it can leave early. */

#include "fabric/fabric_private.h"

#include <errno.h>
#include <stdlib.h>

static void place(struct up_heap *h, unsigned i, struct up_qp *qp)
{
	h->qp[i] = qp;
	qp->sched.heap_index = (int)i;
}

static void sift_up(struct up_heap *h, unsigned i)
{
	struct up_qp *qp = h->qp[i];

	while (i && qp->wait_next < h->qp[(i - 1) / 2]->wait_next) {
		place(h, i, h->qp[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	place(h, i, qp);
}

static void sift_down(struct up_heap *h, unsigned i)
{
	struct up_qp *qp = h->qp[i];

	for (;;) {
		unsigned child = 2 * i + 1;

		if (child >= h->count)
			break;
		if (child + 1 < h->count && h->qp[child + 1]->wait_next < h->qp[child]->wait_next)
			child++;
		if (qp->wait_next <= h->qp[child]->wait_next)
			break;
		place(h, i, h->qp[child]);
		i = child;
	}
	place(h, i, qp);
}

int up_heap_push(struct up_heap *h, struct up_qp *qp)
{
	if (h->count == h->room) {
		unsigned room = h->room ? 2 * h->room : 64;
		struct up_qp **grown = realloc(h->qp, room * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		h->qp = grown;
		h->room = room;
	}
	h->qp[h->count] = qp;
	sift_up(h, h->count++);
	return 0;
}

void up_heap_remove(struct up_heap *h, struct up_qp *qp)
{
	unsigned i = (unsigned)qp->sched.heap_index;
	struct up_qp *last = h->qp[--h->count];

	qp->sched.heap_index = -1;
	if (last == qp)
		return;
	place(h, i, last);
	sift_down(h, i);
	sift_up(h, (unsigned)last->sched.heap_index);
}

void up_heap_fini(struct up_heap *h)
{
	free(h->qp);
	*h = (struct up_heap){0};
}
