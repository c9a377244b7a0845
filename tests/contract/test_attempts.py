"""Attempts on file: what of a request and its answer is kept, and what is put together from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from triggers_api.model.attempt import AttemptDetails, Timings
from triggers_api.model.delivery import Attempt

if TYPE_CHECKING:
    from tests.contract.conftest import World

DETAILS = AttemptDetails(
    "0.1.2",
    1_795_379_081,
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "example.com:8443",
    123,
    {"X-Mine": "***", "content-type": "application/cloudevents+json"},
    (None, 1.5, 2.25, 200.0, 204.5),
    {"content-type": "text/plain", "x-umlaut": "\xfc\u2603"},
)


def attempts(world: World, organization: str, delivery_id: str) -> tuple[Attempt, ...]:
    found = world.run(world.store.delivery(organization, delivery_id))
    assert found is not None
    return found.attempts


def test_headers_and_timings_are_on_file_with_the_attempt(
    world: World, organization: str, subscription: str
) -> None:
    (delivery_id,) = world.due(organization, subscription, type="invoice.paid")
    claimed = world.claimed()
    outcome = world.outcome(claimed, "retrying", status_code=500, retry_in_s=0)
    assert world.settle(msgspec.structs.replace(outcome, details=DETAILS)) == []
    (attempt,) = attempts(world, organization, delivery_id)
    assert attempt.request_headers == {
        "host": "example.com:8443",
        "content-length": "123",
        "content-type": "application/cloudevents+json",
        "webhook-id": claimed.event_id,
        "webhook-timestamp": "1795379081",
        "webhook-signature": "v1,***",
        "user-agent": "triggers-api/0.1.2",
        "accept": "*/*",
        "accept-encoding": "identity",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "x-triggers-event-type": "invoice.paid",
        "x-triggers-delivery-id": delivery_id,
        "x-triggers-attempt": "1",
        "X-Mine": "***",
    }
    assert attempt.response_headers == {"content-type": "text/plain", "x-umlaut": "\xfc\u2603"}
    assert attempt.timings == Timings(
        dns=None, connect=1.5, tls=2.25, first_byte=200.0, total=204.5
    )


def test_each_attempt_has_its_own_and_one_without_has_none(
    world: World, organization: str, subscription: str
) -> None:
    (delivery_id,) = world.due(organization, subscription)
    first = world.outcome(world.claimed(), "retrying", status_code=500, retry_in_s=0)
    world.settle(first)
    second = world.outcome(world.claimed(), "succeeded")
    world.settle(msgspec.structs.replace(second, details=DETAILS))
    old, new = attempts(world, organization, delivery_id)
    assert (old.request_headers, old.response_headers, old.timings) == (None, None, None)
    assert new.request_headers is not None
    assert new.request_headers["x-triggers-attempt"] == "2"


def test_an_attempt_without_an_answer_has_no_headers_of_one(
    world: World, organization: str, subscription: str
) -> None:
    (delivery_id,) = world.due(organization, subscription)
    outcome = world.outcome(world.claimed(), "dead", status_code=None, error="dns")
    details = msgspec.structs.replace(DETAILS, response=None, host="")
    world.settle(msgspec.structs.replace(outcome, details=details))
    (attempt,) = attempts(world, organization, delivery_id)
    assert attempt.response_headers is None
    assert attempt.request_headers is not None
    assert "host" not in attempt.request_headers


def test_details_of_a_newer_version_are_read_as_far_as_they_are_known() -> None:
    newer = msgspec.json.decode(msgspec.json.encode(DETAILS))
    assert (
        msgspec.json.decode(msgspec.json.encode([*newer, "more"]), type=AttemptDetails) == DETAILS
    )
