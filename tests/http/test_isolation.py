"""Who may ask what. Generated from the OpenAPI document, so that no new route escapes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import pytest
from tests.conftest import Run, new_key, new_organization, own_organization
from tests.http.conftest import assert_problem

from triggers_api.http.application import Application
from triggers_api.testing import ADMIN_KEY, API_KEY, FrozenClock, Receiver, Service

INGEST: Final = {"ingest"}
READ: Final = {"read"}
MANAGE: Final = {"manage"}
READ_OR_MANAGE: Final = {"read", "manage"}
OPERATOR: Final = {"admin"}
READ_OR_OPERATOR: Final = {"read", "admin"}
NOBODY_ASKED: Final[set[str]] = set()

SCOPES: Final = {
    "POST /api/events": INGEST,
    "POST /api/events/batch": INGEST,
    "GET /api/events": READ,
    "GET /api/events/stream": READ,
    "GET /api/events/{event_id}": READ,
    "GET /api/events/{event_id}/explain": READ,
    "POST /api/events/{event_id}/replay": MANAGE,
    "POST /api/events/{event_id}/cancel": MANAGE,
    "DELETE /api/events/{event_id}": MANAGE,
    "POST /api/subscriptions": MANAGE,
    "GET /api/subscriptions": READ_OR_MANAGE,
    "GET /api/subscriptions/{subscription_id}": READ_OR_MANAGE,
    "PATCH /api/subscriptions/{subscription_id}": MANAGE,
    "DELETE /api/subscriptions/{subscription_id}": MANAGE,
    "POST /api/subscriptions/{subscription_id}/pause": MANAGE,
    "POST /api/subscriptions/{subscription_id}/resume": MANAGE,
    "POST /api/subscriptions/{subscription_id}/rotate-secret": MANAGE,
    "POST /api/listen": MANAGE,
    "POST /api/listen/{subscription_id}/fetch": MANAGE,
    "POST /api/listen/{subscription_id}/settle": MANAGE,
    "POST /api/subscriptions/{subscription_id}/test": MANAGE,
    "GET /api/subscriptions/{subscription_id}/stats": READ_OR_MANAGE,
    "POST /api/portal-links": MANAGE,
    "POST /api/filters/check": READ,
    "POST /api/hooks": MANAGE,
    "GET /api/hooks": READ_OR_MANAGE,
    "GET /api/hooks/samples": READ,
    "DELETE /api/hooks/{hook_id}": MANAGE,
    "GET /api/poll/{event_type}": READ,
    "GET /api/deliveries": READ,
    "GET /api/deliveries/{delivery_id}": READ,
    "POST /api/deliveries/{delivery_id}/retry": MANAGE,
    "POST /api/deliveries/{delivery_id}/cancel": MANAGE,
    "GET /api/dead-letters": READ_OR_MANAGE,
    "DELETE /api/dead-letters": MANAGE,
    "GET /api/dead-letters/groups": READ_OR_MANAGE,
    "POST /api/dead-letters/purge": MANAGE,
    "GET /api/subscriptions/health": READ_OR_MANAGE,
    "POST /api/dead-letters/replay": MANAGE,
    "POST /api/replays": MANAGE,
    "GET /api/jobs": READ_OR_MANAGE,
    "GET /api/jobs/{job_id}": READ_OR_MANAGE,
    "DELETE /api/jobs/{job_id}": MANAGE,
    "PUT /api/event-types/{name}": MANAGE,
    "GET /api/event-types": READ_OR_MANAGE,
    "GET /api/event-types/{name}": READ_OR_MANAGE,
    "DELETE /api/event-types/{name}": MANAGE,
    "GET /api/audit": {"read", "manage", "admin"},
    "GET /api/stats": READ_OR_MANAGE,
    "GET /api/quarantine": READ_OR_MANAGE,
    "POST /api/quarantine/{event_id}/release": MANAGE,
    "DELETE /api/quarantine/{event_id}": MANAGE,
    "GET /api/inboxes": READ_OR_MANAGE,
    "PUT /api/inboxes/{name}": MANAGE,
    "GET /api/inboxes/{name}": READ_OR_MANAGE,
    "DELETE /api/inboxes/{name}": MANAGE,
    "GET /api/inboxes/{name}/events": READ,
    "GET /api/inbox": READ,
    "POST /api/inbox/pull": READ,
    "POST /api/inboxes/{name}/pull": READ,
    "POST /api/inbox/ack": READ,
    "POST /api/inboxes/{name}/ack": READ,
    "POST /api/inbox/nack": READ,
    "POST /api/inboxes/{name}/nack": READ,
    "POST /api/inbox/extend": READ,
    "POST /api/inboxes/{name}/extend": READ,
    "POST /api/inbox/seek": READ,
    "POST /api/inboxes/{name}/seek": READ,
    "DELETE /api/inbox/{event_id}": READ,
    "DELETE /api/inboxes/{name}/{event_id}": READ,
    "GET /api/organization": READ_OR_MANAGE,
    "PATCH /api/organization": MANAGE,
    "POST /api/admin/organizations": OPERATOR,
    "GET /api/admin/organizations": OPERATOR,
    "GET /api/admin/organizations/{organization_id}": OPERATOR,
    "PATCH /api/admin/organizations/{organization_id}": OPERATOR,
    "DELETE /api/admin/organizations/{organization_id}": OPERATOR,
    "POST /api/admin/organizations/{organization_id}/keys": OPERATOR,
    "GET /api/admin/organizations/{organization_id}/keys": OPERATOR,
    "DELETE /api/admin/organizations/{organization_id}/keys/{key_id}": OPERATOR,
    "GET /api/admin/controls": OPERATOR,
    "PATCH /api/admin/controls": OPERATOR,
    "GET /api/admin/switches": OPERATOR,
    "GET /api/admin/drain": OPERATOR,
    "POST /api/admin/drain": OPERATOR,
    "POST /api/admin/undrain": OPERATOR,
    "GET /api/admin/queues": OPERATOR,
    "POST /api/admin/process": OPERATOR,
    "POST /api/admin/requeue-stuck": OPERATOR,
    "GET /api/admin/buffer/poison": OPERATOR,
    "POST /api/admin/buffer/poison/{entry_id}/release": OPERATOR,
    "DELETE /api/admin/buffer/poison/{entry_id}": OPERATOR,
    "GET /api/admin/quarantine": OPERATOR,
    "POST /api/admin/quarantine/{event_id}/release": OPERATOR,
    "DELETE /api/admin/quarantine/{event_id}": OPERATOR,
    "GET /api/admin/settings": OPERATOR,
    "GET /api/admin/verify": OPERATOR,
    "POST /api/admin/verify/repair": OPERATOR,
    "POST /api/admin/organizations/{organization_id}/erase": OPERATOR,
    "GET /api/admin/erasures": OPERATOR,
    "POST /api/admin/keys": OPERATOR,
    "GET /api/admin/keys": OPERATOR,
    "DELETE /api/admin/keys/{operator_key_id}": OPERATOR,
    "POST /api/admin/keys/{operator_key_id}/rotate": OPERATOR,
    "POST /api/admin/organizations/{organization_id}/keys/{key_id}/rotate": OPERATOR,
    "GET /api/admin/stats": OPERATOR,
    "GET /api/health/detailed": READ_OR_OPERATOR,
    "GET /api/health": NOBODY_ASKED,
    "GET /health": NOBODY_ASKED,
    "GET /health/ready": NOBODY_ASKED,
    "GET /livez": NOBODY_ASKED,
    "GET /readyz": NOBODY_ASKED,
    "GET /metrics": NOBODY_ASKED,
}
"""Each route and the scopes of which a key must have one, by the contract's table."""

