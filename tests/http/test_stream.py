"""``GET /api/events/stream``: server-sent events, read off the socket."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import pytest
from tests.conftest import Enter, MakeService, Run, new_key, new_organization
from tests.http.conftest import assert_problem, once, written

from triggers_api.http import stream
from triggers_api.testing import ADMIN_KEY, API_KEY, FrozenClock, Service

PATIENCE_S: Final = 30.0
ODD: Final = (
    b'{"big":10000000000000000000001,\n"a":1,"a":2,"nul":"\\u0000",\n\n"s" : "\\/\xc3\xa9"}'
)


class Message(NamedTuple):
    """What a client is told: the id, and the data with its lines put together again."""

    id: str
    data: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON
        return json.loads(self.data)


class Reader:
    """A client of a stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.head = ""
        self.comments = 0
        self._rest = b""

    async def begin(self) -> None:
        head = await self._reader.readuntil(b"\r\n\r\n")
        self.head = head.decode("latin-1").lower()
        assert "200 ok" in self.head, head
        assert "transfer-encoding: chunked" in self.head
        await self._block()

    async def message(self) -> Message:
        """The next one; comments are counted and left out."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                block = await self._block()
                if block.startswith(b":"):
                    continue
                fields = [line.partition(b": ") for line in block.split(b"\n")]
                data = b"\n".join(value for name, _, value in fields if name == b"data")
                (identifier,) = [value for name, _, value in fields if name == b"id"]
                return Message(identifier.decode(), data)

    async def messages(self, count: int) -> list[Message]:
        return [await self.message() for _ in range(count)]

    async def comment(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            assert (await self._block()).startswith(b":")

    async def complete(self) -> None:
        """Wait for an end in order."""
        async with asyncio.timeout(PATIENCE_S):
            await self._reader.readuntil(b"0\r\n\r\n")

    async def end(self) -> bytes:
        """What is left until the server ends the stream."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._reader.read()

    async def end_in_order(self) -> bytes:
        """What is left of a stream that ends as it should."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._reader.readuntil(b"0\r\n\r\n")

    async def _block(self) -> bytes:
        while b"\n\n" not in self._rest:
            size = int(await self._reader.readline(), 16)
            self._rest += await self._reader.readexactly(size)
            await self._reader.readexactly(2)
            assert size, "the stream ended"
        block, _, self._rest = self._rest.partition(b"\n\n")
        if block.startswith(b":"):
            self.comments += 1
        return block


@asynccontextmanager
async def reading(
    service: Service, *headers: str, query: str = "", key: str = API_KEY
) -> AsyncIterator[Reader]:
    port = urlsplit(service.url).port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(written("GET", f"/api/events/stream{query}", *headers, key=key))
    client = Reader(reader, writer)
    try:
        async with asyncio.timeout(PATIENCE_S):
            await client.begin()
        yield client
    finally:
        writer.close()


async def sent(service: Service, *types: str) -> list[str]:
    answers = [await service.send(each, {"n": n}) for n, each in enumerate(types)]
    return [answer.json["id"] for answer in answers]


async def streams(service: Service) -> float:
    """How many there are, by the metrics."""
    answer = await service.call("GET", "/metrics", key=None)
    (line,) = re.findall(rb"^triggers_streams (.*)$", answer.body, re.MULTILINE)
    return float(line)


async def left(service: Service, count: int) -> None:
    """Wait until the service has seen that others are gone."""
    async with asyncio.timeout(PATIENCE_S):
        while await streams(service) != count:  # noqa: ASYNC110 - it is seen over HTTP
            await asyncio.sleep(0.01)


def test_an_organization_has_so_many_readers_at_once_and_no_more_and_others_have_theirs(
    enter: Enter, make_service: MakeService, run: Run
) -> None:
    service = enter(make_service(max_streams=2))

    async def refused() -> None:
        answer = await once(service, written("GET", "/api/events/stream", key=API_KEY))
        assert_problem(answer, 429, "rate-limited")
        assert answer.headers["retry-after"] == "10"

    async def follow() -> None:
        _, other = await new_organization(service)
        async with reading(service) as first:
            async with reading(service):
                await refused()
                await refused()
                async with reading(service, key=other):
                    assert await streams(service) == 3
                (sent_id,) = await sent(service, "order.created")
                assert (await first.message()).id == sent_id, "those who are there stay"
            await left(service, 1)
            async with reading(service):  # the place that was left
                await refused()
        await left(service, 0)
        metrics = (await service.call("GET", "/metrics", key=None)).body.decode()
        assert "triggers_streams_refused_total 3.0" in metrics

    run(follow())


def test_without_a_limit_as_many_may_read_as_come(
    enter: Enter, make_service: MakeService, run: Run
) -> None:
    service = enter(make_service(max_streams=0))

    async def follow() -> None:
        async with AsyncExitStack() as stack:
            for _ in range(5):
                await stack.enter_async_context(reading(service))
            assert await streams(service) == 5

    run(follow())


def test_a_stream_tells_what_comes_in_from_now_on_in_order(service: Service, run: Run) -> None:
    async def follow() -> None:
        await sent(service, "before")
        async with reading(service) as reader:
            assert "content-type: text/event-stream" in reader.head
            assert "cache-control: no-store" in reader.head
            ids = await sent(service, *["order.created"] * 50)
            messages = await reader.messages(50)
            assert [each.id for each in messages] == ids
            event = (await service.call("GET", f"/api/events/{ids[7]}")).json
            told = messages[7].json
            assert {name: event[name] for name in told if name != "status"} == {
                name: told[name] for name in told if name != "status"
            }

    run(follow())


def test_payloads_come_byte_for_byte_whatever_their_line_ends(service: Service, run: Run) -> None:
    async def follow() -> None:
        async with reading(service) as reader:
            body = b'{"type":"t","payload":%b}' % ODD
            head = ("Content-Type: application/json",)
            assert (
                await once(service, written("POST", "/api/events", *head, body=body))
            ).status == 202
            assert b'"payload":' + ODD in (await reader.message()).data

    run(follow())


def test_whoever_comes_back_goes_on_behind_the_last_event_it_saw(
    service: Service, run: Run
) -> None:
    async def follow() -> None:
        async with reading(service) as reader:
            ids = await sent(service, "a", "b", "c")
            assert (await reader.message()).id == ids[0]
        ids += await sent(service, "d")
        async with reading(service, f"Last-Event-ID: {ids[0]}") as reader:
            assert [each.id for each in await reader.messages(3)] == ids[1:]
            ids += await sent(service, "e")
            assert (await reader.message()).id == ids[-1]

    run(follow())


def test_a_pattern_chooses_types(service: Service, run: Run) -> None:
    async def follow() -> None:
        async with reading(service, query="?type=order.*") as reader:
            ids = await sent(service, "user.created", "order.created", "orders", "order.paid")
            assert [each.id for each in await reader.messages(2)] == [ids[1], ids[3]]

    run(follow())


def test_nobody_is_told_of_another_organizations_events(service: Service, run: Run) -> None:
    async def follow() -> None:
        _, key = await new_organization(service)
        async with reading(service) as ours, reading(service, key=key) as theirs:
            await sent(service, "ours")
            answer = await service.call(
                "POST", "/api/events", {"type": "theirs", "payload": 1}, key=key
            )
            assert (await ours.message()).json["type"] == "ours"
            assert (await theirs.message()).id == answer.json["id"]
        ours_last = (await sent(service, "ours"))[0]
        request = written("GET", "/api/events/stream", f"Last-Event-ID: {ours_last}", key=key)
        assert_problem(await once(service, request), 422, "validation-failed")

    run(follow())


@pytest.mark.parametrize("last", ["evt_0", "x", "1"])
def test_a_place_that_does_not_exist_is_refused(service: Service, run: Run, last: str) -> None:
    request = written("GET", "/api/events/stream", f"Last-Event-ID: {last}")
    assert_problem(run(once(service, request)), 422, "validation-failed")


def test_a_stream_on_which_nothing_happens_says_so(
    service: Service, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "COMMENT_EVERY_S", 0.1)

    async def follow() -> None:
        async with reading(service) as reader:
            await reader.comment()
            await reader.comment()

    run(follow())


def test_a_reader_that_takes_nothing_is_let_go_and_nobody_else_waits(
    run: Run, enter: Enter, make_service: MakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Longer than a machine stands still: who takes everything is not let go for that.
    monkeypatch.setattr(stream, "SEND_WITHIN_S", 3.0)
    service = enter(make_service())

    async def follow() -> None:
        async with reading(service) as idle, reading(service) as busy:
            async with asyncio.timeout(PATIENCE_S):
                while await streams(service) > 1:
                    await service.send("large", "x" * 500_000)
                    await busy.message()
            left = await idle.end()
            assert not left.endswith(b"0\r\n\r\n"), "a stream that was cut must not look complete"

    run(follow())


def test_streams_end_when_the_service_does(
    run: Run, enter: Enter, make_service: MakeService
) -> None:
    service = enter(make_service())

    async def follow() -> None:
        async with reading(service) as reader:
            service.app.ingest.draining = True
            await reader.complete()

    run(follow())


@pytest.mark.parametrize("how", ["revoked", "expired", "deleted with its organization"])
def test_a_stream_ends_with_the_key_that_opened_it(
    service: Service, run: Run, module_clock: FrozenClock, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(stream, "_LOOK_EVERY_S", 0.05)

    async def follow() -> None:
        organization_id, all_key = await new_organization(service)
        expires_at = str(module_clock().after(seconds=60)) if how == "expired" else None
        key = await new_key(service, organization_id, scopes=["read"], expires_at=expires_at)
        async with reading(service, key=key["key"]) as reader:
            event = {"type": "t", "payload": 1}
            first = await service.call("POST", "/api/events", event, key=all_key)
            assert (await reader.message()).id == first.json["id"]
            if how == "expired":
                module_clock.advance(seconds=61)
            else:
                path = f"/api/admin/organizations/{organization_id}"
                suffix = f"/keys/{key['id']}" if how == "revoked" else ""
                gone = await service.call("DELETE", path + suffix, key=ADMIN_KEY)
                assert gone.status == 204
            if how != "deleted with its organization":
                await service.call("POST", "/api/events", event, key=all_key)
            assert b"data:" not in await reader.end_in_order()

    run(follow())


def test_a_hundred_readers_each_hear_everything_once(service: Service, run: Run) -> None:
    async def follow() -> None:
        async def one(ready: Callable[[], None]) -> list[str]:
            async with reading(service) as reader:
                ready()
                return [each.id for each in await reader.messages(10)]

        begun = 0
        all_there = asyncio.Event()

        def ready() -> None:
            nonlocal begun
            begun += 1
            if begun == 100:
                all_there.set()

        await left(service, 0)  # those of other tests have had their places
        readers = [asyncio.create_task(one(ready)) for _ in range(100)]
        await all_there.wait()
        ids = await sent(service, *["order.created"] * 10)
        assert await asyncio.gather(*readers) == [ids] * 100

    run(follow())


def test_of_large_events_few_are_held_for_a_reader_who_may_be_slow(
    service: Service, run: Run
) -> None:
    """However small those before were."""
    sizes: list[int] = []
    told: list[str] = []
    gone = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        part = message.get("body", b"")
        sizes.append(len(part))
        told.extend(re.findall(r"^id: (.*)$", part.decode(), re.MULTILINE))
        if len(told) >= 60:
            gone.set()

    async def follow() -> None:
        organization, key = await new_organization(service)
        ids = []
        for payload in [1] * 40 + ["x" * 200_000] * 20:
            body = {"type": "order.created", "payload": payload}
            answer = await service.call("POST", "/api/events", body, key=key)
            ids.append(answer.json["id"])
        app = stream.EventStream(
            service.app.store,
            organization,
            after=None,
            pattern=None,
            may_read=lambda: True,
            ending=gone.is_set,
            readers=service.app.context.readers,
        )
        async with asyncio.timeout(PATIENCE_S):
            await app({}, receive, send)
        assert told == ids
        assert max(sizes) < 300_000

    run(follow())
