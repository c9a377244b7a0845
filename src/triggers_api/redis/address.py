"""From a Redis URL to where that is."""

import ssl
from typing import Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import msgspec

from triggers_api.errors import SettingsError

_PORT: Final = 6379
_FORMS: Final = (
    "use redis://[user:password@]host[:port][/database], rediss:// for TLS (with ?ca_file= for a "
    "certificate authority of your own), or unix:///path[?db=]"
)


class RedisAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where a Redis is, and as whom to talk to it.

    Attributes:
        host: its name or address; ``None`` with a socket.
        port: of ``host``.
        path: of its socket; ``None`` with a host.
        database: the number of the database.
        username: ``None`` is the server's default user.
        password: ``None`` where none is wanted.
        tls: what to speak TLS with; ``None`` without.
    """

    host: str | None = None
    port: int = _PORT
    path: str | None = None
    database: int = 0
    username: str | None = None
    password: str | None = None
    tls: ssl.SSLContext | None = None

    @property
    def shown(self) -> str:
        """For people to read: never with a password."""
        if self.path is not None:
            return f"unix://{self.path}?db={self.database}"
        scheme = "redis" if self.tls is None else "rediss"
        host = f"[{self.host}]" if ":" in (self.host or "") else self.host
        return f"{scheme}://{host}:{self.port}/{self.database}"


def address_of(url: str) -> RedisAddress:
    """Take a URL apart.

    Raises:
        SettingsError: it is none. The message does not repeat it: there may be a password in it.
    """
    try:
        parts = urlsplit(url)
        parameters = dict(
            parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        )
        return _address(parts, parameters)
    except ValueError as error:
        raise SettingsError(f"TRIGGERS_REDIS_URL: {error}; {_FORMS}") from None


def _address(parts: SplitResult, parameters: dict[str, str]) -> RedisAddress:
    # What urlsplit says of a port that is none would repeat what may be a piece of a password.
    if parts.scheme not in {"redis", "rediss", "unix"}:
        raise ValueError("not a URL of Redis")
    if unknown := set(parameters) - _parameters_of(parts.scheme):
        raise ValueError(f"unknown parameter, one of {len(unknown)}")
    username = unquote(parts.username) if parts.username else None
    password = None if parts.password is None else unquote(parts.password)
    if parts.scheme == "unix":
        if not parts.path or parts.hostname:
            raise ValueError("a socket has a path and no host")
        return RedisAddress(
            path=unquote(parts.path),
            database=_database(parameters.get("db", "")),
            username=username,
            password=password,
        )
    if not parts.hostname:
        raise ValueError("the host is missing")
    try:
        port = parts.port
    except ValueError:
        raise ValueError("the port is no number up to 65535") from None
    return RedisAddress(
        host=parts.hostname,
        port=port or _PORT,
        database=_database(parts.path.removeprefix("/")),
        tls=_tls(parameters.get("ca_file")) if parts.scheme == "rediss" else None,
        username=username,
        password=password,
    )


def _parameters_of(scheme: str) -> set[str]:
    return {"unix": {"db"}, "rediss": {"ca_file"}}.get(scheme, set())


def _database(text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit()):
        raise ValueError("the database is no number")
    return int(text)


def _tls(authority: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=authority)
    except OSError:
        raise ValueError("ca_file cannot be read") from None
