"""The ``buffer`` profile: ingest by way of Redis beside ingest into PostgreSQL alone."""

import time
from contextlib import ExitStack
from importlib.util import find_spec
from typing import Final

import msgspec

from triggers_api.bench.books import Account, Accounting, own_books, verdicts_on
from triggers_api.bench.errors import RunFailed
from triggers_api.bench.redis import RedisServer, redis_server
from triggers_api.bench.run import Run, turn
from triggers_api.bench.server import Api, Target
from triggers_api.bench.slices import Slice
from triggers_api.bench.statistics import Latency, median, median_latency
from triggers_api.bench.targets import Verdict

DIRECT: Final = "PostgreSQL"
FLUSHES: Final = ("everysec", "always")

_ROUNDS: Final = 5
_WARM_UP_S: Final = 0.5
_LANDED_WITHIN_S: Final = 300.0
_LOOK_EVERY_S: Final = 0.1
_ROOM: Final = "10000000"


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """One way for events to become safe.

    Attributes:
        what: it is.
        rate: the median of the slices' rates.
        ratio: of it to that of PostgreSQL alone while events are routed.
        latency: the median of each of the slices' numbers.
    """

    what: str
    rate: float
    ratio: float
    latency: Latency | None


class Buffer(msgspec.Struct, frozen=True, kw_only=True):
    """Durable single-event POSTs in a closed loop, each way in turn.

    Attributes:
        connections: of the loader.
        redis: name and version of the server in between.
        ways: PostgreSQL alone, then by way of Redis; each while events are routed (by way of Redis:
            taken over and routed), and while that is paused.
        direct: the books of the server without a buffer.
        buffered: those of the one with it, after everything had landed.
    """

    connections: int
    redis: str
    ways: list[Way]
    slices: list[Slice]
    direct: Accounting
    buffered: Accounting
    verdicts: list[Verdict]


def measure_buffer(run: Run) -> Buffer:
    """Short slices in rounds, each way among them: what disturbs one disturbs its neighbour.

    Raises:
        RunFailed: something that it needs is not there, or a server or the loader failed.
    """
    options = run.options
    if options.url is not None:
        raise RunFailed("the profile buffer measures servers of its own: leave out --url")
    if options.database_url is None:
        raise RunFailed("the profile buffer needs --database-url, a PostgreSQL for its servers")
    if find_spec("hiredis") is None:
        raise RunFailed("the profile buffer needs an extra: pip install 'triggers-api[redis]'")
    folder = run.folder / "redis"
    folder.mkdir()
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server(folder))
        direct = _Measured(
            run, *stack.enter_context(run.server("direct", settings=_settings(None)))
        )
        buffered = _Measured(
            run, *stack.enter_context(run.server("buffered", settings=_settings(redis)))
        )
        for each in (direct, buffered):
            each.warm_up()
        for _ in range(_ROUNDS):
            direct.slices_of(DIRECT)
            for flush in FLUSHES:
                redis.flush(flush)
                buffered.slices_of(f"Redis, {flush}")
        version = redis.version
        books = direct.account.close(), buffered.account.close()
    return _conclude(options.concurrency, version, direct, buffered, books)


def _settings(redis: RedisServer | None) -> dict[str, str]:
    if redis is None:
        return {"TRIGGERS_INGEST_BUFFER": "none", "TRIGGERS_REDIS_URL": ""}
    return {
        "TRIGGERS_INGEST_BUFFER": "redis",
        "TRIGGERS_REDIS_URL": redis.url,
        # Also the weaker way of flushing is to be measured.
        "TRIGGERS_REDIS_DURABILITY": "relaxed",
        "TRIGGERS_REDIS_FALLBACK": "refuse",
        "TRIGGERS_REDIS_STREAM_MAX_LENGTH": _ROOM,
    }


class _Measured:
    """A server, what was sent to it, and what that came to."""

    def __init__(self, run: Run, target: Target, api: Api) -> None:
        self._run = run
        self._target = target
        self._api = api
        self._stored_before = own_books(api).accepted
        self._sent = 0
        self.account = Account(api)
        self.slices: list[Slice] = []

    def warm_up(self) -> None:
        """The interpreter specialises its code, the database grows its first pages."""
        self._load("warming up", seconds=_WARM_UP_S)

    def slices_of(self, what: str) -> None:
        """One slice while events are routed, and one while that is paused; a rest behind each."""
        seconds = self._run.options.load_s / _ROUNDS
        self.slices.append(self._load(what, seconds=seconds))
        turn(self._api, processing="paused")
        try:
            self.slices.append(self._load(f"{what}, paused", seconds=seconds, rest=False))
        finally:
            turn(self._api, processing=None)
        self._come_to_rest()

    def _load(self, what: str, *, seconds: float, rest: bool = True) -> Slice:
        run = self._run
        events = None if run.options.events is None else -(-run.options.events // _ROUNDS)
        load, measured = run.load(
            what, self._target, run.plan(self._target, events=events, seconds=seconds)
        )
        self.account.add(load)
        self._sent += load.accepted
        if rest:
            self._come_to_rest()
        return measured

    def _come_to_rest(self) -> None:
        """Until everything is in the database and routed."""
        deadline = time.monotonic() + _LANDED_WITHIN_S
        with self._run.progress.bar("until everything has landed"):
            while True:
                books = own_books(self._api)
                landed = books.accepted - self._stored_before >= self._sent
                if landed and not books.queued:
                    return
                if time.monotonic() > deadline:
                    raise RunFailed(
                        f"of {self._sent:,} accepted events only "
                        f"{books.accepted - self._stored_before:,} are in the database after "
                        f"{_LANDED_WITHIN_S:g} s, and {books.queued:,} wait"
                    )
                time.sleep(_LOOK_EVERY_S)


def _conclude(
    connections: int,
    redis: str,
    direct: _Measured,
    buffered: _Measured,
    books: tuple[Accounting, Accounting],
) -> Buffer:
    slices = [*direct.slices, *buffered.slices]
    names = list(dict.fromkeys(each.what for each in slices))
    rates = {name: median([each.rate for each in slices if each.what == name]) for name in names}
    latencies = {
        name: median_latency(
            [each.latency for each in slices if each.what == name and each.latency is not None]
        )
        for name in names
    }
    return Buffer(
        connections=connections,
        redis=redis,
        ways=[
            Way(
                what=name,
                rate=round(rates[name], 1),
                ratio=round(rates[name] / rates[DIRECT], 2) if rates[DIRECT] else 0.0,
                latency=latencies[name],
            )
            for name in names
        ],
        slices=slices,
        direct=books[0],
        buffered=books[1],
        verdicts=[
            verdict
            for measured, accounting in zip((direct, buffered), books, strict=True)
            for verdict in verdicts_on(
                accounting, failed=sum(each.failed for each in measured.slices), is_own=True
            )
        ],
    )
