/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The libfabric lane's own provider of TCP (lib/lane/ofi/direct.h), alone: messages in all sizes
 * and in pieces, sockets that take no more, false heads, and which sockets are looked at when.
 * The other end is such a provider too, or a bare socket.
 */
#include "rig.h"

#include "base/bytes.h"
#include "lane/ofi/direct.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define RECEIVES 8u

/* The part of a lane that the provider knows, and what a lane would open. */
struct net {
	struct ofi_lane *lane;
	struct fid_domain *domain;
	struct fid_cq *cq;
	struct fid_eq *eq;
	struct fid_pep *pep;
	struct sockaddr_in at;
};

static struct direct *inside(const struct net *n)
{
	return UP_CONTAINER_OF(n->cq, struct direct, cq);
}

static void net_open(struct net *n)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001)};
	struct fi_cq_attr attr = {.format = FI_CQ_FORMAT_MSG};
	struct fi_eq_attr eq = {0};
	size_t len = sizeof(n->at);
	struct fi_info *info;

	n->lane = calloc(1, sizeof(*n->lane));
	assert_non_null(n->lane);
	n->lane->info = info = up_direct_info();
	assert_non_null(info);
	assert_int_equal(up_direct_fabric(n->lane), 0);
	assert_int_equal(fi_domain(n->lane->fabric, info, &n->domain, NULL), 0);
	assert_int_equal(fi_cq_open(n->domain, &attr, &n->cq, NULL), 0);
	assert_int_equal(fi_eq_open(n->lane->fabric, &eq, &n->eq, NULL), 0);
	info->src_addr = &any;
	info->src_addrlen = sizeof(any);
	assert_int_equal(fi_passive_ep(n->lane->fabric, info, &n->pep, NULL), 0);
	info->src_addr = NULL;
	info->src_addrlen = 0;
	assert_int_equal(fi_listen(n->pep), 0);
	assert_int_equal(fi_getname(&n->pep->fid, &n->at, &len), 0);
}

static void net_close(struct net *n)
{
	fi_close(&n->pep->fid);
	fi_close(&n->cq->fid);
	fi_close(&n->eq->fid);
	fi_close(&n->domain->fid);
	fi_close(&n->lane->fabric->fid);
	fi_freeinfo(n->lane->info);
	free(n->lane);
}

/* ---- connections ---- */

struct message {
	struct fi_context2 context;
	bool done;
	int error;
	size_t bytes;
	uint8_t data[OFI_MAX_PACKET];
};

/* An end, and its receives. */
struct end {
	struct fid_ep *ep;
	struct message *in;
};

static void post(struct end *e, struct message *m)
{
	m->done = false;
	assert_int_equal(fi_recv(e->ep, m->data, sizeof(m->data), NULL, 0, &m->context), 0);
}

static void end_init(struct end *e)
{
	e->in = calloc(RECEIVES, sizeof(*e->in));
	assert_non_null(e->in);
	for (unsigned i = 0; i < RECEIVES; i++)
		post(e, &e->in[i]);
}

static void end_close(struct end *e)
{
	fi_close(&e->ep->fid);
	free(e->in);
}

/* What has happened is noted at the messages; false: nothing. */
static bool turn(struct net *n)
{
	struct fi_cq_msg_entry e;
	struct fi_cq_err_entry error = {0};
	struct message *m;
	ssize_t got = fi_cq_read(n->cq, &e, 1);

	if (got == -FI_EAGAIN)
		return false;
	if (got == -FI_EAVAIL) {
		assert_int_equal(fi_cq_readerr(n->cq, &error, 0), 1);
		e.op_context = error.op_context;
		e.len = 0;
	}
	m = e.op_context;
	m->done = true;
	m->error = error.err;
	m->bytes = e.len;
	return true;
}

static void until(struct net *n, const struct message *m)
{
	uint64_t start = rig_now_us();

	while (!m->done) {
		turn(n);
		rig_patience(start);
	}
}

