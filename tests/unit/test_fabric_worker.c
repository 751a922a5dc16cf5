/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Workers and the stopped world, with real threads. Nothing here waits for time to pass: the
 * workers of most tests would sleep for an hour if nobody woke them, so that what a lost kick
 * breaks hangs.
 */
#include "fake_hca.h"
#include "unit.h"

#include "fabric/worker_private.h"

#include <limits.h>
#include <string.h>
#include <time.h>

#define PORTS 4
#define MAX_LANES 32
#define HOUR_US 3600000000u
#define QUANTUM (128u * 1024)
/* A port's share of a round in requests, as in fabric/worker.c. */
#define SHARE 64

/* A connection in one direction, and what came of its requests. */
struct lane {
	struct fake_qp *qp, *peer;
	unsigned ok, failed; /* atomic */
	uint64_t bytes;	     /* of those that are complete; the worker's */
	sem_t done;	     /* posted for each */
};

static struct {
	struct up_fabric *fabric;
	struct up_port *port[PORTS];
	struct fake_hca *hca[PORTS];
	struct lane lane[MAX_LANES];
	unsigned lanes;
	struct up_hca_ops fake_ops, ops;
	void (*completed)(struct lane *lane, const struct up_wc *wc); /* on the worker */
} t;

static void cq_post(struct up_cq *cq, const struct up_wc *wc)
{
	for (unsigned i = 0; i < t.lanes && !(wc->flags & UP_WC_RECV); i++) {
		struct lane *lane = &t.lane[i];

		if (&lane->qp->base != wc->qp)
			continue;
		__atomic_fetch_add(wc->status ? &lane->failed : &lane->ok, 1, __ATOMIC_RELEASE);
		if (t.completed)
			t.completed(lane, wc);
		sem_post(&lane->done);
	}
}

static void attach(unsigned i)
{
	static const char *const names[PORTS] = {"vm0", "vm1", "vm2", "vm3"};

	t.port[i] = up_port_create(t.fabric, names[i], "tenant", 0);
	t.hca[i] = fake_hca_create(0);
	if (i == 0) {
		t.fake_ops = t.ops = *t.hca[i]->base.ops;
		t.ops.cq_post = cq_post;
	}
	t.hca[i]->base.ops = &t.ops;
	up_port_attach(t.port[i], &t.hca[i]->base);
	up_port_set_driver(t.port[i], true);
}

static int setup(unsigned workers)
{
	struct up_fabric_config cfg = UP_FABRIC_CONFIG_DEFAULT;

	memset(&t, 0, sizeof(t));
	cfg.workers = workers;
	cfg.spin_us = 0;
	cfg.idle_sleep_us = cfg.deep_sleep_us = HOUR_US;
	cfg.quantum_bytes = QUANTUM;
	t.fabric = up_fabric_create(&cfg);
	assert_non_null(t.fabric);
	for (unsigned i = 0; i < PORTS; i++)
		attach(i);
	return 0;
}

static int setup_one(void **state)
{
	return setup(1);
}

static int setup_two(void **state)
{
	setup(2);
	assert_ptr_not_equal(t.port[0]->worker, t.port[1]->worker);
	assert_ptr_equal(t.port[0]->worker, t.port[2]->worker);
	return 0;
}

static void disconnect(struct lane *lane)
{
	fake_qp_destroy(lane->qp);
	fake_qp_destroy(lane->peer);
	sem_destroy(&lane->done);
}

static int teardown(void **state)
{
	up_world_stop(t.fabric);
	while (t.lanes)
		disconnect(&t.lane[--t.lanes]);
	for (unsigned i = 0; i < PORTS; i++) {
		const struct up_fabric_port *p = up_fabric_port(t.port[i]);

		assert_int_equal(p->waiting.count, 0);
		assert_true(up_list_empty(&p->inbox));
		assert_true(up_list_empty(&p->run));
	}
	up_world_start(t.fabric);
	for (unsigned i = 0; i < PORTS; i++) {
		up_port_detach(t.port[i]);
		fake_hca_destroy(t.hca[i]);
	}
	up_fabric_destroy(t.fabric);
	up_multi_worker = false;
	return 0;
}

