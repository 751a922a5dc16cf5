/* SPDX-License-Identifier: BSD-2-Clause */
/* Guest memory: mapping, unmapping, and requests that must be refused. */
#include "test_vfio_client.h"

#include <linux/memfd.h>

enum { RW = UP_VFIO_DMA_READ | UP_VFIO_DMA_WRITE };

static void map_ok(struct rig *rig, uint64_t iova, uint64_t size, uint64_t offset)
{
	dma_map(rig, iova, size, offset, RW, rig->ram_fd);
	expect_ok(rig, VU_DMA_MAP, 0);
}

static uint8_t *find_hva(struct rig *rig, uint64_t iova)
{
	unsigned i;

	for (i = 0; i < rig->dev.nr_maps; i++) {
		if (rig->dev.map[i].iova == iova)
			return rig->dev.map[i].hva;
	}
	return NULL;
}

/* The server sees what the guest sees, at the offset that was named, in both directions. */
static void memory_is_shared(void **state)
{
	uint8_t byte = 0x77;
	struct rig rig;
	unsigned fds;
	uint8_t *hva;

	(void)state;
	rig_start(&rig);
	fds = count_fds();
	map_ok(&rig, 0x100000, 0x2000, 0x3000);
	await_fds(fds); /* closed after mmap() */
	assert_int_equal(rig.dev.map[0].size, 0x2000);
	assert_int_equal(rig.dev.map[0].prot, RW);
	hva = find_hva(&rig, 0x100000);
	assert_int_equal(pwrite(rig.ram_fd, &byte, 1, 0x4005), 1);
	assert_int_equal(hva[0x1005], 0x77);
	hva[0x1fff] = 0x55;
	assert_int_equal(pread(rig.ram_fd, &byte, 1, 0x4fff), 1);
	assert_int_equal(byte, 0x55);
	rig_destroy(&rig);
}

/* However many pieces of a file are mapped: a guest with an IOMMU maps page by page. */
static void pieces_share_a_mapping(void **state)
{
	struct rig rig;
	unsigned i;

	(void)state;
	rig_start(&rig);
	for (i = 0; i < 20; i++) /* no two of them neighbours, which the system would merge */
		map_ok(&rig, i * 0x10000, 0x1000, i * 0x2000);
	await_memfd_maps(rig.memfd_maps_before + 1);
	assert_int_equal(find_hva(&rig, 0x50000) - find_hva(&rig, 0), 5 * 0x2000);
	assert_int_equal(*up_vfio_server_memory(rig.server), lseek(rig.ram_fd, 0, SEEK_END));
	/* A piece that may not be written has a mapping that cannot be. */
	dma_map(&rig, 0x1000000, 0x1000, 0, UP_VFIO_DMA_READ, rig.ram_fd);
	expect_ok(&rig, VU_DMA_MAP, 0);
	await_memfd_maps(rig.memfd_maps_before + 2);
	dma_unmap(&rig, 0x1000000, 0x1000, 0);
	expect_ok(&rig, VU_DMA_UNMAP, 24);
	/* It stays for the last piece. */
	dma_unmap(&rig, 0, 19 * 0x10000, 0);
	expect_ok(&rig, VU_DMA_UNMAP, 24);
	await_memfd_maps(rig.memfd_maps_before + 1);
	assert_int_equal(rig.dev.nr_maps, 1);
	dma_unmap(&rig, 19 * 0x10000, 0x1000, 0);
	expect_ok(&rig, VU_DMA_UNMAP, 24);
	assert_int_equal(*up_vfio_server_memory(rig.server), 0);
	await_memfd_maps(rig.memfd_maps_before);
	rig_destroy(&rig);
}

