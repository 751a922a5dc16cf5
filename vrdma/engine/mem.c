/* SPDX-License-Identifier: BSD-2-Clause */
/* A VM's memory map (engine/mem.h). */
#include "engine/mem.h"

#include "base/hint.h"
#include "base/bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void up_mem_init(struct up_mem *m)
{
	memset(m, 0, sizeof(*m));
	m->epoch = 1;
}

void up_mem_fini(struct up_mem *m)
{
	free(m->ranges);
	memset(m, 0, sizeof(*m));
}

/* Both end at or below 2^64, so that the distances do not wrap. */
static bool overlap(const struct up_mem_range *r, uint64_t gpa, uint64_t size)
{
	return gpa >= r->gpa ? gpa - r->gpa < r->size : r->gpa - gpa < size;
}

static void note_change(struct up_mem *m)
{
	m->epoch++;
	m->largest = (struct up_mem_range){0};
	for (unsigned i = 0; i < m->count; i++)
		if (m->ranges[i].size > m->largest.size)
			m->largest = m->ranges[i];
}

int up_mem_add(struct up_mem *m, uint64_t gpa, uint64_t size, void *hva, bool writable)
{
	struct up_mem_range *ranges;
	unsigned at;

	if (!size || gpa > UINT64_MAX - (size - 1))
		return -EINVAL;
	for (unsigned i = 0; i < m->count; i++)
		if (overlap(&m->ranges[i], gpa, size))
			return -EEXIST;
	ranges = reallocarray(m->ranges, m->count + 1, sizeof(*ranges));
	if (!ranges)
		return -ENOMEM;
	m->ranges = ranges;
	for (at = m->count++; at && ranges[at - 1].gpa > gpa; at--)
		ranges[at] = ranges[at - 1];
	ranges[at] = (struct up_mem_range){gpa, size, hva, writable};
	note_change(m);
	return 0;
}

void up_mem_remove(struct up_mem *m, uint64_t gpa, uint64_t size)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < m->count; i++)
		if (!up_range_inside(m->ranges[i].gpa, m->ranges[i].size, gpa, size))
			m->ranges[kept++] = m->ranges[i];
	m->count = kept;
	note_change(m);
}

UP_COLD const struct up_mem_range *up_mem_find(const struct up_mem *m, uint64_t gpa)
{
	unsigned low = 0, high = m->count;

	/* The last one that begins at or below gpa is at low - 1 in the end. */
	while (low < high) {
		unsigned mid = low + (high - low) / 2;

		if (m->ranges[mid].gpa <= gpa)
			low = mid + 1;
		else
			high = mid;
	}
	return low && gpa - m->ranges[low - 1].gpa < m->ranges[low - 1].size ? &m->ranges[low - 1]
									     : NULL;
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
