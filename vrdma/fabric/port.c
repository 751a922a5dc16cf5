/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ports: their names, LIDs and GUIDs, which adapter is attached to each, and the routes from one to
 * another.
 */
#include "fabric/fabric_private.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

static struct up_fabric_port *port_by_gid(struct up_tenant *t, const struct up_gid *gid)
{
	struct up_fabric_port *p;

	HASH_FIND(hh_gid, t->by_gid, gid, sizeof(*gid), p);
	return p;
}

static struct up_fabric_port *port_by_lid(struct up_fabric *f, const struct up_tenant *t,
					  uint16_t lid)
{
	struct up_fabric_port *p = lid < UP_LID_MULTICAST ? f->by_lid[lid] : NULL;

	if (lid == UP_SM_LID)
		return t->manager_port;
	return p && p->tenant == t ? p : NULL;
}

/*
 * Without a global route header the LID decides. With one the destination GID does, as a port
 * drops a packet whose GID is not its own (9.6.1.2 of the specification); the LID must then not
 * be that of another port, but may be one that belongs to none, such as a router's.
 */
static struct up_hca *route(struct up_hca *from, const struct up_av *av)
{
	struct up_fabric_port *src = up_fabric_port(from->port), *dst;

	/* 7.2: a port that is down sends nothing either. */
	if (!src->pub.active)
		return NULL;
	dst = port_by_lid(src->pub.fabric, src->tenant, av->dlid);
	if (av->grh) {
		struct up_fabric_port *by_gid = port_by_gid(src->tenant, &av->dgid);

		if (dst && dst != by_gid)
			return NULL;
		dst = by_gid;
	}
	return dst && dst->pub.active ? dst->pub.hca : NULL;
}

static const struct up_net_ops fabric_net = {
	.route = route,
	.multicast = up_mcast_deliver,
	.kick = up_fabric_kick,
	.forget = up_worker_forget,
	.clock = up_worker_clock,
};

struct up_fabric *up_fabric_create(const struct up_fabric_config *cfg)
{
	struct up_fabric *f;
	int err;

	if (cfg->workers == 0 || cfg->workers > UP_FABRIC_MAX_WORKERS) {
		errno = EINVAL;
		return NULL;
	}
	f = calloc(1, sizeof(*f));
	if (!f)
		return NULL;
	f->cfg = *cfg;
	f->lid_hint = UP_SM_LID + 1;
	err = up_workers_create(f);
	if (err) {
		up_workers_destroy(f);
		free(f);
		errno = -err;
		return NULL;
	}
	return f;
}

void up_fabric_destroy(struct up_fabric *f)
{
	struct up_fabric_port *p, *tmp;

	if (!f)
		return;
	HASH_ITER (hh, f->ports, p, tmp)
		up_port_destroy(&p->pub);
	up_workers_destroy(f);
	free(f);
}

bool up_name_valid(const char *name)
{
	size_t len = strlen(name);

	if (len == 0 || len > UP_NAME_MAX || name[0] == '.' || name[0] == '-')
		return false;
	for (; *name; name++) {
		bool ok = (*name >= 'a' && *name <= 'z') || (*name >= 'A' && *name <= 'Z') ||
			  (*name >= '0' && *name <= '9') || strchr("._-", *name);

		if (!ok)
			return false;
	}
	return true;
}

/* FNV-1a, 64 bits, of tenant and name with the NUL after each. */
static uint64_t hash_names(const char *tenant, const char *name)
{
	const char *part[] = {tenant, name};
	uint64_t h = 0xcbf29ce484222325u;

	for (unsigned i = 0; i < UP_ARRAY_SIZE(part); i++) {
		for (size_t n = 0; n <= strlen(part[i]); n++)
			h = (h ^ (uint8_t)part[i][n]) * 0x100000001b3u;
	}
	return h;
}

/* Group bit clear, local bit set. */
uint64_t up_port_guid(const char *tenant, const char *name)
{
	return (hash_names(tenant, name) & ~(0x01ull << 56)) | 0x02ull << 56;
}

static uint16_t lowest_free_lid(struct up_fabric *f)
{
	while (f->lid_hint < UP_LID_MULTICAST && f->by_lid[f->lid_hint])
		f->lid_hint++;
	return f->lid_hint < UP_LID_MULTICAST ? f->lid_hint : 0;
}

