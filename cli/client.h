/* SPDX-License-Identifier: BSD-2-Clause */
/* The command's side of the control protocol (daemon/protocol.h), and its exit codes. */
#ifndef UP_CLI_CLIENT_H
#define UP_CLI_CLIENT_H

#include <jansson.h>
#include <stdbool.h>

enum exit_code {
	EXIT_OK = 0,
	EXIT_REFUSED = 1,   /* the daemon answered with an error, or the answer cannot be printed */
	EXIT_USAGE = 2,	    /* of the command line */
	EXIT_NO_DAEMON = 3, /* no answer: no daemon, no permission, or it went away */
};

struct client {
	const char *dir; /* outlives the client */
	int fd;
	bool answered;	 /* an earlier request */
	char error[512]; /* why the last call failed, and what to do about it */
};

/*
 * Connects to the daemon of a directory, trying for `wait` seconds while none is there. EXIT_OK, or
 * EXIT_NO_DAEMON and c->error.
 */
enum exit_code client_open(struct client *c, const char *dir, double wait);
void client_close(struct client *c);

/*
 * Sends a request, `request` being an object without version, which it takes over. EXIT_OK and a
 * new reference in *result, or another code and c->error.
 */
enum exit_code client_call(struct client *c, json_t *request, json_t **result);

/* Writes out what was printed. EXIT_OK, or EXIT_REFUSED and c->error. */
enum exit_code client_flush(struct client *c);

#endif
