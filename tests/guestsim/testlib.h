/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the simulated guest's tests share: a daemon for a group of tests, two VMs with a connected
 * pair of QPs for one test, and short forms of common requests.
 */
#ifndef TESTLIB_H
#define TESTLIB_H

#include "guestsim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* The group's daemon. tl_start() and tl_stop() are group set-up and tear-down. */
extern struct gs_daemon tl_daemon;
/*
 * Set before cmocka_run_group_tests(). Default: two ports. GS_WORKERS in the environment sets the
 * number of workers, GS_TEST the tests to run.
 */
extern struct gs_daemon_opts tl_opts;
int tl_start(void **state);
int tl_stop(void **state);
/* To be first in main(): failures of the library become failures of the test. */
void tl_init(void);

#define TL_BUF (16u << 20)

/* One end: a QP with its queues, and a registered buffer. */
struct side {
	struct gs_vm *vm;
	struct gs_pd *pd;
	struct gs_cq *scq, *rcq;
	struct gs_qp *qp;
	uint8_t *buf; /* TL_BUF bytes */
	struct gs_mr *mr;
};

struct pair {
	struct side a, b;
};

/* VM, PD, CQs and buffer, with every right, but no QP. */
void tl_side_open(struct side *s, unsigned port);
/* The same in the VM that is there. */
void tl_side_fill(struct side *s);
void tl_side_close(struct side *s);
void tl_side_qp(struct side *s, enum gs_qp_type type);

/* Test set-up and tear-down: *state is a struct pair on ports 0 and 1. The QPs are RC and up. */
int tl_pair_open(void **state);
/* Without QPs. */
int tl_sides_open(void **state);
int tl_pair_close(void **state);
/* Makes QPs of this type on both sides and connects them; destroys those that were there. */
void tl_connect(struct pair *p, enum gs_qp_type type, const struct gs_link *l);
/* The same by attributes of the caller's making, whose CQs are filled in. */
void tl_connect_attr(struct pair *p, const struct gs_qp_attr *attr, const struct gs_link *l);

/* Retries that give up after some tens of milliseconds, none for a missing receive. */
struct gs_link tl_quick_link(void);
/* As tl_pair_open(), with such QPs. */
int tl_quick_open(void **state);
/* New QPs of that kind; forgets events, and fails unless messages pass. */
void tl_reconnect(struct pair *p);

/* One of a's, signalled, with `sge` alone, to the start of b's buffer; for changing, and posting.
 */
struct gs_send_wr tl_request(struct pair *p, uint8_t op, struct gs_sge *sge);

/* Posts. Offsets are into the sides' buffers; wr_id is the local offset. */
void tl_recv(struct side *s, size_t off, size_t len);
void tl_send(struct side *s, size_t off, size_t len);
void tl_rdma(struct side *s, uint8_t op, size_t off, size_t len, const struct side *peer,
	     size_t peer_off);
/*
 * From or to the start of a's buffer, by a key and an address of the caller's: the status it ends
 * with. An atomic operation adds 5.
 */
uint8_t tl_rdma_key(struct pair *p, uint8_t op, uint32_t key, uint64_t addr, size_t len);
/* A SEND from s to peer, both completions awaited and checked. */
void tl_send_recv(struct side *s, struct side *peer, size_t len);
/* Fails unless a SEND passes: that the other end and the daemon are well. */
void tl_ping(struct pair *p);

/* Bytes that depend on the seed and their place. */
void tl_fill(void *p, size_t len, uint64_t seed);
void tl_check(const void *p, size_t len, uint64_t seed);
/* Fails unless all bytes are `value`. */
void tl_check_same(const void *p, size_t len, uint8_t value);

#endif
