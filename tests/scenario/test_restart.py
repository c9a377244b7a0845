"""A restart in the middle: nothing is lost, nothing is sent twice that was settled, keys stay."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web
from tests.conftest import Enter, MakeService, Run, new_key, new_organization, own_organization
from tests.faults.server import until
from tests.scenario.conftest import Ask

from triggers_api.testing import ADMIN_KEY, API_KEY, FrozenClock, Received, Receiver, Service

Leave = Callable[[Service], None]


def test_events_at_every_stage_go_on_after_a_restart(
    run: Run, enter: Enter, leave: Leave, make_service: MakeService, clock: FrozenClock
) -> None:
    receiver = enter(Receiver())
    first = enter(make_service(clock=clock))
    ask = Ask(first, run)
    run(first.subscribe(receiver.url, ["a"], retry_schedule=[10]))
    receiver.replies(204, 500)
    done = ask.event("a", dedup_id="done")
    ask.drain()
    retrying = ask.event("a", dedup_id="retrying")
    ask.drain()
    routed = ask.event("a", dedup_id="routed")
    run(first.app.processor.run_once())
    queued = ask.event("a", dedup_id="queued")
    later = ask.event("a", dedup_id="later", deliver_at="2026-01-01T12:01:00Z")
    leave(first)

    clock.advance(seconds=12)
    second = enter(make_service(clock=clock))
    ask = Ask(second, run)
    # What was accepted is still known by its dedup_id.
    for dedup_id, event_id in (("done", done), ("queued", queued), ("later", later)):
        again = run(second.send("a", 1, dedup_id=dedup_id))
        assert (again.status, again.json["id"]) == (200, event_id)
    ask.drain()
    assert sorted(receiver.ids) == sorted([done, retrying, retrying, routed, queued])
    clock.advance(seconds=60)
    ask.drain()
    assert receiver.ids[-1] == later
    books = ask.books()
    assert books["accepted"] == books["processed"] == 5
    assert books["deliveries"]["succeeded"] == books["deliveries"]["total"] == 5


def test_an_end_that_is_hurried_settles_what_is_known_and_gives_the_rest_back(
    run: Run, make_service: MakeService, clock: FrozenClock
) -> None:
    answering = asyncio.Event()

    async def slow(_: Received) -> web.StreamResponse:
        await answering.wait()
        return web.Response(status=204)

    async def hang(_: Received) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async def story() -> None:
        async with Receiver() as known, Receiver() as unknown:
            known.always(slow)
            unknown.replies(hang)
            async with make_service(clock=clock) as first:
                dispatcher = first.app.dispatcher
                for receiver in (known, unknown):
                    await first.subscribe(receiver.url)
                sent = (await first.send("order.created")).json["id"]
                await first.app.processor.run_once()
                await dispatcher.run_once()
                await known.wait_for(1)
                await unknown.wait_for(1)
                ending = asyncio.create_task(dispatcher.finish(first.app.hurried))
                answering.set()
                await until(lambda: len(dispatcher._running) == 1, "one answer is known")
                first.app.hurried.set()
                await ending
                books = (await first.app.store.accounts())[0].deliveries
                assert (books["succeeded"], books["pending"]) == (1, 1)
            async with make_service(clock=clock) as second:
                await second.drain()
            assert (known.ids, unknown.ids) == ([sent], [sent, sent])

    run(story())


def test_a_restart_gives_back_what_was_in_flight(
    run: Run, enter: Enter, leave: Leave, make_service: MakeService, clock: FrozenClock
) -> None:
    receiver = enter(Receiver())
    first = enter(make_service(clock=clock, shutdown_grace_s=0))

    async def hang(_: Received) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    receiver.replies(hang)
    ask = Ask(first, run)
    run(first.subscribe(receiver.url))
    sent = ask.event()
    run(first.app.processor.run_once())
    run(first.app.dispatcher.run_once())
    run(receiver.wait_for(1))
    assert ask.delivery(sent)["status"] == "delivering"
    leave(first)
    second = enter(make_service(clock=clock))
    ask = Ask(second, run)
    assert ask.delivery(sent)["status"] == "pending"
    ask.drain()
    assert receiver.ids == [sent, sent]
    assert ask.delivery(sent)["status"] == "succeeded"


def test_keys_and_secrets_outlive_a_restart(
    run: Run, enter: Enter, leave: Leave, make_service: MakeService, clock: FrozenClock
) -> None:
    receiver = enter(Receiver())
    first = enter(make_service(clock=clock))
    organization_id = run(own_organization(first))
    made = run(new_key(first, organization_id, scopes=["read"]))["key"]
    revoked = run(new_key(first, organization_id))
    path = f"/api/admin/organizations/{organization_id}/keys/{revoked['id']}"
    assert run(first.call("DELETE", path, key=ADMIN_KEY)).status == 204
    _, other = run(new_organization(first))
    secret = run(first.subscribe(receiver.url))["secret"]
    leave(first)
    second = enter(make_service(clock=clock))
    for key, status in ((made, 200), (other, 200), (API_KEY, 200), (revoked["key"], 401)):
        assert run(second.call("GET", "/api/events", key=key)).status == status
    assert run(own_organization(second)) == organization_id
    Ask(second, run).event()
    run(second.drain())
    receiver.requests[0].verify(secret, now=clock() // 1000)


def test_a_key_of_the_settings_is_applied_at_every_start(
    run: Run, enter: Enter, leave: Leave, make_service: MakeService
) -> None:
    leave(enter(make_service()))
    given = "another-key-for-the-same-tenant"
    service = enter(make_service(api_key=given, admin_key="another-key-for-operators"))
    own = run(service.call("GET", "/api/organization", key=given)).json["id"]
    assert own == run(own_organization(service))
    for key in ("another-key-for-operators", ADMIN_KEY):
        assert run(service.call("GET", "/api/admin/controls", key=key)).status == 200


def test_live_a_backlog_of_the_last_process_is_worked_off_at_once(
    run: Run, enter: Enter, leave: Leave, make_service: MakeService
) -> None:
    receiver = enter(Receiver())
    first = enter(make_service(background=False))
    ask = Ask(first, run)
    run(first.subscribe(receiver.url))
    sent = [ask.event(payload=number) for number in range(100)]
    # Leased by a process that ends without routing them.
    run(first.app.store.claim_queue(50, 3600))
    leave(first)
    enter(make_service())
    run(receiver.wait_for(100, timeout_s=50))
    assert sorted(receiver.ids) == sorted(sent)
