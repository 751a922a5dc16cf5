/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libFuzzer target: a hostile driver. One device with everything that a guest can do to it:
 * commands with mailboxes, registers, doorbells, memory that comes and goes; its worker runs in
 * between, so that contexts, page lists and queue elements of the input are executed too.
 *
 * Input: a byte of flags (bit 0: begin with a device that has objects of each kind, connected to
 * themselves; else with the reset state), then operations, a byte that says which and arguments in
 * little endian.
 */
#include "fuzz_vm.h"

#include <sys/eventfd.h>
#include <unistd.h>

enum operation {
	COMMAND,  /* in_len, out_len, n of 16 bits, n bytes */
	MEMORY,	  /* offset of 24 bits, n of 8 bits, n bytes */
	RUN,	  /* rounds of 8 bits, log2 of ns between them of 8 bits */
	REGISTER, /* offset of 16 bits, value of 32 bits */
	LOOK,	  /* offset of 16 bits, length of 16 bits, region of 8 bits */
	DOORBELL, /* page, offset, length of 16, 16, 8 bits, bytes; length bit 7: trapped */
	MAP,	  /* 8 bits: range, and whether it comes or goes */
	CONFIG,	  /* offset of 16 bits, value of 32 bits */
	RESET,
	VECTOR, /* vector of 8 bits, on of 8 bits */
	NR_OPERATIONS
};

enum { MAX_OPERATIONS = 256, MAX_ROUNDS = 16 };

static struct fuzz_vm vm;
static bool ram_mapped, rom_mapped;
static int vector_fd;

/* One of each kind; pairs of QPs face one another. */
static void make_objects(void)
{
	uint64_t pages[8];
	struct fuzz_key key = {
		.mode = CX_MKC_MODE_MTT,
		.access = CX_MKEY_LR | CX_MKEY_LW | CX_MKEY_RR | CX_MKEY_RW | CX_MKEY_A,
		.start = 0x10000,
		.len = sizeof(pages) / 8 * FUZZ_PAGE,
		.entries = pages,
		.count = UP_ARRAY_SIZE(pages),
	};
	uint32_t xrcd, srqn, qpn[8];

	fuzz_vm_start(&vm);
	key.pdn = vm.pdn;
	for (unsigned i = 0; i < UP_ARRAY_SIZE(pages); i++)
		pages[i] = htobe64(fuzz_gpa(FUZZ_FREE + (i ^ 1)));
	fuzz_vm_key(&vm, &key);
	key.mode = CX_MKC_MODE_PA;
	key.count = 0;
	fuzz_vm_key(&vm, &key);
	key.mode = CX_MKC_MODE_KLMS;
	key.access |= CX_MKEY_UMR_EN;
	key.entries = NULL;
	key.count = 8;
	fuzz_vm_key(&vm, &key);
	key.mode = CX_MKC_MODE_MTT;
	fuzz_vm_key(&vm, &key);
	xrcd = fuzz_vm_alloc(&vm, CX_CMD_ALLOC_XRCD);
	srqn = fuzz_vm_srq(&vm, 0, 0);
	fuzz_vm_srq(&vm, 1, xrcd);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(qpn); i++) {
		static const uint8_t service[] = {CX_QPST_RC,  CX_QPST_RC, CX_QPST_UC,
						  CX_QPST_UC,  CX_QPST_UD, CX_QPST_REG_UMR,
						  CX_QPST_XRC, CX_QPST_XRC};
		const struct fuzz_qp qp = {
			.service = service[i],
			.no_sq = i == 7,
			.srqn = i == 1 ? srqn : 0,
			.xrcd = i == 7 ? xrcd : 0,
		};

		qpn[i] = fuzz_vm_qp(&vm, i, &qp);
	}
	for (unsigned i = 0; i < UP_ARRAY_SIZE(qpn); i++)
		fuzz_vm_connect(&vm, qpn[i], vm.port->lid, qpn[i ^ 1], FUZZ_RIGHTS);
}

static void command(struct fuzz_input *in)
{
	static uint8_t bytes[FUZZ_NBOXES * CX_MBOX_DATA];
	uint32_t in_len = fuzz_u16(in), out_len = fuzz_u16(in), n = fuzz_u16(in);
	struct fuzz_command c = {.in_len = in_len, .out_len = out_len};
	uint8_t out[16];

	if (n > in->left)
		n = (uint32_t)in->left;
	if (n > sizeof(bytes))
		n = sizeof(bytes);
	memset(bytes, 0, CX_CMD_INLINE);
	memcpy(bytes, fuzz_take(in, n), n);
	c.in = bytes;
	c.have = n < CX_CMD_INLINE ? CX_CMD_INLINE : n;
	c.out = out;
	c.want = sizeof(out);
	fuzz_vm_command(&vm, &c);
}

