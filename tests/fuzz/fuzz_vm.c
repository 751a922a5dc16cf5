/* SPDX-License-Identifier: BSD-2-Clause */
/* Virtual machines for fuzzers (fuzz_vm.h): the vfio-user server's stand-in, memory, commands. */
#include "fuzz_vm.h"

#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

struct up_vfio_server {
	const struct up_vfio_dev_ops *ops;
	void *dev;
	int fd;
	atomic_bool tripped;
	uint64_t memory;
	struct up_vfio_stats stats;
};

static struct up_fabric *fabric;

int up_vfio_server_create(const char *path, const struct up_vfio_config *cfg,
			  const struct up_vfio_dev_ops *ops, void *dev, struct up_vfio_server **out)
{
	struct up_vfio_server *s = calloc(1, sizeof(*s));

	CHECK(s && !path);
	s->ops = ops;
	s->dev = dev;
	s->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	CHECK(s->fd >= 0);
	*out = s;
	return 0;
}

void up_vfio_server_destroy(struct up_vfio_server *s)
{
	close(s->fd);
	free(s);
}

int up_vfio_server_fd(const struct up_vfio_server *s)
{
	return s->fd;
}

int up_vfio_server_process(struct up_vfio_server *s)
{
	return 0;
}

void up_vfio_server_set_mmap_fd(struct up_vfio_server *s, unsigned region, int fd)
{
}

const atomic_bool *up_vfio_server_tripped(const struct up_vfio_server *s)
{
	return &s->tripped;
}

const uint64_t *up_vfio_server_memory(const struct up_vfio_server *s)
{
	return &s->memory;
}

bool up_vfio_server_connected(const struct up_vfio_server *s)
{
	return true;
}

const struct up_vfio_stats *up_vfio_server_stats(const struct up_vfio_server *s)
{
	return &s->stats;
}

void fuzz_world_create(void)
{
	struct up_fabric_config cfg = UP_FABRIC_CONFIG_DEFAULT;

	/* Small, so that many messages take several turns. */
	cfg.quantum_bytes = FUZZ_PAGE;
	fabric = up_fabric_create(&cfg);
	CHECK(fabric);
}

void fuzz_world_destroy(void)
{
	up_fabric_destroy(fabric);
}

