/* SPDX-License-Identifier: BSD-2-Clause */
/* Atomics: the functions of fi_atomic(3). */
#include "op.h"

/* libfabric names the comparisons from the operand's side, libunderpass from the target's. */
static const enum up_atomic_op ops_of[] = {
	[FI_MIN] = UP_ATOMIC_MIN,	    [FI_MAX] = UP_ATOMIC_MAX,
	[FI_SUM] = UP_ATOMIC_SUM,	    [FI_PROD] = UP_ATOMIC_PROD,
	[FI_LOR] = UP_ATOMIC_LOR,	    [FI_LAND] = UP_ATOMIC_LAND,
	[FI_BOR] = UP_ATOMIC_BOR,	    [FI_BAND] = UP_ATOMIC_BAND,
	[FI_LXOR] = UP_ATOMIC_LXOR,	    [FI_BXOR] = UP_ATOMIC_BXOR,
	[FI_ATOMIC_READ] = UP_ATOMIC_READ,  [FI_ATOMIC_WRITE] = UP_ATOMIC_WRITE,
	[FI_CSWAP] = UP_ATOMIC_CSWAP,	    [FI_CSWAP_NE] = UP_ATOMIC_CSWAP_NE,
	[FI_CSWAP_LE] = UP_ATOMIC_CSWAP_GE, [FI_CSWAP_LT] = UP_ATOMIC_CSWAP_GT,
	[FI_CSWAP_GE] = UP_ATOMIC_CSWAP_LE, [FI_CSWAP_GT] = UP_ATOMIC_CSWAP_LT,
	[FI_MSWAP] = UP_ATOMIC_MSWAP,
};

static const enum up_atomic_type types_of[] = {
	[FI_INT8] = UP_INT8,	 [FI_UINT8] = UP_UINT8,	  [FI_INT16] = UP_INT16,
	[FI_UINT16] = UP_UINT16, [FI_INT32] = UP_INT32,	  [FI_UINT32] = UP_UINT32,
	[FI_INT64] = UP_INT64,	 [FI_UINT64] = UP_UINT64, [FI_FLOAT] = UP_FLOAT,
	[FI_DOUBLE] = UP_DOUBLE,
};

/* Which of the three kinds of functions. */
enum kind { BASE, FETCH, COMPARE };

static bool is_valid(enum fi_datatype datatype, enum fi_op op, enum kind kind)
{
	if ((unsigned)datatype >= UP_ARRAY_SIZE(types_of) ||
	    (unsigned)op >= UP_ARRAY_SIZE(ops_of) || (kind == COMPARE) != (op >= FI_CSWAP))
		return false;
	return up_atomic_valid(ops_of[op], types_of[datatype], kind != BASE);
}

/* ---- pieces ---- */

/* Operands in one piece: where they are, or gathered into `room`. NULL: there are too many. */
static const void *gather(const struct fi_ioc *ioc, size_t n, size_t size, size_t *count,
			  uint8_t *room)
{
	size_t at = 0;

	if (n == 1) {
		*count = ioc[0].count;
		return ioc[0].addr;
	}
	for (size_t i = 0; i < n; i++) {
		if (ioc[i].count > UP_ATOMIC_MAX_COUNT - at)
			return NULL;
		memcpy(room + at * size, ioc[i].addr, ioc[i].count * size);
		at += ioc[i].count;
	}
	*count = at;
	return room;
}

/* Old values that go to several places, when they have come. */
struct scatter {
	struct upf_op *op;
	size_t size;
	size_t n;
	struct fi_ioc to[UP_IOV_MAX];
	uint64_t values[UP_ATOMIC_MAX_COUNT];
};

static_assert(sizeof(struct scatter) <= UP_INJECT_MAX, "fits an operation's memory");

static void scattered(void *ctx, int status, size_t bytes)
{
	struct scatter *s = ctx;
	const uint8_t *from = (const uint8_t *)s->values;

	for (size_t i = 0; !status && i < s->n; i++) {
		memcpy(s->to[i].addr, from, s->to[i].count * s->size);
		from += s->to[i].count * s->size;
	}
	/* This memory ends with the operation. */
	upf_op_done(s->op, status, bytes);
}

/* ---- starting ---- */

struct call {
	enum kind kind;
	const struct fi_ioc *ioc;
	size_t n;
	const struct fi_ioc *compare;
	size_t ncompare;
	const struct fi_ioc *result;
	size_t nresult;
	fi_addr_t peer;
	/* With one remote piece as long as the elements, or as many as a message has. */
	uint64_t addr;
	uint64_t key;
	const struct fi_rma_ioc *remote;
	size_t nremote;
	enum fi_datatype datatype;
	enum fi_op op;
	void *ctx;
	uint64_t flags;
	bool report;
};

