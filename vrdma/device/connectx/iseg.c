/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The initialization segment: the registers of BAR0 below the UAR pages. All are big-endian words;
 * most are constant. Control thread only.
 */
#include "device/connectx/abi.h"

#include "base/clock.h"
#include "device/connectx/connectx.h"

#include <errno.h>

static void put(struct cx_device *dev, uint32_t at, uint32_t value)
{
	up_put_be32(dev->iseg + at, value);
}

void cx_iseg_reset(struct cx_device *dev)
{
	memset(dev->iseg, 0, sizeof(dev->iseg));
	put(dev, CX_ISEG_FW_REV, (uint32_t)CX_FW_REV_MINOR << 16 | CX_FW_REV_MAJOR);
	put(dev, CX_ISEG_CMDIF_REV_FW_SUB, (uint32_t)CX_CMDIF_REV << 16 | CX_FW_REV_SUBMINOR);
	put(dev, CX_ISEG_INITIALIZING, CX_ISEG_FW_RESET_SUPPORTED);
	put(dev, CX_ISEG_HEALTH + CX_HEALTH_FW_VER, CX_FW_VERSION);
	dev->cmdq_gpa = 0;
	dev->nic_interface = CX_NIC_IFC_FULL;
}

static uint32_t cmdq_addr_low(const struct cx_device *dev)
{
	return ((uint32_t)dev->cmdq_gpa & CX_ISEG_CMDQ_ADDR_L_MASK) |
	       (uint32_t)dev->nic_interface << CX_ISEG_NIC_INTERFACE_SHIFT |
	       CX_CMDQ_LOG_SLOTS << CX_ISEG_LOG_CMDQ_SIZE_SHIFT | CX_CMDQ_LOG_STRIDE;
}

/* Brings the words up to date that change by themselves. */
static void refresh(struct cx_device *dev)
{
	uint8_t *health = dev->iseg + CX_ISEG_HEALTH;
	uint64_t now = up_clock_ns(), clock = cx_clock_ticks(now);

	put(dev, CX_ISEG_CMDQ_ADDR_H, (uint32_t)(dev->cmdq_gpa >> 32));
	put(dev, CX_ISEG_CMDQ_ADDR_L_SZ, cmdq_addr_low(dev));
	health[CX_HEALTH_RFR_SEVERITY] = dev->fatal ? CX_HEALTH_RFR : 0;
	health[CX_HEALTH_SYND] = dev->fatal ? CX_HEALTH_SYND_FW_INTERNAL : 0;
	put(dev, CX_ISEG_INTERNAL_TIMER_H, (uint32_t)(clock >> 32));
	put(dev, CX_ISEG_INTERNAL_TIMER_L, (uint32_t)clock);
	/* Read every few seconds, and compared with the last value only: 24 bits of 1/100 s do. */
	put(dev, CX_ISEG_HEALTH_COUNTER, (uint32_t)(now / 10000000) & 0xffffff);
}

int cx_iseg_read(struct cx_device *dev, uint64_t off, void *buf, size_t len)
{
	if (!up_range_inside(off, len, 0, sizeof(dev->iseg)))
		return -EINVAL;
	refresh(dev);
	memcpy(buf, dev->iseg + off, len);
	return 0;
}

/*
 * The low address word also carries what the driver wants of the interface: SW_RESET is how it
 * answers a fatal health buffer, DISABLED how it ends a fast teardown; both wait to read DISABLED.
 */
static void write_cmdq_low(struct cx_device *dev, uint32_t value)
{
	uint32_t state = value >> CX_ISEG_NIC_INTERFACE_SHIFT & CX_ISEG_NIC_INTERFACE_MASK;
	uint32_t high = up_get_be32(dev->iseg + CX_ISEG_CMDQ_ADDR_H);

	if (state == CX_NIC_IFC_SW_RESET || state == CX_NIC_IFC_DISABLED) {
		cx_device_reset(dev);
		dev->nic_interface = CX_NIC_IFC_DISABLED;
		return;
	}
	dev->nic_interface = (uint8_t)state;
	dev->cmdq_gpa = (uint64_t)high << 32 | (value & CX_ISEG_CMDQ_ADDR_L_MASK);
}

static void write_word(struct cx_device *dev, uint32_t at, uint32_t value)
{
	switch (at) {
	case CX_ISEG_CMDQ_ADDR_H:
		put(dev, at, value);
		dev->cmdq_gpa = (uint64_t)value << 32 | (uint32_t)dev->cmdq_gpa;
		break;
	case CX_ISEG_CMDQ_ADDR_L_SZ:
		write_cmdq_low(dev, value);
		break;
	case CX_ISEG_CMD_DBELL:
		cx_cmd_doorbell(dev, value);
		break;
	default:
		break; /* read only, or of no consequence */
	}
}

int cx_iseg_write(struct cx_device *dev, uint64_t off, const void *buf, size_t len)
{
	if (off % 4 || len % 4 || !up_range_inside(off, len, 0, sizeof(dev->iseg)))
		return -EINVAL;
	for (size_t i = 0; i < len; i += 4)
		write_word(dev, (uint32_t)(off + i), up_get_be32((const uint8_t *)buf + i));
	return 0;
}
