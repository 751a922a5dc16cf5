/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libFuzzer target: management datagrams from several ports of two tenants to their subnet
 * managers, with ports that go down, away and come back between them. The guests are adapters like
 * the manager's own (subnet/adapter.h), so all goes through the engine.
 *
 * What must hold, whatever the input:
 *  - what a port gets is from its manager, well formed, and the answer to what it asked itself, as
 *    it is now: not what another asked, nor one that had its LID before;
 *  - an answer names no port of another tenant;
 *  - when all is gone no memory is left (AddressSanitizer's part).
 *
 * Input: operations, a byte that says which (below; bit 7: before the worker runs again) and its
 * arguments, little endian.
 */
#include "fuzz_vm.h"

#include "subnet/adapter.h"
#include "subnet/sa_layout.h"
#include "subnet/subnet.h"

enum operation {
	ASK, /* port, method, attribute (index), GIDs, mask of 64 bits, n, n bytes of the record */
	RAW, /* port, QP, n, n bytes: the datagram, but for the transaction ID */
	ANSWER, /* port, whose table, type, segment and window of 16 bits */
	CHANGE, /* port, how */
	RUN,	/* rounds of 8 bits, log2 of ns between them of 8 bits */
	NR_OPERATIONS
};

enum change { DOWN, UP, DETACH, DESTROY, NR_CHANGES };

/* GIDs of ASK: bits for where one is put, and above them of which port. */
enum {
	OWN_SERVICE = 1,
	OWN_SOURCE = 2,
	OWN_MEMBER = 4,
	DESTINATION = 8,
	GROUP = 16,
	PORT_SHIFT = 5
};

enum { PORTS = 4, MAX_OPERATIONS = 128, MAX_ROUNDS = 16, REMEMBERED = 64 };

struct guest {
	struct up_port *port;
	struct sn_adapter *adapter;
	uint16_t life; /* counts adapters of all ports: part of its transaction IDs */
	uint16_t asked;
	struct {
		uint8_t mad[MAD_BYTES];
		uint64_t age; /* of the world when it was asked */
	} request[REMEMBERED];
	uint8_t segment[MAD_BYTES]; /* the last that came */
};

static const uint8_t broadcast[16] = {0xff, 0x12, 0x40, 0x1b, 0xff, 0xff, 0,	0,
				      0,    0,	  0,	0,    0xff, 0xff, 0xff, 0xff};

static struct up_fabric *fabric;
static struct guest guests[PORTS];
static uint16_t lives;
static uint64_t world_age; /* changes of ports until now */

static void check_port(const struct guest *g, const uint8_t lid[2])
{
	uint16_t n = up_get_be16(lid);

	CHECK(n >= UP_LID_MULTICAST || up_port_by_lid(g->port, n));
}

static void check_record(const struct guest *g, const struct sa_header *h, const uint8_t *record)
{
	const struct sa_path_record *p = (const struct sa_path_record *)record;

	switch (up_get_be16(h->mad.attribute)) {
	case SA_PATH_RECORD:
		check_port(g, p->dlid);
		check_port(g, p->slid);
		break;
	case SA_NODE_RECORD:
	case SA_PORT_INFO_RECORD:
		check_port(g, record);
		break;
	default:
		break;
	}
}

static void check_sa(const struct guest *g, const struct sa_header *h, bool fresh)
{
	bool segment = h->rmpp_flags & RMPP_ACTIVE;
	unsigned status = up_get_be16(h->mad.status);

	CHECK(status == MAD_OK || status == MAD_BAD_VERSION || status == MAD_BAD_METHOD_ATTRIBUTE ||
	      (status >= SA_NO_RESOURCES && status <= SA_DENIED && !(status & 0xff)));
	if (segment) {
		CHECK(status == MAD_OK && h->rmpp_type == RMPP_DATA);
		CHECK(h->mad.method == (SA_GET_TABLE | MAD_RESPONSE_BIT));
		CHECK(up_get_be32(h->segment) > 0);
		CHECK((up_get_be32(h->segment) == 1) == !!(h->rmpp_flags & RMPP_FIRST));
		if ((h->rmpp_flags & RMPP_LAST))
			CHECK(up_get_be32(h->length) >= SA_RMPP_HEADER &&
			      up_get_be32(h->length) <= SA_RMPP_HEADER + SA_DATA_BYTES);
	}
	if (status == MAD_OK && fresh && h->mad.method == MAD_GET_RESP)
		check_record(g, h, (const uint8_t *)h + SA_DATA);
}

/* An acknowledgement's method is the request's, the other way round. */
static bool is_response(const struct sa_header *h, const struct sa_header *asked)
{
	if (h->mad.mgmt_class == SA_CLASS && h->rmpp_version == RMPP_VERSION &&
	    h->rmpp_type == RMPP_ACK && (h->rmpp_flags & RMPP_ACTIVE))
		return h->mad.method == (asked->mad.method ^ MAD_RESPONSE_BIT);
	if (asked->mad.method == MAD_SET || h->mad.mgmt_class != SA_CLASS)
		return h->mad.method == MAD_GET_RESP;
	return h->mad.method == (asked->mad.method | MAD_RESPONSE_BIT);
}

static void received(void *agent, unsigned qpn, const struct sn_peer *from, uint8_t mad[MAD_BYTES])
{
	struct guest *g = agent;
	const struct sa_header *h = (const struct sa_header *)mad, *asked;
	uint64_t tid = up_get_be64(h->mad.tid);
	uint16_t n = (uint16_t)tid;

	CHECK(from->lid == UP_SM_LID && from->qpn == qpn);
	CHECK(tid >> 16 == g->life);
	/* What is older is of a table whose segments came again and again. */
	if ((uint16_t)(g->asked - n) > REMEMBERED || n == g->asked)
		return;
	asked = (const struct sa_header *)g->request[n % REMEMBERED].mad;
	CHECK(h->mad.base_version == asked->mad.base_version);
	CHECK(h->mad.mgmt_class == asked->mad.mgmt_class);
	CHECK(!memcmp(h->mad.attribute, asked->mad.attribute, sizeof(h->mad.attribute)));
	CHECK(is_response(h, asked));
	if (h->mad.mgmt_class != SA_CLASS || h->rmpp_type == RMPP_ACK)
		return;
	check_sa(g, h, g->request[n % REMEMBERED].age == world_age);
	memcpy(g->segment, mad, MAD_BYTES);
}

static bool tick(void *agent, uint64_t now, uint64_t *due)
{
	return false;
}

static const struct sn_agent_ops agent_ops = {.received = received, .tick = tick};

static void attach(struct guest *g)
{
	g->life = ++lives;
	g->asked = 0;
	g->adapter = sn_adapter_create(&agent_ops, g);
	CHECK(g->adapter);
	sn_adapter_open(g->adapter, g->port);
}

static void create(unsigned i)
{
	char name[] = {'p', (char)('0' + i), '\0'};

	guests[i].port = up_port_create(fabric, name, i < PORTS - 1 ? "blue" : "red", 0);
	CHECK(guests[i].port);
	attach(&guests[i]);
}

static void destroy(struct guest *g)
{
	sn_adapter_destroy(g->adapter);
	up_port_destroy(g->port);
}

static void send_mad(struct guest *g, unsigned qpn, uint8_t mad[MAD_BYTES])
{
	const struct sn_peer manager = {.lid = UP_SM_LID, .qpn = qpn};
	struct sa_header *h = (struct sa_header *)mad;
	uint16_t n = g->asked++;

	up_put_be64(h->mad.tid, (uint64_t)g->life << 16 | n);
	memcpy(g->request[n % REMEMBERED].mad, mad, MAD_BYTES);
	g->request[n % REMEMBERED].age = world_age;
	sn_adapter_send(g->adapter, qpn, &manager, mad);
}

static void put_gids(const struct guest *g, unsigned which, uint8_t *record)
{
	const struct up_port *to = guests[which >> PORT_SHIFT & (PORTS - 1)].port;

	if (which & OWN_SERVICE)
		memcpy(record + 8, g->port->gid.raw, 16);
	if (which & OWN_SOURCE)
		memcpy(record + 24, g->port->gid.raw, 16);
	if (which & OWN_MEMBER)
		memcpy(record + 16, g->port->gid.raw, 16);
	if (which & DESTINATION)
		memcpy(record + 8, to->gid.raw, 16);
	if (which & GROUP)
		memcpy(record, broadcast, 16);
}

static void take_bytes(struct fuzz_input *in, uint8_t *at, size_t room)
{
	size_t n = fuzz_u8(in);
	const uint8_t *bytes;

	n = n < in->left ? n : in->left;
	bytes = fuzz_take(in, n);
	if (n)
		memcpy(at, bytes, n < room ? n : room);
}

static void ask(struct fuzz_input *in)
{
	static const uint8_t attributes[] = {
		SA_CLASS_PORT_INFO, SA_NODE_RECORD, SA_PORT_INFO_RECORD, SA_SM_INFO_RECORD,
		SA_SERVICE_RECORD,  SA_PATH_RECORD, SA_MC_MEMBER_RECORD, 0x03};
	struct guest *g = &guests[fuzz_u8(in) % PORTS];
	uint8_t mad[MAD_BYTES] = {MAD_BASE_VERSION, SA_CLASS, SA_CLASS_VERSION};
	struct sa_header *h = (struct sa_header *)mad;
	unsigned which;

	h->mad.method = fuzz_u8(in);
	h->mad.attribute[1] = attributes[fuzz_u8(in) % sizeof(attributes)];
	which = fuzz_u8(in);
	up_put_be64(h->mask, fuzz_number(in, 8));
	take_bytes(in, mad + SA_DATA, SA_DATA_BYTES);
	put_gids(g, which, mad + SA_DATA);
	send_mad(g, 1, mad);
}

static void raw(struct fuzz_input *in)
{
	struct guest *g = &guests[fuzz_u8(in) % PORTS];
	uint8_t mad[MAD_BYTES] = {0};
	unsigned qpn = fuzz_u8(in) & 1;

	take_bytes(in, mad, sizeof(mad));
	send_mad(g, qpn, mad);
}

static void answer(struct fuzz_input *in)
{
	const struct sn_peer manager = {.lid = UP_SM_LID, .qpn = 1};
	struct guest *g = &guests[fuzz_u8(in) % PORTS];
	const struct guest *of = &guests[fuzz_u8(in) % PORTS];
	uint8_t mad[MAD_BYTES] = {0};
	struct sa_header *h = (struct sa_header *)mad;

	memcpy(mad, of->segment, offsetof(struct sa_header, sm_key));
	h->mad.method ^= MAD_RESPONSE_BIT;
	h->rmpp_type = fuzz_u8(in);
	/* A request of its own would be answered under another's transaction ID. */
	if (h->rmpp_type == RMPP_DATA || !(h->rmpp_flags & RMPP_ACTIVE))
		return;
	up_put_be32(h->segment, fuzz_u16(in));
	up_put_be32(h->length, fuzz_u16(in));
	sn_adapter_send(g->adapter, 1, &manager, mad);
}

static void change(struct fuzz_input *in)
{
	unsigned i = fuzz_u8(in) % PORTS;
	struct guest *g = &guests[i];

	world_age++;
	switch ((enum change)(fuzz_u8(in) % NR_CHANGES)) {
	case DOWN:
		up_port_set_driver(g->port, false);
		break;
	case UP:
		up_port_set_driver(g->port, true);
		break;
	case DETACH:
		sn_adapter_destroy(g->adapter);
		attach(g);
		break;
	default:
		destroy(g);
		create(i);
	}
}

static void run(struct fuzz_input *in)
{
	unsigned rounds = fuzz_u8(in) % MAX_ROUNDS;

	fuzz_run(rounds, 1ull << (fuzz_u8(in) % 40));
}

static void operate(struct fuzz_input *in)
{
	static void (*const operations[NR_OPERATIONS])(struct fuzz_input *) = {
		[ASK] = ask, [RAW] = raw, [ANSWER] = answer, [CHANGE] = change, [RUN] = run,
	};
	uint8_t op = fuzz_u8(in);

	operations[(op & 0x7f) % NR_OPERATIONS](in);
	if (!(op & 0x80))
		fuzz_run(2, 1000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct up_fabric_config cfg = UP_FABRIC_CONFIG_DEFAULT;
	struct fuzz_input in = {data, size};

	memset(guests, 0, sizeof(guests));
	lives = 0;
	cfg.manager = &up_subnet_manager;
	fabric = up_fabric_create(&cfg);
	CHECK(fabric);
	for (unsigned i = 0; i < PORTS; i++)
		create(i);
	for (unsigned n = 0; in.left && n < MAX_OPERATIONS; n++)
		operate(&in);
	fuzz_run(4, 1000);
	for (unsigned i = 0; i < PORTS; i++)
		destroy(&guests[i]);
	up_fabric_destroy(fabric);
	return 0;
}
