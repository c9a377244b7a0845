"""Sends to URLs that lead, or seem to lead, where deliveries may not go, and tells who was reached.

Run in a world of its own (``tests/servers/enclosure.py``) by ``test_forged_targets.py``. Everything is
the product as it is built: API, store, routing, dispatcher, gate, client, and the system's resolver.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
from tests.servers.dns import DnsServer

from triggers_api.deliver import client
from triggers_api.model import ids
from triggers_api.model.subscription import Subscription, SubscriptionRecord, SubscriptionStatus
from triggers_api.testing import Service

PORT: Final = 8080
SECRET: Final = "whsec_" + "c2VjcmV0" * 5
EVERYTHING: Final = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))


class Target(msgspec.Struct, frozen=True):
    """Where to send, how often."""

    url: str
    events: int = 1


class Told(msgspec.Struct):
    """What became of it: the answer to making a subscription, deliveries, and who was connected to."""

    status: int
    codes: list[str]
    statuses: list[str]
    errors: list[str | None]
    reached: list[str]


class Asked(msgspec.Struct):
    """What this program is given."""

    targets: dict[str, Target]
    zone: dict[str, dict[str, list[list[str]]]]
    allow: bool


class Canary:
    """Listens everywhere; redirects with ``/to/STATUS/HOST`` in the path, and else answers 200."""

    def __init__(self) -> None:
        self._reached: list[str] = []

    @contextmanager
    def watched(self) -> Iterator[list[str]]:
        """The addresses that are connected to meanwhile."""
        self._reached = []
        yield self._reached

    async def start(self, stack: AsyncExitStack) -> None:
        for host in ("0.0.0.0", "::"):
            listening = await asyncio.start_server(self._talk, host, PORT)
            stack.callback(listening.close)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reached.append(writer.get_extra_info("sockname")[0])
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            # A socket that is closed with bytes in it resets the connection.
            length = re.search(rb"^content-length: *(\d+)", head, re.IGNORECASE | re.MULTILINE)
            await reader.readexactly(int(length[1]) if length else 0)
            path = head.split(b" ", 2)[1].decode()
            answer = "HTTP/1.1 200 OK\r\n"
            if path.startswith("/to/"):
                _, _, status, host = path.split("/", 3)
                location = f"http://{host}:{PORT}/"
                answer = f"HTTP/1.1 {status} Elsewhere\r\nlocation: {location}\r\n"
            writer.write(f"{answer}content-length: 0\r\nconnection: close\r\n\r\n".encode())
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def tell(service: Service, canary: Canary, name: str, target: Target) -> Told:
    """Make the subscription, behind the API's back if it is refused, and deliver."""
    with canary.watched() as reached:
        asked = {"url": target.url, "event_types": [name], "secret": SECRET}
        answer = await service.call("POST", "/api/subscriptions", asked)
        refused = [error["code"] for error in answer.json.get("errors", [])]
        subscription_id = answer.json.get("id") or await smuggled(service, name, target.url)
        for _ in range(target.events):
            await service.send(name)
            await service.drain()
        page = await service.call("GET", f"/api/deliveries?subscription_id={subscription_id}")
        found: list[dict[str, Any]] = [
            (await service.call("GET", f"/api/deliveries/{each['id']}")).json
            for each in page.json["data"]
        ]
        # Whoever was connected to last may not have been heard yet.
        await asyncio.sleep(0)
    return Told(
        status=answer.status,
        codes=refused,
        statuses=[delivery["status"] for delivery in found],
        errors=[attempt["error"] for delivery in found for attempt in delivery["attempts"]],
        reached=reached,
    )


async def smuggled(service: Service, name: str, url: str) -> str:
    """The id of a subscription that no check has seen."""
    store = service.app.store
    (organization,) = service.app.directory.organizations()
    subscription = Subscription(
        id=store.ids.new(ids.SUBSCRIPTION),
        url=url,
        event_types=(name,),
        status=SubscriptionStatus.ACTIVE,
        created_at=store.now(),
        updated_at=store.now(),
    )
    await store.save_subscription(
        SubscriptionRecord(
            organization_id=organization.id, subscription=subscription, secrets=(SECRET,)
        )
    )
    await service.app.directory.refresh()
    return subscription.id


async def main(folder: Path, asked: Asked) -> dict[str, Told]:
    """Everything that was asked, one after the other."""
    # Each attempt asks for its name; the product goes by an answer that it has checked for 10 s.
    client._NAMES_KEPT_S = 0.0  # type: ignore[misc]
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(DnsServer(asked.zone, host="127.0.0.1"))
        canary = Canary()
        await canary.start(stack)
        service = await stack.enter_async_context(
            Service(
                folder,
                background=False,
                allow_cidrs=EVERYTHING if asked.allow else (),
                retry_schedule=(),
                delivery_timeout_s=30.0,
                log_level="error",
            )
        )
        return {
            name: await tell(service, canary, name, target)
            for name, target in asked.targets.items()
        }


if __name__ == "__main__":
    # Each attempt asks for its name; the product goes by an answer that it has checked for ten seconds.
    client._NAMES_KEPT_S = 0.0  # type: ignore[misc]
    place = Path(sys.argv[1])
    wanted = msgspec.json.decode((place / "asked.json").read_bytes(), type=Asked)
    (place / "told.json").write_bytes(msgspec.json.encode(asyncio.run(main(place, wanted))))
