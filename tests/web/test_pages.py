"""What every page carries, and that nothing is shown as anything but text."""

from __future__ import annotations

import hashlib
import html
import re
from html.parser import HTMLParser
from importlib import resources
from typing import Any

import pytest
from tests.conftest import Enter, MakeService, Run, own_organization
from tests.web.conftest import Browser, browsing

from triggers_api.testing import ADMIN_KEY, API_KEY, Service
from triggers_api.web import assets
from triggers_api.web.rendering import compact, highlighted, percent, relative, seconds
from triggers_api.web.views import VIEWS

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'`{{7*7}}${7*7}"


class Inspector(HTMLParser):
    """Finds what the policy would forbid, and what a hostile text would have become."""

    def __init__(self) -> None:
        super().__init__()
        self.forbidden: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "script" and not (given.get("src") or "").startswith(assets.PREFIX):
            self.forbidden.append("a script within the page")
        for name in given:
            if name == "style" or name.startswith(("on", "hx-on")):
                self.forbidden.append(f"<{tag} {name}>")
        if given.get("src") == "x":
            self.forbidden.append("a hostile picture")


def check_page(body: bytes) -> None:
    inspector = Inspector()
    inspector.feed(body.decode())
    assert inspector.forbidden == []


@pytest.mark.parametrize(
    "path", ["/ui/", "/ui/login", "/ui/open", "/ui/organizations", "/ui/nothing", "/ui/static/0/x"]
)
def test_every_answer_carries_the_policy_and_its_companions(
    run: Run, operator: Browser, path: str
) -> None:
    answer = run(operator.get(path))
    given = dict(
        part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";")
    )
    assert given == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert "camera=()" in answer.headers["permissions-policy"]
    assert answer.headers["cache-control"] == "no-store"
    check_page(answer.body)


def test_hostile_text_is_shown_as_it_is_in_every_view(
    run: Run, service: Service, operator: Browser
) -> None:
    (organization,) = service.app.directory.organizations()
    body = {
        "type": "hostile.one",
        "payload": {HOSTILE: HOSTILE},
        "source": HOSTILE,
        "key": HOSTILE,
        "dedup_id": HOSTILE,
        "metadata": {"note": HOSTILE},
    }
    subscription = {
        "url": "http://127.0.0.1:9/" + "%22%3E%3Cscript%3E",
        "event_types": ["hostile.*"],
        "description": HOSTILE,
    }
    assert run(service.call("POST", "/api/subscriptions", subscription)).status == 201
    sent = run(service.call("POST", "/api/events", body)).json
    run(service.drain())
    (delivery,) = run(service.call("GET", "/api/deliveries")).json["data"]
    ids = {"event_id": sent["id"], "delivery_id": delivery["id"], "number": "1"}
    shown = 0
    for view in VIEWS:
        for pattern in view.pages:
            names = re.findall(r"\{(\w+)\}", pattern)
            if pattern == "tail" or not set(names) <= set(ids):
                continue
            rest = pattern.format(**{name: ids[name] for name in names})
            path = f"/ui/org/{organization.id}/{view.name}/{rest}".replace("//", "/").rstrip("/")
            answer = run(operator.get(path if view.name or rest else path + "/"))
            assert answer.status in {200, 404}, (path, answer)
            if answer.headers["content-type"].startswith("text/html"):
                check_page(answer.body)
                shown += html.escape(HOSTILE, quote=False).encode() in answer.body or (
                    b"&lt;script&gt;alert(1)&lt;/script&gt;" in answer.body
                )
    assert shown >= 4


def test_a_search_is_shown_as_it_was_typed(run: Run, operator: Browser, service: Service) -> None:
    (organization,) = service.app.directory.organizations()
    answer = run(operator.get(f"/ui/org/{organization.id}/events?q=%22%3E%3Cscript%3Ealert(1)"))
    assert answer.status == 200
    check_page(answer.body)
    assert b"&#34;&gt;&lt;script&gt;alert(1)" in answer.body


def test_a_payload_is_downloaded_byte_for_byte_and_never_shown_as_a_page(
    run: Run, operator: Browser, service: Service
) -> None:
    (organization,) = service.app.directory.organizations()
    payload = b'{"n": 1.0e400, "a":1, "a":2, "html": "<script>"}'
    body = b'{"type":"raw.one","payload":%b}' % payload
    sent = run(service.call("POST", "/api/events", body)).json
    answer = run(operator.get(f"/ui/org/{organization.id}/events/{sent['id']}/payload"))
    assert answer.body == payload
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment; ")


