"""Refusals as answers: every exception on its way out becomes one shape."""

from typing import Any

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.exceptions import MethodNotAllowedException as LitestarMethodNotAllowed
from litestar.exceptions import NotFoundException as LitestarNotFound
from litestar.types import ExceptionHandlersMap, Scope

from triggers_api.errors import (
    BadRequest,
    FieldError,
    InternalError,
    MethodNotAllowed,
    NotFound,
    Problem,
    ValidationFailed,
)
from triggers_api.http.body import ClientGone
from triggers_api.http.wire import problem_answer, request_id

log = structlog.get_logger(__name__)


def identifier(request: Request[Any, Any, Any]) -> bytes:
    """The id of a request, settled on first use."""
    state = request.scope["state"]
    if "request_id" not in state:
        state["request_id"] = request_id(dict(request.scope["headers"]).get(b"x-request-id"))
    found: bytes = state["request_id"]
    return found


def handle(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """The answer to a request that raised."""
    problem = _as_problem(request, error)
    status, headers, body = problem_answer(problem, identifier(request))
    return Response(
        body,
        status_code=status,
        headers={name.decode(): value.decode() for name, value in headers},
        media_type="application/problem+json",
    )


HANDLERS: ExceptionHandlersMap = {Exception: handle, HTTPException: handle}


def _as_problem(  # noqa: PLR0911 - one for each kind
    request: Request[Any, Any, Any], error: Exception
) -> Problem:
    match error:
        case Problem():
            return error
        case LitestarNotFound():
            return NotFound("there is nothing under this address")
        case LitestarMethodNotAllowed():
            return MethodNotAllowed(headers=[("Allow", allowed(request.scope))])
        case ValidationException():
            return ValidationFailed("a parameter is not acceptable", errors=_parameters(error))
        case ClientGone():
            return BadRequest()  # that nobody reads
        case HTTPException() if 400 <= error.status_code < 500:
            return BadRequest(error.detail)
    log.error(
        "request failed",
        route=request.scope.get("path_template", ""),
        request_id=identifier(request).decode(),
        exc_info=error,
    )
    return InternalError()


def allowed(scope: Scope) -> str:
    """The methods that the routes under a request's path take, as ``Allow`` lists them."""
    segments = [segment for segment in scope["path"].split("/") if segment]
    found: set[str] = set()
    spelled: set[str] = set()
    for route in scope["litestar_app"].routes:
        parts = route.path_components
        if len(parts) == len(segments) and all(
            not isinstance(part, str) or part == segment
            for part, segment in zip(parts, segments, strict=True)
        ):
            found.update(getattr(route, "methods", ()))
            if all(isinstance(part, str) for part in parts):
                spelled.update(getattr(route, "methods", ()))
    # A path that is spelled out is not an id, and goes before one that may be.
    found = spelled or found
    if "GET" in found:
        found.add("HEAD")
    return ", ".join(sorted(found))


def _parameters(error: ValidationException) -> list[FieldError]:
    # An underscore behind a name keeps it apart from Python's own; no parameter ends with one.
    extra = error.extra if isinstance(error.extra, list) else []
    return [
        FieldError(
            str(item.get("key", ""))[:64].rstrip("_"),
            "invalid-parameter",
            str(item.get("message", ""))[:200],
        )
        for item in extra
        if isinstance(item, dict)
    ] or [FieldError("", "invalid-parameter", error.detail[:200])]
