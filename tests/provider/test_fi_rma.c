/* SPDX-License-Identifier: BSD-2-Clause */
/* One-sided operations over the provider: both models of registration, rights, events, atomics. */
#include "fi_rig.h"

#include <stdlib.h>

#define ALL (FI_REMOTE_READ | FI_REMOTE_WRITE)

static const size_t sizes[] = {1, 8, 4096, 5000, 300000, 3 << 20};
static const int modes[] = {RIG_MR_SCALABLE, RIG_MR_BASIC, FI_MR_VIRT_ADDR, FI_MR_PROV_KEY,
			    FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY};

static uint8_t *pattern(size_t len, unsigned seed)
{
	uint8_t *mem = malloc(len);

	for (size_t i = 0; i < len; i++)
		mem[i] = (uint8_t)(i * 5 + seed);
	return mem;
}

static void round_trip(struct fi_rig *rig, const struct fi_region *r, uint8_t *there, size_t len)
{
	uint8_t *from = pattern(len, (unsigned)len), *back = calloc(1, len);
	struct fi_cq_tagged_entry e;

	FI_RIG_DO(rig,
		  fi_write(rig->a.ep, from, len, NULL, rig->a.peer, r->base + 3, r->key, from));
	e = fi_rig_wait(rig, rig->a.txcq);
	assert_ptr_equal(e.op_context, from);
	assert_int_equal(e.flags, FI_RMA | FI_WRITE);
	FI_RIG_DO(rig, fi_read(rig->a.ep, back, len, NULL, rig->a.peer, r->base + 3, r->key, back));
	e = fi_rig_wait(rig, rig->a.txcq);
	assert_ptr_equal(e.op_context, back);
	assert_int_equal(e.flags, FI_RMA | FI_READ);
	assert_memory_equal(there + 3, from, len);
	assert_memory_equal(back, from, len);
	assert_int_equal(there[0] | there[len + 3], 0);
	memset(there, 0, len + 4);
	free(from);
	free(back);
}

static void test_models(void **state)
{
	uint8_t *there = calloc(1, (3 << 20) + 4);

	for (size_t m = 0; m < sizeof(modes) / sizeof(*modes); m++) {
		const struct fi_rig_attr attr = {.mr_mode = modes[m]};
		struct fi_region r, zero;
		struct fi_rig rig;

		fi_rig_setup(&rig, &attr);
		/* Key 0 is as good as any other. */
		zero = fi_rig_region(&rig, &rig.b, &rig, sizeof(rig), ALL, 0);
		r = fi_rig_region(&rig, &rig.b, there, (3 << 20) + 4, ALL, 7);
		for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
			round_trip(&rig, &r, there, sizes[i]);
		fi_rig_nothing(&rig, rig.b.rxcq);
		assert_int_equal(fi_close(&zero.mr->fid), 0);
		assert_int_equal(fi_close(&r.mr->fid), 0);
		fi_rig_teardown(&rig);
	}
	free(there);
}

static void expect(struct fi_rig *rig, int error)
{
	assert_int_equal(fi_rig_wait_error(rig, rig->a.txcq).err, error);
}

