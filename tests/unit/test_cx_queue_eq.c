/* SPDX-License-Identifier: BSD-2-Clause */
/* Event queues (device/connectx/eq.c). */
#include "fake_cx.h"

#include <string.h>
#include <unistd.h>

#define QPN 0x1234

static void ask_for(struct cx_eq *eq, uint8_t type)
{
	eq->event_mask[type / 64] |= 1ull << type % 64;
}

static void entry_has_type_data_and_owner(void **state)
{
	struct cx_eq *eq = fake_eq(1, 0, 3);
	uint8_t data[CX_EQE_DATA_SIZE];
	const struct cx_eqe *e;

	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i + 1);
	cx_eq_post(eq, CX_EVENT_PAGE_REQUEST, 0x42, data);
	e = fake_event(eq, 0);
	assert_int_equal(e->type, CX_EVENT_PAGE_REQUEST);
	assert_int_equal(e->sub_type, 0x42);
	assert_memory_equal(e->data, data, sizeof(data));
	assert_int_equal(fake_interrupts(0), 1);
}

static void owner_changes_with_every_lap(void **state)
{
	struct cx_eq *eq = fake_eq(1, 0, 2);

	for (uint32_t i = 0; i < 13; i++) {
		cx_eq_post_completion(eq, i);
		assert_int_equal(up_get_be32(fake_event(eq, i)->data + 24), i);
	}
}

static void completion_raises_no_interrupt_by_itself(void **state)
{
	struct cx_eq *eq = fake_eq(1, 1, 3);

	cx_eq_post_completion(eq, 5);
	cx_eq_post_completion(eq, 6);
	assert_int_equal(fake_interrupts(1), 0);
	cx_eq_interrupt(eq);
	assert_int_equal(fake_interrupts(1), 1);
	assert_int_equal(fake.dev.hca.stats.events, 2);
	assert_int_equal(fake.dev.hca.stats.interrupts, 1);
}

static void vector_without_descriptor_is_no_error(void **state)
{
	uint8_t data[CX_EQE_DATA_SIZE] = {0};

	cx_eq_post(fake_eq(1, 5, 3), CX_EVENT_CMD, 0, data);
	cx_eq_post(fake_eq(2, CX_MSIX_VECTORS + 3, 3), CX_EVENT_CMD, 0, data);
	assert_int_equal(fake.dev.hca.stats.interrupts, 0);
	assert_int_equal(fake.dev.hca.stats.events, 2);
}

static void full_counter_does_not_block(void **state)
{
	struct cx_eq *eq = fake_eq(1, 0, 3);
	uint64_t most = UINT64_MAX - 1;
	uint8_t data[CX_EQE_DATA_SIZE] = {0};

	assert_int_equal(write(fake.dev.vectors[0], &most, sizeof(most)), sizeof(most));
	cx_eq_post(eq, CX_EVENT_CMD, 0, data);
	fake_event(eq, 0);
}

static void ring_that_left_memory_drops_events(void **state)
{
	struct cx_eq *eq = fake_eq(1, 0, 3);
	uint8_t data[CX_EQE_DATA_SIZE] = {0};

	up_mem_remove(&fake.dev.hca.mem, FAKE_GPA, FAKE_RAM);
	cx_eq_post(eq, CX_EVENT_CMD, 0, data);
	assert_true(eq->lost);
	assert_int_equal(eq->producer, 0);
}

static void event_goes_where_the_mask_asks(void **state)
{
	struct cx_eq *cmd = fake_eq(1, 0, 3), *async = fake_eq(2, 1, 3);
	struct up_qp qp = {.hca = &fake.dev.hca, .qpn = QPN};

	ask_for(cmd, CX_EVENT_CMD);
	ask_for(async, CX_EVENT_COMM_EST);
	cx_qp_event(&qp, UP_EV_COMM_EST);
	assert_int_equal(async->producer, 1);
	assert_int_equal(cmd->producer, 0);
	assert_int_equal(fake_interrupts(0), 0);
	assert_int_equal(fake_interrupts(1), 1);
	/* Nobody asks for this one. */
	cx_qp_event(&qp, UP_EV_SQ_DRAINED);
	assert_int_equal(async->producer + cmd->producer, 1);
}

static struct cx_eq *ask_for_all(void)
{
	struct cx_eq *eq = fake_eq(3, 0, 6);

	memset(eq->event_mask, 0xff, sizeof(eq->event_mask));
	return eq;
}

