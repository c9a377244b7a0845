"""Which subscriptions an event goes to. A pure function, the same in the processor and in sync mode."""

from collections.abc import Iterable, Sequence

from triggers_api.model.subscription import MATCHING, Subscription

_REMEMBERED_TYPES = 4096


def route(
    event_type: str, received_at: int, subscriptions: Iterable[Subscription], *, now: int
) -> list[Subscription]:
    """The subscriptions an event goes to: those that want its type, take part, and existed.

    Args:
        event_type: the event's type.
        received_at: when it was received; a subscription made later does not get it.
        subscriptions: the organization's.
        now: milliseconds since the epoch, for expiry.
    """
    wanting = (s for s in subscriptions if s.wants_type(event_type))
    return _taking_part(wanting, received_at, now)


def _taking_part(
    subscriptions: Iterable[Subscription], received_at: int, now: int
) -> list[Subscription]:
    return [
        subscription
        for subscription in subscriptions
        if subscription.created_at <= received_at and subscription.status_at(now) in MATCHING
    ]


class RoutingTable:
    """One organization's subscriptions, with the answer to "who wants this type" remembered.

    Gives the same answers as :func:`route`; only the patterns are not matched anew for each event.
    """

    def __init__(self, subscriptions: Sequence[Subscription]) -> None:
        self._subscriptions = tuple(subscriptions)
        self._by_type: dict[str, tuple[Subscription, ...]] = {}

    def route(self, event_type: str, received_at: int, *, now: int) -> list[Subscription]:
        """See :func:`route`."""
        wanting = self._by_type.get(event_type)
        if wanting is None:
            wanting = tuple(s for s in self._subscriptions if s.wants_type(event_type))
            if len(self._by_type) >= _REMEMBERED_TYPES:
                self._by_type.clear()
            self._by_type[event_type] = wanting
        return _taking_part(wanting, received_at, now)