/* World stopped. */
static void connect_lane(struct lane *lane, unsigned from, unsigned to)
{
	lane->qp = fake_qp_create(t.hca[from], UP_QP_RC, NULL);
	lane->peer = fake_qp_create(t.hca[to], UP_QP_RC, NULL);
	lane->ok = lane->failed = 0;
	lane->bytes = 0;
	sem_init(&lane->done, 0, 0);
	fake_connect(lane->qp, lane->peer);
	lane->qp->base.attr.rnr_retry = 7;
}

static struct lane *new_lane(unsigned from, unsigned to)
{
	assert_true(t.lanes < MAX_LANES);
	up_world_stop(t.fabric);
	connect_lane(&t.lane[t.lanes], from, to);
	t.lanes++;
	up_world_start(t.fabric);
	return &t.lane[t.lanes - 1];
}

static struct up_send_wr *prepare(struct lane *lane, enum up_opcode op, uint64_t off, uint32_t len,
				  uint64_t remote)
{
	struct up_send_wr *wr = fake_prepare(lane->qp, op, off, len);

	wr->raddr = FAKE_GPA + remote;
	wr->rkey = UP_CONTAINER_OF(lane->peer->base.hca, struct fake_hca, base)->all->key;
	return wr;
}

static void post(struct lane *lane, enum up_opcode op, uint64_t off, uint32_t len, uint64_t remote)
{
	prepare(lane, op, off, len, remote);
	fake_submit(lane->qp);
}

static void await(struct lane *lane, unsigned completions)
{
	while (completions--)
		while (sem_wait(&lane->done))
			;
}

static void finish(struct lane *lane, unsigned completions)
{
	up_fabric_kick(&lane->qp->base);
	await(lane, completions);
}

static unsigned count_ok(const struct lane *lane)
{
	return __atomic_load_n(&lane->ok, __ATOMIC_ACQUIRE);
}

static void heap_keeps_the_earliest_on_top(void **state)
{
	static struct up_qp qps[200];
	struct up_heap h = {0};
	uint64_t seed = 88172645463325252u, last = 0;

	for (unsigned i = 0; i < UP_ARRAY_SIZE(qps); i++) {
		qps[i].wait_next = unit_random(&seed) % 100;
		assert_int_equal(up_heap_push(&h, &qps[i]), 0);
	}
	for (unsigned i = 0; i < UP_ARRAY_SIZE(qps); i += 3)
		up_heap_remove(&h, &qps[i]);
	while (h.count) {
		struct up_qp *top = h.qp[0];

		for (unsigned i = 0; i < h.count; i++)
			assert_int_equal(h.qp[i]->sched.heap_index, i);
		assert_true(top->wait_next >= last);
		last = top->wait_next;
		up_heap_remove(&h, top);
		assert_int_equal(top->sched.heap_index, -1);
	}
	up_heap_fini(&h);
}

static void spin(uint64_t ns)
{
	struct timespec ts;
	uint64_t end = 0, now;

	do {
		clock_gettime(CLOCK_MONOTONIC, &ts);
		now = (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
		end = end ? end : now + ns;
	} while (now < end);
}

/*
 * The linker sends the workers' calls of pthread_mutex_unlock() here (meson.build): a worker that
 * gives up its turn to go to sleep is held until a kick has come.
 */
int __real_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex);

static struct {
	struct up_worker *worker; /* whose sleep is to be disturbed, once; atomic */
	sem_t falls_asleep, kicked;
} nap;

/* A control thread that asks in the middle of a port's turn, when its first message completes. */
static struct {
	struct up_worker *worker; /* that was asked; this and the next are the worker's own */
	const struct lane *lane;
	unsigned others, others_then;
	bool yielded; /* atomic */
} prompt;

static unsigned messages_of_others(const struct lane *lane)
{
	unsigned n = 0;

	for (unsigned i = 0; i < t.lanes; i++)
		n += t.lane[i].qp->base.hca != lane->qp->base.hca ? t.lane[i].ok : 0;
	return n;
}

static void ask_for_turn(struct lane *lane, const struct up_wc *wc)
{
	if (prompt.worker)
		return;
	prompt.worker = up_fabric_port(lane->qp->base.hca->port)->pub.worker;
	prompt.lane = lane;
	prompt.others = messages_of_others(lane);
	prompt.others_then = UINT_MAX;
	atomic_fetch_add(&prompt.worker->stop_requests, 1);
}

