/* SPDX-License-Identifier: BSD-2-Clause */
/* Subnet administration: what guests ask about ports and paths, and what is no request. */
#include "sa_rig.h"
#include "unit.h"

#include <stdlib.h>
#include <string.h>

/* 15.2.5.16, beside PATH_HAS_DGID and PATH_HAS_SGID */
enum {
	HAS_DLID = 1 << 4,
	HAS_SLID = 1 << 5,
	HAS_NUMB = 1 << 12,
	HAS_PKEY = 1 << 13,
	HAS_SL = 1 << 15,
	HAS_MTU = 3 << 16,
	HAS_RATE = 3 << 18,
	HAS_LIFE = 3 << 20,
};
enum { MTU_2048 = 4, MTU_4096 = 5, RATE_40 = 7, RATE_100 = 16, RATE_120 = 10, RATE_200 = 17 };

static int setup_one(void **state)
{
	return sa_rig_setup(1);
}

static int setup_two(void **state)
{
	return sa_rig_setup(2);
}

static unsigned ask(unsigned who, uint16_t attribute, uint64_t mask)
{
	sa_prepare(&rig.guest[who], GET, attribute, mask);
	return sa_call(&rig.guest[who]);
}

static void class_port_info(void **state)
{
	const uint8_t *r = rig.guest[0].got + AT_RECORD;

	assert_int_equal(ask(0, CLASS_PORT_INFO, 0), OK);
	assert_int_equal(r[0], 1);
	assert_int_equal(r[1], 2);
	/* 13.4.8.1: CapabilityMask2 in the high 27 bits; bit 12: full members that only send. */
	assert_true(up_get_be32(r + 4) >> 5 & 1 << 12);
	assert_in_range(up_get_be32(r + 4) & 31, 10, 20);
}

/* The request for the path from `who` to the guest `to`, with what `more` names. */
static uint8_t *path_request(unsigned who, unsigned to, uint64_t more)
{
	uint8_t *r =
		sa_prepare(&rig.guest[who], GET, PATH_RECORD, PATH_HAS_DGID | PATH_HAS_SGID | more);

	sa_put_gid(r + PATH_SGID, &rig.guest[who]);
	sa_put_gid(r + PATH_DGID, &rig.guest[to]);
	return r;
}

static void check_path(const uint8_t *r, unsigned from, unsigned to)
{
	assert_memory_equal(r + PATH_SGID, rig.guest[from].port->gid.raw, 16);
	assert_memory_equal(r + PATH_DGID, rig.guest[to].port->gid.raw, 16);
	assert_int_equal(up_get_be16(r + PATH_SLID), rig.guest[from].port->lid);
	assert_int_equal(up_get_be16(r + PATH_DLID), rig.guest[to].port->lid);
	assert_int_equal(r[PATH_REVERSIBLE] & 0x80, 0x80);
	assert_int_equal(up_get_be16(r + PATH_PKEY), 0xffff);
	assert_int_equal(r[PATH_MTU], EXACTLY | MTU_4096);
	assert_int_equal(r[PATH_RATE], EXACTLY | RATE_100);
	assert_int_equal(r[PATH_LIFE] & 0xc0, EXACTLY);
}

static void path_by_gid(void **state)
{
	uint8_t *r = path_request(0, 1, HAS_NUMB | HAS_PKEY | HAS_SL);

	r[PATH_REVERSIBLE] = 0x81;
	up_put_be16(r + PATH_PKEY, 0x7fff);
	up_put_be16(r + PATH_SL, 5);
	assert_int_equal(sa_call(&rig.guest[0]), OK);
	check_path(rig.guest[0].got + AT_RECORD, 0, 1);
	assert_int_equal(up_get_be16(rig.guest[0].got + AT_RECORD + PATH_SL), 5);
	path_request(0, 0, 0);
	assert_int_equal(sa_call(&rig.guest[0]), OK);
	check_path(rig.guest[0].got + AT_RECORD, 0, 0);
}

