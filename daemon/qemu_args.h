/* SPDX-License-Identifier: BSD-2-Clause */
/* The QEMU arguments that attach a VM to a port. */
#ifndef UP_DAEMON_QEMU_ARGS_H
#define UP_DAEMON_QEMU_ARGS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* "512M", "2G", "1T", or a number of MiB as QEMU's -m has it; at least 1 MiB, at most 16 TiB. */
bool up_parse_memory(const char *text, uint64_t *mib);

/*
 * A new array of arguments: the VM's memory as shared memory, which the device needs, and the
 * device. mib 0: the device only. NULL: no memory.
 */
json_t *up_qemu_args(const char *socket, uint64_t mib);

#endif
