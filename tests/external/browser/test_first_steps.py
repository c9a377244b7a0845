"""From the printed link to a delivered event, and what moves by itself."""

from __future__ import annotations

from playwright.sync_api import Page, Route, expect
from tests.cli.conftest import KEY, Endpoint, Serving
from tests.conftest import ENGINES
from tests.external.browser.conftest import (
    Trouble,
    Visit,
    first_organization,
    link_of,
    log_in,
)

__all__ = ["ENGINES"]

SETTINGS = {"TRIGGERS_ALLOW_CIDRS": "127.0.0.0/8", "TRIGGERS_RETRY_SCHEDULE": "0.1"}


def send(serving: Serving, event_type: str, **fields: object) -> str:
    body = {"type": event_type, "payload": {"id": 42}, **fields}
    status, event = serving.call("POST", "/api/events", KEY, body)
    assert status == 202
    identifier: str = event["id"]
    return identifier


def of_organization(serving: Serving, path: str = "") -> str:
    return f"{serving.url}/ui/org/{first_organization(serving)}/{path}"


def operator(serving: Serving, visit: Visit, path: str) -> Page:
    page = log_in(visit(f"{serving.url}/ui/login"))
    page.goto(of_organization(serving, path))
    return page


def test_the_printed_link_opens_the_overview_once(
    serving: Serving, visit: Visit, trouble: Trouble
) -> None:
    link = link_of(serving)
    page = visit(link)
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    assert page.url == f"{serving.url}/ui/"
    expect(page.locator("#chart-flow canvas")).to_be_visible()
    again = visit(link)
    expect(again.get_by_role("alert")).to_contain_text("The link was used")
    trouble.expected(again, "401")


def test_an_event_is_seen_as_it_comes_in_and_its_delivery_with_it(
    serving: Serving, visit: Visit, endpoint: Endpoint
) -> None:
    body = {"url": endpoint.url, "event_types": ["seen.*"], "description": "The warehouse"}
    assert serving.call("POST", "/api/subscriptions", KEY, body)[0] == 201
    send(serving, "before.it")
    page = operator(serving, visit, "events")
    expect(page.locator("tr[data-row]").first).to_contain_text("before.it")
    event_id = send(serving, "seen.live", payload={"note": "<b>bold</b>"})
    row = page.locator(f"tr[data-row='{event_id}']")
    expect(row).to_contain_text("seen.live")
    row.get_by_role("link").click()
    drawer = page.locator("#drawer")
    expect(drawer.get_by_role("heading", name="seen.live")).to_be_visible()
    expect(drawer.locator("pre.json")).to_contain_text('"note": "<b>bold</b>"')
    expect(drawer.locator(".verdicts")).to_contain_text("succeeded")
    drawer.get_by_role("link", name="The warehouse").click()
    expect(drawer.locator(".attempts li")).to_have_count(1)
    expect(drawer.locator(".attempts")).to_contain_text("204")
    page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    assert endpoint.ids == [event_id]


def test_what_is_paused_does_not_move_and_goes_on_where_it_was(
    serving: Serving, visit: Visit
) -> None:
    send(serving, "pause.before")
    page = operator(serving, visit, "events")
    expect(page.locator("tr[data-row]").first).to_contain_text("pause.before")
    page.keyboard.press("p")
    expect(page.get_by_role("button", name="Paused")).to_be_visible()
    with page.expect_request(lambda request: "/events/tail" in request.url) as asked:
        missed = send(serving, "pause.missed")
        page.wait_for_function("performance.now() > 0")
        expect(page.locator(f"tr[data-row='{missed}']")).to_have_count(0)
        page.keyboard.press("p")
    assert "after=evt_" in asked.value.url
    expect(page.locator(f"tr[data-row='{missed}']")).to_be_visible()


def test_a_dead_delivery_is_retried_from_its_drawer(
    serving: Serving, visit: Visit, endpoint: Endpoint
) -> None:
    endpoint.status = 500
    body = {"url": endpoint.url, "event_types": ["dead.*"], "description": "The bookkeeper"}
    assert serving.call("POST", "/api/subscriptions", KEY, body)[0] == 201
    send(serving, "dead.once")
    page = operator(serving, visit, "deliveries")
    page.get_by_role("link", name="dead", exact=True).click()
    page.wait_for_url("**/deliveries?status=dead")
    page.reload()
    row = page.locator("tr[data-row]", has_text="dead.once")
    expect(row).to_contain_text("dead")
    endpoint.status = 204
    row.get_by_role("link").click()
    drawer = page.locator("#drawer")
    drawer.get_by_role("link", name="as a call of the API").click()
    dialog = page.get_by_role("dialog")
    dialog.locator("summary").click()
    expect(dialog.locator("pre")).to_contain_text("curl -X POST")
    expect(dialog.locator("pre")).to_contain_text("$TRIGGERS_API_KEY")
    dialog.get_by_role("link", name="Leave it").click()
    drawer.get_by_role("button", name="Retry now").click()
    expect(page.locator("#notices")).to_contain_text("on its way again")
    expect(drawer.locator(".facts")).to_contain_text("succeeded")
    expect(drawer.locator(".attempts > li")).to_have_count(3)


