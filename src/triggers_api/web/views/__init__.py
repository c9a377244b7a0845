"""The views, in the order of the navigation. How to add one is said in ``web/__init__.py``."""

from typing import Final

from triggers_api.web.page import View
from triggers_api.web.views import (
    dead_letters,
    deliveries,
    event_types,
    events,
    inboxes,
    operations,
    organizations,
    overview,
    subscriptions,
)

VIEWS: Final[tuple[View, ...]] = (
    overview.VIEW,
    events.VIEW,
    deliveries.VIEW,
    subscriptions.VIEW,
    dead_letters.VIEW,
    inboxes.VIEW,
    event_types.VIEW,
    operations.VIEW,
    organizations.VIEW,
)
