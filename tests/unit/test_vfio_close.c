/* SPDX-License-Identifier: BSD-2-Clause */
/* Descriptors of a client that take for ever to close: the server does not wait for them. */
#include "test_vfio_client.h"

#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

enum { LINGER_S = 3600, GUARD_S = 120 };

/*
 * A connection of which the other end reads nothing: who closes it last waits for that. One like it
 * goes to the server with each message; `end` lets all of them go.
 */
struct lingering {
	int listener, fd, end;
};

static void lingering_open(struct lingering *l)
{
	static const char zeroes[65536];
	const struct linger linger = {.l_onoff = 1, .l_linger = LINGER_S};
	struct sockaddr_in addr = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(addr);

	l->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(l->listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(l->listener, 1), 0);
	assert_int_equal(getsockname(l->listener, (struct sockaddr *)&addr, &len), 0);
	l->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(l->fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	l->end = accept4(l->listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(l->end >= 0);
	assert_int_equal(fcntl(l->fd, F_SETFL, O_NONBLOCK), 0);
	while (write(l->fd, zeroes, sizeof(zeroes)) > 0)
		;
	assert_int_equal(setsockopt(l->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
}

/* Sent with the next message, and nobody else has it. */
static void lingering_leave(struct rig *rig, struct lingering *l)
{
	uint8_t bytes[sizeof(struct vu_header)];
	size_t size = build(rig, bytes, VU_MIG_DATA_READ, VU_TYPE_COMMAND, NULL, 0);

	send_raw(rig, bytes, size, &l->fd, 1);
	close(l->fd);
}

/* The same, and the message is answered meanwhile. */
static void lingering_leave_unknown(struct rig *rig, struct lingering *l)
{
	lingering_open(l);
	lingering_leave(rig, l);
	pump(rig);
	expect_error(rig, EOPNOTSUPP);
}

static void lingering_end(struct lingering *l)
{
	close(l->end);
	close(l->listener);
}

static void messages_are_served_meanwhile(void **state)
{
	struct lingering l;
	struct rig rig;

	rig_start(&rig);
	lingering_leave_unknown(&rig, &l);
	dma_map(&rig, 0x1000, 0x1000, 0, UP_VFIO_DMA_READ, rig.ram_fd);
	expect_ok(&rig, VU_DMA_MAP, 0);
	lingering_end(&l);
	rig_destroy(&rig);
}

/* It is still in the socket when the client is dropped. */
static void clients_come_and_go_meanwhile(void **state)
{
	const struct vu_header rubbish = {.size = 3};
	struct lingering l;
	struct rig rig;
	char byte;

	rig_start(&rig);
	lingering_open(&l);
	send_raw(&rig, &rubbish, sizeof(rubbish), NULL, 0);
	lingering_leave(&rig, &l);
	pump(&rig);
	assert_int_equal(rig.dev.disconnects, 1);
	/* Its end, or, once that was closed, that not all was read. */
	assert_true(recv(rig.client, &byte, 1, 0) == 0 || errno == ECONNRESET);
	close(rig.client);
	rig_connect(&rig);
	negotiate(&rig);
	lingering_end(&l);
	rig_destroy(&rig);
}

/* The server is gone before its client's descriptors are. */
static void servers_end_meanwhile(void **state)
{
	unsigned before = count_fds();
	struct lingering l;
	struct rig rig;

	rig_start(&rig);
	lingering_leave_unknown(&rig, &l);
	up_vfio_server_destroy(rig.server);
	lingering_end(&l);
	rig.server = NULL;
	rig_destroy(&rig);
	await_fds(before);
}

/* As many as the system takes in a message: none may be left for it to close. */
static void no_descriptor_is_left_to_the_system(void **state)
{
	struct lingering l;
	struct rig rig;
	int fds[32];

	rig_start(&rig);
	lingering_open(&l);
	for (unsigned i = 0; i < 32; i++)
		fds[i] = i < 31 ? rig.ram_fd : l.fd;
	send_raw(&rig, "", 1, fds, 32);
	close(l.fd);
	pump(&rig);
	assert_int_equal(rig.dev.disconnects, 1);
	lingering_end(&l);
	rig_destroy(&rig);
}

/* Sends descriptors until it is held up: its last message is not answered. */
static void flood(struct rig *rig)
{
	struct pollfd p = {.fd = rig->client, .events = POLLIN};
	int fds[UP_VFIO_MAX_FDS];
	unsigned n;

	for (n = 0; n < UP_VFIO_MAX_FDS; n++)
		fds[n] = rig->ram_fd;
	for (n = 0;; n++) {
		assert_true(n < 4096 / UP_VFIO_MAX_FDS);
		command_fds(rig, VU_MIG_DATA_READ, NULL, 0, fds, UP_VFIO_MAX_FDS);
		if (poll(&p, 1, 0) == 0)
			break;
		expect_error(rig, EOPNOTSUPP);
	}
	assert_true(n * UP_VFIO_MAX_FDS > 1000);
}

/* The server has something to do. */
static void await_server(struct rig *rig)
{
	struct pollfd p = {.fd = up_vfio_server_fd(rig->server), .events = POLLIN};

	assert_int_equal(poll(&p, 1, GUARD_S * 1000), 1);
	pump(rig);
}

/* A client that goes on with it is served when all but a few are closed, and loses nothing. */
static void flood_waits(void **state)
{
	struct lingering l;
	struct rig rig;

	rig_start(&rig);
	lingering_leave_unknown(&rig, &l);
	flood(&rig);
	lingering_end(&l);
	await_server(&rig);
	expect_error(&rig, EOPNOTSUPP);
	dma_map(&rig, 0x1000, 0x1000, 0, UP_VFIO_DMA_READ, rig.ram_fd);
	expect_ok(&rig, VU_DMA_MAP, 0);
	assert_int_equal(rig.dev.disconnects, 0);
	rig_destroy(&rig);
}

/* Meanwhile it may go, and the next one waits in its place. */
static void next_client_waits(void **state)
{
	struct answer a;
	struct lingering l;
	struct rig rig;

	rig_start(&rig);
	lingering_leave_unknown(&rig, &l);
	flood(&rig);
	rig_hang_up(&rig);
	assert_int_equal(rig.dev.disconnects, 1);
	rig_connect(&rig);
	dma_map(&rig, 0x1000, 0x1000, 0, UP_VFIO_DMA_READ, rig.ram_fd);
	expect_silence(&rig);
	lingering_end(&l);
	await_server(&rig);
	a = get_answer(&rig);
	answer_done(&a);
	rig_destroy(&rig);
}

/* Nor is a connection taken until then. */
static void next_connection_waits(void **state)
{
	struct lingering l;
	struct place place;
	struct rig rig;

	place_make(&place);
	rig_create(&rig, place.addr.sun_path);
	rig.client = client_connect(&place);
	pump(&rig);
	negotiate(&rig);
	lingering_leave_unknown(&rig, &l);
	flood(&rig);
	rig_hang_up(&rig);
	rig.client = client_connect(&place);
	pump(&rig);
	assert_int_equal(rig.dev.connects, 1);
	lingering_end(&l);
	await_server(&rig);
	assert_int_equal(rig.dev.connects, 2);
	negotiate(&rig);
	rig_destroy(&rig);
	place_remove(&place);
}

/*
 * An epoll descriptor that is locked: somebody takes its events to memory that is not there until
 * the test says so. Who closes a file that it watches waits for that.
 */
struct held {
	int faults, epoll;
	struct epoll_event *events; /* a page */
	pthread_t taker;
};

#define PAGE 4096

static void *take_events(void *arg)
{
	const struct held *h = arg;

	epoll_wait(h->epoll, h->events, 1, -1);
	return NULL;
}

/* Watches `fd`, which has events. False: the system does not let us. */
static bool held_open(struct held *h, int fd)
{
	struct uffdio_register page = {.range.len = PAGE, .mode = UFFDIO_REGISTER_MODE_MISSING};
	struct uffdio_api api = {.api = UFFD_API};
	struct epoll_event watch = {.events = EPOLLIN};
	struct uffd_msg fault;

	h->faults = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	if (h->faults < 0)
		return false;
	h->events = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(h->events, MAP_FAILED);
	page.range.start = (uintptr_t)h->events;
	assert_int_equal(ioctl(h->faults, UFFDIO_API, &api), 0);
	assert_int_equal(ioctl(h->faults, UFFDIO_REGISTER, &page), 0);
	h->epoll = epoll_create1(EPOLL_CLOEXEC);
	assert_int_equal(epoll_ctl(h->epoll, EPOLL_CTL_ADD, fd, &watch), 0);
	assert_int_equal(pthread_create(&h->taker, NULL, take_events, h), 0);
	/* It has the lock from here on. */
	assert_int_equal(read(h->faults, &fault, sizeof(fault)), sizeof(fault));
	return true;
}

static void held_end(struct held *h)
{
	struct uffdio_zeropage page = {.range = {(uintptr_t)h->events, PAGE}};

	assert_int_equal(ioctl(h->faults, UFFDIO_ZEROPAGE, &page), 0);
	pthread_join(h->taker, NULL);
	munmap(h->events, PAGE);
	close(h->epoll);
	close(h->faults);
}

/* An eventfd that nobody else has is taken back, and the client leaves with another. */
static void interrupts_go_meanwhile(void **state)
{
	const struct vu_irq_set off = {sizeof(off), VU_IRQ_DATA_NONE | VU_IRQ_ACTION_TRIGGER, 2, 0,
				       0};
	struct vu_irq_set on = {sizeof(on), VU_IRQ_DATA_EVENTFD | VU_IRQ_ACTION_TRIGGER, 2, 0, 1};
	struct held h[2];
	struct rig rig;

	rig_start(&rig);
	for (unsigned i = 0; i < 2; i++) {
		int fd = eventfd(1, EFD_CLOEXEC);

		command_fds(&rig, VU_DEVICE_SET_IRQS, &on, sizeof(on), &fd, 1);
		expect_ok(&rig, VU_DEVICE_SET_IRQS, 0);
		if (!held_open(&h[i], fd)) {
			close(fd);
			rig_destroy(&rig);
			skip();
		}
		close(fd);
		if (i)
			break;
		command(&rig, VU_DEVICE_SET_IRQS, &off, sizeof(off));
		expect_ok(&rig, VU_DEVICE_SET_IRQS, 0);
	}
	rig_hang_up(&rig);
	assert_int_equal(rig.dev.disconnects, 1);
	held_end(&h[0]);
	held_end(&h[1]);
	rig_destroy(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_are_served_meanwhile),
		cmocka_unit_test(clients_come_and_go_meanwhile),
		cmocka_unit_test(servers_end_meanwhile),
		cmocka_unit_test(no_descriptor_is_left_to_the_system),
		cmocka_unit_test(flood_waits),
		cmocka_unit_test(next_client_waits),
		cmocka_unit_test(next_connection_waits),
		cmocka_unit_test(interrupts_go_meanwhile),
	};
	struct rlimit lim;

	/* What waits for a descriptor waits for an hour: this ends it. */
	alarm(GUARD_S);
	getrlimit(RLIMIT_NOFILE, &lim);
	lim.rlim_cur = lim.rlim_max < 8192 ? lim.rlim_max : 8192;
	setrlimit(RLIMIT_NOFILE, &lim);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
