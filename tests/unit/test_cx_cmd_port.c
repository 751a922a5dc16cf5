/* SPDX-License-Identifier: BSD-2-Clause */
/* Registers, capabilities, the port's data and access registers. */
#include "cx_rig.h"

#include "device/connectx/cmd.h"

#include <errno.h>
#include <time.h>

static void segment(void **state)
{
	uint8_t byte;

	assert_int_equal(rig_read(CX_ISEG_FW_REV) & 0xffff, CX_FW_REV_MAJOR);
	assert_int_equal(rig_read(CX_ISEG_CMDIF_REV_FW_SUB) >> 16, CX_CMDIF_REV);
	assert_int_equal(rig_read(CX_ISEG_INITIALIZING) >> 31, 0);
	assert_int_equal(cx_iseg_read(rig.dev, sizeof(rig.dev->iseg), &byte, 1), -EINVAL);
	assert_int_equal(cx_iseg_write(rig.dev, 2, &byte, 1), -EINVAL);
	/* Constant registers stay what they are. */
	rig_write(CX_ISEG_FW_REV, 0);
	assert_int_equal(rig_read(CX_ISEG_FW_REV) & 0xffff, CX_FW_REV_MAJOR);
}

static void health_counter_moves(void **state)
{
	uint32_t before = rig_read(CX_ISEG_HEALTH_COUNTER);
	uint32_t timer = rig_read(CX_ISEG_INTERNAL_TIMER_L);
	struct timespec tick = {.tv_nsec = 1000000};

	/* Ten seconds; it moves several times in one. */
	for (unsigned i = 0; i < 10000 && rig_read(CX_ISEG_HEALTH_COUNTER) == before; i++)
		nanosleep(&tick, NULL);
	assert_int_not_equal(rig_read(CX_ISEG_HEALTH_COUNTER), before);
	assert_int_not_equal(rig_read(CX_ISEG_INTERNAL_TIMER_L), timer);
}

static const uint8_t *query_caps(uint32_t group, uint32_t mode)
{
	rig_begin(CX_CMD_QUERY_HCA_CAP, (uint16_t)(group << 1 | mode), CX_IN_BYTES);
	rig_ok();
	return rig.out + CX_CAP_AT;
}

static int setup_enabled(void **state)
{
	if (rig_setup(state))
		return -1;
	rig_start_queue();
	return (int)rig_simple(CX_CMD_ENABLE_HCA, 0);
}

static void general_capabilities(void **state)
{
	const uint8_t *caps = query_caps(CX_CAP_GENERAL, CX_CAP_MODE_MAX);

	assert_int_equal(cx_get(caps, CX_HCA_PORT_TYPE), 0);
	assert_int_equal(cx_get(caps, CX_HCA_CQE_VERSION), 1);
	assert_int_equal(cx_get(caps, CX_HCA_BLOCK_LB_MC), 1);
	/* What fast registration needs. */
	assert_int_equal(cx_get(caps, CX_HCA_IMAICL), 1);
	assert_int_equal(cx_get(caps, CX_HCA_UMR_MODIFY_ENTITY_SIZE_DISABLED), 0);
	/* The engine's limits hold. */
	assert_true(cx_get(caps, CX_HCA_MAX_WQE_SZ_SQ) <= UP_MAX_WQE_BYTES);
	assert_true(cx_get(caps, CX_HCA_MAX_WQE_SZ_RQ) <= UP_MAX_RECV_SGE * 16);
	assert_int_equal(1u << cx_get(caps, CX_HCA_LOG_MAX_MSG), UP_MAX_MSG_BYTES);
}

