"""Every setting: its default, its bounds, its names, and which of several sources counts."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any, Final

import pytest

from triggers_api.errors import SettingsError
from triggers_api.model.controls import DeliveryMode, IngestMode
from triggers_api.settings import (
    HostRate,
    Settings,
    load,
    shown_default,
    table,
    unknown_variables,
    variable,
)

# Each by hand from the contract: a default that changes is a change for everybody.
DEFAULTS: Final[dict[str, object]] = {
    "database_url": "sqlite:///./triggers.db",
    "database_direct_url": None,
    "read_database_url": None,
    "db_pool_size": None,
    "db_max_overflow": 20,
    "db_pool_wait_s": 30.0,
    "db_pool_recycle_s": 3600.0,
    "redis_url": None,
    "redis_prefix": "triggers",
    "ingest_buffer": "none",
    "redis_durability": "strict",
    "redis_fallback": "direct",
    "redis_stream_max_length": 100_000,
    "redis_organization_max_length": 0,
    "redis_stream_ttl": 86_400.0,
    "redis_dedup_ttl": 86_400,
    "role": "all",
    "host": "127.0.0.1",
    "port": 8000,
    "ui": "on",
    "public_url": None,
    "portal_ancestors": (),
    "api_key": None,
    "admin_key": None,
    "allow_cidrs": (),
    "trusted_proxies": (),
    "rate_limit": 60_000,
    "rate_burst": 10_000,
    "max_streams": 100,
    "queue_warn_depth": 1000,
    "max_queue_depth": 1_000_000,
    "max_queue_age_s": 0.0,
    "max_organization_queue_depth": 0,
    "max_organization_queue_age_s": 0.0,
    "disk_reserve_mb": 64,
    "batch_size": 100,
    "max_concurrent_events": 20,
    "item_timeout_s": 30.0,
    "min_poll_ms": 100,
    "max_poll_ms": 2000,
    "delivery_timeout_s": 30.0,
    "delivery_concurrency": 50,
    "host_rates": (HostRate("hooks.zapier.com", 25.0),),
    "retry_schedule": (5.0, 30.0, 120.0, 600.0, 3600.0, 10_800.0, 28_800.0),
    "breaker_failures": 10,
    "disable_after_days": 5.0,
    "probe_disabled_s": 86_400.0,
    "hook_ttl_days": 0.0,
    "lease_s": 45.0,
    "sweep_s": 300.0,
    "retention_days": 7,
    "delivery_retention_days": None,
    "attempt_retention_days": None,
    "dead_letter_retention_days": None,
    "job_retention_days": 30,
    "audit_retention_days": 365,
    "max_process_attempts": 5,
    "ingest_mode": None,
    "delivery": None,
    "secret_key": None,
    "old_secret_keys": (),
    "shutdown_grace_s": 30.0,
    "log_level": "info",
    "log_format": None,
    "otel_endpoint": None,
    "otel_sample": 0.01,
    "log_lines_per_s": 100,
}

# The least and the most that is taken, and what is just beyond.
BOUNDS: Final[dict[str, tuple[str, str, str, str]]] = {
    "db_pool_size": ("1", "10000", "0", "10001"),
    "db_max_overflow": ("0", "10000", "-1", "10001"),
    "db_pool_wait_s": ("0.1", "600", "0.09", "600.1"),
    "db_pool_recycle_s": ("1", "604800", "0.9", "604800.1"),
    "redis_stream_max_length": ("1", "100000000", "0", "100000001"),
    "redis_organization_max_length": ("0", "100000000", "-1", "100000001"),
    "redis_stream_ttl": ("1", "31536000", "0.9", "31536000.1"),
    "redis_dedup_ttl": ("1", "31536000", "0", "31536001"),
    "port": ("0", "65535", "-1", "65536"),
    "rate_limit": ("0", "1000000000", "-1", "1000000001"),
    "max_streams": ("0", "1000000", "-1", "1000001"),
    "rate_burst": ("1", "1000000000", "0", "1000000001"),
    "queue_warn_depth": ("1", "1000000000", "0", "1000000001"),
    "max_queue_depth": ("1", "1000000000", "0", "1000000001"),
    "max_queue_age_s": ("0", "31536000", "-0.1", "31536000.1"),
    "max_organization_queue_depth": ("0", "1000000000", "-1", "1000000001"),
    "max_organization_queue_age_s": ("0", "31536000", "-1", "31536001"),
    "disk_reserve_mb": ("0", "1000000", "-1", "1000001"),
    "batch_size": ("1", "10000", "0", "10001"),
    "max_concurrent_events": ("1", "10000", "0", "10001"),
    "item_timeout_s": ("0.01", "3600", "0.009", "3600.1"),
    "min_poll_ms": ("1", "60000", "0", "60001"),
    "max_poll_ms": ("1", "600000", "0", "600001"),
    "delivery_timeout_s": ("0.1", "3600", "0.09", "3600.1"),
    "delivery_concurrency": ("1", "10000", "0", "10001"),
    "retry_schedule": ("0", "604800", "-0.1", "604800.1"),
    "breaker_failures": ("0", "1000000", "-1", "1000001"),
    "disable_after_days": ("0", "3650", "-0.1", "3650.1"),
    "probe_disabled_s": ("1", "31536000", "0.9", "31536000.1"),
    "hook_ttl_days": ("0", "3650", "-0.1", "3650.1"),
    "lease_s": ("0.101", "86400", "0.09", "86400.1"),  # more than the least timeout
    "sweep_s": ("0.1", "86400", "0.09", "86400.1"),
    "retention_days": ("0", "36500", "-1", "36501"),
    "delivery_retention_days": ("0", "36500", "-1", "36501"),
    "attempt_retention_days": ("0", "36500", "-1", "36501"),
    "dead_letter_retention_days": ("0", "36500", "-1", "36501"),
    "job_retention_days": ("0", "36500", "-1", "36501"),
    "audit_retention_days": ("0", "36500", "-1", "36501"),
    "max_process_attempts": ("1", "1000", "0", "1001"),
    "shutdown_grace_s": ("0", "3600", "-1", "3600.1"),
    "otel_sample": ("0", "1", "-0.1", "1.1"),
    "log_lines_per_s": ("0", "1000000", "-1", "1000001"),
}

# What one setting needs of another, so that its bounds and words are taken.
WITH: Final[dict[str, dict[str, str]]] = {
    "old_secret_keys": {"TRIGGERS_SECRET_KEY": "s" * 16},
    "role": {"TRIGGERS_DATABASE_URL": "postgresql://db/t"},
    "ingest_buffer": {
        "TRIGGERS_DATABASE_URL": "postgresql://db/t",
        "TRIGGERS_REDIS_URL": "redis://cache",
    },
    "min_poll_ms": {"TRIGGERS_MAX_POLL_MS": "600000"},
    "max_poll_ms": {"TRIGGERS_MIN_POLL_MS": "1"},
    "delivery_timeout_s": {"TRIGGERS_LEASE_S": "86400"},
    "lease_s": {"TRIGGERS_DELIVERY_TIMEOUT_S": "0.1"},
}

# One value of each that is not the default: as it is written, and what it means.
OTHERS: Final[dict[str, tuple[str, object]]] = {
    "database_url": ("sqlite:////var/lib/t.db", "sqlite:////var/lib/t.db"),
    "database_direct_url": ("postgresql://db/t", "postgresql://db/t"),
    "read_database_url": ("postgresql://replica/t", "postgresql://replica/t"),
    "db_pool_size": ("7", 7),
    "db_max_overflow": ("0", 0),
    "db_pool_wait_s": ("1.5", 1.5),
    "db_pool_recycle_s": ("60", 60.0),
    "redis_url": ("redis://cache:6379/1", "redis://cache:6379/1"),
    "redis_prefix": ("triggers:staging", "triggers:staging"),
    "ingest_buffer": ("redis", "redis"),
    "redis_durability": ("relaxed", "relaxed"),
    "redis_fallback": ("refuse", "refuse"),
    "redis_stream_max_length": ("5000", 5000),
    "redis_organization_max_length": ("500", 500),
    "redis_stream_ttl": ("60", 60.0),
    "redis_dedup_ttl": ("3600", 3600),
    "role": ("worker", "worker"),
    "host": ("::1", "::1"),
    "port": ("8080", 8080),
    "ui": ("off", "off"),
    "public_url": ("https://triggers.example.com", "https://triggers.example.com"),
    "portal_ancestors": ("https://app.example.com", ("https://app.example.com",)),
    "api_key": ("k" * 16, "k" * 16),
    "admin_key": ("~" * 256, "~" * 256),
    "allow_cidrs": (
        "127.0.0.0/8, fd00::/8,10.0.0.1",
        tuple(map(ipaddress.ip_network, ("127.0.0.0/8", "fd00::/8", "10.0.0.1/32"))),
    ),
    "trusted_proxies": ("10.0.0.0/8", (ipaddress.ip_network("10.0.0.0/8"),)),
    "rate_limit": ("0", 0),
    "rate_burst": ("7", 7),
    "max_streams": ("7", 7),
    "queue_warn_depth": ("7", 7),
    "max_queue_depth": ("7", 7),
    "max_queue_age_s": ("7.5", 7.5),
    "max_organization_queue_depth": ("7", 7),
    "max_organization_queue_age_s": ("7.5", 7.5),
    "disk_reserve_mb": ("7", 7),
    "batch_size": ("7", 7),
    "max_concurrent_events": ("7", 7),
    "item_timeout_s": ("1.5", 1.5),
    "min_poll_ms": ("7", 7),
    "max_poll_ms": ("7000", 7000),
    "delivery_timeout_s": ("1.5", 1.5),
    "delivery_concurrency": ("7", 7),
    "host_rates": (
        "API.example.com = 5, example.com.=0.5,a=1,a=2",
        (
            HostRate("api.example.com", 5.0),
            HostRate("example.com", 0.5),
            HostRate("a", 2.0),
        ),
    ),
    "retry_schedule": ("0.5, 1,2", (0.5, 1.0, 2.0)),
    "breaker_failures": ("20", 20),
    "disable_after_days": ("2.5", 2.5),
    "probe_disabled_s": ("3600", 3600.0),
    "hook_ttl_days": ("30", 30.0),
    "lease_s": ("60", 60.0),
    "sweep_s": ("1.5", 1.5),
    "retention_days": ("30", 30),
    "delivery_retention_days": ("3", 3),
    "attempt_retention_days": ("7", 7),
    "dead_letter_retention_days": ("90", 90),
    "job_retention_days": ("0", 0),
    "audit_retention_days": ("30", 30),
    "max_process_attempts": ("7", 7),
    "ingest_mode": ("sync", IngestMode.SYNC),
    "delivery": ("paused", DeliveryMode.PAUSED),
    "secret_key": ("s" * 16, "s" * 16),
    "old_secret_keys": (f"{'o' * 16}  {'p,' * 8}", ("o" * 16, "p," * 8)),
    "shutdown_grace_s": ("0", 0.0),
    "log_level": ("debug", "debug"),
    "log_format": ("json", "json"),
    "otel_endpoint": ("http://a:4318/v1/traces", "http://a:4318/v1/traces"),
    "otel_sample": ("0.5", 0.5),
    "log_lines_per_s": ("7", 7),
}

ALIASES: Final = {
    "DB_POOL_SIZE": "db_pool_size",
    "POOL_SIZE": "db_pool_size",
    "DB_POOL_MAX_OVERFLOW": "db_max_overflow",
    "PORT": "port",
    "MAX_CONCURRENT_EVENTS": "max_concurrent_events",
    "REDIS_STREAM_MAX_LENGTH": "redis_stream_max_length",
    "REDIS_STREAM_TTL": "redis_stream_ttl",
    "DISABLE_WEBHOOK_DELIVERY": "delivery",
}
NAMES: Final = [row.name for row in table()]


def of(environ: dict[str, str], **sources: Any) -> Settings:  # noqa: ANN401 - see load()
    return load(environ=environ, **sources)


def test_every_setting_has_the_default_of_the_contract() -> None:
    settings = of({})
    assert {name: getattr(settings, name) for name in NAMES} == DEFAULTS
    assert settings == Settings()


def test_the_tables_of_this_test_know_every_setting() -> None:
    assert list(DEFAULTS) == list(OTHERS) == NAMES
    numbers = {name for name, default in DEFAULTS.items() if type(default) in {int, float}}
    unset = {f"{what}_retention_days" for what in ("delivery", "attempt", "dead_letter")}
    assert set(BOUNDS) == numbers | {"db_pool_size", "retry_schedule"} | unset


@pytest.mark.parametrize("row", table(), ids=lambda row: row.name)
def test_the_default_as_it_is_shown_means_the_default(row: Any) -> None:  # noqa: ANN401 - a Field
    if shown := shown_default(row):
        assert row.metadata["parse"](shown) == row.default
    else:
        assert row.default in {None, ()}


@pytest.mark.parametrize(
    "value",
    ["a", "a=", "=5", "a=0.009", "a=10000.1", "a=fast", "http://a=1", "a b=1", "a..b=1", "a=1;b=2"],
)
def test_a_rate_of_a_host_that_is_none_is_refused_by_name(value: str) -> None:
    with pytest.raises(SettingsError, match="TRIGGERS_HOST_RATES"):
        of({"TRIGGERS_HOST_RATES": value})


def test_rates_of_hosts_may_be_addresses_and_bounds_are_taken() -> None:
    rates = of({"TRIGGERS_HOST_RATES": "10.0.0.1=0.01,::1=10000"}).host_rates
    assert rates == (("10.0.0.1", 0.01), ("::1", 10_000.0))


@pytest.mark.parametrize("name", BOUNDS)
def test_bounds_are_taken_and_what_is_beyond_is_refused_by_name(name: str) -> None:
    least, most, below, above = BOUNDS[name]
    with_, own = WITH.get(name, {}), f"TRIGGERS_{name.upper()}"
    for value in (least, most):
        taken = getattr(of({**with_, own: value}), name)
        assert taken == ((float(value),) if isinstance(taken, tuple) else float(value))
    for value in (below, above, "nan", "inf", "-inf", "x", "1,x", "0x10", "1e9999"):
        with pytest.raises(SettingsError, match=f"^{own} '{value}': must be a "):
            of({**with_, own: value})


@pytest.mark.parametrize("name", NAMES)
def test_a_setting_is_read_from_its_variable(name: str) -> None:
    written, meant = OTHERS[name]
    assert meant != DEFAULTS[name]
    with_ = WITH.get(name, {})
    settings, without = of({**with_, f"TRIGGERS_{name.upper()}": written}), of(with_)
    assert {each: getattr(settings, each) for each in NAMES} == {
        **{each: getattr(without, each) for each in NAMES},
        name: meant,
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_flag_beats_the_environment_which_beats_the_file(name: str, tmp_path: Path) -> None:
    written, meant = OTHERS[name]
    with_ = WITH.get(name, {})
    file = tmp_path / "settings.toml"
    file.write_text(f"{name} = {written!r}\n")
    usual = shown_default(next(row for row in table() if row.name == name)) or other(name)
    given = {**with_, variable_of(name): usual}
    expected = getattr(of(given), name)
    assert getattr(of(with_, file=file), name) == meant
    assert getattr(of(given, file=file), name) == expected != meant
    assert getattr(of(given, flags={name: written}), name) == meant
    assert getattr(of(with_, file=file, flags={name: usual}), name) == expected
    assert getattr(of(with_, file=file, flags={name: None}), name) == meant


def other(name: str) -> str:
    """A second value for what has no default."""
    return {
        "db_pool_size": "11",
        "delivery_retention_days": "11",
        "attempt_retention_days": "11",
        "dead_letter_retention_days": "11",
        "allow_cidrs": "10.0.0.0/8",
        "ingest_mode": "async",
        "delivery": "running",
        "log_format": "console",
        "public_url": "http://localhost:8000",
        "portal_ancestors": "https://other.example.com",
        "trusted_proxies": "192.0.2.0/24",
    }.get(name, "another-given-key")


def variable_of(name: str) -> str:
    return variable(next(row for row in table() if row.name == name))


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_variable_counts_as_not_given(name: str) -> None:
    assert of({variable_of(name): ""}) == Settings()


# ── older names ───────────────────────────────────────────────────────────────────────────────────


def test_these_are_the_older_names() -> None:
    assert {alias: row.name for row in table() for alias in row.metadata["aliases"]} == ALIASES


@pytest.mark.parametrize("alias", ALIASES)
def test_an_older_name_counts_where_ours_is_not_given(alias: str) -> None:
    name = ALIASES[alias]
    written, meant = OTHERS[name]
    assert getattr(of({alias: written}), name) == meant
    ours = shown_default(next(row for row in table() if row.name == name)) or other(name)
    expected = getattr(of({variable_of(name): ours}), name)
    assert getattr(of({alias: written, variable_of(name): ours}), name) == expected
    assert getattr(of({alias: written, variable_of(name): ""}), name) == meant
    with pytest.raises(SettingsError, match=f"^{alias} 'x': "):
        of({alias: "x"})


@pytest.mark.parametrize(
    ("value", "meant"),
    [("true", DeliveryMode.SKIP), ("TRUE", DeliveryMode.SKIP), ("1", DeliveryMode.SKIP),
     ("yes", DeliveryMode.SKIP), ("false", None), ("False", None), ("0", None), ("no", None)],
)  # fmt: skip
def test_delivery_can_be_disabled_as_it_was_elsewhere(
    value: str, meant: DeliveryMode | None
) -> None:
    assert of({"DISABLE_WEBHOOK_DELIVERY": value}).delivery is meant


# ── words ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "words"),
    [("role", ["all", "api", "worker"]), ("ingest_mode", ["async", "sync", "refuse"]),
     ("delivery", ["running", "paused", "skip"]),
     ("log_level", ["debug", "info", "warning", "error"]), ("log_format", ["console", "json"])],
)  # fmt: skip
def test_of_several_words_one_is_taken_and_others_are_refused_with_the_list(
    name: str, words: list[str]
) -> None:
    for word in words:
        given = {**WITH.get(name, {}), variable_of(name): word}
        assert getattr(of(given), name) == word
    for word in ("other", words[0].upper(), f" {words[0]}"):
        with pytest.raises(SettingsError) as refused:
            of({variable_of(name): word})
        expected = f"{variable_of(name)} {word!r}: must be one of {', '.join(words)}"
        assert str(refused.value) == expected


@pytest.mark.parametrize("name", ["api_key", "admin_key", "secret_key"])
@pytest.mark.parametrize(
    "value",
    ["k" * 15, "k" * 257, "k" * 16 + " ", "k k" * 8, "k" * 16 + "\n", "é" * 16, "\x7f" * 16],
)
def test_a_key_that_does_not_fit_is_refused_and_not_shown(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        of({variable_of(name): value})
    assert str(refused.value) == (
        f"{variable_of(name)}: must be 16 to 256 printable ASCII characters without spaces"
    )


@pytest.mark.parametrize(
    "value", ["10.0.0.1/8", "10.0.0.0/33", "localhost", "10.0.0.0/8;::/0", "*"]
)
def test_what_is_no_network_is_refused(value: str) -> None:
    with pytest.raises(SettingsError, match=r"^TRIGGERS_ALLOW_CIDRS "):
        of({"TRIGGERS_ALLOW_CIDRS": value})


def test_a_schedule_without_delays_means_one_attempt() -> None:
    assert of({"TRIGGERS_RETRY_SCHEDULE": ","}).retry_schedule == ()


# ── settings that depend on each other ────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"TRIGGERS_LEASE_S": "30"}, "TRIGGERS_LEASE_S (30) must exceed TRIGGERS_DELIVERY_TIMEOUT_S"),
        ({"TRIGGERS_DELIVERY_TIMEOUT_S": "45"}, "TRIGGERS_LEASE_S (45) must exceed"),
        ({"TRIGGERS_MIN_POLL_MS": "2001"}, "TRIGGERS_MIN_POLL_MS (2001) must not exceed"),
        ({"TRIGGERS_MAX_POLL_MS": "99"}, "TRIGGERS_MIN_POLL_MS (100) must not exceed"),
        (dict.fromkeys(("TRIGGERS_API_KEY", "TRIGGERS_ADMIN_KEY"), "k" * 16), "must differ"),
        ({"TRIGGERS_ROLE": "api"}, "role api needs a PostgreSQL database (TRIGGERS_DATABASE_URL)"),
    ],
)  # fmt: skip
def test_settings_that_contradict_each_other_are_refused(given: dict[str, str], said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        of(given)
    assert said in str(refused.value)
    assert "k" * 16 not in str(refused.value)


def test_settings_that_just_agree_are_taken() -> None:
    assert of({"TRIGGERS_LEASE_S": "30.1"}).lease_s == 30.1
    assert of({"TRIGGERS_MIN_POLL_MS": "2000"}).min_poll_ms == 2000


# ── the file ──────────────────────────────────────────────────────────────────────────────────────


def test_a_file_may_use_tomls_own_types(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(
        "port = 9000\nlease_s = 60.5\nretry_schedule = [1, 2.5]\ndelivery = true\n"
        'allow_cidrs = ["10.0.0.0/8", "::1/128"]\n'
    )
    settings = of({}, file=file)
    assert (settings.port, settings.lease_s) == (9000, 60.5)
    assert settings.retry_schedule == (1.0, 2.5)
    assert settings.delivery is DeliveryMode.SKIP
    assert list(map(str, settings.allow_cidrs)) == ["10.0.0.0/8", "::1/128"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prot = 1\nhsot = 2\n", "unknown setting hsot, prot"),
        ("TRIGGERS_PORT = 1\n", "unknown setting TRIGGERS_PORT"),
        ("[server]\nport = 1\n", "unknown setting server"),
        ("port = 'x'\n", "port 'x': must be a whole number from 0 to 65535"),
        ("port = true\n", "port 'true': must be a whole number"),
        ("port = [1, 2]\n", "port '1,2': must be a whole number"),
        ("api_key = 'short'\n", "api_key: must be 16 to 256"),
        ("port = \n", "Invalid value (at line 1, column 8)"),
        ("\udcff", "'utf-8' codec can't decode"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_what_is_wrong(
    text: str, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "settings.toml"
    file.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(SettingsError) as refused:
        of({}, file=file)
    assert str(refused.value).startswith(f"{file}: ")
    assert said in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"missing\.toml: .*No such file"):
        of({}, file=tmp_path / "missing.toml")


# ── what only looks like a setting ────────────────────────────────────────────────────────────────


def test_names_that_are_no_settings_are_listed() -> None:
    known = dict.fromkeys([variable(row) for row in table()], "1")
    elsewhere = dict.fromkeys(
        ["TRIGGERS_CONFIG", "TRIGGERS_URL", "TRIGGERS_TEST_SEED", "TRIGGERS_SERVICE_HOST",
         "TRIGGERS_SERVICE_PORT_HTTP", "TRIGGERS_PORT_8000_TCP_ADDR", "PATH", "XTRIGGERS_A"],
        "1",
    )  # fmt: skip
    assert unknown_variables(known | elsewhere) == []
    unknown = {"TRIGGERS_B": "1", "TRIGGERS_": "", "TRIGGERS_port": "1"}
    assert unknown_variables(known | elsewhere | unknown) == sorted(unknown)


def test_the_port_that_kubernetes_sets_for_a_service_is_not_ours() -> None:
    link = "tcp://10.0.0.1:8000"
    assert of({"TRIGGERS_PORT": link}).port == 8000
    assert of({"TRIGGERS_PORT": link, "PORT": "9000"}).port == 9000
    with pytest.raises(SettingsError):
        of({"PORT": link})
