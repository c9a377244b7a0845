"""The sender against receivers that follow a script, over real sockets, on both event loops."""

import asyncio
import contextlib
import gzip
import re
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.client import HTTPMessage, parse_headers
from io import BytesIO
from ipaddress import ip_network
from pathlib import Path
from time import perf_counter
from typing import Any, Final, Self

import msgspec
import pytest
import trustme
import uvloop
from aiohappyeyeballs import AddrInfoType
from standardwebhooks.webhooks import Webhook

from triggers_api import __version__
from triggers_api.client import verify
from triggers_api.deliver.client import Client
from triggers_api.deliver.connection import BODY_LIMIT, Connection
from triggers_api.deliver.egress import Egress
from triggers_api.deliver.signature import new_secret
from triggers_api.deliver.webhook import (
    Sender,
    Sent,
    compose,
    encode,
    encode_usual,
    is_usual,
    new_traceparent,
)
from triggers_api.errors import MalformedValue
from triggers_api.model.auth import BasicAuth, BearerAuth
from triggers_api.model.outcome import Answered, NoAnswer
from triggers_api.model.subscription import (
    PayloadFormat,
    RetiredSecret,
    SignatureScheme,
    Subscription,
    SubscriptionRecord,
    SubscriptionStatus,
)
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import ClaimedDelivery

LOOPBACK: Final = (ip_network("127.0.0.0/8"),)
OLD, NEW = "whsec_" + "b2xk" * 8, "whsec_" + "bmV3" * 8
PAYLOAD = b'{"n": 123456789012345678901234567890, "n": "\\u0000",\n "x":"\xc3\xbc"}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
NOW: Final = Timestamp.parse("2026-11-22T20:24:41.987Z")
SENT_AT: Final = Timestamp.parse("2026-11-22T20:00:00.5Z")
SHORT_S: Final = 0.2
LONG_S: Final = 30.0
IN_TIME_MS: Final = 30_000
"""Far more than the short deadline on a busy machine, and far less than the scripts go on."""


def delivery(
    url: str = "https://example.com/hook",
    *,
    payload: bytes = PAYLOAD,
    payload_format: PayloadFormat = PayloadFormat.STANDARD,
    headers: dict[str, str] | None = None,
    secrets: tuple[str, ...] = (NEW,),
) -> ClaimedDelivery:
    subscription = Subscription(
        id="sub_1",
        url=url,
        event_types=("*",),
        headers=headers,
        payload_format=payload_format,
        status=SubscriptionStatus.ACTIVE,
        created_at=SENT_AT,
        updated_at=SENT_AT,
    )
    return ClaimedDelivery(
        id="dlv_1",
        token=1,
        event_id="evt_1",
        event_type="order.created",
        sent_at=SENT_AT,
        payload=payload,
        attempt_count=0,
        failures=0,
        target=SubscriptionRecord(
            organization_id="org_1", subscription=subscription, secrets=secrets
        ),
    )


# ── what is sent ──────────────────────────────────────────────────────────────────────────────────


def composed(
    of: ClaimedDelivery, *, attempt_number: int = 1, now: Timestamp = NOW
) -> tuple[bytes, dict[str, str]]:
    return compose(of, attempt_number=attempt_number, now=now, at=now, traceparent="00-1-2-01")


def test_the_envelope_holds_the_payload_byte_for_byte() -> None:
    body, _ = composed(delivery())
    assert body == (
        b'{"type":"order.created","timestamp":"2026-11-22T20:00:00.500Z","data":' + PAYLOAD + b"}"
    )


def test_the_raw_format_is_the_payload_and_nothing_else() -> None:
    body, _ = composed(delivery(payload_format=PayloadFormat.RAW))
    assert body == PAYLOAD


def test_every_header_is_there() -> None:
    body, headers = composed(delivery(), attempt_number=3)
    signature = headers.pop("webhook-signature")
    assert headers == {
        "content-type": "application/json",
        "webhook-id": "evt_1",
        "webhook-timestamp": "1795379081",
        "user-agent": f"triggers-api/{__version__}",
        "accept": "*/*",
        "accept-encoding": "identity",
        "traceparent": "00-1-2-01",
        "x-triggers-event-type": "order.created",
        "x-triggers-delivery-id": "dlv_1",
        "x-triggers-attempt": "3",
    }
    signed = headers | {"webhook-signature": signature}
    verify(signed, body, NEW, now=NOW / 1000)


def test_a_delivery_in_a_line_says_its_place() -> None:
    _, headers = composed(msgspec.structs.replace(delivery(), sequence=7))
    assert headers["x-triggers-sequence"] == "7"


def test_a_later_attempt_has_the_same_body_and_id_and_its_own_time_and_signature() -> None:
    first_body, first = composed(delivery())
    body, second = composed(delivery(), attempt_number=2, now=NOW.after(seconds=600))
    assert body == first_body
    assert second["webhook-id"] == first["webhook-id"]
    assert int(second["webhook-timestamp"]) == int(first["webhook-timestamp"]) + 600
    assert second["webhook-signature"] != first["webhook-signature"]


def test_every_secret_of_the_subscription_signs() -> None:
    body, headers = composed(delivery(secrets=(NEW, OLD)))
    assert len(headers["webhook-signature"].split(" ")) == 2
    for secret in (NEW, OLD):
        verify(headers, body, secret, now=NOW / 1000)


def test_a_retired_secret_signs_after_the_present_one_until_its_time_by_the_stores_clock() -> None:
    claimed = delivery(secrets=(NEW,))
    until = SENT_AT.after(seconds=60)
    target = msgspec.structs.replace(claimed.target, retired=(RetiredSecret(OLD, until),))
    claimed = msgspec.structs.replace(claimed, target=target)

    def signatures(at: Timestamp) -> list[str]:
        _, headers = compose(claimed, attempt_number=1, now=NOW, at=at, traceparent="00-1-2-01")
        return headers["webhook-signature"].split(" ")

    _, alone = composed(delivery(secrets=(NEW,)))
    _, old = composed(delivery(secrets=(OLD,)))
    both = [alone["webhook-signature"], old["webhook-signature"]]
    assert signatures(SENT_AT) == both
    assert signatures(until.after(seconds=-0.001)) == both
    assert signatures(until) == both[:1]


