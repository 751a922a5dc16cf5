/* SPDX-License-Identifier: BSD-2-Clause */
/* The QEMU arguments that attach a VM to a port. */
#include "daemon/qemu_args.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY_ID "underpass-ram"
#define MAX_MIB (16ull << 20)
/*
 * QEMU gives the device up for good when an answer is not there in time, by default in 5 s. That is
 * less than a host may stand still (memory reclaim, a debugger); a daemon that died closes its
 * sockets, and is not waited for.
 */
#define ANSWER_MS 120000

bool up_parse_memory(const char *text, uint64_t *mib)
{
	static const char units[] = "MGT";
	const char *unit;
	char *end;
	uint64_t n;

	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno || n > MAX_MIB)
		return false;
	if (*end) {
		unit = strchr(units, *end);
		if (!unit || end[1])
			return false;
		n <<= 10 * (unit - units);
	}
	*mib = n;
	return n >= 1 && n <= MAX_MIB;
}

static json_t *device(const char *socket)
{
	json_t *device, *arg;
	char *text;

	device = json_pack("{s:s, s:{s:s, s:s}, s:i}", "driver", "vfio-user-pci", "socket", "path",
			   socket, "type", "unix", "x-msg-timeout", ANSWER_MS);
	text = device ? json_dumps(device, JSON_COMPACT) : NULL;
	arg = text ? json_string(text) : NULL;
	free(text);
	json_decref(device);
	return arg;
}

json_t *up_qemu_args(const char *socket, uint64_t mib)
{
	json_t *args = json_array();

	if (mib) {
		json_array_append_new(args, json_string("-m"));
		json_array_append_new(args, json_sprintf("%" PRIu64 "M", mib));
		json_array_append_new(args, json_string("-object"));
		json_array_append_new(args, json_sprintf("memory-backend-memfd,id=" MEMORY_ID
							 ",size=%" PRIu64 "M,share=on",
							 mib));
		json_array_append_new(args, json_string("-machine"));
		json_array_append_new(args, json_string("memory-backend=" MEMORY_ID));
	}
	json_array_append_new(args, json_string("-device"));
	json_array_append_new(args, device(socket));
	return args;
}
