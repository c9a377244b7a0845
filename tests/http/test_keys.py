"""Keys of operators, rotation, expiry, and when they were used."""

from __future__ import annotations

from typing import Any

import pytest
from tests.conftest import Enter, Log, MakeService, Run, new_key, own_organization
from tests.http.conftest import assert_problem

from triggers_api.testing import ADMIN_KEY, API_KEY, FrozenClock, Service

KEYS = "/api/admin/keys"


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def own(make_service: MakeService, enter: Enter, clock: FrozenClock) -> Service:
    """A service of the test's own, with its own clock."""
    return enter(make_service(clock=clock))


async def listed(service: Service, path: str = KEYS, key: str = ADMIN_KEY) -> dict[str, Any]:
    answer = await service.call("GET", path, key=key)
    assert answer.status == 200, answer
    return {each["id"]: each for each in answer.json["data"]}


async def made(service: Service, **body: object) -> dict[str, Any]:
    answer = await service.call("POST", KEYS, {"name": "on call", **body}, key=ADMIN_KEY)
    assert answer.status == 201, answer
    found: dict[str, Any] = answer.json
    return found


async def opens(service: Service, key: str) -> bool:
    answer = await service.call("GET", KEYS, key=key)
    assert answer.status in {200, 401}
    return answer.status == 200


def test_an_operators_key_is_made_used_listed_and_revoked(own: Service, run: Run) -> None:
    async def main() -> None:
        key = await made(own)
        assert key["scopes"] == ["admin"]
        assert await opens(own, key["key"])
        shown = (await listed(own))[key["id"]]
        assert shown["name"] == "on call"
        assert shown["status"] == "valid"
        assert key["key"].startswith(shown["hint"])
        assert key["key"] not in str(shown)
        # It belongs to no organization.
        assert (await own.call("GET", "/api/events", key=key["key"])).status == 403
        assert (await own.call("DELETE", f"{KEYS}/{key['id']}", key=ADMIN_KEY)).status == 204
        assert not await opens(own, key["key"])
        assert (await listed(own))[key["id"]]["status"] == "revoked"

    run(main())


def test_the_last_operators_key_stays(own: Service, run: Run) -> None:
    async def main() -> None:
        (last,) = await listed(own)
        answer = await own.call("DELETE", f"{KEYS}/{last}", key=ADMIN_KEY)
        assert_problem(answer, 409, "invalid-state")
        assert await opens(own, ADMIN_KEY)
        key = await made(own)
        assert (await own.call("DELETE", f"{KEYS}/{last}", key=key["key"])).status == 204
        assert not await opens(own, ADMIN_KEY)

    run(main())


def test_the_setting_lets_operators_in_again(
    make_service: MakeService,
    enter: Enter,
    run: Run,
    leave: Any,  # noqa: ANN401
) -> None:
    first = enter(make_service())

    async def revoke() -> None:
        key = await made(first)
        (given,) = (each for each in await listed(first) if each != key["id"])
        assert (await first.call("DELETE", f"{KEYS}/{given}", key=key["key"])).status == 204

    run(revoke())
    leave(first)
    again = enter(make_service())
    assert run(opens(again, ADMIN_KEY))


@pytest.mark.parametrize("whose", ["operator", "organization"])
def test_a_key_is_replaced_and_both_open_until_the_grace_is_over(
    own: Service, run: Run, clock: FrozenClock, whose: str
) -> None:
    async def main() -> None:
        if whose == "operator":
            path, old = KEYS, await made(own)
        else:
            organization = await own_organization(own)
            path = f"/api/admin/organizations/{organization}/keys"
            old = await new_key(own, organization, scopes=["read"])
        answer = await own.call(
            "POST", f"{path}/{old['id']}/rotate", {"grace_s": 60}, key=ADMIN_KEY
        )
        assert answer.status == 201, answer
        fresh = answer.json
        assert fresh["replaces"] == old["id"]
        assert fresh["scopes"] == old["scopes"]
        probe = KEYS if whose == "operator" else "/api/events"
        for _ in range(2):  # remembered or not
            assert (await own.call("GET", probe, key=old["key"])).status == 200
            assert (await own.call("GET", probe, key=fresh["key"])).status == 200
        assert (await listed(own, path))[old["id"]]["status"] == "expiring"
        clock.advance(seconds=60)
        assert (await own.call("GET", probe, key=old["key"])).status == 401
        assert (await own.call("GET", probe, key=fresh["key"])).status == 200
        shown = await listed(own, path)
        assert shown[old["id"]]["status"] == "expired"
        assert shown[fresh["id"]]["replaces"] == old["id"]
        answer = await own.call("POST", f"{path}/{old['id']}/rotate", key=ADMIN_KEY)
        assert_problem(answer, 409, "invalid-state")

    run(main())


