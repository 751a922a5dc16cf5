#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Find a QEMU that has the vfio-user-pci device, or fetch one into the XDG cache; print the command that runs it.

$UNDERPASS_QEMU and the system's QEMU are tried first. Else QEMU and every library it needs are unpacked from Debian's
backports into a folder of their own and run through that folder's own loader, so the host's libraries do not matter.
"""

import argparse
import os
import pathlib
import re
import shlex
import shutil
import subprocess

import pkgroot
from pkgroot import Failure, say

SUITES = ("trixie", "trixie-backports")
RELEASE = "trixie-backports"
PACKAGES = ("qemu-system-x86",)

WRAPPER = """#!/bin/sh
# Runs the QEMU of this folder with the libraries of this folder.
here={root}
QEMU_MODULE_DIR=$here/usr/lib/x86_64-linux-gnu/qemu
export QEMU_MODULE_DIR
exec "$here/{loader}" --library-path "{libs}" "$here/usr/bin/qemu-system-x86_64" \\
	-L "$here/usr/share/qemu" -L "$here/usr/share/seabios" "$@"
"""


def wrapper(root, libs):
    """The text of the script for the folder ROOT, whatever that is called; LIBS gets within its double quotes."""
    return WRAPPER.format(root=shlex.quote(str(root)), loader=pkgroot.LOADER, libs=re.sub(r'([\\"$`])', r"\\\1", libs))


def speaks_vfio_user(command):
    """Whether COMMAND is a QEMU that lists vfio-user-pci."""
    if not shutil.which(command):
        return False
    try:
        done = subprocess.run([command, "-device", "help"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return '"vfio-user-pci"' in done.stdout


def fetch():
    """The private QEMU's command, fetched if the cache lacks it."""
    home = pkgroot.cache_dir("qemu")
    root = home / f"{RELEASE}-{pkgroot.digest(SUITES, PACKAGES, WRAPPER)}"
    command = root / "qemu-system-x86_64"
    if command.exists():
        return str(command)
    with pkgroot.locked("packages"):
        if command.exists():
            return str(command)
        say("qemu: the system has none with vfio-user-pci; fetching one (about 40 MB, kept in the cache)")
        source = pkgroot.PackageRoot(SUITES)
        paths = source.download(source.closure(PACKAGES, RELEASE))
        say("qemu: unpacking")
        with pkgroot.atomic_dir(root) as temp:
            pkgroot.unpack(paths, temp)
            (temp / command.name).write_text(wrapper(root, pkgroot.library_path(root)), encoding="utf-8")
            (temp / command.name).chmod(0o755)
    return str(command)


def find():
    """The command of a QEMU that speaks vfio-user."""
    wanted = os.environ.get("UNDERPASS_QEMU")
    if wanted:
        if speaks_vfio_user(wanted):
            return wanted
        raise Failure(f"UNDERPASS_QEMU={wanted} is not a QEMU with vfio-user-pci (version 10.1 or newer has it); unset it to have one fetched")
    system = "qemu-system-x86_64"
    if speaks_vfio_user(system):
        return shutil.which(system)
    command = fetch()
    if not speaks_vfio_user(command):
        raise Failure(f"{command} does not run or lacks vfio-user-pci; remove {pathlib.Path(command).parent} and run again")
    return command


def build():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.parse_args()
    print(find())
    return 0


if __name__ == "__main__":
    pkgroot.main(build)
