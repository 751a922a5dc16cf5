/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Any provider of libfabric; --with names it. The endpoints are connectionless (FI_EP_RDM) where
 * the provider has such, else connected; the latter's messages have no tags.
 */
#include "fabric.h"

#include <rdma/fi_atomic.h>
#include <rdma/fi_errno.h>
#include <rdma/fi_rma.h>
#include <rdma/fi_tagged.h>

#include <stdlib.h>
#include <string.h>

void fabric_must(long err, const char *what)
{
	if (err)
		die("%s: %s", what, fi_strerror((int)-err));
}

/* The provider by this very name: "tcp" is also found below "tcp;ofi_rxm". */
static struct fi_info *choose(uint64_t caps, enum fi_ep_type type)
{
	struct fi_info *hints = fi_allocinfo(), *list = NULL, *i, *found = NULL;

	hints->caps = caps;
	hints->ep_attr->type = type;
	hints->domain_attr->mr_mode =
		FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY | FI_MR_ENDPOINT;
	hints->domain_attr->threading = FI_THREAD_DOMAIN;
	hints->domain_attr->data_progress = FI_PROGRESS_UNSPEC;
	hints->fabric_attr->prov_name = strdup(side.with);
	if (!fi_getinfo(FI_VERSION(1, 14), NULL, NULL, 0, hints, &list))
		for (i = list; i && !found; i = i->next)
			if (!strcmp(i->fabric_attr->prov_name, side.with))
				found = fi_dupinfo(i);
	fi_freeinfo(list);
	fi_freeinfo(hints);
	return found;
}

static struct fi_info *find(void)
{
	static const struct {
		uint64_t caps;
		enum fi_ep_type type;
	} wishes[] = {
		{FI_TAGGED | FI_RMA | FI_ATOMIC, FI_EP_RDM},
		{FI_TAGGED | FI_RMA, FI_EP_RDM},
		{FI_MSG | FI_RMA, FI_EP_MSG},
	};
	struct fi_info *info = NULL;

	if (!side.with)
		die("--with names the provider");
	for (unsigned i = 0; !info && i < sizeof(wishes) / sizeof(wishes[0]); i++)
		info = choose(wishes[i].caps, wishes[i].type);
	if (!info)
		die("libfabric offers no provider %s", side.with);
	return info;
}

void fabric_open_ep(struct end *e, struct fi_info *info)
{
	struct fi_cq_attr attr = {.format = FI_CQ_FORMAT_CONTEXT, .size = 4 * WINDOW};

	fabric_must(fi_cq_open(e->domain, &attr, &e->cq, NULL), "fi_cq_open");
	fabric_must(fi_endpoint(e->domain, info, &e->ep, NULL), "fi_endpoint");
	fabric_must(fi_ep_bind(e->ep, &e->cq->fid, FI_TRANSMIT | FI_RECV), "fi_ep_bind of the cq");
	if (e->av)
		fabric_must(fi_ep_bind(e->ep, &e->av->fid, 0), "fi_ep_bind of the av");
	if (e->eq)
		fabric_must(fi_ep_bind(e->ep, &e->eq->fid, 0), "fi_ep_bind of the eq");
	fabric_must(fi_enable(e->ep), "fi_enable");
}

static struct end *open_end(bool automatic)
{
	struct fi_av_attr attr = {.type = FI_AV_TABLE};
	struct end *e = calloc(1, sizeof(*e));

	if (!e)
		die("out of memory");
	e->info = find();
	e->tagged = e->info->caps & FI_TAGGED;
	if (automatic && e->info->domain_attr->data_progress != FI_PROGRESS_AUTO)
		die("%s has no automatic progress", side.with);
	fabric_must(fi_fabric(e->info->fabric_attr, &e->fabric, NULL), "fi_fabric");
	fabric_must(fi_domain(e->fabric, e->info, &e->domain, NULL), "fi_domain");
	if (e->info->ep_attr->type == FI_EP_MSG) {
		connected_listen(e);
		return e;
	}
	fabric_must(fi_av_open(e->domain, &attr, &e->av, NULL), "fi_av_open");
	fabric_open_ep(e, e->info);
	return e;
}

