/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vfio-user server: presents one PCI device to one virtual machine over one UNIX socket.
 *
 * The protocol is specified by QEMU's docs/interop/vfio-user.rst. This is the only part of the
 * project that knows it. The server accepts one client at a time, keeps the client's memory mapped
 * and its interrupt eventfds open, and calls the device model through struct up_vfio_dev_ops.
 *
 * Threads. Every function here, and every operation that the server calls, belongs to the control
 * thread. The one exception is the flag behind up_vfio_server_tripped(), which any thread may load.
 * Nothing blocks on the client: sockets are non-blocking and the work of one call is bounded.
 *
 * Event loop. The server is one descriptor to poll for input, up_vfio_server_fd(); whenever it is
 * readable, call up_vfio_server_process(). It stays readable while work is left (level triggered),
 * so a busy client takes turns with everybody else on the loop.
 */
#ifndef UP_VFIO_USER_H
#define UP_VFIO_USER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Limits that the server announces or enforces. */
enum {
	UP_VFIO_MAX_FDS = 8,		      /* descriptors in one message */
	UP_VFIO_MAX_XFER = 1024 * 1024,	      /* bytes in one region access */
	UP_VFIO_MAX_OUTPUT = 4 * 1024 * 1024, /* unread replies before the client is dropped */
	UP_VFIO_MAX_REGIONS = 32,
	UP_VFIO_MAX_AREAS = 16, /* sparse areas of one region */
	UP_VFIO_MAX_IRQ_INDEXES = 8,
	UP_VFIO_MAX_VECTORS = 2048, /* vectors of one interrupt index; MSI-X has no more */
	/* As many as VFIO allows: a guest with an IOMMU maps each page that its drivers use. */
	UP_VFIO_DEFAULT_DMA_MAPS = 65535,
	UP_VFIO_MAX_DMA_MAPS = 65535,
};

/* Region indexes of a PCI device (enum of VFIO_PCI_*_REGION_INDEX in linux/vfio.h). */
enum {
	UP_VFIO_REGION_BAR0 = 0,
	UP_VFIO_REGION_BAR5 = 5,
	UP_VFIO_REGION_ROM = 6,
	UP_VFIO_REGION_CONFIG = 7,
	UP_VFIO_REGION_VGA = 8,
	UP_VFIO_PCI_REGIONS = 9,
};

/* Interrupt indexes of a PCI device (enum of VFIO_PCI_*_IRQ_INDEX in linux/vfio.h). */
enum {
	UP_VFIO_IRQ_INTX = 0,
	UP_VFIO_IRQ_MSI = 1,
	UP_VFIO_IRQ_MSIX = 2,
	UP_VFIO_IRQ_ERR = 3,
	UP_VFIO_IRQ_REQ = 4,
	UP_VFIO_PCI_IRQS = 5,
};

/* Access that a guest memory range grants to the device: the argument `prot` of dma_map(). */
enum {
	UP_VFIO_DMA_READ = 1 << 0,
	UP_VFIO_DMA_WRITE = 1 << 1,
};

/* struct up_vfio_region, flags */
enum {
	UP_VFIO_REGION_READ = 1 << 0,
	UP_VFIO_REGION_WRITE = 1 << 1,
	UP_VFIO_REGION_MMAP = 1 << 2, /* the client may map mmap_fd, in whole or the areas only */
};

/*
 * The device model. `dev` is the pointer given to up_vfio_server_create(). No member may be NULL.
 * An operation may call up_vfio_server_disconnect() and the getters, nothing else of this header.
 */
struct up_vfio_dev_ops {
	/*
	 * Guest memory appeared at guest-physical [iova, iova + size), page aligned, overlapping no
	 * other range; iova + size does not overflow. `hva` is the server's mapping of it: for
	 * reading, and for writing too where prot has UP_VFIO_DMA_WRITE (a store elsewhere
	 * faults). hva is NULL for a range that came without a descriptor (a ROM, another
	 * device's BAR): the device cannot reach it. The mapping lives until a dma_unmap() that
	 * covers the range returns. Returns 0, or a negative errno that refuses the range; the
	 * server then drops it and dma_unmap() is not called.
	 */
	int (*dma_map)(void *dev, uint64_t iova, uint64_t size, void *hva, uint32_t prot);

	/*
	 * The ranges that dma_map() accepted inside [iova, iova + size) go away, at least one, and
	 * none lies there only in part. All that a client unmaps at once comes in one call: a
	 * device may have much to look up anew after each. Must return only once no thread can
	 * touch them: the server unmaps the memory right after.
	 */
	void (*dma_unmap)(void *dev, uint64_t iova, uint64_t size);

	/*
	 * A trapped access to a region. The server has checked that the region exists, grants the
	 * access, and holds [off, off + len), 0 < len <= UP_VFIO_MAX_XFER; not that the access is
	 * aligned or of a natural size. Returns 0, or a negative errno for the client. `buf` of a
	 * read is zeroed beforehand. Must answer without waiting for the data path: QEMU gives a
	 * device up after some 5 s.
	 */
	int (*region_read)(void *dev, unsigned region, uint64_t off, void *buf, size_t len);
	int (*region_write)(void *dev, unsigned region, uint64_t off, const void *buf, size_t len);

	/* Function reset. Memory ranges and interrupt eventfds stay as they are. */
	void (*reset)(void *dev);

	/*
	 * From now on `vector` of interrupt `index` is raised by up_vfio_raise(eventfd); -1: the
	 * vector is disabled. The server owns the descriptor: it stays open until the next
	 * irq_set() for this vector has returned, so irq_set() must return only when no thread can
	 * still raise the previous one.
	 */
	void (*irq_set)(void *dev, unsigned index, unsigned vector, int eventfd);

