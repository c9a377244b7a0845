"""For tests of what you build on Triggers API: the real service, a receiver, a clock in your hand.

With pytest, the fixture ``triggers`` is there as soon as this package is installed::

    def test_an_order_reaches_the_warehouse(triggers):
        warehouse = triggers.receiver()
        triggers.client.subscriptions.create(warehouse.url, ["order.*"])
        triggers.client.send("order.created", {"id": 42})
        triggers.drain()
        assert warehouse.requests[0].json["data"] == {"id": 42}

Within an event loop of your own::

    async with Receiver() as receiver, Service(tmp_path) as service:
        await service.subscribe(receiver.url, ["order.*"])
        await service.send("order.created", {"id": 42})
        await receiver.wait_for(1)

Nothing is faked but time: events go over HTTP into a database file and out again over HTTP.
"""

from triggers_api.testing.local import LocalReceiver, LocalService
from triggers_api.testing.service import (
    ADMIN_KEY,
    API_KEY,
    LOOPBACK,
    Answer,
    FrozenClock,
    Received,
    Receiver,
    Reply,
    Service,
)

__all__ = [
    "ADMIN_KEY",
    "API_KEY",
    "LOOPBACK",
    "Answer",
    "FrozenClock",
    "LocalReceiver",
    "LocalService",
    "Received",
    "Receiver",
    "Reply",
    "Service",
]
