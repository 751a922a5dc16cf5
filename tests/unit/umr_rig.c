/* SPDX-License-Identifier: BSD-2-Clause */
/* See umr_rig.h. */
#include "umr_rig.h"

struct umr_rig umr;

int umr_setup(void **state)
{
	if (fake_setup(state))
		return -1;
	umr.kernel = fake_qp(UP_QP_RC, 4, false);
	umr.kernel->fre = true;
	umr.user = fake_qp(UP_QP_RC, 4, false);
	umr.registrar = fake_qp(UP_QP_LOCAL, 4, false);
	umr.registrar->fre = true;
	umr.registrar->service_type = REG_UMR;
	umr.registrar->base.pdn = OTHER_PD;
	memset(&umr.ctrl, 0, sizeof(umr.ctrl));
	memset(&umr.seg, 0, sizeof(umr.seg));
	memset(umr.list, 0, sizeof(umr.list));
	umr.list_bytes = 0;
	return 0;
}

struct up_mr *umr_key(enum up_mr_kind kind, uint32_t capacity)
{
	struct up_mr *mr = up_mr_create(&fake.dev.hca, kind, capacity);

	assert_non_null(mr);
	mr->key |= VARIANT;
	mr->pdn = FAKE_PD;
	mr->page_shift = 12;
	mr->registrable = true;
	return mr;
}

struct up_mr *umr_all_memory(uint32_t pdn, uint32_t access)
{
	struct up_mr *mr = umr_key(UP_MR_PHYS, 0);

	mr->pdn = pdn;
	mr->absolute = true;
	mr->access = access;
	mr->valid = true;
	return mr;
}

void umr_add_page(uint64_t address)
{
	up_put_be64(umr.list + umr.list_bytes, address | CX_MTT_PRESENT);
	umr.list_bytes += CX_MTT_BYTES;
}

void umr_add_piece(uint32_t len, uint32_t key, uint64_t addr)
{
	struct cx_klm klm = {htobe32(len), htobe32(key), htobe64(addr)};

	memcpy(umr.list + umr.list_bytes, &klm, sizeof(klm));
	umr.list_bytes += sizeof(klm);
}

enum up_wc_status umr_run(struct cx_qp *qp, const struct up_mr *mr)
{
	umr.wr.op = UP_OP_LOCAL;
	umr.wr.imm = mr->key;
	memcpy(umr.wr.data, &umr.ctrl, sizeof(umr.ctrl));
	memcpy(umr.wr.data + sizeof(umr.ctrl), &umr.seg, sizeof(umr.seg));
	memcpy(umr.wr.data + sizeof(umr.ctrl) + sizeof(umr.seg), umr.list, umr.list_bytes);
	umr.wr.raw_len = (uint32_t)(sizeof(umr.ctrl) + sizeof(umr.seg)) + umr.list_bytes;
	return cx_exec_local(&qp->base, &umr.wr);
}

void umr_send_inline(void)
{
	umr.list_bytes = (umr.list_bytes + CX_XLT_ALIGN - 1) & ~(CX_XLT_ALIGN - 1);
	umr.ctrl.flags |= CX_UMR_INLINE;
	umr.ctrl.xlt_octowords = htobe16((uint16_t)(umr.list_bytes / CX_XLT_OCTOWORD));
}

void umr_send_reference(const void *entries, uint32_t bytes, uint32_t key)
{
	struct cx_wqe_data data = {htobe32(bytes), htobe32(key), htobe64(fake_gpa(entries))};

	umr.ctrl.xlt_octowords = htobe16((uint16_t)(bytes / CX_XLT_OCTOWORD));
	memcpy(umr.list, &data, sizeof(data));
	umr.list_bytes = sizeof(data);
}

void umr_describe(uint64_t start, uint64_t len, uint8_t rights)
{
	umr.seg.flags = CX_MKEY_UMR_EN | rights;
	umr.seg.qpn_mkey7_0 = htobe32(0xffffff00u | (VARIANT + 1));
	umr.seg.flags_pd = htobe32(CX_MKEY_REMOTE_INVAL);
	umr.seg.start_addr = htobe64(start);
	umr.seg.len = htobe64(len);
	umr.seg.log2_page_size = 12;
}
