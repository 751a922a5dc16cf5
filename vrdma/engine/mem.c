/* SPDX-License-Identifier: BSD-2-Clause */
/* A VM's memory map (engine/mem.h). */
#include "engine/mem.h"

#include "base/bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void up_mem_init(struct up_mem *m)
{
	memset(m, 0, sizeof(*m));
	m->epoch = 1;
	m->most = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

void up_mem_fini(struct up_mem *m)
{
	free(m->now.ranges);
	free(m->next.ranges);
	memset(m, 0, sizeof(*m));
}

/* Both end at or below 2^64, so that the distances do not wrap. */
static bool overlap(const struct up_mem_range *r, uint64_t gpa, uint64_t size)
{
	return gpa >= r->gpa ? gpa - r->gpa < r->size : r->gpa - gpa < size;
}

/* How many begin at or below gpa. */
static unsigned begun(const struct up_mem *m, uint64_t gpa)
{
	unsigned low = 0, high = m->now.count;

	while (low < high) {
		unsigned mid = low + (high - low) / 2;

		if (m->now.ranges[mid].gpa <= gpa)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* Room for what is there now and one more. */
static int reserve_next(struct up_mem *m)
{
	unsigned need = m->now.count + 1, capacity = need < 8 ? 16 : 2 * need;

	if (m->next.capacity >= need)
		return 0;
	free(m->next.ranges);
	m->next.capacity = 0;
	m->next.ranges = reallocarray(NULL, capacity, sizeof(*m->next.ranges));
	if (!m->next.ranges)
		return -ENOMEM;
	m->next.capacity = capacity;
	return 0;
}

/* The ranges from the `from`th on come to stand from the `to`th on. */
static void keep_rest(struct up_mem *m, unsigned to, unsigned from)
{
	if (m->now.count > from)
		memcpy(&m->next.ranges[to], &m->now.ranges[from],
		       (m->now.count - from) * sizeof(*m->now.ranges));
}

int up_mem_plan_add(struct up_mem *m, uint64_t gpa, uint64_t size, void *hva, bool writable)
{
	const struct up_mem_range r = {gpa, size, hva, writable};
	unsigned at;
	int err;

	m->planned = false;
	if (!size || gpa > UINT64_MAX - (size - 1))
		return -EINVAL;
	at = begun(m, gpa);
	if ((at && overlap(&m->now.ranges[at - 1], gpa, size)) ||
	    (at < m->now.count && overlap(&m->now.ranges[at], gpa, size)))
		return -EEXIST;
	err = reserve_next(m);
	if (err)
		return err;
	if (at)
		memcpy(m->next.ranges, m->now.ranges, at * sizeof(r));
	keep_rest(m, at + 1, at);
	m->next.ranges[at] = r;
	m->next.count = m->now.count + 1;
	m->next.largest = size > m->now.largest.size ? r : m->now.largest;
	m->planned = true;
	return 0;
}

static void find_largest(struct up_mem_table *t)
{
	t->largest = (struct up_mem_range){0};
	for (unsigned i = 0; i < t->count; i++)
		if (t->ranges[i].size > t->largest.size)
			t->largest = t->ranges[i];
}

/*
 * Ranges do not overlap, so that those inside stand together. There is room for the others: the
 * next table was the one before, or has been grown for more.
 */
void up_mem_plan_remove(struct up_mem *m, uint64_t gpa, uint64_t size)
{
	unsigned first = gpa ? begun(m, gpa - 1) : 0, last = first;
	const struct up_mem_range *r = m->now.ranges;

	while (last < m->now.count && up_range_inside(r[last].gpa, r[last].size, gpa, size))
		last++;
	m->planned = last > first;
	if (!m->planned)
		return;
	if (first)
		memcpy(m->next.ranges, r, first * sizeof(*r));
	keep_rest(m, first, last);
	m->next.count = m->now.count - (last - first);
	m->next.largest = m->now.largest;
	if (up_range_inside(m->now.largest.gpa, m->now.largest.size, gpa, size))
		find_largest(&m->next);
}

void up_mem_commit(struct up_mem *m)
{
	struct up_mem_table before = m->now;

	if (!m->planned)
		return;
	m->now = m->next;
	m->next = before;
	m->planned = false;
	m->epoch++;
}

int up_mem_add(struct up_mem *m, uint64_t gpa, uint64_t size, void *hva, bool writable)
{
	int err = up_mem_plan_add(m, gpa, size, hva, writable);

	up_mem_commit(m);
	return err;
}

void up_mem_remove(struct up_mem *m, uint64_t gpa, uint64_t size)
{
	up_mem_plan_remove(m, gpa, size);
	up_mem_commit(m);
}

const struct up_mem_range *up_mem_find(const struct up_mem *m, uint64_t gpa)
{
	unsigned n = begun(m, gpa);
	const struct up_mem_range *r;

	if (!n)
		return NULL;
	r = &m->now.ranges[n - 1];
	return gpa - r->gpa < r->size ? r : NULL;
}

/* Host address of gpa, and in *len how much of it lies in the same range. */
static uint8_t *part(const struct up_mem *m, uint64_t gpa, size_t *len, bool write)
{
	uint64_t room;
	uint8_t *at = up_mem_run(m, gpa, write, &room);

	if (at && *len > room)
		*len = (size_t)room;
	return at;
}

/* 0 if every byte of [gpa, gpa + len) is there (and may be written). */
static int check(const struct up_mem *m, uint64_t gpa, size_t len, bool write)
{
	if (len && gpa > UINT64_MAX - (len - 1))
		return -EFAULT;
	while (len) {
		size_t n = len;

		if (!part(m, gpa, &n, write))
			return -EFAULT;
		gpa += n;
		len -= n;
	}
	return 0;
}

int up_mem_read(const struct up_mem *m, uint64_t gpa, void *buf, size_t len)
{
	uint8_t *to = buf;

	if (check(m, gpa, len, false))
		return -EFAULT;
	while (len) {
		size_t n = len;
		const uint8_t *from = part(m, gpa, &n, false);

		memcpy(to, from, n);
		to += n;
		gpa += n;
		len -= n;
	}
	return 0;
}

int up_mem_write(const struct up_mem *m, uint64_t gpa, const void *buf, size_t len)
{
	const uint8_t *from = buf;

	if (check(m, gpa, len, true))
		return -EFAULT;
	while (len) {
		size_t n = len;
		uint8_t *to = part(m, gpa, &n, true);

		memcpy(to, from, n);
		from += n;
		gpa += n;
		len -= n;
	}
	return 0;
}
