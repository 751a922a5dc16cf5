/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Atomic operations on memory, with the machine's instructions, so that they are atomic with those
 * of the application that owns the memory. What the machine has no instruction for, and all of
 * floating point, is a loop of compare and exchange. Integers wrap around.
 */
#include "rma/rma.h"

#include <string.h>

/* T and B are types: NOLINTBEGIN(bugprone-macro-parentheses) */

/* One that replaces the element, or leaves it alone. */
#define STORE_IF(op, condition)                                                                    \
	case op:                                                                                   \
		*keep = !(condition);                                                              \
		return b

#define INTEGER_ONLY(T)                                                                            \
	case UP_ATOMIC_SUM:                                                                        \
		return (T)((uint64_t)a + (uint64_t)b);                                             \
	case UP_ATOMIC_PROD:                                                                       \
		return (T)((uint64_t)a * (uint64_t)b);                                             \
	case UP_ATOMIC_BOR:                                                                        \
		return (T)(a | b);                                                                 \
	case UP_ATOMIC_BAND:                                                                       \
		return (T)(a & b);                                                                 \
	case UP_ATOMIC_BXOR:                                                                       \
		return (T)(a ^ b);                                                                 \
	case UP_ATOMIC_MSWAP:                                                                      \
		return (T)((b & c) | (a & ~c));

#define FLOATING_ONLY(T)                                                                           \
	case UP_ATOMIC_SUM:                                                                        \
		return a + b;                                                                      \
	case UP_ATOMIC_PROD:                                                                       \
		return a * b;

/* What an element becomes. `keep`: it is left as it is. */
#define COMPUTE(name, T, OWN)                                                                      \
	static T name##_compute(enum up_atomic_op op, T a, T b, T c, bool *keep)                   \
	{                                                                                          \
		switch (op) {                                                                      \
			STORE_IF(UP_ATOMIC_MIN, b < a);                                            \
			STORE_IF(UP_ATOMIC_MAX, b > a);                                            \
		case UP_ATOMIC_LOR:                                                                \
			return (T)(a != 0 || b != 0);                                              \
		case UP_ATOMIC_LAND:                                                               \
			return (T)(a != 0 && b != 0);                                              \
		case UP_ATOMIC_LXOR:                                                               \
			return (T)((a != 0) != (b != 0));                                          \
			STORE_IF(UP_ATOMIC_CSWAP, a == c);                                         \
			STORE_IF(UP_ATOMIC_CSWAP_NE, a != c);                                      \
			STORE_IF(UP_ATOMIC_CSWAP_LE, a <= c);                                      \
			STORE_IF(UP_ATOMIC_CSWAP_LT, a < c);                                       \
			STORE_IF(UP_ATOMIC_CSWAP_GE, a >= c);                                      \
			STORE_IF(UP_ATOMIC_CSWAP_GT, a > c);                                       \
		case UP_ATOMIC_WRITE:                                                              \
			return b;                                                                  \
			OWN(T)                                                                     \
		default:                                                                           \
			*keep = true;                                                              \
			return a;                                                                  \
		}                                                                                  \
	}

/* The loop. B: an unsigned integer of the size, that holds the element's bits. */
#define LOOP(name, T, B)                                                                           \
	static void name##_loop(enum up_atomic_op op, B *at, T b, T c, T *old)                     \
	{                                                                                          \
		B was = __atomic_load_n(at, __ATOMIC_ACQUIRE), next;                               \
		bool keep;                                                                         \
                                                                                                   \
		do {                                                                               \
			T value;                                                                   \
                                                                                                   \
			keep = false;                                                              \
			memcpy(old, &was, sizeof(was));                                            \
			value = name##_compute(op, *old, b, c, &keep);                             \
			memcpy(&next, &value, sizeof(next));                                       \
		} while (!keep &&                                                                  \
			 !__atomic_compare_exchange_n(at, &was, next, false, __ATOMIC_ACQ_REL,     \
						      __ATOMIC_ACQUIRE));                          \
	}

