/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Commands on the port: its addresses, states and counters. There is one port, and one virtual
 * port of it; that of another function does not exist.
 */
#include "device/connectx/cmd.h"

/* PortInfo.CapabilityMask, 14.2.5.6 of the specification. */
#define CAP_SM (1u << 1)
#define CAP_SL_MAPPING (1u << 6)
#define CAP_SYSTEM_IMAGE_GUID (1u << 11)
#define CAP_EXTENDED_SPEEDS (1u << 14)
#define CAP_COMM_MANAGEMENT (1u << 16)
#define CAP_SNMP_TUNNELING (1u << 17)
#define CAP_DEVICE_MANAGEMENT (1u << 19)
#define CAP_VENDOR_CLASS (1u << 20)

#define CAPS_FIXED (CAP_SL_MAPPING | CAP_SYSTEM_IMAGE_GUID | CAP_EXTENDED_SPEEDS)
/* What management software in the guest may announce. */
#define CAPS_SETTABLE                                                                              \
	(CAP_SM | CAP_COMM_MANAGEMENT | CAP_SNMP_TUNNELING | CAP_DEVICE_MANAGEMENT |               \
	 CAP_VENDOR_CLASS)

/* PortInfo.PortState and PortPhysicalState */
#define STATE_DOWN 1
#define STATE_ACTIVE 4
#define PHYS_POLLING 2
#define PHYS_LINK_UP 5

#define SUBNET_TIMEOUT 18 /* 4.096 us << 18: a second */
#define GID_TABLE_SIZE 8
#define GID_PREFIX_BYTES 8
#define PKEY_TABLE_SIZE 128

static enum cx_status check_vport(struct cx_cmd *c)
{
	if (cx_get(c->in, CX_VPORT_IN_OTHER_VPORT) || cx_get(c->in, CX_VPORT_IN_PORT_NUM) > 1)
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_TYPE);
	return CX_OK;
}

enum cx_status cx_query_vport_state(struct cx_cmd *c)
{
	enum cx_status status = check_vport(c);

	if (status != CX_OK)
		return status;
	/* MLX5_VPORT_ADMIN_STATE_UP, and MLX5_VPORT_STATE_UP or _DOWN */
	cx_set(c->out, CX_QUERY_VPORT_STATE_OUT_ADMIN_STATE, 1);
	cx_set(c->out, CX_QUERY_VPORT_STATE_OUT_STATE, c->dev->port->active);
	return CX_OK;
}

enum cx_status cx_query_hca_vport_context(struct cx_cmd *c)
{
	uint8_t *hvc = c->out + CX_QUERY_HCA_VPORT_CONTEXT_OUT_HVC_AT;
	const struct up_port *port = c->dev->port;
	uint32_t state = port->active ? STATE_ACTIVE : STATE_DOWN;
	enum cx_status status = check_vport(c);

	if (status != CX_OK)
		return status;
	cx_set(hvc, CX_HVC_HAS_SMI, 1);
	cx_set(hvc, CX_HVC_PORT_PHYSICAL_STATE, port->active ? PHYS_LINK_UP : PHYS_POLLING);
	cx_set(hvc, CX_HVC_PORT_STATE, state);
	cx_set(hvc, CX_HVC_VPORT_STATE, state);
	cx_set64(hvc, CX_HVC_SYSTEM_IMAGE_GUID, port->guid);
	cx_set64(hvc, CX_HVC_PORT_GUID, port->guid);
	cx_set64(hvc, CX_HVC_NODE_GUID, port->guid);
	cx_set(hvc, CX_HVC_CAP_MASK1,
	       CAPS_FIXED | atomic_load_explicit(&c->dev->hca.port_caps, memory_order_relaxed));
	cx_set(hvc, CX_HVC_CAP_MASK1_FIELD_SELECT, CAPS_SETTABLE);
	cx_set(hvc, CX_HVC_LID, port->lid);
	cx_set(hvc, CX_HVC_SUBNET_TIMEOUT, SUBNET_TIMEOUT);
	cx_set(hvc, CX_HVC_SM_LID, UP_SM_LID);
	return CX_OK;
}

enum cx_status cx_modify_hca_vport_context(struct cx_cmd *c)
{
	const uint8_t *hvc = c->in + CX_MODIFY_HCA_VPORT_CONTEXT_IN_HVC_AT;
	uint32_t select = cx_get(hvc, CX_HVC_CAP_MASK1_FIELD_SELECT);
	enum cx_status status = check_vport(c);
	uint32_t caps;

