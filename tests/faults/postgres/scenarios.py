"""Runs that are made twice: against the product, and against one that is broken on purpose."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from tests.faults.endpoint import Exchange, flaky, healthy
from tests.faults.history import Outcome, Request, Told, insist, load, post
from tests.faults.postgres.fleet import FREED_WITHIN_S
from tests.faults.scenarios import judge_the_crash, judge_the_end
from tests.faults.server import until
from tests.servers.proxy import Proxy

from triggers_api.app import wall_clock
from triggers_api.model.pace import FIRST_WINDOW

if TYPE_CHECKING:
    from tests.faults.postgres.fleet import Fleet
    from tests.faults.server import Server
    from tests.servers.postgres import PostgresServer

TWINS: Final = 64


# ── twins ─────────────────────────────────────────────────────────────────────────────────────


async def post_together(fleet: Fleet, request: Request) -> None:
    """Every client has its connection before the first byte of a request is sent."""
    await asyncio.gather(*(server.ready() for server in fleet.takers for _ in range(TWINS)))
    await asyncio.gather(*(post(fleet.front, fleet.history, request) for _ in range(TWINS)))


async def post_identical(fleet: Fleet, *, rounds: int) -> None:
    """Of 64 identical posts one is answered 202, the others 200, all with one id."""
    async with fleet:
        await fleet.start()
        await fleet.endpoint("healthy", healthy)
        for _ in range(rounds):
            request = fleet.history.new("order.created", dedup=True)
            await post_together(fleet, request)
            statuses = sorted(told.status or 0 for told in request.told)
            assert statuses == [200] * (TWINS - 1) + [202]
            assert len(request.ids) == 1
            assert {told.duplicate for told in request.told if told.status == 200} == {True}
        found = await fleet.check_after_healing()
        assert len(found.events) == len(found.deliveries) == rounds


# ── a server that is killed right after an answer ─────────────────────────────────────────────


async def kill_the_database_after_answers(
    fleet: Fleet, postgres: PostgresServer, *, rounds: int
) -> None:
    """Each event that was answered 202 is there after the server was killed at that moment."""
    async with fleet:
        await fleet.start()
        # What was made before, to the last byte.
        await asyncio.to_thread(postgres.execute, "CHECKPOINT")
        for _ in range(rounds):
            await fleet.post()
            await asyncio.to_thread(postgres.kill)
            await asyncio.to_thread(postgres.start)
            await fleet.ready()
        assert len(fleet.history.of(Outcome.ACCEPTED)) == rounds
        await fleet.stop()
        fleet.invariants.check(await fleet.dump(), healed=False)


async def number_workers(fleet: Fleet, postgres: PostgresServer) -> None:
    """The server is killed right after a process got its number; the next one gets another.

    The number is part of every lease: two with the same one would take each other's for their own.
    """
    first, second = fleet.wholes
    async with fleet:
        await first.start()
        assert await first.stop() == 0
        await asyncio.to_thread(postgres.execute, "CHECKPOINT")
        await first.start()
        await asyncio.to_thread(postgres.kill)
        await asyncio.to_thread(postgres.start)
        await second.start()
        await fleet.ready()
        await until(lambda: is_heard_of(fleet, 2), "both have a number of their own", within_s=10)


# ── silence ───────────────────────────────────────────────────────────────────────────────────


class Held:
    """An endpoint's behaviour: answers nobody before it is released."""

    def __init__(self) -> None:
        self.released = asyncio.Event()

    async def __call__(self, _: Exchange) -> int:
        await self.released.wait()
        return 204


class HeldTwice:
    """An endpoint's behaviour: a delivery's first request is held, and its second one for longer."""

    def __init__(self) -> None:
        self.first_released = asyncio.Event()
        self.second_released = asyncio.Event()
        self._seen: set[str] = set()

    async def __call__(self, exchange: Exchange) -> int:
        again = exchange.delivery_id in self._seen
        self._seen.add(exchange.delivery_id)
        await (self.second_released if again else self.first_released).wait()
        return 204


