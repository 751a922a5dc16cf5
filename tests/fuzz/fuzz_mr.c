/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libFuzzer target: memory regions (engine/mr.h) against a shadow model that knows, for one byte at
 * a time, where it is and who may touch it.
 *
 * Input: operations, a byte that says which (enum operation) and its arguments, little endian.
 * Addresses, keys and lengths are chosen near what exists, or taken from the input as they are.
 */
#include "fuzz.h"

#include "engine/hca.h"

#include <errno.h>

enum operation { CREATE, DESTROY, CHANGE, FILL, MAP, UNMAP, ACCESS, INVALIDATE, NR_OPERATIONS };

enum { MAX_MRS = 12, MAX_ENTRIES = 6, RANGES = 4, RANGE_BYTES = 4096, TABLE = 32 };

/* The model's own record of a region; pages and pieces are told to both. */
struct shadow {
	struct up_mr *mr; /* NULL: none */
	struct up_mr state;
	uint64_t pages[MAX_ENTRIES];
	struct up_mr_piece pieces[MAX_ENTRIES];
};

static struct {
	struct up_hca hca;
	struct shadow mrs[MAX_MRS];
	bool mapped[RANGES];
} m;

/* The second begins where the first ends, in guest memory but not here; the last ends at 2^64. */
static const struct {
	uint64_t gpa;
	bool writable;
} ranges[RANGES] = {{0x1000, true}, {0x2000, true}, {0x8000, false}, {-(uint64_t)0x1000, true}};

static uint8_t ram[RANGES][RANGE_BYTES];

static uint8_t *byte_of_memory(uint64_t gpa, bool write)
{
	for (unsigned i = 0; i < RANGES; i++) {
		if (!m.mapped[i] || gpa < ranges[i].gpa || gpa - ranges[i].gpa >= RANGE_BYTES)
			continue;
		return write && !ranges[i].writable ? NULL : &ram[i][gpa - ranges[i].gpa];
	}
	return NULL;
}

static const struct shadow *find(uint32_t key)
{
	for (unsigned i = 0; i < MAX_MRS; i++) {
		if (m.mrs[i].mr && m.mrs[i].state.key == key)
			return &m.mrs[i];
	}
	return NULL;
}

/* The region of `key`, if it allows an access to [addr, addr + len). */
static const struct shadow *permitted(uint32_t key, const struct up_mr_use *use, uint64_t addr,
				      uint64_t len)
{
	const struct shadow *s = find(key);
	unsigned __int128 end = (unsigned __int128)addr + len, limit;
	const unsigned __int128 top = (unsigned __int128)1 << 64;

	if (!s || !s->state.valid)
		return NULL;
	if (s->state.privileged ? !use->privileged : s->state.pdn != use->pdn)
		return NULL;
	if ((s->state.access | use->access) != s->state.access)
		return NULL;
	if (s->state.qpn != UP_MR_ANY_QP && s->state.qpn != use->qpn)
		return NULL;
	limit = (unsigned __int128)s->state.start + s->state.length;
	if (!s->state.absolute && (addr < s->state.start || end > limit))
		return NULL;
	return end <= top ? s : NULL;
}

static uint8_t *byte_of_pages(const struct shadow *s, uint64_t addr, bool write)
{
	unsigned __int128 page = (unsigned __int128)1 << (s->state.page_shift & 63);
	unsigned __int128 at =
		(unsigned __int128)(uint64_t)(addr - s->state.start) + s->state.start % page;

	/* A region so large that its offset has no 64-bit number has no pages there. */
	if (at >> 64 || at / page >= s->state.count)
		return NULL;
	return byte_of_memory(s->pages[at / page] + (uint64_t)(at % page), write);
}

/*
 * Where the first byte of [addr, addr + len) is, and in *run after how many bytes at most another
 * piece begins. 0, or the error that up_mr_span() gives.
 */
