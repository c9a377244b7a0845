"""The routes of the switches: whose, for how long, and running the service empty."""

from __future__ import annotations

from typing import Any

import pytest
from tests.conftest import Enter, MakeService, Run
from tests.http.conftest import assert_problem

from triggers_api.model.controls import DeliveryMode
from triggers_api.testing import ADMIN_KEY, API_KEY, Answer, FrozenClock, Receiver, Service


@pytest.fixture
def fresh(enter: Enter, make_service: MakeService, clock: FrozenClock) -> Service:
    return enter(make_service(clock=clock))


class Operator:
    """Calls of the operator to a service whose background parts do not run."""

    def __init__(self, service: Service, run: Run) -> None:
        self.service = service
        self._run = run

    def ask(self, method: str, path: str, body: Any = None) -> Answer:  # noqa: ANN401 - JSON
        return self._run(self.service.call(method, f"/api/admin{path}", body, key=ADMIN_KEY))

    def turn(self, whose: str = "", **switches: Any) -> Any:  # noqa: ANN401 - JSON
        answer = self.ask("PATCH", f"/controls{whose}", switches)
        assert answer.status == 200, answer.body
        return answer.json

    def look(self) -> None:
        """As the part does that takes in what others turned, and what is over."""
        self._run(self.service.app.switches.run_once())

    def organization(self, name: str) -> tuple[str, str]:
        made = self.ask("POST", "/organizations", {"name": name}).json
        return made["id"], made["api_key"]

    def send(self, key: str | None = None) -> Answer:
        body = {"type": "order.created", "payload": 1}
        return self._run(self.service.call("POST", "/api/events", body, key=key or API_KEY))

    def route(self) -> None:
        """Have what waits routed, and nothing sent."""
        self.turn(delivery="paused")
        self._run(self.service.drain())
        self.turn(delivery=None)

    def drained(self) -> Any:  # noqa: ANN401 - JSON
        return self.ask("GET", "/drain").json


@pytest.fixture
def operator(fresh: Service, run: Run) -> Operator:
    return Operator(fresh, run)


# ── for a while ───────────────────────────────────────────────────────────────────────────────────


def test_a_turn_for_a_while_goes_back_by_itself_and_is_written_down(
    operator: Operator, clock: FrozenClock
) -> None:
    shown = operator.turn(ingest="refuse", reason="moving", expires_in_s=60)
    assert shown["expires_at"] == "2026-01-01T12:01:00.000Z"
    turned = shown["turned"]["ingest"]
    assert (turned["value"], turned["reason"], turned["before"]) == ("refuse", "moving", None)
    assert_problem(operator.send(), 503, "refusing")
    clock.advance(seconds=60)
    operator.look()
    assert operator.send().status == 202
    shown = operator.ask("GET", "/controls").json
    assert (shown["ingest"], shown["turned"], shown["expires_at"]) == ("async", {}, None)
    assert shown["reason"] is None
    store = operator.service.app.store
    (kept,) = operator._run(store.changes(0)).switches
    assert kept.turns == {}


def test_a_time_that_passed_while_nobody_was_there_has_passed_at_the_next_start(
    run: Run, make_service: MakeService, clock: FrozenClock
) -> None:
    async def main() -> None:
        async with make_service(clock=clock) as service:
            body = {"processing": "paused", "expires_in_s": 60}
            await service.call("PATCH", "/api/admin/controls", body, key=ADMIN_KEY)
            body = {"processing": "paused", "expires_in_s": 7200}
            path = "/api/admin/organizations"
            (own,) = (await service.call("GET", path, key=ADMIN_KEY)).json["data"]
            path = f"/api/admin/controls?organization_id={own['id']}"
            await service.call("PATCH", path, body, key=ADMIN_KEY)
        clock.advance(seconds=3600)
        async with make_service(clock=clock) as service:
            shown = (await service.call("GET", "/api/admin/controls", key=ADMIN_KEY)).json
            assert shown["processing"] == "running"
            shown = (await service.call("GET", path, key=ADMIN_KEY)).json
            assert shown["processing"] == "paused"

    run(main())


def test_a_time_without_a_switch_or_out_of_bounds_is_refused(operator: Operator) -> None:
    for body in (
        {"expires_in_s": 60},
        {"expires_in_s": 60, "reason": "r"},
        {"ingest": "sync", "expires_in_s": 0},
        {"ingest": "sync", "expires_in_s": 40_000_000},
        {"ingest": "sync", "expires_in_s": 1.5},
        {"ingest": "sync", "reason": "a\nb"},
    ):
        answer = operator.ask("PATCH", "/controls", body)
        assert_problem(answer, 422, "validation-failed")
    assert operator.ask("GET", "/controls").json["updated_at"] is None


