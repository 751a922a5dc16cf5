/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Doorbells. A guest maps the UAR pages and stores the first 8 bytes of a work queue element there
 * after it has stored the doorbell record in its memory. The record is the truth; the word in the
 * page is a hint which record to read, cheap to look for, because unchanged pages stay in our
 * cache. A word that another one overwrote before it was seen is a lost hint: for those the
 * records of all send queues are swept, a few in each round.
 */
#include "device/connectx/connectx.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "device/connectx/abi_queue.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Records swept in a round: one for each step of time since the last round, within bounds. */
#define SWEEP_STEP (2 * UP_USEC)
#define SWEEP_MIN_BUSY 1u
#define SWEEP_MIN_IDLE 2u
#define SWEEP_MAX 64u
/* Pages looked at in a round: a guest can use 8,000 of them, of four words each. */
#define PAGES_MAX 512u

static_assert(UP_ARRAY_SIZE(((struct cx_uar *)0)->seen) == CX_UAR_BF_COUNT, "doorbells of a page");
static_assert(CX_UAR_PAGES * CX_UAR_PAGE_SIZE == CX_BAR0_SIZE &&
		      CX_UAR_FIRST * CX_UAR_PAGE_SIZE == CX_UAR_OFFSET,
	      "UAR index n is page n");

/*
 * The file is sealed: the guest's side, which maps it too, cannot shrink it, so a load of ours
 * never faults.
 */
