/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PCI Express configuration space of one function: 4096 bytes with a mask of the bits that software
 * can change. Built once by the device model, then read and written by the guest.
 *
 * Register layout: PCI Express Base Specification, chapter 7; the names of the registers are those
 * of linux/pci_regs.h. Belongs to one thread (the control thread).
 */
#ifndef UP_PCI_CONFIG_H
#define UP_PCI_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	UP_PCI_CONFIG_SIZE = 4096,
	UP_PCI_BARS = 6,
};

struct up_pci_ids {
	uint16_t vendor;
	uint16_t device;
	uint16_t subsystem_vendor;
	uint16_t subsystem;
	uint32_t class_code; /* 24 bits: base class << 16 | subclass << 8 | interface */
	uint8_t revision;
	uint8_t interrupt_pin; /* 0: no INTx */
};

/* What a PCI Express capability says (an endpoint, capability version 2). */
struct up_pci_express {
	uint8_t max_payload; /* Max_Payload_Size Supported: 128 << n bytes, n <= 5 */
	uint8_t link_speed;  /* 1: 2.5, 2: 5, 3: 8, 4: 16, 5: 32 GT/s */
	uint8_t link_width;  /* lanes: 1, 2, 4, 8, 16, 32 */
	uint8_t port;	     /* port number */
};

struct up_pci_msix {
	uint16_t vectors; /* 1..2048 */
	uint8_t table_bar;
	uint32_t table_offset; /* multiple of 8 */
	uint8_t pba_bar;
	uint32_t pba_offset; /* multiple of 8 */
};

/* Initialize with up_pci_config_init(). Fields are private to pci_config.c. */
struct up_pci_config {
	uint8_t data[UP_PCI_CONFIG_SIZE];
	uint8_t wmask[UP_PCI_CONFIG_SIZE];   /* bits that a write changes */
	uint8_t initial[UP_PCI_CONFIG_SIZE]; /* values after reset */
	uint64_t bar_size[UP_PCI_BARS];
	uint16_t next_cap; /* first free byte for a capability */
	uint16_t last_cap; /* offset of the last one, 0: none */
	uint16_t msix_cap; /* 0: none */
};

/* Building. Each returns 0 or the offset of the capability, or a negative errno. */

void up_pci_config_init(struct up_pci_config *cfg, const struct up_pci_ids *ids);

/* A 64-bit memory BAR at `bar` and bar + 1; size is a power of two, at least 16. */
int up_pci_config_add_bar64(struct up_pci_config *cfg, unsigned bar, uint64_t size,
			    bool prefetchable);

int up_pci_config_add_express(struct up_pci_config *cfg, const struct up_pci_express *exp);
int up_pci_config_add_msix(struct up_pci_config *cfg, const struct up_pci_msix *msix);
int up_pci_config_add_pm(struct up_pci_config *cfg);

/*
 * Any other capability: `len` bytes that follow the two-byte header, and the mask of its writable
 * bits (NULL: read only). Capabilities link in order of addition. -ENOSPC when the space is full.
 */
int up_pci_config_add_cap(struct up_pci_config *cfg, uint8_t id, const void *body,
			  const void *wmask, size_t len);

/* Use. */

/* Back to the values that the builder left: function reset. */
void up_pci_config_reset(struct up_pci_config *cfg);

/* Any offset and length inside the space, else -EINVAL. A write changes writable bits only. */
int up_pci_config_read(const struct up_pci_config *cfg, uint64_t off, void *buf, size_t len);
int up_pci_config_write(struct up_pci_config *cfg, uint64_t off, const void *buf, size_t len);

/*
 * For the function itself, which reads and changes any aligned word. What it changes is as after
 * reset again when up_pci_config_reset() was called.
 */
uint32_t up_pci_config_get32(const struct up_pci_config *cfg, uint16_t off);
void up_pci_config_put32(struct up_pci_config *cfg, uint16_t off, uint32_t value);

bool up_pci_config_bus_master(const struct up_pci_config *cfg); /* may the device do DMA */

#endif
