#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Runs the VM tests: stock kernels, stock mlx5 driver, stock rdma-core and RDMA programs, on underpassd.

Cases are grouped by the VMs that they share. A group's VMs are booted for its first case, and again after a case that
failed or that says it leaves them unusable. Prints one line for each case and, last, `N passed, N failed, N skipped`.
"""

import argparse
import multiprocessing
import os
import pathlib
import re
import signal
import sys
import time
import traceback

import vmlib
from vmlib import PORT, Lab, VmError, guest_image, pkgroot, start_server, traffic


class Skip(Exception):
    """The case cannot run here; the text says why."""


class Case:
    """One named test of a group. RUN gets the group's World."""

    def __init__(self, group, name, run, spoils=False):
        self.group, self.name, self.run, self.spoils = group, f"{group}: {name}", run, spoils


class World:
    """What the cases of one group share: a daemon and its VMs."""

    def __init__(self, lab, names, rdma=True, options=(), config=None, image=None, iommu=False):
        self.lab = lab
        self.daemon = lab.daemon([] if config else names, options, config)
        self.vms = lab.vms(names, self.daemon, rdma=rdma, image=image, iommu=iommu)

    @property
    def one(self):
        return self.vms[0]

    @property
    def two(self):
        return self.vms[1]

    @property
    def three(self):
        return self.vms[2]


def expect(pattern, text):
    if not re.search(pattern, text):
        raise VmError(f"no {pattern!r} in:\n{text}")


# ---- two VMs, kernel 6.1 ---------------------------------------------------------------------------------------------

# name, command; it runs as server in vm1 and as client in vm2. The pingpongs' -c checks the data that arrived.
TRAFFIC = [
    ("rc pingpong, data checked", "ibv_rc_pingpong -c -n 500"),
    ("rc pingpong, events", "ibv_rc_pingpong -c -e -n 500"),
    ("rc pingpong, 1 MiB messages", "ibv_rc_pingpong -c -s 1048576 -n 50 -r 4"),
    ("rc pingpong, MTU 256", "ibv_rc_pingpong -c -m 256 -n 200"),
    ("rc pingpong by GID", "ibv_rc_pingpong -c -g 0 -n 200"),
    ("rc pingpong, new post API", "ibv_rc_pingpong -c -N -n 200"),
    ("uc pingpong, data checked", "ibv_uc_pingpong -c -n 500"),
    ("uc pingpong, events", "ibv_uc_pingpong -c -e -n 500"),
    ("ud pingpong, data checked", "ibv_ud_pingpong -c -n 500"),
    ("ud pingpong, events", "ibv_ud_pingpong -c -e -n 500"),
    ("ud pingpong by GID", "ibv_ud_pingpong -c -g 0 -n 200"),
    ("srq pingpong, data checked", "ibv_srq_pingpong -c -n 100"),
    ("srq pingpong, events", "ibv_srq_pingpong -c -e -n 100"),
    ("xrc srq pingpong", "ibv_xsrq_pingpong"),
    ("xrc srq pingpong, events", "ibv_xsrq_pingpong -e"),
    ("write_bw 8", "ib_write_bw -F -s 8 -n 5000"),
    ("write_bw 4 KiB", "ib_write_bw -F -s 4096 -n 2000"),
    ("write_bw 64 KiB", "ib_write_bw -F -s 65536 -n 1000"),
    ("write_bw 1 MiB", "ib_write_bw -F -s 1048576 -n 200"),
    ("write_bw 16 MiB", "ib_write_bw -F -s 16777216 -n 20 -t 8"),
    ("write_bw, both ways", "ib_write_bw -F -b -s 65536 -n 500"),
    ("write_bw, 8 QPs", "ib_write_bw -F -q 8 -s 4096 -n 500"),
    ("write_bw, posted in lists", "ib_write_bw -F -l 16 -s 1024 -n 2048 -t 128"),
    ("write_bw, UC", "ib_write_bw -F -c UC -s 65536 -n 500"),
    ("write_bw, XRC", "ib_write_bw -F -c XRC -s 65536 -n 500"),
    ("write_bw, inline", "ib_write_bw -F -I 64 -s 64 -n 2000"),
    ("read_bw 8", "ib_read_bw -F -s 8 -n 2000"),
    ("read_bw 64 KiB", "ib_read_bw -F -s 65536 -n 1000"),
    ("read_bw 1 MiB", "ib_read_bw -F -s 1048576 -n 200"),
    ("send_bw 64 KiB", "ib_send_bw -F -s 65536 -n 1000"),
    ("send_bw 1 MiB", "ib_send_bw -F -s 1048576 -n 100"),
    ("send_bw, events", "ib_send_bw -F -e -s 4096 -n 500"),
    ("send_bw, UC", "ib_send_bw -F -c UC -s 4096 -n 500"),
    ("send_bw, UD", "ib_send_bw -F -c UD -s 2048 -n 500"),
    ("send_bw, SRQ", "ib_send_bw -F --use-srq -q 4 -s 4096 -n 500"),
    ("atomic_bw, fetch and add", "ib_atomic_bw -F -A FETCH_AND_ADD -n 1000"),
    ("atomic_bw, compare and swap", "ib_atomic_bw -F -A CMP_AND_SWAP -n 1000"),
    ("write_lat", "ib_write_lat -F -s 8 -n 1000"),
    ("read_lat", "ib_read_lat -F -s 8 -n 1000"),
    ("send_lat", "ib_send_lat -F -s 8 -n 1000"),
    ("send_lat, UD", "ib_send_lat -F -c UD -s 8 -n 500"),
    ("send_lat, events", "ib_send_lat -F -e -s 8 -n 200"),
    ("atomic_lat", "ib_atomic_lat -F -n 500"),
]


