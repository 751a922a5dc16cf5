/* SPDX-License-Identifier: BSD-2-Clause */
/* The stage from inside: what stage.c (the memory, and which way is taken) and staged.c (the parts
 * of operations that go through it, or that the target copies by itself) share. */
#ifndef UP_RMA_STAGE_H
#define UP_RMA_STAGE_H

#include "rma/rma.h"

#include <stdalign.h>

/* One stretch that is copied in, told of, and copied out. Much smaller ones are slower: the first
 * store after so many must wait until all of them are at the other core. */
#define UP_STAGE_CHUNK ((size_t)32 << 10)
#define UP_STAGE_CHUNKS 4u

/* What the target is asked to copy by itself at once; its end is a multiple of PAGE, so that the
 * two do not look up the same page. */
#define UP_HALF_MOST ((size_t)512 << 10)
#define UP_HALF_PAGE ((size_t)4 << 10)

/* How long a peer that does not look is left alone at first: nanoseconds. */
#define UP_STAGE_PATIENCE UINT64_C(1000000)

/* What lies there. `placed`: the number of the operation whose bytes the target copied last, to or
 * from the chunk, or by itself. */
struct up_stage_memory {
	uint8_t chunks[UP_STAGE_CHUNKS][UP_STAGE_CHUNK];
	struct {
		alignas(64) uint32_t op;
	} placed[UP_STAGE_CHUNKS];
	/* How often the target had been told when it last mapped it. An initiator that does all by
	 * itself polls for no answers, and would not hear of it. */
	alignas(64) uint32_t mapped;
};

enum up_stage_state {
	UP_STAGE_UNTOLD,  /* the peer cannot use it, or not any more */
	UP_STAGE_TELLING, /* it is being told how */
	UP_STAGE_READY,
	UP_STAGE_NEVER, /* it cannot be: the other ways are taken */
};

struct up_rma_stage {
	struct up_peer_state *peer;

	/* For operations of this end: its own memory. */
	struct up_list parts; /* struct up_rma_part.redo, in the order of sending */
	enum up_stage_state state;
	struct up_stage_memory *memory;
	struct up_lane_mem shared;
	uint32_t told;	    /* so many times */
	unsigned used;	    /* chunks, bits */
	uint64_t looked_at; /* since when no answer has come; 0: not known yet */
	uint64_t late;	    /* then the target is not waited for any more, nanoseconds */
	bool stuck;	    /* but there is no other way */
	unsigned polls;
	struct up_choice choices[2][2]; /* write or read, size */
	uint64_t ended[2];		/* the last operation, of each direction */

	/* Does the peer look? */
	bool asked; /* by an empty packet */
	uint64_t asked_at;
	uint64_t seen_at;  /* when it was last found to look; 0: not */
	uint64_t again;	   /* until then it is left alone */
	uint64_t patience; /* for how long, the next time */

	/* For the peer's operations: the peer's memory. */
	bool mapped;
	struct up_lane_window theirs;
};

static inline struct up_choice *up_stage_choice(struct up_rma_stage *s, unsigned access,
						size_t bytes)
{
	return &s->choices[access == UP_RMA_READ][bytes >= (size_t)256 << 10];
}

/* NULL: no memory. */
struct up_rma_stage *up_rma_stage(struct up_peer_state *peer);
/* The peer does not look: takes the memory back from it. What it has not copied by then, it never
 * will. */
void up_stage_take_back(struct up_rma_stage *s, uint64_t now);

#endif
