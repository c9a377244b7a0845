"""From a database URL to an open store."""

import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import msgspec

from triggers_api.errors import SettingsError, StartError
from triggers_api.failpoints import Failpoints
from triggers_api.model.health import DEFAULT_POLICY, HealthPolicy
from triggers_api.model.timestamp import Timestamp
from triggers_api.store.base import Store
from triggers_api.store.sqlite.store import SqliteStore
from triggers_api.telemetry.metrics import Metrics

_SQLITE: Final = "sqlite:///"
_POSTGRES: Final = ("postgresql://", "postgres://")

_HIDDEN: Final = "***"
_URL: Final = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*://)"
    r"(?:(?P<user>[^/?#\s]*)@)?(?P<authority>[^@/?#\s]*)"
    r"(?P<path>[^?#\s]*)(?:\?(?P<query>[^#\s]*))?",
    re.ASCII | re.IGNORECASE,
)
_HOST: Final = r"(?:\[[0-9a-f:.%]*\]|[\w.%-]*)(?::\d*)?"
_HOSTS: Final = re.compile(f"{_HOST}(?:,{_HOST})*", re.IGNORECASE)
_HARMLESS: Final = frozenset(
    {
        "application_name", "connect_timeout", "database", "dbname", "host", "hostaddr", "port",
        "sslmode", "sslrootcert", "target_session_attrs", "user",
    }
)  # fmt: skip


def sqlite_path(url: str) -> Path:
    """The file that ``sqlite:///relative`` or ``sqlite:////absolute`` names.

    Raises:
        SettingsError: another kind of URL.
    """
    if not url.startswith(_SQLITE) or len(url) == len(_SQLITE):
        raise SettingsError(
            f"TRIGGERS_DATABASE_URL {shown_url(url)}: use sqlite:///path/to/file.db or "
            "postgresql://user@host/database"
        )
    return Path(url.removeprefix(_SQLITE))


def shown_url(url: str) -> str:
    """A database's URL for people to read: host and database are kept, a password never is.

    What does not have the form of a URL is not shown at all, because a password may be anywhere in
    it. Of the parameters only those that are known to be harmless keep their values.
    """
    if url.startswith(_SQLITE):
        return url
    match = _URL.fullmatch(url)
    if match is None:
        return _HIDDEN
    user, authority, path, query = match.group("user", "authority", "path", "query")
    # A password with a bare "/", "?" or "#" in it reaches beyond where it should end.
    if "@" in path or "@" in (query or "") or (user is None and not _HOSTS.fullmatch(authority)):
        return f"{match['scheme']}{_HIDDEN}"
    shown = match["scheme"]
    if user is not None:
        name, colon, _ = user.partition(":")
        shown += f"{name}:{_HIDDEN}@" if colon else f"{name}@"
    shown += authority + path
    return (
        shown if query is None else f"{shown}?{'&'.join(map(_shown_parameter, query.split('&')))}"
    )


def _shown_parameter(parameter: str) -> str:
    name, _, _ = parameter.partition("=")
    if name in _HARMLESS:
        return parameter
    # The name of one that nobody knows may be a piece of a password with a bare "&" in it.
    return f"{name}={_HIDDEN}" if name == "password" else _HIDDEN


class StoreOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Where a store is, and for a server how it is talked to.

    Attributes:
        database_url: of everything.
        direct_url: past the pooler in transaction mode that ``database_url`` goes through, if so.
        read_url: of a replica, for lists and statistics.
        pool_size: connections kept.
        max_overflow: connections beyond these that are opened while they are needed.
        pool_wait_s: seconds to wait for a free connection.
        pool_recycle_s: seconds after which a connection is replaced.
        secret_keys: for the secrets of subscriptions: the first encrypts, all decrypt. Without one the
            store's signing key does; it decrypts in any case.
    """

    database_url: str
    direct_url: str | None = None
    read_url: str | None = None
    pool_size: int = 50
    max_overflow: int = 20
    pool_wait_s: float = 30.0
    pool_recycle_s: float = 3600.0
    secret_keys: tuple[str, ...] = ()


def is_postgres(url: str) -> bool:
    """Whether a URL names a PostgreSQL database.

    Raises:
        SettingsError: it does, and the extra that can talk to one is not installed.
    """
    if not url.startswith(_POSTGRES):
        return False
    if find_spec("asyncpg") is None:
        raise SettingsError("PostgreSQL needs an extra: pip install 'triggers-api[postgres]'")
    return True


async def open_store(
    options: StoreOptions,
    *,
    clock: Callable[[], Timestamp],
    metrics: Metrics,
    failpoints: Failpoints,
    fatal: Callable[[BaseException], None],
    keeps_own_time: bool = False,
    health: HealthPolicy = DEFAULT_POLICY,
) -> Store:
    """Open a store, migrated.

    Args:
        options: where it is.
        clock: milliseconds since the epoch.
        metrics: is told about the store's work.
        failpoints: for tests.
        fatal: called in the event loop when the process must end.
        keeps_own_time: time is what ``clock`` says, also where a server has a clock that several
            processes share.
        health: when endpoints that fail are left alone.

    Raises:
        SettingsError: no engine knows the URL.
        StartError: the store must not be used as it is.
    """
    if is_postgres(options.database_url):
        # Imported only here: it needs an extra that the embedded engine does without.
        from triggers_api.store.postgres.store import PostgresStore  # noqa: PLC0415

        try:
            return await PostgresStore.open(
                options,
                clock=clock,
                keeps_own_time=keeps_own_time,
                metrics=metrics,
                failpoints=failpoints,
                health=health,
            )
        except StartError as error:
            # The engine's own words may reach callers, who need not know where the database is.
            raise type(error)(f"{shown_url(options.database_url)}: {error}") from None
    return await SqliteStore.open(
        sqlite_path(options.database_url),
        clock=clock,
        metrics=metrics,
        failpoints=failpoints,
        fatal=fatal,
        health=health,
        secret_keys=options.secret_keys,
    )
