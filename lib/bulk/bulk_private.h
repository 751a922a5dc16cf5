/* SPDX-License-Identifier: BSD-2-Clause */
/* What the two halves of bulk/ share. */
#ifndef UP_BULK_BULK_PRIVATE_H
#define UP_BULK_BULK_PRIVATE_H

#include "base/bytes.h"
#include "bulk/bulk.h"

#include <limits.h>

/* UP_PKT_TAG_PULL. */
up_packet_handler up_bulk_pulled;

#endif
