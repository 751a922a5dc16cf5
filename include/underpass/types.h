/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Underpass: what the parts of libunderpass share.
 *
 * Errors. A function that can fail returns 0 or a negative errno value. The ones that operations
 * end with are listed here, because they mean the same everywhere:
 *   -EAGAIN         no room now: call up_progress() and try again. Nothing was started.
 *   -ECANCELED      cancelled by the application.
 *   -EMSGSIZE       the message was longer than the receive: as much as fits was placed.
 *   -ENOKEY         no region has this key, or it was closed.
 *   -EACCES         the region does not grant this access.
 *   -ERANGE         the range is not inside of the region.
 *   -EHOSTDOWN      the peer is gone, or the lane to it broke.
 *   -EPROTO         the peer sent what is no valid packet; it is treated as gone from here on.
 *   -EPROTONOSUPPORT the peer speaks another version.
 *
 * Threads. An endpoint that was opened with UP_THREAD_MULTIPLE may be used from any thread at any
 * time; one with UP_THREAD_SINGLE by one thread at a time. Different endpoints are independent.
 *
 * Callbacks (completions and handlers) run inside up_progress(), of whichever thread called it, and
 * inside functions that start an operation when it ends at once. They must not block. They may
 * start operations on the same endpoint; a handler of an active message may also reply.
 */
#ifndef UNDERPASS_TYPES_H
#define UNDERPASS_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

struct up_ep;

/* Another endpoint, or this one, as up_peer_add() named it. Never reused while the endpoint lives.
 */
typedef uint64_t up_peer;
#define UP_PEER_ANY UINT64_MAX

/* Of operations; each function says which it takes. */
enum up_flags {
	/* The buffer may be reused on return, and there is no completion unless it fails. At most
	 * UP_INJECT_MAX bytes. */
	UP_INJECT = 1 << 0,
	/* Complete when the data is at the target (without: when the buffer may be reused). */
	UP_DELIVERED = 1 << 1,
	/* Start only after every earlier operation with this peer has completed. */
	UP_FENCE = 1 << 2,
	/* `imm` goes along. */
	UP_IMM = 1 << 3,
	/* Of messages: not kept at this end when the peer makes no room for them (tag.h). */
	UP_AT_ONCE = 1 << 4,
};

#define UP_INJECT_MAX 4096u /* bytes */

/* The end of an operation that was started. `bytes`: how many were moved. */
typedef void up_done(void *ctx, int status, size_t bytes);

#ifdef __cplusplus
}
#endif
#endif
