"""The ``inbox`` profile: how long a pull of a hundred events takes, whatever is stored."""

import time
from typing import Final

import msgspec

from triggers_api.bench.errors import RunFailed
from triggers_api.bench.rest import until_indexed, until_routed
from triggers_api.bench.run import Run
from triggers_api.bench.server import Api
from triggers_api.bench.statistics import Latency, latency_of
from triggers_api.bench.targets import INBOX_FLAT, INBOX_P99, NOT_ACKED, Verdict, judge

STORED: Final = (1_000, 100_000, 1_000_000)
"""How many events are stored, and not acknowledged, each time that pulls are measured."""
SIZE: Final = 100
"""Events in a pull."""
PULLS: Final = 300

_BATCH: Final = 1000
_WARM_UP: Final = 20
_SETTLED_S: Final = 2.0


class Pulls(msgspec.Struct, frozen=True, kw_only=True):
    """Pulls of a hundred, one after the other, each acknowledged before the next.

    Attributes:
        stored: events; as many were waiting when this began.
        pull: from the request to its answer.
        ack: the same of acknowledging them all.
        unacked: events whose acknowledgement was answered otherwise.
    """

    stored: int
    pull: Latency
    ack: Latency
    unacked: int


class Inbox(msgspec.Struct, frozen=True, kw_only=True):
    """Pulls with more and more events stored.

    Attributes:
        size: events in each.
        ratio: of the 99th percentiles, with the most stored to the fewest.
    """

    size: int
    pulls: list[Pulls]
    ratio: float
    verdicts: list[Verdict]


def measure_inbox(run: Run) -> Inbox:
    """Store, pull and acknowledge; then store more.

    Raises:
        RunFailed: the server failed, or does not come to rest.
    """
    if run.options.url is not None:
        raise RunFailed("the profile inbox measures a server of its own: leave out --url")
    most = run.options.events or STORED[-1]
    sizes = [each for each in STORED if each < most] + [most]
    measured = []
    with run.server("inbox") as (_, api):
        stored = 0
        for size in sizes:
            _fill(run, api, size - stored, stored=size)
            stored = size
            measured.append(_measured(run, api, stored))
    ratio = round(measured[-1].pull.p99 / measured[0].pull.p99, 2)
    usual = "" if most == STORED[-1] else f"the target is for {STORED[-1]:,} events"
    return Inbox(
        size=SIZE,
        pulls=measured,
        ratio=ratio,
        verdicts=[
            judge(INBOX_P99, max(each.pull.p99 for each in measured), unjudged=usual),
            judge(INBOX_FLAT, ratio, unjudged=usual),
            judge(NOT_ACKED, sum(each.unacked for each in measured)),
        ],
    )


def _fill(run: Run, api: Api, events: int, *, stored: int) -> None:
    payload = "x" * (run.options.payload_bytes - 2)
    with run.progress.bar(f"storing {events:,} events") as advance:
        for start in range(0, events, _BATCH):
            count = min(_BATCH, events - start)
            batch = [{"type": run.event_type, "payload": payload}] * count
            answer = api.call("POST", "/api/events/batch", {"events": batch})
            if answer["accepted"] != count:
                raise RunFailed(f"of a batch of {count} only {answer['accepted']} were accepted")
            advance((start + count) / events)
    with run.progress.bar("waiting for the index"):
        until_routed(api)
        until_indexed(api, stored)
    run.pause("what is left to be written", _SETTLED_S)


def _measured(run: Run, api: Api, stored: int) -> Pulls:
    pulled: list[float] = []
    acked: list[float] = []
    unacked = 0
    api.call("POST", "/api/inbox/seek", {"to": "start"})
    with run.progress.bar(f"pulling from {stored:,}") as advance:
        while len(pulled) < _WARM_UP + PULLS:
            events, seconds = _timed(api, "pull", {"limit": SIZE, "lease_s": 60})
            if len(events["data"]) < SIZE:
                api.call("POST", "/api/inbox/seek", {"to": "start"})
                continue
            pulled.append(seconds)
            receipts = [each["receipt"] for each in events["data"]]
            answer, seconds = _timed(api, "ack", {"receipts": receipts})
            acked.append(seconds)
            unacked += sum(each["status"] != "acked" for each in answer["results"])
            advance(len(pulled) / (_WARM_UP + PULLS))
    pull, ack = latency_of(pulled[_WARM_UP:]), latency_of(acked[_WARM_UP:])
    assert pull is not None
    assert ack is not None
    return Pulls(stored=stored, pull=pull, ack=ack, unacked=unacked)


def _timed(api: Api, path: str, body: object) -> tuple[dict[str, list[dict[str, str]]], float]:
    began = time.perf_counter()
    answer = api.call("POST", f"/api/inbox/{path}", body)
    return answer, time.perf_counter() - began
