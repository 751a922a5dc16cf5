/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The reliable multi-packet protocol (13.6), sender's side: a table goes out in segments, as far as
 * the receiver's window allows, and again from the last acknowledged one when no answer comes.
 */
#include "subnet/manager.h"

#include "base/clock.h"

#include <stdlib.h>

#define ANSWER_TIME (500 * UP_MSEC)
#define TRIES 5
#define SESSIONS 32
#define SESSIONS_OF_A_PORT 4

struct rmpp_session {
	struct up_list in_manager;
	struct sn_peer to;
	struct sa_header head;
	uint8_t *data;
	size_t bytes;
	uint32_t segments; /* at least one; they count from 1 */
	uint32_t acked, sent, window;
	unsigned tries;	 /* left */
	uint64_t answer; /* until when an answer is waited for */
};

static void end_session(struct sn_manager *m, struct rmpp_session *s)
{
	up_list_del(&s->in_manager);
	m->rmpp.count--;
	free(s->data);
	free(s);
}

static void send_segment(struct sn_manager *m, struct rmpp_session *s, uint32_t segment)
{
	uint8_t mad[MAD_BYTES] = {0};
	struct sa_header *h = (struct sa_header *)mad;
	size_t at = (size_t)(segment - 1) * SA_DATA_BYTES, n = s->bytes - at;
	uint32_t length = 0;

	*h = s->head;
	h->rmpp_version = RMPP_VERSION;
	h->rmpp_type = RMPP_DATA;
	h->rmpp_flags = RMPP_NO_TIME | RMPP_ACTIVE;
	/* 13.6.2.2: the first says how long all is, the last how long it is itself. */
	if (segment == 1) {
		h->rmpp_flags |= RMPP_FIRST;
		length = (uint32_t)(s->bytes + (size_t)s->segments * SA_RMPP_HEADER);
	}
	if (segment == s->segments) {
		h->rmpp_flags |= RMPP_LAST;
		length = (uint32_t)(n + SA_RMPP_HEADER);
	}
	up_put_be32(h->segment, segment);
	up_put_be32(h->length, length);
	if (n)
		memcpy(mad + SA_DATA, s->data + at, n < SA_DATA_BYTES ? n : SA_DATA_BYTES);
	sn_adapter_send(m->adapter, 1, &s->to, mad);
}

/* What window and ring have room for. True when anything went out. */
static bool send_more(struct sn_manager *m, struct rmpp_session *s)
{
	uint32_t before = s->sent;

	while (s->sent < s->segments && s->sent < s->window && sn_adapter_room(m->adapter, 1))
		send_segment(m, s, ++s->sent);
	if (s->sent != before)
		s->answer = sn_adapter_clock(m->adapter) + ANSWER_TIME;
	return s->sent != before;
}

/* How many a port has, and its oldest. */
static unsigned sessions_of(const struct sn_manager *m, uint16_t lid, struct rmpp_session **oldest)
{
	struct up_list *pos, *tmp;
	unsigned n = 0;

	up_list_each (pos, tmp, &m->rmpp.sessions) {
		struct rmpp_session *s = UP_CONTAINER_OF(pos, struct rmpp_session, in_manager);

		if (s->to.lid == lid && n++ == 0)
			*oldest = s;
	}
	return n;
}

static struct rmpp_session *oldest_of_the_greediest(const struct sn_manager *m)
{
	struct rmpp_session *oldest = NULL, *victim = NULL;
	struct up_list *pos, *tmp;
	unsigned most = 0;

	up_list_each (pos, tmp, &m->rmpp.sessions) {
		struct rmpp_session *s = UP_CONTAINER_OF(pos, struct rmpp_session, in_manager);
		unsigned n = sessions_of(m, s->to.lid, &oldest);

		if (n > most) {
			most = n;
			victim = oldest;
		}
	}
	return victim;
}

/*
 * A port that has too many loses its oldest: its receiver gave that up, or floods. When there are
 * too many in all, the port that has most does.
 */
static void make_room(struct sn_manager *m, uint16_t lid)
{
	struct rmpp_session *victim = NULL;

	if (sessions_of(m, lid, &victim) < SESSIONS_OF_A_PORT) {
		if (m->rmpp.count < SESSIONS)
			return;
		victim = oldest_of_the_greediest(m);
	}
	if (victim)
		end_session(m, victim);
}