/* The elements of a call, in one piece each. */
struct elements {
	size_t count;
	const void *operand;
	const void *compare;
	void *fetch;
	uint8_t operand_room[UP_ATOMIC_MAX_COUNT * 8];
	uint8_t compare_room[UP_ATOMIC_MAX_COUNT * 8];
};

static bool find_elements(const struct call *c, size_t size, struct elements *e)
{
	size_t compares, results = 0, there = 0;

	/* A read needs no operands, and says by the results how many elements it is of. */
	for (size_t i = 0; i < c->nresult; i++)
		results += c->result[i].count;
	if (c->op == FI_ATOMIC_READ) {
		e->count = results;
	} else {
		e->operand = gather(c->ioc, c->n, size, &e->count, e->operand_room);
		if (!e->operand)
			return false;
	}
	if (c->kind == COMPARE) {
		e->compare = gather(c->compare, c->ncompare, size, &compares, e->compare_room);
		if (!e->compare || compares != e->count)
			return false;
	}
	for (size_t i = 0; i < c->nremote; i++) {
		if (c->remote[i].count > UP_ATOMIC_MAX_COUNT)
			return false;
		there += c->remote[i].count;
	}
	return e->count && e->count <= UP_ATOMIC_MAX_COUNT && (!c->nremote || there == e->count) &&
	       (c->kind == BASE || (c->nresult && c->nresult <= UP_IOV_MAX && results == e->count));
}

static struct scatter *make_scatter(const struct call *c, struct upf_op *op, size_t size)
{
	struct scatter *s = upf_op_memory(op);

	if (!s)
		return NULL;
	s->op = op;
	s->size = size;
	s->n = c->nresult;
	memcpy(s->to, c->result, c->nresult * sizeof(*c->result));
	return s;
}

/* Keys are one more on the way than their users know them (mr.c). */
static int post_pieces(struct upf_ep *ep, const struct call *c, up_peer peer,
		       const struct elements *e, void *fetch, unsigned flags, up_done *done,
		       void *ctx)
{
	enum up_atomic_type type = types_of[c->datatype];
	struct up_rma_iov remote[UP_IOV_MAX];

	for (size_t i = 0; i < c->nremote; i++)
		remote[i] = (struct up_rma_iov){c->remote[i].addr,
						c->remote[i].count * up_atomic_size(type),
						c->remote[i].key + 1};
	return up_rma_atomic_iov(ep->up, peer, ops_of[c->op], type, e->operand, e->compare, fetch,
				 remote, c->nremote, flags, done, ctx);
}

/* With the endpoint held. */
static int post(struct upf_ep *ep, const struct call *c, up_peer peer, const struct elements *e,
		struct upf_op *op)
{
	enum up_atomic_type type = types_of[c->datatype];
	unsigned flags = upf_up_flags(c->flags) & ~(unsigned)UP_IMM;
	void *fetch = c->nresult ? c->result[0].addr : NULL, *ctx = op;
	up_done *done = upf_op_done;

	if (c->nresult > 1) {
		struct scatter *s = make_scatter(c, op, up_atomic_size(type));

		if (!s)
			return -EAGAIN;
		fetch = s->values;
		done = scattered;
		ctx = s;
	}
	if (c->nremote)
		return post_pieces(ep, c, peer, e, fetch, flags, done, ctx);
	return up_rma_atomic(ep->up, peer, ops_of[c->op], type, e->count, e->operand, e->compare,
			     fetch, c->addr, c->key + 1, flags, done, ctx);
}

static ssize_t start(struct fid_ep *fid, const struct call *c)
{
	struct upf_ep *ep = upf_ep_of(fid);
	bool fetch = c->kind != BASE;
	int ret = -EAGAIN, error = 0;
	struct elements e;
	struct upf_op *op;
	up_peer peer;

	if (!is_valid(c->datatype, c->op, c->kind))
		return -FI_EOPNOTSUPP;
	e.operand = e.compare = NULL;
	if (!find_elements(c, up_atomic_size(types_of[c->datatype]), &e))
		return -FI_EINVAL;
	peer = upf_peer(ep, c->peer, &error);
	if (unlikely(!peer || !ep->txcq))
		return peer ? -FI_EOPBADSTATE : error;
	up_ep_enter(ep->up);
	op = upf_tx_op(ep, c->ctx, FI_ATOMIC | (fetch ? FI_READ : FI_WRITE), c->report,
		       fetch ? UPF_CNTR_READ : UPF_CNTR_WRITE);
	if (op)
		ret = post(ep, c, peer, &e, op);
	if (unlikely(op && ret))
		upf_tx_op_put(op);
	up_ep_leave(ep->up);
	return ret ? upf_refuse_to(ep, c->peer, peer, ret) : 0;
}

