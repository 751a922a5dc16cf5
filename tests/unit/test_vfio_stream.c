/* SPDX-License-Identifier: BSD-2-Clause */
/* The stream of a vfio-user connection, its beginning and its end. */
#include "test_vfio_client.h"

#include <sys/resource.h>
#include <sys/un.h>

/* A region read of `count` bytes at 0 as bytes of a message. */
static size_t build_read(struct rig *rig, uint8_t *out, uint32_t region, uint32_t count)
{
	const struct vu_region_access acc = {.region = region, .count = count};

	return build(rig, out, VU_REGION_READ, 0, &acc, sizeof(acc));
}

static void message_in_single_bytes(void **state)
{
	const struct vu_dma_map map = {
		.argsz = sizeof(map), .flags = 3, .address = 0x10000, .size = 0x1000};
	uint8_t bytes[64];
	struct rig rig;
	size_t i, size;

	(void)state;
	rig_start(&rig);
	size = build(&rig, bytes, VU_DMA_MAP, 0, &map, sizeof(map));
	for (i = 0; i < size; i++) {
		expect_silence(&rig);
		assert_int_equal(rig.dev.nr_maps, 0);
		send_raw(&rig, bytes + i, 1, &rig.ram_fd, i == 0);
		pump(&rig);
	}
	expect_ok(&rig, VU_DMA_MAP, 0);
	assert_int_equal(rig.dev.nr_maps, 1);
	rig_destroy(&rig);
}

/* Descriptors belong with the first byte, but a client may be slow to attach them. */
static void descriptor_with_a_later_piece(void **state)
{
	const struct vu_dma_map map = {
		.argsz = sizeof(map), .flags = 3, .address = 0x10000, .size = 0x1000};
	uint8_t bytes[64];
	struct rig rig;
	size_t size;

	(void)state;
	rig_start(&rig);
	size = build(&rig, bytes, VU_DMA_MAP, 0, &map, sizeof(map));
	send_raw(&rig, bytes, 20, NULL, 0);
	pump(&rig);
	send_raw(&rig, bytes + 20, size - 20, &rig.ram_fd, 1);
	pump(&rig);
	expect_ok(&rig, VU_DMA_MAP, 0);
	assert_non_null(rig.dev.map[0].hva);
	rig_destroy(&rig);
}

/* More messages than one call handles, sent in one piece, each answered, in order. */
static void many_messages_at_once(void **state)
{
	enum { MANY = 200 };
	uint8_t bytes[MANY * 32];
	struct rig rig;
	size_t size = 0;
	uint16_t first;
	unsigned i;

	(void)state;
	rig_start(&rig);
	first = rig.next_id;
	for (i = 0; i < MANY; i++)
		size += build_read(&rig, bytes + size, 0, 4);
	send_raw(&rig, bytes, size, NULL, 0);
	assert_int_equal(up_vfio_server_process(rig.server), 0);
	assert_true(rig.dev.reads > 0 && rig.dev.reads < MANY); /* bounded work */
	pump(&rig);
	assert_int_equal(rig.dev.reads, MANY);
	for (i = 0; i < MANY; i++) {
		struct answer a = get_answer(&rig);

		assert_int_equal(a.header.id, first + 1 + i);
		answer_done(&a);
	}
	assert_int_equal(up_vfio_server_stats(rig.server)->messages_in, MANY + 1);
	assert_int_equal(up_vfio_server_stats(rig.server)->messages_out, MANY + 1);
	assert_int_equal(up_vfio_server_stats(rig.server)->region_reads, MANY);
	rig_destroy(&rig);
}

static void descriptors_stay_with_their_message(void **state)
{
	struct vu_dma_map map = {.argsz = sizeof(map), .flags = 3, .size = 0x1000};
	uint8_t bytes[64];
	struct rig rig;
	unsigned i;

	(void)state;
	rig_start(&rig);
	for (i = 0; i < 6; i++) {
		map.address = i * 0x1000;
		send_raw(&rig, bytes, build(&rig, bytes, VU_DMA_MAP, 0, &map, sizeof(map)),
			 &rig.ram_fd, i % 2);
	}
	pump(&rig);
	assert_int_equal(rig.dev.nr_maps, 6);
	for (i = 0; i < 6; i++)
		assert_int_equal(rig.dev.map[i].hva != NULL, i % 2);
	rig_destroy(&rig);
}