/* What is not allowed fails at the initiator, and touches nothing. */
static void test_refused(void **state)
{
	static uint8_t mem[8192], before[8192], data[8192] = {1};
	const struct fi_rig_attr attr = {.mr_mode = RIG_MR_SCALABLE};
	struct fi_region both, read, write;
	struct fi_rig rig;

	fi_rig_setup(&rig, &attr);
	both = fi_rig_region(&rig, &rig.b, mem, sizeof(mem), ALL, 1);
	read = fi_rig_region(&rig, &rig.b, mem, sizeof(mem), FI_REMOTE_READ, 2);
	write = fi_rig_region(&rig, &rig.b, mem, sizeof(mem), FI_REMOTE_WRITE, 3);
	for (size_t len = 8; len <= 8192; len *= 1024) {
		FI_RIG_DO(&rig, fi_write(rig.a.ep, data, len, NULL, rig.a.peer, 0, 99, NULL));
		expect(&rig, FI_ENOKEY);
		FI_RIG_DO(&rig,
			  fi_write(rig.a.ep, data, len, NULL, rig.a.peer, 8192 - len + 1, 1, NULL));
		expect(&rig, FI_EACCES);
		FI_RIG_DO(&rig,
			  fi_write(rig.a.ep, data, len, NULL, rig.a.peer, UINT64_MAX - 4, 1, NULL));
		expect(&rig, FI_EACCES);
		FI_RIG_DO(&rig, fi_write(rig.a.ep, data, len, NULL, rig.a.peer, 0, 2, NULL));
		expect(&rig, FI_EACCES);
		FI_RIG_DO(&rig, fi_read(rig.a.ep, data, len, NULL, rig.a.peer, 0, 3, NULL));
		expect(&rig, FI_EACCES);
		FI_RIG_DO(&rig, fi_atomic(rig.a.ep, data, 1, NULL, rig.a.peer, 0, 2, FI_UINT64,
					  FI_SUM, NULL));
		expect(&rig, FI_EACCES);
	}
	FI_RIG_DO(&rig, fi_inject_write(rig.a.ep, data, 8, rig.a.peer, 0, 99));
	expect(&rig, FI_ENOKEY);
	assert_int_equal(fi_close(&both.mr->fid), 0);
	FI_RIG_DO(&rig, fi_write(rig.a.ep, data, 8, NULL, rig.a.peer, 0, 1, NULL));
	expect(&rig, FI_ENOKEY);
	assert_memory_equal(mem, before, sizeof(mem));
	assert_int_equal(fi_close(&read.mr->fid), 0);
	assert_int_equal(fi_close(&write.mr->fid), 0);
	fi_rig_teardown(&rig);
}

/* A region is closed while it is read and written: that is refused, once, and it is left alone. */
static void test_closed_under_way(void **state)
{
	enum { LEN = 8 << 20 };
	uint8_t *there = calloc(1, LEN), *one = pattern(LEN, 1), *two = pattern(LEN, 2);
	struct fi_region r;
	struct fi_rig rig;

	fi_rig_setup(&rig, NULL);
	r = fi_rig_region(&rig, &rig.b, there, LEN, ALL, 1);
	FI_RIG_DO(&rig, fi_read(rig.a.ep, one, LEN, NULL, rig.a.peer, r.base, r.key, one));
	FI_RIG_DO(&rig, fi_write(rig.a.ep, two, LEN, NULL, rig.a.peer, r.base, r.key, two));
	assert_int_equal(fi_close(&r.mr->fid), 0);
	memset(there, 0x77, LEN);
	for (int i = 0; i < 2; i++) {
		struct fi_cq_err_entry e = fi_rig_wait_error(&rig, rig.a.txcq);

		assert_int_equal(e.err, FI_ENOKEY);
		assert_true(e.op_context == one || e.op_context == two);
	}
	fi_rig_nothing(&rig, rig.a.txcq);
	for (size_t i = 0; i < LEN; i++)
		assert_int_equal(there[i], 0x77);
	fi_rig_teardown(&rig);
	free(there);
	free(one);
	free(two);
}

static void test_keys(void **state)
{
	const struct fi_rig_attr attr = {.mr_mode = RIG_MR_SCALABLE};
	struct fi_region r;
	struct fid_mr *mr;
	struct fi_rig rig;
	char mem[8];

	fi_rig_setup(&rig, &attr);
	r = fi_rig_region(&rig, &rig.b, mem, 8, ALL, 5);
	assert_int_equal(fi_mr_reg(rig.b.domain, mem, 8, ALL, 0, 5, 0, &mr, NULL), -FI_ENOKEY);
	assert_int_equal(fi_mr_reg(rig.b.domain, mem, 8, ALL, 0, UINT64_MAX, 0, &mr, NULL),
			 -FI_EKEYREJECTED);
	assert_int_equal(fi_close(&r.mr->fid), 0);
	r = fi_rig_region(&rig, &rig.b, mem, 8, ALL, 5);
	assert_int_equal(fi_close(&r.mr->fid), 0);
	fi_rig_teardown(&rig);
}

