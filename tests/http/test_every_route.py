"""No route shows or changes anything of another organization, and cursors are one's own.

Generated from the OpenAPI document (``everyroute.py``): a route that is added is tested without being
named here. That nothing was changed is seen in the database: all rows but the asker's own, before and
after.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlsplit

import apsw
import pytest
from tests.conftest import Run, new_key, new_organization, own_organization
from tests.http.conftest import assert_problem
from tests.http.everyroute import Asked, Document, Route, UnknownKind, unsaid
from tests.servers.postgres import Postgres

from triggers_api.http.application import Application
from triggers_api.model import ids
from triggers_api.testing import ADMIN_KEY, API_KEY, Answer, Receiver, Service

SECRET: Final = "only-they-know-"
ENDLESS: Final = {"GET /api/events/stream"}
NOT_DELETED_HERE: Final = {"/api/admin/organizations", "/api/inboxes"}
"""The first of these lists is needed, or cannot be deleted."""
ONLY_WITH_REDIS: Final = {"/api/admin/buffer/poison"}
"""An empty list elsewhere: see tests/redis/test_failures.py."""
CONSUMED: Final = {
    "DELETE /api/quarantine/{event_id}": "what is kept aside was released by the route before",
}
NOT_ROWS_OF_ANYBODY: Final = {"meta", "schema_migrations", "settings_version", "workers"}

Rows = Mapping[str, "Counter[str]"]


class Tenant(NamedTuple):
    """One organization and what belongs to it, by kind."""

    key: str
    ids: dict[str, str]


async def settle_in(service: Service, organization_id: str, key: str, receiver: Receiver) -> Tenant:
    """Two of everything that there is a list of, and one of every other kind."""

    async def call(method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON
        answer = await service.call(method, path, body, key=key)
        assert answer.status < 300, (path, answer)
        return answer.json

    url = f"{receiver.url}/{organization_id}"
    receiver.always(500)
    for _ in range(2):
        subscription = await call(
            "POST",
            "/api/subscriptions",
            {"url": url, "event_types": ["order.*"], "retry_schedule": []},
        )
    for number in range(2):
        event = await call(
            "POST",
            "/api/events",
            {"type": "order.created", "payload": {SECRET: key}, "dedup_id": f"n{number}"},
        )
    await service.drain()
    deliveries = (await call("GET", "/api/deliveries"))["data"]
    assert {each["status"] for each in deliveries} == {"dead"}
    for number in range(2):
        job = await call("POST", "/api/replays", {"rate": 0.001})
        hook = await call("POST", "/api/hooks", {"target_url": url, "event": f"hook.{number}"})
        made = await new_key(service, organization_id)
        await service.call("POST", "/api/admin/keys", {"name": "operator"}, key=ADMIN_KEY)
    session = await call("POST", "/api/listen", {"event_types": ["held.*"]})
    await call("POST", "/api/events", {"type": "held.back", "payload": 1})
    await service.drain()
    fetched = await call("POST", f"/api/listen/{session['id']}/fetch", {"wait_s": 0})
    for number in range(3):  # one of them is the first to go of all events
        type_name = f"strict.{number}.{organization_id}"
        strict = {"schema": {"type": "object"}, "mode": "quarantine"}
        await call("PUT", f"/api/event-types/{type_name}", strict)
        aside = await call("POST", "/api/events", {"type": type_name, "payload": SECRET})
    inbox_name = f"inbox-{organization_id}"
    await call("PUT", f"/api/inboxes/{inbox_name}")
    pulled = await call("POST", f"/api/inboxes/{inbox_name}/pull", {"limit": 1, "wait_s": 5})
    return Tenant(
        key,
        {
            "name": inbox_name,
            "type_name": type_name,
            "aside_id": aside["id"],
            "inbox_name": inbox_name,
            "inbox_receipt": pulled["data"][0]["receipt"],
            "organization_id": organization_id,
            "subscription_id": subscription["id"],
            "event_id": event["id"],
            "event_type": "order.created",
            "delivery_id": deliveries[0]["id"],
            "job_id": job["id"],
            "key_id": made["id"],
            "hook_id": hook["id"],
            "session_id": session["id"],
            "receipt": fetched["data"][0]["receipt"],
            "url": url,
        },
    )


@pytest.fixture(scope="module")
def tenants(service: Service, run: Run) -> Iterator[tuple[Tenant, Tenant]]:
    """Whose ids are tried, and who tries them."""
    receiver = Receiver()
    run(receiver.__aenter__())

    async def main() -> tuple[Tenant, Tenant]:
        theirs = await settle_in(service, await own_organization(service), API_KEY, receiver)
        mine = await settle_in(service, *await new_organization(service), receiver)
        return theirs, mine

    yield run(main())
    run(receiver.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def document(service: Service) -> Document:
    application = service.app.asgi
    assert isinstance(application, Application)
    return Document(application.openapi)


@pytest.fixture(scope="module")
def routes(document: Document) -> list[Route]:
    return [each for each in document.routes() if each.name not in ENDLESS]


class Database:
    """All rows, past the service."""

    def __init__(self, url: str, postgres: Postgres | None) -> None:
        self._url = url
        self._postgres = postgres
        self._every = ""

    def rows(self, *, but_of: str) -> Rows:
        """By table, the rows that are not an organization's own."""
        mine = but_of[4:]
        found: dict[str, Counter[str]] = {}
        for table, row, owner in self._postgres_rows() if self._postgres else self._file_rows():
            if owner != mine:
                found.setdefault(table, Counter())[row] += 1
        assert len(found) > 8, found
        return found

    def _postgres_rows(self) -> Iterator[tuple[str, str, str | None]]:
        assert self._postgres is not None
        name = urlsplit(self._url).path[1:]
        if not self._every:
            query = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'"
            tables = {table for (table,) in self._postgres.execute(query, database=name)}
            self._every = " UNION ALL ".join(
                f"SELECT '{table}', to_jsonb(t)::text,"
                f" replace(to_jsonb(t) ->> 'organization_id', '-', '') FROM {table} AS t"
                for table in sorted(tables - NOT_ROWS_OF_ANYBODY)
            )
        for row in self._postgres.execute(self._every, database=name):
            yield row[0], row[1], row[2]

    def _file_rows(self) -> Iterator[tuple[str, str, str | None]]:
        query = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        # With the library that the service has it open with: another one would end its locks.
        with closing(apsw.Connection(self._url.removeprefix("sqlite:///"))) as db:
            ((tail,),) = db.execute("SELECT value FROM meta WHERE name = 'id_tail'")
            for table in {name for (name,) in db.execute(query)} - NOT_ROWS_OF_ANYBODY:
                columns = [name for (_, name, *_) in db.execute(f"PRAGMA table_info({table})")]
                place = columns.index("organization_id") if "organization_id" in columns else None
                for row in db.execute(f"SELECT * FROM {table}"):
                    owner = None if place is None else row[place]
                    known = owner and ids.text(ids.ORGANIZATION, owner, tail)[4:]
                    yield table, repr(row), known


