"""How long a session lasts, and what ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import pytest
from tests.conftest import Enter, MakeService, Run
from tests.servers.ports import free_port
from tests.web.conftest import Browser, browsing

from triggers_api.testing import ADMIN_KEY, API_KEY, FrozenClock, Service
from triggers_api.web.sessions import ABSOLUTE_S, IDLE_S, LINK_LIFE_S


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def service(enter: Enter, make_service: MakeService, clock: FrozenClock) -> Service:
    """A service of the test's own: time passes in it. Its port may be had again."""
    return enter(make_service(clock=clock, port=free_port()))


def is_in(run: Run, browser: Browser, **headers: str) -> bool:
    status = run(browser.get("/ui/", **headers)).status
    assert status in {200, 303}
    return status == 200


def test_a_session_ends_when_nobody_does_anything_for_two_hours(
    run: Run, operator: Browser, clock: FrozenClock
) -> None:
    clock.advance(seconds=IDLE_S - 1)
    assert is_in(run, operator)
    clock.advance(seconds=IDLE_S - 1)
    assert is_in(run, operator)
    clock.advance(seconds=IDLE_S)
    assert not is_in(run, operator)


def test_what_the_page_asks_by_itself_keeps_no_session_alive(
    run: Run, operator: Browser, clock: FrozenClock
) -> None:
    clock.advance(seconds=IDLE_S / 2)
    answer = run(operator.get("/ui/", HX_Request="true", HX_Target="main", X_Refresh="yes"))
    assert answer.status == 200
    assert "set-cookie" not in answer.headers
    clock.advance(seconds=IDLE_S / 2)
    answer = run(operator.get("/ui/", HX_Request="true", HX_Target="main", X_Refresh="yes"))
    assert answer.headers["hx-redirect"].startswith("/ui/login")