/* What a file gained after it was mapped, and another file at the same offsets. */
static void files_grow_and_differ(void **state)
{
	uint8_t byte = 0x31;
	struct rig rig;
	int other;

	(void)state;
	rig_start(&rig);
	map_ok(&rig, 0, 0x1000, 0);
	assert_int_equal(ftruncate(rig.ram_fd, 2 * RAM_SIZE), 0);
	map_ok(&rig, 0x10000, 0x1000, RAM_SIZE);
	assert_int_equal(pwrite(rig.ram_fd, &byte, 1, RAM_SIZE), 1);
	assert_int_equal(*find_hva(&rig, 0x10000), 0x31);
	other = make_memfd("other", RAM_SIZE);
	dma_map(&rig, 0x20000, 0x1000, 0, RW, other);
	expect_ok(&rig, VU_DMA_MAP, 0);
	byte = 0x32;
	assert_int_equal(pwrite(other, &byte, 1, 0), 1);
	assert_int_equal(*find_hva(&rig, 0x20000), 0x32);
	assert_int_equal(*find_hva(&rig, 0), 0);
	dma_unmap(&rig, 0, 0, VU_UNMAP_ALL);
	expect_ok(&rig, VU_DMA_UNMAP, 24);
	close(other);
	rig_destroy(&rig);
}

static void unmap_exactly(void **state)
{
	const struct vu_dma_unmap expected = {24, 0, 0x100000, 0x2000};
	struct answer a;
	struct rig rig;

	(void)state;
	rig_start(&rig);
	map_ok(&rig, 0x100000, 0x2000, 0);
	dma_unmap(&rig, 0x100000, 0x2000, 0);
	a = expect_success(&rig, VU_DMA_UNMAP, 24);
	assert_memory_equal(a.body, &expected, 24);
	answer_done(&a);
	assert_int_equal(rig.dev.nr_maps, 0);
	await_memfd_maps(rig.memfd_maps_before);
	dma_unmap(&rig, 0x100000, 0x2000, 0);
	expect_error(&rig, ENOENT);
	rig_destroy(&rig);
}

/* Low memory in pieces of one file, mapped and unmapped again and again, as firmware does. */
static void reshuffled_low_memory(void **state)
{
	static const struct {
		uint64_t start, end;
		bool file;
	} pieces[] = {
		{0x0, 0xa000, true},	  {0xc000, 0xc800, false}, {0xc800, 0xd000, false},
		{0xd000, 0xe400, false},  {0xe400, 0xf000, false}, {0xf000, 0x10000, true},
		{0x10000, 0x20000, true},
	};
	struct rig rig;
	unsigned round;
	size_t i;

	(void)state;
	rig_start(&rig);
	for (round = 0; round < 50; round++) {
		for (i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
			uint64_t start = pieces[i].start & ~0xfffull;
			uint64_t size = ((pieces[i].end + 0xfff) & ~0xfffull) - start;

			if (pieces[i].end & 0xfff || pieces[i].start & 0xfff)
				continue;
			dma_map(&rig, start, size, pieces[i].file ? start : 0, RW,
				pieces[i].file ? rig.ram_fd : -1);
			expect_ok(&rig, VU_DMA_MAP, 0);
			assert_int_equal(find_hva(&rig, start) != NULL, pieces[i].file);
		}
		/* One request for several, then the first. */
		dma_unmap(&rig, 0xc000, 0x20000 - 0xc000, 0);
		expect_ok(&rig, VU_DMA_UNMAP, 24);
		assert_int_equal(rig.dev.nr_maps, 1);
		dma_unmap(&rig, 0, 0xa000, 0);
		expect_ok(&rig, VU_DMA_UNMAP, 24);
		assert_int_equal(rig.dev.nr_maps, 0);
	}
	rig_destroy(&rig);
}

