# SPDX-License-Identifier: BSD-2-Clause
"""Boots test VMs with a ConnectX of underpassd, and runs commands in them.

    with Lab() as lab:
        daemon = lab.daemon(["vm1", "vm2"])
        one, two = lab.vms(["vm1", "vm2"], daemon)
        one.load_rdma()
        print(one.run("ibv_devinfo"))

Everything waits for events (the agent's hello, a line of output, a command's end, a process' end, a readiness message), with
a deadline that is a failure and never a pause. Processes are ended by their own id, and die with this one.
"""

import base64
import contextlib
import ctypes
import json
import os
import pathlib
import platform
import re
import selectors
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import fetch_qemu  # noqa: E402
import guest_image  # noqa: E402
import pkgroot  # noqa: E402

BOOT_SECONDS = 120
COMMAND_SECONDS = 120
KVM_TRIAL_SECONDS = 15
PORT = 18515  # where pingpongs and perftest listen unless told otherwise
RDMA_MODULES = "mlx5_core mlx5_ib ib_uverbs ib_umad rdma_ucm"


class VmError(Exception):
    """A VM, a command in it or the daemon did not do what was asked; the text has what it printed last."""


def die_with_parent():
    """In a child, before exec: be killed when the thread that started it ends (prctl PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def start(argv, **kwargs):
    return subprocess.Popen([str(arg) for arg in argv], stdin=subprocess.DEVNULL, preexec_fn=die_with_parent, **kwargs)


def tail(path, lines=30):
    try:
        return "\n".join(pathlib.Path(path).read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    except OSError as error:
        return f"({error})"


def accelerator():
    """'kvm' where a stock kernel boots under it, else 'tcg': tried once for each boot of this machine."""
    if os.environ.get("UNDERPASS_ACCEL"):
        return os.environ["UNDERPASS_ACCEL"]
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    note = pkgroot.cache_dir() / "accelerator.json"
    with pkgroot.locked("accelerator"):
        with contextlib.suppress(OSError, ValueError):
            known = json.loads(note.read_text(encoding="utf-8"))
            if known["boot"] == boot:
                return known["accelerator"]
        pkgroot.say("kvm: trying whether a stock kernel boots")
        choice = "kvm" if kvm_boots() else "tcg"
        pkgroot.say(f"kvm: {'works' if choice == 'kvm' else 'does not boot it; using emulation (TCG)'}")
        note.write_text(json.dumps({"boot": boot, "accelerator": choice}), encoding="utf-8")
    return choice


def kvm_boots():
    with Lab(quiet=True) as lab:
        try:
            lab.vm("trial", accel="kvm", wait=False).wait_ready(KVM_TRIAL_SECONDS)
        except VmError:
            return False
    return True


class Job:
    """A command that runs in a guest. All waiting is for its output or its end."""

    def __init__(self, agent, number, command):
        self.agent, self.number, self.command = agent, number, command
        self.lines, self.piece, self.status = [], "", None

    @property
    def output(self):
        with self.agent.changed:
            return "\n".join(self.lines)

    def _wait(self, done, seconds, what):
        with self.agent.changed:
            if not self.agent.changed.wait_for(done, seconds):
                text = "\n".join(self.lines[-30:])
                raise VmError(f"{self.agent.name}: no {what} within {seconds} s from: {self.command}\n{text}")

    def wait(self, seconds=COMMAND_SECONDS):
        """Wait for the end; returns the exit status (128 + n for signal n)."""
        self._wait(lambda: self.status is not None, seconds, "end")
        return self.status

    def check(self, seconds=COMMAND_SECONDS):
        """Wait for the end, which must be exit status 0; returns the output."""
        if self.wait(seconds) != 0:
            raise VmError(f"{self.agent.name}: status {self.status} from: {self.command}\n{self.output}")
        return self.output

    def wait_for(self, pattern, seconds=COMMAND_SECONDS):
        """Wait for an output line that matches PATTERN; returns the match. (Use `stdbuf -oL` where a program buffers.)"""
        found = []

        def look():
            found[:] = [match for match in (re.search(pattern, line) for line in self.lines) if match]
            return found or self.status is not None

        self._wait(look, seconds, f"line like {pattern!r}")
        if not found:
            raise VmError(f"{self.agent.name}: ended with {self.status} before a line like {pattern!r}: {self.command}\n{self.output}")
        return found[0]

    def kill(self, name="KILL"):
        """Signal the command and its children."""
        if self.status is None:
            self.agent.send(f"kill {self.number} {name}")


class Agent:
    """The host's end of a guest's agent port (tools/guest/agent has the protocol)."""

    def __init__(self, name, path):
        self.name, self.path = name, path
        self.changed = threading.Condition()
        self.hellos, self.release, self.closed = 0, None, False
        self.jobs, self.last = {}, 0
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def connect(self):
        self.sock.connect(str(self.path))
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        with contextlib.suppress(OSError), self.sock.makefile("r", encoding="utf-8", errors="replace", newline="\n") as lines:
            for line in lines:
                with self.changed:
                    self._take(line.rstrip("\n"))
                    self.changed.notify_all()
        with self.changed:
            self.closed = True
            self._end_jobs()
            self.changed.notify_all()

    def _take(self, line):
        verb, _, rest = line.partition(" ")
        if verb == "hello":
            self._end_jobs()
            self.release = rest
            self.hellos += 1
            return
        number, _, text = rest.partition(" ")
        job = self.jobs.get(number)
        if job is None:
            return
        if verb == "p":
            job.piece += text
        elif verb == "o":
            job.lines.append(job.piece + text)
            job.piece = ""
        elif verb == "x":
            job.status = int(text)
            del self.jobs[number]

    def _end_jobs(self):
        """A guest that was reset or is gone has ended all of its commands, as if killed."""
        for job in self.jobs.values():
            job.status = 128 + signal.SIGKILL
        self.jobs.clear()

    def send(self, line):
        with self.changed:
            if self.closed:
                raise VmError(f"{self.name}: the VM is gone")
            self.sock.sendall(line.encode() + b"\n")

    def spawn(self, command):
        with self.changed:
            self.last += 1
            job = Job(self, str(self.last), command)
            self.jobs[job.number] = job
        self.send(f"run {job.number} {base64.b64encode(command.encode()).decode()}")
        return job

    def close(self):
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


class Qmp:
    """QEMU's machine protocol, as far as resets and stops need it."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(30)
        self.sock.connect(str(path))
        self.file = self.sock.makefile("r", encoding="utf-8")
        self.file.readline()
        self.command("qmp_capabilities")

    def command(self, name, **arguments):
        self.sock.sendall(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
        while True:
            line = self.file.readline()
            if not line:
                raise VmError(f"QEMU closed its monitor during {name}")
            reply = json.loads(line)
            if "return" in reply:
                return reply["return"]
            if "error" in reply:
                raise VmError(f"QEMU refused {name}: {reply['error']['desc']}")

    def close(self):
        self.file.close()
        self.sock.close()


class Switch:
    """A learning Ethernet switch between the VMs' virtio-net devices (QEMU's stream netdev: length, frame)."""

    def __init__(self, path):
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(path))
        self.listener.listen(64)
        self.select = selectors.DefaultSelector()
        self.select.register(self.listener, selectors.EVENT_READ)
        self.pending, self.owner = {}, {}
        threading.Thread(target=self._work, daemon=True).start()

    def netdev(self):
        return f"stream,id=net0,server=off,addr.type=unix,addr.path={self.path},reconnect-ms=200"

    def _work(self):
        with contextlib.suppress(OSError, ValueError):
            while True:
                for key, _ in self.select.select():
                    if key.fileobj is self.listener:
                        conn = self.listener.accept()[0]
                        conn.settimeout(10)
                        self.pending[conn] = b""
                        self.select.register(conn, selectors.EVENT_READ)
                    else:
                        self._receive(key.fileobj)

    def _receive(self, conn):
        try:
            data = conn.recv(1 << 18)
        except OSError:
            data = b""
        if not data:
            self._drop(conn)
            return
        data = self.pending.get(conn, b"") + data
        while len(data) >= 4 and len(data) >= 4 + int.from_bytes(data[:4], "big"):
            end = 4 + int.from_bytes(data[:4], "big")
            self._forward(conn, data[:end])
            data = data[end:]
        self.pending[conn] = data

    def _forward(self, conn, frame):
        to, source = frame[4:10], frame[10:16]
        self.owner[source] = conn
        known = self.owner.get(to)
        for other in [known] if known else [one for one in self.pending if one is not conn]:
            try:
                other.sendall(frame)
            except OSError:
                self._drop(other)

    def _drop(self, conn):
        if conn in self.pending:
            self.select.unregister(conn)
            del self.pending[conn]
        for mac in [mac for mac, owner in self.owner.items() if owner is conn]:
            del self.owner[mac]
        conn.close()

    def close(self):
        self.listener.close()
        for conn in list(self.pending):
            conn.close()


