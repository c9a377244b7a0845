"""What goes wrong between a client and the service: nothing is lost, nothing is there twice."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import Any, Self
from urllib.parse import urlsplit

import pytest
import trustme
from aiohttp import web
from tests.client.conftest import Connect, Tenant
from tests.servers.ports import free_port
from tests.servers.proxy import Cut, Proxy, Side

from triggers_api.client import (
    Client,
    DeadlineExceeded,
    NewEvent,
    NoAnswer,
    RateLimited,
    Retry,
    SendInterrupted,
    TooLarge,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
)
from triggers_api.testing import LocalReceiver, LocalService, Received

KEY = "any-key-0123456789"
LONG_S = 25.0
"""Shorter than what a call has by itself, and than what it would be kept waiting for here."""
PROBLEM = "application/problem+json"
ACCEPTED = b'{"id":"evt_1","type":"a","status":"queued","duplicate":false}'


def refusal(status: int, code: str, *, after: str | None = None) -> web.Response:
    body = b'{"status":%d,"code":"%b","retryable":true}' % (status, code.encode())
    headers = {"Content-Type": PROBLEM} | ({} if after is None else {"Retry-After": after})
    return web.Response(status=status, body=body, headers=headers)


def accepted() -> web.Response:
    return web.Response(status=202, body=ACCEPTED, content_type="application/json")


def base(receiver: LocalReceiver) -> str:
    return f"http://127.0.0.1:{receiver.port}"


def discard(connection: socket.socket, *, until: threading.Event) -> None:
    """Read on to the end, or until nobody asks for more.

    A client whose loop is not driven between two calls has no way of ending a connection meanwhile.
    """
    connection.settimeout(0.05)
    with suppress(ConnectionError):  # nor must it end one in order
        while not until.is_set():
            with suppress(TimeoutError):
                if not connection.recv(1 << 20):
                    return


class Line:
    """A proxy in front of the service, in the loop of the service's thread."""

    def __init__(self, service: LocalService) -> None:
        port = urlsplit(service.url).port
        assert port is not None
        self._run = service._loop.run
        self.proxy = Proxy("127.0.0.1", port)

    def __enter__(self) -> Self:
        self._run(self.proxy.up())
        self.url = f"http://127.0.0.1:{self.proxy.port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self.proxy.down())

    def do(self, told: Callable[[Proxy], Any]) -> Any:  # noqa: ANN401 - of the proxy
        async def do() -> Any:  # noqa: ANN401
            return told(self.proxy)

        return self._run(do())

    def cut(self, *patterns: bytes, side: Side = "client") -> Cut:
        found: Cut = self.do(lambda proxy: proxy.cut_after(*patterns, side=side))
        return found


@pytest.fixture
def line(service: LocalService) -> Iterator[Line]:
    with Line(service) as line:
        yield line


# ── answers that are lost ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("side", ["client", "server"])
@pytest.mark.parametrize("dedup_id", [None, "order-42"])
def test_an_event_whose_answer_is_lost_is_stored_once(
    line: Line, tenant: Tenant, connect: Connect, side: Side, dedup_id: str | None
) -> None:
    client = connect(line.url, tenant.key)
    line.cut(b"/api/events" if side == "client" else b"202 Accepted", side=side)
    sent = client.send("order.created", {"id": 42}, dedup_id=dedup_id)
    assert line.do(lambda proxy: proxy.accepted) == 2
    (event,) = client.events.list()
    assert event.id == sent.id
    # Of its own dedup_id the client knows that nobody else has it. A request whose sender is gone may
    # or may not be worked off.
    if side == "server" or dedup_id is None:
        assert sent.duplicate is (dedup_id is not None)


def test_of_many_events_whose_answer_is_lost_each_is_stored_once(
    line: Line, tenant: Tenant, connect: Connect
) -> None:
    client = connect(line.url, tenant.key)
    line.cut(b"202 Accepted", side="server")
    report = client.send_many(NewEvent("a", number) for number in range(1500))
    assert (report.accepted, report.duplicates) == (1500, 0)
    assert sorted(event.payload for event in client.events.list(page_size=1000)) == [*range(1500)]


def test_what_cannot_be_repeated_is_not_and_says_that_it_may_have_happened(
    line: Line, tenant: Tenant, connect: Connect
) -> None:
    client = connect(line.url, tenant.key)
    line.cut(b"201 Created", side="server")
    with pytest.raises(NoAnswer) as lost:
        client.subscriptions.create("http://127.0.0.1:9/hook")
    assert (lost.value.may_have_arrived, lost.value.attempts) == (True, 1)
    assert lost.value.request_id
    assert len([*client.subscriptions.list()]) == 1


