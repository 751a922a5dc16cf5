/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The management agents of a port: subnet management (chapter 14 of the specification) and
 * performance management (chapter 16). One table of attributes; an attribute's handler fills the
 * data of the response.
 *
 * Addresses, states and tables are the fabric's own: a Set of them from a guest is answered, as
 * 14.2.5 has it, with what they are, and changes nothing. The counters can be set. There are no
 * links here, so errors of links are zero, and a message counts as one packet.
 */
#include "fabric/fabric_private.h"
#include "fabric/mad_layout.h"

#define VENDOR_ID 0x0002c9
#define DEVICE_ID 4119
#define PKEY_TABLE_SIZE 128
#define GUID_TABLE_SIZE 8
#define VL_COUNT 4
#define VL_CAP 3 /* code of VL0 to VL3 */

/* PortInfo, 14.2.5.6 */
#define CAP_SL_MAPPING (1u << 6)
#define CAP_SYSTEM_GUID (1u << 11)
#define CAP_EXTENDED_SPEEDS (1u << 14)
#define WIDTH_4X 2
#define SPEEDS_SDR_DDR_QDR 7
#define SPEED_QDR 4
#define SPEED_EXT_EDR 2
#define STATE_DOWN 1
#define STATE_ACTIVE 4
#define PHYS_POLLING 2
#define PHYS_LINK_UP 5
#define MTU_4096 5
#define CAP_IS_SM (1u << 1)

/* SMInfo, 14.2.5.13: nobody shall take over. */
#define SM_PRIORITY 15
#define SM_MASTER 3

/* ClassPortInfo of performance management, 16.1.3.1: 64-bit counters. */
#define PERF_CAP_EXTENDED_WIDTH (1u << 9)
#define RESPONSE_TIME 8 /* 4.096 us << 8: a millisecond */

/* `data` is the response's: zero, or as sent where the attribute keeps it. */
struct request {
	struct up_fabric_port *port;
	uint32_t modifier;
	bool set;
	uint8_t *data;
};

static bool is_manager(const struct request *r)
{
	return r->port->pub.lid == UP_SM_LID;
}

static enum mad_status node_description(const struct request *r)
{
	memcpy(r->data, r->port->node_desc, sizeof(r->port->node_desc));
	return MAD_OK;
}

static enum mad_status node_info(const struct request *r)
{
	struct mad_node_info *n = (struct mad_node_info *)r->data;

	n->base_version = MAD_BASE_VERSION;
	n->class_version = MAD_CLASS_VERSION;
	n->node_type = 1;
	n->num_ports = 1;
	up_put_be64(n->system_guid, r->port->pub.guid);
	up_put_be64(n->node_guid, r->port->pub.guid);
	up_put_be64(n->port_guid, r->port->pub.guid);
	up_put_be16(n->partition_cap, PKEY_TABLE_SIZE);
	up_put_be16(n->device_id, DEVICE_ID);
	n->local_port = 1;
	n->vendor_id[0] = VENDOR_ID >> 16;
	n->vendor_id[1] = VENDOR_ID >> 8 & 0xff;
	n->vendor_id[2] = VENDOR_ID & 0xff;
	return MAD_OK;
}

static enum mad_status guid_info(const struct request *r)
{
	if (r->modifier != 0)
		return MAD_BAD_VALUE;
	up_put_be64(r->data, r->port->pub.guid);
	return MAD_OK;
}

static void port_link(const struct up_port *port, struct mad_port_info *p)
{
	uint8_t state = port->active ? STATE_ACTIVE : STATE_DOWN;
	uint8_t phys = port->active ? PHYS_LINK_UP : PHYS_POLLING;

	p->width_enabled = p->width_supported = p->width_active = WIDTH_4X;
	p->speed_state = (uint8_t)(SPEEDS_SDR_DDR_QDR << 4 | state);
	p->physical_state = (uint8_t)(phys << 4 | PHYS_POLLING);
	p->speed_active_enabled = SPEED_QDR << 4 | SPEEDS_SDR_DDR_QDR;
	p->speed_ext = SPEED_EXT_EDR << 4 | SPEED_EXT_EDR;
	p->speed_ext_enabled = SPEED_EXT_EDR;
	p->neighbor_mtu_sm_sl = MTU_4096 << 4;
	p->init_reply_mtu_cap = MTU_4096;
	p->vl_cap_init_type = VL_CAP << 4;
	p->operational_vls = VL_CAP << 4;
	p->vl_arb_high_cap = p->vl_arb_low_cap = VL_COUNT;
}

