"""Health, readiness, metrics."""

from typing import TYPE_CHECKING, Any, Final, Self

import msgspec
from litestar import Request, Response, Router, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec

from triggers_api import __version__
from triggers_api.errors import NotFound, Unavailable
from triggers_api.http.context import ACCESS, Context, QueueHealth, Readiness
from triggers_api.ingest.limits import LimitsState
from triggers_api.model.controls import Controls, DeliveryMode, IngestMode, Running, TurnedSwitch
from triggers_api.model.organization import Scope
from triggers_api.model.timestamp import Timestamp
from triggers_api.model.worker import Worker
from triggers_api.operate.patience import patience
from triggers_api.store.base import Durability, QueueStats
from triggers_api.store.directory import Principal
from triggers_api.telemetry.metrics import CONTENT_TYPE

if TYPE_CHECKING:
    from triggers_api.ingest.buffer_redis.buffer import Buffer

# Litestar adds the charset to every text; given twice, Prometheus 3 refuses the answer.
_METRICS: Final = CONTENT_TYPE.removesuffix("; charset=utf-8")
SERVICE = "Triggers API"
_PATIENCE_S: Final = 2.0
"""That the details have with the store: they are asked for most when it does not answer."""


class Health(msgspec.Struct, frozen=True):
    """The process answers."""

    status: str
    service: str


class ReadyReport(msgspec.Struct, frozen=True):
    """Whether traffic should come here, and why not.

    ``status`` is ``ready``, ``degraded`` (traffic may come, but somebody should look at the checks) or
    ``not-ready``.
    """

    status: str
    checks: dict[str, str]
    queue: QueueHealth


class WorkerHealth(msgspec.Struct, frozen=True, kw_only=True):
    """A process that works on the database; ``roles`` are separated by commas."""

    id: str
    roles: str
    version: str
    started_at: Timestamp
    seen_at: Timestamp

    @classmethod
    def of(cls, worker: Worker) -> Self:
        """As it is shown."""
        return cls(
            id=worker.id,
            roles=",".join(worker.roles),
            version=worker.version,
            started_at=worker.started_at,
            seen_at=worker.seen_at,
        )


class BufferHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The ingest buffer, where there is one.

    Attributes:
        state: ``ok``, ``unavailable``, ``data-loss`` or ``waiting-too-long``.
        problem: why no events go into Redis now; ``null`` if they do.
        stream_length: events that wait there (``XLEN``).
        pending: of these, those in a consumer's hands (``XPENDING``).
        poisoned: events that could not be stored, kept with their reasons.
        oldest_age_s: how long the first one has been waiting.
        data_loss: accepted events that have vanished from Redis.
        server: what it is, with its version.
        settings: its directives that matter.
        weaknesses: why what is in it may be lost; empty if nothing can.
    """

    state: str
    problem: str | None
    stream_length: int
    pending: int
    poisoned: int
    oldest_age_s: float
    data_loss: int
    server: str | None
    settings: dict[str, str]
    weaknesses: tuple[str, ...]


class DetailedHealth(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at a glance, with the same keys on every engine."""

    status: str
    version: str
    database: str
    redis: str
    queues: dict[str, int]
    workers: list[WorkerHealth]
    controls: Controls
    switches: list[TurnedSwitch]
    durability: Durability
    buffer: BufferHealth | None
    limits: LimitsState
    config: dict[str, float | str | None]


@get(["/health", "/api/health"], summary="Is it up", security=[{}])
async def health() -> Health:
    """Without dependencies."""
    return Health("healthy", SERVICE)


@get("/livez", summary="Is the process alive", security=[{}])
async def livez() -> Health:
    """Without dependencies."""
    return Health("healthy", SERVICE)


@get(
    ["/readyz", "/health/ready"],
    summary="Should traffic come here",
    security=[{}],
    responses={
        503: ResponseSpec(ReadyReport, generate_examples=False, description="Not at the moment.")
    },
)
async def readyz(context: NamedDependency[Context]) -> Response[ReadyReport]:
    """200 or 503. Pauses and refusing leave it at 200; they are what an operator wants.

    So does a worker that is gone: what is accepted waits for another one.
    """
    readiness = context.readiness()
    return Response(
        ReadyReport(_status(readiness), readiness.checks, readiness.queue),
        status_code=200 if readiness.ready else 503,
        headers=None if readiness.ready else {"retry-after": "1"},
    )


def _status(readiness: Readiness) -> str:
    if not readiness.ready:
        return "not-ready"
    return "ready" if all(each == "ok" for each in readiness.checks.values()) else "degraded"