/* Two regions, and pieces in both: of all lengths, and one behind the other here and there. */
static void test_remote_pieces(void **state)
{
	enum { BIG = 300000, ALL_BYTES = 3 + 5000 + BIG + 90 };
	uint8_t *one = calloc(1, BIG + 100), *two = calloc(1, 6000), *back = calloc(1, ALL_BYTES);
	uint8_t *from = pattern(ALL_BYTES, 3);
	struct iovec out[2] = {{from, 1000}, {from + 1000, ALL_BYTES - 1000}};
	struct iovec in = {back, ALL_BYTES};
	struct fi_msg_rma msg = {.msg_iov = out, .iov_count = 2, .rma_iov_count = 4};
	struct fi_rma_iov remote[17] = {0};
	struct fi_region r1, r2;
	struct fi_rig rig;

	fi_rig_setup(&rig, NULL);
	assert_int_equal(rig.info->tx_attr->rma_iov_limit, 16);
	r1 = fi_rig_region(&rig, &rig.b, one, BIG + 100, ALL, 1);
	r2 = fi_rig_region(&rig, &rig.b, two, 6000, ALL, 2);
	remote[0] = (struct fi_rma_iov){r1.base, 3, r1.key};
	remote[1] = (struct fi_rma_iov){r2.base + 7, 5000, r2.key};
	remote[2] = (struct fi_rma_iov){r1.base + 10, BIG, r1.key};
	remote[3] = (struct fi_rma_iov){r2.base + 5100, 90, r2.key};
	msg.addr = rig.a.peer;
	msg.rma_iov = remote;
	FI_RIG_DO(&rig, fi_writemsg(rig.a.ep, &msg, FI_DELIVERY_COMPLETE));
	fi_rig_wait(&rig, rig.a.txcq);
	assert_memory_equal(one, from, 3);
	assert_memory_equal(two + 7, from + 3, 5000);
	assert_memory_equal(one + 10, from + 5003, BIG);
	assert_memory_equal(two + 5100, from + 5003 + BIG, 90);
	assert_int_equal(one[3] | one[BIG + 10] | two[6] | two[5007] | two[5190], 0);
	msg.msg_iov = &in;
	msg.iov_count = 1;
	FI_RIG_DO(&rig, fi_readmsg(rig.a.ep, &msg, 0));
	fi_rig_wait(&rig, rig.a.txcq);
	assert_memory_equal(back, from, ALL_BYTES);
	msg.rma_iov_count = 17;
	assert_int_equal(fi_writemsg(rig.a.ep, &msg, 0), -FI_EINVAL);
	assert_int_equal(fi_close(&r1.mr->fid) | fi_close(&r2.mr->fid), 0);
	fi_rig_teardown(&rig);
	free(one);
	free(two);
	free(back);
	free(from);
}

/* Operations that are injected unless they say something else: reads are not meant. */
static void test_inject_by_default(void **state)
{
	uint64_t flags = FI_INJECT | FI_TRANSMIT, bad = FI_TRIGGER | FI_TRANSMIT;
	static uint8_t there[8192], here[8192], data[8192] = {1};
	struct fi_region r;
	struct fi_rig rig;

	fi_rig_setup(&rig, NULL);
	there[8191] = 9;
	r = fi_rig_region(&rig, &rig.b, there, sizeof(there), ALL, 1);
	assert_int_equal(fi_control(&rig.a.ep->fid, FI_SETOPSFLAG, &bad), -FI_EINVAL);
	assert_int_equal(fi_control(&rig.a.ep->fid, FI_SETOPSFLAG, &flags), 0);
	FI_RIG_DO(&rig,
		  fi_read(rig.a.ep, here, sizeof(here), NULL, rig.a.peer, r.base, r.key, NULL));
	fi_rig_wait(&rig, rig.a.txcq);
	assert_int_equal(here[8191], 9);
	assert_int_equal(
		fi_write(rig.a.ep, data, sizeof(data), NULL, rig.a.peer, r.base, r.key, NULL),
		-FI_EMSGSIZE);
	FI_RIG_DO(&rig, fi_write(rig.a.ep, data, 4096, NULL, rig.a.peer, r.base, r.key, NULL));
	/* It was injected, so this is too late. */
	data[0] = 2;
	fi_rig_wait(&rig, rig.a.txcq);
	assert_int_equal(there[0], 1);
	assert_int_equal(fi_close(&r.mr->fid), 0);
	fi_rig_teardown(&rig);
}

