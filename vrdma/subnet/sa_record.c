/* SPDX-License-Identifier: BSD-2-Clause */
/* Records about ports: what each port's own agent would say of it, under its LID. */
#include "subnet/manager.h"

/* The attribute of a port, `bytes` of it. */
static void ask_port(struct up_port *port, enum mad_attribute attribute, void *data, size_t bytes)
{
	uint8_t mad[MAD_BYTES] = {0};
	struct mad_header *h = (struct mad_header *)mad;

	h->base_version = MAD_BASE_VERSION;
	h->mgmt_class = MAD_CLASS_SM_LID;
	h->class_version = MAD_CLASS_VERSION;
	h->method = MAD_GET;
	up_put_be16(h->attribute, (uint16_t)attribute);
	up_mad_process(port, mad, mad);
	memcpy(data, mad + MAD_DATA, bytes);
}

/* The next active port whose LID is the one asked for, if the request names one. */
static struct up_port *next_port(const struct sa_query *q, uint64_t lid_bit, const uint8_t lid[2],
				 const struct up_port *last)
{
	struct up_port *p = up_port_next_of_tenant(q->m->port, last);

	while (p && (!p->active || ((q->mask & lid_bit) && p->lid != up_get_be16(lid))))
		p = up_port_next_of_tenant(q->m->port, p);
	return p;
}

static bool node_matches(const struct sa_query *q, const struct mad_node_info *asked,
			 const struct mad_node_info *have)
{
	return sa_same(q, SA_NODE_TYPE, &asked->node_type, &have->node_type, 1) &&
	       sa_same(q, SA_NODE_SYSTEM_GUID, asked->system_guid, have->system_guid,
		       sizeof(have->system_guid)) &&
	       sa_same(q, SA_NODE_GUID, asked->node_guid, have->node_guid,
		       sizeof(have->node_guid)) &&
	       sa_same(q, SA_NODE_PORT_GUID, asked->port_guid, have->port_guid,
		       sizeof(have->port_guid));
}

enum sa_status sa_node_record(struct sa_query *q)
{
	const struct sa_node_record *asked = (const struct sa_node_record *)q->record;
	struct up_port *p = NULL;

	while ((p = next_port(q, SA_NODE_LID, asked->lid, p))) {
		struct sa_node_record have = {0}, *r;

		up_put_be16(have.lid, p->lid);
		ask_port(p, MAD_NODE_INFO, have.info, sizeof(have.info));
		ask_port(p, MAD_NODE_DESCRIPTION, have.description, sizeof(have.description));
		if (!node_matches(q, (const struct mad_node_info *)asked->info,
				  (const struct mad_node_info *)have.info) ||
		    !sa_same(q, SA_NODE_DESCRIPTION, asked->description, have.description,
			     sizeof(have.description)))
			continue;
		r = sa_table_add(q->table);
		if (!r)
			break;
		*r = have;
	}
	return SA_OK;
}

static bool has_capabilities(const struct sa_query *q, const uint8_t asked[4],
			     const uint8_t have[4])
{
	uint32_t want = up_get_be32(asked), is = up_get_be32(have);

	if (!(q->mask & SA_PORT_CAPABILITIES))
		return true;
	return q->modifier & SA_PORT_MATCH_SET ? (is & want) == want : is == want;
}

enum sa_status sa_port_info_record(struct sa_query *q)
{
	const struct sa_port_info_record *asked = (const struct sa_port_info_record *)q->record;
	struct up_port *p = NULL;

	if ((q->mask & SA_PORT_NUMBER) && asked->port != 1)
		return SA_OK;
	while ((p = next_port(q, SA_PORT_LID, asked->lid, p))) {
		struct sa_port_info_record have = {.port = 1}, *r;
		const size_t at = offsetof(struct mad_port_info, capability_mask);

		up_put_be16(have.lid, p->lid);
		ask_port(p, MAD_PORT_INFO, have.info, sizeof(have.info));
		if (!has_capabilities(q, asked->info + at, have.info + at))
			continue;
		r = sa_table_add(q->table);
		if (!r)
			break;
		*r = have;
	}
	return SA_OK;
}

enum sa_status sa_sm_info_record(struct sa_query *q)
{
	const struct sa_sm_info_record *asked = (const struct sa_sm_info_record *)q->record;
	struct sa_sm_info_record *r;

	if ((q->mask & SA_SM_LID) && up_get_be16(asked->lid) != UP_SM_LID)
		return SA_OK;
	r = sa_table_add(q->table);
	if (r) {
		up_put_be16(r->lid, UP_SM_LID);
		ask_port(q->m->port, MAD_SM_INFO, r->info, sizeof(r->info));
	}
	return SA_OK;
}
