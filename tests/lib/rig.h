/* SPDX-License-Identifier: BSD-2-Clause */
/* What the library's tests share: two endpoints of one process, and moving them by hand. */
#ifndef UP_TESTS_LIB_RIG_H
#define UP_TESTS_LIB_RIG_H

#include "fake_lane.h"
#include "../unit/unit.h"

#include <underpass/underpass.h>

#include <string.h>

/* How a completion came: once, with what. */
struct rig_done {
	unsigned calls;
	int status;
	size_t bytes;
};

/* An up_done; its ctx is a struct rig_done. */
void rig_done(void *ctx, int status, size_t bytes);

/* What came from whom, last. */
struct rig_seen {
	unsigned calls;
	up_peer from;
};

/* A handler of active messages; its argument is a struct rig_seen. */
void rig_note(struct up_am *am, void *arg);

/* The name of the lane that rig_open() uses: "fake", or what RIG_LANE in the environment says. */
const char *rig_lane(void);
/* The one between processes: "shm", or what RIG_LANE says. */
const char *rig_process_lane(void);
struct up_ep *rig_open(const struct up_ep_attr *attr);
/* `from`'s handle of `to`. */
up_peer rig_peer(struct up_ep *from, struct up_ep *to);

/* Two endpoints that know each other. */
struct rig {
	struct up_ep *a, *b;
	up_peer to_b; /* a's */
	up_peer to_a; /* b's */
};

/* UP_THREAD_SINGLE and manual progress unless `attr` says otherwise. */
void rig_setup(struct rig *rig, const struct up_ep_attr *attr);
void rig_teardown(struct rig *rig);
/* A forked child closes it, and ends. */
void rig_close_in_child(struct up_ep *ep);
/* Makes progress at both until nothing happens any more: how much did. */
unsigned rig_run(struct rig *rig);
/* The same, until `*value` is `wanted`. */
void rig_until(struct rig *rig, const volatile unsigned *value, unsigned wanted);

uint64_t rig_now_us(void);

/* How long anything is waited for: a guard against hanging, no bound that is tested. */
#define RIG_PATIENCE_MS 60000
/*
 * In a loop that awaits something: fails when this, begun at `start`, takes too long. A process
 * that does not run meanwhile, on a machine that is stopped, ages by a second.
 */
void rig_patience(uint64_t start);

#endif
