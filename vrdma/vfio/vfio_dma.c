/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest memory: DMA_MAP and DMA_UNMAP. vfio_file.c has the files that it is in.
 */
#include "vfio/vfio_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
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
		ret = up_vu_file_get(srv, msg->fds[0], &map, &r.file);
		if (ret < 0)
			return ret;
		hva = r.file->base + (map.offset - r.file->offset);
	}
	r.iova = map.address;
	r.size = map.size;
	ret = srv->ops->dma_map(srv->dev, r.iova, r.size, hva, map.flags);
	if (ret < 0) {
		up_vu_file_put(srv, r.file);
		return ret;
	}
	memmove(&ranges->range[at + 1], &ranges->range[at], (ranges->count - at) * sizeof(r));
	ranges->range[at] = r;
	ranges->count++;
	/* Memory that is mapped does not end by this, so no other thread need wait for it. */
	if (msg->nr_fds)
		close(up_vu_message_take_fd(msg, 0));
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
		up_vu_file_put(srv, ranges->range[i].file);
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
