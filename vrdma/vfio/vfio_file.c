/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The files that guest memory is in, each mapped once and whole. QEMU maps a file in pieces: a few
 * where firmware moves the PC's low memory around, and one for each page that a driver uses where
 * the guest has an IOMMU. A mapping for each piece would meet the system's limit
 * (vm.max_map_count).
 *
 * Each piece comes with a descriptor of its own, which is needed for mmap() only and is closed with
 * its message.
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

/*
 * The file must have the pages now (should it shrink later, sigbus_guard.h takes over), and be one
 * that the kernel serves by itself: a page fault on a network or FUSE file would let the client's
 * host stop every thread that touches the page. *page: the size of the file's pages.
 */
static int check_file(struct up_vfio_server *srv, int fd, const struct vu_dma_map *map,
		      struct stat *st, uint64_t *page)
{
	struct statfs fs;
	uint64_t end;

	/* Memory files have seals. This asks no file system, which may be one that never answers.
	 */
	if (fcntl(fd, F_GET_SEALS) < 0) {
		up_vu_complain(srv, "DMA_MAP: guest memory must be a memfd, or a file in tmpfs or "
				    "hugetlbfs");
		return -EINVAL;
	}
	if (fstat(fd, st) < 0 || fstatfs(fd, &fs) < 0) {
		int err = errno;

		up_vu_complain(srv, "DMA_MAP: cannot look at the file: %s", strerror(err));
		return -err;
	}
	if (map->offset & (VU_PAGE_SIZE - 1) ||
	    __builtin_add_overflow(map->offset, map->size, &end) || end > (uint64_t)st->st_size) {
		up_vu_complain(srv,
			       "DMA_MAP: 0x%" PRIx64 " bytes at offset 0x%" PRIx64
			       " of a file of 0x%" PRIx64 " bytes",
			       map->size, map->offset, (uint64_t)st->st_size);
		return -EINVAL;
	}
	*page = fs.f_type == (__fsword_t)HUGETLBFS_MAGIC ? (uint64_t)fs.f_bsize
							 : (uint64_t)sysconf(_SC_PAGESIZE);
	return 0;
}

/* A mapping of the client's that has the range. While it stands, no other file has its numbers. */
static struct vu_file *find_file(const struct up_vfio_server *srv, const struct vu_file *want,
				 const struct vu_dma_map *map)
{
	struct vu_file *f;

	for (f = srv->files; f; f = f->next) {
		if (f->dev == want->dev && f->ino == want->ino && f->prot == want->prot &&
		    map->offset >= f->offset &&
		    map->offset + map->size <= f->offset + (uint64_t)f->length)
			return f;
	}
	return NULL;
}

/*
 * What one client may have mapped: all clients share an address space of 128 TiB, and how long a
 * file is that nobody wrote to is its owner's choice. VMs may be promised more memory than there
 * is, and two mappings of it where parts are read only.
 */
static uint64_t most_bytes(void)
{
	const uint64_t host = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	const uint64_t share = UINT64_C(8) << 40;

	if (host >= share)
		return host;
	return 4 * host < share ? 4 * host : share;
}

/* Map [start, end) of the file, and the rest of the pages that these lie in: 0 or an errno. */
static int map_pages(const struct up_vfio_server *srv, struct vu_file *f, int fd, uint64_t start,
		     uint64_t end, uint64_t page)
{
	uint64_t most = most_bytes();

	f->offset = start & ~(page - 1);
	f->length = (size_t)((end - f->offset + page - 1) & ~(page - 1));
	if (srv->file_bytes > most || f->length > most - srv->file_bytes)
		return -ENOSPC;
	f->base = mmap(NULL, f->length, f->prot, MAP_SHARED | MAP_NORESERVE, fd, (off_t)f->offset);
	return f->base == MAP_FAILED ? -errno : 0;
}

/* The whole file; where there is no room for that, what was asked for. */
static int map_file(struct up_vfio_server *srv, struct vu_file *f, int fd,
		    const struct vu_dma_map *map, uint64_t size, uint64_t page)
{
	int ret = map_pages(srv, f, fd, 0, size, page);

	if (ret < 0)
		ret = map_pages(srv, f, fd, map->offset, map->offset + map->size, page);
	if (ret < 0) {
		up_vu_complain(srv,
			       "DMA_MAP: cannot map 0x%" PRIx64 " bytes beside 0x%" PRIx64 ": %s",
			       map->size, srv->file_bytes, strerror(-ret));
		return ret;
	}
	/* Gigabytes of somebody else's memory have no place in a core file or a child. */
	madvise(f->base, f->length, MADV_DONTDUMP);
	madvise(f->base, f->length, MADV_DONTFORK);
	f->guard = up_sigbus_guard_add(f->base, f->length, f->prot, &srv->owner);
	if (f->guard < 0) {
		up_vu_complain(srv, "DMA_MAP: no room to guard another mapping");
		munmap(f->base, f->length);
		return f->guard;
	}
	return 0;
}

static int add_file(struct up_vfio_server *srv, const struct vu_file *want, int fd,
		    const struct vu_dma_map *map, uint64_t size, uint64_t page)
{
	struct vu_file *f;
	int ret;

	if (srv->nr_files == VU_MAX_FILES || (srv->nr_files >= VU_SURE_FILES &&
					      up_sigbus_guard_count() >= UP_SIGBUS_GUARD_MAX / 2)) {
		up_vu_complain(srv, "DMA_MAP: memory in more than %u files", srv->nr_files);
		return -ENOSPC;
	}
	f = malloc(sizeof(*f));
	if (!f)
		return -ENOMEM;
	*f = *want;
	ret = map_file(srv, f, fd, map, size, page);
	if (ret < 0) {
		free(f);
		return ret;
	}
	f->next = srv->files;
	srv->files = f;
	srv->nr_files++;
	srv->file_bytes += f->length;
	return 0;
}

int up_vu_file_get(struct up_vfio_server *srv, int fd, const struct vu_dma_map *map,
		   struct vu_file **file)
{
	struct vu_file want = {0};
	uint64_t page = VU_PAGE_SIZE;
	struct stat st;
	int ret;

	ret = check_file(srv, fd, map, &st, &page);
	if (ret < 0)
		return ret;
	want.dev = st.st_dev;
	want.ino = st.st_ino;
	want.prot = PROT_READ | (map->flags & UP_VFIO_DMA_WRITE ? PROT_WRITE : 0);
	*file = find_file(srv, &want, map);
	if (!*file) {
		ret = add_file(srv, &want, fd, map, (uint64_t)st.st_size, page);
		if (ret < 0)
			return ret;
		*file = srv->files;
	}
	(*file)->users++;
	return 0;
}

void up_vu_file_put(struct up_vfio_server *srv, struct vu_file *file)
{
	struct vu_file **at = &srv->files;

	if (!file || --file->users)
		return;
	while (*at != file)
		at = &(*at)->next;
	*at = file->next;
	srv->nr_files--;
	srv->file_bytes -= file->length;
	up_sigbus_guard_remove(file->guard);
	up_vu_release(file->base, file->length);
	free(file);
}
