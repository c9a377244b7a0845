"""One rate limit for many processes, without asking for leave at each request.

The meters are common (a :class:`QuotaLedger`, in Redis or in the database); each process knows what
they stood at when it last asked. Far from the limit it lets requests through on credit and says so
a moment later, for many together; where its credit ends they wait for one answer, again together;
what cannot be free by all that is known is refused at once. So the common limit is exceeded by a
chunk at most, for a moment (:func:`triggers_api.model.quota.credit`), and what exceeds it is owed:
over a while the rate is exact. See docs/decisions/0027-shared-limits.md.

While the ledger is away each process keeps its share of every limit.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Final

import structlog

from triggers_api.errors import Unavailable
from triggers_api.ingest.limits import LimitsState, RateDecision, RateLimiter
from triggers_api.model import quota
from triggers_api.model.quota import PARTS, Meter, QuotaAsk, QuotaGrant, Rate
from triggers_api.store.base import QuotaLedger
from triggers_api.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

_REPORT_S: Final = 0.05
"""The longest that what was let through on credit is not told."""
_PATIENCE_S: Final = 0.5
_LOOK_S: Final = 1.0
_ACCOUNTS: Final = 10_000
"""How many are kept before the idle ones are dropped."""


class _Account:
    """What this process knows of one organization's meter, and what it owes to it."""

    __slots__ = ("credit", "debt", "known", "rate", "reported", "waiting")

    def __init__(self, rate: Rate, credit: int) -> None:
        self.rate = rate
        self.credit = credit
        self.known = Meter()
        self.debt = 0
        self.reported = 0
        """Of what was let through on credit, how much is on its way to the ledger."""
        self.waiting: deque[tuple[int, asyncio.Future[RateDecision]]] = deque()

    def wanted(self) -> tuple[int, int]:
        """What the first one that waits needs, and with that those behind it that take any part of it.

        A batch takes no part: what it would leave over would be in nobody's hands for a while.
        """
        need, want = 0, 0
        for cost, _ in self.waiting:
            if not need:
                need = want = cost
            elif cost == 1:
                want += 1
            else:
                break
        return need, want

    def level_at(self, now_us: int) -> int:
        """What is used for all that is known here: others may have used more."""
        known = self.known.level_at(now_us, self.rate.per_minute)
        return max(known + (self.debt + self.reported) * PARTS, 0)


