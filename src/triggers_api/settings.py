"""Every setting in one table: name, type, default, help.

The table is the class :class:`Settings`. It gives the environment variables (``TRIGGERS_`` and the
name in capitals, or an older spelling listed as an alias), the keys of the TOML file, the flags of
``triggers serve`` and the reference page. A flag beats the environment, which beats the file, which
beats the default; what is not given stays not given until that one merge in :func:`load`.
"""

import ipaddress
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import MISSING, Field, dataclass, field, fields
from enum import EnumType
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from triggers_api.errors import SettingsError
from triggers_api.model.controls import DeliveryMode, IngestMode

PREFIX: Final = "TRIGGERS_"
_EMBEDDED: Final = "sqlite:"
_HOST: Final = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*|[0-9a-f:]*:[0-9a-f:.]*", re.ASCII)
_PREFIX: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}", re.ASCII)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _text(value: str) -> str:
    return value


def _choice(*allowed: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return value

    return parse


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(value: str) -> int:
        with suppress(ValueError):
            if low <= (number := int(value)) <= high:
                return number
        raise ValueError(f"must be a whole number from {low} to {high}")

    return parse


def _number(low: float, high: float) -> Callable[[str], float]:
    def parse(value: str) -> float:
        with suppress(ValueError):
            if low <= (number := float(value)) <= high:
                return number
        raise ValueError(f"must be a number from {low:g} to {high:g}")

    return parse


def _schedule(value: str) -> tuple[float, ...]:
    delay = _number(0, 604_800)
    return tuple(delay(part.strip()) for part in value.split(",") if part.strip())


def _networks(value: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(part.strip()) for part in value.split(",") if part.strip())


class HostRate(NamedTuple):
    """Requests a second to a host, or to all hosts of a domain together."""

    host: str
    per_second: float

    def __format__(self, spec: str) -> str:
        return f"{self.host}={self.per_second:g}"


def _host_rates(value: str) -> tuple[HostRate, ...]:
    rate = _number(0.01, 10_000)
    found: dict[str, HostRate] = {}
    for part in filter(None, (part.strip() for part in value.split(","))):
        host, equals, number = part.partition("=")
        host = host.strip().lower().rstrip(".")
        if not equals or not _HOST.fullmatch(host):
            raise ValueError("must be host=number pairs, separated by commas")
        found[host] = HostRate(host, rate(number.strip()))
    return tuple(found.values())


def _prefix(value: str) -> str:
    if not _PREFIX.fullmatch(value):
        raise ValueError("must be 1 to 64 of A-Z, a-z, 0-9, _ . : and -")
    return value


def _origin(value: str) -> str:
    origin = value.strip().lower().rstrip("/")
    parts = urlsplit(origin)  # raises ValueError for a port that is none, once it is asked for
    host = parts.hostname or ""
    plain = f"{parts.scheme}://[{host}]" if ":" in host else f"{parts.scheme}://{host}"
    spelled = plain if parts.port is None else f"{plain}:{parts.port}"
    if parts.scheme not in {"http", "https"} or not _HOST.fullmatch(host) or spelled != origin:
        raise ValueError("must be like https://host or https://host:port, without a path")
    return origin


def _origins(value: str) -> tuple[str, ...]:
    return tuple(_origin(part) for part in value.split(",") if part.strip())


def _given_key(value: str) -> str:
    if not (16 <= len(value) <= 256 and value.isascii() and value.isprintable()) or " " in value:
        raise ValueError("must be 16 to 256 printable ASCII characters without spaces")
    return value


def _given_keys(value: str) -> tuple[str, ...]:
    # Spaces: a key may hold a comma.
    return tuple(map(_given_key, value.split()))


def _delivery_switch(value: str) -> DeliveryMode | None:
    # DISABLE_WEBHOOK_DELIVERY=true is the older spelling of "skip".
    if value.lower() in {"false", "0", "no", ""}:
        return None
    if value.lower() in {"true", "1", "yes"}:
        return DeliveryMode.SKIP
    return DeliveryMode(_choice(*DeliveryMode)(value))


def _setting(
    default: object,
    parse: Callable[[str], Any],
    help: str,  # noqa: A002 - the word for it
    *,
    aliases: tuple[str, ...] = (),
    secret: bool = False,
) -> Any:  # noqa: ANN401 - stands for the field's own type
    return field(
        default=default,
        metadata={"parse": parse, "help": help, "aliases": aliases, "secret": secret},
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The settings of one process."""

    database_url: str = _setting(
        "sqlite:///./triggers.db",
        _text,
        "Where everything is kept: `sqlite:///path`, or `postgresql://user@host/database` with any "
        "of libpq's parameters.",
        secret=True,
    )
    database_direct_url: str | None = _setting(
        None,
        _text,
        "PostgreSQL without the pooler, when `database_url` goes through one in transaction mode: "
        "for LISTEN, and the sign that there is a pooler.",
        secret=True,
    )
    read_database_url: str | None = _setting(
        None,
        _text,
        "A replica of PostgreSQL for lists and statistics; not used while it lags.",
        secret=True,
    )
    db_pool_size: int | None = _setting(
        None,
        _whole(1, 10_000),
        "Connections to PostgreSQL that are kept; by default twice `max_concurrent_events` and 10.",
        aliases=("DB_POOL_SIZE", "POOL_SIZE"),
    )
    db_max_overflow: int = _setting(
        20,
        _whole(0, 10_000),
        "Connections beyond `db_pool_size` that are opened while they are needed.",
        aliases=("DB_POOL_MAX_OVERFLOW",),
    )
    db_pool_wait_s: float = _setting(
        30.0, _number(0.1, 600), "Seconds to wait for a connection while all are in use; then 503."
    )
    db_pool_recycle_s: float = _setting(
        3600.0, _number(1, 604_800), "Seconds after which a connection is replaced by a new one."
    )
    redis_url: str | None = _setting(
        None,
        _text,
        "A Redis or Valkey: `redis://host:6379`, `rediss://` for TLS, or `unix:///path`. By itself it "
        "keeps the rate limits of several processes; other settings say what else it is for.",
        secret=True,
    )
    redis_prefix: str = _setting(
        "triggers",
        _prefix,
        "What all keys in Redis begin with: installations that share one differ in it.",
    )
    ingest_buffer: str = _setting(
        "none",
        _choice("none", "redis"),
        "Where events wait until they are in the database: `redis` takes them in while PostgreSQL is "
        "slow or away.",
    )
    redis_durability: str = _setting(
        "strict",
        _choice("strict", "relaxed"),
        "`strict` uses no Redis as a buffer that may lose what it was given; `relaxed` does, and says "
        "so in health and in a header of each answer.",
    )
    redis_fallback: str = _setting(
        "direct",
        _choice("direct", "refuse"),
        "While Redis is away, events go `direct` into the database, or ingest is 503.",
    )
    redis_stream_max_length: int = _setting(
        100_000,
        _whole(1, 10**8),
        "Events that may wait in Redis; then 503. Nothing that waits is ever trimmed.",
        aliases=("REDIS_STREAM_MAX_LENGTH",),
    )
    redis_organization_max_length: int = _setting(
        0,
        _whole(0, 10**8),
        "Of these, how many may be of one organization; 0 means all.",
    )
    redis_stream_ttl: float = _setting(
        86_400.0,
        _number(1, 31_536_000),
        "Seconds that an event may wait in Redis before that is reported. It stays.",
        aliases=("REDIS_STREAM_TTL",),
    )
    redis_dedup_ttl: int = _setting(
        86_400,
        _whole(1, 31_536_000),
        "Seconds that a dedup_id is remembered in Redis; what comes later is found out by the database.",
    )
    role: str = _setting(
        "all",
        _choice("all", "api", "worker"),
        "What this process does: `api` takes events in, `worker` routes and delivers them.",
    )
    host: str = _setting("127.0.0.1", _text, "Address to listen on.")
    port: int = _setting(
        8000, _whole(0, 65535), "Port to listen on; 0 takes a free one.", aliases=("PORT",)
    )
    ui: str = _setting(
        "on",
        _choice("on", "off"),
        "The operator page under `/ui`: `on` or `off`. A worker has none.",
    )
    public_url: str | None = _setting(
        None,
        _origin,
        "The address that browsers know the service by, such as `https://triggers.example.com`, for "
        "the operator page behind a proxy: its sessions, and links to portals.",
    )
    portal_ancestors: tuple[str, ...] = _setting(
        (),
        _origins,
        "Sites that may show an organization's portal within their own pages, separated by commas: "
        "`https://app.example.com`. Without it nobody may.",
    )
    api_key: str | None = _setting(
        None,
        _given_key,
        "A key of the first organization, applied at every start. Without it one is made and "
        "printed when the database is created.",
        secret=True,
    )
    admin_key: str | None = _setting(
        None, _given_key, "An operator's key, in the same way.", secret=True
    )
    allow_cidrs: tuple[Network, ...] = _setting(
        (),
        _networks,
        "Networks that deliveries may go to although they are private or reserved, separated by "
        "commas, for example `127.0.0.0/8`.",
    )
    trusted_proxies: tuple[Network, ...] = _setting(
        (),
        _networks,
        "Networks of the proxies before this service, separated by commas: from them, and from nobody "
        "else, `X-Forwarded-For` is believed.",
    )
    rate_limit: int = _setting(
        60_000,
        _whole(0, 10**9),
        "Events a minute that an organization may send; 0 means no limit.",
    )
    rate_burst: int = _setting(
        10_000, _whole(1, 10**9), "Events that an organization may send at once."
    )
    max_streams: int = _setting(
        100,
        _whole(0, 10**6),
        "Streams of its events that an organization may have open at once, in each process; 0 means no "
        "limit.",
    )
    queue_warn_depth: int = _setting(
        1000,
        _whole(1, 10**9),
        "Events accepted and not yet routed above which the level is critical and a warning is "
        "logged.",
    )
    max_queue_depth: int = _setting(
        1_000_000, _whole(1, 10**9), "Events accepted and not yet routed above which ingest is 503."
    )
    max_queue_age_s: float = _setting(
        0.0,
        _number(0, 31_536_000),
        "Seconds that an event may wait to be routed before ingest is 503; 0 means any time.",
    )
    max_organization_queue_depth: int = _setting(
        0,
        _whole(0, 10**9),
        "Events of one organization, scheduled ones included, that may wait to be routed: above it "
        "ingest is 503 for this organization, which may have a limit of its own. 0 means no limit.",
    )
    max_organization_queue_age_s: float = _setting(
        0.0,
        _number(0, 31_536_000),
        "Seconds that an event of one organization may wait to be routed: above it ingest is 503 for "
        "this organization, which may have a limit of its own. 0 means any time.",
    )
    disk_reserve_mb: int = _setting(
        64,
        _whole(0, 10**6),
        "Mebibytes of the disk with the embedded database that are kept free of new events, so that "
        "what was accepted can be finished: with less, ingest is 503. 0 means none.",
    )
    batch_size: int = _setting(100, _whole(1, 10_000), "Events the processor claims at once.")
    max_concurrent_events: int = _setting(
        20,
        _whole(1, 10_000),
        "Transactions in which the processor stores a batch's routing at once; the batch is "
        "divided among them.",
        aliases=("MAX_CONCURRENT_EVENTS",),
    )
    item_timeout_s: float = _setting(
        30.0, _number(0.01, 3600), "Seconds after which the processor gives a transaction up."
    )
    min_poll_ms: int = _setting(
        100, _whole(1, 60_000), "Milliseconds between looks at the queue while it is busy."
    )
    max_poll_ms: int = _setting(
        2000, _whole(1, 600_000), "Milliseconds between looks at the queue when it stays empty."
    )
    delivery_timeout_s: float = _setting(
        30.0, _number(0.1, 3600), "Seconds a receiver has for its whole answer."
    )
    delivery_concurrency: int = _setting(
        50,
        _whole(1, 10_000),
        "Deliveries in flight at once in this process, and as many again that have proved slow.",
    )
    host_rates: tuple[HostRate, ...] = _setting(
        (HostRate("hooks.zapier.com", 25.0),),
        _host_rates,
        "Requests a second that this process sends to a host, or to all hosts of a domain together: "
        "`host=number`, separated by commas.",
    )
    retry_schedule: tuple[float, ...] = _setting(
        (5.0, 30.0, 120.0, 600.0, 3600.0, 10_800.0, 28_800.0),
        _schedule,
        "Seconds between attempts, separated by commas, fractions allowed; n delays make n + 1 "
        "attempts.",
    )
    breaker_failures: int = _setting(
        10,
        _whole(0, 1_000_000),
        "Failed attempts in a row after which an endpoint is left alone for 10 seconds to 5 minutes, "
        "and then sent one delivery as a probe; 0 means never.",
    )
    disable_after_days: float = _setting(
        5.0,
        _number(0, 3650),
        "Days of nothing but failure after which a subscription is disabled; after half of them "
        "there is a warning. 0 means never.",
    )
    probe_disabled_s: float = _setting(
        86_400.0,
        _number(1, 31_536_000),
        "Seconds between looks at whether the endpoint of a subscription that was disabled for failing "
        "works again.",
    )
    hook_ttl_days: float = _setting(
        0.0,
        _number(0, 3650),
        "Days after which a hook of a no-code tool expires unless it asks for it again, which the tool "
        "is told as `expiration_date`; 0 means never.",
    )
    lease_s: float = _setting(
        45.0,
        _number(0.1, 86_400),
        "Seconds that claimed work belongs to its worker; must exceed the delivery timeout.",
    )
    sweep_s: float = _setting(
        300.0, _number(0.1, 86_400), "Seconds between sweeps for work whose lease ran out."
    )
    retention_days: int = _setting(
        7,
        _whole(0, 36_500),
        "Days that an event is kept after the last thing that happened to it, with its payload, "
        "deliveries and attempts. 0 means for ever. An organization may have days of its own, for each.",
    )
    delivery_retention_days: int | None = _setting(
        None,
        _whole(0, 36_500),
        "Days that deliveries which succeeded, or were skipped or cancelled, are kept; at the longest "
        "with their event. Without it as `retention_days`.",
    )
    attempt_retention_days: int | None = _setting(
        None,
        _whole(0, 36_500),
        "Days that attempts of finished deliveries are kept: requests, answers, timings; at the longest "
        "with their delivery. Without it as their delivery.",
    )
    dead_letter_retention_days: int | None = _setting(
        None,
        _whole(0, 36_500),
        "Days that dead letters are kept, and their events with them however short `retention_days` is. "
        "0 means for ever. Without it as `retention_days`.",
    )
    job_retention_days: int = _setting(
        30,
        _whole(0, 36_500),
        "Days that replays and purges are listed once they are finished; 0 means for ever, up to 1000 "
        "of an organization.",
    )
    audit_retention_days: int = _setting(
        365,
        _whole(0, 36_500),
        "Days that entries of the audit log are kept; 0 means for ever.",
    )
    max_process_attempts: int = _setting(
        5, _whole(1, 1000), "Times that routing an event is tried before it is set aside."
    )
    ingest_mode: IngestMode | None = _setting(
        None, IngestMode, "Forces the ingest switch: `async`, `sync` or `refuse`."
    )
    delivery: DeliveryMode | None = _setting(
        None,
        _delivery_switch,
        "Forces the delivery switch: `running`, `paused` or `skip`.",
        aliases=("DISABLE_WEBHOOK_DELIVERY",),
    )
    secret_key: str | None = _setting(
        None,
        _given_key,
        "Encrypts the secrets of subscriptions, and signs cursors. Without it one is made and kept "
        "beside the database: in `<database>.secret` with SQLite, in a table with PostgreSQL.",
        secret=True,
    )
    old_secret_keys: tuple[str, ...] = _setting(
        (),
        _given_keys,
        "Keys that were `secret_key` before and still decrypt, separated by spaces.",
        secret=True,
    )
    shutdown_grace_s: float = _setting(
        30.0, _number(0, 3600), "Seconds that requests and deliveries in flight get at the end."
    )
    log_level: str = _setting(
        "info", _choice("debug", "info", "warning", "error"), "The least level that is logged."
    )
    log_format: str | None = _setting(
        None,
        _choice("console", "json"),
        "`console` for people, `json` for machines; by default console on a terminal.",
    )
    otel_endpoint: str | None = _setting(
        None,
        _text,
        "Where traces are sent, by OTLP over HTTP, as `http://collector:4318/v1/traces`.",
    )
    otel_sample: float = _setting(
        0.01,
        _number(0, 1),
        "The share of traces that are written down; who sends a `traceparent` has decided that.",
    )
    log_lines_per_s: int = _setting(
        100,
        _whole(0, 1_000_000),
        "Lines with the same text that are written each second; 0 for all. Errors always are.",
    )

    def __post_init__(self) -> None:
        if self.lease_s <= self.delivery_timeout_s:
            # A shorter lease would let a second worker send while the first still waits.
            raise SettingsError(
                f"TRIGGERS_LEASE_S ({self.lease_s:g}) must exceed TRIGGERS_DELIVERY_TIMEOUT_S "
                f"({self.delivery_timeout_s:g})"
            )
        if self.api_key is not None and self.api_key == self.admin_key:
            # A key stands for an organization or for the operator; one cannot be both.
            raise SettingsError("TRIGGERS_API_KEY and TRIGGERS_ADMIN_KEY must differ")
        if self.old_secret_keys and self.secret_key is None:
            raise SettingsError("TRIGGERS_OLD_SECRET_KEYS needs TRIGGERS_SECRET_KEY beside it")
        if self.min_poll_ms > self.max_poll_ms:
            raise SettingsError(
                f"TRIGGERS_MIN_POLL_MS ({self.min_poll_ms}) must not exceed TRIGGERS_MAX_POLL_MS "
                f"({self.max_poll_ms})"
            )
        if self.ingest_buffer == "redis":
            if self.redis_url is None:
                raise SettingsError("TRIGGERS_INGEST_BUFFER=redis needs TRIGGERS_REDIS_URL")
            if self.database_url.startswith(_EMBEDDED):
                # One process owns the file: what Redis is for, it does by itself.
                raise SettingsError(
                    "TRIGGERS_INGEST_BUFFER=redis needs a PostgreSQL database (TRIGGERS_DATABASE_URL): "
                    "in front of SQLite a buffer would only add what can fail"
                )
        if self.role != "all" and self.database_url.startswith(_EMBEDDED):
            raise SettingsError(
                f"role {self.role} needs a PostgreSQL database (TRIGGERS_DATABASE_URL): with SQLite "
                "one process owns the file and does everything"
            )


def table() -> tuple[Field[Any], ...]:
    """The rows of the table."""
    return fields(Settings)


def variable(row: Field[Any]) -> str:
    """The environment variable of a row."""
    return PREFIX + row.name.upper()


def shown_default(row: Field[Any]) -> str:
    """The default as it would be written in the environment; empty when there is none."""
    default = row.default
    if default is None or default is MISSING:
        return ""
    if isinstance(default, tuple):
        return ",".join(f"{item:g}" for item in default)
    return f"{default:g}" if isinstance(default, float) else str(default)


def load(
    *,
    flags: Mapping[str, str | None] | None = None,
    environ: Mapping[str, str] = os.environ,
    file: Path | None = None,
    defaults: Mapping[str, str] | None = None,
) -> Settings:
    """Merge file, environment and flags into settings.

    Args:
        flags: by field name; ``None`` is not given.
        environ: the environment; an empty value is not given.
        file: a TOML file with the fields at the top level.
        defaults: by field name, instead of the table's; for a command that has its own.

    Raises:
        SettingsError: a value that does not fit, or an unknown key in the file.
    """
    given: dict[str, Any] = {}
    sources = (
        _from_flags(defaults or {}),
        _from_file(file),
        _from_environment(environ),
        _from_flags(flags or {}),
    )
    for row in table():
        for source in sources:
            if row.name in source:
                name, value = source[row.name]
                given[row.name] = _parse(row, name, value)
    return Settings(**given)


def _parse(row: Field[Any], name: str, value: str) -> object:
    parse = row.metadata["parse"]
    try:
        if isinstance(parse, EnumType):
            return parse(_choice(*parse)(value))
        return parse(value)
    except ValueError as error:
        shown = "" if row.metadata["secret"] else f" {value!r}"
        raise SettingsError(f"{name}{shown}: {error}") from None


def _from_flags(flags: Mapping[str, str | None]) -> dict[str, tuple[str, str]]:
    return {
        name: (f"--{name.replace('_', '-')}", value)
        for name, value in flags.items()
        if value is not None
    }


def _from_environment(environ: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for row in table():
        # The first name that is given wins: ours before the older spellings.
        for name in (variable(row), *row.metadata["aliases"]):
            if environ.get(name) and not _is_service_link(name, environ[name]):
                found[row.name] = (name, environ[name])
                break
    return found


def unknown_variables(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Names that look like a setting of ours and are none: most often a misspelling.

    They are reported, not refused: Kubernetes adds ``TRIGGERS_SERVICE_HOST`` and the like to every
    pod beside a service called "triggers".
    """
    known = {variable(row) for row in table()} | {"TRIGGERS_CONFIG", "TRIGGERS_URL"}
    return sorted(
        name
        for name in environ
        if name.startswith(PREFIX)
        and name not in known
        and not name.startswith(("TRIGGERS_TEST_", "TRIGGERS_SERVICE_", "TRIGGERS_PORT_"))
    )


def _is_service_link(name: str, value: str) -> bool:
    # Kubernetes again: a service called "triggers" sets TRIGGERS_PORT=tcp://10.0.0.1:8000.
    return name == "TRIGGERS_PORT" and value.startswith("tcp://")


def _from_file(file: Path | None) -> dict[str, tuple[str, str]]:
    if file is None:
        return {}
    try:
        content = tomllib.loads(file.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{file}: {error}") from None
    rows = {row.name for row in table()}
    if unknown := sorted(set(content) - rows):
        raise SettingsError(f"{file}: unknown setting {', '.join(unknown)}")
    return {name: (f"{file}: {name}", _as_text(value)) for name, value in content.items()}


def _as_text(value: object) -> str:
    if isinstance(value, list):
        return ",".join(_as_text(item) for item in value)
    return str(value).lower() if isinstance(value, bool) else str(value)
