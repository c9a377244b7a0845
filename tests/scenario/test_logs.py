"""What an operator greps for, by its exact name, and what must never be found."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web
from tests.cli.conftest import Serving
from tests.conftest import Enter, Log, MakeService, Run
from tests.faults.server import until
from tests.scenario.conftest import Ask
from tests.servers.collector import Collector

from triggers_api.testing import ADMIN_KEY, FrozenClock, Receiver, Service


def lines(log: Log, event: str) -> list[dict[str, Any]]:
    return [dict(line) for line in log if line["event"] == event]


def test_a_batch_is_summed_up_in_one_line(
    service: Service, run: Run, ask: Ask, receiver: Receiver, log: Log
) -> None:
    run(service.subscribe(receiver.url))
    run(service.subscribe(receiver.url))
    for number in range(5):
        ask.event(payload=number)
    ask.drain()
    (line,) = lines(log, "batch summary")
    assert line.pop("duration_ms") > 0
    assert line == {
        "event": "batch summary", "log_level": "info", "events": 5, "ok": 5, "stale": 0, "error": 0,
        "timeout": 0, "set_aside": 0, "deliveries": 10,
    }  # fmt: skip


def test_a_duplicate_is_named_by_the_first_events_id(ask: Ask, log: Log) -> None:
    first = ask.event(dedup_id="twice")
    ask.run(ask.service.send("order.created", 1, dedup_id="twice"))
    (line,) = lines(log, "duplicate by constraint")
    assert (line["event_id"], line["log_level"]) == (first, "info")
    assert set(line) == {"event", "log_level", "event_id", "organization_id"}


@pytest.mark.usefixtures("fresh_numbers")
def test_a_queue_above_its_threshold_is_warned_about_once_a_minute(
    run: Run, enter: Enter, make_service: MakeService, clock: FrozenClock, log: Log
) -> None:
    service = enter(make_service(clock=clock, queue_warn_depth=3))
    ask = Ask(service, run)
    for _ in range(3):
        ask.event()
    run(service.app.monitor.run_once())
    assert lines(log, "queue depth exceeds threshold") == []
    clock.advance(seconds=2)
    ask.event()
    for _ in range(5):
        run(service.app.monitor.run_once())
    assert lines(log, "queue depth exceeds threshold") == [
        {
            "event": "queue depth exceeds threshold",
            "log_level": "warning",
            "depth": 4,
            "threshold": 3,
            "oldest_age_s": 2.0,
        }
    ]
    # When it was below and rises again, that is news.
    ask.drain()
    run(service.app.monitor.run_once())
    for _ in range(4):
        ask.event()
    run(service.app.monitor.run_once())
    assert len(lines(log, "queue depth exceeds threshold")) == 2


def test_an_empty_queue_is_said_once_when_the_longest_pause_is_reached(
    service: Service, run: Run, ask: Ask, log: Log
) -> None:
    for _ in range(12):
        run(service.app.processor.run_once())
    backing_off = {"event": "queue empty, backing off", "log_level": "info", "poll_s": 2.0}
    assert lines(log, "queue empty, backing off") == [backing_off]
    ask.event()
    for _ in range(12):
        run(service.app.processor.run_once())
    assert lines(log, "queue empty, backing off") == [backing_off] * 2


def test_switched_off_delivery_is_counted_in_one_line(
    service: Service, run: Run, ask: Ask, log: Log, receiver: Receiver
) -> None:
    run(service.subscribe(receiver.url))
    ask.turn(delivery="skip")
    for number in range(4):
        ask.event(payload=number)
    run(service.app.processor.run_once())
    run(service.app.dispatcher.run_once())
    assert lines(log, "delivery off, skipped") == [
        {"event": "delivery off, skipped", "log_level": "info", "count": 4}
    ]


def test_an_attempt_is_one_wide_line(
    service: Service, run: Run, ask: Ask, log: Log, receiver: Receiver
) -> None:
    subscription = run(service.subscribe(receiver.url, retry_schedule=[10]))
    receiver.replies(500)
    sent = ask.event()
    ask.drain()
    (line,) = lines(log, "delivery attempted")
    assert line["event_id"] == sent
    assert line["subscription_id"] == subscription["id"]
    assert line["delivery_id"] == ask.delivery(sent)["id"]
    assert (line["attempt"], line["outcome"], line["status_code"]) == (1, "retrying", 500)
    assert line["next_attempt_at"] == ask.delivery(sent)["next_attempt_at"]
    # A receiver's failure is an outcome, not an error of ours.
    assert line["log_level"] == "info"


# ── what must never be found ──────────────────────────────────────────────────────────────────────

CANARY: Final = "CANARY"
KEYS: Final = {
    "TRIGGERS_API_KEY": f"{CANARY}-api-key-0123456789",
    "TRIGGERS_ADMIN_KEY": f"{CANARY}-admin-key-0123456789",
    "TRIGGERS_SECRET_KEY": f"{CANARY}-secret-key-0123456789",
    "TRIGGERS_OLD_SECRET_KEYS": f"{CANARY}-old-key-0123456789 {CANARY}-older-key-0123456789",
}
SECRET: Final = "whsec_" + base64.b64encode(f"{CANARY}-signing-secret-01".encode()).decode()
HEADERS: Final = (
    "Accept", "Accept-Language", "Cookie", "Forwarded", "Origin", "Referer", "traceparent",
    "tracestate", "User-Agent", "X-Forwarded-For", "X-Forwarded-Host",
)  # fmt: skip
ENCODED: Final = SECRET.removeprefix("whsec_")[:16]
EVENT: Final[dict[str, Any]] = {
    "type": f"{CANARY}.type",
    "payload": {f"{CANARY}-key": f"{CANARY}-value", "n": [f"{CANARY}-deep"]},
    "source": f"{CANARY}-source",
    "key": f"{CANARY}-key",
    "metadata": {f"{CANARY}-name": f"{CANARY}-value"},
}
FIELDS: Final[dict[str, Any]] = {
    "event_types": [f"{CANARY}.*"],
    "headers": {f"X-{CANARY}": f"{CANARY}-header"},
    "description": f"{CANARY}-description",
    "metadata": {f"{CANARY}-name": f"{CANARY}-value"},
    "secret": SECRET,
    "auth": {"type": "basic", "username": f"{CANARY}-user", "password": f"{CANARY}-password"},
    "retry_schedule": [0.01],
}
QUERY: Final = f"/{CANARY}-path?token={CANARY}-query"


class Story:
    """Canaries in every field, through success, failure and refusal; and what was said about it."""

    def __init__(
        self, serving: Serving, receiver: Receiver, session: aiohttp.ClientSession
    ) -> None:
        self.refusals: list[str] = []
        self.metrics = ""
        self.log = ""
        self.traces = ""
        self._serving = serving
        self._receiver = receiver
        self._session = session

    def everywhere(self) -> Iterator[str]:
        yield self.log
        yield self.traces
        yield self.metrics
        yield from self.refusals

    async def tell(self) -> None:
        await self.deliver_and_fail()
        await self.be_refused_for_a_field()
        await self.be_refused_for_the_request()
        await self.switch_off_and_exceed_the_rate()
        self.metrics = await self.measured()

    async def measured(self) -> str:
        async with self._session.get(f"{self._serving.url}/metrics") as answer:
            return await answer.text()

    async def has_counted(self, sample: str) -> bool:
        return any(
            line.startswith(f"{sample} ") and float(line.split()[-1]) > 0
            for line in (await self.measured()).splitlines()
        )

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str = KEYS["TRIGGERS_API_KEY"],
        **headers: str,
    ) -> Any:  # noqa: ANN401 - JSON
        sent = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"} | headers
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        async with self._session.request(
            method, self._serving.url + path, data=data, headers=sent
        ) as answer:
            text = await answer.text()
            if answer.status >= 400:
                self.refusals.append(text + str(answer.headers))
                return None
            return json.loads(text) if text else None

    async def unparsed(self, request: str) -> None:
        """Send what is not HTTP."""
        host, _, port = self._serving.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request.encode())
        answer = await reader.read()
        writer.close()
        assert answer.startswith(b"HTTP/1.1 4")
        self.refusals.append(answer.decode())

    async def deliver_and_fail(self) -> None:
        call, receiver = self.call, self._receiver
        echo = web.Response(status=500, text=f"{CANARY}-answer", headers={"Retry-After": CANARY})
        receiver.replies(echo, echo, 302, 429, 200)
        for url in (receiver.url + QUERY, f"http://127.0.0.1:9{QUERY}"):
            await call("POST", "/api/subscriptions", {"url": url, **FIELDS})
        await call(
            "PATCH",
            "/api/organization",
            {"name": f"{CANARY}-name", "webhook_url": receiver.url + QUERY},
        )
        for number in range(4):
            await call("POST", "/api/events", EVENT | {"dedup_id": f"{CANARY}-{number}"})
        await call("POST", "/api/events", EVENT | {"dedup_id": f"{CANARY}-0"})
        await call("POST", "/api/events", EVENT, **{"Idempotency-Key": f"{CANARY}-1"})
        await receiver.wait_for(8)
        receiver.always(web.Response(status=410, text=f"{CANARY}-gone"))
        await call("POST", "/api/events", EVENT | {"dedup_id": f"{CANARY}-gone"})
        await receiver.wait_for(10)

    async def be_refused_for_a_field(self) -> None:
        for name, value in (
            ("type", f"{CANARY} not a type"), ("dedup_id", f"{CANARY}\n"), ("source", f"{CANARY}\0"),
            ("key", CANARY * 100), ("occurred_at", CANARY), ("deliver_at", CANARY),
            ("metadata", {"a": f"{CANARY}\0"}), ("metadata", CANARY), ("payload", ...),
            ("type", [CANARY]), ("event_type", f"{CANARY}.other"), ("event_id", f"{CANARY}-x"),
        ):  # fmt: skip
            bad = {k: v for k, v in (EVENT | {name: value}).items() if v is not ...}
            await self.call("POST", "/api/events", bad | {"external_id": f"{CANARY}-y"})
        for name, value in (
            ("url", f"ftp://{CANARY}:{CANARY}@x/{CANARY}"), ("url", f"http://10.0.0.1{QUERY}"),
            ("secret", f"{CANARY}-short"), ("secret", f"whsec_{CANARY}!"), ("expires_at", CANARY),
            ("headers", {"X-A": f"{CANARY}\n"}), ("auth", {"type": "bearer", "token": f"{CANARY} x"}),
            ("auth", {"type": "basic", "username": f"{CANARY}:", "password": f"{CANARY}\n"}),
            ("event_types", [f"{CANARY} x"]),
            ("url", f"https://{CANARY}.invalid{QUERY}"), ("retry_schedule", CANARY),
        ):  # fmt: skip
            usual = {"url": f"http://127.0.0.1:9{QUERY}"} | FIELDS
            await self.call("POST", "/api/subscriptions", usual | {name: value})

    async def be_refused_for_the_request(self) -> None:
        call = self.call
        for body in (
            f'{{"type":"{CANARY}',
            f'"{CANARY}"',
            f'{{"payload":{CANARY}}}',
            "[" * 99 + CANARY,
        ):
            await call("POST", "/api/events", body.encode())
        wrong = f"{CANARY}-wrong-key-0123"
        await call("GET", "/api/events", key=wrong)
        await call("POST", "/api/events", EVENT, key=wrong)
        await call("GET", "/api/events", **{"X-API-Key": f"{CANARY}-another-key"})
        for path in (f"/api/events?api_key={CANARY}", f"/api/events?cursor={CANARY}",
                     f"/api/events/{CANARY}", f"/{CANARY}?{CANARY}={CANARY}"):  # fmt: skip
            await call("GET", path)
        await call("DELETE", f"/api/subscriptions/{CANARY}")
        everywhere = {name: f"{CANARY}-{name}" for name in HEADERS}
        for path in ("/api/events", "/api/subscriptions", "/nowhere"):
            await call("POST", path, b"[", **everywhere)
            await call("POST", path, {}, **everywhere | {"Content-Type": f"text/{CANARY}"})
            await call("POST", path, {}, **{"Content-Type": f"application/json; charset={CANARY}"})
            await call("POST", path, {}, **{"Content-Encoding": CANARY})
            await call("POST", path, {}, Authorization=f"Basic {CANARY}")
            await call(CANARY, path, {})
        for request in (
            f"{CANARY}\r\n\r\n",
            f"GET /{CANARY} HTTP/1.1\r\n{CANARY}\r\n\r\n",
            f"GET / HTTP/1.1\r\nX-Big: {CANARY * 6000}\r\n\r\n",
        ):
            await self.unparsed(request)

    async def switch_off_and_exceed_the_rate(self) -> None:
        call, admin = self.call, KEYS["TRIGGERS_ADMIN_KEY"]
        made = await call("GET", "/api/admin/organizations", key=admin)
        path = f"/api/admin/organizations/{made['data'][0]['id']}/keys"
        await call("POST", path, {"name": f"{CANARY}-key"}, key=admin)
        switches = {"delivery": "skip", "reason": CANARY}
        await call("PATCH", "/api/admin/controls", switches, key=admin)
        await call("POST", "/api/subscriptions", {"url": self._receiver.url + QUERY} | FIELDS)
        await call("POST", "/api/events", EVENT | {"dedup_id": f"{CANARY}-skipped"})
        skipped = 'triggers_deliveries_total{status="skipped"}'
        await until(lambda: self.has_counted(skipped), "it is skipped")
        for _ in range(60):
            await call("POST", "/api/events", EVENT)


async def told(serving: Serving, receiver: Receiver) -> Story:
    async with aiohttp.ClientSession() as session:
        story = Story(serving, receiver, session)
        await story.tell()
        return story


def with_password(url: str) -> str:
    """The database with a canary for a password; the server of the tests takes any."""
    parts = urlsplit(url)
    if parts.hostname is None or parts.password is not None:
        return url
    return url.replace(f"{parts.username}@", f"{parts.username}:{CANARY}-password@", 1)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_ones_data_and_no_secret_reaches_logs_metrics_traces_or_refusals(
    run: Run,
    enter: Enter,
    tmp_path: Path,
    database_url: str,
    log_format: str,
    collector: Collector,
) -> None:
    receiver = enter(Receiver())
    serving = Serving(
        tmp_path,
        "--log-level",
        "debug",
        "--log-format",
        log_format,
        "--allow-cidrs",
        "127.0.0.0/8",
        "--rate-limit",
        "60",
        "--rate-burst",
        "40",
        **KEYS,
        TRIGGERS_DATABASE_URL=with_password(database_url),
        TRIGGERS_OTEL_ENDPOINT=collector.url,
        TRIGGERS_OTEL_SAMPLE="1",
    )
    try:
        seen = run(told(serving, receiver), within_s=100)
        assert serving.end() == 0
        seen.log = serving.log
        seen.traces = collector.raw.decode("latin-1")
    finally:
        serving.close()
    # The story was told: each kind of line is there, and of span.
    assert {"POST /api/events", "append", "route", "POST"} == {
        span.name for span in collector.spans
    }
    for event in (
        "batch summary", "delivery attempted", "duplicate by constraint", "delivery off, skipped"
    ):  # fmt: skip
        assert event in seen.log
    assert 'outcome="limited"' in seen.metrics
    assert len(seen.refusals) > 50
    for text in seen.everywhere():
        for needle in (CANARY, CANARY.lower(), ENCODED, "Traceback"):
            assert needle not in text, text[max(0, text.find(needle) - 300) :][:600]


def test_in_the_process_even_a_bug_does_not_tell_what_an_event_holds(
    service: Service, ask: Ask, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    def route(event: Any) -> Any:  # noqa: ANN401 - a queued event
        raise ValueError(f"{CANARY} {event!r}")

    monkeypatch.setattr(service.app.processor, "_route", route)
    sent = ask.event(payload=CANARY, dedup_id=CANARY, source=CANARY)
    ask.drain()
    (line,) = lines(log, "routing failed")
    assert (line["event_id"], line["error"]) == (sent, "ValueError")
    assert CANARY not in str(log)
    assert ADMIN_KEY not in str(log)
