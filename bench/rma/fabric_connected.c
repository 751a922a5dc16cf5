/* SPDX-License-Identifier: BSD-2-Clause */
/* Connections of libfabric's FI_EP_MSG endpoints. */
#include "fabric.h"

#include <rdma/fi_errno.h>

#include <stdlib.h>
#include <string.h>

enum { PATIENCE_MS = 20000 };

void connected_listen(struct end *e)
{
	struct fi_eq_attr attr = {.wait_obj = FI_WAIT_UNSPEC};

	fabric_must(fi_eq_open(e->fabric, &attr, &e->eq, NULL), "fi_eq_open");
	if (side.role)
		return;
	fabric_must(fi_passive_ep(e->fabric, e->info, &e->pep, NULL), "fi_passive_ep");
	fabric_must(fi_pep_bind(e->pep, &e->eq->fid, 0), "fi_pep_bind");
	fabric_must(fi_listen(e->pep), "fi_listen");
}

size_t connected_address(struct end *e, void *blob)
{
	size_t len = BLOB_MAX;

	if (side.role)
		return 0;
	fabric_must(fi_getname(&e->pep->fid, blob, &len), "fi_getname");
	return len;
}

/* The next event, which must be the one that is due. A request brings its fi_info. */
static struct fi_info *event(struct end *e, uint32_t due)
{
	struct fi_eq_cm_entry entry;
	uint32_t event = 0;
	ssize_t n = fi_eq_sread(e->eq, &event, &entry, sizeof(entry), PATIENCE_MS, 0);

	fabric_must(n < 0 ? n : 0, "waiting for the connection");
	if (event != due)
		die("event %u, not %u", event, due);
	return entry.info;
}

void connected_connect(struct end *e, const void *blob, size_t len)
{
	struct fi_info *request;

	if (e->ep)
		die("one peer only");
	if (side.role) {
		fabric_open_ep(e, e->info);
		fabric_must(fi_connect(e->ep, blob, NULL, 0), "fi_connect");
	} else {
		request = event(e, FI_CONNREQ);
		fabric_open_ep(e, request);
		fabric_must(fi_accept(e->ep, NULL, 0), "fi_accept");
		fi_freeinfo(request);
	}
	event(e, FI_CONNECTED);
	e->peers[e->npeers++] = FI_ADDR_UNSPEC;
}