static void unmap_all(void **state)
{
	struct rig rig;
	unsigned i;

	(void)state;
	rig_start(&rig);
	dma_unmap(&rig, 0, 0, VU_UNMAP_ALL);
	expect_ok(&rig, VU_DMA_UNMAP, 24);
	for (i = 0; i < 10; i++)
		map_ok(&rig, i * 0x10000, 0x1000, i * 0x1000);
	dma_unmap(&rig, 0x1000, 0, VU_UNMAP_ALL);
	expect_error(&rig, EINVAL);
	dma_unmap(&rig, 0, 0x1000, VU_UNMAP_ALL);
	expect_error(&rig, EINVAL);
	assert_int_equal(rig.dev.nr_maps, 10);
	assert_int_equal(rig.dev.unmaps, 0);
	dma_unmap(&rig, 0, 0, VU_UNMAP_ALL);
	expect_ok(&rig, VU_DMA_UNMAP, 24);
	assert_int_equal(rig.dev.nr_maps, 0);
	/* The device is told once, however many there were. */
	assert_int_equal(rig.dev.unmaps, 1);
	rig_destroy(&rig);
}

static void unmap_must_not_cut(void **state)
{
	struct rig rig;

	(void)state;
	rig_start(&rig);
	map_ok(&rig, 0x10000, 0x4000, 0);
	map_ok(&rig, 0x14000, 0x4000, 0x4000);
	map_ok(&rig, 0x20000, 0x4000, 0x8000);
	dma_unmap(&rig, 0x10000, 0x3000, 0);
	expect_error(&rig, EINVAL);
	dma_unmap(&rig, 0x11000, 0x3000, 0);
	expect_error(&rig, EINVAL);
	dma_unmap(&rig, 0x10000, 0x5000, 0);
	expect_error(&rig, EINVAL);
	dma_unmap(&rig, 0x13000, 0x5000, 0);
	expect_error(&rig, EINVAL);
	dma_unmap(&rig, 0x18000, 0x8000, 0); /* a gap */
	expect_error(&rig, ENOENT);
	dma_unmap(&rig, 0x24000, 0x1000, 0);
	expect_error(&rig, ENOENT);
	assert_int_equal(rig.dev.nr_maps, 3);
	dma_unmap(&rig, 0xf000, 0x9000, 0); /* two of them, and some of a gap */
	expect_ok(&rig, VU_DMA_UNMAP, 24);
	assert_int_equal(rig.dev.nr_maps, 1);
	rig_destroy(&rig);
}

static void wrong_unmaps(void **state)
{
	struct vu_dma_unmap short_args = {23, 0, 0, 0x1000};
	struct rig rig;

	(void)state;
	rig_start(&rig);
	map_ok(&rig, 0, 0x1000, 0);
	dma_unmap(&rig, 0, 0, 0);
	expect_error(&rig, EINVAL);
	dma_unmap(&rig, 0, 0x1001, 0);
	expect_error(&rig, EINVAL);
	dma_unmap(&rig, 0x800, 0x1000, 0);
	expect_error(&rig, EINVAL);
	dma_unmap(&rig, 0x1000, UINT64_MAX & ~0xfffull, 0);
	expect_error(&rig, EINVAL);
	dma_unmap(&rig, 0, 0x1000, VU_UNMAP_DIRTY_BITMAP);
	expect_error(&rig, EOPNOTSUPP);
	dma_unmap(&rig, 0, 0x1000, 4);
	expect_error(&rig, EINVAL);
	command(&rig, VU_DMA_UNMAP, &short_args, sizeof(short_args));
	expect_error(&rig, EINVAL);
	assert_int_equal(rig.dev.nr_maps, 1);
	rig_destroy(&rig);
}

