/* SPDX-License-Identifier: BSD-2-Clause */
/* The PCI configuration space, looked at as an operating system does. */
#include "unit.h"

#include "vfio/pci_config.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

static const struct up_pci_ids ids = {
	.vendor = 0x15b3,
	.device = 0x1017,
	.subsystem_vendor = 0x15b3,
	.subsystem = 0x0001,
	.class_code = 0x020700,
	.revision = 3,
};

static const struct up_pci_express express = {
	.max_payload = 2, .link_speed = 3, .link_width = 16, .port = 7};

static const struct up_pci_msix msix = {
	.vectors = 16, .table_bar = 0, .table_offset = 0x8000, .pba_bar = 0, .pba_offset = 0xc000};

static uint32_t get(const struct up_pci_config *cfg, uint64_t off, size_t len)
{
	uint32_t v = 0;

	assert_int_equal(up_pci_config_read(cfg, off, &v, len), 0);
	return le32toh(v);
}

static void set(struct up_pci_config *cfg, uint64_t off, size_t len, uint32_t v)
{
	v = htole32(v);
	assert_int_equal(up_pci_config_write(cfg, off, &v, len), 0);
}

/* The offset of a capability by walking the list; 0: it is not there. */
static uint32_t find_cap(const struct up_pci_config *cfg, uint8_t id)
{
	uint32_t at = get(cfg, 0x34, 1), steps = 0;

	while (at) {
		assert_int_equal(at & 3, 0);
		assert_true(at >= 0x40 && steps++ < 48);
		if (get(cfg, at, 1) == id)
			return at;
		at = get(cfg, at + 1, 1);
	}
	return 0;
}

static void build_device(struct up_pci_config *cfg)
{
	up_pci_config_init(cfg, &ids);
	assert_int_equal(up_pci_config_add_bar64(cfg, 0, 32 << 20, true), 0);
	assert_int_equal(up_pci_config_add_express(cfg, &express), 0x40);
	assert_true(up_pci_config_add_msix(cfg, &msix) > 0x40);
	assert_true(up_pci_config_add_pm(cfg) > 0x40);
}

static void header(void **state)
{
	struct up_pci_config cfg;

	(void)state;
	build_device(&cfg);
	assert_int_equal(get(&cfg, 0, 4), 0x101715b3);
	assert_int_equal(get(&cfg, 8, 4), 0x02070003);
	assert_int_equal(get(&cfg, 0x0e, 1), 0);
	assert_int_equal(get(&cfg, 0x2c, 4), 0x000115b3);
	assert_int_equal(get(&cfg, 6, 2), 0x10);
	assert_int_equal(get(&cfg, 0x3d, 1), 0);
	/* Nothing of it changes. */
	set(&cfg, 0, 4, 0xffffffff);
	set(&cfg, 8, 4, 0xffffffff);
	set(&cfg, 6, 2, 0xffff);
	set(&cfg, 0x2c, 4, 0);
	set(&cfg, 0x34, 4, 0);
	assert_int_equal(get(&cfg, 0, 4), 0x101715b3);
	assert_int_equal(get(&cfg, 8, 4), 0x02070003);
	assert_int_equal(get(&cfg, 6, 2), 0x10);
	assert_int_equal(get(&cfg, 0x2c, 4), 0x000115b3);
	assert_int_not_equal(get(&cfg, 0x34, 1), 0);
}

static void command_register(void **state)
{
	struct up_pci_config cfg;

	(void)state;
	build_device(&cfg);
	assert_false(up_pci_config_bus_master(&cfg));
	set(&cfg, 4, 2, 0xffff);
	assert_int_equal(get(&cfg, 4, 2), 0x0546);
	assert_true(up_pci_config_bus_master(&cfg));
	set(&cfg, 4, 2, 0x0002);
	assert_false(up_pci_config_bus_master(&cfg));
	/* By single bytes, and as part of a longer write. */
	set(&cfg, 4, 1, 4);
	assert_true(up_pci_config_bus_master(&cfg));
	set(&cfg, 4, 4, 0);
	assert_false(up_pci_config_bus_master(&cfg));
	set(&cfg, 0x3c, 1, 0x0b);
	assert_int_equal(get(&cfg, 0x3c, 1), 0x0b);
}

static void bar_sizing(void **state)
{
	struct up_pci_config cfg;

	(void)state;
	build_device(&cfg);
	assert_int_equal(get(&cfg, 0x10, 4), 0xc);
	set(&cfg, 0x10, 4, 0xffffffff);
	set(&cfg, 0x14, 4, 0xffffffff);
	assert_int_equal(get(&cfg, 0x10, 4), 0xfe00000c);
	assert_int_equal(get(&cfg, 0x14, 4), 0xffffffff);
	set(&cfg, 0x10, 4, 0xfc123456);
	set(&cfg, 0x14, 4, 0x38);
	assert_int_equal(get(&cfg, 0x10, 4), 0xfc00000c);
	assert_int_equal(get(&cfg, 0x14, 4), 0x38);
	/* BARs that are not there, and the ROM. */
	set(&cfg, 0x18, 4, 0xffffffff);
	set(&cfg, 0x24, 4, 0xffffffff);
	set(&cfg, 0x30, 4, 0xffffffff);
	assert_int_equal(get(&cfg, 0x18, 4) | get(&cfg, 0x24, 4) | get(&cfg, 0x30, 4), 0);
}

