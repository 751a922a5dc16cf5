/* SPDX-License-Identifier: BSD-2-Clause */
/* Queues and counters: formats, sizes, waiting and its descriptors, selective completion, poll
 * sets, event queues, threads. */
#include "fi_rig.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* A guard against hanging. */
#define PATIENCE_MS 60000

static void send_one(struct fi_rig *rig, char *buf)
{
	FI_RIG_DO(rig, fi_trecv(rig->b.ep, buf, 8, NULL, FI_ADDR_UNSPEC, 9, 0, buf));
	FI_RIG_DO(rig, fi_tsenddata(rig->a.ep, "hello", 6, NULL, 5, rig->a.peer, 9, rig));
}

/* Each format is the beginning of the widest. */
static void test_formats(void **state)
{
	static const struct {
		enum fi_cq_format format;
		size_t size;
	} formats[] = {
		{FI_CQ_FORMAT_CONTEXT, sizeof(struct fi_cq_entry)},
		{FI_CQ_FORMAT_MSG, sizeof(struct fi_cq_msg_entry)},
		{FI_CQ_FORMAT_DATA, sizeof(struct fi_cq_data_entry)},
		{FI_CQ_FORMAT_TAGGED, sizeof(struct fi_cq_tagged_entry)},
	};
	char buf[3][8];

	for (int i = 0; i < 4; i++) {
		const struct fi_rig_attr attr = {.cq.format = formats[i].format};
		struct fi_cq_tagged_entry want = {.op_context = buf[1],
						  .flags = FI_RECV | FI_TAGGED | FI_REMOTE_CQ_DATA,
						  .len = 6,
						  .buf = buf[1],
						  .data = 5,
						  .tag = 9};
		uint8_t got[4 * sizeof(want)];
		struct fi_rig rig;
		int n = 0;

		fi_rig_setup(&rig, &attr);
		memset(got, 0xee, sizeof(got));
		for (int k = 0; k < 3; k++)
			send_one(&rig, buf[k]);
		while (n < 3) {
			ssize_t some = fi_cq_read(rig.b.rxcq, got + (size_t)n * formats[i].size,
						  (size_t)(3 - n));

			assert_true(some > 0 || some == -FI_EAGAIN);
			n += some > 0 ? (int)some : 0;
			fi_rig_poke(&rig);
		}
		assert_memory_equal(got + formats[i].size, &want, formats[i].size);
		/* And not a byte more. */
		assert_int_equal(got[3 * formats[i].size], 0xee);
		fi_rig_teardown(&rig);
	}
}

/* A queue of 4: the fifth send has to wait until completions are read; what is received does not.
 */
static void test_full(void **state)
{
	const struct fi_rig_attr attr = {.cq.size = 4};
	struct fi_cq_tagged_entry e[16];
	char buf[16][8];
	struct fi_rig rig;
	int sent = 0;

	fi_rig_setup(&rig, &attr);
	for (int i = 0; i < 16; i++)
		FI_RIG_DO(&rig, fi_recv(rig.b.ep, buf[i], 8, NULL, FI_ADDR_UNSPEC, buf[i]));
	while (!fi_send(rig.a.ep, "x", 2, NULL, rig.a.peer, NULL))
		sent++;
	assert_int_equal(sent, 4);
	for (int i = 4; i < 16; i++) {
		assert_int_equal(fi_send(rig.a.ep, "x", 2, NULL, rig.a.peer, NULL), -FI_EAGAIN);
		fi_rig_wait(&rig, rig.a.txcq);
		assert_int_equal(fi_send(rig.a.ep, "x", 2, NULL, rig.a.peer, NULL), 0);
	}
	for (int i = 0; i < 100; i++)
		fi_rig_poke(&rig);
	assert_int_equal(fi_cq_read(rig.b.rxcq, e, 16), 16);
	for (int i = 0; i < 16; i++)
		assert_ptr_equal(e[i].op_context, buf[i]);
	fi_rig_teardown(&rig);
}

