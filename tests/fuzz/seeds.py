#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Writes the seed corpora, corpus/NAME/*, of the fuzzers whose inputs are lists of operations.

Each seed is one thing that a well-behaved guest does, so that a fuzzer begins where the code ends up and not at the
first check. The formats are described at the top of each fuzz_NAME.c. Run it after a change of a format; corpus/vfio is
kept by hand.
"""

import os
import struct

CORPUS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")


def u8(*values):
    return bytes(v & 0xFF for v in values)


def u16(*values):
    return b"".join(struct.pack("<H", v & 0xFFFF) for v in values)


def u32(*values):
    return b"".join(struct.pack("<I", v & 0xFFFFFFFF) for v in values)


def save(fuzzer, seeds):
    folder = os.path.join(CORPUS, fuzzer)
    os.makedirs(folder, exist_ok=True)
    for name in os.listdir(folder):
        os.remove(os.path.join(folder, name))
    for name, data in seeds.items():
        with open(os.path.join(folder, name), "wb") as f:
            f.write(data)


# fuzz_table: ADD, ADD_NULL, SET, DEL, GET, VISIT

def table():
    add, _, put, delete, get, visit = range(6)
    return {
        "full": u8(8, 2) + u8(add) * 7 + u8(visit, 0),
        "round_robin": u8(5, 1) + u8(add, delete, 1, add, add, add, add, visit, 2),
        "particular": u8(16, 4, put, 0, put, 9, put, 9, put, 16, get, 9, add, delete, 9, visit, 0),
    }


# fuzz_mad

def mad(mgmt_class, method, attribute, modifier=0, data=b"", hops=0):
    head = struct.pack(">BBBBHBBQHHI", 1, mgmt_class, 1, method, 0, 0, hops, 0x1234, attribute, 0, modifier)
    return (head.ljust(64, b"\0") + data).ljust(256, b"\0")


def mads():
    lid, directed, perf, get, put = 0x01, 0x81, 0x04, 1, 2
    seeds = {f"smp_{a:02x}": u8(3) + mad(lid, get, a, m)
             for a, m in ((0x10, 0), (0x11, 0), (0x14, 0), (0x15, 1), (0x16, 0), (0x17, 0), (0x18, 1 << 16), (0x20, 0))}
    seeds["directed"] = u8(1) + mad(directed, get, 0x15)
    seeds["set_port_info"] = u8(3) + mad(lid, put, 0x15, 1, b"\xff" * 64)
    seeds["perf_class"] = u8(3) + mad(perf, get, 1)
    counters = b"\0\1\xf0\0" + b"\0" * 40
    seeds["perf_counters"] = u8(3) + mad(perf, put, 0x12, 0, counters) + mad(perf, get, 0x12, 0, counters)
    seeds["perf_extended"] = u8(3) + mad(perf, put, 0x1D, 0, b"\0\1\0\xff" + b"\0" * 68)
    return seeds


# fuzz_sa: ASK, RAW, ANSWER, CHANGE, RUN

def sa():
    get, put, table, delete = 0x01, 0x02, 0x12, 0x15
    port_info, sm_info, service, path, member = 2, 3, 4, 5, 6
    own_service, own_source, own_member, destination, group = 1, 2, 4, 8, 16

    def ask(port, method, attribute, mask=0, gids=0, record=b""):
        return u8(0, port, method, attribute, gids) + struct.pack("<Q", mask) + u8(len(record)) + record

    def answer(port, segment, window, kind=2, of=None):
        return u8(2, port, port if of is None else of, kind) + u16(segment, window)

    def change(port, how):
        return u8(3, port, how)

    def later(rounds=2, shift=29):
        return u8(4, rounds, shift)

    joins, creates = 0x10003, 0x130C7
    group_of_seven = b"\xff\x12" + b"\7" * 14 + b"\0" * 16 + b"\0\0\1\2" + b"\0" * 4 + b"\xff\xff" + b"\0" * 6
    full, leaving = group_of_seven + b"\1", group_of_seven + b"\1"
    everyone = ask(0, put, member, joins, own_member | group, b"\0" * 48 + b"\1")
    announce = ask(0, put, service, 0x73, own_service, b"\5" * 28 + b"\0\0\0\5" + b"k" * 16 + b"name")
    all_paths = ask(0, table, path)
    smp = u8(1, 0, 0, 64) + mad(1, get, 0x20)[:64]
    segment = u8(1, 0, 1, 64) + (struct.pack(">BBBBI8xHHIBBBBII", 1, 3, 2, table, 0, 0x35, 0, 0, 1, 1, 7, 0, 1, 0).ljust(64, b"\0"))
    return {
        "paths": b"".join(ask(p, get, path, 0xC, own_source | destination | 1 << 5) for p in range(4)),
        "selectors": ask(0, get, path, 0x3F000C, own_source | destination, b"\0" * 54 + b"\x04\x07\x50"),
        "records": b"".join(ask(0, m, a) + answer(0, 1, 9) for m in (get, table) for a in range(8)),
        "capabilities": ask(0, table, port_info, 0x80) + ask(0, get, sm_info, 1, 0, b"\0\1"),
        "table": all_paths + answer(0, 1, 3) + answer(0, 3, 9) + answer(0, 6, 6),
        "lost": all_paths + later(8) + answer(0, 1, 4) + later(16),
        "forged": all_paths + answer(1, 1, 9, of=0) + answer(1, 1, 9, 4, of=0) + answer(0, 1, 1, 4),
        "groups": everyone + ask(0, put, member, creates, own_member, full) + ask(1, put, member, joins, own_member, full)
                  + ask(2, table, member, 2, 4) + ask(0, delete, member, joins, own_member, leaving) + ask(1, put, member, creates, own_member, b"\0" * 48 + b"\1"),
        "services": announce + ask(1, get, service, 0x40, 0, b"\0" * 48 + b"name") + later(15, 30) + ask(1, table, service)
                    + announce + ask(0, delete, service, 0x23, own_service, b"\5" * 28 + b"\0\0\0\5" + b"k" * 16),
        "changes": everyone + announce + all_paths + b"".join(change(0, how) + all_paths for how in range(4)) + change(3, 3),
        # In the first round it comes to the manager, which sees it in the second.
        "replaced": u8(0x80) + all_paths[1:] + u8(0x84, 1, 10, 0x83, 0, 3) + later(),
        "attached_again": u8(0x80) + ask(0, get, sm_info)[1:] + u8(0x84, 1, 10, 0x83, 0, 2) + later(),
        "queues": smp + segment + u8(1, 1, 1, 64) + mad(4, get, 0x12)[:64],
    }


# fuzz_mr: CREATE, DESTROY, CHANGE, FILL, MAP, UNMAP, ACCESS, INVALIDATE

def mr():
    create, destroy, _, fill, _, unmap, access, invalidate = range(8)
    phys, pages, pieces = range(3)

    def attributes(start, length, flags=0x18, rights=0x1F, shift=10):
        return u8(flags, 0x42, rights) + start + length + u8(shift)

    def at(where, offset):  # 12..14 of the low half: a range of memory, by the high half
        return u8(where) + u16(offset)

    def use(key, right, where, offset, length):
        return u8(access, key, right) + at(where, offset) + u8(length)

    make_pages = u8(create, pages, 3) + attributes(at(12, 0), u8(1) + u16(8191))
    fill_pages = u8(fill, 0, 0, 2) + at(12, 0) + u8(fill, 0, 1, 2) + at(12 | 16, 0)
    make_list = u8(create, pieces, 4) + attributes(at(13, 0), u8(200))
    fill_list = (u8(fill, 1, 0, 2) + u8(0) + at(0, 100) + u8(60) + u8(fill, 1, 1, 2) + u8(0) + at(0, 4090) + u8(80))
    chain = b"".join(u8(create, pieces, 1) + attributes(at(12, 0), u8(100)) + u8(fill, i, 0, 1, i - 1) + at(i - 1, 0) + u8(100)
                     for i in range(1, 6))
    return {
        "chain": make_pages + fill_pages + chain + b"".join(use(i, 0, i, 0, 100) for i in range(1, 6)),
        "physical": u8(create, phys, 0) + attributes(at(12, 0), u8(0), 0xD8) + use(0, 0, 12, 10, 100) + use(0, 3, 12, 4090, 100),
        "pages": make_pages + fill_pages + use(0, 0, 0, 16, 200) + use(0, 4, 0, 4090, 100),
        "list": make_pages + fill_pages + make_list + fill_list + use(1, 1, 1, 0, 140) + use(1, 3, 1, 50, 20),
        "top": u8(create, pages, 2) + attributes(u8(15) + b"\xf0" + b"\xff" * 7, u8(200)) + u8(fill, 0, 0, 2) + at(12, 0)
               + use(0, 0, 0, 0, 16) + use(0, 0, 0, 8, 9) + use(0, 0, 0, 15, 100),
        "revoked": make_pages + fill_pages + u8(invalidate, 0, 0, 0) + use(0, 0, 0, 16, 100) + u8(destroy, 0),
        "unmapped": make_pages + fill_pages + u8(unmap, 0) + use(0, 0, 0, 16, 100),
    }


# fuzz_command

class Context:
    """Big-endian words with bit fields, as in abi.h."""

    def __init__(self, size):
        self.bytes = bytearray(size)

    def put(self, word, bit, width, value):
        old = int.from_bytes(self.bytes[word:word + 4], "big")
        shift = 32 - bit - width
        mask = ((1 << width) - 1) << shift
        self.bytes[word:word + 4] = ((old & ~mask) | (value << shift & mask)).to_bytes(4, "big")
        return self

    def put64(self, word, value):
        self.bytes[word:word + 8] = value.to_bytes(8, "big")
        return self


GPA, PAGE = 0x100000, 4096


def page(n):
    return GPA + n * PAGE


def command(opcode, body=b"", op_mod=0, obj=0, extra=0, in_len=None, out_len=16, uid=0):
    data = struct.pack(">HHIII", opcode, uid, op_mod, obj, extra) + bytes(body)
    return u8(0) + u16(in_len or len(data), out_len, len(data)) + data


def run(rounds=4, shift=12):
    return u8(2, rounds, shift)


def pas(*pages):
    return b"".join(struct.pack(">Q", page(n)) for n in pages)


def bring_up():
    return command(0x104) + command(0x10B, obj=1) + command(0x102)


def create_eq(uid=0):
    c = Context(256).put(0x0C, 3, 5, 6)
    c.bytes[0x48:0x68] = b"\xff" * 32
    return command(0x301, c.bytes + pas(40), uid=uid)


def create_cq(log_size=6, resize=None, cut=None, record=0):
    c = Context(256).put(0x0C, 3, 5, log_size).put(0x14, 0, 32, 1).put64(0x38, page(41) + record)
    if resize:
        return command(0x403, c.bytes + pas(*range(50, 58)), op_mod=1, obj=resize)
    return command(0x400, c.bytes + pas(*([42] * (1 << max(0, log_size - 6)))), in_len=cut and 272 + cut)


def create_mkey(mode, entries, octwords, start=0x10000, length=0x4000, rights=0x7C, free=0):
    c = Context(256).put(0, 1, 1, free).put(0, 22, 2, mode).put(0x04, 0, 24, 0xFFFFFF).put(0x04, 24, 8, 0x42)
    c.bytes[2] |= rights
    c.put(0x0C, 8, 24, 1).put64(0x10, start).put64(0x18, length).put(0x34, 0, 32, octwords).put(0x38, 27, 5, 12)
    c.put(0x50, 0, 32, len(entries) // 16)
    return command(0x200, c.bytes + entries)


def qpc(service, remote=0x40):
    q = Context(232).put(0, 8, 8, service).put(4, 8, 24, 1).put(8, 0, 3, 5).put(8, 9, 4, 4).put(8, 13, 3, 2).put(8, 17, 4, 4)
    q.put(0x0C, 8, 24, 16).put(0x14, 8, 24, remote).put(0x70, 13, 3, 7).put(0x70, 16, 3, 7)
    q.put(0x7C, 8, 24, 0x40).put(0x90, 16, 3, 7).put(0x9C, 8, 24, 0x40).put64(0xA0, page(43))
    return q.put(0x18 + 4, 16, 16, 2).put(0x18 + 0x24, 8, 8, 1)


def create_qp(service):
    return command(0x500, b"\0" * 8 + qpc(service).bytes + b"\0" * 16 + pas(44))


def qp_command(opcode, qpn, service=0):
    return command(opcode, b"\0" * 8 + qpc(service, qpn).bytes + b"\0" * 16, obj=qpn)


def create_srq(opcode, xrcd=0):
    c = Context(256).put(0, 4, 4, 4).put(4, 5, 3, 2).put(4, 8, 24, xrcd).put(8, 8, 24, 0x40 if xrcd else 0)
    c.put(0x18, 8, 24, 1).put64(0x28, page(45))
    return command(opcode, c.bytes + pas(46))


def create_rmp():
    c = Context(256)
    w = Context(192).put(8, 8, 24, 1).put64(0x10, page(45)).put(0x20, 12, 4, 6).put(0x20, 27, 5, 4)
    c.bytes[0x40:0x100] = w.bytes
    return command(0x90C, c.bytes + pas(46))


def create_umem(pages, offset=0, shift=0, uid=1):
    mtts = b"".join(struct.pack(">Q", page(n) | 3) for n in pages)
    return command(0xA08, b"\0" * 16 + struct.pack(">IIQ", shift, offset, len(pages)) + mtts, uid=uid)


def process():
    """One on the prepared device, with number 1: an event queue for all, a domain, a UAR, and memory of eight pages."""
    start = command(0xA04, b"\0" * 48) + create_eq(uid=0xFFFF) + command(0x800, uid=1) + command(0x802, uid=1)
    return start + create_umem(range(48, 56))


def process_queues(umem=1, ring=0x2000, record=0x1008):
    cq = Context(256).put(0, 6, 1, 1).put(4, 0, 32, umem).put(0x0C, 3, 5, 6).put(0x14, 0, 32, 2).put64(0x38, 0x1000)
    cq.put(0x48, 0, 32, umem).put(0x4C, 0, 1, 1)
    q = qpc(0).put(4, 8, 24, 2).put(0x0C, 8, 24, 17).put(0x7C, 8, 24, 0x41).put(0x9C, 8, 24, 0x41).put64(0xA0, record)
    q.put(0xD0, 3, 1, 1).put(0xE4, 0, 32, umem)
    w = Context(192).put(8, 8, 24, 2).put64(0x10, 0x1010).put(0x20, 12, 4, 6).put(0x20, 27, 5, 4).put(0x24, 0, 2, 3)
    w.put(0x28, 0, 32, umem).put(0x2C, 0, 32, umem).put64(0x30, 0x3000)
    rmp = Context(256)
    rmp.bytes[0x40:0x100] = w.bytes
    return (command(0x400, cq.bytes, uid=1) + command(0x90C, rmp.bytes, uid=1)
            + command(0x500, b"\0" * 8 + q.bytes + struct.pack(">QII", ring, umem, 1 << 31), uid=1))


def process_key(mode, start=0x10000, length=0x4000, umem=1, offset=0, entries=b""):
    c = Context(256).put(0, 22, 2, mode).put(4, 0, 24, 0xFFFFFF).put(0x0C, 8, 24, 2).put64(0x10, start).put64(0x18, length)
    c.put(0x34, 0, 32, 4).put(0x38, 27, 5, 12).put(0x50, 0, 32, len(entries) // 16).put(0x54, 0, 32, umem).put64(0x58, offset)
    c.bytes[2] |= 0x7C
    return command(0x200, c.bytes + entries, extra=1 << 30, uid=1)


def memory(n, offset, data):
    return u8(1) + u32(n * PAGE + offset)[:3] + u8(len(data)) + data


def write_send(qp_page, record, data, blocks=1):
    """A request in the send queue of a QP of the prepared device, its record, and the doorbell."""
    ring = memory(qp_page, 1024, data) + memory(9, record * 64 + 4, struct.pack(">I", blocks))
    return ring + u8(5) + u16(0, 0x800) + u8(8) + data[:8]


def ctrl(opcode, qpn, segments, imm=0):
    return struct.pack(">II4BI", opcode, qpn << 8 | segments, 0, 0, 0, 8, imm)


def data_segment(length, key, addr):
    return struct.pack(">IIQ", length, key, addr)


def register(mask, flags, mkey, entries, reference=None):
    """A registration on the prepared device's QP for them; `entries` follow, or lie where `reference` says."""
    head = ctrl(0x25, 0x45, 8 + (len(reference or entries) + 15) // 16, mkey << 8 | 0x42)
    head += struct.pack(">B3xHHQ32x", flags, len(entries) // 16, 0, mask)
    head += struct.pack(">BxBBIIIQQ", 0, 0xBC, 0, 0xFFFFFF42, 0, 1, 0x8000, 0x4000) + b"\0" * 27 + b"\x0c" + b"\0" * 4
    wqe = (head + (reference or entries)).ljust(192, b"\0")
    return write_send(21, 6, wqe, 3)


def commands():
    fresh, ready = u8(0), u8(1)
    key = 0x101 << 8 | 0x42
    resources = command(0x802) + command(0x800) + command(0x80E) + command(0x771)
    objects = bring_up() + resources + create_eq() + create_cq()
    write = ctrl(8, 0x40, 4) + struct.pack(">QII", 0x10000, key, 0) + data_segment(64, key, 0x11000) + b"\0" * 16
    fields = 0x203E0043
    klms, mtts = data_segment(64, key, 0x10000) + b"\0" * 48, pas(*range(48, 56))
    physical = 0x102 << 8 | 0x42
    large = data_segment(20000, physical, page(0) + 20000)
    xrc = ctrl(10, 0x46, 3) + struct.pack(">I12x", 0x41) + large
    return {
        "start": fresh + bring_up() + command(0x100, op_mod=1, out_len=4112) + command(0x101, out_len=272),
        "resources": fresh + bring_up() + resources + command(0x803, obj=16) + command(0x801, obj=1),
        "queues": fresh + objects + create_qp(0) + run(),
        "srqs": fresh + objects + create_srq(0x700) + create_srq(0x705, 1) + create_rmp() + command(0x707, obj=0x41, out_len=272),
        "keys": fresh + bring_up() + create_mkey(1, pas(48, 49, 50, 51), 2) + create_mkey(2, b"", 4, free=1)
                + command(0x201, obj=0x101, out_len=304) + command(0x202, obj=0x101),
        "states": ready + create_qp(0) + b"".join(qp_command(o, 0x48) for o in (0x502, 0x503, 0x504, 0x508, 0x50C)) + run()
                  + command(0x50B, obj=0x48, out_len=272) + command(0x507, obj=0x48) + run() + command(0x50A, obj=0x48),
        "records": ready + b"".join(create_cq(record=r) + command(0x402, obj=0x41 + i, out_len=272)
                                    for i, r in enumerate((4, 8, 4088, 4092, 23 * PAGE))),
        "long_list": ready + create_cq(13, cut=1024) + create_cq(13, cut=1016),
        "resize": ready + create_cq(7, 0x40) + command(0x402, obj=0x40, out_len=272),
        "port": ready + command(0x750) + command(0x762, out_len=528) + command(0x764, extra=0xFFFF, out_len=144)
                + command(0x765, extra=0xFFFF, out_len=528) + command(0x770, b"\0" * 16, out_len=528),
        "registers": ready + b"".join(command(0x805, b"\0" * 256, op_mod=1, obj=r, out_len=272)
                                      for r in (0x5003, 0x5004, 0x5006, 0x5008, 0x500F, 0x6001, 0x7004)),
        "groups": ready + command(0x806, b"\xff\x12" + b"\0" * 14, obj=0x44) + command(0x807, b"\xff\x12" + b"\0" * 14, obj=0x44),
        "mad": ready + command(0x50D, mad(1, 1, 0x15, 1), out_len=272),
        "busy": ready + command(0x401, obj=0x40) + command(0x302, obj=1) + command(0x801, obj=1) + command(0x501, obj=0x40) + run(),
        "write": ready + write_send(16, 1, write) + run(),
        "register_list": ready + register(fields, 0x80, 0x103, klms) + run(),
        "register_pages": ready + register(fields, 0x80, 0x104, mtts) + run() + command(0x201, obj=0x104, out_len=304),
        "register_by_reference": ready + memory(33, 0, mtts) + register(fields, 0, 0x104, mtts, data_segment(64, key, 0x10000)) + run(),
        "limits": ready + command(0x703, op_mod=1, obj=0x40, extra=3) + command(0x708, op_mod=1, obj=0x41, extra=2)
                  + command(0x702, obj=0x40, out_len=272) + create_rmp()
                  + command(0x90D, (b"\0\0\0\0\0\0\0\1".ljust(0x46, b"\0") + b"\0\4").ljust(256, b"\0"), obj=0x42)
                  + command(0x90F, obj=0x42, out_len=272) + command(0x90E, obj=0x42) + run(),
        "counters": ready + command(0x771) + command(0x773, b"\0" * 15 + b"\1", out_len=256) + command(0x772, obj=1)
                    + command(0x80F, obj=1),
        "capabilities": fresh + command(0x104) + command(0x109, b"\0" * 256) + command(0x109, b"\0" * 256, op_mod=6)
                        + command(0x10A, out_len=112) + command(0x102) + command(0x203, out_len=32) + command(0x80D),
        "port_caps": ready + command(0x763, b"\0" * 0x44 + b"\0\1\0\2" + b"\0" * 440),
        "unmap": ready + write_send(16, 1, write) + u8(6, 0) + run() + u8(6, 2) + run(),
        "srq_in_use": ready + memory(29, 0, b"\0\0\0\1" + b"\0" * 12 + large + data_segment(0, 0x100, 0))
                      + memory(9, 41 * 64, b"\0\0\0\1") + write_send(22, 7, xrc) + run(0, 0) + command(0x706, obj=0x41) + run(),
        "teardown": ready + command(0x103) + command(0x105) + u8(8) + bring_up(),
        "process": ready + process() + process_queues() + run() + command(0x501, obj=0x48, uid=1) + command(0x401, obj=0x41, uid=1)
                   + command(0xA0A, obj=1, uid=1) + command(0xA06, obj=1),
        "process_edges": ready + process() + process_queues(ring=0x8000) + process_queues(record=0x7FFC) + process_queues(umem=2)
                         + create_umem([48, 50], 0xFF8) + process_queues(umem=2, ring=0x10),
        "process_keys": ready + process() + process_key(1) + process_key(1, 0x10100, 0x7F01, offset=0x100) + process_key(0)
                        + process_key(3, 0, 0x2000, entries=klms[:16] * 2) + command(0x801, obj=2, uid=1)
                        + command(0x202, obj=0x105, uid=1) + create_umem([0], 0x1000, 9),
        "process_thief": ready + process() + command(0x50B, obj=0x40, out_len=272, uid=1) + command(0x501, obj=0x40, uid=1)
                         + command(0x401, obj=0x40, uid=1) + command(0x202, obj=0x101, uid=1) + command(0x105, uid=1),
        "vectors": ready + u8(9, 0, 1) + create_eq() + u8(9, 0, 0) + u8(4) + u16(0x1000, 64) + u8(0),
    }


# fuzz_wqe: POST, POKE, RUN, RECEIVE, ANSWER, CONSUME, BELL; segments END, RAW, DATA, RADDR, INLINE, ATOMIC, AV, XRC

def wqes():
    rc, rc_srq, uc, ud, xrc = range(5)
    everything, read_only, local, write_only, foreign, inval, pieces, window, fast = range(9)
    nop, send_inv, write, write_imm, send, send_imm, read = 0, 1, 8, 9, 10, 11, 16
    compare_swap, fetch_add, masked_swap, masked_add, umr = 17, 18, 20, 21, 0x25

    def post(qp, op, *segments, opmod=0, imm=0):
        return u8(0, qp, op, opmod, 0) + u32(imm) + b"".join(segments) + (u8(0) if len(segments) < 16 else b"")

    def data(key, offset, length):
        return u8(2, key) + u16(offset, length)

    def raddr(key, offset):
        return u8(3, key) + u16(offset)

    def inlined(content):
        return u8(4, len(content)) + content

    def raw(content):
        return b"".join(u8(1) + content[i:i + 16].ljust(16, b"\0") for i in range(0, len(content), 16))

    atomic = u8(5) + u16(3, 0)
    here = data(everything, 64, 40)
    go, go_long = u8(2, 4, 12), u8(2, 15, 24)
    return {
        "write": post(rc, write, raddr(everything, 8), data(local, 0, 3000), data(everything, 4000, 5000)) + go,
        "write_inline": post(rc, write, raddr(write_only, 0), inlined(b"0123456789"), here) + go,
        "write_imm": post(rc, write_imm, raddr(everything, 0), here, imm=7) + post(uc, write_imm, raddr(local, 0), here) + go,
        "read": post(rc, read, raddr(read_only, 0), data(local, 0, 4096)) + go,
        "send": post(rc, send, here) + post(rc, send_imm, inlined(b"abc")) + post(rc_srq, send, here) + post(uc, send, here) + go,
        "send_invalidate": post(rc, send_inv, here, imm=0x106 << 8 | 0x42) + post(rc, write, raddr(inval, 0), here) + go,
        "too_long": post(rc, send, data(everything, 0, 100)) + go_long,
        "atomics": post(rc, fetch_add, raddr(everything, 16), atomic, data(everything, 0, 8))
                   + post(rc, compare_swap, raddr(everything, 16), atomic, data(local, 4, 8))
                   + post(rc, masked_swap, raddr(everything, 16), atomic, atomic, data(local, 4, 8), opmod=9)
                   + post(rc, masked_add, raddr(everything, 16), atomic, data(local, 4, 8)) + go,
        "datagram": post(ud, send, u8(6, ud, 1, 1), data(local, 0, 20)) + post(ud, send_imm, u8(6, ud, 1, 3), inlined(b"xyz"))
                    + post(ud, send, u8(6, ud, 1, 7), data(local, 0, 10)) + post(ud, send, u8(6, ud, 2, 0), data(local, 0, 10)) + go,
        "xrc": post(xrc, send, u8(7, 1), here) + post(xrc, write, u8(7, 1), raddr(everything, 0), here) + go,
        "lists": post(rc, write, raddr(pieces, 0), data(pieces, 0, 90)) + post(rc, read, raddr(pieces, 150), data(everything, 0, 90)) + go,
        "refused": post(rc, write, raddr(foreign, 0), here) + post(rc_srq, read, raddr(write_only, 0), here)
                   + post(uc, write, raddr(read_only, 0), here) + go,
        "edges": post(rc, write, raddr(everything, 16344), data(local, 5960, 40)) + post(uc, send, data(local, 5961, 40))
                 + post(rc_srq, send, data(everything, 16345, 40)) + post(rc, write, raddr(everything, 16345), here)
                 + post(xrc, read, u8(7, 1), raddr(pieces, 0), data(write_only, 4057, 40)) + go,
        "rights": post(rc, read, raddr(everything, 0), data(read_only, 0, 40)) + post(uc, send, data(read_only, 0, 40))
                  + u8(3, 0) + data(read_only, 0, 40) + u8(0) + u8(4, rc, 0, 20, 0) + go,
        "fast_by_reference": u8(1, 24) + u16(0) + u8(64) + pas(50, 51, 52, 53, 54, 55, 56, 57)
                + post(rc, umr, raw(struct.pack(">B3xHHQ32x", 0, 4, 0, 0x203E0041)),
                       raw(struct.pack(">BxBBIIIQQ", 0, 0xBD, 0, 0xFFFFFF42, 0, 1, 0x90000000, 8192).ljust(64, b"\0")),
                       data(everything, 0, 64), imm=0x109 << 8 | 0x42)
                + post(rc_srq, write, raddr(everything, 0), data(fast, 0, 20)) + go,
        "fast": post(rc, umr, raw(struct.pack(">B3xHHQ32x", 0x80, 4, 0, 0x203E0041)),
                     raw(struct.pack(">BxBBIIIQQ", 0, 0xBD, 0, 0xFFFFFF42, 0, 1, 0x90000000, 8192).ljust(64, b"\0")),
                     raw(pas(50, 51, 52, 53, 54, 55, 56, 57)), imm=0x109 << 8 | 0x42)
                + post(rc_srq, write, raddr(everything, 0), data(fast, 0, 20)) + go,
        "outside": post(rc, write, raddr(local, -8), here) + post(rc_srq, write, raddr(everything, 16380), here) + go_long,
        "answers": u8(3, 0) + data(everything, 0, 100) + data(local, 0, 50) + u8(0) + u8(3, 3) + here + u8(0)
                   + u8(4, rc, 0, 60, 0) + u8(4, rc_srq, 0, 30, 0) + u8(4, rc, 3, everything, 0, 0, 200, 0)
                   + u8(4, rc, 2, write_only, 0, 0, 100, 0) + go,
        "window": post(rc, umr, raw(struct.pack(">B3xHHQ32x", 0x80, 1, 0, 0x203E0041)),
                       raw(struct.pack(">BxBBIIIQQ", 0, 0xBE, 0, 0xFFFFFF42, 0, 1, 0x80000000, 64).ljust(64, b"\0")),
                       raw(struct.pack(">IIQ", 64, 0x101 << 8 | 0x42, 0x10000000).ljust(64, b"\0")),
                       imm=0x108 << 8 | 0x42) + post(rc, write, raddr(everything, 0), data(window, 0, 20)) + go,
        "record": u8(1, 0) + u16(64 + 4) + u8(4) + b"\0\0\xff\xff" + u8(6) + u16(0x800) + b"\0" * 6 + b"\x40\x04" + go,
    }


# fuzz_packet: RAW, PACKET, AM, SEND, RECV, RMA, PROGRESS, HONEST, DRAIN, PEEK, CANCEL, RENEW

def packets():
    raw, packet, am, send, recv, rma, progress, honest, drain, peek, cancel, renew = range(12)
    answer, am_request, am_reply, eager, rendezvous, pull, write, write_large, read, read_large, atomic = range(1, 12)
    first = u8(0)  # the victim's first open operation
    any_op = u8(0x81) + u32(77)
    writable, readable, write_key, read_key, cookie, direct = u8(0, 0), u8(1, 8), u8(2), u8(3), u8(4), u8(6, 0)
    zero = u8(5, 0)
    go = u8(progress, honest, progress)

    def header(kind, op=any_op, aux=0, a=zero, b=zero, flags=0):
        return u8(packet, kind, flags) + op + u32(aux) + a + b

    def payload(data=b""):
        return u8(len(data)) + data

    def source(length, name=zero, address=zero, imm=0):
        return u8(0x80 | imm) + u8(0) + u16(length) + name + address

    return {
        "honest": u8(0) + u8(am, 9, 4) + u8(am, 9, 0) + u8(send, 0) + u16(100) + u8(1) + u8(send, 2) + u16(20000) + u8(1) + go,
        "direct": u8(1) + u8(send, 2) + u16(20000) + u8(1) + u8(rma, 0) + u16(19000) + u8(rma, 1) + u16(19000) + go,
        "full": u8(2) + u8(am, 5, 4) * 8 + u8(send, 4) + u16(50) + u8(1) + u8(drain, progress) + go,
        "am": u8(0) + header(am_request, aux=1, a=u8(5, 64)) + payload(b"hello") + go,
        "reply": u8(0) + u8(am, 1, 4) + header(am_reply, first, 1) + payload(b"reply") + go,
        "answers": u8(0) + u8(am, 1, 0) + header(answer, first, 13) + payload() + u8(send, 2) + u16(30) + u8(1)
                   + header(answer, first) + payload() + u8(rma, 1) + u16(40) + header(answer, first) + payload(b"x" * 40) + go,
        "eager": u8(0) + header(eager, a=u8(5, 1), flags=1) + payload(b"early") + u8(recv, 1) + u16(10)
                 + u8(recv, 1) + u16(3) + header(eager, a=u8(5, 1)) + payload(b"late!") + go,
        "unexpected": u8(0) + (header(eager, a=u8(5, 1)) + payload(b"y" * 100)) * 3 + go + u8(peek, 5) + u16(0)
                      + u8(peek, 13) + u16(200) + go,
        "rendezvous": u8(0) + u8(recv, 1) + u16(300) + header(rendezvous, a=u8(5, 1)) + source(300, u8(5, 3))
                      + u8(progress) + header(answer, first) + payload(b"z" * 100) + go,
        "direct_get": u8(1) + u8(recv, 1) + u16(19000) + header(rendezvous, a=u8(5, 1)) + source(19000, u8(5, 3), direct) + go,
        "pull": u8(0) + u8(send, 0) + u16(20000) + u8(1) + header(pull, aux=100, a=cookie, b=u8(5, 50)) + payload() + go,
        "write": u8(0) + header(write, a=writable, b=write_key) + payload(b"w" * 50) + header(write, a=readable, b=read_key)
                 + payload(b"w" * 9) + header(write, a=writable, b=write_key, flags=1) + payload(b"i" * 20) + go,
        "write_large": u8(0) + header(write_large, a=writable, b=write_key) + source(500, u8(5, 3)) + u8(progress)
                       + header(answer, first) + payload(b"z" * 100) + go,
        "read": u8(0) + header(read, aux=60, a=readable, b=read_key) + payload() + header(read, aux=16, a=u8(1, 15), b=read_key)
                + payload() + go,
        "read_large": u8(1) + header(read_large, a=writable, b=write_key) + source(600, u8(5, 3), direct) + go,
        "atomic": u8(0) + header(atomic, aux=2 | 7 << 8 | 1 << 16, a=writable, b=write_key, flags=2) + payload(b"a" * 8)
                  + header(atomic, aux=12 | 5 << 8 | 2 << 16, a=writable, b=write_key, flags=6) + payload(b"a" * 16) + go,
        "raw": u8(0, raw) + u16(40) + struct.pack("<BBHIIIQQ", 1, 2, 0, 8, 0, 1, 0, 0) + b"8 bytes!" + u8(raw) + u16(7)
               + b"rubbish" + go,
        "removed": u8(0) + u8(recv, 9) + u16(50) + u8(am, 1, 4) + u8(renew, cancel) + u8(recv, 9) + u16(50) + u8(cancel) + go,
    }


if __name__ == "__main__":
    save("table", table())
    save("mad", mads())
    save("sa", sa())
    save("mr", mr())
    save("command", commands())
    save("wqe", wqes())
    save("packet", packets())
