/* SPDX-License-Identifier: BSD-2-Clause */
/* The cores, measured with a partner thread on the other one. */
#include "cores.h"

#include "report.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum task { TASK_END, TASK_ROUND_TRIP, TASK_WAKE_UP };

struct partner {
	pthread_t thread;
	int cpu;
	sem_t begin;
	enum task task;
	unsigned n;
	int fd;
	uint64_t raised; /* when the eventfd was written */
	uint32_t asked __attribute__((aligned(128)));
	uint32_t pad __attribute__((aligned(128)));
};

uint64_t cores_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void must(bool good, const char *what)
{
	if (good)
		return;
	perror(what);
	exit(1);
}

bool cores_pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) == 0;
}

/* One line is all that moves: the partner answers in the word that it was asked in. */
static void answer(struct partner *p)
{
	for (uint32_t i = 0; i < p->n; i++) {
		while (__atomic_load_n(&p->asked, __ATOMIC_ACQUIRE) != 2 * i + 1)
			;
		__atomic_store_n(&p->asked, 2 * i + 2, __ATOMIC_RELEASE);
	}
}

static void wake(struct partner *p)
{
	static const struct timespec nap = {.tv_nsec = 300000};
	uint64_t one = 1;

	for (uint32_t i = 0; i < p->n; i++) {
		while (__atomic_load_n(&p->asked, __ATOMIC_ACQUIRE) != i + 1)
			;
		/* Until the other is asleep. */
		nanosleep(&nap, NULL);
		__atomic_store_n(&p->raised, cores_now_ns(), __ATOMIC_RELEASE);
		must(write(p->fd, &one, sizeof(one)) == sizeof(one), "eventfd");
	}
}

static void *run(void *arg)
{
	struct partner *p = arg;

	cores_pin(p->cpu);
	for (;;) {
		while (sem_wait(&p->begin))
			;
		if (p->task == TASK_END)
			return NULL;
		if (p->task == TASK_ROUND_TRIP)
			answer(p);
		else
			wake(p);
	}
}

struct partner *partner_create(int cpu)
{
	struct partner *p = aligned_alloc(128, sizeof(*p));

	must(p != NULL, "memory");
	memset(p, 0, sizeof(*p));
	p->cpu = cpu;
	p->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	sem_init(&p->begin, 0, 0);
	must(p->fd >= 0, "eventfd");
	must(!pthread_create(&p->thread, NULL, run, p), "a thread");
	return p;
}

static void begin(struct partner *p, enum task task, unsigned n)
{
	p->task = task;
	p->n = n;
	p->asked = 0;
	sem_post(&p->begin);
}

void partner_destroy(struct partner *p)
{
	begin(p, TASK_END, 0);
	pthread_join(p->thread, NULL);
	close(p->fd);
	free(p);
}

static void ask(struct partner *p, uint32_t i)
{
	__atomic_store_n(&p->asked, 2 * i + 1, __ATOMIC_RELEASE);
	while (__atomic_load_n(&p->asked, __ATOMIC_ACQUIRE) != 2 * i + 2)
		;
}

double partner_round_trip(struct partner *p, unsigned n)
{
	enum { GROUP = 32 };
	static double took[4096];
	unsigned groups = n / GROUP;
	uint32_t i = 0;

	begin(p, TASK_ROUND_TRIP, groups * GROUP + 1);
	/* The first one waits for the thread to wake up. */
	ask(p, i++);
	for (unsigned g = 0; g < groups; g++) {
		uint64_t t = cores_now_ns();

		for (unsigned k = 0; k < GROUP; k++)
			ask(p, i++);
		took[g] = (double)(cores_now_ns() - t) / GROUP;
	}
	return median_of(took, groups);
}

double partner_wake_up(struct partner *p, unsigned n)
{
	struct pollfd pfd = {.fd = p->fd, .events = POLLIN};
	static double took[4096];
	uint64_t count;

	begin(p, TASK_WAKE_UP, n);
	for (uint32_t i = 0; i < n; i++) {
		__atomic_store_n(&p->asked, i + 1, __ATOMIC_RELEASE);
		while (poll(&pfd, 1, -1) != 1)
			;
		took[i] = (double)(cores_now_ns() - __atomic_load_n(&p->raised, __ATOMIC_ACQUIRE));
		must(read(p->fd, &count, sizeof(count)) >= 0 || errno == EAGAIN, "eventfd");
	}
	return median_of(took, n);
}