def test_a_session_ends_after_a_day_however_busy_it_is(
    run: Run, operator: Browser, clock: FrozenClock
) -> None:
    for _ in range(ABSOLUTE_S // 3600 - 1):
        clock.advance(seconds=3600)
        assert is_in(run, operator)
    clock.advance(seconds=3600)
    assert not is_in(run, operator)


def test_a_session_ends_with_its_key(run: Run, service: Service, browser: Browser) -> None:
    (organization,) = service.app.directory.organizations()
    path = f"/api/admin/organizations/{organization.id}/keys"
    made = run(service.call("POST", path, {"name": "short"}, key=ADMIN_KEY)).json
    run(browser.log_in(made["key"]))
    run(service.call("DELETE", f"{path}/{made['id']}", key=ADMIN_KEY))
    assert not is_in(run, browser)


def test_a_key_that_may_not_read_opens_nothing(
    run: Run, service: Service, browser: Browser
) -> None:
    (organization,) = service.app.directory.organizations()
    path = f"/api/admin/organizations/{organization.id}/keys"
    body = {"name": "producer", "scopes": ["ingest"]}
    made = run(service.call("POST", path, body, key=ADMIN_KEY)).json
    assert run(browser.post("/ui/login", key=made["key"])).status == 401


def test_sessions_outlast_a_restart_and_those_that_ended_stay_ended(
    run: Run,
    service: Service,
    enter: Enter,
    make_service: MakeService,
    leave: Callable[[AbstractAsyncContextManager[object]], None],
    clock: FrozenClock,
) -> None:
    stays = enter(browsing(service))
    leaves = enter(browsing(service))
    for each in (stays, leaves):
        run(each.log_in(ADMIN_KEY))
    port = service.url.rpartition(":")[2]
    kept = dict(leaves.cookies)
    run(leaves.post("/ui/logout"))
    leaves.cookies = kept
    leave(service)
    again = enter(make_service(clock=clock, port=int(port)))
    assert again.url == service.url
    assert is_in(run, stays)
    assert not is_in(run, leaves)


# ── the link that `serve` prints ──────────────────────────────────────────────────────────────────


def word_of(service: Service) -> str:
    assert service.app.site is not None
    word = service.app.site.make_link()
    assert word is not None
    return word


def test_the_link_opens_once_and_not_after_a_quarter_of_an_hour(
    run: Run, service: Service, browser: Browser, clock: FrozenClock
) -> None:
    word = word_of(service)
    assert run(browser.post("/ui/open", token=word)).status == 303
    assert is_in(run, browser)
    assert run(browser.post("/ui/open", token=word)).status == 401
    late = word_of(service)
    clock.advance(seconds=LINK_LIFE_S)
    assert run(browser.post("/ui/open", token=late)).status == 401


def test_of_two_who_use_the_link_at_once_one_comes_in(
    run: Run, service: Service, browser: Browser
) -> None:
    word = word_of(service)

    async def both() -> list[int]:
        answers = await asyncio.gather(*(browser.post("/ui/open", token=word) for _ in range(2)))
        return sorted(each.status for each in answers)

    assert run(both()) == [303, 401]


def test_where_others_can_reach_the_page_there_is_no_link(
    run: Run, enter: Enter, make_service: MakeService, service: Service, browser: Browser
) -> None:
    run(browser.post("/ui/open", token=word_of(service)))
    run(service.__aexit__(None, None, None))
    port = int(service.url.rpartition(":")[2])
    open_to_all = enter(make_service(host="0.0.0.0", port=port))
    assert open_to_all.app.site is not None
    assert open_to_all.app.site.make_link() is None
    assert not is_in(run, browser)


# ── cookies ───────────────────────────────────────────────────────────────────────────────────────


def test_over_https_the_cookie_is_bound_to_the_host(
    run: Run, enter: Enter, make_service: MakeService
) -> None:
    service = enter(make_service(public_url="https://triggers.example"))
    browser = enter(browsing(service))
    headers = {"Origin": "https://triggers.example"}
    answer = run(browser.ask("POST", "/ui/login", form={"key": API_KEY}, headers=headers))
    assert answer.status == 303
    name, _, rest = answer.headers["set-cookie"].partition("=")
    assert name == "__Host-triggers"
    assert rest.endswith("; Path=/; Max-Age=86400; HttpOnly; SameSite=Strict; Secure")
    assert is_in(run, browser)
    # Anybody on the way may set one without the prefix.
    browser.cookies = {f"triggers-{service.url.rpartition(':')[2]}": browser.cookies[name]}
    assert not is_in(run, browser)
    assert run(browser.post("/ui/login", key=API_KEY)).status == 403


def test_a_cookie_that_was_tampered_with_is_none(run: Run, operator: Browser) -> None:
    ((name, value),) = operator.cookies.items()
    for changed in (value[:-2], value[:10] + "A" + value[11:], value + "A", "", "é", "A" * 9000):
        operator.cookies = {name: changed}
        if changed.isascii() and len(changed) < 5000:
            assert not is_in(run, operator) or changed == value


def test_a_link_from_another_site_comes_in_with_the_next_request(
    run: Run, browser: Browser
) -> None:
    answer = run(browser.get("/ui/organizations?q=%3Cb%3E", Sec_Fetch_Site="cross-site"))
    assert answer.status == 200
    assert b'content="0; url=/ui/organizations?q=%3Cb%3E"' in answer.body


# ── guesses ───────────────────────────────────────────────────────────────────────────────────────


def test_after_ten_wrong_keys_none_is_heard_for_a_while(
    run: Run, service: Service, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    assert service.app.site is not None
    monkeypatch.setattr(service.app.site.entrance._patience, "_clock", lambda: now)
    for _ in range(10):
        assert run(browser.post("/ui/login", key="trg_wrong_wrong_wrong")).status == 401
    for key in ("trg_wrong_wrong_wrong", ADMIN_KEY):
        answer = run(browser.post("/ui/login", key=key))
        assert (answer.status, browser.cookies) == (429, {})
    now += 7
    assert run(browser.post("/ui/login", key=ADMIN_KEY)).status == 303
