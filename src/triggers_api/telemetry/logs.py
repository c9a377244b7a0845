"""Logs: one structured line per thing that happened, for a person or for a machine.

Lines hold ids, sizes, codes and durations. They never hold payloads, keys, secrets or the URLs of
receivers, whose queries may be secrets too. In JSON every value is escaped; on a console control
characters are, so that nobody can write lines of their own into ours.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def configure(*, level: str, format_: str | None) -> None:
    """Set up logging for this process, on standard error.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        format_: ``console`` or ``json``; ``None`` is console on a terminal, JSON elsewhere.
    """
    if format_ is None:
        format_ = "console" if sys.stderr.isatty() else "json"
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if format_ == "json":
        processors += [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ]
    else:
        processors += [_escape, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # Libraries speak through the standard library; only what needs attention is let through.
    logging.basicConfig(level=max(_LEVELS[level], logging.WARNING), stream=sys.stderr, force=True)


def _escape(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    for name, value in event.items():
        if isinstance(value, str) and not value.isprintable() and name != "exception":
            event[name] = value.encode("unicode_escape").decode()
    return event
