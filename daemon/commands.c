/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests of the control protocol: checks, one table of commands, and the commands. */
#include "daemon/commands.h"

#include "daemon/protocol.h"
#include "daemon/qemu_args.h"

#include "base/bytes.h"
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *up_port_state(const struct up_port *port)
{
	const struct up_daemon_port *p = up_daemon_port(port);

	if (p->failed)
		return "failed";
	if (cx_device_is_fatal(p->device))
		return "error";
	if (port->unplugged)
		return "unplugged";
	return port->active ? "active" : "down";
}

void up_format_gid(char text[UP_GID_TEXT], const struct up_gid *gid)
{
	for (unsigned i = 0; i < 8; i++)
		snprintf(text + 5 * i, 6, "%04x%s", up_get_be16(gid->raw + 2 * i),
			 i < 7 ? ":" : "");
}

/*
 * A command gets its request without "version" and "command" and checks all that is left. It
 * returns a new result; NULL with *e set; or NULL with *more set.
 */
struct call {
	struct up_daemon *daemon;
	json_t *request;
	struct up_error *e;
	struct up_stats_reply **more;
};

/* As json_unpack(); the format ends with '!', so that unknown members are refused. */
static bool unpack(struct call *c, const char *fmt, ...)
{
	json_error_t why;
	va_list ap;
	int err;

	va_start(ap, fmt);
	err = json_vunpack_ex(c->request, &why, 0, fmt, ap);
	va_end(ap);
	if (err < 0)
		up_fail(c->e, "bad-request", "%s", why.text);
	return err == 0;
}

static struct up_port *find_port(struct call *c, const char *name)
{
	struct up_port *port = up_port_find(c->daemon->fabric, name);

	if (!port)
		up_fail(c->e, "no-port", "there is no port '%.64s'", name);
	return port;
}

static json_t *port_json(const struct up_port *port)
{
	const struct up_daemon_port *p = up_daemon_port(port);
	char gid[UP_GID_TEXT];

	up_format_gid(gid, &port->gid);
	return json_pack("{s:s, s:s, s:i, s:s, s:s, s:s, s:b, s:s, s:s}", "name", port->name,
			 "tenant", port->tenant, "lid", port->lid, "guid", gid + 20, "gid", gid,
			 "state", up_port_state(port), "connected", up_daemon_port_connected(port),
			 "doorbells", p->doorbells == UP_DOORBELLS_TRAP ? "trap" : "shared",
			 "socket", p->socket);
}

static json_t *cmd_port_list(struct call *c)
{
	struct up_port *port = NULL;
	json_t *list;

	if (!unpack(c, "{!}"))
		return NULL;
	list = json_array();
	while ((port = up_port_next(c->daemon->fabric, port)))
		json_array_append_new(list, port_json(port));
	return json_pack("{s:o}", "ports", list);
}

static json_t *cmd_port_add(struct call *c)
{
	const char *name, *tenant = NULL, *guid = NULL, *doorbells = NULL;
	struct up_port_settings s = {0};

	if (!unpack(c, "{s:s, s?s, s?s, s?s !}", "name", &name, "tenant", &tenant, "guid", &guid,
		    "doorbells", &doorbells))
		return NULL;
	if (guid && !up_parse_guid(guid, &s.guid)) {
		up_fail(c->e, "bad-request",
			"'%.64s' is not a GUID: write 0x and 16 digits, or four groups of four",
			guid);
		return NULL;
	}
	if (doorbells && !up_parse_doorbells(doorbells, &s.doorbells)) {
		up_fail(c->e, "bad-request", "doorbells are 'shared' or 'trap', not '%.64s'",
			doorbells);
		return NULL;
	}
	s.name = name;
	s.tenant = tenant;
	if (up_daemon_port_add(c->daemon, &s, c->e) < 0)
		return NULL;
	up_daemon_tell_status(c->daemon);
	return port_json(up_port_find(c->daemon->fabric, name));
}

static json_t *cmd_port_remove(struct call *c)
{
	struct up_port *port;
	const char *name;
	int force = false;

	if (!unpack(c, "{s:s, s?b !}", "name", &name, "force", &force))
		return NULL;
	port = find_port(c, name);
	if (!port)
		return NULL;
	if (up_daemon_port_connected(port) && !force) {
		up_fail(c->e, "busy", "a VM is attached to port '%s'", name);
		return NULL;
	}
	up_daemon_port_remove(port);
	up_daemon_tell_status(c->daemon);
	return json_object();
}

static json_t *set_link(struct call *c, bool up)
{
	struct up_port *port;
	const char *name;

	if (!unpack(c, "{s:s !}", "name", &name))
		return NULL;
	port = find_port(c, name);
	if (!port)
		return NULL;
	if (port->unplugged == up)
		up_log(LOG_INFO, port->name, up ? "plugged in" : "unplugged");
	up_port_set_link(port, up);
	return port_json(port);
}

static json_t *cmd_port_plug(struct call *c)
{
	return set_link(c, true);
}

static json_t *cmd_port_unplug(struct call *c)
{
	return set_link(c, false);
}

static json_t *cmd_qemu_args(struct call *c)
{
	const char *name, *memory = "2G";
	struct up_port *port;
	int device_only = false;
	uint64_t mib;

	if (!unpack(c, "{s:s, s?s, s?b !}", "port", &name, "memory", &memory, "device_only",
		    &device_only))
		return NULL;
	if (!up_parse_memory(memory, &mib)) {
		up_fail(c->e, "bad-request",
			"'%.64s' is not a memory size: write 512M, 2G or a number of MiB", memory);
		return NULL;
	}
	port = find_port(c, name);
	if (!port)
		return NULL;
	return json_pack("{s:o, s:s, s:s, s:b}", "arguments",
			 up_qemu_args(up_daemon_port(port)->socket, device_only ? 0 : mib),
			 "socket", up_daemon_port(port)->socket, "state", up_port_state(port),
			 "connected", up_daemon_port_connected(port));
}

