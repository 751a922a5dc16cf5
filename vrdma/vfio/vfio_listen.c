/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The listening socket's file: made with the wanted mode, put in the place of a stale one, and
 * removed at the end if it is still ours.
 */
#include "base/log.h"
#include "vfio/vfio_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 8 };

static int fill_address(const char *path, struct sockaddr_un *addr)
{
	size_t len = strlen(path);

	if (!len || len >= sizeof(addr->sun_path))
		return -ENAMETOOLONG;
	*addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	memcpy(addr->sun_path, path, len + 1);
	return 0;
}

/* Remove a socket file on which nobody listens. */
static int remove_stale(const struct sockaddr_un *addr)
{
	struct stat st;
	int fd, err = 0;

	if (lstat(addr->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0)
		err = errno;
	close(fd);
	/* EAGAIN: somebody listens, with a full queue. */
	if (err == 0 || err == EAGAIN)
		return -EADDRINUSE;
	if (err != ECONNREFUSED)
		return -err;
	return unlink(addr->sun_path) < 0 && errno != ENOENT ? -errno : 0;
}

/*
 * The socket's own mode, less the umask, becomes that of the file that bind() makes, so the file is
 * at no time open to more users than wanted; chmod() then adds what the umask took.
 */
static int bind_file(int fd, const struct sockaddr_un *addr, mode_t mode)
{
	int ret;

	if (fchmod(fd, mode) < 0)
		return -errno;
	if (bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0) {
		if (errno != EADDRINUSE)
			return -errno;
		ret = remove_stale(addr);
		if (ret < 0)
			return ret;
		if (bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0)
			return -errno;
	}
	if (chmod(addr->sun_path, mode) < 0) {
		ret = -errno;
		unlink(addr->sun_path);
		return ret;
	}
	return 0;
}

/* From here on the file is ours, and up_vu_listen_close() removes it. */
static int adopt_file(struct up_vfio_server *srv, const char *path)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return -errno;
	srv->path = strdup(path);
	if (!srv->path) {
		unlink(path);
		return -ENOMEM;
	}
	srv->socket_dev = st.st_dev;
	srv->socket_ino = st.st_ino;
	return 0;
}

int up_vu_listen_open(struct up_vfio_server *srv, const char *path, mode_t mode)
{
	struct epoll_event ev = {.events = EPOLLIN};
	struct sockaddr_un addr;
	int ret;

	ret = fill_address(path, &addr);
	if (ret < 0)
		goto out;
	srv->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (srv->listen_fd < 0) {
		ret = -errno;
		goto out;
	}
	ev.data.fd = srv->listen_fd;
	ret = bind_file(srv->listen_fd, &addr, mode);
	if (ret == 0)
		ret = adopt_file(srv, path);
	if (ret == 0 && (listen(srv->listen_fd, BACKLOG) < 0 ||
			 epoll_ctl(srv->epoll_fd, EPOLL_CTL_ADD, srv->listen_fd, &ev) < 0))
		ret = -errno;
out:
	if (ret < 0)
		up_log(LOG_ERR, srv->name, "vfio-user: cannot listen at %s: %s", path,
		       strerror(-ret));
	return ret;
}

void up_vu_listen_close(struct up_vfio_server *srv)
{
	struct stat st;

	if (srv->path && lstat(srv->path, &st) == 0 && st.st_dev == srv->socket_dev &&
	    st.st_ino == srv->socket_ino)
		unlink(srv->path);
	free(srv->path);
	srv->path = NULL;
	if (srv->listen_fd >= 0)
		close(srv->listen_fd);
	srv->listen_fd = -1;
}