/* Starts an operation while only the sender makes progress; as long as it takes, within bounds. */
#define DO_ALONE(rig, call)                                                                        \
	do {                                                                                       \
		ssize_t alone_ret = -FI_EAGAIN;                                                    \
		for (int alone_n = 0; alone_n < 10000 && alone_ret == -FI_EAGAIN; alone_n++) {     \
			alone_ret = (call);                                                        \
			fi_cq_read((rig)->a.txcq, NULL, 0);                                        \
		}                                                                                  \
		assert_int_equal(alone_ret, 0);                                                    \
	} while (0)

/* A receiver that makes no progress: messages wait at the sender, and come in order. Injected ones
 * end at once, the others when they leave. */
static void test_sleeping_receiver(void **state)
{
	enum { INJECTS = 100, SENDS = 10 };
	static uint8_t data[INJECTS + 2 * SENDS][4000], big[40000], to[40000];
	int n = INJECTS + 2 * SENDS, gone = 0;
	struct fi_cq_tagged_entry e;
	struct fi_rig rig;

	fi_rig_setup(&rig, NULL);
	for (int i = 0; i < n; i++) {
		uint64_t tag = (uint64_t)i;

		memset(data[i], i, sizeof(data[i]));
		if (i < INJECTS)
			DO_ALONE(&rig, fi_tinject(rig.a.ep, data[i], 400, rig.a.peer, tag));
		else if (i % 2)
			DO_ALONE(&rig,
				 fi_tsend(rig.a.ep, data[i], 4000, NULL, rig.a.peer, tag, data[i]));
		else
			DO_ALONE(&rig,
				 fi_tsend(rig.a.ep, big, sizeof(big), NULL, rig.a.peer, tag, big));
	}
	while (fi_cq_read(rig.a.txcq, &e, 1) == 1)
		gone++;
	assert_int_equal(gone, 0);
	for (int i = 0; i < n; i++) {
		size_t len = i < INJECTS ? 400 : i % 2 ? 4000 : sizeof(big);

		FI_RIG_DO(&rig,
			  fi_trecv(rig.b.ep, to, sizeof(to), NULL, rig.b.peer, 0, UINT64_MAX, to));
		e = fi_rig_wait(&rig, rig.b.rxcq);
		assert_int_equal(e.tag, i);
		assert_int_equal(e.len, len);
		assert_memory_equal(to, len == sizeof(big) ? big : data[i], len);
	}
	for (int i = 0; i < 2 * SENDS; i++)
		fi_rig_wait(&rig, rig.a.txcq);
	fi_rig_nothing(&rig, rig.a.txcq);
	fi_rig_teardown(&rig);
}

static void test_selective(void **state)
{
	const struct fi_rig_attr attr = {.tx_bind = FI_SELECTIVE_COMPLETION};
	char x[] = "x";
	struct iovec iov = {x, 2};
	struct fi_msg msg = {.msg_iov = &iov, .iov_count = 1, .context = &iov};
	static char big[100000];
	struct fi_rig rig;

	fi_rig_setup(&rig, &attr);
	msg.addr = rig.a.peer;
	for (int i = 0; i < 3; i++)
		FI_RIG_DO(&rig, fi_recv(rig.b.ep, big, sizeof(big), NULL, FI_ADDR_UNSPEC, big));
	FI_RIG_DO(&rig, fi_send(rig.a.ep, "x", 2, NULL, rig.a.peer, NULL));
	FI_RIG_DO(&rig, fi_send(rig.a.ep, big, sizeof(big), NULL, rig.a.peer, NULL));
	fi_rig_wait(&rig, rig.b.rxcq);
	fi_rig_wait(&rig, rig.b.rxcq);
	fi_rig_nothing(&rig, rig.a.txcq);
	FI_RIG_DO(&rig, fi_sendmsg(rig.a.ep, &msg, FI_COMPLETION));
	assert_ptr_equal(fi_rig_wait(&rig, rig.a.txcq).op_context, &iov);
	fi_rig_nothing(&rig, rig.a.txcq);
	fi_rig_teardown(&rig);
}

