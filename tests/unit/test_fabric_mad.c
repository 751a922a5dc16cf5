/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Management datagrams to a port. Offsets are written out as the specification's tables have them
 * (14.2.5, 16.1.3), not taken from the code under test.
 */
#include "unit.h"

#include "base/bytes.h"
#include "fabric/fabric.h"

#include <stdlib.h>
#include <string.h>

enum { GET = 1, SET = 2, GET_RESP = 0x81 };
enum { SM = 0x01, SM_DIRECTED = 0x81, PERF = 0x04 };

static unsigned idle_poll(struct up_hca *hca, uint64_t now, uint64_t *due)
{
	return 0;
}

static const struct up_hca_ops idle_ops = {.poll = idle_poll};

struct world {
	struct up_fabric *f;
	struct up_port *port;
	struct up_hca hca;
	uint8_t in[256], out[256];
};

static int setup(void **state)
{
	struct up_fabric_config cfg = UP_FABRIC_CONFIG_DEFAULT;
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->f = up_fabric_create(&cfg);
	assert_non_null(w->f);
	w->port = up_port_create(w->f, "vm1", "t", 0x0002c90300000001);
	assert_non_null(w->port);
	w->hca.ops = &idle_ops;
	w->hca.pkeys[0] = UP_PKEY_DEFAULT;
	up_port_attach(w->port, &w->hca);
	up_port_set_driver(w->port, true);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;

	up_port_detach(w->port);
	up_fabric_destroy(w->f);
	free(w);
	return 0;
}

static void request(struct world *w, uint8_t class, uint8_t method, uint16_t attribute,
		    uint32_t modifier)
{
	memset(w->in, 0, sizeof(w->in));
	memset(w->out, 0xee, sizeof(w->out));
	w->in[0] = 1;
	w->in[1] = class;
	w->in[2] = 1;
	w->in[3] = method;
	up_put_be64(w->in + 8, 0x1122334455667788);
	up_put_be16(w->in + 16, attribute);
	up_put_be32(w->in + 20, modifier);
}

/* The status of the response; what every response has is checked. */
static unsigned process(struct world *w)
{
	assert_true(up_mad_process(w->port, w->in, w->out));
	assert_int_equal(w->out[0], w->in[0]);
	assert_int_equal(w->out[1], w->in[1]);
	assert_int_equal(w->out[3], GET_RESP);
	assert_memory_equal(w->out + 8, w->in + 8, 16); /* transaction, attribute, modifier */
	return up_get_be16(w->out + 4);
}

static unsigned get(struct world *w, uint8_t class, uint16_t attribute, uint32_t modifier)
{
	request(w, class, GET, attribute, modifier);
	return process(w);
}

static void node_info(void **state)
{
	struct world *w = *state;
	const uint8_t *d = w->out + 64;

	assert_int_equal(get(w, SM, 0x0011, 0), 0);
	assert_int_equal(d[0], 1);
	assert_int_equal(d[1], 1);
	assert_int_equal(d[2], 1); /* a channel adapter */
	assert_int_equal(d[3], 1); /* with one port */
	assert_int_equal(up_get_be64(d + 4), w->port->guid);
	assert_int_equal(up_get_be64(d + 12), w->port->guid);
	assert_int_equal(up_get_be64(d + 20), w->port->guid);
	assert_int_equal(up_get_be16(d + 28), 128);
	assert_int_equal(up_get_be16(d + 30), 4119);
	assert_int_equal(d[36], 1);
	assert_int_equal(up_get_be24(d + 37), 0x2c9);
}

static void node_description(void **state)
{
	struct world *w = *state;

	assert_int_equal(get(w, SM, 0x0010, 0), 0);
	assert_string_equal((char *)w->out + 64, "vm1");
	request(w, SM, SET, 0x0010, 0);
	assert_int_equal(process(w), 0x000c);
}

