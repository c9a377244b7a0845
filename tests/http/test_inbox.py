"""``/api/inbox`` and ``/api/inboxes``: pull, settle, look, seek, and waiting on a real socket."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest
from tests.conftest import PATIENCE_S, Run, new_key, new_organization
from tests.http.conftest import JSON, Connect, assert_problem, written

from triggers_api.testing import ADMIN_KEY, Answer, FrozenClock, Service


class Consumer:
    """An organization's inbox as a consumer asks for it."""

    def __init__(self, service: Service, run: Run, key: str, path: str = "/api/inbox") -> None:
        self._service = service
        self._run = run
        self.key = key
        self.path = path

    def ask(self, method: str, path: str, body: Any = None, *, key: str | None = None) -> Answer:  # noqa: ANN401
        """Anything."""
        return self._run(self._service.call(method, path, body, key=key or self.key))

    def send(self, event_type: str = "order.created", payload: Any = 1, **fields: Any) -> str:  # noqa: ANN401
        """The id of a new event."""
        body = {"type": event_type, "payload": payload, **fields}
        answer = self.ask("POST", "/api/events", body)
        assert answer.status == 202, answer
        event_id: str = answer.json["id"]
        return event_id

    def pull(self, **body: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - JSON
        """What is handed out."""
        answer = self.ask("POST", f"{self.path}/pull", body)
        assert answer.status == 200, answer
        data: list[dict[str, Any]] = answer.json["data"]
        return data

    def settle(self, action: str, status: int = 200, **body: Any) -> Any:  # noqa: ANN401 - JSON
        """The results."""
        answer = self.ask("POST", f"{self.path}/{action}", body)
        assert answer.status == status, answer
        return answer.json["results"] if status == 200 else answer

    def statuses(self, action: str, **body: Any) -> list[str]:  # noqa: ANN401 - JSON
        """What each result says."""
        return [each["status"] for each in self.settle(action, **body)]

    def look(self, query: str = "") -> list[str]:
        """The ids of what is not acknowledged."""
        path = self.path if self.path == "/api/inbox" else f"{self.path}/events"
        answer = self.ask("GET", path + query)
        assert answer.status == 200, answer
        return [each["id"] for each in answer.json["data"]]

    def view(self) -> Any:  # noqa: ANN401 - JSON
        """The inbox with its counts."""
        name = "default" if self.path == "/api/inbox" else self.path.rpartition("/")[2]
        answer = self.ask("GET", f"/api/inboxes/{name}")
        assert answer.status == 200, answer
        return answer.json


@pytest.fixture
def clock(module_clock: FrozenClock) -> FrozenClock:
    return module_clock


@pytest.fixture
def inbox(service: Service, run: Run) -> Consumer:
    """The default one of an organization of its own."""
    return Consumer(service, run, run(new_organization(service))[1])


@pytest.fixture(params=["/api/inbox", "/api/inboxes/billing"])
def any_inbox(inbox: Consumer, request: pytest.FixtureRequest) -> Consumer:
    """The default one, and one with a name."""
    inbox.path = request.param
    if inbox.path != "/api/inbox":
        assert inbox.ask("PUT", inbox.path).status == 201
    return inbox


def test_what_is_pulled_is_the_event_with_a_receipt_and_is_acknowledged_with_it(
    any_inbox: Consumer, clock: FrozenClock
) -> None:
    first = any_inbox.send(payload={"n": 1}, source="shop", key="42", metadata={"a": "b"})
    second = any_inbox.send()
    (event,) = any_inbox.pull(limit=1, lease_s=60)
    shown = any_inbox.ask("GET", f"/api/events/{first}").json
    lease = {name: event.pop(name) for name in ("receipt", "lease_until", "receive_count")}
    assert event == {name: shown[name] for name in event}
    assert lease["lease_until"] == str(clock().after(seconds=60))
    assert lease["receive_count"] == 1
    assert any_inbox.look() == [first, second]
    assert any_inbox.settle("ack", receipts=[lease["receipt"]]) == [
        {"id": first, "receipt": lease["receipt"], "status": "acked"}
    ]
    assert any_inbox.look() == [second]
    assert any_inbox.statuses("ack", receipts=[lease["receipt"]]) == ["lease_lost"]


def test_nack_extend_and_a_lease_that_runs_out(any_inbox: Consumer, clock: FrozenClock) -> None:
    ids = [any_inbox.send() for _ in range(3)]
    given_back, kept, lost = (each["receipt"] for each in any_inbox.pull())
    assert any_inbox.statuses("nack", receipts=[given_back], delay_s=10) == ["nacked"]
    assert any_inbox.statuses("extend", receipts=[kept], lease_s=100) == ["extended"]
    assert any_inbox.pull() == []
    clock.advance(seconds=10)
    (again,) = any_inbox.pull()
    assert (again["id"], again["receive_count"]) == (ids[0], 2)
    clock.advance(seconds=20)
    assert any_inbox.statuses("ack", receipts=[lost, kept]) == ["lease_lost", "acked"]
    assert [each["id"] for each in any_inbox.pull()] == [ids[2]]
    clock.advance(seconds=10)
    assert [each["id"] for each in any_inbox.pull()] == [ids[0]]


def test_by_id_leases_do_not_matter(any_inbox: Consumer) -> None:
    ids = [any_inbox.send() for _ in range(4)]
    receipts = [each["receipt"] for each in any_inbox.pull(limit=2)]
    assert any_inbox.settle("ack", ids=[ids[0], "evt_x", ids[2]]) == [
        {"id": ids[0], "receipt": None, "status": "acked"},
        {"id": "evt_x", "receipt": None, "status": "not_found"},
        {"id": ids[2], "receipt": None, "status": "acked"},
    ]
    assert any_inbox.statuses("ack", receipts=receipts) == ["lease_lost", "acked"]
    assert any_inbox.statuses("extend", ids=[ids[3]], lease_s=1) == ["lease_lost"]
    assert any_inbox.statuses("nack", ids=[ids[3]], delay_s=1) == ["nacked"]
    for _ in range(2):
        assert any_inbox.ask("DELETE", f"{any_inbox.path}/{ids[3]}").status == 204
    assert any_inbox.look() == []
    assert_problem(any_inbox.ask("DELETE", f"{any_inbox.path}/evt_x"), 404, "not-found")


def test_tampered_receipts_and_those_of_others_open_nothing(
    service: Service, run: Run, inbox: Consumer
) -> None:
    inbox.send()
    other = Consumer(service, run, run(new_organization(service))[1])
    named = Consumer(service, run, inbox.key, "/api/inboxes/named")
    assert inbox.ask("PUT", named.path).status == 201
    (event,) = inbox.pull()
    receipt = event["receipt"]
    decoded = bytearray(base64.urlsafe_b64decode(receipt + "=" * (-len(receipt) % 4)))
    forged = []
    for place in (0, 15, 16, len(decoded) - 1):
        changed = bytearray(decoded)
        changed[place] ^= 1
        forged.append(base64.urlsafe_b64encode(changed).rstrip(b"=").decode())
    forged += ["", "x", "é", "\x00", receipt + "=", receipt[:-1], receipt * 20]
    cursor = inbox.ask("GET", "/api/inboxes?limit=1").json["next_cursor"]
    for action, more in (("ack", {}), ("nack", {}), ("extend", {"lease_s": 9})):
        found = inbox.settle(action, receipts=[*forged, cursor], **more)
        assert [each["status"] for each in found] == ["not_found"] * (len(forged) + 1)
        assert {each["id"] for each in found} == {None}
        for stranger in (other, named):
            assert stranger.statuses(action, receipts=[receipt], **more) == ["not_found"]
    assert other.statuses("ack", ids=[event["id"]]) == ["not_found"]
    assert other.ask("DELETE", f"/api/inbox/{event['id']}").status == 404
    assert inbox.statuses("ack", receipts=[receipt]) == ["acked"]


def test_a_list_goes_on_by_cursor_and_takes_nobody_elses(
    service: Service, run: Run, any_inbox: Consumer
) -> None:
    ids = [any_inbox.send(each) for each in ("a", "b", "a", "a", "b")]
    path = any_inbox.path if any_inbox.path == "/api/inbox" else f"{any_inbox.path}/events"
    pages, cursor = [], ""
    while True:
        page = any_inbox.ask("GET", f"{path}?limit=2{cursor}").json
        pages += [[each["id"] for each in page["data"]]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert [each for page in pages for each in page] == ids
    assert len(pages) == 3
    assert any_inbox.look("?type=a") == [ids[0], ids[2], ids[3]]
    first = any_inbox.ask("GET", f"{path}?limit=2").json["next_cursor"]
    assert any_inbox.ask("GET", f"{path}?limit=1&cursor={first}").status == 200
    for query in (f"type=a&cursor={first}", f"cursor={first[:-2]}", f"cursor={first}x"):
        assert_problem(any_inbox.ask("GET", f"{path}?{query}"), 400, "invalid-cursor")
    stranger = run(new_organization(service))[1]
    answer = any_inbox.ask("GET", f"/api/inbox?cursor={first}", key=stranger)
    assert_problem(answer, 400, "invalid-cursor")


def test_pull_for_some_types_leaves_the_others(inbox: Consumer) -> None:
    ids = [inbox.send(each) for each in ("a.x", "b.x", "a.y", "b.y")]
    assert [each["id"] for each in inbox.pull(types=["a.*"])] == [ids[0], ids[2]]
    assert inbox.pull(types=["a.*"]) == []
    late = inbox.send("a.z")
    assert [each["id"] for each in inbox.pull(types=["a.*"])] == [late]
    assert [each["id"] for each in inbox.pull()] == [ids[1], ids[3]]


def test_a_named_inbox_has_its_own_types_and_its_own_place(inbox: Consumer) -> None:
    before = inbox.send("order.created")
    answer = inbox.ask("PUT", "/api/inboxes/orders", {"types": ["order.*"], "from": "end"})
    assert answer.status == 201
    assert answer.json["types"] == ["order.*"]
    inbox.send("user.created")
    after = inbox.send("order.paid")
    orders = Consumer(inbox._service, inbox._run, inbox.key, "/api/inboxes/orders")
    assert orders.look() == [after]
    assert orders.view()["unacked"] == 1
    assert [each["id"] for each in orders.pull()] == [after]
    assert orders.ask("PUT", orders.path, {"types": ["user.*"]}).status == 200
    assert orders.view()["types"] == ["user.*"]
    assert orders.settle("seek", 404, to="evt_x").json["code"] == "not-found"
    assert orders.ask("POST", f"{orders.path}/seek", {"to": before}).status == 200
    assert len(orders.look()) == 1
    listed = inbox.ask("GET", "/api/inboxes").json
    assert [each["name"] for each in listed["data"]] == ["default", "orders"]
    first = inbox.ask("GET", "/api/inboxes?limit=1").json
    rest = inbox.ask("GET", f"/api/inboxes?cursor={first['next_cursor']}").json
    assert (first["data"] + rest["data"], rest["next_cursor"]) == (listed["data"], None)
    assert orders.ask("DELETE", orders.path).status == 204
    for method, path in (
        ("DELETE", ""), ("GET", ""), ("GET", "/events"), ("POST", "/pull"), ("DELETE", f"/{after}"),
    ):  # fmt: skip
        assert_problem(orders.ask(method, orders.path + path), 404, "not-found")
    assert_problem(inbox.ask("DELETE", "/api/inboxes/default"), 409, "invalid-state")


def test_an_inbox_says_what_is_in_it(inbox: Consumer, clock: FrozenClock) -> None:
    empty = {
        "name": "default",
        "types": None,
        "created_at": None,
        "unacked": 0,
        "leased": 0,
        "complete": True,
        "oldest_age_s": None,
    }
    assert inbox.view() == empty
    for _ in range(3):
        inbox.send()
    clock.advance(seconds=5)
    began = str(clock())
    (event,) = inbox.pull(limit=1)
    assert inbox.view() == empty | {
        "created_at": began,
        "unacked": 3,
        "leased": 1,
        "oldest_age_s": 5.0,
    }
    inbox.settle("ack", receipts=[event["receipt"]])
    assert inbox.view()["unacked"] == 2


def test_seek_goes_to_the_start_the_end_a_moment_or_an_event(
    any_inbox: Consumer, clock: FrozenClock
) -> None:
    ids = []
    for _ in range(4):
        ids.append(any_inbox.send())
        clock.advance(seconds=60)
    moment = str(clock().after(seconds=-120))
    any_inbox.settle("ack", receipts=[each["receipt"] for each in any_inbox.pull()])
    for to, expected in (("start", ids), ("end", []), (moment, ids[2:]), (ids[1], ids[1:])):
        answer = any_inbox.ask("POST", f"{any_inbox.path}/seek", {"to": to})
        assert answer.status == 200
        assert answer.json["unacked"] == len(expected)
        assert any_inbox.look() == expected
        assert [each["id"] for each in any_inbox.pull()] == expected


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("pull", {"limit": 0}, "/limit"),
        ("pull", {"limit": 1001}, "/limit"),
        ("pull", {"lease_s": 0.5}, "/lease_s"),
        ("pull", {"lease_s": 43201}, "/lease_s"),
        ("pull", {"wait_s": 31}, "/wait_s"),
        ("pull", {"wait_s": -1}, "/wait_s"),
        ("pull", {"types": []}, "/types"),
        ("pull", {"types": ["a", "b c"]}, "/types/1"),
        ("pull", {"types": ["a"] * 51}, "/types"),
        ("pull", {"unknown": 1}, "/unknown"),
        ("ack", {}, "/receipts"),
        ("ack", {"ids": ["a"], "receipts": ["b"]}, "/ids"),
        ("ack", {"ids": []}, "/ids"),
        ("ack", {"receipts": ["a"] * 1001}, "/receipts"),
        ("nack", {"ids": ["a"], "delay_s": -1}, "/delay_s"),
        ("nack", {"ids": ["a"], "delay_s": 43201}, "/delay_s"),
        ("extend", {"ids": ["a"]}, "/lease_s"),
        ("extend", {"ids": ["a"], "lease_s": 0}, "/lease_s"),
        ("seek", {"to": "yesterday"}, "/to"),
        ("seek", {}, "/to"),
    ],
)
def test_what_is_asked_for_wrongly_is_refused_with_its_place(
    any_inbox: Consumer, path: str, body: object, pointer: str
) -> None:
    answer = any_inbox.ask("POST", f"{any_inbox.path}/{path}", body)
    assert answer.status == 422, answer
    assert answer.json["errors"][0]["pointer"] == pointer


