#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What a user meets first: the commands' options and exit codes, the example configuration, manual pages,
documents, the systemd unit, and what an installation leaves. Usage: test_command.py TEST BUILD
"""

import argparse
import contextlib
import fnmatch
import importlib
import io
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(sys.argv[2]).resolve()
UNDERPASSD, UNDERPASS = BUILD / "daemon/underpassd", BUILD / "cli/underpass"
SKIPPED = 77
COMMANDS = ("port list", "port add", "port remove", "port plug", "port unplug", "qemu-args", "status", "stats")


def check(good, text):
    if not good:
        raise AssertionError(text)


def run(*argv, status=0):
    """Standard output of a command that must end with STATUS; in a failure's case its standard error."""
    done = subprocess.run([str(arg) for arg in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    check(done.returncode == status, f"{argv}: status {done.returncode}, not {status}\n{done.stdout}{done.stderr}")
    return done.stdout if status == 0 else done.stderr


def need(tool):
    if not shutil.which(tool):
        print(f"skipped: {tool} is not installed")
        sys.exit(SKIPPED)


@contextlib.contextmanager
def daemon(*options, prefix="underpass-test-", **popen):
    """A daemon in a directory of its own, started with POPEN; yields the directory when it answers."""
    with tempfile.TemporaryDirectory(prefix=prefix) as folder:
        process = subprocess.Popen([UNDERPASSD, *options, "--dir", folder], stdin=subprocess.DEVNULL, **popen)
        try:
            run(UNDERPASS, "--dir", folder, "--wait=60", "status")
            yield folder
        finally:
            process.send_signal(signal.SIGTERM)
            status = process.wait(60)
        check(status == 0, f"underpassd ended with status {status}")


def test_command():
    with daemon("--port", "vm1") as folder:
        base = (UNDERPASS, "--dir", folder)
        for command in (("status",), ("port", "list"), ("stats",), ("qemu-args", "vm1")):
            before = json.loads(run(*base, "--json", *command))
            after = json.loads(run(UNDERPASS, *command, "--json", "--dir", folder))
            check(type(before) is type(after), f"{command}: --json differs before and after the command")
        check(run(*base, "port", "add", "vm2").strip() == f"{folder}/vm2.sock", "port add does not print the socket")
        run(*base, "port", "add", "vm2", status=1)
        run(*base, "port", "remove", "vm2")
        run(*base, "qemu-args", "vm2", status=1)
        check("--watch=5" in run(*base, "stats", "--watch", "5", status=1), "no hint after --watch 5")
        for wrong in ((), ("nothing",), ("port",), ("port", "add"), ("status", "x"), ("stats", "--watch=0"), ("--wait=x", "status")):
            run(*base, *wrong, status=2)
    run(UNDERPASS, "--dir", "/nonexistent", "status", status=3)
    run(UNDERPASSD, "vm1", status=2)
    run(UNDERPASSD, "--workers", "0", status=2)


def test_output():
    """Output that nobody can have is an error, and the reason is told."""
    with daemon("--port", "vm1") as folder, open("/dev/full", "w", encoding="ascii") as full:
        for command in (("status",), ("port", "list", "--json"), ("qemu-args", "vm1"), ("stats", "--watch=0.1")):
            done = subprocess.run([UNDERPASS, "--dir", folder, *command], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
            check(done.returncode == 1, f"{command}: status {done.returncode}, not 1")
            check("No space left on device" in done.stderr, f"{command}: no reason: {done.stderr!r}")


def test_directory():
    """What is wrong with a directory is told, whatever its name; and what is in it stays."""
    with tempfile.TemporaryDirectory(prefix="underpass-test-") as folder:
        long = pathlib.Path(folder, *["x" * 200] * 3)
        long.mkdir(parents=True)
        check("longer than" in run(UNDERPASSD, "--dir", long, "--port", "vm1", status=1), "a long name: no reason")
        name = os.fsencode(folder) + b"/caf\xe9"
        done = subprocess.run([UNDERPASSD, "--dir", name], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=60, check=False)
        check(done.returncode == 1 and b"UTF-8" in done.stderr, f"a name in Latin-1: {done}")
        made = pathlib.Path(folder, "made")
        process = subprocess.Popen([UNDERPASSD, "--dir", made], stdin=subprocess.DEVNULL, umask=0o077)
        run(UNDERPASS, "--dir", made, "--wait=60", "status")
        process.terminate()
        check(process.wait(60) == 0 and made.stat().st_mode & 0o777 == 0o755, f"a directory that was made has mode {made.stat().st_mode:o}")
        file = pathlib.Path(folder, "control.sock")
        file.write_text("mine", encoding="ascii")
        check("no socket" in run(UNDERPASSD, "--dir", folder, status=1), "a file in the control socket's place: no reason")
        check(file.read_text(encoding="ascii") == "mine", "the file was changed")


def test_nohup():
    """A hangup ends the daemon, but not one that was started to outlive its terminal."""
    for words, ends in ((), True), (("nohup",), False):
        with tempfile.TemporaryDirectory(prefix="underpass-test-") as folder:
            process = subprocess.Popen([*words, UNDERPASSD, "--dir", folder], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            try:
                run(UNDERPASS, "--dir", folder, "--wait=60", "status")
                process.send_signal(signal.SIGHUP)
                try:
                    # Nothing may happen for this second, so there is nothing else to wait for.
                    process.wait(60 if ends else 1)
                    check(ends, "it ended on SIGHUP below nohup")
                except subprocess.TimeoutExpired:
                    check(not ends, "it did not end on SIGHUP")
            finally:
                process.terminate()
                status = process.wait(60)
            check(status == 0, f"underpassd ended with status {status}")


def test_closed_descriptors():
    """Started without standard descriptors it has no socket or guest memory in their place, for lines of the log to go to."""
    with tempfile.TemporaryDirectory(prefix="underpass-test-") as folder:
        process = subprocess.Popen(["sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-', UNDERPASSD, "--dir", folder, "--port", "vm1"])
        try:
            run(UNDERPASS, "--dir", folder, "--wait=60", "status")
            for number in range(3):
                target = os.readlink(f"/proc/{process.pid}/fd/{number}")
                check(target == "/dev/null", f"descriptor {number} is {target}")
        finally:
            process.terminate()
            process.wait(60)


def test_ports_come_and_go():
    """What removed ports took, the daemon gives back: descriptors, and memory."""
    with daemon() as folder:
        base = (UNDERPASS, "--dir", folder)
        pid = json.loads(run(*base, "--json", "status"))["pid"]

        def taken():
            status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii")
            return int(re.search(r"^RssAnon:\s+(\d+) kB", status, re.M)[1]), len(os.listdir(f"/proc/{pid}/fd"))

        def come_and_go(count):
            for number in range(count):
                run(*base, "port", "add", f"vm{number}", "--tenant", f"tenant{number % 2}")
            for number in range(count):
                run(*base, "port", "remove", f"vm{number}")

        come_and_go(1)
        kib, descriptors = taken()
        for _ in range(4):
            come_and_go(40)
        # The last command's connection ends a moment after the command.
        deadline = time.monotonic() + 60
        while taken()[0] > kib + 4096 or taken()[1] > descriptors:
            check(time.monotonic() < deadline, f"KiB, descriptors grew from {(kib, descriptors)} to {taken()}")
            time.sleep(0.05)


def test_held_log():
    """A daemon whose log nobody reads, such as in front of a pager, serves all the same."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(4096))
    os.set_blocking(writer, True)
    with daemon("--port", "vm1", stderr=writer) as folder:
        run(UNDERPASS, "--dir", folder, "port", "add", "vm2")
    os.close(writer)
    os.close(reader)


def test_qemu_args():
    """A shell reads the arguments back as they are in JSON, and a port in use is told of."""
    with daemon("--port", "vm1", prefix="it's a $HOME ") as folder:
        base = (UNDERPASS, "--dir", folder, "qemu-args", "vm1")
        check(shlex.split(run(*base)) == json.loads(run(*base, "--json")), "quoting")
        with socket.socket(socket.AF_UNIX) as vm:
            vm.connect(f"{folder}/vm1.sock")
            deadline = time.monotonic() + 60
            while '"connected": true' not in run(UNDERPASS, "--dir", folder, "--json", "port", "list"):
                check(time.monotonic() < deadline, "the connection was not taken")
            done = subprocess.run([*base], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=True)
            check("is attached to port 'vm1'" in done.stderr, f"no note: {done.stderr}")


def test_completion():
    """What bash offers behind some words; `=` is a word of its own to it."""
    need("bash")
    script = f"""
        source {shlex.quote(str(ROOT / "packaging/underpass.bash"))}
        underpass() {{ {shlex.quote(str(UNDERPASS))} "$@"; }}
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _underpass
        echo "${{COMPREPLY[*]}}" """
    with daemon("--port", "vm1", "--port", "vm2") as folder:
        for words, expected in (
            ("|", "port qemu-args status stats"),
            ("port|", "list add remove plug unplug"),
            ("--json|port|re", "remove"),
            ("--dir|{folder}|port|remove|", "vm1 vm2"),
            ("--dir|{folder}|port|unplug|", "vm1 vm2"),
            ("--dir|=|{folder}|stats|vm2", "vm2"),
            ("qemu-args|--memory|4G|-d|{folder}|", "vm1 vm2"),
            ("port|add|", ""),
            ("port|add|x|--d", "--dir= --doorbells="),
            ("port|add|x|--doorbells|=|s", "shared"),
            ("port|add|x|--doorbells|=", "shared trap"),
            ("stats|--w", "--wait --watch"),
            ("status|", ""),
        ):
            argv = words.format(folder=folder).split("|")
            found = run("bash", "-c", script, "bash", "underpass", *(argv if words != "|" else [""])).strip()
            check(found == expected, f"{words}: {found!r}, not {expected!r}")


def test_statistics():
    """Every row of a table has a cell below each title."""
    with daemon("--port", "vm1", "--port", "vm2", "--workers", "2") as folder:
        for command in (("stats",), ("port", "list")):
            lines = run(UNDERPASS, "--dir", folder, *command).split("\n\n")[0].splitlines()
            rows = [re.split(r"\s{2,}", line.strip()) for line in lines]
            check([row[0] for row in rows] == ["PORT", "vm1", "vm2"], f"{command}: {rows}")
            check(len({len(row) for row in rows}) == 1, f"{command}: {rows}")
        stats = json.loads(run(UNDERPASS, "--dir", folder, "--json", "stats"))
        check(len(stats["workers"]) == 2, f"{stats['workers']}")
        page = (ROOT / "man/underpass.1").read_text(encoding="utf-8")
        other = {"name", "tenant", "lid", "gid", "state", "connected", "qps"}
        described = set(re.findall(r"^\.It (\w+) Ta ", page, re.M))
        check(described == set(stats["ports"][0]) - other, f"counters in underpass.1: {described}, of a port: {set(stats['ports'][0]) - other}")


def test_example():
    """Each setting of the example file, when it is no comment any more, is taken."""
    text = (ROOT / "packaging/underpassd.conf").read_text(encoding="utf-8")
    bare, count = re.subn(r"^# (?=\w+ = | |[})];)", "", text, flags=re.M)
    check(count > 10, "the example's settings were not found")
    with tempfile.NamedTemporaryFile("w", suffix=".conf", encoding="utf-8") as file:
        file.write(bare)
        file.flush()
        with daemon("--config", file.name) as folder:
            status = json.loads(run(UNDERPASS, "--dir", folder, "--json", "status"))
            check(status["ports"] == 2, f"{status}")
    with daemon() as folder:
        plain = json.loads(run(UNDERPASS, "--dir", folder, "--json", "status"))
    for same in ("workers", "polling", "quantum_bytes", "max_ports"):
        check(status[same] == plain[same], f"{same}: the example has {status[same]}, the default is {plain[same]}")


def help_options(*command):
    text = run(*command, "--help")
    return set(re.findall(r"^ +(?:-\w, +|)--([a-z-]+)", text, re.M)) - {"help", "usage", "version"}


def page_options(text):
    return set(re.findall(r"Fl Fl ([a-z-]+)", text)) - {"version"}


def test_manual():
    """The pages name the options that --help names, and no others."""
    page = (ROOT / "man/underpassd.8.in").read_text(encoding="utf-8")
    check(page_options(page) == help_options(UNDERPASSD), f"{page_options(page) ^ help_options(UNDERPASSD)}")
    page = (ROOT / "man/underpass.1").read_text(encoding="utf-8")
    options = set().union(help_options(UNDERPASS), *(help_options(UNDERPASS, *command.split()) for command in COMMANDS))
    check(page_options(page) == options, f"{page_options(page) ^ options}")
    settings = (ROOT / "daemon/config.c").read_text(encoding="utf-8")
    page = (ROOT / "man/underpassd.conf.5.in").read_text(encoding="utf-8")
    missing = [name for name in re.findall(r'^\t\t\{"(\w+)", read_', settings, re.M) if not re.search(rf"^\.It Cm .*\b{name}\b", page, re.M)]
    check(not missing, f"not in underpassd.conf.5: {missing}")


def test_mandoc():
    need("mandoc")
    pages = [ROOT / "man/underpass.1", *BUILD.glob("man/*.[58]")]
    check(len(pages) == 3, f"{pages}")
    for page in pages:
        run("mandoc", "-Tlint", "-Wwarning", page)
        check(not re.search(r"@\w+@", page.read_text(encoding="utf-8")), f"{page}: a path was not filled in")


def test_service():
    need("systemd-analyze")
    with tempfile.TemporaryDirectory() as folder:
        text = (BUILD / "packaging/underpassd.service").read_text(encoding="utf-8")
        path = pathlib.Path(folder, "underpassd.service")
        path.write_text(re.sub(r"^ExecStart=\S+", f"ExecStart={UNDERPASSD}", text, flags=re.M), encoding="utf-8")
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        about_it = [line for line in done.stdout.splitlines() if "underpassd" in line]
        check(not about_it, "\n".join(about_it))


def test_documents():
    """Links lead somewhere, and every document is linked to."""
    documents = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
    linked = set()
    for document in documents:
        text = document.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            path = (document.parent / target).resolve()
            check(path.exists(), f"{document.name}: no {target}")
            linked.add(path)
    lost = [document.name for document in documents if document not in linked and document.name != "README.md"]
    check(not lost, f"no document links to {lost}")


def test_demo():
    """The demo's table is for people: a large ratio has no exponent."""
    sys.path.insert(0, str(ROOT / "tools"))
    module = importlib.import_module("demo")
    demo = module.Demo(argparse.Namespace(only="write_bw"))
    for row in demo.rows:
        row.values.update(ours=[26500.0], rxe=[19.5])
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        demo.print_table()
    check(" 1360× " in text.getvalue(), text.getvalue())


def test_qemu_wrapper():
    """The script that runs a fetched QEMU finds it in a folder of any name."""
    sys.path.insert(0, str(ROOT / "tools"))
    module = importlib.import_module("fetch_qemu")
    with tempfile.TemporaryDirectory(prefix="it's a $HOME ") as folder:
        loader = pathlib.Path(folder, module.pkgroot.LOADER)
        loader.parent.mkdir(parents=True)
        loader.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', encoding="ascii")
        loader.chmod(0o755)
        wrapper = pathlib.Path(folder, "qemu")
        wrapper.write_text(module.wrapper(folder, f"{folder}/lib:{folder}/usr/lib"), encoding="utf-8")
        told = run("sh", wrapper, "-device", "a b").splitlines()
        check(told[:3] == ["--library-path", f"{folder}/lib:{folder}/usr/lib", f"{folder}/usr/bin/qemu-system-x86_64"], f"{told}")
        check(told[-2:] == ["-device", "a b"], f"{told}")


def packaged(names):
    """Each file that is installed belongs to one Debian package."""
    lists = {path.stem: path.read_text(encoding="ascii").split() for path in ROOT.glob("packaging/debian/*.install")}
    patterns = [(name, pattern.replace("usr/lib/*/", "usr/lib*/")) for name in lists for pattern in lists[name]]
    prefix, etc = names["underpassd"].parents[1], names["underpassd.conf"].parents[1]
    for path in names.values():
        inside = f"etc/{path.relative_to(etc)}" if etc in path.parents else f"usr/{path.relative_to(prefix)}"
        owners = [name for name, pattern in patterns if fnmatch.fnmatch(inside, pattern) or fnmatch.fnmatch(inside, pattern + "/*")]
        check(len(owners) == 1, f"{inside}: in the packages {owners}")


def test_install():
    """Everything has its place; an edited configuration survives the next installation."""
    with tempfile.TemporaryDirectory() as folder:
        meson = os.environ.get("MESON", "meson")
        for _ in range(2):
            run(meson, "install", "-C", BUILD, "--no-rebuild", "--destdir", folder)
            names = {path.name: path for path in pathlib.Path(folder).rglob("*") if path.is_file()}
            for name in ("underpassd", "underpass", "underpassd.conf", "underpassd.service", "underpass.1", "underpassd.8", "underpassd.conf.5"):
                check(name in names, f"{name} is not installed")
            conf = names["underpassd.conf"]
            conf.write_text(conf.read_text(encoding="utf-8") + "# mine\n", encoding="utf-8")
        check(conf.read_text(encoding="utf-8").count("# mine") == 2, "the configuration was overwritten")
        packaged(names)
        named = re.search(r"--config (\S+)", names["underpassd.service"].read_text(encoding="utf-8"))[1]
        check(str(conf) == folder + named, f"the unit reads {named}, installed is {conf}")


if __name__ == "__main__":
    try:
        globals()[f"test_{sys.argv[1]}"]()
    except AssertionError as error:
        sys.exit(f"{sys.argv[1]}: {error}")
