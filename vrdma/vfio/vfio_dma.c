/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest memory: DMA_MAP and DMA_UNMAP.
 *
 * QEMU maps and unmaps the same memory many times while firmware moves the PC's low memory around,
 * each piece with a descriptor of its own for the same file. A descriptor is needed for mmap() only
 * and is closed with its message.
 */
#include "vfio/vfio_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

/* The first range that ends behind `iova`, which is where iova would be inserted, too. */
static uint32_t find_range(const struct vu_ranges *ranges, uint64_t iova)
{
	uint32_t low = 0, high = ranges->count;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		const struct vu_range *r = &ranges->range[mid];

		if (r->iova + r->size > iova)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

/* Page aligned, not empty, and its end is a number. */
static bool valid_range(uint64_t iova, uint64_t size)
{
	uint64_t end;

	return size && !__builtin_add_overflow(iova, size, &end) &&
	       !((iova | size) & (VU_PAGE_SIZE - 1));
}

static int check_map(struct up_vfio_server *srv, const struct vu_dma_map *map, uint32_t *at)
{
	const struct vu_ranges *ranges = &srv->ranges;

	if (map->argsz < sizeof(*map) || !map->flags ||
	    (map->flags & ~(uint32_t)(UP_VFIO_DMA_READ | UP_VFIO_DMA_WRITE)) ||
	    !valid_range(map->address, map->size)) {
		up_vu_complain(srv,
			       "DMA_MAP: argsz %u, flags 0x%x, 0x%" PRIx64 " bytes at 0x%" PRIx64,
			       map->argsz, map->flags, map->size, map->address);
		return -EINVAL;
	}
	*at = find_range(ranges, map->address);
	if (*at < ranges->count && ranges->range[*at].iova < map->address + map->size) {
		up_vu_complain(srv,
			       "DMA_MAP: 0x%" PRIx64 " bytes at 0x%" PRIx64
			       " are partly mapped already",
			       map->size, map->address);
		return -EEXIST;
	}
	if (ranges->count == ranges->max) {
		up_vu_complain(srv, "DMA_MAP: more than %u ranges", ranges->max);
		return -ENOSPC;
	}
	return 0;
}

/*
 * The file must have the pages now (should it shrink later, sigbus_guard.h takes over), and be one
 * that the kernel serves by itself: a page fault on a network or FUSE file would let the client's
 * host stop every thread that touches the page. *page: the size of the file's pages.
 */
static int check_file(struct up_vfio_server *srv, int fd, const struct vu_dma_map *map,
		      uint64_t *page)
{
	struct statfs fs;
	struct stat st;
	uint64_t end;

	/* Memory files have seals. This asks no file system, which may be one that never answers.
	 */
	if (fcntl(fd, F_GET_SEALS) < 0) {
		up_vu_complain(srv, "DMA_MAP: guest memory must be a memfd, or a file in tmpfs or "
				    "hugetlbfs");
		return -EINVAL;
	}
	if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0) {
		int err = errno;

		up_vu_complain(srv, "DMA_MAP: cannot look at the file: %s", strerror(err));
		return -err;
	}
	if (map->offset & (VU_PAGE_SIZE - 1) ||
	    __builtin_add_overflow(map->offset, map->size, &end) || end > (uint64_t)st.st_size) {
		up_vu_complain(srv,
			       "DMA_MAP: 0x%" PRIx64 " bytes at offset 0x%" PRIx64
			       " of a file of 0x%" PRIx64 " bytes",
			       map->size, map->offset, (uint64_t)st.st_size);
		return -EINVAL;
	}
	*page = fs.f_type == (__fsword_t)HUGETLBFS_MAGIC ? (uint64_t)fs.f_bsize
							 : (uint64_t)sysconf(_SC_PAGESIZE);
	return 0;
}

/*
 * Map a file's pages that hold the range into r->base; *hva: where the range itself begins. Huge
 * pages can be mapped whole only.
 */
static int map_file(struct up_vfio_server *srv, int fd, const struct vu_dma_map *map,
		    struct vu_range *r, void **hva)
{
	int prot = PROT_READ | (map->flags & UP_VFIO_DMA_WRITE ? PROT_WRITE : 0);
	uint64_t page = VU_PAGE_SIZE, start;
	int ret;

	ret = check_file(srv, fd, map, &page);
	if (ret < 0)
		return ret;
	start = map->offset & ~(page - 1);
	r->length = (size_t)((map->offset + map->size - start + page - 1) & ~(page - 1));
	r->base = mmap(NULL, r->length, prot, MAP_SHARED | MAP_NORESERVE, fd, (off_t)start);
	if (r->base == MAP_FAILED) {
		ret = -errno;
		r->base = NULL;
		up_vu_complain(srv, "DMA_MAP: mmap failed: %s", strerror(-ret));
		return ret;
	}
	/* Gigabytes of somebody else's memory have no place in a core file or a child. */
	madvise(r->base, r->length, MADV_DONTDUMP);
	madvise(r->base, r->length, MADV_DONTFORK);
	r->guard = up_sigbus_guard_add(r->base, r->length, prot, &srv->owner);
	if (r->guard < 0) {
		up_vu_complain(srv, "DMA_MAP: no room to guard another mapping");
		munmap(r->base, r->length);
		return r->guard;
	}
	*hva = (uint8_t *)r->base + (map->offset - start);
	return 0;
}

