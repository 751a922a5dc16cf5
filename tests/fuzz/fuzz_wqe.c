/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libFuzzer target: hostile queue elements, rings and doorbell records of one VM, the attacker,
 * connected to a victim of the same tenant; a stranger of another tenant believes to be connected
 * to the attacker too.
 *
 * What must hold, whatever the input:
 *  - the stranger's memory stays as it is, to the byte;
 *  - nobody's memory changes where no key or receive of fuzz_model.h lets it;
 *  - no request does what the queue pair at the other end does not take;
 *  - a request completes with success only if its copy, taken when the device took it, decodes (by
 *    the decoder here) to what the keys allow, and then the data is the same at both ends;
 *  - a receive completes with success only if it holds the message, and stays as it is behind it.
 *
 * Input: operations, a byte that says which and its arguments, little endian (struct of each
 * below).
 */
#include "fuzz_model.h"
#include "fuzz_watch.h"

enum operation {
	POST, /* QP, opcode, opmod, flags of 8 bits, imm of 32 bits, segments (see add_segment) */
	POKE, /* page of 8 bits, offset of 16 bits, n of 8 bits, n bytes: the attacker's memory */
	RUN,  /* rounds of 8 bits, log2 of ns between them of 8 bits */
	RECEIVE, /* queue of 8 bits, segments */
	ANSWER,	 /* the victim posts: QP, opcode of 8 bits, then as a segment of RADDR, length 16 */
	CONSUME, /* the attacker reads its completions */
	BELL,	 /* place of 16 bits, word of 64 bits: into the attacker's doorbell page */
	NR_OPERATIONS
};

/* Segments of the attacker's elements. Keys and addresses are by name, or RAW of the input. */
enum segment {
	END,
	RAW,	/* 16 bytes */
	DATA,	/* key of 8 bits, offset of 16 bits, length of 16 bits */
	RADDR,	/* key of 8 bits, offset of 16 bits: of the victim */
	INLINE, /* n of 8 bits, n bytes */
	ATOMIC, /* two values of 16 bits */
	AV,	/* QP, LID of 8 bits, flags of 8 bits (1: extended, 2: GRH, 4: multicast) */
	XRC,	/* SRQ of 8 bits */
	NR_SEGMENTS
};

enum { MAX_OPERATIONS = 96, MAX_SEGMENTS = 16, MAX_ROUNDS = 16, WQE_BYTES = 1024 };

static const uint8_t group[16] = {0xff, 0x12, 0x40, 0x1b, [15] = 1};

static struct model_vm vms[NR_VMS];
static struct watch watch;
static uint16_t sq_posted[NR_VMS][NR_QPS];
static uint16_t rq_posted[NR_QUEUES];

struct wqe {
	uint8_t bytes[WQE_BYTES];
	uint32_t len;
};

static uint8_t *add(struct wqe *w, uint32_t len)
{
	uint8_t *at = w->bytes + w->len;

	if (w->len + len > CX_CTRL_DS_MASK * CX_WQE_DS)
		return NULL;
	memset(at, 0, len);
	w->len += len;
	return at;
}

/* A segment that names a key of `m`. */
static void add_reference(struct wqe *w, const struct model_vm *m, struct fuzz_input *in, bool data)
{
	const struct model_key *key = &m->key[fuzz_u8(in) % NR_KEYS];
	uint64_t addr = key->made.start + (uint64_t)(int16_t)fuzz_u16(in);
	uint8_t *seg = add(w, CX_WQE_DS);

	if (!seg)
		return;
	if (data) {
		up_put_be32(seg, fuzz_u16(in));
		up_put_be32(seg + 4, key->key);
		up_put_be64(seg + 8, addr);
	} else {
		up_put_be64(seg, addr);
		up_put_be32(seg + 8, key->key);
	}
}

static void add_inline(struct wqe *w, struct fuzz_input *in)
{
	uint32_t n = fuzz_u8(in);
	const uint8_t *bytes = fuzz_take(in, n);
	uint8_t *seg = bytes ? add(w, (4 + n + CX_WQE_DS - 1) & ~(CX_WQE_DS - 1)) : NULL;

	if (!seg)
		return;
	up_put_be32(seg, CX_INLINE | n);
	memcpy(seg + 4, bytes, n);
}

