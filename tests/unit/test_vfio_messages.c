/* SPDX-License-Identifier: BSD-2-Clause */
/* vfio-user messages: version, device, regions, reset; and every way to get them wrong. */
#include "test_vfio_client.h"

/* VERSION with a JSON text; its NUL is sent, too. */
static void send_version(struct rig *rig, uint16_t major, uint16_t minor, const char *text)
{
	uint8_t body[1024];
	const struct vu_version version = {major, minor};

	memcpy(body, &version, sizeof(version));
	if (text)
		strcpy((char *)body + sizeof(version), text);
	command(rig, VU_VERSION, body, sizeof(version) + (text ? strlen(text) + 1 : 0));
}

static void expect_version(struct rig *rig)
{
	struct answer a = get_answer(rig);
	struct vu_version version;

	assert_int_equal(a.header.id, rig->next_id);
	assert_int_equal(a.header.flags, VU_TYPE_REPLY);
	memcpy(&version, a.body, sizeof(version));
	assert_int_equal(version.major, 0);
	assert_int_equal(version.minor, 0);
	assert_string_equal((char *)a.body + sizeof(version),
			    "{\"capabilities\":{\"max_msg_fds\":8,\"max_data_xfer_size\":1048576,"
			    "\"pgsizes\":4096,\"max_dma_maps\":24}}");
	assert_int_equal(a.body_size,
			 sizeof(version) + strlen((char *)a.body + sizeof(version)) + 1);
	answer_done(&a);
}

static void version_is_negotiated(void **state)
{
	static const char *const good[] = {
		NULL,
		"{}",
		"{\"capabilities\":{}}",
		"{\"capabilities\":{\"max_msg_fds\":1,\"twin_socket\":{\"supported\":true}}}",
		"{\"something\":[1,2,3]}",
	};
	struct rig rig;
	size_t i;

	(void)state;
	rig_create(&rig, NULL);
	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		rig_connect(&rig);
		send_version(&rig, 0, (uint16_t)i, good[i]);
		expect_version(&rig);
		rig_hang_up(&rig);
	}
	rig_destroy(&rig);
}

/* A refused offer leaves the client where it was: it may make a better one. */
static void bad_versions(void **state)
{
	static const char *const bad[] = {
		"",
		"{",
		"[]",
		"7",
		"nonsense",
		"{\"capabilities\":7}",
		"{\"capabilities\":{\"max_msg_fds\":\"8\"}}",
		"{\"capabilities\":{\"max_msg_fds\":-1}}",
		"{\"capabilities\":{},\"capabilities\":{}}",
		"{\"a\":\"\xff\"}",
	};
	static const char cut[] = "\0\0\0\0{}", inner_nul[] = "\0\0\0\0{}\0{}";
	uint8_t large[20000] = {0};
	struct rig rig;
	size_t i;

	(void)state;
	rig_create(&rig, NULL);
	rig_connect(&rig);
	send_version(&rig, 1, 0, "{}");
	expect_error(&rig, EINVAL);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		send_version(&rig, 0, 0, bad[i]);
		expect_error(&rig, EINVAL);
	}
	command(&rig, VU_VERSION, cut, sizeof(cut) - 1);
	expect_error(&rig, EINVAL);
	command(&rig, VU_VERSION, inner_nul, sizeof(inner_nul));
	expect_error(&rig, EINVAL);
	command(&rig, VU_VERSION, cut, 3);
	expect_error(&rig, EINVAL);
	command(&rig, VU_VERSION, large, sizeof(large));
	expect_error(&rig, EINVAL);
	command_fds(&rig, VU_VERSION, "\0\0\0\0", 4, &rig.ram_fd, 1);
	expect_error(&rig, EINVAL);
	send_version(&rig, 0, 0, NULL);
	expect_version(&rig);
	send_version(&rig, 0, 0, NULL);
	expect_error(&rig, EINVAL);
	rig_destroy(&rig);
}

