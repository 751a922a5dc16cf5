/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The stream of a vfio-user connection: collects whole messages with their descriptors, and sends
 * replies, queueing what the socket does not take.
 *
 * A message is read to its last byte and no further: first the header, then the payload that the
 * header announces. What is not handled yet stays in the socket, so that the event loop still sees
 * it, and descriptors, which travel with the first byte of their message, cannot get mixed up.
 */
#include "vfio/vfio_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/*
 * Room for all descriptors that one recvmsg() can bring, SCM_MAX_FD of Linux, as it would itself
 * close what finds none; aligned as CMSG_FIRSTHDR() wants it.
 */
#define MAX_RIGHTS 253

union rights {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(sizeof(int) * MAX_RIGHTS)];
};

/* Take all descriptors of a received piece; those beyond the limit are closed. */
static int collect_fds(struct up_vfio_server *srv, struct msghdr *hdr)
{
	struct vu_message *msg = &srv->conn.in;
	bool overflow = false;
	struct cmsghdr *c;

	for (c = CMSG_FIRSTHDR(hdr); c; c = CMSG_NXTHDR(hdr, c)) {
		size_t n, i;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (msg->nr_fds < UP_VFIO_MAX_FDS) {
				msg->fds[msg->nr_fds++] = fd;
			} else {
				up_vu_close(srv->backlog, fd);
				overflow = true;
			}
		}
	}
	if (overflow)
		return up_vu_fail(srv, EPROTO, "more descriptors in a message than can be taken");
	/* There was room for all, so the system would not open them; it does not say why. */
	if (hdr->msg_flags & MSG_CTRUNC)
		return up_vu_fail(srv, EMFILE,
				  "its descriptors cannot be had: too many open files, or a "
				  "security module");
	return 0;
}

/* One recvmsg(). The number of bytes, 0 when there are none now, or a negative errno. */
static ssize_t receive_piece(struct up_vfio_server *srv, void *to, size_t want)
{
	union rights rights;
	struct iovec iov = {.iov_base = to, .iov_len = want};
	struct msghdr hdr = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &rights,
		.msg_controllen = sizeof(rights),
	};
	ssize_t n;
	int ret;

	do {
		n = recvmsg(srv->conn.fd, &hdr, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0) {
		if (errno == EAGAIN || errno == EWOULDBLOCK)
			return 0;
		if (errno == ECONNRESET)
			return -ECONNRESET;
		return up_vu_fail(srv, errno, "receiving failed: %s", strerror(errno));
	}
	ret = collect_fds(srv, &hdr);
	if (ret < 0)
		return ret;
	if (n == 0) {
		if (srv->conn.received)
			return up_vu_fail(srv, ECONNRESET, "connection ended within a message");
		return -ECONNRESET;
	}
	return n;
}

/* The header is complete: check what framing depends on and make room for the payload. */
static int begin_payload(struct up_vfio_server *srv)
{
	struct vu_conn *conn = &srv->conn;
	const struct vu_header *hdr = &conn->in.header;
	size_t size;

	if (hdr->size < sizeof(*hdr) || hdr->size > VU_MAX_MESSAGE)
		return up_vu_fail(srv, EPROTO, "command %u has an impossible size of %u bytes",
				  hdr->command, hdr->size);
	if ((hdr->flags & VU_TYPE_MASK) != VU_TYPE_COMMAND)
		return up_vu_fail(srv, EPROTO, "command %u has type %u where a command was due",
				  hdr->command, hdr->flags & VU_TYPE_MASK);
	size = hdr->size - sizeof(*hdr);
	if (size > conn->payload_capacity) {
		uint8_t *payload = realloc(conn->in.payload, size);

		if (!payload)
			return up_vu_fail(srv, ENOMEM, "no memory for a message of %zu bytes",
					  size);
		conn->in.payload = payload;
		conn->payload_capacity = size;
	}
	conn->in.payload_size = size;
	return 0;
}

