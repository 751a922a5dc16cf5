/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One of two hosts; test_ofi_hosts.py runs two of these. It prints its address, reads the other's
 * from standard input, and then does what its argument says:
 *
 *   exchange  writes to the other's memory and reads back, all sizes, and tells it to end
 *   serve     until it is told to end, or until the other is gone
 *   cut       starts operations that the other cannot answer any more, as the script cuts the
 *             cable when it reads "ready", and waits for their ends; a third endpoint, on this
 *             host, is served all the time
 */
#include <underpass/underpass.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MEMORY ((size_t)4 << 20)
#define KEY 7
#define PATIENCE 60 /* seconds */

struct done {
	unsigned calls;
	int status;
};

static struct up_ep *ep;
static up_peer peer;
static struct up_ep *near;
static up_peer to_near;
static uint8_t *memory, *mine;
static bool told;

static void fail(const char *what)
{
	fprintf(stderr, "%s\n", what);
	exit(1);
}

static void done(void *ctx, int status, size_t bytes)
{
	struct done *d = ctx;

	d->calls++;
	d->status = status;
}

static void received(void *ctx, int status, const struct up_tag_info *info)
{
	done(ctx, status, info->bytes);
}

static void tell(struct up_am *am, void *arg)
{
	told = true;
}

static void await(const struct done *d, int status)
{
	time_t start = time(NULL);

	while (!d->calls) {
		up_ep_wait(ep, 100);
		if (time(NULL) - start > PATIENCE)
			fail("an operation does not end");
	}
	if (d->status != status) {
		fprintf(stderr, "ended with %d, not %d\n", d->status, status);
		exit(1);
	}
}

static void meet(void)
{
	uint8_t addr[UP_ADDR_MAX];
	char line[2 * UP_ADDR_MAX + 2];
	size_t len = up_ep_address(ep, addr);

	for (size_t i = 0; i < len; i++)
		printf("%02x", addr[i]);
	putchar('\n');
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		fail("no address");
	for (len = 0; sscanf(line + 2 * len, "%2hhx", &addr[len]) == 1; len++)
		;
	if (up_peer_add(ep, addr, len, &peer))
		fail("cannot add the other host");
}

/* Users of libfabric have 64 bytes for an address, and a byte of it tells its length. */
static void check_address(void)
{
	const struct up_ep_attr attr = {.max_addr = 63};
	struct up_ep *both;

	if (up_ep_open(&attr, &both))
		fail("an address with all lanes is too long");
	up_ep_close(both);
}

static void move(bool read, size_t bytes)
{
	struct up_rma_iov there = {0, bytes, KEY};
	struct iovec here = {mine, bytes};
	struct done d = {0};
	int r;

	do {
		up_progress(ep);
		r = read ? up_rma_read(ep, peer, &here, 1, &there, 1, 0, done, &d)
			 : up_rma_write(ep, peer, &here, 1, &there, 1, 0, UP_DELIVERED, done, &d);
	} while (r == -EAGAIN);
	if (r)
		fail("cannot start an operation");
	await(&d, 0);
}

static void exchange(void)
{
	struct done d = {0};

	check_address();
	for (size_t bytes = 1; bytes <= MEMORY; bytes = bytes * 3 + 1) {
		for (size_t i = 0; i < bytes; i++)
			mine[i] = (uint8_t)(i * 7 + bytes);
		move(false, bytes);
		memset(mine, 0, bytes);
		move(true, bytes);
		for (size_t i = 0; i < bytes; i++)
			if (mine[i] != (uint8_t)(i * 7 + bytes))
				fail("what was read is not what was written");
	}
	if (up_am_request(ep, peer, 1, NULL, 0, NULL, 0, 0, 0, done, &d))
		fail("cannot tell the other host");
	await(&d, 0);
}

