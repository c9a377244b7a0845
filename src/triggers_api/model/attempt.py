"""An attempt's request and answer as they are kept on file: small, and without what is secret.

What follows from the delivery is not kept with each attempt but put together when it is read; what
varies is kept. Values that a receiver is to recognize the sender by are never kept.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

import msgspec

from triggers_api.model.headers import is_ours

MASK: Final = "***"
"""What is shown for a value that is not."""

RESPONSE_HEADERS_LIMIT: Final = 4096
"""How many bytes of an answer's headers are kept, names and values together."""

SIGNATURE: Final = "webhook-signature"

_JSON: Final = "application/json"
_MASKED_SIGNATURE: Final = f"v1,{MASK}"
_EVENTS_OWN: Final = "ce-"
_SECRET_NAME: Final = re.compile(
    r"auth|cookie|secret|token|passw|credential|signature|session|api-?key|\bkey\b"
)
_SHORTEST_ECHO: Final = 6


class Timings(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How long the phases of an attempt took, in milliseconds.

    ``None`` is a phase that was not gone through: a kept connection needs no name, no connection and no
    handshake, and what fails on the way gets no further. A phase in which it failed has the time until
    then.

    Attributes:
        dns: the name was looked up.
        connect: the connection was made.
        tls: the handshake.
        first_byte: from the request, as soon as it could be sent, to the first byte of the answer.
        total: everything, to the end of what is read of the answer.
    """

    dns: float | None = None
    connect: float | None = None
    tls: float | None = None
    first_byte: float | None = None
    total: float


class AttemptDetails(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What of an attempt's request and answer does not follow from its delivery.

    Attributes:
        version: of the service that sent it.
        timestamp: in the signature, in seconds since 1970.
        traceparent: of the request.
        host: the ``host`` header; empty where the URL could not be called.
        size: bytes of the body.
        request: headers that differ from :func:`usual_headers`, masked.
        timings: in milliseconds: dns, connect, tls, first byte, total.
        response: headers of the answer, masked; ``None`` where none came.
    """

    version: str
    timestamp: int
    traceparent: str
    host: str
    size: int
    request: dict[str, str]
    timings: tuple[float | None, float | None, float | None, float | None, float]
    response: dict[str, str] | None = None


def user_agent(version: str) -> str:
    """The ``user-agent`` of a version of this service."""
    return f"triggers-api/{version}"


def usual_headers(
    details: AttemptDetails, *, event_id: str, event_type: str, delivery_id: str, number: int
) -> dict[str, str]:
    """The headers of a request for which nothing else was chosen; the signature masked."""
    return {
        "host": details.host,
        "content-length": str(details.size),
        "content-type": _JSON,
        "webhook-id": event_id,
        "webhook-timestamp": str(details.timestamp),
        SIGNATURE: _MASKED_SIGNATURE,
        "user-agent": user_agent(details.version),
        "accept": "*/*",
        "accept-encoding": "identity",
        "traceparent": details.traceparent,
        "x-triggers-event-type": event_type,
        "x-triggers-delivery-id": delivery_id,
        "x-triggers-attempt": str(number),
    }


def unusual_headers(sent: Mapping[str, str], usual: Mapping[str, str]) -> dict[str, str]:
    """Those that were sent and are not among the usual ones, masked."""
    kept: dict[str, str] = {}
    for name, value in sent.items():
        if usual.get(name) != value:
            shown = _shown(name, value)
            if usual.get(name) != shown:
                kept[name] = shown
    return kept


def request_headers(
    details: AttemptDetails, *, event_id: str, event_type: str, delivery_id: str, number: int
) -> dict[str, str]:
    """All headers of the request, masked."""
    kept = details.request
    chosen = {name.lower() for name in kept}
    usual = usual_headers(
        details,
        event_id=event_id,
        event_type=event_type,
        delivery_id=delivery_id,
        number=number,
    )
    return {name: value for name, value in usual.items() if value and name not in chosen} | kept


def timings(details: AttemptDetails) -> Timings:
    """The times of an attempt by their names."""
    dns, connect, tls, first_byte, total = details.timings
    return Timings(dns=dns, connect=connect, tls=tls, first_byte=first_byte, total=total)


def response_headers(raw: Iterable[tuple[bytes, bytes]], secrets: Iterable[str]) -> dict[str, str]:
    """An answer's headers as they are kept: names in lower case, repeated ones joined by commas.

    Those whose names speak of secrets are masked, and so is what the receiver gives back of ``secrets``.
    """
    kept: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name, is_secret = _named(raw_name)
        value = MASK if is_secret else raw_value.decode("latin-1")
        kept[name] = f"{kept[name]}, {value}" if name in kept else value
    for secret in secrets:
        for name, value in kept.items():
            if secret in value:
                kept[name] = value.replace(secret, MASK)
    return kept


def secret_values(sent: Mapping[str, str], unusual: Iterable[str]) -> list[str]:
    """What of a request's headers must not be kept, wherever it turns up; the longest first.

    Values of less than 6 characters are not looked for: they are words of every answer.

    Args:
        sent: the headers, unmasked.
        unusual: the names of those that :func:`unusual_headers` found.
    """
    found = [part.partition(",")[2] for part in sent[SIGNATURE].split(" ")]
    for name in unusual:
        if not is_ours(name):
            found += (sent[name], sent[name].partition(" ")[2])
    if len(found) == 1:
        return found
    return sorted({each for each in found if len(each) >= _SHORTEST_ECHO}, key=len, reverse=True)


def without_echoes(text: str, secrets: Iterable[str], *, cut: bool) -> str:
    """A text with ``secrets`` masked, as they are or as a JSON text writes them.

    Args:
        text: of a receiver, which may give back what it was sent.
        secrets: see :func:`secret_values`.
        cut: the text does not go on where the receiver's did: one of them may have begun at its end.
    """
    escaped = "\\" in text
    for secret in secrets:
        for spelling in _spellings(secret) if escaped else (secret,):
            if spelling in text:
                text = text.replace(spelling, MASK)
            if cut:
                text = _without_beginning(text, spelling)
    return text


def _without_beginning(text: str, secret: str) -> str:
    """A text at whose end a secret does not begin."""
    for length in range(len(secret) - 1, _SHORTEST_ECHO - 1, -1):
        if text.endswith(secret[:length]):
            return text[:-length] + MASK
    return text


def _spellings(secret: str) -> tuple[str, ...]:
    in_json = msgspec.json.encode(secret).decode()[1:-1]
    return tuple(dict.fromkeys((secret, in_json, in_json.replace("/", "\\/"))))


def _shown(name: str, value: str) -> str:
    lower = name.lower()
    if lower == SIGNATURE:
        return " ".join([f"{part.partition(',')[0]},{MASK}" for part in value.split(" ")])
    # What an event holds is on file with the event, and is erased with it.
    return value if is_ours(name) and not lower.startswith(_EVENTS_OWN) else MASK


@lru_cache(maxsize=1024)
def _named(raw: bytes) -> tuple[str, bool]:
    """A header's name in lower case, and whether it speaks of secrets."""
    name = raw.decode("latin-1").lower()
    return name, _SECRET_NAME.search(name) is not None
