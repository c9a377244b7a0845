"""Rooms to claim deliveries with: for tests that have no dispatcher."""

from collections.abc import Mapping

from triggers_api.store.base import Rooms


def rooms(
    default: int = 1000,
    of: Mapping[str, int] | None = None,
    *,
    organizations: Mapping[str, int] | None = None,
    default_organization: int = 1_000_000,
) -> Rooms:
    """So much room for every subscription but those in ``of``; organizations are not bounded."""
    return Rooms(
        subscriptions=of or {},
        default_subscription=default,
        organizations=organizations or {},
        default_organization=default_organization,
    )