def both_active(world):
    lids = set()
    for vm in world.vms:
        info = vm.run("ibv_devinfo -v")
        expect(r"hca_id:\s+mlx5_0", info)
        expect(r"state:\s+PORT_ACTIVE", info)
        expect(r"link_layer:\s+InfiniBand", info)
        lids.add(re.search(r"port_lid:\s+(\d+)", info)[1])
    if len(lids) != len(world.vms):
        raise VmError(f"the VMs' ports share a LID: {lids}")


def two_processes(world):
    servers = [start_server(world.one, "ibv_rc_pingpong -c -n 1000", port) for port in (PORT, PORT + 1)]
    clients = [world.two.spawn(f"ibv_rc_pingpong -c -n 1000 -p {port} {world.one.address}") for port in (PORT, PORT + 1)]
    for job in clients + servers:
        job.check()


def loopback(world):
    world.one.run("ip addr show lo >/dev/null")
    for command in ("ibv_rc_pingpong -c -n 300", "ibv_ud_pingpong -c -n 300", "ib_write_bw -F -s 65536 -n 300"):
        traffic(world.one, world.one, command)


def management(world):
    expect(r"State: Active", world.two.run("ibstat"))
    expect(r"Channel Adapter", world.two.run("smpquery -D nodeinfo 0"))


def subnet(world):
    expect(r"SMINFO_MASTER", world.two.run("sminfo"))
    for vm in world.vms[:2]:
        expect(rf"NodeDescription\.+{vm.name}", world.two.run("saquery NodeRecord"))
    paths = world.two.run("saquery -p")
    if len(re.findall("PathRecord dump", paths)) < 9:
        raise VmError(f"paths are missing:\n{paths}")


def multicast(world):
    traffic(world.one, world.two, "ib_send_bw -F -c UD -g -s 1024 -n 200")


def ipoib_up(world):
    """Give each VM the address 10.8.0.N on its IPoIB link; returns that of the first."""
    for vm in world.vms[:2]:
        vm.run(f"modprobe ib_ipoib && ip link set ib0 up && ip addr replace 10.8.0.{vm.number}/24 dev ib0")
    return f"10.8.0.{world.one.number}"


def ipoib(world):
    world.two.run(f"ping -c 3 -w 30 {ipoib_up(world)}", 60)


