#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""libunderpass beside other libraries: messages and remote memory access between two processes on two cores.

Every way to do it is a pair of processes that sleep until they are told to measure (side.h), so all sides of a comparison take
their turns in one run, round after round. Prints a table, and writes BUILD/bench/rma.json.
"""

import argparse
import contextlib
import json
import os
import pathlib
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import rows

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import netns  # noqa: E402

PATIENCE = 60  # seconds for an answer
GRACE = 5  # seconds for a side to end by itself
FIRST_COUNTS = {"us": 60, "KiB": 2000, "MiB/s": 16}  # by unit, else 256
FIXED = ("us", "KiB")  # counts of these units are the test's own


class Missing(Exception):
    """A side cannot be measured; the text says why."""


class Ended(Missing):
    """It ended, or says nothing any more."""


class Side:
    """Two processes of one program, connected; role 0 is spoken to."""

    def __init__(self, name, folder):
        self.name, self.why, self.processes, self.started = name, None, [], False
        self.failures = []  # of processes that did not end well by themselves
        self.folder, self.log = folder, folder / f"{name}.log"

    def open(self, spec, build, hosts):
        program = build / "bench/rma" / f"bench_rma_{spec.program}"
        try:
            if not program.exists():
                raise Missing(f"the library was not there when {program.name} was to be built")
            self.start([str(program), "--meet", str(self.folder / f"{self.name}.sock"), *spec.options], spec, hosts, build)
            self.answer()
            self.started = True
            for command in spec.prepare:
                self.ask(*command)
        except (Missing, OSError) as error:
            self.fail(str(error))

    def start(self, argv, spec, hosts, build):
        environment = dict(os.environ, **{key: value.format(build=build) for key, value in spec.environment.items()})
        if spec.launcher:
            if not shutil.which(spec.launcher[0]):
                raise Missing(f"{spec.launcher[0]} is not installed")
            commands = [[*spec.launcher, *argv]]
        else:
            if spec.network and isinstance(hosts, str):
                raise Missing(hosts)
            commands = [[*(netns.inside(hosts[role]) if spec.network else ()), *argv, "--role", str(role)] for role in (0, 1)]
        with open(self.log, "w", encoding="utf-8") as log:
            for role, command in enumerate(commands):
                self.processes.append(subprocess.Popen(
                    command, env=environment, stdin=subprocess.PIPE if role == 0 else subprocess.DEVNULL,
                    stdout=subprocess.PIPE if role == 0 else log, stderr=log, start_new_session=True))

    def answer(self):
        """The next line that is one."""
        while True:
            ready, _, _ = select.select([self.processes[0].stdout], [], [], PATIENCE)
            line = self.processes[0].stdout.readline() if ready else b""
            if not line:
                raise Ended(self.last_words() or ("it ended" if ready else f"no answer within {PATIENCE} s"))
            if line.startswith(b"{"):
                return json.loads(line)

    def ask(self, test, size, count):
        self.processes[0].stdin.write(f"{test} {size} {count}\n".encode())
        self.processes[0].stdin.flush()
        reply = self.answer()
        if reply["value"] is None:
            raise Missing(reply["why"])
        return reply["value"]

    def last_words(self):
        lines = [line.strip() for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip(" -\n")]
        return lines[0][:200] if lines else ""

    def fail(self, why):
        self.why = why
        print(f"{self.name}: {why}", file=sys.stderr)
        self.stop()

    def stop(self):
        """At the end of their input they end by themselves. Who does not is told to, as libfabric's shm removes its files then."""
        if self.processes:
            with contextlib.suppress(OSError):
                self.processes[0].stdin.close()
        for process in self.processes:
            for number in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=GRACE)
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
            if process.wait():
                self.failures.append(f"a process ended with status {process.returncode}")
        self.processes = []


