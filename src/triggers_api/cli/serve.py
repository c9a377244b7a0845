"""``triggers serve``."""

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from triggers_api import __version__
from triggers_api.cli.options import load_settings, setting_flags
from triggers_api.errors import StartError
from triggers_api.settings import Settings

if TYPE_CHECKING:
    from triggers_api.app import App


@click.command(name="serve")
@setting_flags()
@click.option("--demo", is_flag=True, help="Add a local receiver and send real events through it.")
@click.option("--demo-rate", default=1.0, show_default=True, help="Events a second of the demo.")
def command(config: Path | None, demo: bool, demo_rate: float, **flags: str | None) -> None:  # noqa: FBT001 - click's
    """Run the service: API, processor and dispatcher in one process, or with --role a part of it."""
    settings = load_settings(config, flags)
    if demo and settings.role != "all":
        raise click.UsageError("--demo needs the whole service in this process: --role all")
    run(settings, demo_rate=demo_rate if demo else None)


def run(settings: Settings, *, demo_rate: float | None = None) -> NoReturn:
    """Serve in this process until a signal or a failure, and exit."""
    run_loop = asyncio.run
    with contextlib.suppress(ImportError):
        import uvloop  # noqa: PLC0415 - absent on some platforms

        run_loop = uvloop.run
    sys.exit(run_loop(serve(settings, demo_rate=demo_rate)))


async def serve(settings: Settings, *, demo_rate: float | None = None) -> int:
    """Run until a signal or a failure; returns the exit code."""
    # Imported here so that --help does not wait for a web server.
    from triggers_api.app import App  # noqa: PLC0415
    from triggers_api.cli.demo import Demo, demo_settings  # noqa: PLC0415
    from triggers_api.cli.supervisor import Supervisor  # noqa: PLC0415
    from triggers_api.http.server import listen  # noqa: PLC0415
    from triggers_api.telemetry.logs import configure  # noqa: PLC0415

    if demo_rate is not None:
        settings = demo_settings(settings)
    configure(
        level=settings.log_level,
        format_=settings.log_format,
        lines_per_s=settings.log_lines_per_s,
    )
    listener = listen(settings.host, settings.port)
    url = _url(settings.host, listener)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(listener.close)
        app = await stack.enter_async_context(App(settings))
        server = app.server()

        def force() -> None:
            server.force_exit = True
            app.hurried.set()

        ended = asyncio.Event()
        _on_signals(ended, force)
        app.start()
        demo = None
        if demo_rate is not None:
            demo = await stack.enter_async_context(Demo(app, url, rate=demo_rate))
        _greet(app, url, None if demo is None else demo.api_key)
        # What was made so far stays; the collector need not look at it again.
        gc.collect()
        gc.freeze()
        # What a request leaves behind is freed by its count; cycles are few and can wait. With the
        # usual 700 the collector looks through the work in hand a hundred times a second.
        gc.set_threshold(20_000, 50, 100)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        if demo is not None:
            demo.start()
        supervisor = Supervisor.of()
        supervisor.ready(f"serving {url}, {settings.role}")
        async with supervisor.watching():
            await _first(ended.wait(), app.failed.wait(), _ended(serving))
        supervisor.ending(grace_s=settings.shutdown_grace_s)
        app.ingest.draining = True
        server.should_exit = True
        await serving
    if app.failed.is_set():
        raise StartError(app.failure)
    return 0


async def _ended(serving: "asyncio.Task[None]") -> None:
    await asyncio.wait((serving,))


async def _first(*waits: Coroutine[Any, Any, object]) -> None:
    tasks = [asyncio.create_task(wait) for wait in waits]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


def _on_signals(ended: asyncio.Event, force: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()

    def end() -> None:
        if ended.is_set():
            force()
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)


def _url(host: str, listener: socket.socket) -> str:
    port = listener.getsockname()[1]
    shown = "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104 - compared, not bound
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


def _greet(app: "App", url: str, demo_key: str | None) -> None:
    worker = app.settings.role == "worker"
    pages = f"health: {url}/readyz" if worker else f"docs: {url}/docs"
    lines = ["", f"  Triggers API {__version__}   {url}   {pages}", *_about(app)]
    if worker:
        lines += [
            "  role        worker: routes and delivers; events are sent to `triggers serve --role api`",
            f"  metrics     {url}/metrics",
            "",
        ]
    else:
        lines += _page(app, url)
        lines += _how_to_send(app, url, demo_key)
    click.echo("\n".join(lines))


def _about(app: "App") -> Iterator[str]:
    import msgspec  # noqa: PLC0415 - as above

    from triggers_api.cli.operator import turned_line  # noqa: PLC0415 - as above
    from triggers_api.store.connect import shown_url  # noqa: PLC0415 - as above

    durability = app.store.durability()
    url = shown_url(app.settings.database_url)
    yield f"  database    {url} ({durability.engine} {durability.version})"
    yield f"  survives    {durability.survives}"
    for each in app.directory.turned():
        yield f"  switched    {turned_line(msgspec.to_builtins(each, enc_hook=str))}"


def _page(app: "App", url: str) -> Iterator[str]:
    if app.site is None:
        return
    word = app.site.make_link()
    if word is None:
        yield f"  page        {app.settings.public_url or url}/ui/ (opens with a key)"
    else:
        yield f"  page        {url}/ui/open#{word} (opens once, within 15 minutes)"


def _how_to_send(app: "App", url: str, demo_key: str | None) -> Iterator[str]:
    keys = app.first_keys
    api_key = demo_key or (keys.api_key if keys else None)
    if app.settings.role == "api":
        yield "  role        api: events wait until a `triggers worker` routes and delivers them"
    if api_key is not None:
        yield f"  API key     {api_key}"
    if keys is not None:
        yield f"  admin key   {keys.admin_key}"
        yield "  (keys are shown this once)"
    elif demo_key is None and app.settings.api_key is not None:
        yield "  API key     what TRIGGERS_API_KEY says"
    elif demo_key is None:
        yield "  API key     the one shown when the database was made, or set TRIGGERS_API_KEY"
    yield from (
        "",
        "  Send an event:",
        "",
        f"    curl -i {url}/api/events \\",
        f'      -H "Authorization: Bearer {api_key or "$TRIGGERS_API_KEY"}" \\',
        "      -H 'Content-Type: application/json' \\",
        """      -d '{"type": "order.created", "payload": {"id": 42, "total": 99.5}}'""",
        "",
    )
