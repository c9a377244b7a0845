"""The machine: what it is, which of its cores does what, and who uses them."""

import contextlib
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Final, NamedTuple

import apsw
import msgspec

from triggers_api.bench.statistics import median
from triggers_api.store.sqlite.lock import file_system_of

_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})
SYNCS: Final = 50
_SHORTEST_S: Final = 0.25
"""The kernel counts in hundredths of a second; over less than this a share says nothing."""

_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where the numbers come from. ``sync_ms`` is the median of 50 syncs of 4 KiB to ``folder``."""

    cpu: str
    cores: int
    memory_mb: int
    system: str
    python: str
    sqlite: str
    packages: dict[str, str]
    folder: str
    file_system: str
    sync_ms: float
    load_average: float


class Cores(msgspec.Struct, frozen=True):
    """Which core is the measured server's, and which is everything else's; ``None``: any."""

    server: int | None = None
    loader: int | None = None


class CoreUse(msgspec.Struct, frozen=True, kw_only=True):
    """How busy a program and its core were for a while, as shares of one core.

    Attributes:
        own: what the program used, on whatever core.
        others: what others used of its core; ``None`` when it has none to itself.
        stolen: what the hypervisor took from its core.
    """

    own: float
    others: float | None = None
    stolen: float | None = None


def examine(folder: Path) -> Machine:
    """This machine, with a folder for databases."""
    return Machine(
        cpu=_cpu_model(),
        cores=os.cpu_count() or 1,
        memory_mb=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        sqlite=apsw.sqlite_lib_version(),
        packages={name: version(name) for name in ("uvicorn", "httptools", "uvloop", "aiohttp")},
        folder=str(folder),
        file_system=file_system_of(folder) or "unknown",
        sync_ms=sync_ms(folder),
        load_average=os.getloadavg()[0],
    )


def is_in_memory(folder: Path) -> bool:
    """Whether what is written there is lost with the power, so that a sync costs nothing."""
    return file_system_of(folder) in _IN_MEMORY


def folder_for_databases() -> Path:
    """The temporary folder; the working directory when that one is in memory."""
    temporary = Path(tempfile.gettempdir()).resolve()
    return Path.cwd() if is_in_memory(temporary) else temporary


def choose_cores() -> Cores:
    """The first two cores that this process may use; none when there is one, or no way to choose."""
    if not hasattr(os, "sched_getaffinity"):
        return Cores()
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(allowed[0], allowed[1]) if len(allowed) > 1 else Cores()


@contextlib.contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """Runs what is inside on one core, the processes that it starts included; ``None``: on any."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Watch:
    """Measures how busy a server is, and how busy its core and the loader's are with other things.

    Reads ``/proc``; where there is none, it knows nothing.
    """

    def __init__(
        self, pid: int | None, *, core: int | None = None, loader_core: int | None = None
    ) -> None:
        """Set up.

        Args:
            pid: of the server; ``None`` when it is not one of ours.
            core: the one that it is pinned to.
            loader_core: the one that everything else of ours is pinned to.
        """
        self._pid = pid
        self._core = core
        self._loader_core = loader_core
        self._begun = self._ended = self._look()

    def begin(self) -> None:
        """From now."""
        self._begun = self._look()

    def end(self) -> None:
        """Until now."""
        self._ended = self._look()

    def server(self) -> CoreUse | None:
        """The server, and others on its core; ``None`` when that cannot be known."""
        before, after = self._begun, self._ended
        if before.server_s is None or after.server_s is None or after.at - before.at < _SHORTEST_S:
            return None
        used_s = after.server_s - before.server_s
        return _use(used_s, before.core, after.core, after.at - before.at)

    def loader(self, own_s: float) -> CoreUse:
        """The loader, which says itself how many seconds it used, and others on its core."""
        before, after = self._begun, self._ended
        return _use(own_s, before.loader_core, after.loader_core, after.at - before.at)

    def _look(self) -> "_Look":
        return _Look(
            time.monotonic(),
            None if self._pid is None else process_s(self._pid),
            None if self._core is None else core_s(self._core),
            None if self._loader_core is None else core_s(self._loader_core),
        )


class _Look(NamedTuple):
    at: float
    server_s: float | None
    core: tuple[float, float] | None
    loader_core: tuple[float, float] | None


def _use(
    own_s: float,
    before: tuple[float, float] | None,
    after: tuple[float, float] | None,
    seconds: float,
) -> CoreUse:
    own = round(own_s / seconds, 3)
    if before is None or after is None or seconds < _SHORTEST_S:
        return CoreUse(own=own)
    busy_s, stolen_s = after[0] - before[0], after[1] - before[1]
    return CoreUse(
        own=own,
        # The kernel counts in ticks: a little less than nothing is nothing.
        others=round(max(0.0, busy_s - own_s) / seconds, 3),
        stolen=round(stolen_s / seconds, 3),
    )


def process_s(pid: int) -> float | None:
    """The seconds of a core that a process has used, all threads together; ``None`` if unknown."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field is the name in brackets and may hold spaces: count from behind it.
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND


def resident_mb(pid: int) -> float | None:
    """The memory that a process occupies, in MiB; ``None`` if unknown."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith("VmRSS:"):
            return round(int(line.split()[1]) / 1024, 1)
    return None


def core_s(core: int) -> tuple[float, float] | None:
    """The seconds that a core was busy since the machine started, and those that were stolen."""
    try:
        text = Path("/proc/stat").read_text()
    except OSError:
        return None
    for line in text.splitlines():
        name, *columns = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _iowait, irq, softirq, steal, *_ = map(int, columns)
            busy = user + nice + system + irq + softirq
            return busy / _TICKS_A_SECOND, steal / _TICKS_A_SECOND
    return None


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def sync_ms(folder: Path) -> float:
    """What a sync of 4 KiB to a file in a folder takes, in milliseconds; the median of some."""
    times = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        for _ in range(SYNCS):
            file.write(b"\0" * 4096)
            file.flush()
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - started)
    return round(median(times) * 1000, 3)
