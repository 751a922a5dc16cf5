/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests of registration (device/connectx/umr.h) under construction, for the tests of them. */
#ifndef UMR_RIG_H
#define UMR_RIG_H

#include "fake_cx.h"

#include "device/connectx/abi.h"

#include <string.h>

#define OTHER_PD 9
#define NEW_PD 11
#define REG_UMR 12
#define VARIANT 0x42

#define ACCESS_MASK                                                                                \
	(CX_MKEY_MASK_LR | CX_MKEY_MASK_LW | CX_MKEY_MASK_RR | CX_MKEY_MASK_RW | CX_MKEY_MASK_A)
/* frwr_mkey_mask() of mlx5_ib */
#define FAST_REG_MASK                                                                              \
	(CX_MKEY_MASK_LEN | CX_MKEY_MASK_PAGE_SIZE | CX_MKEY_MASK_START_ADDR |                     \
	 CX_MKEY_MASK_EN_RINVAL | CX_MKEY_MASK_KEY | ACCESS_MASK | CX_MKEY_MASK_SMALL_FENCE |      \
	 CX_MKEY_MASK_FREE)
/* set_umr_control_seg() of rdma-core */
#define BIND_MASK                                                                                  \
	(CX_MKEY_MASK_LEN | CX_MKEY_MASK_START_ADDR | CX_MKEY_MASK_LW | CX_MKEY_MASK_RR |          \
	 CX_MKEY_MASK_RW | CX_MKEY_MASK_A | CX_MKEY_MASK_FREE | CX_MKEY_MASK_KEY)

struct umr_rig {
	struct cx_qp *kernel, *user, *registrar;
	struct up_send_wr wr;

	/* The request. */
	struct cx_wqe_umr_ctrl ctrl;
	struct cx_mkey_seg seg;
	uint8_t list[UP_MAX_WQE_BYTES];
	uint32_t list_bytes;
};

extern struct umr_rig umr;

int umr_setup(void **state);
struct up_mr *umr_key(enum up_mr_kind kind, uint32_t capacity);
/* All of memory, for the lists that are not inline, and as what windows are bound to. */
struct up_mr *umr_all_memory(uint32_t pdn, uint32_t access);
void umr_add_page(uint64_t address);
void umr_add_piece(uint32_t len, uint32_t key, uint64_t addr);
/* The list goes inline, padded to 64 bytes. */
void umr_send_inline(void);
/* The list goes by reference, with `key`. */
void umr_send_reference(const void *entries, uint32_t bytes, uint32_t key);
void umr_describe(uint64_t start, uint64_t len, uint8_t rights);
enum up_wc_status umr_run(struct cx_qp *qp, const struct up_mr *mr);

#define UMR_TEST(f) cmocka_unit_test_setup_teardown(f, umr_setup, fake_teardown)

#endif
