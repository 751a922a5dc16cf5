/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tables in segments (13.6), and the manager under guests that flood it or go away in the middle of
 * a request.
 */
#include "sa_rig.h"
#include "unit.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* 13.6.2.1 */
enum { DATA = 1, ACK = 2, STOP = 3, ABORT = 4 };
enum { ACTIVE = 1, FIRST = 2, LAST = 4 };

/* Of rmpp.c: the wait for an answer, tries after the first, and sessions of a port and of all. */
#define ANSWER_TIME (500 * SA_MSEC)
#define TRIES 5
#define OF_A_PORT 4
#define OF_ALL 32

/* Four nodes have 16 paths of 64 bytes, of which a segment holds 200. */
#define SEGMENTS 6

static uint8_t last_segment[SA_GUESTS][256];

static int setup_one(void **state)
{
	return sa_rig_setup(1);
}

static int setup_two(void **state)
{
	return sa_rig_setup(2);
}

static void ask_for_paths(unsigned who)
{
	sa_prepare(&rig.guest[who], GET_TABLE, PATH_RECORD, 0);
	sa_send(&rig.guest[who]);
}

static void expect(unsigned who, uint32_t segment)
{
	struct sa_guest *g = &rig.guest[who];

	sa_receive(g);
	assert_int_equal(g->got[AT_METHOD], GET_TABLE | 0x80);
	assert_int_equal(g->got[AT_RMPP_TYPE], DATA);
	assert_int_equal(g->got[AT_RMPP_FLAGS] & ACTIVE, ACTIVE);
	assert_int_equal(up_get_be32(g->got + AT_SEGMENT), segment);
	memcpy(last_segment[who], g->got, sizeof(g->got));
}

static void ack(unsigned who, uint32_t segment, uint32_t window)
{
	memcpy(rig.guest[who].got, last_segment[who], sizeof(rig.guest[who].got));
	sa_ack(&rig.guest[who], segment, window);
}

/* Another type of answer, with status. */
static void end(unsigned who, uint8_t type)
{
	struct sa_guest *g = &rig.guest[who];

	memcpy(g->mad, last_segment[who], AT_RECORD);
	g->mad[AT_METHOD] ^= 0x80;
	g->mad[AT_RMPP_TYPE] = type;
	g->mad[AT_RMPP_FLAGS] = ACTIVE;
	sa_send(g);
}

static void silence(unsigned who)
{
	sa_expect_silence(&rig.guest[who]);
}

static void small_table_is_one_segment(void **state)
{
	struct sa_guest *g = &rig.guest[0];

	sa_prepare(g, GET_TABLE, SM_INFO_RECORD, 0);
	sa_send(g);
	expect(0, 1);
	assert_int_equal(g->got[AT_RMPP_FLAGS] & 7, ACTIVE | FIRST | LAST);
	/* 25 bytes, rounded to 32, and 20 of the header. */
	assert_int_equal(up_get_be32(g->got + AT_LENGTH), 52);
	assert_int_equal(up_get_be16(g->got + AT_RECORD_WORDS), 4);
	ack(0, 1, 2);
	silence(0);
	sa_clock_advance(g, ANSWER_TIME);
	silence(0);
}

static void window_is_kept(void **state)
{
	struct sa_guest *g = &rig.guest[0];

	ask_for_paths(0);
	expect(0, 1);
	assert_int_equal(up_get_be32(g->got + AT_LENGTH), 16 * 64 + SEGMENTS * 20);
	silence(0);
	ack(0, 1, 3);
	expect(0, 2);
	expect(0, 3);
	silence(0);
	/* No wider, and no narrower. */
	ack(0, 2, 3);
	ack(0, 2, 2);
	silence(0);
	ack(0, 3, UINT32_MAX);
	for (uint32_t i = 4; i <= SEGMENTS; i++)
		expect(0, i);
	assert_int_equal(g->got[AT_RMPP_FLAGS] & 7, ACTIVE | LAST);
	assert_int_equal(up_get_be32(g->got + AT_LENGTH), 16 * 64 - (SEGMENTS - 1) * 200 + 20);
	silence(0);
	ack(0, SEGMENTS, SEGMENTS);
	silence(0);
	sa_clock_advance(g, ANSWER_TIME);
	silence(0);
}

