/* SPDX-License-Identifier: BSD-2-Clause */
#include "fake_cx.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MAX_OBJECTS 4096

struct fake_cx fake;

/* Freed with the device. */
static void *objects[MAX_OBJECTS];
static struct cx_buf *rings[MAX_OBJECTS];
static unsigned nobjects, nrings;

void up_worker_wake(struct up_worker *w)
{
	fake.wakes++;
}

static void kick(struct up_qp *qp)
{
	if (fake.kicks < UP_ARRAY_SIZE(fake.kicked))
		fake.kicked[fake.kicks] = qp;
	fake.kicks++;
}

static uint64_t clock_now(void)
{
	return fake.clock;
}

static const struct up_net_ops net = {.kick = kick, .clock = clock_now};

int fake_setup(void **state)
{
	struct cx_device *dev = &fake.dev;

	memset(&fake, 0, sizeof(fake));
	fake.ram = aligned_alloc(4096, FAKE_RAM);
	memset(fake.ram, 0, FAKE_RAM);
	dev->port = &fake.port;
	dev->hca.arena = up_arena_create();
	dev->hca.name = "fake";
	dev->hca.net = &net;
	dev->hca.pkeys[0] = UP_PKEY_DEFAULT;
	up_mem_init(&dev->hca.mem);
	up_list_init(&dev->watch);
	up_lock_init(&dev->watch_lock);
	up_lock_init(&dev->locate_lock);
	for (unsigned i = 0; i < CX_MSIX_VECTORS; i++)
		dev->vectors[i] = i < FAKE_VECTORS ? eventfd(0, EFD_NONBLOCK) : -1;
	return up_mem_add(&dev->hca.mem, FAKE_GPA, FAKE_RAM, fake.ram, true) ||
	       up_table_init(&dev->hca.mrs, 64, 1) || up_table_init(&dev->hca.qps, 256, 2) ||
	       cx_uar_init(dev);
}

int fake_teardown(void **state)
{
	struct cx_device *dev = &fake.dev;
	uint32_t id = 0;

	for (struct up_mr *mr; (mr = up_table_next(&dev->hca.mrs, &id));)
		up_mr_destroy(&dev->hca, mr);
	while (nrings)
		cx_buf_fini(rings[--nrings], dev->hca.arena);
	while (nobjects)
		free(objects[--nobjects]);
	for (unsigned i = 0; i < FAKE_VECTORS; i++)
		close(dev->vectors[i]);
	cx_uar_fini(dev);
	up_table_fini(&dev->hca.qps);
	up_table_fini(&dev->hca.mrs);
	up_arena_destroy(dev->hca.arena);
	up_mem_fini(&dev->hca.mem);
	free(fake.ram);
	return 0;
}

static void *object(size_t size)
{
	assert_true(nobjects < MAX_OBJECTS);
	objects[nobjects] = calloc(1, size);
	assert_non_null(objects[nobjects]);
	return objects[nobjects++];
}

void *fake_alloc(size_t bytes, size_t align)
{
	size_t at = (fake.used + align - 1) & ~(align - 1);

	assert_true(at + bytes <= FAKE_RAM);
	fake.used = at + bytes;
	return fake.ram + at;
}

uint64_t fake_gpa(const void *at)
{
	return FAKE_GPA + (uint64_t)((const uint8_t *)at - fake.ram);
}

void fake_ring(struct cx_buf *buf, size_t bytes, bool scattered)
{
	size_t npages = (bytes + 4095) / 4096;
	uint8_t *mem = fake_alloc(npages * 4096, 4096);
	uint64_t pages[64];

	assert_true(npages <= UP_ARRAY_SIZE(pages) && nrings < MAX_OBJECTS);
	for (size_t i = 0; i < npages; i++)
		pages[i] = fake_gpa(mem + (scattered ? npages - 1 - i : i) * 4096);
	assert_int_equal(
		cx_buf_init(buf, fake.dev.hca.arena, pages, (uint32_t)npages, 12, 0, bytes), 0);
	cx_buf_refresh(buf, &fake.dev.hca.mem);
	assert_int_equal(buf->flat != NULL, !scattered || npages == 1);
	rings[nrings++] = buf;
}

uint8_t *fake_at(const struct cx_buf *buf, uint64_t off)
{
	uint8_t *at = cx_buf_at(buf, &fake.dev.hca.mem, off, 1);

	assert_non_null(at);
	return at;
}

struct cx_eq *fake_eq(uint32_t eqn, uint16_t vector, uint8_t log_size)
{
	struct cx_eq *eq = object(sizeof(*eq));