/* Immediate data comes after the data of its write; small, large and none. */
static void test_writedata(void **state)
{
	uint8_t *there = calloc(1, 1 << 20), *from = pattern(1 << 20, 1);
	const size_t lens[] = {0, 8, 1 << 20};
	struct fi_cq_tagged_entry e;
	struct fi_region r;
	struct fi_rig rig;

	fi_rig_setup(&rig, NULL);
	r = fi_rig_region(&rig, &rig.b, there, 1 << 20, ALL, 1);
	for (int i = 0; i < 3; i++) {
		FI_RIG_DO(&rig, fi_writedata(rig.a.ep, from, lens[i], NULL, 0x1234567890u + i,
					     rig.a.peer, r.base, r.key, NULL));
		e = fi_rig_wait(&rig, rig.b.rxcq);
		assert_int_equal(e.flags, FI_RMA | FI_REMOTE_WRITE | FI_REMOTE_CQ_DATA);
		assert_int_equal(e.data, 0x1234567890u + i);
		assert_int_equal(e.len, lens[i]);
		assert_memory_equal(there, from, lens[i]);
		fi_rig_wait(&rig, rig.a.txcq);
	}
	assert_int_equal(fi_close(&r.mr->fid), 0);
	fi_rig_teardown(&rig);
	free(there);
	free(from);
}

/* Counters, at the endpoint that starts and at the one that is the target. */
static struct fid_cntr *counters[2][4];
static const uint64_t counted[4] = {FI_WRITE, FI_READ, FI_REMOTE_WRITE, FI_REMOTE_READ};
static int side;

static void bind_counters(struct fi_side *s)
{
	struct fi_cntr_attr attr = {.events = FI_CNTR_EVENTS_COMP};

	for (int i = 0; i < 4; i++) {
		assert_int_equal(fi_cntr_open(s->domain, &attr, &counters[side][i], NULL), 0);
		assert_int_equal(fi_ep_bind(s->ep, &counters[side][i]->fid, counted[i]), 0);
	}
	side++;
}

static void wait_counter(struct fi_rig *rig, struct fid_cntr *cntr, uint64_t value)
{
	for (int i = 0; fi_cntr_read(cntr) != value && i < 100000000; i++)
		fi_rig_poke(rig);
	assert_int_equal(fi_cntr_read(cntr), value);
}

static void test_events(void **state)
{
	const struct fi_rig_attr attr = {.before_enable = bind_counters};
	static uint64_t mem[1 << 17], here[1 << 17];
	struct fi_region r;
	struct fi_rig rig;

	side = 0;
	fi_rig_setup(&rig, &attr);
	r = fi_rig_region(&rig, &rig.b, mem, sizeof(mem), ALL, 1);
	FI_RIG_DO(&rig, fi_write(rig.a.ep, here, 8, NULL, rig.a.peer, r.base, r.key, NULL));
	FI_RIG_DO(&rig,
		  fi_write(rig.a.ep, here, sizeof(here), NULL, rig.a.peer, r.base, r.key, NULL));
	FI_RIG_DO(&rig, fi_inject_write(rig.a.ep, here, 8, rig.a.peer, r.base, r.key));
	FI_RIG_DO(&rig, fi_atomic(rig.a.ep, here, 1, NULL, rig.a.peer, r.base, r.key, FI_UINT64,
				  FI_SUM, NULL));
	FI_RIG_DO(&rig, fi_read(rig.a.ep, here, 8, NULL, rig.a.peer, r.base, r.key, NULL));
	FI_RIG_DO(&rig,
		  fi_read(rig.a.ep, here, sizeof(here), NULL, rig.a.peer, r.base, r.key, NULL));
	FI_RIG_DO(&rig, fi_fetch_atomic(rig.a.ep, NULL, 1, NULL, here, NULL, rig.a.peer, r.base,
					r.key, FI_UINT64, FI_ATOMIC_READ, NULL));
	for (int end = 0; end < 2; end++) {
		wait_counter(&rig, counters[end][2 * end], 4);
		wait_counter(&rig, counters[end][2 * end + 1], 3);
	}
	for (int i = 0; i < 6; i++)
		fi_rig_wait(&rig, rig.a.txcq);
	fi_rig_nothing(&rig, rig.a.txcq);
	/* Nothing was counted twice, nor at the other end. */
	assert_int_equal(fi_cntr_read(counters[1][2]), 4);
	assert_int_equal(fi_cntr_read(counters[1][3]), 3);
	assert_int_equal(fi_cntr_read(counters[0][2]) + fi_cntr_read(counters[1][0]), 0);
	assert_int_equal(fi_close(&r.mr->fid), 0);
	assert_int_equal(fi_close(&counters[0][0]->fid), -FI_EBUSY);
	assert_int_equal(fi_close(&rig.a.ep->fid) | fi_close(&rig.b.ep->fid), 0);
	for (int i = 0; i < 8; i++)
		assert_int_equal(fi_close(&counters[i / 4][i % 4]->fid), 0);
	assert_int_equal(fi_endpoint(rig.a.domain, rig.info, &rig.a.ep, NULL), 0);
	assert_int_equal(fi_endpoint(rig.b.domain, rig.info, &rig.b.ep, NULL), 0);
	fi_rig_teardown(&rig);
}

