"""What waits and whose it is, and the work on it that an operator can ask for."""

from typing import Annotated, Final, Self

import msgspec
from litestar import Router, get, post
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from triggers_api.http.context import ACCESS, Context
from triggers_api.http.request import check_action
from triggers_api.model.audit import queue_worked
from triggers_api.model.controls import DeliveryMode
from triggers_api.model.organization import Scope
from triggers_api.model.timestamp import Timestamp
from triggers_api.process.processor import Turned
from triggers_api.store.base import OrganizationDepth, QueueStats, Reaped, SubscriptionDepth

_COUNTED: Final = 50_000
"""Events, and deliveries of either line, that are counted by whose they are."""

Shown = Annotated[int, QueryParameter(ge=1, le=1000, description="Of how many to show the depths.")]


class EventsWaiting(msgspec.Struct, frozen=True, kw_only=True):
    """Events that were accepted and are not routed.

    Of ``depth``, ``buffered`` wait in Redis, and ``buffer_pending`` of these are in a consumer's hands.
    """

    depth: int
    leased: int
    stuck: int
    oldest_age_s: float
    scheduled: int
    level: str
    buffered: int
    buffer_pending: int


class DeliveriesWaiting(msgspec.Struct, frozen=True, kw_only=True):
    """Deliveries that are not finished."""

    waiting: int
    leased: int
    breakers_open: int


class OrganizationQueue(msgspec.Struct, frozen=True, kw_only=True):
    """What of an organization's events waits to be routed."""

    organization_id: str
    name: str | None
    depth: int
    leased: int
    stuck: int
    oldest_age_s: float
    paused: bool

    @classmethod
    def of(cls, depth: OrganizationDepth, context: Context) -> Self:
        """As it is shown."""
        directory = context.directory
        organization = directory.organization(depth.organization_id)
        return cls(
            organization_id=depth.organization_id,
            name=None if organization is None else organization.name,
            depth=depth.depth,
            leased=depth.leased,
            stuck=depth.stuck,
            oldest_age_s=_age_s(depth.oldest_at, context),
            paused=depth.organization_id in directory.processing_paused,
        )


class SubscriptionQueue(msgspec.Struct, frozen=True, kw_only=True):
    """What of a subscription's deliveries is not finished."""

    organization_id: str
    subscription_id: str
    status: str | None
    delivery: DeliveryMode
    waiting: int
    due: int
    leased: int
    oldest_age_s: float

    @classmethod
    def of(cls, depth: SubscriptionDepth, context: Context) -> Self:
        """As it is shown."""
        directory = context.directory
        record = directory.subscription(depth.organization_id, depth.subscription_id)
        subscription = None if record is None else record.subscription
        return cls(
            organization_id=depth.organization_id,
            subscription_id=depth.subscription_id,
            status=None if subscription is None else subscription.status_at(context.store.now()),
            delivery=directory.delivery.of(depth.organization_id, depth.subscription_id),
            waiting=depth.waiting,
            due=depth.due,
            leased=depth.leased,
            oldest_age_s=_age_s(depth.first_at, context),
        )


class Queues(msgspec.Struct, frozen=True, kw_only=True):
    """What waits, and who has the most of it.

    Attributes:
        events_counted: of how many events ``organizations`` tells: those due the longest.
        deliveries_counted: of how many deliveries ``subscriptions`` tells: those due the longest.
    """

    events: EventsWaiting
    deliveries: DeliveriesWaiting
    organizations: list[OrganizationQueue]
    events_counted: int
    subscriptions: list[SubscriptionQueue]
    deliveries_counted: int


@get("/queues", summary="See what waits")
async def get_queues(context: NamedDependency[Context], limit: Shown = 20) -> Queues:
    """Depths and ages, at most 1 s old, and those organizations and subscriptions with the most.

    By whose they are, those that have been due the longest are counted, up to a bound: `events_counted`
    and `deliveries_counted` say how many these were.
    """
    store = context.store
    stats: QueueStats = await store.stats()
    buffer = await context.in_buffer()
    depths = await store.depths(counted=_COUNTED, shown=limit)
    return Queues(
        events=EventsWaiting(
            depth=stats.depth + (0 if buffer is None else buffer.length),
            leased=stats.leased,
            stuck=stats.stuck,
            oldest_age_s=max(stats.oldest_age_s, 0.0 if buffer is None else buffer.oldest_age_s),
            buffered=0 if buffer is None else buffer.length,
            buffer_pending=0 if buffer is None else buffer.pending,
            scheduled=stats.scheduled,
            level=context.level(stats),
        ),
        deliveries=DeliveriesWaiting(
            waiting=stats.deliveries_waiting,
            leased=stats.deliveries_leased,
            breakers_open=stats.breakers_open,
        ),
        organizations=[OrganizationQueue.of(each, context) for each in depths.organizations],
        events_counted=depths.events,
        subscriptions=[SubscriptionQueue.of(each, context) for each in depths.subscriptions],
        deliveries_counted=depths.deliveries,
    )


@post("/process", summary="Route a batch now", status_code=200, guards=[check_action])
async def process(context: NamedDependency[Context]) -> Turned:
    """One turn of the processor, in the process that answers, also while processing is paused."""
    await context.store.note(queue_worked("process"))
    return await context.process()


@post(
    "/requeue-stuck",
    summary="Take back what dead workers hold",
    status_code=200,
    guards=[check_action],
)
async def requeue_stuck(context: NamedDependency[Context]) -> Reaped:
    """Frees what is held by leases that ran out, as the sweep does every `sweep_s` seconds."""
    await context.store.note(queue_worked("requeue"))
    return await context.store.reap()


def _age_s(since: Timestamp, context: Context) -> float:
    return max(0, context.store.now() - since) / 1000


def router() -> Router:
    """The routes of this file."""
    return Router(
        "/api/admin",
        route_handlers=[get_queues, process, requeue_stuck],
        opt={ACCESS: (Scope.ADMIN,)},
        tags=["Operator"],
    )
