#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The libfabric lane between two hosts (network namespaces), and with the cable between them cut.

Usage: test_ofi_hosts.py TEST PROGRAM; the provider is the environment's. Exit status 77 where there can be no namespaces.
"""
import os
import pathlib
import select
import signal
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))

import netns  # noqa: E402

PATIENCE = 120
SKIPPED = 77


class Host:
    """A program that runs in a namespace."""

    def __init__(self, name, role, timeout):
        env = {**os.environ, "UNDERPASS_PEER_TIMEOUT": str(timeout)}
        command = [*netns.inside(name), sys.argv[2], role]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        self.address = self.process.stdout.readline()

    def meet(self, other):
        self.process.stdin.write(other.address)
        self.process.stdin.flush()

    def expect(self, line):
        got = self.process.stdout.readline().strip()
        if got != line:
            raise AssertionError(f"{got!r} instead of {line!r}")

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def silent(self, seconds):
        if select.select([self.process.stdout], [], [], seconds)[0]:
            raise AssertionError(f"{self.process.stdout.readline()!r} before its time")

    def end(self):
        status = self.process.wait(timeout=PATIENCE)
        if status:
            raise AssertionError(f"{self.process.args} ended with {status}")


def both(names, role, timeout):
    hosts = [Host(names[0], role, timeout), Host(names[1], "serve", timeout)]
    hosts[0].meet(hosts[1])
    hosts[1].meet(hosts[0])
    return hosts


def test_exchange(names):
    for host in both(names, "exchange", 30):
        host.end()


def test_ipv6(names):
    """Hosts without IPv4 addresses."""
    for name, address in zip(names, ("fd77::1", "fd77::2")):
        netns.ip(f"-n {name} addr flush dev {netns.DEVICE}")
        netns.ip(f"-n {name} addr add {address}/64 dev {netns.DEVICE} nodad")
    test_exchange(names)


def test_killed(names):
    """One of them, in the middle of an operation."""
    hosts = both(names, "cut", 30)
    hosts[0].expect("ready")
    hosts[1].process.kill()
    hosts[0].expect("gone")
    hosts[0].end()
    hosts[1].process.wait(timeout=PATIENCE)


def test_cut(names):
    """Both ends notice within the time that they were given."""
    hosts = both(names, "cut", 2)
    hosts[0].expect("ready")
    netns.ip(f"-n {names[1]} link set {netns.DEVICE} down")
    hosts[0].expect("gone")
    for host in hosts:
        host.end()


def test_stopped(names):
    """A host that answers is waited for, though nobody there takes what is sent; and not when it is cut off."""
    hosts = both(names, "fill", 2)
    hosts[0].expect("ready")
    hosts[1].process.send_signal(signal.SIGSTOP)
    hosts[0].tell("now")
    hosts[0].expect("full")
    hosts[0].silent(6)
    netns.ip(f"-n {names[1]} link set {netns.DEVICE} down")
    hosts[0].expect("gone")
    hosts[0].end()
    hosts[1].process.kill()
    hosts[1].process.wait(timeout=PATIENCE)


def main():
    try:
        with netns.two_hosts() as names:
            globals()[f"test_{sys.argv[1]}"](names)
    except netns.Unavailable as error:
        print(f"SKIP: {error}")
        sys.exit(SKIPPED)


if __name__ == "__main__":
    main()
