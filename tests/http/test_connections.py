"""Connections: order, ends, odd spellings. On a socket, where no client tidies up."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

import pytest
from tests.conftest import Log, Run
from tests.http.conftest import (
    BODY,
    JSON,
    Connect,
    assert_problem,
    assert_stamped,
    chunked,
    chunked_event,
    event,
    once,
    written,
)

from triggers_api.testing import ADMIN_KEY, API_KEY, Answer, Service

CLOSE: Final = "Connection: close"
BOTH_WAYS: Final = pytest.mark.parametrize("post", [event, chunked_event], ids=["lane", "asgi"])
LIVE: Final = written("GET", "/livez", key=None)


Numbered = Callable[[int], bytes]


@pytest.fixture
def numbered(request: pytest.FixtureRequest) -> Numbered:
    """Events that no other test sends; the dedup_id ends with the number."""
    return lambda number: json.dumps(
        {"type": "order.created", "payload": number, "dedup_id": f"{request.node.name} {number}"}
    ).encode()


def number_of(answer: Answer) -> int:
    return int(answer.json["dedup_id"].rpartition(" ")[2])


# ── one after the other ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kinds", [(event,), (chunked_event,), (event, chunked_event)])
def test_pipelined_events_are_answered_in_order(
    service: Service,
    run: Run,
    dial: Connect,
    kinds: tuple[type, ...],
    numbered: Numbered,
    added: Callable[[], int],
) -> None:
    async def main() -> None:
        connection = await dial(service)
        requests = (kinds[n % len(kinds)](body=numbered(n)) for n in range(50))
        await connection.send(b"".join(requests))
        answers = [await connection.answer() for _ in range(50)]
        assert [answer.status for answer in answers] == [202] * 50
        assert [number_of(answer) for answer in answers] == list(range(50))

    run(main())
    assert added() == 50


def test_pipelined_requests_to_hot_and_ordinary_routes_are_answered_in_order(
    service: Service, run: Run, dial: Connect, numbered: Numbered, added: Callable[[], int]
) -> None:
    async def main() -> None:
        connection = await dial(service)
        await connection.send(
            event(body=numbered(1))
            + LIVE
            + event(body=b"{")
            + written("GET", "/api/events?limit=1")
            + event(key=None)
            + chunked_event(body=numbered(2))
            + event(body=numbered(1))
            + written("GET", "/nowhere")
            + written("PUT", "/api/events", JSON, body=BODY)
            + event(body=numbered(3))
            + written("HEAD", "/health")
        )
        first, live, bad, listed, nobody, second, again, nowhere, put, third = [
            await connection.answer() for _ in range(10)
        ]
        head = await connection.answer(bodiless=True)
        assert number_of(first) == 1
        assert live.json["status"] == "healthy"
        assert_problem(bad, 400, "invalid-json")
        assert [each["id"] for each in listed.json["data"]] == [first.json["id"]]
        assert_problem(nobody, 401, "unauthorized")
        assert number_of(second) == 2
        assert (again.status, again.json["id"]) == (200, first.json["id"])
        assert_problem(nowhere, 404, "not-found")
        assert_problem(put, 405, "method-not-allowed")
        assert number_of(third) == 3
        assert head.status == 200

    run(main())
    assert added() == 3


@BOTH_WAYS
def test_a_request_may_come_in_two_pieces_cut_anywhere(
    service: Service, run: Run, dial: Connect, post: type
) -> None:
    request: bytes = post(f"Idempotency-Key: cut by {post.__name__}", "X-Request-Id: cut")

    async def main() -> None:
        connection, other = await dial(service), await dial(service)
        for cut in range(1, len(request)):
            await connection.send(request[:cut])
            await other.ask(LIVE)  # meanwhile the first piece was read
            answer = await connection.ask(request[cut:])
            assert answer.status == (202 if cut == 1 else 200), cut
            assert answer.headers["x-request-id"] == "cut"

    run(main())


@BOTH_WAYS
def test_garbage_behind_a_good_request_does_not_cost_it_its_answer(
    service: Service,
    run: Run,
    dial: Connect,
    post: type,
    numbered: Numbered,
    added: Callable[[], int],
) -> None:
    async def main() -> None:
        connection = await dial(service)
        await connection.send(post(body=numbered(1)) + post(body=numbered(2)) + b"garbage\r\n\r\n")
        assert number_of(await connection.answer()) == 1
        assert number_of(await connection.answer()) == 2
        assert await connection.rest() == b""

    run(main())
    assert added() == 2


def test_a_body_longer_than_its_length_is_no_request_of_its_own(
    service: Service, run: Run, dial: Connect, added: Callable[[], int]
) -> None:
    head = written("POST", "/api/events", JSON, f"Content-Length: {len(BODY)}")

    async def main() -> None:
        connection = await dial(service)
        await connection.send(head + BODY + BODY)
        assert (await connection.answer()).status == 202
        assert await connection.rest() == b""

    run(main())
    assert added() == 1


@BOTH_WAYS
def test_the_connection_goes_on_after_a_refusal(
    service: Service, run: Run, dial: Connect, post: type
) -> None:
    async def main() -> None:
        connection = await dial(service)
        assert (await connection.ask(post(body=b"nonsense"))).status == 400
        assert (await connection.ask(post(key="nobody-knows-this-key"))).status == 401
        assert (await connection.ask(post("Content-Encoding: br"))).status == 415
        assert (await connection.ask(post())).status == 202

    run(main())


def test_the_rest_of_a_body_that_is_too_large_is_drained(
    service: Service, run: Run, dial: Connect
) -> None:
    size = 3 << 20

    async def main() -> None:
        connection = await dial(service)
        head = written("POST", "/api/events", JSON, f"Content-Length: {size}")
        assert_problem(await connection.ask(head), 413, "too-large")
        await connection.send(*[b"x" * (64 << 10)] * (size >> 16))
        assert (await connection.ask(event())).status == 202
        endless = written("POST", "/api/events", JSON, "Transfer-Encoding: chunked")
        piece = chunked(b"x" * (64 << 10))[:-5]
        await connection.send(endless, *[piece] * (size >> 16), b"0\r\n\r\n")
        assert_problem(await connection.answer(), 413, "too-large")
        assert (await connection.ask(event())).status == 202

    run(main())


@pytest.mark.parametrize(
    ("path", "head"),
    [
        ("/api/events", "HTTP/1.1\r\nConnection: close"),
        ("/api/events/batch", "HTTP/1.1\r\nConnection: close"),
        ("/api/subscriptions", "HTTP/1.1\r\nConnection: close"),
        ("/api/events", "HTTP/1.0"),
    ],
)
def test_who_closes_the_connection_afterwards_gets_the_answer_too(
    service: Service, run: Run, path: str, head: str
) -> None:
    size = 16 << 20
    host, port = urlsplit(service.url).hostname, urlsplit(service.url).port

    async def main() -> bytes:
        reader, writer = await asyncio.open_connection(host, port)
        lines = (f"POST {path} {head}", "Host: a", f"Authorization: Bearer {API_KEY}",
                 "Content-Type: application/json", f"Content-Length: {size}", "", "")  # fmt: skip
        writer.write("\r\n".join(lines).encode())
        for _ in range(size >> 16):
            writer.write(b"x" * (64 << 10))
            await writer.drain()
        # The answer, and then the end, whatever else this end would have had to say.
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    answer = run(main())
    assert answer.split(b"\r\n", 1)[0].split(b" ")[1] == b"413"
    assert b"connection: close" in answer.lower()


def test_draining_has_an_end(
    service: Service, run: Run, dial: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triggers_api.http.protocol.DISCARD_LIMIT", 100_000)

    async def main() -> None:
        connection = await dial(service)
        head = written("POST", "/api/events", JSON, "Content-Length: 9999999")
        assert (await connection.ask(head)).status == 413
        with suppress(ConnectionError):
            await connection.send(*[b"x" * 50_000] * 5)
        assert await connection.rest() == b""

    run(main())


# ── bodies and versions ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "body",
    [
        chunked(*(BODY[n : n + 1] for n in range(len(BODY)))),
        b"%x;why=not\r\n%b\r\n0;last\r\n\r\n" % (len(BODY), BODY),
        b"%X\r\n%b\r\n0\r\nX-Trailer: 1\r\n\r\n" % (len(BODY), BODY),
        b"000000%x\r\n%b\r\n000\r\n\r\n" % (len(BODY), BODY),
    ],
    ids=["byte by byte", "extensions", "a trailer", "leading zeros"],
)
def test_chunks_may_have_any_size_extensions_and_trailers(
    service: Service, run: Run, body: bytes
) -> None:
    head = written("POST", "/api/events", JSON, "Transfer-Encoding: chunked")
    answer = run(once(service, head + body))
    assert answer.status == 202


def test_a_client_that_asks_first_is_told_to_go_on(
    service: Service, run: Run, dial: Connect
) -> None:
    head = written(
        "POST", "/api/events", JSON, "Expect: 100-continue", f"Content-Length: {len(BODY)}"
    )

    async def main() -> None:
        connection = await dial(service)
        assert (await connection.ask(head)).status == 100
        assert (await connection.ask(BODY)).status == 202
        assert (await connection.ask(event())).status == 202

    run(main())


@pytest.mark.parametrize(
    "headers", [(), ("Connection: keep-alive",)], ids=["plain", "asks for keep-alive"]
)
def test_http_1_0_gets_its_answer_and_the_end_of_the_connection(
    service: Service, run: Run, dial: Connect, headers: tuple[str, ...]
) -> None:
    async def main() -> None:
        connection = await dial(service)
        answer = await connection.ask(event(*headers, version="1.0"))
        assert answer.status == 202
        assert answer.headers["connection"] == "close"
        assert await connection.rest() == b""

    run(main())


@pytest.mark.parametrize(
    "request_",
    [event(CLOSE), chunked_event(CLOSE), event(CLOSE, body=b"{"), written("GET", "/health", CLOSE)],
    ids=["lane", "asgi", "refused", "ordinary"],
)
def test_a_client_may_end_the_connection_with_its_request(
    service: Service, run: Run, dial: Connect, request_: bytes
) -> None:
    async def main() -> None:
        connection = await dial(service)
        answer = await connection.ask(request_)
        assert answer.headers["connection"] == "close"
        assert await connection.rest() == b""

    run(main())


H2C: Final = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")


def test_an_offer_to_upgrade_is_declined_without_losing_the_body(
    service: Service, run: Run, dial: Connect, added: Callable[[], int]
) -> None:
    """Java's HttpClient offers h2c with every first request."""

    async def main() -> None:
        connection, other = await dial(service), await dial(service)
        assert (await connection.ask(event(*H2C))).status == 202
        assert (await connection.ask(chunked_event(*H2C))).status == 202
        request = event(*H2C)
        await connection.send(request[: -len(BODY)])
        await other.ask(LIVE)
        assert (await connection.ask(BODY + event())).status == 202
        assert (await connection.answer()).status == 202
        socket_ = written("GET", "/health", "Connection: Upgrade", "Upgrade: websocket")
        assert (await connection.ask(socket_)).status == 200
        assert (await connection.ask(event())).status == 202

    run(main())
    assert added() == 5


