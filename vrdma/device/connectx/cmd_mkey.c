/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Commands on memory keys. Most keys are created free, with room for translation entries that a
 * registration work request fills in later (umr.c); some bring theirs along.
 */
#include "device/connectx/abi_queue.h"
#include "device/connectx/cmd.h"

#include <errno.h>
#include <stdlib.h>

#define MAX_OCTWORDS (1u << 28) /* the engine's bound on memory is far below */
#define STEP_PAGES (32u << 10)	/* that a command fills in at a time */

static struct up_mr *mr_get(struct cx_cmd *c)
{
	return up_table_get(&c->dev->hca.mrs, cx_cmd_object(c));
}

static uint32_t access_mode(const uint8_t *mkc)
{
	return cx_get(mkc, CX_MKC_ACCESS_MODE_4_2) << 2 | cx_get(mkc, CX_MKC_ACCESS_MODE_1_0);
}

/* The shape of a key, checked: what it translates by, room for entries, and how many it brings. */
struct shape {
	enum up_mr_kind kind;
	bool ksm;
	uint32_t capacity, count;
};

static enum cx_status check_shape(struct cx_cmd *c, const uint8_t *mkc, struct shape *s)
{
	uint32_t mode = access_mode(mkc), octwords, actual, per = 1;

	octwords = cx_get(mkc, CX_MKC_TRANSLATIONS_OCTWORD_SIZE);
	actual = cx_get(c->in, CX_CREATE_MKEY_IN_TRANSLATIONS_OCTWORD_ACTUAL_SIZE);
	if (mode > CX_MKC_MODE_KSM)
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_TYPE);
	if (mode == CX_MKC_MODE_PA) {
		*s = (struct shape){.kind = UP_MR_PHYS};
		return CX_OK;
	}
	s->kind = mode == CX_MKC_MODE_MTT ? UP_MR_PAGES : UP_MR_LIST;
	s->ksm = mode == CX_MKC_MODE_KSM;
	if (mode == CX_MKC_MODE_MTT)
		per = CX_OCTWORD_BYTES / CX_MTT_BYTES;
	/* A work request that changes a piece has to go through the whole list. */
	if (actual > octwords || octwords > MAX_OCTWORDS ||
	    (s->kind == UP_MR_LIST && octwords > 1u << CX_LOG_MAX_KLM_LIST_SIZE))
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_SIZE);
	if (actual > (c->in_len - CX_CREATE_MKEY_IN_ENTRIES_AT) / CX_OCTWORD_BYTES)
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_PAGE_LIST);
	s->capacity = octwords * per;
	s->count = actual * per;
	return CX_OK;
}

/* Some of the pages, from c->done on. */
static void fill_pages(struct cx_cmd *c, struct up_mr *mr, uint32_t count)
{
	const uint8_t *entries = c->in + CX_CREATE_MKEY_IN_ENTRIES_AT;
	uint32_t left = count - c->done, n = left < STEP_PAGES ? left : STEP_PAGES;

	/* Without paging, entries of a command need no bits beside the address: 0 is a page. */
	cx_mkey_write_entries(mr, c->done, entries + c->done * CX_MTT_BYTES, n, 0);
	c->done += n;
}

static int fill_list(struct up_mr *mr, const uint8_t *entries, const struct shape *s)
{
	cx_mkey_write_entries(mr, 0, entries, s->count, 0);
	for (uint32_t i = 0; s->ksm && i < s->count; i++)
		mr->pieces[i].len = 1ull << mr->page_shift;
	mr->count = s->count;
	return up_mr_seal_list(mr);
}

/*
 * The rest of the region but for its pages. It is not valid yet and no work request may touch it,
 * so no worker looks at it, and the world need not be stopped for a long list.
 */
static enum cx_status fill(struct cx_cmd *c, struct up_mr *mr, const uint8_t *mkc,
			   const struct shape *s)
{
	const struct cx_mkey_seg *seg = (const struct cx_mkey_seg *)mkc;
	const uint8_t *entries = c->in + CX_CREATE_MKEY_IN_ENTRIES_AT;
	uint32_t shift = cx_get(mkc, CX_MKC_LOG_PAGE_SIZE);

	if (s->kind == UP_MR_PAGES && s->count && shift < CX_PAGE_SHIFT)
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_ATTRIBUTE);
	if (s->count && up_mr_make_table(mr))
		return cx_fail(c, CX_NO_RES, CX_WHY_NO_MEMORY);
	mr->pdn = cx_get(mkc, CX_MKC_PD);
	mr->qpn = cx_get(mkc, CX_MKC_QPN);
	cx_mkey_set_access(mr, seg->flags, UINT64_MAX);
	mr->remote_inv = cx_get(mkc, CX_MKC_EN_RINVAL);
	mr->absolute = cx_get(mkc, CX_MKC_LENGTH64);
	mr->start = cx_get64(mkc, CX_MKC_START_ADDR);
	mr->length = cx_get64(mkc, CX_MKC_LEN);
	/* A work request that fills in pages need not say their size: it is not less than this. */
	if (s->kind == UP_MR_PAGES && shift < CX_PAGE_SHIFT)
		shift = CX_PAGE_SHIFT;
	mr->page_shift = (uint8_t)shift;
	if (s->kind == UP_MR_LIST && fill_list(mr, entries, s))
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_ATTRIBUTE);
	return CX_OK;
}

static void destroy(struct cx_device *dev, struct up_mr *mr)
{
	up_world_stop(dev->port->fabric);
	up_mr_unlink(&dev->hca, mr);
	up_world_start(dev->port->fabric);
	up_mr_free(mr);
}

