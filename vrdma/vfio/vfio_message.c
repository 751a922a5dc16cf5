/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The table of vfio-user messages. Sizes and numbers of descriptors are checked here, once, before
 * a handler sees a message; handlers check what the fields mean. Also here: the messages about the
 * device and its regions.
 */
#include "base/bytes.h"
#include "base/log.h"
#include "vfio/vfio_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void up_vu_message_get(const struct vu_message *msg, void *out, size_t size)
{
	memcpy(out, msg->payload, size);
}

int up_vu_message_take_fd(struct vu_message *msg, unsigned i)
{
	int fd = msg->fds[i];

	msg->fds[i] = -1;
	return fd;
}

void up_vu_message_close_fds(struct vu_message *msg, struct vu_backlog *backlog)
{
	unsigned i;

	for (i = 0; i < msg->nr_fds; i++) {
		if (msg->fds[i] >= 0)
			up_vu_close(backlog, msg->fds[i]);
	}
	msg->nr_fds = 0;
}

void up_vu_reply_set(struct vu_reply *reply, const void *fixed, size_t size)
{
	memcpy(reply->fixed, fixed, size);
	reply->fixed_size = size;
}

void up_vu_complain(struct up_vfio_server *srv, const char *fmt, ...)
{
	char text[200];
	va_list args;

	if (!srv->conn.log_budget)
		return;
	srv->conn.log_budget--;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	up_log(LOG_WARNING, srv->name, "vfio-user: %s%s", text,
	       srv->conn.log_budget ? "" : " (further errors of this client are not logged)");
}

int up_vu_fail(struct up_vfio_server *srv, int error, const char *fmt, ...)
{
	va_list args;

	if (!srv->disconnect_why[0]) {
		va_start(args, fmt);
		vsnprintf(srv->disconnect_why, sizeof(srv->disconnect_why), fmt, args);
		va_end(args);
	}
	srv->stats.errors++;
	return -error;
}

static int handle_device_info(struct up_vfio_server *srv, struct vu_message *msg,
			      struct vu_reply *reply)
{
	struct vu_device_info info;

	up_vu_message_get(msg, &info, sizeof(info));
	if (info.argsz < sizeof(info)) {
		up_vu_complain(srv, "DEVICE_GET_INFO: argsz %u is too small", info.argsz);
		return -EINVAL;
	}
	info = (struct vu_device_info){
		.argsz = sizeof(info),
		.flags = VU_DEVICE_RESETS | VU_DEVICE_PCI,
		.num_regions = srv->nr_regions,
		.num_irqs = srv->nr_irqs,
	};
	up_vu_reply_set(reply, &info, sizeof(info));
	return 0;
}

/* The capability and the descriptor that let the client map a region. */
static void add_mmap(const struct up_vfio_region *region, struct vu_region_info *info,
		     struct vu_reply *reply)
{
	struct vu_sparse_mmap cap = {
		.id = VU_CAP_SPARSE_MMAP,
		.version = VU_CAP_SPARSE_MMAP_VERSION,
		.nr_areas = region->nr_areas,
	};
	size_t areas = region->nr_areas * sizeof(struct vu_sparse_area);

	static_assert(sizeof(struct up_vfio_area) == sizeof(struct vu_sparse_area), "same layout");
	info->flags |= VU_REGION_FLAG_MMAP;
	info->offset = region->mmap_offset;
	reply->fd = region->mmap_fd;
	if (!region->nr_areas)
		return;
	info->flags |= VU_REGION_FLAG_CAPS;
	info->cap_offset = sizeof(*info);
	memcpy(reply->fixed + sizeof(*info), &cap, sizeof(cap));
	memcpy(reply->fixed + sizeof(*info) + sizeof(cap), region->areas, areas);
}

/*
 * A client first asks with room for the fixed part only and learns the size that it needs. That
 * first answer offers no mapping at all: without the list of areas a client would map what has to
 * trap.
 */
static int handle_region_info(struct up_vfio_server *srv, struct vu_message *msg,
			      struct vu_reply *reply)
{
	const struct up_vfio_region *region;
	struct vu_region_info ask, info;
	size_t need = sizeof(info);

