"""The ``volume`` profile: what ingest costs on PostgreSQL when millions of events are stored already."""

import time
from contextlib import ExitStack
from typing import Final

import msgspec

from triggers_api.bench.errors import RunFailed
from triggers_api.bench.run import Run
from triggers_api.bench.server import Api, Target
from triggers_api.bench.slices import Slice, noise
from triggers_api.bench.statistics import median
from triggers_api.bench.targets import SAME_PLANS, VOLUME_RATIO, Verdict, judge

EMPTY: Final = "ingest, nothing stored"
FULL: Final = "ingest, many stored"

_ROUNDS: Final = 7
_REST_WITHIN_S: Final = 120.0
_LOOK_EVERY_S: Final = 0.2


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """Ingest into a table with many events beside ingest into an empty one.

    Attributes:
        stored: events that the full one began with.
        filled_s: how long it took to put them there.
        ratio: of the median rates, full to empty.
        ratios: round by round.
        different_plans: claims and lists whose plan is another one on the full table.
    """

    stored: int
    filled_s: float
    empty_rate: float
    full_rate: float
    ratio: float
    ratios: list[float]
    different_plans: list[str]
    slices: list[Slice]
    verdicts: list[Verdict]


def measure_volume(run: Run) -> Volume:
    """Two servers on two databases, in turn.

    Raises:
        RunFailed: a server or a loader failed, or there is no PostgreSQL.
    """
    if run.options.database_url is None:
        raise RunFailed("the profile volume measures PostgreSQL: give it --database-url")
    # It needs an extra that the embedded engine does without.
    from triggers_api.bench.postgres import fill, plans  # noqa: PLC0415

    stored = run.options.stored
    with ExitStack() as stack:
        empty, empty_api = stack.enter_context(run.server("empty"))
        empty_url = run.database_url
        full, full_api = stack.enter_context(run.server("full"))
        full_url = run.database_url
        assert empty_url is not None
        assert full_url is not None
        began = time.monotonic()
        with run.progress.bar(f"storing {stored:,} events") as advance:
            fill(full_url, events=stored, progress=advance)
        filled_s = time.monotonic() - began
        slices = []
        for _ in range(_ROUNDS):
            slices.append(_slice(run, EMPTY, empty, empty_api))
            slices.append(_slice(run, FULL, full, full_api))
        on_empty, on_full = plans(empty_url), plans(full_url)
    rates = {what: [each.rate for each in slices if each.what == what] for what in (EMPTY, FULL)}
    ratio = round(median(rates[FULL]) / median(rates[EMPTY]), 3)
    different = sorted(name for name in on_empty if on_empty[name] != on_full[name])
    void, doubt = next((each.void for each in slices if each.void), ""), noise(slices)
    return Volume(
        stored=stored,
        filled_s=round(filled_s, 1),
        empty_rate=median(rates[EMPTY]),
        full_rate=median(rates[FULL]),
        ratio=ratio,
        ratios=[round(f / e, 3) for e, f in zip(rates[EMPTY], rates[FULL], strict=True)],
        different_plans=different,
        slices=slices,
        verdicts=[
            judge(VOLUME_RATIO, ratio, void=void, doubt=doubt),
            judge(SAME_PLANS, len(different), doubt=", ".join(different)),
        ],
    )


def _slice(run: Run, what: str, target: Target, api: Api) -> Slice:
    seconds = max(1, round(run.options.load_s / 2))
    if run.wrk is not None:
        measured = run.load_by_wrk(what, target, run.wrk, seconds=seconds)
    else:
        _, measured = run.load(what, target, run.plan(target, seconds=seconds))
    deadline = time.monotonic() + _REST_WITHIN_S
    while api.call("GET", "/readyz")["queue"]["depth"]:
        if time.monotonic() > deadline:
            raise RunFailed(f"the queue is not empty after {_REST_WITHIN_S:g} s")
        time.sleep(_LOOK_EVERY_S)
    return measured