# ── clients that leave ────────────────────────────────────────────────────────────────────────────


@BOTH_WAYS
def test_a_client_that_hangs_up_in_its_body_stores_nothing(
    service: Service, run: Run, dial: Connect, post: type, log: Log, added: Callable[[], int]
) -> None:
    async def main() -> None:
        request: bytes = post()
        for missing in (1, len(BODY) // 2, len(BODY) + 20):
            connection = await dial(service)
            await connection.send(request[:-missing])
            await once(service, LIVE)
            await connection.hang_up()
        await once(service, LIVE)

    run(main())
    assert added() == 0
    assert not [line for line in log if line["log_level"] in {"warning", "error"}]


def test_one_that_hangs_up_in_the_body_of_another_request_is_no_fault_of_the_service(
    service: Service, run: Run, dial: Connect, log: Log
) -> None:
    async def main() -> None:
        connection = await dial(service)
        request = written("POST", "/api/subscriptions", JSON, body=b'{"url": "http://x/"}')
        await connection.send(request[:-5])
        await once(service, LIVE)
        await connection.hang_up()
        for _ in range(3):
            await once(service, LIVE)

    run(main())
    assert [line for line in log if line["log_level"] == "error"] == []


@BOTH_WAYS
def test_a_client_that_does_not_wait_for_the_answer_can_ask_again(
    service: Service,
    run: Run,
    dial: Connect,
    post: type,
    log: Log,
    numbered: Numbered,
    added: Callable[[], int],
) -> None:
    async def main() -> None:
        for number in range(20):
            connection = await dial(service)
            await connection.send(post(body=numbered(number)))
            await connection.hang_up()
        answers = [await once(service, post(body=numbered(number))) for number in range(20)]
        assert all(answer.status in {200, 202} for answer in answers)

    run(main())
    assert added() == 20
    assert not [line for line in log if line["log_level"] in {"warning", "error"}]


def test_a_client_that_does_not_read_is_not_read_from(service: Service, run: Run) -> None:
    requests = event(key=None) * 500
    cap = 32 << 20

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            client.setblocking(False)
            port = int(service.url.rpartition(":")[2])
            await loop.sock_connect(client, ("127.0.0.1", port))
            taken = refused = 0
            while refused < 20 and taken < cap:
                try:
                    taken += client.send(requests[taken % len(requests) :])
                    refused = 0
                except BlockingIOError:
                    refused += 1
                    await once(service, LIVE)
            assert taken < cap

    run(main())


# ── methods ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "path",
    ["/health", "/readyz", "/api/events", "/api/subscriptions", "/docs", "/openapi.json", "/nowhere",
     "/api/events/evt_1", "/api/admin/verify"],
)  # fmt: skip
def test_head_is_get_without_the_body(service: Service, run: Run, dial: Connect, path: str) -> None:
    async def main() -> None:
        connection = await dial(service)
        got = await connection.ask(written("GET", path))
        await connection.send(written("HEAD", path))
        head = await connection.answer(bodiless=True)
        varying = {"date", "x-request-id", "content-length"}
        assert head.status == got.status
        assert {k: v for k, v in head.headers.items() if k not in varying} == {
            k: v for k, v in got.headers.items() if k not in varying
        }
        assert (await connection.ask(LIVE)).status == 200

    run(main())


