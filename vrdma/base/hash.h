/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hash tables: uthash with two changes for a daemon whose guests are attackers. An addition that
 * finds no memory fails instead of ending the process: then the element's handle has no table
 * (`x->hh.tbl` is NULL), and whoever adds must look. And the hash depends on a secret of the
 * process, so that a guest cannot choose keys (multicast GIDs, service IDs) that share a bucket.
 *
 * Nothing else includes <uthash.h>.
 */
#ifndef UP_BASE_HASH_H
#define UP_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#ifdef UTHASH_H
#error "<uthash.h> came before base/hash.h"
#endif

/* SipHash-1-3 of a key, cut to 32 bits. Any thread. */
uint32_t up_hash(const void *key, size_t len);

#define HASH_NONFATAL_OOM 1
#define HASH_FUNCTION(key, len, hashv) ((hashv) = up_hash(key, len))
#include <uthash.h>

#endif
