/* SPDX-License-Identifier: BSD-2-Clause */
/* One-sided puts and gets under every kind of synchronization, on every kind of window. */
#include "mpi_check.h"

#include <stdlib.h>
#include <string.h>

enum { SLOT = 1 << 20 }; /* bytes of each rank's place in a window */

static const int sizes[] = {1, 8, 64, 100, 4096, 4097, 65536, 300001, SLOT};

enum { NSIZES = sizeof(sizes) / sizeof(sizes[0]) };

static unsigned seed_of(int from, int to, int number)
{
	return (unsigned)((from * 64 + to) * 64 + number);
}

/* A window with a slot for each rank. */
struct win {
	MPI_Win win;
	uint8_t *mem;
	uint8_t *own; /* what it was made from, where that is ours to free */
};

static struct win win_create(bool allocate)
{
	MPI_Aint bytes = (MPI_Aint)ranks * SLOT;
	struct win w = {0};

	if (allocate) {
		MPI_Win_allocate(bytes, 1, MPI_INFO_NULL, MPI_COMM_WORLD, &w.mem, &w.win);
	} else {
		w.mem = w.own = room((size_t)bytes);
		MPI_Win_create(w.mem, bytes, 1, MPI_INFO_NULL, MPI_COMM_WORLD, &w.win);
	}
	memset(w.mem, 0, (size_t)bytes);
	MPI_Barrier(MPI_COMM_WORLD);
	return w;
}

static void win_free(struct win *w)
{
	MPI_Win_free(&w->win);
	free(w->own);
}

/* This rank's slot at another one. */
static MPI_Aint slot(int of)
{
	return (MPI_Aint)of * SLOT;
}

/* All others have put `bytes` into their slots here, and nothing behind them. */
static void must_have_all(const struct win *w, int bytes, int number)
{
	for (int r = 0; r < ranks; r++) {
		const uint8_t *at = w->mem + slot(r);

		MUST(filled(at, (size_t)bytes, seed_of(r, rank, number), 0),
		     "%d bytes that rank %d put: wrong data", bytes, r);
		MUST(bytes == SLOT || at[bytes] == 0, "a byte behind %d was written to", bytes);
	}
}

static void clear(struct win *w)
{
	memset(w->mem, 0, (size_t)ranks * SLOT);
}

static void fenced(bool allocate)
{
	struct win w = win_create(allocate);
	uint8_t *out = room((size_t)ranks * SLOT), *in = room((size_t)ranks * SLOT);

	for (int i = 0; i < NSIZES; i++) {
		MPI_Win_fence(MPI_MODE_NOPRECEDE, w.win);
		for (int r = 0; r < ranks; r++) {
			fill(out + slot(r), (size_t)sizes[i], seed_of(rank, r, i));
			MPI_Put(out + slot(r), sizes[i], MPI_BYTE, r, slot(rank), sizes[i],
				MPI_BYTE, w.win);
		}
		MPI_Win_fence(0, w.win);
		must_have_all(&w, sizes[i], i);
		for (int r = 0; r < ranks; r++)
			MPI_Get(in + slot(r), sizes[i], MPI_BYTE, r, slot(next_rank()), sizes[i],
				MPI_BYTE, w.win);
		MPI_Win_fence(MPI_MODE_NOSUCCEED, w.win);
		for (int r = 0; r < ranks; r++)
			MUST(filled(in + slot(r), (size_t)sizes[i], seed_of(next_rank(), r, i), 0),
			     "%d bytes got from rank %d", sizes[i], r);
		clear(&w);
		MPI_Barrier(MPI_COMM_WORLD);
	}
	free(out);
	free(in);
	win_free(&w);
}

static void fence(void)
{
	fenced(true);
}

static void fence_own_memory(void)
{
	fenced(false);
}