/* A counter of a region: what changes it, once for each operation, and nothing else. */
static void test_region_counter(void **state)
{
	struct fi_cntr_attr attr = {.events = FI_CNTR_EVENTS_COMP, .wait_obj = FI_WAIT_UNSPEC};
	static uint64_t mem[2][1 << 16], here[1 << 16];
	struct iovec iov = {here, 24};
	struct fi_msg_rma msg = {.msg_iov = &iov, .iov_count = 1, .rma_iov_count = 3};
	struct fi_rma_iov remote[3];
	struct fid_cntr *cntr;
	struct fi_region r, other;
	struct fi_rig rig;
	uint64_t old;

	fi_rig_setup(&rig, NULL);
	assert_int_equal(fi_cntr_open(rig.b.domain, &attr, &cntr, NULL), 0);
	other = fi_rig_region(&rig, &rig.b, mem[1], sizeof(mem[1]), ALL, 2);
	assert_int_equal(fi_mr_reg(rig.b.domain, mem[0], sizeof(mem[0]), ALL, 0, 1, FI_RMA_EVENT,
				   &r.mr, NULL),
			 0);
	r.key = fi_mr_key(r.mr);
	assert_int_equal(fi_mr_bind(r.mr, &cntr->fid, FI_REMOTE_READ), -FI_EINVAL);
	assert_int_equal(fi_mr_bind(r.mr, &rig.b.ep->fid, 0), -FI_EINVAL);
	assert_int_equal(fi_mr_bind(r.mr, &cntr->fid, FI_REMOTE_WRITE), 0);
	assert_int_equal(fi_mr_bind(r.mr, &cntr->fid, FI_REMOTE_WRITE), -FI_EINVAL);
	assert_int_equal(fi_mr_enable(r.mr), 0);
	for (int i = 0; i < 3; i++)
		FI_RIG_DO(&rig, fi_write(rig.a.ep, here, i ? sizeof(here) : 8, NULL, rig.a.peer, 0,
					 r.key, NULL));
	FI_RIG_DO(&rig, fi_read(rig.a.ep, here, 8, NULL, rig.a.peer, 0, r.key, NULL));
	FI_RIG_DO(&rig, fi_write(rig.a.ep, here, 8, NULL, rig.a.peer, 0, other.key, NULL));
	FI_RIG_DO(&rig, fi_atomic(rig.a.ep, here, 1, NULL, rig.a.peer, 0, r.key, FI_UINT64, FI_SUM,
				  NULL));
	FI_RIG_DO(&rig, fi_fetch_atomic(rig.a.ep, here, 1, NULL, &old, NULL, rig.a.peer, 0, r.key,
					FI_UINT64, FI_SUM, NULL));
	FI_RIG_DO(&rig, fi_fetch_atomic(rig.a.ep, NULL, 1, NULL, &old, NULL, rig.a.peer, 0, r.key,
					FI_UINT64, FI_ATOMIC_READ, NULL));
	/* Two pieces here and one elsewhere, which is the last of the one and the second of the
	 * other operation. */
	for (int last = 0; last < 2; last++) {
		for (int i = 0; i < 3; i++)
			remote[i] =
				(struct fi_rma_iov){8u * i, 8, i == 1 + last ? other.key : r.key};
		msg.addr = rig.a.peer;
		msg.rma_iov = remote;
		FI_RIG_DO(&rig, fi_writemsg(rig.a.ep, &msg, 0));
	}
	for (int i = 0; i < 10; i++)
		fi_rig_wait(&rig, rig.a.txcq);
	assert_int_equal(fi_cntr_wait(cntr, 7, 60000), 0);
	assert_int_equal(fi_cntr_read(cntr), 7);
	assert_int_equal(fi_close(&cntr->fid), -FI_EBUSY);
	assert_int_equal(fi_close(&r.mr->fid) | fi_close(&other.mr->fid), 0);
	assert_int_equal(fi_close(&cntr->fid), 0);
	fi_rig_teardown(&rig);
}

