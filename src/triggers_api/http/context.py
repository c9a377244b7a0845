"""What every route works with, and who is asking."""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import msgspec
import structlog
from litestar.connection import ASGIConnection, Request
from litestar.handlers import BaseRouteHandler
from litestar.params import QueryParameter

from triggers_api.deliver.egress import Egress
from triggers_api.deliver.sessions import Sessions
from triggers_api.errors import Unauthorized, Unavailable
from triggers_api.http.admission import Admission
from triggers_api.http.auth import Authenticator, check_operator, organization_of
from triggers_api.http.batch import PostBatch
from triggers_api.http.client_address import client_address
from triggers_api.http.cursor import Cursors
from triggers_api.http.hot import PostEvent
from triggers_api.http.parameters import check_query
from triggers_api.http.readers import Readers
from triggers_api.http.tickets import Tickets
from triggers_api.http.wire import request_id
from triggers_api.ingest.limits import LimitsState
from triggers_api.model.audit import Actor, ActorType
from triggers_api.model.event import EventDetail
from triggers_api.model.organization import Scope
from triggers_api.model.worker import Worker
from triggers_api.operate.patience import patience
from triggers_api.process.processor import Turned
from triggers_api.settings import Network, Settings
from triggers_api.store.acting import act_as
from triggers_api.store.base import QueueStats, Reached, Store
from triggers_api.store.connect import StoreOptions
from triggers_api.store.directory import Directory, Principal
from triggers_api.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from triggers_api.ingest.buffer_redis.buffer import Buffer
    from triggers_api.ingest.buffer_redis.watch import BufferLook

log = structlog.get_logger(__name__)

_HINTS_KEPT = 1000
_BUFFER_PATIENCE_S = 2.0


class QueueHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The queue in a few numbers; ``depth`` is accepted and not yet routed, at most 1 s old.

    ``refusing`` says why nothing is taken in: ``depth``, ``age`` or ``disk``; ``drain_rate`` is events a
    second.
    """

    depth: int
    warn_depth: int
    level: str
    stuck: int
    oldest_age_s: float
    refusing: str | None
    drain_rate: float


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether traffic should come here: each check is ``ok`` or says what is wrong."""

    ready: bool
    checks: dict[str, str]
    queue: QueueHealth


class Hints:
    """How far pulls for some types have looked along the log, so that the next one need not look again.

    Losing one costs a look, nothing else.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, ...], str] = OrderedDict()

    def get(self, key: tuple[str, ...]) -> Reached:
        """Where to go on."""
        return Reached(log=self._known.get(key))

    def keep(self, key: tuple[str, ...], reached: Reached) -> None:
        """For the next one."""
        if reached.log is not None:
            self._known[key] = reached.log
            self._known.move_to_end(key)
            if len(self._known) > _HINTS_KEPT:
                self._known.popitem(last=False)


class Context:
    """The parts of the service that routes use.

    A plain class: Litestar would look into the fields of a dataclass and try to convert them.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        store: Store,
        directory: Directory,
        admission: Admission,
        authenticator: Authenticator,
        egress: Egress,
        cursors: Cursors,
        tickets: Tickets,
        metrics: Metrics,
        post_event: PostEvent,
        sessions: Sessions,
        draining: Callable[[], bool],
        post_batch: PostBatch,
        pool: StoreOptions | None,
        readiness: Callable[[], Readiness],
        limits: Callable[[], LimitsState],
        last_stats: Callable[[], QueueStats],
        buffer: "Buffer | None",
        redis_is_up: Callable[[], bool] | None,
        worker: Callable[[], Worker],
        ending: Callable[[], bool],
        process: Callable[[], Awaitable[Turned]],
        level: Callable[[QueueStats], str],
    ) -> None:
        """Hold them.

        Args:
            settings: of this process.
            store: where everything is kept.
            directory: who may do what, from memory.
            admission: counts events against the limits of organizations.
            authenticator: whose key a request carries.
            egress: where deliveries may go.
            cursors: signed places in lists.
            tickets: signed words for the operator page.
            metrics: of this process.
            post_event: the hot route.
            sessions: what sessions fetch and report.
            draining: whether the service is about to end, and nobody should wait.
            post_batch: the one for many events at once.
            pool: how a database on a server is talked to; ``None`` for the embedded one.
            readiness: whether traffic should come here.
            limits: where rate limits are kept.
            last_stats: the depths as they were seen last, for when the store does not answer.
            buffer: what events wait in before they are in the store; ``None`` without one.
            redis_is_up: whether Redis answers; ``None`` without one.
            ending: whether the service is about to end.
            worker: this process as it was at its last heartbeat.
            process: has a batch of events routed now.
            level: what depths of the queue are: normal, warning or critical.
        """
        self.settings = settings
        self.store = store
        self.directory = directory
        self.admission = admission
        self.authenticator = authenticator
        self.egress = egress
        self.cursors = cursors
        self.tickets = tickets
        self.metrics = metrics
        self.post_event = post_event
        self.sessions = sessions
        self.draining = draining
        self.post_batch = post_batch
        self.pool = pool
        self.readiness = readiness
        self.limits = limits
        self.last_stats = last_stats
        self.buffer = buffer
        self.redis_is_up = redis_is_up
        self.worker = worker
        self.ending = ending
        self.process = process
        self.level = level
        self.hints = Hints()
        self.readers = Readers(settings.max_streams, metrics=metrics)
        self._changing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def event(self, organization_id: str, event_id: str) -> EventDetail | None:
        """An event, also while it waits to be stored."""
        store, buffer = self.store, self.buffer
        if buffer is None:
            return await store.event(organization_id, event_id)
        try:
            found = await store.event(organization_id, event_id)
        except Unavailable:
            found = await buffer.find(organization_id, event_id)
            if found is None:
                raise
            return found
        if found is None:
            found = await self._waiting(organization_id, event_id)
        # It may have landed between the two looks.
        return await store.event(organization_id, event_id) if found is None else found

    async def stored_event(self, organization_id: str, event_id: str) -> EventDetail | None:
        """An event that something is to be done with: if it waits, it is stored before its turn."""
        await self.land(organization_id, event_id)
        return await self.store.event(organization_id, event_id)

    async def land(self, organization_id: str, event_id: str) -> None:
        """Have an event stored, if it waits to be."""
        if self.buffer is not None:
            try:
                await self.buffer.land(organization_id, event_id)
            except Unavailable as problem:
                log.warning("an event that may wait was not looked for", code=problem.code)

    async def in_buffer(self) -> "BufferLook | None":
        """What waits in the ingest buffer now, or did when it was seen last; ``None`` without one."""
        if self.buffer is None:
            return None
        with suppress(Unavailable):
            async with patience(_BUFFER_PATIENCE_S):
                return await self.buffer.watch.look_now()
        return self.buffer.watch.look

    async def buffer_is_empty(self) -> bool:
        """Whether nothing waits in the ingest buffer; not, if it cannot be asked."""
        if self.buffer is None:
            return True
        with suppress(Unavailable):
            async with patience(_BUFFER_PATIENCE_S):
                return not (await self.buffer.watch.look_now()).length
        return False

    async def _waiting(self, organization_id: str, event_id: str) -> EventDetail | None:
        assert self.buffer is not None
        try:
            return await self.buffer.find(organization_id, event_id)
        except Unavailable:
            return None

    @asynccontextmanager
    async def changing(self, whose: str) -> AsyncIterator[None]:
        """From reading a setting to storing what it became, so that no change is lost.

        What this process and others have changed is taken in before, what was changed inside after.
        """
        async with self._changing.setdefault(whose, asyncio.Lock()):
            async with self.store.one_change():
                await self.directory.refresh()
                yield
            await self.changed()

    async def changed(self) -> None:
        """Take in a change to the settings half: from then on this process acts on it.

        The change is made by now. That this process hears of it a moment later is no failure of it.
        """
        try:
            await self.directory.refresh()
        except Unavailable as problem:
            log.warning("a change is taken in later", code=problem.code)


