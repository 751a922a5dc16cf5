/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The client side of vfio-user, as QEMU speaks it (docs/interop/vfio-user.rst of QEMU): one
 * connection to one port's socket. Every call that has an answer waits for it, at most
 * GS_WAIT_MS, and returns 0 or a negative errno: the server's own when it answered with an error,
 * -ETIMEDOUT when it did not answer, -EPIPE when it hung up.
 *
 * Safe to use from several threads: a lock makes each request and its answer one step.
 */
#ifndef GS_VFIO_H
#define GS_VFIO_H

#include "vfio/vfio_proto.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gs_vfio {
	int sock;
	uint16_t next_id;
	pthread_mutex_t lock;
};

/* Connects and negotiates. */
int gs_vfio_open(struct gs_vfio *v, const char *path);
/* Connects only: for tests that speak rubbish. */
int gs_vfio_connect(struct gs_vfio *v, const char *path);
int gs_vfio_negotiate(struct gs_vfio *v);
void gs_vfio_close(struct gs_vfio *v);

/*
 * One request: `body` (with the descriptors in fds) and the answer's body into out, at most
 * *out_len bytes, which is set to what came. A descriptor in the answer goes to *out_fd; with
 * out_fd NULL it is closed.
 */
struct gs_vfio_request {
	uint16_t command;
	const void *body;
	size_t body_len;
	const int *fds;
	unsigned nr_fds;
	void *out;
	size_t *out_len;
	int *out_fd;
};
int gs_vfio_request(struct gs_vfio *v, const struct gs_vfio_request *r);

/* Raw bytes, for hostile tests. */
int gs_vfio_send_raw(struct gs_vfio *v, const void *bytes, size_t len, const int *fds,
		     unsigned nr_fds);
/* The next message from the server; header and at most `len` bytes of body. */
int gs_vfio_recv(struct gs_vfio *v, struct vu_header *h, void *body, size_t len, int *fd);
/* True once the server has closed the connection; waits at most `timeout_ms`. */
bool gs_vfio_hung_up(struct gs_vfio *v, int timeout_ms);

int gs_vfio_dma_map(struct gs_vfio *v, int fd, uint64_t offset, uint64_t iova, uint64_t size);
int gs_vfio_dma_unmap(struct gs_vfio *v, uint64_t iova, uint64_t size);

struct gs_vfio_region {
	uint64_t size;
	uint32_t flags;
	int fd; /* owned by the caller, or -1 */
	unsigned nr_areas;
	struct vu_sparse_area areas[16];
	uint64_t offset; /* of the region in fd */
};
int gs_vfio_region_info(struct gs_vfio *v, unsigned region, struct gs_vfio_region *info);
int gs_vfio_irq_count(struct gs_vfio *v, unsigned index, unsigned *count);
int gs_vfio_set_eventfd(struct gs_vfio *v, unsigned index, unsigned vector, int eventfd);
int gs_vfio_read(struct gs_vfio *v, unsigned region, uint64_t off, void *buf, uint32_t len);
int gs_vfio_write(struct gs_vfio *v, unsigned region, uint64_t off, const void *buf, uint32_t len);
int gs_vfio_reset(struct gs_vfio *v);

#endif