/* Deeply nested text must not take the parser's stack. */
static void nested_json(void **state)
{
	static char body[16 * 1024];
	struct rig rig;

	(void)state;
	rig_create(&rig, NULL);
	rig_connect(&rig);
	memset(body + 4, '[', sizeof(body) - 5);
	command(&rig, VU_VERSION, body, sizeof(body));
	expect_error(&rig, EINVAL);
	rig_destroy(&rig);
}

static void nothing_before_version(void **state)
{
	static const uint16_t commands[] = {
		VU_DEVICE_GET_INFO,	   VU_DEVICE_RESET,
		VU_DEVICE_SET_IRQS,	   VU_REGION_READ,
		VU_REGION_WRITE,	   VU_DMA_UNMAP,
		VU_DEVICE_GET_REGION_INFO, VU_DEVICE_GET_IRQ_INFO,
	};
	const uint8_t body[32] = {32};
	struct rig rig;
	size_t i;

	(void)state;
	rig_create(&rig, NULL);
	rig_connect(&rig);
	for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		command(&rig, commands[i], body, sizeof(body));
		expect_error(&rig, EINVAL);
	}
	dma_map(&rig, 0, 0x1000, 0, 3, rig.ram_fd);
	expect_error(&rig, EINVAL);
	assert_int_equal(rig.dev.nr_maps + rig.dev.resets + rig.dev.reads + rig.dev.writes, 0);
	rig_destroy(&rig);
}

static void unknown_commands_keep_the_connection(void **state)
{
	static const uint16_t commands[] = {
		0,
		VU_DEVICE_GET_REGION_IO_FDS,
		VU_DMA_READ,
		VU_DMA_WRITE,
		14,
		VU_REGION_WRITE_MULTI,
		VU_DEVICE_FEATURE,
		VU_MIG_DATA_READ,
		VU_MIG_DATA_WRITE,
		19,
		0x7fff,
		0xffff,
	};
	uint8_t body[5000] = {0};
	struct rig rig;
	size_t i;

	(void)state;
	rig_start(&rig);
	for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		command_fds(&rig, commands[i], body, i * 400, &rig.ram_fd, 1);
		expect_error(&rig, EOPNOTSUPP);
	}
	command(&rig, VU_DEVICE_RESET, NULL, 0);
	expect_ok(&rig, VU_DEVICE_RESET, 0);
	assert_int_equal(rig.dev.resets, 1);
	rig_destroy(&rig);
}

/* Each command with every wrong size near its own, and with descriptors it does not take. */
static void wrong_sizes_and_descriptors(void **state)
{
	static const struct {
		uint16_t command;
		size_t min, max;
		bool fds;
	} rules[] = {
		{VU_DMA_MAP, 32, 32, true},
		{VU_DMA_UNMAP, 24, 40, false},
		{VU_DEVICE_GET_INFO, 16, 16, false},
		{VU_DEVICE_GET_REGION_INFO, 32, 32, false},
		{VU_DEVICE_GET_IRQ_INFO, 16, 16, false},
		{VU_DEVICE_SET_IRQS, 20, 20 + UP_VFIO_MAX_VECTORS, true},
		{VU_REGION_READ, 16, 16, false},
		{VU_REGION_WRITE, 16, 16 + UP_VFIO_MAX_XFER, false},
		{VU_DEVICE_RESET, 0, 0, false},
	};
	uint8_t body[4096] = {0};
	struct rig rig;
	size_t i, size;

	(void)state;
	rig_start(&rig);
	for (i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		for (size = 0; size < rules[i].min; size++) {
			command(&rig, rules[i].command, body, size);
			expect_error(&rig, EINVAL);
		}
		if (rules[i].max < sizeof(body)) {
			command(&rig, rules[i].command, body, rules[i].max + 1);
			expect_error(&rig, EINVAL);
		}
		if (!rules[i].fds) {
			command_fds(&rig, rules[i].command, body, rules[i].min, &rig.ram_fd, 1);
			expect_error(&rig, EINVAL);
		}
	}
	assert_int_equal(rig.dev.resets + rig.dev.reads + rig.dev.writes, 0);
	rig_destroy(&rig);
}

