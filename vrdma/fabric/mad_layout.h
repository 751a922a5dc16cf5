/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Management datagrams as they lie in memory (InfiniBand specification, volume 1): the common
 * header (13.4.2), subnet management packets (14.2.1) with their attributes (14.2.5), and
 * performance management (16.1). All numbers are big endian and kept as bytes, so that nothing
 * needs to be aligned; read and write them with base/bytes.h.
 */
#ifndef UP_FABRIC_MAD_LAYOUT_H
#define UP_FABRIC_MAD_LAYOUT_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

enum {
	MAD_BYTES = 256,
	MAD_DATA = 64, /* where the attribute of both SMPs and performance MADs begins */
	MAD_SMP_DATA_BYTES = 64,
	MAD_PMA_DATA_BYTES = 192,
	MAD_BASE_VERSION = 1,
	MAD_CLASS_VERSION = 1,
};

/* 13.4.4 */
enum mad_class {
	MAD_CLASS_SM_LID = 0x01,
	MAD_CLASS_SM_DIRECTED = 0x81,
	MAD_CLASS_PERF = 0x04,
};

/* 13.4.5 */
enum mad_method {
	MAD_GET = 0x01,
	MAD_SET = 0x02,
	MAD_SEND = 0x03,
	MAD_TRAP = 0x05,
	MAD_REPORT = 0x06,
	MAD_TRAP_REPRESS = 0x07,
	MAD_GET_RESP = 0x81,
	MAD_RESPONSE_BIT = 0x80,
};

/* 13.4.7 */
enum mad_status {
	MAD_OK = 0x0000,
	MAD_BAD_VERSION = 0x0004, /* or class */
	MAD_BAD_METHOD = 0x0008,
	MAD_BAD_METHOD_ATTRIBUTE = 0x000c,
	MAD_BAD_VALUE = 0x001c,
	MAD_DIRECTION = 0x8000, /* directed route: a response */
};

/* 14.2.5, 16.1.2 */
enum mad_attribute {
	MAD_NODE_DESCRIPTION = 0x0010,
	MAD_NODE_INFO = 0x0011,
	MAD_GUID_INFO = 0x0014,
	MAD_PORT_INFO = 0x0015,
	MAD_PKEY_TABLE = 0x0016,
	MAD_SL_TO_VL = 0x0017,
	MAD_VL_ARBITRATION = 0x0018,
	MAD_SM_INFO = 0x0020,
	MAD_EXT_PORT_INFO = 0xff90, /* of Mellanox' adapters: MLNX_EXT_PORT_INFO of libibmad */
	MAD_CLASS_PORT_INFO = 0x0001,
	MAD_PORT_COUNTERS = 0x0012,
	MAD_PORT_COUNTERS_EXT = 0x001d,
};

struct mad_header {
	uint8_t base_version;
	uint8_t mgmt_class;
	uint8_t class_version;
	uint8_t method;
	uint8_t status[2];
	uint8_t hop_pointer; /* directed route only */
	uint8_t hop_count;
	uint8_t tid[8];
	uint8_t attribute[2];
	uint8_t reserved[2];
	uint8_t modifier[4];
};
static_assert(sizeof(struct mad_header) == 24, "13.4.3");
static_assert(offsetof(struct mad_header, attribute) == 16, "13.4.3");

/* 14.2.5.3 */
struct mad_node_info {
	uint8_t base_version;
	uint8_t class_version;
	uint8_t node_type; /* 1: channel adapter */
	uint8_t num_ports;
	uint8_t system_guid[8];
	uint8_t node_guid[8];
	uint8_t port_guid[8];
	uint8_t partition_cap[2];
	uint8_t device_id[2];
	uint8_t revision[4];
	uint8_t local_port;
	uint8_t vendor_id[3];
};
static_assert(sizeof(struct mad_node_info) == 40, "14.2.5.3");

