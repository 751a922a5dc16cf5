/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control socket, against a whole daemon that runs in this thread: the event loop is turned by
 * hand until what is awaited has come.
 */
#include "unit.h"

#include "daemon/daemon.h"
#include "daemon/protocol.h"
#include "daemon/qemu_args.h"

#include "base/log.h"
#include "device/connectx/connectx.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

struct world {
	struct up_daemon d;
	char dir[64];
	bool stopped; /* by add_qps() */
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct up_settings s;
	struct up_error e;

	assert_non_null(w);
	up_log_set_level(LOG_CRIT);
	strcpy(w->dir, "/tmp/underpass-test-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	up_settings_init(&s);
	s.dir = strdup(w->dir);
	s.max_clients = 8;
	s.max_ports = 4;
	assert_int_equal(up_settings_add_port(&s, &(struct up_port_settings){.name = "vm1"}), 0);
	if (up_daemon_init(&w->d, &s, &e) < 0)
		fail_msg("%s", e.text);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	char path[128];

	if (w->stopped)
		up_world_start(w->d.fabric);
	up_daemon_fini(&w->d);
	/* Nothing is left: the sockets are gone, so the directory can go. */
	snprintf(path, sizeof(path), "%s/%s", w->dir, UP_CONTROL_SOCKET);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(rmdir(w->dir), 0);
	free(w);
	return 0;
}

static int connect_to(struct world *w, const char *socket_name)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/%s", w->dir, socket_name);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static void turn(struct world *w)
{
	assert_true(sd_event_run(w->d.loop, 10000000) >= 0);
}

/* Does what is ready, without waiting for more. */
static void settle(struct world *w)
{
	while (sd_event_run(w->d.loop, 0) > 0)
		;
}

static void put(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* The next line; NULL when the daemon closed the connection. */
static char *get_line(struct world *w, int fd)
{
	size_t have = 0, room = 1 << 20;
	char *line = malloc(room);

	assert_non_null(line);
	for (;;) {
		ssize_t n = recv(fd, line + have, 1, 0);

		if (n < 0 && errno == EAGAIN) {
			turn(w);
			continue;
		}
		if (n <= 0) {
			assert_int_equal(have, 0);
			free(line);
			return NULL;
		}
		if (line[have] == '\n') {
			line[have] = 0;
			return line;
		}
		assert_true(++have < room);
	}
}

static json_t *get_reply(struct world *w, int fd)
{
	char *line = get_line(w, fd);
	json_t *reply = line ? json_loads(line, 0, NULL) : NULL;

	if (!reply)
		fail_msg("not a reply: %s", line ? line : "(closed)");
	free(line);
	assert_int_equal(json_integer_value(json_object_get(reply, "version")), 1);
	return reply;
}

/* The result of a request that must succeed. */
static json_t *call(struct world *w, int fd, const char *request)
{
	json_t *reply, *result;

	put(fd, request);
	put(fd, "\n");
	reply = get_reply(w, fd);
	result = json_object_get(reply, "result");
	if (!json_is_true(json_object_get(reply, "ok")) || !result)
		fail_msg("%s: %s", request, json_dumps(reply, 0));
	json_incref(result);
	json_decref(reply);
	return result;
}

static void expect_error(struct world *w, int fd, const char *code)
{
	json_t *reply = get_reply(w, fd), *error = json_object_get(reply, "error");
	const char *got = json_string_value(json_object_get(error, "code"));

	assert_true(json_is_false(json_object_get(reply, "ok")));
	assert_non_null(got);
	assert_string_equal(got, code);
	assert_true(json_string_length(json_object_get(error, "message")) > 0);
	json_decref(reply);
}

static void refused(struct world *w, int fd, const char *request, const char *code)
{
	put(fd, request);
	put(fd, "\n");
	expect_error(w, fd, code);
}

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	assert_non_null(s);
	return s;
}

#define CMD(command) "{\"version\":1,\"command\":\"" command "\"}"
#define CMD_WITH(command, rest) "{\"version\":1,\"command\":\"" command "\"," rest "}"

static void ports_come_and_go(void **state)
{
	struct world *w = *state;
	int fd = connect_to(w, UP_CONTROL_SOCKET);
	json_t *r = call(w, fd, CMD("port-list")), *p;
	char path[128];

	p = json_array_get(json_object_get(r, "ports"), 0);
	assert_int_equal(json_array_size(json_object_get(r, "ports")), 1);
	assert_string_equal(text_of(p, "name"), "vm1");
	assert_string_equal(text_of(p, "tenant"), "default");
	assert_string_equal(text_of(p, "state"), "down");
	assert_string_equal(text_of(p, "gid"), "fe80:0000:0000:0000:3277:2163:1c96:876a");
	assert_string_equal(text_of(p, "guid"), "3277:2163:1c96:876a");
	assert_int_equal(json_integer_value(json_object_get(p, "lid")), 2);
	json_decref(r);

	r = call(w, fd,
		 CMD_WITH("port-add", "\"name\":\"vm2\",\"tenant\":\"t\","
				      "\"guid\":\"0x0002c90300000001\","
				      "\"doorbells\":\"trap\""));
	assert_string_equal(text_of(r, "tenant"), "t");
	assert_string_equal(text_of(r, "guid"), "0002:c903:0000:0001");
	assert_string_equal(text_of(r, "doorbells"), "trap");
	snprintf(path, sizeof(path), "%s/vm2.sock", w->dir);
	assert_string_equal(text_of(r, "socket"), path);
	assert_int_equal(access(path, F_OK), 0);
	json_decref(r);

	json_decref(call(w, fd, CMD_WITH("port-remove", "\"name\":\"vm2\"")));
	assert_int_equal(access(path, F_OK), -1);
	refused(w, fd, CMD_WITH("port-remove", "\"name\":\"vm2\""), "no-port");
	close(fd);
}

static void ports_are_refused(void **state)
{
	struct world *w = *state;
	int fd = connect_to(w, UP_CONTROL_SOCKET);

	refused(w, fd, CMD_WITH("port-add", "\"name\":\"vm1\""), "exists");
	refused(w, fd, CMD_WITH("port-add", "\"name\":\"a/b\""), "bad-name");
	refused(w, fd, CMD_WITH("port-add", "\"name\":\"\""), "bad-name");
	refused(w, fd, CMD_WITH("port-add", "\"name\":\"control\""), "bad-name");
	refused(w, fd, CMD_WITH("port-add", "\"name\":\"a\",\"tenant\":\"..\""), "bad-name");
	refused(w, fd, CMD_WITH("port-add", "\"name\":\"a\",\"guid\":\"1\""), "bad-request");
	refused(w, fd, CMD_WITH("port-add", "\"name\":\"a\",\"doorbells\":\"x\""), "bad-request");
	refused(w, fd, CMD_WITH("port-add", "\"name\":\"a\",\"guid\":\"3277:2163:1c96:876a\""),
		"exists");
	json_decref(call(w, fd, CMD_WITH("port-add", "\"name\":\"a\"")));
	json_decref(call(w, fd, CMD_WITH("port-add", "\"name\":\"b\"")));
	json_decref(call(w, fd, CMD_WITH("port-add", "\"name\":\"c\"")));
	refused(w, fd, CMD_WITH("port-add", "\"name\":\"d\""), "limit");
	close(fd);
}

static void a_port_in_use_is_kept(void **state)
{
	struct world *w = *state;
	int vm = connect_to(w, "vm1.sock"), fd = connect_to(w, UP_CONTROL_SOCKET);
	json_t *r;
	char byte;

	settle(w);
	r = call(w, fd, CMD("port-list"));
	assert_true(json_is_true(
		json_object_get(json_array_get(json_object_get(r, "ports"), 0), "connected")));
	json_decref(r);
	refused(w, fd, CMD_WITH("port-remove", "\"name\":\"vm1\""), "busy");
	refused(w, fd, CMD_WITH("port-remove", "\"name\":\"vm1\",\"force\":false"), "busy");
	json_decref(call(w, fd, CMD_WITH("port-remove", "\"name\":\"vm1\",\"force\":true")));
	assert_int_equal(recv(vm, &byte, 1, 0), 0);
	close(vm);
	close(fd);
}

static void state_is(struct world *w, int fd, const char *expected)
{
	json_t *r = call(w, fd, CMD("port-list"));

	assert_string_equal(text_of(json_array_get(json_object_get(r, "ports"), 0), "state"),
			    expected);
	json_decref(r);
}

static void a_port_tells_its_state(void **state)
{
	struct world *w = *state;
	struct up_port *port = up_port_find(w->d.fabric, "vm1");
	int fd = connect_to(w, UP_CONTROL_SOCKET);

	state_is(w, fd, "down");
	port->active = true;
	state_is(w, fd, "active");
	port->active = false;
	json_decref(call(w, fd, CMD_WITH("port-unplug", "\"name\":\"vm1\"")));
	state_is(w, fd, "unplugged");
	json_decref(call(w, fd, CMD_WITH("port-unplug", "\"name\":\"vm1\"")));
	state_is(w, fd, "unplugged");
	json_decref(call(w, fd, CMD_WITH("port-plug", "\"name\":\"vm1\"")));
	state_is(w, fd, "down");
	refused(w, fd, CMD_WITH("port-plug", "\"name\":\"vm9\""), "no-port");
	refused(w, fd, CMD_WITH("port-unplug", "\"name\":\"vm1\",\"force\":true"), "bad-request");
	up_daemon_port(port)->device->fatal = true;
	state_is(w, fd, "error");
	up_daemon_port(port)->failed = true;
	state_is(w, fd, "failed");
	close(fd);
}

static void qemu_arguments(void **state)
{
	struct world *w = *state;
	int fd = connect_to(w, UP_CONTROL_SOCKET);
	json_t *r, *a;
	char device[256];

	r = call(w, fd, CMD_WITH("qemu-args", "\"port\":\"vm1\",\"memory\":\"4G\""));
	a = json_object_get(r, "arguments");
	assert_int_equal(json_array_size(a), 8);
	assert_string_equal(json_string_value(json_array_get(a, 0)), "-m");
	assert_string_equal(json_string_value(json_array_get(a, 1)), "4096M");
	assert_string_equal(json_string_value(json_array_get(a, 3)),
			    "memory-backend-memfd,id=underpass-ram,size=4096M,share=on");
	assert_string_equal(json_string_value(json_array_get(a, 5)),
			    "memory-backend=underpass-ram");
	snprintf(device, sizeof(device),
		 "{\"driver\":\"vfio-user-pci\",\"socket\":{\"path\":\"%s/vm1.sock\","
		 "\"type\":\"unix\"},\"x-msg-timeout\":120000}",
		 w->dir);
	assert_string_equal(json_string_value(json_array_get(a, 7)), device);
	json_decref(r);
	r = call(w, fd, CMD_WITH("qemu-args", "\"port\":\"vm1\",\"device_only\":true"));
	assert_int_equal(json_array_size(json_object_get(r, "arguments")), 2);
	json_decref(r);
	refused(w, fd, CMD_WITH("qemu-args", "\"port\":\"vm9\""), "no-port");
	refused(w, fd, CMD_WITH("qemu-args", "\"port\":\"vm1\",\"memory\":\"lots\""),
		"bad-request");
	refused(w, fd, CMD("qemu-args"), "bad-request");
	close(fd);
}

static void memory_sizes(void **state)
{
	static const char *const bad[] = {"",
					  "0",
					  "G",
					  "1.5G",
					  "-1",
					  "1K",
					  "2GB",
					  "99T",
					  " 1",
					  "17592186044416",
					  "18446744073709551617"};
	uint64_t mib;

	assert_true(up_parse_memory("512", &mib) && mib == 512);
	assert_true(up_parse_memory("512M", &mib) && mib == 512);
	assert_true(up_parse_memory("2G", &mib) && mib == 2048);
	assert_true(up_parse_memory("1T", &mib) && mib == 1 << 20);
	for (unsigned i = 0; i < UP_ARRAY_SIZE(bad); i++)
		assert_false(up_parse_memory(bad[i], &mib));
}

static void status(void **state)
{
	struct world *w = *state;
	int fd = connect_to(w, UP_CONTROL_SOCKET);
	json_t *r = call(w, fd, CMD("status"));

	assert_int_equal(json_integer_value(json_object_get(r, "pid")), getpid());
	assert_int_equal(json_integer_value(json_object_get(r, "ports")), 1);
	assert_string_equal(text_of(r, "dir"), w->dir);
	json_decref(r);
	close(fd);
}

static void what_is_no_request(void **state)
{
	static const char *const bad[] = {
		"",
		"rubbish",
		"[]",
		"17",
		"{}",
		"{\"version\":1}",
		"{\"command\":\"status\"}",
		"{\"version\":\"1\",\"command\":\"status\"}",
		"{\"version\":1,\"command\":7}",
		"{\"version\":1,\"version\":1,\"command\":\"status\"}",
		CMD_WITH("status", "\"more\":1"),
		CMD_WITH("port-add", "\"name\":1"),
		CMD_WITH("port-remove", "\"name\":\"vm1\",\"force\":\"yes\""),
		CMD_WITH("port-add", "\"name\":\"a\\u0000b\""),
		CMD_WITH("port-add", "\"name\":\"\xff\""),
		CMD("status") CMD("status"),
	};
	struct world *w = *state;
	int fd = connect_to(w, UP_CONTROL_SOCKET);

	for (unsigned i = 0; i < UP_ARRAY_SIZE(bad); i++)
		refused(w, fd, bad[i], "bad-request");
	refused(w, fd, "{\"version\":2,\"command\":\"status\"}", "bad-version");
	refused(w, fd, CMD("no such"), "unknown-command");
	/* Deep nesting, and a name that is quoted in the message though it is long and not ASCII.
	 */
	char deep[8192];

	memset(deep, '[', sizeof(deep) - 1);
	deep[sizeof(deep) - 1] = 0;
	refused(w, fd, deep, "bad-request");
	refused(w, fd,
		CMD_WITH("qemu-args", "\"port\":\"\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9"
				      "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3"
				      "\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9"
				      "\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3"
				      "\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9\xc3\xa9"
				      "a\xc3\xa9\xc3\xa9\""),
		"no-port");
	json_decref(call(w, fd, CMD("status")));
	close(fd);
}

static void a_request_too_long_ends_the_connection(void **state)
{
	struct world *w = *state;
	int fd = connect_to(w, UP_CONTROL_SOCKET);
	char *text = malloc(UP_REQUEST_MAX + 1);

	assert_non_null(text);
	memset(text, ' ', UP_REQUEST_MAX);
	memcpy(text, CMD("status"), strlen(CMD("status")));
	text[UP_REQUEST_MAX] = 0;
	/* The longest that is allowed, newline and all, is answered. */
	text[UP_REQUEST_MAX - 1] = '\n';
	for (size_t at = 0; at < UP_REQUEST_MAX; settle(w))
		at += (size_t)send(fd, text + at, 4096, MSG_NOSIGNAL);
	json_decref(get_reply(w, fd));
	text[UP_REQUEST_MAX - 1] = ' ';
	for (size_t at = 0; at < UP_REQUEST_MAX; settle(w))
		at += (size_t)send(fd, text + at, 4096, MSG_NOSIGNAL);
	expect_error(w, fd, "bad-request");
	assert_null(get_line(w, fd));
	free(text);
	close(fd);
}

static void requests_may_come_in_any_pieces(void **state)
{
	struct world *w = *state;
	int fd = connect_to(w, UP_CONTROL_SOCKET);
	const char *text = CMD("status") "\n" CMD("stats") "\n" CMD("port-list") "\n";

	for (; *text; text++) {
		assert_int_equal(send(fd, text, 1, MSG_NOSIGNAL), 1);
		settle(w);
	}
	for (unsigned i = 0; i < 3; i++)
		json_decref(get_reply(w, fd));
	put(fd, CMD("status") "\n" CMD("stats") "\n" CMD("port-list") "\n{\"half");
	for (unsigned i = 0; i < 3; i++)
		json_decref(get_reply(w, fd));
	close(fd);
	settle(w);
}

static void the_end_of_input_still_gets_answers(void **state)
{
	struct world *w = *state;
	int fd = connect_to(w, UP_CONTROL_SOCKET);

	put(fd, CMD("status") "\n" CMD("status") "\n");
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	json_decref(get_reply(w, fd));
	json_decref(get_reply(w, fd));
	assert_null(get_line(w, fd));
	close(fd);
}

static void clients_are_limited(void **state)
{
	struct world *w = *state;
	int fd[8], more;

	for (unsigned i = 0; i < 8; i++) {
		fd[i] = connect_to(w, UP_CONTROL_SOCKET);
		json_decref(call(w, fd[i], CMD("status")));
	}
	more = connect_to(w, UP_CONTROL_SOCKET);
	expect_error(w, more, "limit");
	assert_null(get_line(w, more));
	close(more);
	close(fd[3]);
	settle(w);
	fd[3] = connect_to(w, UP_CONTROL_SOCKET);
	json_decref(call(w, fd[3], CMD("status")));
	for (unsigned i = 0; i < 8; i++)
		close(fd[i]);
}

/* A client that never reads holds up neither the others nor, when it is gone, the daemon. */
static void a_client_that_does_not_read(void **state)
{
	struct world *w = *state;
	int lazy = connect_to(w, UP_CONTROL_SOCKET), fd;
	ssize_t n = 1;

	/* Far more than all buffers on the way take. */
	for (unsigned i = 0; i < 1000000 && n > 0; i++) {
		n = send(lazy, CMD("stats") "\n", strlen(CMD("stats")) + 1, MSG_NOSIGNAL);
		settle(w);
	}
	assert_true(n < 0 && errno == EAGAIN);
	fd = connect_to(w, UP_CONTROL_SOCKET);
	for (unsigned i = 0; i < 10; i++)
		json_decref(call(w, fd, CMD("stats")));
	close(lazy);
	settle(w);
	json_decref(call(w, fd, CMD("status")));
	close(fd);
}

enum { MANY = 1000 };

/* Gives the port's adapter QPs that only statistics may look at: the world stands still. */
static struct up_qp *add_qps(struct world *w)
{
	struct up_hca *hca = &up_daemon_port(up_port_find(w->d.fabric, "vm1"))->device->hca;
	struct up_qp *qps = calloc(MANY, sizeof(*qps));

