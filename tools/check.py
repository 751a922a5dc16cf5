#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Every test of the tree, cheapest first, with one line of totals at the end.

Rings: style and static checks, unit tests and the simulated guest's (plain, then under sanitizers), short
fuzz runs, virtual machines. A test that needs what the machine lacks counts as skipped.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FUZZ_SECONDS = 20


class Totals:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.failures = []

    def count(self, name, result):
        if result == "passed":
            self.passed += 1
        elif result == "skipped":
            self.skipped += 1
        else:
            self.failed += 1
            self.failures.append(name)


def say(text):
    print(f"== {text}", flush=True)


def run(cmd, **kwargs):
    return subprocess.run(cmd, cwd=ROOT, **kwargs)


def meson_tests(totals, build, label, extra=()):
    """Runs a build's Meson tests; each executable counts as one."""
    say(f"{label}: unit tests and simulated guest")
    run(["meson", "test", "-C", build, "--no-rebuild", "--print-errorlogs", *extra])
    log = os.path.join(ROOT, build, "meson-logs", "testlog.json")
    results = {"OK": "passed", "EXPECTEDFAIL": "passed", "SKIP": "skipped"}
    try:
        with open(log, encoding="utf-8") as lines:
            for line in lines:
                test = json.loads(line)
                totals.count(f"{label}: {test['name']}", results.get(test["result"], "failed"))
    except OSError as err:
        print(f"no test log: {err}")
        totals.count(f"{label}: no tests ran", "failed")


def configure(build, options, targets=()):
    if not os.path.exists(os.path.join(ROOT, build, "build.ninja")):
        if run(["meson", "setup", build, *options]).returncode:
            return False
    return run(["ninja", "-C", build, "--quiet", *targets]).returncode == 0


def sanitized(totals, build, label, sanitizers, extra=()):
    """Tests again in a build with sanitizers."""
    say(f"{label}: building")
    if not configure(build, [f"-Db_sanitize={sanitizers}", "-Db_lundef=false", "-Doptimization=1", "-Ddebug=true"]):
        totals.count(f"{label}: build", "failed")
        return
    meson_tests(totals, build, label, ["--timeout-multiplier", "5", *extra])


def fuzz(totals, build):
    """Each fuzzer for a short time, from its corpus."""
    say("fuzz: building")
    if not shutil.which("clang"):
        print("skipped: clang is not installed (tools/deps.sh installs it)")
        totals.count("fuzz", "skipped")
        return
    if not configure(build, ["--native-file", "tools/clang.ini", "-Dfuzz=true", "-Db_sanitize=address,undefined",
                             "-Db_lundef=false", "-Doptimization=1", "-Ddebug=true"], ["fuzzers"]):
        totals.count("fuzz: build", "failed")
        return
    folder = os.path.join(ROOT, build, "tests", "fuzz")
    for name in sorted(n for n in os.listdir(folder) if re.fullmatch(r"fuzz_\w+", n)):
        corpus = os.path.join(ROOT, "tests", "fuzz", "corpus", name[len("fuzz_"):])
        grown = os.path.join(folder, f"{name}.corpus")
        os.makedirs(grown, exist_ok=True)
        say(f"fuzz: {name} for {FUZZ_SECONDS} s")
        cmd = [os.path.join(folder, name), f"-max_total_time={FUZZ_SECONDS}", "-print_final_stats=0",
               f"-artifact_prefix={folder}/{name}-", "-verbosity=0", grown]
        if os.path.isdir(corpus):
            cmd.append(corpus)
        result = run(cmd, stdin=subprocess.DEVNULL)
        totals.count(f"fuzz: {name}", "failed" if result.returncode else "passed")


def counted_script(totals, label, cmd):
    """A script that prints a line a test and ends with its own totals."""
    say(label)
    process = subprocess.Popen(cmd, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    last = ""
    for line in process.stdout:
        sys.stdout.write(line)
        sys.stdout.flush()
        failed = re.match(r"FAIL\s+(.*)", line)
        if failed:
            totals.failures.append(f"{label}: {failed.group(1).strip()}")
        last = line
    process.wait()
    match = re.match(r"(\d+) passed, (\d+) failed, (\d+) skipped", last)
    if not match:
        totals.count(f"{label}: ended without totals", "failed")
        return
    totals.passed += int(match.group(1))
    totals.failed += int(match.group(2))
    totals.skipped += int(match.group(3))
    if process.returncode and match.group(2) == "0":
        totals.count(f"{label}: exit status {process.returncode}", "failed")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build", help="a build folder that is up to date")
    parser.add_argument("--only", choices=["lint", "unit", "asan", "tsan", "fuzz", "vm"], action="append",
                        help="run this ring only (may be repeated)")
    args = parser.parse_args()
    rings = args.only or ["lint", "unit", "asan", "tsan", "fuzz", "vm"]
    totals, start = Totals(), time.monotonic()

    if "lint" in rings:
        counted_script(totals, "lint", ["tools/lint.sh", args.build])
    if "unit" in rings:
        meson_tests(totals, args.build, "plain")
    if "asan" in rings:
        sanitized(totals, f"{args.build}-asan", "asan+ubsan", "address,undefined")
    if "tsan" in rings:
        sanitized(totals, f"{args.build}-tsan", "tsan", "thread", ["--suite", "threads"])
    if "fuzz" in rings:
        fuzz(totals, f"{args.build}-fuzz")
    if "vm" in rings:
        counted_script(totals, "virtual machines", ["tests/vm/run.py", "--build", args.build])

    print(f"\ntook {time.monotonic() - start:.0f} s")
    for name in totals.failures:
        print(f"FAILED {name}")
    print(f"{totals.passed} passed, {totals.failed} failed, {totals.skipped} skipped")
    return 1 if totals.failed or not totals.passed else 0


if __name__ == "__main__":
    sys.exit(main())
