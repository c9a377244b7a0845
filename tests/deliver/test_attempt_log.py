"""What an attempt leaves on file: headers without secrets, times in the right phases, bounds kept."""

import asyncio
import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Final

import msgspec
import pytest
import trustme
import uvloop
from tests.deliver.test_webhook import (
    LOOPBACK,
    NOW,
    OK,
    Receiver,
    Request,
    Script,
    answer,
    delivery,
    send,
)

from triggers_api import __version__
from triggers_api.deliver import client, connection, webhook
from triggers_api.deliver.connection import BODY_LIMIT
from triggers_api.deliver.egress import Egress
from triggers_api.deliver.webhook import Sender, Sent
from triggers_api.model.attempt import (
    RESPONSE_HEADERS_LIMIT,
    AttemptDetails,
    Timings,
    request_headers,
    timings,
)
from triggers_api.model.auth import Auth, BasicAuth, BearerAuth
from triggers_api.model.outcome import Answered, Control, NoAnswer
from triggers_api.model.subscription import PayloadFormat
from triggers_api.store.base import ClaimedDelivery

Run = Callable[[Coroutine[Any, Any, object]], None]

PATIENCE_S: Final = 60.0
WAIT_MS: Final = 400.0


class Stopwatch:
    """What the sender measures with, in the hand of whoever keeps it waiting."""

    def __init__(self) -> None:
        self.looks = 0
        """How often it was looked at."""
        self._looked = threading.Condition()
        self._shows_s = 1000.0

    def __call__(self) -> float:
        with self._looked:
            self.looks += 1
            self._looked.notify_all()
        return self._shows_s

    def go_on(self, ms: float) -> None:
        self._shows_s += ms / 1000

    def wait_for(self, looks: int) -> None:
        """Wait in another thread until it was looked at so often."""
        with self._looked:
            in_time = self._looked.wait_for(lambda: self.looks >= looks, PATIENCE_S)
        assert in_time, f"it was looked at {self.looks} times, not {looks}"

    async def looked_at(self, since: int) -> None:
        """Wait until it was looked at more often than that."""
        while self.looks <= since:  # noqa: ASYNC110 - whoever looks says nothing
            await asyncio.sleep(0.001)


@pytest.fixture
def stopwatch(monkeypatch: pytest.MonkeyPatch) -> Stopwatch:
    made = Stopwatch()
    for module in (client, connection, webhook):
        monkeypatch.setattr(module, "perf_counter", made)
    return made


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    def run(main: Coroutine[Any, Any, object]) -> None:
        factory = uvloop.new_event_loop if request.param == "uvloop" else None
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main)

    return run