async def fall_silent(
    fleet: Fleet, silent: Server, *, fall: Callable[[], None], wake: Callable[[], None]
) -> float:
    """One worker falls silent with answers in its hands, another one sends again; then it wakes up.

    What the first one settles then is stale, although nothing has been settled yet.

    Args:
        fleet: with two workers, of which ``silent`` runs.
        silent: the one that falls silent.
        fall: makes it.
        wake: ends that.

    Returns:
        The seconds after which the last delivery was in the other one's hands.
    """
    _, other = fleet.workers
    behave = HeldTwice()
    endpoint = await fleet.endpoint("held", behave)
    await fleet.post(OF_ONE)
    await endpoint.wait_for(OF_ONE)
    await other.start()
    await until(lambda: is_heard_of(fleet, 2), "both are listed")
    fall()
    began = time.monotonic()
    behave.first_released.set()
    await until(lambda: len(endpoint.exchanges) == 2 * OF_ONE, "all are sent again")
    freed_in_s = time.monotonic() - began
    # Whoever noticed first has freed them: every process listens for heartbeats.
    living = [fleet.server, other]
    assert await fleet.metric("triggers_recovered_total", servers=living, kind="delivery") == OF_ONE
    wake()

    async def has_settled_late() -> bool:
        return await silent.metric("triggers_stale_leases_total", verb="settle") >= OF_ONE

    await until(has_settled_late, "the late settlements are stale, and counted")
    behave.second_released.set()
    await fleet.healed()
    assert await fleet.metric("triggers_stale_leases_total", verb="settle") == OF_ONE
    found = await fleet.check_after_healing()
    for delivery in found.deliveries:
        sent = [each for each in endpoint.exchanges if each.delivery_id == delivery.id]
        assert [each.attempt for each in sent] == [1, 1]
        assert delivery.attempt_count == 1
    return freed_in_s


async def is_heard_of(fleet: Fleet, workers: int) -> bool:
    """Whether so many workers are listed."""
    answer = await fleet.server.call("GET", "/api/health/detailed")
    return sum("dispatcher" in each["roles"] for each in answer.json["workers"]) == workers


async def stand_still(fleet: Fleet) -> float:
    """A worker is stopped with deliveries in flight; returns when another one had them, in seconds."""
    silent, _ = fleet.workers

    async with fleet:
        await fleet.server.start()
        await silent.start()
        return await fall_silent(
            fleet,
            silent,
            fall=lambda: silent.signal(signal.SIGSTOP),
            wake=lambda: silent.signal(signal.SIGCONT),
        )


async def lose_the_database(
    fleet: Fleet, outage: Callable[[], Awaitable[None]], *, second_url: str | None = None
) -> None:
    """The database is away for longer than a worker may be silent; then nobody takes from anybody.

    Args:
        fleet: with two workers, of which the first one runs; both have requests in flight all the time.
        outage: takes the database away from all of them, and returns when it is back.
        second_url: where the second one finds it, unless where all do.
    """
    first, second = fleet.workers
    behave = Held()
    endpoint = await fleet.endpoint("held", behave)
    await fleet.post(OF_ONE)
    await endpoint.wait_for(OF_ONE)
    await second.start(**({} if second_url is None else {"database_url": second_url}))
    # For a moment only one of them is there to take the rest.
    first.signal(signal.SIGSTOP)
    await fleet.post(OF_ONE)
    await endpoint.wait_for(2 * OF_ONE)
    first.signal(signal.SIGCONT)
    await until(lambda: is_heard_of(fleet, 2), "both are listed")
    await outage()
    await fleet.ready()
    # As long as it takes to be taken for dead, and two beats.
    await asyncio.sleep(SILENCE_S + 2 * BEAT_S)
    behave.released.set()
    found = await fleet.check_after_healing()
    taken = len(endpoint.exchanges) - 2 * OF_ONE
    assert taken == 0, f"{taken} deliveries were taken from a living worker"
    assert list(fleet.logged("workers fell silent")) == []
    assert len(found.deliveries) == 2 * OF_ONE


async def stop_the_database(fleet: Fleet, postgres: PostgresServer, *, away_s: float) -> None:
    """See :func:`lose_the_database`: it is stopped, and started."""

    async def outage() -> None:
        await asyncio.to_thread(postgres.stop)
        # The fault itself: silence is a matter of time.
        await asyncio.sleep(away_s)
        await asyncio.to_thread(postgres.start)

    async with fleet:
        await fleet.server.start()
        await fleet.workers[0].start()
        await lose_the_database(fleet, outage)


OF_ONE: Final = FIRST_WINDOW
"""Requests that a worker has in flight to an endpoint that has not answered yet."""
SILENCE_S: Final = 6.0
BEAT_S: Final = 2.0


