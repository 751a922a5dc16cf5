/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory on offer: cookies, and the answers to those who pull. */
#include "bulk/bulk.h"
#include "bulk/bulk_private.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

int up_bulk_offer(struct up_ep *ep, struct up_bulk_source *s)
{
	s->cookie = up_slots_add(&ep->bulk->sources, s);
	return s->cookie ? 0 : -ENOMEM;
}

void up_bulk_withdraw(struct up_ep *ep, struct up_bulk_source *s)
{
	if (s->cookie)
		up_slots_del(&ep->bulk->sources, s->cookie);
	s->cookie = 0;
}

void up_bulk_describe(void *to, const struct up_bulk_source *s)
{
	struct up_pkt_source wire = {
		.bytes = htole64(s->bytes),
		.cookie = htole64(s->cookie),
		.address = s->n == 1 ? htole64((uintptr_t)s->iov[0].iov_base) : 0,
	};

	memcpy(to, &wire, sizeof(wire));
}

int up_bulk_parse(struct up_pkt_source *to, const void *payload)
{
	uint64_t end;

	memcpy(to, payload, sizeof(*to));
	to->bytes = le64toh(to->bytes);
	to->cookie = le64toh(to->cookie);
	to->address = le64toh(to->address);
	if (to->bytes > SSIZE_MAX || __builtin_add_overflow(to->address, to->bytes, &end))
		return -EPROTO;
	return 0;
}

/*
 * The peer reserved room for its answer, so there is some, unless it lies about its own room: then
 * it is no peer any more. A cookie that names nothing is an operation that was cancelled.
 */
bool up_bulk_pulled(struct up_ep *ep, struct up_peer_state *from, const struct up_packet *p,
		    const void *payload)
{
	const struct up_bulk_source *s = up_slots_get(&ep->bulk->sources, p->a);
	void *to;

	if (!p->op || p->bytes) {
		up_core_link_down(from->link, -EPROTO);
		return true;
	}
	if (!s || s->peer != from) {
		up_send_answer(from, p->op, -ECANCELED, NULL, 0);
		return true;
	}
	if (p->aux > up_max_payload(from) || !up_range_inside(p->b, p->aux, 0, s->bytes)) {
		up_send_answer(from, p->op, -ERANGE, NULL, 0);
		return true;
	}
	to = up_answer_reserve(from, p->aux);
	if (!to) {
		up_core_link_down(from->link, -EPROTO);
		return true;
	}
	up_iov_read(to, s->iov, s->n, p->b, p->aux);
	up_answer_commit(from, p->op, 0, p->aux);
	return true;
}
