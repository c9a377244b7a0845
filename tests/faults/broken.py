"""Runs the command line of the product with one thing broken on purpose.

``python broken.py BUG serve --port 0``. The bugs take a guarantee away, so that ``test_canaries.py`` can
see the checks fail; the flaws make routing fail, which the product must survive. Nothing of this is in
the product: it is patched into a process of its own.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from triggers_api.cli.main import main

# ── bugs ──────────────────────────────────────────────────────────────────────────────────────


def answers_before_the_commit() -> None:
    """A 202 leaves while its event still waits for its transaction."""
    from triggers_api.store.sqlite.writer import Writer  # noqa: PLC0415

    append: Any = Writer.append

    def broken(self: Any, events: Any, *, size: int) -> Any:  # noqa: ANN401
        append(self, events, size=size)
        answered = self._loop.create_future()
        answered.set_result([None] * len(events))
        return answered

    Writer.append = broken  # type: ignore[method-assign]


def never_syncs() -> None:
    """``synchronous=OFF``, which a killed process survives and a power cut does not."""
    from triggers_api.store.sqlite.store import SqliteStore  # noqa: PLC0415

    defaults: Any = SqliteStore.open.__func__.__kwdefaults__  # type: ignore[attr-defined]
    defaults["synchronous"] = 0


def settles_without_a_fence() -> None:
    """Whoever settles last is right, whether or not the lease is still its own."""
    _sql(
        "deliveries_held",
        "WHERE d.lease_token = held.token AND d.status = 3"
        " AND d.lease_until > (SELECT now FROM moment)",
        "",
    )
    _sql("deliveries_held", "SELECT d.id, d.lease_token", "SELECT d.id, held.token")
    # The second wall behind the fence, which would refuse a second attempt of the same number.
    _migrated(
        "DROP INDEX attempts_delivery;"
        "CREATE INDEX attempts_delivery ON attempts (delivery_id, number)"
    )


def has_no_unique_index() -> None:
    """Duplicates are for somebody else to notice."""
    _migrated("DROP INDEX events_dedup")
    _sql(
        "append_events",
        "ON CONFLICT (organization_id, dedup_id) WHERE dedup_id IS NOT NULL DO NOTHING",
        "",
    )


def follows_redirects() -> None:
    """Wherever a receiver points to."""
    from triggers_api.deliver.client import Client  # noqa: PLC0415
    from triggers_api.deliver.connection import Connection  # noqa: PLC0415

    on_header: Any = Connection.on_header
    exchange: Any = Connection.exchange
    post: Any = Client.post

    class PointsElsewhereError(Exception):
        pass

    def noticing(self: Any, name: bytes, value: bytes) -> None:  # noqa: ANN401
        if name.lower() == b"location":
            self.location = value.decode()
        on_header(self, name, value)

    async def raising(self: Any, request: bytes, course: Any, *, until: float) -> Any:  # noqa: ANN401
        self.location = None
        answer = await exchange(self, request, course, until=until)
        if self.location is not None and 300 <= answer.status_code < 400:
            raise PointsElsewhereError(self.location)
        return answer

    async def following(
        self: Any,  # noqa: ANN401
        endpoint: Any,  # noqa: ANN401
        request: bytes,
        **rest: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        try:
            return await post(self, endpoint, request, **rest)
        except PointsElsewhereError as elsewhere:
            there = self.endpoint(str(elsewhere))
            _, _, others = request.split(b"\r\n", 2)
            head = f"POST {there.target} HTTP/1.1\r\nhost: {there.authority}\r\n"
            return await post(self, there, head.encode() + others, **rest)

    Connection.on_header = noticing  # type: ignore[method-assign]
    Connection.exchange = raising  # type: ignore[method-assign]
    Client.post = following  # type: ignore[method-assign]


def limits_nothing() -> None:
    """The rate limiter lets everything through."""
    from triggers_api.ingest.limits import RateDecision, RateLimiter  # noqa: PLC0415

    def broken(*_: Any, **__: Any) -> RateDecision:  # noqa: ANN401
        return RateDecision(True, 1, 0.0, 0.0)

    RateLimiter.check = broken  # type: ignore[method-assign]


def has_everything_due_at_once() -> None:
    """Nothing waits for its turn; on both engines."""
    from triggers_api.store import codes  # noqa: PLC0415

    codes.PARKED = 1  # type: ignore[misc]


def fans_out_twice() -> None:
    """Deliveries are stored, and the queue row is forgotten."""
    _migrated("DROP INDEX deliveries_once")
    _sql("fan_out_deliveries", "ON CONFLICT (event_id, subscription_id, origin_id) DO NOTHING", "")
    _sql("queue_rows_done", "WHERE", "WHERE false AND")


def replays_after_its_place() -> None:
    """How far a job has come is stored first, and what it did in a transaction of its own."""
    from triggers_api.store.sqlite.job_verbs import JobVerbs  # noqa: PLC0415
    from triggers_api.store.sqlite.store import SqliteStore  # noqa: PLC0415

    insert: Any = JobVerbs._insert
    advance: Any = SqliteStore.advance_job
    left: list[tuple[Any, ...]] = []

    def later(self: Any, _: Any, *row: Any) -> int:  # noqa: ANN401
        left.append((self, *row))
        return len(row[1])

    async def broken(self: Any, step: Any) -> Any:  # noqa: ANN401
        job = await advance(self, step)
        while left:
            verbs, *row = left.pop()
            await self._write("replay", lambda db: insert(verbs, db, *row))  # noqa: B023
        return job

    JobVerbs._insert = later  # type: ignore[method-assign,assignment]
    SqliteStore.advance_job = broken  # type: ignore[method-assign]


def believes_every_receipt() -> None:
    """Whoever has a receipt of an inbox may acknowledge with it, whatever became of its lease."""
    from triggers_api.model.inbox import InboxStatus, Settling  # noqa: PLC0415
    from triggers_api.store.sqlite import inbox_verbs  # noqa: PLC0415

    def broken(*_: Any, **__: Any) -> Settling:  # noqa: ANN401
        return Settling(InboxStatus.ACKED, drop=True)

    vars(inbox_verbs)["settle_lease"] = broken


def _migrated(statements: str) -> None:
    """Run statements when a database has just been made."""
    from triggers_api.store.sqlite import schema  # noqa: PLC0415

    migrate: Any = schema.migrate

    def broken(db: Any, *, now: int) -> Any:  # noqa: ANN401
        done = migrate(db, now=now)
        if done:
            db.execute(statements)
        return done

    schema.migrate = broken


def _sql(name: str, old: str, new: str) -> None:
    from triggers_api.store.sqlite.tables import SQL  # noqa: PLC0415

    _replace(SQL, name, old, new)


# ── bugs of PostgreSQL's engine ───────────────────────────────────────────────────────────────


def postgres_answers_before_the_commit() -> None:
    """A 202 leaves while its event still waits for its statement."""
    from triggers_api.store.postgres.writer import Writer  # noqa: PLC0415

    append: Any = Writer.append

    def broken(self: Any, events: Any, *, size: int) -> Any:  # noqa: ANN401
        append(self, events, size=size).add_done_callback(lambda done: done.exception())
        answered = self._loop.create_future()
        answered.set_result([None] * len(events))
        return answered

    Writer.append = broken  # type: ignore[method-assign]


def calls_a_lost_answer_a_refusal() -> None:
    """Whoever is told so posts again, as something new."""
    from triggers_api.store.postgres import sessions  # noqa: PLC0415

    names = vars(sessions)
    names["OutcomeUnknown"] = names["StoreUnavailable"]


def postgres_settles_without_a_fence() -> None:
    """Whoever settles first is right, whether or not the lease is still its own."""
    _postgres_sql("settle", "AND q.lease_token = i.token AND q.lease_until > $1", "")


def postgres_has_no_unique_index() -> None:
    """Duplicates are for somebody else to notice."""
    _postgres_sql(
        "append",
        "ON CONFLICT (organization_id, dedup_id) WHERE dedup_id IS NOT NULL DO NOTHING",
        "",
    )


def postgres_replays_after_its_place() -> None:
    """How far a job has come is stored first, and what it did in a transaction of its own."""
    from triggers_api.store.postgres.job_verbs import JobVerbs  # noqa: PLC0415
    from triggers_api.store.postgres.store import PostgresStore  # noqa: PLC0415

    insert: Any = JobVerbs._insert
    advance: Any = PostgresStore.advance_job
    left: list[tuple[Any, ...]] = []

    async def later(self: Any, _: Any, *row: Any) -> int:  # noqa: ANN401
        left.append((self, *row))
        return len(row[1])

    async def broken(self: Any, step: Any) -> Any:  # noqa: ANN401
        job = await advance(self, step)
        while left:
            verbs, *row = left.pop()
            await self._write(lambda db: insert(verbs, db, *row))  # noqa: B023
        return job

    JobVerbs._insert = later  # type: ignore[method-assign,assignment]
    PostgresStore.advance_job = broken  # type: ignore[method-assign]


def pulls_at_once() -> None:
    """Nobody holds the inbox while it looks what comes next."""
    _postgres_sql("hold_inbox", "FOR UPDATE", "")


def never_raises_synchronous_commit() -> None:
    """Whatever the role has, and it is taken for enough."""
    for name in ("append", "append_routed"):
        _postgres_sql(name, "'off' THEN set_config('synchronous_commit', 'on', true)", "'' THEN ''")
        _postgres_sql(name, "ELSE current_setting('synchronous_commit')", "ELSE 'on'")
    # The second wall, which raises it for the whole session.
    from triggers_api.store.postgres import store  # noqa: PLC0415

    names = vars(store)
    assert "synchronous_commit" in names["DURABLE"], "DURABLE is not what it was; adapt broken.py"
    names["DURABLE"] = "SELECT '{local}'"


def frees_after_its_own_silence() -> None:
    """A process that was silent itself takes those for dead that it could not hear."""
    _postgres_sql(
        "beat",
        "SELECT (SELECT seen_at FROM before),",
        "SELECT CASE WHEN EXISTS (SELECT FROM before) THEN (SELECT now FROM moment) END,",
    )


def never_frees() -> None:
    """What silent processes hold is held until its lease runs out."""
    _postgres_sql("silent_workers", "WHERE", "WHERE false AND")


def clock_ahead_and_alone() -> None:
    """A clock four minutes ahead, which nobody puts right."""
    from triggers_api.store.postgres.clock import DatabaseClock  # noqa: PLC0415

    clock_ahead()
    DatabaseClock.compare = lambda *_: None  # type: ignore[method-assign]


def _postgres_sql(name: str, old: str, new: str) -> None:
    from triggers_api.store.postgres.tables import SQL  # noqa: PLC0415

    _replace(SQL, name, old, new)


def _replace(statements: Any, name: str, old: str, new: str) -> None:  # noqa: ANN401
    text = statements._texts[name]
    assert old in text, f"{name}.sql is not what it was; adapt broken.py"
    statements._texts[name] = text.replace(old, new)


# ── flaws ─────────────────────────────────────────────────────────────────────────────────────


def routing_fails_once() -> None:
    """Every event's first routing raises, so that every event passes ``release``."""
    _route(lambda event: _raise() if event.attempts == 1 else None)


