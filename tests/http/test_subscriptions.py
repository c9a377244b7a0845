"""``/api/subscriptions``: made, shown, changed as a merge patch, paused, deleted."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any, Final

import pytest
from tests.conftest import Enter, Run
from tests.http.conftest import assert_problem, assert_stamped

from triggers_api.testing import FrozenClock, Receiver, Service

URL: Final = "http://127.0.0.1:9/hook"
FULL: Final[dict[str, Any]] = {
    "url": "https://127.0.0.1:9/hook?token=1",
    "event_types": ["order.*", "invoice.paid"],
    "filter": "payload.amount > 100 && key != null",
    "operational": True,
    "description": "orders ü",
    "headers": {"X-Env": "test"},
    "auth": {"type": "bearer", "token": "abc"},
    "payload_format": "raw",
    "retry_schedule": [1.5, 10.0],
    "timeout_s": 5.0,
    "rate_limit": 0.5,
    "max_concurrency": 3,
    "ordering": "key",
    "enabled": True,
    "expires_at": "2026-06-01T00:00:00.000Z",
    "metadata": {"team": "billing"},
}
DEFAULTS: Final[dict[str, Any]] = {
    "filter": None,
    "operational": False,
    "description": None,
    "headers": None,
    "auth": None,
    "payload_format": "standard",
    "retry_schedule": None,
    "timeout_s": None,
    "rate_limit": None,
    "max_concurrency": None,
    "ordering": "none",
    "enabled": True,
    "expires_at": None,
    "metadata": None,
}
SHOWN: Final = FULL | {"auth": {"type": "bearer"}}
STATE: Final = {
    "id", "health", "status", "disabled_reason", "created_at", "updated_at", "signature", "public_key",
    "hook",
}  # fmt: skip


@pytest.fixture
def subscription(service: Service, run: Run) -> dict[str, Any]:
    """One with every field given."""
    answer = run(service.call("POST", "/api/subscriptions", FULL))
    assert answer.status == 201, answer
    created: dict[str, Any] = answer.json
    return created


def get(service: Service, run: Run, subscription_id: str) -> dict[str, Any]:
    answer = run(service.call("GET", f"/api/subscriptions/{subscription_id}"))
    assert answer.status == 200
    shown: dict[str, Any] = answer.json
    return shown


def change(service: Service, run: Run, subscription_id: str, **patch: Any) -> dict[str, Any]:  # noqa: ANN401
    answer = run(service.call("PATCH", f"/api/subscriptions/{subscription_id}", patch))
    assert answer.status == 200, answer
    shown: dict[str, Any] = answer.json
    return shown


def test_what_was_asked_for_is_shown_with_a_secret_this_once(
    service: Service, run: Run, subscription: dict[str, Any]
) -> None:
    secret = subscription.pop("secret")
    assert secret.startswith("whsec_")
    assert 24 <= len(b64decode(secret.removeprefix("whsec_"))) <= 64
    assert set(subscription) == set(FULL) | STATE
    assert {name: subscription[name] for name in FULL} == SHOWN
    assert (subscription["status"], subscription["disabled_reason"]) == ("active", None)
    assert subscription["created_at"] == subscription["updated_at"] == "2026-01-01T12:00:00.000Z"
    assert get(service, run, subscription["id"]) == subscription
    listed = run(service.call("GET", "/api/subscriptions")).json["data"]
    assert subscription in listed
    assert secret.encode() not in run(service.call("GET", "/api/subscriptions")).body


def test_what_was_not_asked_for_has_its_default(service: Service, run: Run) -> None:
    shown = run(service.subscribe(URL, ["*"]))
    assert {name: shown[name] for name in DEFAULTS} == DEFAULTS
    nulls = run(service.subscribe(URL, ["*"], **dict.fromkeys([*DEFAULTS, "secret"])))
    assert {name: nulls[name] for name in DEFAULTS} == DEFAULTS
    assert nulls["secret"] != shown["secret"]


def test_a_secret_may_be_brought_along(service: Service, run: Run) -> None:
    secret = "whsec_" + b64encode(b"0123456789abcdef01234567").decode()
    assert run(service.subscribe(URL, ["*"], secret=secret))["secret"] == secret


@pytest.mark.parametrize("name", sorted(set(FULL) - {"expires_at", "enabled"}))
def test_a_patch_changes_what_it_names_and_nothing_else(
    service: Service, run: Run, subscription: dict[str, Any], name: str
) -> None:
    del subscription["secret"]
    new = {
        "url": "http://127.0.0.1:10/other", "event_types": ["a"], "description": "other",
        "headers": {"X-Env": "1"}, "auth": {"type": "basic", "username": "u", "password": "p"},
        "payload_format": "standard", "retry_schedule": [], "timeout_s": 0.5, "max_concurrency": 1,
        "ordering": "strict", "rate_limit": 10_000.0,
        "metadata": {"team": "sales"}, "filter": "payload == 1", "operational": False,
    }[name]  # fmt: skip
    shown = change(service, run, subscription["id"], **{name: new})
    assert shown == subscription | {name: {"type": "basic"} if name == "auth" else new}
    assert get(service, run, subscription["id"]) == shown


def test_a_patch_is_merged_into_headers_and_metadata(
    service: Service, run: Run, subscription: dict[str, Any]
) -> None:
    patches: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
        ({"B": "2"}, {"X-Env": "test", "B": "2"}, {"team": "billing", "B": "2"}),
        ({}, {"X-Env": "test", "B": "2"}, {"team": "billing", "B": "2"}),
        ({"B": None, "absent": None}, {"X-Env": "test"}, {"team": "billing"}),
        # Case tells entries apart, and headers not.
        ({"TEAM": "x", "x-env": "new"}, {"x-env": "new", "TEAM": "x"},
         {"team": "billing", "TEAM": "x", "x-env": "new"}),
        ({"team": None, "X-ENV": None, "TEAM": None, "x-env": None}, {}, {}),
    ]  # fmt: skip
    for patch, headers, metadata in patches:
        shown = change(service, run, subscription["id"], headers=patch, metadata=patch)
        assert (shown["headers"], shown["metadata"]) == (headers, metadata)
    assert get(service, run, subscription["id"]) == shown
    # From nothing, as from an empty object.
    change(service, run, subscription["id"], headers=None, metadata=None)
    shown = change(service, run, subscription["id"], headers={"a": None, "b": "1"}, metadata={})
    assert (shown["headers"], shown["metadata"]) == ({"b": "1"}, {})


def test_bounds_are_those_of_what_a_patch_leads_to(
    service: Service, run: Run, subscription: dict[str, Any]
) -> None:
    path = f"/api/subscriptions/{subscription['id']}"
    more = {f"x-{n}": "" for n in range(20)}
    refused = run(service.call("PATCH", path, {"headers": more}))
    assert_problem(refused, 422, "validation-failed")
    assert [error["pointer"] for error in refused.json["errors"]] == ["/headers"]
    change(service, run, subscription["id"], headers={"X-Env": None, **more})


@pytest.mark.parametrize("name", sorted(DEFAULTS))
def test_null_in_a_patch_puts_the_default_back(
    service: Service, run: Run, subscription: dict[str, Any], name: str
) -> None:
    del subscription["secret"]
    shown = change(service, run, subscription["id"], **{name: None})
    assert shown == subscription | {name: DEFAULTS[name]}


def test_an_empty_patch_changes_nothing(
    service: Service, run: Run, subscription: dict[str, Any]
) -> None:
    del subscription["secret"]
    assert change(service, run, subscription["id"]) == subscription


@pytest.mark.parametrize(
    "patch",
    [
        {"url": None},
        {"event_types": None},
        {"event_types": []},
        {"url": "http://10.0.0.1/"},
        {"secret": "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"},
        {"id": "sub_1"},
        {"status": "active"},
        {"created_at": "2026-01-01T00:00:00Z"},
        {"timeout_s": 31, "description": "must not be kept"},
        {"headers": {"Host": "x"}},
        {"auth": {"type": "bearer"}},
        {"auth": {"type": "bearer", "token": "a b"}},
        {"retry_schedule": [1, "2"]},
        {"filter": "payload.paid", "timeout_s": 31},
    ],
    ids=str,
)
def test_a_patch_with_a_fault_changes_nothing(
    service: Service, run: Run, subscription: dict[str, Any], patch: dict[str, object]
) -> None:
    del subscription["secret"]
    path = f"/api/subscriptions/{subscription['id']}"
    assert_problem(run(service.call("PATCH", path, patch)), 422, "validation-failed")
    assert get(service, run, subscription["id"]) == subscription


def test_every_fault_is_named_with_its_place(service: Service, run: Run) -> None:
    answer = run(
        service.call(
            "POST",
            "/api/subscriptions",
            {
                "url": "ftp://127.0.0.1/",
                "event_types": ["ok", "not ok"],
                "headers": {"Host": "x", "X-Ok": "1"},
                "timeout_s": 99,
                "retry_schedule": [1, -1],
                "secret": "short",
                "expires_at": "never",
                "metadata": {"": "x"},
            },
        )
    )
    assert_problem(answer, 422, "validation-failed")
    assert sorted((error["pointer"], error["code"]) for error in answer.json["errors"]) == [
        ("/event_types/1", "invalid-event-type"),
        ("/expires_at", "invalid-timestamp"),
        ("/headers/Host", "invalid-header"),
        ("/metadata", "invalid-key"),
        ("/retry_schedule/1", "out-of-range"),
        ("/secret", "invalid-secret"),
        ("/timeout_s", "out-of-range"),
        ("/url", "invalid-url"),
    ]


@pytest.mark.parametrize(
    ("filter_", "code", "position"),
    [
        ("payload.amount >", "syntax-error", {"line": 1, "column": 17, "offset": 16}),
        ("payload.paid &&\n  amount > 1", "unknown-name", {"line": 2, "column": 3, "offset": 18}),
        ("lower(type) == 'x'", "unknown-function", {"line": 1, "column": 1, "offset": 0}),
        ("type.matches('a+')", "not-supported", {"line": 1, "column": 6, "offset": 5}),
        ("payload.all(type, true)", "invalid-name", {"line": 1, "column": 9, "offset": 8}),
        ("size(type)", "invalid-type", {"line": 1, "column": 1, "offset": 0}),
        ("!" * 99 + "true", "too-deep", {"line": 1, "column": 33, "offset": 32}),
        ("true" + " || true" * 200, "too-complex", {"line": 1, "column": 1601, "offset": 1600}),
        (" " * 2048 + "true", "invalid-length", {"line": 1, "column": 2049, "offset": 2048}),
    ],
)
def test_a_filter_with_a_fault_is_refused_with_its_place(
    service: Service,
    run: Run,
    subscription: dict[str, Any],
    filter_: str,
    code: str,
    position: dict[str, int],
) -> None:
    path = f"/api/subscriptions/{subscription['id']}"
    for answer in (
        run(service.call("POST", "/api/subscriptions", {**FULL, "filter": filter_})),
        run(service.call("PATCH", path, {"filter": filter_})),
    ):
        assert_problem(answer, 422, "validation-failed")
        (error,) = answer.json["errors"]
        assert (error["pointer"], error["code"]) == ("/filter", code)
        assert error["position"] == position
        assert error["message"]
    assert get(service, run, subscription["id"])["filter"] == FULL["filter"]


def test_a_filter_as_deep_as_it_may_be_is_taken(service: Service, run: Run) -> None:
    deepest = "(" * 30 + "payload.paid" + ")" * 30
    answer = run(service.call("POST", "/api/subscriptions", {**FULL, "filter": deepest}))
    assert answer.status == 201
    assert answer.json["filter"] == deepest


@pytest.mark.parametrize(
    "name",
    [
        "connection", "Keep-Alive", "TE", "trailer", "Transfer-Encoding", "upgrade", "HTTP2-Settings",
        "Proxy-Authorization", "Proxy-Connection", "host", "Content-Length", "content-type",
        "Content-Encoding", "Accept-Encoding", "Expect", "Cookie", "Sec-Anything", "User-Agent",
        "traceparent", "tracestate", "Webhook-Id", "webhook-anything", "X-Triggers-Attempt", "CE-Id",
        "Authorization", "authorization",
    ],
)  # fmt: skip
def test_headers_that_the_service_sets_are_no_subscriptions_to_choose(
    service: Service, run: Run, name: str
) -> None:
    asked = {"url": URL, "event_types": ["*"], "headers": {"X-Ok": "1", name: "x"}}
    answer = run(service.call("POST", "/api/subscriptions", asked))
    assert_problem(answer, 422, "validation-failed")
    assert [(e["pointer"], e["code"]) for e in answer.json["errors"]] == [
        (f"/headers/{name}", "invalid-header")
    ]


@pytest.mark.parametrize(
    ("headers", "pointer", "code"),
    [
        ({f"x-{n}": "" for n in range(20)}, None, None),
        ({f"x-{n}": "" for n in range(21)}, "/headers", "too-many"),
        ({f"x-{n}": "x" * 1021 for n in range(8)}, None, None),
        ({f"x-{n}": "x" * 1022 for n in range(8)}, "/headers", "invalid-length"),
        ({"X-A": "1", "x-a": "2"}, "/headers/x-a", "invalid-header"),
    ],
    ids=["20", "21", "8192 characters", "8200 characters", "twice"],
)
def test_headers_have_bounds(
    service: Service, run: Run, headers: dict[str, str], pointer: str | None, code: str | None
) -> None:
    asked = {"url": URL, "event_types": ["*"], "headers": headers}
    answer = run(service.call("POST", "/api/subscriptions", asked))
    if pointer is None:
        assert answer.status == 201
    else:
        assert_problem(answer, 422, "validation-failed")
        assert [(e["pointer"], e["code"]) for e in answer.json["errors"]] == [(pointer, code)]


@pytest.mark.parametrize(
    ("auth", "pointer", "code"),
    [
        ({"type": "bearer", "token": ""}, "/auth/token", "invalid-credential"),
        ({"type": "bearer", "token": "a b"}, "/auth/token", "invalid-credential"),
        ({"type": "bearer", "token": "a\r\nX: 1"}, "/auth/token", "invalid-credential"),
        ({"type": "bearer", "token": "ü"}, "/auth/token", "invalid-credential"),
        ({"type": "bearer", "token": "x" * 2049}, "/auth/token", "invalid-credential"),
        ({"type": "bearer", "username": "u"}, "/auth/username", "unknown-field"),
        ({"type": "bearer"}, "/auth/token", "missing-field"),
        ({"type": "basic", "username": "u"}, "/auth/password", "missing-field"),
        ({"type": "basic", "username": "a:b", "password": ""}, "/auth/username",
         "invalid-credential"),
        ({"type": "basic", "username": "a\n", "password": ""}, "/auth/username",
         "invalid-credential"),
        ({"type": "basic", "username": "", "password": "\0"}, "/auth/password",
         "invalid-credential"),
        ({"type": "basic", "username": "", "password": "x" * 2049}, "/auth/password",
         "invalid-credential"),
        ({"type": "digest"}, "/auth/type", "invalid-type"),
        ({"token": "abc"}, "/auth/type", "missing-field"),
        ("Bearer abc", "/auth", "invalid-type"),
    ],
    ids=str,
)  # fmt: skip
def test_an_auth_that_no_header_could_carry_is_refused_without_repeating_it(
    service: Service, run: Run, auth: object, pointer: str, code: str
) -> None:
    asked = {"url": URL, "event_types": ["*"], "auth": auth}
    answer = run(service.call("POST", "/api/subscriptions", asked))
    assert_problem(answer, 422, "validation-failed")
    assert [(e["pointer"], e["code"]) for e in answer.json["errors"]] == [(pointer, code)]
    assert b"abc" not in answer.body


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("ordering", "none, key, strict"),
        ("payload_format", "standard, raw, flat, cloudevents, cloudevents-binary"),
        ("signature", "v1, v1a"),
    ],
)
def test_who_chooses_what_there_is_not_is_told_what_there_is(
    service: Service, run: Run, field: str, words: str
) -> None:
    asked = {"url": URL, "event_types": ["*"], field: "fifo"}
    (fault,) = run(service.call("POST", "/api/subscriptions", asked)).json["errors"]
    assert (fault["pointer"], fault["message"]) == (f"/{field}", f"must be one of {words}")


@pytest.mark.parametrize("address", ["10.0.0.1", "169.254.169.254", "[::ffff:10.1.1.1]", "0.0.0.0"])
def test_addresses_that_deliveries_may_not_go_to_are_refused(
    service: Service, run: Run, address: str
) -> None:
    answer = run(
        service.call(
            "POST", "/api/subscriptions", {"url": f"http://{address}/", "event_types": ["*"]}
        )
    )
    assert_problem(answer, 422, "validation-failed")
    assert [(e["pointer"], e["code"]) for e in answer.json["errors"]] == [
        ("/url", "blocked-address")
    ]


def test_pause_and_resume_are_shown_and_may_be_repeated(
    service: Service, run: Run, subscription: dict[str, Any]
) -> None:
    path = f"/api/subscriptions/{subscription['id']}"
    for action, status in (
        ("pause", "paused"), ("pause", "paused"), ("resume", "active"), ("resume", "active"),
    ):  # fmt: skip
        answer = run(service.call("POST", f"{path}/{action}"))
        assert (answer.status, answer.json["status"]) == (200, status)
        assert_stamped(answer)
        assert "secret" not in answer.json
        assert get(service, run, subscription["id"])["status"] == status


def test_one_that_has_expired_already_says_so_at_once(service: Service, run: Run) -> None:
    shown = run(service.subscribe(URL, ["*"], expires_at="2025-12-31T00:00:00Z"))
    assert shown["status"] == get(service, run, shown["id"])["status"] == "expired"


def test_one_that_is_not_enabled_is_disabled_until_it_is(service: Service, run: Run) -> None:
    shown = run(service.subscribe(URL, ["*"], enabled=False))
    assert (shown["status"], shown["disabled_reason"]) == ("disabled", "disabled by request")
    path = f"/api/subscriptions/{shown['id']}"
    assert run(service.call("POST", f"{path}/pause")).json["status"] == "disabled"
    enabled = change(service, run, shown["id"], enabled=True)
    assert (enabled["status"], enabled["disabled_reason"]) == ("active", None)
    assert change(service, run, shown["id"], enabled=False)["status"] == "disabled"
    resumed = run(service.call("POST", f"{path}/resume")).json
    assert (resumed["status"], resumed["enabled"]) == ("active", True)


def test_a_change_of_something_else_leaves_a_paused_one_paused(
    service: Service, run: Run, subscription: dict[str, Any]
) -> None:
    run(service.call("POST", f"/api/subscriptions/{subscription['id']}/pause"))
    assert change(service, run, subscription["id"], description="x")["status"] == "paused"
    assert change(service, run, subscription["id"], enabled=True)["status"] == "paused"


def test_one_past_its_time_is_shown_as_expired(
    run: Run,
    enter: Enter,
    tmp_path: Path,
    clock: FrozenClock,
) -> None:
    service = enter(Service(tmp_path, clock=clock))
    shown = run(service.subscribe(URL, ["*"], expires_at="2026-01-01T12:00:10Z"))
    clock.advance(seconds=9.999)
    assert get(service, run, shown["id"])["status"] == "active"
    clock.advance(seconds=0.001)
    assert get(service, run, shown["id"])["status"] == "expired"
    listed = run(service.call("GET", "/api/subscriptions")).json["data"]
    assert [each["status"] for each in listed] == ["expired"]
    later = change(service, run, shown["id"], expires_at="2026-01-01T13:00:00Z")
    assert later["status"] == "active"


def test_updated_at_moves_and_created_at_does_not(
    run: Run,
    enter: Enter,
    tmp_path: Path,
    clock: FrozenClock,
) -> None:
    service = enter(Service(tmp_path, clock=clock))
    shown = run(service.subscribe(URL))
    clock.advance(seconds=5)
    changed = change(service, run, shown["id"], description="x")
    assert changed["created_at"] == shown["created_at"]
    assert changed["updated_at"] == "2026-01-01T12:00:05.000Z"


def test_a_deleted_one_is_gone(service: Service, run: Run, subscription: dict[str, Any]) -> None:
    path = f"/api/subscriptions/{subscription['id']}"
    answer = run(service.call("DELETE", path))
    assert (answer.status, answer.body) == (204, b"")
    for method, suffix in (
        ("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/pause"), ("POST", "/resume"),
        ("POST", "/rotate-secret"), ("POST", "/test"), ("GET", "/stats"),
    ):  # fmt: skip
        body: object = {} if method == "PATCH" else None
        assert_problem(run(service.call(method, path + suffix, body)), 404, "not-found")
    listed = run(service.call("GET", "/api/subscriptions?limit=1000")).json["data"]
    assert subscription["id"] not in json.dumps(listed)


def test_simultaneous_patches_of_different_fields_are_all_kept(
    service: Service, run: Run, subscription: dict[str, Any]
) -> None:
    path = f"/api/subscriptions/{subscription['id']}"
    patches: list[dict[str, Any]] = [
        {"description": "new"},
        {"timeout_s": 1.5},
        {"max_concurrency": 9},
        {"metadata": {"team": "new"}},
        {"headers": None},
        {"event_types": ["new"]},
    ]

    async def main() -> None:
        answers = await asyncio.gather(
            *(service.call("PATCH", path, patch) for patch in patches),
            service.call("POST", f"{path}/pause"),
        )
        assert {answer.status for answer in answers} == {200}

    run(main())
    shown = get(service, run, subscription["id"])
    for patch in patches:
        assert {name: shown[name] for name in patch} == patch
    assert shown["status"] == "paused"


def test_a_receiver_that_is_gone_disables_its_subscription_until_it_is_resumed(
    service: Service, run: Run, receiver: Receiver
) -> None:
    shown = run(service.subscribe(receiver.url, ["gone.*"]))
    receiver.replies(410)
    run(service.send("gone.first"))
    run(service.drain())
    disabled = get(service, run, shown["id"])
    assert disabled["status"] == "disabled"
    assert disabled["enabled"] is False
    assert "410" in disabled["disabled_reason"]
    run(service.send("gone.second"))
    resumed = run(service.call("POST", f"/api/subscriptions/{shown['id']}/resume")).json
    assert (resumed["status"], resumed["disabled_reason"]) == ("active", None)
    third = run(service.send("gone.third")).json["id"]
    run(service.drain())
    assert receiver.ids[-1] == third