	/* A client has connected; nothing is mapped and no interrupt is enabled yet. */
	void (*connected)(void *dev);

	/*
	 * The client is gone. Before this call came reset(), then every vector was disabled and
	 * every range unmapped by the operations above. connected() may follow for another client.
	 */
	void (*disconnected)(void *dev);
};

/* A part of a region that the client may map. Page aligned, inside the region. */
struct up_vfio_area {
	uint64_t offset;
	uint64_t size;
};

/* A region (BAR, ROM, configuration space). size 0: the region does not exist. */
struct up_vfio_region {
	uint64_t size;
	uint32_t flags; /* UP_VFIO_REGION_* */

	/*
	 * Only with UP_VFIO_REGION_MMAP: the file to share, whose byte mmap_offset is byte 0 of the
	 * region. Borrowed: the caller keeps it open until up_vfio_server_destroy(), or until it
	 * gave another by up_vfio_server_set_mmap_fd(). The client gets the whole file, and may
	 * keep it when it leaves, so it must hold nothing else. With nr_areas 0 all of the region
	 * may be mapped, otherwise only the areas, and the rest traps.
	 */
	int mmap_fd;
	uint64_t mmap_offset;
	const struct up_vfio_area *areas;
	unsigned nr_areas;
};

/* An interrupt index. count 0: the device does not have it. All are signalled by eventfd. */
struct up_vfio_irq {
	uint32_t count; /* vectors */
	bool noresize;	/* VFIO_IRQ_INFO_NORESIZE: vectors are enabled all at once only */
};

/* What up_vfio_server_create() copies; nothing of it is referenced later but mmap_fd. */
struct up_vfio_config {
	const char *name;		      /* the port's name, for the log */
	mode_t socket_mode;		      /* 0: 0600 */
	const struct up_vfio_region *regions; /* by region index */
	unsigned nr_regions;
	const struct up_vfio_irq *irqs; /* by interrupt index */
	unsigned nr_irqs;
	uint32_t max_dma_maps; /* ranges mapped at a time; 0: UP_VFIO_DEFAULT_DMA_MAPS */
};

/* Counters since creation; they only grow. */
struct up_vfio_stats {
	uint64_t messages_in;  /* whole messages received */
	uint64_t messages_out; /* replies sent or queued */
	uint64_t bytes_in;
	uint64_t bytes_out;
	uint64_t errors;       /* error replies and protocol errors */
	uint64_t region_reads; /* trapped accesses */
	uint64_t region_writes;
	uint64_t connections; /* clients accepted */
	uint64_t refused;     /* connections closed because a client was there already */
};

struct up_vfio_server;

/*
 * Create a server listening at `path`, or, with path NULL, one that has no listening socket and is
 * fed by up_vfio_server_attach() only. A socket file at path on which nobody listens is replaced;
 * one in use gives -EADDRINUSE, and anything else that is there gives -EEXIST. (Two daemons that
 * start at the same moment on the same path must be kept apart by a lock of their own.)
 * Returns 0 and the server in *out, or a negative errno, logged.
 */
int up_vfio_server_create(const char *path, const struct up_vfio_config *cfg,
			  const struct up_vfio_dev_ops *ops, void *dev,
			  struct up_vfio_server **out);

/*
 * Disconnect the client, if any (all operations that this takes are called), remove the socket file
 * if it is still ours, and free the server. NULL is allowed. Not from inside an operation.
 */
void up_vfio_server_destroy(struct up_vfio_server *srv);

/* Another file behind a region, for the next client: in disconnected(). */
void up_vfio_server_set_mmap_fd(struct up_vfio_server *srv, unsigned region, int fd);

/* The descriptor to poll for input. Owned by the server. */
int up_vfio_server_fd(const struct up_vfio_server *srv);

/*
 * Do what is ready, never blocking, a bounded number of messages; call again while the descriptor
 * is readable. Client errors are logged and end at worst in that client being disconnected.
 * Returns 0, or a negative errno when the server itself is broken (epoll failed; logged).
 * Not from inside an operation.
 */
int up_vfio_server_process(struct up_vfio_server *srv);

/*
 * Adopt a connected UNIX stream socket as a client, as if it had been accepted. Takes ownership of
 * `fd` in any case. Returns 0, -EBUSY when a client is connected, or another negative errno.
 */
int up_vfio_server_attach(struct up_vfio_server *srv, int fd);

/*
 * Ask for the present client, if any, to be disconnected; `why` (copied) goes to the log. Takes
 * effect in the next up_vfio_server_process(), or at the end of the one that is running. May be
 * called from inside an operation.
 */
void up_vfio_server_disconnect(struct up_vfio_server *srv, const char *why);

/*
 * Raises the interrupt of a descriptor that irq_set() was given. Any thread; never blocks, whatever
 * the client, which has the same eventfd, does to it.
 */
void up_vfio_raise(int eventfd);

bool up_vfio_server_connected(const struct up_vfio_server *srv);
const struct up_vfio_stats *up_vfio_server_stats(const struct up_vfio_server *srv);

/*
 * True once a thread has touched guest memory that the client took away by shrinking its file: what
 * was read since may be zeroes and what was written is lost, so nothing computed from this client's
 * memory counts any more. The server disconnects the client by itself. The flag lives as long as
 * the server and is cleared when the next client connects. Any thread may load it.
 */
const atomic_bool *up_vfio_server_tripped(const struct up_vfio_server *srv);

/*
 * Bytes of the client's files that are mapped here, each once in however many places the guest sees
 * it. Lives as long as the server.
 */
const uint64_t *up_vfio_server_memory(const struct up_vfio_server *srv);

#endif
