"""How things stand in Redis: looked at twice a second by every process that uses the buffer."""

import asyncio
import math
import secrets
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from triggers_api.errors import StartError, Unavailable
from triggers_api.ingest.buffer_redis.durability import RedisDurability, ask_durability
from triggers_api.ingest.buffer_redis.names import GROUP, LOOK, REPORT, Names
from triggers_api.model.pressure import retry_after_s
from triggers_api.redis.client import Redis
from triggers_api.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

_EVERY_S: Final = 0.5
_DURABILITY_EVERY_S: Final = 30.0
_SAY_AGAIN_S: Final = 60.0
_SMOOTHING: Final = 0.3


class BufferLook(msgspec.Struct, frozen=True, kw_only=True):
    """How things stood at one moment.

    Attributes:
        length: entries that wait to be landed (``XLEN``).
        pending: of these, how many are in a consumer's hands (``XPENDING``).
        poisoned: entries that could not be landed, and are kept with their reasons.
        oldest_age_s: how long the first one has been waiting; 0 when none is.
        added: entries that were ever added.
        settled: entries that were let go of because they are in the database.
        lost: events that were accepted and have vanished.
        vanished: of what should wait now, how many entries are not there; they are about to be ``lost``.
        forgiven: up to which number of lost ones nobody needs to be told any more.
    """

    length: int = 0
    pending: int = 0
    poisoned: int = 0
    oldest_age_s: float = 0.0
    added: int = 0
    settled: int = 0
    lost: int = 0
    vanished: int = 0
    forgiven: int = 0

    @property
    def intact(self) -> bool:
        """Whether nothing has vanished that somebody still has to look into."""
        return not self.vanished and self.lost <= self.forgiven


class _Books:
    """The books in Redis as one process has seen them."""

    __slots__ = ("added", "gone", "name")

    def __init__(self, name: str, added: int, gone: int) -> None:
        self.name = name
        self.added = added
        self.gone = gone


