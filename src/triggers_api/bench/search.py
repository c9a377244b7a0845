"""The ``search`` profile: how long it takes to find events among ten thousand, and among a million."""

import random
import time
from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import urlencode

import msgspec

from triggers_api.bench.errors import RunFailed
from triggers_api.bench.rest import until_indexed, until_routed
from triggers_api.bench.run import Run
from triggers_api.bench.server import Api
from triggers_api.bench.statistics import Latency, latency_of
from triggers_api.bench.targets import NOT_AT_ONCE, SEARCH_P95, Verdict, judge

STORED: Final = (10_000, 100_000, 1_000_000)
"""How many events are stored each time that searches are measured."""
SEARCHES: Final = 60
"""Of each kind."""

_BATCH: Final = 1000
_WARM_UP: Final = 10
_TYPES: Final = 1_000
_CUSTOMERS: Final = 10_000
_WORDS: Final = tuple(
    first + second + third
    for first in ("re", "mo", "ka", "li", "su", "ber", "ton", "gra", "vel", "dis")
    for second in ("na", "to", "ri", "de", "lu", "pa", "ko", "mi", "sa", "fe")
    for third in ("r", "n", "st", "lly", "x", "m", "ck", "do", "va", "zu")
)
_WORDS_IN_A_NOTE: Final = 12


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """Searches of one kind, one after the other, each for something else.

    Attributes:
        kind: what they ask for.
        stored: among so many events.
        events: that the first pages had, on average.
        unfinished: how many had fewer than the page takes, and said that they had not looked at all.
        latency: from the request to its answer.
    """

    kind: str
    stored: int
    events: float
    unfinished: int
    latency: Latency


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """Searches of every kind among more and more events.

    Attributes:
        filled_s: seconds that storing and routing took, for each number of events.
        indexed_s: seconds after that until the index had caught up.
        missed: events that were not found at once after they were confirmed.
    """

    filled_s: list[float]
    indexed_s: list[float]
    missed: int
    found: list[Found]
    verdicts: list[Verdict]


def measure_search(run: Run) -> Search:
    """Store, wait for the index, search; then store more.

    Raises:
        RunFailed: the server failed, or does not come to rest.
    """
    if run.options.url is not None:
        raise RunFailed("the profile search measures a server of its own: leave out --url")
    most = run.options.events or STORED[-1]
    sizes = [each for each in STORED if each < most] + [most]
    draw = random.Random(0)  # noqa: S311 - the same events each time
    found: list[Found] = []
    filled_s, indexed_s, missed = [], [], 0
    with run.server("search") as (_, api):
        stored = 0
        for size in sizes:
            filled_s.append(_fill(run, api, range(stored, size), draw))
            indexed_s.append(_until_indexed(run, api, size))
            stored = size
            with run.progress.bar(f"searching among {size:,}") as advance:
                kinds = _kinds(size, draw)
                for number, (kind, make) in enumerate(kinds.items()):
                    found.append(_measured(api, kind, size, make))
                    advance((number + 1) / len(kinds))
            missed += _missed(api, draw)
    return Search(
        filled_s=filled_s,
        indexed_s=indexed_s,
        missed=missed,
        found=found,
        verdicts=[
            judge(
                SEARCH_P95,
                max(each.latency.p95 for each in found if each.kind not in _NOT_INDEXED),
                unjudged="" if most == STORED[-1] else f"the target is for {STORED[-1]:,} events",
            ),
            judge(NOT_AT_ONCE, missed),
        ],
    )


def _fill(run: Run, api: Api, numbers: range, draw: random.Random) -> float:
    began = time.monotonic()
    with run.progress.bar(f"storing {len(numbers):,} events") as advance:
        for start in range(0, len(numbers), _BATCH):
            _store(api, numbers[start : start + _BATCH], draw)
            advance(start / len(numbers))
    until_routed(api)
    return round(time.monotonic() - began, 1)


def _until_indexed(run: Run, api: Api, size: int) -> float:
    began = time.monotonic()
    with run.progress.bar("waiting for the index"):
        until_indexed(api, size)
    return round(time.monotonic() - began, 1)


