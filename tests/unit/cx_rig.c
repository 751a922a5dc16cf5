/* SPDX-License-Identifier: BSD-2-Clause */
#include "cx_rig.h"

#include "base/log.h"
#include "device/connectx/cmd.h"

#include <stdlib.h>
#include <string.h>

struct rig rig;

int rig_setup(void **state)
{
	struct up_fabric_config cfg = UP_FABRIC_CONFIG_DEFAULT;
	struct cx_device_config device = {0};

	up_log_set_level(LOG_ERR);
	memset(&rig, 0, sizeof(rig));
	rig.fabric = up_fabric_create(&cfg);
	rig.port = up_port_create(rig.fabric, "rig", "tenant", 0);
	rig.dev = cx_device_create(rig.port, &device);
	rig.ram = aligned_alloc(4096, RIG_RAM);
	if (!rig.dev || !rig.ram)
		return -1;
	memset(rig.ram, 0, RIG_RAM);
	rig.next = RIG_GPA;
	up_port_attach(rig.port, &rig.dev->hca);
	rig.dev->bus_master = true;
	return up_mem_add(&rig.dev->hca.mem, RIG_GPA, RIG_RAM, rig.ram, true);
}

int rig_setup_running(void **state)
{
	static const uint16_t steps[] = {CX_CMD_ENABLE_HCA, CX_CMD_INIT_HCA};

	if (rig_setup(state))
		return -1;
	rig_start_queue();
	for (unsigned i = 0; i < UP_ARRAY_SIZE(steps); i++) {
		if (rig_simple(steps[i], 0) != CX_OK)
			return -1;
	}
	return 0;
}

int rig_teardown(void **state)
{
	cx_device_reset(rig.dev);
	assert_int_equal(rig.dev->list_bytes, 0);
	assert_int_equal(rig.dev->hca.mr_bytes, 0);
	up_port_detach(rig.port);
	cx_device_destroy(rig.dev);
	up_port_destroy(rig.port);
	up_fabric_destroy(rig.fabric);
	free(rig.ram);
	return 0;
}

uint64_t rig_alloc(uint64_t bytes)
{
	uint64_t gpa = rig.next;

	rig.next += (bytes + 4095) & ~UINT64_C(4095);
	assert_true(rig.next <= RIG_GPA + RIG_RAM);
	memset(rig_at(gpa), 0, bytes);
	return gpa;
}

void *rig_at(uint64_t gpa)
{
	return rig.ram + (gpa - RIG_GPA);
}

uint32_t rig_read(uint32_t reg)
{
	uint8_t word[4];

	assert_int_equal(cx_iseg_read(rig.dev, reg, word, sizeof(word)), 0);
	return up_get_be32(word);
}

void rig_write(uint32_t reg, uint32_t value)
{
	uint8_t word[4];

	up_put_be32(word, value);
	assert_int_equal(cx_iseg_write(rig.dev, reg, word, sizeof(word)), 0);
}

void rig_ring(uint32_t slots)
{
	rig_write(CX_ISEG_CMD_DBELL, slots);
	while (rig.dev->work_set)
		cx_cmd_resume(rig.dev);
}

void rig_start_queue(void)
{
	rig.cmdq = rig_alloc(CX_CMDQ_BYTES);
	rig_write(CX_ISEG_CMDQ_ADDR_H, (uint32_t)(rig.cmdq >> 32));
	rig_write(CX_ISEG_CMDQ_ADDR_L_SZ, (uint32_t)rig.cmdq);
}

void rig_begin(uint16_t opcode, uint16_t op_mod, uint32_t in_len)
{
	memset(rig.in, 0, sizeof(rig.in));
	cx_set(rig.in, CX_IN_OPCODE, opcode);
	cx_set(rig.in, CX_IN_UID, rig.uid);
	cx_set(rig.in, CX_IN_OP_MOD, op_mod);
	rig.in_len = in_len;
	rig.out_len = sizeof(rig.out);
}

/* A chain of mailboxes for what does not fit in the slot; 0 when nothing is left. */
static uint64_t chain(const uint8_t *data, uint32_t len)
{
	uint64_t next = 0;

	if (len <= CX_CMD_INLINE)
		return 0;
	for (uint32_t n = (len - CX_CMD_INLINE + CX_MBOX_DATA - 1) / CX_MBOX_DATA; n--;) {
		uint32_t at = CX_CMD_INLINE + n * CX_MBOX_DATA;
		uint64_t gpa = rig_alloc(sizeof(struct cx_mailbox));
		struct cx_mailbox *box = rig_at(gpa);

		if (data)
			memcpy(box->data, data + at,
			       len - at < CX_MBOX_DATA ? len - at : CX_MBOX_DATA);
		up_put_be32(box->block_num, n);
		up_put_be64(box->next, next);
		next = gpa;
	}
	return next;
}

