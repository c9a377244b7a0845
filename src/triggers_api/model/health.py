"""The health of an endpoint, by what its last attempts came to. Pure.

Attempts that fail one after the other open the *breaker*: nothing is sent for a while, then one delivery
goes out as a probe. If that fails the breaker opens again for longer; the first success closes it. Who
fails for days is warned, and disabled later.

What is known of an endpoint is an :class:`EndpointHealth`; one whose last attempt succeeded has none.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec

from triggers_api.model.delivery import Attempt, DeliveryStatus
from triggers_api.model.notice import Notice, NoticeType
from triggers_api.model.timestamp import Timestamp

_DAY_S: Final = 86_400.0
_DOUBLINGS: Final = 32
_NEVER: Final = Timestamp(0)


class HealthPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """When an endpoint is left alone, and when it is given up.

    Attributes:
        breaker_failures: failed attempts in a row that open the breaker; 0: it never opens.
        first_open_s: seconds it is open for the first time; each time after that for twice as long.
        longest_open_s: seconds it is open at the most.
        disable_after_s: seconds of nothing but failure after which a subscription is disabled, and
            after half of which there is a warning; 0: never.
        disable_failures: and not before so many attempts have failed.
        probe_every_s: seconds between looks at whether a disabled one works again.
    """

    breaker_failures: int = 10
    first_open_s: float = 10.0
    longest_open_s: float = 300.0
    disable_after_s: float = 5 * _DAY_S
    disable_failures: int = 10
    probe_every_s: float = _DAY_S


DEFAULT_POLICY: Final = HealthPolicy()


class BreakerState(StrEnum):
    """Whether an endpoint is sent to: ``half-open`` is one delivery at a time, as a probe."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class EndpointHealth(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint whose last attempts failed.

    Attributes:
        failures: attempts in a row.
        failing_since: when the first of them was on file.
        error: what the last one came to.
        opened: how often in a row the breaker opened; 0: it is closed.
        open_until: nothing is sent before; while a probe is under way, the end of its lease.
        probe_from: the first moment at which there may be a probe.
        warned_at: when it was said that the subscription will be disabled.
        disabled_at: when it was; it is probed at ``open_until`` then.
    """

    failures: int
    failing_since: Timestamp
    error: str
    opened: int = 0
    open_until: Timestamp = _NEVER
    probe_from: Timestamp = _NEVER
    warned_at: Timestamp | None = None
    disabled_at: Timestamp | None = None

    def state(self, now: int) -> BreakerState:
        """The breaker's at a moment."""
        if not self.opened:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now < self.probe_from else BreakerState.HALF_OPEN

    @property
    def disabled_reason(self) -> str:
        """Why the subscription was disabled, for a person."""
        return f"failing since {self.failing_since}: {self.error}"


class HealthShown(msgspec.Struct, frozen=True, kw_only=True):
    """The health of an endpoint as the API shows it.

    Attributes:
        open_until: when the next probe may be made, while the breaker is not closed.
        next_probe_at: when a subscription that was disabled for failing is tried again.
    """

    state: BreakerState
    consecutive_failures: int
    failing_since: Timestamp
    open_until: Timestamp | None
    next_probe_at: Timestamp | None
    last_error: str


def shown_health(health: EndpointHealth, now: int) -> HealthShown:
    """What the API tells of an endpoint that fails."""
    waits = health.disabled_at is None and health.opened > 0
    return HealthShown(
        state=health.state(now),
        consecutive_failures=health.failures,
        failing_since=health.failing_since,
        open_until=health.open_until if waits else None,
        next_probe_at=None if health.disabled_at is None else health.open_until,
        last_error=health.error,
    )


class Evidence(msgspec.Struct, frozen=True, gc=False):
    """What one attempt says of an endpoint.

    Attributes:
        started_at: when it began.
        error: what it came to; ``None`` for a success.
        sent_to: the URL, where it is known.
    """

    started_at: Timestamp
    error: str | None
    sent_to: str | None = None


def evidence(
    attempt: Attempt | None, status: DeliveryStatus, sent_to: str | None = None
) -> Evidence | None:
    """What a settlement says of its endpoint, if it says anything.

    Every answer but a 2xx is a failure, and so is none: also one that refuses this one payload, since
    the next success forgets it. What was cancelled says nothing: the receiver asked for it.
    """
    if attempt is None or status is DeliveryStatus.CANCELLED:
        return None
    if status is DeliveryStatus.SUCCEEDED:
        return Evidence(attempt.started_at, None, sent_to)
    error = attempt.error or f"receiver answered {attempt.status_code}"
    return Evidence(attempt.started_at, error, sent_to)


class HealthEvent(StrEnum):
    """A turn in an endpoint's health that somebody may want to hear of."""

    OPENED = "opened"
    FAILING = "failing"
    DISABLED = "disabled"
    RECOVERED = "recovered"


class HealthChange(msgspec.Struct, frozen=True):
    """A turn in the health of a subscription's endpoint, and what was known at that moment."""

    organization_id: str
    subscription_id: str
    event: HealthEvent
    health: EndpointHealth


