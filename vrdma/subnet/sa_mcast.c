/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Multicast groups (15.2.5.17): who joined, and with what parameters. The fabric delivers by MGID
 * to the queue pairs that the guests attached; membership is what guests agree on beforehand.
 */
#include "subnet/manager.h"

#include "base/hash.h"

#include <errno.h>
#include <stdlib.h>

#define GROUPS_OF_A_PORT 1024 /* that it is a member of */
#define JOIN_STATES 0xfu
#define CREATES (SA_JOIN_FULL | SA_JOIN_SEND_ONLY_FULL)

struct sa_member {
	struct up_list in_group;
	const struct up_port *port;
	uint8_t states; /* SA_JOIN_* */
};

struct sa_group {
	struct sa_mc_member r; /* but for port and join state; what it has of its creator */
	bool permanent;
	struct up_list members;
	UT_hash_handle hh; /* sa_groups.by_mgid, by r.mgid */
};

/* IPoIB's group of everyone (RFC 4391, 4): partition ffff, and the Q_Key that is in use for it. */
static const struct sa_mc_member broadcast = {
	.mgid = {0xff, 0x12, 0x40, 0x1b, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff},
	.qkey = {0, 0, 0x0b, 0x1b},
	.mtu = SA_EXACTLY << 6 | SN_MTU,
	.pkey = {0xff, 0xff},
	.rate = SA_EXACTLY << 6 | SN_RATE,
};

static struct sa_group *find_group(const struct sa_groups *gs, const uint8_t mgid[16])
{
	struct sa_group *g;

	HASH_FIND(hh, gs->by_mgid, mgid, sizeof(g->r.mgid), g);
	return g;
}

/* NULL: no memory, or no MLID is left. */
static struct sa_group *create_group(struct sa_groups *gs, const struct sa_mc_member *r)
{
	struct sa_group *g = calloc(1, sizeof(*g));
	int64_t id;

	if (!g)
		return NULL;
	id = up_table_add(&gs->mlids, g);
	if (id < 0) {
		free(g);
		return NULL;
	}
	g->r = *r;
	memset(g->r.port_gid, 0, sizeof(g->r.port_gid));
	up_put_be16(g->r.mlid, (uint16_t)(UP_LID_MULTICAST + id));
	g->r.life = SA_EXACTLY << 6 | SN_LIFE;
	/* The scope is in the MGID, 4.1.1. */
	g->r.scope_join = (uint8_t)((r->mgid[1] & 0xf) << 4);
	g->r.proxy = 0;
	memset(g->r.reserved, 0, sizeof(g->r.reserved));
	up_list_init(&g->members);
	HASH_ADD(hh, gs->by_mgid, r.mgid, sizeof(g->r.mgid), g);
	if (!g->hh.tbl) {
		up_table_del(&gs->mlids, (uint32_t)id);
		free(g);
		return NULL;
	}
	return g;
}

static void drop_member(struct sa_groups *gs, struct sa_member *m)
{
	gs->joined[m->port->lid]--;
	up_list_del(&m->in_group);
	free(m);
}

static void destroy_group(struct sa_groups *gs, struct sa_group *g)
{
	struct up_list *pos, *tmp;

	up_list_each (pos, tmp, &g->members)
		drop_member(gs, UP_CONTAINER_OF(pos, struct sa_member, in_group));
	HASH_DEL(gs->by_mgid, g);
	up_table_del(&gs->mlids, up_get_be16(g->r.mlid) - UP_LID_MULTICAST);
	free(g);
}

/* A group lives as long as it has a full member, 15.2.5.17.3. */
static void put_group(struct sa_groups *gs, struct sa_group *g)
{
	struct up_list *pos, *tmp;

	if (g->permanent)
		return;
	/* The analyzer does not see that a member that was dropped is no longer in the list. */
	up_list_each (pos, tmp, &g->members) { /* NOLINT(clang-analyzer-unix.Malloc) */
		if (UP_CONTAINER_OF(pos, struct sa_member, in_group)->states & CREATES)
			return;
	}
	destroy_group(gs, g);
}

int sa_groups_init(struct sn_manager *m)
{
	struct sa_group *g;

	if (up_table_init(&m->groups.mlids, UP_LID_PERMISSIVE - UP_LID_MULTICAST, 0))
		return -ENOMEM;
	g = create_group(&m->groups, &broadcast);
	if (!g)
		return -ENOMEM;
	g->permanent = true;
	return 0;
}

void sa_groups_fini(struct sn_manager *m)
{
	struct sa_group *g, *tmp;

	HASH_ITER (hh, m->groups.by_mgid, g, tmp)
		destroy_group(&m->groups, g);
	up_table_fini(&m->groups.mlids);
}

static struct sa_member *find_member(const struct sa_group *g, const struct up_port *port)
{
	struct up_list *pos, *tmp;

	up_list_each (pos, tmp, &g->members) {
		struct sa_member *m = UP_CONTAINER_OF(pos, struct sa_member, in_group);

		if (m->port == port)
			return m;
	}
	return NULL;
}

