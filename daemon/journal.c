/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The journal gets the port as a field of its own, UNDERPASS_PORT, so that
 * `journalctl UNDERPASS_PORT=vm1` shows one guest's lines.
 */
#define SD_JOURNAL_SUPPRESS_LOCATION
#include "daemon/journal.h"

#include "base/log.h"

#include <stddef.h>
#include <systemd/sd-journal.h>

static bool send_line(int priority, const char *port, const char *message)
{
	if (!port)
		return !sd_journal_send("PRIORITY=%d", priority, "MESSAGE=%s", message, NULL);
	return !sd_journal_send("PRIORITY=%d", priority, "UNDERPASS_PORT=%s", port,
				"MESSAGE=%s: %s", port, message, NULL);
}

void up_journal_init(void)
{
	if (up_log_to_journal())
		up_log_set_sink(send_line);
}
