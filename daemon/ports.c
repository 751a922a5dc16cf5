/* SPDX-License-Identifier: BSD-2-Clause */
/* Ports of the daemon: the fabric's port, the device behind it, and its socket. */
#include "daemon/daemon.h"

#include "base/log.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

static int serve(sd_event_source *source, int fd, uint32_t revents, void *arg)
{
	struct up_daemon_port *p = arg;

	if (cx_device_process(p->device) == 0)
		return 0;
	/* The server told the log why. The other ports go on. */
	p->failed = true;
	sd_event_source_set_enabled(source, SD_EVENT_OFF);
	return 0;
}

bool up_daemon_port_connected(const struct up_port *port)
{
	return cx_device_connected(up_daemon_port(port)->device);
}

static int open_device(struct up_daemon *d, struct up_daemon_port *p, struct up_error *e)
{
	const struct up_settings *s = &d->settings;
	struct cx_device_config cfg = {
		.socket_path = p->socket,
		.socket_mode = s->socket_mode,
		.trap_doorbells = p->doorbells == UP_DOORBELLS_TRAP,
		.reaper = d->reaper,
	};

	p->device = cx_device_create(p->port, &cfg);
	if (!p->device) {
		if (errno == EADDRINUSE)
			return up_fail(e, "in-use", "%s: another program serves this socket",
				       p->socket);
		if (errno == EEXIST)
			return up_fail(e, "in-use", "%s: something that is no socket is there",
				       p->socket);
		return up_fail(e, "failed", "%s: cannot create the device: %s", p->socket,
			       strerror(errno));
	}
	if ((s->socket_owner != (uid_t)-1 || s->socket_group != (gid_t)-1) &&
	    lchown(p->socket, s->socket_owner, s->socket_group) < 0)
		return up_fail(e, "failed", "%s: cannot change the owner: %s", p->socket,
			       strerror(errno));
	return 0;
}

static int open_port(struct up_daemon *d, struct up_daemon_port *p, struct up_error *e)
{
	int fd, err;

	if (asprintf(&p->socket, "%s/%s.sock", d->dir, p->port->name) < 0) {
		p->socket = NULL;
		return up_fail(e, "failed", "out of memory");
	}
	if (strlen(p->socket) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return up_fail(e, "bad-name", "%s: longer than a socket's path can be", p->socket);
	if (open_device(d, p, e) < 0)
		return -1;
	fd = cx_device_fd(p->device);
	err = sd_event_add_io(d->loop, &p->source, fd, EPOLLIN, serve, p);
	if (err < 0)
		return up_fail(e, "failed", "cannot watch %s: %s", p->socket, strerror(-err));
	return 0;
}

static void close_port(struct up_daemon_port *p)
{
	sd_event_source_disable_unref(p->source);
	cx_device_destroy(p->device);
	free(p->socket);
	free(p);
}

static int why_not(struct up_error *e, const struct up_port_settings *s)
{
	const char *tenant = s->tenant ? s->tenant : UP_DEFAULT_TENANT;

	switch (errno) {
	case EEXIST:
		return up_fail(e, "exists", "there is a port with this GUID in tenant '%s'",
			       tenant);
	case ENOSPC:
		return up_fail(e, "limit", "all LIDs are in use");
	default:
		return up_fail(e, "failed", "cannot add port '%s': %s", s->name, strerror(errno));
	}
}

static int check_settings(struct up_daemon *d, const struct up_port_settings *s, struct up_error *e)
{
	if (!up_port_name_usable(s->name))
		return up_fail(e, "bad-name",
			       "'%.64s' cannot be a port's name: " UP_NAME_RULE UP_PORT_NAME_RULE,
			       s->name);
	if (s->tenant && !up_name_valid(s->tenant))
		return up_fail(e, "bad-name", "'%.64s' cannot be a tenant's name: " UP_NAME_RULE,
			       s->tenant);
	if (up_port_find(d->fabric, s->name))
		return up_fail(e, "exists", "there is a port '%s' already", s->name);
	if (d->nports >= d->settings.max_ports)
		return up_fail(e, "limit", "the limit of %u ports is reached",
			       d->settings.max_ports);
	return 0;
}

int up_daemon_port_add(struct up_daemon *d, const struct up_port_settings *s, struct up_error *e)
{
	struct up_daemon_port *p;
	struct up_port *port;

	if (check_settings(d, s, e) < 0)
		return -1;
	p = calloc(1, sizeof(*p));
	if (!p)
		return up_fail(e, "failed", "out of memory");
	port = up_port_create(d->fabric, s->name, s->tenant ? s->tenant : UP_DEFAULT_TENANT,
			      s->guid);
	if (!port) {
		free(p);
		return why_not(e, s);
	}
	p->daemon = d;
	p->port = port;
	p->doorbells = s->doorbells ? s->doorbells : d->settings.doorbells;
	port->owner = p;
	if (open_port(d, p, e) < 0) {
		close_port(p);
		up_port_destroy(port);
		return -1;
	}
	d->nports++;
	up_log(LOG_INFO, port->name, "serving on %s, tenant %s, LID %u", p->socket, port->tenant,
	       port->lid);
	return 0;
}

/* The allocator would keep what many ports took for the next ones. */
void up_daemon_port_remove(struct up_port *port)
{
	struct up_daemon_port *p = up_daemon_port(port);

	up_log(LOG_INFO, port->name, "removed");
	p->daemon->nports--;
	close_port(p);
	up_port_destroy(port);
	malloc_trim(0);
}
