/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Locks of the data path. With one worker nothing is shared between threads, so they cost one
 * predictable branch; with several they are the C library's.
 * Which there are, and their order: engine/exec.h.
 */
#ifndef UP_BASE_LOCK_H
#define UP_BASE_LOCK_H

#include <pthread.h>
#include <stdbool.h>

/* True once a second worker exists; set before the first worker starts, then constant. */
extern bool up_multi_worker;

struct up_lock {
	pthread_spinlock_t spin;
};

static inline void up_lock_init(struct up_lock *l)
{
	pthread_spin_init(&l->spin, PTHREAD_PROCESS_PRIVATE);
}

static inline void up_lock_take(struct up_lock *l)
{
	if (__builtin_expect(up_multi_worker, 0))
		pthread_spin_lock(&l->spin);
}

static inline void up_lock_drop(struct up_lock *l)
{
	if (__builtin_expect(up_multi_worker, 0))
		pthread_spin_unlock(&l->spin);
}

/* For what another thread than the workers touches too, however many workers there are. */
static inline void up_lock_always_take(struct up_lock *l)
{
	pthread_spin_lock(&l->spin);
}

static inline void up_lock_always_drop(struct up_lock *l)
{
	pthread_spin_unlock(&l->spin);
}

/*
 * Readers are the copies that use a port's keys; the writer changes or revokes one. A reader that
 * comes after a writer waits for it: the copies of many workers overlap for ever, and a writer that
 * they kept out would hold up its worker's other ports, and who stops the world. So nobody may
 * take a lock for reading twice.
 */
struct up_rwlock {
	pthread_rwlock_t rw;
};

static inline void up_rwlock_init(struct up_rwlock *l)
{
	pthread_rwlockattr_t attr;

	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&l->rw, &attr);
	pthread_rwlockattr_destroy(&attr);
}

static inline void up_rwlock_fini(struct up_rwlock *l)
{
	pthread_rwlock_destroy(&l->rw);
}

static inline void up_rwlock_read(struct up_rwlock *l)
{
	if (__builtin_expect(up_multi_worker, 0))
		pthread_rwlock_rdlock(&l->rw);
}

static inline void up_rwlock_write(struct up_rwlock *l)
{
	if (__builtin_expect(up_multi_worker, 0))
		pthread_rwlock_wrlock(&l->rw);
}

static inline void up_rwlock_drop(struct up_rwlock *l)
{
	if (__builtin_expect(up_multi_worker, 0))
		pthread_rwlock_unlock(&l->rw);
}

#endif