/* All elements. Operands come from a packet: they are copied to be aligned. */
#define APPLY(name, T, B)                                                                          \
	static void name##_apply(enum up_atomic_op op, void *memory, size_t n,                     \
				 const uint8_t *operand, const uint8_t *compare, uint8_t *old)     \
	{                                                                                          \
		B *at = memory;                                                                    \
                                                                                                   \
		for (size_t i = 0; i < n; i++) {                                                   \
			T b = 0, c = 0, was;                                                       \
                                                                                                   \
			if (operand)                                                               \
				memcpy(&b, operand + i * sizeof(T), sizeof(T));                    \
			if (compare)                                                               \
				memcpy(&c, compare + i * sizeof(T), sizeof(T));                    \
			name##_one(op, at + i, b, c, &was);                                        \
			if (old)                                                                   \
				memcpy(old + i * sizeof(T), &was, sizeof(T));                      \
		}                                                                                  \
	}

#define INTEGER(name, T, B)                                                                        \
	COMPUTE(name, T, INTEGER_ONLY)                                                             \
	LOOP(name, T, B)                                                                           \
	static void name##_one(enum up_atomic_op op, B *at, T b, T c, T *old)                      \
	{                                                                                          \
		switch (op) {                                                                      \
		case UP_ATOMIC_SUM:                                                                \
			*old = (T)__atomic_fetch_add(at, (B)b, __ATOMIC_ACQ_REL);                  \
			break;                                                                     \
		case UP_ATOMIC_READ:                                                               \
			*old = (T)__atomic_load_n(at, __ATOMIC_ACQUIRE);                           \
			break;                                                                     \
		case UP_ATOMIC_WRITE:                                                              \
			*old = (T)__atomic_exchange_n(at, (B)b, __ATOMIC_ACQ_REL);                 \
			break;                                                                     \
		default:                                                                           \
			name##_loop(op, at, b, c, old);                                            \
			break;                                                                     \
		}                                                                                  \
	}                                                                                          \
	APPLY(name, T, B)

#define FLOATING(name, T, B)                                                                       \
	COMPUTE(name, T, FLOATING_ONLY)                                                            \
	LOOP(name, T, B)                                                                           \
	static void name##_one(enum up_atomic_op op, B *at, T b, T c, T *old)                      \
	{                                                                                          \
		name##_loop(op, at, b, c, old);                                                    \
	}                                                                                          \
	APPLY(name, T, B)

INTEGER(i8, int8_t, uint8_t)
INTEGER(u8, uint8_t, uint8_t)
INTEGER(i16, int16_t, uint16_t)
INTEGER(u16, uint16_t, uint16_t)
INTEGER(i32, int32_t, uint32_t)
INTEGER(u32, uint32_t, uint32_t)
INTEGER(i64, int64_t, uint64_t)
INTEGER(u64, uint64_t, uint64_t)
FLOATING(flt, float, uint32_t)
FLOATING(dbl, double, uint64_t)

/* NOLINTEND(bugprone-macro-parentheses) */

static const struct {
	size_t size;
	void (*apply)(enum up_atomic_op op, void *memory, size_t n, const uint8_t *operand,
		      const uint8_t *compare, uint8_t *old);
} types[UP_ATOMIC_TYPES] = {
	[UP_INT8] = {1, i8_apply},    [UP_UINT8] = {1, u8_apply},   [UP_INT16] = {2, i16_apply},
	[UP_UINT16] = {2, u16_apply}, [UP_INT32] = {4, i32_apply},  [UP_UINT32] = {4, u32_apply},
	[UP_INT64] = {8, i64_apply},  [UP_UINT64] = {8, u64_apply}, [UP_FLOAT] = {4, flt_apply},
	[UP_DOUBLE] = {8, dbl_apply},
};

size_t up_atomic_size(enum up_atomic_type type)
{
	return (unsigned)type < UP_ATOMIC_TYPES ? types[type].size : 0;
}

bool up_atomic_valid(enum up_atomic_op op, enum up_atomic_type type, bool fetch)
{
	if ((unsigned)op >= UP_ATOMIC_OPS || (unsigned)type >= UP_ATOMIC_TYPES)
		return false;
	switch (op) {
	case UP_ATOMIC_READ:
		return fetch;
	case UP_ATOMIC_BOR:
	case UP_ATOMIC_BAND:
	case UP_ATOMIC_BXOR:
	case UP_ATOMIC_MSWAP:
		return type != UP_FLOAT && type != UP_DOUBLE;
	default:
		return true;
	}
}

void up_atomic_apply(enum up_atomic_op op, enum up_atomic_type type, void *memory, size_t count,
		     const void *operand, const void *compare, void *old)
{
	types[type].apply(op, memory, count, operand, compare, old);
}
