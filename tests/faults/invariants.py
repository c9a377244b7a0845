"""What must hold after every run, whatever was done to the server: I1 to I12.

Three records are compared that know nothing of each other: what the clients were told, what the
database holds (read by SQLite alone, or as ``postgres/records.py`` does, but not by the product), and
what the receivers were sent.
"""

from __future__ import annotations

import fnmatch
import hashlib
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import apsw
from tests.faults.endpoint import Endpoint
from tests.faults.history import PLANTED, History, Outcome

from triggers_api.model import ids

QUEUED: Final = 0
PROCESSED: Final = 1
SET_ASIDE: Final = 3

DELIVERING: Final = 3
SUCCEEDED: Final = 5
DEAD: Final = 6
FINISHED: Final = frozenset({5, 6, 7, 8})

ALLOWED_STATUSES: Final = frozenset({200, 201, 202, 429, 503})


@dataclass(frozen=True)
class Event:
    """A row of ``events`` with its payload."""

    id: str
    organization: object
    status: int
    type: str
    dedup_id: str | None
    payload: bytes

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.payload).hexdigest()


@dataclass(frozen=True)
class Delivery:
    """A row of ``deliveries``."""

    id: str
    organization: object
    event_id: str
    subscription_id: str
    status: int
    status_at: int
    attempt_count: int
    reason: str | None


@dataclass(frozen=True)
class Attempt:
    """A row of ``attempts``."""

    number: int
    status_code: int | None
    error: str | None


@dataclass
class Dump:
    """Everything that a database holds about events."""

    integrity: str
    events: list[Event]
    deliveries: list[Delivery]
    attempts: dict[str, list[Attempt]]
    """By delivery, in the order of their numbers."""
    queued: int
    """Rows of ``event_queue``."""
    organizations: set[object]


