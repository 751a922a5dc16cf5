/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Commands on resources that are hardly more than a number: protection domains, XRC domains, UAR
 * pages and queue counters.
 */
#include "device/connectx/cmd.h"

#include <stdlib.h>

#define STEP_QPS 1024 /* looked at for a counter before others may have their turn */

/* Puts a zeroed object of `size`, which begins as a number does, in the table. */
static enum cx_status alloc_number(struct cx_cmd *c, struct up_table *table, size_t size,
				   uint32_t field)
{
	struct cx_number *object = calloc(1, size);
	int64_t id;

	if (!object)
		return cx_fail(c, CX_NO_RES, CX_WHY_NO_MEMORY);
	id = up_table_add(table, object);
	if (id < 0) {
		free(object);
		return cx_fail(c, CX_NO_RES, CX_WHY_TABLE_FULL);
	}
	object->uid = cx_own(c);
	cx_set(c->out, field, (uint32_t)id);
	return CX_OK;
}

static enum cx_status dealloc_number(struct cx_cmd *c, struct up_table *table, uint32_t id,
				     enum cx_reason why)
{
	struct cx_number *object = up_table_get(table, id);

	if (!cx_found(c, object, why) || !cx_acts_on(c, object->uid))
		return CX_BAD_RES;
	if (object->users)
		return cx_fail(c, CX_RES_BUSY, CX_WHY_IN_USE);
	cx_disown(c->dev, object->uid);
	free(up_table_del(table, id));
	return CX_OK;
}

static struct cx_number *find_number(struct cx_cmd *c, const struct up_table *table, uint32_t id,
				     enum cx_reason why)
{
	struct cx_number *object = up_table_get(table, id);

	return cx_found(c, object, why) && cx_refers_to(c, object->uid) ? object : NULL;
}

struct cx_number *cx_pd_find(struct cx_cmd *c, uint32_t pdn)
{
	return find_number(c, &c->dev->pds, pdn, CX_WHY_NO_PD);
}

struct cx_number *cx_xrcd_find(struct cx_cmd *c, uint32_t xrcdn)
{
	return find_number(c, &c->dev->xrcds, xrcdn, CX_WHY_NO_XRCD);
}

/* The kernel may name one that is not there: nothing is counted then. */
bool cx_counter_find(struct cx_cmd *c, uint32_t id)
{
	return !id || !c->uid || find_number(c, &c->dev->counters, id, CX_WHY_NO_COUNTER);
}

/* No worker looks at these tables, so the world goes on. */
enum cx_status cx_alloc_pd(struct cx_cmd *c)
{
	return alloc_number(c, &c->dev->pds, sizeof(struct cx_number), CX_OUT_OBJECT);
}

enum cx_status cx_dealloc_pd(struct cx_cmd *c)
{
	return dealloc_number(c, &c->dev->pds, cx_cmd_object(c), CX_WHY_NO_PD);
}

enum cx_status cx_alloc_xrcd(struct cx_cmd *c)
{
	return alloc_number(c, &c->dev->xrcds, sizeof(struct cx_number), CX_OUT_OBJECT);
}

enum cx_status cx_dealloc_xrcd(struct cx_cmd *c)
{
	return dealloc_number(c, &c->dev->xrcds, cx_cmd_object(c), CX_WHY_NO_XRCD);
}

enum cx_status cx_alloc_uar(struct cx_cmd *c)
{
	struct cx_device *dev = c->dev;

	for (uint32_t i = 0; i < CX_UAR_PAGES - CX_UAR_FIRST; i++) {
		/* Round robin: a page just freed may still be mapped by a dying process. */
		uint32_t page = CX_UAR_FIRST + (dev->uar_next + i) % (CX_UAR_PAGES - CX_UAR_FIRST);

		if (dev->uars[page].allocated)
			continue;
		cx_uar_clean(dev, page);
		dev->uars[page].allocated = true;
		dev->uars[page].uid = cx_own(c);
		dev->uar_next = page - CX_UAR_FIRST + 1;
		cx_set(c->out, CX_OUT_OBJECT, page);
		return CX_OK;
	}
	return cx_fail(c, CX_NO_RES, CX_WHY_TABLE_FULL);
}

enum cx_status cx_dealloc_uar(struct cx_cmd *c)
{
	uint32_t page = cx_cmd_object(c);
	struct cx_uar *uar = page < CX_UAR_PAGES ? &c->dev->uars[page] : NULL;

	if (!uar || !uar->allocated)
		return cx_fail(c, CX_BAD_RES, CX_WHY_NO_UAR);
	if (!cx_acts_on(c, uar->uid))
		return CX_BAD_RES;
	if (uar->users)
		return cx_fail(c, CX_RES_BUSY, CX_WHY_IN_USE);
	cx_disown(c->dev, uar->uid);
	uar->allocated = false;
	return CX_OK;
}

enum cx_status cx_alloc_q_counter(struct cx_cmd *c)
{
	return alloc_number(c, &c->dev->counters, sizeof(struct cx_counter),
			    CX_ALLOC_Q_COUNTER_OUT_COUNTER_SET_ID);
}

enum cx_status cx_dealloc_q_counter(struct cx_cmd *c)
{
	return dealloc_number(c, &c->dev->counters,
			      cx_get(c->in, CX_DEALLOC_Q_COUNTER_IN_COUNTER_SET_ID),
			      CX_WHY_NO_COUNTER);
}

void cx_counter_absorb(struct cx_device *dev, const struct cx_qp *qp)
{
	struct cx_counter *set =
		up_table_get(&dev->counters, cx_get(qp->raw_ctx, CX_QPC_COUNTER_SET_ID));

	if (set)
		set->rnr += up_stat_get(&qp->base.stats.rnr);
}

/* Adds what QPs that live have counted, some of them, from number c->done on. */
static uint32_t add_some(struct cx_cmd *c, uint32_t id, uint32_t rnr)
{
	unsigned left = STEP_QPS;
	struct up_qp *qp;

	c->again = false;
	while ((qp = up_table_next(&c->dev->hca.qps, &c->done))) {
		if (cx_get(cx_qp(qp)->raw_ctx, CX_QPC_COUNTER_SET_ID) == id)
			rnr += (uint32_t)up_stat_get(&qp->stats.rnr);
		c->again = --left == 0;
		if (c->again)
			break;
	}
	return rnr;
}

/*
 * Of what a wire has (lost, doubled and reordered packets) nothing happens here. Receivers that
 * were not ready are counted. The sum so far is kept in the output.
 */
enum cx_status cx_query_q_counter(struct cx_cmd *c)
{
	uint32_t id = cx_get(c->in, CX_QUERY_Q_COUNTER_IN_COUNTER_SET_ID);
	struct cx_counter *set = up_table_get(&c->dev->counters, id);
	uint32_t rnr;

	if (!cx_found(c, set, CX_WHY_NO_COUNTER) || !cx_acts_on(c, set->base.uid))
		return CX_BAD_RES;
	rnr = c->done ? cx_get(c->out, CX_QUERY_Q_COUNTER_OUT_RNR_NAK_RETRY_ERR)
		      : (uint32_t)set->rnr;
	rnr = add_some(c, id, rnr);
	cx_set(c->out, CX_QUERY_Q_COUNTER_OUT_RNR_NAK_RETRY_ERR, rnr);
	if (!c->again && cx_get(c->in, CX_QUERY_Q_COUNTER_IN_CLEAR))
		set->rnr -= rnr;
	return CX_OK;
}