static void note_yield(pthread_mutex_t *mutex)
{
	struct up_worker *w = prompt.worker;

	if (!w || mutex != &w->turn || __atomic_load_n(&prompt.yielded, __ATOMIC_RELAXED) ||
	    !pthread_equal(w->thread, pthread_self()))
		return;
	prompt.others_then = messages_of_others(prompt.lane);
	atomic_fetch_sub(&w->stop_requests, 1);
	__atomic_store_n(&prompt.yielded, true, __ATOMIC_RELEASE);
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex)
{
	struct up_worker *w = __atomic_load_n(&nap.worker, __ATOMIC_ACQUIRE);
	int err;

	note_yield(mutex);
	err = __real_pthread_mutex_unlock(mutex);
	if (w && mutex == &w->turn && pthread_equal(w->thread, pthread_self())) {
		__atomic_store_n(&nap.worker, NULL, __ATOMIC_RELAXED);
		sem_post(&nap.falls_asleep);
		sem_wait(&nap.kicked);
	}
	return err;
}

static void kick_finds_a_worker_that_falls_asleep(void **state)
{
	struct lane *lane = new_lane(0, 1);

	sem_init(&nap.falls_asleep, 0, 0);
	sem_init(&nap.kicked, 0, 0);
	for (unsigned i = 0; i < 100; i++) {
		__atomic_store_n(&nap.worker, t.port[0]->worker, __ATOMIC_RELEASE);
		/* It may be falling asleep at this moment, and a wake alone would be lost. */
		up_fabric_kick(&lane->qp->base);
		sem_wait(&nap.falls_asleep);
		post(lane, UP_OP_WRITE, 0, 8, 0);
		up_fabric_kick(&lane->qp->base);
		sem_post(&nap.kicked);
		await(lane, 1);
	}
	assert_int_equal(count_ok(lane), 100);
}

/* Kicks after pauses of all lengths around that after which a worker goes to sleep. */
static void *kicker(void *arg)
{
	struct lane *lane = arg;
	uint64_t seed = 88172645463325252u + (uint64_t)(lane - t.lane);

	for (unsigned i = 0; i < 1000; i++) {
		post(lane, UP_OP_WRITE, 0, 8, 8u * (uint64_t)(lane - t.lane));
		finish(lane, 1);
		spin(unit_random(&seed) % 150000);
	}
	return NULL;
}

static void kicks_are_never_lost(void **state)
{
	pthread_t threads[4];

	for (unsigned i = 0; i < UP_ARRAY_SIZE(threads); i++)
		new_lane(i % 2, 3);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, kicker, &t.lane[i]), 0);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(threads); i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(count_ok(&t.lane[i]), 1000);
	}
}

/*
 * The measure of fairness: lane 0 is the modest one, which posts its next request when one ends;
 * what the others, of another port on the same worker, did in between is their share of a round.
 */
static struct {
	bool begun;
	uint64_t before, worst;
	unsigned left;
} fair;

static uint64_t progress_of_greedy(bool messages)
{
	uint64_t sum = 0;

	for (unsigned i = 1; i < t.lanes; i++)
		sum += messages ? t.lane[i].ok : t.lane[i].bytes + t.lane[i].qp->base.done;
	return sum;
}

static void modest_completed(struct lane *lane, bool messages)
{
	uint64_t now = progress_of_greedy(messages);

	if (fair.begun && now - fair.before > fair.worst)
		fair.worst = now - fair.before;
	fair.begun = true;
	fair.before = now;
	if (--fair.left)
		post(lane, UP_OP_WRITE, 0, 8, 0);
}

/* One request on lane 0, `n` of `len` bytes on the others; from here on the worker posts. */
static void start_requests(void (*completed)(struct lane *lane, const struct up_wc *wc),
			   uint32_t len, unsigned n)
{
	up_world_stop(t.fabric);
	t.completed = completed;
	for (unsigned i = 1; i < t.lanes; i++) {
		for (unsigned k = 0; k < n; k++)
			post(&t.lane[i], UP_OP_WRITE, 0, len, 2 << 20);
		up_fabric_kick(&t.lane[i].qp->base);
	}
	post(t.lane, UP_OP_WRITE, 0, 8, 2 << 20);
	up_fabric_kick(&t.lane->qp->base);
	up_world_start(t.fabric);
}

