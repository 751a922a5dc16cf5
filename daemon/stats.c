/* SPDX-License-Identifier: BSD-2-Clause */
/* The reply to `stats`: counters of ports, their QPs and the workers. */
#include "daemon/commands.h"

#include "daemon/protocol.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { QPS_A_PIECE = 256 };

enum stage {
	STAGE_HEAD,
	STAGE_PORT,    /* a port's own counters are next */
	STAGE_QPS,     /* QPs of the port from qp_id on */
	STAGE_WORKERS, /* and the end */
	STAGE_DONE,
};

/* Ports are kept by name: one may be removed while a slow client reads. */
struct up_stats_reply {
	struct up_daemon *daemon;
	char (*names)[UP_NAME_MAX + 1];
	unsigned count, at;
	bool qps;
	enum stage stage;
	bool any_port, any_qp; /* something was written before: a comma is due */
	uint32_t qp_id;
};

struct up_stats_reply *up_stats_reply_create(struct up_daemon *d, const struct up_port *port,
					     bool qps)
{
	struct up_stats_reply *r = calloc(1, sizeof(*r));
	struct up_port *p = NULL;

	if (!r)
		return NULL;
	r->daemon = d;
	r->qps = qps;
	r->names = calloc(d->nports ? d->nports : 1, sizeof(*r->names));
	if (!r->names) {
		free(r);
		return NULL;
	}
	while ((p = up_port_next(d->fabric, p))) {
		if (!port || port == p)
			strcpy(r->names[r->count++], p->name);
	}
	return r;
}

void up_stats_reply_destroy(struct up_stats_reply *r)
{
	if (!r)
		return;
	free(r->names);
	free(r);
}

/* Names of ports and tenants need no escapes in JSON, see up_name_valid(). */
static void add_port(struct up_text *out, const struct up_port *port)
{
	const struct up_daemon_port *p = up_daemon_port(port);
	const struct up_hca_stats *s = &cx_device_hca(p->device)->stats;
	const struct up_vfio_stats *v = cx_device_socket_stats(p->device);
	char gid[UP_GID_TEXT];

	up_format_gid(gid, &port->gid);
	up_text_printf(out,
		       "{\"name\":\"%s\",\"tenant\":\"%s\",\"lid\":%u,\"gid\":\"%s\","
		       "\"state\":\"%s\",\"connected\":%s,",
		       port->name, port->tenant, port->lid, gid, up_port_state(port),
		       up_daemon_port_connected(port) ? "true" : "false");
	up_text_printf(out,
		       "\"messages\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"received\":%" PRIu64
		       ",\"received_bytes\":%" PRIu64 ",\"errors\":%" PRIu64 ",\"rnr\":%" PRIu64
		       ",\"events\":%" PRIu64 ",\"interrupts\":%" PRIu64 ",\"commands\":%" PRIu64
		       ",\"doorbell_hints\":%" PRIu64 ",",
		       up_stat_get(&s->messages), up_stat_get(&s->bytes),
		       up_stat_get(&s->rx_messages), up_stat_get(&s->rx_bytes),
		       up_stat_get(&s->errors), up_stat_get(&s->rnr), up_stat_get(&s->events),
		       up_stat_get(&s->interrupts), up_stat_get(&s->commands),
		       up_stat_get(&s->hints));
	up_text_printf(out,
		       "\"socket_messages\":%" PRIu64 ",\"socket_bytes\":%" PRIu64
		       ",\"socket_errors\":%" PRIu64 ",\"register_accesses\":%" PRIu64
		       ",\"connections\":%" PRIu64 ",\"connections_refused\":%" PRIu64 ",\"qps\":[",
		       v->messages_in + v->messages_out, v->bytes_in + v->bytes_out, v->errors,
		       v->region_reads + v->region_writes, v->connections, v->refused);
}

static const char *type_name(const struct up_qp *qp)
{
	static const char *const names[] = {
		[UP_QP_RC] = "RC",	     [UP_QP_UC] = "UC",		  [UP_QP_UD] = "UD",
		[UP_QP_XRC_INI] = "XRC_INI", [UP_QP_XRC_TGT] = "XRC_TGT", [UP_QP_LOCAL] = "LOCAL",
	};

	if (qp->is_special)
		return qp->special == 0 ? "SMI" : "GSI";
	return names[qp->type];
}