def wait_cm_listen(vm):
    vm.run("until rdma resource show cm_id | grep -q 'state LISTEN'; do usleep 50000; done", 30)


def rdma_cm(world):
    address = ipoib_up(world)
    server = world.one.spawn(f"rping -s -V -C 20 -a {address}")
    wait_cm_listen(world.one)
    world.two.run(f"rping -c -V -C 20 -a {address}", 60)
    server.check(30)


def rdma_cm_traffic(world):
    """perftest with connections made by rdma_cm."""
    address = ipoib_up(world)
    server = world.one.spawn("ib_send_bw -F -R -s 65536 -n 500")
    wait_cm_listen(world.one)
    world.two.run(f"ib_send_bw -F -R -s 65536 -n 500 {address}", 120)
    server.check(30)


def storage(world):
    """A disk of the first VM's, used in the second by NVMe over RDMA: what is written there is read here."""
    address = ipoib_up(world)
    config = "/sys/kernel/config"
    world.one.run(f"""
        modprobe nvmet_rdma && modprobe brd rd_nr=1 rd_size=65536 && mountpoint -q {config} || mount -t configfs none {config}
        cd {config}/nvmet && mkdir -p subsystems/disk/namespaces/1 ports/1
        echo 1 >subsystems/disk/attr_allow_any_host
        echo -n /dev/ram0 >subsystems/disk/namespaces/1/device_path
        echo 1 >subsystems/disk/namespaces/1/enable
        cd ports/1 && echo rdma >addr_trtype && echo ipv4 >addr_adrfam && echo {address} >addr_traddr && echo 4420 >addr_trsvcid
        ln -s {config}/nvmet/subsystems/disk subsystems/disk""", 60)
    world.two.run(f"modprobe nvme_rdma && echo transport=rdma,traddr={address},trsvcid=4420,nqn=disk >/dev/nvme-fabrics", 60)
    world.two.run("until [ -b /dev/nvme0n1 ]; do usleep 50000; done", 60)
    world.two.run("dd if=/dev/urandom of=/tmp/data bs=1M count=32 && dd if=/tmp/data of=/dev/nvme0n1 bs=256k conv=fsync", 120)
    there = world.two.run("echo 3 >/proc/sys/vm/drop_caches; dd if=/dev/nvme0n1 bs=64k count=512 | sha256sum; sha256sum </tmp/data", 120)
    here = world.one.run("dd if=/dev/ram0 bs=1M count=32 | sha256sum")
    sums = set(re.findall(r"\b[0-9a-f]{64}\b", there + here))
    if len(sums) != 1:
        raise VmError(f"different data:\n{there}\n{here}")
    world.two.run("echo 1 >/sys/class/nvme/nvme0/delete_controller", 60)


def rdma_cm_programs(world):
    """What rdmacm-utils has, with the same options at both ends: messages, datagrams, sockets on RDMA."""
    address = ipoib_up(world)
    for command in ("ucmatose -c 4 -C 20 -S 4096", "udaddy -c 4 -C 20 -S 2000", "rstream -T v -S 65536 -I 2 -C 10", "riostream -T v -S 4096 -I 20"):
        server = world.one.spawn(command)
        wait_cm_listen(world.one)
        world.two.run(f"{command} -s {address}", 60)
        server.check(30)


def multicast_joined(world):
    """A group joined by rdma_cm at the subnet manager; the receiver has all messages."""
    ipoib_up(world)
    command = "mckey -m 239.1.2.3 -C 20 -b 10.8.0"
    receiver = world.two.spawn(f"stdbuf -oL {command}.{world.two.number}")
    receiver.wait_for("receiving data transfers", 30)
    world.one.run(f"{command}.{world.one.number} -s", 60)
    receiver.check(30)


def connected_mode(world):
    """IPoIB over RC queue pairs, with packets that take many datagrams otherwise."""
    address = ipoib_up(world)
    for mode, mtu in (("connected", 65520), ("datagram", 4092)):
        for vm in world.vms[:2]:
            vm.run(f"echo {mode} >/sys/class/net/ib0/mode && ip link set ib0 mtu {mtu} && ip neigh flush dev ib0")
        # Linux drops what does not fit the short queue before the peer's path is known.
        world.two.run(f"until ping -c 1 -w 2 -s 60000 {address}; do :; done", 60)