static int locate(uint32_t key, struct up_mr_use use, uint64_t addr, uint64_t *run, uint8_t **at)
{
	bool write = use.access & ~(UP_ACCESS_LOCAL_READ | UP_ACCESS_REMOTE_READ);

	for (unsigned depth = 0;; depth++) {
		const struct shadow *s = permitted(key, &use, addr, *run);
		uint64_t pos;
		uint32_t i = 0;

		if (!s)
			return -EACCES;
		if (s->state.kind != UP_MR_LIST) {
			*at = s->state.kind == UP_MR_PHYS ? byte_of_memory(addr, write)
							  : byte_of_pages(s, addr, write);
			return *at ? 0 : -EFAULT;
		}
		for (pos = addr - s->state.start; i < s->state.count; i++) {
			if (pos < s->pieces[i].len)
				break;
			pos -= s->pieces[i].len;
		}
		if (i == s->state.count)
			return -EFAULT;
		if (depth == UP_MR_MAX_DEPTH)
			return -EACCES;
		if (*run > s->pieces[i].len - pos)
			*run = s->pieces[i].len - pos;
		if (s->pieces[i].addr > UINT64_MAX - pos)
			return -EFAULT;
		key = s->pieces[i].key;
		addr = s->pieces[i].addr + pos;
		use.access = write ? UP_ACCESS_LOCAL_WRITE : UP_ACCESS_LOCAL_READ;
		use.privileged = false;
	}
}

/* Every byte that the span gives is the one that the model finds at its address. */
static void check_span(uint32_t key, const struct up_mr_use *use, uint64_t addr, uint64_t len)
{
	struct up_span span;
	uint64_t run = len;
	uint8_t *at = NULL;
	int expected = locate(key, *use, addr, &run, &at);
	int err = up_mr_span(&m.hca, key, use, addr, len, &span);

	CHECK(err == expected);
	if (err)
		return;
	CHECK(span.len && span.len <= run);
	for (size_t i = 0; i < span.len; i++) {
		uint64_t left = len - i;

		CHECK(locate(key, *use, addr + i, &left, &at) == 0 && at == span.ptr + i);
	}
}

static uint32_t some_key(struct fuzz_input *in)
{
	uint8_t pick = fuzz_u8(in);

	if (pick % 16 < MAX_MRS && m.mrs[pick % 16].mr)
		return m.mrs[pick % 16].state.key ^ (pick >> 7);
	return fuzz_u32(in);
}

/* Near the start of a region, the pages, or an end of the address space. */
static uint64_t some_address(struct fuzz_input *in)
{
	uint8_t pick = fuzz_u8(in);
	uint64_t base = 0;

	if (pick % 16 < MAX_MRS)
		base = m.mrs[pick % 16].mr ? m.mrs[pick % 16].state.start : 0;
	else if (pick % 16 < 15)
		base = ranges[pick / 16 % RANGES].gpa;
	else
		return fuzz_number(in, 8);
	return base + fuzz_u16(in) - (pick & 0x80 ? 0x8000u : 0u);
}

static uint64_t some_length(struct fuzz_input *in)
{
	uint8_t pick = fuzz_u8(in);

	if (pick < 0xf0)
		return pick + (pick & 1 ? fuzz_u16(in) : 0u);
	return fuzz_number(in, 8);
}

static struct up_mr_use some_use(struct fuzz_input *in)
{
	uint8_t pick = fuzz_u8(in);
	uint32_t access = 1u << pick % 5;

	if (pick & 0x80)
		access |= fuzz_u8(in) & 0x1fu;
	return (struct up_mr_use){
		.pdn = pick >> 4 & 1,
		.qpn = pick >> 5 & 1,
		.access = access,
		.privileged = pick >> 6 & 1,
	};
}

