/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A process that composes its commands itself (DEVX). Between gs_devx_begin() and gs_devx_end()
 * each command of the VM carries the process's uid, and what the other files wrote as a list of
 * pages and an address becomes memory of the process (umems) and where it begins there: so every
 * queue, record and key is made as libmlx5's mlx5dv_devx_obj_create() makes it.
 */
#include "gs_internal.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_UMEMS = 4096 };

/* Where a command has its page list and its umem. */
struct place {
	uint32_t pas_at;
	uint32_t valid, id, offset; /* fields of the input */
	uint32_t log_page_size, page_offset;
	uint32_t dbr_valid, dbr_id, dbr_addr; /* fields of the context */
	uint8_t *ctx;
};

struct gs_devx {
	uint16_t uid;
	uint32_t umems[MAX_UMEMS];
	unsigned count;
};

static uint32_t create_umem(struct gs_vm *vm, const uint64_t *pages, unsigned n, unsigned shift,
			    uint32_t offset)
{
	uint32_t len = CX_CREATE_UMEM_IN_BYTES + n * CX_MTT_BYTES, id;
	uint8_t *in = gs_alloc(len), out[CX_OUT_BYTES];

	cx_set(in, CX_IN_OPCODE, CX_CMD_CREATE_UMEM);
	cx_set(in, CX_CREATE_UMEM_IN_LOG_PAGE_SIZE, shift - CX_PAGE_SHIFT);
	cx_set(in, CX_CREATE_UMEM_IN_PAGE_OFFSET, offset);
	cx_set64(in, CX_CREATE_UMEM_IN_NUM_OF_MTT, n);
	for (unsigned i = 0; i < n; i++)
		up_put_be64(in + CX_CREATE_UMEM_IN_MTT_AT + i * CX_MTT_BYTES,
			    pages[i] | CX_MTT_WRITE);
	gs_cmd(vm, in, len, out, sizeof(out));
	free(in);
	id = cx_get(out, CX_OUT_OBJECT);
	if (vm->devx->count == MAX_UMEMS)
		gs_fail("a process with more than %d umems", MAX_UMEMS);
	vm->devx->umems[vm->devx->count++] = id;
	return id;
}

uint32_t gs_umem_create(struct gs_vm *vm, void *ptr, size_t len)
{
	unsigned n = gs_ram_pages(vm, ptr, len, CX_PAGE_SHIFT, NULL);
	uint64_t *pages = gs_alloc(n * sizeof(pages[0]));
	uint32_t id;

	gs_ram_pages(vm, ptr, len, CX_PAGE_SHIFT, pages);
	id = create_umem(vm, pages, n, CX_PAGE_SHIFT, (uint32_t)((uintptr_t)ptr & 4095));
	free(pages);
	return id;
}

/* Of the pages in the command; n of them. */
static uint32_t umem_of_list(struct gs_vm *vm, const uint8_t *list, unsigned n, unsigned shift,
			     uint32_t offset)
{
	uint64_t *pages = gs_alloc(n * sizeof(pages[0]));
	uint32_t id;

	for (unsigned i = 0; i < n; i++)
		pages[i] = up_get_be64(list + i * CX_MTT_BYTES);
	id = create_umem(vm, pages, n, shift, offset);
	free(pages);
	return id;
}

static void place_record(struct gs_vm *vm, const struct place *p)
{
	uint64_t gpa = cx_get64(p->ctx, p->dbr_addr), page = gpa & ~4095ull;

	cx_set(p->ctx, p->dbr_valid, 1);
	cx_set(p->ctx, p->dbr_id, create_umem(vm, &page, 1, CX_PAGE_SHIFT, 0));
	cx_set64(p->ctx, p->dbr_addr, gpa & 4095);
}

/* The new length of the command. */
static uint32_t place_queue(struct gs_vm *vm, uint8_t *in, uint32_t inlen, const struct place *p)
{
	unsigned shift = cx_get(p->ctx, p->log_page_size) + CX_PAGE_SHIFT;
	uint32_t offset = cx_get(p->ctx, p->page_offset) << (shift - CX_PAGE_OFFSET_UNITS_SHIFT);
	unsigned n = (inlen - p->pas_at) / CX_MTT_BYTES;
	uint8_t *umem = p->valid == CX_WQ_WQ_UMEM_VALID ? p->ctx : in;

	if (!n)
		return inlen;
	cx_set(umem, p->valid, 1);
	/* The offset is the umem's in one command, and into it in the next. */
	if (vm->devx->count / 2 & 1) {
		cx_set(umem, p->id, umem_of_list(vm, in + p->pas_at, n, shift, offset));
	} else {
		cx_set(umem, p->id, umem_of_list(vm, in + p->pas_at, n, shift, 0));
		cx_set64(umem, p->offset, offset);
	}
	cx_set(p->ctx, p->log_page_size, 0);
	cx_set(p->ctx, p->page_offset, 0);
	return p->pas_at;
}

