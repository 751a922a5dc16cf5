/* SPDX-License-Identifier: BSD-2-Clause */
/* The core of the shm lane's tests (shm_core.h). */
#include "shm_core.h"

#include <poll.h>
#include <string.h>
#include <time.h>

static struct end *end_of(struct up_ep *ep)
{
	return UP_CONTAINER_OF(ep, struct end, ep);
}

bool up_core_packet(struct up_link *link, const void *packet, size_t bytes)
{
	struct end *e = end_of(link->lane->ep);

	if (e->packet && !e->packet(e, link, packet, bytes))
		return false;
	e->npackets++;
	return true;
}

int up_core_linked(struct up_ep *ep, struct up_link *link, const void *addr, size_t len)
{
	struct end *e = end_of(ep);

	if (e->refuse)
		return e->refuse;
	e->linked = link;
	e->nlinked++;
	assert_true(len <= sizeof(e->linked_addr));
	memcpy(e->linked_addr, addr, len);
	e->linked_bytes = len;
	return 0;
}

void up_core_link_down(struct up_link *link, int error)
{
	struct end *e = end_of(link->lane->ep);

	e->ndown++;
	e->down = error;
	e->down_link = link;
	if (e->drop)
		e->lane->ops->disconnect(link);
}

size_t up_ep_address(struct up_ep *ep, void *addr)
{
	/* As the real one, more than the lane's part. */
	memset(addr, 0x55, 20);
	return 20 + end_of(ep)->lane->ops->address(end_of(ep)->lane, (char *)addr + 20,
						   UP_ADDR_MAX - 20);
}

void end_open(struct end *e, uint32_t max_peers)
{
	*e = (struct end){.ep.attr.max_peers = max_peers};
	assert_int_equal(up_lane_shm.open(&e->ep, &e->lane), 0);
}

void end_close(struct end *e)
{
	e->lane->ops->close(e->lane);
}

struct shm_addr end_addr(const struct end *e)
{
	struct shm_addr a = {0};

	assert_int_equal(e->lane->ops->address(e->lane, &a, sizeof(a)), SHM_ADDR_BYTES);
	return a;
}

struct up_link *end_connect(struct end *from, const struct end *to)
{
	struct shm_addr a = end_addr(to);
	struct up_link *link = NULL;

	assert_int_equal(from->lane->ops->connect(from->lane, &a, sizeof(a), &link), 0);
	assert_non_null(link);
	return link;
}

unsigned end_poll(struct end *e)
{
	return e->lane->ops->poll(e->lane);
}

bool end_slots_free(const struct end *e)
{
	const struct shm_lane *lane = (const struct shm_lane *)e->lane;

	for (unsigned i = 0; i < e->ep.attr.max_peers; i++)
		if (lane->claims[i])
			return false;
	return true;
}

void end_run(struct end *a, struct end *b)
{
	while (end_poll(a) + end_poll(b))
		;
}

static uint8_t byte_of(uint32_t number, size_t i)
{
	return (uint8_t)(number * 7 + i * 13 + (i >> 8));
}

bool end_send(struct up_link *link, enum up_lane_class class, uint32_t number, size_t bytes)
{
	uint8_t *p = link->lane->ops->reserve(link, bytes, class);

	if (!p)
		return false;
	assert_true(bytes >= sizeof(number));
	assert_int_equal((uintptr_t)p % 8, 0);
	memcpy(p, &number, sizeof(number));
	for (size_t i = sizeof(number); i < bytes; i++)
		p[i] = byte_of(number, i);
	link->lane->ops->commit(link, p, bytes);
	return true;
}

uint32_t end_check(const void *packet, size_t bytes)
{
	const uint8_t *p = packet;
	uint32_t number;

	assert_true(bytes >= sizeof(number));
	memcpy(&number, p, sizeof(number));
	for (size_t i = sizeof(number); i < bytes; i++) {
		if (p[i] != byte_of(number, i))
			fail_msg("packet %u of %zu bytes: wrong byte %zu", number, bytes, i);
	}
	return number;
}

void end_sleep(struct end *e)
{
	struct pollfd pfd = {.fd = e->lane->ops->fd(e->lane), .events = POLLIN};

	if (e->lane->ops->arm(e->lane))
		poll(&pfd, 1, -1);
}

uint64_t end_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}