static void path_by_lid(void **state)
{
	struct sa_guest *g = &rig.guest[0];
	uint8_t *r = sa_prepare(g, GET, PATH_RECORD, HAS_DLID | HAS_SLID);

	up_put_be16(r + PATH_SLID, rig.guest[1].port->lid);
	up_put_be16(r + PATH_DLID, rig.guest[2].port->lid);
	assert_int_equal(sa_call(g), OK);
	check_path(g->got + AT_RECORD, 1, 2);
	/* To the manager itself. */
	up_put_be16(r + PATH_DLID, 1);
	assert_int_equal(sa_call(g), OK);
	assert_int_equal(up_get_be16(g->got + AT_RECORD + PATH_DLID), 1);
}

static void contradiction_has_no_path(void **state)
{
	uint8_t *r = path_request(0, 1, HAS_DLID);

	up_put_be16(r + PATH_DLID, rig.guest[2].port->lid);
	assert_int_equal(sa_call(&rig.guest[0]), NO_RECORDS);
	up_put_be16(r + PATH_DLID, rig.guest[1].port->lid);
	assert_int_equal(sa_call(&rig.guest[0]), OK);
}

static void nobody_has_no_path(void **state)
{
	uint8_t *r = path_request(0, 1, 0);

	r[PATH_DGID + 15] ^= 1;
	assert_int_equal(sa_call(&rig.guest[0]), NO_RECORDS);
	r = sa_prepare(&rig.guest[0], GET, PATH_RECORD, HAS_DLID | HAS_SLID);
	up_put_be16(r + PATH_SLID, rig.guest[0].port->lid);
	for (unsigned i = 0; i < 3; i++) {
		static const uint16_t none[] = {0, 0xbfff, 0xffff};

		up_put_be16(r + PATH_DLID, none[i]);
		assert_int_equal(sa_call(&rig.guest[0]), NO_RECORDS);
	}
	up_port_set_driver(rig.guest[1].port, false);
	path_request(0, 1, 0);
	assert_int_equal(sa_call(&rig.guest[0]), NO_RECORDS);
	up_port_set_driver(rig.guest[1].port, true);
	assert_int_equal(sa_call(&rig.guest[0]), OK);
}

/* Get names both ends, 15.2.5.16. */
static void path_needs_its_ends(void **state)
{
	assert_int_equal(ask(0, PATH_RECORD, 0), MISSING);
	assert_int_equal(ask(0, PATH_RECORD, PATH_HAS_DGID), MISSING);
	assert_int_equal(ask(0, PATH_RECORD, PATH_HAS_SGID), MISSING);
}

static unsigned path_with(uint64_t mask, unsigned at, unsigned value)
{
	path_request(0, 1, mask)[at] = (uint8_t)value;
	return sa_call(&rig.guest[0]);
}

