/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Subnet administration (15.2): from a request to the table of records that answers it, and to
 * the response. One table of attributes; a handler fills the records.
 */
#include "subnet/manager.h"

#include <stdlib.h>

/* ClassPortInfo, 15.2.5.1 */
#define CAP2_SEND_ONLY_FULL (1u << 12) /* join state SA_JOIN_SEND_ONLY_FULL is known */
#define RESPONSE_TIME 16	       /* 4.096 us << 16: 268 ms, for a busy host */

static size_t round_up(size_t n)
{
	return (n + 7) & ~(size_t)7;
}

void *sa_table_add(struct sa_table *t)
{
	size_t end = (t->count + 1) * t->record;
	uint8_t *at;

	if (end > SA_TABLE_BYTES) {
		t->too_many = true;
		return NULL;
	}
	if (end > t->room) {
		size_t room = 2 * end;

		at = realloc(t->bytes, room);
		if (!at) {
			t->too_many = true;
			return NULL;
		}
		t->bytes = at;
		t->room = room;
	}
	at = t->bytes + t->count++ * t->record;
	memset(at, 0, t->record);
	return at;
}

void sa_table_fini(struct sa_table *t)
{
	free(t->bytes);
}

bool sa_same(const struct sa_query *q, uint64_t bit, const void *asked, const void *have,
	     size_t bytes)
{
	return !(q->mask & bit) || memcmp(asked, have, bytes) == 0;
}

bool sa_selects(const struct sa_query *q, uint64_t selector, uint64_t value, uint8_t asked,
		unsigned have, unsigned (*rank)(unsigned))
{
	unsigned want = rank ? rank(asked & 0x3f) : asked & 0x3fu;

	if (!(q->mask & selector) || !(q->mask & value))
		return true;
	have = rank ? rank(have) : have;
	switch ((enum sa_selector)(asked >> 6)) {
	case SA_GREATER:
		return have > want;
	case SA_LESS:
		return have < want;
	case SA_EXACTLY:
		return have == want;
	case SA_LARGEST:
		break;
	}
	return true;
}

static enum sa_status class_port_info(struct sa_query *q)
{
	struct mad_class_port_info *c = sa_table_add(q->table);

	if (!c)
		return SA_NO_RESOURCES;
	c->base_version = MAD_BASE_VERSION;
	c->class_version = SA_CLASS_VERSION;
	up_put_be32(c->capability_mask2_response_time, CAP2_SEND_ONLY_FULL << 5 | RESPONSE_TIME);
	return SA_OK;
}

static const struct attribute {
	uint16_t id;
	uint16_t bytes;
	bool table, set; /* besides Get: GetTable; Set and Delete */
	enum sa_status (*answer)(struct sa_query *q);
} attributes[] = {
	{SA_CLASS_PORT_INFO, sizeof(struct mad_class_port_info), false, false, class_port_info},
	{SA_NODE_RECORD, sizeof(struct sa_node_record), true, false, sa_node_record},
	{SA_PORT_INFO_RECORD, sizeof(struct sa_port_info_record), true, false, sa_port_info_record},
	{SA_SM_INFO_RECORD, sizeof(struct sa_sm_info_record), true, false, sa_sm_info_record},
	{SA_SERVICE_RECORD, sizeof(struct sa_service_record), true, true, sa_service_record},
	{SA_PATH_RECORD, sizeof(struct sa_path_record), true, false, sa_path_record},
	{SA_MC_MEMBER_RECORD, sizeof(struct sa_mc_member), true, true, sa_mc_member_record},
};

static const struct attribute *find_attribute(uint16_t id)
{
	for (unsigned i = 0; i < UP_ARRAY_SIZE(attributes); i++) {
		if (attributes[i].id == id)
			return &attributes[i];
	}
	return NULL;
}

static bool has_method(const struct attribute *a, uint8_t method)
{
	switch (method) {
	case SA_GET:
		return true;
	case SA_GET_TABLE:
		return a->table;
	case SA_SET:
	case SA_DELETE:
		return a->set;
	default:
		return false;
	}
}

/* Fills m->table. 15.2.3 has what is refused, and with what. */
static unsigned query(struct sn_manager *m, struct up_port *asker, const struct sa_header *h)
{
	const struct attribute *a = find_attribute(up_get_be16(h->mad.attribute));
	struct sa_query q = {
		.m = m,
		.asker = asker,
		.method = (enum sa_method)h->mad.method,
		.modifier = up_get_be32(h->mad.modifier),
		.with_key = up_get_be64(h->sm_key) != 0,
		.mask = up_get_be64(h->mask),
		.record = (const uint8_t *)h + SA_DATA,
		.table = &m->table,
	};
	enum sa_status status;

	if (h->mad.base_version != MAD_BASE_VERSION || h->mad.class_version != SA_CLASS_VERSION)
		return MAD_BAD_VERSION;
	if (!a || !has_method(a, h->mad.method))
		return MAD_BAD_METHOD_ATTRIBUTE;
	m->table.record = round_up(a->bytes);
	status = a->answer(&q);
	if (status != SA_OK)
		return status;
	if (m->table.too_many)
		return SA_NO_RESOURCES;
	if (q.method == SA_GET_TABLE)
		return SA_OK;
	if (m->table.count == 0)
		return SA_NO_RECORDS;
	/* 15.4.5.1: Get is for what is there once; of paths any will do. */
	if (m->table.count > 1 && a->id != SA_PATH_RECORD)
		return SA_TOO_MANY_RECORDS;
	return SA_OK;
}

/* Not responses and one-way messages; an unknown request is told so. */
static bool is_request(uint8_t method)
{
	return !(method & MAD_RESPONSE_BIT) && method != MAD_SEND && method != MAD_TRAP &&
	       method != MAD_REPORT && method != MAD_TRAP_REPRESS;
}

void sa_received(struct sn_manager *m, const struct sn_peer *from, uint8_t mad[MAD_BYTES])
{
	struct sa_header *h = (struct sa_header *)mad;
	struct up_port *asker = up_port_by_lid(m->port, from->lid);
	struct sa_table *t = &m->table;
	unsigned status;

	if (!is_request(h->mad.method) || !asker || !asker->active)
		return;
	t->count = t->record = 0;
	t->too_many = false;
	status = query(m, asker, h);
	up_put_be16(h->mad.status, (uint16_t)status);
	up_put_be16(h->record_words, (uint16_t)(t->record / 8));
	if (h->mad.method == SA_GET_TABLE && status == SA_OK) {
		h->mad.method |= MAD_RESPONSE_BIT;
		rmpp_send(m, from, h, t);
		return;
	}
	/* A Set is answered with GetResp, 13.4.5. */
	h->mad.method = h->mad.method == SA_SET ? (uint8_t)MAD_GET_RESP
						: (uint8_t)(h->mad.method | MAD_RESPONSE_BIT);
	h->rmpp_version = h->rmpp_type = h->rmpp_flags = h->rmpp_status = 0;
	memset(h->segment, 0, sizeof(h->segment));
	memset(h->length, 0, sizeof(h->length));
	if (status == SA_OK) {
		memset(mad + SA_DATA, 0, SA_DATA_BYTES);
		memcpy(mad + SA_DATA, t->bytes, t->record);
	}
	sn_adapter_send(m->adapter, 1, from, mad);
}
