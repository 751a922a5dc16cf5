/* SPDX-License-Identifier: BSD-2-Clause */
/* The witness (fuzz_watch.h). */
#include "fuzz_watch.h"

#include "fuzz_wire.h"

static struct watch *watch;
static const struct up_hca_ops *device_ops;

static enum vm_name vm_of(const struct up_hca *hca)
{
	unsigned who = 0;

	while (&watch->vms[who].vm.dev->hca != hca)
		who++;
	return who;
}

static enum qp_name qp_of(enum vm_name who, const struct up_qp *qp)
{
	unsigned i = 0;

	while (watch->qpn[who][i] != qp->qpn)
		i++;
	return i;
}

uint8_t watch_rights(enum vm_name who, enum qp_name qp)
{
	return who == VICTIM && (qp == QP_UC || qp == QP_RC_SRQ) ? CX_MKEY_RR : FUZZ_RIGHTS;
}

static enum queue_name queue_of(enum qp_name qp)
{
	static const enum queue_name queues[NR_QPS] = {
		[QP_RC] = QUEUE_RC,	   [QP_RC_SRQ] = QUEUE_SRQ, [QP_UC] = QUEUE_UC,
		[QP_UD] = QUEUE_UD,	   [QP_XRC] = NR_QUEUES,    [QP_XRC_TARGET] = QUEUE_XRC,
		[QP_STRANGER] = NR_QUEUES,
	};

	return queues[qp];
}

static enum qp_name owner_of(enum queue_name q)
{
	static const enum qp_name qps[] = {QP_RC, QP_UC, QP_UD};

	return qps[q];
}

void watch_store(struct watch *w, enum vm_name who, uint8_t *at, const void *bytes, size_t n)
{
	w->epoch++;
	memcpy(at, bytes, n);
	memcpy(w->shadow[who] + (at - w->vms[who].vm.ram), bytes, n);
}

void watch_store_be32(struct watch *w, enum vm_name who, uint8_t *at, uint32_t value)
{
	uint8_t word[4];

	up_put_be32(word, value);
	watch_store(w, who, at, word, sizeof(word));
}

uint8_t *watch_receive_at(const struct watch *w, enum vm_name who, enum queue_name q, unsigned n)
{
	unsigned page = q >= QUEUE_SRQ ? FUZZ_SRQ + (unsigned)(q - QUEUE_SRQ)
				       : FUZZ_QP + (unsigned)owner_of(q);

	return fuzz_at(&w->vms[who].vm, page, n % WATCH_RECEIVES << FUZZ_LOG_RQ_STRIDE);
}

unsigned watch_record(enum queue_name q)
{
	return q >= QUEUE_SRQ ? 40 + (unsigned)(q - QUEUE_SRQ) : 1 + (unsigned)owner_of(q);
}

static int sq_fetch(struct up_qp *qp, struct up_send_wr *wr)
{
	uint16_t at = cx_qp(qp)->sq_consumer;
	enum vm_name who = vm_of(qp->hca);
	enum qp_name i = qp_of(who, qp);
	struct watch_request *r = &watch->request[who][i];
	const struct fuzz_vm *vm = &watch->vms[who].vm;
	int got = device_ops->sq_fetch(qp, wr);

	CHECK(got <= 0 || who != STRANGER);
	if (got != 1)
		return got;
	for (unsigned k = 0; k < sizeof(r->bytes) / CX_WQE_BB; k++, at++) {
		uint32_t off = FUZZ_SQ_OFFSET + at % (1u << FUZZ_LOG_SQ) * CX_WQE_BB;

		memcpy(r->bytes + k * CX_WQE_BB, fuzz_at(vm, FUZZ_QP + i, off), CX_WQE_BB);
	}
	r->len = (up_get_be32(r->bytes + 4) & CX_CTRL_DS_MASK) * CX_WQE_DS;
	r->epoch = ++watch->epoch;
	return got;
}

