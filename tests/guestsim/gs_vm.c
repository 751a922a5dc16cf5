/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A VM from connecting to an active port and back: PCI set-up as firmware and QEMU do it, then
 * the order of commands of the mlx5 driver (mlx5_load_one(), mlx5_ib's resources).
 */
#include "gs_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

/* PCI configuration space, as in linux/pci_regs.h */
enum {
	PCI_COMMAND = 0x04,
	PCI_COMMAND_MEMORY_MASTER = 0x06,
	PCI_STATUS = 0x06,
	PCI_STATUS_CAP_LIST = 0x10,
	PCI_CAPABILITY_LIST = 0x34,
	PCI_CAP_ID_MSIX = 0x11,
	PCI_MSIX_ENABLE = 0x8000,
	PCI_BAR0 = 0x10,
};

/* Where the BAR would be in a VM. */
#define BAR_ADDRESS (512ull << 30)

enum {
	LOG_EQ_SIZE = 9,
	LOG_CMD_EQ_SIZE = 6,
	VPORT_ACTIVE = 4, /* hca_vport_context.vport_state: enum ib_port_state */
};

/* struct mlx5_init_seg.initializing */
#define INITIALIZING (1u << 31)

#define PAGE_EVENTS (1ull << CX_EVENT_PAGE_REQUEST)
#define CMD_EVENTS (1ull << CX_EVENT_CMD)
#define ASYNC_EVENTS                                                                               \
	(1ull << CX_EVENT_PATH_MIG | 1ull << CX_EVENT_COMM_EST | 1ull << CX_EVENT_SQ_DRAINED |     \
	 1ull << CX_EVENT_SRQ_LAST_WQE | 1ull << CX_EVENT_SRQ_RQ_LIMIT |                           \
	 1ull << CX_EVENT_CQ_ERROR | 1ull << CX_EVENT_WQ_CATAS_ERROR |                             \
	 1ull << CX_EVENT_PATH_MIG_FAILED | 1ull << CX_EVENT_WQ_INVAL_REQ_ERROR |                  \
	 1ull << CX_EVENT_WQ_ACCESS_ERROR | 1ull << CX_EVENT_SRQ_CATAS_ERROR |                     \
	 1ull << CX_EVENT_INTERNAL_ERROR | 1ull << CX_EVENT_PORT_CHANGE)

void *gs_alloc(size_t size)
{
	void *p = calloc(1, size);

	if (!p)
		gs_fail("out of memory");
	return p;
}

void *gs_object_alloc(struct gs_vm *vm, size_t size)
{
	void **p = gs_alloc(sizeof(void *) * 2 + size);

	pthread_mutex_lock(&vm->ram_lock);
	p[0] = vm->objects;
	vm->objects = p;
	pthread_mutex_unlock(&vm->ram_lock);
	return p + 2;
}

uint32_t gs_uidx_alloc(struct gs_vm *vm, void *object)
{
	for (unsigned i = 0; i < GS_MAX_UIDX; i++) {
		uint32_t n = vm->next_uidx++ % GS_MAX_UIDX;

		/* 0xffffff would mean another layout of completions; 0 is kept to find mistakes. */
		if (!n || vm->by_uidx[n])
			continue;
		vm->by_uidx[n] = object;
		return n;
	}
	gs_fail("no user index is free");
}

/* ---- registers ---- */

uint32_t gs_reg_read(struct gs_vm *vm, uint64_t off)
{
	uint8_t word[4];
	int err = gs_vfio_read(&vm->vfio, GS_BAR0, off, word, sizeof(word));

	if (err)
		gs_fail("register read at %#lx: %s", off, strerror(-err));
	return up_get_be32(word);
}

void gs_reg_write(struct gs_vm *vm, uint64_t off, uint32_t value)
{
	uint8_t word[4];
	int err;

	up_put_be32(word, value);
	err = gs_vfio_write(&vm->vfio, GS_BAR0, off, word, sizeof(word));
	if (err)
		gs_fail("register write at %#lx: %s", off, strerror(-err));
}

void gs_uar_store32(struct gs_vm *vm, uint32_t uar, uint32_t off, uint32_t word)
{
	uint64_t at = (uint64_t)uar * CX_UAR_PAGE_SIZE + off;

	if (vm->uar_mem)
		__atomic_store_n((uint32_t *)(vm->uar_mem + at), htobe32(word), __ATOMIC_RELEASE);
	else
		gs_reg_write(vm, at, word);
}

void gs_uar_store64(struct gs_vm *vm, uint32_t uar, uint32_t off, uint64_t word)
{
	uint64_t at = (uint64_t)uar * CX_UAR_PAGE_SIZE + off, be = htobe64(word);
	int err;

	if (vm->uar_mem) {
		__atomic_store_n((uint64_t *)(vm->uar_mem + at), be, __ATOMIC_RELEASE);
		return;
	}
	if (vm->halves) {
		gs_reg_write(vm, at, (uint32_t)(word >> 32));
		gs_reg_write(vm, at + 4, (uint32_t)word);
		return;
	}
	err = gs_vfio_write(&vm->vfio, GS_BAR0, at, &be, sizeof(be));
	if (err)
		gs_fail("doorbell at %#lx: %s", at, strerror(-err));
}

/* ---- PCI ---- */

static uint32_t config_read(struct gs_vm *vm, uint32_t off, uint32_t len)
{
	uint32_t v = 0;
	int err = gs_vfio_read(&vm->vfio, GS_CONFIG, off, &v, len);

	if (err)
		gs_fail("config read at %#x: %s", off, strerror(-err));
	return le32toh(v);
}

static void config_write(struct gs_vm *vm, uint32_t off, uint32_t v, uint32_t len)
{
	int err;

	v = htole32(v);
	err = gs_vfio_write(&vm->vfio, GS_CONFIG, off, &v, len);
	if (err)
		gs_fail("config write at %#x: %s", off, strerror(-err));
}

static uint32_t find_capability(struct gs_vm *vm, uint8_t id)
{
	uint32_t at;

	if (!(config_read(vm, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST))
		return 0;
	at = config_read(vm, PCI_CAPABILITY_LIST, 1) & 0xfc;
	for (unsigned hops = 0; at && hops < 48; hops++) {
		uint32_t head = config_read(vm, at, 2);

		if ((head & 0xff) == id)
			return at;
		at = head >> 8 & 0xfc;
	}
	return 0;
}

static void set_up_pci(struct gs_vm *vm)
{
	uint64_t size;
	uint32_t msix;

	if (config_read(vm, 0, 4) != 0x101715b3)
		gs_fail("PCI ids %#x", config_read(vm, 0, 4));
	config_write(vm, PCI_BAR0, 0xffffffff, 4);
	config_write(vm, PCI_BAR0 + 4, 0xffffffff, 4);
	size = config_read(vm, PCI_BAR0, 4) & ~0xfull;
	size = ~(size | (uint64_t)config_read(vm, PCI_BAR0 + 4, 4) << 32) + 1;
	if (size != vm->bar_size)
		gs_fail("BAR0 says %#lx bytes, the region has %#lx", size, vm->bar_size);
	config_write(vm, PCI_BAR0, (uint32_t)BAR_ADDRESS, 4);
	config_write(vm, PCI_BAR0 + 4, (uint32_t)(BAR_ADDRESS >> 32), 4);
	config_write(vm, PCI_COMMAND, PCI_COMMAND_MEMORY_MASTER, 2);
	msix = find_capability(vm, PCI_CAP_ID_MSIX);
	if (!msix)
		gs_fail("no MSI-X capability");
	if ((config_read(vm, msix + 2, 2) & 0x7ff) + 1 < GS_VECTORS)
		gs_fail("too few MSI-X vectors");
	config_write(vm, msix + 2, PCI_MSIX_ENABLE, 2);
}

static void set_up_regions(struct gs_vm *vm, bool no_mmap)
{
	struct gs_vfio_region bar;
	int err = gs_vfio_region_info(&vm->vfio, GS_BAR0, &bar);

	if (err)
		gs_fail("region info of BAR0: %s", strerror(-err));
	vm->bar_size = bar.size;
	if (bar.fd >= 0 && bar.nr_areas && !no_mmap) {
		/* As QEMU does: only the areas are mapped, the rest traps. */
		vm->uar_mem = mmap(NULL, bar.size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		for (unsigned i = 0; i < bar.nr_areas; i++) {
			struct vu_sparse_area *a = &bar.areas[i];

			if (mmap(vm->uar_mem + a->offset, a->size, PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_FIXED, bar.fd,
				 (off_t)(bar.offset + a->offset)) == MAP_FAILED)
				gs_fail("cannot map the UAR pages: %s", strerror(errno));
		}
	}
	if (bar.fd >= 0)
		close(bar.fd);
}

static void set_up_interrupts(struct gs_vm *vm)
{
	unsigned count = 0;
	int err = gs_vfio_irq_count(&vm->vfio, GS_MSIX, &count);

	if (err || count < GS_VECTORS)
		gs_fail("%u MSI-X vectors: %s", count, strerror(-err));
	for (unsigned i = 0; i < GS_VECTORS; i++) {
		vm->irq_fd[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (vm->irq_fd[i] < 0)
			gs_fail("eventfd: %s", strerror(errno));
		err = gs_vfio_set_eventfd(&vm->vfio, GS_MSIX, i, vm->irq_fd[i]);
		if (err)
			gs_fail("SET_IRQS of vector %u: %s", i, strerror(-err));
	}
}

/* ---- the driver ---- */

static void await_firmware(struct gs_vm *vm)
{
	struct gs_wait w = gs_wait_start(GS_WAIT_MS);

	while (gs_reg_read(vm, CX_ISEG_INITIALIZING) & INITIALIZING)
		if (!gs_wait_turn(&w))
			gs_fail("the device stays in initialization");
}

static void give_pages(struct gs_vm *vm, uint16_t op_mod)
{
	uint8_t in[CX_IN_BYTES] = {0}, out[CX_QUERY_PAGES_OUT_BYTES];
	uint32_t count, len;
	uint8_t *give;

	cx_set(in, CX_IN_OPCODE, CX_CMD_QUERY_PAGES);
	cx_set(in, CX_IN_OP_MOD, op_mod);
	gs_cmd(vm, in, sizeof(in), out, sizeof(out));
	count = cx_get(out, CX_QUERY_PAGES_OUT_NUM_PAGES);
	if (count > 16384)
		gs_fail("the device asks for %u pages", count);
	if (!count)
		return;
	len = CX_MANAGE_PAGES_IN_BYTES + 8 * count;
	give = gs_alloc(len);
	cx_set(give, CX_IN_OPCODE, CX_CMD_MANAGE_PAGES);
	cx_set(give, CX_IN_OP_MOD, CX_PAGES_GIVE);
	cx_set(give, CX_MANAGE_PAGES_IN_INPUT_NUM_ENTRIES, count);
	for (uint32_t i = 0; i < count; i++)
		up_put_be64(give + CX_MANAGE_PAGES_IN_PAS_AT + 8 * i,
			    gs_ram_gpa(vm, gs_ram_alloc(vm, 4096, 4096)));
	gs_cmd(vm, give, len, out, CX_MANAGE_PAGES_OUT_BYTES);
	free(give);
}

static void query_caps(struct gs_vm *vm, unsigned group, unsigned mode, uint8_t *caps)
{
	uint8_t in[CX_IN_BYTES] = {0}, out[CX_CAP_AT + CX_CAP_BYTES];

	cx_set(in, CX_IN_OPCODE, CX_CMD_QUERY_HCA_CAP);
	cx_set(in, CX_IN_OP_MOD, group << 1 | mode);
	gs_cmd(vm, in, sizeof(in), out, sizeof(out));
	memcpy(caps, out + CX_CAP_AT, CX_CAP_BYTES);
}

static void set_caps(struct gs_vm *vm, unsigned group, const uint8_t *caps)
{
	uint8_t in[CX_CAP_AT + CX_CAP_BYTES] = {0}, out[CX_OUT_BYTES];

	cx_set(in, CX_IN_OPCODE, CX_CMD_SET_HCA_CAP);
	cx_set(in, CX_IN_OP_MOD, group << 1);
	memcpy(in + CX_CAP_AT, caps, CX_CAP_BYTES);
	gs_cmd(vm, in, sizeof(in), out, sizeof(out));
}

/* handle_hca_cap(), handle_hca_cap_atomic() */
static void negotiate_caps(struct gs_vm *vm)
{
	uint8_t caps[CX_CAP_BYTES], max[CX_CAP_BYTES];

	query_caps(vm, CX_CAP_GENERAL, CX_CAP_MODE_MAX, max);
	query_caps(vm, CX_CAP_GENERAL, CX_CAP_MODE_CUR, caps);
	cx_set(caps, CX_HCA_PKEY_TABLE_SIZE, 0);
	cx_set(caps, CX_HCA_CMDIF_CHECKSUM, 0);
	cx_set(caps, CX_HCA_LOG_UAR_PAGE_SZ, 0);
	set_caps(vm, CX_CAP_GENERAL, caps);
	if (cx_get(max, CX_HCA_ATOMIC)) {
		query_caps(vm, CX_CAP_ATOMIC, CX_CAP_MODE_MAX, max);
		query_caps(vm, CX_CAP_ATOMIC, CX_CAP_MODE_CUR, caps);
		if (cx_get(max, CX_ATOMIC_SUPPORTED_REQ_8B_ENDIANNESS_MODE_1)) {
			cx_set(caps, CX_ATOMIC_REQ_8B_ENDIANNESS_MODE, 1);
			set_caps(vm, CX_CAP_ATOMIC, caps);
			query_caps(vm, CX_CAP_ATOMIC, CX_CAP_MODE_CUR, caps);
		}
		vm->host_endian_atomics = cx_get(caps, CX_ATOMIC_REQ_8B_ENDIANNESS_MODE) == 1;
	}
}

static void start_function(struct gs_vm *vm)
{
	uint8_t in[CX_IN_BYTES] = {0}, out[CX_QUERY_ISSI_OUT_BYTES];

	if (gs_cmd_object(vm, CX_CMD_ENABLE_HCA, 0, 0))
		gs_fail("ENABLE_HCA: status %#x", vm->status);
	cx_set(in, CX_IN_OPCODE, CX_CMD_QUERY_ISSI);
	gs_cmd(vm, in, sizeof(in), out, sizeof(out));
	if (!(cx_get(out, CX_QUERY_ISSI_OUT_SUPPORTED_ISSI_DW0) & 1 << 1))
		gs_fail("ISSI 1 is not supported");
	cx_set(in, CX_IN_OPCODE, CX_CMD_SET_ISSI);
	cx_set(in, CX_SET_ISSI_IN_CURRENT_ISSI, 1);
	gs_cmd(vm, in, sizeof(in), out, CX_OUT_BYTES);
	give_pages(vm, CX_PAGES_BOOT);
	negotiate_caps(vm);
	give_pages(vm, CX_PAGES_INIT);
	if (gs_cmd_object(vm, CX_CMD_INIT_HCA, 0, 0))
		gs_fail("INIT_HCA: status %#x", vm->status);
	query_caps(vm, CX_CAP_GENERAL, CX_CAP_MODE_CUR, vm->caps);
	if (cx_get(vm->caps, CX_HCA_CQE_VERSION) != 1)
		gs_fail("completions of version %u", cx_get(vm->caps, CX_HCA_CQE_VERSION));
}

static void create_event_queues(struct gs_vm *vm)
{
	vm->uar = gs_cmd_alloc(vm, CX_CMD_ALLOC_UAR);
	gs_eq_create(vm, &vm->cmd_eq, 0, LOG_CMD_EQ_SIZE, CMD_EVENTS);
	gs_eq_create(vm, &vm->async_eq, 1, LOG_EQ_SIZE, ASYNC_EVENTS);
	gs_eq_create(vm, &vm->pages_eq, 2, LOG_CMD_EQ_SIZE, PAGE_EVENTS);
	for (unsigned i = 0; i < GS_COMP_EQS; i++)
		gs_eq_create(vm, &vm->comp_eq[i], 3 + i, LOG_EQ_SIZE, 0);
}

/* mlx5_ib_dev_res_init(), mlx5r_umr_resource_init() */
static void create_driver_objects(struct gs_vm *vm)
{
	struct gs_srq_attr xrc = {.wrs = 4, .sges = 1, .xrc = true};
	struct gs_srq_attr basic = {.wrs = 4, .sges = 1};
	struct gs_link link = gs_link_default();
	struct gs_qp_attr umr = {.type = GS_UMR, .send_blocks = 512, .signal_all = true};

	vm->pd0 = gs_pd_create(vm);
	vm->cq0 = gs_cq_create(vm, 256);
	vm->xrcd0 = gs_xrcd_alloc(vm);
	vm->xrcd1 = gs_xrcd_alloc(vm);
	xrc.xrcd = vm->xrcd0;
	xrc.cq = vm->cq0;
	vm->srq_xrc0 = gs_srq_create(vm->pd0, &xrc);
	vm->srq1 = gs_srq_create(vm->pd0, &basic);
	umr.send_cq = vm->cq0;
	vm->umr_qp = gs_qp_create(vm->pd0, &umr);
	gs_qp_bring_up(vm->umr_qp, &link);
}

static void query_port(struct gs_vm *vm, uint8_t *hvc)
{
	uint8_t in[CX_VPORT_IN_BYTES] = {0};
	uint8_t out[CX_QUERY_HCA_VPORT_CONTEXT_OUT_BYTES];

	cx_set(in, CX_IN_OPCODE, CX_CMD_QUERY_HCA_VPORT_CONTEXT);
	gs_cmd(vm, in, sizeof(in), out, sizeof(out));
	memcpy(hvc, out + CX_QUERY_HCA_VPORT_CONTEXT_OUT_HVC_AT, CX_HVC_BYTES);
}

void gs_vm_await_active(struct gs_vm *vm)
{
	struct gs_wait w = gs_wait_start(GS_WAIT_MS);
	uint8_t hvc[CX_HVC_BYTES], in[CX_VPORT_IN_BYTES] = {0}, out[64];

	for (;;) {
		query_port(vm, hvc);
		if (cx_get(hvc, CX_HVC_VPORT_STATE) == VPORT_ACTIVE)
			break;
		if (!gs_wait_turn(&w))
			gs_fail("the port does not become active");
	}
	vm->lid = (uint16_t)cx_get(hvc, CX_HVC_LID);
	vm->sm_lid = (uint16_t)cx_get(hvc, CX_HVC_SM_LID);
	cx_set(in, CX_IN_OPCODE, CX_CMD_QUERY_HCA_VPORT_GID);
	gs_cmd(vm, in, sizeof(in), out, CX_QUERY_HCA_VPORT_GID_OUT_BYTES + 16);
	memcpy(vm->gid, out + CX_QUERY_HCA_VPORT_GID_OUT_GID_AT, 16);
	cx_set(in, CX_IN_OPCODE, CX_CMD_QUERY_HCA_VPORT_PKEY);
	gs_cmd(vm, in, sizeof(in), out, CX_QUERY_HCA_VPORT_PKEY_OUT_BYTES + 4);
	vm->pkey = up_get_be32(out + CX_QUERY_HCA_VPORT_PKEY_OUT_PKEY_AT) & 0xffff;
}

struct gs_vm *gs_vm_open(const char *socket, const struct gs_vm_opts *opts)
{
	static const struct gs_vm_opts none;
	struct gs_vm *vm = gs_alloc(sizeof(*vm));
	int err;

	if (!opts)
		opts = &none;
	vm->memfd = -1;
	vm->next_uidx = 1;
	pthread_mutex_init(&vm->event_lock, NULL);
	for (unsigned i = 0; i < GS_VECTORS; i++)
		vm->irq_fd[i] = -1;
	err = gs_vfio_open(&vm->vfio, socket);
	if (err)
		gs_fail("cannot attach to %s: %s", socket, strerror(-err));
	gs_ram_init(vm, opts);
	for (unsigned i = 0; i < vm->nr_ranges; i++)
		gs_ram_map(vm, i);
	set_up_regions(vm, opts->no_mmap);
	set_up_interrupts(vm);
	if (!opts->no_bring_up)
		gs_vm_bring_up(vm);
	return vm;
}

void gs_vm_bring_up(struct gs_vm *vm)
{
	set_up_pci(vm);
	vm->cmd_eq.ring = NULL;
	vm->cqs = NULL;
	await_firmware(vm);
	if (gs_reg_read(vm, CX_ISEG_CMDIF_REV_FW_SUB) >> 16 != CX_CMDIF_REV)
		gs_fail("unknown command interface revision");
	gs_cmd_init(vm);
	await_firmware(vm);
	start_function(vm);
	create_event_queues(vm);
	create_driver_objects(vm);
	gs_vm_await_active(vm);
}

struct gs_vm *gs_vm_open_port(const struct gs_daemon *d, unsigned port)
{
	return gs_vm_open(gs_daemon_socket(d, port), NULL);
}

static void destroy_eq(struct gs_vm *vm, const struct gs_eq *eq)
{
	if (gs_cmd_object(vm, CX_CMD_DESTROY_EQ, 0, eq->eqn))
		gs_fail("DESTROY_EQ: status %#x", vm->status);
}

void gs_vm_tear_down(struct gs_vm *vm)
{
	/* mlx5_cmd_use_polling() */
	vm->cmd_eq.ring = NULL;
	destroy_eq(vm, &vm->pages_eq);
	destroy_eq(vm, &vm->async_eq);
	destroy_eq(vm, &vm->cmd_eq);
	if (gs_cmd_object(vm, CX_CMD_TEARDOWN_HCA, 0, 0))
		gs_fail("TEARDOWN_HCA: status %#x", vm->status);
	if (gs_cmd_object(vm, CX_CMD_DISABLE_HCA, 0, 0))
		gs_fail("DISABLE_HCA: status %#x", vm->status);
}

void gs_vm_close(struct gs_vm *vm)
{
	gs_vfio_close(&vm->vfio);
	for (unsigned i = 0; i < GS_VECTORS; i++)
		if (vm->irq_fd[i] >= 0)
			close(vm->irq_fd[i]);
	if (vm->uar_mem)
		munmap(vm->uar_mem, vm->bar_size);
	while (vm->objects) {
		void **p = vm->objects;

		vm->objects = p[0];
		free(p);
	}
	gs_cmd_fini(vm);
	gs_ram_fini(vm);
	free(vm);
}

/* ---- buffers ---- */

struct gs_buf gs_buf_describe(struct gs_vm *vm, const void *ptr, size_t size, unsigned max_offset)
{
	static unsigned turn;
	uint64_t gpa = gs_ram_gpa(vm, ptr);
	unsigned best = gs_ram_page_shift(vm, ptr, size), shift;
	struct gs_buf b = {.page_shift = 12};

	/* Any page size will do in which the offset is a multiple of a 64th, and not too large. */
	shift = 12 + __atomic_fetch_add(&turn, 1, __ATOMIC_RELAXED) % (best - 11);
	while (shift > 12 && (gpa & ((1ull << (shift - 6)) - 1) ||
			      (gpa & ((1ull << shift) - 1)) >> (shift - 6) > max_offset))
		shift--;
	b.page_shift = shift;
	b.page_offset = (unsigned)((gpa & ((1ull << shift) - 1)) >> (shift - 6));
	b.npages = gs_ram_pages(vm, ptr, size, shift, NULL);
	b.pages = gs_alloc(b.npages * sizeof(b.pages[0]));
	gs_ram_pages(vm, ptr, size, shift, b.pages);
	return b;
}

void gs_buf_finish(struct gs_buf *b, void *pas)
{
	for (unsigned i = 0; i < b->npages; i++)
		up_put_be64((uint8_t *)pas + 8 * i, b->pages[i]);
	free(b->pages);
}
