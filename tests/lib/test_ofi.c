/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is the libfabric lane's own: many peers, strangers at its door, packets that no honest peer
 * sends, a peer that stands still without being dead, and both lanes in one endpoint.
 */
#include "ofi_door.h"
#include "rig.h"

#include "base/bytes.h"
#include "base/log.h"
#include "core/core.h"
#include "lane/ofi/ofi.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void reply_same(struct up_am *am, void *arg)
{
	if (am->reply_room)
		assert_int_equal(up_am_reply(am, 2, NULL, 0, am->data, am->bytes), 0);
}

static struct up_ep *open_with(const char *lanes)
{
	const struct up_ep_attr attr = {.thread = UP_THREAD_SINGLE, .lanes = lanes};
	struct up_ep *ep = rig_open(&attr);

	up_am_set_handler(ep, 1, reply_same, NULL);
	return ep;
}

static int ask(struct up_ep *ep, up_peer to, struct rig_done *done)
{
	return up_am_request(ep, to, 1, NULL, 0, "ask", 3, 8, 0, rig_done, done);
}

static bool readable(struct up_ep *ep)
{
	struct pollfd p = {.fd = up_ep_fd(ep), .events = POLLIN};

	return poll(&p, 1, RIG_PATIENCE_MS) == 1;
}

/* Asks and waits for the answer; the other end is moved too. */
static void ask_all(struct up_ep *ep, up_peer to, struct up_ep *other)
{
	struct rig_done done = {0};
	uint64_t start = rig_now_us();

	assert_int_equal(ask(ep, to, &done), 0);
	while (!done.calls) {
		up_progress(ep);
		up_progress(other);
		rig_patience(start);
	}
	assert_int_equal(done.status, 0);
}

static const char *lane_of(struct up_ep *ep, up_peer peer)
{
	return ep->peers[peer]->link->lane->ops->name;
}

/* ---- many ---- */

#define MANY 24u

static void many_peers(void **state)
{
	struct up_ep *hub = open_with("ofi"), *ep[MANY];
	struct rig_done done[MANY] = {0};
	up_peer to[MANY], from[MANY];
	unsigned open = MANY;
	uint64_t start = rig_now_us();

	for (unsigned i = 0; i < MANY; i++) {
		ep[i] = open_with("ofi");
		to[i] = rig_peer(ep[i], hub);
		from[i] = rig_peer(hub, ep[i]);
		/* Both ends connect at once in half of the cases. */
		assert_int_equal(ask(ep[i], to[i], &done[i]), 0);
		if (i % 2)
			assert_int_equal(
				up_am_request(hub, from[i], 1, NULL, 0, NULL, 0, 0, 0, NULL, NULL),
				0);
	}
	while (open) {
		open = 0;
		up_progress(hub);
		for (unsigned i = 0; i < MANY; i++) {
			up_progress(ep[i]);
			open += !done[i].calls;
		}
		rig_patience(start);
	}
	for (unsigned i = 0; i < MANY; i++) {
		assert_int_equal(done[i].status, 0);
		ask_all(hub, from[i], ep[i]);
		up_ep_close(ep[i]);
	}
	up_ep_close(hub);
}

static void crossing(void **state)
{
	struct rig rig;

	for (unsigned i = 0; i < 20; i++) {
		struct rig_done done[2] = {0};

		rig.a = open_with("ofi");
		rig.b = open_with("ofi");
		rig.to_b = rig_peer(rig.a, rig.b);
		rig.to_a = rig_peer(rig.b, rig.a);
		assert_int_equal(ask(rig.a, rig.to_b, &done[0]), 0);
		/* More and more of the first connection has happened when the second begins. */
		for (unsigned k = 0; k < i; k++)
			up_progress(i & 1 ? rig.a : rig.b);
		assert_int_equal(ask(rig.b, rig.to_a, &done[1]), 0);
		rig_until(&rig, &done[0].calls, 1);
		rig_until(&rig, &done[1].calls, 1);
		assert_int_equal(done[0].status, 0);
		assert_int_equal(done[1].status, 0);
		rig_teardown(&rig);
	}
}

static void itself(void **state)
{
	struct up_ep *ep = open_with("ofi");
	up_peer me = rig_peer(ep, ep);

	ask_all(ep, me, ep);
	up_ep_close(ep);
}

