"""What ``triggers doctor`` looks at."""

import platform
import socket
from collections.abc import Iterator
from typing import Final

from triggers_api.cli import service_findings
from triggers_api.cli.finding import Finding
from triggers_api.cli.service_findings import Look, look
from triggers_api.deliver.egress import Egress
from triggers_api.model.retention import without_effect
from triggers_api.operate.retention import days_of
from triggers_api.settings import Settings
from triggers_api.store.connect import is_postgres, sqlite_path

_ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where it is asked, not bound
"""Whom to ask who listens everywhere."""


def examine(settings: Settings, *, url: str | None, deep: bool) -> Iterator[Finding]:
    """Look at everything, one finding after the other; nothing is changed.

    Args:
        settings: of the service that is there, or that is to be.
        url: where it answers; ``None``: at the settings' host and port, if it runs.
        deep: also read through the whole file, and count what a running service has accepted.
    """
    of_database = _database(settings, deep=deep)
    yield Finding(
        "ok", "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    )
    yield from of_database
    ours = _look_at_ours(settings)
    yield _port(settings, is_ours=ours is not None)
    yield _egress(settings)
    yield Finding(
        "ok",
        "leases",
        f"{settings.lease_s:g} s, more than a delivery's {settings.delivery_timeout_s:g} s",
    )
    yield _retention(settings)
    seen = ours if url is None else look(url)
    if seen is not None:
        yield from service_findings.examine(seen, settings.admin_key, deep=deep)
    elif url is not None:
        yield Finding("warn", "service", f"none answers at {url}")


def _look_at_ours(settings: Settings) -> Look | None:
    if not settings.port:
        return None
    host = _ANYWHERE.get(settings.host, settings.host)
    return look(f"http://{f'[{host}]' if ':' in host else host}:{settings.port}")


def _database(settings: Settings, *, deep: bool) -> Iterator[Finding]:
    # Only the engine in use is imported: the other one may lack what it needs.
    if is_postgres(settings.database_url):
        from triggers_api.cli import postgres_findings  # noqa: PLC0415

        return postgres_findings.examine(settings)
    from triggers_api.cli import sqlite_findings  # noqa: PLC0415

    path = sqlite_path(settings.database_url).resolve()
    return sqlite_findings.examine(path, settings, deep=deep)


def _retention(settings: Settings) -> Finding:
    ages = days_of(settings).ages()
    if idle := without_effect(ages):
        return Finding(
            "warn",
            "retention",
            f"{' and '.join(idle)} go with their event after {ages.events} days, before their own "
            "days are over",
        )
    events, deliveries, dead = (
        f"{days} days" if days else "for ever"
        for days in (ages.events, ages.deliveries, ages.dead_letters)
    )
    text = f"events {events}, deliveries {deliveries}, dead letters {dead}"
    return Finding("ok", "retention", text)


def _port(settings: Settings, *, is_ours: bool) -> Finding:
    if is_ours:
        return Finding("ok", "port", f"{settings.host}:{settings.port} is the running service's")
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            return Finding("warn", "port", f"{settings.host}:{settings.port}: {error.strerror}")
    return Finding("ok", "port", f"{settings.host}:{settings.port} is free")


def _egress(settings: Settings) -> Finding:
    guard = Egress(settings.allow_cidrs)
    open_ = [
        address
        for address in ("127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00::1")
        if guard.permits(address)
    ]
    if not guard.permits("1.1.1.1"):
        return Finding("fail", "egress", "public addresses are refused")
    if open_:
        return Finding(
            "warn", "egress", f"deliveries may go to {', '.join(open_)} (TRIGGERS_ALLOW_CIDRS)"
        )
    return Finding("ok", "egress", "private, loopback and metadata addresses are refused")
