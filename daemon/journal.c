/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The journal gets the port as a field of its own, UNDERPASS_PORT, so that
 * `journalctl UNDERPASS_PORT=vm1` shows one guest's lines.
 *
 * sd_journal_sendv() waits for room in the journal's queue, a few lines of all programs of the
 * host together. Whoever logs must not stand still while journald does, so that lines wait here
 * for a thread that sends them; what there is no room for goes to stderr.
 */
#define SD_JOURNAL_SUPPRESS_LOCATION
#include "daemon/journal.h"

#include "base/bytes.h"
#include "base/list.h"
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>
#include <time.h>

/* Lines that wait; and for how long the end of the process waits for them. */
#define MAX_LINES 1000
#define FLUSH_SECONDS 1

enum { PRIORITY, MESSAGE, PORT, FIELDS };

/* Owned by the list, then by the thread. */
struct line {
	struct up_list link;
	char *field[FIELDS]; /* NULL: not there */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct up_list lines; /* under the lock, as is their number, with the one being sent */
static unsigned count;

static void line_free(struct line *l)
{
	for (unsigned i = 0; i < FIELDS; i++)
		free(l->field[i]);
	free(l);
}

static struct line *line_create(int priority, const char *port, const char *message)
{
	struct line *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	if (asprintf(&l->field[PRIORITY], "PRIORITY=%d", priority) < 0)
		l->field[PRIORITY] = NULL;
	if (asprintf(&l->field[MESSAGE], "MESSAGE=%s%s%s", port ? port : "", port ? ": " : "",
		     message) < 0)
		l->field[MESSAGE] = NULL;
	if (port && asprintf(&l->field[PORT], "UNDERPASS_PORT=%s", port) < 0)
		l->field[PORT] = NULL;
	if (l->field[PRIORITY] && l->field[MESSAGE] && (l->field[PORT] || !port))
		return l;
	line_free(l);
	return NULL;
}

static bool take_line(int priority, const char *port, const char *message)
{
	struct line *l = line_create(priority, port, message);
	bool room;

	if (!l)
		return false;
	pthread_mutex_lock(&lock);
	room = count < MAX_LINES;
	if (room) {
		count++;
		up_list_add_tail(&lines, &l->link);
		pthread_cond_broadcast(&changed);
	}
	pthread_mutex_unlock(&lock);
	if (!room)
		line_free(l);
	return room;
}

static void send_line(const struct line *l)
{
	struct iovec iov[FIELDS];
	int n = 0;

	for (unsigned i = 0; i < FIELDS; i++) {
		if (l->field[i])
			iov[n++] = (struct iovec){l->field[i], strlen(l->field[i])};
	}
	sd_journal_sendv(iov, n);
}

/* The oldest, which is the caller's from here on. Waits for one. */
static struct line *next_line(void)
{
	struct line *l;

	pthread_mutex_lock(&lock);
	while (up_list_empty(&lines))
		pthread_cond_wait(&changed, &lock);
	l = UP_CONTAINER_OF(lines.next, struct line, link);
	/* The analyzer does not see that a line that was freed is in no list. */
	up_list_unlink(&l->link); /* NOLINT(clang-analyzer-unix.Malloc) */
	pthread_mutex_unlock(&lock);
	return l;
}

static void *journal_main(void *arg)
{
	for (;;) {
		struct line *l = next_line();

		send_line(l);
		line_free(l);
		pthread_mutex_lock(&lock);
		count--;
		pthread_cond_broadcast(&changed);
		pthread_mutex_unlock(&lock);
	}
	return NULL;
}

/* What the last lines say is mostly why the process ends. */
static void flush(void)
{
	struct timespec until;
	int err = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += FLUSH_SECONDS;
	pthread_mutex_lock(&lock);
	while (count && err != ETIMEDOUT)
		err = pthread_cond_timedwait(&changed, &lock, &until);
	pthread_mutex_unlock(&lock);
}

/* It takes no signal: those are the event loop's. */
static int start_thread(void)
{
	sigset_t all, before;
	pthread_t thread;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	err = pthread_create(&thread, NULL, journal_main, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!err)
		pthread_detach(thread);
	return err;
}

void up_journal_init(void)
{
	if (!up_log_to_journal())
		return;
	up_list_init(&lines);
	if (start_thread() == 0 && atexit(flush) == 0)
		up_log_set_sink(take_line);
}
