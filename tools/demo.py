#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Two unmodified VMs, RDMA between them over underpassd, and beside it SoftRoCE and TCP between the same two VMs.

Prints one table and the proof of the bypass, and writes both to BUILD/demo.json. Exit status 0: all that was to be reached
in this run was reached.
"""

import argparse
import ctypes
import json
import os
import pathlib
import re
import shutil
import signal
import statistics
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests/vm"))

import vmlib  # noqa: E402
from vmlib import Lab, VmError, pkgroot, traffic  # noqa: E402

PORTS = ("vm1", "vm2")
OURS, RXE = "-d mlx5_0", "-d rxe0"
MIB = 1 << 20
QPERF_PORT = 19765
# The widest frames that virtio-net carries well: both rivals do best with them.
MTU = 9000


class Row:
    """One line of the table: a test at a size, and how each side measures it."""

    def __init__(self, what, size, unit, better, command, counts, read, tcp=None, tcp_why=None, reach=None):
        self.what, self.size, self.unit, self.better = what, size, unit, better
        self.command, self.counts, self.read = command, counts, read
        self.tcp, self.reach = tcp, reach
        self.values = {"ours": [], "rxe": [], "tcp": []}
        self.why = {"tcp": tcp_why} if tcp_why else {}

    def median(self, side):
        return statistics.median(self.values[side]) if self.values[side] else None

    def argv(self, side):
        """The command line of SIDE, which server and client share."""
        pingpong = self.command.startswith("ibv_")
        device = {"ours": OURS, "rxe": RXE + (" -g 1" if pingpong else " -x 1")}[side]
        count = self.counts[0 if side == "ours" else 1]
        return f"{self.command.format(size=self.size)} {device} -n {count}"

    @property
    def reach_text(self):
        if self.reach is None:
            return None
        return f"ours {'>=' if self.better == 'higher' else '<='} {self.reach} * rxe"

    @property
    def met(self):
        """Whether the reach was met; None where there is none or a side is missing."""
        ours, rxe = self.median("ours"), self.median("rxe")
        if self.reach is None or ours is None or rxe is None:
            return None
        return ours >= self.reach * rxe if self.better == "higher" else ours <= self.reach * rxe


def read_pingpong(text):
    return float(re.search(r"([\d.]+) usec/iter", text)[1])


def last_numbers(text):
    """The numbers of perftest's last line of results."""
    rows = [line.split() for line in text.splitlines() if re.match(r"\s*\d+\s+\d+\s+[\d.]+", line)]
    return [float(word) for word in rows[-1]]


def read_latency(text):
    return last_numbers(text)[4]  # t_typical, the median


def read_bandwidth(text):
    return last_numbers(text)[3]


def read_rate(text):
    return last_numbers(text)[4] * 1e6


UNITS = {"us": 1.0, "ms": 1e3, "ns": 1e-3, "sec": 1e6, "bytes/sec": 1.0 / MIB, "KB/sec": 1e3 / MIB, "MB/sec": 1e6 / MIB, "GB/sec": 1e9 / MIB}


def read_qperf(text):
    """Microseconds, or MiB a second."""
    found = re.search(r"(?:latency|bw)\s*=\s*([\d.]+) (\S+)", text)
    return float(found[1]) * UNITS[found[2]]


# What is to be reached, as a multiple of SoftRoCE's value.
BANDWIDTH, LATENCY, RATE = 100, 0.25, 10
NO_TCP = "TCP has no such operation"


def bandwidth_row(what, size, counts, tcp=True):
    depth = min(64, *counts)
    return Row(
        what, size, "MiB/s", "higher", f"ib_{what} -F -t {depth} -s {{size}}", counts, read_bandwidth,
        (f"tcp_bw -m {size}", lambda value: value) if tcp else None, None if tcp else NO_TCP, BANDWIDTH)


