/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Commands on memory keys. Most keys are created free, with room for translation entries that a
 * registration work request fills in later (umr.c); some bring theirs along.
 *
 * A process makes keys of a umem, and lists of other keys. It does not make those that reach memory
 * by address. Its keys count as users of their domain: a list in a domain that became another
 * process's would lend that one's keys the list's rights.
 */
#include "device/connectx/abi_queue.h"
#include "device/connectx/cmd.h"

#include <errno.h>
#include <stdlib.h>

#define MAX_OCTWORDS (1u << 28) /* the engine's bound on memory is far below */
#define STEP_PAGES (32u << 10)	/* that a command fills in at a time */

/* The one that the input names, which the command acts upon; or NULL, and the reason is set. */
static struct up_mr *mr_get(struct cx_cmd *c)
{
	struct up_mr *mr = up_table_get(&c->dev->hca.mrs, cx_cmd_object(c));
	const struct cx_user_mkey *user;

	if (!cx_found(c, mr, CX_WHY_NO_MKEY))
		return NULL;
	user = mr->device;
	return cx_acts_on(c, user ? user->uid : 0) ? mr : NULL;
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
	uint32_t page_shift;
	struct cx_umem *umem; /* that has the pages, from `first` on; or NULL */
	uint64_t first;
};

/*
 * A key of a umem. The pages are the largest ones of the umem in which the key's first address has
 * the place that its memory has.
 */
static enum cx_status shape_of_umem(struct cx_cmd *c, const uint8_t *mkc, struct shape *s)
{
	const struct cx_mkey_seg *seg = (const struct cx_mkey_seg *)mkc;
	const struct cx_umem_use use = {
		.valid = true,
		.writes = seg->flags & (CX_MKEY_LW | CX_MKEY_RW | CX_MKEY_A),
		.id = cx_get(c->in, CX_CREATE_MKEY_IN_MKEY_UMEM_ID),
		.offset = cx_get64(c->in, CX_CREATE_MKEY_IN_MKEY_UMEM_OFFSET),
	};
	uint64_t len = cx_get64(mkc, CX_MKC_LEN), at, differ, npages;
	enum cx_status status = cx_umem_find(c, &use, len, &s->umem);

	if (status != CX_OK)
		return status;
	at = s->umem->offset + use.offset;
	differ = at ^ cx_get64(mkc, CX_MKC_START_ADDR);
	s->page_shift = s->umem->page_shift;
	while (s->page_shift > CX_PAGE_SHIFT && differ & ((UINT64_C(1) << s->page_shift) - 1))
		s->page_shift--;
	s->first = at & -(UINT64_C(1) << s->page_shift);
	npages = len ? ((at + len - 1 - s->first) >> s->page_shift) + 1 : 0;
	if (differ & ((UINT64_C(1) << s->page_shift) - 1) || cx_get(mkc, CX_MKC_LENGTH64))
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_ATTRIBUTE);
	if (npages > MAX_OCTWORDS)
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_SIZE);
	s->kind = UP_MR_PAGES;
	s->capacity = s->count = (uint32_t)npages;
	return CX_OK;
}

static enum cx_status check_shape(struct cx_cmd *c, const uint8_t *mkc, struct shape *s)
{
	uint32_t mode = access_mode(mkc), octwords, actual, per = 1;

