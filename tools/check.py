#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Every test of the tree, cheapest first, with one line of totals at the end.

Rings: style and static checks, unit tests and the simulated guest's (plain, then under sanitizers), short
fuzz runs, virtual machines. A test that needs what the machine lacks counts as skipped, and is named at the end;
with --require RING it counts as failed.
"""

import argparse
import concurrent.futures
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FUZZ_SECONDS = 20
LAST_LINES = 15  # of what a failed test printed, in the list of failures
# Many tests wait most of their time, for a peer to be given up or for a sleeper to be woken: twice as many as there are
# cores keep these busy.
TESTS_AT_ONCE = 2 * (os.cpu_count() or 1)
RINGS = ["lint", "unit", "asan", "tsan", "fuzz", "vm"]


class Totals:
    """What became of the tests. In a ring that is required, one that was skipped has failed."""

    def __init__(self, required):
        self.required, self.ring = required, None
        self.passed = 0
        self.failures, self.skips = [], []

    def count(self, name, result, printed=()):
        """`printed`: lines that say why, should it have failed."""
        if result == "passed":
            self.passed += 1
        elif result == "skipped" and self.ring not in self.required:
            self.skips.append(name)
        else:
            self.failures.append((name, list(printed)))


def say(text):
    print(f"== {text}", flush=True)


def run(cmd, **kwargs):
    return subprocess.run(cmd, cwd=ROOT, **kwargs)


def show(cmd, **kwargs):
    """Runs a command and shows what it prints: its exit status, and the lines."""
    lines = []
    with subprocess.Popen(cmd, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                          **kwargs) as process:
        for line in process.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            lines.append(line.rstrip())
    return process.returncode, lines


def said(test):
    """How a test of Meson's log ended, and the end of what it printed."""
    lines = [f"{test['result']}, status {test['returncode']}, after {test['duration']:.0f} s"]
    for stream in ("stdout", "stderr"):
        lines += test.get(stream, "").splitlines()[-LAST_LINES:]
    return lines


def meson_tests(totals, build, label, extra=()):
    """Runs a build's Meson tests; each executable counts as one."""
    say(f"{label}: unit tests and simulated guest")
    run(["meson", "test", "-C", build, "--no-rebuild", "--print-errorlogs", "--num-processes", str(TESTS_AT_ONCE),
         *extra])
    log = os.path.join(ROOT, build, "meson-logs", "testlog.json")
    results = {"OK": "passed", "SKIP": "skipped"}
    try:
        with open(log, encoding="utf-8") as lines:
            for line in lines:
                test = json.loads(line)
                totals.count(f"{label}: {test['name']}", results.get(test["result"], "failed"), said(test))
    except OSError as err:
        totals.count(f"{label}: no tests ran", "failed", [f"no test log: {err}"])


def made_of(build, suite):
    """What the tests of a suite need, by the names that ninja has for it."""
    def about(what):
        with open(os.path.join(ROOT, build, "meson-info", f"intro-{what}.json"), encoding="utf-8") as file:
            return json.load(file)

    needed = {needed for test in about("tests") if f"underpass:{suite}" in test["suite"] for needed in test["depends"]}
    return [os.path.relpath(name, os.path.join(ROOT, build))
            for target in about("targets") if target["id"] in needed for name in target["filename"]]


def configure(build, options, targets=(), suite=None):
    """Builds the targets, what a suite needs, or all. None, or what the command that failed printed."""
    if not os.path.exists(os.path.join(ROOT, build, "build.ninja")):
        status, lines = show(["meson", "setup", build, *options])
        if status:
            return lines[-LAST_LINES:]
    if suite:
        # First what is known of the tests, should their list have changed.
        status, lines = show(["ninja", "-C", build, "--quiet", "build.ninja"])
        if status:
            return lines[-LAST_LINES:]
        targets = made_of(build, suite)
    status, lines = show(["ninja", "-C", build, "--quiet", *targets])
    return lines[-LAST_LINES:] if status else None


def sanitized(totals, build, label, sanitizers, suite=None):
    """Tests again, or those of a suite, in a build with sanitizers."""
    say(f"{label}: building")
    error = configure(build, [f"-Db_sanitize={sanitizers}", "-Db_lundef=false", "-Doptimization=1", "-Ddebug=true"],
                      suite=suite)
    if error is not None:
        totals.count(f"{label}: build", "failed", error)
        return
    meson_tests(totals, build, label, ["--timeout-multiplier", "5", *(["--suite", suite] if suite else [])])


