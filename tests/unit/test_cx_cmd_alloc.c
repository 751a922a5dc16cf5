/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Commands that create objects allocate before they stop the world: how long the system takes for
 * memory is its affair, and all VMs would wait for it. The linker sends the code's up_arena_alloc()
 * here.
 */
#include "cx_rig.h"

#include "base/arena.h"
#include "device/connectx/cmd.h"
#include "fabric/fabric_private.h"

void *__real_up_arena_alloc(struct up_arena *a, size_t size);
void *__wrap_up_arena_alloc(struct up_arena *a, size_t size);

static unsigned allocations;

void *__wrap_up_arena_alloc(struct up_arena *a, size_t size)
{
	assert_int_equal(rig.fabric->world_depth, 0);
	allocations++;
	return __real_up_arena_alloc(a, size);
}

/* Of each of these commands, and there is something to count. */
#define creates()                                                                                  \
	do {                                                                                       \
		allocations = 0;                                                                   \
		rig_ok();                                                                          \
		assert_in_range(allocations, 1, 8);                                                \
	} while (0)

static void the_world_goes_on(void **state)
{
	uint32_t pd = rig_alloc_number(CX_CMD_ALLOC_PD), uar = rig_alloc_number(CX_CMD_ALLOC_UAR);
	uint32_t xrcd = rig_alloc_number(CX_CMD_ALLOC_XRCD), eqn = rig_create_eq(0), cqn;

	assert_in_range(allocations, 1, 64);
	rig_begin_cq(eqn);
	creates();
	cqn = rig_object();
	rig_begin_rmp(pd);
	creates();
	rig_begin_xrc_srq(pd, xrcd, cqn);
	creates();
	rig_begin_qp(CX_QPST_RC, cqn, pd, uar);
	creates();
	rig_begin_mkey(CX_MKC_MODE_MTT, 4, 0);
	creates();
	rig_begin_mkey(CX_MKC_MODE_MTT, 4, 4);
	creates();
	rig_begin_mkey(CX_MKC_MODE_KLMS, 4, 4);
	creates();
	rig_become_user();
	rig_begin_umem(2);
	creates();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_world_goes_on, rig_setup_running, rig_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