def diagnostics(world):
    """Tools that ask other ports, and what every ConnectX is asked beyond the specification."""
    lid = re.search(r"port_lid:\s+(\d+)", world.one.run("ibv_devinfo"))[1]
    expect(r"LinkState:\.+Active", world.two.run(f"ibportstate {lid} 1 query"))
    expect(r"PortXmitData", world.two.run(f"perfquery -x {lid} 1"))
    server = world.one.spawn("ibping -S")
    world.two.run(f"until ibping -c 1 {lid} | grep -q '1 received'; do :; done", 60)
    server.kill()


def cable(world):
    """Pulled, and put back: programs of the guest see it, and nothing passes meanwhile."""
    watch = world.two.spawn("stdbuf -oL ibv_asyncwatch")
    watch.wait_for("async event", 30)
    world.daemon.cli("port", "unplug", "vm2")
    watch.wait_for("PORT_ERR|port error", 30)
    expect(r"state:\s+PORT_DOWN", world.two.run("ibv_devinfo"))
    world.daemon.cli("port", "plug", "vm2")
    watch.wait_for("PORT_ACTIVE|port active", 30)
    watch.kill()
    expect(r"state:\s+PORT_ACTIVE", world.two.run("ibv_devinfo"))
    small_traffic(world)


def small_traffic(world):
    """Enough to see that a pair of VMs works (again)."""
    traffic(world.one, world.two, "ibv_rc_pingpong -c -n 200")
    traffic(world.two, world.one, "ibv_rc_pingpong -c -e -n 200")


def driver_reload(world):
    world.two.run("modprobe -r ib_ipoib rdma_ucm mlx5_ib mlx5_core; modprobe -r mlx5_ib mlx5_core; ! [ -e /sys/class/infiniband/mlx5_0 ]")
    world.two.load_rdma()
    small_traffic(world)


def program_killed(world):
    """A server killed in mid-traffic: its client gets an error; both VMs go on."""
    server = start_server(world.one, "ib_write_bw -F -s 65536 --run_infinitely -D 1")
    client = world.two.spawn(f"stdbuf -oL ib_write_bw -F -s 65536 --run_infinitely -D 1 -p {PORT} {world.one.address}")
    wait_flowing(world.daemon, world.two.name)
    server.kill("KILL")
    if client.wait(90) == 0:
        raise VmError(f"the client of a killed server ended without an error\n{client.output}")
    small_traffic(world)


# ---- faults ----------------------------------------------------------------------------------------------------------


def wait_flowing(daemon, port, seconds=60):
    """Wait until the daemon counts new messages of PORT."""
    first = daemon.stats(port)["messages"]
    deadline = time.monotonic() + seconds
    while daemon.stats(port)["messages"] < first + 100:
        if time.monotonic() > deadline:
            raise VmError(f"{port} moves no messages")
        time.sleep(0.05)


def endless(writer, target):
    """An ib_write_bw from WRITER to TARGET without end, in flight when this returns: (server, client)."""
    command = "ib_write_bw -F -s 65536 --run_infinitely -D 1"
    server = start_server(target, command)
    client = writer.spawn(f"stdbuf -oL {command} -p {PORT} {target.address}")
    return server, client


def button_reset(world):
    _, client = endless(world.one, world.two)
    wait_flowing(world.daemon, world.one.name)
    started = time.monotonic()
    world.two.reset()
    booted = time.monotonic()
    if client.wait(90) == 0:
        raise VmError(f"writing to a VM that was reset ended without an error\n{client.output}")
    note = f"booted after {booted - started:.1f} s, error at the writer by {time.monotonic() - started:.1f} s"
    world.two.load_rdma()
    small_traffic(world)
    return note


