/* SPDX-License-Identifier: BSD-2-Clause */
/* An MPI program that checks every byte it gets: what its files share. */
#ifndef TESTS_MPI_CHECK_H
#define TESTS_MPI_CHECK_H

#include <mpi.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

extern int rank, ranks;

struct check {
	const char *name;
	void (*run)(void);
};

/* Ends all ranks when it is false. */
#define MUST(good, ...) must((good), __FILE__, __LINE__, __VA_ARGS__)
void must(bool good, const char *file, int line, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* Memory that free() takes; ends the program where there is none. */
void *room(size_t bytes);
/* A pattern that depends on `seed` and on the place. */
void fill(void *buf, size_t bytes, unsigned seed);
/* Are these bytes the ones of the pattern from `offset` on? */
bool filled(const void *buf, size_t bytes, unsigned seed, size_t offset);

static inline int next_rank(void)
{
	return (rank + 1) % ranks;
}

static inline int previous_rank(void)
{
	return (rank + ranks - 1) % ranks;
}

/* Terminated by one without a name. */
extern const struct check messages_checks[], truncation_checks[], requests_checks[],
	collectives_checks[], windows_checks[], dynamic_checks[], atomics_checks[];

#endif
