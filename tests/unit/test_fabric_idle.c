/* SPDX-License-Identifier: BSD-2-Clause */
/* How long an idle worker sleeps, for looks that cost what the test says. */
#include "unit.h"

#include "base/clock.h"
#include "fabric/idle.h"

static uint64_t cpu;
static unsigned asked;

static uint64_t cpu_time(void)
{
	asked++;
	return cpu;
}

static int setup(void **state)
{
	static struct up_idle idle;

	idle = (struct up_idle){0};
	cpu = 12345;
	asked = 0;
	*state = &idle;
	return 0;
}

static void look(struct up_idle *idle, unsigned times, uint64_t cost)
{
	while (times--) {
		up_idle_look(idle, cpu_time);
		cpu += cost;
	}
}

static struct up_fabric_config config(void)
{
	struct up_fabric_config cfg = UP_FABRIC_CONFIG_DEFAULT;

	cfg.idle_sleep_us = 10;
	cfg.deep_sleep_us = 16000;
	cfg.idle_permille = 5;
	return cfg;
}

static void sleeps_as_configured_before_anything_is_measured(void **state)
{
	struct up_idle *idle = *state;
	struct up_fabric_config cfg = config();

	assert_int_equal(up_idle_sleep(idle, &cfg, 0), 10 * UP_USEC);
	assert_int_equal(up_idle_sleep(idle, &cfg, 8 * UP_MSEC), UP_MSEC);
	assert_int_equal(up_idle_sleep(idle, &cfg, UP_SEC - 1), 4 * UP_MSEC);
	assert_int_equal(up_idle_sleep(idle, &cfg, UP_SEC), 16 * UP_MSEC);
}

/* Ten microseconds are five thousandths of two milliseconds. */
static void cheap_looks_come_soon(void **state)
{
	struct up_idle *idle = *state;
	struct up_fabric_config cfg = config();

	look(idle, 17, 10 * UP_USEC);
	assert_int_equal(up_idle_sleep(idle, &cfg, UP_SEC), 2 * UP_MSEC);
	assert_int_equal(up_idle_sleep(idle, &cfg, UP_SEC - 1), 250 * UP_USEC);
	assert_int_equal(up_idle_sleep(idle, &cfg, 800 * UP_USEC), 100 * UP_USEC);
	cfg.idle_permille = 20;
	assert_int_equal(up_idle_sleep(idle, &cfg, UP_SEC), 500 * UP_USEC);
	cfg.deep_sleep_us = 200;
	assert_int_equal(up_idle_sleep(idle, &cfg, UP_SEC), 200 * UP_USEC);
}

static void dear_looks_come_as_late_as_configured(void **state)
{
	struct up_idle *idle = *state;
	struct up_fabric_config cfg = config();

	look(idle, 17, UP_MSEC);
	assert_int_equal(up_idle_sleep(idle, &cfg, UP_SEC), 16 * UP_MSEC);
	assert_int_equal(up_idle_sleep(idle, &cfg, UP_SEC - 1), 4 * UP_MSEC);
}

static void free_looks_come_no_sooner_than_configured(void **state)
{
	struct up_idle *idle = *state;
	struct up_fabric_config cfg = config();

	look(idle, 17, 1);
	assert_int_equal(up_idle_sleep(idle, &cfg, UP_SEC), 10 * UP_USEC);
}

static void cost_follows_slowly(void **state)
{
	struct up_idle *idle = *state;

	look(idle, 17, 1000);
	assert_int_equal(idle->cost, 1000);
	look(idle, 16, 2000);
	assert_in_range(idle->cost, 1187, 1250);
	for (unsigned i = 0; i < 32; i++)
		look(idle, 16, 2000);
	assert_in_range(idle->cost, 1990, 2000);
	/* The clock is a system call: once in sixteen looks. */
	assert_int_equal(asked, 35);
}

/* Work between two looks is not what a look costs. */
static void work_is_no_cost_of_looks(void **state)
{
	struct up_idle *idle = *state;

	look(idle, 17, 1000);
	look(idle, 8, 1000);
	cpu += UP_SEC;
	up_idle_worked(idle);
	look(idle, 17, 1000);
	assert_int_equal(idle->cost, 1000);
}

static void sleep_of(struct up_idle *idle, unsigned times, uint64_t cost, uint64_t between)
{
	while (times--) {
		up_idle_sleeps(idle, cpu_time);
		cpu += cost;
		up_idle_look(idle, cpu_time);
		cpu += between;
		up_idle_worked(idle);
	}
}

/* Also between two messages, where no row of sixteen looks is without work. */
static void sleeps_that_cost_much_are_longer(void **state)
{
	struct up_idle *idle = *state;
	struct up_fabric_config cfg = config();

	sleep_of(idle, 8, 12 * UP_USEC, UP_MSEC);
	assert_int_equal(up_idle_sleep(idle, &cfg, 0), 10 * UP_USEC);
	sleep_of(idle, 400, 28 * UP_USEC, UP_MSEC);
	assert_in_range(up_idle_sleep(idle, &cfg, 0), 20 * UP_USEC, 21 * UP_USEC);
	/* One that an interrupt fell into does not change much. */
	sleep_of(idle, 4, UP_MSEC / 4, 0);
	assert_in_range(up_idle_sleep(idle, &cfg, 0), 30 * UP_USEC, 32 * UP_USEC);
	sleep_of(idle, 400, 12 * UP_USEC, 0);
	assert_int_equal(up_idle_sleep(idle, &cfg, 0), 10 * UP_USEC);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(sleeps_as_configured_before_anything_is_measured, setup),
		cmocka_unit_test_setup(cheap_looks_come_soon, setup),
		cmocka_unit_test_setup(dear_looks_come_as_late_as_configured, setup),
		cmocka_unit_test_setup(free_looks_come_no_sooner_than_configured, setup),
		cmocka_unit_test_setup(cost_follows_slowly, setup),
		cmocka_unit_test_setup(work_is_no_cost_of_looks, setup),
		cmocka_unit_test_setup(sleeps_that_cost_much_are_longer, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
