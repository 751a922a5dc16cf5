/* SPDX-License-Identifier: BSD-2-Clause */
/* What the provider offers, and that it offers nothing to who asks for what is not there. */
#include "fi_rig.h"

#include <stdlib.h>

/* Offers for the hints; frees them. */
static int offers(struct fi_info *hints, struct fi_info **info)
{
	int ret = fi_getinfo(FI_RIG_API, NULL, NULL, 0, hints, info);

	fi_freeinfo(hints);
	return ret;
}

static void refused(struct fi_info *hints)
{
	struct fi_info *info = NULL;

	assert_int_equal(offers(hints, &info), -FI_ENODATA);
	assert_null(info);
}

static void test_offer(void **state)
{
	struct fi_info *info;

	assert_int_equal(offers(fi_rig_hints(), &info), 0);
	assert_null(info->next);
	assert_string_equal(info->fabric_attr->prov_name, "underpass");
	assert_string_equal(info->domain_attr->name, "underpass");
	assert_int_equal(info->ep_attr->type, FI_EP_RDM);
	assert_int_equal(info->mode, 0);
	assert_int_equal(info->caps & (FI_MSG | FI_TAGGED | FI_RMA | FI_ATOMIC),
			 FI_MSG | FI_TAGGED | FI_RMA | FI_ATOMIC);
	assert_int_equal(info->domain_attr->mr_mode, 0);
	assert_int_equal(info->tx_attr->inject_size, 4096);
	assert_true(info->tx_attr->msg_order & FI_ORDER_SAS);
	assert_int_equal(info->src_addrlen, FI_NAME_MAX);
	fi_freeinfo(info);
}

static void test_caps(void **state)
{
	static const uint64_t kinds[] = {FI_MSG, FI_TAGGED, FI_RMA, FI_ATOMIC};
	struct fi_info *hints, *info;

	for (unsigned set = 1; set < 16; set++) {
		uint64_t caps = 0;

		for (unsigned i = 0; i < 4; i++)
			caps |= set >> i & 1 ? kinds[i] : 0;
		hints = fi_rig_hints();
		hints->caps = caps;
		assert_int_equal(offers(hints, &info), 0);
		/* No other kind comes along. */
		assert_int_equal(info->caps & (FI_MSG | FI_TAGGED | FI_RMA | FI_ATOMIC), caps);
		assert_int_equal(!!(info->caps & FI_SEND), !!(caps & (FI_MSG | FI_TAGGED)));
		assert_int_equal(!!(info->caps & FI_READ), !!(caps & (FI_RMA | FI_ATOMIC)));
		fi_freeinfo(info);
	}
	hints = fi_rig_hints();
	hints->caps = FI_MSG | FI_SEND;
	assert_int_equal(offers(hints, &info), 0);
	assert_false(info->caps & FI_RECV);
	fi_freeinfo(info);
	for (unsigned bit = 0; bit < 64; bit++) {
		static const uint64_t have = FI_MSG | FI_TAGGED | FI_RMA | FI_ATOMIC | FI_SEND |
					     FI_RECV | FI_READ | FI_WRITE | FI_REMOTE_READ |
					     FI_REMOTE_WRITE | FI_MULTI_RECV | FI_DIRECTED_RECV |
					     FI_SOURCE | FI_RMA_EVENT | FI_FENCE | FI_LOCAL_COMM |
					     FI_REMOTE_COMM | FI_REMOTE_CQ_DATA;

		if (have >> bit & 1)
			continue;
		hints = fi_rig_hints();
		hints->caps = UINT64_C(1) << bit;
		refused(hints);
	}
}