/* Post, start, complete, wait: each with its two neighbours only. */
static void post_start(void)
{
	struct win w = win_create(true);
	MPI_Group world, sources, targets;
	int source = previous_rank(), target = next_rank();
	uint8_t *out = room(SLOT);

	MPI_Comm_group(MPI_COMM_WORLD, &world);
	MPI_Group_incl(world, 1, &source, &sources);
	MPI_Group_incl(world, 1, &target, &targets);
	for (int i = 0; i < NSIZES; i++) {
		fill(out, (size_t)sizes[i], seed_of(rank, target, i));
		MPI_Win_post(sources, 0, w.win);
		MPI_Win_start(targets, 0, w.win);
		MPI_Put(out, sizes[i], MPI_BYTE, target, slot(rank), sizes[i], MPI_BYTE, w.win);
		MPI_Win_complete(w.win);
		MPI_Win_wait(w.win);
		MUST(filled(w.mem + slot(source), (size_t)sizes[i], seed_of(source, rank, i), 0),
		     "%d bytes of the neighbour", sizes[i]);
	}
	MPI_Group_free(&sources);
	MPI_Group_free(&targets);
	MPI_Group_free(&world);
	free(out);
	win_free(&w);
}

/* The target does nothing meanwhile but wait in a barrier. */
static void lock(void)
{
	struct win w = win_create(true);
	uint8_t *out = room(SLOT), *in = room(SLOT);

	for (int i = 0; i < NSIZES; i++) {
		for (int k = 1; k <= ranks; k++) {
			int r = (rank + k) % ranks;

			fill(out, (size_t)sizes[i], seed_of(rank, r, i));
			MPI_Win_lock(k % 2 ? MPI_LOCK_SHARED : MPI_LOCK_EXCLUSIVE, r, 0, w.win);
			MPI_Put(out, sizes[i], MPI_BYTE, r, slot(rank), sizes[i], MPI_BYTE, w.win);
			MPI_Win_flush(r, w.win);
			MPI_Get(in, sizes[i], MPI_BYTE, r, slot(rank), sizes[i], MPI_BYTE, w.win);
			MPI_Win_unlock(r, w.win);
			MUST(filled(in, (size_t)sizes[i], seed_of(rank, r, i), 0),
			     "%d bytes read back from rank %d", sizes[i], r);
		}
		MPI_Barrier(MPI_COMM_WORLD);
		MPI_Win_lock(MPI_LOCK_SHARED, rank, 0, w.win);
		must_have_all(&w, sizes[i], i);
		MPI_Win_unlock(rank, w.win);
		MPI_Barrier(MPI_COMM_WORLD);
	}
	free(out);
	free(in);
	win_free(&w);
}

/* A number that everybody changes by reading it and writing it back, under an exclusive lock. */
static void exclusive(void)
{
	const int each = 64 / ranks;
	struct win w = win_create(true);
	int64_t value = 0;

	for (int i = 0; i < each; i++) {
		MPI_Win_lock(MPI_LOCK_EXCLUSIVE, 0, 0, w.win);
		MPI_Get(&value, 1, MPI_INT64_T, 0, 0, 1, MPI_INT64_T, w.win);
		MPI_Win_flush(0, w.win);
		value++;
		MPI_Put(&value, 1, MPI_INT64_T, 0, 0, 1, MPI_INT64_T, w.win);
		MPI_Win_unlock(0, w.win);
	}
	MPI_Barrier(MPI_COMM_WORLD);
	MPI_Win_lock(MPI_LOCK_SHARED, 0, 0, w.win);
	MPI_Get(&value, 1, MPI_INT64_T, 0, 0, 1, MPI_INT64_T, w.win);
	MPI_Win_unlock(0, w.win);
	MUST(value == each * ranks, "%lld, not %d", (long long)value, each * ranks);
	win_free(&w);
}

/* Many small puts, flushed at once, then seen by their targets. */
static void lock_all(void)
{
	enum { EACH = 300 };
	struct win w = win_create(true);
	int64_t *out = room(EACH * sizeof(*out)), *slots = (int64_t *)w.mem;
	int per_slot = SLOT / (int)sizeof(int64_t);

	for (int i = 0; i < EACH; i++)
		out[i] = (int64_t)rank << 32 | i;
	MPI_Win_lock_all(0, w.win);
	for (int i = 0; i < EACH; i++)
		for (int r = 0; r < ranks; r++)
			MPI_Put(&out[i], 1, MPI_INT64_T, r, slot(rank) + i * (MPI_Aint)sizeof(*out),
				1, MPI_INT64_T, w.win);
	MPI_Win_flush_local_all(w.win);
	memset(out, 0xff, EACH * sizeof(*out));
	MPI_Win_flush_all(w.win);
	MPI_Barrier(MPI_COMM_WORLD);
	MPI_Win_sync(w.win);
	for (int r = 0; r < ranks; r++)
		for (int i = 0; i < EACH; i++)
			MUST(slots[r * per_slot + i] == ((int64_t)r << 32 | i),
			     "number %d of rank %d", i, r);
	MPI_Win_unlock_all(w.win);
	free(out);
	win_free(&w);
}

