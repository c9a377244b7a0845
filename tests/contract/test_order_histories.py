"""Random histories of lines: in whatever order they are given, finished, lost and swept, they hold.

The model knows of each line which deliveries are not finished, in their order. A claim hands out the
first of each line, unless somebody holds it, and nothing else.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from tests.rooms import rooms

from triggers_api.errors import InvalidState
from triggers_api.model.delivery import WAITING, DeliveryStatus
from triggers_api.store.base import RoutedEvent

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.contract.conftest import Engine, FrozenClock, World

    from triggers_api.store.base import ClaimedDelivery

LEASE_S = 10.0
KEYS = st.sampled_from(["a", "b", "", None])


class Lines(RuleBasedStateMachine):
    """One subscription and the lines of its keys; ``None`` is in no line."""

    def __init__(self, make_world: Callable[[asyncio.Runner], World]) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.world = make_world(self.runner)
        self.runner.run(self.world.engine.open())
        self.organization = self.world.organization()
        self.subscription = self.world.subscription(self.organization)
        self.lines: dict[str | None, list[str]] = {}
        """The ids of what is not finished, the first first."""
        self.given: dict[str | None, int] = {}
        self.event_of: dict[str, str] = {}
        self.not_before: dict[str, int] = {}
        self.claimed: list[ClaimedDelivery] = []

    def teardown(self) -> None:
        self.runner.run(self.world.engine.close())
        self.runner.close()

    @rule(keys=st.lists(KEYS, min_size=1, max_size=4), at_once=st.booleans())
    def give(self, keys: list[str | None], *, at_once: bool) -> None:
        made = [self.world.new_delivery(self.subscription, key) for key in keys]
        if at_once:
            events = [
                msgspec.structs.replace(self.world.event(self.organization), deliveries=(each,))
                for each in made
            ]
            self.world.append(*events)
            event_ids = [event.id for event in events]
        else:
            self.world.queued(self.organization, len(keys))
            claim = self.world.claim_queue(in_order_of=[self.organization])
            answers = [RoutedEvent(e, (d,)) for e, d in zip(claim.events, made, strict=True)]
            self.world.run(self.world.store.fan_out(claim.token, answers))
            event_ids = [event.id for event in claim.events]
        for key, each, event_id in zip(keys, made, event_ids, strict=True):
            self.lines.setdefault(key, []).append(each.id)
            self.event_of[each.id] = event_id
            if key is not None:
                self.given[key] = self.given.get(key, 0) + 1
                found = self.world.run(self.world.store.delivery(self.organization, each.id))
                assert found is not None
                assert found.sequence == self.given[key]

    @rule()
    def claim(self) -> None:
        claim = self.world.run(self.world.store.claim_deliveries(100, LEASE_S, rooms=rooms(100)))
        assert sorted(each.id for each in claim.deliveries) == sorted(self.free())
        for each in claim.deliveries:
            self.not_before[each.id] = self.world.clock().after(seconds=LEASE_S)
        self.claimed += claim.deliveries

    @rule(
        which=st.lists(st.integers(0, 5), min_size=1, max_size=4),
        status=st.sampled_from(
            ["succeeded", "dead", "skipped", "cancelled", "retrying", "pending"]
        ),
    )
    def settle(self, which: list[int], status: str) -> None:
        chosen = {each.id: each for each in (self.pick(number) for number in which) if each}
        if not chosen:
            return
        stale = set(
            self.world.settle(
                *[
                    self.world.outcome(each, status, attempted=status != "pending", retry_in_s=5)
                    for each in chosen.values()
                ]
            )
        )
        for delivery in chosen.keys() - stale:
            self.not_before[delivery] = self.world.clock().after(seconds=5)
            if status not in {"retrying", "pending"}:
                self.finished(delivery)
        self.claimed = [each for each in self.claimed if each.id not in chosen]

    def pick(self, number: int) -> ClaimedDelivery | None:
        return self.claimed[number % len(self.claimed)] if self.claimed else None

    @rule(number=st.integers(0, 30), how=st.sampled_from(["cancel", "delete", "retry"]))
    def by_hand(self, number: int, how: str) -> None:
        if not self.event_of:
            return
        delivery = list(self.event_of)[number % len(self.event_of)]
        store = self.world.store
        try:
            if how == "cancel":
                self.world.run(store.cancel_delivery(self.organization, delivery))
            elif how == "delete":
                self.world.run(store.delete_event(self.organization, self.event_of[delivery]))
            else:
                self.world.run(store.retry_delivery(self.organization, delivery))
        except InvalidState:
            found = self.world.run(store.delivery(self.organization, delivery))
            assert found is not None
            assert how != "retry" or found.status not in WAITING or not self.is_first(delivery)
            return
        if how != "retry":
            self.finished(delivery)
        elif any(delivery in line for line in self.lines.values()):
            assert self.is_first(delivery)
            self.not_before[delivery] = 0
        else:
            # It was finished and is outside of the order now.
            self.lines.setdefault(None, []).append(delivery)
            self.not_before[delivery] = 0

    @rule(seconds=st.sampled_from([1, 5, 10]))
    def time_passes(self, seconds: float) -> None:
        self.world.clock.advance(seconds=seconds)

    @rule(how=st.sampled_from(["crash", "reopen"]))
    def the_process_ends(self, how: str) -> None:
        self.world.clock.advance(seconds=LEASE_S)
        self.world.run(getattr(self.world.engine, how)())

    @rule()
    def sweep(self) -> None:
        assert self.world.run(self.world.store.reap()).mended == 0

    # ── what must hold ────────────────────────────────────────────────────────────────────────

    def finished(self, delivery: str) -> None:
        for line in self.lines.values():
            if delivery in line:
                line.remove(delivery)

    def firsts(self) -> list[str]:
        return [
            delivery
            for key, line in self.lines.items()
            for delivery in (line if key is None else line[:1])
        ]

    def is_first(self, delivery: str) -> bool:
        return delivery in self.firsts()

    def is_free(self, delivery: str) -> bool:
        return self.not_before.get(delivery, 0) <= self.world.clock()

    def free(self) -> list[str]:
        """What a claim has to hand out now: the first of each line that nobody holds."""
        return [delivery for delivery in self.firsts() if self.is_free(delivery)]

    @invariant()
    def whoever_is_not_first_waits_without_a_moment_and_whoever_is_does_not(self) -> None:
        for delivery in itertools.chain(*self.lines.values()):
            found = self.world.run(self.world.store.delivery(self.organization, delivery))
            assert found is not None
            if found.status is not DeliveryStatus.DELIVERING:
                assert (found.next_attempt_at is None) is not self.is_first(delivery)


@pytest.mark.timeout(400)  # a history that fails is made as short as it can be
def test_whatever_happens_only_the_first_of_a_line_goes_out_and_no_line_stands_still(
    make_engine: Callable[[Path, FrozenClock], Engine],
    make_world: Callable[[Engine, FrozenClock, asyncio.Runner], World],
    make_clock: Callable[[], FrozenClock],
    tmp_path: Path,
) -> None:
    serial = itertools.count()

    def fresh(runner: asyncio.Runner) -> World:
        folder = tmp_path / f"{next(serial)}"
        folder.mkdir()
        clock = make_clock()
        return make_world(make_engine(folder, clock), clock, runner)

    class LinesHere(Lines):
        def __init__(self) -> None:
            super().__init__(fresh)

    run_state_machine_as_test(
        LinesHere,
        settings=settings(
            max_examples=20,
            stateful_step_count=25,
            derandomize="CI" in os.environ,
            suppress_health_check=list(HealthCheck),
        ),
    )