def _store(api: Api, numbers: range, draw: random.Random) -> None:
    events = [
        {
            "type": f"kind{number % 100}.of{number % _TYPES}",
            "source": f"source {number % _TYPES}",
            "key": f"key {number // 10}",
            "dedup_id": f"search-{number}",
            "payload": {
                "number": number,
                "customer": {"number": draw.randrange(_CUSTOMERS), "name": draw.choice(_WORDS)},
                "items": [
                    {"sku": f"A-{draw.randrange(5000)}", "price": draw.randrange(10_000) / 100}
                    for _ in range(3)
                ],
                "reference": f"{draw.getrandbits(128):032x}",
                "paid": draw.random() < 0.5,
                "note": " ".join(draw.choices(_WORDS, k=_WORDS_IN_A_NOTE)),
            },
        }
        for number in numbers
    ]
    answer = api.call("POST", "/api/events/batch", {"events": events})
    if answer["accepted"] != len(events):
        raise RunFailed(f"of a batch of {len(events)} only {answer['accepted']} were accepted")


Make = Callable[[], dict[str, object]]

_NOT_INDEXED: Final = frozenset({"a pattern that is no whole part"})
"""What searches have to go through one by one, and say where to go on."""


def _kinds(size: int, draw: random.Random) -> dict[str, Make]:
    """A maker of searches for each kind."""

    def word() -> str:
        return draw.choice(_WORDS)

    def customer() -> int:
        return draw.randrange(_CUSTOMERS)

    paths = "payload.customer.number", "payload.number"
    return {
        "everything": dict,
        "type": lambda: _type(draw.randrange(_TYPES)),
        "type, its beginning": lambda: {"type": f"kind{draw.randrange(100)}.*"},
        "type, its end": lambda: {"type": f"*.of{draw.randrange(_TYPES)}"},
        "a pattern that is no whole part": lambda: {"type": f"k*.of{draw.randrange(_TYPES)}"},
        "source": lambda: {"source": f"source {draw.randrange(_TYPES)}"},
        "key": lambda: {"key": f"key {draw.randrange(size) // 10}"},
        "dedup_id": lambda: {"dedup_id": f"search-{draw.randrange(size)}"},
        "status": lambda: {"status": "failed"},
        "value of one event": lambda: {paths[1]: draw.randrange(size)},
        "value of one in 10,000": lambda: {paths[0]: customer()},
        "value of every other": lambda: {"payload.paid": "true"},
        "value of none": lambda: {"payload.paid": "perhaps"},
        "word of one in 80": lambda: {"q": word()},
        "two words": lambda: {"q": f"{word()} {word()}"},
        "two words, oldest first": lambda: {"q": f"{word()} {word()}", "order": "asc"},
        "word of none": lambda: {"q": f"{word()}{word()}"},
        "word and value": lambda: {"q": word(), paths[0]: customer()},
        "type and word": lambda: _type(draw.randrange(_TYPES)) | {"q": word()},
    }


def _type(number: int) -> dict[str, object]:
    return {"type": f"kind{number % 100}.of{number}"}


def _measured(api: Api, kind: str, stored: int, make: Make) -> Found:
    taken: list[float] = []
    events = unfinished = 0
    for number in range(_WARM_UP + SEARCHES):
        path = f"/api/events?{urlencode(make())}"
        began = time.perf_counter()
        page = api.call("GET", path)
        seconds = time.perf_counter() - began
        if number < _WARM_UP:
            continue
        taken.append(seconds)
        events += len(page["data"])
        unfinished += page["next_cursor"] is not None and len(page["data"]) < _PAGE
    latency = latency_of(taken)
    assert latency is not None
    return Found(
        kind=kind,
        stored=stored,
        events=round(events / SEARCHES, 1),
        unfinished=unfinished,
        latency=latency,
    )


_PAGE: Final = 50
_AT_ONCE: Final = 50


def _missed(api: Api, draw: random.Random) -> int:
    """How many of some new events are not found as soon as they were confirmed."""
    missed = 0
    for _ in range(_AT_ONCE):
        mark = f"{draw.getrandbits(64):016x}"
        event = {"type": f"mark.{mark}", "dedup_id": mark, "payload": {"mark": mark}}
        sent = api.call("POST", "/api/events", event)
        for query in _ways(mark):
            page = api.call("GET", f"/api/events?{urlencode(query)}")
            missed += [each["id"] for each in page["data"]] != [sent["id"]]
    return missed


def _ways(mark: str) -> Iterator[dict[str, str]]:
    yield {"type": f"mark.{mark}"}
    yield {"dedup_id": mark}
    yield {"payload.mark": mark}
    yield {"q": mark}
