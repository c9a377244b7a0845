"""Lists: pages without gap or repeat, filters, and cursors that nobody can make up or carry over."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest
from tests.conftest import MakeService, Run, new_key, new_organization, own_organization, turn
from tests.http.conftest import assert_problem

from triggers_api.testing import ADMIN_KEY, API_KEY, FrozenClock, Receiver, Service

ROWS: Final = 23
START: Final = "2026-01-01T12:00:00Z"


@pytest.fixture(scope="module")
def clock(engine: str) -> FrozenClock:
    assert engine, "each has a clock of its own"
    return FrozenClock(START)


@pytest.fixture(scope="module")
def service(
    run: Run, module_folder: Path, module_database: str, clock: FrozenClock
) -> Iterator[Service]:
    """A service with some rows in every list; a second passed between one and the next."""

    async def fill(service: Service) -> None:
        async with Receiver() as receiver:
            receiver.always(500)
            organization_id = await own_organization(service)
            for number in range(ROWS):
                clock.advance(seconds=1)
                await service.subscribe(
                    receiver.url, [f"kind.{number % 3}.{number}"], retry_schedule=[]
                )
                await service.send(
                    f"kind.{number % 3}.{number}", number, dedup_id=f"row {number}", source="test"
                )
                await new_key(service, organization_id, name=f"key {number}")
                await new_organization(service)
            await service.drain()
        await turn(service, delivery="paused")

    entered = Service(module_folder, database_url=module_database, clock=clock)
    run(entered.__aenter__())
    run(fill(entered))
    yield entered
    run(entered.__aexit__(None, None, None))


@pytest.fixture(scope="module")
def other_key(service: Service, run: Run) -> str:
    """A key of another tenant."""
    return run(new_organization(service))[1]


@pytest.fixture(scope="module")
def lists(service: Service, run: Run, other_key: str) -> dict[str, tuple[str, str, int]]:
    """Every list: path, key, and how many rows there are."""
    assert other_key
    own = run(own_organization(service))
    return {
        "events": ("/api/events", API_KEY, ROWS),
        "deliveries": ("/api/deliveries", API_KEY, ROWS),
        "dead-letters": ("/api/dead-letters", API_KEY, ROWS),
        "subscriptions": ("/api/subscriptions", API_KEY, ROWS),
        "organizations": ("/api/admin/organizations", ADMIN_KEY, ROWS + 2),
        "keys": (f"/api/admin/organizations/{own}/keys", ADMIN_KEY, ROWS + 1),
    }


NAMES: Final = ("events", "deliveries", "dead-letters", "subscriptions", "organizations", "keys")
EVERY_LIST: Final = pytest.mark.parametrize("name", NAMES)
Pages = Callable[..., list[list[dict[str, Any]]]]


@pytest.fixture
def pages(service: Service, run: Run) -> Pages:
    def pages(path: str, key: str, query: str = "", between: Callable[[], object] | None = None
              ) -> list[list[dict[str, Any]]]:  # fmt: skip
        found, cursor = [], ""
        while True:
            answer = run(service.call("GET", f"{path}?{query}{cursor}", key=key))
            assert answer.status == 200, answer
            assert set(answer.json) == {"data", "next_cursor"}
            found.append(answer.json["data"])
            if answer.json["next_cursor"] is None:
                return found
            cursor = f"&cursor={answer.json['next_cursor']}"
            if between is not None:
                between()

    return pages


@EVERY_LIST
@pytest.mark.parametrize("limit", [1, 7, ROWS - 1, ROWS, ROWS + 1, 1000])
def test_pages_hold_every_row_once_newest_first(
    pages: Pages, lists: dict[str, tuple[str, str, int]], name: str, limit: int
) -> None:
    path, key, rows = lists[name]
    found = pages(path, key, f"limit={limit}")
    ids = [row["id"] for page in found for row in page]
    assert len(ids) == len(set(ids)) == rows
    assert ids == sorted(ids, reverse=True)
    assert [len(page) for page in found[:-1]] == [limit] * (len(found) - 1)
    assert 0 < len(found[-1]) <= limit


@EVERY_LIST
def test_without_a_limit_a_page_has_fifty_rows(
    pages: Pages, lists: dict[str, tuple[str, str, int]], name: str
) -> None:
    path, key, rows = lists[name]
    assert [len(page) for page in pages(path, key)] == [rows]


def test_what_comes_in_between_neither_shifts_nor_repeats_a_row(
    pages: Pages, service: Service, run: Run
) -> None:
    before = [row["id"] for page in pages("/api/events", API_KEY) for row in page]
    sent: list[str] = []

    def between() -> None:
        sent.append(run(service.send("in.between")).json["id"])

    found = pages("/api/events", API_KEY, "limit=4", between=between)
    assert [row["id"] for page in found for row in page] == before
    for event_id in sent:
        assert run(service.call("DELETE", f"/api/events/{event_id}")).status == 204


@EVERY_LIST
def test_the_cursor_may_be_used_with_another_limit(
    service: Service, run: Run, lists: dict[str, tuple[str, str, int]], name: str
) -> None:
    path, key, rows = lists[name]
    cursor = run(service.call("GET", f"{path}?limit=5", key=key)).json["next_cursor"]
    rest = run(service.call("GET", f"{path}?limit=1000&cursor={cursor}", key=key)).json
    assert (len(rest["data"]), rest["next_cursor"]) == (rows - 5, None)


@EVERY_LIST
def test_a_cursor_that_was_altered_in_any_place_is_refused(
    service: Service, run: Run, lists: dict[str, tuple[str, str, int]], name: str
) -> None:
    path, key, _ = lists[name]
    cursor = run(service.call("GET", f"{path}?limit=5", key=key)).json["next_cursor"]
    alphabet = string.ascii_letters + string.digits + "-_"

    def altered() -> Iterator[str]:
        for at in range(len(cursor)):
            for other in (alphabet[(alphabet.index(cursor[at]) + step) % 64] for step in (1, 32)):
                yield cursor[:at] + other + cursor[at + 1 :]
        yield from (cursor[:-1], cursor[1:], cursor + "A", cursor + "=", cursor + "==", cursor * 2)
        yield from (f"{cursor[:9]}.{cursor[9:]}", f"{cursor}!", f" {cursor}", cursor.swapcase())
        yield from (
            "",
            "null",
            "0",
            "a" * 4,
            "a" * 5000,
            "é",
            "\0",
            "eyJhIjoxfQ",
            "%",
            "..",
            "evt_1",
        )

    for each in altered():
        answer = run(service.call("GET", f"{path}?limit=5&cursor={quote(each, safe='')}", key=key))
        assert_problem(answer, 400, "invalid-cursor")


@pytest.mark.parametrize("name", ["type", "dedup_id", "source"])
def test_a_filter_for_what_no_event_can_have_finds_nothing_or_is_refused(
    service: Service, run: Run, name: str
) -> None:
    for value in ("%00", "a%00b", "%00*", "%EF%BF%BF", "%F4%8F%BF%BF"):
        answer = run(service.call("GET", f"/api/events?{name}={value}"))
        if answer.status == 200:
            assert answer.json["data"] == []
        else:
            assert_problem(answer, 422, "validation-failed")


def test_a_cursor_is_bound_to_its_list_its_filter_and_its_organization(
    service: Service, run: Run, lists: dict[str, tuple[str, str, int]], other_key: str
) -> None:

    def cursor_of(query: str, key: str = API_KEY) -> str:
        cursor = run(service.call("GET", f"{query}limit=2", key=key)).json["next_cursor"]
        assert isinstance(cursor, str)
        return cursor

    def status(query: str, cursor: str, key: str = API_KEY) -> int:
        return run(service.call("GET", f"{query}limit=2&cursor={cursor}", key=key)).status

    plain = cursor_of("/api/events?")
    assert status("/api/events?", plain) == 200
    for query in ("type=*", "type=kind.1.*", "status=processed", "source=test", f"since={START}"):
        assert status(f"/api/events?{query}&", plain) in {400, 422}
    by_type = cursor_of("/api/events?type=kind.1.*&")
    assert status("/api/events?type=kind.1.*&", by_type) == 200
    assert status("/api/events?type=kind.2.*&", by_type) == 400
    assert status("/api/events?", by_type) == 400
    assert status("/api/events?", plain, other_key) == 400
    dead = cursor_of("/api/dead-letters?")
    assert status("/api/dead-letters?", dead) == 200
    assert status("/api/deliveries?", dead) == 400
    for name, (path, key, _) in lists.items():
        mine = cursor_of(f"{path}?", key)
        for other, (other_path, key_, _) in lists.items():
            same = {name, other} in ({name}, {"deliveries", "dead-letters"})
            if not same:
                assert status(f"{other_path}?", mine, key_) == 400, (name, other)


def test_cursors_outlive_a_restart_but_not_the_secret(
    run: Run, make_service: MakeService, clock: FrozenClock
) -> None:
    async def main() -> None:
        async with make_service(clock=clock) as service:
            for number in range(4):
                await service.send("a", number)
            cursor = (await service.call("GET", "/api/events?limit=2")).json["next_cursor"]
        async with make_service(clock=clock) as service:
            page = await service.call("GET", f"/api/events?limit=2&cursor={cursor}")
            assert [row["payload"] for row in page.json["data"]] == [1, 0]
        async with make_service(clock=clock, secret_key="another-secret-key") as service:
            page = await service.call("GET", f"/api/events?limit=2&cursor={cursor}")
            assert_problem(page, 400, "invalid-cursor")

    run(main())


# ── filters ───────────────────────────────────────────────────────────────────────────────────────


def second(number: float) -> str:
    return f"2026-01-01T12:00:{number:06.3f}Z"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("type=kind.1.4", [4]),
        ("type=kind.1.*", range(1, ROWS, 3)),
        ("type=*.2", [2]),
        ("type=*", range(ROWS)),
        ("type=kind.*.1*", [1, *range(10, 20)]),
        ("type=*.1.1*", [1, 10, 13, 16, 19]),
        ("type=KIND.1.4", []),
        ("type=kind", []),
        ("dedup_id=row%207", [7]),
        ("dedup_id=row", []),
        ("dedup_id=%27%3B%20DROP%20TABLE%20events%3B--", []),
        ("dedup_id=%25", []),
        ("status=processed", range(ROWS)),
        ("status=queued", []),
        (f"since={second(5)}", range(4, ROWS)),
        (f"until={second(5)}", range(4)),
        (f"since={second(5)}&until={second(8)}", [4, 5, 6]),
        (f"since={second(5.001)}&until={second(5.999)}", []),
        (f"since={second(8)}&until={second(5)}", []),
        (f"since={second(5)}&type=kind.1.*&limit=2", [19, 22]),
        ("type=kind.1.4&dedup_id=row%204&status=processed", [4]),
        ("type=kind.1.4&dedup_id=row%205", []),
    ],
)
def test_events_are_found_by_type_dedup_id_status_and_time(
    service: Service,
    run: Run,
    query: str,
    expected: Any,  # noqa: ANN401 - numbers
) -> None:
    answer = run(service.call("GET", f"/api/events?{query}"))
    assert answer.status == 200, answer
    assert [row["payload"] for row in answer.json["data"]] == sorted(expected, reverse=True)


def test_a_moment_may_be_given_in_any_zone(service: Service, run: Run) -> None:
    zoned = quote("2026-01-01T14:00:05+02:00", safe="")
    answer = run(service.call("GET", f"/api/events?since={zoned}&limit=1000"))
    assert len(answer.json["data"]) == ROWS - 4


@pytest.mark.parametrize("path", ["/api/deliveries", "/api/dead-letters"])
def test_deliveries_are_found_by_subscription_event_and_time(
    service: Service, run: Run, path: str
) -> None:
    rows = run(service.call("GET", f"{path}?limit=1000")).json["data"]
    one = rows[5]
    for query in (
        f"subscription_id={one['subscription_id']}",
        f"event_id={one['event_id']}",
        f"event_id={one['event_id']}&subscription_id={one['subscription_id']}",
    ):
        assert run(service.call("GET", f"{path}?{query}")).json["data"] == [one]
    other = rows[6]["subscription_id"]
    for query in (
        f"event_id={one['event_id']}&subscription_id={other}",
        "subscription_id=sub_1",
        "event_id=evt_0",
        "subscription_id=" + "sub_" + "0" * 32,
        f"event_id={one['subscription_id']}",
        "since=2027-01-01T00:00:00Z",
        "until=2025-01-01T00:00:00Z",
    ):
        assert run(service.call("GET", f"{path}?{query}")).json["data"] == []


def test_deliveries_are_found_by_status(service: Service, run: Run) -> None:
    counts = {
        status: len(run(service.call("GET", f"/api/deliveries?status={status}")).json["data"])
        for status in (
            "pending", "delivering", "retrying", "succeeded", "dead", "skipped", "cancelled"
        )
    }  # fmt: skip
    assert counts.pop("dead") == ROWS
    assert set(counts.values()) == {0}
