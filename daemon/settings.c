/* SPDX-License-Identifier: BSD-2-Clause */
/* Defaults of the settings, the list of ports, and the values that words in them stand for. */
#include "daemon/settings.h"

#include "base/bytes.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

void up_settings_init(struct up_settings *s)
{
	*s = (struct up_settings){
		.log_level = LOG_INFO,
		.doorbells = UP_DOORBELLS_SHARED,
		.fabric = UP_FABRIC_CONFIG_DEFAULT,
		.max_ports = 1024,
		.max_clients = 64,
		.socket_mode = 0600,
		.socket_owner = (uid_t)-1,
		.socket_group = (gid_t)-1,
	};
}

static void port_fini(struct up_port_settings *p)
{
	free((char *)p->name);
	free((char *)p->tenant);
	free((char *)p->where);
}

void up_settings_fini(struct up_settings *s)
{
	for (unsigned i = 0; i < s->nports; i++)
		port_fini(&s->ports[i]);
	free(s->ports);
	free(s->dir);
}

bool up_port_name_usable(const char *name)
{
	return up_name_valid(name) && strcmp(name, "control") != 0;
}

int up_settings_add_port(struct up_settings *s, const struct up_port_settings *port)
{
	const char *tenant = port->tenant ? port->tenant : UP_DEFAULT_TENANT;
	struct up_port_settings *p;

	if (!up_port_name_usable(port->name) || !up_name_valid(tenant))
		return -EINVAL;
	for (unsigned i = 0; i < s->nports; i++) {
		if (strcmp(s->ports[i].name, port->name) == 0)
			return -EEXIST;
	}
	p = reallocarray(s->ports, s->nports + 1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	s->ports = p;
	p += s->nports;
	*p = (struct up_port_settings){
		.name = strdup(port->name),
		.tenant = strdup(tenant),
		.guid = port->guid,
		.doorbells = port->doorbells,
		.where = strdup(port->where ? port->where : ""),
	};
	if (!p->name || !p->tenant || !p->where) {
		port_fini(p);
		return -ENOMEM;
	}
	s->nports++;
	return 0;
}

bool up_parse_log_level(const char *text, int *priority)
{
	static const struct {
		const char *word;
		int priority;
	} levels[] = {
		{"debug", LOG_DEBUG},	  {"info", LOG_INFO}, {"notice", LOG_NOTICE},
		{"warning", LOG_WARNING}, {"error", LOG_ERR},
	};

	for (unsigned i = 0; i < UP_ARRAY_SIZE(levels); i++) {
		if (strcmp(text, levels[i].word) == 0) {
			*priority = levels[i].priority;
			return true;
		}
	}
	return false;
}

bool up_parse_doorbells(const char *text, enum up_doorbells *d)
{
	if (strcmp(text, "shared") == 0)
		*d = UP_DOORBELLS_SHARED;
	else if (strcmp(text, "trap") == 0)
		*d = UP_DOORBELLS_TRAP;
	else
		return false;
	return true;
}

bool up_parse_guid(const char *text, uint64_t *guid)
{
	unsigned digits = 0;
	uint64_t v = 0;
	bool groups = strncmp(text, "0x", 2) != 0;

	for (text += groups ? 0 : 2; *text; text++) {
		static const char hex[] = "0123456789abcdef";
		const char *at;

		if (groups && digits && digits % 4 == 0 && *text == ':' && text[-1] != ':')
			continue;
		if (groups && digits && digits % 4 == 0 && text[-1] != ':')
			return false;
		at = memchr(hex, tolower((unsigned char)*text), 16);
		if (!at || ++digits > 16)
			return false;
		v = v << 4 | (uint64_t)(at - hex);
	}
	*guid = v;
	return digits == 16 && v != 0 && text[-1] != ':';
}
