/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the simulated guest offer one another. */
#ifndef GS_INTERNAL_H
#define GS_INTERNAL_H

#include "guestsim.h"

/* Regions and interrupts of a PCI device, as in linux/vfio.h. */
enum { GS_BAR0 = 0, GS_CONFIG = 7, GS_MSIX = 2 };

/* gs_ram.c */
void gs_ram_init(struct gs_vm *vm, const struct gs_vm_opts *opts);
void gs_ram_fini(struct gs_vm *vm);

/* gs_cmd.c: needs registers; gs_cmd_init() tells the device where the queue is. */
void gs_cmd_init(struct gs_vm *vm);
void gs_cmd_fini(struct gs_vm *vm);

/* gs_devx.c: makes the command the process's. Returns its new length, which is not more. */
uint32_t gs_devx_compose(struct gs_vm *vm, uint8_t *in, uint32_t inlen);

/* gs_event.c */
void gs_eq_create(struct gs_vm *vm, struct gs_eq *eq, unsigned vector, unsigned log_size,
		  uint64_t event_mask);
/* The oldest event that was not taken yet, or NULL. */
const struct cx_eqe *gs_eq_peek(struct gs_eq *eq);
void gs_eq_take(struct gs_vm *vm, struct gs_eq *eq);
/* Blocks on the interrupt; false after `ms`. Also true when it was raised earlier. */
bool gs_eq_sleep(struct gs_vm *vm, struct gs_eq *eq, unsigned ms);

/* gs_vm.c */
void *gs_alloc(size_t size); /* zeroed, or gs_fail() */
/* The same, freed by gs_vm_close(): objects outlive their destruction by the completions of it. */
void *gs_object_alloc(struct gs_vm *vm, size_t size);
uint32_t gs_uidx_alloc(struct gs_vm *vm, void *object);

/* A queue's buffer as a command takes it. */
struct gs_buf {
	unsigned page_shift;
	unsigned page_offset; /* in 64ths of the page */
	unsigned npages;
	uint64_t *pages;
};
/* Chooses a page size among those that fit, a different one from call to call. */
struct gs_buf gs_buf_describe(struct gs_vm *vm, const void *ptr, size_t size, unsigned max_offset);
/* Copies the page list (big endian) and frees it. */
void gs_buf_finish(struct gs_buf *b, void *pas);

/* gs_cq.c */
struct gs_cq *gs_cq_find(struct gs_vm *vm, uint32_t cqn);

/* gs_srq.c: makes an element free again once its completion was polled. */
void gs_srq_release(struct gs_srq *srq, uint16_t index);

/* gs_post.c: writes into a send queue that is a ring of blocks. */
struct gs_wqe {
	struct gs_qp *qp;
	uint8_t *start; /* the control segment */
	uint8_t *at;	/* where the next segment goes */
	unsigned ds;	/* segments of 16 bytes so far */
};
/* False: no room for a request of `bytes`. */
bool gs_wqe_begin(struct gs_wqe *w, struct gs_qp *qp, unsigned bytes);
void gs_wqe_add(struct gs_wqe *w, const void *segment, unsigned len);
/* Pads to a multiple of 16 bytes, writes the control segment, advances the queue. */
void gs_wqe_end(struct gs_wqe *w, uint64_t wr_id, uint8_t op, uint8_t fm_ce_se, uint32_t imm_be);

#endif