static unsigned least_loaded(const struct up_fabric *f)
{
	unsigned best = 0;

	for (unsigned i = 1; i < f->cfg.workers; i++) {
		if (f->worker_ports[i] < f->worker_ports[best])
			best = i;
	}
	return best;
}

/* World stopped. 0 or -ENOMEM. */
static int hash_port(struct up_fabric *f, struct up_fabric_port *p)
{
	HASH_ADD_KEYPTR(hh, f->ports, p->pub.name, strlen(p->pub.name), p);
	if (!p->hh.tbl)
		return -ENOMEM;
	HASH_ADD(hh_gid, p->tenant->by_gid, pub.gid, sizeof(p->pub.gid), p);
	if (!p->hh_gid.tbl) {
		HASH_DEL(f->ports, p);
		return -ENOMEM;
	}
	return 0;
}

/* Makes the port known: from here on others of the tenant can look it up. 0 or -ENOMEM. */
static int link_port(struct up_fabric *f, struct up_fabric_port *p)
{
	int err;

	up_world_stop(f);
	err = hash_port(f, p);
	if (!err) {
		p->tenant->nports++;
		f->worker_ports[p->worker_index]++;
		f->by_lid[p->pub.lid] = p;
	}
	up_world_start(f);
	return err;
}

static void fill_gid(struct up_gid *gid, uint64_t guid)
{
	up_put_be64(gid->raw, 0xfe80ull << 48);
	up_put_be64(gid->raw + 8, guid);
}

static void name_node(struct up_fabric_port *p)
{
	static_assert(UP_NAME_MAX < sizeof(p->node_desc), "a name fits, with a NUL");
	memset(p->node_desc, 0, sizeof(p->node_desc));
	memcpy(p->node_desc, p->pub.name, strlen(p->pub.name));
}

void up_port_init(struct up_fabric *f, struct up_fabric_port *p, struct up_tenant *t)
{
	p->pub.fabric = f;
	p->pub.tenant = t->name;
	p->tenant = t;
	fill_gid(&p->pub.gid, p->pub.guid);
	up_list_init(&p->on_worker);
	up_list_init(&p->run);
	up_list_init(&p->inbox);
	up_list_init(&p->memberships);
	p->worker_index = least_loaded(f);
	p->pub.worker = f->workers[p->worker_index];
	name_node(p);
}

void up_port_free(struct up_fabric_port *p)
{
	up_heap_fini(&p->waiting);
	free(p->pub.name);
	free(p);
}

static int port_setup(struct up_fabric *f, struct up_fabric_port *p, const char *name,
		      struct up_tenant *t, uint64_t guid)
{
	struct up_gid gid;

	p->pub.guid = guid ? guid : up_port_guid(t->name, name);
	fill_gid(&gid, p->pub.guid);
	if (port_by_gid(t, &gid))
		return -EEXIST;
	p->pub.lid = lowest_free_lid(f);
	if (!p->pub.lid)
		return -ENOSPC;
	p->pub.name = strdup(name);
	if (!p->pub.name)
		return -ENOMEM;
	up_port_init(f, p, t);
	return 0;
}

struct up_port *up_port_create(struct up_fabric *f, const char *name, const char *tenant,
			       uint64_t guid)
{
	struct up_fabric_port *p;
	struct up_tenant *t;
	int err = 0;

	if (!up_name_valid(name) || !up_name_valid(tenant))
		err = EINVAL;
	else if (up_port_find(f, name))
		err = EEXIST;
	if (err) {
		errno = err;
		return NULL;
	}
	t = up_tenant_get(f, tenant);
	if (!t)
		return NULL;
	p = calloc(1, sizeof(*p));
	err = p ? port_setup(f, p, name, t, guid) : -ENOMEM;
	if (!err)
		err = link_port(f, p);
	if (err) {
		up_tenant_put(f, t);
		if (p)
			up_port_free(p);
		errno = -err;
		return NULL;
	}
	return &p->pub;
}

void up_port_destroy(struct up_port *port)
{
	struct up_fabric_port *p = up_fabric_port(port);
	struct up_fabric *f = port->fabric;

	assert(!port->hca);
	up_world_stop(f);
	f->worker_ports[p->worker_index]--;
	f->by_lid[port->lid] = NULL;
	if (port->lid < f->lid_hint)
		f->lid_hint = port->lid;
	HASH_DEL(f->ports, p);
	HASH_DELETE(hh_gid, p->tenant->by_gid, p);
	p->tenant->nports--;
	up_world_start(f);
	up_tenant_put(f, p->tenant);
	up_port_free(p);
}

