/* SPDX-License-Identifier: BSD-2-Clause */
/* Multicast groups at the subnet manager: joining, leaving, and what ends a group. */
#include "no_memory.h"
#include "sa_rig.h"
#include "unit.h"

#include <stdlib.h>
#include <string.h>

/* 15.2.5.17 */
enum {
	MC_MGID = 0,
	MC_PORT_GID = 16,
	MC_QKEY = 32,
	MC_MLID = 36,
	MC_MTU = 38,
	MC_TCLASS = 39,
	MC_PKEY = 40,
	MC_RATE = 42,
	MC_LIFE = 43,
	MC_SL_FLOW_HOP = 44,
	MC_SCOPE_JOIN = 48,
};
enum {
	HAS_MGID = 1 << 0,
	HAS_PORT_GID = 1 << 1,
	HAS_QKEY = 1 << 2,
	HAS_MLID = 1 << 3,
	HAS_MTU = 3 << 4,
	HAS_TCLASS = 1 << 6,
	HAS_PKEY = 1 << 7,
	HAS_RATE = 3 << 8,
	HAS_LIFE = 3 << 10,
	HAS_SL = 1 << 12,
	HAS_FLOW = 1 << 13,
	HAS_HOP = 1 << 14,
	HAS_JOIN = 1 << 16,
	JOINS = HAS_MGID | HAS_PORT_GID | HAS_JOIN,
	CREATES = JOINS | HAS_QKEY | HAS_PKEY | HAS_TCLASS | HAS_SL | HAS_FLOW,
};
enum { FULL = 1, NON = 2, SEND_ONLY = 4, SEND_ONLY_FULL = 8 };

#define QKEY 0x12345u
/* Of one port, sa_mcast.c. */
#define GROUPS 1024

static int setup(void **state)
{
	return sa_rig_setup(1);
}

static void put_mgid(uint8_t *at, unsigned number)
{
	memcpy(at, sa_broadcast, 16);
	up_put_be32(at + 12, number);
}

static uint8_t *member_request(unsigned who, uint8_t method, uint64_t mask, unsigned group,
			       unsigned states)
{
	uint8_t *r = sa_prepare(&rig.guest[who], method, MC_MEMBER_RECORD, mask);

	put_mgid(r + MC_MGID, group);
	sa_put_gid(r + MC_PORT_GID, &rig.guest[who]);
	up_put_be32(r + MC_QKEY, QKEY);
	up_put_be16(r + MC_PKEY, 0xffff);
	r[MC_SCOPE_JOIN] = (uint8_t)states;
	return r;
}

static unsigned join(unsigned who, unsigned group, unsigned states)
{
	member_request(who, SET, CREATES, group, states);
	return sa_call(&rig.guest[who]);
}

static unsigned leave(unsigned who, unsigned group, unsigned states)
{
	member_request(who, DELETE, JOINS, group, states);
	return sa_call(&rig.guest[who]);
}

static const uint8_t *got(unsigned who)
{
	return rig.guest[who].got + AT_RECORD;
}

static bool group_exists(unsigned group)
{
	member_request(2, GET, HAS_MGID, group, 0);
	return sa_call(&rig.guest[2]) == OK;
}

/* Members of all groups that a key shows. */
static size_t members_of(unsigned group)
{
	size_t n;

	member_request(2, GET_TABLE, HAS_MGID, group, 0);
	up_put_be64(rig.guest[2].mad + AT_SM_KEY, 1);
	free(sa_call_table(&rig.guest[2], &n));
	return n;
}