/* The next event; an error is a negative errno. */
static int event(struct net *n, struct fi_eq_cm_entry *e)
{
	struct fi_eq_err_entry error = {0};
	uint64_t start = rig_now_us();
	uint32_t what;
	ssize_t got;

	while ((got = fi_eq_read(n->eq, &what, e, sizeof(*e), 0)) == -FI_EAGAIN)
		rig_patience(start);
	if (got > 0)
		return (int)what;
	assert_int_equal(got, -FI_EAVAIL);
	assert_true(fi_eq_readerr(n->eq, &error, 0) > 0);
	return -error.err;
}

static void accept_one(struct net *n, struct end *e)
{
	struct fi_eq_cm_entry told;

	assert_int_equal(event(n, &told), FI_CONNREQ);
	assert_int_equal(fi_endpoint(n->domain, told.info, &e->ep, NULL), 0);
	fi_freeinfo(told.info);
	end_init(e);
	assert_int_equal(fi_accept(e->ep, NULL, 0), 0);
	assert_int_equal(event(n, &told), FI_CONNECTED);
	assert_ptr_equal(told.fid, &e->ep->fid);
}

static void begin(struct net *n, struct end *e, const struct sockaddr_in *to)
{
	assert_int_equal(fi_endpoint(n->domain, n->lane->info, &e->ep, NULL), 0);
	end_init(e);
	assert_int_equal(fi_connect(e->ep, to, NULL, 0), 0);
}

/* A bare socket that is connected with `e`. */
static int bare(struct net *n, struct end *e)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&n->at, sizeof(n->at)), 0);
	accept_one(n, e);
	return fd;
}

static size_t framed(uint8_t *to, uint32_t bytes, uint8_t first)
{
	struct direct_head h = {htole32(DIRECT_HEAD_MAGIC), htole32(bytes)};

	memcpy(to, &h, sizeof(h));
	for (uint32_t i = 0; i < bytes; i++)
		to[sizeof(h) + i] = (uint8_t)(first + i);
	return sizeof(h) + bytes;
}

static void check(const struct message *m, size_t bytes, uint8_t first)
{
	assert_int_equal(m->error, 0);
	assert_int_equal(m->bytes, bytes);
	for (size_t i = 0; i < bytes; i++)
		assert_int_equal(m->data[i], (uint8_t)(first + i));
}

static void send_all(int fd, const uint8_t *data, size_t bytes)
{
	assert_int_equal(send(fd, data, bytes, MSG_NOSIGNAL), bytes);
}

/* ---- tests ---- */

static void carry(struct net *from, struct end *a, struct net *to, struct end *b, size_t bytes)
{
	static unsigned count;
	struct message *out = calloc(1, sizeof(*out)), *in = &b->in[count++ % RECEIVES];
	struct iovec iov = {out->data, bytes};
	struct fi_msg msg = {.msg_iov = &iov, .iov_count = 1, .context = &out->context};

	for (size_t i = 0; i < bytes; i++)
		out->data[i] = (uint8_t)(bytes + i);
	if (bytes <= OFI_INJECT_MAX && bytes % 2) {
		assert_int_equal(fi_inject(a->ep, out->data, bytes, 0), 0);
	} else {
		assert_int_equal(fi_sendmsg(a->ep, &msg, FI_COMPLETION), 0);
		until(from, out);
	}
	until(to, in);
	check(in, bytes, (uint8_t)bytes);
	post(b, in);
	free(out);
}

static void all_sizes(void **state)
{
	static const size_t sizes[] = {1,   2,	  7,	8,    64,    255,	    256,
				       257, 4087, 4088, 4089, 65536, OFI_MAX_PACKET};
	struct end a, b;
	struct net n[2];
	struct fi_eq_cm_entry told;

	net_open(&n[0]);
	net_open(&n[1]);
	begin(&n[0], &a, &n[1].at);
	accept_one(&n[1], &b);
	assert_int_equal(event(&n[0], &told), FI_CONNECTED);
	for (unsigned i = 0; i < 8 * UP_ARRAY_SIZE(sizes); i++)
		carry(&n[0], &a, &n[1], &b, sizes[i % UP_ARRAY_SIZE(sizes)]);
	end_close(&a);
	end_close(&b);
	net_close(&n[0]);
	net_close(&n[1]);
}

