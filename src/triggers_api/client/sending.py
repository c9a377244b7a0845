"""Events on their way in: their bytes, their dedup_ids, and how many are cut into batches. No I/O."""

import secrets
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from triggers_api.client.calls import JSON, Answer, Call, encoded, into, moment
from triggers_api.client.errors import ApiError, UnexpectedAnswer
from triggers_api.client.models import BatchReport, ItemError, ItemResult, NewEvent, Sent

ITEMS_LIMIT: Final = 1000
BYTES_LIMIT: Final = 5 << 20

_OPEN: Final = b'{"events":['
_CLOSE: Final = b"]}"
_ROOM: Final = BYTES_LIMIT - len(_OPEN) - len(_CLOSE)


def new_dedup_id() -> str:
    """A dedup_id that nobody else has; later ones sort behind earlier ones, which indexes like."""
    return f"auto_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


class Outgoing(NamedTuple):
    """An event with its bytes.

    ``place`` counts all that are sent, from 0. ``is_ours``: its dedup_id was made here, for this
    call: whatever has it is this event.
    """

    place: int
    event: NewEvent
    body: bytes
    is_ours: bool


def outgoing(event: NewEvent, index: int = 0) -> Outgoing:
    """An event as it is sent, with a dedup_id.

    Raises:
        ValueError: a time has no zone, or the payload has a number for which JSON has no words.
        TypeError: JSON has no words for something in the payload.
    """
    is_ours = event.dedup_id is None
    if is_ours:
        event = msgspec.structs.replace(event, dedup_id=new_dedup_id())
    fields: dict[str, object] = {"type": event.type, "dedup_id": event.dedup_id}
    fields |= {
        name: value
        for name in ("source", "key", "metadata")
        if (value := getattr(event, name)) is not None
    }
    fields |= {
        name: moment(value)
        for name in ("occurred_at", "deliver_at")
        if (value := getattr(event, name)) is not None
    }
    # The payload goes last, as the bytes it is.
    body = b'%b,"payload":%b}' % (encoded(fields)[:-1], encoded(event.payload))
    return Outgoing(index, event, body, is_ours)


def send_one(event: Outgoing) -> Call[Sent]:
    """The call that sends an event."""
    read = into(Sent)

    def decode(answer: Answer) -> Sent:
        sent: Sent = read(answer)
        if event.is_ours and sent.duplicate:
            # An answer was lost, and this is the event itself.
            return msgspec.structs.replace(sent, duplicate=False, payload_matches=None)
        return sent

    return Call("POST", "/api/events", decode, event.body, repeatable=True)


Batch = Sequence[Outgoing]
"""Events that are sent together."""


class Cutter:
    """Cuts events into as few batches as the service's limits allow, and keeps what became of each."""

    def __init__(self) -> None:
        self._results: list[ItemResult] = []
        self._held: list[Outgoing] = []
        self._open: dict[int, Outgoing] = {}
        self._size = 0
        self._count = 0

    def add(self, event: NewEvent) -> Batch | None:
        """The next event; a batch is returned when it is full. What is no JSON is rejected here."""
        index, self._count = self._count, self._count + 1
        try:
            each = outgoing(event, index)
        except (ValueError, TypeError) as error:
            self._results.append(
                _rejected(index, event, ItemError(code="not-json", detail=str(error)))
            )
            return None
        full = None
        size = len(each.body) + 1
        if len(self._held) == ITEMS_LIMIT or self._size + size > _ROOM:
            full = self.rest()
        self._held.append(each)
        self._open[index] = each
        self._size += size
        return full

    def rest(self) -> Batch | None:
        """What is not in a full batch yet."""
        held, self._held, self._size = self._held, [], 0
        return held or None

    def unsent(self) -> list[NewEvent]:
        """What was added and has no result, with the dedup_ids it was or will be sent with."""
        return [each.event for each in self._open.values()]

    def done(self, results: Sequence[ItemResult]) -> None:
        """What became of a batch."""
        for each in results:
            self._open.pop(each.index, None)
            self._results.append(each)

    def report(self) -> BatchReport:
        """What became of all of them so far, in their order."""
        return BatchReport(results=tuple(sorted(self._results, key=lambda each: each.index)))


class _Results(msgspec.Struct, frozen=True):
    results: tuple[ItemResult, ...]


def send_batch(batch: Batch) -> Call[tuple[ItemResult, ...]]:
    """The call that sends a batch."""
    body = _OPEN + b",".join([each.body for each in batch]) + _CLOSE
    read = into(_Results)

    def decode(answer: Answer) -> tuple[ItemResult, ...]:
        found: _Results = read(answer)
        if [each.index for each in found.results] != list(range(len(batch))):
            raise UnexpectedAnswer("not one result for each event")
        return tuple(map(_result, found.results, batch))

    return Call("POST", "/api/events/batch", decode, body, repeatable=True, also_good=_is_report)


def refused(event: Outgoing, error: ApiError) -> ItemResult:
    """The result of a batch of one that was refused as a whole."""
    why = ItemError(code=error.code, detail=error.detail, errors=error.errors)
    return _rejected(event.place, event.event, why)


def _is_report(answer: Answer) -> bool:
    """Nothing of a batch was acceptable, and it is said of each why."""
    kind = answer.headers.get("content-type", "").partition(";")[0].strip()
    return answer.status == 422 and kind == JSON


def _result(result: ItemResult, event: Outgoing) -> ItemResult:
    status = result.status
    if status == "duplicate" and event.is_ours:
        status = "accepted"  # an answer was lost, and this is the event itself
    return msgspec.structs.replace(
        result,
        index=event.place,
        status=status,
        dedup_id=result.dedup_id or event.event.dedup_id,
    )


def _rejected(index: int, event: NewEvent, why: ItemError) -> ItemResult:
    return ItemResult(index=index, status="rejected", dedup_id=event.dedup_id, error=why)
