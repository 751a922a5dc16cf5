/* SPDX-License-Identifier: BSD-2-Clause */
/* Lets allocations of the code under test fail: the linker sends its calls here (meson.build). */
#ifndef UP_TESTS_NO_MEMORY_H
#define UP_TESTS_NO_MEMORY_H

#include <stdbool.h>

/* After `count` more allocations, on any thread, none succeeds. */
void no_memory_after(unsigned count);
/* There is memory again. True when an allocation has failed. */
bool no_memory_end(void);

#endif