static const char *state_name(enum up_qp_state state)
{
	static const char *const names[] = {
		[UP_QPS_RESET] = "RESET", [UP_QPS_INIT] = "INIT", [UP_QPS_RTR] = "RTR",
		[UP_QPS_RTS] = "RTS",	  [UP_QPS_SQD] = "SQD",	  [UP_QPS_SQE] = "SQE",
		[UP_QPS_ERR] = "ERR",
	};

	return names[state];
}

static void add_qp(struct up_text *out, const struct up_qp *qp)
{
	const struct up_qp_stats *s = &qp->stats;

	up_text_printf(out,
		       "{\"qpn\":%u,\"type\":\"%s\",\"state\":\"%s\",\"messages\":%" PRIu64
		       ",\"bytes\":%" PRIu64 ",\"received\":%" PRIu64 ",\"errors\":%" PRIu64
		       ",\"rnr\":%" PRIu64 "}",
		       qp->qpn, type_name(qp), state_name(up_qp_state_get(qp)),
		       up_stat_get(&s->messages), up_stat_get(&s->bytes), up_stat_get(&s->received),
		       up_stat_get(&s->errors), up_stat_get(&s->rnr));
}

static void next_port(struct up_stats_reply *r, struct up_text *out)
{
	struct up_port *port;

	while (r->at < r->count) {
		port = up_port_find(r->daemon->fabric, r->names[r->at]);
		if (port) {
			if (r->any_port)
				up_text_add(out, ",", 1);
			r->any_port = true;
			r->any_qp = false;
			r->qp_id = 0;
			add_port(out, port);
			r->stage = STAGE_QPS;
			return;
		}
		r->at++;
	}
	r->stage = STAGE_WORKERS;
}

static void next_qps(struct up_stats_reply *r, struct up_text *out)
{
	struct up_port *port = up_port_find(r->daemon->fabric, r->names[r->at]);
	const struct up_table *t = port ? &cx_device_hca(up_daemon_port(port)->device)->qps : NULL;
	struct up_qp *qp = NULL;

	for (unsigned n = 0; r->qps && t && n < QPS_A_PIECE; n++) {
		qp = up_table_next(t, &r->qp_id);
		if (!qp)
			break;
		if (r->any_qp)
			up_text_add(out, ",", 1);
		r->any_qp = true;
		add_qp(out, qp);
	}
	if (qp)
		return;
	up_text_add(out, "]}", 2);
	r->at++;
	r->stage = STAGE_PORT;
}

static void add_workers(struct up_stats_reply *r, struct up_text *out)
{
	unsigned n = up_fabric_workers(r->daemon->fabric);

	up_text_printf(out, "],\"workers\":[");
	for (unsigned i = 0; i < n; i++) {
		struct up_worker_stats s;

		up_worker_stats_get(r->daemon->fabric, i, &s);
		up_text_printf(out,
			       "%s{\"turns\":%" PRIu64 ",\"idle_sleeps\":%" PRIu64
			       ",\"busy_ns\":%" PRIu64 "}",
			       i ? "," : "", s.turns, s.idle_sleeps, s.busy_ns);
	}
	up_text_printf(out, "]}}\n");
}

bool up_stats_reply_next(struct up_stats_reply *r, struct up_text *out)
{
	switch (r->stage) {
	case STAGE_HEAD:
		up_text_printf(out, "{\"version\":%d,\"ok\":true,\"result\":{\"ports\":[",
			       UP_PROTOCOL_VERSION);
		r->stage = STAGE_PORT;
		break;
	case STAGE_PORT:
		next_port(r, out);
		break;
	case STAGE_QPS:
		next_qps(r, out);
		break;
	case STAGE_WORKERS:
		add_workers(r, out);
		r->stage = STAGE_DONE;
		break;
	case STAGE_DONE:
		break;
	}
	return r->stage != STAGE_DONE;
}
