# SPDX-License-Identifier: BSD-2-Clause
"""Two hosts on one machine: network namespaces with a cable between them, for benchmarks and tests."""

import contextlib
import os
import shutil
import subprocess
import time

DEVICE = "veth0"
ADDRESSES = ("198.18.77.1", "198.18.77.2")  # of the range for benchmarks, RFC 2544


PATIENCE = 30  # seconds for the kernel to see that the cable is there


class Unavailable(Exception):
    """There can be no namespaces here; the text says why."""


def ip(command):
    done = subprocess.run(["ip", *command.split()], stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"ip {command}: {done.stderr.strip()}")


def lay_cable(names):
    for name in names:
        ip(f"netns add {name}")
    ip(f"link add {DEVICE} netns {names[0]} type veth peer name {DEVICE} netns {names[1]}")
    for name, address in zip(names, ADDRESSES):
        ip(f"-n {name} addr add {address}/24 dev {DEVICE}")
        ip(f"-n {name} link set {DEVICE} up")
        ip(f"-n {name} link set lo up")


def plugged(name):
    command = ["ip", "-n", name, "link", "show", DEVICE, "up"]
    return "state UP" in subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout


def wait_for_cable(names):
    """Some libraries choose no device before that, and what connects earlier may wait for ever."""
    end = time.monotonic() + PATIENCE
    while not all(plugged(name) for name in names):
        if time.monotonic() > end:
            raise Unavailable(f"{DEVICE} does not come up")
        time.sleep(0.02)


@contextlib.contextmanager
def two_hosts():
    """Yields the names of two namespaces, that end with the context."""
    if os.geteuid():
        raise Unavailable("only root can make network namespaces")
    if not shutil.which("ip"):
        raise Unavailable("ip (iproute2) is not installed")
    names = [f"underpass{os.getpid()}{end}" for end in "ab"]
    try:
        lay_cable(names)
        wait_for_cable(names)
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL, check=False)


def inside(name):
    """What a command line begins with to run there."""
    return ["ip", "netns", "exec", name]
