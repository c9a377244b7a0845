"""Counts what passes through a process, by organization and minute, until it is written down.

Counting is a few additions to what is in memory. It knows no time: what was counted since the last look
is put down to the minute of that look (:meth:`Rollups.fold`), some seconds apart.
"""

import secrets
from collections.abc import Iterable, Sequence
from typing import Final

from triggers_api.model.delivery import DeliveryStatus
from triggers_api.model.rollup import (
    COARSE_S,
    EVERYBODY,
    MINUTE_S,
    SUBSCRIPTION_S,
    Rollup,
    Tally,
    bucket,
    floor,
)
from triggers_api.model.timestamp import Timestamp

MOST: Final = 10_000
"""How many organizations, and as many subscriptions, are told apart between two looks. What comes in for
more of them is counted for everybody together only."""

Key = tuple[str, str | None, int, Timestamp]


class Rollups:
    """What one process counts. Everything is called in the event loop."""

    def __init__(self) -> None:
        self.writer = secrets.randbits(62) + 1
        """What this process writes is known by this number."""
        self._organizations: dict[str, Tally] = {}
        self._subscriptions: dict[tuple[str, str], Tally] = {}
        self._open: dict[Key, Tally] = {}
        self._unsaved: set[Key] = set()

    # ── counting ──────────────────────────────────────────────────────────────────────────────

    def _of(self, organization_id: str) -> Tally:
        tally = self._organizations.get(organization_id)
        if tally is None:
            if len(self._organizations) >= MOST:
                organization_id = EVERYBODY
            tally = self._organizations.setdefault(organization_id, Tally())
        return tally

    def accepted(
        self, organization_id: str, seconds: float, *, events: int = 1, routed: int = 0
    ) -> None:
        """Events were stored, ``routed`` of them with their deliveries, in a request of this length."""
        tally = self._of(organization_id)
        tally.accepted += events
        tally.routed += routed
        number = bucket(int(seconds * 1e6))
        tally.ingest[number] = tally.ingest.get(number, 0) + 1

    def duplicate(self, organization_id: str, *, events: int = 1) -> None:
        """Events had been stored before."""
        self._of(organization_id).duplicates += events

    def rejected(self, organization_id: str | None, *, events: int = 1) -> None:
        """Refused for what they were."""
        self._of(organization_id or EVERYBODY).rejected += events

    def limited(self, organization_id: str | None) -> None:
        """A request was refused for the rate limit."""
        self._of(organization_id or EVERYBODY).limited += 1

    def unavailable(self, organization_id: str | None) -> None:
        """A request could not be served."""
        self._of(organization_id or EVERYBODY).unavailable += 1

    def routed(self, organization_id: str) -> None:
        """It is stored who gets an event."""
        self._of(organization_id).routed += 1

    def settled(
        self,
        organization_id: str,
        subscription_id: str,
        status: DeliveryStatus,
        duration_ms: int | None,
    ) -> None:
        """What a delivery came to, and how long the attempt took, if one was made."""
        tally = self._of(organization_id)
        key = (organization_id, subscription_id)
        own = self._subscriptions.get(key)
        if own is None:
            own = Tally()
            if len(self._subscriptions) < MOST:
                self._subscriptions[key] = own
        number = None if duration_ms is None else bucket(duration_ms * 1000)
        for each in (tally, own):
            if number is not None:
                if status is DeliveryStatus.SUCCEEDED:
                    each.attempts_succeeded += 1
                else:
                    each.attempts_failed += 1
                each.attempts[number] = each.attempts.get(number, 0) + 1
            if status is DeliveryStatus.SUCCEEDED:
                each.succeeded += 1
            elif status is DeliveryStatus.DEAD:
                each.dead += 1
            elif status is DeliveryStatus.SKIPPED:
                each.skipped += 1

    # ── writing down ──────────────────────────────────────────────────────────────────────────

    def fold(self, now: Timestamp) -> None:
        """Put what was counted since the last time down to the stretches that it is in now."""
        organizations, self._organizations = self._organizations, {}
        subscriptions, self._subscriptions = self._subscriptions, {}
        for organization_id, tally in organizations.items():
            for step_s in (MINUTE_S, COARSE_S):
                self._add((EVERYBODY, None, step_s, floor(now, step_s)), tally)
                if organization_id != EVERYBODY:
                    self._add((organization_id, None, step_s, floor(now, step_s)), tally)
        at = floor(now, SUBSCRIPTION_S)
        for (organization_id, subscription_id), tally in subscriptions.items():
            self._add((organization_id, subscription_id, SUBSCRIPTION_S, at), tally)
        self._forget(now)

    def _add(self, key: Key, tally: Tally) -> None:
        known = self._open.get(key)
        if known is None:
            known = self._open[key] = Tally()
        known.add(tally)
        self._unsaved.add(key)

    def unsaved(self) -> list[Rollup]:
        """What is to be written down. Once it is, say so to :meth:`saved`."""
        return [self._rollup(key) for key in sorted(self._unsaved, key=_in_order)]

    def saved(self, rollups: Sequence[Rollup]) -> None:
        """They are on file; what is over is forgotten with the next look."""
        self._unsaved.difference_update(
            _key(each) for each in rollups if self._open.get(_key(each)) == each.tally
        )

    def _forget(self, now: Timestamp) -> None:
        over = [
            key for key in self._open if key not in self._unsaved and key[3] + key[2] * 1000 <= now
        ]
        for key in over:
            del self._open[key]

    def with_own(self, stored: Iterable[Rollup], wanted: Iterable[Rollup]) -> list[Rollup]:
        """What is on file, with what this process has counted meanwhile in its place."""
        own = {_key(each): each for each in wanted}
        kept = [each for each in stored if each.writer != self.writer or _key(each) not in own]
        return [*kept, *own.values()]

    def of(self, organization_id: str, step_s: int) -> list[Rollup]:
        """What is in memory of an organization, for stretches of this length."""
        return [
            self._rollup(key)
            for key in self._open
            if key[0] == organization_id and key[1] is None and key[2] == step_s
        ]

    def of_subscriptions(self, organization_id: str) -> list[Rollup]:
        """What is in memory of an organization's subscriptions."""
        return [
            self._rollup(key)
            for key in self._open
            if key[0] == organization_id and key[1] is not None
        ]

    def _rollup(self, key: Key) -> Rollup:
        organization_id, subscription_id, step_s, at = key
        # A copy: counting goes on while it is being written down.
        tally = Tally()
        tally.add(self._open[key])
        return Rollup(
            organization_id=organization_id,
            subscription_id=subscription_id,
            step_s=step_s,
            at=at,
            writer=self.writer,
            tally=tally,
        )


def _key(rollup: Rollup) -> Key:
    return rollup.organization_id, rollup.subscription_id, rollup.step_s, rollup.at


def _in_order(key: Key) -> tuple[str, str, int, int]:
    return key[0], key[1] or "", key[2], key[3]