static void settings_are_remembered(void **state)
{
	uint8_t *caps = rig.in + CX_CAP_AT;

	rig_begin(CX_CMD_SET_HCA_CAP, CX_CAP_GENERAL << 1, CX_CAP_AT + CX_CAP_BYTES);
	cx_set(caps, CX_HCA_LOG_MAX_QP, 12);
	rig_ok();
	assert_int_equal(cx_get(query_caps(CX_CAP_GENERAL, CX_CAP_MODE_CUR), CX_HCA_LOG_MAX_QP),
			 12);
	assert_int_equal(cx_get(query_caps(CX_CAP_GENERAL, CX_CAP_MODE_MAX), CX_HCA_LOG_MAX_QP),
			 CX_LOG_MAX_QP);
	rig_begin(CX_CMD_SET_HCA_CAP, CX_CAP_GENERAL << 1, CX_CAP_AT + CX_CAP_BYTES);
	cx_set(caps, CX_HCA_LOG_MAX_QP, CX_LOG_MAX_QP + 1);
	rig_fails(CX_BAD_PARAM, CX_WHY_ATTRIBUTE);
	/* UAR pages of another size. */
	rig_begin(CX_CMD_SET_HCA_CAP, CX_CAP_GENERAL << 1, CX_CAP_AT + CX_CAP_BYTES);
	cx_set(caps, CX_HCA_LOG_UAR_PAGE_SZ, 4);
	rig_fails(CX_BAD_PARAM, CX_WHY_ATTRIBUTE);
}

static void atomics_become_host_endian(void **state)
{
	uint8_t *caps = rig.in + CX_CAP_AT;
	const uint8_t *out = query_caps(CX_CAP_ATOMIC, CX_CAP_MODE_CUR);

	assert_int_equal(cx_get(out, CX_ATOMIC_REQ_8B_ENDIANNESS_MODE), 0);
	assert_int_equal(cx_get(out, CX_ATOMIC_SUPPORTED_REQ_8B_ENDIANNESS_MODE_1), 1);
	rig_begin(CX_CMD_SET_HCA_CAP, CX_CAP_ATOMIC << 1, CX_CAP_AT + CX_CAP_BYTES);
	cx_set(caps, CX_ATOMIC_REQ_8B_ENDIANNESS_MODE, 1);
	rig_ok();
	out = query_caps(CX_CAP_ATOMIC, CX_CAP_MODE_CUR);
	assert_int_equal(cx_get(out, CX_ATOMIC_REQ_8B_ENDIANNESS_MODE), 1);
}

static void other_groups_are_empty(void **state)
{
	static const uint8_t nothing[CX_CAP_BYTES];

	for (uint32_t group = 4; group < CX_CAP_GROUPS; group++)
		assert_memory_equal(query_caps(group, CX_CAP_MODE_CUR), nothing, CX_CAP_BYTES);
	rig_begin(CX_CMD_QUERY_HCA_CAP, CX_CAP_GROUPS << 1, CX_IN_BYTES);
	rig_fails(CX_BAD_PARAM, CX_WHY_TYPE);
}

static void pages_are_not_wanted(void **state)
{
	rig_begin(CX_CMD_QUERY_PAGES, CX_PAGES_BOOT, CX_IN_BYTES);
	rig_ok();
	assert_int_equal(cx_get(rig.out, CX_QUERY_PAGES_OUT_NUM_PAGES), 0);
	rig_begin(CX_CMD_MANAGE_PAGES, CX_PAGES_GIVE, CX_IN_BYTES + 8);
	cx_set(rig.in, CX_MANAGE_PAGES_IN_INPUT_NUM_ENTRIES, 1);
	assert_int_equal(rig_send(), CX_BAD_PARAM);
	rig_begin(CX_CMD_MANAGE_PAGES, CX_PAGES_TAKE, CX_IN_BYTES);
	cx_set(rig.in, CX_MANAGE_PAGES_IN_INPUT_NUM_ENTRIES, 100);
	rig_ok();
	assert_int_equal(cx_get(rig.out, CX_MANAGE_PAGES_OUT_OUTPUT_NUM_ENTRIES), 0);
}

