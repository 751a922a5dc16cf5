/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Subnet administration as it lies in memory: the header that follows a MAD's (15.2.1.1), that of
 * the reliable multi-packet protocol within it (13.6.2.1), and the records (15.2.5). Big endian,
 * kept as bytes; a comment with '|' names what shares a field, high bits first.
 */
#ifndef UP_SUBNET_SA_LAYOUT_H
#define UP_SUBNET_SA_LAYOUT_H

#include "fabric/mad_layout.h"

enum {
	SA_DATA = 56, /* where the record of a request begins */
	SA_DATA_BYTES = MAD_BYTES - SA_DATA,
	SA_CLASS = 0x03,
	SA_CLASS_VERSION = 2,
};

/* 15.2.2 */
enum sa_method {
	SA_GET = MAD_GET,
	SA_SET = MAD_SET,
	SA_GET_TABLE = 0x12,
	SA_DELETE = 0x15,
};

/* 15.2.5 */
enum sa_attribute {
	SA_CLASS_PORT_INFO = 0x0001,
	SA_NODE_RECORD = 0x0011,
	SA_PORT_INFO_RECORD = 0x0012,
	SA_SM_INFO_RECORD = 0x0018,
	SA_SERVICE_RECORD = 0x0031,
	SA_PATH_RECORD = 0x0035,
	SA_MC_MEMBER_RECORD = 0x0038,
};

/* 15.2.3, class-specific status codes */
enum sa_status {
	SA_OK = MAD_OK,
	SA_NO_RESOURCES = 0x0100,
	SA_REQ_INVALID = 0x0200,
	SA_NO_RECORDS = 0x0300,
	SA_TOO_MANY_RECORDS = 0x0400,
	SA_INVALID_GID = 0x0500,
	SA_INSUFFICIENT_COMPONENTS = 0x0600,
	SA_DENIED = 0x0700,
};

/* 13.6.2.1 */
enum {
	RMPP_VERSION = 1,
	RMPP_DATA = 1,
	RMPP_ACK = 2,
	RMPP_STOP = 3,
	RMPP_ABORT = 4,
	RMPP_ACTIVE = 1,
	RMPP_FIRST = 2,
	RMPP_LAST = 4,
	RMPP_NO_TIME = 31 << 3, /* no response time is given */
};

struct sa_header {
	struct mad_header mad;
	uint8_t rmpp_version;
	uint8_t rmpp_type;
	uint8_t rmpp_flags; /* response time | flags */
	uint8_t rmpp_status;
	uint8_t segment[4];
	uint8_t length[4]; /* of the payload, SA headers included; in an ACK the new window */
	uint8_t sm_key[8];
	uint8_t record_words[2]; /* 8 bytes each: from one record of a table to the next */
	uint8_t reserved[2];
	uint8_t mask[8]; /* which components of the record the request names */
};
static_assert(sizeof(struct sa_header) == SA_DATA, "15.2.1.1");
static_assert(offsetof(struct sa_header, sm_key) == 36, "15.2.1.1");
static_assert(offsetof(struct sa_header, mask) == 48, "15.2.1.1");

/* What the multi-packet protocol counts of each segment besides its data: SM_Key to mask. */
enum { SA_RMPP_HEADER = SA_DATA - offsetof(struct sa_header, sm_key) };

/* Selectors of 15.2.5.16, in the two high bits of a component. */
enum sa_selector { SA_GREATER, SA_LESS, SA_EXACTLY, SA_LARGEST };

/* 15.2.5.16 */
struct sa_path_record {
	uint8_t service_id[8];
	uint8_t dgid[16];
	uint8_t sgid[16];
	uint8_t dlid[2];
	uint8_t slid[2];
	uint8_t flow_hop[4]; /* raw traffic | flow label | hop limit */
	uint8_t tclass;
	uint8_t reversible_numb; /* reversible | number of paths */
	uint8_t pkey[2];
	uint8_t qos_sl[2]; /* QoS class | SL */
	uint8_t mtu;	   /* selector | value, as the next two */
	uint8_t rate;
	uint8_t life;
	uint8_t preference;
	uint8_t reserved[6];
};
static_assert(sizeof(struct sa_path_record) == 64, "15.2.5.16");
static_assert(offsetof(struct sa_path_record, mtu) == 54, "15.2.5.16");

enum {
	SA_PATH_DGID = 1 << 2,
	SA_PATH_SGID = 1 << 3,
	SA_PATH_DLID = 1 << 4,
	SA_PATH_SLID = 1 << 5,
	SA_PATH_REVERSIBLE = 1 << 11,
	SA_PATH_NUMB = 1 << 12,
	SA_PATH_PKEY = 1 << 13,
	SA_PATH_SL = 1 << 15,
	SA_PATH_MTU_SELECTOR = 1 << 16,
	SA_PATH_MTU = 1 << 17,
	SA_PATH_RATE_SELECTOR = 1 << 18,
	SA_PATH_RATE = 1 << 19,
	SA_PATH_LIFE_SELECTOR = 1 << 20,
	SA_PATH_LIFE = 1 << 21,
};

