/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PCI Express configuration space. Offsets and bits: PCI Express Base Specification, chapter 7
 * (type 0 header, PCI Power Management, PCI Express and MSI-X capability structures);
 * linux/pci_regs.h names them PCI_*, PCI_PM_*, PCI_EXP_* and PCI_MSIX_*.
 */
#include "vfio/pci_config.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

/* Type 0 header */
enum {
	VENDOR_ID = 0x00,
	DEVICE_ID = 0x02,
	COMMAND = 0x04,
	STATUS = 0x06,
	REVISION = 0x08,
	CLASS_INTERFACE = 0x09,
	CLASS_DEVICE = 0x0a,
	CACHE_LINE_SIZE = 0x0c,
	BAR_0 = 0x10,
	SUBSYSTEM_VENDOR_ID = 0x2c,
	SUBSYSTEM_ID = 0x2e,
	CAPABILITIES = 0x34,
	INTERRUPT_LINE = 0x3c,
	INTERRUPT_PIN = 0x3d,
	HEADER_END = 0x40,
	CAPS_END = 0x100,
};

enum {
	COMMAND_MEMORY = 1 << 1,
	COMMAND_BUS_MASTER = 1 << 2,
	COMMAND_PARITY = 1 << 6,
	COMMAND_SERR = 1 << 8,
	COMMAND_INTX_DISABLE = 1 << 10,
	STATUS_CAPABILITIES = 1 << 4,
	BAR_MEMORY_64 = 0x4,
	BAR_PREFETCHABLE = 0x8,
	BAR_FLAGS = 0xf,
};

enum { CAP_PM = 0x01, CAP_EXPRESS = 0x10, CAP_MSIX = 0x11 };

/* MSI-X message control */
enum { MSIX_FUNCTION_MASK = 1 << 14, MSIX_ENABLE = 1 << 15 };

static uint16_t get16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return le16toh(v);
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static void put16(uint8_t *p, uint16_t v)
{
	v = htole16(v);
	memcpy(p, &v, sizeof(v));
}

static void put32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

/* A builder's change to the values after reset counts at once, too. */
static void set_initial(struct up_pci_config *cfg, size_t off, const void *bytes, size_t len)
{
	memcpy(cfg->initial + off, bytes, len);
	memcpy(cfg->data + off, bytes, len);
}

void up_pci_config_init(struct up_pci_config *cfg, const struct up_pci_ids *ids)
{
	uint8_t *d = cfg->initial;

	memset(cfg, 0, sizeof(*cfg));
	put16(d + VENDOR_ID, ids->vendor);
	put16(d + DEVICE_ID, ids->device);
	d[REVISION] = ids->revision;
	d[CLASS_INTERFACE] = (uint8_t)ids->class_code;
	put16(d + CLASS_DEVICE, (uint16_t)(ids->class_code >> 8));
	put16(d + SUBSYSTEM_VENDOR_ID, ids->subsystem_vendor);
	put16(d + SUBSYSTEM_ID, ids->subsystem);
	d[INTERRUPT_PIN] = ids->interrupt_pin;
	put16(cfg->wmask + COMMAND, COMMAND_MEMORY | COMMAND_BUS_MASTER | COMMAND_PARITY |
					    COMMAND_SERR | COMMAND_INTX_DISABLE);
	cfg->wmask[CACHE_LINE_SIZE] = 0xff;
	cfg->wmask[INTERRUPT_LINE] = 0xff;
	cfg->next_cap = HEADER_END;
	up_pci_config_reset(cfg);
}