static void port_context(void **state)
{
	const uint8_t *hvc = rig.out + CX_QUERY_HCA_VPORT_CONTEXT_OUT_HVC_AT;
	uint8_t *set = rig.in + CX_MODIFY_HCA_VPORT_CONTEXT_IN_HVC_AT;

	rig_begin(CX_CMD_QUERY_HCA_VPORT_CONTEXT, 0, CX_VPORT_IN_BYTES);
	rig_ok();
	assert_int_equal(cx_get(hvc, CX_HVC_LID), rig.port->lid);
	assert_int_equal(cx_get(hvc, CX_HVC_SM_LID), UP_SM_LID);
	assert_int_equal(cx_get(hvc, CX_HVC_VPORT_STATE), 4);
	assert_true(cx_get64(hvc, CX_HVC_PORT_GUID) == rig.port->guid);
	/* The connection manager of the guest announces itself. */
	rig_begin(CX_CMD_MODIFY_HCA_VPORT_CONTEXT, 0, CX_MODIFY_HCA_VPORT_CONTEXT_IN_BYTES);
	cx_set(set, CX_HVC_CAP_MASK1, 1u << 16);
	cx_set(set, CX_HVC_CAP_MASK1_FIELD_SELECT, 1u << 16);
	rig_ok();
	rig_begin(CX_CMD_QUERY_HCA_VPORT_CONTEXT, 0, CX_VPORT_IN_BYTES);
	rig_ok();
	assert_int_equal(cx_get(hvc, CX_HVC_CAP_MASK1) >> 16 & 1, 1);
	/* A GUID is not the guest's to choose. */
	rig_begin(CX_CMD_MODIFY_HCA_VPORT_CONTEXT, 0, CX_MODIFY_HCA_VPORT_CONTEXT_IN_BYTES);
	cx_set(set, CX_HVC_FIELD_SELECT, 2);
	rig_fails(CX_BAD_PARAM, CX_WHY_ATTRIBUTE);
	rig_begin(CX_CMD_QUERY_HCA_VPORT_CONTEXT, 0, CX_VPORT_IN_BYTES);
	cx_set(rig.in, CX_VPORT_IN_OTHER_VPORT, 1);
	rig_fails(CX_BAD_PARAM, CX_WHY_TYPE);
}

static void gids_and_pkeys(void **state)
{
	const uint8_t *gids = rig.out + CX_QUERY_HCA_VPORT_GID_OUT_GID_AT;
	const uint8_t *pkeys = rig.out + CX_QUERY_HCA_VPORT_PKEY_OUT_PKEY_AT;

	rig_begin(CX_CMD_QUERY_HCA_VPORT_GID, 0, CX_VPORT_IN_BYTES);
	cx_set(rig.in, CX_VPORT_IN_INDEX, CX_VPORT_INDEX_ALL);
	rig_ok();
	assert_int_equal(cx_get(rig.out, CX_QUERY_HCA_VPORT_GID_OUT_GIDS_NUM), 8);
	assert_memory_equal(gids, rig.port->gid.raw, 16);
	/* The prefix of the last one is the subnet's; it has no GUID. */
	assert_memory_equal(gids + 7 * 16, rig.port->gid.raw, 8);
	assert_true(up_get_be64(gids + 7 * 16 + 8) == 0);
	rig_begin(CX_CMD_QUERY_HCA_VPORT_GID, 0, CX_VPORT_IN_BYTES);
	cx_set(rig.in, CX_VPORT_IN_INDEX, 8);
	rig_fails(CX_BAD_INDEX, CX_WHY_ATTRIBUTE);
	rig_begin(CX_CMD_QUERY_HCA_VPORT_GID, 0, CX_VPORT_IN_BYTES);
	rig.out_len = 16;
	rig_fails(CX_BAD_OUTP_LEN, CX_WHY_SHORT_OUTPUT);

	rig_begin(CX_CMD_QUERY_HCA_VPORT_PKEY, 0, CX_VPORT_IN_BYTES);
	cx_set(rig.in, CX_VPORT_IN_INDEX, CX_VPORT_INDEX_ALL);
	rig_ok();
	assert_int_equal(up_get_be32(pkeys), 0xffff);
	assert_int_equal(up_get_be32(pkeys + 4), 0);
	rig_begin(CX_CMD_QUERY_HCA_VPORT_PKEY, 0, CX_VPORT_IN_BYTES);
	cx_set(rig.in, CX_VPORT_IN_INDEX, 127);
	rig_ok();
	assert_int_equal(up_get_be32(pkeys), 0);
}

static const uint8_t *read_reg(uint32_t id, uint32_t bytes)
{
	rig_begin(CX_CMD_ACCESS_REG, CX_REG_OP_READ, CX_ACCESS_REG_IN_BYTES + bytes);
	cx_set(rig.in, CX_ACCESS_REG_IN_REGISTER_ID, id);
	rig_ok();
	return rig.out + CX_ACCESS_REG_OUT_REGISTER_DATA_AT;
}