static void group_of_everyone_is_there(void **state)
{
	member_request(0, SET, JOINS, 0xffffffff, FULL);
	assert_int_equal(sa_call(&rig.guest[0]), OK);
	assert_memory_equal(got(0) + MC_MGID, sa_broadcast, 16);
	assert_int_equal(up_get_be32(got(0) + MC_QKEY), 0x0b1b);
	assert_int_equal(up_get_be16(got(0) + MC_MLID), 0xc000);
	assert_int_equal(up_get_be16(got(0) + MC_PKEY), 0xffff);
	assert_int_equal(got(0)[MC_MTU], EXACTLY | 5);
	assert_int_equal(got(0)[MC_RATE], EXACTLY | 16);
	assert_int_equal(got(0)[MC_SCOPE_JOIN], 0x2 << 4 | FULL);
	assert_memory_equal(got(0) + MC_PORT_GID, rig.guest[0].port->gid.raw, 16);
	/* It stays when nobody is a member. */
	assert_int_equal(leave(0, 0xffffffff, FULL), OK);
	assert_int_equal(members_of(0xffffffff), 0);
	assert_true(group_exists(0xffffffff));
}

static void group_lives_as_long_as_a_full_member(void **state)
{
	uint16_t mlid;

	assert_int_equal(join(0, 7, FULL), OK);
	mlid = up_get_be16(got(0) + MC_MLID);
	assert_in_range(mlid, 0xc001, 0xfffe);
	assert_int_equal(up_get_be32(got(0) + MC_QKEY), QKEY);
	member_request(1, SET, JOINS, 7, NON);
	assert_int_equal(sa_call(&rig.guest[1]), OK);
	assert_int_equal(up_get_be16(got(1) + MC_MLID), mlid);
	assert_int_equal(members_of(7), 2);
	assert_int_equal(leave(0, 7, FULL), OK);
	assert_false(group_exists(7));
	assert_int_equal(leave(1, 7, NON), INVALID);
}

static void join_states_add_up(void **state)
{
	assert_int_equal(join(0, 7, FULL), OK);
	assert_int_equal(join(0, 7, SEND_ONLY | NON), OK);
	assert_int_equal(got(0)[MC_SCOPE_JOIN] & 15, FULL | SEND_ONLY | NON);
	assert_int_equal(members_of(7), 1);
	/* Only what one is can be left, and all of it at once. */
	assert_int_equal(leave(0, 7, SEND_ONLY_FULL), INVALID);
	assert_int_equal(leave(0, 7, FULL | SEND_ONLY_FULL), INVALID);
	/* o15-0.1.14: the answer is what the port still is. */
	assert_int_equal(leave(0, 7, SEND_ONLY), OK);
	assert_int_equal(got(0)[MC_SCOPE_JOIN] & 15, FULL | NON);
	assert_int_equal(leave(0, 7, SEND_ONLY), INVALID);
	assert_int_equal(leave(0, 7, NON | FULL), OK);
	assert_int_equal(got(0)[MC_SCOPE_JOIN] & 15, 0);
	assert_false(group_exists(7));
}

static void send_only_makes_no_group(void **state)
{
	assert_int_equal(join(0, 7, SEND_ONLY), INVALID);
	assert_int_equal(join(0, 7, NON), INVALID);
	assert_false(group_exists(7));
	assert_int_equal(join(0, 7, SEND_ONLY_FULL), OK);
	assert_int_equal(join(1, 7, SEND_ONLY), OK);
	assert_int_equal(leave(0, 7, SEND_ONLY_FULL), OK);
	assert_false(group_exists(7));
}

/* 15.2.5.17.2: what a request that creates must name. */
static void creation_needs_components(void **state)
{
	static const uint64_t needed[] = {HAS_MGID, HAS_PORT_GID, HAS_JOIN, HAS_QKEY,
					  HAS_PKEY, HAS_TCLASS,	  HAS_SL,   HAS_FLOW};

	for (unsigned i = 0; i < UP_ARRAY_SIZE(needed); i++) {
		member_request(0, SET, CREATES & ~needed[i], 7, FULL);
		assert_int_equal(sa_call(&rig.guest[0]), MISSING);
		assert_false(group_exists(7));
	}
	assert_int_equal(join(0, 7, 0), INVALID);
	member_request(0, DELETE, HAS_MGID | HAS_JOIN, 7, FULL);
	assert_int_equal(sa_call(&rig.guest[0]), MISSING);
}

