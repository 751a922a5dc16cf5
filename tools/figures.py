#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Put the results of `make demo` and `make bench` into docs/figures.md, between the lines that mark their places."""

import argparse
import json
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCES = {"demo": "demo.json", "bench": "bench/vrdma.json", "rma": "bench/rma.json"}
COMMANDS = {"demo": "demo", "bench": "bench", "rma": "bench"}


def number(value):
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def amount(row, value):
    return number(value) + (f" {row['unit']}" if value is not None else "")


def size(count):
    for shift, unit in ((30, "Gi"), (20, "Mi"), (10, "Ki")):
        if count and count % (1 << shift) == 0:
            return f"{count >> shift} {unit}"
    return f"{count:,}"


def reach(row):
    if not row.get("reach"):
        return ""
    return row["reach"] + {True: ": met", False: ": **not met**", None: ": not measured"}[row["met"]]


def demo_table(result):
    yield "| what | size | Underpass | SoftRoCE | TCP | reach |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for row in result["rows"]:
        peers = [amount(row, row["peers"].get(side)) for side in ("rxe", "tcp")]
        yield f"| {row['what']} | {size(row['size'])} | {amount(row, row['ours'])} | {' | '.join(peers)} | {reach(row)} |"
    bypass = result.get("bypass")
    if bypass:
        first, second = bypass["messages"]
        yield ""
        yield f"The bypass, for {first:,} and {second:,} messages: " + ", ".join(
            f"{key.replace('_', ' ')} {bypass[key][0]:,} and {bypass[key][1]:,}" for key in ("syscalls", "interrupts", "socket_messages")) + "."


def bench_table(result):
    yield "| what | size | Underpass | beside it | ratio | reach |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for row in result["rows"]:
        beside = f"{row['limit_is']} {amount(row, row['limit'])}" if row.get("limit") is not None else "–"
        yield f"| {row['what']} | {size(row['size'])} | {amount(row, row['ours'])} | {beside} | {number(row.get('ratio'))} | {reach(row)} |"


def rma_table(result):
    yield "| what | size | libunderpass | through its provider | beside it | limit | ratio to the best | reach |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for row in result["rows"]:
        peers = "<br>".join(f"{name} {number(value)}" for name, value in row["peers"].items()) or "–"
        limit = f"{row['limit_is']} {number(row['limit'])}" if row["limit"] is not None else "–"
        yield (f"| {row['what']} | {size(row['size'])} | {amount(row, row['ours'])} | {number(row['provider'])} | {peers} | {limit} "
               f"| {number(row['ratio'])} | {reach(row)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build", help="build folder with the results; one that is missing changes nothing")
    parser.add_argument("--document", type=pathlib.Path, default=ROOT / "docs" / "figures.md")
    args = parser.parse_args()
    text = args.document.read_text(encoding="utf-8")
    for name, table in (("demo", demo_table), ("bench", bench_table), ("rma", rma_table)):
        path = args.build / SOURCES[name]
        if not path.exists():
            print(f"{path} is not there: run `make {COMMANDS[name]}`")
            continue
        lines = "\n".join(table(json.loads(path.read_text(encoding="utf-8"))))
        text, count = re.subn(rf"(<!-- {name} -->\n).*?(\n<!-- end -->)", lambda m, lines=lines: m[1] + lines + m[2], text, flags=re.S)
        print(f"{name}: {'written' if count else 'no place in the document'}")
    args.document.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