void sa_groups_port_down(struct sn_manager *m, const struct up_port *port)
{
	struct sa_group *g, *tmp;

	HASH_ITER (hh, m->groups.by_mgid, g, tmp) {
		struct sa_member *member;

		if (!m->groups.joined[port->lid])
			break;
		member = find_member(g, port);
		if (member) {
			drop_member(&m->groups, member);
			put_group(&m->groups, g);
		}
	}
}

const struct sa_mc_member *sa_group_record(const struct sn_manager *m, const uint8_t mgid[16])
{
	const struct sa_group *g = find_group(&m->groups, mgid);

	return g ? &g->r : NULL;
}

/* Bits of the word that SL, flow label and hop limit share. */
static uint32_t sl_flow_hop_bits(const struct sa_query *q)
{
	return (q->mask & SA_MC_SL ? 0xf0000000u : 0) | (q->mask & SA_MC_FLOW ? 0x0fffff00u : 0) |
	       (q->mask & SA_MC_HOP ? 0xffu : 0);
}

static bool group_matches(const struct sa_query *q, const struct sa_mc_member *asked,
			  const struct sa_group *g)
{
	const struct sa_mc_member *have = &g->r;
	uint32_t differ = up_get_be32(asked->sl_flow_hop) ^ up_get_be32(have->sl_flow_hop);

	return sa_same(q, SA_MC_MGID, asked->mgid, have->mgid, sizeof(have->mgid)) &&
	       sa_same(q, SA_MC_QKEY, asked->qkey, have->qkey, sizeof(have->qkey)) &&
	       sa_same(q, SA_MC_MLID, asked->mlid, have->mlid, sizeof(have->mlid)) &&
	       sa_same(q, SA_MC_TCLASS, &asked->tclass, &have->tclass, 1) &&
	       sa_same(q, SA_MC_PKEY, asked->pkey, have->pkey, sizeof(have->pkey)) &&
	       sa_selects(q, SA_MC_MTU_SELECTOR, SA_MC_MTU, asked->mtu, have->mtu & 0x3f, NULL) &&
	       sa_selects(q, SA_MC_RATE_SELECTOR, SA_MC_RATE, asked->rate, have->rate & 0x3f,
			  sa_rate_rank) &&
	       sa_selects(q, SA_MC_LIFE_SELECTOR, SA_MC_LIFE, asked->life, SN_LIFE, NULL) &&
	       !(differ & sl_flow_hop_bits(q));
}

static void answer_with(struct sa_query *q, const struct sa_group *g, const struct up_port *port,
			uint8_t states)
{
	struct sa_mc_member *r = sa_table_add(q->table);

	if (!r)
		return;
	*r = g->r;
	if (port)
		memcpy(r->port_gid, port->gid.raw, sizeof(r->port_gid));
	r->scope_join |= states;
}

static void list_members(struct sa_query *q, const struct sa_mc_member *asked,
			 const struct sa_group *g)
{
	struct up_list *pos, *tmp;

	up_list_each (pos, tmp, &g->members) {
		struct sa_member *m = UP_CONTAINER_OF(pos, struct sa_member, in_group);

		if (sa_same(q, SA_MC_PORT_GID, asked->port_gid, m->port->gid.raw, 16))
			answer_with(q, g, m->port, m->states);
	}
}

/* Groups; or memberships, when a port is named or a key is shown. */
static enum sa_status list(struct sa_query *q, const struct sa_mc_member *asked)
{
	struct sa_group *g, *tmp;

	HASH_ITER (hh, q->m->groups.by_mgid, g, tmp) {
		if (!group_matches(q, asked, g))
			continue;
		if (q->with_key || (q->mask & SA_MC_PORT_GID))
			list_members(q, asked, g);
		else
			answer_with(q, g, NULL, SA_JOIN_FULL);
	}
	return SA_OK;
}

/*
 * A port joins and leaves for itself only: what comes from another's LID is refused, so that no
 * guest can end another's membership.
 */
static enum sa_status check_change(const struct sa_query *q, const struct sa_mc_member *asked)
{
	const uint32_t needed = SA_MC_MGID | SA_MC_PORT_GID | SA_MC_JOIN_STATE;

	if ((q->mask & needed) != needed)
		return SA_INSUFFICIENT_COMPONENTS;
	if (!(asked->scope_join & JOIN_STATES))
		return SA_REQ_INVALID;
	if (memcmp(asked->port_gid, q->asker->gid.raw, sizeof(asked->port_gid)) != 0)
		return SA_REQ_INVALID;
	return SA_OK;
}

/* An MGID of the manager's choice, as 15.2.5.17.2 lets it: transient, link-local, ours. */
static void name_group(struct sa_groups *gs, uint8_t mgid[16])
{
	static const uint8_t prefix[8] = {0xff, 0x12, 0xa0, 0x1b, 0xfe, 0x80, 0, 0};

	memcpy(mgid, prefix, sizeof(prefix));
	do
		up_put_be64(mgid + 8, ++gs->made);
	while (find_group(gs, mgid));
}

