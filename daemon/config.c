/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The configuration file, in libconfig's syntax (underpassd.conf(5)). Each group is a table of the
 * settings it may hold; whatever is not in the table is an error, told with its file and line.
 */
#include "daemon/settings.h"

#include "base/bytes.h"

#include <errno.h>
#include <grp.h>
#include <libconfig.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reader {
	struct up_settings *settings;
	struct up_port_settings port; /* the one being read; borrowed strings */
	void (*report)(void *arg, const char *message);
	void *arg;
	bool failed;
};

struct item {
	const char *name;
	void (*read)(struct reader *r, const config_setting_t *cs, const struct item *item);
	uint32_t *number; /* read_number() */
	uint32_t min, max;
	char **string; /* read_string() */
	enum up_doorbells *doorbells;
};

/* The file's name is libconfig's: that of an included file, where the setting is in one. */
static void complain(struct reader *r, const config_setting_t *cs, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void complain(struct reader *r, const config_setting_t *cs, const char *fmt, ...)
{
	const char *file = config_setting_source_file(cs);
	char what[512], line[768];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	snprintf(line, sizeof(line), "%s:%u: %s", file ? file : "?", config_setting_source_line(cs),
		 what);
	r->report(r->arg, line);
	r->failed = true;
}

static void read_number(struct reader *r, const config_setting_t *cs, const struct item *item)
{
	int type = config_setting_type(cs);
	long long v = config_setting_get_int64(cs);

	if ((type != CONFIG_TYPE_INT && type != CONFIG_TYPE_INT64) || v < item->min ||
	    v > item->max)
		complain(r, cs, "'%s' must be a number from %u to %u", item->name, item->min,
			 item->max);
	else
		*item->number = (uint32_t)v;
}

static const char *get_string(struct reader *r, const config_setting_t *cs)
{
	const char *s = config_setting_get_string(cs);

	if (!s || !*s)
		complain(r, cs, "'%s' must be a string, in double quotes and not empty",
			 config_setting_name(cs));
	return s && *s ? s : NULL;
}

static void read_string(struct reader *r, const config_setting_t *cs, const struct item *item)
{
	const char *s = get_string(r, cs);

	if (!s)
		return;
	free(*item->string);
	*item->string = strdup(s);
	if (!*item->string)
		complain(r, cs, "out of memory");
}

static void read_level(struct reader *r, const config_setting_t *cs, const struct item *item)
{
	const char *s = get_string(r, cs);

	if (s && !up_parse_log_level(s, &r->settings->log_level))
		complain(r, cs,
			 "'%s' is not a log level: write debug, info, notice, warning or error", s);
}

static void read_doorbells(struct reader *r, const config_setting_t *cs, const struct item *item)
{
	const char *s = get_string(r, cs);

	if (s && !up_parse_doorbells(s, item->doorbells))
		complain(r, cs, "doorbells are \"shared\" or \"trap\", not \"%s\"", s);
}

static void read_cpu(struct reader *r, const config_setting_t *cs, const struct item *item)
{
	int v = config_setting_get_int(cs);

	if (config_setting_type(cs) != CONFIG_TYPE_INT || v < -1 || v > (int)item->max)
		complain(r, cs, "'%s' must be a number from 0 to %u, or -1 for none", item->name,
			 item->max);
	else
		r->settings->fabric.first_cpu = v;
}

static void read_mode(struct reader *r, const config_setting_t *cs, const struct item *item)
{
	const char *s = get_string(r, cs);
	unsigned long mode;
	char *end;

	if (!s)
		return;
	mode = strtoul(s, &end, 8);
	if (*end || s[0] < '0' || s[0] > '7' || mode > 0777 || (mode & 0600) != 0600)
		complain(r, cs, "'%s' must be an octal mode in quotes, such as \"0660\"",
			 item->name);
	else
		r->settings->socket_mode = (mode_t)mode;
}

/* A number stands for itself. */
static bool parse_id(const char *s, unsigned *id)
{
	char *end;
	unsigned long v = strtoul(s, &end, 10);

	*id = (unsigned)v;
	return s[0] >= '0' && s[0] <= '9' && !*end && v < (uid_t)-1;
}

static void read_owner(struct reader *r, const config_setting_t *cs, const struct item *item)
{
	const char *s = get_string(r, cs);
	const struct passwd *pw;

	if (!s || parse_id(s, &r->settings->socket_owner))
		return;
	pw = getpwnam(s);
	if (pw)
		r->settings->socket_owner = pw->pw_uid;
	else
		complain(r, cs, "there is no user '%s'", s);
}

static void read_group_id(struct reader *r, const config_setting_t *cs, const struct item *item)
{
	const char *s = get_string(r, cs);
	const struct group *gr;

	if (!s || parse_id(s, &r->settings->socket_group))
		return;
	gr = getgrnam(s);
	if (gr)
		r->settings->socket_group = gr->gr_gid;
	else
		complain(r, cs, "there is no group '%s'", s);
}

/* Reads the members of a group, each by its item; the table ends with a NULL name. */
static void read_members(struct reader *r, const config_setting_t *group, const struct item *table)
{
	const config_setting_t *cs;
	const struct item *item;

	if (!config_setting_is_group(group)) {
		complain(r, group, "'%s' must be a group: write %s = { ... };",
			 config_setting_name(group), config_setting_name(group));
		return;
	}
	for (unsigned i = 0; (cs = config_setting_get_elem(group, i)); i++) {
		for (item = table; item->name; item++) {
			if (strcmp(item->name, config_setting_name(cs)) == 0)
				break;
		}
		if (item->name)
			item->read(r, cs, item);
		else
			complain(r, cs, "there is no setting '%s' here", config_setting_name(cs));
	}
}

static void read_polling(struct reader *r, const config_setting_t *cs, const struct item *item)
{
	struct up_fabric_config *f = &r->settings->fabric;
	const struct item table[] = {
		{"spin_us", read_number, .number = &f->spin_us, .max = 1000000},
		{"idle_sleep_us", read_number, .number = &f->idle_sleep_us, .min = 1,
		 .max = 1000000},
		{"deep_sleep_us", read_number, .number = &f->deep_sleep_us, .min = 1,
		 .max = 1000000},
		{"idle_permille", read_number, .number = &f->idle_permille, .min = 1, .max = 1000},
		{"priority", read_number, .number = &f->priority, .max = 20},
		{0},
	};

	read_members(r, cs, table);
}

static void read_limits(struct reader *r, const config_setting_t *cs, const struct item *item)
{
	struct up_settings *s = r->settings;
	const struct item table[] = {
		{"quantum_bytes", read_number, .number = &s->fabric.quantum_bytes, .min = 4096,
		 .max = 16 << 20},
		{"ports", read_number, .number = &s->max_ports, .min = 1,
		 .max = UP_LID_MULTICAST - UP_SM_LID - 1},
		{"control_clients", read_number, .number = &s->max_clients, .min = 1, .max = 1024},
		{0},
	};

	read_members(r, cs, table);
}

static void read_sockets(struct reader *r, const config_setting_t *cs, const struct item *item)
{
	static const struct item table[] = {
		{"mode", read_mode}, {"owner", read_owner}, {"group", read_group_id}, {0}};

	read_members(r, cs, table);
}

static void read_port_name(struct reader *r, const config_setting_t *cs, const struct item *item)
{
	const char *s = get_string(r, cs);

	if (s && !up_port_name_usable(s))
		complain(r, cs, "'%s' cannot be a port's name: " UP_NAME_RULE UP_PORT_NAME_RULE, s);
	else
		r->port.name = s;
}

static void read_tenant(struct reader *r, const config_setting_t *cs, const struct item *item)
{
	const char *s = get_string(r, cs);

	if (s && !up_name_valid(s))
		complain(r, cs, "'%s' cannot be a tenant's name: " UP_NAME_RULE, s);
	else
		r->port.tenant = s;
}

static void read_guid(struct reader *r, const config_setting_t *cs, const struct item *item)
{
	const char *s = get_string(r, cs);

	if (s && !up_parse_guid(s, &r->port.guid))
		complain(r, cs,
			 "'%s' is not a GUID: write \"0x\" and 16 digits, or four groups of four",
			 s);
}

static void read_port(struct reader *r, const config_setting_t *cs)
{
	const struct item table[] = {
		{"name", read_port_name},
		{"tenant", read_tenant},
		{"guid", read_guid},
		{"doorbells", read_doorbells, .doorbells = &r->port.doorbells},
		{0},
	};
	bool failed = r->failed;
	char where[512];
	int err;

	if (!config_setting_is_group(cs)) {
		complain(r, cs, "a port is a group: write { name = \"...\"; }");
		return;
	}
	r->port = (struct up_port_settings){.where = where};
	r->failed = false;
	read_members(r, cs, table);
	if (!config_setting_get_member(cs, "name"))
		complain(r, cs, "this port has no name");
	if (!r->failed) {
		snprintf(where, sizeof(where), "%s:%u", config_setting_source_file(cs),
			 config_setting_source_line(cs));
		err = up_settings_add_port(r->settings, &r->port);
		if (err == -EEXIST)
			complain(r, cs, "port '%s' is defined twice", r->port.name);
		else if (err)
			complain(r, cs, "port '%s': %s", r->port.name, strerror(-err));
	}
	r->failed |= failed;
}

static void read_ports(struct reader *r, const config_setting_t *cs, const struct item *item)
{
	const config_setting_t *port;

	if (!config_setting_is_list(cs)) {
		complain(r, cs, "'ports' must be a list: write ports = ( { name = \"...\"; } );");
		return;
	}
	for (unsigned i = 0; (port = config_setting_get_elem(cs, i)); i++)
		read_port(r, port);
}

static void read_root(struct reader *r, const config_setting_t *root)
{
	struct up_settings *s = r->settings;
	const struct item table[] = {
		{"dir", read_string, .string = &s->dir},
		{"log_level", read_level},
		{"doorbells", read_doorbells, .doorbells = &s->doorbells},
		{"workers", read_number, .number = &s->fabric.workers, .min = 1,
		 .max = UP_FABRIC_MAX_WORKERS},
		{"first_cpu", read_cpu, .max = 4095},
		{"polling", read_polling},
		{"limits", read_limits},
		{"sockets", read_sockets},
		{"ports", read_ports},
		{0},
	};

	read_members(r, root, table);
}

static void report_syntax(struct reader *r, const config_t *cfg, const char *path)
{
	const char *file = config_error_file(cfg);
	int error = errno ? errno : EISDIR; /* libconfig sets none for a directory */
	char line[768];

	if (config_error_type(cfg) == CONFIG_ERR_FILE_IO)
		snprintf(line, sizeof(line), "%s: cannot read the file: %s", path, strerror(error));
	else
		snprintf(line, sizeof(line), "%s:%d: %s", file ? file : path,
			 config_error_line(cfg), config_error_text(cfg));
	r->report(r->arg, line);
}

int up_settings_read(struct up_settings *s, const char *path,
		     void (*report)(void *arg, const char *message), void *arg)
{
	struct reader r = {.settings = s, .report = report, .arg = arg};
	config_t cfg;

	config_init(&cfg);
	errno = 0;
	if (config_read_file(&cfg, path) == CONFIG_TRUE) {
		read_root(&r, config_root_setting(&cfg));
	} else {
		report_syntax(&r, &cfg, path);
		r.failed = true;
	}
	config_destroy(&cfg);
	return r.failed ? -EINVAL : 0;
}