/* What the port's own management software announces; the agents of communication, devices ... */
static uint32_t announced(const struct up_port *port)
{
	return port->hca ? atomic_load_explicit(&port->hca->port_caps, memory_order_relaxed) : 0;
}

/* The modifier's low byte names the port; 0 is the one that the SMP came to. */
static enum mad_status port_info(const struct request *r)
{
	struct mad_port_info *p = (struct mad_port_info *)r->data;
	const struct up_port *port = &r->port->pub;

	if ((r->modifier & 0xff) > 1)
		return MAD_BAD_VALUE;
	memcpy(p->gid_prefix, port->gid.raw, sizeof(p->gid_prefix));
	up_put_be16(p->lid, port->lid);
	up_put_be16(p->sm_lid, UP_SM_LID);
	up_put_be32(p->capability_mask, CAP_SL_MAPPING | CAP_SYSTEM_GUID | CAP_EXTENDED_SPEEDS |
						(is_manager(r) ? CAP_IS_SM : announced(port)));
	p->local_port = 1;
	port_link(port, p);
	p->guid_cap = GUID_TABLE_SIZE;
	p->response_time = RESPONSE_TIME;
	return MAD_OK;
}

/* Of this the diagnostic programs ask every ConnectX: whether a link runs at FDR10. None does. */
static enum mad_status ext_port_info(const struct request *r)
{
	return (r->modifier & 0xff) > 1 ? MAD_BAD_VALUE : MAD_OK;
}

static enum mad_status pkey_table(const struct request *r)
{
	if ((r->modifier & 0xffff) >= PKEY_TABLE_SIZE / MAD_PKEYS_A_BLOCK)
		return MAD_BAD_VALUE;
	if ((r->modifier & 0xffff) == 0)
		up_put_be16(r->data,
			    r->port->pub.hca ? r->port->pub.hca->pkeys[0] : UP_PKEY_DEFAULT);
	return MAD_OK;
}

/* Sixteen service levels, four bits each, over the virtual lanes. */
static enum mad_status sl_to_vl(const struct request *r)
{
	for (unsigned sl = 0; sl < 16; sl += 2)
		r->data[sl / 2] = (uint8_t)((sl % VL_COUNT) << 4 | (sl + 1) % VL_COUNT);
	return MAD_OK;
}

/* The modifier's high half: 1 and 2 are the blocks of low priority, 3 and 4 those of high. */
static enum mad_status vl_arbitration(const struct request *r)
{
	uint32_t block = r->modifier >> 16;

	if (block < 1 || block > 4)
		return MAD_BAD_VALUE;
	for (unsigned vl = 0; (block == 1 || block == 3) && vl < VL_COUNT; vl++) {
		r->data[2 * vl] = (uint8_t)vl;
		r->data[2 * vl + 1] = 1;
	}
	return MAD_OK;
}

/* Of a port whose host runs no subnet manager the state is 0, not active. */
static enum mad_status sm_info(const struct request *r)
{
	struct mad_sm_info *s = (struct mad_sm_info *)r->data;

	up_put_be64(s->guid, r->port->pub.guid);
	if (is_manager(r))
		s->priority_state = SM_PRIORITY << 4 | SM_MASTER;
	return MAD_OK;
}

static enum mad_status class_port_info(const struct request *r)
{
	struct mad_class_port_info *c = (struct mad_class_port_info *)r->data;

	c->base_version = MAD_BASE_VERSION;
	c->class_version = MAD_CLASS_VERSION;
	up_put_be16(c->capability_mask, PERF_CAP_EXTENDED_WIDTH);
	up_put_be32(c->capability_mask2_response_time, RESPONSE_TIME);
	return MAD_OK;
}

static struct up_pma_base counters_now(const struct up_fabric_port *p)
{
	const struct up_hca *hca = p->pub.hca;

