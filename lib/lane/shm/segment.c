/* SPDX-License-Identifier: BSD-2-Clause */
/* Segments: making one's own, finding and checking a peer's, and the slots in both. */
#include "lane/shm/remote.h"
#include "lane/shm/shm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int read_boot_id(uint8_t id[16])
{
	char text[64] = "";
	unsigned byte, n = 0;
	FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
	bool ok = f && fgets(text, sizeof(text), f);

	if (f)
		fclose(f);
	for (const char *p = text; ok && n < 16 && *p; p += *p == '-' ? 1 : 2) {
		if (*p == '-')
			continue;
		if (sscanf(p, "%2x", &byte) != 1)
			break;
		id[n++] = (uint8_t)byte;
	}
	return n == 16 ? 0 : -EOPNOTSUPP;
}

/*
 * Whom this process can reach: those of this host since it was booted, in this pid namespace, of
 * this user, and of this version. FNV-1a over all that.
 */
static int make_host(uint64_t *host, uint64_t pid_namespace)
{
	struct {
		uint8_t boot_id[16];
		uint64_t pid_namespace;
		uint32_t uid;
		uint32_t version;
	} here = {.pid_namespace = pid_namespace, .uid = geteuid(), .version = SHM_VERSION};
	int err = read_boot_id(here.boot_id);

	*host = UINT64_C(14695981039346656037);
	for (size_t i = 0; i < sizeof(here); i++)
		*host = (*host ^ ((const uint8_t *)&here)[i]) * UINT64_C(1099511628211);
	return err;
}

static int make_addr(struct shm_addr *a)
{
	char self[32] = "";
	struct stat st;

	/* Peers must be able to open what is in /proc/PID/fd. */
	if (prctl(PR_GET_DUMPABLE) != 1)
		return -EOPNOTSUPP;
	/* The /proc of another pid namespace would lead to the wrong processes. */
	if (readlink("/proc/self", self, sizeof(self) - 1) <= 0 || atoi(self) != getpid() ||
	    stat("/proc/self/ns/pid", &st) < 0)
		return -EOPNOTSUPP;
	a->pid = getpid();
	if (getrandom(&a->cookie, sizeof(a->cookie), 0) != sizeof(a->cookie))
		return -EOPNOTSUPP;
	return make_host(&a->host, st.st_ino);
}

int up_shm_memfd(size_t bytes)
{
	int err, fd = memfd_create(SHM_MEMFD_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -errno;
	if (!fchmod(fd, 0600) && !ftruncate(fd, (off_t)bytes) &&
	    !fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return fd;
	err = -errno;
	close(fd);
	return err;
}

bool up_shm_memfd_is(int fd, uint64_t bytes, uint64_t *inode)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;

	if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(fd, &st) < 0 ||
	    (uint64_t)st.st_size != bytes)
		return false;
	*inode = st.st_ino;
	return true;
}

static int make_segment(struct shm_lane *lane, uint32_t slots)
{
	size_t bytes = shm_segment_bytes(slots);
	struct shm_header *h;
	int fd = up_shm_memfd(bytes);

	if (fd < 0)
		return fd;
	lane->segment = fd;
	h = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (h == MAP_FAILED)
		return -ENOMEM;
	/* A huge page would be many slots' memory. */
	madvise(h, bytes, MADV_NOHUGEPAGE);
	lane->header = h;
	lane->claims = shm_claims(h, slots);
	lane->slots = (struct shm_slot *)((char *)h + shm_header_bytes(slots));
	h->magic = SHM_MAGIC;
	h->version = SHM_VERSION;
	h->slots = slots;
	h->membarrier = lane->membarrier;
	h->cookie = lane->addr.cookie;
	return 0;
}

int up_shm_segment_open(struct shm_lane *lane, uint32_t slots)
{
	int err = make_addr(&lane->addr);

	lane->addr.slots = slots;
	lane->segment = lane->pipe[0] = lane->pipe[1] = -1;
	if (!err)
		err = make_segment(lane, slots);
	if (!err && pipe2(lane->pipe, O_CLOEXEC | O_NONBLOCK) < 0)
		err = -errno;
	lane->addr.segment = lane->segment;
	lane->addr.pipe = lane->pipe[1];
	if (err)
		up_shm_segment_close(lane);
	return err;
}

void up_shm_segment_close(struct shm_lane *lane)
{
	if (lane->header)
		munmap(lane->header, shm_segment_bytes(lane->addr.slots));
	for (int i = 0; i < 2; i++)
		if (lane->pipe[i] >= 0)
			close(lane->pipe[i]);
	if (lane->segment >= 0)
		close(lane->segment);
	lane->header = NULL;
	lane->segment = lane->pipe[0] = lane->pipe[1] = -1;
}

int up_shm_addr_check(const struct shm_lane *lane, const struct shm_addr *a)
{
	if (a->host != lane->addr.host)
		return -EHOSTUNREACH;
	if (a->pid <= 0 || a->segment < 0 || a->pipe < 0 || !a->slots || a->slots % 64 ||
	    a->slots > SHM_SLOTS_MAX)
		return -EINVAL;
	return 0;
}

/* What an error of looking for a peer's descriptor means. */
static int lookup_error(int error)
{
	switch (error) {
	case EACCES:
	case EPERM:
	case ENOSYS:
		return -EHOSTUNREACH;
	case EMFILE:
	case ENFILE:
	case ENOMEM:
		return -ENOMEM;
	default:
		return -ESRCH;
	}
}

