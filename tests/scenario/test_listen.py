"""Sessions: deliveries that are fetched and reported instead of sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from svix.webhooks import Webhook
from tests.conftest import Enter, MakeService, Run
from tests.scenario.conftest import Ask

from triggers_api.model.timestamp import Timestamp
from triggers_api.testing import FrozenClock, Receiver, Service


def begin(ask: Ask, **fields: Any) -> dict[str, Any]:  # noqa: ANN401
    made: dict[str, Any] = ask.do("POST", "/api/listen", fields, status=201)
    return made


def fetch(ask: Ask, session: dict[str, Any], limit: int = 10) -> list[dict[str, Any]]:
    ask.drain()
    answer = ask.do("POST", f"/api/listen/{session['id']}/fetch", {"limit": limit, "wait_s": 0})
    found: list[dict[str, Any]] = answer["data"]
    return found


def report(
    ask: Ask,
    session: dict[str, Any],
    fetched: dict[str, Any],
    **outcome: Any,  # noqa: ANN401
) -> str:
    result = {"receipt": fetched["receipt"], "duration_ms": 12, **outcome}
    answer = ask.do("POST", f"/api/listen/{session['id']}/settle", {"results": [result]})
    status: str = answer["results"][0]["status"]
    return status


def test_what_a_session_fetches_is_what_a_receiver_is_sent(
    enter: Enter, make_service: MakeService, run: Run
) -> None:
    service = enter(make_service(background=False))
    ask = Ask(service, run)
    with_receiver = enter(Receiver())
    run(service.subscribe(with_receiver.url))
    session = begin(ask)
    event_id = ask.event("order.created", {"name": "Zoë", "big": 10**22})
    (fetched,) = fetch(ask, session)
    (sent,) = with_receiver.requests
    assert fetched["body"].encode() == sent.body
    own = {"webhook-signature", "x-triggers-delivery-id", "traceparent", "webhook-timestamp"}
    headers = {name.lower(): value for name, value in sent.headers.items()}
    assert set(fetched["headers"]) == set(headers) - {"host", "content-length"}
    for name in set(fetched["headers"]) - own:
        assert fetched["headers"][name] == headers[name]
    Webhook(session["secret"]).verify(fetched["body"].encode(), fetched["headers"])
    assert (fetched["event_id"], fetched["event_type"]) == (event_id, "order.created")
    assert report(ask, session, fetched, status_code=204) == "settled"


def test_a_success_is_on_file_as_an_attempt(ask: Ask) -> None:
    session = begin(ask, event_types=["order.*"])
    event_id = ask.event("order.created")
    ask.event("invoice.paid")
    (fetched,) = fetch(ask, session)
    assert fetched["attempt"] == 1
    assert report(ask, session, fetched, status_code=200, response_body="thanks") == "settled"
    delivery = ask.delivery(event_id)
    assert delivery["status"] == "succeeded"
    (attempt,) = delivery["attempts"]
    assert (attempt["number"], attempt["status_code"], attempt["duration_ms"]) == (1, 200, 12)
    assert attempt["response_body"] == "thanks"
    assert report(ask, session, fetched, status_code=200) == "lease_lost"


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        ({"status_code": 500}, "receiver answered 500"),
        ({"error": "connection-refused"}, "connection-refused: nothing listens at the address"),
    ],
)
def test_a_failure_is_on_file_and_the_event_comes_again_by_the_schedule(
    ask: Ask, clock: FrozenClock, outcome: dict[str, Any], reason: str
) -> None:
    session = begin(ask, retry_schedule=[5])
    event_id = ask.event()
    (first,) = fetch(ask, session)
    report(ask, session, first, **outcome)
    delivery = ask.delivery(event_id)
    assert (delivery["status"], delivery["reason"]) == ("retrying", reason)
    assert fetch(ask, session) == []
    clock.advance(seconds=6)
    (second,) = fetch(ask, session)
    assert (second["attempt"], second["delivery_id"]) == (2, first["delivery_id"])
    assert second["headers"]["webhook-id"] == first["headers"]["webhook-id"]
    report(ask, session, second, **outcome)
    assert ask.delivery(event_id)["status"] == "dead"


def test_what_is_not_reported_in_time_comes_again(ask: Ask, clock: FrozenClock) -> None:
    session = begin(ask)
    ask.event()
    (first,) = fetch(ask, session)
    clock.advance(seconds=31)
    (again,) = fetch(ask, session)
    assert (again["delivery_id"], again["attempt"]) == (first["delivery_id"], 1)
    assert report(ask, session, first, status_code=200) == "lease_lost"
    assert report(ask, session, again, status_code=200) == "settled"


def test_sessions_of_one_organization_each_get_every_event(ask: Ask) -> None:
    sessions = [begin(ask) for _ in range(2)]
    ask.event()
    first, second = (fetch(ask, session) for session in sessions)
    assert len(first) == len(second) == 1
    assert first[0]["delivery_id"] != second[0]["delivery_id"]
    assert report(ask, sessions[1], first[0], status_code=200) == "lease_lost"
    assert report(ask, sessions[0], first[0], status_code=200) == "settled"


def test_a_session_lasts_as_long_as_it_fetches(ask: Ask, clock: FrozenClock) -> None:
    session = begin(ask)
    for _ in range(4):
        clock.advance(seconds=50)
        fetch(ask, session)
    expires_at = ask.subscription(session["id"])["expires_at"]
    assert Timestamp.parse(expires_at) > clock()
    clock.advance(seconds=90)
    answer = ask.run(ask.service.call("POST", f"/api/listen/{session['id']}/fetch", {}))
    assert (answer.status, answer.json["code"]) == (404, "not-found")


def test_what_a_dead_session_leaves_is_taken_away(
    service: Service, run: Run, ask: Ask, clock: FrozenClock
) -> None:
    session, alive = begin(ask), begin(ask)
    event_id = ask.event()
    fetch(ask, session)
    clock.advance(seconds=89)
    fetch(ask, alive)
    run(service.app.sessions.run_once())
    assert ask.subscription(session["id"])["status"] == "active"
    clock.advance(seconds=10)
    run(service.app.sessions.run_once())
    assert [each["id"] for each in ask.get("/api/subscriptions")["data"]] == [alive["id"]]
    states = {each["subscription_id"]: each["status"] for each in ask.deliveries(event_id)}
    assert states[session["id"]] == "cancelled"
    assert states[alive["id"]] in {"pending", "delivering"}
    ask.books()


def test_deleting_it_ends_a_session_and_what_waits_for_it(ask: Ask) -> None:
    session = begin(ask)
    event_id = ask.event()
    ask.drain()
    ask.do("DELETE", f"/api/subscriptions/{session['id']}")
    assert ask.delivery(event_id)["status"] == "cancelled"
    answer = ask.run(ask.service.call("POST", f"/api/listen/{session['id']}/fetch", {}))
    assert answer.status == 404


def test_an_answer_410_disables_a_session_as_it_would_any_endpoint(ask: Ask) -> None:
    session = begin(ask)
    ask.event()
    (fetched,) = fetch(ask, session)
    report(ask, session, fetched, status_code=410)
    answer = ask.run(ask.service.call("POST", f"/api/listen/{session['id']}/fetch", {}))
    assert (answer.status, answer.json["code"]) == (409, "invalid-state")
    assert "410" in answer.json["detail"]


def test_the_switches_hold_for_sessions_too(ask: Ask) -> None:
    session = begin(ask)
    event_id = ask.event()
    ask.turn(delivery="paused")
    assert fetch(ask, session) == []
    ask.turn(delivery="skip")
    assert fetch(ask, session) == []
    assert ask.delivery(event_id)["status"] == "skipped"
    ask.turn(delivery="running")
    ask.event()
    assert len(fetch(ask, session)) == 1


def test_a_dead_letter_of_a_session_is_told_to_who_asked(ask: Ask) -> None:
    watching = begin(ask, operational=True)
    session = begin(ask, retry_schedule=[])
    ask.event()
    (fetched,) = fetch(ask, session)
    report(ask, session, fetched, status_code=500)
    (told,) = fetch(ask, watching)
    assert told["event_type"] == "delivery.dead"
    report(ask, watching, told, status_code=500)
    assert fetch(ask, watching) == []


def test_a_session_goes_on_after_a_restart(
    make_service: MakeService,
    enter: Enter,
    leave: Callable[[Service], None],
    run: Run,
    clock: FrozenClock,
) -> None:
    first = enter(make_service(clock=clock))
    session = begin(Ask(first, run))
    Ask(first, run).event()
    (fetched,) = fetch(Ask(first, run), session)
    leave(first)
    ask = Ask(enter(make_service(clock=clock)), run)
    clock.advance(seconds=31)
    (again,) = fetch(ask, session)
    assert again["delivery_id"] == fetched["delivery_id"]
    assert report(ask, session, again, status_code=200) == "settled"


def test_who_waits_is_answered_when_an_event_comes(
    enter: Enter, make_service: MakeService, run: Run
) -> None:
    service = enter(make_service())
    ask = Ask(service, run)
    session = begin(ask)

    async def both() -> Any:  # noqa: ANN401
        path = f"/api/listen/{session['id']}/fetch"
        waiting = asyncio.create_task(service.call("POST", path, {"wait_s": 20}))
        await service.send("order.created", 1)
        return (await waiting).json["data"]

    (fetched,) = run(both())
    assert fetched["event_type"] == "order.created"