class SharedLimiter:
    """See :class:`triggers_api.ingest.limits.Limiter`; and a part that looks after itself."""

    name = "limits"

    def __init__(
        self,
        ledger: QuotaLedger,
        *,
        kept_in: str,
        processes: Callable[[], Awaitable[int]],
        metrics: Metrics,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        """Set up.

        Args:
            ledger: keeps the meters.
            kept_in: what that is, for people.
            processes: how many share the limits; may raise ``Unavailable``.
            metrics: is told where limits are kept.
            clock: seconds on the clock of ``now`` in :meth:`check`.
        """
        self._ledger = ledger
        self._count = processes
        self._metrics = metrics
        self._clock = clock
        self._alone = RateLimiter()
        self._accounts: dict[str, _Account] = {}
        self._dirty: dict[str, _Account] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._talk: asyncio.Task[None] | None = None
        self.kept_in = kept_in
        self.processes = 1
        """How many share the limits, this one included."""
        self.away = False
        """Whether the ledger is away, and limits are kept by this process's share."""

    def state(self) -> LimitsState:
        return LimitsState(self.kept_in, "local" if self.away else "shared", self.processes)

    # ── requests ──────────────────────────────────────────────────────────────────────────────

    def check(
        self, key: str, cost: int, rate: Rate, *, now: float
    ) -> "RateDecision | asyncio.Future[RateDecision]":
        """Let ``cost`` units through, all or none: at once unless only the ledger can tell."""
        if self.away:
            return self._decide_alone(key, cost, rate, now)
        account = self._accounts.get(key)
        if account is None:
            account = self._accounts[key] = _Account(rate, quota.credit(rate, self.processes))
        elif account.rate != rate:
            # Units stay units: what was used under the old limit is used under the new one.
            account.known = Meter(
                account.known.level_at(_micros(now), account.rate.per_minute), _micros(now)
            )
            account.rate, account.credit = rate, quota.credit(rate, self.processes)
        level = account.level_at(_micros(now))
        if quota.wait_s(level, cost, rate) > 0:
            return _refused(level, cost, rate)
        if not account.waiting and account.debt + account.reported + cost <= account.credit:
            account.debt += cost
            self._dirty[key] = account
            if account.debt * 2 > account.credit:
                self._report()
            elif self._timer is None and self._talk is None:
                self._timer = asyncio.get_running_loop().call_later(_REPORT_S, self._report)
            return _allowed(level + cost * PARTS, rate)
        future: asyncio.Future[RateDecision] = asyncio.get_running_loop().create_future()
        account.waiting.append((cost, future))
        self._dirty[key] = account
        self._report()
        return future

    def _decide_alone(self, key: str, cost: int, rate: Rate, now: float) -> RateDecision:
        return self._alone.check(key, cost, quota.share(rate, self.processes, cost), now=now)

    # ── the ledger ────────────────────────────────────────────────────────────────────────────

    def _report(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._talk is None:
            self._talk = asyncio.create_task(self._talk_with_ledger(), name="limits: ledger")

    async def _talk_with_ledger(self) -> None:
        """One question at a time: what comes up meanwhile is the next one."""
        try:
            while self._dirty and not self.away:
                asked, self._dirty = self._dirty, {}
                await self._ask(asked)
                # What nobody waits for and is not much may wait for company.
                if not any(
                    each.waiting or each.debt * 2 > each.credit for each in self._dirty.values()
                ):
                    break
        finally:
            self._talk = None
            if self._dirty and not self.away and self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(_REPORT_S, self._report)

    async def _ask(self, asked: dict[str, _Account]) -> None:
        asks = []
        # In one order for all processes: of two that ask for the same rows none waits for the other.
        for key in sorted(asked):
            account = asked[key]
            account.reported, account.debt = account.debt, 0
            asks.append(QuotaAsk(key, account.rate, account.reported, *account.wanted()))
        sent = _micros(self._clock())
        try:
            async with asyncio.timeout(_PATIENCE_S):
                grants = await self._ledger.spend(asks)
        except TimeoutError:
            self._lose("it has not answered in time")
        except Unavailable as problem:
            self._lose(problem.detail)
        except Exception as error:
            # Requests wait for the answer; they must get one whatever is wrong.
            log.exception("rate limits could not be asked for")
            self._lose(type(error).__name__)
        else:
            for ask, grant in zip(asks, grants, strict=True):
                self._settle(ask, asked[ask.organization_id], grant, sent)

    def _settle(self, ask: QuotaAsk, account: _Account, grant: QuotaGrant, sent: int) -> None:
        # By the moment of the question and not of the answer: so what is known is never too much,
        # and nobody is refused who would be let through.
        account.known = Meter(grant.level, sent)
        account.reported = 0
        rate, units, first = account.rate, grant.granted, bool(ask.need and not grant.granted)
        now = self._clock()
        level = account.level_at(_micros(now))
        while account.waiting:
            cost, future = account.waiting[0]
            if not future.done():
                if units >= cost:
                    units -= cost
                    future.set_result(_allowed(level, rate))
                elif first or quota.wait_s(level, cost - units, rate) > 0:
                    future.set_result(_refused(level, cost - units, rate))
                else:
                    break
            first = False
            account.waiting.popleft()
        if account.waiting or units:
            # Of what is left over: somebody hung up.
            account.debt -= units
            self._dirty[ask.organization_id] = account
        used = ask.debt + grant.granted - units
        if used > 0:
            self._alone.note(
                ask.organization_id, used, quota.share(rate, self.processes, 1), now=now
            )

    def _lose(self, why: str) -> None:
        self.away = True
        self._metrics.limits_local.set(1)
        log.warning(
            "rate limits are kept by this process alone, by its share",
            kept_in=self.kept_in,
            why=why,
            processes=self.processes,
        )
        self._dirty = {}
        now = self._clock()
        for key, account in self._accounts.items():
            account.debt = account.reported = 0
            waiting, account.waiting = account.waiting, deque()
            for cost, future in waiting:
                if not future.done():
                    future.set_result(self._decide_alone(key, cost, account.rate, now))

    # ── a part ────────────────────────────────────────────────────────────────────────────────

    async def run_once(self) -> float:
        """Look whether the ledger is back, and how many processes there are."""
        if self.away:
            await self._look()
        await self._count_processes()
        return _LOOK_S

    async def wait(self, timeout_s: float) -> None:
        """Until the next look."""
        await asyncio.sleep(timeout_s)

    async def _look(self) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._ledger.spend(())
        except (TimeoutError, Unavailable):
            return
        self.away = False
        self._metrics.limits_local.set(0)
        log.info("rate limits are shared again", kept_in=self.kept_in)

    async def _count_processes(self) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                found = max(await self._count(), 1)
        except (TimeoutError, Unavailable):
            return  # as many as there were
        if found != self.processes:
            self.processes = found
            for account in self._accounts.values():
                account.credit = quota.credit(account.rate, found)
        if len(self._accounts) > _ACCOUNTS:
            now = _micros(self._clock())
            self._accounts = {
                key: account
                for key, account in self._accounts.items()
                if account.waiting or account.debt or account.level_at(now)
            }

    async def close(self) -> None:
        """Say what was let through and is not told yet, as far as the ledger is there."""
        self._report()
        if self._talk is not None:
            await asyncio.wait((self._talk,), timeout=_PATIENCE_S)


def _micros(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _allowed(level: int, rate: Rate) -> RateDecision:
    return RateDecision(True, quota.free_units(level, rate), quota.reset_s(level, rate), 0.0)


def _refused(level: int, cost: int, rate: Rate) -> RateDecision:
    return RateDecision(
        False,
        # Some may have come back since the ledger was asked: nobody is told no and that there is enough.
        min(quota.free_units(level, rate), max(cost - 1, 0)),
        quota.reset_s(level, rate),
        quota.wait_s(level, cost, rate),
    )
