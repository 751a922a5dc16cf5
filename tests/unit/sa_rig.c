/* SPDX-License-Identifier: BSD-2-Clause */
/* The fixture of sa_rig.h. */
#include "sa_rig.h"

#include "subnet/subnet.h"
#include "unit.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HOUR_US 3600000000u
#define QKEY_GSI 0x80010000u
#define GRH 40
#define SLOT 512
#define SENDS_AT 0
#define RECEIVES_AT (FAKE_DEPTH * SLOT)

const uint8_t sa_broadcast[16] = {0xff, 0x12, 0x40, 0x1b, 0xff, 0xff, 0,    0,
				  0,	0,    0,    0,	  0xff, 0xff, 0xff, 0xff};

struct sa_rig rig;

/* The linker sends every call of clock_gettime() here (meson.build). */
int __real_clock_gettime(clockid_t id, struct timespec *ts);
int __wrap_clock_gettime(clockid_t id, struct timespec *ts);

/*
 * The monotonic clock, ns; atomic. Each look at it takes a moment, for those who stop at a time,
 * and nothing else moves it: however long the machine takes, no wait is over before the test says
 * so. It is years ahead of the real one, so that a worker that sleeps until some time on it sleeps.
 */
static uint64_t now = UINT64_C(1000000000) * SA_SEC;

#define A_LOOK 100

int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
	uint64_t ns;

	if (id != CLOCK_MONOTONIC)
		return __real_clock_gettime(id, ts);
	ns = __atomic_add_fetch(&now, A_LOOK, __ATOMIC_RELAXED);
	ts->tv_sec = (time_t)(ns / SA_SEC);
	ts->tv_nsec = (long)(ns % SA_SEC);
	return 0;
}

void sa_clock_advance(struct sa_guest *g, uint64_t ns)
{
	__atomic_fetch_add(&now, ns, __ATOMIC_RELAXED);
	up_fabric_kick(up_port_by_lid(g->port, 1)->hca->special[1]);
}

static void cq_post(struct up_cq *cq, const struct up_wc *wc)
{
	struct sa_guest *g = NULL;

	for (unsigned i = 0; i < SA_GUESTS; i++) {
		if (rig.guest[i].hca && &rig.guest[i].hca->base == cq->hca)
			g = &rig.guest[i];
	}
	if (!(wc->flags & UP_WC_RECV) || wc->qp != &g->qp[1]->base)
		return;
	g->wc[g->came_count % FAKE_DEPTH] = *wc;
	__atomic_store_n(&g->came_count, g->came_count + 1, __ATOMIC_RELEASE);
	sem_post(&g->came);
}

static const struct up_hca_ops *guest_ops(const struct up_hca_ops *fake)
{
	static struct up_hca_ops ops;

	if (!ops.cq_post) {
		ops = *fake;
		ops.cq_post = cq_post;
	}
	return &ops;
}

static void open_qp(struct sa_guest *g, unsigned special)
{
	struct fake_qp *qp = calloc(1, sizeof(*qp));

	assert_non_null(qp);
	qp->base = (struct up_qp){
		.hca = &g->hca->base,
		.type = UP_QP_UD,
		.special = (uint8_t)special,
		.is_special = true,
		.pdn = FAKE_PD,
		.has_sq = true,
		.has_rq = true,
		.send_cq = &g->hca->cq->base,
		.recv_cq = &g->hca->cq->base,
	};
	g->qp[special] = qp;
	assert_int_equal(up_qp_create(&qp->base), 0);
	qp->base.attr = (struct up_qp_attr){.qkey = QKEY_GSI, .mtu = 4096};
	assert_int_equal(up_qp_modify(&qp->base, UP_QPS_INIT), 0);
	assert_int_equal(up_qp_modify(&qp->base, UP_QPS_RTR), 0);
	assert_int_equal(up_qp_modify(&qp->base, UP_QPS_RTS), 0);
}

static uint64_t receive_at(unsigned index)
{
	return RECEIVES_AT + (uint64_t)(index % FAKE_DEPTH) * SLOT;
}

