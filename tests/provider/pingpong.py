#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""libfabric's own ping-pong program, two processes over the provider, with checked data; and fi_info.

Usage: pingpong.py PROVIDER_LIBRARY. Ends with 77 where libfabric's programs are not installed.
"""

import os
import random
import shutil
import socket
import subprocess
import sys
import time

PATIENCE_S = 60
SIZES = [1, 64, 4096, 65536, 1 << 20]
SKIPPED = 77


def environment(library):
    env = dict(os.environ)
    env["FI_PROVIDER_PATH"] = os.path.dirname(os.path.abspath(library))
    env.pop("FI_PROVIDER", None)
    return env


def free_port():
    """One that nobody gets by asking for any port, as other tests do meanwhile."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as f:
        low = int(f.read().split()[0])
    while True:
        port = random.randrange(1024, max(low, 2048))
        with socket.socket() as s:
            try:
                s.bind(("0.0.0.0", port))
            except OSError:
                continue
        return port


def listens(port):
    """Is somebody listening? Asks the kernel, as the program takes the first connection for its peer."""
    with open("/proc/net/tcp", encoding="ascii") as f:
        lines = [line.split() for line in f]
    return any(words[3] == "0A" and int(words[1].split(":")[1], 16) == port for words in lines[1:])


def wait_for_server(server, port):
    end = time.monotonic() + PATIENCE_S
    while not listens(port):
        if server.poll() is not None or time.monotonic() > end:
            server.kill()
            raise RuntimeError(f"the server does not listen: {server.communicate()[0]}")
        time.sleep(0.01)


def pingpong(env, mode, size):
    port = free_port()
    args = ["fi_pingpong", "-p", "underpass", "-e", "rdm", "-m", mode, "-c", "-I", "20", "-S", str(size)]
    with subprocess.Popen(args + ["-B", str(port)], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True) as server:
        try:
            wait_for_server(server, port)
            client = subprocess.run(args + ["-P", str(port), "127.0.0.1"], env=env, stdout=subprocess.PIPE,
                                    stderr=subprocess.STDOUT, text=True, timeout=PATIENCE_S, check=False)
            output, _ = server.communicate(timeout=PATIENCE_S)
        finally:
            server.kill()
    if client.returncode or server.returncode:
        print(f"{mode} {size}: client {client.returncode}, server {server.returncode}")
        print(client.stdout, output, sep="\n")
        return False
    return True


def is_listed(env):
    out = subprocess.run(["fi_info", "-p", "underpass"], env=env, capture_output=True, text=True, timeout=PATIENCE_S,
                         check=False)
    variables = subprocess.run(["fi_info", "-e"], env=env, capture_output=True, timeout=PATIENCE_S, check=False)
    ok = "provider: underpass" in out.stdout and b"FI_UNDERPASS_TX_SIZE" in variables.stdout
    if not ok:
        print("fi_info does not list it", out.stdout, out.stderr, sep="\n")
    return ok


def main():
    if not shutil.which("fi_pingpong") or not shutil.which("fi_info"):
        print("fi_pingpong and fi_info are not installed")
        return SKIPPED
    env = environment(sys.argv[1])
    results = [is_listed(env)] + [pingpong(env, mode, size) for mode in ("msg", "tagged") for size in SIZES]
    print(f"{sum(results)} of {len(results)} pass")
    return not all(results)


sys.exit(main())
