/* SPDX-License-Identifier: BSD-2-Clause */
/* Opening and closing the lane, and its table of operations. */
#include "lane/shm/shm.h"
#include "core/core.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

#define SLOTS_DEFAULT 1024u
/* Bytes; below, two copies through the ring cost less than a system call. */
#define DIRECT_FROM 16384u

static void shm_close(struct up_lane *base)
{
	struct shm_lane *lane = (struct shm_lane *)base;
	struct up_list *pos, *tmp;

	up_list_each (pos, tmp, &lane->links) {
		struct shm_link *l = shm_link_of(pos);

		up_shm_tx_end(l);
		up_shm_link_free(l);
	}
	up_shm_mem_fini(lane);
	up_shm_segment_close(lane);
	if (lane->epoll >= 0)
		close(lane->epoll);
	free(lane->hot);
	free(lane->stamps);
	free(lane->by_slot);
	free(lane);
}

static uint32_t count_slots(const struct up_ep *ep)
{
	uint32_t n = ep->attr.max_peers ? ep->attr.max_peers : SLOTS_DEFAULT;

	return n > SHM_SLOTS_MAX ? SHM_SLOTS_MAX : (n + 63) & ~63u;
}

static int fill(struct shm_lane *lane, uint32_t slots)
{
	struct epoll_event bell = {.events = EPOLLIN, .data.ptr = NULL};
	int err;

	lane->membarrier = up_shm_membarrier_init();
	err = up_shm_segment_open(lane, slots);
	if (err)
		return err;
	lane->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (lane->epoll < 0 || epoll_ctl(lane->epoll, EPOLL_CTL_ADD, lane->pipe[0], &bell) < 0)
		return -errno;
	lane->hot = calloc(slots, sizeof(struct shm_link *));
	lane->by_slot = calloc(slots, sizeof(struct shm_link *));
	return lane->hot && lane->by_slot ? 0 : -ENOMEM;
}

static int shm_open(struct up_ep *ep, struct up_lane **out)
{
	struct shm_lane *lane;
	int err;

	/* Slots are pages of their own. */
	if (sysconf(_SC_PAGESIZE) != SHM_PAGE)
		return -EOPNOTSUPP;
	lane = aligned_alloc(SHM_LINE, sizeof(*lane));
	if (!lane)
		return -ENOMEM;
	memset(lane, 0, sizeof(*lane));
	lane->base = (struct up_lane){
		.ops = &up_lane_shm,
		.ep = ep,
		.max_packet = SHM_MAX_PACKET,
		.answer_room = (size_t)SHM_ANSWER_LINES * SHM_LINE,
		.direct_from = DIRECT_FROM,
	};
	lane->segment = lane->pipe[0] = lane->pipe[1] = lane->epoll = -1;
	up_list_init(&lane->links);
	up_list_init(&lane->mems);
	err = fill(lane, count_slots(ep));
	if (err) {
		shm_close(&lane->base);
		return err;
	}
	/* Yama lets only ancestors copy from a process's memory that has not agreed; without Yama
	 * this fails, and is not needed. Peers are of the same user in any case. */
	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
	*out = &lane->base;
	return 0;
}

static size_t shm_address(const struct up_lane *base, void *buf, size_t room)
{
	const struct shm_lane *lane = (const struct shm_lane *)base;

	if (room < SHM_ADDR_BYTES)
		return 0;
	memcpy(buf, &lane->addr, offsetof(struct shm_addr, slots));
	((uint8_t *)buf)[SHM_ADDR_BYTES - 1] = (uint8_t)(lane->addr.slots / 64);
	return SHM_ADDR_BYTES;
}

static int shm_fd(struct up_lane *base)
{
	return ((struct shm_lane *)base)->epoll;
}

const struct up_lane_ops up_lane_shm = {
	.name = "shm",
	.open = shm_open,
	.close = shm_close,
	.address = shm_address,
	.connect = up_shm_connect,
	.disconnect = up_shm_disconnect,
	.reserve = up_shm_reserve,
	.commit = up_shm_commit,
	.poll = up_shm_poll,
	.fd = shm_fd,
	.arm = up_shm_arm,
	.get = up_shm_get,
	.put = up_shm_put,
	.taken = up_shm_taken,
	.mem_alloc = up_shm_mem_alloc,
	.mem_free = up_shm_mem_free,
	.mem_holds = up_shm_mem_holds,
	.mem_share = up_shm_mem_share,
	.mem_unshare = up_shm_mem_unshare,
	.mem_revoke = up_shm_mem_revoke,
	.mem_entered = up_shm_mem_entered,
	.mem_map = up_shm_mem_map,
	.mem_unmap = up_shm_mem_unmap,
};