static void take_output(const struct cx_cmd_slot *slot)
{
	uint64_t gpa = up_get_be64(slot->out_ptr);

	memset(rig.out, 0xee, sizeof(rig.out));
	memcpy(rig.out, slot->out, CX_CMD_INLINE);
	for (uint32_t at = CX_CMD_INLINE; at < rig.out_len; at += CX_MBOX_DATA) {
		const struct cx_mailbox *box = rig_at(gpa);
		uint32_t left = rig.out_len - at;

		memcpy(rig.out + at, box->data, left < CX_MBOX_DATA ? left : CX_MBOX_DATA);
		gpa = up_get_be64(box->next);
	}
}

uint8_t rig_deliver(void)
{
	uint64_t mark = rig.next;
	struct cx_cmd_slot *slot = rig_at(rig.cmdq);

	memset(slot, 0, sizeof(*slot));
	slot->type = CX_CMD_TYPE;
	up_put_be32(slot->inlen, rig.in_len);
	up_put_be32(slot->outlen, rig.out_len);
	memcpy(slot->in, rig.in, sizeof(slot->in));
	up_put_be64(slot->in_ptr, chain(rig.in, rig.in_len));
	up_put_be64(slot->out_ptr, chain(NULL, rig.out_len));
	slot->status_own = CX_CMD_OWNER_HW;
	rig_ring(1);
	assert_int_equal(slot->status_own & CX_CMD_OWNER_HW, 0);
	take_output(slot);
	rig.next = mark;
	return slot->status_own >> 1;
}

uint32_t rig_send(void)
{
	assert_int_equal(rig_deliver(), CX_DELIVERY_OK);
	return cx_get(rig.out, CX_OUT_STATUS);
}

uint32_t rig_simple(uint16_t opcode, uint32_t object)
{
	rig_begin(opcode, 0, CX_IN_BYTES);
	cx_set(rig.in, CX_IN_OBJECT, object);
	rig.out_len = CX_OUT_BYTES;
	return rig_send();
}

uint32_t rig_object(void)
{
	return cx_get(rig.out, CX_OUT_OBJECT);
}

uint32_t rig_alloc_number(uint16_t opcode)
{
	assert_int_equal(rig_simple(opcode, 0), CX_OK);
	return rig_object();
}

uint16_t rig_become_user(void)
{
	rig.uid = 0;
	rig_begin(CX_CMD_CREATE_UCTX, 0, CX_CREATE_UCTX_IN_BYTES);
	rig_ok();
	rig.uid = (uint16_t)cx_get(rig.out, CX_CREATE_UCTX_OUT_UID);
	return rig.uid;
}

void rig_begin_umem(uint32_t pages)
{
	rig_begin(CX_CMD_CREATE_UMEM, 0, CX_CREATE_UMEM_IN_BYTES);
	cx_set64(rig.in, CX_CREATE_UMEM_IN_NUM_OF_MTT, pages);
	rig_pages(CX_CREATE_UMEM_IN_MTT_AT, pages);
	for (uint32_t i = 0; i < pages; i++)
		rig.in[CX_CREATE_UMEM_IN_MTT_AT + i * CX_MTT_BYTES + 7] |= CX_MTT_WRITE;
}

uint32_t rig_create_umem(uint32_t pages)
{
	rig_begin_umem(pages);
	rig_ok();
	return rig_object();
}

uint64_t rig_pages(uint32_t at, uint32_t count)
{
	uint64_t gpa = rig_alloc((uint64_t)count * 4096);

	for (uint32_t i = 0; i < count; i++)
		up_put_be64(rig.in + at + i * CX_MTT_BYTES, gpa + i * 4096);
	if (rig.in_len < at + count * CX_MTT_BYTES)
		rig.in_len = at + count * CX_MTT_BYTES;
	return gpa;
}

uint32_t rig_create_eq(uint64_t mask)
{
	uint8_t *eqc = rig.in + CX_CREATE_EQ_IN_EQC_AT;

	rig_begin(CX_CMD_CREATE_EQ, 0, CX_CREATE_EQ_IN_BYTES);
	cx_set(eqc, CX_EQC_LOG_EQ_SIZE, 6);
	up_put_be64(rig.in + CX_CREATE_EQ_IN_EVENT_BITMASK_AT, mask);
	rig_pages(CX_CREATE_EQ_IN_PAS_AT, 1);
	rig_ok();
	return cx_get(rig.out, CX_EQN);
}