def answering(make: Callable[[Request], bytes]) -> Script:
    """Answers every request with what is made of it."""

    async def script(
        receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            writer.write(make(await receiver.request(reader)))
            await writer.drain()

    return script


def with_auth(claimed: ClaimedDelivery, auth: Auth) -> ClaimedDelivery:
    target = msgspec.structs.replace(claimed.target, auth=auth)
    return msgspec.structs.replace(claimed, target=target)


async def sent_as(
    claimed: Callable[[str], ClaimedDelivery], make: Callable[[Request], bytes]
) -> tuple[Sent, Request]:
    async with Receiver(answering(make)) as receiver, Sender(Egress(LOOPBACK)) as sender:
        sent = await sender.send(
            claimed(receiver.url), attempt_number=1, timeout_s=10, now=NOW, at=NOW
        )
        return sent, receiver.requests[0]


def details_of(sent: Sent) -> AttemptDetails:
    assert sent.details is not None
    return sent.details


def shown(details: AttemptDetails) -> dict[str, str]:
    return request_headers(
        details, event_id="evt_1", event_type="order.created", delivery_id="dlv_1", number=1
    )


# ── request headers ───────────────────────────────────────────────────────────────────────────────


def test_the_headers_that_are_shown_are_those_that_came_in_with_the_signature_masked(
    run: Run,
) -> None:
    async def scenario() -> None:
        sent, request = await sent_as(delivery, lambda _: OK)
        expected = dict(request.headers.items())
        assert expected["user-agent"] == f"triggers-api/{__version__}"
        assert expected["webhook-signature"].startswith("v1,")
        assert shown(details_of(sent)) == expected | {"webhook-signature": "v1,***"}

    run(scenario())


def test_a_usual_attempt_keeps_no_header_of_its_own(run: Run) -> None:
    async def scenario() -> None:
        sent, _ = await sent_as(delivery, lambda _: OK)
        assert details_of(sent).request == {}
        assert len(msgspec.json.encode(details_of(sent))) < 200

    run(scenario())


@pytest.mark.parametrize("payload_format", list(PayloadFormat))
def test_in_every_format_all_names_are_shown_and_nothing_of_the_event_is_kept(
    run: Run, payload_format: PayloadFormat
) -> None:
    def claimed(url: str) -> ClaimedDelivery:
        made = delivery(url, payload_format=payload_format)
        return msgspec.structs.replace(made, key="their-key", source="/their/source")

    async def scenario() -> None:
        sent, request = await sent_as(claimed, lambda _: OK)
        headers = shown(details_of(sent))
        assert headers.keys() == {name.lower() for name, _ in request.headers.items()}
        assert headers["content-type"] == request.headers["content-type"]
        assert headers["content-length"] == str(len(request.body))
        kept = msgspec.json.encode(details_of(sent))
        assert b"their" not in kept

    run(scenario())


def test_the_values_that_a_subscription_chose_are_masked_and_their_names_are_not(run: Run) -> None:
    def claimed(url: str) -> ClaimedDelivery:
        headers = {"X-Api-Key": "k-123456", "X-Region": "eu-north", "Accept": "application/json"}
        return delivery(
            url, headers=headers, secrets=("whsec_" + "b2xk" * 8, "whsec_" + "bmV3" * 8)
        )

    async def scenario() -> None:
        sent, request = await sent_as(claimed, lambda _: OK)
        headers = shown(details_of(sent))
        assert headers["X-Api-Key"] == headers["X-Region"] == headers["Accept"] == "***"
        assert headers["webhook-signature"] == "v1,*** v1,***"
        assert sorted(map(str.lower, headers)) == sorted(map(str.lower, request.headers.keys()))

    run(scenario())


SECRETS: Final = ('open "sesame"/1', "s3cr3t/value+more==", "k-123456")


def echo_in_json(request: Request) -> bytes:
    body = json.dumps({"headers": dict(request.headers.items())})
    return answer("200 OK", body=body.encode())


def echo_with_slashes_escaped(request: Request) -> bytes:
    body = json.dumps({"headers": dict(request.headers.items())}).replace("/", "\\/")
    return answer("200 OK", body=body.encode())


def echo_as_text(request: Request) -> bytes:
    body = "\n".join(f"{name}={value}" for name, value in request.headers.items())
    return answer("500 Debug", body=body.encode())


def echo_in_headers(request: Request) -> bytes:
    lines = [f"X-Was-{name}: {value}" for name, value in request.headers.items()]
    return answer("200 OK", *lines)


def echo_across_the_limit(request: Request) -> bytes:
    body = "x" * (BODY_LIMIT - 9) + request.headers["X-Token"]
    return answer("200 OK", body=body.encode())


@pytest.mark.parametrize(
    "echo",
    [
        echo_in_json,
        echo_with_slashes_escaped,
        echo_as_text,
        echo_in_headers,
        echo_across_the_limit,
    ],
)
@pytest.mark.parametrize("auth", [BasicAuth("ali", "p4ssw0rd"), BearerAuth("t0k3n-t0k3n-t0k3n")])
def test_a_receiver_that_gives_back_what_it_got_does_not_get_secrets_on_file(
    run: Run, echo: Callable[[Request], bytes], auth: Auth
) -> None:
    given = {"X-Quoted": SECRETS[0], "X-Token": SECRETS[1], "X-Key": SECRETS[2]}

    async def scenario() -> None:
        sent, request = await sent_as(
            lambda url: with_auth(delivery(url, headers=given), auth), echo
        )
        authorization = request.headers["authorization"]
        secrets = [
            *SECRETS,
            SECRETS[0].replace('"', '\\"'),
            SECRETS[1][:9],
            authorization,
            authorization.partition(" ")[2],
            request.headers["webhook-signature"].partition(",")[2],
        ]
        kept = msgspec.json.encode([sent.details, sent.response_body]).decode()
        plain = f"{sent.response_body}\n{details_of(sent)}"
        for secret in secrets:
            assert secret not in plain
            assert secret not in kept
        assert "***" in plain

    run(scenario())


def test_what_is_too_short_to_be_a_secret_is_left_in_the_answer(run: Run) -> None:
    async def scenario() -> None:
        sent, _ = await sent_as(
            lambda url: delivery(url, headers={"X-Beta": "true"}),
            lambda _: answer("200 OK", body=b'{"ok":true}'),
        )
        assert sent.response_body == '{"ok":true}'
        assert shown(details_of(sent))["X-Beta"] == "***"

    run(scenario())


def test_a_request_that_could_not_be_made_shows_what_would_have_been_sent(run: Run) -> None:
    async def scenario() -> None:
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))  # and does not listen
            port = silent.getsockname()[1]
            async with Sender(Egress(LOOPBACK)) as sender:
                sent = await send(sender, f"http://127.0.0.1:{port}/")
                nowhere = await send(sender, "http://10.0.0.1/")
        assert sent.outcome == NoAnswer("connection-refused")
        assert shown(details_of(sent))["host"] == f"127.0.0.1:{port}"
        assert "host" not in shown(details_of(nowhere))
        assert details_of(sent).response is None

    run(scenario())