static void what_is_not_acknowledged_comes_again(void **state)
{
	struct sa_guest *g = &rig.guest[0];

	ask_for_paths(0);
	expect(0, 1);
	sa_clock_advance(g, ANSWER_TIME);
	expect(0, 1);
	ack(0, 1, 4);
	for (unsigned i = 0; i < 2; i++) {
		expect(0, 2);
		expect(0, 3);
		expect(0, 4);
		sa_clock_advance(g, i ? 0 : ANSWER_TIME);
	}
	ack(0, 3, 4);
	silence(0);
	sa_clock_advance(g, ANSWER_TIME);
	expect(0, 4);
	ack(0, 4, SEGMENTS);
	expect(0, 5);
	expect(0, 6);
	ack(0, SEGMENTS, SEGMENTS);
	silence(0);
}

static void receiver_that_is_silent_is_given_up(void **state)
{
	struct sa_guest *g = &rig.guest[0];

	ask_for_paths(0);
	expect(0, 1);
	for (unsigned i = 0; i < TRIES; i++) {
		sa_clock_advance(g, ANSWER_TIME);
		expect(0, 1);
	}
	sa_clock_advance(g, ANSWER_TIME);
	silence(0);
	ack(0, 1, 2);
	silence(0);
}

static void impossible_answers_are_passed_over(void **state)
{
	struct sa_guest *g = &rig.guest[0];

	ask_for_paths(0);
	expect(0, 1);
	ack(0, 2, 6);
	ack(0, SEGMENTS, SEGMENTS);
	ack(0, UINT32_MAX, UINT32_MAX);
	ack(0, 1, 0);
	silence(0);
	/* Of no request of this guest. */
	last_segment[0][AT_TID + 7] ^= 1;
	ack(0, 1, 2);
	end(0, ABORT);
	silence(0);
	last_segment[0][AT_TID + 7] ^= 1;
	ack(0, 1, 3);
	expect(0, 2);
	expect(0, 3);
	ack(0, 0, 6);
	silence(0);
	sa_clock_advance(g, ANSWER_TIME);
	expect(0, 2);
	expect(0, 3);
}

static void others_cannot_answer_for_it(void **state)
{
	ask_for_paths(0);
	expect(0, 1);
	memcpy(last_segment[1], last_segment[0], sizeof(last_segment[0]));
	memcpy(last_segment[3], last_segment[0], sizeof(last_segment[0]));
	ack(1, 1, 6);
	end(1, ABORT);
	end(1, STOP);
	silence(1);
	ack(3, 1, 6);
	end(3, ABORT);
	silence(3);
	silence(0);
	ack(0, 1, 2);
	expect(0, 2);
}

static void abort_and_stop_end_it(void **state)
{
	static const uint8_t types[] = {ABORT, STOP, 0, 9};

	for (unsigned i = 0; i < UP_ARRAY_SIZE(types); i++) {
		ask_for_paths(0);
		expect(0, 1);
		end(0, types[i]);
		ack(0, 1, 2);
		silence(0);
		sa_clock_advance(&rig.guest[0], ANSWER_TIME);
		silence(0);
	}
}

static void request_that_comes_again_is_one(void **state)
{
	struct sa_guest *g = &rig.guest[0];

	ask_for_paths(0);
	expect(0, 1);
	sa_send(g);
	silence(0);
	ack(0, 1, 2);
	expect(0, 2);
	silence(0);
}

static void request_in_a_segment_is_acknowledged(void **state)
{
	struct sa_guest *g = &rig.guest[0];

	sa_prepare(g, GET_TABLE, PATH_RECORD, 0);
	g->mad[AT_RMPP_VERSION] = 1;
	g->mad[AT_RMPP_TYPE] = DATA;
	g->mad[AT_RMPP_FLAGS] = ACTIVE | FIRST | LAST;
	up_put_be32(g->mad + AT_LENGTH, 220);
	for (uint32_t segment = 2; segment >= 1; segment--) {
		up_put_be32(g->mad + AT_SEGMENT, segment);
		sa_send(g);
		sa_receive(g);
		assert_int_equal(g->got[AT_METHOD], GET_TABLE | 0x80);
		assert_int_equal(g->got[AT_RMPP_TYPE], ACK);
		assert_int_equal(up_get_be32(g->got + AT_SEGMENT), segment);
		assert_int_equal(up_get_be32(g->got + AT_LENGTH), segment);
		assert_memory_equal(g->got + AT_TID, g->mad + AT_TID, 8);
	}
	expect(0, 1);
	silence(0);
}

