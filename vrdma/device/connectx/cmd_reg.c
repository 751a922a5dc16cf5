/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Access registers. Each handler works on the register's data: what the driver sent, copied to the
 * output, where it leaves what the driver gets.
 */
#include "device/connectx/cmd.h"

#define SPEEDS_ALL                                                                                 \
	(CX_PTYS_SPEED_SDR | CX_PTYS_SPEED_DDR | CX_PTYS_SPEED_QDR | CX_PTYS_SPEED_FDR10 |         \
	 CX_PTYS_SPEED_FDR | CX_PTYS_SPEED_EDR)
#define WIDTHS_ALL (CX_PTYS_WIDTH_1X | CX_PTYS_WIDTH_2X | CX_PTYS_WIDTH_4X)
#define LANES 4 /* virtual lanes 0 to 3 */
#define PORT_UP 1
#define NODE_DESC_BYTES 64

static enum cx_status pmtu(struct cx_cmd *c, uint8_t *reg)
{
	cx_set(reg, CX_PMTU_MAX_MTU, UP_MTU_BYTES);
	cx_set(reg, CX_PMTU_ADMIN_MTU, UP_MTU_BYTES);
	cx_set(reg, CX_PMTU_OPER_MTU, UP_MTU_BYTES);
	return CX_OK;
}

/* Four lanes at 25 Gb/s each: what a ConnectX-5 has, and every driver knows. */
static enum cx_status ptys(struct cx_cmd *c, uint8_t *reg)
{
	cx_set(reg, CX_PTYS_PROTO_MASK, CX_PTYS_PROTO_IB);
	cx_set(reg, CX_PTYS_IB_LINK_WIDTH_CAPABILITY, WIDTHS_ALL);
	cx_set(reg, CX_PTYS_IB_PROTO_CAPABILITY, SPEEDS_ALL);
	cx_set(reg, CX_PTYS_IB_LINK_WIDTH_ADMIN, WIDTHS_ALL);
	cx_set(reg, CX_PTYS_IB_PROTO_ADMIN, SPEEDS_ALL);
	cx_set(reg, CX_PTYS_IB_LINK_WIDTH_OPER, CX_PTYS_WIDTH_4X);
	cx_set(reg, CX_PTYS_IB_PROTO_OPER, CX_PTYS_SPEED_EDR);
	return CX_OK;
}

static enum cx_status paos(struct cx_cmd *c, uint8_t *reg)
{
	cx_set(reg, CX_PAOS_ADMIN_STATUS, PORT_UP);
	cx_set(reg, CX_PAOS_OPER_STATUS, PORT_UP);
	return CX_OK;
}

static enum cx_status pvlc(struct cx_cmd *c, uint8_t *reg)
{
	cx_set(reg, CX_PVLC_VL_HW_CAP, LANES);
	cx_set(reg, CX_PVLC_VL_ADMIN, LANES);
	cx_set(reg, CX_PVLC_VL_OPERATIONAL, LANES);
	return CX_OK;
}

/* Of the error counters of a link none ever counts: a copy between memories has no such errors. */
static enum cx_status ppcnt(struct cx_cmd *c, uint8_t *reg)
{
	memset(reg + CX_PPCNT_COUNTERS_AT, 0, CX_PPCNT_BYTES - CX_PPCNT_COUNTERS_AT);
	return CX_OK;
}

static enum cx_status node_desc(struct cx_cmd *c, uint8_t *reg)
{
	if (c->op_mod == CX_REG_OP_WRITE)
		up_port_set_node_desc(c->dev->port, (const char *)reg);
	else
		up_port_get_node_desc(c->dev->port, (char *)reg);
	return CX_OK;
}

/* Of the management registers those by which `devlink` asks for the firmware's version. */
static enum cx_status mcam(struct cx_cmd *c, uint8_t *reg)
{
	bool first = !cx_get(reg, CX_MCAM_ACCESS_REG_GROUP);

	cx_set(reg, CX_MCAM_MCQI, first);
	cx_set(reg, CX_MCAM_MCQS, first);
	return CX_OK;
}

