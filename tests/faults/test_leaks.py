"""Ten thousand deliveries that fail in every way leave nothing behind in the process that made them."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from triggers_api.testing import Service

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

DELIVERIES: Final = 10_000
ROUNDS: Final = 8
"""One fewer failure in a row than opens a breaker, with the round before: nothing waits for a probe."""
SUBSCRIPTIONS: Final = DELIVERIES // ROUNDS
TIMEOUT_S: Final = 0.2

HEAD: Final = b"HTTP/1.1 200 OK\r\n"


def says(*pieces: bytes, for_ever: bool = False) -> Talk:
    """Say something after the request, and hang up."""

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.writelines(pieces)
        await writer.drain()
        while for_ever:
            writer.write(pieces[-1])
            await writer.drain()
            await asyncio.sleep(TIMEOUT_S / 4)

    return talk


async def resets(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def hangs(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    while await reader.read(65_536):
        pass


async def half_closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD)
    writer.write_eof()
    await hangs(reader, writer)


KINDS: Final[dict[str, Talk | None]] = {
    "connection-refused": None,
    "connection-lost: reset": resets,
    "connection-lost: half-closed": half_closes,
    "connection-lost: in the body": says(HEAD, b"content-length: 10\r\n\r\nab"),
    "timeout: silence": hangs,
    "timeout: drip": says(HEAD, b"x-more: y\r\n", for_ever=True),
    "bad-response: garbage": says(b"220 mail.example.com ESMTP\r\n"),
    "None: 500": says(b"HTTP/1.1 500 Broken\r\ncontent-length: 3\r\n\r\nno!"),
    "None: 500 without end": says(b"HTTP/1.1 500 Broken\r\n\r\n", b"x" * 65_536, for_ever=True),
    "None: 500 and stays": says(b"HTTP/1.1 500 Broken\r\ncontent-length: 0\r\n\r\n"),
}
"""What each kind of receiver does, by the error on file that comes of it."""


class Receivers:
    """One of each kind."""

    def __init__(self) -> None:
        self.urls: list[str] = []
        self.talking: set[asyncio.Task[None]] = set()

    async def _begin(self, stack: AsyncExitStack, talk: Talk | None, *, stays: bool) -> None:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self.talking.add(task)
            task.add_done_callback(self.talking.discard)
            try:
                while await _request(reader) and talk is not None:
                    await talk(reader, writer)
                    if not stays:
                        break
            except (ConnectionError, asyncio.IncompleteReadError):
                pass
            finally:
                writer.close()

        listening = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=1000)
        port = listening.sockets[0].getsockname()[1]
        self.urls.append(f"http://127.0.0.1:{port}/hook")
        if talk is None:
            listening.close()
        else:
            stack.callback(listening.close)


@asynccontextmanager
async def receivers() -> AsyncIterator[Receivers]:
    async with AsyncExitStack() as stack:
        made = Receivers()
        for kind, talk in KINDS.items():
            await made._begin(stack, talk, stays=kind.endswith("stays"))
        yield made


async def _request(reader: asyncio.StreamReader) -> bool:
    """Read one; ``False`` when there is none any more."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return False
    length = next(
        line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
    )
    await reader.readexactly(int(length.partition(b":")[2]))
    return True


def descriptors() -> Counter[str]:
    """What is open, by kind; files by name."""
    found: Counter[str] = Counter()
    for each in Path("/proc/self/fd").iterdir():
        try:
            target = str(each.readlink())
        except FileNotFoundError:
            continue  # the one that lists them
        found[target.partition(":[")[0]] += 1
    return found


def objects() -> Counter[str]:
    """How many of each type of ours and of asyncio's there are."""
    gc.collect()
    return Counter(
        f"{kind.__module__}.{kind.__qualname__}"
        for kind in map(type, gc.get_objects())
        if str(kind.__module__).startswith(("triggers_api", "asyncio", "_asyncio", "uvloop"))
        or kind is socket.socket
    )


async def finished(service: Service, count: int) -> None:
    """Until so many deliveries are dead."""
    async with asyncio.timeout(240):
        while True:
            (books,) = await service.app.store.accounts()
            if books.deliveries["dead"] >= count:
                assert books.deliveries["total"] == count
                return
            await asyncio.sleep(0.05)


async def settled(service: Service, made: Receivers) -> None:
    """Until nothing is under way any more, on either side."""
    dispatcher: Any = service.app.dispatcher
    client = dispatcher._sender._client
    async with asyncio.timeout(30):
        while True:
            # What both still have are connections that wait for another request.
            if not dispatcher._running and len(made.talking) == len(client._open):
                return
            await asyncio.sleep(0.05)


async def written_down(service: Service) -> None:
    """Statistics are on file, and forgotten where their half hour is over: the next look does that."""
    for _ in range(2):
        await service.app.rollups.run_once()


async def left_since(before: Counter[str], service: Service) -> dict[str, int]:
    """Of which types there are many more. What is under way at one moment is gone at another."""
    for _ in range(20):
        await written_down(service)
        grown = {name: count for name, count in (objects() - before).items() if count > 50}
        if not grown:
            break
        await asyncio.sleep(0.1)
    return grown


@pytest.mark.faults
@pytest.mark.timeout(400)
def test_ten_thousand_failing_deliveries_leave_nothing_behind(tmp_path: Path) -> None:
    async def round_of(service: Service, made: Receivers, total: int) -> None:
        assert (await service.send("order.created", {"n": total})).status == 202
        await finished(service, total)
        await settled(service, made)

    async def run() -> None:
        async with (
            receivers() as made,
            Service(
                tmp_path,
                background=True,
                retry_schedule=(),
                delivery_timeout_s=TIMEOUT_S,
                rate_limit=0,
                log_level="error",
            ) as service,
        ):
            for n in range(SUBSCRIPTIONS):
                await service.subscribe(made.urls[n % len(made.urls)], ["*"])
            # Once around, so that what is made once and kept has been made.
            await round_of(service, made, SUBSCRIPTIONS)
            await written_down(service)
            before = descriptors(), objects(), len(asyncio.all_tasks())
            for n in range(ROUNDS):
                await round_of(service, made, SUBSCRIPTIONS * (n + 2))
            grown = await left_since(before[1], service)
            after = descriptors(), len(asyncio.all_tasks())
            page = await service.call("GET", "/api/deliveries?limit=1000")
            errors: Counter[str] = Counter()
            for each in page.json["data"][: 10 * len(KINDS)]:
                shown = await service.call("GET", f"/api/deliveries/{each['id']}")
                errors[str(shown.json["attempts"][0]["error"])] += 1
            assert set(errors) == {kind.partition(":")[0] for kind in KINDS}, errors
        assert after[0] - before[0] <= Counter({"socket": 20}), (before[0], after[0])
        assert not grown
        assert after[1] <= before[2] + 2

    asyncio.run(run())