static void registers(void **state)
{
	const uint8_t *reg = read_reg(CX_REG_PTYS, CX_PTYS_BYTES);

	assert_int_equal(cx_get(reg, CX_PTYS_IB_LINK_WIDTH_OPER), CX_PTYS_WIDTH_4X);
	assert_int_equal(cx_get(reg, CX_PTYS_IB_PROTO_OPER), CX_PTYS_SPEED_EDR);
	reg = read_reg(CX_REG_PMTU, CX_PMTU_BYTES);
	assert_int_equal(cx_get(reg, CX_PMTU_OPER_MTU), 4096);
	/* A driver fails the port for a number of lanes that it does not know. */
	reg = read_reg(CX_REG_PVLC, CX_PVLC_BYTES);
	assert_int_equal(cx_get(reg, CX_PVLC_VL_HW_CAP), 4);
	rig_begin(CX_CMD_ACCESS_REG, CX_REG_OP_READ, CX_ACCESS_REG_IN_BYTES);
	cx_set(rig.in, CX_ACCESS_REG_IN_REGISTER_ID, 0x9999);
	rig_fails(CX_BAD_PARAM, CX_WHY_REGISTER);
	rig_begin(CX_CMD_ACCESS_REG, CX_REG_OP_READ, CX_ACCESS_REG_IN_BYTES + 4);
	cx_set(rig.in, CX_ACCESS_REG_IN_REGISTER_ID, CX_REG_PTYS);
	rig_fails(CX_BAD_INP_LEN, CX_WHY_SHORT_INPUT);
	rig_begin(CX_CMD_ACCESS_REG, CX_REG_OP_WRITE, CX_ACCESS_REG_IN_BYTES + CX_PTYS_BYTES);
	cx_set(rig.in, CX_ACCESS_REG_IN_REGISTER_ID, CX_REG_PTYS);
	rig_fails(CX_BAD_PARAM, CX_WHY_REGISTER);
}

/* What `devlink dev info` goes through: are the registers there, which image, which version. */
static void firmware_version(void **state)
{
	const uint8_t *reg = read_reg(CX_REG_MCAM, CX_MCAM_BYTES);
	uint8_t *data = rig.in + CX_ACCESS_REG_IN_REGISTER_DATA_AT;

	assert_int_equal(cx_get(reg, CX_MCAM_MCQI), 1);
	assert_int_equal(cx_get(reg, CX_MCAM_MCQS), 1);
	reg = read_reg(CX_REG_MCQS, CX_MCQS_BYTES);
	assert_int_equal(cx_get(reg, CX_MCQS_IDENTIFIER), CX_MCQS_IDENTIFIER_BOOT_IMG);
	assert_int_equal(cx_get(reg, CX_MCQS_LAST_INDEX_FLAG), 1);

	rig_begin(CX_CMD_ACCESS_REG, CX_REG_OP_READ, CX_ACCESS_REG_IN_BYTES + CX_MCQI_BYTES);
	cx_set(rig.in, CX_ACCESS_REG_IN_REGISTER_ID, CX_REG_MCQI);
	cx_set(data, CX_MCQI_INFO_TYPE, CX_MCQI_INFO_TYPE_VERSION);
	cx_set(data, CX_MCQI_DATA_SIZE, CX_MCQI_VERSION_BYTES);
	rig_ok();
	reg = rig.out + CX_ACCESS_REG_OUT_REGISTER_DATA_AT;
	assert_int_equal(cx_get(reg, CX_MCQI_VERSION),
			 up_get_be32(rig.dev->iseg + CX_ISEG_HEALTH + CX_HEALTH_FW_VER));

	cx_set(data, CX_MCQI_COMPONENT_INDEX, 1);
	rig_fails(CX_BAD_PARAM, CX_WHY_ATTRIBUTE);
	cx_set(data, CX_MCQI_COMPONENT_INDEX, 0);
	cx_set(data, CX_MCQI_INFO_TYPE, 0); /* for flashing, which is not offered */
	rig_fails(CX_BAD_PARAM, CX_WHY_TYPE);
}