	up_vu_message_get(msg, &ask, sizeof(ask));
	if (ask.argsz < sizeof(info) || ask.index >= srv->nr_regions) {
		up_vu_complain(srv, "DEVICE_GET_REGION_INFO: argsz %u, region %u", ask.argsz,
			       ask.index);
		return -EINVAL;
	}
	region = &srv->regions[ask.index].cfg;
	if (region->nr_areas)
		need += sizeof(struct vu_sparse_mmap) +
			region->nr_areas * sizeof(struct vu_sparse_area);
	info = (struct vu_region_info){
		.argsz = (uint32_t)need,
		.index = ask.index,
		.size = region->size,
	};
	if (region->flags & UP_VFIO_REGION_READ)
		info.flags |= VU_REGION_FLAG_READ;
	if (region->flags & UP_VFIO_REGION_WRITE)
		info.flags |= VU_REGION_FLAG_WRITE;
	reply->fixed_size = sizeof(info);
	if ((region->flags & UP_VFIO_REGION_MMAP) && srv->conn.takes_fds && ask.argsz >= need) {
		add_mmap(region, &info, reply);
		reply->fixed_size = need;
	}
	memcpy(reply->fixed, &info, sizeof(info));
	return 0;
}

/* May this access be made? `right` is a flag of struct up_vfio_region. */
static int check_access(struct up_vfio_server *srv, const char *what,
			const struct vu_region_access *acc, uint32_t right)
{
	const struct up_vfio_region *region;
	uint64_t end;

	if (acc->region >= srv->nr_regions) {
		up_vu_complain(srv, "%s: there is no region %u", what, acc->region);
		return -EINVAL;
	}
	region = &srv->regions[acc->region].cfg;
	if (!acc->count || acc->count > UP_VFIO_MAX_XFER ||
	    __builtin_add_overflow(acc->offset, acc->count, &end) || end > region->size) {
		up_vu_complain(srv, "%s: %u bytes at 0x%" PRIx64 " are outside region %u", what,
			       acc->count, acc->offset, acc->region);
		return -EINVAL;
	}
	if (!(region->flags & right)) {
		up_vu_complain(srv, "%s: region %u does not allow it", what, acc->region);
		return -EPERM;
	}
	return 0;
}

static int handle_region_read(struct up_vfio_server *srv, struct vu_message *msg,
			      struct vu_reply *reply)
{
	struct vu_region_access acc;
	int ret;

	up_vu_message_get(msg, &acc, sizeof(acc));
	ret = check_access(srv, "REGION_READ", &acc, UP_VFIO_REGION_READ);
	if (ret < 0)
		return ret;
	srv->stats.region_reads++;
	memset(srv->conn.transfer, 0, acc.count);
	ret = srv->ops->region_read(srv->dev, acc.region, acc.offset, srv->conn.transfer,
				    acc.count);
	if (ret < 0)
		return ret;
	up_vu_reply_set(reply, &acc, sizeof(acc));
	reply->data = srv->conn.transfer;
	reply->data_size = acc.count;
	return 0;
}

static int handle_region_write(struct up_vfio_server *srv, struct vu_message *msg,
			       struct vu_reply *reply)
{
	struct vu_region_access acc;
	int ret;

	up_vu_message_get(msg, &acc, sizeof(acc));
	if (acc.count != msg->payload_size - sizeof(acc)) {
		up_vu_complain(srv, "REGION_WRITE: %zu bytes of data instead of %u",
			       msg->payload_size - sizeof(acc), acc.count);
		return -EINVAL;
	}
	ret = check_access(srv, "REGION_WRITE", &acc, UP_VFIO_REGION_WRITE);
	if (ret < 0)
		return ret;
	srv->stats.region_writes++;
	ret = srv->ops->region_write(srv->dev, acc.region, acc.offset, msg->payload + sizeof(acc),
				     acc.count);
	if (ret < 0)
		return ret;
	up_vu_reply_set(reply, &acc, sizeof(acc));
	return 0;
}

static int handle_reset(struct up_vfio_server *srv, struct vu_message *msg, struct vu_reply *reply)
{
	(void)msg;
	(void)reply;
	srv->ops->reset(srv->dev);
	return 0;
}

/* What is known about a command. Payload sizes are without the header. */
struct command {
	const char *name;
	int (*handle)(struct up_vfio_server *srv, struct vu_message *msg, struct vu_reply *reply);
	size_t min_payload;
	size_t max_payload;
	unsigned max_fds;
	enum vu_state state; /* the only state in which it is accepted */
};

