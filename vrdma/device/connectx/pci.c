/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device's PCI function, as the vfio-user server presents it: configuration space, BAR 0,
 * interrupts, and the guest memory that it may reach. Control thread; what workers read changes
 * with the world stopped.
 */
#include "device/connectx/pci.h"

#include "base/log.h"
#include "device/connectx/cmd.h"
#include "device/connectx/vsc.h"

#include <errno.h>

#define PCI_VENDOR 0x15b3
#define PCI_DEVICE 0x1017 /* ConnectX-5 */
#define PCI_SUBSYSTEM 0x0001
#define PCI_CLASS_INFINIBAND 0x020700
#define PCI_MAX_PAYLOAD 1 /* 256 bytes */
#define PCI_8_GT 3
#define PCI_LANES 16

/* A range without a host mapping (a ROM, another device's BAR) is nothing that we can reach. */
static int dma_map(void *arg, uint64_t iova, uint64_t size, void *hva, uint32_t prot)
{
	struct cx_device *dev = arg;
	int err;

	if (!hva || !(prot & UP_VFIO_DMA_READ))
		return 0;
	err = up_mem_plan_add(&dev->hca.mem, iova, size, hva, prot & UP_VFIO_DMA_WRITE);
	if (err)
		return err;
	up_world_stop(dev->port->fabric);
	up_mem_commit(&dev->hca.mem);
	up_world_start(dev->port->fabric);
	return 0;
}

/*
 * The memory stays where it is until this returns; from then on no worker uses an address in it, as
 * each looks at the map's epoch first.
 */
static void dma_unmap(void *arg, uint64_t iova, uint64_t size)
{
	struct cx_device *dev = arg;

	up_mem_plan_remove(&dev->hca.mem, iova, size);
	up_world_stop(dev->port->fabric);
	up_mem_commit(&dev->hca.mem);
	up_world_start(dev->port->fabric);
}

static int bar_read(struct cx_device *dev, uint64_t off, void *buf, size_t len)
{
	if (off < sizeof(dev->iseg))
		return cx_iseg_read(dev, off, buf, len);
	if (off >= CX_UAR_OFFSET)
		memcpy(buf, dev->uar_mem + off, len);
	return 0;
}

static int bar_write(struct cx_device *dev, uint64_t off, const void *buf, size_t len)
{
	if (off < sizeof(dev->iseg))
		return cx_iseg_write(dev, off, buf, len);
	if (off >= CX_UAR_OFFSET)
		cx_uar_write(dev, off, buf, len);
	return 0;
}

/*
 * Without bus mastering the function must leave memory alone. A driver takes it away when it is
 * done; one that did so in mid-flight has to start over.
 */
static int config_write(struct cx_device *dev, uint64_t off, const void *buf, size_t len)
{
	int err = up_pci_config_write(&dev->pci, off, buf, len);
	bool bus_master = up_pci_config_bus_master(&dev->pci);

	if (dev->bus_master && !bus_master) {
		cx_cmd_cancel(dev);
		cx_device_stop(dev);
	}
	dev->bus_master = bus_master;
	cx_vsc_write(dev, off, buf, len);
	return err;
}

static int region_read(void *arg, unsigned region, uint64_t off, void *buf, size_t len)
{
	struct cx_device *dev = arg;

	if (region == UP_VFIO_REGION_CONFIG)
		return up_pci_config_read(&dev->pci, off, buf, len);
	return bar_read(dev, off, buf, len);
}

static int region_write(void *arg, unsigned region, uint64_t off, const void *buf, size_t len)
{
	struct cx_device *dev = arg;

	if (region == UP_VFIO_REGION_CONFIG)
		return config_write(dev, off, buf, len);
	return bar_write(dev, off, buf, len);
}

static void reset(void *arg)
{
	struct cx_device *dev = arg;

	cx_device_reset(dev);
	up_pci_config_reset(&dev->pci);
	cx_vsc_reset(dev);
	dev->bus_master = false;
}

