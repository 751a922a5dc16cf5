# SPDX-License-Identifier: BSD-2-Clause
"""Debian packages unpacked into a folder of their own, without installing anything.

A private apt state (lists, sources, an empty dpkg status) in the XDG cache resolves the whole dependency closure of a few
packages for a suite that need not be the host's, verifies it with Debian's archive keys, downloads it once, and unpacks it.
Neither root nor a chroot is needed. fetch_qemu.py and guest_image.py build on it.
"""

import concurrent.futures
import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

KEYRINGS = ("/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp")
LOADER = "usr/lib64/ld-linux-x86-64.so.2"
# Merged-/usr links, made before anything is unpacked: older packages still ship /bin and /lib.
MERGED = ("bin", "sbin", "lib", "lib64")
# What nothing here reads at run time.
UNWANTED = ("./usr/share/doc", "./usr/share/man", "./usr/share/locale", "./usr/share/info", "./usr/share/lintian", "./usr/share/bug")


class Failure(Exception):
    """An error whose text tells the user what to do."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def cache_dir(*parts):
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    path = pathlib.Path(base, "underpass", *parts)
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def locked(name):
    """Hold the cache-wide lock NAME: one process builds, the others wait and then find the result."""
    with open(cache_dir() / (name + ".lock"), "w", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{name}: waiting for another process that is building the same")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def atomic_dir(target):
    """A temporary folder beside TARGET that becomes TARGET when the block ends without an error."""
    target = pathlib.Path(target)
    temp = pathlib.Path(tempfile.mkdtemp(prefix=target.name + ".tmp.", dir=target.parent))
    temp.chmod(0o755)
    try:
        yield temp
        temp.rename(target)
    finally:
        shutil.rmtree(temp, ignore_errors=True)


def digest(*items):
    return hashlib.sha256(json.dumps(items, sort_keys=True).encode()).hexdigest()[:12]


def run(argv, **kwargs):
    """subprocess.run with text output captured; a failure carries the command's last words."""
    done = subprocess.run(argv, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, **kwargs)
    if done.returncode:
        raise Failure(f"{' '.join(map(str, argv[:3]))} … failed:\n{done.stdout[-2000:]}")
    return done.stdout


def os_release():
    path = pathlib.Path("/etc/os-release")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return dict(line.replace('"', "").split("=", 1) for line in lines if "=" in line)


def mirror():
    """The Debian mirror: $UNDERPASS_MIRROR, else the host's own where it is a Debian, else debootstrap's default."""
    if os.environ.get("UNDERPASS_MIRROR"):
        return os.environ["UNDERPASS_MIRROR"]
    release = os_release()
    if release.get("ID") == "debian":
        listing = run(["apt-get", "indextargets", "--format", "$(RELEASE) $(REPO_URI)", "Created-By: Packages"])
        rows = [line.split() for line in listing.splitlines()]
        for suite in (release.get("VERSION_CODENAME"), "stable", "testing", "unstable", "sid"):
            for row in rows:
                if len(row) == 2 and row[0] == suite and not row[1].startswith(("file:", "cdrom:")):
                    return row[1]
    script = shutil.which("debootstrap") or "/usr/sbin/debootstrap"
    if os.path.exists(script):
        found = re.search(r'^DEF_MIRROR="([^"]+)"', pathlib.Path(script).read_text(encoding="utf-8"), re.M)
        if found:
            return found[1]
    raise Failure("No Debian mirror is known: set UNDERPASS_MIRROR to the address of one, or install debootstrap (tools/deps.sh does).")


def acquire_settings():
    """The user's own download settings (proxy, retries, timeouts), carried over to the private apt."""
    dump = run(["apt-config", "dump", "Acquire"])
    return "".join(line + "\n" for line in dump.splitlines() if not line.startswith("Acquire::IndexTargets"))