static void device_info(void **state)
{
	struct vu_device_info info = {.argsz = sizeof(info)};
	struct answer a;
	struct rig rig;

	(void)state;
	rig_start(&rig);
	command(&rig, VU_DEVICE_GET_INFO, &info, sizeof(info));
	a = expect_success(&rig, VU_DEVICE_GET_INFO, sizeof(info));
	memcpy(&info, a.body, sizeof(info));
	assert_int_equal(info.argsz, 16);
	assert_int_equal(info.flags, 3);
	assert_int_equal(info.num_regions, UP_VFIO_PCI_REGIONS);
	assert_int_equal(info.num_irqs, UP_VFIO_PCI_IRQS);
	answer_done(&a);
	info.argsz = 15;
	command(&rig, VU_DEVICE_GET_INFO, &info, sizeof(info));
	expect_error(&rig, EINVAL);
	rig_destroy(&rig);
}

static struct answer region_info(struct rig *rig, uint32_t index, uint32_t argsz,
				 struct vu_region_info *info)
{
	struct answer a;

	*info = (struct vu_region_info){.argsz = argsz, .index = index};
	command(rig, VU_DEVICE_GET_REGION_INFO, info, sizeof(*info));
	a = get_answer(rig);
	assert_int_equal(a.header.flags, VU_TYPE_REPLY);
	assert_true(a.body_size >= sizeof(*info));
	assert_true(a.body_size <= argsz);
	memcpy(info, a.body, sizeof(*info));
	assert_int_equal(info->index, index);
	return a;
}

/* First with room for the fixed part, as QEMU does, then with as much as the answer named. */
static void sparse_region(void **state)
{
	static const struct vu_sparse_area expected[] = {{0x1000, 0x1000}, {0x4000, 0x3000}};
	struct vu_sparse_mmap cap;
	struct vu_region_info info;
	struct stat st, bar;
	struct answer a;
	struct rig rig;

	(void)state;
	rig_start(&rig);
	a = region_info(&rig, 0, 32, &info);
	assert_int_equal(info.argsz, 80);
	assert_int_equal(info.flags, VU_REGION_FLAG_READ | VU_REGION_FLAG_WRITE);
	assert_int_equal(info.cap_offset, 0);
	assert_int_equal(info.size, BAR_SIZE);
	assert_int_equal(a.fd, -1);
	answer_done(&a);

	a = region_info(&rig, 0, 79, &info);
	assert_int_equal(info.argsz, 80);
	assert_false(info.flags & VU_REGION_FLAG_MMAP);
	answer_done(&a);

	a = region_info(&rig, 0, 80, &info);
	assert_int_equal(a.body_size, 80);
	assert_int_equal(info.argsz, 80);
	assert_int_equal(info.flags, 0xf);
	assert_int_equal(info.cap_offset, 32);
	assert_int_equal(info.offset, 0);
	memcpy(&cap, a.body + 32, sizeof(cap));
	assert_int_equal(cap.id, 1);
	assert_int_equal(cap.version, 1);
	assert_int_equal(cap.next, 0);
	assert_int_equal(cap.nr_areas, 2);
	assert_memory_equal(a.body + 48, expected, sizeof(expected));
	assert_int_equal(fstat(a.fd, &st), 0);
	assert_int_equal(fstat(rig.bar_fd, &bar), 0);
	assert_int_equal(st.st_ino, bar.st_ino);
	answer_done(&a);
	rig_destroy(&rig);
}

