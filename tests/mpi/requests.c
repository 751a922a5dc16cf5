/* SPDX-License-Identifier: BSD-2-Clause */
/* Many operations at a time, persistent ones, cancelled ones, and data that is not in one piece. */
#include "mpi_check.h"

#include <stdlib.h>
#include <string.h>

/* Receives that are taken back leave the message to the next one. */
static void cancel(void)
{
	uint8_t lost[64], in[64], out[64];
	MPI_Request request;
	MPI_Status status;
	int cancelled;

	for (int i = 0; i < 20; i++) {
		MPI_Irecv(lost, sizeof(lost), MPI_BYTE, previous_rank(), 70, MPI_COMM_WORLD,
			  &request);
		MPI_Cancel(&request);
		MPI_Wait(&request, &status);
		MPI_Test_cancelled(&status, &cancelled);
		MUST(cancelled, "a receive that no message came for was not cancelled");
	}
	memset(lost, 0xee, sizeof(lost));
	MPI_Barrier(MPI_COMM_WORLD);
	fill(out, sizeof(out), (unsigned)rank);
	MPI_Sendrecv(out, sizeof(out), MPI_BYTE, next_rank(), 70, in, sizeof(in), MPI_BYTE,
		     previous_rank(), 70, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
	MUST(filled(in, sizeof(in), (unsigned)previous_rank(), 0), "wrong data after cancels");
	for (size_t i = 0; i < sizeof(lost); i++)
		MUST(lost[i] == 0xee, "a cancelled receive was written to");
}

static void persistent(void)
{
	static const int sizes[] = {0, 8, 4096, 100000};
	uint8_t *out = room(100000), *in = room(100000);

	for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
		MPI_Request r[2];

		MPI_Recv_init(in, sizes[k], MPI_BYTE, previous_rank(), 1, MPI_COMM_WORLD, &r[0]);
		MPI_Send_init(out, sizes[k], MPI_BYTE, next_rank(), 1, MPI_COMM_WORLD, &r[1]);
		for (int i = 0; i < 10; i++) {
			fill(out, (size_t)sizes[k], (unsigned)(rank + i));
			MPI_Startall(2, r);
			MPI_Waitall(2, r, MPI_STATUSES_IGNORE);
			MUST(filled(in, (size_t)sizes[k], (unsigned)(previous_rank() + i), 0),
			     "start %d of %d bytes: wrong data", i, sizes[k]);
		}
		MPI_Request_free(&r[0]);
		MPI_Request_free(&r[1]);
	}
	free(out);
	free(in);
}

/* All to all, hundreds at a time, and completions in any order. */
static void many(void)
{
	enum { EACH = 128, BYTES = 600 };
	int n = EACH * ranks, left = n;
	uint8_t *out = room(BYTES), *in = room((size_t)n * BYTES);
	MPI_Request *receives = room((size_t)n * sizeof(MPI_Request));
	MPI_Request *sends = room((size_t)n * sizeof(MPI_Request));

	fill(out, BYTES, (unsigned)rank);
	for (int i = 0; i < n; i++)
		MPI_Irecv(in + (size_t)i * BYTES, BYTES, MPI_BYTE, i / EACH, i % EACH,
			  MPI_COMM_WORLD, &receives[i]);
	for (int i = n - 1; i >= 0; i--)
		MPI_Isend(out, i % EACH * 4, MPI_BYTE, i / EACH, i % EACH, MPI_COMM_WORLD,
			  &sends[i]);
	while (left > 0) {
		MPI_Status s;
		int i, count;

		MPI_Waitany(n, receives, &i, &s);
		MPI_Get_count(&s, MPI_BYTE, &count);
		MUST(s.MPI_SOURCE == i / EACH && s.MPI_TAG == i % EACH && count == i % EACH * 4,
		     "receive %d: tag %d from %d, %d bytes", i, s.MPI_TAG, s.MPI_SOURCE, count);
		MUST(filled(in + (size_t)i * BYTES, (size_t)count, (unsigned)s.MPI_SOURCE, 0),
		     "receive %d: wrong data", i);
		left--;
	}
	MPI_Waitall(n, sends, MPI_STATUSES_IGNORE);
	free(out);
	free(in);
	free(receives);
	free(sends);
}

/* Every second of some numbers, to every third place. */
static void scattered(void)
{
	enum { COUNT = 30000 };
	int *out = room(2 * COUNT * sizeof(int)), *in = room(3 * COUNT * sizeof(int));
	MPI_Datatype second, third;

	MPI_Type_vector(COUNT, 1, 2, MPI_INT, &second);
	MPI_Type_vector(COUNT, 1, 3, MPI_INT, &third);
	MPI_Type_commit(&second);
	MPI_Type_commit(&third);
	for (int i = 0; i < 2 * COUNT; i++)
		out[i] = rank * 1000000 + i;
	memset(in, 0xff, 3 * COUNT * sizeof(int));
	MPI_Sendrecv(out, 1, second, next_rank(), 2, in, 1, third, previous_rank(), 2,
		     MPI_COMM_WORLD, MPI_STATUS_IGNORE);
	for (int i = 0; i < 3 * COUNT - 2; i++) {
		int wanted = i % 3 ? -1 : previous_rank() * 1000000 + i / 3 * 2;

		MUST(in[i] == wanted, "number %d is %d, not %d", i, in[i], wanted);
	}
	MPI_Type_free(&second);
	MPI_Type_free(&third);
	free(out);
	free(in);
}

/* The same tags in two communicators are two things. */
static void communicators(void)
{
	MPI_Comm copy, half;
	int a = rank, b = -rank - 1, got[2] = {0}, sum = 0, size;
	MPI_Request r[2];

	MPI_Comm_dup(MPI_COMM_WORLD, &copy);
	MPI_Irecv(&got[0], 1, MPI_INT, previous_rank(), 4, copy, &r[0]);
	MPI_Irecv(&got[1], 1, MPI_INT, previous_rank(), 4, MPI_COMM_WORLD, &r[1]);
	MPI_Send(&b, 1, MPI_INT, next_rank(), 4, MPI_COMM_WORLD);
	MPI_Send(&a, 1, MPI_INT, next_rank(), 4, copy);
	MPI_Waitall(2, r, MPI_STATUSES_IGNORE);
	MUST(got[0] == previous_rank() && got[1] == -previous_rank() - 1, "got %d and %d", got[0],
	     got[1]);
	MPI_Comm_split(MPI_COMM_WORLD, rank % 2, -rank, &half);
	MPI_Comm_size(half, &size);
	MPI_Allreduce(&rank, &sum, 1, MPI_INT, MPI_SUM, half);
	for (int i = rank % 2; i < ranks; i += 2)
		sum -= i;
	MUST(sum == 0 && size == (ranks + 1 - rank % 2) / 2, "a communicator of %d ranks", size);
	MPI_Comm_free(&half);
	MPI_Comm_free(&copy);
}

const struct check requests_checks[] = {
	{"cancel", cancel},
	{"persistent", persistent},
	{"many at a time", many},
	{"not in one piece", scattered},
	{"communicators", communicators},
	{0},
};
