"""``/api/listen``: sessions that fetch deliveries, for receivers that nobody can call from outside."""

import asyncio
from typing import Annotated, Any, Final

import msgspec
from litestar import Request, Router, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from triggers_api.deliver.sessions import RENEWED_UNDER_S, SESSION_LEASE_S, Fetched, Report
from triggers_api.errors import FieldError, InvalidState, NotFound, ValidationFailed
from triggers_api.http.context import ACCESS, Context, check_key
from triggers_api.http.request import OPTIONAL_BODY
from triggers_api.http.subscriptions import SubscriptionCreated, make_subscription
from triggers_api.model.organization import Scope
from triggers_api.model.outcome import ERRORS, Answered, NoAnswer
from triggers_api.model.subscription import (
    SESSION_URL,
    PayloadFormat,
    SubscriptionRecord,
    SubscriptionStatus,
)
from triggers_api.model.timestamp import Timestamp

FETCH_LIMIT: Final = 100
LONGEST_WAIT_S: Final = 20.0
RESPONSE_BODY_LENGTH: Final = 16_384
_LOOK_AGAIN_S: Final = 1.0
"""For what falls due while a session waits: nobody wakes anybody for that."""

_BETWEEN_LOOKS_S: Final = 0.05
"""At the least: others' deliveries wake a session too."""


class ListenRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A session that is asked for. ``null`` is the same as leaving a field out."""

    event_types: list[str] | None = None
    filter: str | None = None
    operational: bool | None = None
    payload_format: PayloadFormat | None = None
    retry_schedule: list[float] | None = None
    secret: str | None = None


class FetchRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many deliveries at the most, and how long to wait for the first, in seconds."""

    limit: int | None = None
    wait_s: float | None = None


class FetchAnswer(msgspec.Struct, frozen=True):
    """What is in the session's hands now, and until when it lasts unless it fetches again."""

    data: list[Fetched]
    expires_at: Timestamp


class ReportRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one request came to: either ``status_code`` or ``error``."""

    receipt: str
    status_code: Annotated[int, msgspec.Meta(ge=100, le=599)] | None = None
    error: str | None = None
    duration_ms: Annotated[int, msgspec.Meta(ge=0, le=600_000)] = 0
    response_body: str | None = None


class SettleRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What became of deliveries that were fetched."""

    results: list[ReportRequest]


class ReportAnswer(msgspec.Struct, frozen=True):
    """``settled``, or ``lease_lost``: it came too late, and the delivery is fetched again."""

    receipt: str
    status: str


class SettleAnswer(msgspec.Struct, frozen=True):
    """One answer for each report, in their order."""

    results: list[ReportAnswer]


@post(
    "/",
    summary="Begin a session that fetches deliveries",
    opt={ACCESS: (Scope.MANAGE,), OPTIONAL_BODY: True},
)
async def begin_session(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    data: JSONBody[ListenRequest],
) -> SubscriptionCreated:
    """A subscription that expires in 90 s, unless the session fetches. Deleting it ends the session."""
    given = {
        name: value
        for name in data.__struct_fields__
        if (value := getattr(data, name)) is not None and name != "secret"
    }
    return await make_subscription(
        context,
        organization_id,
        {"event_types": ["*"]} | given,
        secret=data.secret,
        url=SESSION_URL,
        expires_at=context.store.now().after(seconds=SESSION_LEASE_S),
    )


@post(
    "/{subscription_id:str}/fetch",
    summary="Fetch deliveries to a session",
    status_code=200,
    opt={ACCESS: (Scope.MANAGE,), OPTIONAL_BODY: True},
)
async def fetch(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    subscription_id: FromPath[str],
    request: Request[Any, Any, Any],
    data: JSONBody[FetchRequest],
) -> FetchAnswer:
    """Waits until there are any, at most ``wait_s`` (20 s). Report each before its ``lease_until``."""
    limit = 10 if data.limit is None else data.limit
    wait_s = LONGEST_WAIT_S if data.wait_s is None else data.wait_s
    errors = []
    if not 1 <= limit <= FETCH_LIMIT:
        errors.append(FieldError("/limit", "out-of-range", f"must be from 1 to {FETCH_LIMIT}"))
    if not 0 <= wait_s <= LONGEST_WAIT_S:
        errors.append(
            FieldError("/wait_s", "out-of-range", f"must be from 0 to {LONGEST_WAIT_S:g}")
        )
    if errors:
        raise ValidationFailed("nothing was fetched", errors=errors)
    record, expires_at = await _renewed(context, organization_id, subscription_id)
    until = asyncio.get_running_loop().time() + wait_s
    while True:
        fetched: list[Fetched] = []
        if record.subscription.status is SubscriptionStatus.ACTIVE:
            fetched = await context.sessions.fetch(record, limit)
        left = until - asyncio.get_running_loop().time()
        if fetched or left <= 0 or context.draining():
            return FetchAnswer(fetched, expires_at)
        await context.store.watch_deliveries(min(left, _LOOK_AGAIN_S))
        await asyncio.sleep(_BETWEEN_LOOKS_S)
        check_key(context, request)
        record = await _session(context, organization_id, subscription_id)


