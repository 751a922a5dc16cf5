/* SPDX-License-Identifier: BSD-2-Clause */
/* Multicast groups: membership, limits, and who gets a datagram. */
#include "unit.h"

#include "base/bytes.h"
#include "fabric/fabric.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static unsigned idle_poll(struct up_hca *hca, uint64_t now, uint64_t *due)
{
	return 0;
}

static const struct up_hca_ops idle_ops = {.poll = idle_poll};

enum { PORTS = 3 };

/* Ports a and b of one tenant, c of another. */
struct world {
	struct up_fabric *f;
	struct up_port *port[PORTS];
	struct up_hca hca[PORTS];
	struct up_qp qp[PORTS][4];
};

static const struct up_gid group = {{0xff, 0x12, 0x40, 0x1b, [15] = 1}};
static const struct up_gid other = {{0xff, 0x12, 0x40, 0x1b, [15] = 2}};

static int setup(void **state)
{
	static const char *const names[PORTS] = {"a", "b", "c"}, *const tenants[PORTS] = {"t", "t",
											  "u"};
	struct up_fabric_config cfg = UP_FABRIC_CONFIG_DEFAULT;
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->f = up_fabric_create(&cfg);
	assert_non_null(w->f);
	for (unsigned i = 0; i < PORTS; i++) {
		w->port[i] = up_port_create(w->f, names[i], tenants[i], 0);
		assert_non_null(w->port[i]);
		w->hca[i].ops = &idle_ops;
		up_port_attach(w->port[i], &w->hca[i]);
		up_port_set_driver(w->port[i], true);
		for (unsigned q = 0; q < 4; q++) {
			w->qp[i][q].hca = &w->hca[i];
			up_sched_init(&w->qp[i][q].sched);
		}
	}
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	for (unsigned i = 0; i < PORTS; i++)
		up_port_detach(w->port[i]);
	up_fabric_destroy(w->f);
	free(w);
	return 0;
}

struct heard {
	struct up_qp *qp[64];
	unsigned n;
	unsigned at_a_time; /* 0: all */
};

static bool hear(struct up_qp *qp, void *arg)
{
	struct heard *h = arg;

	assert_true(h->n < UP_ARRAY_SIZE(h->qp));
	h->qp[h->n++] = qp;
	return !h->at_a_time || h->n % h->at_a_time;
}

static struct heard send_av(struct world *w, unsigned from, const struct up_av *av)
{
	struct heard h = {0};
	uint64_t after = 0;

	assert_false(w->hca[from].net->multicast(&w->hca[from], av, &after, hear, &h));
	return h;
}

static struct heard send_to(struct world *w, unsigned from, const struct up_gid *mgid)
{
	const struct up_av av = {.dlid = 0xc001, .grh = true, .dgid = *mgid};

	return send_av(w, from, &av);
}

static void members_get_a_copy_each(void **state)
{
	struct world *w = *state;
	struct heard h;

	assert_int_equal(send_to(w, 0, &group).n, 0);
	assert_int_equal(up_mcast_attach(w->port[0], &group, &w->qp[0][0]), 0);
	assert_int_equal(up_mcast_attach(w->port[1], &group, &w->qp[1][0]), 0);
	assert_int_equal(up_mcast_attach(w->port[1], &group, &w->qp[1][1]), 0);
	/* The sender's own adapter hears it too, in whatever order they attached. */
	h = send_to(w, 0, &group);
	assert_int_equal(h.n, 3);
	assert_ptr_equal(h.qp[0], &w->qp[0][0]);
	assert_ptr_equal(h.qp[1], &w->qp[1][0]);
	assert_ptr_equal(h.qp[2], &w->qp[1][1]);
	assert_int_equal(send_to(w, 0, &other).n, 0);
}

