/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory that peers use by themselves. What they may use at a time is said by words in the owner's
 * segment (segment.h, `shares`). An allocation of up_mem_alloc() is a sealed memfd that peers open
 * like a segment and map; its inode number tells it from one that has its descriptor later. All
 * other memory is reached by up_shm_get() and up_shm_put().
 */
#include "lane/shm/remote.h"
#include "lane/shm/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* An allocation here. */
struct shm_mem {
	struct up_list node;
	uint8_t *addr;
	size_t bytes;
	int fd;
	uint64_t inode;
};

/* A mapping of a peer's allocation. */
struct shm_map {
	struct up_list node;
	uint8_t *addr;
	size_t bytes;
	uint64_t inode;
	unsigned users;
};

/* What the words of up_lane_mem are. Memory that is not mapped has no inode, and its address for an
 * offset. */
enum { WORD_INODE, WORD_FD, WORD_BYTES, WORD_OFFSET, WORD_SHARE, WORD_STAMP };

static struct shm_mem *find_mem(struct shm_lane *lane, const void *addr, size_t len)
{
	struct up_list *pos, *tmp;

	up_list_each (pos, tmp, &lane->mems) {
		struct shm_mem *m = UP_CONTAINER_OF(pos, struct shm_mem, node);

		if (up_range_inside((uintptr_t)addr, len, (uintptr_t)m->addr, m->bytes))
			return m;
	}
	return NULL;
}

static int fill_mem(struct shm_mem *m)
{
	struct stat st;

	m->fd = up_shm_memfd(m->bytes);
	if (m->fd < 0)
		return m->fd;
	if (fstat(m->fd, &st) < 0)
		return -errno;
	m->inode = st.st_ino;
	m->addr = mmap(NULL, m->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd, 0);
	if (m->addr == MAP_FAILED)
		return -errno;
	return 0;
}

void *up_shm_mem_alloc(struct up_lane *base, size_t bytes)
{
	struct shm_lane *lane = (struct shm_lane *)base;
	struct shm_mem *m;
	int err;

	if (!bytes || bytes > (size_t)PTRDIFF_MAX - SHM_PAGE) {
		errno = bytes ? ENOMEM : EINVAL;
		return NULL;
	}
	m = calloc(1, sizeof(*m));
	if (!m)
		return NULL;
	m->bytes = shm_page_up(bytes);
	err = fill_mem(m);
	if (err) {
		if (m->fd >= 0)
			close(m->fd);
		free(m);
		errno = -err;
		return NULL;
	}
	up_list_add_tail(&lane->mems, &m->node);
	return m->addr;
}

/* Peers may still have it mapped: its pages go all the same. */
static void mem_close(const struct shm_lane *lane, struct shm_mem *m)
{
	up_list_del(&m->node);
	if (shm_is_ours(lane))
		fallocate(m->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)m->bytes);
	munmap(m->addr, m->bytes);
	close(m->fd);
	free(m);
}

void up_shm_mem_free(struct up_lane *base, void *mem)
{
	struct shm_lane *lane = (struct shm_lane *)base;
	struct shm_mem *m = find_mem(lane, mem, 1);

	if (m && m->addr == mem)
		mem_close(lane, m);
}

void up_shm_mem_fini(struct shm_lane *lane)
{
	struct up_list *pos, *tmp;

	up_list_each (pos, tmp, &lane->mems)
		mem_close(lane, UP_CONTAINER_OF(pos, struct shm_mem, node));
}

/* A word for a stretch; 0 is as good as any to begin with. SHM_SHARES: all are in use. */
static uint32_t free_share(struct shm_lane *lane)
{
	if (!lane->stamps)
		lane->stamps = calloc(SHM_SHARES, sizeof(*lane->stamps));
	for (uint32_t i = 0; lane->stamps && i < SHM_SHARES; i++) {
		uint32_t index = (lane->next_share + i) % SHM_SHARES;

		if (lane->stamps[index] & 1)
			continue;
		lane->next_share = index + 1;
		return index;
	}
	return SHM_SHARES;
}

/* What the word says from now on; peers can write to it, so this end keeps its own copy. */
static void next_stamp(struct shm_lane *lane, uint32_t index)
{
	__atomic_store_n(&shm_shares(lane->header, lane->addr.slots)[index], ++lane->stamps[index],
			 __ATOMIC_SEQ_CST);
}

bool up_shm_mem_holds(struct up_lane *base, const void *addr, size_t len)
{
	return find_mem((struct shm_lane *)base, addr, len) != NULL;
}

bool up_shm_mem_share(struct up_lane *base, const void *addr, size_t len, struct up_lane_mem *out)
{
	struct shm_lane *lane = (struct shm_lane *)base;
	const struct shm_mem *m = find_mem(lane, addr, len);
	uint32_t index = free_share(lane);

	if (index == SHM_SHARES)
		return false;
	next_stamp(lane, index);
	*out = (struct up_lane_mem){0};
	out->words[WORD_OFFSET] = (uintptr_t)addr;
	if (m) {
		out->words[WORD_INODE] = m->inode;
		out->words[WORD_FD] = (uint64_t)m->fd;
		out->words[WORD_BYTES] = m->bytes;
		out->words[WORD_OFFSET] -= (uintptr_t)m->addr;
	}
	out->words[WORD_SHARE] = index;
	out->words[WORD_STAMP] = lane->stamps[index];
	return true;
}

