"""Rate limits by GCRA, the generic cell rate algorithm (ITU-T I.371).

One moment for each key: when the limiter would be empty again if nothing more came. Exact, with an
explicit burst, and nothing to sweep but keys that have been idle.
"""

import asyncio
from typing import Final, Protocol

import msgspec

from triggers_api.model.quota import Rate

_SWEEP_AT: Final = 100_000


class RateDecision(msgspec.Struct, frozen=True, gc=False):
    """A limiter's answer.

    Attributes:
        allowed: whether the request may go on.
        remaining: how many more would be let through now.
        reset_s: seconds until ``remaining`` is the whole burst again.
        retry_after_s: seconds until the same request would be let through; 0 when it was.
    """

    allowed: bool
    remaining: int
    reset_s: float
    retry_after_s: float


class LimitsState(msgspec.Struct, frozen=True):
    """Where rate limits are kept.

    Attributes:
        kept_in: ``memory``, ``postgresql`` or ``redis``.
        state: ``shared`` by all processes, or ``local``: kept by this one, all of each limit where it is
            the only one there may be, else its share because what ``kept_in`` names is away.
        processes: how many share each limit.
    """

    kept_in: str
    state: str
    processes: int


class Limiter(Protocol):
    """Who counts."""

    def state(self) -> LimitsState:
        """Where."""

    def check(
        self, key: str, cost: int, rate: Rate, *, now: float
    ) -> "RateDecision | asyncio.Future[RateDecision]":
        """Let ``cost`` units through, all or none; at once, where that can be said at once.

        Args:
            key: whose limit.
            cost: units asked for.
            rate: the limit; ``per_minute`` above 0.
            now: seconds on a clock that never goes back.
        """


_MINUTE: Final = 60_000_000_000
_SECOND: Final = 1_000_000_000
_ROUNDING: Final = 2  # nanoseconds


class RateLimiter:
    """Limits held in this process's memory; a restart forgets them, which lets one burst through."""

    def __init__(self) -> None:
        self._empty_at: dict[tuple[str, int], int] = {}

    def state(self) -> LimitsState:
        return LimitsState("memory", "local", 1)

    def check(self, key: str, cost: int, rate: Rate, *, now: float) -> RateDecision:
        """Let ``cost`` units through, all or none.

        Args:
            key: whose limit.
            cost: units asked for.
            rate: the limit; ``per_minute`` above 0.
            now: seconds on a clock that never goes back.
        """
        # In whole numbers, or rounding would let through one more or one less after some days:
        # time in nanoseconds times the rate, so that one unit takes exactly a minute's worth.
        per_minute = rate.per_minute
        moment = round(now * _SECOND) * per_minute
        capacity = rate.burst * _MINUTE
        used = max(self._empty_at.get((key, per_minute), 0) - moment, 0)
        excess = used + cost * _MINUTE - capacity
        scale = _SECOND * per_minute
        # Whoever waited as long as told must not be early by the rounding of two floats; what is
        # granted a moment early is still owed in full, so this never adds up.
        if excess > _ROUNDING * per_minute:
            return RateDecision(
                False, max(capacity - used, 0) // _MINUTE, used / scale, excess / scale
            )
        used += cost * _MINUTE
        self._empty_at[key, per_minute] = moment + used
        if len(self._empty_at) > _SWEEP_AT:
            self._forget_idle(now)
        return RateDecision(True, max(capacity - used, 0) // _MINUTE, used / scale, 0.0)

    def note(self, key: str, cost: int, rate: Rate, *, now: float) -> None:
        """Count units that were let through by somebody else's word, up to all that there are."""
        moment = round(now * _SECOND) * rate.per_minute
        used = max(self._empty_at.get((key, rate.per_minute), 0) - moment, 0) + cost * _MINUTE
        self._empty_at[key, rate.per_minute] = moment + min(used, rate.burst * _MINUTE)
        if len(self._empty_at) > _SWEEP_AT:
            self._forget_idle(now)

    def _forget_idle(self, now: float) -> None:
        moment = round(now * _SECOND)
        self._empty_at = {
            key: empty_at for key, empty_at in self._empty_at.items() if empty_at > moment * key[1]
        }