def make_rows():
    pingpong, latency = ("µs a round trip", "lower"), ("µs", "lower")
    return [
        Row("rc_pingpong", 4096, *pingpong, "ibv_rc_pingpong -c -s {size}", (1000, 200), read_pingpong, ("tcp_lat -m 4096", lambda value: 2 * value)),
        Row("ud_pingpong", 2048, *pingpong, "ibv_ud_pingpong -c -s {size}", (1000, 200), read_pingpong, tcp_why=NO_TCP),
        Row("srq_pingpong", 4096, *pingpong, "ibv_srq_pingpong -c -s {size}", (1000, 50), read_pingpong, tcp_why=NO_TCP),
        Row("send_lat", 8, *latency, "ib_send_lat -F -s {size}", (2000, 500), read_latency, ("tcp_lat -m 8", lambda value: value), reach=LATENCY),
        Row("write_lat", 8, *latency, "ib_write_lat -F -s {size}", (2000, 500), read_latency, tcp_why=NO_TCP, reach=LATENCY),
        bandwidth_row("write_bw", 65536, (40000, 100)),
        bandwidth_row("write_bw", MIB, (3000, 10)),
        bandwidth_row("read_bw", 65536, (40000, 100), tcp=False),
        bandwidth_row("read_bw", MIB, (3000, 10), tcp=False),
        Row("atomic_bw", 8, "operations/s", "higher", "ib_atomic_bw -F", (20000, 1000), read_rate, tcp_why=NO_TCP),
        Row("write_rate", 8, "messages/s", "higher", "ib_write_bw -F -l 32 -s {size}", (640000, 3200), read_rate, ("tcp_bw -m 8", lambda value: value * MIB / 8), reach=RATE),
        Row("write_single", 8, "messages/s", "higher", "ib_write_bw -F -s {size}", (100000, 3000), read_rate, tcp_why="TCP gathers small messages, as write_rate does"),
    ]