static uint64_t uptime_s(const struct up_daemon *d)
{
	uint64_t now;

	sd_event_now(d->loop, CLOCK_MONOTONIC, &now);
	return now > d->started ? (now - d->started) / 1000000 : 0;
}

static json_t *cmd_status(struct call *c)
{
	const struct up_daemon *d = c->daemon;
	const struct up_fabric_config *f = &d->settings.fabric;
	struct up_port *port = NULL;
	int connected = 0, active = 0;

	if (!unpack(c, "{!}"))
		return NULL;
	while ((port = up_port_next(d->fabric, port))) {
		connected += up_daemon_port_connected(port);
		active += port->active;
	}
	return json_pack(
		"{s:s, s:i, s:s, s:I, s:i, s:i, s:i, s:i, s:i, s:{s:I, s:I, s:I, s:I}, s:I}",
		"daemon", UP_VERSION, "pid", (int)getpid(), "dir", d->dir, "uptime_s",
		(json_int_t)uptime_s(d), "ports", (int)d->nports, "max_ports",
		(int)d->settings.max_ports, "connected", connected, "active", active, "workers",
		(int)f->workers, "polling", "spin_us", (json_int_t)f->spin_us, "idle_sleep_us",
		(json_int_t)f->idle_sleep_us, "deep_sleep_us", (json_int_t)f->deep_sleep_us,
		"idle_permille", (json_int_t)f->idle_permille, "quantum_bytes",
		(json_int_t)f->quantum_bytes);
}

static json_t *cmd_stats(struct call *c)
{
	const char *name = NULL;
	struct up_port *port = NULL;
	int qps = true;

	if (!unpack(c, "{s?s, s?b !}", "port", &name, "qps", &qps))
		return NULL;
	if (name) {
		port = find_port(c, name);
		if (!port)
			return NULL;
	}
	*c->more = up_stats_reply_create(c->daemon, port, qps);
	if (!*c->more)
		up_fail(c->e, "failed", "out of memory");
	return NULL;
}

static const struct command {
	const char *name;
	json_t *(*run)(struct call *c);
} commands[] = {
	{"port-list", cmd_port_list},	  {"port-add", cmd_port_add},
	{"port-remove", cmd_port_remove}, {"port-plug", cmd_port_plug},
	{"port-unplug", cmd_port_unplug}, {"qemu-args", cmd_qemu_args},
	{"status", cmd_status},		  {"stats", cmd_stats},
};

static const struct command *find_command(const char *name)
{
	for (unsigned i = 0; i < UP_ARRAY_SIZE(commands); i++) {
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	}
	return NULL;
}

/* Takes version and command out of the request. */
static const struct command *take_head(json_t *request, struct up_error *e)
{
	const struct command *cmd;
	json_error_t why;
	const char *name;
	int version;

	if (json_unpack_ex(request, &why, 0, "{s:i, s:s}", "version", &version, "command", &name)) {
		up_fail(e, "bad-request", "%s", why.text);
		return NULL;
	}
	if (version != UP_PROTOCOL_VERSION) {
		up_fail(e, "bad-version",
			"this daemon (underpassd " UP_VERSION ") speaks version %d of the "
			"protocol, not %d",
			UP_PROTOCOL_VERSION, version);
		return NULL;
	}
	cmd = find_command(name);
	if (!cmd) {
		up_fail(e, "unknown-command", "there is no command '%.64s'", name);
		return NULL;
	}
	json_object_del(request, "version");
	json_object_del(request, "command");
	return cmd;
}

static int add_dump(const char *data, size_t len, void *out)
{
	up_text_add(out, data, len);
	return 0;
}

/* Takes over `reply`. */
static void send_reply(struct up_text *out, json_t *reply)
{
	if (!reply || json_dump_callback(reply, add_dump, out, JSON_COMPACT) < 0)
		out->failed = true;
	up_text_add(out, "\n", 1);
	json_decref(reply);
}

/* A text may quote what a client sent, cut anywhere: only ASCII of it is sure to be UTF-8. */
void up_command_refuse(struct up_text *out, const struct up_error *e)
{
	char text[sizeof(e->text)];

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (e->text[i] & 0x80) ? '?' : e->text[i];
	send_reply(out, json_pack("{s:i, s:b, s:{s:s, s:s}}", "version", UP_PROTOCOL_VERSION, "ok",
				  false, "error", "code", e->code, "message", text));
}

void up_command_run(struct up_daemon *d, const char *line, size_t len, struct up_text *out,
		    struct up_stats_reply **more)
{
	struct up_error e = {.code = "failed", .text = "cannot make the answer"};
	struct call call = {.daemon = d, .e = &e, .more = more};
	const struct command *cmd;
	json_t *result = NULL;
	json_error_t why;

	call.request = json_loadb(line, len, JSON_REJECT_DUPLICATES, &why);
	if (call.request) {
		cmd = take_head(call.request, &e);
		if (cmd)
			result = cmd->run(&call);
	} else {
		up_fail(&e, "bad-request", "not one JSON object: %s", why.text);
	}
	json_decref(call.request);
	if (result)
		send_reply(out, json_pack("{s:i, s:b, s:o}", "version", UP_PROTOCOL_VERSION, "ok",
					  true, "result", result));
	else if (!*more)
		up_command_refuse(out, &e);
}
