/* SPDX-License-Identifier: BSD-2-Clause */
/* Log lines on stderr (base/log.h). */
#include "unit.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int pipe_end, real_stderr;
static char text[1 << 17];

static int redirect(void **state)
{
	int fds[2];

	if (pipe2(fds, O_NONBLOCK))
		return -1;
	(void)fcntl(fds[1], F_SETPIPE_SZ, 1 << 17);
	real_stderr = dup(STDERR_FILENO);
	dup2(fds[1], STDERR_FILENO);
	close(fds[1]);
	pipe_end = fds[0];
	return 0;
}

static int restore(void **state)
{
	dup2(real_stderr, STDERR_FILENO);
	close(real_stderr);
	close(pipe_end);
	up_log_set_level(LOG_INFO);
	return 0;
}

/* What was logged since the last call. */
static const char *logged(void)
{
	ssize_t n = read(pipe_end, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = 0;
	return text;
}

static unsigned lines(const char *s)
{
	unsigned n = 0;

	for (; *s; s++)
		n += *s == '\n';
	return n;
}

static void names_port_and_severity(void **state)
{
	up_log(LOG_ERR, "vm1", "bad %s %d", "thing", 7);
	assert_non_null(strstr(logged(), "error: vm1: bad thing 7\n"));
	up_log(LOG_WARNING, "vm1", "odd");
	assert_non_null(strstr(logged(), "warning: vm1: odd\n"));
	up_log(LOG_INFO, NULL, "ready");
	assert_non_null(strstr(logged(), "test_log: ready\n"));
}

static void drops_what_is_below_the_level(void **state)
{
	up_log(LOG_DEBUG, "vm1", "detail");
	assert_string_equal(logged(), "");
	up_log_set_level(LOG_DEBUG);
	up_log(LOG_DEBUG, "vm1", "detail");
	assert_int_equal(lines(logged()), 1);
	up_log_set_level(LOG_ERR);
	up_log(LOG_WARNING, "vm1", "odd");
	assert_string_equal(logged(), "");
}

static void keeps_errno(void **state)
{
	errno = ENOSPC;
	up_log(LOG_ERR, "vm1", "%m");
	assert_int_equal(errno, ENOSPC);
	assert_non_null(strstr(logged(), strerror(ENOSPC)));
}

/* What a guest says cannot begin a line of its own. */
static void message_stays_on_its_line(void **state)
{
	up_log(LOG_INFO, "vm1", "name %s", "x\nerror: vm2: forged\033[2J");
	assert_int_equal(lines(logged()), 1);
	assert_null(strchr(text, '\033'));
}

static void long_message_is_cut(void **state)
{
	char big[5000];

	memset(big, 'a', sizeof(big));
	big[sizeof(big) - 1] = 0;
	up_log(LOG_INFO, "vm1", "%s", big);
	assert_int_equal(lines(logged()), 1);
	up_log(LOG_INFO, big, "%s", big);
	assert_int_equal(lines(logged()), 1);
	assert_int_equal(text[strlen(text) - 1], '\n');
}

static void flood_is_cut_off_for_its_port_only(void **state)
{
	unsigned n;

	for (int i = 0; i < 1000; i++)
		up_log(LOG_WARNING, "hostile", "again");
	n = lines(logged());
	assert_in_range(n, 1, 999);
	up_log(LOG_WARNING, "vm2", "fine");
	assert_int_equal(lines(logged()), 1);
	for (int i = 0; i < 1000; i++)
		up_log(LOG_WARNING, NULL, "again");
	assert_int_equal(lines(logged()), 1000);
}

/* However alike their names are, and however many there are. */
static void flood_does_not_silence_other_ports(void **state)
{
	char name[16];

	for (int i = 0; i < 1000; i++)
		up_log(LOG_WARNING, "vmAa", "again");
	assert_in_range(lines(logged()), 1, 999);
	up_log(LOG_WARNING, "vmBB", "fine");
	assert_int_equal(lines(logged()), 1);
	for (int i = 0; i < 3000; i++) {
		snprintf(name, sizeof(name), "port%d", i);
		up_log(LOG_WARNING, name, "fine");
		assert_int_equal(lines(logged()), 1);
	}
}

/* Nobody waits for a reader that is held up; it is told how much it missed. */
static void full_pipe_holds_nobody_up(void **state)
{
	char filler[4096] = {0};
	int flags = fcntl(STDERR_FILENO, F_GETFL);

	while (write(STDERR_FILENO, filler, sizeof(filler)) > 0)
		;
	assert_int_equal(fcntl(STDERR_FILENO, F_SETFL, flags & ~O_NONBLOCK), 0);
	alarm(60);
	for (int i = 0; i < 3; i++)
		up_log(LOG_INFO, NULL, "lost");
	alarm(0);
	while (read(pipe_end, text, sizeof(text)) > 0)
		;
	up_log(LOG_INFO, NULL, "read");
	assert_int_equal(lines(logged()), 2);
	assert_non_null(strstr(text, "3 lines were lost"));
	assert_null(strstr(text, "lost\n"));
	assert_non_null(strstr(text, "read\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(names_port_and_severity, redirect, restore),
		cmocka_unit_test_setup_teardown(drops_what_is_below_the_level, redirect, restore),
		cmocka_unit_test_setup_teardown(keeps_errno, redirect, restore),
		cmocka_unit_test_setup_teardown(message_stays_on_its_line, redirect, restore),
		cmocka_unit_test_setup_teardown(long_message_is_cut, redirect, restore),
		cmocka_unit_test_setup_teardown(flood_is_cut_off_for_its_port_only, redirect,
						restore),
		cmocka_unit_test_setup_teardown(flood_does_not_silence_other_ports, redirect,
						restore),
		cmocka_unit_test_setup_teardown(full_pipe_holds_nobody_up, redirect, restore),
	};

	/* It may name the very stderr that these tests replace. */
	unsetenv("JOURNAL_STREAM");
	return cmocka_run_group_tests(tests, NULL, NULL);
}
