/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libFuzzer target: a hostile vfio-user client against the server, through a real socket, with a
 * device model that aborts when the server breaks one of its promises.
 *
 * The input is a list of records, each beginning with a byte that says what it is (modulo
 * NR_KINDS):
 *
 *   MESSAGE    command, flags, fds, cut, size (2 bytes, little endian), body: a message with a
 *              correct header, sent in two pieces, cut behind byte `cut`
 *   RAW        fds, size (2 bytes), bytes: sent as they are
 *   DRAIN      read all replies
 *   RECONNECT  hang up and connect again
 *   RESIZE     pages: give the file behind guest memory this many pages
 *   TOUCH      touch all guest memory, as a device would
 *
 * `fds`: the low half is the number of descriptors to attach, the high half the kind of the first
 * (enum file); the others follow in turn. A record that the input is too short for ends the list.
 */
#include "fuzz.h"

#include "vfio/vfio_proto.h"
#include "vfio/vfio_user.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RAM_PAGES = 16, PAGE = 4096, VECTORS = 8, MAX_MAPS = 12, BAR_SIZE = 4 * PAGE };

enum kind { MESSAGE, RAW, DRAIN, RECONNECT, RESIZE, TOUCH, NR_KINDS };

enum file { FILE_RAM, FILE_RAM_READ_ONLY, FILE_EVENTFD, FILE_PIPE, FILE_NULL, NR_FILES };

struct map {
	uint64_t iova, size;
	volatile uint8_t *hva;
	uint32_t prot;
};

static struct {
	struct map map[MAX_MAPS];
	unsigned nr_maps;
	int irq[VECTORS];
	bool connected;
	uint8_t bar[BAR_SIZE];
} device;

static struct up_vfio_server *server;
static int client;
static int files[NR_FILES];
static int bar_fd;

static int dev_dma_map(void *dev, uint64_t iova, uint64_t size, void *hva, uint32_t prot)
{
	struct map *m = &device.map[device.nr_maps];
	unsigned i;

	(void)dev;
	CHECK(device.connected && device.nr_maps < MAX_MAPS);
	CHECK(size && iova + size > iova && !((iova | size) % PAGE));
	CHECK(prot && prot <= 3);
	for (i = 0; i < device.nr_maps; i++)
		CHECK(iova + size <= device.map[i].iova ||
		      device.map[i].iova + device.map[i].size <= iova);
	if (iova == 0x666000)
		return -ENOMEM;
	*m = (struct map){iova, size, hva, prot};
	device.nr_maps++;
	return 0;
}

static void touch_map(const struct map *m)
{
	uint64_t at;

	if (!m->hva)
		return;
	for (at = 0; at < m->size; at += PAGE) {
		uint8_t byte = m->hva[at];

		if (m->prot & UP_VFIO_DMA_WRITE)
			m->hva[at] = byte;
	}
}

static void dev_dma_unmap(void *dev, uint64_t iova, uint64_t size)
{
	unsigned i, kept = 0;

	(void)dev;
	for (i = 0; i < device.nr_maps; i++) {
		const struct map *m = &device.map[i];

		if (m->iova < iova || m->iova - iova >= size) {
			device.map[kept++] = *m;
			continue;
		}
		CHECK(m->size <= size - (m->iova - iova));
		touch_map(m);
	}
	CHECK(kept < device.nr_maps);
	device.nr_maps = kept;
}

static void check_access(unsigned region, uint64_t off, size_t len)
{
	CHECK(device.connected && (region == 0 || region == 7) && len && len <= UP_VFIO_MAX_XFER);
	CHECK(off < BAR_SIZE && len <= BAR_SIZE - off);
}

static int dev_region_read(void *dev, unsigned region, uint64_t off, void *buf, size_t len)
{
	(void)dev;
	check_access(region, off, len);
	memcpy(buf, device.bar + off, len);
	return off == 8 ? -EIO : 0;
}

