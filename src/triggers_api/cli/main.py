"""The command group. Commands are imported when they are run, so that ``--help`` is quick."""

import sys
from importlib import import_module
from typing import Final

import click

from triggers_api import __version__
from triggers_api.errors import SettingsError, StartError

_COMMANDS: Final = {
    "serve": ("serve", "Run the service (the default command)."),
    "worker": ("worker", "Route and deliver beside other processes, on PostgreSQL."),
    "trigger": ("trigger", "Send an event."),
    "search": ("search", "Find events by what they are and what is in them."),
    "tail": ("tail", "Print events as they come in."),
    "inbox": ("inbox", "Look into an inbox, pull from it, acknowledge."),
    "explain": ("explain", "Say why a subscription gets an event, or why not."),
    "listen": ("listen", "Have events forwarded to a server on this machine."),
    "cancel": ("cancel", "Call off an event that is scheduled or queued."),
    "delete": ("delete", "Erase an event and free its dedup_id."),
    "replay": ("replay", "Deliver again what matches, as a job."),
    "pause": ("switches:pause", "Have events wait to be routed, or deliveries to be sent."),
    "resume": ("switches:resume", "Route and send again."),
    "mode": ("switches:mode", "Route events before their answer, or after it."),
    "refuse": ("switches:refuse", "Take no events in."),
    "skip": ("switches:skip", "End deliveries unsent, as skipped."),
    "tune": ("switches:tune", "Change batch size, concurrency and poll interval live."),
    "drain": ("drain:drain", "Run the service empty."),
    "undrain": ("drain:undrain", "Take events in again after a drain."),
    "status": ("status", "Say how the service is, for people and for cron."),
    "top": ("top", "Watch the service live."),
    "queues": ("queues:queues", "Show what waits, and whose it is."),
    "process": ("queues:process", "Route what waits now."),
    "requeue-stuck": ("queues:requeue_stuck", "Take back what dead workers hold."),
    "poison": ("poison", "List, try again or delete what could not be stored out of Redis."),
    "quarantine": ("quarantine", "List, release or delete events that are kept aside."),
    "verify": ("verify", "Check the books and the records, and repair them."),
    "keys": ("keys", "List, create, replace and revoke keys."),
    "audit": ("audit", "Say who changed what."),
    "migrate": ("migrate", "Bring a database's schema up to date."),
    "encrypt": ("encrypt", "Encrypt secrets in the database under the present key."),
    "backup": ("backup", "Copy the embedded database while it is served."),
    "restore": ("restore", "Put a copy in place of the embedded database."),
    "copy": ("copy", "Move an installation from a file to PostgreSQL."),
    "doctor": ("doctor", "Check the machine, the settings, the database and the service."),
    "bench": ("bench", "Measure the service on this machine."),
}

FAILED: Final = 1
MISUSED: Final = 2
"""Exit codes; ``click`` uses 2 for its own usage errors."""


class _Commands(click.Group):
    """Knows every command's name and first line without importing it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        module, _, function = _COMMANDS[cmd_name][0].partition(":")
        loaded = import_module(f"triggers_api.cli.{module}")
        command: click.Command = getattr(loaded, function or "command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_) for name, (_, help_) in _COMMANDS.items()])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own = {"--help", "-h", "--version"}
        if not args or (args[0].startswith("-") and args[0] not in own):
            args = ["serve", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="triggers")
def group() -> None:
    """Triggers API: durable event ingestion and webhook delivery.

    Without a command it serves: one process, one file on disk. With PostgreSQL, as many processes as
    you start.
    """


def main() -> None:
    """Run the command line; errors that people can mend are one line, not a traceback."""
    try:
        group(prog_name="triggers")
    except SettingsError as error:
        click.echo(f"triggers: {error}", err=True)
        sys.exit(MISUSED)
    except StartError as error:
        click.echo(f"triggers: {error}", err=True)
        sys.exit(FAILED)
