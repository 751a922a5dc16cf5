/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For the tests of vrdma/vfio: a client that speaks raw messages, a device model that records what
 * the server tells it, and a log that is kept in memory. Client and server share one thread: a test
 * sends, lets the server run until it is idle, and looks at the answers. Nothing waits for time.
 */
#ifndef TEST_VFIO_CLIENT_H
#define TEST_VFIO_CLIENT_H

#include "count_fds.h"
#include "unit.h"

#include "base/log.h"
#include "vfio/vfio_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
	BAR_SIZE = 8 * 4096,
	RAM_SIZE = 64 * 4096,
	TEST_VECTORS = 12,
	TEST_DMA_MAPS = 24,
	BIG_REGION = 3, /* as large as one access can be */
	READ_ONLY_REGION = 6,
	FAILING_OFFSET = 0x666, /* of BAR 0: the device refuses access */
};

/* The log: number of lines, and the last one. Replaces the one of vrdma/base. */
static unsigned log_lines;
static char log_last[512];

void up_log(int priority, const char *port, const char *fmt, ...)
{
	int saved = errno;
	va_list args;

	assert_true(priority <= LOG_DEBUG);
	if (port)
		assert_string_equal(port, "testport");
	va_start(args, fmt);
	vsnprintf(log_last, sizeof(log_last), fmt, args);
	va_end(args);
	log_lines++;
	errno = saved;
}

struct device {
	struct {
		uint64_t iova, size;
		uint8_t *hva;
		uint32_t prot;
	} map[TEST_DMA_MAPS];
	unsigned nr_maps, unmaps;
	int refuse_map; /* errno for the next dma_map() */
	int irq[UP_VFIO_PCI_IRQS][TEST_VECTORS];
	unsigned irq_calls;
	unsigned maps_at_reset;
	unsigned resets, connects, disconnects, reads, writes;
	uint8_t bar[BAR_SIZE];
	uint8_t *big;
	const char *drop_on_write; /* disconnect from inside an operation */
	struct up_vfio_server *server;
};

static int dev_dma_map(void *opaque, uint64_t iova, uint64_t size, void *hva, uint32_t prot)
{
	struct device *dev = opaque;

	if (dev->refuse_map) {
		int err = dev->refuse_map;

		dev->refuse_map = 0;
		return -err;
	}
	assert_true(dev->nr_maps < TEST_DMA_MAPS);
	dev->map[dev->nr_maps].iova = iova;
	dev->map[dev->nr_maps].size = size;
	dev->map[dev->nr_maps].hva = hva;
	dev->map[dev->nr_maps].prot = prot;
	dev->nr_maps++;
	return 0;
}

/* The mapping must still be there: it is read here. */
static void dev_dma_unmap(void *opaque, uint64_t iova, uint64_t size)
{
	struct device *dev = opaque;
	unsigned i, kept = 0;

	for (i = 0; i < dev->nr_maps; i++) {
		if (dev->map[i].iova < iova || dev->map[i].iova - iova >= size) {
			dev->map[kept++] = dev->map[i];
			continue;
		}
		assert_true(dev->map[i].size <= size - (dev->map[i].iova - iova));
		if (dev->map[i].hva)
			(void)*(volatile uint8_t *)dev->map[i].hva;
	}
	assert_true(kept < dev->nr_maps);
	dev->nr_maps = kept;
	dev->unmaps++;
}

static int dev_region_read(void *opaque, unsigned region, uint64_t off, void *buf, size_t len)
{
	struct device *dev = opaque;

	dev->reads++;
	if (region == 0 && off == FAILING_OFFSET)
		return -EIO;
	if (region == 0)
		memcpy(buf, dev->bar + off, len);
	else if (region == BIG_REGION)
		memcpy(buf, dev->big + off, len);
	return 0;
}

static int dev_region_write(void *opaque, unsigned region, uint64_t off, const void *buf,
			    size_t len)
{
	struct device *dev = opaque;

	dev->writes++;
	if (dev->drop_on_write)
		up_vfio_server_disconnect(dev->server, dev->drop_on_write);
	if (region == 0 && off == FAILING_OFFSET)
		return -EIO;
	if (region == 0)
		memcpy(dev->bar + off, buf, len);
	else if (region == BIG_REGION)
		memcpy(dev->big + off, buf, len);
	return 0;
}

static void dev_reset(void *opaque)
{
	struct device *dev = opaque;

	dev->maps_at_reset = dev->nr_maps;
	dev->resets++;
}