static void close_fid(struct fid *fid)
{
	if (fid)
		fi_close(fid);
}

static void close_end(struct end *e)
{
	close_fid(e->ep ? &e->ep->fid : NULL);
	for (unsigned i = 0; i < KINDS; i++)
		close_fid(e->mr[i] ? &e->mr[i]->fid : NULL);
	close_fid(e->local_mr ? &e->local_mr->fid : NULL);
	close_fid(e->pep ? &e->pep->fid : NULL);
	close_fid(e->cq ? &e->cq->fid : NULL);
	close_fid(e->av ? &e->av->fid : NULL);
	close_fid(e->eq ? &e->eq->fid : NULL);
	close_fid(&e->domain->fid);
	close_fid(&e->fabric->fid);
	fi_freeinfo(e->info);
	free(e);
}

static size_t address(struct end *e, void *blob)
{
	size_t len = BLOB_MAX;

	if (e->eq)
		return connected_address(e, blob);
	fabric_must(fi_getname(&e->ep->fid, blob, &len), "fi_getname");
	return len;
}

static void connect_end(struct end *e, const void *blob, size_t len)
{
	if (e->eq) {
		connected_connect(e, blob, len);
		return;
	}
	if (e->npeers == MAX_PEERS)
		die("too many peers");
	if (fi_av_insert(e->av, blob, 1, &e->peers[e->npeers++], 0, NULL) != 1)
		die("fi_av_insert");
}

static void failed(struct end *e)
{
	struct fi_cq_err_entry entry = {0};

	fi_cq_readerr(e->cq, &entry, 0);
	die("an operation: %s", fi_strerror(entry.err));
}

static void progress(struct end *e)
{
	struct fi_cq_entry entries[16];
	ssize_t n = fi_cq_read(e->cq, entries, 16);

	if (n > 0)
		e->open -= (unsigned)n;
	else if (n == -FI_EAVAIL)
		failed(e);
	else if (n != -FI_EAGAIN)
		fabric_must(n, "fi_cq_read");
}

static void finish(struct end *e, unsigned left)
{
	while (e->open > left)
		progress(e);
}

static bool again(struct end *e, ssize_t err, const char *what)
{
	if (err != -FI_EAGAIN)
		fabric_must(err, what);
	else
		progress(e);
	return err == -FI_EAGAIN;
}

static ssize_t send_one(struct end *e, fi_addr_t to, const void *buf, size_t len)
{
	if (len > e->info->tx_attr->inject_size)
		return e->tagged ? fi_tsend(e->ep, buf, len, e->local_desc, to, TAG, NULL)
				 : fi_send(e->ep, buf, len, e->local_desc, to, NULL);
	return e->tagged ? fi_tinject(e->ep, buf, len, to, TAG) : fi_inject(e->ep, buf, len, to);
}

static void send_to(struct end *e, unsigned peer, const void *buf, size_t len, unsigned n)
{
	bool completes = len > e->info->tx_attr->inject_size;

	for (unsigned i = 0; i < n; i++) {
		e->open += completes;
		while (again(e, send_one(e, e->peers[peer], buf, len), "sending"))
			;
	}
	finish(e, 0);
}

static void recv_from(struct end *e, void *buf, size_t len, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		ssize_t err;

		e->open++;
		do
			err = e->tagged ? fi_trecv(e->ep, buf, len, e->local_desc, FI_ADDR_UNSPEC,
						   TAG, 0, NULL)
					: fi_recv(e->ep, buf, len, e->local_desc, FI_ADDR_UNSPEC,
						  NULL);
		while (again(e, err, "receiving"));
	}
	finish(e, 0);
}

static struct fid_mr *register_memory(struct end *e, void *mem, uint64_t access, uint64_t key)
{
	struct fid_mr *mr;

	fabric_must(fi_mr_reg(e->domain, mem, MEMORY, access, 0, key, 0, &mr, NULL), "fi_mr_reg");
	if (e->info->domain_attr->mr_mode & FI_MR_ENDPOINT) {
		fabric_must(fi_mr_bind(mr, &e->ep->fid, 0), "fi_mr_bind");
		fabric_must(fi_mr_enable(mr), "fi_mr_enable");
	}
	return mr;
}