/* Tells the region what the model says. */
static void apply(struct shadow *s)
{
	struct up_mr *mr = s->mr;

	mr->key = s->state.key;
	mr->pdn = s->state.pdn;
	mr->qpn = s->state.qpn;
	mr->access = s->state.access;
	mr->valid = s->state.valid;
	mr->remote_inv = s->state.remote_inv;
	mr->absolute = s->state.absolute;
	mr->privileged = s->state.privileged;
	mr->start = s->state.start;
	mr->length = s->state.length;
	mr->page_shift = s->state.page_shift;
	mr->count = s->state.count;
}

static void change(struct shadow *s, struct fuzz_input *in)
{
	uint8_t flags = fuzz_u8(in);

	s->state.key = (s->state.key & ~0xffu) | fuzz_u8(in);
	s->state.pdn = flags & 1;
	s->state.qpn = flags & 2 ? flags >> 2 & 1 : UP_MR_ANY_QP;
	s->state.valid = (flags & 0x18) != 0;
	s->state.remote_inv = flags & 0x20;
	s->state.absolute = (flags & 0xc0) == 0xc0;
	s->state.access = fuzz_u8(in);
	s->state.privileged = (s->state.access & 0xe0) == 0xe0;
	s->state.access &= 0x1f;
	s->state.start = some_address(in);
	s->state.length = some_length(in);
	s->state.page_shift = fuzz_u8(in);
	if (s->state.page_shift < 0xc0)
		s->state.page_shift = 2 + s->state.page_shift % 11;
	apply(s);
}

/* Its table is made once it is written to. */
static struct up_mr *create_empty(enum up_mr_kind kind, uint32_t capacity)
{
	struct up_mr *mr = up_mr_alloc(&m.hca, kind, capacity);

	CHECK(mr && !up_mr_link(&m.hca, mr));
	return mr;
}

static void create(struct fuzz_input *in)
{
	struct shadow *s = m.mrs;
	uint8_t pick = fuzz_u8(in);
	enum up_mr_kind kind = pick % 3;
	uint32_t capacity = fuzz_u8(in) % (MAX_ENTRIES + 1);

	while (s < m.mrs + MAX_MRS && s->mr)
		s++;
	if (s == m.mrs + MAX_MRS)
		return;
	memset(s, 0, sizeof(*s));
	s->mr = pick & 0x80 ? create_empty(kind, capacity) : up_mr_create(&m.hca, kind, capacity);
	CHECK(s->mr && !s->mr->valid && s->mr->kind == kind && s->mr->capacity == capacity);
	CHECK(up_mr_get(&m.hca, s->mr->key) == s->mr && !find(s->mr->key));
	s->state = *s->mr;
	change(s, in);
}

static void destroy(struct shadow *s)
{
	uint32_t key = s->state.key;

	if (!s->mr)
		return;
	up_mr_destroy(&m.hca, s->mr);
	s->mr = NULL;
	CHECK(!up_mr_get(&m.hca, key));
}

/* Changes one page or piece, and how many there are. */
static void fill(struct shadow *s, struct fuzz_input *in)
{
	uint32_t i = fuzz_u8(in), count = fuzz_u8(in);
	int expected = 0;
	uint64_t sum = 0;

	if (!s->mr || !s->state.capacity || s->state.kind == UP_MR_PHYS)
		return;
	CHECK(!up_mr_make_table(s->mr));
	i %= s->state.capacity;
	s->state.count = count % (s->state.capacity + 1);
	apply(s);
	if (s->state.kind == UP_MR_PAGES) {
		s->mr->pages[i] = s->pages[i] = some_address(in);
		return;
	}
	/* One after the other: an initializer has no order. */
	s->pieces[i].key = some_key(in);
	s->pieces[i].addr = some_address(in);
	s->pieces[i].len = some_length(in);
	memcpy(s->mr->pieces, s->pieces, s->state.capacity * sizeof(*s->pieces));
	for (uint32_t k = 0; k < s->state.count; k++) {
		if (__builtin_add_overflow(sum, s->pieces[k].len, &sum))
			expected = -EINVAL;
	}
	CHECK(up_mr_seal_list(s->mr) == expected);
	if (expected) {
		s->state.count = 0;
		apply(s);
	}
}

