"""Consuming an inbox: what is handled is done, what is not comes again, and nothing is in two hands."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest
from tests.client.conftest import Connect, Tenant
from tests.client.test_everyday import NOW

from triggers_api.client import AsyncClient, Client, Forbidden, NewEvent, NotFound
from triggers_api.testing import FrozenClock, LocalService


def fill(client: Client, count: int) -> None:
    assert client.send_many(NewEvent("a", number) for number in range(count)).accepted == count


@pytest.fixture
def clock(service: LocalService) -> FrozenClock:
    assert service.clock is not None
    return service.clock


def test_messages_come_in_order_and_are_done_one_after_the_other(client: Client) -> None:
    fill(client, 25)
    inbox = client.inbox()
    handled = []
    with inbox.consume(prefetch=4, wait_s=0) as messages:
        for message in messages:
            handled.append(message.payload)
            if len(handled) == 25:
                break
    assert handled == [*range(25)]
    state = inbox.state()
    assert (state.unacked, state.leased) == (0, 0)


def test_messages_are_waited_for(client: Client) -> None:
    with client.inbox().consume() as messages:
        loop = iter(messages)
        client.send("a", 1)
        assert next(loop).payload == 1
        client.send("a", 2)
        assert next(loop).payload == 2


def test_what_fails_comes_again_after_a_while_and_what_waited_behind_it_at_once(
    client: Client, clock: FrozenClock
) -> None:
    fill(client, 5)
    inbox = client.inbox()
    with suppress(ZeroDivisionError), inbox.consume(prefetch=5, wait_s=0) as messages:
        for message in messages:
            if message.payload == 2:
                raise ZeroDivisionError
    assert inbox.state().leased == 0
    assert [each.payload for each in inbox.pull(10)] == [3, 4]
    clock.advance(seconds=1.1)
    (again,) = inbox.pull(10)
    assert (again.payload, again.receive_count) == (2, 2)


def test_a_loop_that_is_left_without_a_block_leaves_its_message(
    client: Client, clock: FrozenClock
) -> None:
    fill(client, 3)
    inbox = client.inbox()
    consumer = inbox.consume(wait_s=0)
    loop = iter(consumer)
    next(loop)
    assert next(loop).payload == 1
    consumer.close()
    clock.advance(seconds=1.1)
    assert sorted(each.payload for each in inbox.pull(10)) == [1, 2]


def test_a_message_can_be_settled_by_its_handler(client: Client, clock: FrozenClock) -> None:
    fill(client, 3)
    inbox = client.inbox()
    seen = 0
    with inbox.consume(prefetch=1, wait_s=0) as messages:
        for message in messages:
            seen += 1
            if seen == 1:
                message.nack(delay_s=60)
            else:
                message.ack()
                assert not message.lost
            if seen == 3:
                break
    assert inbox.pull(10) == ()
    clock.advance(seconds=61)
    assert [each.payload for each in inbox.pull(10)] == [0]


def test_only_types_that_are_asked_for_are_pulled(client: Client) -> None:
    for event_type in ("a.one", "b", "a.two"):
        client.send(event_type)
    with client.inbox().consume(types=["a.*"], wait_s=0) as messages:
        loop = iter(messages)
        assert [next(loop).type, next(loop).type] == ["a.one", "a.two"]
    assert [each.type for each in client.inbox().peek()] == ["b"]


def test_two_consumers_share_the_work(client: Client) -> None:
    fill(client, 60)
    with (
        client.inbox().consume(prefetch=3, wait_s=0) as one,
        client.inbox().consume(prefetch=3, wait_s=0) as other,
    ):
        handled = [next(loop).payload for loop in (iter(one), iter(other)) * 20]
    assert len({*handled}) == 40
    state = client.inbox().state()
    assert (state.unacked, state.leased) == (20, 0)


def test_a_key_that_may_not_read_is_told_so_by_the_loop(
    service: LocalService, tenant: Tenant, connect: Connect
) -> None:
    path = f"/api/admin/organizations/{tenant.id}/keys"
    made = service.call(
        "POST", path, {"name": "sender", "scopes": ["ingest"]}, key=service.admin_key
    )
    client = connect(service.url, made.json["key"])
    with pytest.raises(Forbidden), client.inbox().consume() as messages:
        next(iter(messages))
    with pytest.raises(Forbidden):
        client.inbox().run(print, stop_on=())


def test_an_inbox_that_is_not_there_is_told_by_the_loop(client: Client) -> None:
    with pytest.raises(NotFound), client.inbox("nowhere").consume() as messages:
        next(iter(messages))


def test_inboxes_are_made_looked_at_moved_and_deleted(client: Client) -> None:
    fill(client, 3)
    inbox = client.inbox("orders")
    assert inbox.save(start="end").unacked == 0
    assert inbox.save(types=["a", "b.*"]).types == ("a", "b.*")
    client.send("a", 3)
    assert [each.payload for each in inbox.peek(type="a", page_size=1)] == [3]
    state = inbox.seek("start")
    assert (state.name, state.unacked, state.complete) == ("orders", 4, True)
    (first, second) = inbox.pull(2, lease_s=60)
    assert first.lease_until is not None
    assert inbox.extend(120, receipts=[first.receipt])[0].status == "extended"
    assert inbox.nack(receipts=[second.receipt], delay_s=5)[0].status == "nacked"
    assert inbox.ack(receipts=[first.receipt, second.receipt, "forged"])[0].status == "acked"
    assert [each.status for each in inbox.ack(ids=[first.id, second.id])] == ["acked", "acked"]
    assert inbox.seek(second.id).unacked == 3
    assert inbox.seek(NOW - timedelta(days=1)).unacked == 4
    assert inbox.seek("end").unacked == 0
    assert {each.name for each in client.inboxes.list()} == {"default", "orders"}
    inbox.delete()
    with pytest.raises(NotFound):
        inbox.state()


@pytest.mark.parametrize(
    "options",
    [{"prefetch": 0}, {"prefetch": 1001}, {"lease_s": 0.5}, {"wait_s": 31}, {"hold_for_s": 1}],
)
def test_a_consumption_that_makes_no_sense_is_refused_at_once(
    client: Client, options: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"prefetch|lease_s"):
        client.inbox().consume(**options)


# ── handlers ──────────────────────────────────────────────────────────────────────────────────────


def test_a_handler_that_fails_is_asked_again_and_the_others_go_on(
    service: LocalService, tenant: Tenant, caplog: pytest.LogCaptureFixture
) -> None:
    handled: list[tuple[int, int]] = []
    with Client(service.url, tenant.key) as client:
        fill(client, 4)
        consumer = client.inbox().consume(retry_delay_s=lambda _: 0.0, wait_s=0)

        def handle(message: Any) -> None:  # noqa: ANN401
            handled.append((message.payload, message.event.receive_count))
            if handled[-1] == (1, 1):
                raise ZeroDivisionError
            if len(handled) == 5:
                consumer.stop()

        consumer.run(handle)
        assert sorted(handled) == [(0, 1), (1, 1), (1, 2), (2, 1), (3, 1)]
        assert client.inbox().state().unacked == 0
    assert "was not handled" in caplog.text


def test_an_asynchronous_handler_that_fails_is_asked_again(
    service: LocalService, tenant: Tenant
) -> None:
    handled: list[tuple[int, int]] = []

    async def main() -> int:
        async with AsyncClient(service.url, tenant.key) as client:
            await client.send_many(NewEvent("a", number) for number in range(4))
            consumer = client.inbox().consume(retry_delay_s=lambda _: 0.0, wait_s=0)

            async def handle(message: Any) -> None:  # noqa: ANN401
                handled.append((message.payload, message.event.receive_count))
                if handled[-1] == (1, 1):
                    raise ZeroDivisionError
                if len(handled) == 5:
                    consumer.stop()

            await consumer.run(handle)
            return (await client.inbox().state()).unacked

    assert asyncio.run(main()) == 0
    assert sorted(handled) == [(0, 1), (1, 1), (1, 2), (2, 1), (3, 1)]


def test_handlers_run_side_by_side(service: LocalService, tenant: Tenant) -> None:
    together = threading.Barrier(4, timeout=20)
    with Client(service.url, tenant.key) as client:
        fill(client, 4)
        consumer = client.inbox().consume(wait_s=0)

        def handle(_: object) -> None:
            if together.wait() == 0:
                consumer.stop()

        consumer.run(handle, concurrency=4)
        assert client.inbox().state().unacked == 0


def test_asynchronous_handlers_run_side_by_side(service: LocalService, tenant: Tenant) -> None:
    async def main() -> int:
        together = asyncio.Event()
        inside = 0
        async with AsyncClient(service.url, tenant.key) as client:
            await client.send_many(NewEvent("a", number) for number in range(4))
            consumer = client.inbox().consume(wait_s=0)

            async def handle(_: object) -> None:
                nonlocal inside
                inside += 1
                if inside == 4:
                    together.set()
                    consumer.stop()
                await together.wait()

            await asyncio.wait_for(consumer.run(handle, concurrency=4), 20)
            return (await client.inbox().state()).unacked

    assert asyncio.run(main()) == 0


# ── processes that are ended ──────────────────────────────────────────────────────────────────────

BLOCKING = """
import sys
from triggers_api.client import Client

