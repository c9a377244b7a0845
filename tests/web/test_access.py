"""Who comes in, and what a request must show before it changes anything."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.conftest import Run, own_organization
from tests.web.conftest import Browser

from triggers_api.testing import ADMIN_KEY, API_KEY, Service


def test_the_first_address_leads_browsers_to_the_page_and_shows_others_the_reference(
    run: Run, browser: Browser
) -> None:
    answer = run(browser.get("/"))
    assert (answer.status, answer.headers["location"]) == (303, "/ui/")
    for accept in ("*/*", "application/json", ""):
        answer = run(browser.get("/", Accept=accept))
        assert answer.status == 200
        assert b"<h1>Triggers API</h1>" in answer.body


@pytest.mark.parametrize("path", ["/ui/", "/ui/organizations", "/ui/nothing", "/ui/do/nothing"])
def test_without_a_session_everything_leads_to_the_key(
    run: Run, browser: Browser, path: str
) -> None:
    answer = run(browser.get(path))
    assert (answer.status, answer.headers["location"]) == (303, f"/ui/login?next={path}")


def test_a_wrong_key_is_told_so_and_gets_no_session(run: Run, browser: Browser) -> None:
    answer = run(browser.post("/ui/login", key="trg_nobody_has_this_key"))
    assert answer.status == 401
    assert b"That is no key of this service" in answer.body
    assert browser.cookies == {}


@pytest.mark.parametrize("key", [API_KEY, ADMIN_KEY])
def test_a_key_opens_the_page_and_is_not_in_the_cookie(
    run: Run, browser: Browser, key: str
) -> None:
    run(browser.log_in(key))
    (cookie,) = browser.cookies.values()
    assert key not in cookie


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "null"},
        {"Origin": "https://elsewhere.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
def test_what_does_not_come_from_the_page_changes_nothing(
    run: Run, operator: Browser, headers: dict[str, str]
) -> None:
    answer = run(operator.ask("POST", "/ui/logout", form={"csrf": operator.csrf}, headers=headers))
    assert answer.status == 403
    assert run(operator.get("/ui/")).status == 200


@pytest.mark.parametrize("word", ["", "0" * 32])
def test_a_form_without_the_sessions_word_changes_nothing(
    run: Run, operator: Browser, word: str
) -> None:
    answer = run(operator.post("/ui/logout", csrf=word))
    assert answer.status == 403
    assert run(operator.get("/ui/")).status == 200


def test_after_logging_out_the_old_cookie_is_good_for_nothing(run: Run, operator: Browser) -> None:
    kept = dict(operator.cookies)
    assert run(operator.post("/ui/logout")).status == 303
    assert operator.cookies == {}
    operator.cookies = kept
    assert run(operator.get("/ui/")).status == 303


def test_logging_in_begins_another_session_whatever_cookie_was_there(
    run: Run, operator: Browser
) -> None:
    before, word = dict(operator.cookies), operator.csrf
    run(operator.log_in(ADMIN_KEY))
    assert operator.cookies.keys() == before.keys()
    assert operator.cookies != before
    assert operator.csrf != word
    refused = run(operator.post("/ui/logout", csrf=word))
    assert refused.status == 403


def test_what_was_signed_for_one_thing_opens_no_other(
    run: Run, service: Service, operator: Browser, new_browser: Callable[[], Browser]
) -> None:
    link = run(service.call("POST", "/api/portal-links")).json["url"]
    token = link.partition("#")[2]
    ((name, session),) = operator.cookies.items()
    stranger = new_browser()
    for place in (name, name.replace("triggers", "triggers-portal")):
        for value in (token, session):
            stranger.cookies = {place: value}
            if (place, value) != (name, session):
                assert run(stranger.get("/ui/")).status == 303
                assert run(stranger.get("/ui/portal/")).status == 401
    stranger.cookies = {}
    for path in ("/ui/open", "/ui/portal/open"):
        assert run(stranger.post(path, token=session)).status == 401
    assert run(stranger.post("/ui/open", token=token)).status == 401
    assert run(stranger.post("/ui/login", key=token)).status == 401


def test_an_operator_who_looks_at_one_organization_still_finds_the_switches(
    run: Run, operator: Browser, member: Browser, service: Service
) -> None:
    within = run(operator.get(f"/ui/org/{run(own_organization(service))}/events"))
    assert b'href="/ui/operations"' in within.body
    assert b'href="/ui/organizations"' in within.body
    assert b"operations" not in run(member.get("/ui/events")).body
