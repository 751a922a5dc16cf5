/* SPDX-License-Identifier: BSD-2-Clause */
/* Commands on event queues. */
#include "device/connectx/cmd.h"

#include "device/connectx/abi_queue.h"

#define FIRST_EQN 1
static_assert(FIRST_EQN + (1 << CX_LOG_MAX_EQ) <= CX_MAX_EQ, "a place for each number");

static struct cx_eq *eq_get(struct cx_cmd *c)
{
	uint32_t eqn = cx_get(c->in, CX_EQN);

	return eqn < CX_MAX_EQ ? c->dev->eqs[eqn] : NULL;
}

static uint32_t free_number(const struct cx_device *dev)
{
	uint32_t eqn = FIRST_EQN;

	while (eqn < FIRST_EQN + (1u << CX_LOG_MAX_EQ) && dev->eqs[eqn])
		eqn++;
	return eqn;
}

static bool wants_commands(const struct cx_eq *eq)
{
	return eq->event_mask[0] >> CX_EVENT_CMD & 1;
}

static enum cx_status parse(struct cx_cmd *c, struct cx_eq *eq)
{
	const uint8_t *eqc = c->in + CX_CREATE_EQ_IN_EQC_AT;
	uint32_t log_size = cx_get(eqc, CX_EQC_LOG_EQ_SIZE);
	uint32_t vector = cx_get(eqc, CX_EQC_INTR), uar = cx_get(eqc, CX_EQC_UAR_PAGE);
	struct cx_ring ring = {
		.log_page_size = (uint8_t)cx_get(eqc, CX_EQC_LOG_PAGE_SIZE),
		.page_offset = cx_get(eqc, CX_EQC_PAGE_OFFSET),
		.bytes = (uint64_t)sizeof(struct cx_eqe) << log_size,
		.element = sizeof(struct cx_eqe),
		.pas_at = CX_CREATE_EQ_IN_PAS_AT,
	};

	if (log_size > CX_LOG_MAX_EQ_SZ)
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_SIZE);
	if (vector >= CX_MSIX_VECTORS)
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_ATTRIBUTE);
	eq->dev = c->dev;
	eq->log_size = (uint8_t)log_size;
	eq->vector = (uint16_t)vector;
	if (uar >= CX_UAR_FIRST && uar < CX_UAR_PAGES)
		eq->uar_page = uar;
	for (unsigned i = 0; i < UP_ARRAY_SIZE(eq->event_mask); i++)
		eq->event_mask[i] = up_get_be64(c->in + CX_CREATE_EQ_IN_EVENT_BITMASK_AT + i * 8);
	return cx_ring_take(c, &ring, &eq->buf);
}

enum cx_status cx_create_eq(struct cx_cmd *c)
{
	uint32_t eqn = free_number(c->dev);
	enum cx_status status;
	struct cx_eq *eq;

	if (eqn == FIRST_EQN + (1u << CX_LOG_MAX_EQ))
		return cx_fail(c, CX_NO_RES, CX_WHY_TABLE_FULL);
	eq = up_arena_alloc(c->dev->hca.arena, sizeof(*eq));
	if (!eq)
		return cx_fail(c, CX_NO_RES, CX_WHY_NO_MEMORY);
	status = parse(c, eq);
	if (status != CX_OK) {
		up_arena_free(c->dev->hca.arena, eq, sizeof(*eq));
		return status;
	}
	eq->eqn = eqn;
	eq->uid = c->uid;
	up_lock_init(&eq->lock);
	up_world_stop(c->dev->port->fabric);
	c->dev->eqs[eqn] = eq;
	if (!c->dev->cmd_eq && wants_commands(eq))
		c->dev->cmd_eq = eq;
	up_world_start(c->dev->port->fabric);
	cx_set(c->out, CX_EQN, eqn);
	return CX_OK;
}

void cx_eq_free(struct cx_eq *eq)
{
	struct cx_device *dev = eq->dev;

	dev->eqs[eq->eqn] = NULL;
	if (dev->cmd_eq == eq)
		dev->cmd_eq = NULL;
	dev->behind_eqs -= eq->behind;
	cx_ring_drop(dev, &eq->buf);
	cx_eq_drop_events(eq, dev->hca.arena);
	up_arena_free(dev->hca.arena, eq, sizeof(*eq));
}

enum cx_status cx_destroy_eq(struct cx_cmd *c)
{
	struct cx_eq *eq = eq_get(c);

	if (!eq)
		return cx_fail(c, CX_BAD_RES, CX_WHY_NO_EQ);
	if (eq->users)
		return cx_fail(c, CX_RES_BUSY, CX_WHY_IN_USE);
	up_world_stop(c->dev->port->fabric);
	cx_eq_free(eq);
	up_world_start(c->dev->port->fabric);
	return CX_OK;
}

enum cx_status cx_query_eq(struct cx_cmd *c)
{
	uint8_t *eqc = c->out + CX_QUERY_EQ_OUT_EQC_AT;
	const struct cx_eq *eq = eq_get(c);

	if (!eq)
		return cx_fail(c, CX_BAD_RES, CX_WHY_NO_EQ);
	cx_set(eqc, CX_EQC_ST, CX_EQ_ST_ARMED);
	cx_set(eqc, CX_EQC_LOG_EQ_SIZE, eq->log_size);
	cx_set(eqc, CX_EQC_INTR, eq->vector);
	cx_set(eqc, CX_EQC_LOG_PAGE_SIZE, eq->buf.page_shift - CX_PAGE_SHIFT);
	up_world_stop(c->dev->port->fabric);
	cx_set(eqc, CX_EQC_PRODUCER_COUNTER, eq->producer & 0xffffff);
	up_world_start(c->dev->port->fabric);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(eq->event_mask); i++)
		up_put_be64(c->out + CX_QUERY_EQ_OUT_EVENT_BITMASK_AT + i * 8, eq->event_mask[i]);
	return CX_OK;
}