/* One thing each that is not there. */
static void test_refused(void **state)
{
	struct fi_info *hints;

#define REFUSED(what)                                                                              \
	do {                                                                                       \
		hints = fi_rig_hints();                                                            \
		what;                                                                              \
		refused(hints);                                                                    \
	} while (0)
	REFUSED(hints->ep_attr->type = FI_EP_MSG);
	REFUSED(hints->ep_attr->type = FI_EP_DGRAM);
	REFUSED(hints->ep_attr->protocol = FI_PROTO_SOCK_TCP);
	REFUSED(hints->ep_attr->max_msg_size = SIZE_MAX);
	REFUSED(hints->ep_attr->msg_prefix_size = 8);
	REFUSED(hints->ep_attr->max_order_raw_size = 2049);
	REFUSED(hints->ep_attr->max_order_war_size = 2049);
	REFUSED(hints->ep_attr->tx_ctx_cnt = 2);
	REFUSED(hints->ep_attr->rx_ctx_cnt = FI_SHARED_CONTEXT);
	REFUSED(hints->tx_attr->inject_size = 4097);
	REFUSED(hints->tx_attr->iov_limit = 17);
	REFUSED(hints->tx_attr->rma_iov_limit = 17);
	REFUSED(hints->tx_attr->op_flags = FI_COMMIT_COMPLETE);
	REFUSED(hints->tx_attr->msg_order = FI_ORDER_RAW);
	REFUSED(hints->tx_attr->comp_order = FI_ORDER_RAR);
	REFUSED(hints->tx_attr->caps = FI_TRIGGER);
	REFUSED(hints->rx_attr->msg_order = FI_ORDER_WAR);
	REFUSED(hints->rx_attr->comp_order = RIG_ORDER_DATA);
	REFUSED(hints->rx_attr->caps = FI_HMEM);
	REFUSED(hints->rx_attr->size = SIZE_MAX);
	REFUSED(hints->domain_attr->mr_key_size = 9);
	REFUSED(hints->domain_attr->mr_iov_limit = 2);
	REFUSED(hints->domain_attr->max_err_data = 1);
	REFUSED(hints->domain_attr->caps = FI_SHARED_AV);
	REFUSED(hints->domain_attr->name = strdup("elsewhere"));
	REFUSED(hints->fabric_attr->name = strdup("elsewhere"));
	REFUSED(hints->addr_format = FI_SOCKADDR_IN);
	REFUSED(hints->src_addr = calloc(1, 16); hints->src_addrlen = 16);
	REFUSED(hints->dest_addr = calloc(1, FI_NAME_MAX); hints->dest_addrlen = FI_NAME_MAX);
#undef REFUSED
}

/* Modes of registration are the user's choice; those that are not known here are not asked of it.
 */
static void test_mr_modes(void **state)
{
	static const struct {
		uint32_t version;
		int asked, want;
	} cases[] = {
		{FI_RIG_API, 0, 0},
		{FI_RIG_API, RIG_MR_BASIC, RIG_MR_BASIC},
		{FI_RIG_API, RIG_MR_SCALABLE, RIG_MR_SCALABLE},
		{FI_RIG_API, FI_MR_VIRT_ADDR | FI_MR_LOCAL | FI_MR_HMEM, FI_MR_VIRT_ADDR},
		{FI_RIG_API, FI_MR_PROV_KEY | FI_MR_ALLOCATED | FI_MR_ENDPOINT,
		 FI_MR_PROV_KEY | FI_MR_ALLOCATED},
		{FI_VERSION(1, 4), 0, RIG_MR_SCALABLE},
		{FI_VERSION(1, 4), RIG_MR_BASIC, RIG_MR_BASIC},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct fi_info *hints = fi_rig_hints(), *info;

		hints->domain_attr->mr_mode = cases[i].asked;
		assert_int_equal(fi_getinfo(cases[i].version, NULL, NULL, 0, hints, &info), 0);
		assert_int_equal(info->domain_attr->mr_mode, cases[i].want);
		fi_freeinfo(info);
		fi_freeinfo(hints);
	}
}

