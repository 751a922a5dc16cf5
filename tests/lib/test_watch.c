/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who tells that a peer has died, where connections share an endpoint of datagrams: the socket at
 * the other's door, whoever has knocked, and messages that mean nothing where there is none. Only
 * over such providers.
 */
#include "rig.h"

#include "lane/ofi/ofi.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static void reply_same(struct up_am *am, void *arg)
{
	if (am->reply_room)
		assert_int_equal(up_am_reply(am, 2, NULL, 0, am->data, am->bytes), 0);
}

static int ask(struct up_ep *ep, up_peer to, struct rig_done *done)
{
	return up_am_request(ep, to, 1, NULL, 0, "ask", 3, 8, 0, rig_done, done);
}

static const struct ofi_conn *conn_of(const struct up_ep *ep, up_peer peer)
{
	return ((const struct ofi_link *)ep->peers[peer]->link)->conn;
}

/* ---- both alive ---- */

static void ask_other(struct rig *rig)
{
	struct rig_done done = {0};

	assert_int_equal(ask(rig->a, rig->to_b, &done), 0);
	rig_until(rig, &done.calls, 1);
	assert_int_equal(done.status, 0);
}

/* Both ends knock, but of the two sockets one stays. */
static void knocks_of_both(void **state)
{
	const struct ofi_conn *a, *b;
	uint64_t start = rig_now_us();
	struct rig rig;

	rig_setup(&rig, NULL);
	up_am_set_handler(rig.b, 1, reply_same, NULL);
	ask_other(&rig);
	a = conn_of(rig.a, rig.to_b);
	b = conn_of(rig.b, rig.to_a);
	while (!a->watch || a->guest || b->watch || !b->guest) {
		up_progress(rig.a);
		up_progress(rig.b);
		rig_patience(start);
	}
	for (unsigned i = 0; i < 10; i++)
		ask_other(&rig);
	assert_ptr_equal(conn_of(rig.a, rig.to_b), a);
	assert_ptr_equal(conn_of(rig.b, rig.to_a), b);
	rig_teardown(&rig);
}

/* ---- a peer that makes contact, and does not come to knock ---- */

/* What it says of its own door. */
enum door {
	DOOR_OPEN,
	DOOR_EARLIER, /* that of an earlier version: who was connected to may not knock */
	DOOR_NONE,
};

struct place {
	uint8_t addr[UP_ADDR_MAX];
	size_t len;
};

struct contact {
	struct up_ep *ep; /* whom it has contacted */
	up_peer from;
	pid_t pid;
};

static enum door its_door;

static bool meet_only(struct ofi_conn *c, const struct ofi_hello *h, const void *rest, size_t bytes)
{
	c->there = h->name;
	return c->there;
}

static size_t say_door(const struct ofi_lane *lane, void *to)
{
	size_t n = up_ofi_door_say(lane, to);
	struct ofi_door d;

	memcpy(&d, to, OFI_DOOR_HEAD);
	if (its_door == DOOR_NONE)
		d.port = 0;
	if (its_door == DOOR_EARLIER)
		d.both = 0;
	memcpy(to, &d, OFI_DOOR_HEAD);
	return n;
}

/* In a process of its own: contacts whose address comes over `in`, says its own one when it has
 * been answered, and stands still. False: it could not. */
static bool stand_still(int in, int out)
{
	struct up_ep *ep = rig_open(NULL);
	struct place its, mine = {0};
	struct rig_done done = {0};
	struct ofi_lane *lane;
	struct ofi_kind kind;
	up_peer to;

	if (read(in, &its, sizeof(its)) != sizeof(its) || up_peer_add(ep, its.addr, its.len, &to))
		return false;
	lane = (struct ofi_lane *)ep->peers[to]->link->lane;
	kind = *lane->kind;
	kind.meet = meet_only;
	kind.rest = say_door;
	lane->kind = &kind;
	if (ask(ep, to, &done))
		return false;
	while (!done.calls)
		up_ep_wait(ep, 100);
	mine.len = up_ep_address(ep, mine.addr);
	if (done.status || write(out, &mine, sizeof(mine)) != sizeof(mine))
		return false;
	for (;;)
		pause();
}

