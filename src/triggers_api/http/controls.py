"""``/api/admin/controls`` and what goes with it: the switches, and running the service empty."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec
from litestar import Router, get, patch, post
from litestar.di import NamedDependency
from litestar.params import JSONBody, QueryParameter
from msgspec import UNSET, UnsetType

from triggers_api.errors import FieldError, InvalidState, NotFound, ValidationFailed
from triggers_api.http.context import ACCESS, Context
from triggers_api.http.request import OPTIONAL_BODY, changes
from triggers_api.http.subscriptions import DESCRIPTION_LENGTH
from triggers_api.model import controls as switching
from triggers_api.model import drain as draining
from triggers_api.model import text
from triggers_api.model.controls import (
    DRAIN,
    ORGANIZATION_SWITCHES,
    SUBSCRIPTION_SWITCHES,
    SWITCHES,
    Controls,
    DeliveryMode,
    IngestMode,
    Running,
    TurnedSwitch,
)
from triggers_api.model.drain import Work
from triggers_api.model.organization import Scope
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import QueueStats
from triggers_api.store.directory import Principal

_LONGEST_S: Final = 366 * 86_400
_EVERYWHERE_S: Final = 1.0
"""After so long a switch is in force in every process."""
_COUNTED: Final = 100_000
"""Up to so many events and deliveries are counted to say how far a drain is."""

OfOrganization = Annotated[
    str | None, QueryParameter(name="organization_id", description="Those of this organization.")
]
OfSubscription = Annotated[
    str | None, QueryParameter(name="subscription_id", description="Those of this subscription.")
]
Reason = Annotated[str, msgspec.Meta(max_length=DESCRIPTION_LENGTH)]
Seconds = Annotated[int, msgspec.Meta(ge=1, le=_LONGEST_S)]


class ControlsChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A merge patch; ``null`` puts the default back. With ``expires_in_s`` it holds for so long."""

    ingest: IngestMode | UnsetType | None = UNSET
    processing: Running | UnsetType | None = UNSET
    delivery: DeliveryMode | UnsetType | None = UNSET
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | UnsetType | None = UNSET
    batch_size: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | UnsetType | None = UNSET
    min_poll_ms: Annotated[int, msgspec.Meta(ge=1, le=60_000)] | UnsetType | None = UNSET
    reason: Reason | UnsetType | None = UNSET
    expires_in_s: Seconds | UnsetType | None = UNSET


class TurnedSwitches(msgspec.Struct, frozen=True):
    """Every switch that is not at its default."""

    data: list[TurnedSwitch]


class DrainOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why, and for how long at the most."""

    reason: Reason | None = None
    expires_in_s: Seconds | None = None


class Drain(msgspec.Struct, frozen=True, kw_only=True):
    """How far the service is on its way to being empty.

    Attributes:
        draining: nothing is taken in.
        drained: and nothing is left to be done now.
        depth: events accepted and not yet routed.
        leased: of these, in a worker's hands.
        scheduled: events whose time is still to come.
        deliveries_waiting: due now or later.
        deliveries_leased: being sent.
        total: while it drains: what was to be done at its beginning and what has come of it since,
            events to be routed and deliveries to be finished; ``None`` where that was not written down.
        done: of ``total``.
        eta_s: seconds that the rest takes if it goes on as it has since the beginning.
    """

    draining: bool
    drained: bool
    depth: int
    leased: int
    scheduled: int
    deliveries_waiting: int
    deliveries_leased: int
    total: int | None = None
    done: int | None = None
    eta_s: float | None = None
    reason: str | None = None
    updated_at: Timestamp | None = None
    updated_by: str | None = None
    expires_at: Timestamp | None = None


@get("/controls", summary="Get the switches")
async def get_controls(
    context: NamedDependency[Context],
    organization_id_: OfOrganization = None,
    subscription_id: OfSubscription = None,
) -> Controls:
    """As they stand for the service, an organization or a subscription, forced ones included."""
    scope = _scope(context, organization_id_, subscription_id)
    return context.directory.controls_of(*scope)


@patch("/controls", summary="Turn switches")
async def change_controls(
    context: NamedDependency[Context],
    principal: NamedDependency[Principal],
    data: JSONBody[ControlsChange],
    organization_id_: OfOrganization = None,
    subscription_id: OfSubscription = None,
) -> Controls:
    """Applied whole, in every process within a second, and kept over restarts.

    With `expires_in_s` a switch goes back after so many seconds to what it was turned to for good.
    """
    given = changes(data)
    scope = _scope(context, organization_id_, subscription_id)
    turned = {name: value for name, value in given.items() if name in SWITCHES}
    _check(given, turned, scope)
    expires_in_s = given.get("expires_in_s")
    async with context.changing("controls"):
        _scope(context, *scope)  # somebody may have deleted it meanwhile
        now = context.store.now()
        switches = context.directory.switches(*scope)
        if turned:
            switches = switching.turn(
                switches,
                turned,
                at=now,
                by=principal.key_id,
                reason=given.get("reason"),
                expires_at=None if expires_in_s is None else now.after(seconds=expires_in_s),
            )
        elif given:
            switches = msgspec.structs.replace(
                switches,
                reason=given.get("reason"),
                updated_at=now,
                updated_by=principal.key_id,
            )
        await context.store.save_switches(switches)
    return context.directory.controls_of(*scope)


@get("/switches", summary="List the switches that are not at their defaults")
async def list_turned(context: NamedDependency[Context]) -> TurnedSwitches:
    """Of the service, of organizations and of subscriptions: what, who, when, why, until when."""
    return TurnedSwitches(context.directory.turned())


@get("/drain", summary="See how far the service is from empty")
async def get_drain(context: NamedDependency[Context]) -> Drain:
    """`drained`: nothing is taken in, the queue is empty, and nothing is due or in flight."""
    return await _drain(context)


@post("/drain", summary="Run the service empty", status_code=200, opt={OPTIONAL_BODY: True})
async def drain(
    context: NamedDependency[Context],
    principal: NamedDependency[Principal],
    data: JSONBody[DrainOrder],
) -> Drain:
    """Refuses what comes in, with 503 `draining`, and goes on with what was accepted.

    Ask again until it is `drained`; what is to be tried again later may remain.
    """
    _check_reason(data.reason)
    async with context.changing("controls"):
        paused = [
            each
            for each in context.directory.turned()
            if each.value == Running.PAUSED.value and each.subscription_id is None
        ]
        if paused:
            whose = paused[0].organization_id or "the service"
            raise InvalidState(
                f"{paused[0].switch} of {whose} is paused: what waits there would never be done"
            )
        switches = context.directory.switches()
        now = context.store.now()
        expires_in_s = data.expires_in_s
        begins = DRAIN not in switches.turns
        if begins or data.reason is not None or expires_in_s is not None:
            await context.store.save_switches(
                switching.drained(
                    switches,
                    at=now,
                    by=principal.key_id,
                    work=await _work(context, *await _depths(context)) if begins else None,
                    reason=data.reason,
                    expires_at=None if expires_in_s is None else now.after(seconds=expires_in_s),
                )
            )
    return await _drain(context)


@post("/undrain", summary="Take events in again", status_code=200, opt={OPTIONAL_BODY: True})
async def undrain(
    context: NamedDependency[Context],
    principal: NamedDependency[Principal],
    data: JSONBody[DrainOrder],
) -> Drain:
    """Within a second in every process."""
    _check_reason(data.reason)
    async with context.changing("controls"):
        switches = context.directory.switches()
        if DRAIN in switches.turns:
            turned = switching.turn(
                switches,
                {DRAIN: None},
                at=context.store.now(),
                by=principal.key_id,
                reason=data.reason,
            )
            await context.store.save_switches(turned)
    return await _drain(context)


async def _drain(context: Context) -> Drain:
    directory, store = context.directory, context.store
    switches = directory.switches()
    turn = switches.turns.get(DRAIN)
    drained = False
    if turn is not None and store.now() >= turn.updated_at.after(seconds=_EVERYWHERE_S):
        held = [
            each
            for each, mode in directory.delivery.subscriptions.items()
            if mode is DeliveryMode.PAUSED
        ]
        # What waits in Redis is looked at first: from there it goes into the store.
        drained = await context.buffer_is_empty() and await store.is_idle(but_for=held)
    stats, in_buffer = await _depths(context)
    progress = None
    if turn is not None and switches.drain_begun is not None:
        work = await _work(context, stats, in_buffer)
        progress = draining.progress(switches.drain_begun, work)
    return Drain(
        draining=turn is not None,
        drained=drained,
        depth=stats.depth + in_buffer,
        leased=stats.leased,
        scheduled=stats.scheduled,
        deliveries_waiting=stats.deliveries_waiting,
        deliveries_leased=stats.deliveries_leased,
        total=None if progress is None else progress.total,
        done=None if progress is None else progress.done,
        eta_s=None if progress is None else progress.eta_s,
        reason=None if turn is None else turn.reason,
        updated_at=None if turn is None else turn.updated_at,
        updated_by=None if turn is None else turn.updated_by,
        expires_at=None if turn is None else turn.expires_at,
    )


async def _depths(context: Context) -> tuple[QueueStats, int]:
    """What waits in the store, and before it."""
    stats = await context.store.stats()
    buffer = await context.in_buffer()
    return stats, 0 if buffer is None else buffer.length


async def _work(context: Context, stats: QueueStats, in_buffer: int) -> Work:
    """What there is to be done: of one moment, or, where there is too much to count, by the depths."""
    seen = await context.store.workload(None, _COUNTED)
    left = stats.depth + stats.deliveries_waiting + stats.deliveries_leased
    if seen.queued.complete and seen.waiting.complete:
        left = seen.queued.count + seen.waiting.count
    return Work(
        at=context.store.now(),
        left=left + in_buffer,
        scheduled=stats.scheduled,
        deliveries=seen.deliveries,
    )


def _scope(
    context: Context, organization_id: str | None, subscription_id: str | None
) -> tuple[str | None, str | None]:
    """Whose switches are meant, which there must be; a subscription's id alone says both."""
    directory = context.directory
    if subscription_id is not None:
        whose = directory.owner_of(subscription_id)
        if whose is None or organization_id not in {None, whose}:
            raise NotFound("there is no such subscription")
        return whose, subscription_id
    if organization_id is not None and directory.organization(organization_id) is None:
        raise NotFound("there is no such organization")
    return organization_id, None