static void dev_irq_set(void *opaque, unsigned index, unsigned vector, int fd)
{
	struct device *dev = opaque;

	/* Both the old and the new descriptor are open while this runs. */
	if (dev->irq[index][vector] >= 0)
		assert_true(fcntl(dev->irq[index][vector], F_GETFD) >= 0);
	dev->irq[index][vector] = fd;
	dev->irq_calls++;
}

static void dev_connected(void *opaque)
{
	struct device *dev = opaque;

	assert_int_equal(dev->nr_maps, 0);
	dev->connects++;
}

static void dev_disconnected(void *opaque)
{
	struct device *dev = opaque;
	unsigned i, v;

	assert_int_equal(dev->nr_maps, 0);
	for (i = 0; i < UP_VFIO_PCI_IRQS; i++) {
		for (v = 0; v < TEST_VECTORS; v++)
			assert_int_equal(dev->irq[i][v], -1);
	}
	dev->disconnects++;
}

static const struct up_vfio_dev_ops dev_ops = {
	.dma_map = dev_dma_map,
	.dma_unmap = dev_dma_unmap,
	.region_read = dev_region_read,
	.region_write = dev_region_write,
	.reset = dev_reset,
	.irq_set = dev_irq_set,
	.connected = dev_connected,
	.disconnected = dev_disconnected,
};

/* Everything of one test. */
struct rig {
	struct up_vfio_server *server;
	struct device dev;
	int client; /* non-blocking */
	int bar_fd;
	int ram_fd;
	unsigned fds_before, memfd_maps_before;
	uint16_t next_id;
};

/* A reply as it came. */
struct answer {
	struct vu_header header;
	uint8_t *body;
	size_t body_size;
	int fd; /* -1: none */
};

static inline unsigned count_memfd_maps(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[512];
	unsigned n = 0;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		n += strstr(line, "memfd:") != NULL;
	fclose(f);
	return n;
}

/* Other threads close and unmap what the server does not need any more. */
static inline void await_fds(unsigned n)
{
	time_t end = time(NULL) + 60;

	while (count_fds() != n && time(NULL) < end)
		sched_yield();
	assert_int_equal(count_fds(), n);
}

static inline void await_memfd_maps(unsigned n)
{
	time_t end = time(NULL) + 60;

	while (count_memfd_maps() != n && time(NULL) < end)
		sched_yield();
	assert_int_equal(count_memfd_maps(), n);
}

static inline int make_memfd(const char *name, off_t size)
{
	int fd = memfd_create(name, MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	return fd;
}

/* Let the server work until there is nothing to do. */
static inline void pump(struct rig *rig)
{
	struct pollfd p = {.fd = up_vfio_server_fd(rig->server), .events = POLLIN};
	unsigned turns = 0;

	while (poll(&p, 1, 0) == 1) {
		assert_int_equal(up_vfio_server_process(rig->server), 0);
		assert_true(turns++ < 100000);
	}
}

static inline void rig_create(struct rig *rig, const char *path)
{
	const struct up_vfio_area areas[] = {{0x1000, 0x1000}, {0x4000, 0x3000}};
	struct up_vfio_region regions[UP_VFIO_PCI_REGIONS] = {
		[0] = {.size = BAR_SIZE,
		       .flags = UP_VFIO_REGION_READ | UP_VFIO_REGION_WRITE | UP_VFIO_REGION_MMAP,
		       .areas = areas,
		       .nr_areas = 2},
		[2] = {.size = BAR_SIZE,
		       .flags = UP_VFIO_REGION_READ | UP_VFIO_REGION_WRITE | UP_VFIO_REGION_MMAP,
		       .mmap_offset = 0x2000},
		[BIG_REGION] = {.size = UP_VFIO_MAX_XFER,
				.flags = UP_VFIO_REGION_READ | UP_VFIO_REGION_WRITE},
		[READ_ONLY_REGION] = {.size = 0x1000, .flags = UP_VFIO_REGION_READ},
		[UP_VFIO_REGION_CONFIG] = {.size = 4096,
					   .flags = UP_VFIO_REGION_READ | UP_VFIO_REGION_WRITE},
	};
	const struct up_vfio_irq irqs[UP_VFIO_PCI_IRQS] = {
		[UP_VFIO_IRQ_INTX] = {.count = 1},
		[UP_VFIO_IRQ_MSIX] = {.count = TEST_VECTORS},
		[UP_VFIO_IRQ_ERR] = {.count = 1, .noresize = true},
	};
	struct up_vfio_config cfg = {
		.name = "testport",
		.regions = regions,
		.nr_regions = UP_VFIO_PCI_REGIONS,
		.irqs = irqs,
		.nr_irqs = UP_VFIO_PCI_IRQS,
		.max_dma_maps = TEST_DMA_MAPS,
	};

	/* It opens what the process keeps. */
	up_vu_raise_init();
	*rig = (struct rig){.client = -1, .fds_before = count_fds()};
	rig->memfd_maps_before = count_memfd_maps();
	memset(rig->dev.irq, -1, sizeof(rig->dev.irq));
	rig->dev.big = calloc(1, UP_VFIO_MAX_XFER);
	rig->bar_fd = make_memfd("bar", BAR_SIZE + 0x2000);
	rig->ram_fd = make_memfd("ram", RAM_SIZE);
	regions[0].mmap_fd = regions[2].mmap_fd = rig->bar_fd;
	log_lines = 0;
	log_last[0] = '\0';
	assert_int_equal(up_vfio_server_create(path, &cfg, &dev_ops, &rig->dev, &rig->server), 0);
	rig->dev.server = rig->server;
}

/* Everything that the server had must be gone. */
static inline void rig_destroy(struct rig *rig)
{
	up_vfio_server_destroy(rig->server);
	assert_int_equal(rig->dev.connects, rig->dev.disconnects);
	if (rig->client >= 0)
		close(rig->client);
	close(rig->bar_fd);
	close(rig->ram_fd);
	free(rig->dev.big);
	await_fds(rig->fds_before);
	await_memfd_maps(rig->memfd_maps_before);
}

static inline void rig_connect(struct rig *rig)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair),
			 0);
	assert_int_equal(up_vfio_server_attach(rig->server, pair[0]), 0);
	rig->client = pair[1];
}

