/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Virtual machines for fuzzers: a whole device over plain memory, without sockets and threads, and
 * as much of a driver as it takes to bring it up.
 *
 * fuzz_world.c stands in for the workers, fuzz_vm.c for the vfio-user server: what QEMU would ask
 * of the device goes straight to its operations. The same input always leads to the same calls.
 */
#ifndef UP_TESTS_FUZZ_VM_H
#define UP_TESTS_FUZZ_VM_H

#include "fuzz.h"

#include "device/connectx/abi_queue.h"
#include "device/connectx/cmd.h"

/* Memory: guest-physical from FUZZ_GPA on, between pages that nothing may touch. */
#define FUZZ_PAGE 4096u
#define FUZZ_PAGES 64u
#define FUZZ_RAM (FUZZ_PAGES * FUZZ_PAGE)
#define FUZZ_GPA 0x100000ull

/* A second range, which may only be read: a store there ends the run. */
#define FUZZ_ROM FUZZ_PAGE
#define FUZZ_ROM_GPA 0x400000ull

/* Where a driver of ours keeps its things, in pages. Those behind are the fuzzer's. */
enum fuzz_page {
	FUZZ_CMDQ = 0,	  /* the command queue */
	FUZZ_BOXES = 1,	  /* mailboxes, FUZZ_BOX_BYTES each: first input's, then output's */
	FUZZ_RECORDS = 9, /* doorbell records, FUZZ_RECORD_BYTES each */
	FUZZ_EQ = 10,
	FUZZ_CQ = 12,
	FUZZ_QP = 16,  /* a page each */
	FUZZ_SRQ = 28, /* a page each */
	FUZZ_FREE = 32,
};

enum {
	FUZZ_BOX_BYTES = 1024,
	FUZZ_NBOXES = 16, /* each way */
	FUZZ_RECORD_BYTES = 64,
	FUZZ_LOG_CQ = 8,
	FUZZ_LOG_RQ = 4,
	FUZZ_LOG_RQ_STRIDE = 6,
	FUZZ_SQ_OFFSET = 1 << (FUZZ_LOG_RQ + FUZZ_LOG_RQ_STRIDE),
	FUZZ_LOG_SQ = 5,
	FUZZ_LOG_SRQ = 4,
	FUZZ_QKEY = 0x1234,
};

struct fuzz_vm {
	struct up_port *port;
	struct cx_device *dev;
	struct up_vfio_server *server;
	const struct up_vfio_dev_ops *ops; /* the device's; their argument is dev */
	uint8_t *ram;
	uint8_t *rom;
	uint32_t uar, pdn, eqn, cqn; /* after fuzz_vm_start() */
};

/* The worker: rounds of all ports, step_ns apart. */
void fuzz_run(unsigned rounds, uint64_t step_ns);
uint64_t fuzz_now(void);

void fuzz_world_create(void);
void fuzz_world_destroy(void);

/* A VM with memory of zeroes. At its end every object that it had must be gone. */
void fuzz_vm_create(struct fuzz_vm *vm, const char *name, const char *tenant);
void fuzz_vm_destroy(struct fuzz_vm *vm);

/* What the guest's processor does. */
void fuzz_vm_write_reg(struct fuzz_vm *vm, uint32_t off, uint32_t value);
void fuzz_vm_write_config(struct fuzz_vm *vm, uint32_t off, uint32_t value);

static inline uint8_t *fuzz_at(const struct fuzz_vm *vm, unsigned page, uint32_t off)
{
	return vm->ram + page * FUZZ_PAGE + off;
}

static inline uint64_t fuzz_gpa(unsigned page)
{
	return FUZZ_GPA + (uint64_t)page * FUZZ_PAGE;
}

static inline uint8_t *fuzz_record(const struct fuzz_vm *vm, unsigned i)
{
	return fuzz_at(vm, FUZZ_RECORDS, i * FUZZ_RECORD_BYTES);
}

/*
 * Executes a command through the queue and mailboxes: in_len and out_len are what the slot says,
 * of which `have` bytes are at `in` (more are zero) and up to `want` come back in `out`. Mailboxes
 * are used again in a circle when there are too few. The delivery status.
 */
struct fuzz_command {
	const uint8_t *in;
	uint8_t *out;
	uint32_t have, want, in_len, out_len;
};
uint8_t fuzz_vm_command(struct fuzz_vm *vm, const struct fuzz_command *c);

/*
 * The driver. Commands that must succeed; those that make an object return its number.
 * fuzz_vm_enable() tells the device where the command queue is, and no more.
 */
void fuzz_vm_enable(struct fuzz_vm *vm);
/* Up to an active port, with an EQ, and a CQ at FUZZ_CQ with record 0. */
void fuzz_vm_start(struct fuzz_vm *vm);
uint32_t fuzz_vm_alloc(struct fuzz_vm *vm, uint16_t opcode);

/* A key with an index of its own and the variant 0x42; NULL entries: free, to be registered. */
struct fuzz_key {
	uint32_t pdn;
	uint8_t mode;	/* CX_MKC_MODE_* */
	uint8_t access; /* CX_MKEY_LR ... of struct cx_mkey_seg.flags, CX_MKEY_UMR_EN */
	bool remote_inv;
	uint64_t start, len;
	const void *entries; /* as in the command */
	uint32_t count;	     /* of them */
};
uint32_t fuzz_vm_key(struct fuzz_vm *vm, const struct fuzz_key *key);

/* SRQ number i: its page and record follow. */
uint32_t fuzz_vm_srq(struct fuzz_vm *vm, unsigned i, uint32_t xrcd);

/* QP number i: its page, record (1 + i) and user index follow. */
struct fuzz_qp {
	uint8_t service; /* CX_QPST_* */
	bool no_sq;
	uint32_t srqn, xrcd; /* 0: none */
};
uint32_t fuzz_vm_qp(struct fuzz_vm *vm, unsigned i, const struct fuzz_qp *qp);
#define FUZZ_RIGHTS (CX_MKEY_RR | CX_MKEY_RW | CX_MKEY_A)
/* To ready-to-send, towards `remote_qpn` at `lid`, which may do what `rights` has. */
void fuzz_vm_connect(struct fuzz_vm *vm, uint32_t qpn, uint16_t lid, uint32_t remote_qpn,
		     uint8_t rights);
/* The QP joins a multicast group. */
void fuzz_vm_join(struct fuzz_vm *vm, uint32_t qpn, const uint8_t gid[16]);

#endif