/* ---- atomics ---- */

static void test_atomics(void **state)
{
	uint64_t mem[4] = {10, 20, 30, 40}, operand[4] = {1, 2, 3, 4}, old[4] = {0};
	uint64_t compare[4] = {11, 0, 33, 0};
	struct fi_region r;
	struct fi_rig rig;

	fi_rig_setup(&rig, NULL);
	r = fi_rig_region(&rig, &rig.b, mem, sizeof(mem), ALL, 1);
	FI_RIG_DO(&rig, fi_atomic(rig.a.ep, operand, 4, NULL, rig.a.peer, r.base, r.key, FI_UINT64,
				  FI_SUM, NULL));
	assert_int_equal(fi_rig_wait(&rig, rig.a.txcq).flags, FI_ATOMIC | FI_WRITE);
	FI_RIG_DO(&rig, fi_fetch_atomic(rig.a.ep, operand, 2, NULL, old, NULL, rig.a.peer, r.base,
					r.key, FI_UINT64, FI_PROD, NULL));
	assert_int_equal(fi_rig_wait(&rig, rig.a.txcq).flags, FI_ATOMIC | FI_READ);
	assert_int_equal(old[0], 11);
	assert_int_equal(old[1], 22);
	assert_int_equal(mem[1], 44);
	FI_RIG_DO(&rig, fi_compare_atomic(rig.a.ep, operand, 4, NULL, compare, NULL, old, NULL,
					  rig.a.peer, r.base, r.key, FI_UINT64, FI_CSWAP, NULL));
	fi_rig_wait(&rig, rig.a.txcq);
	assert_int_equal(old[3], 44);
	assert_int_equal(mem[0], 1);
	assert_int_equal(mem[1], 44);
	assert_int_equal(mem[2], 3);
	FI_RIG_DO(&rig, fi_inject_atomic(rig.a.ep, operand, 1, rig.a.peer, r.base, r.key, FI_UINT64,
					 FI_ATOMIC_WRITE));
	FI_RIG_DO(&rig, fi_fetch_atomic(rig.a.ep, NULL, 4, NULL, old, NULL, rig.a.peer, r.base,
					r.key, FI_UINT64, FI_ATOMIC_READ, NULL));
	fi_rig_wait(&rig, rig.a.txcq);
	assert_int_equal(old[0], 1);
	assert_int_equal(old[2], 3);
	assert_int_equal(fi_close(&r.mr->fid), 0);
	fi_rig_teardown(&rig);
}

