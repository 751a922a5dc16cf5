/* SPDX-License-Identifier: BSD-2-Clause */
/* The fabric when memory is short: what fails leaves nothing behind, and goes well later. */
#include "no_memory.h"
#include "unit.h"

#include "fabric/fabric.h"
#include "subnet/subnet.h"

#include <errno.h>
#include <stdlib.h>

/* More than any call here allocates. */
#define MOST 256

static unsigned idle_poll(struct up_hca *hca, uint64_t now, uint64_t *due)
{
	return 0;
}

static const struct up_hca_ops idle_ops = {.poll = idle_poll};

static int setup(void **state)
{
	struct up_fabric_config cfg = UP_FABRIC_CONFIG_DEFAULT;

	cfg.manager = &up_subnet_manager;
	*state = up_fabric_create(&cfg);
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	up_fabric_destroy(*state);
	return 0;
}

/* A tenant's first port brings the tenant and its subnet manager along. */
static void port_is_made_wholly_or_not_at_all(void **state)
{
	struct up_fabric *f = *state;
	struct up_port *p = NULL;
	unsigned n;

	for (n = 0; !p && n < MOST; n++) {
		no_memory_after(n);
		p = up_port_create(f, "a", "t", 0);
		assert_int_equal(no_memory_end(), !p);
		assert_ptr_equal(up_port_find(f, "a"), p);
		if (!p)
			assert_int_equal(errno, ENOMEM);
	}
	assert_in_range(n, 5, MOST);
	assert_non_null(p);
	assert_ptr_equal(up_port_by_gid(p, &p->gid), p);
	up_port_destroy(p);
}

static void further_port_is_made_wholly_or_not_at_all(void **state)
{
	struct up_fabric *f = *state;
	struct up_port *first = up_port_create(f, "a", "t", 0), *p = NULL;

	for (unsigned n = 0; !p && n < MOST; n++) {
		no_memory_after(n);
		p = up_port_create(f, "b", "t", 0);
		assert_int_equal(no_memory_end(), !p);
	}
	assert_non_null(p);
	assert_int_equal(p->lid, first->lid + 1);
}

static void queue_pair_is_attached_or_not(void **state)
{
	static const struct up_gid group = {{0xff, 0x12, 0x40, 0x1b, [15] = 1}};
	struct up_hca hca = {.ops = &idle_ops};
	struct up_qp qp = {.hca = &hca};
	struct up_port *p = up_port_create(*state, "a", "t", 0);
	int err = -ENOMEM;

	up_sched_init(&qp.sched);
	up_port_attach(p, &hca);
	for (unsigned n = 0; err && n < MOST; n++) {
		no_memory_after(n);
		err = up_mcast_attach(p, &group, &qp);
		assert_int_equal(no_memory_end(), err != 0);
		if (!err)
			continue;
		assert_int_equal(err, -ENOMEM);
		assert_int_equal(up_mcast_detach(p, &group, &qp), -ENOENT);
	}
	assert_int_equal(err, 0);
	assert_int_equal(up_mcast_attach(p, &group, &qp), -EEXIST);
	assert_int_equal(up_mcast_detach(p, &group, &qp), 0);
	up_port_detach(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(port_is_made_wholly_or_not_at_all, setup, teardown),
		cmocka_unit_test_setup_teardown(further_port_is_made_wholly_or_not_at_all, setup,
						teardown),
		cmocka_unit_test_setup_teardown(queue_pair_is_attached_or_not, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