static void add_av(struct wqe *w, struct fuzz_input *in)
{
	uint8_t qp = fuzz_u8(in), lid = fuzz_u8(in), flags = fuzz_u8(in);
	struct cx_wqe_av *av = (void *)add(w, flags & 1 ? sizeof(*av) : CX_AV_BASE_SIZE);
	uint32_t dqp = watch.qpn[VICTIM][qp % NR_QPS];

	if (!av)
		return;
	if (flags & 4)
		dqp = UP_MULTICAST_QPN;
	av->qkey = htobe32(FUZZ_QKEY);
	av->dqp = htobe32((flags & 1 ? CX_AV_EXTENDED : 0u) | dqp);
	av->rlid = htobe16(flags & 4 ? UP_LID_MULTICAST : vms[lid % NR_VMS].vm.port->lid);
	if (!(flags & 1))
		return;
	av->grh_gid_fl = htobe32(flags & 2 ? CX_AV_GRH : 0);
	memcpy(av->rgid, flags & 4 ? group : vms[lid % NR_VMS].vm.port->gid.raw, sizeof(av->rgid));
}

/* False at the end of the list. */
static bool add_segment(struct wqe *w, struct fuzz_input *in)
{
	const uint8_t *raw;
	uint8_t *seg;

	switch (fuzz_u8(in) % NR_SEGMENTS) {
	case RAW:
		raw = fuzz_take(in, CX_WQE_DS);
		seg = raw ? add(w, CX_WQE_DS) : NULL;
		if (seg)
			memcpy(seg, raw, CX_WQE_DS);
		return seg;
	case DATA:
		add_reference(w, &vms[ATTACKER], in, true);
		return true;
	case RADDR:
		add_reference(w, &vms[VICTIM], in, false);
		return true;
	case INLINE:
		add_inline(w, in);
		return true;
	case ATOMIC:
		seg = add(w, CX_WQE_DS);
		if (seg) {
			up_put_be64(seg, fuzz_u16(in));
			up_put_be64(seg + 8, fuzz_u16(in));
		}
		return seg;
	case AV:
		add_av(w, in);
		return true;
	case XRC:
		seg = add(w, CX_WQE_DS);
		if (seg)
			up_put_be32(seg, watch.srqn[VICTIM][fuzz_u8(in) % 2]);
		return seg;
	default:
		return false;
	}
}

/* Puts an element in the ring, the number of blocks in the record, and rings. */
static void ring(enum vm_name who, unsigned qp, const struct wqe *w)
{
	struct fuzz_vm *vm = &vms[who].vm;
	uint8_t *bell = vm->dev->uar_mem + vm->uar * CX_UAR_PAGE_SIZE + CX_UAR_BF_OFFSET;
	uint16_t *posted = &sq_posted[who][qp];

	for (uint32_t done = 0; done < w->len; done += CX_WQE_BB) {
		uint32_t slot = *posted % (1u << FUZZ_LOG_SQ);
		uint32_t n = w->len - done < CX_WQE_BB ? w->len - done : CX_WQE_BB;

		watch_store(&watch, who,
			    fuzz_at(vm, FUZZ_QP + qp, FUZZ_SQ_OFFSET + slot * CX_WQE_BB),
			    w->bytes + done, n);
		(*posted)++;
	}
	watch_store_be32(&watch, who, fuzz_record(vm, 1 + qp) + 4, *posted);
	memcpy(bell, w->bytes, sizeof(uint64_t));
}

static void begin(struct wqe *w, enum vm_name who, unsigned qp, uint8_t opcode)
{
	struct cx_wqe_ctrl *ctrl = (void *)w->bytes;

	memset(ctrl, 0, sizeof(*ctrl));
	ctrl->opmod_idx_opcode = htobe32((uint32_t)sq_posted[who][qp] << 8 | opcode);
	ctrl->fm_ce_se = CX_CTRL_CE_CQE;
	w->len = sizeof(*ctrl);
}

static void end(struct wqe *w, enum vm_name who, unsigned qp)
{
	struct cx_wqe_ctrl *ctrl = (void *)w->bytes;

	ctrl->qpn_ds = htobe32(watch.qpn[who][qp] << CX_CTRL_QPN_SHIFT | w->len / CX_WQE_DS);
	ring(who, qp, w);
}