def test_head_of_what_does_not_end_ends_with_the_head(
    service: Service, run: Run, dial: Connect
) -> None:
    async def main() -> None:
        connection = await dial(service)
        await connection.send(written("HEAD", "/api/events/stream"))
        head = await connection.answer(bodiless=True)
        assert (head.status, head.headers["content-type"]) == (200, "text/event-stream")
        assert (await connection.ask(LIVE)).status == 200

    run(main())


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/api/events", "GET, HEAD, OPTIONS, POST"),
        ("/api/events/evt_1", "DELETE, GET, HEAD, OPTIONS"),
        ("/api/subscriptions/sub_1", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("/api/subscriptions/sub_1/pause", "OPTIONS, POST"),
        ("/api/subscriptions/sub_1/stats", "GET, HEAD, OPTIONS"),
        ("/health", "GET, HEAD, OPTIONS"),
    ],
)
def test_options_and_refused_methods_list_what_the_address_takes(
    service: Service, run: Run, path: str, methods: str
) -> None:
    options = run(service.call("OPTIONS", path))
    assert (options.status, options.headers["allow"]) == (204, methods)
    assert_stamped(options)
    for method in ("PUT", "TRACE", "COPY"):
        refused = run(service.call(method, path, headers={"X-Secret": "do not echo"}))
        assert_problem(refused, 405, "method-not-allowed")
        assert refused.headers["allow"] == methods
        assert b"echo" not in refused.body


