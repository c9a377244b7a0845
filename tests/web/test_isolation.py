"""An organization sees nothing of another's at the page, nor does a portal; whatever the view."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
from tests.conftest import Enter, MakeService, Run
from tests.web.conftest import Browser, browsing

from triggers_api.model.organization import Scope
from triggers_api.testing import ADMIN_KEY, Service
from triggers_api.web.actions import Action
from triggers_api.web.views import VIEWS

CANARY = "canary-of-the-other"


class Other(NamedTuple):
    """An organization with something of each kind, and its ids."""

    key: str
    ids: dict[str, str]


@pytest.fixture(scope="module")
def other(run: Run, service: Service) -> Other:
    async def call(method: str, path: str, body: Any = None, key: str = ADMIN_KEY) -> Any:  # noqa: ANN401
        answer = await service.call(method, path, body, key=key)
        assert answer.status < 300, answer
        return answer.json

    made = run(call("POST", "/api/admin/organizations", {"name": CANARY}))
    key = made["api_key"]
    subscription = {
        "url": f"http://127.0.0.1:9/{CANARY}",
        "event_types": ["*"],
        "description": CANARY,
    }
    subscribed = run(call("POST", "/api/subscriptions", subscription, key))
    event = {"type": f"{CANARY}.made", "payload": {"note": CANARY}, "source": CANARY}
    sent = run(call("POST", "/api/events", event, key))
    run(service.drain())
    (delivery,) = run(call("GET", "/api/deliveries", key=key))["data"]
    return Other(
        key,
        {
            "organization_id": made["id"],
            "subscription_id": subscribed["id"],
            "event_id": sent["id"],
            "delivery_id": delivery["id"],
        },
    )


def addresses(ids: dict[str, str]) -> Iterator[str]:
    """Each page of each view, with these ids; what is called otherwise gets the event's."""
    for view in VIEWS:
        for pattern in view.pages:
            if pattern == "tail":
                continue
            filled = re.sub(r"\{(\w+)\}", lambda name: ids.get(name[1], ids["event_id"]), pattern)
            yield "/".join(part for part in (view.name, filled) if part)


@pytest.fixture
def portal(
    run: Run, service: Service, new_browser: Callable[[], Browser]
) -> Callable[..., Browser]:
    """Somebody at the portal of the first organization."""

    def portal(**asked: object) -> Browser:
        link = run(service.call("POST", "/api/portal-links", asked))
        assert link.status == 201, link
        path, _, token = link.json["url"].removeprefix(service.url).partition("#")
        assert path == "/ui/portal/open"
        browser = new_browser()
        answer = run(browser.post(path, token=token))
        assert (answer.status, answer.headers["location"]) == (303, "/ui/portal/")
        assert run(browser.get("/ui/portal/")).status == 200
        return browser

    return portal


def looked_at(run: Run, browser: Browser, base: str, ids: dict[str, str]) -> Iterator[bytes]:
    for address in addresses(ids):
        for headers in ({}, {"HX_Request": "true", "HX_Target": "drawer"}):
            answer = run(browser.get(f"{base}/{address}", **headers))
            assert answer.status < 500, (address, answer)
            if re.search(r"(evt|dlv|sub)_", address):
                assert answer.status in {303, 404}, (address, answer)
            yield answer.body


def test_a_member_sees_nothing_of_another_organization(
    run: Run, member: Browser, other: Other
) -> None:
    for body in looked_at(run, member, "/ui", other.ids):
        assert CANARY.encode() not in body
    answer = run(member.get(f"/ui/org/{other.ids['organization_id']}/events"))
    assert answer.status == 404
    assert run(member.get("/ui/organizations")).status == 404


def test_a_portal_sees_nothing_of_another_organization(
    run: Run, portal: Callable[..., Browser], other: Other
) -> None:
    browser = portal()
    for body in looked_at(run, browser, "/ui/portal", other.ids):
        assert CANARY.encode() not in body
    assert run(browser.get(f"/ui/portal/org/{other.ids['organization_id']}/events")).status == 404
    # Its session is good for nothing else.
    assert run(browser.get("/ui/")).status == 303
    browser.cookies = {name.replace("-portal", ""): each for name, each in browser.cookies.items()}
    assert run(browser.get("/ui/")).status == 303


def test_its_own_member_sees_it(run: Run, browser: Browser, other: Other) -> None:
    run(browser.log_in(other.key))
    for path in ("events", f"events/{other.ids['event_id']}", "deliveries"):
        answer = run(browser.get(f"/ui/{path}"))
        assert (answer.status, CANARY.encode() in answer.body) == (200, True), path


def acted(run: Run, browser: Browser, base: str, action: Action, ids: dict[str, str]) -> int:
    form = {name: ids.get(name, ids["event_id"]) for name in re.findall(r"\{(\w+)\}", action.route)}
    return run(browser.post(f"{base}/do/{action.name}", confirmed="yes", **form)).status


def with_ids(*, as_operator: bool) -> list[Action]:
    """What is done to something that has an id; names everybody has of their own."""
    return [
        action
        for view in VIEWS
        for action in view.actions
        if {*re.findall(r"\{(\w+)\}", action.route)} - {"name"}
        and action.as_operator is as_operator
    ]


@pytest.mark.parametrize("action", with_ids(as_operator=False), ids=lambda each: each.name)
def test_nobody_acts_on_what_is_anothers(
    run: Run,
    service: Service,
    member: Browser,
    portal: Callable[..., Browser],
    other: Other,
    action: Action,
) -> None:
    def standing() -> list[bytes]:
        paths = ("events", "deliveries", "subscriptions")
        return [run(service.call("GET", f"/api/{each}", key=other.key)).body for each in paths]

    before = standing()
    for browser, base in ((member, "/ui"), (portal(), "/ui/portal")):
        assert 400 <= acted(run, browser, base, action, other.ids) < 500
    assert standing() == before