/* ---- one that is not listened to ---- */

static void tag_done(void *ctx, int status, const struct up_tag_info *info)
{
	unsigned *n = ctx;

	assert_int_equal(status, 0);
	++*n;
}

/* Sends until nothing more is taken: how many. */
static unsigned fill_up(struct rig *rig, const struct iovec *message)
{
	unsigned n = 0, refused = 0;

	while (refused < 5000) {
		refused++;
		if (!up_tag_send(rig->a, rig->to_b, 1, message, 1, 0, 0, NULL, NULL)) {
			n++;
			refused = 0;
		}
		up_progress(rig->a);
		up_progress(rig->b);
	}
	return n;
}

/* Messages that nobody wants fill up all that there is, at both ends: others do not notice. */
static void one_is_full(size_t bytes)
{
	const struct up_ep_attr attr = {
		.thread = UP_THREAD_SINGLE, .lanes = "ofi", .max_unexpected = 16384};
	struct up_ep *other = open_with("ofi");
	struct iovec message = {calloc(1, bytes), bytes};
	unsigned sent, got = 0;
	struct rig rig;
	up_peer to_b, to_other;

	rig_setup(&rig, &attr);
	up_am_set_handler(rig.b, 1, reply_same, NULL);
	to_b = rig_peer(other, rig.b);
	to_other = rig_peer(rig.b, other);
	ask_all(rig.a, rig.to_b, rig.b);
	sent = fill_up(&rig, &message);
	assert_true(sent > 100);
	for (unsigned i = 0; i < 10; i++) {
		ask_all(other, to_b, rig.b);
		ask_all(rig.b, to_other, other);
	}
	for (unsigned i = 0; i < sent; i++) {
		assert_int_equal(
			up_tag_recv(rig.b, rig.to_a, 1, 0, &message, 1, tag_done, &got, NULL), 0);
		rig_until(&rig, &got, i + 1);
	}
	up_ep_close(other);
	rig_teardown(&rig);
	free(message.iov_base);
}

static void others_of_a_full_one(void **state)
{
	one_is_full(1000);
	one_is_full(4000);
}

/* ---- a crowd ---- */

/* More than there are receives for at a shared endpoint of ofi_rxm's: it takes 2048, connections
 * should have 40 each. */
#define CROWD 72u
#define ITS_RECEIVES 2048u
#define MESSAGES 40u

struct crowd {
	struct up_ep *hub, *ep[CROWD];
	up_peer to[CROWD];
};

static void move_all(struct crowd *c)
{
	up_progress(c->hub);
	for (unsigned i = 0; i < CROWD; i++)
		up_progress(c->ep[i]);
}

/* All at once, and each gets its answer. */
static void ask_at_once(struct crowd *c)
{
	struct rig_done done[CROWD] = {0};
	uint64_t start = rig_now_us();

	for (unsigned i = 0; i < CROWD; i++)
		assert_int_equal(ask(c->ep[i], c->to[i], &done[i]), 0);
	for (unsigned i = 0; i < CROWD; i++) {
		while (!done[i].calls) {
			move_all(c);
			rig_patience(start);
		}
		assert_int_equal(done[i].status, 0);
	}
}

static struct ofi_lane *lane_at(struct crowd *c)
{
	return (struct ofi_lane *)c->hub->peers[rig_peer(c->hub, c->ep[0])]->link->lane;
}

/* All but the last send what nobody takes: more than there are receives. */
static void fill_hub(struct crowd *c)
{
	static uint8_t data[1000];
	const struct iovec message = {data, sizeof(data)};
	uint64_t start = rig_now_us();

	for (unsigned k = 0; k < MESSAGES; k++) {
		for (unsigned i = 0; i < CROWD - 1; i++) {
			data[0] = (uint8_t)k;
			while (up_tag_send(c->ep[i], c->to[i], 1, &message, 1, 0, 0, NULL, NULL)) {
				move_all(c);
				rig_patience(start);
			}
		}
	}
	while (lane_at(c)->nheld <= ITS_RECEIVES) {
		move_all(c);
		rig_patience(start);
	}
}

