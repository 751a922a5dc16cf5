/* SPDX-License-Identifier: BSD-2-Clause */
/* The driver of the virtual machines for fuzzers (fuzz_vm.h): commands that must succeed. */
#include "fuzz_vm.h"

#define IN_BYTES 1024

/* Returns CX_OUT_OBJECT of the answer. */
static uint32_t must(struct fuzz_vm *vm, uint16_t opcode, uint8_t *in, uint32_t in_len)
{
	uint8_t out[16];
	const struct fuzz_command c = {
		.in = in,
		.out = out,
		.have = in_len,
		.want = sizeof(out),
		.in_len = in_len,
		.out_len = sizeof(out),
	};

	cx_set(in, CX_IN_OPCODE, opcode);
	CHECK(fuzz_vm_command(vm, &c) == CX_DELIVERY_OK << 1);
	CHECK(cx_get(out, CX_OUT_STATUS) == CX_OK);
	return cx_get(out, CX_OUT_OBJECT);
}

void fuzz_vm_enable(struct fuzz_vm *vm)
{
	fuzz_vm_write_config(vm, 4, 6); /* PCI_COMMAND: memory space, bus master */
	fuzz_vm_write_reg(vm, CX_ISEG_CMDQ_ADDR_H, 0);
	fuzz_vm_write_reg(vm, CX_ISEG_CMDQ_ADDR_L_SZ, (uint32_t)fuzz_gpa(FUZZ_CMDQ));
}

uint32_t fuzz_vm_alloc(struct fuzz_vm *vm, uint16_t opcode)
{
	uint8_t in[CX_IN_BYTES] = {0};

	return must(vm, opcode, in, sizeof(in));
}

static void put_pages(uint8_t *pas, unsigned page, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		up_put_be64(pas + i * CX_MTT_BYTES, fuzz_gpa(page + i));
}

static uint64_t record_gpa(unsigned i)
{
	return fuzz_gpa(FUZZ_RECORDS) + i * FUZZ_RECORD_BYTES;
}

/* One page, all events. */
static uint32_t create_eq(struct fuzz_vm *vm)
{
	uint8_t in[CX_CREATE_EQ_IN_BYTES + CX_MTT_BYTES] = {0};
	uint8_t *eqc = in + CX_CREATE_EQ_IN_EQC_AT;

	cx_set(eqc, CX_EQC_LOG_EQ_SIZE, 6);
	cx_set(eqc, CX_EQC_UAR_PAGE, vm->uar);
	memset(in + CX_CREATE_EQ_IN_EVENT_BITMASK_AT, 0xff, 32);
	put_pages(in + CX_CREATE_EQ_IN_PAS_AT, FUZZ_EQ, 1);
	return must(vm, CX_CMD_CREATE_EQ, in, sizeof(in)) & 0xff;
}

static uint32_t create_cq(struct fuzz_vm *vm)
{
	const unsigned pages = (sizeof(struct cx_cqe64) << FUZZ_LOG_CQ) / FUZZ_PAGE;
	uint8_t in[CX_CREATE_CQ_IN_BYTES + 8 * CX_MTT_BYTES] = {0};
	uint8_t *cqc = in + CX_CREATE_CQ_IN_CQC_AT;

	cx_set(cqc, CX_CQC_LOG_CQ_SIZE, FUZZ_LOG_CQ);
	cx_set(cqc, CX_CQC_EQN, vm->eqn);
	cx_set(cqc, CX_CQC_UAR_PAGE, vm->uar);
	cx_set64(cqc, CX_CQC_DBR_ADDR, record_gpa(0));
	put_pages(in + CX_CREATE_CQ_IN_PAS_AT, FUZZ_CQ, pages);
	return must(vm, CX_CMD_CREATE_CQ, in, sizeof(in));
}

void fuzz_vm_start(struct fuzz_vm *vm)
{
	uint8_t issi[CX_IN_BYTES] = {0};

	fuzz_vm_enable(vm);
	fuzz_vm_alloc(vm, CX_CMD_ENABLE_HCA);
	cx_set(issi, CX_SET_ISSI_IN_CURRENT_ISSI, 1);
	must(vm, CX_CMD_SET_ISSI, issi, sizeof(issi));
	fuzz_vm_alloc(vm, CX_CMD_INIT_HCA);
	vm->uar = fuzz_vm_alloc(vm, CX_CMD_ALLOC_UAR);
	vm->pdn = fuzz_vm_alloc(vm, CX_CMD_ALLOC_PD);
	vm->eqn = create_eq(vm);
	vm->cqn = create_cq(vm);
}

