/* SPDX-License-Identifier: BSD-2-Clause */
/* Tenants: made with their first port, with a subnet manager each, and gone with the last. */
#include "fabric/fabric_private.h"

#include <errno.h>
#include <stdlib.h>

static struct up_fabric_port *manager_port_create(struct up_fabric *f, struct up_tenant *t)
{
	struct up_fabric_port *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	/* No other port's name is empty, so the GUID is no other's either. */
	p->pub.guid = up_port_guid(t->name, "");
	p->pub.lid = UP_SM_LID;
	/* No other port's name is like this one (up_name_valid()). */
	p->pub.name = strdup("(subnet manager)");
	if (!p->pub.name) {
		free(p);
		return NULL;
	}
	up_port_init(f, p, t);
	return p;
}

static void manager_destroy(struct up_fabric *f, struct up_tenant *t)
{
	struct up_fabric_port *p = t->manager_port;
	void *manager = t->manager;

	if (!p)
		return;
	t->manager = NULL;
	if (manager)
		f->cfg.manager->destroy(manager);
	up_world_stop(f);
	HASH_DELETE(hh_gid, t->by_gid, p);
	t->manager_port = NULL;
	up_world_start(f);
	up_port_free(p);
}

/* 0 or a negative errno. Nobody knows the tenant yet. */
static int manager_create(struct up_fabric *f, struct up_tenant *t)
{
	struct up_fabric_port *p;

	if (!f->cfg.manager)
		return 0;
	p = manager_port_create(f, t);
	if (!p)
		return -ENOMEM;
	HASH_ADD(hh_gid, t->by_gid, pub.gid, sizeof(p->pub.gid), p);
	if (!p->hh_gid.tbl) {
		up_port_free(p);
		return -ENOMEM;
	}
	t->manager_port = p;
	t->manager = f->cfg.manager->create(&p->pub);
	if (!t->manager) {
		int err = -errno;

		manager_destroy(f, t);
		return err;
	}
	return 0;
}

static void tenant_free(struct up_tenant *t)
{
	free(t->name);
	free(t);
}

/* 0 or a negative errno. */
static int tenant_setup(struct up_fabric *f, struct up_tenant *t, const char *name)
{
	int err;

	t->name = strdup(name);
	if (!t->name)
		return -ENOMEM;
	err = manager_create(f, t);
	if (err)
		return err;
	HASH_ADD_KEYPTR(hh, f->tenants, t->name, strlen(t->name), t);
	if (!t->hh.tbl) {
		manager_destroy(f, t);
		return -ENOMEM;
	}
	return 0;
}

/* NULL with errno. */
static struct up_tenant *tenant_create(struct up_fabric *f, const char *name)
{
	struct up_tenant *t = calloc(1, sizeof(*t));
	int err = t ? tenant_setup(f, t, name) : -ENOMEM;

	if (err) {
		if (t)
			tenant_free(t);
		errno = -err;
		return NULL;
	}
	return t;
}

struct up_tenant *up_tenant_get(struct up_fabric *f, const char *name)
{
	struct up_tenant *t;

	HASH_FIND_STR(f->tenants, name, t);
	return t ? t : tenant_create(f, name);
}

void up_tenant_put(struct up_fabric *f, struct up_tenant *t)
{
	if (t->nports)
		return;
	HASH_DEL(f->tenants, t);
	manager_destroy(f, t);
	tenant_free(t);
}
