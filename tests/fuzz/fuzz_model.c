/* SPDX-License-Identifier: BSD-2-Clause */
/* The keys of fuzz_model.h. */
#include "fuzz_model.h"

#define EVERYTHING (CX_MKEY_LR | CX_MKEY_LW | CX_MKEY_RR | CX_MKEY_RW | CX_MKEY_A)
#define WRITES (CX_MKEY_LW | CX_MKEY_RW | CX_MKEY_A)

struct piece {
	enum fuzz_keys of;
	uint32_t offset, len;
};

/* The second and the last one may not be written. */
static const struct piece pieces[] = {
	{KEY_ALL, 0x10, 100},  {KEY_READ, 0, 50},  {KEY_LOCAL, 5900, 100},
	{KEY_WRITE, 4000, 96}, {KEY_ALL, 4090, 7}, {KEY_FOREIGN, 0, 32},
};

/* Keys of pages: how many from FUZZ_FREE + page on, and where in the first one they begin. */
static const struct {
	unsigned page, count;
	uint32_t offset, len;
	uint8_t access;
} shapes[] = {
	[KEY_ALL] = {0, 4, 0, 4 * FUZZ_PAGE, EVERYTHING},
	[KEY_READ] = {4, 1, 0, FUZZ_PAGE, CX_MKEY_LR | CX_MKEY_RR},
	[KEY_LOCAL] = {5, 2, LOCAL_OFFSET, LOCAL_BYTES, CX_MKEY_LR | CX_MKEY_LW},
	[KEY_WRITE] = {7, 1, 0, FUZZ_PAGE, CX_MKEY_LR | CX_MKEY_LW | CX_MKEY_RW},
	[KEY_FOREIGN] = {8, 1, 0, FUZZ_PAGE, EVERYTHING},
	[KEY_INVAL] = {9, 1, 0, FUZZ_PAGE, EVERYTHING},
};

static uint64_t start_of(enum fuzz_keys k)
{
	return 0x10000000ull * (k + 1u) + (k < UP_ARRAY_SIZE(shapes) ? shapes[k].offset : 0);
}

/* KEY_ALL's pages are swapped two by two. */
static unsigned page_of(enum fuzz_keys k, unsigned i)
{
	return FUZZ_FREE + shapes[k].page + (k == KEY_ALL ? i ^ 1 : i);
}

static void make(struct model_vm *m, enum fuzz_keys k, const void *entries)
{
	struct model_key *key = &m->key[k];

	key->made.start = start_of(k);
	key->made.pdn = k == KEY_FOREIGN ? m->foreign_pdn : m->vm.pdn;
	key->made.entries = entries;
	key->key = fuzz_vm_key(&m->vm, &key->made);
	key->made.entries = NULL;
}

static void make_pages(struct model_vm *m, enum fuzz_keys k)
{
	uint64_t pages[4];

	m->key[k].made = (struct fuzz_key){
		.mode = CX_MKC_MODE_MTT,
		.access = shapes[k].access,
		.remote_inv = k == KEY_INVAL,
		.len = shapes[k].len,
		.count = shapes[k].count,
	};
	for (unsigned i = 0; i < shapes[k].count; i++)
		pages[i] = htobe64(fuzz_gpa(page_of(k, i)));
	make(m, k, pages);
}

static void make_list(struct model_vm *m)
{
	struct cx_klm klm[UP_ARRAY_SIZE(pieces)];
	struct fuzz_key *made = &m->key[KEY_LIST].made;

	*made = (struct fuzz_key){
		.mode = CX_MKC_MODE_KLMS,
		.access = EVERYTHING,
		.count = UP_ARRAY_SIZE(pieces),
	};
	for (unsigned i = 0; i < UP_ARRAY_SIZE(pieces); i++) {
		klm[i].bcount = htobe32(pieces[i].len);
		klm[i].key = htobe32(m->key[pieces[i].of].key);
		klm[i].va = htobe64(start_of(pieces[i].of) + pieces[i].offset);
		made->len += pieces[i].len;
	}
	make(m, KEY_LIST, klm);
}