@pytest.mark.parametrize(
    ("body", "pointer", "code", "message"),
    [
        ({"concurrency": 0}, "/concurrency", "out-of-range", "must be at least 1"),
        ({"min_poll_ms": 60_001}, "/min_poll_ms", "out-of-range", "must be at most 60000"),
        ({"batch_size": 10**30}, "/batch_size", "out-of-range", "must be at most 10000"),
        (
            {"ingest": "sync", "reason": "x" * 3000},
            "/reason",
            "invalid-length",
            "must have at most 1000 characters",
        ),
    ],
)
def test_what_is_out_of_bounds_is_told_the_bounds(
    operator: Operator, body: dict[str, Any], pointer: str, code: str, message: str
) -> None:
    answer = operator.ask("PATCH", "/controls", body)
    assert_problem(answer, 422, "validation-failed")
    assert answer.json["errors"] == [{"pointer": pointer, "code": code, "message": message}]


# ── of an organization ────────────────────────────────────────────────────────────────────────────


def test_an_organizations_ingest_is_its_own(operator: Operator) -> None:
    acme, key = operator.organization("Acme")
    operator.turn(f"?organization_id={acme}", ingest="refuse")
    assert_problem(operator.send(key), 503, "refusing")
    assert operator.send().status == 202
    operator.turn(f"?organization_id={acme}", ingest="sync")
    assert operator.send(key).status == 201
    operator.turn(ingest="refuse")
    assert_problem(operator.send(key), 503, "refusing")
    shown = operator.ask("GET", f"/controls?organization_id={acme}").json
    assert (shown["ingest"], shown["turned"]["ingest"]["value"]) == ("refuse", "sync")
    assert shown["organization_id"] == acme


def test_events_of_a_paused_organization_wait_and_keep_nobody_from_being_routed(
    operator: Operator, run: Run, receiver: Receiver
) -> None:
    acme, key = operator.organization("Acme")
    operator.turn(f"?organization_id={acme}", processing="paused", reason="a bad filter")
    run(operator.service.call("POST", "/api/subscriptions", _all(receiver.url), key=key))
    run(operator.service.subscribe(receiver.url))
    waiting = [operator.send(key).json["id"] for _ in range(30)]
    other = operator.send().json["id"]
    run(operator.service.drain())
    assert receiver.ids == [other]
    operator.turn(f"?organization_id={acme}", ingest="sync")
    at_once = operator.send(key)
    assert at_once.status == 201, "what is routed before its answer is routed while paused"
    run(operator.service.drain())
    assert receiver.ids == [other, at_once.json["id"]]
    operator.turn(f"?organization_id={acme}", processing=None)
    run(operator.service.drain())
    assert sorted(receiver.ids[2:]) == sorted(waiting)


@pytest.mark.parametrize("of_subscription", [False, True])
def test_deliveries_of_one_wait_or_are_skipped_and_others_go_out(
    operator: Operator,
    run: Run,
    receiver: Receiver,
    of_subscription: bool,  # noqa: FBT001 - parametrized
) -> None:
    acme, key = operator.organization("Acme")
    made = run(
        operator.service.call("POST", "/api/subscriptions", _all(receiver.url), key=key)
    ).json
    run(operator.service.subscribe(receiver.url))
    whose = f"?subscription_id={made['id']}" if of_subscription else f"?organization_id={acme}"
    operator.turn(whose, delivery="paused")
    held, other = operator.send(key).json["id"], operator.send().json["id"]
    run(operator.service.drain())
    assert receiver.ids == [other]
    operator.turn(whose, delivery="running")
    run(operator.service.drain())
    assert receiver.ids == [other, held]
    operator.turn(whose, delivery="skip")
    skipped, another = operator.send(key).json["id"], operator.send().json["id"]
    run(operator.service.drain())
    assert receiver.ids == [other, held, another]
    shown = run(operator.service.call("GET", f"/api/events/{skipped}", key=key)).json
    (delivery,) = shown["deliveries"]
    assert (delivery["status"], delivery["reason"]) == ("skipped", "delivery is switched off")


def test_an_explanation_says_that_an_operator_keeps_a_delivery(
    operator: Operator, run: Run
) -> None:
    made = run(operator.service.subscribe("http://127.0.0.1:9/"))
    sent = operator.send().json["id"]
    operator.route()
    operator.turn(f"?subscription_id={made['id']}", delivery="paused")
    shown = run(operator.service.call("GET", f"/api/events/{sent}/explain")).json
    (each,) = shown["subscriptions"]
    assert (each["matched"], each["reason"]) == (True, "paused")
    assert each["detail"] == (
        "its delivery is pending and waits, as an operator has paused delivery"
    )


