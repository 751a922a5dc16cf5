/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages and remote memory access between two processes, measured through one API or another.
 *
 * A program here is side.c and measure.c, the same for all, and one file that does what `struct
 * api` asks for with the API that it is about. It takes commands from standard input, a test a
 * line (`TEST SIZE COUNT`), and prints a line of JSON for each. Role 0 is the one that measures;
 * between commands both ends sleep, so that many of them may be open at a time.
 */
#ifndef BENCH_RMA_SIDE_H
#define BENCH_RMA_SIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	BLOB_MAX = 2048,  /* bytes of an address, or of what a peer needs to reach memory */
	MEMORY = 4 << 20, /* bytes of each kind of memory, and of the local buffer */
	WINDOW = 64,	  /* operations that are open at a time, small ones */
	WINDOW_LARGE = 8, /* and those from LARGE bytes on */
	LARGE = 4096,
	TAG = 7,
};

/* What remote memory is: any memory, or what the API allocated for this use. */
enum kind { ORDINARY, ALLOCATED, KINDS };

struct end; /* an endpoint: the API's own */

/* A function that an API lacks is NULL. None returns before it has done what it says. */
struct api {
	const char *name;
	/* `automatic`: progress without calls. NULL, after say_why(): this end has no such thing.
	 */
	struct end *(*open)(bool automatic);
	void (*close)(struct end *e);
	/* Writes the address; its length. */
	size_t (*address)(struct end *e, void *blob);
	/* What the peer's address() wrote. Peers are numbered from 0 in the order of calls. */
	void (*connect)(struct end *e, const void *blob, size_t len);

	/* `n` tagged messages, until the buffer may be reused; and `n` from whoever sends. */
	void (*send)(struct end *e, unsigned peer, const void *buf, size_t len, unsigned n);
	void (*recv)(struct end *e, void *buf, size_t len, unsigned n);
	void (*progress)(struct end *e);

	/* Memory for peers, MEMORY bytes zeroed; what they need goes to the blob. */
	void *(*allocate)(struct end *e, size_t bytes);
	size_t (*expose)(struct end *e, enum kind kind, void *mem, void *blob);
	void (*import)(struct end *e, enum kind kind, const void *blob, size_t len);
	/* The buffer that all of the following use here. */
	void (*local)(struct end *e, void *buf);
	/* To the start of peer 0's memory, `n` times: until all of it is there. */
	void (*write)(struct end *e, enum kind kind, size_t len, unsigned n);
	void (*read)(struct end *e, enum kind kind, size_t len, unsigned n);
	/* To the first 8 bytes there, whatever the length. */
	void (*fetch_add)(struct end *e, enum kind kind, size_t len, unsigned n);
	/* One write, until the buffer may be reused. */
	void (*put)(struct end *e, enum kind kind, size_t len);

	/* What only this program measures: false where there is no such test. */
	bool (*extra)(const char *test, size_t size, unsigned count, double *value);
};

/* Each program has one. */
extern const struct api api;

struct side {
	unsigned role;
	int fd;		  /* a socket to the other role */
	const char *with; /* --with: what the API makes of it */
	struct end *end;
	uint8_t *buf;
	uint8_t *memory[KINDS];
	struct end **crowd; /* further endpoints of role 1 */
	unsigned ncrowd;
};

extern struct side side;

/* Ends the program. */
void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Over the socket: blocks, and does not return short. */
void meet_send(const void *data, size_t len);
void meet_recv(void *data, size_t len);
/* The other's blob for ours; its length. */
size_t meet_swap(const void *mine, size_t len, void *other);

/* Opens `side`'s endpoint and its memory, connected to the other role's. */
void side_open(void);
/* Runs a test together with the other role. NULL, or why there is no result. */
const char *measure(const char *test, size_t size, unsigned count, double *value);

#endif
