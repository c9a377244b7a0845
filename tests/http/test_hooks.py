"""``/api/hooks`` and ``/api/poll``: what no-code tools ask for, in the way in which they ask."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, Final

import pytest
from aiohttp import web
from tests.conftest import Run, new_key, new_organization, own_organization
from tests.http.conftest import assert_problem, assert_stamped, once, written

from triggers_api.http import poll
from triggers_api.testing import API_KEY, Answer, FrozenClock, Receiver, Service

HOOKS: Final = "/api/hooks"
NOWHERE: Final = "http://127.0.0.1:9/hooks/standard/1/abc/"


@pytest.fixture
def clock(module_clock: FrozenClock) -> FrozenClock:
    return module_clock


@pytest.fixture
def key(service: Service, run: Run) -> str:
    """The key of an organization that nothing has happened to."""
    return run(new_organization(service))[1]


def ask(
    service: Service,
    run: Run,
    method: str,
    path: str,
    body: object = None,
    *,
    key: str,
    headers: dict[str, str] | None = None,
) -> Answer:
    answer = run(service.call(method, path, body, key=key, headers=headers))
    assert_stamped(answer)
    return answer


def made(service: Service, run: Run, key: str, url: str = NOWHERE, event: str = "*") -> Any:  # noqa: ANN401
    answer = ask(service, run, "POST", HOOKS, {"target_url": url, "event": event}, key=key)
    assert answer.status == 201, answer
    return answer.json


def listed(service: Service, run: Run, key: str, query: str = "") -> list[str]:
    answer = ask(service, run, "GET", HOOKS + query, key=key)
    assert answer.status == 200, answer
    return [each["id"] for each in answer.json["data"]]


def sent(service: Service, run: Run, key: str, event_type: str, *payloads: object) -> list[str]:
    """Events, a millisecond apart."""
    found = []
    for payload in payloads:
        body = {"type": event_type, "payload": payload}
        answer = run(service.call("POST", "/api/events", body, key=key))
        assert answer.status == 202, answer
        found.append(answer.json["id"])
    return found


def shown(service: Service, run: Run, key: str, path: str) -> Any:  # noqa: ANN401 - JSON
    answer = ask(service, run, "GET", path, key=key)
    assert answer.status == 200, answer
    assert answer.headers["content-type"] == "application/json"
    assert isinstance(answer.json, list)
    return answer.json


# ── subscribe ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("where", ["target_url", "url", "hookUrl"])
@pytest.mark.parametrize("what", ["event", "event_type"])
def test_each_spelling_that_tools_have_for_where_and_what_makes_a_hook(
    where: str, what: str, service: Service, run: Run, key: str, clock: FrozenClock
) -> None:
    answer = ask(service, run, "POST", HOOKS, {where: NOWHERE, what: "order.created"}, key=key)
    assert answer.status == 201
    hook = answer.json
    assert hook.pop("id").startswith("sub_")
    assert hook.pop("secret").startswith("whsec_")
    assert hook == {
        "target_url": NOWHERE,
        "event": "order.created",
        "status": "active",
        "created_at": str(clock()),
    }


def test_a_hook_is_a_subscription_that_gets_matching_events_flat_and_signed(
    service: Service, run: Run, key: str, receiver: Receiver, clock: FrozenClock
) -> None:
    hook = made(service, run, key, receiver.url, "order.*")
    payload = {"id": 42, "total": 9.5}
    (event, _) = sent(service, run, key, "order.created", payload, payload)[:1] + sent(
        service, run, key, "invoice.paid", payload
    )
    run(service.drain())
    assert len(receiver.requests) == 2
    (request,) = (each for each in receiver.requests if each.json["id"] == event)
    request.verify(hook["secret"], now=clock() // 1000)
    assert request.json == {
        "id": event,
        "type": "order.created",
        "received_at": str(clock()),
        "payload_id": 42,
        "total": 9.5,
    }
    subscription = ask(service, run, "GET", f"/api/subscriptions/{hook['id']}", key=key).json
    assert (subscription["hook"], subscription["payload_format"]) == (True, "flat")
    assert subscription["event_types"] == ["order.*"]
    other = run(service.call("POST", "/api/subscriptions",
                {"url": receiver.url, "event_types": ["x"]}, key=key)).json  # fmt: skip
    assert other["hook"] is False


def test_who_asks_again_for_an_active_hook_has_it(service: Service, run: Run, key: str) -> None:
    first = made(service, run, key, event="order.created")
    again = ask(
        service, run, "POST", HOOKS, {"hookUrl": NOWHERE, "event_type": "order.created"}, key=key
    )
    assert again.status == 200
    assert again.json == {name: value for name, value in first.items() if name != "secret"}
    assert made(service, run, key, event="order.paid")["id"] != first["id"]
    assert made(service, run, key, NOWHERE + "2", "order.created")["id"] != first["id"]
    assert len(listed(service, run, key)) == 3


def test_of_many_identical_requests_at_once_one_makes_the_hook(
    service: Service, run: Run, key: str
) -> None:
    async def main() -> list[Answer]:
        body = {"target_url": NOWHERE, "event": "order.created"}
        asked = [service.call("POST", HOOKS, body, key=key) for _ in range(16)]
        return await asyncio.gather(*asked)

    answers = run(main())
    assert sorted(answer.status for answer in answers) == [200] * 15 + [201]
    assert len({answer.json["id"] for answer in answers}) == 1
    assert len(listed(service, run, key)) == 1


def test_a_paused_hook_is_one_still_and_stays_paused(service: Service, run: Run, key: str) -> None:
    hook = made(service, run, key)
    ask(service, run, "POST", f"/api/subscriptions/{hook['id']}/pause", key=key)
    again = ask(service, run, "POST", HOOKS, {"url": NOWHERE, "event": "*"}, key=key)
    assert (again.status, again.json["id"], again.json["status"]) == (200, hook["id"], "paused")
    assert listed(service, run, key) == [hook["id"]]


def test_an_ordinary_subscription_to_the_same_url_is_no_hook(
    service: Service, run: Run, key: str
) -> None:
    body = {"url": NOWHERE, "event_types": ["*"], "payload_format": "flat"}
    subscription = ask(service, run, "POST", "/api/subscriptions", body, key=key).json
    assert listed(service, run, key) == []
    path = f"{HOOKS}/{subscription['id']}"
    assert_problem(ask(service, run, "DELETE", path, key=key), 404, "not-found")
    assert made(service, run, key)["id"] != subscription["id"]


@pytest.mark.parametrize(
    ("body", "faults"),
    [
        ({}, [("/target_url", "missing-field"), ("/event", "missing-field")]),
        ({"url": "", "event": ""}, [("/url", "missing-field"), ("/event", "missing-field")]),
        ({"url": NOWHERE, "event": None}, [("/event", "missing-field")]),
        (
            {"url": NOWHERE, "target_url": NOWHERE + "2", "event": "a", "event_type": "b"},
            [("/target_url", "conflict"), ("/event", "conflict")],
        ),
        ({"url": NOWHERE, "event_type": "a b"}, [("/event_type", "invalid-event-type")]),
        ({"hookUrl": "http://10.1.2.3/", "event": "a"}, [("/hookUrl", "blocked-address")]),
        ({"target_url": "ftp://example.com/", "event": "a"}, [("/target_url", "invalid-url")]),
        ({"url": NOWHERE, "event": "a", "colour": "red"}, [("/colour", "unknown-field")]),
    ],
)
def test_a_request_for_a_hook_that_is_not_acceptable_says_what_is_wrong(
    body: dict[str, Any], faults: Sequence[tuple[str, str]], service: Service, run: Run, key: str
) -> None:
    answer = ask(service, run, "POST", HOOKS, body, key=key)
    assert_problem(answer, 422, "validation-failed")
    assert [(each["pointer"], each["code"]) for each in answer.json["errors"]] == list(faults)
    assert listed(service, run, key) == []


def test_the_same_url_by_two_names_is_no_conflict(service: Service, run: Run, key: str) -> None:
    body = {"url": NOWHERE, "target_url": NOWHERE, "event": "a", "event_type": "a"}
    assert ask(service, run, "POST", HOOKS, body, key=key).status == 201


# ── list, unsubscribe ─────────────────────────────────────────────────────────────────────────────


def test_a_tool_finds_out_in_one_request_whether_its_hook_is_there(
    service: Service, run: Run, key: str
) -> None:
    odd = "http://127.0.0.1:9/hook?a=1&b=2"
    hook = made(service, run, key, odd)
    made(service, run, key)
    answer = ask(
        service, run, "GET", f"{HOOKS}?target_url=http://127.0.0.1:9/hook?a=1%26b=2", key=key
    )
    assert answer.json == {
        "data": [{name: value for name, value in hook.items() if name != "secret"}],
        "next_cursor": None,
    }
    assert listed(service, run, key, "?target_url=http://127.0.0.1:9/") == []


def test_hooks_are_listed_newest_first_page_by_page(service: Service, run: Run, key: str) -> None:
    hooks = [made(service, run, key, f"{NOWHERE}{n}")["id"] for n in range(5)]
    seen: list[str] = []
    query = "?limit=2"
    while True:
        page = ask(service, run, "GET", HOOKS + query, key=key).json
        seen += [each["id"] for each in page["data"]]
        if page["next_cursor"] is None:
            break
        query = f"?limit=2&cursor={page['next_cursor']}"
    assert seen == hooks[::-1]
    moved = f"{HOOKS}?target_url={NOWHERE}&cursor={query.rpartition('=')[2]}"
    assert_problem(ask(service, run, "GET", moved, key=key), 400, "invalid-cursor")


def test_unsubscribing_can_be_repeated_and_ends_the_hook(
    service: Service, run: Run, key: str, receiver: Receiver
) -> None:
    hook = made(service, run, key, receiver.url)
    (event,) = sent(service, run, key, "order.created", {})
    for _ in range(3):
        answer = ask(service, run, "DELETE", f"{HOOKS}/{hook['id']}", key=key)
        assert (answer.status, answer.body) == (204, b"")
    run(service.drain())
    assert receiver.requests == []
    assert listed(service, run, key) == []
    found = ask(service, run, "GET", f"/api/events/{event}", key=key).json
    assert [each["status"] for each in found["deliveries"]] in ([], ["cancelled"])


def test_a_hook_deleted_as_a_subscription_is_unsubscribed_without_complaint(
    service: Service, run: Run, key: str
) -> None:
    hook = made(service, run, key)
    assert ask(service, run, "DELETE", f"/api/subscriptions/{hook['id']}", key=key).status == 204
    assert ask(service, run, "DELETE", f"{HOOKS}/{hook['id']}", key=key).status == 204


@pytest.mark.parametrize("hook_id", ["sub_" + "0" * 32, "nonsense", "42", "evt_" + "0" * 32])
def test_a_hook_that_never_was_is_not_found(
    hook_id: str, service: Service, run: Run, key: str
) -> None:
    assert_problem(ask(service, run, "DELETE", f"{HOOKS}/{hook_id}", key=key), 404, "not-found")


def test_another_organizations_hook_is_not_found_before_and_after_its_end(
    service: Service, run: Run, key: str
) -> None:
    hook = made(service, run, key)
    path = f"{HOOKS}/{hook['id']}"
    assert_problem(ask(service, run, "DELETE", path, key=API_KEY), 404, "not-found")
    assert listed(service, run, key) == [hook["id"]]
    assert hook["id"] not in listed(service, run, API_KEY)
    assert ask(service, run, "DELETE", path, key=key).status == 204
    assert_problem(ask(service, run, "DELETE", path, key=API_KEY), 404, "not-found")


def test_two_organizations_may_have_the_same_hook(service: Service, run: Run, key: str) -> None:
    assert made(service, run, key)["id"] != made(service, run, API_KEY)["id"]


# ── what Zapier does ──────────────────────────────────────────────────────────────────────────────


def test_the_user_agent_and_media_type_of_zapier_are_taken(
    service: Service, run: Run, key: str
) -> None:
    headers = {
        "user-agent": "Zapier",
        "content-type": "application/json; charset=utf-8",
        "accept": "application/json",
    }
    body = {"target_url": NOWHERE, "event": "a"}
    answer = ask(service, run, "POST", HOOKS, body, key=key, headers=headers)
    assert answer.status == 201
    by_header = run(
        service.call("GET", f"{HOOKS}/samples", key=None, headers={"X-API-Key": key} | headers)
    )
    assert by_header.status == 200


def test_an_unknown_key_is_401_and_everything_else_is_not(service: Service, run: Run) -> None:
    """Zapier takes any 401 for a broken connection, and asks its user to connect again."""
    assert_problem(ask(service, run, "GET", HOOKS, key="nobody" * 4), 401, "unauthorized")
    organization = run(own_organization(service))
    reader = run(new_key(service, organization, scopes=["read"]))["key"]
    body = {"target_url": NOWHERE, "event": "a"}
    assert_problem(ask(service, run, "POST", HOOKS, body, key=reader), 403, "forbidden")
    assert_problem(ask(service, run, "DELETE", f"{HOOKS}/x", key=reader), 403, "forbidden")
    assert shown(service, run, reader, "/api/poll/nothing.yet") == []
    assert ask(service, run, "GET", HOOKS, key=reader).status == 200


def test_a_receiver_that_is_gone_ends_its_hook_and_is_not_called_again(
    service: Service, run: Run, key: str, receiver: Receiver
) -> None:
    """Zapier answers 410 once the Zap is gone."""
    receiver.always(410)
    hook = made(service, run, key, receiver.url)
    sent(service, run, key, "order.created", {}, {})
    run(service.drain())
    assert listed(service, run, key) == []
    count = len(receiver.requests)
    sent(service, run, key, "order.created", {})
    run(service.drain())
    assert len(receiver.requests) == count
    subscription = ask(service, run, "GET", f"/api/subscriptions/{hook['id']}", key=key).json
    assert subscription["status"] == "disabled"
    assert "410" in subscription["disabled_reason"]
    # The Zap is switched on again: a new hook, which takes the place of the old one.
    receiver.always(200)
    assert made(service, run, key, receiver.url)["id"] != hook["id"]
    path = f"/api/subscriptions/{hook['id']}"
    assert_problem(ask(service, run, "GET", path, key=key), 404, "not-found")
    assert ask(service, run, "DELETE", f"{HOOKS}/{hook['id']}", key=key).status == 204
    sent(service, run, key, "order.created", {})
    run(service.drain())
    assert len(receiver.requests) == count + 1


def test_the_answer_of_a_receiver_is_not_read_as_a_handshake(
    service: Service, run: Run, key: str, receiver: Receiver
) -> None:
    """Zapier supports no confirmation of identity: subscribing calls nobody."""
    receiver.always(web.json_response({"attempt": "018f", "status": "success"}))
    made(service, run, key, receiver.url)
    run(service.drain())
    assert receiver.requests == []


# ── samples ───────────────────────────────────────────────────────────────────────────────────────


def test_samples_have_the_very_shape_of_what_is_delivered(
    service: Service, run: Run, key: str, receiver: Receiver
) -> None:
    made(service, run, key, receiver.url, "order.*")
    sent(service, run, key, "order.created", {"id": 1, "n": 1}, [1, 2], None, "text")
    run(service.drain())
    samples = shown(service, run, key, f"{HOOKS}/samples?event_type=order.*&limit=100")
    delivered = sorted((each.json for each in receiver.requests), key=lambda each: each["id"])
    assert samples == delivered[::-1]


def test_samples_are_the_newest_three_of_the_type_unless_told_otherwise(
    service: Service, run: Run, key: str
) -> None:
    events = sent(service, run, key, "order.created", *({"n": n} for n in range(5)))
    (other,) = sent(service, run, key, "invoice.paid", {})

    def ids(query: str) -> list[str]:
        return [each["id"] for each in shown(service, run, key, f"{HOOKS}/samples{query}")]

    assert ids("?event_type=order.created") == events[:1:-1]
    assert ids("?event_type=order.created&limit=1") == [events[-1]]
    assert ids("") == [other, events[4], events[3]]


def test_a_type_without_events_has_a_sample_that_is_the_same_each_time(
    service: Service, run: Run, key: str
) -> None:
    path = f"{HOOKS}/samples?event_type=order.*"
    (sample,) = first = shown(service, run, key, path)
    assert shown(service, run, key, path) == first
    assert sample == {
        "id": "evt_019b76daa80070008000000000000000",
        "type": "order.sample",
        "received_at": "2026-01-01T00:00:00.000Z",
        "sample": True,
        "message": "No event of this type has come in yet.",
    }
    (event,) = sent(service, run, key, "order.paid", {})
    assert [each["id"] for each in shown(service, run, key, path)] == [event]


@pytest.mark.parametrize("query", ["?event_type=a%20b", "?event_type=", "?limit=0", "?limit=101",
                                   "?limit=x", "?type=a"])  # fmt: skip
def test_a_parameter_of_samples_that_is_not_acceptable_is_refused(
    query: str, service: Service, run: Run, key: str
) -> None:
    answer = ask(service, run, "GET", f"{HOOKS}/samples{query}", key=key)
    assert_problem(answer, 422, "validation-failed")


# ── poll ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_poll_shows_events_of_the_type_newest_first_with_ids_that_are_texts(
    service: Service, run: Run, key: str
) -> None:
    events = sent(service, run, key, "order.created", *({"id": n} for n in range(3)))
    sent(service, run, key, "order.paid", {})
    found = shown(service, run, key, "/api/poll/order.created")
    assert [each["id"] for each in found] == events[::-1]
    assert [each["payload_id"] for each in found] == [2, 1, 0]
    assert {each["type"] for each in found} == {"order.created"}
    assert len(shown(service, run, key, "/api/poll/order.*")) == 4
    assert shown(service, run, key, "/api/poll/nothing.yet") == []
    assert shown(service, run, API_KEY, "/api/poll/order.created") == []


def test_a_poll_keeps_payloads_byte_for_byte(service: Service, run: Run, key: str) -> None:
    payload = b'{"n": 123456789012345678901234567890, "a":1.10, "u":"\\u00e9"}'
    body = b'{"type":"a","payload":%b}' % payload
    assert run(service.call("POST", "/api/events", body, key=key)).status == 202
    assert payload[1:] in ask(service, run, "GET", "/api/poll/a", key=key).body


def test_pages_begin_with_0_and_end_with_an_empty_array(
    service: Service, run: Run, key: str
) -> None:
    events = sent(service, run, key, "a", *range(5))[::-1]

    def page(query: str) -> list[str]:
        return [each["id"] for each in shown(service, run, key, f"/api/poll/a{query}")]

    assert [page(f"?limit=2&page={n}") for n in range(4)] == [
        events[:2],
        events[2:4],
        events[4:],
        [],
    ]
    assert page("") == page("?page=0") == events
    assert page("?page=1") == []


def test_without_a_limit_there_are_fifty(service: Service, run: Run, key: str) -> None:
    batch = {"events": [{"type": "a", "payload": n} for n in range(120)]}
    assert run(service.call("POST", "/api/events/batch", batch, key=key)).status == 202
    values = [each["data"] for each in shown(service, run, key, "/api/poll/a")]
    assert values == list(range(119, 69, -1))
    values = [each["data"] for each in shown(service, run, key, "/api/poll/a?limit=1000")]
    assert values == list(range(119, -1, -1))
    values = [each["data"] for each in shown(service, run, key, "/api/poll/a?limit=45&page=2")]
    assert values == list(range(29, -1, -1))


def test_a_poll_answers_304_as_long_as_nothing_has_changed(
    service: Service, run: Run, key: str
) -> None:
    sent(service, run, key, "a", 1)
    first = ask(service, run, "GET", "/api/poll/a", key=key)
    tag = first.headers["etag"]
    assert tag.startswith('"')
    sent(service, run, key, "b", 1)
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*", f'W/"x",W/{tag}'):
        answer = ask(service, run, "GET", "/api/poll/a", key=key, headers={"If-None-Match": known})
        assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", tag), known
    run(service.drain())  # that it is routed meanwhile does not show
    again = ask(service, run, "GET", "/api/poll/a", key=key, headers={"If-None-Match": tag})
    assert again.status == 304
    sent(service, run, key, "a", 2)
    changed = ask(service, run, "GET", "/api/poll/a", key=key, headers={"If-None-Match": tag})
    assert changed.status == 200
    assert len(changed.json) == 2
    assert changed.headers["etag"] != tag
    for unknown in ('"other"', tag.strip('"'), "", "nonsense"):
        headers = {"If-None-Match": unknown}
        answer = ask(service, run, "GET", "/api/poll/a", key=key, headers=headers)
        assert answer.status == 200, unknown


def test_what_is_held_back_or_deleted_is_not_polled(service: Service, run: Run, key: str) -> None:
    (first, second) = sent(service, run, key, "a", 1, 2)
    later = {"type": "a", "payload": 3, "deliver_at": "2036-01-01T00:00:00Z"}
    assert run(service.call("POST", "/api/events", later, key=key)).status == 202
    assert ask(service, run, "DELETE", f"/api/events/{second}", key=key).status == 204
    assert [each["id"] for each in shown(service, run, key, "/api/poll/a")] == [first]
    assert [each["id"] for each in shown(service, run, key, "/api/poll/a?page=0&limit=1")] == [
        first
    ]


@pytest.mark.parametrize("event_type", ["a/b", "a//b", "order:1", "..", "a/./b", "a/", "-_."])
def test_a_type_may_have_every_character_that_types_may_have(
    event_type: str, service: Service, run: Run, key: str
) -> None:
    (event,) = sent(service, run, key, event_type, {})
    sent(service, run, key, "other", {})
    for spelled in (event_type, event_type.replace("/", "%2F").replace(".", "%2E")):
        # As bytes: a client would tidy the path up.
        answer = run(polled(service, f"/api/poll/{spelled}", key))
        assert [each["id"] for each in json.loads(answer.body)] == [event], spelled


async def polled(service: Service, target: str, key: str) -> Answer:
    return await once(service, written("GET", target, key=key))


@pytest.mark.parametrize("target", ["a%20b", "a%00", "%C3%A4", "a" * 256])
def test_a_type_that_cannot_be_is_refused(
    target: str, service: Service, run: Run, key: str
) -> None:
    answer = run(polled(service, f"/api/poll/{target}", key))
    assert_problem(answer, 422, "validation-failed")


@pytest.mark.parametrize("query", ["page=-1", "page=x", "limit=0", "limit=1001", "cursor=x",
                                   "page=200", "page=10000000000000000000000"])  # fmt: skip
def test_a_parameter_of_a_poll_that_is_not_acceptable_is_refused(
    query: str, service: Service, run: Run, key: str
) -> None:
    answer = ask(service, run, "GET", f"/api/poll/a?{query}", key=key)
    assert_problem(answer, 422, "validation-failed")


def test_an_answer_ends_before_it_is_too_large_for_tools(
    service: Service, run: Run, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poll, "ANSWER_BYTES", 1200)
    events = sent(service, run, key, "a", *(["x" * 400] * 5))
    assert [each["id"] for each in shown(service, run, key, "/api/poll/a")] == events[:1:-1]
    (large,) = sent(service, run, key, "a", "x" * 2000)
    assert [each["id"] for each in shown(service, run, key, "/api/poll/a")] == [large]
