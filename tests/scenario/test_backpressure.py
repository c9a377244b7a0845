"""More comes than can be routed: who is refused, what is said about it, and how it ends."""

from __future__ import annotations

from typing import Any

import pytest
from tests.conftest import Enter, MakeService, Run, new_organization

from triggers_api.testing import ADMIN_KEY, API_KEY, Answer, FrozenClock, Service

pytestmark = pytest.mark.usefixtures("fresh_numbers")


def post(service: Service, run: Run, *, key: str = API_KEY, **fields: Any) -> Answer:  # noqa: ANN401
    body = {"type": "order.created", "payload": 1, **fields}
    return run(service.call("POST", "/api/events", body, key=key))


def look(service: Service, run: Run) -> dict[str, Any]:
    """What readiness says of the queue, after a look at it."""
    if service.app.buffer is not None:
        run(service.app.buffer.watch.run_once())
    run(service.app.monitor.run_once())
    answer = run(service.call("GET", "/readyz"))
    assert answer.status == 200
    queue: dict[str, Any] = answer.json["queue"]
    return queue


def overloaded(answer: Answer) -> bool:
    if answer.status != 503:
        return False
    assert answer.json["code"] == "overloaded"
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    return True


def test_at_the_depth_events_are_refused_until_some_are_routed(
    enter: Enter, make_service: MakeService, run: Run
) -> None:
    service = enter(make_service(clock=FrozenClock(), max_queue_depth=10))
    assert [post(service, run).status for _ in range(9)] == [202] * 9
    queue = look(service, run)
    assert (queue["level"], queue["refusing"]) == ("warning", None)
    batch = {"events": [{"type": "a", "payload": 1}] * 2}
    assert overloaded(run(service.call("POST", "/api/events/batch", batch)))
    assert post(service, run).status == 202
    assert overloaded(post(service, run))
    queue = look(service, run)
    assert (queue["depth"], queue["level"], queue["refusing"]) == (10, "critical", "depth")
    run(service.drain())
    assert post(service, run).status == 202
    assert look(service, run)["refusing"] is None


def test_what_waits_for_its_time_takes_no_room_and_what_is_routed_at_once_neither(
    enter: Enter, make_service: MakeService, run: Run
) -> None:
    service = enter(make_service(clock=FrozenClock(), max_queue_depth=1))
    later = "2026-01-02T00:00:00Z"
    assert [post(service, run, deliver_at=later).status for _ in range(3)] == [202] * 3
    run(service.call("PATCH", "/api/admin/controls", {"ingest": "sync"}, key=ADMIN_KEY))
    assert [post(service, run).status for _ in range(3)] == [201] * 3
    run(service.call("PATCH", "/api/admin/controls", {"ingest": None}, key=ADMIN_KEY))
    assert post(service, run).status == 202
    assert overloaded(post(service, run))


def test_at_the_age_events_are_refused_until_the_oldest_is_routed(
    enter: Enter, make_service: MakeService, run: Run
) -> None:
    clock = FrozenClock()
    service = enter(make_service(clock=clock, max_queue_age_s=60))
    post(service, run)
    clock.advance(seconds=50)
    assert look(service, run)["level"] == "warning"
    assert post(service, run).status == 202
    clock.advance(seconds=11)
    queue = look(service, run)
    assert (queue["level"], queue["refusing"]) == ("critical", "age")
    assert overloaded(post(service, run))
    run(service.drain())
    look(service, run)
    assert post(service, run).status == 202


def test_an_organization_with_a_limit_of_its_own_leaves_the_others_their_room(
    enter: Enter, make_service: MakeService, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triggers_api.ingest.room._REST", 0)
    service = enter(make_service(clock=FrozenClock(), max_organization_queue_depth=5))
    organization_id, other = run(new_organization(service, max_queue_depth=2))
    for _ in range(2):
        assert [post(service, run, key=other).status for _ in range(3)] == [202, 202, 503]
        assert [post(service, run).status for _ in range(6)] == [202] * 5 + [503]
        assert look(service, run)["refusing"] is None
        assert overloaded(post(service, run, key=other))
        run(service.drain())
        look(service, run)
    path = f"/api/admin/organizations/{organization_id}"
    changed = run(service.call("PATCH", path, {"max_queue_depth": 0}, key=ADMIN_KEY))
    assert changed.json["max_queue_depth"] == 0
    assert [post(service, run, key=other).status for _ in range(7)] == [202] * 7
    run(service.call("PATCH", path, {"max_queue_depth": None}, key=ADMIN_KEY))
    post(service, run, key=other)
    look(service, run)
    assert overloaded(post(service, run, key=other))
    for bad in (-1, "3", 1.5, 10**9 + 1):
        refused = run(service.call("PATCH", path, {"max_queue_depth": bad}, key=ADMIN_KEY))
        assert refused.status == 422, bad


def test_an_organization_whose_events_wait_for_too_long_is_refused_alone(
    enter: Enter, make_service: MakeService, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triggers_api.ingest.room._REST", 0)
    clock = FrozenClock()
    service = enter(make_service(clock=clock, max_organization_queue_age_s=60))
    organization_id, other = run(new_organization(service, max_queue_age_s=5))
    for key in (API_KEY, other):
        assert post(service, run, key=key).status == 202
    clock.advance(seconds=6)
    assert look(service, run)["refusing"] is None
    assert post(service, run).status == 202
    assert overloaded(post(service, run, key=other))
    clock.advance(seconds=60)
    look(service, run)
    assert overloaded(post(service, run))
    run(service.drain())
    look(service, run)
    assert [post(service, run, key=key).status for key in (API_KEY, other)] == [202, 202]
    path = f"/api/admin/organizations/{organization_id}"
    changed = run(service.call("PATCH", path, {"max_queue_age_s": 0}, key=ADMIN_KEY))
    assert changed.json["max_queue_age_s"] == 0
    clock.advance(seconds=3600)
    look(service, run)
    assert post(service, run, key=other).status == 202
    for bad in (-1, "3", 31_536_001):
        refused = run(service.call("PATCH", path, {"max_queue_age_s": bad}, key=ADMIN_KEY))
        assert refused.status == 422, bad


def test_every_refusal_is_counted_by_its_reason(
    enter: Enter, make_service: MakeService, run: Run
) -> None:
    service = enter(make_service(clock=FrozenClock(), max_queue_depth=1))
    for _ in range(4):
        post(service, run)
    found = service.app.metrics.registry.get_sample_value(
        "triggers_ingest_refused_total", {"reason": "depth"}
    )
    assert found == 3
