/* SPDX-License-Identifier: BSD-2-Clause */
/* libunderpass by its own interface. --with: lanes. */
#include "side.h"

#include <underpass/underpass.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_PEERS = 512 };

struct end {
	struct up_ep *ep;
	up_peer peers[MAX_PEERS];
	unsigned npeers;
	struct up_region *region[KINDS];
	struct up_rma_iov remote[KINDS];
	struct iovec local;
	unsigned open; /* operations that were started and are not done */
};

static void must(int err, const char *what)
{
	if (err)
		die("%s: %s", what, strerror(-err));
}

static struct end *open_end(bool automatic)
{
	const struct up_ep_attr attr = {
		.thread = UP_THREAD_SINGLE,
		.progress = automatic ? UP_PROGRESS_AUTO : UP_PROGRESS_MANUAL,
		.lanes = side.with,
	};
	struct end *e = calloc(1, sizeof(*e));

	if (!e)
		die("out of memory");
	must(up_ep_open(&attr, &e->ep), "up_ep_open");
	return e;
}

static void close_end(struct end *e)
{
	for (unsigned i = 0; i < KINDS; i++)
		if (e->region[i])
			up_region_close(e->region[i]);
	up_ep_close(e->ep);
	free(e);
}

static size_t address(struct end *e, void *blob)
{
	return up_ep_address(e->ep, blob);
}

static void connect_end(struct end *e, const void *blob, size_t len)
{
	if (e->npeers == MAX_PEERS)
		die("too many peers");
	must(up_peer_add(e->ep, blob, len, &e->peers[e->npeers++]), "up_peer_add");
}

static void progress(struct end *e)
{
	up_progress(e->ep);
}

static void finish(struct end *e, unsigned left)
{
	while (e->open > left)
		up_progress(e->ep);
}

/* After an operation was refused: whether to try again. */
static bool again(struct end *e, int err, const char *what)
{
	if (err != -EAGAIN)
		must(err, what);
	else
		up_progress(e->ep);
	return err == -EAGAIN;
}

static void ended(void *ctx, int status, size_t bytes)
{
	struct end *e = ctx;

	must(status, "an operation");
	e->open--;
}

static void received(void *ctx, int status, const struct up_tag_info *info)
{
	ended(ctx, status, info->bytes);
}

static void send_to(struct end *e, unsigned peer, const void *buf, size_t len, unsigned n)
{
	const struct iovec iov = {.iov_base = (void *)buf, .iov_len = len};
	unsigned flags = len <= UP_INJECT_MAX ? UP_INJECT : 0;

	for (unsigned i = 0; i < n; i++) {
		if (!flags)
			e->open++;
		while (again(e,
			     up_tag_send(e->ep, e->peers[peer], TAG, &iov, 1, 0, flags,
					 flags ? NULL : ended, e),
			     "up_tag_send"))
			;
	}
	finish(e, 0);
}

static void recv_from(struct end *e, void *buf, size_t len, unsigned n)
{
	const struct iovec iov = {.iov_base = buf, .iov_len = len};

	for (unsigned i = 0; i < n; i++) {
		e->open++;
		while (again(e, up_tag_recv(e->ep, UP_PEER_ANY, TAG, 0, &iov, 1, received, e, NULL),
			     "up_tag_recv"))
			;
	}
	finish(e, 0);
}

static void *allocate(struct end *e, size_t bytes)
{
	return up_mem_alloc(e->ep, bytes);
}

static size_t expose(struct end *e, enum kind kind, void *mem, void *blob)
{
	struct up_rma_iov *r = blob;

	must(up_region_open(e->ep, mem, MEMORY, (uintptr_t)mem,
			    UP_RMA_READ | UP_RMA_WRITE | UP_RMA_ATOMIC, 0, &e->region[kind]),
	     "up_region_open");
	*r = (struct up_rma_iov){.addr = (uintptr_t)mem, .key = up_region_key(e->region[kind])};
	return sizeof(*r);
}

static void import(struct end *e, enum kind kind, const void *blob, size_t len)
{
	memcpy(&e->remote[kind], blob, sizeof(e->remote[kind]));
}

static void local(struct end *e, void *buf)
{
	e->local.iov_base = buf;
}

static void write_one(struct end *e, enum kind kind, unsigned flags)
{
	bool inject = flags & UP_INJECT;

	e->open += !inject;
	while (again(e,
		     up_rma_write(e->ep, e->peers[0], &e->local, 1, &e->remote[kind], 1, 0, flags,
				  inject ? NULL : ended, e),
		     "up_rma_write"))
		;
}

static void set_size(struct end *e, enum kind kind, size_t len)
{
	e->local.iov_len = len;
	e->remote[kind].len = len;
}

static void write_to(struct end *e, enum kind kind, size_t len, unsigned n)
{
	unsigned window = len < LARGE ? WINDOW : WINDOW_LARGE;

	set_size(e, kind, len);
	for (unsigned i = 1; i < n; i++) {
		write_one(e, kind, 0);
		finish(e, window - 1);
	}
	/* Writes are placed in order: after this one all are. */
	write_one(e, kind, UP_DELIVERED);
	finish(e, 0);
}

static void put(struct end *e, enum kind kind, size_t len)
{
	set_size(e, kind, len);
	write_one(e, kind, UP_INJECT);
}

static void read_from(struct end *e, enum kind kind, size_t len, unsigned n)
{
	unsigned window = len < LARGE ? WINDOW : WINDOW_LARGE;

	set_size(e, kind, len);
	for (unsigned i = 0; i < n; i++) {
		e->open++;
		while (again(e,
			     up_rma_read(e->ep, e->peers[0], &e->local, 1, &e->remote[kind], 1, 0,
					 ended, e),
			     "up_rma_read"))
			;
		finish(e, window - 1);
	}
	finish(e, 0);
}

static void fetch_add(struct end *e, enum kind kind, size_t len, unsigned n)
{
	uint64_t one = 1, old;

	for (unsigned i = 0; i < n; i++) {
		e->open++;
		while (again(e,
			     up_rma_atomic(e->ep, e->peers[0], UP_ATOMIC_SUM, UP_UINT64, 1, &one,
					   NULL, &old, e->remote[kind].addr, e->remote[kind].key, 0,
					   ended, e),
			     "up_rma_atomic"))
			;
		finish(e, 0);
	}
}

const struct api api = {
	.name = "underpass",
	.open = open_end,
	.close = close_end,
	.address = address,
	.connect = connect_end,
	.send = send_to,
	.recv = recv_from,
	.progress = progress,
	.allocate = allocate,
	.expose = expose,
	.import = import,
	.local = local,
	.write = write_to,
	.read = read_from,
	.fetch_add = fetch_add,
	.put = put,
};
