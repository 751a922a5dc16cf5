/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What this provider offers, and whether that is what hints ask for. There is one offer; what hints
 * leave open is filled in from it, and what they ask for that is not there means no offer at all.
 */
#include "provider.h"

#include <limits.h>
#include <stdlib.h>

#define TX_CAPS (FI_MSG | FI_TAGGED | FI_RMA | FI_ATOMIC | FI_SEND | FI_READ | FI_WRITE | FI_FENCE)
#define RX_CAPS                                                                                    \
	(FI_MSG | FI_TAGGED | FI_RMA | FI_ATOMIC | FI_RECV | FI_REMOTE_READ | FI_REMOTE_WRITE |    \
	 FI_MULTI_RECV | FI_DIRECTED_RECV | FI_SOURCE | FI_RMA_EVENT)
#define DOMAIN_CAPS (FI_LOCAL_COMM | FI_REMOTE_COMM)
#define CAPS (TX_CAPS | RX_CAPS | DOMAIN_CAPS)
/* No capability, but a flag of operations that some ask for as if it were one. */
#define ACCEPTED_CAPS (CAPS | FI_REMOTE_CQ_DATA)
/* Of an interface: the kinds of operations, and which directions of them. */
#define KINDS (FI_MSG | FI_TAGGED | FI_RMA | FI_ATOMIC)
#define MESSAGE_DIRECTIONS (FI_SEND | FI_RECV)
#define RMA_DIRECTIONS (FI_READ | FI_WRITE | FI_REMOTE_READ | FI_REMOTE_WRITE)
/* What a user gets without asking. */
#define FREE_CAPS (FI_FENCE | DOMAIN_CAPS)

#define TX_FLAGS                                                                                   \
	(FI_COMPLETION | FI_INJECT | FI_INJECT_COMPLETE | FI_TRANSMIT_COMPLETE |                   \
	 FI_DELIVERY_COMPLETE | FI_MATCH_COMPLETE)
#define RX_FLAGS (FI_COMPLETION | FI_MULTI_RECV)

/* Messages come in the order of sending, writes and atomics are placed in the order of starting. */
#define MSG_ORDER                                                                                  \
	(FI_ORDER_SAS | FI_ORDER_WAW | FI_ORDER_RMA_WAW | FI_ORDER_ATOMIC_WAW |                    \
	 FI_ORDER_ATOMIC_WAR | FI_ORDER_ATOMIC_RAW | FI_ORDER_ATOMIC_RAR)

/* Reads are in order with writes where both are atomics. */
#define ATOMIC_BYTES (UP_ATOMIC_MAX_COUNT * sizeof(uint64_t))

#define MR_MODES (FI_MR_VIRT_ADDR | FI_MR_PROV_KEY | FI_MR_ALLOCATED)

/* ---- hints ---- */

static int refuse(const char *what)
{
	FI_INFO(&upf_provider, FI_LOG_CORE, "hints ask for what is not there: %s\n", what);
	return -FI_ENODATA;
}

#define REFUSE_UNLESS(condition, what)                                                             \
	do {                                                                                       \
		if (!(condition))                                                                  \
			return refuse(what);                                                       \
	} while (0)

bool upf_op_flags_valid(uint64_t flags, bool tx)
{
	return !(flags & ~(uint64_t)(tx ? TX_FLAGS : RX_FLAGS));
}

/* Capabilities of the other direction mean nothing here; some users, OpenSHMEM's among them, give
 * both directions all that they want of the endpoint. */
static int check_tx(const struct fi_tx_attr *a)
{
	REFUSE_UNLESS(!(a->caps & ~(uint64_t)ACCEPTED_CAPS), "tx_attr.caps");
	REFUSE_UNLESS(upf_op_flags_valid(a->op_flags, true), "tx_attr.op_flags");
	REFUSE_UNLESS(!(a->msg_order & ~(uint64_t)MSG_ORDER), "tx_attr.msg_order");
	REFUSE_UNLESS(!a->comp_order, "tx_attr.comp_order");
	REFUSE_UNLESS(a->inject_size <= UP_INJECT_MAX, "tx_attr.inject_size");
	REFUSE_UNLESS(a->iov_limit <= UP_IOV_MAX, "tx_attr.iov_limit");
	REFUSE_UNLESS(a->rma_iov_limit <= UP_IOV_MAX, "tx_attr.rma_iov_limit");
	REFUSE_UNLESS(a->size <= upf_params.tx_size, "tx_attr.size");
	return 0;
}