def test_names_are_checked_and_others_are_not_found(inbox: Consumer) -> None:
    for name in ("a b", "é", "x" * 65, "%00"):
        path = f"/api/inboxes/{name.replace(' ', '%20').replace('é', '%C3%A9')}"
        assert inbox.ask("PUT", path).status == 422
        assert inbox.ask("POST", f"{path}/pull").status == 404
    bodies: list[Any] = [{"types": ["a b"]}, {"types": []}, {"from": "middle"}, {"name": "x"}]
    for body in bodies:
        assert inbox.ask("PUT", "/api/inboxes/named", body).status == 422
    for query in ("limit=0", "limit=1001", "wait_s=31", "type=a%20b", "unknown=1", "wait_s=x"):
        assert inbox.ask("GET", f"/api/inbox?{query}").status == 422


def test_scopes_are_read_for_consumers_and_manage_for_named_inboxes(
    service: Service, run: Run
) -> None:
    organization_id, all_key = run(new_organization(service))
    reader, manager, sender = (
        Consumer(service, run, run(new_key(service, organization_id, scopes=[scope]))["key"])
        for scope in ("read", "manage", "ingest")
    )
    event = Consumer(service, run, all_key).send()
    assert manager.ask("PUT", "/api/inboxes/named").status == 201
    asked = [
        ("GET", "/api/inbox", None),
        ("POST", "/api/inbox/pull", {}),
        ("POST", "/api/inbox/ack", {"ids": [event]}),
        ("POST", "/api/inbox/nack", {"ids": [event]}),
        ("POST", "/api/inbox/extend", {"ids": [event], "lease_s": 5}),
        ("POST", "/api/inbox/seek", {"to": "start"}),
        ("GET", "/api/inboxes/named/events", None),
        ("POST", "/api/inboxes/named/pull", {}),
        ("DELETE", f"/api/inbox/{event}", None),
    ]
    for method, path, body in asked:
        assert reader.ask(method, path, body).status < 300, path
        for other in (sender, manager):
            assert_problem(other.ask(method, path, body), 403, "forbidden")
    for path in ("/api/inboxes", "/api/inboxes/named"):
        assert {each.ask("GET", path).status for each in (reader, manager)} == {200}
        assert_problem(sender.ask("GET", path), 403, "forbidden")
    for method in ("PUT", "DELETE"):
        for other in (sender, reader):
            answer = other.ask(method, "/api/inboxes/named")
            assert_problem(answer, 403, "forbidden")


