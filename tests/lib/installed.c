/* SPDX-License-Identifier: BSD-2-Clause */
/* A program of a user's, for test_installed.py: a message and a write from an endpoint to itself.
 */
#include <underpass/underpass.h>

#include <stdio.h>
#include <string.h>

static void ended(void *ctx, int status, size_t bytes)
{
	*(int *)ctx = status ? status : 1;
}

static void received(void *ctx, int status, const struct up_tag_info *info)
{
	*(int *)ctx = status ? status : 1;
}

static int await(struct up_ep *ep, const int *done)
{
	while (!*done)
		up_ep_wait(ep, 100);
	return *done == 1 ? 0 : *done;
}

int main(void)
{
	char from[8] = "message", to[8] = "", there[8] = "";
	struct iovec out = {from, sizeof(from)}, in = {to, sizeof(to)};
	struct up_rma_iov remote = {0, sizeof(there), 7};
	int got = 0, wrote = 0, ret;
	uint8_t addr[UP_ADDR_MAX];
	struct up_region *region;
	struct up_ep *ep;
	up_peer self;

	ret = up_ep_open(NULL, &ep);
	if (!ret)
		ret = up_peer_add(ep, addr, up_ep_address(ep, addr), &self);
	if (!ret)
		ret = up_region_open(ep, there, sizeof(there), 0, UP_RMA_WRITE, 7, &region);
	if (!ret)
		ret = up_tag_recv(ep, self, 1, 0, &in, 1, received, &got, NULL);
	if (!ret)
		ret = up_tag_send(ep, self, 1, &out, 1, 0, UP_INJECT, NULL, NULL);
	if (!ret)
		ret = await(ep, &got);
	if (!ret)
		ret = up_rma_write(ep, self, &out, 1, &remote, 1, 0, UP_DELIVERED, ended, &wrote);
	if (!ret)
		ret = await(ep, &wrote);
	if (ret) {
		fprintf(stderr, "%s\n", strerror(-ret));
		return 1;
	}
	printf("%s %s\n", to, there);
	up_region_close(region);
	up_ep_close(ep);
	return 0;
}
