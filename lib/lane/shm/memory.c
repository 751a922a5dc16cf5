/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A peer's memory: copied to and from by process_vm_readv(2) and process_vm_writev(2), where the
 * kernel allows it, or mapped, when it is from up_mem_alloc(). Each such allocation is a sealed
 * memfd that peers open like a segment; its inode number tells it from one that has its descriptor
 * later.
 */
#include "lane/shm/shm.h"
#include "lane/shm/remote.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <underpass/tag.h>
#include <unistd.h>

/* For how long a process that was alive keeps its number, whatever happens to it: nanoseconds in
 * which no system goes through all process numbers. */
#define PID_HOLDS 2000000u

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

/* What the words of up_lane_mem are. */
enum { WORD_INODE, WORD_FD, WORD_BYTES, WORD_OFFSET };

static bool peer_alive(struct shm_link *l)
{
	struct pollfd pfd[2] = {{.fd = l->peer.pidfd, .events = POLLIN}, {.fd = l->peer.pipe}};
	uint64_t now = up_shm_now();

	if (l->gone)
		return false;
	if (now - l->alive_at < PID_HOLDS)
		return true;
	if (poll(pfd, 2, 0) != 0)
		return false;
	l->alive_at = now;
	return true;
}

static int copy_error(struct shm_link *l, int error)
{
	switch (error) {
	case ESRCH:
		return -EHOSTDOWN;
	case EPERM:
	case ENOSYS:
		l->no_direct = true;
		return -EOPNOTSUPP;
	default:
		return -error;
	}
}

/* Passes `done` bytes of the list. */
static void skip(struct iovec **iov, size_t *n, size_t done)
{
	while (*n && done >= (*iov)->iov_len) {
		done -= (*iov)->iov_len;
		(*iov)++;
		(*n)--;
	}
	if (*n) {
		(*iov)->iov_base = (char *)(*iov)->iov_base + done;
		(*iov)->iov_len -= done;
	}
}

typedef ssize_t copy_fn(pid_t pid, const struct iovec *local, unsigned long nlocal,
			const struct iovec *remote, unsigned long nremote, unsigned long flags);

/* In as many calls as it takes: one moves at most 2 GiB. */
static int copy(struct shm_link *l, const struct iovec *local, size_t n, uint64_t at, size_t len,
		copy_fn *fn)
{
	struct iovec pieces[UP_IOV_MAX], *iov = pieces;

	if (l->no_direct || n > UP_IOV_MAX)
		return -EOPNOTSUPP;
	if (!peer_alive(l))
		return -EHOSTDOWN;
	memcpy(pieces, local, n * sizeof(*local));
	while (len && n) {
		struct iovec remote = {(void *)(uintptr_t)at, len};
		ssize_t done = fn(l->peer.addr.pid, iov, n, &remote, 1, 0);

		if (done < 0)
			return copy_error(l, errno);
		/* Only a part of it is there. */
		if (done == 0)
			return -EFAULT;
		at += (size_t)done;
		len -= (size_t)done;
		skip(&iov, &n, (size_t)done);
	}
	return 0;
}

int up_shm_get(struct up_link *base, const struct iovec *local, size_t n, uint64_t remote,
	       size_t len)
{
	return copy((struct shm_link *)base, local, n, remote, len, process_vm_readv);
}

int up_shm_put(struct up_link *base, const struct iovec *local, size_t n, uint64_t remote,
	       size_t len)
{
	return copy((struct shm_link *)base, local, n, remote, len, process_vm_writev);
}

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

	m->fd = memfd_create(SHM_MEMFD_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (m->fd < 0)
		return -errno;
	if (fchmod(m->fd, 0600) < 0 || ftruncate(m->fd, (off_t)m->bytes) < 0 ||
	    fcntl(m->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0 ||
	    fstat(m->fd, &st) < 0)
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

	if (!bytes || bytes > (size_t)PTRDIFF_MAX - 4095) {
		errno = bytes ? ENOMEM : EINVAL;
		return NULL;
	}
	m = calloc(1, sizeof(*m));
	if (!m)
		return NULL;
	m->bytes = (bytes + 4095) & ~(size_t)4095;
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

static void mem_close(struct shm_mem *m)
{
	up_list_del(&m->node);
	munmap(m->addr, m->bytes);
	close(m->fd);
	free(m);
}

void up_shm_mem_free(struct up_lane *base, void *mem)
{
	struct shm_mem *m = find_mem((struct shm_lane *)base, mem, 1);

	if (m && m->addr == mem)
		mem_close(m);
}

void up_shm_mem_fini(struct shm_lane *lane)
{
	struct up_list *pos, *tmp;

	up_list_each (pos, tmp, &lane->mems)
		mem_close(UP_CONTAINER_OF(pos, struct shm_mem, node));
}

bool up_shm_mem_describe(struct up_lane *base, const void *addr, size_t len,
			 struct up_lane_mem *out)
{
	struct shm_mem *m = find_mem((struct shm_lane *)base, addr, len);

	if (!m)
		return false;
	*out = (struct up_lane_mem){0};
	out->words[WORD_INODE] = m->inode;
	out->words[WORD_FD] = (uint64_t)m->fd;
	out->words[WORD_BYTES] = m->bytes;
	out->words[WORD_OFFSET] = (uint64_t)((const uint8_t *)addr - m->addr);
	return true;
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
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;
	void *at;

	if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(fd, &st) < 0 ||
	    st.st_ino != mem->words[WORD_INODE] || (uint64_t)st.st_size != mem->words[WORD_BYTES])
		return NULL;
	at = mmap(NULL, mem->words[WORD_BYTES], PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return at == MAP_FAILED ? NULL : at;
}

static struct shm_map *map_new(struct shm_link *l, const struct up_lane_mem *mem)
{
	struct shm_map *m;
	int fd;

	if (mem->words[WORD_FD] > INT32_MAX || !peer_alive(l))
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

void *up_shm_mem_map(struct up_link *base, const struct up_lane_mem *mem)
{
	struct shm_link *l = (struct shm_link *)base;
	struct shm_map *m = find_map(l, mem->words[WORD_INODE]);

	/* The inode was the peer's choice of words: what is mapped under it decides. */
	if (mem->words[WORD_OFFSET] >= mem->words[WORD_BYTES] ||
	    (m && m->bytes != mem->words[WORD_BYTES]))
		return NULL;
	if (!m)
		m = map_new(l, mem);
	if (!m)
		return NULL;
	m->users++;
	return m->addr + mem->words[WORD_OFFSET];
}

static void map_close(struct shm_map *m)
{
	up_list_del(&m->node);
	munmap(m->addr, m->bytes);
	free(m);
}

void up_shm_mem_unmap(struct up_link *base, void *at)
{
	struct shm_link *l = (struct shm_link *)base;
	struct up_list *pos, *tmp;

	up_list_each (pos, tmp, &l->maps) {
		struct shm_map *m = UP_CONTAINER_OF(pos, struct shm_map, node);

		if (!up_range_inside((uintptr_t)at, 1, (uintptr_t)m->addr, m->bytes))
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
