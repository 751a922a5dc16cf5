/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Raising an interrupt without ever waiting for the client.
 *
 * The client has the same open file, flags included: if it fills the counter and makes the file
 * blocking, write(2) waits for it, and with the thread every port of that thread. No flag of a call
 * prevents that (pwritev2(2) has RWF_NOWAIT, but not for an eventfd). So the kernel itself does it,
 * as for a device of metal: an asynchronous request (io_submit(2)) that reads nothing from
 * /dev/null ends at once and signals an eventfd, and a counter that is full just stays so. That
 * takes 0.6 us, a write 0.2.
 *
 * A kernel without asynchronous requests leaves only a look for room and then a write to a file
 * that was made non-blocking. A hostile client can then still change both in between.
 */
#include "base/log.h"
#include "vfio/vfio_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
	REQUESTS = 256, /* that have ended and were not taken out yet */
	TAKE_OUT = 64,	/* at a time */
	TRIES = 4,
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static aio_context_t context; /* 0: there are no asynchronous requests here */
static int null_fd = -1;

static void init(void)
{
	null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (null_fd >= 0 && syscall(SYS_io_setup, REQUESTS, &context) == 0)
		return;
	context = 0;
	up_log(LOG_NOTICE, NULL,
	       "no asynchronous requests (%s): a client that tampers with its eventfds can stall "
	       "others",
	       strerror(errno));
}

bool up_vu_raise_init(void)
{
	pthread_once(&once, init);
	return context;
}

static void take_out(void)
{
	struct io_event events[TAKE_OUT];
	struct timespec at_once = {0};

	while (syscall(SYS_io_getevents, context, 0L, (long)TAKE_OUT, events, &at_once) == TAKE_OUT)
		;
}

static bool submit(int eventfd)
{
	struct iocb request = {
		.aio_lio_opcode = IOCB_CMD_PREAD,
		.aio_fildes = (uint32_t)null_fd,
		.aio_flags = IOCB_FLAG_RESFD,
		.aio_resfd = (uint32_t)eventfd,
	};
	struct iocb *list = &request;
	int i;

	for (i = 0; i < TRIES; i++) {
		if (syscall(SYS_io_submit, context, 1L, &list) == 1)
			return true;
		if (errno != EAGAIN)
			return false;
		take_out();
	}
	return false;
}

static void write_with_room(int eventfd)
{
	struct pollfd p = {.fd = eventfd, .events = POLLOUT};
	const uint64_t one = 1;
	ssize_t n;

	if (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT))
		return;
	/* Where this fails the counter is full, which is an interrupt that is pending. */
	n = write(eventfd, &one, sizeof(one));
	(void)n;
}

void up_vfio_raise(int eventfd)
{
	if (!up_vu_raise_init() || !submit(eventfd))
		write_with_room(eventfd);
}

/*
 * The descriptor must be an eventfd, where raising is short and reaches nobody else. Its flags are
 * the client's, and changed only where writing depends on them.
 */
int up_vu_raise_check(int fd)
{
	static const char kind[] = "anon_inode:[eventfd]";
	char path[32], target[sizeof(kind)];
	ssize_t n;
	int flags;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, target, sizeof(target));
	if (n != (ssize_t)sizeof(kind) - 1 || memcmp(target, kind, sizeof(kind) - 1) != 0)
		return -EINVAL;
	if (up_vu_raise_init())
		return 0;
	flags = fcntl(fd, F_GETFL);
	return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}