static void wrong_maps(void **state)
{
	static const struct vu_dma_map bad[] = {
		{32, RW, 0, 0, 0},			 /* empty */
		{32, RW, 0, 0, 0x1001},			 /* alignment of the size */
		{32, RW, 0, 0x800, 0x1000},		 /* alignment of the address */
		{32, RW, 0x800, 0, 0x1000},		 /* alignment of the offset */
		{32, RW, 0, 0xfffffffffffff000, 0x1000}, /* ends at 2^64 */
		{32, RW, 0, 0xfffffffffffff000, 0x2000}, /* wraps */
		{32, RW, 0, 0x1000, 0xfffffffffffff000}, /* wraps */
		{32, RW, 0xfffffffffffff000, 0, 0x2000}, /* the file's end wraps */
		{32, RW, 0xfffffffffffff000, 0, 0x1000}, /* ... to 0 */
		{32, RW, 0, 0, RAM_SIZE + 0x1000},	 /* more than the file has */
		{32, RW, RAM_SIZE, 0, 0x1000},		 /* behind the file's end */
		{32, RW, 0x8000000000000000, 0, 0x1000}, /* a negative off_t */
		{32, 0, 0, 0, 0x1000},			 /* no access */
		{32, RW | 4, 0, 0, 0x1000},		 /* an unknown flag */
		{31, RW, 0, 0, 0x1000},			 /* argsz */
	};
	struct rig rig;
	size_t i;

	(void)state;
	rig_start(&rig);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		command_fds(&rig, VU_DMA_MAP, &bad[i], sizeof(bad[i]), &rig.ram_fd, 1);
		expect_error(&rig, EINVAL);
	}
	{
		const int two[] = {rig.ram_fd, rig.ram_fd};
		const struct vu_dma_map map = {32, RW, 0, 0, 0x1000};

		command_fds(&rig, VU_DMA_MAP, &map, sizeof(map), two, 2);
		expect_error(&rig, EINVAL);
	}
	assert_int_equal(rig.dev.nr_maps, 0);
	await_memfd_maps(rig.memfd_maps_before);
	rig_destroy(&rig);
}

static void overlaps_are_refused(void **state)
{
	static const struct {
		uint64_t iova, size;
		int error;
	} tries[] = {
		{0x10000, 0x4000, EEXIST}, {0x11000, 0x1000, EEXIST}, {0xf000, 0x2000, EEXIST},
		{0x13000, 0x2000, EEXIST}, {0xf000, 0x6000, EEXIST},  {0xf000, 0x1000, 0},
		{0x14000, 0x1000, 0},	   {0xe000, 0x9000, EEXIST},
	};
	struct rig rig;
	size_t i;

	(void)state;
	rig_start(&rig);
	map_ok(&rig, 0x10000, 0x4000, 0);
	for (i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
		dma_map(&rig, tries[i].iova, tries[i].size, 0, RW, i % 2 ? rig.ram_fd : -1);
		if (tries[i].error)
			expect_error(&rig, tries[i].error);
		else
			expect_ok(&rig, VU_DMA_MAP, 0);
	}
	assert_int_equal(rig.dev.nr_maps, 3);
	rig_destroy(&rig);
}

/* Some clients have memory in very many files: a VM that comes later finds room for its own. */
static void each_client_has_its_share_of_mappings(void **state)
{
	struct up_sigbus_owner others = {.wake_fd = -1};
	int guards[UP_SIGBUS_GUARD_MAX / 2], fds[VU_SURE_FILES + 1];
	struct rig rig;
	unsigned i;

	(void)state;
	for (i = 0; i < UP_SIGBUS_GUARD_MAX / 2; i++)
		guards[i] =
			up_sigbus_guard_add((void *)(4096ul * (i + 1)), 4096, PROT_READ, &others);
	rig_start(&rig);
	for (i = 0; i <= VU_SURE_FILES; i++) {
		fds[i] = make_memfd("many", 0x1000);
		dma_map(&rig, i * 0x1000, 0x1000, 0, RW, fds[i]);
		if (i < VU_SURE_FILES)
			expect_ok(&rig, VU_DMA_MAP, 0);
		else
			expect_error(&rig, ENOSPC);
	}
	/* There is room again. */
	for (i = 0; i <= VU_SURE_FILES; i++)
		up_sigbus_guard_remove(guards[i]);
	dma_map(&rig, VU_SURE_FILES * 0x1000, 0x1000, 0, RW, fds[VU_SURE_FILES]);
	expect_ok(&rig, VU_DMA_MAP, 0);
	for (i = 0; i <= VU_SURE_FILES; i++)
		close(fds[i]);
	rig_destroy(&rig);
	for (i = VU_SURE_FILES + 1; i < UP_SIGBUS_GUARD_MAX / 2; i++)
		up_sigbus_guard_remove(guards[i]);
}

