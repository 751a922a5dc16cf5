/* SPDX-License-Identifier: BSD-2-Clause */
/* The client side of vfio-user: messages over a UNIX stream socket. */
#include "gs_vfio.h"

#include "guestsim.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { MAX_FDS = 16, MAX_BODY = 2 * 1024 * 1024 };

int gs_vfio_connect(struct gs_vfio *v, const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int err;

	v->next_id = 1;
	pthread_mutex_init(&v->lock, NULL);
	if (strlen(path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	strcpy(addr.sun_path, path);
	v->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (v->sock < 0)
		return -errno;
	if (connect(v->sock, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		err = -errno;
		gs_vfio_close(v);
		return err;
	}
	return 0;
}

void gs_vfio_close(struct gs_vfio *v)
{
	if (v->sock >= 0)
		close(v->sock);
	v->sock = -1;
}

int gs_vfio_send_raw(struct gs_vfio *v, const void *bytes, size_t len, const int *fds,
		     unsigned nr_fds)
{
	char control[CMSG_SPACE(sizeof(int) * MAX_FDS * 16)];
	struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (nr_fds) {
		struct cmsghdr *c = (struct cmsghdr *)control;

		memset(control, 0, sizeof(control));
		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * nr_fds);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * nr_fds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * nr_fds);
	}
	while (iov.iov_len) {
		ssize_t n = sendmsg(v->sock, &msg, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		iov.iov_base = (char *)iov.iov_base + n;
		iov.iov_len -= (size_t)n;
		msg.msg_control = NULL;
		msg.msg_controllen = 0;
	}
	return 0;
}

/* Waits until the socket can be read. */
static int await_input(struct gs_vfio *v, int timeout_ms)
{
	struct pollfd p = {.fd = v->sock, .events = POLLIN};
	int n;

	do
		n = poll(&p, 1, timeout_ms);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return n ? 0 : -ETIMEDOUT;
}

/* Reads exactly len bytes; keeps the first descriptor that comes along, closes others. */
static int read_all(struct gs_vfio *v, void *buf, size_t len, int *fd)
{
	size_t got = 0;

	while (got < len) {
		char control[CMSG_SPACE(sizeof(int) * MAX_FDS)];
		struct iovec iov = {.iov_base = (char *)buf + got, .iov_len = len - got};
		struct msghdr msg = {.msg_iov = &iov,
				     .msg_iovlen = 1,
				     .msg_control = control,
				     .msg_controllen = sizeof(control)};
		int err = await_input(v, GS_WAIT_MS);
		ssize_t n;

		if (err)
			return err;
		n = recvmsg(v->sock, &msg, MSG_CMSG_CLOEXEC);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			return -EPIPE;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
			size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
			int fds[MAX_FDS];

			memcpy(fds, CMSG_DATA(c), count * sizeof(int));
			for (size_t i = 0; i < count; i++) {
				if (fd && *fd < 0)
					*fd = fds[i];
				else
					close(fds[i]);
			}
		}
		got += (size_t)n;
	}
	return 0;
}

int gs_vfio_recv(struct gs_vfio *v, struct vu_header *h, void *body, size_t len, int *fd)
{
	size_t size, keep;
	int err;

	if (fd)
		*fd = -1;
	err = read_all(v, h, sizeof(*h), fd);
	if (err)
		return err;
	if (h->size < sizeof(*h) || h->size > MAX_BODY)
		return -EPROTO;
	size = h->size - sizeof(*h);
	keep = size < len ? size : len;
	err = read_all(v, body, keep, fd);
	while (!err && size > keep) {
		char rest[256];
		size_t n = size - keep < sizeof(rest) ? size - keep : sizeof(rest);

		err = read_all(v, rest, n, NULL);
		size -= n;
	}
	return err;
}

bool gs_vfio_hung_up(struct gs_vfio *v, int timeout_ms)
{
	uint64_t end = gs_now_ns() + (uint64_t)timeout_ms * 1000000u;

	for (;;) {
		uint64_t now = gs_now_ns();
		char c;
		ssize_t n;

		if (now >= end || await_input(v, (int)((end - now) / 1000000u) + 1))
			return false;
		n = recv(v->sock, &c, 1, 0);
		if (!n || (n < 0 && errno != EINTR))
			return true;
	}
}

static int send_request(struct gs_vfio *v, const struct gs_vfio_request *r, uint16_t id)
{
	uint8_t small[256];
	size_t size = sizeof(struct vu_header) + r->body_len;
	uint8_t *bytes = size <= sizeof(small) ? small : malloc(size);
	struct vu_header h = {.id = id, .command = r->command, .size = (uint32_t)size};
	int err;

	if (!bytes)
		return -ENOMEM;
	memcpy(bytes, &h, sizeof(h));
	if (r->body_len)
		memcpy(bytes + sizeof(h), r->body, r->body_len);
	err = gs_vfio_send_raw(v, bytes, size, r->fds, r->nr_fds);
	if (bytes != small)
		free(bytes);
	return err;
}

static int do_request(struct gs_vfio *v, const struct gs_vfio_request *r)
{
	uint16_t id = v->next_id++;
	struct vu_header h = {0};
	size_t room = r->out_len ? *r->out_len : 0;
	int fd = -1;
	int err = send_request(v, r, id);

	if (!err)
		err = gs_vfio_recv(v, &h, r->out, room, &fd);
	if (!err && (h.id != id || (h.flags & VU_TYPE_MASK) != VU_TYPE_REPLY))
		err = -EPROTO;
	if (!err && h.flags & VU_ERROR)
		err = h.error ? -(int)h.error : -EPROTO;
	if (!err && r->out_len)
		*r->out_len = h.size - sizeof(h) < room ? h.size - sizeof(h) : room;
	if (!err && r->out_fd)
		*r->out_fd = fd;
	else if (fd >= 0)
		close(fd);
	return err;
}

int gs_vfio_request(struct gs_vfio *v, const struct gs_vfio_request *r)
{
	int err;

	if (r->out_fd)
		*r->out_fd = -1;
	pthread_mutex_lock(&v->lock);
	err = v->sock < 0 ? -ENOTCONN : do_request(v, r);
	pthread_mutex_unlock(&v->lock);
	return err;
}

int gs_vfio_negotiate(struct gs_vfio *v)
{
	static const char json[] = "{\"capabilities\":{\"max_msg_fds\":16,"
				   "\"max_data_xfer_size\":1048576,\"pgsizes\":4096,"
				   "\"max_dma_maps\":65535,\"write_multiple\":true}}";
	struct vu_version ver = {.major = VU_VERSION_MAJOR, .minor = VU_VERSION_MINOR};
	uint8_t body[sizeof(ver) + sizeof(json)];
	uint8_t out[4096];
	size_t out_len = sizeof(out);
	int err;

	memcpy(body, &ver, sizeof(ver));
	memcpy(body + sizeof(ver), json, sizeof(json));
	err = gs_vfio_request(v, &(struct gs_vfio_request){.command = VU_VERSION,
							   .body = body,
							   .body_len = sizeof(body),
							   .out = out,
							   .out_len = &out_len});
	if (err)
		return err;
	if (out_len < sizeof(ver))
		return -EPROTO;
	memcpy(&ver, out, sizeof(ver));
	return ver.major == VU_VERSION_MAJOR ? 0 : -EPROTONOSUPPORT;
}

int gs_vfio_open(struct gs_vfio *v, const char *path)
{
	int err = gs_vfio_connect(v, path);

	if (err)
		return err;
	err = gs_vfio_negotiate(v);
	if (err)
		gs_vfio_close(v);
	return err;
}

int gs_vfio_dma_map(struct gs_vfio *v, int fd, uint64_t offset, uint64_t iova, uint64_t size)
{
	struct vu_dma_map map = {
		.argsz = sizeof(map), .flags = 3, .offset = offset, .address = iova, .size = size};

	return gs_vfio_request(v, &(struct gs_vfio_request){.command = VU_DMA_MAP,
							    .body = &map,
							    .body_len = sizeof(map),
							    .fds = &fd,
							    .nr_fds = fd >= 0});
}

int gs_vfio_dma_unmap(struct gs_vfio *v, uint64_t iova, uint64_t size)
{
	struct vu_dma_unmap unmap = {.argsz = sizeof(unmap), .address = iova, .size = size};

	return gs_vfio_request(v, &(struct gs_vfio_request){.command = VU_DMA_UNMAP,
							    .body = &unmap,
							    .body_len = sizeof(unmap)});
}

/* Walks the capability chain for the sparse areas. */
static int read_areas(const uint8_t *out, size_t len, uint32_t at, struct gs_vfio_region *info)
{
	struct vu_sparse_mmap cap;

	for (unsigned hops = 0; at && hops < 8; hops++) {
		if (at + sizeof(cap) > len)
			return -EPROTO;
		memcpy(&cap, out + at, sizeof(cap));
		if (cap.id == VU_CAP_SPARSE_MMAP) {
			if (cap.nr_areas > 16 ||
			    at + sizeof(cap) + cap.nr_areas * sizeof(info->areas[0]) > len)
				return -EPROTO;
			info->nr_areas = cap.nr_areas;
			memcpy(info->areas, out + at + sizeof(cap),
			       cap.nr_areas * sizeof(info->areas[0]));
		}
		at = cap.next;
	}
	return 0;
}

int gs_vfio_region_info(struct gs_vfio *v, unsigned region, struct gs_vfio_region *info)
{
	struct vu_region_info in = {.argsz = sizeof(in), .index = region}, ri;
	uint8_t out[1024];
	size_t out_len = sizeof(out);
	int err = 0;

	memset(info, 0, sizeof(*info));
	info->fd = -1;
	/* As QEMU does: ask for the size first, then for all of it. */
	for (int pass = 0; pass < 2; pass++) {
		if (info->fd >= 0)
			close(info->fd);
		out_len = sizeof(out);
		err = gs_vfio_request(
			v, &(struct gs_vfio_request){.command = VU_DEVICE_GET_REGION_INFO,
						     .body = &in,
						     .body_len = sizeof(in),
						     .out = out,
						     .out_len = &out_len,
						     .out_fd = &info->fd});
		if (err)
			return err;
		if (out_len < sizeof(ri))
			return -EPROTO;
		memcpy(&ri, out, sizeof(ri));
		if (ri.argsz <= in.argsz)
			break;
		in.argsz = ri.argsz;
	}
	info->size = ri.size;
	info->flags = ri.flags;
	info->offset = ri.offset;
	return ri.flags & VU_REGION_FLAG_CAPS ? read_areas(out, out_len, ri.cap_offset, info) : 0;
}

int gs_vfio_irq_count(struct gs_vfio *v, unsigned index, unsigned *count)
{
	struct vu_irq_info info = {.argsz = sizeof(info), .index = index}, out;
	size_t out_len = sizeof(out);
	int err = gs_vfio_request(v, &(struct gs_vfio_request){.command = VU_DEVICE_GET_IRQ_INFO,
							       .body = &info,
							       .body_len = sizeof(info),
							       .out = &out,
							       .out_len = &out_len});

	if (err)
		return err;
	*count = out.count;
	return 0;
}

int gs_vfio_set_eventfd(struct gs_vfio *v, unsigned index, unsigned vector, int eventfd)
{
	struct vu_irq_set set = {.argsz = sizeof(set),
				 .flags = VU_IRQ_DATA_EVENTFD | VU_IRQ_ACTION_TRIGGER,
				 .index = index,
				 .start = vector,
				 .count = 1};

	return gs_vfio_request(v, &(struct gs_vfio_request){.command = VU_DEVICE_SET_IRQS,
							    .body = &set,
							    .body_len = sizeof(set),
							    .fds = &eventfd,
							    .nr_fds = eventfd >= 0});
}

int gs_vfio_read(struct gs_vfio *v, unsigned region, uint64_t off, void *buf, uint32_t len)
{
	struct vu_region_access acc = {.offset = off, .region = region, .count = len};
	size_t out_len = sizeof(acc) + len;
	uint8_t *out = malloc(out_len);
	int err;

	if (!out)
		return -ENOMEM;
	err = gs_vfio_request(v, &(struct gs_vfio_request){.command = VU_REGION_READ,
							   .body = &acc,
							   .body_len = sizeof(acc),
							   .out = out,
							   .out_len = &out_len});
	if (!err && out_len != sizeof(acc) + len)
		err = -EPROTO;
	if (!err)
		memcpy(buf, out + sizeof(acc), len);
	free(out);
	return err;
}

int gs_vfio_write(struct gs_vfio *v, unsigned region, uint64_t off, const void *buf, uint32_t len)
{
	struct vu_region_access acc = {.offset = off, .region = region, .count = len};
	uint8_t *body = malloc(sizeof(acc) + len);
	int err;

	if (!body)
		return -ENOMEM;
	memcpy(body, &acc, sizeof(acc));
	memcpy(body + sizeof(acc), buf, len);
	err = gs_vfio_request(v, &(struct gs_vfio_request){.command = VU_REGION_WRITE,
							   .body = body,
							   .body_len = sizeof(acc) + len});
	free(body);
	return err;
}

int gs_vfio_reset(struct gs_vfio *v)
{
	return gs_vfio_request(v, &(struct gs_vfio_request){.command = VU_DEVICE_RESET});
}
