"""Events and dedup keys as they lie in Redis."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final, Self

import msgspec

from triggers_api.errors import MalformedValue
from triggers_api.model import ids
from triggers_api.model.event import EventStatus, FirstEvent, NewEvent
from triggers_api.model.ids import received_ms
from triggers_api.model.timestamp import Timestamp
from triggers_api.model.trace import BYTES

_DIGEST_BYTES: Final = 16
_ID_CHARACTERS: Final = 36
_WAITS: Final = b"W"


class _Body(msgspec.Struct, frozen=True, array_like=True):
    """What is not told otherwise; fields are only ever added, at the end, with a default."""

    type: str
    payload: bytes
    dedup_id: str | None = None
    source: str | None = None
    key: str | None = None
    metadata: bytes | None = None
    occurred_at: int | None = None
    deliver_at: int | None = None
    aside: str | None = None
    trace: bytes | None = None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Body).decode


def body_of(event: NewEvent) -> bytes:
    """An event as its entry keeps it."""
    return _encode(
        _Body(
            event.type,
            event.payload,
            event.dedup_id,
            event.source,
            event.key,
            event.metadata,
            None if event.occurred_at is None else int(event.occurred_at),
            None if event.deliver_at is None else int(event.deliver_at),
            event.aside,
            event.trace,
        )
    )


class Entry(msgspec.Struct, frozen=True):
    """An entry of the stream: its place there, what it is called, and what is in it.

    ``event`` is ``None`` where it is not one of ours, or was damaged. ``number`` counts what was added.
    """

    place: bytes
    event_id: str
    organization_id: str
    number: int
    event: NewEvent | None

    @classmethod
    def of(cls, place: bytes, fields: Sequence[bytes] | None) -> Self:
        """From a reply of XREADGROUP, XAUTOCLAIM or XRANGE."""
        found = _pairs(fields or ())
        event_id = found.get(b"id", b"").decode(errors="replace")
        organization_id = found.get(b"organization", b"").decode(errors="replace")
        number = found.get(b"number", b"")
        return cls(
            place,
            event_id,
            organization_id,
            int(number) if number.isdigit() else 0,
            _event(event_id, organization_id, found.get(b"event", b"")),
        )

    @property
    def size(self) -> int:
        """Bytes of its payload."""
        return 0 if self.event is None else len(self.event.payload)


def _pairs(fields: Sequence[bytes]) -> Mapping[bytes, bytes]:
    return dict(zip(fields[::2], fields[1::2], strict=False))


def _event(event_id: str, organization_id: str, body: bytes) -> NewEvent | None:
    if (
        ids.parse(ids.EVENT, event_id) is None
        or ids.parse(ids.ORGANIZATION, organization_id) is None
    ):
        return None
    try:
        found = _decode(body)
    except msgspec.MsgspecError:
        return None
    return NewEvent(
        event_id,
        organization_id,
        found.type,
        found.payload,
        found.dedup_id,
        found.source,
        found.key,
        found.metadata,
        None if found.occurred_at is None else Timestamp(found.occurred_at),
        None if found.deliver_at is None else Timestamp(found.deliver_at),
        aside=found.aside,
        trace=found.trace if found.trace is not None and len(found.trace) == BYTES else None,
    )


class Mark(msgspec.Struct, frozen=True):
    """What a dedup key holds: enough to answer whoever sends the same again.

    Attributes:
        waits: the first event is in the buffer still; else it has landed.
        event_id: the first event.
        digest: of its payload.
        aside: it is to be kept aside.
        deliver_at: when it is to be routed, in milliseconds; ``None`` at once.
        type: of the event; ``None`` in a key of an older process.
    """

    waits: bool
    event_id: str
    digest: bytes
    aside: bool = False
    deliver_at: int | None = None
    type: str | None = None

    @classmethod
    def of(cls, event: NewEvent) -> Self:
        """For an event that is about to wait."""
        aside = event.aside is not None
        return cls(True, event.id, digest(event.payload), aside, event.deliver_at, event.type)

    @classmethod
    def read(cls, held: bytes) -> Self:
        """From what the key holds.

        Raises:
            MalformedValue: nothing of ours.
        """
        event_id = held[1 : 1 + _ID_CHARACTERS].decode(errors="replace")
        rest = held[1 + _ID_CHARACTERS :]
        if ids.parse(ids.EVENT, event_id) is None or len(rest) <= _DIGEST_BYTES:
            raise MalformedValue("not a dedup key of the ingest buffer")
        moment, _, event_type = rest[_DIGEST_BYTES + 1 :].partition(b" ")
        return cls(
            held[:1] == _WAITS,
            event_id,
            rest[:_DIGEST_BYTES],
            rest[_DIGEST_BYTES : _DIGEST_BYTES + 1] == b"a",
            int(moment) if moment.isdigit() else None,
            event_type.decode(errors="replace") or None,
        )

    def __bytes__(self) -> bytes:
        return b"".join(
            (
                _WAITS if self.waits else b"L",
                self.event_id.encode(),
                self.digest,
                b"a" if self.aside else b"q",
                b"" if self.deliver_at is None else b"%d" % self.deliver_at,
                b"" if self.type is None else b" %b" % self.type.encode(),
            )
        )

    def first(self, payload: bytes, now: int) -> FirstEvent:
        """What to answer a request with this payload, as far as the key knows."""
        status = EventStatus.QUEUED
        if self.aside:
            status = EventStatus.QUARANTINED
        elif self.deliver_at is not None and self.deliver_at > now:
            status = EventStatus.SCHEDULED
        return FirstEvent(
            self.event_id,
            status,
            Timestamp(received_ms(self.event_id)),
            digest(payload) == self.digest,
            self.type,
        )


def digest(payload: bytes) -> bytes:
    """By which two payloads are told apart."""
    return hashlib.blake2b(payload, digest_size=_DIGEST_BYTES).digest()


def key_digest(organization_id: str, dedup_id: str) -> bytes:
    """What a dedup key is called by: the longest dedup_id is no longer than the shortest."""
    named = f"{organization_id}\0{dedup_id}".encode()
    return hashlib.blake2b(named, digest_size=_DIGEST_BYTES).digest()