def test_the_subscriptions_own_headers_come_along() -> None:
    _, headers = composed(delivery(headers={"Authorization": "Bearer t", "X-Mine": "1"}))
    assert headers["Authorization"] == "Bearer t"
    assert headers["X-Mine"] == "1"


@pytest.mark.parametrize(
    "name",
    [
        "webhook-id",
        "Webhook-Signature",
        "WEBHOOK-ANYTHING",
        "X-Triggers-Attempt",
        "x-triggers-anything",
        "User-Agent",
        "Traceparent",
        "Content-Type",
        "Content-Length",
        "Content-Encoding",
        "Transfer-Encoding",
        "Accept-Encoding",
        "Connection",
        "Expect",
        "Upgrade",
        "Host",
        "Proxy-Authorization",
        "Cookie",
        "Ce-Id",
    ],
)
def test_but_never_instead_of_or_beside_ours(name: str) -> None:
    assert composed(delivery(headers={name: "theirs"})) == composed(delivery())


@pytest.mark.parametrize(
    ("auth", "value"),
    [
        (BasicAuth("Aladdin", "open sesame"), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
        (BearerAuth("mF_9.B5f-4.1JqM"), "Bearer mF_9.B5f-4.1JqM"),
    ],
)
def test_auth_is_sent_as_in_the_examples_of_its_standards(
    auth: BasicAuth | BearerAuth, value: str
) -> None:
    # One that was saved when headers could still hold it gives way.
    claimed = delivery(headers={"AUTHORIZATION": "old", "X-Mine": "1"})
    target = msgspec.structs.replace(claimed.target, auth=auth)
    _, headers = composed(msgspec.structs.replace(claimed, target=target))
    named = {name: each for name, each in headers.items() if name.lower() == "authorization"}
    assert named == {"authorization": value}
    assert headers["X-Mine"] == "1"


def test_a_trace_parent_has_the_form_of_the_standard_and_is_fresh() -> None:
    made = {new_traceparent() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", each) for each in made)


# ── what comes back ───────────────────────────────────────────────────────────────────────────────

Run = Callable[[Coroutine[Any, Any, object]], None]
Script = Callable[["Receiver", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    def run(main: Coroutine[Any, Any, object]) -> None:
        factory = uvloop.new_event_loop if request.param == "uvloop" else None
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main)

    return run


class Request(msgspec.Struct):
    line: str
    headers: HTTPMessage
    body: bytes


class Receiver:
    """A TCP server that treats each connection by a script, and writes down what came."""

    def __init__(
        self,
        script: Script,
        *,
        tls: ssl.SSLContext | None = None,
        receive_buffer: int | None = None,
    ) -> None:
        self._script = script
        self._tls = tls
        self._receive_buffer = receive_buffer
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = 0
        self.requests: list[Request] = []
        self.sent = 0
        self.came = asyncio.Event()
        self.ended = asyncio.Event()

    async def __aenter__(self) -> Self:
        listening = socket.create_server(("127.0.0.1", 0), backlog=200)
        if self._receive_buffer is not None:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        self._server = await asyncio.start_server(
            self._connected, sock=listening, ssl=self._tls, limit=2048
        )
        self.port = listening.getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self.port}/hook"

    async def request(self, reader: asyncio.StreamReader) -> Request:
        head = await reader.readuntil(b"\r\n\r\n")
        line, _, rest = head.partition(b"\r\n")
        headers = parse_headers(BytesIO(rest))
        body = await reader.readexactly(int(headers["Content-Length"]))
        request = Request(line.decode(), headers, body)
        self.requests.append(request)
        self.came.set()
        return request

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._script(self, reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            self.ended.set()
        finally:
            writer.close()


def answering(*answers: bytes) -> Script:
    """Answers each request of a connection with the next of these, then closes it."""

    async def script(
        receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        for answer in answers:
            await receiver.request(reader)
            writer.write(answer)
            await writer.drain()

    return script


def serving(answer: bytes = OK) -> Script:
    """Answers every request of a connection."""

    async def script(
        receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            await receiver.request(reader)
            writer.write(answer)
            await writer.drain()

    return script


def dripping(start: bytes, drop: bytes) -> Script:
    """Begins an answer, then goes on in small pieces for ever."""

    async def script(
        receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await receiver.request(reader)
        writer.write(start)
        while True:
            writer.write(drop)
            await writer.drain()
            await asyncio.sleep(0.02)

    return script


async def silence(
    receiver: Receiver, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter
) -> None:
    await receiver.request(reader)
    await reader.read()
    receiver.ended.set()


async def deafness(
    _receiver: Receiver, _reader: asyncio.StreamReader, _writer: asyncio.StreamWriter
) -> None:
    await asyncio.Event().wait()


async def reset(
    receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await receiver.request(reader)
    peer = writer.get_extra_info("socket")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def send(
    sender: Sender,
    to: Receiver | str,
    *,
    timeout_s: float = LONG_S,
    **of: Any,  # noqa: ANN401 - see delivery
) -> Sent:
    url = to if isinstance(to, str) else to.url
    return await sender.send(
        delivery(url, **of), attempt_number=1, timeout_s=timeout_s, now=NOW, at=NOW
    )


async def sent_to(script: Script, *, timeout_s: float = LONG_S) -> Sent:
    async with Receiver(script) as receiver, Sender(Egress(LOOPBACK)) as sender:
        return await send(sender, receiver, timeout_s=timeout_s)


def answer(status: str, *headers: str, body: bytes = b"") -> bytes:
    lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", "")
    return "\r\n".join(lines).encode() + body


def test_a_delivery_arrives_as_composed_and_verifies_with_the_library(run: Run) -> None:
    async def scenario() -> None:
        async with Receiver(serving()) as receiver, Sender(Egress(LOOPBACK)) as sender:
            now = Timestamp(datetime.now(UTC).timestamp() * 1000)
            sent = await sender.send(
                delivery(receiver.url, headers={"X-Mine": "1"}, secrets=(OLD, NEW)),
                attempt_number=7,
                timeout_s=LONG_S,
                now=now,
                at=now,
            )
            (request,) = receiver.requests
        assert sent.outcome == Answered(200)
        assert sent.response_body == "ok"
        assert 0 <= sent.duration_ms < LONG_S * 1000
        headers = dict(request.headers.items())
        for secret in (OLD, NEW):
            Webhook(secret).verify(request.body, headers)
        body, expected = compose(
            delivery(headers={"X-Mine": "1"}, secrets=(OLD, NEW)),
            attempt_number=7,
            now=now,
            at=now,
            traceparent=headers["traceparent"],
        )
        assert request.line == "POST /hook HTTP/1.1"
        assert request.body == body
        assert headers == expected | {
            "host": f"127.0.0.1:{receiver.port}",
            "content-length": str(len(body)),
        }

    run(scenario())


@pytest.mark.parametrize("payload_format", [*PayloadFormat])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sequence": 4},
        {"headers": {"X-Mine": "1"}},
        {"secrets": (OLD, NEW)},
        {"secrets": (new_secret(SignatureScheme.V1A),)},
        {"auth": BasicAuth(username="me", password="secret")},
    ],
)
def test_the_usual_request_is_written_at_once_and_is_the_same(
    payload_format: PayloadFormat, changes: dict[str, Any]
) -> None:
    made = delivery(
        payload_format=payload_format,
        headers=changes.get("headers"),
        secrets=changes.get("secrets", (NEW,)),
    )
    target = msgspec.structs.replace(made.target, auth=changes.get("auth"))
    made = msgspec.structs.replace(made, sequence=changes.get("sequence"), target=target)
    signing = made.target.signing(NOW)
    plain = {PayloadFormat.STANDARD, PayloadFormat.RAW, PayloadFormat.FLAT}
    assert is_usual(made, signing) == (not changes and payload_format in plain)
    if not is_usual(made, signing):
        return
    body, headers = composed(made, attempt_number=3)
    endpoint = Client(Egress(LOOPBACK)).endpoint(made.target.subscription.url)
    assert encode(endpoint, headers, body) == encode_usual(
        endpoint,
        made,
        body,
        attempt_number=3,
        timestamp=NOW // 1000,
        signature=headers["webhook-signature"],
        traceparent=headers["traceparent"],
    )


def test_no_line_break_gets_into_the_usual_request() -> None:
    made = msgspec.structs.replace(delivery(), event_type="a\r\nx-mine: 1")
    endpoint = Client(Egress(LOOPBACK)).endpoint(made.target.subscription.url)
    with pytest.raises(ValueError, match="line break"):
        encode_usual(
            endpoint, made, b"", attempt_number=1, timestamp=1, signature="v1,x", traceparent="y"
        )


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299, 400, 401, 404, 410, 500, 599, 999])
def test_every_status_is_an_answer(run: Run, status: int) -> None:
    async def scenario() -> None:
        sent = await sent_to(
            answering(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode())
        )
        assert sent.outcome == Answered(status)
        assert sent.response_body is None

    run(scenario())


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_a_redirect_is_an_answer_and_is_never_followed(run: Run, status: int) -> None:
    async def scenario() -> None:
        async with Receiver(serving()) as canary:
            headers = (f"Location: {canary.url}", f"URI: {canary.url}", f"Refresh: 0; {canary.url}")
            sent = await sent_to(answering(answer(f"{status} Elsewhere", *headers)))
            assert sent.outcome == Answered(status)
            assert canary.connections == 0

    run(scenario())


@pytest.mark.parametrize("status", ["429 Slow down", "503 Busy", "500 Broken"])
@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        (" 5 ", 5.0),
        ("315360000", 315360000.0),
        ("9" * 30, 86400.0),
        ("Sun, 22 Nov 2020 20:24:41 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("", None),
    ],
)
def test_what_retry_after_asks_for_comes_along(
    run: Run, status: str, retry_after: str, seconds: float | None
) -> None:
    async def scenario() -> None:
        sent = await sent_to(answering(answer(status, f"Retry-After: {retry_after}")))
        assert sent.outcome == Answered(int(status[:3]), seconds)

    run(scenario())


def test_a_date_in_retry_after_counts_from_the_moment_of_the_answer(run: Run) -> None:
    async def scenario() -> None:
        date = datetime.fromtimestamp(NOW // 1000 + 100, UTC)

        async def script(
            receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            await receiver.request(reader)
            await asyncio.sleep(0.2)
            header = f"Retry-After: {format_datetime(date, usegmt=True)}"
            writer.write(answer("503 Busy", header))

        began = perf_counter()
        sent = await sent_to(script)
        took_s = perf_counter() - began
        assert isinstance(sent.outcome, Answered)
        assert sent.outcome.retry_after_s is not None
        assert 99 - took_s < sent.outcome.retry_after_s <= 100 - 0.987 - 0.19

    run(scenario())


@pytest.mark.parametrize(
    ("body", "seen"),
    [
        (b"", None),
        (b"ok", "ok"),
        ("grüße ☃".encode(), "grüße ☃"),
        (b"a\x00b", "a\ufffdb"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"a" * BODY_LIMIT, "a" * BODY_LIMIT),
        (b"a" * (BODY_LIMIT + 1), "a" * BODY_LIMIT),
        (b"a" * (BODY_LIMIT - 1) + "ü".encode(), "a" * (BODY_LIMIT - 1) + "\ufffd"),
    ],
    ids=["empty", "short", "utf-8", "nul", "not utf-8", "limit", "over", "cut in a character"],
)
def test_the_beginning_of_the_body_is_kept_as_text(run: Run, body: bytes, seen: str | None) -> None:
    async def scenario() -> None:
        sent = await sent_to(answering(answer("200 OK", body=body)))
        assert sent.outcome == Answered(200)
        assert sent.response_body == seen

    run(scenario())


def test_a_body_in_chunks_or_up_to_the_end_of_the_connection_is_read_too(run: Run) -> None:
    async def scenario() -> None:
        chunks = (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n"
        )
        for whole in (chunks, b"HTTP/1.0 200 OK\r\n\r\nok", b"HTTP/1.1 200 OK\r\n\r\nok"):
            sent = await sent_to(answering(whole))
            assert (sent.outcome, sent.response_body) == (Answered(200), "ok")

    run(scenario())


def test_interim_answers_are_skipped_and_a_switch_of_protocols_is_an_answer(run: Run) -> None:
    async def scenario() -> None:
        early = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
        assert (await sent_to(answering(early * 3 + OK))).outcome == Answered(200)
        switch = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n?"
        assert (await sent_to(answering(switch))).outcome == Answered(101)

    run(scenario())


def test_an_endless_body_is_read_to_the_limit_and_the_connection_cut(run: Run) -> None:
    async def endless(
        receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await receiver.request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"a" * 65536)
            await writer.drain()
            receiver.sent += 65536

    async def scenario() -> None:
        async with Receiver(endless) as receiver, Sender(Egress(LOOPBACK)) as sender:
            sent = await send(sender, receiver)
            assert sent.outcome == Answered(200)
            assert sent.response_body == "a" * BODY_LIMIT
            async with asyncio.timeout(LONG_S):
                await receiver.ended.wait()
            # What was sent and not read fits into the buffers of two sockets.
            assert receiver.sent < 16 * 2**20

    run(scenario())


def test_a_compressed_body_is_not_decompressed(run: Run) -> None:
    async def scenario() -> None:
        bomb = gzip.compress(bytes(4 * 2**20))
        assert len(bomb) < BODY_LIMIT
        for encoding in ("gzip", "deflate", "br", "gzip, gzip"):
            sent = await sent_to(
                answering(answer("200 OK", f"Content-Encoding: {encoding}", body=bomb))
            )
            assert sent.outcome == Answered(200)
            assert sent.response_body == bomb.decode(errors="replace").replace("\x00", "\ufffd")

    run(scenario())


# ── the deadline ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "script",
    [
        silence,
        deafness,
        dripping(b"HTTP/1.1 200 O", b"K"),
        dripping(b"HTTP/1.1 200 OK\r\n", b"x-drip: 1\r\n"),
        dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"a"),
        dripping(b"HTTP/1.1 200 OK\r\n\r\n", b"a"),
        dripping(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
        dripping(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"a"),
    ],
    ids=[
        "silence",
        "deafness",
        "status line",
        "headers",
        "interim answers",
        "body",
        "body without length",
        "chunks",
        "chunk extension",
    ],
)
def test_the_deadline_is_for_everything_together(run: Run, script: Script) -> None:
    async def scenario() -> None:
        sent = await sent_to(script, timeout_s=SHORT_S)
        assert sent.outcome == NoAnswer("timeout")
        assert SHORT_S * 1000 <= sent.duration_ms < IN_TIME_MS
        assert sent.response_body is None

    run(scenario())


async def never(_host: str) -> Sequence[str]:
    await asyncio.Event().wait()
    raise AssertionError


def rest_never(loop: asyncio.AbstractEventLoop) -> None:
    """Have a loop turn all the time: it sees every millisecond begin."""
    loop.call_soon(rest_never, loop)


@pytest.mark.parametrize("phase", ["name", "answer"])
def test_a_deadline_never_comes_early(run: Run, phase: str) -> None:
    """Wherever in a millisecond it begins: uvloop counts whole ones."""

    async def scenario() -> None:
        async with (
            Receiver(silence) as receiver,
            Sender(Egress(LOOPBACK, lookup=never)) as sender,
        ):
            rest_never(asyncio.get_running_loop())
            url = "http://name.example/" if phase == "name" else receiver.url
            took = []
            for number in range(60):
                while not number / 60 <= perf_counter() * 1000 % 1 < number / 60 + 0.05:
                    pass
                sent = await send(sender, url, timeout_s=0.02)
                assert sent.outcome == NoAnswer("timeout")
                assert sent.details is not None
                took.append(sent.details.timings[-1])
        assert min(took) >= 20.0

    run(scenario())


def test_the_deadline_holds_where_nobody_accepts_the_connection(run: Run) -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=1) as listening:
            port = listening.getsockname()[1]
            async with Sender(Egress(LOOPBACK)) as sender:
                sent = await send(sender, f"http://127.0.0.1:{port}/", timeout_s=SHORT_S)
            assert sent.outcome == NoAnswer("timeout")
            assert sent.duration_ms < IN_TIME_MS

    run(scenario())


def test_the_deadline_holds_while_a_name_is_looked_up(run: Run) -> None:
    async def scenario() -> None:
        async with Sender(Egress(LOOPBACK, lookup=never)) as sender:
            sent = await send(sender, "http://name.example/", timeout_s=SHORT_S)
        assert sent.outcome == NoAnswer("timeout")
        assert sent.duration_ms < IN_TIME_MS

    run(scenario())


def test_the_deadline_holds_during_a_tls_handshake(run: Run) -> None:
    async def scenario() -> None:
        async with Receiver(deafness) as receiver, Sender(Egress(LOOPBACK)) as sender:
            sent = await send(sender, f"https://127.0.0.1:{receiver.port}/", timeout_s=SHORT_S)
        assert sent.outcome == NoAnswer("timeout")
        assert sent.duration_ms < IN_TIME_MS

    run(scenario())


def test_a_long_deadline_is_not_rounded_up(monkeypatch: pytest.MonkeyPatch) -> None:
    # The lease that protects an attempt may end right after it.
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        at: list[float] = []
        call_at = loop.call_at

        def noting(when: float, *rest: Any, **context: Any) -> asyncio.TimerHandle:  # noqa: ANN401
            at.append(when - loop.time())
            return call_at(when, *rest, **context)

        async with Receiver(serving()) as receiver, Sender(Egress(LOOPBACK)) as sender:
            monkeypatch.setattr(loop, "call_at", noting)
            await send(sender, receiver, timeout_s=600.25)
        # One while it connects, one while it waits for the answer. Each was set a little before it
        # is looked at here, and rounded up to a whole second it would be later.
        connecting, waiting = [delay for delay in at if delay > 60]
        assert 590 < connecting <= 600.25 + 0.001
        assert 590 < waiting <= 600.25

    asyncio.run(scenario())


# ── what goes wrong ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (answering(b""), "connection-lost"),
        (answering(b"HTTP/1.1 200 OK\r\nContent-"), "connection-lost"),
        (answering(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab"), "connection-lost"),
        (
            answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"),
            "connection-lost",
        ),
        (reset, "connection-lost"),
        (answering(b"\x00\xff garbage\r\n\r\n"), "bad-response"),
        (answering(b"SSH-2.0-OpenSSH_9.2\r\n"), "bad-response"),
        (answering(b"<html>HTTP/0.9</html>"), "bad-response"),
        (answering(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00"), "bad-response"),
        (answering(b"HTTP/1.1 99 X\r\n\r\n"), "bad-response"),
        (answering(b"HTTP/1.1 200 OK\r\nNo colon\r\n\r\n"), "bad-response"),
        (answering(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), "bad-response"),
        (
            answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
            "bad-response",
        ),
        (
            answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n"),
            "bad-response",
        ),
        (answering(b"HTTP/1.1 200 OK\r\nx: " + b"a" * 2**20 + b"\r\n\r\n"), "bad-response"),
        (answering(b"HTTP/1.1 200 OK\r\n" + b"x: 1\r\n" * 2000 + b"\r\n"), "bad-response"),
    ],
    ids=[
        "close without a word",
        "close in the headers",
        "close in the body",
        "close in a chunk",
        "reset",
        "garbage",
        "ssh",
        "http/0.9",
        "http/2",
        "status 99",
        "no colon",
        "negative length",
        "two lengths",
        "bad chunk",
        "a huge header",
        "many headers",
    ],
)
def test_a_broken_answer_is_told_apart_from_a_lost_one(
    run: Run, script: Script, error: str
) -> None:
    async def scenario() -> None:
        sent = await sent_to(script)
        assert sent.outcome == NoAnswer(error), "and not that time was up"

    run(scenario())


def test_a_port_nobody_listens_on_is_refused(run: Run) -> None:
    async def scenario() -> None:
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))  # and does not listen
            url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
            async with Sender(Egress(LOOPBACK)) as sender:
                assert (await send(sender, url)).outcome == NoAnswer("connection-refused")

    run(scenario())


def test_of_a_name_with_several_addresses_one_that_answers_is_enough(run: Run) -> None:
    async def both(_host: str) -> Sequence[str]:
        return "127.0.0.9", "127.0.0.1"

    async def scenario() -> None:
        async with (
            Receiver(serving()) as receiver,
            Sender(Egress(LOOPBACK, lookup=both)) as sender,
        ):
            sent = await send(sender, f"http://name.example:{receiver.port}/")
            assert sent.outcome == Answered(200)
            (request,) = receiver.requests
            assert request.headers["Host"] == f"name.example:{receiver.port}"
        with socket.socket() as silent:
            silent.bind(("0.0.0.0", 0))  # and does not listen
            url = f"http://name.example:{silent.getsockname()[1]}/"
            async with Sender(Egress(LOOPBACK, lookup=both)) as sender:
                assert (await send(sender, url)).outcome == NoAnswer("connection-refused")

    run(scenario())


def test_a_name_that_does_not_resolve_is_a_dns_failure_to_be_tried_again(run: Run) -> None:
    async def scenario() -> None:
        async with Sender(Egress()) as sender:
            assert (await send(sender, "https://nothing.invalid/")).outcome == NoAnswer("dns")

    run(scenario())


def test_a_lookup_that_takes_too_long_is_a_dns_failure_too(run: Run) -> None:
    async def scenario() -> None:
        async with Sender(Egress(lookup=never, lookup_limit_s=0.1)) as sender:
            sent = await send(sender, "https://name.example/")
        assert sent.outcome == NoAnswer("dns"), "and not that time was up"

    run(scenario())


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("http://127.0.0.1:{port}/", "blocked-address"),
        ("http://[::ffff:127.0.0.1]:{port}/", "blocked-address"),
        ("http://localhost:{port}/", "blocked-address"),
        ("http://name.example:{port}/", "blocked-address"),
        ("http://127.1:{port}/", "invalid-url"),
        ("http://2130706433:{port}/", "invalid-url"),
        ("http://user@127.0.0.1:{port}/", "invalid-url"),
        ("ftp://127.0.0.1:{port}/", "invalid-url"),
        ("127.0.0.1:{port}", "invalid-url"),
        ("", "invalid-url"),
    ],
)
def test_where_deliveries_may_not_go_none_goes_and_none_will(
    run: Run, url: str, error: str
) -> None:
    async def inside(_host: str) -> Sequence[str]:
        return ("127.0.0.1",)

    async def scenario() -> None:
        async with (
            Receiver(serving()) as canary,
            Sender(Egress(lookup=inside)) as sender,
        ):
            sent = await send(sender, url.format(port=canary.port))
            assert sent.outcome == NoAnswer(error, permanent=True)
            assert canary.connections == 0

    run(scenario())