/* The four comparisons of order, which are named from the operand's side: does it swap? */
static void test_comparisons(void **state)
{
	static const struct {
		enum fi_op op;
		bool less, equal, greater; /* compare is ... than the target's value */
	} cases[] = {
		{FI_CSWAP, false, true, false},	  {FI_CSWAP_NE, true, false, true},
		{FI_CSWAP_LE, true, true, false}, {FI_CSWAP_LT, true, false, false},
		{FI_CSWAP_GE, false, true, true}, {FI_CSWAP_GT, false, false, true},
	};
	struct fi_region r;
	struct fi_rig rig;
	int32_t mem;

	fi_rig_setup(&rig, NULL);
	r = fi_rig_region(&rig, &rig.b, &mem, sizeof(mem), ALL, 1);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		for (int32_t compare = 49; compare <= 51; compare++) {
			bool swaps = compare < 50    ? cases[i].less
				     : compare == 50 ? cases[i].equal
						     : cases[i].greater;
			int32_t value = 7, old = 0;

			mem = 50;
			FI_RIG_DO(&rig, fi_compare_atomic(rig.a.ep, &value, 1, NULL, &compare, NULL,
							  &old, NULL, rig.a.peer, r.base, r.key,
							  FI_INT32, cases[i].op, NULL));
			fi_rig_wait(&rig, rig.a.txcq);
			assert_int_equal(old, 50);
			assert_int_equal(mem, swaps ? 7 : 50);
		}
	}
	assert_int_equal(fi_close(&r.mr->fid), 0);
	fi_rig_teardown(&rig);
}

/* Operands gathered from several places, old values scattered. */
static void test_atomic_pieces(void **state)
{
	double mem[4] = {1, 2, 3, 4}, a = 10, b[3] = {20, 30, 40}, old1[3] = {0}, old2 = 0;
	const struct fi_ioc in[2] = {{&a, 1}, {b, 3}};
	struct fi_ioc out[2] = {{old1, 3}, {&old2, 1}};
	struct fi_region r;
	struct fi_rig rig;

	fi_rig_setup(&rig, NULL);
	r = fi_rig_region(&rig, &rig.b, mem, sizeof(mem), ALL, 1);
	FI_RIG_DO(&rig, fi_fetch_atomicv(rig.a.ep, in, NULL, 2, out, NULL, 2, rig.a.peer, r.base,
					 r.key, FI_DOUBLE, FI_SUM, NULL));
	fi_rig_wait(&rig, rig.a.txcq);
	assert_true(old1[0] == 1 && old1[2] == 3 && old2 == 4);
	assert_true(mem[0] == 11 && mem[3] == 44);
	assert_int_equal(fi_close(&r.mr->fid), 0);
	fi_rig_teardown(&rig);
}

/* Elements in several places at the target, in two regions. */
static void test_atomic_remote_pieces(void **state)
{
	uint32_t one[4] = {1, 2, 3, 4}, two[4] = {5, 6, 7, 8}, old[5] = {0};
	uint32_t add[5] = {10, 20, 30, 40, 50};
	struct fi_ioc in = {add, 5}, out[2] = {{old, 2}, {old + 2, 3}};
	struct fi_msg_atomic msg = {.msg_iov = &in,
				    .iov_count = 1,
				    .rma_iov_count = 3,
				    .datatype = FI_UINT32,
				    .op = FI_SUM};
	struct fi_rma_ioc remote[3];
	struct fi_region r1, r2;
	struct fi_rig rig;

	fi_rig_setup(&rig, NULL);
	r1 = fi_rig_region(&rig, &rig.b, one, sizeof(one), ALL, 1);
	r2 = fi_rig_region(&rig, &rig.b, two, sizeof(two), ALL, 2);
	remote[0] = (struct fi_rma_ioc){r1.base + 4, 2, r1.key};
	remote[1] = (struct fi_rma_ioc){r2.base, 1, r2.key};
	remote[2] = (struct fi_rma_ioc){r2.base + 8, 2, r2.key};
	msg.addr = rig.a.peer;
	msg.rma_iov = remote;
	FI_RIG_DO(&rig, fi_fetch_atomicmsg(rig.a.ep, &msg, out, NULL, 2, 0));
	fi_rig_wait(&rig, rig.a.txcq);
	assert_memory_equal(old, ((uint32_t[]){2, 3, 5, 7, 8}), sizeof(old));
	assert_memory_equal(one, ((uint32_t[]){1, 12, 23, 4}), sizeof(one));
	assert_memory_equal(two, ((uint32_t[]){35, 6, 47, 58}), sizeof(two));
	/* As many there as here, or it is not done. */
	remote[2].count = 1;
	assert_int_equal(fi_atomicmsg(rig.a.ep, &msg, 0), -FI_EINVAL);
	msg.rma_iov_count = 0;
	assert_int_equal(fi_atomicmsg(rig.a.ep, &msg, 0), -FI_EINVAL);
	assert_int_equal(fi_close(&r1.mr->fid) | fi_close(&r2.mr->fid), 0);
	fi_rig_teardown(&rig);
}

