/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The stage: memory of the initiator's that the target maps. Instead of copying between the two
 * processes' memory by itself, with a system call, the initiator copies a chunk of a write into the
 * stage and tells the target, which copies it out and answers, while the initiator copies the next
 * one; of a read the other way round. Both cores copy at the same time, and no pages are looked up:
 * on a machine where process_vm_writev() moves 11 to 13 GB/s, 20 to 45. A memcpy() of such a length
 * is a string instruction, which does not read the lines that it overwrites from the other core.
 *
 * On others the stores to lines that the other core has just read are slow: of two Zen 4 cores, 64
 * bytes in 8 ns, with the cores apart in 30 to 40 ns. There the third way is the best one: both
 * ends copy with the system call, each its half, and no line is written by both.
 *
 * Both need a target that looks. Which way is taken is decided for each peer, direction, and size
 * by times (bulk/choice.c); before the stage is tried, an empty packet that the target takes soon
 * shows that it looks. A target that stops looking is left alone: the memory is taken back from it,
 * and what it has not copied goes the direct way (staged.c).
 *
 * The memory of one stage is there from the first long transfer to a peer; UP_STAGES peers have
 * one.
 */
#include "rma/stage.h"

#include "base/clock.h"

#include <endian.h>
#include <string.h>

/* Of an endpoint: more peers go without. */
#define UP_STAGES 32u
/* When a target does not answer in time. */
#define LATE (200 * UP_USEC)
/* Within what time a target that looks has taken a packet, and for how long that is true. */
#define LOOKS (500 * UP_USEC)
#define LOOKED (1 * UP_MSEC)
/* How long one that does not look is left alone, at most. */
#define MOST_PATIENCE (256 * UP_MSEC)

static bool usable(const struct up_peer_state *peer)
{
	const struct up_lane_ops *ops = peer->link->lane->ops;

	return ops->mem_map && ops->mem_share && ops->mem_revoke && ops->mem_entered &&
	       ops->taken && ops->put && ops->get;
}

struct up_rma_stage *up_rma_stage(struct up_peer_state *peer)
{
	struct up_rma_peer *rp = up_rma_peer(peer);
	struct up_rma_stage *s;

	if (!rp || rp->stage)
		return rp ? rp->stage : NULL;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->peer = peer;
	s->patience = UP_STAGE_PATIENCE;
	s->late = LATE;
	if (!usable(peer))
		s->state = UP_STAGE_NEVER;
	up_list_init(&s->parts);
	rp->stage = s;
	return s;
}

/* ---- the memory ---- */

/* Without `wait` the peer may still be copying there, from or to memory that nobody looks at. */
static void take_back(struct up_rma_stage *s, bool wait)
{
	struct up_link *link = s->peer->link;

	if (s->state != UP_STAGE_UNTOLD && s->state != UP_STAGE_NEVER)
		link->lane->ops->mem_revoke(link, &s->shared, wait);
}

void up_rma_stage_fini(struct up_rma_peer *rp)
{
	struct up_rma_stage *s = rp->stage;
	struct up_link *link = rp->peer->link;

	if (!s)
		return;
	take_back(s, false);
	if (s->memory) {
		link->lane->ops->mem_free(link->lane, s->memory);
		rp->peer->ep->rma->nstages--;
	}
	if (s->mapped)
		link->lane->ops->mem_unmap(link, &s->theirs);
	rp->stage = NULL;
	free(s);
}

static void told(struct up_op *op, int status, const struct up_packet *p, const void *payload)
{
	struct up_rma_part *part = UP_CONTAINER_OF(op, struct up_rma_part, op);
	struct up_rma_stage *s = op->peer->rma ? op->peer->rma->stage : NULL;
	bool last = s && s->state == UP_STAGE_TELLING && part->offset == s->told;

	up_pool_put(&op->peer->ep->rma->parts, part);
	if (!last)
		return;
	if (status)
		take_back(s, false);
	s->state = status ? UP_STAGE_NEVER : UP_STAGE_READY;
}

/* Its answer need not have been seen. */
static bool is_ready(struct up_rma_stage *s)
{
	if (s->state == UP_STAGE_TELLING &&
	    __atomic_load_n(&s->memory->mapped, __ATOMIC_ACQUIRE) == s->told)
		s->state = UP_STAGE_READY;
	return s->state == UP_STAGE_READY;
}

static bool make_memory(struct up_rma_stage *s)
{
	struct up_rma_state *rma = s->peer->ep->rma;
	struct up_lane *lane = s->peer->link->lane;

	if (s->memory)
		return true;
	if (rma->nstages >= UP_STAGES)
		return false;
	s->memory = lane->ops->mem_alloc(lane, sizeof(*s->memory));
	rma->nstages += s->memory != NULL;
	return s->memory != NULL;
}

static void leave_alone(struct up_rma_stage *s, uint64_t now)
{
	s->seen_at = 0;
	s->again = now + s->patience;
	for (unsigned i = 0; i < 4; i++)
		up_choice_direct(&s->choices[i / 2][i % 2], s->again);
	if (s->patience < MOST_PATIENCE)
		s->patience *= 2;
}

/* A part that nothing waits for. */
static struct up_rma_part *telling(struct up_rma_stage *s)
{
	struct up_rma_part *part = up_rma_part_create(s->peer, NULL, 0, told);

	if (!part)
		return NULL;
	s->peer->rma->parts--;
	part->op.aside = true;
	part->offset = s->told;
	return part;
}

