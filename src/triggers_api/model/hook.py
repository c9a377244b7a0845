"""A hook: the subscription of a no-code tool, which knows no more than where, and what event. Pure."""

from collections.abc import Iterable
from typing import Final

from triggers_api.model.subscription import (
    MATCHING,
    PayloadFormat,
    Subscription,
    SubscriptionRecord,
)

FORMAT: Final = PayloadFormat.FLAT
"""What hooks are sent, and what samples and polls show."""


def living_hooks(records: Iterable[SubscriptionRecord], *, now: int) -> list[SubscriptionRecord]:
    """The hooks among the subscriptions that are active or paused at a moment, newest first."""
    found = [record for record in records if is_living_hook(record.subscription, now)]
    return sorted(found, key=lambda record: record.subscription.id, reverse=True)


def is_living_hook(subscription: Subscription, now: int) -> bool:
    """Whether it is a hook, and active or paused at a moment."""
    return subscription.hook and subscription.status_at(now) in MATCHING


def is_same(hook: Subscription, url: str, event: str) -> bool:
    """Whether a hook leads to a URL for an event: who asks for such a one again has it."""
    return hook.hook and hook.url == url and hook.event_types == (event,)
