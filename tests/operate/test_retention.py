"""Attempts and events are deleted when they are old, piece by piece, and counted."""

from __future__ import annotations

import pytest
from tests.conftest import Enter, Log, MakeService, Run, new_organization

from triggers_api.model.retention import RetentionDays
from triggers_api.operate.retention import Retention
from triggers_api.store.base import Pruned
from triggers_api.testing import ADMIN_KEY, API_KEY, FrozenClock, Receiver, Service

DAY_S = 86_400
HOUR_S = 3600.0


def pruned(service: Service) -> float:
    value = service.app.metrics.registry.get_sample_value(
        "triggers_pruned_total", {"kind": "attempt"}
    )
    return value or 0.0


def attempts(service: Service, run: Run) -> list[int]:
    """How many attempts each delivery has on file, the newest first."""
    listed = run(service.call("GET", "/api/deliveries")).json["data"]
    found = [run(service.call("GET", f"/api/deliveries/{each['id']}")).json for each in listed]
    return [len(each["attempts"]) for each in found]


def sweep(service: Service, run: Run) -> None:
    """A whole one."""
    while run(service.app.retention.run_once()) < HOUR_S:
        pass


def delivered(service: Service, run: Run, count: int) -> None:
    for number in range(count):
        run(service.send("a", number))
    run(service.drain())


@pytest.fixture
def attempts_only(make_service: MakeService, enter: Enter, clock: FrozenClock) -> Service:
    """A service that keeps events for ever, and attempts for 30 days."""
    return enter(make_service(clock=clock, retention_days=0, attempt_retention_days=30))


def test_attempts_go_when_they_have_been_kept_for_as_long_as_the_setting_says(
    attempts_only: Service, run: Run, receiver: Receiver, clock: FrozenClock, log: Log
) -> None:
    service = attempts_only
    run(service.subscribe(receiver.url))
    delivered(service, run, 2)
    clock.advance(seconds=DAY_S)
    delivered(service, run, 1)
    clock.advance(seconds=29 * DAY_S - 1)
    sweep(service, run)
    assert (attempts(service, run), pruned(service)) == ([1, 1, 1], 0)
    clock.advance(seconds=2)
    sweep(service, run)
    assert (attempts(service, run), pruned(service)) == ([1, 0, 0], 2)
    (line,) = [line for line in log if line["event"] == "old attempts deleted"]
    assert line["count"] == 2
    sweep(service, run)
    assert pruned(service) == 2