/* Address bits below the size are not writable: that is how software finds the size. */
int up_pci_config_add_bar64(struct up_pci_config *cfg, unsigned bar, uint64_t size,
			    bool prefetchable)
{
	uint64_t mask = ~(size - 1);
	uint8_t low = BAR_MEMORY_64 | (prefetchable ? BAR_PREFETCHABLE : 0);
	size_t off = BAR_0 + 4 * (size_t)bar;

	if (bar + 1 >= UP_PCI_BARS || size < 16 || size & (size - 1) || cfg->bar_size[bar] ||
	    cfg->bar_size[bar + 1])
		return -EINVAL;
	if (bar && cfg->bar_size[bar - 1])
		return -EINVAL;
	cfg->bar_size[bar] = size;
	set_initial(cfg, off, &low, 1);
	put32(cfg->wmask + off, (uint32_t)mask & ~(uint32_t)BAR_FLAGS);
	put32(cfg->wmask + off + 4, (uint32_t)(mask >> 32));
	return 0;
}

int up_pci_config_add_cap(struct up_pci_config *cfg, uint8_t id, const void *body,
			  const void *wmask, size_t len)
{
	const uint8_t header[2] = {id, 0};
	uint16_t status = STATUS_CAPABILITIES;
	uint16_t at = cfg->next_cap;
	uint8_t link = (uint8_t)at;

	if (len > (size_t)(CAPS_END - at) || len + sizeof(header) > (size_t)(CAPS_END - at))
		return -ENOSPC;
	set_initial(cfg, at, header, sizeof(header));
	set_initial(cfg, at + sizeof(header), body, len);
	if (wmask)
		memcpy(cfg->wmask + at + sizeof(header), wmask, len);
	set_initial(cfg, cfg->last_cap ? cfg->last_cap + 1u : CAPABILITIES, &link, 1);
	status = htole16(status);
	set_initial(cfg, STATUS, &status, sizeof(status));
	cfg->last_cap = at;
	cfg->next_cap = (uint16_t)((at + sizeof(header) + len + 3) & ~(size_t)3);
	return at;
}

/* PCI Express capability; offsets from its start, PCI_EXP_* */
enum {
	EXP_FLAGS = 0x02,
	EXP_DEVCAP = 0x04,
	EXP_DEVCTL = 0x08,
	EXP_LNKCAP = 0x0c,
	EXP_LNKCTL = 0x10,
	EXP_LNKSTA = 0x12,
	EXP_DEVCAP2 = 0x24,
	EXP_DEVCTL2 = 0x28,
	EXP_LNKCAP2 = 0x2c,
	EXP_LNKCTL2 = 0x30,
	EXP_SIZE = 0x3c,

	EXP_VERSION_2_ENDPOINT = 0x0002,
	EXP_DEVCAP_ROLE_BASED_ERRORS = 1 << 15,
	/* relaxed ordering and no snoop enabled, maximum read request 512 bytes */
	EXP_DEVCTL_DEFAULT = 0x2810,
	/* all but aux power, phantom functions (not offered) and function level reset */
	EXP_DEVCTL_WRITABLE = 0x79ff,
	/* ASPM, read completion boundary, common clock, extended synch */
	EXP_LNKCTL_WRITABLE = 0x00cb,
	EXP_DEVCAP2_NO_TIMEOUT = 1 << 4, /* completion timeout can be disabled */
	EXP_DEVCTL2_WRITABLE = EXP_DEVCAP2_NO_TIMEOUT,
};

int up_pci_config_add_express(struct up_pci_config *cfg, const struct up_pci_express *exp)
{
	uint16_t link = (uint16_t)(exp->link_speed | exp->link_width << 4);
	uint8_t cap[EXP_SIZE] = {0}, mask[EXP_SIZE] = {0};

	if (exp->max_payload > 5 || exp->link_speed < 1 || exp->link_speed > 5 ||
	    !exp->link_width || exp->link_width > 32)
		return -EINVAL;
	put16(cap + EXP_FLAGS, EXP_VERSION_2_ENDPOINT);
	put32(cap + EXP_DEVCAP, exp->max_payload | EXP_DEVCAP_ROLE_BASED_ERRORS);
	put16(cap + EXP_DEVCTL, EXP_DEVCTL_DEFAULT);
	put16(mask + EXP_DEVCTL, EXP_DEVCTL_WRITABLE);
	put32(cap + EXP_LNKCAP, link | (uint32_t)exp->port << 24);
	put16(cap + EXP_LNKSTA, link);
	put16(mask + EXP_LNKCTL, EXP_LNKCTL_WRITABLE);
	put32(cap + EXP_DEVCAP2, EXP_DEVCAP2_NO_TIMEOUT);
	put16(mask + EXP_DEVCTL2, EXP_DEVCTL2_WRITABLE);
	/* All speeds up to the fastest: bit n for speed n. */
	put32(cap + EXP_LNKCAP2, (2u << exp->link_speed) - 2);
	put16(cap + EXP_LNKCTL2, exp->link_speed);
	return up_pci_config_add_cap(cfg, CAP_EXPRESS, cap + 2, mask + 2, EXP_SIZE - 2);
}

