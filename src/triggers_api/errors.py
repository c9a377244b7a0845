"""Everything this package raises on purpose.

::

    TriggersError
    ├── MalformedValue             a text that is not what it should be; the caller names the field
    ├── EgressRefused              a URL or an address that deliveries may not go to (deliver/egress.py)
    ├── SettingsError              a setting that cannot be used; ends the start with exit code 2
    ├── StartError                 the service must not start on what it found
    │   ├── DatabaseInUse          another process owns the embedded file
    │   └── SchemaMismatch         the schema is newer than the code, or was altered
    └── Problem                    becomes an HTTP answer (RFC 9457) through http/problems.py
        ├── 400  BadRequest · InvalidJson · InvalidEncoding · TooDeep · InvalidCursor
        ├── 401  Unauthorized
        ├── 403  Forbidden
        ├── 404  NotFound
        ├── 405  MethodNotAllowed
        ├── 408  RequestTimeout
        ├── 409  InvalidState
        ├── 413  TooLarge
        ├── 415  UnsupportedMediaType
        ├── 422  ValidationFailed
        ├── 429  RateLimited
        ├── 500  InternalError     a bug of ours; a clean server never answers it
        └── 503  Unavailable: Overloaded · Draining · Refusing · StorageFull · StoreUnavailable
                 · OutcomeUnknown  (only this one leaves open whether the event was stored)
"""

from collections.abc import Sequence
from typing import ClassVar

import msgspec


class TriggersError(Exception):
    """The root of the tree above."""


class MalformedValue(TriggersError):
    """A text that does not have the form it should; the message completes "it is ..."."""


class SettingsError(TriggersError):
    """A setting that cannot be used."""


class StartError(TriggersError):
    """The service must not start on what it found; the message says what to do."""


class DatabaseInUse(StartError):
    """Another process owns the embedded database file."""


class SchemaMismatch(StartError):
    """The database's schema is newer than this code, or a past migration was altered."""


class Position(msgspec.Struct, frozen=True):
    """A place in a text: line and column count from 1, ``offset`` is the characters before it."""

    line: int
    column: int
    offset: int


class FieldError(msgspec.Struct, frozen=True, omit_defaults=True):
    """One fault of a request: where (a JSON Pointer, or a parameter's name), what, in words.

    ``position`` is the place within the field, where that is a text with a grammar.
    """

    pointer: str
    code: str
    message: str
    position: Position | None = None


class Problem(TriggersError):
    """A refusal with an HTTP status and a stable, documented ``code``."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Internal error"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        detail: str = "",
        *,
        errors: Sequence[FieldError] = (),
        retry_after_s: float | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or (self.__doc__ or self.title).strip().splitlines()[0]
        self.errors = tuple(errors)
        self.retry_after_s = retry_after_s
        self.headers = tuple(headers)


class BadRequest(Problem):
    """The request is not well formed."""

    status, code, title = 400, "bad-request", "Bad request"


class InvalidJson(BadRequest):
    """The body is not exactly one JSON document."""

    code, title = "invalid-json", "Invalid JSON"


class InvalidEncoding(BadRequest):
    """The body is not valid UTF-8 without a byte order mark."""

    code, title = "invalid-encoding", "Invalid encoding"


class TooDeep(BadRequest):
    """The JSON is nested deeper than 64 levels."""

    code, title = "too-deep", "Nested too deep"


class InvalidCursor(BadRequest):
    """The cursor was not made by this server for this organization and these filters."""

    code, title = "invalid-cursor", "Invalid cursor"


class Unauthorized(Problem):
    """The API key is missing, unknown, expired or revoked."""

    status, code, title = 401, "unauthorized", "Unauthorized"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail, headers=(("WWW-Authenticate", "Bearer"),))


class Forbidden(Problem):
    """The API key does not have the scope this route needs."""

    status, code, title = 403, "forbidden", "Forbidden"


class NotFound(Problem):
    """There is nothing here under this address for this key."""

    status, code, title = 404, "not-found", "Not found"


class MethodNotAllowed(Problem):
    """This address does not take this method; the Allow header lists those it does."""

    status, code, title = 405, "method-not-allowed", "Method not allowed"


class RequestTimeout(Problem):
    """The request's body did not arrive in time."""

    status, code, title, retryable = 408, "timeout", "Request timeout", True


class InvalidState(Problem):
    """The thing is not in a state in which this can be done."""

    status, code, title = 409, "invalid-state", "Invalid state"


class TooLarge(Problem):
    """The request is larger than this route takes."""

    status, code, title = 413, "too-large", "Too large"


class UnsupportedMediaType(Problem):
    """The body's media type, charset or content encoding is not taken here."""

    status, code, title = 415, "unsupported-media-type", "Unsupported media type"


class ValidationFailed(Problem):
    """The request is well formed but some of its fields or parameters are not acceptable."""

    status, code, title = 422, "validation-failed", "Validation failed"

    @classmethod
    def of(cls, pointer: str, code: str, message: str) -> "ValidationFailed":
        """The common case of one fault."""
        return cls(
            f"{pointer or 'the body'}: {message}", errors=[FieldError(pointer, code, message)]
        )


class RateLimited(Problem):
    """The organization has used up its limit for now; nothing of the request was stored."""

    status, code, title, retryable = 429, "rate-limited", "Rate limited", True


class InternalError(Problem):
    """Something went wrong in the server; it was logged under this request id."""


class Unavailable(Problem):
    """The service cannot take this at the moment; nothing was stored."""

    status, code, title, retryable = 503, "unavailable", "Unavailable", True

    def __init__(self, detail: str = "", *, retry_after_s: float = 1.0) -> None:
        super().__init__(detail, retry_after_s=retry_after_s)


class Overloaded(Unavailable):
    """More is waiting than may wait; nothing was stored, try again later."""

    code, title = "overloaded", "Overloaded"


class Draining(Unavailable):
    """The service is shutting down or draining; nothing was stored."""

    code, title = "draining", "Draining"


class Refusing(Unavailable):
    """An operator has switched ingest off; nothing was stored."""

    code, title = "refusing", "Refusing"


class StorageFull(Unavailable):
    """The disk under the database is full; nothing was stored."""

    code, title = "storage-full", "Storage full"


class StoreUnavailable(Unavailable):
    """The database cannot be reached; nothing was stored."""

    code, title = "store-unavailable", "Store unavailable"


class OutcomeUnknown(Unavailable):
    """The event may or may not have been stored; repeat it with the same dedup_id to be sure."""

    code, title = "outcome-unknown", "Outcome unknown"
