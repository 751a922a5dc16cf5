#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Build the guests' kernel and initramfs from Debian's own, unmodified packages, in the XDG cache.

An image is one suite's kernel and one suite's RDMA user space: the verbs and perftest programs with the libraries that
their loader asks for, the kernel modules with what they depend on, busybox, and the agent through which vmlib.py runs
commands. Nothing is compiled and nothing is patched. Prints the folder that holds vmlinuz, initrd and manifest.json.
"""

import argparse
import json
import lzma
import os
import pathlib
import re
import shutil
import stat
import subprocess
import tempfile
import time

import pkgroot
from pkgroot import Failure, say

HERE = pathlib.Path(__file__).resolve().parent
GUEST = HERE / "guest"

# name: suites. User space comes from the first, the kernel from the one that has the newest.
IMAGES = {
    "6.1": ("bookworm",),
    "6.12": ("trixie",),
    "newest": ("sid", "trixie-backports"),
}
ALIASES = {"stable": "6.1"}

KERNEL = "linux-image-amd64"
PACKAGES = ("busybox-static", "ibverbs-utils", "ibverbs-providers", "perftest", "rdmacm-utils", "infiniband-diags", "iproute2", "strace", "qperf", "coreutils")
# Packages whose every program goes into the image, and single programs of the others.
ALL_PROGRAMS = ("ibverbs-utils", "perftest", "rdmacm-utils", "infiniband-diags", "strace", "qperf")
PROGRAMS = ("usr/bin/busybox", "usr/bin/ip", "usr/bin/rdma", "usr/bin/stdbuf")
# Loaded at run time: stdbuf's library, and what a thread's end needs.
PLUGINS = ("usr/libexec/coreutils/libstdbuf.so", "usr/lib/x86_64-linux-gnu/libgcc_s.so.1")
PROVIDERS = ("mlx5", "rxe")
# Parts of the closure that no program here needs at run time.
SKIP = re.compile(r"perl|debconf|systemd$|libsystemd-shared|adduser|passwd|base-passwd|login\.defs|libpam-|libdb5|dpkg$|tar$|libc-gconv")
MODULES = ("virtio_pci", "virtio_console", "virtio_net", "mlx5_core", "mlx5_ib", "ib_uverbs", "ib_umad", "rdma_ucm", "ib_ipoib", "rdma_rxe",
           "nvmet_rdma", "nvme_rdma", "brd")
# Asked for by name at run time by older kernels' rdma_rxe; newer ones have it built in.
OPTIONAL_MODULES = ("crc32_generic",)
UNUSED_DAYS = 30
KERNEL_SKIP = ("*/kernel/sound", "*/drivers/gpu", "*/drivers/media", "*/drivers/staging", "*/drivers/iio", "*/net/wireless", "*/boot/System.map*")


class Initramfs:
    """A newc cpio archive, kept in memory until written."""

    def __init__(self):
        self.entries = {}

    def add(self, path, mode, data=b"", rdev=(0, 0)):
        parent = os.path.dirname(path)
        if parent and parent not in self.entries:
            self.add(parent, stat.S_IFDIR | 0o755)
        self.entries[path] = (mode, data, rdev)

    def file(self, path, data, mode=0o644):
        self.add(path, stat.S_IFREG | mode, data)

    def symlink(self, path, target):
        self.add(path, stat.S_IFLNK | 0o777, target.encode())

    def copy(self, source, path):
        """Copy the file, link or empty folder SOURCE to PATH, as it is."""
        if source.is_symlink():
            self.symlink(path, os.readlink(source))
        elif source.is_dir():
            self.add(path, stat.S_IFDIR | 0o755)
        else:
            self.file(path, source.read_bytes(), stat.S_IMODE(source.stat().st_mode))

    def write(self, out):
        for number, path in enumerate(sorted(self.entries), 1):
            mode, data, rdev = self.entries[path]
            self._record(out, path, number, mode, data, rdev)
        self._record(out, "TRAILER!!!", 0, 0, b"", (0, 0))

    @staticmethod
    def _record(out, path, inode, mode, data, rdev):
        name = path.encode() + b"\0"
        fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, *rdev, len(name), 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
        out.write(head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4))


class Modules:
    """The modules of one unpacked kernel package, and what they depend on."""

    def __init__(self, folder):
        self.paths = {}
        for path in folder.rglob("*.ko*"):
            self.paths[path.name.split(".ko")[0].replace("-", "_")] = path
        self.folder = folder
        self.builtin = {pathlib.Path(line).stem.replace("-", "_") for line in (folder / "modules.builtin").read_text(encoding="ascii").splitlines()}
        self.data = {}
        self.needs = {}
        self.order = []

    def want(self, name):
        """Take module NAME and all that it needs; one built into the kernel needs nothing."""
        if name in self.data or name in self.builtin:
            return
        if name not in self.paths:
            raise Failure(f"the kernel package has no module {name}")
        self.data[name] = self._load(self.paths[name])
        info = self._info(self.data[name])
        self.needs[name] = [need.replace("-", "_") for need in info.get("depends", [""])[0].split(",") if need]
        soft = [word.replace("-", "_") for line in info.get("softdep", []) if line.startswith("pre:") for word in line[4:].split("post:")[0].split()]
        for need in self.needs[name] + [word for word in soft if word in self.paths]:
            self.want(need)
        self.order.append(name)

    @staticmethod
    def _load(path):
        raw = path.read_bytes()
        if path.suffix == ".xz":
            return lzma.decompress(raw)
        if path.suffix == ".zst":
            return subprocess.run(["zstd", "-dcq"], input=raw, stdout=subprocess.PIPE, check=True).stdout
        return raw

    @staticmethod
    def _info(data):
        info = {}
        for key, value in re.findall(rb"(?<=\0)(depends|softdep|alias)=([^\0]*)", data):
            info.setdefault(key.decode(), []).append(value.decode())
        return info

    def _closure(self, name):
        """All that NAME needs, each before what it needs itself: the order of modules.dep, which is read from its end."""
        needed = {one for need in self.needs.get(name, ()) for one in (need, *self._closure(need))}
        return [one for one in reversed(self.order) if one in needed]

    def put(self, image, release):
        """Write the modules, and the two indexes modprobe reads, into IMAGE."""
        base = f"usr/lib/modules/{release}"
        deps, aliases = [], []
        for name in self.order:
            image.file(f"{base}/{name}.ko", self.data[name])
            deps.append(f"{name}.ko:" + "".join(f" {need}.ko" for need in self._closure(name)))
            aliases += [f"alias {alias} {name}" for alias in self._info(self.data[name]).get("alias", [])]
        image.file(f"{base}/modules.dep", ("\n".join(deps) + "\n").encode())
        image.file(f"{base}/modules.alias", ("\n".join(aliases) + "\n").encode())
        for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
            if (self.folder / name).exists():
                image.copy(self.folder / name, f"{base}/{name}")


def is_elf(path):
    if path.is_symlink() or not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(4) == b"\x7fELF"


def libraries(root, path):
    """Paths in ROOT of the shared libraries of the program or library PATH, as the root's own loader resolves them.

    What only the host has is of a package that SKIP leaves out (Python's dbm asks for libdb5.3), and left out as well.
    """
    argv = [root / pkgroot.LOADER, "--library-path", pkgroot.library_path(root), "--list", path]
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if "not found" in done.stdout:
        raise Failure(f"{path.relative_to(root)}: " + ", ".join(line.strip() for line in done.stdout.splitlines() if "not found" in line))
    if done.returncode:
        return []  # statically linked
    found = [pathlib.Path(name) for name in re.findall(r"=> (/\S+)", done.stdout)]
    return [library for library in found if library.is_relative_to(root)]


def program_paths(root, lists):
    """The programs that go into the image: all of some packages', single ones of others."""
    paths = [root / name for name in PROGRAMS + PLUGINS if (root / name).exists()]
    for package in ALL_PROGRAMS:
        paths += [root / name for name in lists[package] if re.match(r"usr/s?bin/", name)]
    for provider in PROVIDERS:
        paths += sorted((root / "usr/lib/x86_64-linux-gnu/libibverbs").glob(f"lib{provider}-rdmav*.so"))
    return [path for path in paths if path.is_symlink() or is_elf(path)]


def file_list(deb):
    """What package DEB ships, as paths under the merged root."""
    names = pkgroot.run(["sh", "-c", 'dpkg-deb --fsys-tarfile "$1" | tar -t', "sh", str(deb)]).splitlines()
    return [re.sub(r"^(s?bin|lib|lib64)/", r"usr/\1/", name[2:]) for name in names if not name.endswith("/")]


def put_programs(image, root, debs, extra):
    """The base programs, every file of the packages EXTRA, and all libraries of both, into IMAGE."""
    lists = {deb.name.split("_")[0]: deb for deb in debs}
    paths = program_paths(root, {package: file_list(lists[package]) for package in ALL_PROGRAMS})
    for deb in extra:
        paths += [root / name for name in file_list(deb)]
    for path in paths:
        while path.is_symlink():
            image.copy(path, str(path.relative_to(root)))
            target = os.readlink(path)
            path = root / target[1:] if target.startswith("/") else pathlib.Path(os.path.normpath(path.parent / target))
        if path.exists():
            image.copy(path, str(path.relative_to(root)))
    for path in paths:
        for library in libraries(root, path) if is_elf(path) else ():
            image.file(str(library.relative_to(root)), library.read_bytes(), 0o755)
    image.file(pkgroot.LOADER, (root / pkgroot.LOADER).read_bytes(), 0o755)
    for provider in PROVIDERS:
        image.copy(root / f"etc/libibverbs.d/{provider}.driver", f"etc/libibverbs.d/{provider}.driver")


def put_skeleton(image, root):
    """The merged-/usr links, busybox's names, /etc, init and the agent."""
    for name in pkgroot.MERGED:
        image.add(f"usr/{name}", stat.S_IFDIR | 0o755)
        image.symlink(name, f"usr/{name}")
    for name in ("dev", "proc", "sys", "run", "tmp", "root", "mnt", "var/tmp"):
        image.add(name, stat.S_IFDIR | 0o755)
    image.add("dev/console", stat.S_IFCHR | 0o600, rdev=(5, 1))
    taken = {os.path.basename(path) for path in image.entries}
    for applet in pkgroot.run([root / "usr/bin/busybox", "--list"]).split():
        if applet not in taken:
            image.symlink(f"usr/bin/{applet}", "busybox")
    image.symlink("usr/sbin/modprobe", "../bin/busybox")  # the kernel's own path for request_module
    image.file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
    image.file("etc/group", b"root:x:0:\n")
    image.file("etc/hosts", b"127.0.0.1 localhost\n")
    for name, path in (("init", "init"), ("agent", "usr/sbin/agent")):
        image.file(path, (GUEST / name).read_bytes(), 0o755)


def make_image(target, name, extra_packages, extra_modules):
    """Build image NAME as the folder TARGET."""
    source = pkgroot.PackageRoot(IMAGES[name])
    kernel_rows = [row for row in source.closure([KERNEL], source.newest(KERNEL)) if re.match(r"linux-(image|modules|binary|base)-\d", row[2])]
    rows = [row for row in source.closure(PACKAGES) if not SKIP.match(row[2])]
    base = {row[2] for row in rows}
    extra_rows = [row for row in source.closure([*PACKAGES, *extra_packages]) if row[2] not in base and not SKIP.match(row[2])] if extra_packages else []
    source.download(kernel_rows + rows + extra_rows)
    debs, extra = [source.debs / row[0] for row in rows], [source.debs / row[0] for row in extra_rows]
    with tempfile.TemporaryDirectory(prefix="guest.", dir=pkgroot.cache_dir()) as temp:
        root, kroot = pathlib.Path(temp, "root"), pathlib.Path(temp, "kernel")
        say(f"guest {name}: unpacking linux {kernel_rows[0][3]} and {len(debs) + len(extra)} packages")
        pkgroot.unpack([source.debs / row[0] for row in kernel_rows], kroot, KERNEL_SKIP)
        pkgroot.unpack(debs + extra, root)
        release = next((kroot / "usr/lib/modules").iterdir()).name
        modules = Modules(kroot / "usr/lib/modules" / release)
        for module in (*MODULES, *extra_modules):
            modules.want(module)
        for module in OPTIONAL_MODULES:
            if module in modules.paths:
                modules.want(module)
        image = Initramfs()
        put_programs(image, root, debs, extra)
        put_skeleton(image, root)
        modules.put(image, release)
        with pkgroot.atomic_dir(target) as out:
            with open(out / "initrd", "wb") as file:
                image.write(file)
            places = (kroot / "boot" / f"vmlinuz-{release}", kroot / "usr/lib/modules" / release / "vmlinuz")
            (out / "vmlinuz").write_bytes(next(place for place in places if place.exists()).read_bytes())
            manifest = {"image": name, "kernel": release, "packages": {row[2]: row[3] for row in kernel_rows + rows + extra_rows}}
            (out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def get(name, packages=(), modules=(), refresh=False):
    """The folder of image NAME (with extra PACKAGES and MODULES), built if the cache lacks it or REFRESH is asked for."""
    name = ALIASES.get(name, name)
    if name not in IMAGES:
        raise Failure(f"there is no guest image {name}; there are {', '.join(IMAGES)}")
    own = [path.read_text(encoding="utf-8") for path in (HERE / "guest_image.py", HERE / "pkgroot.py", GUEST / "init", GUEST / "agent")]
    target = pkgroot.cache_dir("guest") / f"{name}-{pkgroot.digest(own, sorted(packages), sorted(modules))}"
    if target.exists() and not refresh:
        os.utime(target)
        return target
    with pkgroot.locked("packages"):
        if refresh and target.exists():
            target.rename(target.with_name(f"{target.name}.old.{os.getpid()}"))
        if not target.exists():
            say(f"guest {name}: building kernel and initramfs from {', '.join(IMAGES[name])} (kept in the cache)")
            make_image(target, name, packages, modules)
            prune(target.parent)
    return target


def prune(folder):
    """Remove images that nobody has asked for in a while: edited tools and newer packages leave old ones behind."""
    for path in folder.iterdir():
        if time.time() - path.stat().st_mtime > UNUSED_DAYS * 86400:
            shutil.rmtree(path, ignore_errors=True)


def build():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("image", nargs="?", default="stable", help=f"one of {', '.join(IMAGES)} (stable is 6.1)")
    parser.add_argument("--with", dest="packages", action="append", default=[], metavar="PKG", help="add every file of this package and of what it needs")
    parser.add_argument("--module", dest="modules", action="append", default=[], metavar="NAME", help="add this kernel module")
    parser.add_argument("--refresh", action="store_true", help="build anew from what the suites offer now")
    args = parser.parse_args()
    print(get(args.image, args.packages, args.modules, args.refresh))
    return 0


if __name__ == "__main__":
    pkgroot.main(build)
