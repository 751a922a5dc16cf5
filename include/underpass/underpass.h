/* SPDX-License-Identifier: BSD-2-Clause */
/* All of libunderpass. */
#ifndef UNDERPASS_H
#define UNDERPASS_H

#include <underpass/am.h>
#include <underpass/ep.h>
#include <underpass/rma.h>
#include <underpass/tag.h>

#endif
