/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Protection domains and memory keys made by CREATE_MKEY: regions with their page list, lists of
 * other regions, free keys and windows for registration by work request.
 */
#include "gs_internal.h"

#include <stdlib.h>
#include <string.h>

static void set_access(uint8_t *mkc, unsigned access)
{
	cx_set(mkc, CX_MKC_A, !!(access & GS_REMOTE_ATOMIC));
	cx_set(mkc, CX_MKC_RW, !!(access & GS_REMOTE_WRITE));
	cx_set(mkc, CX_MKC_RR, !!(access & GS_REMOTE_READ));
	cx_set(mkc, CX_MKC_LW, !!(access & GS_LOCAL_WRITE));
	cx_set(mkc, CX_MKC_LR, 1);
}

/* A CREATE_MKEY command in the making. */
struct mkey_cmd {
	uint8_t *in, *mkc, *entries;
	uint32_t len;
};

static struct mkey_cmd begin(struct gs_vm *vm, uint32_t pdn, unsigned mode, uint32_t octwords)
{
	struct mkey_cmd c = {.len = CX_CREATE_MKEY_IN_BYTES + octwords * CX_OCTWORD_BYTES};

	c.in = gs_alloc(c.len);
	c.mkc = c.in + CX_CREATE_MKEY_IN_MKC_AT;
	c.entries = c.in + CX_CREATE_MKEY_IN_ENTRIES_AT;
	cx_set(c.in, CX_IN_OPCODE, CX_CMD_CREATE_MKEY);
	cx_set(c.in, CX_CREATE_MKEY_IN_TRANSLATIONS_OCTWORD_ACTUAL_SIZE, octwords);
	cx_set(c.mkc, CX_MKC_ACCESS_MODE_1_0, mode);
	cx_set(c.mkc, CX_MKC_QPN, 0xffffff);
	cx_set(c.mkc, CX_MKC_MKEY_7_0, ++vm->key_variant);
	cx_set(c.mkc, CX_MKC_PD, pdn);
	cx_set(c.mkc, CX_MKC_TRANSLATIONS_OCTWORD_SIZE, octwords);
	return c;
}

static uint32_t execute(struct gs_vm *vm, struct mkey_cmd *c)
{
	uint32_t variant = cx_get(c->mkc, CX_MKC_MKEY_7_0);
	uint8_t out[CX_OUT_BYTES];

	gs_cmd(vm, c->in, c->len, out, sizeof(out));
	free(c->in);
	return cx_get(out, CX_OUT_OBJECT) << 8 | variant;
}

struct gs_pd *gs_pd_create(struct gs_vm *vm)
{
	struct gs_pd *pd = gs_object_alloc(vm, sizeof(*pd));
	struct mkey_cmd c;

	pd->vm = vm;
	pd->pdn = gs_cmd_alloc(vm, CX_CMD_ALLOC_PD);
	if (vm->devx)
		return pd;
	/* mlx5_ib_get_dma_mr(), which every protection domain of the kernel has */
	c = begin(vm, pd->pdn, CX_MKC_MODE_PA, 0);
	set_access(c.mkc, GS_ALL);
	cx_set(c.mkc, CX_MKC_LENGTH64, 1);
	pd->dma_key = execute(vm, &c);
	return pd;
}

int gs_pd_destroy(struct gs_pd *pd)
{
	int err = 0;

	if (pd->dma_key)
		err = gs_cmd_object(pd->vm, CX_CMD_DESTROY_MKEY, 0, pd->dma_key >> 8);
	if (!err)
		err = gs_cmd_object(pd->vm, CX_CMD_DEALLOC_PD, 0, pd->pdn);
	return err;
}

static struct gs_mr *new_mr(struct gs_pd *pd, uint64_t addr, uint64_t len, unsigned access)
{
	struct gs_mr *mr = gs_object_alloc(pd->vm, sizeof(*mr));

	*mr = (struct gs_mr){.vm = pd->vm, .pd = pd, .addr = addr, .len = len, .access = access};
	return mr;
}

/* reg_create() */
struct gs_mr *gs_mr_register_at(struct gs_pd *pd, void *ptr, size_t len, uint64_t iova,
				unsigned page_shift, unsigned access)
{
	struct gs_mr *mr = new_mr(pd, iova, len, access);
	unsigned n = gs_ram_pages(pd->vm, ptr, len, page_shift, NULL);
	uint64_t *pages = gs_alloc(n * sizeof(pages[0]));
	struct mkey_cmd c = begin(pd->vm, pd->pdn, CX_MKC_MODE_MTT, (n + 1) / 2);

	gs_ram_pages(pd->vm, ptr, len, page_shift, pages);
	set_access(c.mkc, access);
	cx_set(c.mkc, CX_MKC_UMR_EN, 1);
	cx_set64(c.mkc, CX_MKC_START_ADDR, iova);
	cx_set64(c.mkc, CX_MKC_LEN, len);
	cx_set(c.mkc, CX_MKC_LOG_PAGE_SIZE, page_shift);
	for (unsigned i = 0; i < n; i++)
		up_put_be64(c.entries + CX_MTT_BYTES * i, pages[i]);
	free(pages);
	mr->key = execute(pd->vm, &c);
	return mr;
}