struct up_port *up_port_find(struct up_fabric *f, const char *name)
{
	struct up_fabric_port *p;

	HASH_FIND_STR(f->ports, name, p);
	return p ? &p->pub : NULL;
}

struct up_port *up_port_next(struct up_fabric *f, struct up_port *port)
{
	struct up_fabric_port *p = port ? up_fabric_port(port)->hh.next : f->ports;

	return p ? &p->pub : NULL;
}

static struct up_tenant *tenant_of(const struct up_port *port)
{
	return UP_CONTAINER_OF(port, const struct up_fabric_port, pub)->tenant;
}

struct up_port *up_port_by_lid(const struct up_port *of, uint16_t lid)
{
	struct up_fabric_port *p = port_by_lid(of->fabric, tenant_of(of), lid);

	return p ? &p->pub : NULL;
}

struct up_port *up_port_by_gid(const struct up_port *of, const struct up_gid *gid)
{
	struct up_fabric_port *p = port_by_gid(tenant_of(of), gid);

	return p ? &p->pub : NULL;
}

struct up_port *up_port_next_of_tenant(const struct up_port *of, const struct up_port *last)
{
	struct up_fabric_port *p;

	if (last)
		p = UP_CONTAINER_OF(last, const struct up_fabric_port, pub)->hh_gid.next;
	else
		p = tenant_of(of)->by_gid;
	return p ? &p->pub : NULL;
}

/* World stopped. True when it was the other way round. */
static bool update_active(struct up_port *port)
{
	struct up_tenant *t = tenant_of(port);
	bool active = up_fabric_port(port)->driver && !port->unplugged;

	if (active == port->active)
		return false;
	if (!active && t->manager)
		port->fabric->cfg.manager->port_down(t->manager, port);
	port->active = active;
	up_route_epoch++;
	return true;
}

void up_port_attach(struct up_port *port, struct up_hca *hca)
{
	up_world_stop(port->fabric);
	hca->net = &fabric_net;
	hca->port = port;
	hca->lid = port->lid;
	hca->gid = port->gid;
	port->hca = hca;
	up_fabric_port(port)->pma = (struct up_pma_base){0};
	up_worker_add(port->worker, port);
	up_route_epoch++;
	up_world_start(port->fabric);
}

void up_port_leave_groups(struct up_port *port)
{
	struct up_fabric_port *p = up_fabric_port(port);
	bool all;

	do {
		up_world_stop(port->fabric);
		all = up_mcast_leave(p);
		up_world_start(port->fabric);
	} while (!all);
}

void up_port_forget_qps(struct up_port *port)
{
	up_worker_forget_all(port);
	up_route_epoch++;
}

void up_port_detach(struct up_port *port)
{
	struct up_fabric_port *p = up_fabric_port(port);

	up_port_leave_groups(port);
	up_world_stop(port->fabric);
	up_worker_remove(port->worker, port);
	p->driver = false;
	update_active(port);
	port->hca = NULL;
	up_route_epoch++;
	up_world_start(port->fabric);
}

void up_port_set_driver(struct up_port *port, bool running)
{
	struct up_fabric_port *p = up_fabric_port(port);

	if (p->driver == running)
		return;
	up_world_stop(port->fabric);
	p->driver = running;
	update_active(port);
	if (!running)
		name_node(p);
	up_world_start(port->fabric);
}

void up_port_set_link(struct up_port *port, bool up)
{
	up_world_stop(port->fabric);
	port->unplugged = !up;
	if (update_active(port) && port->hca->ops->port_event)
		port->hca->ops->port_event(port->hca, up ? UP_EV_PORT_ACTIVE : UP_EV_PORT_DOWN);
	up_world_start(port->fabric);
}

void up_port_set_node_desc(struct up_port *port, const char desc[64])
{
	struct up_fabric_port *p = up_fabric_port(port);

	up_world_stop(port->fabric);
	memcpy(p->node_desc, desc, sizeof(p->node_desc));
	up_world_start(port->fabric);
}

void up_port_get_node_desc(const struct up_port *port, char desc[64])
{
	const struct up_fabric_port *p = UP_CONTAINER_OF(port, const struct up_fabric_port, pub);

	memcpy(desc, p->node_desc, sizeof(p->node_desc));
}