/* Until the peer has left what it was in; a dead one never does. */
static void wait_out(struct shm_link *l)
{
	uint64_t turn;

	if (!l->rx.slot)
		return;
	turn = __atomic_load_n(&l->rx.slot->turn, __ATOMIC_ACQUIRE);
	while (turn & 1 && __atomic_load_n(&l->rx.slot->turn, __ATOMIC_ACQUIRE) == turn &&
	       up_shm_peer_alive(l))
		sched_yield();
}

/*
 * A peer enters by making its turn odd and then reading the word. After the barrier either it reads
 * the new word, or its odd turn is seen here (wake.c argues the same way). False: nothing is done.
 */
static bool take_back(struct shm_lane *lane, const struct up_lane_mem *mem)
{
	if (!shm_is_ours(lane))
		return false;
	next_stamp(lane, (uint32_t)mem->words[WORD_SHARE]);
	up_shm_barrier(lane);
	return true;
}

void up_shm_mem_revoke(struct up_link *base, const struct up_lane_mem *mem, bool wait)
{
	struct shm_link *l = (struct shm_link *)base;

	if (take_back(shm_lane_of(l), mem) && wait)
		wait_out(l);
}

bool up_shm_mem_entered(struct up_link *base)
{
	const struct shm_rx *rx = &((struct shm_link *)base)->rx;

	return rx->slot && __atomic_load_n(&rx->slot->turn, __ATOMIC_ACQUIRE) & 1;
}

void up_shm_mem_unshare(struct up_lane *base, const struct up_lane_mem *mem)
{
	struct shm_lane *lane = (struct shm_lane *)base;
	struct up_list *pos, *tmp;

	if (!take_back(lane, mem))
		return;
	up_list_each (pos, tmp, &lane->links)
		wait_out(shm_link_of(pos));
}

static struct shm_map *find_map(struct shm_link *l, uint64_t inode)
{
	struct up_list *pos, *tmp;

	up_list_each (pos, tmp, &l->maps) {
		struct shm_map *m = UP_CONTAINER_OF(pos, struct shm_map, node);

		if (m->inode == inode)
			return m;
	}
	return NULL;
}

static void *map_fd(int fd, const struct up_lane_mem *mem)
{
	uint64_t inode;
	void *at;

	if (!up_shm_memfd_is(fd, mem->words[WORD_BYTES], &inode) || inode != mem->words[WORD_INODE])
		return NULL;
	at = mmap(NULL, mem->words[WORD_BYTES], PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return at == MAP_FAILED ? NULL : at;
}

static struct shm_map *map_new(struct shm_link *l, const struct up_lane_mem *mem)
{
	struct shm_map *m;
	int fd;

	if (mem->words[WORD_FD] > INT32_MAX || !up_shm_peer_alive(l))
		return NULL;
	fd = up_shm_open_remote(l->peer.addr.pid, (int)mem->words[WORD_FD], O_RDWR, SHM_MEMFD_LINK);
	if (fd < 0)
		return NULL;
	m = calloc(1, sizeof(*m));
	if (m)
		m->addr = map_fd(fd, mem);
	close(fd);
	if (!m || !m->addr) {
		free(m);
		return NULL;
	}
	m->bytes = mem->words[WORD_BYTES];
	m->inode = mem->words[WORD_INODE];
	up_list_add_tail(&l->maps, &m->node);
	return m;
}

/* All of `mem` is the peer's word; what is mapped under the inode's number decides. */
static uint8_t *map(struct shm_link *l, const struct up_lane_mem *mem, size_t len)
{
	struct shm_map *m = find_map(l, mem->words[WORD_INODE]);

	if (!up_range_inside(mem->words[WORD_OFFSET], len, 0, mem->words[WORD_BYTES]) ||
	    (m && m->bytes != mem->words[WORD_BYTES]))
		return NULL;
	if (!m)
		m = map_new(l, mem);
	if (!m)
		return NULL;
	m->users++;
	return m->addr + mem->words[WORD_OFFSET];
}

bool up_shm_mem_map(struct up_link *base, const struct up_lane_mem *mem, size_t len,
		    struct up_lane_window *out)
{
	struct shm_link *l = (struct shm_link *)base;
	uint64_t share = mem->words[WORD_SHARE];

	if (!base->turn || share >= SHM_SHARES)
		return false;
	*out = (struct up_lane_window){
		.address = mem->words[WORD_OFFSET],
		.valid = &shm_shares(l->peer.header, l->peer.addr.slots)[share],
		.stamp = mem->words[WORD_STAMP],
	};
	if (!mem->words[WORD_INODE])
		return !l->no_direct && out->address <= UINT64_MAX - len;
	out->memory = map(l, mem, len);
	return out->memory != NULL;
}

static void map_close(struct shm_map *m)
{
	up_list_del(&m->node);
	munmap(m->addr, m->bytes);
	free(m);
}

void up_shm_mem_unmap(struct up_link *base, const struct up_lane_window *w)
{
	struct shm_link *l = (struct shm_link *)base;
	struct up_list *pos, *tmp;

	up_list_each (pos, tmp, &l->maps) {
		struct shm_map *m = UP_CONTAINER_OF(pos, struct shm_map, node);

		if (!w->memory ||
		    !up_range_inside((uintptr_t)w->memory, 1, (uintptr_t)m->addr, m->bytes))
			continue;
		if (--m->users == 0)
			map_close(m);
		return;
	}
}

void up_shm_maps_fini(struct shm_link *l)
{
	struct up_list *pos, *tmp;

	up_list_each (pos, tmp, &l->maps)
		map_close(UP_CONTAINER_OF(pos, struct shm_map, node));
}