struct gs_mr *gs_mr_register(struct gs_pd *pd, void *ptr, size_t len, unsigned access)
{
	return gs_mr_register_at(pd, ptr, len, (uintptr_t)ptr, gs_ram_page_shift(pd->vm, ptr, len),
				 access);
}

static void put_parts(uint8_t *entries, const struct gs_part *parts, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct cx_klm klm = {htobe32(parts[i].len), htobe32(parts[i].key),
				     htobe64(parts[i].addr)};

		memcpy(entries + i * sizeof(klm), &klm, sizeof(klm));
	}
}

struct gs_mr *gs_mr_register_list(struct gs_pd *pd, const struct gs_part *parts, unsigned n,
				  unsigned access)
{
	struct mkey_cmd c = begin(pd->vm, pd->pdn, CX_MKC_MODE_KLMS, (n + 3) & ~3u);
	struct gs_mr *mr = new_mr(pd, 0, 0, access);

	for (unsigned i = 0; i < n; i++)
		mr->len += parts[i].len;
	set_access(c.mkc, access);
	cx_set64(c.mkc, CX_MKC_LEN, mr->len);
	put_parts(c.entries, parts, n);
	mr->key = execute(pd->vm, &c);
	return mr;
}

struct gs_mr *gs_mr_register_ksm(struct gs_pd *pd, const struct gs_part *parts, unsigned n,
				 unsigned shift, unsigned access)
{
	struct mkey_cmd c = begin(pd->vm, pd->pdn, CX_MKC_MODE_KSM, (n + 3) & ~3u);
	struct gs_mr *mr = new_mr(pd, 0, (uint64_t)n << shift, access);

	set_access(c.mkc, access);
	cx_set64(c.mkc, CX_MKC_LEN, mr->len);
	cx_set(c.mkc, CX_MKC_LOG_PAGE_SIZE, shift);
	put_parts(c.entries, parts, n);
	mr->key = execute(pd->vm, &c);
	return mr;
}

int gs_mr_deregister(struct gs_mr *mr)
{
	int err = gs_cmd_object(mr->vm, CX_CMD_DESTROY_MKEY, 0, mr->key >> 8);

	if (err)
		return err;
	if (mr->list)
		gs_ram_free(mr->vm, mr->list, mr->list_size);
	return 0;
}

/* mlx5_set_umr_free_mkey() */
struct gs_mr *gs_mr_alloc(struct gs_pd *pd, unsigned entries, bool list)
{
	uint32_t octwords = list ? (entries + 3) & ~3u : (entries + 7) / 8 * 4;
	struct mkey_cmd c =
		begin(pd->vm, pd->pdn, list ? CX_MKC_MODE_KLMS : CX_MKC_MODE_MTT, octwords);
	struct gs_mr *mr = new_mr(pd, 0, 0, 0);

	/* The list of a free key does not go with the command. */
	c.len = CX_CREATE_MKEY_IN_BYTES;
	cx_set(c.in, CX_CREATE_MKEY_IN_TRANSLATIONS_OCTWORD_ACTUAL_SIZE, 0);
	set_access(c.mkc, 0);
	cx_set(c.mkc, CX_MKC_FREE, 1);
	cx_set(c.mkc, CX_MKC_UMR_EN, 1);
	cx_set(c.mkc, CX_MKC_LOG_PAGE_SIZE, list ? 0 : 12);
	mr->key = execute(pd->vm, &c);
	return mr;
}

/* mlx5_ib_alloc_mw() */
struct gs_mr *gs_mw_alloc(struct gs_pd *pd, unsigned type)
{
	struct mkey_cmd c = begin(pd->vm, pd->pdn, CX_MKC_MODE_KLMS, 4);
	struct gs_mr *mw = new_mr(pd, 0, 0, 0);

	c.len = CX_CREATE_MKEY_IN_BYTES;
	cx_set(c.in, CX_CREATE_MKEY_IN_TRANSLATIONS_OCTWORD_ACTUAL_SIZE, 0);
	cx_set(c.mkc, CX_MKC_FREE, 1);
	cx_set(c.mkc, CX_MKC_UMR_EN, 1);
	cx_set(c.mkc, CX_MKC_LR, 1);
	cx_set(c.mkc, CX_MKC_EN_RINVAL, type == 2);
	mw->key = execute(pd->vm, &c);
	return mw;
}