static struct rmpp_session *find(const struct sn_manager *m, const struct sn_peer *from,
				 const uint8_t tid[8])
{
	struct up_list *pos, *tmp;

	up_list_each (pos, tmp, &m->rmpp.sessions) {
		struct rmpp_session *s = UP_CONTAINER_OF(pos, struct rmpp_session, in_manager);

		if (s->to.lid == from->lid && s->to.qpn == from->qpn &&
		    memcmp(s->head.mad.tid, tid, sizeof(s->head.mad.tid)) == 0)
			return s;
	}
	return NULL;
}

static struct rmpp_session *create_session(const struct sa_table *table)
{
	struct rmpp_session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->bytes = table->count * table->record;
	if (!s->bytes)
		return s;
	s->data = malloc(s->bytes);
	if (!s->data) {
		free(s);
		return NULL;
	}
	memcpy(s->data, table->bytes, s->bytes);
	return s;
}

void rmpp_send(struct sn_manager *m, const struct sn_peer *to, const struct sa_header *head,
	       const struct sa_table *table)
{
	struct rmpp_session *s = find(m, to, head->mad.tid);

	/* The request came again: the answer is on its way. */
	if (s)
		return;
	make_room(m, to->lid);
	s = create_session(table);
	if (!s)
		return;
	s->to = *to;
	s->head = *head;
	s->segments = (uint32_t)((s->bytes + SA_DATA_BYTES - 1) / SA_DATA_BYTES);
	if (!s->segments)
		s->segments = 1;
	s->window = 1;
	s->tries = TRIES;
	up_list_add_tail(&m->rmpp.sessions, &s->in_manager);
	m->rmpp.count++;
	send_more(m, s);
}

static void acknowledged(struct sn_manager *m, struct rmpp_session *s, uint32_t segment,
			 uint32_t window)
{
	/* 13.6.3.1: what is stale or impossible is passed over. */
	if (segment > s->sent || segment < s->acked || window < segment)
		return;
	if (segment == s->segments) {
		end_session(m, s);
		return;
	}
	if (segment > s->acked)
		s->tries = TRIES;
	s->acked = segment;
	if (window > s->window)
		s->window = window;
	send_more(m, s);
}

/* A request that came as a segment of its own wants an acknowledgement, before its answer. */
static void acknowledge(struct sn_manager *m, const struct sn_peer *to, const struct sa_header *h)
{
	uint8_t mad[MAD_BYTES] = {0};
	struct sa_header *ack = (struct sa_header *)mad;

	*ack = *h;
	ack->mad.method ^= MAD_RESPONSE_BIT;
	ack->rmpp_type = RMPP_ACK;
	ack->rmpp_flags = RMPP_NO_TIME | RMPP_ACTIVE;
	memcpy(ack->length, ack->segment, sizeof(ack->length));
	sn_adapter_send(m->adapter, 1, to, mad);
}

bool rmpp_received(struct sn_manager *m, const struct sn_peer *from, const struct sa_header *h)
{
	struct rmpp_session *s;

	if (h->rmpp_version != RMPP_VERSION || !(h->rmpp_flags & RMPP_ACTIVE))
		return false;
	if (h->rmpp_type == RMPP_DATA) {
		acknowledge(m, from, h);
		/* No request has more than one segment; the first of it is all. */
		return up_get_be32(h->segment) != 1;
	}
	s = find(m, from, h->mad.tid);
	if (s && h->rmpp_type == RMPP_ACK)
		acknowledged(m, s, up_get_be32(h->segment), up_get_be32(h->length));
	else if (s)
		end_session(m, s);
	return true;
}

bool rmpp_tick(struct sn_manager *m, uint64_t now, uint64_t *due)
{
	struct up_list *pos, *tmp;
	bool worked = false;

	up_list_each (pos, tmp, &m->rmpp.sessions) {
		struct rmpp_session *s = UP_CONTAINER_OF(pos, struct rmpp_session, in_manager);

		if (now >= s->answer) {
			if (!s->tries--) {
				end_session(m, s);
				continue;
			}
			s->sent = s->acked;
			s->answer = now + ANSWER_TIME;
		}
		worked |= send_more(m, s);
		if (s->answer < *due)
			*due = s->answer;
	}
	return worked;
}

void rmpp_port_down(struct sn_manager *m, uint16_t lid)
{
	struct up_list *pos, *tmp;

	up_list_each (pos, tmp, &m->rmpp.sessions) {
		struct rmpp_session *s = UP_CONTAINER_OF(pos, struct rmpp_session, in_manager);

		if (s->to.lid == lid)
			end_session(m, s);
	}
}

void rmpp_fini(struct sn_manager *m)
{
	struct up_list *pos, *tmp;

	up_list_each (pos, tmp, &m->rmpp.sessions)
		end_session(m, UP_CONTAINER_OF(pos, struct rmpp_session, in_manager));
}