def test_what_was_deleted_under_a_lost_answer_is_deleted(
    line: Line, tenant: Tenant, connect: Connect
) -> None:
    client = connect(line.url, tenant.key)
    made = client.subscriptions.create("http://127.0.0.1:9/hook")
    line.cut(b"204 No Content", side="server")
    client.subscriptions.delete(made.id)
    assert client.subscriptions.list().first() is None


def test_a_service_that_comes_back_in_time_was_never_away(
    service: LocalService, tenant: Tenant, connect: Connect
) -> None:
    with Line(service) as line:
        client = connect(line.url, tenant.key)
        client.send("a", dedup_id="1")
        line._run(line.proxy.down())
        back = threading.Timer(0.3, lambda: line._run(line.proxy.up()))
        back.start()
        assert client.send("a", dedup_id="2").id
        back.join()


def test_connections_that_ended_while_idle_are_no_failure(
    line: Line, tenant: Tenant, connect: Connect
) -> None:
    client = connect(line.url, tenant.key, retry=Retry(max_attempts=2))
    for number in range(3):
        client.send("a", dedup_id=str(number))
        line._run(line.proxy.down())
        line._run(line.proxy.up())
    # Also for what cannot be asked twice: the end of the connection was seen before.
    assert client.subscriptions.create("http://127.0.0.1:9/hook").id


# ── answers that do not come ──────────────────────────────────────────────────────────────────────


def test_a_service_that_swallows_everything_costs_the_deadline_and_no_more(
    line: Line, tenant: Tenant, connect: Connect
) -> None:
    retry = Retry(longest_delay_s=0.4)
    client = connect(line.url, tenant.key, timeout_s=4, attempt_timeout_s=0.3, retry=retry)
    line.do(lambda proxy: proxy.swallow())
    begun = time.monotonic()
    with pytest.raises(DeadlineExceeded) as over:
        client.send("a")
    # It ends as soon as the next pause, of 0.4 s at the most, would be longer than what is left.
    assert 3.5 < time.monotonic() - begun < LONG_S
    assert over.value.attempts >= 2
    assert over.value.may_have_arrived


def test_an_answer_that_drips_is_not_waited_for(connect: Connect) -> None:
    """Each byte comes in time; all of them would not."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        ended = threading.Event()

        def drip() -> None:
            taken, _ = server.accept()
            with closing(taken):
                taken.recv(65536)
                for byte in b"HTTP/1.1 202 Accepted\r\nContent-Length: 10000\r\n\r\n" + b" " * 9999:
                    if ended.wait(0.05):
                        return
                    try:
                        taken.send(bytes([byte]))
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        client = connect(f"http://127.0.0.1:{server.getsockname()[1]}", KEY, timeout_s=2)
        begun = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            client.send("a")
        assert time.monotonic() - begun < LONG_S
        ended.set()
        thread.join()


def test_where_nobody_listens_is_said_so(connect: Connect) -> None:
    client = connect(f"http://127.0.0.1:{free_port()}", KEY, retry=Retry(max_attempts=2))
    with pytest.raises(NoAnswer) as lost:
        client.send("a")
    assert (lost.value.may_have_arrived, lost.value.attempts) == (False, 2)
    assert KEY not in str(lost.value)


@pytest.mark.parametrize("said", [b"SSH-2.0-OpenSSH\r\n", b"\0\0\0\0", b"HTTP/1.1 abc\r\n\r\n"])
def test_what_does_not_speak_http_is_not_asked_again(connect: Connect, said: bytes) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        ended = threading.Event()

        def answer() -> None:
            connection, _ = server.accept()
            with closing(connection):
                connection.sendall(said)
                connection.recv(65536)
                connection.shutdown(socket.SHUT_WR)
                # Closed before all is read, it would be reset: a lost connection, and not an odd answer.
                discard(connection, until=ended)

        thread = threading.Thread(target=answer)
        thread.start()
        client = connect(f"http://127.0.0.1:{server.getsockname()[1]}", KEY, timeout_s=20)
        try:
            with pytest.raises(NoAnswer, match="does not speak HTTP"):
                client.send("a")
        finally:
            ended.set()
            thread.join()


def test_what_answers_otherwise_is_not_the_service(script: LocalReceiver, connect: Connect) -> None:
    client = connect(base(script), KEY)
    script.replies(web.Response(status=200, body=b"<h1>hello</h1>", content_type="text/html"))
    with pytest.raises(UnexpectedAnswer):
        client.send("a")
    script.replies(web.Response(status=302, headers={"Location": "/elsewhere"}))
    with pytest.raises(UnexpectedAnswer):
        client.events.get("evt_1")
    assert [request.path for request in script.requests] == ["/api/events", "/api/events/evt_1"]


def test_a_refusal_that_comes_before_the_whole_request_is_read(connect: Connect) -> None:
    """A proxy that has seen enough says so, and closes; the rest of the request has nowhere to go."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        ended = threading.Event()

        def refuse() -> None:
            taken, _ = server.accept()
            with closing(taken):
                taken.recv(1000)
                taken.sendall(
                    b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )
                taken.shutdown(socket.SHUT_WR)
                discard(taken, until=ended)

        thread = threading.Thread(target=refuse)
        thread.start()
        client = connect(f"http://127.0.0.1:{server.getsockname()[1]}", KEY, timeout_s=20)
        try:
            with pytest.raises(TooLarge):
                client.send("a", "x" * (8 << 20))
        finally:
            ended.set()
            thread.join()