/* A folder for the socket of a server that listens. */
struct place {
	char dir[64];
	struct sockaddr_un addr;
};

static inline void place_make(struct place *place)
{
	snprintf(place->dir, sizeof(place->dir), "/tmp/test_vfio.XXXXXX");
	assert_non_null(mkdtemp(place->dir));
	place->addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(place->addr.sun_path, sizeof(place->addr.sun_path), "%s/sock", place->dir);
}

static inline void place_remove(struct place *place)
{
	assert_int_equal(rmdir(place->dir), 0);
}

static inline int client_connect(const struct place *place)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)&place->addr, sizeof(place->addr)),
			 0);
	return fd;
}

static inline void rig_hang_up(struct rig *rig)
{
	close(rig->client);
	rig->client = -1;
	pump(rig);
}

/* Send bytes as they are, with descriptors at the first one. */
static inline void send_raw(struct rig *rig, const void *bytes, size_t size, const int *fds,
			    unsigned nr_fds)
{
	union {
		struct cmsghdr hdr;
		char bytes[CMSG_SPACE(sizeof(int) * 32)];
	} control = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = size};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (nr_fds) {
		control.hdr.cmsg_level = SOL_SOCKET;
		control.hdr.cmsg_type = SCM_RIGHTS;
		control.hdr.cmsg_len = CMSG_LEN(sizeof(int) * nr_fds);
		memcpy(CMSG_DATA(&control.hdr), fds, sizeof(int) * nr_fds);
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * nr_fds);
	}
	assert_int_equal(sendmsg(rig->client, &msg, MSG_NOSIGNAL), size);
}

static inline size_t build(struct rig *rig, uint8_t *out, uint16_t command, uint32_t flags,
			   const void *body, size_t body_size)
{
	struct vu_header hdr = {
		.id = ++rig->next_id,
		.command = command,
		.size = (uint32_t)(sizeof(hdr) + body_size),
		.flags = flags,
	};

	memcpy(out, &hdr, sizeof(hdr));
	if (body_size)
		memcpy(out + sizeof(hdr), body, body_size);
	return sizeof(hdr) + body_size;
}

/* Send one message and let the server handle it. */
static inline void command_fds(struct rig *rig, uint16_t command, const void *body,
			       size_t body_size, const int *fds, unsigned nr_fds)
{
	uint8_t *bytes = malloc(sizeof(struct vu_header) + body_size);
	size_t size = build(rig, bytes, command, VU_TYPE_COMMAND, body, body_size);

	send_raw(rig, bytes, size, fds, nr_fds);
	free(bytes);
	pump(rig);
}

static inline void command(struct rig *rig, uint16_t cmd, const void *body, size_t body_size)
{
	command_fds(rig, cmd, body, body_size, NULL, 0);
}

static inline size_t receive(struct rig *rig, void *to, size_t size, int *fd)
{
	union {
		struct cmsghdr hdr;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = to, .iov_len = size};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n = recvmsg(rig->client, &msg, MSG_CMSG_CLOEXEC);

	if (n < 0)
		return 0;
	assert_false(msg.msg_flags & MSG_CTRUNC);
	if (CMSG_FIRSTHDR(&msg))
		memcpy(fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(*fd));
	return (size_t)n;
}