def routing_fails() -> None:
    """Routing an event of the type ``poison`` raises."""
    _route(lambda event: _raise() if event.type == "poison" else None)


def routing_kills() -> None:
    """Routing an event of the type ``poison`` kills the process."""
    _route(lambda event: os.kill(os.getpid(), signal.SIGKILL) if event.type == "poison" else None)


def clock_ahead() -> None:
    """The machine's clock is four minutes ahead."""
    _shift_clock(240)


def clock_behind() -> None:
    """The machine's clock is four minutes behind."""
    _shift_clock(-240)


def _shift_clock(seconds: int) -> None:
    time_ns = time.time_ns
    time.time_ns = lambda: time_ns() + seconds * 1_000_000_000


def _raise() -> None:
    raise RuntimeError("broken on purpose")


def _route(before: Callable[[Any], None]) -> None:
    from triggers_api.process.processor import Processor  # noqa: PLC0415

    ask: Any = Processor._ask_directory

    def broken(self: Processor, event: Any) -> Any:  # noqa: ANN401
        before(event)
        return ask(self, event)

    Processor._ask_directory = broken  # type: ignore[method-assign]


BREAKS: Final[dict[str, Callable[[], None]]] = {
    each.__name__: each
    for each in (
        answers_before_the_commit,
        never_syncs,
        settles_without_a_fence,
        believes_every_receipt,
        has_no_unique_index,
        follows_redirects,
        limits_nothing,
        fans_out_twice,
        has_everything_due_at_once,
        replays_after_its_place,
        postgres_answers_before_the_commit,
        calls_a_lost_answer_a_refusal,
        postgres_settles_without_a_fence,
        pulls_at_once,
        postgres_has_no_unique_index,
        postgres_replays_after_its_place,
        never_raises_synchronous_commit,
        frees_after_its_own_silence,
        never_frees,
        clock_ahead_and_alone,
        clock_ahead,
        clock_behind,
        routing_fails_once,
        routing_fails,
        routing_kills,
    )
}


if __name__ == "__main__":
    BREAKS[sys.argv.pop(1)]()
    main()