def test_a_large_payload_is_shown_in_part(run: Run, operator: Browser, service: Service) -> None:
    (organization,) = service.app.directory.organizations()
    sent = run(service.send("large.one", {"text": "x" * 700_000, "list": list(range(5000))})).json
    answer = run(operator.get(f"/ui/org/{organization.id}/events/{sent['id']}"))
    assert answer.status == 200
    assert len(answer.body) < 400_000
    assert b"Only the beginning is shown" in answer.body


# ── files ─────────────────────────────────────────────────────────────────────────────────────────


def test_files_are_kept_for_ever_under_names_that_change_with_them(
    run: Run, browser: Browser
) -> None:
    for name in ("page.css", "page.js", "htmx.js", "uplot.js", "uplot.css", "icon.svg"):
        answer = run(browser.get(assets.path_of(name)))
        assert answer.status == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert hashlib.sha256(answer.body).hexdigest()[:12] in assets.path_of(name)
    assert run(browser.get("/ui/static/000000000000/page.css")).status == 404
    assert run(browser.get("/ui/static/x%2f..%2fpage.py")).status == 404


def test_what_others_wrote_is_as_they_published_it() -> None:
    folder = resources.files("triggers_api.web") / "static" / "vendor"
    text = (folder / "VENDORED.md").read_text()
    listed = re.findall(r"^\| `([^`]+)` .*`([0-9a-f]{64})` \|$", text, re.MULTILINE)
    assert {name for name, _ in listed} == {
        each.name for each in folder.iterdir() if each.name.endswith((".js", ".css"))
    }
    for name, digest in listed:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


# ── acts ──────────────────────────────────────────────────────────────────────────────────────────


def test_every_button_is_a_documented_call(service: Service) -> None:
    documented = {
        (method.upper(), re.sub(r"\{\w+\}", "{}", path))
        for path, item in service.app.asgi.openapi["paths"].items()
        for method in item
    }
    names = [action.name for view in VIEWS for action in view.actions]
    assert len(names) == len(set(names))
    for view in VIEWS:
        for action in view.actions:
            assert (action.method, re.sub(r"\{\w+\}", "{}", action.route)) in documented, (
                action.name
            )


def test_what_is_not_there_is_said_on_a_page_from_which_one_goes_on(
    run: Run, operator: Browser, member: Browser, browser: Browser, service: Service
) -> None:
    of = f"/ui/org/{run(own_organization(service))}"
    nothing = "0" * 32
    for who, path in (
        (operator, f"{of}/events/evt_{nothing}"), (operator, f"{of}/deliveries/dlv_{nothing}/curl/1"),
        (operator, f"/ui/org/org_{nothing}/events"), (operator, f"{of}/nowhere"),
        (operator, "/ui/events"),
        (member, f"/ui/events/evt_{nothing}"), (member, of), (member, "/ui/operations"),
    ):  # fmt: skip
        answer = run(who.get(path))
        assert (answer.status, b"There is no such" in answer.body) == (404, True), path
        assert b'<nav aria-label="Views">' in answer.body, path
        assert b"req_" in answer.body, path
    assert run(browser.get(f"/ui/events/evt_{nothing}")).status == 303


def test_what_cannot_be_undone_asks_first_also_without_javascript(
    run: Run, operator: Browser, service: Service
) -> None:
    (organization,) = service.app.directory.organizations()
    sent = run(service.send("delete.me")).json
    path = f"/ui/org/{organization.id}/do/delete-event"
    answer = run(operator.post(path, event_id=sent["id"]))
    assert (answer.status, b"this one event is erased" in answer.body) == (200, True)
    assert run(service.call("GET", f"/api/events/{sent['id']}")).status == 200
    answer = run(operator.post(path, event_id=sent["id"], confirmed="yes"))
    assert (answer.status, answer.headers["location"]) == (
        303, f"/ui/org/{organization.id}/events?done=delete-event",
    )  # fmt: skip
    assert run(service.call("GET", f"/api/events/{sent['id']}")).status == 404


def test_a_button_shows_its_curl_and_does_nothing(
    run: Run, operator: Browser, service: Service
) -> None:
    (organization,) = service.app.directory.organizations()
    sent = run(service.send("shown.only")).json
    answer = run(
        operator.post(
            f"/ui/org/{organization.id}/do/delete-event",
            event_id=sent["id"], confirmed="yes", preview="yes",
        )
    )  # fmt: skip
    text = html.unescape(answer.body.decode())
    assert f"curl -X DELETE {service.url}/api/events/{sent['id']}" in text
    assert '-H "Authorization: Bearer $TRIGGERS_API_KEY"' in text
    assert run(service.call("GET", f"/api/events/{sent['id']}")).status == 200


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "/api/x", "/ui\\x"])
def test_nobody_is_sent_elsewhere(
    run: Run, operator: Browser, service: Service, target: str
) -> None:
    (organization,) = service.app.directory.organizations()
    sent = run(service.send("go.on")).json
    base = f"/ui/org/{organization.id}"
    run(service.drain())
    answer = run(operator.post(f"{base}/do/replay-event", event_id=sent["id"], return_to=target))
    assert answer.headers["location"] == f"{base}/?done=replay-event"
    answer = run(operator.post("/ui/login", key="trg_test_operator_0123456789", next=target))
    assert answer.headers["location"] == "/ui/"