def run_fuzzer(folder, name):
    """Its seed, exit status, and what it printed."""
    corpus = os.path.join(ROOT, "tests", "fuzz", "corpus", name[len("fuzz_"):])
    grown = os.path.join(folder, f"{name}.corpus")
    os.makedirs(grown, exist_ok=True)
    seed = random.randrange(1, 1 << 31)
    cmd = [os.path.join(folder, name), f"-seed={seed}", f"-max_total_time={FUZZ_SECONDS}", "-print_final_stats=0",
           f"-artifact_prefix={folder}/{name}-", "-verbosity=0", grown]
    if os.path.isdir(corpus):
        cmd.append(corpus)
    done = run(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
               errors="replace")
    return seed, done.returncode, done.stdout.splitlines()


def fuzz(totals, build):
    """Each fuzzer for a short time, from its corpus."""
    say("fuzz: building")
    if not shutil.which("clang"):
        print("skipped: clang is not installed (tools/deps.sh installs it)")
        totals.count("fuzz", "skipped")
        return
    error = configure(build, ["--native-file", "tools/clang.ini", "-Dfuzz=true", "-Db_sanitize=address,undefined",
                              "-Db_lundef=false", "-Doptimization=1", "-Ddebug=true"], ["fuzzers"])
    if error is not None:
        totals.count("fuzz: build", "failed", error)
        return
    folder = os.path.join(ROOT, build, "tests", "fuzz")
    names = sorted(n for n in os.listdir(folder) if re.fullmatch(r"fuzz_\w+", n))
    # Each has one thread: as many at a time as there are cores.
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, (seed, status, lines) in zip(names, pool.map(lambda name: run_fuzzer(folder, name), names)):
            say(f"fuzz: {name} for {FUZZ_SECONDS} s, seed {seed}")
            print("\n".join(lines), flush=True)
            if status:
                print(f"to see it again: {folder}/{name} {folder}/{name}-crash-...")
            totals.count(f"fuzz: {name}", "failed" if status else "passed", lines[-LAST_LINES:])


def split(lines):
    """The tests of such a script: result, name, and what was printed since the one before, or indented below it."""
    tests, printed = [], []
    for line in lines:
        test = re.match(r"(PASS|FAIL|SKIP)\s+(.*)", line)
        if test:
            tests.append((*test.groups(), printed))
            printed = []
        elif tests and not printed and line.startswith("    "):
            tests[-1][2].append(line)
        else:
            printed.append(line)
    return tests


def counted_script(totals, label, cmd):
    """A script that prints PASS, FAIL or SKIP and a name for each test, and ends with its own totals."""
    say(label)
    status, lines = show(cmd)
    results = {"PASS": "passed", "FAIL": "failed", "SKIP": "skipped"}
    seen = dict.fromkeys(results, 0)
    for result, name, printed in split(lines):
        seen[result] += 1
        totals.count(f"{label}: {name.strip()}", results[result], printed[-LAST_LINES:])
    if not lines or lines[-1] != "{PASS} passed, {FAIL} failed, {SKIP} skipped".format(**seen):
        totals.count(f"{label}: ended without its totals", "failed", lines[-LAST_LINES:])
    elif status and not seen["FAIL"]:
        totals.count(f"{label}: exit status {status}", "failed", lines[-LAST_LINES:])


def run_ring(totals, ring, build):
    if ring == "lint":
        counted_script(totals, "lint", ["tools/lint.sh", build])
    elif ring == "unit":
        meson_tests(totals, build, "plain")
    elif ring == "asan":
        sanitized(totals, f"{build}-asan", "asan+ubsan", "address,undefined")
    elif ring == "tsan":
        sanitized(totals, f"{build}-tsan", "tsan", "thread", "threads")
    elif ring == "fuzz":
        fuzz(totals, f"{build}-fuzz")
    elif ring == "vm":
        counted_script(totals, "virtual machines", ["tests/vm/run.py", "--build", build])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build", help="a build folder that is up to date")
    parser.add_argument("--only", choices=RINGS, action="append", help="run this ring only (may be repeated)")
    parser.add_argument("--require", choices=RINGS, action="append", default=[],
                        help="a test of this ring that is skipped has failed (may be repeated)")
    args = parser.parse_args()
    totals, start = Totals(args.require), time.monotonic()

    for ring in RINGS:
        if not args.only or ring in args.only:
            totals.ring = ring
            run_ring(totals, ring, args.build)

    print(f"\ntook {time.monotonic() - start:.0f} s")
    for name in totals.skips:
        print(f"SKIPPED {name}")
    for name, printed in totals.failures:
        print(f"FAILED {name}")
        for line in printed:
            print(f"    {line}")
    print(f"{totals.passed} passed, {len(totals.failures)} failed, {len(totals.skips)} skipped")
    return 1 if totals.failures or not totals.passed else 0


if __name__ == "__main__":
    sys.exit(main())
