/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What keys allow, as fuzz_wqe.c knows it from having made them: for a byte at a time, without a
 * look at the device.
 */
#ifndef UP_TESTS_FUZZ_MODEL_H
#define UP_TESTS_FUZZ_MODEL_H

#include "fuzz_vm.h"

/* The same set in each VM, with the same numbers. */
enum fuzz_keys {
	KEY_ALL,     /* 4 pages, two swapped at a time, every right */
	KEY_READ,    /* a page, to be read from near and far */
	KEY_LOCAL,   /* 6000 bytes in two pages, nothing from far */
	KEY_WRITE,   /* a page, to be written from far */
	KEY_FOREIGN, /* a page, every right, another protection domain */
	KEY_INVAL,   /* a page, every right, to be revoked from far */
	KEY_LIST,    /* pieces of the ones above, every right */
	KEY_WINDOW,  /* free, for pieces that a request registers */
	KEY_FAST,    /* free, for pages, which a user's request may not register */
	NR_KEYS
};

struct model_key {
	uint32_t key;
	struct fuzz_key made;
};

struct model_vm {
	struct fuzz_vm vm;
	uint32_t foreign_pdn;
	struct model_key key[NR_KEYS];
};

/* Length and place of KEY_LOCAL: it begins in mid-page. */
#define LOCAL_OFFSET 0x64u
#define LOCAL_BYTES 6000u

void model_make_keys(struct model_vm *m);

/* May [addr, addr + len) be used so (CX_MKEY_LR ...), by a QP of the first domain? */
bool model_allows(const struct model_vm *m, uint32_t key, uint8_t access, uint64_t addr,
		  uint64_t len);
/* Whether the guest may have changed what the key allows. */
bool model_is_window(const struct model_vm *m, uint32_t key);
/* The byte at `addr`, which model_allows() said yes to. */
uint8_t *model_byte(const struct model_vm *m, uint32_t key, uint64_t addr);

/* May anybody's requests change the byte of memory at `off`? */
bool model_writable(const struct model_vm *m, uint32_t off);

#endif
