/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The vendor-specific PCI capability: a gateway of registers through which drivers reach "spaces"
 * of addresses (Linux: lib/pci_vsc.c). Here is one space, semaphores, with one of them: the driver
 * holds it while it recovers from a device error. A driver that finds no gateway still tries it
 * then, at offset 0 of the configuration space, and waits seconds for it. Control thread only.
 */
#include "device/connectx/vsc.h"

#include "device/connectx/connectx.h"

#include <endian.h>
#include <string.h>

#define CAP_VENDOR 0x09

/* VSC_*_OFFSET, from the capability's start */
enum {
	CTRL = 0x04,	  /* space in bits 0-15, status from 29 on: not zero where there is such */
	COUNTER = 0x08,	  /* a number that nobody has used yet */
	SEMAPHORE = 0x0c, /* of the gateway itself; 0: free */
	ADDR = 0x10,
	DATA = 0x14,
	SIZE = 0x18,
};

#define SPACE_MASK 0xffffu
#define SPACE_EXISTS (1u << 29)
#define SPACE_SEMAPHORES 0x0a /* MLX5_SEMAPHORE_SPACE_DOMAIN */

/* ADDR: the flag names the direction, and turns over when that is done */
#define FLAG_WRITE (1u << 31)
#define SYNDROME (1u << 30)
#define ADDRESS_MASK (SYNDROME - 1)
#define ADDRESS_SW_RESET 0x20 /* MLX5_SEMAPHORE_SW_RESET */

static uint32_t get(const struct cx_device *dev, uint32_t reg)
{
	return up_pci_config_get32(&dev->pci, (uint16_t)(dev->vsc + reg));
}

static void set(struct cx_device *dev, uint32_t reg, uint32_t value)
{
	up_pci_config_put32(&dev->pci, (uint16_t)(dev->vsc + reg), value);
}

int cx_vsc_init(struct cx_device *dev)
{
	const uint32_t first = htole32(1);
	uint8_t body[SIZE - 2] = {SIZE};
	int ret;

	memcpy(body + COUNTER - 2, &first, sizeof(first));
	ret = up_pci_config_add_cap(&dev->pci, CAP_VENDOR, body, NULL, sizeof(body));
	if (ret < 0)
		return ret;
	dev->vsc = (uint16_t)ret;
	return 0;
}

void cx_vsc_reset(struct cx_device *dev)
{
	dev->sw_reset_holder = 0;
}

static void set_space(struct cx_device *dev, uint32_t space)
{
	set(dev, CTRL, space | (space == SPACE_SEMAPHORES ? SPACE_EXISTS : 0));
}

/* Taken with the counter's number, and only when free; given back with 0. */
static void take(struct cx_device *dev, uint32_t value)
{
	uint32_t next = get(dev, COUNTER) + 1;

	if (value && get(dev, SEMAPHORE))
		return;
	set(dev, SEMAPHORE, value);
	set(dev, COUNTER, next ? next : 1);
}

static void exchange(struct cx_device *dev, uint32_t addr)
{
	bool known = (get(dev, CTRL) & SPACE_MASK) == SPACE_SEMAPHORES &&
		     (addr & ADDRESS_MASK) == ADDRESS_SW_RESET;
	uint32_t data = get(dev, DATA);

	if (!known)
		addr |= SYNDROME;
	else if (!(addr & FLAG_WRITE))
		set(dev, DATA, dev->sw_reset_holder);
	else if (!data || !dev->sw_reset_holder)
		dev->sw_reset_holder = data;
	set(dev, ADDR, addr ^ FLAG_WRITE);
}

void cx_vsc_write(struct cx_device *dev, uint64_t off, const void *buf, size_t len)
{
	uint32_t value;

	if (len != sizeof(value) || off < dev->vsc)
		return;
	memcpy(&value, buf, sizeof(value));
	value = le32toh(value);
	switch (off - dev->vsc) {
	case CTRL:
		set_space(dev, value & SPACE_MASK);
		break;
	case SEMAPHORE:
		take(dev, value);
		break;
	case ADDR:
		exchange(dev, value);
		break;
	case DATA:
		set(dev, DATA, value);
		break;
	default:
		break; /* read only, or another capability's */
	}
}
