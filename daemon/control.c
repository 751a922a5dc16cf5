/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Connections of the control socket.
 *
 * A client is in one of two modes: while nothing is owed to it, its requests are read; while an
 * answer is under way, only that is written, and nothing more is read. One turn of the event loop
 * does one request or one piece of an answer, so that no client holds up the guests' sockets.
 */
#include "daemon/control.h"

#include "daemon/commands.h"
#include "daemon/protocol.h"

#include "base/bytes.h"
#include "base/listener.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SLOW_READER_US (10 * 1000000ull)
#define ACCEPT_PAUSE_US (1000000ull)

struct up_control {
	struct up_daemon *daemon;
	struct up_listener listener;
	sd_event_source *io;
	sd_event_source *pause; /* running while no more descriptors can be had */
	struct up_list clients;
	unsigned nclients;
};

struct client {
	struct up_list link;
	struct up_control *control;
	int fd;
	sd_event_source *io;
	sd_event_source *slow; /* runs while we wait for the client to read */
	bool eof;	       /* it will send nothing more */
	bool last;	       /* to be dropped once its output is written */
	size_t in_len;
	struct up_text out;
	size_t sent; /* of out */
	struct up_stats_reply *more;
	char in[UP_REQUEST_MAX];
};

static void client_drop(struct client *c)
{
	up_list_del(&c->link);
	c->control->nclients--;
	sd_event_source_disable_unref(c->io);
	sd_event_source_disable_unref(c->slow);
	close(c->fd);
	up_stats_reply_destroy(c->more);
	up_text_fini(&c->out);
	free(c);
}

static bool owes(const struct client *c)
{
	return c->sent < c->out.len || c->more;
}

