"""Slices: stretches of load on one server, whichever loader made them."""

from collections.abc import Sequence
from typing import Final

import msgspec

from triggers_api.bench.loader import Load, doubles
from triggers_api.bench.machine import CoreUse, Watch
from triggers_api.bench.statistics import Latency, latency_of
from triggers_api.bench.targets import saturation
from triggers_api.bench.wrk import WrkResult

_QUIET: Final = 0.1
"""The share of a core that others may use before it is worth a word."""


class Slice(msgspec.Struct, frozen=True, kw_only=True):
    """One stretch of load on one server.

    Attributes:
        what: was measured: ``echo``, ``ingest`` and the like.
        loader: ``wrk`` or ``raw``.
        answers: all that came.
        rate: good answers a second.
        statuses: answers by status; by ``wrk`` only ``<400`` and ``≥400``.
        lost: requests without an answer.
        latency: from the sending to the answer; the raw loader leaves out what was refused.
        server: how busy the server and its core were; ``None`` for one that is not ours.
        load: how busy the loader and its core were.
        void: why the slice is worth nothing; empty when it is worth something.
    """

    what: str
    loader: str
    seconds: float
    answers: int
    rate: float
    statuses: dict[str, int]
    lost: int
    latency: Latency | None
    server: CoreUse | None
    load: CoreUse
    void: str

    @property
    def failed(self) -> int:
        """Requests that were refused or lost."""
        return self.lost + sum(
            count for status, count in self.statuses.items() if not status.startswith(("2", "<"))
        )

    @property
    def rate_of_cpu(self) -> float | None:
        """Good answers for each second that the server used a core."""
        if self.server is None or not self.server.own:
            return None
        return self.rate / self.server.own


def noise(slices: Sequence[Slice]) -> str:
    """How much other programs used of the measured cores, where that was not little; else empty."""
    worst = {
        "the server's core": max(
            (each.server.others or 0.0 for each in slices if each.server is not None), default=0.0
        ),
        "the loader's core": max((each.load.others or 0.0 for each in slices), default=0.0),
    }
    shares = [f"{share:.0%} of {core}" for core, share in worst.items() if share > _QUIET]
    return f"other programs used up to {' and '.join(shares)}" if shares else ""


def slice_of_load(what: str, load: Load, watch: Watch) -> Slice:
    """What the raw loader measured, while somebody watched."""
    good = sum(count for status, count in load.statuses.items() if status < 300)
    return _slice(
        what,
        watch,
        loader="raw",
        seconds=load.seconds,
        answers=load.answers,
        good=good,
        statuses={str(status): count for status, count in sorted(load.statuses.items())},
        lost=load.lost,
        latency=latency_of(doubles(load.latencies)),
        cpu_s=load.cpu_s,
    )


def slice_of_wrk(what: str, result: WrkResult, watch: Watch) -> Slice:
    """What ``wrk`` measured, while somebody watched."""
    good = result.requests - result.refused
    return _slice(
        what,
        watch,
        loader="wrk",
        seconds=result.seconds,
        answers=result.requests,
        good=good,
        statuses={"<400": good} | ({"≥400": result.refused} if result.refused else {}),
        lost=result.lost,
        latency=result.latency,
        cpu_s=result.cpu_s,
    )


def _slice(
    what: str,
    watch: Watch,
    *,
    loader: str,
    seconds: float,
    answers: int,
    good: int,
    statuses: dict[str, int],
    lost: int,
    latency: Latency | None,
    cpu_s: float,
) -> Slice:
    server, load = watch.server(), watch.loader(cpu_s)
    return Slice(
        what=what,
        loader=loader,
        seconds=round(seconds, 3),
        answers=answers,
        rate=round(good / seconds, 1),
        statuses=statuses,
        lost=lost,
        latency=latency,
        server=server,
        load=load,
        void=saturation(load.own, None if server is None else server.own),
    )
