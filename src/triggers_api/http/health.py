"""Health, readiness, metrics."""

from typing import Final, Self

import msgspec
from litestar import Response, Router, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec

from triggers_api import __version__
from triggers_api.errors import Unavailable
from triggers_api.http.context import ACCESS, Context, QueueHealth, Readiness
from triggers_api.ingest.limits import LimitsState
from triggers_api.model.controls import Controls, DeliveryMode, IngestMode, Running
from triggers_api.model.organization import Scope
from triggers_api.model.timestamp import Timestamp
from triggers_api.model.worker import Worker
from triggers_api.operate.patience import patience
from triggers_api.store.base import Durability, QueueStats
from triggers_api.telemetry.metrics import CONTENT_TYPE

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


class DetailedHealth(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at a glance, with the same keys on every engine."""

    status: str
    version: str
    database: str
    redis: str
    queues: dict[str, int]
    workers: list[WorkerHealth]
    controls: Controls
    durability: Durability
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
async def detailed(context: NamedDependency[Context]) -> DetailedHealth:
    """Depths, processes, switches, durability and settings; without the store, what was seen last."""
    readiness = context.readiness()
    stats, workers, answered = await _look(context)
    store_ok = answered and readiness.checks.get("store") == "ok"
    return DetailedHealth(
        status="healthy" if readiness.ready else "unhealthy",
        version=__version__,
        database="healthy" if store_ok else "unhealthy",
        redis="not_configured",
        queues={
            "event_queue_length": stats.depth,
            "webhook_queue_length": stats.deliveries_waiting,
            "event_pending_processing": stats.leased,
            "webhook_pending_processing": stats.deliveries_leased,
        },
        workers=[WorkerHealth.of(worker) for worker in workers],
        controls=context.directory.controls,
        durability=context.store.durability(),
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
        "disk_reserve_mb": settings.disk_reserve_mb,
        "queue_warn_depth": settings.queue_warn_depth,
        "db_pool_size": None if pool is None else pool.pool_size,
        "db_max_overflow": None if pool is None else pool.max_overflow,
        "db_pool_wait_s": None if pool is None else pool.pool_wait_s,
        "db_pool_recycle_s": None if pool is None else pool.pool_recycle_s,
        "redis_stream_max_length": None,
    }


@get("/metrics", summary="Metrics for Prometheus", media_type=_METRICS, security=[{}])
async def metrics(context: NamedDependency[Context]) -> bytes:
    """Text exposition format."""
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
