"""``/api/stats`` and ``/api/admin/stats``: what was counted, of whom, and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.conftest import Enter, MakeService, Run, new_organization
from tests.http.conftest import assert_problem

from triggers_api.testing import ADMIN_KEY, API_KEY, FrozenClock, Receiver, Service


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock("2026-01-01T12:00:30Z")


@pytest.fixture
def service(make_service: MakeService, enter: Enter, clock: FrozenClock) -> Service:
    return enter(make_service(clock=clock))


def stats(
    service: Service, run: Run, query: str = "", *, key: str = API_KEY, path: str = "/api/stats"
) -> dict[str, Any]:
    answer = run(service.call("GET", f"{path}{query}", key=key))
    assert answer.status == 200, answer
    found: dict[str, Any] = answer.json
    return found


def everything(service: Service, run: Run, query: str = "") -> dict[str, Any]:
    return stats(service, run, query, key=ADMIN_KEY, path="/api/admin/stats")


def test_an_event_is_counted_from_its_coming_in_to_its_delivery(
    service: Service, run: Run, enter: Enter
) -> None:
    receiver = enter(Receiver())
    receiver.replies(500, 204)
    run(service.subscribe(receiver.url, retry_schedule=[]))
    for dedup_id in ("one", "one", "two"):
        run(service.send("order.created", 1, dedup_id=dedup_id))
    run(service.call("POST", "/api/events", {"type": "no payload"}))
    run(service.drain())
    total = stats(service, run)["total"]
    assert {name: total[name] for name in ("accepted", "duplicates", "rejected", "routed")} == {
        "accepted": 2, "duplicates": 1, "rejected": 1, "routed": 2,
    }  # fmt: skip
    assert total["deliveries"] == {"succeeded": 1, "dead": 1, "skipped": 0}
    assert total["attempts"] == {"total": 2, "succeeded": 1, "failed": 1}
    assert total["success_rate"] == 0.5
    for latency in (total["ingest_ms"], total["attempt_ms"]):
        assert 0 <= latency["p50"] <= latency["p95"] <= latency["p99"]


def test_a_batch_counts_its_items(service: Service, run: Run) -> None:
    items = [{"type": "a", "payload": 1, "dedup_id": each} for each in ("x", "x", "y")]
    run(service.call("POST", "/api/events/batch", [*items, {"type": "no payload"}]))
    total = stats(service, run)["total"]
    assert (total["accepted"], total["duplicates"], total["rejected"]) == (2, 1, 1)


def test_what_sync_mode_stores_is_routed_at_once(service: Service, run: Run) -> None:
    run(service.call("PATCH", "/api/admin/controls", {"ingest": "sync"}, key=ADMIN_KEY))
    run(service.send("a", 1))
    run(service.call("POST", "/api/events/batch", [{"type": "a", "payload": 1}]))
    assert stats(service, run)["total"]["routed"] == 2


def test_the_series_has_a_point_for_every_minute(
    service: Service, run: Run, clock: FrozenClock
) -> None:
    run(service.send("a", 1))
    stats(service, run)
    clock.advance(seconds=120)
    run(service.send("a", 1))
    found = stats(service, run, "?since=2026-01-01T12:00:00Z")
    assert found["step_s"] == 60
    assert [(each["at"], each["accepted"]) for each in found["series"]] == [
        ("2026-01-01T12:00:00.000Z", 1),
        ("2026-01-01T12:01:00.000Z", 0),
        ("2026-01-01T12:02:00.000Z", 1),
    ]
    (point,) = stats(service, run, "?since=2026-01-01T12:01:00Z&step=300")["series"]
    assert (point["at"], point["accepted"]) == ("2026-01-01T12:00:00.000Z", 2)


def test_days_are_shown_by_ten_minutes(service: Service, run: Run, clock: FrozenClock) -> None:
    run(service.send("a", 1))
    run(service.app.rollups.run_once())
    clock.advance(seconds=86_000)
    found = stats(service, run, "?since=2026-01-01T12:00:00Z")
    assert found["step_s"] == 600
    assert [each["accepted"] for each in found["series"][:2]] == [1, 0]
    assert len(found["series"]) == 144


def test_what_was_counted_is_there_after_a_restart(
    service: Service,
    make_service: MakeService,
    enter: Enter,
    leave: Callable[[Service], None],
    run: Run,
    clock: FrozenClock,
) -> None:
    run(service.send("a", 1))
    leave(service)
    again = enter(make_service(clock=clock))
    run(again.send("a", 1))
    assert stats(again, run)["total"]["accepted"] == 2


def test_what_several_processes_count_adds_up(
    service: Service,
    make_service: MakeService,
    enter: Enter,
    run: Run,
    clock: FrozenClock,
    engine: str,
) -> None:
    if engine == "sqlite":
        pytest.skip("one process owns the file")
    neighbour = enter(make_service(clock=clock))
    for each in (service, neighbour):
        run(each.send("a", 1))
        run(each.app.rollups.run_once())
        run(each.send("a", 1))
    assert stats(service, run)["total"]["accepted"] == 3, "the other's last one is not on file yet"
    run(neighbour.app.rollups.run_once())
    assert stats(service, run)["total"]["accepted"] == 4


def test_old_minutes_are_deleted(service: Service, run: Run, clock: FrozenClock) -> None:
    run(service.send("a", 1))
    run(service.app.rollups.run_once())
    clock.advance(seconds=4 * 86_400)
    run(service.app.rollups.prune())
    longest = "?since=2026-01-01T12:00:00Z&step=600"
    assert stats(service, run, longest)["total"]["accepted"] == 0


def test_an_organization_sees_its_own_and_an_operator_each_and_all(
    service: Service, run: Run
) -> None:
    other_id, other_key = run(new_organization(service))
    run(service.send("a", 1))
    for _ in range(2):
        run(service.call("POST", "/api/events", {"type": "a", "payload": 1}, key=other_key))
    assert stats(service, run)["total"]["accepted"] == 1
    assert stats(service, run, key=other_key)["total"]["accepted"] == 2
    assert everything(service, run)["total"]["accepted"] == 3
    assert everything(service, run, f"?organization_id={other_id}")["total"]["accepted"] == 2


def test_a_request_of_nobody_counts_for_all_together(service: Service, run: Run) -> None:
    run(
        service.call(
            "POST", "/api/events", {"type": "a", "payload": 1}, key="trg_unknown_0123456789"
        )
    )
    assert everything(service, run)["total"]["rejected"] == 1
    assert stats(service, run)["total"]["rejected"] == 0


def test_only_an_operator_sees_all(service: Service, run: Run) -> None:
    assert_problem(run(service.call("GET", "/api/admin/stats")), 403, "forbidden")
    unknown = "/api/admin/stats?organization_id=org_" + "0" * 32
    assert_problem(run(service.call("GET", unknown, key=ADMIN_KEY)), 404, "not-found")


@pytest.mark.parametrize(
    "query",
    [
        "step=59",
        "step=61",
        "since=2026-01-01T12:00:30Z",
        "since=2025-12-31T12:00:00Z&step=60",
        "since=2025-12-01T12:00:00Z&step=600",
        "until=2026-01-01T11:00:00Z&since=2026-01-01T11:30:00Z",
        "organization_id=org_1",
    ],
)
def test_a_window_that_cannot_be_shown_is_refused(service: Service, run: Run, query: str) -> None:
    answer = run(service.call("GET", f"/api/stats?{query}"))
    assert_problem(answer, 422, "validation-failed")


def test_what_waits_and_is_dead_is_told_with_the_statistics(
    service: Service, run: Run, enter: Enter
) -> None:
    receiver = enter(Receiver())
    receiver.always(500)
    run(service.subscribe(receiver.url, retry_schedule=[]))
    run(service.send("a", 1))
    run(service.drain())
    run(service.send("a", 1))
    for found in (stats(service, run)["now"], everything(service, run)["now"]):
        assert (found["events"], found["deliveries"], found["pruned"]) == (2, 1, 0)
        assert found["dead"] == {"count": 1, "complete": True}
        assert found["queued"] == {"count": 1, "complete": True}
        assert found["oldest_queued_age_s"] == 0.0


def test_the_health_of_subscriptions_is_a_line_of_half_hours(
    service: Service, run: Run, enter: Enter, clock: FrozenClock
) -> None:
    receiver = enter(Receiver())
    one, two = (run(service.subscribe(receiver.url, [kind], retry_schedule=[])) for kind in "ab")
    run(service.send("a", 1))
    run(service.drain())
    run(service.app.rollups.run_once())
    clock.advance(seconds=1800)
    receiver.always(500)
    run(service.send("a", 1))
    run(service.drain())
    answer = run(
        service.call("GET", f"/api/subscriptions/health?subscription_ids={two['id']},{one['id']}")
    )
    quiet, found = answer.json["data"]
    assert [quiet["subscription_id"], found["subscription_id"]] == [two["id"], one["id"]]
    assert found["attempts"] == {"total": 2, "succeeded": 1, "failed": 1}
    assert (found["success_rate"], quiet["success_rate"]) == (0.5, None)
    assert (found["dead"], found["waiting"]) == (
        {"count": 1, "complete": True}, {"count": 0, "complete": True},
    )  # fmt: skip
    assert len(found["line"]) == len(quiet["line"]) == 48
    assert found["line"][-2:] == [
        {"at": "2026-01-01T12:00:00.000Z", "succeeded": 1, "failed": 0, "dead": 0},
        {"at": "2026-01-01T12:30:00.000Z", "succeeded": 0, "failed": 1, "dead": 1},
    ]


def test_the_health_of_anothers_subscription_is_not_told(service: Service, run: Run) -> None:
    _, other_key = run(new_organization(service))
    own = run(service.subscribe("https://127.0.0.1/hook"))["id"]
    path = f"/api/subscriptions/health?subscription_ids={own}"
    assert run(service.call("GET", path)).status == 200
    assert_problem(run(service.call("GET", path, key=other_key)), 404, "not-found")
    many = ",".join(f"sub_{number}" for number in range(101))
    answer = run(service.call("GET", f"/api/subscriptions/health?subscription_ids={many}"))
    assert_problem(answer, 422, "validation-failed")
