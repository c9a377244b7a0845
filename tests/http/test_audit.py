"""``/api/audit``, and that no route changes anything that it does not tell of."""

from __future__ import annotations

from typing import Any, Final

import pytest
from tests.conftest import MakeService, Run, new_key, new_organization, own_organization
from tests.http.conftest import assert_problem

from triggers_api.http.application import Application
from triggers_api.testing import ADMIN_KEY, API_KEY, FrozenClock, Receiver, Service

NOBODYS_CHANGE: Final = {
    "POST /api/portal-links", "POST /api/filters/check", "POST /api/events",
    "POST /api/events/batch", "POST /api/admin/verify/repair",
    "POST /api/listen/{subscription_id}/fetch",
    "POST /api/listen/{subscription_id}/settle", "DELETE /api/inbox/{event_id}",
    "DELETE /api/inboxes/{name}/{event_id}",
    *(
        f"POST /api/{inbox}/{action}"
        for inbox in ("inbox", "inboxes/{name}")
        for action in ("pull", "ack", "nack", "extend")
    ),
}  # fmt: skip
"""What takes events in, hands them out, and has the service do now what it does anyway.

A repair writes an entry for each check by which it mended something; here there is nothing to mend.
A link to a portal is signed, and stored nowhere: what is changed with it is told as its key's.
"""


WITH_REDIS: Final = {
    "POST /api/admin/buffer/poison/{entry_id}/release",
    "DELETE /api/admin/buffer/poison/{entry_id}",
}
"""What there is only where an ingest buffer is: see tests/redis/test_failures.py."""


async def call(
    service: Service, method: str, path: str, body: object = None, *, key: str = API_KEY
) -> Any:  # noqa: ANN401 - JSON
    answer = await service.call(method, path, body, key=key)
    assert answer.status < 300, (method, path, answer)
    return answer.json if answer.body else None


async def log(service: Service, query: str = "", key: str = ADMIN_KEY) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await call(service, "GET", f"/api/audit{query}", key=key))[
        "data"
    ]
    return found


@pytest.fixture(scope="module")
def clock() -> FrozenClock:
    return FrozenClock()


