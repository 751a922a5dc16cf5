/* SPDX-License-Identifier: BSD-2-Clause */
/* The subnet manager's life, and which agent gets a MAD that came to it. */
#include "subnet/manager.h"

#include "subnet/subnet.h"

#include <errno.h>
#include <stdlib.h>

static void answer_as_port(struct sn_manager *m, unsigned qpn, const struct sn_peer *from,
			   uint8_t mad[MAD_BYTES])
{
	if (up_mad_process(m->port, mad, mad))
		sn_adapter_send(m->adapter, qpn, from, mad);
}

static void received(void *agent, unsigned qpn, const struct sn_peer *from, uint8_t mad[MAD_BYTES])
{
	struct sn_manager *m = agent;
	const struct sa_header *h = (const struct sa_header *)mad;

	if (qpn == 1 && h->mad.mgmt_class == SA_CLASS) {
		if (!rmpp_received(m, from, h))
			sa_received(m, from, mad);
		return;
	}
	/* 13.4.4: subnet management comes to QP0, all other classes to QP1. */
	if (qpn == 0 ? h->mad.mgmt_class == MAD_CLASS_SM_LID ||
			       h->mad.mgmt_class == MAD_CLASS_SM_DIRECTED
		     : h->mad.mgmt_class == MAD_CLASS_PERF)
		answer_as_port(m, qpn, from, mad);
}

static bool tick(void *agent, uint64_t now, uint64_t *due)
{
	return rmpp_tick(agent, now, due);
}

static const struct sn_agent_ops agent_ops = {.received = received, .tick = tick};

static void destroy(void *arg)
{
	struct sn_manager *m = arg;

	if (m->adapter)
		sn_adapter_destroy(m->adapter);
	rmpp_fini(m);
	sa_services_fini(m);
	sa_groups_fini(m);
	sa_table_fini(&m->table);
	free(m);
}

static void *create(struct up_port *port)
{
	struct sn_manager *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->port = port;
	up_list_init(&m->rmpp.sessions);
	m->adapter = sn_adapter_create(&agent_ops, m);
	if (!m->adapter || sa_groups_init(m)) {
		destroy(m);
		errno = ENOMEM;
		return NULL;
	}
	sn_adapter_open(m->adapter, port);
	return m;
}

static void port_down(void *manager, const struct up_port *port)
{
	struct sn_manager *m = manager;

	sa_groups_port_down(m, port);
	sa_services_port_down(m, port);
	rmpp_port_down(m, port->lid);
	sn_adapter_forget(m->adapter, port->lid);
}

const struct up_manager_ops up_subnet_manager = {
	.create = create,
	.destroy = destroy,
	.port_down = port_down,
};