class Demo:
    """The run: VMs, measurements, results."""

    def __init__(self, args):
        self.args, self.began = args, time.monotonic()
        self.rows = [row for row in make_rows() if re.search(args.only, row.what)]
        self.bypass = None
        self.complaints = []

    def say(self, text):
        pkgroot.say(f"[{time.monotonic() - self.began:5.1f} s] {text}")

    def run(self):
        with Lab(self.args.build, image=self.args.image, logs=pathlib.Path(self.args.build) / "demo-logs") as lab:
            self.say(f"QEMU: {vmlib.fetch_qemu.find()}")
            self.say(f"guest image: {vmlib.guest_image.get(self.args.image)}")
            self.say(f"accelerator: {vmlib.accelerator()}")
            daemon = lab.daemon(PORTS)
            self.say("booting two VMs")
            one, two = lab.vms(PORTS, daemon, link=lab.cable(), mtu=MTU)
            self.say(f"both run Linux {one.release}, mlx5_0 is active in both")
            for vm in (one, two):
                vm.run("modprobe rdma_rxe && rdma link add rxe0 type rxe netdev eth0")
            one.spawn("qperf")
            one.wait_listen(QPERF_PORT)
            self.measure(one, two)
            self.bypass = self.prove_bypass(daemon, one, two)
        self.report()

    def measure(self, one, two):
        """All rows once; then those that have something to reach again, both sides in turn, while the time lasts."""
        deadline = time.monotonic() + self.args.seconds
        for number in range(self.args.runs):
            for row in self.rows:
                if number and (time.monotonic() > deadline or not row.reach):
                    continue
                for side in ("ours", "rxe"):
                    self.take(row, side, one, two)
                if number == 0 and row.tcp:
                    self.take_tcp(row, one, two)
                self.progress(row)

    def take(self, row, side, one, two):
        if side in row.why:
            return
        try:
            row.values[side].append(row.read(traffic(one, two, row.argv(side), seconds=60)))
        except (VmError, TypeError, IndexError) as error:
            row.why[side] = str(error)
            self.say(f"{row.argv(side)} failed: {error}")

    def take_tcp(self, row, one, two):
        test, convert = row.tcp
        name, *options = test.split()
        try:
            row.values["tcp"].append(convert(read_qperf(two.run(f"qperf -t 1 {' '.join(options)} {one.address} {name}", 30))))
        except (VmError, TypeError, KeyError) as error:
            row.why["tcp"] = str(error)
            self.say(f"qperf {test} failed: {error}")

    def progress(self, row):
        sides = ", ".join(f"{side} {number(row.values[side][-1])}" for side in row.values if row.values[side])
        self.say(f"{row.what} {row.size}: {sides} {row.unit}")

    # ---- the proof of the bypass ----

    def prove_bypass(self, daemon, one, two):
        """Costs of N and of 2N messages each way: system calls, device interrupts, messages on the sockets.

        Idle drivers look at the device's health a few times a second, so both runs are watched for the same time.
        """
        try:
            probe = read_pingpong(traffic(one, two, f"ibv_rc_pingpong {OURS} -n 500"))
            messages = int(max(2000, min(20000, round(1.5e6 / probe, -3))))
            twice, seconds = self.costs(daemon, one, two, 2 * messages)
            once, _ = self.costs(daemon, one, two, messages, seconds)
        except (VmError, TypeError) as error:
            self.complaints.append(f"the bypass was not measured: {error}")
            return None
        return {"command": f"ibv_rc_pingpong {OURS}", "seconds": seconds, **{key: [once[key], twice[key]] for key in once}}

    def costs(self, daemon, one, two, count, seconds=0.0):
        """What COUNT messages each way cost, watched for at least SECONDS; and for how long they were watched."""

        def counters():
            script = "awk '/mlx5/ { for (i = 2; i <= NF && $i ~ /^[0-9]+$/; i++) n += $i } END { print n + 0 }' /proc/interrupts"
            return sum(int(vm.run(script)) for vm in (one, two)), sum(daemon.stats(port)["socket_messages"] for port in PORTS)

        before, began = counters(), time.monotonic()
        traffic(one, two, f"strace -f -c -U calls,name -o /tmp/calls ibv_rc_pingpong {OURS} -n {count}")
        took = time.monotonic() - began
        time.sleep(max(0.0, seconds - took))
        after = counters()
        calls = sum(int(vm.run("awk '$2 == \"total\" { print $1 }' /tmp/calls")) for vm in (one, two))
        costs = {"messages": count, "syscalls": calls, "interrupts": after[0] - before[0], "socket_messages": after[1] - before[1]}
        self.say("bypass: " + ", ".join(f"{key} {value}" for key, value in costs.items()))
        return costs, took

    # ---- results ----

    def grown(self, key):
        """Whether twice the messages cost more, by over one for each twenty added.

        The counts are not exact: a health check more or less in the time watched is a dozen messages on a socket.
        """
        first, second = self.bypass[key]
        added = self.bypass["messages"][1] - self.bypass["messages"][0]
        return second - first > added / 20

    def report(self):
        rows = [self.row_json(row) for row in self.rows]
        result = {"machine": dict(vmlib.machine(), mtu=MTU, image=self.args.image), "rows": rows, "bypass": self.bypass}
        path = pathlib.Path(self.args.build) / "demo.json"
        path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        self.print_table()
        self.print_bypass()
        for row in self.rows:
            if row.median("ours") is None:
                self.complaints.append(f"{row.what} {row.size} was not measured: {row.why.get('ours')}")
            elif row.met is False:
                self.complaints.append(f"{row.what} {row.size}: {row.reach_text} was not reached")
        print(f"\nWritten to {path}. Took {time.monotonic() - self.began:.0f} s.")
        for complaint in self.complaints:
            print(f"NOT REACHED: {complaint}")
        if self.complaints:
            print("What to do: end other programs that use the processors and run `make demo` again; `underpass stats` and the logs\nof a failed run (BUILD/demo-logs) show more.")

    def row_json(self, row):
        out = {"what": row.what, "size": row.size, "unit": row.unit, "better": row.better, "ours": row.median("ours")}
        out["peers"] = {side: row.median(side) for side in ("rxe", "tcp")}
        out["limit"], out["limit_is"] = (memcpy_bandwidth(row.size), "memcpy on the host") if row.unit == "MiB/s" else (None, None)
        out["reach"], out["met"] = row.reach_text, row.met
        out["runs"] = {side: values for side, values in row.values.items() if values}
        out["spread"] = {side: [min(values), max(values)] for side, values in row.values.items() if values}
        out["why"] = row.why
        out["command"] = row.argv("ours")
        return out

    def print_table(self):
        print(f"\n{'test':<14}{'size':>9}  {'unit':<16}{'underpass':>11}{'SoftRoCE':>11}{'TCP':>11}{'ours/rxe':>10}   reach")
        for row in self.rows:
            values = [row.median(side) for side in ("ours", "rxe", "tcp")]
            ratio = f"{number(values[0] / values[1])}×" if values[0] and values[1] else "-"
            met = {True: "met", False: "NOT MET", None: ""}[row.met]
            cells = "".join(f"{number(value):>11}" for value in values)
            print(f"{row.what:<14}{row.size:>9}  {row.unit:<16}{cells}{ratio:>10}   {row.reach_text or ''}  {met}".rstrip())
        print("(write_rate posts its messages in lists of 32, write_single one by one)")
        print("(medians; lower is better for µs, higher for the rest; MiB are 2^20 bytes)")

    def print_bypass(self):
        if not self.bypass:
            return
        print(f"\nBypass: what {self.bypass['messages'][0]} and {self.bypass['messages'][1]} messages each way cost ({self.bypass['command']},\nsetting up and the idle drivers' health checks included, watched for {self.bypass['seconds']:.1f} s each)")
        for key, what in (("syscalls", "system calls of the two programs"), ("interrupts", "interrupts of the two devices"), ("socket_messages", "messages on the vfio-user sockets")):
            first, second = self.bypass[key]
            grown = self.grown(key)
            print(f"  {what:<36}{first:>9}{second:>9}   {'GROWS' if grown else 'does not grow'}")
            if grown:
                self.complaints.append(f"{what} grow with the number of messages")