def test_switches_that_are_not_of_an_organization_are_refused_there(operator: Operator) -> None:
    acme, key = operator.organization("Acme")
    run = operator._run
    url = "http://127.0.0.1:9/"
    made = run(operator.service.call("POST", "/api/subscriptions", _all(url), key=key)).json
    for path, body in (
        (f"?organization_id={acme}", {"batch_size": 7}),
        (f"?organization_id={acme}", {"min_poll_ms": None, "ingest": "sync"}),
        (f"?subscription_id={made['id']}", {"ingest": "sync"}),
        (f"?subscription_id={made['id']}", {"processing": "paused"}),
    ):
        answer = operator.ask("PATCH", f"/controls{path}", body)
        assert_problem(answer, 422, "validation-failed")
        assert answer.json["errors"][0]["code"] == "not-of-this"
    other, _ = operator.organization("Other")
    for path in (
        "?organization_id=org_nobody",
        "?subscription_id=sub_nobody",
        f"?subscription_id={acme}",
        f"?organization_id={other}&subscription_id={made['id']}",
    ):
        answer = operator.ask("PATCH", f"/controls{path}", {"delivery": "paused"})
        assert_problem(answer, 404, "not-found")
        assert_problem(operator.ask("GET", f"/controls{path}"), 404, "not-found")


def test_switches_of_who_is_deleted_are_gone(operator: Operator) -> None:
    acme, _ = operator.organization("Acme")
    operator.turn(f"?organization_id={acme}", ingest="refuse")
    assert len(operator.ask("GET", "/switches").json["data"]) == 1
    operator.ask("DELETE", f"/organizations/{acme}")
    assert operator.ask("GET", "/switches").json["data"] == []
    operator.look()


def test_all_that_is_turned_is_listed_with_whose_it_is(
    run: Run, enter: Enter, make_service: MakeService, clock: FrozenClock
) -> None:
    service = enter(make_service(clock=clock, delivery=DeliveryMode.SKIP))
    operator = Operator(service, run)
    acme, key = operator.organization("Acme")
    url = "http://127.0.0.1:9/"
    made = run(service.call("POST", "/api/subscriptions", _all(url), key=key)).json
    operator.turn(processing="paused", reason="r", expires_in_s=60)
    operator.turn(f"?organization_id={acme}", ingest="sync")
    operator.turn(f"?subscription_id={made['id']}", delivery="paused")
    data = operator.ask("GET", "/switches").json["data"]
    assert [
        (each["switch"], each["value"], each["organization_id"], each["subscription_id"])
        for each in data
    ] == [
        ("processing", "paused", None, None),
        ("delivery", "skip", None, None),
        ("ingest", "sync", acme, None),
        ("delivery", "paused", acme, made["id"]),
    ]
    assert data[0]["reason"] == "r"
    assert data[0]["expires_at"] == "2026-01-01T12:01:00.000Z"
    assert data[0]["updated_by"].startswith("key_")
    assert data[1]["forced_by"] == "TRIGGERS_DELIVERY"


def test_an_organization_sees_of_what_is_turned_the_services_and_its_own(
    operator: Operator, run: Run
) -> None:
    (acme, key), (other, _) = operator.organization("Acme"), operator.organization("Other")
    operator.turn(processing="paused")
    for each in (acme, other):
        operator.turn(f"?organization_id={each}", delivery="paused")

    def seen(key: str) -> list[str | None]:
        shown = run(operator.service.call("GET", "/api/health/detailed", key=key)).json
        return [each["organization_id"] for each in shown["switches"]]

    assert seen(key) == [None, acme]
    assert sorted(seen(ADMIN_KEY), key=str) == sorted([None, acme, other], key=str)