static void other_regions(void **state)
{
	struct vu_region_info info;
	struct answer a;
	struct rig rig;

	(void)state;
	rig_start(&rig);
	/* Mapped as a whole: no capability is needed. */
	a = region_info(&rig, 2, 32, &info);
	assert_int_equal(info.argsz, 32);
	assert_int_equal(info.flags, 7);
	assert_int_equal(info.offset, 0x2000);
	assert_true(a.fd >= 0);
	answer_done(&a);
	a = region_info(&rig, UP_VFIO_REGION_CONFIG, 32, &info);
	assert_int_equal(info.flags, 3);
	assert_int_equal(info.size, 4096);
	answer_done(&a);
	/* There is none. */
	a = region_info(&rig, 1, 32, &info);
	assert_int_equal(info.flags, 0);
	assert_int_equal(info.size, 0);
	assert_int_equal(a.fd, -1);
	answer_done(&a);

	info = (struct vu_region_info){.argsz = 32, .index = UP_VFIO_PCI_REGIONS};
	command(&rig, VU_DEVICE_GET_REGION_INFO, &info, sizeof(info));
	expect_error(&rig, EINVAL);
	info = (struct vu_region_info){.argsz = 32, .index = UINT32_MAX};
	command(&rig, VU_DEVICE_GET_REGION_INFO, &info, sizeof(info));
	expect_error(&rig, EINVAL);
	info = (struct vu_region_info){.argsz = 31};
	command(&rig, VU_DEVICE_GET_REGION_INFO, &info, sizeof(info));
	expect_error(&rig, EINVAL);
	rig_destroy(&rig);
}

static void client_that_takes_no_descriptors(void **state)
{
	struct vu_region_info info;
	struct answer a;
	struct rig rig;

	(void)state;
	rig_create(&rig, NULL);
	rig_connect(&rig);
	send_version(&rig, 0, 0, "{\"capabilities\":{\"max_msg_fds\":0}}");
	expect_version(&rig);
	a = region_info(&rig, 2, 32, &info);
	assert_int_equal(info.flags, 3);
	assert_int_equal(a.fd, -1);
	answer_done(&a);
	rig_destroy(&rig);
}

static void region_write(struct rig *rig, uint32_t region, uint64_t off, uint32_t count,
			 const void *data, size_t size)
{
	const struct vu_region_access acc = {off, region, count};
	uint8_t *body = malloc(sizeof(acc) + size);

	memcpy(body, &acc, sizeof(acc));
	if (size)
		memcpy(body + sizeof(acc), data, size);
	command(rig, VU_REGION_WRITE, body, sizeof(acc) + size);
	free(body);
}

static void region_read(struct rig *rig, uint32_t region, uint64_t off, uint32_t count)
{
	const struct vu_region_access acc = {off, region, count};

	command(rig, VU_REGION_READ, &acc, sizeof(acc));
}

static void region_access(void **state)
{
	const struct vu_region_access echo = {0x100, 0, 8};
	uint8_t *big = malloc(UP_VFIO_MAX_XFER);
	struct answer a;
	struct rig rig;

	(void)state;
	rig_start(&rig);
	region_write(&rig, 0, 0x100, 8, "ABCDEFGH", 8);
	a = expect_success(&rig, VU_REGION_WRITE, 16);
	assert_memory_equal(a.body, &echo, sizeof(echo));
	answer_done(&a);
	region_read(&rig, 0, 0x100, 8);
	a = expect_success(&rig, VU_REGION_READ, 24);
	assert_memory_equal(a.body, &echo, sizeof(echo));
	assert_memory_equal(a.body + 16, "ABCDEFGH", 8);
	answer_done(&a);

	/* The largest one. */
	memset(big, 0x5a, UP_VFIO_MAX_XFER);
	fcntl(rig.client, F_SETFL, 0);
	{
		const struct vu_region_access acc = {0, BIG_REGION, UP_VFIO_MAX_XFER};
		uint8_t *bytes = malloc(32 + UP_VFIO_MAX_XFER);
		size_t size, at;

		size = build(&rig, bytes, VU_REGION_WRITE, 0, &acc, sizeof(acc));
		((struct vu_header *)bytes)->size += UP_VFIO_MAX_XFER;
		memcpy(bytes + size, big, UP_VFIO_MAX_XFER);
		size += UP_VFIO_MAX_XFER;
		for (at = 0; at < size; at += 65536) {
			send_raw(&rig, bytes + at, size - at < 65536 ? size - at : 65536, NULL, 0);
			pump(&rig);
		}
		free(bytes);
	}
	fcntl(rig.client, F_SETFL, O_NONBLOCK);
	expect_ok(&rig, VU_REGION_WRITE, 16);
	assert_memory_equal(rig.dev.big, big, UP_VFIO_MAX_XFER);
	free(big);
	rig_destroy(&rig);
}