@post(
    "/{subscription_id:str}/settle",
    summary="Report what became of fetched deliveries",
    status_code=200,
    opt={ACCESS: (Scope.MANAGE,)},
)
async def settle(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    subscription_id: FromPath[str],
    data: JSONBody[SettleRequest],
) -> SettleAnswer:
    """Each is an attempt, and what follows from it is what follows from an answer to a request."""
    reports = _reports(data.results)
    record = await context.store.subscription(organization_id, subscription_id)
    if record is None or not record.subscription.by_session:
        raise NotFound("there is no such session")
    settled = await context.sessions.settle(record, reports)
    return SettleAnswer(
        [
            ReportAnswer(report.receipt, "settled" if in_time else "lease_lost")
            for report, in_time in zip(reports, settled, strict=True)
        ]
    )


def _reports(results: list[ReportRequest]) -> list[Report]:
    """The reports.

    Raises:
        ValidationFailed: with every fault found.
    """
    errors: list[FieldError] = []
    if not 1 <= len(results) <= FETCH_LIMIT:
        errors.append(
            FieldError("/results", "invalid-length", f"must have 1 to {FETCH_LIMIT} entries")
        )
    reports = []
    for position, each in enumerate(results):
        pointer = f"/results/{position}"
        outcome = _outcome(errors, pointer, each)
        if len(each.response_body or "") > RESPONSE_BODY_LENGTH:
            limit = f"must be at most {RESPONSE_BODY_LENGTH} characters"
            errors.append(FieldError(f"{pointer}/response_body", "invalid-length", limit))
        if outcome is not None:
            reports.append(
                Report(
                    receipt=each.receipt,
                    outcome=outcome,
                    duration_ms=each.duration_ms,
                    response_body=(each.response_body or "").replace("\x00", "\ufffd") or None,
                )
            )
    if errors:
        raise ValidationFailed("nothing was settled", errors=errors)
    return reports


def _outcome(
    errors: list[FieldError], pointer: str, each: ReportRequest
) -> Answered | NoAnswer | None:
    if each.status_code is not None and each.error is None:
        return Answered(each.status_code)
    if each.error in ERRORS and each.status_code is None:
        return NoAnswer(each.error)
    words = f"must have either a status_code or an error of {', '.join(ERRORS)}"
    errors.append(FieldError(pointer, "invalid-outcome", words))
    return None


async def _session(
    context: Context, organization_id: str, subscription_id: str
) -> SubscriptionRecord:
    """A session that has not ended.

    Raises:
        NotFound: there is none.
        InvalidState: it is disabled.
    """
    record = await context.store.subscription(organization_id, subscription_id)
    if record is None or not record.subscription.by_session:
        raise NotFound("there is no such session")
    status = record.subscription.status_at(context.store.now())
    if status is SubscriptionStatus.EXPIRED:
        raise NotFound("the session has expired")
    if status is SubscriptionStatus.DISABLED:
        raise InvalidState(f"the session is disabled: {record.subscription.disabled_reason}")
    return record


async def _renewed(
    context: Context, organization_id: str, subscription_id: str
) -> tuple[SubscriptionRecord, Timestamp]:
    """The session, and its end: later than it was if it was near."""
    record = await _session(context, organization_id, subscription_id)
    expires_at = record.subscription.expires_at
    soon = context.store.now().after(seconds=RENEWED_UNDER_S)
    if expires_at is not None and expires_at >= soon:
        return record, expires_at
    async with context.changing(organization_id):
        record = await _session(context, organization_id, subscription_id)
        expires_at = context.store.now().after(seconds=SESSION_LEASE_S)
        record = msgspec.structs.replace(
            record, subscription=msgspec.structs.replace(record.subscription, expires_at=expires_at)
        )
        await context.store.save_subscription(record)
    return record, expires_at


def router() -> Router:
    """The routes of this file."""
    return Router(
        "/api/listen", route_handlers=[begin_session, fetch, settle], tags=["Subscriptions"]
    )