static void memory(struct fuzz_input *in)
{
	uint32_t off = (uint32_t)fuzz_number(in, 3) % FUZZ_RAM, n = fuzz_u8(in);

	if (n > in->left)
		n = (uint32_t)in->left;
	if (n > FUZZ_RAM - off)
		n = FUZZ_RAM - off;
	memcpy(vm.ram + off, fuzz_take(in, n), n);
}

static void look(struct fuzz_input *in)
{
	uint32_t off = fuzz_u16(in), len = fuzz_u16(in);
	bool config = fuzz_u8(in) & 1;
	uint32_t size = config ? UP_PCI_CONFIG_SIZE : CX_BAR0_SIZE;
	uint8_t *buf = calloc(1, UP_VFIO_MAX_XFER);

	off %= size;
	len = len % (size - off < UP_VFIO_MAX_XFER ? size - off : UP_VFIO_MAX_XFER) + 1;
	CHECK(buf);
	vm.ops->region_read(vm.dev, config ? UP_VFIO_REGION_CONFIG : UP_VFIO_REGION_BAR0, off, buf,
			    len > size - off ? size - off : len);
	free(buf);
}

/* A store to a page that the guest maps, or one that traps. */
static void doorbell(struct fuzz_input *in)
{
	uint32_t page = fuzz_u16(in) % (CX_UAR_PAGES - CX_UAR_FIRST) + CX_UAR_FIRST;
	uint32_t off = fuzz_u16(in) % FUZZ_PAGE, how = fuzz_u8(in), n = how & 0x7f;
	const uint8_t *bytes;

	if (n > FUZZ_PAGE - off)
		n = FUZZ_PAGE - off;
	bytes = fuzz_take(in, n);
	if (!n || !bytes)
		return;
	off += page * FUZZ_PAGE;
	if (how & 0x80)
		vm.ops->region_write(vm.dev, UP_VFIO_REGION_BAR0, off, bytes, n);
	else
		memcpy(vm.dev->uar_mem + off, bytes, n);
}

static void map(struct fuzz_input *in)
{
	uint8_t pick = fuzz_u8(in);
	bool *mapped = pick & 1 ? &rom_mapped : &ram_mapped, on = pick & 2;
	uint64_t gpa = pick & 1 ? FUZZ_ROM_GPA : FUZZ_GPA, size = pick & 1 ? FUZZ_ROM : FUZZ_RAM;
	uint32_t prot = UP_VFIO_DMA_READ | (pick & 1 ? 0u : UP_VFIO_DMA_WRITE);

	if (*mapped == on)
		return;
	*mapped = on;
	if (on)
		CHECK(!vm.ops->dma_map(vm.dev, gpa, size, pick & 1 ? vm.rom : vm.ram, prot));
	else
		vm.ops->dma_unmap(vm.dev, gpa, size);
}

static void play(struct fuzz_input *in)
{
	uint32_t a, b;

	switch (fuzz_u8(in) % NR_OPERATIONS) {
	case COMMAND:
		command(in);
		break;
	case MEMORY:
		memory(in);
		break;
	case RUN:
		a = fuzz_u8(in) % MAX_ROUNDS + 1;
		b = fuzz_u8(in) % 32;
		fuzz_run(a, 1ull << b);
		break;
	case REGISTER:
		a = fuzz_u16(in);
		b = fuzz_u32(in);
		fuzz_vm_write_reg(&vm, a, b);
		break;
	case LOOK:
		look(in);
		break;
	case DOORBELL:
		doorbell(in);
		break;
	case MAP:
		map(in);
		break;
	case CONFIG:
		a = fuzz_u16(in);
		b = fuzz_u32(in);
		fuzz_vm_write_config(&vm, a % (UP_PCI_CONFIG_SIZE - 3), b);
		break;
	case RESET:
		vm.ops->reset(vm.dev);
		fuzz_vm_enable(&vm);
		break;
	default:
		a = fuzz_u8(in) % CX_MSIX_VECTORS;
		b = fuzz_u8(in) & 1;
		vm.ops->irq_set(vm.dev, UP_VFIO_IRQ_MSIX, a, b ? vector_fd : -1);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};

	vector_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	CHECK(vector_fd >= 0);
	fuzz_world_create();
	fuzz_vm_create(&vm, "fuzz", "fuzz");
	ram_mapped = rom_mapped = true;
	if (fuzz_u8(&in) & 1)
		make_objects();
	else
		fuzz_vm_enable(&vm);
	for (unsigned i = 0; i < MAX_OPERATIONS && in.left; i++)
		play(&in);
	fuzz_run(MAX_ROUNDS, 1 << 20);
	fuzz_vm_destroy(&vm);
	fuzz_world_destroy();
	close(vector_fd);
	return 0;
}