def test_without_grace_the_old_key_ends_at_once_and_a_life_is_as_long_as_the_one_before(
    own: Service, run: Run, clock: FrozenClock
) -> None:
    async def main() -> None:
        old = await made(own, expires_at=str(clock().after(seconds=1000)))
        clock.advance(seconds=400)
        path = f"{KEYS}/{old['id']}/rotate"
        fresh = (await own.call("POST", path, {"grace_s": 0}, key=ADMIN_KEY)).json
        assert not await opens(own, old["key"])
        assert fresh["expires_at"] == str(clock().after(seconds=1000))

    run(main())


@pytest.mark.parametrize(
    "body", [{"grace_s": -1}, {"grace_s": 10**9}, {"expires_at": "soon"}, {"x": 1}]
)
def test_a_rotation_that_is_not_acceptable_changes_nothing(
    own: Service, run: Run, body: dict[str, object]
) -> None:
    async def main() -> None:
        key = await made(own)
        before = await listed(own)
        answer = await own.call("POST", f"{KEYS}/{key['id']}/rotate", body, key=ADMIN_KEY)
        assert_problem(answer, 422, "validation-failed")
        assert await listed(own) == before

    run(main())


def test_when_keys_were_used_is_written_down_once_a_minute_and_at_the_end(
    own: Service, run: Run, clock: FrozenClock
) -> None:
    async def main() -> None:
        organization = await own_organization(own)
        path = f"/api/admin/organizations/{organization}/keys"
        key = await new_key(own, organization)
        assert (await listed(own, path))[key["id"]]["last_used_at"] is None
        first = str(clock())
        for _ in range(3):
            await own.call("GET", "/api/events", key=key["key"])
        clock.advance(seconds=30)
        await own.call("GET", "/api/events", key=key["key"])  # remembered: nothing is done for it
        await own.app.key_uses.run_once()
        assert (await listed(own, path))[key["id"]]["last_used_at"] == first
        clock.advance(seconds=30)
        await own.call("GET", "/api/events", key=key["key"])
        await own.app.key_uses.save()
        assert (await listed(own, path))[key["id"]]["last_used_at"] == str(clock())
        # Written down with a key that nobody used since: as it was.
        await own.app.key_uses.run_once()
        assert (await listed(own, path))[key["id"]]["last_used_at"] == str(clock())

    run(main())


def test_a_key_that_ends_soon_is_warned_of_once_a_day(
    own: Service, run: Run, clock: FrozenClock, log: Log
) -> None:
    async def main() -> None:
        key = await made(own, expires_at=str(clock().after(seconds=3 * 86_400)))
        await made(own, expires_at=str(clock().after(seconds=30 * 86_400)))
        for _ in range(3):
            await own.app.key_uses.run_once()
        clock.advance(seconds=86_400)
        await own.app.key_uses.run_once()
        told = [each for each in log if each["event"] == "a key expires soon"]
        assert [each["key_id"] for each in told] == [key["id"]] * 2
        exposed = (await own.call("GET", "/metrics", key=None)).body.decode()
        assert "\ntriggers_keys_expiring 1.0\n" in exposed

    run(main())


def test_organizations_do_not_touch_operators_keys(own: Service, run: Run) -> None:
    for method, path in (("GET", KEYS), ("POST", KEYS), ("DELETE", f"{KEYS}/key_1")):
        body = {"name": "x"} if method == "POST" else None
        assert_problem(run(own.call(method, path, body, key=API_KEY)), 403, "forbidden")