@get(
    "/api/health/detailed",
    summary="Health in detail",
    opt={ACCESS: (Scope.READ, Scope.ADMIN)},
)
async def detailed(
    context: NamedDependency[Context], principal: NamedDependency[Principal]
) -> DetailedHealth:
    """Depths, processes, switches, durability and settings; without the store, what was seen last.

    `switches` are those that are not at their defaults: all of them for an operator, and for an
    organization the service's and its own.
    """
    readiness = context.readiness()
    stats, workers, answered = await _look(context)
    buffer = None if context.buffer is None else await _buffer(context, context.buffer)
    store_ok = answered and readiness.checks.get("store") == "ok"
    return DetailedHealth(
        status="healthy" if readiness.ready else "unhealthy",
        version=__version__,
        database="healthy" if store_ok else "unhealthy",
        redis=_redis(context),
        queues={
            "event_queue_length": stats.depth + (0 if buffer is None else buffer.stream_length),
            "webhook_queue_length": stats.deliveries_waiting,
            "event_pending_processing": stats.leased + (0 if buffer is None else buffer.pending),
            "webhook_pending_processing": stats.deliveries_leased,
        },
        workers=[WorkerHealth.of(worker) for worker in workers],
        controls=context.directory.controls,
        switches=[
            each
            for each in context.directory.turned()
            if principal.organization_id is None
            or each.organization_id in {None, principal.organization_id}
        ],
        durability=context.store.durability(),
        buffer=buffer,
        limits=context.limits(),
        config=_config(context),
    )


async def _look(context: Context) -> tuple[QueueStats, list[Worker], bool]:
    """Depths, processes, and whether the store answered."""
    try:
        async with patience(_PATIENCE_S):
            return await context.store.stats(), await context.store.workers(), True
    except Unavailable:
        return context.last_stats(), [context.worker()], False


async def _buffer(context: Context, buffer: "Buffer") -> BufferHealth:
    watch = buffer.watch
    look = await context.in_buffer() or watch.look
    found = watch.durability
    return BufferHealth(
        state=buffer.state,
        problem=watch.problem,
        stream_length=look.length,
        pending=look.pending,
        poisoned=look.poisoned,
        oldest_age_s=look.oldest_age_s,
        data_loss=look.lost + look.vanished,
        server=None if found is None else f"{found.server} {found.version}",
        settings={} if found is None else found.settings,
        weaknesses=() if found is None else found.weaknesses,
    )


def _redis(context: Context) -> str:
    if context.redis_is_up is None:
        return "not_configured"
    intact = context.buffer is None or context.buffer.state in {"ok", "waiting-too-long"}
    return "healthy" if intact and context.redis_is_up() else "unhealthy"


def _config(context: Context) -> dict[str, float | str | None]:
    settings, pool = context.settings, context.pool
    return {
        "role": settings.role,
        "max_concurrent_events": settings.max_concurrent_events,
        "batch_size": settings.batch_size,
        "delivery_concurrency": settings.delivery_concurrency,
        "delivery_timeout_s": settings.delivery_timeout_s,
        "lease_s": settings.lease_s,
        "rate_limit": settings.rate_limit,
        "rate_burst": settings.rate_burst,
        "max_queue_depth": settings.max_queue_depth,
        "max_queue_age_s": settings.max_queue_age_s,
        "max_organization_queue_depth": settings.max_organization_queue_depth,
        "max_organization_queue_age_s": settings.max_organization_queue_age_s,
        "disk_reserve_mb": settings.disk_reserve_mb,
        "queue_warn_depth": settings.queue_warn_depth,
        "db_pool_size": None if pool is None else pool.pool_size,
        "db_max_overflow": None if pool is None else pool.max_overflow,
        "db_pool_wait_s": None if pool is None else pool.pool_wait_s,
        "db_pool_recycle_s": None if pool is None else pool.pool_recycle_s,
        "redis_stream_max_length": (
            None if context.buffer is None else settings.redis_stream_max_length
        ),
    }


_METRICS_PATH: Final = b"/metrics"


@get("/metrics", summary="Metrics for Prometheus", media_type=_METRICS, security=[{}])
async def metrics(context: NamedDependency[Context], request: Request[Any, Any, Any]) -> bytes:
    """Text exposition format."""
    if request.scope["raw_path"] != _METRICS_PATH:
        # Proxies keep this very address from the outside, and would let its other spellings pass.
        raise NotFound("there is nothing under this address")
    readiness, controls = context.readiness(), context.directory.controls
    context.metrics.show_readiness(readiness.checks, ready=readiness.ready)
    context.metrics.show_paused(
        ingest=controls.ingest is IngestMode.REFUSE,
        processing=controls.processing is Running.PAUSED,
        delivery=controls.delivery is not DeliveryMode.RUNNING,
    )
    return context.metrics.exposition()


def router() -> Router:
    """The routes of this file."""
    return Router("/", route_handlers=[health, livez, readyz, detailed, metrics], tags=["Health"])
