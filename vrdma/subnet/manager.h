/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of the subnet manager share.
 *
 * Threads. Everything runs on the worker of the manager's port, or with the world stopped.
 */
#ifndef UP_SUBNET_MANAGER_H
#define UP_SUBNET_MANAGER_H

#include "base/bytes.h"
#include "base/list.h"
#include "subnet/adapter.h"
#include "subnet/sa_layout.h"

/*
 * What every path of this fabric has, and every group unless who made it asked for less: MTU 4096,
 * 100 Gb/s (four lanes at EDR, as the ports say), and a packet's lifetime of 4.096 us << 14, 67 ms.
 * Nothing takes that long here; a connection's time-outs are made from it, and a guest that is gone
 * is noticed after a second.
 */
enum { SN_MTU = 5, SN_RATE = 16, SN_LIFE = 14 };

/* Records of one kind, as a response carries them. */
struct sa_table {
	uint8_t *bytes;
	size_t room;
	size_t record; /* bytes from one to the next, a multiple of 8 */
	size_t count;
	bool too_many; /* one did not fit: SA_TABLE_BYTES */
};

#define SA_TABLE_BYTES ((size_t)1 << 20)

struct sa_groups {
	struct sa_group *by_mgid;	   /* uthash */
	struct up_table mlids;		   /* of the same groups, from 0xc000 on */
	uint64_t made;			   /* groups that were named by the manager */
	uint16_t joined[UP_LID_MULTICAST]; /* how many the port with a LID is a member of */
};

struct rmpp {
	struct up_list sessions; /* struct rmpp_session, the oldest first */
	unsigned count;
};

struct sn_manager {
	struct up_port *port;
	struct sn_adapter *adapter;
	struct sa_table table; /* of the query under way; its memory is kept */
	struct sa_groups groups;
	struct sa_service *services; /* uthash */
	struct rmpp rmpp;
};

struct sa_query {
	struct sn_manager *m;
	struct up_port *asker; /* active */
	enum sa_method method;
	uint32_t modifier;
	bool with_key; /* it carries an SM_Key, as one does that asks for members (15.4.1.2) */
	uint64_t mask;
	const uint8_t *record; /* of the request, SA_DATA_BYTES */
	struct sa_table *table;
};

/* sa.c: a MAD of subnet administration's class, other than what rmpp_received() takes. */
void sa_received(struct sn_manager *m, const struct sn_peer *from, uint8_t mad[MAD_BYTES]);
/* The next record of the response, zeroed; NULL: there are too many. */
void *sa_table_add(struct sa_table *t);
void sa_table_fini(struct sa_table *t);
/* Is a field what the request asks for? True where the mask lacks its bit. */
bool sa_same(const struct sa_query *q, uint64_t bit, const void *asked, const void *have,
	     size_t bytes);
/*
 * Does `have` satisfy a request's selector and value, in one byte? `rank` gives the order of values
 * that have none. True where the mask lacks the bit of either.
 */
bool sa_selects(const struct sa_query *q, uint64_t selector, uint64_t value, uint8_t asked,
		unsigned have, unsigned (*rank)(unsigned));

/* Handlers of sa.c's table of attributes. */
enum sa_status sa_path_record(struct sa_query *q);
enum sa_status sa_node_record(struct sa_query *q);
enum sa_status sa_port_info_record(struct sa_query *q);
enum sa_status sa_sm_info_record(struct sa_query *q);
enum sa_status sa_mc_member_record(struct sa_query *q);
enum sa_status sa_service_record(struct sa_query *q);

/* sa_path.c: the order of IB rates, whose codes have none. */
unsigned sa_rate_rank(unsigned rate);

/* sa_mcast.c. 0 or -ENOMEM. */
int sa_groups_init(struct sn_manager *m);
void sa_groups_fini(struct sn_manager *m);
void sa_groups_port_down(struct sn_manager *m, const struct up_port *port);
/* What a group is, but for a member's port and join state; NULL when there is none. */
const struct sa_mc_member *sa_group_record(const struct sn_manager *m, const uint8_t mgid[16]);

/* sa_service.c */
void sa_services_fini(struct sn_manager *m);
void sa_services_port_down(struct sn_manager *m, const struct up_port *port);

/*
 * rmpp.c: the reliable multi-packet protocol (13.6), sender's side, which carries tables.
 * Takes the response's header from `head`, its data from q's table.
 */
void rmpp_send(struct sn_manager *m, const struct sn_peer *to, const struct sa_header *head,
	       const struct sa_table *table);
/* True when the MAD belongs to the protocol, not to a request. */
bool rmpp_received(struct sn_manager *m, const struct sn_peer *from, const struct sa_header *h);
bool rmpp_tick(struct sn_manager *m, uint64_t now, uint64_t *due);
void rmpp_port_down(struct sn_manager *m, uint16_t lid);
void rmpp_fini(struct sn_manager *m);

#endif
