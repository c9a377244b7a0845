"""One claimed delivery, one POST, one :data:`~triggers_api.model.outcome.Outcome`."""

import re
import secrets
from ssl import SSLContext
from time import perf_counter
from typing import Final, Self

import msgspec
import structlog

from triggers_api import __version__
from triggers_api.deliver.client import Client, Endpoint
from triggers_api.deliver.connection import BODY_LIMIT, Answer, Course, RequestFailed
from triggers_api.deliver.egress import Egress
from triggers_api.deliver.signature import ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign
from triggers_api.model.attempt import (
    AttemptDetails,
    response_headers,
    secret_values,
    unusual_headers,
    user_agent,
    usual_headers,
    without_echoes,
)
from triggers_api.model.auth import authorization
from triggers_api.model.headers import AUTHORIZATION, is_ours
from triggers_api.model.outcome import Answered, NoAnswer, control_of
from triggers_api.model.rendering import JSON, EventContent, render
from triggers_api.model.retry import parse_retry_after
from triggers_api.model.subscription import SubscriptionRecord
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import ClaimedDelivery

log = structlog.get_logger(__name__)

USER_AGENT: Final = user_agent(__version__)

_USUALLY: Final = 11
"""Headers of :func:`compose` where no format, order or subscription adds any."""
_ONE_SIGNATURE: Final = re.compile(r"v1,[^ ]+")


class Sent(msgspec.Struct, frozen=True, gc=False):
    """What one attempt came to.

    Attributes:
        outcome: what the dispatcher decides upon.
        duration_ms: from the first step to the last, in milliseconds.
        response_body: the beginning of the answer's body, what is not UTF-8 replaced; ``None`` when
            it was empty or did not come.
        details: request and answer, as they are kept on file.
    """

    outcome: Answered | NoAnswer
    duration_ms: int
    response_body: str | None = None
    details: AttemptDetails | None = None


