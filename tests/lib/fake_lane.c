/* SPDX-License-Identifier: BSD-2-Clause */
/* The lane of tests (fake_lane.h). One mutex guards all of them; endpoints' locks are taken before.
 */
#include "fake_lane.h"

#include "base/bytes.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct packet {
	struct up_list node;
	struct fake_link *link; /* while it is reserved: whose */
	enum up_lane_class class;
	size_t bytes;
	void *data; /* of exactly that size */
};

struct pipe {
	struct up_list packets;
	unsigned requests;
	unsigned ends; /* that still use it */
	bool closed;   /* by its sender: after what is in it, the connection is down */
};

struct lane {
	struct up_lane pub;
	struct up_list node; /* of `lanes` */
	struct up_list links;
	uint64_t id;
	int event;
	bool armed;
	bool raised;
};

struct fake_link {
	struct up_link pub;
	struct up_list node;
	struct lane *own;
	uint64_t remote;
	struct pipe *in, *out; /* NULL: it leads nowhere */
	struct packet *reserved;
	bool announced; /* or made by the core */
	bool down;
	bool told;
	uint8_t addr[UP_ADDR_MAX]; /* of the other end's endpoint, when it made contact */
	size_t addr_bytes;
};

struct fake_settings fake;

static pthread_mutex_t all = PTHREAD_MUTEX_INITIALIZER;
static struct up_list lanes = {&lanes, &lanes};
static uint64_t next_id = 1;

static struct lane *lane_of(struct up_lane *lane)
{
	return UP_CONTAINER_OF(lane, struct lane, pub);
}

static struct fake_link *link_of(struct up_link *link)
{
	return UP_CONTAINER_OF(link, struct fake_link, pub);
}

static struct lane *find_lane(uint64_t id)
{
	struct up_list *pos, *tmp;

	up_list_each (pos, tmp, &lanes) {
		struct lane *l = UP_CONTAINER_OF(pos, struct lane, node);

		if (l->id == id)
			return l;
	}
	return NULL;
}

static struct lane *lane_of_ep(struct up_ep *ep)
{
	struct up_list *pos, *tmp;

	up_list_each (pos, tmp, &lanes) {
		struct lane *l = UP_CONTAINER_OF(pos, struct lane, node);

		if (l->pub.ep == ep)
			return l;
	}
	return NULL;
}

static struct fake_link *find_link(struct lane *lane, uint64_t remote)
{
	struct up_list *pos, *tmp;

	up_list_each (pos, tmp, &lane->links) {
		struct fake_link *l = UP_CONTAINER_OF(pos, struct fake_link, node);

		if (l->remote == remote && !l->down)
			return l;
	}
	return NULL;
}

static void wake(struct lane *lane)
{
	const uint64_t one = 1;

	if (!lane || !lane->armed)
		return;
	lane->armed = false;
	lane->raised = write(lane->event, &one, sizeof(one)) == sizeof(one);
}

/* ---- life ---- */

static int fake_open(struct up_ep *ep, struct up_lane **lane)
{
	struct lane *l = calloc(1, sizeof(*l));

	if (!l)
		return -ENOMEM;
	l->pub.ops = &fake_lane;
	l->pub.ep = ep;
	l->pub.max_packet = FAKE_MAX_PACKET;
	l->pub.answer_room = fake.answer_room ? fake.answer_room : FAKE_ANSWER_ROOM;
	l->pub.direct_from = fake.direct ? 16384 : SIZE_MAX;
	l->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	up_list_init(&l->links);
	pthread_mutex_lock(&all);
	l->id = next_id++;
	up_list_add_tail(&lanes, &l->node);
	pthread_mutex_unlock(&all);
	*lane = &l->pub;
	return 0;
}

static void put_packet(struct packet *p)
{
	free(p->data);
	free(p);
}

static void put_pipe(struct pipe *p)
{
	if (!p || --p->ends)
		return;
	while (!up_list_empty(&p->packets)) {
		struct packet *packet = UP_CONTAINER_OF(p->packets.next, struct packet, node);

		up_list_del(&packet->node);
		put_packet(packet);
	}
	free(p);
}

static void drop_link(struct fake_link *l)
{
	up_list_del(&l->node);
	if (l->out) {
		l->out->closed = true;
		wake(find_lane(l->remote));
	}
	put_pipe(l->in);
	put_pipe(l->out);
	free(l);
}

static void fake_close(struct up_lane *lane)
{
	struct lane *l = lane_of(lane);

	pthread_mutex_lock(&all);
	while (!up_list_empty(&l->links))
		drop_link(UP_CONTAINER_OF(l->links.next, struct fake_link, node));
	up_list_del(&l->node);
	pthread_mutex_unlock(&all);
	close(l->event);
	free(l);
}

static size_t fake_address(const struct up_lane *lane, void *buf, size_t room)
{
	const struct lane *l = UP_CONTAINER_OF(lane, const struct lane, pub);

	if (room < sizeof(l->id))
		return room + 1;
	memcpy(buf, &l->id, sizeof(l->id));
	return sizeof(l->id);
}

/* ---- connections ---- */