	if (!hca)
		return p->pma;
	return (struct up_pma_base){
		.tx_bytes = up_stat_get(&hca->stats.bytes),
		.rx_bytes = up_stat_get(&hca->stats.rx_bytes),
		.tx_messages = up_stat_get(&hca->stats.messages),
		.rx_messages = up_stat_get(&hca->stats.rx_messages),
	};
}

static struct up_pma_base counters_since(const struct up_fabric_port *p)
{
	struct up_pma_base c = counters_now(p);

	c.tx_bytes -= p->pma.tx_bytes;
	c.rx_bytes -= p->pma.rx_bytes;
	c.tx_messages -= p->pma.tx_messages;
	c.rx_messages -= p->pma.rx_messages;
	return c;
}

/* Port 1, or 255 for all ports, 16.1.3.5. */
static bool is_our_port(uint8_t port)
{
	return port == 1 || port == 0xff;
}

static void put_saturated(uint8_t *p, uint64_t v)
{
	up_put_be32(p, v > UINT32_MAX ? UINT32_MAX : (uint32_t)v);
}

/*
 * Moves the base so that the selected counters, a bit for each, read as `to` from here on. Octets
 * count by fours.
 */
static void rebase(struct up_fabric_port *p, const struct up_pma_base *to, unsigned selected)
{
	struct up_pma_base now = counters_now(p);

	if (selected & 1)
		p->pma.tx_bytes = now.tx_bytes - to->tx_bytes * 4;
	if (selected & 2)
		p->pma.rx_bytes = now.rx_bytes - to->rx_bytes * 4;
	if (selected & 4)
		p->pma.tx_messages = now.tx_messages - to->tx_messages;
	if (selected & 8)
		p->pma.rx_messages = now.rx_messages - to->rx_messages;
}

static void set_port_counters(const struct request *r, const struct mad_port_counters *c)
{
	const struct up_pma_base to = {
		.tx_bytes = up_get_be32(c->xmit_data),
		.rx_bytes = up_get_be32(c->rcv_data),
		.tx_messages = up_get_be32(c->xmit_packets),
		.rx_messages = up_get_be32(c->rcv_packets),
	};

	/* The twelve before them are errors' and other counters that stay 0. */
	rebase(r->port, &to, up_get_be16(c->select) >> 12);
}

static enum mad_status port_counters(const struct request *r)
{
	struct mad_port_counters *c = (struct mad_port_counters *)r->data;
	struct up_pma_base now;

	if (!is_our_port(c->port))
		return MAD_BAD_VALUE;
	if (r->set)
		set_port_counters(r, c);
	now = counters_since(r->port);
	memset(c->errors, 0, sizeof(c->errors));
	put_saturated(c->xmit_data, now.tx_bytes / 4);
	put_saturated(c->rcv_data, now.rx_bytes / 4);
	put_saturated(c->xmit_packets, now.tx_messages);
	put_saturated(c->rcv_packets, now.rx_messages);
	memset(c->xmit_wait, 0, sizeof(c->xmit_wait));
	return MAD_OK;
}

static void set_port_counters_ext(const struct request *r, const struct mad_port_counters_ext *c)
{
	const struct up_pma_base to = {
		.tx_bytes = up_get_be64(c->xmit_data),
		.rx_bytes = up_get_be64(c->rcv_data),
		.tx_messages = up_get_be64(c->xmit_packets),
		.rx_messages = up_get_be64(c->rcv_packets),
	};

	rebase(r->port, &to, up_get_be16(c->select));
}

static enum mad_status port_counters_ext(const struct request *r)
{
	struct mad_port_counters_ext *c = (struct mad_port_counters_ext *)r->data;
	struct up_pma_base now;

	if (!is_our_port(c->port))
		return MAD_BAD_VALUE;
	if (r->set)
		set_port_counters_ext(r, c);
	now = counters_since(r->port);
	up_put_be64(c->xmit_data, now.tx_bytes / 4);
	up_put_be64(c->rcv_data, now.rx_bytes / 4);
	up_put_be64(c->xmit_packets, now.tx_messages);
	up_put_be64(c->rcv_packets, now.rx_messages);
	up_put_be64(c->unicast_xmit, now.tx_messages);
	up_put_be64(c->unicast_rcv, now.rx_messages);
	up_put_be64(c->multicast_xmit, 0);
	up_put_be64(c->multicast_rcv, 0);
	return MAD_OK;
}