/* Operations that are requests of their own. */
static void requested(void)
{
	struct win w = win_create(true);
	uint8_t *out = room(SLOT), *in = room(SLOT);
	int to = next_rank();

	MPI_Win_lock_all(0, w.win);
	for (int i = 0; i < NSIZES; i++) {
		MPI_Request r;

		fill(out, (size_t)sizes[i], seed_of(rank, to, i));
		MPI_Rput(out, sizes[i], MPI_BYTE, to, slot(rank), sizes[i], MPI_BYTE, w.win, &r);
		MPI_Wait(&r, MPI_STATUS_IGNORE);
		MPI_Win_flush(to, w.win);
		MPI_Rget(in, sizes[i], MPI_BYTE, to, slot(rank), sizes[i], MPI_BYTE, w.win, &r);
		MPI_Wait(&r, MPI_STATUS_IGNORE);
		MUST(filled(in, (size_t)sizes[i], seed_of(rank, to, i), 0), "%d bytes", sizes[i]);
	}
	MPI_Win_unlock_all(w.win);
	free(out);
	free(in);
	win_free(&w);
}

/* Every second number to every third place. */
static void scattered(void)
{
	enum { COUNT = 5000 };
	struct win w = win_create(true);
	int *out = room(2 * COUNT * sizeof(int)), *in = (int *)(w.mem + slot(previous_rank()));
	MPI_Datatype second, third;

	MPI_Type_vector(COUNT, 1, 2, MPI_INT, &second);
	MPI_Type_vector(COUNT, 1, 3, MPI_INT, &third);
	MPI_Type_commit(&second);
	MPI_Type_commit(&third);
	for (int i = 0; i < 2 * COUNT; i++)
		out[i] = rank * 100000 + i + 1;
	MPI_Win_fence(0, w.win);
	MPI_Put(out, 1, second, next_rank(), slot(rank), 1, third, w.win);
	MPI_Win_fence(0, w.win);
	for (int i = 0; i < 3 * COUNT; i++) {
		int wanted = i % 3 ? 0 : previous_rank() * 100000 + i / 3 * 2 + 1;

		MUST(in[i] == wanted, "number %d is %d, not %d", i, in[i], wanted);
	}
	MPI_Type_free(&second);
	MPI_Type_free(&third);
	free(out);
	win_free(&w);
}

/* Memory that is attached to a window after it was made. */
static void dynamic(void)
{
	uint8_t *mem = room(SLOT), *out = room(SLOT);
	MPI_Aint *at = room((size_t)ranks * sizeof(*at)), here;
	MPI_Win win;
	int to = next_rank();

	MPI_Win_create_dynamic(MPI_INFO_NULL, MPI_COMM_WORLD, &win);
	memset(mem, 0, SLOT);
	MPI_Win_attach(win, mem, SLOT);
	MPI_Get_address(mem, &here);
	MPI_Allgather(&here, 1, MPI_AINT, at, 1, MPI_AINT, MPI_COMM_WORLD);
	fill(out, SLOT, seed_of(rank, to, 0));
	MPI_Win_lock_all(0, win);
	MPI_Put(out, SLOT, MPI_BYTE, to, at[to], SLOT, MPI_BYTE, win);
	MPI_Win_unlock_all(win);
	MPI_Barrier(MPI_COMM_WORLD);
	MUST(filled(mem, SLOT, seed_of(previous_rank(), rank, 0), 0), "wrong data");
	MPI_Win_detach(win, mem);
	MPI_Win_free(&win);
	free(mem);
	free(out);
	free(at);
}

const struct check windows_checks[] = {
	{"fence", fence},
	{"fence, memory of the application", fence_own_memory},
	{"post and start", post_start},
	{"lock", lock},
	{"exclusive lock", exclusive},
	{"lock all and flush", lock_all},
	{"requests", requested},
	{"not in one piece", scattered},
	{0},
};

const struct check dynamic_checks[] = {{"attached later", dynamic}, {0}};
