"""Health, readiness, metrics."""

from typing import Final

import msgspec
from litestar import Response, Router, get
from litestar.di import NamedDependency

from triggers_api import __version__
from triggers_api.http.context import ACCESS, Context, QueueHealth
from triggers_api.model.controls import Controls
from triggers_api.model.organization import Scope
from triggers_api.store.base import Durability
from triggers_api.telemetry.metrics import CONTENT_TYPE

# Litestar adds the charset to every text; given twice, Prometheus 3 refuses the answer.
_METRICS: Final = CONTENT_TYPE.removesuffix("; charset=utf-8")
SERVICE = "Triggers API"


class Health(msgspec.Struct, frozen=True):
    """The process answers."""

    status: str
    service: str


class ReadyReport(msgspec.Struct, frozen=True):
    """Whether traffic should come here, and why not."""

    status: str
    checks: dict[str, str]
    queue: QueueHealth


class DetailedHealth(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at a glance, with the same keys on every engine."""

    status: str
    version: str
    database: str
    redis: str
    queues: dict[str, int]
    workers: list[dict[str, str]]
    controls: Controls
    durability: Durability
    config: dict[str, float | str | None]


@get(["/health", "/api/health"], summary="Is it up", security=[{}])
async def health() -> Health:
    """Without dependencies."""
    return Health("healthy", SERVICE)


@get("/livez", summary="Is the process alive", security=[{}])
async def livez() -> Health:
    """Without dependencies."""
    return Health("healthy", SERVICE)


@get(["/readyz", "/health/ready"], summary="Should traffic come here", security=[{}])
async def readyz(context: NamedDependency[Context]) -> Response[ReadyReport]:
    """200 or 503. Pauses and refusing leave it at 200; they are what an operator wants."""
    readiness = context.readiness()
    return Response(
        ReadyReport("ready" if readiness.ready else "not-ready", readiness.checks, readiness.queue),
        status_code=200 if readiness.ready else 503,
    )


@get(
    "/api/health/detailed",
    summary="Health in detail",
    opt={ACCESS: (Scope.READ, Scope.ADMIN)},
)
async def detailed(context: NamedDependency[Context]) -> DetailedHealth:
    """Depths, switches, durability and settings."""
    readiness, settings = context.readiness(), context.settings
    stats = await context.store.stats()
    store_ok = readiness.checks.get("store") == "ok"
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
        workers=[{"id": context.worker_id, "roles": "api,processor,dispatcher"}],
        controls=context.directory.controls,
        durability=context.store.durability(),
        config={
            "max_concurrent_events": settings.max_concurrent_events,
            "batch_size": settings.batch_size,
            "delivery_concurrency": settings.delivery_concurrency,
            "delivery_timeout_s": settings.delivery_timeout_s,
            "lease_s": settings.lease_s,
            "rate_limit": settings.rate_limit,
            "rate_burst": settings.rate_burst,
            "max_queue_depth": settings.max_queue_depth,
            "queue_warn_depth": settings.queue_warn_depth,
            "redis_stream_max_length": None,
        },
    )


@get("/metrics", summary="Metrics for Prometheus", media_type=_METRICS, security=[{}])
async def metrics(context: NamedDependency[Context]) -> bytes:
    """Text exposition format."""
    return context.metrics.exposition()


def router() -> Router:
    """The routes of this file."""
    return Router("/", route_handlers=[health, livez, readyz, detailed, metrics], tags=["Health"])