# ── a crash at a step ─────────────────────────────────────────────────────────────────────────


async def crash_at(fleet: Fleet, step: str, at: int) -> None:
    """A process dies at the step; another one goes on with what it held, and everything is in order.

    Args:
        fleet: of an API and two workers.
        step: of the API or the first worker.
        at: the pass at which it dies.
    """
    first, other = fleet.workers
    dies = fleet.server if step.startswith("append.") else first
    async with fleet:
        await fleet.server.start(failpoints=f"{step}=crash@{at}" if dies is fleet.server else "")
        await fleet.endpoint("one", healthy, ["order.*"])
        await fleet.endpoint("other", healthy, ["*"])
        if dies is first:
            # A backlog, so that the first claims have something to claim.
            await pause(fleet, "paused")
            await fleet.post(30)
        await first.start(failpoints=f"{step}=crash@{at}" if dies is first else "")
        await pause(fleet, "running")
        # One client, so that every verb is passed often: what waits together is done together.
        requests = fleet.requests(200)
        loading = asyncio.create_task(load(fleet.server, fleet.history, requests, clients=1))
        assert await dies.ended() == -signal.SIGKILL
        await loading
        found = await fleet.dump()
        fleet.invariants.check(found, healed=False)
        if dies is fleet.server:
            judge_the_crash(step, requests[:at], found)
            await fleet.server.start()
            await fleet.repeat_unknown()
        await other.start()
        await fleet.healed(within_s=FREED_WITHIN_S)
        if dies is first:
            await first.start()
        judge_the_end(fleet.history, found, await fleet.check_after_healing())


async def pause(fleet: Fleet, mode: str) -> None:
    """Turn the switches of processing and delivery."""
    await fleet.server.admin("PATCH", "/controls", {"processing": mode, "delivery": mode})


# ── a connection that is cut in a commit ──────────────────────────────────────────────────────


async def cut_the_commit(fleet: Fleet, postgres: PostgresServer, *, rounds: int) -> None:
    """The server has the statement, and its answer is lost: nobody can know, and a repetition tells."""
    async with fleet, Proxy("127.0.0.1", postgres.port) as proxy:
        await fleet.start(through={fleet.server: proxy})
        await fleet.endpoint("healthy", healthy)
        for _ in range(rounds):
            request = fleet.history.new("order.created", dedup=True)
            cut = proxy.cut_after(mark(request))
            told = await post(fleet.front, fleet.history, request)
            assert (told.status, told.code) == (503, "outcome-unknown")
            await cut.wait()
            (stored,) = [e for e in (await fleet.dump()).events if e.digest == request.digest]
            told = await post(fleet.front, fleet.history, request)
            assert told == Told(200, None, stored.id, duplicate=True)
        await fleet.check_after_healing()


def mark(request: Request) -> bytes:
    """Bytes that only this event has."""
    return b'{"serial":%d,' % request.serial


# ── clocks ────────────────────────────────────────────────────────────────────────────────────


async def disagree(fleet: Fleet, *, ahead: str, behind: str) -> None:
    """A worker whose clock is behind has requests in flight; one whose clock is ahead looks for work.

    Args:
        fleet: of an API and two workers.
        ahead: what is done to the second one, by its name in ``broken.py``.
        behind: the same of the first one.
    """
    first, second = fleet.workers
    fleet.server.bug, first.bug, second.bug = None, behind, ahead
    behave = Held()
    async with fleet:
        await fleet.server.start()
        await first.start()
        held_ = await fleet.endpoint("held", behave, ["order.*"])
        later = await fleet.endpoint("later", healthy, ["later"])
        await fleet.post(OF_ONE)
        await held_.wait_for(OF_ONE)
        await second.start()
        # Both have looked for work when this arrives.
        request = fleet.history.new("later")
        due_at = wall_clock().after(seconds=2 * BEAT_S)
        request.deliver_at = str(due_at)
        await load(fleet.front, fleet.history, [request])
        await later.wait_for(1)
        early_ms = due_at - wall_clock()
        assert early_ms <= CLOCKS_MS, f"sent {early_ms} ms before its time"
        taken = len(held_.exchanges) - OF_ONE
        assert taken == 0, f"{taken} deliveries were taken from a living worker"
        behave.released.set()
        assert {round(line["seconds"]) for line in fleet.logged(OFF)} == {-DISAGREE_S, DISAGREE_S}
        await fleet.check_after_healing()