# ── response headers ──────────────────────────────────────────────────────────────────────────────


def test_the_answers_headers_are_kept_in_lower_case_repeated_ones_joined(run: Run) -> None:
    async def scenario() -> None:
        sent, _ = await sent_as(
            delivery, lambda _: answer("200 OK", "X-One: 1", "Via: a", "via: b")
        )
        assert details_of(sent).response == {"content-length": "0", "x-one": "1", "via": "a, b"}

    run(scenario())


@pytest.mark.parametrize(
    "name", ["Set-Cookie", "X-Auth-Token", "Authorization", "X-Api-Key", "x-session-id", "Secret"]
)
def test_a_header_whose_name_speaks_of_secrets_is_masked_in_the_answer_too(
    run: Run, name: str
) -> None:
    async def scenario() -> None:
        sent, _ = await sent_as(delivery, lambda _: answer("200 OK", f"{name}: 1", f"{name}: 2"))
        response = details_of(sent).response
        assert response is not None
        assert response[name.lower()] == "***, ***"

    run(scenario())


def test_of_an_answers_headers_4_kib_are_kept(run: Run) -> None:
    async def scenario() -> None:
        lines = [f"X-{number:03}: {'v' * 95}" for number in range(100)]
        sent, _ = await sent_as(delivery, lambda _: answer("200 OK", *lines))
        response = details_of(sent).response
        assert response is not None
        size = sum(len(name) + len(value) for name, value in response.items())
        assert RESPONSE_HEADERS_LIMIT - 200 < size <= RESPONSE_HEADERS_LIMIT
        assert list(response)[1] == "x-000"

    run(scenario())


def test_interim_answers_and_trailers_are_not_the_answers_headers(run: Run) -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nX-Early: 1\r\nwebhook-delivery: disable\r\n\r\n"
    chunked = (
        b"HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\nok\r\n0\r\nX-Late: 1\r\nwebhook-delivery: disable\r\n\r\n"
    )

    async def scenario() -> None:
        sent, _ = await sent_as(delivery, lambda _: interim + chunked)
        assert details_of(sent).response == {"transfer-encoding": "chunked"}
        assert sent.outcome == Answered(500)

    run(scenario())