class Bench:
    """All sides and rows, and the values as they come."""

    def __init__(self, args, folder):
        self.args, self.ends = args, contextlib.ExitStack()
        self.sides, self.counts, self.values, self.why = {}, {}, {}, {}
        try:
            hosts = self.two_hosts() if any(row.network for row in args.rows) else None
            for name in dict.fromkeys(measurement[0] for row in args.rows for measurement in row.measurements()):
                print(f"starting {name}", file=sys.stderr)
                self.sides[name] = Side(name, folder)
                self.sides[name].open(rows.SIDES[name], args.build, hosts)
        except BaseException:
            self.close()
            raise

    def two_hosts(self):
        """Their names, or why there are none."""
        try:
            return self.ends.enter_context(netns.two_hosts())
        except netns.Unavailable as error:
            return str(error)

    def close(self):
        for side in self.sides.values():
            side.stop()
        self.ends.close()

    def take(self, row, measurement):
        """One measurement; the first of its kind only finds out how many operations fill the time."""
        name, test = measurement
        side, key = self.sides[name], (row, measurement)
        if side.why or key in self.why:
            return
        first = key not in self.counts
        count = FIRST_COUNTS.get(row.unit, 256) if first else self.counts[key]
        start = time.monotonic()
        try:
            value = side.ask(test, row.argument, count)
        except (Ended, OSError) as error:
            # Its other process may be waiting for this one, and poll where the next side is measured.
            side.fail(f"{test} {row.size}: {error}")
            return
        except Missing as error:
            self.why[key] = str(error)
            return
        if first and row.unit not in FIXED:
            took = max(time.monotonic() - start, 1e-4)
            self.counts[key] = int(min(max(count * self.args.seconds / took, count), 1_000_000))
            return
        self.counts[key] = count
        self.values.setdefault(key, []).append(value)

    def run(self):
        for number in range(self.args.rounds + 1):
            print(f"round {number} of {self.args.rounds}" if number else "finding the counts", file=sys.stderr)
            for row in self.args.rows:
                measurements = row.measurements()
                for measurement in reversed(measurements) if number % 2 else measurements:
                    self.take(row, measurement)

    def of(self, row, measurement):
        return self.values.get((row, measurement), [])

    def reason(self, row, measurement):
        return self.sides[measurement[0]].why or self.why.get((row, measurement))

    def median(self, row, measurement):
        values = self.of(row, measurement)
        return statistics.median(values) if values else None

    def ratio(self, row, measurement):
        """Ours against another, as the median of the rounds' ratios."""
        ratios = [ours / other for ours, other in zip(self.of(row, row.ours), self.of(row, measurement)) if other]
        return statistics.median(ratios) if ratios else None


def quartiles(values):
    return statistics.quantiles(values, n=4, method="inclusive")[::2] if len(values) > 1 else [*values, *values]


class Result:
    """A row with what was measured: one object of the file, one line of the table."""

    def __init__(self, bench, row):
        self.bench, self.row = bench, row
        self.ours = bench.median(row, row.ours)
        self.peers = {name: bench.median(row, peer) for name, peer in row.peers.items()}
        there = {name: value for name, value in self.peers.items() if value is not None}
        pick = max if row.better == "higher" else min
        self.best = pick(there, key=there.get) if there else None

    def against(self, reach):
        """Our ratio to what a reach is about; its value where it is a number of its own. None: not measured."""
        row = self.row
        if reach.what == rows.NOTHING:
            return self.ours
        name = self.best if reach.what == rows.BEST else reach.what
        measurement = row.limit if reach.what == rows.LIMIT else row.peers.get(name)
        return self.bench.ratio(row, measurement) if measurement else None

    def met(self):
        found = [(reach, self.against(reach)) for reach in self.row.reaches]
        if self.ours is None or not found or any(value is None for _, value in found):
            return None
        return all(value >= reach.factor if self.row.better == "higher" else value <= reach.factor for reach, value in found)

    def missing(self):
        others = {**self.row.peers, **({"libfabric provider": self.row.provider} if self.row.provider else {})}
        return {name: self.bench.reason(self.row, peer) for name, peer in others.items() if self.bench.median(self.row, peer) is None}

    def as_json(self):
        row, values = self.row, self.bench.of(self.row, self.row.ours)
        out = {"what": row.what, "size": row.size, "unit": row.unit, "better": row.better, "ours": self.ours, "runs": len(values),
               "spread": quartiles(values) if values else None, "peers": self.peers,
               "limit": self.bench.median(row, row.limit) if row.limit else None, "limit_is": row.limit_is,
               "best": self.best, "ratio": self.bench.ratio(row, row.peers[self.best]) if self.best else None,
               "limit_ratio": self.bench.ratio(row, row.limit) if row.limit else None,
               "provider": self.bench.median(row, row.provider) if row.provider else None,
               "reach": row.reach_text(), "met": self.met(),
               "peers_spread": {name: quartiles(self.bench.of(row, peer)) for name, peer in row.peers.items() if self.bench.of(row, peer)}}
        if self.missing():
            out["missing"] = self.missing()
        if self.ours is None:
            out["why"] = self.bench.reason(row, row.ours) or "not measured"
        return out


