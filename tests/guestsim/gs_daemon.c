/* SPDX-License-Identifier: BSD-2-Clause */
/* Runs an underpassd in a directory of its own and looks at what it uses. */
#include "guestsim.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_ARGS = 2 * GS_MAX_PORTS + 16 };

static void write_config(const struct gs_daemon *d, const char *text, char *path, size_t size)
{
	FILE *f;

	snprintf(path, size, "%s/underpassd.conf", d->dir);
	f = fopen(path, "w");
	if (!f || fputs(text, f) < 0 || fclose(f))
		gs_fail("cannot write %s: %s", path, strerror(errno));
}

static void log_path(const struct gs_daemon *d, char *path, size_t size)
{
	snprintf(path, size, "%s/log", d->dir);
}

static bool redirect_log(const struct gs_daemon *d)
{
	char path[96];
	int fd;

	log_path(d, path, sizeof(path));
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	return fd >= 0 && dup2(fd, STDERR_FILENO) >= 0;
}

/* In the child. The daemon dies with the test, however that ends. */
static void exec_daemon(const struct gs_daemon *d, const struct gs_daemon_opts *opts,
			const char *binary, const char *config, pid_t parent)
{
	char names[GS_MAX_PORTS][16], workers[12];
	const char *argv[MAX_ARGS];
	unsigned n = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent || (opts->keep_log && !redirect_log(d)))
		_exit(126);
	argv[n++] = binary;
	argv[n++] = "--dir";
	argv[n++] = d->dir;
	if (opts->config) {
		argv[n++] = "--config";
		argv[n++] = config;
	}
	for (unsigned i = 0; i < opts->ports; i++) {
		snprintf(names[i], sizeof(names[i]), "vm%u", i);
		argv[n++] = "--port";
		argv[n++] = names[i];
	}
	if (opts->workers) {
		snprintf(workers, sizeof(workers), "%u", opts->workers);
		argv[n++] = "--workers";
		argv[n++] = workers;
	}
	if (opts->trap_doorbells)
		argv[n++] = "--trap-doorbells";
	argv[n] = NULL;
	execv(binary, (char *const *)(uintptr_t)argv);
	fprintf(stderr, "cannot run %s: %s\n", binary, strerror(errno));
	_exit(127);
}

static bool accepts(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool ok;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	ok = s >= 0 && connect(s, (struct sockaddr *)&addr, sizeof(addr)) == 0;
	if (s >= 0)
		close(s);
	return ok;
}

