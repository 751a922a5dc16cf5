/* SPDX-License-Identifier: BSD-2-Clause */
/* underpass: the command line, one function a command. */
#include "cli/client.h"
#include "cli/show.h"
#include "cli/watch.h"

#include "daemon/protocol.h"

#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *argp_program_version = "underpass " UP_VERSION;

enum {
	OPT_DEVICE_ONLY = 0x100,
	OPT_DOORBELLS,
	OPT_FORCE,
	OPT_GUID,
	OPT_QPS,
	OPT_TENANT,
	OPT_WAIT,
};

enum { WAIT_DEFAULT_S = 10, WAIT_MAX_S = 3600 };

struct command;

/* All options of all commands; each command's table says which it has. */
struct options {
	const struct command *cmd;
	const char *dir;
	const char *name; /* the argument */
	const char *tenant, *guid, *doorbells, *memory;
	double watch; /* seconds; 0: not given */
	double wait;  /* seconds that the daemon may take to appear */
	bool json, force, device_only, qps;
	/* Of the top level: where the command's own arguments begin. */
	int argc;
	char **argv;
};

struct command {
	const char *group, *name; /* group: the word before the name, or NULL */
	bool needs_name;
	enum exit_code (*run)(struct client *c, const struct options *o);
	struct argp argp;
};

static double parse_seconds(struct argp_state *state, const char *option, const char *text,
			    double otherwise)
{
	char *end;
	double s = text ? strtod(text, &end) : otherwise;

	if (text && (*end || !(s >= 0.1 && s <= WAIT_MAX_S)))
		argp_error(state, "%s: '%s' is not a number of seconds from 0.1 to %d", option,
			   text, WAIT_MAX_S);
	return s;
}