void rig_begin_cq(uint32_t eqn)
{
	uint8_t *cqc = rig.in + CX_CREATE_CQ_IN_CQC_AT;

	rig_begin(CX_CMD_CREATE_CQ, 0, CX_CREATE_CQ_IN_BYTES);
	cx_set(cqc, CX_CQC_LOG_CQ_SIZE, 6);
	cx_set(cqc, CX_CQC_EQN, eqn);
	cx_set64(cqc, CX_CQC_DBR_ADDR, rig_alloc(8));
	rig_pages(CX_CREATE_CQ_IN_PAS_AT, 1);
}

uint32_t rig_create_cq(uint32_t eqn)
{
	rig_begin_cq(eqn);
	rig_ok();
	return rig_object();
}

uint8_t *rig_qpc(void)
{
	return rig.in + CX_QP_IN_QPC_AT;
}

void rig_begin_qp(uint8_t st, uint32_t cqn, uint32_t pdn, uint32_t uar)
{
	uint8_t *qpc = rig_qpc();

	rig_begin(CX_CMD_CREATE_QP, 0, CX_CREATE_QP_IN_BYTES);
	cx_set(qpc, CX_QPC_ST, st);
	cx_set(qpc, CX_QPC_PD, pdn);
	cx_set(qpc, CX_QPC_PM_STATE, CX_PM_MIGRATED);
	cx_set(qpc, CX_QPC_LOG_RQ_SIZE, 4);
	cx_set(qpc, CX_QPC_LOG_RQ_STRIDE, 2);
	cx_set(qpc, CX_QPC_LOG_SQ_SIZE, 4);
	cx_set(qpc, CX_QPC_UAR_PAGE, uar);
	cx_set(qpc, CX_QPC_USER_INDEX, 0x123);
	cx_set(qpc, CX_QPC_CQN_SND, cqn);
	cx_set(qpc, CX_QPC_CQN_RCV, cqn);
	cx_set64(qpc, CX_QPC_DBR_ADDR, rig_alloc(8));
	rig_pages(CX_CREATE_QP_IN_PAS_AT, 1);
}

uint8_t *rig_mkc(void)
{
	return rig.in + CX_CREATE_MKEY_IN_MKC_AT;
}

void rig_begin_mkey(uint32_t mode, uint32_t octwords, uint32_t actual)
{
	uint8_t *mkc = rig_mkc();

	rig_begin(CX_CMD_CREATE_MKEY, 0, CX_CREATE_MKEY_IN_BYTES + actual * CX_OCTWORD_BYTES);
	cx_set(mkc, CX_MKC_ACCESS_MODE_1_0, mode);
	cx_set(mkc, CX_MKC_LR, 1);
	cx_set(mkc, CX_MKC_LW, 1);
	cx_set(mkc, CX_MKC_QPN, 0xffffff);
	cx_set(mkc, CX_MKC_MKEY_7_0, 0x5a);
	cx_set(mkc, CX_MKC_LOG_PAGE_SIZE, 12);
	cx_set(mkc, CX_MKC_TRANSLATIONS_OCTWORD_SIZE, octwords);
	cx_set(rig.in, CX_CREATE_MKEY_IN_TRANSLATIONS_OCTWORD_ACTUAL_SIZE, actual);
}

void rig_begin_rmp(uint32_t pdn)
{
	uint8_t *wq = rig.in + CX_CREATE_RMP_IN_RMPC_AT + CX_RMPC_WQ_AT;

	rig_begin(CX_CMD_CREATE_RMP, 0, CX_CREATE_RMP_IN_BYTES);
	cx_set(wq, CX_WQ_PD, pdn);
	cx_set(wq, CX_WQ_LOG_WQ_STRIDE, 6);
	cx_set(wq, CX_WQ_LOG_WQ_SZ, 4);
	cx_set64(wq, CX_WQ_DBR_ADDR, rig_alloc(8));
	rig_pages(CX_CREATE_RMP_IN_PAS_AT, 1);
}

void rig_begin_xrc_srq(uint32_t pdn, uint32_t xrcd, uint32_t cqn)
{
	uint8_t *srqc = rig.in + CX_CREATE_SRQ_IN_SRQC_AT;

	rig_begin(CX_CMD_CREATE_XRC_SRQ, 0, CX_CREATE_SRQ_IN_BYTES);
	cx_set(srqc, CX_XRC_SRQC_LOG_XRC_SRQ_SIZE, 4);
	cx_set(srqc, CX_XRC_SRQC_LOG_RQ_STRIDE, 2);
	cx_set(srqc, CX_XRC_SRQC_PD, pdn);
	cx_set(srqc, CX_XRC_SRQC_XRCD, xrcd);
	cx_set(srqc, CX_XRC_SRQC_CQN, cqn);
	cx_set64(srqc, CX_XRC_SRQC_DBR_ADDR, rig_alloc(8));
	rig_pages(CX_CREATE_SRQ_IN_PAS_AT, 1);
}
