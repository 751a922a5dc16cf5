/* SPDX-License-Identifier: BSD-2-Clause */
/* Hints to the compiler. */
#ifndef UP_BASE_HINT_H
#define UP_BASE_HINT_H

/*
 * What hardly a message needs: it lies apart, so that the code that each one needs is close
 * together. Where another runs on the core's sibling thread, that code is fetched anew after each
 * long copy.
 */
#define UP_COLD __attribute__((cold, noinline))

#endif
