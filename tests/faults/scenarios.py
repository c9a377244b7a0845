"""Runs that are made twice: against the product, and against one that is broken on purpose."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.faults.endpoint import Exchange, healthy
from tests.faults.history import History, Outcome, Request, load, post
from tests.faults.rig import Rig
from tests.faults.server import until
from tests.faults.trace import Call, Tracer, calls

if TYPE_CHECKING:
    from tests.faults.invariants import Dump

AT_ONCE_S: Final = 20.0
"""On restart the embedded owner takes the work of a killed process up at once: far below a lease, which
is 45 s, and as long as it takes on a machine that has other things to do."""

TIMEOUT_S: Final = 3.0
"""So long the test has to stop a process that has requests in flight."""
LEASE_S: Final = 3.5
STILL_S: Final = 4.5

TWINS: Final = 64

SYNCS: Final = ("fdatasync", "fsync")


# ── a crash at a step ─────────────────────────────────────────────────────────────────────────


async def crash_at(rig: Rig, step: str, at: int, *, bug: str | None = None) -> None:
    """Load a server until it dies at the step; it comes back, and everything is in order."""
    rig.server.bug = "routing_fails_once" if step.startswith("release.") else bug
    async with rig:
        await rig.server.start()
        await rig.endpoint("one", healthy, ["order.*"])
        await rig.endpoint("other", healthy, ["*"])
        # A backlog, so that the first claims have something to claim.
        await rig.server.admin("PATCH", "/controls", {"processing": "paused", "delivery": "paused"})
        await rig.post(30)
        assert await rig.server.stop() == 0

        await rig.server.start(failpoints=f"{step}=crash@{at}")
        await rig.server.admin(
            "PATCH", "/controls", {"processing": "running", "delivery": "running"}
        )
        # One client, so that every verb is passed often: what waits together is committed together.
        requests = rig.requests(200)
        await load(rig.server, rig.history, requests, clients=1)
        assert await rig.server.ended() == -signal.SIGKILL
        found = rig.dump()
        rig.invariants.check(found, healed=False)
        if step.startswith("append."):
            judge_the_crash(step, requests[:at], found)

        await rig.server.start()
        await rig.repeat_unknown()
        judge_the_end(rig.history, found, await rig.check_after_healing(within_s=AT_ONCE_S))


def judge_the_crash(step: str, requests: Sequence[Request], found: Dump) -> None:
    """Of these events, posted one after the other, the last one's append met the crash at the step."""
    *answered, crashed = requests
    assert {request.outcome for request in answered} <= {Outcome.ACCEPTED}
    assert crashed.outcome is Outcome.UNKNOWN
    stored = {event.digest for event in found.events}
    assert (crashed.digest in stored) is (step == "append.after_commit")


def judge_the_end(history: History, crashed: Dump, healed: Dump) -> None:
    """What was accepted is stored, what was stored at the crash still is, and nothing else."""
    # Without a dedup_id nobody can repeat what may be stored: it stays unknown, and as it was.
    assert {request.dedup_id for request in history.of(Outcome.UNKNOWN)} <= {None}
    accepted = {request.digest for request in history.of(Outcome.ACCEPTED)}
    assert {event.digest for event in healed.events} == accepted | {
        event.digest for event in crashed.events
    }


# ── a pause beyond the lease ──────────────────────────────────────────────────────────────────


async def pause_beyond_the_lease(rig: Rig, *, events: int, bug: str | None = None) -> None:
    """Stop the server while deliveries are in flight, until their leases have run out."""
    stopped = asyncio.Event()

    async def answers_once_the_sender_is_stopped(_: Exchange) -> int:
        await stopped.wait()
        return 204

    rig.serve(bug=bug, lease_s=LEASE_S, delivery_timeout_s=TIMEOUT_S)
    async with rig:
        await rig.server.start()
        endpoint = await rig.endpoint("slow", answers_once_the_sender_is_stopped)
        await rig.post(events)
        await endpoint.wait_for(events)
        rig.server.signal(signal.SIGSTOP)
        stopped.set()
        await until(
            lambda: all(exchange.answered for exchange in endpoint.exchanges), "all is answered"
        )
        # The fault itself: leases are a matter of the clock.
        await asyncio.sleep(STILL_S)
        rig.server.signal(signal.SIGCONT)
        await rig.healed(within_s=30)
        stale = await rig.server.metric("triggers_stale_leases_total", verb="settle")
        assert stale == events, f"{stale} stale settlements"
        assert await rig.server.metric("triggers_recovered_total", kind="delivery") == events
        found = await rig.check_after_healing()
        assert len(found.deliveries) == events
        for delivery in found.deliveries:
            sent = [e for e in endpoint.exchanges if e.delivery_id == delivery.id]
            assert [exchange.attempt for exchange in sent] == [1, 1]
            assert delivery.attempt_count == 1