/* In the order of sending. */
static void take_from_first(struct crowd *c)
{
	const up_peer from = rig_peer(c->hub, c->ep[0]);
	uint64_t start = rig_now_us();
	unsigned got = 0;
	uint8_t data[1000];
	const struct iovec message = {data, sizeof(data)};

	for (unsigned k = 0; k < MESSAGES; k++) {
		assert_int_equal(up_tag_recv(c->hub, from, 1, 0, &message, 1, tag_done, &got, NULL),
				 0);
		while (got <= k) {
			move_all(c);
			rig_patience(start);
		}
		assert_int_equal(data[0], k);
	}
}

static void crowd(void **state)
{
	const struct up_ep_attr attr = {
		.thread = UP_THREAD_SINGLE, .lanes = "ofi", .max_unexpected = 16384};
	struct crowd c = {.hub = rig_open(&attr)};

	up_am_set_handler(c.hub, 1, reply_same, NULL);
	for (unsigned i = 0; i < CROWD; i++)
		c.ep[i] = open_with("ofi");
	for (unsigned i = 0; i < CROWD; i++)
		c.to[i] = rig_peer(c.ep[i], c.hub);
	ask_at_once(&c);
	ask_at_once(&c);
	if (getenv("RIG_DATAGRAMS")) {
		fill_hub(&c);
		for (unsigned i = 0; i < 10; i++)
			ask_all(c.ep[CROWD - 1], c.to[CROWD - 1], c.hub);
		take_from_first(&c);
	}
	up_ep_close(c.hub);
	for (unsigned i = 0; i < CROWD; i++)
		up_ep_close(c.ep[i]);
}

/* ---- addresses ---- */

/* What is said of a host's addresses, in an endpoint's and at a door, is what is understood. */
static void internet_addresses(void **state)
{
	static const int families[] = {AF_INET, AF_INET6};
	struct ofi_lane *lane = calloc(1, sizeof(*lane));
	uint8_t said[OFI_DOOR_MAX], shape;

	assert_non_null(lane);
	lane->nips = 3;
	memset(lane->ips, 0x55, sizeof(lane->ips));
	for (unsigned f = 0; f < UP_ARRAY_SIZE(families); f++) {
		size_t each = f ? 16 : 4;
		struct ofi_target to = {0};

		lane->family = families[f];
		assert_int_equal(up_ofi_ips_put(lane, said, sizeof(said), &shape), 3 * each);
		assert_false(up_ofi_ips_parse(&to, shape, 7, said, 3 * each - 1));
		assert_false(up_ofi_ips_parse(&to, shape, 7, said, 4 * each));
		assert_false(up_ofi_ips_parse(&to, shape | OFI_SHAPE_NAME, 7, said, 3 * each));
		assert_int_equal(to.n, 0);
		assert_true(up_ofi_ips_parse(&to, shape, 7, said, 3 * each));
		assert_int_equal(to.n, 3);
		for (unsigned i = 0; i < to.n; i++) {
			assert_int_equal(to.at[i].sa.sa_family, families[f]);
			assert_int_equal(up_ofi_sockaddr_port(&to.at[i]), 7);
		}
		/* As many as there is room for. */
		assert_int_equal(up_ofi_ips_put(lane, said, 3 * each - 1, &shape), 2 * each);
		to.n = 0;
		assert_true(up_ofi_ips_parse(&to, shape, 7, said, 2 * each));
		assert_int_equal(to.n, 2);
	}
	free(lane);
}

/* ---- strangers ---- */

/* Whoever is at the door, peers are served. */
static void strangers(void **state)
{
	uint8_t rubbish[512];
	uint64_t seed = 7;
	struct rig rig;
	int fd[20];

	/* These have another door, and only for messages that are whole. */
	if (getenv("RIG_DATAGRAMS"))
		return;
	rig_setup(&rig, NULL);
	up_am_set_handler(rig.b, 1, reply_same, NULL);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(fd); i++) {
		size_t n = unit_random(&seed) % sizeof(rubbish);

		fd[i] = ofi_knock(rig.b);
		for (size_t k = 0; k < n; k++)
			rubbish[k] = (uint8_t)unit_random(&seed);
		if (i % 4)
			assert_true(send(fd[i], rubbish, n, MSG_NOSIGNAL) >= 0);
		if (i % 4 == 2)
			close(fd[i]);
		ask_all(rig.a, rig.to_b, rig.b);
	}
	for (unsigned i = 0; i < UP_ARRAY_SIZE(fd); i++) {
		if (i % 4 != 2)
			close(fd[i]);
	}
	ask_all(rig.a, rig.to_b, rig.b);
	rig_teardown(&rig);
}