static void count_bytes(struct lane *lane, const struct up_wc *wc)
{
	if (lane == t.lane) {
		modest_completed(lane, false);
		return;
	}
	lane->bytes += 2 << 20;
	if (fair.left)
		post(lane, UP_OP_WRITE, 0, 2 << 20, 2 << 20);
}

static void long_messages_share_with_short_ones(void **state)
{
	new_lane(0, 1);
	for (unsigned i = 0; i < 4; i++)
		new_lane(2, 3);
	memset(&fair, 0, sizeof(fair));
	fair.left = 2000;
	start_requests(count_bytes, 2 << 20, 8);
	await(t.lane, 2000);
	assert_in_range(fair.worst, 1, QUANTUM);
}

static void count_messages(struct lane *lane, const struct up_wc *wc)
{
	if (lane == t.lane)
		modest_completed(lane, true);
	else if (fair.left)
		post(lane, UP_OP_WRITE, 0, 8, 2 << 20);
}

static void many_messages_share_with_few(void **state)
{
	new_lane(0, 1);
	for (unsigned i = 0; i < 4; i++)
		new_lane(2, 3);
	memset(&fair, 0, sizeof(fair));
	fair.left = 2000;
	start_requests(count_messages, 8, FAKE_DEPTH - 1);
	await(t.lane, 2000);
	assert_in_range(fair.worst, 1, SHARE);
}

/* The worker's record of when it looked at QPs that wait. */
static struct {
	uint64_t last;
	unsigned looks, early; /* atomic */
} waits;

static int rq_take_in_order(struct up_qp *qp, struct up_recv_wr *wr)
{
	for (unsigned i = 0; i < t.lanes; i++) {
		const struct up_qp *req = &t.lane[i].qp->base;

		if (&t.lane[i].peer->base != qp || req->wait != UP_WAIT_RNR)
			continue;
		if (req->wait_next < waits.last)
			__atomic_fetch_add(&waits.early, 1, __ATOMIC_RELAXED);
		waits.last = req->wait_next;
		__atomic_fetch_add(&waits.looks, 1, __ATOMIC_RELAXED);
	}
	return t.fake_ops.rq_take(qp, wr);
}

static void waiting_queues_wake_in_order(void **state)
{
	memset(&waits, 0, sizeof(waits));
	for (unsigned i = 0; i < 16; i++)
		new_lane(0, 1);
	up_world_stop(t.fabric);
	t.ops.rq_take = rq_take_in_order;
	for (unsigned i = 0; i < t.lanes; i++) {
		post(&t.lane[i], UP_OP_SEND, 0, 8, 0);
		up_fabric_kick(&t.lane[i].qp->base);
	}
	up_world_start(t.fabric);
	while (__atomic_load_n(&waits.looks, __ATOMIC_RELAXED) < 500)
		sched_yield();
	for (unsigned i = 0; i < t.lanes; i++)
		fake_recv(t.lane[i].peer, 4096, 8);
	/* Nobody kicks them: a receive rings no doorbell. */
	for (unsigned i = 0; i < t.lanes; i++)
		await(&t.lane[i], 1);
	for (unsigned i = 0; i < t.lanes; i++)
		assert_int_equal(count_ok(&t.lane[i]), 1);
	assert_int_equal(waits.early, 0);
}

static void post_again(struct lane *lane, const struct up_wc *wc)
{
	if (fair.left)
		post(lane, UP_OP_WRITE, 0, 1 << 20, 2 << 20);
}

struct snapshot {
	uint64_t turns, done, ok;
};

static struct snapshot look(void)
{
	struct snapshot s = {0};

	for (unsigned i = 0; i < up_fabric_workers(t.fabric); i++) {
		struct up_worker_stats stats;

		up_worker_stats_get(t.fabric, i, &stats);
		s.turns += stats.turns;
	}
	for (unsigned i = 0; i < t.lanes; i++) {
		s.done += t.lane[i].qp->base.done;
		s.ok += t.lane[i].ok;
	}
	return s;
}