void sa_guest_attach(struct sa_guest *g)
{
	up_world_stop(rig.fabric);
	g->hca = fake_hca_create(0);
	g->hca->base.ops = guest_ops(g->hca->base.ops);
	sem_init(&g->came, 0, 0);
	g->came_count = g->taken = 0;
	up_port_attach(g->port, &g->hca->base);
	open_qp(g, 0);
	open_qp(g, 1);
	up_world_start(rig.fabric);
	for (unsigned i = 0; i < FAKE_DEPTH; i++)
		fake_recv(g->qp[1], receive_at(i), GRH + 256);
	up_port_set_driver(g->port, true);
}

void sa_guest_create(unsigned i, const char *tenant)
{
	struct sa_guest *g = &rig.guest[i];
	char name[16];

	snprintf(name, sizeof(name), "vm%u", i);
	g->port = up_port_create(rig.fabric, name, tenant, 0);
	assert_non_null(g->port);
	sa_guest_attach(g);
}

void sa_guest_detach(struct sa_guest *g)
{
	up_world_stop(rig.fabric);
	fake_qp_destroy(g->qp[0]);
	fake_qp_destroy(g->qp[1]);
	up_port_detach(g->port);
	fake_hca_destroy(g->hca);
	g->hca = NULL;
	up_world_start(rig.fabric);
	sem_destroy(&g->came);
}

void sa_guest_destroy(struct sa_guest *g)
{
	sa_guest_detach(g);
	up_port_destroy(g->port);
	g->port = NULL;
}

int sa_rig_setup(unsigned workers)
{
	struct up_fabric_config cfg = UP_FABRIC_CONFIG_DEFAULT;

	memset(&rig, 0, sizeof(rig));
	cfg.manager = &up_subnet_manager;
	cfg.workers = workers;
	cfg.spin_us = 0;
	cfg.idle_sleep_us = cfg.deep_sleep_us = HOUR_US;
	rig.fabric = up_fabric_create(&cfg);
	assert_non_null(rig.fabric);
	for (unsigned i = 0; i < 4; i++)
		sa_guest_create(i, i < 3 ? "blue" : "red");
	return 0;
}

int sa_rig_teardown(void **state)
{
	for (unsigned i = 0; i < SA_GUESTS; i++) {
		if (rig.guest[i].port)
			sa_guest_destroy(&rig.guest[i]);
	}
	up_fabric_destroy(rig.fabric);
	up_multi_worker = false;
	return 0;
}

uint8_t *sa_prepare(struct sa_guest *g, uint8_t method, uint16_t attribute, uint64_t mask)
{
	memset(g->mad, 0, sizeof(g->mad));
	g->mad[AT_BASE] = 1;
	g->mad[AT_CLASS] = 3;
	g->mad[AT_CLASS_VERSION] = 2;
	g->mad[AT_METHOD] = method;
	up_put_be64(g->mad + AT_TID, 0x1234000000000000u + ++g->tid);
	up_put_be16(g->mad + AT_ATTRIBUTE, attribute);
	up_put_be64(g->mad + AT_MASK, mask);
	return g->mad + AT_RECORD;
}

struct up_send_wr *sa_send_from(struct sa_guest *g, unsigned qpn, uint32_t bytes)
{
	struct fake_qp *qp = g->qp[qpn];
	uint64_t at = SENDS_AT + (uint64_t)(qp->sq_posted % FAKE_DEPTH) * SLOT;
	struct up_send_wr *wr;

	assert_true(bytes <= SLOT);
	while (qp->sq_posted - __atomic_load_n(&qp->sq_taken, __ATOMIC_ACQUIRE) >= FAKE_DEPTH)
		sched_yield();
	memset(g->hca->ram + at, 0, SLOT);
	memcpy(g->hca->ram + at, g->mad, sizeof(g->mad));
	wr = fake_prepare(qp, UP_OP_SEND, at, bytes);
	wr->flags = 0;
	wr->dest_qpn = qpn;
	wr->dest_qkey = QKEY_GSI;
	wr->av.dlid = 1;
	wr->av.sl = 3;
	return wr;
}

void sa_send(struct sa_guest *g)
{
	sa_send_from(g, 1, 256);
	fake_submit(g->qp[1]);
	up_fabric_kick(&g->qp[1]->base);
}

static void await(sem_t *sem)
{
	struct timespec end;

	__real_clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += 60;
	assert_int_equal(sem_clockwait(sem, CLOCK_MONOTONIC, &end), 0);
}

struct up_wc sa_receive(struct sa_guest *g)
{
	struct up_wc wc;