/* Of the other groups of management registers there is none. */
static void other_management_registers(void **state)
{
	const uint8_t *reg = rig.out + CX_ACCESS_REG_OUT_REGISTER_DATA_AT;

	rig_begin(CX_CMD_ACCESS_REG, CX_REG_OP_READ, CX_ACCESS_REG_IN_BYTES + CX_MCAM_BYTES);
	cx_set(rig.in, CX_ACCESS_REG_IN_REGISTER_ID, CX_REG_MCAM);
	cx_set(rig.in + CX_ACCESS_REG_IN_REGISTER_DATA_AT, CX_MCAM_ACCESS_REG_GROUP, 2);
	rig_ok();
	for (unsigned at = 8; at < CX_MCAM_BYTES; at++)
		assert_int_equal(reg[at], 0);
	rig_begin(CX_CMD_ACCESS_REG, CX_REG_OP_READ, CX_ACCESS_REG_IN_BYTES + CX_MCQS_BYTES);
	cx_set(rig.in, CX_ACCESS_REG_IN_REGISTER_ID, CX_REG_MCQS);
	cx_set(rig.in + CX_ACCESS_REG_IN_REGISTER_DATA_AT, CX_MCQS_COMPONENT_INDEX, 1);
	rig_fails(CX_BAD_PARAM, CX_WHY_ATTRIBUTE);
}

static void node_description(void **state)
{
	rig_begin(CX_CMD_ACCESS_REG, CX_REG_OP_WRITE, CX_ACCESS_REG_IN_BYTES + 64);
	cx_set(rig.in, CX_ACCESS_REG_IN_REGISTER_ID, CX_REG_NODE_DESC);
	strcpy((char *)rig.in + CX_ACCESS_REG_IN_REGISTER_DATA_AT, "guest mlx5_0");
	rig_ok();
	assert_string_equal((const char *)read_reg(CX_REG_NODE_DESC, 64), "guest mlx5_0");
}

static void counters_of_the_port(void **state)
{
	rig.dev->hca.stats.messages = 3;
	rig.dev->hca.stats.bytes = 5000;
	rig.dev->hca.stats.rx_messages = 2;
	rig_begin(CX_CMD_QUERY_VPORT_COUNTER, 0, CX_QUERY_VPORT_COUNTER_IN_BYTES);
	rig_ok();
	assert_int_equal(cx_get64(rig.out, CX_QUERY_VPORT_COUNTER_OUT_TX_UC_PACKETS), 3);
	assert_int_equal(cx_get64(rig.out, CX_QUERY_VPORT_COUNTER_OUT_TX_UC_OCTETS), 5000);
	assert_int_equal(cx_get64(rig.out, CX_QUERY_VPORT_COUNTER_OUT_RX_UC_PACKETS), 2);
}

static void port_is_not_bonded(void **state)
{
	rig_begin(CX_CMD_QUERY_LAG, 0, CX_IN_BYTES);
	rig_ok();
	assert_int_equal(cx_get(rig.out, CX_QUERY_LAG_OUT_LAG_STATE), CX_LAG_DISABLED);
}

/* A Get of NodeInfo, LID routed. */
static void management_datagram(void **state)
{
	uint8_t *mad = rig.in + CX_MAD_IFC_IN_MAD_AT;
	const uint8_t *answer = rig.out + CX_MAD_IFC_OUT_RESPONSE_MAD_PACKET_AT;

	rig_begin(CX_CMD_MAD_IFC, 0, CX_MAD_IFC_IN_BYTES);
	mad[0] = 1;
	mad[1] = 0x01;
	mad[2] = 1;
	mad[3] = 0x01;
	mad[17] = 0x11;
	rig_ok();
	assert_int_equal(answer[3], 0x81);
	assert_true(up_get_be64(answer + 64 + 20) == rig.port->guid);
}

int main(void)
{
#define TEST(f, setup) cmocka_unit_test_setup_teardown(f, setup, rig_teardown)
	const struct CMUnitTest tests[] = {
		TEST(segment, rig_setup),
		TEST(health_counter_moves, rig_setup),
		TEST(general_capabilities, setup_enabled),
		TEST(settings_are_remembered, setup_enabled),
		TEST(atomics_become_host_endian, setup_enabled),
		TEST(other_groups_are_empty, setup_enabled),
		TEST(pages_are_not_wanted, setup_enabled),
		TEST(port_context, rig_setup_running),
		TEST(gids_and_pkeys, rig_setup_running),
		TEST(registers, rig_setup_running),
		TEST(firmware_version, rig_setup_running),
		TEST(other_management_registers, rig_setup_running),
		TEST(node_description, rig_setup_running),
		TEST(counters_of_the_port, rig_setup_running),
		TEST(port_is_not_bonded, rig_setup_running),
		TEST(management_datagram, rig_setup_running),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