static bool valid_msix(const struct up_pci_msix *msix)
{
	return msix->vectors && msix->vectors <= 2048 && msix->table_bar < UP_PCI_BARS &&
	       msix->pba_bar < UP_PCI_BARS && !((msix->table_offset | msix->pba_offset) & 7);
}

/* Control, table and pending bits; offset and BAR number share a word. */
int up_pci_config_add_msix(struct up_pci_config *cfg, const struct up_pci_msix *msix)
{
	uint8_t body[10], mask[10] = {0};
	int ret;

	if (cfg->msix_cap || !valid_msix(msix))
		return -EINVAL;
	put16(body, (uint16_t)(msix->vectors - 1));
	put16(mask, MSIX_ENABLE | MSIX_FUNCTION_MASK);
	put32(body + 2, msix->table_offset | msix->table_bar);
	put32(body + 6, msix->pba_offset | msix->pba_bar);
	ret = up_pci_config_add_cap(cfg, CAP_MSIX, body, mask, sizeof(body));
	if (ret > 0)
		cfg->msix_cap = (uint16_t)ret;
	return ret;
}

/* D0 and D3hot; coming back from D3hot keeps the configuration (No_Soft_Reset). */
int up_pci_config_add_pm(struct up_pci_config *cfg)
{
	const uint16_t version = 3, no_soft_reset = 1 << 3, power_state = 3;
	uint8_t body[6] = {0}, mask[6] = {0};

	put16(body, version);
	put16(body + 2, no_soft_reset);
	put16(mask + 2, power_state);
	return up_pci_config_add_cap(cfg, CAP_PM, body, mask, sizeof(body));
}

void up_pci_config_reset(struct up_pci_config *cfg)
{
	memcpy(cfg->data, cfg->initial, sizeof(cfg->data));
}

static bool inside(uint64_t off, size_t len)
{
	return off <= UP_PCI_CONFIG_SIZE && len <= UP_PCI_CONFIG_SIZE - off;
}

int up_pci_config_read(const struct up_pci_config *cfg, uint64_t off, void *buf, size_t len)
{
	if (!inside(off, len))
		return -EINVAL;
	memcpy(buf, cfg->data + off, len);
	return 0;
}

int up_pci_config_write(struct up_pci_config *cfg, uint64_t off, const void *buf, size_t len)
{
	const uint8_t *from = buf;
	size_t i;

	if (!inside(off, len))
		return -EINVAL;
	for (i = 0; i < len; i++) {
		uint8_t mask = cfg->wmask[off + i];
		uint8_t *to = &cfg->data[off + i];

		*to = (uint8_t)((*to & ~mask) | (from[i] & mask));
	}
	return 0;
}

uint32_t up_pci_config_get32(const struct up_pci_config *cfg, uint16_t off)
{
	return get32(cfg->data + off);
}

void up_pci_config_put32(struct up_pci_config *cfg, uint16_t off, uint32_t value)
{
	put32(cfg->data + off, value);
}

bool up_pci_config_bus_master(const struct up_pci_config *cfg)
{
	return get16(cfg->data + COMMAND) & COMMAND_BUS_MASTER;
}
