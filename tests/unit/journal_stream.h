/* SPDX-License-Identifier: BSD-2-Clause */
/* A stream to the journal in the place of standard error, for the tests of what logs there. */
#ifndef UP_TESTS_JOURNAL_STREAM_H
#define UP_TESTS_JOURNAL_STREAM_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* As a service's stderr is: $JOURNAL_STREAM says so. What comes is read from stream[0]. */
static inline int journal_stream_open(int stream[2])
{
	struct stat st;
	char name[64];

	if (pipe(stream) || dup2(stream[1], STDERR_FILENO) < 0 || fstat(STDERR_FILENO, &st))
		return -1;
	snprintf(name, sizeof(name), "%llu:%llu", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino);
	return setenv("JOURNAL_STREAM", name, 1);
}

#endif
