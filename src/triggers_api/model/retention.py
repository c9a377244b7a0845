"""For how long what is finished is kept: four ages, and the moments that follow. Pure."""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from triggers_api.model.organization import Organization
from triggers_api.model.timestamp import Timestamp

_DAY_S: Final = 86_400.0


class Ages(msgspec.Struct, frozen=True, kw_only=True):
    """How many days each is kept once it is finished; 0 is for ever.

    Attributes:
        events: since the last thing that happened to one, with its payload and all it has left.
        deliveries: those that succeeded, or were skipped or cancelled; at the longest with their event.
        attempts: at the longest with their delivery, which is when they go if it is 0.
        dead_letters: their events are kept as long, whatever ``events`` says: one is nothing without.
    """

    events: int
    deliveries: int
    attempts: int
    dead_letters: int


class Moments(msgspec.Struct, frozen=True, kw_only=True):
    """What was finished before these may go; 0 is before everything."""

    events: Timestamp
    deliveries: Timestamp
    attempts: Timestamp
    dead_letters: Timestamp


class Cutoffs(msgspec.Struct, frozen=True, kw_only=True):
    """The moments of some organizations, by id, and those of every other one."""

    default: Moments
    own: Mapping[str, Moments] = {}


class _Own(msgspec.Struct, frozen=True, kw_only=True):
    events: int | None = None
    deliveries: int | None = None
    attempts: int | None = None
    dead_letters: int | None = None


class RetentionDays(msgspec.Struct, frozen=True, kw_only=True):
    """The service's settings. What is ``None`` is kept for as long as that to which it belongs.

    Deliveries and dead letters belong to their events, attempts to their deliveries.
    """

    events: int
    deliveries: int | None = None
    attempts: int | None = None
    dead_letters: int | None = None

    def ages(self, organization: Organization | None = None) -> Ages:
        """What is in force for an organization: its own days, the service's, those of the event."""
        own = _of(organization)
        events = _first(own.events, self.events)
        deliveries = _first(own.deliveries, self.deliveries, events)
        return Ages(
            events=events,
            deliveries=deliveries,
            attempts=_first(own.attempts, self.attempts, 0),
            dead_letters=_first(own.dead_letters, self.dead_letters, events),
        )

    def cutoffs(self, organizations: Iterable[Organization], *, now: Timestamp) -> Cutoffs:
        """What holds for all of these at a moment."""
        default = self.ages()
        own = [(each.id, self.ages(each)) for each in organizations]
        return Cutoffs(
            default=moments(default, now=now),
            own={name: moments(ages, now=now) for name, ages in own if ages != default},
        )


def _of(organization: Organization | None) -> _Own:
    if organization is None:
        return _Own()
    return _Own(
        events=organization.retention_days,
        deliveries=organization.delivery_retention_days,
        attempts=organization.attempt_retention_days,
        dead_letters=organization.dead_letter_retention_days,
    )


def moments(ages: Ages, *, now: Timestamp) -> Moments:
    """From which moments on what was finished is still kept."""
    return Moments(
        events=_before(ages.events, now),
        deliveries=_before(ages.deliveries, now),
        attempts=_before(ages.attempts, now),
        dead_letters=_before(ages.dead_letters, now),
    )


def keeps_everything(cutoffs: Cutoffs) -> bool:
    """Whether nothing of anybody is ever deleted for its age."""
    return not any(
        any((each.events, each.deliveries, each.attempts, each.dead_letters))
        for each in (cutoffs.default, *cutoffs.own.values())
    )


def without_effect(ages: Ages) -> tuple[str, ...]:
    """Which ages are longer than that of the events, with which what they are about goes."""
    given = (("deliveries", ages.deliveries), ("attempts", ages.attempts))
    return tuple(name for name, days in given if _longer(days, ages.events))


def _longer(days: int, than: int) -> bool:
    return than != 0 and days > than


def _before(days: int, now: Timestamp) -> Timestamp:
    return Timestamp(max(0, now.after(seconds=-days * _DAY_S)) if days else 0)


def _first(*days: int | None) -> int:
    return next(each for each in days if each is not None)
