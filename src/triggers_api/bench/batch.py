"""The ``batch`` profile: events that come many at once, beside the bare insert of the same rows."""

import time
from typing import Final

import msgspec

from triggers_api.bench.books import own_books
from triggers_api.bench.errors import RunFailed
from triggers_api.bench.pipeline import await_routed
from triggers_api.bench.run import Run, turn
from triggers_api.bench.server import Target
from triggers_api.bench.slices import Slice, noise
from triggers_api.bench.statistics import median
from triggers_api.bench.targets import BATCH_RATIO, NOT_STORED, REFUSED, Verdict, judge

SIZE: Final = 500
"""Events in a batch."""
BATCHES: Final = 60
"""In each round, by each of the two."""

_CONNECTIONS: Final = 4
_ROUNDS: Final = 3
_WARM_UP_BATCHES: Final = 10
_RESTED_S: Final = 1.0


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Rounds of batches and of bare inserts, in turn, on one core.

    Attributes:
        size: events in a batch.
        rates: events a second that were durably accepted.
        bare_rates: events a second whose rows were inserted, as many in a transaction.
        ratio: of the medians.
        ratios: round by round.
        missing: accepted events that the books do not have.
    """

    size: int
    rates: list[float]
    bare_rates: list[float]
    ratio: float
    ratios: list[float]
    missing: int
    slices: list[Slice]
    verdicts: list[Verdict]


def measure_batch(run: Run) -> Batch:
    """A server that is sent batches, and a file that is only written to.

    Processing is paused meanwhile: what is routed beside it is for the profile ``ingest``.

    Raises:
        RunFailed: a server, the loader or the inserts failed.
    """
    if run.options.url is not None or run.options.database_url is not None:
        raise RunFailed("the profile batch measures a server of its own on the embedded engine")
    slices: list[Slice] = []
    bare_rates = []
    with run.server("batch") as (target, api):
        before = own_books(api).accepted
        accepted = _send(run, target, _WARM_UP_BATCHES)[0]
        for number in range(_ROUNDS):
            bare_rates.append(BATCHES * SIZE / _bare_s(run, number))
            turn(api, processing="paused")
            count, measured = _send(run, target, BATCHES)
            accepted += count
            slices.append(measured)
            turn(api, processing="running")
            await_routed(api)
            time.sleep(_RESTED_S)
        missing = accepted - (own_books(api).accepted - before)
    rates = [each.rate * SIZE for each in slices]
    ratio = round(median(rates) / median(bare_rates), 3)
    void = next((each.void for each in slices if each.void), "")
    return Batch(
        size=SIZE,
        rates=[round(each, 1) for each in rates],
        bare_rates=[round(each, 1) for each in bare_rates],
        ratio=ratio,
        ratios=[round(ours / bare, 3) for ours, bare in zip(rates, bare_rates, strict=True)],
        missing=missing,
        slices=slices,
        verdicts=[
            judge(BATCH_RATIO, ratio, void=void, doubt=noise(slices)),
            judge(REFUSED, sum(each.failed for each in slices)),
            judge(NOT_STORED, missing),
        ],
    )


def _send(run: Run, target: Target, batches: int) -> tuple[int, Slice]:
    """Send batches; returns how many events were accepted, and what the loader saw."""
    plan = msgspec.structs.replace(
        run.plan(target, events=batches, requests=run.batches(target, size=SIZE)),
        connections=_CONNECTIONS,
        events_api=False,
        dedup=False,
        duplicates=0.0,
    )
    load, measured = run.load(f"batches of {SIZE}", target, plan)
    return load.accepted * SIZE, measured


def _bare_s(run: Run, number: int) -> float:
    """How long the bare inserts take, into a file of their own."""
    path = run.folder / f"bulk-{number}.db"
    sizes = (BATCHES, SIZE, run.options.payload_bytes)
    seconds = run.ceiling_s("bare inserts", "triggers_api.bench.bulk", path, *sizes)
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
    return seconds