static void remember_receive(enum vm_name who, enum queue_name q, uint16_t index)
{
	struct watch_receive *r = &watch->receive[who][q];
	uint32_t head = q >= QUEUE_SRQ ? sizeof(struct cx_wqe_srq_next) : 0;

	CHECK(who != STRANGER && q < NR_QUEUES);
	r->len = sizeof(r->bytes) - head;
	memcpy(r->bytes, watch_receive_at(watch, who, q, index) + head, r->len);
	if (who != VICTIM)
		return;
	/* Each was posted once. */
	CHECK(index < WATCH_RECEIVES && !watch->slot[q][index].taken);
	watch->slot[q][index].taken = true;
}

static int rq_take(struct up_qp *qp, struct up_recv_wr *wr)
{
	enum vm_name who = vm_of(qp->hca);
	int got = device_ops->rq_take(qp, wr);

	if (got == 1)
		remember_receive(who, queue_of(qp_of(who, qp)), wr->index);
	return got;
}

static int srq_take(struct up_srq *srq, struct up_recv_wr *wr)
{
	enum vm_name who = vm_of(srq->hca);
	int got = device_ops->srq_take(srq, wr);

	if (got == 1)
		remember_receive(who, srq->xrc ? QUEUE_XRC : QUEUE_SRQ, wr->index);
	return got;
}

/* Of whom the key of a window says nothing that the model could know. */
static bool is_unknown(enum vm_name who, uint32_t key)
{
	return who == ATTACKER && model_is_window(&watch->vms[who], key);
}

/*
 * The first `len` bytes of the pieces may be used so. False when a window is among them: what that
 * leads to is not known.
 */
static bool check_pieces(enum vm_name who, const struct wire *w, uint8_t access, uint64_t len)
{
	bool known = true;

	for (unsigned i = 0; i < w->npieces && len; i++) {
		const struct wire_piece *p = &w->piece[i];
		uint64_t n = p->len < len ? p->len : len;

		len -= n;
		if (!n)
			continue;
		if (p->inlined)
			CHECK(access == CX_MKEY_LR);
		else if (is_unknown(who, p->key))
			known = false;
		else
			CHECK(model_allows(&watch->vms[who], p->key, access, p->addr, n));
	}
	CHECK(!len);
	return known;
}

static uint8_t local_byte(enum vm_name who, const struct wire *w, uint64_t at)
{
	const struct wire_piece *p = w->piece;

	while (at >= p->len)
		at -= p++->len;
	return p->inlined ? p->inlined[at] : *model_byte(&watch->vms[who], p->key, p->addr + at);
}

static unsigned pieces_in_use(const struct wire *w)
{
	unsigned n = 0;

	for (unsigned i = 0; i < w->npieces; i++)
		n += w->piece[i].len != 0;
	return n;
}

/* A one-sided request that nothing came in between has the same bytes at both ends. */
static void check_data(enum vm_name who, const struct wire *w, const struct model_vm *peer)
{
	/* Where a READ puts a byte at two places that are one, the last one counts. */
	if (w->is_atomic || (w->is_read && pieces_in_use(w) > 1))
		return;
	for (uint64_t i = 0; i < w->length; i++)
		CHECK(local_byte(who, w, i) == *model_byte(peer, w->rkey, w->raddr + i));
}

static void check_request(enum vm_name who, enum qp_name qp)
{
	static const uint8_t rights[] = {CX_MKEY_RW, CX_MKEY_RR, CX_MKEY_A};
	const struct watch_request *r = &watch->request[who][qp];
	enum vm_name to = who == ATTACKER ? VICTIM : ATTACKER;
	uint8_t right;
	uint64_t crossing;
	struct wire w;
	bool known;

	CHECK(wire_decode(&w, r->bytes, r->len, qp == QP_UD, qp == QP_XRC));
	if (w.is_local)
		return;
	CHECK(qp != QP_STRANGER);
	CHECK(w.length <= (qp == QP_UD ? UP_MTU_BYTES : UP_MAX_MSG_BYTES));
	crossing = w.is_atomic ? 8 : w.length;
	known = check_pieces(who, &w, w.is_read || w.is_atomic ? CX_MKEY_LW : CX_MKEY_LR, crossing);
	if (!w.one_sided || qp == QP_UC)
		return;
	right = rights[w.is_atomic ? 2 : w.is_read ? 1 : 0];
	CHECK(watch_rights(to, qp == QP_XRC ? QP_XRC_TARGET : qp) & right);
	if (!crossing)
		return;
	CHECK(!w.is_atomic || w.raddr % 8 == 0);
	if (is_unknown(to, w.rkey))
		return;
	CHECK(model_allows(&watch->vms[to], w.rkey, right, w.raddr, crossing));
	if (known && r->epoch == watch->epoch)
		check_data(who, &w, &watch->vms[to]);
}