static void port_info(void **state)
{
	struct world *w = *state;
	const uint8_t *d = w->out + 64;

	assert_int_equal(get(w, SM, 0x0015, 1), 0);
	assert_int_equal(up_get_be64(d), 0); /* no management key */
	assert_int_equal(up_get_be64(d + 8), 0xfe80000000000000);
	assert_int_equal(up_get_be16(d + 16), w->port->lid);
	assert_int_equal(up_get_be16(d + 18), UP_SM_LID);
	assert_int_equal(d[28], 1);
	assert_int_equal(d[31], 2);	 /* 4X */
	assert_int_equal(d[32] & 15, 4); /* active */
	assert_int_equal(d[33] >> 4, 5); /* link up */
	assert_int_equal(d[34], 0);	 /* one LID */
	assert_int_equal(d[36] >> 4, 5); /* 4096 bytes */
	assert_int_equal(d[41] & 15, 5);
	assert_int_equal(d[50], 8);
	assert_int_equal(get(w, SM, 0x0015, 0), 0);
	assert_int_equal(get(w, SM, 0x0015, 2), 0x001c);
	/* A target for block storage has a device management agent. */
	assert_int_equal(get(w, SM, 0x0015, 1), 0);
	assert_int_equal(up_get_be32(d + 20), 0x4840);
	atomic_store(&w->hca.port_caps, 1u << 19);
	assert_int_equal(get(w, SM, 0x0015, 1), 0);
	assert_int_equal(up_get_be32(d + 20), 0x84840);
	/* Vendor's: no link is at FDR10. */
	assert_int_equal(get(w, SM, 0xff90, 1), 0);
	assert_int_equal(d[15], 0);
	assert_int_equal(get(w, SM, 0xff90, 2), 0x001c);

	up_port_set_driver(w->port, false);
	assert_int_equal(get(w, SM, 0x0015, 1), 0);
	assert_int_equal(d[32] & 15, 1);
	assert_int_equal(d[33] >> 4, 2);
}

static void set_changes_nothing_of_the_fabrics(void **state)
{
	struct world *w = *state;

	request(w, SM, SET, 0x0015, 1);
	memset(w->in + 64, 0x5a, 64);
	assert_int_equal(process(w), 0);
	assert_int_equal(up_get_be16(w->out + 64 + 16), w->port->lid);
	assert_int_equal(up_get_be64(w->out + 64), 0);
	assert_int_equal(get(w, SM, 0x0015, 1), 0);
	assert_int_equal(up_get_be16(w->out + 64 + 16), w->port->lid);
}

static void tables(void **state)
{
	static const uint8_t zero[64];
	struct world *w = *state;
	const uint8_t *d = w->out + 64;

	assert_int_equal(get(w, SM, 0x0014, 0), 0); /* GUIDInfo */
	assert_int_equal(up_get_be64(d), w->port->guid);
	assert_memory_equal(d + 8, zero, 56);
	assert_int_equal(get(w, SM, 0x0014, 1), 0x001c);

	assert_int_equal(get(w, SM, 0x0016, 0), 0); /* P_KeyTable */
	assert_int_equal(up_get_be16(d), 0xffff);
	assert_memory_equal(d + 2, zero, 62);
	assert_int_equal(get(w, SM, 0x0016, 3), 0);
	assert_memory_equal(d, zero, 64);
	assert_int_equal(get(w, SM, 0x0016, 4), 0x001c);

	assert_int_equal(get(w, SM, 0x0017, 0), 0); /* SLtoVLMappingTable */
	assert_int_equal(d[0], 0x01);
	assert_int_equal(d[1], 0x23);
	assert_int_equal(d[2], 0x01);

	assert_int_equal(get(w, SM, 0x0018, 1 << 16), 0); /* VLArbitrationTable */
	assert_int_equal(d[2], 1);
	assert_int_equal(d[3], 1);
	assert_int_equal(get(w, SM, 0x0018, 2 << 16), 0);
	assert_int_equal(get(w, SM, 0x0018, 0), 0x001c);
	assert_int_equal(get(w, SM, 0x0018, 5 << 16), 0x001c);

	assert_int_equal(get(w, SM, 0x0020, 0), 0); /* SMInfo */
	assert_int_equal(up_get_be64(d), w->port->guid);
	assert_int_equal(d[20], 0);
}