/* 14.2.5.6; a comment with '|' names what shares a byte, high bits first. */
struct mad_port_info {
	uint8_t mkey[8];
	uint8_t gid_prefix[8];
	uint8_t lid[2];
	uint8_t sm_lid[2];
	uint8_t capability_mask[4];
	uint8_t diag_code[2];
	uint8_t mkey_lease[2];
	uint8_t local_port;
	uint8_t width_enabled;
	uint8_t width_supported;
	uint8_t width_active;
	uint8_t speed_state;	/* speed supported | port state */
	uint8_t physical_state; /* physical state | link down default state */
	uint8_t mkey_protect_lmc;
	uint8_t speed_active_enabled;
	uint8_t neighbor_mtu_sm_sl;
	uint8_t vl_cap_init_type;
	uint8_t vl_high_limit;
	uint8_t vl_arb_high_cap;
	uint8_t vl_arb_low_cap;
	uint8_t init_reply_mtu_cap;
	uint8_t vl_stall_hoq_life;
	uint8_t operational_vls; /* operational VLs | partition and filter enforcement */
	uint8_t mkey_violations[2];
	uint8_t pkey_violations[2];
	uint8_t qkey_violations[2];
	uint8_t guid_cap;
	uint8_t subnet_timeout; /* client reregister, multicast traps | subnet timeout */
	uint8_t response_time;
	uint8_t error_thresholds;
	uint8_t max_credit_hint[2];
	uint8_t reserved;
	uint8_t round_trip_latency[3];
	uint8_t capability_mask2[2];
	uint8_t speed_ext; /* extended speed active | supported */
	uint8_t speed_ext_enabled;
};
static_assert(sizeof(struct mad_port_info) == MAD_SMP_DATA_BYTES, "14.2.5.6");
static_assert(offsetof(struct mad_port_info, speed_state) == 32, "14.2.5.6");
static_assert(offsetof(struct mad_port_info, guid_cap) == 50, "14.2.5.6");

/* 14.2.5.5 and 14.2.5.7: one block of a table */
enum { MAD_GUIDS_A_BLOCK = 8, MAD_PKEYS_A_BLOCK = 32, MAD_VL_PAIRS_A_BLOCK = 32 };

/* 14.2.5.13 */
struct mad_sm_info {
	uint8_t guid[8];
	uint8_t sm_key[8];
	uint8_t act_count[4];
	uint8_t priority_state; /* priority | state, 0: not active */
};
static_assert(sizeof(struct mad_sm_info) == 21, "14.2.5.13");

/* 13.4.8.1; the redirection and trap fields that follow are zero here */
struct mad_class_port_info {
	uint8_t base_version;
	uint8_t class_version;
	uint8_t capability_mask[2];
	uint8_t capability_mask2_response_time[4]; /* 27 bits, 5 bits */
	uint8_t redirect_and_trap[64];
};
static_assert(sizeof(struct mad_class_port_info) == 72, "13.4.8.1");

/* 16.1.3.5 */
struct mad_port_counters {
	uint8_t reserved;
	uint8_t port;
	uint8_t select[2];
	uint8_t errors[20]; /* of links: symbols, recoveries, overruns, discards ... */
	uint8_t xmit_data[4];
	uint8_t rcv_data[4];
	uint8_t xmit_packets[4];
	uint8_t rcv_packets[4];
	uint8_t xmit_wait[4];
};
static_assert(offsetof(struct mad_port_counters, xmit_data) == 24, "16.1.3.5");
static_assert(sizeof(struct mad_port_counters) == 44, "16.1.3.5");

/* 16.1.4.11 */
struct mad_port_counters_ext {
	uint8_t reserved;
	uint8_t port;
	uint8_t select[2];
	uint8_t reserved2[4];
	uint8_t xmit_data[8];
	uint8_t rcv_data[8];
	uint8_t xmit_packets[8];
	uint8_t rcv_packets[8];
	uint8_t unicast_xmit[8];
	uint8_t unicast_rcv[8];
	uint8_t multicast_xmit[8];
	uint8_t multicast_rcv[8];
};
static_assert(sizeof(struct mad_port_counters_ext) == 72, "16.1.4.11");

#endif
