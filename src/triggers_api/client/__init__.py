"""The client: send events, consume them, find out what became of them, and verify webhooks.

::

    from triggers_api.client import Client

    with Client("https://events.example.com", api_key) as client:
        client.send("order.created", {"id": 42})

:class:`AsyncClient` is the same with ``await``. Nothing of the service is imported.
"""

from typing import TYPE_CHECKING, Any

from triggers_api.client.attempts import Retry
from triggers_api.client.blocking import Client, Listing
from triggers_api.client.errors import (
    ApiError,
    BadRequest,
    ClientError,
    Conflict,
    DeadlineExceeded,
    FieldError,
    Forbidden,
    InvalidWebhook,
    LeaseLost,
    NoAnswer,
    NotFound,
    RateLimited,
    SendInterrupted,
    TooLarge,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
    ValidationFailed,
)
from triggers_api.client.models import (
    Attempt,
    BatchReport,
    Delivery,
    DeliveryDetail,
    Event,
    EventDetail,
    Explanation,
    ItemResult,
    Job,
    NewEvent,
    Organization,
    Page,
    Sent,
    Subscription,
    SubscriptionStats,
)
from triggers_api.client.webhook import Webhook, verify

if TYPE_CHECKING:
    from triggers_api.client.aio import AsyncClient, AsyncListing

_IN_A_LOOP = frozenset({"AsyncClient", "AsyncListing"})


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a class
    # aiohttp takes longer to import than all the rest, and threads do without it.
    if name in _IN_A_LOOP:
        from triggers_api.client import aio  # noqa: PLC0415

        return getattr(aio, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "ApiError",
    "AsyncClient",
    "AsyncListing",
    "Attempt",
    "BadRequest",
    "BatchReport",
    "Client",
    "ClientError",
    "Conflict",
    "DeadlineExceeded",
    "Delivery",
    "DeliveryDetail",
    "Event",
    "EventDetail",
    "Explanation",
    "FieldError",
    "Forbidden",
    "InvalidWebhook",
    "ItemResult",
    "Job",
    "LeaseLost",
    "Listing",
    "NewEvent",
    "NoAnswer",
    "NotFound",
    "Organization",
    "Page",
    "RateLimited",
    "Retry",
    "SendInterrupted",
    "Sent",
    "Subscription",
    "SubscriptionStats",
    "TooLarge",
    "Unauthorized",
    "Unavailable",
    "UnexpectedAnswer",
    "ValidationFailed",
    "Webhook",
    "verify",
]