static void selectors(void **state)
{
	static const struct {
		uint64_t mask;
		unsigned at, value, status;
	} cases[] = {
		{HAS_MTU, PATH_MTU, GREATER | MTU_2048, OK},
		{HAS_MTU, PATH_MTU, GREATER | MTU_4096, NO_RECORDS},
		{HAS_MTU, PATH_MTU, LESS | MTU_4096, NO_RECORDS},
		{HAS_MTU, PATH_MTU, LESS | (MTU_4096 + 1), OK},
		{HAS_MTU, PATH_MTU, EXACTLY | MTU_4096, OK},
		{HAS_MTU, PATH_MTU, EXACTLY | MTU_2048, NO_RECORDS},
		{HAS_MTU, PATH_MTU, LARGEST, OK},
		/* 100 Gb/s has code 16, 120 has 10: codes are in no order. */
		{HAS_RATE, PATH_RATE, GREATER | RATE_40, OK},
		{HAS_RATE, PATH_RATE, GREATER | RATE_120, NO_RECORDS},
		{HAS_RATE, PATH_RATE, LESS | RATE_120, OK},
		{HAS_RATE, PATH_RATE, LESS | RATE_200, OK},
		{HAS_RATE, PATH_RATE, EXACTLY | RATE_100, OK},
		{HAS_RATE, PATH_RATE, EXACTLY | RATE_200, NO_RECORDS},
		{HAS_RATE, PATH_RATE, LESS | 63, NO_RECORDS},
		{HAS_LIFE, PATH_LIFE, LESS | 31, OK},
		{HAS_LIFE, PATH_LIFE, GREATER | 31, NO_RECORDS},
		/* A value without its selector asks for nothing, nor does the reverse. */
		{HAS_MTU & 1 << 16, PATH_MTU, EXACTLY | MTU_2048, OK},
		{HAS_MTU & 1 << 17, PATH_MTU, EXACTLY | MTU_2048, OK},
		{HAS_PKEY, PATH_PKEY, 0x12, NO_RECORDS},
	};

	for (unsigned i = 0; i < UP_ARRAY_SIZE(cases); i++)
		assert_int_equal(path_with(cases[i].mask, cases[i].at, cases[i].value),
				 cases[i].status);
}

static void path_to_a_group(void **state)
{
	struct sa_guest *g = &rig.guest[0];
	uint8_t *r = path_request(0, 1, 0);

	memcpy(r + PATH_DGID, sa_broadcast, 16);
	assert_int_equal(sa_call(g), OK);
	assert_memory_equal(g->got + AT_RECORD + PATH_DGID, sa_broadcast, 16);
	assert_int_equal(up_get_be16(g->got + AT_RECORD + PATH_DLID), 0xc000);
	up_put_be64(g->mad + AT_MASK, PATH_HAS_DGID | PATH_HAS_SGID | HAS_DLID);
	up_put_be16(r + PATH_DLID, 0xc001);
	assert_int_equal(sa_call(g), NO_RECORDS);
	up_put_be16(r + PATH_DLID, 0xc000);
	assert_int_equal(sa_call(g), OK);
	r[PATH_DGID + 15] = 0;
	assert_int_equal(sa_call(g), NO_RECORDS);
}

static void table_of_paths(void **state)
{
	struct sa_guest *g = &rig.guest[0];
	uint8_t *r = sa_prepare(g, GET_TABLE, PATH_RECORD, PATH_HAS_SGID), *table;
	size_t n;

	/* To each of the tenant's ports and its manager. */
	sa_put_gid(r + PATH_SGID, g);
	table = sa_call_table(g, &n);
	assert_int_equal(n, 4);
	for (size_t i = 0; i < n; i++) {
		assert_memory_equal(table + i * PATH_BYTES + PATH_SGID, g->port->gid.raw, 16);
		assert_int_not_equal(up_get_be16(table + i * PATH_BYTES + PATH_DLID),
				     rig.guest[3].port->lid);
	}
	free(table);
	sa_prepare(g, GET_TABLE, PATH_RECORD, 0);
	free(sa_call_table(g, &n));
	assert_int_equal(n, 16);
	r = sa_prepare(g, GET_TABLE, PATH_RECORD, PATH_HAS_DGID);
	memcpy(r + PATH_DGID, sa_broadcast, 16);
	free(sa_call_table(g, &n));
	assert_int_equal(n, 4);
	/* None is no error of a table: it is one segment without records. */
	r = sa_prepare(g, GET_TABLE, PATH_RECORD, PATH_HAS_DGID);
	free(sa_call_table(g, &n));
	assert_int_equal(n, 0);
}

