/* SPDX-License-Identifier: BSD-2-Clause */
/* Messages between two ranks: every class of sizes, and every way to find out what came. */
#include "mpi_check.h"

#include <stdlib.h>
#include <string.h>

/* On both sides of the usual limits: a cache line, a page, eager messages, fragments. */
static const int sizes[] = {0,	     1,
			    7,	     8,
			    24,	     25,
			    56,	     57,
			    64,	     65,
			    255,     1024,
			    4032,    4095,
			    4096,    4097,
			    8192,    16383,
			    16384,   16385,
			    65535,   65536,
			    65537,   131072,
			    1 << 20, (1 << 20) + 1,
			    4 << 20};

enum { NSIZES = sizeof(sizes) / sizeof(sizes[0]), LARGEST = 4 << 20, GUARD = 64 };

static unsigned seed_of(int from, int number)
{
	return (unsigned)(from * 1000 + number);
}

/* `count` bytes of that message are there, and the guard behind them is as it was. */
static void must_be(const uint8_t *buf, int count, int from, int number)
{
	MUST(filled(buf, (size_t)count, seed_of(from, number), 0),
	     "%d bytes from %d, message %d: wrong data", count, from, number);
	for (int i = 0; i < GUARD; i++)
		MUST(buf[count + i] == 0xee, "a byte behind %d bytes from %d was written to", count,
		     from);
}

static uint8_t *guarded(void)
{
	uint8_t *buf = room(LARGEST + GUARD);

	memset(buf, 0xee, LARGEST + GUARD);
	return buf;
}

static void must_count(const MPI_Status *status, int bytes)
{
	int count;

	MPI_Get_count(status, MPI_BYTE, &count);
	MUST(count == bytes, "%d bytes came, not %d", count, bytes);
}

static void ring_of_sizes(void)
{
	uint8_t *out = room(LARGEST), *in = guarded();
	MPI_Status status;

	for (int i = 0; i < NSIZES; i++) {
		MPI_Request request;

		fill(out, (size_t)sizes[i], seed_of(rank, i));
		memset(in, 0xee, (size_t)sizes[i] + GUARD);
		MPI_Irecv(in, LARGEST, MPI_BYTE, previous_rank(), i, MPI_COMM_WORLD, &request);
		MPI_Send(out, sizes[i], MPI_BYTE, next_rank(), i, MPI_COMM_WORLD);
		MPI_Wait(&request, &status);
		must_count(&status, sizes[i]);
		must_be(in, sizes[i], previous_rank(), i);
	}
	free(out);
	free(in);
}

/* The receives are posted when the messages have long been there, and in another order. */
static void unexpected(void)
{
	uint8_t *out[NSIZES], *in = guarded();
	MPI_Request requests[NSIZES];
	int token = 0;

	for (int i = 0; i < NSIZES; i++) {
		out[i] = room((size_t)sizes[i]);
		fill(out[i], (size_t)sizes[i], seed_of(rank, i));
		MPI_Isend(out[i], sizes[i], MPI_BYTE, next_rank(), i, MPI_COMM_WORLD, &requests[i]);
	}
	MPI_Sendrecv(&rank, 1, MPI_INT, next_rank(), 999, &token, 1, MPI_INT, previous_rank(), 999,
		     MPI_COMM_WORLD, MPI_STATUS_IGNORE);
	MUST(token == previous_rank(), "a wrong token");
	for (int i = NSIZES - 1; i >= 0; i--) {
		memset(in, 0xee, (size_t)sizes[i] + GUARD);
		MPI_Recv(in, LARGEST, MPI_BYTE, previous_rank(), i, MPI_COMM_WORLD,
			 MPI_STATUS_IGNORE);
		must_be(in, sizes[i], previous_rank(), i);
	}
	MPI_Waitall(NSIZES, requests, MPI_STATUSES_IGNORE);
	for (int i = 0; i < NSIZES; i++)
		free(out[i]);
	free(in);
}

