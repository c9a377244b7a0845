"""What the service says about itself in each state it can be in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families
from tests.conftest import Enter, MakeService, Run, new_key, own_organization
from tests.rooms import rooms
from tests.scenario.conftest import Ask

from triggers_api import __version__
from triggers_api.errors import StorageFull, StoreUnavailable
from triggers_api.testing import ADMIN_KEY, FrozenClock, Receiver, Service

DETAILED: Final = {
    "status", "database", "redis", "queues", "workers", "controls", "switches", "durability", "config",
    "version", "limits", "buffer",
}  # fmt: skip
QUEUES: Final = {
    "event_queue_length", "webhook_queue_length", "event_pending_processing",
    "webhook_pending_processing",
}  # fmt: skip
CONFIG: Final = {
    "role", "max_concurrent_events", "batch_size", "delivery_concurrency", "delivery_timeout_s",
    "lease_s", "rate_limit", "rate_burst", "max_queue_depth", "queue_warn_depth", "max_queue_age_s",
    "max_organization_queue_depth", "max_organization_queue_age_s", "disk_reserve_mb", "db_pool_size",
    "db_max_overflow", "db_pool_wait_s", "db_pool_recycle_s", "redis_stream_max_length",
}  # fmt: skip
DURABILITY: Final = {
    "sqlite": ("sqlite", {"journal_mode": "wal", "synchronous": "full"}),
    "postgres": (
        "postgresql", {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
    ),
}  # fmt: skip
WORKER: Final = {"id", "roles", "version", "started_at", "seen_at"}

pytestmark = pytest.mark.usefixtures("fresh_numbers")


def ready(service: Service, run: Run) -> tuple[int, Any]:
    answer = run(service.call("GET", "/readyz", key=None))
    same = run(service.call("GET", "/health/ready", key=None))
    assert (answer.status, answer.json) == (same.status, same.json)
    assert set(answer.json) == {"status", "checks", "queue"}
    assert set(answer.json["queue"]) == {
        "depth", "warn_depth", "level", "stuck", "oldest_age_s", "refusing", "drain_rate",
    }  # fmt: skip
    return answer.status, answer.json


def detailed(service: Service, run: Run) -> Any:  # noqa: ANN401 - JSON
    answer = run(service.call("GET", "/api/health/detailed"))
    assert answer.status == 200
    assert set(answer.json) == DETAILED
    assert set(answer.json["queues"]) == QUEUES
    assert set(answer.json["config"]) == CONFIG
    assert all(set(worker) == WORKER for worker in answer.json["workers"])
    return answer.json


def test_a_healthy_service_says_so_in_the_seeds_words(service: Service, run: Run) -> None:
    for path in ("/health", "/api/health", "/livez"):
        answer = run(service.call("GET", path, key=None))
        assert (answer.status, answer.json) == (
            200,
            {"status": "healthy", "service": "Triggers API"},
        )
    status, shown = ready(service, run)
    assert (status, shown["status"]) == (200, "ready")
    assert set(shown["checks"].values()) == {"ok"}
    assert shown["queue"] == {
        "depth": 0, "warn_depth": 1000, "level": "normal", "stuck": 0, "oldest_age_s": 0.0,
        "refusing": None, "drain_rate": 0.0,
    }  # fmt: skip


def test_health_in_detail(
    service: Service, run: Run, ask: Ask, clock: FrozenClock, receiver: Receiver, engine: str
) -> None:
    shown = detailed(service, run)
    assert (shown["status"], shown["database"], shown["redis"]) == (
        "healthy", "healthy", "not_configured",
    )  # fmt: skip
    assert shown["version"] == __version__
    assert shown["config"]["max_concurrent_events"] == 20
    assert shown["controls"]["processing"] == "running"
    durability = shown["durability"]
    assert (durability["engine"], durability["settings"]) == DURABILITY[engine]
    assert shown["workers"] == [
        {
            "id": service.app.worker_id,
            "roles": "api,processor,dispatcher",
            "version": __version__,
            "started_at": "2026-01-01T12:00:00.000Z",
            "seen_at": "2026-01-01T12:00:00.000Z",
        }
    ]
    # Numbers move with what happens.
    run(service.subscribe(receiver.url, retry_schedule=[60]))
    receiver.replies(500)
    ask.event()
    ask.drain()
    ask.turn(delivery="paused")
    for _ in range(3):
        ask.event()
    assert detailed(service, run)["queues"] == {
        "event_queue_length": 3, "webhook_queue_length": 1, "event_pending_processing": 0,
        "webhook_pending_processing": 0,
    }  # fmt: skip
    run(service.app.store.claim_queue(2, 45))
    assert detailed(service, run)["queues"]["event_pending_processing"] == 2
    run(service.app.processor.run_once())
    assert detailed(service, run)["queues"] == {
        "event_queue_length": 2, "webhook_queue_length": 2, "event_pending_processing": 2,
        "webhook_pending_processing": 0,
    }  # fmt: skip
    clock.advance(seconds=60)
    run(service.app.store.claim_deliveries(1, 45, rooms=rooms(10)))
    assert detailed(service, run)["queues"]["webhook_pending_processing"] == 1


def test_who_may_see_the_details(service: Service, run: Run) -> None:
    organization_id = run(own_organization(service))
    for scope, status in (("read", 200), ("ingest", 403), ("manage", 403)):
        key = run(new_key(service, organization_id, scopes=[scope]))["key"]
        assert run(service.call("GET", "/api/health/detailed", key=key)).status == status
    assert run(service.call("GET", "/api/health/detailed", key=ADMIN_KEY)).status == 200


def test_the_levels_of_the_queue(
    run: Run, enter: Enter, make_service: MakeService, clock: FrozenClock
) -> None:
    service = enter(make_service(clock=clock, queue_warn_depth=105))
    ask = Ask(service, run)
    for depth, level in ((100, "normal"), (101, "warning"), (105, "warning"), (106, "critical")):
        while ask.books()["queued"] < depth:
            ask.event()
        run(service.app.monitor.run_once())
        status, shown = ready(service, run)
        assert status == 200
        assert (shown["queue"]["depth"], shown["queue"]["level"]) == (depth, level)
    ask.drain()
    run(service.app.monitor.run_once())
    assert ready(service, run)[1]["queue"]["level"] == "normal"


def test_what_is_stuck_is_a_warning_and_what_merely_waits_is_not(
    service: Service, run: Run, ask: Ask, clock: FrozenClock
) -> None:
    ask.event()
    clock.advance(seconds=3600)
    run(service.app.monitor.run_once())
    queue = ready(service, run)[1]["queue"]
    assert queue == {
        "depth": 1, "warn_depth": 1000, "level": "normal", "stuck": 0, "oldest_age_s": 3600.0,
        "refusing": None, "drain_rate": 0.0,
    }  # fmt: skip
    run(service.app.store.claim_queue(1, 45))
    run(service.app.monitor.run_once())
    assert ready(service, run)[1]["queue"]["stuck"] == 0
    clock.advance(seconds=46)
    run(service.app.monitor.run_once())
    queue = ready(service, run)[1]["queue"]
    assert (queue["stuck"], queue["level"]) == (1, "warning")
    run(service.app.reaper.run_once())
    ask.drain()
    run(service.app.monitor.run_once())
    assert ready(service, run)[1]["queue"]["stuck"] == 0


def test_pauses_and_refusing_leave_it_ready(service: Service, run: Run, ask: Ask) -> None:
    for switches in (
        {"processing": "paused"}, {"delivery": "paused"}, {"delivery": "skip"}, {"ingest": "refuse"}
    ):  # fmt: skip
        ask.turn(**switches)
        assert ready(service, run)[0] == 200
        assert detailed(service, run)["status"] == "healthy"


@pytest.mark.parametrize("problem", [StorageFull, StoreUnavailable])
def test_a_store_that_cannot_be_written_to_is_not_ready_until_it_can(
    service: Service, run: Run, monkeypatch: pytest.MonkeyPatch, problem: type[Exception]
) -> None:
    async def check() -> None:
        raise problem

    with monkeypatch.context() as broken:
        broken.setattr(service.app.store, "check", check)
        run(service.app.monitor.run_once())
        status, shown = ready(service, run)
        assert (status, shown["status"]) == (503, "not-ready")
        for path in ("/readyz", "/health/ready"):
            assert run(service.call("GET", path)).headers["retry-after"] == "1"
        assert shown["checks"]["store"] == getattr(problem, "code", None)
        seen = detailed(service, run)
        assert (seen["status"], seen["database"]) == ("unhealthy", "unhealthy")
        assert run(service.call("GET", "/livez")).status == 200
    run(service.app.monitor.run_once())
    assert ready(service, run)[0] == 200
    assert "retry-after" not in run(service.call("GET", "/readyz")).headers
    assert detailed(service, run)["database"] == "healthy"


async def away(*_: object) -> None:
    raise StoreUnavailable


async def silent(*_: object) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("fault", [away, silent])
@pytest.mark.parametrize("verb", ["stats", "workers"])
def test_the_details_can_be_seen_while_the_store_cannot(
    service: Service,
    run: Run,
    ask: Ask,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[..., Awaitable[None]],
    verb: str,
) -> None:
    """They are asked for most when it is away."""
    ask.event()
    run(service.app.monitor.run_once())
    before = detailed(service, run)
    monkeypatch.setattr("triggers_api.http.health._PATIENCE_S", 0.01)
    monkeypatch.setattr(service.app.store, verb, fault)
    seen = detailed(service, run)
    assert seen["database"] == "unhealthy"
    assert seen["queues"] == before["queues"] != dict.fromkeys(before["queues"], 0)
    assert seen["workers"] == before["workers"]


@pytest.mark.parametrize("part", ["processor", "dispatcher", "reaper", "outbox", "heartbeat"])
def test_a_part_that_keeps_crashing_is_counted_and_not_ready_until_it_recovers(
    run: Run, enter: Enter, make_service: MakeService, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setattr("triggers_api.operate.loop._FIRST_BACKOFF_S", 0.001)
    monkeypatch.setattr("triggers_api.operate.heartbeat._EVERY_S", 0.1)
    # That the disk is slow at this moment is another story.
    monkeypatch.setattr("triggers_api.operate.monitor._OVERDUE_S", 60.0)
    monkeypatch.setattr("triggers_api.store.sqlite.store._STALLED_S", 60.0)
    service = make_service(sweep_s=0.1, max_poll_ms=100)
    broken = True

    async def until(state: str) -> None:
        while service.app.readiness().checks.get(part) != state:
            await service.call("GET", "/readyz")

    enter(service)
    run(until("ok"))
    turn = getattr(service.app, part).run_once

    async def run_once() -> float:
        if broken:
            raise RuntimeError("a bug")
        seconds: float = await turn()
        return seconds

    monkeypatch.setattr(getattr(service.app, part), "run_once", run_once)
    run(until("failing"))
    status, shown = ready(service, run)
    assert (status, shown["checks"][part]) == (503, "failing")
    seen = samples(service, run)
    assert (seen["triggers_ready"], seen[f'triggers_check{{check="{part}"}}']) == (0, 0)
    assert run(service.call("GET", "/livez")).status == 200
    broken = False
    run(until("ok"))
    assert ready(service, run)[0] == 200
    seen = samples(service, run)
    assert (seen["triggers_ready"], seen[f'triggers_check{{check="{part}"}}']) == (1, 1)
    assert seen[f'triggers_loop_crashes_total{{loop="{part}"}}'] >= 3


# ── metrics ───────────────────────────────────────────────────────────────────────────────────────


def samples(service: Service, run: Run) -> dict[str, float]:
    """Every sample by its name and labels."""
    answer = run(service.call("GET", "/metrics", key=None))
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = {}
    for family in text_string_to_metric_families(answer.body.decode()):
        assert family.documentation, family.name
        assert family.name.startswith(("triggers_", "process_"))
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


def test_metrics_can_be_parsed_and_move(
    service: Service, run: Run, ask: Ask, receiver: Receiver
) -> None:
    before = samples(service, run)
    receiver.replies(204, 500, web.Response(status=410))
    run(service.subscribe(receiver.url, retry_schedule=[10]))
    for number in range(3):
        ask.event(payload=number, dedup_id=f"id {number}")
        ask.drain()
    run(service.send("order.created", 1, dedup_id="id 0"))
    run(service.call("POST", "/api/events", b"["))
    ask.turn(ingest="refuse")
    run(service.send("a"))
    ask.turn(ingest=None)
    ask.event(deliver_at="2030-01-01T00:00:00Z")
    run(service.app.monitor.run_once())
    after = samples(service, run)

    def moved(name: str) -> float:
        return after[name] - before.get(name, 0)

    for outcome, count in (
        ("accepted", 4), ("duplicate", 1), ("rejected", 1), ("unavailable", 1), ("limited", 0)
    ):  # fmt: skip
        assert moved(f'triggers_ingest_seconds_count{{outcome="{outcome}"}}') == count
    assert moved("triggers_accepted_total") == 4
    assert moved("triggers_duplicates_total") == 1
    assert moved('triggers_processed_total{result="ok"}') == 3
    assert moved("triggers_batch_events_sum") == 3
    assert moved("triggers_accepted_to_routed_seconds_count") == 3
    assert moved('triggers_deliveries_total{status="succeeded"}') == 1
    assert moved('triggers_deliveries_total{status="retrying"}') == 1
    assert moved('triggers_deliveries_total{status="cancelled"}') == 1
    assert moved('triggers_attempt_seconds_count{outcome="succeeded"}') == 1
    assert moved("triggers_commit_seconds_count") > 0
    assert after["triggers_queue_depth"] == 0
    assert after["triggers_queue_scheduled"] == 1


def test_each_verb_of_the_store_is_timed_and_what_it_does_not_do_is_counted(
    service: Service, run: Run, ask: Ask, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask.event()
    ask.drain()
    run(service.app.monitor.run_once())

    async def read(*_: object) -> None:
        raise StoreUnavailable

    seen = samples(service, run)
    for verb in ("claim_queue", "fan_out", "stats", "changes", "beat"):
        assert seen[f'triggers_store_seconds_count{{verb="{verb}"}}'] > 0
    waits = ("wait_queue", "wait_deliveries", "watch_deliveries")
    assert not any(f'verb="{verb}"' in name for verb in waits for name in seen)
    # Where the engine itself asks its reader or its pool.
    inner, method = {"sqlite": ("_readers", "run"), "postgres": ("_sessions", "read")}[engine]
    monkeypatch.setattr(getattr(service.app.store, inner), method, read)
    assert run(service.call("GET", "/api/inboxes")).status == 503
    seen = samples(service, run)
    assert seen['triggers_store_failures_total{code="store-unavailable",verb="inboxes"}'] == 1
    assert seen['triggers_store_seconds_count{verb="inboxes"}'] == 1


def test_what_is_switched_off_shows(service: Service, run: Run, ask: Ask) -> None:
    def paused() -> list[float]:
        seen = samples(service, run)
        parts = ("ingest", "processing", "delivery")
        return [seen[f'triggers_paused{{part="{part}"}}'] for part in parts]

    assert paused() == [0, 0, 0]
    ask.turn(ingest="refuse", processing="paused")
    assert paused() == [1, 1, 0]
    ask.turn(ingest="sync", processing="running", delivery="skip")
    assert paused() == [0, 0, 1]


def test_whether_it_is_ready_shows_with_each_check(
    service: Service, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = samples(service, run)
    assert seen["triggers_ready"] == 1
    assert seen['triggers_check{check="store"}'] == seen['triggers_check{check="accepting"}'] == 1
    monkeypatch.setattr(service.app.store, "check", away)
    run(service.app.monitor.run_once())
    seen = samples(service, run)
    assert (seen["triggers_ready"], seen['triggers_check{check="store"}']) == (0, 0)
    assert seen['triggers_check{check="accepting"}'] == 1


def test_the_process_tells_its_version_and_what_it_uses(service: Service, run: Run) -> None:
    seen = samples(service, run)
    assert seen[f'triggers_build_info{{version="{__version__}"}}'] == 1
    assert seen["process_resident_memory_bytes"] > 1 << 20
    assert seen["process_open_fds"] > 3


def test_no_label_grows_with_what_callers_choose(
    service: Service, run: Run, ask: Ask, receiver: Receiver
) -> None:
    for number in range(3):
        run(service.subscribe(f"{receiver.url}/{number}", [f"type.{number}"]))
        ask.event(f"type.{number}")
    ask.drain()
    names = set(samples(service, run))
    for number in range(3, 9):
        run(service.subscribe(f"{receiver.url}/{number}", [f"type.{number}"]))
        ask.event(f"type.{number}")
        run(service.call("GET", f"/nowhere/{number}"))
    ask.drain()
    assert set(samples(service, run)) == names