static void port_has_few_tables_under_way(void **state)
{
	uint8_t first[OF_A_PORT + 1][256];

	for (unsigned i = 0; i <= OF_A_PORT; i++) {
		ask_for_paths(0);
		expect(0, 1);
		memcpy(first[i], last_segment[0], sizeof(first[i]));
	}
	for (unsigned i = 0; i <= OF_A_PORT; i++) {
		memcpy(last_segment[0], first[i], sizeof(first[i]));
		ack(0, 1, 2);
		/* Only the oldest had to go. */
		if (i)
			expect(0, 2);
		else
			silence(0);
	}
}

static void greedy_ports_leave_room_for_others(void **state)
{
	uint8_t *table;
	size_t n;

	for (unsigned i = 4; i < SA_GUESTS; i++) {
		sa_guest_create(i, "blue");
		for (unsigned k = 0; k < OF_ALL / (SA_GUESTS - 4); k++) {
			ask_for_paths(i);
			expect(i, 1);
		}
	}
	for (unsigned who = 0; who < 2; who++) {
		sa_prepare(&rig.guest[who], GET_TABLE, PATH_RECORD, 0);
		table = sa_call_table(&rig.guest[who], &n);
		assert_int_equal(n, SA_GUESTS * SA_GUESTS);
		free(table);
	}
	/* A guest with one table keeps it while the greedy ask on. */
	ask_for_paths(0);
	expect(0, 1);
	for (unsigned i = 4; i < SA_GUESTS; i++) {
		ask_for_paths(i);
		expect(i, 1);
	}
	ack(0, 1, 2);
	expect(0, 2);
}

static void table_ends_with_its_port(void **state)
{
	struct sa_guest *g = &rig.guest[0];
	uint16_t lid = g->port->lid;

	ask_for_paths(0);
	expect(0, 1);
	up_port_set_driver(g->port, false);
	up_port_set_driver(g->port, true);
	sa_clock_advance(g, ANSWER_TIME);
	ack(0, 1, 2);
	silence(0);
	/* Nor does another port that has its LID get what is left. */
	ask_for_paths(0);
	expect(0, 1);
	sa_guest_destroy(g);
	sa_guest_create(4, "blue");
	assert_int_equal(rig.guest[4].port->lid, lid);
	sa_clock_advance(&rig.guest[4], ANSWER_TIME);
	silence(4);
}

struct flood {
	pthread_t thread;
	struct sa_guest *g;
	bool stop; /* atomic */
};

/* A request that has the most answers. */
static void flood_once(struct sa_guest *g)
{
	sa_prepare(g, GET_TABLE, PATH_RECORD, 0);
	g->mad[AT_RMPP_VERSION] = 1;
	g->mad[AT_RMPP_TYPE] = DATA;
	g->mad[AT_RMPP_FLAGS] = ACTIVE | FIRST | LAST;
	up_put_be32(g->mad + AT_SEGMENT, 1);
	sa_send(g);
}

/* As fast as the queue takes them. */
static void *flood_main(void *arg)
{
	struct flood *f = arg;

	while (!__atomic_load_n(&f->stop, __ATOMIC_RELAXED))
		flood_once(f->g);
	return NULL;
}

