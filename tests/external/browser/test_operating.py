"""A subscription, a dead letter, a switch: run by somebody at the page."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect
from tests.cli.conftest import KEY, Endpoint, Serving
from tests.conftest import ENGINES
from tests.external.browser.conftest import (
    OPERATOR_KEY,
    Visit,
    arrived,
    died,
    first_organization,
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


def operator(serving: Serving, visit: Visit, path: str, *, of_all: bool = False) -> Page:
    page = log_in(visit(f"{serving.url}/ui/login"))
    whose = "" if of_all else f"org/{first_organization(serving)}/"
    page.goto(f"{serving.url}/ui/{whose}{path}")
    return page


def test_a_subscription_with_a_filter_is_made_and_gets_what_it_matches(
    serving: Serving, visit: Visit, endpoint: Endpoint
) -> None:
    for total in (50, 150):
        send(serving, "made.order", payload={"total": total})
    page = operator(serving, visit, "subscriptions")
    page.get_by_role("link", name="New subscription…").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("URL").fill(endpoint.url)
    dialog.get_by_label("Event types").fill("made.*")
    dialog.get_by_label("Description").fill("The warehouse")
    tried = dialog.locator("#filter-check")
    expect(tried).to_contain_text("2 would come")
    dialog.get_by_label("Filter").fill("payload.total >")
    expect(tried).to_contain_text("Line 1, column")
    dialog.get_by_label("Filter").fill("payload.total > 100")
    expect(tried).to_contain_text("1 would come")
    expect(tried).to_contain_text("1 would not")
    dialog.locator("summary", has_text="As a call of the API").click()
    expect(dialog.locator(".curl-slot pre")).to_contain_text('"payload.total > 100"')
    dialog.get_by_role("button", name="New subscription").click()
    expect(dialog.locator("#secret")).to_contain_text("whsec_")
    dialog.get_by_role("link", name="Done").click()
    row = page.locator("tr[data-row]", has_text="The warehouse")
    expect(row).to_contain_text("active")
    expect(page.locator("body")).not_to_contain_text("whsec_")
    send(serving, "made.order", payload={"total": 7})
    matched = send(serving, "made.order", payload={"total": 700})
    arrived(endpoint, 1)
    assert endpoint.ids == [matched]
    row.get_by_role("link").first.click()
    drawer = page.locator("#drawer")
    drawer.get_by_role("button", name="Pause").click()
    expect(page.locator("#notices")).to_contain_text("Paused")
    expect(drawer.locator("h1 ~ *", has_text="paused")).to_be_visible()


def test_a_group_of_dead_letters_is_replayed_as_a_job(
    serving: Serving, visit: Visit, endpoint: Endpoint
) -> None:
    endpoint.status = 500
    body = {
        "url": endpoint.url, "event_types": ["gone.*"], "description": "The clerk", "retry_schedule": [],
    }  # fmt: skip
    status, made = serving.call("POST", "/api/subscriptions", KEY, body)
    assert status == 201
    for _ in range(3):
        send(serving, "gone.wrong")
    died(serving, made["id"], 3)
    page = operator(serving, visit, "dead-letters")
    group = page.locator("tbody", has_text="The clerk").locator("tr[data-row]")
    expect(group).to_contain_text("500")
    expect(group).to_contain_text("3")
    endpoint.status = 204
    group.get_by_role("link", name="Replay…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("3 dead letters of The clerk that died of 500")
    dialog.get_by_role("button", name="Replay (3)").click()
    page.wait_for_url(re.compile("/dead-letters/jobs/job_"))
    expect(page.locator("main")).to_contain_text("3 of 3")
    arrived(endpoint, 6)
    page.goto(f"{serving.url}/ui/org/{first_organization(serving)}/dead-letters")
    page.locator("tbody", has_text="The clerk").locator("tr[data-row] a").first.click()
    boxes = page.locator("input[name='ids']")
    expect(boxes).to_have_count(3)
    boxes.nth(0).check()
    boxes.nth(2).check()
    page.get_by_role("button", name="Delete what is ticked…").click()
    expect(dialog).to_contain_text("2 chosen dead letters are deleted")
    dialog.get_by_role("button", name="Delete (2)").click()
    page.wait_for_url(re.compile("/dead-letters/jobs/job_"))
    expect(page.locator("main")).to_contain_text("2 of 2")


def test_a_switch_is_turned_with_a_reason_and_everybody_sees_it(
    serving: Serving, visit: Visit
) -> None:
    page = operator(serving, visit, "operations", of_all=True)
    row = page.locator("tr[data-row='delivery']")
    expect(row).to_contain_text("running")
    row.get_by_role("link", name="Turn…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Delivery").select_option("paused")
    dialog.get_by_label("Why").fill("The partner moves house")
    dialog.get_by_label("For how long").select_option("for an hour")
    dialog.get_by_role("button", name="Turn").click()
    expect(page.locator("#notices")).to_contain_text("Turned")
    expect(row).to_contain_text("paused")
    expect(row).to_contain_text("The partner moves house")
    expect(row.locator("time").last).to_contain_text(re.compile(r"in (60 min|1 h)"))
    page.reload()
    expect(page.locator(".banner").first).to_contain_text("The partner moves house")
    status, controls = serving.call("GET", "/api/admin/controls", OPERATOR_KEY)
    assert (status, controls["delivery"], controls["reason"]) == (
        200, "paused", "The partner moves house",
    )  # fmt: skip
    serving.call("PATCH", "/api/admin/controls", OPERATOR_KEY, {"delivery": "running"})


def test_an_event_is_sent_from_its_example(serving: Serving, visit: Visit) -> None:
    described = {"example": {"id": 12345678901234567890}, "description": "Somebody bought"}
    assert serving.call("PUT", "/api/event-types/kept.exactly", KEY, described)[0] in {200, 201}
    page = operator(serving, visit, "event-types")
    page.get_by_role("link", name="kept.exactly").click()
    page.locator("#drawer").get_by_role("link", name="Send one…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Payload")).to_have_value(re.compile("12345678901234567890"))
    dialog.get_by_role("button", name="Send an event").click()
    page.wait_for_url(re.compile("/events/evt_"))
    expect(page.locator("pre.json")).to_contain_text("12345678901234567890")
