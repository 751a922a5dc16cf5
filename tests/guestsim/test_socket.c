/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Clients that speak rubbish on a port's socket, say nothing, ask and do not listen, or ask for
 * more than they can have. The daemon answers with errors or hangs up, keeps a bounded part of what
 * it was given and only as long as the client stays, and the other ports go on.
 */
#include "bystanders.h"

#include <errno.h>
#include <inttypes.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

/* What the daemon has while nobody is at port 0. */
static unsigned idle_fds, idle_maps;

static int start(void **state)
{
	by_start(state);
	by_resources(&idle_fds, &idle_maps);
	return 0;
}

static struct gs_vfio connect_raw(bool negotiate)
{
	struct gs_wait w = gs_wait_start(GS_WAIT_MS);
	struct gs_vfio v;

	/* The one before may not have been noticed to be gone. */
	for (;;) {
		int err = gs_vfio_connect(&v, gs_daemon_socket(&tl_daemon, 0));

		if (!err)
			err = gs_vfio_negotiate(&v);
		if (!err)
			break;
		gs_vfio_close(&v);
		if (!gs_wait_turn(&w))
			gs_fail("the port takes no new client: %s", strerror(-err));
	}
	if (!negotiate) {
		gs_vfio_close(&v);
		gs_daemon_await_resources(&tl_daemon, idle_fds, idle_maps);
		if (gs_vfio_connect(&v, gs_daemon_socket(&tl_daemon, 0)))
			gs_fail("the port takes no new client");
	}
	return v;
}

/* Sends bytes as they are; the server may answer, hang up or do nothing. */
static void send_bytes(bool negotiate, const void *bytes, size_t len, const int *fds,
		       unsigned nr_fds)
{
	struct gs_vfio v = connect_raw(negotiate);

	gs_vfio_send_raw(&v, bytes, len, fds, nr_fds);
	gs_vfio_close(&v);
	by_check();
}

static void test_bad_headers(void **state)
{
	static const struct vu_header headers[] = {
		{.id = 1, .command = VU_VERSION, .size = 0},
		{.id = 1, .command = VU_VERSION, .size = 15},
		{.id = 1, .command = VU_VERSION, .size = 16},
		{.id = 1, .command = VU_VERSION, .size = UINT32_MAX},
		{.id = 1, .command = VU_DMA_MAP, .size = 16},
		{.id = 1, .command = VU_DMA_MAP, .size = 48},
		{.id = 1, .command = 0, .size = 16},
		{.id = 1, .command = 999, .size = 16},
		{.id = 1, .command = VU_REGION_READ, .size = 32},
		{.id = 1, .command = VU_REGION_WRITE, .size = 0x7fffffff},
		{.id = 1, .command = VU_DEVICE_RESET, .size = 16, .flags = 0xffffffff},
		{.id = 1, .command = VU_DEVICE_RESET, .size = 16, .flags = VU_TYPE_REPLY},
	};
	uint8_t zeroes[256] = {0};

	for (unsigned i = 0; i < ARRAY_SIZE(headers); i++) {
		for (unsigned negotiate = 0; negotiate < 2; negotiate++) {
			memcpy(zeroes, &headers[i], sizeof(headers[i]));
			send_bytes(negotiate, zeroes, sizeof(headers[i]), NULL, 0);
			send_bytes(negotiate, zeroes, sizeof(headers[i]) / 2, NULL, 0);
			send_bytes(negotiate, zeroes, sizeof(zeroes), NULL, 0);
		}
	}
}

/* Every command with a body of every length and rubbish in it. */
static void test_bad_bodies(void **state)
{
	uint8_t bytes[16 + 128];

	for (uint16_t command = 1; command <= 18; command++) {
		struct gs_vfio v = connect_raw(true);

		for (uint32_t len = 0; len <= 128; len += 4) {
			struct vu_header h = {.id = 5, .command = command, .size = 16 + len};

			for (unsigned i = 16; i < sizeof(bytes); i++)
				bytes[i] = (uint8_t)(len % 8 ? by_random() : 0);
			memcpy(bytes, &h, sizeof(h));
			if (gs_vfio_send_raw(&v, bytes, 16 + len, NULL, 0) == 0)
				continue;
			gs_vfio_close(&v);
			v = connect_raw(true);
		}
		gs_vfio_close(&v);
		by_check();
	}
}

