/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The vfio-user server's objects, shared by the files of this folder.
 *
 *   vfio_server.c   event loop, connecting and disconnecting
 *   vfio_stream.c   bytes and descriptors of a connection: whole messages in, replies out
 *   vfio_message.c  the table of messages, checks, device, region and reset messages
 *   vfio_version.c  version negotiation
 *   vfio_dma.c      guest memory
 *   vfio_irq.c      interrupt eventfds
 *   vfio_release.c  the end of mappings of guest memory, and of a client's descriptors
 *
 * Descriptors of a message belong to struct vu_message until a handler takes one by
 * up_vu_message_take_fd(); whatever is left when the message is done is closed by
 * up_vu_message_close_fds(), on every path.
 */
#ifndef UP_VFIO_INTERNAL_H
#define UP_VFIO_INTERNAL_H

#include "base/listener.h"
#include "vfio/sigbus_guard.h"
#include "vfio/vfio_proto.h"
#include "vfio/vfio_user.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	/* VERSION carries JSON of some hundred bytes; this is plenty. */
	VU_MAX_VERSION = 16 * 1024,
	/* A header that claims more than the largest legal message has lost the framing. */
	VU_MAX_MESSAGE = (int)(sizeof(struct vu_header) + sizeof(struct vu_region_access)) +
			 UP_VFIO_MAX_XFER,
	/* Lines that one client can put into the log. */
	VU_LOG_BUDGET = 16,
};

/*
 * Mappings of one client. All clients share the system's limit (vm.max_map_count) and the table of
 * guarded ones: half of that is for clients that want many, so that the first few, which are what
 * a VM needs, are left for each of a thousand others.
 */
#define VU_MAX_FILES 512
#define VU_SURE_FILES 16

/* A mapping of a file with guest memory, shared by the ranges in it. */
struct vu_file {
	struct vu_file *next;
	dev_t dev; /* which file: */
	ino_t ino;
	int prot;
	uint64_t offset; /* in the file, of base */
	uint8_t *base;
	size_t length;
	int guard;	/* sigbus_guard handle */
	uint32_t users; /* ranges */
};

struct vu_backlog;

/* A range of guest memory. The table is sorted by iova; ranges do not overlap. */
struct vu_range {
	uint64_t iova;
	uint64_t size;
	struct vu_file *file; /* NULL: came without one */
};

struct vu_ranges {
	struct vu_range *range;
	uint32_t count;
	uint32_t capacity;
	uint32_t max;
};

/* A message from the client. */
struct vu_message {
	struct vu_header header;
	uint8_t *payload; /* payload_size bytes */
	size_t payload_size;
	int fds[UP_VFIO_MAX_FDS];
	unsigned nr_fds;
};

/* The reply that a handler builds: a fixed part, then bulk data. */
struct vu_reply {
	uint8_t fixed[sizeof(struct vu_region_info) + sizeof(struct vu_sparse_mmap) +
		      UP_VFIO_MAX_AREAS * sizeof(struct vu_sparse_area)];
	size_t fixed_size;
	const void *data; /* in memory of the connection, or NULL */
	size_t data_size;
	int fd; /* to send along, borrowed; -1: none */
};

/* A reply, or the rest of it, which the socket did not take yet. */
struct vu_output {
	struct vu_output *next;
	size_t size;
	size_t sent;
	int fd; /* goes with the first byte; borrowed from the configuration; -1: none */
	uint8_t bytes[];
};

enum vu_state {
	VU_NO_CLIENT,	 /* no socket; waiting for a connection */
	VU_NEED_VERSION, /* connected; only VERSION is accepted */
	VU_OPERATIONAL,	 /* negotiated; everything but VERSION is accepted */
};

/* The present client. Between clients the state is VU_NO_CLIENT and fd is -1. */
struct vu_conn {
	enum vu_state state;
	int fd;
	bool takes_fds;	      /* the client accepts a descriptor with a reply */
	unsigned log_budget;  /* lines left that this client may cause */
	bool watching_output; /* EPOLLOUT is on */

	/* Input: one message is read at a time, never beyond its end. */
	struct vu_message in;
	size_t received;	 /* bytes of `in`, header included */
	size_t payload_capacity; /* of in.payload */

	/* Output: list of what the socket did not take. */
	struct vu_output *out_first;
	struct vu_output **out_last;
	size_t out_bytes;

	uint8_t *transfer; /* UP_VFIO_MAX_XFER bytes for replies of region reads */
};

/* Eventfds of one interrupt index; -1: vector disabled. */
struct vu_irq {
	struct up_vfio_irq cfg;
	int *eventfd;
};

struct vu_region {
	struct up_vfio_region cfg; /* cfg.areas points to `areas` */
	struct up_vfio_area areas[UP_VFIO_MAX_AREAS];
};

struct up_vfio_server {
	char *name;
	const struct up_vfio_dev_ops *ops;
	void *dev;

	struct vu_region regions[UP_VFIO_MAX_REGIONS];
	unsigned nr_regions;
	struct vu_irq irqs[UP_VFIO_MAX_IRQ_INDEXES];
	unsigned nr_irqs;