static void post(struct fuzz_input *in)
{
	unsigned qp = fuzz_u8(in) % NR_QPS;
	struct wqe w;
	struct cx_wqe_ctrl *ctrl = (void *)w.bytes;

	if (qp == QP_XRC_TARGET)
		return;
	begin(&w, ATTACKER, qp, fuzz_u8(in));
	ctrl->opmod_idx_opcode |= htobe32((uint32_t)fuzz_u8(in) << 24);
	ctrl->fm_ce_se ^= fuzz_u8(in);
	ctrl->imm = htobe32(fuzz_u32(in));
	for (unsigned i = 0; i < MAX_SEGMENTS && add_segment(&w, in); i++)
		;
	end(&w, ATTACKER, qp);
}

static void poke(struct fuzz_input *in)
{
	unsigned page = FUZZ_RECORDS + fuzz_u8(in) % (FUZZ_PAGES - FUZZ_RECORDS);
	uint32_t off = fuzz_u16(in) % FUZZ_PAGE, n = fuzz_u8(in);
	const uint8_t *bytes;

	if (n > FUZZ_PAGE - off)
		n = FUZZ_PAGE - off;
	bytes = fuzz_take(in, n);
	if (bytes)
		watch_store(&watch, ATTACKER, fuzz_at(&vms[ATTACKER].vm, page, off), bytes, n);
}

/* The attacker posts a receive, of any segments. */
static void receive(struct fuzz_input *in)
{
	unsigned q = fuzz_u8(in) % NR_QUEUES;
	struct fuzz_vm *vm = &vms[ATTACKER].vm;
	struct wqe w = {.len = 0};
	bool shared = q >= QUEUE_SRQ;
	uint32_t head = shared ? sizeof(struct cx_wqe_srq_next) : 0;
	uint32_t room = (1u << FUZZ_LOG_RQ_STRIDE) - head;
	uint8_t *at = watch_receive_at(&watch, ATTACKER, q, rq_posted[q]);

	for (unsigned i = 0; i < MAX_SEGMENTS && add_segment(&w, in); i++)
		;
	watch_store(&watch, ATTACKER, at + head, w.bytes, w.len < room ? w.len : room);
	rq_posted[q]++;
	watch_store_be32(&watch, ATTACKER, fuzz_record(vm, watch_record(q)), rq_posted[q]);
}

/* The victim is a good citizen: it uses its own keys well, and asks of the attacker what it may. */
static void answer(struct fuzz_input *in)
{
	static const uint8_t opcodes[] = {CX_OP_SEND,	   CX_OP_SEND_IMM,	 CX_OP_RDMA_WRITE,
					  CX_OP_RDMA_READ, CX_OP_RDMA_WRITE_IMM, CX_OP_ATOMIC_FA,
					  CX_OP_SEND_INVAL};
	unsigned qp = fuzz_u8(in) % NR_QPS;
	uint8_t op = opcodes[fuzz_u8(in) % sizeof(opcodes)];
	bool one_sided = op >= CX_OP_RDMA_WRITE && op != CX_OP_SEND && op != CX_OP_SEND_IMM;
	struct wqe w;
	uint8_t *seg;

	if (qp == QP_XRC_TARGET || qp == QP_UD)
		return;
	begin(&w, VICTIM, qp, op);
	if (qp == QP_XRC)
		up_put_be32(add(&w, CX_WQE_DS), watch.srqn[ATTACKER][1]);
	if (one_sided)
		add_reference(&w, &vms[ATTACKER], in, false);
	if (op == CX_OP_ATOMIC_FA)
		up_put_be64(add(&w, CX_WQE_DS), 1);
	seg = add(&w, CX_WQE_DS);
	up_put_be32(seg, op == CX_OP_ATOMIC_FA ? 8 : fuzz_u16(in) % (4 * FUZZ_PAGE));
	up_put_be32(seg + 4, vms[VICTIM].key[KEY_ALL].key);
	up_put_be64(seg + 8, vms[VICTIM].key[KEY_ALL].made.start);
	end(&w, VICTIM, qp);
}

/* As a driver does that has read all completions. */
static void consume(enum vm_name who)
{
	const struct cx_cq *cq = up_table_get(&vms[who].vm.dev->cqs, vms[who].vm.cqn);

	watch_store_be32(&watch, who, fuzz_record(&vms[who].vm, 0), cq->producer & 0xffffff);
}