def test_a_sweep_is_made_in_pieces_with_a_breath_between_them(
    attempts_only: Service,
    run: Run,
    receiver: Receiver,
    clock: FrozenClock,
    log: Log,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("triggers_api.operate.retention.AT_ONCE", 2)
    service = attempts_only
    run(service.subscribe(receiver.url))
    delivered(service, run, 5)
    clock.advance(seconds=31 * DAY_S)
    pauses = [run(service.app.retention.run_once()) for _ in range(6)]
    assert [pause < HOUR_S for pause in pauses] == [True] * 5 + [False]
    assert pruned(service) == 5
    assert [line["count"] for line in log if line["event"] == "old attempts deleted"] == [5]


def test_with_0_days_attempts_are_kept_for_ever(
    make_service: MakeService, enter: Enter, run: Run, receiver: Receiver, clock: FrozenClock
) -> None:
    service = enter(make_service(clock=clock, retention_days=0))
    run(service.subscribe(receiver.url))
    delivered(service, run, 1)
    clock.advance(seconds=3650 * DAY_S)
    sweep(service, run)
    assert attempts(service, run) == [1]


def test_one_moment_holds_for_a_whole_sweep_so_that_no_delivery_goes_before_its_event(
    service: Service, run: Run, receiver: Receiver, clock: FrozenClock
) -> None:
    run(service.subscribe(receiver.url))
    delivered(service, run, 1)
    clock.advance(seconds=7 * DAY_S - 60)
    run(service.app.retention.run_once())
    clock.advance(seconds=120)
    sweep(service, run)
    assert (kept(service, run), attempts(service, run)) == (1, [1])
    sweep(service, run)
    assert (kept(service, run), attempts(service, run)) == (0, [])


def test_where_another_process_is_at_it_a_sweep_ends_and_begins_anew_an_hour_later(
    service: Service, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one goes on with the rest."""
    asked = 0

    async def elsewhere(*_: object, **__: object) -> Pruned:
        nonlocal asked
        asked += 1
        return Pruned(elsewhere=True)

    monkeypatch.setattr(service.app.store, "prune_events", elsewhere)
    for turn in (1, 2):
        assert run(service.app.retention.run_once()) == HOUR_S
        assert asked == turn


# ── events ────────────────────────────────────────────────────────────────────────────────────


def pruned_of(service: Service) -> dict[str, float]:
    """What was deleted, by kind."""
    return {
        kind: service.app.metrics.registry.get_sample_value("triggers_pruned_total", {"kind": kind})
        or 0.0
        for kind in ("event", "delivery", "attempt")
    }


def kept(service: Service, run: Run, *, key: str = API_KEY) -> int:
    return len(run(service.call("GET", "/api/events", key=key)).json["data"])


def test_events_go_when_they_have_been_kept_for_a_week_and_so_does_all_they_had(
    service: Service, run: Run, receiver: Receiver, clock: FrozenClock, log: Log
) -> None:
    run(service.subscribe(receiver.url))
    delivered(service, run, 2)
    clock.advance(seconds=DAY_S)
    delivered(service, run, 1)
    clock.advance(seconds=6 * DAY_S)
    sweep(service, run)
    assert (kept(service, run), pruned_of(service)["event"]) == (3, 0)
    clock.advance(seconds=1)
    sweep(service, run)
    assert kept(service, run) == 1
    assert attempts(service, run) == [1]
    assert pruned_of(service) == {"event": 2, "delivery": 2, "attempt": 2}
    (line,) = [line for line in log if line["event"] == "old events deleted"]
    assert line["count"] == 2
    (books,) = run(service.call("GET", "/api/admin/verify", key=ADMIN_KEY)).json["organizations"]
    assert (books["accepted"], books["processed"], books["pruned"]) == (1, 1, 2)


def test_a_sweep_for_old_events_rests_three_times_as_long_as_it_works(
    service: Service, run: Run, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triggers_api.operate.retention.EVENTS_AT_ONCE", 2)
    delivered(service, run, 5)
    clock.advance(seconds=8 * DAY_S)
    ticks = iter([10.0, 10.5, 20.0, 20.001, 30.0, 30.1, 40.0, 40.1, 50.0, 50.1, 60.0])
    part = Retention(
        service.app.store,
        service.app.directory,
        metrics=service.app.metrics,
        days=RetentionDays(events=7),
        clock=lambda: next(ticks),
    )
    pauses = [run(part.run_once()) for _ in range(6)]
    assert pauses == pytest.approx([1.5, 0.005, 0.3, 0.3, 0.3, HOUR_S])
    assert pruned_of(service)["event"] == 5


def test_a_sweep_that_takes_hours_rests_less(
    service: Service, run: Run, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triggers_api.operate.retention.EVENTS_AT_ONCE", 1)
    delivered(service, run, 4)
    clock.advance(seconds=8 * DAY_S)
    starts = (0.0, HOUR_S - 1, HOUR_S, 3 * HOUR_S, 3 * HOUR_S + 1)
    ticks = iter([each + took for each in starts for took in (0.0, 0.4)])
    part = Retention(
        service.app.store,
        service.app.directory,
        metrics=service.app.metrics,
        days=RetentionDays(events=7),
        clock=lambda: next(ticks),
    )
    assert [run(part.run_once()) for _ in starts] == pytest.approx([1.2, 1.2, 0.4, 0.1, 0.1])


def test_an_organization_s_own_days_are_in_force_at_once(
    service: Service, run: Run, clock: FrozenClock
) -> None:
    organization_id, key = run(new_organization(service))
    address = f"/api/admin/organizations/{organization_id}"

    def keep(days: int | None) -> None:
        answer = run(service.call("PATCH", address, {"retention_days": days}, key=ADMIN_KEY))
        assert (answer.status, answer.json["retention_days"]) == (200, days)
        seen = run(service.call("GET", "/api/organization", key=key)).json
        assert seen["retention_days"] == days

    delivered(service, run, 1)
    run(service.call("POST", "/api/events", {"type": "a", "payload": 1}, key=key))
    run(service.drain())
    clock.advance(seconds=3 * DAY_S)
    keep(30)
    sweep(service, run)
    clock.advance(seconds=10 * DAY_S)
    sweep(service, run)
    assert (kept(service, run), kept(service, run, key=key)) == (0, 1)
    keep(0)
    clock.advance(seconds=3650 * DAY_S)
    sweep(service, run)
    assert kept(service, run, key=key) == 1
    keep(None)
    sweep(service, run)
    assert kept(service, run, key=key) == 0


@pytest.mark.parametrize("days", [-1, 0.5, 36_501, "7", True])
def test_days_that_are_none_are_refused(service: Service, run: Run, days: object) -> None:
    organization_id, _ = run(new_organization(service))
    address = f"/api/admin/organizations/{organization_id}"
    answer = run(service.call("PATCH", address, {"retention_days": days}, key=ADMIN_KEY))
    assert answer.status == 422
    assert answer.json["errors"][0]["pointer"] == "/retention_days"


def test_with_0_days_events_are_kept_for_ever_but_for_those_with_days_of_their_own(
    make_service: MakeService, enter: Enter, run: Run, clock: FrozenClock
) -> None:
    service = enter(make_service(clock=clock, retention_days=0))
    delivered(service, run, 1)
    organization_id, key = run(new_organization(service))
    run(service.call("POST", "/api/events", {"type": "a", "payload": 1}, key=key))
    run(service.drain())
    clock.advance(seconds=3650 * DAY_S)
    sweep(service, run)
    assert (kept(service, run), kept(service, run, key=key)) == (1, 1)
    address = f"/api/admin/organizations/{organization_id}"
    run(service.call("PATCH", address, {"retention_days": 1}, key=ADMIN_KEY))
    sweep(service, run)
    assert (kept(service, run), kept(service, run, key=key)) == (1, 0)


def test_who_was_away_for_longer_than_events_are_kept_is_told(
    service: Service, run: Run, clock: FrozenClock
) -> None:
    event_id = run(service.send("a")).json["id"]
    run(service.drain())
    clock.advance(seconds=8 * DAY_S)
    sweep(service, run)
    last = {"Last-Event-ID": event_id}
    answer = run(service.call("GET", "/api/events/stream", headers=last))
    assert answer.status == 422
    assert answer.json["errors"][0]["code"] == "unknown-event"
    assert run(service.call("GET", f"/api/events/{event_id}")).status == 404


# ── each with its own age ─────────────────────────────────────────────────────────────────────


def dead_and_delivered(service: Service, run: Run, receiver: Receiver) -> None:
    """Two events: one was delivered, the other one is a dead letter."""
    receiver.replies(200, 500)
    run(service.subscribe(receiver.url, retry_schedule=[]))
    delivered(service, run, 2)


def statuses(service: Service, run: Run, key: str = API_KEY) -> list[str]:
    listed = run(service.call("GET", "/api/deliveries", key=key)).json["data"]
    return sorted(each["status"] for each in listed)


def test_a_dead_letter_and_its_event_are_kept_for_as_long_as_the_setting_says(
    make_service: MakeService, enter: Enter, run: Run, receiver: Receiver, clock: FrozenClock
) -> None:
    service = enter(make_service(clock=clock, dead_letter_retention_days=30))
    dead_and_delivered(service, run, receiver)
    clock.advance(seconds=8 * DAY_S)
    sweep(service, run)
    assert (kept(service, run), statuses(service, run)) == (1, ["dead"])
    clock.advance(seconds=23 * DAY_S)
    sweep(service, run)
    assert (kept(service, run), statuses(service, run)) == (0, [])
    assert pruned_of(service) == {"event": 2, "delivery": 2, "attempt": 2}


def test_deliveries_and_dead_letters_may_go_before_their_events(
    make_service: MakeService,
    enter: Enter,
    run: Run,
    receiver: Receiver,
    clock: FrozenClock,
    log: Log,
) -> None:
    service = enter(
        make_service(
            clock=clock, retention_days=90, delivery_retention_days=1, dead_letter_retention_days=3
        )
    )
    dead_and_delivered(service, run, receiver)
    clock.advance(seconds=2 * DAY_S)
    sweep(service, run)
    assert statuses(service, run) == ["dead"]
    clock.advance(seconds=2 * DAY_S)
    sweep(service, run)
    assert (kept(service, run), statuses(service, run)) == (2, [])
    lines = [line["event"] for line in log if line["event"].startswith("old ")]
    assert lines == ["old deliveries deleted", "old dead letters deleted"]
    books = run(service.call("GET", "/api/admin/verify", key=ADMIN_KEY)).json
    assert (books["ok"], books["organizations"][0]["deliveries"]["total"]) == (True, 0)


def test_an_organization_may_have_an_age_of_its_own_for_each(
    service: Service, run: Run, receiver: Receiver, clock: FrozenClock
) -> None:
    given = {
        "retention_days": 60,
        "delivery_retention_days": 2,
        "attempt_retention_days": 1,
        "dead_letter_retention_days": 365,
    }
    made = run(
        service.call("POST", "/api/admin/organizations", {"name": "x"} | given, key=ADMIN_KEY)
    )
    key = made.json["api_key"]
    own = run(service.call("GET", "/api/organization", key=key)).json
    assert {name: own[name] for name in given} == given
    receiver.replies(200, 500)
    target = {"url": receiver.url, "event_types": ["*"], "retry_schedule": []}
    assert run(service.call("POST", "/api/subscriptions", target, key=key)).status == 201
    for number in range(2):
        run(service.call("POST", "/api/events", {"type": "a", "payload": number}, key=key))
    run(service.drain())
    clock.advance(seconds=1.5 * DAY_S)
    sweep(service, run)
    assert (statuses(service, run, key), pruned_of(service)["attempt"]) == (
        ["dead", "succeeded"],
        2,
    )
    clock.advance(seconds=DAY_S)
    sweep(service, run)
    assert (statuses(service, run, key), kept(service, run, key=key)) == (["dead"], 2)
    clock.advance(seconds=60 * DAY_S)
    sweep(service, run)
    assert (statuses(service, run, key), kept(service, run, key=key)) == (["dead"], 1)
    clock.advance(seconds=365 * DAY_S)
    sweep(service, run)
    assert (statuses(service, run, key), kept(service, run, key=key)) == ([], 0)


def test_longer_days_that_come_in_the_middle_of_a_sweep_stop_it(
    service: Service, run: Run, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triggers_api.operate.retention.EVENTS_AT_ONCE", 2)
    organization_id, key = run(new_organization(service))
    for number in range(5):
        run(service.call("POST", "/api/events", {"type": "a", "payload": number}, key=key))
    run(service.drain())
    clock.advance(seconds=8 * DAY_S)
    assert run(service.app.retention.run_once()) < HOUR_S
    address = f"/api/admin/organizations/{organization_id}"
    run(service.call("PATCH", address, {"retention_days": 0}, key=ADMIN_KEY))
    sweep(service, run)
    assert kept(service, run, key=key) == 3


def test_finished_jobs_are_listed_for_as_long_as_the_setting_says(
    make_service: MakeService, enter: Enter, run: Run, clock: FrozenClock
) -> None:
    service = enter(make_service(clock=clock, job_retention_days=2))
    run(service.call("POST", "/api/dead-letters/purge", {"all": True}))
    run(service.drain())

    def listed() -> int:
        return len(run(service.call("GET", "/api/jobs")).json["data"])

    clock.advance(seconds=2 * DAY_S)
    assert run(service.app.job_retention.run_once()) == HOUR_S
    assert listed() == 1
    clock.advance(seconds=1)
    run(service.app.job_retention.run_once())
    assert listed() == 0


def test_a_replay_of_what_was_missed_passes_over_events_of_which_nobody_knows_who_had_them(
    make_service: MakeService, enter: Enter, run: Run, receiver: Receiver, clock: FrozenClock
) -> None:
    service = enter(make_service(clock=clock, retention_days=90, delivery_retention_days=2))
    subscription = run(service.subscribe(receiver.url))
    delivered(service, run, 2)
    clock.advance(seconds=3 * DAY_S)
    sweep(service, run)
    assert statuses(service, run) == []
    asked = {"subscription_id": subscription["id"], "status": "missed", "dry_run": True}
    counted = run(service.call("POST", "/api/replays", asked))
    assert (counted.status, counted.json["total"]) == (202, 0)
    by_time = run(service.call("POST", "/api/replays", {**asked, "status": None}))
    assert by_time.json["total"] == 2