def test_keys_walk_through_the_rows_and_search(serving: Serving, visit: Visit) -> None:
    older, newer = send(serving, "keys.older"), send(serving, "keys.newer")
    page = operator(serving, visit, "events?type=keys.*")
    expect(page.locator("tr[data-row]")).to_have_count(2)
    page.keyboard.press("j")
    expect(page.locator("tr.here")).to_have_attribute("data-row", newer)
    page.keyboard.press("j")
    expect(page.locator("tr.here")).to_have_attribute("data-row", older)
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    expect(page.locator("#drawer h1")).to_have_text("keys.newer")
    page.keyboard.press("j")
    expect(page.locator("#drawer h1")).to_have_text("keys.older")
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("payload.id=42")
    page.keyboard.press("Enter")
    page.wait_for_url("**q=payload.id*")
    expect(page.locator("tr[data-row]").first).to_be_visible()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()


def test_what_somebody_types_is_not_lost_to_a_refresh_that_was_under_way(
    serving: Serving, visit: Visit
) -> None:
    send(serving, "typed.beside")
    page = operator(serving, visit, "events?type=typed.*")
    held: list[Route] = []

    def hold(route: Route) -> None:
        if "x-refresh" in route.request.headers:
            held.append(route)
        else:
            route.continue_()

    page.route("**/events?type=typed.*", hold)
    with page.expect_request(lambda request: "x-refresh" in request.headers):
        pass  # it comes by itself
    page.keyboard.press("/")
    page.keyboard.type("payload.id=42")
    search = page.locator("[data-search]")
    expect(search).to_have_value("payload.id=42")
    with page.expect_response(lambda answer: "x-refresh" in answer.request.headers) as answered:
        held[0].continue_()
    answered.value.finished()
    page.evaluate("new Promise((done) => setTimeout(done, 0))")
    expect(search).to_have_value("payload.id=42")
    expect(search).to_be_focused()


def test_without_javascript_everything_can_be_read(serving: Serving, visit: Visit) -> None:
    event_id = send(serving, "plain.html")
    page = visit(f"{serving.url}/ui/login", java_script_enabled=False)
    log_in(page)
    page.goto(of_organization(serving, "events"))
    page.get_by_placeholder("Type, order.*").fill("plain.*")
    page.get_by_role("button", name="Search").click()
    page.wait_for_url("**/events?*type=plain.*")
    page.get_by_role("link", name="plain.html").click()
    page.wait_for_url(of_organization(serving, f"events/{event_id}"))
    expect(page.locator("pre.json")).to_contain_text('"id": 42')
    page.get_by_role("link", name="Replay…").click()
    expect(page.get_by_role("button", name="Replay")).to_be_visible()


def test_the_colours_follow_the_system_until_somebody_chooses(
    serving: Serving, visit: Visit
) -> None:
    page = log_in(visit(f"{serving.url}/ui/login", color_scheme="dark"))

    def paper() -> str:
        colour: str = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        return colour

    assert paper() == "rgb(20, 22, 19)"
    switch = page.locator("[data-theme-switch]")
    switch.click()
    assert paper() == "rgb(251, 251, 249)"
    page.reload()
    assert paper() == "rgb(251, 251, 249)"
    expect(switch).to_contain_text("Light")


def test_a_hidden_tab_asks_for_nothing(serving: Serving, visit: Visit) -> None:
    send(serving, "hidden.tab")
    page = log_in(visit(f"{serving.url}/ui/login"))
    page.clock.install()
    page.goto(of_organization(serving, "events"))
    expect(page.locator("tr[data-row]").first).to_be_visible()
    with page.expect_request(lambda request: "x-refresh" in request.headers):
        page.clock.run_for(10_000)
    asked: list[str] = []
    page.evaluate(
        """() => {
            Object.defineProperty(document, "hidden", { value: true, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )
    page.on("request", lambda request: asked.append(request.url))
    # The page looks every second, and refreshes every five.
    page.clock.run_for(60_000)
    assert asked == []


def test_a_portal_shows_its_own_events_in_its_own_colours(serving: Serving, visit: Visit) -> None:
    status, made = serving.call(
        "POST", "/api/admin/organizations", "a-key-of-the-operator", {"name": "another"}
    )
    assert status == 201
    body = {"type": "of.another", "payload": {}}
    assert serving.call("POST", "/api/events", made["api_key"], body)[0] == 202
    mine = send(serving, "of.mine")
    look = {"mode": "dark", "accent": "#ff8800", "name": "Acme webhooks"}
    status, link = serving.call(
        "POST", "/api/portal-links", KEY, {"theme": look, "read_only": True}
    )
    assert status == 201
    page = visit(link["url"])
    page.wait_for_url("**/ui/portal/")
    expect(page.locator(".brand")).to_contain_text("Acme webhooks")
    accent = "getComputedStyle(document.documentElement).getPropertyValue('--accent').trim()"
    assert page.evaluate(accent) == "#ff8800"
    page.get_by_role("link", name="Events", exact=True).click()
    page.wait_for_url("**/ui/portal/events")
    expect(page.locator(f"tr[data-row='{mine}']")).to_be_visible()
    expect(page.get_by_text("of.another")).to_have_count(0)
    page.locator(f"tr[data-row='{mine}'] a").click()
    expect(page.locator("#drawer h1")).to_have_text("of.mine")
    expect(page.locator("#drawer").get_by_role("link", name="Replay…")).to_have_count(0)
    page.goto(f"{serving.url}/ui/events")
    expect(page.get_by_label("Key")).to_be_visible()
