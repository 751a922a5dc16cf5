# SPDX-License-Identifier: BSD-2-Clause
"""What is compared: the sides with the programs and settings behind them, and the rows with what is to be reached."""

NOTHING, BEST, LIMIT = "", "best peer", "limit"


class Spec:
    """How a side is started."""

    def __init__(self, program, *options, environment=None, launcher=(), network=False, prepare=()):
        self.program, self.options, self.environment = program, options, environment or {}
        self.launcher, self.network, self.prepare = launcher, network, prepare


class Reach:
    """Ours against FACTOR times what is named, or FACTOR itself."""

    def __init__(self, factor, what=NOTHING):
        self.factor, self.what = factor, what


def ucx(transports, **kwargs):
    return Spec("ucx", environment={"UCX_TLS": f"self,{transports}", "UCX_LOG_LEVEL": "error"}, **kwargs)


MPIRUN = ("mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-np", "2", "--mca", "pml", "ob1", "--mca", "btl", "self,vader")
NO_CMA = {"FI_SHM_DISABLE_CMA": "1"}
PROVIDER = {"FI_PROVIDER_PATH": "{build}/provider"}

SIDES = {
    "underpass": Spec("native"),
    "underpass, 16 peers": Spec("native", prepare=[("crowd", 15, 1)]),
    "underpass, 128 peers": Spec("native", prepare=[("crowd", 127, 1)]),
    "underpass, memory": Spec("native"),
    "underpass, automatic": Spec("native"),
    "underpass, provider": Spec("fabric", "--with", "underpass", environment=PROVIDER),
    "libfabric shm": Spec("fabric", "--with", "shm"),
    "libfabric shm (no CMA)": Spec("fabric", "--with", "shm", environment=NO_CMA),
    "libfabric shm, memory": Spec("fabric", "--with", "shm"),
    "UCX posix": ucx("posix"),
    "UCX cma": ucx("posix,cma"),
    "Open MPI": Spec("openmpi", launcher=MPIRUN),
    "limits": Spec("limits"),
    "underpass, network": Spec("native", "--with", "ofi", network=True),
    "underpass, network, provider": Spec("fabric", "--with", "underpass", environment={**PROVIDER, "UNDERPASS_LANES": "ofi"}, network=True),
    "libfabric tcp": Spec("fabric", "--with", "tcp", network=True),
    "libfabric tcp;ofi_rxm": Spec("fabric", "--with", "tcp;ofi_rxm", network=True),
    "libfabric net": Spec("fabric", "--with", "net", network=True),
    "UCX tcp": ucx("tcp", network=True),
}


class Row:
    """One test at one size. A measurement is a side and the name of its test."""

    def __init__(self, what, size, unit, peers=(), reaches=(), *, test=None, ours="underpass", provider=None, limit=None, argument=None):
        self.what, self.size, self.unit, self.reaches = what, size, unit, reaches
        test = test or what
        self.better = "higher" if unit.endswith("/s") else "lower"
        self.argument = size if argument is None else argument
        self.ours = (ours, test)
        self.peers = {side: (side, test) for side in peers}
        self.provider = (provider, test) if provider else None
        self.limit_is, self.limit = limit or (None, None)

    @property
    def network(self):
        return SIDES[self.ours[0]].network

    def measurements(self):
        """Those of the row, each once."""
        optional = [measurement for measurement in (self.provider, self.limit) if measurement]
        return list(dict.fromkeys([self.ours, *self.peers.values(), *optional]))

    def reach_text(self):
        sign = ">=" if self.better == "higher" else "<="
        return " and ".join(f"ours {sign} {reach.factor:g}" + (f" * {self.limit_is if reach.what == LIMIT else reach.what}" if reach.what else "")
                            for reach in self.reaches) or None


SHM, SHM_NO_CMA = "libfabric shm", "libfabric shm (no CMA)"
MESSAGES = (SHM, "UCX posix", "Open MPI")
SHMS = (SHM, SHM_NO_CMA)
COPIES = (SHM, SHM_NO_CMA, "UCX cma")
TCPS = ("libfabric tcp", "libfabric tcp;ofi_rxm", "libfabric net", "UCX tcp")
OURS_FI = {"provider": "underpass, provider"}
NETWORK = {"ours": "underpass, network", "provider": "underpass, network, provider"}
LINE = ("cache line round trip", ("limits", "cache_line"))


def bandwidth(direction, call, size):
    test = f"{direction}_bw"
    return Row(test, size, "MiB/s", COPIES, [Reach(1, BEST), Reach(0.95, LIMIT)], limit=(call, ("limits", test)), **OURS_FI)


ROWS = [
    *(Row("tag_lat", size, "ns", MESSAGES, [Reach(0.5, SHM), Reach(1, BEST)], limit=LINE, **OURS_FI) for size in (8, 64)),
    Row("tag_rate", 64, "M/s", MESSAGES, [Reach(4, SHM), Reach(1, BEST)], **OURS_FI),
    Row("write_lat", 64, "ns", SHMS, [Reach(0.7, BEST)], limit=LINE, **OURS_FI),
    Row("put_lat", 64, "ns", SHMS, [Reach(0.7, BEST)], limit=LINE, **OURS_FI),
    Row("write_rate", 64, "M/s", SHMS, [Reach(1.5, BEST)], **OURS_FI),
    Row("read_lat", 64, "ns", SHMS, [Reach(0.5, BEST)], limit=LINE, **OURS_FI),
    Row("mem_put_lat", 8, "ns", ["UCX posix"], [Reach(1.2, BEST)], limit=LINE),
    Row("mem_read_lat", 8, "ns", ["UCX posix"], [Reach(1.2, BEST)]),
    Row("mem_fetch_add_lat", 8, "ns", ["UCX posix"]),
    *(bandwidth(direction, call, size) for size in (65536, 1 << 20)
      for direction, call in (("write", "process_vm_writev"), ("read", "process_vm_readv"))),
    Row("fetch_add_lat", 8, "ns", [*SHMS, "UCX posix"], [Reach(0.7, BEST)], limit=LINE, **OURS_FI),
    Row("idle_peers_lat", 1, "ns", test="tag_lat", argument=8),
    *(Row("idle_peers_lat", peers, "ns", ["underpass"], [Reach(1.2, "underpass")], test="tag_lat", ours=f"underpass, {peers} peers", argument=8)
      for peers in (16, 128)),
    # So many in each round: libfabric's shm has room for 256 in all.
    Row("memory", 16, "KiB", ["libfabric shm, memory"], [Reach(64)], ours="underpass, memory"),
    Row("auto_write", 8, "us", (), [Reach(100)], ours="underpass, automatic"),
    Row("tcp_tag_lat", 8, "ns", TCPS, [Reach(1, BEST)], test="tag_lat", **NETWORK),
    *(Row(f"tcp_{direction}_bw", 1 << 20, "MiB/s", TCPS, [Reach(1, BEST)], test=f"{direction}_bw", **NETWORK) for direction in ("write", "read")),
]