static void number_of_ranges_is_limited(void **state)
{
	struct rig rig;
	unsigned i;

	(void)state;
	rig_start(&rig);
	/* From the top down, so that the table grows at its front. */
	for (i = TEST_DMA_MAPS; i > 0; i--)
		map_ok(&rig, i * 0x10000, 0x1000, i * 0x1000);
	dma_map(&rig, 0, 0x1000, 0, RW, rig.ram_fd);
	expect_error(&rig, ENOSPC);
	for (i = 1; i <= TEST_DMA_MAPS; i++) {
		uint8_t byte = (uint8_t)i;

		assert_int_equal(pwrite(rig.ram_fd, &byte, 1, i * 0x1000), 1);
		assert_int_equal(*find_hva(&rig, i * 0x10000), i);
	}
	dma_unmap(&rig, 0x50000, 0x1000, 0);
	expect_ok(&rig, VU_DMA_UNMAP, 24);
	map_ok(&rig, 0, 0x1000, 0);
	rig_destroy(&rig);
}

static void files_that_are_not_memory(void **state)
{
	struct rig rig;
	int pipe_fds[2], fd;

	(void)state;
	rig_start(&rig);
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	dma_map(&rig, 0, 0x1000, 0, RW, pipe_fds[0]);
	expect_error(&rig, EINVAL);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	fd = open("/dev/zero", O_RDWR | O_CLOEXEC);
	dma_map(&rig, 0, 0x1000, 0, RW, fd);
	expect_error(&rig, EINVAL);
	close(fd);
	fd = eventfd(0, EFD_CLOEXEC);
	dma_map(&rig, 0, 0x1000, 0, RW, fd);
	expect_error(&rig, EINVAL);
	close(fd);
	fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	dma_map(&rig, 0, 0x1000, 0, UP_VFIO_DMA_READ, fd);
	expect_error(&rig, EINVAL);
	close(fd);
	assert_int_equal(rig.dev.nr_maps, 0);
	rig_destroy(&rig);
}

static void read_only_memory(void **state)
{
	char path[64];
	struct rig rig;
	int fd;

	(void)state;
	rig_start(&rig);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", rig.ram_fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	dma_map(&rig, 0, 0x1000, 0, UP_VFIO_DMA_READ, fd);
	expect_ok(&rig, VU_DMA_MAP, 0);
	assert_int_equal(rig.dev.map[0].prot, UP_VFIO_DMA_READ);
	assert_int_equal(*find_hva(&rig, 0), 0);
	/* The descriptor does not allow what the message asks for. */
	dma_map(&rig, 0x1000, 0x1000, 0, RW, fd);
	expect_error(&rig, EACCES);
	close(fd);
	rig_destroy(&rig);
}

static void device_refuses_a_range(void **state)
{
	struct rig rig;

	(void)state;
	rig_start(&rig);
	rig.dev.refuse_map = ENOMEM;
	dma_map(&rig, 0, 0x1000, 0, RW, rig.ram_fd);
	expect_error(&rig, ENOMEM);
	await_memfd_maps(rig.memfd_maps_before);
	map_ok(&rig, 0, 0x1000, 0);
	rig_destroy(&rig);
}

static void disconnection_unmaps(void **state)
{
	struct rig rig;
	unsigned round, i;

	(void)state;
	rig_create(&rig, NULL);
	for (round = 0; round < 10; round++) {
		rig_connect(&rig);
		negotiate(&rig);
		for (i = 0; i < 8; i++)
			map_ok(&rig, i * 0x1000, 0x1000, i * 0x1000);
		rig_hang_up(&rig);
		/* The device stopped before it lost anything. */
		assert_int_equal(rig.dev.resets, round + 1);
		assert_int_equal(rig.dev.maps_at_reset, 8);
		assert_int_equal(rig.dev.nr_maps, 0);
		await_memfd_maps(rig.memfd_maps_before);
	}
	rig_destroy(&rig);
}

