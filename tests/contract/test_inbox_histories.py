"""Anything in any order: an inbox gives what a small model of it says, neither more nor less."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

import pytest
from tests.contract.conftest import World
from tests.contract.test_inbox import (
    ACKED,
    EXTENDED,
    LEASE_S,
    LOST,
    NACKED,
    UNKNOWN,
    Consumer,
    told,
)

from triggers_api.model.inbox import InboxAction, InboxStatus, LeasedEvent
from triggers_api.model.text import glob_matches
from triggers_api.store.base import InboxSeek, Reached

STEPS: Final = 60
LARGE: Final = 1000


@dataclass
class Known:
    """What the model knows of an event; moments by the clock, 0 for a time that is over."""

    id: str
    type: str
    seen_from: int = 0
    deleted: bool = False
    acked: bool = False
    receipt: str | None = None
    busy_until: int = 0
    """Leased, or put off."""
    count: int = 0


class History:
    """An inbox, and the model of it."""

    def __init__(self, world: World, seed: int, *, types: tuple[str, ...] | None) -> None:
        self.world = world
        self.rng = random.Random(seed)
        self.types = types
        organization = world.organization()
        world.run(world.store.save_inbox(organization, "inbox", types, from_end=False))
        self.inbox = Consumer(world, organization, "inbox")
        self.events: list[Known] = []
        """In the order of the log."""

    @property
    def now(self) -> int:
        """The store's clock."""
        return self.world.clock()

    def is_in(self, event: Known) -> bool:
        """Whether it is one of the inbox's, and can be seen."""
        wanted = self.types is None or any(glob_matches(each, event.type) for each in self.types)
        return wanted and not event.deleted and event.seen_from <= self.now

    def unacked(self) -> list[Known]:
        """What a look shows."""
        return [each for each in self.events if self.is_in(each) and not each.acked]

    # ── steps ─────────────────────────────────────────────────────────────────────────────────

    def append(self) -> None:
        """Some events, now and then one that is scheduled."""
        for _ in range(self.rng.randint(1, 4)):
            event_type = self.rng.choice(("a", "b", "c.x"))
            due = None
            if self.rng.random() < 0.25:
                due = self.world.clock().after(seconds=self.rng.randint(1, 60))
            (event_id,) = self.world.queued(
                self.inbox.organization, type=event_type, deliver_at=due
            )
            self.events.append(Known(event_id, event_type, seen_from=due or 0))
        told(self.world, self.inbox.organization)

    def pull(self) -> None:
        """Of all types or of some; everything there is, or less."""
        types = self.rng.choice((None, None, ["a"], ["b", "c.*"]))
        limit = self.rng.choice((1, 3, LARGE))
        free = {
            each.id: each
            for each in self.unacked()
            if each.busy_until <= self.now
            and (types is None or any(glob_matches(glob, each.type) for glob in types))
        }
        pulled = self._leased(limit, types)
        assert len(pulled) == min(limit, len(free))
        for leased in pulled:
            event = free.pop(leased.event.id)
            event.count += 1
            assert leased.receive_count == event.count
            event.receipt = leased.receipt
            event.busy_until = self.world.clock().after(seconds=LEASE_S)

    def _leased(self, limit: int, types: list[str] | None) -> list[LeasedEvent]:
        """Looked for to the end, or until there are enough."""
        found: list[LeasedEvent] = []
        reached, unfinished = Reached(), True
        while unfinished and len(found) < limit:
            pulled = self.inbox.look(limit - len(found), types, reached=reached)
            assert pulled is not None
            found += pulled.events
            reached, unfinished = pulled.reached, pulled.unfinished or pulled.late
        return found

    def settle(self) -> None:
        """By receipts, good ones and bad ones."""
        action = self.rng.choice((*InboxAction, InboxAction.ACK))
        given = [each for each in self.events if each.receipt and self.rng.random() < 0.4]
        if not given:
            return
        seconds = float(self.rng.randint(0 if action is InboxAction.NACK else 1, 40))
        until = self.world.clock().after(seconds=seconds)
        receipts = [each.receipt for each in given if each.receipt is not None]
        expected = [self._settled(each, action, until) for each in given]
        assert self.inbox.settle(action, receipts, seconds=seconds) == expected

    def _settled(self, event: Known, action: InboxAction, until: int) -> InboxStatus:
        if event.busy_until <= self.now:
            return LOST
        if action is InboxAction.EXTEND:
            event.busy_until = until
            return EXTENDED
        event.receipt, event.busy_until = None, 0
        if action is InboxAction.ACK:
            event.acked = True
            return ACKED
        event.busy_until = until
        return NACKED

    def settle_by_id(self) -> None:
        """Whoever has them."""
        action = self.rng.choice((InboxAction.ACK, InboxAction.NACK))
        given = [each for each in self.events if self.rng.random() < 0.15]
        if not given:
            return
        until = self.world.clock().after(seconds=20.0)
        expected = []
        for each in given:
            if not self.is_in(each) or (each.acked and action is InboxAction.NACK):
                expected.append(UNKNOWN)
            elif action is InboxAction.ACK:
                each.acked, each.receipt, each.busy_until = True, None, 0
                expected.append(ACKED)
            else:
                each.receipt, each.busy_until = None, until
                expected.append(NACKED)
        named = [each.id for each in given]
        assert self.inbox.settle(action, named, by_id=True, seconds=20.0) == expected

    def seek(self) -> None:
        """To the start, the end or an event: what can be seen before it is done with."""
        place = self.rng.randint(0, len(self.events))
        if place == len(self.events):
            assert self.inbox.seek(InboxSeek(end=True))
        else:
            assert self.inbox.seek(InboxSeek(event_id=self.events[place].id))
        for number, each in enumerate(self.events):
            each.receipt, each.busy_until, each.count = None, 0, 0
            each.acked = number < place and self.is_in(each)

    def delete(self) -> None:
        """Erase one."""
        if self.events:
            event = self.rng.choice(self.events)
            event.deleted = True
            event.receipt = None
            self.world.run(self.world.store.delete_event(self.inbox.organization, event.id))

    def wait(self) -> None:
        """Let time pass."""
        self.world.clock.advance(seconds=self.rng.choice((0.001, 5, 15, 30)))

    def check(self) -> None:
        """What can be seen is what the model says."""
        unacked = self.unacked()
        limit = self.rng.choice((2, LARGE))
        assert self.inbox.peek(limit=limit) == [each.id for each in unacked]
        counted = self.inbox.count(LARGE)
        leased = [each for each in unacked if each.receipt and each.busy_until > self.now]
        assert (counted.unacked, counted.leased) == (len(unacked), len(leased))


@pytest.mark.parametrize("types", [None, ("a", "c.*")], ids=["all", "some"])
@pytest.mark.parametrize("seed", range(3))
def test_an_inbox_gives_what_its_model_says(
    world: World, seed: int, types: tuple[str, ...] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for engine in ("sqlite", "postgres"):
        monkeypatch.setattr(f"triggers_api.store.{engine}.inbox_verbs.LOOKED_AT", 7)
    history = History(world, seed, types=types)
    steps = {
        history.append: 4,
        history.pull: 6,
        history.settle: 4,
        history.settle_by_id: 2,
        history.seek: 0.5,
        history.delete: 0.7,
        history.wait: 3,
    }
    for step in history.rng.choices(list(steps), list(steps.values()), k=STEPS):
        step()
        history.check()
    world.clock.advance(seconds=100)
    left = {each.id for each in history.unacked()}
    left -= {each.event.id for each in history._leased(LARGE, None)}
    assert not left
