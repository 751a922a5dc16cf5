/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest memory: one memory file, seen here as one stretch and by the guest as one or more ranges
 * of guest-physical addresses; and an allocator over it. Guarded by ram_lock.
 */
#include "gs_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	PAGE = 4096,
	FIRST = 1024 * 1024, /* what a PC keeps for its firmware */
};
#define RAM_ALIGN (1ull << 30)
#define GAP_END (4ull << 30)

/* Pages mapped a second time in another order. */
struct gs_area {
	struct gs_area *next;
	uint8_t *va;
	size_t pages;
	size_t offset[]; /* of each page in the memory file */
};

struct gs_free {
	struct gs_free *next;
	void *ptr;
	size_t size;
};

static void add_range(struct gs_vm *vm, uint64_t gpa, uint64_t size, uint64_t offset)
{
	vm->ranges[vm->nr_ranges++] =
		(struct gs_ram_range){.gpa = gpa, .size = size, .offset = offset};
}

/* Maps the file where its alignment equals that of guest-physical addresses, for large pages. */
static uint8_t *map_aligned(int fd, size_t size)
{
	uint8_t *room = mmap(NULL, size + RAM_ALIGN, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uintptr_t at;

	if (room == MAP_FAILED)
		return NULL;
	at = ((uintptr_t)room + RAM_ALIGN - 1) & ~(RAM_ALIGN - 1);
	munmap(room, at - (uintptr_t)room);
	munmap((uint8_t *)at + size, (uintptr_t)room + RAM_ALIGN - at);
	if (mmap((void *)at, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) ==
	    MAP_FAILED)
		return NULL;
	return (uint8_t *)at;
}

void gs_ram_init(struct gs_vm *vm, const struct gs_vm_opts *opts)
{
	size_t size = opts->ram ? opts->ram : 256u << 20;

	pthread_mutex_init(&vm->ram_lock, NULL);
	vm->memfd = memfd_create("guest-ram", MFD_CLOEXEC);
	if (vm->memfd < 0 || ftruncate(vm->memfd, (off_t)size) < 0)
		gs_fail("guest memory: %s", strerror(errno));
	vm->ram = map_aligned(vm->memfd, size);
	if (!vm->ram)
		gs_fail("guest memory: cannot map %zu bytes: %s", size, strerror(errno));
	vm->ram_size = size;
	vm->ram_next = FIRST;
	if (opts->low && opts->low < size) {
		add_range(vm, opts->gpa, opts->low, 0);
		add_range(vm, GAP_END, size - opts->low, opts->low);
	} else {
		add_range(vm, opts->gpa, size, 0);
	}
}

void gs_ram_fini(struct gs_vm *vm)
{
	while (vm->areas) {
		struct gs_area *a = vm->areas;

		vm->areas = a->next;
		munmap(a->va, a->pages * PAGE);
		free(a);
	}
	while (vm->free_list) {
		struct gs_free *f = vm->free_list;

		vm->free_list = f->next;
		free(f);
	}
	if (vm->ram)
		munmap(vm->ram, vm->ram_size);
	if (vm->memfd >= 0)
		close(vm->memfd);
}

void gs_ram_map(struct gs_vm *vm, unsigned range)
{
	const struct gs_ram_range *r = &vm->ranges[range];
	int err = gs_vfio_dma_map(&vm->vfio, vm->memfd, r->offset, r->gpa, r->size);

	if (err)
		gs_fail("DMA_MAP of %#lx+%#lx: %s", r->gpa, r->size, strerror(-err));
}

void gs_ram_unmap(struct gs_vm *vm, unsigned range)
{
	const struct gs_ram_range *r = &vm->ranges[range];
	int err = gs_vfio_dma_unmap(&vm->vfio, r->gpa, r->size);

	if (err)
		gs_fail("DMA_UNMAP of %#lx+%#lx: %s", r->gpa, r->size, strerror(-err));
}

static void *reuse(struct gs_vm *vm, size_t size, size_t align)
{
	for (struct gs_free **link = &vm->free_list; *link; link = &(*link)->next) {
		struct gs_free *f = *link;
		void *ptr = f->ptr;

		if (f->size != size || (uintptr_t)ptr & (align - 1))
			continue;
		*link = f->next;
		free(f);
		return ptr;
	}
	return NULL;
}

static void *carve(struct gs_vm *vm, size_t size, size_t align)
{
	size_t at = (vm->ram_next + align - 1) & ~(align - 1);

	if (at > vm->ram_size || size > vm->ram_size - at)
		gs_fail("guest memory is used up: %zu of %zu bytes, %zu more wanted", vm->ram_next,
			vm->ram_size, size);
	vm->ram_next = at + size;
	return vm->ram + at;
}

void *gs_ram_alloc(struct gs_vm *vm, size_t size, size_t align)
{
	void *ptr;

	if (align < 64)
		align = 64;
	pthread_mutex_lock(&vm->ram_lock);
	ptr = reuse(vm, size, align);
	if (ptr)
		memset(ptr, 0, size);
	else
		ptr = carve(vm, size, align);
	pthread_mutex_unlock(&vm->ram_lock);
	return ptr;
}

void gs_ram_free(struct gs_vm *vm, void *ptr, size_t size)
{
	struct gs_free *f = malloc(sizeof(*f));

	if (!f)
		gs_fail("out of memory");
	f->ptr = ptr;
	f->size = size;
	pthread_mutex_lock(&vm->ram_lock);
	f->next = vm->free_list;
	vm->free_list = f;
	pthread_mutex_unlock(&vm->ram_lock);
}

static void shuffle(size_t *v, size_t n)
{
	uint64_t state = 0x5eed + n;

	for (size_t i = n - 1; i > 0; i--) {
		size_t j = gs_random(&state) % (i + 1), t = v[i];

		v[i] = v[j];
		v[j] = t;
	}
}

void *gs_ram_alloc_scattered(struct gs_vm *vm, size_t size)
{
	size_t pages = (size + PAGE - 1) / PAGE;
	struct gs_area *a = malloc(sizeof(*a) + pages * sizeof(a->offset[0]));
	uint8_t *first;

	if (!a)
		gs_fail("out of memory");
	pthread_mutex_lock(&vm->ram_lock);
	/* Every second page, so that no two are neighbours. */
	first = carve(vm, pages * 2 * PAGE, PAGE);
	a->pages = pages;
	for (size_t i = 0; i < pages; i++)
		a->offset[i] = (size_t)(first - vm->ram) + 2 * i * PAGE;
	shuffle(a->offset, pages);
	a->va = mmap(NULL, pages * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (size_t i = 0; i < pages && a->va != MAP_FAILED; i++)
		if (mmap(a->va + i * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			 vm->memfd, (off_t)a->offset[i]) == MAP_FAILED)
			gs_fail("scattered memory: %s", strerror(errno));
	a->next = vm->areas;
	vm->areas = a;
	pthread_mutex_unlock(&vm->ram_lock);
	return a->va;
}

static uint64_t offset_to_gpa(const struct gs_vm *vm, uint64_t off)
{
	for (unsigned i = 0; i < vm->nr_ranges; i++) {
		const struct gs_ram_range *r = &vm->ranges[i];

		if (up_range_inside(off, 1, r->offset, r->size))
			return r->gpa + (off - r->offset);
	}
	gs_fail("offset %#lx is not guest memory", off);
}

uint64_t gs_ram_gpa(const struct gs_vm *vm, const void *ptr)
{
	const uint8_t *p = ptr;

	if (p >= vm->ram && p < vm->ram + vm->ram_size)
		return offset_to_gpa(vm, (uint64_t)(p - vm->ram));
	for (const struct gs_area *a = vm->areas; a; a = a->next)
		if (p >= a->va && p < a->va + a->pages * PAGE)
			return offset_to_gpa(vm, a->offset[(size_t)(p - a->va) / PAGE]) +
			       (size_t)(p - a->va) % PAGE;
	gs_fail("%p is not guest memory", ptr);
}

unsigned gs_ram_pages(const struct gs_vm *vm, const void *ptr, size_t len, unsigned page_shift,
		      uint64_t *pages)
{
	uint64_t size = 1ull << page_shift;
	uint64_t offset = gs_ram_gpa(vm, ptr) & (size - 1);
	unsigned n = (unsigned)((offset + len + size - 1) >> page_shift);

	for (unsigned i = 0; pages && i < n; i++) {
		const uint8_t *p = (const uint8_t *)ptr + (i ? i * size - offset : 0);

		pages[i] = gs_ram_gpa(vm, p) & ~(size - 1);
	}
	return n;
}

unsigned gs_ram_page_shift(const struct gs_vm *vm, const void *ptr, size_t len)
{
	uint64_t gpa = gs_ram_gpa(vm, ptr);
	const uint8_t *p = ptr;
	unsigned shift = 12;

	for (size_t off = 0; off < len; off += PAGE)
		if (gs_ram_gpa(vm, p + off) != gpa + off)
			return shift;
	/* As in a page table, our addresses and the guest's agree in the bits of the page. */
	while (shift < 21 && !(((uintptr_t)ptr ^ gpa) & ((2ull << shift) - 1)))
		shift++;
	return shift;
}
