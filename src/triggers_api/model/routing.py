"""Which subscriptions an event goes to. A pure function, the same in the processor and in sync mode."""

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from triggers_api.model.filter import EventView, Filter, Judgement, stored_filter
from triggers_api.model.subscription import MATCHING, Ordering, Subscription, SubscriptionStatus

_REMEMBERED_TYPES = 4096


class Reason(StrEnum):
    """Why a subscription gets an event, or not; routing and explaining use the same.

    ``paused`` and ``limit`` are of events that it gets and that wait.
    """

    MATCHED = "matched"
    TYPE = "type"
    FILTER = "filter"
    PAUSED = "paused"
    DISABLED = "disabled"
    EXPIRED = "expired"
    CREATED_LATER = "created-later"
    LIMIT = "limit"


class Verdict(msgspec.Struct, frozen=True):
    """What routing decides for one subscription; ``judgement`` is its filter's, if it was asked."""

    reason: Reason
    judgement: Judgement | None = None

    @property
    def matched(self) -> bool:
        """Whether the subscription gets the event."""
        return self.reason is Reason.MATCHED


_MATCHED: Final = Verdict(Reason.MATCHED)
_OTHER_TYPE: Final = Verdict(Reason.TYPE)
_CREATED_LATER: Final = Verdict(Reason.CREATED_LATER)
_TAKES_NO_PART: Final = {
    SubscriptionStatus.DISABLED: Verdict(Reason.DISABLED),
    SubscriptionStatus.EXPIRED: Verdict(Reason.EXPIRED),
}

OnFault = Callable[[str], None]
"""Is told the code of each filter that had no answer."""


class Candidate(msgspec.Struct, frozen=True):
    """A subscription with its filter compiled."""

    subscription: Subscription
    filter: Filter | None

    @classmethod
    def of(cls, subscription: Subscription) -> "Candidate":
        """Compile the filter, if there is one."""
        text = subscription.filter
        return cls(subscription, None if text is None else stored_filter(text))

    def wants(self, event: EventView) -> bool:
        """Whether it is the kind and a type of event that the subscription is for."""
        subscription = self.subscription
        return subscription.operational is event.operational and subscription.wants_type(event.type)

    def verdict(self, event: EventView, received_at: int, *, now: int) -> Verdict:
        """Whether the subscription gets an event: one that wants its type, takes part, and existed.

        One for the service's own events gets no others, and the others get none of these.

        Args:
            event: what filters read.
            received_at: when it was received; a subscription made later does not get it.
            now: milliseconds since the epoch, for expiry.
        """
        if not self.wants(event):
            return _OTHER_TYPE
        return self._verdict(event, received_at, now)

    def _verdict(self, event: EventView, received_at: int, now: int) -> Verdict:
        subscription = self.subscription
        if subscription.created_at > received_at:
            return _CREATED_LATER
        status = subscription.status_at(now)
        if status not in MATCHING:
            return _TAKES_NO_PART[status]
        if self.filter is None:
            return _MATCHED
        judgement = self.filter.judge(event)
        return Verdict(Reason.MATCHED if judgement.matches else Reason.FILTER, judgement)


def route(
    event: EventView,
    received_at: int,
    subscriptions: Iterable[Subscription],
    *,
    now: int,
    on_fault: OnFault | None = None,
) -> list[Subscription]:
    """The subscriptions an event goes to; see :meth:`Candidate.verdict`."""
    wanting = [
        candidate for candidate in map(Candidate.of, subscriptions) if candidate.wants(event)
    ]
    return _chosen(wanting, event, received_at, now, on_fault)


def _chosen(
    wanting: Iterable[Candidate],
    event: EventView,
    received_at: int,
    now: int,
    on_fault: OnFault | None,
) -> list[Subscription]:
    chosen = []
    for candidate in wanting:
        verdict = candidate._verdict(event, received_at, now)  # noqa: SLF001 - the type was compared
        if verdict.matched:
            chosen.append(candidate.subscription)
        elif verdict.judgement is not None and verdict.judgement.fault_code and on_fault:
            on_fault(verdict.judgement.fault_code)
    return chosen


class RoutingTable:
    """One organization's subscriptions, with the answer to "who wants this type" remembered.

    Gives the same answers as :func:`route`; only the patterns are not matched anew for each event,
    and the filters not compiled.
    """

    def __init__(self, subscriptions: Sequence[Subscription]) -> None:
        self._candidates = tuple(map(Candidate.of, subscriptions))
        self._by_type: dict[str, tuple[Candidate, ...]] = {}
        self._by_operational_type: dict[str, tuple[Candidate, ...]] = {}
        self.has_filters = any(candidate.filter for candidate in self._candidates)
        """Whether routing reads more of an event than its type."""
        self.has_order = any(
            candidate.subscription.ordering is not Ordering.NONE for candidate in self._candidates
        )
        """Whether it matters which of two events is routed first."""

    def route(
        self, event: EventView, received_at: int, *, now: int, on_fault: OnFault | None = None
    ) -> list[Subscription]:
        """See :func:`route`."""
        by_type = self._by_operational_type if event.operational else self._by_type
        wanting = by_type.get(event.type)
        if wanting is None:
            wanting = tuple(c for c in self._candidates if c.wants(event))
            if len(by_type) >= _REMEMBERED_TYPES:
                by_type.clear()
            by_type[event.type] = wanting
        return _chosen(wanting, event, received_at, now, on_fault)
