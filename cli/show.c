/* SPDX-License-Identifier: BSD-2-Clause */
/* Results of the daemon as tables for people. */
#include "cli/show.h"

#include "cli/table.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void put_line(void *arg, const char *text)
{
	puts(text);
}

const struct sink stdout_sink = {.line = put_line};

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "?";
}

static uint64_t number_of(const json_t *o, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(o, key));
}

static const char *vm_of(const json_t *port)
{
	return json_is_true(json_object_get(port, "connected")) ? "yes" : "no";
}

void show_ports(const json_t *result, const struct sink *to)
{
	const json_t *ports = json_object_get(result, "ports"), *p;
	struct table t;
	size_t i;

	table_init(&t, 8, "PORT TENANT LID GUID STATE VM DOORBELLS SOCKET");
	json_array_foreach(ports, i, p)
	{
		table_text(&t, text_of(p, "name"));
		table_text(&t, text_of(p, "tenant"));
		table_number(&t, number_of(p, "lid"));
		table_text(&t, text_of(p, "guid"));
		table_text(&t, text_of(p, "state"));
		table_text(&t, vm_of(p));
		table_text(&t, text_of(p, "doorbells"));
		table_text(&t, text_of(p, "socket"));
	}
	table_write(&t, to->line, to->arg);
	table_fini(&t);
}

