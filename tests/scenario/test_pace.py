"""Endpoints that hang, tenants that flood and hosts with a rate, as everybody else notices them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web
from tests.conftest import MakeService, Run, new_database

from triggers_api.settings import HostRate
from triggers_api.testing import ADMIN_KEY, Received, Receiver, Service

BUSY_S: Final = 1.5
"""What a busy machine may take beyond what is promised."""

TIMES: Final = 3
"""How often a story is told that took too long: what stands still now and then is the machine."""

Story = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]


class TookTooLongError(AssertionError):
    """Everything came as it should, and later than it should."""


def took(seconds: float, *, at_most_s: float) -> None:
    if seconds >= at_most_s:
        raise TookTooLongError(f"{seconds:.2f} s, and not within {at_most_s} s")


@pytest.fixture
def place() -> dict[str, str]:
    """Where the services of a story are to keep what they hold."""
    return {}


@pytest.fixture
def make_service(make_service: MakeService, place: dict[str, str]) -> MakeService:
    return lambda **settings: make_service(**place, **settings)


@pytest.fixture
def tell(
    run: Run, engine: str, tmp_path: Path, place: dict[str, str], request: pytest.FixtureRequest
) -> Story:
    """Tells a story, on a database of its own each time."""

    def told(story: Callable[[], Coroutine[Any, Any, None]], number: int) -> None:
        folder = tmp_path / f"{number}"
        folder.mkdir()
        with new_database(engine, folder, request) as place["database_url"]:
            run(story(), within_s=100)

    def tell(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
        for number in range(1, TIMES):
            with suppress(TookTooLongError):
                return told(story, number)
        return told(story, TIMES)

    return tell


@asynccontextmanager
async def hanging() -> AsyncIterator[Receiver]:
    """A receiver that answers nothing before the end."""
    over = asyncio.Event()

    async def hang(_: Received) -> web.StreamResponse:
        await over.wait()
        return web.Response(status=204)

    async with Receiver() as receiver:
        receiver.always(hang)
        try:
            yield receiver
        finally:
            over.set()


class Clocked(Receiver):
    """A receiver that notes when each request came."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []
        self.always(self._note)

    async def _note(self, _: Received) -> web.StreamResponse:
        self.times.append(time.monotonic())
        return web.Response(status=204)


def patient(make_service: MakeService, **more: Any) -> Service:  # noqa: ANN401 - of Service
    """A service that gives a receiver a long time for its answer, and itself none at the end."""
    return make_service(
        background=True,
        delivery_timeout_s=30.0,
        lease_s=45.0,
        shutdown_grace_s=0.1,
        max_poll_ms=100,
        **more,
    )


async def sent_and_received_s(service: Service, receiver: Receiver, event_type: str) -> float:
    """How long an event takes to its receiver."""
    had, began = len(receiver.requests), time.monotonic()
    assert (await service.send(event_type)).status == 202
    await receiver.wait_for(had + 1)
    return time.monotonic() - began


def test_ten_endpoints_that_hang_at_first_contact_delay_others_by_about_a_second_at_most(
    make_service: MakeService, tell: Story
) -> None:
    async def story() -> None:
        async with hanging() as bad, Receiver() as good, patient(make_service) as service:
            for _ in range(10):
                await service.subscribe(bad.url, ["slow.*"])
            await service.subscribe(good.url, ["order.*"])
            await asyncio.gather(*(service.send("slow.thing") for _ in range(30)))
            await bad.wait_for(20)
            delays = [await sent_and_received_s(service, good, "order.created") for _ in range(20)]
            assert len(bad.requests) == 20, "two at once to each that has not answered yet"
            took(max(delays), at_most_s=1 + BUSY_S)

    tell(story)


def test_sixty_endpoints_that_hang_take_every_slot_for_a_second_at_most(
    make_service: MakeService, tell: Story
) -> None:
    async def story() -> None:
        async with hanging() as bad, Receiver() as good, patient(make_service) as service:
            for _ in range(60):
                await service.subscribe(bad.url, ["slow.*"])
            await service.subscribe(good.url, ["order.*"])
            await sent_and_received_s(service, good, "order.created")
            await asyncio.gather(*(service.send("slow.thing") for _ in range(5)))
            await bad.wait_for(50)
            delays = [await sent_and_received_s(service, good, "order.created") for _ in range(20)]
            most = 2 * service.settings.delivery_concurrency
            assert len(bad.requests) < most, "whatever hangs, there are slots for who does not"
            took(max(delays), at_most_s=1 + BUSY_S)
            took(sum(delays[1:]), at_most_s=2 * BUSY_S)  # once, and not again

    tell(story)