OFF: Final = "this machine's clock is off the database's"
DISAGREE_S: Final = 240
"""Within the five minutes that receivers grant a signature's time."""
CLOCKS_MS: Final = 300
"""How far two processes' notions of the database's time may be apart."""


# ── restarts under load ───────────────────────────────────────────────────────────────────────

TYPES: Final = ("order.created", "order.paid", "invoice.sent", "nobody.wants")


async def restart_under_load(
    fleet: Fleet,
    postgres: PostgresServer,
    *,
    events: int,
    restarts: Sequence[Restart],
    kills_apart_s: tuple[float, float],
    stands_still: bool,
) -> None:
    """Events come in while workers are killed and the database is restarted, in every way there is.

    Args:
        fleet: of APIs and workers.
        postgres: what they work on.
        events: how many; each is posted until it is accepted.
        restarts: of the database, spread evenly over the events.
        kills_apart_s: between two kills of a worker, at least and at most.
        stands_still: whether a worker is also stopped for longer than it may be silent.
    """
    rng, history = fleet.rng, fleet.history
    async with fleet:
        await fleet.start()
        await fleet.endpoint("all", healthy, ["*"])
        await fleet.endpoint("some", healthy, ["order.*"])
        await fleet.endpoint("flaky", flaky(rng), ["invoice.*", "order.paid"])
        requests = fleet.requests(events, TYPES)
        kills = 0

        async def restart() -> None:
            for number, way in enumerate(restarts, 1):
                await history.wait_for_accepted(events * number // (len(restarts) + 1))
                await asyncio.to_thread(RESTARTS[way], postgres)

        async def kill() -> None:
            nonlocal kills
            while True:
                await asyncio.sleep(rng.uniform(*kills_apart_s))
                worker = rng.choice(fleet.workers[1:])
                if worker.poll() is None:
                    worker.kill()
                    kills += 1

        async def stand_still() -> None:
            sleeper = fleet.workers[0]
            await history.wait_for_accepted(events // 3)
            sleeper.signal(signal.SIGSTOP)
            await asyncio.sleep(SILENCE_S + 3 * BEAT_S)
            sleeper.signal(signal.SIGCONT)

        async with fleet.supervised(*fleet.workers):
            killing = asyncio.create_task(kill())
            try:
                await asyncio.gather(
                    insist(fleet.front, history, requests),
                    restart(),
                    *([stand_still()] if stands_still else []),
                )
            finally:
                killing.cancel()
        stale = await count_stale(fleet)
        found = await fleet.check_after_healing(within_s=180)
        told = Counter(told.code or told.status for each in requests for told in each.told)
        print(  # noqa: T201
            f"{kills} kills, {restarts}; told {dict(told)}; {len(found.events)} events, "
            f"{len(found.deliveries)} deliveries, {stale} stale settlements"
        )
        assert kills > 0
        # Of these nobody knows; everything else was posted until it was accepted.
        unknown = history.of(Outcome.UNKNOWN)
        assert {request.dedup_id for request in unknown} <= {None}
        assert history.of(Outcome.REFUSED) == []
        assert len(found.events) >= events - len(unknown)


async def count_stale(fleet: Fleet) -> int:
    """Stale settlements so far, of all workers that there were; those that live have counted theirs."""
    for worker in fleet.workers:
        told = settled_too_late(worker.lines())  # before it is asked: it may be settling some
        assert await worker.metric("triggers_stale_leases_total", verb="settle") >= told
    return settled_too_late(fleet.logged(TOO_LATE))


TOO_LATE: Final = "settled too late, nothing changed"


def settled_too_late(lines: Iterable[dict[str, Any]]) -> int:
    """How many settlements these lines of a log report as stale."""
    return sum(len(line["delivery_ids"]) for line in lines if line["event"] == TOO_LATE)


Restart = Literal["fast", "immediate", "kill"]


def _kill(postgres: PostgresServer) -> None:
    postgres.kill()
    postgres.start()


RESTARTS: Final[dict[Restart, Callable[[PostgresServer], None]]] = {
    "fast": lambda postgres: postgres.restart("fast"),
    "immediate": lambda postgres: postgres.restart("immediate"),
    "kill": _kill,
}
