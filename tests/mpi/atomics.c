/* SPDX-License-Identifier: BSD-2-Clause */
/* What ranks change together: accumulate, fetch and op, compare and swap. */
#include "mpi_check.h"

#include <stdlib.h>
#include <string.h>

enum { COUNT = 2000 };

/*
 * Memory of the application: what MPI allocates is shared by the ranks of a host, and MPI would
 * change it without the network.
 */
static void *window(MPI_Win *win, size_t bytes)
{
	void *mem = room(bytes);

	memset(mem, 0, bytes);
	MPI_Win_create(mem, (MPI_Aint)bytes, 1, MPI_INFO_NULL, MPI_COMM_WORLD, win);
	return mem;
}

static void window_free(MPI_Win *win, void *mem)
{
	MPI_Win_free(win);
	free(mem);
}

/* Everybody adds to everybody, in one type. */
#define ACCUMULATE(name, type, mpi_type)                                                           \
	static void name(void)                                                                     \
	{                                                                                          \
		MPI_Win win;                                                                       \
		type *mem = window(&win, COUNT * sizeof(type)), *v = room(COUNT * sizeof(type));   \
                                                                                                   \
		for (int i = 0; i < COUNT; i++)                                                    \
			v[i] = (type)(i % 5 + rank);                                               \
		MPI_Win_fence(0, win);                                                             \
		for (int r = 0; r < ranks; r++) {                                                  \
			MPI_Accumulate(v, COUNT, mpi_type, r, 0, COUNT, mpi_type, MPI_SUM, win);   \
			MPI_Accumulate(v, 1, mpi_type, r, 0, 1, mpi_type, MPI_SUM, win);           \
		}                                                                                  \
		MPI_Win_fence(0, win);                                                             \
		for (int i = 0; i < COUNT; i++) {                                                  \
			int sum = i % 5 * ranks + ranks * (ranks - 1) / 2;                         \
                                                                                                   \
			MUST(mem[i] == (type)(i ? sum : 2 * sum), "element %d", i);                \
		}                                                                                  \
		free(v);                                                                           \
		window_free(&win, mem);                                                            \
	}

ACCUMULATE(accumulate_int32, int32_t, MPI_INT32_T)
ACCUMULATE(accumulate_int64, int64_t, MPI_INT64_T)
ACCUMULATE(accumulate_uint8, uint8_t, MPI_UINT8_T)
ACCUMULATE(accumulate_float, float, MPI_FLOAT)
ACCUMULATE(accumulate_double, double, MPI_DOUBLE)

/*
 * The other operations, each on two elements of its own: of a single one Open MPI 4.1 makes an
 * atomic operation of its btl, without asking whether the btl has it.
 */
static void operations(void)
{
	static const struct {
		MPI_Op op;
		int64_t start, operand, wanted; /* operand of rank 0; all others change nothing */
		int64_t neutral;
	} cases[] = {
		{MPI_MIN, 5, -3, -3, 100},	  {MPI_MAX, 5, 9, 9, -100}, {MPI_PROD, 6, 7, 42, 1},
		{MPI_BAND, 0xff, 0x0f, 0x0f, -1}, {MPI_BOR, 1, 8, 9, 0},    {MPI_BXOR, 9, 3, 10, 0},
	};
	enum { CASES = sizeof(cases) / sizeof(cases[0]), RUN = 40 };
	int64_t *mem, operands[RUN * CASES];
	MPI_Win win;

	mem = window(&win, RUN * CASES * sizeof(*mem));
	for (int i = 0; i < RUN * CASES; i++) {
		mem[i] = cases[i / RUN].start;
		operands[i] = rank ? cases[i / RUN].neutral : cases[i / RUN].operand;
	}
	MPI_Win_fence(0, win);
	for (int i = 0; i < CASES; i++)
		for (int r = 0; r < ranks; r++)
			MPI_Accumulate(&operands[RUN * i], RUN, MPI_INT64_T, r,
				       RUN * i * (MPI_Aint)sizeof(*mem), RUN, MPI_INT64_T,
				       cases[i].op, win);
	MPI_Win_fence(0, win);
	for (int i = 0; i < RUN * CASES; i++)
		MUST(mem[i] == cases[i / RUN].wanted, "operation %d: %lld, not %lld", i / RUN,
		     (long long)mem[i], (long long)cases[i / RUN].wanted);
	window_free(&win, mem);
}