def number(value):
    """Three significant digits, without an exponent."""
    if value is None:
        return "-"
    if value >= 1000:
        return f"{float(f'{value:.3g}'):.0f}"
    return f"{value:.3g}"


def memcpy_bandwidth(size):
    """MiB/s of the host's memcpy between two buffers of SIZE bytes, hot: what no copy of that size can beat."""
    source, target = ctypes.create_string_buffer(size), ctypes.create_string_buffer(size)
    count = max(1, (64 << 20) // size)
    best = 0.0
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(count):
            ctypes.memmove(target, source, size)
        best = max(best, count * size / MIB / (time.perf_counter() - start))
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--build", default=os.environ.get("UNDERPASS_BUILD") or HERE.parent / "build", help="build folder; demo.json is written there")
    parser.add_argument("--image", default="stable", help="guest image (tools/guest_image.py)")
    parser.add_argument("--seconds", type=float, default=65, help="begin no further repetition after this long")
    parser.add_argument("--runs", type=int, default=3, help="repetitions of the rows that have something to reach")
    parser.add_argument("--only", default="", metavar="REGEX", help="only the tests whose name matches")
    args = parser.parse_args()
    if not (pathlib.Path(args.build) / "daemon/underpassd").exists():
        raise pkgroot.Failure(f"{args.build} has no daemon/underpassd: run `make` first")
    shutil.rmtree(pathlib.Path(args.build) / "demo-logs", ignore_errors=True)
    demo = Demo(args)
    try:
        demo.run()
    except VmError as error:
        raise pkgroot.Failure(f"{error}\nThe VMs' consoles and the daemon's log are in {args.build}/demo-logs.") from None
    return 1 if demo.complaints else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    pkgroot.main(main)