static void bars_of_other_sizes(void **state)
{
	struct up_pci_config cfg;

	(void)state;
	up_pci_config_init(&cfg, &ids);
	assert_int_equal(up_pci_config_add_bar64(&cfg, 0, 0, true), -EINVAL);
	assert_int_equal(up_pci_config_add_bar64(&cfg, 0, 8, true), -EINVAL);
	assert_int_equal(up_pci_config_add_bar64(&cfg, 0, 0x3000, true), -EINVAL);
	assert_int_equal(up_pci_config_add_bar64(&cfg, 5, 0x1000, true), -EINVAL);
	assert_int_equal(up_pci_config_add_bar64(&cfg, 2, 1ull << 36, false), 0);
	assert_int_equal(up_pci_config_add_bar64(&cfg, 1, 0x1000, true), -EINVAL);
	assert_int_equal(up_pci_config_add_bar64(&cfg, 2, 0x1000, true), -EINVAL);
	assert_int_equal(up_pci_config_add_bar64(&cfg, 3, 0x1000, true), -EINVAL);
	assert_int_equal(up_pci_config_add_bar64(&cfg, 4, 0x1000, true), 0);
	set(&cfg, 0x18, 4, 0xffffffff);
	set(&cfg, 0x1c, 4, 0xffffffff);
	assert_int_equal(get(&cfg, 0x18, 4), 0x4);
	assert_int_equal(get(&cfg, 0x1c, 4), 0xfffffff0);
	set(&cfg, 0x20, 4, 0xffffffff);
	assert_int_equal(get(&cfg, 0x20, 4), 0xfffff00c);
}

static void express_capability(void **state)
{
	struct up_pci_express bad = express;
	struct up_pci_config cfg;
	uint32_t at;

	(void)state;
	build_device(&cfg);
	at = find_cap(&cfg, 0x10);
	assert_int_equal(at, 0x40);
	assert_int_equal(get(&cfg, at + 2, 2), 0x0002);	      /* version 2, endpoint */
	assert_int_equal(get(&cfg, at + 4, 4) & 7, 2);	      /* 512 bytes */
	assert_int_equal(get(&cfg, at + 0xc, 4), 0x07000103); /* port 7, x16, 8 GT/s */
	assert_int_equal(get(&cfg, at + 0x12, 2), 0x0103);
	assert_int_equal(get(&cfg, at + 8, 2), 0x2810);
	set(&cfg, at + 8, 2, 0xffff); /* no function level reset */
	assert_int_equal(get(&cfg, at + 8, 2), 0x79ff);
	assert_int_equal(get(&cfg, at + 10, 2), 0);
	set(&cfg, at + 0xc, 4, 0);
	assert_int_equal(get(&cfg, at + 0xc, 4), 0x07000103);
	assert_int_equal(get(&cfg, at + 0x2c, 4), 0xe); /* 2.5, 5 and 8 GT/s */
	bad.link_speed = 0;
	assert_int_equal(up_pci_config_add_express(&cfg, &bad), -EINVAL);
	bad.link_speed = 200;
	assert_int_equal(up_pci_config_add_express(&cfg, &bad), -EINVAL);
}

static void msix_capability(void **state)
{
	struct up_pci_msix bad = msix;
	struct up_pci_config cfg;
	uint32_t at;

	(void)state;
	build_device(&cfg);
	at = find_cap(&cfg, 0x11);
	assert_int_not_equal(at, 0);
	assert_int_equal(get(&cfg, at + 2, 2), 15);
	assert_int_equal(get(&cfg, at + 4, 4), 0x8000);
	assert_int_equal(get(&cfg, at + 8, 4), 0xc000);
	set(&cfg, at + 2, 2, 0xffff);
	assert_int_equal(get(&cfg, at + 2, 2), 0xc00f);
	set(&cfg, at + 2, 2, 0x8000);
	assert_int_equal(get(&cfg, at + 2, 2), 0x800f);
	set(&cfg, at + 4, 4, 0);
	assert_int_equal(get(&cfg, at + 4, 4), 0x8000);
	assert_int_equal(up_pci_config_add_msix(&cfg, &msix), -EINVAL); /* one is enough */

	up_pci_config_init(&cfg, &ids);
	bad.vectors = 0;
	assert_int_equal(up_pci_config_add_msix(&cfg, &bad), -EINVAL);
	bad.vectors = 2049;
	assert_int_equal(up_pci_config_add_msix(&cfg, &bad), -EINVAL);
	bad.vectors = 2048;
	bad.pba_offset = 4;
	assert_int_equal(up_pci_config_add_msix(&cfg, &bad), -EINVAL);
}

