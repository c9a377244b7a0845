"""The targets, and whether a measurement meets them. Pure."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec

OK: Final = 0
FAILED: Final = 1
MISSED: Final = 4
"""Exit codes: every verdict holds; something is void or went wrong; a target was missed."""


class Outcome(StrEnum):
    """What a verdict says."""

    HOLDS = "holds"
    MISSED = "missed"
    VOID = "void"
    NOT_JUDGED = "not judged"


class Bound(StrEnum):
    """On which side of its limit a number has to be."""

    AT_LEAST = "≥"
    AT_MOST = "≤"
    BELOW = "<"


class Goal(msgspec.Struct, frozen=True):
    """A target in words, and as a bound on one number."""

    text: str
    bound: Bound
    limit: float
    unit: str = ""

    def met_by(self, measured: float) -> bool:
        """Whether a number is on the right side."""
        match self.bound:
            case Bound.AT_LEAST:
                return measured >= self.limit
            case Bound.AT_MOST:
                return measured <= self.limit
            case Bound.BELOW:
                return measured < self.limit

    def __str__(self) -> str:
        """The whole target: ``ingest p99 ≤ 10 ms``."""
        return f"{self.text} {self.bound} {self.limit:,g}{self.unit and ' ' + self.unit}"


class Verdict(msgspec.Struct, frozen=True):
    """A target, what was measured, what that means, and where it is in doubt, why."""

    target: str
    measured: float | None
    unit: str
    outcome: Outcome
    reason: str = ""


INGEST_RATIO: Final = Goal(
    "durable single-event POSTs, as a share of the bare ASGI echo in the same run,",
    Bound.AT_LEAST,
    0.4,
)
INGEST_P95: Final = Goal("ingest p95 at 64 connections", Bound.BELOW, 10, "ms")
INGEST_P99: Final = Goal("ingest p99 at 64 connections", Bound.AT_MOST, 10, "ms")
POSTGRES_RATE: Final = Goal(
    "durable single-event POSTs at 64 connections on PostgreSQL", Bound.AT_LEAST, 10_000, "/s"
)
POSTGRES_P99: Final = Goal("ingest p99 at 64 connections on PostgreSQL", Bound.AT_MOST, 15, "ms")
VOLUME_RATIO: Final = Goal(
    "ingest with millions of events stored, as a share of that with none,", Bound.AT_LEAST, 0.9
)
SAME_PLANS: Final = Goal("plans of claims and lists that are others then", Bound.AT_MOST, 0)
PIPELINE_RATE: Final = Goal(
    "accepted, routed, signed, delivered, settled, in one process", Bound.AT_LEAST, 4000, "events/s"
)
RECEIVED_P50: Final = Goal("sent-to-received p50 at 500 events/s", Bound.AT_MOST, 10, "ms")
RECEIVED_P99: Final = Goal("sent-to-received p99 at 500 events/s", Bound.AT_MOST, 50, "ms")
ROUTED_P95: Final = Goal("accepted-to-routed p95 at 500 events/s", Bound.BELOW, 100, "ms")
IDLE_CPU: Final = Goal("CPU of a server at rest", Bound.BELOW, 1, "%")
IDLE_MEMORY: Final = Goal("memory of a server at rest", Bound.BELOW, 120, "MB")

NEIGHBOURS_RATE: Final = Goal(
    "deliveries to 85 endpoints beside 10 that hang and 5 that fail, as a share of those without,",
    Bound.AT_LEAST,
    0.9,
)
NEIGHBOURS_P99: Final = Goal(
    "their sent-to-received p99, as a multiple of that without,", Bound.AT_MOST, 1.5
)
NEIGHBOURS_INGEST_P99: Final = Goal(
    "ingest p99 meanwhile, as a multiple of that without,", Bound.AT_MOST, 1.2
)
BACKLOG_CONSTANT: Final = Goal(
    "routing the first or the last tenth of a million events that waited, the slower to the other,",
    Bound.AT_LEAST,
    0.8,
)
BACKLOG_WAITING_P99: Final = Goal(
    "ingest p99 while they wait, as a multiple of that with none,", Bound.AT_MOST, 1.2
)
BACKLOG_DRAINING_P99: Final = Goal(
    "ingest p99 while they are routed, as a multiple of that with none,", Bound.AT_MOST, 1.2
)
BACKLOG_MEMORY: Final = Goal("memory of the server meanwhile", Bound.AT_MOST, 300, "MB")
DELIVERY_RATIO: Final = Goal(
    "signed, delivered and settled, as a share of a bare aiohttp loop to the same receiver,",
    Bound.AT_LEAST,
    0.5,
)
BATCH_RATIO: Final = Goal(
    "events accepted in batches of 500, as a share of the bare insert of the same rows,",
    Bound.AT_LEAST,
    0.5,
)
ORDER_RATIO: Final = Goal(
    "deliveries in the order of 1,000 keys, as a share of those in no order,", Bound.AT_LEAST, 0.7
)
INBOX_P99: Final = Goal("pulls of 100 from an inbox, p99", Bound.AT_MOST, 20, "ms")
INBOX_FLAT: Final = Goal(
    "their p99 with a million events stored, as a multiple of that with a thousand,",
    Bound.AT_MOST,
    1.5,
)
SEARCH_P95: Final = Goal(
    "p95 of searches among a million events, of each kind that is indexed,", Bound.AT_MOST, 50, "ms"
)

REFUSED: Final = Goal("requests that were refused or lost", Bound.AT_MOST, 0)
NOT_STORED: Final = Goal("accepted events that are not stored", Bound.AT_MOST, 0)
NOT_FOUND: Final = Goal("sampled accepted events that GET does not find", Bound.AT_MOST, 0)
UNEXPLAINED: Final = Goal("stored events that nobody was told about", Bound.AT_MOST, 0)
WRONG_DUPLICATES: Final = Goal("duplicates answered with another event's id", Bound.AT_MOST, 0)
NOT_RECEIVED: Final = Goal("accepted events that were not received", Bound.AT_MOST, 0)
NOT_ACKED: Final = Goal("pulled events that could not be acknowledged", Bound.AT_MOST, 0)
NOT_ROUTED: Final = Goal("accepted events that are not stored or not routed", Bound.AT_MOST, 0)
NOT_SETTLED: Final = Goal("accepted events whose delivery is not settled", Bound.AT_MOST, 0)
NOT_AT_ONCE: Final = Goal(
    "searches that do not find an event as soon as it was confirmed", Bound.AT_MOST, 0
)
BAD_SIGNATURES: Final = Goal("sampled webhooks with a wrong signature", Bound.AT_MOST, 0)


def judge(
    goal: Goal, measured: float | None, *, void: str = "", unjudged: str = "", doubt: str = ""
) -> Verdict:
    """The verdict on a number.

    Args:
        goal: the target.
        measured: the number; ``None`` when there is none.
        void: why the measurement is worth nothing, if so.
        unjudged: why the target does not apply to it, if so.
        doubt: what speaks against it when the target is missed, if anything.
    """
    if unjudged or measured is None:
        outcome, reason = Outcome.NOT_JUDGED, unjudged or "it could not be measured here"
    elif void:
        outcome, reason = Outcome.VOID, void
    elif goal.met_by(measured):
        outcome, reason = Outcome.HOLDS, ""
    else:
        outcome, reason = Outcome.MISSED, doubt
    return Verdict(str(goal), measured, goal.unit, outcome, reason)


def exit_code(verdicts: Sequence[Verdict]) -> int:
    """What the process says about all of them together."""
    outcomes = {verdict.outcome for verdict in verdicts}
    if Outcome.VOID in outcomes:
        return FAILED
    return MISSED if Outcome.MISSED in outcomes else OK


SATURATED: Final = 0.95
"""The share of its core above which a program is taken to be at its limit."""


def saturation(loader: float, server: float | None) -> str:
    """Why a run is void because the loader was at its limit and the server was not; else empty.

    Args:
        loader: its share of a core.
        server: that of the server; ``None`` when it is not known.
    """
    if loader < SATURATED or (server is not None and server >= SATURATED):
        return ""
    known = "is not known" if server is None else f"was {server:.0%}"
    return f"the loader was at its limit ({loader:.0%} of a core), the server's share {known}"
