/* SPDX-License-Identifier: BSD-2-Clause */
/* Interrupts of a vfio-user device: what the client may set, and what it may not. */
#include "test_vfio_client.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static void irq_info(void **state)
{
	static const struct vu_irq_info expected[] = {
		{16, 1, 0, 1}, {16, 0, 1, 0}, {16, 1, 2, TEST_VECTORS},
		{16, 9, 3, 1}, {16, 0, 4, 0},
	};
	struct vu_irq_info info;
	struct rig rig;
	uint32_t i;

	(void)state;
	rig_start(&rig);
	for (i = 0; i < UP_VFIO_PCI_IRQS; i++) {
		struct answer a;

		info = (struct vu_irq_info){.argsz = 16, .index = i};
		command(&rig, VU_DEVICE_GET_IRQ_INFO, &info, sizeof(info));
		a = expect_success(&rig, VU_DEVICE_GET_IRQ_INFO, 16);
		assert_memory_equal(a.body, &expected[i], 16);
		answer_done(&a);
	}
	info = (struct vu_irq_info){.argsz = 16, .index = UP_VFIO_PCI_IRQS};
	command(&rig, VU_DEVICE_GET_IRQ_INFO, &info, sizeof(info));
	expect_error(&rig, EINVAL);
	info = (struct vu_irq_info){.argsz = 15};
	command(&rig, VU_DEVICE_GET_IRQ_INFO, &info, sizeof(info));
	expect_error(&rig, EINVAL);
	rig_destroy(&rig);
}

static void set_irqs(struct rig *rig, uint32_t flags, uint32_t index, uint32_t start,
		     uint32_t count, const int *fds, unsigned nr_fds)
{
	const struct vu_irq_set set = {sizeof(set), flags, index, start, count};

	command_fds(rig, VU_DEVICE_SET_IRQS, &set, sizeof(set), fds, nr_fds);
}

enum {
	NONE = VU_IRQ_DATA_NONE | VU_IRQ_ACTION_TRIGGER,
	BOOL = VU_IRQ_DATA_BOOL | VU_IRQ_ACTION_TRIGGER,
	EVENTFD = VU_IRQ_DATA_EVENTFD | VU_IRQ_ACTION_TRIGGER,
};