def test_a_name_that_turned_inwards_since_it_was_checked_reaches_nobody(run: Run) -> None:
    answers = [("93.184.215.14",), ("93.184.215.14", "127.0.0.1"), ("127.0.0.1",)]

    async def rebinding(_host: str) -> Sequence[str]:
        return answers.pop(0)

    async def scenario() -> None:
        gate = Egress(lookup=rebinding)
        async with Receiver(serving()) as canary:
            url = f"http://rebound.example:{canary.port}/"
            await gate.check_target(url)
            for _ in range(2):
                async with Sender(gate) as sender:
                    sent = await send(sender, url)
                assert sent.outcome == NoAnswer("blocked-address", permanent=True)
            assert canary.connections == 0
        assert not answers

    run(scenario())


class Trusting(Egress):
    """A gate with a hole: it believes every name, so that only the last check is left."""

    async def addresses(self, host: str) -> Sequence[str]:  # noqa: ARG002
        return "127.0.0.1", "::1"


def test_the_check_at_the_connection_holds_alone(run: Run) -> None:
    async def scenario() -> None:
        async with Receiver(serving()) as canary:
            url = f"http://rebound.example:{canary.port}/"
            async with Sender(Trusting()) as sender:
                sent = await send(sender, url)
            assert sent.outcome == NoAnswer("blocked-address", permanent=True)
            assert canary.connections == 0
            async with Sender(Trusting(LOOPBACK)) as sender:
                assert (await send(sender, url)).outcome == Answered(200)

    run(scenario())