/* Where the next bytes of the message belong. False: it is whole. */
static bool next_piece(struct vu_conn *conn, uint8_t **to, size_t *want)
{
	size_t done = conn->received;

	if (done < sizeof(conn->in.header)) {
		*to = (uint8_t *)&conn->in.header + done;
		*want = sizeof(conn->in.header) - done;
		return true;
	}
	done -= sizeof(conn->in.header);
	if (done == conn->in.payload_size)
		return false;
	*to = conn->in.payload + done;
	*want = conn->in.payload_size - done;
	return true;
}

int up_vu_stream_receive(struct up_vfio_server *srv, size_t *budget)
{
	struct vu_conn *conn = &srv->conn;
	uint8_t *to;
	size_t want;

	while (next_piece(conn, &to, &want)) {
		ssize_t n;
		int ret;

		if (!*budget)
			return 0;
		n = receive_piece(srv, to, want < *budget ? want : *budget);
		if (n <= 0)
			return (int)n;
		conn->received += (size_t)n;
		srv->stats.bytes_in += (uint64_t)n;
		*budget -= (size_t)n;
		if (conn->received == sizeof(conn->in.header)) {
			ret = begin_payload(srv);
			if (ret < 0)
				return ret;
		}
	}
	return 1;
}

void up_vu_stream_next(struct up_vfio_server *srv)
{
	up_vu_message_close_fds(&srv->conn.in, srv->backlog);
	srv->conn.in.payload_size = 0;
	srv->conn.received = 0;
}

int up_vu_stream_watch(struct up_vfio_server *srv)
{
	struct epoll_event ev = {.data.fd = srv->conn.fd};

	if (!srv->held_up)
		ev.events |= EPOLLIN;
	if (srv->conn.watching_output)
		ev.events |= EPOLLOUT;
	if (epoll_ctl(srv->epoll_fd, EPOLL_CTL_MOD, srv->conn.fd, &ev) < 0)
		return up_vu_fail(srv, errno, "watching the socket failed: %s", strerror(errno));
	return 0;
}

static int watch_output(struct up_vfio_server *srv, bool on)
{
	if (srv->conn.watching_output == on)
		return 0;
	srv->conn.watching_output = on;
	return up_vu_stream_watch(srv);
}

/* One sendmsg(). The number of bytes, 0 when the socket is full, or a negative errno. */
static ssize_t send_piece(struct up_vfio_server *srv, struct iovec *iov, size_t nr_iov, int fd)
{
	union {
		struct cmsghdr hdr;
		char bytes[CMSG_SPACE(sizeof(int))];
	} rights = {0};
	struct msghdr hdr = {.msg_iov = iov, .msg_iovlen = nr_iov};
	ssize_t n;

	if (fd >= 0) {
		rights.hdr.cmsg_level = SOL_SOCKET;
		rights.hdr.cmsg_type = SCM_RIGHTS;
		rights.hdr.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&rights.hdr), &fd, sizeof(fd));
		hdr.msg_control = &rights;
		hdr.msg_controllen = sizeof(rights.bytes);
	}
	do {
		n = sendmsg(srv->conn.fd, &hdr, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n < 0) {
		if (errno == EAGAIN || errno == EWOULDBLOCK)
			return 0;
		if (errno == EPIPE || errno == ECONNRESET)
			return -ECONNRESET;
		return up_vu_fail(srv, errno, "sending failed: %s", strerror(errno));
	}
	srv->stats.bytes_out += (uint64_t)n;
	return n;
}