class Cable:
    """A link of exactly two VMs without anything between them, for measurements."""

    def __init__(self, path):
        self.path, self.ends = path, 0

    def netdev(self):
        self.ends += 1
        side = "server=on" if self.ends == 1 else "server=off,reconnect-ms=200"
        return f"stream,id=net0,{side},addr.type=unix,addr.path={self.path}"

    def close(self):
        pass


def device_args(sock, memory="512M"):
    """QEMU's arguments for a device on the vfio-user socket SOCK, as `underpass qemu-args` prints them."""
    device = {"driver": "vfio-user-pci", "addr": "0x10.0", "rombar": 0, "socket": {"path": str(sock), "type": "unix"}, "x-msg-timeout": 120000}
    return [*memory_args(memory), "-device", json.dumps(device)]


def memory_args(memory):
    return ["-m", memory, "-object", f"memory-backend-memfd,id=mem0,size={memory},share=on", "-machine", "memory-backend=mem0"]


class Vm:
    """One QEMU. Made and started by Lab.vm()."""

    def __init__(self, lab, name, number, image, device, link, accel, memory, cpus, mtu, iommu):
        self.name, self.number, self.dir = name, number, lab.dir
        self.address = f"10.7.0.{number}"
        self.console = self.dir / f"{name}.console"
        self.accel = accel or accelerator()
        self.qmp = None
        folder = guest_image.get(image)
        words = f"console=ttyS0 quiet panic=-1 no_timer_check up.name={name} up.addr={self.address}/24 up.mtu={mtu}"
        # Before the devices that it translates for; caching-mode tells QEMU of each page that the guest maps.
        translate = ["-device", "intel-iommu,intremap=off,caching-mode=on"] if iommu else []
        self.argv = [fetch_qemu.find(), "-name", name, "-nodefaults", "-no-user-config", "-display", "none", "-no-shutdown"]
        self.argv += ["-machine", "q35", "-smp", cpus, *self._accel_args(), *translate, *(device or memory_args(memory))]
        self.argv += ["-kernel", folder / "vmlinuz", "-initrd", folder / "initrd", "-append", words + (" intel_iommu=on" if iommu else "")]
        self.argv += ["-serial", f"file:{self.console}", "-qmp", f"unix:{self.dir}/{name}.qmp,server=on,wait=off"]
        self.argv += ["-device", "virtio-serial-pci", "-chardev", f"socket,id=agent,path={self.dir}/{name}.agent,server=on,wait=off"]
        self.argv += ["-device", "virtserialport,chardev=agent,name=underpass.agent"]
        if link:
            self.argv += ["-netdev", link.netdev(), "-device", f"virtio-net-pci,netdev=net0,romfile=,mac=52:54:00:07:00:{number:02x}"]
        self.process = self.agent = None

    def _accel_args(self):
        if self.accel == "kvm":
            return ["-accel", "kvm", "-cpu", "host"]
        return ["-accel", "tcg,thread=multi", "-cpu", "max"]

    def start(self):
        """Start QEMU; returns at once. wait_ready() waits for the guest."""
        for end in ("qmp", "agent"):
            (self.dir / f"{self.name}.{end}").unlink(missing_ok=True)
        with open(self.dir / f"{self.name}.qemu", "wb") as log:
            self.process = start(self.argv, stdout=log, stderr=log)
        self.agent = Agent(self.name, self.dir / f"{self.name}.agent")
        return self

    def _fail(self, what):
        text = tail(self.dir / f"{self.name}.qemu") + "\n" + tail(self.console)
        return VmError(f"{self.name}: {what}\n{text}")

    def wait_ready(self, seconds=BOOT_SECONDS):
        """Wait until the guest's agent has answered once (more)."""
        deadline = time.monotonic() + seconds
        if self.qmp is None:
            self._connect(deadline)
        self._wait_hello(1, deadline)
        return self

    def _connect(self, deadline):
        # QEMU makes both sockets when it has read its arguments; nothing announces that, so it is looked for.
        while not ((self.dir / f"{self.name}.agent").exists() and (self.dir / f"{self.name}.qmp").exists()):
            if self.process.poll() is not None:
                raise self._fail(f"QEMU ended with status {self.process.returncode}")
            if time.monotonic() > deadline:
                raise self._fail("QEMU does not start")
            time.sleep(0.02)
        self.agent.connect()
        self.qmp = Qmp(self.dir / f"{self.name}.qmp")

    def _wait_hello(self, count, deadline):
        while True:
            with self.agent.changed:
                self.agent.changed.wait_for(lambda: self.agent.hellos >= count or self.agent.closed, 1)
                if self.agent.hellos >= count:
                    return
            if self.process.poll() is not None:
                raise self._fail(f"QEMU ended with status {self.process.returncode}")
            if "Kernel panic" in tail(self.console, 60):
                raise self._fail("the guest's kernel panicked")
            if time.monotonic() > deadline:
                raise self._fail("the guest did not come up in time: see below, or this host has too much else to do")

    @property
    def release(self):
        """The guest's kernel release."""
        return self.agent.release

    def spawn(self, command):
        """Start a shell command in the guest; returns its Job."""
        return self.agent.spawn(command)

    def run(self, command, seconds=COMMAND_SECONDS):
        """Run a shell command that must succeed; returns its output (stdout and stderr)."""
        return self.spawn(command).check(seconds)

    def status(self, command, seconds=COMMAND_SECONDS):
        """Run a shell command; returns (exit status, output)."""
        job = self.spawn(command)
        return job.wait(seconds), job.output

    def load_rdma(self, seconds=BOOT_SECONDS, device="mlx5_0"):
        """Load the stock drivers and wait until DEVICE's port is active; at once an error where the driver refuses it."""
        script = f"""
            for m in {RDMA_MODULES}; do modprobe $m || exit 1; done
            until grep -qs ACTIVE /sys/class/infiniband/{device}/ports/1/state; do
                ls /sys/bus/pci/drivers/mlx5_core | grep -q : || {{ echo 'mlx5_core did not accept the device'; exit 1; }}
                usleep 20000
            done"""
        try:
            self.spawn(script).check(seconds)
        except VmError as error:
            raise VmError(f"{error}\n{self.dmesg()}") from None
        return self

    def dmesg(self):
        return self.spawn("dmesg | grep -E 'mlx5|infiniband|uverbs|ib_|BUG:|Oops|WARNING:' | tail -n 40").check(30)

    def wait_listen(self, port, seconds=60):
        """Wait until a program in the guest listens on TCP PORT."""
        self.run(f"until grep -qE ':{port:04X} 0+:0000 0A' /proc/net/tcp /proc/net/tcp6; do usleep 10000; done", seconds)

    def reset(self, seconds=BOOT_SECONDS):
        """Reset the machine as its button would, and wait for the guest."""
        count = self.agent.hellos
        self.qmp.command("system_reset")
        self._wait_hello(count + 1, time.monotonic() + seconds)

    def reboot(self, seconds=BOOT_SECONDS):
        """Let the guest's kernel reboot in order, and wait for it."""
        count = self.agent.hellos
        self.spawn("reboot -f")
        self._wait_hello(count + 1, time.monotonic() + seconds)

    def kill(self):
        """kill -9 QEMU, and wait until it is gone."""
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.wait()

    def close(self):
        self.kill()
        if self.agent:
            self.agent.close()
        if self.qmp:
            self.qmp.close()
            self.qmp = None

    def restart(self):
        """Start a QEMU again after kill(), as a new VM on the same port."""
        self.close()
        return self.start().wait_ready()


