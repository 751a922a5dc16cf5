/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sleeping until something happens.
 *
 * Why no wake-up is lost. Whoever sleeps has looked at what it waits for (a completion, say) and
 * found nothing. Since then another thread's progress, or the automatic one, may have moved it; so
 * `activity` counts all that happened, and arming fails unless it is what it was when the same
 * thread tried last: the thread looks again in between. Once armed, under the same lock, whatever
 * happens makes the event readable. What comes over a lane when nobody makes progress is the lane's
 * to tell (struct up_lane_ops.arm). With automatic progress the thread of that is the one who
 * sleeps on the lanes, and the application only on the event.
 *
 * The event stays readable until the next arming. So only one thread at a time may be between
 * up_ep_arm() and the end of its sleep; up_ep_wait() sees to that for any number of threads: one
 * sleeps on the descriptors, the others on a condition.
 */
#include "core/param.h"
#include "core/private.h"
#include "core/wait.h"
#include "base/clock.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* Lanes that cannot be armed so often in a row, with nothing moved, are not armed. */
#define VAIN 3u

/* Of endpoints that this thread waited for; a serial number of 0 is no endpoint's. There may be
 * more of them than places, so each endpoint knows the thread that asked last. (One that has its
 * address later began after it, and so after all that it saw.) */
static _Thread_local struct seen {
	uint64_t serial;
	uint64_t activity;
} seen[4];

/* Has anything happened since this thread asked last? */
static bool news(struct up_ep_private *core)
{
	struct seen *s = &seen[core->serial % UP_ARRAY_SIZE(seen)];
	bool same = (s->serial == core->serial && s->activity == core->activity) ||
		    (core->asker == seen && core->asked == core->activity);

	s->serial = core->serial;
	s->activity = core->asked = core->activity;
	core->asker = seen;
	/* Without other threads, only what the application itself called can have done anything. */
	return !same && core->activity && core->pub.shared;
}

int up_epoll_add(int epoll, int fd)
{
	struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};

	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) ? -errno : 0;
}

int up_epoll_add_lanes(struct up_ep_private *core, int epoll)
{
	for (unsigned i = 0; i < core->nlanes; i++) {
		int fd = core->lanes[i]->ops->fd(core->lanes[i]);
		int r = fd < 0 ? -EBADF : up_epoll_add(epoll, fd);

		if (r)
			return r;
	}
	return 0;
}

bool up_arm_lanes(struct up_ep_private *core)
{
	for (unsigned i = 0; i < core->nlanes; i++) {
		if (!core->lanes[i]->ops->arm(core->lanes[i]))
			return false;
	}
	return true;
}

int up_wait_init(struct up_ep_private *core)
{
	pthread_condattr_t attr;
	int r;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&core->moved, &attr);
	pthread_condattr_destroy(&attr);
	core->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	core->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	core->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (core->event < 0 || core->timer < 0 || core->epoll < 0)
		return -errno;
	r = up_epoll_add(core->epoll, core->event);
	if (!r)
		r = up_epoll_add(core->epoll, core->timer);
	if (!r && core->pub.attr.progress == UP_PROGRESS_MANUAL)
		r = up_epoll_add_lanes(core, core->epoll);
	return r;
}

void up_wait_fini(struct up_ep_private *core)
{
	if (core->epoll >= 0)
		close(core->epoll);
	if (core->timer >= 0)
		close(core->timer);
	if (core->event >= 0)
		close(core->event);
}

void up_wait_raise(struct up_ep_private *core)
{
	const uint64_t one = 1;

	core->armed = false;
	if (core->following)
		pthread_cond_broadcast(&core->moved);
	if (core->raised)
		return;
	/* Cannot fail: the counter is 0. */
	core->raised = write(core->event, &one, sizeof(one)) == sizeof(one);
}

/* Takes back what the last sleep was ended by. */
static void lower(struct up_ep_private *core)
{
	static const struct itimerspec never;
	uint64_t n;

	if (core->raised && read(core->event, &n, sizeof(n)) == sizeof(n))
		core->raised = false;
	if (core->timed && !timerfd_settime(core->timer, 0, &never, NULL))
		core->timed = false;
}

/* No lane says when there is room again, nor does one that keeps a packet until a protocol takes
 * it. False: the timer fails, so better not sleep. */
