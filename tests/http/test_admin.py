"""``/api/admin``: tenants, keys, switches, books."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest
from tests.conftest import (
    Enter,
    MakeService,
    Run,
    new_key,
    new_organization,
    own_organization,
    turn,
)
from tests.http.conftest import assert_problem

from triggers_api.model.controls import DeliveryMode, IngestMode
from triggers_api.testing import ADMIN_KEY, API_KEY, Answer, FrozenClock, Receiver, Service

ORGANIZATION: Final = {
    "id", "name", "webhook_url", "rate_limit", "rate_burst", "max_queue_depth", "max_queue_age_s",
    "retention_days", "delivery_retention_days", "attempt_retention_days",
    "dead_letter_retention_days", "created_at",
    "updated_at",
}  # fmt: skip
CONTROLS: Final = {
    "ingest", "processing", "delivery", "concurrency", "batch_size", "min_poll_ms", "reason",
    "updated_at", "updated_by", "forced_by", "draining", "expires_at", "organization_id",
    "subscription_id", "turned",
}  # fmt: skip


def admin(service: Service, run: Run, method: str, path: str, body: Any = None) -> Answer:  # noqa: ANN401
    return run(service.call(method, f"/api/admin{path}", body, key=ADMIN_KEY))


# ── organizations ─────────────────────────────────────────────────────────────────────────────────


def test_a_new_organization_comes_with_a_key_that_is_shown_this_once(
    service: Service, run: Run
) -> None:
    answer = admin(service, run, "POST", "/organizations", {"name": "Acme"})
    assert answer.status == 201
    assert set(answer.json) == {"id", "name", "api_key"}
    key = answer.json["api_key"]
    assert run(service.call("GET", "/api/organization", key=key)).json["name"] == "Acme"
    path = f"/organizations/{answer.json['id']}"
    shown = admin(service, run, "GET", path)
    assert set(shown.json) == ORGANIZATION
    for each in (shown, admin(service, run, "GET", "/organizations"),
                 admin(service, run, "GET", f"{path}/keys")):  # fmt: skip
        assert key.encode() not in each.body


def test_limits_are_changed_and_put_back(service: Service, run: Run) -> None:
    organization_id, _ = run(new_organization(service, rate_limit=5, rate_burst=7))
    path = f"/organizations/{organization_id}"
    before = admin(service, run, "GET", path).json
    assert (before["rate_limit"], before["rate_burst"]) == (5, 7)
    assert admin(service, run, "PATCH", path, {"rate_limit": 0}).json == before | {"rate_limit": 0}
    nulls = admin(service, run, "PATCH", path, {"rate_limit": None, "rate_burst": None}).json
    assert nulls == before | {"rate_limit": None, "rate_burst": None}
    named = admin(service, run, "PATCH", path, {"name": "New"}).json
    assert named == nulls | {"name": "New"}
    for bad in ({"name": None}, {"rate_burst": 0}, {"rate_limit": 10**9 + 1}, {"webhook_url": "x"}):
        refused = admin(service, run, "PATCH", path, {"name": "Kept?", **bad})
        assert_problem(refused, 422, "validation-failed")
    assert admin(service, run, "GET", path).json == named


def test_a_deleted_organization_is_gone_with_its_keys_and_its_deliveries(
    service: Service, run: Run, receiver: Receiver
) -> None:
    organization_id, key = run(new_organization(service))
    answer = run(
        service.call(
            "POST", "/api/subscriptions", {"url": receiver.url, "event_types": ["*"]}, key=key
        )
    )
    assert answer.status == 201
    event = {"type": "a", "payload": 1}
    assert run(service.call("POST", "/api/events", event, key=key)).status == 202
    path = f"/organizations/{organization_id}"
    assert admin(service, run, "DELETE", path).status == 204
    assert_problem(run(service.call("POST", "/api/events", event, key=key)), 401, "unauthorized")
    assert_problem(run(service.call("GET", "/api/organization", key=key)), 401, "unauthorized")
    run(service.drain())
    assert receiver.requests == []
    for method, suffix in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/keys")):
        body: object = {} if method == "PATCH" else None
        assert_problem(admin(service, run, method, path + suffix, body), 404, "not-found")
    assert (
        organization_id.encode() not in admin(service, run, "GET", "/organizations?limit=1000").body
    )
    assert run(service.call("GET", "/api/organization")).status == 200


# ── keys ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_is_shown_once_and_listed_without_its_secret(service: Service, run: Run) -> None:
    organization_id, _ = run(new_organization(service))
    made = run(new_key(service, organization_id, name="ci", scopes=["read", "ingest", "read"]))
    assert {"id", "key", "scopes"} <= set(made)
    assert made["scopes"] == ["read", "ingest"]
    listed = admin(service, run, "GET", f"/organizations/{organization_id}/keys")
    assert made["key"].encode() not in listed.body
    mine, first = listed.json["data"]
    assert (mine["id"], mine["name"], mine["scopes"]) == (made["id"], "ci", ["read", "ingest"])
    assert made["key"].startswith(mine["hint"])
    assert len(mine["hint"]) < len(made["key"]) / 3
    assert first["scopes"] == ["ingest", "read", "manage"]
    assert mine["revoked_at"] is None


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "x", "scopes": []},
        {"name": "x", "scopes": ["admin"]},
        {"name": "x", "scopes": ["read", "admin"]},
        {"name": "x", "scopes": ["write"]},
        {"name": "x", "scopes": "read"},
        {"name": "x", "expires_at": "tomorrow"},
        {"name": "x", "key": "chosen-by-the-caller"},
    ],
    ids=str,
)
def test_a_key_with_a_fault_is_not_made(
    service: Service, run: Run, body: dict[str, object]
) -> None:
    path = f"/organizations/{run(own_organization(service))}/keys"
    before = admin(service, run, "GET", path).json
    assert_problem(admin(service, run, "POST", path, body), 422, "validation-failed")
    assert admin(service, run, "GET", path).json == before


def test_a_revoked_key_stays_in_the_list_and_is_revoked_once(service: Service, run: Run) -> None:
    organization_id, _ = run(new_organization(service))
    made = run(new_key(service, organization_id))
    path = f"/organizations/{organization_id}/keys/{made['id']}"
    assert admin(service, run, "DELETE", path).status == 204
    listed = admin(service, run, "GET", f"/organizations/{organization_id}/keys").json["data"]
    assert listed[0]["revoked_at"] == "2026-01-01T12:00:00.000Z"
    assert run(service.call("GET", "/api/events", key=made["key"])).status == 401


def test_a_key_of_another_organization_is_not_revoked(service: Service, run: Run) -> None:
    mine, _ = run(new_organization(service))
    other, _ = run(new_organization(service))
    made = run(new_key(service, other))
    path = f"/organizations/{mine}/keys/{made['id']}"
    assert_problem(admin(service, run, "DELETE", path), 404, "not-found")
    assert run(service.call("GET", "/api/events", key=made["key"])).status == 200


# ── switches ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def fresh(enter: Enter, make_service: MakeService, clock: FrozenClock) -> Service:
    return enter(make_service(clock=clock))


def test_the_switches_as_they_are_at_first(fresh: Service, run: Run) -> None:
    shown = admin(fresh, run, "GET", "/controls").json
    assert set(shown) == CONTROLS
    assert (shown["ingest"], shown["processing"], shown["delivery"]) == (
        "async",
        "running",
        "running",
    )


def test_a_turn_is_applied_whole_and_says_who_when_and_why(
    fresh: Service, run: Run, clock: FrozenClock
) -> None:
    clock.advance(seconds=5)
    shown = run(
        turn(fresh, processing="paused", delivery="skip", reason="maintenance", batch_size=7)
    )
    assert (shown["processing"], shown["delivery"], shown["batch_size"]) == ("paused", "skip", 7)
    assert (shown["ingest"], shown["concurrency"]) == ("async", None)
    assert shown["reason"] == "maintenance"
    assert shown["updated_at"] == "2026-01-01T12:00:05.000Z"
    assert shown["updated_by"].startswith("key_")
    assert admin(fresh, run, "GET", "/controls").json == shown
    back = run(turn(fresh, processing=None, delivery=None))
    assert (back["processing"], back["delivery"], back["batch_size"]) == ("running", "running", 7)


def test_a_turn_with_a_fault_turns_nothing(fresh: Service, run: Run) -> None:
    before = admin(fresh, run, "GET", "/controls").json
    bad = {"processing": "paused", "delivery": "off"}
    assert_problem(admin(fresh, run, "PATCH", "/controls", bad), 422, "validation-failed")
    assert admin(fresh, run, "GET", "/controls").json == before


def test_simultaneous_turns_of_different_switches_are_all_kept(fresh: Service, run: Run) -> None:
    turns: list[dict[str, Any]] = [
        {"ingest": "sync"}, {"processing": "paused"}, {"delivery": "skip"}, {"batch_size": 3},
        {"concurrency": 4}, {"min_poll_ms": 5},
    ]  # fmt: skip

    async def main() -> None:
        await asyncio.gather(*(turn(fresh, **each) for each in turns))

    run(main())
    shown = admin(fresh, run, "GET", "/controls").json
    for each in turns:
        assert each.items() <= shown.items()


def test_switches_and_everything_else_outlive_a_restart(
    run: Run, make_service: MakeService, clock: FrozenClock
) -> None:
    async def main() -> None:
        async with make_service(clock=clock) as service:
            _, key = await new_organization(service, rate_limit=9)
            controls = await turn(service, delivery="paused", concurrency=3, reason="r")
            made = await service.subscribe("http://127.0.0.1:9/")
            del made["secret"]
            kept = (await service.call("GET", "/api/admin/organizations", key=ADMIN_KEY)).json
        async with make_service(clock=clock) as service:
            answer = await service.call("GET", "/api/admin/controls", key=ADMIN_KEY)
            assert answer.json == controls
            answer = await service.call("GET", "/api/admin/organizations", key=ADMIN_KEY)
            assert answer.json == kept
            answer = await service.call("GET", f"/api/subscriptions/{made['id']}")
            assert answer.json == made
            assert (await service.call("GET", "/api/events", key=key)).status == 200

    run(main())


def test_what_the_environment_forces_is_shown_and_wins(
    run: Run, enter: Enter, make_service: MakeService, clock: FrozenClock
) -> None:
    service = enter(
        make_service(clock=clock, delivery=DeliveryMode.SKIP, ingest_mode=IngestMode.SYNC)
    )
    shown = run(turn(service, delivery="running", ingest="refuse", processing="paused"))
    assert (shown["delivery"], shown["ingest"], shown["processing"]) == ("skip", "sync", "paused")
    assert shown["forced_by"] == {"delivery": "TRIGGERS_DELIVERY", "ingest": "TRIGGERS_INGEST_MODE"}
    assert run(service.send("a")).status == 201


# ── books ─────────────────────────────────────────────────────────────────────────────────────────


def test_the_books_count_every_state_and_balance(
    run: Run, enter: Enter, make_service: MakeService, clock: FrozenClock, receiver: Receiver
) -> None:
    service = enter(make_service(clock=clock))

    async def main() -> None:
        receiver.replies(204, 500)
        await service.subscribe(receiver.url, ["order.*"])
        for number in range(2):
            await service.send("order.created", number)
        await service.send("nobody.wants.this")
        await service.drain()
        await service.send("order.created", dedup_id="twice")
        await service.send("order.created", dedup_id="twice")
        await service.send("order.created", deliver_at="2030-01-01T00:00:00Z")
        gone = (await service.send("order.created")).json["id"]
        await service.call("DELETE", f"/api/events/{gone}")
        await new_organization(service)

    run(main())
    own = run(own_organization(service))
    shown = admin(service, run, "GET", "/verify").json
    assert shown["ok"] is True
    assert set(shown) == {"ok", "organizations", "checks", "integrity", "stuck"}
    by_id = {each.pop("organization_id"): each for each in shown["organizations"]}
    assert by_id[own] == {
        "accepted": 6, "queued": 1, "scheduled": 1, "processed": 3, "failed": 0, "quarantined": 0,
        "cancelled": 0, "deleted": 1, "pruned": 0,
        "deliveries": {
            "total": 2, "pending": 0, "delivering": 0, "retrying": 1, "succeeded": 1, "dead": 0,
            "skipped": 0, "cancelled": 0,
        },
    }  # fmt: skip
    assert len(by_id) == 2


def test_no_route_of_the_operator_is_open_to_an_organization(service: Service, run: Run) -> None:
    own = run(own_organization(service))
    for method, path in (
        ("GET", "/organizations"), ("GET", f"/organizations/{own}"), ("GET", "/controls"),
        ("GET", "/verify"), ("GET", f"/organizations/{own}/keys"),
    ):  # fmt: skip
        answer = run(service.call(method, f"/api/admin{path}", key=API_KEY))
        assert_problem(answer, 403, "forbidden")
