/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a port with very many queue pairs takes of a round: its share, however many of them were
 * kicked at once or have a timer that expired. A worker with two ports gives up its turn behind two
 * messages of the modest port, a round apart, and what it took of the greedy one is counted then.
 */
#include "fake_hca.h"
#include "unit.h"

#include "fabric/worker_private.h"

#include <string.h>

#define HOUR_US 3600000000u
/* A port's share of a round in QPs, as in fabric/worker.c. */
#define SHARE 64
/* Rounds in which the greedy port may be served until the worker is held. */
#define ROUNDS 3
#define MANY (SHARE * (ROUNDS + 2))

enum { MODEST, GREEDY, PORTS };

static struct {
	struct up_fabric *fabric;
	struct up_port *port[PORTS];
	struct fake_hca *hca[PORTS];
	struct fake_qp *modest, *peer, *many[MANY];
	struct up_hca_ops ops;
	struct up_worker *worker;
	bool asked;		 /* this and the next are the worker's */
	unsigned messages;	 /* of the modest port */
	unsigned waiting, inbox; /* of the greedy port, when the worker was held */
	sem_t held;
} t;

int __real_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex);

static unsigned length(const struct up_list *head)
{
	unsigned n = 0;

	for (const struct up_list *at = head->next; at != head; at = at->next)
		n++;
	return n;
}

static void post_modest(void)
{
	struct up_send_wr *wr = fake_prepare(t.modest, UP_OP_WRITE, 0, 8);

	wr->raddr = FAKE_GPA;
	wr->rkey = t.hca[MODEST]->all->key;
	fake_submit(t.modest);
	up_fabric_kick(&t.modest->base);
}

/* Between the two the greedy port had its turn. */
static void note(void)
{
	struct up_fabric_port *p = up_fabric_port(t.port[GREEDY]);

	atomic_fetch_sub(&t.worker->stop_requests, 1);
	t.asked = false;
	if (t.messages == 1) {
		post_modest();
		return;
	}
	t.waiting = p->waiting.count;
	t.inbox = length(&p->inbox);
	sem_post(&t.held);
}

/* The linker sends the worker's calls here (meson.build). */
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex)
{
	if (t.worker && mutex == &t.worker->turn &&
	    pthread_equal(t.worker->thread, pthread_self()) && t.asked)
		note();
	return __real_pthread_mutex_unlock(mutex);
}

/* The modest port's message is done: the worker is to give up its turn behind this port. */
static void cq_post(struct up_cq *cq, const struct up_wc *wc)
{
	if (wc->qp != &t.modest->base)
		return;
	t.asked = true;
	t.messages++;
	atomic_fetch_add(&t.worker->stop_requests, 1);
}

static void attach(unsigned i)
{
	static const char *const names[PORTS] = {"modest", "greedy"};

	t.port[i] = up_port_create(t.fabric, names[i], "tenant", 0);
	t.hca[i] = fake_hca_create(0);
	if (i == 0) {
		t.ops = *t.hca[i]->base.ops;
		t.ops.cq_post = cq_post;
	}
	t.hca[i]->base.ops = &t.ops;
	up_port_attach(t.port[i], &t.hca[i]->base);
	up_port_set_driver(t.port[i], true);
}

/* With a worker that sleeps for an hour unless it is woken. */
static int setup(void **state)
{
	struct up_fabric_config cfg = UP_FABRIC_CONFIG_DEFAULT;

	memset(&t, 0, sizeof(t));
	cfg.spin_us = 0;
	cfg.idle_sleep_us = cfg.deep_sleep_us = HOUR_US;
	sem_init(&t.held, 0, 0);
	t.fabric = up_fabric_create(&cfg);
	assert_non_null(t.fabric);
	for (unsigned i = 0; i < PORTS; i++)
		attach(i);
	up_world_stop(t.fabric);
	t.worker = t.fabric->workers[0];
	t.modest = fake_qp_create(t.hca[MODEST], UP_QP_RC, NULL);
	t.peer = fake_qp_create(t.hca[MODEST], UP_QP_RC, NULL);
	fake_connect(t.modest, t.peer);
	for (unsigned i = 0; i < MANY; i++)
		t.many[i] = fake_qp_create(t.hca[GREEDY], UP_QP_RC, NULL);
	up_world_start(t.fabric);
	return 0;
}

static int teardown(void **state)
{
	up_world_stop(t.fabric);
	fake_qp_destroy(t.modest);
	fake_qp_destroy(t.peer);
	for (unsigned i = 0; i < MANY; i++)
		fake_qp_destroy(t.many[i]);
	up_world_start(t.fabric);
	for (unsigned i = 0; i < PORTS; i++) {
		up_port_detach(t.port[i]);
		fake_hca_destroy(t.hca[i]);
	}
	up_fabric_destroy(t.fabric);
	sem_destroy(&t.held);
	return 0;
}

/* World stopped. Until the second message is done. */
static void run_modest(void)
{
	post_modest();
	up_world_start(t.fabric);
	while (sem_wait(&t.held))
		;
}

static void await_empty(bool inbox)
{
	const struct up_fabric_port *p = up_fabric_port(t.port[GREEDY]);
	unsigned left;

	do {
		up_world_stop(t.fabric);
		left = inbox ? length(&p->inbox) : p->waiting.count;
		up_world_start(t.fabric);
	} while (left);
}

static void expired_timers_are_taken_by_shares(void **state)
{
	up_world_stop(t.fabric);
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(
			up_heap_push(&up_fabric_port(t.port[GREEDY])->waiting, &t.many[i]->base),
			0);
	run_modest();
	assert_in_range(t.waiting, MANY - ROUNDS * SHARE, MANY);
	await_empty(false);
}

static void kicks_are_taken_by_shares(void **state)
{
	up_world_stop(t.fabric);
	for (unsigned i = 0; i < MANY; i++)
		up_fabric_kick(&t.many[i]->base);
	run_modest();
	assert_in_range(t.inbox, MANY - ROUNDS * SHARE, MANY);
	/* Nobody kicks again, and nothing but the rest of them keeps the worker awake. */
	await_empty(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(expired_timers_are_taken_by_shares, setup,
						teardown),
		cmocka_unit_test_setup_teardown(kicks_are_taken_by_shares, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
