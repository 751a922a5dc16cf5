/* SPDX-License-Identifier: BSD-2-Clause */
/* The program around an API: its options, its other half, commands and results. */
#include "side.h"

#include "cores.h"

#include <argp.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct side side = {.fd = -1};

struct args {
	const char *meet;
	int role;
	int cpu[2];
};

struct command {
	char test[32];
	uint64_t size;
	uint32_t count;
};

void die(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	fprintf(stderr, "%s: ", api.name);
	vfprintf(stderr, format, ap);
	fputc('\n', stderr);
	va_end(ap);
	exit(1);
}

void meet_send(const void *data, size_t len)
{
	if (send(side.fd, data, len, MSG_NOSIGNAL) != (ssize_t)len)
		die("the other role is gone");
}

void meet_recv(void *data, size_t len)
{
	/* Nothing may be what is waited for; recv() waits for a byte all the same. */
	if (len && recv(side.fd, data, len, MSG_WAITALL) != (ssize_t)len)
		die("the other role is gone");
}

size_t meet_swap(const void *mine, size_t len, void *other)
{
	size_t theirs;

	meet_send(&len, sizeof(len));
	meet_send(mine, len);
	meet_recv(&theirs, sizeof(theirs));
	if (theirs > BLOB_MAX)
		die("a blob of %zu bytes", theirs);
	meet_recv(other, theirs);
	return theirs;
}

static const struct argp_option options[] = {
	{"meet", 'm', "PATH", 0, "A socket for the two roles to meet at"},
	{"role", 'r', "N", 0, "0 or 1; without it this program starts both"},
	{"cpu", 'c', "A,B", 0, "Where role 0 and role 1 run (0,1)"},
	{"with", 'w', "TEXT", 0, "What to use, where the API has a choice"},
	{0},
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct args *a = state->input;

	switch (key) {
	case 'm':
		a->meet = arg;
		return 0;
	case 'r':
		a->role = atoi(arg);
		return 0;
	case 'c':
		if (sscanf(arg, "%d,%d", &a->cpu[0], &a->cpu[1]) != 2)
			argp_error(state, "--cpu takes two numbers");
		return 0;
	case 'w':
		side.with = arg;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* Whoever is first at the path waits there for the other. */
static void meet_at(const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(sa.sun_path))
		die("%s is too long", path);
	strcpy(sa.sun_path, path);
	if (fd >= 0 && !bind(fd, (struct sockaddr *)&sa, sizeof(sa)) && !listen(fd, 1)) {
		side.fd = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
		close(fd);
	} else if (fd >= 0 && errno == EADDRINUSE) {
		/* Between bind() and listen() of the other. */
		while (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) && errno == ECONNREFUSED)
			usleep(1000);
		side.fd = fd;
	}
	if (side.fd < 0)
		die("%s: %s", path, strerror(errno));
}

/* It may be polling by then, and would go on doing so. */
static void end_with_parent(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}

/* Both roles from here: the child is role 1. */
static void split(void)
{
	int fds[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		die("%s", strerror(errno));
	pid = fork();
	if (pid < 0)
		die("%s", strerror(errno));
	side.role = pid == 0;
	if (side.role)
		end_with_parent();
	side.fd = fds[side.role];
	close(fds[!side.role]);
}

static uint8_t *ordinary(void)
{
	uint8_t *mem = aligned_alloc(4096, MEMORY);

	if (!mem)
		die("out of memory");
	memset(mem, 0, MEMORY);
	return mem;
}

static void exchange_memory(enum kind kind)
{
	uint64_t mine[BLOB_MAX / 8], other[BLOB_MAX / 8];
	size_t len;

	if (!side.memory[kind])
		die("out of memory");
	len = meet_swap(mine, api.expose(side.end, kind, side.memory[kind], mine), other);
	api.import(side.end, kind, other, len);
}

void side_open(void)
{
	uint64_t mine[BLOB_MAX / 8], other[BLOB_MAX / 8];
	size_t len;

	side.buf = ordinary();
	side.memory[ORDINARY] = ordinary();
	side.end = api.open(false);
	len = meet_swap(mine, api.address(side.end, mine), other);
	api.connect(side.end, other, len);
	if (!api.expose)
		return;
	api.local(side.end, side.buf);
	exchange_memory(ORDINARY);
	if (api.allocate) {
		side.memory[ALLOCATED] = api.allocate(side.end, MEMORY);
		exchange_memory(ALLOCATED);
	}
}

/* A command as it was read, and what came of it, as a line of JSON. */
static void run(const char *line)
{
	struct command c = {.count = 1};
	unsigned long long size = 0;
	const char *why;
	double value = 0;

	if (sscanf(line, "%31s %llu %u", c.test, &size, &c.count) < 1)
		return;
	c.size = size;
	meet_send(&c, sizeof(c));
	why = measure(c.test, c.size, c.count, &value);
	printf("{\"api\": \"%s\", \"test\": \"%s\", \"size\": %llu, ", api.name, c.test, size);
	if (why)
		printf("\"value\": null, \"why\": \"%s\"}\n", why);
	else
		printf("\"value\": %.9g}\n", value);
	fflush(stdout);
}

static void lead(void)
{
	static const struct command end;
	char line[256];

	printf("{\"api\": \"%s\", \"ready\": true}\n", api.name);
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin))
		run(line);
	meet_send(&end, sizeof(end));
}

static void follow(void)
{
	struct command c;
	double value;

	for (;;) {
		meet_recv(&c, sizeof(c));
		if (!c.test[0])
			return;
		measure(c.test, c.size, c.count, &value);
	}
}

int main(int argc, char **argv)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.doc = "Measures messages and remote memory access between two processes. Reads "
		       "lines of TEST SIZE COUNT from standard input."};
	const char *rank = getenv("OMPI_COMM_WORLD_RANK");
	struct args args = {.role = rank ? atoi(rank) : -1, .cpu = {0, 1}};

	end_with_parent();
	argp_parse(&argp, argc, argv, 0, NULL, &args);
	if (args.role > 1 || (args.role >= 0 && !args.meet))
		die("a role is 0 or 1, and needs --meet");
	side.role = (unsigned)args.role;
	if (args.role < 0)
		split();
	else
		meet_at(args.meet);
	if (!cores_pin(args.cpu[side.role]))
		die("cannot run on core %d: %s", args.cpu[side.role], strerror(errno));
	side_open();
	if (side.role == 0)
		lead();
	else
		follow();
	if (api.close) {
		/* Those of role 0 are its one endpoint. */
		for (unsigned i = 0; side.role && i < side.ncrowd; i++)
			api.close(side.crowd[i]);
		api.close(side.end);
	}
	return 0;
}
