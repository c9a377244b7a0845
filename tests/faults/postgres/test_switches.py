"""Every switch turned to and fro while two processes take events in and two route and deliver them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import pytest
from tests.faults import invariants
from tests.faults.endpoint import flaky, healthy
from tests.faults.history import Outcome, Told, load
from tests.faults.server import until

from triggers_api.testing import ADMIN_KEY

if TYPE_CHECKING:
    from tests.faults.postgres.conftest import MakeFleet
    from tests.faults.postgres.fleet import Fleet
    from tests.faults.server import Server

SECONDS: Final = 60.0
EVERY_S: Final = 0.2

# Not skip: what is skipped is finished, and no receiver gets it.
SERVICE: Final[dict[str, tuple[Any, ...]]] = {
    "ingest": ("async", "sync", "refuse", None),
    "processing": ("running", "paused", None),
    "delivery": ("running", "paused", None),
    "concurrency": (1, 4, None),
    "batch_size": (1, 7, 500, None),
    "min_poll_ms": (1, 50, None),
}
ORGANIZATION: Final = {name: SERVICE[name] for name in ("ingest", "processing", "delivery")}
SUBSCRIPTION: Final = {"delivery": SERVICE["delivery"]}


async def turn_at_random(fleet: Fleet, organization: str, subscription: str) -> str:
    """One turn, somewhere, for good or for a second; what it was."""
    rng = fleet.rng
    whose, switches = rng.choice(
        (
            ("", SERVICE),
            (f"?organization_id={organization}", ORGANIZATION),
            (f"?subscription_id={subscription}", SUBSCRIPTION),
            ("drain", {}),
        )
    )
    server = rng.choice(fleet.apis)
    if whose == "drain":
        # Refused, with 409, while something is paused.
        path = rng.choice(("drain", "undrain", "undrain"))
        answer = await server.call("POST", f"/api/admin/{path}", {}, key=ADMIN_KEY)
        assert answer.status in {200, 409}, answer
        return path
    switch = rng.choice(list(switches))
    change: dict[str, Any] = {switch: rng.choice(switches[switch])}
    if rng.random() < 0.3:
        change["expires_in_s"] = 1
    await server.admin("PATCH", f"/controls{whose}", change)
    return switch


async def controls_of(server: Server) -> Any:  # noqa: ANN401 - JSON
    answer = await server.call("GET", "/api/health/detailed", key=ADMIN_KEY)
    assert answer.status == 200, answer
    return answer.json["controls"]


@pytest.mark.faults
@pytest.mark.timeout(240)
def test_every_switch_is_turned_again_and_again_in_a_fleet_under_load_and_nothing_is_lost(
    make_fleet: MakeFleet,
) -> None:
    """Every 200 ms for a minute: nothing lost, nothing twice, the last state right everywhere."""

    async def run() -> None:
        fleet = make_fleet(apis=2, workers=2)
        async with fleet:
            await fleet.start()
            calm = await fleet.endpoint("healthy", healthy, ["order.*"])
            await fleet.endpoint("flaky", flaky(fleet.rng))
            organization = (await fleet.server.admin("GET", "/organizations"))["data"][0]["id"]
            subscription = fleet.subscribers[0].id
            done = asyncio.Event()
            turned: Counter[str] = Counter()

            async def turns() -> None:
                began = time.monotonic()
                while time.monotonic() - began < SECONDS:
                    turned[await turn_at_random(fleet, organization, subscription)] += 1
                    await asyncio.sleep(EVERY_S)
                done.set()

            async def traffic() -> None:
                while not done.is_set():
                    await load(fleet.front, fleet.history, fleet.requests(40), clients=8)
                    await asyncio.sleep(0.02)

            async with asyncio.TaskGroup() as group:
                group.create_task(turns())
                group.create_task(traffic())
            assert set(turned) == {*SERVICE, "drain", "undrain"}, "every switch was turned"
            said = {told.code for request in fleet.history.requests for told in request.told}
            assert said == {None, "refusing", "draining"}

            last = fleet.apis[1]
            for whose, switches in (
                (f"?organization_id={organization}", ORGANIZATION),
                (f"?subscription_id={subscription}", SUBSCRIPTION),
                ("", SERVICE),
            ):
                await last.admin("PATCH", f"/controls{whose}", dict.fromkeys(switches))
            await last.admin("POST", "/undrain")
            shown = await last.admin("PATCH", "/controls", {"batch_size": 77, "ingest": "async"})

            async def is_everywhere() -> bool:
                return all([await controls_of(each) == shown for each in fleet.all])

            took = await until(is_everywhere, "the last state is in force everywhere")
            print(f"the last state was in force everywhere after {took:.2f} s")  # noqa: T201
            assert [each["switch"] for each in (await last.admin("GET", "/switches"))["data"]] == [
                "batch_size"
            ]
            found = await fleet.check_after_healing()
            assert len(fleet.history.of(Outcome.ACCEPTED)) > SECONDS
            sent = Counter(exchange.delivery_id for exchange in calm.exchanges)
            assert set(sent.values()) == {1}, "nobody died, so nothing was sent twice"
            assert found.events

    asyncio.run(run())


@pytest.mark.timeout(240)
def test_async_to_sync_and_back_under_load_loses_nothing_and_201_comes_after_routing(
    make_fleet: MakeFleet,
) -> None:
    """What is answered 201 has its deliveries on file, wherever it is asked for."""

    async def run() -> None:
        fleet = make_fleet(apis=2, workers=1)
        async with fleet:
            await fleet.start()
            await fleet.endpoint("first", healthy, ["order.*"])
            await fleet.endpoint("second", healthy)
            routed = 0

            async def is_routed(told: Told) -> None:
                nonlocal routed
                if told.status != 201:
                    return
                other = fleet.rng.choice(fleet.apis)
                answer = await other.call("GET", f"/api/events/{told.event_id}")
                assert answer.status == 200
                # Routed by settings a moment old it is looked at once more, and so is queued as well.
                found = [each["subscription_id"] for each in answer.json["deliveries"]]
                assert sorted(found) == sorted(each.id for each in fleet.subscribers)
                routed += 1

            done = asyncio.Event()

            async def traffic() -> None:
                while not done.is_set():
                    requests = fleet.requests(20)
                    await load(fleet.front, fleet.history, requests, clients=4, after=is_routed)

            async def turns() -> None:
                for mode in ("async", "sync", "async"):
                    await fleet.apis[0].admin("PATCH", "/controls", {"ingest": mode})
                    await fleet.history.wait_for_accepted(fleet.history.accepted + 60)
                    if mode == "sync":
                        await until(lambda: routed >= 20, "some were routed at once")
                done.set()

            async with asyncio.TaskGroup() as group:
                group.create_task(traffic())
                group.create_task(turns())
            found = await fleet.check_after_healing()
            assert fleet.history.statuses() == {201, 202}
            assert len(found.events) == len(fleet.history.of(Outcome.ACCEPTED))
            assert len(found.deliveries) == 2 * len(found.events)

    asyncio.run(run())


def test_a_switch_turned_in_one_process_is_in_force_in_all_and_goes_back_in_all(
    make_fleet: MakeFleet,
) -> None:
    """Also in those that have no API: a worker routes nothing while it is paused."""

    async def run() -> None:
        fleet = make_fleet(apis=2, workers=1)
        async with fleet:
            await fleet.start()
            endpoint = await fleet.endpoint("healthy", healthy)
            first, second = fleet.apis
            shown = await first.admin("PATCH", "/controls", {"processing": "paused"})

            async def is_paused() -> bool:
                return all([await controls_of(each) == shown for each in fleet.all])

            await until(is_paused, "it is paused everywhere")
            await load(second, fleet.history, fleet.requests(5))
            assert (await second.admin("GET", "/queues"))["organizations"][0]["depth"] == 5
            await second.admin("PATCH", "/controls", {"delivery": "paused", "expires_in_s": 1})
            await first.admin("PATCH", "/controls", {"processing": None})
            await endpoint.wait_for(5)

            async def is_as_at_first() -> bool:
                states = [await controls_of(each) for each in fleet.all]
                return all(each["turned"] == {} for each in states)

            await until(is_as_at_first, "it is as at first everywhere")
            await fleet.ready()
            invariants.balanced(await first.admin("GET", "/verify"))
            await fleet.check_after_healing()

    asyncio.run(run())
