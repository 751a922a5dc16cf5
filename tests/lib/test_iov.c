/* SPDX-License-Identifier: BSD-2-Clause */
/* Lists of pieces against a flat model, and parameters from the environment. */
#include "rig.h"

#include "core/param.h"

#include <stdlib.h>

#define BYTES 64

/* Some pieces, a few of them empty, over `memory`; returns how many. */
static size_t cut(struct iovec *iov, uint8_t *memory, uint64_t *seed)
{
	size_t at = 0, n = 0;

	while (n < UP_IOV_MAX && at < BYTES) {
		size_t len = unit_random(seed) % 12;

		if (len > BYTES - at)
			len = BYTES - at;
		iov[n++] = (struct iovec){.iov_base = memory + at, .iov_len = len};
		at += len;
	}
	return n;
}

static void moves_what_a_flat_copy_would(void **state)
{
	uint8_t memory[BYTES], flat[BYTES], out[BYTES], model[BYTES];
	struct iovec iov[UP_IOV_MAX], slice[UP_IOV_MAX];
	uint64_t seed = 42;

	for (unsigned round = 0; round < 20000; round++) {
		size_t n = cut(iov, memory, &seed), all = up_iov_bytes(iov, n);
		size_t offset = unit_random(&seed) % (BYTES + 8);
		size_t len = unit_random(&seed) % (BYTES + 8);
		size_t inside = offset < all ? all - offset : 0, m, flat_at;

		inside = inside < len ? inside : len;
		for (unsigned i = 0; i < BYTES; i++) {
			memory[i] = (uint8_t)unit_random(&seed);
			flat[i] = (uint8_t)unit_random(&seed);
		}
		len = len < BYTES ? len : BYTES;
		inside = inside < len ? inside : len;
		flat_at = inside ? offset : 0;
		assert_int_equal(up_iov_read(out, iov, n, offset, len), inside);
		assert_memory_equal(out, memory + flat_at, inside);

		memcpy(model, memory, BYTES);
		memcpy(model + flat_at, flat, inside);
		assert_int_equal(up_iov_write(iov, n, offset, flat, len), inside);
		assert_memory_equal(memory, model, BYTES);

		m = up_iov_slice(slice, iov, n, offset, len);
		assert_in_range(m, 0, UP_IOV_MAX);
		assert_int_equal(up_iov_bytes(slice, m), inside);
		assert_int_equal(up_iov_read(out, slice, m, 0, len), inside);
		assert_memory_equal(out, memory + flat_at, inside);
	}
}

static void sums_do_not_wrap(void **state)
{
	const struct iovec iov[2] = {{.iov_len = SIZE_MAX}, {.iov_len = 2}};

	assert_true(up_iov_bytes(iov, 2) == SIZE_MAX);
	assert_int_equal(up_iov_bytes(iov, 0), 0);
}

static void reads_the_environment(void **state)
{
	static const char *const bad[] = {"", "many", "12x", "-1", "0", "99999999999999999999"};
	static const char name[] = "UNDERPASS_MAX_PEERS";

	unsetenv(name);
	assert_int_equal(up_param(UP_PARAM_MAX_PEERS), 1024);
	setenv(name, "17", 1);
	assert_int_equal(up_param(UP_PARAM_MAX_PEERS), 17);
	setenv(name, "0x20", 1);
	assert_int_equal(up_param(UP_PARAM_MAX_PEERS), 32);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		setenv(name, bad[i], 1);
		assert_int_equal(up_param(UP_PARAM_MAX_PEERS), 1024);
	}
	unsetenv(name);
	setenv("UNDERPASS_LANES", "", 1);
	assert_null(up_param_text(UP_PARAM_LANES));
	setenv("UNDERPASS_LANES", "a,b", 1);
	assert_string_equal(up_param_text(UP_PARAM_LANES), "a,b");
	unsetenv("UNDERPASS_LANES");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(moves_what_a_flat_copy_would),
		cmocka_unit_test(sums_do_not_wrap),
		cmocka_unit_test(reads_the_environment),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