class PackageRoot:
    """A private apt over SUITES of Debian; the first suite is preferred unless asked otherwise."""

    def __init__(self, suites):
        self.suites = list(suites)
        self.dir = cache_dir("apt", "+".join(self.suites))
        self.debs = cache_dir("debs")
        self.updated = False

    def _configure(self):
        keyring = next((path for path in KEYRINGS if os.path.exists(path)), None)
        if not shutil.which("apt-get") or keyring is None:
            raise Failure("apt and debian-archive-keyring are needed to fetch packages: run tools/deps.sh")
        for name in ("lists/partial", "state", "cache"):
            (self.dir / name).mkdir(parents=True, exist_ok=True)
        (self.debs / "partial").mkdir(exist_ok=True)
        (self.dir / "status").touch()
        address = mirror()
        lines = [f"deb [arch=amd64 signed-by={keyring}] {address} {suite} main\n" for suite in self.suites]
        (self.dir / "sources.list").write_text("".join(lines), encoding="utf-8")
        (self.dir / "apt.conf").write_text(acquire_settings() + f"""
Dir::Etc::parts "/nonexistent"; Dir::Etc::main "/nonexistent";
Dir::Etc::sourcelist "{self.dir}/sources.list"; Dir::Etc::sourceparts "/nonexistent";
Dir::Etc::preferences "/nonexistent"; Dir::Etc::preferencesparts "/nonexistent";
Dir::State "{self.dir}/state"; Dir::State::lists "{self.dir}/lists"; Dir::State::status "{self.dir}/status";
Dir::Cache "{self.dir}/cache"; Dir::Cache::pkgcache ""; Dir::Cache::srcpkgcache ""; Dir::Cache::archives "{self.debs}";
APT::Architecture "amd64"; APT::Architectures {{ "amd64"; }}; APT::Install-Recommends "false"; APT::Sandbox::User "";
Acquire::Languages "none"; Acquire::GzipIndexes "true";
""", encoding="utf-8")

    def _apt(self, *args, tool="apt-get"):
        return run([tool, *args], env=dict(os.environ, APT_CONFIG=str(self.dir / "apt.conf"), LC_ALL="C"), cwd=self.debs)

    def update(self):
        """Read the suites' package lists anew, once for the life of this object."""
        if self.updated:
            return
        self._configure()
        say(f"packages: reading the lists of {', '.join(self.suites)}")
        out = self._apt("-q", "update")
        failed = [line for line in out.splitlines() if line.startswith(("Err:", "E:", "W: Failed"))]
        if failed:
            raise Failure("the package lists cannot be read; is the network (or UNDERPASS_MIRROR) right?\n" + "\n".join(failed))
        self.updated = True

    def closure(self, packages, release=None):
        """[(file name, size, name, version)] of PACKAGES and all that they depend on, from RELEASE where it has them."""
        self.update()
        target = ["-t", release] if release else []
        out = self._apt("install", "-y", "--print-uris", "-o", "Dir::Cache::archives=/nonexistent/", *target, *packages)
        rows = re.findall(r"^'[^']+' (\S+) (\d+) ", out, re.M)
        result = []
        for name, size in rows:
            package, version, _ = name[:-4].split("_")
            result.append((name, int(size), package, version.replace("%3a", ":")))
        return result

    def newest(self, package):
        """The suite that has the highest version of PACKAGE."""
        self.update()
        suites = re.findall(r"\|\s*\S+\s*\|\s*\S+ (\S+)/main ", self._apt("madison", package, tool="apt-cache"))
        if not suites:
            raise Failure(f"{package} is in none of {', '.join(self.suites)}")
        return suites[0]

    def download(self, rows):
        """Bring the packages of closure() rows into the cache; returns their paths."""
        missing = [row for row in rows if not self._have(row)]
        total = sum(size for _, size, _, _ in missing)
        done, last = 0, time.monotonic()
        if missing:
            say(f"packages: downloading {len(missing)} packages, {total / 1e6:.0f} MB")
        while missing:
            batch, missing = missing[:8], missing[8:]
            self._apt("-q", "download", *[f"{name}={version}" for _, _, name, version in batch])
            done += sum(size for _, size, _, _ in batch)
            if time.monotonic() - last > 2:
                last = time.monotonic()
                say(f"packages: {done / 1e6:.0f} of {total / 1e6:.0f} MB")
        absent = [row[0] for row in rows if not self._have(row)]
        if absent:
            raise Failure(f"the download of {', '.join(absent)} left no file of the expected size; run the command again")
        return [self.debs / row[0] for row in rows]

    def _have(self, row):
        path = self.debs / row[0]
        return path.exists() and path.stat().st_size == row[1]


def unpack(paths, root, exclude=()):
    """Unpack the packages at PATHS, less the tar patterns EXCLUDE, into ROOT, which gets a merged /usr."""
    root = pathlib.Path(root)
    for name in MERGED:
        (root / "usr" / name).mkdir(parents=True, exist_ok=True)
        if not (root / name).is_symlink():
            (root / name).symlink_to("usr/" + name)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda path: _unpack_one(path, root, exclude), paths))


def _unpack_one(path, root, exclude):
    tar = ["tar", "-x", "-C", str(root), "--no-same-owner", "--keep-directory-symlink"]
    tar += ["--exclude=" + pattern for pattern in (*UNWANTED, *exclude)]
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(path)], stdout=subprocess.PIPE) as source:
        done = subprocess.run(tar, stdin=source.stdout, stderr=subprocess.PIPE, text=True, check=False)
        source.stdout.close()
    if done.returncode or source.returncode:
        raise Failure(f"{path} does not unpack; delete it and run again\n{done.stderr[-500:]}")


def library_path(root):
    return ":".join(str(pathlib.Path(root, name)) for name in ("usr/lib/x86_64-linux-gnu", "usr/lib"))


def main(build):
    """Run BUILD as a program's main: a Failure becomes one clear message and exit status 1."""
    try:
        sys.exit(build())
    except Failure as error:
        say(f"{os.path.basename(sys.argv[0])}: {error}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