static const struct command commands[] = {
	[VU_VERSION] = {"VERSION", up_vu_handle_version, sizeof(struct vu_version), VU_MAX_VERSION,
			0, VU_NEED_VERSION},
	[VU_DMA_MAP] = {"DMA_MAP", up_vu_handle_dma_map, sizeof(struct vu_dma_map),
			sizeof(struct vu_dma_map), 1, VU_OPERATIONAL},
	/* struct vfio_bitmap, of 16 bytes, may follow: refused by its flag, not by its size. */
	[VU_DMA_UNMAP] = {"DMA_UNMAP", up_vu_handle_dma_unmap, sizeof(struct vu_dma_unmap),
			  sizeof(struct vu_dma_unmap) + 16, 0, VU_OPERATIONAL},
	[VU_DEVICE_GET_INFO] = {"DEVICE_GET_INFO", handle_device_info,
				sizeof(struct vu_device_info), sizeof(struct vu_device_info), 0,
				VU_OPERATIONAL},
	[VU_DEVICE_GET_REGION_INFO] = {"DEVICE_GET_REGION_INFO", handle_region_info,
				       sizeof(struct vu_region_info), sizeof(struct vu_region_info),
				       0, VU_OPERATIONAL},
	[VU_DEVICE_GET_IRQ_INFO] = {"DEVICE_GET_IRQ_INFO", up_vu_handle_irq_info,
				    sizeof(struct vu_irq_info), sizeof(struct vu_irq_info), 0,
				    VU_OPERATIONAL},
	[VU_DEVICE_SET_IRQS] = {"DEVICE_SET_IRQS", up_vu_handle_set_irqs, sizeof(struct vu_irq_set),
				sizeof(struct vu_irq_set) + UP_VFIO_MAX_VECTORS, UP_VFIO_MAX_FDS,
				VU_OPERATIONAL},
	[VU_REGION_READ] = {"REGION_READ", handle_region_read, sizeof(struct vu_region_access),
			    sizeof(struct vu_region_access), 0, VU_OPERATIONAL},
	[VU_REGION_WRITE] = {"REGION_WRITE", handle_region_write, sizeof(struct vu_region_access),
			     sizeof(struct vu_region_access) + UP_VFIO_MAX_XFER, 0, VU_OPERATIONAL},
	[VU_DEVICE_RESET] = {"DEVICE_RESET", handle_reset, 0, 0, 0, VU_OPERATIONAL},
};

/* Everything that the table says about a message. */
static int check_message(struct up_vfio_server *srv, const struct command *cmd)
{
	const struct vu_message *msg = &srv->conn.in;

	if (cmd->state != srv->conn.state) {
		up_vu_complain(srv, "%s %s the version is negotiated", cmd->name,
			       cmd->state == VU_NEED_VERSION ? "after" : "before");
		return -EINVAL;
	}
	if (msg->payload_size < cmd->min_payload || msg->payload_size > cmd->max_payload) {
		up_vu_complain(srv, "%s with %zu bytes instead of %zu to %zu", cmd->name,
			       msg->payload_size, cmd->min_payload, cmd->max_payload);
		return -EINVAL;
	}
	if (msg->nr_fds > cmd->max_fds) {
		up_vu_complain(srv, "%s with %u descriptors, at most %u are allowed", cmd->name,
			       msg->nr_fds, cmd->max_fds);
		return -EINVAL;
	}
	return 0;
}

static int handle_message(struct up_vfio_server *srv, struct vu_reply *reply)
{
	struct vu_message *msg = &srv->conn.in;
	const struct command *cmd = NULL;
	int ret;

	if (msg->header.command < UP_ARRAY_SIZE(commands))
		cmd = &commands[msg->header.command];
	if (!cmd || !cmd->handle) {
		up_vu_complain(srv, "command %u is not supported", msg->header.command);
		return -EOPNOTSUPP;
	}
	ret = check_message(srv, cmd);
	if (ret < 0)
		return ret;
	return cmd->handle(srv, msg, reply);
}

int up_vu_message_dispatch(struct up_vfio_server *srv)
{
	struct vu_reply reply = {.fd = -1};
	int ret;

	srv->stats.messages_in++;
	ret = handle_message(srv, &reply);
	if (ret < 0)
		srv->stats.errors++;
	if (srv->conn.in.header.flags & VU_NO_REPLY)
		return 0;
	if (ret < 0)
		return up_vu_stream_reply_error(srv, -ret);
	return up_vu_stream_reply(srv, &reply);
}