static void in_pieces(void **state)
{
	uint8_t wire[2048];
	struct end e;
	struct net n;
	size_t bytes;
	int fd;

	net_open(&n);
	fd = bare(&n, &e);
	bytes = framed(wire, 100, 1);
	bytes += framed(wire + bytes, 1000, 2);
	for (size_t i = 0; i < bytes; i++) {
		send_all(fd, wire + i, 1);
		turn(&n);
	}
	until(&n, &e.in[1]);
	check(&e.in[0], 100, 1);
	check(&e.in[1], 1000, 2);
	close(fd);
	end_close(&e);
	net_close(&n);
}

/* What has no receive yet waits, however it has come. */
static void more_than_receives(void **state)
{
	uint8_t wire[3 * RECEIVES * 64];
	struct end e;
	struct net n;
	size_t bytes = 0;
	int fd;

	net_open(&n);
	fd = bare(&n, &e);
	for (unsigned i = 0; i < 3 * RECEIVES; i++)
		bytes += framed(wire + bytes, 40, (uint8_t)i);
	send_all(fd, wire, bytes);
	for (unsigned i = 0; i < 3 * RECEIVES; i++) {
		struct message *m = &e.in[i % RECEIVES];

		until(&n, m);
		check(m, 40, (uint8_t)i);
		if (i % RECEIVES != RECEIVES - 1)
			continue;
		assert_false(turn(&n));
		for (unsigned k = 0; k < RECEIVES; k++)
			post(&e, &e.in[k]);
	}
	close(fd);
	end_close(&e);
	net_close(&n);
}

static void false_head(uint32_t magic, uint32_t bytes)
{
	const struct direct_head h = {htole32(magic), htole32(bytes)};
	struct end e, other;
	uint8_t wire[64];
	struct net n;
	int fd, fd2;

	net_open(&n);
	fd = bare(&n, &e);
	fd2 = bare(&n, &other);
	memcpy(wire, &h, sizeof(h));
	send_all(fd, wire, sizeof(h));
	until(&n, &e.in[0]);
	assert_int_equal(e.in[0].error, EPROTO);
	assert_int_equal(fi_inject(e.ep, wire, 8, 0), -EPIPE);
	send_all(fd2, wire, framed(wire, 9, 9));
	until(&n, &other.in[0]);
	check(&other.in[0], 9, 9);
	close(fd);
	close(fd2);
	end_close(&e);
	end_close(&other);
	net_close(&n);
}

static void false_heads(void **state)
{
	false_head(DIRECT_HEAD_MAGIC + 1, 8);
	false_head(DIRECT_HEAD_MAGIC, 0);
	false_head(DIRECT_HEAD_MAGIC, OFI_MAX_PACKET + 1);
	false_head(DIRECT_HEAD_MAGIC, UINT32_MAX);
}

/* Reads a message of `bytes` bytes. */
static void swallow(struct net *n, int fd, size_t bytes, uint8_t first)
{
	static uint8_t wire[DIRECT_HEAD + OFI_MAX_PACKET], wanted[DIRECT_HEAD + OFI_MAX_PACKET];
	size_t whole = framed(wanted, (uint32_t)bytes, first), got = 0;
	uint64_t start = rig_now_us();

	while (got < whole) {
		ssize_t some = recv(fd, wire + got, whole - got, MSG_DONTWAIT);

		assert_true(some != 0);
		got += some > 0 ? (size_t)some : 0;
		turn(n);
		rig_patience(start);
	}
	assert_memory_equal(wire, wanted, whole);
}