static struct pipe *new_pipe(void)
{
	struct pipe *p = calloc(1, sizeof(*p));

	up_list_init(&p->packets);
	p->ends = 2;
	return p;
}

static struct fake_link *new_link(struct lane *own, uint64_t remote)
{
	struct fake_link *l = calloc(1, sizeof(*l));

	l->pub.lane = &own->pub;
	l->own = own;
	l->remote = remote;
	up_list_add_tail(&own->links, &l->node);
	return l;
}

static struct fake_link *contact(struct lane *own, struct lane *other)
{
	struct fake_link *here = new_link(own, other->id), *there;

	here->in = new_pipe();
	here->out = new_pipe();
	if (own == other) {
		/* To itself: one link, whose packets come back. */
		put_pipe(here->out);
		put_pipe(here->out);
		here->out = here->in;
		return here;
	}
	there = new_link(other, own->id);
	there->in = here->out;
	there->out = here->in;
	there->addr_bytes = up_ep_address(own->pub.ep, there->addr);
	wake(other);
	return here;
}

static int fake_connect(struct up_lane *lane, const void *addr, size_t len, struct up_link **link)
{
	struct lane *own = lane_of(lane), *other;
	struct fake_link *l;
	uint64_t id;

	if (len != sizeof(id))
		return -EINVAL;
	if (fake.blind)
		return -EHOSTUNREACH;
	memcpy(&id, addr, sizeof(id));
	pthread_mutex_lock(&all);
	l = find_link(own, id);
	other = find_lane(id);
	if (!l && other) {
		l = contact(own, other);
	} else if (!l) {
		l = new_link(own, id);
		l->down = true;
	}
	l->announced = true;
	pthread_mutex_unlock(&all);
	*link = &l->pub;
	return 0;
}

static void fake_disconnect(struct up_link *link)
{
	pthread_mutex_lock(&all);
	drop_link(link_of(link));
	pthread_mutex_unlock(&all);
}

/* ---- packets ---- */

static void *fake_reserve(struct up_link *link, size_t bytes, enum up_lane_class class)
{
	struct fake_link *l = link_of(link);
	struct packet *p;
	bool full;

	assert(bytes <= FAKE_MAX_PACKET && !l->reserved);
	pthread_mutex_lock(&all);
	full = class == UP_LANE_REQUEST && l->out &&
	       l->out->requests >= (fake.ring ? fake.ring : 64);
	pthread_mutex_unlock(&all);
	if (full || !l->out)
		return NULL;
	p = calloc(1, sizeof(*p));
	p->data = malloc(bytes);
	p->bytes = bytes;
	p->class = class;
	l->reserved = p;
	return p->data;
}

static void fake_commit(struct up_link *link, void *packet, size_t bytes)
{
	struct fake_link *l = link_of(link);
	struct packet *p = l->reserved;

	assert(p && p->data == packet && bytes <= p->bytes);
	l->reserved = NULL;
	p->data = realloc(p->data, bytes);
	p->bytes = bytes;
	pthread_mutex_lock(&all);
	up_list_add_tail(&l->out->packets, &p->node);
	l->out->requests += p->class == UP_LANE_REQUEST;
	wake(find_lane(l->remote));
	pthread_mutex_unlock(&all);
}

/* Delivers the first one. False: there is none, or it is not taken. */
static bool deliver(struct fake_link *l)
{
	struct packet *p;
	bool taken;

	if (!l->in || up_list_empty(&l->in->packets))
		return false;
	p = UP_CONTAINER_OF(l->in->packets.next, struct packet, node);
	pthread_mutex_unlock(&all);
	taken = up_core_packet(&l->pub, p->data, p->bytes);
	pthread_mutex_lock(&all);
	if (!taken)
		return false;
	up_list_del(&p->node);
	l->in->requests -= p->class == UP_LANE_REQUEST;
	put_packet(p);
	return true;
}

static void announce(struct fake_link *l)
{
	l->announced = true;
	pthread_mutex_unlock(&all);
	if (up_core_linked(l->own->pub.ep, &l->pub, l->addr, l->addr_bytes))
		l->down = l->told = true;
	pthread_mutex_lock(&all);
}

static unsigned poll_link(struct fake_link *l)
{
	unsigned n = 0;

	if (!l->announced)
		announce(l);
	while (!l->down && deliver(l))
		n++;
	if (l->in && l->in->closed && up_list_empty(&l->in->packets))
		l->down = true;
	if (l->down && !l->told) {
		l->told = true;
		pthread_mutex_unlock(&all);
		up_core_link_down(&l->pub, -EHOSTDOWN);
		pthread_mutex_lock(&all);
		n++;
	}
	return n;
}

static unsigned fake_poll(struct up_lane *lane)
{
	struct lane *l = lane_of(lane);
	struct up_list *pos, *tmp;
	unsigned n = 0;

	pthread_mutex_lock(&all);
	up_list_each (pos, tmp, &l->links)
		n += poll_link(UP_CONTAINER_OF(pos, struct fake_link, node));
	pthread_mutex_unlock(&all);
	return n;
}

static int fake_fd(struct up_lane *lane)
{
	return lane_of(lane)->event;
}

