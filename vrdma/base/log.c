/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Logging (base/log.h). What speaks to the journal itself is the daemon's (daemon/journal.c), so
 * that a program with libunderpass in it loads no libsystemd.
 *
 * A hostile guest can make errors as fast as it likes, so each port has a quota of lines; what
 * goes beyond it is counted, and the count logged when the next period begins.
 */
#include "base/log.h"

#include "base/hash.h"

#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE_BYTES 1024
#define QUOTA_PERIOD 10 /* seconds */
#define QUOTA_LINES 200
#define MAX_QUOTAS 2048 /* then those of earlier periods go */

struct quota {
	char *port;
	time_t period;
	unsigned lines;
	UT_hash_handle hh; /* by port */
};

static int max_priority = LOG_INFO; /* atomic */
static up_log_sink *sink;	    /* set before the first line */
static unsigned unread;		    /* lines that stderr had no room for; atomic */
static pthread_once_t stream_once = PTHREAD_ONCE_INIT;
static bool to_journal; /* set once */
static pthread_mutex_t quota_lock = PTHREAD_MUTEX_INITIALIZER;
static struct quota *quotas; /* of ports that logged; under quota_lock */

void up_log_set_level(int priority)
{
	__atomic_store_n(&max_priority, priority, __ATOMIC_RELAXED);
}

void up_log_set_sink(up_log_sink *s)
{
	sink = s;
}

/* systemd.exec(5): $JOURNAL_STREAM names the device and inode of the stream to the journal. */
static void look_at_stream(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	to_journal = stream && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 &&
		     !fstat(STDERR_FILENO, &st) && st.st_dev == dev && st.st_ino == ino;
}

bool up_log_to_journal(void)
{
	pthread_once(&stream_once, look_at_stream);
	return to_journal;
}

static void quota_drop(struct quota *q)
{
	/* The analyzer does not see that the head moves on. */
	HASH_DEL(quotas, q); /* NOLINT(clang-analyzer-unix.Malloc) */
	free(q->port);
	free(q);
}

/* Ports come and go: those that were silent for a period are forgotten. */
static void drop_old(time_t period)
{
	struct quota *q, *tmp;

	HASH_ITER (hh, quotas, q, tmp) {
		/* cppcheck-suppress uninitvar; it does not know HASH_ITER */
		if (q->period < period)
			quota_drop(q);
	}
}

/* NULL without memory. */
static struct quota *quota_of(const char *port, time_t period)
{
	struct quota *q;

	HASH_FIND_STR(quotas, port, q);
	if (q)
		return q;
	if (HASH_COUNT(quotas) >= MAX_QUOTAS)
		drop_old(period);
	q = calloc(1, sizeof(*q));
	if (!q)
		return NULL;
	q->port = strdup(port);
	if (q->port)
		HASH_ADD_KEYPTR(hh, quotas, q->port, strlen(q->port), q);
	if (!q->port || !q->hh.tbl) {
		free(q->port);
		free(q);
		return NULL;
	}
	q->period = period;
	return q;
}

/* True when the port may log one more line; *dropped: how many its last period lost. */
static bool take_quota(const char *port, unsigned *dropped)
{
	struct timespec now;
	struct quota *q;
	time_t period;
	bool granted;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	period = now.tv_sec / QUOTA_PERIOD;
	*dropped = 0;
	pthread_mutex_lock(&quota_lock);
	q = quota_of(port, period);
	if (q && period != q->period) {
		if (q->lines > QUOTA_LINES)
			*dropped = q->lines - QUOTA_LINES;
		q->period = period;
		q->lines = 0;
	}
	granted = !q || q->lines++ < QUOTA_LINES;
	pthread_mutex_unlock(&quota_lock);
	return granted;
}

static const char *severity(int priority)
{
	if (priority <= LOG_ERR)
		return "error: ";
	if (priority == LOG_WARNING)
		return "warning: ";
	return priority == LOG_DEBUG ? "debug: " : "";
}

/* A terminal that is held and a pipe that nobody empties would hold up whoever logs. */
static bool somebody_reads(void)
{
	struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};

	return poll(&p, 1, 0) == 1 && (p.revents & POLLOUT);
}

static void put_line(int priority, const char *port, const char *message)
{
	char line[MESSAGE_BYTES + 256], mark[8] = "";
	int n;

	/* sd-daemon(3): so the journal knows the priority of a line of its stream. */
	if (up_log_to_journal())
		snprintf(mark, sizeof(mark), "<%d>", priority & LOG_PRIMASK);
	n = snprintf(line, sizeof(line) - 1, "%s%s: %s%s%s%s", mark, program_invocation_short_name,
		     severity(priority), port ? port : "", port ? ": " : "", message);
	if (n < 0)
		return;
	if ((size_t)n > sizeof(line) - 2)
		n = sizeof(line) - 2;
	line[n++] = '\n';
	/* One write, so that lines of several threads do not mix. A lost line has no remedy. */
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return;
}

static void emit(int priority, const char *port, const char *message)
{
	unsigned count;
	char note[64];

	if (sink && sink(priority, port, message))
		return;
	if (!somebody_reads()) {
		__atomic_fetch_add(&unread, 1, __ATOMIC_RELAXED);
		return;
	}
	count = __atomic_exchange_n(&unread, 0, __ATOMIC_RELAXED);
	if (count) {
		snprintf(note, sizeof(note), "%u lines were lost, as nobody read them", count);
		put_line(LOG_WARNING, NULL, note);
	}
	put_line(priority, port, message);
}

void up_log(int priority, const char *port, const char *fmt, ...)
{
	char message[MESSAGE_BYTES];
	int saved = errno;
	unsigned dropped = 0;
	va_list ap;

	if (priority > __atomic_load_n(&max_priority, __ATOMIC_RELAXED))
		return;
	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	/* A guest's text may be quoted in it, and must not forge a line. */
	for (char *c = message; *c; c++)
		if (iscntrl((unsigned char)*c))
			*c = ' ';
	if (!port || priority >= LOG_DEBUG || take_quota(port, &dropped)) {
		if (dropped) {
			char note[64];

			snprintf(note, sizeof(note), "%u earlier messages were dropped", dropped);
			emit(LOG_WARNING, port, note);
		}
		emit(priority, port, message);
	}
	errno = saved;
}
