/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/listener.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

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

/* From here on the file is ours, and up_listener_close() removes it. */
static int adopt_file(struct up_listener *l, const char *path)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return -errno;
	l->path = strdup(path);
	if (!l->path) {
		unlink(path);
		return -ENOMEM;
	}
	l->dev = st.st_dev;
	l->ino = st.st_ino;
	return 0;
}

int up_listener_open(struct up_listener *l, const char *path, mode_t mode, int backlog)
{
	struct sockaddr_un addr;
	int ret;

	*l = UP_LISTENER_NONE;
	ret = fill_address(path, &addr);
	if (ret < 0)
		return ret;
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd < 0)
		return -errno;
	ret = bind_file(l->fd, &addr, mode);
	if (ret == 0)
		ret = adopt_file(l, path);
	if (ret == 0 && listen(l->fd, backlog) < 0)
		ret = -errno;
	if (ret < 0)
		up_listener_close(l);
	return ret;
}

void up_listener_close(struct up_listener *l)
{
	struct stat st;

	if (l->path && lstat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
		unlink(l->path);
	free(l->path);
	if (l->fd >= 0)
		close(l->fd);
	*l = UP_LISTENER_NONE;
}