def judge(
    health: EndpointHealth | None,
    seen: Sequence[Evidence],
    *,
    policy: HealthPolicy,
    now: Timestamp,
    draw: float,
    may_disable: bool = True,
) -> tuple[EndpointHealth | None, list[tuple[HealthEvent, EndpointHealth]]]:
    """What is known of an endpoint after some attempts, and what turned meanwhile.

    The subscription is delivered to: what is on file of one that was disabled is of the past.

    Args:
        health: what was known before.
        seen: the attempts, in the order in which they are settled.
        policy: when to leave it alone, and when to give it up.
        now: when they are settled.
        draw: a random number in [0, 1) for the jitter.
        may_disable: whether it can be disabled now; if not, a later failure will.
    """
    turned: list[tuple[HealthEvent, EndpointHealth]] = []
    if health is not None and health.disabled_at is not None:
        health = None
    for each in seen:
        if health is not None and health.disabled_at is not None:
            break
        if each.error is None:
            if health is not None and (health.opened or health.warned_at is not None):
                turned.append((HealthEvent.RECOVERED, health))
            health = None
            continue
        health, opened = _failed(health, each, each.error, policy=policy, now=now, draw=draw)
        health, given_up = _patience(health, policy=policy, now=now, may_disable=may_disable)
        turned += [(turn, health) for turn in (opened, given_up) if turn is not None]
    return health, turned


def probed(
    health: EndpointHealth, error: str | None, *, policy: HealthPolicy, now: Timestamp
) -> EndpointHealth | None:
    """What is known of a disabled endpoint after a probe; ``None`` when that succeeded."""
    if error is None:
        return None
    return msgspec.structs.replace(
        health,
        failures=health.failures + 1,
        error=error,
        open_until=now.after(seconds=policy.probe_every_s),
    )


def notice(change: HealthChange, *, at: Timestamp, policy: HealthPolicy) -> Notice:
    """What an organization that asked is told of a turn."""
    health = change.health
    kind, reason, disable_at = NoticeType.SUBSCRIPTION_RECOVERED, None, None
    match change.event:
        case HealthEvent.OPENED:
            kind, reason = NoticeType.BREAKER_OPENED, health.error
        case HealthEvent.FAILING:
            kind, reason = NoticeType.SUBSCRIPTION_FAILING, health.error
            disable_at = max(
                health.failing_since.after(seconds=policy.disable_after_s),
                at.after(seconds=policy.disable_after_s / 2),
            )
        case HealthEvent.DISABLED:
            kind, reason = NoticeType.SUBSCRIPTION_DISABLED, health.disabled_reason
        case HealthEvent.RECOVERED if health.warned_at is None:
            kind = NoticeType.BREAKER_CLOSED
    return Notice(
        type=kind,
        at=at,
        subscription_id=change.subscription_id,
        reason=reason,
        failures=health.failures,
        failing_since=health.failing_since,
        disable_at=disable_at,
    )


def open_for_s(opened: int, *, policy: HealthPolicy, draw: float) -> float:
    """Seconds for which the breaker opens the ``opened``-th time in a row.

    Doubles from time to time up to a bound, less up to a quarter so that endpoints that failed together
    are not probed together.
    """
    doublings = min(opened - 1, _DOUBLINGS)
    longest = min(policy.first_open_s * float(2**doublings), policy.longest_open_s)
    return longest * (1 - 0.25 * draw)


def _failed(
    health: EndpointHealth | None,
    seen: Evidence,
    error: str,
    *,
    policy: HealthPolicy,
    now: Timestamp,
    draw: float,
) -> tuple[EndpointHealth, HealthEvent | None]:
    if health is None:
        health = EndpointHealth(failures=0, failing_since=now, error=error)
    changed = msgspec.structs.replace(health, failures=health.failures + 1, error=error)
    limit = policy.breaker_failures
    if not limit:
        return msgspec.structs.replace(changed, opened=0), None
    # What began before there could be a probe was under way when the breaker opened, and says no more.
    if changed.failures < limit or (health.opened and seen.started_at < health.probe_from):
        return changed, None
    until = now.after(seconds=open_for_s(health.opened + 1, policy=policy, draw=draw))
    changed = msgspec.structs.replace(
        changed, opened=health.opened + 1, open_until=until, probe_from=until
    )
    return changed, None if health.opened else HealthEvent.OPENED


def _patience(
    health: EndpointHealth, *, policy: HealthPolicy, now: Timestamp, may_disable: bool
) -> tuple[EndpointHealth, HealthEvent | None]:
    after_ms = policy.disable_after_s * 1000
    if not after_ms or health.failures < policy.disable_failures:
        return health, None
    if health.warned_at is None:
        if now - health.failing_since < after_ms / 2:
            return health, None
        return msgspec.structs.replace(health, warned_at=now), HealthEvent.FAILING
    # Nobody is disabled who has not had the other half of the time since the warning.
    late = now - health.failing_since >= after_ms and now - health.warned_at >= after_ms / 2
    if not (late and may_disable):
        return health, None
    return msgspec.structs.replace(
        health,
        opened=0,
        disabled_at=now,
        open_until=now.after(seconds=policy.probe_every_s),
    ), HealthEvent.DISABLED