/* It is told again after it was taken back. */
static void tell(struct up_rma_stage *s)
{
	struct up_lane *lane = s->peer->link->lane;
	struct up_packet p = {.type = UP_PKT_STAGE, .aux = s->told + 1};
	struct up_pkt_map wire = {.bytes = htole64(sizeof(*s->memory))};
	struct up_rma_part *part;
	void *to;

	if (!make_memory(s) ||
	    !lane->ops->mem_share(lane, s->memory, sizeof(*s->memory), &s->shared)) {
		s->state = UP_STAGE_NEVER;
		return;
	}
	s->told++;
	part = telling(s);
	to = part ? up_send_reserve(s->peer, &part->op, sizeof(wire), 0) : NULL;
	if (!to) {
		if (part)
			up_pool_put(&s->peer->ep->rma->parts, part);
		lane->ops->mem_revoke(s->peer->link, &s->shared, false);
		return;
	}
	for (unsigned i = 0; i < UP_ARRAY_SIZE(wire.lane); i++)
		wire.lane[i] = htole64(s->shared.words[i]);
	memcpy(to, &wire, sizeof(wire));
	up_send_commit(s->peer, &part->op, &p, sizeof(wire));
	s->state = UP_STAGE_TELLING;
}

void up_stage_take_back(struct up_rma_stage *s, uint64_t now)
{
	take_back(s, true);
	s->state = UP_STAGE_UNTOLD;
	leave_alone(s, now);
}

static bool map(struct up_link *link, const void *payload, struct up_lane_window *out)
{
	struct up_lane_mem mem;
	struct up_pkt_map wire;

	memcpy(&wire, payload, sizeof(wire));
	for (unsigned i = 0; i < UP_ARRAY_SIZE(mem.words); i++)
		mem.words[i] = le64toh(wire.lane[i]);
	if (le64toh(wire.bytes) != sizeof(struct up_stage_memory) ||
	    !link->lane->ops->mem_map(link, &mem, sizeof(struct up_stage_memory), out))
		return false;
	if (!out->memory)
		link->lane->ops->mem_unmap(link, out);
	return out->memory != NULL;
}

bool up_rma_stage_packet(struct up_ep *ep, struct up_peer_state *from, const struct up_packet *p,
			 const void *payload)
{
	struct up_rma_stage *s = up_rma_stage(from);
	struct up_lane_window window;
	bool mapped = s && usable(from) && map(from->link, payload, &window);

	if (mapped) {
		struct up_stage_memory *memory = (struct up_stage_memory *)window.memory;

		/* Only now the earlier one: it is the same memory, so it stays mapped. */
		if (s->mapped)
			from->link->lane->ops->mem_unmap(from->link, &s->theirs);
		s->mapped = true;
		s->theirs = window;
		if (up_lane_enter(from->link, &window)) {
			__atomic_store_n(&memory->mapped, p->aux, __ATOMIC_RELEASE);
			up_lane_leave(from->link);
		}
	}
	up_send_answer(from, p->op, mapped ? 0 : -EOPNOTSUPP, NULL, 0);
	return true;
}

/* ---- which way ---- */

/* A write of nothing, which wants no answer. */
static void ask(struct up_rma_stage *s, uint64_t now)
{
	struct up_packet p = {.type = UP_PKT_WRITE};

	if (!up_send_reserve(s->peer, NULL, 0, -1))
		return;
	up_send_commit(s->peer, NULL, &p, 0);
	s->asked = true;
	s->asked_at = now;
}

/* Does the peer look? If that is not known, it is asked, and a later call will know. */
static bool looks(struct up_rma_stage *s, uint64_t now)
{
	struct up_link *link = s->peer->link;
	bool taken;

	if (s->seen_at && now - s->seen_at < LOOKED)
		return true;
	taken = link->lane->ops->taken(link);
	if (s->asked && now - s->asked_at < LOOKS) {
		s->asked = !taken;
		s->seen_at = taken ? now : 0;
		return taken;
	}
	if (s->asked && !taken)
		leave_alone(s, now);
	else
		ask(s, now);
	return false;
}

/* Can it be mapped? Nothing is better. */
static bool is_mapped(const struct up_peer_state *peer, const struct up_rma_call *c)
{
	const struct up_rma_window *w = up_rma_window(peer, c->remote[0].key);

	return w && w->view.memory;
}

static enum up_way choose(struct up_rma_stage *s, const struct up_rma_call *c, unsigned access,
			  uint64_t now)
{
	struct up_choice *choice = up_stage_choice(s, access, c->bytes);
	bool could = is_ready(s);
	enum up_way way;

	if (s->state == UP_STAGE_UNTOLD && now >= s->again)
		tell(s);
	if (could && !up_rma_window(s->peer, c->remote[0].key))
		return UP_WAY_STAGED;
	if (could && up_choice_due(choice, now))
		could = looks(s, now);
	way = up_choice_way(choice, now, c->bytes, could);
	return could ? way : UP_WAY_DIRECT;
}

bool up_rma_start_large(struct up_peer_state *peer, const struct up_rma_call *c, unsigned access,
			enum up_way *way)
{
	struct up_rma_stage *s = peer->rma ? peer->rma->stage : NULL;
	uint64_t now, then;

	if (!s)
		s = up_rma_stage(peer);
	if (!s || s->state == UP_STAGE_NEVER || is_mapped(peer, c))
		return up_rma_direct_move(peer, c, access);
	now = up_clock_ns();
	*way = choose(s, c, access, now);
	if (*way != UP_WAY_DIRECT || !up_rma_direct_move(peer, c, access))
		return false;
	then = up_clock_ns();
	up_choice_took(up_stage_choice(s, access, c->bytes), UP_WAY_DIRECT, c->bytes, then - now,
		       then);
	return true;
}
