/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the journal gets (daemon/journal.h), and a journal that stands still. sd_journal_sendv() is
 * the test's own, in the place of libsystemd's.
 */
#include "journal_stream.h"
#include "unit.h"

#include "base/log.h"
#include "daemon/journal.h"

#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
/* A function, and not a macro that calls another one with the place in the source. */
#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>
#include <unistd.h>

enum { GUARD_S = 60, MANY = 100000 };

static sem_t asked; /* posted for each entry that wants in */
static sem_t room;  /* of the journal: an entry takes one */
static sem_t entry; /* posted for each that was taken */
static char fields[4096];
static unsigned entries;
static int stream[2];

int sd_journal_sendv(const struct iovec *iov, int n)
{
	size_t at = 0;

	sem_post(&asked);
	sem_wait(&room);
	for (int i = 0; i < n; i++)
		at += (size_t)snprintf(fields + at, sizeof(fields) - at, "%.*s|",
				       (int)iov[i].iov_len, (char *)iov[i].iov_base);
	entries++;
	sem_post(&entry);
	return 0;
}

static int open_journal(void **state)
{
	sem_init(&asked, 0, 0);
	sem_init(&room, 0, 0);
	sem_init(&entry, 0, 0);
	if (journal_stream_open(stream))
		return -1;
	up_journal_init();
	return 0;
}

static const char *next_entry(void)
{
	sem_wait(&asked);
	sem_post(&room);
	sem_wait(&entry);
	return fields;
}

static void entries_have_fields(void **state)
{
	up_log(LOG_ERR, "vm1", "odd\n%s", "PRIORITY=0");
	assert_string_equal(next_entry(),
			    "PRIORITY=3|MESSAGE=vm1: odd PRIORITY=0|UNDERPASS_PORT=vm1|");
	up_log(LOG_INFO, NULL, "ready");
	assert_string_equal(next_entry(), "PRIORITY=6|MESSAGE=ready|");
}

/* Lines wait in order as far as there is room, and go to stderr beyond that, which may fill up. */
static void nobody_waits_for_it(void **state)
{
	char line[64];
	unsigned waiting;

	entries = 0;
	up_log(LOG_NOTICE, NULL, "line 0");
	/* All before it is out. */
	sem_wait(&asked);
	sem_post(&asked);
	for (unsigned i = 1; i < MANY; i++)
		up_log(LOG_NOTICE, NULL, "line %u", i);
	assert_true(read(stream[0], fields, sizeof(fields) - 1) > 0);
	assert_int_equal(sscanf(fields, "<5>%*[^0-9]%u", &waiting), 1);
	assert_in_range(waiting, 100, MANY / 10);
	for (unsigned i = 0; i < waiting; i++) {
		snprintf(line, sizeof(line), "PRIORITY=5|MESSAGE=line %u|", i);
		assert_string_equal(next_entry(), line);
	}
	up_log(LOG_NOTICE, NULL, "later");
	assert_string_equal(next_entry(), "PRIORITY=5|MESSAGE=later|");
	assert_int_equal(entries, waiting + 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries_have_fields),
		cmocka_unit_test(nobody_waits_for_it),
	};

	/* Who waits for the journal here waits for ever: this ends it. */
	alarm(GUARD_S);
	return cmocka_run_group_tests(tests, open_journal, NULL);
}
