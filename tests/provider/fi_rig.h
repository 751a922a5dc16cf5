/* SPDX-License-Identifier: BSD-2-Clause */
/* What the provider's tests share: two endpoints of one process, by libfabric's functions alone. */
#ifndef UP_TESTS_PROVIDER_FI_RIG_H
#define UP_TESTS_PROVIDER_FI_RIG_H

#include "../unit/unit.h"

#include <rdma/fabric.h>
#include <rdma/fi_atomic.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>
#include <rdma/fi_tagged.h>
#include <stdbool.h>
#include <string.h>

#define FI_RIG_API FI_VERSION(1, 17)

/* Names that newer headers warn of. */
enum {
	RIG_MR_BASIC = 1 << 0,
	RIG_MR_SCALABLE = 1 << 1,
	RIG_ORDER_DATA = 1 << 16,
};

struct fi_side {
	struct fid_domain *domain;
	struct fid_av *av;
	struct fid_cq *txcq;
	struct fid_cq *rxcq;
	struct fid_ep *ep;
	fi_addr_t peer; /* the other side */
};

struct fi_rig {
	struct fi_info *info;
	struct fid_fabric *fabric;
	struct fi_side a, b;
};

/* What a test changes before anything is opened. */
struct fi_rig_attr {
	uint64_t caps; /* 0: all */
	int mr_mode;
	enum fi_threading threading; /* FI_THREAD_UNSPEC: domain */
	enum fi_progress progress;
	uint64_t tx_bind;     /* beside FI_TRANSMIT */
	struct fi_cq_attr cq; /* format FI_CQ_FORMAT_UNSPEC: tagged */
	/* Called between opening and enabling. */
	void (*before_enable)(struct fi_side *side);
};

/* Hints for this provider; fi_freeinfo() them. */
struct fi_info *fi_rig_hints(void);
void fi_rig_setup(struct fi_rig *rig, const struct fi_rig_attr *attr);
void fi_rig_teardown(struct fi_rig *rig);
/* Progress at both ends. */
void fi_rig_poke(struct fi_rig *rig);

/* The next completion of a queue, whichever of the sides has it; fails at an error or too late. */
struct fi_cq_tagged_entry fi_rig_wait(struct fi_rig *rig, struct fid_cq *cq);
/* The next error. */
struct fi_cq_err_entry fi_rig_wait_error(struct fi_rig *rig, struct fid_cq *cq);
/* There is nothing in the queue, and nothing comes by progress. */
void fi_rig_nothing(struct fi_rig *rig, struct fid_cq *cq);

/* A region of a side; base: what its peers add offsets to. */
struct fi_region {
	struct fid_mr *mr;
	uint64_t key;
	uint64_t base;
};
struct fi_region fi_rig_region(struct fi_rig *rig, struct fi_side *side, void *mem, size_t len,
			       uint64_t access, uint64_t key);

/* Starts an operation; while there is no room for it, makes progress. */
#define FI_RIG_DO(rig, call)                                                                       \
	do {                                                                                       \
		ssize_t fi_rig_ret;                                                                \
		while ((fi_rig_ret = (call)) == -FI_EAGAIN)                                        \
			fi_rig_poke(rig);                                                          \
		assert_int_equal(fi_rig_ret, 0);                                                   \
	} while (0)

#endif
