/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Workers: each polls the adapters of its ports and runs their QPs, ports in turn, QPs of a port
 * in turn, so that no port can keep another waiting for longer than its share of one round.
 *
 * A QP is on its port's run list while it has work and for a short time after (its doorbell
 * record is then read in every round, which is faster than the hint); in the heap while it waits
 * for its peer or a timer; else nowhere, until its adapter's poll finds a doorbell.
 */

#include "fabric/worker_private.h"

#include "base/clock.h"
#include "base/cpu.h"
#include "base/log.h"
#include "base/sched_attr.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

/* How long a QP's doorbell record is read in every round after its last work. */
#define HOT_NS (100 * UP_USEC)
/*
 * A port with work is asked for further doorbells in every fourth round only: the words are in
 * lines that its guest writes all the time. (One without doorbells is asked in every round.)
 */
#define POLL_EVERY 4

static _Thread_local struct up_worker *self;

bool up_on_worker(void)
{
	return self;
}

uint64_t up_worker_clock(void)
{
	return up_clock_ns();
}

static struct up_fabric_port *port_of(const struct up_qp *qp)
{
	return up_fabric_port(qp->hca->port);
}

/* On the worker, or with the world stopped. */
static void enqueue(struct up_fabric_port *p, struct up_qp *qp)
{
	if (qp->sched.heap_index >= 0)
		up_heap_remove(&p->waiting, qp);
	if (up_list_empty(&qp->sched.run))
		up_list_add_tail(&p->run, &qp->sched.run);
	qp->sched.hot_until = 0;
}

void up_worker_wake(struct up_worker *w)
{
	if (atomic_load(&w->asleep) && atomic_exchange(&w->asleep, false))
		sem_post(&w->wake);
}

void up_fabric_kick(struct up_qp *qp)
{
	struct up_fabric_port *p = port_of(qp);
	struct up_worker *w = p->pub.worker;

	if (w == self) {
		enqueue(p, qp);
		return;
	}
	pthread_mutex_lock(&w->inbox_lock);
	if (up_list_empty(&qp->sched.inbox))
		up_list_add_tail(&p->inbox, &qp->sched.inbox);
	atomic_store(&p->kicked, true);
	atomic_store(&w->kicked, true);
	pthread_mutex_unlock(&w->inbox_lock);
	up_worker_wake(w);
}

/* What is left in the inbox waits for the next round, before which the worker does not sleep. */
static bool take_inbox(struct up_worker *w, struct up_fabric_port *p)
{
	unsigned left = PORT_QPS;

	if (!atomic_load(&p->kicked))
		return false;
	pthread_mutex_lock(&w->inbox_lock);
	while (!up_list_empty(&p->inbox) && left--) {
		struct up_list *node = p->inbox.next;

		up_list_del(node);
		enqueue(p, UP_CONTAINER_OF(node, struct up_qp, sched.inbox));
	}
	atomic_store(&p->kicked, !up_list_empty(&p->inbox));
	if (!up_list_empty(&p->inbox))
		atomic_store(&w->kicked, true);
	pthread_mutex_unlock(&w->inbox_lock);
	return true;
}

void up_worker_forget(struct up_qp *qp)
{
	struct up_fabric_port *p = port_of(qp);
	struct up_worker *w = p->pub.worker;

	pthread_mutex_lock(&w->inbox_lock);
	up_list_del(&qp->sched.inbox);
	pthread_mutex_unlock(&w->inbox_lock);
	if (qp->sched.heap_index >= 0)
		up_heap_remove(&p->waiting, qp);
	up_list_del(&qp->sched.run);
}

void up_worker_forget_all(struct up_port *port)
{
	struct up_fabric_port *p = up_fabric_port(port);
	struct up_worker *w = port->worker;

	pthread_mutex_lock(&w->inbox_lock);
	up_list_init(&p->inbox);
	atomic_store(&p->kicked, false);
	pthread_mutex_unlock(&w->inbox_lock);
	up_list_init(&p->run);
	up_heap_fini(&p->waiting);
}