/* A socket that takes no more: injected messages are refused whole, others wait, none is torn. */
static void full_socket(void **state)
{
	enum { LONG = 40 };
	struct message *out = calloc(LONG, sizeof(*out));
	unsigned injected = 0;
	uint8_t small[255];
	struct end e;
	struct net n;
	int fd;

	net_open(&n);
	fd = bare(&n, &e);
	for (unsigned i = 0; i < sizeof(small); i++)
		small[i] = (uint8_t)(3 + i);
	while (!fi_inject(e.ep, small, sizeof(small), 0))
		injected++;
	assert_true(injected > 10);
	for (unsigned i = 0; i < LONG; i++) {
		struct iovec iov = {out[i].data, OFI_MAX_PACKET - i};
		struct fi_msg msg = {.msg_iov = &iov, .iov_count = 1, .context = &out[i].context};

		for (size_t k = 0; k < iov.iov_len; k++)
			out[i].data[k] = (uint8_t)(i + k);
		assert_int_equal(fi_sendmsg(e.ep, &msg, FI_COMPLETION), 0);
	}
	assert_int_equal(fi_inject(e.ep, small, sizeof(small), 0), -FI_EAGAIN);
	assert_false(out[LONG - 1].done);
	for (unsigned i = 0; i < injected; i++)
		swallow(&n, fd, sizeof(small), 3);
	for (unsigned i = 0; i < LONG; i++)
		swallow(&n, fd, OFI_MAX_PACKET - i, (uint8_t)i);
	for (unsigned i = 0; i < LONG; i++)
		until(&n, &out[i]);
	assert_int_equal(fi_inject(e.ep, small, sizeof(small), 0), 0);
	swallow(&n, fd, sizeof(small), 3);
	close(fd);
	end_close(&e);
	net_close(&n);
	free(out);
}

static void one_message(struct net *n, struct end *e, int fd, unsigned i)
{
	struct message *m = &e->in[i % RECEIVES];
	uint8_t wire[64];

	send_all(fd, wire, framed(wire, 9, (uint8_t)i));
	until(n, m);
	check(m, 9, (uint8_t)i);
	post(e, m);
}

static bool readable(struct net *n)
{
	struct pollfd p = {.events = POLLIN};

	assert_int_equal(fi_control(&n->cq->fid, FI_GETWAIT, &p.fd), 0);
	return poll(&p, 1, 0) == 1;
}

/* A busy connection leaves the epoll while it is the only one; before a sleep it is back. */
static void hot_and_cold(void **state)
{
	enum { MANY = 8 };
	struct fid *fids[2];
	struct end e[MANY];
	struct net n;
	int fd[MANY];

	net_open(&n);
	fids[0] = &n.cq->fid;
	fids[1] = &n.eq->fid;
	for (unsigned i = 0; i < MANY; i++)
		fd[i] = bare(&n, &e[i]);
	/* Nobody gets hot while somebody may sleep. */
	n.lane->armed = true;
	for (unsigned i = 0; i < 100; i++)
		one_message(&n, &e[0], fd[0], i);
	assert_null(inside(&n)->hot);
	n.lane->armed = false;
	for (unsigned i = 100; i < 200; i++)
		one_message(&n, &e[0], fd[0], i);
	assert_ptr_equal(inside(&n)->hot, e[0].ep);
	/* Nor while others have something, too. */
	for (unsigned i = 0; i < 100; i++) {
		for (unsigned k = 1; k < MANY; k++)
			one_message(&n, &e[k], fd[k], i);
	}
	assert_null(inside(&n)->hot);
	for (unsigned i = 200; i < 300; i++)
		one_message(&n, &e[0], fd[0], i);
	assert_ptr_equal(inside(&n)->hot, e[0].ep);
	assert_int_equal(fi_trywait(n.lane->fabric, fids, 2), 0);
	assert_null(inside(&n)->hot);
	for (unsigned k = 0; k < MANY; k++) {
		uint64_t start = rig_now_us();
		uint8_t wire[64];

		assert_false(readable(&n));
		send_all(fd[k], wire, framed(wire, 1, 1));
		while (!readable(&n))
			rig_patience(start);
		until(&n, &e[k].in[(k ? 100 : 300) % RECEIVES]);
		post(&e[k], &e[k].in[(k ? 100 : 300) % RECEIVES]);
	}
	/* When nothing comes any more it cools down. */
	for (unsigned i = 301; i < 400; i++)
		one_message(&n, &e[0], fd[0], i);
	assert_ptr_equal(inside(&n)->hot, e[0].ep);
	for (unsigned i = 0; i < 10000; i++)
		turn(&n);
	assert_null(inside(&n)->hot);
	one_message(&n, &e[0], fd[0], 400);
	for (unsigned k = 0; k < MANY; k++) {
		close(fd[k]);
		end_close(&e[k]);
	}
	net_close(&n);
}