static void wrong_region_accesses(void **state)
{
	static const struct vu_region_access bad[] = {
		{0, 0, 0},		     /* nothing */
		{0, 0, BAR_SIZE + 1},	     /* too long */
		{BAR_SIZE, 0, 1},	     /* behind the end */
		{BAR_SIZE - 3, 0, 4},	     /* across the end */
		{UINT64_MAX, 0, 1},	     /* the end wraps to 0 */
		{UINT64_MAX - 3, 0, 8},	     /* the end wraps into the region */
		{0, 1, 4},		     /* a region that is not there */
		{0, UP_VFIO_PCI_REGIONS, 4}, /* an index that is not there */
		{0, UINT32_MAX, 4},
		{0, BIG_REGION, UP_VFIO_MAX_XFER + 1},
		{0, BIG_REGION, UINT32_MAX},
	};
	uint8_t data[64] = {0};
	struct rig rig;
	size_t i;

	(void)state;
	rig_start(&rig);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		region_read(&rig, bad[i].region, bad[i].offset, bad[i].count);
		expect_error(&rig, EINVAL);
		if (bad[i].count > sizeof(data))
			continue;
		region_write(&rig, bad[i].region, bad[i].offset, bad[i].count, data, bad[i].count);
		expect_error(&rig, EINVAL);
	}
	/* The count does not match what was sent. */
	region_write(&rig, 0, 0, 8, data, 7);
	expect_error(&rig, EINVAL);
	region_write(&rig, 0, 0, 8, data, 9);
	expect_error(&rig, EINVAL);
	region_write(&rig, READ_ONLY_REGION, 0, 4, data, 4);
	expect_error(&rig, EPERM);
	assert_int_equal(rig.dev.reads + rig.dev.writes, 0);

	/* The device says no. */
	region_read(&rig, 0, FAILING_OFFSET, 4);
	expect_error(&rig, EIO);
	region_write(&rig, 0, FAILING_OFFSET, 4, data, 4);
	expect_error(&rig, EIO);
	rig_destroy(&rig);
}

/* Data that the device did not fill in is zero, not what an earlier reply left there. */
static void reads_leak_nothing(void **state)
{
	static const uint8_t zeroes[64];
	struct answer a;
	struct rig rig;

	(void)state;
	rig_start(&rig);
	memset(rig.dev.bar, 0xee, sizeof(rig.dev.bar));
	region_read(&rig, 0, 0, 64);
	expect_ok(&rig, VU_REGION_READ, 80);
	region_read(&rig, READ_ONLY_REGION, 0, 64);
	a = expect_success(&rig, VU_REGION_READ, 80);
	assert_memory_equal(a.body + 16, zeroes, 64);
	answer_done(&a);
	rig_destroy(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(version_is_negotiated),
		cmocka_unit_test(bad_versions),
		cmocka_unit_test(nested_json),
		cmocka_unit_test(nothing_before_version),
		cmocka_unit_test(unknown_commands_keep_the_connection),
		cmocka_unit_test(wrong_sizes_and_descriptors),
		cmocka_unit_test(device_info),
		cmocka_unit_test(sparse_region),
		cmocka_unit_test(other_regions),
		cmocka_unit_test(client_that_takes_no_descriptors),
		cmocka_unit_test(region_access),
		cmocka_unit_test(wrong_region_accesses),
		cmocka_unit_test(reads_leak_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
