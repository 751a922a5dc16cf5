/* SPDX-License-Identifier: BSD-2-Clause */
/* Log lines (base/log.h) as entries of the journal. */
#ifndef UP_DAEMON_JOURNAL_H
#define UP_DAEMON_JOURNAL_H

/* From here on, if stderr is connected to the journal. Before anything is logged. */
void up_journal_init(void);

#endif
