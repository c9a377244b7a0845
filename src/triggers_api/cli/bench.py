"""``triggers bench``."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any, Final
from urllib.parse import urlsplit

import click

from triggers_api.bench.errors import RunFailed
from triggers_api.bench.report import as_json, as_text
from triggers_api.bench.run import (
    USUAL_CONCURRENCY,
    USUAL_PAYLOAD_BYTES,
    USUAL_RATE,
    USUAL_STORED,
    Mode,
    Options,
)
from triggers_api.bench.suite import BY_DEFAULT, Profile, measure
from triggers_api.bench.targets import FAILED

_ALL: Final = "all"
_INTERRUPTED: Final = 130


@click.command(name="bench")
@click.option(
    "--profile", "profiles", type=click.Choice([*(each.value for each in Profile), _ALL]), multiple=True,
    default=(_ALL,), show_default=True,
    help="What to measure; can be given several times.",
)  # fmt: skip
@click.option(
    "--events", type=click.IntRange(1, 10_000_000),
    help="Send exactly so many; ingest splits them over its slices. [default: pipeline 20000]",
)  # fmt: skip
@click.option(
    "--seconds", type=click.FloatRange(0.1, 3600),
    help="Send for so long; ingest splits it into slices. [default: 5, pipeline by events]",
)  # fmt: skip
@click.option(
    "--concurrency", type=click.IntRange(1, 10_000), default=USUAL_CONCURRENCY, show_default=True,
    help="Connections of the loader.",
)  # fmt: skip
@click.option(
    "--rate", type=click.FloatRange(0.1, 100_000), default=USUAL_RATE, show_default=True,
    help="Events a second of the latency profile.",
)  # fmt: skip
@click.option(
    "--url", help="A server that is running, instead of one of our own: http://host:port."
)
@click.option(
    "--database-url", metavar="URL",
    help="PostgreSQL for the servers of our own: a role that may create databases.",
)  # fmt: skip
@click.option("--key", envvar="TRIGGERS_API_KEY", help="Its API key. [env: TRIGGERS_API_KEY]")
@click.option(
    "--admin-key", envvar="TRIGGERS_ADMIN_KEY",
    help="Its operator's key, to read its books. [env: TRIGGERS_ADMIN_KEY]",
)  # fmt: skip
@click.option(
    "--duplicates", type=click.FloatRange(0, 99), default=0.0, metavar="PCT",
    help="Share of events, in percent, that repeat the dedup_id of an earlier one.",
)  # fmt: skip
@click.option(
    "--mode", type=click.Choice([each.value for each in Mode]), default="async", show_default=True,
    help="Route events after their answer, or before it.",
)  # fmt: skip
@click.option("--dedup", is_flag=True, help="Give each event a dedup_id of its own.")
@click.option(
    "--payload-bytes", type=click.IntRange(11, 900_000), default=USUAL_PAYLOAD_BYTES, show_default=True,
    help="Size of each event's payload.",
)  # fmt: skip
@click.option(
    "--stored", type=click.IntRange(1000, 100_000_000), default=USUAL_STORED, show_default=True,
    help="Events that the profile volume stores beforehand.",
)  # fmt: skip
@click.option("--json", "json", is_flag=True, help="Print one JSON document.")
def command(
    profiles: tuple[str, ...],
    json: bool,  # noqa: FBT001 - click's
    url: str | None,
    database_url: str | None,
    key: str | None,
    duplicates: float,
    mode: str,
    **given: Any,  # noqa: ANN401 - the other options, by the names of the fields
) -> None:
    """Measure ingest, delivery, latency and rest on this machine, and judge them by the targets.

    Exits with 0 when every verdict holds, with 4 when a target was missed, and with 1 when something
    went wrong or a measurement is void.
    """
    if url is not None:
        _check(url, key)
    if database_url is not None:
        _check_database(database_url, url)
    options = Options(
        url=None if url is None else url.rstrip("/"),
        database_url=database_url,
        key=key or "",
        duplicates_percent=duplicates,
        mode=Mode(mode),
        **given,
    )
    wanted = [*BY_DEFAULT] if _ALL in profiles else [Profile(name) for name in profiles]
    try:
        with _terminated_like_interrupted():
            report = measure(options, wanted)
    except RunFailed as error:
        click.echo(f"triggers bench: {error}", err=True)
        sys.exit(FAILED)
    except KeyboardInterrupt:
        click.echo("triggers bench: interrupted", err=True)
        sys.exit(_INTERRUPTED)
    click.echo(as_json(report) if json else as_text(report))
    sys.exit(report.exit_code)


def _check(url: str, key: str | None) -> None:
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or parts.path.strip("/"):
        raise click.BadParameter(
            "must be http://host:port; behind TLS or a path the measurement would be of those",
            param_hint="--url",
        )
    if not key:
        raise click.UsageError("--url needs --key, the API key of the server")


def _check_database(database_url: str, url: str | None) -> None:
    # Imported here so that --help does not wait for it.
    from triggers_api.store.connect import is_postgres  # noqa: PLC0415

    if url is not None or not is_postgres(database_url):
        raise click.UsageError("--database-url takes a postgresql:// URL, and no --url beside it")


@contextlib.contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM unwinds as control-C does, so that no server is left behind."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