/* Tickets: nobody gets one that another has. */
static void fetch_and_op(void)
{
	const int each = 400 / ranks, total = each * ranks;
	MPI_Win win;
	int64_t *mem = window(&win, sizeof(*mem)), one = 1, ticket, last = -1;
	int *mine = room((size_t)total * sizeof(int));

	memset(mine, 0, (size_t)total * sizeof(int));
	MPI_Win_lock_all(0, win);
	for (int i = 0; i < each; i++) {
		MPI_Fetch_and_op(&one, &ticket, MPI_INT64_T, 0, 0, MPI_SUM, win);
		MPI_Win_flush(0, win);
		MUST(ticket > last && ticket < total, "ticket %lld after %lld", (long long)ticket,
		     (long long)last);
		last = ticket;
		mine[ticket] = 1;
	}
	MPI_Win_unlock_all(win);
	MPI_Allreduce(MPI_IN_PLACE, mine, total, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
	for (int i = 0; i < total; i++)
		MUST(mine[i] == 1, "ticket %d was given out %d times", i, mine[i]);
	MUST(rank || *mem == total, "%lld tickets", (long long)*mem);
	free(mine);
	window_free(&win, mem);
}

/*
 * A lock made of compare and swap, around a number that is changed by get and put. It is at the
 * last rank, which does not take it: Open MPI 4.1 crashes when a rank swaps in its own memory.
 */
static void compare_and_swap(void)
{
	const int each = 64 / ranks, home = ranks - 1;
	int64_t idle = 0, taken = rank + 1, old, value, *mem;
	MPI_Win win;

	mem = window(&win, 2 * sizeof(*mem));
	MPI_Win_lock_all(0, win);
	for (int i = 0; i < each && rank != home; i++) {
		do {
			MPI_Compare_and_swap(&taken, &idle, &old, MPI_INT64_T, home, 0, win);
			MPI_Win_flush(home, win);
			MUST(old >= 0 && old <= ranks && old != taken, "the lock had %lld",
			     (long long)old);
		} while (old != idle);
		MPI_Get(&value, 1, MPI_INT64_T, home, sizeof(*mem), 1, MPI_INT64_T, win);
		MPI_Win_flush(home, win);
		value++;
		MPI_Put(&value, 1, MPI_INT64_T, home, sizeof(*mem), 1, MPI_INT64_T, win);
		MPI_Win_flush(home, win);
		MPI_Compare_and_swap(&idle, &taken, &old, MPI_INT64_T, home, 0, win);
		MPI_Win_flush(home, win);
		MUST(old == taken, "the lock was taken away by %lld", (long long)old);
	}
	MPI_Win_unlock_all(win);
	MPI_Barrier(MPI_COMM_WORLD);
	MUST(rank != home || mem[1] == each * home, "%lld, not %d", (long long)mem[1], each * home);
	window_free(&win, mem);
}

/* What was there is handed out while it is replaced: no value is lost, none is seen twice. */
static void get_accumulate(void)
{
	enum { EACH = 50, N = 16 };
	MPI_Win win;
	int64_t *mem = window(&win, N * sizeof(*mem)), out[N], in[N], sum = 0, all = 0, left[N];

	MPI_Win_lock_all(0, win);
	for (int i = 0; i < EACH; i++) {
		for (int k = 0; k < N; k++)
			out[k] = rank * EACH + i + 1;
		MPI_Get_accumulate(out, N, MPI_INT64_T, in, N, MPI_INT64_T, 0, 0, N, MPI_INT64_T,
				   MPI_REPLACE, win);
		MPI_Win_flush(0, win);
		sum += in[N - 1];
	}
	MPI_Barrier(MPI_COMM_WORLD);
	MPI_Get_accumulate(NULL, 0, MPI_INT64_T, left, N, MPI_INT64_T, 0, 0, N, MPI_INT64_T,
			   MPI_NO_OP, win);
	MPI_Win_unlock_all(win);
	MPI_Allreduce(&sum, &all, 1, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD);
	all += left[N - 1];
	MUST(all == (int64_t)EACH * ranks * (EACH * ranks + 1) / 2, "a sum of %lld",
	     (long long)all);
	MUST(rank || !memcmp(mem, left, sizeof(left)), "what was read is not what is there");
	window_free(&win, mem);
}

const struct check atomics_checks[] = {
	{"accumulate, int32", accumulate_int32},
	{"accumulate, int64", accumulate_int64},
	{"accumulate, uint8", accumulate_uint8},
	{"accumulate, float", accumulate_float},
	{"accumulate, double", accumulate_double},
	{"operations", operations},
	{"fetch and op", fetch_and_op},
	{"compare and swap", compare_and_swap},
	{"get and accumulate", get_accumulate},
	{0},
};
