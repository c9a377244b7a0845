"""How much an organization may send: what is used, what is free, and what is spent on credit.

GCRA, the generic cell rate algorithm, in its form as a leaky bucket (ITU-T I.371: "continuous-state
leaky bucket" and "virtual scheduling", which is in :mod:`triggers_api.ingest.limits`, decide
alike). A meter holds what was used and has not leaked out again. In whole numbers: rounding would
let through one more or one less after some days.
"""

from typing import Final

import msgspec

PARTS: Final = 60_000_000
"""Of one unit: the microseconds of a minute, so that ``per_minute`` parts leak out in each of them."""

_SHARE: Final = 20
"""A chunk is this part of the burst."""


class Rate(msgspec.Struct, frozen=True, gc=False):
    """So many units a minute, so many of them at once."""

    per_minute: int
    burst: int

    @property
    def interval(self) -> float:
        """Seconds that one unit takes to come back."""
        return 60.0 / self.per_minute


class Meter(msgspec.Struct, frozen=True, gc=False):
    """What is used, in :data:`PARTS` of a unit, at a moment in microseconds on some clock."""

    level: int = 0
    at_us: int = 0

    def level_at(self, now_us: int, per_minute: int) -> int:
        """What is used at another moment; time that went back does not count."""
        return max(self.level - max(now_us - self.at_us, 0) * per_minute, 0)


class QuotaAsk(msgspec.Struct, frozen=True, gc=False):
    """What a process asks of the common meter of an organization.

    Attributes:
        organization_id: whose.
        rate: the limit; ``per_minute`` above 0.
        debt: units that were let through on credit: they are used, whatever is free. Below 0 when units
            that were granted are given back.
        need: how many more it wants at least; 0 for none.
        want: how many it would take, not below ``need``.
    """

    organization_id: str
    rate: Rate
    debt: int
    need: int = 0
    want: int = 0


class QuotaGrant(msgspec.Struct, frozen=True, gc=False):
    """The answer.

    Attributes:
        granted: 0, or from ``need`` to ``want`` units.
        level: of the meter behind it, in :data:`PARTS`; above the burst where credit was overdrawn.
    """

    granted: int
    level: int


def spend(meter: Meter, ask: QuotaAsk, now_us: int) -> tuple[Meter, QuotaGrant]:
    """What becomes of a meter, and the answer: what every ledger has to decide."""
    rate = ask.rate
    level = max(meter.level_at(now_us, rate.per_minute) + ask.debt * PARTS, 0)
    free = max(rate.burst * PARTS - level, 0) // PARTS
    granted = min(ask.want, free) if free >= ask.need else 0
    level += granted * PARTS
    return Meter(level, max(now_us, meter.at_us)), QuotaGrant(granted, level)


def free_units(level: int, rate: Rate) -> int:
    """How many units may still be used."""
    return max(rate.burst * PARTS - level, 0) // PARTS


def wait_s(level: int, cost: int, rate: Rate) -> float:
    """Seconds until ``cost`` units are free, as if nobody used any; 0 when they are."""
    return max(level + cost * PARTS - rate.burst * PARTS, 0) / (rate.per_minute * 1e6)


def reset_s(level: int, rate: Rate) -> float:
    """Seconds until the whole burst is free."""
    return level / (rate.per_minute * 1e6)


def credit(rate: Rate, processes: int) -> int:
    """Units that one of several processes may let through before it has said so.

    Together a twentieth of the burst, the *chunk*: by so much the limit may be exceeded for a moment,
    and what exceeds it is owed.
    """
    return rate.burst // (_SHARE * max(processes, 1))


def share(rate: Rate, processes: int, cost: int) -> Rate:
    """The part of a limit that each process keeps while nobody can say what the others let through.

    A request that is larger than the part passes when nothing else was used, or it never would.
    """
    processes = max(processes, 1)
    return Rate(max(rate.per_minute // processes, 1), max(rate.burst // processes, cost, 1))