static void no_reply_is_honoured(void **state)
{
	struct vu_region_access acc[2] = {{.region = 0, .count = 16}};
	uint8_t bytes[64];
	struct rig rig;

	(void)state;
	rig_start(&rig);
	send_raw(&rig, bytes, build(&rig, bytes, VU_REGION_WRITE, VU_NO_REPLY, acc, sizeof(acc)),
		 NULL, 0);
	acc[0].region = 99;
	send_raw(&rig, bytes, build(&rig, bytes, VU_REGION_WRITE, VU_NO_REPLY, acc, sizeof(acc)),
		 NULL, 0);
	send_raw(&rig, bytes, build(&rig, bytes, 77, VU_NO_REPLY, NULL, 0), NULL, 0);
	pump(&rig);
	assert_int_equal(rig.dev.writes, 1);
	assert_int_equal(up_vfio_server_stats(rig.server)->errors, 2);
	expect_silence(&rig);
	rig_destroy(&rig);
}

static void impossible_headers_disconnect(void **state)
{
	static const struct {
		struct vu_header header;
		const char *why;
	} bad[] = {
		{{.command = 4, .size = 15}, "impossible size of 15"},
		{{.command = 4, .size = 0}, "impossible size of 0"},
		{{.command = 10, .size = 16 + 16 + (1 << 20) + 1}, "impossible size"},
		{{.command = 10, .size = UINT32_MAX}, "impossible size"},
		{{.command = 4, .size = 32, .flags = VU_TYPE_REPLY}, "type 1"},
		{{.command = 4, .size = 32, .flags = 0xf}, "type 15"},
	};
	struct rig rig;
	size_t i;

	(void)state;
	rig_create(&rig, NULL);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		unsigned lines;

		rig_connect(&rig);
		negotiate(&rig);
		lines = log_lines;
		send_raw(&rig, &bad[i].header, sizeof(bad[i].header), &rig.ram_fd, 1);
		pump(&rig);
		expect_disconnect(&rig, bad[i].why);
		assert_int_equal(log_lines, lines + 1);
	}
	rig_destroy(&rig);
}

static void too_many_descriptors_disconnect(void **state)
{
	int fds[UP_VFIO_MAX_FDS + 1];
	uint8_t bytes[64];
	struct rig rig;
	size_t size, i;

	(void)state;
	rig_create(&rig, NULL);
	for (i = 0; i < UP_VFIO_MAX_FDS + 1; i++)
		fds[i] = rig.ram_fd;

	/* In one piece: the kernel cuts the list. */
	rig_connect(&rig);
	negotiate(&rig);
	size = build_read(&rig, bytes, 0, 4);
	send_raw(&rig, bytes, size, fds, UP_VFIO_MAX_FDS + 1);
	pump(&rig);
	expect_disconnect(&rig, "more descriptors");

	/* In two pieces of one message. */
	rig_connect(&rig);
	negotiate(&rig);
	send_raw(&rig, bytes, 17, fds, UP_VFIO_MAX_FDS);
	send_raw(&rig, bytes + 17, size - 17, fds, 1);
	pump(&rig);
	expect_disconnect(&rig, "more descriptors");

	/* As many as allowed in general, but not with this command. */
	rig_connect(&rig);
	negotiate(&rig);
	size = build_read(&rig, bytes, 0, 4);
	send_raw(&rig, bytes, size, fds, UP_VFIO_MAX_FDS);
	pump(&rig);
	expect_error(&rig, EINVAL);
	rig_destroy(&rig);
}