def test_what_only_operators_do_no_member_does(run: Run, member: Browser, other: Other) -> None:
    for view in VIEWS:
        for action in view.actions:
            if action.as_operator:
                assert acted(run, member, "/ui", action, other.ids) == 404


# ── portals ───────────────────────────────────────────────────────────────────────────────────────


def test_a_portal_that_only_reads_has_no_buttons_and_does_nothing(
    run: Run, service: Service, portal: Callable[..., Browser]
) -> None:
    sent = run(service.send("portal.read", {"id": 1})).json
    run(service.drain())
    browser = portal(read_only=True)
    answer = run(browser.get(f"/ui/portal/events/{sent['id']}"))
    assert answer.status == 200
    assert b"/do/" not in answer.body
    for action in (each for view in VIEWS for each in view.actions if each.scope is Scope.MANAGE):
        assert acted(run, browser, "/ui/portal", action, {"event_id": sent["id"]}) in {403, 404}
    browser = portal()
    assert b"/ui/portal/do/replay-event" in run(browser.get(f"/ui/portal/events/{sent['id']}")).body


def test_a_portals_link_ends_in_time_and_with_its_key(
    run: Run,
    service: Service,
    new_browser: Callable[[], Browser],
    clock: Any,  # noqa: ANN401
) -> None:
    (*_, first) = service.app.directory.organizations()
    path = f"/api/admin/organizations/{first.id}/keys"
    made = run(service.call("POST", path, {"name": "embedding"}, key=ADMIN_KEY)).json
    asked = {"expires_in_s": 60}
    link = run(service.call("POST", "/api/portal-links", asked, key=made["key"])).json
    token = link["url"].partition("#")[2]
    browser = new_browser()
    run(browser.post("/ui/portal/open", token=token))
    assert run(browser.get("/ui/portal/")).status == 200
    clock.advance(seconds=60)
    assert run(browser.get("/ui/portal/")).status == 401
    assert run(browser.post("/ui/portal/open", token=token)).status == 401
    link = run(service.call("POST", "/api/portal-links", key=made["key"])).json
    token = link["url"].partition("#")[2]
    run(browser.post("/ui/portal/open", token=token))
    assert run(browser.get("/ui/portal/")).status == 200
    run(service.call("DELETE", f"{path}/{made['id']}", key=ADMIN_KEY))
    assert run(browser.get("/ui/portal/")).status == 401
    assert run(browser.post("/ui/portal/open", token=token)).status == 401


@pytest.mark.parametrize(
    ("asked", "pointer"),
    [
        ({"expires_in_s": 59}, "/expires_in_s"),
        ({"expires_in_s": 86_401}, "/expires_in_s"),
        ({"theme": {"mode": "pink"}}, "/theme/mode"),
        ({"theme": {"accent": "red;}"}}, "/theme/accent"),
        ({"theme": {"name": ""}}, "/theme/name"),
        ({"theme": {"font": "x"}}, "/theme"),
        ({"organization_id": "org_1"}, ""),
    ],
)
def test_a_link_that_cannot_be_is_refused_with_its_place(
    run: Run, service: Service, asked: dict[str, Any], pointer: str
) -> None:
    answer = run(service.call("POST", "/api/portal-links", asked))
    assert answer.status == 422
    assert answer.json["errors"][0]["pointer"].startswith(pointer)


def test_only_a_key_that_may_change_things_makes_links(run: Run, service: Service) -> None:
    (*_, first) = service.app.directory.organizations()
    path = f"/api/admin/organizations/{first.id}/keys"
    body = {"name": "reader", "scopes": ["read"]}
    reader = run(service.call("POST", path, body, key=ADMIN_KEY)).json["key"]
    for key in (reader, ADMIN_KEY):
        assert run(service.call("POST", "/api/portal-links", key=key)).status == 403


def test_a_portal_looks_as_its_link_says(run: Run, portal: Callable[..., Browser]) -> None:
    look = {"mode": "dark", "accent": "#AB12CD", "name": "Acme <b>"}
    body = run(portal(theme=look).get("/ui/portal/")).body.decode()
    assert 'data-theme="dark"' in body
    assert "/ui/accent/ab12cd.css" in body
    assert "Acme &lt;b&gt;" in body


def test_nobody_may_frame_the_page_and_a_portal_those_that_were_named(
    run: Run, browser: Browser
) -> None:
    for path in ("/ui/login", "/ui/portal/open"):
        answer = run(browser.get(path))
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["content-security-policy"].endswith("frame-ancestors 'none'")


def test_who_was_named_may_frame_a_portal_and_nothing_else(
    run: Run, enter: Enter, make_service: MakeService
) -> None:
    service = enter(
        make_service(public_url="https://hooks.example", portal_ancestors=("https://app.example",))
    )
    browser = enter(browsing(service))
    link = run(service.call("POST", "/api/portal-links")).json["url"]
    assert link.startswith("https://hooks.example/ui/portal/open#")
    headers = {"Origin": "https://hooks.example"}
    form = {"token": link.partition("#")[2]}
    answer = run(browser.ask("POST", "/ui/portal/open", form=form, headers=headers))
    assert answer.headers["set-cookie"].startswith("__Host-triggers-portal=")
    assert "SameSite=None; Partitioned; Secure" in answer.headers["set-cookie"]
    answer = run(browser.get("/ui/portal/"))
    assert answer.status == 200
    assert "frame-ancestors https://app.example" in answer.headers["content-security-policy"]
    assert "x-frame-options" not in answer.headers
    answer = run(browser.get("/ui/login"))
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