static bool has_something(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static void meet(struct contact *c, int in, int out)
{
	struct place its, mine = {0};
	uint64_t start = rig_now_us();

	c->ep = rig_open(NULL);
	up_am_set_handler(c->ep, 1, reply_same, NULL);
	mine.len = up_ep_address(c->ep, mine.addr);
	assert_int_equal(write(out, &mine, sizeof(mine)), sizeof(mine));
	while (!has_something(in)) {
		up_progress(c->ep);
		rig_patience(start);
	}
	assert_int_equal(read(in, &its, sizeof(its)), sizeof(its));
	assert_int_equal(up_peer_add(c->ep, its.addr, its.len, &c->from), 0);
}

static void contacted(struct contact *c, enum door door)
{
	int there[2], here[2];

	assert_int_equal(pipe(there), 0);
	assert_int_equal(pipe(here), 0);
	its_door = door;
	fflush(NULL);
	c->pid = fork();
	assert_true(c->pid >= 0);
	if (!c->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		stand_still(there[0], here[1]);
		_exit(1);
	}
	close(there[0]);
	close(here[1]);
	meet(c, here[0], there[1]);
	close(here[0]);
	close(there[1]);
}

/* Sends all that may leave before the peer takes some, until the provider has nothing more to say
 * of it. */
static void send_all_credit(struct contact *c)
{
	static const uint8_t data[UP_AM_DATA_MAX];
	const struct ofi_conn *conn = conn_of(c->ep, c->from);
	uint64_t start = rig_now_us();

	while (conn->sends - conn->acked < OFI_CREDITS || !up_list_empty(&conn->sent)) {
		up_am_request(c->ep, c->from, 1, NULL, 0, data, sizeof(data), 0, 0, NULL, NULL);
		up_progress(c->ep);
		rig_patience(start);
	}
}

/* What is open with it ends. */
static void dies(struct contact *c, const struct rig_done *open)
{
	uint64_t start = rig_now_us();

	kill(c->pid, SIGKILL);
	while (!open->calls) {
		up_ep_wait(c->ep, 100);
		rig_patience(start);
	}
	assert_int_equal(open->status, -EHOSTDOWN);
	assert_int_equal(waitpid(c->pid, NULL, 0), c->pid);
	up_ep_close(c->ep);
}

/* Who was contacted has knocked by itself. */
static void dies_before_it_knocks(void **state)
{
	struct rig_done open = {0};
	struct contact c;
	uint64_t start;

	contacted(&c, DOOR_OPEN);
	assert_int_equal(ask(c.ep, c.from, &open), 0);
	send_all_credit(&c);
	for (start = rig_now_us(); !up_ofi_watched(conn_of(c.ep, c.from)); rig_patience(start))
		up_ep_wait(c.ep, 100);
	dies(&c, &open);
}

/* Where nobody can, messages tell that mean nothing: also when no others may be sent. */
static void dies_unwatched(void **state)
{
	struct rig_done open = {0};
	struct contact c;

	contacted(&c, DOOR_NONE);
	assert_int_equal(ask(c.ep, c.from, &open), 0);
	send_all_credit(&c);
	assert_false(up_ofi_watched(conn_of(c.ep, c.from)));
	dies(&c, &open);
}

/* An earlier version would end what it takes for a stranger's knock, so it is not given one. */
static void earlier_version(void **state)
{
	struct rig_done open = {0};
	struct contact c;

	contacted(&c, DOOR_EARLIER);
	assert_null(conn_of(c.ep, c.from)->watch);
	assert_int_equal(ask(c.ep, c.from, &open), 0);
	dies(&c, &open);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(knocks_of_both),
		cmocka_unit_test(dies_before_it_knocks),
		cmocka_unit_test(dies_unwatched),
		cmocka_unit_test(earlier_version),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
