/* SPDX-License-Identifier: BSD-2-Clause */
/* What a loop that waits tells the processor. */
#ifndef UP_BASE_CPU_H
#define UP_BASE_CPU_H

/* Leaves the core's units to its other thread for a moment. */
static inline void up_cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

#endif