def dump(database: Path, scratch: Path) -> Dump:
    """Read a database, running or not, from a copy of its files.

    The copy leaves the original as a crash left it; what is in the log is in the copy's log.
    """
    copy = scratch / "dump.db"
    for stale in scratch.glob("dump.db*"):
        stale.unlink()
    for suffix in ("", "-wal"):
        if (source := Path(f"{database}{suffix}")).exists():
            shutil.copyfile(source, f"{copy}{suffix}")
    db = apsw.Connection(str(copy), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        return _read(db)
    finally:
        db.close()


def _read(db: apsw.Connection) -> Dump:
    def rows(statement: str) -> Iterator[tuple[Any, ...]]:
        yield from db.execute(statement)

    ((integrity,), *_) = rows("PRAGMA integrity_check")
    tails = list(rows("SELECT value FROM meta WHERE name = 'id_tail'"))
    tail = int(tails[0][0]) if tails else 0
    attempts: dict[str, list[Attempt]] = defaultdict(list)
    for delivery, number, status_code, error in rows(
        "SELECT delivery_id, number, status_code, error FROM attempts ORDER BY delivery_id, number"
    ):
        attempts[ids.text(ids.DELIVERY, delivery, tail)].append(Attempt(number, status_code, error))
    return Dump(
        integrity=str(integrity),
        events=[
            Event(ids.text(ids.EVENT, number, tail), *rest)
            for number, *rest in rows(
                "SELECT id, organization_id, status, type, dedup_id, payload "
                "FROM events LEFT JOIN event_payloads ON event_id = id"
            )
        ],
        deliveries=[
            Delivery(
                ids.text(ids.DELIVERY, number, tail),
                organization,
                ids.text(ids.EVENT, event, tail),
                ids.text(ids.SUBSCRIPTION, subscription, tail),
                *rest,
            )
            for number, organization, event, subscription, *rest in rows(
                "SELECT id, organization_id, event_id, subscription_id, status, status_at, "
                "attempt_count, reason FROM deliveries"
            )
        ],
        attempts=dict(attempts),
        queued=next(rows("SELECT count(*) FROM event_queue"))[0],
        organizations={number for (number,) in rows("SELECT id FROM organizations")},
    )


@dataclass
class Subscriber:
    """A subscription with the endpoint behind it."""

    id: str
    event_types: Sequence[str]
    endpoint: Endpoint

    def wants(self, event_type: str) -> bool:
        """By the glob of the contract; none of our types has brackets."""
        return any(fnmatch.fnmatchcase(event_type, pattern) for pattern in self.event_types)


@dataclass
class Invariants:
    """Checks one run. Each method raises ``AssertionError`` naming the invariant and the rows."""

    history: History
    subscribers: Sequence[Subscriber]
    max_attempts: int = 41
    """Attempts after which a delivery may be dead."""
    _finished: dict[str, Delivery] = field(default_factory=dict)

    def check(self, found: Dump, *, healed: bool = True, set_aside: Iterable[str] = ()) -> None:
        """All of them.

        Args:
            found: the database now.
            healed: faults are off and everything had the time to finish.
            set_aside: serial numbers' types that routing was made to fail for.
        """
        self.sound(found)
        self.events(found)
        self.deliveries(found)
        self.attempts(found)
        self.terminal(found)
        self.received(found, healed=healed)
        self.answers()
        if healed:
            self.lively(found, set_aside=set(set_aside))

    def sound(self, found: Dump) -> None:
        """I11: the database is intact."""
        assert found.integrity == "ok", f"I11 {found.integrity}"

    def events(self, found: Dump) -> None:
        """I1, I2, I3, I9: rows and answers agree."""
        by_digest: dict[str, list[Event]] = defaultdict(list)
        for event in found.events:
            by_digest[event.digest].append(event)
        known = {request.digest: request for request in self.history.requests}
        lost = [
            request
            for request in self.history.of(Outcome.ACCEPTED)
            if not by_digest.get(request.digest)
        ]
        assert not lost, (
            f"I1 {len(lost)} accepted events are lost: "
            f"{[(each.serial, sorted(each.ids)) for each in lost[:5]]}"
        )
        unexpected = [event.id for event in found.events if event.digest not in known]
        assert not unexpected, f"I2 nobody asked for: {unexpected[:5]}"
        twice = [[event.id for event in events] for events in by_digest.values() if len(events) > 1]
        # Without a dedup_id a request that was repeated would be two events; none is repeated.
        assert not twice, f"I1 more than one row: {twice[:5]}"
        holders = Counter(
            (event.organization, event.dedup_id)
            for event in found.events
            if event.dedup_id is not None
        )
        assert max(holders.values(), default=0) <= 1, "I3 a dedup_id is held by several events"
        for digest, (event,) in by_digest.items():
            request = known[digest]
            assert (event.type, event.dedup_id) == (request.type, request.dedup_id), "I1 fields"
            assert request.ids <= {event.id}, (
                f"I3 answers named {request.ids}, the row is {event.id}"
            )
            assert request.outcome is not Outcome.REFUSED, (
                f"I9 {event.id} is stored although it was refused: {request.told}"
            )
        for request in self.history.requests:
            assert len(request.ids) <= 1, f"I3 one dedup_id, several ids: {request.ids}"
            if any(told.duplicate for told in request.told):
                stored_by = [
                    told
                    for told in request.told
                    if told.outcome is not Outcome.REFUSED and not told.duplicate
                ]
                assert stored_by, f"I9 {request.ids} is found although it was refused"

    def deliveries(self, found: Dump) -> None:
        """I4: one delivery for each event and matching subscription, and no other."""
        assert len(found.organizations) == 1, "the runs have one organization"
        by_event: dict[str, list[str]] = defaultdict(list)
        for delivery in found.deliveries:
            assert {delivery.organization} == found.organizations, "I4 across organizations"
            by_event[delivery.event_id].append(delivery.subscription_id)
        for event in found.events:
            wanted = sorted(s.id for s in self.subscribers if s.wants(event.type))
            if event.status != PROCESSED:
                wanted = []
            made = sorted(by_event.pop(event.id, []))
            assert made == wanted, f"I4 {event.id} ({event.status}) has {made}, not {wanted}"
        assert not by_event, f"I4 deliveries of no event: {by_event}"

    def attempts(self, found: Dump) -> None:
        """I6, the half that the database can tell."""
        by_id = {delivery.id: delivery for delivery in found.deliveries}
        assert found.attempts.keys() <= by_id.keys(), "I6 attempts of no delivery"
        for delivery in found.deliveries:
            attempts = found.attempts.get(delivery.id, [])
            numbers = [attempt.number for attempt in attempts]
            assert numbers == list(range(1, delivery.attempt_count + 1)), (
                f"I6 {delivery.id} counts {delivery.attempt_count} attempts, has {numbers}"
            )
            good = [
                attempt.number
                for attempt in attempts
                if attempt.status_code is not None and 200 <= attempt.status_code < 300
            ]
            if delivery.status == SUCCEEDED:
                assert good == numbers[-1:] != [], f"I6 {delivery.id} succeeded by {attempts}"
            else:
                assert not good, f"I6 {delivery.id} has a 2xx on file and is {delivery.status}"
            if delivery.status == DEAD:
                permanent = attempts[-1].error in {"blocked-address", "invalid-url"}
                assert permanent or len(attempts) == self.max_attempts, (
                    f"I6 {delivery.id} is dead after {len(attempts)} attempts"
                )

    def terminal(self, found: Dump) -> None:
        """I5: what has finished stays as it is. Remembers what has, for the next call."""
        now = {delivery.id: delivery for delivery in found.deliveries}
        for delivery_id, then in self._finished.items():
            assert now.get(delivery_id) == then, f"I5 {then} became {now.get(delivery_id)}"
        self._finished = {
            delivery.id: delivery for delivery in found.deliveries if delivery.status in FINISHED
        }

    def received(self, found: Dump, *, healed: bool) -> None:
        """I6, the receivers' half, and I10: what was sent was due, signed, and always the same."""
        by_id = {delivery.id: delivery for delivery in found.deliveries}
        payloads = {event.id: event.payload for event in found.events}
        answered_well: Counter[str] = Counter()
        requests: Counter[str] = Counter()
        for subscriber in self.subscribers:
            bodies: dict[str, bytes] = {}
            for exchange in subscriber.endpoint.exchanges:
                name = subscriber.endpoint.name
                assert exchange.fault is None, f"I10 {name} got {exchange.fault}"
                delivery = by_id.get(exchange.delivery_id)
                assert delivery is not None, f"I6 {name} got {exchange.delivery_id}, not on file"
                assert (delivery.event_id, delivery.subscription_id) == (
                    exchange.event_id,
                    subscriber.id,
                ), f"I6 {delivery.id} was sent as {exchange.event_id} to {name}"
                assert exchange.payload == payloads[exchange.event_id], "I1 the bytes sent"
                first = bodies.setdefault(exchange.delivery_id, exchange.body)
                assert first == exchange.body, f"I10 {delivery.id} was sent with two bodies"
                requests[delivery.id] += 1
                if exchange.answered is not None and 200 <= exchange.answered < 300:
                    answered_well[delivery.id] += 1
        for delivery in found.deliveries:
            if delivery.status == SUCCEEDED:
                assert answered_well[delivery.id], f"I6 nobody received {delivery.id} well"
            on_file = sum(
                attempt.status_code is not None for attempt in found.attempts.get(delivery.id, [])
            )
            assert on_file <= requests[delivery.id], (
                f"I6 {delivery.id} has {on_file} answers on file, {requests[delivery.id]} requests"
            )
        if healed:
            for subscriber in self.subscribers:
                due = {d.event_id for d in found.deliveries if d.subscription_id == subscriber.id}
                missed = due - subscriber.endpoint.event_ids()
                assert not missed, f"I6 {subscriber.endpoint.name} never got {sorted(missed)[:5]}"

    def lively(self, found: Dump, *, set_aside: set[str]) -> None:
        """I7: nothing is left to be done."""
        aside = {event.type for event in found.events if event.status == SET_ASIDE}
        assert aside == set_aside, f"I7 set aside: {aside}"
        waiting = [e.id for e in found.events if e.status not in {PROCESSED, SET_ASIDE}]
        assert not waiting, f"I7 not routed: {waiting[:5]}"
        assert found.queued == 0, f"I7 {found.queued} queue rows are left"
        unfinished = [d for d in found.deliveries if d.status not in FINISHED]
        assert not unfinished, f"I7 not finished: {unfinished[:5]}"

    def answers(self) -> None:
        """I12, the clients' half: no 500, nothing that was not announced."""
        assert self.history.statuses() <= ALLOWED_STATUSES, f"I12 {self.history.statuses()}"


def quiet(log: Path, secrets: Iterable[str], *, tracebacks: bool = False) -> None:
    """I12, the log's half: no payload and no secret is in it, and no traceback unless allowed."""
    text = log.read_text()
    for secret in (PLANTED, *secrets):
        assert secret not in text, f"I12 the log has {secret}"
    assert tracebacks or "Traceback" not in text, f"I12 {text[text.index('Traceback') :][:3000]}"


def balanced(books: Mapping[str, Any]) -> None:
    """The product's own books, by ``GET /api/admin/verify``."""
    assert books["ok"] is True, f"the accounts do not balance: {books}"
