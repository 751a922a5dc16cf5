/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vfio-user messages as they are on the wire: protocol 0.0 of QEMU's docs/interop/vfio-user.rst,
 * whose structures follow linux/vfio.h. All fields are in host byte order, as the specification
 * wants; there is no padding. Names of the structures described are in the comments.
 */
#ifndef UP_VFIO_PROTO_H
#define UP_VFIO_PROTO_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

enum {
	VU_VERSION_MAJOR = 0,
	VU_VERSION_MINOR = 0,
	VU_PAGE_SIZE = 4096, /* the one that capability "pgsizes" announces */
};

/* Numbers 11 and 12 go from server to client, 14 is retired; the others are not implemented. */
enum vu_command {
	VU_VERSION = 1,
	VU_DMA_MAP = 2,
	VU_DMA_UNMAP = 3,
	VU_DEVICE_GET_INFO = 4,
	VU_DEVICE_GET_REGION_INFO = 5,
	VU_DEVICE_GET_REGION_IO_FDS = 6,
	VU_DEVICE_GET_IRQ_INFO = 7,
	VU_DEVICE_SET_IRQS = 8,
	VU_REGION_READ = 9,
	VU_REGION_WRITE = 10,
	VU_DMA_READ = 11,
	VU_DMA_WRITE = 12,
	VU_DEVICE_RESET = 13,
	VU_REGION_WRITE_MULTI = 15,
	VU_DEVICE_FEATURE = 16,
	VU_MIG_DATA_READ = 17,
	VU_MIG_DATA_WRITE = 18,
};

/* vu_header.flags */
enum {
	VU_TYPE_MASK = 0xf,
	VU_TYPE_COMMAND = 0,
	VU_TYPE_REPLY = 1,
	VU_NO_REPLY = 1 << 4,
	VU_ERROR = 1 << 5,
};

struct vu_header {
	uint16_t id;
	uint16_t command;
	uint32_t size; /* with this header */
	uint32_t flags;
	uint32_t error; /* errno, in a reply with VU_ERROR */
};
static_assert(sizeof(struct vu_header) == 16, "vfio-user header");

/* VFIO_USER_VERSION; JSON text with its terminating NUL may follow */
struct vu_version {
	uint16_t major;
	uint16_t minor;
};
static_assert(sizeof(struct vu_version) == 4, "VFIO_USER_VERSION");

/* VFIO_USER_DMA_MAP, struct vfio_user_dma_map; flags: bit 0 readable, bit 1 writable */
struct vu_dma_map {
	uint32_t argsz;
	uint32_t flags;
	uint64_t offset; /* into the descriptor's file */
	uint64_t address;
	uint64_t size;
};
static_assert(sizeof(struct vu_dma_map) == 32, "VFIO_USER_DMA_MAP");
static_assert(offsetof(struct vu_dma_map, address) == 16, "VFIO_USER_DMA_MAP");

/* vu_dma_unmap.flags (VFIO_DMA_UNMAP_FLAG_*) */
enum {
	VU_UNMAP_DIRTY_BITMAP = 1 << 0,
	VU_UNMAP_ALL = 1 << 1,
};

/* VFIO_USER_DMA_UNMAP; struct vfio_bitmap may follow where flags ask for it */
struct vu_dma_unmap {
	uint32_t argsz;
	uint32_t flags;
	uint64_t address;
	uint64_t size;
};
static_assert(sizeof(struct vu_dma_unmap) == 24, "VFIO_USER_DMA_UNMAP");

/* vu_device_info.flags (VFIO_DEVICE_FLAGS_*) */
enum {
	VU_DEVICE_RESETS = 1 << 0,
	VU_DEVICE_PCI = 1 << 1,
};

/* struct vfio_device_info, as far as VFIO_USER_DEVICE_GET_INFO has it */
struct vu_device_info {
	uint32_t argsz;
	uint32_t flags;
	uint32_t num_regions;
	uint32_t num_irqs;
};
static_assert(sizeof(struct vu_device_info) == 16, "VFIO_USER_DEVICE_GET_INFO");

/* vu_region_info.flags (VFIO_REGION_INFO_FLAG_*) */
enum {
	VU_REGION_FLAG_READ = 1 << 0,
	VU_REGION_FLAG_WRITE = 1 << 1,
	VU_REGION_FLAG_MMAP = 1 << 2,
	VU_REGION_FLAG_CAPS = 1 << 3,
};

/* struct vfio_region_info */
struct vu_region_info {
	uint32_t argsz;
	uint32_t flags;
	uint32_t index;
	uint32_t cap_offset; /* from the start of this structure */
	uint64_t size;
	uint64_t offset; /* of the region's byte 0 in the descriptor */
};
static_assert(sizeof(struct vu_region_info) == 32, "struct vfio_region_info");

/* struct vfio_info_cap_header and struct vfio_region_info_cap_sparse_mmap; areas follow */
enum { VU_CAP_SPARSE_MMAP = 1, VU_CAP_SPARSE_MMAP_VERSION = 1 };

struct vu_sparse_mmap {
	uint16_t id;
	uint16_t version;
	uint32_t next;
	uint32_t nr_areas;
	uint32_t reserved;
};
static_assert(sizeof(struct vu_sparse_mmap) == 16, "vfio_region_info_cap_sparse_mmap");

/* struct vfio_region_sparse_mmap_area */
struct vu_sparse_area {
	uint64_t offset;
	uint64_t size;
};
static_assert(sizeof(struct vu_sparse_area) == 16, "vfio_region_sparse_mmap_area");

/* vu_irq_info.flags (VFIO_IRQ_INFO_*) */
enum {
	VU_IRQ_EVENTFD = 1 << 0,
	VU_IRQ_NORESIZE = 1 << 3,
};

/* struct vfio_irq_info */
struct vu_irq_info {
	uint32_t argsz;
	uint32_t flags;
	uint32_t index;
	uint32_t count;
};
static_assert(sizeof(struct vu_irq_info) == 16, "struct vfio_irq_info");

/* vu_irq_set.flags (VFIO_IRQ_SET_*): one of each group */
enum {
	VU_IRQ_DATA_NONE = 1 << 0,
	VU_IRQ_DATA_BOOL = 1 << 1,
	VU_IRQ_DATA_EVENTFD = 1 << 2,
	VU_IRQ_ACTION_MASK = 1 << 3,
	VU_IRQ_ACTION_UNMASK = 1 << 4,
	VU_IRQ_ACTION_TRIGGER = 1 << 5,
};

/* struct vfio_irq_set; with VU_IRQ_DATA_BOOL a byte for each vector follows */
struct vu_irq_set {
	uint32_t argsz;
	uint32_t flags;
	uint32_t index;
	uint32_t start;
	uint32_t count;
};
static_assert(sizeof(struct vu_irq_set) == 20, "struct vfio_irq_set");

/* VFIO_USER_REGION_READ and _WRITE; the data follows a write and the reply to a read */
struct vu_region_access {
	uint64_t offset;
	uint32_t region;
	uint32_t count;
};
static_assert(sizeof(struct vu_region_access) == 16, "VFIO_USER_REGION_READ");

#endif