def orderly_reboot(world):
    world.two.reboot()
    world.two.load_rdma()
    small_traffic(world)


def peer_killed(world):
    """kill -9 of a QEMU while its peer writes to it; a third VM talks to the peer all along."""
    _, client = endless(world.one, world.two)
    wait_flowing(world.daemon, world.one.name)
    bystander = start_server(world.one, "ibv_rc_pingpong -c -n 3000", PORT + 1)
    other = world.three.spawn(f"ibv_rc_pingpong -c -n 3000 -p {PORT + 1} {world.one.address}")
    world.two.kill()
    started = time.monotonic()
    if client.wait(60) == 0:
        raise VmError(f"writing to a killed VM ended without an error\n{client.output}")
    expect(r"(?i)failed status|completion with error|poll CQ|Problems", client.output)
    other.check()
    bystander.check()
    if not world.daemon.alive():
        raise VmError(f"underpassd died with the VM\n{vmlib.tail(world.daemon.log)}")
    traffic(world.one, world.three, "ibv_rc_pingpong -c -n 200")
    return f"error after {time.monotonic() - started:.1f} s"


def killed_returns(world):
    """A new QEMU on the port of the one that was killed."""
    world.two.kill()
    world.two.restart()
    world.two.load_rdma()
    small_traffic(world)


def daemon_stalled(world):
    """The daemon stands still for longer than QEMU waits for an answer by default, and somebody asks: QEMU must not give up."""
    world.daemon.process.send_signal(signal.SIGSTOP)
    try:
        reader = world.two.spawn("cat /sys/bus/pci/devices/*/config >/dev/null")
        time.sleep(8)
    finally:
        world.daemon.process.send_signal(signal.SIGCONT)
    reader.check()
    small_traffic(world)


def clean_stop(world):
    status = world.daemon.stop()
    if status != 0:
        raise VmError(f"underpassd ended with {status} on SIGTERM\n{vmlib.tail(world.daemon.log)}")


# ---- tenants ---------------------------------------------------------------------------------------------------------

TENANTS = """
ports = (
	{ name = "vm1"; tenant = "red"; },
	{ name = "vm2"; tenant = "blue"; },
	{ name = "vm3"; tenant = "red"; }
);
"""


def same_tenant(world):
    traffic(world.one, world.three, "ibv_rc_pingpong -c -n 200")


def other_tenant(world):
    """The programs exchange LIDs and QPNs over TCP; a LID of the other tenant leads nowhere."""
    for command in ("ibv_rc_pingpong -c -n 50", "ib_write_bw -F -s 4096 -n 50"):
        server = start_server(world.one, command)
        client = world.two.spawn(f"{command} -p {PORT} {world.one.address}")
        try:
            if client.wait(60) == 0:
                raise VmError(f"messages went from tenant to tenant: {command}\n{client.output}")
        finally:
            client.kill()
            server.kill()
            server.wait(30)


# ---- kernels ---------------------------------------------------------------------------------------------------------


def kernel_loopback(world):
    for command in ("ibv_rc_pingpong -c -n 300", "ibv_rc_pingpong -c -e -n 300", "ibv_ud_pingpong -c -n 300", "ibv_srq_pingpong -c -n 50", "ib_write_bw -F -s 65536 -n 300"):
        traffic(world.one, world.one, command)
    return world.one.release


def translated(world):
    """Every page that the driver and the programs use is mapped by itself, and unmapped again."""
    if int(world.one.run("ls /sys/class/iommu | wc -l")) == 0:
        raise VmError("the guest's kernel does not use the IOMMU")
    kernel_loopback(world)
    driver_reload(world)


# Groups whose kernel is not the oldest one.
OTHER_IMAGES = {"6.12": "6.12", "newest": "newest"}