/* Runs one QP and says where it goes from here. True when it did something. */
static bool run_qp(struct up_worker *w, struct up_qp *qp, uint64_t now, struct up_budget *port)
{
	struct up_fabric_port *p = port_of(qp);
	uint32_t before = port->messages;
	enum up_run result = up_qp_run(w->exec, qp, now, port);
	bool worked = before != port->messages;

	if (result == UP_RUN_WAIT) {
		up_list_del(&qp->sched.run);
		if (up_heap_push(&p->waiting, qp))
			up_list_add_tail(&p->run, &qp->sched.run);
		return worked;
	}
	if (worked || result == UP_RUN_MORE || !qp->sched.hot_until)
		qp->sched.hot_until = now + HOT_NS;
	up_list_del(&qp->sched.run);
	if (result == UP_RUN_MORE || now < qp->sched.hot_until)
		up_list_add_tail(&p->run, &qp->sched.run);
	return worked || result == UP_RUN_MORE;
}

bool up_fabric_flush(struct up_qp *qp)
{
	struct up_worker *w = port_of(qp)->pub.worker;
	struct up_budget budget = up_turn_budget(w);

	if (qp->sched.heap_index >= 0)
		return false;
	enqueue(port_of(qp), qp);
	return run_qp(w, qp, up_clock_ns(), &budget) && qp->sched.heap_index < 0;
}

static bool run_port(struct up_worker *w, struct up_fabric_port *p, uint64_t now)
{
	struct up_budget budget = up_turn_budget(w);
	struct up_list *last = p->run.prev;
	unsigned left = PORT_QPS;
	bool worked = false;

	/* One look at each QP that was on the list: those that stay go to its end. */
	while (!up_list_empty(&p->run) && left-- && budget.messages && budget.bytes) {
		struct up_list *node = p->run.next;

		worked |= run_qp(w, UP_CONTAINER_OF(node, struct up_qp, sched.run), now, &budget);
		if (node == last)
			return worked;
	}
	/* Not all were looked at: the next round goes on. */
	return worked || !up_list_empty(&p->run);
}

static uint64_t next_due(const struct up_fabric_port *p)
{
	return p->waiting.count ? p->waiting.qp[0]->wait_next : UINT64_MAX;
}

static void take_due(struct up_fabric_port *p, uint64_t now)
{
	for (unsigned left = PORT_QPS; left && next_due(p) <= now; left--)
		enqueue(p, p->waiting.qp[0]);
}

static void take_turn(struct up_worker *w)
{
	atomic_store(&w->wants_turn, true);
	pthread_mutex_lock(&w->turn);
	atomic_store(&w->wants_turn, false);
}

static void yield_turn(struct up_worker *w)
{
	if (!atomic_load_explicit(&w->stop_requests, memory_order_relaxed))
		return;
	atomic_store(&w->wants_turn, true);
	pthread_mutex_unlock(&w->turn);
	while (atomic_load(&w->stop_requests))
		sched_yield();
	take_turn(w);
}

static bool serve_port(struct up_worker *w, struct up_fabric_port *p, uint64_t now, uint64_t *due)
{
	struct up_hca *hca = p->pub.hca;
	bool worked = take_inbox(w, p);

	take_due(p, now);
	w->listening |= hca->qps.used > 0 && !hca->kicks;
	if (up_list_empty(&p->run) || hca->kicks || ++p->unpolled >= POLL_EVERY) {
		p->unpolled = 0;
		worked |= hca->ops->poll(hca, now, due) > 0;
	}
	worked |= run_port(w, p, now);
	if (next_due(p) < *due)
		*due = next_due(p);
	return worked;
}

/*
 * One round: each port once. True when anything was done; *due is lowered to when the next is
 * needed. The turn may be given up after any port, and ports come and go meanwhile, so the first
 * one of the list is served and goes to its end.
 */