	int epoll_fd;
	struct up_listener listener;
	int wake_fd;  /* eventfd: owner.tripped or disconnect_why was set, or held_up may end */
	int spare_fd; /* given up for a moment to refuse a connection when descriptors ran out */

	struct vu_conn conn;
	struct vu_backlog *backlog;
	bool held_up; /* no client is served until the backlog is not full any more */
	struct vu_ranges ranges;
	struct vu_file *files;
	uint32_t nr_files;
	uint64_t file_bytes; /* what these have mapped */
	struct up_sigbus_owner owner;
	char disconnect_why[96]; /* "": no disconnect asked for */
	struct up_vfio_stats stats;
};

/* Log what is wrong with a message that the client survives, within the client's budget of lines.
 */
void up_vu_complain(struct up_vfio_server *srv, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/*
 * Give the reason why the client must go, for the line that disconnecting logs; the first
 * reason counts. Returns -error.
 */
int up_vu_fail(struct up_vfio_server *srv, int error, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The size of a fixed payload is checked before; copies it out. */
void up_vu_message_get(const struct vu_message *msg, void *out, size_t size);
int up_vu_message_take_fd(struct vu_message *msg, unsigned i);
void up_vu_message_close_fds(struct vu_message *msg, struct vu_backlog *backlog);
void up_vu_reply_set(struct vu_reply *reply, const void *fixed, size_t size);

/* Handle conn.in, a whole message, and reply. Negative errno: the client must go. */
int up_vu_message_dispatch(struct up_vfio_server *srv);

/*
 * Read what is missing of the present message. 1: conn.in is whole; 0: nothing more to read now;
 * -ECONNRESET: the client closed; other negative errno: the stream is broken (up_vu_fail() was
 * called). *budget is lowered by the bytes read.
 */
int up_vu_stream_receive(struct up_vfio_server *srv, size_t *budget);

/* Forget the message in conn.in and close the descriptors that it still has. */
void up_vu_stream_next(struct up_vfio_server *srv);

/* Send a reply to conn.in, or queue it. Negative errno: the client must go (up_vu_fail() was
 * called). */
int up_vu_stream_reply(struct up_vfio_server *srv, const struct vu_reply *reply);
int up_vu_stream_reply_error(struct up_vfio_server *srv, int error);

/* Send more of the queue. Negative errno: the client must go (up_vu_fail() was called). */
int up_vu_stream_flush(struct up_vfio_server *srv);
/* To be called when held_up changed. 0 or a negative errno. */
int up_vu_stream_watch(struct up_vfio_server *srv);

/* Free buffers, close descriptors of an unfinished message. The socket stays open. */
void up_vu_stream_fini(struct up_vfio_server *srv);

/* Handlers. 0: the reply is filled in; negative errno: an error reply. */
int up_vu_handle_version(struct up_vfio_server *srv, struct vu_message *msg,
			 struct vu_reply *reply);
int up_vu_handle_dma_map(struct up_vfio_server *srv, struct vu_message *msg,
			 struct vu_reply *reply);
int up_vu_handle_dma_unmap(struct up_vfio_server *srv, struct vu_message *msg,
			   struct vu_reply *reply);
int up_vu_handle_irq_info(struct up_vfio_server *srv, struct vu_message *msg,
			  struct vu_reply *reply);
int up_vu_handle_set_irqs(struct up_vfio_server *srv, struct vu_message *msg,
			  struct vu_reply *reply);

/* Withdraw everything from the device. */
void up_vu_dma_unmap_all(struct up_vfio_server *srv);

/*
 * The mapping of the file `fd` that has the range of `map`, made if there is none yet. The caller
 * keeps the descriptor, and owes an up_vu_file_put() when the range goes. 0 or a negative errno.
 */
int up_vu_file_get(struct up_vfio_server *srv, int fd, const struct vu_dma_map *map,
		   struct vu_file **file);

/* `file` may be NULL. */
void up_vu_file_put(struct up_vfio_server *srv, struct vu_file *file);
void up_vu_irq_disable_all(struct up_vfio_server *srv);

/*
 * vfio_release.c: unmaps guest memory that nobody uses any more, and closes a client's descriptors,
 * now or soon, without waiting for either. A server has a backlog of descriptors, which goes when
 * none is left to close. Full: its clients sent more than is closed in time. Once that was the
 * answer, `wake_fd`, the server's eventfd, tells when it is no more.
 */
struct vu_backlog *up_vu_backlog_create(int wake_fd);
/* Before the server closes its eventfd. */
void up_vu_backlog_destroy(struct vu_backlog *b);
void up_vu_close(struct vu_backlog *b, int fd);
bool up_vu_backlog_full(struct vu_backlog *b);
void up_vu_release(void *base, size_t length);

/* vfio_irq.c: a table of disabled vectors; and its end, when all are disabled. */
int up_vu_irq_init(struct up_vfio_server *srv, const struct up_vfio_config *cfg);
void up_vu_irq_fini(struct up_vfio_server *srv);

/*
 * vfio_raise.c. Makes ready what raising needs; false: it has to do with write(2). And whether a
 * client's descriptor may be raised: 0, -EINVAL when it is no eventfd, or another negative errno.
 */
bool up_vu_raise_init(void);
int up_vu_raise_check(int fd);

#endif