def test_who_acted_at_the_page_is_in_the_audit_log(
    run: Run, operator: Browser, service: Service
) -> None:
    (organization,) = service.app.directory.organizations()
    sent = run(service.send("audited.one")).json
    path = f"/ui/org/{organization.id}/do/delete-event"
    run(operator.post(path, event_id=sent["id"], confirmed="yes"))
    entry = run(service.call("GET", f"/api/audit?resource={sent['id']}", key=ADMIN_KEY)).json[
        "data"
    ][0]
    assert entry["action"] == "event.deleted"
    assert entry["actor"]["type"] == "operator"
    assert entry["actor"]["address"] == "127.0.0.1"


# ── as it comes in ────────────────────────────────────────────────────────────────────────────────


def test_the_live_view_sends_rows_behind_the_one_seen_last(
    run: Run, operator: Browser, service: Service
) -> None:
    (organization,) = service.app.directory.organizations()
    seen = run(service.send("tail.seen")).json
    missed = run(service.send("tail.missed", "<b>")).json
    run(service.send("other.type"))
    path = f"/ui/org/{organization.id}/events/tail?type=tail.*&after={seen['id']}"
    text = run(operator.read(path, until=b"</tr>"))
    assert f"id: {missed['id']}" in text
    assert seen["id"] not in text
    assert "&lt;b&gt;" in text


def test_live_views_of_an_organization_are_counted_with_its_other_readers_and_keep_no_operator_out(
    run: Run, enter: Enter, make_service: MakeService
) -> None:
    service = enter(make_service(max_streams=1))
    (organization,) = service.app.directory.organizations()
    member, operator = enter(browsing(service)), enter(browsing(service))
    run(member.log_in(API_KEY))
    run(operator.log_in(ADMIN_KEY))
    path = f"/ui/org/{organization.id}/events/tail"

    async def one_alone() -> None:
        async with member.stream("/ui/events/tail"):
            assert (await member.get("/ui/events/tail")).status == 429
            answer = await service.call("GET", "/api/events/stream")
            assert (answer.status, answer.json["code"]) == (429, "rate-limited")
            async with operator.stream(path):
                pass

    run(one_alone())


def test_the_live_view_ends_with_its_session(run: Run, operator: Browser, service: Service) -> None:
    (organization,) = service.app.directory.organizations()
    path = f"/ui/org/{organization.id}/events/tail"

    async def ends() -> bytes:
        async with operator.stream(path) as stream:
            await stream.content.readany()
            assert (await operator.post("/ui/logout")).status == 303
            rest: bytes = await stream.content.read()
            return rest

    run(ends())


# ── without the page ──────────────────────────────────────────────────────────────────────────────


def test_it_can_be_switched_off(run: Run, enter: Enter, make_service: MakeService) -> None:
    service = enter(make_service(ui="off"))
    browser = enter(browsing(service))
    assert run(browser.get("/ui/")).status == 404
    assert b"<h1>Triggers API</h1>" in run(browser.get("/")).body
    answer = run(service.call("POST", "/api/portal-links"))
    assert (answer.status, answer.json["code"]) == (409, "invalid-state")


# ── how things are written ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        (relative(-1), "now"), (relative(-30), "30 s ago"), (relative(-90), "2 min ago"),
        (relative(7200), "in 2 h"), (relative(-200_000), "2 d ago"),
        (percent(0.9999), "99.99%"), (percent(0.99999), "99.99%"), (percent(1.0), "100%"),
        (percent(None), "\u2013"), (percent(0.5), "50.0%"),
        (compact(1_234), "1,234"), (compact(12_345), "12.3k"), (compact(1e6), "1.0M"),
        (compact(0.5), "0.50"), (seconds(0.25), "250 ms"), (seconds(90), "90 s"),
    ],
)  # fmt: skip
def test_numbers_are_short_and_never_better_than_they_are(shown: str, wanted: str) -> None:
    assert shown == wanted


@pytest.mark.parametrize("value", [{"a": [1, None, True, "<b>"]}, "<b>", 'a "quoted" \\ text', {}])
def test_json_in_colour_is_the_same_text(value: Any) -> None:  # noqa: ANN401
    text = re.sub(r"<[^>]*>", "", highlighted(value))
    plain = value if isinstance(value, str) else None
    assert "<b>" not in highlighted(value)
    if plain is not None:
        assert html.unescape(text) == plain