/* What was raised while the vector was off is raised now: a driver bears an interrupt too many. */
static void irq_set(void *arg, unsigned index, unsigned vector, int eventfd)
{
	struct cx_device *dev = arg;

	if (index != UP_VFIO_IRQ_MSIX || vector >= CX_MSIX_VECTORS)
		return;
	up_world_stop(dev->port->fabric);
	dev->vectors[vector] = eventfd;
	for (unsigned i = 0; i < CX_MAX_EQ; i++) {
		struct cx_eq *eq = dev->eqs[i];

		if (eq && eq->vector == vector && eq->producer)
			cx_eq_interrupt(eq);
	}
	up_world_start(dev->port->fabric);
}

static void connected(void *arg)
{
	struct cx_device *dev = arg;

	up_port_attach(dev->port, &dev->hca);
}

static void disconnected(void *arg)
{
	struct cx_device *dev = arg;

	up_port_detach(dev->port);
	cx_uar_renew(dev);
}

static const struct up_vfio_dev_ops vfio_ops = {
	.dma_map = dma_map,
	.dma_unmap = dma_unmap,
	.region_read = region_read,
	.region_write = region_write,
	.reset = reset,
	.irq_set = irq_set,
	.connected = connected,
	.disconnected = disconnected,
};

static int build_config(struct cx_device *dev)
{
	const struct up_pci_ids ids = {
		.vendor = PCI_VENDOR,
		.device = PCI_DEVICE,
		.subsystem_vendor = PCI_VENDOR,
		.subsystem = PCI_SUBSYSTEM,
		.class_code = PCI_CLASS_INFINIBAND,
	};
	const struct up_pci_express express = {
		.max_payload = PCI_MAX_PAYLOAD,
		.link_speed = PCI_8_GT,
		.link_width = PCI_LANES,
	};
	const struct up_pci_msix msix = {
		.vectors = CX_MSIX_VECTORS,
		.table_offset = CX_MSIX_TABLE,
		.pba_offset = CX_MSIX_PBA,
	};
	struct up_pci_config *pci = &dev->pci;
	int ret;

	up_pci_config_init(pci, &ids);
	ret = up_pci_config_add_bar64(pci, UP_VFIO_REGION_BAR0, CX_BAR0_SIZE, true);
	if (ret >= 0)
		ret = up_pci_config_add_express(pci, &express);
	if (ret >= 0)
		ret = up_pci_config_add_msix(pci, &msix);
	if (ret >= 0)
		ret = up_pci_config_add_pm(pci);
	if (ret >= 0)
		ret = cx_vsc_init(dev);
	return ret < 0 ? ret : 0;
}

int cx_pci_init(struct cx_device *dev)
{
	const struct up_vfio_area uars = {CX_UAR_OFFSET, CX_BAR0_SIZE - CX_UAR_OFFSET};
	const uint32_t both = UP_VFIO_REGION_READ | UP_VFIO_REGION_WRITE;
	struct up_vfio_region regions[UP_VFIO_PCI_REGIONS] = {
		[UP_VFIO_REGION_BAR0] = {.size = CX_BAR0_SIZE, .flags = both},
		[UP_VFIO_REGION_CONFIG] = {.size = UP_PCI_CONFIG_SIZE, .flags = both},
	};
	const struct up_vfio_irq irqs[UP_VFIO_PCI_IRQS] = {
		[UP_VFIO_IRQ_MSIX] = {.count = CX_MSIX_VECTORS},
	};
	const struct up_vfio_config cfg = {
		.name = dev->port->name,
		.socket_mode = (mode_t)dev->cfg.socket_mode,
		.regions = regions,
		.nr_regions = UP_VFIO_PCI_REGIONS,
		.irqs = irqs,
		.nr_irqs = UP_VFIO_PCI_IRQS,
	};
	int err = build_config(dev);

	if (err) {
		up_log(LOG_ERR, dev->port->name, "PCI configuration space: %s", strerror(-err));
		return err;
	}
	if (!dev->cfg.trap_doorbells) {
		regions[UP_VFIO_REGION_BAR0].flags |= UP_VFIO_REGION_MMAP;
		regions[UP_VFIO_REGION_BAR0].mmap_fd = dev->uar_fd;
		regions[UP_VFIO_REGION_BAR0].areas = &uars;
		regions[UP_VFIO_REGION_BAR0].nr_areas = 1;
	}
	return up_vfio_server_create(dev->cfg.socket_path, &cfg, &vfio_ops, dev, &dev->server);
}
