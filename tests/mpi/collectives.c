/* SPDX-License-Identifier: BSD-2-Clause */
/* Collective operations, from none to many elements, with every root. */
#include "mpi_check.h"

#include <stdlib.h>
#include <string.h>

static const int counts[] = {0, 1, 5, 1000, 70000};

enum { NCOUNTS = sizeof(counts) / sizeof(counts[0]), MOST = 70000 };

/* Element `i` of what a rank contributes. */
static int64_t part(int of, int i)
{
	return (int64_t)(of + 1) * 1000003 + i * 7;
}

static int64_t *mine(void)
{
	int64_t *v = room(MOST * sizeof(*v));

	for (int i = 0; i < MOST; i++)
		v[i] = part(rank, i);
	return v;
}

/* The sum over the first `n` ranks. */
static int64_t sum(int n, int i)
{
	int64_t all = 0;

	for (int r = 0; r < n; r++)
		all += part(r, i);
	return all;
}

static void broadcast(void)
{
	int64_t *v = mine();

	for (int k = 0; k < NCOUNTS; k++)
		for (int root = 0; root < ranks; root++) {
			for (int i = 0; i < counts[k]; i++)
				v[i] = rank == root ? part(root, i) : -1;
			MPI_Bcast(v, counts[k], MPI_INT64_T, root, MPI_COMM_WORLD);
			for (int i = 0; i < counts[k]; i++)
				MUST(v[i] == part(root, i), "element %d of root %d", i, root);
		}
	free(v);
}

static void reduce(void)
{
	int64_t *v = mine(), *out = room(MOST * sizeof(*out));

	for (int k = 0; k < NCOUNTS; k++) {
		int root = k % ranks;

		MPI_Reduce(v, out, counts[k], MPI_INT64_T, MPI_SUM, root, MPI_COMM_WORLD);
		for (int i = 0; i < counts[k] && rank == root; i++)
			MUST(out[i] == sum(ranks, i), "sum %d of %d", i, counts[k]);
		MPI_Allreduce(v, out, counts[k], MPI_INT64_T, MPI_MAX, MPI_COMM_WORLD);
		for (int i = 0; i < counts[k]; i++)
			MUST(out[i] == part(ranks - 1, i), "maximum %d of %d", i, counts[k]);
		memcpy(out, v, (size_t)counts[k] * sizeof(*out));
		MPI_Allreduce(MPI_IN_PLACE, out, counts[k], MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD);
		for (int i = 0; i < counts[k]; i++)
			MUST(out[i] == sum(ranks, i), "sum %d of %d in place", i, counts[k]);
	}
	free(v);
	free(out);
}

static void scan(void)
{
	int64_t *v = mine(), *out = room(MOST * sizeof(*out));

	for (int k = 0; k < NCOUNTS; k++) {
		MPI_Scan(v, out, counts[k], MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD);
		for (int i = 0; i < counts[k]; i++)
			MUST(out[i] == sum(rank + 1, i), "sum %d up to here", i);
		MPI_Exscan(v, out, counts[k], MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD);
		for (int i = 0; i < counts[k] && rank; i++)
			MUST(out[i] == sum(rank, i), "sum %d before", i);
	}
	free(v);
	free(out);
}

static void gather(void)
{
	int64_t *v = mine(), *all = room((size_t)ranks * MOST * sizeof(*all));

	for (int k = 0; k < NCOUNTS; k++) {
		int n = counts[k], root = k % ranks;

		memset(all, 0xff, (size_t)ranks * MOST * sizeof(*all));
		MPI_Gather(v, n, MPI_INT64_T, all, n, MPI_INT64_T, root, MPI_COMM_WORLD);
		for (int i = 0; i < n * ranks && rank == root; i++)
			MUST(all[i] == part(i / n, i % n), "gathered element %d", i);
		MPI_Scatter(all, n, MPI_INT64_T, v, n, MPI_INT64_T, root, MPI_COMM_WORLD);
		for (int i = 0; i < n; i++)
			MUST(v[i] == part(rank, i), "element %d that came back", i);
		MPI_Allgather(v, n, MPI_INT64_T, all, n, MPI_INT64_T, MPI_COMM_WORLD);
		for (int i = 0; i < n * ranks; i++)
			MUST(all[i] == part(i / n, i % n), "element %d gathered by all", i);
	}
	free(v);
	free(all);
}

