/* SPDX-License-Identifier: BSD-2-Clause */
/* Commands on the adapter as a whole: bringing it up and down, and what it is. */
#include "device/connectx/cmd.h"

#define VENDOR_ID 0x02c9	    /* the IEEE's number for the maker of the real device */
#define BOARD_ID "UNDERPASS_000001" /* shown by ibv_devinfo; 16 bytes without NUL */

enum cx_status cx_enable_hca(struct cx_cmd *c)
{
	c->dev->hca_enabled = true;
	return CX_OK;
}

enum cx_status cx_disable_hca(struct cx_cmd *c)
{
	cx_device_stop(c->dev);
	c->dev->hca_enabled = false;
	return CX_OK;
}

enum cx_status cx_init_hca(struct cx_cmd *c)
{
	if (c->dev->hca_running)
		return cx_fail(c, CX_BAD_SYS_STATE, CX_WHY_STATE);
	c->again = !cx_remains_settle(c->dev);
	if (c->again)
		return CX_OK;
	if (cx_special_mkeys_create(c->dev))
		return cx_fail(c, CX_NO_RES, CX_WHY_NO_MEMORY);
	cx_device_start(c->dev);
	return CX_OK;
}

enum cx_status cx_teardown_hca(struct cx_cmd *c)
{
	uint32_t profile = cx_get(c->in, CX_TEARDOWN_HCA_IN_PROFILE);

	/* The driver then disables the interface (iseg.c), which ends everything. */
	if (profile == CX_TEARDOWN_PREPARE_FAST)
		return CX_OK;
	if (profile > CX_TEARDOWN_PREPARE_FAST)
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_TYPE);
	cx_device_stop(c->dev);
	return CX_OK;
}

/* The device keeps its state in the host's memory, and never needs a page of the guest's. */
enum cx_status cx_query_pages(struct cx_cmd *c)
{
	cx_set(c->out, CX_QUERY_PAGES_OUT_NUM_PAGES, 0);
	return CX_OK;
}

enum cx_status cx_manage_pages(struct cx_cmd *c)
{
	if (c->op_mod == CX_PAGES_GIVE && cx_get(c->in, CX_MANAGE_PAGES_IN_INPUT_NUM_ENTRIES))
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_ATTRIBUTE);
	cx_set(c->out, CX_MANAGE_PAGES_OUT_OUTPUT_NUM_ENTRIES, 0);
	return CX_OK;
}

enum cx_status cx_query_issi(struct cx_cmd *c)
{
	cx_set(c->out, CX_QUERY_ISSI_OUT_CURRENT_ISSI, c->dev->issi);
	cx_set(c->out, CX_QUERY_ISSI_OUT_SUPPORTED_ISSI_DW0, 1u << 0 | 1u << 1);
	return CX_OK;
}

enum cx_status cx_set_issi(struct cx_cmd *c)
{
	uint32_t issi = cx_get(c->in, CX_SET_ISSI_IN_CURRENT_ISSI);

	if (issi > 1)
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_TYPE);
	c->dev->issi = (uint8_t)issi;
	return CX_OK;
}

enum cx_status cx_query_adapter(struct cx_cmd *c)
{
	static_assert(sizeof(BOARD_ID) == 16 + 1, "vsd_contd_psid");

	cx_set(c->out, CX_QUERY_ADAPTER_OUT_IEEE_VENDOR_ID, VENDOR_ID);
	cx_set(c->out, CX_QUERY_ADAPTER_OUT_VSD_VENDOR_ID, VENDOR_ID);
	memcpy(c->out + CX_QUERY_ADAPTER_OUT_VSD_CONTD_PSID_AT, BOARD_ID, 16);
	return CX_OK;
}

enum cx_status cx_query_special_contexts(struct cx_cmd *c)
{
	cx_set(c->out, CX_QUERY_SPECIAL_CONTEXTS_OUT_DUMP_FILL_MKEY, c->dev->null_key);
	cx_set(c->out, CX_QUERY_SPECIAL_CONTEXTS_OUT_RESD_LKEY, c->dev->reserved_key);
	return CX_OK;
}

enum cx_status cx_nop(struct cx_cmd *c)
{
	return CX_OK;
}
