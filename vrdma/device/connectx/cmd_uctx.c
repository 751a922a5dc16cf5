/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * User contexts (DEVX), and to whom objects belong.
 *
 * The guest's kernel makes a context for each process that opens the device, and marks the commands
 * that it sends for that process with the context's number, the uid. Some of these it composes
 * itself; others come from the process as they are, and from those the device protects the guest's
 * other processes and its kernel. What tells the two apart is that a process brings its memory as
 * umems (cmd_umem.c), which the kernel says in each command that has memory, and its own commands
 * never do.
 *
 * An object belongs to the uid that made it: 0 is the kernel. The kernel may name every object. A
 * command with a uid acts upon objects of that uid only. It may refer to those and to what the
 * kernel made for all; and, composed by the kernel, to what is the kernel's own.
 */
#include "device/connectx/cmd.h"

#include <stdlib.h>

struct cx_uctx {
	uint32_t objects;
};

static bool is_kernels(const struct cx_cmd *c)
{
	return !c->uid || c->uid == CX_SHARED_UID;
}

bool cx_acts_on(struct cx_cmd *c, uint16_t owner)
{
	if (is_kernels(c) || owner == c->uid)
		return true;
	c->syndrome = CX_WHY_OWNER;
	return false;
}

bool cx_refers_to(struct cx_cmd *c, uint16_t owner)
{
	return owner == CX_SHARED_UID || (!c->raw && !owner) || cx_acts_on(c, owner);
}

enum cx_status cx_uid_check(struct cx_cmd *c, bool for_users)
{
	if (is_kernels(c))
		return CX_OK;
	if (!for_users)
		return cx_fail(c, CX_BAD_OP, CX_WHY_KERNELS);
	if (!up_table_get(&c->dev->uctxs, c->uid))
		return cx_fail(c, CX_BAD_RES, CX_WHY_NO_UCTX);
	return CX_OK;
}

/* 0 and CX_SHARED_UID are not in the table: nobody counts what is the kernel's. */
static void count(struct cx_device *dev, uint16_t uid, uint32_t n)
{
	struct cx_uctx *uctx = up_table_get(&dev->uctxs, uid);

	if (uctx)
		uctx->objects += n;
}

uint16_t cx_own(struct cx_cmd *c)
{
	count(c->dev, c->uid, 1);
	return c->uid;
}

void cx_disown(struct cx_device *dev, uint16_t uid)
{
	count(dev, uid, -1u);
}

/* No worker looks at the table, so the world goes on. */
enum cx_status cx_create_uctx(struct cx_cmd *c)
{
	struct cx_uctx *uctx;
	int64_t uid;

	static_assert(1 << CX_LOG_MAX_UCTX <= CX_SHARED_UID, "no context has this number");
	/* None of the rights that a context can have are offered (uctx_cap). */
	if (cx_get(c->in, CX_CREATE_UCTX_IN_CAP))
		return cx_fail(c, CX_BAD_PARAM, CX_WHY_TYPE);
	uctx = calloc(1, sizeof(*uctx));
	if (!uctx)
		return cx_fail(c, CX_NO_RES, CX_WHY_NO_MEMORY);
	uid = up_table_add(&c->dev->uctxs, uctx);
	if (uid < 0) {
		free(uctx);
		return cx_fail(c, CX_NO_RES, CX_WHY_TABLE_FULL);
	}
	cx_set(c->out, CX_CREATE_UCTX_OUT_UID, (uint32_t)uid);
	return CX_OK;
}

/*
 * Drivers destroy a process's objects first. A number that still owns some is not handed out again:
 * they would be the next process's.
 */
enum cx_status cx_destroy_uctx(struct cx_cmd *c)
{
	uint32_t uid = cx_get(c->in, CX_DESTROY_UCTX_IN_UID);
	const struct cx_uctx *uctx = up_table_get(&c->dev->uctxs, uid);

	if (!uctx)
		return cx_fail(c, CX_BAD_RES, CX_WHY_NO_UCTX);
	if (uctx->objects)
		return cx_fail(c, CX_RES_BUSY, CX_WHY_IN_USE);
	free(up_table_del(&c->dev->uctxs, uid));
	return CX_OK;
}