static void every_qp_event_has_its_type(void **state)
{
	static const struct {
		enum up_event event;
		uint8_t type;
	} table[] = {
		{UP_EV_COMM_EST, 0x02}, {UP_EV_SQ_DRAINED, 0x03}, {UP_EV_LAST_WQE, 0x13},
		{UP_EV_QP_FATAL, 0x05}, {UP_EV_QP_REQUEST, 0x10}, {UP_EV_QP_ACCESS, 0x11},
	};
	struct cx_eq *eq = ask_for_all();
	struct up_qp qp = {.hca = &fake.dev.hca, .qpn = QPN};

	for (uint32_t i = 0; i < UP_ARRAY_SIZE(table); i++) {
		const struct cx_eqe *e;

		cx_qp_event(&qp, table[i].event);
		e = fake_event(eq, i);
		assert_int_equal(e->type, table[i].type);
		assert_int_equal(e->data[20], CX_EVENT_QUEUE_QP);
		assert_int_equal(up_get_be32(e->data + 24), QPN);
	}
	/* Not of a queue pair. */
	cx_qp_event(&qp, UP_EV_PORT_ACTIVE);
	cx_qp_event(&qp, UP_EV_CQ_OVERRUN);
	assert_int_equal(eq->producer, UP_ARRAY_SIZE(table));
}

static void srq_events(void **state)
{
	struct cx_eq *eq = ask_for_all();
	struct up_srq srq = {.hca = &fake.dev.hca, .srqn = 0x99};

	cx_srq_event(&srq, UP_EV_SRQ_LIMIT);
	cx_srq_event(&srq, UP_EV_SRQ_ERROR);
	assert_int_equal(fake_event(eq, 0)->type, 0x14);
	assert_int_equal(fake_event(eq, 1)->type, 0x12);
	assert_int_equal(up_get_be32(fake_event(eq, 1)->data + 24), 0x99);
}

static void cq_error_names_queue_and_syndrome(void **state)
{
	struct cx_eq *eq = ask_for_all();

	cx_cq_error_event(&fake.dev, 0x31, CX_CQ_ERROR_OVERRUN);
	assert_int_equal(fake_event(eq, 0)->type, 0x04);
	assert_int_equal(up_get_be32(fake_event(eq, 0)->data), 0x31);
	assert_int_equal(fake_event(eq, 0)->data[11], 1);
}

static void port_events(void **state)
{
	struct cx_eq *eq = ask_for_all();

	cx_port_event(&fake.dev.hca, UP_EV_PORT_ACTIVE);
	cx_port_event(&fake.dev.hca, UP_EV_PORT_DOWN);
	assert_int_equal(fake_event(eq, 0)->type, 0x09);
	assert_int_equal(fake_event(eq, 0)->sub_type, 4);
	assert_int_equal(fake_event(eq, 1)->sub_type, 1);
	assert_int_equal(fake_event(eq, 0)->data[8], 0x10);
}

#define UAR_PAGE 20

/* The driver's side: eq_update_ci(). */
static void tell(uint32_t eqn, uint32_t consumer)
{
	up_put_be32(fake.dev.uar_mem + UAR_PAGE * CX_UAR_PAGE_SIZE + CX_UAR_EQ_ARM,
		    eqn << 24 | (consumer & 0xffffff));
}

static uint32_t number_at(const struct cx_eq *eq, uint32_t index)
{
	return up_get_be32(fake_event(eq, index)->data + 24);
}

/* All queue pairs of a guest at once: no event is lost or written over one that is unread. */
static void more_events_than_the_ring_holds(void **state)
{
	enum { SIZE = 8, EVENTS = 1000 };
	struct cx_eq *eq = fake_eq(3, 1, 3);
	struct up_qp qp = {.hca = &fake.dev.hca};
	uint64_t now = fake.clock = 1000000000, due = UINT64_MAX;
	uint32_t taken = 0;

	eq->uar_page = UAR_PAGE;
	ask_for(eq, CX_EVENT_SRQ_LAST_WQE);
	for (qp.qpn = 0; qp.qpn < EVENTS; qp.qpn++)
		cx_qp_event(&qp, UP_EV_LAST_WQE);
	assert_int_equal(eq->producer, SIZE);
	fake_interrupts(1);
	/* Somebody else's index, and one that cannot be. */
	tell(2, 5);
	cx_poll(&fake.dev.hca, now, &due);
	tell(3, SIZE + 1);
	cx_poll(&fake.dev.hca, now, &due);
	assert_int_equal(eq->producer, SIZE);
	/* The guest is asked for its own. */
	assert_int_equal(fake_interrupts(1), 1);
	while (taken < EVENTS) {
		for (; taken < eq->producer; taken++)
			assert_int_equal(number_at(eq, taken), taken);
		tell(3, taken);
		due = UINT64_MAX;
		cx_poll(&fake.dev.hca, ++now, &due);
		assert_true(taken == EVENTS || (due <= now + 1000000 && fake_interrupts(1)));
	}
	assert_int_equal(eq->producer, EVENTS);
	/* Nobody waits any more. */
	due = UINT64_MAX;
	cx_poll(&fake.dev.hca, now, &due);
	assert_int_equal(due, UINT64_MAX);
	cx_eq_drop_events(eq, fake.dev.hca.arena);
}