/* A synchronous send ends only when its receive has begun. */
static void synchronous(void)
{
	uint8_t *buf = room(LARGEST);
	MPI_Request request;
	int done;

	for (int i = 0; i < NSIZES; i++) {
		if (rank == 0) {
			fill(buf, (size_t)sizes[i], seed_of(0, i));
			MPI_Issend(buf, sizes[i], MPI_BYTE, 1, i, MPI_COMM_WORLD, &request);
			MPI_Test(&request, &done, MPI_STATUS_IGNORE);
			MUST(!done, "a synchronous send of %d bytes ended before its receive",
			     sizes[i]);
			MPI_Send(NULL, 0, MPI_BYTE, 1, 998, MPI_COMM_WORLD);
			MPI_Wait(&request, MPI_STATUS_IGNORE);
		} else if (rank == 1) {
			MPI_Recv(NULL, 0, MPI_BYTE, 0, 998, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
			MPI_Recv(buf, LARGEST, MPI_BYTE, 0, i, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
			MUST(filled(buf, (size_t)sizes[i], seed_of(0, i), 0), "wrong data");
		}
	}
	free(buf);
}

/* Everybody sends to rank 0, which takes what comes: in order from each, and nothing is lost. */
static void any_source(void)
{
	enum { EACH = 40 };
	uint8_t *buf = guarded();
	int *seen = room((size_t)ranks * sizeof(int));

	memset(seen, 0, (size_t)ranks * sizeof(int));
	for (int i = 0; i < EACH && rank; i++) {
		int bytes = sizes[(i + rank) % NSIZES] & 0x1ffff;

		fill(buf, (size_t)bytes, seed_of(rank, i));
		MPI_Send(buf, bytes, MPI_BYTE, 0, i, MPI_COMM_WORLD);
	}
	for (int n = 0; n < EACH * (ranks - 1) && rank == 0; n++) {
		MPI_Status s;
		int bytes, i;

		memset(buf, 0xee, 0x20000 + GUARD);
		MPI_Recv(buf, LARGEST, MPI_BYTE, MPI_ANY_SOURCE, MPI_ANY_TAG, MPI_COMM_WORLD, &s);
		i = seen[s.MPI_SOURCE]++;
		bytes = sizes[(i + s.MPI_SOURCE) % NSIZES] & 0x1ffff;
		MUST(s.MPI_TAG == i, "message %d of %d came as number %d", s.MPI_TAG, s.MPI_SOURCE,
		     i);
		must_count(&s, bytes);
		must_be(buf, bytes, s.MPI_SOURCE, i);
	}
	free(seen);
	free(buf);
}

/* With one tag, small messages do not overtake large ones. */
static void order(void)
{
	enum { MANY = 120 };
	uint8_t *out = room(LARGEST), *in = guarded();

	for (int i = 0; i < MANY; i++) {
		int bytes = i % 5 == 0 ? 200000 : i % 3 == 0 ? 9000 : 40;
		MPI_Request request;

		fill(out, (size_t)bytes, seed_of(rank, i));
		MPI_Isend(out, bytes, MPI_BYTE, next_rank(), 5, MPI_COMM_WORLD, &request);
		memset(in, 0xee, 200000 + GUARD);
		MPI_Recv(in, LARGEST, MPI_BYTE, previous_rank(), 5, MPI_COMM_WORLD,
			 MPI_STATUS_IGNORE);
		must_be(in, bytes, previous_rank(), i);
		MPI_Wait(&request, MPI_STATUS_IGNORE);
	}
	free(out);
	free(in);
}

static void probe(void)
{
	uint8_t *out = room(LARGEST), *in = guarded();

	for (int i = 0; i < NSIZES; i++) {
		MPI_Request request;
		MPI_Status s;
		int there = 0;

		fill(out, (size_t)sizes[i], seed_of(rank, i));
		MPI_Isend(out, sizes[i], MPI_BYTE, next_rank(), 40 + i, MPI_COMM_WORLD, &request);
		MPI_Iprobe(previous_rank(), 900 + i, MPI_COMM_WORLD, &there, &s);
		MUST(!there, "a message that nobody sent was found");
		if (i % 2) {
			MPI_Probe(MPI_ANY_SOURCE, 40 + i, MPI_COMM_WORLD, &s);
		} else {
			while (!there)
				MPI_Iprobe(previous_rank(), MPI_ANY_TAG, MPI_COMM_WORLD, &there,
					   &s);
		}
		MUST(s.MPI_SOURCE == previous_rank() && s.MPI_TAG == 40 + i,
		     "tag %d from %d was found", s.MPI_TAG, s.MPI_SOURCE);
		must_count(&s, sizes[i]);
		memset(in, 0xee, (size_t)sizes[i] + GUARD);
		MPI_Recv(in, sizes[i], MPI_BYTE, s.MPI_SOURCE, s.MPI_TAG, MPI_COMM_WORLD, &s);
		must_be(in, sizes[i], previous_rank(), i);
		MPI_Wait(&request, MPI_STATUS_IGNORE);
	}
	free(out);
	free(in);
}

/* A message that was matched by a probe is nobody else's. */
static void matched_probe(void)
{
	uint8_t *out = room(LARGEST), *in = guarded();

	for (int i = 0; i < NSIZES; i++) {
		MPI_Request requests[2], receive;
		MPI_Message message;
		MPI_Status s;
		int there = 0, second = -1;

		fill(out, (size_t)sizes[i], seed_of(rank, i));
		MPI_Isend(out, sizes[i], MPI_BYTE, next_rank(), i, MPI_COMM_WORLD, &requests[0]);
		MPI_Isend(&rank, 1, MPI_INT, next_rank(), i, MPI_COMM_WORLD, &requests[1]);
		if (i % 2)
			MPI_Mprobe(previous_rank(), i, MPI_COMM_WORLD, &message, &s);
		while (i % 2 == 0 && !there)
			MPI_Improbe(MPI_ANY_SOURCE, i, MPI_COMM_WORLD, &there, &message, &s);
		MPI_Recv(&second, 1, MPI_INT, previous_rank(), i, MPI_COMM_WORLD,
			 MPI_STATUS_IGNORE);
		MUST(second == previous_rank(), "the second message has %d", second);
		must_count(&s, sizes[i]);
		memset(in, 0xee, (size_t)sizes[i] + GUARD);
		MPI_Imrecv(in, sizes[i], MPI_BYTE, &message, &receive);
		MPI_Wait(&receive, MPI_STATUS_IGNORE);
		must_be(in, sizes[i], previous_rank(), i);
		MPI_Waitall(2, requests, MPI_STATUSES_IGNORE);
	}
	free(out);
	free(in);
}

/* A receive that is too small gets an error and no byte beyond it; what comes next is whole. */
static void truncated(void)
{
	uint8_t *out = room(LARGEST), *in = guarded();

	MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
	for (int i = 0; i < NSIZES; i++) {
		MPI_Request request;
		int half = sizes[i] / 2, error, class;

		if (sizes[i] == 0)
			continue;
		fill(out, (size_t)sizes[i], seed_of(rank, i));
		memset(in, 0xee, (size_t)sizes[i] + GUARD);
		MPI_Irecv(in, half, MPI_BYTE, previous_rank(), i, MPI_COMM_WORLD, &request);
		MPI_Send(out, sizes[i], MPI_BYTE, next_rank(), i, MPI_COMM_WORLD);
		error = MPI_Wait(&request, MPI_STATUS_IGNORE);
		MPI_Error_class(error, &class);
		MUST(class == MPI_ERR_TRUNCATE, "%d bytes into %d: error class %d", sizes[i], half,
		     class);
		for (int k = half; k < sizes[i] + GUARD; k++)
			MUST(in[k] == 0xee, "%d bytes into %d: byte %d was written", sizes[i], half,
			     k);
		MPI_Sendrecv(out, sizes[i], MPI_BYTE, next_rank(), i, in, LARGEST, MPI_BYTE,
			     previous_rank(), i, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
		must_be(in, sizes[i], previous_rank(), i);
	}
	MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_ARE_FATAL);
	free(out);
	free(in);
}

static void to_self(void)
{
	uint8_t *out = room(LARGEST), *in = guarded();

	for (int i = 0; i < NSIZES; i++) {
		fill(out, (size_t)sizes[i], seed_of(rank, i));
		memset(in, 0xee, (size_t)sizes[i] + GUARD);
		MPI_Sendrecv(out, sizes[i], MPI_BYTE, rank, 3, in, LARGEST, MPI_BYTE, rank, 3,
			     MPI_COMM_WORLD, MPI_STATUS_IGNORE);
		must_be(in, sizes[i], rank, i);
	}
	free(out);
	free(in);
}

const struct check messages_checks[] = {
	{"a ring, every size", ring_of_sizes},
	{"receives after the messages, in another order", unexpected},
	{"synchronous sends", synchronous},
	{"any source, any tag", any_source},
	{"order with one tag", order},
	{"probe", probe},
	{"matched probe", matched_probe},
	{"to itself", to_self},
	{0},
};

const struct check truncation_checks[] = {{"truncated", truncated}, {0}};
