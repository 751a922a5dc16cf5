/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Takes the place of fabric/worker.c and fabric/world.c in the fuzzers: the workers' part of the
 * fabric without threads, where fuzz_run() is the worker and time is a number. Scheduling follows
 * fabric/worker.c as far as a guest can tell.
 */
#include "fuzz_vm.h"

#include "fabric/worker_private.h"

static struct up_worker lone;
static uint64_t now;

uint64_t fuzz_now(void)
{
	return now;
}

int up_workers_create(struct up_fabric *f)
{
	CHECK(f->cfg.workers == 1);
	f->workers = calloc(1, sizeof(struct up_worker *));
	CHECK(f->workers);
	f->workers[0] = &lone;
	memset(&lone, 0, sizeof(lone));
	lone.fabric = f;
	lone.exec = up_exec_create();
	CHECK(lone.exec);
	up_list_init(&lone.ports);
	now = 1ull << 40;
	return 0;
}

void up_workers_destroy(struct up_fabric *f)
{
	CHECK(up_list_empty(&lone.ports) && !f->world_depth);
	up_exec_destroy(lone.exec);
	free(f->workers);
	f->workers = NULL;
}

static struct up_fabric_port *port_of(const struct up_qp *qp)
{
	return up_fabric_port(qp->hca->port);
}

void up_fabric_kick(struct up_qp *qp)
{
	if (qp->sched.heap_index >= 0)
		up_heap_remove(&port_of(qp)->waiting, qp);
	if (up_list_empty(&qp->sched.run))
		up_list_add_tail(&port_of(qp)->run, &qp->sched.run);
}

/* The harness steps its own time; a timer that begins in a turn begins with the turn. */
uint64_t up_worker_clock(void)
{
	return lone.exec->now;
}

void up_worker_forget(struct up_qp *qp)
{
	CHECK(lone.fabric->world_depth);
	if (qp->sched.heap_index >= 0)
		up_heap_remove(&port_of(qp)->waiting, qp);
	up_list_del(&qp->sched.run);
}

void up_worker_forget_all(struct up_port *port)
{
	CHECK(lone.fabric->world_depth);
	up_list_init(&up_fabric_port(port)->run);
	up_heap_fini(&up_fabric_port(port)->waiting);
}

void up_worker_wake(struct up_worker *w)
{
}

void up_worker_add(struct up_worker *w, struct up_port *port)
{
	up_list_add_tail(&w->ports, &up_fabric_port(port)->on_worker);
}

void up_worker_remove(struct up_worker *w, struct up_port *port)
{
	CHECK(up_list_empty(&up_fabric_port(port)->run) && !up_fabric_port(port)->waiting.count);
	up_list_del(&up_fabric_port(port)->on_worker);
}

unsigned up_fabric_workers(const struct up_fabric *f)
{
	return f->cfg.workers;
}

void up_worker_stats_get(const struct up_fabric *f, unsigned i, struct up_worker_stats *s)
{
	*s = f->workers[i]->stats;
}

void up_world_stop(struct up_fabric *f)
{
	f->world_depth++;
}

void up_world_start(struct up_fabric *f)
{
	CHECK(f->world_depth);
	f->world_depth--;
}

static enum up_run run_qp(struct up_qp *qp, struct up_budget *budget)
{
	enum up_run result = up_qp_run(lone.exec, qp, now, budget);

	up_list_del(&qp->sched.run);
	if (result == UP_RUN_WAIT)
		CHECK(qp->sched.heap_index < 0 && !up_heap_push(&port_of(qp)->waiting, qp));
	else if (result == UP_RUN_MORE)
		up_list_add_tail(&port_of(qp)->run, &qp->sched.run);
	return result;
}

bool up_fabric_flush(struct up_qp *qp)
{
	struct up_budget budget = up_turn_budget(&lone);

	CHECK(lone.fabric->world_depth);
	if (qp->sched.heap_index >= 0)
		return false;
	up_fabric_kick(qp);
	return run_qp(qp, &budget) == UP_RUN_MORE;
}

static void take_due(struct up_fabric_port *p)
{
	unsigned left = PORT_QPS;

	while (left-- && p->waiting.count && p->waiting.qp[0]->wait_next <= now)
		up_fabric_kick(p->waiting.qp[0]);
}

static void run_port(struct up_fabric_port *p)
{
	struct up_budget budget = up_turn_budget(&lone);
	struct up_list *last = p->run.prev;
	unsigned left = PORT_QPS;

	while (!up_list_empty(&p->run) && left-- && budget.messages && budget.bytes) {
		struct up_list *node = p->run.next;

		run_qp(UP_CONTAINER_OF(node, struct up_qp, sched.run), &budget);
		if (node == last)
			break;
	}
}

void fuzz_run(unsigned rounds, uint64_t step_ns)
{
	CHECK(!lone.fabric->world_depth);
	while (rounds--) {
		struct up_list *pos, *tmp;
		uint64_t due = UINT64_MAX;

		up_list_each (pos, tmp, &lone.ports) {
			struct up_fabric_port *p =
				UP_CONTAINER_OF(pos, struct up_fabric_port, on_worker);

			take_due(p);
			p->pub.hca->ops->poll(p->pub.hca, now, &due);
			run_port(p);
		}
		now += step_ns;
	}
}