class Daemon:
    """An underpassd from the build folder. Made by Lab.daemon()."""

    def __init__(self, lab, build, ports, options=(), config=None):
        self.build, self.dir, self.ports = pathlib.Path(build), lab.dir / "daemon", list(ports)
        self.dir.mkdir(exist_ok=True)
        self.log = lab.dir / "underpassd.log"
        self.argv = [self.build / "daemon/underpassd", "--dir", self.dir, *options]
        if config:
            (lab.dir / "underpassd.conf").write_text(config, encoding="utf-8")
            self.argv += ["--config", lab.dir / "underpassd.conf"]
        for port in self.ports:
            self.argv += ["--port", port]
        self.process = None
        self.notify = lab.dir / "notify.sock"

    def start(self, seconds=30):
        """Start, and wait for the readiness message that systemd would get."""
        self.notify.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready, open(self.log, "ab") as log:
            ready.bind(str(self.notify))
            ready.settimeout(1)
            self.process = start(self.argv, stdout=log, stderr=log, env=dict(os.environ, NOTIFY_SOCKET=str(self.notify)))
            deadline = time.monotonic() + seconds
            while True:
                with contextlib.suppress(TimeoutError):
                    if b"READY=1" in ready.recv(4096):
                        return self
                if not self.alive():
                    raise VmError(f"underpassd ended with status {self.process.returncode}\n{tail(self.log)}")
                if time.monotonic() > deadline:
                    raise VmError(f"underpassd is not ready after {seconds} s\n{tail(self.log)}")

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def cli(self, *args, seconds=30):
        """Run `underpass ARGS` on this daemon; returns its output."""
        argv = [str(arg) for arg in (self.build / "cli/underpass", "--dir", self.dir, *args)]
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds, check=False)
        if done.returncode:
            raise VmError(f"{' '.join(argv)}: status {done.returncode}\n{done.stdout}")
        return done.stdout

    def qemu_args(self, port, memory):
        return shlex.split(self.cli("qemu-args", port, "--memory", memory))

    def stats(self, port=None):
        """The daemon's statistics; with PORT, that port's alone."""
        stats = json.loads(self.cli("stats", "--json"))
        if port is None:
            return stats
        return next(row for row in stats["ports"] if row["name"] == port)

    def stop(self, seconds=30):
        """SIGTERM; returns the exit status."""
        if self.alive():
            self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise VmError(f"underpassd ignored SIGTERM for {seconds} s\n{tail(self.log)}") from None

    def close(self):
        if self.alive():
            self.process.kill()
            self.process.wait()


