/* SPDX-License-Identifier: BSD-2-Clause */
/* The device's PCI function. */
#ifndef UP_CONNECTX_PCI_H
#define UP_CONNECTX_PCI_H

struct cx_device;

/* Builds the configuration space and the vfio-user server (dev->server). 0 or a negative errno. */
int cx_pci_init(struct cx_device *dev);

#endif
