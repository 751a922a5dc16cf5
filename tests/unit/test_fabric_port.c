/* SPDX-License-Identifier: BSD-2-Clause */
/* Ports: names, LIDs, GUIDs, and which adapter an address leads to. */
#include "unit.h"

#include "base/bytes.h"
#include "fabric/fabric.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static unsigned idle_poll(struct up_hca *hca, uint64_t now, uint64_t *due)
{
	return 0;
}

static const struct up_hca_ops idle_ops = {.poll = idle_poll};

static struct up_fabric *create_fabric(unsigned workers)
{
	struct up_fabric_config cfg = UP_FABRIC_CONFIG_DEFAULT;
	struct up_fabric *f;

	cfg.workers = workers;
	cfg.spin_us = 0;
	f = up_fabric_create(&cfg);
	assert_non_null(f);
	return f;
}

static struct up_port *add(struct up_fabric *f, const char *name, const char *tenant)
{
	struct up_port *p = up_port_create(f, name, tenant, 0);

	assert_non_null(p);
	return p;
}

static void attach(struct up_port *port, struct up_hca *hca)
{
	memset(hca, 0, sizeof(*hca));
	hca->ops = &idle_ops;
	up_port_attach(port, hca);
	up_port_set_driver(port, true);
}

static void names_are_checked(void **state)
{
	static const char *const bad[] = {"",	      ".",   "-x", "a/b", "a b",
					  "\xc3\xa9", "a\n", "..", "%"};
	struct up_fabric *f = create_fabric(1);
	char name[UP_NAME_MAX + 2];

	for (unsigned i = 0; i < UP_ARRAY_SIZE(bad); i++) {
		assert_null(up_port_create(f, bad[i], "t", 0));
		assert_int_equal(errno, EINVAL);
		assert_null(up_port_create(f, "p", bad[i], 0));
		assert_int_equal(errno, EINVAL);
	}
	memset(name, 'a', sizeof(name));
	name[UP_NAME_MAX + 1] = 0;
	assert_null(up_port_create(f, name, "t", 0));
	name[UP_NAME_MAX] = 0;
	add(f, name, name);
	assert_non_null(up_port_find(f, name));
	assert_null(up_port_find(f, "p"));
	up_fabric_destroy(f);
}

static void lids_are_the_lowest_free(void **state)
{
	struct up_fabric *f = create_fabric(1);
	struct up_port *a = add(f, "a", "t"), *b = add(f, "b", "u"), *c = add(f, "c", "t");

	assert_int_equal(a->lid, UP_SM_LID + 1);
	assert_int_equal(b->lid, UP_SM_LID + 2);
	assert_int_equal(c->lid, UP_SM_LID + 3);
	up_port_destroy(b);
	assert_int_equal(add(f, "d", "t")->lid, UP_SM_LID + 2);
	assert_int_equal(add(f, "e", "t")->lid, UP_SM_LID + 4);
	up_fabric_destroy(f);
}

static void lids_run_out(void **state)
{
	struct up_fabric *f = create_fabric(1);
	struct up_port *p = NULL;
	char name[16];

	for (unsigned lid = UP_SM_LID + 1; lid < UP_LID_MULTICAST; lid++) {
		snprintf(name, sizeof(name), "p%u", lid);
		p = up_port_create(f, name, "t", 0);
		if (!p || p->lid != lid)
			fail_msg("port %s", name);
	}
	assert_null(up_port_create(f, "more", "t", 0));
	assert_int_equal(errno, ENOSPC);
	assert_null(up_port_create(f, "more", "new-tenant", 0));
	up_port_destroy(up_port_find(f, "p1000"));
	assert_int_equal(add(f, "more", "t")->lid, 1000);
	up_fabric_destroy(f);
}