static int create_file(void)
{
	int fd = memfd_create("underpass-uar", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int err;

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, CX_BAR0_SIZE) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)) {
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

/* The file and our mapping of it; both stay as they are on failure. */
static int open_pages(struct cx_device *dev)
{
	int fd = create_file();
	void *mem;

	if (fd < 0)
		return fd;
	mem = mmap(NULL, CX_BAR0_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mem == MAP_FAILED) {
		int err = -errno;

		close(fd);
		return err;
	}
	dev->uar_fd = fd;
	dev->uar_mem = mem;
	return 0;
}

static void close_pages(uint8_t *mem, int fd)
{
	munmap(mem, CX_BAR0_SIZE);
	close(fd);
}

int cx_uar_init(struct cx_device *dev)
{
	int err = open_pages(dev);

	if (err)
		goto log;
	dev->uars = calloc(CX_UAR_PAGES, sizeof(*dev->uars));
	dev->uar_watch = calloc(CX_UAR_PAGES, sizeof(*dev->uar_watch));
	if (!dev->uars || !dev->uar_watch) {
		err = -ENOMEM;
		goto close_pages;
	}
	return 0;

close_pages:
	free(dev->uar_watch);
	free(dev->uars);
	close_pages(dev->uar_mem, dev->uar_fd);
	dev->uar_fd = -1;
log:
	up_log(LOG_ERR, dev->hca.name, "doorbell pages: %s", strerror(-err));
	return err;
}

void cx_uar_fini(struct cx_device *dev)
{
	free(dev->sweep_qps);
	free(dev->uar_watch);
	free(dev->uars);
	close_pages(dev->uar_mem, dev->uar_fd);
}

/* Gives back the memory behind the pages as well. */
static void wipe(uint8_t *at, size_t bytes)
{
	if (madvise(at, bytes, MADV_REMOVE))
		memset(at, 0, bytes);
}

void cx_uar_clean(struct cx_device *dev, uint32_t page)
{
	wipe(dev->uar_mem + (size_t)page * CX_UAR_PAGE_SIZE, CX_UAR_PAGE_SIZE);
}

void cx_uar_renew(struct cx_device *dev)
{
	uint8_t *mem = dev->uar_mem;
	int fd = dev->uar_fd;

	if (open_pages(dev)) {
		up_log(LOG_ERR, dev->hca.name,
		       "no new doorbell pages: the next client shares them with the last one");
		wipe(mem, CX_BAR0_SIZE);
		return;
	}
	up_vfio_server_set_mmap_fd(dev->server, UP_VFIO_REGION_BAR0, dev->uar_fd);
	close_pages(mem, fd);
}

static uint8_t *doorbells(const struct cx_device *dev, uint32_t page)
{
	return dev->uar_mem + (size_t)page * CX_UAR_PAGE_SIZE + CX_UAR_BF_OFFSET;
}

/* What an earlier user of the page left there is no hint. */
static void watch_page(struct cx_device *dev, uint32_t page)
{
	struct cx_uar *uar = &dev->uars[page];

	if (uar->users++)
		return;
	for (uint32_t i = 0; i < CX_UAR_BF_COUNT; i++)
		uar->seen[i] = up_fetch_u64(doorbells(dev, page) + i * CX_UAR_BF_STRIDE);
	dev->uar_watch[dev->uar_watch_count++] = (uint16_t)page;
}

static void unwatch_page(struct cx_device *dev, uint32_t page)
{
	uint32_t i = 0;

	if (--dev->uars[page].users)
		return;
	while (dev->uar_watch[i] != page)
		i++;
	dev->uar_watch[i] = dev->uar_watch[--dev->uar_watch_count];
}

static int sweep_add(struct cx_device *dev, struct cx_qp *qp)
{
	if (dev->sweep_count == dev->sweep_room) {
		uint32_t room = dev->sweep_room ? dev->sweep_room * 2 : 16;
		struct cx_qp **qps = realloc(dev->sweep_qps, room * sizeof(struct cx_qp *));

		if (!qps)
			return -ENOMEM;
		dev->sweep_qps = qps;
		dev->sweep_room = room;
	}
	qp->sweep_slot = dev->sweep_count;
	dev->sweep_qps[dev->sweep_count++] = qp;
	return 0;
}

static void sweep_del(struct cx_device *dev, struct cx_qp *qp)
{
	struct cx_qp *last = dev->sweep_qps[--dev->sweep_count];

	last->sweep_slot = qp->sweep_slot;
	dev->sweep_qps[qp->sweep_slot] = last;
}

int cx_uar_use(struct cx_qp *qp, bool use)
{
	struct cx_device *dev = qp->dev;

	if (!qp->base.has_sq)
		return 0;
	if (!use) {
		sweep_del(dev, qp);
		unwatch_page(dev, qp->uar_page);
		return 0;
	}
	if (qp->uar_page < CX_UAR_FIRST || qp->uar_page >= CX_UAR_PAGES)
		return -EINVAL;
	if (sweep_add(dev, qp))
		return -ENOMEM;
	watch_page(dev, qp->uar_page);
	return 0;
}

void cx_uar_forget_all(struct cx_device *dev)
{
	/* Not written where nothing changes: most of the array was never touched. */
	for (uint32_t i = 0; i < CX_UAR_PAGES; i++) {
		if (!dev->uars[i].allocated)
			continue;
		dev->uars[i].allocated = false;
		dev->uars[i].users = 0;
	}
	dev->uar_watch_count = dev->uar_scan = 0;
	dev->sweep_count = dev->sweep = 0;
	free(dev->sweep_qps);
	dev->sweep_qps = NULL;
	dev->sweep_room = 0;
}

/* A doorbell word is the start of a control segment (struct mlx5_wqe_ctrl_seg). */
static void take_hint(struct cx_device *dev, uint64_t word)
{
	uint32_t qpn = (uint32_t)be64toh(word) >> CX_CTRL_QPN_SHIFT;
	struct up_qp *qp = up_table_get(&dev->hca.qps, qpn);

	up_stat_add(&dev->hca.stats.hints, 1);
	if (qp)
		dev->hca.net->kick(qp);
}

static unsigned scan_page(struct cx_device *dev, uint32_t page)
{
	const uint8_t *at = doorbells(dev, page);
	uint64_t *seen = dev->uars[page].seen;
	unsigned found = 0;

	for (uint32_t k = 0; k < CX_UAR_BF_COUNT; k++, at += CX_UAR_BF_STRIDE) {
		/* Acquire: the record was stored before the word (post_send_db()). */
		uint64_t word = up_fetch_u64(at);

		if (__builtin_expect(word == seen[k], 1))
			continue;
		seen[k] = word;
		take_hint(dev, word);
		found++;
	}
	return found;
}

/* All pages, in several rounds where they are many, between which the worker does not sleep. */
static unsigned scan_hints(struct cx_device *dev, uint64_t now, uint64_t *due)
{
	uint32_t from = dev->uar_scan < dev->uar_watch_count ? dev->uar_scan : 0;
	uint32_t left = dev->uar_watch_count - from;
	uint32_t to = from + (left < PAGES_MAX ? left : PAGES_MAX);
	unsigned found = 0;

	for (uint32_t i = from; i < to; i++)
		found += scan_page(dev, dev->uar_watch[i]);
	dev->uar_scan = to;
	if (to < dev->uar_watch_count)
		*due = now;
	return found;
}

/* A QP that runs or waits is looked at anyway; in other states nothing is executed. */
static bool is_swept(const struct cx_qp *qp)
{
	enum up_qp_state state = up_qp_state_get(&qp->base);

	if (!up_sched_is_idle(&qp->base.sched))
		return false;
	return state == UP_QPS_RTS || state == UP_QPS_SQE || state == UP_QPS_ERR;
}

static unsigned sweep(struct cx_device *dev, uint64_t elapsed, bool busy)
{
	uint64_t n = elapsed / SWEEP_STEP;
	uint64_t least = busy ? SWEEP_MIN_BUSY : SWEEP_MIN_IDLE;
	unsigned found = 0;

	if (!dev->sweep_count)
		return 0;
	n = n < least ? least : n > SWEEP_MAX ? SWEEP_MAX : n;
	n = n > dev->sweep_count ? dev->sweep_count : n;
	while (n--) {
		const struct cx_qp *next;
		struct cx_qp *qp;

		if (dev->sweep >= dev->sweep_count)
			dev->sweep = 0;
		qp = dev->sweep_qps[dev->sweep++];
		next = dev->sweep_qps[dev->sweep < dev->sweep_count ? dev->sweep : 0];
		/* Unless another worker is about to look it up. */
		if (__atomic_load_n(&next->epoch, __ATOMIC_ACQUIRE) == dev->hca.mem.epoch)
			__builtin_prefetch(next->dbr);
		if (is_swept(qp) && cx_sq_pending(&qp->base)) {
			dev->hca.net->kick(&qp->base);
			found++;
		}
	}
	return found;
}

unsigned cx_poll(struct up_hca *hca, uint64_t now, uint64_t *due)
{
	struct cx_device *dev = cx_dev(hca);
	unsigned found = scan_hints(dev, now, due);

	found += sweep(dev, now - dev->last_poll, found);
	dev->last_poll = now;
	found += cx_eq_serve(dev, now, due);
	return found + cx_cq_watch(dev, now, due);
}

/* The worker looks at the page as well. Drivers store words of 8 bytes, or halves of them. */
static void store(uint8_t *at, const void *buf, size_t len)
{
	const uint8_t *from = buf;
	uint64_t word;
	uint32_t half;

	if (len == sizeof(word) && (uintptr_t)at % sizeof(word) == 0) {
		memcpy(&word, from, sizeof(word));
		__atomic_store_n((uint64_t *)(void *)at, word, __ATOMIC_RELEASE);
	} else if (len == sizeof(half) && (uintptr_t)at % sizeof(half) == 0) {
		memcpy(&half, from, sizeof(half));
		__atomic_store_n((uint32_t *)(void *)at, half, __ATOMIC_RELEASE);
	} else {
		for (size_t i = 0; i < len; i++)
			__atomic_store_n(&at[i], from[i], __ATOMIC_RELAXED);
	}
}

/*
 * The word is kept as if the guest had stored it in the page, and told at once: with trapped
 * doorbells none is lost. A store of 4 bytes may be one half of it.
 */
void cx_uar_write(struct cx_device *dev, uint64_t off, const void *buf, size_t len)
{
	uint32_t at = (uint32_t)off % CX_UAR_PAGE_SIZE;

	if (!up_range_inside(off, len, CX_UAR_OFFSET, CX_BAR0_SIZE - CX_UAR_OFFSET) || len > 64)
		return;
	store(dev->uar_mem + off, buf, len);
	for (uint32_t k = 0; k < CX_UAR_BF_COUNT; k++) {
		uint32_t start = CX_UAR_BF_OFFSET + k * CX_UAR_BF_STRIDE;

		/* Told once the second half is there: it has the QP's number. */
		if (at + len < start + sizeof(uint64_t) || at >= start + sizeof(uint64_t))
			continue;
		take_hint(dev, up_fetch_u64(dev->uar_mem + off - at + start));
	}
	up_worker_wake(dev->port->worker);
}