@pytest.fixture(scope="module")
def database(engine: str, module_database: str, request: pytest.FixtureRequest) -> Database:
    server = None if engine == "sqlite" else request.getfixturevalue("postgres")
    return Database(module_database, server)


async def ask(service: Service, asked: Asked, key: str) -> Answer:
    body = None if asked.body is None else json.dumps(asked.body).encode()
    return await service.call(asked.method, asked.path, body, key=key)


async def assert_nothing_is_there(
    service: Service, asked: Asked, *, theirs: Tenant, key: str
) -> None:
    """Asked with somebody else's id: refused in a path, else answered without anything of theirs."""
    answer = await ask(service, asked, key)
    if asked.where.startswith("path"):
        assert_problem(answer, 404, "not-found")
    assert answer.status in {200, 202, 404, 422}, (asked, answer)
    told = answer.body.decode()
    assert SECRET not in told, (asked, told)
    sent = f"{asked.path} {json.dumps(asked.body)}"
    for value in theirs.ids.values():
        if value not in sent and value != "order.created":
            assert value not in told, (asked, told)
    assert theirs.key not in told


def of_others(
    document: Document, routes: list[Route], theirs: Tenant, mine: Tenant
) -> Iterator[tuple[Asked, str]]:
    """Every request with an id of theirs, with the key that is used."""
    for route in routes:
        for asked in document.asked(route, mine.ids, theirs.ids):
            if not route.is_operators:
                yield asked, mine.key
            elif len(route.in_path) > 1:
                # An operator may see everybody's, but nobody's under another one's id.
                yield asked, ADMIN_KEY


