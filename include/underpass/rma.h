/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One-sided operations on the memory of a peer, which takes part only by its progress: write, read,
 * atomics. The target checks every access.
 */
#ifndef UNDERPASS_RMA_H
#define UNDERPASS_RMA_H

#include <underpass/types.h>

#ifdef __cplusplus
extern "C" {
#endif

enum up_rma_access {
	UP_RMA_READ = 1 << 0, /* UP_ATOMIC_READ too */
	UP_RMA_WRITE = 1 << 1,
	UP_RMA_ATOMIC = 1 << 2, /* all other atomics */
};

struct up_region;

/* Gets the immediate data of writes, after the data is in its place. */
typedef void up_rma_notify(void *ctx, up_peer from, uint64_t imm, size_t bytes);

/*
 * Lets peers use [addr, addr + len). They name bytes by the region's key and `base` + offset; base
 * is often the address itself. `key`: 0 lets the library choose, else it must be free (-EEXIST).
 * The memory stays the application's, and must stay mapped until up_region_close(). 0, -EINVAL,
 * -ENOMEM.
 */
int up_region_open(struct up_ep *ep, void *addr, size_t len, uint64_t base, unsigned access,
		   uint64_t key, struct up_region **region);
/* Returns when nothing reads or writes the memory any more. What comes later gets -ENOKEY. It waits
 * for peers that are just using memory of up_mem_alloc(), not for dead ones. */
void up_region_close(struct up_region *region);
uint64_t up_region_key(const struct up_region *region);

/*
 * Memory that peers on the same host map: once they have, their operations on it are loads and
 * stores, which end inside of the call that starts them and need no progress here. Where no lane
 * has such, memory like any other. Page aligned, zeroed. A region over it is opened as over any
 * other, and closed before the memory is freed. NULL with errno.
 *
 * Rights and bounds are then checked by the peer's library. That protects against mistakes, not
 * against a process of the same user that means harm; it could do that with a debugger as well.
 * Such a process can also hold up up_region_close(), which waits until no peer is in the memory.
 */
void *up_mem_alloc(struct up_ep *ep, size_t bytes);
void up_mem_free(struct up_ep *ep, void *mem);

/* Regions that somebody else keeps: asked for keys that no region of the endpoint has. */
struct up_resolve_ops {
	/*
	 * The memory of an access (enum up_rma_access), all of it or nothing: NULL with *error.
	 * It is used until put() is called with the same `cookie`; both on a thread that makes
	 * progress.
	 */
	void *(*get)(void *ctx, uint64_t key, uint64_t addr, size_t len, unsigned access,
		     void **cookie, int *error);
	void (*put)(void *ctx, void *cookie);
};
void up_rma_set_resolver(struct up_ep *ep, const struct up_resolve_ops *ops, void *ctx);
void up_rma_set_notify(struct up_ep *ep, up_rma_notify *notify, void *ctx);

/*
 * Hears of each operation of a peer's on the endpoint's memory, after it was done. `access`:
 * UP_RMA_READ or UP_RMA_WRITE, with UP_RMA_ATOMIC for atomics (READ: those that fetch). To be set
 * before peers know keys: what they have mapped by then, they use without a word.
 */
typedef void up_rma_touched(void *ctx, up_peer from, unsigned access);
void up_rma_set_touched(struct up_ep *ep, up_rma_touched *touched, void *ctx);
/* The same of one region only, and only of what changes it: once for each write or atomic, also of
 * one that has pieces in several regions. To be set before peers know this key. */
void up_region_set_touched(struct up_region *region, up_rma_touched *touched, void *ctx);

/* A piece of a peer's memory. */
struct up_rma_iov {
	uint64_t addr;
	size_t len;
	uint64_t key;
};

/*
 * The two lists (at most UP_IOV_MAX each) have the same length in all. Flags of a write: UP_INJECT,
 * UP_DELIVERED, UP_FENCE, UP_IMM; of a read: UP_FENCE. Writes of one endpoint to another's memory
 * are placed in the order in which they were started. 0, -EAGAIN, -EINVAL, -EHOSTDOWN.
 */
int up_rma_write(struct up_ep *ep, up_peer peer, const struct iovec *local, size_t nlocal,
		 const struct up_rma_iov *remote, size_t nremote, uint64_t imm, unsigned flags,
		 up_done *done, void *ctx);
int up_rma_read(struct up_ep *ep, up_peer peer, const struct iovec *local, size_t nlocal,
		const struct up_rma_iov *remote, size_t nremote, unsigned flags, up_done *done,
		void *ctx);

enum up_atomic_op {
	UP_ATOMIC_MIN,
	UP_ATOMIC_MAX,
	UP_ATOMIC_SUM,
	UP_ATOMIC_PROD,
	UP_ATOMIC_LOR,
	UP_ATOMIC_LAND,
	UP_ATOMIC_BOR,
	UP_ATOMIC_BAND,
	UP_ATOMIC_LXOR,
	UP_ATOMIC_BXOR,
	UP_ATOMIC_READ,	 /* fetch only */
	UP_ATOMIC_WRITE, /* replace; with fetch an exchange */
	UP_ATOMIC_CSWAP, /* store when equal; the next ones when target < = > compare, as named */
	UP_ATOMIC_CSWAP_NE,
	UP_ATOMIC_CSWAP_LE,
	UP_ATOMIC_CSWAP_LT,
	UP_ATOMIC_CSWAP_GE,
	UP_ATOMIC_CSWAP_GT,
	UP_ATOMIC_MSWAP, /* bits of `compare` come from the operand */
	UP_ATOMIC_OPS
};

enum up_atomic_type {
	UP_INT8,
	UP_UINT8,
	UP_INT16,
	UP_UINT16,
	UP_INT32,
	UP_UINT32,
	UP_INT64,
	UP_UINT64,
	UP_FLOAT,
	UP_DOUBLE,
	UP_ATOMIC_TYPES
};

size_t up_atomic_size(enum up_atomic_type type);
/* Is there such an operation? (Bitwise ones of floating point are not.) */
bool up_atomic_valid(enum up_atomic_op op, enum up_atomic_type type, bool fetch);
/* Elements of one operation. */
#define UP_ATOMIC_MAX_COUNT 256u

/*
 * Applies `op` to each of `count` elements at the target, which must be aligned to their size. Each
 * is atomic also against the target's own atomic instructions. `operand` and `compare` are copied
 * before it returns; `fetch`, unless NULL, gets the old values by the time of `done`.
 * Flags: UP_DELIVERED (implied with fetch), UP_FENCE, UP_INJECT. 0, -EAGAIN, -EINVAL, -EHOSTDOWN.
 */
int up_rma_atomic(struct up_ep *ep, up_peer peer, enum up_atomic_op op, enum up_atomic_type type,
		  size_t count, const void *operand, const void *compare, void *fetch,
		  uint64_t addr, uint64_t key, unsigned flags, up_done *done, void *ctx);
/* The same with elements in several places at the target (at most UP_IOV_MAX): whole ones in each,
 * and as many in all as `operand`, `compare` and `fetch` have. */
int up_rma_atomic_iov(struct up_ep *ep, up_peer peer, enum up_atomic_op op,
		      enum up_atomic_type type, const void *operand, const void *compare,
		      void *fetch, const struct up_rma_iov *remote, size_t nremote, unsigned flags,
		      up_done *done, void *ctx);

#ifdef __cplusplus
}
#endif
#endif
