/* SPDX-License-Identifier: BSD-2-Clause */
/* Log lines where stderr is a stream to the journal, and where a sink takes them (base/log.h). */
#include "journal_stream.h"
#include "unit.h"

#include "base/log.h"

#include <stdio.h>
#include <string.h>
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

static int connect_stderr(void **state)
{
	return journal_stream_open(stream);
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