static int check_rx(const struct fi_rx_attr *a)
{
	REFUSE_UNLESS(!(a->caps & ~(uint64_t)ACCEPTED_CAPS), "rx_attr.caps");
	REFUSE_UNLESS(upf_op_flags_valid(a->op_flags, false), "rx_attr.op_flags");
	REFUSE_UNLESS(!(a->msg_order & ~(uint64_t)MSG_ORDER), "rx_attr.msg_order");
	REFUSE_UNLESS(!a->comp_order, "rx_attr.comp_order");
	REFUSE_UNLESS(!a->total_buffered_recv, "rx_attr.total_buffered_recv");
	REFUSE_UNLESS(a->iov_limit <= UP_IOV_MAX, "rx_attr.iov_limit");
	REFUSE_UNLESS(a->size <= upf_params.rx_size, "rx_attr.size");
	return 0;
}

static int check_ep(const struct fi_ep_attr *a)
{
	REFUSE_UNLESS(a->type == FI_EP_UNSPEC || a->type == FI_EP_RDM, "ep_attr.type");
	REFUSE_UNLESS(a->protocol == FI_PROTO_UNSPEC || a->protocol == UPF_PROTOCOL,
		      "ep_attr.protocol");
	REFUSE_UNLESS(a->protocol_version <= 1, "ep_attr.protocol_version");
	REFUSE_UNLESS(a->max_msg_size <= SSIZE_MAX, "ep_attr.max_msg_size");
	REFUSE_UNLESS(!a->msg_prefix_size, "ep_attr.msg_prefix_size");
	REFUSE_UNLESS(a->max_order_raw_size <= ATOMIC_BYTES &&
			      a->max_order_war_size <= ATOMIC_BYTES,
		      "ep_attr.max_order_raw_size, max_order_war_size");
	REFUSE_UNLESS(a->tx_ctx_cnt <= 1 && a->rx_ctx_cnt <= 1, "ep_attr: contexts");
	REFUSE_UNLESS(!a->auth_key_size, "ep_attr.auth_key");
	return 0;
}

/* FI_PROGRESS_CONTROL_UNIFIED (fi_domain(3)), which libfabric has since 1.21: manual, and nobody
 * calls two functions at once. */
#define PROGRESS_UNIFIED 3

static bool is_progress(enum fi_progress p)
{
	return (unsigned)p <= PROGRESS_UNIFIED;
}

int upf_check_domain(const struct fi_domain_attr *a)
{
	REFUSE_UNLESS(!a->name || !strcmp(a->name, UPF_NAME), "domain_attr.name");
	REFUSE_UNLESS((unsigned)a->threading <= FI_THREAD_ENDPOINT, "domain_attr.threading");
	REFUSE_UNLESS(is_progress(a->control_progress) && is_progress(a->data_progress),
		      "domain_attr: progress");
	REFUSE_UNLESS((unsigned)a->resource_mgmt <= FI_RM_ENABLED, "domain_attr.resource_mgmt");
	REFUSE_UNLESS((unsigned)a->av_type <= FI_AV_TABLE, "domain_attr.av_type");
	REFUSE_UNLESS(a->mr_key_size <= sizeof(uint64_t), "domain_attr.mr_key_size");
	REFUSE_UNLESS(a->cq_data_size <= sizeof(uint64_t), "domain_attr.cq_data_size");
	REFUSE_UNLESS(a->mr_iov_limit <= 1, "domain_attr.mr_iov_limit");
	REFUSE_UNLESS(!(a->caps & ~(uint64_t)DOMAIN_CAPS), "domain_attr.caps");
	REFUSE_UNLESS(a->max_ep_tx_ctx <= 1 && a->max_ep_rx_ctx <= 1 && !a->max_ep_stx_ctx &&
			      !a->max_ep_srx_ctx,
		      "domain_attr: contexts");
	REFUSE_UNLESS(!a->auth_key_size, "domain_attr.auth_key");
	REFUSE_UNLESS(!a->max_err_data, "domain_attr.max_err_data");
	return 0;
}

