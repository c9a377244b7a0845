"""``/api/listen``: what is taken, what is refused, and whose a session is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.conftest import Run, new_key, new_organization, own_organization
from tests.http.conftest import assert_problem

from triggers_api.testing import ADMIN_KEY, Answer, Service


@pytest.fixture
def session(service: Service, run: Run) -> dict[str, Any]:
    made = run(service.call("POST", "/api/listen"))
    assert made.status == 201, made
    begun: dict[str, Any] = made.json
    return begun


def fetched(service: Service, run: Run, session: dict[str, Any]) -> dict[str, Any]:
    """The one delivery of a new event."""
    run(service.send("order.created", 1))
    run(service.drain())
    path = f"/api/listen/{session['id']}/fetch"
    (found,) = run(service.call("POST", path, {"wait_s": 0})).json["data"]
    delivery: dict[str, Any] = found
    return delivery


def assert_refused(answer: Answer, pointer: str) -> None:
    assert_problem(answer, 422, "validation-failed")
    assert [error["pointer"] for error in answer.json["errors"]] == [pointer]


def test_without_a_body_a_session_gets_every_event(session: dict[str, Any]) -> None:
    assert session["url"] == "listen:"
    assert session["event_types"] == ["*"]
    assert session["secret"].startswith("whsec_")
    assert session["expires_at"] == "2026-01-01T12:01:30.000Z"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"event_types": []}, "/event_types"),
        ({"filter": "payload."}, "/filter"),
        ({"secret": "short"}, "/secret"),
        ({"retry_schedule": [-1]}, "/retry_schedule/0"),
        ({"url": "http://127.0.0.1/"}, "/url"),
        ({"expires_at": "2030-01-01T00:00:00Z"}, "/expires_at"),
    ],
)
def test_a_fault_in_what_is_asked_for_is_named_with_its_place(
    service: Service, run: Run, body: dict[str, Any], pointer: str
) -> None:
    answer = run(service.call("POST", "/api/listen", body))
    assert_refused(answer, pointer)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [({"limit": 0}, "/limit"), ({"limit": 101}, "/limit"), ({"wait_s": 21}, "/wait_s")],
)
def test_a_session_fetches_within_bounds(
    service: Service, run: Run, session: dict[str, Any], body: dict[str, Any], pointer: str
) -> None:
    answer = run(service.call("POST", f"/api/listen/{session['id']}/fetch", body))
    assert_refused(answer, pointer)


@pytest.mark.parametrize(
    ("result", "pointer"),
    [
        ({}, "/results/0"),
        ({"status_code": 200, "error": "timeout"}, "/results/0"),
        ({"error": "nonsense"}, "/results/0"),
        ({"status_code": 99}, "/results/0/status_code"),
        ({"status_code": 200, "duration_ms": -1}, "/results/0/duration_ms"),
        ({"status_code": 200, "response_body": "x" * 16_385}, "/results/0/response_body"),
    ],
)
def test_a_report_that_says_nothing_settles_nothing(
    service: Service, run: Run, session: dict[str, Any], result: dict[str, Any], pointer: str
) -> None:
    receipt = fetched(service, run, session)["receipt"]
    path = f"/api/listen/{session['id']}/settle"
    answer = run(service.call("POST", path, {"results": [{"receipt": receipt, **result}]}))
    assert_refused(answer, pointer)
    good = {"results": [{"receipt": receipt, "status_code": 200}]}
    assert run(service.call("POST", path, good)).json["results"][0]["status"] == "settled"


@pytest.mark.parametrize("change", ["cut", "turned", "nonsense", "spelling"])
def test_a_receipt_cannot_be_made_up(
    service: Service, run: Run, session: dict[str, Any], change: str
) -> None:
    receipt: str = fetched(service, run, session)["receipt"]
    forged = {
        "cut": receipt[:-8],
        "turned": receipt[::-1],
        "nonsense": "ünsinn",
        "spelling": receipt[:30] + ("A" if receipt[30] != "A" else "B") + receipt[31:],
    }[change]
    path = f"/api/listen/{session['id']}/settle"
    answer = run(service.call("POST", path, {"results": [{"receipt": forged, "status_code": 200}]}))
    assert answer.json["results"] == [{"receipt": forged, "status": "lease_lost"}]


def test_only_its_organization_fetches_and_reports(
    service: Service, run: Run, session: dict[str, Any]
) -> None:
    receipt = fetched(service, run, session)["receipt"]
    _, key = run(new_organization(service))
    theirs = run(service.call("POST", "/api/listen", key=key)).json
    results = {"results": [{"receipt": receipt, "status_code": 200}]}
    for verb, body in (("fetch", {"wait_s": 0}), ("settle", results)):
        answer = run(service.call("POST", f"/api/listen/{session['id']}/{verb}", body, key=key))
        assert_problem(answer, 404, "not-found")
    path = f"/api/listen/{theirs['id']}/settle"
    answer = run(service.call("POST", path, results, key=key))
    assert answer.json["results"][0]["status"] == "lease_lost"


def test_a_subscription_with_a_url_is_no_session(service: Service, run: Run) -> None:
    made = run(service.subscribe("https://127.0.0.1:9/hook"))
    for verb, body in (
        ("fetch", {}),
        ("settle", {"results": [{"receipt": "a", "status_code": 200}]}),
    ):
        answer = run(service.call("POST", f"/api/listen/{made['id']}/{verb}", body))
        assert_problem(answer, 404, "not-found")


def test_a_session_stays_one_and_is_changed_like_any_subscription(
    service: Service, run: Run, session: dict[str, Any]
) -> None:
    path = f"/api/subscriptions/{session['id']}"
    url = {"url": "https://example.com/hook"}
    assert_refused(run(service.call("PATCH", path, url)), "/url")
    changed = run(service.call("PATCH", path, {"event_types": ["parcel.*"]}))
    assert (changed.status, changed.json["url"]) == (200, "listen:")


def test_nobody_subscribes_with_the_url_of_a_session(service: Service, run: Run) -> None:
    made = run(service.subscribe("https://127.0.0.1:9/hook"))["id"]
    body = {"url": "listen:", "event_types": ["*"]}
    for method, path in (("POST", "/api/subscriptions"), ("PATCH", f"/api/subscriptions/{made}")):
        answer = run(service.call(method, path, body))
        assert_refused(answer, "/url")


def test_a_key_that_may_only_read_begins_no_session(service: Service, run: Run) -> None:
    organization = run(own_organization(service))
    key = run(new_key(service, organization, scopes=["read"]))["key"]
    assert_problem(run(service.call("POST", "/api/listen", key=key)), 403, "forbidden")


def test_who_waits_with_a_key_that_is_revoked_meanwhile_is_turned_away(
    service: Service, run: Run, session: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    organization = run(own_organization(service))
    key = run(new_key(service, organization, scopes=["manage"]))
    store = service.app.store
    watch = store.watch_deliveries
    waits = asyncio.Event()

    async def seen(timeout_s: float) -> None:
        waits.set()
        await watch(timeout_s)

    monkeypatch.setattr(store, "watch_deliveries", seen)

    async def main() -> Answer:
        path = f"/api/listen/{session['id']}/fetch"
        waiting = asyncio.create_task(service.call("POST", path, {"wait_s": 20}, key=key["key"]))
        await waits.wait()
        there = f"/api/admin/organizations/{organization}/keys/{key['id']}"
        assert (await service.call("DELETE", there, key=ADMIN_KEY)).status == 204
        return await waiting

    assert_problem(run(main()), 401, "unauthorized")