/* ---- false packets ---- */

static void send_raw(struct up_ep *from, up_peer to, const void *data, size_t bytes)
{
	struct up_link *link = from->peers[to]->link;
	void *packet = link->lane->ops->reserve(link, bytes, UP_LANE_REQUEST);

	assert_non_null(packet);
	memcpy(packet, data, bytes);
	link->lane->ops->commit(link, packet, bytes);
}

/* Who sends one is gone for the other end; others are not. */
static void false_packet(const void *data, size_t bytes)
{
	struct up_ep *other = open_with("ofi");
	struct rig_done done = {0};
	struct rig rig;
	up_peer to_b;

	rig_setup(&rig, NULL);
	up_am_set_handler(rig.a, 1, reply_same, NULL);
	up_am_set_handler(rig.b, 1, reply_same, NULL);
	to_b = rig_peer(other, rig.b);
	ask_all(rig.a, rig.to_b, rig.b);
	ask_all(rig.b, rig.to_a, rig.a);
	send_raw(rig.a, rig.to_b, data, bytes);
	assert_int_equal(ask(rig.a, rig.to_b, &done), 0);
	rig_until(&rig, &done.calls, 1);
	assert_int_equal(done.status, -EHOSTDOWN);
	assert_int_equal(rig.b->peers[rig.to_a]->error,
			 bytes >= 32 && *(const uint8_t *)data != 1 ? -EPROTONOSUPPORT : -EPROTO);
	ask_all(other, to_b, rig.b);
	up_ep_close(other);
	rig_teardown(&rig);
}

static void false_packets(void **state)
{
	uint8_t packet[64] = {1, 2};

	false_packet(packet, 31); /* shorter than a header */
	false_packet(packet, 8);  /* as long as a note, but none */
	packet[0] = 2;
	false_packet(packet, 40); /* another version */
	packet[0] = 1;
	packet[1] = 200;
	false_packet(packet, 40); /* no such type */
	packet[1] = 2;
	packet[4] = 60;
	false_packet(packet, 40); /* longer than what came */
}

/* ---- a peer that stands still ---- */

struct place {
	uint8_t addr[UP_ADDR_MAX];
	size_t len;
};

static pid_t serve(int *address)
{
	int fds[2];
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		struct place mine = {0};
		struct up_ep *ep;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		ep = open_with("ofi");
		mine.len = up_ep_address(ep, mine.addr);
		if (write(fds[1], &mine, sizeof(mine)) != sizeof(mine))
			_exit(1);
		for (;;)
			up_ep_wait(ep, 1000);
	}
	close(fds[1]);
	*address = fds[0];
	return pid;
}

static up_peer meet(struct up_ep *ep, int address)
{
	struct place its;
	up_peer peer;

	assert_int_equal(read(address, &its, sizeof(its)), sizeof(its));
	assert_int_equal(up_peer_add(ep, its.addr, its.len, &peer), 0);
	close(address);
	return peer;
}

static void wait_done(struct up_ep *ep, const struct rig_done *done)
{
	uint64_t start = rig_now_us();

	while (!done->calls) {
		up_ep_wait(ep, 100);
		rig_patience(start);
	}
}

/* An endpoint, and another process that has answered it. */
struct served {
	struct up_ep *ep;
	up_peer to;
	pid_t pid;
};

static void unserve(struct served *s)
{
	kill(s->pid, SIGKILL);
	waitpid(s->pid, NULL, 0);
	up_ep_close(s->ep);
}

static bool answered(struct served *s)
{
	struct rig_done done = {0};
	int address;

	setenv("UNDERPASS_PEER_TIMEOUT", "1", 1);
	s->pid = serve(&address);
	s->ep = open_with("ofi");
	unsetenv("UNDERPASS_PEER_TIMEOUT");
	s->to = meet(s->ep, address);
	assert_int_equal(ask(s->ep, s->to, &done), 0);
	wait_done(s->ep, &done);
	return !done.status;
}

