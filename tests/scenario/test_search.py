"""Whatever was confirmed is found at once, by everything by which it can be found."""

from __future__ import annotations

import asyncio

import pytest
from tests.conftest import MakeService, Run
from tests.faults.server import until

from triggers_api.testing import Service

AT_ONCE = 64


async def sent_and_found(service: Service, number: int, *, everywhere: bool) -> None:
    """Send one event and ask for it in every way; ``everywhere``: among all that there are."""
    payload = {"order": {"number": f"no-{number}"}, "note": f"mark{number} of many"}
    sent = await service.send(f"at.once.{number}", payload, dedup_id=f"once {number}")
    event_id = sent.json["id"]
    assert (await service.call("GET", f"/api/events/{event_id}")).status == 200
    since = "" if everywhere else f"&since={sent.json['received_at']}"
    for query in (
        f"dedup_id=once%20{number}",
        f"type=at.once.{number}",
        f"payload.order.number=no-{number}",
        f"q=mark{number}+many",
    ):
        page = await service.call("GET", f"/api/events?{query}{since}")
        assert page.status == 200, page
        assert [each["id"] for each in page.json["data"]] == [event_id], query


async def all_at_once(service: Service, count: int, *, everywhere: int) -> None:
    numbers = iter(range(count))

    async def client() -> None:
        for number in numbers:
            await sent_and_found(service, number, everywhere=number % everywhere == 0)

    async with asyncio.TaskGroup() as clients:
        for _ in range(AT_ONCE):
            clients.create_task(client())


def test_each_of_many_events_is_found_as_soon_as_it_was_confirmed(
    run: Run, make_service: MakeService
) -> None:
    async def main() -> None:
        async with make_service() as service:
            await all_at_once(service, 200, everywhere=1)

    run(main(), within_s=100)


@pytest.mark.faults
@pytest.mark.timeout(1200)
def test_each_of_10_000_events_is_found_as_soon_as_it_was_confirmed(
    run: Run, make_service: MakeService
) -> None:
    async def main() -> None:
        async with make_service() as service:
            await all_at_once(service, 10_000, everywhere=20)

    run(main(), within_s=1000)


def test_the_service_makes_the_index_while_it_runs(run: Run, make_service: MakeService) -> None:
    async def main() -> None:
        async with make_service() as service:
            for batch in range(5):
                events = [
                    {"type": "filler", "payload": {"mark": f"m{batch * 500 + number}"}}
                    for number in range(500)
                ]
                answer = await service.call("POST", "/api/events/batch", {"events": events})
                assert answer.json["accepted"] == 500
            looks = service.app.metrics.registry
            await until(
                lambda: (
                    (looks.get_sample_value("triggers_search_indexed_events_total") or 0) >= 2048
                ),
                "a part is indexed",
                within_s=75,  # a look that took long is made again after half a minute at most
            )
            for number in (0, 2047, 2048, 2499):
                page = await service.call("GET", f"/api/events?q=m{number}")
                assert [each["payload"]["mark"] for each in page.json["data"]] == [f"m{number}"]
            page = await service.call("GET", "/api/events?q=filler")
            assert page.json == {"data": [], "next_cursor": None}

    run(main(), within_s=100)
