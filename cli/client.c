/* SPDX-License-Identifier: BSD-2-Clause */
/* The command's side of the control protocol: one request, one line in answer. */
#include "cli/client.h"

#include "daemon/protocol.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { ANSWER_TIMEOUT_S = 30, RETRY_MS = 50 };

/* Sets the error and returns `code`. */
static enum exit_code fail(struct client *c, enum exit_code code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static enum exit_code fail(struct client *c, enum exit_code code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->error, sizeof(c->error), fmt, ap);
	va_end(ap);
	return code;
}

static enum exit_code cannot_connect(struct client *c, int err)
{
	if (err == ENOENT || err == ECONNREFUSED)
		return fail(c, EXIT_NO_DAEMON,
			    "no daemon runs on %s; start it with 'underpassd --dir %s', or name "
			    "its directory with --dir",
			    c->dir, c->dir);
	if (err == EACCES || err == EPERM)
		return fail(c, EXIT_NO_DAEMON,
			    "the daemon on %s serves its own user and root only; try sudo", c->dir);
	return fail(c, EXIT_NO_DAEMON, "cannot reach the daemon on %s: %s", c->dir, strerror(err));
}

/* A daemon makes its control socket last: where it answers, all ports of the start are there. */
static int connect_once(struct client *c, const struct sockaddr_un *addr)
{
	int err;

	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return errno;
	if (connect(c->fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0)
		return 0;
	err = errno;
	client_close(c);
	return err;
}

enum exit_code client_open(struct client *c, const char *dir, double wait)
{
	const struct timeval timeout = {.tv_sec = ANSWER_TIMEOUT_S};
	const struct timespec pause = {.tv_nsec = RETRY_MS * 1000000};
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int n = snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/%s", dir, UP_CONTROL_SOCKET);
	int err;

	*c = (struct client){.dir = dir, .fd = -1};
	if (n < 0 || (size_t)n >= sizeof(addr.sun_path))
		return cannot_connect(c, ENAMETOOLONG);
	err = connect_once(c, &addr);
	for (double left = wait; (err == ENOENT || err == ECONNREFUSED) && left > 0;
	     left -= RETRY_MS / 1e3) {
		nanosleep(&pause, NULL);
		err = connect_once(c, &addr);
	}
	if (err)
		return cannot_connect(c, err);
	setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	return EXIT_OK;
}

void client_close(struct client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

static bool send_all(int fd, const char *data, size_t len)
{
	while (len) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		data += n;
		len -= (size_t)n;
	}
	return true;
}

/* Takes over `request`. */
static bool send_request(struct client *c, json_t *request)
{
	char *text = NULL;
	bool ok = false;

	if (json_object_set_new(request, "version", json_integer(UP_PROTOCOL_VERSION)) == 0)
		text = json_dumps(request, JSON_COMPACT);
	if (text)
		ok = send_all(c->fd, text, strlen(text)) && send_all(c->fd, "\n", 1);
	free(text);
	json_decref(request);
	return ok;
}

/* Reads up to the newline, into allocated memory. NULL with errno; 0 is the end of the stream. */
static char *read_line(int fd, size_t *len)
{
	size_t have = 0, room = 65536;
	char *line = malloc(room);

	while (line) {
		ssize_t n = recv(fd, line + have, room - have, 0);
		char *bigger;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			errno = n ? errno : 0;
			break;
		}
		have += (size_t)n;
		if (line[have - 1] == '\n') {
			*len = have - 1;
			return line;
		}
		if (have < room)
			continue;
		bigger = realloc(line, room * 2);
		if (!bigger)
			break;
		line = bigger;
		room *= 2;
	}
	free(line);
	return NULL;
}

static enum exit_code no_answer(struct client *c, int err)
{
	if (err == EAGAIN)
		return fail(c, EXIT_NO_DAEMON, "the daemon on %s does not answer", c->dir);
	if (c->answered)
		return fail(c, EXIT_NO_DAEMON, "the daemon on %s has stopped", c->dir);
	if (err)
		return fail(c, EXIT_NO_DAEMON, "lost the daemon on %s: %s", c->dir, strerror(err));
	return fail(c, EXIT_NO_DAEMON,
		    "the daemon on %s closed the connection: it serves its own user and root only, "
		    "or is stopping",
		    c->dir);
}

static enum exit_code refused(struct client *c, json_t *reply)
{
	static const struct {
		const char *code, *hint;
	} hints[] = {
		{"no-port", "; 'underpass port list' shows those there are"},
		{"busy", "; stop the VM first, or disconnect it with --force"},
	};
	const char *code = "", *message = "the answer makes no sense", *hint = "";

	json_unpack(reply, "{s:{s:s, s:s}}", "error", "code", &code, "message", &message);
	for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
		if (strcmp(code, hints[i].code) == 0)
			hint = hints[i].hint;
	}
	return fail(c, EXIT_REFUSED, "%s%s", message, hint);
}

enum exit_code client_call(struct client *c, json_t *request, json_t **result)
{
	json_error_t why;
	json_t *reply;
	size_t len;
	char *line;
	int ok = false;
	enum exit_code code = EXIT_OK;

	/* A daemon that turned us away may have said why before it closed. */
	if (!send_request(c, request) && errno != EPIPE)
		return no_answer(c, errno);
	line = read_line(c->fd, &len);
	if (!line)
		return no_answer(c, errno);
	c->answered = true;
	reply = json_loadb(line, len, 0, &why);
	free(line);
	*result = NULL;
	json_unpack(reply, "{s:b, s?O}", "ok", &ok, "result", result);
	if (!ok || !*result) {
		json_decref(*result);
		code = refused(c, reply);
	}
	json_decref(reply);
	return code;
}

/* Of a write that failed earlier the reason is lost where this one does not repeat it. */
enum exit_code client_flush(struct client *c)
{
	errno = 0;
	if (!fflush(stdout) && !ferror(stdout))
		return EXIT_OK;
	return fail(c, EXIT_REFUSED, "cannot write the output: %s", strerror(errno ? errno : EIO));
}
