/* SPDX-License-Identifier: BSD-2-Clause */
/* Guest memory that is taken away while it is mapped: nobody but its owner suffers. */
#include "test_vfio_client.h"

#include "vfio/sigbus_guard.h"

#include <linux/filter.h>
#include <linux/memfd.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { RW = UP_VFIO_DMA_READ | UP_VFIO_DMA_WRITE };

static uint64_t take(int fd)
{
	uint64_t n = 0;

	return read(fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

/*
 * The end of the file moves before the mapping's second page. cmocka takes SIGBUS for itself at the
 * start of every test, hence the call of up_sigbus_guard_init() here.
 */
static uint8_t *map_and_shrink(int prot, struct up_sigbus_owner *owner, int *handle)
{
	int fd = make_memfd("guest", 4 * 4096);
	uint8_t *p;

	assert_int_equal(up_sigbus_guard_init(), 0);
	assert_int_equal(pwrite(fd, "guest", 5, 0), 5);
	p = mmap(NULL, 4 * 4096, prot, MAP_SHARED, fd, 0);
	assert_true(p != MAP_FAILED);
	*handle = up_sigbus_guard_add(p, 4 * 4096, prot, owner);
	assert_true(*handle >= 0);
	assert_int_equal(ftruncate(fd, 4096), 0);
	close(fd);
	return p;
}

struct job {
	volatile uint8_t *at;
	bool store;
	uint8_t seen;
	pthread_barrier_t *barrier;
};

static void *touch(void *arg)
{
	struct job *job = arg;

	if (job->barrier)
		pthread_barrier_wait(job->barrier);
	if (job->store)
		*job->at = 0x42;
	job->seen = *job->at;
	return NULL;
}

static uint8_t touch_in_thread(volatile uint8_t *at, bool store)
{
	struct job job = {.at = at, .store = store};
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, touch, &job), 0);
	pthread_join(thread, NULL);
	return job.seen;
}

