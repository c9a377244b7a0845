"""An event as the bytes that receivers get, in each format. Payloads are spliced in, never made anew.

Structured and binary CloudEvents are those of CloudEvents 1.0.2: its JSON format, and its HTTP
protocol binding (https://github.com/cloudevents/spec/tree/v1.0.2/cloudevents).
"""

import re
from typing import Final
from urllib.parse import quote

import msgspec

from triggers_api.model.ids import received_ms
from triggers_api.model.members import members_of, renamed
from triggers_api.model.subscription import PayloadFormat
from triggers_api.model.text import has_control
from triggers_api.model.timestamp import Timestamp

JSON: Final = "application/json"
CLOUDEVENT_JSON: Final = "application/cloudevents+json"

_FLAT_NAMES: Final = ("id", "type", "received_at")
_PAYLOADS: Final = "payload_"

_EXTENSION: Final = re.compile(r"[a-z0-9]+", re.ASCII)
_NOT_EXTENSIONS: Final = frozenset(
    {
        "specversion", "id", "source", "type", "time", "subject", "datacontenttype", "data",
    }
)  # fmt: skip
_URI_REFERENCE: Final = re.compile(
    r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+", re.ASCII
)
_URI: Final = re.compile(rf"[A-Za-z][A-Za-z0-9+.-]*:{_URI_REFERENCE.pattern}", re.ASCII)
_URI_SAFE: Final = "._~:/?#@!$&'()*+,;=-"
# HTTP binding, 3.1.3.2: printable ASCII but for the space, the double quote and the percent sign.
_HEADER_SAFE: Final = "".join(map(chr, set(range(0x21, 0x7F)) - set(b'"%')))

_encode = msgspec.json.encode
_text = msgspec.json.Decoder(str).decode


class EventContent(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What of an event its receivers may be told.

    Attributes:
        sent_at: when it happened, if that was told, else when it was received.
        payload: the received bytes of one JSON value.
        metadata: a JSON object as it is stored, or ``None``.
    """

    id: str
    organization_id: str
    type: str
    sent_at: Timestamp
    payload: bytes
    source: str | None = None
    key: str | None = None
    dedup_id: str | None = None
    metadata: bytes | None = None


def render(payload_format: PayloadFormat, event: EventContent) -> tuple[bytes, dict[str, str]]:
    """Body and headers of an event in a format; the same each time.

    Raises:
        MalformedValue: its payload is not JSON, which no accepted event's is.
    """
    match payload_format:
        case PayloadFormat.STANDARD:
            return standard(event), {"content-type": JSON}
        case PayloadFormat.RAW:
            return event.payload, {"content-type": JSON}
        case PayloadFormat.FLAT:
            return flat(event), {"content-type": JSON}
        case PayloadFormat.CLOUDEVENTS:
            return structured(event), {"content-type": CLOUDEVENT_JSON}
        case PayloadFormat.CLOUDEVENTS_BINARY:
            return event.payload, binary_headers(event)


def standard(event: EventContent) -> bytes:
    """The envelope of Standard Webhooks: ``type``, ``timestamp``, and the payload as ``data``."""
    return envelope(event.type, event.sent_at, event.payload)


def envelope(event_type: str, sent_at: Timestamp, payload: bytes) -> bytes:
    """:func:`standard` of what goes into it."""
    # Neither an event's type nor a timestamp has a character that JSON would escape.
    return b'{"type":"%b","timestamp":"%b","data":%b}' % (
        event_type.encode(),
        str(sent_at).encode(),
        payload,
    )


def flat(event: EventContent) -> bytes:
    """``id``, ``type`` and ``received_at``, then the payload's own members, or all else as ``data``.

    A member of the payload with one of these names becomes ``payload_id`` and so on; one that is
    called that already, beside it, ``payload_payload_id``: nothing is lost, and what ``payload_id``
    holds depends on nothing else.
    """
    received_at = Timestamp(received_ms(event.id))
    head = b'{"id":"%b","type":"%b","received_at":"%b"' % (
        event.id.encode(),
        event.type.encode(),
        str(received_at).encode(),
    )
    members = members_of(event.payload)
    if members is None:
        return b'%b,"data":%b}' % (head, event.payload)
    if not members:
        return head + b"}"
    names = {}
    for name in _FLAT_NAMES:
        own = name
        while own in members:
            names[own] = _PAYLOADS + own
            own = names[own]
    payload = renamed(event.payload, names) if names else event.payload
    return b"%b,%b" % (head, payload.lstrip(b" \t\n\r")[1:])


def structured(event: EventContent) -> bytes:
    """A CloudEvent in its JSON format, the payload as ``data``."""
    attributes = b",".join([b'"%b":%b' % (name.encode(), value) for name, value in _context(event)])
    return b'{%b,"datacontenttype":"application/json","data":%b}' % (attributes, event.payload)


def binary_headers(event: EventContent) -> dict[str, str]:
    """The attributes of a CloudEvent whose data is the body."""
    headers = {"content-type": JSON}
    for name, value in _context(event):
        text = _text(value) if value.startswith(b'"') else value.decode()
        headers[f"ce-{name}"] = quote(text, safe=_HEADER_SAFE)
    return headers


def _context(event: EventContent) -> list[tuple[str, bytes]]:
    """The attributes but for ``datacontenttype``, each value as JSON."""
    event_id, source = _identity(event)
    attributes = [
        ("specversion", b'"1.0"'),
        ("id", _encode(event_id)),
        ("source", _encode(source)),
        ("type", _encode(event.type)),
        ("time", _encode(str(event.sent_at))),
    ]
    if event.key is not None:
        attributes.append(("subject", _encode(event.key)))
    if event.metadata is not None:
        attributes += _extensions(event.metadata)
    return attributes


def _identity(event: EventContent) -> tuple[str, str]:
    """The id and source that the event brought along, else ours.

    A CloudEvent's ``dedup_id`` is its source, a space and its id; whatever has such a one is known by
    these two, and within the organization by nobody else's.
    """
    if event.source is None:
        return event.id, f"/organizations/{event.organization_id}"
    event_id = event.id
    if event.dedup_id is not None and event.dedup_id.startswith(f"{event.source} "):
        event_id = event.dedup_id[len(event.source) + 1 :] or event.id
    if _URI_REFERENCE.fullmatch(event.source):
        return event_id, event.source
    return event_id, quote(event.source, safe=_URI_SAFE)


def _extensions(metadata: bytes) -> list[tuple[str, bytes]]:
    """What of the metadata can be an attribute: by its name, and without controls."""
    found = []
    for name, raw in (members_of(metadata) or {}).items():
        value = bytes(raw)
        is_text = value.startswith(b'"')
        if (
            _EXTENSION.fullmatch(name)
            and name not in _NOT_EXTENSIONS
            and not (is_text and has_control(_text(value)))
            # Of the attributes that came as metadata the only one with a grammar of its own.
            and (name != "dataschema" or (is_text and _URI.fullmatch(_text(value))))
        ):
            found.append((name, value))
    return found
