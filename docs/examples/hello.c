/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two processes: one writes into the other's memory, and then sends a message that says so.
 *
 *     cc hello.c $(pkg-config --cflags --libs underpass) -o hello && ./hello
 */
#include <underpass/underpass.h>

#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KEY = 7, TAG = 1, RUNNING = 1 };

/* Functions return 0 or a negative errno, and so do operations at their end. */
static void check(int ret, const char *what)
{
	if (ret)
		errx(1, "%s: %s", what, strerror(-ret));
}

/* Completions. They run inside of up_progress(), and of whatever starts an operation. */
static void done(void *ctx, int status, size_t bytes)
{
	*(int *)ctx = status;
}

static void received(void *ctx, int status, const struct up_tag_info *info)
{
	*(int *)ctx = status;
}

static void await(struct up_ep *ep, const int *status, const char *what)
{
	while (*status == RUNNING)
		up_ep_wait(ep, -1);
	check(*status, what);
}

/* No room at the peer: nothing was started, and progress makes room. */
static bool tries_again(struct up_ep *ep, int ret)
{
	if (ret == -EAGAIN)
		up_progress(ep);
	return ret == -EAGAIN;
}

/* Says on `to` where it is, and waits for the message. */
static void target(int to)
{
	char memory[32] = "", message[32] = "";
	struct iovec in = {message, sizeof(message)};
	struct up_region *region;
	uint8_t addr[UP_ADDR_MAX];
	int status = RUNNING;
	struct up_ep *ep;
	size_t len;

	check(up_ep_open(NULL, &ep), "up_ep_open");
	check(up_region_open(ep, memory, sizeof(memory), 0, UP_RMA_WRITE, KEY, &region),
	      "up_region_open");
	check(up_tag_recv(ep, UP_PEER_ANY, TAG, 0, &in, 1, received, &status, NULL), "up_tag_recv");
	len = up_ep_address(ep, addr);
	if (write(to, addr, len) != (ssize_t)len)
		err(1, "write");
	await(ep, &status, "receive");
	printf("message: %s, memory: %s\n", message, memory);
	up_region_close(region);
	up_ep_close(ep);
}

static void initiator(int from)
{
	char text[] = "hello", note[] = "written";
	struct iovec data = {text, sizeof(text)}, message = {note, sizeof(note)};
	struct up_rma_iov remote = {.addr = 0, .len = sizeof(text), .key = KEY};
	uint8_t addr[UP_ADDR_MAX];
	ssize_t len = read(from, addr, sizeof(addr));
	int status = RUNNING, ret;
	struct up_ep *ep;
	up_peer peer;

	if (len <= 0)
		errx(1, "no address came");
	check(up_ep_open(NULL, &ep), "up_ep_open");
	check(up_peer_add(ep, addr, (size_t)len, &peer), "up_peer_add");
	do {
		ret = up_rma_write(ep, peer, &data, 1, &remote, 1, 0, UP_DELIVERED, done, &status);
	} while (tries_again(ep, ret));
	check(ret, "up_rma_write");
	await(ep, &status, "write");
	status = RUNNING;
	do {
		ret = up_tag_send(ep, peer, TAG, &message, 1, 0, UP_DELIVERED, done, &status);
	} while (tries_again(ep, ret));
	check(ret, "up_tag_send");
	await(ep, &status, "send");
	up_ep_close(ep);
}

int main(void)
{
	int fds[2], status;
	pid_t child;

	if (pipe(fds))
		err(1, "pipe");
	/* Before there is an endpoint: a child has no use of its parent's. */
	child = fork();
	if (child < 0)
		err(1, "fork");
	if (child == 0) {
		close(fds[1]);
		initiator(fds[0]);
		return 0;
	}
	close(fds[0]);
	target(fds[1]);
	return waitpid(child, &status, 0) == child && status == 0 ? 0 : 1;
}
