"""A look along the audit log, the same on every engine: some rows at a time, up to a bound."""

from collections.abc import Generator, Sequence
from typing import Any, Final

import msgspec

from triggers_api.model.text import glob_matches
from triggers_api.store.base import AuditFilter

_LOOKED_AT: Final = 5_000
"""Entries that one look goes past at the most."""
_AT_ONCE: Final = 500

Row = Sequence[Any]
"""Id, organization, action, actor, the resource's type and id, body."""


class Trail(msgspec.Struct):
    """What a look found, and where the next one goes on, if it did not come to an end."""

    found: list[Row]
    go_on: Any = None


class Ask(msgspec.Struct, frozen=True):
    """A question to the engine: the first ``limit`` rows before one, the newest first."""

    before: Any
    limit: int


def look(wanted: AuditFilter, *, before: Any, limit: int) -> Generator[Ask, Sequence[Row], Trail]:  # noqa: ANN401 - the engine's
    """Find entries; yields questions, is sent rows, and returns what it found."""
    found: list[Row] = []
    looked_at = 0
    while looked_at < _LOOKED_AT:
        rows = yield Ask(before, _AT_ONCE)
        for row in rows:
            before = row[0]
            if _is_wanted(wanted, row):
                found.append(row)
                if len(found) == limit:
                    return Trail(found)
        if len(rows) < _AT_ONCE:
            return Trail(found)
        looked_at += len(rows)
    return Trail(found, before)


def _is_wanted(wanted: AuditFilter, row: Row) -> bool:
    _, _, action, actor, resource_type, resource_id, _ = row
    return (
        (wanted.action is None or glob_matches(wanted.action, action))
        and wanted.actor in (None, actor)
        and wanted.resource_type in (None, resource_type)
        and wanted.resource in (None, resource_id)
    )