def test_a_proxy_in_the_environment_is_not_asked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with Receiver(serving()) as proxy, Receiver(serving()) as receiver:
            for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            async with Sender(Egress(LOOPBACK)) as sender:
                assert (await send(sender, receiver)).outcome == Answered(200)
            assert (proxy.connections, receiver.connections) == (0, 1)

    run(scenario())


# ── TLS ───────────────────────────────────────────────────────────────────────────────────────────


class Certificates:
    """An authority that the sender trusts, and contexts of servers."""

    def __init__(self) -> None:
        self._authority = trustme.CA()
        self.trusted = ssl.create_default_context()
        self._authority.configure_trust(self.trusted)

    def server(
        self,
        name: str = "127.0.0.1",
        *,
        not_after: datetime | None = None,
    ) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(name, not_after=not_after).configure_cert(context)
        return context


@pytest.fixture(scope="module")
def certificates() -> Certificates:
    return Certificates()


async def sent_over_tls(certificates: Certificates, server: ssl.SSLContext) -> Sent:
    async with (
        Receiver(serving(), tls=server) as receiver,
        Sender(Egress(LOOPBACK), ssl=certificates.trusted) as sender,
    ):
        sent = await send(sender, receiver)
        assert len(receiver.requests) == isinstance(sent.outcome, Answered)
        return sent