/*
 * A driver takes 128 entries for an interrupt, arms the queue and waits for the next. Its index is
 * not seen: another queue's comes there at once.
 */
static void entries_left_behind(void **state)
{
	enum { EVENTS = 1000, BUDGET = 128 };
	struct cx_eq *eq = fake_eq(3, 1, 10);
	uint64_t due;
	uint32_t taken = 0;

	eq->uar_page = UAR_PAGE;
	fake.clock = 1000000000;
	for (uint32_t i = 0; i < EVENTS; i++)
		assert_true(cx_eq_post_completion(eq, i));
	cx_eq_interrupt(eq);
	for (unsigned n = 0; n < 100 && taken < EVENTS; n++) {
		uint32_t upto = fake_interrupts(1) ? taken + BUDGET : taken;

		for (; taken < upto && taken < EVENTS; taken++)
			assert_int_equal(number_at(eq, taken), taken);
		due = UINT64_MAX;
		cx_poll(&fake.dev.hca, fake.clock, &due);
		assert_true(due <= fake.clock + 1000000);
		fake.clock = due;
	}
	assert_int_equal(taken, EVENTS);
	/* It ends. */
	fake.clock += 1000000000;
	due = UINT64_MAX;
	cx_poll(&fake.dev.hca, fake.clock, &due);
	fake_interrupts(1);
	cx_poll(&fake.dev.hca, fake.clock + 1000000000, &due);
	assert_int_equal(due, UINT64_MAX);
	assert_int_equal(fake_interrupts(1), 0);
}

/* A driver that never tells its index gets its events all the same, and not too many at a time. */
static void driver_that_tells_nothing(void **state)
{
	enum { SIZE = 1024, EVENTS = 20000 };
	struct cx_eq *eq = fake_eq(3, 1, 10);
	struct up_qp qp = {.hca = &fake.dev.hca, .qpn = QPN};
	uint64_t due = 0;

	eq->uar_page = UAR_PAGE;
	fake.clock = 1000000000;
	ask_for(eq, CX_EVENT_SRQ_LAST_WQE);
	for (unsigned i = 0; i < EVENTS; i++)
		cx_qp_event(&qp, UP_EV_LAST_WQE);
	for (unsigned n = 0; eq->producer < EVENTS; n++, fake.clock += 1000000) {
		assert_true(n < 2000);
		assert_true(eq->producer <= SIZE + n / 4 * 128);
		cx_poll(&fake.dev.hca, fake.clock, &due);
	}
	cx_eq_drop_events(eq, fake.dev.hca.arena);
}

/* More than can wait are lost, and that is told once. */
static void too_many_events(void **state)
{
	struct cx_eq *eq = fake_eq(3, 1, 3);
	struct up_qp qp = {.hca = &fake.dev.hca, .qpn = QPN};

	eq->uar_page = UAR_PAGE;
	ask_for(eq, CX_EVENT_SRQ_LAST_WQE);
	for (unsigned i = 0; i < 300000; i++)
		cx_qp_event(&qp, UP_EV_LAST_WQE);
	assert_true(eq->lost);
	assert_int_equal(eq->waiting, 1 << 18);
	cx_eq_drop_events(eq, fake.dev.hca.arena);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fake_setup, fake_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(entry_has_type_data_and_owner),
		TEST(owner_changes_with_every_lap),
		TEST(completion_raises_no_interrupt_by_itself),
		TEST(vector_without_descriptor_is_no_error),
		TEST(full_counter_does_not_block),
		TEST(ring_that_left_memory_drops_events),
		TEST(event_goes_where_the_mask_asks),
		TEST(every_qp_event_has_its_type),
		TEST(srq_events),
		TEST(cq_error_names_queue_and_syndrome),
		TEST(port_events),
		TEST(more_events_than_the_ring_holds),
		TEST(entries_left_behind),
		TEST(driver_that_tells_nothing),
		TEST(too_many_events),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