static int dev_region_write(void *dev, unsigned region, uint64_t off, const void *buf, size_t len)
{
	(void)dev;
	check_access(region, off, len);
	memcpy(device.bar + off, buf, len);
	if (off == 4)
		up_vfio_server_disconnect(server, "device in error");
	return 0;
}

static void dev_reset(void *dev)
{
	(void)dev;
	CHECK(device.connected);
}

static void dev_irq_set(void *dev, unsigned index, unsigned vector, int fd)
{
	const uint64_t one = 1;

	(void)dev;
	CHECK(device.connected && index == UP_VFIO_IRQ_MSIX && vector < VECTORS);
	if (device.irq[vector] >= 0)
		CHECK(fcntl(device.irq[vector], F_GETFD) >= 0);
	if (fd >= 0)
		CHECK(write(fd, &one, sizeof(one)) == sizeof(one) || errno == EAGAIN);
	device.irq[vector] = fd;
}

static void dev_connected(void *dev)
{
	(void)dev;
	CHECK(!device.connected);
	device.connected = true;
}

static void dev_disconnected(void *dev)
{
	unsigned v;

	(void)dev;
	CHECK(device.connected && !device.nr_maps);
	for (v = 0; v < VECTORS; v++)
		CHECK(device.irq[v] == -1);
	device.connected = false;
}

static const struct up_vfio_dev_ops ops = {
	.dma_map = dev_dma_map,
	.dma_unmap = dev_dma_unmap,
	.region_read = dev_region_read,
	.region_write = dev_region_write,
	.reset = dev_reset,
	.irq_set = dev_irq_set,
	.connected = dev_connected,
	.disconnected = dev_disconnected,
};

static void open_files(void)
{
	char path[64];
	int pipe_fds[2];

	files[FILE_RAM] = memfd_create("ram", MFD_CLOEXEC);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", files[FILE_RAM]);
	files[FILE_RAM_READ_ONLY] = open(path, O_RDONLY | O_CLOEXEC);
	files[FILE_EVENTFD] = eventfd(0, EFD_CLOEXEC);
	files[FILE_NULL] = open("/dev/null", O_RDWR | O_CLOEXEC);
	bar_fd = memfd_create("bar", MFD_CLOEXEC);
	CHECK(pipe2(pipe_fds, O_CLOEXEC) == 0);
	files[FILE_PIPE] = pipe_fds[1];
	CHECK(bar_fd >= 0 && ftruncate(bar_fd, BAR_SIZE) == 0);
}

static void create_server(void)
{
	static const struct up_vfio_area area = {PAGE, 2 * PAGE};
	const uint32_t rw = UP_VFIO_REGION_READ | UP_VFIO_REGION_WRITE;
	const struct up_vfio_region regions[UP_VFIO_PCI_REGIONS] = {
		[0] = {BAR_SIZE, rw | UP_VFIO_REGION_MMAP, bar_fd, 0, &area, 1},
		[UP_VFIO_REGION_CONFIG] = {.size = 4096, .flags = rw},
	};
	const struct up_vfio_irq irqs[UP_VFIO_PCI_IRQS] = {
		[UP_VFIO_IRQ_MSIX] = {.count = VECTORS},
	};
	const struct up_vfio_config cfg = {
		.name = "fuzz",
		.regions = regions,
		.nr_regions = UP_VFIO_PCI_REGIONS,
		.irqs = irqs,
		.nr_irqs = UP_VFIO_PCI_IRQS,
		.max_dma_maps = MAX_MAPS,
	};

	memset(&device, 0, sizeof(device));
	memset(device.irq, -1, sizeof(device.irq));
	CHECK(up_vfio_server_create(NULL, &cfg, &ops, NULL, &server) == 0);
}

static void run_server(void)
{
	struct pollfd p = {.fd = up_vfio_server_fd(server), .events = POLLIN};
	unsigned turns = 0;

	while (poll(&p, 1, 0) == 1) {
		CHECK(up_vfio_server_process(server) == 0);
		CHECK(turns++ < 10000);
	}
	CHECK(device.connected == up_vfio_server_connected(server));
}

