/* SPDX-License-Identifier: BSD-2-Clause */
/* A bare TCP connection to an endpoint (ofi_door.h). */
#include "ofi_door.h"
#include "rig.h"

#include <netinet/in.h>
#include <sys/socket.h>

const struct ofi_addr *ofi_door(const uint8_t *addr, size_t len, size_t *bytes)
{
	size_t at;

	/* The parts of an address: the lane's number and a length, the lane's own. */
	for (at = 6; at < len && addr[at] >> 6 != 1; at += 1u + (addr[at] & 63))
		;
	assert_true(at < len);
	*bytes = addr[at] & 63;
	return (const struct ofi_addr *)(addr + at + 1);
}

int ofi_knock(struct up_ep *ep)
{
	uint8_t addr[UP_ADDR_MAX];
	size_t len = up_ep_address(ep, addr), bytes;
	const struct ofi_addr *door = ofi_door(addr, len, &bytes);
	struct sockaddr_in to = {.sin_family = AF_INET};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_true(fd >= 0);
	assert_int_equal(door->shape & 3, OFI_SHAPE_IPV4);
	to.sin_port = htons((uint16_t)(door->port[0] | door->port[1] << 8));
	memcpy(&to.sin_addr, door->ip, 4);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}