/* Members that come and go between two parts of a delivery: nobody has two copies. */
static void delivery_goes_on_where_it_stopped(void **state)
{
	const struct up_av av = {.dlid = 0xc001, .grh = true, .dgid = group};
	struct world *w = *state;
	struct heard h = {.at_a_time = 1};
	const struct up_hca *hca = &w->hca[1];
	uint64_t after = 0;

	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(up_mcast_attach(w->port[0], &group, &w->qp[0][i]), 0);
	assert_true(hca->net->multicast(&w->hca[1], &av, &after, hear, &h));
	assert_true(hca->net->multicast(&w->hca[1], &av, &after, hear, &h));
	assert_int_equal(up_mcast_detach(w->port[0], &group, &w->qp[0][1]), 0);
	assert_int_equal(up_mcast_detach(w->port[0], &group, &w->qp[0][2]), 0);
	assert_int_equal(up_mcast_attach(w->port[1], &group, &w->qp[1][0]), 0);
	while (hca->net->multicast(&w->hca[1], &av, &after, hear, &h))
		;
	assert_int_equal(h.n, 4);
	assert_ptr_equal(h.qp[0], &w->qp[0][0]);
	assert_ptr_equal(h.qp[1], &w->qp[0][1]);
	assert_ptr_equal(h.qp[2], &w->qp[0][3]);
	assert_ptr_equal(h.qp[3], &w->qp[1][0]);
}

static void tenants_do_not_hear_one_another(void **state)
{
	struct world *w = *state;
	struct heard h;

	assert_int_equal(up_mcast_attach(w->port[0], &group, &w->qp[0][0]), 0);
	assert_int_equal(up_mcast_attach(w->port[2], &group, &w->qp[2][0]), 0);
	h = send_to(w, 1, &group);
	assert_int_equal(h.n, 1);
	assert_ptr_equal(h.qp[0], &w->qp[0][0]);
	h = send_to(w, 2, &group);
	assert_int_equal(h.n, 1);
	assert_ptr_equal(h.qp[0], &w->qp[2][0]);
}

static void addresses_are_checked(void **state)
{
	struct world *w = *state;
	struct up_gid unicast = w->port[1]->gid;
	struct up_av av = {.dlid = 0xc001, .grh = true, .dgid = group};

	assert_int_equal(up_mcast_attach(w->port[0], &unicast, &w->qp[0][0]), -EINVAL);
	assert_int_equal(up_mcast_attach(w->port[0], &group, &w->qp[0][0]), 0);
	assert_int_equal(send_av(w, 1, &av).n, 1);
	av.grh = false;
	assert_int_equal(send_av(w, 1, &av).n, 0);
	av.grh = true;
	av.dlid = w->port[0]->lid;
	assert_int_equal(send_av(w, 1, &av).n, 0);
	av.dlid = UP_LID_PERMISSIVE;
	assert_int_equal(send_av(w, 1, &av).n, 0);
	av.dlid = UP_LID_MULTICAST;
	assert_int_equal(send_av(w, 1, &av).n, 1);
	av.dgid = unicast;
	assert_int_equal(send_av(w, 1, &av).n, 0);
}

static void membership_ends(void **state)
{
	struct world *w = *state;

	assert_int_equal(up_mcast_detach(w->port[0], &group, &w->qp[0][0]), -ENOENT);
	assert_int_equal(up_mcast_attach(w->port[0], &group, &w->qp[0][0]), 0);
	assert_int_equal(up_mcast_attach(w->port[0], &group, &w->qp[0][0]), -EEXIST);
	assert_int_equal(up_mcast_detach(w->port[0], &group, &w->qp[0][1]), -ENOENT);
	assert_int_equal(up_mcast_detach(w->port[0], &other, &w->qp[0][0]), -ENOENT);
	assert_int_equal(send_to(w, 1, &group).n, 1);
	assert_int_equal(up_mcast_detach(w->port[0], &group, &w->qp[0][0]), 0);
	assert_int_equal(send_to(w, 1, &group).n, 0);
	assert_int_equal(up_mcast_detach(w->port[0], &group, &w->qp[0][0]), -ENOENT);
}

static void a_qp_is_forgotten(void **state)
{
	struct world *w = *state;

	assert_int_equal(up_mcast_attach(w->port[0], &group, &w->qp[0][0]), 0);
	assert_int_equal(up_mcast_attach(w->port[0], &other, &w->qp[0][0]), 0);
	assert_int_equal(up_mcast_attach(w->port[0], &group, &w->qp[0][1]), 0);
	up_world_stop(w->f);
	assert_true(up_mcast_forget(&w->qp[0][0]));
	assert_true(up_mcast_forget(&w->qp[0][3]));
	up_world_start(w->f);
	assert_int_equal(send_to(w, 1, &group).n, 1);
	assert_int_equal(send_to(w, 1, &other).n, 0);
}