static bool look_again_soon(struct up_ep_private *core)
{
	static const struct itimerspec soon = {.it_value.tv_nsec = 100000};

	core->retry = core->refused & UP_REFUSED_WAIT;
	core->refused &= (uint8_t)~UP_REFUSED_WAIT;
	core->timed = !timerfd_settime(core->timer, 0, &soon, NULL);
	return core->timed;
}

/*
 * The lanes have something and progress did not move it, again and again: it is kept there by a
 * bound that only the application can move, which says so (up_core_room()). Others may send
 * meanwhile, which nobody can be told of.
 */
static bool in_vain(struct up_ep_private *core)
{
	if (core->vain_activity != core->activity || !core->vain) {
		core->vain_activity = core->activity;
		core->vain = 1;
	} else if (core->looked) {
		core->vain++;
	}
	core->looked = false;
	return core->vain > VAIN;
}

/* What the thread of automatic progress sees to otherwise. */
static bool arm_manual(struct up_ep_private *core)
{
	bool soon = !up_list_empty(&core->stuck);

	if (core->kicked || !up_list_empty(&core->ended))
		return false;
	if (up_arm_lanes(core))
		core->vain = 0;
	else if (in_vain(core))
		soon = true;
	else
		return false;
	return !soon || look_again_soon(core);
}

static int arm(struct up_ep_private *core)
{
	if (news(core))
		return -EAGAIN;
	lower(core);
	if (core->pub.attr.progress == UP_PROGRESS_MANUAL && !arm_manual(core))
		return -EAGAIN;
	if (core->refused & UP_REFUSED_WAIT && !look_again_soon(core))
		return -EAGAIN;
	core->armed = true;
	return 0;
}

int up_ep_fd(struct up_ep *ep)
{
	return up_priv(ep)->epoll;
}

int up_ep_arm(struct up_ep *ep)
{
	int r;

	up_ep_lock(ep);
	r = arm(up_priv(ep));
	up_ep_unlock(ep);
	return r;
}

/* ---- up_ep_wait() ---- */

/* Behind the thread that sleeps on the descriptors; holds the lock once. */
static void follow(struct up_ep_private *core, uint64_t until)
{
	const struct timespec t = up_clock_timespec(until);

	core->following++;
	core->pub.depth = 0;
	__atomic_store_n(&core->owner, 0, __ATOMIC_RELAXED);
	if (until == UINT64_MAX)
		pthread_cond_wait(&core->moved, &core->mutex);
	else
		pthread_cond_timedwait(&core->moved, &core->mutex, &t);
	__atomic_store_n(&core->owner, (uintptr_t)pthread_self(), __ATOMIC_RELAXED);
	core->pub.depth = 1;
	core->following--;
}

static int left_ms(uint64_t until)
{
	uint64_t now = up_clock_ns();

	if (until == UINT64_MAX)
		return -1;
	return until <= now ? 0 : (int)((until - now + UP_MSEC - 1) / UP_MSEC);
}

/* Holds the lock once, and does so again at the end. True: what was refused may be tried again. */
static bool lead(struct up_ep_private *core, uint64_t until)
{
	struct epoll_event e;

	core->leading = true;
	up_ep_unlock(&core->pub);
	epoll_wait(core->epoll, &e, 1, left_ms(until));
	up_ep_lock(&core->pub);
	core->leading = false;
	if (core->following)
		pthread_cond_broadcast(&core->moved);
	return core->timed && core->retry;
}

/* Looks, and sleeps once if there was nothing. */
static unsigned look(struct up_ep_private *core, uint64_t until, bool sleep)
{
	unsigned n;

	up_ep_lock(&core->pub);
	n = core->pub.depth == 1 ? up_core_progress(core) : 1;
	if (news(core) && !n)
		n = 1;
	if (!n && sleep) {
		if (core->leading)
			follow(core, until);
		else if (!arm(core))
			n = lead(core, until);
	}
	up_ep_unlock(&core->pub);
	return n;
}

unsigned up_ep_wait(struct up_ep *ep, int timeout_ms)
{
	struct up_ep_private *core = up_priv(ep);
	uint64_t start = up_clock_ns(), until = UINT64_MAX;
	uint64_t spin = start + core->spin_ns;
	bool sleep = false;
	unsigned n;

	if (timeout_ms >= 0)
		until = start + (uint64_t)timeout_ms * UP_MSEC;
	while (!(n = look(core, until, sleep))) {
		uint64_t now = up_clock_ns();

		if (now >= until)
			break;
		sleep = now >= spin;
	}
	return n;
}
