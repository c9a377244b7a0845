"""The database itself, for a command that does without the service."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from triggers_api.settings import Settings
    from triggers_api.store.base import Store


@asynccontextmanager
async def opened(settings: "Settings", command: str) -> "AsyncIterator[Store]":
    """The store of the settings' database; what is changed in it the audit log tells as the command's.

    Args:
        settings: which say where it is.
        command: as the audit log names it, ``keys create``.

    Raises:
        StartError: it cannot be opened, or is being served.
    """
    # Late: with these, --help would not be quick.
    from triggers_api.app import store_options, wall_clock  # noqa: PLC0415
    from triggers_api.failpoints import Failpoints  # noqa: PLC0415
    from triggers_api.model.audit import Actor, ActorType  # noqa: PLC0415
    from triggers_api.store.acting import acting  # noqa: PLC0415
    from triggers_api.store.connect import open_store  # noqa: PLC0415
    from triggers_api.telemetry.metrics import Metrics  # noqa: PLC0415

    failed: list[BaseException] = []
    store = await open_store(
        store_options(settings),
        clock=wall_clock,
        metrics=Metrics(),
        failpoints=Failpoints(""),
        fatal=failed.append,
    )
    try:
        with acting(Actor(type=ActorType.COMMAND, command=command)):
            yield store
    finally:
        await store.close()
