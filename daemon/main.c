/* SPDX-License-Identifier: BSD-2-Clause */
/* underpassd: the command line. */
#include "daemon/daemon.h"
#include "daemon/journal.h"

#include "base/log.h"

#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *argp_program_version = "underpassd " UP_VERSION;

enum {
	OPT_TRAP = 0x100,
	OPT_LOG_LEVEL,
	EXIT_USAGE = 2,
};

/* Options win over the file, which is read when all of them are known. */
struct options {
	const char *config, *dir, *log_level;
	unsigned workers; /* 0: not given */
	bool trap;
	struct up_settings settings;
};

static const struct argp_option option_table[] = {
	{"config", 'c', "FILE", 0, "Read settings from FILE (underpassd.conf(5))"},
	{"port", 'p', "NAME", 0, "Make a port in the default tenant; may be given many times"},
	{"dir", 'd', "DIR", 0,
	 "Directory of the sockets; default /run/underpass, or $XDG_RUNTIME_DIR/underpass for "
	 "a user"},
	{"workers", 'w', "N", 0, "Threads that move data; default 1"},
	{"trap-doorbells", OPT_TRAP, NULL, 0,
	 "Take doorbells over the socket instead of sharing their pages (slow)"},
	{"log-level", OPT_LOG_LEVEL, "LEVEL", 0, "debug, info (default), notice, warning or error"},
	{0},
};

static void add_port(struct argp_state *state, struct options *o, const char *name)
{
	struct up_port_settings port = {.name = name, .where = "--port"};

	switch (up_settings_add_port(&o->settings, &port)) {
	case 0:
		return;
	case -EEXIST:
		argp_error(state, "port '%s' is given twice", name);
		return;
	case -EINVAL:
		argp_error(state, "'%s' cannot be a port's name: " UP_NAME_RULE UP_PORT_NAME_RULE,
			   name);
		return;
	default:
		argp_failure(state, EXIT_FAILURE, ENOMEM, "port '%s'", name);
	}
}

static unsigned parse_workers(struct argp_state *state, const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*end || text[0] < '0' || text[0] > '9' || n < 1 || n > UP_FABRIC_MAX_WORKERS)
		argp_error(state, "--workers: '%s' is not a number from 1 to %d", text,
			   UP_FABRIC_MAX_WORKERS);
	return (unsigned)n;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;
	int level;

	switch (key) {
	case 'c':
		o->config = arg;
		return 0;
	case 'p':
		add_port(state, o, arg);
		return 0;
	case 'd':
		o->dir = arg;
		return 0;
	case 'w':
		o->workers = parse_workers(state, arg);
		return 0;
	case OPT_TRAP:
		o->trap = true;
		return 0;
	case OPT_LOG_LEVEL:
		if (!up_parse_log_level(arg, &level))
			argp_error(state, "--log-level: '%s' is not a level", arg);
		o->log_level = arg;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "'%s': no arguments are taken; a port is made with --port NAME",
			   arg);
		return EINVAL;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = option_table,
	.parser = parse_option,
	.doc = "Give virtual machines RDMA: one vfio-user socket a port, NAME.sock, and the "
	       "control "
	       "socket of underpass(1).",
};

static void report(void *arg, const char *message)
{
	up_log(LOG_ERR, NULL, "%s", message);
}

static int apply(struct options *o)
{
	struct up_settings *s = &o->settings;

	if (o->config && up_settings_read(s, o->config, report, NULL) < 0)
		return -1;
	if (o->dir) {
		free(s->dir);
		s->dir = strdup(o->dir);
		if (!s->dir)
			return -1;
	}
	if (o->log_level)
		up_parse_log_level(o->log_level, &s->log_level);
	if (o->workers)
		s->fabric.workers = o->workers;
	if (o->trap)
		s->doorbells = UP_DOORBELLS_TRAP;
	return 0;
}

static int serve(struct up_settings *s)
{
	struct up_error e;
	struct up_daemon d;
	int err;

	err = up_daemon_init(&d, s, &e);
	if (err == 0)
		err = up_daemon_run(&d, &e);
	if (err < 0)
		up_log(LOG_ERR, NULL, "%s", e.text);
	up_daemon_fini(&d);
	return err;
}

/* Where one is closed, the log's lines would go to whatever gets its number. */
static bool fill_standard_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

int main(int argc, char **argv)
{
	struct options o = {0};
	int err;

	if (!fill_standard_descriptors())
		return EXIT_FAILURE;
	argp_err_exit_status = EXIT_USAGE;
	up_journal_init();
	up_settings_init(&o.settings);
	argp_parse(&argp, argc, argv, 0, NULL, &o);
	err = apply(&o);
	if (err == 0) {
		up_log_set_level(o.settings.log_level);
		err = serve(&o.settings);
	}
	up_settings_fini(&o.settings);
	return err < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