void model_make_keys(struct model_vm *m)
{
	m->foreign_pdn = fuzz_vm_alloc(&m->vm, CX_CMD_ALLOC_PD);
	for (unsigned k = 0; k < UP_ARRAY_SIZE(shapes); k++)
		make_pages(m, k);
	make_list(m);
	for (unsigned k = KEY_WINDOW; k < NR_KEYS; k++) {
		m->key[k].made = (struct fuzz_key){
			.mode = k == KEY_FAST ? CX_MKC_MODE_MTT : CX_MKC_MODE_KLMS,
			.access = EVERYTHING | CX_MKEY_UMR_EN,
			.len = 2 * FUZZ_PAGE,
			.count = 8,
		};
		make(m, k, NULL);
	}
}

static enum fuzz_keys find(const struct model_vm *m, uint32_t key)
{
	unsigned k = 0;

	while (k < NR_KEYS && m->key[k].key != key)
		k++;
	return k;
}

/* A list lends its own rights from far; its pieces need the one from near. */
static uint8_t inner_access(uint8_t access)
{
	return access & WRITES ? CX_MKEY_LW : CX_MKEY_LR;
}

static const struct piece *piece_at(uint64_t *pos)
{
	const struct piece *p = pieces;

	while (*pos >= p->len)
		*pos -= p++->len;
	return p;
}

static bool byte_allowed(const struct model_vm *m, uint32_t key, uint8_t access, uint64_t addr)
{
	enum fuzz_keys k = find(m, key);
	const struct fuzz_key *made = &m->key[k].made;
	uint64_t pos = addr - start_of(k);

	if (k >= KEY_WINDOW || (access & ~made->access) || made->pdn != m->vm.pdn)
		return false;
	if (addr < start_of(k) || pos >= made->len)
		return false;
	if (k == KEY_LIST) {
		const struct piece *p = piece_at(&pos);

		return byte_allowed(m, m->key[p->of].key, inner_access(access),
				    start_of(p->of) + p->offset + pos);
	}
	return true;
}

bool model_allows(const struct model_vm *m, uint32_t key, uint8_t access, uint64_t addr,
		  uint64_t len)
{
	/* No key here is longer. */
	if (len > FUZZ_RAM)
		return false;
	for (uint64_t i = 0; i < len; i++) {
		if (addr + i < addr || !byte_allowed(m, key, access, addr + i))
			return false;
	}
	return true;
}

bool model_is_window(const struct model_vm *m, uint32_t key)
{
	/* Its variant may be changed as well. */
	return key >> 8 == m->key[KEY_WINDOW].key >> 8;
}

uint8_t *model_byte(const struct model_vm *m, uint32_t key, uint64_t addr)
{
	enum fuzz_keys k = find(m, key);
	uint64_t pos = addr - start_of(k);

	if (k == KEY_LIST) {
		const struct piece *p = piece_at(&pos);

		return model_byte(m, m->key[p->of].key, start_of(p->of) + p->offset + pos);
	}
	pos += shapes[k].offset;
	return fuzz_at(&m->vm, page_of(k, (unsigned)(pos / FUZZ_PAGE)), pos % FUZZ_PAGE);
}

bool model_writable(const struct model_vm *m, uint32_t off)
{
	unsigned page = off / FUZZ_PAGE;

	if (page == FUZZ_EQ || (page >= FUZZ_CQ && page < FUZZ_QP))
		return true;
	for (unsigned k = 0; k < UP_ARRAY_SIZE(shapes); k++) {
		uint32_t first = (FUZZ_FREE + shapes[k].page) * FUZZ_PAGE + shapes[k].offset;

		if (off >= first && off - first < shapes[k].len)
			return (shapes[k].access & WRITES) && k != KEY_FOREIGN;
	}
	return false;
}