static uint64_t take(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint64_t n = 0;

	if (poll(&p, 1, 0) != 1)
		return 0;
	return read(fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

static void interrupt_vectors(void **state)
{
	int fds[4], i;
	struct rig rig;
	unsigned calls;

	(void)state;
	rig_start(&rig);
	for (i = 0; i < 4; i++)
		fds[i] = eventfd(0, EFD_CLOEXEC | (i ? EFD_NONBLOCK : 0));

	/* Set, and raised through what the device got. */
	set_irqs(&rig, EVENTFD, 2, 5, 3, fds, 3);
	expect_ok(&rig, VU_DEVICE_SET_IRQS, 0);
	assert_int_equal(rig.dev.irq_calls, 3);
	for (i = 0; i < 3; i++) {
		const uint64_t one = 1;

		assert_true(rig.dev.irq[2][5 + i] >= 0);
		assert_int_equal(write(rig.dev.irq[2][5 + i], &one, 8), 8);
		assert_int_equal(take(fds[i]), 1);
	}
	assert_int_equal(rig.dev.irq[2][4], -1);
	assert_int_equal(rig.dev.irq[2][8], -1);

	/* Replaced. */
	set_irqs(&rig, EVENTFD, 2, 6, 1, &fds[3], 1);
	expect_ok(&rig, VU_DEVICE_SET_IRQS, 0);

	/* Raised by the client: all of a range, and some. */
	set_irqs(&rig, NONE, 2, 4, 4, NULL, 0);
	expect_ok(&rig, VU_DEVICE_SET_IRQS, 0);
	assert_int_equal(take(fds[0]), 1);
	assert_int_equal(take(fds[1]), 0);
	assert_int_equal(take(fds[2]), 1);
	assert_int_equal(take(fds[3]), 1);
	{
		const struct {
			struct vu_irq_set set;
			uint8_t data[4];
		} some = {{24, BOOL, 2, 4, 4}, {1, 0, 1, 0}};

		command(&rig, VU_DEVICE_SET_IRQS, &some, sizeof(some));
		expect_ok(&rig, VU_DEVICE_SET_IRQS, 0);
	}
	assert_int_equal(take(fds[0]), 0);
	assert_int_equal(take(fds[3]), 1);

	/* Withdrawn: one by an empty list, the rest all at once. */
	set_irqs(&rig, EVENTFD, 2, 5, 1, NULL, 0);
	expect_ok(&rig, VU_DEVICE_SET_IRQS, 0);
	assert_int_equal(rig.dev.irq[2][5], -1);
	assert_true(rig.dev.irq[2][6] >= 0);
	set_irqs(&rig, NONE, 2, 0, 0, NULL, 0);
	expect_ok(&rig, VU_DEVICE_SET_IRQS, 0);
	for (i = 0; i < TEST_VECTORS; i++)
		assert_int_equal(rig.dev.irq[2][i], -1);

	/* Nothing to withdraw is fine, for an index without vectors, too. */
	calls = rig.dev.irq_calls;
	set_irqs(&rig, NONE, 1, 0, 0, NULL, 0);
	expect_ok(&rig, VU_DEVICE_SET_IRQS, 0);
	set_irqs(&rig, EVENTFD, 2, 0, TEST_VECTORS, NULL, 0);
	expect_ok(&rig, VU_DEVICE_SET_IRQS, 0);
	assert_int_equal(rig.dev.irq_calls, calls);

	/* Left to the disconnection. */
	set_irqs(&rig, EVENTFD, 2, 0, 4, fds, 4);
	expect_ok(&rig, VU_DEVICE_SET_IRQS, 0);
	set_irqs(&rig, EVENTFD, 0, 0, 1, fds, 1);
	expect_ok(&rig, VU_DEVICE_SET_IRQS, 0);
	rig_hang_up(&rig);
	assert_int_equal(rig.dev.irq[2][3], -1);
	for (i = 0; i < 4; i++)
		close(fds[i]);
	rig_destroy(&rig);
}

static void wrong_set_irqs(void **state)
{
	static const struct vu_irq_set bad[] = {
		{19, NONE, 2, 0, 1},		    /* argsz */
		{20, NONE, UP_VFIO_PCI_IRQS, 0, 0}, /* index */
		{20, NONE, UINT32_MAX, 0, 0},	    /* index */
		{20, NONE, 2, 0, TEST_VECTORS + 1}, /* range */
		{20, NONE, 2, TEST_VECTORS, 1},	    /* range */
		{20, NONE, 2, UINT32_MAX, 1},	    /* range wraps */
		{20, NONE, 2, 1, UINT32_MAX},	    /* range wraps */
		{20, NONE, 1, 0, 1},		    /* index without vectors */
		{20, NONE, 2, 1, 0},		    /* neither all nor some */
		{20, EVENTFD, 2, 0, 0},		    /* no vectors */
		{20, BOOL, 2, 0, 1},		    /* no data */
		{20, BOOL, 2, 0, 0},
		{20, 0, 2, 0, 1},
		{20, VU_IRQ_DATA_NONE, 2, 0, 1},			/* no action */
		{20, VU_IRQ_ACTION_TRIGGER, 2, 0, 1},			/* no kind of data */
		{20, NONE | VU_IRQ_DATA_EVENTFD, 2, 0, 1},		/* two kinds of data */
		{20, NONE | VU_IRQ_ACTION_MASK, 2, 0, 1},		/* two actions */
		{20, VU_IRQ_DATA_NONE | VU_IRQ_ACTION_MASK, 2, 0, 1},	/* not offered */
		{20, VU_IRQ_DATA_NONE | VU_IRQ_ACTION_UNMASK, 2, 0, 1}, /* not offered */
		{20, NONE | 1u << 6, 2, 0, 1},				/* unknown flag */
	};
	struct {
		struct vu_irq_set set;
		uint8_t data[8];
	} longer = {{28, NONE, 2, 0, 1}, {0}};
	struct rig rig;
	int fds[2];
	size_t i;

	(void)state;
	rig_start(&rig);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		command(&rig, VU_DEVICE_SET_IRQS, &bad[i], sizeof(bad[i]));
		expect_error(&rig, EINVAL);
	}
	command(&rig, VU_DEVICE_SET_IRQS, &longer, sizeof(longer));
	expect_error(&rig, EINVAL);
	longer.set.flags = BOOL;
	command(&rig, VU_DEVICE_SET_IRQS, &longer, sizeof(longer));
	expect_error(&rig, EINVAL);

	/* More or fewer descriptors than vectors, and some where none belong. */
	fds[0] = eventfd(0, EFD_CLOEXEC);
	fds[1] = eventfd(0, EFD_CLOEXEC);
	set_irqs(&rig, EVENTFD, 2, 0, 1, fds, 2);
	expect_error(&rig, EINVAL);
	set_irqs(&rig, EVENTFD, 2, 0, 3, fds, 2);
	expect_error(&rig, EINVAL);
	set_irqs(&rig, NONE, 2, 0, 2, fds, 2);
	expect_error(&rig, EINVAL);

	/* Not an eventfd: none of the message counts. */
	close(fds[1]);
	fds[1] = rig.ram_fd;
	set_irqs(&rig, EVENTFD, 2, 0, 2, fds, 2);
	expect_error(&rig, EINVAL);
	assert_int_equal(rig.dev.irq_calls, 0);
	close(fds[0]);
	rig_destroy(&rig);
}

/* The client may fill the counter and make the file blocking at any time: nobody waits for it. */
static void full_eventfd(void **state)
{
	const uint64_t full = UINT64_MAX - 1;
	struct rig rig;
	int fd;

	(void)state;
	rig_start(&rig);
	fd = eventfd(0, EFD_CLOEXEC);
	set_irqs(&rig, EVENTFD, 2, 0, 1, &fd, 1);
	expect_ok(&rig, VU_DEVICE_SET_IRQS, 0);
	assert_int_equal(write(fd, &full, sizeof(full)), 8);
	assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
	set_irqs(&rig, NONE, 2, 0, 1, NULL, 0);
	expect_ok(&rig, VU_DEVICE_SET_IRQS, 0);
	up_vfio_raise(rig.dev.irq[2][0]);
	assert_true(take(fd) >= full);
	/* Its flags are its own. */
	assert_false(fcntl(fd, F_GETFL) & O_NONBLOCK);
	close(fd);
	rig_destroy(&rig);
}

/* More than the kernel keeps requests for. */
static void many_interrupts(void **state)
{
	enum { MANY = 3000 };
	int fd = eventfd(0, EFD_CLOEXEC), i;

	(void)state;
	for (i = 0; i < MANY; i++)
		up_vfio_raise(fd);
	assert_int_equal(take(fd), MANY);
	close(fd);
}

/* From here on io_setup(2) is not there. */
static bool forbid_requests(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = 4, .filter = code};

	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
	       !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static int raise_without_requests(void)
{
	const uint64_t full = UINT64_MAX - 1;
	int fd = eventfd(0, EFD_CLOEXEC);

	if (up_vu_raise_check(fd) || !(fcntl(fd, F_GETFL) & O_NONBLOCK))
		return 1;
	up_vfio_raise(fd);
	if (take(fd) != 1 || write(fd, &full, sizeof(full)) != 8 || fcntl(fd, F_SETFL, 0))
		return 2;
	up_vfio_raise(fd);
	return take(fd) == full ? 0 : 3;
}

/* Where the kernel has no asynchronous requests. In a process where nobody has asked yet. */
static void without_requests(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	pid = fork();
	if (pid == 0)
		_exit(forbid_requests() ? raise_without_requests() : 77);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_requests),  cmocka_unit_test(irq_info),
		cmocka_unit_test(interrupt_vectors), cmocka_unit_test(wrong_set_irqs),
		cmocka_unit_test(full_eventfd),	     cmocka_unit_test(many_interrupts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
