/* SPDX-License-Identifier: BSD-2-Clause */
/* The vendor-specific capability of the PCI function. */
#ifndef UP_CONNECTX_VSC_H
#define UP_CONNECTX_VSC_H

#include <stddef.h>
#include <stdint.h>

struct cx_device;

/* Adds it to the configuration space; 0 or a negative errno. */
int cx_vsc_init(struct cx_device *dev);
/* With up_pci_config_reset(), which resets its registers. */
void cx_vsc_reset(struct cx_device *dev);
/* A write to configuration space, whole registers of it alone count. */
void cx_vsc_write(struct cx_device *dev, uint64_t off, const void *buf, size_t len);

#endif