static void directed_route(void **state)
{
	struct world *w = *state;

	assert_int_equal(get(w, SM_DIRECTED, 0x0011, 0), 0x8000);
	assert_int_equal(up_get_be64(w->out + 64 + 20), w->port->guid);

	request(w, SM_DIRECTED, GET, 0x0011, 0);
	w->in[6] = 1; /* the hop pointer, one beyond the count */
	assert_int_equal(process(w), 0x8000);
	w->in[7] = 3; /* not arrived yet */
	assert_false(up_mad_process(w->port, w->in, w->out));
	w->in[6] = 3;
	assert_int_equal(process(w), 0x8000);
	w->in[7] = 255;
	w->in[6] = 0;
	assert_false(up_mad_process(w->port, w->in, w->out));
	w->in[7] = w->in[6] = 0;
	up_put_be16(w->in + 4, 0x8000); /* on its way back */
	assert_false(up_mad_process(w->port, w->in, w->out));
	assert_int_equal(get(w, SM_DIRECTED, 0x0999, 0), 0x800c);
}

static void counters(void **state)
{
	struct world *w = *state;
	const uint8_t *d = w->out + 64;

	w->hca.stats.bytes = 4000;
	w->hca.stats.messages = 3;
	w->hca.stats.rx_bytes = 0x300000000;
	w->hca.stats.rx_messages = 7;
	request(w, PERF, GET, 0x0012, 0);
	w->in[64 + 1] = 1;
	assert_int_equal(process(w), 0);
	assert_int_equal(up_get_be32(d + 24), 1000);
	assert_int_equal(up_get_be32(d + 28), 0xc0000000);
	assert_int_equal(up_get_be32(d + 32), 3);
	assert_int_equal(up_get_be32(d + 36), 7);

	w->hca.stats.rx_bytes = 0x5000000000;
	assert_int_equal(process(w), 0);
	assert_int_equal(up_get_be32(d + 28), 0xffffffff); /* stops at its end */

	request(w, PERF, GET, 0x001d, 0);
	w->in[64 + 1] = 0xff;
	assert_int_equal(process(w), 0);
	assert_int_equal(up_get_be64(d + 8), 1000);
	assert_int_equal(up_get_be64(d + 16), 0x1400000000);
	assert_int_equal(up_get_be64(d + 24), 3);
	assert_int_equal(up_get_be64(d + 32), 7);
	assert_int_equal(up_get_be64(d + 40), 3);
	assert_int_equal(up_get_be64(d + 48), 7);

	w->in[64 + 1] = 2;
	assert_int_equal(process(w), 0x001c);
	request(w, PERF, GET, 0x0012, 0);
	assert_int_equal(process(w), 0x001c);
}

static void counters_are_set(void **state)
{
	struct world *w = *state;
	const uint8_t *d = w->out + 64;

	w->hca.stats.bytes = 4000;
	w->hca.stats.rx_bytes = 8000;
	w->hca.stats.messages = 3;
	w->hca.stats.rx_messages = 5;
	request(w, PERF, SET, 0x0012, 0);
	w->in[64 + 1] = 1;
	up_put_be16(w->in + 64 + 2, 0x5000); /* data and packets sent */
	up_put_be32(w->in + 64 + 32, 10);
	assert_int_equal(process(w), 0);
	assert_int_equal(up_get_be32(d + 24), 0);
	assert_int_equal(up_get_be32(d + 28), 2000);
	assert_int_equal(up_get_be32(d + 32), 10);
	assert_int_equal(up_get_be32(d + 36), 5);

	w->hca.stats.bytes += 40;
	w->hca.stats.messages += 1;
	request(w, PERF, SET, 0x001d, 0);
	w->in[64 + 1] = 1;
	up_put_be16(w->in + 64 + 2, 0x000a); /* data and packets received */
	assert_int_equal(process(w), 0);
	assert_int_equal(up_get_be64(d + 8), 10);
	assert_int_equal(up_get_be64(d + 16), 0);
	assert_int_equal(up_get_be64(d + 24), 11);
	assert_int_equal(up_get_be64(d + 32), 0);
}