async def each_change(service: Service, receiver: Receiver) -> set[str]:  # noqa: PLR0915 - one each
    """One request to every route that changes something; each must have told of it. Which these were."""
    asked: set[str] = set()

    async def change(
        method: str, route: str, body: object = None, *, key: str = API_KEY, **ids: str
    ) -> Any:  # noqa: ANN401 - JSON
        before = {entry["id"] for entry in await log(service, "?limit=1000")}
        made = await call(service, method, route.format(**ids), body, key=key)
        added = [entry for entry in await log(service, "?limit=1000") if entry["id"] not in before]
        assert added, (method, route)
        kind = "operator" if key == ADMIN_KEY else "key"
        assert {entry["actor"]["type"] for entry in added} == {kind}, (method, route, added)
        assert all(entry["actor"]["key_id"].startswith("key_") for entry in added)
        assert all(entry["actor"]["request_id"] for entry in added)
        asked.add(f"{method} {route}")
        return made

    async def aside() -> str:
        sent = await call(service, "POST", "/api/events", {"type": "strict", "payload": 1})
        event_id: str = sent["id"]
        return event_id

    made = await change(
        "POST",
        "/api/subscriptions",
        {"url": receiver.url, "event_types": ["*"], "retry_schedule": []},
    )
    sub = {"subscription_id": made["id"]}
    await change("PATCH", "/api/subscriptions/{subscription_id}", {"timeout_s": 3}, **sub)
    await change("POST", "/api/subscriptions/{subscription_id}/pause", **sub)
    await change("POST", "/api/subscriptions/{subscription_id}/resume", **sub)
    await change("POST", "/api/subscriptions/{subscription_id}/rotate-secret", **sub)
    await change("POST", "/api/subscriptions/{subscription_id}/test", **sub)
    receiver.always(500)
    sent = await call(service, "POST", "/api/events", {"type": "a", "payload": 1})
    await service.drain()
    (delivery,) = (await call(service, "GET", f"/api/deliveries?event_id={sent['id']}"))["data"]
    await change("POST", "/api/deliveries/{delivery_id}/retry", delivery_id=delivery["id"])
    await change("POST", "/api/deliveries/{delivery_id}/cancel", delivery_id=delivery["id"])
    await change("POST", "/api/events/{event_id}/replay", {}, event_id=sent["id"])
    await change("DELETE", "/api/events/{event_id}", event_id=sent["id"])
    waiting = await call(service, "POST", "/api/events", {"type": "b", "payload": 1})
    await change("POST", "/api/events/{event_id}/cancel", event_id=waiting["id"])
    job = await change("POST", "/api/replays", {"rate": 0.01})
    await change("DELETE", "/api/jobs/{job_id}", job_id=job["id"])
    await change("POST", "/api/dead-letters/replay", {})
    await change("POST", "/api/dead-letters/purge", {"all": True})
    await change("DELETE", "/api/dead-letters?all=true")
    asked.add("DELETE /api/dead-letters")
    strict = {"schema": {"type": "object"}, "mode": "quarantine"}
    await change("PUT", "/api/event-types/{name}", strict, name="strict")
    await change("POST", "/api/quarantine/{event_id}/release", event_id=await aside())
    await change("DELETE", "/api/quarantine/{event_id}", event_id=await aside())
    by_operator = {"key": ADMIN_KEY}
    path = "/api/admin/quarantine/{event_id}"
    await change("POST", f"{path}/release", event_id=await aside(), **by_operator)
    await change("DELETE", path, event_id=await aside(), **by_operator)
    await change("DELETE", "/api/event-types/{name}", name="strict")
    hook = await change("POST", "/api/hooks", {"target_url": receiver.url, "event": "h"})
    await change("DELETE", "/api/hooks/{hook_id}", hook_id=hook["id"])
    await change("POST", "/api/listen", {})
    await change("PUT", "/api/inboxes/{name}", {}, name="mine")
    await change("POST", "/api/inboxes/{name}/seek", {"to": "end"}, name="mine")
    await change("DELETE", "/api/inboxes/{name}", name="mine")
    await change("POST", "/api/inbox/seek", {"to": "end"})
    await change("PATCH", "/api/organization", {"name": "Renamed"})
    await change("DELETE", "/api/subscriptions/{subscription_id}", **sub)
    other = await change("POST", "/api/admin/organizations", {"name": "other"}, **by_operator)
    path, of = "/api/admin/organizations/{organization_id}", {"organization_id": other["id"]}
    await change("PATCH", path, {"rate_limit": 9}, **of, **by_operator)
    key = await change("POST", f"{path}/keys", {"name": "k"}, **of, **by_operator)
    await change("POST", f"{path}/keys/{{key_id}}/rotate", key_id=key["id"], **of, **by_operator)
    await change("DELETE", f"{path}/keys/{{key_id}}", key_id=key["id"], **of, **by_operator)
    await change("DELETE", path, **of, **by_operator)
    await change("POST", f"{path}/erase", **of, **by_operator)
    path = "/api/admin/keys"
    key = await change("POST", path, {"name": "k"}, **by_operator)
    path = f"{path}/{{operator_key_id}}"
    await change("POST", f"{path}/rotate", operator_key_id=key["id"], **by_operator)
    await change("DELETE", path, operator_key_id=key["id"], **by_operator)
    await change("PATCH", "/api/admin/controls", {"delivery": "paused"}, **by_operator)
    await change("PATCH", "/api/admin/controls", {"delivery": None}, **by_operator)
    await change("POST", "/api/admin/drain", **by_operator)
    await change("POST", "/api/admin/undrain", **by_operator)
    await change("POST", "/api/admin/process", **by_operator)
    await change("POST", "/api/admin/requeue-stuck", **by_operator)
    return asked


def test_every_route_that_changes_something_tells_who_did_it(service: Service, run: Run) -> None:
    application = service.app.asgi
    assert isinstance(application, Application)
    changing = {
        f"{method.upper()} {path}"
        for path, item in application.openapi["paths"].items()
        for method in item
        if method != "get"
    }

    async def main() -> set[str]:
        async with Receiver() as receiver:
            return await each_change(service, receiver)

    asked = {route.partition("?")[0] for route in run(main())}
    assert changing - NOBODYS_CHANGE - WITH_REDIS == asked