	assert_non_null(qps);
	up_world_stop(w->d.fabric);
	w->stopped = true;
	for (unsigned i = 0; i < MANY; i++) {
		int64_t id = up_table_add(&hca->qps, &qps[i]);

		assert_true(id > 0);
		qps[i].hca = hca;
		qps[i].qpn = (uint32_t)id;
		qps[i].state = UP_QPS_RTS;
		qps[i].stats.messages = i;
	}
	return qps;
}

static void remove_qps(struct world *w, struct up_qp *qps)
{
	for (unsigned i = 0; i < MANY; i++)
		up_table_del(&qps[i].hca->qps, qps[i].qpn);
	up_world_start(w->d.fabric);
	w->stopped = false;
	free(qps);
}

static void stats_of_many_qps(void **state)
{
	struct world *w = *state;
	struct up_qp *qps = add_qps(w);
	int fd = connect_to(w, UP_CONTROL_SOCKET);
	json_t *r = call(w, fd, CMD("stats")), *q;
	json_t *port = json_array_get(json_object_get(r, "ports"), 0);

	assert_int_equal(json_array_size(json_object_get(r, "workers")), 1);
	assert_int_equal(json_array_size(json_object_get(port, "qps")), MANY);
	q = json_array_get(json_object_get(port, "qps"), MANY - 1);
	assert_string_equal(text_of(q, "type"), "RC");
	assert_string_equal(text_of(q, "state"), "RTS");
	assert_int_equal(json_integer_value(json_object_get(q, "messages")), MANY - 1);
	json_decref(r);

	r = call(w, fd, CMD_WITH("stats", "\"port\":\"vm1\",\"qps\":false"));
	port = json_array_get(json_object_get(r, "ports"), 0);
	assert_int_equal(json_array_size(json_object_get(port, "qps")), 0);
	json_decref(r);
	refused(w, fd, CMD_WITH("stats", "\"port\":\"vm9\""), "no-port");
	remove_qps(w, qps);
	close(fd);
}

static void a_port_vanishes_while_its_stats_are_read(void **state)
{
	struct world *w = *state;
	int slow = connect_to(w, UP_CONTROL_SOCKET), fd = connect_to(w, UP_CONTROL_SOCKET);
	struct up_qp *qps;
	json_t *r;

	json_decref(call(w, fd, CMD_WITH("port-add", "\"name\":\"vm2\"")));
	settle(w);
	qps = add_qps(w);
	put(slow, CMD("stats") "\n");
	for (unsigned i = 0; i < 4; i++) /* the head, the port, and some of its QPs */
		turn(w);
	remove_qps(w, qps);
	up_daemon_port_remove(up_port_find(w->d.fabric, "vm1"));
	r = get_reply(w, slow);
	r = (json_decref(r), call(w, slow, CMD("stats")));
	assert_int_equal(json_array_size(json_object_get(r, "ports")), 1);
	json_decref(r);
	close(slow);
	close(fd);
}

static void one_daemon_a_directory(void **state)
{
	struct world *w = *state;
	struct up_daemon second;
	struct up_settings s;
	struct up_error e;
	int fd;

	up_settings_init(&s);
	s.dir = strdup(w->dir);
	assert_int_equal(up_daemon_init(&second, &s, &e), -1);
	assert_string_equal(e.code, "in-use");
	assert_non_null(strstr(e.text, w->dir));
	up_daemon_fini(&second);
	fd = connect_to(w, UP_CONTROL_SOCKET);
	json_decref(call(w, fd, CMD("status")));
	close(fd);
}

static void sockets_are_private(void **state)
{
	struct world *w = *state;
	char path[128];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", w->dir, UP_CONTROL_SOCKET);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	snprintf(path, sizeof(path), "%s/vm1.sock", w->dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(ports_come_and_go),
		TEST(ports_are_refused),
		TEST(a_port_in_use_is_kept),
		TEST(a_port_tells_its_state),
		TEST(qemu_arguments),
		TEST(memory_sizes),
		TEST(status),
		TEST(what_is_no_request),
		TEST(a_request_too_long_ends_the_connection),
		TEST(requests_may_come_in_any_pieces),
		TEST(the_end_of_input_still_gets_answers),
		TEST(clients_are_limited),
		TEST(a_client_that_does_not_read),
		TEST(stats_of_many_qps),
		TEST(a_port_vanishes_while_its_stats_are_read),
		TEST(one_daemon_a_directory),
		TEST(sockets_are_private),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
