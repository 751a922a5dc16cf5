/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Runs the groups of checks that are named, all without any, on two ranks or more. Rank 0 prints a
 * line for each check that was passed; the first that fails ends the job.
 */
#include "mpi_check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int rank, ranks;

static const struct {
	const char *name;
	const struct check *checks;
} groups[] = {
	{"messages", messages_checks}, {"truncation", truncation_checks},
	{"requests", requests_checks}, {"collectives", collectives_checks},
	{"windows", windows_checks},   {"dynamic", dynamic_checks},
	{"atomics", atomics_checks},
};

void must(bool good, const char *file, int line, const char *format, ...)
{
	va_list ap;

	if (good)
		return;
	fprintf(stderr, "rank %d of %d: %s:%d: ", rank, ranks, file, line);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputc('\n', stderr);
	fflush(stderr);
	MPI_Abort(MPI_COMM_WORLD, 1);
	abort();
}

void *room(size_t bytes)
{
	void *p = malloc(bytes ? bytes : 1);

	MUST(p, "no memory");
	return p;
}

/* A byte of the pattern: no two neighbouring blocks of it look the same. */
static uint8_t pattern(size_t i, unsigned seed)
{
	return (uint8_t)(i + (i >> 8) * 7 + (i >> 16) * 13 + seed * 31 + 1);
}

void fill(void *buf, size_t bytes, unsigned seed)
{
	uint8_t *p = buf;

	for (size_t i = 0; i < bytes; i++)
		p[i] = pattern(i, seed);
}

bool filled(const void *buf, size_t bytes, unsigned seed, size_t offset)
{
	const uint8_t *p = buf;

	for (size_t i = 0; i < bytes; i++)
		if (p[i] != pattern(offset + i, seed))
			return false;
	return true;
}

static void run(const char *group, const struct check *checks)
{
	for (const struct check *c = checks; c->name; c++) {
		MPI_Barrier(MPI_COMM_WORLD);
		c->run();
		MPI_Barrier(MPI_COMM_WORLD);
		if (rank == 0) {
			printf("passed: %s: %s\n", group, c->name);
			fflush(stdout);
		}
	}
}

static bool wanted(const char *group, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], group))
			return true;
	return argc == 1;
}

int main(int argc, char **argv)
{
	MPI_Init(&argc, &argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &ranks);
	MUST(ranks >= 2, "two ranks are needed");
	for (size_t i = 0; i < sizeof(groups) / sizeof(groups[0]); i++)
		if (wanted(groups[i].name, argc, argv))
			run(groups[i].name, groups[i].checks);
	MPI_Finalize();
	if (rank == 0)
		printf("all checks passed on %d ranks\n", ranks);
	return 0;
}