static void guids_are_stable_and_local(void **state)
{
	struct up_fabric *f = create_fabric(1);
	struct up_port *a = add(f, "a", "t"), *b = add(f, "b", "t"), *c = add(f, "a2", "u");
	uint64_t guid = a->guid;

	assert_int_equal(guid >> 56 & 3, 2); /* locally administered, one device */
	assert_int_not_equal(a->guid, b->guid);
	assert_int_not_equal(a->guid, c->guid);
	assert_int_equal(up_get_be64(a->gid.raw), 0xfe80000000000000);
	assert_int_equal(up_get_be64(a->gid.raw + 8), guid);
	up_fabric_destroy(f);

	f = create_fabric(1);
	add(f, "other", "t");
	assert_int_equal(add(f, "a", "t")->guid, guid);
	up_fabric_destroy(f);

	/* A value that is on guests' disks by now: it must not change with a release. */
	f = create_fabric(1);
	assert_int_equal(add(f, "vm1", "default")->guid, 0x327721631c96876a);
	up_fabric_destroy(f);
}

static void duplicates_are_refused(void **state)
{
	struct up_fabric *f = create_fabric(1);
	struct up_port *a = up_port_create(f, "a", "t", 0x0002c90300000001);

	assert_non_null(a);
	assert_int_equal(a->guid, 0x0002c90300000001);
	assert_null(up_port_create(f, "a", "u", 0));
	assert_int_equal(errno, EEXIST);
	assert_null(up_port_create(f, "b", "t", 0x0002c90300000001));
	assert_int_equal(errno, EEXIST);
	assert_null(up_port_find(f, "b"));
	/* In another tenant the GUID is another's business. */
	assert_non_null(up_port_create(f, "b", "u", 0x0002c90300000001));
	up_fabric_destroy(f);
}

static void iteration_is_in_order(void **state)
{
	struct up_fabric *f = create_fabric(1);
	struct up_port *a = add(f, "z", "t"), *b = add(f, "y", "u"), *p;

	p = up_port_next(f, NULL);
	assert_ptr_equal(p, a);
	p = up_port_next(f, p);
	assert_ptr_equal(p, b);
	assert_null(up_port_next(f, p));
	up_port_destroy(a);
	assert_ptr_equal(up_port_next(f, NULL), b);
	up_fabric_destroy(f);
}

static struct up_hca *to_lid(struct up_hca *from, uint16_t lid)
{
	const struct up_av av = {.dlid = lid};

	return from->net->route(from, &av);
}

static struct up_hca *to_gid(struct up_hca *from, uint16_t lid, const struct up_gid *gid)
{
	const struct up_av av = {.dlid = lid, .grh = true, .dgid = *gid};

	return from->net->route(from, &av);
}

static void routes_by_lid(void **state)
{
	struct up_fabric *f = create_fabric(1);
	struct up_port *a = add(f, "a", "t"), *b = add(f, "b", "t"), *c = add(f, "c", "u");
	struct up_hca ha, hb, hc;

	attach(a, &ha);
	attach(b, &hb);
	attach(c, &hc);
	assert_ptr_equal(to_lid(&ha, b->lid), &hb);
	assert_ptr_equal(to_lid(&hb, a->lid), &ha);
	assert_ptr_equal(to_lid(&ha, a->lid), &ha);
	assert_null(to_lid(&ha, c->lid));
	assert_null(to_lid(&hc, a->lid));
	assert_null(to_lid(&ha, 0));
	assert_null(to_lid(&ha, UP_SM_LID));
	assert_null(to_lid(&ha, 999));
	assert_null(to_lid(&ha, UP_LID_MULTICAST - 1));
	assert_null(to_lid(&ha, UP_LID_MULTICAST));
	assert_null(to_lid(&ha, UP_LID_PERMISSIVE));
	up_port_set_driver(a, false);
	assert_null(to_lid(&ha, b->lid)); /* what is down sends nothing */
	assert_null(to_lid(&hb, a->lid));
	up_port_set_driver(a, true);
	assert_ptr_equal(to_lid(&ha, b->lid), &hb);
	assert_ptr_equal(up_port_by_lid(a, b->lid), b);
	assert_ptr_equal(up_port_by_gid(a, &b->gid), b);
	assert_null(up_port_by_lid(c, b->lid));
	assert_null(up_port_by_gid(c, &b->gid));
	up_port_detach(a);
	up_port_detach(b);
	up_port_detach(c);
	up_fabric_destroy(f);
}

