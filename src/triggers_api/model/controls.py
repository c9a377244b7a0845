"""The switches an operator turns: of the service, of an organization, of a subscription.

What is turned for a while goes back by itself to what it was turned to for good, which may be nothing.
Where several switches have a say, the one that stops more wins; what the environment forces wins always.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, Final

import msgspec

from triggers_api.model.drain import Work
from triggers_api.model.timestamp import Timestamp


class IngestMode(StrEnum):
    """``async`` routes later (202), ``sync`` before the answer (201), ``refuse`` answers 503."""

    ASYNC = "async"
    SYNC = "sync"
    REFUSE = "refuse"


class Running(StrEnum):
    """Whether accepted events are routed."""

    RUNNING = "running"
    PAUSED = "paused"


class DeliveryMode(StrEnum):
    """Whether deliveries are sent; ``skip`` finishes them unsent, as ``skipped``."""

    RUNNING = "running"
    PAUSED = "paused"
    SKIP = "skip"


SWITCHES: Final = ("ingest", "processing", "delivery", "concurrency", "batch_size", "min_poll_ms")
"""What can be turned for the service as a whole."""
ORGANIZATION_SWITCHES: Final = ("ingest", "processing", "delivery")
SUBSCRIPTION_SWITCHES: Final = ("delivery",)
DRAIN: Final = "drain"
"""Not turned with the others: nothing is taken in, so that the service runs empty."""
_DRAINING: Final = "draining"
_NO_TURN: Final = {
    "processing": Running.RUNNING.value,
    "delivery": DeliveryMode.RUNNING.value,
}
"""What an organization or a subscription can be told that adds nothing to the service's own."""

