/* SPDX-License-Identifier: BSD-2-Clause */
/* Commands on completion queues. */
#include "device/connectx/cmd.h"

#include "device/connectx/abi_queue.h"

#include <errno.h>

static_assert(sizeof(((struct cx_cq *)0)->raw_ctx) == CX_CQC_BYTES, "a context fits");

static struct cx_cq *cq_get(struct cx_cmd *c)
{
	struct cx_cq *cq = up_table_get(&c->dev->cqs, cx_cmd_object(c));

	return cx_found(c, cq, CX_WHY_NO_CQ) && cx_acts_on(c, cq->uid) ? cq : NULL;
}

struct up_cq *cx_cq_find(struct cx_cmd *c, uint32_t cqn)
{
	struct cx_cq *cq = up_table_get(&c->dev->cqs, cqn);

	return cx_found(c, cq, CX_WHY_NO_CQ) && cx_refers_to(c, cq->uid) ? &cq->base : NULL;
}

/* The ring of a CQ context; CREATE_CQ and MODIFY_CQ have context, umem and list at the same place.
 */
static enum cx_status take_ring(struct cx_cmd *c, const uint8_t *cqc, struct cx_buf *buf,
				uint8_t *log_size, uint8_t *cqe_shift)
{
	uint32_t size = cx_get(cqc, CX_CQC_LOG_CQ_SIZE), cqe_sz = cx_get(cqc, CX_CQC_CQE_SZ);
	struct cx_ring ring = {
		.log_page_size = (uint8_t)cx_get(cqc, CX_CQC_LOG_PAGE_SIZE),
		.page_offset = cx_get(cqc, CX_CQC_PAGE_OFFSET),
		.pas_at = CX_CREATE_CQ_IN_PAS_AT,
		.umem = {.valid = cx_get(c->in, CX_CREATE_CQ_IN_CQ_UMEM_VALID),
			 .writes = true,
			 .id = cx_get(c->in, CX_CREATE_CQ_IN_CQ_UMEM_ID),
			 .offset = cx_get64(c->in, CX_CREATE_CQ_IN_CQ_UMEM_OFFSET)},
	};

	static_assert(CX_CREATE_CQ_IN_PAS_AT == CX_MODIFY_CQ_IN_PAS_AT, "page lists of CQs");
	if (size > CX_LOG_MAX_CQ_SZ)
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_SIZE);
	if (cqe_sz > CX_CQE_SZ_128)
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_TYPE);
	*log_size = (uint8_t)size;
	*cqe_shift = cqe_sz == CX_CQE_SZ_128 ? 7 : 6;
	ring.element = 1u << *cqe_shift;
	ring.bytes = (uint64_t)ring.element << size;
	return cx_ring_take(c, &ring, buf);
}

static enum cx_status parse(struct cx_cmd *c, struct cx_cq *cq)
{
	const uint8_t *cqc = c->in + CX_CREATE_CQ_IN_CQC_AT;
	uint32_t eqn = cx_get(cqc, CX_CQC_EQN);
	struct cx_record dbr = {
		.bytes = CX_DBR_BYTES,
		.umem = {.valid = cx_get(cqc, CX_CQC_DBR_UMEM_VALID),
			 .id = cx_get(cqc, CX_CQC_DBR_UMEM_ID),
			 .offset = cx_get64(cqc, CX_CQC_DBR_ADDR)},
	};
	enum cx_status status;

	c->raw = c->uid && (dbr.umem.valid || cx_get(c->in, CX_CREATE_CQ_IN_CQ_UMEM_VALID));
	cq->eq = eqn < CX_MAX_EQ ? c->dev->eqs[eqn] : NULL;
	if (!cx_found(c, cq->eq, CX_WHY_NO_EQ) || !cx_refers_to(c, cq->eq->uid))
		return CX_BAD_RES;
	status = cx_dbr_take(c, &dbr, &cq->dbr_gpa, &cq->dbr_umem);
	if (status != CX_OK)
		return status;
	cq->dev = c->dev;
	cq->base.hca = &c->dev->hca;
	cq->overrun_ignore = cx_get(cqc, CX_CQC_OI);
	cq->collapsed = cx_get(cqc, CX_CQC_CC);
	cq->moderation_us = (uint16_t)cx_get(cqc, CX_CQC_CQ_PERIOD);
	cq->moderation_count = (uint16_t)cx_get(cqc, CX_CQC_CQ_MAX_COUNT);
	memcpy(cq->raw_ctx, cqc, sizeof(cq->raw_ctx));
	up_lock_init(&cq->base.lock);
	up_list_init(&cq->watch.node);
	status = take_ring(c, cqc, &cq->buf, &cq->log_size, &cq->cqe_shift);
	if (status != CX_OK)
		cx_umem_put(c->dev, cq->dbr_umem);
	return status;
}

