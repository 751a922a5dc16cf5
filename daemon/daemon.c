/* SPDX-License-Identifier: BSD-2-Clause */
/* Start, event loop and end of the daemon. */
#include "daemon/daemon.h"

#include "daemon/control.h"
#include "daemon/rundir.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "subnet/subnet.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

int up_fail(struct up_error *e, const char *code, const char *fmt, ...)
{
	va_list ap;

	e->code = code;
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	return -1;
}

/* Every port takes a few descriptors, and every VM one for each interrupt. */
static void raise_file_limit(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) < 0 || lim.rlim_cur == lim.rlim_max)
		return;
	lim.rlim_cur = lim.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &lim) < 0)
		up_log(LOG_WARNING, NULL, "cannot raise the limit of open files: %s",
		       strerror(errno));
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *si, void *arg)
{
	up_log(LOG_INFO, NULL, "stopping on %s", sigdescr_np((int)si->ssi_signo) ?: "a signal");
	return sd_event_exit(sd_event_source_get_event(source), 0);
}

/* As nohup(1) leaves it. To block an ignored signal would make it count again. */
static bool hangup_ignored(void)
{
	struct sigaction present;

	return sigaction(SIGHUP, NULL, &present) == 0 && present.sa_handler == SIG_IGN;
}

/* The signals are blocked before any worker exists, so that only the event loop takes them. */
static int init_loop(struct up_daemon *d, struct up_error *e)
{
	static const int ends[] = {SIGTERM, SIGINT, SIGHUP};
	unsigned count = UP_ARRAY_SIZE(ends) - hangup_ignored();
	sigset_t set;
	int err;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	for (unsigned i = 0; i < count; i++)
		sigaddset(&set, ends[i]);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	err = sd_event_new(&d->loop);
	for (unsigned i = 0; i < count && err >= 0; i++)
		err = sd_event_add_signal(d->loop, NULL, ends[i], on_signal, NULL);
	if (err >= 0)
		err = sd_event_set_watchdog(d->loop, true);
	if (err < 0)
		return up_fail(e, "failed", "cannot set up the event loop: %s", strerror(-err));
	return 0;
}

static int init_dir(struct up_daemon *d, struct up_error *e)
{
	char *named = NULL;

	if (!d->settings.dir) {
		named = up_rundir_default();
		if (!named)
			return up_fail(e, "failed",
				       "no run-time directory: name one with --dir, or set "
				       "XDG_RUNTIME_DIR");
	}
	d->dir_fd = up_rundir_open(named ? named : d->settings.dir, &d->dir, e);
	free(named);
	return d->dir_fd < 0 ? -1 : 0;
}

static int reap(sd_event_source *source, int fd, uint32_t revents, void *arg)
{
	up_reaper_process(arg);
	return 0;
}

static int init_reaper(struct up_daemon *d, struct up_error *e)
{
	int err;

	d->reaper = up_reaper_create();
	err = d->reaper ? sd_event_add_io(d->loop, NULL, up_reaper_fd(d->reaper), EPOLLIN, reap,
					  d->reaper)
			: -errno;
	if (err < 0)
		return up_fail(e, "failed", "cannot free memory in turns: %s", strerror(-err));
	return 0;
}

static int init_ports(struct up_daemon *d, struct up_error *e)
{
	for (unsigned i = 0; i < d->settings.nports; i++) {
		const struct up_port_settings *s = &d->settings.ports[i];
		struct up_error inner;

		if (up_daemon_port_add(d, s, &inner) < 0)
			return up_fail(e, inner.code, "%s: port '%s': %s", s->where, s->name,
				       inner.text);
	}
	return 0;
}

int up_daemon_init(struct up_daemon *d, struct up_settings *settings, struct up_error *e)
{
	*d = (struct up_daemon){
		.settings = *settings, .dir_fd = -1, .started = up_clock_ns() / 1000};
	up_settings_init(settings);
	raise_file_limit();
	if (init_dir(d, e) < 0 || init_loop(d, e) < 0 || init_reaper(d, e) < 0)
		return -1;
	d->settings.fabric.manager = &up_subnet_manager;
	d->fabric = up_fabric_create(&d->settings.fabric);
	if (!d->fabric)
		return up_fail(e, "failed", "cannot start the workers: %s", strerror(errno));
	if (init_ports(d, e) < 0)
		return -1;
	d->control = up_control_create(d, e);
	return d->control ? 0 : -1;
}

void up_daemon_tell_status(struct up_daemon *d)
{
	sd_notifyf(0, "STATUS=%u ports on %s", d->nports, d->dir);
}

int up_daemon_run(struct up_daemon *d, struct up_error *e)
{
	int err;

	up_daemon_tell_status(d);
	sd_notify(0, "READY=1");
	up_log(LOG_INFO, NULL, "ready: %u port%s on %s", d->nports, d->nports == 1 ? "" : "s",
	       d->dir);
	err = sd_event_loop(d->loop);
	sd_notify(0, "STOPPING=1");
	if (err < 0)
		return up_fail(e, "failed", "the event loop failed: %s", strerror(-err));
	return 0;
}

void up_daemon_fini(struct up_daemon *d)
{
	struct up_port *port;

	up_control_destroy(d->control);
	while (d->fabric && (port = up_port_next(d->fabric, NULL)))
		up_daemon_port_remove(port);
	up_fabric_destroy(d->fabric);
	sd_event_unref(d->loop);
	up_reaper_destroy(d->reaper);
	if (d->dir_fd >= 0)
		close(d->dir_fd);
	free(d->dir);
	up_settings_fini(&d->settings);
}