def test_a_valid_certificate_is_accepted(run: Run, certificates: Certificates) -> None:
    async def scenario() -> None:
        sent = await sent_over_tls(certificates, certificates.server())
        assert sent.outcome == Answered(200)

    run(scenario())


def test_the_name_in_the_url_is_the_one_that_is_asked_for_and_checked(
    run: Run, certificates: Certificates
) -> None:
    async def inside(_host: str) -> Sequence[str]:
        return ("127.0.0.1",)

    async def scenario() -> None:
        server = certificates.server("name.example")
        asked: list[str | None] = []
        server.sni_callback = lambda _socket, name, _context: asked.append(name)
        async with (
            Receiver(serving(), tls=server) as receiver,
            Sender(Egress(LOOPBACK, lookup=inside), ssl=certificates.trusted) as sender,
        ):
            sent = await send(sender, f"https://name.example:{receiver.port}/")
            assert sent.outcome == Answered(200)
            assert asked == ["name.example"]
            sent = await send(sender, f"https://other.example:{receiver.port}/")
            assert sent.outcome == NoAnswer("tls")

    run(scenario())


@pytest.mark.parametrize("fault", ["expired", "wrong host", "unknown authority", "old protocol"])
def test_a_certificate_or_protocol_that_is_not_good_enough_is_a_tls_failure(
    run: Run, certificates: Certificates, fault: str
) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    match fault:
        case "expired":
            server = certificates.server(not_after=yesterday)
        case "wrong host":
            server = certificates.server("other.example")
        case "unknown authority":
            server = Certificates().server()
        case _:
            server = certificates.server()
    if fault == "old protocol":
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            server.maximum_version = ssl.TLSVersion.TLSv1_1

    async def scenario() -> None:
        assert (await sent_over_tls(certificates, server)).outcome == NoAnswer("tls")

    run(scenario())