/* It computes, say: its kernel answers for it, so it is not given up. */
static void stands_still(void **state)
{
	struct rig_done second = {0};
	uint64_t start = rig_now_us();
	struct served s;

	/* On a machine that is busy, making contact may take longer than a peer is waited for. */
	while (!answered(&s)) {
		unserve(&s);
		rig_patience(start);
	}
	kill(s.pid, SIGSTOP);
	assert_int_equal(ask(s.ep, s.to, &second), 0);
	for (start = rig_now_us(); rig_now_us() - start < 2500000;)
		up_ep_wait(s.ep, 100);
	assert_int_equal(second.calls, 0);
	kill(s.pid, SIGCONT);
	wait_done(s.ep, &second);
	assert_int_equal(second.status, 0);
	unserve(&s);
}

/* So is one whose buffers are full, as it does not read: they stay so for longer than peers are
 * waited for. */
static void stands_still_full(void **state)
{
	static const uint8_t data[UP_AM_DATA_MAX];
	struct rig_done last = {0};
	uint64_t start = rig_now_us();
	struct served s;
	int ret;

	while (!answered(&s)) {
		unserve(&s);
		rig_patience(start);
	}
	kill(s.pid, SIGSTOP);
	for (unsigned refused = 0; refused < 1000; refused = ret ? refused + 1 : 0) {
		ret = up_am_request(s.ep, s.to, 1, NULL, 0, data, sizeof(data), 0, 0, NULL, NULL);
		assert_true(!ret || ret == -EAGAIN);
		up_progress(s.ep);
	}
	for (start = rig_now_us(); rig_now_us() - start < 6000000;)
		up_ep_wait(s.ep, 100);
	assert_int_equal(up_peer_error(s.ep, s.to), 0);
	kill(s.pid, SIGCONT);
	start = rig_now_us();
	while ((ret = ask(s.ep, s.to, &last)) == -EAGAIN) {
		up_progress(s.ep);
		rig_patience(start);
	}
	assert_int_equal(ret, 0);
	wait_done(s.ep, &last);
	assert_int_equal(last.status, 0);
	unserve(&s);
}

/* The application does something else while contact is made, for longer than peers are waited for.
 */
static void computes_meanwhile(void **state)
{
	for (unsigned i = 0; i < 4; i += 3) {
		struct rig_done done = {0};
		struct rig rig;

		setenv("UNDERPASS_PEER_TIMEOUT", "1", 1);
		rig_setup(&rig, NULL);
		unsetenv("UNDERPASS_PEER_TIMEOUT");
		up_am_set_handler(rig.b, 1, reply_same, NULL);
		assert_int_equal(ask(rig.a, rig.to_b, &done), 0);
		for (unsigned k = 0; k < i; k++) {
			up_progress(rig.a);
			up_progress(rig.b);
		}
		usleep(2500000);
		rig_until(&rig, &done.calls, 1);
		assert_int_equal(done.status, 0);
		rig_teardown(&rig);
	}
}

/* An address whose endpoint has gone. */
static void nobody_there(void **state)
{
	struct rig_done done = {0};
	struct up_ep *ep, *gone;
	up_peer to;

	/* Some providers never say that there is nobody. */
	setenv("UNDERPASS_PEER_TIMEOUT", "1", 1);
	ep = open_with("ofi");
	unsetenv("UNDERPASS_PEER_TIMEOUT");
	gone = open_with("ofi");
	to = rig_peer(ep, gone);
	up_ep_close(gone);
	assert_int_equal(ask(ep, to, &done), 0);
	wait_done(ep, &done);
	assert_int_equal(done.status, -EHOSTDOWN);
	up_ep_close(ep);
}

/* Who connects while there are no descriptors is let in when there are, also by one who sleeps; and
 * that one does sleep. */
static void no_descriptors(void **state)
{
	struct up_ep *hub = open_with("ofi"), *other = open_with("ofi");
	struct rig_done done = {0};
	up_peer to = rig_peer(other, hub);
	struct rlimit files, few;
	uint64_t start;
	int next;

	/* What they need themselves is made first. */
	up_ep_arm(hub);
	assert_int_equal(ask(other, to, &done), 0);
	next = dup(0);
	close(next);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
	few = files;
	few.rlim_cur = (rlim_t)next;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	for (unsigned i = 0; i < 5; i++)
		up_ep_wait(hub, 10);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
	for (start = rig_now_us(); !done.calls; rig_patience(start)) {
		while (up_ep_arm(hub))
			up_progress(hub);
		up_progress(other);
		assert_true(readable(hub));
		up_progress(hub);
		up_progress(other);
	}
	assert_int_equal(done.status, 0);
	up_ep_close(other);
	up_ep_close(hub);
}

