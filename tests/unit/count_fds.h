/* SPDX-License-Identifier: BSD-2-Clause */
/* How many descriptors this process has open, for tests that nothing is left. */
#ifndef UP_TESTS_COUNT_FDS_H
#define UP_TESTS_COUNT_FDS_H

#include "unit.h"

#include <dirent.h>

/* One of them is its own. */
static inline unsigned count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

#endif