# ── twins ─────────────────────────────────────────────────────────────────────────────────────


async def post_together(rig: Rig, request: Request) -> None:
    """Every client has its connection before the first byte of a request is sent."""
    await asyncio.gather(*(rig.server.ready() for _ in range(TWINS)))
    await asyncio.gather(*(post(rig.server, rig.history, request) for _ in range(TWINS)))


async def post_identical(rig: Rig, *, rounds: int, bug: str | None = None) -> None:
    """Of 64 identical posts one is answered 202, the others 200, all with one id."""
    rig.server.bug = bug
    async with rig:
        await rig.server.start()
        await rig.endpoint("healthy", healthy)
        for _ in range(rounds):
            request = rig.history.new("order.created", dedup=True)
            await post_together(rig, request)
            statuses = sorted(told.status or 0 for told in request.told)
            assert statuses == [200] * (TWINS - 1) + [202]
            assert len(request.ids) == 1
            assert {told.duplicate for told in request.told if told.status == 200} == {True}
        found = await rig.check_after_healing()
        assert len(found.events) == len(found.deliveries) == rounds


# ── an answer waits for the disk ──────────────────────────────────────────────────────────────


def _answered_too_early(trace: Path) -> Iterator[str]:
    """Events whose 202 was written before a sync of the log had ended that began after their write.

    A ``pwrite64`` to the log holds the event by its dedup_id, and so does the body of its answer.
    """
    written: dict[str, int] = {}
    synced: list[tuple[int, int]] = []
    answers: list[tuple[str, Call]] = []
    for call in calls(trace):
        names = re.findall(r"dedup-\d+", call.arguments)
        if call.name == "pwrite64" and call.file.endswith("-wal"):
            for name in names:
                written.setdefault(name, call.ended)
        elif call.name in SYNCS and call.file.endswith("-wal") and call.result.startswith("0"):
            synced.append((call.began, call.ended))
        elif "HTTP/1.1 202" in call.arguments:
            answers += [(name, call) for name in names[:1]]
    assert answers, "the trace has no answers"
    for name, answer in answers:
        if not any(
            name in written and written[name] < began and ended < answer.began
            for began, ended in synced
        ):
            yield name


async def trace_answers(rig: Rig, *, bug: str | None = None) -> None:
    """Serve under a tracer: no answer is written before its event is synced."""
    rig.server.bug = bug
    async with rig:
        await rig.server.start()
        trace = rig.folder / "strace.txt"
        options = ("-s", "6000", "-e", "trace=pwrite64,fdatasync,fsync,write,writev,sendto,sendmsg")
        async with Tracer(rig.server, trace, *options):
            requests = [rig.history.new("order.created", dedup=True, size=10) for _ in range(60)]
            await load(rig.server, rig.history, requests, clients=8)
            await load(rig.server, rig.history, requests[:10])
        assert await rig.server.stop() == 0
        assert {request.outcome for request in requests} == {Outcome.ACCEPTED}
    early = list(_answered_too_early(trace))
    assert early == [], f"answered before the sync: {early}"


# ── redirects, rate limit ─────────────────────────────────────────────────────────────────────


async def redirect(rig: Rig, *, bug: str | None = None) -> None:
    """A receiver points elsewhere; nobody comes there."""
    rig.serve(bug=bug, retry_schedule="0.01")
    rig.invariants.max_attempts = 2
    async with rig:
        await rig.server.start()
        canary = await rig.endpoint("canary", healthy, ["nothing.of.this"])

        async def points_elsewhere(_: Exchange) -> int:
            return 307

        endpoint = await rig.endpoint("points-elsewhere", points_elsewhere)
        endpoint.location = canary.url
        await rig.post(3)
        await rig.healed()
        assert canary.exchanges == [], "the redirect was followed"
        assert len(endpoint.exchanges) == 6
        await rig.check_after_healing()


async def exceed_the_rate(rig: Rig, *, bug: str | None = None) -> None:
    """150 at once where 100 may come: the rest is told so, and none of it is stored."""
    burst, sent = 100, 150
    rig.serve(bug=bug, rate_limit=burst, rate_burst=burst)
    async with rig:
        await rig.server.start()
        await rig.endpoint("healthy", healthy)
        began = asyncio.get_running_loop().time()
        await rig.post(sent, clients=sent)
        refilled = (asyncio.get_running_loop().time() - began) * burst / 60
        accepted = len(rig.history.of(Outcome.ACCEPTED))
        assert burst <= accepted <= burst + refilled + 1, f"{accepted} of {sent} were accepted"
        told = [told for request in rig.history.requests for told in request.told]
        assert {each.code for each in told} == {None, "rate-limited"}
        found = await rig.check_after_healing()
        assert len(found.events) == accepted
