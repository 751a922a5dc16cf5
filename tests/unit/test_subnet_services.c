/* SPDX-License-Identifier: BSD-2-Clause */
/* Services that guests announce to the subnet manager and look up. */
#include "no_memory.h"
#include "sa_rig.h"
#include "unit.h"

#include <stdlib.h>
#include <string.h>

/* 15.2.5.14 */
enum {
	SV_ID = 0,
	SV_GID = 8,
	SV_PKEY = 24,
	SV_LEASE = 28,
	SV_KEY = 32,
	SV_NAME = 48,
	SV_DATA = 112
};
enum {
	HAS_ID = 1 << 0,
	HAS_GID = 1 << 1,
	HAS_PKEY = 1 << 2,
	HAS_LEASE = 1 << 4,
	HAS_KEY = 1 << 5,
	HAS_NAME = 1 << 6,
	/* The first of 16, 8, 4 and 2 components: 8, 16, 32 and 64 bits. */
	HAS_DATA8 = 1 << 7,
	HAS_DATA16 = 1 << 23,
	ALL = HAS_ID | HAS_GID | HAS_LEASE | HAS_KEY | HAS_NAME,
};
#define HAS_DATA32 (1ull << 31)
#define HAS_DATA64 (1ull << 35)
#define FOR_EVER 0xffffffffu
/* Of one port, sa_service.c. */
#define SERVICES 256

static int setup(void **state)
{
	return sa_rig_setup(1);
}

static uint8_t *request(unsigned who, uint8_t method, uint64_t mask, uint64_t id)
{
	uint8_t *r = sa_prepare(&rig.guest[who], method, SERVICE_RECORD, mask);

	up_put_be64(r + SV_ID, id);
	sa_put_gid(r + SV_GID, &rig.guest[who]);
	up_put_be16(r + SV_PKEY, 0xffff);
	up_put_be32(r + SV_LEASE, 100);
	memset(r + SV_KEY, 0x6b, 16);
	memcpy(r + SV_NAME, "storage", 7);
	for (unsigned i = 0; i < 64; i++)
		r[SV_DATA + i] = (uint8_t)i;
	return r;
}

static unsigned announce(unsigned who, uint64_t id)
{
	request(who, SET, ALL, id);
	return sa_call(&rig.guest[who]);
}

static unsigned withdraw(unsigned who, uint64_t id)
{
	request(who, DELETE, ALL, id);
	return sa_call(&rig.guest[who]);
}

static unsigned look_up(unsigned who, uint64_t id)
{
	request(who, GET, HAS_ID, id);
	return sa_call(&rig.guest[who]);
}

static const uint8_t *got(unsigned who)
{
	return rig.guest[who].got + AT_RECORD;
}

static void service_is_found_by_others(void **state)
{
	static const uint8_t none[16];

	assert_int_equal(announce(0, 5), OK);
	assert_int_equal(look_up(1, 5), OK);
	assert_memory_equal(got(1) + SV_GID, rig.guest[0].port->gid.raw, 16);
	assert_string_equal((const char *)got(1) + SV_NAME, "storage");
	assert_int_equal(got(1)[SV_DATA + 63], 63);
	/* The key is for the one who knows it. */
	assert_memory_equal(got(1) + SV_KEY, none, 16);
	assert_int_equal(look_up(1, 6), NO_RECORDS);
	assert_int_equal(look_up(3, 5), NO_RECORDS);
	assert_int_equal(withdraw(0, 5), OK);
	assert_int_equal(withdraw(0, 5), NO_RECORDS);
	assert_int_equal(look_up(1, 5), NO_RECORDS);
}

static unsigned find_with(uint64_t mask, unsigned at, uint8_t value)
{
	request(1, GET, mask, 5)[at] = value;
	return sa_call(&rig.guest[1]);
}

static void service_is_found_by_each_component(void **state)
{
	static const struct {
		uint64_t mask;
		unsigned at, value;
	} parts[] = {
		{HAS_ID, SV_ID + 7, 5},
		{HAS_PKEY, SV_PKEY, 0xff},
		{HAS_NAME, SV_NAME + 7, 0},
		{HAS_DATA8, SV_DATA, 0},
		{HAS_DATA8 << 15, SV_DATA + 15, 15},
		{HAS_DATA16, SV_DATA + 17, 17},
		{HAS_DATA16 << 7, SV_DATA + 31, 31},
		{HAS_DATA32, SV_DATA + 32, 32},
		{HAS_DATA64, SV_DATA + 48, 48},
		{HAS_DATA64 << 1, SV_DATA + 63, 63},
	};

	assert_int_equal(announce(0, 5), OK);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(parts); i++) {
		assert_int_equal(find_with(parts[i].mask, parts[i].at, (uint8_t)parts[i].value),
				 OK);
		assert_int_equal(
			find_with(parts[i].mask, parts[i].at, (uint8_t)(parts[i].value ^ 0x80)),
			NO_RECORDS);
	}
	assert_int_equal(find_with(HAS_GID, SV_GID, 0xfe), NO_RECORDS);
	sa_put_gid(request(1, GET, HAS_GID, 0) + SV_GID, &rig.guest[0]);
	assert_int_equal(sa_call(&rig.guest[1]), OK);
}

