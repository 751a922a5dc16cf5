/* SPDX-License-Identifier: BSD-2-Clause */
/* Parameters from the environment; the one table of them stands in core/param.c. */
#ifndef UP_CORE_PARAM_H
#define UP_CORE_PARAM_H

#include <stdint.h>

enum up_param {
	UP_PARAM_MAX_PEERS,
	UP_PARAM_MAX_UNEXPECTED,
	UP_PARAM_SPIN,
	UP_PARAM_PEER_TIMEOUT,
	/* Texts: up_param_text(). */
	UP_PARAM_LANES,
	UP_PARAM_OFI_PROVIDER,
	UP_PARAM_OFI_INTERFACE,
	UP_PARAMS
};

/* What the environment says now, or the default; what is no number in the range is logged and
 * ignored. Reads the environment: for the opening of things, not for the data path. */
uint64_t up_param(enum up_param which);

/* The same for texts; NULL: not set, and there is no default. */
const char *up_param_text(enum up_param which);

#endif
