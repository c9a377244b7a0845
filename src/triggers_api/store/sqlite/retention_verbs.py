"""What deletes old rows. A reader looks for them; before they go the writer asks again.

What writes is an operation's body: it runs in the writer's thread, inside a transaction.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

import apsw

from triggers_api.model import ids
from triggers_api.model.retention import Moments
from triggers_api.model.timestamp import Timestamp
from triggers_api.store import bodies
from triggers_api.store.base import Pruned
from triggers_api.store.sqlite.tables import SQL, Tables, numbers

_ORGANIZATIONS_AT_ONCE: Final = 100
"""Into how many one look goes."""


class OldRows(NamedTuple):
    """Rows that may go, by organization with the moments that hold for it, and where to go on."""

    found: list[tuple[int, Moments, list[int]]]
    position: tuple[int, int] | None


class Numbered(NamedTuple):
    """Rows that may go, and the last that was looked at, unless there are no more."""

    found: list[int]
    position: int | None


class RetentionVerbs(Tables):
    """The verbs about what has been kept for long enough."""

    def old_events(
        self,
        db: apsw.Connection,
        default: Moments,
        own: Mapping[int, Moments],
        *,
        place: tuple[int, int],
        limit: int,
    ) -> OldRows:
        """Look for events behind a place: an organization, and an event of it."""

        def look(owner: int, moments: Moments, after: int, left: int) -> Iterable[tuple[int, bool]]:
            last = ids.first_sequence(moments.events)
            asked = (owner, after, last, moments.events, left, moments.dead_letters)
            return db.execute(SQL["old_events"], asked)

        return _walk(db, "next_owner", look, default, own, place=place, limit=limit)

    def old_deliveries(
        self,
        db: apsw.Connection,
        default: Moments,
        own: Mapping[int, Moments],
        *,
        dead: bool,
        place: tuple[int, int],
        limit: int,
    ) -> OldRows:
        """Look for deliveries behind a place, for dead ones or for those that ended otherwise."""
        what = "dead_letters" if dead else "deliveries"

        def look(owner: int, moments: Moments, after: int, left: int) -> Iterable[tuple[int, bool]]:
            moment = moments.dead_letters if dead else moments.deliveries
            asked = (owner, after, ids.first_sequence(moment), moment, left)
            return db.execute(SQL[f"old_{what}"], asked)

        return _walk(db, f"next_owner_of_{what}", look, default, own, place=place, limit=limit)

    def old_attempts(
        self,
        db: apsw.Connection,
        default: Moments,
        own: Mapping[int, Moments],
        *,
        after: int,
        limit: int,
    ) -> Numbered:
        """Look for attempts behind one, in the order of their endings, whoever they belong to."""
        last = max((default, *own.values()), key=lambda each: each.attempts).attempts
        rows = list(db.execute(SQL["attempts_to_prune"], (after, ids.first_sequence(last), limit)))
        # One of a delivery that is not there is nobody's.
        found = [
            number
            for number, owner, ended in rows
            if ended and number < ids.first_sequence(own.get(owner, default).attempts)
        ]
        return Numbered(found, rows[-1][0] if len(rows) == limit else None)

    def prune_events(self, db: apsw.Connection, old: OldRows) -> Pruned:
        """Delete what still may go, with all it had."""
        events = deliveries = attempts = 0
        for organization, moments, candidates in old.found:
            asked = (numbers(candidates), moments.events, moments.dead_letters)
            going = [number for (number,) in db.execute(SQL["still_old"], asked)]
            gone = numbers(going)
            sent = [number for (number,) in db.execute(SQL["deliveries_of_events"], (gone,))]
            attempts += _purge(db, sent)
            for statement in ("prune_payloads", "prune_failures", "prune_events"):
                db.execute(SQL[statement], (gone,))
            db.execute(SQL["prune_items_of_events"], (organization, gone))
            db.execute(SQL["count_pruned"], (organization, len(going), len(sent)))
            events, deliveries = events + len(going), deliveries + len(sent)
        return Pruned(events=events, deliveries=deliveries, attempts=attempts)

    def prune_deliveries(self, db: apsw.Connection, old: OldRows, *, dead: bool) -> Pruned:
        """Delete what still may go, with its attempts."""
        deliveries = attempts = 0
        for organization, moments, candidates in old.found:
            moment = moments.dead_letters if dead else moments.deliveries
            asked = (numbers(candidates), moment, dead)
            going = [number for (number,) in db.execute(SQL["still_finished"], asked)]
            attempts += _purge(db, going)
            db.execute(SQL["count_accepted"], (organization, 0, -len(going)))
            deliveries += len(going)
        return Pruned(deliveries=deliveries, attempts=attempts)

    def prune_attempts(self, db: apsw.Connection, found: list[int]) -> int:
        """Delete what still may go; how many."""
        db.execute(SQL["prune_attempts"], (numbers(found),))
        return db.changes()

    def old_jobs(
        self, db: apsw.Connection, before: Timestamp, *, after: int, limit: int
    ) -> Numbered:
        """Look for finished jobs behind one."""
        rows = list(db.execute(SQL["jobs_from"], (after, limit)))
        found = [
            number
            for number, finished, body in rows
            if finished and (bodies.job(body).finished_at or before) < before
        ]
        return Numbered(found, rows[-1][0] if len(rows) == limit else None)

    def prune_jobs(self, db: apsw.Connection, found: list[int]) -> int:
        """Delete finished jobs; how many."""
        db.execute(SQL["prune_jobs"], (numbers(found),))
        return db.changes()


def _walk(
    db: apsw.Connection,
    next_owner: str,
    look: Callable[[int, Moments, int, int], Iterable[tuple[int, bool]]],
    default: Moments,
    own: Mapping[int, Moments],
    *,
    place: tuple[int, int],
    limit: int,
) -> OldRows:
    """Go from organization to organization; ``look`` gives each one's rows, and whether they may go."""
    organization, after = place
    found: list[tuple[int, Moments, list[int]]] = []
    for _ in range(_ORGANIZATIONS_AT_ONCE):
        owner = _first(db.execute(SQL[next_owner], (organization,)))
        if owner is None:
            return OldRows(found, None)
        moments = own.get(owner, default)
        rows = list(look(owner, moments, after if owner == organization else 0, limit))
        if going := [number for number, goes in rows if goes]:
            found.append((owner, moments, going))
        if len(rows) == limit:
            return OldRows(found, (owner, rows[-1][0]))
        limit -= len(rows)
        organization, after = owner + 1, 0
    return OldRows(found, (organization, 0))


def _purge(db: apsw.Connection, deliveries: list[int]) -> int:
    """Delete deliveries with their attempts; how many of these."""
    gone = numbers(deliveries)
    db.execute(SQL["purge_attempts"], (gone,))
    attempts = db.changes()
    db.execute(SQL["purge_deliveries"], (gone,))
    return attempts


def _first(rows: Iterable[tuple[int]]) -> int | None:
    return next((number for (number,) in rows), None)
