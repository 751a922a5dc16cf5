/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The thread of automatic progress. It polls for a while after the last thing that happened
 * (UNDERPASS_SPIN), then arms the lanes and sleeps on their descriptors.
 *
 * While the application calls up_progress() itself, the thread would only take the lock and the CPU
 * from it, so it stands back: it looks every 50 us whether the application still does. That, and
 * not longer, because an application that stops calling must not keep its peers waiting for more
 * than 100 us.
 */
#include "core/param.h"
#include "core/wait.h"
#include "base/clock.h"
#include "base/cpu.h"
#include "base/log.h"
#include "base/sched_attr.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#define STAND_BACK_NS 50000
/* What no lane announces is looked for this often. */
#define LOOK_AGAIN_NS 50000
/* Looks without the clock. */
#define BURST 16
/* Before the thread gives up the CPU for who waits for the lock. */
#define PAUSES 64

static uint64_t calls(struct up_ep_private *core)
{
	return __atomic_load_n(&core->calls, __ATOMIC_RELAXED);
}

static bool stopped(struct up_ep_private *core)
{
	return __atomic_load_n(&core->automatic.stop, __ATOMIC_ACQUIRE);
}

/* Until the descriptor is readable; -1: no limit. */
static void nap(int fd, long ns)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	const struct timespec t = {.tv_nsec = ns};

	ppoll(&p, 1, ns < 0 ? NULL : &t, NULL);
}

/* Who waits for the lock has slept, perhaps: without a break it would come too late every time. */
static void let_others(struct up_ep_private *core)
{
	for (unsigned i = 0; i < PAUSES && __atomic_load_n(&core->wanted, __ATOMIC_RELAXED); i++)
		up_cpu_relax();
	if (__atomic_load_n(&core->wanted, __ATOMIC_RELAXED))
		sched_yield();
	up_cpu_relax();
}

/* Polls until nothing happened for a while. False: the application polls itself. */
static bool spin(struct up_ep_private *core)
{
	uint64_t before = calls(core), since = up_clock_ns();

	do {
		for (unsigned i = 0; i < BURST; i++) {
			unsigned n;

			up_ep_lock(&core->pub);
			n = up_core_progress(core);
			up_ep_unlock(&core->pub);
			if (n)
				since = up_clock_ns();
			let_others(core);
		}
		if (calls(core) != before)
			return false;
	} while (!stopped(core) && up_clock_ns() - since < core->spin_ns);
	return true;
}

/* With the lock: may the thread sleep, and for how long. */
static bool arm(struct up_ep_private *core, long *limit)
{
	struct up_auto *a = &core->automatic;

	if (up_core_progress(core) || core->kicked || !up_list_empty(&core->ended))
		return false;
	*limit = -1;
	if (!up_list_empty(&core->stuck) || core->refused & UP_REFUSED_AUTO)
		*limit = LOOK_AGAIN_NS;
	core->refused &= (uint8_t)~UP_REFUSED_AUTO;
	if (up_arm_lanes(core)) {
		a->held = 0;
		return true;
	}
	/* What a lane has came just now, or is kept there by a bound that only the application can
	 * move: then, looking all the time would not help. */
	*limit = LOOK_AGAIN_NS;
	return ++a->held > 3;
}

static void sleep_armed(struct up_ep_private *core)
{
	struct up_auto *a = &core->automatic;
	long limit = -1;
	uint64_t n;

	up_ep_lock(&core->pub);
	a->asleep = arm(core, &limit);
	up_ep_unlock(&core->pub);
	if (!a->asleep)
		return;

	nap(a->held ? a->kick : a->epoll, limit);

	up_ep_lock(&core->pub);
	a->asleep = false;
	up_ep_unlock(&core->pub);
	if (read(a->kick, &n, sizeof(n)) < 0 && errno != EAGAIN)
		up_log(LOG_ERR, NULL, "eventfd: %s", strerror(errno));
}

/*
 * The application's computing thread often has the same processor, and who wakes up there waits for
 * the end of the other's slice when the scheduler finds that fair: 4 ms, in one of a thousand
 * wake-ups. Not so where who wakes up has asked for short slices (base/sched_attr.h).
 */
static void ask_short_slices(void)
{
	struct up_sched_attr a;

	if (up_sched_attr_get(&a) || (a.policy != SCHED_OTHER && a.policy != SCHED_BATCH))
		return;
	a.runtime = UP_SCHED_SLICE_NS;
	up_sched_attr_set(&a);
}

static void *run(void *arg)
{
	struct up_ep_private *core = arg;

	prctl(PR_SET_NAME, "underpass");
	/* The naps are shorter than the kernel's default slack. */
	prctl(PR_SET_TIMERSLACK, 1000);
	ask_short_slices();
	while (!stopped(core)) {
		uint64_t before;

		if (spin(core)) {
			sleep_armed(core);
			continue;
		}
		do {
			before = calls(core);
			nap(core->automatic.kick, STAND_BACK_NS);
		} while (calls(core) != before && !stopped(core));
	}
	return NULL;
}

static int start(struct up_ep_private *core)
{
	sigset_t all, old;
	int r;

	/* Signals are the application's threads' business. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&core->automatic.thread, NULL, run, core);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	core->automatic.running = !r;
	return -r;
}

int up_auto_start(struct up_ep_private *core)
{
	struct up_auto *a = &core->automatic;
	int r;

	a->epoll = epoll_create1(EPOLL_CLOEXEC);
	a->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (a->epoll < 0 || a->kick < 0)
		return -errno;
	r = up_epoll_add(a->epoll, a->kick);
	if (!r)
		r = up_epoll_add_lanes(core, a->epoll);
	return r ? r : start(core);
}

static void wake(struct up_auto *a)
{
	const uint64_t one = 1;

	if (write(a->kick, &one, sizeof(one)) < 0 && errno != EAGAIN)
		up_log(LOG_ERR, NULL, "eventfd: %s", strerror(errno));
}

void up_auto_stop(struct up_ep_private *core)
{
	struct up_auto *a = &core->automatic;

	if (a->running) {
		__atomic_store_n(&a->stop, true, __ATOMIC_RELEASE);
		wake(a);
		pthread_join(a->thread, NULL);
		a->running = false;
	}
	if (a->epoll >= 0)
		close(a->epoll);
	if (a->kick >= 0)
		close(a->kick);
	a->epoll = a->kick = -1;
}

void up_core_kick(struct up_ep *ep)
{
	struct up_ep_private *core = up_priv(ep);

	core->kicked = true;
	if (core->automatic.asleep)
		wake(&core->automatic);
	else if (core->armed)
		up_wait_raise(core);
}