static void class_port_info(void **state)
{
	struct world *w = *state;

	assert_int_equal(get(w, PERF, 0x0001, 0), 0);
	assert_int_equal(w->out[64], 1);
	assert_int_equal(up_get_be16(w->out + 64 + 2), 0x0200);
	assert_int_equal(get(w, SM, 0x0001, 0), 0x000c);
}

static void what_is_not_understood(void **state)
{
	struct world *w = *state;

	assert_int_equal(get(w, SM, 0x0012, 0), 0x000c); /* SwitchInfo: not a switch */
	assert_int_equal(get(w, SM, 0xff91, 1), 0x000c);
	assert_int_equal(get(w, PERF, 0x0010, 0), 0x000c);
	assert_int_equal(get(w, 0x03, 0x0011, 0), 0x0004);
	assert_int_equal(get(w, 0x09, 0x0011, 0), 0x0004);
	request(w, SM, 0x06, 0x0011, 0);
	assert_int_equal(process(w), 0x0008);
	request(w, SM, GET, 0x0011, 0);
	w->in[2] = 2;
	assert_int_equal(process(w), 0x0004);
	w->in[2] = 1;
	w->in[0] = 0x80;
	assert_int_equal(process(w), 0x0004);
}

static void what_is_not_answered(void **state)
{
	static const uint8_t methods[] = {0x03, 0x05, 0x07, 0x81, 0x86, 0xff};
	struct world *w = *state;

	for (unsigned i = 0; i < UP_ARRAY_SIZE(methods); i++) {
		request(w, SM, methods[i], 0x0015, 1);
		assert_false(up_mad_process(w->port, w->in, w->out));
	}
}

static void without_an_adapter(void **state)
{
	struct world *w = *state;

	up_port_detach(w->port);
	assert_int_equal(get(w, SM, 0x0016, 0), 0);
	assert_int_equal(up_get_be16(w->out + 64), 0xffff);
	request(w, PERF, GET, 0x0012, 0);
	w->in[64 + 1] = 1;
	assert_int_equal(process(w), 0);
	up_port_attach(w->port, &w->hca);
}

/* In place, and every header that a random guest may make up. */
static void rubbish(void **state)
{
	struct world *w = *state;
	uint64_t seed = 1;

	for (unsigned n = 0; n < 200000; n++) {
		uint8_t *mad = malloc(256);

		assert_non_null(mad);
		for (unsigned i = 0; i < 256; i += 8)
			up_put_be64(mad + i, unit_random(&seed));
		mad[0] = 1;
		mad[1] = (const uint8_t[]){SM, SM_DIRECTED, PERF, 0x55}[mad[1] & 3];
		mad[2] = 1;
		mad[3] = (uint8_t)(1 + (mad[3] & 1));
		mad[16] = 0;
		mad[17] &= 0x3f;
		up_mad_process(w->port, mad, mad);
		free(mad);
	}
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(node_info),
		TEST(node_description),
		TEST(port_info),
		TEST(set_changes_nothing_of_the_fabrics),
		TEST(tables),
		TEST(directed_route),
		TEST(counters),
		TEST(counters_are_set),
		TEST(class_port_info),
		TEST(what_is_not_understood),
		TEST(what_is_not_answered),
		TEST(without_an_adapter),
		TEST(rubbish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