static const struct attribute {
	uint16_t id;
	bool perf; /* of performance management, else of subnet management */
	bool can_set;
	bool keeps_data; /* what was sent in the data of a Get or Set selects what is meant */
	enum mad_status (*answer)(const struct request *r);
} attributes[] = {
	{MAD_NODE_DESCRIPTION, false, false, false, node_description},
	{MAD_NODE_INFO, false, false, false, node_info},
	{MAD_GUID_INFO, false, true, false, guid_info},
	{MAD_PORT_INFO, false, true, false, port_info},
	{MAD_PKEY_TABLE, false, true, false, pkey_table},
	{MAD_SL_TO_VL, false, true, false, sl_to_vl},
	{MAD_VL_ARBITRATION, false, true, false, vl_arbitration},
	{MAD_SM_INFO, false, false, false, sm_info},
	{MAD_EXT_PORT_INFO, false, true, false, ext_port_info},
	{MAD_CLASS_PORT_INFO, true, true, false, class_port_info},
	{MAD_PORT_COUNTERS, true, true, true, port_counters},
	{MAD_PORT_COUNTERS_EXT, true, true, true, port_counters_ext},
};

static const struct attribute *find_attribute(bool perf, uint16_t id)
{
	for (unsigned i = 0; i < UP_ARRAY_SIZE(attributes); i++) {
		if (attributes[i].perf == perf && attributes[i].id == id)
			return &attributes[i];
	}
	return NULL;
}

/* What has no answer: responses, and one-way messages to a manager that is not here. */
static bool wants_answer(const struct mad_header *h)
{
	if (h->method & MAD_RESPONSE_BIT)
		return false;
	if (h->method == MAD_SEND || h->method == MAD_TRAP || h->method == MAD_TRAP_REPRESS)
		return false;
	if (h->mgmt_class != MAD_CLASS_SM_DIRECTED)
		return true;
	/* 14.2.2.2: the end of the path, where the agent is, is at the count or one beyond. */
	return !(up_get_be16(h->status) & MAD_DIRECTION) &&
	       (h->hop_pointer == h->hop_count || h->hop_pointer == h->hop_count + 1);
}

static enum mad_status answer(struct up_fabric_port *port, const struct mad_header *h,
			      uint8_t *data)
{
	bool perf = h->mgmt_class == MAD_CLASS_PERF;
	struct request r = {
		.port = port,
		.modifier = up_get_be32(h->modifier),
		.set = h->method == MAD_SET,
		.data = data,
	};
	const struct attribute *a;

	if (h->base_version != MAD_BASE_VERSION || h->class_version != MAD_CLASS_VERSION)
		return MAD_BAD_VERSION;
	if (!perf && h->mgmt_class != MAD_CLASS_SM_LID && h->mgmt_class != MAD_CLASS_SM_DIRECTED)
		return MAD_BAD_VERSION;
	if (h->method != MAD_GET && h->method != MAD_SET)
		return MAD_BAD_METHOD;
	a = find_attribute(perf, up_get_be16(h->attribute));
	if (!a || (r.set && !a->can_set))
		return MAD_BAD_METHOD_ATTRIBUTE;
	if (!a->keeps_data)
		memset(data, 0, perf ? MAD_PMA_DATA_BYTES : MAD_SMP_DATA_BYTES);
	return a->answer(&r);
}

bool up_mad_process(struct up_port *port, const uint8_t in[256], uint8_t out[256])
{
	struct mad_header *h = (struct mad_header *)out;
	enum mad_status status;

	static_assert(MAD_BYTES == 256, "the size of every MAD, 13.4.2");
	memmove(out, in, MAD_BYTES);
	if (!wants_answer(h))
		return false;
	status = answer(up_fabric_port(port), h, out + MAD_DATA);
	if (h->mgmt_class == MAD_CLASS_SM_DIRECTED)
		status |= MAD_DIRECTION;
	up_put_be16(h->status, (uint16_t)status);
	h->method = MAD_GET_RESP;
	return true;
}
