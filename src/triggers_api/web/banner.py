"""What stands above every page while the service does not work as usual."""

from collections.abc import Iterator

import msgspec

from triggers_api.model.controls import Controls, DeliveryMode, IngestMode, Running


class Banner(msgspec.Struct, frozen=True):
    """A line above the page; ``level`` is ``warn`` or ``bad``."""

    level: str
    title: str
    text: str


def banners(controls: Controls, *, draining: bool, with_reason: bool) -> list[Banner]:
    """The lines that hold now; the reason is for operators."""
    why = controls.reason if with_reason and controls.reason else ""
    found = list(_lines(controls, why))
    if draining:
        found.append(
            Banner("warn", "Draining.", "This process takes nothing new and is about to end.")
        )
    return found


def _lines(controls: Controls, why: str) -> Iterator[Banner]:
    if controls.ingest is IngestMode.REFUSE:
        yield Banner("bad", "Events are refused.", why or "Whoever sends one is told to try later.")
    if controls.ingest is IngestMode.SYNC:
        yield Banner("warn", "Sync mode.", why or "Events are routed before they are answered.")
    if controls.processing is Running.PAUSED:
        yield Banner("warn", "Routing is paused.", why or "Events are accepted, and wait.")
    if controls.delivery is DeliveryMode.PAUSED:
        yield Banner("warn", "Delivery is paused.", why or "Deliveries wait; nothing is lost.")
    if controls.delivery is DeliveryMode.SKIP:
        yield Banner("bad", "Deliveries are skipped.", why or "What is due is finished unsent.")