	*s = (struct shape){.page_shift = cx_get(mkc, CX_MKC_LOG_PAGE_SIZE)};
	c->raw = c->uid;
	octwords = cx_get(mkc, CX_MKC_TRANSLATIONS_OCTWORD_SIZE);
	actual = cx_get(c->in, CX_CREATE_MKEY_IN_TRANSLATIONS_OCTWORD_ACTUAL_SIZE);
	if (mode > CX_MKC_MODE_KSM)
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_TYPE);
	if (c->raw && !cx_pd_find(c, cx_get(mkc, CX_MKC_PD)))
		return CX_BAD_RES;
	if (mode == CX_MKC_MODE_MTT && (c->raw || cx_get(c->in, CX_CREATE_MKEY_IN_MKEY_UMEM_VALID)))
		return shape_of_umem(c, mkc, s);
	if (mode == CX_MKC_MODE_PA) {
		s->kind = UP_MR_PHYS;
		return c->raw ? cx_fail(c, CX_BAD_PARAM, CX_WHY_KERNELS) : CX_OK;
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
static void fill_pages(struct cx_cmd *c, struct up_mr *mr, const struct shape *s)
{
	const uint8_t *entries = c->in + CX_CREATE_MKEY_IN_ENTRIES_AT;
	uint32_t left = s->count - c->done, n = left < STEP_PAGES ? left : STEP_PAGES;

	/* Without paging, entries of a command need no bits beside the address: 0 is a page. */
	if (!s->umem)
		cx_mkey_write_entries(mr, c->done, entries + c->done * CX_MTT_BYTES, n, 0);
	for (uint32_t i = c->done; s->umem && i < c->done + n; i++)
		mr->pages[i] = cx_umem_address(s->umem, s->first + ((uint64_t)i << s->page_shift));
	c->done += n;
}

static int fill_list(struct up_mr *mr, const uint8_t *entries, const struct shape *s)
{
	mr->equal = s->ksm;
	cx_mkey_write_entries(mr, 0, entries, s->count, 0);
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
	uint32_t shift = s->page_shift;

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

/* The key is a process's: it has hold of its domain and its memory. */
static enum cx_status claim(struct cx_cmd *c, struct up_mr *mr, const struct shape *s)
{
	struct cx_user_mkey *user;

	if (!c->uid && !s->umem)
		return CX_OK;
	user = up_arena_alloc(c->dev->hca.arena, sizeof(*user));
	if (!user)
		return cx_fail(c, CX_NO_RES, CX_WHY_NO_MEMORY);
	mr->device = user;
	user->uid = cx_own(c);
	if (c->uid) {
		user->pdn = mr->pdn;
		cx_pd_find(c, user->pdn)->users++;
	}
	if (s->umem) {
		user->umem = s->umem->id;
		s->umem->users++;
	}
	return CX_OK;
}

static void disclaim(struct cx_device *dev, struct up_mr *mr)
{
	struct cx_user_mkey *user = mr->device;

	if (!user)
		return;
	if (user->uid)
		((struct cx_number *)up_table_get(&dev->pds, user->pdn))->users--;
	cx_umem_put(dev, user->umem);
	cx_disown(dev, user->uid);
	up_arena_free(dev->hca.arena, user, sizeof(*user));
}

static void destroy(struct cx_device *dev, struct up_mr *mr)
{
	up_world_stop(dev->port->fabric);
	up_mr_unlink(&dev->hca, mr);
	up_world_start(dev->port->fabric);
	disclaim(dev, mr);
	up_mr_free(mr);
}

/* The region, left in c->work: all of it but its pages. */
static enum cx_status begin(struct cx_cmd *c, const uint8_t *mkc, const struct shape *shape)
{
	struct cx_device *dev = c->dev;
	enum cx_status status;
	struct up_mr *mr;
	int err;

	mr = up_mr_alloc(&dev->hca, shape->kind, shape->capacity);
	if (!mr)
		return cx_fail(c, CX_LIM_ERR, CX_WHY_NO_MEMORY);
	up_world_stop(dev->port->fabric);
	err = up_mr_link(&dev->hca, mr);
	up_world_start(dev->port->fabric);
	if (err) {
		up_mr_free(mr);
		return cx_fail(c, CX_NO_RES, CX_WHY_TABLE_FULL);
	}
	status = fill(c, mr, mkc, shape);
	if (status == CX_OK)
		status = claim(c, mr, shape);
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
		fill_pages(c, c->work, &shape);
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

/* By its number: a registration may be under way that changes the rest of another's key. */
static bool is_special(const struct cx_device *dev, uint32_t index)
{
	return index == dev->reserved_key >> 8 || index == dev->null_key >> 8;
}

enum cx_status cx_destroy_mkey(struct cx_cmd *c)
{
	struct up_mr *mr = mr_get(c);

	if (!mr)
		return CX_BAD_RES;
	if (is_special(c->dev, cx_cmd_object(c)))
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
		[UP_MR_NULL] = CX_MKC_MODE_PA,
	};
	uint8_t *mkc = c->out + CX_QUERY_MKEY_OUT_MKC_AT;
	const struct up_mr *mr = mr_get(c);

	if (!mr)
		return CX_BAD_RES;
	/* A registration may be under way. */
	up_world_stop(c->dev->port->fabric);
	cx_set(mkc, CX_MKC_FREE, !mr->valid);
	cx_set(mkc, CX_MKC_UMR_EN, mr->registrable);
	cx_set(mkc, CX_MKC_ACCESS_MODE_1_0, mr->equal ? CX_MKC_MODE_KSM : modes[mr->kind]);
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

static struct up_mr *special(struct cx_device *dev, enum up_mr_kind kind)
{
	struct up_mr *mr = up_mr_alloc(&dev->hca, kind, 0);

	if (!mr)
		return NULL;
	mr->absolute = true;
	mr->access = UP_ACCESS_LOCAL_READ | UP_ACCESS_LOCAL_WRITE;
	mr->privileged = kind == UP_MR_PHYS;
	mr->valid = true;
	return mr;
}

/* Those of QUERY_SPECIAL_CONTEXTS. The table is empty, and has room for them. */
int cx_special_mkeys_create(struct cx_device *dev)
{
	struct up_mr *all = special(dev, UP_MR_PHYS), *none = special(dev, UP_MR_NULL);

	if (!all || !none) {
		if (all)
			up_mr_free(all);
		if (none)
			up_mr_free(none);
		return -ENOMEM;
	}
	up_world_stop(dev->port->fabric);
	up_mr_link(&dev->hca, all);
	up_mr_link(&dev->hca, none);
	up_world_start(dev->port->fabric);
	dev->reserved_key = all->key;
	dev->null_key = none->key;
	return 0;
}