class Sockets:
    """Stands for a daemon that somebody else runs: only its sockets' folder is known."""

    def __init__(self, folder):
        self.dir = pathlib.Path(folder)

    def qemu_args(self, port, memory):
        return device_args(self.dir / f"{port}.sock", memory)


class Lab:
    """A temporary folder with the VMs, links and daemons of one test, all ended and removed together."""

    def __init__(self, build=None, image="stable", logs=None, quiet=False, keep=False):
        self.build = pathlib.Path(build or os.environ.get("UNDERPASS_BUILD") or ROOT / "build").resolve()
        self.image, self.logs, self.quiet, self.keep = image, logs, quiet, keep
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="upvm."))
        self.things, self.count, self.switch = [], 0, None

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        self.close(failed=kind is not None)

    def _own(self, thing):
        self.things.append(thing)
        return thing

    def say(self, text):
        if not self.quiet:
            pkgroot.say(text)

    def daemon(self, ports, options=(), config=None):
        return self._own(Daemon(self, self.build, ports, options, config)).start()

    def cable(self):
        return self._own(Cable(self.dir / "cable.sock"))

    def network(self):
        """The switch that all VMs of this lab share unless they are given another link."""
        if self.switch is None:
            self.switch = self._own(Switch(self.dir / "switch.sock"))
        return self.switch

    def vm(self, name, daemon=None, port=None, image=None, link=None, accel=None, memory="512M", cpus=1, mtu=1500, iommu=False, wait=True):
        """Start a VM; with DAEMON it has the device of PORT (by default the port of the VM's own name)."""
        device = daemon.qemu_args(port or name, memory) if daemon else None
        self.count += 1
        vm = self._own(Vm(self, name, self.count, image or self.image, device, link or self.network(), accel, memory, cpus, mtu, iommu)).start()
        return vm.wait_ready() if wait else vm

    def vms(self, names, daemon=None, rdma=True, **options):
        """Start several VMs at once, wait for all, and (with a daemon) until their RDMA ports are active."""
        vms = [self.vm(name, daemon, wait=False, **options) for name in names]
        for vm in vms:
            vm.wait_ready()
        if daemon and rdma:
            for vm in vms:
                vm.load_rdma()
        return vms

    def kernel_faults(self):
        """Lines of the guests' consoles that tell of a kernel bug."""
        found = []
        for path in self.dir.glob("*.console"):
            text = path.read_text(encoding="utf-8", errors="replace")
            found += [f"{path.stem}: {line}" for line in text.splitlines() if re.search(r"BUG: (?!soft lockup)|Oops|general protection|Kernel panic", line)]
        return found

    def close(self, failed=False):
        for thing in reversed(self.things):
            thing.close()
        if failed and self.logs:
            target = pathlib.Path(self.logs)
            target.mkdir(parents=True, exist_ok=True)
            for pattern in ("*.console", "*.qemu", "*.log", "*.conf"):
                for path in self.dir.glob(pattern):
                    shutil.copy(path, target)
            self.say(f"logs: {target}")
        if not self.keep:
            shutil.rmtree(self.dir, ignore_errors=True)


def start_server(vm, command, port=PORT):
    """Start COMMAND as a server in VM and wait until it listens."""
    server = vm.spawn(f"{command} -p {port}")
    try:
        vm.wait_listen(port)
    except VmError:
        server.kill()
        raise VmError(f"server did not listen: {command}\n{server.output}") from None
    return server


def traffic(server_vm, client_vm, command, port=PORT, seconds=120):
    """Run COMMAND as a server in one VM and as its client in the other; both must succeed. Returns the client's output."""
    server = start_server(server_vm, command, port)
    client = client_vm.spawn(f"{command} -p {port} {server_vm.address}")
    try:
        output = client.check(seconds)
        server.check(30)
    except VmError as error:
        client.kill()
        server.kill()
        raise VmError(f"{error}\n-- the server printed:\n{server.output}\n-- dmesg of {client_vm.name}:\n{client_vm.dmesg()}") from None
    return output


def machine():
    """What the measurements ran on."""
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    return {"cpu": model[1] if model else platform.machine(), "cpus": os.cpu_count(), "host_kernel": platform.release(), "accelerator": accelerator()}
