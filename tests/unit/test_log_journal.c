/* SPDX-License-Identifier: BSD-2-Clause */
/* Log lines where stderr is a stream to the journal, and where a sink takes them (base/log.h). */
#include "unit.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int stream[2];
static char text[1024];

/* What came over the stream since the last call. */
static const char *came(void)
{
	ssize_t n = 0;

	if (write(stream[1], ".", 1) == 1)
		n = read(stream[0], text, sizeof(text) - 1);
	text[n > 0 ? n - 1 : 0] = 0;
	return text;
}

/* As a service's stderr is: $JOURNAL_STREAM says so. */
static int connect_stderr(void **state)
{
	struct stat st;
	char name[64];

	if (pipe(stream) || dup2(stream[1], STDERR_FILENO) < 0 || fstat(STDERR_FILENO, &st))
		return -1;
	snprintf(name, sizeof(name), "%llu:%llu", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino);
	return setenv("JOURNAL_STREAM", name, 1);
}

static void stream_knows_the_priority(void **state)
{
	assert_true(up_log_to_journal());
	up_log(LOG_ERR, "vm1", "bad");
	assert_non_null(strstr(came(), "<3>"));
	assert_non_null(strstr(text, "error: vm1: bad\n"));
	up_log(LOG_INFO, NULL, "ready");
	assert_int_equal(strncmp(came(), "<6>", 3), 0);
}

static int takes;
static char last[64];

static bool sink(int priority, const char *port, const char *message)
{
	snprintf(last, sizeof(last), "%d %s %s", priority, port ? port : "-", message);
	return takes;
}

static void sink_comes_first(void **state)
{
	up_log_set_sink(sink);
	takes = true;
	up_log(LOG_WARNING, "vm2", "odd");
	assert_string_equal(last, "4 vm2 odd");
	assert_string_equal(came(), "");
	takes = false;
	up_log(LOG_WARNING, NULL, "odd");
	assert_string_equal(last, "4 - odd");
	assert_non_null(strstr(came(), "warning: odd\n"));
	up_log_set_sink(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stream_knows_the_priority),
		cmocka_unit_test(sink_comes_first),
	};

	return cmocka_run_group_tests(tests, connect_stderr, NULL);
}