/* ---- one processor ---- */

/* Of all threads. The provider's calls come here, too (meson.build). */
static unsigned yields;

int sched_yield(void)
{
	__atomic_add_fetch(&yields, 1, __ATOMIC_RELAXED);
	return (int)syscall(SYS_sched_yield);
}

/* Who polls in vain offers its processor to others now and then, also to the one that it waits
 * for; who finds something each time keeps it. */
static void test_offers_its_processor(void **state)
{
	enum { POLLS = 10000 };
	struct fi_cq_tagged_entry e;
	struct fi_rig rig;
	char buf[8];

	fi_rig_setup(&rig, NULL);
	yields = 0;
	for (int i = 0; i < POLLS; i++)
		assert_int_equal(fi_cq_read(rig.b.rxcq, &e, 1), -FI_EAGAIN);
	assert_in_range(yields, 10, 100);
	for (int i = 0; i < POLLS; i++) {
		assert_int_equal(fi_recv(rig.b.ep, buf, 8, NULL, FI_ADDR_UNSPEC, NULL), 0);
		FI_RIG_DO(&rig, fi_inject(rig.a.ep, "turn", 5, rig.a.peer));
		if (i == 0) /* It may have to make contact. */
			fi_rig_wait(&rig, rig.b.rxcq);
		else
			assert_int_equal(fi_cq_read(rig.b.rxcq, &e, 1), 1);
		if (i == 0)
			yields = 0;
	}
	assert_int_equal(yields, 0);
	fi_rig_teardown(&rig);
}

/* ---- waiting ---- */

struct partner {
	struct fi_rig *rig;
	pthread_t thread;
	int rounds;
};

/* The other side: answers each message, by a thread of its own. */
static void *answer(void *arg)
{
	struct partner *p = arg;
	struct fi_side *s = &p->rig->b;
	struct fi_cq_tagged_entry e;
	char buf[8];

	for (int i = 0; i < p->rounds; i++) {
		while (fi_recv(s->ep, buf, 8, NULL, FI_ADDR_UNSPEC, NULL) == -FI_EAGAIN)
			;
		while (fi_cq_read(s->rxcq, &e, 1) != 1)
			;
		while (fi_inject(s->ep, "pong", 5, s->peer) == -FI_EAGAIN)
			fi_cq_read(s->txcq, NULL, 0);
	}
	return NULL;
}

enum way { WAY_SREAD, WAY_POLL };

/* Sleeps until there is something to read. */
static void sleep_on(struct fi_rig *rig, struct fid_cq *cq, int fd)
{
	struct fid *fids[] = {&cq->fid};
	struct pollfd p = {.fd = fd, .events = POLLIN};

	if (!fi_trywait(rig->fabric, fids, 1))
		assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
}

static void ping_pong(const struct fi_rig_attr *attr, enum way way)
{
	struct partner partner = {.rounds = 300};
	struct fi_cq_tagged_entry e;
	struct fi_rig rig;
	char buf[8];
	int fd = -1;

	fi_rig_setup(&rig, attr);
	partner.rig = &rig;
	if (way == WAY_POLL)
		assert_int_equal(fi_control(&rig.a.rxcq->fid, FI_GETWAIT, &fd), 0);
	assert_int_equal(pthread_create(&partner.thread, NULL, answer, &partner), 0);
	for (int i = 0; i < partner.rounds; i++) {
		ssize_t n;

		while ((n = fi_recv(rig.a.ep, buf, 8, NULL, FI_ADDR_UNSPEC, NULL)) == -FI_EAGAIN)
			;
		assert_int_equal(n, 0);
		while ((n = fi_inject(rig.a.ep, "ping", 5, rig.a.peer)) == -FI_EAGAIN)
			;
		assert_int_equal(n, 0);
		if (way == WAY_SREAD) {
			n = fi_cq_sread(rig.a.rxcq, &e, 1, NULL, PATIENCE_MS);
		} else {
			while ((n = fi_cq_read(rig.a.rxcq, &e, 1)) == -FI_EAGAIN)
				sleep_on(&rig, rig.a.rxcq, fd);
		}
		assert_int_equal(n, 1);
		assert_string_equal(buf, "pong");
	}
	pthread_join(partner.thread, NULL);
	fi_rig_teardown(&rig);
}

