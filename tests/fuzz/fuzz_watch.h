/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The witness of fuzz_wqe.c: stands between engine and device, keeps a copy of each element at the
 * moment when the device takes it, and judges each completion and, at the end, all memory.
 */
#ifndef UP_TESTS_FUZZ_WATCH_H
#define UP_TESTS_FUZZ_WATCH_H

#include "fuzz_model.h"

enum vm_name { ATTACKER, VICTIM, STRANGER, NR_VMS };

enum qp_name {
	QP_RC,
	QP_RC_SRQ, /* its receives come from QUEUE_SRQ */
	QP_UC,
	QP_UD,
	QP_XRC,
	QP_XRC_TARGET, /* of the other's QP_XRC */
	QP_STRANGER,   /* the attacker's to the stranger and the stranger's to the attacker */
	NR_QPS
};

/* What a QP takes from its peer, CX_MKEY_RR ...: two of the victim's do not take everything. */
uint8_t watch_rights(enum vm_name who, enum qp_name qp);

enum queue_name { QUEUE_RC, QUEUE_UC, QUEUE_UD, QUEUE_SRQ, QUEUE_XRC, NR_QUEUES };

#define WATCH_RECEIVES (1u << FUZZ_LOG_RQ)
/* The buffers of the victim's receives, one after the other in KEY_LOCAL. */
#define WATCH_SLOT 64u

/* The latest request of a QP that the device took. */
struct watch_request {
	uint8_t bytes[1024];
	uint32_t len;
	uint64_t epoch;
};

struct watch_receive {
	uint8_t bytes[1 << FUZZ_LOG_RQ_STRIDE];
	uint32_t len;
};

/* A receive of the victim, posted once. */
struct watch_slot {
	bool taken, completed;
	bool success;
	uint32_t len; /* then: bytes of the message in it */
};

struct watch {
	struct model_vm *vms;
	uint32_t qpn[NR_VMS][NR_QPS], srqn[NR_VMS][2];
	uint8_t shadow[NR_VMS][FUZZ_RAM]; /* memory as the guests left it */
	struct watch_request request[NR_VMS][NR_QPS];
	struct watch_receive receive[NR_VMS][NR_QUEUES];
	struct watch_slot slot[NR_QUEUES][WATCH_RECEIVES];
	/* Counts what may change the data of a request under way: other requests, and the guests.
	 */
	uint64_t epoch;
};

/* Of a watch whose VMs are to be made. */
void watch_init(struct watch *w, struct model_vm *vms);
/* All is connected: posts receives for all but the attacker, and begins to watch. */
void watch_begin(struct watch *w);
void watch_end(struct watch *w);

/* A guest stores into its own memory. */
void watch_store(struct watch *w, enum vm_name who, uint8_t *at, const void *bytes, size_t n);
void watch_store_be32(struct watch *w, enum vm_name who, uint8_t *at, uint32_t value);

/* The n-th element of a receive queue, and the number of its record. */
uint8_t *watch_receive_at(const struct watch *w, enum vm_name who, enum queue_name q, unsigned n);
unsigned watch_record(enum queue_name q);

#endif
