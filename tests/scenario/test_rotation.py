"""Secrets that are replaced while receivers verify, and signatures with a key pair."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

import pytest
import standardwebhooks.webhooks
import svix.webhooks
from aiohttp import web
from standardwebhooks.webhooks import WebhookVerificationError
from tests.conftest import Enter, MakeService, Run
from tests.http.conftest import assert_problem
from tests.scenario.conftest import Ask, Asking

from triggers_api.app import wall_clock
from triggers_api.client import InvalidWebhook
from triggers_api.testing import FrozenClock, Received, Receiver, Service

DAY_S: Final = 86_400


class Library(Protocol):
    """What a receiver verifies with; both compare the timestamp with the time that it is."""

    def verify(self, data: bytes, headers: dict[str, str]) -> object: ...


Makes = Callable[[str], Library]


@pytest.fixture(params=[standardwebhooks.webhooks.Webhook, svix.webhooks.Webhook])
def library(request: pytest.FixtureRequest) -> Makes:
    makes: Makes = request.param
    return makes


@pytest.fixture
def clock() -> FrozenClock:
    """One that stands still at the present time."""
    return FrozenClock(str(wall_clock()))


def rotate(ask: Ask, subscription: dict[str, Any], **fields: Any) -> dict[str, Any]:  # noqa: ANN401
    path = f"/api/subscriptions/{subscription['id']}/rotate-secret"
    rotated: dict[str, Any] = ask.do("POST", path, fields or None, status=200)
    return rotated


def delivered(ask: Ask, receiver: Receiver) -> Received:
    """What a receiver gets of an event that is sent now."""
    ask.event()
    ask.drain()
    return receiver.requests[-1]


def verifies(library: Makes, secret: str, request: Received) -> bool:
    try:
        library(secret).verify(request.body, request.headers)
    except WebhookVerificationError:
        return False
    return True


def test_receivers_with_the_old_secret_or_the_new_one_are_content_until_the_grace_is_over(
    ask: Ask,
    run: Run,
    service: Service,
    receiver: Receiver,
    clock: FrozenClock,
    library: Makes,
) -> None:
    made = run(service.subscribe(receiver.url))
    before = delivered(ask, receiver)
    rotated = rotate(ask, made, grace_s=60)
    old, new = made["secret"], rotated["secret"]
    assert old != new
    meanwhile = delivered(ask, receiver)
    clock.advance(seconds=59.999)
    at_its_end = delivered(ask, receiver)
    clock.advance(seconds=0.001)
    # Nothing but the clock has moved: no sweep, no change of the subscription.
    after = delivered(ask, receiver)
    assert [
        (verifies(library, old, request), verifies(library, new, request))
        for request in (before, meanwhile, at_its_end, after)
    ] == [(True, False), (True, True), (True, True), (False, True)]
    signatures = meanwhile.headers["webhook-signature"].split(" ")
    meanwhile.headers["webhook-signature"] = signatures[0]
    assert len(signatures) == 2
    assert verifies(library, new, meanwhile), "the new one comes first"
    assert len(after.headers["webhook-signature"].split(" ")) == 1


def test_both_sign_for_a_day_where_nothing_else_is_said_also_after_a_restart(
    run: Run,
    enter: Enter,
    make_service: MakeService,
    asking: Asking,
    leave: Callable[[Any], None],
    receiver: Receiver,
    clock: FrozenClock,
) -> None:
    first = enter(make_service(clock=clock))
    made = run(first.subscribe(receiver.url))
    new = rotate(asking(first), made)["secret"]
    clock.advance(seconds=DAY_S - 1)
    leave(first)
    ask = asking(enter(make_service(clock=clock)))
    for secret in (made["secret"], new):
        delivered(ask, receiver).verify(secret, now=clock() // 1000)
    clock.advance(seconds=1)
    request = delivered(ask, receiver)
    request.verify(new, now=clock() // 1000)
    with pytest.raises(InvalidWebhook):
        request.verify(made["secret"], now=clock() // 1000)


def test_a_secret_that_others_have_seen_ends_at_once(
    ask: Ask, run: Run, service: Service, receiver: Receiver, clock: FrozenClock
) -> None:
    made = run(service.subscribe(receiver.url))
    second = rotate(ask, made, grace_s=3600)["secret"]
    third = rotate(ask, made, grace_s=0)["secret"]
    request = delivered(ask, receiver)
    request.verify(third, now=clock() // 1000)
    for secret in (made["secret"], second):
        with pytest.raises(InvalidWebhook):
            request.verify(secret, now=clock() // 1000)


def test_a_later_grace_prolongs_nobody_s(
    ask: Ask, run: Run, service: Service, receiver: Receiver, clock: FrozenClock
) -> None:
    made = run(service.subscribe(receiver.url))
    second = rotate(ask, made, grace_s=60)["secret"]
    third = rotate(ask, made, grace_s=3600)["secret"]
    request = delivered(ask, receiver)
    for secret in (made["secret"], second, third):
        request.verify(secret, now=clock() // 1000)
    clock.advance(seconds=60)
    request = delivered(ask, receiver)
    for secret in (second, third):
        request.verify(secret, now=clock() // 1000)
    assert len(request.headers["webhook-signature"].split(" ")) == 2


def test_what_was_claimed_before_is_signed_by_what_is_in_force_when_it_is_sent(
    run: Run,
    enter: Enter,
    make_service: MakeService,
    asking: Asking,
    receiver: Receiver,
    clock: FrozenClock,
) -> None:
    service = enter(make_service(clock=clock, delivery_concurrency=2))
    ask = asking(service)
    made = run(service.subscribe(receiver.url))
    path = f"/api/subscriptions/{made['id']}/rotate-secret"
    secrets: list[str] = []

    async def answer(_: Received) -> web.StreamResponse:
        # While the first one is answered, the second waits in the process for its turn.
        if not secrets:
            rotated = await service.call("POST", path, {"grace_s": 0})
            secrets.append(rotated.json["secret"])
        return web.Response(status=204)

    receiver.always(answer)
    for _ in range(2):
        ask.event()
    ask.drain()
    first, second = receiver.requests
    first.verify(made["secret"], now=clock() // 1000)
    second.verify(secrets[0], now=clock() // 1000)


def test_a_receiver_may_know_no_more_than_a_public_key(
    ask: Ask, run: Run, service: Service, receiver: Receiver, clock: FrozenClock
) -> None:
    made = run(service.subscribe(receiver.url, signature="v1a"))
    assert (made["signature"], made["secret"]) == ("v1a", None)
    assert made["public_key"].startswith("whpk_")
    assert ask.subscription(made["id"])["public_key"] == made["public_key"]
    request = delivered(ask, receiver)
    assert request.headers["webhook-signature"].startswith("v1a,")
    request.verify(made["public_key"], now=clock() // 1000)
    another = rotate(ask, made)
    assert (another["secret"], another["signature"]) == (None, "v1a")
    request = delivered(ask, receiver)
    for shown in (made, another):
        request.verify(shown["public_key"], now=clock() // 1000)
    assert b"whsk_" not in run(service.call("GET", "/api/subscriptions")).body


def test_a_rotation_goes_from_a_secret_to_a_key_pair_and_back(
    ask: Ask, run: Run, service: Service, receiver: Receiver, clock: FrozenClock
) -> None:
    made = run(service.subscribe(receiver.url))
    assert (made["signature"], made["public_key"]) == ("v1", None)
    pair = rotate(ask, made, signature="v1a")
    back = rotate(ask, made, signature="v1")
    assert (back["signature"], back["public_key"]) == ("v1", None)
    request = delivered(ask, receiver)
    versions = [each.split(",")[0] for each in request.headers["webhook-signature"].split(" ")]
    assert versions == ["v1", "v1a", "v1"]
    for secret in (made["secret"], pair["public_key"], back["secret"]):
        request.verify(secret, now=clock() // 1000)


def test_a_key_pair_may_be_brought_along(ask: Ask, run: Run, service: Service) -> None:
    key = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
    made = run(service.subscribe("http://127.0.0.1:9/", signature="v1a", secret=key))
    assert made["public_key"] == "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
    assert made["secret"] is None
    assert ask.subscription(made["id"])["signature"] == "v1a"


@pytest.mark.parametrize("signature", ["v1", "v1a"])
def test_a_secret_of_the_other_kind_is_refused(service: Service, run: Run, signature: str) -> None:
    secret = "whsec_" + "b2xk" * 8 if signature == "v1a" else "whsk_" + "b2xk" * 8
    asked = {"url": "http://127.0.0.1:9/", "event_types": ["*"], "secret": secret}
    answer = run(service.call("POST", "/api/subscriptions", asked | {"signature": signature}))
    assert_problem(answer, 422, "validation-failed")
    assert [(e["pointer"], e["code"]) for e in answer.json["errors"]] == [
        ("/secret", "invalid-secret")
    ]


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({"grace_s": -1}, "/grace_s", "out-of-range"),
        ({"grace_s": 2_592_001}, "/grace_s", "out-of-range"),
        ({"grace_s": "60"}, "/grace_s", "invalid-type"),
        ({"signature": "v2"}, "/signature", "invalid-type"),
        ({"secret": "whsec_"}, "/secret", "unknown-field"),
    ],
    ids=str,
)
def test_a_rotation_with_a_fault_replaces_nothing(
    ask: Ask,
    run: Run,
    service: Service,
    receiver: Receiver,
    clock: FrozenClock,
    body: dict[str, object],
    pointer: str,
    code: str,
) -> None:
    made = run(service.subscribe(receiver.url))
    answer = run(service.call("POST", f"/api/subscriptions/{made['id']}/rotate-secret", body))
    assert_problem(answer, 422, "validation-failed")
    assert [(e["pointer"], e["code"]) for e in answer.json["errors"]] == [(pointer, code)]
    request = delivered(ask, receiver)
    request.verify(made["secret"], now=clock() // 1000)
    assert " " not in request.headers["webhook-signature"]


def test_no_more_than_five_older_secrets_sign_at_once(ask: Ask, run: Run, service: Service) -> None:
    made = run(service.subscribe("http://127.0.0.1:9/"))
    for _ in range(5):
        rotate(ask, made)
    path = f"/api/subscriptions/{made['id']}/rotate-secret"
    assert_problem(run(service.call("POST", path, {})), 409, "invalid-state")
    rotate(ask, made, grace_s=0)
    rotate(ask, made)