static void fault_in_another_thread(void **state)
{
	struct up_sigbus_owner owner = {.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
	int handle;
	uint8_t *p;

	(void)state;
	p = map_and_shrink(PROT_READ | PROT_WRITE, &owner, &handle);
	assert_int_equal(touch_in_thread(p, false), 'g');
	assert_false(atomic_load(&owner.tripped));
	assert_int_equal(take(owner.wake_fd), 0);

	assert_int_equal(touch_in_thread(p + 2 * 4096 + 7, true), 0x42);
	assert_true(atomic_load(&owner.tripped));
	assert_int_equal(take(owner.wake_fd), 1);

	/* All of the range was replaced: no more faults, and no trace of the guest. */
	assert_int_equal(p[0], 0);
	p[3 * 4096] = 1;
	assert_int_equal(take(owner.wake_fd), 0);
	up_sigbus_guard_remove(handle);
	munmap(p, 4 * 4096);
	close(owner.wake_fd);
}

static void read_only_mapping(void **state)
{
	struct up_sigbus_owner owner = {.wake_fd = -1};
	int handle;
	uint8_t *p;

	(void)state;
	p = map_and_shrink(PROT_READ, &owner, &handle);
	assert_int_equal(touch_in_thread(p + 3 * 4096, false), 0);
	assert_true(atomic_load(&owner.tripped));
	up_sigbus_guard_remove(handle);
	munmap(p, 4 * 4096);
}

static void many_threads_at_once(void **state)
{
	enum { THREADS = 8 };
	struct up_sigbus_owner owner = {.wake_fd = -1};
	pthread_barrier_t barrier;
	pthread_t thread[THREADS];
	struct job job[THREADS];
	int handle, i;
	uint8_t *p;

	(void)state;
	p = map_and_shrink(PROT_READ | PROT_WRITE, &owner, &handle);
	pthread_barrier_init(&barrier, NULL, THREADS);
	for (i = 0; i < THREADS; i++) {
		job[i] = (struct job){.at = p + (1 + i % 3) * 4096 + i, .barrier = &barrier};
		assert_int_equal(pthread_create(&thread[i], NULL, touch, &job[i]), 0);
	}
	for (i = 0; i < THREADS; i++) {
		pthread_join(thread[i], NULL);
		assert_int_equal(job[i].seen, 0);
	}
	pthread_barrier_destroy(&barrier);
	assert_true(atomic_load(&owner.tripped));
	up_sigbus_guard_remove(handle);
	munmap(p, 4 * 4096);
}

/* One owner's fault does not touch the next one's memory. */
static void only_the_range_that_was_hit(void **state)
{
	struct up_sigbus_owner first = {.wake_fd = -1}, second = {.wake_fd = -1};
	int handle[2];
	uint8_t *p, *q;

	(void)state;
	p = map_and_shrink(PROT_READ | PROT_WRITE, &first, &handle[0]);
	q = map_and_shrink(PROT_READ | PROT_WRITE, &second, &handle[1]);
	touch_in_thread(p + 4096, true);
	assert_true(atomic_load(&first.tripped));
	assert_false(atomic_load(&second.tripped));
	assert_memory_equal(q, "guest", 5);
	up_sigbus_guard_remove(handle[0]);
	touch_in_thread(q + 4096, true);
	assert_true(atomic_load(&second.tripped));
	up_sigbus_guard_remove(handle[1]);
	munmap(p, 4 * 4096);
	munmap(q, 4 * 4096);
}

static void errno_survives(void **state)
{
	struct up_sigbus_owner owner = {.wake_fd = -1};
	volatile uint8_t *p;
	int handle, seen;

	(void)state;
	p = map_and_shrink(PROT_READ | PROT_WRITE, &owner, &handle);
	errno = 12345;
	p[4096] = 1;
	seen = errno;
	assert_int_equal(seen, 12345);
	up_sigbus_guard_remove(handle);
	munmap((void *)(uintptr_t)p, 4 * 4096);
}

static void table_full_and_reused(void **state)
{
	struct up_sigbus_owner owner = {.wake_fd = -1};
	int *handles = calloc(UP_SIGBUS_GUARD_MAX, sizeof(*handles));
	uintptr_t base = 0x10000000;
	int i, round;

	(void)state;
	for (round = 0; round < 2; round++) {
		for (i = 0; i < UP_SIGBUS_GUARD_MAX; i++) {
			void *start = (void *)(base + (uintptr_t)i * 4096);

			handles[i] = up_sigbus_guard_add(start, 4096, PROT_READ, &owner);
			assert_true(handles[i] >= 0);
		}
		assert_int_equal(up_sigbus_guard_add((void *)base, 4096, PROT_READ, &owner),
				 -ENOSPC);
		for (i = 0; i < UP_SIGBUS_GUARD_MAX; i++)
			up_sigbus_guard_remove(handles[i]);
	}
	free(handles);
}

/* Ranges come and go in one thread while another faults in its own. */
static void *churn(void *arg)
{
	struct up_sigbus_owner owner = {.wake_fd = -1};
	atomic_bool *stop = arg;
	int handle[64], i;

	while (!atomic_load(stop)) {
		for (i = 0; i < 64; i++)
			handle[i] = up_sigbus_guard_add((void *)(uintptr_t)(0x10000 + i * 4096),
							4096, PROT_READ, &owner);
		for (i = 0; i < 64; i++)
			up_sigbus_guard_remove(handle[i]);
	}
	assert_false(atomic_load(&owner.tripped));
	return NULL;
}

static void faults_during_changes(void **state)
{
	atomic_bool stop = false;
	pthread_t thread;
	int i;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, churn, &stop), 0);
	for (i = 0; i < 200; i++) {
		struct up_sigbus_owner owner = {.wake_fd = -1};
		volatile uint8_t *p;
		int handle;

		p = map_and_shrink(PROT_READ | PROT_WRITE, &owner, &handle);
		p[4096] = 1;
		assert_true(atomic_load(&owner.tripped));
		up_sigbus_guard_remove(handle);
		munmap((void *)(uintptr_t)p, 4 * 4096);
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
}

/* What must end a process is tried in a child of its own; returns the signal that ended it. */
static int run_child(void (*body)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		const struct rlimit none = {0, 0};

		setrlimit(RLIMIT_CORE, &none);
		/* As in a daemon: nobody but the guard has an interest in the signal. */
		signal(SIGBUS, SIG_DFL);
		if (up_sigbus_guard_init() < 0)
			_exit(1);
		body();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status))
		return -WEXITSTATUS(status);
	return WTERMSIG(status);
}

static void fault_elsewhere(void)
{
	int fd = memfd_create("other", 0);
	volatile uint8_t *p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);

	(void)p[0];
}

static void signal_that_was_sent(void)
{
	raise(SIGBUS);
}

static void others_faults_still_kill(void **state)
{
	(void)state;
	assert_int_equal(run_child(fault_elsewhere), SIGBUS);
	assert_int_equal(run_child(signal_that_was_sent), SIGBUS);
}

enum { LARGE = 256 << 20 };

/* From now on a mapping of LARGE bytes fails for want of memory, as under strict overcommit. */
static void refuse_large_mappings(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, LARGE, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOMEM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = {.len = 6, .filter = filter};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		_exit(1);
}

