/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Adapters without a device ABI, for tests of the engine: requests are posted to arrays and
 * completions collected in arrays. Every adapter can reach every other by its LID.
 */
#ifndef UP_TESTS_FAKE_HCA_H
#define UP_TESTS_FAKE_HCA_H

#include "base/bytes.h"
#include "engine/exec.h"

#define FAKE_RAM (4u << 20)
#define FAKE_GPA 0x100000ull
#define FAKE_DEPTH 64
#define FAKE_PD 7

struct fake_cq {
	struct up_cq base;
	struct up_wc wc[4 * FAKE_DEPTH];
	unsigned count;
	bool full; /* the next completion is lost */
};

struct fake_srq {
	struct up_srq base;
	struct up_recv_wr wr[FAKE_DEPTH];
	unsigned posted, taken;
	int error; /* what srq_take answers instead, when not 0 */
	unsigned events[UP_EV_PORT_DOWN + 1];
};

struct fake_qp {
	struct up_qp base;
	struct up_send_wr *sends[FAKE_DEPTH];
	unsigned sq_posted, sq_taken;
	struct up_recv_wr recvs[FAKE_DEPTH];
	unsigned rq_posted, rq_taken;
	int sq_error; /* what sq_fetch answers instead, when not 0 */
	unsigned events[UP_EV_PORT_DOWN + 1];
	unsigned kicks;
};

struct fake_hca {
	struct up_hca base;
	uint8_t *ram;	   /* FAKE_RAM bytes, at guest-physical FAKE_GPA */
	struct up_mr *all; /* physical key with every right, in FAKE_PD */
	struct fake_cq *cq;
};

extern struct up_exec *fake_exec;

/* LIDs 1 and 2. */
void fake_world_create(struct fake_hca **a, struct fake_hca **b);
void fake_world_destroy(struct fake_hca *a, struct fake_hca *b);
/* One alone: for up_port_attach(), which connects it. */
struct fake_hca *fake_hca_create(uint16_t lid);
void fake_hca_destroy(struct fake_hca *h);

struct fake_qp *fake_qp_create(struct fake_hca *hca, enum up_qp_type type, struct fake_srq *srq);
void fake_qp_destroy(struct fake_qp *qp);
/* Both to RTS and towards each other, with every remote right. */
void fake_connect(struct fake_qp *a, struct fake_qp *b);
/* One end only, as far as `state`. */
void fake_raise(struct fake_qp *qp, struct fake_qp *peer, enum up_qp_state state);

/* A queue pair at each of the two adapters, connected. */
struct fake_pair {
	struct fake_hca *ha, *hb;
	struct fake_qp *a, *b;
};

struct fake_pair *fake_pair_create(enum up_qp_type type);
/* For cmocka: the pair is *state. */
int fake_pair_teardown(void **state);

struct fake_srq *fake_srq_create(struct fake_hca *hca, bool xrc);
void fake_srq_destroy(struct fake_srq *srq);

/* A signalled request over `len` bytes at offset `off` of the adapter's RAM. */
struct up_send_wr *fake_post(struct fake_qp *qp, enum up_opcode op, uint64_t off, uint32_t len);
/* The same in two steps, for a queue that another thread runs: it may change up to the second. */
struct up_send_wr *fake_prepare(struct fake_qp *qp, enum up_opcode op, uint64_t off, uint32_t len);
void fake_submit(struct fake_qp *qp);
/* Of a, at offset `remote` of the other adapter's RAM. */
struct up_send_wr *fake_post_remote(struct fake_pair *p, enum up_opcode op, uint64_t off,
				    uint32_t len, uint64_t remote);
void fake_recv(struct fake_qp *qp, uint64_t off, uint32_t len);
void fake_srq_recv(struct fake_srq *srq, uint64_t off, uint32_t len);

/* Runs the QP until it has nothing to do or waits. */
enum up_run fake_run(struct fake_qp *qp);
enum up_run fake_run_at(struct fake_qp *qp, uint64_t now);

/* The only completion, which must be there; empties the queue. */
struct up_wc fake_wc(struct fake_hca *hca);

#endif
