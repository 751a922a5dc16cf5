/* SPDX-License-Identifier: BSD-2-Clause */
/* Bystanders and rubbish, for tests in which VMs misbehave or die. */
#include "bystanders.h"

#include <stdlib.h>
#include <unistd.h>

struct pair bystanders;

static uint64_t seed = 1;

int by_start(void **state)
{
	struct gs_link l = gs_link_default();
	const char *s = getenv("GS_SEED");

	if (s)
		seed = strtoull(s, NULL, 0);
	tl_opts.ports = 4;
	tl_start(state);
	tl_side_open(&bystanders.a, 2);
	tl_side_open(&bystanders.b, 3);
	tl_connect(&bystanders, GS_RC, &l);
	tl_ping(&bystanders);
	return 0;
}

int by_stop(void **state)
{
	tl_side_close(&bystanders.a);
	tl_side_close(&bystanders.b);
	return tl_stop(state);
}

void by_check(void)
{
	gs_daemon_check(&tl_daemon);
	tl_ping(&bystanders);
}

void by_check_port(unsigned port)
{
	struct gs_vm *vm = gs_vm_open_port(&tl_daemon, port);

	gs_vm_close(vm);
	by_check();
}

unsigned by_reads_meanwhile(struct gs_vm *vm)
{
	const struct cx_cmd_slot *s = &vm->slots[0];
	unsigned reads = 0;

	gs_reg_write(vm, CX_ISEG_CMD_DBELL, 1);
	for (;;) {
		gs_reg_read(bystanders.a.vm, CX_ISEG_HEALTH_COUNTER);
		if (!(__atomic_load_n(&s->status_own, __ATOMIC_ACQUIRE) & CX_CMD_OWNER_HW))
			return reads;
		reads++;
	}
}

uint64_t by_random(void)
{
	return gs_random(&seed);
}

uint64_t by_pick(uint64_t n)
{
	return gs_random(&seed) % n;
}

void by_fill(void *p, size_t len)
{
	uint8_t *b = p;

	for (size_t i = 0; i < len; i++)
		b[i] = (uint8_t)gs_random(&seed);
}

uint64_t by_odd_number(const struct gs_vm *vm)
{
	const uint64_t numbers[] = {
		0,
		1,
		0x7f,
		0xfff,
		0x1000,
		0xffffff,
		0x7fffffff,
		0x80000000,
		0xffffffff,
		0x100000000,
		vm->ram_size - 1,
		vm->ram_size,
		1ull << 52,
		INT64_MAX,
		1ull << 63,
		UINT64_MAX - 4095,
		UINT64_MAX - 1,
		UINT64_MAX,
	};

	return numbers[by_pick(ARRAY_SIZE(numbers))];
}

void by_idle(uint64_t n)
{
	for (uint64_t turns = by_pick(n); turns; turns--)
		__asm__ volatile("" ::: "memory");
}

void by_resources(unsigned *fds, unsigned *maps)
{
	struct gs_wait w = gs_wait_start(GS_WAIT_MS);
	unsigned same = 0;

	*fds = *maps = 0;
	while (same < 20 && gs_wait_turn(&w)) {
		unsigned f = gs_daemon_fds(&tl_daemon), m = gs_daemon_maps(&tl_daemon);

		same = f == *fds && m == *maps ? same + 1 : 0;
		*fds = f;
		*maps = m;
		usleep(1000);
	}
}