static void power_management(void **state)
{
	struct up_pci_config cfg;
	uint32_t at;

	(void)state;
	build_device(&cfg);
	at = find_cap(&cfg, 1);
	assert_int_not_equal(at, 0);
	assert_int_equal(get(&cfg, at + 2, 2) & 7, 3);
	assert_int_equal(get(&cfg, at + 4, 2), 8);
	set(&cfg, at + 4, 2, 0xffff);
	assert_int_equal(get(&cfg, at + 4, 2), 0xb);
}

static void capability_space(void **state)
{
	static const uint8_t body[20] = {1, 2, 3}, mask[20] = {0, 0xf0};
	struct up_pci_config cfg;
	int at, n = 0, last = 0;

	(void)state;
	up_pci_config_init(&cfg, &ids);
	assert_int_equal(get(&cfg, 0x34, 1), 0);
	assert_int_equal(get(&cfg, 6, 2), 0);
	while ((at = up_pci_config_add_cap(&cfg, (uint8_t)(0x20 + n), body, mask, 20)) > 0) {
		assert_true(at + 22 <= 0x100 && at > last);
		last = at;
		n++;
	}
	assert_int_equal(at, -ENOSPC);
	assert_int_equal(n, 8);
	assert_int_equal(up_pci_config_add_cap(&cfg, 9, body, NULL, SIZE_MAX), -ENOSPC);
	for (; n > 0; n--)
		assert_int_not_equal(find_cap(&cfg, (uint8_t)(0x20 + n - 1)), 0);
	at = (int)find_cap(&cfg, 0x20);
	set(&cfg, (uint64_t)at, 4, 0xffffffff);
	assert_int_equal(get(&cfg, (uint64_t)at + 2, 2), 0xf201);
	/* Of the extended space, which is empty. */
	set(&cfg, 0x100, 4, 0xffffffff);
	assert_int_equal(get(&cfg, 0x100, 4), 0);
}

static void reset_restores(void **state)
{
	struct up_pci_config cfg, before;

	(void)state;
	build_device(&cfg);
	before = cfg;
	set(&cfg, 4, 2, 0xffff);
	set(&cfg, 0x10, 4, 0xffffffff);
	set(&cfg, find_cap(&cfg, 0x11) + 2, 2, 0xffff);
	up_pci_config_reset(&cfg);
	assert_memory_equal(&cfg, &before, sizeof(cfg));
	assert_false(up_pci_config_bus_master(&cfg));
}

static void bounds(void **state)
{
	uint8_t all[UP_PCI_CONFIG_SIZE + 1];
	struct up_pci_config cfg;

	(void)state;
	build_device(&cfg);
	assert_int_equal(up_pci_config_read(&cfg, 0, all, UP_PCI_CONFIG_SIZE), 0);
	assert_int_equal(up_pci_config_write(&cfg, 0, all, UP_PCI_CONFIG_SIZE), 0);
	assert_int_equal(up_pci_config_read(&cfg, 0, all, UP_PCI_CONFIG_SIZE + 1), -EINVAL);
	assert_int_equal(up_pci_config_write(&cfg, 1, all, UP_PCI_CONFIG_SIZE), -EINVAL);
	assert_int_equal(up_pci_config_read(&cfg, UP_PCI_CONFIG_SIZE - 3, all, 4), -EINVAL);
	assert_int_equal(up_pci_config_read(&cfg, UINT64_MAX, all, 4), -EINVAL);
	assert_int_equal(up_pci_config_write(&cfg, UINT64_MAX - 1, all, 4), -EINVAL);
	assert_int_equal(up_pci_config_read(&cfg, UP_PCI_CONFIG_SIZE - 1, all, 1), 0);
}

/* Every write mask of every byte: bits outside it never change. */
static void only_writable_bits_change(void **state)
{
	static const uint8_t values[] = {0x00, 0xff, 0xa5, 0x5a};
	struct up_pci_config cfg;
	unsigned off;
	size_t i;

	(void)state;
	build_device(&cfg);
	for (off = 0; off < UP_PCI_CONFIG_SIZE; off++) {
		uint8_t fixed = (uint8_t)(get(&cfg, off, 1) & (unsigned)~cfg.wmask[off]);

		for (i = 0; i < sizeof(values); i++) {
			set(&cfg, off, 1, values[i]);
			assert_int_equal(get(&cfg, off, 1), fixed | (values[i] & cfg.wmask[off]));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(header),
		cmocka_unit_test(command_register),
		cmocka_unit_test(bar_sizing),
		cmocka_unit_test(bars_of_other_sizes),
		cmocka_unit_test(express_capability),
		cmocka_unit_test(msix_capability),
		cmocka_unit_test(power_management),
		cmocka_unit_test(capability_space),
		cmocka_unit_test(reset_restores),
		cmocka_unit_test(bounds),
		cmocka_unit_test(only_writable_bits_change),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
