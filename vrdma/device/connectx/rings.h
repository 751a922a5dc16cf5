/* SPDX-License-Identifier: BSD-2-Clause */
/* What the receive queues of wqe.c and srq.c share. */
#ifndef UP_CONNECTX_RINGS_H
#define UP_CONNECTX_RINGS_H

#include "device/connectx/connectx.h"

/*
 * Reads the scatter list of `bytes` bytes at `off` of a ring, which ends there or with a segment
 * whose key is CX_INVALID_LKEY. Sets nsge, sge and length. -EINVAL: more than UP_MAX_RECV_SGE
 * pieces; -EFAULT: not in memory.
 */
int cx_scatter_list(const struct cx_buf *buf, const struct up_mem *mem, uint64_t off,
		    uint32_t bytes, struct up_recv_wr *wr);

#endif
