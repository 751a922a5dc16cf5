/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A lane between endpoints of one process, for tests: every packet is a block of its own, so that
 * the sanitizers know where it ends, and what a real lane does seldom can be asked for.
 */
#ifndef UP_TESTS_FAKE_LANE_H
#define UP_TESTS_FAKE_LANE_H

#include "core/core.h"

#define FAKE_MAX_PACKET 8192u
#define FAKE_ANSWER_ROOM 16384u

extern const struct up_lane_ops fake_lane;

/* What all fake lanes do from here on. */
struct fake_settings {
	unsigned ring;	    /* requests that a direction takes; 0: 64 */
	size_t answer_room; /* of lanes that are opened; 0: FAKE_ANSWER_ROOM */
	bool direct;	    /* get() and put() */
	/* What they may reach, unless NULL; else -EFAULT. */
	const void *memory;
	size_t memory_bytes;
	bool blind;	      /* connect() leads nowhere */
	unsigned fail_direct; /* the next so many of them fail with -EFAULT */
};
extern struct fake_settings fake;

/* To the first endpoint's rings, as if the second one had sent it. They are connected. */
void fake_inject(struct up_ep *to, struct up_ep *from, const void *packet, size_t bytes);
/* Both ends find the connection broken. */
void fake_break(struct up_ep *a, struct up_ep *b);
/* Copies the last packet on its way to an endpoint, as much as fits; its length, or 0. */
size_t fake_peek(struct up_ep *to, void *packet, size_t room);
/* Throws away what is on its way to an endpoint. */
void fake_drain(struct up_ep *to);
/* Connections of an endpoint. */
unsigned fake_links(struct up_ep *ep);

#endif