void gs_daemon_start(struct gs_daemon *d, const struct gs_daemon_opts *opts)
{
	const char *binary = getenv("UNDERPASSD"), *tmp = getenv("TMPDIR");
	char config[96], control[96];
	struct gs_wait w = gs_wait_start(GS_WAIT_MS);
	pid_t parent = getpid();
	int status;

	if (!binary)
		binary = GS_UNDERPASSD;
	if (opts->ports > GS_MAX_PORTS)
		gs_fail("too many ports");
	snprintf(d->dir, sizeof(d->dir), "%.30s/guestsim-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(d->dir))
		gs_fail("cannot make %s: %s", d->dir, strerror(errno));
	if (opts->config)
		write_config(d, opts->config, config, sizeof(config));
	d->pid = fork();
	if (d->pid < 0)
		gs_fail("fork: %s", strerror(errno));
	if (!d->pid)
		exec_daemon(d, opts, binary, config, parent);
	snprintf(control, sizeof(control), "%s/control.sock", d->dir);
	while (!accepts(control)) {
		if (waitpid(d->pid, &status, WNOHANG) == d->pid)
			gs_fail("underpassd ended at once with status %#x", status);
		if (!gs_wait_turn(&w))
			gs_fail("underpassd does not listen at %s", control);
	}
}

void gs_daemon_check(const struct gs_daemon *d)
{
	int status;

	if (waitpid(d->pid, &status, WNOHANG) == d->pid)
		gs_fail("underpassd ended with status %#x", status);
}

static void remove_dir(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *e;

	while (dir && (e = readdir(dir)))
		if (e->d_name[0] != '.')
			unlinkat(dirfd(dir), e->d_name, 0);
	if (dir)
		closedir(dir);
	rmdir(path);
}

void gs_daemon_stop(struct gs_daemon *d)
{
	struct gs_wait w = gs_wait_start(GS_WAIT_MS);
	int status = 0;
	pid_t pid;

	if (!d->pid)
		return;
	kill(d->pid, SIGTERM);
	while (!(pid = waitpid(d->pid, &status, WNOHANG))) {
		if (gs_wait_turn(&w))
			continue;
		kill(d->pid, SIGKILL);
		waitpid(d->pid, &status, 0);
		gs_fail("underpassd does not end on SIGTERM");
	}
	d->pid = 0;
	remove_dir(d->dir);
	if (pid < 0 || status)
		gs_fail("underpassd ended with status %#x", status);
}

const char *gs_daemon_socket(const struct gs_daemon *d, unsigned port)
{
	static _Thread_local char path[128];

	snprintf(path, sizeof(path), "%s/vm%u.sock", d->dir, port);
	return path;
}

unsigned gs_daemon_log_lines(const struct gs_daemon *d, const char *text)
{
	char path[96], line[512];
	unsigned n = 0;
	FILE *f;

	log_path(d, path, sizeof(path));
	f = fopen(path, "r");
	if (!f)
		gs_fail("cannot read %s: %s", path, strerror(errno));
	while (fgets(line, sizeof(line), f))
		n += strstr(line, text) != NULL;
	fclose(f);
	return n;
}

void gs_daemon_await_log(const struct gs_daemon *d, const char *text, unsigned n)
{
	struct gs_wait w = gs_wait_start(GS_WAIT_MS);

	while (gs_daemon_log_lines(d, text) < n)
		if (!gs_wait_turn(&w))
			gs_fail("underpassd has not logged '%s' %u times", text, n);
}

static FILE *open_proc(const struct gs_daemon *d, const char *name)
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/%s", d->pid, name);
	f = fopen(path, "r");
	if (!f)
		gs_fail("cannot read %s: %s", path, strerror(errno));
	return f;
}

unsigned gs_daemon_fds(const struct gs_daemon *d)
{
	char path[64];
	unsigned n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", d->pid);
	dir = opendir(path);
	if (!dir)
		gs_fail("cannot read %s: %s", path, strerror(errno));
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 2;
}

unsigned gs_daemon_maps(const struct gs_daemon *d)
{
	FILE *f = open_proc(d, "maps");
	char line[512];
	unsigned n = 0;

	/* Private memory comes and goes with the allocator; what is shared is the guests'. */
	while (fgets(line, sizeof(line), f))
		n += strstr(line, "/memfd:") != NULL;
	fclose(f);
	return n;
}

uint64_t gs_daemon_rss(const struct gs_daemon *d)
{
	FILE *f = open_proc(d, "status");
	unsigned long kib, sum = 0;
	char line[256];

	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "RssAnon: %lu", &kib) == 1 ||
		    sscanf(line, "RssFile: %lu", &kib) == 1)
			sum += kib;
	fclose(f);
	return (uint64_t)sum * 1024;
}

uint64_t gs_daemon_cpu_ns(const struct gs_daemon *d)
{
	char path[300], line[64];
	uint64_t sum = 0;
	struct dirent *e;
	DIR *dir;
	FILE *f;

	/* The first number is the time on a CPU, a thread each. */
	snprintf(path, sizeof(path), "/proc/%d/task", d->pid);
	dir = opendir(path);
	while (dir && (e = readdir(dir))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%.16s/schedstat", d->pid, e->d_name);
		f = fopen(path, "r");
		if (f && fgets(line, sizeof(line), f))
			sum += strtoull(line, NULL, 10);
		if (f)
			fclose(f);
	}
	if (dir)
		closedir(dir);
	return sum;
}

void gs_daemon_await_resources(const struct gs_daemon *d, unsigned fds, unsigned maps)
{
	struct gs_wait w = gs_wait_start(GS_WAIT_MS);

	while (gs_daemon_fds(d) > fds || gs_daemon_maps(d) > maps)
		if (!gs_wait_turn(&w))
			gs_fail("underpassd has %u descriptors and %u mappings, %u and %u before",
				gs_daemon_fds(d), gs_daemon_maps(d), fds, maps);
}
