"""The power is cut: the store has lost nothing that it acknowledged. Where it must, the test sees it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import apsw
import pytest
from tests.faults.powercut import Disk, Unsynced
from tests.rooms import rooms

from triggers_api.app import wall_clock
from triggers_api.errors import StartError
from triggers_api.failpoints import Failpoints
from triggers_api.model import ids
from triggers_api.model.delivery import Attempt, DeliveryStatus, NewDelivery
from triggers_api.model.event import NewEvent
from triggers_api.model.organization import (
    ORGANIZATION_SCOPES,
    ApiKey,
    KeyRecord,
    Organization,
    key_digest,
)
from triggers_api.model.subscription import Subscription, SubscriptionRecord, SubscriptionStatus
from triggers_api.store.base import RoutedEvent, Settlement
from triggers_api.store.sqlite import checkpointer
from triggers_api.store.sqlite.store import SqliteStore
from triggers_api.telemetry.metrics import Metrics

FULL: Final = 2
NORMAL: Final = 1
OFF: Final = 0

EVENTS: Final = 120
OPERATIONS: Final = 800
"""Of the disk, about, that a run of so many events makes."""
_names = itertools.count()


@dataclass
class Acknowledged:
    """What the store has said is done."""

    organization: str = ""
    subscription: str = ""
    events: dict[str, NewEvent] = field(default_factory=dict)
    routed: dict[str, str] = field(default_factory=dict)
    """By event its delivery."""
    delivered: set[str] = field(default_factory=set)

    def copy(self) -> Acknowledged:
        """As it is at this moment."""
        return Acknowledged(
            self.organization,
            self.subscription,
            dict(self.events),
            dict(self.routed),
            set(self.delivered),
        )


class Cut(Exception):
    """The work is over."""


class Run:
    """One store at work on a disk until its power is cut."""

    def __init__(self, folder: Path, seed: int, *, synchronous: int, from_the_start: bool) -> None:
        self.rng = random.Random(seed)
        self.folder = folder
        self.database = folder / "triggers.db"
        self.left = folder / "left.db"
        self.fate = self.rng.choice(list(Unsynced))
        self.synchronous = synchronous
        self.from_the_start = from_the_start
        self.said = Acknowledged()
        self.at_cut: Acknowledged | None = None
        self.disk = Disk(f"powercut-{next(_names)}")
        self.clients = self.rng.randint(1, 12)
        self._posted = 0

    def _cut(self) -> None:
        # Within an operation of the disk. What the loop's thread noted before this moment was
        # acknowledged before the cut.
        self.at_cut = self.said.copy()
        self.disk.left(self.database, self.left, self.fate, self.rng)

    async def work(self) -> None:
        """Serve until the cut, or until there is nothing left to do and it comes then."""
        if self.from_the_start:
            self.disk.cut_at(self.rng.randint(1, 150), self._cut)
        store = await _open(self.database, self.disk.name, synchronous=self.synchronous)
        try:
            with contextlib.suppress(Cut):
                await self._settle_in(store)
                if not self.from_the_start:
                    cut_at = self.disk.operations + self.rng.randint(1, OPERATIONS)
                    self.disk.cut_at(cut_at, self._cut)
                await asyncio.gather(
                    *(self._client(store) for _ in range(self.clients)), self._worker(store)
                )
            if self.at_cut is None:
                self._cut()
        finally:
            await store.close()
            self.disk.close()

    async def _settle_in(self, store: SqliteStore) -> None:
        now = store.now()
        organization = Organization(
            id=store.ids.new(ids.ORGANIZATION), name="Acme", created_at=now, updated_at=now
        )
        key = ApiKey(
            id=store.ids.new(ids.KEY),
            name="key",
            hint="trg_",
            scopes=ORGANIZATION_SCOPES,
            created_at=now,
        )
        record = KeyRecord(organization_id=organization.id, digest=key_digest("secret"), key=key)
        await store.create_organization(organization, record)
        self.said.organization = organization.id
        subscription = Subscription(
            id=store.ids.new(ids.SUBSCRIPTION),
            url="https://example.com/hook",
            event_types=("*",),
            status=SubscriptionStatus.ACTIVE,
            created_at=now,
            updated_at=now,
        )
        await store.save_subscription(
            SubscriptionRecord(
                organization_id=organization.id,
                subscription=subscription,
                secrets=("whsec_c2VjcmV0",),
            )
        )
        self.said.subscription = subscription.id

    async def _client(self, store: SqliteStore) -> None:
        while self._posted < EVENTS:
            number = self._posted = self._posted + 1
            event = NewEvent(
                store.ids.new(ids.EVENT),
                self.said.organization,
                "order.created",
                b'{"number":%d,"filler":"%b"}' % (number, b"x" * self.rng.choice((10, 900, 9000))),
                dedup_id=f"dedup-{number}",
            )
            assert await store.append((event,)) == [None]
            self.said.events[event.id] = event
            if self.at_cut is not None:
                raise Cut

    async def _worker(self, store: SqliteStore) -> None:
        idle = 0
        while idle < 3:
            queue = await store.claim_queue(10, 60.0)
            routed = [
                RoutedEvent(
                    event,
                    (NewDelivery(store.ids.new(ids.DELIVERY), self.said.subscription),),
                )
                for event in queue.events
            ]
            if routed:
                assert not await store.fan_out(queue.token, routed)
                self.said.routed.update((r.event.id, r.deliveries[0].id) for r in routed)
            claim = await store.claim_deliveries(10, 60.0, rooms=rooms(100))
            if claim.deliveries:
                now = store.now()
                await store.settle(
                    [
                        Settlement(
                            delivery.target.organization_id,
                            delivery.id,
                            delivery.token,
                            DeliveryStatus.SUCCEEDED,
                            attempt=Attempt(
                                id=store.ids.new(ids.ATTEMPT),
                                number=1,
                                started_at=now,
                                duration_ms=1,
                                status_code=200,
                            ),
                        )
                        for delivery in claim.deliveries
                    ]
                )
                self.said.delivered.update(delivery.id for delivery in claim.deliveries)
            idle = 0 if routed or claim.deliveries else idle + 1
            if self.at_cut is not None:
                raise Cut

    async def faults(self) -> list[str]:
        """What is missing or wrong in what the cut has left, by a store on the ordinary file layer."""
        said = self.at_cut
        assert said is not None
        try:
            store = await _open(self.left, None, synchronous=FULL)
        except (StartError, apsw.Error) as error:
            return [f"does not start: {error}"]
        try:
            return await self._compare(store, said)
        finally:
            await store.close()

    async def _compare(self, store: SqliteStore, said: Acknowledged) -> list[str]:
        faults = []
        for event_id, event in said.events.items():
            found = await store.event(said.organization, event_id)
            if found is None:
                faults.append(f"{event_id} is lost")
                continue
            if bytes(found.payload) != event.payload or found.dedup_id != event.dedup_id:
                faults.append(f"{event_id} is not what it was")
            if event_id in said.routed:
                (delivery,) = found.deliveries or (None,)
                if delivery is None or delivery.id != said.routed[event_id]:
                    faults.append(f"the delivery of {event_id} is lost")
                elif delivery.id in said.delivered and (
                    delivery.status is not DeliveryStatus.SUCCEEDED or delivery.attempt_count != 1
                ):
                    faults.append(f"the outcome of {delivery.id} is lost")
        faults += [
            f"{each} does not balance" for each in await store.accounts() if not each.balances()
        ]
        if said.organization and not faults:
            faults += await self._goes_on(store, said)
        with contextlib.closing(apsw.Connection(str(self.left))) as db:
            ((verdict,), *_) = list(db.execute("PRAGMA integrity_check"))
            if verdict != "ok":
                faults.append(f"integrity_check: {verdict}")
        return faults

    async def _goes_on(self, store: SqliteStore, said: Acknowledged) -> list[str]:
        """The clients repeat everything: what was acknowledged is a duplicate of itself."""
        faults = []
        for event_id, event in said.events.items():
            again = NewEvent(
                store.ids.new(ids.EVENT),
                said.organization,
                event.type,
                event.payload,
                dedup_id=event.dedup_id,
            )
            (first,) = await store.append((again,))
            if first is None or first.id != event_id or not first.payload_matches:
                faults.append(f"{event_id} was accepted a second time")
        return faults


async def _open(path: Path, vfs: str | None, *, synchronous: int) -> SqliteStore:
    return await SqliteStore.open(
        path,
        clock=wall_clock,
        metrics=Metrics(),
        failpoints=Failpoints(""),
        fatal=_fatal,
        vfs=vfs,
        synchronous=synchronous,
    )


def _fatal(error: BaseException) -> None:
    raise AssertionError("the store gave up") from error


@pytest.fixture
def busy_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints and new beginnings of the log every few commits, so that cuts fall into them."""
    monkeypatch.setattr(checkpointer, "_AFTER_PAGES", 8)
    monkeypatch.setattr(checkpointer, "_LARGE_PAGES", 40)
    monkeypatch.setattr(checkpointer, "_PAUSE_S", 0.001)


