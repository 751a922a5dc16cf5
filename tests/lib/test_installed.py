#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The library as it is installed: the documents' example is built with what pkg-config says, shared and static.

Usage: test_installed.py BUILD PROGRAM.c COMPILER...
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

PATIENCE_S = 120


def run(*command, env=None):
    """What it prints."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False, env={**os.environ, **(env or {})})
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def find(root, name):
    found = sorted(root.rglob(name))
    if not found:
        sys.exit(f"{name} is not installed")
    return found[0]


def move(description, root):
    """Where it lies now is not where it says that it will."""
    text = description.read_text(encoding="utf-8")
    description.write_text(re.sub(r"(?m)^prefix=", f"prefix={root}", text), encoding="utf-8")


def document(needs):
    """What operations.md says to link the static library with, where it was built with all that it can be."""
    text = (pathlib.Path(__file__).resolve().parents[2] / "docs/operations.md").read_text(encoding="utf-8")
    words = set(re.search(r"`-l:libunderpass\.a ([^`]*)`", text)[1].split())
    libraries = {"-pthread", *(run("pkg-config", "--libs-only-l", *needs).split() if needs else words)}
    if words != libraries:
        sys.exit(f"operations.md links the static library with {words}, it takes {libraries}")


def main():
    build, source, *compiler = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        run(os.environ.get("MESON", "meson"), "install", "-C", build, "--no-rebuild", "--destdir", folder)
        description = find(root, "underpass.pc")
        move(description, root)
        paths = [str(description.parent), *filter(None, [os.environ.get("PKG_CONFIG_PATH")])]
        asked = {"PKG_CONFIG_PATH": ":".join(paths)}
        flags = run("pkg-config", "--cflags", "underpass", env=asked).split()
        shared = run("pkg-config", "--libs", "underpass", env=asked).split()
        # What else the archive needs is linked as it is found: libfabric's own --static names all its plug-ins' libraries.
        needs = run("pkg-config", "--print-requires-private", "underpass", env=asked).split()
        archive = find(root, "libunderpass.a")
        static = [str(archive), "-pthread", *(run("pkg-config", "--libs", *needs).split() if needs else [])]
        document(needs)
        for name, libraries in (("shared", shared), ("static", static)):
            program = root / name
            run(*compiler, "-Wall", "-Werror", *flags, source, "-o", program, *libraries)
            said = run(program, env={"LD_LIBRARY_PATH": f"{archive.parent}:{os.environ.get('LD_LIBRARY_PATH', '')}"})
            if said != "message: written, memory: hello\n":
                sys.exit(f"the {name} program said {said!r}")
            linked = "libunderpass.so" in run("readelf", "-d", program)
            if linked != (name == "shared"):
                sys.exit(f"the {name} program is linked in another way")


if __name__ == "__main__":
    main()