BODIES: Final[dict[str, object]] = {
    "POST /api/events/batch": [{"type": "order.created", "payload": 1}],
    "POST /api/events": {"type": "a", "payload": 1},
    "POST /api/subscriptions": {"url": "http://127.0.0.1:9/", "event_types": ["*"]},
    "PATCH /api/subscriptions/{subscription_id}": {"description": "changed", "enabled": False},
    "POST /api/hooks": {"target_url": "http://127.0.0.1:9/", "event": "*"},
    "POST /api/listen": {},
    "POST /api/listen/{subscription_id}/fetch": {"wait_s": 0},
    "POST /api/listen/{subscription_id}/settle": {
        "results": [{"receipt": "r", "status_code": 200}]
    },
    "POST /api/events/{event_id}/replay": {},
    "POST /api/dead-letters/replay": {"dry_run": True},
    "POST /api/dead-letters/purge": {"all": True, "dry_run": True},
    "POST /api/replays": {"dry_run": True},
    "POST /api/filters/check": {},
    "PUT /api/event-types/{name}": {"description": "made"},
    "PUT /api/inboxes/{name}": {"types": ["made"]},
    "POST /api/inbox/pull": {"limit": 1},
    "POST /api/inbox/ack": {"receipts": ["r"]},
    "POST /api/inbox/nack": {"receipts": ["r"]},
    "POST /api/inbox/extend": {"receipts": ["r"], "lease_s": 30},
    "POST /api/inbox/seek": {"to": "end"},
    "POST /api/inboxes/{name}/pull": {"limit": 1},
    "POST /api/inboxes/{name}/ack": {"receipts": ["r"]},
    "POST /api/inboxes/{name}/nack": {"receipts": ["r"]},
    "POST /api/inboxes/{name}/extend": {"receipts": ["r"], "lease_s": 30},
    "POST /api/inboxes/{name}/seek": {"to": "end"},
    "POST /api/portal-links": {},
    "PATCH /api/organization": {"name": "changed"},
    "POST /api/admin/organizations": {"name": "made"},
    "PATCH /api/admin/organizations/{organization_id}": {"name": "changed", "rate_limit": 1},
    "POST /api/admin/organizations/{organization_id}/keys": {"name": "made"},
    "POST /api/admin/organizations/{organization_id}/keys/{key_id}/rotate": {},
    "POST /api/admin/keys": {"name": "made"},
    "POST /api/admin/keys/{operator_key_id}/rotate": {},
    "PATCH /api/admin/controls": {},
}
GUARDED: Final = sorted(route for route, scopes in SCOPES.items() if scopes)
OF_ORGANIZATIONS: Final = [route for route in GUARDED if "/admin/" not in route]
WITH_ID: Final = [
    route for route in OF_ORGANIZATIONS if re.search(r"\{(?!event_type\}|name\})", route)
]