/*
 * Drivers that leave the record zero store that again when they arm for the first time. So that one
 * can be told from a queue that is never armed, whose driver takes an event for a bug, the record
 * gets the value with which newer ones begin. None reads it. Not in a umem, which may be memory
 * that its process can only read; processes take events as they come.
 */
static void init_record(struct cx_cq *cq)
{
	uint32_t *dbr = up_mem_at(&cq->dev->hca.mem, cq->dbr_gpa, CX_DBR_BYTES, true);
	uint32_t zero = 0;

	if (dbr && !cq->dbr_umem)
		__atomic_compare_exchange_n(&dbr[CX_DBR_CQ_ARM], &zero, htobe32(CX_ARM_INIT), false,
					    __ATOMIC_RELEASE, __ATOMIC_RELAXED);
}

static void drop_memory(struct cx_cq *cq)
{
	cx_ring_drop(cq->dev, &cq->buf);
	cx_umem_put(cq->dev, cq->dbr_umem);
}

static enum cx_status publish(struct cx_cmd *c, struct cx_cq *cq)
{
	int64_t cqn;

	up_world_stop(c->dev->port->fabric);
	cqn = up_table_add(&c->dev->cqs, cq);
	if (cqn >= 0) {
		cq->base.cqn = (uint32_t)cqn;
		init_record(cq);
		cq->eq->users++;
		cq->uid = cx_own(c);
	}
	up_world_start(c->dev->port->fabric);
	if (cqn < 0)
		return cx_fail(c, CX_NO_RES, CX_WHY_TABLE_FULL);
	cx_set(c->out, CX_OUT_OBJECT, cq->base.cqn);
	return CX_OK;
}

enum cx_status cx_create_cq(struct cx_cmd *c)
{
	struct cx_cq *cq = up_arena_alloc(c->dev->hca.arena, sizeof(*cq));
	enum cx_status status;

	if (!cq)
		return cx_fail(c, CX_NO_RES, CX_WHY_NO_MEMORY);
	status = parse(c, cq);
	if (status == CX_OK) {
		status = publish(c, cq);
		if (status != CX_OK)
			drop_memory(cq);
	}
	if (status != CX_OK)
		up_arena_free(c->dev->hca.arena, cq, sizeof(*cq));
	return status;
}

void cx_cq_free(struct cx_cq *cq)
{
	cx_cq_forget(cq);
	cq->eq->users--;
	up_table_del(&cq->dev->cqs, cq->base.cqn);
	cx_disown(cq->dev, cq->uid);
	drop_memory(cq);
	up_arena_free(cq->dev->hca.arena, cq, sizeof(*cq));
}

enum cx_status cx_destroy_cq(struct cx_cmd *c)
{
	struct cx_cq *cq = cq_get(c);

	if (!cq)
		return CX_BAD_RES;
	if (cq->base.users)
		return cx_fail(c, CX_RES_BUSY, CX_WHY_IN_USE);
	up_world_stop(c->dev->port->fabric);
	cx_cq_free(cq);
	up_world_start(c->dev->port->fabric);
	return CX_OK;
}

enum cx_status cx_query_cq(struct cx_cmd *c)
{
	uint8_t *cqc = c->out + CX_QUERY_CQ_OUT_CQC_AT;
	struct cx_cq *cq = cq_get(c);