static void routes_by_gid(void **state)
{
	struct up_fabric *f = create_fabric(1);
	struct up_port *a = add(f, "a", "t"), *b = add(f, "b", "t"), *c = add(f, "c", "u");
	struct up_gid unknown = {{0xfe, 0x80, 1}};
	struct up_hca ha, hb, hc;

	attach(a, &ha);
	attach(b, &hb);
	attach(c, &hc);
	assert_ptr_equal(to_gid(&ha, b->lid, &b->gid), &hb);
	assert_ptr_equal(to_gid(&ha, 0, &b->gid), &hb);
	assert_ptr_equal(to_gid(&ha, UP_LID_PERMISSIVE, &b->gid), &hb);
	assert_ptr_equal(to_gid(&ha, UP_SM_LID, &a->gid), &ha);
	/* A LID of another tenant is one that belongs to no port. */
	assert_ptr_equal(to_gid(&ha, c->lid, &b->gid), &hb);
	/* A port drops what carries another's GID. */
	assert_null(to_gid(&ha, a->lid, &b->gid));
	assert_null(to_gid(&ha, b->lid, &unknown));
	assert_null(to_gid(&ha, 0, &unknown));
	assert_null(to_gid(&ha, 0, &c->gid));
	assert_null(to_gid(&ha, c->lid, &c->gid));
	up_port_detach(a);
	up_port_detach(b);
	up_port_detach(c);
	up_fabric_destroy(f);
}

static void only_active_ports_are_reached(void **state)
{
	struct up_fabric *f = create_fabric(1);
	struct up_port *a = add(f, "a", "t"), *b = add(f, "b", "t");
	struct up_hca ha, hb;
	uint64_t epoch;

	attach(a, &ha);
	assert_null(to_lid(&ha, b->lid));
	epoch = up_route_epoch;
	attach(b, &hb);
	assert_int_not_equal(up_route_epoch, epoch);
	assert_ptr_equal(to_lid(&ha, b->lid), &hb);

	epoch = up_route_epoch;
	up_port_set_driver(b, false);
	assert_int_not_equal(up_route_epoch, epoch);
	assert_null(to_lid(&ha, b->lid));
	epoch = up_route_epoch;
	up_port_set_driver(b, false);
	assert_int_equal(up_route_epoch, epoch);
	up_port_set_driver(b, true);
	assert_ptr_equal(to_lid(&ha, b->lid), &hb);

	epoch = up_route_epoch;
	up_port_detach(b);
	assert_int_not_equal(up_route_epoch, epoch);
	assert_null(to_lid(&ha, b->lid));
	assert_null(b->hca);
	up_port_destroy(b);
	assert_null(to_lid(&ha, 3));
	up_port_detach(a);
	up_fabric_destroy(f);
}

static enum up_event told;
static unsigned ntold;

static void note_event(struct up_hca *hca, enum up_event event)
{
	told = event;
	ntold++;
}

