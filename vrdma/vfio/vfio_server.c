/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The vfio-user server as a whole: creation, event loop, and the life of a connection.
 *
 * One epoll descriptor holds the listening socket, the client's socket and an eventfd that
 * announces reasons to disconnect; it is all that the daemon's loop sees.
 */
#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "vfio/vfio_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	LISTEN_BACKLOG = 8,
	/* What one call of up_vfio_server_process() does at most. */
	MAX_MESSAGES = 32,
	MAX_BYTES = 256 * 1024,
	MAX_NS = 2000000,
	MAX_ACCEPTS = 4,
};

static void drain(int eventfd)
{
	uint64_t count;

	while (read(eventfd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
}

/* The other end hears of it at once; what it sent last may take its time. */
static void hang_up(struct up_vfio_server *srv, int fd)
{
	shutdown(fd, SHUT_RDWR);
	up_vu_close(srv->backlog, fd);
}

/*
 * Whether nobody is served at the moment: what clients sent takes longer to close than they take to
 * send more. They wait in their sockets then. Of one that leaves all is served all the same.
 */
static bool hold_up(struct up_vfio_server *srv)
{
	bool full = up_vu_backlog_full(srv->backlog);
	struct epoll_event ev = {.events = full ? 0 : EPOLLIN, .data.fd = srv->listener.fd};

	if (full == srv->held_up)
		return full;
	srv->held_up = full;
	if (full)
		up_log(LOG_WARNING, srv->name,
		       "vfio-user: clients wait until the descriptors that they sent are closed");
	if (srv->listener.fd >= 0 &&
	    epoll_ctl(srv->epoll_fd, EPOLL_CTL_MOD, srv->listener.fd, &ev) < 0)
		up_log(LOG_ERR, srv->name, "vfio-user: watching the socket failed: %s",
		       strerror(errno));
	if (srv->conn.state != VU_NO_CLIENT)
		up_vu_stream_watch(srv);
	return full;
}

/*
 * The end of a client. The device stops while it still has all that the client gave, so that it
 * finds nothing missing; all of that is withdrawn before the device hears that the client is gone.
 * The reason in disconnect_why, if any, is the line of the log.
 */
static void drop_client(struct up_vfio_server *srv)
{
	struct vu_conn *conn = &srv->conn;

	if (srv->disconnect_why[0])
		up_log(LOG_WARNING, srv->name, "vfio-user: client disconnected: %s",
		       srv->disconnect_why);
	else
		up_log(LOG_INFO, srv->name, "vfio-user: client disconnected");
	epoll_ctl(srv->epoll_fd, EPOLL_CTL_DEL, conn->fd, NULL);
	srv->ops->reset(srv->dev);
	up_vu_irq_disable_all(srv);
	up_vu_dma_unmap_all(srv);
	up_vu_stream_fini(srv);
	hang_up(srv, conn->fd);
	conn->fd = -1;
	conn->state = VU_NO_CLIENT;
	srv->ops->disconnected(srv->dev);
	srv->disconnect_why[0] = '\0';
}

/* Disconnect where a reason has come up outside the stream. */
static void drop_if_asked(struct up_vfio_server *srv)
{
	if (srv->conn.state == VU_NO_CLIENT)
		return;
	if (atomic_load_explicit(&srv->owner.tripped, memory_order_acquire))
		up_vu_fail(srv, EFAULT, "it took guest memory away while it was mapped");
	if (srv->disconnect_why[0])
		drop_client(srv);
}

static void log_connected(const struct up_vfio_server *srv, int fd)
{
	struct ucred peer = {0};
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0)
		up_log(LOG_INFO, srv->name, "vfio-user: client connected, process %d of user %u",
		       peer.pid, peer.uid);
	else
		up_log(LOG_INFO, srv->name, "vfio-user: client connected");
}

int up_vfio_server_attach(struct up_vfio_server *srv, int fd)
{
	struct vu_conn *conn = &srv->conn;
	struct epoll_event ev = {.events = srv->held_up ? 0 : EPOLLIN, .data.fd = fd};
	int ret = -EBUSY;

	if (conn->state != VU_NO_CLIENT)
		goto close_fd;
	if (epoll_ctl(srv->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
		ret = -errno;
		up_log(LOG_ERR, srv->name, "vfio-user: cannot watch a connection: %s",
		       strerror(-ret));
		goto close_fd;
	}
	conn->fd = fd;
	conn->state = VU_NEED_VERSION;
	conn->log_budget = VU_LOG_BUDGET;
	drain(srv->wake_fd);
	hold_up(srv);
	srv->disconnect_why[0] = '\0';
	atomic_store(&srv->owner.tripped, false);
	srv->stats.connections++;
	log_connected(srv, fd);
	srv->ops->connected(srv->dev);
	return 0;

close_fd:
	close(fd);
	return ret;
}

/*
 * Out of descriptors: give one up to take the connection off the queue, where it would wake the
 * loop for ever.
 */
static void refuse_without_fds(struct up_vfio_server *srv)
{
	int fd;

	up_log(LOG_ERR, srv->name, "vfio-user: connection refused: %s", strerror(errno));
	if (srv->spare_fd >= 0)
		close(srv->spare_fd);
	fd = accept4(srv->listener.fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0)
		close(fd);
	srv->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	srv->stats.refused++;
}

/* The client has closed its end, but what it sent before is not all handled yet. */
static bool client_is_leaving(const struct up_vfio_server *srv)
{
	struct pollfd p = {.fd = srv->conn.fd};

	return srv->disconnect_why[0] || (poll(&p, 1, 0) == 1 && (p.revents & POLLHUP));
}

/*
 * A VM that is restarted connects while the old connection may still be draining: the new one waits
 * in the queue for that. One that comes while a client lives is refused.
 */
static void accept_clients(struct up_vfio_server *srv)
{
	unsigned i;

	if (srv->conn.state != VU_NO_CLIENT && client_is_leaving(srv))
		return;
	if (hold_up(srv))
		return;
	for (i = 0; i < MAX_ACCEPTS; i++) {
		int fd = accept4(srv->listener.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE)
				refuse_without_fds(srv);
			return;
		}
		if (srv->conn.state != VU_NO_CLIENT) {
			hang_up(srv, fd);
			srv->stats.refused++;
			up_vu_complain(srv,
				       "another connection refused: there is a client already");
			continue;
		}
		up_vfio_server_attach(srv, fd);
	}
}

/* Some messages of the client, in order; the rest stays in the socket. */
static int serve_messages(struct up_vfio_server *srv)
{
	uint64_t end = up_clock_ns() + MAX_NS;
	size_t budget = MAX_BYTES;
	unsigned i;

	for (i = 0; i < MAX_MESSAGES; i++) {
		int ret = up_vu_stream_receive(srv, &budget);

		if (ret <= 0)
			return ret;
		ret = up_vu_message_dispatch(srv);
		up_vu_stream_next(srv);
		if (ret < 0)
			return ret;
		if (hold_up(srv) || srv->disconnect_why[0] || up_clock_ns() > end)
			return 0;
	}
	return 0;
}

static void serve_client(struct up_vfio_server *srv, uint32_t events)
{
	int ret = 0;

	if (events & EPOLLOUT)
		ret = up_vu_stream_flush(srv);
	if (ret == 0 && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		ret = serve_messages(srv);
	if (ret < 0)
		drop_client(srv);
}

int up_vfio_server_process(struct up_vfio_server *srv)
{
	struct epoll_event ev[3];
	int i, n;

	n = epoll_wait(srv->epoll_fd, ev, 3, 0);
	if (n < 0) {
		if (errno == EINTR)
			return 0;
		n = -errno;
		up_log(LOG_ERR, srv->name, "vfio-user: epoll failed: %s", strerror(-n));
		return n;
	}
	for (i = 0; i < n; i++) {
		if (ev[i].data.fd == srv->wake_fd) {
			drain(srv->wake_fd);
			hold_up(srv);
		} else if (ev[i].data.fd == srv->listener.fd) {
			accept_clients(srv);
		} else if (ev[i].data.fd == srv->conn.fd) {
			serve_client(srv, ev[i].events);
		}
	}
	drop_if_asked(srv);
	return 0;
}

void up_vfio_server_disconnect(struct up_vfio_server *srv, const char *why)
{
	const uint64_t one = 1;

	if (srv->conn.state == VU_NO_CLIENT || srv->disconnect_why[0])
		return;
	snprintf(srv->disconnect_why, sizeof(srv->disconnect_why), "%s", why);
	/* A full counter would wake just as well. */
	if (write(srv->wake_fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		up_log(LOG_ERR, srv->name, "vfio-user: eventfd failed: %s", strerror(errno));
}

static bool valid_region(const struct up_vfio_region *region)
{
	uint64_t end;
	unsigned i;

	if (!(region->flags & UP_VFIO_REGION_MMAP))
		return !region->nr_areas;
	if (!region->size || region->mmap_fd < 0 || region->nr_areas > UP_VFIO_MAX_AREAS ||
	    (region->mmap_offset | region->size) & (VU_PAGE_SIZE - 1))
		return false;
	for (i = 0; i < region->nr_areas; i++) {
		const struct up_vfio_area *area = &region->areas[i];

		if (!area->size || (area->offset | area->size) & (VU_PAGE_SIZE - 1) ||
		    __builtin_add_overflow(area->offset, area->size, &end) || end > region->size)
			return false;
	}
	return true;
}

static bool valid_config(const struct up_vfio_config *cfg)
{
	unsigned i;

	if (!cfg->name || cfg->nr_regions > UP_VFIO_MAX_REGIONS ||
	    cfg->nr_irqs > UP_VFIO_MAX_IRQ_INDEXES || cfg->max_dma_maps > UP_VFIO_MAX_DMA_MAPS)
		return false;
	for (i = 0; i < cfg->nr_regions; i++) {
		if (!valid_region(&cfg->regions[i]))
			return false;
	}
	for (i = 0; i < cfg->nr_irqs; i++) {
		if (cfg->irqs[i].count > UP_VFIO_MAX_VECTORS)
			return false;
	}
	return true;
}

static int copy_config(struct up_vfio_server *srv, const struct up_vfio_config *cfg)
{
	unsigned i;

	for (i = 0; i < cfg->nr_regions; i++) {
		struct vu_region *region = &srv->regions[i];

		region->cfg = cfg->regions[i];
		if (region->cfg.nr_areas)
			memcpy(region->areas, region->cfg.areas,
			       region->cfg.nr_areas * sizeof(region->areas[0]));
		region->cfg.areas = region->areas;
	}
	srv->nr_regions = cfg->nr_regions;
	srv->ranges.max = cfg->max_dma_maps ? cfg->max_dma_maps : UP_VFIO_DEFAULT_DMA_MAPS;
	srv->name = strdup(cfg->name);
	srv->conn.transfer = malloc(UP_VFIO_MAX_XFER);
	if (!srv->name || !srv->conn.transfer)
		return -ENOMEM;
	return up_vu_irq_init(srv, cfg);
}

static int watch(struct up_vfio_server *srv, int fd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};

	return epoll_ctl(srv->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0 ? -errno : 0;
}

static int open_fds(struct up_vfio_server *srv)
{
	srv->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	srv->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	srv->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (srv->epoll_fd < 0 || srv->wake_fd < 0 || srv->spare_fd < 0)
		return -errno;
	srv->owner.wake_fd = srv->wake_fd;
	srv->backlog = up_vu_backlog_create(srv->wake_fd);
	if (!srv->backlog)
		return -ENOMEM;
	return watch(srv, srv->wake_fd);
}

static int open_listener(struct up_vfio_server *srv, const char *path, mode_t mode)
{
	int ret = up_listener_open(&srv->listener, path, mode, LISTEN_BACKLOG);

	if (ret == 0)
		ret = watch(srv, srv->listener.fd);
	if (ret < 0)
		up_log(LOG_ERR, srv->name, "vfio-user: cannot listen at %s: %s", path,
		       strerror(-ret));
	return ret;
}

static void free_server(struct up_vfio_server *srv)
{
	const int fds[] = {srv->epoll_fd, srv->wake_fd, srv->spare_fd};
	size_t i;

	up_listener_close(&srv->listener);
	up_vu_backlog_destroy(srv->backlog);
	for (i = 0; i < UP_ARRAY_SIZE(fds); i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
	up_vu_irq_fini(srv);
	free(srv->ranges.range);
	free(srv->conn.transfer);
	free(srv->name);
	free(srv);
}

int up_vfio_server_create(const char *path, const struct up_vfio_config *cfg,
			  const struct up_vfio_dev_ops *ops, void *dev, struct up_vfio_server **out)
{
	struct up_vfio_server *srv;
	int ret;

	if (!valid_config(cfg)) {
		up_log(LOG_ERR, cfg->name, "vfio-user: the device's configuration is wrong");
		return -EINVAL;
	}
	srv = calloc(1, sizeof(*srv));
	if (!srv) {
		up_log(LOG_ERR, cfg->name, "vfio-user: no memory for a server");
		return -ENOMEM;
	}
	srv->ops = ops;
	srv->dev = dev;
	srv->conn.fd = -1;
	srv->conn.out_last = &srv->conn.out_first;
	srv->listener = UP_LISTENER_NONE;
	srv->epoll_fd = srv->wake_fd = srv->spare_fd = -1;
	ret = copy_config(srv, cfg);
	if (ret == 0)
		ret = open_fds(srv);
	if (ret == 0)
		ret = up_sigbus_guard_init();
	up_vu_raise_init();
	if (ret < 0) {
		up_log(LOG_ERR, cfg->name, "vfio-user: no server: %s", strerror(-ret));
		goto free_server;
	}
	if (path) {
		ret = open_listener(srv, path, cfg->socket_mode ? cfg->socket_mode : 0600);
		if (ret < 0)
			goto free_server;
	}
	*out = srv;
	return 0;

free_server:
	free_server(srv);
	return ret;
}

void up_vfio_server_destroy(struct up_vfio_server *srv)
{
	if (!srv)
		return;
	if (srv->conn.state != VU_NO_CLIENT)
		drop_client(srv);
	free_server(srv);
}

void up_vfio_server_set_mmap_fd(struct up_vfio_server *srv, unsigned region, int fd)
{
	srv->regions[region].cfg.mmap_fd = fd;
}

int up_vfio_server_fd(const struct up_vfio_server *srv)
{
	return srv->epoll_fd;
}

bool up_vfio_server_connected(const struct up_vfio_server *srv)
{
	return srv->conn.state != VU_NO_CLIENT;
}

const struct up_vfio_stats *up_vfio_server_stats(const struct up_vfio_server *srv)
{
	return &srv->stats;
}

const atomic_bool *up_vfio_server_tripped(const struct up_vfio_server *srv)
{
	return &srv->owner.tripped;
}

const uint64_t *up_vfio_server_memory(const struct up_vfio_server *srv)
{
	return &srv->file_bytes;
}
