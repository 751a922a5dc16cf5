/* SPDX-License-Identifier: BSD-2-Clause */
/* The configuration file: what is read, and what is said about errors and where. */
#include "unit.h"

#include "daemon/settings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

struct outcome {
	struct up_settings s;
	int err;
	char messages[4096]; /* a line each */
	char path[64];
};

static void collect(void *arg, const char *message)
{
	struct outcome *o = arg;
	size_t at = strlen(o->messages);

	snprintf(o->messages + at, sizeof(o->messages) - at, "%s\n", message);
}

static struct outcome *read_text(const char *text)
{
	struct outcome *o = calloc(1, sizeof(*o));
	int fd;

	assert_non_null(o);
	up_settings_init(&o->s);
	strcpy(o->path, "/tmp/underpass-test-XXXXXX");
	fd = mkstemp(o->path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	o->err = up_settings_read(&o->s, o->path, collect, o);
	unlink(o->path);
	return o;
}

static void done(struct outcome *o)
{
	up_settings_fini(&o->s);
	free(o);
}

/* The file is refused, and a message begins with its name and this line, and has `text` in it. */
static void refused(const char *config, unsigned line, const char *text)
{
	struct outcome *o = read_text(config);
	char where[96], *at;

	snprintf(where, sizeof(where), "%s:%u: ", o->path, line);
	assert_int_equal(o->err, -EINVAL);
	at = strstr(o->messages, where);
	if (!at || !strstr(at, text))
		fail_msg("'%s' gave '%s' instead of '%s%s'", config, o->messages, where, text);
	done(o);
}

static void an_empty_file_leaves_the_defaults(void **state)
{
	struct outcome *o = read_text("# nothing\n");

	assert_int_equal(o->err, 0);
	assert_null(o->s.dir);
	assert_int_equal(o->s.log_level, LOG_INFO);
	assert_int_equal(o->s.fabric.workers, 1);
	assert_int_equal(o->s.doorbells, UP_DOORBELLS_SHARED);
	assert_int_equal(o->s.socket_mode, 0600);
	assert_int_equal(o->s.nports, 0);
	done(o);
}

static void every_setting_is_read(void **state)
{
	struct outcome *o =
		read_text("dir = \"/run/x\"; log_level = \"debug\"; doorbells = \"trap\";\n"
			  "workers = 3; first_cpu = 2;\n"
			  "polling = { spin_us = 0; idle_sleep_us = 20; deep_sleep_us = 500; "
			  "idle_permille = 8; priority = 0; };\n"
			  "limits = { quantum_bytes = 65536; ports = 7; control_clients = 9; };\n"
			  "sockets = { mode = \"0660\"; owner = \"12\"; group = \"root\"; };\n"
			  "ports = ( { name = \"a\"; },\n"
			  "  { name = \"b\"; tenant = \"t\"; guid = \"0x0002c90300000001\";\n"
			  "    doorbells = \"shared\"; } );\n");

	assert_string_equal(o->messages, "");
	assert_int_equal(o->err, 0);
	assert_string_equal(o->s.dir, "/run/x");
	assert_int_equal(o->s.log_level, LOG_DEBUG);
	assert_int_equal(o->s.doorbells, UP_DOORBELLS_TRAP);
	assert_int_equal(o->s.fabric.workers, 3);
	assert_int_equal(o->s.fabric.first_cpu, 2);
	assert_int_equal(o->s.fabric.spin_us, 0);
	assert_int_equal(o->s.fabric.idle_sleep_us, 20);
	assert_int_equal(o->s.fabric.deep_sleep_us, 500);
	assert_int_equal(o->s.fabric.idle_permille, 8);
	assert_int_equal(o->s.fabric.priority, 0);
	assert_int_equal(o->s.fabric.quantum_bytes, 65536);
	assert_int_equal(o->s.max_ports, 7);
	assert_int_equal(o->s.max_clients, 9);
	assert_int_equal(o->s.socket_mode, 0660);
	assert_int_equal(o->s.socket_owner, 12);
	assert_int_equal(o->s.socket_group, 0);
	assert_int_equal(o->s.nports, 2);
	assert_string_equal(o->s.ports[0].name, "a");
	assert_string_equal(o->s.ports[0].tenant, UP_DEFAULT_TENANT);
	assert_int_equal(o->s.ports[0].guid, 0);
	assert_int_equal(o->s.ports[0].doorbells, UP_DOORBELLS_DEFAULT);
	assert_string_equal(o->s.ports[1].tenant, "t");
	assert_int_equal(o->s.ports[1].guid, 0x0002c90300000001);
	assert_int_equal(o->s.ports[1].doorbells, UP_DOORBELLS_SHARED);
	done(o);
}

static void errors_name_file_and_line(void **state)
{
	refused("workers = 1;\nfoo = 2;\n", 2, "no setting 'foo'");
	refused("\n\nworkers = ;\n", 3, "syntax error");
	refused("workers = 1;\nworkers = 2;\n", 2, "duplicate");
	refused("workers = 0;\n", 1, "from 1 to 64");
	refused("workers = 65;\n", 1, "from 1 to 64");
	refused("workers = 4294967297L;\n", 1, "from 1 to 64");
	refused("workers = \"2\";\n", 1, "'workers' must be a number");
	refused("workers = 1.5;\n", 1, "'workers' must be a number");
	refused("first_cpu = -2;\n", 1, "'first_cpu'");
	refused("dir = 3;\n", 1, "'dir' must be a string");
	refused("dir = \"\";\n", 1, "not empty");
	refused("log_level = \"loud\";\n", 1, "'loud' is not a log level");
	refused("doorbells = \"none\";\n", 1, "\"shared\" or \"trap\"");
	refused("polling = 5;\n", 1, "'polling' must be a group");
	refused("polling = {\n spin = 1; };\n", 2, "no setting 'spin'");
	refused("polling = {\n idle_sleep_us = 0; };\n", 2, "'idle_sleep_us'");
	refused("limits = {\n quantum_bytes = 1; };\n", 2, "from 4096");
	refused("sockets = {\n mode = \"888\"; };\n", 2, "octal");
	refused("sockets = {\n mode = \"0060\"; };\n", 2, "octal");
	refused("sockets = {\n mode = 660; };\n", 2, "string");
	refused("sockets = {\n owner = \"no such user\"; };\n", 2, "no user");
	refused("sockets = {\n group = \"no such group\"; };\n", 2, "no group");
}

static void ports_are_checked(void **state)
{
	refused("ports = { name = \"a\"; };\n", 1, "must be a list");
	refused("ports = (\n 5 );\n", 2, "a port is a group");
	refused("ports = (\n { tenant = \"t\"; } );\n", 2, "no name");
	refused("ports = (\n { name = \"a/b\"; } );\n", 2, "'a/b' cannot be");
	refused("ports = (\n { name = \"control\"; } );\n", 2, "'control' cannot be");
	refused("ports = (\n { name = \"a\"; tenant = \"\\n\"; } );\n", 2, "tenant");
	refused("ports = (\n { name = \"a\"; guid = \"0x1\"; } );\n", 2, "not a GUID");
	refused("ports = (\n { name = \"a\"; color = 1; } );\n", 2, "no setting 'color'");
	refused("ports = ( { name = \"a\"; },\n\n { name = \"a\"; } );\n", 3, "defined twice");
}

/* All errors of a file are told at once. */
static void errors_are_told_together(void **state)
{
	const char *text =
		"foo = 1;\nports = (\n { name = \".\"; },\n { name = \"ok\"; },\n 1 );\n";

	refused(text, 1, "foo");
	refused(text, 3, "name");
	refused(text, 5, "group");
}

static void files_that_cannot_be_read(void **state)
{
	struct outcome *o = calloc(1, sizeof(*o));

	assert_non_null(o);
	up_settings_init(&o->s);
	assert_int_equal(up_settings_read(&o->s, "/no/such/file", collect, o), -EINVAL);
	assert_non_null(strstr(o->messages, "/no/such/file: cannot read the file: No such file"));
	o->messages[0] = 0;
	assert_int_equal(up_settings_read(&o->s, "/", collect, o), -EINVAL);
	assert_non_null(strstr(o->messages, "/: cannot read the file: Is a directory"));
	done(o);
}

static void guids_are_parsed(void **state)
{
	static const char *const bad[] = {
		"",
		"0x",
		"0x0",
		"0x000000000000000g",
		"0x0000000000000000",
		"0x00000000000000001",
		"0002c90300000001",
		"0002:c903:0000:00012",
		"0002:c903:0000:0001:",
		":0002:c903:0000:0001",
		"0002::c903:0000:0001",
		"0002:c9030000:0001",
		"00:02c9:0300:0000:01",
		"0x0002:c903:0000:0001",
		"0x000000000000000\021", /* a control character, '1' but for a bit */
	};
	uint64_t guid = 0;

	assert_true(up_parse_guid("0x0002C90300000001", &guid));
	assert_int_equal(guid, 0x0002c90300000001);
	assert_true(up_parse_guid("0002:c903:0000:0002", &guid));
	assert_int_equal(guid, 0x0002c90300000002);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (up_parse_guid(bad[i], &guid))
			fail_msg("'%s' is taken for a GUID", bad[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_file_leaves_the_defaults),
		cmocka_unit_test(every_setting_is_read),
		cmocka_unit_test(errors_name_file_and_line),
		cmocka_unit_test(ports_are_checked),
		cmocka_unit_test(errors_are_told_together),
		cmocka_unit_test(files_that_cannot_be_read),
		cmocka_unit_test(guids_are_parsed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