# ── waiting ───────────────────────────────────────────────────────────────────────────────────────


async def metrics(service: Service) -> dict[str, float]:
    """What is counted of inboxes."""
    text = (await service.call("GET", "/metrics")).body.decode()
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if line[:1] != "#")
    return {name: float(value) for name, value in lines if name.startswith("triggers_inbox_")}


async def waiting(service: Service, count: int) -> None:
    """Until so many requests wait."""
    async with asyncio.timeout(30):
        while (await metrics(service))["triggers_inbox_waiting"] != count:
            continue


def test_live_a_pull_that_waits_is_answered_when_an_event_comes_in(
    service: Service, run: Run, any_inbox: Consumer
) -> None:
    async def wait_and_send() -> tuple[Answer, Answer, Answer]:
        path = any_inbox.path if any_inbox.path == "/api/inbox" else f"{any_inbox.path}/events"
        waits = service.call("POST", f"{any_inbox.path}/pull", {"wait_s": 30}, key=any_inbox.key)
        looks = service.call("GET", f"{path}?wait_s=30", key=any_inbox.key)
        pulling, looking = asyncio.create_task(waits), asyncio.create_task(looks)
        await waiting(service, 2)
        body = {"type": "a", "payload": 1}
        sent = await service.call("POST", "/api/events", body, key=any_inbox.key)
        return sent, await pulling, await looking

    sent, pulled, looked = run(wait_and_send())
    for answer in (pulled, looked):
        assert [each["id"] for each in answer.json["data"]] == [sent.json["id"]]


