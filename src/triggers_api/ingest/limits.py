"""Rate limits by GCRA, the generic cell rate algorithm (ITU-T I.371).

One moment for each key: when the limiter would be empty again if nothing more came. Exact, with an
explicit burst, and nothing to sweep but keys that have been idle.
"""

from typing import Final

import msgspec

_SWEEP_AT: Final = 100_000


class Rate(msgspec.Struct, frozen=True, gc=False):
    """So many units a minute, so many of them at once."""

    per_minute: int
    burst: int

    @property
    def interval(self) -> float:
        """Seconds that one unit takes to come back."""
        return 60.0 / self.per_minute


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


class RateLimiter:
    """Limits held in this process's memory; a restart forgets them, which lets one burst through."""

    def __init__(self) -> None:
        self._empty_at: dict[str, float] = {}

    def check(self, key: str, cost: int, rate: Rate, *, now: float) -> RateDecision:
        """Let ``cost`` units through, all or none.

        Args:
            key: whose limit.
            cost: units asked for.
            rate: the limit; ``per_minute`` above 0.
            now: seconds on a clock that never goes back.
        """
        interval = rate.interval
        capacity = rate.burst * interval
        used = self._empty_at.get(key, 0.0) - now
        used = max(used, 0.0)
        excess = used + cost * interval - capacity
        # An allowance for rounding: adding the interval n times is not quite n times the interval.
        if excess > interval * 1e-6:
            return RateDecision(False, _whole((capacity - used) / interval), used, excess)
        used += cost * interval
        self._empty_at[key] = now + used
        if len(self._empty_at) > _SWEEP_AT:
            self._empty_at = {k: at for k, at in self._empty_at.items() if at > now}
        return RateDecision(True, _whole((capacity - used) / interval), used, 0.0)


def _whole(units: float) -> int:
    return max(0, int(units + 1e-6))
