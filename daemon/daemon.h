/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The daemon: a fabric, a device with a vfio-user socket for each port, and the event loop of the
 * control thread, which everything here belongs to.
 */
#ifndef UP_DAEMON_DAEMON_H
#define UP_DAEMON_DAEMON_H

#include "daemon/settings.h"

#include "device/connectx/device.h"

#include <systemd/sd-event.h>

struct up_control;

struct up_daemon {
	struct up_settings settings; /* its port list is what the daemon began with */
	char *dir;		     /* absolute */
	int dir_fd;		     /* holds the directory's lock */
	sd_event *loop;
	struct up_fabric *fabric;
	struct up_reaper *reaper;
	unsigned nports;
	struct up_control *control;
	uint64_t started; /* CLOCK_MONOTONIC, us */
};

/* struct up_port.owner */
struct up_daemon_port {
	struct up_daemon *daemon;
	struct up_port *port;
	struct cx_device *device;
	sd_event_source *source; /* of the device's vfio-user server */
	char *socket;
	enum up_doorbells doorbells; /* as settled: not the default */
	bool failed;		     /* its server broke; it serves no VM any more */
};

static inline struct up_daemon_port *up_daemon_port(const struct up_port *port)
{
	return port->owner;
}

/*
 * Why a request failed: a word for programs and a sentence for people. Made with up_fail(), which
 * returns -1 so that it can end a function.
 */
struct up_error {
	const char *code;
	char text[768]; /* a file and line of the configuration, names, and a socket's path */
};

int up_fail(struct up_error *e, const char *code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Takes over *settings (which is empty afterwards). 0, or -1 with *e set. */
int up_daemon_init(struct up_daemon *d, struct up_settings *settings, struct up_error *e);
/* Serves until a signal asks for the end. 0, or -1 with *e set. */
int up_daemon_run(struct up_daemon *d, struct up_error *e);
/* Disconnects every VM and removes the sockets. Undoes a failed up_daemon_init() too. */
void up_daemon_fini(struct up_daemon *d);
/* Tells the service manager what to show as the daemon's status. */
void up_daemon_tell_status(struct up_daemon *d);

/* ports.c */
int up_daemon_port_add(struct up_daemon *d, const struct up_port_settings *s, struct up_error *e);
/* Disconnects the VM, if any. */
void up_daemon_port_remove(struct up_port *port);
bool up_daemon_port_connected(const struct up_port *port);

#endif
