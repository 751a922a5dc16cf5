/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the daemon is told: the configuration file's settings with the command line's over them.
 */
#ifndef UP_DAEMON_SETTINGS_H
#define UP_DAEMON_SETTINGS_H

#include "fabric/fabric.h"

#include <assert.h>
#include <sys/types.h>

#define UP_DEFAULT_TENANT "default"

enum up_doorbells {
	UP_DOORBELLS_DEFAULT, /* of a port: what the daemon's setting says */
	UP_DOORBELLS_SHARED,  /* UAR pages are shared with the VM: no store to them leaves it */
	UP_DOORBELLS_TRAP,    /* every store to a UAR page is a message on the socket */
};

/* Strings in struct up_settings are owned by it; those of a function's argument are borrowed. */
struct up_port_settings {
	const char *name;
	const char *tenant;
	uint64_t guid; /* 0: derived */
	enum up_doorbells doorbells;
	const char *where; /* "FILE:LINE" or "--port", for messages */
};

struct up_settings {
	char *dir;
	int log_level; /* a syslog priority */
	enum up_doorbells doorbells;
	struct up_fabric_config fabric;
	unsigned max_ports;
	unsigned max_clients; /* of the control socket */
	mode_t socket_mode;   /* of the ports' sockets */
	uid_t socket_owner;   /* -1: the daemon's */
	gid_t socket_group;
	struct up_port_settings *ports;
	unsigned nports;
};

void up_settings_init(struct up_settings *s);
void up_settings_fini(struct up_settings *s);

/*
 * Adds a port; all strings are copied. `tenant` NULL: the default tenant. 0, -EEXIST (same name),
 * -EINVAL (a name that cannot be, see up_port_name_usable()), -ENOMEM.
 */
int up_settings_add_port(struct up_settings *s, const struct up_port_settings *port);

/* A name that a port may have: up_name_valid(), and its socket is not the control socket. */
bool up_port_name_usable(const char *name);
/* What is wrong with a name otherwise, for messages: a tenant's; of a port's, behind it. */
#define UP_NAME_RULE "use 1 to 63 letters, digits, '.', '_' or '-', and neither '.' nor '-' first"
#define UP_PORT_NAME_RULE "; 'control' is taken"
static_assert(UP_NAME_MAX == 63, "UP_NAME_RULE says so");

/* "debug", "info", "notice", "warning" or "error" into a syslog priority. */
bool up_parse_log_level(const char *text, int *priority);

/* "shared" or "trap". */
bool up_parse_doorbells(const char *text, enum up_doorbells *d);

/* "0x" and 16 hexadecimal digits, or four groups of four as sysfs has it; not zero. */
bool up_parse_guid(const char *text, uint64_t *guid);

/*
 * Reads a file over what *s holds. Returns 0, or a negative errno after it reported to `report`
 * what is wrong and in which file and line.
 */
int up_settings_read(struct up_settings *s, const char *path,
		     void (*report)(void *arg, const char *message), void *arg);

#endif