static bool round_once(struct up_worker *w, uint64_t now, uint64_t *due)
{
	bool worked = false;

	/* Whoever kicks from here on is looked at in this round or in the next. */
	if (atomic_load_explicit(&w->kicked, memory_order_relaxed))
		atomic_store(&w->kicked, false);
	w->listening = false;
	for (unsigned left = w->nports; left && !up_list_empty(&w->ports); left--) {
		struct up_list *first = w->ports.next;

		up_list_del(first);
		up_list_add_tail(&w->ports, first);
		worked |= serve_port(w, UP_CONTAINER_OF(first, struct up_fabric_port, on_worker),
				     now, due);
		yield_turn(w);
	}
	up_stat_add(&w->stats.turns, 1);
	return worked;
}

/*
 * Runnable threads of the machine, from the fourth field of /proc/loadavg, at most every 10 ms.
 * Where they are more than the CPUs, a spinning worker takes its time from a guest, perhaps from
 * the very one that it waits for.
 */
static bool is_crowded(struct up_worker *w, uint64_t now)
{
	char text[64];
	unsigned running;
	ssize_t n;

	if (w->load_fd < 0 || now < w->load_next)
		return w->crowded;
	w->load_next = now + 10 * UP_MSEC;
	n = pread(w->load_fd, text, sizeof(text) - 1, 0);
	if (n > 0) {
		text[n] = '\0';
		if (sscanf(text, "%*s %*s %*s %u", &running) == 1) {
			/* Twice in a row: threads that come and go are no reason to sleep. */
			w->crowded = running > w->cpus && w->was_crowded;
			w->was_crowded = running > w->cpus;
		}
	}
	return w->crowded;
}

static bool may_spin(struct up_worker *w, uint64_t now, uint64_t idle)
{
	return idle < w->fabric->cfg.spin_us * UP_USEC && !is_crowded(w, now);
}

/*
 * Where no guest has a queue pair no doorbell can come, and what makes one wakes the worker; else
 * longer the longer there was nothing to do.
 */
static uint64_t idle_time(const struct up_worker *w, uint64_t idle)
{
	return w->listening ? up_idle_sleep(&w->idle, &w->fabric->cfg, idle) : UP_SEC;
}

static uint64_t thread_cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * UP_SEC + (uint64_t)ts.tv_nsec;
}

/*
 * Gives up the turn and sleeps. No kick is slept on: the kicker sets `kicked` and then looks at
 * `asleep`, here `asleep` is set before `kicked` is looked at, all sequentially consistent.
 */
static void sleep_until(struct up_worker *w, uint64_t when)
{
	struct timespec ts = up_clock_timespec(when);

	pthread_mutex_unlock(&w->turn);
	atomic_store(&w->asleep, true);
	if (!atomic_load(&w->kicked) && !atomic_load(&w->quit))
		sem_clockwait(&w->wake, CLOCK_MONOTONIC, &ts);
	atomic_store(&w->asleep, false);
	up_stat_add(&w->stats.idle_sleeps, 1);
	take_turn(w);
}

/*
 * Guests and workers share the cores. A worker runs for microseconds and must run soon, so it asks
 * for a short slice and, where it may, for weight.
 */
static void ask_for_priority(const struct up_fabric_config *cfg)
{
	struct up_sched_attr a = {.nice = -(int32_t)cfg->priority, .runtime = UP_SCHED_SLICE_NS};

	if (up_sched_attr_set(&a)) {
		a.nice = 0;
		up_sched_attr_set(&a);
	}
}

static void *worker_main(void *arg)
{
	struct up_worker *w = arg;
	const struct up_fabric_config *cfg = &w->fabric->cfg;
	uint64_t now = up_clock_ns(), last_work = now;

	self = w;
	/* The kernel's default slack of 50 us would double the shortest sleeps. */
	prctl(PR_SET_TIMERSLACK, 1000);
	ask_for_priority(cfg);
	pthread_mutex_lock(&w->turn);
	while (!atomic_load_explicit(&w->quit, memory_order_relaxed)) {
		uint64_t due = UINT64_MAX, until, end;

		if (round_once(w, now, &due)) {
			last_work = now;
			up_idle_worked(&w->idle);
			end = up_clock_ns();
			up_stat_add(&w->stats.busy_ns, end - now);
			now = end;
		} else if (may_spin(w, now, now - last_work) || due <= now) {
			up_cpu_relax();
			now = up_clock_ns();
		} else {
			until = now + idle_time(w, now - last_work);
			up_idle_sleeps(&w->idle, thread_cpu_ns);
			sleep_until(w, until < due ? until : due);
			up_idle_look(&w->idle, thread_cpu_ns);
			now = up_clock_ns();
		}
		yield_turn(w);
	}
	pthread_mutex_unlock(&w->turn);
	return NULL;
}

