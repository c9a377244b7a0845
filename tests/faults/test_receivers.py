"""Receivers that do everything wrong: their outcome is on file, and nobody else notices."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import trustme
from tests.faults.rig import Rig
from tests.faults.scenarios import redirect

from triggers_api.deliver.connection import BODY_LIMIT
from triggers_api.model.pace import FIRST_WINDOW
from triggers_api.testing import Receiver, Service

TIMEOUT_S: Final = 0.5
"""The deadline of receivers that are to exceed it."""
AMPLE_S: Final = 20.0
"""That of those which do something else, on a busy machine, too."""
SLACK_S: Final = 2.0
"""For a busy machine; the deadline of a drip that never ends would be exceeded without bound."""

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

OK_HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"


class Raw:
    """A server that talks in bytes."""

    def __init__(self) -> None:
        self.connections = 0
        self.came = asyncio.Event()
        self.released = asyncio.Event()
        """Set at the end: what hangs, ends."""
        self.url = ""

    async def wait_for(self, connections: int) -> None:
        """Until so many have connected."""
        while self.connections < connections:
            self.came.clear()
            await self.came.wait()


@asynccontextmanager
async def raw(
    talk: Callable[[Raw], Talk], context: ssl.SSLContext | None = None, *, reads: bool = True
) -> AsyncIterator[Raw]:
    """A server that does what it wants, by default after reading a request's head."""
    server = Raw()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        server.came.set()
        try:
            if reads:
                await reader.readuntil(b"\r\n\r\n")
            await talk(server)(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    port = listening.sockets[0].getsockname()[1]
    server.url = f"http{'s' if context else ''}://127.0.0.1:{port}/hook"
    try:
        yield server
    finally:
        server.released.set()
        listening.close()


def hangs(server: Raw) -> Talk:
    async def talk(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await server.released.wait()

    return talk


def says(
    *pieces: bytes, every_s: float = 0.0, for_ever: bool = False, abort: bool = False
) -> Callable[[Raw], Talk]:
    def made(server: Raw) -> Talk:
        async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            repeated = pieces
            while True:
                for piece in repeated:
                    writer.write(piece)
                    await writer.drain()
                    if every_s:
                        await asyncio.sleep(every_s)
                if not for_ever or server.released.is_set():
                    break
                repeated = pieces[1:] or pieces
            if abort:
                writer.transport.abort()

        return talk

    return made


# What it does; status on file, error on file, and whether the delivery succeeds.
MISBEHAVIOURS: Final[dict[str, tuple[Callable[[Raw], Talk], int | None, str | None]]] = {
    "never answers": (hangs, None, "timeout"),
    "drips its head": (says(*(bytes([c]) for c in OK_HEAD * 50), every_s=0.05), None, "timeout"),
    "drips its body": (
        says(OK_HEAD + b"content-length: 1000\r\n\r\n", b"x", every_s=0.05, for_ever=True),
        None,
        "timeout",
    ),
    "answers without end": (says(OK_HEAD + b"\r\n", b"x" * 65536, for_ever=True), 200, None),
    "answers without end in chunks": (
        says(OK_HEAD + b"transfer-encoding: chunked\r\n\r\n", b"400\r\n" + b"x" * 1024 + b"\r\n",
             for_ever=True),
        200,
        None,
    ),
    "speaks no HTTP": (says(b"220 mail.example.com ESMTP\r\n"), None, "bad-response"),
    "has a head without end": (
        says(b"HTTP/1.1 200 OK\r\n", b"x-filler: " + b"x" * 1000 + b"\r\n", for_ever=True),
        None,
        "bad-response",
    ),
    "hangs up": (says(), None, "connection-lost"),
    "hangs up in the head": (says(b"HTTP/1.1 200 OK\r\ncontent-"), None, "connection-lost"),
    "hangs up in the body": (
        says(OK_HEAD + b"content-length: 1000\r\n\r\nhalf"),
        None,
        "connection-lost",
    ),
    "resets the connection": (says(abort=True), None, "connection-lost"),
    "breaks its chunks": (
        says(OK_HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\nxx\r\n"),
        None,
        "bad-response",
    ),
}  # fmt: skip


def settings(**more: Any) -> dict[str, Any]:  # noqa: ANN401 - the settings' own types
    """One attempt, no pauses."""
    return {"retry_schedule": (), "delivery_timeout_s": AMPLE_S, "max_poll_ms": 100} | more


async def finished(
    service: Service, subscription_id: str, *, count: int = 1
) -> list[dict[str, Any]]:
    """A subscription's deliveries with their attempts, once so many are finished."""
    async with asyncio.timeout(40):
        while True:
            answer = await service.call(
                "GET", f"/api/deliveries?limit=1000&subscription_id={subscription_id}"
            )
            found = [d for d in answer.json["data"] if d["finished_at"] is not None]
            if len(found) >= count:
                break
            await asyncio.sleep(0.02)
    return [
        (await service.call("GET", f"/api/deliveries/{delivery['id']}")).json
        for delivery in found[:5]
    ]


FAST: Final = {
    "never answers",
    "answers without end",
    "speaks no HTTP",
    "resets the connection",
    "unknown authority",
}


def kinds(of: Iterable[str]) -> list[object]:
    """Parameters; those that are not among the fast ones are marked."""
    return [pytest.param(kind, marks=() if kind in FAST else pytest.mark.faults) for kind in of]


@pytest.mark.parametrize("kind", kinds(MISBEHAVIOURS))
def test_what_a_receiver_does_is_on_file_and_the_others_do_not_notice(
    kind: str, tmp_path: Path
) -> None:
    talk, status_code, error = MISBEHAVIOURS[kind]
    deadline_s = TIMEOUT_S if error == "timeout" else AMPLE_S

    async def run() -> None:
        async with (
            raw(talk) as bad,
            Receiver() as good,
            Service(
                tmp_path, background=True, **settings(delivery_timeout_s=deadline_s)
            ) as service,
        ):
            to_bad = await service.subscribe(bad.url, ["*"])
            await service.subscribe(good.url, ["*"])
            sent = [await service.send("order.created", {"n": n}) for n in range(5)]
            assert {answer.status for answer in sent} == {202}
            await good.wait_for(5)
            for delivery in await finished(service, to_bad["id"], count=5):
                assert delivery["status"] == ("succeeded" if status_code else "dead")
                (attempt,) = delivery["attempts"]
                assert (attempt["status_code"], attempt["error"]) == (status_code, error)
                assert attempt["duration_ms"] <= (deadline_s + SLACK_S) * 1000
                assert len(attempt["response_body"] or "") <= BODY_LIMIT
            assert bad.connections == 5

    asyncio.run(run())


def test_a_redirect_is_a_failure_and_is_not_followed(rig: Rig) -> None:
    asyncio.run(redirect(rig))


def certificate(kind: str) -> ssl.SSLContext:
    """A server's side of TLS that no sender should trust."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    name = "elsewhere.example" if kind == "wrong host" else "127.0.0.1"
    authority.issue_cert(name).configure_cert(context)
    if kind == "old protocol":
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
    return context


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1 is deprecated:DeprecationWarning")
@pytest.mark.parametrize(
    "kind", kinds(["unknown authority", "wrong host", "old protocol", "no TLS"])
)
def test_a_receiver_without_valid_tls_gets_nothing(kind: str, tmp_path: Path) -> None:
    talked = False

    def listens(_: Raw) -> Talk:
        async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal talked
            talked = kind != "no TLS"
            writer.write(OK_HEAD + b"content-length: 0\r\n\r\n")

        return talk

    async def run() -> None:
        context = None if kind == "no TLS" else certificate(kind)
        async with (
            raw(listens, context, reads=kind != "no TLS") as bad,
            Service(tmp_path, background=True, **settings()) as service,
        ):
            url = bad.url.replace("http:", "https:")
            to_bad = await service.subscribe(url, ["*"])
            await service.send("order.created")
            (delivery,) = await finished(service, to_bad["id"])
            (attempt,) = delivery["attempts"]
            assert (delivery["status"], attempt["error"]) == ("dead", "tls")

    asyncio.run(run())
    assert not talked


def test_nobody_listens(tmp_path: Path) -> None:
    async def run() -> None:
        with socket.socket() as unheard:
            # Nobody else listens there either as long as it is ours.
            unheard.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{unheard.getsockname()[1]}/hook"
            await attempted(url)

    async def attempted(url: str) -> None:
        async with Service(tmp_path, background=True, **settings()) as service:
            to_bad = await service.subscribe(url, ["*"])
            await service.send("order.created")
            (delivery,) = await finished(service, to_bad["id"])
            assert delivery["attempts"][0]["error"] == "connection-refused"

    asyncio.run(run())


@pytest.mark.timeout(180)
def test_a_hanging_endpoint_with_a_backlog_leaves_slots_for_all_others(tmp_path: Path) -> None:
    """By count: while not one of its requests has been answered, everybody else has everything."""
    backlog, others, events = 300, 5, 100

    async def run() -> None:
        # Nothing that hangs is given up before the test is.
        limits = settings(delivery_timeout_s=200.0, lease_s=300.0, shutdown_grace_s=0.1)
        async with raw(hangs) as bad, Service(tmp_path, background=True, **limits) as service:
            to_bad = await service.subscribe(bad.url, ["*"])
            for _ in range(backlog):
                assert (await service.send("slow.thing")).status == 202
            await bad.wait_for(FIRST_WINDOW)
            receivers = [Receiver() for _ in range(others)]
            for receiver in receivers:
                await receiver.__aenter__()
                await service.subscribe(receiver.url, ["order.*"])
            for n in range(events):
                assert (await service.send("order.created", {"n": n})).status == 202
            for receiver in receivers:
                await receiver.wait_for(events, timeout_s=30)
                assert len(set(receiver.ids)) == len(receiver.ids) == events
                await receiver.__aexit__()
            assert bad.connections == FIRST_WINDOW, (
                "nothing has shown that it can take more at once"
            )
            listed = await service.call(
                "GET", f"/api/deliveries?subscription_id={to_bad['id']}&status=succeeded"
            )
            assert listed.json["data"] == []

    asyncio.run(run())
