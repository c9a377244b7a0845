"""Waiting until a server has done what was left for later."""

import time
from collections.abc import Callable
from typing import Final

from triggers_api.bench.errors import RunFailed
from triggers_api.bench.server import Api

_WITHIN_S: Final = 3600.0
_LOOK_EVERY_S: Final = 0.5
_INDEXED: Final = "triggers_search_indexed_events_total"
_LEFT: Final = 2048
"""Events that an organization may have behind the index for good."""


def until_routed(api: Api) -> None:
    """Until the queue is empty.

    Raises:
        RunFailed: that takes longer than an hour.
    """
    _until(api, lambda: not api.call("GET", "/readyz")["queue"]["depth"])


def until_indexed(api: Api, stored: int) -> None:
    """Until so many events of one organization can be found by the index.

    Raises:
        RunFailed: that takes longer than an hour.
    """
    _until(api, lambda: _indexed(api) > stored - _LEFT)


def _indexed(api: Api) -> float:
    _, content = api.ask("GET", "/metrics")
    for line in content.decode().splitlines():
        if line.startswith(_INDEXED):
            return float(line.rpartition(" ")[2])
    raise RunFailed(f"the server does not say {_INDEXED}")


def _until(api: Api, rested: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _WITHIN_S
    while not rested():
        if time.monotonic() > deadline:
            raise RunFailed(f"{api.target.url} did not come to rest within {_WITHIN_S:g} s")
        time.sleep(_LOOK_EVERY_S)
