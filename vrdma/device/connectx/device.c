/* SPDX-License-Identifier: BSD-2-Clause */
/* The device as a whole: its creation and end, and what it is between: running or not. */
#include "device/connectx/cmd.h"

#include "base/log.h"
#include "device/connectx/pci.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Number 0 stays free in every table, so that a zeroed context names nothing. */
#define FIRST_NUMBER 1
#define FIRST_CQN 0x40

static const struct up_hca_ops hca_ops = {
	.sq_fetch = cx_sq_fetch,
	.sq_advance = cx_sq_advance,
	.sq_pending = cx_sq_pending,
	.rq_take = cx_rq_take,
	.srq_take = cx_srq_take,
	.cq_post = cx_cq_post,
	.cq_prefetch = cx_cq_prefetch,
	.exec_local = cx_exec_local,
	.qp_event = cx_qp_event,
	.srq_event = cx_srq_event,
	.port_event = cx_port_event,
	.poll = cx_poll,
	.qp_reset = cx_qp_reset,
};

void cx_device_start(struct cx_device *dev)
{
	up_world_stop(dev->port->fabric);
	dev->hca_running = true;
	dev->hca.alive = true;
	up_world_start(dev->port->fabric);
	up_port_set_driver(dev->port, true);
	up_log(LOG_INFO, dev->hca.name, "driver started, port %s",
	       dev->port->active ? "active" : "unplugged");
}

void cx_device_stop(struct cx_device *dev)
{
	if (!dev->hca_running)
		return;
	up_port_set_driver(dev->port, false);
	cx_remains_leave(dev);
	dev->hca_running = false;
	up_log(LOG_INFO, dev->hca.name, "driver stopped, port down");
}

void cx_device_reset(struct cx_device *dev)
{
	cx_cmd_cancel(dev);
	cx_device_stop(dev);
	dev->hca_enabled = false;
	dev->fatal = false;
	dev->issi = 0;
	atomic_store_explicit(&dev->hca.port_caps, 0, memory_order_relaxed);
	cx_iseg_reset(dev);
	cx_caps_reset(dev);
}

void cx_device_fatal(struct cx_device *dev, const char *why)
{
	if (dev->fatal)
		return;
	dev->fatal = true;
	up_log(LOG_ERR, dev->hca.name, "device error: %s", why);
	up_port_set_driver(dev->port, false);
}

int cx_device_fd(const struct cx_device *dev)
{
	return dev->poll_fd;
}

int cx_device_process(struct cx_device *dev)
{
	int err = up_vfio_server_process(dev->server);

	if (!err && (dev->pending_slots || dev->work_set))
		cx_cmd_resume(dev);
	return err;
}

bool cx_device_connected(const struct cx_device *dev)
{
	return up_vfio_server_connected(dev->server);
}

bool cx_device_is_fatal(const struct cx_device *dev)
{
	return dev->fatal;
}

const struct up_hca *cx_device_hca(const struct cx_device *dev)
{
	return &dev->hca;
}

const struct up_vfio_stats *cx_device_socket_stats(const struct cx_device *dev)
{
	return up_vfio_server_stats(dev->server);
}

static void fini_tables(struct cx_device *dev)
{
	up_table_fini(&dev->umems);
	up_table_fini(&dev->uctxs);
	up_table_fini(&dev->counters);
	up_table_fini(&dev->cqs);
	up_table_fini(&dev->xrcds);
	up_table_fini(&dev->pds);
	up_hca_fini(&dev->hca);
}

static int init_tables(struct cx_device *dev)
{
	const struct up_hca_limits limits = {
		.max_mr = 1u << CX_LOG_MAX_MKEY,
		.max_qp = 1u << CX_LOG_MAX_QP,
		.max_srq = 1u << CX_LOG_MAX_SRQ,
	};
	int err = up_hca_init(&dev->hca, &limits);

	if (err)
		return err;
	err = up_table_init(&dev->pds, 1u << CX_LOG_MAX_PD, FIRST_NUMBER);
	if (!err)
		err = up_table_init(&dev->xrcds, 1u << CX_LOG_MAX_XRCD, FIRST_NUMBER);
	if (!err)
		err = up_table_init(&dev->cqs, 1u << CX_LOG_MAX_CQ, FIRST_CQN);
	if (!err)
		err = up_table_init(&dev->counters, CX_MAX_COUNTERS, FIRST_NUMBER);
	if (!err)
		err = up_table_init(&dev->uctxs, 1u << CX_LOG_MAX_UCTX, FIRST_NUMBER);
	if (!err)
		err = up_table_init(&dev->umems, 1u << CX_LOG_MAX_UMEM, FIRST_NUMBER);
	if (err)
		fini_tables(dev);
	return err;
}

static int watch_fd(int epoll, int fd)
{
	struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};

	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) ? -errno : 0;
}

/* The descriptors to wait on: the server's, and our own for commands that were put off. */
static int init_poll(struct cx_device *dev)
{
	int err;

	dev->work_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	dev->poll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (dev->work_fd < 0 || dev->poll_fd < 0)
		return -errno;
	err = watch_fd(dev->poll_fd, dev->work_fd);
	return err ? err : watch_fd(dev->poll_fd, up_vfio_server_fd(dev->server));
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void init_fields(struct cx_device *dev, struct up_port *port,
			const struct cx_device_config *cfg)
{
	dev->port = port;
	dev->cfg = *cfg;
	dev->hca.name = port->name;
	dev->hca.ops = &hca_ops;
	dev->work_fd = dev->poll_fd = -1;
	for (unsigned i = 0; i < CX_MSIX_VECTORS; i++)
		dev->vectors[i] = -1;
	up_list_init(&dev->watch);
	up_lock_init(&dev->watch_lock);
	up_lock_init(&dev->locate_lock);
	cx_iseg_reset(dev);
	cx_caps_reset(dev);
}

struct cx_device *cx_device_create(struct up_port *port, const struct cx_device_config *cfg)
{
	struct cx_device *dev = calloc(1, sizeof(*dev));
	int err;

	if (!dev)
		return NULL;
	init_fields(dev, port, cfg);
	err = init_tables(dev);
	if (err)
		goto free_dev;
	err = cx_remains_init(dev);
	if (err)
		goto fini_tables;
	err = cx_cmd_init(dev);
	if (err)
		goto fini_remains;
	err = cx_uar_init(dev);
	if (err)
		goto fini_cmd;
	err = cx_pci_init(dev);
	if (err)
		goto fini_uar;
	dev->hca.mem.lost = up_vfio_server_tripped(dev->server);
	dev->hca.mem.backing = up_vfio_server_memory(dev->server);
	err = init_poll(dev);
	if (err)
		goto fini_server;
	return dev;

fini_server:
	up_vfio_server_destroy(dev->server);
	close_fd(dev->poll_fd);
	close_fd(dev->work_fd);
fini_uar:
	cx_uar_fini(dev);
fini_cmd:
	cx_cmd_fini(dev);
fini_remains:
	cx_remains_fini(dev);
fini_tables:
	fini_tables(dev);
free_dev:
	free(dev);
	errno = -err;
	return NULL;
}

void cx_device_destroy(struct cx_device *dev)
{
	if (!dev)
		return;
	up_vfio_server_destroy(dev->server);
	close_fd(dev->poll_fd);
	close_fd(dev->work_fd);
	cx_uar_fini(dev);
	cx_cmd_fini(dev);
	cx_remains_fini(dev);
	fini_tables(dev);
	free(dev);
}