static unsigned join_with(unsigned group, uint64_t mask, unsigned at, unsigned value)
{
	member_request(1, SET, CREATES | mask, group, FULL)[at] = (uint8_t)value;
	return sa_call(&rig.guest[1]);
}

static void parameters_must_fit(void **state)
{
	static const struct {
		uint64_t mask;
		unsigned at, value;
	} wrong[] = {
		{0, MC_QKEY, 9},
		{0, MC_TCLASS, 9},
		{0, MC_PKEY, 9},
		{0, MC_SL_FLOW_HOP, 0x10},
		{0, MC_SL_FLOW_HOP + 2, 1},
		{HAS_HOP, MC_SL_FLOW_HOP + 3, 1},
		{HAS_MLID, MC_MLID, 0xc1},
		{HAS_MTU, MC_MTU, EXACTLY | 4},
		{HAS_MTU, MC_MTU, GREATER | 5},
		{HAS_RATE, MC_RATE, EXACTLY | 2},
		{HAS_LIFE, MC_LIFE, GREATER | 40},
	};

	assert_int_equal(join(0, 7, FULL), OK);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(wrong); i++)
		assert_int_equal(join_with(7, wrong[i].mask, wrong[i].at, wrong[i].value), INVALID);
	assert_int_equal(members_of(7), 1);
	assert_int_equal(join_with(7, HAS_MTU, MC_MTU, GREATER | 3), OK);
	/* Nor is a group made that nothing here could be a member of. */
	assert_int_equal(join_with(8, HAS_MTU, MC_MTU, GREATER | 5), INVALID);
	assert_int_equal(join_with(8, HAS_MTU, MC_MTU, LESS | 1), INVALID);
	assert_int_equal(join_with(8, HAS_MTU, MC_MTU, EXACTLY | 6), INVALID);
	assert_int_equal(join_with(8, HAS_RATE, MC_RATE, EXACTLY | 13), INVALID);
	assert_int_equal(join_with(8, HAS_RATE, MC_RATE, GREATER | 16), INVALID);
	assert_int_equal(join_with(8, HAS_RATE, MC_RATE, EXACTLY | 60), INVALID);
	assert_int_equal(join_with(8, 0, MC_PKEY, 1), INVALID);
	assert_int_equal(join_with(8, 0, MC_MGID, 0xfe), INVALID);
	assert_false(group_exists(8));
}

/* 15.2.5.17.2: who makes a group may ask for less than the fabric has, and all members get that. */
static void creator_chooses_what_a_group_has(void **state)
{
	static const struct {
		uint64_t mask;
		unsigned at, value, made;
	} asks[] = {
		{HAS_MTU, MC_MTU, EXACTLY | 3, 3},    {HAS_MTU, MC_MTU, LESS | 5, 4},
		{HAS_MTU, MC_MTU, GREATER | 1, 5},    {HAS_MTU, MC_MTU, LARGEST | 1, 5},
		{HAS_MTU, MC_MTU, LESS | 20, 5},      {HAS_RATE, MC_RATE, EXACTLY | 2, 2},
		{HAS_RATE, MC_RATE, LESS | 8, 12},    {HAS_RATE, MC_RATE, GREATER | 2, 16},
		{HAS_RATE, MC_RATE, LARGEST | 2, 16}, {HAS_RATE, MC_RATE, LESS | 17, 16},
	};
	uint8_t *r;

	for (unsigned i = 0; i < UP_ARRAY_SIZE(asks); i++) {
		assert_int_equal(join_with(8, asks[i].mask, asks[i].at, asks[i].value), OK);
		assert_int_equal(got(1)[asks[i].at], EXACTLY | asks[i].made);
		/* Who joins, and who asks for a path to it, meets what it has. */
		member_request(0, SET, JOINS | asks[i].mask, 8, FULL)[asks[i].at] =
			(uint8_t)(GREATER | asks[i].made);
		assert_int_equal(sa_call(&rig.guest[0]), INVALID);
		member_request(0, SET, JOINS | asks[i].mask, 8, FULL)[asks[i].at] =
			(uint8_t)(EXACTLY | asks[i].made);
		assert_int_equal(sa_call(&rig.guest[0]), OK);
		assert_int_equal(got(0)[asks[i].at], EXACTLY | asks[i].made);
		r = sa_prepare(&rig.guest[2], GET, PATH_RECORD, PATH_HAS_DGID | PATH_HAS_SGID);
		put_mgid(r + PATH_DGID, 8);
		sa_put_gid(r + PATH_SGID, &rig.guest[2]);
		assert_int_equal(sa_call(&rig.guest[2]), OK);
		assert_int_equal(got(2)[asks[i].at == MC_MTU ? PATH_MTU : PATH_RATE],
				 EXACTLY | asks[i].made);
		assert_int_equal(leave(0, 8, FULL), OK);
		assert_int_equal(leave(1, 8, FULL), OK);
	}
}

