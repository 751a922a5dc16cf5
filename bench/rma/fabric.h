/* SPDX-License-Identifier: BSD-2-Clause */
/* What the two files about libfabric share. */
#ifndef BENCH_RMA_FABRIC_H
#define BENCH_RMA_FABRIC_H

#include "side.h"

#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>

enum { MAX_PEERS = 512 };

struct end {
	struct fi_info *info;
	struct fid_fabric *fabric;
	struct fid_domain *domain;
	struct fid_cq *cq;
	struct fid_av *av; /* of connectionless endpoints */
	struct fid_eq *eq; /* of connected ones, with the one that listens */
	struct fid_pep *pep;
	struct fid_ep *ep;
	fi_addr_t peers[MAX_PEERS];
	unsigned npeers;
	bool tagged; /* else messages are without */
	struct fid_mr *mr[KINDS], *local_mr;
	void *local_desc;
	uint8_t *local;
	uint64_t remote[KINDS], key[KINDS];
	unsigned open;
};

void fabric_must(long err, const char *what);
/* The endpoint of `info`, with its queue, enabled. */
void fabric_open_ep(struct end *e, struct fi_info *info);

/* Connected endpoints: role 0 listens, role 1 connects. */
void connected_listen(struct end *e);
size_t connected_address(struct end *e, void *blob);
void connected_connect(struct end *e, const void *blob, size_t len);

#endif