class Tenant(NamedTuple):
    """One organization and what belongs to it."""

    id: str
    key: str
    ids: dict[str, str]


@pytest.fixture(scope="module")
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture(scope="module")
def document(service: Service) -> dict[str, Any]:
    application = service.app.asgi
    assert isinstance(application, Application)
    return application.openapi


async def settle_in(service: Service, organization_id: str, key: str) -> Tenant:
    """Something of every kind, for one organization."""

    async def call(method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        answer = await service.call(method, path, body, key=key)
        assert answer.status < 300, answer
        return answer.json

    async with Receiver() as receiver:
        receiver.always(500)
        made = await call(
            "POST",
            "/api/subscriptions",
            {"url": receiver.url, "event_types": ["*"], "retry_schedule": [60, 60]},
        )
        sent = {"type": "order.created", "payload": {"secret": key}, "dedup_id": "same"}
        event = await call("POST", "/api/events", sent)
        await service.drain()
    (delivery,) = (await call("GET", "/api/deliveries"))["data"]
    job = await call("POST", "/api/replays", {"rate": 0.001})
    await call("PUT", "/api/inboxes/orders", {})
    hook = await call("POST", "/api/hooks", {"target_url": receiver.url, "event": key[-8:]})
    first = await new_key(service, organization_id)
    operator = await service.call("POST", "/api/admin/keys", {"name": "op"}, key=ADMIN_KEY)
    return Tenant(
        organization_id,
        key,
        {
            "event_id": event["id"],
            "subscription_id": made["id"],
            "delivery_id": delivery["id"],
            "job_id": job["id"],
            "hook_id": hook["id"],
            "event_type": "order.created",
            "name": "orders",
            "organization_id": organization_id,
            "key_id": first["id"],
            "operator_key_id": operator.json["id"],
            "entry_id": event["id"],
        },
    )


@pytest.fixture(scope="module")
def tenants(service: Service, run: Run) -> tuple[Tenant, Tenant]:
    async def main() -> tuple[Tenant, Tenant]:
        mine = await settle_in(service, await own_organization(service), API_KEY)
        theirs = await settle_in(service, *await new_organization(service))
        return mine, theirs

    return run(main())


async def everything_of(service: Service, tenant: Tenant) -> dict[str, Any]:
    """All that the API shows of one organization."""
    seen = {}
    paths = [
        "/api/organization", "/api/events", "/api/subscriptions", "/api/deliveries",
        "/api/dead-letters", "/api/jobs", "/api/hooks", "/api/poll/order.created", "/api/inbox",
        "/api/inboxes", "/api/inboxes/orders", "/api/inboxes/orders/events",
        f"/api/events/{tenant.ids['event_id']}",
        f"/api/subscriptions/{tenant.ids['subscription_id']}",
        f"/api/deliveries/{tenant.ids['delivery_id']}",
    ]  # fmt: skip
    for path in paths:
        answer = await service.call("GET", path, key=tenant.key)
        assert answer.status == 200, path
        seen[path] = answer.json
    keys = f"/api/admin/organizations/{tenant.id}/keys"
    seen[keys] = (await service.call("GET", keys, key=ADMIN_KEY)).json
    books = (await service.call("GET", "/api/admin/verify", key=ADMIN_KEY)).json
    assert books["ok"]
    seen["books"] = [b for b in books["organizations"] if b["organization_id"] == tenant.id]
    return seen


# In all of these the last word is the id of an event that is to be acknowledged, which there is not.
ALSO_TAKEN: Final = {
    f"/api/inboxes/{{name}}/{word}": {"DELETE"}
    for word in ("events", "pull", "ack", "nack", "extend", "seek")
}
REFUSED_WITHOUT_MORE: Final = {
    "DELETE /api/dead-letters",  # it wants to be told which
    "GET /api/events/stream",
}


def routes_of(document: dict[str, Any]) -> Iterator[str]:
    for path, item in document["paths"].items():
        for method in item:
            yield f"{method.upper()} {path}"


def filled(route: str, ids: dict[str, str]) -> tuple[str, str]:
    method, path = route.split(" ")
    return method, re.sub(r"\{(\w+)\}", lambda name: ids[name[1]], path)


def test_every_documented_route_is_in_the_table_and_every_other_way_round(
    document: dict[str, Any],
) -> None:
    assert set(routes_of(document)) == set(SCOPES)


@pytest.mark.parametrize("route", WITH_ID)
def test_with_another_organizations_ids_there_is_nothing(
    route: str, service: Service, run: Run, tenants: tuple[Tenant, Tenant]
) -> None:
    mine, theirs = tenants
    method, path = filled(route, mine.ids)
    before = run(everything_of(service, mine))
    for _ in range(2):
        answer = run(service.call(method, path, BODIES.get(route), key=theirs.key))
        assert_problem(answer, 404, "not-found")
        assert mine.id.encode() not in answer.body
    assert run(everything_of(service, mine)) == before


def test_lists_and_filters_show_ones_own_only(
    service: Service, run: Run, tenants: tuple[Tenant, Tenant]
) -> None:
    mine, theirs = tenants
    for path in (
        "/api/events", "/api/events?dedup_id=same", "/api/events?type=*", "/api/subscriptions",
        "/api/deliveries", "/api/dead-letters", "/api/jobs", "/api/organization", "/api/hooks",
        "/api/poll/order.created", "/api/hooks/samples", "/api/inbox", "/api/inboxes/orders/events",
        "/api/audit",
        f"/api/deliveries?event_id={mine.ids['event_id']}",
        f"/api/deliveries?subscription_id={mine.ids['subscription_id']}",
        f"/api/dead-letters?subscription_id={mine.ids['subscription_id']}",
    ):  # fmt: skip
        answer = run(service.call("GET", path, key=theirs.key))
        assert answer.status == 200
        for name, identifier in mine.ids.items():
            if name not in {"event_type", "name"}:
                assert identifier.encode() not in answer.body, path
        assert mine.key.encode() not in answer.body


def test_with_ones_own_ids_there_is_something(
    service: Service, run: Run, tenants: tuple[Tenant, Tenant]
) -> None:
    for tenant in tenants:
        for route in WITH_ID:
            if route.startswith("GET"):
                method, path = filled(route, tenant.ids)
                assert run(service.call(method, path, key=tenant.key)).status == 200


@pytest.mark.parametrize("route", GUARDED)
def test_without_a_valid_key_nothing_is_said(
    route: str, service: Service, run: Run, tenants: tuple[Tenant, Tenant]
) -> None:
    mine, _ = tenants
    method, path = filled(route, mine.ids)
    before = run(everything_of(service, mine))
    for key in (None, "a-key-that-nobody-has", ""):
        answer = run(service.call(method, path, BODIES.get(route), key=key))
        assert_problem(answer, 401, "unauthorized")
    # Also before anything is said about the request itself.
    answer = run(service.call(method, f"{path}?colour=red", b"nonsense", key=None))
    assert_problem(answer, 401, "unauthorized")
    assert run(everything_of(service, mine)) == before


@pytest.mark.parametrize("scope", ["ingest", "read", "manage", "admin"])
@pytest.mark.parametrize("route", GUARDED)
def test_a_key_opens_what_its_scope_says_and_nothing_else(
    route: str, scope: str, service: Service, run: Run, tenants: tuple[Tenant, Tenant]
) -> None:
    mine, _ = tenants
    # Ids that do not exist, so that what is allowed changes nothing here.
    nowhere = {name: f"{value[:4]}{'0' * 32}" for name, value in mine.ids.items()}
    method, path = filled(route, nowhere)
    key = ADMIN_KEY
    if scope != "admin":
        key = run(new_key(service, mine.id, scopes=[scope]))["key"]
    if route == "GET /api/events/stream":
        path += "?colour=red"  # what is allowed would not end
    answer = run(service.call(method, path, b"[" if route in BODIES else None, key=key))
    if scope in SCOPES[route] and route in REFUSED_WITHOUT_MORE:
        assert_problem(answer, 422, "validation-failed")
    elif scope in SCOPES[route]:
        assert answer.status in {200, 201, 400, 404}
    else:
        assert_problem(answer, 403, "forbidden")


@pytest.mark.parametrize("route", sorted(set(SCOPES) - set(GUARDED)))
def test_who_only_looks_after_the_service_needs_no_key(
    route: str, service: Service, run: Run
) -> None:
    method, path = route.split(" ")
    for query in ("", "?cache-buster=1"):
        assert run(service.call(method, path + query, key=None)).status == 200
    assert run(service.call(method, path, key="a-key-that-nobody-has")).status == 200


def test_every_address_refuses_other_methods_in_the_one_shape(
    service: Service, run: Run, document: dict[str, Any], tenants: tuple[Tenant, Tenant]
) -> None:
    mine, _ = tenants
    for path, item in document["paths"].items():
        _, address = filled(f"GET {path}", mine.ids)
        taken = {method.upper() for method in item} | ALSO_TAKEN.get(path, set())
        taken |= {"OPTIONS"} | ({"HEAD"} if "GET" in taken else set())
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"):
            if method in taken:
                continue
            for key in (API_KEY, None):
                answer = run(service.call(method, address, key=key))
                assert_problem(answer, 405, "method-not-allowed")
                assert set(answer.headers["allow"].split(", ")) == taken, (method, path)
