/* SPDX-License-Identifier: BSD-2-Clause */
/* What the application's waiting and the thread of automatic progress share. */
#ifndef UP_CORE_WAIT_H
#define UP_CORE_WAIT_H

#include "core/private.h"

int up_epoll_add(int epoll, int fd);
int up_epoll_add_lanes(struct up_ep_private *core, int epoll);
/* False: one of them has something already. */
bool up_arm_lanes(struct up_ep_private *core);

#endif
