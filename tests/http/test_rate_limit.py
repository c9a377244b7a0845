"""The rate limit: what exceeds burst and refill is refused, and nothing of it is stored."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from tests.conftest import Enter, Run, new_organization
from tests.http.conftest import assert_problem, chunked_event, connect, event, once, stored, written

from triggers_api.testing import ADMIN_KEY, Answer, FrozenClock, Service

BOTH_WAYS: Final = pytest.mark.parametrize("post", [event, chunked_event], ids=["lane", "asgi"])


class Ticks:
    """The limiter's clock, in seconds."""

    def __init__(self) -> None:
        self.now = 50_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
def limited(enter: Enter, tmp_path: Path, ticks: Ticks) -> Service:
    """A hundred events a minute, a hundred at once, and time at a stand."""
    service = enter(Service(tmp_path, clock=FrozenClock(), rate_limit=100, rate_burst=100))
    service.app.admission._monotonic = ticks
    return service


async def at_once(
    service: Service, requests: list[bytes], *, connections: int = 50
) -> list[Answer]:
    """Requests over several connections side by side."""
    waiting = list(requests)

    async def ask() -> list[Answer]:
        connection = await connect(service)
        answers = []
        while waiting:
            answers.append(await connection.ask(waiting.pop()))
        await connection.hang_up()
        return answers

    answers = await asyncio.gather(*(ask() for _ in range(connections)))
    return [answer for each in answers for answer in each]


def statuses(answers: list[Answer]) -> dict[int, int]:
    found = [answer.status for answer in answers]
    return {status: found.count(status) for status in sorted(set(found))}


@BOTH_WAYS
def test_of_150_at_once_exactly_100_are_stored_and_50_refused(
    limited: Service, run: Run, ticks: Ticks, post: Callable[..., bytes]
) -> None:
    answers = run(at_once(limited, [post()] * 150))
    assert statuses(answers) == {202: 100, 429: 50}
    assert run(stored(limited)) == 100
    for answer in answers:
        if answer.status == 429:
            assert_problem(answer, 429, "rate-limited")
            assert answer.headers["retry-after"] == "1"
            assert answer.headers["ratelimit"] == '"ingest";r=0;t=60'
        assert answer.headers["ratelimit-policy"] == '"ingest";q=100;w=60;burst=100'
    listed = run(limited.call("GET", "/api/events?limit=1000")).json["data"]
    assert {each["id"] for each in listed} == {
        answer.json["id"] for answer in answers if answer.status == 202
    }
    # One comes back every 0.6 s, and no more than the burst is ever saved up.
    ticks.now += 0.599
    assert statuses(run(at_once(limited, [post()] * 5))) == {429: 5}
    ticks.now += 0.001
    assert statuses(run(at_once(limited, [post()] * 5))) == {202: 1, 429: 4}
    ticks.now += 3600
    assert statuses(run(at_once(limited, [post()] * 150))) == {202: 100, 429: 50}
    assert run(stored(limited)) == 201


def test_tests_of_subscriptions_count_as_events_and_are_refused_like_them(
    limited: Service, run: Run, ticks: Ticks
) -> None:
    made = run(limited.subscribe("http://127.0.0.1:9/", ["none.of.them"]))
    path = f"/api/subscriptions/{made['id']}/test"

    def trial() -> Answer:
        return run(limited.call("POST", path))

    answer = trial()
    assert (answer.status, answer.headers["ratelimit"]) == (202, '"ingest";r=99;t=1')
    assert answer.headers["ratelimit-policy"] == '"ingest";q=100;w=60;burst=100'
    assert statuses(run(at_once(limited, [event()] * 98))) == {202: 98}
    assert [trial().status, trial().status] == [202, 429]
    refused = trial()
    assert_problem(refused, 429, "rate-limited")
    assert refused.headers["ratelimit"] == '"ingest";r=0;t=60'
    assert run(stored(limited)) == 100, "nothing of what was refused"
    assert statuses(run(at_once(limited, [event()]))) == {429: 1}
    _, key = run(new_organization(limited))
    assert run(limited.call("POST", path, key=key)).status == 404
    ticks.now += 0.6
    assert [trial().status, trial().status] == [202, 429]


