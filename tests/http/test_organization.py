"""``/api/organization``: what a tenant sees of itself, and the one subscription its URL keeps."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import pytest
from tests.conftest import Enter, Run, new_organization
from tests.http.conftest import assert_problem

from triggers_api.testing import FrozenClock, Receiver, Service

PATH: Final = "/api/organization"


@pytest.fixture
def service(enter: Enter, tmp_path: Path, clock: FrozenClock) -> Service:
    return enter(Service(tmp_path, clock=clock))


def change(service: Service, run: Run, **patch: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    answer = run(service.call("PATCH", PATH, patch))
    assert answer.status == 200, answer
    shown: dict[str, Any] = answer.json
    return shown


def subscriptions(service: Service, run: Run) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = run(service.call("GET", "/api/subscriptions")).json["data"]
    return listed


def test_an_organization_sees_itself(service: Service, run: Run) -> None:
    shown = run(service.call("GET", PATH)).json
    assert set(shown) == {
        "id", "name", "webhook_url", "rate_limit", "rate_burst", "retention_days",
        "delivery_retention_days", "attempt_retention_days", "dead_letter_retention_days",
        "max_queue_depth", "max_queue_age_s", "created_at", "updated_at",
    }  # fmt: skip
    assert (shown["name"], shown["webhook_url"]) == ("default", None)
    other_id, other_key = run(new_organization(service))
    assert run(service.call("GET", PATH, key=other_key)).json["id"] == other_id != shown["id"]


def test_a_name_is_changed_alone(service: Service, run: Run, clock: FrozenClock) -> None:
    before = run(service.call("GET", PATH)).json
    clock.advance(seconds=1)
    shown = change(service, run, name="Ünïcode & Söhne")
    assert shown.pop("webhook_secret") is None
    assert shown == before | {
        "name": "Ünïcode & Söhne",
        "updated_at": "2026-01-01T12:00:01.000Z",
    }
    assert run(service.call("GET", PATH)).json == shown


@pytest.mark.parametrize(
    "patch",
    [
        {"name": ""},
        {"name": None},
        {"name": "x" * 256},
        {"name": "a\nb"},
        {"webhook_url": "http://10.0.0.1/"},
        {"webhook_url": "nonsense"},
        {"webhook_url": ""},
        {"rate_limit": 0},
        {"id": "org_1"},
        {"name": "kept?", "webhook_url": "ftp://127.0.0.1/"},
    ],
    ids=str,
)
def test_a_change_with_a_fault_changes_nothing(
    service: Service, run: Run, patch: dict[str, object]
) -> None:
    before = run(service.call("GET", PATH)).json
    assert_problem(run(service.call("PATCH", PATH, patch)), 422, "validation-failed")
    assert run(service.call("GET", PATH)).json == before
    assert subscriptions(service, run) == []


def test_a_webhook_url_keeps_one_subscription_to_everything(
    service: Service, run: Run, receiver: Receiver
) -> None:
    shown = change(service, run, webhook_url=receiver.url)
    assert shown["webhook_url"] == receiver.url
    secret = shown["webhook_secret"]
    assert secret.startswith("whsec_")
    (kept,) = subscriptions(service, run)
    assert (kept["url"], kept["event_types"], kept["status"]) == (receiver.url, ["*"], "active")
    run(service.send("any.thing", {"n": 1}))
    run(service.drain())
    (request,) = receiver.requests
    request.verify(secret, now=int(service.app.store.now() / 1000))
    # The same again, or another one, keeps the subscription and its secret.
    assert change(service, run, webhook_url=receiver.url)["webhook_secret"] is None
    changed = change(service, run, webhook_url=f"{receiver.url}/other")
    assert changed["webhook_secret"] is None
    (still,) = subscriptions(service, run)
    assert (still["id"], still["url"]) == (kept["id"], f"{receiver.url}/other")
    run(service.send("any.thing", {"n": 2}))
    run(service.drain())
    assert [each.path for each in receiver.requests] == ["/hook", "/hook/other"]
    receiver.requests[1].verify(secret, now=int(service.app.store.now() / 1000))
    # Null ends it.
    assert change(service, run, webhook_url=None)["webhook_url"] is None
    assert subscriptions(service, run) == []
    run(service.send("any.thing", {"n": 3}))
    run(service.drain())
    assert len(receiver.requests) == 2
    assert change(service, run, webhook_url=None)["webhook_url"] is None


def test_a_new_url_after_the_end_is_a_new_subscription(
    service: Service, run: Run, receiver: Receiver
) -> None:
    first = change(service, run, webhook_url=receiver.url)["webhook_secret"]
    change(service, run, webhook_url=None)
    second = change(service, run, webhook_url=receiver.url)["webhook_secret"]
    assert second is not None
    assert second != first
    assert len(subscriptions(service, run)) == 1


def test_a_new_url_mends_a_subscription_that_was_disabled(
    service: Service, run: Run, receiver: Receiver
) -> None:
    receiver.replies(410)
    change(service, run, webhook_url=receiver.url)
    run(service.send("a"))
    run(service.drain())
    assert [each["status"] for each in subscriptions(service, run)] == ["disabled"]
    change(service, run, webhook_url=f"{receiver.url}/new")
    assert [each["status"] for each in subscriptions(service, run)] == ["active"]
    run(service.send("b"))
    run(service.drain())
    assert receiver.requests[-1].path == "/hook/new"


def test_simultaneous_changes_of_the_url_leave_one_subscription(
    service: Service, run: Run, receiver: Receiver
) -> None:
    async def main() -> None:
        answers = await asyncio.gather(
            *(service.call("PATCH", PATH, {"webhook_url": f"{receiver.url}/{n}"}) for n in range(8))
        )
        assert {answer.status for answer in answers} == {200}
        assert sum(answer.json["webhook_secret"] is not None for answer in answers) == 1

    run(main())
    (kept,) = subscriptions(service, run)
    assert kept["url"] == run(service.call("GET", PATH)).json["webhook_url"]


def test_other_subscriptions_are_left_alone(service: Service, run: Run, receiver: Receiver) -> None:
    own = run(service.subscribe(receiver.url, ["order.*"]))
    change(service, run, webhook_url=f"{receiver.url}/all")
    change(service, run, webhook_url=None)
    assert [each["id"] for each in subscriptions(service, run)] == [own["id"]]
