"""``/api/poll``: the newest events as a no-code tool polls for them; samples of what hooks are sent."""

import hashlib
from typing import Annotated, Any, Final
from urllib.parse import unquote

import msgspec
from litestar import Request, Response, Router, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, QueryParameter

from triggers_api.errors import ValidationFailed
from triggers_api.http.context import ACCESS, Context
from triggers_api.http.parameters import Limit
from triggers_api.model.event import Event, EventStatus
from triggers_api.model.organization import Scope
from triggers_api.model.rendering import JSON, EventContent, flat
from triggers_api.model.text import is_type_pattern
from triggers_api.store.base import EventFilter, Page

DEEPEST: Final = 10_000
"""The last of the newest events that a page may reach back to."""
ANSWER_BYTES: Final = 5_000_000
"""Where an answer ends, however many were asked for: an integration of Zapier may return 6 MiB."""

_PREFIX: Final = "/poll/"
_AT_ONCE: Final = 100
_LOOKS: Final = 2 * DEEPEST // _AT_ONCE
"""Pages that are looked at for one answer, which a pattern that hardly matches may use up."""
_SHOWN: Final = frozenset({EventStatus.QUEUED, EventStatus.PROCESSED, EventStatus.FAILED})


class FlatEvent(msgspec.Struct, frozen=True):
    """An event as hooks are sent it: these fields, and beside them those of its payload."""

    id: str
    type: str
    received_at: str


FLAT_EVENTS: Final = {
    200: ResponseSpec(
        list[FlatEvent], generate_examples=False, description="Newest first, each as it is sent."
    )
}
"""How a bare array of such events is documented."""


@get(
    "/{event_type:path}",
    operation_id="PollEvents",
    summary="Poll for the newest events of a type",
    opt={ACCESS: (Scope.READ,)},
    responses=FLAT_EVENTS
    | {304: ResponseSpec(None, description="The same as when If-None-Match was the ETag.")},
)
async def poll_events(
    context: NamedDependency[Context],
    organization_id: NamedDependency[str],
    request: Request[Any, Any, Any],
    event_type: FromPath[str],
    limit: Limit = 50,
    page: Annotated[
        int, QueryParameter(ge=0, description="Which page of so many events, from 0.")
    ] = 0,
) -> Response[bytes | None]:
    """A bare array, newest first, as hooks are sent events. `If-None-Match` saves the same one twice."""
    del event_type  # tidied up: of a//b it would be a/b
    pattern = unquote(request.scope["raw_path"]).partition(_PREFIX)[2]
    check_pattern("event_type", pattern)
    skip = page * limit
    if skip + limit > DEEPEST:
        raise ValidationFailed.of(
            "page", "out-of-range", f"reaches beyond the newest {DEEPEST} events"
        )
    body = array(await recent(context, organization_id, pattern, skip=skip, limit=limit))
    # Over what is answered, not over what is stored: the same tag is the same bytes.
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    if is_known(request.headers.get("if-none-match"), tag):
        return Response(None, status_code=304, headers={"ETag": tag})
    return Response(body, media_type=JSON, headers={"ETag": tag})


async def recent(
    context: Context, organization_id: str, pattern: str, *, skip: int = 0, limit: int
) -> list[bytes]:
    """The newest events of a type as hooks are sent them, up to a size that tools can take.

    What is held back is not shown: scheduled, quarantined and cancelled events.
    """
    found: list[bytes] = []
    size = 0
    before: str | None = None
    wanted = EventFilter(type=pattern)
    for _ in range(_LOOKS):
        at_once = Page(min(_AT_ONCE, skip + limit - len(found)), before)
        events = await context.store.events(organization_id, wanted, at_once)
        for event in events:
            if event.status not in _SHOWN:
                continue
            if skip:
                skip -= 1
                continue
            found.append(_flat(organization_id, event))
            size += len(found[-1])
            if len(found) == limit or size >= ANSWER_BYTES:
                return found
        if events.go_on is not None:
            before = events.go_on
        elif len(events) == at_once.limit:
            before = events[-1].id
        else:
            break
    return found


def array(events: list[bytes]) -> bytes:
    """A JSON array of what is JSON already."""
    return b"[%b]" % b",".join(events)


def check_pattern(name: str, pattern: str) -> None:
    """A type of events, or a pattern of types, that a parameter gives.

    Raises:
        ValidationFailed: it can match no type.
    """
    if not is_type_pattern(pattern):
        raise ValidationFailed.of(name, "invalid-parameter", "is not an event type or pattern")


def is_known(if_none_match: str | None, tag: str) -> bool:
    """Whether a caller has what the tag is of (RFC 9110, 13.1.2: weak comparison)."""
    if if_none_match is None:
        return False
    known = [part.strip() for part in if_none_match.split(",")]
    return "*" in known or tag in {part.removeprefix("W/") for part in known}


def _flat(organization_id: str, event: Event) -> bytes:
    return flat(
        EventContent(
            id=event.id,
            organization_id=organization_id,
            type=event.type,
            sent_at=event.occurred_at or event.received_at,
            payload=bytes(event.payload),
        )
    )


def router() -> Router:
    """The routes of this file."""
    return Router("/api/poll", route_handlers=[poll_events], tags=["Hooks"])