static void test_waiting(void **state)
{
	static const enum fi_wait_obj objects[] = {FI_WAIT_UNSPEC, FI_WAIT_FD, FI_WAIT_YIELD};
	static const enum fi_threading threads[] = {FI_THREAD_DOMAIN, FI_THREAD_SAFE};
	static const enum fi_progress progress[] = {FI_PROGRESS_MANUAL, FI_PROGRESS_AUTO};

	for (int i = 0; i < 12; i++) {
		const struct fi_rig_attr attr = {.cq.wait_obj = objects[i % 3],
						 .threading = threads[i / 3 % 2],
						 .progress = progress[i / 6]};

		ping_pong(&attr, WAY_SREAD);
		if (objects[i % 3] != FI_WAIT_YIELD)
			ping_pong(&attr, WAY_POLL);
	}
}

/* ---- threads ---- */

#define THREADS 4
#define ROUNDS 400

struct worker {
	struct fi_rig *rig;
	pthread_t thread;
	uint64_t tag;
};

/* Reads what is there, for whichever thread: its context is a flag. */
static void collect(struct fid_cq *cq)
{
	struct fi_cq_tagged_entry e;

	if (fi_cq_read(cq, &e, 1) == 1)
		__atomic_add_fetch((int *)e.op_context, 1, __ATOMIC_RELEASE);
}

/* Sends to itself, in a stream of its own through endpoints and queues that all threads share. */
static void *work(void *arg)
{
	struct worker *w = arg;
	struct fi_side *a = &w->rig->a, *b = &w->rig->b;
	static char big[THREADS][20000], to[THREADS][20000];
	size_t len;

	for (int i = 0; i < ROUNDS; i++) {
		int done = 0;

		len = i % 16 ? 16 : sizeof(big[0]);
		memset(big[w->tag], i, len);
		while (fi_trecv(b->ep, to[w->tag], len, NULL, FI_ADDR_UNSPEC, w->tag, 0, &done))
			collect(b->rxcq);
		while (fi_tsend(a->ep, big[w->tag], len, NULL, a->peer, w->tag, &done))
			collect(a->txcq);
		while (__atomic_load_n(&done, __ATOMIC_ACQUIRE) < 2) {
			collect(a->txcq);
			collect(b->rxcq);
		}
		if (memcmp(big[w->tag], to[w->tag], len))
			return w;
	}
	return NULL;
}