/* Descriptors where none belong, of the wrong kind, too many. */
static void test_bad_descriptors(void **state)
{
	struct vu_header h = {.id = 1, .command = VU_DEVICE_RESET, .size = 16};
	unsigned before, maps;
	int fds[64];

	by_resources(&before, &maps);
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = eventfd(0, EFD_CLOEXEC);
	for (unsigned n = 1; n <= ARRAY_SIZE(fds); n *= 2)
		send_bytes(true, &h, sizeof(h), fds, n);
	for (unsigned kind = 0; kind < 4; kind++) {
		const char *paths[] = {"/dev/null", "/", "/proc/self/stat", "/dev/zero"};
		int fd = open(paths[kind], O_RDONLY | O_CLOEXEC);
		struct gs_vfio v = connect_raw(true);

		gs_vfio_dma_map(&v, fd, 0, 0, 4096);
		gs_vfio_dma_map(&v, fds[0], 0, 1 << 20, 4096);
		gs_vfio_set_eventfd(&v, 2, 0, fd);
		gs_vfio_set_eventfd(&v, 2, 5000, fds[1]);
		gs_vfio_set_eventfd(&v, 77, 0, fds[1]);
		gs_vfio_close(&v);
		close(fd);
		by_check();
	}
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	gs_daemon_await_resources(&tl_daemon, before, maps);
}

/* A client that asks and never reads the answers, while a register of another must be read. */
static void test_client_that_does_not_read(void **state)
{
	struct gs_vfio v = connect_raw(true);
	struct vu_region_access acc = {.offset = 0, .region = 7, .count = 4096};
	struct vu_header h = {.id = 1, .command = VU_REGION_READ, .size = 16 + sizeof(acc)};
	uint8_t bytes[16 + sizeof(acc)];
	unsigned sent = 0;

	memcpy(bytes, &h, sizeof(h));
	memcpy(bytes + 16, &acc, sizeof(acc));
	fcntl(v.sock, F_SETFL, O_NONBLOCK);
	while (sent < 20000 && gs_vfio_send_raw(&v, bytes, sizeof(bytes), NULL, 0) == 0)
		sent++;
	by_check();
	gs_vm_await_active(bystanders.a.vm);
	gs_vfio_close(&v);
}

/* A message in single bytes is a message. */
static void test_dribble(void **state)
{
	struct vu_header h = {.id = 77, .command = VU_DEVICE_GET_INFO, .size = 16 + 16}, reply;
	struct vu_device_info info = {.argsz = sizeof(info)};
	struct gs_vfio v = connect_raw(true);
	uint8_t bytes[32];

	memcpy(bytes, &h, sizeof(h));
	memcpy(bytes + 16, &info, sizeof(info));
	for (unsigned i = 0; i < sizeof(bytes); i++) {
		assert_int_equal(gs_vfio_send_raw(&v, bytes + i, 1, NULL, 0), 0);
		usleep(500);
	}
	assert_int_equal(gs_vfio_recv(&v, &reply, &info, sizeof(info), NULL), 0);
	assert_int_equal(reply.id, 77);
	assert_int_equal(reply.flags & VU_ERROR, 0);
	assert_int_equal(info.flags & 3, 3);
	gs_vfio_close(&v);
}

/* ---- floods ---- */

/* A port that is in use, asked for again and again, also by clients that never say a word. */
static void test_connect_flood(void **state)
{
	struct gs_vfio idle[64];
	unsigned fds, maps;

	by_resources(&fds, &maps);
	for (unsigned i = 0; i < 1000; i++) {
		struct gs_vfio *v = &idle[i % ARRAY_SIZE(idle)];

		if (i >= ARRAY_SIZE(idle))
			gs_vfio_close(v);
		if (gs_vfio_connect(v, gs_daemon_socket(&tl_daemon, 2)))
			gs_fail("connection %u: %s", i, strerror(errno));
		if (i % 100 == 0)
			by_check();
	}
	for (unsigned i = 0; i < ARRAY_SIZE(idle); i++) {
		assert_true(gs_vfio_hung_up(&idle[i], GS_WAIT_MS));
		gs_vfio_close(&idle[i]);
	}
	by_check();
	gs_daemon_await_resources(&tl_daemon, fds, maps);
}