/* Then the page that is needed is replaced, and the rest stays. */
static void no_room_for_the_range(void)
{
	struct up_sigbus_owner owner = {.wake_fd = -1};
	int fd = memfd_create("large", 0);
	volatile uint8_t *p;

	if (ftruncate(fd, LARGE) < 0)
		_exit(2);
	p = mmap(NULL, LARGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		_exit(3);
	if (up_sigbus_guard_add((void *)(uintptr_t)p, LARGE, PROT_READ | PROT_WRITE, &owner) < 0)
		_exit(4);
	refuse_large_mappings();
	p[0] = 1;
	if (ftruncate(fd, 4096) < 0)
		_exit(5);
	p[4096 * 5] = 2;
	p[4096 * 900 + 1] = 3;
	if (p[0] != 1 || p[4096 * 5] != 2 || p[4096 * 900 + 1] != 3 || !owner.tripped)
		_exit(6);
}

static void replacing_page_by_page(void **state)
{
	(void)state;
	assert_int_equal(run_child(no_room_for_the_range), 0);
}

enum { HUGE = 2 << 20, NO_HUGE_PAGES = 77 };

/* Of huge pages, none of which there is: they cannot be replaced in parts. */
static void no_room_for_huge_pages(void)
{
	struct up_sigbus_owner owner = {.wake_fd = -1};
	int fd = memfd_create("huge", MFD_HUGETLB | MFD_HUGE_2MB);
	volatile uint8_t *p;

	if (fd < 0 || ftruncate(fd, LARGE) < 0)
		_exit(NO_HUGE_PAGES);
	p = mmap(NULL, LARGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	if (p == MAP_FAILED)
		_exit(NO_HUGE_PAGES);
	if (up_sigbus_guard_add((void *)(uintptr_t)p, LARGE, PROT_READ | PROT_WRITE, &owner) < 0)
		_exit(4);
	refuse_large_mappings();
	if (ftruncate(fd, 0) < 0)
		_exit(5);
	p[HUGE + 4096 * 5] = 2;
	p[LARGE - 1] = 3;
	if (p[HUGE + 4096 * 5] != 2 || p[LARGE - 1] != 3 || p[HUGE] || !owner.tripped)
		_exit(6);
}

static void replacing_a_huge_page(void **state)
{
	int ended;

	(void)state;
	ended = run_child(no_room_for_huge_pages);
	if (ended == -NO_HUGE_PAGES)
		skip();
	assert_int_equal(ended, 0);
}

/* The same through the server: the client that shrinks its memory is dropped, the next is served.
 */
static void server_drops_the_client(void **state)
{
	unsigned round;
	struct rig rig;

	(void)state;
	rig_create(&rig, NULL);
	for (round = 0; round < 3; round++) {
		uint32_t prot = round == 1 ? UP_VFIO_DMA_READ : RW;
		int ram = make_memfd("shrinking", 8 * 4096);
		uint8_t *hva;

		rig_connect(&rig);
		assert_false(atomic_load(up_vfio_server_tripped(rig.server)));
		negotiate(&rig);
		dma_map(&rig, 0, 4 * 4096, 0, prot, rig.ram_fd);
		expect_ok(&rig, VU_DMA_MAP, 0);
		dma_map(&rig, 0x100000, 8 * 4096, 0, prot, ram);
		expect_ok(&rig, VU_DMA_MAP, 0);
		hva = rig.dev.map[1].hva;
		assert_int_equal(ftruncate(ram, 0), 0);
		pump(&rig);
		assert_true(up_vfio_server_connected(rig.server));

		touch_in_thread(hva + 5 * 4096, prot & UP_VFIO_DMA_WRITE);
		assert_true(atomic_load(up_vfio_server_tripped(rig.server)));
		pump(&rig);
		expect_disconnect(&rig, "took guest memory away");
		assert_int_equal(rig.dev.nr_maps, 0);
		close(ram);
	}
	rig_connect(&rig);
	negotiate(&rig);
	pump(&rig);
	assert_true(up_vfio_server_connected(rig.server));
	rig_destroy(&rig);
}

/* A mapping that faults for the first time while it is being withdrawn. */
static void fault_during_unmap(void **state)
{
	struct rig rig;
	int ram;

	(void)state;
	rig_start(&rig);
	ram = make_memfd("shrinking", 8 * 4096);
	dma_map(&rig, 0, 8 * 4096, 0, RW, ram);
	expect_ok(&rig, VU_DMA_MAP, 0);
	assert_int_equal(ftruncate(ram, 0), 0);
	close(ram);
	dma_unmap(&rig, 0, 8 * 4096, 0);
	expect_ok(&rig, VU_DMA_UNMAP, 24);
	expect_disconnect(&rig, "took guest memory away");
	rig_destroy(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fault_in_another_thread),
		cmocka_unit_test(read_only_mapping),
		cmocka_unit_test(many_threads_at_once),
		cmocka_unit_test(only_the_range_that_was_hit),
		cmocka_unit_test(errno_survives),
		cmocka_unit_test(faults_during_changes),
		cmocka_unit_test(others_faults_still_kill),
		cmocka_unit_test(replacing_page_by_page),
		cmocka_unit_test(replacing_a_huge_page),
		cmocka_unit_test(server_drops_the_client),
		cmocka_unit_test(fault_during_unmap),
		cmocka_unit_test(table_full_and_reused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
