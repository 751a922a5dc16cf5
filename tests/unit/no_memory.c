/* SPDX-License-Identifier: BSD-2-Clause */
#include "no_memory.h"

#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

static atomic_bool is_short;
static atomic_int left;

void no_memory_after(unsigned count)
{
	atomic_store(&left, (int)count);
	atomic_store(&is_short, true);
}

bool no_memory_end(void)
{
	atomic_store(&is_short, false);
	return atomic_load(&left) < 0;
}

static bool fails(void)
{
	if (!atomic_load(&is_short) || atomic_fetch_sub(&left, 1) > 0)
		return false;
	errno = ENOMEM;
	return true;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}
