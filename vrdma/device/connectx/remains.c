/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The end of all of a driver's objects, of which there may be a million. The device has two sets of
 * tables. When it stops, it takes the empty set and leaves the other one behind: from then on it is
 * as new, and nothing refers to the old objects. They are freed bit by bit (base/reaper.h), and
 * until that is done the device is not started again, so that a guest that fills the tables over
 * and over takes memory for one set at a time.
 */
#include "device/connectx/cmd.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define STEP 64 /* objects freed before others may have their turn */

enum table {
	QPS,
	SRQS,
	CQS,
	MRS,
	XRCDS,
	PDS,
	COUNTERS,
	UCTXS,
	UMEMS,
	NR_TABLES,
};

struct cx_remains {
	struct up_remains base;
	struct cx_device *dev; /* NULL: it is gone, and the rest goes with the objects */
	bool left;	       /* there are objects, and it is on the reaper's list */
	struct up_table tables[NR_TABLES];
	struct up_arena *arena;
	struct cx_eq *eqs[CX_MAX_EQ];
	unsigned table; /* the next object to free: of this table, from this number on */
	uint32_t id;
};

static struct up_table *table_of(struct cx_device *dev, unsigned i)
{
	struct up_table *const tables[] = {
		[QPS] = &dev->hca.qps,	     [SRQS] = &dev->hca.srqs, [CQS] = &dev->cqs,
		[MRS] = &dev->hca.mrs,	     [XRCDS] = &dev->xrcds,   [PDS] = &dev->pds,
		[COUNTERS] = &dev->counters, [UCTXS] = &dev->uctxs,   [UMEMS] = &dev->umems,
	};

	return tables[i];
}

/* Each says whether the object is gone: a large one takes several steps. */

static bool free_qp(struct up_arena *arena, void *object)
{
	struct cx_qp *qp = cx_qp(object);

	up_qp_discard(&qp->base);
	cx_buf_fini(&qp->buf, arena);
	up_arena_free(arena, qp, sizeof(*qp));
	return true;
}

static bool free_srq(struct up_arena *arena, void *object)
{
	struct cx_srq *srq = cx_srq(object);

	cx_buf_fini(&srq->buf, arena);
	up_arena_free(arena, srq, sizeof(*srq));
	return true;
}

static bool free_cq(struct up_arena *arena, void *object)
{
	struct cx_cq *cq = object;

	cx_buf_fini(&cq->buf, arena);
	up_arena_free(arena, cq, sizeof(*cq));
	return true;
}

static bool free_region(struct up_arena *arena, void *object)
{
	struct up_mr *mr = object;

	if (!up_mr_shrink_table(mr))
		return false;
	up_arena_free(arena, mr->device, sizeof(struct cx_user_mkey));
	up_mr_free(mr);
	return true;
}

static bool free_umem(struct up_arena *arena, void *object)
{
	if (!cx_umem_shrink(arena, object))
		return false;
	up_arena_free(arena, object, sizeof(struct cx_umem));
	return true;
}

static bool free_number(struct up_arena *arena, void *object)
{
	free(object);
	return true;
}

static bool (*const free_object[])(struct up_arena *arena, void *object) = {
	[QPS] = free_qp,	  [SRQS] = free_srq,	 [CQS] = free_cq,
	[MRS] = free_region,	  [XRCDS] = free_number, [PDS] = free_number,
	[COUNTERS] = free_number, [UCTXS] = free_number, [UMEMS] = free_umem,
};

static void free_eqs(struct cx_remains *r)
{
	for (unsigned i = 0; i < CX_MAX_EQ; i++) {
		struct cx_eq *eq = r->eqs[i];

		if (!eq)
			continue;
		cx_buf_fini(&eq->buf, r->arena);
		cx_eq_drop_events(eq, r->arena);
		up_arena_free(r->arena, eq, sizeof(*eq));
		r->eqs[i] = NULL;
	}
}

static void free_set(struct cx_remains *r)
{
	for (unsigned i = 0; i < NR_TABLES; i++)
		up_table_fini(&r->tables[i]);
	up_arena_destroy(r->arena);
	free(r);
}

/* All objects are gone: the set is the device's spare one again. */
static void finish(struct cx_remains *r)
{
	free_eqs(r);
	up_arena_trim(r->arena);
	r->left = false;
	if (!r->dev)
		free_set(r);
}

static bool step(struct up_remains *base)
{
	struct cx_remains *r = UP_CONTAINER_OF(base, struct cx_remains, base);
	struct up_table *t = &r->tables[r->table];

	for (unsigned n = 0; n < STEP; n++) {
		uint32_t id = r->id;
		void *object = up_table_next(t, &id);

		if (!object) {
			up_table_clear(t);
			r->id = 0;
			if (++r->table < NR_TABLES)
				return false;
			finish(r);
			return true;
		}
		if (!free_object[r->table](r->arena, object))
			return false;
		r->id = id;
	}
	return false;
}

int cx_remains_init(struct cx_device *dev)
{
	struct cx_remains *r = calloc(1, sizeof(*r));
	int err = r ? 0 : -ENOMEM;

	for (unsigned i = 0; i < NR_TABLES && !err; i++) {
		const struct up_table *t = table_of(dev, i);

		err = up_table_init(&r->tables[i], t->capacity, t->first);
	}
	if (!err) {
		r->arena = up_arena_create();
		err = r->arena ? 0 : -ENOMEM;
	}
	if (err && r)
		free_set(r);
	if (err)
		return err;
	r->dev = dev;
	r->base.step = step;
	dev->remains = r;
	return 0;
}

void cx_remains_fini(struct cx_device *dev)
{
	struct cx_remains *r = dev->remains;

	r->dev = NULL;
	if (!r->left)
		free_set(r);
}

/* World stopped. */
static void leave(struct cx_device *dev, struct cx_remains *r)
{
	struct up_arena *spare = r->arena;

	up_port_forget_qps(dev->port);
	cx_uar_forget_all(dev);
	up_list_init(&dev->watch);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(dev->hca.special); i++)
		dev->hca.special[i] = NULL;
	for (unsigned i = 0; i < NR_TABLES; i++)
		up_table_swap(table_of(dev, i), &r->tables[i]);
	r->arena = dev->hca.arena;
	dev->hca.arena = spare;
	memcpy(r->eqs, dev->eqs, sizeof(r->eqs));
	memset(dev->eqs, 0, sizeof(dev->eqs));
	dev->cmd_eq = NULL;
	dev->behind_eqs = 0;
	dev->hca.mr_bytes = 0;
	dev->list_bytes = 0;
	dev->reserved_key = dev->null_key = 0;
}

void cx_remains_leave(struct cx_device *dev)
{
	struct cx_remains *r = dev->remains;

	assert(!r->left);
	up_port_leave_groups(dev->port);
	up_world_stop(dev->port->fabric);
	dev->hca.alive = false;
	leave(dev, r);
	up_world_start(dev->port->fabric);
	r->left = true;
	r->table = 0;
	r->id = 0;
	if (dev->cfg.reaper)
		up_reaper_give(dev->cfg.reaper, &r->base);
	while (!dev->cfg.reaper && !step(&r->base))
		;
}

bool cx_remains_settle(struct cx_device *dev)
{
	struct cx_remains *r = dev->remains;

	return !r->left || up_remains_hurry(&r->base);
}