static void lease_ends(void **state)
{
	struct sa_guest *g = &rig.guest[0];

	assert_int_equal(announce(0, 5), OK);
	assert_int_equal(up_get_be32(got(0) + SV_LEASE), 100);
	sa_clock_advance(g, 90 * SA_SEC);
	assert_int_equal(look_up(1, 5), OK);
	assert_in_range(up_get_be32(got(1) + SV_LEASE), 9, 10);
	/* Announced again it lasts from then on. */
	assert_int_equal(announce(0, 5), OK);
	sa_clock_advance(g, 90 * SA_SEC);
	assert_int_equal(look_up(1, 5), OK);
	sa_clock_advance(g, 11 * SA_SEC);
	assert_int_equal(look_up(1, 5), NO_RECORDS);
	assert_int_equal(withdraw(0, 5), NO_RECORDS);
}

static void lease_may_be_for_ever(void **state)
{
	static const uint64_t masks[] = {ALL, ALL & ~HAS_LEASE};

	for (unsigned i = 0; i < 2; i++) {
		up_put_be32(request(0, SET, masks[i], i) + SV_LEASE, i ? 1 : FOR_EVER);
		assert_int_equal(sa_call(&rig.guest[0]), OK);
		assert_int_equal(up_get_be32(got(0) + SV_LEASE), FOR_EVER);
	}
	up_put_be32(request(0, SET, ALL, 2) + SV_LEASE, FOR_EVER - 1);
	assert_int_equal(sa_call(&rig.guest[0]), OK);
	sa_clock_advance(&rig.guest[0], 3600 * 24 * 365 * SA_SEC);
	for (uint64_t id = 0; id < 3; id++)
		assert_int_equal(look_up(1, id), OK);
	up_put_be32(request(0, SET, ALL, 3) + SV_LEASE, 0);
	assert_int_equal(sa_call(&rig.guest[0]), INVALID);
}

static void wrong_key_changes_nothing(void **state)
{
	static const uint8_t methods[] = {SET, DELETE};

	assert_int_equal(announce(0, 5), OK);
	for (unsigned i = 0; i < 2; i++) {
		request(0, methods[i], ALL, 5)[SV_KEY] = 0;
		assert_int_equal(sa_call(&rig.guest[0]), INVALID);
	}
	assert_int_equal(look_up(1, 5), OK);
	request(0, SET, ALL, 5)[SV_NAME] = 'S';
	assert_int_equal(sa_call(&rig.guest[0]), OK);
	assert_int_equal(look_up(1, 5), OK);
	assert_int_equal(got(1)[SV_NAME], 'S');
}

static void port_announces_its_own(void **state)
{
	static const uint8_t methods[] = {SET, DELETE};

	assert_int_equal(announce(0, 5), OK);
	for (unsigned i = 0; i < 2; i++) {
		sa_put_gid(request(1, methods[i], ALL, 5) + SV_GID, &rig.guest[0]);
		assert_int_equal(sa_call(&rig.guest[1]), INVALID);
		request(0, methods[i], ALL & ~HAS_GID, 5);
		assert_int_equal(sa_call(&rig.guest[0]), MISSING);
		request(0, methods[i], ALL & ~HAS_ID, 5);
		assert_int_equal(sa_call(&rig.guest[0]), MISSING);
	}
	/* The same service may be at two ports. */
	assert_int_equal(announce(1, 5), OK);
	assert_int_equal(look_up(2, 5), TOO_MANY);
}

static void port_that_goes_down_serves_nothing(void **state)
{
	assert_int_equal(announce(0, 5), OK);
	assert_int_equal(announce(1, 6), OK);
	up_port_set_driver(rig.guest[0].port, false);
	sa_guest_detach(&rig.guest[1]);
	assert_int_equal(look_up(2, 5), NO_RECORDS);
	assert_int_equal(look_up(2, 6), NO_RECORDS);
	sa_guest_attach(&rig.guest[1]);
	assert_int_equal(look_up(2, 6), NO_RECORDS);
}

static void services_of_a_port_are_limited(void **state)
{
	uint8_t *table;
	size_t n;

	for (uint64_t i = 0; i < SERVICES; i++)
		assert_int_equal(announce(0, i), OK);
	assert_int_equal(announce(0, SERVICES), NO_RESOURCES);
	assert_int_equal(announce(0, 0), OK);
	assert_int_equal(announce(1, SERVICES), OK);
	request(2, GET_TABLE, HAS_NAME, 0);
	table = sa_call_table(&rig.guest[2], &n);
	assert_int_equal(n, SERVICES + 1);
	for (size_t i = 0; i < n; i++)
		assert_string_equal((char *)table + i * 176 + SV_NAME, "storage");
	free(table);
	/* Those whose lease is over make room. */
	sa_clock_advance(&rig.guest[0], 101 * SA_SEC);
	assert_int_equal(announce(0, SERVICES), OK);
}

static void service_that_finds_no_memory_is_refused(void **state)
{
	unsigned status = NO_RESOURCES;

	/* The first allocation is the request's own. */
	for (unsigned n = 1; status != OK && n < 16; n++) {
		no_memory_after(n);
		status = announce(0, 5);
		assert_int_equal(no_memory_end(), status != OK);
		assert_int_equal(status, status == OK ? OK : NO_RESOURCES);
		assert_int_equal(look_up(1, 5), status == OK ? OK : NO_RECORDS);
	}
	assert_int_equal(status, OK);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, sa_rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(service_is_found_by_others),
		T(service_is_found_by_each_component),
		T(lease_ends),
		T(lease_may_be_for_ever),
		T(wrong_key_changes_nothing),
		T(port_announces_its_own),
		T(port_that_goes_down_serves_nothing),
		T(services_of_a_port_are_limited),
		T(service_that_finds_no_memory_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
