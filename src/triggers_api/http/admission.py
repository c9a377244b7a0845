"""Who may send events now: key, scope and rate, the same for one event and for many."""

import asyncio
import math
from collections.abc import Callable
from functools import lru_cache
from time import perf_counter

import structlog

from triggers_api.errors import InternalError, Problem, RateLimited, TooLarge, Unavailable
from triggers_api.http.auth import Authenticator, organization_of
from triggers_api.http.protocol import Answer, Headers
from triggers_api.http.wire import problem_answer, request_id
from triggers_api.ingest.limits import Limiter, RateDecision
from triggers_api.model.organization import Organization, Scope
from triggers_api.model.quota import Rate
from triggers_api.store.directory import Directory
from triggers_api.telemetry.metrics import Metrics
from triggers_api.telemetry.tracing import Received, Tracing

log = structlog.get_logger(__name__)


class IngestRequest:
    """A request that has not been answered."""

    __slots__ = (
        "headers",
        "identifier",
        "limit_headers",
        "organization_id",
        "raw",
        "started",
        "traced",
    )

    def __init__(self, raw: Headers) -> None:
        self.started = perf_counter()
        self.raw = raw
        self.headers = dict(raw)
        self.identifier = request_id(self.headers.get(b"x-request-id"))
        self.limit_headers: Headers = []
        self.organization_id: str | None = None
        self.traced: Received | None = None


class Admission:
    """Decides by the keys and limits that are in force."""

    def __init__(
        self,
        directory: Directory,
        limiter: Limiter,
        *,
        authenticator: Authenticator,
        rate: Rate,
        monotonic: Callable[[], float] = perf_counter,
    ) -> None:
        """Set up.

        Args:
            directory: knows the organizations.
            limiter: counts.
            authenticator: says who asks.
            rate: holds for an organization that has none of its own.
            monotonic: seconds on a clock that never goes back, for the limiter.
        """
        self._directory = directory
        self._limiter = limiter
        self._authenticate = authenticator
        self._rate = rate
        self._monotonic = monotonic

    def organization(self, raw: Headers, headers: dict[bytes, bytes]) -> str:
        """The organization whose key a request carries.

        Raises:
            Unauthorized: the key is missing, unknown, expired or revoked.
            Forbidden: it must not send events.
        """
        return organization_of(self._authenticate(raw, headers), Scope.INGEST)

    def charge(
        self, organization_id: str, cost: int, limit_headers: Headers
    ) -> "asyncio.Future[RateDecision] | None":
        """Count events against the organization's limit, all or none.

        Args:
            organization_id: whose.
            cost: how many.
            limit_headers: is given what the answer says about the limit, whatever it is.

        Returns:
            What the answer waits for, then to be taken to :meth:`settle`; nearly always nothing.

        Raises:
            RateLimited: not now.
            TooLarge: never, it is more than the limit lets through at once.
        """
        rate = self._rate_of(self._directory.organization(organization_id))
        if not rate.per_minute:
            return None
        decision = self._limiter.check(organization_id, cost, rate, now=self._monotonic())
        if not isinstance(decision, RateDecision):
            return decision
        _settle(decision, cost, rate, limit_headers)
        return None

    def settle(
        self, organization_id: str, cost: int, decision: RateDecision, limit_headers: Headers
    ) -> None:
        """Go by a decision that had to be waited for; see :meth:`charge`."""
        rate = self._rate_of(self._directory.organization(organization_id))
        _settle(decision, cost, rate, limit_headers)

    async def charged(self, organization_id: str, cost: int, limit_headers: Headers) -> None:
        """Do :meth:`charge`, and wait if need be."""
        deciding = self.charge(organization_id, cost, limit_headers)
        if deciding is not None:
            self.settle(organization_id, cost, await deciding, limit_headers)

    def _rate_of(self, organization: Organization | None) -> Rate:
        if organization is None or organization.rate_limit is organization.rate_burst is None:
            return self._rate
        limit, burst = organization.rate_limit, organization.rate_burst
        return Rate(
            self._rate.per_minute if limit is None else limit,
            self._rate.burst if burst is None else burst,
        )


def _settle(decision: RateDecision, cost: int, rate: Rate, limit_headers: Headers) -> None:
    limit_headers += rate_headers(decision, rate)
    if decision.allowed:
        return
    if cost > rate.burst:
        raise TooLarge(f"more events than are let through at once ({rate.burst})")
    raise RateLimited(
        f"more than {rate.per_minute} events a minute (burst {rate.burst})",
        retry_after_s=decision.retry_after_s,
    )


def rate_headers(decision: RateDecision, rate: Rate) -> Headers:
    """``RateLimit-Policy`` and ``RateLimit`` (draft-ietf-httpapi-ratelimit-headers)."""
    return [
        (b"ratelimit-policy", _policy(rate.per_minute, rate.burst)),
        (b"ratelimit", b'"ingest";r=%d;t=%d' % (decision.remaining, math.ceil(decision.reset_s))),
    ]


@lru_cache(maxsize=1024)
def _policy(per_minute: int, burst: int) -> bytes:
    return b'"ingest";q=%d;w=60;burst=%d' % (per_minute, burst)


def trace(request: IngestRequest, tracing: Tracing, route: str) -> bytes | None:
    """What the events of a request carry on, see ``NewEvent.trace``; begins its span."""
    received = request.traced = tracing.receive(
        request.headers.get(b"traceparent"),
        route=route,
        ago_s=perf_counter() - request.started,
    )
    return None if received is None else received.trace.kept


def refuse(request: IngestRequest, error: Exception, *, metrics: Metrics, route: str) -> Answer:
    """The answer to a request that cannot be done, counted by why."""
    elapsed = perf_counter() - request.started
    if isinstance(error, RateLimited):
        metrics.ingest_limited.observe(elapsed)
        metrics.rollups.limited(request.organization_id)
    elif isinstance(error, Unavailable):
        metrics.ingest_unavailable.observe(elapsed)
        metrics.rollups.unavailable(request.organization_id)
    elif isinstance(error, Problem):
        metrics.ingest_rejected.observe(elapsed)
        metrics.rollups.rejected(request.organization_id)
    else:
        log.error(
            "request failed",
            route=route,
            request_id=request.identifier.decode(),
            exc_info=error,
        )
        error = InternalError()
    log.debug(
        "event refused",
        route=route,
        organization_id=request.organization_id,
        request_id=request.identifier.decode(),
        code=error.code,
        duration_ms=round(elapsed * 1e3, 2),
    )
    status, headers, body = problem_answer(error, request.identifier)
    if request.traced is not None:
        request.traced.end(status, {"triggers.code": error.code})
    return status, headers + request.limit_headers, body
