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
from structlog.typing import Processor

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
    begin: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # A traceback is formatted here, in both: the console's own way shows the local variables.
    end: list[Processor] = [structlog.processors.format_exc_info]
    if format_ == "json":
        end.append(structlog.processors.JSONRenderer())
    else:
        end += [_escape, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    structlog.configure(
        processors=[*begin, *end],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # Libraries speak through the standard library; what needs attention joins our lines.
    libraries = logging.StreamHandler(sys.stderr)
    libraries.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*begin, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *end],
        )
    )
    logging.basicConfig(
        level=max(_LEVELS[level], logging.WARNING), handlers=[libraries], force=True
    )


def _escape(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    for name, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            # A traceback keeps its lines, and nothing else.
            lines = value.splitlines() if name == "exception" else [value]
            event[name] = "\n".join(map(_escaped, lines))
    return event


def _escaped(text: str) -> str:
    return text if text.isprintable() else text.encode("unicode_escape").decode()