/* o15-0.1.6 */
static void name_of_a_group_must_be_valid(void **state)
{
	static const struct {
		uint8_t mgid[4];
		unsigned status;
	} names[] = {
		{{0xff, 0x12, 0xa0, 0x1c}, OK},	     {{0xff, 0x02, 0, 0}, OK},
		{{0xff, 0x1f, 0xa0, 0x1b}, OK},	     {{0xff, 0x15, 0x60, 0x1b}, OK},
		{{0xef, 0x12, 0xa0, 0x1c}, INVALID}, {{0xff, 0x22, 0xa0, 0x1c}, INVALID},
		{{0xff, 0x82, 0x40, 0x1b}, INVALID}, {{0xff, 0x12, 0xa0, 0x1b}, INVALID},
	};

	for (unsigned i = 0; i < UP_ARRAY_SIZE(names); i++) {
		memcpy(member_request(0, SET, CREATES, i, FULL) + MC_MGID, names[i].mgid, 4);
		assert_int_equal(sa_call(&rig.guest[0]), names[i].status);
	}
}

/* 15.2.5.17.2: an MGID of zeroes asks the manager for one. */
static void manager_names_a_group(void **state)
{
	uint8_t first[16];

	for (unsigned i = 0; i < 2; i++) {
		memset(member_request(0, SET, CREATES, 0, FULL) + MC_MGID, 0, 16);
		assert_int_equal(sa_call(&rig.guest[0]), OK);
		assert_int_equal(got(0)[MC_MGID], 0xff);
		assert_int_equal(got(0)[MC_MGID + 1] >> 4, 1);
		if (i == 0)
			memcpy(first, got(0) + MC_MGID, 16);
	}
	assert_memory_not_equal(first, got(0) + MC_MGID, 16);
	memcpy(member_request(1, SET, JOINS, 0, FULL) + MC_MGID, first, 16);
	assert_int_equal(sa_call(&rig.guest[1]), OK);
}

static void port_speaks_for_itself_only(void **state)
{
	static const uint8_t methods[] = {SET, DELETE};

	assert_int_equal(join(0, 7, FULL), OK);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(methods); i++) {
		sa_put_gid(member_request(1, methods[i], CREATES, 7, FULL) + MC_PORT_GID,
			   &rig.guest[0]);
		assert_int_equal(sa_call(&rig.guest[1]), INVALID);
	}
	assert_int_equal(leave(1, 7, FULL), INVALID);
	assert_int_equal(members_of(7), 1);
}

static void port_that_goes_down_is_no_member(void **state)
{
	assert_int_equal(join(0, 7, FULL), OK);
	assert_int_equal(join(0, 8, FULL), OK);
	assert_int_equal(join(1, 8, FULL), OK);
	assert_int_equal(join(0, 0xffffffff, FULL), INVALID);
	member_request(0, SET, JOINS, 0xffffffff, FULL);
	assert_int_equal(sa_call(&rig.guest[0]), OK);
	up_port_set_driver(rig.guest[0].port, false);
	assert_false(group_exists(7));
	assert_int_equal(members_of(8), 1);
	assert_int_equal(members_of(0xffffffff), 0);
	up_port_set_driver(rig.guest[0].port, true);
	assert_int_equal(members_of(8), 1);
	sa_guest_destroy(&rig.guest[1]);
	assert_false(group_exists(8));
}