/* ---- the functions ---- */

/* The parts that all functions without a message have. */
#define CALL(fid, kind_, dest_, addr_, key_, type_, op_, ctx_)                                     \
	.kind = (kind_), .peer = (dest_), .addr = (addr_), .key = (key_), .datatype = (type_),     \
	.op = (op_), .ctx = (ctx_), .flags = upf_ep_of(fid)->tx_flags,                             \
	.report = upf_tx_reports(upf_ep_of(fid), upf_ep_of(fid)->tx_flags)

static struct fi_ioc one(const void *buf, size_t count)
{
	return (struct fi_ioc){.addr = (void *)(uintptr_t)buf, .count = count};
}

static ssize_t atomic_write(struct fid_ep *fid, const void *buf, size_t count, void *desc,
			    fi_addr_t dest, uint64_t addr, uint64_t key, enum fi_datatype datatype,
			    enum fi_op op, void *ctx)
{
	const struct fi_ioc ioc = one(buf, count);
	const struct call c = {CALL(fid, BASE, dest, addr, key, datatype, op, ctx), .ioc = &ioc,
			       .n = 1};

	return start(fid, &c);
}

static ssize_t atomic_writev(struct fid_ep *fid, const struct fi_ioc *ioc, void **desc, size_t n,
			     fi_addr_t dest, uint64_t addr, uint64_t key, enum fi_datatype datatype,
			     enum fi_op op, void *ctx)
{
	const struct call c = {CALL(fid, BASE, dest, addr, key, datatype, op, ctx), .ioc = ioc,
			       .n = n};

	return start(fid, &c);
}

static ssize_t atomic_inject(struct fid_ep *fid, const void *buf, size_t count, fi_addr_t dest,
			     uint64_t addr, uint64_t key, enum fi_datatype datatype, enum fi_op op)
{
	const struct fi_ioc ioc = one(buf, count);
	const struct call c = {
		.kind = BASE,
		.ioc = &ioc,
		.n = 1,
		.peer = dest,
		.addr = addr,
		.key = key,
		.datatype = datatype,
		.op = op,
	};

	return start(fid, &c);
}

/* What a message says. */
static ssize_t start_msg(struct fid_ep *fid, enum kind kind, const struct fi_msg_atomic *msg,
			 const struct fi_ioc *compare, size_t ncompare, const struct fi_ioc *result,
			 size_t nresult, uint64_t flags)
{
	const struct call c = {
		.kind = kind,
		.ioc = msg->msg_iov,
		.n = msg->iov_count,
		.compare = compare,
		.ncompare = ncompare,
		.result = result,
		.nresult = nresult,
		.peer = msg->addr,
		.remote = msg->rma_iov,
		.nremote = msg->rma_iov_count,
		.datatype = msg->datatype,
		.op = msg->op,
		.ctx = msg->context,
		.flags = flags,
		.report = upf_tx_reports(upf_ep_of(fid), flags),
	};

	if (flags & ~(uint64_t)UPF_TX_FLAGS)
		return -FI_EBADFLAGS;
	if (!msg->rma_iov_count || msg->rma_iov_count > UP_IOV_MAX || !msg->rma_iov)
		return -FI_EINVAL;
	return start(fid, &c);
}

static ssize_t atomic_writemsg(struct fid_ep *fid, const struct fi_msg_atomic *msg, uint64_t flags)
{
	return start_msg(fid, BASE, msg, NULL, 0, NULL, 0, flags);
}

static ssize_t fetch_one(struct fid_ep *fid, const void *buf, size_t count, void *desc,
			 void *result, void *result_desc, fi_addr_t dest, uint64_t addr,
			 uint64_t key, enum fi_datatype datatype, enum fi_op op, void *ctx)
{
	const struct fi_ioc ioc = one(buf, count), to = one(result, count);
	const struct call c = {CALL(fid, FETCH, dest, addr, key, datatype, op, ctx), .ioc = &ioc,
			       .n = 1, .result = &to, .nresult = 1};

	return start(fid, &c);
}

static ssize_t fetch_vector(struct fid_ep *fid, const struct fi_ioc *ioc, void **desc, size_t n,
			    struct fi_ioc *result, void **result_desc, size_t nresult,
			    fi_addr_t dest, uint64_t addr, uint64_t key, enum fi_datatype datatype,
			    enum fi_op op, void *ctx)
{
	const struct call c = {CALL(fid, FETCH, dest, addr, key, datatype, op, ctx), .ioc = ioc,
			       .n = n, .result = result, .nresult = nresult};

