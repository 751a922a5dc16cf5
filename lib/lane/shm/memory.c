/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A peer's memory, copied to and from by process_vm_readv(2) and process_vm_writev(2), where the
 * kernel allows it.
 */
#include "lane/shm/shm.h"
#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <underpass/tag.h>

/* For how long a process that was alive keeps its number, whatever happens to it: nanoseconds in
 * which no system goes through all process numbers. */
#define PID_HOLDS 2000000u

bool up_shm_peer_alive(struct shm_link *l)
{
	struct pollfd pfd[2] = {{.fd = l->peer.pidfd, .events = POLLIN}, {.fd = l->peer.pipe}};
	uint64_t now = up_clock_coarse_ns();

	if (l->gone)
		return false;
	if (now - l->alive_at < PID_HOLDS)
		return true;
	if (poll(pfd, 2, 0) != 0)
		return false;
	l->alive_at = now;
	return true;
}

static int copy_error(struct shm_link *l, int error)
{
	switch (error) {
	case ESRCH:
		return -EHOSTDOWN;
	case EPERM:
	case ENOSYS:
		l->no_direct = true;
		return -EOPNOTSUPP;
	default:
		return -error;
	}
}

/* Passes `done` bytes of the list. */
static void skip(struct iovec **iov, size_t *n, size_t done)
{
	while (*n && done >= (*iov)->iov_len) {
		done -= (*iov)->iov_len;
		(*iov)++;
		(*n)--;
	}
	if (*n) {
		(*iov)->iov_base = (char *)(*iov)->iov_base + done;
		(*iov)->iov_len -= done;
	}
}

typedef ssize_t copy_fn(pid_t pid, const struct iovec *local, unsigned long nlocal,
			const struct iovec *remote, unsigned long nremote, unsigned long flags);

/* In as many calls as it takes: one moves at most 2 GiB. */
static int copy(struct shm_link *l, const struct iovec *local, size_t n, uint64_t at, size_t len,
		copy_fn *fn)
{
	struct iovec pieces[UP_IOV_MAX], *iov = pieces;

	if (l->no_direct || n > UP_IOV_MAX)
		return -EOPNOTSUPP;
	if (!up_shm_peer_alive(l))
		return -EHOSTDOWN;
	memcpy(pieces, local, n * sizeof(*local));
	while (len && n) {
		struct iovec remote = {(void *)(uintptr_t)at, len};
		ssize_t done = fn(l->peer.addr.pid, iov, n, &remote, 1, 0);

		if (done < 0)
			return copy_error(l, errno);
		/* Only a part of it is there. */
		if (done == 0)
			return -EFAULT;
		at += (size_t)done;
		len -= (size_t)done;
		skip(&iov, &n, (size_t)done);
	}
	return 0;
}

int up_shm_get(struct up_link *base, const struct iovec *local, size_t n, uint64_t remote,
	       size_t len)
{
	return copy((struct shm_link *)base, local, n, remote, len, process_vm_readv);
}

int up_shm_put(struct up_link *base, const struct iovec *local, size_t n, uint64_t remote,
	       size_t len)
{
	return copy((struct shm_link *)base, local, n, remote, len, process_vm_writev);
}
