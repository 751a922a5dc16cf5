/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Multicast groups: which QPs of a tenant are attached to a multicast GID, and the delivery of a
 * datagram to each of them. The fabric does a switch's and the receiving adapters' part at once.
 *
 * Delivery follows 10.5.2 of the specification: every attached QP gets a copy, those of the
 * sender's adapter too, and the sending QP itself if it is attached. (That one the engine leaves
 * out where the QP wants none, up_qp.block_loopback.)
 */
#include "fabric/fabric_private.h"

#include <errno.h>
#include <stdlib.h>

/* Memberships dropped before workers of other ports may go on. */
#define BATCH 256

/* 4.1.1: a GID that begins with ff is a multicast GID. */
static bool is_multicast(const struct up_gid *gid)
{
	return gid->raw[0] == 0xff;
}

static struct up_mcast_group *group_find(struct up_tenant *t, const struct up_gid *mgid)
{
	struct up_mcast_group *g;

	HASH_FIND(hh, t->groups, mgid, sizeof(*mgid), g);
	return g;
}

static struct up_mcast_group *group_create(struct up_tenant *t, const struct up_gid *mgid)
{
	struct up_mcast_group *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	g->mgid = *mgid;
	g->tenant = t;
	up_list_init(&g->members);
	HASH_ADD(hh, t->groups, mgid, sizeof(g->mgid), g);
	if (!g->hh.tbl) {
		free(g);
		return NULL;
	}
	return g;
}

static void group_put(struct up_mcast_group *g)
{
	if (!up_list_empty(&g->members))
		return;
	HASH_DEL(g->tenant->groups, g);
	free(g);
}

/* The membership of a QP; *of_port: how many QPs the port has in the group. */
static struct up_mcast_member *member_find(struct up_mcast_group *g, const struct up_fabric_port *p,
					   const struct up_qp *qp, unsigned *of_port)
{
	struct up_list *pos, *tmp;

	*of_port = 0;
	up_list_each (pos, tmp, &g->members) {
		struct up_mcast_member *m = UP_CONTAINER_OF(pos, struct up_mcast_member, in_group);

		if (m->qp == qp)
			return m;
		*of_port += m->port == p;
	}
	return NULL;
}

static void member_drop(struct up_mcast_member *m)
{
	up_list_del(&m->in_group);
	up_list_del(&m->in_qp);
	up_list_del(&m->in_port);
	m->port->nmemberships--;
	group_put(m->group);
	free(m);
}

static int member_add(struct up_fabric_port *p, struct up_mcast_group *g, struct up_qp *qp)
{
	struct up_mcast_member *m;
	unsigned of_port;

	if (member_find(g, p, qp, &of_port))
		return -EEXIST;
	if (of_port >= UP_MCAST_MAX_QPS || p->nmemberships >= UP_MCAST_MAX_ATTACH)
		return -ENOSPC;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	m->group = g;
	m->port = p;
	m->qp = qp;
	m->number = ++g->tenant->members;
	up_list_add_tail(&g->members, &m->in_group);
	up_list_add_tail(&qp->sched.groups, &m->in_qp);
	up_list_add_tail(&p->memberships, &m->in_port);
	p->nmemberships++;
	return 0;
}

int up_mcast_attach(struct up_port *port, const struct up_gid *mgid, struct up_qp *qp)
{
	struct up_fabric_port *p = up_fabric_port(port);
	struct up_mcast_group *g;
	int err;

	if (!is_multicast(mgid))
		return -EINVAL;
	up_world_stop(port->fabric);
	g = group_find(p->tenant, mgid);
	if (!g)
		g = group_create(p->tenant, mgid);
	err = g ? member_add(p, g, qp) : -ENOMEM;
	if (g)
		group_put(g);
	up_world_start(port->fabric);
	return err;
}

int up_mcast_detach(struct up_port *port, const struct up_gid *mgid, struct up_qp *qp)
{
	struct up_fabric_port *p = up_fabric_port(port);
	struct up_mcast_group *g = group_find(p->tenant, mgid);
	struct up_mcast_member *m;
	unsigned of_port;

	m = g ? member_find(g, p, qp, &of_port) : NULL;
	if (!m)
		return -ENOENT;
	up_world_stop(port->fabric);
	member_drop(m);
	up_world_start(port->fabric);
	return 0;
}

bool up_mcast_forget(struct up_qp *qp)
{
	struct up_list *pos, *tmp;
	unsigned n = 0;

	up_list_each (pos, tmp, &qp->sched.groups) {
		if (n++ == BATCH)
			return false;
		member_drop(UP_CONTAINER_OF(pos, struct up_mcast_member, in_qp));
	}
	return true;
}

bool up_mcast_leave(struct up_fabric_port *p)
{
	struct up_list *pos, *tmp;
	unsigned n = 0;

	up_list_each (pos, tmp, &p->memberships) {
		if (n++ == BATCH)
			return false;
		member_drop(UP_CONTAINER_OF(pos, struct up_mcast_member, in_port));
	}
	return true;
}

/*
 * A multicast packet has a multicast LID and carries a global route header (10.5.2). Members come
 * and go between two calls: their numbers say who had it.
 */
bool up_mcast_deliver(struct up_hca *from, const struct up_av *av, uint64_t *after,
		      bool (*each)(struct up_qp *member, void *arg), void *arg)
{
	struct up_fabric_port *src = up_fabric_port(from->port);
	struct up_mcast_group *g;
	struct up_list *pos, *tmp;

	if (!src->pub.active || !av->grh || !is_multicast(&av->dgid))
		return false;
	if (av->dlid < UP_LID_MULTICAST || av->dlid == UP_LID_PERMISSIVE)
		return false;
	g = group_find(src->tenant, &av->dgid);
	if (!g)
		return false;
	up_list_each (pos, tmp, &g->members) {
		struct up_mcast_member *m = UP_CONTAINER_OF(pos, struct up_mcast_member, in_group);

		if (m->number <= *after || !m->port->pub.active)
			continue;
		*after = m->number;
		if (!each(m->qp, arg))
			return true;
	}
	return false;
}
