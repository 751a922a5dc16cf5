/* SPDX-License-Identifier: BSD-2-Clause */
/* Paths (15.2.5.16): between any two active ports there is one each way, and one to a group. */
#include "subnet/manager.h"

/* Which ports a request means by one end of a path. */
struct end {
	bool all; /* neither GID nor LID is named */
	struct up_port *port;
	const struct sa_mc_member *group; /* instead; as destination only */
};

static struct end find_end(const struct sa_query *q, bool by_gid, const uint8_t gid[16],
			   bool by_lid, const uint8_t lid[2])
{
	struct end e = {.all = !by_gid && !by_lid};
	struct up_gid g;

	if (by_gid) {
		memcpy(g.raw, gid, sizeof(g.raw));
		e.port = up_port_by_gid(q->m->port, &g);
	}
	if (by_lid) {
		struct up_port *p = up_port_by_lid(q->m->port, up_get_be16(lid));

		e.port = by_gid && p != e.port ? NULL : p;
	}
	return e;
}

/* Codes in the order of their rates: 2.5, 5, 10, 14, 20, 25, 28, 30, 40 ... 1200 Gb/s. */
unsigned sa_rate_rank(unsigned rate)
{
	static const uint8_t order[] = {2, 5,  3,  11, 6,  15, 19, 4,  7,  20, 12, 8,
					9, 16, 13, 10, 14, 17, 18, 21, 22, 23, 24};

	for (unsigned i = 0; i < UP_ARRAY_SIZE(order); i++) {
		if (order[i] == rate)
			return i + 1;
	}
	return 0;
}

/* What a path to `dst` has, with the selector that its record carries. */
static uint8_t mtu_of(const struct end *dst)
{
	return dst->group ? dst->group->mtu : SA_EXACTLY << 6 | SN_MTU;
}

static uint8_t rate_of(const struct end *dst)
{
	return dst->group ? dst->group->rate : SA_EXACTLY << 6 | SN_RATE;
}

static bool has_what_is_asked(const struct sa_query *q, const struct sa_path_record *r,
			      const struct end *dst)
{
	if ((q->mask & SA_PATH_PKEY) && (up_get_be16(r->pkey) & 0x7fff) != 0x7fff)
		return false;
	return sa_selects(q, SA_PATH_MTU_SELECTOR, SA_PATH_MTU, r->mtu, mtu_of(dst) & 0x3f, NULL) &&
	       sa_selects(q, SA_PATH_RATE_SELECTOR, SA_PATH_RATE, r->rate, rate_of(dst) & 0x3f,
			  sa_rate_rank) &&
	       sa_selects(q, SA_PATH_LIFE_SELECTOR, SA_PATH_LIFE, r->life, SN_LIFE, NULL);
}

/* False when the table is full. */
static bool add_path(struct sa_query *q, const struct up_port *src, const struct end *dst,
		     const uint8_t dgid[16], uint16_t dlid)
{
	const struct sa_path_record *asked = (const struct sa_path_record *)q->record;
	struct sa_path_record *r = sa_table_add(q->table);

	if (!r)
		return false;
	memcpy(r->dgid, dgid, sizeof(r->dgid));
	memcpy(r->sgid, src->gid.raw, sizeof(r->sgid));
	up_put_be16(r->dlid, dlid);
	up_put_be16(r->slid, src->lid);
	r->reversible_numb = 1 << 7;
	up_put_be16(r->pkey, UP_PKEY_DEFAULT);
	/* Service levels are all alike: the one that was asked for. */
	if (q->mask & SA_PATH_SL)
		up_put_be16(r->qos_sl, up_get_be16(asked->qos_sl) & 0xf);
	r->mtu = mtu_of(dst);
	r->rate = rate_of(dst);
	r->life = SA_EXACTLY << 6 | SN_LIFE;
	return true;
}

static bool add_paths_from(struct sa_query *q, const struct up_port *src, const struct end *dst)
{
	struct up_port *p = dst->all ? up_port_next_of_tenant(q->m->port, NULL) : dst->port;

	if (dst->group)
		return add_path(q, src, dst, dst->group->mgid, up_get_be16(dst->group->mlid));
	while (p) {
		if (p->active && !add_path(q, src, dst, p->gid.raw, p->lid))
			return false;
		p = dst->all ? up_port_next_of_tenant(q->m->port, p) : NULL;
	}
	return true;
}

static void add_paths(struct sa_query *q, const struct end *src, const struct end *dst)
{
	struct up_port *p = src->all ? up_port_next_of_tenant(q->m->port, NULL) : src->port;

	while (p) {
		if (p->active && !add_paths_from(q, p, dst))
			return;
		p = src->all ? up_port_next_of_tenant(q->m->port, p) : NULL;
	}
}

static struct end find_group(const struct sa_query *q, const struct sa_path_record *r)
{
	struct end e = {.group = sa_group_record(q->m, r->dgid)};

	if (e.group && !sa_same(q, SA_PATH_DLID, r->dlid, e.group->mlid, sizeof(r->dlid)))
		e.group = NULL;
	return e;
}

enum sa_status sa_path_record(struct sa_query *q)
{
	const struct sa_path_record *r = (const struct sa_path_record *)q->record;
	struct end src =
		find_end(q, q->mask & SA_PATH_SGID, r->sgid, q->mask & SA_PATH_SLID, r->slid);
	struct end dst;

	if ((q->mask & SA_PATH_DGID) && r->dgid[0] == 0xff)
		dst = find_group(q, r);
	else
		dst = find_end(q, q->mask & SA_PATH_DGID, r->dgid, q->mask & SA_PATH_DLID, r->dlid);

	/* 15.2.5.16: Get names both ends; a table may have all of either. */
	if (q->method == SA_GET && (src.all || dst.all))
		return SA_INSUFFICIENT_COMPONENTS;
	if (has_what_is_asked(q, r, &dst))
		add_paths(q, &src, &dst);
	return SA_OK;
}