static void groups_and_members_are_listed(void **state)
{
	struct sa_guest *g = &rig.guest[2];
	uint8_t *r;
	size_t n;

	assert_int_equal(join(0, 7, FULL), OK);
	assert_int_equal(join(1, 7, FULL | NON), OK);
	assert_int_equal(join(1, 8, FULL), OK);
	/* Groups, without who is in them. */
	member_request(2, GET_TABLE, 0, 0, 0);
	r = sa_call_table(g, &n);
	assert_int_equal(n, 3);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(r[MC_PORT_GID + i], 0);
	free(r);
	/* What one port is a member of. */
	sa_put_gid(member_request(2, GET_TABLE, HAS_PORT_GID, 0, 0) + MC_PORT_GID, &rig.guest[1]);
	free(sa_call_table(g, &n));
	assert_int_equal(n, 2);
	r = member_request(2, GET, HAS_PORT_GID | HAS_MGID, 7, 0);
	sa_put_gid(r + MC_PORT_GID, &rig.guest[1]);
	assert_int_equal(sa_call(g), OK);
	assert_int_equal(got(2)[MC_SCOPE_JOIN] & 15, FULL | NON);
	member_request(2, GET, 0, 0, 0);
	assert_int_equal(sa_call(g), TOO_MANY);
	member_request(2, GET, HAS_MGID, 9, 0);
	assert_int_equal(sa_call(g), NO_RECORDS);
}

static void tenants_have_groups_of_their_own(void **state)
{
	assert_int_equal(join(3, 7, FULL), OK);
	assert_false(group_exists(7));
	member_request(0, SET, JOINS, 7, FULL);
	assert_int_equal(sa_call(&rig.guest[0]), MISSING);
}

static void groups_of_a_port_are_limited(void **state)
{
	for (unsigned i = 0; i < GROUPS; i++)
		assert_int_equal(join(0, i, FULL), OK);
	assert_int_equal(join(0, GROUPS, FULL), NO_RESOURCES);
	assert_false(group_exists(GROUPS));
	assert_int_equal(join(0, 0, SEND_ONLY), OK);
	assert_int_equal(join(1, GROUPS, FULL), OK);
	assert_int_equal(leave(0, 5, FULL), OK);
	assert_int_equal(join(0, GROUPS, FULL), OK);
	/* MLIDs of groups that are gone come back. */
	for (unsigned i = 0; i < 0x4000; i++) {
		assert_int_equal(join(1, 5, FULL), OK);
		assert_int_equal(leave(1, 5, FULL), OK);
	}
}

static void group_that_finds_no_memory_is_refused(void **state)
{
	unsigned status = NO_RESOURCES;

	/* The first allocation is the request's own. */
	for (unsigned n = 1; status != OK && n < 16; n++) {
		no_memory_after(n);
		status = join(0, 5, FULL);
		assert_int_equal(no_memory_end(), status != OK);
		assert_int_equal(status, status == OK ? OK : NO_RESOURCES);
		assert_int_equal(group_exists(5), status == OK);
	}
	assert_int_equal(status, OK);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, sa_rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(group_of_everyone_is_there),
		T(group_lives_as_long_as_a_full_member),
		T(join_states_add_up),
		T(send_only_makes_no_group),
		T(creation_needs_components),
		T(parameters_must_fit),
		T(creator_chooses_what_a_group_has),
		T(name_of_a_group_must_be_valid),
		T(manager_names_a_group),
		T(port_speaks_for_itself_only),
		T(port_that_goes_down_is_no_member),
		T(groups_and_members_are_listed),
		T(tenants_have_groups_of_their_own),
		T(groups_of_a_port_are_limited),
		T(group_that_finds_no_memory_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
