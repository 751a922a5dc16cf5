/* SPDX-License-Identifier: BSD-2-Clause */
/* The gateway in the vendor-specific capability, used as a driver uses it. */
#include "cx_rig.h"

#include "device/connectx/vsc.h"

#include <endian.h>
#include <string.h>

enum { CTRL = 0x04, COUNTER = 0x08, SEMAPHORE = 0x0c, ADDR = 0x10, DATA = 0x14 };

#define FLAG (1u << 31)
#define SYNDROME (1u << 30)
#define SEMAPHORES 0x0a
#define SCAN 0x07 /* the space of a dump: not offered */
#define SW_RESET 0x20

static uint32_t cap(void)
{
	uint8_t at, id;

	up_pci_config_read(&rig.dev->pci, 0x34, &at, 1);
	while (at) {
		up_pci_config_read(&rig.dev->pci, at, &id, 1);
		if (id == 0x09)
			return at;
		up_pci_config_read(&rig.dev->pci, at + 1u, &at, 1);
	}
	fail_msg("no vendor-specific capability");
	return 0;
}

static uint32_t get(uint32_t reg)
{
	uint32_t v;

	assert_int_equal(up_pci_config_read(&rig.dev->pci, cap() + reg, &v, sizeof(v)), 0);
	return le32toh(v);
}

static void set(uint32_t reg, uint32_t v)
{
	v = htole32(v);
	assert_int_equal(up_pci_config_write(&rig.dev->pci, cap() + reg, &v, sizeof(v)), 0);
	cx_vsc_write(rig.dev, cap() + reg, &v, sizeof(v));
}

static bool lock(void)
{
	uint32_t number = get(COUNTER);

	if (get(SEMAPHORE))
		return false;
	set(SEMAPHORE, number);
	return get(SEMAPHORE) == number;
}

static uint32_t read_word(uint32_t address)
{
	set(ADDR, address);
	assert_int_equal(get(ADDR) & FLAG, FLAG);
	return get(DATA);
}

static void write_word(uint32_t address, uint32_t v)
{
	set(DATA, v);
	set(ADDR, address | FLAG);
	assert_int_equal(get(ADDR) & FLAG, 0);
}

static void gateway_has_one_owner(void **state)
{
	uint32_t first;

	assert_true(lock());
	first = get(SEMAPHORE);
	assert_false(lock());
	set(SEMAPHORE, get(COUNTER));
	assert_int_equal(get(SEMAPHORE), first);
	set(SEMAPHORE, 0);
	assert_true(lock());
	assert_int_not_equal(get(SEMAPHORE), first);
}

static void only_the_space_of_semaphores(void **state)
{
	set(CTRL, SCAN);
	assert_int_equal(get(CTRL), SCAN); /* status 0 */
	write_word(SW_RESET, 5);
	set(CTRL, SEMAPHORES);
	assert_int_equal(get(CTRL) & 0xffff, SEMAPHORES);
	assert_int_not_equal(get(CTRL) >> 29, 0);
	assert_int_equal(read_word(SW_RESET), 0);
	set(ADDR, 0x24);
	assert_int_equal(get(ADDR), FLAG | SYNDROME | 0x24);
}

static void semaphore_of_recovery(void **state)
{
	set(CTRL, SEMAPHORES);
	write_word(SW_RESET, 3);
	assert_int_equal(read_word(SW_RESET), 3);
	write_word(SW_RESET, 4);
	assert_int_equal(read_word(SW_RESET), 3);
	write_word(SW_RESET, 0);
	write_word(SW_RESET, 4);
	assert_int_equal(read_word(SW_RESET), 4);
	up_pci_config_reset(&rig.dev->pci);
	cx_vsc_reset(rig.dev);
	set(CTRL, SEMAPHORES);
	assert_int_equal(read_word(SW_RESET), 0);
}

/* Parts of a register, and other places: nothing happens. */
static void other_writes(void **state)
{
	const uint32_t v = ~0u;

	for (uint32_t at = 0; at < 0x20; at++) {
		cx_vsc_write(rig.dev, cap() + at, &v, 2);
		cx_vsc_write(rig.dev, cap() - 4 - at, &v, 4);
		if (at & 3)
			cx_vsc_write(rig.dev, cap() + at, &v, 4);
	}
	assert_int_equal(get(CTRL) | get(SEMAPHORE) | get(ADDR) | get(DATA), 0);
	assert_int_equal(get(COUNTER), 1);
}

int main(void)
{
#define TEST(f, setup) cmocka_unit_test_setup_teardown(f, setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		TEST(gateway_has_one_owner, rig_setup),
		TEST(only_the_space_of_semaphores, rig_setup),
		TEST(semaphore_of_recovery, rig_setup),
		TEST(other_writes, rig_setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
