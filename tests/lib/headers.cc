// SPDX-License-Identifier: BSD-2-Clause
// The public headers in C++: they compile, each function has C linkage, and the values are usable.
#include <underpass/underpass.h>

int main()
{
	up_ep_attr attr = {};
	up_ep *ep = nullptr;
	unsigned char addr[UP_ADDR_MAX];

	attr.thread = UP_THREAD_SINGLE;
	if (up_ep_open(&attr, &ep))
		return 77; // this machine has no lane
	size_t len = up_ep_address(ep, addr);
	up_peer self;
	int r = up_peer_add(ep, addr, len, &self);
	up_ep_close(ep);
	return r ? 1 : 0;
}
