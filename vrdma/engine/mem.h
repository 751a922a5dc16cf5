/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A VM's memory: which guest-physical ranges exist, and where the host maps them.
 *
 * Read by workers without a lock. A change is planned beside them and takes place with the world
 * stopped (fabric/fabric.h), which is then short however many ranges there are: with an IOMMU in
 * the guest each page is one. Pointers from up_mem_at() are therefore good until the reader's next
 * quiescent point, or as long as the epoch is the same.
 */
#ifndef UP_ENGINE_MEM_H
#define UP_ENGINE_MEM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct up_mem_range {
	uint64_t gpa;
	uint64_t size;
	uint8_t *hva;
	bool writable;
};

/* The ranges by address, and the largest of them: it is nearly always the one meant. */
struct up_mem_table {
	struct up_mem_range *ranges;
	unsigned count, capacity;
	struct up_mem_range largest;
};

struct up_mem {
	struct up_mem_table now;
	struct up_mem_table next; /* what up_mem_commit() puts in its place; nobody else reads it */
	bool planned;
	/*
	 * Counts its changes, from 1 on. Who keeps an address looks at it before each use: that is
	 * good until the next change. Of 64 bits: a guest could make fewer wrap.
	 */
	uint64_t epoch;
	/*
	 * Set (from a signal handler, on any thread) when the memory behind a range vanished and
	 * zeroes took its place: nothing read since then may be believed.
	 */
	const atomic_bool *lost;
	/*
	 * How much memory there is behind the ranges, of which several may be the same. NULL: none
	 * are. On the control thread.
	 */
	const uint64_t *backing;
	uint64_t most; /* that a VM can have: the host's */
};

void up_mem_init(struct up_mem *m);
void up_mem_fini(struct up_mem *m);

/*
 * Plan one more range, or to forget every range inside [gpa, gpa + size). Up to the commit nothing
 * changes; a second plan replaces the first. 0, -EEXIST for an overlap, -EINVAL for a range that
 * wraps, -ENOMEM.
 */
int up_mem_plan_add(struct up_mem *m, uint64_t gpa, uint64_t size, void *hva, bool writable);
void up_mem_plan_remove(struct up_mem *m, uint64_t gpa, uint64_t size);

/* With the world stopped: what was planned is so from now on. */
void up_mem_commit(struct up_mem *m);

/* Both steps, where nobody reads meanwhile. */
int up_mem_add(struct up_mem *m, uint64_t gpa, uint64_t size, void *hva, bool writable);
void up_mem_remove(struct up_mem *m, uint64_t gpa, uint64_t size);

/* The range that gpa lies in, or NULL. */
const struct up_mem_range *up_mem_find(const struct up_mem *m, uint64_t gpa);

/*
 * Host address of gpa, and in *room how many bytes lie in the same range from there on; NULL when
 * there is no memory (or it may not be written).
 */
static inline uint8_t *up_mem_run(const struct up_mem *m, uint64_t gpa, bool write, uint64_t *room)
{
	const struct up_mem_range *r = &m->now.largest;

	if (__builtin_expect(gpa - r->gpa >= r->size, 0)) {
		r = up_mem_find(m, gpa);
		if (!r)
			return NULL;
	}
	*room = r->size - (gpa - r->gpa);
	return write && !r->writable ? NULL : r->hva + (gpa - r->gpa);
}

/* Host address of [gpa, gpa + len), or NULL unless it lies in one range (and may be written). */
static inline void *up_mem_at(const struct up_mem *m, uint64_t gpa, uint64_t len, bool write)
{
	uint64_t room;
	uint8_t *at = up_mem_run(m, gpa, write, &room);

	return at && len <= room ? at : NULL;
}

static inline bool up_mem_lost(const struct up_mem *m)
{
	return m->lost && atomic_load_explicit(m->lost, memory_order_relaxed);
}

/* Copies that may cross pages and ranges: 0 or -EFAULT (then nothing was copied). */
int up_mem_read(const struct up_mem *m, uint64_t gpa, void *buf, size_t len);
int up_mem_write(const struct up_mem *m, uint64_t gpa, const void *buf, size_t len);

#endif