def compose(
    delivery: ClaimedDelivery,
    *,
    attempt_number: int,
    now: Timestamp,
    at: Timestamp,
    traceparent: str,
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of an attempt (docs: "What is sent"; Standard Webhooks, "Webhook headers").

    Args:
        delivery: what to send, and to whom.
        attempt_number: counts from 1.
        now: the moment of this attempt, which the signature carries.
        at: the same by the store's clock, by which secrets end.
        traceparent: see :func:`new_traceparent`.
    """
    subscription = delivery.target.subscription
    body, rendered = render(
        subscription.payload_format,
        EventContent(
            id=delivery.event_id,
            organization_id=delivery.target.organization_id,
            type=delivery.event_type,
            sent_at=delivery.sent_at,
            payload=delivery.payload,
            source=delivery.source,
            key=delivery.key,
            dedup_id=delivery.dedup_id,
            metadata=delivery.metadata,
        ),
    )
    timestamp = now // 1000
    headers = {
        **rendered,
        ID_HEADER: delivery.event_id,
        TIMESTAMP_HEADER: str(timestamp),
        SIGNATURE_HEADER: sign(
            delivery.target.signing(at),
            message_id=delivery.event_id,
            timestamp=timestamp,
            body=body,
        ),
        "user-agent": USER_AGENT,
        "accept": "*/*",
        "accept-encoding": "identity",
        "traceparent": traceparent,
        "x-triggers-event-type": delivery.event_type,
        "x-triggers-delivery-id": delivery.id,
        "x-triggers-attempt": str(attempt_number),
    }
    if delivery.sequence is not None:
        headers["x-triggers-sequence"] = str(delivery.sequence)
    return body, _with_theirs(headers, delivery.target)


def compose_farewell(
    target: SubscriptionRecord, *, now: Timestamp, at: Timestamp, traceparent: str
) -> dict[str, str]:
    """Headers of the request, without a body, that tells a tool that its hook has ended.

    Signed as deliveries are, under the subscription's id. Arguments are those of :func:`compose`.
    """
    subscription_id, timestamp = target.subscription.id, now // 1000
    headers = {
        ID_HEADER: subscription_id,
        TIMESTAMP_HEADER: str(timestamp),
        SIGNATURE_HEADER: sign(
            target.signing(at), message_id=subscription_id, timestamp=timestamp, body=b""
        ),
        "user-agent": USER_AGENT,
        "accept": "*/*",
        "accept-encoding": "identity",
        "traceparent": traceparent,
    }
    return _with_theirs(headers, target)


def _with_theirs(headers: dict[str, str], target: SubscriptionRecord) -> dict[str, str]:
    """With the headers and the credentials that were chosen for the subscription."""
    for name, value in (target.subscription.headers or {}).items():
        if not is_ours(name):
            headers.pop(name.lower(), None)
            headers[name] = value
    if target.auth is not None:
        headers = {
            name: value for name, value in headers.items() if name.lower() != AUTHORIZATION
        } | {AUTHORIZATION: authorization(target.auth)}
    return headers


def new_traceparent() -> str:
    """A trace that begins with this request (W3C Trace Context, 3.2), sampled."""
    digits = secrets.token_hex(24)
    return f"00-{digits[:32]}-{digits[32:]}-01"


class Sender:
    """Makes the requests of one process."""

    def __init__(self, egress: Egress, *, ssl: SSLContext | None = None) -> None:
        """Set up.

        Args:
            egress: the gate that every connection passes.
            ssl: whom to trust, instead of the authorities that the system trusts.
        """
        self._client = Client(egress, ssl_context=ssl)

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.__aexit__()

    async def send(
        self,
        delivery: ClaimedDelivery,
        *,
        attempt_number: int,
        timeout_s: float,
        now: Timestamp,
        at: Timestamp,
    ) -> Sent:
        """Make one attempt; whatever the network does is an outcome and never an exception.

        Args:
            delivery: what to send, and to whom.
            attempt_number: counts from 1.
            timeout_s: seconds for everything together: name, connection, request and answer.
            now: the moment of this attempt, which the signature carries.
            at: the same by the store's clock, by which secrets end.

        Raises:
            MalformedValue: one of the subscription's secrets is not one; nothing was sent.
            Unavailable: this process has no key to read them with; nothing was sent.
        """
        started = perf_counter()
        body, headers = compose(
            delivery, attempt_number=attempt_number, now=now, at=at, traceparent=new_traceparent()
        )
        outcome: Answered | NoAnswer
        host, answered = "", None
        course = Course()
        try:
            endpoint = self._client.endpoint(delivery.target.subscription.url)
            host = endpoint.authority
            answered = await self._client.post(
                endpoint, encode(endpoint, headers, body), timeout_s=timeout_s, course=course
            )
            outcome = _outcome(answered, now.after(seconds=perf_counter() - started))
        except RequestFailed as failure:
            outcome = NoAnswer(failure.code, permanent=failure.permanent)
        except Exception:
            log.exception("a request failed in an unforeseen way", delivery_id=delivery.id)
            outcome = NoAnswer("connection-lost")
        ended = perf_counter()
        details = AttemptDetails(
            __version__,
            now // 1000,
            headers["traceparent"],
            host,
            len(body),
            {},
            (*course.timings(ended), round((ended - started) * 1000, 1)),
            None if answered is None else {},
        )
        if not _is_usual(delivery, headers):
            usual = usual_headers(
                details,
                event_id=delivery.event_id,
                event_type=delivery.event_type,
                delivery_id=delivery.id,
                number=attempt_number,
            )
            details.request.update(unusual_headers(headers, usual))
        text = None
        if answered is not None:
            secrets = secret_values(headers, details.request)
            assert details.response is not None
            details.response.update(response_headers(answered.headers, secrets))
            text = _text(answered.body, secrets)
        return Sent(outcome, round((ended - started) * 1000), text, details)

    async def say_farewell(
        self, target: SubscriptionRecord, *, timeout_s: float, now: Timestamp, at: Timestamp
    ) -> Answered | NoAnswer:
        """Tell a tool that its hook has ended; whatever the network does is an outcome.

        Args:
            target: the hook.
            timeout_s: seconds for everything together.
            now: the moment of this attempt, which the signature carries.
            at: the same by the store's clock, by which secrets end.

        Raises:
            MalformedValue: one of the hook's secrets is not one; nothing was sent.
            Unavailable: this process has no key to read them with; nothing was sent.
        """
        headers = compose_farewell(target, now=now, at=at, traceparent=new_traceparent())
        try:
            endpoint = self._client.endpoint(target.subscription.url)
            request = encode(endpoint, headers, b"", method="DELETE")
            answered = await self._client.post(
                endpoint, request, timeout_s=timeout_s, course=Course()
            )
        except RequestFailed as failure:
            return NoAnswer(failure.code, permanent=failure.permanent)
        return _outcome(answered, now)


def _is_usual(delivery: ClaimedDelivery, headers: dict[str, str]) -> bool:
    """Whether nothing was chosen for this request that :func:`usual_headers` would not say."""
    target = delivery.target
    return (
        not target.subscription.headers
        and target.auth is None
        and len(headers) == _USUALLY
        and headers["content-type"] == JSON
        and _ONE_SIGNATURE.fullmatch(headers[SIGNATURE_HEADER]) is not None
    )


def _text(body: bytes, secrets: list[str]) -> str | None:
    text = body.decode(errors="replace").replace("\x00", "\ufffd")
    return without_echoes(text, secrets, cut=len(body) >= BODY_LIMIT) or None


def encode(
    endpoint: Endpoint, headers: dict[str, str], body: bytes, *, method: str = "POST"
) -> bytes:
    """A whole request as it goes over the wire.

    Raises:
        ValueError: a header holds a line break; what is saved is checked, so none should.
    """
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers):
        raise ValueError("a header holds a line break")
    return (
        f"{method} {endpoint.target} HTTP/1.1\r\nhost: {endpoint.authority}\r\n"
        f"content-length: {len(body)}\r\n{lines}\r\n"
    ).encode() + body


def _outcome(answer: Answer, now: Timestamp) -> Answered:
    asked = answer.retry_after
    return Answered(
        answer.status_code,
        None if asked is None else parse_retry_after(asked.decode("latin-1"), now=now),
        None if answer.control is None else control_of(answer.control.decode("latin-1")),
    )
