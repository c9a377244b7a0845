"""The checks can fail: each of them does when the guarantee it is for is taken out of the product."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import random
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import pytest
from tests.faults.endpoint import flaky, healthy
from tests.faults.history import load
from tests.faults.invariants import DEAD, PROCESSED, SUCCEEDED, Dump, Invariants, quiet
from tests.faults.rig import Rig
from tests.faults.scenarios import (
    crash_at,
    exceed_the_rate,
    pause_beyond_the_lease,
    post_identical,
    redirect,
    trace_answers,
)

from triggers_api.model.pace import FIRST_WINDOW

Scenario = Callable[[Rig, str], Coroutine[Any, Any, None]]

# Which bug, which run must notice it, and by which words.
CANARIES: Final[dict[str, tuple[Scenario, str]]] = {
    "answers_before_the_commit": (
        lambda rig, bug: crash_at(rig, "append.before_commit", 7, bug=bug),
        r"I1 \d+ accepted events are lost",
    ),
    "answers_before_the_commit, traced": (
        lambda rig, bug: trace_answers(rig, bug=bug),
        "answered before the sync",
    ),
    "never_syncs": (lambda rig, bug: trace_answers(rig, bug=bug), "answered before the sync"),
    "settles_without_a_fence": (
        lambda rig, bug: pause_beyond_the_lease(rig, events=FIRST_WINDOW, bug=bug),
        "^0.0 stale settlements",
    ),
    "has_no_unique_index": (
        lambda rig, bug: post_identical(rig, rounds=1, bug=bug),
        r"assert \[202, 202",
    ),
    "fans_out_twice": (
        lambda rig, bug: crash_at(rig, "fan_out.after_commit", 1, bug=bug),
        "^I4 ",
    ),
    "follows_redirects": (lambda rig, bug: redirect(rig, bug=bug), "the redirect was followed"),
    "limits_nothing": (
        lambda rig, bug: exceed_the_rate(rig, bug=bug),
        "150 of 150 were accepted",
    ),
}


@pytest.mark.faults
@pytest.mark.timeout(240)
@pytest.mark.parametrize("canary", CANARIES)
def test_a_product_without_the_guarantee_is_found_out(rig: Rig, canary: str) -> None:
    scenario, words = CANARIES[canary]
    with pytest.raises(AssertionError, match=words):
        asyncio.run(scenario(rig, canary.partition(",")[0]))


# ── the checker ───────────────────────────────────────────────────────────────────────────────


def _drop_event(found: Dump, _: Rig) -> None:
    found.events.pop()


def _change_payload(found: Dump, _: Rig) -> None:
    event = found.events[0]
    found.events[0] = dataclasses.replace(event, payload=event.payload.replace(b", ", b","))


def _twice(found: Dump, _: Rig) -> None:
    found.events.append(dataclasses.replace(found.events[0], id="evt_other", dedup_id=None))


def _twice_in_two_organizations(found: Dump, _: Rig) -> None:
    found.organizations.add(7)


def _another_id(found: Dump, _: Rig) -> None:
    found.events[0] = dataclasses.replace(found.events[0], id="evt_other")


def _refused_but_stored(_: Dump, rig: Rig) -> None:
    told = rig.history.requests[0].told
    told[:] = [dataclasses.replace(told[0], status=503, code="overloaded", event_id=None)]


def _refused_but_found(_: Dump, rig: Rig) -> None:
    told = rig.history.requests[0].told
    refused = dataclasses.replace(told[0], status=503, code="overloaded", event_id=None)
    told[:] = [refused, dataclasses.replace(told[0], status=200, duplicate=True)]


def _drop_delivery(found: Dump, _: Rig) -> None:
    found.deliveries.pop()


def _second_delivery(found: Dump, _: Rig) -> None:
    found.deliveries.append(dataclasses.replace(found.deliveries[0], id="dlv_other"))


def _gap_in_attempts(found: Dump, _: Rig) -> None:
    attempts = next(attempts for attempts in found.attempts.values() if len(attempts) > 1)
    attempts.pop(0)


def _success_from_nowhere(_: Dump, rig: Rig) -> None:
    for exchange in rig.subscribers[0].endpoint.exchanges:
        exchange.answered = 500


def _unknown_delivery(_: Dump, rig: Rig) -> None:
    rig.subscribers[0].endpoint.exchanges[0].delivery_id = "dlv_other"


def _dead_too_soon(found: Dump, _: Rig) -> None:
    number, delivery = next((n, d) for n, d in enumerate(found.deliveries) if d.attempt_count > 1)
    found.deliveries[number] = dataclasses.replace(
        delivery, status=DEAD, attempt_count=delivery.attempt_count - 1
    )
    found.attempts[delivery.id].pop()


def _not_finished(found: Dump, _: Rig) -> None:
    delivery = found.deliveries[0]
    found.attempts[delivery.id].pop()
    found.deliveries[0] = dataclasses.replace(
        delivery, status=4, attempt_count=delivery.attempt_count - 1
    )


def _not_routed(found: Dump, _: Rig) -> None:
    event = next(event for event in found.events if event.type == "nobody.wants")
    found.events[found.events.index(event)] = dataclasses.replace(event, status=PROCESSED - 1)


def _bad_signature(_: Dump, rig: Rig) -> None:
    endpoint = rig.subscribers[0].endpoint
    exchange = endpoint.exchanges[0]
    exchange.headers["webhook-signature"] = "v1,AAAA"
    exchange.fault = endpoint.verify(exchange)


def _other_bytes(_: Dump, rig: Rig) -> None:
    exchange = rig.subscribers[0].endpoint.exchanges[0]
    exchange.body = exchange.body.replace(b", ", b",")


def _internal_error(_: Dump, rig: Rig) -> None:
    request = rig.history.requests[-1]
    request.told.append(dataclasses.replace(request.told[0], status=500, code="internal-error"))


def _damaged(found: Dump, _: Rig) -> None:
    found.integrity = "row 7 missing from index events_dedup"


MUTATIONS: Final[dict[str, tuple[Callable[[Dump, Rig], None], str]]] = {
    "an event is missing": (_drop_event, "I1"),
    "a payload has been written anew": (_change_payload, "I1"),
    "an event is there twice": (_twice, "I1"),
    "two organizations": (_twice_in_two_organizations, "I4|the runs have one"),
    "an event has another id than was answered": (_another_id, "I3"),
    "a refused event is stored": (_refused_but_stored, "I9"),
    "a refused event is found by its repetition": (_refused_but_found, "I9"),
    "a delivery is missing": (_drop_delivery, "I4|I6"),
    "a second delivery": (_second_delivery, "I4"),
    "a gap in the attempts": (_gap_in_attempts, "I6"),
    "a success that nobody received": (_success_from_nowhere, "I6 nobody received"),
    "a request for no delivery": (_unknown_delivery, "I6 .* not on file"),
    "dead before its time": (_dead_too_soon, "I6 .* dead after"),
    "a delivery is not finished": (_not_finished, "I7"),
    "an event is not routed": (_not_routed, "I7"),
    "a signature is wrong": (_bad_signature, "I10"),
    "other bytes are sent": (_other_bytes, "I1 the bytes|I10"),
    "an answer of 500": (_internal_error, "I12"),
    "the file is damaged": (_damaged, "I11"),
}


@pytest.fixture(scope="module")
def healthy_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Rig, Dump]:
    """A run in which nothing was wrong."""
    rig = Rig(tmp_path_factory.mktemp("healthy"), seed=7)

    async def run() -> Dump:
        async with rig:
            await rig.server.start()
            await rig.endpoint("healthy", healthy, ["order.*"])
            await rig.endpoint("flaky", flaky(random.Random(7)), ["order.*"])
            requests = rig.requests(60, ["order.created", "nobody.wants"])
            await load(rig.server, rig.history, requests)
            return await rig.check_after_healing()

    return rig, asyncio.run(run())


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_the_checker_notices(healthy_run: tuple[Rig, Dump], mutation: str) -> None:
    mutate, words = MUTATIONS[mutation]
    rig, found = healthy_run
    changed = copy.copy(rig)
    changed.subscribers = [
        dataclasses.replace(
            subscriber,
            endpoint=dataclasses.replace(
                subscriber.endpoint, exchanges=copy.deepcopy(subscriber.endpoint.exchanges)
            ),
        )
        for subscriber in rig.subscribers
    ]
    changed.history = copy.deepcopy(rig.history)
    seen = copy.deepcopy(found)
    Invariants(changed.history, changed.subscribers).check(seen)
    mutate(seen, changed)
    with pytest.raises(AssertionError, match=words):
        Invariants(changed.history, changed.subscribers).check(seen)


def test_the_checker_notices_what_changes_after_its_end(healthy_run: tuple[Rig, Dump]) -> None:
    rig, found = healthy_run
    invariants = Invariants(rig.history, rig.subscribers)
    later = copy.deepcopy(found)
    done = next(n for n, delivery in enumerate(found.deliveries) if delivery.status == SUCCEEDED)
    later.deliveries[done] = dataclasses.replace(found.deliveries[done], status_at=0)
    invariants.check(found)
    with pytest.raises(AssertionError, match="I5"):
        invariants.check(later)


def test_the_checker_notices_what_a_log_must_not_have(tmp_path: Path) -> None:
    log = tmp_path / "log"
    for text in ("…planted-9c41f7…", "key: whsec_x", "Traceback (most recent call last)"):
        log.write_text(text)
        with pytest.raises(AssertionError, match="I12"):
            quiet(log, ["whsec_x"])