def _check(
    given: Mapping[str, Any],
    turned: Mapping[str, Any],
    scope: tuple[str | None, str | None],
) -> None:
    organization_id, subscription_id = scope
    errors: list[FieldError] = []
    whose, known = "an organization", frozenset(ORGANIZATION_SWITCHES)
    if subscription_id is not None:
        whose, known = "a subscription", frozenset(SUBSCRIPTION_SWITCHES)
    if organization_id is not None:
        errors += [
            FieldError(f"/{name}", "not-of-this", f"is no switch of {whose}")
            for name in turned
            if name not in known
        ]
    if given.get("expires_in_s") is not None and not turned:
        errors.append(
            FieldError("/expires_in_s", "missing-field", "goes with a switch that is turned")
        )
    if text.has_control(given.get("reason") or ""):
        errors.append(
            FieldError("/reason", "control-character", "must not hold control characters")
        )
    if errors:
        raise ValidationFailed("the change is not acceptable", errors=errors)


def _check_reason(reason: str | None) -> None:
    if text.has_control(reason or ""):
        raise ValidationFailed.of(
            "/reason", "control-character", "must not hold control characters"
        )


def router() -> Router:
    """The routes of this file."""
    return Router(
        "/api/admin",
        route_handlers=[
            get_controls,
            change_controls,
            list_turned,
            get_drain,
            drain,
            undrain,
        ],
        opt={ACCESS: (Scope.ADMIN,)},
        tags=["Operator"],
    )