/* 15.2.5.2: LID, then NodeInfo (14.2.5.3) and NodeDescription. */
static void node_record(void **state)
{
	struct sa_guest *g = &rig.guest[0];
	uint8_t *r = sa_prepare(g, GET, NODE_RECORD, 1 << 0), *table;
	size_t n;

	up_put_be16(r, rig.guest[2].port->lid);
	assert_int_equal(sa_call(g), OK);
	assert_int_equal(up_get_be16(g->got + AT_RECORD), rig.guest[2].port->lid);
	assert_int_equal(g->got[AT_RECORD + 4 + 2], 1);
	assert_true(up_get_be64(g->got + AT_RECORD + 4 + 12) == rig.guest[2].port->guid);
	assert_string_equal((char *)g->got + AT_RECORD + 44, "vm2");
	/* By what each port has of its own: GUIDs and description. */
	for (unsigned bit = 6; bit <= 8; bit++) {
		r = sa_prepare(g, GET, NODE_RECORD, 1u << bit);
		up_put_be64(r + 4 + 4 + (bit - 6) * 8, rig.guest[1].port->guid);
		assert_int_equal(sa_call(g), OK);
		assert_string_equal((char *)g->got + AT_RECORD + 44, "vm1");
	}
	r = sa_prepare(g, GET, NODE_RECORD, 1 << 14);
	memcpy(r + 44, "vm1", 3);
	assert_int_equal(sa_call(g), OK);
	assert_int_equal(up_get_be16(g->got + AT_RECORD), rig.guest[1].port->lid);
	/* All are channel adapters, none a switch. */
	assert_int_equal(ask(0, NODE_RECORD, 0), TOO_MANY);
	sa_prepare(g, GET, NODE_RECORD, 1 << 4)[4 + 2] = 2;
	assert_int_equal(sa_call(g), NO_RECORDS);
	sa_prepare(g, GET_TABLE, NODE_RECORD, 1 << 4)[4 + 2] = 1;
	table = sa_call_table(g, &n);
	assert_int_equal(n, 4);
	free(table);
}

/* 15.2.5.3: LID, port number, and PortInfo (14.2.5.6), whose CapabilityMask is at 20. */
static void port_info_record(void **state)
{
	const uint32_t is_sm = 1 << 1, extended = 1 << 14;
	struct sa_guest *g = &rig.guest[0];
	uint8_t *r = sa_prepare(g, GET, PORT_INFO_RECORD, 1 << 0 | 1 << 1);
	size_t n;

	up_put_be16(r, rig.guest[1].port->lid);
	r[2] = 1;
	assert_int_equal(sa_call(g), OK);
	assert_int_equal(up_get_be16(g->got + AT_RECORD + 4 + 16), rig.guest[1].port->lid);
	assert_int_equal(up_get_be16(g->got + AT_RECORD + 4 + 18), 1);
	assert_int_equal(g->got[AT_RECORD + 4 + 32] & 15, 4);
	r[2] = 2;
	assert_int_equal(sa_call(g), NO_RECORDS);
	/* The modifier's high bit: ports that have at least these capabilities. */
	r = sa_prepare(g, GET, PORT_INFO_RECORD, 1 << 7);
	up_put_be32(r + 4 + 20, is_sm);
	assert_int_equal(sa_call(g), NO_RECORDS);
	up_put_be32(g->mad + AT_MODIFIER, 1u << 31);
	assert_int_equal(sa_call(g), OK);
	assert_int_equal(up_get_be16(g->got + AT_RECORD), 1);
	r = sa_prepare(g, GET_TABLE, PORT_INFO_RECORD, 1 << 7);
	up_put_be32(r + 4 + 20, extended);
	up_put_be32(g->mad + AT_MODIFIER, 1u << 31);
	free(sa_call_table(g, &n));
	assert_int_equal(n, 4);
}