/* To read atomically is to read: it needs that right, and no other. */
static void test_atomic_rights(void **state)
{
	uint64_t mem[2] = {5, 6}, old[2] = {0};
	struct fi_region read, write;
	struct fi_rig rig;

	fi_rig_setup(&rig, NULL);
	read = fi_rig_region(&rig, &rig.b, mem, 8, FI_REMOTE_READ, 1);
	write = fi_rig_region(&rig, &rig.b, mem + 1, 8, FI_REMOTE_WRITE, 2);
	FI_RIG_DO(&rig, fi_fetch_atomic(rig.a.ep, NULL, 1, NULL, old, NULL, rig.a.peer, read.base,
					read.key, FI_UINT64, FI_ATOMIC_READ, NULL));
	fi_rig_wait(&rig, rig.a.txcq);
	assert_int_equal(old[0], 5);
	FI_RIG_DO(&rig, fi_fetch_atomic(rig.a.ep, mem, 1, NULL, old, NULL, rig.a.peer, read.base,
					read.key, FI_UINT64, FI_SUM, NULL));
	expect(&rig, FI_EACCES);
	FI_RIG_DO(&rig, fi_fetch_atomic(rig.a.ep, NULL, 1, NULL, old, NULL, rig.a.peer, write.base,
					write.key, FI_UINT64, FI_ATOMIC_READ, NULL));
	expect(&rig, FI_EACCES);
	FI_RIG_DO(&rig, fi_atomic(rig.a.ep, mem, 1, NULL, rig.a.peer, write.base, write.key,
				  FI_UINT64, FI_SUM, NULL));
	fi_rig_wait(&rig, rig.a.txcq);
	assert_int_equal(mem[1], 11);
	assert_int_equal(fi_close(&read.mr->fid) | fi_close(&write.mr->fid), 0);
	fi_rig_teardown(&rig);
}

static void test_atomic_valid(void **state)
{
	struct fi_atomic_attr attr;
	size_t count = 0;
	struct fi_rig rig;

	fi_rig_setup(&rig, NULL);
	assert_int_equal(fi_atomicvalid(rig.a.ep, FI_INT64, FI_SUM, &count), 0);
	assert_int_equal(count, 256);
	assert_int_equal(fi_fetch_atomicvalid(rig.a.ep, FI_FLOAT, FI_ATOMIC_READ, &count), 0);
	assert_int_equal(fi_compare_atomicvalid(rig.a.ep, FI_UINT8, FI_MSWAP, &count), 0);
	assert_int_equal(fi_atomicvalid(rig.a.ep, FI_INT64, FI_CSWAP, &count), -FI_EOPNOTSUPP);
	assert_int_equal(fi_atomicvalid(rig.a.ep, FI_INT64, FI_ATOMIC_READ, &count),
			 -FI_EOPNOTSUPP);
	assert_int_equal(fi_atomicvalid(rig.a.ep, FI_DOUBLE, FI_BOR, &count), -FI_EOPNOTSUPP);
	assert_int_equal(fi_atomicvalid(rig.a.ep, FI_LONG_DOUBLE, FI_SUM, &count), -FI_EOPNOTSUPP);
	assert_int_equal(
		fi_query_atomic(rig.a.domain, FI_INT16, FI_CSWAP, &attr, FI_COMPARE_ATOMIC), 0);
	assert_int_equal(attr.size, 2);
	fi_rig_teardown(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_models),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_closed_under_way),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_writedata),
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_atomics),
		cmocka_unit_test(test_comparisons),
		cmocka_unit_test(test_atomic_pieces),
		cmocka_unit_test(test_atomic_valid),
		cmocka_unit_test(test_remote_pieces),
		cmocka_unit_test(test_inject_by_default),
		cmocka_unit_test(test_region_counter),
		cmocka_unit_test(test_atomic_remote_pieces),
		cmocka_unit_test(test_atomic_rights),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
