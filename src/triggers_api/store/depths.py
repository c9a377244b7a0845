"""Rows of the statements that count who has the most in the queues."""

from collections.abc import Callable, Sequence
from typing import Any

from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import Depths, OrganizationDepth, SubscriptionDepth


def depths_of(
    events: Sequence[Any],
    deliveries: Sequence[Any],
    *,
    organization: Callable[[Any], str],
    subscription: Callable[[Any], str],
) -> Depths:
    """What ``depths_by_organization`` and ``depths_by_subscription`` found.

    Args:
        events: rows of the former.
        deliveries: rows of the latter.
        organization: an organization's id by how the rows name it.
        subscription: a subscription's id, likewise.
    """
    return Depths(
        organizations=tuple(
            OrganizationDepth(
                organization_id=organization(whose),
                depth=depth,
                leased=leased,
                stuck=stuck,
                oldest_at=Timestamp(oldest_at),
            )
            for whose, depth, leased, stuck, oldest_at, _ in events
        ),
        events=int(events[0][-1]) if events else 0,
        subscriptions=tuple(
            SubscriptionDepth(
                organization_id=organization(owner),
                subscription_id=subscription(whose),
                waiting=waiting,
                due=due,
                leased=leased,
                first_at=Timestamp(first_at),
            )
            for owner, whose, waiting, due, leased, first_at, _ in deliveries
        ),
        deliveries=int(deliveries[0][-1]) if deliveries else 0,
    )