static enum vm_name vm_at(uint16_t lid)
{
	unsigned who = 0;

	while (watch->vms[who].vm.port->lid != lid)
		who++;
	return who;
}

/* What arrived in the pieces of `to` is what was sent, and all of it. */
static void check_arrival(enum vm_name who, const struct wire *to, const struct up_wc *wc)
{
	uint32_t head = wc->qp->type == UP_QP_UD ? UP_GRH_BYTES : 0;
	enum vm_name from = vm_at(wc->slid);
	unsigned qp = 0;
	const struct watch_request *r;
	struct wire w;

	while (watch->qpn[from][qp] != wc->src_qpn)
		qp++;
	r = &watch->request[from][qp];
	CHECK(from != STRANGER && wire_decode(&w, r->bytes, r->len, qp == QP_UD, qp == QP_XRC));
	CHECK(!w.is_local && !w.one_sided && wc->byte_len == w.length + head);
	if (!check_pieces(from, &w, CX_MKEY_LR, w.length) || r->epoch != watch->epoch)
		return;
	for (uint64_t i = 0; i < w.length; i++)
		CHECK(local_byte(from, &w, i) == local_byte(who, to, head + i));
}

static void check_receive(enum vm_name who, const struct up_wc *wc)
{
	enum queue_name q =
		wc->srq ? wc->srq->xrc ? QUEUE_XRC : QUEUE_SRQ : queue_of(qp_of(who, wc->qp));
	bool success = wc->status == UP_WC_SUCCESS, uses_memory = wc->op != UP_OP_WRITE_IMM;
	struct wire w;

	CHECK(q < NR_QUEUES);
	CHECK(!success || uses_memory || watch_rights(who, qp_of(who, wc->qp)) & CX_MKEY_RW);
	if (success && uses_memory) {
		wire_decode_list(&w, watch->receive[who][q].bytes, watch->receive[who][q].len);
		if (check_pieces(who, &w, CX_MKEY_LW, wc->byte_len) && who == VICTIM)
			check_arrival(who, &w, wc);
	}
	if (who == VICTIM) {
		struct watch_slot *s = &watch->slot[q][wc->index];

		CHECK(wc->index < WATCH_RECEIVES && s->taken && !s->completed);
		s->completed = true;
		s->success = success;
		s->len = uses_memory ? wc->byte_len : 0;
	}
}

static void cq_post(struct up_cq *cq, const struct up_wc *wc)
{
	enum vm_name who = vm_of(wc->qp->hca);

	CHECK(who != STRANGER);
	if (wc->flags & UP_WC_RECV)
		check_receive(who, wc);
	else if (wc->status == UP_WC_SUCCESS)
		check_request(who, qp_of(who, wc->qp));
	device_ops->cq_post(cq, wc);
}

void watch_init(struct watch *w, struct model_vm *vms)
{
	memset(w->request, 0, sizeof(w->request));
	memset(w->receive, 0, sizeof(w->receive));
	memset(w->slot, 0, sizeof(w->slot));
	w->vms = vms;
	watch = w;
}

/* In two pieces, of different lengths, and the rest of the element says that there is no more. */
static void post_receive(struct watch *w, enum vm_name who, enum queue_name q, unsigned n)
{
	const struct model_key *key = &w->vms[who].key[KEY_LOCAL];
	uint32_t len = WATCH_SLOT - n % 4 * 8, first = n * 3 % len;
	uint8_t *at = watch_receive_at(w, who, q, n);
	struct cx_wqe_data data[3] = {
		{htobe32(first), htobe32(key->key), 0},
		{htobe32(len - first), htobe32(key->key), 0},
		{0, htobe32(CX_INVALID_LKEY), 0},
	};
	uint64_t addr = key->made.start + ((uint64_t)q * WATCH_RECEIVES + n) * WATCH_SLOT;

	data[0].addr = htobe64(addr);
	data[1].addr = htobe64(addr + first);
	if (q >= QUEUE_SRQ) {
		up_put_be16(at + 2, (uint16_t)((n + 1) % WATCH_RECEIVES));
		at += sizeof(struct cx_wqe_srq_next);
	}
	memcpy(at, data, sizeof(data));
}