/*
 * How long a file is that nobody writes to costs its owner nothing. Mapped, it would take what all
 * clients have of the address space.
 */
static void room_is_left_for_others(void **state)
{
	const uint64_t tib = UINT64_C(1) << 40;
	struct rig rig;
	void *at;
	int fd;

	(void)state;
	rig_start(&rig);
	for (uint64_t size = 64 * tib, iova = 0; size >= tib / 4; iova += size) {
		struct answer a;

		fd = make_memfd("long", (off_t)size);
		dma_map(&rig, iova, size, 0, RW, fd);
		close(fd);
		a = get_answer(&rig);
		if (a.header.flags & VU_ERROR)
			size /= 2;
		answer_done(&a);
	}
	at = mmap(NULL, tib, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_ptr_not_equal(at, MAP_FAILED);
	munmap(at, tib);
	/* A part of such a file is as good as any other memory. */
	dma_unmap(&rig, 0, 0, VU_UNMAP_ALL);
	expect_ok(&rig, VU_DMA_UNMAP, 24);
	fd = make_memfd("long", 64 * (off_t)tib);
	dma_map(&rig, 0, RAM_SIZE, 32 * tib, RW, fd);
	expect_ok(&rig, VU_DMA_MAP, 0);
	assert_int_equal(*up_vfio_server_memory(rig.server), RAM_SIZE);
	find_hva(&rig, 0)[RAM_SIZE - 1] = 1;
	close(fd);
	rig_destroy(&rig);
}

/* Huge pages are mapped whole, also where a range begins or ends inside one. */
static void huge_pages(void **state)
{
	enum { HUGE = 2 << 20 };
	struct rig rig;
	int fd;

	(void)state;
	fd = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
	if (fd < 0 || ftruncate(fd, 2 * HUGE) < 0) {
		if (fd >= 0)
			close(fd);
		skip();
	}
	rig_start(&rig);
	dma_map(&rig, 0, HUGE / 2, HUGE / 4, RW, fd);
	expect_ok(&rig, VU_DMA_MAP, 0);
	dma_map(&rig, 0x10000000, HUGE, HUGE / 2, RW, fd);
	expect_ok(&rig, VU_DMA_MAP, 0);
	dma_map(&rig, 0x20000000, 2 * HUGE, 0, RW, fd);
	expect_ok(&rig, VU_DMA_MAP, 0);
	assert_int_equal((uintptr_t)find_hva(&rig, 0) % HUGE, HUGE / 4);
	assert_int_equal((uintptr_t)find_hva(&rig, 0x10000000) % HUGE, HUGE / 2);
	/* There may be no page to touch; the guard makes up for it, and the client goes. */
	dma_unmap(&rig, 0, 0, VU_UNMAP_ALL);
	rig_hang_up(&rig);
	rig_destroy(&rig);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_is_shared),
		cmocka_unit_test(pieces_share_a_mapping),
		cmocka_unit_test(files_grow_and_differ),
		cmocka_unit_test(unmap_exactly),
		cmocka_unit_test(reshuffled_low_memory),
		cmocka_unit_test(unmap_all),
		cmocka_unit_test(unmap_must_not_cut),
		cmocka_unit_test(wrong_unmaps),
		cmocka_unit_test(wrong_maps),
		cmocka_unit_test(overlaps_are_refused),
		cmocka_unit_test(number_of_ranges_is_limited),
		cmocka_unit_test(files_that_are_not_memory),
		cmocka_unit_test(read_only_memory),
		cmocka_unit_test(each_client_has_its_share_of_mappings),
		cmocka_unit_test(device_refuses_a_range),
		cmocka_unit_test(disconnection_unmaps),
		cmocka_unit_test(room_is_left_for_others),
		cmocka_unit_test(huge_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