static void drain(void)
{
	static uint8_t sink[65536];

	run_server();
	while (recv(client, sink, sizeof(sink), 0) > 0)
		run_server();
}

static void connect_client(void)
{
	int pair[2];

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
	CHECK(up_vfio_server_attach(server, pair[0]) == 0);
	client = pair[1];
}

static void hang_up(void)
{
	close(client);
	run_server();
	CHECK(!up_vfio_server_connected(server));
}

/* Send with descriptors as `fds` says; what the socket does not take is dropped. */
static void send_bytes(const uint8_t *bytes, size_t size, uint8_t fds)
{
	union {
		struct cmsghdr hdr;
		char bytes[CMSG_SPACE(sizeof(int) * 16)];
	} control = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = size};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	unsigned n = fds & 15, i;
	int list[16];

	for (i = 0; i < n; i++)
		list[i] = files[((fds >> 4) + i) % NR_FILES];
	if (n) {
		control.hdr.cmsg_level = SOL_SOCKET;
		control.hdr.cmsg_type = SCM_RIGHTS;
		control.hdr.cmsg_len = CMSG_LEN(sizeof(int) * n);
		memcpy(CMSG_DATA(&control.hdr), list, sizeof(int) * n);
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n);
	}
	if (size && sendmsg(client, &msg, MSG_NOSIGNAL) >= 0)
		run_server();
}

static bool take(struct fuzz_input *in, void *to, size_t size)
{
	const uint8_t *at = fuzz_take(in, size);

	if (at && to)
		memcpy(to, at, size);
	return at;
}

static bool play_message(struct fuzz_input *in)
{
	static uint8_t bytes[16 + 65536];
	uint8_t head[6];
	struct vu_header header = {.id = 7};
	size_t size, cut;

	if (!take(in, head, sizeof(head)))
		return false;
	size = head[4] | (size_t)head[5] << 8;
	header.command = head[0];
	header.flags = head[1];
	header.size = (uint32_t)(sizeof(header) + size);
	memcpy(bytes, &header, sizeof(header));
	if (!take(in, bytes + sizeof(header), size))
		return false;
	size += sizeof(header);
	cut = head[3] < size ? head[3] : size;
	send_bytes(bytes, cut ? cut : size, head[2]);
	if (cut)
		send_bytes(bytes + cut, size - cut, 0);
	return true;
}

static bool play_raw(struct fuzz_input *in)
{
	uint8_t head[3];
	size_t size;

	if (!take(in, head, sizeof(head)))
		return false;
	size = head[1] | (size_t)head[2] << 8;
	if (in->left < size)
		return false;
	send_bytes(in->at, size, head[0]);
	return take(in, NULL, size);
}

static bool play(struct fuzz_input *in)
{
	uint8_t kind, pages;
	unsigned i;

	if (!take(in, &kind, 1))
		return false;
	switch (kind % NR_KINDS) {
	case MESSAGE:
		return play_message(in);
	case RAW:
		return play_raw(in);
	case DRAIN:
		drain();
		return true;
	case RECONNECT:
		hang_up();
		connect_client();
		return true;
	case RESIZE:
		if (!take(in, &pages, 1))
			return false;
		CHECK(ftruncate(files[FILE_RAM], pages % (RAM_PAGES + 1) * PAGE) == 0);
		return true;
	default:
		for (i = 0; i < device.nr_maps; i++)
			touch_map(&device.map[i]);
		run_server();
		return true;
	}
}

static int lowest_free_fd(void)
{
	int fd = fcntl(bar_fd, F_DUPFD_CLOEXEC, 0);

	close(fd);
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool ready;
	struct fuzz_input in = {data, size};
	int free_before;

	if (!ready) {
		open_files();
		ready = true;
	}
	CHECK(ftruncate(files[FILE_RAM], RAM_PAGES * PAGE) == 0);
	free_before = lowest_free_fd();
	create_server();
	connect_client();
	while (play(&in))
		;
	close(client);
	up_vfio_server_destroy(server);
	CHECK(!device.connected);
	CHECK(lowest_free_fd() == free_before);
	return 0;
}
