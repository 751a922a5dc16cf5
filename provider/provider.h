/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The objects of the libfabric provider, and what its files share.
 *
 * An endpoint of libfabric is one of libunderpass. What belongs to it here (operations, cancelling)
 * is guarded by holding that: callbacks run so anyway, other functions call up_ep_enter().
 *
 * Order of locks: an address vector's `removing`, held endpoint, then a queue's or an address
 * vector's lock; nothing of libunderpass is called with one of the latter. Domains have a mutex for
 * what is rare: endpoints and regions come and go; it comes before all others.
 */
#ifndef UPF_PROVIDER_H
#define UPF_PROVIDER_H

#include "base/bytes.h"
#include "base/list.h"
#include "queue.h"
#include "table.h"

#include <underpass/underpass.h>

#include <assert.h>
#include <pthread.h>
#include <rdma/fabric.h>
#include <rdma/fi_atomic.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>
#include <rdma/fi_tagged.h>
#include <rdma/providers/fi_log.h>
#include <rdma/providers/fi_prov.h>
#include <sched.h>

/* The two models of registration of old; newer headers warn of their names. */
enum upf_mr_model {
	UPF_MR_BASIC = 1 << 0,
	UPF_MR_SCALABLE = 1 << 1,
};

#define UPF_NAME "underpass"
#define UPF_PROV_VERSION FI_VERSION(0, 1)
/* Numbers that belong to providers have the highest bit. */
#define UPF_SPECIFIC(n) (1u << 31 | (n))
#define UPF_PROTOCOL UPF_SPECIFIC(0x5550u)
/* Of this provider's own kind: struct upf_addr. */
#define UPF_ADDR_FORMAT UPF_SPECIFIC(0x5550u)

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define UPF_CONTAINER(ptr, type, fid) UP_CONTAINER_OF(ptr, type, fid)

extern struct fi_provider upf_provider;

/* Settings, by libfabric's parameters (init.c). */
struct upf_params {
	size_t tx_size;
	size_t rx_size;
	size_t cq_size;
};
extern struct upf_params upf_params;

/* An address as libfabric's users see it: of a fixed size, so that arrays of them can be inserted.
 */
struct upf_addr {
	uint8_t bytes; /* of addr; the rest of it is 0 */
	uint8_t addr[FI_NAME_MAX - 1];
};
static_assert(sizeof(struct upf_addr) == FI_NAME_MAX, "users may have no more room");
bool upf_addr_valid(const void *addr, size_t len);
/* `len`: at most what `addr` has room for. */
void upf_addr_set(struct upf_addr *addr, const void *bytes, size_t len);

struct upf_fabric {
	struct fid_fabric fid;
	unsigned refs; /* __atomic */
};

struct upf_domain {
	struct fid_domain fid;
	struct upf_fabric *fabric;
	unsigned refs; /* __atomic: of queues, counters, address vectors */
	enum fi_threading threading;
	enum fi_progress progress;
	bool shared; /* several threads may use an object */
	int mr_mode;
	struct upf_eq *eq;
	pthread_mutex_t mutex;
	struct upf_mr *mrs; /* hash by key */
	struct up_list eps; /* struct upf_ep */
	uint64_t next_key;
};

struct upf_av_entry;

struct upf_av {
	struct fid_av fid;
	struct upf_domain *domain;
	struct upf_eq *eq;
	uint64_t flags;
	pthread_mutex_t removing; /* around all else: no endpoint closes meanwhile */
	pthread_mutex_t mutex;
	struct upf_av_entry *hash; /* by address */
	struct upf_table entries;  /* by index: struct upf_av_entry */
	uint64_t count;		   /* indices used so far */
	uint64_t *free;		   /* those of them that are free again */
	size_t nfree;
	struct up_list eps; /* struct upf_ep */
};

/* What a completion queue keeps of a completion; the widest format is made from it. */
struct upf_event {
	void *ctx;
	uint64_t flags;
	size_t len;
	void *buf;
	uint64_t data;
	uint64_t tag;
	fi_addr_t src;
	struct fi_cq_err_entry *err; /* NULL: it succeeded */
};

struct upf_cq {
	struct fid_cq fid;
	struct upf_queue q;
	enum fi_cq_format format;
	size_t size;
	struct upf_event *ring;
	size_t mask;   /* of the ring, which grows */
	uint64_t head; /* next to be written */
	uint64_t tail; /* next to be read */
};

struct upf_cntr {
	struct fid_cntr fid;
	struct upf_queue q;
	uint64_t value;
	uint64_t errors;
};