/* 15.2.5.17 */
struct sa_mc_member {
	uint8_t mgid[16];
	uint8_t port_gid[16];
	uint8_t qkey[4];
	uint8_t mlid[2];
	uint8_t mtu; /* selector | value */
	uint8_t tclass;
	uint8_t pkey[2];
	uint8_t rate; /* selector | value */
	uint8_t life; /* selector | value */
	uint8_t sl_flow_hop[4];
	uint8_t scope_join; /* scope | join state */
	uint8_t proxy;
	uint8_t reserved[2];
};
static_assert(sizeof(struct sa_mc_member) == 52, "15.2.5.17");
static_assert(offsetof(struct sa_mc_member, sl_flow_hop) == 44, "15.2.5.17");

enum {
	SA_MC_MGID = 1 << 0,
	SA_MC_PORT_GID = 1 << 1,
	SA_MC_QKEY = 1 << 2,
	SA_MC_MLID = 1 << 3,
	SA_MC_MTU_SELECTOR = 1 << 4,
	SA_MC_MTU = 1 << 5,
	SA_MC_TCLASS = 1 << 6,
	SA_MC_PKEY = 1 << 7,
	SA_MC_RATE_SELECTOR = 1 << 8,
	SA_MC_RATE = 1 << 9,
	SA_MC_LIFE_SELECTOR = 1 << 10,
	SA_MC_LIFE = 1 << 11,
	SA_MC_SL = 1 << 12,
	SA_MC_FLOW = 1 << 13,
	SA_MC_HOP = 1 << 14,
	SA_MC_SCOPE = 1 << 15,
	SA_MC_JOIN_STATE = 1 << 16,
};

/* Join states, 15.2.5.17; the last is of annex "send-only full member". */
enum {
	SA_JOIN_FULL = 1,
	SA_JOIN_NON = 2,
	SA_JOIN_SEND_ONLY = 4,
	SA_JOIN_SEND_ONLY_FULL = 8,
};

/* 15.2.5.2 */
struct sa_node_record {
	uint8_t lid[2];
	uint8_t reserved[2];
	uint8_t info[sizeof(struct mad_node_info)];
	uint8_t description[64];
};
static_assert(sizeof(struct sa_node_record) == 108, "15.2.5.2");

enum {
	SA_NODE_LID = 1 << 0,
	SA_NODE_TYPE = 1 << 4,
	SA_NODE_SYSTEM_GUID = 1 << 6,
	SA_NODE_GUID = 1 << 7,
	SA_NODE_PORT_GUID = 1 << 8,
	SA_NODE_DESCRIPTION = 1 << 14,
};

/* 15.2.5.3 */
struct sa_port_info_record {
	uint8_t lid[2];
	uint8_t port;
	uint8_t reserved;
	uint8_t info[sizeof(struct mad_port_info)];
};
static_assert(sizeof(struct sa_port_info_record) == 68, "15.2.5.3");

enum { SA_PORT_LID = 1 << 0, SA_PORT_NUMBER = 1 << 1, SA_PORT_CAPABILITIES = 1 << 7 };

/* In the attribute modifier: of the capabilities named, all shall be there. */
#define SA_PORT_MATCH_SET (1u << 31)

/* 15.2.5.12 */
struct sa_sm_info_record {
	uint8_t lid[2];
	uint8_t reserved[2];
	uint8_t info[sizeof(struct mad_sm_info)];
};
static_assert(sizeof(struct sa_sm_info_record) == 25, "15.2.5.12");

enum { SA_SM_LID = 1 << 0 };

/* 15.2.5.14 */
struct sa_service_record {
	uint8_t id[8];
	uint8_t gid[16];
	uint8_t pkey[2];
	uint8_t reserved[2];
	uint8_t lease[4]; /* seconds; all ones: for ever */
	uint8_t key[16];
	uint8_t name[64];
	uint8_t data[64];
};
static_assert(sizeof(struct sa_service_record) == 176, "15.2.5.14");

enum {
	SA_SERVICE_ID = 1 << 0,
	SA_SERVICE_GID = 1 << 1,
	SA_SERVICE_PKEY = 1 << 2,
	SA_SERVICE_LEASE = 1 << 4,
	SA_SERVICE_KEY = 1 << 5,
	SA_SERVICE_NAME = 1 << 6,
	SA_SERVICE_DATA = 1 << 7, /* the first of 30 components */
};

#endif
