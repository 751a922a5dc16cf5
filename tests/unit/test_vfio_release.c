/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The end of mappings of guest memory. The linker sends the code's munmap() here, where it is
 * counted by thread, and that of another thread than the test's waits until the test lets it go on.
 */
#include "base/bytes.h"
#include "no_memory.h"
#include "unit.h"
#include "vfio/vfio_internal.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE ((size_t)4096)
#define MIB ((size_t)1 << 20)
#define MOST_AT_ONCE (64 * MIB)
#define GUARD_S 60

int __real_munmap(void *at, size_t len);
int __wrap_munmap(void *at, size_t len);

static pthread_t test_thread;
static sem_t gate; /* a call of the other thread takes one */
static sem_t done; /* and gives one here */
static unsigned own_calls;
static atomic_size_t other_bytes, longest;
static _Atomic(uint8_t *) lowest;

int __wrap_munmap(void *at, size_t len)
{
	int ret;

	if (pthread_equal(pthread_self(), test_thread)) {
		own_calls++;
		return __real_munmap(at, len);
	}
	while (sem_wait(&gate))
		;
	ret = __real_munmap(at, len);
	other_bytes += len;
	if (len > longest)
		longest = len;
	lowest = at;
	sem_post(&done);
	return ret;
}

static void await_calls(unsigned n)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += GUARD_S;
	while (n--)
		assert_int_equal(sem_timedwait(&done, &ts), 0);
}

static void let_go(unsigned calls)
{
	for (unsigned i = 0; i < calls; i++)
		sem_post(&gate);
	await_calls(calls);
}

/* Neighbours would become one mapping, were they not of one page of a file. */
static uint8_t *map(int fd, size_t len)
{
	uint8_t *at = mmap(NULL, len, PROT_READ, fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED,
			   fd, 0);

	assert_ptr_not_equal(at, MAP_FAILED);
	return at;
}

static int setup(void **state)
{
	test_thread = pthread_self();
	sem_init(&gate, 0, 0);
	sem_init(&done, 0, 0);
	own_calls = 0;
	other_bytes = longest = 0;
	return 0;
}

/* All that a client can have, in ranges of any size: its end costs others no wait. */
static void another_thread_waits(void **state)
{
	static const size_t sizes[] = {PAGE, 16 * PAGE, 4 * MIB, 5 * MIB};
	size_t all = 0;

	for (unsigned i = 0; i < VU_MAX_FILES; i++) {
		size_t size = sizes[i % UP_ARRAY_SIZE(sizes)];

		up_vu_release(map(-1, size), size);
		all += size;
	}
	assert_int_equal(own_calls, 0);
	let_go(VU_MAX_FILES);
	assert_int_equal(other_bytes, all);
}

/* From its end, in pieces between which others may change the address space. */
static void goes_piece_by_piece(void **state)
{
	size_t len = 2 * MOST_AT_ONCE + 5 * PAGE;
	uint8_t *at = map(-1, len);

	up_vu_release(at, len);
	let_go(1);
	assert_ptr_equal(lowest, at + len - MOST_AT_ONCE);
	let_go(2);
	assert_ptr_equal(lowest, at);
	assert_int_equal(other_bytes, len);
	assert_int_equal(longest, MOST_AT_ONCE);
}

/* There is an end to what may be left to the other thread. */
static void flood_waits_for_itself(void **state)
{
	int fd = memfd_create("test", MFD_CLOEXEC);
	unsigned n;

	assert_true(fd >= 0);
	for (n = 0; !own_calls; n++) {
		assert_true(n < 40000);
		up_vu_release(map(fd, PAGE), PAGE);
	}
	assert_true(n > 16 * VU_MAX_FILES);
	let_go(n - 1);
	up_vu_release(map(fd, PAGE), PAGE);
	assert_int_equal(own_calls, 1);
	let_go(1);
	close(fd);
}

static void goes_without_memory(void **state)
{
	uint8_t *at = map(-1, 5 * MIB);

	no_memory_after(0);
	up_vu_release(at, 5 * MIB);
	assert_true(no_memory_end());
	assert_int_equal(own_calls, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(another_thread_waits, setup),
		cmocka_unit_test_setup(goes_piece_by_piece, setup),
		cmocka_unit_test_setup(flood_waits_for_itself, setup),
		cmocka_unit_test_setup(goes_without_memory, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
