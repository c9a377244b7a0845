"""What a client is used for every day, against the real service."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from tests.client.conftest import Connect, Tenant

from triggers_api.client import (
    AsyncClient,
    BadRequest,
    Client,
    Conflict,
    Forbidden,
    NewEvent,
    NotFound,
    Unauthorized,
    ValidationFailed,
    aio,
    aiocarrier,
    aioconsuming,
    blocking,
    carrier,
    consuming,
)
from triggers_api.testing import LocalService

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_an_event_is_sent_and_read_back(client: Client) -> None:
    sent = client.send(
        "order.created",
        {"id": 42, "naïve": [1.5, None, True]},
        dedup_id="order-42",
        source="shop",
        key="customer-7",
        metadata={"region": "eu"},
        occurred_at=NOW - timedelta(days=1),
    )
    assert (sent.status, sent.duplicate) == ("queued", False)
    assert sent.received_at is not None
    event = client.events.get(sent.id)
    assert event.payload == {"id": 42, "naïve": [1.5, None, True]}
    assert (event.type, event.dedup_id, event.source) == ("order.created", "order-42", "shop")
    assert (event.key, event.metadata) == ("customer-7", {"region": "eu"})
    assert event.occurred_at == NOW - timedelta(days=1)
    assert [moment.what for moment in event.timeline] == ["received"]


def test_a_second_event_with_the_dedup_id_is_the_first_one(client: Client) -> None:
    first = client.send("order.created", 1, dedup_id="order-42")
    again = client.send("order.created", 2, dedup_id="order-42")
    assert (again.id, again.duplicate, again.payload_matches) == (first.id, True, False)


def test_events_without_a_dedup_id_get_one_each(client: Client) -> None:
    one, other = client.send("a"), client.send("a")
    assert one.id != other.id
    assert one.dedup_id is not None
    assert one.dedup_id != other.dedup_id


def test_json_goes_byte_for_byte(client: Client) -> None:
    raw = b'{"big": 123456789012345678901234567890,  "twice": 1, "twice": 2, "nul": "\\u0000"}'
    event = client.events.get(client.send("a", msgspec.Raw(raw)).id)
    assert bytes(event.raw) == raw
    assert event.payload["big"] == 123456789012345678901234567890


def test_event_types_are_kept_changed_listed_and_deleted(client: Client) -> None:
    schema = {"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}}
    made = client.event_types.save(
        "invoice.paid",
        description="Somebody paid.",
        schema=schema,
        mode="enforce",
        example={"id": 7},
        redact=["/card/number"],
    )
    assert (made.name, made.mode, made.redact) == ("invoice.paid", "enforce", ("/card/number",))
    kept = client.event_types.get("invoice.paid")
    assert (kept.schema, kept.example, kept.description) == (schema, {"id": 7}, "Somebody paid.")
    assert kept.created_at is not None
    assert client.hooks.samples("invoice.paid")[0]["type"] == "invoice.paid"

    with pytest.raises(ValidationFailed) as refused:
        client.send("invoice.paid", {"id": "seven"})
    assert [error.pointer for error in refused.value.errors] == ["/payload/id"]
    sent = client.send("invoice.paid", {"id": 7, "card": {"number": "4111"}})
    assert client.events.get(sent.id).payload != {"id": 7, "card": {"number": "4111"}}

    assert client.event_types.save("invoice.paid", mode="off").schema is None  # as a whole
    client.event_types.save("invoice.sent")
    listed = [each.name for each in client.event_types.list(page_size=1)]
    assert listed == ["invoice.paid", "invoice.sent"]
    client.event_types.delete("invoice.paid")
    with pytest.raises(NotFound):
        client.event_types.get("invoice.paid")
    assert client.send("invoice.paid", {"id": "seven"}).id


@dataclass
class Order:
    id: int
    at: datetime


def test_a_payload_may_be_of_a_type_of_ones_own(client: Client) -> None:
    event = client.events.get(client.send("a", Order(42, NOW)).id)
    assert event.payload == {"id": 42, "at": "2026-01-01T12:00:00Z"}
    assert event.payload_as(Order) == Order(42, NOW)


@pytest.mark.parametrize("payload", [float("nan"), {"a": float("inf")}, msgspec.Raw(b"{")])
def test_what_json_has_no_words_for_is_not_sent(client: Client, payload: object) -> None:
    with pytest.raises(ValueError, match=r"Out of range|truncated"):
        client.send("a", payload)
    assert client.events.list().first() is None


def test_a_time_without_a_zone_is_not_guessed_at(client: Client) -> None:
    with pytest.raises(ValueError, match="time zone"):
        client.send("a", deliver_at=datetime(2026, 1, 1))  # noqa: DTZ001 - the point
    with pytest.raises(ValueError, match="time zone"):
        client.events.list(since=datetime(2026, 1, 1)).first()  # noqa: DTZ001


def test_many_events_have_their_results_in_order(client: Client) -> None:
    client.send("known", 0, dedup_id="known")
    report = client.send_many(
        [
            NewEvent("a", 1),
            NewEvent("not a type", 2),
            NewEvent("a", float("nan")),
            NewEvent("known", 0, dedup_id="known"),
            NewEvent("a", 5, key="k"),
        ]
    )
    assert [each.status for each in report.results] == [
        "accepted", "rejected", "rejected", "duplicate", "accepted",
    ]  # fmt: skip
    assert [each.index for each in report.results] == [0, 1, 2, 3, 4]
    assert (report.accepted, report.duplicates, report.rejected) == (2, 1, 2)
    bad, worse = report.results[1].error, report.results[2].error
    assert bad is not None
    assert bad.errors[0].pointer == "/type"
    assert worse is not None
    assert worse.code == "not-json"
    last = report.results[4].id
    assert last is not None
    assert client.events.get(last).key == "k"


def test_none_acceptable_is_a_report_like_any_other(client: Client) -> None:
    report = client.send_many([NewEvent("not a type"), NewEvent("")])
    assert report.rejected == 2


def test_many_are_cut_into_what_the_service_takes(client: Client) -> None:
    report = client.send_many(NewEvent("a", number) for number in range(2001))
    assert report.accepted == 2001
    assert len({each.id for each in report.results}) == 2001
    assert [each.payload for each in client.events.list(page_size=1000)] == [*range(2000, -1, -1)]


def test_a_list_goes_on_from_a_cursor(client: Client) -> None:
    client.send_many(NewEvent("a", number) for number in range(5))
    listing = client.events.list(type="a*", page_size=2)
    pages = [[event.payload for event in page.data] for page in listing.pages()]
    assert pages == [[4, 3], [2, 1], [0]]
    cursor = listing.page().next_cursor
    rest = client.events.list(type="a*", page_size=2, cursor=cursor)
    assert [event.payload for event in rest] == [2, 1, 0]
    with pytest.raises(BadRequest) as refused:
        client.events.list(type="b*", page_size=2, cursor=cursor).page()
    assert refused.value.code == "invalid-cursor"


def test_events_are_found_by_what_is_in_them(client: Client) -> None:
    client.send("order.created", {"customer": {"id": 7}, "note": "fragile glass"}, source="shop")
    client.send("order.created", {"customer": {"id": 8}, "note": "glass"}, key="k")
    client.send("order.paid", {"customer": {"id": 7}, "gift": None})
    found = client.events.list(payload={"customer.id": 7}, order="asc")
    assert [event.type for event in found] == ["order.created", "order.paid"]
    assert len([*client.events.list(q="GLASS", type="order.*", status="queued")]) == 2
    assert [event.source for event in client.events.list(q="glass fragile")] == ["shop"]
    assert [event.key for event in client.events.list(key="k")] == ["k"]
    assert client.events.list(source="shop", key="k").first() is None
    assert [each.type for each in client.events.list(payload={"gift": None})] == ["order.paid"]


def test_a_subscription_is_made_changed_and_ended(client: Client) -> None:
    made = client.subscriptions.create(
        "http://127.0.0.1:9/hook", ["order.*"], filter="payload.total > 50.0", ordering="key"
    )
    assert made.secret is not None
    assert made.secret.startswith("whsec_")
    found = client.subscriptions.get(made.id)
    assert (found.filter, found.ordering, found.secret) == ("payload.total > 50.0", "key", None)
    changed = client.subscriptions.change(made.id, event_types=["a", "b"], filter=None)
    assert (changed.event_types, changed.filter) == (("a", "b"), None)
    assert client.subscriptions.pause(made.id).status == "paused"
    assert client.subscriptions.resume(made.id).status == "active"
    assert client.subscriptions.rotate_secret(made.id, grace_s=0).secret != made.secret
    assert [each.id for each in client.subscriptions.list()] == [made.id]
    client.subscriptions.delete(made.id)
    with pytest.raises(NotFound):
        client.subscriptions.get(made.id)


def test_a_delivery_is_followed_to_its_dead_letter_and_back(
    client: Client, service: LocalService
) -> None:
    receiver = service.receiver()
    receiver.replies(500)
    made = client.subscriptions.create(receiver.url, retry_schedule=[])
    sent = client.send("order.created", {"id": 42})
    service.drain()
    (dead,) = client.dead_letters.list(subscription_id=made.id)
    detail = client.deliveries.get(dead.id)
    assert [(each.number, each.status_code) for each in detail.attempts] == [(1, 500)]
    (explained,) = client.events.explain(sent.id).subscriptions
    assert (explained.matched, explained.delivery_status) == (True, "dead")
    assert client.dead_letters.replay(dry_run=True).total == 1
    job = client.dead_letters.replay(subscription_id=made.id)
    service.drain()
    assert client.jobs.wait(job.id, timeout_s=20).deliveries == 1
    assert next(each.id for each in client.jobs.list()) == job.id
    assert client.deliveries.retry(dead.id).status == "retrying"
    service.drain()
    assert len(receiver.requests) == 3
    assert {each.status for each in client.deliveries.list(event_id=sent.id)} == {"succeeded"}
    clock = service.clock
    assert clock is not None
    clock.advance(seconds=1)
    stats = client.subscriptions.stats(made.id)
    assert (stats.attempts.total, stats.attempts.failed) == (3, 1)


def test_an_event_is_replayed_and_deleted(client: Client, service: LocalService) -> None:
    receiver = service.receiver()
    sent = client.send("a", dedup_id="a-1")
    service.drain()
    made = client.subscriptions.create(receiver.url)
    (delivery,) = client.events.replay(sent.id)
    assert (delivery.origin, delivery.subscription_id) == ("replay", made.id)
    assert client.events.replay(sent.id, subscription_ids=[made.id])
    job = client.jobs.replay(subscription_id=made.id, status="missed", rate=10.0, dry_run=True)
    assert (job.dry_run, job.total) == (True, 0)
    assert client.deliveries.cancel(delivery.id).status == "cancelled"
    with pytest.raises(Conflict):
        client.deliveries.cancel(delivery.id)
    client.events.delete(sent.id)
    with pytest.raises(NotFound):
        client.events.delete(sent.id)
    assert not client.send("a", dedup_id="a-1").duplicate


def test_a_test_event_goes_to_one_subscription(client: Client, service: LocalService) -> None:
    receiver = service.receiver()
    made = client.subscriptions.create(receiver.url, ["nothing"])
    assert client.subscriptions.test(made.id).event_type == "triggers.test"
    client.subscriptions.test(made.id, type="order.created", payload=None)
    service.drain()
    first, second = (receiver.requests[place].json for place in (0, 1))
    assert first["data"]["message"]
    assert (second["type"], second["data"]) == ("order.created", None)


def test_an_event_that_waits_is_cancelled(client: Client) -> None:
    sent = client.send("a", deliver_at=NOW + timedelta(days=365))
    assert sent.status == "scheduled"
    for _ in range(2):
        assert client.events.cancel(sent.id).status == "cancelled"


def test_a_hook_is_made_once_and_ended(client: Client, service: LocalService) -> None:
    receiver = service.receiver()
    hook = client.hooks.create(receiver.url, "order.*")
    assert hook.secret is not None
    again = client.hooks.create(receiver.url, "order.*")
    assert (again.id, again.secret) == (hook.id, None)
    (sample,) = client.hooks.samples("order.created")
    assert sample["sample"]
    client.send("order.created", {"total": 5})
    service.drain()
    (request,) = receiver.requests
    assert (request.json["type"], request.json["total"]) == ("order.created", 5)
    assert client.hooks.samples("order.created", limit=1) == [request.json]
    assert [each.id for each in client.hooks.list(target_url=receiver.url)] == [hook.id]
    client.hooks.delete(hook.id)
    client.hooks.delete(hook.id)
    assert client.hooks.list().first() is None


def test_the_organization_is_seen_and_changed(client: Client) -> None:
    assert client.organization.get().name == "ours"
    assert client.organization.change(name="warehouse").name == "warehouse"


def test_any_other_route_can_be_asked(client: Client) -> None:
    assert client.request("GET", "/livez") is not None
    made = client.request(
        "POST", "/api/subscriptions", {"url": "http://127.0.0.1:9/", "event_types": ["a"]}
    )
    assert client.request("DELETE", f"/api/subscriptions/{made['id']}") is None


def test_a_refusal_says_what_the_service_said(client: Client) -> None:
    with pytest.raises(ValidationFailed) as refused:
        client.subscriptions.create("gopher://x", ["not a pattern"], timeout_s=0)
    error = refused.value
    assert (error.status, error.code, error.retryable) == (422, "validation-failed", False)
    assert {each.pointer for each in error.errors} == {"/url", "/event_types/0", "/timeout_s"}
    assert error.request_id
    assert error.request_id in str(error)


def test_an_id_from_elsewhere_stays_within_its_place_in_the_path(client: Client) -> None:
    for event_id in ("../../health", "a/b", "?x=1", "#", "%2e%2e", "", "é"):
        with pytest.raises(NotFound):
            client.events.explain(event_id)


def test_keys_that_are_wrong_or_narrow_are_told_apart(
    service: LocalService, tenant: Tenant, connect: Connect
) -> None:
    with pytest.raises(Unauthorized):
        connect(service.url, "wrong-key-0123456789").send("a")
    path = f"/api/admin/organizations/{tenant.id}/keys"
    made = service.call("POST", path, {"name": "reader", "scopes": ["read"]}, key=service.admin_key)
    with pytest.raises(Forbidden):
        connect(service.url, made.json["key"]).send("a")


def test_the_stream_brings_what_comes_in(client: Client) -> None:
    client.send("before")
    with client.events.stream(type="order.*") as stream:
        events = iter(stream)
        # Connected or not: it begins behind the event that was the last one when it was asked.
        client.send("other")
        first = client.send("order.created", {"text": "two\nlines"})
        assert next(events).id == first.id
        second = client.send("order.paid")
        assert next(events).id == second.id
    with client.events.stream(after=first.id) as stream:
        assert next(iter(stream)).id == second.id


def test_a_stream_behind_an_event_that_nobody_knows_is_refused(client: Client) -> None:
    unknown = f"evt_{0:032x}"
    with client.events.stream(after=unknown) as stream, pytest.raises(ValidationFailed):
        next(iter(stream))


def test_time_can_be_given_to_a_single_call(client: Client) -> None:
    assert client.with_timeout(20.0).send("a").id
    assert "trg_" not in repr(client)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (("ftp://x", "key"), {}),
        (("http://", "key"), {}),
        (("http://user@x", "key"), {}),
        (("http://x:99999", "key"), {}),
        (("http://x", "two words"), {}),
        (("http://x", "n\n"), {}),
        (("http://x", "key"), {"timeout_s": 0}),
    ],
)
def test_settings_that_cannot_be_used_are_refused_at_once(
    connect: Connect, arguments: tuple[str, str], options: dict[str, float]
) -> None:
    with pytest.raises(ValueError, match=r"http|key|Port|timeouts|user"):
        connect(*arguments, **options)


def test_url_and_key_may_come_from_the_environment(
    service: LocalService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRIGGERS_API_KEY", raising=False)
    with pytest.raises(ValueError, match="TRIGGERS_API_KEY"):
        Client(service.url)
    monkeypatch.setenv("TRIGGERS_URL", service.url + "/")
    monkeypatch.setenv("TRIGGERS_API_KEY", service.api_key)
    with Client() as client:
        assert client.send("a").id


def parameters(method: object) -> list[tuple[str, object]]:
    """The names of a method's parameters, and their defaults."""
    if not callable(method):
        return []
    return [(each.name, each.default) for each in inspect.signature(method).parameters.values()]


def words(method: object) -> str:
    """What is said of a method, but for the words in which the two must differ."""
    text = str(method.__doc__).replace("Async", "").replace("a task", "a thread")
    return text.replace("async with", "with").replace("an ``", "a ``")


def test_the_two_clients_have_the_same_methods_and_say_the_same_of_them() -> None:
    pairs = [(Client, AsyncClient)] + [
        (kind, getattr(there, f"Async{name}"))
        for here, there in ((blocking, aio), (consuming, aioconsuming), (carrier, aiocarrier))
        for name, kind in vars(here).items()
        if isinstance(kind, type) and hasattr(there, f"Async{name}")
    ]
    assert len({*pairs}) >= 12
    for one, other in pairs:
        names = {name for name in vars(one) if not name.startswith("_")}
        assert names == {name for name in vars(other) if not name.startswith("_")}, one
        for name in names:
            here, there = getattr(one, name), getattr(other, name)
            assert words(here) == words(there), name
            if name != "send_many":
                assert parameters(here) == parameters(there), name