/* The region, left in c->work: all of it but its pages. */
static enum cx_status begin(struct cx_cmd *c, const uint8_t *mkc, const struct shape *shape)
{
	struct cx_device *dev = c->dev;
	enum cx_status status;
	struct up_mr *mr;

	up_world_stop(dev->port->fabric);
	mr = up_mr_create_empty(&dev->hca, shape->kind, shape->capacity);
	up_world_start(dev->port->fabric);
	if (!mr && errno == ENOSPC)
		return cx_fail(c, CX_NO_RES, CX_WHY_TABLE_FULL);
	if (!mr)
		return cx_fail(c, CX_LIM_ERR, CX_WHY_NO_MEMORY);
	status = fill(c, mr, mkc, shape);
	if (status != CX_OK) {
		destroy(dev, mr);
		return status;
	}
	c->work = mr;
	return CX_OK;
}

static void publish(struct cx_cmd *c, struct up_mr *mr, const uint8_t *mkc,
		    const struct shape *shape)
{
	struct up_fabric *f = c->dev->port->fabric;

	up_world_stop(f);
	mr->count = shape->count;
	mr->key |= cx_get(mkc, CX_MKC_MKEY_7_0);
	mr->registrable = cx_get(mkc, CX_MKC_UMR_EN);
	mr->valid = !cx_get(mkc, CX_MKC_FREE);
	cx_set(c->out, CX_OUT_OBJECT, mr->key >> 8);
	up_world_start(f);
}

enum cx_status cx_create_mkey(struct cx_cmd *c)
{
	const uint8_t *mkc = c->in + CX_CREATE_MKEY_IN_MKC_AT;
	enum cx_status status;
	struct shape shape;

	status = check_shape(c, mkc, &shape);
	if (status == CX_OK && !c->work)
		status = begin(c, mkc, &shape);
	if (status != CX_OK)
		return status;
	if (shape.kind == UP_MR_PAGES)
		fill_pages(c, c->work, shape.count);
	c->again = shape.kind == UP_MR_PAGES && c->done < shape.count;
	if (!c->again)
		publish(c, c->work, mkc, &shape);
	return CX_OK;
}

/* Nobody may use the region any more. It keeps its place while a large table is freed. */
static void revoke(struct cx_device *dev, struct up_mr *mr)
{
	up_world_stop(dev->port->fabric);
	mr->valid = mr->registrable = false;
	up_world_start(dev->port->fabric);
}

enum cx_status cx_destroy_mkey(struct cx_cmd *c)
{
	struct up_mr *mr = mr_get(c);

	if (!mr || cx_cmd_object(c) == c->dev->reserved_key >> 8)
		return cx_fail(c, CX_BAD_RES, CX_WHY_NO_MKEY);
	if (!c->work)
		revoke(c->dev, mr);
	c->work = mr;
	c->again = !up_mr_shrink_table(mr);
	if (!c->again)
		destroy(c->dev, mr);
	return CX_OK;
}

enum cx_status cx_query_mkey(struct cx_cmd *c)
{
	static const uint8_t modes[] = {
		[UP_MR_PHYS] = CX_MKC_MODE_PA,
		[UP_MR_PAGES] = CX_MKC_MODE_MTT,
		[UP_MR_LIST] = CX_MKC_MODE_KLMS,
	};
	uint8_t *mkc = c->out + CX_QUERY_MKEY_OUT_MKC_AT;
	const struct up_mr *mr = mr_get(c);

	if (!mr)
		return cx_fail(c, CX_BAD_RES, CX_WHY_NO_MKEY);
	/* A registration may be under way. */
	up_world_stop(c->dev->port->fabric);
	cx_set(mkc, CX_MKC_FREE, !mr->valid);
	cx_set(mkc, CX_MKC_UMR_EN, mr->registrable);
	cx_set(mkc, CX_MKC_ACCESS_MODE_1_0, modes[mr->kind]);
	((struct cx_mkey_seg *)mkc)->flags |= cx_mkey_access_flags(mr);
	cx_set(mkc, CX_MKC_QPN, mr->qpn);
	cx_set(mkc, CX_MKC_MKEY_7_0, mr->key & 0xff);
	cx_set(mkc, CX_MKC_LENGTH64, mr->absolute);
	cx_set(mkc, CX_MKC_EN_RINVAL, mr->remote_inv);
	cx_set(mkc, CX_MKC_PD, mr->pdn);
	cx_set64(mkc, CX_MKC_START_ADDR, mr->start);
	cx_set64(mkc, CX_MKC_LEN, mr->length);
	cx_set(mkc, CX_MKC_TRANSLATIONS_OCTWORD_SIZE,
	       mr->kind == UP_MR_PAGES ? mr->capacity / (CX_OCTWORD_BYTES / CX_MTT_BYTES)
				       : mr->capacity);
	cx_set(mkc, CX_MKC_LOG_PAGE_SIZE, mr->page_shift);
	up_world_start(c->dev->port->fabric);
	return CX_OK;
}

int cx_reserved_mkey_create(struct cx_device *dev)
{
	struct up_mr *mr;

	up_world_stop(dev->port->fabric);
	mr = up_mr_create(&dev->hca, UP_MR_PHYS, 0);
	if (mr) {
		mr->privileged = true;
		mr->absolute = true;
		mr->access = UP_ACCESS_LOCAL_READ | UP_ACCESS_LOCAL_WRITE;
		mr->valid = true;
		dev->reserved_key = mr->key;
	}
	up_world_start(dev->port->fabric);
	return mr ? 0 : -errno;
}