static void bell(struct fuzz_input *in)
{
	struct fuzz_vm *vm = &vms[ATTACKER].vm;
	uint32_t at = fuzz_u16(in) % (CX_UAR_PAGE_SIZE - 8);
	uint64_t word = fuzz_number(in, 8);

	memcpy(vm->dev->uar_mem + vm->uar * CX_UAR_PAGE_SIZE + at, &word, sizeof(word));
}

static void play(struct fuzz_input *in)
{
	unsigned rounds, shift;

	switch (fuzz_u8(in) % NR_OPERATIONS) {
	case POST:
		post(in);
		break;
	case POKE:
		poke(in);
		break;
	case RUN:
		rounds = fuzz_u8(in) % MAX_ROUNDS + 1;
		shift = fuzz_u8(in) % 28;
		fuzz_run(rounds, 1ull << shift);
		consume(VICTIM);
		break;
	case RECEIVE:
		receive(in);
		break;
	case ANSWER:
		answer(in);
		break;
	case CONSUME:
		consume(ATTACKER);
		break;
	default:
		bell(in);
	}
}

static void make_objects(enum vm_name who)
{
	static const uint8_t service[NR_QPS] = {
		[QP_RC] = CX_QPST_RC,	    [QP_RC_SRQ] = CX_QPST_RC, [QP_UC] = CX_QPST_UC,
		[QP_UD] = CX_QPST_UD,	    [QP_XRC] = CX_QPST_XRC,   [QP_XRC_TARGET] = CX_QPST_XRC,
		[QP_STRANGER] = CX_QPST_RC,
	};
	struct fuzz_vm *vm = &vms[who].vm;
	uint32_t xrcd;

	fuzz_vm_start(vm);
	model_make_keys(&vms[who]);
	xrcd = fuzz_vm_alloc(vm, CX_CMD_ALLOC_XRCD);
	watch.srqn[who][0] = fuzz_vm_srq(vm, 0, 0);
	watch.srqn[who][1] = fuzz_vm_srq(vm, 1, xrcd);
	for (unsigned i = 0; i < NR_QPS; i++) {
		const struct fuzz_qp qp = {
			.service = service[i],
			.no_sq = i == QP_XRC_TARGET,
			.srqn = i == QP_RC_SRQ ? watch.srqn[who][0] : 0,
			.xrcd = i == QP_XRC_TARGET ? xrcd : 0,
		};

		watch.qpn[who][i] = fuzz_vm_qp(vm, i, &qp);
	}
	fuzz_vm_join(vm, watch.qpn[who][QP_UD], group);
}

/* The numbers are the same in each, so the stranger's answer would be believed if it came. */
static void connect_to(enum vm_name who, enum vm_name peer)
{
	for (unsigned i = 0; i < NR_QPS; i++) {
		unsigned other = i == QP_XRC ? QP_XRC_TARGET : i == QP_XRC_TARGET ? QP_XRC : i;
		enum vm_name to = i == QP_STRANGER && who == ATTACKER ? STRANGER : peer;

		fuzz_vm_connect(&vms[who].vm, watch.qpn[who][i], vms[to].vm.port->lid,
				watch.qpn[to][other], watch_rights(who, i));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const tenants[NR_VMS] = {"one", "one", "two"};
	static const char *const names[NR_VMS] = {"attacker", "victim", "stranger"};
	struct fuzz_input in = {data, size};

	memset(sq_posted, 0, sizeof(sq_posted));
	memset(rq_posted, 0, sizeof(rq_posted));
	fuzz_world_create();
	watch_init(&watch, vms);
	for (unsigned i = 0; i < NR_VMS; i++) {
		fuzz_vm_create(&vms[i].vm, names[i], tenants[i]);
		make_objects(i);
	}
	connect_to(ATTACKER, VICTIM);
	connect_to(VICTIM, ATTACKER);
	connect_to(STRANGER, ATTACKER);
	watch_begin(&watch);
	for (unsigned i = 0; i < MAX_OPERATIONS && in.left; i++)
		play(&in);
	fuzz_run(MAX_ROUNDS, 1 << 20);
	watch_end(&watch);
	for (unsigned i = 0; i < NR_VMS; i++)
		fuzz_vm_destroy(&vms[i].vm);
	fuzz_world_destroy();
	return 0;
}