static int check_fabric(const struct fi_fabric_attr *a)
{
	REFUSE_UNLESS(!a->name || !strcmp(a->name, UPF_NAME), "fabric_attr.name");
	return 0;
}

/* An address of this end that is left to the endpoint: all zero. */
static bool is_any(const void *addr, size_t len)
{
	static const struct upf_addr any;

	return len == sizeof(any) && addr && !memcmp(addr, &any, len);
}

int upf_check_endpoint(const struct fi_info *info)
{
	int ret = 0;

	if (info->tx_attr)
		ret = check_tx(info->tx_attr);
	if (!ret && info->rx_attr)
		ret = check_rx(info->rx_attr);
	if (!ret && info->ep_attr)
		ret = check_ep(info->ep_attr);
	return ret;
}

static int check(const struct fi_info *h)
{
	int ret;

	REFUSE_UNLESS(!(h->caps & ~(uint64_t)ACCEPTED_CAPS), "caps");
	REFUSE_UNLESS(h->addr_format == FI_FORMAT_UNSPEC || h->addr_format == UPF_ADDR_FORMAT,
		      "addr_format");
	REFUSE_UNLESS(!h->src_addrlen || is_any(h->src_addr, h->src_addrlen), "src_addr");
	REFUSE_UNLESS(!h->dest_addrlen || upf_addr_valid(h->dest_addr, h->dest_addrlen),
		      "dest_addr");
	REFUSE_UNLESS(!h->nic, "nic");
	ret = upf_check_endpoint(h);
	if (!ret && h->domain_attr)
		ret = upf_check_domain(h->domain_attr);
	if (!ret && h->fabric_attr)
		ret = check_fabric(h->fabric_attr);
	return ret;
}

/* ---- the offer ---- */

/* Of the directions `all`: those that are asked for, or all when none is. */
static uint64_t directions(uint64_t caps, uint64_t all)
{
	return caps & all ? caps & all : all;
}

static uint64_t choose_caps(const struct fi_info *h)
{
	uint64_t caps = h ? h->caps : 0, all;

	if (!caps)
		return CAPS;
	/* Directions without a kind are of any kind. */
	if (!(caps & KINDS))
		caps |= (caps & MESSAGE_DIRECTIONS || !(caps & RMA_DIRECTIONS) ? FI_MSG | FI_TAGGED
									       : 0) |
			(caps & RMA_DIRECTIONS || !(caps & MESSAGE_DIRECTIONS) ? FI_RMA | FI_ATOMIC
									       : 0);
	all = (caps & (FI_MSG | FI_TAGGED) ? MESSAGE_DIRECTIONS : 0) |
	      (caps & (FI_RMA | FI_ATOMIC) ? RMA_DIRECTIONS : 0);
	return (caps & ~(uint64_t)(MESSAGE_DIRECTIONS | RMA_DIRECTIONS)) | directions(caps, all) |
	       FREE_CAPS;
}

/* What is offered where hints say nothing or 0. */
#define HINT(h, part, field, preset)                                                               \
	((h) && (h)->part && (h)->part->field ? (h)->part->field : (preset))

static void set_tx(struct fi_tx_attr *a, uint64_t caps, const struct fi_info *h)
{
	a->caps = caps & TX_CAPS;
	a->op_flags = HINT(h, tx_attr, op_flags, 0);
	a->msg_order = HINT(h, tx_attr, msg_order, MSG_ORDER);
	a->inject_size = UP_INJECT_MAX;
	a->size = HINT(h, tx_attr, size, upf_params.tx_size);
	a->iov_limit = UP_IOV_MAX;
	a->rma_iov_limit = UP_IOV_MAX;
}

static void set_rx(struct fi_rx_attr *a, uint64_t caps, const struct fi_info *h)
{
	a->caps = caps & RX_CAPS;
	a->op_flags = HINT(h, rx_attr, op_flags, 0);
	a->msg_order = HINT(h, rx_attr, msg_order, MSG_ORDER);
	a->size = HINT(h, rx_attr, size, upf_params.rx_size);
	a->iov_limit = UP_IOV_MAX;
}

static void set_ep(struct fi_ep_attr *a)
{
	a->type = FI_EP_RDM;
	a->protocol = UPF_PROTOCOL;
	a->protocol_version = 1;
	a->max_msg_size = SSIZE_MAX;
	a->max_order_raw_size = ATOMIC_BYTES;
	a->max_order_war_size = ATOMIC_BYTES;
	a->max_order_waw_size = SSIZE_MAX;
	a->mem_tag_format = UINT64_MAX;
	a->tx_ctx_cnt = 1;
	a->rx_ctx_cnt = 1;
}