struct flood {
	struct up_ep *from;
	up_peer to;
	unsigned n;
};

/* For each that comes another one is sent at once. */
static void send_more(struct up_am *am, void *arg)
{
	struct flood *f = arg;

	f->n++;
	assert_true(f->n < 5000);
	up_am_request(f->from, f->to, 3, NULL, 0, NULL, 0, 0, 0, NULL, NULL);
}

/* Progress has an end, also while a peer ends and another one sends all the time. */
static void ends_in_a_flood(void **state)
{
	struct up_ep *other = open_with("ofi");
	struct flood flood = {0};
	uint64_t start = rig_now_us();
	struct rig rig;
	up_peer gone;

	rig_setup(&rig, NULL);
	up_am_set_handler(rig.b, 1, reply_same, NULL);
	up_am_set_handler(rig.b, 3, send_more, &flood);
	flood.from = rig.a;
	flood.to = rig.to_b;
	gone = rig_peer(rig.b, other);
	ask_all(rig.a, rig.to_b, rig.b);
	ask_all(rig.b, gone, other);
	assert_int_equal(up_am_request(rig.a, rig.to_b, 3, NULL, 0, NULL, 0, 0, 0, NULL, NULL), 0);
	up_ep_close(other);
	while (!up_peer_error(rig.b, gone)) {
		flood.n = 0;
		up_progress(rig.b);
		up_progress(rig.a);
		rig_patience(start);
	}
	assert_int_equal(up_peer_error(rig.b, gone), -EHOSTDOWN);
	rig_teardown(&rig);
}

/* A forked child that closes its parent's endpoints takes nothing from the parent. */
static void closed_by_child(void **state)
{
	struct rig rig;

	rig_setup(&rig, NULL);
	up_am_set_handler(rig.b, 1, reply_same, NULL);
	ask_all(rig.a, rig.to_b, rig.b);
	rig_close_in_child(rig.a);
	for (unsigned i = 0; i < 100; i++)
		ask_all(rig.a, rig.to_b, rig.b);
	rig_teardown(&rig);
}

/* ---- both lanes ---- */

static void both_lanes(void **state)
{
	struct up_ep *hub = open_with("shm,ofi"), *near = open_with("shm,ofi");
	struct up_ep *far = open_with("ofi"), *shm = open_with("shm");
	up_peer to_near = rig_peer(hub, near), to_far = rig_peer(hub, far);
	up_peer to_shm = rig_peer(hub, shm), to_hub = rig_peer(far, hub), nobody;
	uint8_t addr[UP_ADDR_MAX];
	size_t len = up_ep_address(shm, addr);

	assert_string_equal(lane_of(hub, to_near), "shm");
	assert_string_equal(lane_of(hub, to_shm), "shm");
	assert_string_equal(lane_of(hub, to_far), "ofi");
	assert_int_equal(up_peer_add(far, addr, len, &nobody), -EHOSTUNREACH);
	for (unsigned i = 0; i < 10; i++) {
		ask_all(hub, to_near, near);
		ask_all(hub, to_far, far);
		ask_all(hub, to_shm, shm);
		ask_all(far, to_hub, hub);
	}
	up_ep_close(far);
	ask_all(hub, to_near, near);
	up_ep_close(near);
	up_ep_close(shm);
	up_ep_close(hub);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_peers),
		cmocka_unit_test(crossing),
		cmocka_unit_test(itself),
		cmocka_unit_test(internet_addresses),
		cmocka_unit_test(strangers),
		cmocka_unit_test(false_packets),
		cmocka_unit_test(stands_still),
		cmocka_unit_test(stands_still_full),
		cmocka_unit_test(computes_meanwhile),
		cmocka_unit_test(nobody_there),
		cmocka_unit_test(no_descriptors),
		cmocka_unit_test(ends_in_a_flood),
		cmocka_unit_test(closed_by_child),
		cmocka_unit_test(both_lanes),
		cmocka_unit_test(others_of_a_full_one),
		cmocka_unit_test(crowd),
	};
	struct rlimit files;

	setenv("RIG_LANE", "ofi", 1);
	/* A crowd of endpoints has some thousand. */
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	up_log_set_level(LOG_ERR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
