"""Verifying webhooks, with the libraries of the scheme's authors as the second opinion."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook as Library
from svix.webhooks import Webhook as OtherLibrary

from triggers_api.client import InvalidWebhook, verify
from triggers_api.deliver.signature import new_secret, public_key, sign
from triggers_api.model.subscription import SignatureScheme
from triggers_api.testing import LocalService

OLD, NEW, OTHER = (f"whsec_{base64.b64encode(bytes([n]) * 32).decode()}" for n in range(3))
BODY: Final = b'{"type":"order.created","timestamp":"2026-01-01T12:00:00Z","data":{"id":42}}'
NOW: Final = 1_763_842_681


def signed(*secrets: str, at: int = NOW, body: bytes = BODY) -> dict[str, str]:
    signature = sign(secrets, message_id="evt_1", timestamp=at, body=body)
    return {"webhook-id": "evt_1", "webhook-timestamp": str(at), "webhook-signature": signature}


@given(
    key=st.binary(min_size=24, max_size=64),
    message_id=st.text(st.characters(codec="ascii", exclude_characters=". "), min_size=1),
    text=st.text(),
)
def test_what_the_libraries_sign_is_verified(key: bytes, message_id: str, text: str) -> None:
    secret = "whsec_" + base64.b64encode(key).decode()
    moment = datetime.now(UTC).replace(microsecond=0)
    for library in (Library(secret), OtherLibrary(secret)):
        headers = {
            "webhook-id": message_id,
            "webhook-timestamp": str(int(moment.timestamp())),
            "webhook-signature": library.sign(message_id, moment, text),
        }
        webhook = verify(headers, text.encode(), secret)
        assert (webhook.id, webhook.timestamp, webhook.body) == (message_id, moment, text.encode())


def test_a_webhook_says_what_it_is() -> None:
    headers = signed(OLD) | {
        "X-Triggers-Event-Type": "order.created",
        "x-triggers-delivery-id": "dlv_1",
        "x-triggers-attempt": "2",
        "x-triggers-sequence": "7",
    }
    webhook = verify(headers, BODY, OLD, now=NOW)
    assert (webhook.id, webhook.event_type, webhook.type) == ("evt_1",) + ("order.created",) * 2
    assert (webhook.delivery_id, webhook.attempt, webhook.sequence) == ("dlv_1", 2, 7)
    assert webhook.data == {"id": 42}
    assert webhook.json["type"] == "order.created"

    class Body(msgspec.Struct):
        data: dict[str, int]

    assert webhook.json_as(Body).data == {"id": 42}
    bare = verify(signed(OLD) | {"x-triggers-attempt": "many"}, BODY, OLD, now=NOW)
    assert (bare.event_type, bare.type, bare.attempt) == (None, "order.created", None)


def test_while_secrets_rotate_either_side_may_have_both() -> None:
    for secrets in (OLD, NEW, [OTHER, NEW], (OLD, NEW)):
        verify(signed(NEW, OLD), BODY, secrets, now=NOW)
    verify(signed(NEW), BODY, [OLD, NEW], now=NOW)
    with pytest.raises(InvalidWebhook):
        verify(signed(NEW, OLD), BODY, [OTHER], now=NOW)


def test_both_schemes_may_be_used_at_once() -> None:
    private = new_secret(SignatureScheme.V1A)
    public = public_key(SignatureScheme.V1A, private)
    assert public is not None
    headers = signed(OLD, private)
    for secrets in (public, OLD, [OTHER, public]):
        verify(headers, BODY, secrets, now=NOW)
    with pytest.raises(InvalidWebhook, match="private half"):
        verify(signed(OLD), BODY, public, now=NOW)


def test_what_was_signed_long_ago_may_be_looked_at_on_purpose_only() -> None:
    verify(signed(OLD), BODY, OLD, tolerance_s=None)
    with pytest.raises(InvalidWebhook, match="away from now"):
        verify(signed(OLD), BODY, OLD)


@pytest.mark.parametrize(
    "secrets", ["", "whsec_", "whsec_AAAA", "whpk_AAAA", "whsk_AAAA", [], [""]]
)
def test_a_secret_that_is_none_is_told_apart_from_a_forgery(secrets: str | list[str]) -> None:
    with pytest.raises(ValueError, match="secret") as wrong:
        verify(signed(OLD) | {"webhook-signature": "v1a,AAAA"}, BODY, secrets, now=NOW)
    assert "AAAA" not in str(wrong.value)


def test_a_timestamp_that_is_no_time_is_refused_also_without_a_tolerance() -> None:
    headers = signed(OLD, at=999_999_999_999)
    with pytest.raises(InvalidWebhook, match="no time"):
        verify(headers, BODY, OLD, tolerance_s=None)


@pytest.mark.parametrize("signature", ["v1", "v1a"])
def test_what_the_service_sends_is_verified(service: LocalService, signature: str) -> None:
    receiver = service.receiver()
    made = service.client.subscriptions.create(receiver.url, signature=signature)  # type: ignore[arg-type]
    sent = service.client.send("order.created", {"id": 42}, key="k")
    service.drain()
    (request,) = receiver.requests
    key = made.secret if signature == "v1" else made.public_key
    assert key is not None
    assert service.clock is not None
    webhook = verify(request.headers, request.body, key, now=service.clock() / 1000)
    assert (webhook.id, webhook.type, webhook.data) == (sent.id, "order.created", {"id": 42})
    assert webhook.attempt == 1
    with pytest.raises(InvalidWebhook):
        verify(request.headers, request.body + b" ", key, tolerance_s=None)
    service.client.subscriptions.delete(made.id)
