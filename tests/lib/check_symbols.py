#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The library exports the functions that its public headers declare, all of them and nothing else.

Usage: check_symbols.py LIBRARY HEADER...
"""

import re
import subprocess
import sys


def declared(path):
    with open(path, encoding="utf-8") as f:
        text = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
    text = re.sub(r"^#.*$", "", text, flags=re.M)
    # Members of structs and types of functions are no functions.
    text = re.sub(r"typedef[^;]*;", "", text)
    text = re.sub(r"\{[^{}]*\}", "", text.replace('extern "C" {', ""))
    return set(re.findall(r"\b(up_\w+)\(", text))


def exported(library):
    lines = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout
    names = {line.split()[-1].split("@")[0] for line in lines.splitlines()}
    return {n for n in names if not n.startswith("UNDERPASS_")}


def needed(library):
    lines = subprocess.run(["readelf", "-d", library], check=True, capture_output=True, text=True).stdout
    return re.findall(r"\(NEEDED\).*\[(.*)\]", lines)


def main():
    want = set().union(*(declared(h) for h in sys.argv[2:]))
    have = exported(sys.argv[1])
    for name in sorted(want - have):
        print(f"declared, but not exported: {name}")
    for name in sorted(have - want):
        print(f"exported, but not declared: {name}")
    print(f"{len(want & have)} functions")
    # What a program loads with the library: no service's libraries.
    others = [name for name in needed(sys.argv[1]) if not re.match(r"(libc|libm|librt|libdl|libpthread|libfabric|ld-linux.*)\.so", name)]
    for name in others:
        print(f"needs {name}")
    return want != have or bool(others)


sys.exit(main())