uint32_t fuzz_vm_key(struct fuzz_vm *vm, const struct fuzz_key *key)
{
	uint8_t in[IN_BYTES] = {0}, *mkc = in + CX_CREATE_MKEY_IN_MKC_AT;
	uint32_t size = key->mode == CX_MKC_MODE_MTT ? CX_MTT_BYTES : sizeof(struct cx_klm);
	uint32_t octwords = (key->count * size + CX_OCTWORD_BYTES - 1) / CX_OCTWORD_BYTES;

	cx_set(mkc, CX_MKC_FREE, !key->entries && key->count);
	cx_set(mkc, CX_MKC_ACCESS_MODE_1_0, key->mode);
	mkc[2] |= key->access;
	cx_set(mkc, CX_MKC_QPN, UP_MR_ANY_QP);
	cx_set(mkc, CX_MKC_MKEY_7_0, 0x42);
	cx_set(mkc, CX_MKC_LENGTH64, key->mode == CX_MKC_MODE_PA);
	cx_set(mkc, CX_MKC_EN_RINVAL, key->remote_inv);
	cx_set(mkc, CX_MKC_PD, key->pdn);
	cx_set64(mkc, CX_MKC_START_ADDR, key->start);
	cx_set64(mkc, CX_MKC_LEN, key->len);
	cx_set(mkc, CX_MKC_TRANSLATIONS_OCTWORD_SIZE, octwords);
	cx_set(mkc, CX_MKC_LOG_PAGE_SIZE, CX_PAGE_SHIFT);
	if (key->entries) {
		cx_set(in, CX_CREATE_MKEY_IN_TRANSLATIONS_OCTWORD_ACTUAL_SIZE, octwords);
		memcpy(in + CX_CREATE_MKEY_IN_ENTRIES_AT, key->entries, key->count * size);
	}
	return must(vm, CX_CMD_CREATE_MKEY, in, sizeof(in)) << 8 | 0x42;
}

uint32_t fuzz_vm_srq(struct fuzz_vm *vm, unsigned i, uint32_t xrcd)
{
	uint8_t in[CX_CREATE_SRQ_IN_BYTES + CX_MTT_BYTES] = {0};
	uint8_t *ctx = in + CX_CREATE_SRQ_IN_SRQC_AT;

	cx_set(ctx, CX_XRC_SRQC_LOG_XRC_SRQ_SIZE, FUZZ_LOG_SRQ);
	cx_set(ctx, CX_XRC_SRQC_LOG_RQ_STRIDE, FUZZ_LOG_RQ_STRIDE - 4);
	cx_set(ctx, CX_XRC_SRQC_XRCD, xrcd);
	cx_set(ctx, CX_XRC_SRQC_CQN, xrcd ? vm->cqn : 0);
	cx_set(ctx, CX_XRC_SRQC_USER_INDEX, xrcd ? 0x500 + i : 0);
	cx_set(ctx, CX_XRC_SRQC_PD, vm->pdn);
	cx_set64(ctx, CX_XRC_SRQC_DBR_ADDR, record_gpa(40 + i));
	put_pages(in + CX_CREATE_SRQ_IN_PAS_AT, FUZZ_SRQ + i, 1);
	return must(vm, xrcd ? CX_CMD_CREATE_XRC_SRQ : CX_CMD_CREATE_SRQ, in, sizeof(in));
}

