/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A whole ConnectX device on a real fabric, with a guest's memory and no client behind its socket:
 * for tests of its registers and commands, which go the way that a driver's go.
 */
#ifndef UP_TESTS_CX_RIG_H
#define UP_TESTS_CX_RIG_H

#include "unit.h"

#include "device/connectx/abi.h"
#include "device/connectx/abi_queue.h"
#include "device/connectx/connectx.h"

#define RIG_RAM (16u << 20)
#define RIG_GPA UINT64_C(0x100000)

struct rig {
	struct up_fabric *fabric;
	struct up_port *port;
	struct cx_device *dev;
	uint8_t *ram;
	uint64_t next;		     /* free guest memory begins here */
	uint64_t cmdq;		     /* guest-physical */
	uint8_t in[8192], out[8192]; /* of the next command; in[] is zeroed by rig_begin() */
	uint32_t in_len, out_len;
	uint16_t uid; /* that rig_begin() puts in each command; 0: the kernel's */
};

extern struct rig rig;

/* cmocka's setup and teardown. The first leaves the device as after power-on. */
int rig_setup(void **state);
/* As rig_setup(), and the driver has come as far as INIT_HCA. */
int rig_setup_running(void **state);
int rig_teardown(void **state);

/* Zeroed guest memory, aligned to 4096. */
uint64_t rig_alloc(uint64_t bytes);
void *rig_at(uint64_t gpa);

uint32_t rig_read(uint32_t reg);
void rig_write(uint32_t reg, uint32_t value);
/* The doorbell of these command slots, and as many turns as the commands take. */
void rig_ring(uint32_t slots);
/* Tells the device where its command queue is. */
void rig_start_queue(void);

/* An empty command with in[] of in_len bytes; out[] as large as there is. */
void rig_begin(uint16_t opcode, uint16_t op_mod, uint32_t in_len);
/* Sends it: the delivery status. The device must have let go of the slot. */
uint8_t rig_deliver(void);
/* Sends it, delivered well: the command's status. */
uint32_t rig_send(void);
/* The same, which must be CX_OK. */
#define rig_ok() assert_int_equal(rig_send(), CX_OK)
/* The same, which must fail so and for this reason. */
#define rig_fails(status, why)                                                                     \
	do {                                                                                       \
		assert_int_equal(rig_send(), status);                                              \
		assert_int_equal(cx_get(rig.out, CX_OUT_SYNDROME), why);                           \
	} while (0)

/* A command whose input is a number and whose output is status only. */
uint32_t rig_simple(uint16_t opcode, uint32_t object);
/* ALLOC_*: the number in CX_OUT_OBJECT. */
uint32_t rig_alloc_number(uint16_t opcode);

/* A context of a process, and from then on each command is for it. */
uint16_t rig_become_user(void);
/* Memory of a process, of new pages that it may write; destroyed by rig_simple(). */
void rig_begin_umem(uint32_t pages);
uint32_t rig_create_umem(uint32_t pages);

/* Fills the page list at `at` with one stretch of new memory, and returns its address. */
uint64_t rig_pages(uint32_t at, uint32_t count);

/* Objects with the smallest contexts that are accepted; each may be changed before rig_ok(). */
uint32_t rig_create_eq(uint64_t mask);
void rig_begin_cq(uint32_t eqn);
uint32_t rig_create_cq(uint32_t eqn);
void rig_begin_qp(uint8_t st, uint32_t cqn, uint32_t pdn, uint32_t uar);
uint8_t *rig_qpc(void);
void rig_begin_mkey(uint32_t mode, uint32_t octwords, uint32_t actual);
uint8_t *rig_mkc(void);
void rig_begin_rmp(uint32_t pdn);
void rig_begin_xrc_srq(uint32_t pdn, uint32_t xrcd, uint32_t cqn);
uint32_t rig_object(void); /* CX_OUT_OBJECT of the last output */

#endif