/* Options that every command has, before or after its name. */
static error_t parse_common(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case 'd':
		o->dir = arg;
		return 0;
	case 'j':
		o->json = true;
		return 0;
	case OPT_WAIT:
		o->wait = parse_seconds(state, "--wait", arg, WAIT_DEFAULT_S);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static error_t parse_command(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case 'm':
		o->memory = arg;
		return 0;
	case 'w':
		o->watch = parse_seconds(state, "--watch", arg, 1);
		return 0;
	case OPT_DEVICE_ONLY:
		o->device_only = true;
		return 0;
	case OPT_DOORBELLS:
		o->doorbells = arg;
		return 0;
	case OPT_FORCE:
		o->force = true;
		return 0;
	case OPT_GUID:
		o->guid = arg;
		return 0;
	case OPT_QPS:
		o->qps = true;
		return 0;
	case OPT_TENANT:
		o->tenant = arg;
		return 0;
	case ARGP_KEY_INIT:
		state->child_inputs[0] = o;
		return 0;
	case ARGP_KEY_ARG:
		if (o->name || !o->cmd->argp.args_doc)
			argp_error(state, "one argument too many: '%s'", arg);
		o->name = arg;
		return 0;
	case ARGP_KEY_END:
		if (o->cmd->needs_name && !o->name)
			argp_error(state, "the port's name is missing");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option common_options[] = {
	{"dir", 'd', "DIR", 0,
	 "The daemon's directory; default /run/underpass, or $XDG_RUNTIME_DIR/underpass where a "
	 "daemon of the user runs"},
	{"json", 'j', NULL, 0, "Print JSON for programs"},
	{"wait", OPT_WAIT, "SECONDS", OPTION_ARG_OPTIONAL,
	 "Wait up to SECONDS (default 10) for a daemon that is about to start"},
	{0},
};
static const struct argp common_argp = {.options = common_options, .parser = parse_common};
static const struct argp_child common_child[] = {{&common_argp}, {0}};

static const struct argp_option add_options[] = {
	{"tenant", OPT_TENANT, "TENANT", 0, "Ports of one tenant reach one another only"},
	{"guid", OPT_GUID, "GUID", 0, "0x and 16 digits; default: made from tenant and name"},
	{"doorbells", OPT_DOORBELLS, "HOW", 0, "shared or trap; default: the daemon's"},
	{0},
};
static const struct argp_option remove_options[] = {
	{"force", OPT_FORCE, NULL, 0, "Also when a VM is attached, which loses its device"},
	{0},
};
static const struct argp_option qemu_options[] = {
	{"memory", 'm', "SIZE", 0, "The VM's memory: 512M, 4G, or a number of MiB; default 2G"},
	{"device-only", OPT_DEVICE_ONLY, NULL, 0,
	 "Leave the memory out: for a VM that has a shared memory backend already, or a second "
	 "port"},
	{0},
};
static const struct argp_option stats_options[] = {
	{"watch", 'w', "SECONDS", OPTION_ARG_OPTIONAL,
	 "Show rates, again every SECONDS (default 1); q ends"},
	{"qps", OPT_QPS, NULL, 0,
	 "Show queue pairs too, as for a single PORT and, unless --watch is given, with --json"},
	{0},
};

static json_t *request(const char *command)
{
	return json_pack("{s:s}", "command", command);
}

static void set_text(json_t *request, const char *key, const char *text)
{
	if (text)
		json_object_set_new(request, key, json_string(text));
}

static void print_json(const json_t *result)
{
	json_dumpf(result, stdout, JSON_INDENT(2));
	putchar('\n');
}

/* Sends `req`, which it takes over, and prints the result: as JSON, or with `show`, if any. */
static enum exit_code call_and_print(struct client *c, const struct options *o, json_t *req,
				     void (*show)(const json_t *result, const struct options *o))
{
	enum exit_code code;
	json_t *result;

	code = client_call(c, req, &result);
	if (code != EXIT_OK)
		return code;
	if (o->json)
		print_json(result);
	else if (show)
		show(result, o);
	json_decref(result);
	return EXIT_OK;
}

static void print_ports(const json_t *result, const struct options *o)
{
	show_ports(result, &stdout_sink);
}

static enum exit_code run_list(struct client *c, const struct options *o)
{
	return call_and_print(c, o, request("port-list"), print_ports);
}

static void print_socket(const json_t *result, const struct options *o)
{
	puts(json_string_value(json_object_get(result, "socket")) ?: "");
}

static enum exit_code run_add(struct client *c, const struct options *o)
{
	json_t *req = request("port-add");

	set_text(req, "name", o->name);
	set_text(req, "tenant", o->tenant);
	set_text(req, "guid", o->guid);
	set_text(req, "doorbells", o->doorbells);
	return call_and_print(c, o, req, print_socket);
}

static enum exit_code run_remove(struct client *c, const struct options *o)
{
	json_t *req = request("port-remove");

	set_text(req, "name", o->name);
	json_object_set_new(req, "force", json_boolean(o->force));
	return call_and_print(c, o, req, NULL);
}

static enum exit_code set_cable(struct client *c, const struct options *o, const char *command)
{
	json_t *req = request(command);

	set_text(req, "name", o->name);
	return call_and_print(c, o, req, NULL);
}

static enum exit_code run_plug(struct client *c, const struct options *o)
{
	return set_cable(c, o, "port-plug");
}

static enum exit_code run_unplug(struct client *c, const struct options *o)
{
	return set_cable(c, o, "port-unplug");
}

/* As a POSIX shell reads it back. */
static void print_quoted(const char *text)
{
	static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				   "_-+=:,./@%";

	if (*text && strspn(text, safe) == strlen(text)) {
		fputs(text, stdout);
		return;
	}
	putchar('\'');
	for (; *text; text++) {
		if (*text == '\'')
			fputs("'\\''", stdout);
		else
			putchar(*text);
	}
	putchar('\'');
}

static void print_arguments(const json_t *arguments)
{
	const json_t *a;
	size_t i;

	json_array_foreach(arguments, i, a)
	{
		if (i)
			putchar(' ');
		print_quoted(json_string_value(a) ?: "");
	}
	putchar('\n');
}

/* The arguments are good, but a VM that is started with them now will not get its device. */
static void warn_of_port(const json_t *result, const char *name)
{
	const char *state = json_string_value(json_object_get(result, "state"));

	if (json_is_true(json_object_get(result, "connected")))
		fprintf(stderr, "underpass: note: a VM is attached to port '%s' now\n", name);
	else if (state && strcmp(state, "failed") == 0)
		fprintf(stderr,
			"underpass: note: port '%s' has failed; remove and add it before use\n",
			name);
}

static enum exit_code run_qemu_args(struct client *c, const struct options *o)
{
	json_t *req = request("qemu-args"), *result;
	enum exit_code code;

	set_text(req, "port", o->name);
	set_text(req, "memory", o->memory);
	json_object_set_new(req, "device_only", json_boolean(o->device_only));
	code = client_call(c, req, &result);
	if (code != EXIT_OK)
		return code;
	if (o->json)
		print_json(json_object_get(result, "arguments"));
	else
		print_arguments(json_object_get(result, "arguments"));
	warn_of_port(result, o->name);
	json_decref(result);
	return EXIT_OK;
}

static void print_status(const json_t *result, const struct options *o)
{
	show_status(result, &stdout_sink);
}

static enum exit_code run_status(struct client *c, const struct options *o)
{
	return call_and_print(c, o, request("status"), print_status);
}

static void print_stats(const json_t *result, const struct options *o)
{
	show_stats(result, o->qps || o->name, &stdout_sink);
}

static enum exit_code run_stats(struct client *c, const struct options *o)
{
	bool qps = o->qps || o->name;
	json_t *req;

	if (o->watch > 0) {
		const struct watch w = {.client = c,
					.port = o->name,
					.qps = qps,
					.json = o->json,
					.seconds = o->watch};

		return watch_run(&w);
	}
	req = request("stats");
	set_text(req, "port", o->name);
	json_object_set_new(req, "qps", json_boolean(qps || o->json));
	return call_and_print(c, o, req, print_stats);
}

#define COMMAND_ARGP(opts, args, text)                                                             \
	{                                                                                          \
		.options = (opts), .parser = parse_command, .args_doc = (args), .doc = (text),     \
		.children = common_child                                                           \
	}

static const struct command commands[] = {
	{"port", "list", false, run_list,
	 COMMAND_ARGP(NULL, NULL, "List the ports of the daemon.")},
	{"port", "add", true, run_add,
	 COMMAND_ARGP(
		 add_options, "NAME",
		 "Make a port and print its socket. It lasts until it is removed or the daemon "
		 "ends; one that comes back belongs in underpassd.conf(5).")},
	{"port", "remove", true, run_remove,
	 COMMAND_ARGP(remove_options, "NAME", "Remove a port and its socket.")},
	{"port", "unplug", true, run_unplug,
	 COMMAND_ARGP(NULL, "NAME",
		      "Pull a port's cable: its VM's driver stays, and is told that the port is "
		      "down; nothing passes until it is plugged in again.")},
	{"port", "plug", true, run_plug,
	 COMMAND_ARGP(NULL, "NAME", "Put a port's cable back, in which it is at first.")},
	{NULL, "qemu-args", true, run_qemu_args,
	 COMMAND_ARGP(
		 qemu_options, "PORT",
		 "Print the QEMU arguments that attach a VM to a port, quoted for a shell."
		 "\vUse them as\n\n"
		 "  eval \"qemu-system-x86_64 -machine q35 ... $(underpass qemu-args vm1)\"\n\n"
		 "or paste them. They set the VM's memory (-m, a memory backend that is shared "
		 "with the daemon, and -machine memory-backend), so give no -m of your own; "
		 "with a memory backend of your own, which must have share=on, use "
		 "--device-only. QEMU 10.1 or newer is needed.")},
	{NULL, "status", false, run_status, COMMAND_ARGP(NULL, NULL, "Show how the daemon does.")},
	{NULL, "stats", false, run_stats,
	 COMMAND_ARGP(stats_options, "[PORT]",
		      "Show what ports, their queue pairs and the workers have done.")},
};

static const struct command *find_command(const char *group, const char *name)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		const struct command *c = &commands[i];

		if ((!group != !c->group) || (group && strcmp(group, c->group) != 0))
			continue;
		if (strcmp(name, c->name) == 0)
			return c;
	}
	return NULL;
}

