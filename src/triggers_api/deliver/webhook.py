"""One claimed delivery, one POST, one :data:`~triggers_api.model.outcome.Outcome`."""

import random
import secrets
from collections.abc import Sequence
from ssl import SSLContext
from time import perf_counter
from typing import Final, Self

import msgspec
import structlog

from triggers_api import __version__
from triggers_api.deliver.client import Client, Endpoint
from triggers_api.deliver.connection import BODY_LIMIT, Answer, Course, RequestFailed
from triggers_api.deliver.egress import Egress
from triggers_api.deliver.signature import (
    ID_HEADER,
    PREFIX,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    sign,
)
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
from triggers_api.model.rendering import JSON, EventContent, envelope, render
from triggers_api.model.retry import parse_retry_after
from triggers_api.model.subscription import PayloadFormat, SubscriptionRecord
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import ClaimedDelivery
from triggers_api.telemetry.tracing import Attributes, TracedAttempt, Tracing

log = structlog.get_logger(__name__)

USER_AGENT: Final = user_agent(__version__)

_USUAL_FORMATS: Final = frozenset({PayloadFormat.STANDARD, PayloadFormat.RAW, PayloadFormat.FLAT})
"""Those of which only ``content-type`` is a header."""
_USUAL_LINES: Final = 15
"""Of :func:`encode_usual`, with the one that ends the head."""
_BROKEN: Final = "a header holds a line break"
# Ids must differ, not be secret: a generator of our own costs no system call for each.
_random_bytes: Final = random.Random(secrets.randbits(256)).randbytes  # noqa: S311


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
    body, rendered = _rendered(delivery)
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