static bool something(struct lane *l)
{
	struct up_list *pos, *tmp;

	up_list_each (pos, tmp, &l->links) {
		struct fake_link *link = UP_CONTAINER_OF(pos, struct fake_link, node);

		if (!link->announced || (link->down && !link->told) ||
		    (!link->down && link->in &&
		     (link->in->closed || !up_list_empty(&link->in->packets))))
			return true;
	}
	return false;
}

static bool fake_arm(struct up_lane *lane)
{
	struct lane *l = lane_of(lane);
	uint64_t n;
	bool armed;

	pthread_mutex_lock(&all);
	if (l->raised && read(l->event, &n, sizeof(n)) == sizeof(n))
		l->raised = false;
	armed = l->armed = !something(l);
	pthread_mutex_unlock(&all);
	return armed;
}

/* ---- the other end's memory, which is this process's ---- */

static int moves(const struct up_link *link, uint64_t remote, size_t len)
{
	if (!fake.direct)
		return -EOPNOTSUPP;
	if (UP_CONTAINER_OF(link, const struct fake_link, pub)->down)
		return -EHOSTDOWN;
	if (fake.memory && !up_range_inside(remote, len, (uintptr_t)fake.memory, fake.memory_bytes))
		return -EFAULT;
	if (!fake.fail_direct)
		return 0;
	fake.fail_direct--;
	return -EFAULT;
}

static int fake_get(struct up_link *link, const struct iovec *local, size_t n, uint64_t remote,
		    size_t len)
{
	int r = moves(link, remote, len);

	if (!r)
		up_iov_write(local, n, 0, (const void *)(uintptr_t)remote, len);
	return r;
}

static int fake_put(struct up_link *link, const struct iovec *local, size_t n, uint64_t remote,
		    size_t len)
{
	int r = moves(link, remote, len);

	if (!r)
		up_iov_read((void *)(uintptr_t)remote, local, n, 0, len);
	return r;
}

const struct up_lane_ops fake_lane = {
	.name = "fake",
	.open = fake_open,
	.close = fake_close,
	.address = fake_address,
	.connect = fake_connect,
	.disconnect = fake_disconnect,
	.reserve = fake_reserve,
	.commit = fake_commit,
	.poll = fake_poll,
	.fd = fake_fd,
	.arm = fake_arm,
	.get = fake_get,
	.put = fake_put,
};

/* ---- what tests ask for ---- */

void fake_inject(struct up_ep *to, struct up_ep *from, const void *packet, size_t bytes)
{
	struct packet *p = calloc(1, sizeof(*p));
	struct fake_link *l;

	p->class = UP_LANE_ANSWER;
	p->bytes = bytes;
	p->data = malloc(bytes ? bytes : 1);
	memcpy(p->data, packet, bytes);
	pthread_mutex_lock(&all);
	l = find_link(lane_of_ep(to), lane_of_ep(from)->id);
	assert(l);
	up_list_add_tail(&l->in->packets, &p->node);
	wake(l->own);
	pthread_mutex_unlock(&all);
}

void fake_break(struct up_ep *a, struct up_ep *b)
{
	struct lane *la, *lb;
	struct fake_link *l;

	pthread_mutex_lock(&all);
	la = lane_of_ep(a);
	lb = lane_of_ep(b);
	l = find_link(la, lb->id);
	if (l)
		l->down = true;
	l = find_link(lb, la->id);
	if (l)
		l->down = true;
	wake(la);
	wake(lb);
	pthread_mutex_unlock(&all);
}

size_t fake_peek(struct up_ep *to, void *packet, size_t room)
{
	struct up_list *pos, *tmp;
	size_t n = 0;

	pthread_mutex_lock(&all);
	up_list_each (pos, tmp, &lane_of_ep(to)->links) {
		struct fake_link *l = UP_CONTAINER_OF(pos, struct fake_link, node);
		struct packet *p;

		if (!l->in || up_list_empty(&l->in->packets))
			continue;
		p = UP_CONTAINER_OF(l->in->packets.prev, struct packet, node);
		n = p->bytes < room ? p->bytes : room;
		memcpy(packet, p->data, n);
	}
	pthread_mutex_unlock(&all);
	return n;
}

void fake_drain(struct up_ep *to)
{
	struct up_list *pos, *tmp;

	pthread_mutex_lock(&all);
	up_list_each (pos, tmp, &lane_of_ep(to)->links) {
		struct fake_link *l = UP_CONTAINER_OF(pos, struct fake_link, node);

		while (l->in && !up_list_empty(&l->in->packets)) {
			struct packet *p =
				UP_CONTAINER_OF(l->in->packets.next, struct packet, node);

			up_list_del(&p->node);
			l->in->requests -= p->class == UP_LANE_REQUEST;
			put_packet(p);
		}
	}
	pthread_mutex_unlock(&all);
}

unsigned fake_links(struct up_ep *ep)
{
	struct up_list *pos, *tmp;
	unsigned n = 0;

	pthread_mutex_lock(&all);
	up_list_each (pos, tmp, &lane_of_ep(ep)->links)
		n++;
	pthread_mutex_unlock(&all);
	return n;
}