static void nothing_moves_in_a_stopped_world(void **state)
{
	struct snapshot before, after;

	for (unsigned i = 0; i < PORTS; i++)
		new_lane(i, (i + 1) % PORTS);
	memset(&fair, 0, sizeof(fair));
	fair.left = 1;
	start_requests(post_again, 1 << 20, 1);
	for (unsigned n = 0; n < 200; n++) {
		up_world_stop(t.fabric);
		before = look();
		up_world_stop(t.fabric);
		sched_yield();
		up_world_start(t.fabric);
		/* Read by workers without a lock: the race detector sees that nobody does now. */
		t.lane[n % t.lanes].qp->base.attr.retry_count ^= 1;
		after = look();
		if (n == 199)
			fair.left = 0;
		up_world_start(t.fabric);
		assert_memory_equal(&before, &after, sizeof(before));
	}
	for (unsigned i = 0; i < t.lanes; i++) {
		finish(&t.lane[i], 1);
		assert_int_equal(t.lane[i].failed, 0);
	}
}

/* Gives a lane one of the kinds of work that leave a QP on some list. */
static void burden(struct lane *lane, uint64_t kind)
{
	switch (kind % 4) {
	case 0: /* waits for a receive */
		post(lane, UP_OP_SEND, 0, 64, 0);
		break;
	case 1: /* in the middle of a message */
		post(lane, UP_OP_WRITE, 0, 2 << 20, 2 << 20);
		break;
	case 2: /* in the middle of a message that has a receive */
		fake_recv(lane->peer, 2 << 20, 2 << 20);
		post(lane, UP_OP_SEND, 0, 2 << 20, 0);
		break;
	default: /* has nothing to do */
		break;
	}
	up_fabric_kick(&lane->qp->base);
}

static void queues_go_while_on_lists(void **state)
{
	struct lane *control = new_lane(0, 1);
	uint64_t seed = 88172645463325252u;

	for (unsigned i = 0; i < 8; i++)
		new_lane(i % PORTS, i / 2 % PORTS);
	for (unsigned n = 0; n < 400; n++) {
		struct lane *lane = &t.lane[1 + n % 8];
		uint64_t r = unit_random(&seed);

		burden(lane, r >> 8);
		spin(r % 8 ? r % 50000 : 0);
		up_world_stop(t.fabric);
		if (r >> 16 & 1)
			up_fabric_kick(&lane->qp->base);
		disconnect(lane);
		connect_lane(lane, (r >> 24) % PORTS, (r >> 32) % PORTS);
		up_world_start(t.fabric);
		post(control, UP_OP_WRITE, 0, 8, 0);
		finish(control, 1);
	}
	assert_int_equal(count_ok(control), 400);
}

static void fill(uint8_t *at, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		at[i] = (uint8_t)(seed + i * 7 + (i >> 8));
}

/* Areas of a lane in both ends' memory: sources, targets of writes, receives, reads. */
#define AREA (64u * 1024)
#define AT(what, lane) ((uint64_t)(what)*16 * AREA + (uint64_t)(lane)*AREA)

static void post_round(unsigned i, uint32_t len, unsigned seed)
{
	struct lane *lane = &t.lane[i];
	uint8_t *from = UP_CONTAINER_OF(lane->qp->base.hca, struct fake_hca, base)->ram;

	fill(from + AT(0, i), len, seed);
	fake_recv(lane->peer, AT(2, i), AREA);
	post(lane, UP_OP_WRITE, AT(0, i), len, AT(1, i));
	post(lane, UP_OP_SEND, AT(0, i), len, 0);
	post(lane, UP_OP_READ, AT(3, i), len, AT(1, i));
	up_fabric_kick(&lane->qp->base);
}

static void check_round(unsigned i, uint32_t len)
{
	struct lane *lane = &t.lane[i];
	const uint8_t *from = UP_CONTAINER_OF(lane->qp->base.hca, struct fake_hca, base)->ram;
	const uint8_t *to = UP_CONTAINER_OF(lane->peer->base.hca, struct fake_hca, base)->ram;

	finish(lane, 3);
	assert_int_equal(lane->failed, 0);
	assert_memory_equal(to + AT(1, i), from + AT(0, i), len);
	assert_memory_equal(to + AT(2, i), from + AT(0, i), len);
	assert_memory_equal(from + AT(3, i), from + AT(0, i), len);
}

static void workers_exchange_data_both_ways(void **state)
{
	uint64_t seed = 88172645463325252u;

	for (unsigned i = 0; i < 16; i++)
		new_lane(i % PORTS, (i + 1 + i / PORTS) % PORTS);
	for (unsigned round = 0; round < 12; round++) {
		uint32_t len = 1 + (uint32_t)(unit_random(&seed) % AREA);

		for (unsigned i = 0; i < t.lanes; i++)
			post_round(i, len, round + i);
		for (unsigned i = 0; i < t.lanes; i++)
			check_round(i, len);
	}
}