static void unmap_file(struct vu_range *r)
{
	if (!r->base)
		return;
	up_sigbus_guard_remove(r->guard);
	up_vu_release(r->base, r->length);
}

static int reserve_range(struct vu_ranges *ranges)
{
	uint32_t capacity = ranges->capacity ? 2 * ranges->capacity : 16;
	struct vu_range *range;

	if (ranges->count < ranges->capacity)
		return 0;
	range = realloc(ranges->range, capacity * sizeof(*range));
	if (!range)
		return -ENOMEM;
	ranges->range = range;
	ranges->capacity = capacity;
	return 0;
}

int up_vu_handle_dma_map(struct up_vfio_server *srv, struct vu_message *msg, struct vu_reply *reply)
{
	struct vu_ranges *ranges = &srv->ranges;
	struct vu_range r = {0};
	struct vu_dma_map map;
	void *hva = NULL;
	uint32_t at;
	int ret;

	(void)reply;
	up_vu_message_get(msg, &map, sizeof(map));
	ret = check_map(srv, &map, &at);
	if (ret < 0)
		return ret;
	ret = reserve_range(ranges);
	if (ret < 0)
		return ret;
	if (msg->nr_fds) {
		ret = map_file(srv, msg->fds[0], &map, &r, &hva);
		if (ret < 0)
			return ret;
	}
	r.iova = map.address;
	r.size = map.size;
	ret = srv->ops->dma_map(srv->dev, r.iova, r.size, hva, map.flags);
	if (ret < 0) {
		unmap_file(&r);
		return ret;
	}
	memmove(&ranges->range[at + 1], &ranges->range[at], (ranges->count - at) * sizeof(r));
	ranges->range[at] = r;
	ranges->count++;
	return 0;
}

/* Withdraw ranges [first, last), at least one. */
static void unmap_ranges(struct up_vfio_server *srv, uint32_t first, uint32_t last)
{
	struct vu_ranges *ranges = &srv->ranges;
	const struct vu_range *end = &ranges->range[last - 1];
	uint64_t start = ranges->range[first].iova;
	uint32_t i;

	srv->ops->dma_unmap(srv->dev, start, end->iova + end->size - start);
	for (i = first; i < last; i++)
		unmap_file(&ranges->range[i]);
	memmove(&ranges->range[first], &ranges->range[last],
		(ranges->count - last) * sizeof(*ranges->range));
	ranges->count -= last - first;
}

void up_vu_dma_unmap_all(struct up_vfio_server *srv)
{
	if (srv->ranges.count)
		unmap_ranges(srv, 0, srv->ranges.count);
}

static int check_unmap_flags(struct up_vfio_server *srv, const struct vu_dma_unmap *unmap)
{
	bool all = unmap->flags == VU_UNMAP_ALL;

	if (unmap->flags & VU_UNMAP_DIRTY_BITMAP) {
		up_vu_complain(srv, "DMA_UNMAP: dirty bitmaps are not supported");
		return -EOPNOTSUPP;
	}
	if (unmap->argsz < sizeof(*unmap) || (unmap->flags && !all) ||
	    (all ? unmap->address || unmap->size : !valid_range(unmap->address, unmap->size))) {
		up_vu_complain(srv,
			       "DMA_UNMAP: argsz %u, flags 0x%x, 0x%" PRIx64 " bytes at 0x%" PRIx64,
			       unmap->argsz, unmap->flags, unmap->size, unmap->address);
		return -EINVAL;
	}
	return 0;
}

/* One range, or several that the request covers as a whole. */
static int unmap_covered(struct up_vfio_server *srv, const struct vu_dma_unmap *unmap)
{
	const struct vu_ranges *ranges = &srv->ranges;
	uint64_t end = unmap->address + unmap->size;
	uint32_t first = find_range(ranges, unmap->address), last = first;

	while (last < ranges->count && ranges->range[last].iova < end)
		last++;
	if (last == first) {
		up_vu_complain(srv,
			       "DMA_UNMAP: nothing is mapped in 0x%" PRIx64 " bytes at 0x%" PRIx64,
			       unmap->size, unmap->address);
		return -ENOENT;
	}
	if (ranges->range[first].iova < unmap->address ||
	    ranges->range[last - 1].iova + ranges->range[last - 1].size > end) {
		up_vu_complain(srv,
			       "DMA_UNMAP: 0x%" PRIx64 " bytes at 0x%" PRIx64 " would cut a range",
			       unmap->size, unmap->address);
		return -EINVAL;
	}
	unmap_ranges(srv, first, last);
	return 0;
}

int up_vu_handle_dma_unmap(struct up_vfio_server *srv, struct vu_message *msg,
			   struct vu_reply *reply)
{
	struct vu_dma_unmap unmap;
	int ret;

	up_vu_message_get(msg, &unmap, sizeof(unmap));
	ret = check_unmap_flags(srv, &unmap);
	if (ret < 0)
		return ret;
	if (unmap.flags & VU_UNMAP_ALL) {
		up_vu_dma_unmap_all(srv);
	} else {
		ret = unmap_covered(srv, &unmap);
		if (ret < 0)
			return ret;
	}
	up_vu_reply_set(reply, &unmap, sizeof(unmap));
	return 0;
}