	if (status != CX_OK)
		return status;
	/* GUIDs and the state's policy are the host's to choose. */
	if (cx_get(hvc, CX_HVC_FIELD_SELECT) || (select & ~CAPS_SETTABLE))
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_ATTRIBUTE);
	caps = atomic_load_explicit(&c->dev->hca.port_caps, memory_order_relaxed);
	caps = (caps & ~select) | (cx_get(hvc, CX_HVC_CAP_MASK1) & select);
	atomic_store_explicit(&c->dev->hca.port_caps, caps, memory_order_relaxed);
	return CX_OK;
}

/* An entry of a table, or all of them: what fits the output. */
static enum cx_status query_table(struct cx_cmd *c, uint32_t size, uint32_t entry_bytes,
				  uint32_t *count)
{
	uint32_t index = cx_get(c->in, CX_VPORT_IN_INDEX);
	enum cx_status status = check_vport(c);

	if (status != CX_OK)
		return status;
	if (index >= size && index != CX_VPORT_INDEX_ALL)
		return cx_fail(c, CX_BAD_INDEX, CX_WHY_ATTRIBUTE);
	*count = index == CX_VPORT_INDEX_ALL ? size : 1;
	if ((c->out_len - CX_OUT_BYTES) / entry_bytes < *count)
		return cx_fail(c, CX_BAD_OUTP_LEN, CX_WHY_SHORT_OUTPUT);
	return CX_OK;
}

/*
 * Entry 0 is the port's GID. The others have no GUID, but the subnet's prefix: the guest's GID
 * cache takes the prefix of the last entry for the subnet's (config_non_roce_gid_cache() of Linux).
 */
enum cx_status cx_query_hca_vport_gid(struct cx_cmd *c)
{
	uint32_t index = cx_get(c->in, CX_VPORT_IN_INDEX), count;
	const struct up_gid *gid = &c->dev->port->gid;
	enum cx_status status = query_table(c, GID_TABLE_SIZE, sizeof(*gid), &count);
	uint8_t *out = c->out + CX_QUERY_HCA_VPORT_GID_OUT_GID_AT;

	if (status != CX_OK)
		return status;
	cx_set(c->out, CX_QUERY_HCA_VPORT_GID_OUT_GIDS_NUM, count);
	for (uint32_t i = 0; i < count; i++)
		memcpy(out + i * sizeof(*gid), gid->raw, GID_PREFIX_BYTES);
	if (index == 0 || index == CX_VPORT_INDEX_ALL)
		memcpy(out, gid->raw, sizeof(gid->raw));
	return CX_OK;
}

enum cx_status cx_query_hca_vport_pkey(struct cx_cmd *c)
{
	uint32_t index = cx_get(c->in, CX_VPORT_IN_INDEX), count;
	enum cx_status status = query_table(c, PKEY_TABLE_SIZE, sizeof(uint32_t), &count);
	uint8_t *out = c->out + CX_QUERY_HCA_VPORT_PKEY_OUT_PKEY_AT;
	const struct up_hca *hca = &c->dev->hca;

	if (status != CX_OK)
		return status;
	if (index == CX_VPORT_INDEX_ALL)
		index = 0;
	for (uint32_t i = 0; i < count && index + i < UP_ARRAY_SIZE(hca->pkeys); i++)
		up_put_be32(out + i * sizeof(uint32_t), hca->pkeys[index + i]);
	return CX_OK;
}

/* A message counts as a packet. */
enum cx_status cx_query_vport_counter(struct cx_cmd *c)
{
	const struct up_hca_stats *s = &c->dev->hca.stats;
	enum cx_status status = check_vport(c);

	if (status != CX_OK)
		return status;
	cx_set64(c->out, CX_QUERY_VPORT_COUNTER_OUT_TX_UC_PACKETS, up_stat_get(&s->messages));
	cx_set64(c->out, CX_QUERY_VPORT_COUNTER_OUT_TX_UC_OCTETS, up_stat_get(&s->bytes));
	cx_set64(c->out, CX_QUERY_VPORT_COUNTER_OUT_RX_UC_PACKETS, up_stat_get(&s->rx_messages));
	cx_set64(c->out, CX_QUERY_VPORT_COUNTER_OUT_RX_UC_OCTETS, up_stat_get(&s->rx_bytes));
	return CX_OK;
}

/* There is one port, bonded to none. */
enum cx_status cx_query_lag(struct cx_cmd *c)
{
	cx_set(c->out, CX_QUERY_LAG_OUT_LAG_STATE, CX_LAG_DISABLED);
	return CX_OK;
}