LIMIT_HEADERS = "limit_headers"
"""The key in a request's state: what its answer says about the rate limit, whatever it is."""

ACCESS = "access"
"""The key in a handler's ``opt``: scopes of which the key must have one; absent, anybody may ask."""

BEGINNINGS = "beginnings"
"""A key in a handler's ``opt``: beginnings of parameters that are the caller's to name."""


async def check_access(
    connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler
) -> None:
    """The guard of every route: key, scope, and no parameter that the route does not know.

    Not a plain function: that would be run in a thread, and who is acting be forgotten with it.
    """
    scopes: tuple[Scope, ...] | None = handler.opt.get(ACCESS)
    if scopes is None:
        return
    context: Context = connection.app.state.context
    raw = connection.scope["headers"]
    headers = [(bytes(name), bytes(value)) for name, value in raw]
    principal = context.authenticator(headers, dict(headers))
    if Scope.ADMIN in scopes and Scope.ADMIN in principal.scopes:
        pass
    elif scopes == (Scope.ADMIN,):
        check_operator(principal)
    else:
        organization_of(principal, *scopes)
    connection.scope["state"]["principal"] = principal
    act_as(_actor(connection, principal, headers, context.settings.trusted_proxies))
    check_query(
        connection.scope["query_string"],
        _query_parameters(handler),
        beginnings=handler.opt.get(BEGINNINGS, ()),
    )


def _actor(
    connection: ASGIConnection[Any, Any, Any, Any],
    principal: Principal,
    headers: Sequence[tuple[bytes, bytes]],
    trusted: Sequence[Network],
) -> Actor:
    """Who is to be named for what this request changes."""
    state = connection.scope["state"]
    if "request_id" not in state:
        state["request_id"] = request_id(dict(headers).get(b"x-request-id"))
    client = connection.scope["client"]
    by_operator = principal.organization_id is None or principal.as_operator
    return Actor(
        type=ActorType.OPERATOR if by_operator else ActorType.KEY,
        key_id=principal.key_id,
        organization_id=None if by_operator else principal.organization_id,
        request_id=state["request_id"].decode(),
        address=client_address(None if client is None else client[0], headers, trusted),
    )


def _query_parameters(handler: BaseRouteHandler) -> set[str]:
    return {
        field.kwarg_definition.name or name
        for name, field in handler.parsed_fn_signature.parameters.items()
        if isinstance(field.kwarg_definition, QueryParameter)
    }


def principal(request: Request[Any, Any, Any]) -> Principal:
    """Dependency: who is asking."""
    found: Principal = request.scope["state"]["principal"]
    return found


def check_key(context: Context, request: Request[Any, Any, Any]) -> None:
    """Whether the key of a request that has waited is still good.

    Raises:
        Unauthorized: it was revoked or has expired meanwhile.
    """
    if context.directory.principal_of(principal(request).key_id) is None:
        raise Unauthorized


def organization_id(request: Request[Any, Any, Any]) -> str:
    """Dependency: the organization that is asking."""
    found = principal(request).organization_id
    assert found is not None  # check_access lets organizations' keys through only
    return found


def context(request: Request[Any, Any, Any]) -> Context:
    """Dependency: the service."""
    found: Context = request.app.state.context
    return found