static void a_pulled_cable_stays_pulled(void **state)
{
	struct up_hca_ops ops = idle_ops;
	struct up_fabric *f = create_fabric(1);
	struct up_port *a = add(f, "a", "t"), *b = add(f, "b", "t");
	struct up_hca ha, hb;
	uint64_t epoch;

	ops.port_event = note_event;
	attach(a, &ha);
	/* Without an adapter nobody is told. */
	up_port_set_link(b, false);
	attach(b, &hb);
	hb.ops = &ops;
	assert_false(b->active);
	assert_null(to_lid(&ha, b->lid));
	assert_int_equal(ntold, 0);

	epoch = up_route_epoch;
	up_port_set_link(b, true);
	assert_true(b->active);
	assert_int_not_equal(up_route_epoch, epoch);
	assert_ptr_equal(to_lid(&ha, b->lid), &hb);
	assert_int_equal(told, UP_EV_PORT_ACTIVE);
	up_port_set_link(b, true);
	assert_int_equal(ntold, 1);

	up_port_set_link(b, false);
	assert_int_equal(told, UP_EV_PORT_DOWN);
	assert_int_equal(ntold, 2);
	assert_null(to_lid(&ha, b->lid));
	assert_null(to_lid(&hb, a->lid));
	/* A driver that starts finds it down, and is told when it comes up. */
	up_port_set_driver(b, false);
	up_port_set_driver(b, true);
	assert_false(b->active);
	assert_int_equal(ntold, 2);
	up_port_detach(a);
	up_port_detach(b);
	up_fabric_destroy(f);
}

static void attaching_gives_the_address(void **state)
{
	struct up_fabric *f = create_fabric(1);
	struct up_port *a = add(f, "a", "t");
	struct up_hca h;

	attach(a, &h);
	assert_int_equal(h.lid, a->lid);
	assert_memory_equal(&h.gid, &a->gid, sizeof(h.gid));
	assert_ptr_equal(h.port, a);
	assert_ptr_equal(a->hca, &h);
	up_port_detach(a);
	up_fabric_destroy(f);
}

static void workers_share_ports(void **state)
{
	struct up_fabric *f = create_fabric(2);
	struct up_port *p[4];
	char name[8];

	for (unsigned i = 0; i < 4; i++) {
		snprintf(name, sizeof(name), "p%u", i);
		p[i] = add(f, name, "t");
	}
	assert_ptr_not_equal(p[0]->worker, p[1]->worker);
	assert_ptr_equal(p[0]->worker, p[2]->worker);
	assert_ptr_equal(p[1]->worker, p[3]->worker);
	up_port_destroy(p[1]);
	up_port_destroy(p[3]);
	assert_ptr_not_equal(add(f, "q", "t")->worker, p[0]->worker);
	up_fabric_destroy(f);
}

static void worker_count_is_checked(void **state)
{
	struct up_fabric_config cfg = UP_FABRIC_CONFIG_DEFAULT;

	cfg.workers = 0;
	assert_null(up_fabric_create(&cfg));
	assert_int_equal(errno, EINVAL);
	cfg.workers = UP_FABRIC_MAX_WORKERS + 1;
	assert_null(up_fabric_create(&cfg));
	assert_int_equal(errno, EINVAL);
}

static void node_description_follows_the_driver(void **state)
{
	struct up_fabric *f = create_fabric(1);
	struct up_port *a = add(f, "a", "t");
	char desc[64] = "guest1 mlx5_0", got[64];
	struct up_hca h;

	up_port_get_node_desc(a, got);
	assert_string_equal(got, "a");
	attach(a, &h);
	up_port_set_node_desc(a, desc);
	up_port_get_node_desc(a, got);
	assert_memory_equal(got, desc, sizeof(got));
	up_port_set_driver(a, false);
	up_port_get_node_desc(a, got);
	assert_string_equal(got, "a");
	up_port_detach(a);
	up_fabric_destroy(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_checked),
		cmocka_unit_test(lids_are_the_lowest_free),
		cmocka_unit_test(guids_are_stable_and_local),
		cmocka_unit_test(duplicates_are_refused),
		cmocka_unit_test(iteration_is_in_order),
		cmocka_unit_test(routes_by_lid),
		cmocka_unit_test(routes_by_gid),
		cmocka_unit_test(only_active_ports_are_reached),
		cmocka_unit_test(a_pulled_cable_stays_pulled),
		cmocka_unit_test(attaching_gives_the_address),
		cmocka_unit_test(workers_share_ports),
		cmocka_unit_test(worker_count_is_checked),
		cmocka_unit_test(node_description_follows_the_driver),
		cmocka_unit_test(lids_run_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