static void test_threads(void **state)
{
	static const enum fi_progress progress[] = {FI_PROGRESS_MANUAL, FI_PROGRESS_AUTO};

	for (int k = 0; k < 2; k++) {
		const struct fi_rig_attr attr = {.threading = FI_THREAD_SAFE,
						 .progress = progress[k]};
		struct worker workers[THREADS];
		struct fi_rig rig;
		void *error;

		fi_rig_setup(&rig, &attr);
		for (uint64_t i = 0; i < THREADS; i++) {
			workers[i] = (struct worker){.rig = &rig, .tag = i};
			assert_int_equal(
				pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
		}
		for (int i = 0; i < THREADS; i++) {
			pthread_join(workers[i].thread, &error);
			assert_null(error);
		}
		fi_rig_teardown(&rig);
	}
}

static void test_no_waiting(void **state)
{
	const struct fi_rig_attr none = {.cq.wait_obj = FI_WAIT_NONE},
				 fd = {.cq.wait_obj = FI_WAIT_FD};
	struct fi_cq_attr set = {.wait_obj = FI_WAIT_SET};
	struct fi_cq_tagged_entry e;
	struct fid_cq *cq;
	struct fi_rig rig;

	fi_rig_setup(&rig, &none);
	assert_int_equal(fi_cq_sread(rig.a.rxcq, &e, 1, NULL, 0), -FI_ENOSYS);
	assert_int_equal(fi_cq_open(rig.a.domain, &set, &cq, NULL), -FI_ENOSYS);
	fi_rig_teardown(&rig);
	fi_rig_setup(&rig, &fd);
	assert_int_equal(fi_cq_sread(rig.a.rxcq, &e, 1, NULL, 10), -FI_EAGAIN);
	assert_int_equal(fi_cq_signal(rig.a.rxcq), 0);
	/* Comes back, long before this. */
	assert_int_equal(fi_cq_sread(rig.a.rxcq, &e, 1, NULL, -1), -FI_EAGAIN);
	fi_rig_teardown(&rig);
}

/* ---- counters ---- */

static struct fid_cntr *counter;

static void bind_counter(struct fi_side *s)
{
	struct fi_cntr_attr attr = {.wait_obj = FI_WAIT_UNSPEC};

	if (counter)
		return;
	assert_int_equal(fi_cntr_open(s->domain, &attr, &counter, &counter), 0);
	assert_int_equal(fi_ep_bind(s->ep, &counter->fid, FI_RECV), 0);
}

/* A counter that is bound when the endpoint is enabled already; not one of what peers do. */
static void test_late_counter(void **state)
{
	struct fi_cntr_attr attr = {.events = FI_CNTR_EVENTS_COMP};
	struct fid_cntr *cntr;
	struct fi_rig rig;
	char to[8];

	fi_rig_setup(&rig, NULL);
	assert_int_equal(fi_cntr_open(rig.a.domain, &attr, &cntr, NULL), 0);
	assert_int_equal(fi_ep_bind(rig.a.ep, &cntr->fid, FI_REMOTE_WRITE), -FI_EOPBADSTATE);
	assert_int_equal(fi_ep_bind(rig.a.ep, &rig.a.av->fid, 0), -FI_EOPBADSTATE);
	assert_int_equal(fi_ep_bind(rig.a.ep, &cntr->fid, FI_SEND), 0);
	for (uint64_t i = 1; i <= 3; i++) {
		FI_RIG_DO(&rig, fi_recv(rig.b.ep, to, sizeof(to), NULL, FI_ADDR_UNSPEC, to));
		FI_RIG_DO(&rig, fi_send(rig.a.ep, "hello", 6, NULL, rig.a.peer, NULL));
		fi_rig_wait(&rig, rig.b.rxcq);
		fi_rig_wait(&rig, rig.a.txcq);
		assert_int_equal(fi_cntr_read(cntr), i);
	}
	assert_int_equal(fi_close(&rig.a.ep->fid), 0);
	assert_int_equal(fi_close(&cntr->fid), 0);
	assert_int_equal(fi_endpoint(rig.a.domain, rig.info, &rig.a.ep, NULL), 0);
	fi_rig_teardown(&rig);
}

static void test_counter(void **state)
{
	const struct fi_rig_attr attr = {.before_enable = bind_counter};
	struct partner partner = {.rounds = 100};
	struct fi_rig rig;
	char buf[8];

	counter = NULL;
	fi_rig_setup(&rig, &attr);
	partner.rig = &rig;
	assert_int_equal(fi_cntr_wait(counter, 1, 10), -FI_ETIMEDOUT);
	assert_int_equal(pthread_create(&partner.thread, NULL, answer, &partner), 0);
	for (int i = 0; i < partner.rounds; i++) {
		assert_int_equal(fi_recv(rig.a.ep, buf, 8, NULL, FI_ADDR_UNSPEC, NULL), 0);
		assert_int_equal(fi_inject(rig.a.ep, "ping", 5, rig.a.peer), 0);
		assert_int_equal(fi_cntr_wait(counter, (uint64_t)i + 1, PATIENCE_MS), 0);
	}
	pthread_join(partner.thread, NULL);
	assert_int_equal(fi_cntr_read(counter), 100);
	assert_int_equal(fi_cntr_add(counter, 5), 0);
	assert_int_equal(fi_cntr_read(counter), 105);
	assert_int_equal(fi_cntr_set(counter, 1), 0);
	assert_int_equal(fi_recv(rig.a.ep, buf, 8, NULL, FI_ADDR_UNSPEC, buf), 0);
	assert_int_equal(fi_cancel(&rig.a.ep->fid, buf), 0);
	assert_int_equal(fi_cntr_readerr(counter), 1);
	assert_int_equal(fi_cntr_wait(counter, 1, 0), 0);
	assert_int_equal(fi_cntr_seterr(counter, 0), 0);
	assert_int_equal(fi_cntr_readerr(counter), 0);
	assert_int_equal(fi_close(&rig.a.ep->fid), 0);
	assert_int_equal(fi_close(&counter->fid), 0);
	assert_int_equal(fi_endpoint(rig.a.domain, rig.info, &rig.a.ep, NULL), 0);
	fi_rig_teardown(&rig);
}

/* What another thread does just before this one goes to sleep, when it looks at the clock. */
static _Thread_local bool interrupted;

int clock_gettime(clockid_t clock, struct timespec *t)
{
	if (interrupted && clock == CLOCK_MONOTONIC) {
		interrupted = false;
		fi_cntr_add(counter, 1);
		fi_cntr_read(counter);
	}
	return (int)syscall(SYS_clock_gettime, clock, t);
}

static void *wait_counter(void *arg)
{
	interrupted = true;
	*(int *)arg = fi_cntr_wait(counter, 1, -1);
	return NULL;
}

/* Who waits does not miss what another thread has read meanwhile. */
static void test_counter_shared(void **state)
{
	const struct fi_rig_attr attr = {.threading = FI_THREAD_SAFE,
					 .before_enable = bind_counter};
	struct timespec end;
	struct fi_rig rig;
	pthread_t thread;
	int ret = -1;

	counter = NULL;
	/* This one looks at no clock. */
	setenv("UNDERPASS_LANES", "shm", 1);
	fi_rig_setup(&rig, &attr);
	unsetenv("UNDERPASS_LANES");
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += PATIENCE_MS / 1000;
	assert_int_equal(pthread_create(&thread, NULL, wait_counter, &ret), 0);
	assert_int_equal(pthread_timedjoin_np(thread, NULL, &end), 0);
	assert_int_equal(ret, 0);
	assert_int_equal(fi_cntr_read(counter), 1);
	assert_int_equal(fi_close(&rig.a.ep->fid), 0);
	assert_int_equal(fi_close(&counter->fid), 0);
	assert_int_equal(fi_endpoint(rig.a.domain, rig.info, &rig.a.ep, NULL), 0);
	fi_rig_teardown(&rig);
}

/* Waiting for a counter that has nothing to wait on. */
static void test_counter_polls(void **state)
{
	struct fi_cntr_attr attr = {.wait_obj = FI_WAIT_NONE};
	struct fid_cntr *cntr;
	struct fi_rig rig;

	fi_rig_setup(&rig, NULL);
	assert_int_equal(fi_cntr_open(rig.a.domain, &attr, &cntr, NULL), 0);
	assert_int_equal(fi_cntr_wait(cntr, 1, 10), -FI_ETIMEDOUT);
	assert_int_equal(fi_cntr_add(cntr, 1), 0);
	assert_int_equal(fi_cntr_wait(cntr, 1, -1), 0);
	assert_int_equal(fi_close(&cntr->fid), 0);
	fi_rig_teardown(&rig);
}

static void test_poll_set(void **state)
{
	struct fi_poll_attr attr = {0};
	struct fi_rig rig;
	struct fid_poll *set;
	void *found[4];
	char buf[8];
	int n = 0;

	fi_rig_setup(&rig, NULL);
	assert_int_equal(fi_poll_open(rig.b.domain, &attr, &set), 0);
	assert_int_equal(fi_poll_add(set, &rig.b.rxcq->fid, 0), 0);
	assert_int_equal(fi_poll_add(set, &rig.b.txcq->fid, 0), 0);
	assert_int_equal(fi_poll(set, found, 4), 0);
	send_one(&rig, buf);
	for (int i = 0; i < 1000000 && !n; i++)
		n = fi_poll(set, found, 4);
	assert_int_equal(n, 1);
	assert_ptr_equal(found[0], &rig.b);
	assert_int_equal(fi_poll_del(set, &rig.b.rxcq->fid, 0), 0);
	assert_int_equal(fi_poll(set, found, 4), 0);
	assert_int_equal(fi_close(&set->fid), 0);
	fi_rig_teardown(&rig);
}

/* ---- event queues ---- */

static void test_event_queue(void **state)
{
	struct fi_eq_attr attr = {.wait_obj = FI_WAIT_FD, .flags = FI_WRITE};
	struct fi_av_attr av_attr = {.flags = FI_EVENT};
	struct fi_eq_entry e = {.data = 3}, got;
	struct fi_eq_err_entry err = {0};
	uint8_t addr[2 * FI_NAME_MAX] = {0};
	size_t len = FI_NAME_MAX;
	fi_addr_t fi_addr[2];
	struct fi_rig rig;
	struct fid_av *av;
	struct fid_eq *eq;
	uint32_t event;

	fi_rig_setup(&rig, NULL);
	assert_int_equal(fi_eq_open(rig.fabric, &attr, &eq, NULL), 0);
	assert_int_equal(fi_eq_sread(eq, &event, &got, sizeof(got), 10, 0), -FI_EAGAIN);
	assert_int_equal(fi_eq_write(eq, FI_NOTIFY, &e, sizeof(e), 0), sizeof(e));
	assert_int_equal(fi_eq_read(eq, &event, &got, sizeof(got), FI_PEEK), sizeof(got));
	assert_int_equal(fi_eq_sread(eq, &event, &got, sizeof(got), -1, 0), sizeof(got));
	assert_int_equal(event, FI_NOTIFY);
	assert_int_equal(got.data, 3);

	/* Insertions that end by an event: one of an address, one of what is none. */
	assert_int_equal(fi_av_open(rig.a.domain, &av_attr, &av, NULL), 0);
	assert_int_equal(fi_getname(&rig.b.ep->fid, addr, &len), 0);
	assert_int_equal(fi_av_insert(av, addr, 2, fi_addr, 0, &rig), -FI_EINVAL);
	assert_int_equal(fi_av_bind(av, &eq->fid, 0), 0);
	assert_int_equal(fi_av_insert(av, addr, 2, fi_addr, 0, &rig), 0);
	assert_int_equal(fi_eq_read(eq, &event, &got, sizeof(got), 0), -FI_EAVAIL);
	assert_int_equal(fi_eq_readerr(eq, &err, 0), sizeof(err));
	assert_int_equal(err.data, 1);
	assert_int_equal(err.err, FI_EINVAL);
	assert_int_equal(fi_eq_read(eq, &event, &got, sizeof(got), 0), sizeof(got));
	assert_int_equal(event, FI_AV_COMPLETE);
	assert_int_equal(got.data, 1);
	assert_ptr_equal(got.context, &rig);
	assert_int_equal(fi_addr[1], FI_ADDR_NOTAVAIL);
	assert_int_equal(fi_close(&eq->fid), -FI_EBUSY);
	assert_int_equal(fi_close(&av->fid), 0);
	assert_int_equal(fi_close(&eq->fid), 0);
	fi_rig_teardown(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_formats),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_selective),
		cmocka_unit_test(test_waiting),
		cmocka_unit_test(test_no_waiting),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_counter),
		cmocka_unit_test(test_counter_shared),
		cmocka_unit_test(test_late_counter),
		cmocka_unit_test(test_poll_set),
		cmocka_unit_test(test_event_queue),
		cmocka_unit_test(test_counter_polls),
		cmocka_unit_test(test_sleeping_receiver),
		cmocka_unit_test(test_offers_its_processor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
