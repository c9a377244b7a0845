"""From a database URL to an open store."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from triggers_api.errors import SettingsError
from triggers_api.failpoints import Failpoints
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import Store
from triggers_api.store.sqlite.store import SqliteStore
from triggers_api.telemetry.metrics import Metrics

_SQLITE: Final = "sqlite:///"


def sqlite_path(url: str) -> Path:
    """The file that ``sqlite:///relative`` or ``sqlite:////absolute`` names.

    Raises:
        SettingsError: another kind of URL.
    """
    if not url.startswith(_SQLITE) or len(url) == len(_SQLITE):
        raise SettingsError(
            f"TRIGGERS_DATABASE_URL {url.partition(':')[0]}:…: use sqlite:///path/to/file.db"
        )
    return Path(url.removeprefix(_SQLITE))


async def open_store(
    url: str,
    *,
    clock: Callable[[], Timestamp],
    metrics: Metrics,
    failpoints: Failpoints,
    fatal: Callable[[BaseException], None],
) -> Store:
    """Open the store behind a URL, migrated.

    Args:
        url: where everything is kept.
        clock: milliseconds since the epoch.
        metrics: is told about the store's work.
        failpoints: for tests.
        fatal: called in the event loop when the process must end.

    Raises:
        SettingsError: no engine knows the URL.
        StartError: the store must not be used as it is.
    """
    return await SqliteStore.open(
        sqlite_path(url), clock=clock, metrics=metrics, failpoints=failpoints, fatal=fatal
    )