static void status_line(const struct sink *to, const char *what, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void status_line(const struct sink *to, const char *what, const char *fmt, ...)
{
	char value[512], line[640];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(value, sizeof(value), fmt, ap);
	va_end(ap);
	snprintf(line, sizeof(line), "%-10s %s", what, value);
	to->line(to->arg, line);
}

void show_status(const json_t *result, const struct sink *to)
{
	const json_t *polling = json_object_get(result, "polling");
	uint64_t up = number_of(result, "uptime_s");

	status_line(to, "daemon", "underpassd %s, process %" PRIu64, text_of(result, "daemon"),
		    number_of(result, "pid"));
	status_line(to, "directory", "%s", text_of(result, "dir"));
	status_line(to, "running", "%" PRIu64 " d %02" PRIu64 ":%02" PRIu64 ":%02" PRIu64,
		    up / 86400, up / 3600 % 24, up / 60 % 60, up % 60);
	status_line(to, "ports",
		    "%" PRIu64 " of at most %" PRIu64 ", %" PRIu64 " with a VM, %" PRIu64 " active",
		    number_of(result, "ports"), number_of(result, "max_ports"),
		    number_of(result, "connected"), number_of(result, "active"));
	status_line(to, "workers", "%" PRIu64, number_of(result, "workers"));
	status_line(to, "polling",
		    "spin %" PRIu64 " us, then sleep %" PRIu64 " to %" PRIu64 " us for %" PRIu64
		    ".%" PRIu64 " %% of a CPU",
		    number_of(polling, "spin_us"), number_of(polling, "idle_sleep_us"),
		    number_of(polling, "deep_sleep_us"), number_of(polling, "idle_permille") / 10,
		    number_of(polling, "idle_permille") % 10);
	status_line(to, "quantum", "%" PRIu64 " bytes", number_of(result, "quantum_bytes"));
}

static void stats_qps(const json_t *port, const struct sink *to)
{
	const json_t *qps = json_object_get(port, "qps"), *q;
	struct table t;
	char line[128];
	size_t i;

	snprintf(line, sizeof(line), "%s: %zu queue pairs", text_of(port, "name"),
		 json_array_size(qps));
	to->line(to->arg, "");
	to->line(to->arg, line);
	if (json_array_size(qps) == 0)
		return;
	table_init(&t, 3, "QPN TYPE STATE MESSAGES BYTES RECEIVED ERRORS RNR");
	json_array_foreach(qps, i, q)
	{
		table_number(&t, number_of(q, "qpn"));
		table_text(&t, text_of(q, "type"));
		table_text(&t, text_of(q, "state"));
		table_number(&t, number_of(q, "messages"));
		table_bytes(&t, number_of(q, "bytes"));
		table_number(&t, number_of(q, "received"));
		table_number(&t, number_of(q, "errors"));
		table_number(&t, number_of(q, "rnr"));
	}
	table_write(&t, to->line, to->arg);
	table_fini(&t);
}

static void stats_ports(const json_t *ports, const struct sink *to)
{
	static const char *const counts[] = {"received", "errors",	   "rnr",
					     "events",	 "interrupts",	   "doorbell_hints",
					     "commands", "socket_messages"};
	const json_t *p;
	struct table t;
	size_t i;

	table_init(&t, 3,
		   "PORT STATE VM MESSAGES BYTES RECEIVED ERRORS RNR EVENTS INTERRUPTS DOORBELLS "
		   "COMMANDS SOCKET-MSGS");
	json_array_foreach(ports, i, p)
	{
		table_text(&t, text_of(p, "name"));
		table_text(&t, text_of(p, "state"));
		table_text(&t, vm_of(p));
		table_number(&t, number_of(p, "messages"));
		table_bytes(&t, number_of(p, "bytes"));
		for (size_t n = 0; n < sizeof(counts) / sizeof(counts[0]); n++)
			table_number(&t, number_of(p, counts[n]));
	}
	table_write(&t, to->line, to->arg);
	table_fini(&t);
}

static void stats_workers(const json_t *workers, const struct sink *to)
{
	const json_t *w;
	struct table t;
	char busy[32];
	size_t i;

	to->line(to->arg, "");
	table_init(&t, 0, "WORKER TURNS SLEEPS BUSY");
	json_array_foreach(workers, i, w)
	{
		table_number(&t, i);
		table_number(&t, number_of(w, "turns"));
		table_number(&t, number_of(w, "idle_sleeps"));
		snprintf(busy, sizeof(busy), "%.3f s", (double)number_of(w, "busy_ns") / 1e9);
		table_text(&t, busy);
	}
	table_write(&t, to->line, to->arg);
	table_fini(&t);
}

void show_stats(const json_t *result, bool qps, const struct sink *to)
{
	const json_t *ports = json_object_get(result, "ports"), *p;
	size_t i;

	stats_ports(ports, to);
	json_array_foreach(ports, i, p)
	{
		if (qps)
			stats_qps(p, to);
	}
	stats_workers(json_object_get(result, "workers"), to);
}

/* The element of `list` whose `key` is that of `like`, looked for at `hint` first. */
static const json_t *find_like(const json_t *list, const json_t *like, const char *key, size_t hint)
{
	const json_t *want = json_object_get(like, key), *e;
	size_t i;

	e = json_array_get(list, hint);
	if (e && json_equal(json_object_get(e, key), want))
		return e;
	json_array_foreach(list, i, e)
	{
		if (json_equal(json_object_get(e, key), want))
			return e;
	}
	return NULL;
}

/* What is new since `before` is counted from zero; so is what started over. */
static uint64_t rate(const json_t *before, const json_t *now, const char *key, double seconds)
{
	uint64_t a = number_of(before, key), b = number_of(now, key);

	return (uint64_t)((double)(b >= a ? b - a : b) / seconds + 0.5);
}

static void rates_qps(const json_t *before, const json_t *now, double seconds,
		      const struct sink *to)
{
	const json_t *old = json_object_get(before, "qps"), *q;
	struct table t;
	size_t i;

	to->line(to->arg, "");
	table_init(&t, 3, "QPN TYPE STATE MSG/S BYTES/S RECV/S ERR/S RNR/S");
	json_array_foreach(json_object_get(now, "qps"), i, q)
	{
		const json_t *was = find_like(old, q, "qpn", i);

		table_number(&t, number_of(q, "qpn"));
		table_text(&t, text_of(q, "type"));
		table_text(&t, text_of(q, "state"));
		table_number(&t, rate(was, q, "messages", seconds));
		table_bytes(&t, rate(was, q, "bytes", seconds));
		table_number(&t, rate(was, q, "received", seconds));
		table_number(&t, rate(was, q, "errors", seconds));
		table_number(&t, rate(was, q, "rnr", seconds));
	}
	table_write(&t, to->line, to->arg);
	table_fini(&t);
}

static void rates_workers(const json_t *before, const json_t *now, double seconds,
			  const struct sink *to)
{
	char line[512] = "workers busy:";
	const json_t *w;
	size_t i, at = strlen(line);

	json_array_foreach(json_object_get(now, "workers"), i, w)
	{
		const json_t *was = json_array_get(json_object_get(before, "workers"), i);

		if (at < sizeof(line))
			at += (size_t)snprintf(line + at, sizeof(line) - at, " %.1f%%",
					       (double)rate(was, w, "busy_ns", seconds) / 1e7);
	}
	to->line(to->arg, line);
}

void show_rates(const json_t *before, const json_t *now, double seconds, bool qps,
		const struct sink *to)
{
	static const char *const counts[] = {"errors", "rnr", "events", "interrupts",
					     "socket_messages"};
	const json_t *old = json_object_get(before, "ports"), *p;
	const json_t *ports = json_object_get(now, "ports");
	struct table t;
	size_t i;

	rates_workers(before, now, seconds, to);
	table_init(&t, 3, "PORT STATE VM MSG/S BYTES/S ERR/S RNR/S EVENT/S INTR/S SOCKET/S");
	json_array_foreach(ports, i, p)
	{
		const json_t *was = find_like(old, p, "name", i);

		table_text(&t, text_of(p, "name"));
		table_text(&t, text_of(p, "state"));
		table_text(&t, vm_of(p));
		table_number(&t, rate(was, p, "messages", seconds));
		table_bytes(&t, rate(was, p, "bytes", seconds));
		for (size_t n = 0; n < sizeof(counts) / sizeof(counts[0]); n++)
			table_number(&t, rate(was, p, counts[n], seconds));
	}
	table_write(&t, to->line, to->arg);
	table_fini(&t);
	json_array_foreach(ports, i, p)
	{
		if (qps)
			rates_qps(find_like(old, p, "name", i), p, seconds, to);
	}
}
