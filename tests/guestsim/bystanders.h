/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For tests in which VMs misbehave or die: on ports 0 and 1 they do, on ports 2 and 3 two others
 * look on, and must not be disturbed. And reproducible rubbish: GS_SEED in the environment starts
 * another sequence.
 */
#ifndef BYSTANDERS_H
#define BYSTANDERS_H

#include "testlib.h"

/* The two, connected by RC. */
extern struct pair bystanders;

/* Group set-up and tear-down: the daemon with four ports, and the bystanders. */
int by_start(void **state);
int by_stop(void **state);

/* After each piece of rubbish: the daemon lives, and the bystanders exchange messages. */
void by_check(void);
/* The same, and that a fresh VM on the port works: it is not harmed for good. */
void by_check_port(unsigned port);

/*
 * Rings for the command in slot 0, and returns how many register reads of a bystander, one after
 * the other, were answered before it was done: BY_READS_AT_ONCE at most if that was in one go.
 */
#define BY_READS_AT_ONCE 2
unsigned by_reads_meanwhile(struct gs_vm *vm);

/* The next number of the sequence, or one below n. */
uint64_t by_random(void);
uint64_t by_pick(uint64_t n);
void by_fill(void *p, size_t len);
/* Numbers that have been wrong before. */
uint64_t by_odd_number(const struct gs_vm *vm);
/* Does nothing for a while: a random number of turns below n. */
void by_idle(uint64_t n);

/* Descriptors and mappings of the daemon, once they do not change any more. */
void by_resources(unsigned *fds, unsigned *maps);

#endif
