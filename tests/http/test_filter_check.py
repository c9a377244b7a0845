"""``/api/filters/check``: what a filter would have said of the last events."""

from __future__ import annotations

from typing import Any

import pytest
from tests.conftest import Enter, MakeService, Run, new_organization
from tests.http.conftest import assert_problem

from triggers_api.testing import FrozenClock, Service


@pytest.fixture
def service(make_service: MakeService, enter: Enter, clock: FrozenClock) -> Service:
    return enter(make_service(clock=clock))


def checked(service: Service, run: Run, **asked: object) -> dict[str, Any]:
    answer = run(service.call("POST", "/api/filters/check", asked))
    assert answer.status == 200, answer
    found: dict[str, Any] = answer.json
    return found


def test_the_last_events_are_judged_as_routing_would(service: Service, run: Run) -> None:
    for total in (50, 150, 250):
        run(service.send("order.created", {"total": total}, source="shop"))
    run(service.send("order.created", {"sum": 1}))
    run(service.send("invoice.paid", {"total": 500}))
    found = checked(service, run, filter="payload.total > 100", event_types=["order.*"])
    samples = found.pop("samples")
    assert found == {
        "looked_at": 5, "of_types": 4, "matched": 2, "not_matched": 1, "no_answer": 1, "complete": True,
    }  # fmt: skip
    assert [len(samples[name]) for name in ("matched", "not_matched", "no_answer")] == [2, 1, 1]
    first, second = samples["matched"]
    assert first["id"] > second["id"], "the newest first"
    assert (first["type"], first["fault"]) == ("order.created", None)
    assert "total" in samples["no_answer"][0]["fault"]


def test_without_a_filter_the_types_are_counted(service: Service, run: Run) -> None:
    run(service.send("a", 1))
    run(service.send("b", 1))
    found = checked(service, run, event_types=["a"])
    assert (found["looked_at"], found["of_types"], found["matched"]) == (2, 1, 1)
    assert checked(service, run)["matched"] == 2


def test_as_many_are_looked_at_as_are_asked_for(service: Service, run: Run) -> None:
    run(service.call("POST", "/api/events/batch", [{"type": "a", "payload": n} for n in range(60)]))
    found = checked(service, run, filter="payload >= 0", events=30)
    assert (found["looked_at"], found["matched"], found["complete"]) == (30, 30, True)
    assert [len(each) for each in found["samples"].values()] == [5, 0, 0]
    assert checked(service, run)["looked_at"] == 60


def test_what_is_large_is_looked_at_as_far_as_it_is_no_burden(service: Service, run: Run) -> None:
    for _ in range(12):
        run(service.send("a", "x" * 1_000_000))
    found = checked(service, run, filter="payload == ''")
    assert found["looked_at"] < 12
    assert found["complete"] is False


def test_however_slow_the_store_is_there_are_events_to_look_at(
    service: Service, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        run(service.send("a", number))
    monkeypatch.setattr("triggers_api.http.filters._LONGEST_S", 0.25)
    seconds, read = 0.0, service.app.store.events

    async def slowly(*asked: Any) -> Any:  # noqa: ANN401 - as events
        nonlocal seconds
        seconds += 10.0
        return await read(*asked)

    monkeypatch.setattr("triggers_api.http.filters.perf_counter", lambda: seconds)
    monkeypatch.setattr(service.app.store, "events", slowly)
    found = checked(service, run, filter="payload > 0")
    assert (found["looked_at"], found["matched"], found["complete"]) == (3, 2, True)
    monkeypatch.setattr("triggers_api.http.filters._LONGEST_S", -1.0)
    found = checked(service, run, filter="payload > 0")
    assert (found["looked_at"], found["matched"], found["complete"]) == (1, 1, False)


def test_a_filter_that_cannot_be_used_is_refused_with_the_place(service: Service, run: Run) -> None:
    answer = run(service.call("POST", "/api/filters/check", {"filter": "payload.total >"}))
    assert_problem(answer, 422, "validation-failed")
    (error,) = answer.json["errors"]
    assert (error["pointer"], error["position"]["line"]) == ("/filter", 1)
    bodies: tuple[dict[str, object], ...] = (
        {"event_types": []},
        {"event_types": ["no spaces"]},
        {"events": 0},
        {"events": 501},
    )
    for body in bodies:
        answer = run(service.call("POST", "/api/filters/check", body))
        assert_problem(answer, 422, "validation-failed")


def test_anothers_events_are_not_looked_at(service: Service, run: Run) -> None:
    _, other_key = run(new_organization(service))
    run(service.send("a", 1))
    answer = run(service.call("POST", "/api/filters/check", {}, key=other_key))
    assert (answer.json["looked_at"], answer.json["complete"]) == (0, True)