/* Copy what is behind the first `sent` bytes of a reply to the queue. */
static int enqueue(struct up_vfio_server *srv, const struct iovec *iov, size_t nr_iov, size_t size,
		   size_t sent, int fd)
{
	struct vu_conn *conn = &srv->conn;
	struct vu_output *out;
	size_t i, at = 0;

	/* Counted with what keeping it takes: a client may ask for many small replies. */
	if (conn->out_bytes + sizeof(*out) + size > UP_VFIO_MAX_OUTPUT)
		return up_vu_fail(srv, ENOBUFS, "%zu bytes of replies were not read",
				  conn->out_bytes);
	out = malloc(sizeof(*out) + size);
	if (!out)
		return up_vu_fail(srv, ENOMEM, "no memory for a reply of %zu bytes", size);
	out->next = NULL;
	out->size = size;
	out->sent = sent;
	out->fd = sent ? -1 : fd;
	for (i = 0; i < nr_iov; i++) {
		if (iov[i].iov_len)
			memcpy(out->bytes + at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	*conn->out_last = out;
	conn->out_last = &out->next;
	conn->out_bytes += sizeof(*out) + size;
	return watch_output(srv, true);
}

/* Send the parts of one reply, of `size` bytes in all, in order behind what is queued. */
static int send_reply(struct up_vfio_server *srv, struct iovec *iov, size_t nr_iov, size_t size,
		      int fd)
{
	ssize_t n = 0;

	srv->stats.messages_out++;
	if (!srv->conn.out_first)
		n = send_piece(srv, iov, nr_iov, fd);
	if (n < 0)
		return (int)n;
	if ((size_t)n == size)
		return 0;
	return enqueue(srv, iov, nr_iov, size, (size_t)n, fd);
}

int up_vu_stream_reply(struct up_vfio_server *srv, const struct vu_reply *reply)
{
	const struct vu_header *request = &srv->conn.in.header;
	size_t size = sizeof(struct vu_header) + reply->fixed_size + reply->data_size;
	struct vu_header hdr = {
		.id = request->id,
		.command = request->command,
		.size = (uint32_t)size,
		.flags = VU_TYPE_REPLY,
	};
	struct iovec iov[] = {
		{.iov_base = &hdr, .iov_len = sizeof(hdr)},
		{.iov_base = (void *)(uintptr_t)reply->fixed, .iov_len = reply->fixed_size},
		{.iov_base = (void *)(uintptr_t)reply->data, .iov_len = reply->data_size},
	};

	return send_reply(srv, iov, 3, size, reply->fd);
}

int up_vu_stream_reply_error(struct up_vfio_server *srv, int error)
{
	const struct vu_header *request = &srv->conn.in.header;
	struct vu_header hdr = {
		.id = request->id,
		.command = request->command,
		.size = sizeof(hdr),
		.flags = VU_TYPE_REPLY | VU_ERROR,
		.error = (uint32_t)error,
	};
	struct iovec iov = {.iov_base = &hdr, .iov_len = sizeof(hdr)};

	return send_reply(srv, &iov, 1, sizeof(hdr), -1);
}

static void pop_output(struct vu_conn *conn)
{
	struct vu_output *out = conn->out_first;

	conn->out_first = out->next;
	if (!out->next)
		conn->out_last = &conn->out_first;
	conn->out_bytes -= sizeof(*out) + out->size;
	free(out);
}

int up_vu_stream_flush(struct up_vfio_server *srv)
{
	struct vu_conn *conn = &srv->conn;

	while (conn->out_first) {
		struct vu_output *out = conn->out_first;
		struct iovec iov = {
			.iov_base = out->bytes + out->sent,
			.iov_len = out->size - out->sent,
		};
		ssize_t n = send_piece(srv, &iov, 1, out->fd);

		if (n <= 0)
			return (int)n;
		out->fd = -1;
		out->sent += (size_t)n;
		if (out->sent == out->size)
			pop_output(conn);
	}
	return watch_output(srv, false);
}

void up_vu_stream_fini(struct up_vfio_server *srv)
{
	struct vu_conn *conn = &srv->conn;

	up_vu_stream_next(srv);
	while (conn->out_first)
		pop_output(conn);
	free(conn->in.payload);
	conn->in.payload = NULL;
	conn->payload_capacity = 0;
	conn->watching_output = false;
}
