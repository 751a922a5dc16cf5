/* SPDX-License-Identifier: BSD-2-Clause */
/* Services that guests announce and look up (15.2.5.14). Key: service ID, GID and P_Key. */
#include "subnet/manager.h"

#include "base/clock.h"
#include "base/hash.h"

#include <stdlib.h>

#define SERVICES_OF_A_PORT 256
#define LEASE_FOR_EVER 0xffffffffu

struct service_key {
	uint8_t id[8];
	uint8_t gid[16];
	uint8_t pkey[2];
};

struct sa_service {
	struct service_key key;
	struct sa_service_record r;
	const struct up_port *port; /* that announced it */
	uint64_t end;		    /* of the lease, on the adapter's clock; 0: none */
	UT_hash_handle hh;
};

static struct service_key key_of(const struct sa_service_record *r)
{
	struct service_key k;

	memcpy(k.id, r->id, sizeof(k.id));
	memcpy(k.gid, r->gid, sizeof(k.gid));
	memcpy(k.pkey, r->pkey, sizeof(k.pkey));
	return k;
}

static void drop(struct sn_manager *m, struct sa_service *s)
{
	/* Here and below: the analyzer does not see that the head moves on. */
	HASH_DEL(m->services, s); /* NOLINT(clang-analyzer-unix.Malloc) */
	free(s);
}

void sa_services_fini(struct sn_manager *m)
{
	struct sa_service *s, *tmp;

	HASH_ITER (hh, m->services, s, tmp)
		drop(m, s);
}

void sa_services_port_down(struct sn_manager *m, const struct up_port *port)
{
	struct sa_service *s, *tmp;

	HASH_ITER (hh, m->services, s, tmp) {
		if (s->port == port)
			drop(m, s);
	}
}

static void drop_ended(struct sn_manager *m)
{
	struct sa_service *s, *tmp;
	uint64_t now = sn_adapter_clock(m->adapter);

	HASH_ITER (hh, m->services, s, tmp) {
		if (s->end && s->end <= now)
			drop(m, s);
	}
}

static unsigned services_of(const struct sn_manager *m, const struct up_port *port)
{
	const struct sa_service *s, *tmp;
	unsigned n = 0;

	HASH_ITER (hh, m->services, s, tmp)
		n += s->port == port;
	return n;
}

/* The seconds that are left, the one that has begun too. */
static uint32_t lease_left(const struct sa_query *q, const struct sa_service *s)
{
	uint64_t now = sn_adapter_clock(q->m->adapter);

	if (!s->end)
		return LEASE_FOR_EVER;
	return s->end > now ? (uint32_t)((s->end - now + UP_SEC - 1) / UP_SEC) : 1;
}

/* The key that protects a service is not shown. */
static void answer_with(struct sa_query *q, const struct sa_service *s)
{
	struct sa_service_record *r = sa_table_add(q->table);

	if (!r)
		return;
	*r = s->r;
	memset(r->key, 0, sizeof(r->key));
	up_put_be32(r->lease, lease_left(q, s));
}

static struct sa_service *find(const struct sn_manager *m, const struct sa_service_record *r)
{
	struct service_key key = key_of(r);
	struct sa_service *s;

	HASH_FIND(hh, m->services, &key, sizeof(key), s); /* NOLINT(clang-analyzer-unix.Malloc) */
	return s;
}

static struct sa_service *create(struct sa_query *q, const struct sa_service_record *asked)
{
	struct sa_service *s;

	if (services_of(q->m, q->asker) >= SERVICES_OF_A_PORT)
		return NULL;
	s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->key = key_of(asked);
	s->port = q->asker;
	HASH_ADD(hh, q->m->services, key, sizeof(s->key), s);
	if (!s->hh.tbl) {
		free(s);
		return NULL;
	}
	return s;
}

/* A service is at the GID of the port that announces it. */
static bool may_change(const struct sa_query *q, const struct sa_service_record *asked,
		       const struct sa_service *s)
{
	if (memcmp(asked->gid, q->asker->gid.raw, sizeof(asked->gid)) != 0)
		return false;
	return !s || (s->port == q->asker && memcmp(asked->key, s->r.key, sizeof(s->r.key)) == 0);
}

static enum sa_status announce(struct sa_query *q, const struct sa_service_record *asked)
{
	const uint32_t needed = SA_SERVICE_ID | SA_SERVICE_GID;
	struct sa_service *s = find(q->m, asked);
	uint32_t lease = LEASE_FOR_EVER;

	if ((q->mask & needed) != needed)
		return SA_INSUFFICIENT_COMPONENTS;
	if (!may_change(q, asked, s))
		return SA_REQ_INVALID;
	if (q->mask & SA_SERVICE_LEASE)
		lease = up_get_be32(asked->lease);
	if (!lease)
		return SA_REQ_INVALID;
	if (!s)
		s = create(q, asked);
	if (!s)
		return SA_NO_RESOURCES;
	s->r = *asked;
	s->end = lease == LEASE_FOR_EVER ? 0 : sn_adapter_clock(q->m->adapter) + lease * UP_SEC;
	answer_with(q, s);
	return SA_OK;
}

static enum sa_status withdraw(struct sa_query *q, const struct sa_service_record *asked)
{
	const uint32_t needed = SA_SERVICE_ID | SA_SERVICE_GID;
	struct sa_service *s = find(q->m, asked);

	if ((q->mask & needed) != needed)
		return SA_INSUFFICIENT_COMPONENTS;
	if (!s)
		return SA_NO_RECORDS;
	if (!may_change(q, asked, s))
		return SA_REQ_INVALID;
	answer_with(q, s);
	drop(q->m, s);
	return SA_OK;
}

/* 15.2.5.14: one component each for 16 numbers of 8 bits, 8 of 16, 4 of 32 and 2 of 64. */
static bool data_matches(const struct sa_query *q, const uint8_t *asked, const uint8_t *have)
{
	uint64_t bit = SA_SERVICE_DATA;

	for (size_t bytes = 1; bytes <= 8; bytes *= 2) {
		for (size_t n = 16; n; n -= bytes, bit <<= 1) {
			if (!sa_same(q, bit, asked, have, bytes))
				return false;
			asked += bytes;
			have += bytes;
		}
	}
	return true;
}

static bool matches(const struct sa_query *q, const struct sa_service_record *asked,
		    const struct sa_service_record *have)
{
	return sa_same(q, SA_SERVICE_ID, asked->id, have->id, sizeof(have->id)) &&
	       sa_same(q, SA_SERVICE_GID, asked->gid, have->gid, sizeof(have->gid)) &&
	       sa_same(q, SA_SERVICE_PKEY, asked->pkey, have->pkey, sizeof(have->pkey)) &&
	       sa_same(q, SA_SERVICE_NAME, asked->name, have->name, sizeof(have->name)) &&
	       data_matches(q, asked->data, have->data);
}

enum sa_status sa_service_record(struct sa_query *q)
{
	const struct sa_service_record *asked = (const struct sa_service_record *)q->record;
	struct sa_service *s, *tmp;

	drop_ended(q->m);
	if (q->method == SA_SET)
		return announce(q, asked);
	if (q->method == SA_DELETE)
		return withdraw(q, asked);
	HASH_ITER (hh, q->m->services, s, tmp) { /* NOLINT(clang-analyzer-unix.Malloc) */
		if (matches(q, asked, &s->r))
			answer_with(q, s);
	}
	return SA_OK;
}
