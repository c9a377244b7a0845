"""The HTTP application: the hot route in front, everything else behind Litestar."""

from typing import Any

import msgspec
from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.types import Message, Scope

from triggers_api.errors import MalformedValue
from triggers_api.http import (
    admin,
    audit,
    controls,
    deliveries,
    documentation,
    event_types,
    events,
    filters,
    health,
    hooks,
    inbox,
    jobs,
    keys,
    listen,
    organization,
    poison,
    poll,
    portal_links,
    problems,
    quarantine,
    queues,
    settings,
    statistics,
    subscription_work,
    subscriptions,
)
from triggers_api.http.batch import BATCH_PATH, PostBatch
from triggers_api.http.body import Receive
from triggers_api.http.context import (
    LIMIT_HEADERS,
    Context,
    check_access,
    context,
    organization_id,
    principal,
)
from triggers_api.http.hot import PATH, PostEvent
from triggers_api.http.request import StrictRequest
from triggers_api.http.wire import HEAD_ONLY, Send, common_headers, request_id
from triggers_api.model.timestamp import Timestamp


class Application:
    """The ASGI application."""

    def __init__(self, context_: Context, *, api: bool = True) -> None:
        """Set up; without ``api`` only the routes about health are there."""
        self.context = context_
        self._takes: dict[str, PostEvent | PostBatch] = (
            {PATH: context_.post_event, BATCH_PATH: context_.post_batch} if api else {}
        )
        self._litestar = _litestar(context_, api=api)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:  # noqa: ANN401 - ASGI's
        """Serve one request."""
        if scope["type"] == "http":
            take = self._takes.get(scope["path"]) if scope["method"] == "POST" else None
            if take is not None:
                await take(scope, receive, send)
                return
            if scope["method"] == "HEAD":
                # As GET, of which the server sends the head alone (RFC 9110, 9.3.2).
                scope = {**scope, "method": "GET", HEAD_ONLY: True}
            await self._litestar(scope, receive, send)

    @property
    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        return documentation.described(self._litestar)


def _api_routers() -> list[Router]:
    of_organizations = Router(
        "/",
        route_handlers=[
            events.router(),
            subscriptions.router(),
            listen.router(),
            subscription_work.router(),
            hooks.router(),
            poll.router(),
            deliveries.router(),
            jobs.router(),
            event_types.router(),
            filters.router(),
            quarantine.router(),
            inbox.router(),
            organization.router(),
            portal_links.router(),
            statistics.router(),
        ],
        dependencies={"organization_id": Provide(organization_id, sync_to_thread=False)},
    )
    return [
        of_organizations,
        audit.router(),
        admin.router(),
        keys.router(),
        controls.router(),
        queues.router(),
        quarantine.admin_router(),
        poison.router(),
        statistics.admin_router(),
        settings.router(),
        documentation.router(),
    ]


def _litestar(context_: Context, *, api: bool) -> Litestar:
    return Litestar(
        [health.router(), *(_api_routers() if api else ())],
        before_send=[_stamp],
        dependencies={
            "context": Provide(context, sync_to_thread=False),
            "principal": Provide(principal, sync_to_thread=False),
        },
        exception_handlers=problems.HANDLERS,
        guards=[check_access],
        logging_config=None,
        openapi_config=documentation.openapi_config() if api else None,
        plugins=[documentation.OwnTypes()],
        request_class=StrictRequest,
        request_max_body_size=None,  # request.py counts while it reads
        state=State({"context": context_}),
        type_decoders=[(_is_timestamp, _decode_timestamp)],
        type_encoders={Timestamp: str},
    )


async def _stamp(message: Message, scope: Scope) -> None:
    """Put on every answer what every answer carries."""
    if message["type"] != "http.response.start":
        return
    headers = list(message["headers"])
    if scope.get("method") == "OPTIONS" and message["status"] == 204:
        # Litestar's own answer knows the handlers of one router only.
        headers = [header for header in headers if header[0] != b"allow"]
        headers.append((b"allow", problems.allowed(scope).encode()))
    names = {name for name, _ in headers}
    identifier = scope["state"].get("request_id") or request_id(
        dict(scope["headers"]).get(b"x-request-id")
    )
    headers += [header for header in common_headers(identifier) if header[0] not in names]
    headers += scope["state"].get(LIMIT_HEADERS, ())
    message["headers"] = headers


def _is_timestamp(kind: Any) -> bool:  # noqa: ANN401 - Litestar's signature
    return kind is Timestamp


def _decode_timestamp(_kind: type, value: Any) -> Timestamp:  # noqa: ANN401 - Litestar's signature
    try:
        return Timestamp.parse(value)
    except MalformedValue as error:
        raise msgspec.ValidationError(f"is {error}") from None