Cuts = Callable[..., "dict[int, list[str]]"]


@pytest.fixture
def cuts(tmp_path: Path, seed: int) -> Cuts:
    """Cuts the power in as many runs; returns what is wrong by seed."""

    def cut(runs: int, *, synchronous: int, from_the_start: bool = False) -> dict[int, list[str]]:
        rng = random.Random(seed)
        faults: dict[int, list[str]] = {}
        acknowledged = 0

        async def one(run: Run) -> list[str]:
            await run.work()
            return await run.faults()

        for number in range(runs):
            run_seed = rng.randrange(1 << 32)
            folder = tmp_path / f"{synchronous}-{from_the_start}-{number}"
            folder.mkdir()
            run = Run(folder, run_seed, synchronous=synchronous, from_the_start=from_the_start)
            if found := asyncio.run(one(run)):
                faults[run_seed] = [run.fate.value, *found]
            else:
                for file in folder.iterdir():
                    file.unlink()
            assert run.at_cut is not None
            acknowledged += len(run.at_cut.events)
        if not from_the_start:
            assert acknowledged > runs, "the cuts come too early to prove anything"
        return faults

    return cut


@pytest.mark.usefixtures("busy_checkpoints")
def test_a_power_cut_loses_nothing_that_was_acknowledged(cuts: Cuts) -> None:
    assert cuts(20, synchronous=FULL) == {}


def test_a_power_cut_during_the_first_start_leaves_something_that_starts(cuts: Cuts) -> None:
    assert cuts(10, synchronous=FULL, from_the_start=True) == {}


@pytest.mark.faults
@pytest.mark.timeout(600)
def test_five_hundred_power_cuts_lose_nothing_that_was_acknowledged(cuts: Cuts) -> None:
    assert cuts(500, synchronous=FULL) == {}


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("busy_checkpoints")
def test_five_hundred_power_cuts_among_checkpoints_lose_nothing(cuts: Cuts) -> None:
    assert cuts(500, synchronous=FULL) == {}


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_a_hundred_power_cuts_during_the_first_start_leave_something_that_starts(
    cuts: Cuts,
) -> None:
    assert cuts(100, synchronous=FULL, from_the_start=True) == {}


@pytest.mark.parametrize("synchronous", [NORMAL, OFF])
def test_without_a_sync_before_each_answer_the_same_cuts_lose_events(
    cuts: Cuts, synchronous: int
) -> None:
    """What proves the tests above: they can fail."""
    faults = cuts(10, synchronous=synchronous)
    lost = [fault for found in faults.values() for fault in found if fault.endswith("is lost")]
    assert len(faults) >= 3
    assert lost