def test_live_a_pull_that_waits_is_answered_when_an_event_is_given_back(
    service: Service, run: Run, inbox: Consumer
) -> None:
    event = inbox.send()
    (leased,) = inbox.pull()

    async def wait_and_give_back() -> Answer:
        pulling = asyncio.create_task(
            service.call("POST", "/api/inbox/pull", {"wait_s": 30}, key=inbox.key)
        )
        await waiting(service, 1)
        body = {"receipts": [leased["receipt"]]}
        await service.call("POST", "/api/inbox/nack", body, key=inbox.key)
        return await pulling

    (again,) = run(wait_and_give_back()).json["data"]
    assert again["id"] == event


def test_live_a_pull_that_waits_in_vain_is_answered_with_nothing(inbox: Consumer) -> None:
    assert inbox.pull(wait_s=0.05) == []
    assert inbox.look("?wait_s=0.05") == []


def test_live_who_hangs_up_while_waiting_leases_nothing(
    service: Service,
    run: Run,
    dial: Connect,
    inbox: Consumer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Or it does not wait at the moment either because it has a look.
    monkeypatch.setattr("triggers_api.http.inbox._LOOK_EVERY_S", PATIENCE_S)

    async def wait_and_hang_up() -> None:
        connection = await dial(service)
        body = json.dumps({"wait_s": 30}).encode()
        await connection.send(written("POST", "/api/inbox/pull", JSON, body=body, key=inbox.key))
        await waiting(service, 1)
        await connection.hang_up()
        await waiting(service, 0)

    run(wait_and_hang_up())
    event = inbox.send()
    assert [each["id"] for each in inbox.pull()] == [event]


def test_what_consumers_do_is_counted(service: Service, run: Run, inbox: Consumer) -> None:
    before = run(metrics(service))
    inbox.send()
    inbox.settle("nack", receipts=[each["receipt"] for each in inbox.pull()])
    receipts = [each["receipt"] for each in inbox.pull()]
    inbox.settle("ack", receipts=[*receipts, *receipts, "x"])
    after = run(metrics(service))
    grown = {
        name: value - before.get(name, 0) for name, value in after.items() if "created" not in name
    }
    assert grown["triggers_inbox_pulled_total"] == 2
    assert grown["triggers_inbox_pulled_again_total"] == 1
    for status, count in (("acked", 1), ("nacked", 1), ("lease_lost", 1), ("not_found", 1)):
        assert grown[f'triggers_inbox_settled_total{{status="{status}"}}'] == count


@pytest.mark.parametrize("what", ["organization", "key"])
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("POST", "/api/inbox/pull", {"wait_s": 30}), ("GET", "/api/inbox?wait_s=30", None)],
)
def test_live_who_waits_with_a_key_that_is_revoked_meanwhile_is_turned_away(
    service: Service, run: Run, method: str, path: str, body: object, what: str
) -> None:
    organization_id, _ = run(new_organization(service))
    key = run(new_key(service, organization_id, scopes=["read"]))

    async def wait_and_delete() -> Answer:
        asking = asyncio.create_task(service.call(method, path, body, key=key["key"]))
        await waiting(service, 1)
        there = f"/api/admin/organizations/{organization_id}"
        if what == "key":
            there += f"/keys/{key['id']}"
        assert (await service.call("DELETE", there, key=ADMIN_KEY)).status == 204
        return await asking

    assert_problem(run(wait_and_delete()), 401, "unauthorized")
