/* SPDX-License-Identifier: BSD-2-Clause */
/* Interrupts: DEVICE_GET_IRQ_INFO and DEVICE_SET_IRQS. Every vector is signalled by an eventfd. */
#include "vfio/vfio_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int up_vu_irq_init(struct up_vfio_server *srv, const struct up_vfio_config *cfg)
{
	unsigned i, v;

	for (i = 0; i < cfg->nr_irqs; i++) {
		struct vu_irq *irq = &srv->irqs[i];

		irq->cfg = cfg->irqs[i];
		irq->eventfd = calloc(irq->cfg.count + 1, sizeof(*irq->eventfd));
		if (!irq->eventfd)
			return -ENOMEM;
		for (v = 0; v < irq->cfg.count; v++)
			irq->eventfd[v] = -1;
	}
	srv->nr_irqs = cfg->nr_irqs;
	return 0;
}

void up_vu_irq_fini(struct up_vfio_server *srv)
{
	unsigned i;

	for (i = 0; i < UP_VFIO_MAX_IRQ_INDEXES; i++)
		free(srv->irqs[i].eventfd);
}

int up_vu_handle_irq_info(struct up_vfio_server *srv, struct vu_message *msg,
			  struct vu_reply *reply)
{
	const struct up_vfio_irq *irq;
	struct vu_irq_info info;

	up_vu_message_get(msg, &info, sizeof(info));
	if (info.argsz < sizeof(info) || info.index >= srv->nr_irqs) {
		up_vu_complain(srv, "DEVICE_GET_IRQ_INFO: argsz %u, index %u", info.argsz,
			       info.index);
		return -EINVAL;
	}
	irq = &srv->irqs[info.index].cfg;
	info.argsz = sizeof(info);
	info.flags = irq->count ? VU_IRQ_EVENTFD : 0;
	if (irq->count && irq->noresize)
		info.flags |= VU_IRQ_NORESIZE;
	info.count = irq->count;
	up_vu_reply_set(reply, &info, sizeof(info));
	return 0;
}

/* Give the device another eventfd, or -1, and close the previous one. */
static void set_vector(struct up_vfio_server *srv, unsigned index, unsigned vector, int fd)
{
	int *slot = &srv->irqs[index].eventfd[vector];
	int previous = *slot;

	if (previous < 0 && fd < 0)
		return;
	*slot = fd;
	srv->ops->irq_set(srv->dev, index, vector, fd);
	/* Whoever watches it with epoll may hold up its end as long as they like. */
	if (previous >= 0)
		up_vu_close(srv->backlog, previous);
}

static void disable_index(struct up_vfio_server *srv, unsigned index)
{
	unsigned v;

	for (v = 0; v < srv->irqs[index].cfg.count; v++)
		set_vector(srv, index, v, -1);
}

void up_vu_irq_disable_all(struct up_vfio_server *srv)
{
	unsigned i;

	for (i = 0; i < srv->nr_irqs; i++)
		disable_index(srv, i);
}

/* None of a message's descriptors counts if one is of no use. */
static int check_eventfds(struct up_vfio_server *srv, const struct vu_message *msg)
{
	unsigned i;

	for (i = 0; i < msg->nr_fds; i++) {
		int ret = up_vu_raise_check(msg->fds[i]);

		if (ret == -EINVAL)
			up_vu_complain(srv, "DEVICE_SET_IRQS: a descriptor is not an eventfd");
		else if (ret < 0)
			up_vu_complain(srv, "DEVICE_SET_IRQS: fcntl failed: %s", strerror(-ret));
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* Eventfds for [start, start + count), or none to disable them. */
static int assign_eventfds(struct up_vfio_server *srv, struct vu_message *msg,
			   const struct vu_irq_set *set)
{
	uint32_t i;
	int ret;

	if (msg->nr_fds && msg->nr_fds != set->count) {
		up_vu_complain(srv, "DEVICE_SET_IRQS: %u descriptors for %u vectors", msg->nr_fds,
			       set->count);
		return -EINVAL;
	}
	ret = check_eventfds(srv, msg);
	if (ret < 0)
		return ret;
	for (i = 0; i < set->count; i++) {
		int fd = msg->nr_fds ? up_vu_message_take_fd(msg, i) : -1;

		set_vector(srv, set->index, set->start + i, fd);
	}
	return 0;
}

/* The client raises vectors by itself, all of the range or those with a true byte in `chosen`. */
static void trigger(struct up_vfio_server *srv, const struct vu_irq_set *set, const uint8_t *chosen)
{
	uint32_t i;

	for (i = 0; i < set->count; i++) {
		int fd = srv->irqs[set->index].eventfd[set->start + i];

		if (fd >= 0 && (!chosen || chosen[i]))
			up_vfio_raise(fd);
	}
}

static int check_set(struct up_vfio_server *srv, const struct vu_irq_set *set)
{
	uint32_t end;

	if (set->argsz < sizeof(*set) || set->index >= srv->nr_irqs ||
	    __builtin_add_overflow(set->start, set->count, &end) ||
	    end > srv->irqs[set->index].cfg.count) {
		up_vu_complain(srv, "DEVICE_SET_IRQS: argsz %u, index %u, %u vectors at %u",
			       set->argsz, set->index, set->count, set->start);
		return -EINVAL;
	}
	return 0;
}

int up_vu_handle_set_irqs(struct up_vfio_server *srv, struct vu_message *msg,
			  struct vu_reply *reply)
{
	struct vu_irq_set set;
	size_t data = msg->payload_size - sizeof(set);
	int ret;

	(void)reply;
	up_vu_message_get(msg, &set, sizeof(set));
	ret = check_set(srv, &set);
	if (ret < 0)
		return ret;
	if (set.flags == (VU_IRQ_DATA_NONE | VU_IRQ_ACTION_TRIGGER) && !data && !msg->nr_fds &&
	    (set.count || !set.start)) {
		if (set.count)
			trigger(srv, &set, NULL);
		else
			disable_index(srv, set.index);
		return 0;
	}
	if (set.flags == (VU_IRQ_DATA_BOOL | VU_IRQ_ACTION_TRIGGER) && set.count &&
	    data == set.count && !msg->nr_fds) {
		trigger(srv, &set, msg->payload + sizeof(set));
		return 0;
	}
	if (set.flags == (VU_IRQ_DATA_EVENTFD | VU_IRQ_ACTION_TRIGGER) && set.count && !data)
		return assign_eventfds(srv, msg, &set);
	up_vu_complain(srv,
		       "DEVICE_SET_IRQS: flags 0x%x with %u vectors, %zu bytes, %u descriptors",
		       set.flags, set.count, data, msg->nr_fds);
	return -EINVAL;
}
