/* SPDX-License-Identifier: BSD-2-Clause */
/* The one switch of the data path's locks (base/lock.h). */
#include "base/lock.h"

bool up_multi_worker;
