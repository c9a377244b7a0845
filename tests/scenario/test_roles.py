"""Several processes on one database: who does what, and what becomes of it when one is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from tests.conftest import BUFFERED, Enter, Log, MakeService, Run
from tests.rooms import rooms
from tests.servers.postgres import Postgres
from tests.servers.proxy import Proxy

from triggers_api.app import App
from triggers_api.model.delivery import DeliveryStatus
from triggers_api.store.base import RoutedEvent, Settlement
from triggers_api.testing import ADMIN_KEY, FrozenClock, Receiver, Service

HEALTH: Final = ("/health", "/api/health", "/livez", "/readyz", "/health/ready", "/metrics")
ELSEWHERE: Final = (
    ("GET", "/"),
    ("GET", "/docs"),
    ("GET", "/openapi.json"),
    ("GET", "/api/events"),
    ("POST", "/api/events"),
    ("POST", "/api/events?x=1"),
    ("GET", "/api/organization"),
    ("POST", "/api/subscriptions"),
    ("PATCH", "/api/admin/controls"),
    ("GET", "/api/admin/verify"),
)
KEYS: Final[dict[str, Any]] = {
    "api_key": "a-key-of-the-first-process",
    "admin_key": "an-operator-of-the-first",
}
OTHER_KEYS: Final[dict[str, Any]] = {
    "api_key": "a-key-of-the-second-process",
    "admin_key": "an-operator-of-the-2nd",
}

Leave = Callable[[AbstractAsyncContextManager[object]], None]


@pytest.fixture
def database_url(postgres: Postgres) -> Iterator[str]:
    """The engine for several processes; the other one refuses every role but one."""
    name = postgres.migrated_database()
    yield postgres.url(name)
    postgres.drop_database(name)


Process = Callable[..., Service]


@pytest.fixture
def process(enter: Enter, make_service: MakeService) -> Process:
    """Another process on the database of the test."""
    return lambda role="all", **options: enter(make_service(role=role, **options))


async def until(holds: Callable[[], bool], service: Service) -> None:
    """Keep asking a service, which lets everything else run, until something is so."""
    while not holds():
        await service.call("GET", "/livez")


def status(service: Service, run: Run, event_id: str) -> str:
    shown: str = run(service.call("GET", f"/api/events/{event_id}")).json["status"]
    return shown


# ── who does what ─────────────────────────────────────────────────────────────────────────────────


def test_what_one_process_takes_in_another_one_delivers(
    process: Process, run: Run, receiver: Receiver
) -> None:
    api = process("api", min_poll_ms=1, max_poll_ms=1)
    run(api.subscribe(receiver.url))
    event_id = run(api.send("order.created", {"id": 42})).json["id"]
    looks = api.app.metrics.registry
    run(until(lambda: looks.get_sample_value("triggers_queue_depth") == 1, api))
    assert status(api, run, event_id) == "queued"
    process("worker")
    run(receiver.wait_for(1))
    assert receiver.ids == [event_id]
    assert status(api, run, event_id) == "processed"


def test_the_parts_of_each_role_are_those_of_its_readiness(process: Process, engine: str) -> None:
    everywhere = {
        "store",
        "accepting",
        "heartbeat",
        "switches",
        "monitor",
        "peers",
        "workers",
        "lag",
        "rollups",
        "key uses",
    }
    work = {
        "reaper",
        "retention",
        "job retention",
        "audit retention",
        "eraser",
        "processor",
        "dispatcher",
        "outbox",
        "jobs",
        "sessions",
        "prober",
        "indexer",
        "expiry",
        "farewells",
    }
    limits = {"limits"}
    if engine == BUFFERED:
        work |= {"landing"}
    for role, parts in (("api", limits), ("worker", work), ("all", work | limits)):
        # The buffer is a part where there is one.
        assert set(process(role).app.readiness().checks) - {"buffer"} == everywhere | parts


def test_a_worker_answers_about_its_health_and_nothing_else(process: Process, run: Run) -> None:
    api, worker = process("api"), process("worker")
    for path in HEALTH:
        answer = run(worker.call("GET", path, key=None))
        assert answer.status == 200, path
    run(until(lambda: bool(worker.app.directory.organizations()), worker))
    assert run(worker.call("GET", "/api/health/detailed", key=None)).status == 401
    assert run(worker.call("GET", "/api/health/detailed")).json["config"]["role"] == "worker"
    for method, path in ELSEWHERE:
        body = None if method == "GET" else {"type": "a", "payload": 1}
        answer = run(worker.call(method, path, body, key=ADMIN_KEY))
        assert (answer.status, answer.json["code"]) == (404, "not-found"), path
        assert answer.headers["content-type"] == "application/problem+json"
    assert run(api.call("GET", "/api/admin/verify", key=ADMIN_KEY)).json["ok"]


def test_the_details_list_every_process_and_what_it_does(process: Process, run: Run) -> None:
    api = process("api", max_concurrent_events=3, db_max_overflow=1)
    worker = process("worker", db_pool_size=4)
    shown = run(api.call("GET", "/api/health/detailed")).json
    assert {each["id"]: each["roles"] for each in shown["workers"]} == {
        api.app.worker_id: "api",
        worker.app.worker_id: "processor,dispatcher",
    }
    assert shown["durability"]["engine"] == "postgresql"
    pool = {name: value for name, value in shown["config"].items() if name.startswith("db_")}
    assert pool == {
        "db_pool_size": 16, "db_max_overflow": 1, "db_pool_wait_s": 30.0,
        "db_pool_recycle_s": 3600.0,
    }  # fmt: skip


def test_a_process_that_has_ended_is_not_listed(process: Process, run: Run, leave: Leave) -> None:
    api, worker = process("api"), process("worker")
    leave(worker)
    shown = run(api.call("GET", "/api/health/detailed")).json
    assert [each["id"] for each in shown["workers"]] == [api.app.worker_id]


def test_what_an_operator_turns_in_one_process_holds_in_the_others(
    process: Process, run: Run, receiver: Receiver
) -> None:
    api, worker = process("api"), process("worker")
    run(api.subscribe(receiver.url))
    run(api.call("PATCH", "/api/admin/controls", {"delivery": "paused"}, key=ADMIN_KEY))
    run(until(lambda: worker.app.directory.controls.delivery == "paused", worker))
    event_id = run(api.send("a")).json["id"]
    shown = run(api.call("GET", "/api/health/detailed")).json
    assert shown["controls"]["delivery"] == "paused"
    while status(api, run, event_id) == "queued":
        pass
    assert receiver.requests == []
    run(api.call("PATCH", "/api/admin/controls", {"delivery": "running"}, key=ADMIN_KEY))
    run(receiver.wait_for(1))


# ── the first start ───────────────────────────────────────────────────────────────────────────────


def test_a_worker_leaves_the_first_keys_to_a_process_on_whose_screen_they_are_looked_for(
    process: Process, run: Run
) -> None:
    worker = process("worker", api_key=None, admin_key=None)
    assert worker.app.first_keys is None
    api = process("api", api_key=None, admin_key=None)
    assert api.app.first_keys is not None
    answer = run(api.call("GET", "/api/organization", key=api.app.first_keys.api_key))
    assert answer.json["id"] == api.app.first_keys.organization_id


@pytest.mark.parametrize("second", [KEYS, OTHER_KEYS], ids=["the same keys", "other keys"])
def test_processes_that_start_at_once_agree_on_one_organization_and_every_given_key_opens_it(
    run: Run,
    make_service: MakeService,
    postgres: Postgres,
    second: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    empty = postgres.url(postgres.create_database())
    services = [make_service(database_url=empty, **keys) for keys in (KEYS, second)]
    both = asyncio.Barrier(2)
    make = App._make_first_organization

    async def at_once(app: App) -> None:
        await both.wait()  # both have seen that there is none
        await make(app)

    monkeypatch.setattr(App, "_make_first_organization", at_once)

    async def start() -> None:
        await asyncio.gather(*(service.__aenter__() for service in services))

    async def end() -> None:
        for service in services:
            await service.__aexit__(None, None, None)

    run(start())
    try:
        for service in services:
            run(service.app.directory.refresh())
        opened = {
            run(service.call("GET", "/api/organization", key=keys["api_key"])).json["id"]
            for service in services
            for keys in (KEYS, second)
        }
        seen = [
            run(service.call("GET", "/api/admin/organizations", key=keys["admin_key"])).json["data"]
            for service in services
            for keys in (KEYS, second)
        ]
        assert [[each["id"] for each in listed] for listed in seen] == [[*opened]] * 4
        assert [service.app.first_keys is None for service in services].count(True) == 1
    finally:
        run(end())


# ── when one is gone ──────────────────────────────────────────────────────────────────────────────


def beat(run: Run, *services: Service) -> None:
    for service in services:
        run(service.app.heartbeat.run_once())


def freed(service: Service, kind: str) -> float | None:
    """How many it took over from processes that were lost."""
    sample = service.app.metrics.registry.get_sample_value
    return sample("triggers_recovered_total", {"kind": kind})


def silence(run: Run, clock: FrozenClock, beating: Service) -> None:
    """Eight seconds in which one process beats, and knows that it was not silent itself."""
    for _ in range(4):
        run(beating.drain())
        clock.advance(seconds=2)
        beat(run, beating)


def test_events_of_a_process_that_fell_silent_are_routed_by_another_within_ten_seconds(
    process: Process, run: Run, clock: FrozenClock, receiver: Receiver, log: Log
) -> None:
    lost, other = (process(clock=clock, lease_s=3600.0) for _ in range(2))
    run(lost.subscribe(receiver.url))
    run(other.app.directory.refresh())
    event_id = run(lost.send("a")).json["id"]
    claim = run(lost.app.store.claim_queue(9, 3600.0))
    silence(run, clock, other)
    assert receiver.requests == []
    run(other.drain())
    assert receiver.ids == [event_id]
    assert (freed(other, "event"), freed(other, "delivery")) == (1, 0)
    assert [line["event"] for line in log].count("work of silent processes freed") == 1
    # It only slept, and wakes up.
    late = [RoutedEvent(event, ()) for event in claim.events]
    assert run(lost.app.store.fan_out(claim.token, late)) == [event_id]


def test_deliveries_of_a_process_that_fell_silent_are_sent_by_another_within_ten_seconds(
    process: Process, run: Run, clock: FrozenClock, receiver: Receiver
) -> None:
    lost, other = (process(clock=clock, lease_s=3600.0) for _ in range(2))
    organization_id = run(lost.call("GET", "/api/organization")).json["id"]
    run(lost.subscribe(receiver.url))
    run(other.app.directory.refresh())
    event_id = run(lost.send("a")).json["id"]
    run(lost.app.processor.run_once())
    (held,) = run(lost.app.store.claim_deliveries(9, 3600.0, rooms=rooms(9))).deliveries
    silence(run, clock, other)
    assert receiver.requests == []
    run(other.drain())
    assert receiver.ids == [event_id]
    assert (freed(other, "event"), freed(other, "delivery")) == (0, 1)
    late = Settlement(organization_id, held.id, held.token, DeliveryStatus.DEAD, "woke up late")
    assert run(lost.app.store.settle([late])).stale == (held.id,)
    shown = run(other.call("GET", f"/api/deliveries/{held.id}")).json
    assert (shown["status"], shown["attempt_count"]) == ("succeeded", 1)


def test_a_process_that_beats_keeps_what_it_holds(
    process: Process, run: Run, clock: FrozenClock, receiver: Receiver
) -> None:
    slow, other = (process(clock=clock, lease_s=3600.0) for _ in range(2))
    run(slow.subscribe(receiver.url))
    run(slow.send("a"))
    assert len(run(slow.app.store.claim_queue(9, 3600.0)).events) == 1
    for _ in range(10):
        clock.advance(seconds=2)
        beat(run, slow, other)
        run(other.drain())
    assert receiver.requests == []


# ── when the database is away ─────────────────────────────────────────────────────────────────────


@pytest.fixture
def proxy(enter: Enter, database_url: str) -> Proxy:
    """Stands between the service and its database."""
    parts = urlsplit(database_url)
    if parts.hostname is None or "sslmode=" in parts.query:
        pytest.skip(
            "the given PostgreSQL is not reached by plain TCP, so nothing can stand between"
        )
    return enter(Proxy(parts.hostname, parts.port or 5432))


def ready(service: Service) -> bool:
    return service.app.readiness().ready


def store_of(service: Service) -> str:
    return service.app.readiness().checks["store"]


@pytest.mark.parametrize("fault", ["refused", "reset", "silent"])
def test_live_readiness_is_red_while_the_database_is_away_and_work_goes_on_when_it_is_back(
    process: Process, run: Run, database_url: str, proxy: Proxy, receiver: Receiver, fault: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("triggers_api.operate.monitor._PATIENCE_S", 0.5)
    monkeypatch.setattr("triggers_api.operate.heartbeat._PATIENCE_S", 0.5)
    service = process(database_url=proxy.url(database_url))
    run(service.subscribe(receiver.url))
    run(until(lambda: ready(service), service))

    async def away() -> None:
        if fault == "refused":
            await proxy.down()
        elif fault == "reset":
            proxy.reset()
        else:
            proxy.swallow()

    async def back() -> None:
        if fault == "refused":
            await proxy.up()
        proxy.pass_on()

    run(away())
    # Other parts may have noticed sooner.
    run(until(lambda: store_of(service) == "store-unavailable", service))
    assert not ready(service)
    assert run(service.call("GET", "/livez")).status == 200
    shown = run(service.call("GET", "/api/health/detailed")).json
    assert (shown["status"], shown["database"]) == ("unhealthy", "unhealthy")
    run(back())
    run(until(lambda: ready(service), service))
    sent = run(service.send("a", dedup_id="sent again until it is stored"))
    assert sent.status == 202, sent
    run(receiver.wait_for(1))


def test_an_event_taken_in_by_another_process_is_found_after_the_worker_was_cut_off(
    process: Process, run: Run, database_url: str, proxy: Proxy, receiver: Receiver
) -> None:
    api = process("api")
    worker = process("worker", database_url=proxy.url(database_url))
    subscription_id = run(api.subscribe(receiver.url))["id"]
    organization_id = run(api.call("GET", "/api/organization")).json["id"]
    known = worker.app.directory.subscription
    run(until(lambda: known(organization_id, subscription_id) is not None, worker))
    run(proxy.down())
    run(until(lambda: not ready(worker), worker))
    event_id = run(api.send("a")).json["id"]
    run(proxy.up())
    run(receiver.wait_for(1))
    assert receiver.ids == [event_id]