	if (!cq)
		return CX_BAD_RES;
	memcpy(cqc, cq->raw_ctx, sizeof(cq->raw_ctx));
	up_world_stop(c->dev->port->fabric);
	cx_cq_locate(cq);
	cx_set(cqc, CX_CQC_STATUS, cq->base.failed ? CX_CQ_STATUS_OVERFLOW : CX_CQ_STATUS_OK);
	cx_set(cqc, CX_CQC_ST, CX_CQ_ST_ARMED);
	cx_set(cqc, CX_CQC_PRODUCER_COUNTER, cq->producer & CX_CQ_CI_MASK);
	cx_set(cqc, CX_CQC_LAST_SOLICIT_INDEX, cq->watch.solicited_producer & CX_CQ_CI_MASK);
	if (cq->dbr)
		cx_set(cqc, CX_CQC_CONSUMER_COUNTER,
		       up_fetch_be32(&cq->dbr[CX_DBR_CQ_CI]) & CX_CQ_CI_MASK);
	up_world_start(c->dev->port->fabric);
	return CX_OK;
}

static enum cx_status switch_failed(struct cx_cmd *c, int err)
{
	if (err == -EFAULT)
		return cx_fail(c, CX_BAD_RES_STATE, CX_WHY_STATE);
	return cx_fail(c, CX_BAD_OUTS_CQES, CX_WHY_OUTSTANDING);
}

/*
 * The driver copies what it has not read from the old ring, up to the entry that says that the
 * queue was resized: cx_cq_switch() writes that one before the command completes.
 */
static enum cx_status resize(struct cx_cmd *c, struct cx_cq *cq, const uint8_t *cqc)
{
	uint64_t old_list = cq->buf.npages * sizeof(*cq->buf.pages);
	uint32_t old_umem = cq->buf.umem;
	uint8_t log_size, cqe_shift;
	enum cx_status status;
	int err;

	c->raw = c->uid && cx_get(c->in, CX_CREATE_CQ_IN_CQ_UMEM_VALID);
	status = take_ring(c, cqc, &cq->resize_buf, &log_size, &cqe_shift);
	if (status != CX_OK)
		return status;
	up_world_stop(c->dev->port->fabric);
	err = cx_cq_switch(cq, log_size, cqe_shift);
	up_world_start(c->dev->port->fabric);
	if (err) {
		cx_ring_drop(c->dev, &cq->resize_buf);
		return switch_failed(c, err);
	}
	c->dev->list_bytes -= old_list;
	cx_umem_put(c->dev, old_umem);
	cx_set(cq->raw_ctx, CX_CQC_LOG_CQ_SIZE, log_size);
	cx_set(cq->raw_ctx, CX_CQC_CQE_SZ, cx_get(cqc, CX_CQC_CQE_SZ));
	cx_set(cq->raw_ctx, CX_CQC_LOG_PAGE_SIZE, cx_get(cqc, CX_CQC_LOG_PAGE_SIZE));
	cx_set(cq->raw_ctx, CX_CQC_PAGE_OFFSET, cx_get(cqc, CX_CQC_PAGE_OFFSET));
	return CX_OK;
}

static void set_moderation(struct cx_cq *cq, const uint8_t *cqc, uint32_t select)
{
	if (select & CX_MODIFY_CQ_PERIOD) {
		cq->moderation_us = (uint16_t)cx_get(cqc, CX_CQC_CQ_PERIOD);
		cx_set(cq->raw_ctx, CX_CQC_CQ_PERIOD, cq->moderation_us);
	}
	if (select & CX_MODIFY_CQ_COUNT) {
		cq->moderation_count = (uint16_t)cx_get(cqc, CX_CQC_CQ_MAX_COUNT);
		cx_set(cq->raw_ctx, CX_CQC_CQ_MAX_COUNT, cq->moderation_count);
	}
	if (select & CX_MODIFY_CQ_OVERRUN) {
		cq->overrun_ignore = cx_get(cqc, CX_CQC_OI);
		cx_set(cq->raw_ctx, CX_CQC_OI, cq->overrun_ignore);
	}
}

enum cx_status cx_modify_cq(struct cx_cmd *c)
{
	const uint8_t *cqc = c->in + CX_MODIFY_CQ_IN_CQC_AT;
	struct cx_cq *cq = cq_get(c);

	if (!cq)
		return CX_BAD_RES;
	if (c->op_mod == CX_MODIFY_CQ_OP_RESIZE)
		return resize(c, cq, cqc);
	if (c->op_mod != CX_MODIFY_CQ_OP_MODIFY)
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_TYPE);
	up_world_stop(c->dev->port->fabric);
	set_moderation(cq, cqc, cx_get(c->in, CX_MODIFY_CQ_IN_FIELD_SELECT));
	up_world_start(c->dev->port->fabric);
	return CX_OK;
}
