"""Event types: what an organization says of the events that it sends under one name."""

from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from typing import Final

import msgspec

from triggers_api.errors import FieldError
from triggers_api.model.redaction import Redactor
from triggers_api.model.schema import UNUSABLE, Schema
from triggers_api.model.timestamp import Timestamp

TYPES_LIMIT: Final = 500
"""Of an organization."""
TYPES_SIZE: Final = 4 << 20
"""Bytes of an organization's schemas and examples together."""
EXAMPLE_LENGTH: Final = 1 << 16
"""Bytes of an example."""


NOTHING: Final = msgspec.Raw(b"null")


def nothing() -> msgspec.Raw:
    """What stands for a schema or an example that is not there."""
    return NOTHING


class SchemaMode(StrEnum):
    """What becomes of an event whose payload does not fit the schema of its type.

    ``off``: nobody looks. ``warn``: it is accepted, and its sender told. ``enforce``: it is refused.
    ``quarantine``: it is accepted and kept aside, until somebody releases or deletes it.
    """

    OFF = "off"
    WARN = "warn"
    ENFORCE = "enforce"
    QUARANTINE = "quarantine"


class EventType(msgspec.Struct, frozen=True, kw_only=True):
    """An event type.

    Attributes:
        name: the type that events are sent with.
        description: for people.
        schema: a JSON Schema of the payload, ``null`` if there is none.
        mode: what becomes of events that do not fit it.
        example: a payload as it may be, ``null`` if there is none.
        redact: paths of values that are replaced before an event is stored.
    """

    name: str
    description: str | None = None
    schema: msgspec.Raw = msgspec.field(default_factory=nothing)
    mode: SchemaMode = SchemaMode.OFF
    example: msgspec.Raw = msgspec.field(default_factory=nothing)
    redact: tuple[str, ...] = ()
    created_at: Timestamp
    updated_at: Timestamp

    @property
    def size(self) -> int:
        """Bytes of schema and example."""
        return len(bytes(self.schema)) + len(bytes(self.example))

    @property
    def id(self) -> str:
        """What lists go by."""
        return self.name


class EventTypeRecord(msgspec.Struct, frozen=True):
    """An event type as it is kept; ``event_type`` is ``None`` when it was deleted."""

    organization_id: str
    name: str
    event_type: EventType | None


class Judgement(msgspec.Struct, frozen=True):
    """What its type says of an event.

    Attributes:
        payload: what is to be stored.
        faults: why the payload that came does not fit.
        mode: what follows from that.
    """

    payload: bytes
    faults: tuple[FieldError, ...]
    mode: SchemaMode


_UNUSABLE_FAULT: Final = FieldError(
    "/payload", UNUSABLE, "could not be checked: this version cannot use the schema"
)


class TypeRules:
    """An event type, ready to be applied to events. Its parts are made when an event needs them."""

    def __init__(self, event_type: EventType) -> None:
        """Hold it."""
        self.event_type = event_type

    @cached_property
    def _redactor(self) -> Redactor | None:
        return Redactor(self.event_type.redact) if self.event_type.redact else None

    @cached_property
    def _schema(self) -> Schema | None:
        try:
            return Schema(bytes(self.event_type.schema))
        except (ValueError, KeyError):
            # It was taken by a version that could.
            return None

    def judge(self, payload: bytes) -> Judgement:
        """What is to be stored of a payload, and whether it fits: as it came, before it is redacted."""
        mode = self.event_type.mode
        faults: tuple[FieldError, ...] = ()
        if mode is not SchemaMode.OFF:
            faults = (_UNUSABLE_FAULT,) if self._schema is None else self._schema.faults(payload)
            if self._schema is None and mode is SchemaMode.ENFORCE:
                # Nothing is lost by it, and nothing unchecked is let through.
                mode = SchemaMode.QUARANTINE
        redactor = self._redactor
        return Judgement(payload if redactor is None else redactor.redact(payload), faults, mode)


Catalogue = Mapping[str, TypeRules]
"""An organization's event types by name."""


def reason_of(faults: tuple[FieldError, ...]) -> str:
    """Why an event is kept aside, in one line."""
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    # A text in PostgreSQL holds no NUL.
    return f"schema: {faults[0].pointer} {faults[0].message}{more}".replace("\0", "\\0")