/* Where no more can be open, that is the reason, not how many the client sent. */
static void descriptors_that_cannot_be_open(void **state)
{
	struct rlimit limit, tight;
	uint8_t bytes[64];
	struct rig rig;
	size_t size;
	int next;

	(void)state;
	rig_create(&rig, NULL);
	rig_connect(&rig);
	negotiate(&rig);
	size = build_read(&rig, bytes, 0, 4);
	send_raw(&rig, bytes, size, &rig.ram_fd, 1);

	next = dup(rig.ram_fd);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	tight = limit;
	tight.rlim_cur = (rlim_t)next;
	assert_int_equal(close(next), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	pump(&rig);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	expect_disconnect(&rig, "too many open files");
	rig_destroy(&rig);
}

static void hang_up_within_a_message(void **state)
{
	const struct vu_dma_map map = {
		.argsz = sizeof(map), .flags = 3, .address = 0x10000, .size = 0x1000};
	uint8_t bytes[64];
	struct rig rig;
	size_t size, cut;

	(void)state;
	rig_create(&rig, NULL);
	size = build(&rig, bytes, VU_DMA_MAP, 0, &map, sizeof(map));
	for (cut = 1; cut < size; cut++) {
		rig_connect(&rig);
		negotiate(&rig);
		send_raw(&rig, bytes, cut, &rig.ram_fd, 1);
		pump(&rig);
		rig_hang_up(&rig);
		assert_false(up_vfio_server_connected(rig.server));
		assert_non_null(strstr(log_last, "within a message"));
	}
	assert_int_equal(rig.dev.disconnects, size - 1);
	rig_destroy(&rig);
}

/* What a client sent before it hung up still counts. */
static void messages_before_hang_up_are_handled(void **state)
{
	const struct vu_region_access acc[2] = {{.region = 0, .count = 16}};
	uint8_t bytes[64];
	struct rig rig;
	unsigned i;

	(void)state;
	rig_start(&rig);
	for (i = 0; i < 100; i++)
		send_raw(&rig, bytes,
			 build(&rig, bytes, VU_REGION_WRITE, VU_NO_REPLY, acc, sizeof(acc)), NULL,
			 0);
	rig_hang_up(&rig);
	assert_int_equal(rig.dev.writes, 100);
	assert_string_equal(log_last, "vfio-user: client disconnected");
	rig_destroy(&rig);
}

/* A reply larger than the socket takes goes out in pieces, and the next ones behind it. */
static void large_replies_are_queued(void **state)
{
	enum { READS = 3 };
	uint8_t bytes[32];
	struct rig rig;
	size_t i;

	(void)state;
	rig_start(&rig);
	for (i = 0; i < UP_VFIO_MAX_XFER; i++)
		rig.dev.big[i] = (uint8_t)(i * 7 + i / 256);
	for (i = 0; i < READS; i++)
		send_raw(&rig, bytes, build_read(&rig, bytes, BIG_REGION, UP_VFIO_MAX_XFER), NULL,
			 0);
	pump(&rig);
	assert_int_equal(rig.dev.reads, READS);
	for (i = 0; i < READS; i++) {
		struct answer a = get_answer(&rig);

		assert_int_equal(a.body_size, 16 + UP_VFIO_MAX_XFER);
		assert_memory_equal(a.body + 16, rig.dev.big, UP_VFIO_MAX_XFER);
		answer_done(&a);
	}
	/* The queue is empty again: nothing makes the loop spin. */
	pump(&rig);
	command(&rig, VU_DEVICE_RESET, NULL, 0);
	expect_ok(&rig, VU_DEVICE_RESET, 0);
	rig_destroy(&rig);
}

/* The descriptor of a queued reply arrives with that reply. */
static void descriptor_of_a_queued_reply(void **state)
{
	const struct vu_region_info info = {.argsz = 4096, .index = 2};
	uint8_t bytes[64];
	struct answer a;
	struct rig rig;

	(void)state;
	rig_start(&rig);
	send_raw(&rig, bytes, build_read(&rig, bytes, BIG_REGION, UP_VFIO_MAX_XFER), NULL, 0);
	send_raw(&rig, bytes, build(&rig, bytes, VU_DEVICE_GET_REGION_INFO, 0, &info, sizeof(info)),
		 NULL, 0);
	pump(&rig);
	a = get_answer(&rig);
	assert_int_equal(a.fd, -1);
	answer_done(&a);
	pump(&rig);
	a = expect_success(&rig, VU_DEVICE_GET_REGION_INFO, sizeof(info));
	assert_true(a.fd >= 0);
	answer_done(&a);
	rig_destroy(&rig);
}

static void client_that_never_reads_is_dropped(void **state)
{
	uint8_t bytes[32];
	struct rig rig;
	unsigned i;

	(void)state;
	rig_start(&rig);
	for (i = 0; i < 16 && up_vfio_server_connected(rig.server); i++) {
		send_raw(&rig, bytes, build_read(&rig, bytes, BIG_REGION, UP_VFIO_MAX_XFER), NULL,
			 0);
		pump(&rig);
	}
	assert_false(up_vfio_server_connected(rig.server));
	assert_non_null(strstr(log_last, "were not read"));
	assert_true(i >= 4);
	rig_destroy(&rig);
}

static void errors_in_the_log_are_bounded(void **state)
{
	struct rig rig;
	unsigned i, lines;

	(void)state;
	rig_start(&rig);
	lines = log_lines;
	for (i = 0; i < 100; i++) {
		command(&rig, 99, NULL, 0);
		expect_error(&rig, EOPNOTSUPP);
	}
	assert_int_equal(log_lines, lines + 16);
	assert_non_null(strstr(log_last, "further errors"));
	assert_int_equal(up_vfio_server_stats(rig.server)->errors, 100);
	rig_destroy(&rig);
}

static void disconnect_on_request(void **state)
{
	const struct vu_region_access acc[2] = {{.region = 0, .count = 16}};
	struct rig rig;

	(void)state;
	rig_start(&rig);
	up_vfio_server_disconnect(rig.server, "operator said so");
	assert_true(up_vfio_server_connected(rig.server));
	pump(&rig);
	expect_disconnect(&rig, "operator said so");

	/* Nobody there: the request does not hit the next client. */
	up_vfio_server_disconnect(rig.server, "too late");
	rig_connect(&rig);
	negotiate(&rig);

	/* From inside an operation. */
	rig.dev.drop_on_write = "device in error";
	command(&rig, VU_REGION_WRITE, acc, sizeof(acc));
	expect_ok(&rig, VU_REGION_WRITE, 16);
	expect_disconnect(&rig, "device in error");
	rig_destroy(&rig);
}

static void attach_refuses_a_second_client(void **state)
{
	struct rig rig;
	int pair[2];

	(void)state;
	rig_start(&rig);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(up_vfio_server_attach(rig.server, pair[0]), -EBUSY);
	assert_int_equal(fcntl(pair[0], F_GETFD), -1);
	close(pair[1]);
	rig_destroy(&rig);
}

/* The same with a socket file. */
static void second_connection_is_refused(void **state)
{
	struct place place;
	struct rig rig;
	uint8_t byte;
	int second;

	(void)state;
	place_make(&place);
	rig_create(&rig, place.addr.sun_path);
	rig.client = client_connect(&place);
	pump(&rig);
	negotiate(&rig);

	second = client_connect(&place);
	pump(&rig);
	assert_int_equal(recv(second, &byte, 1, 0), 0);
	close(second);
	assert_non_null(strstr(log_last, "refused"));
	assert_int_equal(up_vfio_server_stats(rig.server)->refused, 1);

	/* The first one does not notice. */
	command(&rig, VU_DEVICE_RESET, NULL, 0);
	expect_ok(&rig, VU_DEVICE_RESET, 0);
	rig_destroy(&rig);
	place_remove(&place);
}

/* The old connection's end and the new connection are seen in the same turn. */
static void next_client_right_after_the_last(void **state)
{
	const struct vu_region_access acc[2] = {{.region = 0, .count = 16}};
	struct place place;
	uint8_t bytes[64];
	struct rig rig;
	unsigned i;

	(void)state;
	place_make(&place);
	rig_create(&rig, place.addr.sun_path);
	for (i = 0; i < 20; i++) {
		int old = rig.client, k;

		if (old >= 0) {
			for (k = 0; k < 100; k++)
				send_raw(&rig, bytes,
					 build(&rig, bytes, VU_REGION_WRITE, VU_NO_REPLY, acc,
					       sizeof(acc)),
					 NULL, 0);
			close(old);
		}
		rig.client = client_connect(&place);
		pump(&rig);
		negotiate(&rig);
		dma_map(&rig, 0, RAM_SIZE, 0, 3, rig.ram_fd);
		expect_ok(&rig, VU_DMA_MAP, 0);
	}
	assert_int_equal(rig.dev.connects, 20);
	assert_int_equal(rig.dev.writes, 19 * 100);
	rig_destroy(&rig);
	place_remove(&place);
}

static int create_at(const char *path, mode_t mode, struct up_vfio_server **out)
{
	const struct up_vfio_config cfg = {.name = "testport", .socket_mode = mode};
	static struct device dev;

	return up_vfio_server_create(path, &cfg, &dev_ops, &dev, out);
}

static void socket_file_mode(void **state)
{
	struct up_vfio_server *server;
	struct place place;
	struct stat st;
	mode_t umask_before;

	(void)state;
	place_make(&place);
	umask_before = umask(0);
	assert_int_equal(create_at(place.addr.sun_path, 0, &server), 0);
	assert_int_equal(stat(place.addr.sun_path, &st), 0);
	assert_int_equal(st.st_mode, S_IFSOCK | 0600);
	up_vfio_server_destroy(server);
	umask(077);
	assert_int_equal(create_at(place.addr.sun_path, 0660, &server), 0);
	assert_int_equal(stat(place.addr.sun_path, &st), 0);
	assert_int_equal(st.st_mode, S_IFSOCK | 0660);
	up_vfio_server_destroy(server);
	umask(umask_before);
	assert_int_equal(access(place.addr.sun_path, F_OK), -1);
	place_remove(&place);
}

static void stale_socket_file_is_replaced(void **state)
{
	struct up_vfio_server *server;
	struct place place;
	unsigned before;
	int fd;

	(void)state;
	place_make(&place);
	before = count_fds();

	/* Left behind by a process that died. */
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&place.addr, sizeof(place.addr)), 0);
	close(fd);
	assert_int_equal(create_at(place.addr.sun_path, 0, &server), 0);
	close(client_connect(&place));
	up_vfio_server_destroy(server);

	/* In use. */
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&place.addr, sizeof(place.addr)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(create_at(place.addr.sun_path, 0, &server), -EADDRINUSE);
	assert_int_equal(access(place.addr.sun_path, F_OK), 0);
	close(fd);
	unlink(place.addr.sun_path);

	/* Not a socket. */
	fd = open(place.addr.sun_path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(create_at(place.addr.sun_path, 0, &server), -EEXIST);
	assert_int_equal(access(place.addr.sun_path, F_OK), 0);
	unlink(place.addr.sun_path);

	assert_int_equal(create_at("/nonexistent/sock", 0, &server), -ENOENT);
	await_fds(before);
	place_remove(&place);
}