	eq->dev = &fake.dev;
	eq->eqn = eqn;
	eq->vector = vector;
	eq->log_size = log_size;
	up_lock_init(&eq->lock);
	eq->epoch = fake.dev.hca.mem.epoch;
	fake_ring(&eq->buf, sizeof(struct cx_eqe) << log_size, false);
	/* MLX5_EQE_OWNER_INIT_VAL */
	for (uint32_t i = 0; i < 1u << log_size; i++)
		*fake_at(&eq->buf, i * sizeof(struct cx_eqe) + offsetof(struct cx_eqe, owner)) = 1;
	fake.dev.eqs[eqn] = eq;
	return eq;
}

uint64_t fake_interrupts(unsigned vector)
{
	uint64_t n = 0;

	return read(fake.dev.vectors[vector], &n, sizeof(n)) == sizeof(n) ? n : 0;
}

const struct cx_eqe *fake_event(const struct cx_eq *eq, uint32_t index)
{
	uint32_t mask = (1u << eq->log_size) - 1;
	const struct cx_eqe *e =
		(const void *)fake_at(&eq->buf, (index & mask) * sizeof(struct cx_eqe));

	assert_int_equal(e->owner, index >> eq->log_size & 1);
	return e;
}

struct cx_cq *fake_cq(struct cx_eq *eq, uint8_t log_size, uint8_t cqe_shift, bool scattered)
{
	struct cx_cq *cq = object(sizeof(*cq));

	cq->base.hca = &fake.dev.hca;
	cq->base.cqn = 0x30 + nobjects;
	cq->dev = &fake.dev;
	cq->eq = eq;
	cq->log_size = log_size;
	cq->cqe_shift = cqe_shift;
	up_lock_init(&cq->base.lock);
	up_list_init(&cq->watch.node);
	cq->epoch = fake.dev.hca.mem.epoch;
	cq->dbr = fake_alloc(8, 8);
	fake_ring(&cq->buf, (size_t)1 << (log_size + cqe_shift), scattered);
	for (uint64_t i = 1; i <= 1u << log_size; i++)
		*fake_at(&cq->buf, (i << cqe_shift) - 1) = CX_CQE_INVALID << CX_CQE_OPCODE_SHIFT;
	return cq;
}

const struct cx_cqe64 *fake_cqe(const struct cx_cq *cq, uint32_t index)
{
	uint64_t place = index & ((1u << cq->log_size) - 1);
	const struct cx_cqe64 *cqe = (const void *)fake_at(
		&cq->buf, ((place + 1) << cq->cqe_shift) - sizeof(struct cx_cqe64));

	if (cqe->op_own >> CX_CQE_OPCODE_SHIFT == CX_CQE_INVALID)
		return NULL;
	return (cqe->op_own & CX_CQE_OWNER) == (index >> cq->log_size & 1) ? cqe : NULL;
}

struct cx_qp *fake_qp(enum up_qp_type type, uint8_t log_sq_size, bool scattered)
{
	struct cx_qp *qp = object(sizeof(*qp));

	qp->dev = &fake.dev;
	qp->base.hca = &fake.dev.hca;
	qp->base.type = type;
	qp->base.pdn = FAKE_PD;
	qp->base.state = UP_QPS_RTS;
	qp->base.has_sq = qp->base.has_rq = true;
	up_sched_init(&qp->base.sched);
	qp->base.qpn = (uint32_t)up_table_add(&fake.dev.hca.qps, &qp->base);
	qp->user_index = 0x123;
	qp->uidx_in_cqe = true;
	qp->uar_page = CX_UAR_FIRST;
	qp->log_rq_size = 4;
	qp->log_rq_stride = 6;
	qp->log_sq_size = log_sq_size;
	qp->sq_offset = 64 << 4;
	qp->epoch = fake.dev.hca.mem.epoch;
	qp->dbr = fake_alloc(8, 8);
	fake_ring(&qp->buf, qp->sq_offset + ((size_t)CX_WQE_BB << log_sq_size), scattered);
	return qp;
}

struct cx_srq *fake_srq(uint8_t log_size, uint8_t log_stride, bool scattered)
{
	struct cx_srq *srq = object(sizeof(*srq));
	uint32_t n = 1u << log_size;

	srq->dev = &fake.dev;
	srq->base.hca = &fake.dev.hca;
	srq->base.srqn = 0x55;
	srq->user_index = 0x77;
	srq->log_size = log_size;
	srq->log_stride = log_stride;
	srq->epoch = fake.dev.hca.mem.epoch;
	srq->dbr = fake_alloc(4, 8);
	fake_ring(&srq->buf, (size_t)n << log_stride, scattered);
	for (uint32_t i = 0; i < n; i++)
		up_put_be16(fake_at(&srq->buf, ((uint64_t)i << log_stride) + 2),
			    (uint16_t)((i + 1) & (n - 1)));
	return srq;
}