/* One component, the running firmware's image. */
static enum cx_status mcqs(struct cx_cmd *c, uint8_t *reg)
{
	if (cx_get(reg, CX_MCQS_COMPONENT_INDEX))
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_ATTRIBUTE);
	cx_set(reg, CX_MCQS_LAST_INDEX_FLAG, 1);
	cx_set(reg, CX_MCQS_IDENTIFIER, CX_MCQS_IDENTIFIER_BOOT_IMG);
	cx_set(reg, CX_MCQS_COMPONENT_STATUS, CX_MCQS_STATUS_PRESENT);
	return CX_OK;
}

static enum cx_status mcqi(struct cx_cmd *c, uint8_t *reg)
{
	if (cx_get(reg, CX_MCQI_COMPONENT_INDEX))
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_ATTRIBUTE);
	if (cx_get(reg, CX_MCQI_INFO_TYPE) != CX_MCQI_INFO_TYPE_VERSION)
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_TYPE);
	cx_set(reg, CX_MCQI_INFO_SIZE, CX_MCQI_VERSION_BYTES);
	cx_set(reg, CX_MCQI_VERSION, CX_FW_VERSION);
	return CX_OK;
}

/* Every host is welcome; nothing is stored. */
static enum cx_status accept(struct cx_cmd *c, uint8_t *reg)
{
	return CX_OK;
}

struct reg {
	uint16_t id;
	uint16_t bytes; /* of the query */
	uint16_t more;	/* that the answer has */
	bool writable;
	enum cx_status (*handler)(struct cx_cmd *c, uint8_t *reg);
};

static const struct reg regs[] = {
	{CX_REG_PMTU, CX_PMTU_BYTES, 0, false, pmtu},
	{CX_REG_PTYS, CX_PTYS_BYTES, 0, false, ptys},
	{CX_REG_PAOS, CX_PAOS_BYTES, 0, true, paos},
	{CX_REG_PPCNT, CX_PPCNT_BYTES, 0, true, ppcnt},
	{CX_REG_PVLC, CX_PVLC_BYTES, 0, false, pvlc},
	{CX_REG_NODE_DESC, NODE_DESC_BYTES, 0, true, node_desc},
	{CX_REG_HOST_ENDIANNESS, 0, 0, true, accept},
	{CX_REG_MCQS, CX_MCQS_BYTES, 0, false, mcqs},
	{CX_REG_MCQI, CX_MCQI_BYTES, CX_MCQI_VERSION_BYTES, false, mcqi},
	{CX_REG_MCAM, CX_MCAM_BYTES, 0, false, mcam},
};

static const struct reg *find_reg(uint32_t id)
{
	for (unsigned i = 0; i < UP_ARRAY_SIZE(regs); i++) {
		if (regs[i].id == id)
			return &regs[i];
	}
	return NULL;
}

enum cx_status cx_access_reg(struct cx_cmd *c)
{
	const struct reg *reg = find_reg(cx_get(c->in, CX_ACCESS_REG_IN_REGISTER_ID));
	uint32_t in_bytes = c->in_len - CX_ACCESS_REG_IN_REGISTER_DATA_AT;
	uint32_t room = c->out_len - CX_ACCESS_REG_OUT_REGISTER_DATA_AT;
	uint8_t data[CX_PPCNT_BYTES] = {0};
	enum cx_status status;
	uint32_t bytes;

	static_assert(sizeof(data) >= CX_MCQI_BYTES + CX_MCQI_VERSION_BYTES,
		      "the largest register");
	if (!reg || (c->op_mod == CX_REG_OP_WRITE && !reg->writable))
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_REGISTER);
	if (in_bytes < reg->bytes)
		return cx_fail(c, CX_BAD_INP_LEN, CX_WHY_SHORT_INPUT);
	memcpy(data, c->in + CX_ACCESS_REG_IN_REGISTER_DATA_AT, reg->bytes);
	status = reg->handler(c, data);
	bytes = (uint32_t)reg->bytes + reg->more;
	if (status == CX_OK)
		memcpy(c->out + CX_ACCESS_REG_OUT_REGISTER_DATA_AT, data,
		       bytes < room ? bytes : room);
	return status;
}