uint32_t fuzz_vm_qp(struct fuzz_vm *vm, unsigned i, const struct fuzz_qp *qp)
{
	uint8_t in[CX_CREATE_QP_IN_BYTES + CX_MTT_BYTES] = {0};
	uint8_t *qpc = in + CX_QP_IN_QPC_AT;
	bool own_receives =
		!qp->srqn && qp->service != CX_QPST_XRC && qp->service != CX_QPST_REG_UMR;

	cx_set(qpc, CX_QPC_ST, qp->service);
	cx_set(qpc, CX_QPC_PD, vm->pdn);
	cx_set(qpc, CX_QPC_LOG_RQ_SIZE, FUZZ_LOG_RQ);
	cx_set(qpc, CX_QPC_LOG_RQ_STRIDE, FUZZ_LOG_RQ_STRIDE - 4);
	cx_set(qpc, CX_QPC_NO_SQ, qp->no_sq);
	cx_set(qpc, CX_QPC_LOG_SQ_SIZE, FUZZ_LOG_SQ);
	cx_set(qpc, CX_QPC_UAR_PAGE, vm->uar);
	cx_set(qpc, CX_QPC_USER_INDEX, 0x100 + i);
	cx_set(qpc, CX_QPC_CQN_SND, vm->cqn);
	cx_set(qpc, CX_QPC_CQN_RCV, vm->cqn);
	cx_set(qpc, CX_QPC_XRCD, qp->xrcd);
	cx_set(qpc, CX_QPC_RQ_TYPE, qp->srqn ? CX_RQ_SRQ : CX_RQ_REGULAR);
	cx_set(qpc, CX_QPC_SRQN_RMPN_XRQN, qp->srqn);
	cx_set64(qpc, CX_QPC_DBR_ADDR, record_gpa(1 + i));
	/* The send queue lies at one place, whether or not there is a receive queue before it. */
	cx_set(qpc, CX_QPC_PAGE_OFFSET, own_receives ? 0 : FUZZ_SQ_OFFSET / (FUZZ_PAGE / 64));
	put_pages(in + CX_CREATE_QP_IN_PAS_AT, FUZZ_QP + i, 1);
	return must(vm, CX_CMD_CREATE_QP, in, sizeof(in));
}

void fuzz_vm_join(struct fuzz_vm *vm, uint32_t qpn, const uint8_t gid[16])
{
	uint8_t in[CX_MCG_IN_BYTES] = {0};

	cx_set(in, CX_IN_OBJECT, qpn);
	memcpy(in + CX_MCG_IN_MULTICAST_GID_AT, gid, 16);
	must(vm, CX_CMD_ATTACH_TO_MCG, in, sizeof(in));
}

static void modify(struct fuzz_vm *vm, uint16_t opcode, uint32_t qpn, const uint8_t *qpc)
{
	uint8_t in[CX_QP_IN_BYTES] = {0};

	cx_set(in, CX_IN_OBJECT, qpn);
	memcpy(in + CX_QP_IN_QPC_AT, qpc, CX_QPC_BYTES);
	must(vm, opcode, in, sizeof(in));
}

void fuzz_vm_connect(struct fuzz_vm *vm, uint32_t qpn, uint16_t lid, uint32_t remote_qpn,
		     uint8_t rights)
{
	uint8_t qpc[CX_QPC_BYTES] = {0}, *path = qpc + CX_QPC_PRIMARY_PATH_AT;

	cx_set(qpc, CX_QPC_PD, vm->pdn);
	cx_set(qpc, CX_QPC_MTU, 5);
	cx_set(qpc, CX_QPC_REMOTE_QPN, remote_qpn);
	cx_set(qpc, CX_QPC_RETRY_COUNT, 1);
	cx_set(qpc, CX_QPC_RNR_RETRY, 1);
	cx_set(qpc, CX_QPC_LOG_SRA_MAX, 4);
	cx_set(qpc, CX_QPC_LOG_RRA_MAX, 4);
	cx_set(qpc, CX_QPC_RRE, !!(rights & CX_MKEY_RR));
	cx_set(qpc, CX_QPC_RWE, !!(rights & CX_MKEY_RW));
	cx_set(qpc, CX_QPC_RAE, !!(rights & CX_MKEY_A));
	cx_set(qpc, CX_QPC_MIN_RNR_NAK, 1);
	cx_set(qpc, CX_QPC_Q_KEY, FUZZ_QKEY);
	cx_set(path, CX_ADS_RLID, lid);
	cx_set(path, CX_ADS_ACK_TIMEOUT, 8);
	cx_set(path, CX_ADS_VHCA_PORT_NUM, 1);
	modify(vm, CX_CMD_RST2INIT_QP, qpn, qpc);
	modify(vm, CX_CMD_INIT2RTR_QP, qpn, qpc);
	modify(vm, CX_CMD_RTR2RTS_QP, qpn, qpc);
}