def test_an_organization_sees_its_own_and_not_which_operator_it_was(
    service: Service, run: Run
) -> None:
    async def main() -> None:
        organization_id, key = await new_organization(service)
        path = f"/api/admin/organizations/{organization_id}"
        await call(service, "PATCH", path, {"rate_limit": 7}, key=ADMIN_KEY)
        await call(service, "PATCH", "/api/organization", {"name": "Mine"}, key=key)
        own = await log(service, key=key)
        assert [entry["action"] for entry in own] == [
            "organization.updated",
            "organization.updated",
            "key.created",
            "organization.created",
        ]
        assert {entry["organization_id"] for entry in own} == {organization_id}
        assert own[0]["actor"]["key_id"].startswith("key_")
        assert own[0]["actor"]["address"] == "127.0.0.1"
        assert own[1]["actor"] == {"type": "operator"}
        assert own[1]["changes"] == [{"field": "rate_limit", "after": 7}]
        seen = await log(service, f"?organization_id={organization_id}")
        assert [entry["id"] for entry in seen] == [entry["id"] for entry in own]
        assert seen[1]["actor"]["key_id"].startswith("key_")
        narrow = (await new_key(service, organization_id, scopes=["ingest"]))["key"]
        assert_problem(await service.call("GET", "/api/audit", key=narrow), 403, "forbidden")

    run(main())


def test_entries_are_found_by_what_is_asked_for(service: Service, run: Run) -> None:
    async def main() -> None:
        organization_id, key = await new_organization(service)
        made = await call(
            service,
            "POST",
            "/api/subscriptions",
            {"url": "https://example.com/x?token=secret", "event_types": ["a"]},
            key=key,
        )
        identifier = made["id"]
        await call(service, "POST", f"/api/subscriptions/{identifier}/pause", key=key)
        (paused,) = await log(service, f"?resource={identifier}&action=*.paused", key)
        assert {"field": "status", "before": "active", "after": "paused"} in paused["changes"]
        assert len(await log(service, "?resource_type=subscription", key)) == 2
        actor = paused["actor"]["key_id"]
        assert len(await log(service, f"?actor={actor}", key)) == 2
        assert await log(service, "?until=2020-01-01T00:00:00Z", key) == []
        assert "token=secret" not in str(await log(service, "", key))
        page = await call(service, "GET", "/api/audit?limit=3", key=key)
        rest = await call(
            service, "GET", f"/api/audit?limit=3&cursor={page['next_cursor']}", key=key
        )
        assert len(page["data"]) == 3
        assert [entry["action"] for entry in rest["data"]] == ["organization.created"]
        # Another one's cursor, and one with other filters, are none.
        for query, other in (
            (f"?limit=3&cursor={page['next_cursor']}", API_KEY),
            (f"?limit=3&cursor={page['next_cursor']}&action=a", key),
        ):
            refused = await service.call("GET", f"/api/audit{query}", key=other)
            assert_problem(refused, 400, "invalid-cursor")
        del organization_id

    run(main())


@pytest.mark.parametrize("query", ["?actor=", "?resource=" + "x" * 300, "?since=yesterday", "?x=1"])
def test_what_cannot_be_asked_for_is_refused(service: Service, run: Run, query: str) -> None:
    answer = run(service.call("GET", f"/api/audit{query}", key=ADMIN_KEY))
    assert_problem(answer, 422, "validation-failed")


def test_another_organization_cannot_be_asked_for(service: Service, run: Run) -> None:
    async def main() -> None:
        _, key = await new_organization(service)
        own = await own_organization(service)
        answer = await service.call("GET", f"/api/audit?organization_id={own}", key=key)
        assert_problem(answer, 404, "not-found")

    run(main())


def test_the_next_start_with_the_same_keys_changes_nothing(
    make_service: MakeService, run: Run
) -> None:
    async def started() -> list[dict[str, Any]]:
        async with make_service() as service:
            return await log(service)

    first = run(started())
    names = {
        change["after"]
        for each in first
        for change in each["changes"]
        if (each["action"], change["field"]) == ("key.created", "name")
    }
    assert names == {"TRIGGERS_API_KEY", "TRIGGERS_ADMIN_KEY"}
    assert run(started()) == first