/* 15.2.5.12: LID, then SMInfo (14.2.5.13), whose last byte is priority and state; 3 is master. */
static void sm_info_record(void **state)
{
	const uint8_t *r = rig.guest[0].got + AT_RECORD;

	assert_int_equal(ask(0, SM_INFO_RECORD, 0), OK);
	assert_int_equal(up_get_be16(r), 1);
	assert_true(up_get_be64(r + 4) != 0);
	assert_int_equal(r[4 + 20] & 15, 3);
	up_put_be16(sa_prepare(&rig.guest[0], GET, SM_INFO_RECORD, 1), 2);
	assert_int_equal(sa_call(&rig.guest[0]), NO_RECORDS);
}

/* 13.4.7: 1 in bits 2 to 4 is a bad version, 3 a bad combination of method and attribute. */
static void what_is_unknown_is_refused(void **state)
{
	static const struct {
		uint16_t attribute;
		uint8_t method;
	} unknown[] = {
		{0x0000, GET},	     {0x0003, SET},
		{0x0030, GET_TABLE}, {CLASS_PORT_INFO, GET_TABLE},
		{PATH_RECORD, SET},  {PATH_RECORD, DELETE},
		{NODE_RECORD, SET},  {PATH_RECORD, 0x13},
		{PATH_RECORD, 0x14}, {PATH_RECORD, 0x00},
		{0xffff, 0x7f},
	};
	struct sa_guest *g = &rig.guest[0];

	for (unsigned i = 0; i < UP_ARRAY_SIZE(unknown); i++) {
		sa_prepare(g, unknown[i].method, unknown[i].attribute, ~0ull);
		assert_int_equal(sa_call(g), 0x000c);
	}
	path_request(0, 1, 0);
	g->mad[AT_CLASS_VERSION] = 1;
	assert_int_equal(sa_call(g), 0x0004);
	g->mad[AT_CLASS_VERSION] = 2;
	g->mad[AT_BASE] = 2;
	assert_int_equal(sa_call(g), 0x0004);
}

static void what_is_no_request_has_no_answer(void **state)
{
	static const uint8_t methods[] = {0x81, 0x92, 0x95, 0x86, 0x03, 0x05, 0x06, 0x07};
	static const uint8_t classes[] = {0x01, 0x81, 0x07, 0x06, 0x21, 0x00, 0xff};
	struct sa_guest *g = &rig.guest[0];

	for (unsigned i = 0; i < UP_ARRAY_SIZE(methods); i++) {
		sa_prepare(g, methods[i], PATH_RECORD, 0);
		sa_send(g);
		sa_expect_silence(g);
	}
	for (unsigned i = 0; i < UP_ARRAY_SIZE(classes); i++) {
		sa_prepare(g, GET, PATH_RECORD, 0);
		g->mad[AT_CLASS] = classes[i];
		sa_send(g);
		sa_expect_silence(g);
	}
}

static void other_lengths_and_keys_are_dropped(void **state)
{
	static const uint32_t lengths[] = {0, 1, 24, 255, 257, 512};
	struct sa_guest *g = &rig.guest[0];

	for (unsigned i = 0; i < UP_ARRAY_SIZE(lengths); i++) {
		sa_prepare(g, GET, CLASS_PORT_INFO, 0);
		sa_send_from(g, 1, lengths[i]);
		fake_submit(g->qp[1]);
		sa_expect_silence(g);
	}
	sa_prepare(g, GET, CLASS_PORT_INFO, 0);
	sa_send_from(g, 1, 256)->dest_qkey = 0x1234;
	fake_submit(g->qp[1]);
	/* QP1 does not reach QP0. */
	sa_send_from(g, 1, 256)->dest_qpn = 0;
	fake_submit(g->qp[1]);
	sa_expect_silence(g);
}

/* 16.1.3: the manager's port has an agent for its counters, too. */
static void counters_of_the_manager(void **state)
{
	struct sa_guest *g = &rig.guest[0];

	assert_int_equal(ask(0, CLASS_PORT_INFO, 0), OK);
	sa_prepare(g, GET, 0x12, 0);
	g->mad[AT_CLASS] = 4;
	g->mad[AT_CLASS_VERSION] = 1;
	g->mad[AT_SMP_DATA + 1] = 1;
	assert_int_equal(sa_call(g), OK);
	assert_true(up_get_be32(g->got + AT_SMP_DATA + 32) > 0);
}