	await(&g->came);
	/* The race detector does not know sem_clockwait(). */
	assert_true(__atomic_load_n(&g->came_count, __ATOMIC_ACQUIRE) != g->taken);
	wc = g->wc[g->taken++ % FAKE_DEPTH];
	assert_int_equal(wc.status, UP_WC_SUCCESS);
	assert_int_equal(wc.byte_len, GRH + 256);
	assert_int_equal(wc.slid, 1);
	assert_int_equal(wc.src_qpn, 1);
	assert_int_equal(wc.sl, 3);
	memcpy(g->got, g->hca->ram + receive_at(wc.index) + GRH, sizeof(g->got));
	fake_recv(g->qp[1], receive_at(g->qp[1]->rq_posted), GRH + 256);
	return wc;
}

static uint8_t response_to(uint8_t method)
{
	return method == SET ? 0x81 : method | 0x80;
}

unsigned sa_call(struct sa_guest *g)
{
	sa_send(g);
	sa_receive(g);
	assert_memory_equal(g->got, g->mad, AT_METHOD);
	assert_int_equal(g->got[AT_METHOD], response_to(g->mad[AT_METHOD]));
	assert_memory_equal(g->got + AT_TID, g->mad + AT_TID, 8);
	assert_memory_equal(g->got + AT_ATTRIBUTE, g->mad + AT_ATTRIBUTE, 2);
	assert_int_equal(g->got[AT_RMPP_FLAGS] & 1, 0);
	return up_get_be16(g->got + AT_STATUS);
}

void sa_expect_silence(struct sa_guest *g)
{
	sa_prepare(g, GET, CLASS_PORT_INFO, 0);
	assert_int_equal(sa_call(g), OK);
}

void sa_ack(struct sa_guest *g, uint32_t segment, uint32_t window)
{
	memcpy(g->mad, g->got, AT_SM_KEY);
	memset(g->mad + AT_SM_KEY, 0, sizeof(g->mad) - AT_SM_KEY);
	g->mad[AT_METHOD] ^= 0x80;
	g->mad[AT_RMPP_TYPE] = 2;
	g->mad[AT_RMPP_FLAGS] = 1;
	up_put_be32(g->mad + AT_SEGMENT, segment);
	up_put_be32(g->mad + AT_LENGTH, window);
	sa_send(g);
}

/* 13.6.2.1: version 1, type DATA, active; flags of the first and of the last. */
static void check_segment(const struct sa_guest *g, uint32_t segment)
{
	assert_int_equal(up_get_be16(g->got + AT_STATUS), OK);
	assert_int_equal(g->got[AT_METHOD], GET_TABLE | 0x80);
	assert_int_equal(g->got[AT_RMPP_VERSION], 1);
	assert_int_equal(g->got[AT_RMPP_TYPE], 1);
	assert_int_equal(g->got[AT_RMPP_FLAGS] & 3, segment == 1 ? 3 : 1);
	assert_int_equal(up_get_be32(g->got + AT_SEGMENT), segment);
}

uint8_t *sa_call_table(struct sa_guest *g, size_t *records)
{
	size_t bytes = 0, room = 4096, record, all = 0;
	uint8_t *data = malloc(room);
	bool last = false;

	sa_send(g);
	for (uint32_t segment = 1; !last; segment++) {
		size_t n = 200;

		sa_receive(g);
		check_segment(g, segment);
		last = g->got[AT_RMPP_FLAGS] & 4;
		if (segment == 1)
			all = up_get_be32(g->got + AT_LENGTH);
		/* 20 bytes of each are the header from SM_Key on. */
		if (last)
			n = up_get_be32(g->got + AT_LENGTH) - 20;
		assert_true(n <= 200);
		while (bytes + n > room)
			data = realloc(data, room += 4096);
		memcpy(data + bytes, g->got + AT_RECORD, n);
		bytes += n;
		if (last)
			assert_int_equal(all, bytes + segment * 20);
		sa_ack(g, segment, segment + 1);
	}
	record = 8 * (size_t)up_get_be16(g->got + AT_RECORD_WORDS);
	assert_true(record > 0);
	assert_int_equal(bytes % record, 0);
	*records = bytes / record;
	return data;
}

void sa_put_gid(uint8_t *at, const struct sa_guest *g)
{
	memcpy(at, g->port->gid.raw, 16);
}