@BOTH_WAYS
def test_the_headers_count_down(
    limited: Service, run: Run, ticks: Ticks, post: Callable[..., bytes]
) -> None:
    for shown in ("r=99;t=1", "r=98;t=2", "r=97;t=2", "r=96;t=3"):
        assert run(once(limited, post())).headers["ratelimit"] == f'"ingest";{shown}'
    ticks.now += 60
    assert run(once(limited, post())).headers["ratelimit"] == '"ingest";r=99;t=1'


@BOTH_WAYS
def test_who_waits_as_long_as_told_is_let_through(
    limited: Service, run: Run, ticks: Ticks, post: Callable[..., bytes]
) -> None:
    run(at_once(limited, [post()] * 100))
    for _ in range(20):
        refused = run(once(limited, post()))
        assert refused.status == 429
        ticks.now += int(refused.headers["retry-after"])
        assert run(once(limited, post())).status == 202
        while run(once(limited, post())).status == 202:
            pass


def test_each_organization_has_a_limit_of_its_own(limited: Service, run: Run) -> None:
    organization_id, other = run(new_organization(limited, rate_limit=60, rate_burst=10))
    assert statuses(run(at_once(limited, [event()] * 101))) == {202: 100, 429: 1}
    assert statuses(run(at_once(limited, [event(key=other)] * 15))) == {202: 10, 429: 5}
    path = f"/api/admin/organizations/{organization_id}"
    changed = run(limited.call("PATCH", path, {"rate_burst": 20, "rate_limit": 61}, key=ADMIN_KEY))
    assert changed.status == 200
    assert statuses(run(at_once(limited, [event(key=other)] * 25))) == {202: 20, 429: 5}
    assert run(limited.call("PATCH", path, {"rate_limit": 0}, key=ADMIN_KEY)).status == 200
    answers = run(at_once(limited, [event(key=other)] * 50))
    assert statuses(answers) == {202: 50}
    assert not {"ratelimit", "ratelimit-policy"} & set(answers[0].headers)
    run(limited.call("PATCH", path, {"rate_limit": None, "rate_burst": None}, key=ADMIN_KEY))
    assert statuses(run(at_once(limited, [event(key=other)] * 110))) == {202: 100, 429: 10}


def test_only_ingest_counts(limited: Service, run: Run) -> None:
    for _ in range(120):
        answer = run(once(limited, written("GET", "/api/events?limit=1")))
        assert answer.status == 200
        assert "ratelimit" not in answer.headers
    assert statuses(run(at_once(limited, [event()] * 101))) == {202: 100, 429: 1}


def test_who_is_not_let_in_takes_nothing_of_the_limit(limited: Service, run: Run) -> None:
    wrong = run(at_once(limited, [event(key="a-key-that-nobody-has")] * 150))
    assert statuses(wrong) == {401: 150}
    assert statuses(run(at_once(limited, [event()] * 101))) == {202: 100, 429: 1}


def test_duplicates_and_refused_bodies_count_as_well(limited: Service, run: Run) -> None:
    twin = event("Idempotency-Key: twin")
    answers = run(at_once(limited, [twin] * 50 + [event(body=b"[")] * 50 + [event()] * 10))
    assert sum(answer.status == 429 for answer in answers) == 10
    assert {answer.status for answer in answers} <= {200, 202, 400, 429}


def test_no_limit_means_no_limit(run: Run, enter: Enter, tmp_path: Path) -> None:
    service = enter(Service(tmp_path, clock=FrozenClock(), rate_limit=0, rate_burst=1))
    answers = run(at_once(service, [event()] * 100))
    assert statuses(answers) == {202: 100}
    assert "ratelimit" not in answers[0].headers


def test_live_what_exceeds_burst_and_refill_is_refused(
    run: Run, enter: Enter, tmp_path: Path
) -> None:
    service = enter(Service(tmp_path, rate_limit=100, rate_burst=100))
    started = time.monotonic()
    answers = run(at_once(service, [event()] * 150))
    refill = (time.monotonic() - started) * 100 / 60
    accepted = statuses(answers)[202]
    assert 100 <= accepted <= 100 + refill + 1
    assert statuses(answers)[429] == 150 - accepted
    assert run(stored(service)) == accepted
