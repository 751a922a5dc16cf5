/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The SIGBUS handler and its table of ranges.
 *
 * Entries are written under a mutex and read by the handler, which may run in any thread at any
 * moment and so takes no lock: each entry has a sequence number, odd while it is being changed. A
 * reader that sees it odd, or sees it change, skips the entry. That never skips the entry of the
 * range that faulted: a range is guarded before anybody knows its address, and unguarded only when
 * nobody can touch it any more, so its entry is at rest.
 */
#include "vfio/sigbus_guard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct entry {
	atomic_uint seq; /* odd: the rest is being changed */
	atomic_uintptr_t start;
	atomic_uintptr_t end; /* 0: free */
	atomic_int prot;
	_Atomic(struct up_sigbus_owner *) owner;
	int next_free; /* under `lock`: a chain of freed entries; -1 ends it */
};

/* A consistent copy of an entry. */
struct range {
	uintptr_t start;
	uintptr_t end;
	int prot;
	struct up_sigbus_owner *owner;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct entry entries[UP_SIGBUS_GUARD_MAX];
static atomic_int used; /* entries at and above were never in use; grows only */
static int first_free = -1;
static unsigned guarded;	  /* entries in use; under `lock` */
static struct sigaction previous; /* these two are set before the handler is, then constant */
static uintptr_t page_size;

/*
 * Under `lock`. Each release store is ordered behind the odd sequence number, so that a handler
 * whose acquire load meets a new field also meets the odd number, or a later one, when it looks
 * again.
 */
static void write_entry(struct entry *e, const struct range *r)
{
	unsigned seq = atomic_load_explicit(&e->seq, memory_order_relaxed);

	atomic_store_explicit(&e->seq, seq + 1, memory_order_relaxed);
	atomic_store_explicit(&e->start, r->start, memory_order_release);
	atomic_store_explicit(&e->end, r->end, memory_order_release);
	atomic_store_explicit(&e->prot, r->prot, memory_order_release);
	atomic_store_explicit(&e->owner, r->owner, memory_order_release);
	atomic_store_explicit(&e->seq, seq + 2, memory_order_release);
}

static bool read_entry(const struct entry *e, struct range *r)
{
	unsigned seq = atomic_load_explicit(&e->seq, memory_order_acquire);

	if (seq & 1)
		return false;
	r->start = atomic_load_explicit(&e->start, memory_order_acquire);
	r->end = atomic_load_explicit(&e->end, memory_order_acquire);
	r->prot = atomic_load_explicit(&e->prot, memory_order_acquire);
	r->owner = atomic_load_explicit(&e->owner, memory_order_acquire);
	return atomic_load_explicit(&e->seq, memory_order_relaxed) == seq;
}

static bool find_range(uintptr_t addr, struct range *r)
{
	int i, n = atomic_load_explicit(&used, memory_order_acquire);

	for (i = 0; i < n; i++) {
		if (read_entry(&entries[i], r) && addr >= r->start && addr < r->end)
			return true;
	}
	return false;
}

/* mmap(2) is not on the list of async-signal-safe functions; the bare system call is safe. */
static bool map_anonymous(uintptr_t start, size_t len, int prot)
{
	const int flags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

	return syscall(SYS_mmap, start, len, prot, flags, -1, 0L) == (long)start;
}

/*
 * The whole range at once; where the kernel does not grant that much memory (strict overcommit, a
 * limit on data), the one page that is needed now: the smallest piece that can be replaced, as a
 * file may have huge ones.
 */
static bool replace(const struct range *r, uintptr_t addr)
{
	if (map_anonymous(r->start, r->end - r->start, r->prot))
		return true;
	for (uintptr_t size = page_size; size < r->end - r->start; size *= 2) {
		uintptr_t start = addr & ~(size - 1);

		if (start < r->start || r->end - start < size)
			return false;
		if (map_anonymous(start, size, r->prot))
			return true;
	}
	return false;
}

static void wake(int fd)
{
	const uint64_t one = 1;
	ssize_t n;

	if (fd < 0)
		return;
	/* The flag is set: where this fails, the owner still learns of it at its next look. */
	n = write(fd, &one, sizeof(one));
	(void)n;
}

/*
 * Not ours. A fault happens again as soon as the handler returns, and then ends as it would have
 * without us; a signal that was sent has to be sent again.
 */
static void pass_on(int sig, const siginfo_t *info)
{
	sigaction(sig, &previous, NULL);
	if (info->si_code <= 0)
		raise(sig);
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	uintptr_t addr = (uintptr_t)info->si_addr;
	int saved_errno = errno;
	struct range r;

	(void)context;
	if (info->si_code > 0 && find_range(addr, &r)) {
		/* Before the access completes, so that whoever used its result can know. */
		atomic_store(&r.owner->tripped, true);
		if (replace(&r, addr))
			wake(r.owner->wake_fd);
		else
			pass_on(sig, info);
	} else {
		pass_on(sig, info);
	}
	errno = saved_errno;
}

int up_sigbus_guard_init(void)
{
	struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_RESTART};
	struct sigaction present;
	int ret = 0;

	sigemptyset(&action.sa_mask);
	pthread_mutex_lock(&lock);
	if (sigaction(SIGBUS, NULL, &present) < 0) {
		ret = -errno;
	} else if (!(present.sa_flags & SA_SIGINFO) || present.sa_sigaction != on_sigbus) {
		previous = present;
		page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
		if (sigaction(SIGBUS, &action, NULL) < 0)
			ret = -errno;
	}
	pthread_mutex_unlock(&lock);
	return ret;
}

/* Under `lock`. */
static int take_entry(void)
{
	int i = first_free;

	if (i >= 0) {
		first_free = entries[i].next_free;
		return i;
	}
	i = atomic_load_explicit(&used, memory_order_relaxed);
	if (i == UP_SIGBUS_GUARD_MAX)
		return -ENOSPC;
	atomic_store_explicit(&used, i + 1, memory_order_release);
	return i;
}

int up_sigbus_guard_add(void *start, size_t len, int prot, struct up_sigbus_owner *owner)
{
	const struct range r = {
		.start = (uintptr_t)start,
		.end = (uintptr_t)start + len,
		.prot = prot,
		.owner = owner,
	};
	int i;

	pthread_mutex_lock(&lock);
	i = take_entry();
	if (i >= 0) {
		write_entry(&entries[i], &r);
		guarded++;
	}
	pthread_mutex_unlock(&lock);
	return i;
}

void up_sigbus_guard_remove(int handle)
{
	const struct range none = {0};

	pthread_mutex_lock(&lock);
	write_entry(&entries[handle], &none);
	entries[handle].next_free = first_free;
	first_free = handle;
	guarded--;
	pthread_mutex_unlock(&lock);
}

unsigned up_sigbus_guard_count(void)
{
	unsigned n;

	pthread_mutex_lock(&lock);
	n = guarded;
	pthread_mutex_unlock(&lock);
	return n;
}
