"""One connection to PostgreSQL: its settings, and what the server behind it promises."""

import asyncio
import socket
import time
from contextlib import suppress
from typing import Any, Final

import asyncpg
import msgspec

from triggers_api.errors import StoreUnavailable, Unavailable
from triggers_api.store.postgres.tables import SQL

Connection = asyncpg.Connection

LOST: Final = (
    OSError,
    TimeoutError,
    asyncio.IncompleteReadError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InterfaceError,
    # Also when the server's good-bye has arrived, and not yet been read, on a connection at rest.
    asyncpg.InternalClientError,
)
"""What the driver raises when the server, or the way to it, is gone before its answer is here."""

FAILED: Final = (*LOST, asyncpg.PostgresError)
"""What the driver raises when something did not work, whatever it was."""

OLDEST_SERVER: Final = 14
CONNECT_S: Final = 5.0
COMMAND_S: Final = 20.0
"""A statement that has no answer by then has none: the server's own limit below would have ended it."""

STATEMENT_MS: Final = 15_000
LOCK_MS: Final = 5_000
IDLE_IN_TRANSACTION_MS: Final = 20_000

_STATEMENTS_KEPT: Final = 200
_PLANS_KEPT_S: Final = 60
"""A plan that was made when a table was empty is not kept for longer."""

_UNSENT_MS: Final = 10_000

SESSION: Final = {
    "statement_timeout": str(STATEMENT_MS),
    "lock_timeout": str(LOCK_MS),
    "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_MS),
    # Each statement finds its rows by an index or is a fault (tests/plans), and a plan made while a
    # table was small is kept when it has grown: these keep the planner from one that does not scale.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "jit": "off",
    # What is read is bounded: to start other processes for it takes longer than to read it.
    "max_parallel_workers_per_gather": "0",
}
"""Settings of every session; through a pooler, of every transaction."""

DURABLE: Final = (
    "SELECT set_config('synchronous_commit', CASE current_setting('synchronous_commit') "
    "WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, {local})"
)
"""What is confirmed is flushed, whatever the role or the server is set to, also later; more stays."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """A server's answer to what it is, and when that was."""

    version: str
    version_number: int
    fsync: str
    full_page_writes: str
    synchronous_commit: str
    in_recovery: bool
    read_only: str
    backend: int
    now: int
    asked_in_s: float

    @property
    def weakness(self) -> str | None:
        """Why a 202 from this server would be worth nothing; ``None`` when it is worth something."""
        if self.version_number < OLDEST_SERVER * 10_000:
            return f"PostgreSQL {self.version} is too old; {OLDEST_SERVER} or newer is needed"
        if self.in_recovery:
            return "the server is a replica (in recovery) and cannot be written to"
        if self.read_only != "off":
            return "the server or the role is read-only"
        if self.fsync != "on":
            return "the server runs with fsync=off: a power cut can destroy the database"
        if self.full_page_writes != "on":
            return "the server runs with full_page_writes=off: a power cut can destroy the database"
        return None


async def connect(
    url: str, *, pooled: bool, name: str = "triggers", command_s: float | None = COMMAND_S
) -> Connection:
    """A connection, not looked at yet.

    Args:
        url: libpq's.
        pooled: it goes through a pooler in transaction mode, which knows no session.
        name: shown in ``pg_stat_activity``.
        command_s: seconds that each statement has; ``None`` for as long as it takes.

    Raises:
        Unavailable: there is none to be had.
    """
    settings = {"application_name": name} | ({} if pooled else SESSION)
    try:
        connection = await asyncpg.connect(
            url,
            timeout=CONNECT_S,
            command_timeout=command_s,
            statement_cache_size=0 if pooled else _STATEMENTS_KEPT,
            max_cached_statement_lifetime=_PLANS_KEPT_S,
            server_settings=settings,
        )
    except (ValueError, OverflowError):
        # What the driver says about an address that it cannot read may quote the password.
        raise StoreUnavailable(
            "this is no URL of PostgreSQL; what is no letter or digit in user and password must be "
            "percent-encoded"
        ) from None
    except FAILED as error:
        raise StoreUnavailable(f"cannot connect to the database: {said(error)}") from None
    _bound_silence(connection)
    if pooled:
        _leave_sessions_alone(connection)
    return connection


async def standing(connection: Connection) -> Standing:
    """What the server says of itself now."""
    began = time.perf_counter()
    row = await connection.fetchrow(SQL["standing"])
    assert row is not None
    return Standing(**dict(row), asked_in_s=time.perf_counter() - began)


async def goes_through_pooler(connection: Connection) -> bool:
    """Whether somebody between us and the server hands its sessions around.

    A pooler makes up the process number that it tells its clients, because it cannot know which session
    they will be given; the session itself knows its own.
    """
    said_first: int = connection.get_server_pid()
    async with connection.transaction():
        return bool(said_first != (await standing(connection)).backend)


def _bound_silence(connection: Connection) -> None:
    """Have the kernel give up on a peer that no longer acknowledges what is sent."""
    transport: Any = getattr(connection, "_transport", None)  # asyncpg has no other way to it
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family != socket.AF_UNIX and hasattr(socket, "TCP_USER_TIMEOUT"):
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNSENT_MS)


def _leave_sessions_alone(connection: Any) -> None:  # noqa: ANN401 - more than asyncpg declares
    """Have the driver not turn ``jit`` off to look at types, in a session that others get next."""
    if hasattr(connection, "_server_caps"):
        connection._server_caps = connection._server_caps._replace(jit=False)  # noqa: SLF001 - no other way


def said(error: BaseException) -> str:
    """What went wrong, for a person; never the address with its password."""
    if isinstance(error, asyncpg.PostgresError):
        return str(error.args[0]) if error.args else type(error).__name__
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__


def check(found: Standing) -> None:
    """Let a server through that keeps what it confirms.

    Raises:
        Unavailable: it does not.
    """
    if (weakness := found.weakness) is not None:
        raise Unfit(weakness)


class Unfit(StoreUnavailable):
    """The server can be reached, and must not be used as it is."""


__all__ = [
    "FAILED",
    "LOST",
    "SESSION",
    "Connection",
    "Standing",
    "Unavailable",
    "Unfit",
    "check",
    "connect",
    "goes_through_pooler",
    "said",
    "standing",
]