Value = str | int | None
"""What a switch is turned to; ``None``: to what it is when nobody turns it."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """A switch as it was turned for good: to what, when, by whose key and why."""

    value: Value
    updated_at: Timestamp
    updated_by: str
    reason: str | None = None


class Turn(Standing, frozen=True, kw_only=True):
    """A switch as it was turned; one with ``expires_at`` goes back to ``before`` then.

    ``before`` of ``None`` is what the switch is when nobody turns it.
    """

    expires_at: Timestamp | None = None
    before: Standing | None = None

    def standing(self) -> Standing | None:
        """What it was turned to for good."""
        if self.expires_at is not None:
            return self.before
        return Standing(
            value=self.value,
            updated_at=self.updated_at,
            updated_by=self.updated_by,
            reason=self.reason,
        )


class Switches(msgspec.Struct, frozen=True, kw_only=True):
    """The turns of one scope: of the service, of an organization, or of one of its subscriptions.

    Attributes:
        turns: what was turned, by the switch's name; all others are as nobody turned them.
        reason: why the last change was made; ``None`` again once nothing is turned.
        updated_at: when that was.
        updated_by: by whose key.
        drain_begun: what was there to be done when the service began to run empty the last time; a
            version that does not know of it leaves it out.
    """

    organization_id: str | None = None
    subscription_id: str | None = None
    turns: dict[str, Turn] = {}
    reason: str | None = None
    updated_at: Timestamp | None = None
    updated_by: str | None = None
    drain_begun: Work | None = None


class Controls(msgspec.Struct, frozen=True, kw_only=True):
    """The switches in force for the service, an organization or a subscription.

    ``None`` in ``concurrency``, ``batch_size`` and ``min_poll_ms`` means the setting. ``turned`` is what
    was turned for this very scope, switch by switch, and ``expires_at`` when the next of it goes back.
    ``forced_by`` names the environment variable that overrides a switch, switch by switch.
    """

    ingest: IngestMode = IngestMode.ASYNC
    processing: Running = Running.RUNNING
    delivery: DeliveryMode = DeliveryMode.RUNNING
    concurrency: int | None = None
    batch_size: int | None = None
    min_poll_ms: int | None = None
    reason: str | None = None
    updated_at: Timestamp | None = None
    updated_by: str | None = None
    forced_by: dict[str, str] | None = None
    draining: bool = False
    expires_at: Timestamp | None = None
    organization_id: str | None = None
    subscription_id: str | None = None
    turned: dict[str, Turn] = {}


class TurnedSwitch(msgspec.Struct, frozen=True, kw_only=True):
    """A switch that is not at its default: whose, what, who, when, why and until when.

    Of one that only the environment turns ``forced_by`` names the variable, and nobody turned it.
    """

    switch: str
    value: Value
    organization_id: str | None = None
    subscription_id: str | None = None
    reason: str | None = None
    updated_at: Timestamp | None = None
    updated_by: str | None = None
    expires_at: Timestamp | None = None
    before: Value = None
    forced_by: str | None = None


class DeliveryModes(msgspec.Struct, frozen=True, kw_only=True):
    """Whether deliveries are sent: of the service, and of those for whom it was turned off.

    ``limited`` says that there is anybody for whom it is.
    """

    everywhere: DeliveryMode = DeliveryMode.RUNNING
    organizations: dict[str, DeliveryMode] = {}
    subscriptions: dict[str, DeliveryMode] = {}
    limited: bool = False

    def of(self, organization_id: str, subscription_id: str) -> DeliveryMode:
        """Whether those of a subscription are: what waits comes before what is skipped."""
        if not self.limited:
            return DeliveryMode.RUNNING
        return strictest(
            self.everywhere,
            self.organizations.get(organization_id, DeliveryMode.RUNNING),
            self.subscriptions.get(subscription_id, DeliveryMode.RUNNING),
        )


def strictest(*modes: DeliveryMode) -> DeliveryMode:
    """Paused, where one is; else skipped, where one is."""
    for mode in (DeliveryMode.PAUSED, DeliveryMode.SKIP):
        if mode in modes:
            return mode
    return DeliveryMode.RUNNING


def turn(
    switches: Switches,
    changes: Mapping[str, Value],
    *,
    at: Timestamp,
    by: str,
    reason: str | None = None,
    expires_at: Timestamp | None = None,
) -> Switches:
    """The switches with some of them turned, all at once.

    With ``expires_at`` they are turned until then, and go back to what they were turned to for good,
    however often they are turned for a while in between. ``reason`` is why these are.
    """
    switches = settled(switches, at)
    turns = dict(switches.turns)
    defaults = Controls()
    for name, given in changes.items():
        value = given
        if switches.organization_id is None:
            value = None if given == getattr(defaults, name, None) else given
        elif given == _NO_TURN.get(name):
            value = None
        held = turns.get(name)
        if expires_at is not None:
            turns[name] = Turn(
                value=value,
                updated_at=at,
                updated_by=by,
                reason=reason,
                expires_at=expires_at,
                before=None if held is None else held.standing(),
            )
        elif value is None:
            turns.pop(name, None)
        else:
            turns[name] = Turn(value=value, updated_at=at, updated_by=by, reason=reason)
    return msgspec.structs.replace(
        switches, turns=turns, reason=reason, updated_at=at, updated_by=by
    )


def drained(
    switches: Switches,
    *,
    at: Timestamp,
    by: str,
    work: Work | None = None,
    reason: str | None = None,
    expires_at: Timestamp | None = None,
) -> Switches:
    """The service's switches with nothing taken in any more, and ``work`` to be done.

    While it is being drained already, the beginning stays where it was.
    """
    switches = settled(switches, at)
    if DRAIN not in switches.turns:
        switches = msgspec.structs.replace(switches, drain_begun=work)
    return turn(switches, {DRAIN: _DRAINING}, at=at, by=by, reason=reason, expires_at=expires_at)


def settled(switches: Switches, now: Timestamp) -> Switches:
    """The switches with what has expired gone back."""
    due = expires_at(switches)
    if due is None or due > now:
        return switches
    turns: dict[str, Turn] = {}
    for name, each in switches.turns.items():
        if each.expires_at is None or each.expires_at > now:
            turns[name] = each
        elif each.before is not None:
            turns[name] = Turn(**msgspec.structs.asdict(each.before))
    return msgspec.structs.replace(switches, turns=turns, reason=switches.reason if turns else None)


def expires_at(switches: Switches) -> Timestamp | None:
    """When the next of them goes back."""
    return min(
        (each.expires_at for each in switches.turns.values() if each.expires_at is not None),
        default=None,
    )


def in_force(
    service: Switches,
    organization: Switches | None = None,
    subscription: Switches | None = None,
    *,
    forced: Mapping[str, tuple[Any, str]],
) -> Controls:
    """The switches in force for the innermost scope that is given; nothing of them has expired.

    Args:
        service: of the whole service.
        organization: of an organization.
        subscription: of one of its subscriptions.
        forced: switches that the environment overrides: name → (value, variable).
    """
    own = subscription or organization or service
    scopes = [each for each in (service, organization, subscription) if each is not None]
    values = {name: found for name in SWITCHES if (found := _value(service, name)) is not None}
    values |= {
        "ingest": _ingest(_value(each, "ingest") for each in scopes),
        "processing": Running.PAUSED
        if any(_value(each, "processing") == Running.PAUSED for each in scopes)
        else Running.RUNNING,
        "delivery": strictest(
            *(DeliveryMode(found) for each in scopes if (found := _value(each, "delivery")))
        ),
    }
    for name, (value, _) in forced.items():
        values[name] = value
    return Controls(
        **values,
        reason=own.reason,
        updated_at=own.updated_at,
        updated_by=own.updated_by,
        forced_by={name: variable for name, (_, variable) in forced.items()} or None,
        draining=_value(service, DRAIN) is not None,
        expires_at=expires_at(own),
        organization_id=own.organization_id,
        subscription_id=own.subscription_id,
        turned=own.turns,
    )


def _ingest(values: Iterable[Value]) -> IngestMode:
    """What is refused stays refused; else an organization's own mode comes before the service's."""
    mode = IngestMode.ASYNC
    for value in values:
        if value == IngestMode.REFUSE:
            return IngestMode.REFUSE
        if value is not None:
            mode = IngestMode(str(value))
    return mode


def _value(switches: Switches, name: str) -> Any:  # noqa: ANN401 - by the switch
    found = switches.turns.get(name)
    return None if found is None else found.value


def turned(
    switches: Switches, *, forced: Mapping[str, tuple[Any, str]] | None = None
) -> list[TurnedSwitch]:
    """What of these is not at its default, switch by switch."""
    forced = forced or {}
    defaults = Controls()
    found = [
        TurnedSwitch(
            switch=name,
            value=forced[name][0] if name in forced else each.value,
            organization_id=switches.organization_id,
            subscription_id=switches.subscription_id,
            reason=each.reason,
            updated_at=each.updated_at,
            updated_by=each.updated_by,
            expires_at=each.expires_at,
            before=None if each.before is None else each.before.value,
            forced_by=forced[name][1] if name in forced else None,
        )
        for name, each in switches.turns.items()
    ]
    if switches.organization_id is None:
        found += [
            TurnedSwitch(switch=name, value=value, forced_by=variable)
            for name, (value, variable) in forced.items()
            if name not in switches.turns and value != getattr(defaults, name)
        ]
    return found


def for_older(switches: Switches) -> Controls:
    """The service's switches as the row that versions without expiry and draining read."""
    values = {name: found for name in SWITCHES if (found := _value(switches, name)) is not None}
    if DRAIN in switches.turns:
        values["ingest"] = IngestMode.REFUSE
    if "ingest" in values:
        values["ingest"] = IngestMode(values["ingest"])
    if "processing" in values:
        values["processing"] = Running(values["processing"])
    if "delivery" in values:
        values["delivery"] = DeliveryMode(values["delivery"])
    return Controls(
        **values,
        reason=switches.reason,
        updated_at=switches.updated_at,
        updated_by=switches.updated_by,
    )


def with_older(switches: Switches, row: Controls | None) -> Switches:
    """The service's switches with what a version without expiry and draining has turned since.

    Such a version writes the row alone, and what differs there from what was written beside these
    switches was turned by it, for good.
    """
    if row is None:
        return switches
    written = for_older(switches)
    changes: dict[str, Value] = {
        name: getattr(row, name)
        for name in SWITCHES
        if getattr(row, name) != getattr(written, name)
    }
    if not changes:
        return switches
    defaults = Controls()
    turns = dict(switches.turns)
    for name, value in changes.items():
        turns.pop(name, None)
        if value != getattr(defaults, name):
            turns[name] = Turn(
                value=value,
                updated_at=row.updated_at or Timestamp(0),
                updated_by=row.updated_by or "",
                reason=row.reason,
            )
    return msgspec.structs.replace(
        switches,
        turns=turns,
        reason=row.reason,
        updated_at=row.updated_at,
        updated_by=row.updated_by,
    )
