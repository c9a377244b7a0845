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
    until = f" Until {controls.expires_at}." if controls.expires_at is not None else ""

    def banner(level: str, title: str, usual: str) -> Banner:
        return Banner(level, title, (why or usual) + until)

    if controls.draining:
        yield banner("warn", "The service is being drained.", "Nothing new is taken in.")
    elif controls.ingest is IngestMode.REFUSE:
        yield banner("bad", "Events are refused.", "Whoever sends one is told to try later.")
    if controls.ingest is IngestMode.SYNC:
        yield banner("warn", "Sync mode.", "Events are routed before they are answered.")
    if controls.processing is Running.PAUSED:
        yield banner("warn", "Routing is paused.", "Events are accepted, and wait.")
    if controls.delivery is DeliveryMode.PAUSED:
        yield banner("warn", "Delivery is paused.", "Deliveries wait; nothing is lost.")
    if controls.delivery is DeliveryMode.SKIP:
        yield banner("bad", "Deliveries are skipped.", "What is due is finished unsent.")