/* The world must not stand still for as long as thousands of memberships take. */
static void many_memberships_are_forgotten_in_turns(void **state)
{
	enum { MANY = 1000 };
	struct world *w = *state;
	struct up_gid mgid = group;
	unsigned turns = 1;

	for (unsigned i = 0; i < MANY; i++) {
		up_put_be16(&mgid.raw[14], (uint16_t)i);
		assert_int_equal(up_mcast_attach(w->port[0], &mgid, &w->qp[0][0]), 0);
	}
	assert_int_equal(send_to(w, 1, &mgid).n, 1);
	up_world_stop(w->f);
	while (!up_mcast_forget(&w->qp[0][0]))
		turns++;
	up_world_start(w->f);
	assert_in_range(turns, 2, MANY / 2);
	assert_int_equal(send_to(w, 1, &mgid).n, 0);
	assert_int_equal(up_mcast_attach(w->port[0], &mgid, &w->qp[0][0]), 0);
}

static void only_active_ports_hear(void **state)
{
	struct world *w = *state;

	assert_int_equal(up_mcast_attach(w->port[0], &group, &w->qp[0][0]), 0);
	up_port_set_driver(w->port[0], false);
	assert_int_equal(send_to(w, 1, &group).n, 0);
	up_port_set_driver(w->port[0], true);
	assert_int_equal(send_to(w, 1, &group).n, 1);
	up_port_detach(w->port[0]);
	assert_int_equal(send_to(w, 1, &group).n, 0);
	up_port_attach(w->port[0], &w->hca[0]);
}

static void qps_of_a_group_are_limited(void **state)
{
	struct up_qp *many = calloc(UP_MCAST_MAX_QPS + 1, sizeof(*many));
	struct world *w = *state;

	assert_non_null(many);
	for (unsigned i = 0; i <= UP_MCAST_MAX_QPS; i++)
		up_sched_init(&many[i].sched);
	for (unsigned i = 0; i < UP_MCAST_MAX_QPS; i++)
		assert_int_equal(up_mcast_attach(w->port[0], &group, &many[i]), 0);
	assert_int_equal(up_mcast_attach(w->port[0], &group, &many[UP_MCAST_MAX_QPS]), -ENOSPC);
	/* Another port's share is not used up. */
	assert_int_equal(up_mcast_attach(w->port[1], &group, &w->qp[1][0]), 0);
	for (unsigned i = 0; i < UP_MCAST_MAX_QPS; i++)
		assert_int_equal(up_mcast_detach(w->port[0], &group, &many[i]), 0);
	free(many);
}

static void attachments_of_a_port_are_limited(void **state)
{
	struct world *w = *state;
	struct up_gid mgid = group;

	for (uint32_t i = 0; i < UP_MCAST_MAX_ATTACH; i++) {
		up_put_be32(mgid.raw + 8, i);
		assert_int_equal(up_mcast_attach(w->port[0], &mgid, &w->qp[0][0]), 0);
	}
	up_put_be32(mgid.raw + 8, UP_MCAST_MAX_ATTACH);
	assert_int_equal(up_mcast_attach(w->port[0], &mgid, &w->qp[0][0]), -ENOSPC);
	/* The refused one left no empty group behind. */
	assert_int_equal(send_to(w, 0, &mgid).n, 0);
	assert_int_equal(up_mcast_attach(w->port[1], &mgid, &w->qp[1][0]), 0);
	assert_int_equal(send_to(w, 0, &mgid).n, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(members_get_a_copy_each, setup, teardown),
		cmocka_unit_test_setup_teardown(delivery_goes_on_where_it_stopped, setup, teardown),
		cmocka_unit_test_setup_teardown(tenants_do_not_hear_one_another, setup, teardown),
		cmocka_unit_test_setup_teardown(addresses_are_checked, setup, teardown),
		cmocka_unit_test_setup_teardown(membership_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(a_qp_is_forgotten, setup, teardown),
		cmocka_unit_test_setup_teardown(many_memberships_are_forgotten_in_turns, setup,
						teardown),
		cmocka_unit_test_setup_teardown(only_active_ports_hear, setup, teardown),
		cmocka_unit_test_setup_teardown(qps_of_a_group_are_limited, setup, teardown),
		cmocka_unit_test_setup_teardown(attachments_of_a_port_are_limited, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