/*
 * o15-0.1.6, what an MGID that a request names may be: of the flags only that it is transient is
 * known, and those with the manager's own signature are the manager's to give, as far as a link
 * reaches.
 */
static bool may_be_named(const uint8_t mgid[16])
{
	if (mgid[0] != 0xff || (mgid[1] & 0xe0))
		return false;
	return mgid[2] != 0xa0 || mgid[3] != 0x1b || (mgid[1] & 0xf) != 2;
}

/*
 * Of what every port here can do, at most `most`, the greatest that satisfies the request, with its
 * selector; 0: there is none.
 */
static uint8_t choose(const struct sa_query *q, uint64_t selector, uint64_t value, uint8_t asked,
		      unsigned most, unsigned (*rank)(unsigned))
{
	unsigned best = 0, best_rank = 0;

	for (unsigned code = 1; code < 64; code++) {
		unsigned r = rank ? rank(code) : code;

		if (r <= best_rank || r > (rank ? rank(most) : most) ||
		    !sa_selects(q, selector, value, asked, code, rank))
			continue;
		best = code;
		best_rank = r;
	}
	return best ? (uint8_t)(SA_EXACTLY << 6 | best) : 0;
}

static enum sa_status make_group(struct sa_query *q, const struct sa_mc_member *asked,
				 struct sa_group **made)
{
	static const uint8_t none[16];
	const uint32_t needed = SA_MC_QKEY | SA_MC_PKEY | SA_MC_SL | SA_MC_FLOW | SA_MC_TCLASS;
	struct sa_mc_member r = *asked;

	if (!(asked->scope_join & CREATES))
		return SA_REQ_INVALID;
	if ((q->mask & needed) != needed)
		return SA_INSUFFICIENT_COMPONENTS;
	r.mtu = choose(q, SA_MC_MTU_SELECTOR, SA_MC_MTU, asked->mtu, SN_MTU, NULL);
	r.rate = choose(q, SA_MC_RATE_SELECTOR, SA_MC_RATE, asked->rate, SN_RATE, sa_rate_rank);
	if ((up_get_be16(asked->pkey) & 0x7fff) != 0x7fff || !r.mtu || !r.rate)
		return SA_REQ_INVALID;
	if (memcmp(asked->mgid, none, sizeof(none)) == 0)
		name_group(&q->m->groups, r.mgid);
	else if (!may_be_named(asked->mgid))
		return SA_REQ_INVALID;
	*made = create_group(&q->m->groups, &r);
	return *made ? SA_OK : SA_NO_RESOURCES;
}

static enum sa_status add_member(struct sa_query *q, struct sa_group *g, uint8_t states)
{
	struct sa_member *m = find_member(g, q->asker);
	uint16_t *joined = &q->m->groups.joined[q->asker->lid];

	if (!m) {
		if (*joined >= GROUPS_OF_A_PORT)
			return SA_NO_RESOURCES;
		m = calloc(1, sizeof(*m));
		if (!m)
			return SA_NO_RESOURCES;
		m->port = q->asker;
		up_list_add_tail(&g->members, &m->in_group);
		++*joined;
	}
	m->states |= states;
	answer_with(q, g, m->port, m->states);
	return SA_OK;
}

static enum sa_status join(struct sa_query *q, const struct sa_mc_member *asked)
{
	struct sa_group *g = find_group(&q->m->groups, asked->mgid);
	enum sa_status status = check_change(q, asked);

	if (status != SA_OK)
		return status;
	if (g) {
		if (!group_matches(q, asked, g))
			return SA_REQ_INVALID;
	} else {
		status = make_group(q, asked, &g);
		if (status != SA_OK)
			return status;
	}
	status = add_member(q, g, asked->scope_join & JOIN_STATES);
	put_group(&q->m->groups, g);
	return status;
}

static enum sa_status leave(struct sa_query *q, const struct sa_mc_member *asked)
{
	struct sa_group *g = find_group(&q->m->groups, asked->mgid);
	struct sa_member *m = g ? find_member(g, q->asker) : NULL;
	enum sa_status status = check_change(q, asked);
	uint8_t states = asked->scope_join & JOIN_STATES;

	if (status != SA_OK)
		return status;
	if (!m || (m->states & states) != states)
		return SA_REQ_INVALID;
	m->states &= (uint8_t)~states;
	/* o15-0.1.14: what the port still is. */
	answer_with(q, g, m->port, m->states);
	if (!m->states)
		drop_member(&q->m->groups, m);
	put_group(&q->m->groups, g);
	return SA_OK;
}

enum sa_status sa_mc_member_record(struct sa_query *q)
{
	const struct sa_mc_member *asked = (const struct sa_mc_member *)q->record;

	switch (q->method) {
	case SA_SET:
		return join(q, asked);
	case SA_DELETE:
		return leave(q, asked);
	default:
		return list(q, asked);
	}
}