/* Memory behind the rings has a pattern, made once, so that a copy to a wrong place shows. */
static void fill_memory(struct watch *w, enum vm_name who)
{
	static uint8_t pattern[NR_VMS][FUZZ_RAM - FUZZ_FREE * FUZZ_PAGE];
	static bool made;
	uint8_t *ram = w->vms[who].vm.ram;

	for (uint32_t i = 0; !made && i < sizeof(pattern); i++)
		pattern[i / sizeof(pattern[0])][i % sizeof(pattern[0])] =
			(uint8_t)(i * 7 + (i >> 8));
	made = true;
	memcpy(ram + FUZZ_FREE * FUZZ_PAGE, pattern[who], sizeof(pattern[who]));
	memcpy(w->shadow[who], ram, FUZZ_RAM);
}

void watch_begin(struct watch *w)
{
	static struct up_hca_ops ops;

	for (unsigned who = 0; who < NR_VMS; who++) {
		struct fuzz_vm *vm = &w->vms[who].vm;

		for (unsigned q = 0; q < NR_QUEUES && who != ATTACKER; q++) {
			for (unsigned n = 0; n < WATCH_RECEIVES; n++)
				post_receive(w, who, q, n);
			up_put_be32(fuzz_record(vm, watch_record(q)), WATCH_RECEIVES);
		}
		device_ops = vm->dev->hca.ops;
		fill_memory(w, who);
	}
	ops = *device_ops;
	ops.sq_fetch = sq_fetch;
	ops.rq_take = rq_take;
	ops.srq_take = srq_take;
	ops.cq_post = cq_post;
	for (unsigned who = 0; who < NR_VMS; who++)
		w->vms[who].vm.dev->hca.ops = &ops;
}

/* The victim's KEY_LOCAL: receives, and behind them what KEY_LIST has of it. */
static bool may_have_changed(const struct watch *w, uint32_t at)
{
	const struct watch_slot *s;

	if (at >= NR_QUEUES * WATCH_RECEIVES * WATCH_SLOT)
		return at >= 5900;
	s = &w->slot[at / WATCH_SLOT / WATCH_RECEIVES][at / WATCH_SLOT % WATCH_RECEIVES];
	/* An unreliable message that was cut short leaves its receive to the next one. */
	if (s->success && at / WATCH_SLOT / WATCH_RECEIVES != QUEUE_UC)
		return at % WATCH_SLOT < s->len;
	return s->taken;
}

static void check_byte(const struct watch *w, enum vm_name who, uint32_t off)
{
	const struct model_vm *m = &w->vms[who];
	uint32_t local =
		(uint32_t)(model_byte(m, m->key[KEY_LOCAL].key, m->key[KEY_LOCAL].made.start) -
			   m->vm.ram);

	CHECK(who != STRANGER && model_writable(m, off));
	if (who == VICTIM && off >= local && off - local < LOCAL_BYTES)
		CHECK(may_have_changed(w, off - local));
}

void watch_end(struct watch *w)
{
	for (unsigned who = 0; who < NR_VMS; who++) {
		const uint8_t *ram = w->vms[who].vm.ram, *shadow = w->shadow[who];

		w->vms[who].vm.dev->hca.ops = device_ops;
		for (uint32_t page = 0; page < FUZZ_RAM; page += FUZZ_PAGE) {
			if (!memcmp(ram + page, shadow + page, FUZZ_PAGE))
				continue;
			for (uint32_t i = page; i < page + FUZZ_PAGE; i++) {
				if (ram[i] != shadow[i])
					check_byte(w, who, i);
			}
		}
	}
}