/* The next reply, which must be there. Free its body with answer_done(). */
static inline struct answer get_answer(struct rig *rig)
{
	struct answer a = {.fd = -1};
	size_t done = 0;

	assert_int_equal(receive(rig, &a.header, sizeof(a.header), &a.fd), sizeof(a.header));
	assert_int_equal(a.header.flags & VU_TYPE_MASK, VU_TYPE_REPLY);
	assert_true(a.header.size >= sizeof(a.header));
	a.body_size = a.header.size - sizeof(a.header);
	a.body = calloc(1, a.body_size + 1);
	while (done < a.body_size) {
		size_t n = receive(rig, a.body + done, a.body_size - done, &a.fd);

		if (!n) {
			struct pollfd p = {.fd = up_vfio_server_fd(rig->server), .events = POLLIN};

			/* The rest is in the server's queue. */
			assert_int_equal(poll(&p, 1, 0), 1);
			assert_int_equal(up_vfio_server_process(rig->server), 0);
		}
		done += n;
	}
	return a;
}

static inline void answer_done(struct answer *a)
{
	free(a->body);
	if (a->fd >= 0)
		close(a->fd);
}

static inline void expect_silence(struct rig *rig)
{
	uint8_t byte;

	assert_int_equal(recv(rig->client, &byte, 1, 0), -1);
	assert_true(errno == EAGAIN);
}

/* The reply to the last command: an error, of nothing but a header. */
static inline void expect_error(struct rig *rig, int error)
{
	struct answer a = get_answer(rig);

	assert_int_equal(a.header.id, rig->next_id);
	assert_int_equal(a.header.flags, VU_TYPE_REPLY | VU_ERROR);
	assert_int_equal(a.header.error, error);
	assert_int_equal(a.body_size, 0);
	answer_done(&a);
	expect_silence(rig);
}

static inline struct answer expect_success(struct rig *rig, uint16_t cmd, size_t body_size)
{
	struct answer a = get_answer(rig);

	assert_int_equal(a.header.id, rig->next_id);
	assert_int_equal(a.header.command, cmd);
	assert_int_equal(a.header.flags, VU_TYPE_REPLY);
	assert_int_equal(a.header.error, 0);
	assert_int_equal(a.body_size, body_size);
	return a;
}

static inline void expect_ok(struct rig *rig, uint16_t cmd, size_t body_size)
{
	struct answer a = expect_success(rig, cmd, body_size);

	assert_int_equal(a.fd, -1);
	answer_done(&a);
}

/* The server must have closed the connection, with one line in the log that contains `why`. */
static inline void expect_disconnect(struct rig *rig, const char *why)
{
	uint8_t byte;
	ssize_t n = recv(rig->client, &byte, 1, 0);

	/* A reset: there was more that the server did not read. */
	assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
	assert_false(up_vfio_server_connected(rig->server));
	if (!strstr(log_last, why))
		fail_msg("'%s' not in '%s'", why, log_last);
	close(rig->client);
	rig->client = -1;
}

static inline void negotiate(struct rig *rig)
{
	static const char body[] =
		"\0\0\0\0{\"capabilities\":{\"max_msg_fds\":16,\"max_data_xfer_size\":1048576,"
		"\"pgsizes\":4096,\"max_dma_maps\":65535,\"write_multiple\":true,"
		"\"migration\":{\"pgsize\":4096}}}";
	struct answer a;

	command(rig, VU_VERSION, body, sizeof(body));
	a = get_answer(rig);
	assert_int_equal(a.header.flags, VU_TYPE_REPLY);
	answer_done(&a);
}

/* A server with a client that has negotiated. */
static inline void rig_start(struct rig *rig)
{
	rig_create(rig, NULL);
	rig_connect(rig);
	negotiate(rig);
}

static inline void dma_map(struct rig *rig, uint64_t iova, uint64_t size, uint64_t offset,
			   uint32_t flags, int fd)
{
	struct vu_dma_map map = {
		.argsz = sizeof(map),
		.flags = flags,
		.offset = offset,
		.address = iova,
		.size = size,
	};

	command_fds(rig, VU_DMA_MAP, &map, sizeof(map), &fd, fd >= 0);
}

static inline void dma_unmap(struct rig *rig, uint64_t iova, uint64_t size, uint32_t flags)
{
	struct vu_dma_unmap unmap = {
		.argsz = sizeof(unmap),
		.flags = flags,
		.address = iova,
		.size = size,
	};

	command(rig, VU_DMA_UNMAP, &unmap, sizeof(unmap));
}

#endif