/* Writes what can be written. False: the connection is broken. */
static bool flush(struct client *c)
{
	while (c->sent < c->out.len) {
		ssize_t n = send(c->fd, c->out.data + c->sent, c->out.len - c->sent,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		c->sent += (size_t)n;
	}
	up_text_clear(&c->out);
	c->sent = 0;
	return true;
}

static bool fill(struct client *c)
{
	ssize_t n = recv(c->fd, c->in + c->in_len, sizeof(c->in) - c->in_len, MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	c->in_len += (size_t)n;
	c->eof |= n == 0;
	return true;
}

static char *line_end(struct client *c)
{
	return memchr(c->in, '\n', c->in_len);
}

static void take_request(struct client *c)
{
	char *end = line_end(c);
	struct up_error e;

	if (end) {
		size_t len = (size_t)(end - c->in);

		up_command_run(c->control->daemon, c->in, len, &c->out, &c->more);
		c->in_len -= len + 1;
		memmove(c->in, end + 1, c->in_len);
	} else if (c->in_len == sizeof(c->in)) {
		up_fail(&e, "bad-request", "a request has at most %d bytes", UP_REQUEST_MAX);
		up_command_refuse(&c->out, &e);
		c->in_len = 0;
		c->last = true;
	}
}

/* One step. False: the client is to be dropped. */
static bool advance(struct client *c, uint32_t revents)
{
	if (c->sent == c->out.len && c->more) {
		if (!up_stats_reply_next(c->more, &c->out)) {
			up_stats_reply_destroy(c->more);
			c->more = NULL;
		}
	} else if (!owes(c)) {
		if (!line_end(c) && (revents & (EPOLLIN | EPOLLHUP | EPOLLERR)) && !fill(c))
			return false;
		take_request(c);
	}
	if (c->out.failed || !flush(c))
		return false;
	return owes(c) || line_end(c) || !(c->eof || c->last);
}

static int on_client(sd_event_source *source, int fd, uint32_t revents, void *arg)
{
	struct client *c = arg;
	bool writes;

	if (!advance(c, revents)) {
		client_drop(c);
		return 0;
	}
	/*
	 * A client that reads leaves its socket writable, which brings us back for what is left to
	 * do; each time the clock begins anew.
	 */
	writes = owes(c) || line_end(c);
	sd_event_source_set_io_events(source, writes ? EPOLLOUT : EPOLLIN);
	sd_event_source_set_time_relative(c->slow, SLOW_READER_US);
	sd_event_source_set_enabled(c->slow, writes ? SD_EVENT_ONESHOT : SD_EVENT_OFF);
	return 0;
}

static int on_slow(sd_event_source *source, uint64_t usec, void *arg)
{
	up_log(LOG_NOTICE, NULL, "control client dropped: it does not read its answer");
	client_drop(arg);
	return 0;
}

static bool allowed(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return false;
	if (cred.uid == 0 || cred.uid == geteuid())
		return true;
	up_log(LOG_NOTICE, NULL, "control client of user %u refused", cred.uid);
	return false;
}

static void client_create(struct up_control *ctl, int fd)
{
	struct client *c = calloc(1, sizeof(*c));
	sd_event *loop = ctl->daemon->loop;

	if (!c) {
		close(fd);
		return;
	}
	c->control = ctl;
	c->fd = fd;
	up_list_add_tail(&ctl->clients, &c->link);
	ctl->nclients++;
	if (sd_event_add_io(loop, &c->io, fd, EPOLLIN, on_client, c) < 0 ||
	    sd_event_add_time_relative(loop, &c->slow, CLOCK_MONOTONIC, SLOW_READER_US, 0, on_slow,
				       c) < 0 ||
	    sd_event_source_set_enabled(c->slow, SD_EVENT_OFF) < 0)
		client_drop(c);
}

/* A client too many gets one line, if it fits into its socket, and is closed. */
static void turn_away(struct up_control *ctl, int fd)
{
	struct up_text out = {0};
	struct up_error e;

	up_fail(&e, "limit", "the daemon has %u control clients already", ctl->nclients);
	up_command_refuse(&out, &e);
	if (send(fd, out.data, out.len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		up_log(LOG_DEBUG, NULL, "control client turned away: %s", strerror(errno));
	up_text_fini(&out);
	close(fd);
}

static int on_pause_over(sd_event_source *source, uint64_t usec, void *arg)
{
	struct up_control *ctl = arg;

	return sd_event_source_set_enabled(ctl->io, SD_EVENT_ON);
}

static int on_connection(sd_event_source *source, int listener, uint32_t revents, void *arg)
{
	struct up_control *ctl = arg;
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0) {
		if (!allowed(fd))
			close(fd);
		else if (ctl->nclients >= ctl->daemon->settings.max_clients)
			turn_away(ctl, fd);
		else
			client_create(ctl, fd);
		return 0;
	}
	if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
		up_log(LOG_WARNING, NULL, "cannot accept a control client: %s", strerror(errno));
		sd_event_source_set_enabled(source, SD_EVENT_OFF);
		sd_event_source_set_time_relative(ctl->pause, ACCEPT_PAUSE_US);
		sd_event_source_set_enabled(ctl->pause, SD_EVENT_ONESHOT);
	}
	return 0;
}

struct up_control *up_control_create(struct up_daemon *d, struct up_error *e)
{
	struct up_control *ctl = calloc(1, sizeof(*ctl));
	char *path;
	int err;

	if (!ctl) {
		up_fail(e, "failed", "out of memory");
		return NULL;
	}
	ctl->daemon = d;
	ctl->listener = UP_LISTENER_NONE;
	up_list_init(&ctl->clients);
	if (asprintf(&path, "%s/%s", d->dir, UP_CONTROL_SOCKET) < 0) {
		path = NULL;
		err = -ENOMEM;
	} else {
		err = up_listener_open(&ctl->listener, path, 0600, SOMAXCONN);
	}
	free(path);
	if (err >= 0)
		err = sd_event_add_io(d->loop, &ctl->io, ctl->listener.fd, EPOLLIN, on_connection,
				      ctl);
	if (err >= 0)
		err = sd_event_add_time_relative(d->loop, &ctl->pause, CLOCK_MONOTONIC, 0, 0,
						 on_pause_over, ctl);
	if (err >= 0)
		err = sd_event_source_set_enabled(ctl->pause, SD_EVENT_OFF);
	if (err >= 0)
		return ctl;
	if (err == -EEXIST)
		up_fail(e, "in-use", "%s/%s: something that is no socket is there", d->dir,
			UP_CONTROL_SOCKET);
	else
		up_fail(e, "failed", "cannot open the control socket in %s: %s", d->dir,
			strerror(-err));
	up_control_destroy(ctl);
	return NULL;
}

void up_control_destroy(struct up_control *ctl)
{
	struct up_list *pos, *tmp;

	if (!ctl)
		return;
	up_list_each (pos, tmp, &ctl->clients)
		client_drop(UP_CONTAINER_OF(pos, struct client, link));
	sd_event_source_disable_unref(ctl->io);
	sd_event_source_disable_unref(ctl->pause);
	up_listener_close(&ctl->listener);
	free(ctl);
}
