/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guests that talk to the subnet manager of their tenant, for its tests: real workers, and adapters
 * without a device ABI (fake_hca.h) with QP0 and QP1. A worker that nobody wakes sleeps for an
 * hour, so that a lost one hangs; time passes when the test says so.
 *
 * Offsets and values are those of the InfiniBand specification's tables, volume 1, and written out
 * here once more: nothing is taken from the code under test.
 */
#ifndef UP_TESTS_SA_RIG_H
#define UP_TESTS_SA_RIG_H

#include "fabric/fabric_private.h"
#include "fake_hca.h"

#include <semaphore.h>

#define SA_GUESTS 12
#define SA_MSEC 1000000ull
#define SA_SEC (1000 * SA_MSEC)

/* 13.4.3, 13.6.2.1 and 15.2.1.1: where the fields of a MAD lie. */
enum {
	AT_BASE = 0,
	AT_CLASS = 1,
	AT_CLASS_VERSION = 2,
	AT_METHOD = 3,
	AT_STATUS = 4,
	AT_TID = 8,
	AT_ATTRIBUTE = 16,
	AT_MODIFIER = 20,
	AT_RMPP_VERSION = 24,
	AT_RMPP_TYPE = 25,
	AT_RMPP_FLAGS = 26,
	AT_SEGMENT = 28,
	AT_LENGTH = 32, /* in an ACK: the last segment of the window */
	AT_SM_KEY = 36,
	AT_RECORD_WORDS = 44,
	AT_MASK = 48,
	AT_RECORD = 56,
	AT_SMP_DATA = 64, /* 14.2.1.1 and 16.1.1: of the other classes */
};

/* 15.2.2, 15.2.3 and 15.2.5 */
enum { GET = 0x01, SET = 0x02, GET_TABLE = 0x12, DELETE = 0x15 };
enum {
	OK = 0,
	NO_RESOURCES = 0x100,
	INVALID = 0x200,
	NO_RECORDS = 0x300,
	TOO_MANY = 0x400,
	MISSING = 0x600
};
enum {
	CLASS_PORT_INFO = 0x01,
	NODE_RECORD = 0x11,
	PORT_INFO_RECORD = 0x12,
	SM_INFO_RECORD = 0x18,
	SERVICE_RECORD = 0x31,
	PATH_RECORD = 0x35,
	MC_MEMBER_RECORD = 0x38,
};

/* 15.2.5.16: where the fields of a path lie, and that its ends are named. */
enum {
	PATH_DGID = 8,
	PATH_SGID = 24,
	PATH_DLID = 40,
	PATH_SLID = 42,
	PATH_REVERSIBLE = 49,
	PATH_PKEY = 50,
	PATH_SL = 52,
	PATH_MTU = 54,
	PATH_RATE = 55,
	PATH_LIFE = 56,
	PATH_BYTES = 64,
};
enum { PATH_HAS_DGID = 1 << 2, PATH_HAS_SGID = 1 << 3 };

/* The same: how a value is asked for, above it in its byte. */
enum { GREATER = 0 << 6, LESS = 1 << 6, EXACTLY = 2 << 6, LARGEST = 3 << 6 };

extern const uint8_t sa_broadcast[16]; /* IPoIB's group of everyone: RFC 4391, section 4 */

struct sa_guest {
	struct up_port *port;
	struct fake_hca *hca;
	struct fake_qp *qp[2];
	sem_t came;	     /* posted for each datagram that arrived at QP1 */
	unsigned came_count; /* atomic */
	unsigned taken;
	struct up_wc wc[FAKE_DEPTH];
	uint64_t tid;
	uint8_t mad[256]; /* the next to send */
	uint8_t got[256]; /* the last that came */
};

extern struct sa_rig {
	struct up_fabric *fabric;
	struct sa_guest guest[SA_GUESTS];
} rig;

/* A fabric with guests 0 to 2 in one tenant and 3 in another, all active. */
int sa_rig_setup(unsigned workers);
int sa_rig_teardown(void **state);

/* Those not there yet, with a port that has the guest's number in its name; or as it was. */
void sa_guest_create(unsigned i, const char *tenant);
void sa_guest_attach(struct sa_guest *g);
void sa_guest_detach(struct sa_guest *g);
void sa_guest_destroy(struct sa_guest *g);

/* Time passes, and the manager of the guest's tenant notices. */
void sa_clock_advance(struct sa_guest *g, uint64_t ns);

/* Makes g->mad a request with a transaction ID of its own; returns where its record begins. */
uint8_t *sa_prepare(struct sa_guest *g, uint8_t method, uint16_t attribute, uint64_t mask);
/* g->mad, or the first `bytes` from there, to a queue pair of the manager. */
void sa_send(struct sa_guest *g);
struct up_send_wr *sa_send_from(struct sa_guest *g, unsigned qpn, uint32_t bytes);
/* Waits for the next datagram, which is left in g->got; its completion. */
struct up_wc sa_receive(struct sa_guest *g);
/* Sends g->mad and waits for its response: the status, with all else of the header checked. */
unsigned sa_call(struct sa_guest *g);
/* Nothing is on its way to the guest: the next that comes is what it asks for now. */
void sa_expect_silence(struct sa_guest *g);

/* An acknowledgement of `segment`, as answer to the last that came. */
void sa_ack(struct sa_guest *g, uint32_t segment, uint32_t window);
/* Sends g->mad, a GetTable, and takes in all of its response, which is returned for free(). */
uint8_t *sa_call_table(struct sa_guest *g, size_t *records);

void sa_put_gid(uint8_t *at, const struct sa_guest *g);

#endif