# ── drain ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_drain_refuses_what_comes_in_and_says_when_nothing_is_left(
    operator: Operator, run: Run, receiver: Receiver, clock: FrozenClock
) -> None:
    run(operator.service.subscribe(receiver.url, retry_schedule=[600]))
    receiver.replies(500)
    sent = [operator.send().json["id"] for _ in range(2)]
    shown = operator.ask("POST", "/drain", {"reason": "upgrade"})
    assert shown.status == 200
    assert (shown.json["draining"], shown.json["drained"]) == (True, False)
    assert shown.json["reason"] == "upgrade"
    assert_problem(operator.send(), 503, "draining")
    batch = {"events": [{"type": "a", "payload": 1}]}
    refused = run(operator.service.call("POST", "/api/events/batch", batch))
    assert_problem(refused, 503, "draining")
    clock.advance(seconds=2)
    assert operator.drained()["drained"] is False
    assert operator.drained()["depth"] == 2
    ready = run(operator.service.call("GET", "/readyz"))
    assert (ready.status, ready.json["checks"]["accepting"]) == (503, "draining")
    run(operator.service.drain())
    assert sorted(receiver.ids) == sorted(sent)
    clock.advance(seconds=2)
    left = operator.drained()
    assert left["drained"] is True, "what is to be tried again later may remain"
    assert operator.ask("POST", "/drain").json["reason"] == "upgrade", "asked again, it stays"
    clock.advance(seconds=720)
    assert operator.drained()["drained"] is False
    run(operator.service.drain())
    assert operator.drained()["drained"] is True
    back = operator.ask("POST", "/undrain")
    assert (back.status, back.json["draining"], back.json["drained"]) == (200, False, False)
    assert operator.send().status == 202


def test_a_drain_says_how_much_is_done_of_what_was_there_and_when_it_will_be_over(
    operator: Operator, run: Run, receiver: Receiver, clock: FrozenClock
) -> None:
    for _ in range(3):
        run(operator.service.subscribe(receiver.url))
    for _ in range(4):
        operator.send()
    before = operator.drained()
    assert (before["total"], before["done"], before["eta_s"]) == (None, None, None)
    begun = operator.ask("POST", "/drain").json
    assert (begun["total"], begun["done"], begun["eta_s"]) == (4, 0, None)
    operator.route()
    clock.advance(seconds=4)
    routed = operator.drained()
    assert (routed["total"], routed["done"]) == (16, 4), "four became twelve"
    assert routed["eta_s"] == 12.0, "four in four seconds"
    again = operator.ask("POST", "/drain", {"reason": "upgrade"}).json
    assert (again["total"], again["done"]) == (16, 4), "it began when it began"
    run(operator.service.drain())
    clock.advance(seconds=4)
    ended = operator.drained()
    assert (ended["drained"], ended["total"], ended["done"]) == (True, 16, 16)
    assert ended["eta_s"] == 0.0
    operator.ask("POST", "/undrain")
    clock.advance(seconds=4)
    assert operator.ask("POST", "/drain").json["total"] == 0


def test_a_drain_does_not_wait_for_what_nobody_may_send(
    operator: Operator, run: Run, clock: FrozenClock
) -> None:
    made = run(operator.service.subscribe("http://127.0.0.1:9/"))
    other = run(operator.service.subscribe("http://127.0.0.1:9/"))
    operator.send()
    operator.route()
    operator.ask("POST", "/drain")
    clock.advance(seconds=2)
    assert operator.drained()["drained"] is False
    run(operator.service.call("POST", f"/api/subscriptions/{made['id']}/pause"))
    assert operator.drained()["drained"] is False
    operator.turn(f"?subscription_id={other['id']}", delivery="paused")
    assert operator.drained()["drained"] is True


def test_a_drain_is_over_when_its_time_is(operator: Operator, clock: FrozenClock) -> None:
    operator.turn(ingest="sync")
    shown = operator.ask("POST", "/drain", {"expires_in_s": 60}).json
    assert shown["expires_at"] == "2026-01-01T12:01:00.000Z"
    clock.advance(seconds=60)
    operator.look()
    assert operator.drained()["draining"] is False
    assert operator.send().status == 201


def test_what_is_paused_cannot_be_drained(operator: Operator) -> None:
    acme, _ = operator.organization("Acme")
    for whose, switch in (
        ("", "processing"), ("", "delivery"),
        (f"?organization_id={acme}", "processing"), (f"?organization_id={acme}", "delivery"),
    ):  # fmt: skip
        operator.turn(whose, **{switch: "paused"})
        answer = operator.ask("POST", "/drain")
        assert_problem(answer, 409, "invalid-state")
        assert switch in answer.json["detail"]
        operator.turn(whose, **{switch: None})
    assert operator.drained()["draining"] is False
    assert operator.ask("POST", "/drain").status == 200


def test_a_drain_outlives_a_restart(
    run: Run, make_service: MakeService, clock: FrozenClock
) -> None:
    async def main() -> None:
        async with make_service(clock=clock) as service:
            await service.call("POST", "/api/admin/drain", key=ADMIN_KEY)
        async with make_service(clock=clock) as service:
            assert_problem(await service.send("a"), 503, "draining")

    run(main())


def _all(url: str) -> dict[str, Any]:
    return {"url": url, "event_types": ["*"]}