def handle(message):
    print("begun", message.payload, flush=True)
    sys.stdin.readline()
    print("done", message.payload, flush=True)

with Client(sys.argv[1], sys.argv[2]) as client:
    client.inbox().run(handle)
print("ended", flush=True)
"""

ASYNC = """
import asyncio, sys
from triggers_api.client import AsyncClient

async def handle(message):
    print("begun", message.payload, flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    print("done", message.payload, flush=True)

async def main():
    async with AsyncClient(sys.argv[1], sys.argv[2]) as client:
        await client.inbox().run(handle)
    print("ended", flush=True)

asyncio.run(main())
"""


@contextmanager
def consumer(program: str, service: LocalService, key: str) -> Iterator[subprocess.Popen[str]]:
    """A process that consumes, and goes on with a message when it is told so by a line."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program, service.url, key],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.mark.parametrize("program", [BLOCKING, ASYNC], ids=["blocking", "async"])
@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_after_what_is_in_hand(
    service: LocalService, tenant: Tenant, program: str, kind: signal.Signals
) -> None:
    with Client(service.url, tenant.key) as client:
        fill(client, 5)
        with consumer(program, service, tenant.key) as process:
            assert said(process) == "begun 0"
            tell(process)
            assert [said(process), said(process)] == ["done 0", "begun 1"]
            process.send_signal(kind)
            tell(process)
            assert [said(process), said(process)] == ["done 1", "ended"]
            assert process.wait(20) == 0
        state = client.inbox().state()
        assert (state.unacked, state.leased) == (3, 0)


@pytest.mark.parametrize("program", [BLOCKING, ASYNC], ids=["blocking", "async"])
def test_an_idle_consumer_ends_at_a_signal(
    service: LocalService, tenant: Tenant, program: str
) -> None:
    with Client(service.url, tenant.key) as client:
        client.send("a", 0)
        with consumer(program, service, tenant.key) as process:
            assert said(process) == "begun 0"
            tell(process)
            assert said(process) == "done 0"
            while client.inbox().state().unacked:
                pass
            process.send_signal(signal.SIGTERM)
            assert said(process) == "ended"
            assert process.wait(20) == 0


@pytest.mark.parametrize("program", [BLOCKING, ASYNC], ids=["blocking", "async"])
def test_what_a_killed_consumer_held_goes_to_another(
    service: LocalService, tenant: Tenant, clock: FrozenClock, program: str
) -> None:
    with Client(service.url, tenant.key) as client:
        fill(client, 3)
        with consumer(program, service, tenant.key) as process:
            assert said(process) == "begun 0"
            tell(process)
            assert [said(process), said(process)] == ["done 0", "begun 1"]
            while client.inbox().state().unacked == 3:
                pass
            process.kill()
            process.wait(20)
        assert client.inbox().pull(10) == ()
        clock.advance(seconds=31)
        found = client.inbox().pull(10)
        assert [(each.payload, each.receive_count) for each in found] == [(1, 2), (2, 2)]