	return start(fid, &c);
}

static ssize_t fetch_msg(struct fid_ep *fid, const struct fi_msg_atomic *msg, struct fi_ioc *result,
			 void **result_desc, size_t nresult, uint64_t flags)
{
	return start_msg(fid, FETCH, msg, NULL, 0, result, nresult, flags);
}

static ssize_t compare_one(struct fid_ep *fid, const void *buf, size_t count, void *desc,
			   const void *compare, void *compare_desc, void *result, void *result_desc,
			   fi_addr_t dest, uint64_t addr, uint64_t key, enum fi_datatype datatype,
			   enum fi_op op, void *ctx)
{
	const struct fi_ioc ioc = one(buf, count), with = one(compare, count),
			    to = one(result, count);
	const struct call c = {CALL(fid, COMPARE, dest, addr, key, datatype, op, ctx),
			       .ioc = &ioc,
			       .n = 1,
			       .compare = &with,
			       .ncompare = 1,
			       .result = &to,
			       .nresult = 1};

	return start(fid, &c);
}

static ssize_t compare_vector(struct fid_ep *fid, const struct fi_ioc *ioc, void **desc, size_t n,
			      const struct fi_ioc *compare, void **compare_desc, size_t ncompare,
			      struct fi_ioc *result, void **result_desc, size_t nresult,
			      fi_addr_t dest, uint64_t addr, uint64_t key,
			      enum fi_datatype datatype, enum fi_op op, void *ctx)
{
	const struct call c = {CALL(fid, COMPARE, dest, addr, key, datatype, op, ctx),
			       .ioc = ioc,
			       .n = n,
			       .compare = compare,
			       .ncompare = ncompare,
			       .result = result,
			       .nresult = nresult};

	return start(fid, &c);
}

static ssize_t compare_msg(struct fid_ep *fid, const struct fi_msg_atomic *msg,
			   const struct fi_ioc *compare, void **compare_desc, size_t ncompare,
			   struct fi_ioc *result, void **result_desc, size_t nresult,
			   uint64_t flags)
{
	return start_msg(fid, COMPARE, msg, compare, ncompare, result, nresult, flags);
}

/* ---- what there is ---- */

static int valid(enum fi_datatype datatype, enum fi_op op, size_t *count, enum kind kind)
{
	if (!is_valid(datatype, op, kind))
		return -FI_EOPNOTSUPP;
	if (count)
		*count = UP_ATOMIC_MAX_COUNT;
	return 0;
}

static int write_valid(struct fid_ep *fid, enum fi_datatype datatype, enum fi_op op, size_t *count)
{
	return valid(datatype, op, count, BASE);
}

static int fetch_valid(struct fid_ep *fid, enum fi_datatype datatype, enum fi_op op, size_t *count)
{
	return valid(datatype, op, count, FETCH);
}

static int compare_valid(struct fid_ep *fid, enum fi_datatype datatype, enum fi_op op,
			 size_t *count)
{
	return valid(datatype, op, count, COMPARE);
}

int upf_query_atomic(struct fid_domain *domain, enum fi_datatype datatype, enum fi_op op,
		     struct fi_atomic_attr *attr, uint64_t flags)
{
	enum kind kind = BASE;
	int ret;

	if (flags & ~(uint64_t)(FI_FETCH_ATOMIC | FI_COMPARE_ATOMIC) ||
	    (flags & FI_FETCH_ATOMIC && flags & FI_COMPARE_ATOMIC))
		return -FI_EINVAL;
	if (flags)
		kind = flags & FI_FETCH_ATOMIC ? FETCH : COMPARE;
	ret = valid(datatype, op, &attr->count, kind);
	if (!ret)
		attr->size = up_atomic_size(types_of[datatype]);
	return ret;
}

struct fi_ops_atomic upf_atomic_ops = {
	.size = sizeof(struct fi_ops_atomic),
	.write = atomic_write,
	.writev = atomic_writev,
	.writemsg = atomic_writemsg,
	.inject = atomic_inject,
	.readwrite = fetch_one,
	.readwritev = fetch_vector,
	.readwritemsg = fetch_msg,
	.compwrite = compare_one,
	.compwritev = compare_vector,
	.compwritemsg = compare_msg,
	.writevalid = write_valid,
	.readwritevalid = fetch_valid,
	.compwritevalid = compare_valid,
};