def number(value):
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def short_size(size):
    for shift, unit in ((20, "M"), (10, "K")):
        if size and size % (1 << shift) == 0:
            return f"{size >> shift}{unit}"
    return str(size)


def print_table(results):
    print(f"\n{'what':<18}{'size':>6}{'ours':>9} {'unit':<6}{'as fi':>8}{'limit':>8}{'ratio':>7}  peers; reach")
    for row in results:
        peers = ", ".join(f"{name} {number(value)}" for name, value in row["peers"].items())
        met = {True: ": met", False: ": NOT MET", None: ": not measured"}[row["met"]]
        reach = f"; {row['reach']}{met}" if row["reach"] else ""
        print(f"{row['what']:<18}{short_size(row['size']):>6}{number(row['ours']):>9} {row['unit']:<6}{number(row['provider']):>8}"
              f"{number(row['limit']):>8}{number(row['ratio']):>7}  {peers}{reach}".rstrip())
    print("(medians; `as fi`: the same through our libfabric provider; ratio: ours against the best peer, in the same round)")
    missing = dict.fromkeys(f"{name}: {why}" for row in results for name, why in row.get("missing", {}).items())
    missing.update(dict.fromkeys(f"{row['what']} {short_size(row['size'])}: {row['why']}" for row in results if "why" in row))
    for line in missing:
        print(f"NOT MEASURED {line}")


def machine():
    model = next((line.split(":", 1)[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
                  if line.startswith("model name")), "unknown")
    return {"cpu": model, "cores": os.cpu_count(), "kernel": os.uname().release, "arch": os.uname().machine}


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build", help="build folder")
    parser.add_argument("--output", type=pathlib.Path, help="JSON file (BUILD/bench/rma.json)")
    parser.add_argument("--rounds", type=int, default=9, help="how often each side takes its turn (%(default)s)")
    parser.add_argument("--seconds", type=float, default=0.04, help="how long a turn takes (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="one short round without a file: whether it runs; a side of ours that fails is an error")
    parser.add_argument("--only", default="", metavar="TEXT", help="only the rows with TEXT in their name")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.seconds = 1, 0.001
    args.build = args.build.resolve()
    args.rows = [row for row in rows.ROWS if args.only in row.what]
    return args


def main():
    args = parse()
    if (os.cpu_count() or 1) < 2:
        sys.exit("this benchmark needs two cores")
    if not args.rows:
        sys.exit(f"no row has {args.only} in its name")
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="underpass-bench-") as folder:
        bench = Bench(args, pathlib.Path(folder))
        try:
            bench.run()
        finally:
            bench.close()
    results = [Result(bench, row).as_json() for row in args.rows]
    print_table(results)
    if args.quick:
        return quick_status(bench)
    output = args.output or args.build / "bench/rma.json"
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps({"machine": machine(), "rows": results}, indent=1) + "\n", encoding="utf-8")
    print(f"Written to {output}. Took {time.monotonic() - began:.0f} s.")
    return 0 if any(row["ours"] is not None for row in results) else 1


def quick_status(bench):
    """What is ours, was built and could be started must work to the end; what is beside it is not for this tree to test."""
    ours = {name: side for name, side in bench.sides.items() if name.startswith("underpass")}
    broken = [f"{name}: {side.why}" for name, side in ours.items() if side.why and side.started]
    broken += [f"{name}: {failure}" for name, side in ours.items() if side.started for failure in side.failures]
    broken += [f"{name}: {test}: {why}" for (_, (name, test)), why in bench.why.items() if name in ours]
    for line in broken:
        print(f"BROKEN {line}")
    return 1 if broken or bench.sides["underpass"].why else 0


if __name__ == "__main__":
    sys.exit(main())
