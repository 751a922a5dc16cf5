/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The run-time directory and its lock. The lock is on the directory itself, so that nothing needs
 * to be cleaned up and a crashed daemon leaves none behind.
 */
#include "daemon/rundir.h"

#include "daemon/daemon.h"
#include "daemon/protocol.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

char *up_rundir_default(void)
{
	const char *base = getenv("XDG_RUNTIME_DIR");
	char *path;

	if (geteuid() == 0)
		return strdup(UP_RUNDIR_SYSTEM);
	if (!base || base[0] != '/') {
		errno = ENOENT;
		return NULL;
	}
	if (asprintf(&path, "%s/" UP_RUNDIR_USER, base) < 0) {
		errno = ENOMEM;
		return NULL;
	}
	return path;
}

static int lock_dir(int fd, const char *path, struct up_error *e)
{
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		return up_fail(e, "in-use",
			       "another underpassd runs on %s: stop it, or name another directory "
			       "with --dir",
			       path);
	return up_fail(e, "failed", "cannot lock %s: %s", path, strerror(errno));
}

/* Whether the control socket can have a path, and its clients can be told of it. */
static int check_name(const char *path, struct up_error *e)
{
	const size_t room = sizeof(((struct sockaddr_un *)0)->sun_path);
	json_t *text = json_string(path);

	json_decref(text);
	if (strlen(path) + sizeof("/" UP_CONTROL_SOCKET) > room)
		return up_fail(e, "failed",
			       "the directory's name is longer than sockets in it allow: %s", path);
	if (!text)
		return up_fail(e, "failed", "the directory's name is not UTF-8: %s", path);
	return 0;
}

/* The sockets say who may open them; a narrow umask must not keep the others out of here. */
static int make_dir(const char *dir)
{
	if (mkdir(dir, 0755) < 0)
		return errno == EEXIST ? 0 : -1;
	return chmod(dir, 0755);
}

int up_rundir_open(const char *dir, char **path, struct up_error *e)
{
	char *real;
	int fd;

	if (make_dir(dir) < 0)
		return up_fail(e, "failed", "cannot make directory %s: %s", dir, strerror(errno));
	real = realpath(dir, NULL);
	fd = real ? open(real, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (fd < 0) {
		up_fail(e, "failed", "cannot use directory %s: %s", dir, strerror(errno));
		free(real);
		return -1;
	}
	if (check_name(real, e) < 0 || lock_dir(fd, real, e) < 0) {
		close(fd);
		free(real);
		return -1;
	}
	*path = real;
	return fd;
}
