/* SPDX-License-Identifier: BSD-2-Clause */
/* Parameters from the environment (core/param.h). */
#include "core/param.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

/* What an application sets in struct up_ep_attr counts more than what stands here. */
static const struct {
	const char *name;
	uint64_t preset, min, max;
	const char *text;
	const char *preset_text;
} table[UP_PARAMS] = {
	[UP_PARAM_MAX_PEERS] = {"UNDERPASS_MAX_PEERS", 1024, 1, 1u << 20,
				"peers that may talk to an endpoint at a time"},
	[UP_PARAM_MAX_UNEXPECTED] = {"UNDERPASS_MAX_UNEXPECTED", 64u << 20, 4096, UINT32_MAX,
				     "bytes of tagged messages kept without a receive"},
	[UP_PARAM_SPIN] = {"UNDERPASS_SPIN", 20, 0, 1000000,
			   "microseconds that automatic progress and up_ep_wait() poll before they "
			   "sleep"},
	[UP_PARAM_PEER_TIMEOUT] = {"UNDERPASS_PEER_TIMEOUT", 30, 1, 86400,
				   "seconds without a sign of life after which a peer on another "
				   "host is given up"},
	[UP_PARAM_LANES] = {"UNDERPASS_LANES", 0, 0, 0,
			    "names of lanes, comma separated, best first; unset: all there are",
			    NULL},
	[UP_PARAM_OFI_PROVIDER] =
		{"UNDERPASS_OFI_PROVIDER", 0, 0, 0,
		 "libfabric providers that may carry packets between hosts, comma "
		 "separated, the first that there is",
		 "direct,net,tcp"},
	[UP_PARAM_OFI_INTERFACE] = {"UNDERPASS_OFI_INTERFACE", 0, 0, 0,
				    "network interface, or address, for packets between hosts; "
				    "unset: all there are",
				    NULL},
};

uint64_t up_param(enum up_param which)
{
	const char *value = getenv(table[which].name);
	unsigned long long n;
	char *end;

	if (!value || !*value)
		return table[which].preset;
	errno = 0;
	n = strtoull(value, &end, 0);
	if (errno || *end || *value == '-' || n < table[which].min || n > table[which].max) {
		up_log(LOG_WARNING, NULL, "%s=%s is not a number from %llu to %llu (%s)",
		       table[which].name, value, (unsigned long long)table[which].min,
		       (unsigned long long)table[which].max, table[which].text);
		return table[which].preset;
	}
	return n;
}

const char *up_param_text(enum up_param which)
{
	const char *value = getenv(table[which].name);

	return value && *value ? value : table[which].preset_text;
}
