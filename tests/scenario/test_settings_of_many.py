"""Settings that are changed through several processes, one after the other or at once: none is lost.

The processes have no background parts: what one knows of another's change it asked for when it had to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from tests.conftest import Enter, Log, MakeService, Run
from tests.servers.postgres import Postgres

from triggers_api.errors import StoreUnavailable
from triggers_api.model.subscription import SubscriptionRecord
from triggers_api.store.base import Changes
from triggers_api.store.postgres.tables import SQL
from triggers_api.testing import ADMIN_KEY, Answer, Receiver, Service

ORGANIZATION: Final = "/api/organization"
SUBSCRIPTIONS: Final = "/api/subscriptions"
HOOKS: Final = "/api/hooks"
CONTROLS: Final = "/api/admin/controls"
ORGANIZATIONS: Final = "/api/admin/organizations"


@pytest.fixture
def database_url(postgres: Postgres) -> Iterator[str]:
    """The engine for several processes."""
    name = postgres.migrated_database()
    yield postgres.url(name)
    postgres.drop_database(name)


Process = Callable[..., Service]


@pytest.fixture
def process(enter: Enter, make_service: MakeService) -> Process:
    return lambda **options: enter(make_service(background=False, **options))


@pytest.fixture
def one(process: Process) -> Service:
    return process()


@pytest.fixture
def other(process: Process, one: Service) -> Service:  # noqa: ARG001 - it starts after the first
    return process()


@pytest.fixture
def asked(run: Run) -> Callable[..., Any]:
    """The answer to a request that succeeds."""

    def asked(service: Service, *request: Any, **options: Any) -> Any:  # noqa: ANN401 - of call
        answer = run(service.call(*request, **options))
        assert answer.status < 300, answer
        return answer.json if answer.body else None

    return asked


Asked = Callable[..., Any]


def refresh(run: Run, *services: Service) -> None:
    """What the monitor of each does twice a second."""
    for service in services:
        run(service.app.directory.refresh())


def delivered(run: Run, service: Service, receiver: Receiver) -> int:
    """How often one event is delivered."""
    before = len(receiver.requests)
    run(service.send("order.created"))
    run(service.drain())
    return len(receiver.requests) - before


# ── one after the other ───────────────────────────────────────────────────────────────────────────


def test_a_switch_turned_through_one_process_stays_when_another_is_turned_through_another(
    one: Service, other: Service, asked: Asked
) -> None:
    asked(one, "PATCH", CONTROLS, {"ingest": "refuse"}, key=ADMIN_KEY)
    asked(other, "PATCH", CONTROLS, {"processing": "paused"}, key=ADMIN_KEY)
    asked(one, "PATCH", CONTROLS, {"reason": "maintenance"}, key=ADMIN_KEY)
    shown = asked(one, "GET", CONTROLS, key=ADMIN_KEY)
    assert (shown["ingest"], shown["processing"], shown["reason"]) == (
        "refuse", "paused", "maintenance",
    )  # fmt: skip


def test_an_organization_changed_through_one_process_and_another_keeps_both_changes(
    one: Service, other: Service, asked: Asked
) -> None:
    path = f"{ORGANIZATIONS}/{asked(one, 'GET', ORGANIZATION)['id']}"
    asked(one, "PATCH", path, {"rate_limit": 100}, key=ADMIN_KEY)
    asked(other, "PATCH", path, {"name": "renamed"}, key=ADMIN_KEY)
    shown = asked(other, "GET", path, key=ADMIN_KEY)
    assert (shown["rate_limit"], shown["name"]) == (100, "renamed")


def test_a_webhook_url_that_is_set_again_through_another_process_is_still_one_subscription(
    one: Service, other: Service, asked: Asked, run: Run, receiver: Receiver
) -> None:
    for service in (one, other):
        asked(service, "PATCH", ORGANIZATION, {"webhook_url": receiver.url})
    assert len(asked(one, "GET", SUBSCRIPTIONS)["data"]) == 1
    refresh(run, one)
    assert delivered(run, one, receiver) == 1


def test_a_webhook_url_ended_through_one_process_and_set_through_another_is_delivered_to(
    one: Service, other: Service, asked: Asked, run: Run, receiver: Receiver
) -> None:
    asked(one, "PATCH", ORGANIZATION, {"webhook_url": receiver.url})
    refresh(run, other)
    asked(one, "PATCH", ORGANIZATION, {"webhook_url": None})
    asked(other, "PATCH", ORGANIZATION, {"webhook_url": receiver.url})
    assert delivered(run, other, receiver) == 1


def test_a_webhook_url_set_through_one_process_and_ended_through_another_is_not_delivered_to(
    one: Service, other: Service, asked: Asked, run: Run, receiver: Receiver
) -> None:
    asked(one, "PATCH", ORGANIZATION, {"webhook_url": receiver.url})
    asked(other, "PATCH", ORGANIZATION, {"webhook_url": None})
    refresh(run, one)
    assert delivered(run, one, receiver) == 0


def test_an_organization_deleted_through_one_process_gets_no_key_through_another(
    one: Service, other: Service, asked: Asked, run: Run
) -> None:
    made = asked(one, "POST", ORGANIZATIONS, {"name": "short-lived"}, key=ADMIN_KEY)
    refresh(run, other)
    path = f"{ORGANIZATIONS}/{made['id']}"
    asked(one, "DELETE", path, key=ADMIN_KEY)
    refused = run(other.call("POST", f"{path}/keys", {"name": "late"}, key=ADMIN_KEY))
    assert (refused.status, refused.json["code"]) == (404, "not-found")


def test_an_organization_deleted_through_one_process_gets_no_subscription_through_another(
    one: Service, other: Service, asked: Asked, run: Run, receiver: Receiver
) -> None:
    made = asked(one, "POST", ORGANIZATIONS, {"name": "short-lived"}, key=ADMIN_KEY)
    refresh(run, other)
    asked(one, "DELETE", f"{ORGANIZATIONS}/{made['id']}", key=ADMIN_KEY)
    body = {"url": receiver.url, "event_types": ["*"]}
    assert run(other.call("POST", SUBSCRIPTIONS, body, key=made["api_key"])).status == 401


# ── at once ───────────────────────────────────────────────────────────────────────────────────────


def test_two_changes_of_one_subscription_at_once_are_both_kept(
    one: Service, other: Service, asked: Asked, run: Run, receiver: Receiver
) -> None:
    path = f"{SUBSCRIPTIONS}/{run(one.subscribe(receiver.url))['id']}"

    async def at_once(number: int) -> tuple[Answer, Answer]:
        return await asyncio.gather(
            one.call("PATCH", path, {"url": f"{receiver.url}/{number}"}),
            other.call("PATCH", path, {"description": f"{number}"}),
        )

    for number in range(10):
        assert [answer.status for answer in run(at_once(number))] == [200, 200]
        shown = asked(one, "GET", path)
        assert (shown["url"], shown["description"]) == (f"{receiver.url}/{number}", f"{number}")


def test_a_hook_asked_for_through_two_processes_at_once_is_made_once(
    one: Service, other: Service, asked: Asked, run: Run, receiver: Receiver
) -> None:
    body = {"target_url": receiver.url, "event": "order.*"}

    async def at_once() -> list[Answer]:
        return await asyncio.gather(
            *(service.call("POST", HOOKS, body) for service in (one, other) for _ in range(8))
        )

    answers = run(at_once())
    assert sorted(answer.status for answer in answers) == [200] * 15 + [201]
    (hook,) = {answer.json["id"] for answer in answers}
    for service in (one, other):
        assert [each["id"] for each in asked(service, "GET", HOOKS)["data"]] == [hook]
    refresh(run, one)
    assert delivered(run, one, receiver) == 1


def test_a_hook_ended_through_one_process_is_made_anew_through_another(
    one: Service, other: Service, asked: Asked, receiver: Receiver
) -> None:
    body = {"target_url": receiver.url, "event": "order.*"}
    first = asked(one, "POST", HOOKS, body)["id"]
    assert asked(other, "POST", HOOKS, body)["id"] == first
    asked(one, "DELETE", f"{HOOKS}/{first}")
    second = asked(other, "POST", HOOKS, body)["id"]
    assert second != first
    for service in (one, other):
        asked(service, "DELETE", f"{HOOKS}/{first}")
        assert [each["id"] for each in asked(service, "GET", HOOKS)["data"]] == [second]


def test_more_changes_at_once_than_there_are_connections_are_all_made(
    process: Process, run: Run, asked: Asked, receiver: Receiver
) -> None:
    """Each of another organization, so that nothing keeps them apart before the database does."""
    services = [process(db_pool_size=1, db_max_overflow=1, db_pool_wait_s=30.0) for _ in range(2)]
    keys = [
        asked(services[0], "POST", ORGANIZATIONS, {"name": f"{n}"}, key=ADMIN_KEY)["api_key"]
        for n in range(10)
    ]
    refresh(run, *services)
    body = {"url": receiver.url, "event_types": ["*"]}

    async def at_once() -> list[Answer]:
        return await asyncio.gather(
            *(
                service.call("POST", SUBSCRIPTIONS, body, key=key)
                for service in services
                for key in keys
            )
        )

    assert [answer.status for answer in run(at_once())] == [201] * 20


# ── what follows a change fails ───────────────────────────────────────────────────────────────────


def test_a_subscription_that_is_on_file_is_answered_201_although_it_is_not_taken_in_yet(
    one: Service, asked: Asked, run: Run, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = one.app.store
    save = store.save_subscription

    async def away(since: int) -> Changes:
        raise StoreUnavailable(f"the database is away since {since}")

    async def save_and_be_cut_off(record: SubscriptionRecord) -> None:
        await save(record)
        patched.setattr(store, "changes", away)

    with monkeypatch.context() as patched:
        patched.setattr(store, "save_subscription", save_and_be_cut_off)
        body = {"url": receiver.url, "event_types": ["*"]}
        assert run(one.call("POST", SUBSCRIPTIONS, body)).status == 201
    assert len(asked(one, "GET", SUBSCRIPTIONS)["data"]) == 1
    refresh(run, one)
    assert delivered(run, one, receiver) == 1


def test_a_subscription_that_is_deleted_is_answered_204_although_what_waits_is_not_cancelled_yet(
    one: Service, run: Run, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    path = f"{SUBSCRIPTIONS}/{run(one.subscribe(receiver.url))['id']}"
    with monkeypatch.context() as patched:
        patched.setitem(
            SQL._texts,
            "cancel_ended",
            "SELECT pg_terminate_backend(pg_backend_pid())"
            " FROM (SELECT $1::bigint, $2::text, $3::uuid, $4::integer) AS asked",
        )
        assert run(one.call("DELETE", path)).status == 204
    (line,) = [each for each in log if "cancelled later" in each["event"]]
    assert line["code"] == "outcome-unknown"
    assert run(one.call("GET", path)).status == 404
