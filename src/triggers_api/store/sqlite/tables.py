"""What every group of verbs works with: the statements, the keys, and how to run many rows at once."""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final

import apsw

from triggers_api.store.sql import Statements
from triggers_api.store.sqlite.keys import Keys

SQL: Final = Statements("triggers_api.store.sqlite")

_ROWS_AT_ONCE: Final = 50
_PADDED_TO: Final = (1, 2, 3, 4, 6, 8, 12, 16, 20, 25, 32, 40, 50)


def numbers(values: Iterable[int]) -> object:
    """A list of numbers as one parameter, for ``IN carray(?)``."""
    # SQLite takes none that is empty; no row has the number 0.
    return apsw.carray(array("q", values) or array("q", (0,)))


def many(
    db: apsw.Connection,
    statement: str,
    rows: Sequence[Sequence[Any]],
    before: Sequence[Any] = (),
    *,
    none: Sequence[Any] | None = None,
) -> Iterator[tuple[Any, ...]]:
    """Run a ``/* rows */`` statement for all rows, some at a time; yields what it returns.

    One step for fifty rows instead of fifty: each step gives the interpreter lock away and has to
    wait for it again while the event loop is busy.

    Args:
        db: in a transaction.
        statement: its name.
        rows: the parameters of each.
        before: parameters that come before all rows.
        none: a row that the statement takes for none. With it there are few numbers of rows that are
            asked for, and so few texts: of fifty each would be used too seldom to be kept prepared.
    """
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        chunk = rows[start : start + _ROWS_AT_ONCE]
        if none is not None:
            size = _PADDED_TO[bisect_left(_PADDED_TO, len(chunk))]
            chunk = [*chunk, *[none] * (size - len(chunk))]
        parameters = [*before, *chain.from_iterable(chunk)]
        yield from db.execute(SQL.rows(statement, len(chunk)), parameters)


def run_many(
    db: apsw.Connection,
    statement: str,
    rows: Sequence[Sequence[Any]],
    before: Sequence[Any] = (),
    *,
    none: Sequence[Any] | None = None,
) -> None:
    """:func:`many` for a statement that returns nothing."""
    for _ in many(db, statement, rows, before, none=none):
        raise AssertionError(f"{statement} returned a row")


class Tables:
    """The base of each group of verbs; holds no state of its own."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