class Watch:
    """Holds the last look, and says whether events may go into Redis."""

    name = "buffer"

    def __init__(
        self,
        redis: Redis,
        names: Names,
        *,
        strict: bool,
        alarm_age_s: float,
        metrics: Metrics,
        monotonic: Callable[[], float],
    ) -> None:
        """Set up.

        Args:
            redis: where the buffer is.
            names: of its keys.
            strict: nothing goes into a server that may lose it.
            alarm_age_s: how old what waits may become before somebody is told.
            metrics: is told how things stand.
            monotonic: seconds on a clock that never goes back.
        """
        self._redis = redis
        self._names = names
        self._strict = strict
        self._alarm_age_s = alarm_age_s
        self._metrics = metrics
        self._monotonic = monotonic
        self.look = BufferLook()
        self.durability: RedisDurability | None = None
        self.problem: str | None = "Redis has not been asked yet"
        """Why nothing may go into Redis; ``None`` when it may."""
        self.reported = 0
        """Of the lost events, how many were counted in some process's metrics."""
        self._asked_over = -1
        self._asked_at = -math.inf
        self._known: _Books | None = None
        self._unreported: list[_Books] = []
        self._rate = 0.0
        self._rate_from: tuple[float, int] | None = None
        self._said_old_at = -math.inf
        self._wanted = asyncio.Event()

    # ── for those who put something in ────────────────────────────────────────────────────────

    @property
    def open(self) -> bool:
        """Whether events may go into Redis now: it is there, and known to be what it should be."""
        redis = self._redis
        return self.problem is None and redis.is_connected and redis.generation == self._asked_over

    def failed(self, why: str) -> None:
        """Redis did not do what it was asked; nothing goes there until it has been looked at."""
        self.problem = why
        self._wanted.set()

    def noted(self, name: str, added: int) -> None:
        """An answer told how many were added, by which books."""
        known = self._known
        if known is None or known.name != name:
            if known is not None:
                self._unreported.append(known)
                self._wanted.set()
            self._known = _Books(name, added, 0)
        elif added > known.added:
            known.added = added

    def came(self, count: int) -> None:
        """So many were added by this process: they count before the next look."""
        self.look = msgspec.structs.replace(self.look, length=self.look.length + count)

    def let_go(self, count: int) -> None:
        """So many that had been added are where they should be, and in Redis no longer."""
        if self._known is not None:
            self._known.gone += count
        # Or they would be counted here and in the database until the next look.
        length = max(self.look.length - count, 0)
        self.look = msgspec.structs.replace(self.look, length=length)

    def retry_after_s(self, wanted: int) -> int:
        """When there may be room for so many, by how fast it is emptied."""
        return retry_after_s(wanted, self._rate)

    @property
    def remark(self) -> str | None:
        """What an answer says of what it is worth, where it is worth less than it might be."""
        found = self.durability
        return found.remark if found is not None and found.weaknesses else None

    # ── looking ───────────────────────────────────────────────────────────────────────────────

    async def begin(self) -> None:
        """The first look, at the start of the process.

        Raises:
            StartError: Redis is there, and must not be used as it is.
        """
        await self._turn(starting=True)

    async def run_once(self) -> float:
        """One look."""
        self._wanted.clear()
        await self._turn(starting=False)
        return _EVERY_S

    async def wait(self, timeout_s: float) -> None:
        """Until the next look, or until somebody wants one."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._wanted.wait()
        except TimeoutError:
            return

    async def _turn(self, *, starting: bool) -> None:
        try:
            await self.look_now()
            problem = await self._ask_durability(starting=starting)
        except Unavailable as error:
            problem = error.detail
        self._say(problem)

    def _say(self, problem: str | None) -> None:
        before, self.problem = self.problem, problem
        self._metrics.buffer_up.set(problem is None)
        if problem is None:
            if before is not None:
                log.info("events go into redis")
        elif problem != before:
            log.error("no events go into redis", why=problem)

    async def look_now(self) -> BufferLook:
        """Look.

        Raises:
            Unavailable: Redis is away.
        """
        names = self._names
        before = self._known
        remembered = None if before is None else (before.name, before.added)
        answer = await self._redis.run(
            LOOK, (names.stream, names.waiting, names.books, names.poison), (GROUP,)
        )
        length, waiting, poisoned, pending, first, now_ms, pairs = answer
        books = {
            name.decode(): value.decode()
            for name, value in zip(pairs[::2], pairs[1::2], strict=True)
        }
        added, settled = _number(books, "added"), _number(books, "settled")
        gone = settled + _number(books, "poisoned") + _number(books, "lost")
        await self._compare(books.get("name"), added, gone, remembered)
        self.reported = _number(books, "reported")
        self.look = BufferLook(
            length=length,
            pending=max(pending, 0),
            poisoned=poisoned,
            oldest_age_s=max(now_ms - int(first.partition(b"-")[0]), 0) / 1000 if first else 0.0,
            added=added,
            settled=settled,
            lost=_number(books, "lost") + _missing(books),
            vanished=max(waiting - length, 0),
            forgiven=_number(books, "forgiven"),
        )
        self._measure(settled)
        self._show()
        return self.look

    async def _compare(
        self, name: str | None, added: int, gone: int, remembered: tuple[str, int] | None
    ) -> None:
        """See whether Redis remembers what this process does, and write down what it does not."""
        known = self._known
        if remembered is not None and known is not None and known.name == remembered[0]:
            if name != remembered[0] or added < remembered[1]:
                self._unreported.append(known)
                self._known = known = None
            else:
                known.added, known.gone = max(known.added, added), max(known.gone, gone)
        if known is None and name is not None:
            self._known = _Books(name, added, gone)
        while self._unreported:
            books = self._unreported[0]
            missing = await self._redis.run(
                REPORT,
                (self._names.books,),
                (books.name, books.added, books.gone, new_name()),
            )
            self._unreported.pop(0)
            if missing:
                log.error(
                    "redis has forgotten events that had been accepted",
                    missing=missing,
                    added=books.added,
                )
                self._wanted.set()

    async def _ask_durability(self, *, starting: bool) -> str | None:
        now = self._monotonic()
        redis = self._redis
        asked_over = redis.generation
        if asked_over == self._asked_over and now < self._asked_at + _DURABILITY_EVERY_S:
            return self._weakness()
        try:
            found = await ask_durability(redis)
        except StartError as error:
            if starting:
                raise
            return str(error)
        if starting and self._strict and found.weaknesses:
            raise StartError(
                f"{redis.address.shown} may lose what it was given: {'; '.join(found.weaknesses)}. "
                "Change that, or set TRIGGERS_REDIS_DURABILITY=relaxed"
            )
        before = self.durability
        if found.weaknesses and (before is None or before.weaknesses != found.weaknesses):
            log.warning("redis may lose what it was given", why="; ".join(found.weaknesses))
        self.durability, self._asked_over, self._asked_at = found, asked_over, now
        return self._weakness()

    def _weakness(self) -> str | None:
        found = self.durability
        if found is None or not self._strict or not found.weaknesses:
            return None
        return f"Redis may lose what it was given: {'; '.join(found.weaknesses)}"

    def _measure(self, settled: int) -> None:
        now = self._monotonic()
        if self._rate_from is not None and settled >= self._rate_from[1]:
            since, before = self._rate_from
            if now - since < _EVERY_S / 2:
                return
            rate = (settled - before) / (now - since)
            self._rate += _SMOOTHING * (rate - self._rate)
            # What has stood still for a while stands still.
            self._rate = 0.0 if self._rate < 1 else self._rate
        self._rate_from = (now, settled)

    def _show(self) -> None:
        look, metrics = self.look, self._metrics
        metrics.buffer_depth.set(look.length)
        metrics.buffer_pending.set(look.pending)
        metrics.buffer_poisoned.set(look.poisoned)
        metrics.buffer_oldest_age.set(look.oldest_age_s)
        now = self._monotonic()
        if look.oldest_age_s <= self._alarm_age_s:
            self._said_old_at = -math.inf
        elif now - self._said_old_at >= _SAY_AGAIN_S:
            self._said_old_at = now
            log.warning(
                "events wait in redis for too long",
                oldest_age_s=round(look.oldest_age_s),
                length=look.length,
            )

    @property
    def too_old(self) -> bool:
        """Whether something has been waiting for longer than it may."""
        return self.look.oldest_age_s > self._alarm_age_s


def new_name() -> str:
    """A name for books that are begun."""
    return secrets.token_hex(8)


def _number(books: dict[str, str], name: str) -> int:
    value = books.get(name, "0")
    return int(value) if value.isascii() and value.isdigit() else 0


def _missing(books: dict[str, str]) -> int:
    """Of past books, what was added and never seen again."""
    names = {field.split(":")[1] for field in books if field.startswith("past:")}
    return sum(
        max(_number(books, f"past:{name}:added") - _number(books, f"past:{name}:kept"), 0)
        for name in names
    )
