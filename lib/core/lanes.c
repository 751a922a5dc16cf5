/* SPDX-License-Identifier: BSD-2-Clause */
/* The lanes that there are. */
#include "core/private.h"

static const struct up_lane_ops *lanes[UP_LANES_MAX + 1] = {
	&up_lane_shm,
#ifdef UP_HAVE_OFI
	&up_lane_ofi,
#endif
};

const struct up_lane_ops *const *up_lanes(void)
{
	return lanes;
}

void up_lanes_add(const struct up_lane_ops *ops)
{
	memmove(lanes + 1, lanes, sizeof(lanes) - 2 * sizeof(lanes[0]));
	lanes[0] = ops;
}