def test_of_every_member_that_takes_an_id_it_is_known_what_it_names(
    document: Document, routes: list[Route], tenants: tuple[Tenant, Tenant]
) -> None:
    assert unsaid(routes, document, tenants[0].ids) == []


def test_with_ids_of_another_organization_nothing_is_there_and_nothing_happens(
    service: Service,
    run: Run,
    document: Document,
    routes: list[Route],
    tenants: tuple[Tenant, Tenant],
    database: Database,
) -> None:
    theirs, mine = tenants
    before = database.rows(but_of=mine.ids["organization_id"])
    assert sum(map(len, before.values())) > 30
    tried = Counter[str]()
    for asked, key in of_others(document, routes, theirs, mine):
        run(assert_nothing_is_there(service, asked, theirs=theirs, key=key))
        tried[asked.where.split(" ")[0]] += 1
        after = database.rows(but_of=mine.ids["organization_id"])
        assert after == before, asked
    # So many there were when this was written.
    assert tried["path"] >= 23, tried
    assert tried["query"] >= 6, tried
    assert tried["body"] >= 4, tried


def test_with_ones_own_ids_the_same_requests_find_something(
    service: Service,
    run: Run,
    document: Document,
    routes: list[Route],
    tenants: tuple[Tenant, Tenant],
) -> None:
    own, _ = tenants
    order = ["GET", "POST", "PATCH", "PUT", "DELETE"]

    def when(route: Route) -> tuple[int, bool, int]:
        """Events are deleted last: they are in other things."""
        is_event = route.path.startswith("/api/events/")
        return order.index(route.method), is_event, -len(route.path)

    for route in sorted(routes, key=when):
        if route.is_operators or route.name in CONSUMED:
            continue
        for asked in document.asked(route, own.ids, own.ids):
            if route.method == "DELETE" and not asked.where.startswith("path"):
                continue  # what it names may be gone by now
            answer = run(ask(service, asked, own.key))
            assert answer.status < 300 or answer.status == 409, (asked, answer)
            if route.method == "GET" and asked.where.startswith("query"):
                assert answer.json["data"], asked


# ── that this test can fail ───────────────────────────────────────────────────────────────────


