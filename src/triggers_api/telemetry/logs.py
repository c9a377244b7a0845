"""Logs: one structured line per thing that happened, for a person or for a machine.

Lines hold ids, sizes, codes and durations. They never hold payloads, keys, secrets or the URLs of
receivers, whose queries may be secrets too. Of an exception they hold where it was raised and its
kind, and what it says only if we said it: the words of others quote what they choked on. In JSON every
value is escaped; on a console control characters are, so that nobody can write lines of their own into
ours.

What happens ten thousand times a second must not be written as often. Of lines with the same text so
many are written each second as :func:`configure` is told, and the next one that is written says how
many were not. Errors always are, and so is everything at the level ``debug``.
"""

import logging
import sys
import time
import traceback
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any, Final

import structlog
from structlog.typing import Processor

from triggers_api.errors import Problem, StartError

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def configure(*, level: str, format_: str | None, lines_per_s: int = 0) -> None:
    """Set up logging for this process, on standard error.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        format_: ``console`` or ``json``; ``None`` is console on a terminal, JSON elsewhere.
        lines_per_s: how many lines with the same text are written each second; 0 is all of them.
    """
    if format_ is None:
        format_ = "console" if sys.stderr.isatty() else "json"
    bounds = [Bounds(lines_per_s)] if lines_per_s and level != "debug" else []
    begin: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    end: list[Processor] = [_describe_exception]
    if format_ == "json":
        end.append(structlog.processors.JSONRenderer())
    else:
        end += [_escape, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    structlog.configure(
        processors=[*bounds, *begin, *end],
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


class Bounds:
    """Leaves out lines of which there are too many; a processor of structlog's."""

    def __init__(
        self, lines_per_s: int, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Nothing was written yet."""
        self._most = lines_per_s
        self._monotonic = monotonic
        self._second = 0
        self._written: dict[str, int] = {}
        self._left_out: dict[str, int] = {}

    def __call__(
        self, _logger: object, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Pass a line on, or not."""
        if method in _ALWAYS:
            return event
        second = int(self._monotonic())
        if second != self._second:
            self._second = second
            self._written.clear()
        text = event["event"]
        written = self._written.get(text, 0)
        if written >= self._most:
            self._left_out[text] = self._left_out.get(text, 0) + 1
            raise structlog.DropEvent
        self._written[text] = written + 1
        if text in self._left_out:
            event["left_out"] = self._left_out.pop(text)
        return event


_ALWAYS: Final = frozenset({"error", "critical", "exception"})


def _describe_exception(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    given = event.pop("exc_info", None)
    if given is True:
        given = sys.exc_info()
    error = given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        event["exception"] = "".join(_described(error, set())).rstrip("\n")
    return event


def _described(error: BaseException, seen: set[int]) -> Iterator[str]:
    """As Python prints it, without what others said."""
    seen.add(id(error))
    earlier, link = error.__cause__, _BECAUSE
    if earlier is None and not error.__suppress_context__:
        earlier, link = error.__context__, _MEANWHILE
    if earlier is not None and id(earlier) not in seen:
        yield from _described(earlier, seen)
        yield link
    if error.__traceback__ is not None:
        yield "Traceback (most recent call last):\n"
        yield from traceback.format_tb(error.__traceback__)
    yield f"{kind_of(error)}\n"
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _described(each, seen)


_BECAUSE: Final = "\nThe above exception was the direct cause of the following exception:\n\n"
_MEANWHILE: Final = "\nDuring handling of the above exception, another exception occurred:\n\n"


def kind_of(error: BaseException) -> str:
    """An exception in a few words that quote nobody: of an exception that is not ours its kind."""
    name = type(error).__qualname__
    if isinstance(error, (Problem, StartError)):
        return f"{name}: {error}"
    if isinstance(error, OSError) and error.strerror:
        return f"{name}: {error.strerror}"
    state = getattr(error, "sqlstate", None)  # a number of PostgreSQL's, which says what was wrong
    return f"{name} ({state})" if isinstance(state, str) else name


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