/* Descriptors without end, in messages that may have them and in others; few are kept. */
static void test_descriptor_flood(void **state)
{
	enum { VECTORS = 64, PER_MESSAGE = 8 };
	struct vu_header h = {.id = 1, .command = VU_DEVICE_RESET, .size = 16};
	unsigned before, maps;
	int fds[PER_MESSAGE], rest;
	struct gs_vfio v;

	by_resources(&before, &maps);
	v = connect_raw(true);
	for (unsigned i = 0; i < PER_MESSAGE; i++)
		fds[i] = eventfd(0, EFD_CLOEXEC);
	for (unsigned i = 0; i < 1000; i++) {
		if (gs_vfio_set_eventfd(&v, 2, i % VECTORS, fds[i % PER_MESSAGE]))
			gs_fail("vector %u is refused", i % VECTORS);
		if (gs_vfio_send_raw(&v, &h, sizeof(h), fds, PER_MESSAGE) ||
		    gs_vfio_recv(&v, &h, &rest, 0, NULL))
			gs_fail("a reset with descriptors is not answered");
		assert_true(h.flags & VU_ERROR);
		h = (struct vu_header){.id = 1, .command = VU_DEVICE_RESET, .size = 16};
	}
	by_check();
	/* The connection itself is one, and the rest are being closed. */
	gs_daemon_await_resources(&tl_daemon, before + 1 + VECTORS, UINT_MAX);
	gs_vfio_close(&v);
	for (unsigned i = 0; i < PER_MESSAGE; i++)
		close(fds[i]);
	gs_daemon_await_resources(&tl_daemon, before, maps);
}

/* As many files as there can be, and no more: the daemon's mappings are everybody's. */
static void test_file_flood(void **state)
{
	enum { PAGE = 4096, TRIES = 2000, MOST = 1024 };
	unsigned fds, maps, n = 0;
	struct gs_vfio v;

	by_resources(&fds, &maps);
	v = connect_raw(true);
	for (uint64_t i = 0; i < TRIES; i++) {
		int fd = memfd_create("flood", MFD_CLOEXEC);

		if (ftruncate(fd, PAGE))
			gs_fail("ftruncate: %s", strerror(errno));
		n += gs_vfio_dma_map(&v, fd, 0, i * 2 * PAGE, PAGE) == 0;
		close(fd);
	}
	by_check();
	if (n < 64 || n > MOST || gs_daemon_maps(&tl_daemon) > maps + MOST)
		gs_fail("%u files are mapped", n);
	gs_vfio_close(&v);
	gs_daemon_await_resources(&tl_daemon, fds, maps);
}

/* Page by page, as with an IOMMU in the guest: that takes no mapping or descriptor for each. */
static void test_map_flood(void **state)
{
	enum { PAGE = 4096, RANGES = 5000, FEW = 16 };
	int fd = memfd_create("flood", MFD_CLOEXEC);
	unsigned fds, maps;
	struct gs_vfio v;

	by_resources(&fds, &maps);
	v = connect_raw(true);
	if (ftruncate(fd, 2 * PAGE))
		gs_fail("ftruncate: %s", strerror(errno));
	for (uint64_t i = 0; i < RANGES; i++)
		if (gs_vfio_dma_map(&v, fd, i % 2 * PAGE, i * 2 * PAGE, PAGE))
			gs_fail("range %" PRIu64 " is refused", i);
	by_check();
	if (gs_daemon_maps(&tl_daemon) > maps + FEW)
		gs_fail("%u mappings more", gs_daemon_maps(&tl_daemon) - maps);
	/* The connection itself is one. */
	gs_daemon_await_resources(&tl_daemon, fds + 1, UINT_MAX);
	gs_vfio_close(&v);
	close(fd);
	gs_daemon_await_resources(&tl_daemon, fds, maps);
}

/* Writes to registers and doorbells without end; another port's registers are answered. */
static void test_write_flood(void **state)
{
	struct {
		struct vu_header h;
		struct vu_region_access acc;
		uint8_t data[4096];
	} m = {.h = {.command = VU_REGION_WRITE, .size = sizeof(m), .flags = VU_NO_REPLY},
	       .acc = {.offset = 0x10000, .count = sizeof(m.data)}};
	struct gs_vfio v = connect_raw(true);

	for (unsigned i = 0; i < 4000; i++) {
		m.acc.offset = i % 2 ? 0x10000 : 0;
		if (gs_vfio_send_raw(&v, &m, sizeof(m), NULL, 0))
			gs_fail("write %u is not taken", i);
		if (i % 200 == 0)
			gs_reg_read(bystanders.a.vm, CX_ISEG_HEALTH_COUNTER);
	}
	by_check();
	gs_vfio_close(&v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_headers),
		cmocka_unit_test(test_bad_bodies),
		cmocka_unit_test(test_bad_descriptors),
		cmocka_unit_test(test_client_that_does_not_read),
		cmocka_unit_test(test_dribble),
		cmocka_unit_test(test_connect_flood),
		cmocka_unit_test(test_descriptor_flood),
		cmocka_unit_test(test_file_flood),
		cmocka_unit_test(test_map_flood),
		cmocka_unit_test(test_write_flood),
	};

	tl_init();
	return cmocka_run_group_tests(tests, start, by_stop);
}