/* Memory with a page on either side that faults. */
static uint8_t *guarded(size_t bytes, int prot)
{
	uint8_t *at = mmap(NULL, bytes + 2 * FUZZ_PAGE, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	CHECK(at != MAP_FAILED);
	CHECK(!mprotect(at + FUZZ_PAGE, bytes, prot));
	return at + FUZZ_PAGE;
}

static void unguard(uint8_t *at, size_t bytes)
{
	munmap(at - FUZZ_PAGE, bytes + 2 * FUZZ_PAGE);
}

void fuzz_vm_create(struct fuzz_vm *vm, const char *name, const char *tenant)
{
	const struct cx_device_config cfg = {0};

	memset(vm, 0, sizeof(*vm));
	vm->port = up_port_create(fabric, name, tenant, 0);
	CHECK(vm->port);
	vm->dev = cx_device_create(vm->port, &cfg);
	CHECK(vm->dev);
	vm->server = vm->dev->server;
	vm->ops = vm->server->ops;
	vm->ram = guarded(FUZZ_RAM, PROT_READ | PROT_WRITE);
	vm->rom = guarded(FUZZ_ROM, PROT_READ);
	vm->ops->connected(vm->dev);
	CHECK(!vm->ops->dma_map(vm->dev, FUZZ_GPA, FUZZ_RAM, vm->ram,
				UP_VFIO_DMA_READ | UP_VFIO_DMA_WRITE));
	CHECK(!vm->ops->dma_map(vm->dev, FUZZ_ROM_GPA, FUZZ_ROM, vm->rom, UP_VFIO_DMA_READ));
}

static void check_empty(const struct cx_device *dev)
{
	CHECK(!dev->hca.qps.used && !dev->hca.srqs.used && !dev->hca.mrs.used);
	CHECK(!dev->cqs.used && !dev->pds.used && !dev->xrcds.used && !dev->counters.used);
	CHECK(!dev->uctxs.used && !dev->umems.used);
	CHECK(!dev->list_bytes && !dev->hca.mr_bytes);
	CHECK(!dev->sweep_count && !dev->uar_watch_count && up_list_empty(&dev->watch));
	for (unsigned i = 0; i < CX_MAX_EQ; i++)
		CHECK(!dev->eqs[i]);
}

/* In the order in which the server takes leave of a client. */
void fuzz_vm_destroy(struct fuzz_vm *vm)
{
	vm->ops->reset(vm->dev);
	for (unsigned i = 0; i < CX_MSIX_VECTORS; i++) {
		if (vm->dev->vectors[i] >= 0)
			vm->ops->irq_set(vm->dev, UP_VFIO_IRQ_MSIX, i, -1);
	}
	vm->ops->dma_unmap(vm->dev, FUZZ_GPA, FUZZ_RAM);
	vm->ops->dma_unmap(vm->dev, FUZZ_ROM_GPA, FUZZ_ROM);
	unguard(vm->ram, FUZZ_RAM);
	unguard(vm->rom, FUZZ_ROM);
	vm->ops->disconnected(vm->dev);
	check_empty(vm->dev);
	cx_device_destroy(vm->dev);
}

void fuzz_vm_write_reg(struct fuzz_vm *vm, uint32_t off, uint32_t value)
{
	uint8_t word[4];

	up_put_be32(word, value);
	vm->ops->region_write(vm->dev, UP_VFIO_REGION_BAR0, off, word, sizeof(word));
}

/* Configuration space is little endian. */
void fuzz_vm_write_config(struct fuzz_vm *vm, uint32_t off, uint32_t value)
{
	value = htole32(value);
	vm->ops->region_write(vm->dev, UP_VFIO_REGION_CONFIG, off, &value, sizeof(value));
}

static struct cx_mailbox *box(const struct fuzz_vm *vm, unsigned way, unsigned i)
{
	unsigned n = way * FUZZ_NBOXES + i % FUZZ_NBOXES;

	return (void *)fuzz_at(vm, FUZZ_BOXES, n * FUZZ_BOX_BYTES);
}

static uint64_t box_gpa(const struct fuzz_vm *vm, unsigned way, unsigned i)
{
	return FUZZ_GPA + (uint64_t)((uint8_t *)box(vm, way, i) - vm->ram);
}

static uint32_t at_most(uint32_t n, uint32_t limit)
{
	return n < limit ? n : limit;
}

/* As many mailboxes as `len` takes, all zero, one after the other. */
static void link_boxes(struct fuzz_vm *vm, unsigned way, uint32_t len)
{
	for (unsigned i = 0; i < FUZZ_NBOXES && i * CX_MBOX_DATA < len; i++) {
		memset(box(vm, way, i), 0, sizeof(struct cx_mailbox));
		up_put_be64(box(vm, way, i)->next, box_gpa(vm, way, i + 1));
	}
}

static void fill_boxes(struct fuzz_vm *vm, const struct fuzz_command *c)
{
	uint32_t done = at_most(c->have, CX_CMD_INLINE);

	link_boxes(vm, 0, c->in_len);
	link_boxes(vm, 1, c->out_len);
	for (unsigned i = 0; i < FUZZ_NBOXES && done < c->have; i++) {
		uint32_t n = at_most(c->have - done, CX_MBOX_DATA);

		memcpy(box(vm, 0, i)->data, c->in + done, n);
		done += n;
	}
}

static void read_boxes(struct fuzz_vm *vm, const struct fuzz_command *c, const uint8_t *first)
{
	uint32_t done = at_most(c->want, CX_CMD_INLINE);

	memcpy(c->out, first, done);
	for (unsigned i = 0; i < FUZZ_NBOXES && done < c->want; i++) {
		uint32_t n = at_most(c->want - done, CX_MBOX_DATA);

		memcpy(c->out + done, box(vm, 1, i)->data, n);
		done += n;
	}
}

uint8_t fuzz_vm_command(struct fuzz_vm *vm, const struct fuzz_command *c)
{
	struct cx_cmd_slot *slot = (void *)fuzz_at(vm, FUZZ_CMDQ, 0);

	fill_boxes(vm, c);
	memset(slot, 0, sizeof(*slot));
	slot->type = CX_CMD_TYPE;
	up_put_be32(slot->inlen, c->in_len);
	up_put_be32(slot->outlen, c->out_len);
	up_put_be64(slot->in_ptr, box_gpa(vm, 0, 0));
	up_put_be64(slot->out_ptr, box_gpa(vm, 1, 0));
	memcpy(slot->in, c->in, at_most(c->have, CX_CMD_INLINE));
	slot->status_own = CX_CMD_OWNER_HW;
	fuzz_vm_write_reg(vm, CX_ISEG_CMD_DBELL, 1);
	while (vm->dev->work_set)
		CHECK(cx_device_process(vm->dev) == 0);
	read_boxes(vm, c, slot->out);
	return slot->status_own;
}