static void atomics_of_two_workers_add_up(void **state)
{
	const unsigned each = FAKE_DEPTH - 1;
	bool seen[PORTS * FAKE_DEPTH] = {0};
	uint64_t old;

	for (unsigned i = 0; i < PORTS; i++) {
		new_lane(i, 0);
		for (unsigned k = 0; k < each; k++) {
			prepare(&t.lane[i], UP_OP_FETCH_ADD, AREA + k * 8, 8, 0)->swap_add = 1;
			fake_submit(t.lane[i].qp);
		}
	}
	for (unsigned i = 0; i < PORTS; i++)
		up_fabric_kick(&t.lane[i].qp->base);
	for (unsigned i = 0; i < PORTS; i++) {
		finish(&t.lane[i], each);
		for (unsigned k = 0; k < each; k++) {
			memcpy(&old, t.hca[i]->ram + AREA + k * 8, sizeof(old));
			assert_in_range(old, 0, PORTS * each - 1);
			assert_false(seen[old]);
			seen[old] = true;
		}
	}
	memcpy(&old, t.hca[0]->ram, sizeof(old));
	assert_int_equal(old, PORTS * each);
}

#define ONE(f) cmocka_unit_test_setup_teardown(f, setup_one, teardown)
#define TWO(f) cmocka_unit_test_setup_teardown(f, setup_two, teardown)

/* Every port has work, and all of one round is the first port's. */
static void turn_is_given_up_after_a_port(void **state)
{
	memset(&prompt, 0, sizeof(prompt));
	new_lane(0, 1);
	for (unsigned i = 1; i < PORTS; i++)
		new_lane(i, 0);
	up_world_stop(t.fabric);
	for (unsigned i = 0; i < t.lanes; i++) {
		for (unsigned k = 0; k < 32; k++)
			post(&t.lane[i], UP_OP_WRITE, 0, 8, 0);
		up_fabric_kick(&t.lane[i].qp->base);
	}
	t.completed = ask_for_turn;
	up_world_start(t.fabric);
	for (unsigned i = 0; i < t.lanes; i++)
		await(&t.lane[i], 32);
	assert_true(__atomic_load_n(&prompt.yielded, __ATOMIC_ACQUIRE));
	assert_int_equal(prompt.others_then, prompt.others);
}

/* A control thread that has much to do must not keep the guests from running. */
static void workers_run_between_two_stops(void **state)
{
	struct lane *lane = new_lane(0, 1);
	const struct up_qp *qp = &lane->qp->base;
	uint64_t before = 0, bytes;
	unsigned idle = 0;

	for (unsigned i = 0; i < 48; i++)
		post(lane, UP_OP_WRITE, 0, FAKE_RAM / 2, FAKE_RAM / 2);
	up_fabric_kick(&lane->qp->base);
	while (!up_stat_get(&qp->stats.bytes))
		sched_yield();
	while (idle <= 2 * PORTS && count_ok(lane) < 48) {
		up_world_stop(t.fabric);
		bytes = up_stat_get(&qp->stats.bytes) + qp->done;
		/* Between two stops one port is served at least, this one or another. */
		idle = bytes == before ? idle + 1 : 0;
		before = bytes;
		up_world_start(t.fabric);
	}
	assert_true(idle <= 2 * PORTS);
	await(lane, 48);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(heap_keeps_the_earliest_on_top),
		ONE(kick_finds_a_worker_that_falls_asleep),
		ONE(kicks_are_never_lost),
		ONE(long_messages_share_with_short_ones),
		ONE(many_messages_share_with_few),
		ONE(waiting_queues_wake_in_order),
		ONE(nothing_moves_in_a_stopped_world),
		ONE(queues_go_while_on_lists),
		ONE(turn_is_given_up_after_a_port),
		ONE(workers_run_between_two_stops),
		ONE(workers_exchange_data_both_ways),
		TWO(kicks_are_never_lost),
		TWO(nothing_moves_in_a_stopped_world),
		TWO(queues_go_while_on_lists),
		TWO(workers_exchange_data_both_ways),
		TWO(atomics_of_two_workers_add_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