enum upf_cntr_kind {
	UPF_CNTR_SEND,
	UPF_CNTR_RECV,
	UPF_CNTR_READ,
	UPF_CNTR_WRITE,
	UPF_CNTR_REMOTE_READ,
	UPF_CNTR_REMOTE_WRITE,
	UPF_CNTRS
};

struct upf_ep;

/* An operation that has not ended when its function returns. */
struct upf_op {
	struct up_list link; /* struct upf_ep.recvs; or the next free one */
	struct upf_ep *ep;
	void *ctx;
	uint64_t flags;	   /* of the completion */
	struct upf_cq *cq; /* where errors go, too */
	bool report;	   /* success has a completion */
	struct upf_cntr *cntr;
	void *buf;
	size_t len;
	struct up_tag_recv *recv;
	struct upf_bounce *bounce; /* of its own until the end, or NULL */
};

/* Memory that an operation needs beside its user's: what was injected, or old values of atomics. */
struct upf_bounce {
	struct upf_bounce *next; /* free one */
	_Alignas(16) uint8_t data[UP_INJECT_MAX];
};

struct upf_op_slab {
	struct upf_op_slab *next;
	struct upf_op ops[64];
};

struct upf_ep {
	struct fid_ep fid;
	struct up_ep *up;
	struct upf_cq *txcq;
	struct upf_cq *rxcq;
	struct upf_cntr *cntrs[UPF_CNTRS];
	uint64_t tx_flags; /* of operations that have no flags of their own */
	uint64_t rx_flags;
	bool tx_selective;
	bool rx_selective;
	bool want_source;
	bool directed;
	bool enabled;
	bool closing;		  /* nobody is told of ends any more */
	struct upf_table peers;	  /* by fi_addr_t: up_peer */
	struct upf_table sources; /* by up_peer: fi_addr_t + 1 */

	/* Guarded by holding the endpoint. */
	struct upf_op *free;
	struct upf_op_slab *slabs;
	struct upf_bounce *bounces; /* free ones */
	struct up_list recvs;	    /* struct upf_op that can be cancelled */
	size_t nrecvs;
	size_t nsends;
	struct up_list leaving; /* peers, see leave.c */
	unsigned nleaving;	/* __atomic */
	unsigned idle;		/* __atomic: progresses in vain since the last that was not */

	size_t tx_size;
	size_t rx_size;
	size_t min_multi_recv;
	uint64_t caps;
	struct upf_domain *domain;
	struct upf_av *av;
	struct upf_eq *eq;
	struct up_list of_domain;
	struct up_list of_av;
};

struct upf_eq_event {
	struct upf_eq_event *next;
	uint32_t event;
	bool error;
	size_t len;
	uint8_t data[];
};

struct upf_eq {
	struct fid_eq fid;
	struct upf_fabric *fabric;
	struct upf_queue q;
	struct upf_eq_event *first, **last;
};

static inline void upf_ref(unsigned *refs)
{
	__atomic_add_fetch(refs, 1, __ATOMIC_RELAXED);
}
static inline void upf_unref(unsigned *refs)
{
	__atomic_sub_fetch(refs, 1, __ATOMIC_RELAXED);
}
static inline bool upf_busy(unsigned *refs)
{
	return __atomic_load_n(refs, __ATOMIC_ACQUIRE) != 0;
}

/* Operations that an object does not have (none.c). */
int upf_no_bind(struct fid *fid, struct fid *bfid, uint64_t flags);
int upf_no_control(struct fid *fid, int command, void *arg);
int upf_no_ops_open(struct fid *fid, const char *name, uint64_t flags, void **ops, void *context);

/* init.c: errors of libunderpass as libfabric's. Both negative. */
int upf_error(int error);

/* info.c */
int upf_getinfo(uint32_t version, const char *node, const char *service, uint64_t flags,
		const struct fi_info *hints, struct fi_info **info);
/* 0 or -FI_ENODATA: is that what this provider has? */
int upf_check_domain(const struct fi_domain_attr *attr);
int upf_check_endpoint(const struct fi_info *info);
/* May an endpoint's operations have these flags, unless they have some of their own? */
bool upf_op_flags_valid(uint64_t flags, bool tx);

int upf_fabric_open(struct fi_fabric_attr *attr, struct fid_fabric **fabric, void *context);
int upf_domain_open(struct fid_fabric *fabric, struct fi_info *info, struct fid_domain **domain,
		    void *context);
int upf_av_open(struct fid_domain *domain, struct fi_av_attr *attr, struct fid_av **av,
		void *context);
int upf_cq_open(struct fid_domain *domain, struct fi_cq_attr *attr, struct fid_cq **cq,
		void *context);
