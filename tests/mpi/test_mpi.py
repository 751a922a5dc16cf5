#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Open MPI on the libfabric provider: an MPI program (main.c) that checks every byte, on one host and on two.

A second host is a network namespace with its own host name and process numbers. Usage: test_mpi.py TEST BUILD
"""

import functools
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tools"))

import netns  # noqa: E402

BUILD = pathlib.Path(sys.argv[2]).resolve()
PROGRAM = BUILD / "tests/mpi/mpi_check"
PROVIDER = BUILD / "provider"
SKIPPED = 77
PATIENCE = 240
MESSAGES = ("messages", "truncation", "requests", "collectives")
ONE_SIDED = ("windows", "atomics")
# Open MPI 4.1 does not come to an end with these between hosts over btl/ofi, whatever the provider.
DYNAMIC = ("dynamic",)

# What both ways have in common: nothing but the provider `underpass` may carry anything.
ONLY_OURS = {"pml": "cm", "mtl": "ofi", "opal_common_ofi_provider_include": "underpass", "mtl_base_verbose": "1",
             "opal_common_ofi_verbose": "1"}
# Windows over messages, which Open MPI has up to version 4, and over the provider's own one-sided operations.
OVER_MESSAGES = {**ONLY_OURS, "btl": "self"}
OVER_BTL = {**ONLY_OURS, "osc": "rdma", "btl": "ofi,self", "osc_rdma_btls": "ofi", "btl_base_verbose": "10"}

# What mpirun starts its daemon on the second host with, in place of ssh.
AGENT = """#!/bin/sh
shift
exec {inside} unshare --uts --pid --fork --kill-child --mount-proc sh -c "echo {name} >/proc/sys/kernel/hostname; $*"
"""


def check(good, text):
    if not good:
        raise AssertionError(text)


def skip(why):
    print(f"skipped: {why}")
    sys.exit(SKIPPED)


def needs():
    if not shutil.which("mpirun"):
        skip("mpirun (Open MPI) is not installed")
    if not PROGRAM.exists():
        skip("Open MPI was not there when this was built")
    if not list(PROVIDER.glob("libunderpass-fi.so")):
        skip("the libfabric provider was not built")


@functools.cache
def windows_over_messages():
    components = subprocess.run(["ompi_info", "--parsable"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return "mca:osc:pt2pt:" in components


def over_messages():
    """Parameters, and the groups of checks that can run with them."""
    if not windows_over_messages():
        return OVER_MESSAGES, MESSAGES
    return {**OVER_MESSAGES, "osc": "pt2pt"}, MESSAGES + ONE_SIDED + DYNAMIC


def mpirun(ranks, parameters, groups, prefix=(), options=(), provider=PROVIDER):
    """Exit status and all output of the program with GROUPS of checks on RANKS."""
    argv = [*prefix, "mpirun", "--oversubscribe", "-np", str(ranks), "-x", "FI_PROVIDER_PATH", *options]
    for key, value in parameters.items():
        argv += ["--mca", key, value]
    environment = dict(os.environ, FI_PROVIDER_PATH=str(provider), OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    process = subprocess.Popen([*argv, str(PROGRAM), *groups], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True)
    try:
        output, _ = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)  # mpirun ends its ranks
        output, _ = process.communicate(timeout=30)
        output += f"\nnot ended after {PATIENCE} s"
    return process.returncode, output


def run(ranks, parameters, groups, **kwargs):
    """All checks pass, and every rank says that it took our provider."""
    status, output = mpirun(ranks, parameters, groups, **kwargs)
    print(output)
    check(status == 0, f"mpirun ended with status {status}")
    check(f"all checks passed on {ranks} ranks" in output, "not all checks passed")
    for group in groups:
        check(f"passed: {group}: " in output, f"no check of {group} was run")
    taken = re.findall(r"mtl:ofi:provider: (\S+)", output)
    check(taken == ["underpass"] * ranks, f"messages went over {taken}")
    if parameters.get("osc") == "rdma":
        count = output.count("init of component ofi returned success")
        check(count == ranks, f"btl/ofi was taken by {count} of {ranks} ranks")


def test_messages(ranks):
    run(ranks, *over_messages())


def test_onesided(ranks):
    run(ranks, OVER_BTL, ONE_SIDED + DYNAMIC)


def across(ranks, parameters, groups):
    """Half of the ranks on each of two hosts, which differ in network, host name and process numbers."""
    if not shutil.which("unshare"):
        skip("unshare (util-linux) is not installed")
    if not windows_over_messages():
        skip("Open MPI is later than 4, whose launcher this test knows")
    try:
        with netns.two_hosts() as names, tempfile.TemporaryDirectory(prefix="underpass-mpi-") as folder:
            agent = pathlib.Path(folder) / "agent"
            agent.write_text(AGENT.format(inside=" ".join(netns.inside(names[1])), name=names[1]), encoding="utf-8")
            agent.chmod(0o755)
            prefix = [*netns.inside(names[0]), "unshare", "--uts", "sh", "-c", f'echo {names[0]} >/proc/sys/kernel/hostname; exec "$@"', "sh"]
            each = ranks // 2
            hosts = ",".join(f"{address}:{each}" for address in netns.ADDRESSES)
            options = ["-H", hosts, "-N", str(each), "--mca", "plm_rsh_agent", str(agent), "--mca", "oob_tcp_if_include", netns.DEVICE]
            run(ranks, parameters, groups, prefix=prefix, options=options)
    except netns.Unavailable as error:
        skip(str(error))


def test_network_messages(ranks):
    across(ranks, *over_messages())


def test_network_onesided(ranks):
    across(ranks, OVER_BTL, ONE_SIDED)


def test_refused(ranks):
    """The settings of the other tests leave no way around the provider: without it nothing runs."""
    with tempfile.TemporaryDirectory(prefix="underpass-mpi-") as empty:
        for parameters in (over_messages()[0], OVER_BTL):
            status, output = mpirun(ranks, parameters, ("messages",), provider=empty)
            refused = "PML cm cannot be selected" in output or re.search(r"No components were able to be opened in the pml", output)
            check(status and refused, f"it ran without the provider:\n{output}")
    status, output = mpirun(ranks, {**OVER_BTL, "btl": "self"}, ONE_SIDED)
    check(status and "passed: atomics" not in output, f"windows worked without btl/ofi:\n{output}")


def main():
    name, _, ranks = sys.argv[1].rpartition("_")
    needs()
    globals()[f"test_{name}"](int(ranks))


if __name__ == "__main__":
    main()
