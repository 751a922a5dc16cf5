/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sleeping. The provider's descriptors are watched by an epoll of the lane's, and that perhaps by
 * others; a watch costs whoever sends to this process a part of a microsecond for each packet, when
 * the kernel delivers it. So nothing is watched until somebody arms, and no more when many polls
 * have passed since. Who may still sleep then is woken, to arm again.
 *
 * No wake-up is lost, as sockets stay readable until they are read, and all that is in the queues
 * above them is looked at after the watch has begun.
 *
 * The provider `net` of libfabric 1.17 signals its queues and never takes it back, so their
 * descriptors are readable for ever after the first completion. An event queue that gets no event
 * is not signalled, and its descriptor tells of all sockets of the fabric: the bell.
 */
#include "lane/ofi/direct.h"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* Polls without an arm() after which the watch ends. */
#define AWAKE_POLLS 64
/* How often a provider is looked at that wakes nobody up, while there are peers. */
#define TICK_NS 1000000u

static int add(struct ofi_lane *lane, int fd, uint32_t events)
{
	struct epoll_event e = {.events = events};

	return epoll_ctl(lane->epoll, EPOLL_CTL_ADD, fd, &e) < 0 ? -errno : 0;
}

static int add_provider(struct ofi_lane *lane, struct fid *fid)
{
	int fd, ret = fi_control(fid, FI_GETWAIT, &fd);

	if (!ret)
		ret = add(lane, fd, 0);
	if (!ret)
		lane->waits[lane->nwaits++] = fd;
	return ret;
}

int up_ofi_wake_open(struct ofi_lane *lane)
{
	int ret;

	lane->epoll = epoll_create1(EPOLL_CLOEXEC);
	lane->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	lane->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (lane->epoll < 0 || lane->timer < 0 || lane->kick < 0)
		return -errno;
	ret = add(lane, lane->timer, EPOLLIN);
	if (!ret)
		ret = add(lane, lane->kick, EPOLLIN);
	if (!ret && !lane->own_bell && !lane->ticks)
		ret = add_provider(lane, &lane->cq->fid);
	if (!ret && !lane->own_bell && !lane->ticks && lane->eq)
		ret = add_provider(lane, &lane->eq->fid);
	if (!ret && lane->watchers >= 0)
		ret = add(lane, lane->watchers, EPOLLIN);
	return ret;
}

void up_ofi_wake_close(struct ofi_lane *lane)
{
	if (lane->bell)
		fi_close(&lane->bell->fid);
	if (lane->kick >= 0)
		close(lane->kick);
	if (lane->timer >= 0)
		close(lane->timer);
	if (lane->epoll >= 0)
		close(lane->epoll);
}

/* Made when it is needed first: who never sleeps shall not pay. */
static bool has_bell(struct ofi_lane *lane)
{
	struct fi_eq_attr attr = {.wait_obj = FI_WAIT_FD};
	int ret;

	if (lane->nwaits || lane->ticks)
		return true;
	ret = lane->bell ? 0 : fi_eq_open(lane->fabric, &attr, &lane->bell, lane);
	if (!ret)
		ret = add_provider(lane, &lane->bell->fid);
	if (ret)
		up_log(LOG_ERR, NULL, "ofi: cannot sleep: %s", fi_strerror(-ret));
	return !ret;
}

void up_ofi_kick(struct ofi_lane *lane)
{
	const uint64_t one = 1;

	/* It cannot fail, the counter is far from its end. */
	if (write(lane->kick, &one, sizeof(one)) < 0)
		up_log(LOG_ERR, NULL, "ofi: eventfd: %s", strerror(errno));
}

static void watch(struct ofi_lane *lane, bool on)
{
	struct epoll_event e = {.events = on ? EPOLLIN : 0};

	lane->armed = on;
	for (unsigned i = 0; i < lane->nwaits; i++)
		epoll_ctl(lane->epoll, EPOLL_CTL_MOD, lane->waits[i], &e);
	/* Who still sleeps must arm again. */
	if (!on)
		up_ofi_kick(lane);
}

void up_ofi_awake(struct ofi_lane *lane)
{
	if (++lane->awake > AWAKE_POLLS)
		watch(lane, false);
}

/* Deadlines pass without an event, and so does a peer's silence; and of some providers nothing
 * comes with one. */
static void set_timer(const struct ofi_lane *lane)
{
	struct itimerspec t = {0};

	if (lane->ticks && !up_list_empty(&lane->conns))
		t.it_value.tv_nsec = TICK_NS;
	else if (lane->ticks || lane->nsettling || lane->npending ||
		 (lane->direct && up_direct_is_deaf(lane)))
		t.it_value.tv_nsec = 2 * OFI_CHECK_NS;
	else if (lane->nudging)
		t.it_value.tv_sec = 1;
	else if (!lane->head && !up_list_empty(&lane->conns))
		t.it_value = up_clock_timespec(ofi_alive_every(lane));
	timerfd_settime(lane->timer, 0, &t, NULL);
}

/*
 * Have the provider's queues nothing? A look at either moves what is in the sockets, for both; of
 * connections that are made the timer tells as well, and whatever else makes an event of a
 * connection makes a completion too. So the completions come last.
 */
static bool quiet(struct ofi_lane *lane)
{
	struct fid *fids[2] = {&lane->cq->fid, lane->eq ? &lane->eq->fid : NULL};

	if (!lane->own_bell && !lane->ticks)
		return fi_trywait(lane->fabric, fids, lane->eq ? 2 : 1) == 0;
	if (lane->eq && fi_eq_read(lane->eq, NULL, NULL, 0, FI_PEEK) != -FI_EAGAIN)
		return false;
	return fi_cq_read(lane->cq, NULL, 0) == -FI_EAGAIN;
}

bool up_ofi_arm(struct up_lane *base)
{
	struct ofi_lane *lane = (struct ofi_lane *)base;
	struct epoll_event e;
	uint64_t n;

	if (lane->nheld || lane->broken || !has_bell(lane))
		return false;
	set_timer(lane);
	if (!lane->armed)
		watch(lane, true);
	if (read(lane->kick, &n, sizeof(n)) < 0 && errno != EAGAIN)
		return false;
	lane->awake = 0;
	lane->look = true;
	ofi_awaken(lane);
	up_ofi_repost(lane);
	/* Better than to be woken up at once is not to sleep. */
	return quiet(lane) && epoll_wait(lane->epoll, &e, 1, 0) == 0;
}
