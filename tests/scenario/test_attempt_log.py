"""Credentials of deliveries are nowhere in the database, whatever receivers give back of them."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest
from aiohttp import web
from tests.conftest import Enter, MakeService, Run

from triggers_api.testing import FrozenClock, Received, Receiver, Service

USER, PASSWORD = "user-of-the-endpoint", "password/of+the=endpoint"
TOKEN: Final = "t0k3n/of+the=endpoint"
BASIC: Final = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
HEADER: Final = "value-of-a-header/that-is-none-of-your-business"


async def echo(received: Received) -> web.Response:
    """Everything that came, in the body and in headers."""
    headers = {f"X-Was-{name}": value for name, value in received.headers.items()}
    return web.json_response(received.headers | {"body": received.body.decode()}, headers=headers)


def attempts(service: Service, run: Run) -> list[dict[str, Any]]:
    listed = run(service.call("GET", "/api/deliveries")).json["data"]
    found = [run(service.call("GET", f"/api/deliveries/{each['id']}")).json for each in listed]
    return [attempt for delivery in found for attempt in delivery["attempts"]]


@pytest.fixture
def echoed(
    make_service: MakeService, enter: Enter, run: Run, receiver: Receiver, clock: FrozenClock
) -> Service:
    """A service that has told such a receiver of two events."""
    service = enter(make_service(clock=clock, secret_key="a-key-for-secrets-at-rest"))
    receiver.always(echo)
    for auth in (
        {"type": "basic", "username": USER, "password": PASSWORD},
        {"type": "bearer", "token": TOKEN},
    ):
        run(service.subscribe(receiver.url, auth=auth, headers={"X-Mine": HEADER}))
    run(service.send("a", {"n": 1}))
    run(service.drain())
    return service


def sent(receiver: Receiver) -> list[str]:
    """Every value of which nothing may be kept."""
    first, second = receiver.requests
    assert {first.headers["authorization"], second.headers["authorization"]} == {
        f"Basic {BASIC}",
        f"Bearer {TOKEN}",
    }
    signatures = [each.headers["webhook-signature"].partition(",")[2] for each in receiver.requests]
    return [USER, PASSWORD, BASIC, TOKEN, *signatures]


def test_what_is_shown_of_attempts_has_none_of_it(
    echoed: Service, run: Run, receiver: Receiver
) -> None:
    shown = attempts(echoed, run)
    assert [attempt["status_code"] for attempt in shown] == [200, 200]
    for attempt in shown:
        text = json.dumps(attempt) + attempt["response_body"]
        for secret in (*sent(receiver), HEADER):
            assert secret not in text
            assert secret.replace("/", "\\/") not in text


async def every_value(url: str) -> bytes:
    """All that the tables of a database on PostgreSQL hold."""
    db: Any = await asyncpg.connect(url)
    try:
        names = await db.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        rows = [row for (name,) in names for row in await db.fetch(f'SELECT * FROM "{name}"')]
    finally:
        await db.close()
    return b"\n".join(
        value if isinstance(value, bytes) else str(value).encode() for row in rows for value in row
    )


def test_what_is_stored_of_attempts_has_none_of_it(
    echoed: Service,
    run: Run,
    receiver: Receiver,
    engine: str,
    tmp_path: Path,
    database_url: str,
) -> None:
    assert attempts(echoed, run)
    secrets = sent(receiver)
    if engine == "sqlite":
        files = [path for path in tmp_path.iterdir() if path.name.startswith("triggers.db")]
        stored = b"".join(path.read_bytes() for path in files)
    else:
        stored = run(every_value(database_url))
    assert b"x-was-x-triggers-attempt" in stored.lower(), "the attempts are there to be searched"
    for secret in secrets:
        assert secret.encode() not in stored