/* Each of them has its answer, without asking again. */
static void flood_does_not_keep_others_waiting(void **state)
{
	struct flood floods[] = {{.g = &rig.guest[1]}, {.g = &rig.guest[2]}};

	for (unsigned i = 0; i < UP_ARRAY_SIZE(floods); i++)
		pthread_create(&floods[i].thread, NULL, flood_main, &floods[i]);
	for (unsigned i = 0; i < 300; i++) {
		silence(0);
		silence(3);
	}
	for (unsigned i = 0; i < UP_ARRAY_SIZE(floods); i++) {
		__atomic_store_n(&floods[i].stop, true, __ATOMIC_RELAXED);
		pthread_join(floods[i].thread, NULL);
	}
}

/* More than the manager has room to answer at once; what there is no room for waits. */
static void answers_wait_for_room(void **state)
{
	up_world_stop(rig.fabric);
	for (unsigned i = 0; i < 120; i++)
		flood_once(&rig.guest[i % 2]);
	sa_prepare(&rig.guest[2], GET, CLASS_PORT_INFO, 0);
	sa_send(&rig.guest[2]);
	up_world_start(rig.fabric);
	sa_receive(&rig.guest[2]);
	assert_memory_equal(rig.guest[2].got + AT_TID, rig.guest[2].mad + AT_TID, 8);
}

static void ask_anything(struct sa_guest *g, unsigned n)
{
	static const uint16_t attributes[] = {PATH_RECORD, NODE_RECORD, MC_MEMBER_RECORD,
					      SERVICE_RECORD};

	/* A membership or a service that goes with its port. */
	if (n % 3 == 0) {
		uint8_t *r = sa_prepare(g, SET, attributes[2 + n % 2], ~0ull);

		memset(r, n % 2 ? 0x01 : 0xff, 200);
		memcpy(r + (n % 2 ? 8 : 16), g->port->gid.raw, 16);
	} else {
		sa_prepare(g, GET_TABLE, attributes[n % 4], 0);
	}
	sa_send(g);
}

/* What was asked before may still be answered. */
static void expect_an_answer(struct sa_guest *g)
{
	sa_prepare(g, GET, CLASS_PORT_INFO, 0);
	sa_send(g);
	do
		sa_receive(g);
	while (memcmp(g->got + AT_TID, g->mad + AT_TID, 8) != 0);
	assert_int_equal(up_get_be16(g->got + AT_STATUS), OK);
}

static void disturb(unsigned round)
{
	struct sa_guest *g = &rig.guest[round % 3];

	switch (round % 5) {
	case 0:
		up_port_set_driver(g->port, false);
		up_port_set_driver(g->port, true);
		break;
	case 1:
		sa_guest_detach(g);
		sa_guest_attach(g);
		break;
	case 2:
		sa_guest_destroy(g);
		sa_guest_create(round % 3, "blue");
		break;
	case 3:
		/* The tenant's end, and its manager's. */
		for (unsigned i = 0; i < 3; i++)
			sa_guest_destroy(&rig.guest[i]);
		for (unsigned i = 0; i < 3; i++)
			sa_guest_create(i, "blue");
		break;
	default:
		sa_clock_advance(g, ANSWER_TIME);
	}
}

static void ports_come_and_go_in_mid_request(void **state)
{
	for (unsigned round = 0; round < 150; round++) {
		for (unsigned i = 0; i < 30; i++)
			ask_anything(&rig.guest[i % 3], round + i / 3);
		disturb(round);
		for (unsigned i = 0; i < 3; i++)
			expect_an_answer(&rig.guest[i]);
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup_one, sa_rig_teardown)
#define T2(f) cmocka_unit_test_setup_teardown(f, setup_two, sa_rig_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(small_table_is_one_segment),
		T(window_is_kept),
		T(what_is_not_acknowledged_comes_again),
		T(receiver_that_is_silent_is_given_up),
		T(impossible_answers_are_passed_over),
		T(others_cannot_answer_for_it),
		T(abort_and_stop_end_it),
		T(request_that_comes_again_is_one),
		T(request_in_a_segment_is_acknowledged),
		T(port_has_few_tables_under_way),
		T(greedy_ports_leave_room_for_others),
		T(table_ends_with_its_port),
		T(flood_does_not_keep_others_waiting),
		T2(flood_does_not_keep_others_waiting),
		T(answers_wait_for_room),
		T(ports_come_and_go_in_mid_request),
		T2(ports_come_and_go_in_mid_request),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
