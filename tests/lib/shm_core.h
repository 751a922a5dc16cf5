/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * As much of a core as the shm lane's tests need: an endpoint is its lane, and what the lane tells
 * is counted, or given to the test's own function.
 */
#ifndef UP_TESTS_SHM_CORE_H
#define UP_TESTS_SHM_CORE_H

#include "core/core.h"
#include "lane/shm/shm.h"
#include "../unit/unit.h"

struct end;

typedef bool end_packet(struct end *e, struct up_link *link, const void *packet, size_t bytes);

/* An endpoint. */
struct end {
	struct up_ep ep;
	struct up_lane *lane;
	end_packet *packet;
	void *arg;
	struct up_link *linked; /* the last that was announced */
	int refuse;		/* up_core_linked() answers this */
	bool drop;		/* disconnect what is down */
	unsigned nlinked, ndown, npackets;
	int down; /* the last error */
	struct up_link *down_link;
	uint8_t linked_addr[UP_ADDR_MAX];
	size_t linked_bytes;
};

void end_open(struct end *e, uint32_t max_peers);
void end_close(struct end *e);
struct up_link *end_connect(struct end *from, const struct end *to);
struct shm_addr end_addr(const struct end *e);
unsigned end_poll(struct end *e);
/* Nobody has a ring to it, as far as it knows. */
bool end_slots_free(const struct end *e);
/* Polls both until nothing happens at either. */
void end_run(struct end *a, struct end *b);
/* A packet whose bytes follow from its number. False: no room. */
bool end_send(struct up_link *link, enum up_lane_class class, uint32_t number, size_t bytes);
/* Fails unless the packet is what end_send() made; its number. */
uint32_t end_check(const void *packet, size_t bytes);
/* arm(), and poll(2) when that says so. */
void end_sleep(struct end *e);
/* Milliseconds on a clock. */
uint64_t end_now(void);

#endif
