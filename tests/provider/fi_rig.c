/* SPDX-License-Identifier: BSD-2-Clause */
#include "fi_rig.h"

#include <stdlib.h>
#include <time.h>

/* A guard against hanging. */
#define PATIENCE_S 60

struct fi_info *fi_rig_hints(void)
{
	struct fi_info *hints = fi_allocinfo();

	assert_non_null(hints);
	hints->fabric_attr->prov_name = strdup("underpass");
	hints->ep_attr->type = FI_EP_RDM;
	return hints;
}

static void open_side(struct fi_rig *rig, struct fi_side *s, const struct fi_rig_attr *attr)
{
	struct fi_cq_attr cq = attr->cq;
	struct fi_av_attr av = {.type = FI_AV_TABLE};

	if (cq.format == FI_CQ_FORMAT_UNSPEC)
		cq.format = FI_CQ_FORMAT_TAGGED;
	assert_int_equal(fi_domain(rig->fabric, rig->info, &s->domain, NULL), 0);
	assert_int_equal(fi_av_open(s->domain, &av, &s->av, NULL), 0);
	assert_int_equal(fi_cq_open(s->domain, &cq, &s->txcq, s), 0);
	assert_int_equal(fi_cq_open(s->domain, &cq, &s->rxcq, s), 0);
	assert_int_equal(fi_endpoint(s->domain, rig->info, &s->ep, s), 0);
	assert_int_equal(fi_ep_bind(s->ep, &s->av->fid, 0), 0);
	assert_int_equal(fi_ep_bind(s->ep, &s->txcq->fid, FI_TRANSMIT | attr->tx_bind), 0);
	assert_int_equal(fi_ep_bind(s->ep, &s->rxcq->fid, FI_RECV), 0);
	if (attr->before_enable)
		attr->before_enable(s);
	assert_int_equal(fi_enable(s->ep), 0);
}

static void know(struct fi_side *s, struct fi_side *other)
{
	uint8_t addr[FI_NAME_MAX];
	size_t len = sizeof(addr);

	assert_int_equal(fi_getname(&other->ep->fid, addr, &len), 0);
	assert_int_equal(fi_av_insert(s->av, addr, 1, &s->peer, 0, NULL), 1);
}

void fi_rig_setup(struct fi_rig *rig, const struct fi_rig_attr *attr)
{
	static const struct fi_rig_attr none;
	struct fi_info *hints = fi_rig_hints();

	attr = attr ? attr : &none;
	memset(rig, 0, sizeof(*rig));
	hints->caps = attr->caps;
	hints->domain_attr->mr_mode = attr->mr_mode;
	hints->domain_attr->threading = attr->threading ? attr->threading : FI_THREAD_DOMAIN;
	hints->domain_attr->data_progress = attr->progress;
	assert_int_equal(fi_getinfo(FI_RIG_API, NULL, NULL, 0, hints, &rig->info), 0);
	fi_freeinfo(hints);
	assert_int_equal(fi_fabric(rig->info->fabric_attr, &rig->fabric, NULL), 0);
	open_side(rig, &rig->a, attr);
	open_side(rig, &rig->b, attr);
	know(&rig->a, &rig->b);
	know(&rig->b, &rig->a);
}

static void close_side(struct fi_side *s)
{
	assert_int_equal(fi_close(&s->ep->fid), 0);
	assert_int_equal(fi_close(&s->txcq->fid), 0);
	assert_int_equal(fi_close(&s->rxcq->fid), 0);
	assert_int_equal(fi_close(&s->av->fid), 0);
	assert_int_equal(fi_close(&s->domain->fid), 0);
}

void fi_rig_teardown(struct fi_rig *rig)
{
	close_side(&rig->a);
	close_side(&rig->b);
	assert_int_equal(fi_close(&rig->fabric->fid), 0);
	fi_freeinfo(rig->info);
}

void fi_rig_poke(struct fi_rig *rig)
{
	fi_cq_read(rig->a.txcq, NULL, 0);
	fi_cq_read(rig->a.rxcq, NULL, 0);
	fi_cq_read(rig->b.txcq, NULL, 0);
	fi_cq_read(rig->b.rxcq, NULL, 0);
}

static ssize_t read_until(struct fi_rig *rig, struct fid_cq *cq, struct fi_cq_tagged_entry *e)
{
	time_t end = time(NULL) + PATIENCE_S;
	ssize_t n;

	while ((n = fi_cq_read(cq, e, 1)) == -FI_EAGAIN) {
		assert_true(time(NULL) < end);
		fi_rig_poke(rig);
	}
	return n;
}

struct fi_cq_tagged_entry fi_rig_wait(struct fi_rig *rig, struct fid_cq *cq)
{
	struct fi_cq_tagged_entry e = {0};

	assert_int_equal(read_until(rig, cq, &e), 1);
	return e;
}

struct fi_cq_err_entry fi_rig_wait_error(struct fi_rig *rig, struct fid_cq *cq)
{
	struct fi_cq_err_entry err = {0};
	struct fi_cq_tagged_entry e;

	assert_int_equal(read_until(rig, cq, &e), -FI_EAVAIL);
	assert_int_equal(fi_cq_readerr(cq, &err, 0), 1);
	return err;
}

void fi_rig_nothing(struct fi_rig *rig, struct fid_cq *cq)
{
	struct fi_cq_tagged_entry e;

	for (int i = 0; i < 100; i++)
		fi_rig_poke(rig);
	assert_int_equal(fi_cq_read(cq, &e, 1), -FI_EAGAIN);
}

struct fi_region fi_rig_region(struct fi_rig *rig, struct fi_side *side, void *mem, size_t len,
			       uint64_t access, uint64_t key)
{
	int mode = rig->info->domain_attr->mr_mode;
	struct fi_region r;

	assert_int_equal(fi_mr_reg(side->domain, mem, len, access, 0, key, 0, &r.mr, NULL), 0);
	r.key = fi_mr_key(r.mr);
	r.base = mode == RIG_MR_BASIC || mode & FI_MR_VIRT_ADDR ? (uintptr_t)mem : 0;
	if (!(mode & (FI_MR_PROV_KEY | RIG_MR_BASIC)))
		assert_int_equal(r.key, key);
	return r;
}
