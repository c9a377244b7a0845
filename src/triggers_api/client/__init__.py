"""The client: send events, consume them, find out what became of them, and verify webhooks.

::

    from triggers_api.client import Client

    with Client("https://events.example.com", api_key) as client:
        client.send("order.created", {"id": 42})

:class:`AsyncClient` is the same with ``await``. Nothing of the service is imported.
"""

from typing import TYPE_CHECKING, Any

from triggers_api.client.attempts import Retry
from triggers_api.client.blocking import Client
from triggers_api.client.carrier import Listing
from triggers_api.client.consuming import Consumer, Inbox, Message
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
    EventType,
    Explanation,
    Hook,
    InboxItem,
    InboxResult,
    InboxState,
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
    from triggers_api.client.aio import AsyncClient
    from triggers_api.client.aiocarrier import AsyncListing
    from triggers_api.client.aioconsuming import AsyncConsumer, AsyncInbox, AsyncMessage

_IN_A_LOOP = {
    "AsyncClient": "aio",
    "AsyncConsumer": "aioconsuming",
    "AsyncInbox": "aioconsuming",
    "AsyncListing": "aiocarrier",
    "AsyncMessage": "aioconsuming",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a class
    # aiohttp takes longer to import than all the rest, and threads do without it.
    if name in _IN_A_LOOP:
        from importlib import import_module  # noqa: PLC0415

        return getattr(import_module(f"{__name__}.{_IN_A_LOOP[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "ApiError",
    "AsyncClient",
    "AsyncConsumer",
    "AsyncInbox",
    "AsyncListing",
    "AsyncMessage",
    "Attempt",
    "BadRequest",
    "BatchReport",
    "Client",
    "ClientError",
    "Conflict",
    "Consumer",
    "DeadlineExceeded",
    "Delivery",
    "DeliveryDetail",
    "Event",
    "EventDetail",
    "EventType",
    "Explanation",
    "FieldError",
    "Forbidden",
    "Hook",
    "Inbox",
    "InboxItem",
    "InboxResult",
    "InboxState",
    "InvalidWebhook",
    "ItemResult",
    "Job",
    "LeaseLost",
    "Listing",
    "Message",
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