def test_the_certificate_of_an_https_service_is_checked(
    service: LocalService, connect: Connect
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    async def answer(_: web.Request) -> web.Response:
        return accepted()

    async def serve() -> web.AppRunner:
        application = web.Application()
        application.router.add_route("*", "/{rest:.*}", answer)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        return runner

    runner = service._loop.run(serve())
    url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    try:
        assert connect(url, KEY, ssl_context=trusting).send("a").id == "evt_1"
        begun = time.monotonic()
        with pytest.raises(NoAnswer, match="certificate") as refused:
            connect(url, KEY).send("a")
        # It is not asked again: a certificate does not get better.
        assert refused.value.attempts == 1
        assert time.monotonic() - begun < LONG_S
    finally:
        service._loop.run(runner.cleanup())


# ── refusals ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("status", "code"), [(429, "rate-limited"), (503, "overloaded")])
def test_a_retry_after_is_kept(
    script: LocalReceiver, connect: Connect, status: int, code: str
) -> None:
    script.replies(refusal(status, code, after="1"), accepted())
    client = connect(base(script), KEY)
    begun = time.monotonic()
    client.send("a")
    assert time.monotonic() - begun >= 1.0
    first, second = script.requests
    assert first.json["dedup_id"] == second.json["dedup_id"]
    assert first.headers["x-request-id"] == second.headers["x-request-id"]


def test_a_retry_after_that_is_too_long_is_told_instead(
    script: LocalReceiver, connect: Connect
) -> None:
    script.always(refusal(503, "draining", after="3600"))
    begun = time.monotonic()
    with pytest.raises(Unavailable) as refused:
        connect(base(script), KEY).send("a")
    assert time.monotonic() - begun < LONG_S
    assert (refused.value.code, refused.value.retry_after_s) == ("draining", 3600.0)
    assert len(script.requests) == 1


def test_the_services_own_limit_is_waited_for(
    service: LocalService, tenant: Tenant, connect: Connect
) -> None:
    path = f"/api/admin/organizations/{tenant.id}"
    limits = {"rate_limit": 1, "rate_burst": 2}
    assert service.call("PATCH", path, limits, key=service.admin_key).status == 200
    client = connect(service.url, tenant.key, timeout_s=20)
    # A batch may not be larger than the burst: it is sent in parts, for as long as there is time to.
    with pytest.raises(SendInterrupted) as interrupted:
        client.send_many(NewEvent("a", number) for number in range(8))
    assert isinstance(interrupted.value.__cause__, RateLimited)
    report, unsent = interrupted.value.report, interrupted.value.unsent
    assert report.accepted == 2
    assert [event.payload for event in unsent] == [2, 3, 4, 5, 6, 7]
    service.call("PATCH", path, {"rate_limit": 0}, key=service.admin_key)
    assert client.send_many(unsent).accepted == 6
    assert [event.payload for event in client.events.list()] == [7, 6, 5, 4, 3, 2, 1, 0]


def test_one_event_of_many_that_is_too_large_for_any_request_costs_the_others_nothing(
    service: LocalService, tenant: Tenant, connect: Connect
) -> None:
    client = connect(service.url, tenant.key)
    report = client.send_many([NewEvent("a"), NewEvent("a", "x" * (6 << 20)), NewEvent("a")])
    assert [each.status for each in report.results] == ["accepted", "rejected", "accepted"]
    error = report.results[1].error
    assert error is not None
    assert error.code == "too-large"


def test_when_many_are_interrupted_it_is_known_which_are_left(
    script: LocalReceiver, connect: Connect
) -> None:
    client = connect(base(script), KEY)
    script.replies(web.Response(status=401, body=b'{"code":"unauthorized"}', content_type=PROBLEM))
    source = iter([NewEvent("a", number) for number in range(1203)])
    with pytest.raises(SendInterrupted) as interrupted:
        client.send_many(source)
    assert isinstance(interrupted.value.__cause__, Unauthorized)
    assert [event.payload for event in interrupted.value.unsent] == [*range(1203)]
    sent = [event["dedup_id"] for event in script.requests[0].json["events"]]
    assert [event.dedup_id for event in interrupted.value.unsent[:1000]] == sent


# ── streams ───────────────────────────────────────────────────────────────────────────────────────


def test_a_stream_that_breaks_goes_on_where_it_was(
    line: Line, tenant: Tenant, connect: Connect
) -> None:
    client = connect(line.url, tenant.key)
    client.send("a", 0)
    with client.events.stream() as stream:
        events = iter(stream)
        client.send("a", 1)
        assert next(events).payload == 1
        line.do(lambda proxy: proxy.reset())
        line.do(lambda proxy: proxy.pass_on())
        for number in (2, 3):
            client.send("a", number)
        assert [next(events).payload, next(events).payload] == [2, 3]


def test_a_stream_whose_connection_broke_before_the_first_event_misses_none(
    line: Line, tenant: Tenant, connect: Connect
) -> None:
    client = connect(line.url, tenant.key)
    client.send("a", 0)
    line.cut(b"text/event-stream", side="server")
    with client.events.stream() as stream:
        client.send("a", 1)
        assert next(iter(stream)).payload == 1


def test_a_stream_waits_for_a_service_that_is_not_ready(
    script: LocalReceiver, connect: Connect
) -> None:
    async def one(_: Received) -> web.StreamResponse:
        return web.Response(
            body=b': hello\n\nid: evt_2\ndata: {"id":"evt_2"}\n\n', content_type="text/event-stream"
        )

    script.replies(refusal(503, "store-unavailable"), one)
    with connect(base(script), KEY).events.stream(after="evt_1") as stream:
        assert next(iter(stream)).id == "evt_2"
    assert [each.headers["last-event-id"] for each in script.requests] == ["evt_1", "evt_1"]


def test_a_stream_is_ended_from_another_thread(service: LocalService, tenant: Tenant) -> None:
    with Client(service.url, tenant.key) as client:
        client.send("a")
        stream = client.events.stream()
        ended = threading.Timer(0.2, stream.close)
        ended.start()
        assert [*stream] == []
        ended.join()


# ── threads and processes ─────────────────────────────────────────────────────────────────────────


def test_threads_share_a_client_and_its_connections(line: Line, tenant: Tenant) -> None:
    with Client(line.url, tenant.key) as client:

        def send() -> None:
            for _ in range(10):
                client.send("a")

        threads = [threading.Thread(target=send) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len([*client.events.list()]) == 80
        assert line.do(lambda proxy: proxy.accepted) <= 9


def test_tasks_share_a_client_and_its_connections(line: Line, tenant: Tenant) -> None:
    from triggers_api.client import AsyncClient  # noqa: PLC0415 - loads aiohttp

    async def main() -> int:
        async with AsyncClient(line.url, tenant.key) as client:
            await asyncio.gather(*(client.send("a") for _ in range(80)))
            return len([event async for event in client.events.list()])

    assert asyncio.run(main()) == 80


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_does_not_use_its_parents_connections(line: Line, tenant: Tenant) -> None:
    with Client(line.url, tenant.key) as client:
        client.send("a", "parent")
        child = os.fork()
        if child == 0:
            try:
                client.send("a", "child")
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        assert status == 0
        assert client.send("a", "parent").id
        assert len([*client.events.list()]) == 3
        assert line.do(lambda proxy: proxy.accepted) == 2


def test_an_answer_with_more_than_is_known_here_is_read(
    script: LocalReceiver, connect: Connect
) -> None:
    script.replies(
        web.Response(
            body=b'{"id":"evt_1","type":"a","payload":1,"status":"a-new-one","colour":{"a":[1]},'
            b'"deliveries":[{"id":"dlv_1","status":"resting","mood":3}]}',
            content_type="application/json",
        )
    )
    event = connect(base(script), KEY).events.get("evt_1")
    assert (event.status, event.deliveries[0].status) == ("a-new-one", "resting")