# ── control headers ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("value", "control"),
    [
        ("disable", Control.DISABLE),
        ("  Disable  ", Control.DISABLE),
        ("ABORT-MESSAGE", Control.ABORT_MESSAGE),
        ("", None),
        ("disabled", None),
        ("disable, abort-message", None),
        ("x" * 10_000, None),
    ],
)
@pytest.mark.parametrize("status", ["200 OK", "404 Not Found", "503 Busy"])
def test_what_a_receiver_asks_for_besides_its_status_comes_along(
    run: Run, value: str, control: Control | None, status: str
) -> None:
    async def scenario() -> None:
        sent, _ = await sent_as(delivery, lambda _: answer(status, f"Webhook-Delivery: {value}"))
        assert sent.outcome == Answered(int(status[:3]), None, control)

    run(scenario())


# ── timings ───────────────────────────────────────────────────────────────────────────────────────


def times(sent: Sent) -> Timings:
    found = timings(details_of(sent))
    phases = (found.dns, found.connect, found.tls, found.first_byte)
    assert sum(phase or 0.0 for phase in phases) <= found.total + 0.5
    assert abs(found.total - sent.duration_ms) <= 1
    return found


def test_a_first_byte_that_comes_late_is_seen_as_that(run: Run, stopwatch: Stopwatch) -> None:
    async def scenario() -> None:
        async def waits(
            receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            await receiver.request(reader)
            stopwatch.go_on(WAIT_MS)
            writer.write(OK)

        async with Receiver(waits) as receiver, Sender(Egress(LOOPBACK)) as sender:
            found = times(await send(sender, receiver))
        assert (found.dns, found.connect, found.tls) == (None, 0.0, None)
        assert found.first_byte == found.total == WAIT_MS

    run(scenario())


def test_a_rest_that_comes_late_is_in_the_total_alone(run: Run, stopwatch: Stopwatch) -> None:
    async def waits(
        receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await receiver.request(reader)
        looks = stopwatch.looks
        writer.write(OK[:-1])
        await stopwatch.looked_at(looks)
        stopwatch.go_on(WAIT_MS)
        writer.write(OK[-1:])

    async def scenario() -> None:
        async with Receiver(waits) as receiver, Sender(Egress(LOOPBACK)) as sender:
            found = times(await send(sender, receiver))
        assert (found.first_byte, found.total) == (0.0, WAIT_MS)

    run(scenario())


def test_a_kept_connection_spares_name_connection_and_handshake(run: Run) -> None:
    async def here(_host: str) -> Sequence[str]:
        return ("127.0.0.1",)

    async def scenario() -> None:
        async with (
            Receiver(answering(lambda _: OK)) as receiver,
            Sender(Egress(LOOPBACK, lookup=here)) as sender,
        ):
            url = f"http://name.example:{receiver.port}/"
            first, second = times(await send(sender, url)), times(await send(sender, url))
            assert receiver.connections == 1
        assert first.dns is not None
        assert first.connect is not None
        assert (second.dns, second.connect, second.tls) == (None, None, None)
        assert second.first_byte is not None

    run(scenario())


def test_a_name_that_takes_long_is_seen_as_that_and_spared_while_it_is_known(
    run: Run, stopwatch: Stopwatch
) -> None:
    async def slow(_host: str) -> Sequence[str]:
        stopwatch.go_on(WAIT_MS)
        return ("127.0.0.1",)

    def closing(_: Request) -> bytes:
        return answer("200 OK", "Connection: close")

    async def scenario() -> None:
        async with (
            Receiver(answering(closing)) as receiver,
            Sender(Egress(LOOPBACK, lookup=slow)) as sender,
        ):
            url = f"http://name.example:{receiver.port}/"
            first, second = times(await send(sender, url)), times(await send(sender, url))
        assert (first.dns, first.connect) == (WAIT_MS, 0.0)
        assert (second.dns, second.connect) == (None, 0.0)

    run(scenario())


@contextlib.contextmanager
def late_handshake(context: ssl.SSLContext, stopwatch: Stopwatch) -> Iterator[int]:
    """A server that takes one connection, waits before its handshake and then answers at once."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            accepted, _ = listening.accept()
            # At the beginning, when it connects, and when it is connected.
            stopwatch.wait_for(looks=3)
            stopwatch.go_on(WAIT_MS)
            with context.wrap_socket(accepted, server_side=True) as secured:
                received = b""
                while b"\r\n\r\n" not in received:
                    received += secured.recv(65536)
                secured.sendall(OK)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            thread.join()


def test_a_handshake_that_takes_long_is_seen_as_that(run: Run, stopwatch: Stopwatch) -> None:
    authority = trustme.CA()
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    async def scenario() -> None:
        with late_handshake(context, stopwatch) as port:
            async with Sender(Egress(LOOPBACK), ssl=trusted) as sender:
                sent = await send(sender, f"https://127.0.0.1:{port}/")
        assert sent.outcome == Answered(200)
        found = times(sent)
        assert (found.connect, found.tls, found.first_byte) == (0.0, WAIT_MS, 0.0)

    run(scenario())


def test_a_phase_in_which_an_attempt_fails_has_the_time_until_then_and_the_later_ones_none(
    run: Run, stopwatch: Stopwatch
) -> None:
    async def never(_host: str) -> Sequence[str]:
        stopwatch.go_on(WAIT_MS)
        await asyncio.Event().wait()
        raise AssertionError

    async def scenario() -> None:
        async with Sender(Egress(LOOPBACK, lookup=never)) as sender:
            sent = await send(sender, "http://name.example/", timeout_s=0.1)
        assert sent.outcome == NoAnswer("timeout")
        found = times(sent)
        assert found.dns == WAIT_MS
        assert (found.connect, found.tls, found.first_byte) == (None, None, None)

    run(scenario())


# ── the limit of the body ─────────────────────────────────────────────────────────────────────────


def endless(piece: bytes, *headers: str, chunked: bool) -> Script:
    """An answer without an end, in pieces of any kind."""
    lines = [
        "HTTP/1.1 200 OK",
        *headers,
        *(["Transfer-Encoding: chunked"] if chunked else []),
        "",
        "",
    ]
    drop = b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece

    async def script(
        receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await receiver.request(reader)
        writer.write("\r\n".join(lines).encode())
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(drop)
                receiver.sent += len(drop)
                await writer.drain()
                # Or nobody has a turn before the sockets are full, of single bytes after very long.
                await asyncio.sleep(0)
        receiver.ended.set()

    return script


@pytest.mark.parametrize(
    ("script", "first"),
    [
        (endless(b"x" * 4096, chunked=True), "x"),
        (endless(b"x", chunked=True), "x"),
        (endless(b"x" * 4096, chunked=False), "x"),
        (endless(b"x" * 4096, f"Content-Length: {1 << 40}", chunked=False), "x"),
        (endless(b"\x1f\x8b\x08\x00" * 1024, "Content-Encoding: gzip", chunked=True), "\x1f"),
        (endless(b"\x1f\x8b\x08\x00" * 1024, "Content-Encoding: br", chunked=False), "\x1f"),
    ],
    ids=["chunks", "chunks of a byte", "to the end", "huge", "bomb in chunks", "bomb"],
)
def test_of_an_answer_without_an_end_16_kib_are_read_and_the_connection_is_cut(
    run: Run, script: Script, first: str
) -> None:
    async def scenario() -> None:
        async with Receiver(script) as receiver, Sender(Egress(LOOPBACK)) as sender:
            sent = await send(sender, receiver)
            assert sent.outcome == Answered(200)
            assert sent.response_body is not None
            assert len(sent.response_body) == BODY_LIMIT
            assert sent.response_body[0] == first
            await asyncio.wait_for(receiver.ended.wait(), 30)

    run(scenario())