/* Somebody has put another file in the place of ours: it is not ours to remove. */
static void foreign_file_survives(void **state)
{
	struct up_vfio_server *server;
	struct place place;
	int fd;

	(void)state;
	place_make(&place);
	assert_int_equal(create_at(place.addr.sun_path, 0, &server), 0);
	unlink(place.addr.sun_path);
	fd = open(place.addr.sun_path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	up_vfio_server_destroy(server);
	assert_int_equal(unlink(place.addr.sun_path), 0);
	place_remove(&place);
}

static void path_too_long(void **state)
{
	struct up_vfio_server *server;
	char path[300];

	(void)state;
	memset(path, 'x', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(create_at(path, 0, &server), -ENAMETOOLONG);
	assert_int_equal(create_at("", 0, &server), -ENAMETOOLONG);
}

/* Out of descriptors, a connection is refused and the loop does not spin. */
static void refusal_without_descriptors(void **state)
{
	struct rlimit limit, tight;
	int clients[2], i;
	struct place place;
	struct rig rig;
	uint8_t byte;

	(void)state;
	place_make(&place);
	rig_create(&rig, place.addr.sun_path);
	for (i = 0; i < 2; i++)
		clients[i] = client_connect(&place);

	/* The limit is a bound on numbers: all below it are taken, the server's spare one included.
	 */
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	tight = limit;
	tight.rlim_cur = (rlim_t)clients[1] + 1;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	pump(&rig);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);

	for (i = 0; i < 2; i++) {
		assert_int_equal(recv(clients[i], &byte, 1, 0), 0);
		close(clients[i]);
	}
	assert_int_equal(up_vfio_server_stats(rig.server)->refused, 2);
	assert_int_equal(rig.dev.connects, 0);
	rig.client = client_connect(&place);
	pump(&rig);
	negotiate(&rig);
	rig_destroy(&rig);
	place_remove(&place);
}

static void wrong_configurations(void **state)
{
	const struct up_vfio_area outside = {.offset = 0x1000, .size = 0x2000};
	const struct up_vfio_area odd = {.offset = 0x10, .size = 0x1000};
	const struct up_vfio_irq irq = {.count = UP_VFIO_MAX_VECTORS + 1};
	struct up_vfio_region region = {.size = 0x2000};
	struct up_vfio_config cfg = {.name = "testport", .regions = &region, .nr_regions = 1};
	struct up_vfio_server *server;
	static struct device dev;

	(void)state;
	region.nr_areas = 1;
	region.areas = &outside;
	assert_int_equal(up_vfio_server_create(NULL, &cfg, &dev_ops, &dev, &server), -EINVAL);
	region.flags = UP_VFIO_REGION_MMAP;
	assert_int_equal(up_vfio_server_create(NULL, &cfg, &dev_ops, &dev, &server), -EINVAL);
	region.areas = &odd;
	assert_int_equal(up_vfio_server_create(NULL, &cfg, &dev_ops, &dev, &server), -EINVAL);
	region.nr_areas = 0;
	region.size = 0x2010;
	assert_int_equal(up_vfio_server_create(NULL, &cfg, &dev_ops, &dev, &server), -EINVAL);
	cfg.nr_regions = 0;
	cfg.irqs = &irq;
	cfg.nr_irqs = 1;
	assert_int_equal(up_vfio_server_create(NULL, &cfg, &dev_ops, &dev, &server), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(message_in_single_bytes),
		cmocka_unit_test(descriptor_with_a_later_piece),
		cmocka_unit_test(many_messages_at_once),
		cmocka_unit_test(descriptors_stay_with_their_message),
		cmocka_unit_test(no_reply_is_honoured),
		cmocka_unit_test(impossible_headers_disconnect),
		cmocka_unit_test(too_many_descriptors_disconnect),
		cmocka_unit_test(descriptors_that_cannot_be_open),
		cmocka_unit_test(hang_up_within_a_message),
		cmocka_unit_test(messages_before_hang_up_are_handled),
		cmocka_unit_test(large_replies_are_queued),
		cmocka_unit_test(descriptor_of_a_queued_reply),
		cmocka_unit_test(client_that_never_reads_is_dropped),
		cmocka_unit_test(errors_in_the_log_are_bounded),
		cmocka_unit_test(disconnect_on_request),
		cmocka_unit_test(attach_refuses_a_second_client),
		cmocka_unit_test(second_connection_is_refused),
		cmocka_unit_test(next_client_right_after_the_last),
		cmocka_unit_test(socket_file_mode),
		cmocka_unit_test(stale_socket_file_is_replaced),
		cmocka_unit_test(foreign_file_survives),
		cmocka_unit_test(path_too_long),
		cmocka_unit_test(refusal_without_descriptors),
		cmocka_unit_test(wrong_configurations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