# ── addresses ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "target",
    [
        "/api/events/",
        "//api/events",
        "/api//events",
        "/api/%65vents",
        "/api%2fevents",
        "/api/events?",
        "http://triggers.test/api/events",
    ],
)
def test_other_spellings_of_an_address_meet_the_same_checks(
    service: Service, run: Run, target: str
) -> None:
    def post(key: str | None, body: bytes = BODY) -> bytes:
        return event(body=body, key=key).replace(b"/api/events", target.encode(), 1)

    assert_problem(run(once(service, post(None))), 401, "unauthorized")
    assert_problem(run(once(service, post(ADMIN_KEY))), 403, "forbidden")
    assert_problem(run(once(service, event(body=b"[").replace(b"/api/events", target.encode(), 1))),
                   400, "invalid-json")  # fmt: skip
    answer = run(once(service, event().replace(b"/api/events", target.encode(), 1)))
    assert answer.status == 202
    assert answer.headers["location"] == f"/api/events/{answer.json['id']}"


@pytest.mark.parametrize(
    "path", ["/metrics/", "//metrics", "/metrics//", "/%6detrics", "/metrics%2f"]
)
def test_metrics_have_one_spelling_for_proxies_to_keep_inside(
    service: Service, run: Run, path: str
) -> None:
    assert_problem(run(once(service, written("GET", path))), 404, "not-found")
    assert run(once(service, written("GET", "/metrics?"))).status == 200
    assert run(once(service, written("GET", "http://triggers.test/metrics"))).status == 200


def test_the_host_header_reaches_no_answer(service: Service, run: Run) -> None:
    for host in (b"evil.test", b"evil.test:99999999", b"", b"evil test", b"evil\xff"):
        for request in (event(), written("GET", "/openapi.json"), written("GET", "/docs")):
            answer = run(once(service, request.replace(b"triggers.test", host)))
            assert answer.status in ({200, 202} if host == b"evil.test" else {200, 202, 400})
            assert b"evil" not in answer.body
            assert "evil" not in json.dumps(answer.headers)


def test_bytes_that_are_no_request_leave_no_line_in_the_log(
    service: Service, run: Run, dial: Connect, log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        for nonsense in (
            b"\x16\x03\x01\x02\x00",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\r\n\r\n\0",
            LIVE[:-1] + b"x",
        ):
            connection = await dial(service)
            await connection.send(nonsense)
            assert b"HTTP/1.1 400" in await connection.rest()

    run(main())
    assert not log
    assert not caplog.records
