"""What a request to a receiver came to, and what follows from it.

``deliver/webhook.py`` turns the network into an :data:`Outcome`; :func:`decide` is the only code that
knows what a 410, a 429 or a timeout means; the dispatcher only writes the decision down.
"""

from enum import StrEnum
from typing import Final

import msgspec

from triggers_api.model.delivery import DeliveryStatus, Origin
from triggers_api.model.retry import asked_delay_s, delay_s
from triggers_api.model.timestamp import Timestamp

CONTROL_HEADER: Final = "webhook-delivery"
"""In an answer: what the receiver asks for besides, whatever its status."""


class Control(StrEnum):
    """What a receiver can ask for in :data:`CONTROL_HEADER`."""

    DISABLE = "disable"
    ABORT_MESSAGE = "abort-message"


_CONTROLS: Final = {control.value: control for control in Control}


def control_of(value: str) -> Control | None:
    """What a value of :data:`CONTROL_HEADER` asks for, in any case; ``None`` for what we do not know."""
    return _CONTROLS.get(value.strip().lower())


class Answered(msgspec.Struct, frozen=True, gc=False):
    """The receiver answered.

    Attributes:
        status_code: of the answer.
        retry_after_s: seconds its ``Retry-After`` asks for, if it had a readable one.
        control: what its ``webhook-delivery`` asks for, if it had one that we know.
    """

    status_code: int
    retry_after_s: float | None = None
    control: Control | None = None


class NoAnswer(msgspec.Struct, frozen=True, gc=False):
    """No complete answer came.

    Attributes:
        error: a stable word for what happened, one of :data:`ERRORS`.
        permanent: nothing will change by waiting, so the delivery ends here.
    """

    error: str
    permanent: bool = False


class NotSent(msgspec.Struct, frozen=True, gc=False):
    """The request was not made because delivery is switched off."""

    reason: str


Outcome = Answered | NoAnswer | NotSent

ERRORS: Final = {
    "timeout": "no complete answer within the deadline",
    "connection-refused": "nothing listens at the address",
    "connection-failed": "the connection could not be made",
    "connection-lost": "the connection ended before the answer did",
    "dns": "the host name could not be resolved",
    "tls": "the TLS handshake failed or the certificate is not valid",
    "bad-response": "what came back is not HTTP",
    "blocked-address": "the address is not one that deliveries may go to",
    "invalid-url": "the URL cannot be called",
}
"""Every ``error`` an attempt can carry."""

OTHER_ERROR: Final = "other"
"""The error class of what has neither a status code nor one of these."""

GONE: Final = 410
_ANSWERED: Final = "receiver answered "
_CLASS_LENGTH: Final = 40
_THROTTLE: Final = frozenset({429, 502, 503, 504})


class Decision(msgspec.Struct, frozen=True, gc=False):
    """The next state of a delivery.

    Attributes:
        status: the state to enter.
        reason: why, for a person; ``None`` for a success.
        next_attempt_at: when to try again, with ``RETRYING`` only.
        disable_subscription: why nothing is to be sent to the receiver any more; ``None``: go on.
    """

    status: DeliveryStatus
    reason: str | None = None
    next_attempt_at: Timestamp | None = None
    disable_subscription: str | None = None


_SUCCEEDED = Decision(DeliveryStatus.SUCCEEDED)


def decide(
    outcome: Outcome,
    *,
    failures: int,
    schedule: tuple[float, ...],
    now: Timestamp,
    draw: float,
    origin: Origin = Origin.EVENT,
) -> Decision:
    """What follows from an outcome.

    Args:
        outcome: what the request came to.
        failures: attempts made since the delivery was opened, this one included.
        schedule: seconds between attempts; ``n`` delays allow ``n + 1`` attempts.
        now: when the outcome was known.
        draw: a random number in [0, 1) for the jitter.
        origin: a test is not tried again, and no dead letter.
    """
    final = _final(outcome)
    if origin is Origin.TEST and (final is None or final.status is DeliveryStatus.DEAD):
        return Decision(DeliveryStatus.CANCELLED, f"the test failed: {_reason(outcome)}")
    if final is not None:
        return final
    reason = _reason(outcome)
    delay = delay_s(schedule, failures, draw=draw)
    if delay is None:
        return Decision(DeliveryStatus.DEAD, f"{reason}; {failures} of {failures} attempts used")
    if isinstance(outcome, Answered) and outcome.status_code in _THROTTLE:
        asked = outcome.retry_after_s
        delay = delay if asked is None else asked_delay_s(asked, draw=draw)
    return Decision(DeliveryStatus.RETRYING, reason, now.after(seconds=delay))


def _final(outcome: Outcome) -> Decision | None:
    """What follows from an outcome that ends the delivery; ``None`` for one to be tried again."""
    match outcome:
        case Answered():
            return _final_answer(outcome)
        case NotSent():
            return Decision(DeliveryStatus.SKIPPED, _reason(outcome))
        case NoAnswer(permanent=True):
            return Decision(DeliveryStatus.DEAD, _reason(outcome))
    return None


def _reason(outcome: Outcome) -> str:
    match outcome:
        case Answered(status_code=code):
            return f"{_ANSWERED}{code}"
        case NoAnswer(error=error):
            return f"{error}: {ERRORS[error]}"
        case NotSent(reason=reason):
            return reason


def error_class(reason: str | None) -> str:
    """What a dead letter's last attempt came to, from its reason: a status code, or one of ``ERRORS``.

    Statements of PostgreSQL say the same by themselves.
    """
    reason = reason or ""
    if reason.startswith(_ANSWERED):
        return reason[len(_ANSWERED) :][:3]
    word, colon, _ = reason.partition(":")
    return word[:_CLASS_LENGTH] if word and colon else OTHER_ERROR


def _final_answer(answer: Answered) -> Decision | None:
    code, control = answer.status_code, answer.control
    succeeded = 200 <= code < 300
    if succeeded and control is not Control.DISABLE:
        return _SUCCEEDED
    asked_for = f"receiver answered {code} with {CONTROL_HEADER}: {control}"
    if succeeded:
        return Decision(DeliveryStatus.SUCCEEDED, disable_subscription=asked_for)
    if control is Control.DISABLE:
        return Decision(DeliveryStatus.CANCELLED, asked_for, disable_subscription=asked_for)
    if code == GONE:
        gone = "receiver answered 410 Gone"
        return Decision(DeliveryStatus.CANCELLED, gone, disable_subscription=gone)
    if control is Control.ABORT_MESSAGE:
        return Decision(DeliveryStatus.CANCELLED, asked_for)
    return None


def ends_subscription(outcome: Outcome) -> str | None:
    """Why nothing is to be sent to the receiver any more, if it says so; by a 2xx as well."""
    decision = _final(outcome)
    return None if decision is None else decision.disable_subscription


def is_success(outcome: Outcome) -> bool:
    """Whether the receiver has taken the event."""
    return isinstance(outcome, Answered) and 200 <= outcome.status_code < 300


def is_trouble(outcome: Outcome) -> bool:
    """Whether the receiver seems to be asked for more than it can take."""
    if isinstance(outcome, Answered):
        return outcome.status_code in _THROTTLE
    return isinstance(outcome, NoAnswer) and not outcome.permanent


def asks_to_wait_s(outcome: Outcome) -> float | None:
    """Seconds for which the receiver wants to be left alone, if it says so."""
    if isinstance(outcome, Answered) and outcome.status_code in _THROTTLE:
        return outcome.retry_after_s
    return None