def test_a_route_that_forgets_whose_an_event_is_is_found_out(
    service: Service,
    run: Run,
    document: Document,
    routes: list[Route],
    database: Database,
    tenants: tuple[Tenant, Tenant],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mine = tenants[1]

    async def main() -> Tenant:
        async with Receiver() as receiver:
            return await settle_in(service, *await new_organization(service), receiver)

    theirs = run(main())
    store = service.app.store
    for verb, route in (
        ("cancel_event", "POST /api/events/{event_id}/cancel"),
        ("retry_delivery", "POST /api/deliveries/{delivery_id}/retry"),
        ("event", "GET /api/events/{event_id}"),
        ("deliveries", "GET /api/deliveries"),
        ("delete_subscription", "DELETE /api/subscriptions/{subscription_id}"),
    ):
        right = getattr(store, verb)

        async def broken(_: str, *rest: Any, right: Any = right) -> Any:  # noqa: ANN401 - a verb's own
            return await right(theirs.ids["organization_id"], *rest)

        (broken_route,) = [each for each in routes if each.name == route]
        with monkeypatch.context() as patch:
            patch.setattr(store, verb, broken)
            found = []
            for asked in document.asked(broken_route, mine.ids, theirs.ids):
                before = database.rows(but_of=mine.ids["organization_id"])
                try:
                    run(assert_nothing_is_there(service, asked, theirs=theirs, key=mine.key))
                    assert database.rows(but_of=mine.ids["organization_id"]) == before
                except AssertionError:
                    found.append(asked)
            assert found, route


def test_a_member_of_a_new_kind_is_found_out() -> None:
    def document(path: str, *, query: str | None = None, body: str | None = None) -> Document:
        named = [
            *[{"in": "path", "name": each.strip("{}")} for each in path.split("/") if "{" in each],
            *[{"in": "query", "name": each} for each in [query] if each],
        ]
        item = {"type": "object", "properties": {body: {"type": "string"}}}
        schema = {"type": "object", "properties": {"all": {"type": "array", "items": item}}}
        content = {"application/json": {"schema": schema}}
        operation = {"parameters": named, **({"requestBody": {"content": content}} if body else {})}
        return Document({"paths": {path: {"post": operation}}})

    for new in (
        document("/api/rooms/{room}"),
        document("/api/rooms", query="room_id"),
        document("/api/rooms", body="room_ids"),
    ):
        (route,) = new.routes()
        with pytest.raises(UnknownKind, match="room"):
            list(new.asked(route, {}, {}))
    known = document("/api/rooms", body="event_id")
    (route,) = known.routes()
    (asked,) = known.asked(route, {}, {"event_id": "evt_1"})
    assert asked.body == {"all": [{"event_id": "evt_1"}]}


# ── cursors ───────────────────────────────────────────────────────────────────────────────────


async def cursor_of(service: Service, path: str, key: str) -> str:
    answer = await service.call("GET", f"{path}?limit=1", key=key)
    assert answer.status == 200, (path, answer)
    cursor = answer.json["next_cursor"]
    assert isinstance(cursor, str), f"{path}: settle_in is to make two of what is listed here"
    return cursor


def named(item: Mapping[str, str]) -> str:
    """What an item of a list is asked for by."""
    return item["id"] if "id" in item else item["name"]


def altered(cursor: str) -> Iterator[str]:
    """Cursors that are nearly this one."""
    for at in (0, len(cursor) // 3, len(cursor) // 2, len(cursor) - 2, len(cursor) - 1):
        yield f"{cursor[:at]}{'A' if cursor[at] != 'A' else 'B'}{cursor[at + 1 :]}"
    yield from (
        cursor[:-1],
        cursor[1:],
        f"{cursor}A",
        f"{cursor}=",
        cursor * 2,
        "nonsense",
        "é",
        "%00",
    )


def test_cursors_of_every_list_are_ones_own_whole_and_of_that_list(
    service: Service,
    run: Run,
    document: Document,
    routes: list[Route],
    tenants: tuple[Tenant, Tenant],
) -> None:
    own, other = tenants
    lists = [route for route in routes if route.is_list and route.path not in ONLY_WITH_REDIS]
    assert len(lists) >= 7
    cursors = {}
    for route in lists:
        key = ADMIN_KEY if route.is_operators else other.key
        path = document.request(route, "list", other.ids, {}).path
        cursors[path] = key, run(cursor_of(service, path, key)), route

    def refused(path: str, cursor: str, key: str, more: str = "") -> None:
        answer = run(service.call("GET", f"{path}?cursor={quote(cursor, safe='')}{more}", key=key))
        assert_problem(answer, 400, "invalid-cursor")

    for path, (key, cursor, route) in cursors.items():
        following = run(service.call("GET", f"{path}?limit=1&cursor={cursor}", key=key))
        assert following.json["data"], path
        for each in altered(cursor):
            refused(path, each, key)
        for others_path, (_, others_cursor, _) in cursors.items():
            # A dead letter is a delivery: its list is one of deliveries, with a filter.
            if others_path != path:
                refused(path, others_cursor, key)
        if not route.is_operators:
            refused(path, cursor, own.key)
        for name in set(route.in_query) & {"since", "until"}:
            refused(path, cursor, key, f"&{name}=2025-01-01T00:00:00Z")


def test_a_cursor_behind_something_that_was_deleted_goes_on(
    service: Service, run: Run, document: Document, routes: list[Route]
) -> None:
    async def main() -> Tenant:
        async with Receiver() as receiver:
            return await settle_in(service, *await new_organization(service), receiver)

    own = run(main())
    deletes = {route.path: route for route in routes if route.method == "DELETE"}
    tested = 0
    for route in routes:
        removal = next(
            (each for path, each in deletes.items() if path.rpartition("/{")[0] == route.path), None
        )
        left_out = NOT_DELETED_HERE | ONLY_WITH_REDIS
        if not route.is_list or removal is None or route.path in left_out:
            continue
        key = ADMIN_KEY if route.is_operators else own.key
        path = document.request(route, "list", own.ids, {}).path
        whole = [named(each) for each in run(service.call("GET", path, key=key)).json["data"]]
        cursor = run(cursor_of(service, path, key))
        name = removal.in_path[-1]
        gone = document.request(removal, "path", own.ids, {name: whole[0]})
        assert run(ask(service, gone, key)).status < 300
        following = run(service.call("GET", f"{path}?cursor={cursor}", key=key))
        assert [named(each) for each in following.json["data"]] == whole[1:], path
        tested += 1
    assert tested >= 4