def test_a_tenant_whose_200_endpoints_all_hang_does_not_delay_another_tenants_delivery(
    make_service: MakeService, tell: Story
) -> None:
    async def story() -> None:
        async with hanging() as bad, Receiver() as good, patient(make_service) as service:
            made = await service.call(
                "POST", "/api/admin/organizations", {"name": "quiet"}, key=ADMIN_KEY
            )
            quiet = made.json["api_key"]
            for _ in range(200):
                await service.subscribe(bad.url, ["slow.*"])
            answer = await service.call(
                "POST", "/api/subscriptions", {"url": good.url, "event_types": ["*"]}, key=quiet
            )
            assert answer.status == 201
            await asyncio.gather(*(service.send("slow.thing") for _ in range(20)))
            await bad.wait_for(26)
            longest_s = 0.0
            for expected in range(1, 21):
                began = time.monotonic()
                body = {"type": "order.created", "payload": expected}
                answer = await service.call("POST", "/api/events", body, key=quiet)
                assert answer.status == 202
                await good.wait_for(expected)
                longest_s = max(longest_s, time.monotonic() - began)
            took(longest_s, at_most_s=1 + BUSY_S)

    tell(story)


def test_a_subscriptions_rate_is_kept_and_what_waits_is_sent_in_the_end(
    make_service: MakeService, tell: Story
) -> None:
    rate, count = 20.0, 50

    async def story() -> None:
        async with Clocked() as limited, Receiver() as free, patient(make_service) as service:
            await service.subscribe(limited.url, ["*"], rate_limit=rate)
            await service.subscribe(free.url, ["*"])
            began = time.monotonic()
            await asyncio.gather(*(service.send("order.created", n) for n in range(count)))
            await free.wait_for(count)
            free_s = time.monotonic() - began
            await limited.wait_for(count)
            within(limited.times, rate)
            assert len(set(limited.ids)) == len(limited.ids) == count
            # Evenly, and not at half the rate either; and nobody else waits for it.
            limited_s = limited.times[-1] - limited.times[0]
            took(limited_s, at_most_s=(count - 1) / rate * 1.5 + BUSY_S)
            took(free_s, at_most_s=2)

    tell(story)


def test_all_subscriptions_of_a_host_share_its_rate(make_service: MakeService, tell: Story) -> None:
    rate = 25.0

    async def story() -> None:
        service = patient(make_service, host_rates=(HostRate("127.0.0.1", rate),))
        async with Clocked() as limited, AsyncExitStack() as stack:
            await stack.enter_async_context(service)
            for n in range(10):
                await service.subscribe(f"{limited.url}/{n}", ["*"])
            await asyncio.gather(*(service.send("order.created", n) for n in range(7)))
            await limited.wait_for(70)
            within(limited.times, rate)
            assert len(limited.requests) == 70

    tell(story)


def within(times: list[float], rate: float) -> None:
    """No second with more than the rate: what is on its way arrives a little early or late."""
    for first in times:
        assert sum(first <= moment < first + 1 for moment in times) <= rate * 1.2 + 1


def test_who_asks_for_time_gets_no_other_delivery_meanwhile(
    make_service: MakeService, tell: Story, engine: str
) -> None:
    async def story() -> None:
        async with Clocked() as busy, patient(make_service, retry_schedule=(0.01,)) as service:

            async def later(_: Received) -> web.StreamResponse:
                busy.times.append(time.monotonic())
                return web.Response(status=429, headers={"Retry-After": "2"})

            busy.replies(later)
            await service.subscribe(busy.url, ["*"])
            await service.send("order.created", 0)
            await busy.wait_for(1)
            await asyncio.gather(*(service.send("order.created", n) for n in range(1, 6)))
            await busy.wait_for(7)
            # On PostgreSQL by a clock that is put right by the database's now and then.
            put_right_s = 0.0 if engine == "sqlite" else 0.3
            assert busy.times[1] - busy.times[0] >= 2.0 - put_right_s
            attempts = [int(each.headers["x-triggers-attempt"]) for each in busy.requests]
            assert sorted(attempts) == [1] * 6 + [2], "waiting is not an attempt"

    tell(story)


def test_an_endpoint_that_is_asked_for_too_much_is_asked_for_less(
    make_service: MakeService, tell: Story
) -> None:
    """It can take three at once and says so by 503."""
    most = 3

    async def story() -> None:
        at_once = 0
        refused = 0

        async def serve(_: Received) -> web.StreamResponse:
            nonlocal at_once, refused
            at_once += 1
            try:
                if at_once > most:
                    refused += 1
                    return web.Response(status=503)
                await asyncio.sleep(0.02)
                return web.Response(status=204)
            finally:
                at_once -= 1

        # Nor is it left alone for a while, which is another story.
        settings = {"retry_schedule": (0.2,) * 50, "breaker_failures": 0}
        async with Receiver() as small, patient(make_service, **settings) as service:
            small.always(serve)
            await service.subscribe(small.url, ["*"])
            await asyncio.gather(*(service.send("order.created", n) for n in range(200)))
            async with asyncio.timeout(90):
                while True:
                    books = await service.call("GET", "/api/admin/verify", key=ADMIN_KEY)
                    if books.json["organizations"][0]["deliveries"]["succeeded"] == 200:
                        break
                    await asyncio.sleep(0.05)
            assert refused < 100, "without a window most of the requests would be refused"

    tell(story)