/* What hints choose among what is there, the offer has. */
static void test_choices(void **state)
{
	struct fi_info *hints = fi_rig_hints(), *info;

	hints->domain_attr->threading = FI_THREAD_COMPLETION;
	hints->domain_attr->data_progress = FI_PROGRESS_AUTO;
	hints->domain_attr->av_type = FI_AV_MAP;
	hints->tx_attr->size = 17;
	hints->tx_attr->op_flags = FI_DELIVERY_COMPLETE;
	assert_int_equal(offers(hints, &info), 0);
	assert_int_equal(info->domain_attr->threading, FI_THREAD_COMPLETION);
	assert_int_equal(info->domain_attr->data_progress, FI_PROGRESS_AUTO);
	assert_int_equal(info->domain_attr->av_type, FI_AV_MAP);
	assert_int_equal(info->tx_attr->size, 17);
	assert_int_equal(info->tx_attr->op_flags, FI_DELIVERY_COMPLETE);
	fi_freeinfo(info);
}

/* Each direction is asked for all that the endpoint has: what is of the other one is left out, here
 * and where an endpoint is made. */
static void test_both_directions(void **state)
{
	const uint64_t caps = FI_RMA | FI_ATOMIC | FI_READ | FI_WRITE | FI_RECV | FI_FENCE |
			      FI_REMOTE_READ | FI_REMOTE_WRITE | FI_RMA_EVENT;
	struct fi_info *hints = fi_rig_hints(), *info;
	struct fid_ep *ep;
	struct fi_rig rig;

	hints->tx_attr->caps = hints->rx_attr->caps = caps;
	assert_int_equal(offers(hints, &info), 0);
	assert_int_equal(info->tx_attr->caps & (FI_RECV | FI_REMOTE_READ | FI_RMA_EVENT), 0);
	assert_int_equal(info->rx_attr->caps & (FI_READ | FI_WRITE | FI_FENCE), 0);
	fi_rig_setup(&rig, NULL);
	info->tx_attr->caps = info->rx_attr->caps = caps;
	assert_int_equal(fi_endpoint(rig.a.domain, info, &ep, NULL), 0);
	assert_int_equal(fi_close(&ep->fid), 0);
	info->rx_attr->caps |= FI_TRIGGER;
	assert_int_equal(fi_endpoint(rig.a.domain, info, &ep, NULL), -FI_EINVAL);
	fi_freeinfo(info);
	fi_rig_teardown(&rig);
}

/* FI_PROGRESS_CONTROL_UNIFIED, which Open MPI 5 asks for, and the next that there may be. */
static void test_later_progress(void **state)
{
	const enum fi_progress unified = (enum fi_progress)3, unknown = (enum fi_progress)4;
	struct fi_info *hints = fi_rig_hints(), *info;

	hints->domain_attr->control_progress = unified;
	hints->domain_attr->data_progress = unified;
	assert_int_equal(offers(hints, &info), 0);
	assert_int_equal(info->domain_attr->control_progress, unified);
	assert_int_equal(info->domain_attr->data_progress, unified);
	fi_freeinfo(info);
	hints = fi_rig_hints();
	hints->domain_attr->control_progress = unknown;
	refused(hints);
}