static uint32_t place_key(struct gs_vm *vm, uint8_t *in, uint32_t inlen)
{
	uint8_t *mkc = in + CX_CREATE_MKEY_IN_MKC_AT;
	unsigned shift = cx_get(mkc, CX_MKC_LOG_PAGE_SIZE);
	uint32_t offset = (uint32_t)(cx_get64(mkc, CX_MKC_START_ADDR) & ((1ull << shift) - 1));
	uint64_t bytes = offset + cx_get64(mkc, CX_MKC_LEN);

	if (cx_get(mkc, CX_MKC_ACCESS_MODE_1_0) != CX_MKC_MODE_MTT)
		return inlen;
	cx_set(in, CX_CREATE_MKEY_IN_MKEY_UMEM_VALID, 1);
	cx_set(in, CX_CREATE_MKEY_IN_MKEY_UMEM_ID,
	       umem_of_list(vm, in + CX_CREATE_MKEY_IN_ENTRIES_AT,
			    (unsigned)((bytes + (1ull << shift) - 1) >> shift), shift, offset));
	return CX_CREATE_MKEY_IN_BYTES;
}

static struct place queue_of(uint8_t *in)
{
	switch (cx_get(in, CX_IN_OPCODE)) {
	case CX_CMD_CREATE_CQ:
	case CX_CMD_MODIFY_CQ:
		return (struct place){CX_CREATE_CQ_IN_PAS_AT,
				      CX_CREATE_CQ_IN_CQ_UMEM_VALID,
				      CX_CREATE_CQ_IN_CQ_UMEM_ID,
				      CX_CREATE_CQ_IN_CQ_UMEM_OFFSET,
				      CX_CQC_LOG_PAGE_SIZE,
				      CX_CQC_PAGE_OFFSET,
				      CX_CQC_DBR_UMEM_VALID,
				      CX_CQC_DBR_UMEM_ID,
				      CX_CQC_DBR_ADDR,
				      in + CX_CREATE_CQ_IN_CQC_AT};
	case CX_CMD_CREATE_QP:
		return (struct place){CX_CREATE_QP_IN_PAS_AT,
				      CX_CREATE_QP_IN_WQ_UMEM_VALID,
				      CX_CREATE_QP_IN_WQ_UMEM_ID,
				      CX_CREATE_QP_IN_WQ_UMEM_OFFSET,
				      CX_QPC_LOG_PAGE_SIZE,
				      CX_QPC_PAGE_OFFSET,
				      CX_QPC_DBR_UMEM_VALID,
				      CX_QPC_DBR_UMEM_ID,
				      CX_QPC_DBR_ADDR,
				      in + CX_QP_IN_QPC_AT};
	case CX_CMD_CREATE_RMP:
		return (struct place){
			CX_CREATE_RMP_IN_PAS_AT, CX_WQ_WQ_UMEM_VALID,
			CX_WQ_WQ_UMEM_ID,	 CX_WQ_WQ_UMEM_OFFSET,
			CX_WQ_LOG_WQ_PG_SZ,	 CX_WQ_PAGE_OFFSET,
			CX_WQ_DBR_UMEM_VALID,	 CX_WQ_DBR_UMEM_ID,
			CX_WQ_DBR_ADDR,		 in + CX_CREATE_RMP_IN_RMPC_AT + CX_RMPC_WQ_AT};
	default:
		return (struct place){0};
	}
}

uint32_t gs_devx_compose(struct gs_vm *vm, uint8_t *in, uint32_t inlen)
{
	uint16_t opcode = (uint16_t)cx_get(in, CX_IN_OPCODE);
	struct place p = queue_of(in);

	cx_set(in, CX_IN_UID, vm->devx->uid);
	if (opcode == CX_CMD_CREATE_MKEY)
		return place_key(vm, in, inlen);
	if (!p.ctx || (opcode == CX_CMD_MODIFY_CQ && inlen == p.pas_at))
		return inlen;
	if (opcode != CX_CMD_MODIFY_CQ)
		place_record(vm, &p);
	return place_queue(vm, in, inlen, &p);
}

struct gs_devx *gs_devx_begin(struct gs_vm *vm)
{
	uint8_t in[CX_CREATE_UCTX_IN_BYTES] = {0}, out[CX_OUT_BYTES];
	struct gs_devx *devx = gs_object_alloc(vm, sizeof(*devx));

	vm->devx = NULL;
	cx_set(in, CX_IN_OPCODE, CX_CMD_CREATE_UCTX);
	gs_cmd(vm, in, sizeof(in), out, sizeof(out));
	devx->uid = (uint16_t)cx_get(out, CX_CREATE_UCTX_OUT_UID);
	vm->devx = devx;
	return devx;
}

int gs_devx_end(struct gs_vm *vm, struct gs_devx *devx)
{
	uint8_t in[CX_IN_BYTES] = {0}, out[CX_OUT_BYTES];

	vm->devx = NULL;
	while (devx->count) {
		int err = gs_cmd_object(vm, CX_CMD_DESTROY_UMEM, 0, devx->umems[devx->count - 1]);

		if (err)
			return err;
		devx->count--;
	}
	cx_set(in, CX_IN_OPCODE, CX_CMD_DESTROY_UCTX);
	cx_set(in, CX_DESTROY_UCTX_IN_UID, devx->uid);
	return gs_cmd_raw(vm, in, sizeof(in), out, sizeof(out));
}