def _rendered(delivery: ClaimedDelivery) -> tuple[bytes, dict[str, str]]:
    return render(
        delivery.target.subscription.payload_format,
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


def new_traceparent() -> str:
    """A trace that begins with this request (W3C Trace Context, 3.2), sampled."""
    digits = _random_bytes(24).hex()
    return f"00-{digits[:32]}-{digits[32:]}-01"


class Sender:
    """Makes the requests of one process."""

    def __init__(
        self, egress: Egress, *, ssl: SSLContext | None = None, tracing: Tracing | None = None
    ) -> None:
        """Set up.

        Args:
            egress: the gate that every connection passes.
            ssl: whom to trust, instead of the authorities that the system trusts.
            tracing: writes down the attempts of events that belong to a trace.
        """
        self._tracing = tracing
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
        traced = None
        if self._tracing is not None and delivery.trace is not None:
            traced = self._tracing.attempt(delivery.trace, _attributes(delivery, attempt_number))
        traceparent = new_traceparent() if traced is None else traced.traceparent
        headers: dict[str, str] | None = None
        signature = ""
        signing = delivery.target.signing(at)
        if is_usual(delivery, signing):
            body = _usual_body(delivery)
            signature = sign(
                signing, message_id=delivery.event_id, timestamp=now // 1000, body=body
            )
        else:
            body, headers = compose(
                delivery, attempt_number=attempt_number, now=now, at=at, traceparent=traceparent
            )
        outcome: Answered | NoAnswer
        host, answered = "", None
        course = Course()
        try:
            endpoint = self._client.endpoint(delivery.target.subscription.url)
            host = endpoint.authority
            if headers is None:
                request = encode_usual(
                    endpoint,
                    delivery,
                    body,
                    attempt_number=attempt_number,
                    timestamp=now // 1000,
                    signature=signature,
                    traceparent=traceparent,
                )
            else:
                request = encode(endpoint, headers, body)
            answered = await self._client.post(
                endpoint, request, timeout_s=timeout_s, course=course
            )
            outcome = _outcome(answered, now, started)
        except RequestFailed as failure:
            outcome = NoAnswer(failure.code, permanent=failure.permanent)
        except Exception:
            log.exception("a request failed in an unforeseen way", delivery_id=delivery.id)
            outcome = NoAnswer("connection-lost")
        ended = perf_counter()
        if traced is not None:
            _end(traced, outcome)
        details = AttemptDetails(
            __version__,
            now // 1000,
            traceparent,
            host,
            len(body),
            {},
            (*course.timings(ended), round((ended - started) * 1000, 1)),
            None if answered is None else {},
        )
        if headers is not None:
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
            secrets = (
                [signature.partition(",")[2]]
                if headers is None
                else secret_values(headers, details.request)
            )
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
        started = perf_counter()
        headers = compose_farewell(target, now=now, at=at, traceparent=new_traceparent())
        try:
            endpoint = self._client.endpoint(target.subscription.url)
            request = encode(endpoint, headers, b"", method="DELETE")
            answered = await self._client.post(
                endpoint, request, timeout_s=timeout_s, course=Course()
            )
        except RequestFailed as failure:
            return NoAnswer(failure.code, permanent=failure.permanent)
        return _outcome(answered, now, started)


def is_usual(delivery: ClaimedDelivery, signing: Sequence[str]) -> bool:
    """Whether nothing is chosen for a request, so that it is made by :func:`encode_usual`.

    Args:
        delivery: what to send, and to whom.
        signing: the secrets that sign it.
    """
    target = delivery.target
    subscription = target.subscription
    return (
        not subscription.headers
        and target.auth is None
        and delivery.sequence is None
        and subscription.payload_format in _USUAL_FORMATS
        and len(signing) == 1
        and signing[0].startswith(PREFIX)
    )


def _attributes(delivery: ClaimedDelivery, attempt_number: int) -> Attributes:
    target = delivery.target
    return {
        "http.request.method": "POST",
        "triggers.organization.id": target.organization_id,
        "triggers.event.id": delivery.event_id,
        "triggers.subscription.id": target.subscription.id,
        "triggers.delivery.id": delivery.id,
        "triggers.attempt": attempt_number,
    }


def _end(traced: TracedAttempt, outcome: Answered | NoAnswer) -> None:
    if isinstance(outcome, Answered):
        traced.end(status_code=outcome.status_code, error=None)
    else:
        traced.end(status_code=None, error=outcome.error)


def _usual_body(delivery: ClaimedDelivery) -> bytes:
    if delivery.target.subscription.payload_format is PayloadFormat.STANDARD:
        return envelope(delivery.event_type, delivery.sent_at, delivery.payload)
    return _rendered(delivery)[0]


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
        raise ValueError(_BROKEN)
    return (
        f"{method} {endpoint.target} HTTP/1.1\r\nhost: {endpoint.authority}\r\n"
        f"content-length: {len(body)}\r\n{lines}\r\n"
    ).encode() + body


def encode_usual(
    endpoint: Endpoint,
    delivery: ClaimedDelivery,
    body: bytes,
    *,
    attempt_number: int,
    timestamp: int,
    signature: str,
    traceparent: str,
) -> bytes:
    """What :func:`encode` makes of :func:`compose`, where :func:`is_usual`.

    Raises:
        ValueError: a line break would get into a header.
    """
    # One expression instead of a dict and a loop: nine of ten requests are like this one.
    head = (
        f"POST {endpoint.target} HTTP/1.1\r\nhost: {endpoint.authority}\r\n"
        f"content-length: {len(body)}\r\ncontent-type: {JSON}\r\n"
        f"{ID_HEADER}: {delivery.event_id}\r\n{TIMESTAMP_HEADER}: {timestamp}\r\n"
        f"{SIGNATURE_HEADER}: {signature}\r\nuser-agent: {USER_AGENT}\r\naccept: */*\r\n"
        f"accept-encoding: identity\r\ntraceparent: {traceparent}\r\n"
        f"x-triggers-event-type: {delivery.event_type}\r\n"
        f"x-triggers-delivery-id: {delivery.id}\r\nx-triggers-attempt: {attempt_number}\r\n\r\n"
    )
    if head.count("\n") != _USUAL_LINES or head.count("\r") != _USUAL_LINES:
        raise ValueError(_BROKEN)
    return head.encode() + body


def _outcome(answer: Answer, started_at: Timestamp, started: float) -> Answered:
    asked_s = None
    if answer.retry_after is not None:
        now = started_at.after(seconds=perf_counter() - started)
        asked_s = parse_retry_after(answer.retry_after.decode("latin-1"), now=now)
    return Answered(
        answer.status_code,
        asked_s,
        None if answer.control is None else control_of(answer.control.decode("latin-1")),
    )
