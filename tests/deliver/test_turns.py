"""When a turn of the dispatcher is called for: as late as nobody waits for it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, cast

import msgspec
import pytest
import uvloop
from tests.deliver.test_lanes import claimed

from triggers_api.deliver import dispatcher as dispatcher_module
from triggers_api.deliver.dispatcher import Dispatcher, DispatcherSettings
from triggers_api.deliver.webhook import Sent
from triggers_api.model import ids
from triggers_api.model.controls import DeliveryModes
from triggers_api.model.outcome import Answered
from triggers_api.model.subscription import SubscriptionRecord
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import (
    ClaimedDelivery,
    DeliveryClaim,
    Rooms,
    Settled,
    Settlement,
    Store,
)
from triggers_api.store.directory import Directory
from triggers_api.telemetry.metrics import Metrics

SLOTS: Final = 10
NOW: Final = Timestamp(1_795_379_081_000)


class Backlog:
    """A store with deliveries for one subscription, as far as a dispatcher sees it."""

    def __init__(self, *deliveries: ClaimedDelivery) -> None:
        self._due = list(deliveries)
        self.ids = ids.IdGenerator(self.now)
        self.woken = asyncio.Event()
        self.settled: list[int] = []

    def now(self) -> Timestamp:
        return NOW

    def wake_deliveries(self) -> None:
        self.woken.set()

    async def claim_deliveries(self, limit: int, _lease_s: float, *, rooms: Rooms) -> DeliveryClaim:
        free = min(limit, *rooms.subscriptions.values(), rooms.default_subscription + limit)
        taken, self._due = self._due[:free], self._due[free:]
        return DeliveryClaim(tuple(taken))

    async def settle(self, settlements: Sequence[Settlement]) -> Settled:
        self.settled.append(len(settlements))
        return Settled()

    async def next_delivery_at(self) -> None:
        return None


class OneSubscription:
    """A directory with one tenant and one subscription."""

    delivery = DeliveryModes()
    organization_count = 1

    def __init__(self, record: SubscriptionRecord) -> None:
        self._record = record

    def subscription(self, _organization_id: str, _subscription_id: str) -> SubscriptionRecord:
        return self._record

    def notifies(self, _organization_id: str) -> bool:
        return False

    async def catch_up(self, _version: int | None) -> None:
        return


class Answering:
    """A sender whose requests are answered one at a time, when the test says so."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    async def send(self, *_: object, **__: object) -> Sent:
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        await answer
        return Sent(Answered(204), 1)

    @property
    def under_way(self) -> int:
        return len(self._waiting)

    async def answer(self, count: int) -> None:
        for _ in range(count):
            self._waiting.pop(0).set_result(None)
            for _ in range(5):
                await asyncio.sleep(0)


def run(
    test: Callable[[Backlog, Answering, Dispatcher], Awaitable[None]],
    *deliveries: ClaimedDelivery,
) -> None:
    async def scenario() -> None:
        store, sender = Backlog(*deliveries), Answering()
        dispatcher = Dispatcher(
            cast("Store", store),
            cast("Directory", OneSubscription(deliveries[0].target)),
            cast("Any", sender),
            settings=DispatcherSettings(
                concurrency=SLOTS,
                timeout_s=10.0,
                retry_schedule=(5.0,),
                lease_s=45.0,
                max_poll_ms=100,
                grace_s=1.0,
            ),
            wall=store.now,
            metrics=Metrics(),
        )
        # The clock of the store stands still, and so does what rings by it.
        dispatcher._set_alarm = lambda now_s: None  # type: ignore[method-assign]  # noqa: ARG005
        # Until the endpoint has shown what it can take.
        for _ in range(4):
            await dispatcher.run_once()
            await sender.answer(sender.under_way)
        await dispatcher.run_once()
        await dispatcher.run_once()
        store.woken.clear()
        store.settled.clear()
        await test(store, sender, dispatcher)
        await dispatcher.finish(asyncio.Event())

    uvloop.run(scenario())


def test_while_there_is_enough_to_send_a_turn_settles_many_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dispatcher_module, "_SETTLED_WITHIN_S", 3600.0)

    async def test(store: Backlog, sender: Answering, dispatcher: Dispatcher) -> None:
        await sender.answer(SLOTS - 1)
        assert not store.woken.is_set()
        await sender.answer(1)
        assert store.woken.is_set()
        await dispatcher.run_once()
        assert store.settled == [SLOTS]

    run(test, *(claimed() for _ in range(500)))


def test_an_outcome_waits_for_others_for_a_moment_only() -> None:
    async def test(store: Backlog, sender: Answering, dispatcher: Dispatcher) -> None:
        await sender.answer(1)
        await asyncio.wait_for(store.woken.wait(), 10.0)
        await dispatcher.run_once()
        assert store.settled == [1]

    run(test, *(claimed() for _ in range(500)))


def test_a_stock_that_runs_out_calls_for_a_turn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher_module, "_SETTLED_WITHIN_S", 3600.0)

    async def test(store: Backlog, sender: Answering, _: Dispatcher) -> None:
        await sender.answer(1)
        assert store.woken.is_set()

    run(test, *(claimed() for _ in range(20)))


def test_what_others_in_its_line_wait_for_calls_for_a_turn_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dispatcher_module, "_SETTLED_WITHIN_S", 3600.0)

    async def test(store: Backlog, sender: Answering, _: Dispatcher) -> None:
        await sender.answer(1)
        assert store.woken.is_set()

    run(test, *(msgspec.structs.replace(claimed(), sequence=each + 1) for each in range(500)))