def test_the_systems_authorities_are_trusted_and_no_others(
    run: Run, certificates: Certificates
) -> None:
    async def scenario() -> None:
        async with (
            Receiver(serving(), tls=certificates.server()) as receiver,
            Sender(Egress(LOOPBACK)) as sender,
        ):
            assert (await send(sender, receiver)).outcome == NoAnswer("tls")
            assert not receiver.requests

    run(scenario())


async def hang_up(
    _receiver: Receiver, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter
) -> None:
    await reader.read(1)


async def hang_up_hard(
    _receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await reader.read(1)
    peer = writer.get_extra_info("socket")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def speak_plainly(
    _receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 This is not TLS\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize("script", [hang_up, hang_up_hard, speak_plainly])
def test_a_handshake_that_breaks_off_is_a_tls_failure(run: Run, script: Script) -> None:
    async def scenario() -> None:
        async with Receiver(script) as receiver, Sender(Egress(LOOPBACK)) as sender:
            sent = await send(sender, f"https://127.0.0.1:{receiver.port}/")
        assert sent.outcome == NoAnswer("tls")

    run(scenario())


# ── connections ───────────────────────────────────────────────────────────────────────────────────


def test_a_connection_is_used_again_after_a_complete_answer(run: Run) -> None:
    async def scenario() -> None:
        async with Receiver(serving()) as receiver, Sender(Egress(LOOPBACK)) as sender:
            for _ in range(5):
                assert (await send(sender, receiver)).outcome == Answered(200)
            assert receiver.connections == 1
            assert len(receiver.requests) == 5

    run(scenario())


def test_a_connection_that_did_not_end_well_is_not(run: Run) -> None:
    # Longer than one read from a socket, which may take in the end of a shorter one.
    too_long = answer("200 OK", body=b"a" * 2**20)

    async def scenario() -> None:
        for bad in (too_long, b"garbage\r\n\r\n", answer("200 OK", "Connection: close")):
            async with Receiver(serving(bad)) as receiver, Sender(Egress(LOOPBACK)) as sender:
                for _ in range(3):
                    await send(sender, receiver)
                assert receiver.connections == 3

    run(scenario())


def test_a_connection_that_the_receiver_closed_in_between_is_replaced(run: Run) -> None:
    async def scenario() -> None:
        async with Receiver(answering(OK)) as receiver, Sender(Egress(LOOPBACK)) as sender:
            for _ in range(3):
                assert (await send(sender, receiver)).outcome == Answered(200)
                assert await soon(lambda: not sender._client._open)
            assert receiver.connections == 3

    run(scenario())


def test_cookies_of_a_receiver_are_not_given_back(run: Run) -> None:
    async def inside(_host: str) -> Sequence[str]:
        return ("127.0.0.1",)

    async def scenario() -> None:
        cookie = answer("200 OK", "Set-Cookie: a=b")
        async with (
            Receiver(serving(cookie)) as receiver,
            Sender(Egress(LOOPBACK, lookup=inside)) as sender,
        ):
            for _ in range(2):
                await send(sender, f"http://name.example:{receiver.port}/")
            assert len(receiver.requests) == 2
            assert all("Cookie" not in request.headers for request in receiver.requests)

    run(scenario())


def test_as_many_go_out_at_once_as_are_asked_for(run: Run) -> None:
    all_there = asyncio.Barrier(150)

    async def together(
        receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await receiver.request(reader)
        await all_there.wait()
        writer.write(OK)
        await writer.drain()

    async def scenario() -> None:
        async with Receiver(together) as receiver, Sender(Egress(LOOPBACK)) as sender:
            sent = await asyncio.gather(*(send(sender, receiver) for _ in range(150)))
            assert [each.outcome for each in sent] == [Answered(200)] * 150

    run(scenario())


def test_the_url_is_sent_as_it_was_given(run: Run) -> None:
    async def scenario() -> None:
        path = "/a%2Fb/../%7Ec/@d?sig=a%2Bb/+c&x[]=1&y=%e2%98%83"
        async with Receiver(serving()) as receiver, Sender(Egress(LOOPBACK)) as sender:
            sent = await send(sender, f"http://127.0.0.1:{receiver.port}{path}")
            assert sent.outcome == Answered(200)
            assert receiver.requests[0].line == f"POST {path} HTTP/1.1"

    run(scenario())


def test_a_payload_of_a_mebibyte_arrives_whole(run: Run) -> None:
    async def scenario() -> None:
        payload = b'"' + b"a" * (2**20 - 2) + b'"'
        async with Receiver(serving()) as receiver, Sender(Egress(LOOPBACK)) as sender:
            sent = await send(sender, receiver, payload=payload)
            assert sent.outcome == Answered(200)
            assert receiver.requests[0].body.endswith(b'"data":' + payload + b"}")
            headers = dict(receiver.requests[0].headers.items())
            verify(headers, receiver.requests[0].body, NEW, now=NOW / 1000)

    run(scenario())


async def answer_unread(
    _receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await reader.readexactly(1)
    writer.write(OK)
    await asyncio.Event().wait()


def open_files() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


class Narrow(Egress):
    """Makes sockets that take little at once."""

    def socket_factory(self, addr_info: AddrInfoType) -> socket.socket:
        made = super().socket_factory(addr_info)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return made


async def soon(holds: Callable[[], bool]) -> bool:
    """Whether something holds, now or within twenty seconds."""
    for _ in range(1000):
        if holds():
            return True
        await asyncio.sleep(0.02)
    return False


async def open_files_fall_to(number: int) -> bool:
    return await soon(lambda: open_files() <= number)


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("script", [deafness, answer_unread])
def test_a_receiver_that_does_not_read_cannot_keep_a_connection(
    run: Run, certificates: Certificates, script: Script, scheme: str
) -> None:
    payload = b'"' + b"a" * (2**20) + b'"'
    server = certificates.server() if scheme == "https" else None

    async def scenario() -> None:
        async with (
            Receiver(script, tls=server) as receiver,
            Sender(Egress(LOOPBACK), ssl=certificates.trusted) as sender,
        ):
            before = open_files()
            for _ in range(2):
                sent = await send(
                    sender,
                    receiver,
                    timeout_s=SHORT_S,
                    payload=payload * 8,
                    payload_format=PayloadFormat.RAW,
                )
                assert sent.outcome in {NoAnswer("timeout"), Answered(200)}
            # The receiver's halves stay open: it looks after them no more than after its data.
            # They are counted as they are accepted, which may be after their senders have left.
            assert await soon(lambda: open_files() <= before + receiver.connections)

    run(scenario())


def test_what_has_gone_below_tls_and_not_out_is_unsent(certificates: Certificates) -> None:
    """On asyncio's loop; uvloop does not show what lies there."""

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with Receiver(deafness, tls=certificates.server()) as receiver:
            _, connection = await loop.create_connection(
                lambda: Connection(idle=lambda _: None, lost=lambda _: None),
                "127.0.0.1",
                receiver.port,
                ssl=certificates.trusted,
            )
            connection._transport.write(b"a" * (32 << 20))
            assert connection._has_unsent()
            connection.cut()

    asyncio.run(scenario())


def test_a_connection_with_something_unsent_is_not_kept_for_later(run: Run) -> None:
    # Short enough to be written in one go, too long for the sockets.
    payload = b'"' + b"a" * 60_000 + b'"'

    async def scenario() -> None:
        async with (
            Receiver(answer_unread, receive_buffer=4096) as receiver,
            Sender(Narrow(LOOPBACK)) as sender,
        ):
            before = open_files()
            assert (await send(sender, receiver, payload=payload)).outcome == Answered(200)
            # They are counted as they are accepted, which may be after their senders have left.
            assert await soon(lambda: open_files() <= before + receiver.connections)

    run(scenario())


def test_many_failures_leave_no_task_connection_or_open_file_behind(run: Run) -> None:
    async def several(_host: str) -> Sequence[str]:
        return "127.0.0.9", "127.0.0.1"

    async def nowhere(_host: str) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    scripts: list[Script] = [
        silence,
        reset,
        hang_up,
        answering(b"garbage\r\n\r\n"),
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab"),
        dripping(b"HTTP/1.1 200 OK\r\n\r\n", b"a"),
        serving(answer("500 Broken", body=b"a" * 2**20)),
    ]

    async def scenario() -> None:
        await sent_to(serving())  # what a loop opens once and keeps
        files = open_files()
        tasks = asyncio.all_tasks()
        async with contextlib.AsyncExitStack() as stack:
            urls = [(await stack.enter_async_context(Receiver(script))).url for script in scripts]
            listening = open_files()
            async with (
                Sender(Egress(LOOPBACK, lookup=several)) as sender,
                Sender(Egress(LOOPBACK, lookup=nowhere)) as lost,
            ):
                await asyncio.gather(
                    *(send(sender, url, timeout_s=SHORT_S) for url in urls * 10),
                    *(send(sender, "http://10.0.0.1/") for _ in range(10)),
                    *(send(sender, "http://name.example:1024/") for _ in range(10)),
                    *(send(lost, "http://name.example/") for _ in range(10)),
                )
                assert await open_files_fall_to(listening)
                assert not sender._client._open
                assert not sender._client._idle_count
        assert await open_files_fall_to(files)
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == tasks

    run(scenario())


def test_a_sender_closes_its_connections(run: Run) -> None:
    async def scenario() -> None:
        async with Receiver(serving()) as receiver:
            async with Sender(Egress(LOOPBACK)) as sender:
                await send(sender, receiver)
                assert not receiver.ended.is_set()
            async with asyncio.timeout(LONG_S):
                await receiver.ended.wait()

    run(scenario())


def test_an_answer_to_nothing_is_nobodys(run: Run) -> None:
    # Whoever takes it for the next request's answer reports a success that never was.
    first_is_read = asyncio.Event()

    async def twice(
        receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await receiver.request(reader)
        if receiver.connections == 1:
            writer.write(OK + OK)
        elif receiver.connections == 2:
            writer.write(OK)
            await first_is_read.wait()
            writer.write(OK)
        else:
            writer.write(answer("500 Broken"))
        await reader.read()

    async def scenario() -> None:
        async with Receiver(twice) as receiver, Sender(Egress(LOOPBACK)) as sender:
            statuses = []
            for _ in range(3):
                sent = await send(sender, receiver)
                assert isinstance(sent.outcome, Answered)
                statuses.append(sent.outcome.status_code)
                if len(statuses) == 2:
                    assert sender._client._idle_count == 1
                    first_is_read.set()
                if len(statuses) < 3:
                    assert await soon(lambda: not sender._client._open)
            assert statuses == [200, 200, 500]
            assert receiver.connections == 3

    run(scenario())


def test_a_connection_that_was_idle_for_long_is_not_used_again(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with Receiver(serving()) as receiver, Sender(Egress(LOOPBACK)) as sender:
            await asyncio.gather(*(send(sender, receiver) for _ in range(3)))
            assert sender._client._idle_count == 3
            monkeypatch.setattr("triggers_api.deliver.client._KEEPALIVE_S", 0.01)
            # The first look would be by what it was when they became idle.
            assert sender._client._sweeping is not None
            sender._client._sweeping.cancel()
            while sender._client._idle_count == 3:
                await asyncio.sleep(0.01)
                sender._client._sweep()
            assert await soon(lambda: not sender._client._open)
            assert await soon(lambda: sender._client._sweeping is None)
            assert (await send(sender, receiver)).outcome == Answered(200)
            assert receiver.connections == 4

    run(scenario())


def test_so_many_connections_are_kept_and_no_more(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triggers_api.deliver.client._IDLE_LIMIT", 2)

    async def scenario() -> None:
        async with Receiver(serving()) as receiver, Sender(Egress(LOOPBACK)) as sender:
            sent = await asyncio.gather(*(send(sender, receiver) for _ in range(5)))
            assert [each.outcome for each in sent] == [Answered(200)] * 5
            assert await soon(lambda: len(sender._client._open) == 2)
            assert sender._client._idle_count == 2

    run(scenario())


def test_a_name_is_looked_up_once_for_many(run: Run) -> None:
    asked: list[str] = []

    async def slow(host: str) -> Sequence[str]:
        asked.append(host)
        await known.wait()
        return ("127.0.0.1",)

    known = asyncio.Event()

    async def scenario() -> None:
        async with (
            Receiver(serving(answer("200 OK", "Connection: close"))) as receiver,
            Sender(Egress(LOOPBACK, lookup=slow)) as sender,
        ):
            url = f"http://name.example:{receiver.port}/"
            late = asyncio.gather(*(send(sender, url, timeout_s=0.02) for _ in range(3)))
            sent = asyncio.gather(*(send(sender, url) for _ in range(5)))
            assert [each.outcome for each in await late] == [NoAnswer("timeout")] * 3
            known.set()
            assert [each.outcome for each in await sent] == [Answered(200)] * 5
            assert (await send(sender, url)).outcome == Answered(200)
            assert asked == ["name.example"]

    run(scenario())


@pytest.mark.parametrize(
    ("url", "host", "line"),
    [
        ("http://127.0.0.1:{port}", "127.0.0.1:{port}", "/"),
        ("http://127.0.0.1:{port}?a=/b?c", "127.0.0.1:{port}", "/?a=/b?c"),
        ("http://LocalHost:{port}/?", "LocalHost:{port}", "/?"),
        ("HTTP://127.0.0.1:{port}//x", "127.0.0.1:{port}", "//x"),
    ],
)
def test_each_way_to_spell_a_url(run: Run, url: str, host: str, line: str) -> None:
    async def scenario() -> None:
        async with Receiver(serving()) as receiver, Sender(Egress(LOOPBACK)) as sender:
            sent = await send(sender, url.format(port=receiver.port))
            assert sent.outcome == Answered(200)
            assert receiver.requests[0].line == f"POST {line} HTTP/1.1"
            assert receiver.requests[0].headers["Host"] == host.format(port=receiver.port)

    run(scenario())


def test_to_cancel_a_send_is_not_an_outcome_and_ends_the_connection(run: Run) -> None:
    async def scenario() -> None:
        async with Receiver(silence) as receiver, Sender(Egress(LOOPBACK)) as sender:
            task = asyncio.create_task(send(sender, receiver))
            await receiver.came.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            async with asyncio.timeout(LONG_S):
                await receiver.ended.wait()

    run(scenario())


# ── errors ────────────────────────────────────────────────────────────────────────────────────────


def test_a_header_that_would_break_the_request_is_not_sent(run: Run) -> None:
    async def scenario() -> None:
        async with Receiver(serving()) as receiver, Sender(Egress(LOOPBACK)) as sender:
            sent = await send(sender, receiver, headers={"x-mine": "a\r\nwebhook-id: other"})
            assert sent.outcome == NoAnswer("connection-lost")
            assert not receiver.requests

    run(scenario())


def test_a_secret_that_is_none_is_an_error_of_ours_and_not_an_outcome(run: Run) -> None:
    async def scenario() -> None:
        async with Receiver(serving()) as receiver, Sender(Egress(LOOPBACK)) as sender:
            with pytest.raises(MalformedValue):
                await send(sender, receiver, secrets=("whsec_",))
            assert receiver.connections == 0

    run(scenario())
