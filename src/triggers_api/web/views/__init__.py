"""The views, in the order of the navigation. How to add one is said in ``web/__init__.py``."""

from typing import Final

from triggers_api.web.page import View
from triggers_api.web.views import deliveries, events, organizations, overview

VIEWS: Final[tuple[View, ...]] = (
    overview.VIEW,
    events.VIEW,
    deliveries.VIEW,
    organizations.VIEW,
)