/* Keeps the first argument and all that follow it for the command. */
static error_t parse_top(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = o;
		return 0;
	case ARGP_KEY_ARG:
		o->argv = state->argv + state->next - 1;
		o->argc = state->argc - state->next + 1;
		state->next = state->argc;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_usage(state);
		return EINVAL;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp top_argp = {
	.parser = parse_top,
	.children = common_child,
	.args_doc = "COMMAND",
	.doc = "Control a running underpassd, which gives virtual machines RDMA."
	       "\vCommands; each has --help:\n\n"
	       "  port list            the ports\n"
	       "  port add NAME        make a port\n"
	       "  port remove NAME     remove a port\n"
	       "  port unplug NAME     pull a port's cable; 'port plug NAME' puts it back\n"
	       "  qemu-args PORT       the QEMU arguments for a port\n"
	       "  status               how the daemon does\n"
	       "  stats [PORT]         counters; --watch shows rates\n\n"
	       "Exit status: 0 done, 1 refused by the daemon, 2 wrong command line, 3 no answer "
	       "from a daemon.",
};

/* The command that o->argv begins with; moves o->argv to its last word. */
static const struct command *take_command(struct options *o)
{
	const struct command *c = find_command(NULL, o->argv[0]);

	if (!c && o->argc > 1) {
		c = find_command(o->argv[0], o->argv[1]);
		if (c) {
			o->argv++;
			o->argc--;
		}
	}
	if (!c && strcmp(o->argv[0], "port") == 0)
		fprintf(stderr,
			"underpass: write 'port list', or 'port' with add, remove, unplug or "
			"plug and a NAME\n");
	else if (!c)
		fprintf(stderr,
			"underpass: there is no command '%s'; 'underpass --help' lists them\n",
			o->argv[0]);
	return c;
}

/* For a user: the directory where a daemon of the user's own runs, else the system's. */
static const char *default_dir(void)
{
	const char *base = getenv("XDG_RUNTIME_DIR");
	char *dir, *socket;
	bool own = false;

	if (geteuid() == 0 || !base || asprintf(&dir, "%s/%s", base, UP_RUNDIR_USER) < 0)
		return UP_RUNDIR_SYSTEM;
	if (asprintf(&socket, "%s/%s", dir, UP_CONTROL_SOCKET) >= 0) {
		own = access(socket, F_OK) == 0 || access(UP_RUNDIR_SYSTEM, F_OK) != 0;
		free(socket);
	}
	if (own)
		return dir;
	free(dir);
	return UP_RUNDIR_SYSTEM;
}

/* An option's value that may be left out is joined to it: "--watch 5" names a port. */
static void explain_watch(const struct options *o)
{
	if (o->watch > 0 && o->name && strspn(o->name, "0123456789.") == strlen(o->name))
		fprintf(stderr, "underpass: for an interval of %s seconds write --watch=%s\n",
			o->name, o->name);
}

static enum exit_code run(const struct options *o)
{
	enum exit_code code;
	struct client c;

	code = client_open(&c, o->dir ? o->dir : default_dir(), o->wait);
	if (code == EXIT_OK)
		code = o->cmd->run(&c, o);
	client_close(&c);
	if (code == EXIT_OK)
		code = client_flush(&c);
	if (code != EXIT_OK)
		fprintf(stderr, "underpass: %s\n", c.error);
	if (code == EXIT_REFUSED)
		explain_watch(o);
	return code;
}

int main(int argc, char **argv)
{
	struct options o = {0};
	char title[64];

	argp_err_exit_status = EXIT_USAGE;
	argp_parse(&top_argp, argc, argv, ARGP_IN_ORDER, NULL, &o);
	o.cmd = take_command(&o);
	if (!o.cmd)
		return EXIT_USAGE;
	snprintf(title, sizeof(title), "underpass %s%s%s", o.cmd->group ? o.cmd->group : "",
		 o.cmd->group ? " " : "", o.cmd->name);
	o.argv[0] = title;
	argp_parse(&o.cmd->argp, o.argc, o.argv, 0, NULL, &o);
	return (int)run(&o);
}
