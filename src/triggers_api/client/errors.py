"""What the client raises.

::

    ClientError
    ├── NoAnswer               the service was not reached, or its answer was lost
    │   └── DeadlineExceeded   the time for all of it is over (also a TimeoutError)
    ├── UnexpectedAnswer       what answers is not this service
    ├── ApiError               the service refused: status, code, detail, errors, request_id
    │   ├── BadRequest         400
    │   ├── Unauthorized       401
    │   ├── Forbidden          403
    │   ├── NotFound           404
    │   ├── Conflict           409
    │   ├── TooLarge           413
    │   ├── ValidationFailed   422
    │   ├── RateLimited        429
    │   └── Unavailable        503
    ├── SendInterrupted        a part of many events was not sent; what was is known
    ├── LeaseLost              a message of an inbox is no longer ours
    └── InvalidWebhook         a webhook was not signed by who it should be, or not lately

Keys, payloads and secrets are in none of the messages.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from triggers_api.client.models import BatchReport, NewEvent


class ClientError(Exception):
    """The root of the tree above."""


class NoAnswer(ClientError):
    """The service was not reached, or its answer was lost.

    Attributes:
        may_have_arrived: whether the service may have got the request and done what it asks.
        attempts: how many were made.
        request_id: by which the service's log knows them, if they arrived.
    """

    def __init__(
        self,
        message: str,
        *,
        may_have_arrived: bool,
        attempts: int = 1,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.may_have_arrived = may_have_arrived
        self.attempts = attempts
        self.request_id = request_id


class DeadlineExceeded(NoAnswer, TimeoutError):
    """The time for all attempts together is over."""


class UnexpectedAnswer(ClientError):
    """What answers is not this service, or speaks another language than this client."""


class FieldError(msgspec.Struct, frozen=True, kw_only=True):
    """One fault of a request: where (a JSON Pointer, or a parameter's name), what, in words."""

    pointer: str = ""
    code: str = ""
    message: str = ""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A refusal as the service words it (RFC 9457)."""

    type: str = "about:blank"
    title: str = ""
    status: int = 0
    detail: str = ""
    code: str = ""
    request_id: str | None = None
    retryable: bool = False
    errors: tuple[FieldError, ...] = ()


class ApiError(ClientError):
    """The service refused a request.

    Attributes:
        status: of the answer.
        code: a stable word, ``validation-failed`` for instance; empty where something on the way
            answered for the service.
        detail: in words.
        errors: each fault that was found.
        request_id: as in the service's log.
        retryable: the same request may succeed later.
        retry_after_s: seconds after which it may, where the service said so.
        attempts: how many were made.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        retry_after_s: float | None = None,
        request_id: str | None = None,
        attempts: int = 1,
    ) -> None:
        self.status = problem.status
        self.type = problem.type
        self.title = problem.title
        self.code = problem.code
        self.detail = problem.detail
        self.errors = problem.errors
        self.request_id = problem.request_id or request_id
        self.retryable = problem.retryable
        self.retry_after_s = retry_after_s
        self.attempts = attempts
        super().__init__(self._said())

    def _said(self) -> str:
        words = f"{self.status} {self.code or self.title or 'refused'}".strip()
        if self.detail:
            words += f": {self.detail}"
        for error in self.errors:
            words += f"; {error.pointer or 'the body'}: {error.message or error.code}"
        return f"{words} (request {self.request_id})" if self.request_id else words


class BadRequest(ApiError):
    """The request is not well formed, or a cursor is not one of this list."""


class Unauthorized(ApiError):
    """The key is missing, unknown, expired or revoked."""


class Forbidden(ApiError):
    """The key does not have the scope that this needs."""


class NotFound(ApiError):
    """There is no such thing for this key."""


class Conflict(ApiError):
    """The thing is not in a state in which this can be done."""


class TooLarge(ApiError):
    """The request is larger than the service takes."""


class ValidationFailed(ApiError):
    """Some fields or parameters are not acceptable; ``errors`` names each."""


class RateLimited(ApiError):
    """The organization's limit is used up for now; nothing was stored."""


class Unavailable(ApiError):
    """The service cannot do this at the moment."""


_BY_STATUS: Final[dict[int, type[ApiError]]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    422: ValidationFailed,
    429: RateLimited,
    503: Unavailable,
}


def api_error(
    problem: Problem, *, retry_after_s: float | None, request_id: str | None, attempts: int
) -> ApiError:
    """The exception for a refusal."""
    kind = _BY_STATUS.get(problem.status, ApiError)
    return kind(problem, retry_after_s=retry_after_s, request_id=request_id, attempts=attempts)


class SendInterrupted(ClientError):
    """Many events were being sent, and it did not come to its end. The cause says why.

    Attributes:
        report: what became of the events before. Nothing of it has to be sent again.
        unsent: those after them, with their dedup_ids: whatever of them did arrive is not stored
            twice when they are sent again.
    """

    def __init__(self, report: "BatchReport", unsent: "Sequence[NewEvent]") -> None:
        super().__init__(f"{len(report.results)} events were dealt with, {len(unsent)} or more not")
        self.report = report
        self.unsent = tuple(unsent)


class LeaseLost(ClientError):
    """A message's lease has run out or was revoked: somebody else may get the message now."""


class InvalidWebhook(ClientError):
    """A webhook was not signed by who it should be, or too long ago; the message says what is wrong."""
