#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Keep VMs up beside an underpassd, and run shell commands in them from other terminals.

    shell.py up vm1 vm2 --sockets DIR     boot a VM for each port of the daemon that runs with --dir DIR; ^C or SIGTERM ends it
    shell.py run vm1 'ibv_devinfo'        run a command in one; its output and its exit status come back
    shell.py reset vm1 | kill vm1 | restart vm1 | dmesg vm1
"""

import argparse
import contextlib
import json
import os
import queue
import signal
import socket
import sys
import threading

import vmlib
from vmlib import Lab, Sockets, VmError, pkgroot


def serve(args):
    with Lab(image=args.image) as lab:
        where = Sockets(args.sockets) if args.sockets else None
        vms = dict(zip(args.names, lab.vms(args.names, where, rdma=False, memory=args.memory, cpus=args.cpus), strict=True))
        for vm in vms.values():
            if where and not args.no_rdma:
                with contextlib.suppress(VmError):
                    vm.load_rdma(60)
            code, text = vm.status("ibv_devinfo | grep -E 'hca_id|state|lid'")
            print(f"{vm.name}: {vm.release}, {vm.address}, console {vm.console}, status {code}\n{text}", flush=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(args.control)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(args.control)
        listener.listen(16)
        # A QEMU dies with the thread that started it, so it is this one that starts them.
        work = queue.SimpleQueue()
        threading.Thread(target=listen, args=(listener, vms, work), daemon=True).start()
        print("ready", flush=True)
        while True:
            vm, done = work.get()
            with contextlib.suppress(VmError):
                vm.restart()
            done.set()


def listen(listener, vms, work):
    while True:
        conn = listener.accept()[0]
        threading.Thread(target=answer, args=(conn, vms, work), daemon=True).start()


def answer(conn, vms, work):
    """One request: a JSON line in, lines of output back, then a JSON line with the exit status."""
    with conn, conn.makefile("rw", encoding="utf-8") as file:
        request = json.loads(file.readline())
        try:
            code, text = act(vms[request["vm"]], request, work)
        except KeyError:
            code, text = 1, f"no VM {request['vm']}; there are {', '.join(vms)}"
        except VmError as error:
            code, text = 1, str(error)
        file.write(json.dumps({"text": text, "status": code}) + "\n")


def act(vm, request, work):
    verb = request["verb"]
    if verb == "run":
        return vm.status(request["command"], request["seconds"])
    if verb == "dmesg":
        return vm.status("dmesg | tail -n 100")
    if verb == "console":
        return 0, vmlib.tail(vm.console, 100)
    if verb == "restart":
        done = threading.Event()
        work.put((vm, done))
        done.wait()
        vm.status("true", 5)
    else:
        getattr(vm, verb)()
    return 0, f"{vm.name}: {verb} done"


def ask(args):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(args.control)
        request = {"verb": args.verb, "vm": args.vm, "command": " ".join(getattr(args, "command", [])), "seconds": args.seconds}
        with sock.makefile("rw", encoding="utf-8") as file:
            file.write(json.dumps(request) + "\n")
            file.flush()
            reply = json.loads(file.readline())
    print(reply["text"])
    return reply["status"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--control", default=f"/tmp/upvm-shell-{os.getuid()}.sock", help="socket between `up` and the other verbs")
    verbs = parser.add_subparsers(dest="verb", required=True)
    up = verbs.add_parser("up")
    up.add_argument("names", nargs="+", metavar="PORT")
    up.add_argument("--sockets", metavar="DIR", help="folder with PORT.sock of a running underpassd")
    up.add_argument("--image", default="stable")
    up.add_argument("--memory", default="512M")
    up.add_argument("--cpus", type=int, default=1)
    up.add_argument("--no-rdma", action="store_true", help="leave the drivers unloaded")
    for verb in ("run", "reset", "reboot", "kill", "restart", "load_rdma", "dmesg", "console"):
        one = verbs.add_parser(verb)
        one.add_argument("vm")
        one.add_argument("--seconds", type=float, default=120)
        if verb == "run":
            one.add_argument("command", nargs="+")
    args = parser.parse_args()
    if args.verb != "up":
        sys.exit(ask(args))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    pkgroot.main(lambda: serve(args))


if __name__ == "__main__":
    main()
