"""One suite for every engine: the engines, a clock that stands still, and builders.

An engine joins by one entry in :data:`ENGINES` and its class. Tests take the store through its protocol
only; what looks behind it is in the engine's own file.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar
from uuid import UUID

import apsw
import pytest
from tests.rooms import rooms
from tests.servers.postgres import Postgres, PostgresServer

from triggers_api.failpoints import Failpoints
from triggers_api.model import ids
from triggers_api.model.delivery import Attempt, DeliveryStatus, NewDelivery
from triggers_api.model.event import FirstEvent, NewEvent
from triggers_api.model.organization import (
    ORGANIZATION_SCOPES,
    ApiKey,
    KeyRecord,
    Organization,
    Scope,
    key_digest,
)
from triggers_api.model.subscription import Subscription, SubscriptionRecord, SubscriptionStatus
from triggers_api.model.timestamp import Timestamp
from triggers_api.model.worker import Worker
from triggers_api.store import codes
from triggers_api.store.base import (
    ClaimedDelivery,
    DeliveryClaim,
    QueueClaim,
    Reaped,
    RoutedEvent,
    Settled,
    Settlement,
    Store,
)
from triggers_api.store.connect import StoreOptions, open_store
from triggers_api.store.sqlite.store import SqliteStore
from triggers_api.telemetry.metrics import Metrics

T = TypeVar("T")

LEASE_S: Final = 45.0
PATIENCE_S: Final = 60.0
"""Real seconds that anything awaited gets before it counts as hanging."""


class FrozenClock:
    """A clock that moves when told to."""

    def __init__(self, at: str = "2026-11-22T12:00:00.000Z") -> None:
        self._now = Timestamp.parse(at)

    def __call__(self) -> Timestamp:
        return self._now

    def advance(self, *, seconds: float) -> Timestamp:
        self._now = self._now.after(seconds=seconds)
        return self._now


class Engine(Protocol):
    """What the suite needs of an engine besides its store."""

    is_shared: bool
    """Whether several processes may work on one database, each with a store of its own.

    A store that has its database to itself knows at its start that whoever held a lease is gone, and
    goes on behind the ids of its predecessor. One that shares it finds out who is silent
    (:meth:`Store.beat`), and its ids are as late as the clock that all of them share.
    """

    store: Store
    """The store that is open now."""
    secret_keys: tuple[str, ...]
    """Given to stores that are opened from now on."""

    def execute(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        """One statement on the database, past the store."""

    def files(self) -> Iterator[Path]:
        """Everything that lies on the disk for the database, when all is in it."""

    async def open(self) -> Store:
        """Open a database that nobody has used."""

    async def reopen(self) -> Store:
        """Close the store in order and open the same database."""

    async def crash(self) -> Store:
        """Open what is on disk as it is at this moment, as after a kill; nothing is closed first."""

    async def park(self, delivery_id: str) -> None:
        """Have a delivery wait for its turn, whether there is anything before it or not."""

    async def close(self) -> None:
        """Let go of everything."""


class SharedEngine(Engine, Protocol):
    """An engine whose database takes several stores at once."""

    async def open_another(self) -> Store:
        """Open the same database once more, beside :attr:`store`, as another process would."""


class SqliteEngine:
    """The embedded engine on a file of its own."""

    is_shared = False
    store: Store
    secret_keys: tuple[str, ...] = ()

    def __init__(self, folder: Path, clock: FrozenClock) -> None:
        self._folder = folder
        self._clock = clock
        self._files = (folder / f"{number}.db" for number in itertools.count())
        self._path = next(self._files)
        self._given_up: list[BaseException] = []

    async def open(self) -> Store:
        self.store = await SqliteStore.open(
            self._path,
            clock=self._clock,
            metrics=Metrics(),
            failpoints=Failpoints(""),
            fatal=self._given_up.append,
            secret_keys=self.secret_keys,
        )
        return self.store

    def execute(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        with closing(apsw.Connection(str(self._path))) as db:
            db.set_busy_timeout(round(PATIENCE_S * 1000))
            return list(db.execute(statement, arguments))

    def files(self) -> Iterator[Path]:
        yield from self._folder.glob(f"{self._path.name}*")

    async def reopen(self) -> Store:
        await self.store.close()
        return await self.open()

    async def crash(self) -> Store:
        # The page cache outlives a killed process: what the files hold now is what it would leave.
        # The lock file goes with them, and says that its owner did not close.
        left, self._path = self._path, next(self._files)
        _copy(left, self._path, "", "-wal", ".lock", ".secret")
        killed = self.store
        await self.open()
        await killed.close()
        return self.store

    async def park(self, delivery_id: str) -> None:
        parsed = ids.parse(ids.DELIVERY, delivery_id)
        assert parsed is not None
        db = apsw.Connection(str(self._path))
        db.set_busy_timeout(round(PATIENCE_S * 1000))
        db.execute("UPDATE deliveries SET due_at = ? WHERE id = ?", (codes.PARKED, parsed[0]))
        db.close()

    async def close(self) -> None:
        await self.store.close()
        assert not self._given_up, "a store wanted the process to end"


def _copy(left: Path, to: Path, *suffixes: str) -> None:
    for suffix in suffixes:
        if Path(f"{left}{suffix}").exists():
            shutil.copyfile(f"{left}{suffix}", f"{to}{suffix}")


class PostgresEngine:
    """The engine for many processes, on a database of its own."""

    is_shared = True
    store: Store
    secret_keys: tuple[str, ...] = ()

    def __init__(self, server: Postgres, clock: FrozenClock) -> None:
        self._server = server
        self._clock = clock
        self._database: str | None = None
        self._opened: list[Store] = []

    async def open(self) -> Store:
        self.store = await self.open_another()
        return self.store

    async def open_another(self) -> Store:
        if self._database is None:
            self._database = self._server.migrated_database()
        store = await open_store(
            StoreOptions(
                database_url=self._server.url(self._database), secret_keys=self.secret_keys
            ),
            clock=self._clock,
            keeps_own_time=True,
            metrics=Metrics(),
            failpoints=Failpoints(""),
            fatal=_never,
        )
        self._opened.append(store)
        return store

    def execute(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        return self._server.execute(statement, *arguments, database=self._database)

    def files(self) -> Iterator[Path]:
        if not isinstance(self._server, PostgresServer):
            pytest.skip("the files of a server that was given are not ours to read")
        self.execute("CHECKPOINT")
        ((oid,),) = self.execute("SELECT oid FROM pg_database WHERE datname = current_database()")
        for folder in ("pg_wal", f"base/{oid}"):
            yield from (each for each in (self._server.data / folder).iterdir() if each.is_file())

    async def reopen(self) -> Store:
        await self.store.close()
        return await self.open()

    async def crash(self) -> Store:
        # What the server sees of a kill: connections end, and nobody says good-bye on another one.
        assert self._database is not None
        self._server.shut_out(self._database)
        await self.store.close()
        self._server.let_in(self._database)
        return await self.open()

    async def park(self, delivery_id: str) -> None:
        assert self._database is not None
        statement = "UPDATE delivery_queue SET due_at = $1 WHERE delivery_id = $2"
        self._server.execute(
            statement, codes.PARKED, UUID(delivery_id[4:]), database=self._database
        )

    async def close(self) -> None:
        for store in self._opened:
            await store.close()
        if self._database is not None:
            self._server.drop_database(self._database)


def _never(error: BaseException) -> None:
    raise AssertionError("a store wanted the process to end") from error


ENGINES: Final = ("postgres", "sqlite")
SHARED_ENGINES: Final = ("postgres",)

MakeEngine = Callable[[Path, FrozenClock], Engine]


def maker_of(name: str, request: pytest.FixtureRequest) -> MakeEngine:
    """How an engine is made. What it needs is started for those tests only that use it."""
    if name == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        return lambda _, clock: PostgresEngine(server, clock)
    return SqliteEngine


class World:
    """Builders and short ways of saying things, over whatever store the engine has open."""

    def __init__(self, engine: Engine, clock: FrozenClock, runner: asyncio.Runner) -> None:
        self.engine = engine
        self.clock = clock
        self._runner = runner
        self._began = clock()

    @property
    def store(self) -> Store:
        """The store that is open now."""
        return self.engine.store

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run to the end, but not for ever."""
        return self._runner.run(asyncio.wait_for(coroutine, PATIENCE_S))

    def worker(self, name: str = "worker") -> Worker:
        """A process as it is now."""
        return Worker(
            id=name,
            roles=("api", "processor", "dispatcher"),
            version="1",
            started_at=self._began,
            seen_at=self.clock(),
        )

    def beat(self, name: str = "worker", *, store: Store | None = None) -> Reaped:
        """A sign of life of a process: of the one whose store is open, or of another's."""
        return self.run((store or self.store).beat(self.worker(name)))

    # ── the settings half ─────────────────────────────────────────────────────────────────────

    def key(
        self,
        organization_id: str | None,
        *,
        secret: str | None = None,
        scopes: tuple[Scope, ...] = ORGANIZATION_SCOPES,
        name: str = "key",
    ) -> KeyRecord:
        """A key that is not stored yet."""
        key_id = self.store.ids.new(ids.KEY)
        return KeyRecord(
            organization_id=organization_id,
            digest=key_digest(secret or key_id),
            key=ApiKey(id=key_id, name=name, hint="trg_", scopes=scopes, created_at=self.clock()),
        )

    def organization(self, name: str = "Acme", **fields: Any) -> str:  # noqa: ANN401 - the Struct's own
        """The id of a new tenant."""
        organization_id = self.store.ids.new(ids.ORGANIZATION)
        now = self.clock()
        self.run(
            self.store.create_organization(
                Organization(
                    id=organization_id, name=name, created_at=now, updated_at=now, **fields
                ),
                self.key(organization_id),
            )
        )
        return organization_id

    def record(
        self,
        organization_id: str,
        *,
        subscription_id: str | None = None,
        event_types: Sequence[str] = ("*",),
        status: SubscriptionStatus = SubscriptionStatus.ACTIVE,
        secrets: tuple[str, ...] = ("whsec_c2VjcmV0",),
        url: str = "https://example.com/hook",
        **fields: Any,  # noqa: ANN401 - the Struct's own
    ) -> SubscriptionRecord:
        """A subscription that is not stored yet."""
        now = self.clock()
        return SubscriptionRecord(
            organization_id=organization_id,
            subscription=Subscription(
                id=subscription_id or self.store.ids.new(ids.SUBSCRIPTION),
                url=url,
                event_types=tuple(event_types),
                status=status,
                created_at=now,
                updated_at=now,
                **fields,
            ),
            secrets=secrets,
        )

    def subscription(self, organization_id: str, **fields: Any) -> str:  # noqa: ANN401 - see record
        """The id of a new subscription, or of an old one with these fields."""
        record = self.record(organization_id, **fields)
        self.run(self.store.save_subscription(record))
        return record.subscription.id

    # ── the queue half ────────────────────────────────────────────────────────────────────────

    def event(
        self,
        organization_id: str,
        type: str = "order.created",  # noqa: A002 - the field's name
        payload: bytes = b'{"n":1}',
        *,
        to: Sequence[str] | None = None,
        **fields: Any,  # noqa: ANN401 - the Struct's own
    ) -> NewEvent:
        """An event that is not stored yet; ``to`` routes it at once to these subscriptions."""
        deliveries = None if to is None else tuple(self.new_delivery(each) for each in to)
        return NewEvent(
            self.store.ids.new(ids.EVENT),
            organization_id,
            type,
            payload,
            deliveries=deliveries,
            **fields,
        )

    def new_delivery(self, subscription_id: str, order_key: str | None = None) -> NewDelivery:
        """What routing decides for one subscription."""
        return NewDelivery(self.store.ids.new(ids.DELIVERY), subscription_id, order_key)

    def append(self, *events: NewEvent) -> Sequence[FirstEvent | None]:
        """Store events in one call."""

        async def append() -> Sequence[FirstEvent | None]:
            return await self.store.append(events)

        return self.run(append())

    def append_at_once(self, *calls: Sequence[NewEvent]) -> list[Any]:
        """Store events in simultaneous calls; an answer may be an exception."""

        async def append(call: Sequence[NewEvent]) -> Sequence[FirstEvent | None]:
            return await self.store.append(call)

        async def all_of_them() -> list[Any]:
            return await asyncio.gather(*map(append, calls), return_exceptions=True)

        return self.run(all_of_them())

    def queued(self, organization_id: str, count: int = 1, **fields: Any) -> list[str]:  # noqa: ANN401
        """The ids of new events waiting to be routed."""
        events = [self.event(organization_id, **fields) for _ in range(count)]
        assert self.append(*events) == [None] * count
        return [event.id for event in events]

    def claim_queue(
        self,
        limit: int = 1000,
        *,
        lease_s: float = LEASE_S,
        contents_of: Sequence[str] = (),
        in_order_of: Sequence[str] = (),
        not_of: Sequence[str] = (),
        store: Store | None = None,
    ) -> QueueClaim:
        """Lease events."""
        return self.run(
            (store or self.store).claim_queue(
                limit, lease_s, contents_of=contents_of, in_order_of=in_order_of, not_of=not_of
            )
        )

    def route(self, claim: QueueClaim, *subscriptions: str) -> Sequence[str]:
        """Fan every event of a claim out to these subscriptions; the stale ones' ids."""
        return self.run(
            self.store.fan_out(
                claim.token,
                [
                    RoutedEvent(event, tuple(self.new_delivery(each) for each in subscriptions))
                    for event in claim.events
                ],
            )
        )

    def due(
        self,
        organization_id: str,
        subscription_id: str,
        count: int = 1,
        **fields: Any,  # noqa: ANN401
    ) -> list[str]:
        """The ids of new deliveries that are due, each of an event of its own."""
        events = [self.event(organization_id, to=[subscription_id], **fields) for _ in range(count)]
        assert self.append(*events) == [None] * count
        return [delivery.id for event in events for delivery in event.deliveries or ()]

    def claim_deliveries(
        self,
        limit: int = 1000,
        *,
        lease_s: float = LEASE_S,
        room: Mapping[str, int] | None = None,
        default_room: int = 1000,
        organizations: Mapping[str, int] | None = None,
        default_organization: int = 1_000_000,
    ) -> DeliveryClaim:
        """Lease deliveries."""
        allowed = rooms(
            default_room,
            room,
            organizations=organizations,
            default_organization=default_organization,
        )
        return self.run(self.store.claim_deliveries(limit, lease_s, rooms=allowed))

    def claimed(self, **claim: Any) -> ClaimedDelivery:  # noqa: ANN401 - see claim_deliveries
        """The one delivery that is due, leased."""
        (delivery,) = self.claim_deliveries(**claim).deliveries
        return delivery

    def outcome(
        self,
        claimed: ClaimedDelivery,
        status: str = "succeeded",
        *,
        status_code: int | None = 200,
        error: str | None = None,
        reason: str | None = None,
        retry_in_s: float | None = None,
        attempted: bool = True,
        disable_subscription: str | None = None,
        sent_to: str | None = None,
    ) -> Settlement:
        """A settlement of a claimed delivery, with an attempt unless told otherwise."""
        now = self.clock()
        attempt = Attempt(
            id=self.store.ids.new(ids.ATTEMPT),
            number=claimed.attempt_count + 1,
            started_at=now,
            duration_ms=12,
            status_code=status_code,
            error=error,
            response_body="ok" if status_code is not None else None,
        )
        return Settlement(
            organization_id=claimed.target.organization_id,
            delivery_id=claimed.id,
            token=claimed.token,
            status=DeliveryStatus(status),
            reason=reason,
            next_attempt_at=None if retry_in_s is None else now.after(seconds=retry_in_s),
            attempt=attempt if attempted else None,
            disable_subscription=disable_subscription,
            sent_to=sent_to,
        )

    def settle(self, *settlements: Settlement) -> Sequence[str]:
        """Write outcomes down; the stale ones' ids."""
        return list(self.settled(*settlements).stale)

    def settled(self, *settlements: Settlement) -> Settled:
        """Write outcomes down; what came of it."""
        return self.run(self.store.settle(settlements))

    def status_of(self, organization_id: str, delivery_id: str) -> str:
        """Where a delivery stands."""
        delivery = self.run(self.store.delivery(organization_id, delivery_id))
        assert delivery is not None
        return delivery.status.value

    def event_status_of(self, organization_id: str, event_id: str) -> str:
        """Where an event stands."""
        event = self.run(self.store.event(organization_id, event_id))
        assert event is not None
        return event.status.value

    def assert_balanced(self) -> None:
        """The books of every organization balance."""
        for account in self.run(self.store.accounts()):
            assert account.balances(), account


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture(params=ENGINES)
def make_engine(request: pytest.FixtureRequest) -> MakeEngine:
    return maker_of(request.param, request)


@pytest.fixture
def world(make_engine: MakeEngine, clock: FrozenClock, tmp_path: Path) -> Iterator[World]:
    """A fresh store and everything to work with it."""
    with asyncio.Runner() as runner:
        engine = make_engine(tmp_path, clock)
        runner.run(engine.open())
        yield World(engine, clock, runner)
        runner.run(engine.close())


@pytest.fixture
def organization(world: World) -> str:
    """A tenant's id."""
    return world.organization()


@pytest.fixture
def subscription(world: World, organization: str) -> str:
    """The id of an active subscription of that tenant."""
    return world.subscription(organization)


@pytest.fixture(scope="module", params=ENGINES)
def shared_world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """A store that the examples of one property share, each with an organization of its own."""
    with asyncio.Runner() as runner:
        clock = FrozenClock()
        engine = maker_of(request.param, request)(tmp_path_factory.mktemp("shared"), clock)
        runner.run(engine.open())
        yield World(engine, clock, runner)
        runner.run(engine.close())


@pytest.fixture
def make_world() -> Callable[[Engine, FrozenClock, asyncio.Runner], World]:
    """For a test that needs many of them."""
    return World


@pytest.fixture
def make_clock() -> Callable[[], FrozenClock]:
    return FrozenClock