/* QP0 answers there what it is asked, and only subnet management. */
static void smps_come_to_qp0(void **state)
{
	struct sa_guest *g = &rig.guest[0];
	struct fake_qp *smi = g->qp[0];

	fake_recv(smi, 3u << 20, 296);
	sa_prepare(g, GET, CLASS_PORT_INFO, 0);
	sa_send_from(g, 0, 256);
	fake_submit(smi);
	sa_prepare(g, GET, 0x20, 0);
	g->mad[AT_CLASS] = 1;
	g->mad[AT_CLASS_VERSION] = 1;
	sa_send_from(g, 0, 256);
	fake_submit(smi);
	up_fabric_kick(&smi->base);
	/* Both go through the manager's hands before this. */
	while (!__atomic_load_n(&smi->rq_taken, __ATOMIC_ACQUIRE))
		sa_expect_silence(g);
	up_world_stop(rig.fabric);
	assert_int_equal(smi->rq_taken, 1);
	assert_int_equal(g->hca->ram[(3u << 20) + 40 + AT_METHOD], 0x81);
	assert_int_equal(g->hca->ram[(3u << 20) + 40 + AT_SMP_DATA + 20] & 15, 3);
	up_world_start(rig.fabric);
}

static void tenants_do_not_see_one_another(void **state)
{
	struct sa_guest *g = &rig.guest[0], *red = &rig.guest[3];
	uint8_t *r;
	size_t n;

	path_request(0, 3, 0);
	assert_int_equal(sa_call(g), NO_RECORDS);
	r = sa_prepare(g, GET, PATH_RECORD, HAS_DLID | HAS_SLID);
	up_put_be16(r + PATH_SLID, g->port->lid);
	up_put_be16(r + PATH_DLID, red->port->lid);
	assert_int_equal(sa_call(g), NO_RECORDS);
	up_put_be16(sa_prepare(g, GET, NODE_RECORD, 1), red->port->lid);
	assert_int_equal(sa_call(g), NO_RECORDS);
	sa_prepare(red, GET_TABLE, NODE_RECORD, 0);
	free(sa_call_table(red, &n));
	assert_int_equal(n, 2);
}

/* Another guest asks while this one does, and gets its own answer. */
static void answers_go_to_the_asker(void **state)
{
	for (unsigned round = 0; round < 50; round++) {
		for (unsigned i = 0; i < 4; i++) {
			path_request(i, i, 0);
			sa_send(&rig.guest[i]);
		}
		for (unsigned i = 0; i < 4; i++) {
			sa_receive(&rig.guest[i]);
			assert_memory_equal(rig.guest[i].got + AT_TID, rig.guest[i].mad + AT_TID,
					    8);
			check_path(rig.guest[i].got + AT_RECORD, i, i);
		}
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup_one, sa_rig_teardown)
#define T2(f) cmocka_unit_test_setup_teardown(f, setup_two, sa_rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(class_port_info),
		T(path_by_gid),
		T(path_by_lid),
		T(contradiction_has_no_path),
		T(nobody_has_no_path),
		T(path_needs_its_ends),
		T(selectors),
		T(path_to_a_group),
		T(table_of_paths),
		T(node_record),
		T(port_info_record),
		T(sm_info_record),
		T(what_is_unknown_is_refused),
		T(what_is_no_request_has_no_answer),
		T(other_lengths_and_keys_are_dropped),
		T(counters_of_the_manager),
		T(smps_come_to_qp0),
		T(tenants_do_not_see_one_another),
		T(answers_go_to_the_asker),
		T2(answers_go_to_the_asker),
		T2(table_of_paths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