GROUPS = {
    "pair": lambda lab: World(lab, ["vm1", "vm2"]),
    "faults": lambda lab: World(lab, ["vm1", "vm2", "vm3"]),
    "trapped": lambda lab: World(lab, ["vm1", "vm2"], options=["--trap-doorbells"]),
    "tenants": lambda lab: World(lab, ["vm1", "vm2", "vm3"], config=TENANTS),
    "iommu": lambda lab: World(lab, ["vm1", "vm2"], iommu=True),
    "6.12": lambda lab: World(lab, ["vm1"], image=OTHER_IMAGES["6.12"]),
    "newest": lambda lab: World(lab, ["vm1"], image=OTHER_IMAGES["newest"]),
}

# VMs that boot, or of which one runs alone, leave cores idle: these groups run beside all others, which take as long.
FIRST_LANE = {"pair", "trapped", "tenants"}

CASES = [
    Case("pair", "ibv_devinfo ACTIVE in both", both_active),
    *[Case("pair", name, lambda world, command=command: traffic(world.one, world.two, command) and None) for name, command in TRAFFIC],
    Case("pair", "two processes at once", two_processes),
    Case("pair", "loopback inside a VM", loopback),
    Case("pair", "program killed in mid-traffic", program_killed),
    Case("pair", "ibstat and smpquery", management),
    Case("pair", "subnet manager", subnet),
    Case("pair", "send_bw, multicast", multicast),
    Case("pair", "IPoIB ping", ipoib),
    Case("pair", "rdma_cm (rping)", rdma_cm),
    Case("pair", "rdma_cm (send_bw)", rdma_cm_traffic),
    Case("pair", "programs of rdma_cm", rdma_cm_programs),
    Case("pair", "multicast group joined by rdma_cm", multicast_joined),
    Case("pair", "IPoIB, connected mode", connected_mode),
    Case("pair", "ibportstate, perfquery, ibping", diagnostics),
    Case("pair", "NVMe over RDMA", storage),
    Case("pair", "cable pulled and put back", cable),
    Case("pair", "driver unloaded and loaded again", driver_reload),
    Case("faults", "reset while a peer writes", button_reset),
    Case("faults", "orderly reboot", orderly_reboot),
    Case("faults", "kill -9 while a peer writes", peer_killed),
    Case("faults", "new VM on the killed one's port", killed_returns),
    Case("faults", "daemon stands still for 8 s", daemon_stalled),
    Case("faults", "daemon stops on SIGTERM", clean_stop, spoils=True),
    Case("trapped", "ibv_devinfo ACTIVE in both", both_active),
    Case("trapped", "pingpongs with trapped doorbells", small_traffic),
    Case("trapped", "write_bw with trapped doorbells", lambda world: traffic(world.one, world.two, "ib_write_bw -F -s 65536 -n 500") and None),
    Case("tenants", "same tenant", same_tenant),
    Case("tenants", "other tenant", other_tenant),
    Case("iommu", "loopback traffic, driver reloaded", translated),
    Case("6.12", "device active", both_active),
    Case("6.12", "loopback traffic", kernel_loopback),
    Case("newest", "device active", both_active),
    Case("newest", "loopback traffic", kernel_loopback),
]