static void pin(struct up_worker *w)
{
	cpu_set_t cpus;
	int cpu = w->fabric->cfg.first_cpu + (int)w->index;

	if (w->fabric->cfg.first_cpu < 0)
		return;
	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	if (pthread_setaffinity_np(w->thread, sizeof(cpus), &cpus))
		up_log(LOG_WARNING, NULL, "worker %u: cannot be pinned to CPU %d", w->index, cpu);
}

static int worker_init(struct up_worker *w)
{
	w->exec = up_exec_create();
	if (!w->exec)
		return -ENOMEM;
	/* Of these three only the descriptor can fail (glibc). */
	pthread_mutex_init(&w->turn, NULL);
	pthread_mutex_init(&w->inbox_lock, NULL);
	sem_init(&w->wake, 0, 0);
	w->load_fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
	if (w->load_fd < 0 && !w->index)
		up_log(LOG_WARNING, NULL,
		       "/proc/loadavg: %m: workers spin also where CPUs are short");
	w->cpus = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
	up_list_init(&w->ports);
	return 0;
}

int up_workers_create(struct up_fabric *f)
{
	int err;

	up_multi_worker = f->cfg.workers > 1;
	f->workers = calloc(f->cfg.workers, sizeof(struct up_worker *));
	if (!f->workers)
		return -ENOMEM;
	for (unsigned i = 0; i < f->cfg.workers; i++) {
		struct up_worker *w = calloc(1, sizeof(*w));

		if (!w)
			return -ENOMEM;
		w->fabric = f;
		w->index = i;
		err = worker_init(w);
		if (err) {
			free(w);
			return err;
		}
		f->workers[i] = w;
		err = pthread_create(&w->thread, NULL, worker_main, w);
		if (err)
			return -err;
		w->started = true;
		pin(w);
	}
	return 0;
}

static void worker_destroy(struct up_worker *w)
{
	atomic_store(&w->quit, true);
	if (w->started) {
		sem_post(&w->wake);
		pthread_join(w->thread, NULL);
	}
	sem_destroy(&w->wake);
	if (w->load_fd >= 0)
		close(w->load_fd);
	pthread_mutex_destroy(&w->inbox_lock);
	pthread_mutex_destroy(&w->turn);
	up_exec_destroy(w->exec);
	free(w);
}

void up_workers_destroy(struct up_fabric *f)
{
	for (unsigned i = 0; f->workers && i < f->cfg.workers && f->workers[i]; i++)
		worker_destroy(f->workers[i]);
	free(f->workers);
	f->workers = NULL;
}

void up_worker_add(struct up_worker *w, struct up_port *port)
{
	up_list_add_tail(&w->ports, &up_fabric_port(port)->on_worker);
	w->nports++;
}

void up_worker_remove(struct up_worker *w, struct up_port *port)
{
	up_list_del(&up_fabric_port(port)->on_worker);
	w->nports--;
}

unsigned up_fabric_workers(const struct up_fabric *f)
{
	return f->cfg.workers;
}

void up_worker_stats_get(const struct up_fabric *f, unsigned i, struct up_worker_stats *s)
{
	const struct up_worker *w = f->workers[i];

	s->turns = up_stat_get(&w->stats.turns);
	s->idle_sleeps = up_stat_get(&w->stats.idle_sleeps);
	s->busy_ns = up_stat_get(&w->stats.busy_ns);
}
