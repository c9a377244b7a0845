"""How a line of the log looks, whoever writes it. Each in a process of its own: logging is global."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any, Final

import pytest
import structlog

from triggers_api.telemetry.logs import Bounds

BEGIN: Final = """
import logging, structlog
from triggers_api.telemetry.logs import configure
configure(level={level!r}, format_={format_!r}, lines_per_s={lines_per_s})
log = structlog.get_logger("triggers_api.part")
library = logging.getLogger("library")

def fails():
    payload = b"CANARY in a local variable"
    raise ValueError("what\\x1b[2J went\\nwrong")
"""
TIME: Final = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"


def written(text: str, *, format_: str | None, level: str = "info", lines_per_s: int = 0) -> str:
    """What a program wrote to standard error; nothing may go to standard output."""
    program = BEGIN.format(level=level, format_=format_, lines_per_s=lines_per_s) + text
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == ""
    return done.stderr


def lines_of(text: str, **options: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - see written()
    """The lines a program wrote in JSON, without their times."""
    found = [json.loads(line) for line in written(text, format_="json", **options).splitlines()]
    for line in found:
        assert re.fullmatch(TIME, line.pop("timestamp"))
    return found


SAYS_ALL: Final = """
log.debug("one", number=1)
log.info("two", text="a\\nb", nothing=None, items=["x"])
log.warning("three")
log.error("four")
library.info("five")
library.warning("six %s", "words")
"""


def test_a_line_for_machines_is_one_json_object_from_us_and_from_libraries_alike() -> None:
    assert lines_of(SAYS_ALL) == [
        {"event": "two", "level": "info", "text": "a\nb", "nothing": None, "items": ["x"]},
        {"event": "three", "level": "warning"},
        {"event": "four", "level": "error"},
        {"event": "six words", "level": "warning", "logger": "library"},
    ]


@pytest.mark.parametrize(
    ("level", "events"),
    [
        ("debug", ["one", "two", "three", "four", "six words"]),
        ("info", ["two", "three", "four", "six words"]),
        ("warning", ["three", "four", "six words"]),
        ("error", ["four"]),
    ],
)
def test_what_is_below_the_level_is_not_said(level: str, events: list[str]) -> None:
    assert [line["event"] for line in lines_of(SAYS_ALL, level=level)] == events


def test_where_nobody_watches_the_lines_are_for_machines() -> None:
    assert written(SAYS_ALL, format_=None).startswith("{")


FAILS: Final = """
try:
    fails()
except ValueError:
    log.exception("ours")
    library.exception("theirs")
"""


@pytest.mark.parametrize("format_", ["json", "console"])
def test_a_traceback_does_not_show_what_variables_held(format_: str) -> None:
    text = written(FAILS, format_=format_)
    assert text.count("ValueError") == 2
    assert text.count("in fails") == 2
    assert "CANARY" not in text


SPEAKS: Final = """
from triggers_api.errors import StoreUnavailable
def tell(error, cause=None):
    try:
        raise error from cause
    except Exception:
        log.exception("failed")
tell(KeyError("CANARY"))
tell(ExceptionGroup("CANARY", [ValueError("CANARY"), OSError(28, "No space left on device", "CANARY")]))
tell(StoreUnavailable("ours"), ValueError("CANARY"))
class ServerError(Exception):
    sqlstate = "23505"
tell(ServerError("Key (dedup_id)=(CANARY) already exists"))
"""


@pytest.mark.parametrize("format_", ["json", "console"])
def test_an_exception_tells_its_kind_and_not_what_it_choked_on(format_: str) -> None:
    text = written(SPEAKS, format_=format_)
    assert "CANARY" not in text
    if format_ == "json":
        ends = [json.loads(line)["exception"] for line in text.splitlines()]
        assert ends[0].endswith("\nKeyError")
        assert ends[1].endswith("ExceptionGroup\nValueError\nOSError: No space left on device")
        assert ends[2].startswith("ValueError\n\nThe above exception was the direct cause")
        assert ends[2].endswith("StoreUnavailable: ours")
        assert ends[3].endswith("ServerError (23505)")


def test_of_lines_with_the_same_text_so_many_are_written_each_second() -> None:
    now = 0.0
    bounds = Bounds(2, monotonic=lambda: now)

    def written_of(text: str, method: str = "info") -> dict[str, Any] | None:
        try:
            return dict(bounds(None, method, {"event": text}))
        except structlog.DropEvent:
            return None

    assert [written_of("one") for _ in range(4)] == [{"event": "one"}] * 2 + [None] * 2
    assert written_of("other") == {"event": "other"}
    assert [written_of("bad", "error") for _ in range(4)] == [{"event": "bad"}] * 4
    now = 1.0
    assert written_of("one") == {"event": "one", "left_out": 2}
    assert written_of("one") == {"event": "one"}
    assert written_of("one") is None


def test_a_flood_of_lines_is_bounded_unless_everything_is_asked_for() -> None:
    flood = "for _ in range(5000):\n    log.info('flood')\n"
    assert len(written(flood, format_="json", lines_per_s=10).splitlines()) < 500
    assert len(written(flood, format_="json", lines_per_s=0).splitlines()) == 5000
    assert len(written(flood, format_="json", level="debug", lines_per_s=10).splitlines()) == 5000


def test_a_traceback_for_machines_is_inside_its_line() -> None:
    ours, theirs = lines_of(FAILS)
    assert ours["exception"] == theirs["exception"]
    assert ours["exception"].startswith("Traceback (most recent call last):\n")


def test_on_a_console_nobody_writes_lines_of_their_own_into_ours() -> None:
    text = written(
        'log.info("a\\nb", other="c\\x1b[2Jd\\re", fine="é", several=["f\\ng"])\n'
        'library.warning("h\\n%s", "\\x1b[2J")\n' + FAILS,
        format_="console",
    )
    assert "\x1b" not in text
    assert "\r" not in text
    first, second, *_ = text.splitlines()
    assert re.match(TIME, first)
    for part in (r"a\nb", r"c\x1b[2Jd\re", "é", r"f\ng"):
        assert part in first
    assert re.match(TIME, second)
    assert r"h\n\x1b[2J" in second
    assert "went" not in text