/* Of the modes, those that the user can work with, as both ways are there. Users of old versions
 * know two models, and one of them if they do not say. */
static int choose_mr_mode(uint32_t version, const struct fi_info *h)
{
	int asked = HINT(h, domain_attr, mr_mode, 0);

	if (asked == UPF_MR_BASIC || asked == UPF_MR_SCALABLE)
		return asked;
	if (FI_VERSION_LT(version, FI_VERSION(1, 5)))
		return UPF_MR_SCALABLE;
	return asked & MR_MODES;
}

static int set_domain(struct fi_domain_attr *a, uint32_t version, uint64_t caps,
		      const struct fi_info *h)
{
	a->name = strdup(UPF_NAME);
	if (!a->name)
		return -FI_ENOMEM;
	a->threading = HINT(h, domain_attr, threading, FI_THREAD_SAFE);
	a->control_progress = HINT(h, domain_attr, control_progress, FI_PROGRESS_AUTO);
	a->data_progress = HINT(h, domain_attr, data_progress, FI_PROGRESS_MANUAL);
	a->resource_mgmt = FI_RM_ENABLED;
	a->av_type = HINT(h, domain_attr, av_type, FI_AV_TABLE);
	a->mr_mode = choose_mr_mode(version, h);
	a->mr_key_size = sizeof(uint64_t);
	a->cq_data_size = sizeof(uint64_t);
	a->cq_cnt = 65536;
	a->ep_cnt = 4096;
	a->tx_ctx_cnt = 4096;
	a->rx_ctx_cnt = 4096;
	a->max_ep_tx_ctx = 1;
	a->max_ep_rx_ctx = 1;
	a->cntr_cnt = 65536;
	a->mr_iov_limit = 1;
	a->mr_cnt = 1u << 20;
	a->caps = caps & DOMAIN_CAPS;
#ifdef UPF_HAVE_MAX_CNTR_VALUE
	a->max_cntr_value = a->max_err_cntr_value = UINT64_MAX;
#endif
	return 0;
}

static int set_addrs(struct fi_info *info, const struct fi_info *h)
{
	info->src_addr = calloc(1, sizeof(struct upf_addr));
	if (!info->src_addr)
		return -FI_ENOMEM;
	info->src_addrlen = sizeof(struct upf_addr);
	if (!h || !h->dest_addrlen)
		return 0;
	info->dest_addr = malloc(sizeof(struct upf_addr));
	if (!info->dest_addr)
		return -FI_ENOMEM;
	memcpy(info->dest_addr, h->dest_addr, sizeof(struct upf_addr));
	info->dest_addrlen = sizeof(struct upf_addr);
	return 0;
}

static int fill(struct fi_info *info, uint32_t version, const struct fi_info *h)
{
	int ret;

	info->caps = choose_caps(h);
	info->addr_format = UPF_ADDR_FORMAT;
	set_tx(info->tx_attr, info->caps, h);
	set_rx(info->rx_attr, info->caps, h);
	set_ep(info->ep_attr);
	ret = set_domain(info->domain_attr, version, info->caps, h);
	if (ret)
		return ret;
	info->fabric_attr->name = strdup(UPF_NAME);
	info->fabric_attr->prov_version = UPF_PROV_VERSION;
	info->fabric_attr->api_version = version;
	return info->fabric_attr->name ? set_addrs(info, h) : -FI_ENOMEM;
}

int upf_getinfo(uint32_t version, const char *node, const char *service, uint64_t flags,
		const struct fi_info *hints, struct fi_info **out)
{
	struct fi_info *info;
	int ret;

	/* There are no names of nodes, as addresses come from endpoints. Of a service, which some
	 * pass in any case, nothing depends. */
	if (node)
		return refuse("node");
	ret = hints ? check(hints) : 0;
	if (ret)
		return ret;
	info = fi_allocinfo();
	if (!info)
		return -FI_ENOMEM;
	ret = fill(info, version, hints);
	if (ret) {
		fi_freeinfo(info);
		return ret;
	}
	*out = info;
	return 0;
}
