/* SPDX-License-Identifier: BSD-2-Clause */
/* The provider's entry, its parameters, and the translation of errors. */
#include "provider.h"

#ifndef EXTERNALLY_VISIBLE
#define EXTERNALLY_VISIBLE
#endif

struct upf_params upf_params = {
	.tx_size = 4096,
	.rx_size = 65536,
	.cq_size = 65536,
};

int upf_error(int error)
{
	switch (-error) {
	case EMSGSIZE:
		return -FI_ETRUNC;
	case ENOKEY:
		return -FI_ENOKEY;
	case ERANGE:
		return -FI_EACCES;
	case EPROTO:
		return -FI_EIO;
	case EPROTONOSUPPORT:
		return -FI_EOPNOTSUPP;
	default:
		/* The rest has the numbers of errno in libfabric too. */
		return error;
	}
}

static void get_size(const char *name, size_t *value)
{
	size_t given;

	if (!fi_param_get_size_t(&upf_provider, name, &given) && given && given <= 1u << 24)
		*value = given;
}

static void cleanup(void)
{
}

struct fi_provider upf_provider = {
	.version = UPF_PROV_VERSION,
	/* What this was compiled for: the structures have that version's shape. */
	.fi_version = FI_VERSION(FI_MAJOR_VERSION, FI_MINOR_VERSION),
	.name = UPF_NAME,
	.getinfo = upf_getinfo,
	.fabric = upf_fabric_open,
	.cleanup = cleanup,
};

/* No header has it. */
struct fi_provider *fi_prov_ini(void);

FI_EXT_INI
{
	fi_param_define(&upf_provider, "tx_size", FI_PARAM_SIZE_T,
			"Operations that an endpoint may have open (default: %zu)",
			upf_params.tx_size);
	fi_param_define(&upf_provider, "rx_size", FI_PARAM_SIZE_T,
			"Receives that an endpoint may have posted (default: %zu)",
			upf_params.rx_size);
	fi_param_define(&upf_provider, "cq_size", FI_PARAM_SIZE_T,
			"Completions that a queue holds, unless its user says a number, before no "
			"more operations start (default: %zu)",
			upf_params.cq_size);
	get_size("tx_size", &upf_params.tx_size);
	get_size("rx_size", &upf_params.rx_size);
	get_size("cq_size", &upf_params.cq_size);
	return &upf_provider;
}
