"""The copy as a whole."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

import apsw
import msgspec

from triggers_api.errors import StartError
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import OrganizationAccount
from triggers_api.store.copying.source import QUEUES, RECORDS, SETTINGS, Source
from triggers_api.store.copying.target import Target
from triggers_api.store.sqlite.connection import plain

Advance = Callable[[float], None]
"""Is told the fraction that is done, from 0 to 1."""

_COUNTED: Final = (*RECORDS, *QUEUES)


class Copied(msgspec.Struct, frozen=True, kw_only=True):
    """What a copy came to.

    Attributes:
        rows: by table, how many there are in the file and in the database.
        accounts: every organization's books, from the file and from the database.
        written: how many rows this run wrote.
        went_on: this run went on where another one had stopped.
        started_over: this run threw away what another one had left, because the file was written to.
        finished_at: the copy was complete before this run.
    """

    rows: dict[str, tuple[int, int]] = {}
    accounts: tuple[list[OrganizationAccount], list[OrganizationAccount]] = ([], [])
    written: int = 0
    went_on: bool = False
    started_over: bool = False
    finished_at: Timestamp | None = None

    @property
    def equal(self) -> bool:
        """Whether both sides are the same, by count and by the books."""
        ours, theirs = self.accounts
        return ours == theirs and all(here == there for here, there in self.rows.values())


class _Unequal(Exception):
    """Takes the last transaction back."""

    def __init__(self, copied: Copied) -> None:
        super().__init__()
        self.copied = copied


def _take_back_unequal(copied: Copied) -> None:
    if not copied.equal:
        raise _Unequal(copied)


async def copy(path: Path, url: str, *, now: Timestamp, advance: Advance) -> Copied:
    """Copy an embedded file to a PostgreSQL database that nobody uses yet.

    What was cut off goes on where it stopped. When the two are not equal at the end, nothing of it comes
    to life there.

    Args:
        path: the file.
        url: of the database.
        now: the wall clock.
        advance: is told how far it is.

    Raises:
        DatabaseInUse: the file is used by another process.
        StartError: the one or the other must not be used for this; the message says why.
    """
    source = await asyncio.to_thread(Source.open, path, now=now)
    try:
        async with Target.open(url) as target:
            return await _Copy(source, target, advance).run()
    except apsw.Error as error:
        raise StartError(f"cannot read {path}: {plain(error)}") from None
    finally:
        await asyncio.to_thread(source.close)


class _Copy:
    def __init__(self, source: Source, target: Target, advance: Advance) -> None:
        self._source = source
        self._target = target
        self._advance = advance
        self._done = self._total = self._written = 0

    async def run(self) -> Copied:
        source, target = self._source, self._target
        started_over = await target.begin(source=source.identity, state=source.state)
        if (finished_at := target.note.finished_at) is not None:
            return Copied(finished_at=Timestamp(finished_at))
        went_on = target.note.records > 0
        expected = await asyncio.to_thread(source.counts)
        self._total = sum(expected[name] for name in _COUNTED)
        self._progress(target.note.records)
        for name in RECORDS:
            await self._copy_records(name)
        try:
            async with target.end(
                signing_key=source.signing_key(), version=source.settings_version()
            ) as version:
                await self._bring_to_life(version)
                found = await target.counts()
                ours = await asyncio.to_thread(source.accounts)
                copied = Copied(
                    rows={name: (count, found[name]) for name, count in expected.items()},
                    accounts=(ours, await target.accounts(source.now)),
                    written=self._written,
                    went_on=went_on,
                    started_over=started_over,
                )
                _take_back_unequal(copied)
        except _Unequal as unequal:
            return unequal.copied
        return copied

    async def _copy_records(self, name: str) -> None:
        reached = self._target.note.reached.get(name, 0)
        batch = await asyncio.to_thread(self._source.records, name, reached)
        while batch is not None:
            # One is read while the one before it is written.
            following = asyncio.create_task(
                asyncio.to_thread(self._source.records, name, batch.last)
            )
            try:
                await self._target.add(name, batch)
            finally:
                after = await following
            self._written += sum(map(len, batch.rows.values()))
            self._progress(len(batch.rows[name]))
            batch = after

    async def _bring_to_life(self, version: int) -> None:
        for name in SETTINGS:
            rows = self._source.settings(name, version)
            await self._target.write(name, rows)
            self._written += len(rows)
        for name in QUEUES:
            for rows in self._source.queue(name):
                await self._target.write(name, rows)
                self._written += len(rows)
                self._progress(len(rows))
        await self._target.place_inboxes()

    def _progress(self, rows: int) -> None:
        self._done += rows
        self._advance(self._done / self._total if self._total else 1.0)
