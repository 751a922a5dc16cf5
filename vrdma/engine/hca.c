/* SPDX-License-Identifier: BSD-2-Clause */
/* The adapter's tables. */

#include "engine/hca.h"

#include <errno.h>
#include <string.h>

uint64_t up_route_epoch = 1;

/* Numbers 0 and 1 are the special QPs; low key indexes stay free so that a zero key is none. */
#define FIRST_QPN 0x40
#define FIRST_SRQN 0x40
#define FIRST_MR 0x100

int up_hca_init(struct up_hca *hca, const struct up_hca_limits *limits)
{
	int err;

	hca->mr_bytes = 0;
	hca->arena = up_arena_create();
	if (!hca->arena)
		return -ENOMEM;
	err = up_table_init(&hca->mrs, limits->max_mr, FIRST_MR);
	if (err)
		goto destroy_arena;
	err = up_table_init(&hca->qps, limits->max_qp, FIRST_QPN);
	if (err)
		goto fini_mrs;
	err = up_table_init(&hca->srqs, limits->max_srq, FIRST_SRQN);
	if (err)
		goto fini_qps;
	up_mem_init(&hca->mem);
	up_rwlock_init(&hca->mr_lock);
	hca->pkeys[0] = UP_PKEY_DEFAULT;
	return 0;

fini_qps:
	up_table_fini(&hca->qps);
fini_mrs:
	up_table_fini(&hca->mrs);
destroy_arena:
	up_arena_destroy(hca->arena);
	return err;
}

void up_hca_fini(struct up_hca *hca)
{
	up_rwlock_fini(&hca->mr_lock);
	up_mem_fini(&hca->mem);
	up_table_fini(&hca->srqs);
	up_table_fini(&hca->qps);
	up_table_fini(&hca->mrs);
	up_arena_destroy(hca->arena);
}
