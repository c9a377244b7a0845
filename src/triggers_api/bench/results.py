"""What each profile measures. These are the objects of ``--json``."""

import msgspec

from triggers_api.bench.machine import CoreUse
from triggers_api.bench.statistics import Latency
from triggers_api.bench.targets import Verdict


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """One stretch of load on one server.

    Attributes:
        what: ``echo``, ``ingest``, ``ingest, processing paused`` and the like.
        loader: ``wrk`` or ``raw``.
        answers: all that came.
        rate: of good ones, a second.
        statuses: answers by status; by ``wrk`` only ``<400`` and ``≥400``.
        lost: requests without an answer.
        latency: from the sending to the answer; the raw loader leaves out what was refused.
        loader_cpu: the loader's share of its core.
        server: how busy the server and its core were; ``None`` for one that is not ours.
        void: why the slice is worth nothing; empty when it is not.
    """

    what: str
    loader: str
    seconds: float
    answers: int
    rate: float
    statuses: dict[str, int]
    lost: int
    latency: Latency | None
    loader_cpu: float
    server: CoreUse | None = None
    void: str = ""


class Books(msgspec.Struct, frozen=True, kw_only=True):
    """A server's books (``GET /api/admin/verify``), all organizations together."""

    ok: bool
    accepted: int
    queued: int
    processed: int
    deliveries: int
    succeeded: int
    waiting: int


class Accounting(msgspec.Struct, frozen=True, kw_only=True):
    """What was accepted against what is stored.

    Attributes:
        accepted: answers that said so (201, 202).
        stored: events that the server's books have gained; ``None`` without an operator's key.
        balanced: whether the books balance.
        unanswered: requests that ended without an answer, whose events may be stored or not.
        missing: accepted and not stored.
        unexplained: stored, and neither accepted nor unanswered.
        sampled: accepted events that were asked for, one by one.
        found: of these.
        duplicates: answers that said so (200).
        wrong_duplicates: of these, the ones that named another event than the first one.
    """

    accepted: int
    stored: int | None
    balanced: bool | None
    unanswered: int
    missing: int | None
    unexplained: int | None
    sampled: int
    found: int
    duplicates: int
    wrong_duplicates: int


class Ingest(msgspec.Struct, frozen=True, kw_only=True):
    """Durable single-event POSTs in a closed loop, beside the ceiling of the same server software.

    Attributes:
        ratio: median rate of ingest through the median rate of the echo.
        ratios: the same, round by round.
        cpu_ratio: requests for each second of CPU, ingest's through the echo's: what the ratio is
            when nothing but the processor limits both.
        routed_p95_ms: from acceptance to routing, while all of this came in.
        resident_mb: the server's memory at the end.
    """

    connections: int
    echo_rate: float | None
    ingest_rate: float
    paused_rate: float | None
    ratio: float | None
    ratios: list[float]
    paused_ratio: float | None
    cpu_ratio: float | None
    latency: Latency | None
    routed_p95_ms: float | None
    slices: list[Slice]
    accounting: Accounting
    resident_mb: float | None
    verdicts: list[Verdict]


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """What became of accepted events at the receiver and in the server's books.

    Attributes:
        received: different events that arrived.
        repeats: requests about an event that had arrived before.
        strangers: events that this load did not send.
        succeeded: deliveries that the books have as such; ``None`` without an operator's key.
        verified: webhooks whose signature was checked, and ``wrong`` of them.
    """

    received: int
    repeats: int
    strangers: int
    succeeded: int | None
    verified: int
    wrong: int


class Pipeline(msgspec.Struct, frozen=True, kw_only=True):
    """Single events from ``POST`` to a settled delivery, in one server process.

    Attributes:
        rate: settled deliveries a second, from the first request until the last is settled.
        accept_seconds: until the last answer.
        receive_seconds: until the last arrival.
        settle_seconds: until everything is settled.
        received_latency: from the sending of an event to its arrival; with more coming in than
            goes out this is mostly waiting.
    """

    rate: float
    accept_seconds: float
    receive_seconds: float
    settle_seconds: float
    load: Slice
    received_latency: Latency | None
    routed_p95_ms: float | None
    delivered: Delivered
    accounting: Accounting
    resident_mb: float | None
    verdicts: list[Verdict]


class AtRate(msgspec.Struct, frozen=True, kw_only=True):
    """An open loop: events are sent at their time, whatever became of the ones before.

    Attributes:
        offered: events a second.
        accepted_latency: from the time an event was to be sent to its answer.
        received_latency: from the time an event was to be sent to its arrival at the receiver.
        send_delay: how late the loader was; it is part of both latencies.
    """

    offered: float
    load: Slice
    accepted_latency: Latency | None
    received_latency: Latency | None
    send_delay: Latency | None
    routed_p95_ms: float | None
    delivered: Delivered
    accounting: Accounting
    resident_mb: float | None
    verdicts: list[Verdict]


class Idle(msgspec.Struct, frozen=True, kw_only=True):
    """A server that nobody asks anything. ``cpu_percent`` is of one core."""

    seconds: float
    cpu_percent: float | None
    resident_mb: float | None
    verdicts: list[Verdict]


class Profiles(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The profiles that were run."""

    idle: Idle | None = None
    ingest: Ingest | None = None
    pipeline: Pipeline | None = None
    latency: AtRate | None = None

    def verdicts(self) -> list[Verdict]:
        """All of them."""
        each = (self.idle, self.ingest, self.pipeline, self.latency)
        return [verdict for one in each if one is not None for verdict in one.verdicts]