/* What came before is there before the end is told, of a cold connection and of a hot one. */
static void ends(void **state)
{
	for (unsigned before = 1; before <= 101; before += 100) {
		struct linger reset = {.l_onoff = 1};
		struct end e[2];
		struct net n;
		int fd[2];

		net_open(&n);
		for (unsigned k = 0; k < 2; k++) {
			fd[k] = bare(&n, &e[k]);
			for (unsigned i = 0; i < before; i++)
				one_message(&n, &e[k], fd[k], i);
		}
		setsockopt(fd[1], SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		for (unsigned k = 0; k < 2; k++) {
			close(fd[k]);
			until(&n, &e[k].in[before % RECEIVES]);
			assert_int_equal(e[k].in[before % RECEIVES].error,
					 k ? ECONNRESET : ENOTCONN);
			assert_int_equal(fi_inject(e[k].ep, "x", 1, 0), -EPIPE);
			end_close(&e[k]);
		}
		assert_null(inside(&n)->hot);
		assert_false(turn(&n));
		net_close(&n);
	}
}

static void nobody_there(void **state)
{
	struct fi_eq_cm_entry told;
	struct net n, gone;
	struct end e;
	int fd;

	net_open(&gone);
	net_open(&n);
	net_close(&gone);
	begin(&n, &e, &gone.at);
	assert_int_equal(event(&n, &told), -ECONNREFUSED);
	end_close(&e);
	/* One that nobody has asked about is closed with the rest. */
	fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&n.at, sizeof(n.at)), 0);
	up_direct_make(inside(&n));
	net_close(&n);
	close(fd);
}

/* Without descriptors nobody is let in; and nobody is woken for it all the time meanwhile. */
static void no_descriptors(void **state)
{
	int client = socket(AF_INET, SOCK_STREAM, 0), next;
	struct pollfd p = {.events = POLLIN};
	struct rlimit files, few;
	struct end e;
	struct net n;

	net_open(&n);
	assert_int_equal(fi_control(&n.eq->fid, FI_GETWAIT, &p.fd), 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
	next = dup(client);
	close(next);
	few = files;
	few.rlim_cur = (rlim_t)next;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	assert_int_equal(connect(client, (struct sockaddr *)&n.at, sizeof(n.at)), 0);
	assert_int_equal(poll(&p, 1, RIG_PATIENCE_MS), 1);
	up_direct_make(inside(&n));
	assert_int_equal(poll(&p, 1, 0), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
	accept_one(&n, &e);
	/* And it tells of others again. */
	next = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(next, (struct sockaddr *)&n.at, sizeof(n.at)), 0);
	assert_int_equal(poll(&p, 1, RIG_PATIENCE_MS), 1);
	close(next);
	close(client);
	end_close(&e);
	net_close(&n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_sizes),	  cmocka_unit_test(in_pieces),
		cmocka_unit_test(false_heads),	  cmocka_unit_test(more_than_receives),
		cmocka_unit_test(full_socket),	  cmocka_unit_test(hot_and_cold),
		cmocka_unit_test(ends),		  cmocka_unit_test(nobody_there),
		cmocka_unit_test(no_descriptors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
