"""What is the same on every answer, and how a refusal is written."""

import math
import re
import secrets
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import count
from typing import Any, Final, Protocol

import msgspec

from triggers_api.errors import FieldError, OutcomeUnknown, Problem, StoreUnavailable
from triggers_api.model.timestamp import Timestamp

JSON: Final = b"application/json"
PROBLEM_JSON: Final = b"application/problem+json"

HEAD_ONLY: Final = "triggers_api.head_only"
"""In the scope of a GET that was a HEAD: for answers that would not end by themselves."""
PROBLEM_TYPES: Final = "/docs/problems#"
"""Where every ``code`` is explained; the ``type`` of a problem is this and its code."""

Headers = list[tuple[bytes, bytes]]

_REQUEST_ID = re.compile(rb"[A-Za-z0-9_.:/+=-]{1,128}")
_process = f"req_{secrets.token_hex(6)}".encode()
_count = count(1)


class Send(Protocol):
    """ASGI's ``send``."""

    async def __call__(self, message: Any, /) -> None:  # noqa: ANN401 - servers type it differently
        """Send one message."""


def encode_moment(value: Any) -> str:  # noqa: ANN401 - msgspec's hook
    """How a moment is written in JSON."""
    if type(value) is Timestamp:
        return str(value)
    raise NotImplementedError(type(value))


to_json: Final = msgspec.json.Encoder(enc_hook=encode_moment).encode


class ProblemDetails(msgspec.Struct, omit_defaults=True):
    """RFC 9457, with the members this API adds."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    retryable: bool = msgspec.field(default=msgspec.UNSET)  # type: ignore[assignment]
    errors: tuple[FieldError, ...] = ()


def request_id(given: bytes | None) -> bytes:
    """The caller's ``X-Request-Id`` if it is a plain word, else one that no other request has."""
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return b"%b%08x" % (_process, next(_count))


def common_headers(identifier: bytes) -> Headers:
    """The headers of every answer."""
    return [(b"x-request-id", identifier), (b"cache-control", b"no-store")]


@lru_cache(maxsize=16)
def durability_headers(remark: str | None) -> Sequence[tuple[bytes, bytes]]:
    """What an answer says of events that something may still cost: how often they are flushed."""
    return () if remark is None else ((b"triggers-durability", remark.encode()),)


def problem_answer(problem: Problem, identifier: bytes) -> tuple[int, Headers, bytes]:
    """Status, headers and body that say what was wrong."""
    body = to_json(
        ProblemDetails(
            type=PROBLEM_TYPES + problem.code,
            title=problem.title,
            status=problem.status,
            detail=_told(problem),
            code=problem.code,
            request_id=identifier.decode(),
            retryable=problem.retryable,
            errors=problem.errors,
        )
    )
    headers = [
        (b"content-type", PROBLEM_JSON),
        (b"content-length", b"%d" % len(body)),
        *common_headers(identifier),
    ]
    if problem.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(problem.retry_after_s))))
    headers.extend((name.lower().encode(), value.encode()) for name, value in problem.headers)
    return problem.status, headers, body


def _told(problem: Problem) -> str:
    """What a caller is told. A database's words name it, its users, its addresses: for the log."""
    if isinstance(problem, (StoreUnavailable, OutcomeUnknown)):
        return type(problem)().detail
    return problem.detail


async def answer(
    send: Send, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes
) -> None:
    """Send a whole response."""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
