"""Lines: deliveries of one subscription and key, of which only the first that is not finished is due.

Every function here runs in the writer's thread, inside the transaction of the verb that calls it.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Final

import apsw

from triggers_api.store import codes
from triggers_api.store.sqlite.tables import SQL, many, numbers

Line = tuple[int, str]
"""A subscription's number and a key; an empty key where all of its deliveries are one line."""

Row = tuple[Any, ...]

_SUBSCRIPTION: Final = 3
DUE_AT: Final = 10
_ORDER_KEY: Final = 13


def place(db: apsw.Connection, rows: Sequence[Row]) -> Sequence[Row]:
    """Rows for ``fan_out_deliveries`` with their sequences; those that have to wait are parked."""
    if not any(row[_ORDER_KEY] is not None for row in rows):
        return rows
    asked = [(row[2], row[_SUBSCRIPTION]) for row in rows if row[_ORDER_KEY] is not None]
    made = set(many(db, "deliveries_made", asked))
    placed = [row for row in rows if row[_ORDER_KEY] is None]
    ordered = [
        row
        for row in rows
        if row[_ORDER_KEY] is not None and (row[2], row[_SUBSCRIPTION]) not in made
    ]
    counts = Counter((row[_SUBSCRIPTION], row[_ORDER_KEY]) for row in ordered)
    last = {
        (subscription, key): sequence - counts[subscription, key]
        for subscription, key, sequence in many(
            db, "give_sequences", [(*line, count) for line, count in counts.items()]
        )
    }
    waited_for = {line for line, head in heads(db, list(counts)).items() if head is not None}
    for row in ordered:
        line = (row[_SUBSCRIPTION], row[_ORDER_KEY])
        last[line] += 1
        due_at = codes.PARKED if line in waited_for else row[DUE_AT]
        waited_for.add(line)
        placed.append((*row[:DUE_AT], due_at, *row[DUE_AT + 1 : -1], last[line]))
    return placed


def heads(db: apsw.Connection, lines: Sequence[Line]) -> dict[Line, int | None]:
    """The first of each line that is not finished."""
    return {(subscription, key): head for subscription, key, head in many(db, "line_heads", lines)}


def go_on(db: apsw.Connection, lines: Iterable[tuple[int, str | None]], *, now: int) -> bool:
    """Something in these lines is finished: whose turn it is now is due; whether there is any."""
    touched = list(dict.fromkeys((number, key) for number, key in lines if key is not None))
    if not touched:
        return False
    found = [head for head in heads(db, touched).values() if head is not None]
    if found:
        db.execute(SQL["promote_heads"], (numbers(found), now, codes.PARKED))
    return bool(found)


def mend(db: apsw.Connection, after: Line, *, most: int, now: int) -> tuple[int, Line | None]:
    """Look at so many lines after one; returns how many stood still, and the last one looked at.

    The last is ``None`` when there was none left to be looked at.
    """
    still: list[int] = []
    line: Line | None = after
    for _ in range(most):
        assert line is not None
        found = list(db.execute(SQL["next_line"], line))
        line = None
        for number, subscription, key, due_at in found:
            line = subscription, key
            if due_at == codes.PARKED:
                still.append(number)
        if line is None:
            break
    if still:
        db.execute(SQL["promote_heads"], (numbers(still), now, codes.PARKED))
    return len(still), line
