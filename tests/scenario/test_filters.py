"""Filters, from the subscription to what arrives, in both ways of taking events in."""

from __future__ import annotations

from typing import Any, Final

import pytest
from tests.conftest import Run, turn
from tests.scenario.conftest import Ask

from triggers_api.testing import Receiver, Service

LARGE: Final = (
    'payload.amount > 100 && metadata.env == "prod" && source == "shop" && key.startsWith("c")'
)


def faults(service: Service) -> dict[str, float]:
    (family,) = [
        family
        for family in service.app.metrics.registry.collect()
        if family.name == "triggers_filter_faults"
    ]
    return {
        sample.labels["code"]: sample.value
        for sample in family.samples
        if sample.name.endswith("_total")
    }


def subscribe(service: Service, run: Run, receiver: Receiver, **fields: Any) -> str:  # noqa: ANN401
    created: str = run(service.subscribe(receiver.url, **fields))["id"]
    return created


def events() -> list[tuple[Any, dict[str, Any]]]:
    about = {"metadata": {"env": "prod"}, "source": "shop", "key": "c1"}
    return [
        ({"amount": 120}, about),
        ({"amount": 80}, about),
        ({"amount": 120}, about | {"metadata": {"env": "test"}}),
        ({"amount": 120}, about | {"source": "pos"}),
        ({"amount": 120}, about | {"key": None}),
        ({"amount": 120}, about | {"metadata": None}),
        ({"other": 1}, about),
        (None, about),
        ([], about),
    ]


@pytest.mark.parametrize("ingest", ["async", "sync"])
def test_only_what_the_filter_matches_is_delivered(
    service: Service, run: Run, ask: Ask, receiver: Receiver, ingest: str
) -> None:
    subscribe(service, run, receiver, filter=LARGE)
    everything = subscribe(service, run, receiver)
    run(turn(service, ingest=ingest))
    sent = [ask.event("order.created", payload, **fields) for payload, fields in events()]
    run(service.drain())
    assert [len(ask.deliveries(event_id)) for event_id in sent] == [2, *[1] * 8]
    assert {
        delivery["subscription_id"]
        for event_id in sent[1:]
        for delivery in ask.deliveries(event_id)
    } == {everything}
    assert {ask.status(event_id) for event_id in sent} == {"processed"}
    assert faults(service) == {"missing-field": 3, "wrong-type": 2}
    ask.books()


def test_a_changed_filter_decides_about_events_routed_from_then_on(
    service: Service, run: Run, ask: Ask, receiver: Receiver
) -> None:
    subscription = subscribe(service, run, receiver, filter="payload == 1")
    path = f"/api/subscriptions/{subscription}"
    first = ask.event(payload=2)
    run(service.drain())
    ask.do("PATCH", path, {"filter": "payload == 2"})
    second = ask.event(payload=2)
    run(service.drain())
    ask.do("PATCH", path, {"filter": None})
    assert ask.subscription(subscription)["filter"] is None
    third = ask.event(payload=3)
    run(service.drain())
    assert [len(ask.deliveries(each)) for each in (first, second, third)] == [0, 1, 1]


def test_an_event_that_is_claimed_before_its_organization_has_a_filter_is_judged_by_it(
    service: Service, run: Run, ask: Ask, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    about: dict[str, Any] = {"source": "shop", "key": "c1", "metadata": {"env": "prod"}}
    sent = [ask.event(payload={"amount": amount}, **about) for amount in (80, 120)]
    claim_queue = service.app.store.claim_queue

    async def claims_and_then_learns(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        assert not options["contents_of"], "there is no filter when it claims"
        claim = await claim_queue(*arguments, **options)
        monkeypatch.undo()
        await service.subscribe(receiver.url, filter=LARGE)
        return claim

    # The clock stands still: the subscription is as old as the events, and gets them.
    monkeypatch.setattr(service.app.store, "claim_queue", claims_and_then_learns)
    run(service.drain())
    assert [ask.status(each) for each in sent] == ["processed", "processed"]
    assert [len(ask.deliveries(each)) for each in sent] == [0, 1]


def test_an_event_that_is_deleted_between_claim_and_filter_is_let_go(
    service: Service, run: Run, ask: Ask, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = ask.event(payload={"amount": 120})
    claim_queue = service.app.store.claim_queue

    async def claims_and_then_learns(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        claim = await claim_queue(*arguments, **options)
        monkeypatch.undo()
        await service.subscribe(receiver.url, filter=LARGE)
        await service.call("DELETE", f"/api/events/{gone}")
        return claim

    monkeypatch.setattr(service.app.store, "claim_queue", claims_and_then_learns)
    run(service.drain())
    assert receiver.ids == []
    ask.books()
