/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A ConnectX device without command interface, sockets or workers: rings and records in plain
 * memory, for tests of what reads and writes them.
 */
#ifndef UP_TESTS_FAKE_CX_H
#define UP_TESTS_FAKE_CX_H

#include "unit.h"

#include "base/bytes.h"
#include "device/connectx/abi_queue.h"
#include "device/connectx/connectx.h"
#include "device/connectx/rings.h"

#define FAKE_RAM (16u << 20)
#define FAKE_GPA UINT64_C(0x40000000)
#define FAKE_PD 7
#define FAKE_VECTORS 2

struct fake_cx {
	struct cx_device dev;
	struct up_port port;
	uint8_t *ram;
	size_t used;
	uint64_t clock; /* ns: what the device is told when it asks */
	/* What the device did to the outside. */
	struct up_qp *kicked[16];
	unsigned kicks, wakes;
};

extern struct fake_cx fake;

/* cmocka's setup and teardown: a fresh device in `fake`. */
int fake_setup(void **state);
int fake_teardown(void **state);

void *fake_alloc(size_t bytes, size_t align);
uint64_t fake_gpa(const void *at);

/* A ring; scattered: of pages in reverse order, so that it is no one stretch. */
void fake_ring(struct cx_buf *buf, size_t bytes, bool scattered);
/* The host address of a byte of a ring. */
uint8_t *fake_at(const struct cx_buf *buf, uint64_t off);

struct cx_eq *fake_eq(uint32_t eqn, uint16_t vector, uint8_t log_size);
/* How often the vector was signalled since the last call. */
uint64_t fake_interrupts(unsigned vector);
/* The next event, which must be there; the caller counts. */
const struct cx_eqe *fake_event(const struct cx_eq *eq, uint32_t index);

struct cx_cq *fake_cq(struct cx_eq *eq, uint8_t log_size, uint8_t cqe_shift, bool scattered);
/* The index-th completion, or NULL while the device owns its place. */
const struct cx_cqe64 *fake_cqe(const struct cx_cq *cq, uint32_t index);

struct cx_qp *fake_qp(enum up_qp_type type, uint8_t log_sq_size, bool scattered);
struct cx_srq *fake_srq(uint8_t log_size, uint8_t log_stride, bool scattered);

#endif