class Runner:
    """Runs cases in order, keeping the world of the current group."""

    def __init__(self, build, logs, printing):
        self.build, self.logs, self.printing = build, pathlib.Path(logs), printing
        self.group = self.lab = self.world = None
        self.hopeless = {}  # group: why its VMs did not come up, each time
        self.counts = {"PASS": 0, "FAIL": 0, "SKIP": 0}

    def leave(self, failed=False):
        """End the current world, keeping its logs if FAILED."""
        if self.lab:
            self.lab.close(failed)
        self.group = self.lab = self.world = None

    def enter(self, group):
        if self.group == group:
            return
        self.leave()
        try:
            guest_image.get(OTHER_IMAGES.get(group, "stable"))
        except pkgroot.Failure as error:
            raise Skip(f"no guest image: {error}") from None
        if len(self.hopeless.get(group, [])) > 1:
            raise VmError(f"not tried: the group's VMs did not come up twice ({self.hopeless[group][0]})")
        self.group = group
        self.lab = Lab(self.build, logs=self.logs / re.sub(r"\W", "_", group), quiet=True)
        try:
            self.world = GROUPS[group](self.lab)
        except VmError as error:
            self.hopeless.setdefault(group, []).append(str(error).split("\n", maxsplit=1)[0])
            raise

    def check_after(self, case):
        """What no case may leave behind: a dead daemon, a bug in a guest's kernel."""
        daemon = self.world.daemon
        if not daemon.alive() and not case.spoils:
            raise VmError(f"underpassd ended with status {daemon.process.returncode}\n{vmlib.tail(daemon.log)}")
        faults = self.lab.kernel_faults()
        if faults:
            raise VmError("a guest's kernel hit a bug:\n" + "\n".join(faults))

    def run(self, case):
        started = time.monotonic()
        try:
            self.enter(case.group)
            note = case.run(self.world)
            self.check_after(case)
            verdict, text = "PASS", note or ""
        except Skip as reason:
            verdict, text = "SKIP", str(reason)
        except (VmError, pkgroot.Failure) as error:
            verdict, text = "FAIL", str(error)
        except Exception:  # a bug of a case must not end the run
            verdict, text = "FAIL", traceback.format_exc()
        self.counts[verdict] += 1
        first, _, rest = text.partition("\n")
        lines = [f"{verdict} {case.name} ({time.monotonic() - started:.1f} s){': ' + first if first else ''}"]
        if verdict == "FAIL":
            lines += ["    " + line for line in rest.splitlines()]
        with self.printing:
            print("\n".join(lines), flush=True)
        if verdict == "FAIL" or case.spoils:
            self.leave(failed=verdict == "FAIL")


def run_lane(runner, cases, counts):
    """Runs cases in order; COUNTS, a pipe, gets how they ended."""
    try:
        for case in cases:
            runner.run(case)
    finally:
        runner.leave()
    counts.send(runner.counts)


def run_all(cases, build, logs):
    """Runs the lanes at once, each in a process of its own, and returns how their cases ended."""
    lanes = [[case for case in cases if (case.group in FIRST_LANE) == first] for first in (True, False)]
    if os.cpu_count() == 1:
        lanes = [cases]
    totals, running, fork = {"PASS": 0, "FAIL": 0, "SKIP": 0}, [], multiprocessing.get_context("fork")
    printing = fork.Lock()
    for lane in filter(None, lanes):
        counts, its_end = fork.Pipe(duplex=False)
        # A daemon in multiprocessing's sense: told to end when this process does.
        process = fork.Process(target=run_lane, args=(Runner(build, logs, printing), lane, its_end), daemon=True)
        process.start()
        its_end.close()
        running.append((process, counts))
    for process, counts in running:
        try:
            for verdict, n in counts.recv().items():
                totals[verdict] += n
        except EOFError:
            raise pkgroot.Failure("cases are missing: the process that ran them ended") from None
        process.join()
    return totals


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--build", default=os.environ.get("UNDERPASS_BUILD") or vmlib.ROOT / "build", help="build folder with daemon/underpassd and cli/underpass")
    parser.add_argument("--logs", help="where consoles and logs of failed cases go (default: BUILD/vm-logs)")
    parser.add_argument("--only", default="", metavar="REGEX", help="run the cases whose name matches")
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    args = parser.parse_args()
    cases = [case for case in CASES if re.search(args.only, case.name)]
    if args.list:
        print("\n".join(case.name for case in cases))
        return 0
    if not (pathlib.Path(args.build) / "daemon/underpassd").exists():
        raise pkgroot.Failure(f"{args.build} has no daemon/underpassd: build first, or name the build folder with --build")
    # What every lane would find out.
    os.environ["UNDERPASS_ACCEL"] = vmlib.accelerator()
    print(f"VM tests: QEMU {vmlib.fetch_qemu.find()}, accelerator {vmlib.accelerator()}", flush=True)
    counts = run_all(cases, args.build, args.logs or pathlib.Path(args.build) / "vm-logs")
    print("{PASS} passed, {FAIL} failed, {SKIP} skipped".format(**counts))
    return 1 if counts["FAIL"] or not counts["PASS"] else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    pkgroot.main(main)