/* The last receive never gets a message: it ends when the other host is gone, or this endpoint. */
static void serve(void)
{
	static struct done d;
	struct iovec iov = {mine, MEMORY};

	if (up_tag_recv(ep, peer, 1, 0, &iov, 1, received, &d, NULL))
		fail("cannot post a receive");
	while (!told && !d.calls)
		up_ep_wait(ep, 100);
	if (!told && d.status != -EHOSTDOWN)
		fail("the receive ended in another way");
}

static void open_near(void)
{
	const struct up_ep_attr attr = {.thread = UP_THREAD_SINGLE, .lanes = "ofi"};
	uint8_t addr[UP_ADDR_MAX];

	if (up_ep_open(&attr, &near))
		fail("no endpoint for the third");
	up_am_set_handler(near, 1, tell, NULL);
	if (up_peer_add(ep, addr, up_ep_address(near, addr), &to_near))
		fail("cannot add the third");
}

static void ask_near(void)
{
	time_t start = time(NULL);
	struct done d = {0};

	if (up_am_request(ep, to_near, 1, NULL, 0, NULL, 0, 0, 0, done, &d))
		fail("cannot ask the third");
	while (!d.calls) {
		up_progress(ep);
		up_progress(near);
		if (time(NULL) - start > PATIENCE)
			fail("the third does not answer");
	}
	if (d.status)
		fail("the third is gone, too");
}

/* A write that is under way, over and over, until one ends with the other host's end. */
static void cut(void)
{
	struct up_rma_iov there = {0, MEMORY, KEY};
	struct iovec here = {mine, MEMORY};
	struct done d = {0};

	open_near();
	ask_near();
	move(false, 100);
	puts("ready");
	fflush(stdout);
	while (!d.status) {
		time_t start = time(NULL);
		int r = up_rma_write(ep, peer, &here, 1, &there, 1, 0, UP_DELIVERED, done, &d);

		d.calls = r != 0;
		if (r)
			d.status = r;
		while (!d.calls) {
			up_ep_wait(ep, 100);
			ask_near();
			if (time(NULL) - start > PATIENCE)
				fail("an operation does not end");
		}
	}
	ask_near();
	up_ep_close(near);
	if (d.status != -EHOSTDOWN || d.calls != 1)
		fail("it ended in another way");
	puts("gone");
}

/* Messages until no more find room, as the other host takes none from when it was told; then
 * nothing, until that one is gone. */
static void fill(void)
{
	static const uint8_t data[UP_AM_DATA_MAX];
	time_t start;
	int r = 0;

	move(false, 100);
	puts("ready");
	fflush(stdout);
	if (getchar() == EOF)
		fail("nobody says when");
	for (unsigned refused = 0; refused < 10000; refused = r ? refused + 1 : 0) {
		r = up_am_request(ep, peer, 2, NULL, 0, data, sizeof(data), 0, 0, NULL, NULL);
		if (r && r != -EAGAIN)
			fail("cannot send");
		up_progress(ep);
	}
	puts("full");
	fflush(stdout);
	start = time(NULL);
	while (!up_peer_error(ep, peer)) {
		up_ep_wait(ep, 100);
		if (time(NULL) - start > PATIENCE)
			fail("the other host is not given up");
	}
	puts("gone");
}

int main(int argc, char **argv)
{
	const struct up_ep_attr attr = {.thread = UP_THREAD_SINGLE, .lanes = "ofi"};
	struct up_region *region = NULL;

	if (argc != 2 || up_ep_open(&attr, &ep))
		fail("no endpoint");
	memory = calloc(1, MEMORY);
	mine = calloc(1, MEMORY);
	if (!memory || !mine ||
	    up_region_open(ep, memory, MEMORY, 0, UP_RMA_READ | UP_RMA_WRITE, KEY, &region))
		fail("no region");
	up_am_set_handler(ep, 1, tell, NULL);
	meet();
	if (!strcmp(argv[1], "exchange"))
		exchange();
	else if (!strcmp(argv[1], "cut"))
		cut();
	else if (!strcmp(argv[1], "fill"))
		fill();
	else
		serve();
	up_region_close(region);
	up_ep_close(ep);
	free(memory);
	free(mine);
	return 0;
}