/* Each rank contributes another number of elements. */
static void gather_uneven(void)
{
	int64_t *v = mine(), *all;
	int *n = room((size_t)ranks * sizeof(int)), *at = room((size_t)ranks * sizeof(int));
	int total = 0;

	for (int r = 0; r < ranks; r++) {
		n[r] = r * 3001;
		at[r] = total;
		total += n[r];
	}
	all = room((size_t)total * sizeof(*all));
	MPI_Allgatherv(v, n[rank], MPI_INT64_T, all, n, at, MPI_INT64_T, MPI_COMM_WORLD);
	for (int r = 0; r < ranks; r++)
		for (int i = 0; i < n[r]; i++)
			MUST(all[at[r] + i] == part(r, i), "element %d of %d", i, r);
	free(v);
	free(all);
	free(n);
	free(at);
}

static void all_to_all(void)
{
	static const int each[] = {0, 1, 30, 9000};
	int64_t *out = room((size_t)ranks * 9000 * sizeof(*out));
	int64_t *in = room((size_t)ranks * 9000 * sizeof(*in));

	for (int k = 0; k < 4; k++) {
		int n = each[k];

		for (int i = 0; i < n * ranks; i++)
			out[i] = part(rank, i / n * 31 + i % n);
		MPI_Alltoall(out, n, MPI_INT64_T, in, n, MPI_INT64_T, MPI_COMM_WORLD);
		for (int i = 0; i < n * ranks; i++)
			MUST(in[i] == part(i / n, rank * 31 + i % n), "element %d of %d each", i,
			     n);
	}
	free(out);
	free(in);
}

static void reduce_scatter(void)
{
	enum { EACH = 2000 };
	int64_t *v = room((size_t)ranks * EACH * sizeof(*v)), *out = room(EACH * sizeof(*out));

	for (int i = 0; i < ranks * EACH; i++)
		v[i] = part(rank, i);
	MPI_Reduce_scatter_block(v, out, EACH, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD);
	for (int i = 0; i < EACH; i++)
		MUST(out[i] == sum(ranks, rank * EACH + i), "element %d", i);
	free(v);
	free(out);
}

/* Several are open at a time. */
static void nonblocking(void)
{
	int64_t *v = mine(), *out = room(MOST * sizeof(*out)), *cast = mine();
	MPI_Request r[3];

	MPI_Iallreduce(v, out, MOST, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD, &r[0]);
	MPI_Ibcast(cast, MOST, MPI_INT64_T, ranks - 1, MPI_COMM_WORLD, &r[1]);
	MPI_Ibarrier(MPI_COMM_WORLD, &r[2]);
	MPI_Waitall(3, r, MPI_STATUSES_IGNORE);
	for (int i = 0; i < MOST; i++)
		MUST(out[i] == sum(ranks, i) && cast[i] == part(ranks - 1, i), "element %d", i);
	free(v);
	free(out);
	free(cast);
}

/* Nobody leaves a barrier before all are there: by then each has told so. */
static void barrier(void)
{
	for (int round = 0; round < 50; round++) {
		int there = 0, told = 0;

		for (int r = 0; r < ranks; r++)
			if (r != rank)
				MPI_Bsend(&round, 1, MPI_INT, r, 11, MPI_COMM_WORLD);
		MPI_Barrier(MPI_COMM_WORLD);
		for (int r = 0; r < ranks - 1; r++) {
			MPI_Recv(&told, 1, MPI_INT, MPI_ANY_SOURCE, 11, MPI_COMM_WORLD,
				 MPI_STATUS_IGNORE);
			there += told == round;
		}
		MUST(there == ranks - 1, "%d others in round %d", there, round);
		MPI_Barrier(MPI_COMM_WORLD);
	}
}

static void buffered_barrier(void)
{
	int bytes = ranks * (MPI_BSEND_OVERHEAD + 64) * 4;
	void *buffer = room((size_t)bytes), *old;

	MPI_Buffer_attach(buffer, bytes);
	barrier();
	MPI_Buffer_detach(&old, &bytes);
	free(buffer);
}

const struct check collectives_checks[] = {
	{"broadcast", broadcast},
	{"reduce", reduce},
	{"scan", scan},
	{"gather and scatter", gather},
	{"gather, uneven", gather_uneven},
	{"all to all", all_to_all},
	{"reduce and scatter", reduce_scatter},
	{"nonblocking", nonblocking},
	{"barrier", buffered_barrier},
	{0},
};