int upf_cntr_open(struct fid_domain *domain, struct fi_cntr_attr *attr, struct fid_cntr **cntr,
		  void *context);
int upf_eq_open(struct fid_fabric *fabric, struct fi_eq_attr *attr, struct fid_eq **eq,
		void *context);
int upf_poll_open(struct fid_domain *domain, struct fi_poll_attr *attr, struct fid_poll **set);
int upf_endpoint(struct fid_domain *domain, struct fi_info *info, struct fid_ep **ep,
		 void *context);
int upf_query_atomic(struct fid_domain *domain, enum fi_datatype datatype, enum fi_op op,
		     struct fi_atomic_attr *attr, uint64_t flags);

/* mr.c: regions of an endpoint that opens or closes; with the domain's mutex held. */
extern struct fi_ops_mr upf_mr_ops;
int upf_mrs_open(struct upf_ep *ep);
void upf_mrs_close(struct upf_ep *ep);

/* av.c */
/* The peer of an address that was not used yet: 0, and *error is libfabric's. */
up_peer upf_av_peer(struct upf_ep *ep, fi_addr_t addr, int *error);
/* The address of a peer that none is known of yet. */
fi_addr_t upf_av_source(struct upf_ep *ep, up_peer peer);

/* The endpoint has a peer no more: the next use of its address makes contact anew. */
void upf_av_forget(struct upf_ep *ep, up_peer peer);

/* leave.c */
int upf_leaves_init(struct upf_ep *ep);
void upf_leaves_fini(struct upf_ep *ep);
/* Its address was removed: the connection goes when neither end has something open on it. */
void upf_leave(struct upf_ep *ep, up_peer peer);
/* It is used again. False: not now, it is just going. */
bool upf_stay(struct upf_ep *ep, up_peer peer);
void upf_leaves_progress(struct upf_ep *ep);

/* Progresses in vain before the processor is offered to others: some microseconds. */
#define UPF_IDLE 256u

/* Who polls may keep from its processor the very process that it waits for. */
static inline void upf_ep_idle(struct upf_ep *ep)
{
	unsigned n = __atomic_load_n(&ep->idle, __ATOMIC_RELAXED) + 1;

	if (unlikely(n >= UPF_IDLE)) {
		n = 0;
		sched_yield();
	}
	__atomic_store_n(&ep->idle, n, __ATOMIC_RELAXED);
}

static inline void upf_ep_progress(struct upf_ep *ep)
{
	if (up_progress(ep->up))
		__atomic_store_n(&ep->idle, 0, __ATOMIC_RELAXED);
	else
		upf_ep_idle(ep);
	if (unlikely(__atomic_load_n(&ep->nleaving, __ATOMIC_RELAXED)))
		upf_leaves_progress(ep);
}

static inline up_peer upf_peer(struct upf_ep *ep, fi_addr_t addr, int *error)
{
	up_peer peer = upf_table_get(&ep->peers, addr);

	return likely(peer) ? peer : upf_av_peer(ep, addr, error);
}

static inline fi_addr_t upf_source(struct upf_ep *ep, up_peer peer)
{
	uint64_t known = upf_table_get(&ep->sources, peer);

	return likely(known) ? known - 1 : upf_av_source(ep, peer);
}

/* cq.c */
void upf_cq_write(struct upf_cq *cq, const struct upf_event *event);
/* `error` is libunderpass's, negative. `olen`: of a receive, what did not fit. */
void upf_cq_write_error(struct upf_cq *cq, const struct upf_event *event, int error, size_t olen);
/* May an operation start that has a completion? */
static inline bool upf_cq_has_room(const struct upf_cq *cq)
{
	return __atomic_load_n(&cq->head, __ATOMIC_RELAXED) -
		       __atomic_load_n(&cq->tail, __ATOMIC_RELAXED) <
	       cq->size;
}

/* cntr.c */
void upf_cntr_count(struct upf_cntr *cntr, bool error);

/* eq.c */
int upf_eq_post(struct upf_eq *eq, uint32_t event, bool error, const void *data, size_t len);

/* op.c; all but the callbacks with the endpoint held. */
struct upf_op *upf_op_get(struct upf_ep *ep);
void upf_op_put(struct upf_op *op);
void upf_ops_fini(struct upf_ep *ep);
/* The end of an operation that this end started. */
up_done upf_op_done;

extern struct fi_ops_msg upf_msg_ops;
extern struct fi_ops_tagged upf_tagged_ops;
extern struct fi_ops_rma upf_rma_ops;
extern struct fi_ops_atomic upf_atomic_ops;

#endif