int up_shm_open_remote(int pid, int fd, int flags, const char *what)
{
	char path[64], text[64] = "";
	int mine;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
	if (readlink(path, text, sizeof(text) - 1) < 0)
		return lookup_error(errno);
	if (strncmp(text, what, strlen(what)) != 0)
		return -ESRCH;
	mine = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	return mine < 0 ? lookup_error(errno) : mine;
}

static int map_header(struct shm_peer *p, int fd)
{
	const struct shm_addr *a = &p->addr;
	size_t bytes = shm_header_bytes(a->slots);
	struct shm_header *h;
	uint64_t inode;

	if (!up_shm_memfd_is(fd, shm_segment_bytes(a->slots), &inode))
		return -ESRCH;
	h = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (h == MAP_FAILED)
		return -ENOMEM;
	if (h->magic != SHM_MAGIC || h->version != SHM_VERSION || h->slots != a->slots ||
	    h->cookie != a->cookie) {
		munmap(h, bytes);
		return -ESRCH;
	}
	p->header = h;
	return 0;
}

/* The slot that up_shm_claim() took. */
static int map_slot(struct shm_peer *p)
{
	size_t at = shm_header_bytes(p->addr.slots) + (size_t)p->index * SHM_SLOT_BYTES;
	int fd = up_shm_open_remote(p->addr.pid, p->addr.segment, O_RDWR, SHM_MEMFD_LINK);
	struct shm_slot *slot;

	if (fd < 0)
		return fd;
	slot = mmap(NULL, SHM_SLOT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)at);
	close(fd);
	if (slot == MAP_FAILED)
		return -ENOMEM;
	p->slot = slot;
	return 0;
}

static bool is_dead(int pidfd)
{
	struct pollfd pfd = {.fd = pidfd, .events = POLLIN};

	return poll(&pfd, 1, 0) != 0;
}

/*
 * The process is held by its pidfd first, and must still live when all is open: then its number
 * meant the same process all the time. That it is the one of the address is known by the cookie.
 */
int up_shm_peer_open(struct shm_peer *p, const struct shm_addr *a)
{
	int fd, err;

	*p = (struct shm_peer){.addr = *a, .pidfd = -1, .pipe = -1};
	p->pidfd = (int)syscall(SYS_pidfd_open, a->pid, 0);
	if (p->pidfd < 0)
		return lookup_error(errno);
	fd = up_shm_open_remote(a->pid, a->segment, O_RDWR, SHM_MEMFD_LINK);
	err = fd;
	if (fd >= 0) {
		err = map_header(p, fd);
		close(fd);
	}
	if (!err) {
		p->pipe = up_shm_open_remote(a->pid, a->pipe, O_WRONLY, "pipe:");
		err = p->pipe < 0 ? p->pipe : 0;
	}
	if (!err && is_dead(p->pidfd))
		err = -ESRCH;
	if (err)
		up_shm_peer_close(p);
	return err;
}

void up_shm_peer_close(struct shm_peer *p)
{
	if (p->slot)
		munmap(p->slot, SHM_SLOT_BYTES);
	if (p->header)
		munmap(p->header, shm_header_bytes(p->addr.slots));
	if (p->pipe >= 0)
		close(p->pipe);
	if (p->pidfd >= 0)
		close(p->pidfd);
	p->slot = NULL;
	p->header = NULL;
	p->pipe = p->pidfd = -1;
}

/* May a claimant take this word's slot? A process that died while it made its claim never had it.
 */
static bool claim_word(uint64_t *word, uint64_t mine, bool from_dead)
{
	uint64_t seen = __atomic_load_n(word, __ATOMIC_RELAXED);

	if (seen && (!from_dead || seen & SHM_CLAIM_OPEN || seen > INT32_MAX ||
		     kill((pid_t)seen, 0) == 0 || errno != ESRCH))
		return false;
	return __atomic_compare_exchange_n(word, &seen, mine, false, __ATOMIC_ACQUIRE,
					   __ATOMIC_RELAXED);
}

int up_shm_claim(struct shm_peer *p, const struct shm_contact *c)
{
	uint64_t *claims = shm_claims(p->header, p->addr.slots);
	uint64_t mine = (uint64_t)c->from.pid;
	uint32_t n = p->addr.slots, start = (uint32_t)c->from.cookie % n;
	int err;

	/* Not all from the same place, as many claim at once when a job starts. */
	for (uint32_t i = 0; i < 2 * n; i++) {
		p->index = (start + i) % n;
		if (!claim_word(&claims[p->index], mine, i >= n))
			continue;
		err = map_slot(p);
		if (err) {
			__atomic_store_n(&claims[p->index], 0, __ATOMIC_RELEASE);
			return err;
		}
		p->slot->contact = *c;
		p->slot->consumed = SHM_RING_LINES;
		__atomic_store_n(&claims[p->index], SHM_CLAIM_OPEN | mine, __ATOMIC_RELEASE);
		return 0;
	}
	return -ENOMEM;
}

/*
 * The memory goes back to the system, and is zero for the next one. The ready bit must be clear
 * before the claim is: a claimant that finds its bit set takes it for its own.
 */
void up_shm_slot_free(struct shm_lane *lane, uint32_t index)
{
	off_t at = (off_t)(shm_header_bytes(lane->addr.slots) + (size_t)index * SHM_SLOT_BYTES);

	if (fallocate(lane->segment, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at,
		      SHM_SLOT_BYTES) < 0)
		memset(&lane->slots[index], 0, SHM_SLOT_BYTES);
	__atomic_fetch_and(&lane->header->ready[index / 64], ~(1ull << (index % 64)),
			   __ATOMIC_ACQ_REL);
	__atomic_store_n(&lane->claims[index], 0, __ATOMIC_RELEASE);
}