static size_t expose(struct end *e, enum kind kind, void *mem, void *blob)
{
	bool by_address = e->info->domain_attr->mr_mode & FI_MR_VIRT_ADDR;
	uint64_t *words = blob;

	e->mr[kind] =
		register_memory(e, mem, FI_REMOTE_READ | FI_REMOTE_WRITE, 0x100 + (uint64_t)kind);
	words[0] = by_address ? (uintptr_t)mem : 0;
	words[1] = fi_mr_key(e->mr[kind]);
	return 2 * sizeof(*words);
}

static void import(struct end *e, enum kind kind, const void *blob, size_t len)
{
	const uint64_t *words = blob;

	e->remote[kind] = words[0];
	e->key[kind] = words[1];
}

static void local(struct end *e, void *buf)
{
	e->local = buf;
	if (!(e->info->domain_attr->mr_mode & FI_MR_LOCAL))
		return;
	e->local_mr = register_memory(e, buf, FI_SEND | FI_RECV | FI_READ | FI_WRITE, 0x200);
	e->local_desc = fi_mr_desc(e->local_mr);
}

static void write_one(struct end *e, enum kind kind, size_t len, uint64_t flags)
{
	const struct iovec iov = {.iov_base = e->local, .iov_len = len};
	const struct fi_rma_iov remote = {e->remote[kind], len, e->key[kind]};
	const struct fi_msg_rma msg = {
		.msg_iov = &iov,
		.desc = &e->local_desc,
		.iov_count = 1,
		.addr = e->peers[0],
		.rma_iov = &remote,
		.rma_iov_count = 1,
	};

	e->open++;
	while (again(e, fi_writemsg(e->ep, &msg, flags | FI_COMPLETION), "fi_writemsg"))
		;
}

static void write_to(struct end *e, enum kind kind, size_t len, unsigned n)
{
	unsigned window = len < LARGE ? WINDOW : WINDOW_LARGE;

	for (unsigned i = 1; i < n; i++) {
		e->open++;
		while (again(e,
			     fi_write(e->ep, e->local, len, e->local_desc, e->peers[0],
				      e->remote[kind], e->key[kind], NULL),
			     "fi_write"))
			;
		finish(e, window - 1);
	}
	write_one(e, kind, len, FI_DELIVERY_COMPLETE);
	finish(e, 0);
}

static void put(struct end *e, enum kind kind, size_t len)
{
	if (len > e->info->tx_attr->inject_size) {
		write_one(e, kind, len, 0);
		finish(e, 0);
		return;
	}
	while (again(
		e,
		fi_inject_write(e->ep, e->local, len, e->peers[0], e->remote[kind], e->key[kind]),
		"fi_inject_write"))
		;
}

static void read_from(struct end *e, enum kind kind, size_t len, unsigned n)
{
	unsigned window = len < LARGE ? WINDOW : WINDOW_LARGE;

	for (unsigned i = 0; i < n; i++) {
		e->open++;
		while (again(e,
			     fi_read(e->ep, e->local, len, e->local_desc, e->peers[0],
				     e->remote[kind], e->key[kind], NULL),
			     "fi_read"))
			;
		finish(e, window - 1);
	}
	finish(e, 0);
}

static void fetch_add(struct end *e, enum kind kind, size_t len, unsigned n)
{
	uint64_t one = 1, old;

	if (!(e->info->caps & FI_ATOMIC))
		die("%s has no atomics", side.with);
	for (unsigned i = 0; i < n; i++) {
		e->open++;
		while (again(e,
			     fi_fetch_atomic(e->ep, &one, 1, NULL, &old, NULL, e->peers[0],
					     e->remote[kind], e->key[kind], FI_UINT64, FI_SUM,
					     NULL),
			     "fi_fetch_atomic"))
			;
		finish(e, 0);
	}
}

const struct api api = {
	.name = "libfabric",
	.open = open_end,
	.close = close_end,
	.address = address,
	.connect = connect_end,
	.send = send_to,
	.recv = recv_from,
	.progress = progress,
	.expose = expose,
	.import = import,
	.local = local,
	.write = write_to,
	.read = read_from,
	.fetch_add = fetch_add,
	.put = put,
};