static void set_mapped(unsigned i, bool mapped)
{
	if (mapped) {
		int err = up_mem_add(&m.hca.mem, ranges[i].gpa, RANGE_BYTES, ram[i],
				     ranges[i].writable);

		CHECK(err == (m.mapped[i] ? -EEXIST : 0));
	} else {
		up_mem_remove(&m.hca.mem, ranges[i].gpa, RANGE_BYTES);
	}
	m.mapped[i] = mapped;
}

/* It says what the check and the span say each for itself. */
static void check_resolved(uint32_t key, const struct up_mr_use *use, uint64_t addr, uint64_t len,
			   int expected)
{
	struct up_span span, resolved;

	CHECK(up_mr_resolve(&m.hca, key, use, addr, len, &resolved) == expected);
	if (expected)
		return;
	if (len > UP_MR_RESOLVE_MAX || up_mr_span(&m.hca, key, use, addr, len, &span))
		CHECK(resolved.len == 0);
	else
		CHECK(resolved.len == span.len && resolved.ptr == span.ptr);
}

static void access_memory(struct fuzz_input *in)
{
	uint32_t key = some_key(in);
	struct up_mr_use use = some_use(in);
	uint64_t addr = some_address(in), len = some_length(in);
	int expected = permitted(key, &use, addr, len) ? 0 : -EACCES;

	CHECK(up_mr_check(&m.hca, key, &use, addr, len) == expected);
	if (len) {
		check_span(key, &use, addr, len);
		check_resolved(key, &use, addr, len, expected);
	}
}

static void invalidate(struct fuzz_input *in)
{
	uint32_t key = some_key(in);
	struct up_mr_use use = some_use(in);
	bool remote = fuzz_u8(in) & 1;
	struct shadow *s = (struct shadow *)find(key);
	bool ok = s && s->state.pdn == use.pdn && (!remote || s->state.remote_inv) &&
		  (s->state.qpn == UP_MR_ANY_QP || s->state.qpn == use.qpn);

	CHECK(up_mr_invalidate(&m.hca, key, &use, remote) == (ok ? 0 : -EACCES));
	if (ok)
		s->state.valid = false;
	if (s)
		CHECK(s->mr->valid == s->state.valid);
}

static void play(struct fuzz_input *in)
{
	enum operation op = fuzz_u8(in) % NR_OPERATIONS;
	uint8_t which = op == ACCESS || op == INVALIDATE || op == CREATE ? 0 : fuzz_u8(in);
	struct shadow *s = &m.mrs[which % MAX_MRS];

	switch (op) {
	case CREATE:
		create(in);
		break;
	case DESTROY:
		destroy(s);
		break;
	case CHANGE:
		if (s->mr)
			change(s, in);
		break;
	case FILL:
		fill(s, in);
		break;
	case MAP:
	case UNMAP:
		set_mapped(which % RANGES, op == MAP);
		break;
	case ACCESS:
		access_memory(in);
		break;
	default:
		invalidate(in);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};

	memset(&m, 0, sizeof(m));
	up_mem_init(&m.hca.mem);
	m.hca.arena = up_arena_create();
	CHECK(m.hca.arena && up_table_init(&m.hca.mrs, TABLE, 1) == 0);
	for (unsigned i = 0; i < RANGES; i++)
		set_mapped(i, true);
	while (in.left)
		play(&in);
	for (unsigned i = 0; i < MAX_MRS; i++)
		destroy(&m.mrs[i]);
	CHECK(m.hca.mr_bytes == 0);
	up_table_fini(&m.hca.mrs);
	up_arena_destroy(m.hca.arena);
	up_mem_fini(&m.hca.mem);
	return 0;
}