/* What is bound to an endpoint before it is enabled, and what fails without. */
static void test_states(void **state)
{
	struct fi_av_attr av_attr = {.type = FI_AV_MAP};
	struct fi_cq_attr cq_attr = {.format = FI_CQ_FORMAT_TAGGED};
	struct fi_info *info;
	struct fid_fabric *fabric;
	struct fid_domain *domain;
	struct fid_av *av;
	struct fid_cq *cq;
	struct fid_ep *ep;

	assert_int_equal(offers(fi_rig_hints(), &info), 0);
	assert_int_equal(fi_fabric(info->fabric_attr, &fabric, NULL), 0);
	assert_int_equal(fi_domain(fabric, info, &domain, NULL), 0);
	assert_int_equal(fi_endpoint(domain, info, &ep, NULL), 0);
	assert_int_equal(fi_av_open(domain, &av_attr, &av, NULL), 0);
	assert_int_equal(fi_cq_open(domain, &cq_attr, &cq, NULL), 0);
	assert_int_equal(fi_enable(ep), -FI_ENOAV);
	assert_int_equal(fi_recv(ep, NULL, 0, NULL, FI_ADDR_UNSPEC, NULL), -FI_EOPBADSTATE);
	assert_int_equal(fi_ep_bind(ep, &av->fid, 0), 0);
	assert_int_equal(fi_enable(ep), -FI_ENOCQ);
	assert_int_equal(fi_send(ep, "x", 1, NULL, 0, NULL), -FI_EOPBADSTATE);
	assert_int_equal(fi_ep_bind(ep, &cq->fid, FI_TRANSMIT | FI_RECV), 0);
	assert_int_equal(fi_ep_bind(ep, &cq->fid, FI_RECV), -FI_EINVAL);
	assert_int_equal(fi_enable(ep), 0);
	assert_int_equal(fi_send(ep, "x", 1, NULL, 0, NULL), -FI_EINVAL);
	assert_int_equal(ep->ops->tx_size_left(ep), -FI_ENOSYS);
	/* Nothing goes while something is made of it. */
	assert_int_equal(fi_close(&fabric->fid), -FI_EBUSY);
	assert_int_equal(fi_close(&domain->fid), -FI_EBUSY);
	assert_int_equal(fi_close(&cq->fid), -FI_EBUSY);
	assert_int_equal(fi_close(&av->fid), -FI_EBUSY);
	assert_int_equal(fi_close(&ep->fid), 0);
	assert_int_equal(fi_close(&cq->fid), 0);
	assert_int_equal(fi_close(&av->fid), 0);
	assert_int_equal(fi_close(&domain->fid), 0);
	assert_int_equal(fi_close(&fabric->fid), 0);
	fi_freeinfo(info);
}

/* Queues and counters of another domain, with another number of threads perhaps, are none of ours;
 * an endpoint is what was offered, or it is not opened. */
static void test_other_domain(void **state)
{
	struct fi_cq_attr cq_attr = {.format = FI_CQ_FORMAT_TAGGED};
	struct fi_cntr_attr cntr_attr = {.events = FI_CNTR_EVENTS_COMP};
	struct fi_av_attr av_attr = {.type = (enum fi_av_type)3};
	struct fid_cntr *cntr;
	struct fid_cq *cq;
	struct fid_av *av;
	struct fid_ep *ep;
	struct fi_rig rig;

	fi_rig_setup(&rig, NULL);
	assert_int_equal(fi_endpoint(rig.a.domain, rig.info, &ep, NULL), 0);
	assert_int_equal(fi_cq_open(rig.b.domain, &cq_attr, &cq, NULL), 0);
	assert_int_equal(fi_cntr_open(rig.b.domain, &cntr_attr, &cntr, NULL), 0);
	assert_int_equal(fi_ep_bind(ep, &cq->fid, FI_TRANSMIT | FI_RECV), -FI_EINVAL);
	assert_int_equal(fi_ep_bind(ep, &cntr->fid, FI_SEND), -FI_EINVAL);
	assert_int_equal(fi_ep_bind(ep, &rig.b.av->fid, 0), -FI_EINVAL);
	assert_int_equal(fi_ep_bind(ep, &rig.a.av->fid, FI_RECV), -FI_EINVAL);
	assert_int_equal(fi_close(&cq->fid) | fi_close(&cntr->fid) | fi_close(&ep->fid), 0);
	rig.info->tx_attr->op_flags = FI_COMMIT_COMPLETE;
	assert_int_equal(fi_endpoint(rig.a.domain, rig.info, &ep, NULL), -FI_EINVAL);
	rig.info->tx_attr->op_flags = 0;
	assert_int_equal(fi_av_open(rig.a.domain, &av_attr, &av, NULL), -FI_EINVAL);
	fi_rig_teardown(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_offer),		cmocka_unit_test(test_caps),
		cmocka_unit_test(test_refused),		cmocka_unit_test(test_mr_modes),
		cmocka_unit_test(test_choices),		cmocka_unit_test(test_later_progress),
		cmocka_unit_test(test_states),		cmocka_unit_test(test_other_domain),
		cmocka_unit_test(test_both_directions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
